"""From the log-in to the trial: with Saturn, from the hook, and with a Prefect server alone."""

from __future__ import annotations

import itertools
import json
import re
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from conftest import existing
from projects import ROOT, run
from pythons import with_quick_uv
from servers.prefect_1 import PrefectAPI
from servers.saturn_1 import IMAGE, LABELS
from site_1 import FLOW, KEY, PROJECT, QUICK, TOKEN, Site, wait_until

STEPS = ["read_parameters", "get_trial_id", "get_ticket_data_batch", "get_target", "predict"]
STEPS += [*["evaluate_model"] * 4, "read_history", "get_trial_summary", "write_trial_summary"]


def test_from_the_log_in_to_the_trial(any_site: Site) -> None:
    site, api, saturn = any_site, any_site.api, any_site.saturn
    home = Path(str(site.env["HOME"]))

    # A key that is not accepted leaves nothing behind.
    assert "the API refuses the key" in site.refuses("connect", PREFECT_USER_TOKEN="wrong")
    assert api.mutations == []
    assert not (home / ".prefect" / "auth.toml").exists()

    first, second = site.command("connect"), site.command("connect")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert KEY not in first.stdout + first.stderr
    assert f"project {PROJECT} created" in first.stderr
    assert f"project {PROJECT} already exists" in second.stderr
    assert api.mutations == ["create_project"]
    auth = home / ".prefect" / "auth.toml"
    assert stat.S_IMODE(auth.stat().st_mode) == 0o600
    assert KEY in auth.read_text()
    assert [path.name for path in auth.parent.iterdir()] == ["auth.toml"]

    result = site.command("register", PREFECT_USER_TOKEN=None)  # as logged in before
    assert result.returncode == 0, result.stderr
    flow_id = result.stdout.strip()
    (flow,) = api.tables["flow"]
    assert (flow["id"], flow["name"], flow["is_schedule_active"]) == (flow_id, FLOW, True)
    assert flow["run_config"]["type"] == "KubernetesRun"
    assert flow["run_config"]["image"] == IMAGE
    assert sorted(flow["run_config"]["labels"]) == sorted(LABELS)
    assert flow["run_config"]["job_template"]["kind"] == "Job"
    assert flow["storage"]["type"] == "Webhook"
    assert not {KEY, TOKEN} & set(re.findall(r"[\w-]+", json.dumps(flow["storage"])))
    assert KEY not in json.dumps(api.tables, default=str)
    (stored,) = saturn.flows.values()
    assert (stored["name"], stored["prefect_cloud_project_name"]) == (FLOW, PROJECT)
    assert list(stored["content"]) == stored["versions"]
    names = [task["name"] for task in api.tables["task"]]
    assert sorted(name for name in names if name in STEPS) == sorted(STEPS)
    starts = sorted(run["scheduled_start_time"] for run in api.tables["flow_run"])
    assert starts[0] > datetime.now(UTC)
    gaps = {later - earlier for earlier, later in itertools.pairwise(starts)}
    assert gaps == {timedelta(hours=24)}

    # Once more: nothing new anywhere.
    before = list(api.mutations)
    again = site.command("register")
    assert (again.returncode, again.stdout.strip()) == (0, flow_id), again.stderr
    assert "nothing has changed" in again.stderr
    assert api.mutations == before
    assert len(stored["versions"]) == 1

    # The original's own way to start it; Saturn's agent and container run it without the checkout.
    options = ("--param", "seed=3", "--param", "batch-size=60000")
    result = site.prefect("run", "--name", FLOW, "--project", PROJECT, *options)
    assert result.returncode == 0, result.stdout + result.stderr
    run_id = re.search(r"UUID: (\S+)", result.stdout)[1]
    with site.checkout_away():
        look = (site.image / "bin" / "python", "-c", "import ticket_model_evaluation")
        assert "ModuleNotFoundError" in run(*look, cwd=site.folder).stderr
        site.execute_all()
    done = site.flow_run(run_id)
    assert done["state"] == "Success", site.log(run_id)
    states = [state["state"] for state in done["states"]]
    assert states == ["Pending", "Scheduled", "Submitted", "Running", "Success"]
    assert {task_run["state"] for task_run in done["task_runs"]} == {"Success"}
    (trial,) = site.trials()
    logged = [entry["message"] for entry in done["logs"] if entry["message"].startswith("{")]
    assert [json.loads(message) for message in logged] == [trial]
    assert trial["flow"] == FLOW
    assert 10_000 < trial["data"]["num_obs"] < 60_000  # all rows of the sample
    assert trial["selection"]["batch_size"] == 60_000
    assert trial["selection"]["seed"] == 3
    # The package's own log is there, too.
    assert any("taking all" in entry["message"] for entry in done["logs"])


def test_the_hook_connects_and_costs_nobody_their_project(
    site: Site, installed, tmp_path: Path
) -> None:
    env = {**site.env, "PREFECT_CLOUD_PROJECT_NAME": None, "HOME": str(site.folder / "hook-home")}
    env["PATH"] = with_quick_uv(tmp_path, installed(*existing("1")))
    folder = tmp_path / "hooked"
    generate = ("cookiecutter", ROOT, "--no-input", "-o", folder, "prefect_version=1")
    for name, key, said in (
        ("wrong", "wrong", "the API refuses the key"),
        ("right", KEY, "project right created"),
    ):
        keyed = {**env, "PREFECT_USER_TOKEN": key}
        result = run(*generate, f"project_name={name}", env=keyed, limit=300)
        assert result.returncode == 0, result.stderr
        assert said in result.stderr
        assert ("make connect" in result.stderr) == (key != KEY)
        assert KEY not in result.stdout + result.stderr
        assert (folder / name / "src" / name / "orchestration" / "flow.py").exists()
    created = [row["name"] for row in site.api.tables["project"]]
    assert [name for name in created if name in ("wrong", "right")] == ["right"]
    replays = [path.read_text() for path in (site.folder / "hook-home").rglob("*.json")]
    assert not any(KEY in replay for replay in replays)


def test_a_self_hosted_server_alone_runs_it_through_an_agent_on_this_machine(site: Site) -> None:
    with PrefectAPI(keys=None) as server:
        env = {
            **{"PREFECT__BACKEND": "server", "PREFECT__SERVER__ENDPOINT": server.url},
            **{"PREFECT__CLOUD__API": None, "PREFECT_USER_TOKEN": None},
            **{"BASE_URL": None, "SATURN_TOKEN": None, **QUICK},
            **{"HOME": str(site.folder / "server-home"), "TRIALS_URL": str(site.folder / "alone")},
        }
        result = site.command("register", **env)
        assert result.returncode == 0, result.stderr
        assert "registering with Prefect alone" in result.stderr
        assert "nothing has changed" in site.command("register", **env).stderr
        run_id = site.command("run", "--param", "seed=1", **env).stdout.strip()
        agent = subprocess.Popen(
            [site.project.python, "-m", "prefect", "agent", "local", "start"],
            cwd=site.folder,
            env=site.environment(**env),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            (flow_run,) = (row for row in server.tables["flow_run"] if row["id"] == run_id)
            wait_until(lambda: flow_run["state"] in ("Success", "Failed"))
        finally:
            agent.terminate()
            agent.wait(30)
        assert flow_run["state"] == "Success"
        (trial,) = (site.folder / "alone").glob("*.json")
        assert json.loads(trial.read_text())["selection"]["seed"] == 1

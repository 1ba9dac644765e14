"""Variant 3 end to end: the hook, connect, register, the schedule, a worker and runs, on a real Prefect server.

The server, with SQLite on loopback, and the worker are started once, by the project's own commands.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from prefect_server import Prefect, background, free_port, wait_until
from projects import ROOT, Project, run
from servers.git import PrivateGit
from servers.loopback import LoopbackServer, QuietHandler
from servers.prefect_cloud import PrefectCloud, Recorder

KEY = "pnu_0123456789abcdefSECRET"
REFUSED = (
    r"PREFECT_API_KEY: .* refuses it \(401\); set a valid one, and connect again; "
    r"they begin with pnu_ or pnb_ \(pcu_: Prefect Cloud 1, which is closed\)$"
)
STEPS = """get_trial_id get_ticket_data_batch get_target predict evaluate_model-mae evaluate_model-medae
evaluate_model-mse evaluate_model-r2 get_trial_summary write_trial_summary""".split()


def test_the_server_command_points_this_project_at_its_server_and_no_other(
    prefect: Prefect, another
):
    profiles = prefect.home / ".prefect" / "profiles.toml"
    assert (
        f'[profiles.project-{prefect.project.slug}]\nPREFECT_API_URL = "{prefect.url}/api"'
        in profiles.read_text()
    )
    assert "active" not in profiles.read_text()
    assert profiles.stat().st_mode & 0o777 == 0o600
    result = prefect.run("run", project=another(project_slug="other"))
    assert result.returncode == 2
    assert result.stderr.startswith("Error: PREFECT_API_URL: no Prefect is configured")
    assert "PREFECT_API_KEY" in result.stderr
    assert "make server" in result.stderr
    assert result.stderr.count("\n") == 1


def test_connecting_again_changes_nothing_and_says_so(prefect: Prefect):
    profiles = prefect.home / ".prefect" / "profiles.toml"
    before = profiles.read_bytes(), prefect.get("/work_pools/filter", {})
    result = prefect.run("connect")
    assert result.returncode == 0, result.stderr
    assert "is there already" in result.stderr
    assert "as before" in result.stderr
    assert (profiles.read_bytes(), prefect.get("/work_pools/filter", {})) == before


def test_the_schedule_makes_runs_at_the_right_hours_for_the_next_days(
    prefect: Prefect, registered: Project
):
    """Also the test of the pins: without them a deployment is refused, or the scheduler makes nothing."""
    versions = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in ('fastapi', 'sqlalchemy')))"
    locked = registered.run(registered.python, "-c", versions).stdout.split()
    lock = registered.text("requirements.txt")
    assert locked[1] < "0.151", (
        f"fastapi {locked[1]}: from 0.151 on Prefect's server refuses deployments; pin fastapi"
    )
    assert locked[3].startswith("2.0."), (
        f"sqlalchemy {locked[3]}: from 2.1 on no run is scheduled; pin sqlalchemy"
    )
    assert f"fastapi=={locked[1]}" in lock
    deployment = prefect.deployment(f"ann-{registered.slug}")
    by_deployment = {
        "deployments": {"id": {"any_": [deployment["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    runs = wait_until(
        lambda: prefect.get(
            "/flow_runs/filter", {**by_deployment, "sort": "EXPECTED_START_TIME_ASC"}
        ),
        f"SCHEDULED runs: the scheduler of Prefect's server makes none with sqlalchemy {locked[3]}",
    )
    starts = [
        datetime.fromisoformat(each["expected_start_time"].replace("Z", "+00:00")) for each in runs
    ]
    tomorrow = datetime.now(timezone.utc).replace(
        hour=0, minute=0, second=0, microsecond=0
    ) + timedelta(days=1)
    assert len(starts) >= 3
    assert starts[:3] == [tomorrow + timedelta(days=day) for day in range(3)]
    assert all(each["auto_scheduled"] for each in runs)


def test_registering_twice_leaves_one_deployment_and_one_schedule(
    prefect: Prefect, registered: Project
):
    before = prefect.deployment(f"ann-{registered.slug}")
    processes = [
        threading.Thread(target=lambda: results.append(prefect.run("register"))) for _ in range(2)
    ]
    results: list[subprocess.CompletedProcess[str]] = []
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [result.returncode for result in results] == [0, 0], results
    assert (
        len(
            prefect.get(
                "/deployments/filter", {"flows": {"name": {"any_": [f"ann-{registered.slug}"]}}}
            )
        )
        == 1
    )
    after = prefect.deployment(f"ann-{registered.slug}")
    assert after["id"] == before["id"]
    assert [schedule["slug"] for schedule in after["schedules"]] == ["every"]
    assert after["schedules"][0]["schedule"] == before["schedules"][0]["schedule"]
    assert after["tags"] == [registered.slug]
    assert after["work_pool_name"] == registered.slug


def test_a_dry_run_sends_nothing(prefect: Prefect, registered: Project):
    with Recorder(prefect.url) as recorder:
        result = prefect.run(
            "register", "--dry-run", env={"PREFECT_API_URL": recorder.url + "/api"}
        )
        assert result.returncode == 0, result.stderr
        assert recorder.requests == []
    shown = json.loads(result.stdout)["deployment"]
    sent = prefect.deployment(f"ann-{registered.slug}")
    for name in (
        "name",
        "entrypoint",
        "pull_steps",
        "work_pool_name",
        "job_variables",
        "tags",
        "parameter_openapi_schema",
    ):
        assert shown[name] == sent[name], name


def test_without_hours_there_is_no_schedule_and_unregister_takes_all_back(
    prefect: Prefect, another
):
    project = another(project_slug="unscheduled", schedule_hours="0")
    environment = {"PREFECT_API_URL": prefect.url + "/api"}
    for command in ("connect", "register"):
        result = prefect.run(command, project=project, env=environment)
        assert result.returncode == 0, result.stderr
    named = "/deployments/filter", {"deployments": {"name": {"any_": ["unscheduled"]}}}
    (deployment,) = prefect.get(*named)
    assert deployment["schedules"] == []
    assert prefect.run("unregister", project=project).returncode == 0
    assert prefect.get(*named) == []
    again = prefect.run("unregister", project=project)
    assert again.returncode == 0
    assert "nothing to take back" in again.stderr
    result = prefect.run("run", project=project)
    assert result.returncode == 2
    assert "unscheduled register` first" in result.stderr


@pytest.mark.usefixtures("worker")
def test_a_quick_run_completes_and_all_of_it_can_be_read_back(
    prefect: Prefect, registered: Project
):
    result = prefect.run(
        "run", "--watch", "--param", "seed=5", "--param", "batch_size=200", limit=200
    )
    assert result.returncode == 0, result.stderr
    flow_run = prefect.flow_run(result.stdout)
    assert flow_run["state"]["type"] == "COMPLETED"
    assert re.search(r"^\d\d:\d\d:\d\d Completed$", result.stderr, re.MULTILINE)
    by_run = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}}
    tasks = prefect.get("/task_runs/filter", by_run)
    assert sorted(task["name"] for task in tasks) == sorted(STEPS)
    assert {task["state"]["type"] for task in tasks} == {"COMPLETED"}
    logs = wait_until(
        lambda: [
            record["message"]
            for record in prefect.get(
                "/logs/filter", {"logs": {"flow_run_id": {"any_": [flow_run["id"]]}}}
            )
            if record["message"].startswith("{")
        ],
        "the trial in the log",
    )
    (trial,) = map(json.loads, logs)
    assert logs[0] in result.stderr
    (kept,) = (registered.path / "trials").glob(f"*-{trial['id']}.json")
    assert json.loads(kept.read_text()) == trial
    artifact = prefect.get(f"/artifacts/{registered.slug}-trial/latest")
    assert artifact["flow_run_id"] == flow_run["id"]
    table = {row["measure"]: row["value"] for row in json.loads(artifact["data"])}
    assert table["tickets"] == trial["data"]["num_obs"] == 200
    assert {name: table[name] for name in trial["data"]["metrics"]} == trial["data"]["metrics"]
    assert trial["id"] in artifact["description"]
    assert trial["flow"] == f"ann-{registered.slug}"
    plain = registered.evaluate(
        "--seed", "5", "--batch-size", "200", "--trials", "none", env=prefect.environment
    )
    assert json.loads(plain.stdout)["data"] == trial["data"]


@pytest.mark.usefixtures("worker")
def test_a_failed_run_is_told_and_its_bad_input_is_not_tried_again(prefect: Prefect):
    result = prefect.run("run", "--watch", "--param", "data=/nonexistent.zip", limit=120)
    assert result.returncode == 1
    assert (
        "Failed: Flow run encountered an exception: InputError: data: cannot read /nonexistent.zip"
        in result.stderr
    )
    tasks = prefect.get(
        "/task_runs/filter",
        {"flow_runs": {"id": {"any_": [prefect.flow_run(result.stdout)["id"]]}}},
    )
    assert [task["run_count"] for task in tasks if task["name"] == "get_ticket_data_batch"] == [1]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("nonsense=1", "the flow has no parameter nonsense; it has data, batch_size"),
        ("batch_size=many", "batch_size='many' is no integer"),
    ],
)
def test_a_bad_parameter_is_refused_before_a_run_is_made(prefect: Prefect, parameter, message):
    def asked_for():
        return [
            each["id"]
            for each in prefect.get("/flow_runs/filter", {})
            if not each["auto_scheduled"]
        ]

    before = asked_for()
    result = prefect.run("run", "--param", parameter)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert asked_for() == before


@pytest.mark.usefixtures("worker")
def test_a_schedule_evaluates_what_was_closed_since_its_last_time(
    prefect: Prefect, registered: Project, tmp_path
):
    """A run that was due at 10:00 takes the window that ends at 10:00, however late it begins."""
    log = tmp_path / "log.csv"
    rows = [
        f"1/3/2016 00:00,{2 + hour // 24}/3/2016 {hour % 24:02d}:30,2 - High" for hour in range(48)
    ]
    log.write_text("\n".join(["sys_updated_at,closed_at,priority", *rows, ""]))
    flow_run = prefect.get(
        f"/deployments/{prefect.deployment(f'ann-{registered.slug}')['id']}/create_flow_run",
        {
            "parameters": {"data": str(log), "closed_last": "24h"},
            "state": {
                "type": "SCHEDULED",
                "state_details": {"scheduled_time": "2016-03-03T10:00:00Z"},
            },
        },
    )
    state = wait_until(
        lambda: (
            (s := prefect.get(f"/flow_runs/{flow_run['id']}")["state"])["type"]
            in ("COMPLETED", "FAILED")
            and s
        ),
        "the run",
    )
    assert state["type"] == "COMPLETED"
    history = prefect.run("history", "--json", "--last", "50")
    trials = [json.loads(line) for line in history.stdout.splitlines()]
    (trial,) = [each for each in trials if each["source"]["data"] == str(log)]
    assert trial["window"] == {"from": "2016-03-02T10:00:00Z", "to": "2016-03-03T10:00:00Z"}
    assert trial["data"]["num_obs"] == 24


@pytest.mark.usefixtures("worker")
def test_a_run_from_a_git_remote_uses_what_is_there_the_whole_package(
    prefect: Prefect, another, tmp_path
):
    project = another(project_slug="from-git", schedule_hours="0")
    environment = {
        "PREFECT_API_URL": prefect.url + "/api",
        "PREFECT_CLOUD_PROJECT_NAME": prefect.project.slug,
        **{
            f"GIT_{who}_{what}": "t@t"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }

    def git(*arguments: str | Path, cwd: Path = project.path) -> None:
        result = run("git", *arguments, cwd=cwd, env={**prefect.environment, **environment})
        assert result.returncode == 0, result.stderr

    remote = tmp_path / "remote.git"
    git("init", "-q", "--bare", "-b", "main", remote)
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "Begin")
    git("remote", "add", "origin", remote)
    refused = prefect.run("register", project=project, env=environment)
    assert refused.returncode == 2
    assert "push it first" in refused.stderr
    git("push", "-q", "-u", "origin", "main")
    result = prefect.run("register", project=project, env=environment)
    assert result.returncode == 0, result.stderr
    assert "git:" not in result.stderr

    clone = tmp_path / "colleague"
    git("clone", "-q", remote, clone)
    model = clone / "src" / "from_git" / "model.py"
    model.write_text(model.read_text().replace("priority-heuristic", "changed-in-the-remote-only"))
    git("commit", "-qam", "Change the model", cwd=clone)
    git("push", "-q", cwd=clone)
    result = prefect.run("run", "--watch", project=project, env=environment, limit=200)
    assert result.returncode == 0, result.stderr
    (kept,) = (project.path / "trials").iterdir()
    assert json.loads(kept.read_text())["model"] == "changed-in-the-remote-only"

    behind = prefect.run("register", project=project, env=environment)
    assert "HEAD is not what the remote's branch main holds" in behind.stderr
    (project.source / "model.py").write_text(
        "# not committed\n" + (project.source / "model.py").read_text()
    )
    result = prefect.run("register", project=project, env=environment)
    assert result.returncode == 0
    assert "changes here are not committed" in result.stderr


def test_a_project_that_the_repository_around_it_does_not_hold_runs_from_its_folder(
    prefect: Prefect, another, tmp_path
):
    """As `make demo` in a clone of the template: the remote there is not the project's."""
    project = another(project_slug="inside")
    for command in (
        ("init", "-q", "-b", "main"),
        ("remote", "add", "origin", "https://127.0.0.1:9/other.git"),
    ):
        assert run("git", *command, cwd=tmp_path).returncode == 0
    result = prefect.run("register", "--dry-run", project=project)
    assert result.returncode == 0, result.stderr
    assert "runs take the code from this folder" in result.stderr
    (step,) = json.loads(result.stdout)["deployment"]["pull_steps"]
    assert step == {
        "prefect.deployments.steps.set_working_directory": {"directory": str(project.path)}
    }


def test_the_flow_file_alone_runs_with_the_options_of_evaluate(
    prefect: Prefect, registered: Project
):
    command = (
        registered.python,
        "-m",
        f"{registered.package}.flow",
        "--data",
        "sample",
        "--seed",
        "1",
    )
    result = registered.run(*command, env=prefect.environment)
    assert result.returncode == 0, result.stderr
    trial = json.loads(result.stdout)
    plain = registered.evaluate(
        "--data", "sample", "--seed", "1", "--trials", "none", env=prefect.environment
    )
    assert trial["data"] == json.loads(plain.stdout)["data"]
    bad = registered.run(*command[:3], "--batch-size", "0", env=prefect.environment)
    assert (bad.returncode, bad.stderr.count("\n")) == (2, 1)


# The hook and the log-in.


def scaffold(prefect: Prefect, folder: Path, environment: dict[str, str], **answers: str):
    arguments = [f"{name}={value}" for name, value in answers.items()]
    env = {**prefect.environment, **environment}
    return run("cookiecutter", "--no-input", "-o", folder, ROOT, *arguments, env=env, limit=300)


def test_the_hook_connects_where_the_environment_names_an_api(prefect: Prefect, tmp_path):
    result = scaffold(
        prefect, tmp_path, {"PREFECT_API_URL": prefect.url + "/api"}, project_slug="hooked"
    )
    assert result.returncode == 0, result.stderr
    assert "created its work pool (process)" in result.stderr
    assert "make connect" not in result.stdout
    assert prefect.get("/work_pools/hooked")["type"] == "process"
    assert "[profiles.project-hooked]" in (prefect.home / ".prefect" / "profiles.toml").read_text()
    project = Project(tmp_path / "hooked", "hooked", "hooked")
    assert prefect.run("connect", project=project).returncode == 0


def test_the_hook_never_costs_anyone_their_project(prefect: Prefect, tmp_path):
    result = scaffold(
        prefect, tmp_path, {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, project_slug="kept"
    )
    assert result.returncode == 0
    assert "Error: PREFECT_API_URL: cannot reach http://127.0.0.1:9/api" in result.stderr
    assert (
        "The project is complete, but it is not connected (2). To try again: cd kept && make connect"
        in result.stderr
    )
    assert (tmp_path / "kept" / "src" / "kept" / "flow.py").exists()


def test_a_key_is_nowhere_but_in_the_profile(prefect: Prefect, tmp_path):
    seen: list[bytes] = []
    stop = threading.Event()

    def watch_processes() -> None:
        while not stop.wait(0.05):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.append(process.read_bytes())
                except OSError:
                    continue

    watcher = threading.Thread(target=watch_processes)
    watcher.start()
    with PrefectCloud(prefect.url, KEY, ["acme/evaluations"]) as cloud:
        environment = {"PREFECT_API_KEY": KEY, "PREFECT_CLOUD_API_URL": cloud.url + "/api"}
        result = scaffold(prefect, tmp_path, environment, project_slug="secretive")
        project = Project(tmp_path / "secretive", "secretive", "secretive")
        registering = prefect.run(
            "register", project=project, env={"PREFECT_CLOUD_API_URL": cloud.url + "/api"}
        )
    stop.set()
    watcher.join()
    assert result.returncode == 0, result.stderr
    assert registering.returncode == 0, registering.stderr
    assert any(b"secretive" in line for line in seen)
    assert not [line for line in seen if KEY.encode() in line]
    assert KEY not in result.stdout + result.stderr + registering.stdout + registering.stderr
    holders = [
        path
        for folder in (tmp_path, prefect.home)
        for path in folder.rglob("*")
        if path.is_file() and ".venv" not in path.parts and KEY.encode() in path.read_bytes()
    ]
    assert holders == [prefect.home / ".prefect" / "profiles.toml"]
    assert holders[0].stat().st_mode & 0o777 == 0o600
    assert list((prefect.home / ".cookiecutter_replay").iterdir())  # it was looked through


def test_no_key_of_an_active_profile_reaches_another_server_from_any_folder(
    prefect: Prefect, another, tmp_path
):
    """A user is logged in to Prefect Cloud; the project is connected to a local server."""
    project = another(project_slug="local-only")
    home = tmp_path / "home"
    (home / ".prefect").mkdir(parents=True)
    profiles = home / ".prefect" / "profiles.toml"
    mine = 'active = "mine"\n\n[profiles.mine]\nPREFECT_API_URL = "https://api.prefect.cloud/api/accounts/x"\n'
    profiles.write_text(
        mine + f'PREFECT_API_KEY = "{KEY}"\nPREFECT_API_AUTH_STRING = "admin:{KEY}"\n'
    )
    with Recorder(prefect.url) as recorder:
        environment = {"HOME": str(home), "PREFECT_API_URL": recorder.url + "/api"}
        assert (
            prefect.run("connect", project=project, env=environment, cwd=tmp_path).returncode == 0
        )
        environment["PREFECT_API_URL"] = None
        for folder in (project.path, tmp_path, home):
            for command in (("connect",), ("register",), ("run",), ("unregister",)):
                result = prefect.run(*command, project=project, env=environment, cwd=folder)
                assert result.returncode == 0, result.stderr
        flow = (project.python, "-m", f"{project.package}.flow")
        result = project.run(*flow, env={**prefect.environment, **environment}, cwd=home)
        assert result.returncode == 0, result.stderr
        log = tmp_path / "worker.log"
        with background(project, log, {**prefect.environment, **environment}, "worker"):
            wait_until(lambda: "started!" in log.read_text(), "the worker")
        sent = list(recorder.requests)
    assert len(sent) > 30
    assert any("worker" in path for _, path, _ in sent)
    for _, path, headers in sent:
        assert "Authorization" not in headers, path
        assert KEY not in str(headers), path
    assert 'active = "mine"' in profiles.read_text()
    assert profiles.read_text().count(KEY) == 2


@pytest.mark.parametrize(
    ("workspaces", "key", "wanted", "message"),
    [
        (["acme/a"], "pnu_wrong", None, REFUSED),
        (["acme/a"], "pcu_old", None, REFUSED),
        (["acme/a"], "hunter2", None, REFUSED),
        ([], KEY, None, "PREFECT_API_KEY: its owner has no workspace"),
        (
            ["acme/a", "acme/b"],
            KEY,
            None,
            "PREFECT_WORKSPACE: the key can see several; set it to one of acme/a, acme/b",
        ),
        (
            ["acme/a"],
            KEY,
            "acme/z",
            "PREFECT_WORKSPACE: names none that the key can see; set it to one of acme/a",
        ),
        (["acme/a", "acme/b"], KEY, "acme/b", None),
        (["acme/a"], KEY, None, None),
    ],
)
def test_logging_in_to_prefect_cloud(prefect: Prefect, tmp_path, workspaces, key, wanted, message):
    home = tmp_path / "home"
    home.mkdir()
    with PrefectCloud(prefect.url, KEY, workspaces) as cloud:
        environment = {
            "HOME": str(home),
            "PREFECT_CLOUD_API_URL": cloud.url + "/api",
            "PREFECT_API_KEY": key,
        }
        result = prefect.run("connect", env={**environment, "PREFECT_WORKSPACE": wanted})
        assert key not in result.stderr
        if message:
            assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
            assert re.match(f"Error: {message}", result.stderr.strip())
            assert not (home / ".prefect" / "profiles.toml").exists()
            return
        assert result.returncode == 0, result.stderr
        _, workspace_id = cloud.workspaces[wanted or "acme/a"]
        assert workspace_id in (home / ".prefect" / "profiles.toml").read_text()
        later = prefect.run("connect", env={**environment, "PREFECT_API_KEY": None})
        assert later.returncode == 0, later.stderr
        assert "as before" in later.stderr


def test_a_key_is_asked_for_on_a_terminal_and_not_shown(prefect: Prefect, another, tmp_path):
    project = another(project_slug="asked")
    merged = {**os.environ, **prefect.environment, "HOME": str(tmp_path)}
    with PrefectCloud(prefect.url, KEY, ["acme/a", "acme/b"]) as cloud:
        merged["PREFECT_CLOUD_API_URL"] = cloud.url + "/api"
        environment = {name: value for name, value in merged.items() if value is not None}
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            [project.command, "connect"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment,
        )
        os.close(terminal)
        shown = b""
        deadline = time.monotonic() + 60
        answers = [(b"API key of Prefect Cloud", KEY), (b"Workspace (acme/a, acme/b)", "acme/b")]
        while time.monotonic() < deadline:
            try:
                shown += os.read(controller, 4096)
            except OSError:  # the terminal is closed: the process has ended
                break
            if answers and answers[0][0] in shown:
                os.write(controller, answers.pop(0)[1].encode() + b"\n")
        assert process.wait(10) == 0, shown
        os.close(controller)
    assert KEY.encode() not in shown
    assert b"For a local server press Enter" in shown
    assert cloud.workspaces["acme/b"][1].encode() in shown


def test_an_existing_log_in_is_used_where_the_user_names_its_profile(
    prefect: Prefect, another, tmp_path
):
    home = tmp_path / "home"
    project = another(project_slug="borrower")
    with PrefectCloud(prefect.url, KEY, ["acme/a"]) as cloud:
        account, workspace = cloud.workspaces["acme/a"]
        (home / ".prefect").mkdir(parents=True)
        (home / ".prefect" / "profiles.toml").write_text(
            f'active = "mine"\n[profiles.mine]\nPREFECT_API_KEY = "{KEY}"\n'
            f'PREFECT_API_URL = "{cloud.url}/api/accounts/{account}/workspaces/{workspace}"\n'
        )
        environment = {"HOME": str(home), "PREFECT_CLOUD_API_URL": cloud.url + "/api"}
        unasked = prefect.run("connect", project=project, env=environment)
        assert (unasked.returncode, cloud.requests) == (2, [])
        named = prefect.run(
            "connect", project=project, env={**environment, "PREFECT_PROFILE": "mine"}
        )
        assert named.returncode == 0, named.stderr
        later = prefect.run("connect", project=project, env=environment)
        assert later.returncode == 0, later.stderr


def test_a_plan_without_process_pools_gets_a_managed_one(prefect: Prefect, another, tmp_path):
    project = another(project_slug="free-plan")
    with PrefectCloud(prefect.url, KEY, ["acme/a"], plan="free") as cloud:
        environment = {
            "HOME": str(tmp_path),
            "PREFECT_CLOUD_API_URL": cloud.url + "/api",
            "PREFECT_API_KEY": KEY,
        }
        result = prefect.run("connect", project=project, env=environment)
        assert result.returncode == 0, result.stderr
        assert "Prefect Cloud runs the flow itself" in result.stderr
        assert prefect.get("/work_pools/free-plan")["type"] == "prefect:managed"
        refused = prefect.run("register", project=project, env=environment)
        assert refused.returncode == 2
        assert "cannot see this folder; push it to a git remote" in refused.stderr


def with_limits(project: Project, module: str, limits: str) -> str:
    """A program: the command line with shorter limits, so that no test waits for the real ones."""
    assignment = re.sub(r"SECONDS", "module.SECONDS", limits)
    return (
        f"from {project.package} import __main__, {module} as module; {assignment}; __main__.main()"
    )


class OtherApi(QuietHandler):
    """Answers as other things do that an address may lead to; the first part of the path says which."""

    def handle_any(self) -> None:
        self.body()
        kind = self.path.split("/")[1]
        if kind == "stalls":
            time.sleep(60)
        elif kind == "prefect-2" and self.path.endswith("/admin/version"):
            self.answer(200, b'"2.20.3"')
        elif kind == "prefect-1":  # its GraphQL server knows no path but the root
            self.answer(404, b"Not Found", "text/plain")
        elif kind == "page":
            self.answer(200, b"<html>Welcome</html>", "text/html")
        else:
            self.answer(503, b"{}", Retry_After="3600")

    do_GET = do_POST = handle_any  # noqa: N815  names of http.server


def test_a_key_goes_nowhere_but_to_prefect_cloud_or_where_the_environment_says(
    prefect: Prefect, another, tmp_path
):
    """Neither the folder one happens to be in nor the active profile says where Prefect Cloud is, or adds a header."""
    project = another(project_slug="careful")
    home, folder = tmp_path / "home", tmp_path / "folder"
    (home / ".prefect").mkdir(parents=True)
    folder.mkdir()
    with Recorder(prefect.url) as recorder, PrefectCloud(prefect.url, KEY, ["acme/a"]) as cloud:
        (folder / "prefect.toml").write_text(f'[cloud]\napi_url = "{recorder.url}/api"\n')
        (home / ".prefect" / "profiles.toml").write_text(
            f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{recorder.url}/api"\nPREFECT_API_KEY = "{KEY}"\n'
            f'PREFECT_CLIENT_CUSTOM_HEADERS = \'{{"X-Mine": "{KEY}"}}\'\n'
        )
        environment = {
            "HOME": str(home),
            "PREFECT_CLOUD_API_URL": cloud.url + "/api",
            "PREFECT_API_KEY": KEY,
        }
        result = prefect.run("connect", project=project, env=environment, cwd=folder)
        assert result.returncode == 0, result.stderr
        assert not any("X-Mine" in headers for _, _, headers in cloud.requests)
        unconnected = {**prefect.environment, "HOME": str(home), "PREFECT_API_URL": None}
        (home / ".prefect" / "profiles.toml").write_text(
            f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{recorder.url}/api"\nPREFECT_API_KEY = "{KEY}"\n'
        )
        flow = project.run(
            project.python, "-m", "careful.flow", "--data", "sample", env=unconnected, cwd=folder
        )
        assert flow.returncode == 0, flow.stderr
        assert recorder.requests == []


def test_what_answers_in_the_place_of_prefect_cloud_is_told_in_one_line(
    prefect: Prefect, another, tmp_path
):
    project = another(project_slug="captive")
    with LoopbackServer(OtherApi) as other:
        environment = {
            "HOME": str(tmp_path),
            "PREFECT_CLOUD_API_URL": f"{other.url}/page/api",
            "PREFECT_API_KEY": KEY,
        }
        result = prefect.run("connect", project=project, env=environment)
    assert result.returncode == 2
    assert "does not answer as Prefect Cloud does" in result.stderr
    assert result.stderr.count("\n") == 1


def test_from_a_local_server_a_key_leads_to_prefect_cloud(prefect: Prefect, another, tmp_path):
    project = another(project_slug="moving")
    local = {"HOME": str(tmp_path), "PREFECT_API_URL": prefect.url + "/api"}
    assert prefect.run("connect", project=project, env=local).returncode == 0
    with PrefectCloud(prefect.url, KEY, ["acme/a"]) as cloud:
        environment = {"HOME": str(tmp_path), "PREFECT_CLOUD_API_URL": cloud.url + "/api"}
        result = prefect.run(
            "connect", project=project, env={**environment, "PREFECT_API_KEY": KEY}
        )
        assert result.returncode == 0, result.stderr
        assert cloud.workspaces["acme/a"][1] in result.stderr


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("stalls", "did not answer within"),
        ("prefect-2", "is Prefect 2.20.3, and this project needs 3"),
        ("prefect-1", "For Prefect 1's API generate the project with prefect_version=1"),
        ("page", "does not answer as Prefect 3's API does"),
        ("unreachable", "cannot reach"),
        ("unavailable", "did not answer within"),
    ],
)
def test_an_api_that_will_not_do_is_told_in_one_line_within_limits(
    registered, tmp_path, prefect, kind, message
):
    home = tmp_path / "home"
    home.mkdir()
    with LoopbackServer(OtherApi) as other:
        url = "http://127.0.0.1:9" if kind == "unreachable" else other.url
        # The limit is shortened where it would be waited out: no test waits for 45 s.
        limited = with_limits(registered, "connect", "SECONDS_TO_ANSWER = 3")
        env = {**prefect.environment, "HOME": str(home), "PREFECT_API_URL": f"{url}/{kind}/api"}
        result = registered.run(registered.python, "-c", limited, "connect", env=env, limit=60)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (home / ".prefect" / "profiles.toml").exists()


# Faults on the way.


def test_a_taken_port_is_told_in_one_line(prefect: Prefect):
    port = prefect.url.rpartition(":")[2]
    result = prefect.run("server", "--port", port)
    assert result.returncode == 2
    assert result.stderr.startswith(
        f"Error: port: {port} cannot be had (Address already in use); take another"
    )
    assert result.stderr.count("\n") == 1


def test_a_server_that_does_not_start_costs_no_log_in(prefect: Prefect, tmp_path):
    (tmp_path / ".prefect").mkdir()
    profiles = tmp_path / ".prefect" / "profiles.toml"
    profiles.write_text(
        f'[profiles.project-{prefect.project.slug}]\nPREFECT_API_URL = "https://cloud/api"\nPREFECT_API_KEY = "{KEY}"\n'
    )
    (tmp_path / ".prefect" / "prefect.db").write_text("this is no database")
    before = profiles.read_bytes()
    result = prefect.run(
        "server", "--port", str(free_port()), env={"HOME": str(tmp_path), "PREFECT_HOME": None}
    )
    assert result.returncode == 2
    assert "not a database" in result.stderr
    assert result.stderr.splitlines()[-1].startswith(
        "Error: server: it has ended, or has not answered in time; what"
    )
    assert profiles.read_bytes() == before


def test_the_api_stops_while_registering_and_nothing_is_half_done(prefect: Prefect, another):
    project = another(project_slug="interrupted", schedule_hours="0")
    with Recorder(prefect.url) as recorder:
        environment = {"PREFECT_API_URL": recorder.url + "/api", "PREFECT_API_REQUEST_TIMEOUT": "2"}
        assert prefect.run("connect", project=project, env=environment).returncode == 0
        recorder.down_after = 3
        result = prefect.run("register", project=project, env=environment, limit=90)
        assert result.returncode == 2, result.stderr
        assert re.search(r"Error: PREFECT_API_URL: (cannot reach|http)", result.stderr)
        assert "Traceback" not in result.stderr
        assert (
            prefect.get("/deployments/filter", {"deployments": {"name": {"any_": ["interrupted"]}}})
            == []
        )
        recorder.down, recorder.down_after = False, None
        assert prefect.run("register", project=project, env=environment).returncode == 0


class SlowLog(QuietHandler):
    """A log that does not come before the test says so."""

    release = threading.Event()
    asked = threading.Event()
    content = b"sys_updated_at,closed_at,priority\n1/3/2016 00:00,2/3/2016 00:00,2 - High\n"

    def do_GET(self) -> None:  # noqa: N802  name of http.server
        type(self).asked.set()
        self.release.wait(60)
        self.answer(200, self.content, "text/csv")


@pytest.fixture
def slow_log() -> Iterator[str]:
    SlowLog.release.clear()
    SlowLog.asked.clear()
    with LoopbackServer(SlowLog) as server:
        yield f"{server.url}/log.csv"
        SlowLog.release.set()


@pytest.mark.usefixtures("registered", "worker")
def test_the_api_is_away_while_a_run_is_watched_and_the_watch_goes_on(
    prefect: Prefect, slow_log, tmp_path
):
    log = tmp_path / "watch.log"
    with Recorder(prefect.url) as recorder:
        environment = {**prefect.environment, "PREFECT_API_URL": recorder.url + "/api"}
        command = ("run", "--watch", "--param", f"data={slow_log}")
        with background(prefect.project, log, environment, *command) as watching:
            assert SlowLog.asked.wait(90)
            recorder.down = True
            wait_until(lambda: "Trying again for 60 s" in log.read_text(), "the watch to notice")
            recorder.down = False
            SlowLog.release.set()
            assert watching.wait(60) == 0, log.read_text()
    assert "cannot reach" in log.read_text()
    assert "Completed" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_run_without_a_worker_and_a_worker_killed_in_a_trial(prefect: Prefect, another, slow_log):
    """Both are told or seen in Prefect, no trial is half-written, and the next run is as any other."""
    project = another(project_slug="killed", schedule_hours="0")
    environment = {"PREFECT_API_URL": prefect.url + "/api"}
    for command in ("connect", "register"):
        assert prefect.run(command, project=project, env=environment).returncode == 0
    shorter = with_limits(project, "register", "SECONDS_UNTIL_TOLD, SECONDS_FOR_A_WORKER = 1, 3")
    run_and_watch = (project.python, "-c", shorter, "run", "--watch", "--param", f"data={slow_log}")
    result = project.run(*run_and_watch, env=prefect.environment)
    assert result.returncode == 1
    assert (
        "no worker of the work pool killed is online: start one with `make worker`" in result.stderr
    )
    assert "it stays scheduled" in result.stderr

    log = project.path / "worker.log"
    with background(project, log, prefect.environment, "worker") as process:
        assert SlowLog.asked.wait(90)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    SlowLog.release.set()
    time.sleep(
        2
    )  # the run is a process of its own, which the kill may have left; it may end well or not at all
    trials = [*(project.path / "trials").glob("*")] if (project.path / "trials").exists() else []
    assert all(json.loads(path.read_text())["data"]["num_obs"] == 1 for path in trials)
    assert prefect.flow_run(result.stdout)["state"]["type"] in (
        "RUNNING",
        "COMPLETED",
        "CRASHED",
        "CANCELLED",
    )
    with background(project, log, prefect.environment, "worker"):
        again = prefect.run("run", "--watch", project=project, limit=120)
    assert again.returncode == 0, again.stderr
    assert len([*(project.path / "trials").glob("*.json")]) == len(trials) + 1


def test_a_paused_work_pool_is_named(prefect: Prefect, another):
    project = another(project_slug="paused", schedule_hours="0")
    environment = {**prefect.environment, "PREFECT_API_URL": prefect.url + "/api"}
    assert prefect.run("register", project=project, env=environment).returncode == 0
    pause = project.run(
        project.python, "-m", "prefect", "work-pool", "pause", "paused", env=environment
    )
    assert pause.returncode == 0, pause.stderr
    shorter = with_limits(project, "register", "SECONDS_UNTIL_TOLD, SECONDS_FOR_A_WORKER = 1, 3")
    result = project.run(project.python, "-c", shorter, "run", "--watch", env=environment)
    assert result.returncode == 1
    assert result.stderr.count("the work pool paused is paused: resume it on Prefect's pages") == 1
    assert "it stays scheduled" in result.stderr


def test_the_server_stops_while_a_worker_runs_the_flow(
    prefect: Prefect, another, slow_log, tmp_path
):
    """The trial is kept all the same, and once the server is there again the same worker takes the next run."""
    home = tmp_path / "home"
    home.mkdir()
    project = another(project_slug="outlived", schedule_hours="0")
    environment = {**prefect.environment, "HOME": str(home)}
    port = free_port()
    logs = [tmp_path / "server.log", tmp_path / "server-again.log", tmp_path / "worker.log"]

    def serve(log: Path):
        return background(project, log, environment, "server", "--port", str(port))

    with ExitStack() as running:
        with serve(logs[0]):
            wait_until(lambda: "Ctrl-C stops" in logs[0].read_text(), "the server")
            assert prefect.run("register", project=project, env=environment).returncode == 0
            running.enter_context(background(project, logs[2], environment, "worker"))
            result = prefect.run(
                "run", "--param", f"data={slow_log}", project=project, env=environment
            )
            assert result.returncode == 0, result.stderr
            assert SlowLog.asked.wait(90)
        SlowLog.release.set()
        trials = wait_until(
            lambda: [*(project.path / "trials").glob("*.json")], "the trial", limit=120
        )
        assert [json.loads(trial.read_text())["data"]["num_obs"] for trial in trials] == [1]
        away = prefect.run("run", project=project, env=environment)
        assert (away.returncode, away.stderr.count("\n")) == (2, 1), away.stderr
        assert f"cannot reach http://127.0.0.1:{port}/api" in away.stderr
        running.enter_context(serve(logs[1]))
        wait_until(lambda: "Ctrl-C stops" in logs[1].read_text(), "the server, again")
        again = prefect.run("run", "--watch", project=project, env=environment, limit=200)
        assert again.returncode == 0, again.stderr + logs[2].read_text()
    assert len([*(project.path / "trials").glob("*.json")]) == 2


def test_a_run_clones_a_private_remote_with_a_token_that_only_prefects_block_holds(
    prefect: Prefect, another, tmp_path
):
    token = "ghp_0123456789SECRET"
    project = another(project_slug="private", schedule_hours="0")
    remotes = tmp_path / "remotes"
    with PrivateGit(remotes, token, tmp_path) as remote:
        environment = {
            **prefect.environment,
            "PREFECT_API_URL": prefect.url + "/api",
            "GIT_SSL_CAINFO": str(remote.authority),
            "GIT_TERMINAL_PROMPT": "0",
            **{
                f"GIT_{who}_{what}": "t@t"
                for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
        }

        def git(*arguments: str | Path, cwd: Path = project.path) -> None:
            result = run("git", *arguments, cwd=cwd, env=environment)
            assert result.returncode == 0, result.stderr

        git("init", "-q", "--bare", "-b", "main", remotes / "private.git", cwd=tmp_path)
        git("init", "-q", "-b", "main")
        git("add", "-A")
        git("commit", "-qm", "Begin")
        # A person's own log-in, here in the remote's URL, must not find its way to Prefect.
        git(
            "remote",
            "add",
            "origin",
            f"{remote.url.replace('://', f'://ann:{token}@')}/private.git",
        )
        git("-c", "http.postBuffer=50000000", "push", "-q", "-u", "origin", "main")
        save = "import sys; from prefect.blocks.system import Secret; Secret(value=sys.stdin.read()).save('git-token')"
        subprocess.run(
            [project.python, "-c", save],
            input=token,
            text=True,
            check=True,
            env={
                name: value
                for name, value in {**os.environ, **environment}.items()
                if value is not None
            },
        )
        assert prefect.run("connect", project=project, env=environment).returncode == 0
        wrong = prefect.run(
            "register", project=project, env={**environment, "GIT_BLOCK": "git-token"}
        )
        assert wrong.returncode == 2
        assert "GIT_BLOCK: 'git-token' is not of the form type/name" in wrong.stderr
        result = prefect.run(
            "register", project=project, env={**environment, "GIT_BLOCK": "secret/git-token"}
        )
        assert result.returncode == 0, result.stderr
        deployment = json.dumps(prefect.get("/deployments/name/ann-private/private"))
        assert token not in deployment + result.stderr
        assert "{{ prefect.blocks.secret.git-token }}" in deployment
        log = tmp_path / "worker.log"
        with background(project, log, environment, "worker"):
            result = prefect.run("run", "--watch", project=project, env=environment, limit=200)
        assert result.returncode == 0, result.stderr + log.read_text()
        assert token not in result.stderr + log.read_text()
        assert len(list((project.path / "trials").iterdir())) == 1

"""Variant 1 end to end: the real prefect 1.4.1 and prefect-saturn 0.6.0 against stand-ins of the two services."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import existing
from projects import ROOT, Project, bake, lend_environment, run, uv
from servers.loopback import StandIn
from servers.prefect_1 import PrefectAPI
from servers.saturn_1 import IMAGE, LABELS, SaturnAPI

KEY, TOKEN = "pcu_Secret-of-Ann", "Secret-of-Saturn"  # only the stand-ins take them
AGENT = Path(__file__).parent / "servers" / "agent_1.py"
FLOW = "ann-ticket-model-evaluation"
PROJECT = "ticket-model-evaluation"
STEPS = ["get_trial_id", "get_ticket_data_batch", "get_target", "predict", *["evaluate_model"] * 4]
STEPS += ["get_trial_summary", "write_trial_summary"]
# What Saturn's containers have set besides: so that the runs' waits are short.
QUICK = {
    "PREFECT__CLOUD__HEARTBEAT_MODE": "off",
    "PREFECT__CLOUD__CHECK_CANCELLATION_INTERVAL": "1",
    "PREFECT__CLOUD__LOGGING_HEARTBEAT": "1",
}


class DataServer(StandIn):
    """Serves the event log."""

    content = b""

    def respond(self, *_: object) -> tuple[int, bytes, str]:
        return 200, self.content, "application/zip"


@dataclass
class Site:
    """A project of variant 1, the services it talks to, and the image that Saturn runs it in."""

    project: Project
    folder: Path
    api: PrefectAPI
    saturn: SaturnAPI
    data: DataServer
    env: dict[str, str | None] = field(default_factory=dict)

    def command(
        self, *arguments: str, limit: int = 90, **env: str | None
    ) -> subprocess.CompletedProcess[str]:
        return self.project.run(
            self.project.command, *arguments, env={**self.env, **env}, limit=limit
        )

    def refuses(self, *arguments: str, **env: str | None) -> str:
        """Run a command that must end with 2 and one line, and show no secret; gives the line."""
        result = self.command(*arguments, **env)
        assert result.returncode == 2, result.stdout + result.stderr
        assert result.stdout == ""
        *before, last = result.stderr.splitlines()
        assert "Traceback" not in result.stderr
        assert not [line for line in before if line.startswith("Error")]
        assert KEY not in result.stderr
        assert TOKEN not in result.stderr
        assert last.startswith("Error: ")
        return last

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the original `prefect` command."""
        return self.project.run(self.project.python, "-m", "prefect", *arguments, env=self.env)

    def query(self, document: str, **variables: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {KEY}", "X-PREFECT-CORE-VERSION": "1.4.1"}
        body = {"query": document, "variables": json.dumps(variables)}
        answer = requests.post(self.api.url, json=body, headers=headers, timeout=10).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def flow_run(self, run_id: str) -> dict[str, Any]:
        """A run as the API tells of it."""
        wanted = """query($id: UUID!) { flow_run_by_pk(id: $id) { state serialized_state states { state }
            logs(order_by: {timestamp: asc}) { level name message }
            task_runs { id state serialized_state task { name } } } }"""
        return self.query(wanted, id=run_id)["flow_run_by_pk"]

    def log(self, run_id: str) -> str:
        return "\n".join(entry["message"] for entry in self.flow_run(run_id)["logs"])

    def jobs(self) -> list[dict[str, Any]]:
        """Let Saturn's agent poll once; gives the jobs that it submits."""
        env = {**self.env, "PREFECT__CLOUD__API_KEY": KEY}
        result = run(
            self.image / "bin" / "python", AGENT, *LABELS, env=env, cwd=self.folder, limit=60
        )
        assert result.returncode == 0, result.stderr
        return [json.loads(line) for line in result.stdout.splitlines()]

    @property
    def image(self) -> Path:
        return self.folder / "image"

    def execute(self, job: dict[str, Any]) -> subprocess.Popen[str]:
        """Start a job's container: the image, an empty folder, and the job's own environment alone."""
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["image"] == IMAGE
        folder = self.folder / "containers" / job["metadata"]["name"]
        folder.mkdir(parents=True)
        env = {entry["name"]: entry["value"] for entry in container["env"]}
        env |= {
            "PATH": f"{self.image / 'bin'}:/usr/bin:/bin",
            "HOME": str(folder),
            "CACHE_DIR": str(folder / "cache"),
        }
        return subprocess.Popen(
            container["args"],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def execute_all(self) -> None:
        """Let the agent poll, and its jobs run to their end."""
        for job in self.jobs():
            process = self.execute(job)
            output, _ = process.communicate(timeout=90)
            assert process.returncode == 0, output

    def trials(self) -> list[dict[str, Any]]:
        return [
            json.loads(path.read_text()) for path in sorted((self.folder / "kept").glob("*.json"))
        ]

    @contextlib.contextmanager
    def checkout_away(self) -> Iterator[None]:
        away = self.project.path.with_name("away")
        self.project.path.rename(away)
        try:
            yield
        finally:
            away.rename(self.project.path)


def make_site(folder: Path, installed: Project) -> Site:
    project = lend_environment(bake(folder, prefect_version="1"), installed)
    flow = project.source / "orchestration" / "flow.py"
    text = flow.read_text()
    assert "timedelta(minutes=1)" in text
    flow.write_text(text.replace("timedelta(minutes=1)", "timedelta(seconds=1)"))
    site = Site(
        project,
        folder,
        PrefectAPI({KEY: ["team"], "other": ["others", "team"], "token": []}),
        SaturnAPI(TOKEN, QUICK),
        DataServer(),
    )
    (folder / "kept").mkdir()
    site.env = {
        **{"HOME": str(folder / "home"), "SATURN_USERNAME": "ann", "PREFECT_USER_TOKEN": KEY},
        **{"PREFECT__CLOUD__API": site.api.url, "BASE_URL": site.saturn.url, "SATURN_TOKEN": TOKEN},
        **{"DATA_URL": "sample", "TRIALS_URL": f"file://{folder}/kept", "API_TIMEOUT": "30"},
    }
    # Saturn's image: the requirements, and nothing of the project.
    uv("venv", "--quiet", "--python", project.python.resolve(), site.image)
    packages = next((installed.path / ".venv" / "lib").glob("python*/site-packages"))
    own = next((site.image / "lib").glob("python*/site-packages"))
    (own / "lent.pth").write_text(f"{packages}\n")
    script = site.image / "bin" / "prefect"
    script.write_text(f'#!/bin/sh\nexec {site.image}/bin/python -m prefect "$@"\n')
    script.chmod(0o755)
    return site


@pytest.fixture(scope="module", params=["3.13", "3.10"])
def any_site(request, tmp_path_factory, installed) -> Iterator[Site]:
    yield from _site(
        tmp_path_factory.mktemp(f"site-{request.param}"), installed(*existing("1", request.param))
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory, installed) -> Iterator[Site]:
    yield from _site(tmp_path_factory.mktemp("site"), installed(*existing("1")))


def _site(folder: Path, installed: Project) -> Iterator[Site]:
    site = make_site(folder, installed)
    with site.api, site.saturn, site.data:
        yield site


@pytest.fixture
def registered(site: Site) -> Site:
    result = site.command("register")
    assert result.returncode == 0, result.stderr
    return site


def wait_until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_from_the_log_in_to_the_trial(any_site: Site) -> None:
    site, api, saturn = any_site, any_site.api, any_site.saturn
    home = Path(str(site.env["HOME"]))

    # A key that is not accepted leaves nothing behind.
    assert "does not accept the key" in site.refuses("connect", PREFECT_USER_TOKEN="wrong")
    assert api.mutations == []
    assert not (home / ".prefect" / "auth.toml").exists()

    first, second = site.command("connect"), site.command("connect")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert KEY not in first.stdout + first.stderr
    assert f"project {PROJECT}: created" in first.stderr
    assert f"project {PROJECT} is there already" in second.stderr
    assert api.mutations == ["create_project"]
    auth = home / ".prefect" / "auth.toml"
    assert stat.S_IMODE(auth.stat().st_mode) == 0o600
    assert KEY in auth.read_text()

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
    assert starts[0] > datetime.now(timezone.utc)
    assert {later - earlier for earlier, later in itertools.pairwise(starts)} == {
        timedelta(hours=24)
    }

    # Once more: nothing new anywhere.
    before = list(api.mutations)
    again = site.command("register")
    assert (again.returncode, again.stdout.strip()) == (0, flow_id), again.stderr
    assert "nothing has changed" in again.stderr
    assert api.mutations == before
    assert len(stored["versions"]) == 1

    # The original's own way to start it; Saturn's agent and container carry it out, without sight of the checkout.
    options = ("--param", "seed=3", "--param", "batch-size=6000")
    result = site.prefect("run", "--name", FLOW, "--project", PROJECT, *options)
    assert result.returncode == 0, result.stdout + result.stderr
    run_id = re.search(r"UUID: (\S+)", result.stdout)[1]
    with site.checkout_away():
        absent = run(
            site.image / "bin" / "python", "-c", "import ticket_model_evaluation", cwd=site.folder
        )
        assert "ModuleNotFoundError" in absent.stderr
        site.execute_all()
    done = site.flow_run(run_id)
    assert done["state"] == "Success", site.log(run_id)
    assert [state["state"] for state in done["states"]] == [
        "Pending",
        "Scheduled",
        "Submitted",
        "Running",
        "Success",
    ]
    assert {task_run["state"] for task_run in done["task_runs"]} == {"Success"}
    (trial,) = site.trials()
    logged = [entry["message"] for entry in done["logs"] if entry["message"].startswith("{")]
    assert [json.loads(message) for message in logged] == [trial]
    assert trial["flow"] == FLOW
    assert trial["data"]["num_obs"] == 5000
    assert trial["selection"] == {"batch_size": 6000, "seed": 3, "closed_last": None}
    assert any(
        "taking all" in entry["message"] for entry in done["logs"]
    )  # the package's own log, too


def test_the_hook_connects_and_costs_nobody_their_project(site: Site) -> None:
    env = {**site.env, "PREFECT_CLOUD_PROJECT_NAME": None, "HOME": str(site.folder / "hook-home")}
    generate = (
        "cookiecutter",
        ROOT,
        "--no-input",
        "-o",
        site.folder / "hooked",
        "prefect_version=1",
    )
    for name, key, said in (
        ("wrong", "wrong", "does not accept the key"),
        ("right", KEY, "project right: created"),
    ):
        result = run(
            *generate, f"project_name={name}", env={**env, "PREFECT_USER_TOKEN": key}, limit=300
        )
        assert result.returncode == 0, result.stderr
        assert said in result.stderr
        assert ("make connect" in result.stderr) == (key != KEY)
        assert KEY not in result.stdout + result.stderr
        assert (site.folder / "hooked" / name / "src" / name / "orchestration" / "flow.py").exists()
    assert [
        row["name"] for row in site.api.tables["project"] if row["name"] in ("wrong", "right")
    ] == ["right"]
    replays = [path.read_text() for path in (site.folder / "hook-home").rglob("*.json")]
    assert not any(KEY in replay for replay in replays)


def test_a_changed_model_is_a_new_version_and_unregister_takes_it_back(registered: Site) -> None:
    site, api = registered, registered.api
    model = site.project.source / "model.py"
    before = len(api.tables["flow"])
    text = model.read_text()
    model.write_text(text.replace("priority-heuristic", "another"))
    assert site.command("register").returncode == 0
    assert [row["archived"] for row in api.tables["flow"]] == [True] * before + [False]
    model.write_text(text)

    result = site.command("unregister")
    assert result.returncode == 0, result.stderr
    assert all(row["archived"] for row in api.tables["flow"])
    assert not [row for row in api.tables["flow_run"] if row["state"] == "Scheduled"]
    assert "is not registered" in site.command("unregister").stderr
    assert "`register` does that" in site.refuses("run")
    assert site.command("register").returncode == 0
    assert [row["archived"] for row in api.tables["flow"]].count(False) == 1


def test_a_registration_that_broke_off_is_finished_the_next_time(site: Site) -> None:
    site.command("unregister")
    site.api.failing = {"register_edges"}
    try:
        assert "Operation failed" in site.refuses("register")
    finally:
        site.api.failing = set()
    result = site.command("register")
    assert result.returncode == 0, result.stderr
    assert "nothing has changed" not in result.stderr
    (flow,) = (row for row in site.api.tables["flow"] if not row["archived"])
    assert flow["is_schedule_active"]
    assert "nothing has changed" in site.command("register").stderr


def start(site: Site, *parameters: str) -> str:
    options = [part for parameter in parameters for part in ("--param", parameter)]
    result = site.command("run", *options)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def watch(site: Site, parameter: str) -> tuple[int, str, str]:
    """Run and watch the flow while Saturn runs it; gives the exit status, the run's id and what was shown."""
    command = [str(site.project.command), "run", "--watch", "--param", parameter]
    env = {name: value for name, value in {**os.environ, **site.env}.items() if value is not None}
    watching = subprocess.Popen(
        command,
        cwd=site.project.path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(
        lambda: any(
            run["state"] == "Scheduled" and not run["auto_scheduled"]
            for run in site.api.tables["flow_run"]
        )
    )
    site.execute_all()
    stdout, stderr = watching.communicate(timeout=60)
    return watching.returncode, stdout.strip(), stderr


def test_watching_shows_states_and_log_and_ends_with_success(registered: Site) -> None:
    status, run_id, shown = watch(registered, "all=true")
    assert status == 0, shown
    assert registered.flow_run(run_id)["state"] == "Success"
    assert "Entered state <Running>" in shown
    assert registered.trials()[-1]["id"] in shown


def test_a_window_without_tickets_ends_well_without_a_trial(registered: Site) -> None:
    trials = registered.trials()
    run_id = start(registered, "closed-from=2030-01-01")
    registered.execute_all()
    done = registered.flow_run(run_id)
    assert done["state"] == "Success"
    assert {row["state"] for row in done["task_runs"] if row["task"]["name"] == "predict"} == {
        "Skipped"
    }
    assert any("no ticket was closed in the window" in entry["message"] for entry in done["logs"])
    assert registered.trials() == trials


def test_closed_last_ends_at_the_scheduled_time(registered: Site) -> None:
    (flow,) = (row for row in registered.api.tables["flow"] if not row["archived"])
    create = "mutation($input: create_flow_run_input!) { create_flow_run(input: $input) { id } }"
    parameters = {"closed-last": "7d", "batch-size": None}
    asked = {
        "flow_id": flow["id"],
        "scheduled_start_time": "2016-05-01T00:00:00+00:00",
        "parameters": parameters,
    }
    run_id = registered.query(create, input=asked)["create_flow_run"]["id"]
    registered.execute_all()
    assert registered.flow_run(run_id)["state"] == "Success"
    (trial,) = (trial for trial in registered.trials() if trial["selection"]["closed_last"] == "7d")
    assert trial["window"] == {"from": "2016-04-24T00:00:00Z", "to": "2016-05-01T00:00:00Z"}
    assert trial["selection"]["batch_size"] is None


def test_a_step_that_fails_fails_the_run_in_one_line(registered: Site) -> None:
    trials = registered.trials()
    status, run_id, shown = watch(registered, "data=/nowhere.zip")
    assert status == 1
    assert "data: cannot read /nowhere.zip" in shown
    done = registered.flow_run(run_id)
    assert done["state"] == "Failed"
    states = {row["task"]["name"]: row["state"] for row in done["task_runs"]}
    assert states["get_ticket_data_batch"] == "Failed"
    assert states["write_trial_summary"] == "TriggerFailed"
    errors = [entry["message"] for entry in done["logs"] if entry["level"] == "ERROR"]
    assert errors == [
        "data: cannot read /nowhere.zip: No such file or directory; give a path, a URL or `sample`"
    ]
    assert registered.trials() == trials


def test_a_step_that_waits_on_others_is_tried_again(registered: Site) -> None:
    site = registered
    make = "import sys; from ticket_model_evaluation.incident_log.sample import make_log; sys.stdout.buffer.write(make_log(50))"
    site.data.content = subprocess.run(
        [site.project.python, "-c", make], capture_output=True, check=True
    ).stdout
    site.data.fault, site.data.spare = "503", 0
    run_id = start(site, f"data={site.data.url}/log.zip")
    (job,) = site.jobs()
    process = site.execute(job)
    try:
        wait_until(lambda: "Retrying" in task_states(site, run_id))
        site.data.fault = None
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        site.data.fault = None
    assert site.flow_run(run_id)["state"] == "Success", output
    assert site.trials()[-1]["data"]["num_obs"] == 50


def task_states(site: Site, run_id: str) -> list[str]:
    task_runs = {row["id"] for row in site.api.tables["task_run"] if row["flow_run_id"] == run_id}
    return [
        row["state"] for row in site.api.tables["task_run_state"] if row["task_run_id"] in task_runs
    ]


def test_a_cancelled_run_stops(registered: Site) -> None:
    site = registered
    trials = site.trials()
    site.data.fault, site.data.spare = "stall", 0
    run_id = start(site, f"data={site.data.url}/log.zip")
    (job,) = site.jobs()
    process = site.execute(job)
    try:
        wait_until(lambda: task_states(site, run_id).count("Running") > 5)
        cancel = (
            "mutation($input: cancel_flow_run_input!) { cancel_flow_run(input: $input) { state } }"
        )
        site.query(cancel, input={"flow_run_id": run_id})
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        site.data.fault = None
    done = site.flow_run(run_id)
    assert done["state"] == "Cancelled", output
    assert "Cancelling" in [state["state"] for state in done["states"]]
    assert {row["state"] for row in done["task_runs"]} <= {"Success", "Cancelled"}
    assert site.trials() == trials


@pytest.mark.parametrize(
    ("fault", "spare", "message"),
    [
        ("429", 0, "is called too often"),
        ("429", 2, "Prefect: the API answered 429; it is called too often"),
        ("503", 0, "answered 503; try again later"),
        ("503", 1, "Prefect: no answer within 3 s"),
        ("404", 0, "does not speak Prefect 1's GraphQL, as Prefect 2 and 3 do not"),
        ("html", 0, "does not speak Prefect 1's GraphQL"),
        ("stall", 0, "does not answer"),
        ("stall", 1, "Prefect: no answer within 3 s"),
    ],
)
def test_an_api_in_trouble_is_told_within_a_bounded_time(
    site: Site, fault: str, spare: int, message: str
) -> None:
    before = list(site.api.mutations)
    site.api.fault, site.api.spare = fault, spare
    try:
        assert message in site.refuses("connect", API_TIMEOUT="3")
    finally:
        site.api.fault = None
    assert site.api.mutations == before


def test_a_key_for_another_tenant_and_a_token_are_told_apart(site: Site) -> None:
    tenants = {row["slug"]: row["id"] for row in site.api.tables["tenant"]}
    line = site.refuses("connect", PREFECT__CLOUD__TENANT_ID=tenants["others"])
    assert "PREFECT__CLOUD__TENANT_ID: the key is not for tenant" in line
    assert "PREFECT__CLOUD__TENANT_ID" in site.refuses("connect", PREFECT__CLOUD__TENANT_ID="mine")
    assert "An API token was used as an API key" in site.refuses(
        "connect", PREFECT_USER_TOKEN="token"
    )
    assert "unset one of the two" in site.refuses("connect", PREFECT__CLOUD__API_KEY="other")
    assert "characters that no key has" in site.refuses("connect", PREFECT_USER_TOKEN="a b")
    home = str(site.folder / "other-home")
    assert "PREFECT_USER_TOKEN: not set" in site.refuses(
        "connect", PREFECT_USER_TOKEN=None, HOME=home
    )
    # A key that is for two tenants, and the one that the environment names.
    env = {"PREFECT_USER_TOKEN": "other", "HOME": home, "PREFECT_CLOUD_PROJECT_NAME": "second"}
    result = site.command("connect", PREFECT__CLOUD__TENANT_ID=tenants["team"], **env)
    assert "tenant team" in result.stderr, result.stderr
    assert [row["tenant_id"] for row in site.api.tables["project"] if row["name"] == "second"] == [
        tenants["team"]
    ]
    assert "tenant team" in site.command("connect", **env).stderr  # which is kept with the log-in
    env["HOME"] = str(site.folder / "third-home")
    assert "tenant others" in site.command("connect", **env).stderr  # the key's own


def test_a_key_is_asked_for_on_a_terminal_and_not_shown(site: Site) -> None:
    env = {
        **os.environ,
        **site.env,
        "PREFECT_USER_TOKEN": "",
        "HOME": str(site.folder / "typed-home"),
    }
    env = {name: value for name, value in env.items() if value is not None}
    keyboard, terminal = os.openpty()
    command = [str(site.project.command), "connect"]
    asking = subprocess.Popen(
        command,
        cwd=site.project.path,
        env=env,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # which the end of the other side is
        while chunk := os.read(keyboard, 1000):
            if b"API key for" in chunk:
                os.write(keyboard, f"{KEY}\n".encode())
            shown += chunk
    assert asking.wait(60) == 0, shown
    assert KEY.encode() not in shown
    assert b"logged in" in shown
    assert KEY in (site.folder / "typed-home" / ".prefect" / "auth.toml").read_text()


def test_a_log_in_that_cannot_be_read_is_told_and_left(site: Site) -> None:
    auth = site.folder / "damaged" / ".prefect" / "auth.toml"
    auth.parent.mkdir(parents=True)
    auth.write_text("= nonsense")
    assert "auth.toml" in site.refuses("connect", HOME=str(site.folder / "damaged"))
    assert auth.read_text() == "= nonsense"


def test_the_name_of_a_deleted_project_is_told(site: Site) -> None:
    assert site.command("connect", PREFECT_CLOUD_PROJECT_NAME="gone").returncode == 0
    (project,) = (row for row in site.api.tables["project"] if row["name"] == "gone")
    delete = "mutation($input: delete_project_input!) { delete_project(input: $input) { success } }"
    site.query(delete, input={"project_id": project["id"]})
    line = site.refuses("connect", PREFECT_CLOUD_PROJECT_NAME="gone")
    assert "has deleted a project 'gone' and still holds its name" in line


def test_a_model_that_cannot_be_pickled_is_told_before_anything_is_sent(site: Site) -> None:
    model = site.project.source / "model.py"
    text = model.read_text()
    versions = sum(len(flow["versions"]) for flow in site.saturn.flows.values())
    model.write_text(
        text.replace(
            "def predict", "import threading\n\nLOCK = threading.Lock()\n\n\ndef predict"
        ).replace('    hours = df["priority"]', '    LOCK.locked()\n    hours = df["priority"]')
    )
    try:
        assert "the flow cannot be pickled (cannot pickle '_thread.lock' object)" in site.refuses(
            "register"
        )
    finally:
        model.write_text(text)
    assert sum(len(flow["versions"]) for flow in site.saturn.flows.values()) == versions


def test_saturn_in_trouble_costs_nothing_in_prefect(site: Site) -> None:
    site.command("unregister")
    flows = len(site.api.tables["flow"])
    assert "set SATURN_TOKEN to a valid token" in site.refuses("register", SATURN_TOKEN="wrong")
    assert "BASE_URL: not set" in site.refuses("register", BASE_URL=None)
    assert "BASE_URL" in site.refuses("register", BASE_URL=f"{site.saturn.url}/nowhere")
    for fault, message in (
        ("stall", "Saturn: no answer within 3 s"),
        ("html", "Saturn: the API answered something else"),
    ):
        site.saturn.fault = fault
        try:
            assert message in site.refuses("register", API_TIMEOUT="3")
        finally:
            site.saturn.fault = None
    assert len(site.api.tables["flow"]) == flows


def test_a_folder_for_trials_is_warned_of_before_anything_else(site: Site) -> None:
    result = site.command("register", "--dry-run", TRIALS_URL="trials")
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("TRIALS_URL: ")
    assert "TRIALS_URL" not in json.loads(result.stdout)["environment"]


def test_a_self_hosted_server_alone_runs_it_through_an_agent_on_this_machine(site: Site) -> None:
    with PrefectAPI(keys=None) as server:
        env = {
            **{
                "PREFECT__BACKEND": "server",
                "PREFECT__SERVER__ENDPOINT": server.url,
                "PREFECT__CLOUD__API": None,
            },
            **{"PREFECT_USER_TOKEN": None, "BASE_URL": None, "SATURN_TOKEN": None, **QUICK},
            **{"HOME": str(site.folder / "server-home"), "TRIALS_URL": str(site.folder / "alone")},
        }
        result = site.command("register", **env)
        assert result.returncode == 0, result.stderr
        assert "registering with Prefect alone" in result.stderr
        assert "nothing has changed" in site.command("register", **env).stderr
        run_id = site.command("run", "--param", "seed=1", **env).stdout.strip()
        merged = {
            name: value
            for name, value in {**os.environ, **site.env, **env}.items()
            if value is not None
        }
        agent = subprocess.Popen(
            [site.project.python, "-m", "prefect", "agent", "local", "start"],
            cwd=site.folder,
            env=merged,
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


def test_the_stand_in_refuses_what_the_service_refuses(registered: Site) -> None:
    site = registered

    def ask(document: str, key: str = KEY, **variables: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}", "X-PREFECT-CORE-VERSION": "1.4.1"}
        body = {"query": document, "variables": json.dumps(variables)}
        return requests.post(site.api.url, json=body, headers=headers, timeout=10)

    assert ask("query { project { id nonsense } }").status_code == 400
    assert ask("query { project(nonsense: 1) { id } }").status_code == 400
    assert ask("query {").status_code == 400
    assert (
        ask("query { project { id } }", key="wrong").json()["errors"][0]["extensions"]["code"]
        == "UNAUTHENTICATED"
    )
    create = "mutation($input: create_project_input!) { create_project(input: $input) { id } }"
    foreign = next(row["id"] for row in site.api.tables["tenant"] if row["slug"] == "others")
    assert "errors" in ask(create, input={"name": "x", "tenant_id": foreign}).json()
    states = "mutation($input: set_task_run_states_input!) { set_task_run_states(input: $input) { states { id } } }"
    idle = [row for row in site.api.tables["task_run"] if row["state"] == "Pending"]
    assert idle, "the schedule's runs have task runs"
    wrong = {"states": [{"task_run_id": idle[0]["id"], "state": {"type": "Running"}}]}
    assert "the flow run is not running" in ask(states, input=wrong).text
    late = {"states": [{"task_run_id": idle[0]["id"], "version": 7, "state": {"type": "Failed"}}]}
    assert "VERSION_LOCKING_ERROR" in ask(states, input=late).text

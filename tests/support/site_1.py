"""A project of variant 1 with the services it talks to, and the image that Saturn runs it in."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from commands import Prefork
from projects import COLLECT_LESS, Project, bake, full_environment, lend_environment, uv
from servers.loopback import StandIn
from servers.prefect_1 import PrefectAPI
from servers.saturn_1 import IMAGE, LABELS, SaturnAPI

KEY, TOKEN = "pcu_Secret-of-Ann", "Secret-of-Saturn"  # only the stand-ins take them
AGENT = Path(__file__).parents[1] / "servers" / "agent_1.py"
FLOW = "ann-ticket-model-evaluation"
PROJECT = "ticket-model-evaluation"
# What takes long to import, and reads no settings then, as Prefect 1 does.
IMPORTS = ("pandas", "pyarrow", "sklearn.metrics", "requests", "pendulum", "marshmallow", "docker")
# Set in Saturn's containers as well, so that a run's waits are short.
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
    prefork: Prefork
    env: dict[str, str | None] = field(default_factory=dict)

    @property
    def image(self) -> Path:
        return self.folder / "image"

    def environment(self, **env: str | None) -> dict[str, str]:
        """The whole environment of a command."""
        return full_environment(self.env, env)

    def command(
        self, *arguments: str, limit: int = 90, **env: str | None
    ) -> subprocess.CompletedProcess[str]:
        where = {"cwd": self.project.path, "project": self.project, "limit": limit}
        return self.prefork.run(arguments, self.environment(**env), **where)

    def start(self, *arguments: str, **env: str | None) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [self.project.command, *arguments],
            cwd=self.project.path,
            env=self.environment(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def refuses(self, *arguments: str, **env: str | None) -> str:
        """Run a command that must end with 2 and one line, and show no secret; gives the line."""
        result = self.command(*arguments, **env)
        return refusal(result.returncode, result.stdout, result.stderr)

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the original `prefect` command."""
        return self.project.run(self.project.python, "-m", "prefect", *arguments, env=self.env)

    def query(self, document: str, **variables: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {KEY}", "X-PREFECT-CORE-VERSION": "1.4.1"}
        body = {"query": document, "variables": json.dumps(variables)}
        answer = requests.post(self.api.url, json=body, headers=headers, timeout=10).json()
        assert "errors" not in answer, answer
        return answer["data"]

    @property
    def registered_flow(self) -> dict[str, Any]:
        (flow,) = (row for row in self.api.tables["flow"] if not row["archived"])
        return flow

    def flow_run(self, run_id: str) -> dict[str, Any]:
        """A run as the API tells of it."""
        wanted = """query($id: UUID!) { flow_run_by_pk(id: $id) { state serialized_state
            states { state } logs(order_by: {timestamp: asc}) { level name message }
            task_runs { id state serialized_state task { name } } } }"""
        return self.query(wanted, id=run_id)["flow_run_by_pk"]

    def log(self, run_id: str) -> str:
        return "\n".join(entry["message"] for entry in self.flow_run(run_id)["logs"])

    def task_states(self, run_id: str) -> list[str]:
        """The states that the tasks of a run have been in."""
        tables = self.api.tables
        runs = {row["id"] for row in tables["task_run"] if row["flow_run_id"] == run_id}
        return [row["state"] for row in tables["task_run_state"] if row["task_run_id"] in runs]

    def run(self, *parameters: str) -> str:
        """Create a run; gives its id."""
        options = [part for parameter in parameters for part in ("--param", parameter)]
        result = self.command("run", *options)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def watch(self, *parameters: str, **env: str | None) -> subprocess.Popen[str]:
        """Create a run and watch it; comes back once the run exists."""
        options = [part for parameter in parameters for part in ("--param", parameter)]
        watching = self.start("run", "--watch", *options, **env)
        wait_until(lambda: self.waiting_runs() or watching.poll() is not None)
        return watching

    def waiting_runs(self) -> list[dict[str, Any]]:
        """The runs that somebody has asked for, and no agent has taken."""
        rows = self.api.tables["flow_run"]
        return [row for row in rows if row["state"] == "Scheduled" and not row["auto_scheduled"]]

    def cancel(self, run_id: str) -> None:
        wanted = "mutation($id: UUID!) { cancel_flow_run(input: {flow_run_id: $id}) { state } }"
        self.query(wanted, id=run_id)

    @functools.cached_property
    def agent(self) -> subprocess.Popen[str]:
        """Saturn's agent, which polls when `jobs` asks it to."""
        with (self.folder / "agent.log").open("w") as log:
            return subprocess.Popen(
                [self.image / "bin" / "python", AGENT, *LABELS],
                cwd=self.folder,
                env=self.environment(PREFECT__CLOUD__API_KEY=KEY),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def jobs(self) -> list[dict[str, Any]]:
        """Let Saturn's agent poll once; gives the jobs that it submits."""
        timer = threading.Timer(60, self.agent.kill)
        timer.start()
        print(file=self.agent.stdin, flush=True)
        jobs = []
        while (line := self.agent.stdout.readline()) != "\n":
            assert line, (self.folder / "agent.log").read_text()
            jobs.append(json.loads(line))
        timer.cancel()
        return jobs

    def execute(self, job: dict[str, Any]) -> subprocess.Popen[str]:
        """Start a job's container: the image, an empty folder, and the job's own environment."""
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["image"] == IMAGE
        folder = self.folder / "containers" / job["metadata"]["name"]
        folder.mkdir(parents=True)
        env = {entry["name"]: entry["value"] for entry in container["env"]}
        env |= {"PATH": f"{self.image / 'bin'}:/usr/bin:/bin", "HOME": str(folder)}
        env |= {"CACHE_DIR": str(folder / "cache")}
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
        paths = sorted((self.folder / "kept").glob("*.json"))
        return [json.loads(path.read_text()) for path in paths]

    @contextlib.contextmanager
    def edited(self, name: str, **changes: str) -> Iterator[None]:
        """Replace text in a file of the package for a while; `old` by `new`, or add `end`."""
        path = self.project.source / name
        text = path.read_text()
        old, new, end = (changes.get(key, "") for key in ("old", "new", "end"))
        assert old in text
        path.write_text(text.replace(old, new, 1) + end)
        try:
            yield
        finally:
            path.write_text(text)

    @contextlib.contextmanager
    def checkout_away(self) -> Iterator[None]:
        away = self.project.path.with_name("away")
        self.project.path.rename(away)
        try:
            yield
        finally:
            away.rename(self.project.path)


def refusal(code: int, stdout: str, stderr: str) -> str:
    """The line in which a command has refused: the last one, and the only error."""
    assert code == 2, stdout + stderr
    *before, last = stderr.splitlines()
    assert "Traceback" not in stderr
    assert not [line for line in before if line.startswith("Error")]
    assert KEY not in stdout + stderr
    assert TOKEN not in stdout + stderr
    assert last.startswith("Error: ")
    return last


def make_site(folder: Path, installed: Project) -> Site:
    project = lend_environment(bake(folder, prefect_version="1"), installed)
    flow = project.source / "orchestration" / "flow.py"
    text = flow.read_text()
    assert "timedelta(minutes=1)" in text
    flow.write_text(text.replace("timedelta(minutes=1)", "timedelta(seconds=1)"))
    keys = {KEY: ["team"], "other": ["others", "team"], "token": []}
    services = (PrefectAPI(keys), SaturnAPI(TOKEN, QUICK), DataServer())
    site = Site(project, folder, *services, Prefork(installed, *IMPORTS))
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
    (own / "lent.pth").write_text(f"{packages}\n{COLLECT_LESS}\n")
    script = site.image / "bin" / "prefect"
    script.write_text(f'#!/bin/sh\nexec {site.image}/bin/python -m prefect "$@"\n')
    script.chmod(0o755)
    return site


@contextlib.contextmanager
def running_site(folder: Path, installed: Project) -> Iterator[Site]:
    site = make_site(folder, installed)
    with site.api, site.saturn, site.data, contextlib.closing(site.prefork):
        yield site
        if "agent" in vars(site):
            with site.agent:
                site.agent.terminate()


@contextlib.contextmanager
def fault(server: StandIn, kind: str, spare: int = 0) -> Iterator[None]:
    """Let a server answer with a fault for a while, after it has spared some requests."""
    server.fault, server.spare = kind, spare
    try:
        yield
    finally:
        server.fault = None


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)

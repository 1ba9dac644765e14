"""A real Prefect server for all tests of variant 3, started once by the project's own command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from commands import Prefork
from projects import Project, full_environment


@dataclass
class Prefect:
    """A real server that the project's own `server` command runs, and a home folder of its own."""

    url: str
    home: Path
    project: Project
    installed: Callable[[str, str], Project]
    prefork: Prefork
    environment: dict[str, str | None] = field(default_factory=dict)

    def get(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Ask the API; with a body, the method is POST unless another is given.

        While SQLite is busy the answer is 503: this asks again, as Prefect's own clients do.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + "/api" + path, data, {"Content-Type": "application/json"}, method=method
        )
        for tries_left in reversed(range(10)):
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    return json.loads(response.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code != 503 or not tries_left:
                    raise
                error.close()
                time.sleep(0.5)
        return None

    def run(
        self,
        *command: str | Path,
        project: Project | None = None,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        code: str = "",
        limits: tuple[str, str] | None = None,
        limit: int = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of a project, or Python code in its place, with Prefect imported before.

        `limits` are a module and assignments, as `with_limits` takes them.
        """
        there = full_environment(self.environment, env or {})
        project = project or self.project
        before = set_limits(project, *limits) if limits else ""
        what = {"before": before, "code": code, "limit": limit}
        return self.prefork.run(command, there, cwd=cwd or project.path, project=project, **what)

    def home_of(self, project: Project) -> Path:
        """The project's Prefect home."""
        return self.home / f".prefect-{project.slug}"

    def deployment(self, flow: str) -> Any:
        return self.get(f"/deployments/name/{flow}/{self.project.slug}")

    def flow_run(self, output: str) -> Any:
        return self.get(f"/flow_runs/{output.strip().splitlines()[0].rpartition('/')[2]}")


def with_limits(project: Project, module: str, limits: str) -> tuple[str | Path, ...]:
    """The command line with other limits, so that no test waits for the real ones.

    Args:
        project: Whose command.
        module: A module of its `orchestration`.
        limits: Assignments to names of that module.
    """
    code = f"{set_limits(project, module, limits)}; from {project.package}.cli import main; main()"
    return project.python, "-c", code


def set_limits(project: Project, module: str, limits: str) -> str:
    """Python code that sets the limits, as `with_limits` takes them."""
    package = f"{project.package}.orchestration.{module}"
    return f"import {package} as module; vars(module).update({limits})"


@contextmanager
def background(
    project: Project,
    log: Path,
    environment: dict[str, str | None],
    *arguments: str,
    command: tuple[str | Path, ...] = (),
) -> Iterator[subprocess.Popen]:
    """Run one of the project's long-lived commands; end it, and what it started.

    On Linux it also ends where the tests are interrupted.
    """
    ends_too = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    with log.open("w") as output:
        process = subprocess.Popen(
            [*ends_too, *(command or (project.command,)), *arguments],
            stdout=output,
            stderr=output,
            env=full_environment(environment),
            cwd=project.path,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_until(
    condition: Callable[[], Any], what: str, limit: float = 180, pause: float = 0.5
) -> Any:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(pause)
    pytest.fail(f"waited {limit} s for {what}")


GIT_IDENTITY = {
    f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}


@contextmanager
def watched_arguments() -> Iterator[list[bytes]]:
    """The arguments of all processes that run while the block does, as anybody may see them."""
    seen: list[bytes] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.append(process.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()

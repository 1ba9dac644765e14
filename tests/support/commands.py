"""Running a project's command quickly, and what its refusals must look like."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from projects import Project

PREFORK = Path(__file__).with_name("prefork.py")


class Prefork:
    """Runs commands in processes that are forked from one that has imported what they need.

    Args:
        project: Its Python and its packages are used.
        modules: What to import.
    """

    def __init__(self, project: Project, *modules: str) -> None:
        self._process = subprocess.Popen(
            [project.python, PREFORK, project.package, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        arguments: Sequence[str | Path],
        env: Mapping[str, str],
        cwd: Path | None = None,
        project: Project | None = None,
        before: str = "",
        code: str = "",
        limit: int = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the project, or of another with the same requirements.

        Args:
            arguments: Of the command.
            env: All of the environment.
            cwd: The folder; default: the current one.
            project: The other project.
            before: Python that the new process runs first.
            code: Python that it runs in place of the command.
            limit: Seconds after which it is killed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {
            "args": [str(argument) for argument in arguments],
            "env": dict(env),
            "cwd": str(cwd or Path.cwd()),
            "before": before,
            "code": code,
            "limit": limit,
            "project": project and _describe(project),
        }
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return subprocess.CompletedProcess(arguments, **json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def _describe(project: Project) -> dict[str, Any]:
    (own,) = (project.path / ".venv" / "lib").glob("python*/site-packages")
    return {
        "package": project.package,
        "paths": [str(project.source.parent), str(own)],
        "python": str(project.python),
        "command": str(project.command),
    }


class Commands:
    """Runs commands of an installed project, with a cache and trials of their own.

    Each test sets `folder`, which holds them.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.folder = Path(os.devnull)
        package = project.package
        self._prefork = Prefork(project, f"{package}.pipeline", "requests", f"{package}.__main__")
        self.close = self._prefork.close

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def trials(self) -> Path:
        return self.folder / "trials"

    def environment(self, **env: str) -> dict[str, str]:
        return {**os.environ, "CACHE_DIR": str(self.cache), "TRIALS_URL": str(self.trials), **env}

    def run(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        before: str = "",
        limit: int = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; `before` is Python that its process runs first.

        In it PACKAGE stands for the package.
        """
        return self._prefork.run(
            arguments,
            self.environment(**(env or {})),
            before=before.replace("PACKAGE", self.project.package),
            limit=limit,
        )

    def evaluate(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run("evaluate", *arguments, **options)

    def code(
        self, code: str, *arguments: str | Path, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code that may import the package, which it names PACKAGE."""
        code = code.replace("PACKAGE", self.project.package)
        return self._prefork.run(arguments, self.environment(**env), code=code)

    def start(self, *arguments: str | Path, **env: str) -> subprocess.Popen[str]:
        """Start a command as a real process of its own."""
        command = [str(part) for part in (self.project.command, *arguments)]
        return subprocess.Popen(
            command,
            env=self.environment(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def python(self, code: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start such code as a real process of its own."""
        return subprocess.Popen(
            [self.project.python, "-c", code.replace("PACKAGE", self.project.package), *arguments],
            env=self.environment(**env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.trials.glob("*")) if self.trials.exists() else []

    def cached(self) -> list[str]:
        return sorted(path.name for path in self.cache.glob("*")) if self.cache.exists() else []


def trial_of(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    trial: dict[str, Any] = json.loads(result.stdout)
    return trial


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """It ended with 2 and one line that holds `words`; lines before it say only what was tried."""
    assert result.returncode == 2, (result.returncode, result.stdout, result.stderr)
    assert result.stdout == ""
    *before, line = result.stderr.splitlines()
    assert line.startswith("Error: "), result.stderr
    assert all(other.startswith("data: attempt ") for other in before), result.stderr
    assert not [word for word in words if word not in line], line

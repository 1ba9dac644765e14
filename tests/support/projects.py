"""Baking projects, and the environments they run in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ANSWERS = json.loads((ROOT / "cookiecutter.json").read_text())
VARIANTS = ("3", "1")
# To look for garbage takes a quarter of an import's time: a .pth file lets processes hardly do so.
COLLECT_LESS = "import atexit, gc; gc.set_threshold(50_000, 20, 20); atexit.register(gc.freeze)"
# Tests of a generated project that take most of its time, and read no file and no name of its own.
OF_EVALUATION = tuple(
    "intervals gate outcomes scores report selection trial backfill blocks".split()
)

_BAKED = tempfile.TemporaryDirectory(prefix="baked-")


@dataclass(frozen=True)
class Project:
    """A generated project that one can ask."""

    path: Path
    slug: str = "ticket-model-evaluation"
    package: str = "ticket_model_evaluation"

    @property
    def python(self) -> Path:
        return self.path / ".venv" / "bin" / "python"

    @property
    def command(self) -> Path:
        return self.path / ".venv" / "bin" / self.slug

    @property
    def source(self) -> Path:
        return self.path / "src" / self.package

    def files(self) -> set[str]:
        return {str(file.relative_to(self.path)) for file in self.path.rglob("*") if file.is_file()}

    def text(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8")

    def run(
        self,
        *command: str | Path,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        limit: int = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder; a variable set to None in `env` is unset."""
        return run(*command, env=env, cwd=cwd or self.path, limit=limit)

    def evaluate(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        return self.run(self.command, "evaluate", *arguments, **options)  # type: ignore[arg-type]


def own_tests(*left_out: str) -> list[str]:
    """Arguments of Python that run a project's own tests, but for some."""
    return ["-m", "pytest", *(f"--ignore=tests/test_{name}.py" for name in left_out)]


def run(
    *command: str | Path,
    env: Mapping[str, str | None] | None = None,
    cwd: Path | None = None,
    limit: int = 120,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=full_environment(env or {}),
        capture_output=True,
        text=True,
        timeout=limit,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def full_environment(*changes: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment with changes, one after the other; None unsets a variable."""
    merged: dict[str, str | None] = {**os.environ}
    for each in changes:
        merged |= each
    return {name: value for name, value in merged.items() if value is not None}


def bake(folder: Path, **answers: str) -> Project:
    """Generate a project with cookiecutter's own function, as `cookiecutter --no-input` does.

    It does not depend on the folder, so the same answers give a copy.
    """
    made = _bake_once(*answers.items())
    path = Path(shutil.copytree(made, folder / made.name, symlinks=True))
    saved = json.loads((path / ".cookiecutter.json").read_text(encoding="utf-8"))["default_context"]
    return Project(path, saved["project_slug"], saved["package_name"])


@cache
def _bake_once(*answers: tuple[str, str]) -> Path:
    folder = f"{_BAKED.name}/{len(list(Path(_BAKED.name).iterdir()))}"
    context = dict(answers)
    return Path(cookiecutter(str(ROOT), no_input=True, extra_context=context, output_dir=folder))


def lend_environment(project: Project, installed: Project) -> Project:
    """Install `project` beside the requirements of `installed`, which are not installed again.

    As `make setup` does it, but without building the project: that takes half a second.
    """
    venv = project.path / ".venv"
    uv("venv", "--quiet", "--python", installed.python.resolve(), venv)
    packages = next((installed.path / ".venv" / "lib").glob("python*/site-packages"))
    own = next((venv / "lib").glob("python*/site-packages"))
    (own / "lent.pth").write_text(f"{packages}\n{COLLECT_LESS}\n")
    (own / "project.pth").write_text(f"{project.source.parent}\n")
    call = f"from {project.package}.cli import main\n\nmain()\n"
    project.command.write_text(f"#!{project.python}\n{call}")
    project.command.chmod(0o755)
    return project


def share_bytecode(lender: Path, packages: Path) -> None:
    """Take what was compiled for another environment, for the files that uv made links of."""
    for cached in lender.rglob("__pycache__/*.pyc"):
        source = cached.parent.with_name(cached.name.partition(".")[0] + ".py")
        own = packages / source.relative_to(lender)
        if own.exists() and source.exists() and own.samefile(source):
            (own.parent / "__pycache__").mkdir(exist_ok=True)
            with suppress(FileExistsError):
                (own.parent / "__pycache__" / cached.name).hardlink_to(cached)


def own_environment(home: Path) -> dict[str, str | None]:
    """Changes to the environment that give a test a home folder of its own and no settings."""
    changes: dict[str, str | None] = {
        name: None
        for name in os.environ
        if name.startswith(("PREFECT_", "SATURN_", "XDG_"))
        or name
        in (
            "BASE_URL",
            "DATA_URL",
            "TRIALS_URL",
            "CACHE_DIR",
            "DOWNLOAD_TIMEOUT",
            "DOWNLOAD_MAX_SECONDS",
            "DATA_MAX_MB",
            "COOKIECUTTER_CONFIG",
            # Of the make and the pytest that run the tests: those in a test would say more.
            "MAKEFLAGS",
            "MAKELEVEL",
            "MFLAGS",
            "PYTEST_ADDOPTS",
        )
    }
    # What is downloaded once is shared by all: uv's and pre-commit's caches hold no settings.
    real_home = Path("~").expanduser()
    changes["UV_CACHE_DIR"] = os.environ.get("UV_CACHE_DIR") or str(real_home / ".cache/uv")
    changes["PYENV_ROOT"] = os.environ.get("PYENV_ROOT") or str(real_home / ".pyenv")
    changes["HOME"] = str(home)
    # Without bytecode every start of a command would compile pandas and scikit-learn anew.
    changes["PYTHONDONTWRITEBYTECODE"] = None
    # Smaller bytecode: without the columns that tracebacks underline, imports are 7 % quicker.
    changes["PYTHONNODEBUGRANGES"] = "1"
    # Tests talk to loopback only.
    changes |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    return changes


def uv(*arguments: str | Path) -> None:
    result = run("uv", *arguments, limit=600)
    assert result.returncode == 0, result.stderr


@cache
def find_python(version: str) -> Path | None:
    """An interpreter of that version on this machine: on PATH, else one that pyenv holds.

    Pyenv's come last, as they are compiled without optimizations; the environment that the tests
    run in may be made of any, so it is not looked at.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path("~/.pyenv").expanduser())
    on_path = [Path(folder) for folder in os.get_exec_path() if folder != f"{sys.prefix}/bin"]
    folders = [folder for folder in on_path if not folder.is_relative_to(pyenv)]
    folders += sorted(pyenv.glob(f"versions/{version}.*/bin"), reverse=True)
    for candidate in (shutil.which(f"python{version}", path=folder) for folder in folders):
        probe = candidate and run(candidate, "-c", "import sys, ensurepip; print(sys.executable)")
        if probe and probe.returncode == 0:
            return Path(probe.stdout.strip())
    return None

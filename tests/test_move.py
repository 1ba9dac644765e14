"""Moving a project from Prefect 1 to Prefect 3, as its README says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import existing
from projects import ROOT, Project, bake, lend_environment, run

AUTHOR = (
    "-c",
    "user.name=Ann",
    "-c",
    "user.email=ann@example.com",
    "-c",
    "init.defaultBranch=main",
)


def git(project: Project, *arguments: str) -> str:
    result = project.run("git", *AUTHOR, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def commands(project: Project) -> list[str]:
    """The README's own commands, up to the installation."""
    section = project.text("README.md").partition("### Moving to Prefect 3")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block
    *lines, last = block[1].splitlines()
    assert last == "rm -r .venv && make setup connect register"
    return lines


@pytest.fixture
def old(tmp_path, installed) -> Project:
    project = lend_environment(bake(tmp_path, prefect_version="1"), installed(*existing("1")))
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "Generate")
    return project


def test_data_model_and_trials_stay(old: Project, tmp_path: Path, installed) -> None:
    generated = git(old, "rev-parse", "HEAD")
    data, model = old.source / "data.py", old.source / "model.py"
    data.write_text(data.read_text() + "\nOURS = 1\n")
    model.write_text(model.read_text().replace("priority-heuristic", "ours"))
    git(old, "commit", "-qam", "Put our data and model in")
    ours = data.read_text(), model.read_text()
    (old.path / ".env").write_text("SATURN_USERNAME=ann\n")
    assert old.evaluate("--data", "sample").returncode == 0

    script = "\n".join(commands(old)).replace("TEMPLATE", f"'{ROOT}'").replace("COMMIT", generated)
    script = script.replace("git ", f"git {' '.join(AUTHOR)} ")
    result = run("bash", "-euc", script, cwd=old.path)
    assert result.returncode == 0, result.stdout + result.stderr

    assert (data.read_text(), model.read_text()) == ours
    fresh = bake(tmp_path / "fresh", prefect_version="3")
    tracked = set(git(old, "ls-files").splitlines())
    assert tracked == fresh.files()
    mine = {f"src/{old.package}/{name}.py" for name in ("data", "model")}
    different = {name for name in fresh.files() - mine if old.text(name) != fresh.text(name)}
    assert different == set()

    shutil.rmtree(old.path / ".venv")
    moved = lend_environment(old, installed(*existing("3")))
    assert moved.evaluate("--data", "sample").returncode == 0
    history = moved.run(moved.command, "history", "--json")
    trials = [json.loads(line) for line in history.stdout.splitlines()]
    assert [(trial["flow"], trial["model"]) for trial in trials] == [
        ("ann-ticket-model-evaluation", "ours")
    ] * 2
    assert (
        subprocess.run(
            [moved.python, "-m", "pytest", "tests/test_flow.py"], cwd=moved.path, check=False
        ).returncode
        == 0
    )

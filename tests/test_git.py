"""Variant 3's code from a git remote, also a private one, and secrets on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prefect_server import GIT_IDENTITY, Prefect, background, watched_arguments
from projects import run
from servers.git import PrivateGit


@pytest.mark.usefixtures("worker")
def test_a_run_from_a_git_remote_uses_what_is_there_the_whole_package(
    prefect: Prefect, another, tmp_path
):
    project = another(project_slug="from-git", schedule_hours="0")
    environment = {
        "PREFECT_API_URL": prefect.url + "/api",
        "PREFECT_CLOUD_PROJECT_NAME": prefect.project.slug,
        **GIT_IDENTITY,
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
    assert not (prefect.home / ".prefect").exists()
    assert list(prefect.home_of(project).iterdir()) == []  # the run used its worker's

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
    (step,) = yaml.safe_load(result.stdout)["deployments"][0]["pull"]
    assert step == {
        "prefect.deployments.steps.set_working_directory": {"directory": str(project.path)}
    }


def test_submodules_come_along_and_a_folder_of_a_shallow_clone_is_entered(
    prefect: Prefect, another, tmp_path
):
    """And git, with its hooks and helpers, is not told the keys for Prefect."""
    project = another(project_slug="below")
    environment = {**prefect.environment, **GIT_IDENTITY}
    (tmp_path / ".gitmodules").write_text("")
    told = tmp_path / "told"
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nenv >> {told}\nexec {shutil.which("git")} "$@"\n')
    wrapper.chmod(0o755)
    for command in (
        ("init", "-q", "--bare", "-b", "main", "remote.git"),
        ("init", "-q", "-b", "main"),
        ("add", ".gitmodules", "below"),
        ("commit", "-qm", "Begin"),
        ("commit", "-qm", "Go on", "--allow-empty"),
        ("remote", "add", "origin", f"file://{tmp_path}/remote.git"),
        ("push", "-q", "origin", "main"),
        ("fetch", "-q", "--depth", "1", "origin", "main"),
    ):
        result = run("git", *command, cwd=tmp_path, env=environment)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / ".git" / "shallow").exists()
    keys = dict.fromkeys(("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"), "SECRET")
    variables = {**keys, "PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    result = prefect.run("register", "--dry-run", project=project, env=variables)
    assert result.returncode == 0, result.stderr
    assert "GIT_TERMINAL_PROMPT=0" in told.read_text()
    assert "SECRET" not in told.read_text()
    (deployment,) = yaml.safe_load(result.stdout)["deployments"]
    clone, folder = deployment["pull"]
    assert clone["prefect.deployments.steps.git_clone"]["include_submodules"] is True
    (directory,) = folder["prefect.deployments.steps.set_working_directory"].values()
    assert directory == "{{ clone.directory }}/below"


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
            **GIT_IDENTITY,
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
        home = str(prefect.home_of(project))
        save = (
            "import sys; from prefect.blocks.system import Secret; "
            "Secret(value=sys.stdin.read()).save('git-token')"
        )
        subprocess.run(
            [project.python, "-c", save],
            input=token,
            text=True,
            check=True,
            env={
                name: value
                for name, value in {**os.environ, **environment, "PREFECT_HOME": home}.items()
                if value is not None
            },
        )
        assert prefect.run("connect", project=project, env=environment).returncode == 0
        wrong = prefect.run(
            "register", project=project, env={**environment, "GIT_BLOCK": "git-token"}
        )
        assert wrong.returncode == 2
        assert "GIT_BLOCK: 'git-token' is not of the form type/name" in wrong.stderr
        registering = {**environment, "GIT_BLOCK": "secret/git-token"}
        with watched_arguments() as seen:
            result = prefect.run("register", project=project, env=registering)
        assert result.returncode == 0, result.stderr
        assert seen  # the arguments of all processes, again and again
        assert "git: Prefect gets the remote's URL without user and password" in result.stderr
        assert not [line for line in seen if token.encode() in line]
        deployment = json.dumps(prefect.get("/deployments/name/ann-private/private"))
        assert token not in deployment + result.stderr
        assert "{{ prefect.blocks.secret.git-token }}" in deployment
        log = tmp_path / "worker.log"
        with background(project, log, environment, "worker"):
            result = prefect.run("run", "--watch", project=project, env=environment, limit=200)
        assert result.returncode == 0, result.stderr + log.read_text()
        assert token not in result.stderr + log.read_text()
        assert len(list((project.path / "trials").iterdir())) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("not its owner", "detected dubious ownership"),
        ("no git", "No such file or directory: 'git'"),
        ("corrupt", "not a git repository"),
    ],
)
def test_a_git_that_does_not_answer_is_not_read_as_no_remote(
    prefect: Prefect, another, fault, message
):
    project = another(project_slug="asking")
    variables: dict[str, str | None] = {}
    for command in (("init", "-q"), ("remote", "add", "origin", "https://127.0.0.1:9/x.git")):
        assert project.run("git", *command).returncode == 0
    if fault == "corrupt":
        (project.path / ".git" / "HEAD").write_text("")
    elif fault == "no git":
        variables["PATH"] = "/nonexistent"
    else:
        variables["GIT_TEST_ASSUME_DIFFERENT_OWNER"] = "1"  # git's own tests do it like this
    result = prefect.run("register", "--dry-run", project=project, env=variables)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert result.stderr.startswith("Error: git: it cannot say where the code of ")
    assert message in result.stderr
    assert result.stdout == ""

"""Variant 3 on Saturn Cloud: the real client against a stand-in.

The stand-in starts the worker from the recipe alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import existing
from prefect_server import Prefect, wait_until
from projects import Project, run, uv
from pythons import write_quick_uv
from servers.prefect_cloud import PrefectCloud
from servers.saturn import SaturnCloud
from slow import OtherApi

TOKEN = "saturn-0123456789-SECRET"
KEY = "pnu_saturn0123456789SECRET"


@dataclass
class Account:
    """A Saturn Cloud account, a Prefect Cloud account, and a project with a git remote."""

    saturn: SaturnCloud
    prefect: Prefect
    project: Project
    remote: Path
    environment: dict[str, str | None] = field(default_factory=dict)

    def run(self, *command: str, env: dict[str, str | None] | None = None, **options: Any):
        return self.prefect.run(
            *command, project=self.project, env={**self.environment, **(env or {})}, **options
        )


def git(folder: Path, *arguments: str | Path) -> None:
    identity = {
        f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    result = run("git", *arguments, cwd=folder, env=identity)
    assert result.returncode == 0, result.stderr


@pytest.fixture
def machine(tmp_path: Path, prefect: Prefect) -> dict[str, str]:
    """The environment of a machine of Saturn's: an empty Python, and no variable of ours."""
    image, installed = tmp_path / "image", prefect.installed(*existing("3"))
    uv("venv", "--quiet", "--python", installed.python.resolve(), image)
    # Its pip is uv's, which does the same in seconds.
    options = ("--quiet", "--python", f"{image}/bin/python")
    write_quick_uv(image / "bin" / "pip", image, installed, ("pip",), *options)
    passed = ("UV_CACHE_DIR", "SSL_CERT_FILE", "DO_NOT_TRACK")
    return {
        "PATH": f"{image}/bin:{os.environ['PATH']}",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        **{name: os.environ[name] for name in passed if name in os.environ},
    }


@pytest.fixture
def account(
    prefect: Prefect, another: Callable[..., Project], tmp_path: Path, machine
) -> Iterator[Account]:
    """All of it, connected to Prefect Cloud, so that there is a key to keep secret."""
    project = another(project_slug="on_saturn", prefect_project="on-saturn", schedule_hours="0")
    remote = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", remote)
    git(project.path, "init", "-q", "-b", "main")
    git(project.path, "add", "-A")
    git(project.path, "commit", "-qm", "Begin")
    git(project.path, "remote", "add", "origin", remote)
    git(project.path, "push", "-q", "-u", "origin", "main")
    secrets = {"prefect-api-key": KEY}
    with (
        PrefectCloud(prefect.url, KEY, ["acme/evaluations"]) as cloud,
        SaturnCloud(TOKEN, secrets, tmp_path / "machines", machine) as saturn,
    ):
        environment: dict[str, str | None] = {
            "HOME": str(tmp_path),
            "PREFECT_CLOUD_API_URL": cloud.url + "/api",
            "PREFECT_API_KEY": KEY,
            "SATURN_BASE_URL": saturn.url,
            "SATURN_TOKEN": TOKEN,
        }
        account = Account(saturn, prefect, project, remote, environment)
        result = account.run("connect")
        assert result.returncode == 0, result.stderr
        yield account


def test_register_applies_the_recipe_once_and_unregister_takes_it_back(account: Account):
    dask = ("--execution", "dask-task", "--workers", "3", "--worker-size", "large")
    shown = account.run("register", "--dry-run", *dask)
    assert shown.returncode == 0, shown.stderr
    assert account.saturn.requests == []
    content, recipe = yaml.safe_load_all(shown.stdout)
    variables = content["deployments"][0]["work_pool"]["job_variables"]["env"]
    assert (variables["EXECUTION"], variables["DASK_WORKERS"]) == ("dask-task", "3")
    assert recipe["spec"]["dask_cluster"] == {
        "num_workers": 3,
        "scheduler": {"instance_type": "medium"},
        "worker": {"instance_type": "large"},
    }
    result = account.run("register", *dask)
    assert result.returncode == 0, result.stderr
    assert (
        "Saturn deployment on-saturn-worker: created, not running: "
        "`.venv/bin/on_saturn register --start` starts it" in result.stderr
    )
    assert f"{account.saturn.url}/dash/resource/deployment/" in result.stderr
    assert "TRIALS_URL: Saturn Cloud's machines go away" in result.stderr
    (deployment,) = account.saturn.deployments.values()
    assert deployment["spec"] == recipe["spec"]
    assert deployment["spec"]["git_repositories"][0]["url"] == str(account.remote)
    assert deployment["spec"]["command"].endswith("--pool=on-saturn")
    assert [secret["name"] for secret in deployment["spec"]["secrets"]] == ["prefect-api-key"]
    assert "EXECUTION: Saturn Cloud installs requirements.txt, which has no Dask" in result.stderr
    again = account.run(
        *("register", *dask), env={"SATURN_BASE_URL": None, "BASE_URL": account.saturn.url + "/"}
    )
    assert again.returncode == 0, again.stderr
    assert "on-saturn-worker: already exists" in again.stderr
    assert account.saturn.requests.count("PUT /api/recipes") == 1
    for output in (shown, result, again):
        assert KEY not in output.stdout + output.stderr
        assert TOKEN not in output.stdout + output.stderr
    assert KEY not in json.dumps(account.saturn.deployments)
    result = account.run("unregister")
    assert result.returncode == 0, result.stderr
    assert account.saturn.deployments == {}
    assert "does not exist; nothing to delete" in account.run("unregister").stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"SATURN_TOKEN": None},
            "SATURN_TOKEN: not set; set all of SATURN_BASE_URL, SATURN_TOKEN, or none",
        ),
        ({"SATURN_BASE_URL": None}, "SATURN_BASE_URL: not set; set all of"),
        ({"SATURN_TOKEN": "wrong"}, "SATURN_TOKEN: http://127.0.0.1:"),
        (
            {"SATURN_BASE_URL": "http://127.0.0.1:9"},
            "SATURN_BASE_URL: http://127.0.0.1:9 cannot be reached",
        ),
        ({"SATURN_BASE_URL": "not a url"}, "SATURN_BASE_URL: not a url is not Saturn Cloud"),
        (
            "instance_type: medium",
            "answered 400: {'message': 'unknown instance type: enormous'}; fix it",
        ),
        (
            "name: prefect-api-key",
            "answered 400: {'message': 'secret not found: enormous'}; fix it",
        ),
        (
            "image: saturncloud/saturn-python:2024.08.01",
            "answered 400: {'message': 'unknown image: enormous'}",
        ),
        ("spec:", "not the recipe of a deployment"),
        ("no remote", "git: Saturn Cloud cannot see this folder; add a git remote named origin"),
    ],
)
def test_what_saturn_would_refuse_is_told_in_one_line_and_nothing_is_made(
    account: Account, change, message
):
    recipe = account.project.path / "saturn.yaml"
    if change == "no remote":
        git(account.project.path, "remote", "remove", "origin")
    elif isinstance(change, str):
        recipe.write_text(
            recipe.read_text().replace(change, change.partition(" ")[0].rstrip(":") + ": enormous")
        )
    result = account.run("register", env=change if isinstance(change, dict) else None)
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert message in line
    assert "Traceback" not in result.stderr
    assert account.saturn.deployments == {}
    assert (
        account.prefect.get(
            "/deployments/filter", {"deployments": {"name": {"any_": ["on_saturn"]}}}
        )
        == []
    )


@pytest.mark.parametrize("kind", ["stalls", "drips"])
def test_a_saturn_that_does_not_answer_is_told_in_one_line_in_time(account: Account, kind):
    limits = "saturn", "SECONDS_TO_ANSWER=2"
    with OtherApi(kind) as other:
        environment = {"SATURN_BASE_URL": other.url}
        result = account.run("register", env=environment, limits=limits, limit=30)
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert f"SATURN_BASE_URL: {other.url} cannot be reached, or does not answer within 2 s" in line
    assert TOKEN not in result.stderr


def test_an_answer_that_is_not_saturns_is_told_in_one_line(account: Account):
    with OtherApi("version-only") as other:
        result = account.run("register", env={"SATURN_BASE_URL": other.url})
    assert result.returncode == 2, result.stderr
    assert f"Error: SATURN_BASE_URL: {other.url} is not Saturn Cloud" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_worker_on_saturn_runs_the_flow_and_its_trial_is_read_from_here(
    account: Account, s3: str
):
    """From the recipe alone: clone, install the locked requirements, run, in an empty folder.

    Before that, what the README says of trials in S3: s3fs among the dependencies, `make lock`,
    commit and push.
    """
    project = account.project
    metadata = project.path / "pyproject.toml"
    metadata.write_text(
        metadata.read_text().replace("dependencies = [\n", 'dependencies = [\n  "s3fs",\n', 1)
    )
    before = project.text("requirements.txt")
    locked = project.run("make", "lock", env=account.prefect.environment)
    assert locked.returncode == 0, locked.stderr
    removed = pins(before) - pins(project.text("requirements.txt"))
    assert len(removed) < 5, removed  # what was tested stays
    git(project.path, "commit", "-qam", "Keep trials in S3")
    git(project.path, "push", "-q")
    uv(
        "pip",
        "install",
        "--quiet",
        "--python",
        project.python,
        "-r",
        project.path / "requirements.txt",
    )

    bucket = {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    # The stand-in of Prefect Cloud is not where Prefect's client knows Prefect Cloud to be.
    account.saturn.environment["PREFECT_CLOUD_API_URL"] = str(
        account.environment["PREFECT_CLOUD_API_URL"]
    )
    account.saturn.environment.update(bucket)
    env = {**bucket, "TRIALS_URL": "s3://store/on-saturn"}
    result = account.run("register", "--start", env=env)
    assert result.returncode == 0, result.stderr
    assert "created, started" in result.stderr
    assert "machines go away" not in result.stderr
    wait_until(
        lambda: "started!" in account.saturn.log("on-saturn-worker") or dead(account),
        "the worker on Saturn",
        limit=240,
    )
    assert not dead(account), account.saturn.log("on-saturn-worker")
    result = account.run("run", "--watch", env=env, limit=200)
    assert result.returncode == 0, result.stderr + account.saturn.log("on-saturn-worker")
    history = account.run("history", "--json", env=env)
    (trial,) = map(json.loads, history.stdout.splitlines())
    assert trial["flow"] == "ann-on_saturn"
    assert trial["source"]["name"] == "synthetic sample"
    assert trial["id"] in result.stderr
    log = account.saturn.log("on-saturn-worker")
    assert KEY not in log
    assert str(account.project.path) not in log
    assert not list(project.path.glob("trials/*"))


def pins(requirements: str) -> set[str]:
    return set(re.findall(r"^\S+==\S+", requirements, re.MULTILINE))


def dead(account: Account) -> bool:
    return account.saturn.processes["on-saturn-worker"].poll() is not None

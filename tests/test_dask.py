"""Runs whose steps, or one of them, are executed on a real Dask cluster, without this package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import existing
from prefect_server import Prefect
from projects import Project, bake, lend_environment, own_environment

CLUSTER = Path(__file__).with_name("support") / "dask_cluster.py"
OPTIONS = {"batch_size": 400, "seed": 3, "closed_from": "2016-03-01", "closed_to": "2016-06-01"}
OTHER = ("id", "created_at", "execution")  # in what trials differ
STEPS = """get_ticket_data_batch get_target predict read_history get_trial_id
get_trial_summary write_trial_summary""".split() + 4 * ["evaluate_model"]
# Runs the flow several times in a process; prints a trial, or the error, in a line each.
DRIVER = """
import json, sys, time
from functools import partial
from PACKAGE import pipeline
from PACKAGE.data import blocks
from PACKAGE.incident_log.parse import read_log
from PACKAGE.model import predict
from PACKAGE.orchestration import flow
from PACKAGE.settings import set_execution

def read_slowly(read):
    time.sleep(1.5)
    return read()

def predict_slowly(rows):
    time.sleep(1.5)
    return predict(rows)

def run(how, *, slowly):
    set_execution(how)
    if slowly:
        pipeline.BLOCKS = lambda asked: [partial(read_slowly, each) for each in blocks(asked)]
        setattr(flow.TASKS[predict], FUNCTION, predict_slowly)
    return run_flow()

RUN_FLOW
events = read_log("sample")
for number in range(3):
    part = events.iloc[number * len(events) // 3 : (number + 1) * len(events) // 3]
    part.to_parquet(f"log/{number}.parquet")
for line in sys.stdin:
    how, slowly = json.loads(line)
    try:
        print(json.dumps(run(how, slowly=slowly)), flush=True)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
"""
RUN_FLOW = {
    "3": """
FUNCTION = "fn"
from PACKAGE.orchestration import connection
connection.use_project_api()
def run_flow():
    runner = flow.make_task_runner()
    return flow.evaluation_flow.with_options(task_runner=runner)(**OPTIONS)
""",
    "1": """
FUNCTION = "run"
flow.log_to_stderr()
def run_flow():
    flow.flow = flow.build_flow()
    options = {name.replace("_", "-"): value for name, value in OPTIONS.items()}
    return flow.run_here(options).to_json()
""",
}


class Talk:
    """A process that answers each line on its stdin with one on its stdout."""

    def __init__(self, command: list[Any], log: Path, **options: Any) -> None:
        with log.open("w") as errors:
            self.log = log
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                **options,
            )

    def ask(self, line: str) -> Any:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline() or pytest.fail(self.log.read_text()))

    def end(self) -> None:
        self.process.communicate(timeout=30)


@contextmanager
def cluster_of(
    python: Path, folder: Path, environment: dict[str, str], workers: int = 2
) -> Iterator[tuple[str, Talk]]:
    """A cluster in a folder of its own, which has none of the project's settings."""
    folder.mkdir()
    settings = ("DATA_URL", "TRIALS_URL", "PREFECT_API_URL")
    own = {name: value for name, value in environment.items() if name not in settings}
    cluster = Talk([python, CLUSTER, workers], folder / "log", cwd=folder, env=own)
    try:
        address = cluster.process.stdout.readline().strip()
        assert address.startswith("tcp://127.0.0.1:"), cluster.log.read_text()
        yield address, cluster
    finally:
        cluster.end()


@pytest.fixture(
    scope="module",
    params=[pytest.param("3", marks=pytest.mark.xdist_group("prefect server")), "1"],
)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def place(
    variant: str,
    installed: Callable[[str, str], Project],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> tuple[Project, Path, dict[str, str]]:
    """A project whose package nobody else has, and the environment of its commands."""
    folder = tmp_path_factory.mktemp(f"dask-{variant}")
    answers = {"prefect_version": variant, "package_name": "on_dask", "project_slug": "on-dask"}
    project = lend_environment(bake(folder, **answers), installed(*existing(variant)))
    (folder / "log").mkdir()
    own = {"DATA_URL": str(folder / "log"), "TRIALS_URL": str(folder / "trials"), "SATURN_USERNAME": "ann"}
    own |= {"CACHE_DIR": str(folder / "cache")}
    if variant == "3":
        prefect: Prefect = request.getfixturevalue("prefect")
        own |= {"PREFECT_API_URL": f"{prefect.url}/api"}
    merged = {**os.environ, **own_environment(folder), **own}
    return project, folder, {name: value for name, value in merged.items() if value is not None}


@pytest.fixture(scope="module")
def cluster(place, variant, installed) -> Iterator[tuple[str, Talk]]:
    _, folder, environment = place
    python = installed(*existing(variant)).python
    with cluster_of(python, folder / "cluster", environment) as found:
        yield found


@pytest.fixture(scope="module")
def driver(place, variant, cluster) -> Iterator[Talk]:
    """A process of the project that runs its flow as it is told."""
    project, folder, environment = place
    code = DRIVER.replace("RUN_FLOW", RUN_FLOW[variant]).replace("OPTIONS", repr(OPTIONS))
    talk = Talk(
        [project.python, "-c", code.replace("PACKAGE", project.package)],
        folder / "driver.log",
        env={**environment, "DASK_ADDRESS": cluster[0]},
        cwd=folder,
    )
    yield talk
    talk.end()


def run(driver: Talk, how: str, *, slowly: bool = False) -> dict[str, Any]:
    trial = driver.ask(json.dumps([how, slowly]))
    assert "error" not in trial, trial
    return trial


@pytest.fixture(scope="module")
def single(driver: Talk) -> dict[str, Any]:
    trial = run(driver, "single-machine")
    assert trial["execution"] == "single-machine"
    return {name: value for name, value in trial.items() if name not in OTHER}


@pytest.mark.parametrize("how", ["dask-task", "dask-cluster"])
def test_a_trial_is_the_same_however_it_was_executed(how, driver, cluster, single):
    _, workers = cluster
    workers.ask("tasks")
    trial = run(driver, how)
    assert trial["execution"] == how
    assert {name: value for name, value in trial.items() if name not in OTHER} == single
    done = workers.ask("tasks")["done"]
    if how == "dask-cluster":
        assert sorted(STEPS) == sorted(name for name in done if name in STEPS)
    else:
        assert done.count("call") == 3  # a block each
        assert not set(STEPS) & set(done)


@pytest.mark.parametrize(("how", "step"), [("dask-task", "call"), ("dask-cluster", "predict")])
def test_a_run_completes_although_a_worker_is_killed(how, step, driver, cluster, single):
    _, workers = cluster
    workers.ask(f"kill {step}")
    trial = run(driver, how, slowly=True)
    assert workers.ask("tasks")["killed"]
    assert {name: value for name, value in trial.items() if name not in OTHER} == single

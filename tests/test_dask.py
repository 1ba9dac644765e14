"""Runs whose steps, or one of them, are executed on a real Dask cluster, without this package."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import existing
from dask_runs import Talk, cluster_of
from prefect_server import Prefect
from projects import Project, bake, full_environment, lend_environment, own_environment
from servers.saturn_1 import SaturnAPI
from servers.saturn_dask import DaskAPI

OPTIONS = {"batch_size": 400, "seed": 3, "closed_from": "2016-03-01", "closed_to": "2016-06-01"}
TOKEN = "saturn-0123456789-SECRET"
PREFECT_3 = pytest.param("3", marks=pytest.mark.xdist_group("prefect server 2"))
OTHER = ("id", "created_at", "execution")  # in what trials differ
STEPS = (
    """get_ticket_data_batch get_target predict read_history get_trial_id
get_trial_summary write_trial_summary""".split()
    + 4 * ["evaluate_model"]
)
# Runs the flow several times in a process; prints a trial, or the error, in a line each.
DRIVER = """
import functools, json, os, sys, time
from functools import partial

answers, sys.stdout = sys.stdout, sys.stderr  # Prefect 1 logs on stdout

from PACKAGE import model, pipeline
from PACKAGE.data import blocks
from PACKAGE.incident_log.parse import read_log
from PACKAGE.model import predict
from PACKAGE.orchestration import flow, runner
from PACKAGE.settings import set_execution

def read_slowly(read):
    time.sleep(1.5)
    return read()

def predict_slowly(rows):
    time.sleep(1.5)
    return predict(rows)

def run(how, *, slowly, env, limits, cached=False):
    model.predict = pipeline.predict = functools.cache(predict) if cached else predict
    os.environ.update(env)
    vars(runner).update(limits)
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
    asked = json.loads(line)
    try:
        answer = run(**asked)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), file=answers, flush=True)
"""
RUN_FLOW = {
    "3": """
FUNCTION = "fn"
from PACKAGE.orchestration import server
server.use_project_api()
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


@pytest.fixture(
    scope="module",
    params=[PREFECT_3, "1"],
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
    own = {
        "DATA_URL": str(folder / "log"),
        "TRIALS_URL": str(folder / "trials"),
        "SATURN_USERNAME": "ann",
    }
    own |= {"CACHE_DIR": str(folder / "cache")}
    if variant == "3":
        prefect: Prefect = request.getfixturevalue("prefect")
        own |= {"PREFECT_API_URL": f"{prefect.url}/api"}
    return project, folder, full_environment(own_environment(folder), own)


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


def ask(driver: Talk, how: str, *, slowly: bool = False, **more: Any) -> dict[str, Any]:
    """Let the flow run: `env` are variables, `limits` names of its module `runner`."""
    asked = {"how": how, "slowly": slowly, "env": {}, "limits": {}, **more}
    return driver.ask(json.dumps(asked))


def run(driver: Talk, how: str, **options: Any) -> dict[str, Any]:
    """Let it run; gives what must be the same in every trial."""
    trial = ask(driver, how, **options)
    assert "error" not in trial, trial
    assert trial["execution"] == how
    return {name: value for name, value in trial.items() if name not in OTHER}


@pytest.fixture(scope="module")
def single(driver: Talk) -> dict[str, Any]:
    return run(driver, "single-machine")


@pytest.fixture(scope="module")
def saturn(cluster) -> Iterator[tuple[DaskAPI, dict[str, str]]]:
    """Saturn's API for Dask clusters, and the variables with which runs use it."""
    with SaturnAPI(TOKEN, {}) as server:
        dask = server.dask = DaskAPI(cluster[0])
        urls = {"SATURN_BASE_URL": server.url, "BASE_URL": server.url}
        yield (
            dask,
            {
                **urls,
                **{"DASK_ADDRESS": "", "SATURN_TOKEN": TOKEN, "SATURN_IS_INTERNAL": "true"},
                **{"DASK_WORKERS": "2", "DASK_WORKER_SIZE": "large"},
            },
        )


def own_trials(folder: Path) -> int:
    return len([*(folder / "trials").glob("*.json")])


AWAY = {"DASK_WORKERS": "", "DASK_WORKER_SIZE": "", "SATURN_BASE_URL": "", "BASE_URL": ""}
AWAY |= {"SATURN_TOKEN": ""}


@pytest.mark.parametrize("how", ["dask-task", "dask-cluster"])
def test_a_trial_is_the_same_however_it_was_executed(how, driver, cluster, single, place):
    _, folder, _ = place
    _, workers = cluster
    workers.ask("tasks")
    kept = own_trials(folder)
    assert run(driver, how) == single
    assert own_trials(folder) == kept + 1  # the workers do not have TRIALS_URL
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
    assert run(driver, how, slowly=True) == single
    assert workers.ask("tasks")["killed"]


def test_a_cluster_of_saturns_is_asked_for_and_given_back(driver, cluster, single, saturn):
    dask, env = saturn
    assert run(driver, "dask-task", env=env) == single
    (opened,) = dask.clusters.values()
    assert opened == {"n_workers": 2, "worker_size": "large", "status": "closed"}
    failed = ask(driver, "dask-task", env={**env, "DATA_URL": "/nonexistent"})
    assert "cannot read /nonexistent" in failed["error"]
    assert {each["status"] for each in dask.clusters.values()} == {"closed"}  # that one, too
    failed = ask(driver, "dask-task", env={**env, "DASK_WORKER_SIZE": "giant"})
    # It is not tried again, as a cluster that Saturn cannot give now is.
    problem = "Saturn Cloud gives no Dask cluster (Proposed worker_size: giant is not a valid"
    assert failed["error"].startswith(f"InputError: EXECUTION: {problem} option")
    back = {**AWAY, "DASK_ADDRESS": cluster[0], "DATA_URL": single["source"]["data"]}
    assert run(driver, "dask-task", env=back) == single


# What opens a cluster is the same in both variants.
@pytest.mark.parametrize("variant", ["1"], indirect=True, scope="module")
def test_a_cluster_of_another_python_or_without_workers_is_refused(
    variant, driver, cluster, installed, place
):
    _, folder, environment = place
    (_, here), (_, there) = existing(variant), existing(variant, "newest")
    if here == there:
        pytest.skip("there is one Python on this machine")
    for version, workers, problem in (
        (
            there,
            1,
            rf"the cluster differs in python {there}\.\S+ there, {here}\.\S+ here; give both",
        ),
        (None, 0, "the cluster has had no worker for 1 s; start some"),
    ):
        python = installed(*existing(variant, version)).python
        with cluster_of(python, folder / f"other-{workers}", environment, workers) as (address, _):
            failed = ask(
                driver,
                "dask-task",
                env={"DASK_ADDRESS": address},
                limits={"SECONDS_FOR_A_WORKER": 1},
            )
        assert re.search(f"Error: DASK_ADDRESS: {address}: {problem}", failed["error"])
    back = ask(driver, "single-machine", env={"DASK_ADDRESS": cluster[0]})
    assert "error" not in back


def test_what_is_not_sent_to_the_workers_is_told_in_one_line(driver):
    failed = ask(driver, "dask-task", cached=True)
    problem = "dask-task: a worker cannot import what it needs (No module named 'on_dask')"
    assert failed["error"].startswith(f"InputError: {problem}; install requirements.txt there")


def test_a_scheduler_that_cannot_be_reached_is_told_in_one_line_and_soon(place):
    project, folder, environment = place
    began = time.monotonic()
    flow = f"{project.package}.orchestration.flow"
    result = subprocess.run(
        [project.python, "-m", flow, "--execution", "dask-cluster"],
        cwd=folder,
        env={**environment, "DASK_ADDRESS": "tcp://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "HTTP" not in line]
    problem = "no Dask scheduler answers within 10 s"
    assert line.startswith(f"Error: DASK_ADDRESS: tcp://127.0.0.1:9: {problem}")
    assert time.monotonic() - began < 60  # its imports take a while; Dask alone takes 30 s


@pytest.mark.parametrize("variant", [PREFECT_3], indirect=True, scope="module")
def test_without_the_extra_it_is_said_what_to_install(place):
    project, folder, environment = place
    code = f"""import sys
sys.modules["distributed"] = None
from {project.package}.orchestration import flow, server
flow.use_project_api = server.use_project_api
flow.main()"""
    result = subprocess.run(
        [project.python, "-c", code, "--execution", "dask-task"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith(
        "Error: EXECUTION: dask-task needs the extra dask of this project"
    )
    assert "pip install '.[dask]'" in result.stderr
    assert result.stderr.count("\n") == 1

"""Runs of the registered flow in variant 3: parameters, schedules, workers, and watching a run."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from prefect_server import Prefect, background, wait_until, with_limits
from projects import Project
from servers.prefect_cloud import Recorder
from slow import SlowLog
from terminal import Terminal

STEPS = """get_trial_id get_ticket_data_batch get_target predict evaluate_model-MAE
evaluate_model-MedAE evaluate_model-MSE evaluate_model-R2 read_history
get_trial_summary write_trial_summary"""

SHORTER = "runs", "SECONDS_UNTIL_TOLD=1, SECONDS_FOR_A_WORKER=3"


@pytest.mark.usefixtures("worker")
def test_a_quick_run_completes_and_all_of_it_can_be_read_back(
    prefect: Prefect, registered: Project
):
    result = prefect.run(
        "run", "--watch", "--param", "seed=5", "--param", "batch_size=200", limit=200
    )
    assert result.returncode == 0, result.stderr
    flow_run = prefect.flow_run(result.stdout)
    assert flow_run["state"]["type"] == "COMPLETED"
    # The result is the last line, in the same words as in the run's log.
    sentence = flow_run["state"]["message"]
    assert re.fullmatch(
        r"MAE .* h on 200 tickets( \(\d+ by number\))?, priority-heuristic", sentence
    )
    *lines, last = result.stderr.splitlines()
    assert last[8:] == f" Completed: {sentence}"
    assert len([line for line in lines if line.endswith(f"write_trial_summary: {sentence}")]) == 1
    by_run = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}}
    tasks = prefect.get("/task_runs/filter", by_run)
    assert sorted(task["name"] for task in tasks) == sorted(STEPS.split())
    assert {task["state"]["type"] for task in tasks} == {"COMPLETED"}
    logs = wait_until(
        lambda: [
            record["message"]
            for record in prefect.get(
                "/logs/filter", {"logs": {"flow_run_id": {"any_": [flow_run["id"]]}}}
            )
            if record["message"].startswith("{")
        ],
        "the trial in the log",
    )
    (trial,) = map(json.loads, logs)
    assert logs[0] in result.stderr
    (kept,) = (registered.path / "trials").glob(f"*-{trial['id']}.json")
    assert json.loads(kept.read_text()) == trial
    artifact = prefect.get(f"/artifacts/{registered.slug}-trial/latest")
    assert artifact["flow_run_id"] == flow_run["id"]
    table = {row["measure"]: row["value"] for row in json.loads(artifact["data"])}
    assert table["tickets"] == trial["data"]["num_obs"] == 200
    assert {name: table[name] for name in trial["data"]["metrics"]} == trial["data"]["metrics"]
    assert trial["id"] in artifact["description"]
    assert trial["flow"] == f"ann-{registered.slug}"
    plain = registered.evaluate(
        "--seed", "5", "--batch-size", "200", "--trials", "none", env=prefect.environment
    )
    assert json.loads(plain.stdout)["data"] == trial["data"]


@pytest.mark.usefixtures("worker")
def test_a_failed_run_is_told_and_its_bad_input_is_not_tried_again(prefect: Prefect):
    result = prefect.run("run", "--watch", "--param", "data=/nonexistent.zip", limit=120)
    assert result.returncode == 1
    assert (
        "Failed: Flow run encountered an exception: InputError: data: cannot read /nonexistent.zip"
        in result.stderr
    )
    tasks = prefect.get(
        "/task_runs/filter",
        {"flow_runs": {"id": {"any_": [prefect.flow_run(result.stdout)["id"]]}}},
    )
    assert [task["run_count"] for task in tasks if task["name"] == "get_ticket_data_batch"] == [1]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("nonsense=1", "the flow has no parameter nonsense; it has data, batch_size"),
        ("batch_size=0", "batch_size: '0' is not a whole number from 1"),
        ("closed_last=soon", "closed_last: 'soon'"),
        ("batch_size=many", "batch_size='many' is not of type integer or null"),
    ],
)
def test_a_bad_parameter_is_refused_before_a_run_is_made(prefect: Prefect, parameter, message):
    def asked_for():
        return [
            each["id"]
            for each in prefect.get("/flow_runs/filter", {})
            if not each["auto_scheduled"]
        ]

    before = asked_for()
    result = prefect.run("run", "--param", parameter)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert asked_for() == before


@pytest.mark.usefixtures("worker")
def test_a_run_on_a_terminal_shows_its_result(prefect: Prefect, registered: Project):
    (registered.path / ".venv" / ".installed").touch()
    with Terminal(
        "make", "run", env=prefect.environment, cwd=registered.path, limit=120
    ) as terminal:
        terminal.expect("Completed: MAE ")
        assert terminal.end() == 0, terminal.shown
    assert terminal.shown.rstrip().endswith(", priority-heuristic")


def test_a_path_means_what_it_means_where_it_is_typed(
    prefect: Prefect, registered: Project, tmp_path
):
    (tmp_path / "mine.csv").write_text("")
    for folder, sent in ((tmp_path, str(tmp_path / "mine.csv")), (registered.path, "mine.csv")):
        result = prefect.run("run", "--param", "data=mine.csv", cwd=folder)
        assert result.returncode == 0, result.stderr
        flow_run = prefect.flow_run(result.stdout)
        assert flow_run["parameters"]["data"] == sent
        prefect.get(f"/flow_runs/{flow_run['id']}", method="DELETE")  # before a worker takes it


@pytest.mark.usefixtures("worker")
def test_a_schedule_evaluates_what_was_closed_since_its_last_time(
    prefect: Prefect, registered: Project, tmp_path
):
    """A run that was due at 10:00 takes the window that ends at 10:00, however late it begins."""
    log = tmp_path / "log.csv"
    rows = [
        f"INC{hour},1/3/2016 00:00,{2 + hour // 24}/3/2016 {hour % 24:02d}:30,2 - High"
        for hour in range(48)
    ]
    log.write_text("\n".join(["number,sys_updated_at,closed_at,priority", *rows, ""]))
    flow_run = prefect.get(
        f"/deployments/{prefect.deployment(f'ann-{registered.slug}')['id']}/create_flow_run",
        {
            "parameters": {"data": str(log), "closed_last": "24h"},
            "state": {
                "type": "SCHEDULED",
                "state_details": {"scheduled_time": "2016-03-03T10:00:00Z"},
            },
        },
    )
    state = wait_until(
        lambda: (
            (s := prefect.get(f"/flow_runs/{flow_run['id']}")["state"])["type"]
            in ("COMPLETED", "FAILED")
            and s
        ),
        "the run",
    )
    assert state["type"] == "COMPLETED"
    history = prefect.run("history", "--json", "--last", "50")
    trials = [json.loads(line) for line in history.stdout.splitlines()]
    (trial,) = [each for each in trials if each["source"]["data"] == str(log)]
    assert trial["window"] == {"from": "2016-03-02T10:00:00Z", "to": "2016-03-03T10:00:00Z"}
    assert trial["data"]["num_obs"] == 24


@pytest.mark.usefixtures("registered", "worker")
def test_the_api_is_away_while_a_run_is_watched_and_the_watch_goes_on(
    prefect: Prefect, slow_log: SlowLog, tmp_path
):
    log = tmp_path / "watch.log"
    with Recorder(prefect.url) as recorder:
        environment = {**prefect.environment, "PREFECT_API_URL": recorder.url + "/api"}
        command = ("run", "--watch", "--param", f"data={slow_log.address}")
        with background(prefect.project, log, environment, *command) as watching:
            assert slow_log.asked.wait(90)
            recorder.down = True
            wait_until(lambda: "trying again for 60 s" in log.read_text(), "the watch to notice")
            recorder.down = False
            slow_log.release.set()
            assert watching.wait(60) == 0, log.read_text()
    assert "Completed" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_run_without_a_worker_and_a_worker_killed_in_a_trial(
    prefect: Prefect, another, slow_log: SlowLog
):
    """Both are told or seen, no trial is half-written, and the next run is as any other."""
    project = another(project_slug="killed", schedule_hours="0")
    environment = {"PREFECT_API_URL": prefect.url + "/api"}
    for command in ("connect", "register"):
        assert prefect.run(command, project=project, env=environment).returncode == 0
    run_and_watch = "run", "--watch", "--param", f"data={slow_log.address}"
    result = prefect.run(*run_and_watch, project=project, limits=SHORTER)
    assert result.returncode == 1
    assert "no worker of the work pool killed is online: start one, `make worker`" in result.stderr
    assert "it stays scheduled" in result.stderr

    log = project.path / "worker.log"
    with background(project, log, prefect.environment, "worker") as process:
        assert slow_log.asked.wait(90)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    slow_log.release.set()
    time.sleep(2)  # the kill may have left the run's own process, which may end well or not at all
    trials = [*(project.path / "trials").glob("*")] if (project.path / "trials").exists() else []
    assert all(json.loads(path.read_text())["data"]["num_obs"] == 1 for path in trials)
    assert prefect.flow_run(result.stdout)["state"]["type"] in (
        "RUNNING",
        "COMPLETED",
        "CRASHED",
        "CANCELLED",
    )
    with background(project, log, prefect.environment, "worker"):
        again = prefect.run("run", "--watch", project=project, limit=120)
    assert again.returncode == 0, again.stderr
    assert len([*(project.path / "trials").glob("*.json")]) == len(trials) + 1


def test_each_log_line_is_shown_once_whenever_it_arrives(prefect: Prefect, another, tmp_path):
    """Batches that overlap, that are late, that come after the run's end, or before its tasks."""
    project = another(project_slug="logged", schedule_hours="0")
    log = tmp_path / "watch.log"
    limits = "PAGE=20, KEPT=100, SECONDS_FOR_A_NAME=10"
    with Recorder(prefect.url) as recorder:
        environment = {**prefect.environment, "PREFECT_API_URL": recorder.url + "/api"}
        assert prefect.run("register", project=project, env=environment).returncode == 0
        command = (*with_limits(project, "runs", limits), "run", "--watch")
        with background(project, log, environment, command=command) as watching:
            page = wait_until(lambda: re.search(r"/flow-run/(\S+)", log.read_text()), "the run")
            flow_run_id = page[1]
            begin = datetime.now(UTC)
            sent: list[str] = []

            def send(seconds: float, count: int, task_run_id: str | None = None) -> None:
                """Send a batch of which each record is a second after the one before."""
                batch = []
                for number in range(count):
                    sent.append(f"line {len(sent)} of many")
                    moment = begin + timedelta(seconds=seconds + number)
                    record = {"name": "n", "level": 20, "message": sent[-1]}
                    record |= {"timestamp": moment.isoformat(), "flow_run_id": flow_run_id}
                    record["task_run_id"] = task_run_id
                    batch.append(record)
                prefect.get("/logs/", batch)

            def recorded(since: int) -> list[str]:
                return [path for _, path, _ in recorder.requests[since:]]

            def all_shown() -> bool:
                return all(f"{line}\n" in log.read_text() for line in sent)

            def set_state(kind: str, message: str) -> None:
                state = {"type": kind, "message": message}
                prefect.get(f"/flow_runs/{flow_run_id}/set_state", {"state": state, "force": True})

            set_state("RUNNING", "It runs")
            for seconds, count in ((1000, 50), (990, 5), (1010, 30), (900, 20), (1049.5, 45)):
                send(seconds, count)
                wait_until(all_shown, f"the batch of second {seconds}")
            send(2000, 350)
            wait_until(all_shown, "a long batch")
            asked = len(recorder.requests)
            send(2345.5, 3)
            wait_until(all_shown, "the next batch")
            looks = recorded(asked)
            # A task run becomes known through events, which may come after its log, or never.
            late, never = (str(uuid.uuid4()) for _ in range(2))
            send(2400, 1, never)
            send(2401, 1, late)
            asked = len(recorder.requests)
            wait_until(
                lambda: recorded(asked).count("/api/task_runs/filter") > 1, "the tasks' names"
            )
            assert sent[-1] not in log.read_text()
            task_run = {"id": late, "name": "late", "task_key": "t", "dynamic_key": "0"}
            prefect.get("/task_runs/", {**task_run, "flow_run_id": flow_run_id})
            wait_until(lambda: f" late: {sent[-1]}\n" in log.read_text(), "the late name")
            set_state("COMPLETED", "MAE 1.0 h on 7 tickets")
            time.sleep(3)  # the watch has seen the end, and waits for more
            send(2300, 9)
            assert watching.wait(30) == 0, log.read_text()
    lines = log.read_text().splitlines()
    shown = [line[line.index("line ") :] for line in lines if "of many" in line]
    assert sorted(shown) == sorted(sent)
    assert len([line for line in lines if " a task: line" in line]) == 1
    assert lines[-1].endswith(" Completed: MAE 1.0 h on 7 tickets")
    # However long the log is, a look reads the last 100 records, which are 6 pages of 20, again.
    assert looks.count("/api/logs/filter") <= 7 * looks.count(f"/api/flow_runs/{flow_run_id}")


def test_a_paused_work_pool_is_named(prefect: Prefect, another):
    project = another(project_slug="paused", schedule_hours="0")
    environment = {**prefect.environment, "PREFECT_API_URL": prefect.url + "/api"}
    assert prefect.run("register", project=project, env=environment).returncode == 0
    prefect.get("/work_pools/paused", {"is_paused": True}, method="PATCH")
    result = prefect.run("run", "--watch", project=project, env=environment, limits=SHORTER)
    assert result.returncode == 1
    assert result.stderr.count("the work pool paused is paused: resume it on Prefect's pages") == 1
    assert "it stays scheduled" in result.stderr

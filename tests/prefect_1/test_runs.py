"""Runs: watched, skipped, failed, tried again, cancelled."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter

import pytest
from site_1 import Site, fault, refusal, wait_until

RUNS = "orchestration/runs.py"


def shown_lines(stderr: str) -> Counter[str]:
    """What watching has shown, without times."""
    return Counter(re.findall(r"(?m)^\d\d:\d\d:\d\d (.*)$", stderr))


def test_watching_shows_each_line_once_and_ends_with_the_result(registered: Site) -> None:
    site = registered
    site.api.log_delay = 4.0  # of every second line
    try:
        watching = site.watch("batch-size=null")
        site.execute_all()
        stdout, stderr = watching.communicate(timeout=60)
    finally:
        site.api.log_delay = 0.0
    assert watching.returncode == 0, stderr
    done = site.flow_run(stdout.strip())
    shown = shown_lines(stderr)
    logged = Counter(entry["message"] for entry in done["logs"])
    assert logged
    assert {message: shown[message] for message in logged} == logged
    states = Counter(line.partition(":")[0] for line in (shown - logged).elements())
    assert states == Counter(state["state"] for state in done["states"])
    # The result, in a sentence that is also in the run's log.
    last = stderr.splitlines()[-1]
    sentence = last.removeprefix("Success: ")
    assert sentence.startswith("MAE ")
    assert f"{site.trials()[-1]['data']['num_obs']:,} tickets" in sentence
    assert logged[sentence] == 1
    assert site.trials()[-1]["id"] in stderr


@pytest.mark.parametrize("kind", ["stall", "503"])
def test_watching_ends_soon_in_one_line_when_the_api_is_away(registered: Site, kind: str) -> None:
    watching = registered.watch(API_TIMEOUT="3")
    run_id = watching.stdout.readline().strip()
    started = time.monotonic()
    with fault(registered.api, kind):
        _, stderr = watching.communicate(timeout=60)
    assert time.monotonic() - started < 30  # the client alone tries for more than a minute
    line = refusal(watching.returncode, "", stderr)
    assert line.startswith("Error: Prefect: no answer within 3 s")
    assert f"flow-run/{run_id} (the run goes on if watching ends)" in stderr
    registered.cancel(run_id)


def test_a_run_that_no_agent_takes_is_said_to_wait(registered: Site) -> None:
    with (
        registered.edited(RUNS, old="SECONDS_UNTIL_TOLD = 15.0", new="SECONDS_UNTIL_TOLD = 1.0"),
        registered.edited(
            RUNS, old="SECONDS_FOR_AN_AGENT = 600.0", new="SECONDS_FOR_AN_AGENT = 5.0"
        ),
    ):
        watching = registered.watch()
        stdout, stderr = watching.communicate(timeout=60)
    line = refusal(watching.returncode, "", stderr)
    assert "no agent has taken the run, which stays scheduled" in line
    assert stderr.count("no agent has taken the run yet. ") == 1
    registered.cancel(stdout.strip())


def test_a_window_without_rows_ends_well_without_a_trial(registered: Site) -> None:
    trials = registered.trials()
    watching = registered.watch("closed-from=2030-01-01")
    registered.execute_all()
    stdout, stderr = watching.communicate(timeout=60)
    assert watching.returncode == 0
    said = "no rows closed from 2030-01-01 00:00:00 to the end: nothing to evaluate"
    assert stderr.splitlines()[-1] == f"Success: {said}"
    done = registered.flow_run(stdout.strip())
    assert done["state"] == "Success"
    predicted = {row["state"] for row in done["task_runs"] if row["task"]["name"] == "predict"}
    assert predicted == {"Skipped"}
    assert registered.trials() == trials


def test_closed_last_ends_at_the_scheduled_time(registered: Site) -> None:
    create = "mutation($input: create_flow_run_input!) { create_flow_run(input: $input) { id } }"
    asked = {
        "flow_id": registered.registered_flow["id"],
        "scheduled_start_time": "2016-05-01T00:00:00+00:00",
        "parameters": {"closed-last": "7d", "batch-size": None},
    }
    run_id = registered.query(create, input=asked)["create_flow_run"]["id"]
    registered.execute_all()
    assert registered.flow_run(run_id)["state"] == "Success"
    (trial,) = (trial for trial in registered.trials() if trial["selection"]["closed_last"] == "7d")
    assert trial["window"] == {"from": "2016-04-24T00:00:00Z", "to": "2016-05-01T00:00:00Z"}
    assert trial["selection"]["batch_size"] is None


def test_a_step_that_fails_fails_the_run_in_one_line(registered: Site) -> None:
    trials = registered.trials()
    watching = registered.watch("data=/nowhere.zip")
    registered.execute_all()
    stdout, stderr = watching.communicate(timeout=60)
    assert watching.returncode == 1
    done = registered.flow_run(stdout.strip())
    assert done["state"] == "Failed"
    states = {row["task"]["name"]: row["state"] for row in done["task_runs"]}
    assert states["get_ticket_data_batch"] == "Failed"
    assert states["write_trial_summary"] == "TriggerFailed"
    (error,) = (entry["message"] for entry in done["logs"] if entry["level"] == "ERROR")
    assert error.startswith("data: cannot read /nowhere.zip: No such file or directory")
    assert stderr.splitlines()[-1] == f"Failed: {error}"
    assert registered.trials() == trials


def test_a_step_that_waits_on_others_is_tried_again(registered: Site) -> None:
    site = registered
    make = (
        "import sys; from ticket_model_evaluation.incident_log.sample import make_log; "
        "sys.stdout.buffer.write(make_log(50))"
    )
    site.data.content = subprocess.check_output([site.project.python, "-c", make])
    with fault(site.data, "503"):
        run_id = site.run(f"data={site.data.url}/log.zip", "batch-size=null")
        (job,) = site.jobs()
        with site.execute(job) as process:
            try:
                wait_until(lambda: "Retrying" in site.task_states(run_id))
                site.data.fault = None
                output, _ = process.communicate(timeout=60)
            finally:
                process.kill()
    assert site.flow_run(run_id)["state"] == "Success", output
    events = site.data.content.count(b"\n") - 1
    assert site.trials()[-1]["data"]["num_obs"] == events


def test_a_cancelled_run_stops(registered: Site) -> None:
    site = registered
    trials = site.trials()
    with fault(site.data, "stall"):
        run_id = site.run(f"data={site.data.url}/log.zip")
        (job,) = site.jobs()
        with site.execute(job) as process:
            try:
                wait_until(lambda: site.data.spare < 0)  # it has asked, and waits
                site.cancel(run_id)
                output, _ = process.communicate(timeout=60)
            finally:
                process.kill()
    done = site.flow_run(run_id)
    assert done["state"] == "Cancelled", output
    assert "Cancelling" in [state["state"] for state in done["states"]]
    assert {row["state"] for row in done["task_runs"]} <= {"Success", "Cancelled"}
    assert site.trials() == trials

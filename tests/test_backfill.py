"""The command `backfill`: a trial for each past window, whatever ends it midway."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from commands import assert_refused
from prefect_server import wait_until
from projects import Project

LOG = os.environ.get("INCIDENT_EVENT_LOG", "")
real_log = pytest.mark.skipif(not LOG, reason="INCIDENT_EVENT_LOG is not set")
# Of the synthetic log: 60 days, each with rows.
DAYS = ("backfill", "--data", "sample", "--every", "1d", "--seed", "1")
TWO_MONTHS = ("--from", "2016-04-01", "--to", "2016-05-31")

# How many rows of the real log each week has: plain pandas, and none of the project's code.
REFERENCE = """
import json, sys, zipfile
import pandas as pd
with zipfile.ZipFile(sys.argv[1]) as archive:
    log = pd.read_csv(archive.open("incident_event_log.csv"), usecols=["closed_at"])
closed = pd.to_datetime(log["closed_at"], format="%d/%m/%Y %H:%M")
weeks = (closed - pd.Timestamp("2016-02-01")) // pd.Timedelta("7d")
print(json.dumps({int(week): int(rows) for week, rows in weeks.value_counts().items()}))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parsed log, for all tests of this module."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _settings(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIR", str(cache))
    monkeypatch.setenv("SATURN_USERNAME", "ann")


def kept(project: Project) -> dict[str, dict[str, object]]:
    """The trials by name, each whole; without the times at which they were made."""
    files = (project.path / "trials").glob("*.json")
    return {path.name: {**json.loads(path.read_text()), "created_at": None} for path in files}


def running(project: Project) -> list[str]:
    """The processes of the project's Python, by their numbers."""
    lines = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True)
    return [line.split()[0] for line in lines.stdout.splitlines() if str(project.path) in line]


def start(project: Project, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [project.command, *arguments],
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def variant() -> str:
    """One is enough: it knows no Prefect, and is the same in both."""
    return "3"


def test_one_that_is_killed_midway_goes_on_and_ends_as_if_nothing_had_happened(project: Project):
    arguments = (*DAYS, *TWO_MONTHS, "--jobs", "2")
    with start(project, *arguments) as process:
        # All 60 take less than a second.
        wait_until(lambda: len(kept(project)) >= 3, "three trials", 120, pause=0.01)
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not running(project), "its processes to end", 60)
    before = kept(project)
    assert 3 <= len(before) < 60
    result = project.run(project.command, *arguments)
    assert result.returncode in (0, 3), result.stderr
    done = len(before)
    assert f"{60 - done} evaluated, {done} evaluated before, 0 empty" in result.stderr
    interrupted = kept(project)
    assert {name: interrupted[name] for name in before} == before
    whole = project.run(project.command, *DAYS, *TWO_MONTHS, "--trials", "whole")
    assert whole.stdout == result.stdout
    assert whole.returncode == result.returncode
    (project.path / "trials").rename(project.path / "interrupted")
    (project.path / "whole").rename(project.path / "trials")
    assert kept(project) == interrupted
    again = project.run(project.command, *arguments)
    assert again.stdout == result.stdout
    assert "0 evaluated, 60 evaluated before, 0 empty" in again.stderr
    assert kept(project) == interrupted


def test_two_at_once_make_each_trial_once(project: Project):
    with start(project, *DAYS, *TWO_MONTHS) as one, start(project, *DAYS, *TWO_MONTHS) as two:
        outputs = [each.communicate(timeout=240) for each in (one, two)]
    assert one.returncode == two.returncode in (0, 3), outputs
    assert outputs[0][0] == outputs[1][0]
    trials = kept(project)
    assert len(trials) == len({str(each["window"]) for each in trials.values()}) == 60


def test_what_stands_in_the_way_is_said_in_one_line_before_any_work(project: Project):
    (project.path / "trials").write_text("")
    assert_refused(project.run(project.command, *DAYS, *TWO_MONTHS), "TRIALS_URL", "is a file")
    result = project.run(project.command, *DAYS, *TWO_MONTHS, env={"TRIALS_URL": "none"})
    assert_refused(result, "TRIALS_URL")
    assert (project.path / "trials").read_text() == ""


def test_an_error_in_a_process_of_its_own_is_one_line_and_what_was_kept_stays(project: Project):
    model = project.source / "model.py"
    broken = 'if (df["closed_at"] >= "2016-05-10").any():\n        return 1\n    hours = '
    model.write_text(model.read_text().replace("hours = ", broken))
    result = project.run(project.command, *DAYS, *TWO_MONTHS, "--jobs", "2")
    assert_refused(result, "predict returned")
    assert len(kept(project)) > 10


@real_log
def test_on_the_real_log_each_week_with_rows_has_its_trial(project: Project):
    year = ("--from", "2016-02-01", "--to", "2017-02-27", "--all")
    result = project.run(project.command, "backfill", "--data", LOG, *year, limit=300)
    assert result.returncode in (0, 3), result.stderr
    counted = json.loads(project.run(project.python, "-c", REFERENCE, LOG).stdout)
    trials = sorted(kept(project).items())
    expected = [rows for week, rows in sorted(counted.items(), key=lambda each: int(each[0]))]
    assert [each["data"]["num_obs"] for _, each in trials] == expected  # type: ignore[index]
    assert f"windows: {len(trials)} evaluated, 0 evaluated before, {56 - len(trials)} empty" in (
        result.stderr
    )
    assert "no rows closed from 2016-02-01 00:00:00 to" in result.stderr
    judged = [each["gate"]["name"] for _, each in trials]  # type: ignore[index]
    assert set(judged[:14]) <= {"too little history", "too few rows"}
    assert "as before" in judged[14:]

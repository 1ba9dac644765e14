"""The command `evaluate`, and the two files that a team replaces."""

from __future__ import annotations

import json
import os
import sqlite3
import zipfile

import pytest
from commands import assert_refused
from conftest import existing
from projects import Project

LOG = os.environ.get("INCIDENT_EVENT_LOG", "")
real_log = pytest.mark.skipif(not LOG, reason="INCIDENT_EVENT_LOG is not set")

# What the issue is checked against: plain pandas and scikit-learn, and none of the project's code.
REFERENCE = """
import json, sys, zipfile
import pandas as pd
from sklearn import metrics
with zipfile.ZipFile(sys.argv[1]) as archive:
    log = pd.read_csv(archive.open("incident_event_log.csv"), na_values="?")
time = lambda name: pd.to_datetime(log[name], format="%d/%m/%Y %H:%M")
actual = (time("closed_at") - time("sys_updated_at")).dt.total_seconds()
hours = {"1 - Critical": 6, "2 - High": 24, "3 - Moderate": 120, "4 - Low": 240}
predicted = log["priority"].map(hours).fillna(180) * 3600
print(json.dumps({
    "num_obs": len(log),
    "metrics": {
        "MAE": metrics.mean_absolute_error(actual, predicted),
        "MedAE": metrics.median_absolute_error(actual, predicted),
        "MSE": metrics.mean_squared_error(actual, predicted),
        "R2": metrics.r2_score(actual, predicted),
    },
    "target": {name: getattr(actual, name)() for name in ("mean", "median", "min", "max")},
    "march": int(((time("closed_at") >= "2016-03-01") & (time("closed_at") < "2016-04-01")).sum()),
}))
"""


# What knows no Prefect is the same in both variants: see test_generated.
in_one_variant = pytest.mark.parametrize("variant", ["3"])


@real_log
def test_on_the_real_log_all_numbers_equal_a_plain_computation(installed):
    default_project = installed(*existing("3"))
    result = default_project.evaluate("--data", LOG, "--all", "--trials", "none")
    assert result.returncode == 0, result.stderr
    trial = json.loads(result.stdout)
    assert trial["source"]["name"] == "UCI incident event log"
    reference = json.loads(default_project.run(default_project.python, "-c", REFERENCE, LOG).stdout)
    assert trial["data"]["num_obs"] == reference["num_obs"] == 141712
    for group in ("metrics", "target"):
        assert trial["data"][group] == pytest.approx(reference[group], rel=1e-9, abs=0)
    march = (
        "--closed-from",
        "2016-03-01",
        "--closed-to",
        "2016-04-01",
        "--all",
        "--trials",
        "none",
    )
    trial = json.loads(default_project.evaluate("--data", LOG, *march).stdout)
    assert trial["data"]["num_obs"] == reference["march"]


@real_log
@in_one_variant
def test_priorities_of_the_real_log_are_all_known_to_the_model(project: Project):
    with zipfile.ZipFile(LOG) as archive:
        csv = archive.read("incident_event_log.csv")
    model = (project.source / "model.py").read_text()
    assert all(
        f'"{label}"' in model and label.encode() in csv for label in ("1 - Critical", "4 - Low")
    )


@in_one_variant
def test_a_trial_goes_to_stdout_and_to_its_file_and_history_shows_it(project: Project):
    result = project.evaluate("--data", "sample", "--seed", "7", env={"SATURN_USERNAME": "ann"})
    assert result.returncode == 0, result.stderr
    trial = json.loads(result.stdout, parse_constant=pytest.fail)
    assert trial["flow"] == "ann-ticket-model-evaluation"
    assert trial["data"]["num_obs"] == 1000
    (kept,) = (project.path / "trials").iterdir()
    assert json.loads(kept.read_text()) == trial
    assert str(kept) in result.stderr
    history = project.run(project.command, "history", cwd=project.path.parent)  # from any folder
    assert trial["id"][:8] in history.stdout
    again = json.loads(project.evaluate("--data", "sample", "--seed", "7").stdout)
    assert again["data"] == trial["data"]
    assert again["id"] != trial["id"]


def test_settings_come_from_a_file_env_and_the_environment_wins(project: Project):
    (project.path / ".env").write_text(
        "DATA_URL=sample\nTRIALS_URL=elsewhere\nSATURN_USERNAME='from file'\n"
    )
    trial = json.loads(project.evaluate(env={"SATURN_USERNAME": "from-environment"}).stdout)
    assert trial["flow"].startswith("from-environment-")
    assert len(list((project.path / "elsewhere").iterdir())) == 1


def test_a_line_of_the_file_env_that_cannot_be_read_is_told_in_one_line(project: Project):
    (project.path / ".env").write_text("DATA_URL=sample\nwhat is this\n")
    result = project.evaluate()
    assert result.returncode == 2
    assert (
        result.stderr
        == f"Error: {project.path}/.env: line 2 is not of the form NAME=VALUE; fix or remove it\n"
    )


@in_one_variant
def test_a_team_replaces_data_and_model_and_runs_a_trial(project: Project, tmp_path):
    """Another source (SQL), other columns, a fitted estimator; nothing else is touched.

    With a test file of the team's own it is one of the patterns: test_patterns.
    """
    database = tmp_path / "orders.db"
    with sqlite3.connect(database) as connection:
        connection.execute("create table orders (items int, delivered text, seconds real)")
        rows = [
            (i % 7, f"2024-05-{1 + i % 28:02d} 12:00:00", 60.0 * (i % 7) + i % 3)
            for i in range(280)
        ]
        connection.executemany("insert into orders values (?, ?, ?)", rows)
    (project.source / "data.py").write_text('''
"""Orders from the warehouse."""

import sqlite3
import pandas as pd
from .evaluation.selection import Selection

def get_ticket_data_batch(selection: Selection) -> pd.DataFrame:
    with sqlite3.connect(str(selection.data)) as connection:
        df = pd.read_sql("select * from orders", connection)  # the times come as text
    return selection.draw(df, closed_at="delivered")

def get_target(df: pd.DataFrame) -> "pd.Series[float]":
    return df["seconds"]
''')
    (project.source / "model.py").write_text('''
"""A fitted line."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

MODEL_NAME = "delivery-line"
LINE = LinearRegression().fit(np.arange(7.0).reshape(-1, 1), np.arange(7.0) * 60)

def predict(df: pd.DataFrame) -> "pd.Series[float]":
    return pd.Series(LINE.predict(df[["items"]].to_numpy()), index=df.index)
''')
    (project.source / "metrics.py").write_text('''
"""What a good prediction of a delivery is."""

from sklearn.metrics import r2_score

from .evaluation import Metric, Scoring, Unit, absolute_error

MINUTES = Unit("min", per=60.0)
METRICS = {"MAE": Metric.mean(absolute_error, MINUTES), "R2": Metric(r2_score, best=1.0)}
SCORING = Scoring(rows="orders", target="delivery", unit=MINUTES, metrics=METRICS, baseline=180.0)
''')
    window = ("--closed-from", "2024-05-08", "--closed-to", "2024-05-15")
    result = project.evaluate("--data", str(database), *window)
    assert result.returncode == 0, result.stderr
    trial = json.loads(result.stdout)
    assert trial["model"] == "delivery-line"
    assert trial["data"]["num_obs"] == 70
    assert trial["data"]["metrics"]["R2"] > 0.99
    unsorted = project.source / "model.py"
    unsorted.write_text(
        unsorted.read_text().replace("index=df.index)", "index=df.index).sort_values()")
    )
    assert_refused(
        project.evaluate("--data", str(database), "--batch-size", "9"),
        "predict returned the rows with another index, or in another order",
    )


@in_one_variant
def test_where_the_download_cannot_be_reached_the_way_out_is_said(project: Project):
    result = project.evaluate(env={"DATA_URL": "http://127.0.0.1:9/log.zip"})
    assert result.returncode == 2
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: data: cannot read http://127.0.0.1:9/log.zip: connection failed")
    assert "--data sample" in last
    assert not (project.path / "trials").exists()

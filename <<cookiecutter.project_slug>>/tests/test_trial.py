"""From rows to a trial that is kept, whatever the data and the model are."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from << cookiecutter.package_name >> import pipeline
from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.evaluation.metrics import METRICS, evaluate_model
from << cookiecutter.package_name >>.evaluation.selection import make_selection
from << cookiecutter.package_name >>.evaluation.store import (
    check_place,
    read_trials,
    write_trial_summary,
)
from << cookiecutter.package_name >>.evaluation.trial import COLUMNS, Trial, get_trial_id

TRIAL = Trial(
    id="1",
    num_obs=1234,
    metrics={"MAE": 7200.0, "MedAE": 3600.0, "MSE": 1.0, "R2": None},
    target=dict.fromkeys(("mean", "median", "min", "max"), 5400.0),
    created_at="2020-01-01T10:00:00.000001Z",
    model="m",
)
ACTUAL = pd.Series([1.0, 2.0, 6.0], index=[7, 8, 9])


@pytest.fixture
def _own_model(monkeypatch, rows):
    """Put the fixture's rows in place of data.py, and a model that is one second off."""
    draw = {"get_ticket_data_batch": lambda selection: selection.draw(rows, "closed_at")}
    target = {"get_target": lambda df: df["size"].astype(float)}
    model = {"predict": lambda df: df["size"] + 1.0}
    for name, function in {**draw, **target, **model}.items():
        monkeypatch.setattr(pipeline, name, function)


def test_metrics_and_undefined_ones():
    predicted = pd.Series([2.0, 2.0, 4.0], index=ACTUAL.index)
    values = [evaluate_model(ACTUAL, predicted, name) for name in METRICS]
    assert values == [1.0, 1.0, pytest.approx(5 / 3), pytest.approx(1 - 5 / 14)]
    assert evaluate_model(ACTUAL[:1], predicted[:1], "R2") is None
    assert evaluate_model(ACTUAL[:2], predicted[:2], "R2") == -1.0
    assert evaluate_model(ACTUAL, np.array(predicted), "MAE") == 1.0
    assert evaluate_model(ACTUAL, list(predicted), "MAE") == 1.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        ([1.0, 2.0], "predict returned 2 finite numbers for 3 rows"),
        ([1.0, 2.0, float("nan")], "predict returned 2 finite numbers for 3 rows"),
        ([[1.0], [2.0], [6.0]], "predict returned 3 finite numbers for 3 rows"),
        (["a", "b", "c"], "predict returned values that are not numbers"),
        (ACTUAL[::-1], "predict returned the rows with another index, or in another order"),
        (ACTUAL.reset_index(drop=True), "predict returned the rows with another index"),
    ],
)
def test_a_prediction_that_is_not_one_number_per_row_is_refused(predicted, message):
    with pytest.raises(InputError, match=message):
        evaluate_model(ACTUAL, predicted, "MAE")
    target = predicted if isinstance(predicted, list) else None
    if target:
        with pytest.raises(InputError, match=r"^get_target|^predict"):
            evaluate_model(target, ACTUAL, "MAE")  # type: ignore[arg-type]


@pytest.mark.usefixtures("_own_model")
def test_a_trial_is_kept_and_read_back(trials, caplog):
    caplog.set_level("INFO")
    trial = pipeline.run_trial(make_selection("x", seed=3), place=trials, flow_name="tester-flow")
    assert trial is not None
    assert trial.num_obs == 3
    assert trial.metrics == {"MAE": 1.0, "MedAE": 1.0, "MSE": 1.0, "R2": -0.5}
    assert trial.target == {"mean": 2.0, "median": 2.0, "min": 1.0, "max": 3.0}
    assert (trial.flow, trial.source) == ("tester-flow", {"data": "x"})
    assert trial.selection == {"batch_size": 1000, "seed": 3, "closed_last": None}
    assert trial.sentence in caplog.text
    assert read_trials(trials) == [trial]
    assert json.loads(json.dumps(trial.to_json(), allow_nan=False)) == trial.to_json()


def test_the_steps_pass_on_what_a_step_returns():
    class Node:
        """Stands for a future, or for a task of a graph: it has no value yet."""

        def __init__(self, function, arguments):
            self.function, self.arguments = function, arguments

    nodes = []

    def step(function, *arguments):
        nodes.append(Node(function, arguments))
        return nodes[-1]

    last = pipeline.evaluate_batch("batch", "selection", "flow", step)  # type: ignore[arg-type]
    steps = [node.function.__name__ for node in nodes]
    assert steps[:3] == ["get_trial_id", "get_target", "predict"]
    assert steps[3:] == ["evaluate_model"] * len(METRICS) + ["get_trial_summary"]
    trial_id, actuals, preds, *metrics, summary = nodes
    assert last is summary
    assert actuals.arguments == preds.arguments == ("batch",)
    assert [node.arguments for node in metrics] == [(actuals, preds, name) for name in METRICS]
    by_name = dict(zip(METRICS, metrics, strict=True))
    expected = (trial_id, actuals, "batch", by_name, "selection", "flow", pipeline.MODEL_NAME)
    assert summary.arguments == expected


@pytest.mark.usefixtures("_own_model")
def test_a_window_without_rows_makes_no_trial(trials, caplog):
    caplog.set_level("INFO")
    selection = make_selection("x", closed_from="2020-01-01")
    assert pipeline.run_trial(selection, place=trials, flow_name="f") is None
    assert "no rows closed from 2020-01-01 00:00:00 to the end" in caplog.text
    assert read_trials(trials) == []


def test_a_trial_in_words():
    assert TRIAL.sentence == "MAE 2.0 h on 1,234 tickets, model m"
    row = dict(zip(COLUMNS, TRIAL.as_row(), strict=True))
    assert list(row.values()) == ["2020-01-01T10:00Z", "1", "m", "1,234", "2.0", "1.0", "-"]
    table = {line["measure"]: (line["value"], line["in hours"]) for line in TRIAL.as_table()}
    assert table["tickets"] == (1234, "")
    assert table["MAE"] == (7200.0, 2.0)
    assert table["MSE"] == (1.0, "")
    assert table["R2"] == (None, "")
    assert table["actual time to close, mean"] == (5400.0, 1.5)


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2020-01-01T00:00:00Z", "2020-01-02T08:00:00Z", "2020-01-01 to 2020-01-02T08:00:00Z"),
        ("2020-01-01T00:00:00Z", None, "from 2020-01-01"),
        (None, "2020-01-01T00:00:00Z", "until 2020-01-01"),
    ],
)
def test_a_window_in_words(start, end, words):
    trial = replace(TRIAL, window={"from": start, "to": end}, metrics={"MAE": None})
    assert trial.as_row()[0] == words
    assert trial.sentence == f"MAE undefined on 1,234 tickets closed {words}, model m"


def test_trials_of_other_versions_are_read():
    first = {"id": "1", "data": {"num_obs": 1, "metrics": {"MAE": 1}, "target": {"mean": 1.0}}}
    old = {**first, "created_at": "2020-01-01T00:00:00Z", "window": None}
    trial = Trial.from_json(old)
    assert (trial.flow, trial.as_row()[2]) == (None, "")
    newer = {**old, "verdict": "as before"}
    assert Trial.from_json(newer).to_json()["verdict"] == "as before"
    assert Trial.from_json(TRIAL.to_json()) == TRIAL


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": {"num_obs": True, "metrics": {}, "target": {}}},
        {"data": {"num_obs": 1, "metrics": {"MAE": "1"}, "target": {}}},
        {"data": {"num_obs": 1, "metrics": {"MAE": 10**400}, "target": {}}},
        {"data": {"num_obs": 1, "metrics": {}, "target": {"mean": float("inf")}}},
        {"data": {"num_obs": 1, "target": {}}},
        {"id": 1},
        {"id": "\ud800"},
        {"window": {"from": 1}},
        {"created_at": None},
    ],
)
def test_what_is_not_a_trial_is_refused(wrong):
    with pytest.raises((ValueError, KeyError, TypeError, OverflowError)):
        Trial.from_json({**TRIAL.to_json(), **wrong})


def test_trials_come_in_their_order_and_none_is_overwritten(trials):
    """By the end of their window, else by their creation."""

    def trial(created, window_end=None):
        window = {"from": None, "to": window_end} if window_end else None
        return replace(TRIAL, id=get_trial_id(), created_at=created, window=window)

    third = trial("2020-01-03T00:00:00.000001Z")
    first = trial("2020-01-05T00:00:00Z", "2020-01-01T00:00:00Z")
    second = trial("2020-01-02T12:00:00Z")
    places = [write_trial_summary(each, trials) for each in (third, first, second)]
    assert len(set(places)) == 3
    assert read_trials(trials) == [first, second, third]
    assert read_trials(trials, last=2) == [second, third]
    write_trial_summary(replace(first, num_obs=7), trials)
    assert read_trials(trials, last=3)[0] == first


def test_a_file_in_place_of_the_folder_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^TRIALS_URL: .* is a file; set it to a folder"):
        check_place(str(tmp_path / "file"))
    check_place("none")

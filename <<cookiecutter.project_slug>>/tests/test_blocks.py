"""Rows that are computed in blocks, as on a cluster, give the trial that they give as a whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from << cookiecutter.package_name >> import pipeline
from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.evaluation import Metric, Scoring, absolute_error
from << cookiecutter.package_name >>.evaluation.blocks import join_blocks
from << cookiecutter.package_name >>.evaluation.selection import make_selection

COUNT = 120
SIZE = 50  # of a block: the last one is smaller


@pytest.fixture
def rows():
    random = np.random.default_rng(1)
    numbers = np.arange(COUNT)
    frame = pd.DataFrame(
        {
            "ticket": [f"T{number // 3}" for number in numbers],
            "team": random.choice(["a", "b", "c"], COUNT),
            "x": random.normal(size=COUNT),
            "closed_at": pd.Timestamp("2026-01-01") + pd.to_timedelta(numbers, "h"),
            "note": "",
        }
    )
    for column, every in (("ticket", 17), ("team", 13), ("closed_at", 11), ("note", 2)):
        frame.loc[numbers % every == 1, column] = None
    frame.loc[:SIZE, "note"] = None  # the first block knows no value of it
    frame["late"] = frame["closed_at"].dt.tz_localize("Europe/Berlin")
    frame["text"] = frame["closed_at"].dt.strftime("%Y-%m-%dT%H:%M")
    frame.attrs["source"] = {"data": "here"}
    return frame


def with_gaps(values):
    values = pd.Series(values)
    return values.where(values.index % 19 != 3)


def shares(frame):
    high = frame["x"].abs().clip(upper=1)
    return pd.DataFrame({"low": 1 - high, "high": high}, index=frame.index)


def accuracy(actual, chosen):
    return np.mean(actual == chosen)


KINDS = {
    "numbers": (
        lambda frame: with_gaps(frame["x"]),
        lambda frame: with_gaps(frame["x"].round() + 0.5),
        {"baseline": 0.1, "metrics": {"MAE": Metric.mean(absolute_error)}},
    ),
    "classes": (
        lambda frame: frame["team"],
        lambda frame: np.where(frame["x"] > 0, "a", "b"),
        {"metrics": {"accuracy": Metric(accuracy, best=1.0)}},
    ),
    "probabilities": (
        lambda frame: pd.Series(np.where(frame["x"] > 0, "high", "low"), index=frame.index),
        shares,
        {
            "classes": ("high", "low"),
            "baseline": {"high": 0.4, "low": 0.6},
            "metrics": {"high": Metric(lambda _, chances: chances[:, 0].mean())},
        },
    ),
}


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch):
    get_target, predict, more = KINDS[request.param]
    scoring = Scoring(rows="tickets", target="y", segments=("team",), group="ticket", **more)
    monkeypatch.setattr(pipeline, "get_target", get_target)
    monkeypatch.setattr(pipeline, "predict", predict)
    monkeypatch.setattr(pipeline, "SCORING", scoring)
    monkeypatch.setattr(pipeline, "CHALLENGERS", {"other": predict})


def computed(rows, selection):
    parts = [rows[start : start + SIZE] for start in range(-SIZE, COUNT + SIZE, SIZE)]
    assert [len(part) for part in parts] == [0, SIZE, SIZE, COUNT - 2 * SIZE, 0]
    for part in parts[:-1]:
        part.attrs = {}  # what was read may only be known at the end
    return join(parts, selection)


def join(parts, selection):
    return join_blocks([pipeline.compute_part(lambda part=part: part, selection) for part in parts])


def evaluate(selection, batch, computed=None):
    trials = pipeline.evaluate_batch(batch, selection, "flow", computed=computed)
    anew = ("id", "created_at", "difference")
    return [{k: v for k, v in trial.to_json().items() if k not in anew} for trial in trials]


@pytest.mark.usefixtures("kind", "trials")
@pytest.mark.parametrize("closed_at", ["closed_at", "late", "text"])
@pytest.mark.parametrize("asked", [{}, {"closed_from": "2026-01-02", "closed_to": "2026-01-05"}])
def test_a_trial_of_blocks_is_that_of_the_whole(rows, monkeypatch, asked, closed_at):
    monkeypatch.setattr(pipeline, "CLOSED_AT", closed_at)
    selection = make_selection(None, batch_size=60, seed=2, **asked)
    found = computed(rows, selection)
    batch = pipeline.draw_batch(selection, found)
    whole = selection.draw(rows, closed_at=closed_at)
    assert evaluate(selection, batch, found) == evaluate(selection, whole)


@pytest.mark.usefixtures("kind", "trials")
def test_of_many_rows_a_trial_needs_no_more_than_it_keeps(rows, monkeypatch):
    selection = make_selection(None, batch_size=60, seed=2)
    batch = selection.draw(rows, closed_at="closed_at")
    expected, columns = evaluate(selection, batch), list(batch)
    monkeypatch.setattr(pipeline, "MANY", 0)
    assert evaluate(selection, batch) == expected
    assert list(batch) == columns
    twice = pd.concat([batch, batch[["note"]]], axis=1)  # no column can be told from the other
    assert evaluate(selection, twice)[0]["data"] == expected[0]["data"]


@pytest.mark.parametrize(
    ("predict", "problem"),
    [
        (lambda frame: frame["x"][::-1], "predict returned the rows with another index"),
        (lambda _: [1.0], "predict returned 1 values for 50 rows"),
        (lambda frame: frame["nothing"], "model.py: .* needs the column 'nothing'"),
    ],
)
def test_a_function_that_does_not_fit_its_block_is_named(rows, monkeypatch, predict, problem):
    monkeypatch.setattr(pipeline, "get_target", lambda frame: frame["x"])
    monkeypatch.setattr(pipeline, "predict", predict)
    monkeypatch.setattr(pipeline, "CHALLENGERS", {})
    with pytest.raises(InputError, match=problem):
        computed(rows, make_selection(None))


@pytest.mark.usefixtures("kind")
def test_blocks_with_other_columns_are_refused(rows):
    with pytest.raises(InputError, match=r"data.py: the blocks differ in their columns \(note\)"):
        join([rows, rows.drop(columns="note")], make_selection(None))


def test_blocks_without_rows_are_nothing_to_evaluate(rows):
    selection = make_selection(None, closed_from="2026-01-02")
    for parts in ([], [rows[:0]]):
        assert pipeline.draw_batch(selection, join(parts, selection)).empty


def test_data_that_cannot_be_read_in_parts_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(pipeline, "BLOCKS", None)
    with pytest.raises(InputError, match=r"data.py: it has no function `blocks`"):
        pipeline.get_blocks(make_selection(None))

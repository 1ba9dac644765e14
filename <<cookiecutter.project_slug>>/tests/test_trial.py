"""From selection to trial, whatever the data and the model are."""

from __future__ import annotations

import json
from datetime import datetime

import pandas as pd
import pytest

from << cookiecutter.package_name >> import pipeline
from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.evaluation.metrics import evaluate_model, get_trial_id
from << cookiecutter.package_name >>.evaluation.selection import make_selection
from << cookiecutter.package_name >>.evaluation.store import read_trials, write_trial_summary


@pytest.fixture
def _four_tickets(monkeypatch, tickets):
    """Put the four tickets in the place of data.py, and a model that is one second off."""
    monkeypatch.setattr(pipeline, "get_ticket_data_batch", lambda selection: selection.draw(tickets, "closed_at"))
    monkeypatch.setattr(pipeline, "get_target", lambda df: df["size"].astype(float))
    monkeypatch.setattr(pipeline, "predict", lambda df: df["size"] + 1.0)


def test_metrics_and_undefined_ones():
    actual, predicted = pd.Series([1.0, 2.0, 6.0]), pd.Series([2.0, 2.0, 4.0])
    values = {name: evaluate_model(actual, predicted, name) for name in ("mae", "medae", "mse", "r2")}
    assert values == {"mae": 1.0, "medae": 1.0, "mse": pytest.approx(5 / 3), "r2": pytest.approx(1 - 5 / 14)}
    assert evaluate_model(actual[:1], predicted[:1], "r2") is None
    for wrong in (predicted[:2], predicted.replace(2.0, float("nan"))):
        with pytest.raises(InputError, match=r"^predict: it gave [12] numbers for 3 tickets"):
            evaluate_model(actual, wrong, "mae")


def test_a_window_holds_its_start_and_not_its_end(tickets):
    selection = make_selection("x", closed_from="2016-03-01", closed_to="2016-03-03")
    assert selection.draw(tickets, "closed_at")["size"].tolist() == [1, 2]
    assert selection.window == {"from": "2016-03-01T00:00:00Z", "to": "2016-03-03T00:00:00Z"}


@pytest.mark.parametrize("kind", ["datetime64[ns, UTC]", "string", "object"])
def test_without_a_window_closing_times_may_be_of_any_kind(tickets, kind):
    times = tickets["closed_at"].dt.tz_localize("UTC").astype(kind)
    assert make_selection("x").draw(tickets.assign(closed_at=times), "closed_at")["size"].tolist() == [1, 2, 3]


def test_the_last_span_ends_now():
    selection = make_selection("x", closed_last="24h", now=datetime.fromisoformat("2016-03-03T02:00:00+02:00"))
    assert selection.window == {"from": "2016-03-02T00:00:00Z", "to": "2016-03-03T00:00:00Z"}


def test_more_than_there_are_takes_all_and_says_so(tickets, caplog):
    assert len(make_selection("x", batch_size=9).draw(tickets, "closed_at")) == 3
    assert "only 3 tickets" in caplog.text


@pytest.mark.parametrize(
    "asked",
    [
        {"batch_size": 0},
        {"batch_size": "-1"},
        {"batch_size": "x"},
        {"batch_size": 5, "all_tickets": True},
        {"seed": "1.5"},
        {"closed_from": "March"},
        {"closed_from": "2016-03-02", "closed_to": "2016-03-01"},
        {"closed_last": "1 day"},
        {"closed_last": "24h", "closed_to": "2016-03-01"},
    ],
)
def test_what_cannot_be_selected_is_refused_in_one_line(asked):
    with pytest.raises(InputError, match=rf"^({'|'.join(asked)}): .*(;|from)") as caught:
        make_selection("x", **asked)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.usefixtures("_four_tickets")
def test_a_trial_is_kept_and_read_back(trials):
    trial = pipeline.run_trial(make_selection("x"), trials=trials, flow="tester-flow")
    assert trial is not None
    assert trial["data"]["num_obs"] == 3
    assert trial["data"]["metrics"] == {"MAE": 1.0, "MedAE": 1.0, "MSE": 1.0, "R2": -0.5}
    assert trial["data"]["target"] == {"mean": 2.0, "median": 2.0, "min": 1.0, "max": 3.0}
    assert trial["flow"] == "tester-flow"
    assert read_trials(trials) == [json.loads(json.dumps(trial, allow_nan=False))]


@pytest.mark.usefixtures("_four_tickets")
def test_a_window_without_tickets_makes_no_trial(trials, caplog):
    caplog.set_level("INFO")
    assert pipeline.run_trial(make_selection("x", closed_from="2020-01-01"), trials=trials, flow="f") is None
    assert "no ticket was closed" in caplog.text
    assert read_trials(trials) == []


def test_trials_come_by_the_end_of_their_window_else_by_creation_and_none_is_overwritten(trials):
    def trial(created, window_end=None):
        window = window_end and {"from": None, "to": window_end}
        return {"id": get_trial_id(), "data": {"num_obs": 1, "metrics": {}}, "created_at": created, "window": window}

    third = trial("2020-01-03T00:00:00.000001Z")
    first = trial("2020-01-05T00:00:00Z", "2020-01-01T00:00:00Z")
    second = trial("2020-01-02T12:00:00Z")
    places = [write_trial_summary(each, trials) for each in (third, first, second)]
    assert len(set(places)) == 3
    assert read_trials(trials) == [first, second, third]
    assert read_trials(trials, last=2) == [second, third]
    write_trial_summary({**first, "data": {"changed": True}}, trials)
    assert read_trials(trials, last=3)[0] == first

"""From rows to a trial that is kept, whatever the data, the model and the metrics are."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from << cookiecutter.package_name >> import pipeline, settings
from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.evaluation import (
    Metric,
    Scoring,
    Unit,
    absolute_error,
)
from << cookiecutter.package_name >>.evaluation.history import find_comparable, judge_trial
from << cookiecutter.package_name >>.evaluation.selection import make_selection
from << cookiecutter.package_name >>.evaluation.store import (
    check_place,
    read_trials,
    write_trial_summary,
)
from << cookiecutter.package_name >>.evaluation.summary import get_trial_id
from << cookiecutter.package_name >>.evaluation.tables import as_tables
from << cookiecutter.package_name >>.evaluation.trial import Trial

HOURS = {"symbol": "h", "per": 3600.0}
TRIAL = Trial(
    id="1",
    num_obs=1234,
    metrics={"MAE": 7200.0, "MSE": 2e6, "R2": None},
    target=dict.fromkeys(("mean", "median", "min", "max"), 5400.0),
    created_at="2020-01-01T10:00:00.000001Z",
    model="m",
    scoring={
        "rows": "tickets",
        "target": "time to close",
        "unit": HOURS,
        "metrics": {
            "MAE": {"unit": HOURS, "best": 0.0},
            "MSE": {"unit": None, "best": 0.0},
            "R2": {"unit": None, "best": 1.0},
        },
        "baseline": 7200.0,
        "group": "number",
    },
)
SCORING = Scoring(
    rows="parcels",
    target="delivery",
    metrics={
        "MAE": Metric.mean(absolute_error, Unit("d")),
        "worst": Metric(lambda actual, predicted: max(abs(actual - predicted))),
    },
    baseline=1.0,
    segments=("size",),
)


@pytest.fixture
def _own_model(monkeypatch, rows):
    """The fixture's rows, and a model that is one off: whatever the project's own are."""
    own = {
        "get_ticket_data_batch": lambda selection: selection.draw(rows, "closed_at"),
        "get_target": lambda df: df["size"].astype(float),
        "predict": lambda df: df["size"] + 1.0,
        "SCORING": SCORING,
        "MODEL_NAME": "own",
        "CHALLENGERS": {},
    }
    for name, value in own.items():
        monkeypatch.setattr(pipeline, name, value)


@pytest.mark.usefixtures("_own_model")
def test_a_trial_is_kept_and_read_back(trials, caplog):
    caplog.set_level("INFO")
    trial = pipeline.run_trial(make_selection("x", seed=3))
    assert trial is not None
    assert (trial.num_obs, trial.groups) == (3, 3)
    assert trial.metrics == {"MAE": 1.0, "worst": 1.0}
    assert trial.target == {"mean": 2.0, "median": 2.0, "min": 1.0, "max": 3.0}
    assert trial.flow == settings.load_settings().flow_name
    assert (trial.model, trial.source) == ("own", {"data": "x"})
    assert trial.selection == {"batch_size": 1000, "seed": 3, "closed_last": None, "lag": None}
    assert trial.baseline["worst"]["value"] == 2.0
    assert trial.relative["worst"]["value"] == 0.5
    assert trial.segments["size"]["1"] == {"num_obs": 1, "metrics": {"MAE": 1.0, "worst": 1.0}}
    assert trial.sentences == [
        "MAE 1.0 d on 3 parcels, own",
        (
            "own compared with always guessing 1.000: its MAE is 1.00 times that of the guess, "
            "on too few parcels to be certain"
        ),
        "too few rows to judge the model: 3 parcels, at least 20 needed",
    ]
    assert all(sentence in caplog.text for sentence in trial.sentences)
    assert [read.to_json() for read in read_trials(trials)] == [as_json(trial)]


def as_json(trial):
    return json.loads(json.dumps(trial.to_json(), allow_nan=False))


@pytest.mark.usefixtures("_own_model")
def test_challengers_get_trials_of_their_own_on_the_same_rows(monkeypatch, trials):
    monkeypatch.setattr(pipeline, "CHALLENGERS", {"perfect": lambda df: df["size"] * 1.0})
    trial = pipeline.run_trial(make_selection("x"))
    assert trial is not None
    first, second = read_trials(trials)
    assert (first.id, first.difference) == (trial.id, None)
    assert (second.model, second.metrics["MAE"]) == ("perfect", 0.0)
    assert second.difference is not None
    expected = {"metric": "MAE", "model": "own", "trial": trial.id, "value": -1.0}
    assert expected.items() <= second.difference.items()
    assert second.relative["MAE"]["value"] is None
    assert second.sentences[-1].startswith("MAE of perfect minus that of own: -1.0 d")
    ((headers, line),) = as_tables([second], compare=True)
    shown = dict(zip(headers, line, strict=True))
    assert (shown["Model"], shown["In use"], shown["MAE in use"]) == ("perfect", "own", "1.0 d")
    assert (shown["MAE"], shown["Difference"]) == ("0.0 d", "-1.0 d")


@pytest.mark.usefixtures("_own_model")
def test_rows_that_lack_a_value_are_counted_and_told(monkeypatch, rows, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(pipeline, "get_target", lambda df: df["size"].where(df["size"] != 3))
    monkeypatch.setattr(pipeline, "predict", lambda df: df["size"].where(df["size"] != 2))
    trial = pipeline.run_trial(make_selection("x"))
    assert trial is not None
    assert (trial.num_obs, trial.metrics["MAE"], trial.target["max"]) == (1, 0.0, 1.0)
    assert "1 of 3 parcels have no actual value: left out" in caplog.text
    assert trial.sentences[-1] == "1 of 3 parcels have no prediction: left out"
    rows["size"] = 3
    with pytest.raises(InputError, match="get_target returned no value"):
        pipeline.run_trial(make_selection("x"))


@pytest.mark.usefixtures("_own_model")
def test_no_secret_of_an_address_gets_into_a_trial(rows, trials):
    place = "postgresql://ann:hunter2@db/orders?sslkey=hunter3"
    trial = pipeline.run_trial(make_selection(place))
    assert trial is not None
    assert trial.source == {"data": "postgresql://db/orders"}
    rows.attrs["source"] = {"data": [place], "rows": np.int64(4), "share": float("nan")}
    trial = pipeline.run_trial(make_selection("x"))
    assert trial is not None
    assert trial.source == {"data": ["postgresql://db/orders"], "rows": "4", "share": "nan"}
    assert "hunter" not in json.dumps([read.to_json() for read in read_trials(trials)])


@pytest.mark.usefixtures("_own_model", "trials")
def test_a_source_that_contains_itself_is_refused(rows):
    rows.attrs["source"] = source = {}
    source["itself"] = source
    with pytest.raises(InputError, match="contains itself; name what was read"):
        pipeline.run_trial(make_selection("x"))


@pytest.mark.usefixtures("_own_model")
def test_without_a_baseline_the_line_to_add_is_said(monkeypatch, caplog):
    monkeypatch.setattr(pipeline, "SCORING", replace(SCORING, baseline=None))
    trial = pipeline.run_trial(make_selection("x"))
    assert trial is not None
    assert trial.comparison is None
    assert "SCORING has no baseline" in caplog.text
    assert "add this line: baseline=2," in caplog.text


@pytest.mark.usefixtures("_own_model")
def test_a_model_that_became_worse_is_told_from_data_that_became_harder(monkeypatch, trials):
    """One trial a day: the error grows on the eighteenth, first with the guess's, then alone."""
    rng = np.random.default_rng(0)

    def evaluate(day, hardness, error):
        size = hardness * rng.gamma(2.0, size=500)
        closed = pd.Timestamp("2020-01-01") + pd.Timedelta(days=day)
        frame = pd.DataFrame({"size": size, "closed_at": closed})
        predicted = size * (1 + 0.3 * error * rng.choice([-1.0, 1.0], size=500))
        own = {
            "get_ticket_data_batch": lambda selection: selection.draw(frame, "closed_at"),
            "get_target": lambda df: df["size"],
            "predict": lambda df: pd.Series(predicted, index=frame.index)[df.index],
        }
        for name, function in own.items():
            monkeypatch.setattr(pipeline, name, function)
        window = {"closed_from": closed, "closed_to": closed + pd.Timedelta(days=1)}
        trial = pipeline.run_trial(make_selection(None, batch_size=None, **window))
        assert trial is not None
        assert trial.gate is not None
        return trial.gate["name"]

    scoring = replace(SCORING, baseline=0.0, segments=())
    monkeypatch.setattr(pipeline, "SCORING", scoring)
    before = [evaluate(day, 1.0, 1.0) for day in range(17)]
    assert before == ["too little history"] * 14 + ["as before"] * 3
    assert [evaluate(day, 3.0, 1.0) for day in range(17, 19)] == ["as before", "data changed"]
    assert [evaluate(day, 1.0, 1.5) for day in range(19, 21)] == ["data changed", "worse"]
    (*_, last) = read_trials(trials)
    assert last.is_worse
    assert last.verdict is not None
    assert last.verdict.startswith("worse since 2020-01-21: MAE is 0.4")


class Node:
    """Stands for a future, or for a task of a graph: it has no value yet."""

    def __init__(self, function, arguments):
        self.function, self.arguments = function, arguments


def test_the_steps_pass_on_what_a_step_returns(monkeypatch):
    def other(df):
        return df

    monkeypatch.setattr(pipeline, "SCORING", SCORING)
    monkeypatch.setattr(pipeline, "CHALLENGERS", {"other": other})
    nodes = []

    def step(function, *arguments):
        nodes.append(Node(function, arguments))
        return nodes[-1]

    last = pipeline.evaluate_batch("batch", "selection", "flow", step)  # type: ignore[arg-type]
    actuals, preds, others, trial_id, history, mae, worst, first, difference, *_, second = nodes
    assert last == [first, second]
    assert actuals.arguments == preds.arguments == others.arguments == ("batch",)
    assert mae.arguments == (actuals, preds, "MAE", "batch", SCORING)
    what = ("batch", {"MAE": mae, "worst": worst}, SCORING, "selection", "flow")
    assert history.function is pipeline.read_history
    how = "single-machine"
    assert first.arguments == (trial_id, actuals, preds, *what, pipeline.MODEL_NAME, how, history)
    assert others.function is other
    assert difference.arguments == (actuals, preds, others, "batch", SCORING)
    assert second.arguments[-5:-3] == ("other", how)
    assert second.arguments[-2:] == (difference, first)


@pytest.mark.usefixtures("_own_model")
def test_a_window_without_rows_makes_no_trial(trials, caplog):
    caplog.set_level("INFO")
    selection = make_selection("x", closed_from="2020-01-01")
    assert pipeline.run_trial(selection) is None
    assert "no rows closed from 2020-01-01 00:00:00 to the end" in caplog.text
    assert read_trials(trials) == []


def test_a_trial_in_words():
    assert TRIAL.sentence == "MAE 2.0 h on 1,234 tickets, m"
    assert replace(TRIAL, groups=1000).sentence == "MAE 2.0 h on 1,234 tickets (1,000 by number), m"
    few = judge_trial(replace(TRIAL, groups=19), []).verdict
    said = "too few rows to judge the model: 1,234 tickets (19 by number), at least 20 needed"
    assert few == said
    row = ["2020-01-01T10:00Z", "1", "m", "1,234", "2.0", "-"]
    headers = ["Window or created", "Trial", "Model", "Tickets", "MAE, h", "R2"]
    assert as_tables([TRIAL, TRIAL]) == [[headers, row, row]]
    without_units = replace(TRIAL, scoring=None)
    assert [len(table) for table in as_tables([TRIAL, without_units, TRIAL])] == [2, 2, 2]
    table = {line["measure"]: (line["value"], line["shown"]) for line in TRIAL.as_table()}
    assert table["tickets"] == (1234, "1,234")
    assert table["MAE"] == (7200.0, "2.0 h")
    assert table["MSE"] == (2e6, "2.000e+06")
    assert table["R2"] == (None, "undefined")
    assert table["actual time to close, mean"] == (5400.0, "1.5 h")
    segments = {"size": {"big": {"num_obs": 1000, "metrics": {"MAE": 3600.0}}}}
    *others, last = replace(TRIAL, segments=segments).as_table()
    assert (last["measure"], last["shown"]) == ("MAE, size big: 1,000 tickets", "1.0 h")
    assert [line.keys() for line in others] == [last.keys()] * len(others)


def test_numbers_of_classes_are_whole_and_a_class_may_be_a_number():
    of_classes = {"rows": "visits", "target": "star", "baseline": 4}
    relative = {"MAE": {"value": 0.5, "interval": [0.4, 0.6]}}
    trial = replace(TRIAL, target={"4": 1200}, scoring=of_classes, relative=relative)
    assert trial.as_table()[-1]["shown"] == "1,200"
    assert trial.comparison is not None
    assert "always guessing 4:" in trial.comparison


@pytest.mark.parametrize(
    ("value", "with_unit", "without"),
    [
        (0.0, "0.0 h", "0.000"),
        (4500.0 * 3600, "4,500.0 h", "1.620e+07"),
        (3600.0, "1.0 h", "3600.000"),
        (0.75, "0.00021 h", "0.750"),
        (-0.000456, "-1.3e-07 h", "-0.00046"),
    ],
)
def test_a_small_number_is_not_shown_as_0(value, with_unit, without):
    assert [TRIAL.show(name, value) for name in ("MAE", "MSE")] == [with_unit, without]


def test_trials_of_a_named_source_are_compared_with_each_other_alone():
    sources = [None, {"data": "may.csv"}, {"data": "june.csv", "name": None}]
    sources += [{"data": "sample", "name": "synthetic sample"}] * 2
    trials = [replace(TRIAL, id=str(n), source=source) for n, source in enumerate(sources)]
    assert [each.id for each in find_comparable(trials, trials[1])] == ["0", "2"]
    assert [each.id for each in find_comparable(trials, trials[3])] == ["4"]


@pytest.mark.parametrize(
    ("value", "interval", "words"),
    [
        (0.5, [0.4, 0.6], "m is better than always guessing 2.0 h: its MAE is 0.50 times"),
        (1.5, [1.4, 1.6], "m is worse than always guessing 2.0 h: its MAE is 1.50 times"),
        (1.004, [1.001, 1.1], "m is worse than always guessing 2.0 h: its MAE is 1.0040 times"),
        (1.02, [0.9, 1.1], "m is no better than always guessing 2.0 h: its MAE is 1.02 times"),
        (0.5, None, "m compared with always guessing 2.0 h: its MAE is 0.50 times that of the"),
    ],
)
def test_the_comparison_with_a_guess_in_words(value, interval, words):
    trial = replace(TRIAL, relative={"MAE": {"value": value, "interval": interval}})
    assert trial.comparison is not None
    assert trial.comparison.startswith(words)


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
    assert trial.as_row()["Window or created"] == words
    assert trial.sentence == f"MAE undefined on 1,234 tickets closed {words}, m"


def test_trials_of_other_versions_are_read():
    first = {"id": "1", "data": {"num_obs": 1, "metrics": {"MAE": 1}, "target": {"mean": 1.0}}}
    old = {**first, "created_at": "2020-01-01T00:00:00Z", "window": None}
    trial = Trial.from_json(old)
    assert (trial.flow, trial.comparison) == (None, None)
    assert trial.sentence == "MAE 1.000 on 1 rows, None"
    assert list(trial.as_row().values()) == ["2020-01-01T00:00Z", "1", "", "1", "1.000"]
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
        {"created_at": 20260101},
        {"window": {"from": 1}},
        {"created_at": None},
        {"window": {"from": "March"}},
        {"groups": "5"},
        {"relative": {"MAE": {"value": "0.5"}}},
        {"relative": {"MAE": {"interval": [1.0]}}},
        {"segments": {"region": {"north": {"num_obs": 1}}}},
        {"scoring": {"metrics": {}, "unit": {"symbol": "h"}}},
        {"outcomes": {"numbers": {"rows": [1], "predicted": ["1"]}}},
        {"gate": {"bound": 10**400}},
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
    later = replace(first, id="0", created_at="2020-01-05T00:00:01Z")  # of a challenger, say
    write_trial_summary(later, trials)
    assert read_trials(trials) == [first, later, second, third]
    write_trial_summary(replace(first, num_obs=7), trials)
    assert read_trials(trials, last=4)[0] == first


def test_a_file_in_place_of_the_folder_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^TRIALS_URL: .* is a file; set it to a folder"):
        check_place(str(tmp_path / "file"))
    check_place("none")

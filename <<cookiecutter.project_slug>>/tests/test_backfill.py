"""A trial for each past window, whatever the data and the model are."""

from __future__ import annotations

import logging
import sys
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from << cookiecutter.package_name >> import backfill, cli, pipeline
from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.evaluation import Metric, Scoring, absolute_error
from << cookiecutter.package_name >>.evaluation.selection import Selection, make_selection
from << cookiecutter.package_name >>.evaluation.store import read_trials

WEEK = timedelta(days=7)
WEEKS = 20
SCORING = Scoring("rows", "size", {"MAE": Metric.mean(absolute_error)}, baseline=5.0)
PERIOD = make_selection("rows", seed=1, closed_from="2024-01-01", closed_to="2024-05-20")


class Source:
    """What data.py is in these tests: 60 rows a week, but none in the weeks 3, 4 and 7."""

    def __init__(self):
        rng = np.random.default_rng(0)
        week = np.repeat([w for w in range(WEEKS) if w not in (3, 4, 7)], 60)
        days = 7 * week + rng.uniform(0, 7, len(week))
        closed = pd.Timestamp("2024-01-01") + pd.to_timedelta(days, unit="D")
        self.rows = pd.DataFrame({"closed_at": closed, "size": rng.normal(5, 1, len(week))})
        self.rows = self.rows.sample(frac=1, random_state=0)  # in no order, as a source may be
        self.rows.attrs["source"] = {"data": "rows", "sha256": "1"}
        self.asked: list[Selection] = []
        self.predicted = 0
        self.fails_at = self.wrong_from = 10**6

    def get_ticket_data_batch(self, selection):
        self.asked.append(selection)
        return selection.draw(self.rows, closed_at="closed_at")

    def get_target(self, df):
        return df["size"]

    def predict(self, df):
        self.predicted += 1
        if self.predicted == self.fails_at:
            raise InputError("the model is not there; fetch it")
        noise = np.sin(1000 * df["size"]) * (3 if self.predicted >= self.wrong_from else 0.5)
        return df["size"] + noise


@pytest.fixture
def source(monkeypatch):
    """Its functions stand in for those of data.py and model.py."""
    source = Source()
    for module in (backfill, pipeline):
        monkeypatch.setattr(module, "get_ticket_data_batch", source.get_ticket_data_batch)
        monkeypatch.setattr(module, "SCORING", SCORING)
        monkeypatch.setattr(module, "MODEL_NAME", "m")
        monkeypatch.setattr(module, "CHALLENGERS", {})
    monkeypatch.setattr(backfill, "MODELS", ("m",))
    monkeypatch.setattr(pipeline, "get_target", source.get_target)
    monkeypatch.setattr(pipeline, "predict", source.predict)
    return source


def test_each_window_gets_its_trial_from_one_read_and_empty_ones_are_named(source, trials, caplog):
    latest = backfill.run_backfill(PERIOD, WEEK)
    kept = read_trials(trials)
    assert len(source.asked) == 1
    assert [each.window["from"][:10] for each in kept[:4]] == [
        "2024-01-01",
        "2024-01-08",
        "2024-01-15",
        "2024-02-05",
    ]
    assert [each.num_obs for each in kept] == [60] * 17
    assert kept[-1] == latest
    assert [each.gate["name"] for each in kept[13:15]] == ["too little history", "as before"]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "no rows closed from 2024-01-22 00:00:00 to 2024-02-05 00:00:00: no trial",
        "no rows closed from 2024-02-19 00:00:00 to 2024-02-26 00:00:00: no trial",
        "windows: 17 evaluated, 0 evaluated before, 3 empty",
    ]


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("size", [7, None])
def test_a_window_s_trial_is_the_one_that_evaluate_makes(trials, size):
    period = make_selection(
        "rows", seed=1, batch_size=size, closed_from="2024-01-01", closed_to="2024-01-20"
    )
    backfill.run_backfill(period, WEEK)
    _, second = read_trials(trials)
    ends = {"closed_from": "2024-01-08", "closed_to": "2024-01-15"}
    alone = pipeline.run_trial(make_selection("rows", seed=1, batch_size=size, **ends))
    for name in (
        "metrics",
        "intervals",
        "relative",
        "errors",
        "num_obs",
        "source",
        "window",
        "selection",
    ):
        assert getattr(second, name) == getattr(alone, name), name
    assert second.num_obs == (size or 60)


def test_again_adds_nothing_until_the_source_changes_or_it_is_asked_for(source, trials):
    backfill.run_backfill(PERIOD, WEEK)
    done, first = source.predicted, read_trials(trials)
    latest = backfill.run_backfill(PERIOD, WEEK)
    assert (source.predicted, read_trials(trials), latest) == (done, first, first[-1])
    source.rows.attrs["source"]["sha256"] = "2"
    source.rows.attrs["source"]["data"] = "elsewhere"
    backfill.run_backfill(PERIOD, WEEK)
    assert len(read_trials(trials)) == 34
    source.rows.attrs["source"]["data"] = "elsewhere again"  # the same content
    backfill.run_backfill(PERIOD, WEEK)
    assert len(read_trials(trials)) == 34
    latest = backfill.run_backfill(PERIOD, WEEK, again=True)
    assert len(read_trials(trials)) == 51
    assert latest.gate["name"] == "as before"
    assert latest.gate["found"] == 12  # other trials of a window do not count


@pytest.mark.usefixtures("source")
def test_other_options_or_another_scoring_are_other_trials(trials, monkeypatch):
    backfill.run_backfill(PERIOD, WEEK)
    backfill.run_backfill(
        make_selection("rows", seed=2, closed_from=PERIOD.closed_from, closed_to="2024-01-08"), WEEK
    )
    assert len(read_trials(trials)) == 18
    other = Scoring("rows", "size", {"MAE": Metric.mean(absolute_error)}, baseline=4.0)
    monkeypatch.setattr(pipeline, "SCORING", other)
    monkeypatch.setattr(backfill, "SCORING", other)
    backfill.run_backfill(PERIOD, WEEK)
    assert len(read_trials(trials)) == 35


def test_an_interrupted_backfill_goes_on(source, trials):
    source.fails_at = 6
    with pytest.raises(InputError, match="the model is not there"):
        backfill.run_backfill(PERIOD, WEEK)
    assert len(read_trials(trials)) == 5
    backfill.run_backfill(PERIOD, WEEK)
    assert len(read_trials(trials)) == 17
    assert source.predicted == 6 + 12


def test_a_model_that_became_worse_is_found(source, trials):
    source.wrong_from = 15
    assert backfill.run_backfill(PERIOD, WEEK).is_worse
    assert [each.is_worse for each in read_trials(trials)] == [False] * 15 + [True] * 2


@pytest.mark.parametrize("way", ["without draw", "fewer rows after it", "another column after it"])
def test_a_data_py_that_draws_in_another_way_is_asked_for_each_window(
    source, trials, monkeypatch, caplog, way
):
    def read(selection):
        if way == "without draw":
            source.asked.append(selection)
            closed = source.rows["closed_at"]
            return source.rows[(closed >= selection.closed_from) & (closed < selection.closed_to)]
        batch = source.get_ticket_data_batch(selection)
        return (
            batch.head(9) if way.startswith("fewer") else batch.rename(columns={"closed_at": "c"})
        )

    monkeypatch.setattr(backfill, "get_ticket_data_batch", read)
    backfill.run_backfill(PERIOD, WEEK)
    assert len(source.asked) == 1 + WEEKS
    expected = 9 if way.startswith("fewer") else 60
    assert [each.num_obs for each in read_trials(trials)] == [expected] * 17
    assert "it is asked for each window" in caplog.text


def test_times_may_be_text_with_a_zone(source, trials):
    source.rows["closed_at"] = (
        source.rows["closed_at"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo").astype(str)
    )
    backfill.run_backfill(PERIOD, WEEK)
    assert [each.num_obs for each in read_trials(trials)] == [60] * 17


def test_what_is_no_whole_window_or_not_over_is_left_out_and_named(caplog):
    windows = backfill.split(
        make_selection(None, closed_from="2024-01-01", closed_to="2024-01-10"), WEEK
    )
    assert [(each.closed_from.day, each.closed_to.day) for each in windows] == [(1, 8)]
    (said,) = caplog.messages
    assert said.endswith("not over yet: from 2024-01-08 00:00:00 to 2024-01-10 00:00:00")
    start = datetime.now().replace(microsecond=0) - timedelta(days=9)
    windows = backfill.split(
        Selection(None, closed_from=start, closed_to=start + timedelta(days=99)), WEEK
    )
    assert [each.closed_from for each in windows] == [start]


@pytest.mark.usefixtures("source")
def test_a_warning_of_each_window_is_said_once(monkeypatch, caplog):
    without = Scoring("rows", "size", {"MAE": Metric.mean(absolute_error)})
    monkeypatch.setattr(pipeline, "SCORING", without)
    monkeypatch.setattr(backfill, "SCORING", without)
    backfill.run_backfill(PERIOD, WEEK)
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1
    assert "SCORING has no baseline" in warned[0].getMessage()


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command; gives its exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["command", "backfill", *arguments])
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output = capsys.readouterr()
        return caught.value.code or 0, output.out, output.err

    return run


def test_the_command_ends_with_the_verdict_and_with_3_if_it_is_worse(source, run):
    asked = ("--from", "2024-01-01", "--to", "2024-05-20", "--seed", "1", "--all")
    code, out, err = run(*asked)
    assert code == 0
    assert out.splitlines()[-1].startswith("as before: MAE is ")
    assert err.splitlines()[-1] == "windows: 17 evaluated, 0 evaluated before, 3 empty"
    source.wrong_from = source.predicted + 15
    code, out, _ = run(*asked, "--again")
    assert code == 3
    assert out.splitlines()[-1].startswith("worse since 2024-05-06: MAE is ")
    assert run(*asked)[:2] == (3, out)  # nothing is added, and the latest trial counts


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "2024-01-01"], "Error: backfill: Missing option '--from'"),
        (["--from", "x", "--to", "2024-01-01"], "Error: from: 'x' is not a time"),
        (["--from", "2024-01-02", "--to", "2024-01-01"], "Error: to: 2024-01-01"),
        (["--from", "2024-01-01", "--to", "2024-01-05"], "Error: every: no whole window of 7 days"),
        (
            ["--from", "2024-01-01", "--to", "2024-01-05", "--every", "x"],
            "Error: every: 'x' is not",
        ),
        (
            ["--from", "2014-01-01", "--to", "2024-01-05", "--every", "1m"],
            "Error: every: there would be 5,264,640",
        ),
        (["--from", "2024-01-01", "--to", "2024-02-05", "--trials", "none"], "Error: TRIALS_URL"),
        (["--from", "2024-01-01", "--to", "2024-02-05", "--jobs", "0"], "Error: backfill: Invalid"),
        (["--from", "2124-01-01", "--to", "2124-02-05"], "Error: every: no whole window of 7 days"),
    ],
)
def test_bad_input_ends_with_2_and_one_line(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1

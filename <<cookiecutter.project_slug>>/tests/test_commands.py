"""The command line, as a shell runs it."""

from __future__ import annotations

import json
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from << cookiecutter.package_name >> import cli, pipeline, settings
from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.evaluation.store import write_trial_summary
from << cookiecutter.package_name >>.evaluation.trial import Trial

TRIAL = Trial(
    id="12345678-9",
    num_obs=5,
    metrics={"MAE": 7200.0, "R2": None},
    target={"mean": None},
    created_at="2020-01-01T10:00:00Z",
    model="m",
    scoring={"rows": "tickets", "metrics": {"MAE": {"unit": {"symbol": "h", "per": 3600.0}}}},
)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line; gives its exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        # Otherwise basicConfig would keep the stderr of the test before.
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output = capsys.readouterr()
        return caught.value.code or 0, output.out, output.err

    return run


def test_history_shows_trials_as_a_table_and_as_json(run, trials):
    code, _, err = run("history")
    assert code == 0
    assert err.startswith("no trials yet: `make evaluate`")
    write_trial_summary(TRIAL, trials)
    write_trial_summary(replace(TRIAL, id="2", created_at="2020-01-02T10:00:00Z"), trials)
    code, out, _ = run("history")
    assert code == 0
    header, first, second = out.splitlines()
    assert header.split("  ")[0] == "Window or created"
    assert first.split() == ["2020-01-01T10:00Z", "12345678", "m", "5", "2.0", "-"]
    assert len(header) == len(first) == len(second)
    (last,) = run("history", "--json", "--last", "1")[1].splitlines()
    assert json.loads(last)["id"] == "2"


def test_a_file_that_is_missing_ends_with_2_and_one_line(run, monkeypatch):
    def read(_selection):
        with open("s3://ann:hunter2@bucket/sales.csv"):  # noqa: PTH123  as data.py may do
            pass

    monkeypatch.setattr(pipeline, "get_ticket_data_batch", read)
    code, out, err = run("evaluate")
    assert (code, out) == (2, "")
    assert err.startswith("Error: s3://bucket/sales.csv: no such file or directory; create it")
    assert err.count("\n") == 1


def test_what_a_model_prints_is_not_part_of_the_result(run, monkeypatch):
    def run_trial(_selection):
        sys.stdout.write("loading\n")  # as data.py, model.py and metrics.py may do
        return TRIAL

    monkeypatch.setattr(pipeline, "run_trial", run_trial)
    code, out, err = run("evaluate")
    assert (code, json.loads(out)["id"]) == (0, TRIAL.id)
    assert "loading\n" in err


@pytest.mark.parametrize("command", ["evaluate", "backfill --from 2016-03-01 --to 2016-03-08"])
@pytest.mark.parametrize("batch", [None, [1], {"a": [1]}])
def test_rows_that_are_no_frame_are_refused_in_one_line(run, monkeypatch, batch, command):
    monkeypatch.setattr(pipeline, "get_rows", lambda _selection: batch)
    code, out, err = run(*command.split())
    assert (code, out) == (2, "")
    assert err.startswith("Error: data.py: get_ticket_data_batch returned ")
    assert err.endswith("; return a DataFrame\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["backfill", "--from", "2016-03-01", "--to", "2016-02-01"],
            "Error: to: 2016-02-01 00:00:00 is not after from, 2016-03-01 00:00:00; swap them",
        ),
        (["evaluate", "--batch-size", "x"], "Error: batch_size: 'x' is not a whole number"),
        (["evaluate", "--all", "--batch-size", "5"], "Error: batch_size: --all was given as well"),
        (["evaluate", "--nonsense"], "Error: evaluate: No such option"),
        (["history", "--last", "0"], "Error: history: Invalid value for '--last'"),
        (["history", "--trials", "none"], "Error: TRIALS_URL"),
        (["run", "--param", "x"], "Error: --param: 'x' is not of the form NAME=VALUE"),
    ],
)
def test_bad_input_ends_with_2_and_one_line(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_a_column_that_the_model_needs_and_the_rows_lack_is_named_in_one_line(rows):
    def predict(df):
        return df["region"]

    with pytest.raises(InputError) as caught:
        pipeline.call(predict, rows)
    assert str(caught.value).startswith("model.py: predict needs the column 'region'; the rows")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(KeyError):  # a fault of another kind
        pipeline.call(lambda df: {}[df.columns[0]], rows)


def test_runs_at_once_in_one_process_have_settings_of_their_own(monkeypatch, trials):
    monkeypatch.setenv("DATA_MAX_MB", "5")
    asked, ask = threading.Barrier(2, timeout=30), settings.load_settings

    def read():
        asked.wait()  # both have begun
        with ThreadPoolExecutor(1) as pool:  # as for what is fetched
            return [ask(), pool.submit(settings.carry(ask)).result()]

    places = [f"{trials}-1", f"{trials}-2"]
    runs = [settings.carry(read, {"TRIALS_URL": place}) for place in places]
    with ThreadPoolExecutor(2) as pool:
        found = [run.result() for run in [pool.submit(each) for each in runs]]
        assert [[each.trials for each in both] for both in found] == [[p, p] for p in places]
        assert [each.data_max_bytes for each in found[0]] == [5e6, 5e6]
        assert {pool.submit(ask).result().trials for _ in range(9)} == {trials}

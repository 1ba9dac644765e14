"""The command line, as a shell would run it."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from << cookiecutter.package_name >> import cli as command_line
from << cookiecutter.package_name >>.evaluation.store import write_trial_summary


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line; gives its exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        monkeypatch.setattr(logging.getLogger(), "handlers", [])  # or basicConfig would leave the last test's stderr
        with pytest.raises(SystemExit) as caught:
            command_line.main()
        output = capsys.readouterr()
        return caught.value.code or 0, output.out, output.err

    return run


def test_history_shows_trials_as_a_table_and_as_json(run, trials):
    code, _, err = run("history")
    assert code == 0
    assert err.startswith("no trials yet")
    metrics = {"MAE": 7200.0, "MedAE": 3600.0, "MSE": 1.0, "R2": None}
    trial = {"id": "1234", "data": {"num_obs": 5, "metrics": metrics}, "created_at": "2020-01-01T10:00:00Z"}
    write_trial_summary({**trial, "model": "m", "window": None}, trials)
    code, out, _ = run("history")
    assert code == 0
    assert out.splitlines()[1].split()[-6:] == ["1234", "m", "5", "2.0", "1.0", "-"]
    assert json.loads(run("history", "--json", "--last", "1")[1])["id"] == "1234"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--batch-size", "x"], "Error: batch_size: 'x' is not a whole number"),
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

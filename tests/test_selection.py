"""Which tickets are asked for: refused in one line, or taken as asked."""

from __future__ import annotations

import pytest
from commands import assert_refused, trial_of
from logs import LOG, ROWS


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch-size", "0"], ["batch_size", "'0'", "from 1 to"]),
        (["--batch-size=-1"], ["batch_size", "'-1'"]),
        (["--batch-size", "x"], ["batch_size", "'x'"]),
        (["--batch-size", "1.5"], ["batch_size", "'1.5'"]),
        (["--batch-size", ""], ["batch_size", "''"]),
        (["--batch-size", str(10**9 + 1)], ["batch_size", "1000000001"]),
        (["--batch-size", "5", "--all"], ["batch"]),
        (["--seed", "-1"], ["seed"]),
        (["--seed", str(2**32)], ["seed"]),
        (
            ["--closed-from", "2016-05-01", "--closed-to", "2016-04-01"],
            ["closed_to", "is not after closed_from"],
        ),
        (
            ["--closed-from", "2016-05-01", "--closed-to", "2016-05-01"],
            ["closed_to", "is not after closed_from"],
        ),
        (
            ["--closed-from", "yesterday"],
            ["closed_from", "'yesterday' is not a time", "2016-03-01"],
        ),
        (["--closed-to", "31/2/2016"], ["closed_to", "is not a time"]),
        (["--closed-to", ""], ["closed_to", "is not a time"]),
        (["--closed-from", "0001-01-01T00:00+12:00"], ["closed_from", "is not a time"]),
        (["--closed-last", "1y"], ["closed_last", "'1y'", "for example 24h"]),
        (["--closed-last", "0d"], ["closed_last", "'0d'"]),
        (["--closed-last", "99999w"], ["closed_last", "'99999w'", "up to 9999"]),
        (["--closed-last", "1d", "--closed-to", "2016-05-01"], ["closed_last", "one or the other"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
)
def test_what_cannot_be_asked_for(commands, arguments, words):
    assert_refused(commands.evaluate("--data", "sample", *arguments), *words)
    assert commands.kept() == []


def test_a_batch_larger_than_the_log_takes_all_and_says_so(commands, tmp_path):
    (tmp_path / "log.zip").write_bytes(LOG)
    result = commands.evaluate("--data", tmp_path / "log.zip", "--batch-size", str(10**9))
    assert trial_of(result)["data"]["num_obs"] == len(ROWS)
    assert "there are only 300 rows: taking all" in result.stderr


def test_a_window_without_tickets_ends_well_without_a_trial(commands, tmp_path):
    (tmp_path / "log.zip").write_bytes(LOG)
    result = commands.evaluate("--data", tmp_path / "log.zip", "--closed-from", "2030-01-01")
    assert (result.returncode, result.stdout, commands.kept()) == (0, "", [])
    assert "nothing to evaluate" in result.stderr

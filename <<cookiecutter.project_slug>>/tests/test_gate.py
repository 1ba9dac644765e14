"""The gate: it stays still while the model is unchanged, and finds a model that became worse."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from datetime import date

import numpy as np
import pytest

from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.evaluation.gate import (
    DEFAULT,
    Gate,
    Point,
    judge,
    judge_all,
)

OF_ERROR, OF_RELATIVE = 0.11, 0.026  # standard errors of a learned model, 1,000 rows at a time
QUIET = 0.002  # of histories in which all is clear


def make_history(random, count, *, error=OF_ERROR, relative=OF_RELATIVE, groups=1000):
    """Trials of an unchanged model, whose error is half of the guess's."""
    errors, ratios = random.normal(0, error, count), random.normal(math.log(0.5), relative, count)
    stated = random.uniform(0.8, 1.2, (count, 2))  # standard errors are estimates, too
    return [
        Point(
            f"2026-{1 + i // 28:02}-{1 + i % 28:02}T00:00:00Z",
            groups,
            e,
            error * s,
            r,
            relative * t,
        )
        for i, (e, r, (s, t)) in enumerate(
            zip(errors.tolist(), ratios.tolist(), stated.tolist(), strict=True)
        )
    ]


def change(points, start, *, error=1.0, relative=1.0):
    """The same history, but from `start` on with errors so many times as large."""
    return points[:start] + [
        replace(
            point,
            log_error=point.log_error + math.log(error),
            log_relative=point.log_relative + math.log(relative),
        )
        for point in points[start:]
    ]


def names(points, settings=DEFAULT):
    return [verdict.name for verdict in judge_all(points, settings)]


@pytest.fixture
def quiet():
    """Forty trials that hardly vary."""
    return make_history(np.random.default_rng(0), 40, error=QUIET, relative=QUIET)


def test_an_unchanged_model_is_left_alone():
    random = np.random.default_rng(1)
    alarms = judged = by_threshold = 0
    for _ in range(1000):
        history = make_history(random, 25)
        found = names(history)
        assert found[:14] == ["too little history"] * 14
        alarms += found.count("worse")
        judged += len(found) - 14
        level = history[0].log_error + math.log(1.1)
        by_threshold += sum(point.log_error > level for point in history[14:])
    assert 1000 * alarms / judged < 0.5
    assert 1000 * by_threshold / judged > 200  # so it is not that nothing happens


@pytest.mark.parametrize(
    ("factor", "least", "most"), [(1.1, 30, 70), (1.2, 95, 100), (1.5, 100, 100)]
)
def test_larger_errors_are_found_within_five_trials(factor, least, most):
    random = np.random.default_rng(2)
    found = 0
    for _ in range(200):
        points = change(make_history(random, 40), 35, error=factor, relative=factor)
        found += "worse" in [judge(points[:count]).name for count in range(36, 41)]
    assert least <= found / 2 <= most


def test_a_changed_world_is_not_a_worse_model():
    random = np.random.default_rng(3)
    found = [names(change(make_history(random, 40), 35, error=1.6))[35:] for _ in range(100)]
    assert not any("worse" in each for each in found)
    assert sum("data changed" in each for each in found) > 80


def test_an_alarm_holds_and_ends_with_its_cause():
    random = np.random.default_rng(4)
    history = make_history(random, 200)
    verdicts = judge_all(change(change(history, 50, relative=1.3), 150, relative=1 / 1.3))
    found = [verdict.name for verdict in verdicts]
    assert found[52:150] == ["worse"] * 98
    assert {verdict.since for verdict in verdicts[52:150]} == {history[50].time}
    assert "worse" not in found[155:]


def test_an_alarm_that_flickers_does_not_become_the_new_normal():
    random = np.random.default_rng(5)
    found = names(change(make_history(random, 150), 50, relative=1.17))[55:]
    assert found.count("worse") > 80


def test_one_trial_that_stands_out_is_not_enough(quiet):
    once = change(change(quiet, 38, relative=2), 39, relative=0.5)
    assert names(once)[38:] == ["as before", "as before"]
    assert judge(once[:39]).stands_out
    assert not judge(once).stands_out
    assert judge(once).standing_out == (once[38].time,)
    assert "although this trial stands out" in judge(once[:39]).sentence("MAE", "9 rows")
    twice = change(quiet, 38, relative=2)
    assert names(twice)[38:] == ["as before", "worse"]
    assert names(change(twice, 39, relative=0.5))[38:] == ["as before", "as before"]
    over = change(change(quiet, 37, relative=2), 39, relative=0.5)
    assert names(over)[37:] == ["as before", "worse", "as before"]


def test_trials_before_the_latest_ones_do_not_count(quiet):
    points = [
        replace(point, verdict="worse" if index == 30 else "as before")
        if index not in (29, 30, 35)
        else replace(point, log_relative=0.0, verdict="worse" if index == 30 else None)
        for index, point in enumerate(quiet[:36])
    ]
    verdict = judge(points)
    assert (verdict.name, verdict.standing_out) == ("as before", (quiet[35].time,))


def test_only_what_is_larger_stands_out(quiet):
    assert set(names(change(quiet, 35, error=0.2, relative=0.2))[14:]) == {"as before"}
    assert set(names(change(quiet, 35, relative=1.03))[14:]) == {"as before"}  # within 5 %
    assert names(change(quiet, 35, relative=1.03), Gate(tolerance=0.01))[36] == "worse"


def test_what_a_verdict_says(quiet):
    verdict = judge(change(quiet, 38, error=1.5, relative=1.25))
    assert verdict.name == "worse"
    assert verdict.found == 30
    assert verdict.relative == pytest.approx(0.625, rel=0.01)
    assert verdict.level == pytest.approx(0.5, rel=0.01)
    assert 0.525 < verdict.bound < 0.55
    assert verdict.relative_growth == pytest.approx(0.25, rel=0.05)
    assert verdict.error_growth == pytest.approx(0.5, rel=0.05)
    assert verdict.standing_out == (quiet[38].time, quiet[39].time)
    assert verdict.since == quiet[38].time
    assert json.loads(json.dumps(asdict(verdict), allow_nan=False))["name"] == "worse"


WORSE = (
    "worse since 2026-02-11: MAE is 0.628 times that of a constant guess on the same 9 tickets, "
    "25 % more than before (0.500 in 30 earlier trials); 2 of the latest 5 trials stand out; "
)
SENTENCES = {
    WORSE + "MAE itself rose by 50 %": {"error": 1.5, "relative": 1.25},
    WORSE + "MAE itself fell by 30 %, but that of the guess fell more": {
        "error": 0.7,
        "relative": 1.25,
    },
    "the data changed since 2026-02-11, not the model: MAE rose by 50 %, and is 0.502 times that "
    "of a constant guess on the same 9 tickets (0.500 in 30 earlier trials)": {"error": 1.5},
    "as before: MAE is 0.502 times that of a constant guess on the same 9 tickets "
    "(0.500 in 30 earlier trials)": {},
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences(quiet, sentence):
    verdict = judge(change(quiet, 38, **SENTENCES[sentence]))
    assert verdict.sentence("MAE", "9 tickets") == sentence


def test_too_little_history_says_how_many_trials_are_missing(quiet):
    verdict = judge(quiet[:7])
    assert (verdict.name, verdict.found, verdict.required) == ("too little history", 7, 15)
    said = "too little history to judge the model: 7 of 15 trials, 8 more needed"
    assert verdict.sentence("MAE", "1,000 tickets") == said
    assert judge(quiet[:14]).missing == 1
    assert judge(quiet[:15]).name == "as before"


def test_small_trials_are_not_judged_and_not_compared_with(quiet):
    small = [*quiet[:20], replace(quiet[20], groups=19)]
    verdict = judge(small)
    assert (verdict.name, verdict.found, verdict.required) == ("too few rows", 19, 20)
    said = "too few rows to judge the model: 19 tickets, at least 20 needed"
    assert verdict.sentence("MAE", "19 tickets") == said
    assert judge([replace(point, groups=19) for point in quiet[:30]] + quiet[30:]).found == 10
    assert judge(small, Gate(min_groups=19)).name == "as before"
    assert judge([replace(point, groups=20) for point in quiet]).name == "as before"


@pytest.mark.parametrize("name", ["log_error", "log_error_se", "log_relative", "log_relative_se"])
def test_undefined_trials_are_not_judged_and_not_compared_with(quiet, name):
    verdict = judge([*quiet[:20], replace(quiet[20], **{name: None})])
    assert (verdict.name, verdict.missing) == ("too few rows", 0)
    said = "not judged: MAE cannot be compared with a constant guess on 900 tickets"
    assert verdict.sentence("MAE", "900 tickets") == said
    gaps = [replace(point, **{name: None}) for point in quiet[:26]] + quiet[26:]
    assert judge(gaps).found == 14


@pytest.mark.parametrize("since", ["2026-02-01", date(2026, 2, 1)])
def test_since_begins_anew(quiet, since):
    worse = change(quiet, 20, relative=1.3)
    assert set(names(worse)[21:]) == {"worse"}
    verdict = judge(worse, Gate(since=since))  # trials 29 to 39; the window of 28 ends that day
    assert (verdict.name, verdict.found) == ("too little history", 11)
    assert judge(worse, Gate(since="2026-01-23")).name == "as before"
    assert judge(worse, Gate(since="2027-01-01")).found == 0


def test_trials_near_one_called_worse_are_not_compared_with(quiet):
    called = [replace(point, verdict="worse" if i == 20 else None) for i, point in enumerate(quiet)]
    raised = [replace(p, log_relative=9.0) if 16 <= i <= 24 else p for i, p in enumerate(called)]
    assert judge(raised).level == pytest.approx(0.5, rel=0.01)
    assert judge(raised).found == 35 - 9
    raised = [replace(p, log_relative=9.0) if 15 <= i <= 25 else p for i, p in enumerate(called)]
    assert judge(raised).level > 1


def test_at_most_thirty_earlier_trials_are_compared_with():
    history = make_history(np.random.default_rng(6), 60, relative=QUIET)
    shifted = change(change(history, 25, relative=3), 55, relative=1)
    judged = judge(shifted)
    assert judged.found == 30
    assert judged.level == pytest.approx(1.5, rel=0.01)


def test_uncertain_trials_weigh_less_and_stand_out_less(quiet):
    wild = [
        replace(p, log_relative=5.0, log_relative_se=5.0) if i < 15 else p
        for i, p in enumerate(quiet)
    ]
    assert judge(wild).level == pytest.approx(0.5, rel=0.01)
    uncertain = [replace(p, log_relative_se=0.3) for p in change(quiet, 38, relative=1.25)[38:]]
    assert judge([*quiet[:38], *uncertain]).name == "as before"


def test_the_bound_of_trials_that_vary_as_they_say():
    level, se, count = math.log(0.5), 0.02, 10
    points = [Point(f"2026-01-{day:02}", 20, 0.0, se, level, se) for day in range(1, 16)]
    verdict = judge(points)
    assert (verdict.name, verdict.found) == ("as before", count)
    z = 2 * (1 + (2**2 + 1) / (4 * count - 4))
    assert 2.27 < z < 2.33  # Student's t with 9 degrees of freedom: 2.32
    expected = level + math.log(1.05) + z * math.sqrt(se**2 + se**2 / count)
    assert math.log(verdict.bound) == pytest.approx(expected)


def test_trials_that_claim_to_be_certain_are_not_taken_at_their_word():
    points = [Point(f"2026-01-{day:02}", 20, 0.0, 0.0, 0.0, 0.0) for day in range(1, 16)]
    assert judge(points).bound == pytest.approx(
        1.05 * math.exp(2.28 * 0.005 * math.sqrt(1.1)), 1e-4
    )
    assert "worse" not in names(change(points, 13, relative=1.055))


def test_a_data_change_must_be_certain(quiet):
    changed = change(quiet, 38, error=1.5)
    assert judge(changed).name == "data changed"
    uncertain = [replace(point, log_error_se=0.5) for point in changed[38:]]
    assert judge([*changed[:38], *uncertain]).name == "as before"


def test_trials_that_vary_more_than_they_say_raise_the_bound():
    random = np.random.default_rng(7)
    varied = [
        replace(point, log_relative_se=QUIET)  # which is far too certain
        for point in make_history(random, 40, relative=0.1)
    ]
    assert judge(varied).bound > 1.2 * judge(varied).level
    assert "worse" not in names(varied)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"tolerance": -0.1}, "tolerance of Gate is -0.1; it must be at least 0"),
        ({"z": math.nan}, "z of Gate is nan; it must be at least 0"),
        ({"reference": 1}, "reference of Gate is 1; it must be at least 2"),
        ({"latest": 0}, "latest of Gate is 0; it must be at least 1"),
        ({"needed": 6}, "needed of Gate is 6; it must be from 1 to 5"),
        ({"min_groups": 1}, "min_groups of Gate is 1; it must be at least 2"),
        ({"min_history": 6}, "min_history of Gate is 6; it must be from 7 to 35"),
        ({"min_history": 36}, "min_history of Gate is 36; it must be from 7 to 35"),
        ({"tolerance": "5 %"}, "tolerance of Gate is '5 %'; write a number such as 0.05"),
        ({"latest": 1.5}, "latest of Gate is 1.5; write a number such as 5"),
        ({"since": "March"}, "since of Gate is 'March'; write a date such as 2026-03-01"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(settings, problem):
    with pytest.raises(InputError, match=f"^metrics.py: {problem}$"):
        Gate(**settings)

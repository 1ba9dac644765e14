"""What a trial keeps of predictions beside actual values, and what is odd about its rows."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from << cookiecutter.package_name >>.evaluation import Metric, Scoring
from << cookiecutter.package_name >>.evaluation.checks import count_missing, find_oddities
from << cookiecutter.package_name >>.evaluation.outcomes import describe_outcomes
from << cookiecutter.package_name >>.evaluation.pairs import pair
from << cookiecutter.package_name >>.evaluation.trial import Trial

RNG = np.random.default_rng(0)


def describe(actual, predicted, classes=None):
    scoring = Scoring("rows", "target", {"a": Metric(max)}, classes=classes)
    pairs = pair(actual, predicted, pd.DataFrame(index=range(len(actual))), scoring)
    found = describe_outcomes(pairs, classes)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def test_numbers_in_bins():
    predicted = RNG.lognormal(size=1000)
    bins = describe(2 * predicted, predicted)["numbers"]
    assert bins["rows"] == [100] * 10
    assert bins["actual"] == pytest.approx(2 * np.array(bins["predicted"]), rel=0.3)
    for low, middle, high in zip(bins["low"], bins["actual"], bins["high"], strict=True):
        assert low < middle < high


def test_few_predictions_have_a_bin_each():
    bins = describe([1.0, 2.0, 9.0, 5.0], [4.0, 4.0, 4.0, 7.0])["numbers"]
    assert bins == {
        "rows": [3, 1],
        "predicted": [4.0, 7.0],
        "actual": [2.0, 5.0],
        "low": [1.2, 5.0],
        "high": [7.6, 5.0],
    }
    constant = describe(RNG.normal(size=1000), np.r_[np.zeros(990), np.arange(10) + 1.0])
    assert sum(constant["numbers"]["rows"]) == 1000


def test_predictions_near_the_largest_number_give_no_infinity_and_no_warning(recwarn):
    bins = describe([1.0, 2.0], [1.7e308, 1.7e308])["numbers"]
    assert bins["predicted"] == [None]
    assert not recwarn.list


def test_probabilities_come_true_as_often_as_they_say():
    predicted = RNG.random(20_000)
    bins = describe(RNG.random(20_000) < predicted, predicted)["probabilities"]
    assert bins["actual"] == pytest.approx(bins["predicted"], abs=0.05)
    assert bins.keys() == {"rows", "predicted", "actual"}


def test_classes_are_counted_by_pairs():
    found = describe(list("aab"), list("abc"))["classes"]
    assert found == {"names": ["a", "b", "c"], "counts": [[1, 1, 0], [0, 0, 1], [0, 0, 0]]}


def test_probabilities_of_classes_give_both():
    shares = pd.DataFrame({2: [0.1, 0.8, 0.6], 1: [0.9, 0.2, 0.4]})
    found = describe(np.array([1, 2, 1]), shares, classes=(1, 2))
    assert found["classes"] == {"names": ["1", "2"], "counts": [[1, 1], [0, 1]]}
    bins = found["probabilities"]
    assert bins["predicted"] == [0.1, 0.2, 0.4, 0.6, 0.8, 0.9]
    assert bins["actual"] == [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]


def test_many_classes_are_bounded():
    actual = np.array([f"class {number}" for number in np.minimum(np.arange(5000) // 2, 2000)])
    found = describe(actual, np.roll(actual, 1))["classes"]
    assert len(found["names"]) == len(found["counts"]) == 20
    assert found["names"][-1] == "other classes"
    assert "class 2000" in found["names"]
    assert sum(map(sum, found["counts"])) == 5000


# What is odd.


def make_trial(number, **changes):
    trial = Trial(
        id=f"{number}",
        num_obs=10,
        metrics={"a": 1.0},
        target={"yes": 5, "no": 5},
        created_at=f"2024-01-{number:02d}",
        scoring={"rows": "visits", "target": "purchase"},
        segments={"region": {"east": {"num_obs": 10, "metrics": {}}}},
        checks={"rows": 10, "missing": {"age": number / 100, "size": 0.0}},
    )
    return replace(trial, **changes)


EARLIER = [make_trial(number) for number in range(1, 9)]


def test_what_is_missing_is_counted():
    rows = pd.DataFrame({"age": [1, None, 3, None], "size": 1})
    target, predicted = [1.0, None, None, 4.0], [1.0, 2.0, 3.0, None]
    scoring = Scoring("visits", "x", {"a": Metric(max)})
    pairs = pair(pd.Series(target), pd.Series(predicted), rows, scoring)
    checks = count_missing(rows, pairs)
    assert checks == {
        "rows": 4,
        "without_target": 2,
        "without_prediction": 1,
        "missing": {"age": 0.5, "size": 0.0},
    }
    assert find_oddities(make_trial(9, checks=checks), ()) == [
        "2 of 4 visits have no actual value: left out",
        "1 of 4 visits have no prediction: left out",
    ]
    wide = pd.DataFrame(np.zeros((4, 500)))
    assert len(count_missing(wide, pairs)["missing"]) == 100


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"checks": None, "segments": {}, "target": {"mean": 1.0}}, []),
        (
            {"checks": {"missing": {"age": 0.17}}},
            ["columns that the trial before had are gone: size"],
        ),
        (
            {"checks": {"missing": {"age": 0.45, "size": 0.1}}},
            ["more values are missing than in earlier trials: age 45% (at most 8%)"],
        ),
        (
            {"target": {"yes": 5, "maybe": 5}},
            ["never seen in earlier trials: purchase 'maybe' (5 visits)"],
        ),
        (
            {"segments": {"region": {name: {"num_obs": 2} for name in ("east", *"dcba")}}},
            [
                "never seen in earlier trials: "
                + ", ".join(f"region '{name}' (2 visits)" for name in "abc")
                + " and 1 more"
            ],
        ),
        ({"segments": {"region": {f"{n}": {"num_obs": 1} for n in range(20)}}}, []),
        ({"target": {f"{n}": 1 for n in range(50)}}, []),
        ({"segments": {name: {"missing": {"num_obs": 1}} for name in ("region", "new")}}, []),
    ],
)
def test_a_batch_is_compared_with_those_of_earlier_trials(changes, told):
    trial = make_trial(9, **changes)
    if changes.get("checks") is None:
        trial = replace(trial, checks={"rows": 10, "missing": {"age": 0.09, "size": 0.0}})
    assert find_oddities(trial, EARLIER) == told
    assert find_oddities(trial, EARLIER[:4]) == []


def test_trials_of_an_earlier_version_are_not_in_the_way():
    old = [replace(trial, checks=None) for trial in EARLIER]
    assert find_oddities(make_trial(9), old) == []

"""Intervals hold the true value as often as they say, and whatever is undefined is null."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    median_absolute_error,
    r2_score,
    roc_auc_score,
)

from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.evaluation.intervals import (
    difference,
    measure,
    measure_segments,
)
from << cookiecutter.package_name >>.evaluation.resampling import jackknife
from << cookiecutter.package_name >>.evaluation.scoring import (
    Metric,
    absolute_error,
    squared_error,
)

MAE = Metric.mean(absolute_error)
MSE = Metric.mean(squared_error)
MEDAE = Metric(median_absolute_error)
RMSE = Metric(lambda actual, predicted: math.sqrt(((actual - predicted) ** 2).mean()))
R2 = Metric(r2_score, best=1.0)
AUC = Metric(roc_auc_score, best=1.0)
ACCURACY = Metric(accuracy_score, best=1.0)
HITS = Metric.mean(lambda actual, predicted: actual == predicted, best=1.0)
BIAS = Metric.mean(lambda actual, predicted: predicted - actual)

GROUPS, SIZE = 120, 5  # of groups, of each
CODES = np.repeat(np.arange(GROUPS), SIZE)
ZERO = np.zeros(GROUPS * SIZE)


def make_errors(random, *, shared=0.7, own=0.5):
    """Log-normal errors whose groups differ: see TRUE."""
    return np.exp(
        np.repeat(random.normal(0, shared, GROUPS), SIZE) + random.normal(0, own, GROUPS * SIZE)
    )


def holds(truth, interval):
    return interval[0] <= truth <= interval[1]


VARIANCE = 0.7**2 + 0.5**2
TRUE = {"MAE": math.exp(VARIANCE / 2), "RMSE": math.exp(VARIANCE), "MedAE": 1.0}


@pytest.mark.parametrize(("name", "metric"), [("MAE", MAE), ("RMSE", RMSE), ("MedAE", MEDAE)])
def test_95_of_100_intervals_hold_the_true_value_if_groups_are_known(name, metric):
    random = np.random.default_rng(1)
    batches = [make_errors(random) for _ in range(200)]
    by_group, by_row = (
        [
            holds(TRUE[name], measure(metric, errors, ZERO, None, codes).interval)
            for errors in batches
        ]
        for codes in (CODES, None)
    )
    assert 0.88 <= np.mean(by_group) <= 0.985
    assert np.mean(by_row) < 0.83  # or the bound above would not tell them apart


def test_95_of_100_intervals_of_the_comparison_with_a_guess_hold_the_true_value():
    random = np.random.default_rng(2)
    ratios, guesses, differences = [], [], []
    true_guess = TRUE["MAE"] * math.exp(0.3**2 / 2)
    for _ in range(200):
        errors = make_errors(random)
        guess = errors * np.repeat(random.lognormal(0, 0.3, GROUPS), SIZE)
        measured = measure(MAE, ZERO, errors, guess, CODES)
        ratios.append(holds(TRUE["MAE"] / true_guess, measured.relative_interval))
        guesses.append(holds(true_guess, measured.baseline_interval))
        change = difference(MAE, ZERO, errors, guess, CODES)
        differences.append(holds(true_guess - TRUE["MAE"], change.interval))
    for hits in (ratios, guesses, differences):
        assert 0.88 <= np.mean(hits) <= 0.985


def test_95_of_100_standard_errors_are_right():
    random = np.random.default_rng(3)
    found = [
        measure(MAE, ZERO, make_errors(random), make_errors(random), CODES) for _ in range(200)
    ]
    for name in ("log_error", "log_relative"):
        spread = np.std([getattr(each, name) for each in found])
        stated = np.mean([getattr(each, f"{name}_se") for each in found])
        assert 0.85 < stated / spread < 1.15


def test_long_tails_are_held_more_often_by_the_interval_of_a_mean():
    random = np.random.default_rng(6)
    mean, any_other = [], []
    same = Metric(lambda actual, predicted: abs(actual - predicted).mean())
    for _ in range(300):
        errors = random.lognormal(0, 2, 40)
        mean.append(holds(math.exp(2), measure(MAE, errors, ZERO[:40]).interval))
        any_other.append(holds(math.exp(2), measure(same, errors, ZERO[:40]).interval))
    assert np.mean(mean) > np.mean(any_other) + 0.04


def test_the_jackknife_of_ten_parts():
    changes = np.array([0.9, 1.1, 1.2, 0.8, 1.0, 1.05, 0.95, 1.3, 0.7, 1.02])
    se = math.sqrt(9 / 10 * (np.log(changes) ** 2).sum())
    ends, found = jackknife(changes)
    assert found == pytest.approx(se)
    # 2.262 is the quantile of Student's t for 9 degrees of freedom.
    assert ends == pytest.approx(np.exp([-2.262 * se, 2.262 * se]), rel=0.01)
    assert all(math.isnan(end) for end in jackknife(changes[:9])[0])
    changes[3] = 0.0  # an error that all comes from one part
    se = math.sqrt(9 / 10 * ((changes - 1) ** 2).sum())
    ends, found = jackknife(changes)
    assert found == pytest.approx(se)
    assert ends == pytest.approx(np.exp([-2.262 * se, 2.262 * se]), rel=0.01)
    changes[3] = -0.5  # without one part the error is on the other side
    se = math.sqrt(9 / 10 * ((changes - 1) ** 2).sum())
    ends, found = jackknife(changes)
    assert math.isnan(found)
    assert ends == pytest.approx([1 - 2.262 * se, 1 + 2.262 * se], rel=0.01)


def test_few_rows_that_are_wrong_have_an_honest_interval():
    random = np.random.default_rng(4)
    hits = []
    for _ in range(200):
        wrong = random.random(1000) < 0.005
        if wrong.any():
            interval = measure(HITS, np.zeros(1000), wrong).interval
            hits.append(holds(0.995, interval))
            assert interval[1] <= 1
    assert np.mean(hits) > 0.9


@pytest.fixture
def batch():
    random = np.random.default_rng(5)
    actual = random.lognormal(size=300)
    return actual, actual * random.lognormal(sigma=0.3, size=300), np.repeat(np.arange(100), 3)


def test_what_is_measured(batch):
    actual, predicted, groups = batch
    guess = np.ones(300)
    measured = measure(MAE, actual, predicted, guess, groups)
    mae, of_guess = np.mean(abs(actual - predicted)), np.mean(abs(actual - guess))
    assert measured.value == pytest.approx(mae)
    assert measured.baseline == pytest.approx(of_guess)
    assert measured.relative == pytest.approx(mae / of_guess)
    assert measured.groups == 100
    assert measured.log_error == pytest.approx(math.log(mae))
    assert measured.log_relative == pytest.approx(math.log(mae / of_guess))
    for value, interval in (
        (measured.value, measured.interval),
        (measured.baseline, measured.baseline_interval),
        (measured.relative, measured.relative_interval),
    ):
        assert interval[0] < value < interval[1]
    assert measure(MAE, actual, predicted, None, groups).relative is None


@pytest.mark.parametrize("metric", [MAE, MSE, MEDAE, RMSE, R2])
def test_the_same_batch_and_seed_give_the_same(batch, metric):
    actual, predicted, groups = batch
    first, _, second = (
        measure(metric, actual, predicted, None, groups, seed) for seed in (7, 8, 7)
    )
    assert first == second
    assert first.interval is not None
    default = measure(metric, actual, predicted, None, groups)
    assert default == measure(metric, actual, predicted, None, groups, 0)
    if metric is not MEDAE:  # nothing of Woodruff's interval is random
        assert default.interval != measure(metric, actual, predicted, None, groups, 1).interval


@pytest.mark.parametrize(
    ("metric", "function"), [(MEDAE, median_absolute_error), (R2, r2_score)], ids=["MedAE", "R2"]
)
def test_the_quick_ways_give_what_the_functions_give(batch, metric, function):
    actual, predicted, groups = batch
    slow = Metric(partial(function), best=metric.best)  # not known to be scikit-learn's
    expected = measure(slow, actual, predicted, np.ones(300), groups)
    measured = measure(metric, actual, predicted, np.ones(300), groups)
    names = ["relative_interval", "log_error_se", "log_relative_se", "value", "baseline"]
    names += ["interval"] if metric is R2 else []
    for name in names:
        assert getattr(measured, name) == pytest.approx(getattr(expected, name))


def test_the_better_a_metric_the_higher_it_may_be(batch):
    actual, predicted, groups = batch
    measured = measure(R2, actual, predicted, np.ones(300), groups)
    assert measured.interval[0] < measured.value < measured.interval[1] < 1
    mse = measure(MSE, actual, predicted, np.ones(300), groups)
    assert measured.relative == pytest.approx(mse.relative)
    assert measured.log_error == pytest.approx(math.log(1 - measured.value))
    hits = measure(HITS, actual > 1, predicted > 1, None, groups)
    accuracy = measure(ACCURACY, actual > 1, predicted > 1, None, groups)
    assert hits.value == accuracy.value
    assert hits.log_error_se == pytest.approx(accuracy.log_error_se)
    assert accuracy.interval[0] < accuracy.value < accuracy.interval[1] < 1


def test_rows_without_a_group_stand_alone(batch):
    actual, predicted, _ = batch
    alone = np.full(300, -1)
    assert measure(MAE, actual, predicted, None, alone) == measure(MAE, actual, predicted)
    assert measure(MAE, actual, predicted, None, np.r_[[4] * 10, alone[10:]]).groups == 291


def test_codes_may_have_gaps(batch):
    actual, predicted, groups = batch
    gaps = measure(MAE, actual, predicted, None, 7 * groups + 3)
    assert gaps == measure(MAE, actual, predicted, None, groups)


def test_errors_on_both_sides_of_the_best_value_have_an_interval_of_their_own(batch):
    actual, predicted, groups = batch
    measured = measure(BIAS, actual, predicted + 0.1, actual + 1, groups)
    low, high = measured.interval
    assert (low + high) / 2 == pytest.approx(measured.value)  # not on a logarithmic scale
    assert (measured.log_error_se, measured.log_relative_se) == (None, None)
    sums = np.bincount(groups, predicted + 0.1 - actual)
    assert high - low == pytest.approx(2 * 2.01 * sums.std() * 10 / 300, rel=0.2)
    one_side = measure(BIAS, actual, actual + abs(predicted), None, groups)
    assert one_side.interval == measure(MAE, actual, actual + abs(predicted), None, groups).interval


def test_the_interval_of_a_median_has_the_ranks_that_it_should_have():
    errors = np.random.default_rng(8).permutation(np.arange(1.0, 402.0))
    interval = measure(MEDAE, errors, np.zeros(401)).interval
    assert interval == pytest.approx((201 - 1.97 * 10, 201 + 1.97 * 10), abs=1.1)
    twice = measure(MEDAE, np.repeat(errors, 2), np.zeros(802), None, np.repeat(np.arange(401), 2))
    assert twice.interval == pytest.approx(interval, abs=1.1)


CLASSES = np.array(["no", "yes"] * 20, dtype=object)
SHARES = np.linspace(0.1, 0.9, 40)
LOG_LOSS = Metric(lambda y, p: log_loss(y, p, labels=["no", "yes"]))
ODD = {
    "a perfect model": (MAE, SHARES, SHARES, CLASSES == "no"),
    "a perfect guess": (MAE, SHARES, SHARES + 1, SHARES),
    "equal errors": (MAE, SHARES, SHARES + 1, SHARES + 2),
    "one error": (HITS, CLASSES, np.r_[CLASSES[1:2], CLASSES[1:]], CLASSES),
    "all wrong": (HITS, CLASSES, CLASSES[::-1], CLASSES),
    "one row": (MAE, SHARES[:1], SHARES[:1] + 1, SHARES[:1] + 2),
    "R2 of one row": (R2, SHARES[:1], SHARES[:1] + 1, SHARES[:1] + 2),
    "R2 of classes": (R2, CLASSES, CLASSES[::-1], CLASSES),
    "MedAE of classes": (MEDAE, CLASSES, CLASSES[::-1], CLASSES),
    "R2 of a constant": (R2, np.ones(40), SHARES, np.ones(40)),
    "nine rows": (MAE, SHARES[:9], SHARES[:9] * 2, SHARES[:9] * 3),
    "more than half perfect": (MEDAE, SHARES, np.where(SHARES < 0.6, SHARES, 1), SHARES + 1),
    "a class": (AUC, np.full(40, "no", dtype=object), SHARES, SHARES),
    "two classes": (AUC, CLASSES, SHARES, np.full(40, 0.5)),
    "shares": (LOG_LOSS, CLASSES, np.stack([SHARES, 1 - SHARES], axis=1), np.full((40, 2), 0.5)),
    "one row of a class": (AUC, np.array(["yes"] + ["no"] * 39, dtype=object), SHARES, SHARES),
    "huge": (MSE, SHARES, SHARES + 1e200, SHARES),
    "a huge guess": (MSE, SHARES, SHARES + 1, SHARES + 1e200),
    "a huge number": (
        Metric(lambda y, p: math.inf if (y == p).all() else 1),
        SHARES,
        ZERO[:40],
        SHARES,
    ),
    "larger than any float": (Metric(lambda *_: 10**400), SHARES, SHARES, SHARES),
    "an infinite loss": (Metric.mean(lambda y, p: 1 / (y - p)), SHARES, SHARES, SHARES),
    "a nan": (Metric(lambda *_: math.nan), SHARES, SHARES, SHARES),
    "bias": (BIAS, SHARES, SHARES[::-1], SHARES + 1),
}


def in_one_segment(metric, actual, predicted):
    """The metric of a single segment."""
    return measure_segments(metric, actual, predicted, np.zeros(len(actual), int), 1)[0]


@pytest.mark.parametrize("case", ODD)
def test_odd_batches_give_strict_json_and_no_warning(case):
    metric, actual, predicted, guess = ODD[case]
    measured = measure(metric, actual, predicted, guess)
    json.dumps(asdict(measured), allow_nan=False)
    json.dumps(asdict(difference(metric, actual, predicted, guess)), allow_nan=False)
    assert in_one_segment(metric, actual, predicted) == pytest.approx(measured.value)
    for ends in (measured.interval, measured.baseline_interval, measured.relative_interval):
        assert ends is None or ends[0] <= ends[1]


@pytest.mark.parametrize("metric", [MAE, MSE, MEDAE, R2, RMSE])
def test_segments_have_the_metric_of_their_rows_alone(metric):
    random = np.random.default_rng(3)
    codes = np.array([0, 2, 2, *[1] * 300, *[3] * 3, *[0] * 50, *[4] * 5, *[5] * 4])
    codes[-2], codes[10] = 1, 5
    actual = 1e6 * codes + random.exponential(3e4, len(codes))
    predicted = actual + random.normal(0, 2e4, len(codes))
    actual[codes == 3] = predicted[codes == 4] = 1e5  # the first one has no spread, so no R2
    predicted[codes == 5] = 1e300  # whose squares are infinite
    actual[codes == 2] = predicted[codes == 2]

    def alone(rows):
        measured = measure(metric, actual[rows], predicted[rows]).value
        return None if measured is None else pytest.approx(measured, rel=1e-12)

    expected = [alone(codes == code) for code in range(6)]
    assert measure_segments(metric, actual, predicted, codes, 6) == expected
    assert (expected[5] is None) == (metric in (MSE, R2, RMSE))


@pytest.mark.parametrize(
    ("case", "undefined"),
    [
        ("a perfect model", "interval relative relative_interval log_error log_error_se"),
        ("a perfect guess", "relative relative_interval log_relative baseline_interval"),
        ("one row", "interval baseline_interval relative_interval log_error_se log_relative_se"),
        ("nine rows", "interval baseline_interval relative_interval log_error_se log_relative_se"),
        ("a class", "value interval baseline relative log_error log_relative"),
        ("R2 of one row", "value interval baseline relative log_error log_relative"),
        ("a nan", "value interval baseline relative log_error log_relative"),
        ("an infinite loss", "value interval baseline relative log_error log_relative"),
        ("a huge guess", "baseline baseline_interval relative relative_interval log_relative"),
        ("a huge number", "baseline baseline_interval relative relative_interval log_relative"),
        ("more than half perfect", "interval relative log_error"),
    ],
)
def test_what_is_undefined_is_null_and_nothing_else(case, undefined):
    measured = asdict(measure(*ODD[case]))
    assert [name for name in undefined.split() if measured[name] is not None] == []
    for name in ("value", "baseline"):
        assert (measured[name] is None) is (name in undefined.split())


def test_resamples_that_do_not_vary_do_not_matter():
    errors = np.r_[np.full(11, 0.7), 1.4]
    low, high = measure(MAE, errors, np.zeros(12)).interval
    assert 0.6 < low < errors.mean() < high < 1


def test_equal_errors_are_certain():
    measured = measure(*ODD["equal errors"])
    assert measured.interval == pytest.approx((1, 1))
    assert measured.relative_interval == pytest.approx((0.5, 0.5))


def test_why_a_metric_is_undefined_is_said_once(caplog):
    caplog.set_level("INFO")

    def precision(*_):
        raise ValueError("no positive\nprediction")

    assert measure(Metric(precision), SHARES, SHARES, SHARES).value is None
    assert [each.message for each in caplog.records] == [
        "metrics.py: precision is not defined on these rows: no positive prediction"
    ]


def test_a_lambda_is_named_by_its_line(caplog):
    metric = Metric(lambda *_: float("a share"))
    assert measure(metric, SHARES, SHARES).value is None
    line = metric.function.__code__.co_firstlineno
    assert caplog.messages[0].startswith(f"metrics.py: the lambda in line {line} is not defined on")


def test_an_undefined_metric_is_not_computed_again_and_again():
    calls = []
    assert measure(Metric(lambda *_: calls.append(1) or 1 / 0), SHARES, SHARES).value is None
    assert len(calls) == 1


def test_a_single_row_is_not_left_out():
    assert measure(Metric(lambda y, p: p[0] - y[0]), SHARES[:1], SHARES[1:2]).value > 0


def test_numpy_may_be_set_to_raise():
    with np.errstate(all="raise"):
        for case in ODD.values():
            measure(*case)


def test_parts_on_which_a_metric_is_undefined_are_skipped():
    groups = np.arange(40)
    actual = np.array(["yes"] * 2 + ["no"] * 38, dtype=object)
    some = measure(AUC, actual, SHARES[::-1] + np.sin(groups), None, np.maximum(groups - 1, 0))
    assert some.groups == 39  # leaving out the first one leaves a single class
    assert some.interval is not None
    most = Metric(lambda y, p: abs(y - p).mean() if len(y) == 40 or y[-1] != 0.9 else math.nan)
    assert measure(most, SHARES, SHARES * 2).interval is None
    assert measure(most, SHARES, SHARES * 2).value is not None


def fail(*_):
    raise TypeError("on\ntwo lines")


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        (Metric(lambda _: 1.0), "lambda in line .* raised TypeError: .*; it must take"),
        (Metric(lambda *_: None), "line .* returned NoneType, not a number; return a float"),
        (Metric(lambda *_: "0.5"), "lambda in line .* returned str, not a number"),
        (Metric(lambda y, p: abs(y - p)), "lambda in line .* returned ndarray, not a number"),
        (Metric(fail), "fail raised TypeError: on two lines; it must take"),
        (
            Metric.mean(lambda *_: 1.0),
            r"lambda in line .* returned float64 of shape \(\); .*shape \(40,\)",
        ),
        (Metric.mean(lambda y, _: y[1:]), r"lambda in line .* returned float64 of shape \(39,\); "),
        (Metric.mean(lambda *_: CLASSES), "lambda in line .* returned object of shape"),
        (Metric.mean(lambda y, _: y.missing), "lambda in line .* raised AttributeError"),
    ],
)
def test_a_wrong_metric_is_refused_in_one_line(metric, problem):
    for use in (measure, in_one_segment):
        with pytest.raises(InputError, match=rf"^metrics\.py: .*{problem}") as caught:
            use(metric, SHARES, SHARES)
        assert len(str(caught.value).splitlines()) == 1


def test_a_difference_is_that_of_the_other_model_and_knows_what_both_have_in_common(batch):
    actual, predicted, groups = batch
    other = actual + 1.1 * (predicted - actual)
    for metric in (MAE, RMSE, MEDAE):
        found = difference(metric, actual, predicted, other, groups)
        value, low_high = measure(metric, actual, predicted, None, groups), found.interval
        assert found.value == pytest.approx(0.1 * value.value)
        assert low_high[0] < found.value < low_high[1]
        assert low_high[1] - low_high[0] < 0.3 * (value.interval[1] - value.interval[0])
    assert difference(MAE, actual, predicted, predicted, groups).interval == (0, 0)
    assert difference(R2, actual, predicted, other, groups).value < 0

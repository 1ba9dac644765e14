"""Scoring models of every kind: numbers, classes, probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score

from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.evaluation import (
    Metric,
    Scoring,
    Unit,
    absolute_error,
    squared_error,
)
from << cookiecutter.package_name >>.evaluation.scores import (
    compare_models,
    evaluate_model,
    suggest_baseline,
)
from << cookiecutter.package_name >>.evaluation.scoring import check_models

INDEX = [7, 8, 9]
ACTUAL = pd.Series([1.0, 2.0, 6.0], index=INDEX)
LABELS = pd.Series(["no", "yes", "yes"], index=INDEX)
ROWS = pd.DataFrame({"region": ["a", None, 3], "customer": [1, 1, 2]}, index=INDEX)
REGRESSION = Scoring(
    rows="houses",
    target="price",
    unit=Unit("€"),
    metrics={
        "MAE": Metric.mean(absolute_error, Unit("€")),
        "MSE": Metric.mean(squared_error),
        "R2": Metric(r2_score, best=1.0),
    },
    baseline=3.0,
)
CLASSES = ("maybe", "no", "yes")
PROBABILITIES = Scoring(
    rows="visits",
    target="purchase",
    metrics={
        "log loss": Metric(lambda actual, p: log_loss(actual, p, labels=CLASSES)),
        "accuracy": Metric(
            lambda actual, p: accuracy_score(actual, np.array(CLASSES)[p.argmax(axis=1)]), best=1.0
        ),
    },
    baseline={"maybe": 0.2, "no": 0.4, "yes": 0.4},
    classes=CLASSES,
)


def score(scoring, actual, predicted, name=None, rows=ROWS):
    return evaluate_model(actual, predicted, name or next(iter(scoring.metrics)), rows, scoring)


def test_a_regression():
    predicted = pd.Series([2.0, 2.0, 4.0], index=INDEX)
    values = [score(REGRESSION, ACTUAL, predicted, name).all.value for name in REGRESSION.metrics]
    assert values == pytest.approx([1.0, 5 / 3, 1 - 5 / 14])
    mae = score(REGRESSION, ACTUAL, predicted).all
    assert (mae.baseline, mae.relative) == (2.0, 0.5)
    r2 = score(REGRESSION, ACTUAL, predicted, "R2").all
    assert r2.baseline == 0.0
    assert r2.relative == pytest.approx(5 / 14)
    for other in (np.array(predicted), list(predicted), predicted.astype("Float64")):
        assert score(REGRESSION, ACTUAL, other).all.value == 1.0


def test_undefined_is_none():
    one = slice(0, 1)
    assert score(REGRESSION, ACTUAL[one], ACTUAL[one] + 1, "R2", ROWS[one]).all.value is None
    perfect = score(REGRESSION, ACTUAL, ACTUAL).all
    assert (perfect.value, perfect.relative) == (0.0, None)
    auc = Scoring("customers", "churn", {"AUC": Metric(roc_auc_score, best=1.0)}, baseline=0.5)
    churned = pd.Series([1, 1, 1], index=INDEX)
    assert score(auc, churned, [0.1, 0.2, 0.3]).all.value is None
    assert score(auc, churned * [0, 1, 1], [0.1, 0.2, 0.3]).all.value == 1.0


def test_classes_by_their_labels():
    scoring = Scoring(
        "visits", "purchase", {"hits": Metric(accuracy_score, best=1.0)}, baseline="yes"
    )
    found = score(scoring, LABELS, pd.Series(["no", "no", "yes"], index=INDEX)).all
    assert (found.value, found.baseline, found.relative) == pytest.approx((2 / 3, 2 / 3, 1.0))
    unseen = score(scoring, LABELS, pd.Categorical(["never seen", "no", "yes"])).all
    assert unseen.value == pytest.approx(1 / 3)


def test_probabilities_of_classes_are_put_into_the_order_of_the_classes():
    shares = pd.DataFrame(
        {"yes": [0.1, 0.8, 0.6], "no": [0.7, 0.1, 0.3], "maybe": [0.2, 0.1, 0.1]}, index=INDEX
    )
    expected = -np.log([0.7, 0.8, 0.6]).mean()
    assert score(PROBABILITIES, LABELS, shares).all.value == pytest.approx(expected)
    reordered = score(PROBABILITIES, LABELS, shares[["maybe", "yes", "no"]]).all
    assert reordered.value == pytest.approx(expected)
    assert reordered.baseline == pytest.approx(-np.log(0.4))
    assert score(PROBABILITIES, LABELS, shares, "accuracy").all.value == 1.0
    in_order = shares[list(CLASSES)].to_numpy()
    assert score(PROBABILITIES, LABELS, in_order).all.value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        ([1.0, 2.0], "predict returned 2 values for 3 rows"),
        ([float("nan")] * 3, "predict returned no value that is not missing, for 3 rows; fix"),
        ([[1.0], [2.0, 3.0], [6.0]], "predict: setting an array element with a sequence.*; return"),
        ([[1.0], [2.0], [6.0]], r"predict returned an array of shape \(3, 1\)"),
        (["a", "b", "c"], "predict returned values of type .*, but get_target of type float64"),
        (ACTUAL[::-1], "predict returned the rows with another index, or in another order"),
        (ACTUAL.reset_index(drop=True), "predict returned the rows with another index"),
        (None, "predict returned NoneType; return numbers or classes"),
        (
            pd.to_timedelta([1, 2, 6], unit="s"),
            r"predict returned timedelta64\[.*\]; return numbers",
        ),
        (pd.DataFrame({"no": ACTUAL, "yes": ACTUAL}), "SCORING has no classes; set classes="),
    ],
)
def test_a_prediction_that_is_not_one_value_per_row_is_refused_in_one_line(predicted, message):
    with pytest.raises(InputError, match=message) as caught:
        score(REGRESSION, ACTUAL, predicted)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        (ACTUAL[:2], "get_target returned 2 values for 3 rows"),
        (ACTUAL * float("inf"), "get_target returned no value that is not missing, for 3 rows"),
        (ACTUAL.to_frame(), r"get_target returned an array of shape \(3, 1\); return one"),
        (None, "get_target returned NoneType; return numbers or classes"),
    ],
)
def test_a_target_that_is_not_one_value_per_row_is_refused_in_one_line(actual, message):
    with pytest.raises(InputError, match=f"^{message}") as caught:
        score(REGRESSION, actual, ACTUAL)
    assert len(str(caught.value).splitlines()) == 1


def test_columns_that_are_not_the_classes_are_refused():
    with pytest.raises(InputError, match=r"returned the columns 'no'; .* 'maybe', 'no', 'yes'"):
        score(PROBABILITIES, LABELS, pd.DataFrame({"no": ACTUAL}))
    with pytest.raises(InputError, match=r"write classes=\('a', 'b'\)"):
        Scoring("x", "y", {"MAE": Metric(max)}, classes=("b", "a"))
    with pytest.raises(InputError, match="SCORING has no metrics"):
        Scoring("x", "y", {})


def test_segments_and_groups():
    scoring = Scoring(
        "houses",
        "price",
        REGRESSION.metrics,
        segments=("region",),
        group="customer",
    )
    found = score(scoring, ACTUAL, ACTUAL + np.array([1, 2, 3]))
    assert found.segments["region"] == {"a": (1, 1.0), "missing": (1, 2.0), "3": (1, 3.0)}
    assert found.all.groups == 2
    assert score(REGRESSION, ACTUAL, ACTUAL).all.groups == 3
    with pytest.raises(
        InputError, match=r"segments: the rows have no column 'region', only customer"
    ):
        score(scoring, ACTUAL, ACTUAL, rows=ROWS[["customer"]])
    with pytest.raises(
        InputError, match=r"^metrics\.py: group: the rows have no column 'customer'"
    ):
        score(scoring, ACTUAL, ACTUAL, rows=ROWS[["region"]])


def test_a_row_without_a_group_stands_alone():
    scoring = replace(REGRESSION, group="customer")
    rows = ROWS.assign(customer=[None, 1, None])
    assert score(scoring, ACTUAL, ACTUAL, rows=rows).all.groups == 3


@pytest.mark.parametrize("what", ["segments", "group"])
def test_values_that_cannot_be_told_apart_are_refused(what):
    scoring = replace(REGRESSION, **{what: "tags" if what == "group" else ("tags",)})
    rows = ROWS.assign(tags=[["a"], ["b"], ["a"]])
    with pytest.raises(InputError, match="column 'tags' cannot be grouped by"):
        score(scoring, ACTUAL, ACTUAL, rows=rows)


def test_many_segments_are_bounded():
    actual = pd.Series(np.zeros(10_000))
    rows = pd.DataFrame({"region": np.maximum(np.arange(10_000) - 5_000, 0)})
    scoring = Scoring("houses", "price", REGRESSION.metrics, segments=("region",))
    found = score(scoring, actual, actual + 1.0, rows=rows).segments["region"]
    assert len(found) == 20
    assert found["0"] == (5001, 1.0)
    assert found["4,981 other values"] == (4981, 1.0)
    assert sum(count for count, _ in found.values()) == 10_000
    few = rows["region"].clip(upper=19).to_frame()
    found = score(scoring, actual, actual + 1.0, rows=few).segments["region"]
    assert list(found) == [str(each) for each in range(20)]


def test_two_models_on_the_same_rows():
    found = compare_models(ACTUAL, ACTUAL + 1, ACTUAL + 3, ROWS, REGRESSION)
    assert found.value == 2.0


def test_rows_without_a_value_are_left_out():
    first, last = ACTUAL.where(ACTUAL < 6), ACTUAL.where(ACTUAL > 1)
    segments = replace(REGRESSION, segments=("region",), group="customer")
    found = score(segments, first, last + 1)
    assert (found.all.value, found.all.baseline) == (1.0, 1.0)
    assert found.segments["region"] == {"missing": (1, 1.0)}
    assert compare_models(ACTUAL, first + 1, last + 3, ROWS, segments).value == 2.0
    assert compare_models(ACTUAL, first[:1].reindex(INDEX), last, ROWS, segments).value is None
    shares = pd.DataFrame(0.5, index=INDEX, columns=CLASSES)
    shares.iloc[0, 1] = None
    assert score(PROBABILITIES, LABELS, shares / 1.5).all.value == pytest.approx(np.log(3))
    assert suggest_baseline(first, REGRESSION) == "baseline=1.5,"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Unit("h", per=0),
        lambda: Unit("h", per="60"),  # type: ignore[arg-type]
        lambda: Unit("h\n"),
        lambda: Metric(r2_score, "h"),  # type: ignore[arg-type]
        lambda: Metric(r2_score, best=float("nan")),
        lambda: replace(REGRESSION, metrics={"R2": r2_score}),
        lambda: replace(REGRESSION, metrics={"R2\n": Metric(r2_score)}),
        lambda: replace(REGRESSION, rows=None),
        lambda: replace(REGRESSION, unit="€"),
        lambda: replace(REGRESSION, segments=None),
        lambda: replace(REGRESSION, group=["customer"]),
        lambda: replace(REGRESSION, gate=None),
        lambda: replace(REGRESSION, baseline=float("inf")),
        lambda: replace(REGRESSION, baseline=np.int64(3)),
        lambda: replace(REGRESSION, baseline=10**400),
        lambda: replace(PROBABILITIES, classes=("no", 1)),
        lambda: check_models("", max, {}),
        lambda: check_models("m", max, [len]),
        lambda: check_models("m", max, {"m": len}),
        lambda: check_models("m", max, {"\u202eother": len}),
        lambda: check_models("m", max, {"other": "len"}),
        lambda: check_models("m", max, {"other": max}),
        lambda: check_models("m", max, {"a": len, "b": len}),
    ],
)
def test_what_metrics_py_and_model_py_must_not_hold_is_refused_in_one_line(wrong):
    with pytest.raises(InputError, match=r"^(metrics|model)\.py: .*; (write|give) .*$"):
        wrong()


def test_a_metric_that_changes_its_arguments_changes_no_other_result(caplog):
    def sort(actual, _predicted):
        actual.sort()
        return 0.0

    scoring = replace(REGRESSION, metrics={"sorted": Metric(sort)})
    assert score(scoring, ACTUAL[::-1], ACTUAL[::-1], rows=ROWS[::-1]).all.value is None
    assert "sort is not defined on these rows: " in caplog.text


@pytest.mark.parametrize("baseline", ["yes", {"no": 0.4, "yes": 0.6}])
def test_a_baseline_that_is_not_a_number_is_refused_where_numbers_are_predicted(baseline):
    with pytest.raises(InputError, match=r"^metrics\.py: baseline is .*; write a number$"):
        score(replace(REGRESSION, baseline=baseline), ACTUAL, ACTUAL)


@pytest.mark.parametrize("baseline", [0.5, {"no": 1.0}])
def test_a_baseline_without_a_share_for_each_class_is_refused(baseline):
    shares = pd.DataFrame(0.5, INDEX, list(CLASSES))
    with pytest.raises(InputError, match=r"^metrics\.py: baseline must be a share for each class"):
        score(replace(PROBABILITIES, baseline=baseline), LABELS, shares)


@pytest.mark.parametrize(
    ("actual", "scoring", "line"),
    [
        (ACTUAL, REGRESSION, "baseline=2,"),
        (ACTUAL * 123456.7, REGRESSION, "baseline=246913,"),
        (pd.Series([0, 1, 1, 1]), REGRESSION, "baseline=0.75,"),
        (pd.Series([False, True]), REGRESSION, "baseline=0.5,"),
        (LABELS, REGRESSION, "baseline='yes',"),
        (LABELS, PROBABILITIES, "baseline={'maybe': 0, 'no': 0.3333, 'yes': 0.6667},"),
    ],
)
def test_the_baseline_that_is_missing_can_be_copied(actual, scoring, line):
    assert suggest_baseline(actual, scoring) == line

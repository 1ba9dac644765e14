"""Scoring predictions: what `evaluate_model` does for each metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from .intervals import Difference, Measurement, compute_metric, difference, measure
from .scoring import Scoring

MAX_SEGMENTS = 20  # values of a column that are measured separately; the rest is measured together
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Score:
    """A metric of a batch.

    Attributes:
        all: On all rows, with intervals and in comparison with the baseline.
        segments: By column, then by value: the number of rows, and the metric on them.
    """

    all: Measurement
    segments: Mapping[str, Mapping[str, tuple[int, float | None]]] = field(default_factory=dict)


def evaluate_model(
    y_true: pd.Series[Any],
    y_pred: pd.Series[Any] | pd.DataFrame,
    metric_name: str,
    input_df: pd.DataFrame,
    scoring: Scoring,
) -> Score:
    """Compute one metric.

    Args:
        y_true: Shape (n,): the actual values, as `get_target` returns them.
        y_pred: Shape (n,), or (n, classes) for probabilities: as `predict` returns them. With the
            index of `y_true`, in its order; an array or list is taken in order.
        metric_name: One of `scoring.metrics`.
        input_df: Shape (n, any): the rows, with the columns of groups and segments.
        scoring: What is measured.

    Raises:
        InputError: It names the function or column that is not valid.
    """
    metric = scoring.metrics[metric_name]
    actual, predicted = _align(scoring, y_true, y_pred, len(input_df))
    guess = _constant(scoring, predicted)
    score = measure(metric, actual, predicted, guess, _groups(input_df, scoring))
    segments = {}
    for column in scoring.segments:
        codes, names = _segments(input_df, column)
        segments[column] = {
            name: (int(rows.sum()), compute_metric(metric, actual[rows], predicted[rows]))
            for name, rows in ((name, codes == code) for code, name in enumerate(names))
        }
    return Score(score, segments)


def compare_models(
    y_true: pd.Series[Any],
    y_pred: pd.Series[Any] | pd.DataFrame,
    y_other: pd.Series[Any] | pd.DataFrame,
    input_df: pd.DataFrame,
    scoring: Scoring,
) -> Difference:
    """Compute by how much the first metric of another model differs from that of the model in use.

    Args:
        y_true: Shape (n,): the actual values.
        y_pred: The predictions of the model in use, as in `evaluate_model`.
        y_other: Those of the other model.
        input_df: Shape (n, any): the rows, with the column of groups.
        scoring: What is measured.
    """
    actual, predicted = _align(scoring, y_true, y_pred, len(input_df))
    other = _align(scoring, y_true, y_other, len(input_df))[1]
    metric = next(iter(scoring.metrics.values()))
    return difference(metric, actual, predicted, other, _groups(input_df, scoring))


def suggest_baseline(y_true: pd.Series[Any], scoring: Scoring) -> str:
    """The line that metrics.py lacks: a constant guess, from the actual values.

    Args:
        y_true: Shape (n,): the actual values.
        scoring: Its `classes` say whether shares are needed.
    """
    values = pd.Series(y_true)
    if scoring.classes is not None:
        shares = values.value_counts(normalize=True).reindex(scoring.classes, fill_value=0.0)
        shown = ", ".join(f"{name!r}: {share:.4g}" for name, share in shares.items())
        return f"baseline={{{shown}}},"
    if pd.api.types.is_numeric_dtype(values):
        is_share = values.isin([0, 1]).all()  # of a class, whose probability is predicted
        return f"baseline={float(values.mean() if is_share else values.median()):.6g},"
    return f"baseline={values.mode().iloc[0]!r},"


def _align(
    scoring: Scoring,
    y_true: Any,  # noqa: ANN401  what a user returns
    y_pred: Any,  # noqa: ANN401
    count: int,
) -> tuple[Array, Array]:
    """The values as arrays, once they are known to be of the same rows."""
    actual = _values("get_target", y_true, count)
    if actual.ndim > 1:
        problem = f"get_target returned an array of shape {actual.shape}"
        raise InputError(f"{problem}; return one value per row")
    if isinstance(y_pred, pd.DataFrame):
        y_pred = _order_classes(scoring, y_pred)
    predicted = _values("predict", y_pred, count)
    if predicted.shape[1:] not in ((), (len(scoring.classes or ()),)):
        problem = f"predict returned an array of shape {predicted.shape}"
        raise InputError(f"{problem}; return one value per row, or one column per class")
    if predicted.ndim == 1 and (predicted.dtype == object) != (actual.dtype == object):
        kinds = [np.asarray(each).dtype for each in (y_pred, y_true)]
        problem = f"predict returned values of type {kinds[0]}, but get_target of type {kinds[1]}"
        raise InputError(f"{problem}; return the same kind")
    is_indexed = isinstance(y_pred, (pd.Series, pd.DataFrame)) and isinstance(y_true, pd.Series)
    if is_indexed and not y_true.index.equals(y_pred.index):
        problem = "predict returned the rows with another index, or in another order"
        raise InputError(f"{problem}; return a Series with the index of the rows that it was given")
    return actual, predicted


def _values(function: str, values: Any, count: int) -> Array:  # noqa: ANN401  what a user returns
    """The values as an array of numbers, or of objects for classes; one per row, none missing."""
    array = np.asarray(values)
    if array.ndim == 0 or array.dtype.kind in "mMcV":  # times, for one, have no unit
        shown = type(values).__name__ if array.ndim == 0 else array.dtype
        raise InputError(f"{function} returned {shown}; return numbers or classes, one per row")
    numeric = array.dtype.kind in "bifu"
    array = array.astype(float if numeric else object)
    valid = np.isfinite(array) if numeric else ~pd.isna(array)
    rows = valid if array.ndim == 1 else valid.all(axis=-1)
    if len(array) != count or not rows.all():
        kind = "finite numbers" if numeric else "values"
        problem = f"returned {int(rows.sum())} {kind} for {count} rows"
        raise InputError(f"{function} {problem}; return one per row")
    return array


def _order_classes(scoring: Scoring, predicted: pd.DataFrame) -> pd.DataFrame:
    """Put the columns of probabilities into the order of the classes."""
    if scoring.classes is None:
        problem = "predict returned a column per class, but SCORING has no classes"
        raise InputError(f"metrics.py: {problem}; set classes={tuple(sorted(predicted.columns))!r}")
    if set(predicted.columns) != set(scoring.classes):
        shown, wanted = (", ".join(map(repr, each)) for each in (predicted, scoring.classes))
        raise InputError(f"predict returned the columns {shown}; return one for each of {wanted}")
    return predicted[list(scoring.classes)]


def _constant(scoring: Scoring, predicted: Array) -> Array | None:
    """The baseline as a prediction of each row."""
    if scoring.baseline is None:
        return None
    value: Any = scoring.baseline
    if predicted.ndim > 1:
        if not isinstance(value, Mapping) or set(value) != set(scoring.classes or ()):
            problem = "baseline must be a share for each class"
            raise InputError(f"metrics.py: {problem}; write a dict with classes as its keys")
        value = [value[each] for each in scoring.classes or ()]
    elif predicted.dtype != object and not isinstance(value, Real):
        problem = f"baseline is {value!r}, but predict returned numbers"
        raise InputError(f"metrics.py: {problem}; write a number")
    guess = np.empty(predicted.shape, dtype=predicted.dtype)
    guess[:] = value
    return guess


def _groups(input_df: pd.DataFrame, scoring: Scoring) -> Array | None:
    """A code for each row, the same for rows of one group; -1 for a row without a group."""
    if not scoring.group:
        return None
    codes, _ = pd.factorize(_column(input_df, scoring.group, "group"))
    return codes


def _column(input_df: pd.DataFrame, column: str, what: str) -> pd.Series[Any]:
    if column not in input_df:
        names = ", ".join(map(str, input_df.columns))
        problem = f"{what}: the rows have no column {column!r}, only {names}"
        raise InputError(f"metrics.py: {problem}; name one of them, or let data.py return it")
    return input_df[column]


def _segments(input_df: pd.DataFrame, column: str) -> tuple[Array, list[str]]:
    """A code for each row, and the names of the codes; rare values share one."""
    rows = _column(input_df, column, "segments")
    codes, values = pd.factorize(rows, use_na_sentinel=False)
    names = ["missing" if pd.isna(value) else str(value)[:100] for value in values]
    if len(names) <= MAX_SEGMENTS:
        return codes, names
    common = np.argsort(-np.bincount(codes), kind="stable")[: MAX_SEGMENTS - 1]
    new = np.full(len(names), MAX_SEGMENTS - 1)
    new[common] = np.arange(MAX_SEGMENTS - 1)
    rest = f"{len(names) - MAX_SEGMENTS + 1:,} other values"
    return new[codes], [*(names[code] for code in common), rest]

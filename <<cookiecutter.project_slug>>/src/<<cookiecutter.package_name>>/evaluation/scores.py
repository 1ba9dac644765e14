"""Scoring predictions: what `evaluate_model` does for each metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from .intervals import Difference, Measurement, difference, measure, measure_segments
from .pairs import Array, fold, number, pair
from .resampling import sums_by
from .scoring import Scoring
from .trial import MAX_SEGMENTS


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
            index of `y_true`, in its order; an array or list is taken in order. Rows without an
            actual or a predicted value are left out.
        metric_name: One of `scoring.metrics`.
        input_df: Shape (n, any): the rows, with the columns of groups and segments.
        scoring: What is measured.

    Raises:
        InputError: It names the function or column that is not valid.
    """
    metric = scoring.metrics[metric_name]
    pairs = pair(y_true, y_pred, input_df, scoring)
    actual, predicted = pairs.actual, pairs.predicted
    guess = _constant(scoring, predicted)
    score = measure(metric, actual, predicted, guess, _groups(pairs.rows, scoring))
    segments = {}
    for column in scoring.segments:
        codes, names = _segments(pairs.rows, column)
        sizes = sums_by(codes, len(names)).astype(int).tolist()
        values = measure_segments(metric, actual, predicted, codes, len(names))
        segments[column] = dict(zip(names, zip(sizes, values, strict=True), strict=True))
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
    first, second = (pair(y_true, each, input_df, scoring) for each in (y_pred, y_other))
    both = first.is_known & second.is_known
    if not both.any():
        return Difference()
    kept = both[first.is_known]
    actual, predicted = first.actual[kept], first.predicted[kept]
    other = second.predicted[both[second.is_known]]
    metric = next(iter(scoring.metrics.values()))
    return difference(metric, actual, predicted, other, _groups(input_df[both], scoring))


def suggest_baseline(y_true: pd.Series[Any], scoring: Scoring) -> str:
    """The line that metrics.py lacks: a constant guess, from the actual values.

    Args:
        y_true: Shape (n,): the actual values.
        scoring: Its `classes` say whether shares are needed.
    """
    values = pd.Series(y_true).dropna()
    if scoring.classes is not None:
        shares = values.value_counts(normalize=True).reindex(scoring.classes, fill_value=0.0)
        shown = ", ".join(f"{name!r}: {share:.4g}" for name, share in shares.items())
        return f"baseline={{{shown}}},"
    if pd.api.types.is_numeric_dtype(values):
        is_share = values.isin([0, 1]).all()  # of a class, whose probability is predicted
        return f"baseline={float(values.mean() if is_share else values.median()):.6g},"
    return f"baseline={values.mode().iloc[0]!r},"


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
    guess = np.empty(predicted.shape[1:], dtype=predicted.dtype)
    guess[...] = value
    return np.broadcast_to(guess, predicted.shape)  # takes no memory for each row


def _groups(input_df: pd.DataFrame, scoring: Scoring) -> Array | None:
    """A code for each row, the same for rows of one group; -1 for a row without a group."""
    if not scoring.group:
        return None
    return number(_column(input_df, scoring.group, "group"))[0]


def _column(input_df: pd.DataFrame, column: str, what: str) -> pd.Series[Any]:
    if column not in input_df:
        names = ", ".join(map(str, input_df.columns))
        problem = f"{what}: the rows have no column {column!r}, only {names}"
        raise InputError(f"metrics.py: {problem}; name one of them, or let data.py return it")
    return input_df[column]


def _segments(input_df: pd.DataFrame, column: str) -> tuple[Array, list[str]]:
    """A code for each row, and the names of the codes; rare values share one."""
    codes, values = number(_column(input_df, column, "segments"), with_missing=True)
    names = ["missing" if pd.isna(value) else str(value)[:100] for value in values]
    if len(names) <= MAX_SEGMENTS:
        return codes, names
    common = np.argsort(-np.bincount(codes), kind="stable")[: MAX_SEGMENTS - 1]
    rest = f"{len(names) - MAX_SEGMENTS + 1:,} other values"
    return fold(codes, common), [*(names[code] for code in common), rest]

"""Actual and predicted values, put side by side: those of rows that have both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from .scoring import Scoring

Array = np.ndarray[Any, np.dtype[Any]]
FILES = {"get_target": "data.py", "predict": "model.py"}


@dataclass(frozen=True)
class Pairs:
    """The rows of a batch that have an actual and a predicted value.

    Attributes:
        actual: Shape (n,).
        predicted: Shape (n,), or (n, classes) for probabilities.
        rows: Shape (n, any).
        is_known: Shape (batch,): which rows of the batch they are.
        without_target: How many rows of the batch have no actual value.
        without_prediction: How many rows that have one have no prediction.
    """

    actual: Array
    predicted: Array
    rows: pd.DataFrame
    is_known: Array
    without_target: int
    without_prediction: int


def pair(
    y_true: Any,  # noqa: ANN401  what a user returns
    y_pred: Any,  # noqa: ANN401
    input_df: pd.DataFrame,
    scoring: Scoring,
) -> Pairs:
    """Put values side by side, once they are known to be of the same rows.

    Args:
        y_true: Shape (batch,): the actual values, as `get_target` returns them.
        y_pred: Shape (batch,), or (batch, classes) for probabilities: as `predict` returns them.
        input_df: Shape (batch, any): the rows.
        scoring: Its `classes` are the order of the columns.

    Raises:
        InputError: It names the function that returned something else; or no row has both values.
    """
    actual, has_target = as_array("get_target", y_true, len(input_df))
    if actual.ndim > 1:
        problem = f"get_target returned an array of shape {actual.shape}"
        raise InputError(f"{problem}; return one value per row")
    if isinstance(y_pred, pd.DataFrame):
        y_pred = order_classes(scoring, y_pred)
    predicted, has_prediction = as_array("predict", y_pred, len(input_df))
    if predicted.shape[1:] not in ((), (len(scoring.classes or ()),)):
        problem = f"predict returned an array of shape {predicted.shape}"
        raise InputError(f"{problem}; return one value per row, or one column per class")
    if predicted.ndim == 1 and (predicted.dtype == object) != (actual.dtype == object):
        kinds = [np.asarray(each).dtype for each in (y_pred, y_true)]
        problem = f"predict returned values of type {kinds[0]}, but get_target of type {kinds[1]}"
        raise InputError(f"{problem}; return the same kind")
    check_index(y_true, y_pred)
    known = has_target & has_prediction
    if not known.any():
        function = "predict" if has_target.any() else "get_target"
        problem = f"{function} returned no value that is not missing, for {len(known):,} rows"
        raise InputError(f"{problem}; fix {FILES[function]}, or choose another window")
    counts = int((~has_target).sum()), int((has_target & ~has_prediction).sum())
    if known.all():
        known = np.broadcast_to(np.True_, known.shape)  # takes no memory for each row
        rows, actual, predicted = input_df, actual.view(), predicted.view()
    else:
        rows, actual, predicted = input_df[known], actual[known], predicted[known]
    for each in (actual, predicted):  # a metric that changes them would change others' results
        each.flags.writeable = False
    return Pairs(actual, predicted, rows, known, *counts)


def check_index(y_true: Any, y_pred: Any) -> None:  # noqa: ANN401  what a user returns
    """Check that values are of the same rows.

    Raises:
        InputError: They have another index, or another order.
    """
    is_indexed = isinstance(y_pred, (pd.Series, pd.DataFrame)) and isinstance(y_true, pd.Series)
    if is_indexed and not y_true.index.equals(y_pred.index):
        problem = "predict returned the rows with another index, or in another order"
        raise InputError(f"{problem}; return a Series with the index of the rows that it was given")


def number(values: Any, *, with_missing: bool = False) -> tuple[Array, Any]:  # noqa: ANN401
    """Number values in the order in which they appear, in as few bytes as that takes.

    Returns:
        A code for each value, and the value for each code. A missing value is -1, unless it gets a
        code of its own `with_missing`.

    Raises:
        InputError: They cannot be told apart: lists, for example.
    """
    try:
        codes, known = pd.factorize(values, use_na_sentinel=not with_missing)
    except TypeError as error:
        problem = f"the column {getattr(values, 'name', '')!r} cannot be grouped by ({error})"
        raise InputError(f"data.py: {problem}; let it hold numbers or text") from None
    return shrink(codes, len(known)), known


def shrink(codes: Array, count: int) -> Array:
    """Codes from -1 to below `count`, in as few bytes as that takes."""
    return codes.astype(np.min_scalar_type(-count - 1), copy=False)


def fold(codes: Array, common: Array) -> Array:
    """Renumber the codes of common values in their order; all others get the next number."""
    new = np.full(codes.max() + 1, len(common))
    new[common] = np.arange(len(common))
    return np.asarray(new[codes])


def as_array(function: str, values: Any, count: int) -> tuple[Array, Array]:  # noqa: ANN401
    """The values as an array of numbers, or of objects for classes; and which are not missing."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # of lists that differ in length
        raise InputError(f"{function}: {error}; return numbers or classes, one per row") from None
    if array.ndim == 0 or array.dtype.kind in "mMcV":  # times, for one, have no unit
        shown = type(values).__name__ if array.ndim == 0 else array.dtype
        raise InputError(f"{function} returned {shown}; return numbers or classes, one per row")
    if len(array) != count:
        problem = f"{function} returned {len(array)} values for {count} rows"
        raise InputError(f"{problem}; return one per row")
    numeric = array.dtype.kind in "bifu"
    array = array.astype(float if numeric else object, copy=False)
    valid = np.asarray(np.isfinite(array) if numeric else ~pd.isna(array))
    return array, np.asarray(valid if array.ndim == 1 else valid.all(axis=-1))


def order_classes(scoring: Scoring, predicted: pd.DataFrame) -> pd.DataFrame:
    """Put the columns of probabilities into the order of the classes."""
    if scoring.classes is None:
        problem = "predict returned a column per class, but SCORING has no classes"
        raise InputError(f"metrics.py: {problem}; set classes={tuple(sorted(predicted.columns))!r}")
    if set(predicted.columns) != set(scoring.classes):
        shown, wanted = (", ".join(map(repr, each)) for each in (predicted, scoring.classes))
        raise InputError(f"predict returned the columns {shown}; return one for each of {wanted}")
    return predicted[list(scoring.classes)]

"""What a trial measures."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from sklearn.metrics import (
    mean_absolute_error,
    mean_squared_error,
    median_absolute_error,
    r2_score,
)

from ..errors import InputError

# By their names in a trial.
METRICS = {
    "MAE": mean_absolute_error,
    "MedAE": median_absolute_error,
    "MSE": mean_squared_error,
    "R2": r2_score,
}


def evaluate_model(
    y_true: pd.Series[float], y_pred: pd.Series[float], metric_name: str
) -> float | None:
    """Compute one metric.

    Args:
        y_true: Shape (n,): actual times to close, in seconds.
        y_pred: Shape (n,): predicted ones. A Series must have the index of `y_true`, in its order;
            an array or list is taken in order.
        metric_name: One of METRICS: `MAE`, `MedAE` (both in seconds), `MSE` (seconds squared) or
            `R2`.

    Returns:
        The metric; None where it is not defined, such as R2 of one row.

    Raises:
        InputError: There is not one finite number per row, or the rows are not the same.
    """
    # Arrays: for a Series, scikit-learn imports modules that take longer than the metric.
    actual, predicted = _numbers("get_target", y_true), _numbers("predict", y_pred)
    for function, values in (("get_target", actual), ("predict", predicted)):
        finite = int(np.isfinite(values).sum())
        if values.shape != actual.shape or finite != len(actual):
            problem = f"{finite} finite numbers for {len(actual)} rows"
            raise InputError(f"{function} returned {problem}; return one per row")
    is_indexed = isinstance(y_true, pd.Series) and isinstance(y_pred, pd.Series)
    if is_indexed and not y_true.index.equals(y_pred.index):
        problem = "predict returned the rows with another index, or in another order"
        raise InputError(f"{problem}; return a Series with the index of the rows that it was given")
    if metric_name == "R2" and len(actual) < 2:
        return None
    value = float(METRICS[metric_name](actual, predicted))
    return value if math.isfinite(value) else None


def _numbers(function: str, values: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    try:
        return np.asarray(values, dtype=float)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{function} returned values that are not numbers ({reason})") from None

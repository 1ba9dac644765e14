"""What a trial measures."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import mean_absolute_error, mean_squared_error, median_absolute_error, r2_score

from ..errors import InputError
from .selection import Selection

# By their names in a trial.
METRICS = {"MAE": mean_absolute_error, "MedAE": median_absolute_error, "MSE": mean_squared_error, "R2": r2_score}


def get_trial_id() -> str:
    """Make a unique identifier for a trial."""
    return str(uuid.uuid4())


def evaluate_model(y_true: pd.Series[float], y_pred: pd.Series[float], metric_name: str) -> float | None:
    """Compute one metric, with scikit-learn.

    Args:
        y_true: Shape (n,): actual times to close, in seconds.
        y_pred: Shape (n,): predicted ones.
        metric_name: One of METRICS, in lower case: `mae`, `medae` (both in seconds), `mse` (seconds squared) or `r2`.

    Returns:
        The metric; None where it is not defined, as R2 of one row.

    Raises:
        InputError: When there is not one number each.
    """
    # As arrays: what scikit-learn would first import to look at a Series takes longer than the metric.
    actual, predicted = np.asarray(y_true, dtype=float), np.asarray(y_pred, dtype=float)
    for function, values in (("get_target", actual), ("predict", predicted)):
        numbers = int(np.isfinite(values).sum())
        if values.shape != actual.shape or numbers != len(actual):
            raise InputError(f"{function}: it gave {numbers} numbers for {len(actual)} tickets; give one for each")
    metric = {name.lower(): metric for name, metric in METRICS.items()}[metric_name]
    return None if metric is r2_score and len(actual) < 2 else _finite(metric(actual, predicted))


def get_trial_summary(
    trial_id: str,
    actuals: pd.Series[float],
    input_df: pd.DataFrame,
    metrics: Mapping[str, float | None],
    *,
    selection: Selection,
    flow: str,
    model: str,
) -> dict[str, Any]:
    """Collect a trial in one object that is strict JSON.

    Args:
        trial_id: Of `get_trial_id`.
        actuals: Shape (n,): actual times to close, in seconds.
        input_df: Shape (n, any): the tickets; `attrs["source"]` says what was read, where data.py gives it.
        metrics: Metrics by name.
        selection: What was asked for.
        flow: The flow's name.
        model: The model's name.

    Returns:
        `id` and `data` as in the original; beside them `created_at`, `flow`, `model`, `source`, `selection`
        and `window`.
    """
    return {
        "id": trial_id,
        "data": {
            "num_obs": len(input_df),
            "metrics": dict(metrics),
            "target": {name: _finite(getattr(actuals, name)()) for name in ("mean", "median", "min", "max")},
        },
        "created_at": datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "flow": flow,
        "model": model,
        "source": input_df.attrs.get("source", {"data": selection.data}),
        "selection": {name: getattr(selection, name) for name in ("batch_size", "seed", "closed_last")},
        "window": selection.window,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

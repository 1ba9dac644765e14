"""The probability that a customer leaves."""

from __future__ import annotations

import numpy as np
import pandas as pd

MODEL_NAME = "logistic"


def predict(df: pd.DataFrame) -> pd.Series[float]:
    """Predict the probability that customers leave, by their months and complaints."""
    odds = np.e ** (0.9 * df["complaints"] - 0.04 * df["months"] - 1.0)
    return odds / (1 + odds)


def predict_by_plan(df: pd.DataFrame) -> pd.Series[float]:
    """Predict the share of customers who left each plan last year."""
    return df["plan"].map({"free": 0.4, "basic": 0.2, "pro": 0.1}).fillna(0.2)


CHALLENGERS = {"by-plan": predict_by_plan}  # evaluated on the same rows, and compared

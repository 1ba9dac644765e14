"""The time to delivery, by the carrier."""

from __future__ import annotations

import pandas as pd

MODEL_NAME = "by-carrier"
DAYS = {"bike": 1.0, "van": 2.0}


def predict(df: pd.DataFrame) -> pd.Series[float]:
    """Predict how long each order takes, in seconds."""
    return df["carrier"].map(DAYS).fillna(4.0) * 86_400

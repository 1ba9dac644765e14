"""Forecasts that were made, and what was sold in the week that followed, from a Parquet file."""

from __future__ import annotations

import pandas as pd

from .evaluation.selection import Selection


def get_ticket_data_batch(selection: Selection) -> pd.DataFrame:
    """Get a batch of forecasts whose week is over."""
    forecasts = pd.read_parquet(selection.data or "forecasts.parquet")
    return selection.draw(forecasts.dropna(subset=["sold"]), closed_at="made_at")


def get_target(df: pd.DataFrame) -> pd.Series[float]:
    """Get how many pieces were sold."""
    return df["sold"].astype(float)

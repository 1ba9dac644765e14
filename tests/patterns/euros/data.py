"""Houses that were sold, from a CSV file."""

from __future__ import annotations

import pandas as pd

from .evaluation.selection import Selection


def get_ticket_data_batch(selection: Selection) -> pd.DataFrame:
    """Get a batch of houses that were sold."""
    sales = pd.read_csv(selection.data or "sales.csv")
    return selection.draw(sales, closed_at="sold_on")


def get_target(df: pd.DataFrame) -> pd.Series[float]:
    """Get what was paid, in euros."""
    return df["price"].astype(float)

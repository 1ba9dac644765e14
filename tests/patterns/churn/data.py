"""Customers, and whether they left in the month that followed, from a CSV file."""

from __future__ import annotations

import pandas as pd

from .evaluation.selection import Selection


def get_ticket_data_batch(selection: Selection) -> pd.DataFrame:
    """Get a batch of customers whose month has ended."""
    customers = pd.read_csv(selection.data or "customers.csv")
    return selection.draw(customers, closed_at="month_ended_at")


def get_target(df: pd.DataFrame) -> pd.Series[float]:
    """Get 1 for customers who left, 0 for those who stayed."""
    return df["left"].astype(float)

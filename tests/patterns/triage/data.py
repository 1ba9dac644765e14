"""Requests, and the team that solved them, from a CSV file."""

from __future__ import annotations

import pandas as pd

from .evaluation.selection import Selection


def get_ticket_data_batch(selection: Selection) -> pd.DataFrame:
    """Get a batch of requests that were solved."""
    requests = pd.read_csv(selection.data or "requests.csv")
    return selection.draw(requests, closed_at="solved_at")


def get_target(df: pd.DataFrame) -> pd.Series[str]:
    """Get the team that solved each request."""
    return df["team"]

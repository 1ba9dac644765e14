"""Orders that were delivered, from a database: DATA_URL is its address."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from .errors import UnavailableError
from .evaluation.selection import Selection

QUERY = text("""
    SELECT customer, carrier, items, ordered_at, delivered_at FROM orders
    WHERE delivered_at >= :closed_from AND delivered_at < :closed_to
""")
TIMES = ["ordered_at", "delivered_at"]


def get_ticket_data_batch(selection: Selection) -> pd.DataFrame:
    """Get a batch of orders that were delivered; the database keeps to the window."""
    window = {
        "closed_from": selection.closed_from or datetime.min,
        "closed_to": selection.closed_to or datetime.max,
    }
    try:
        with create_engine(str(selection.data), poolclass=NullPool).connect() as connection:
            connection.execute(text("SET TIME ZONE 'UTC'"))  # as the window's times are
            orders = pd.read_sql(QUERY, connection, params=window, parse_dates=TIMES)
    except OperationalError as error:
        raise UnavailableError(f"data: the database does not answer: {error.orig}") from None
    return selection.draw(orders, closed_at="delivered_at")


def get_target(df: pd.DataFrame) -> pd.Series[float]:
    """Compute how long each order took, in seconds."""
    return (df["delivered_at"] - df["ordered_at"]).dt.total_seconds()

"""The tickets: yours to replace. What stays is the two functions' names and the shapes of what they return.

The default reads the "Incident management process enriched event log" of the UCI Machine Learning Repository
(Amaral, Fantinato and Peres; CC BY 4.0). A query in its place needs none of `sample` and `tables`.
"""

from __future__ import annotations

import pandas as pd

from .incident_log.sample import make_log
from .evaluation.selection import Selection
from .incident_log.parse import read_csv

# UCI's present address, and its older one, which the original used.
URL = "https://archive.ics.uci.edu/static/public/498/incident+management+process+enriched+event+log.zip"
OLDER_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/00498/incident_event_log.zip"
MEMBER = "incident_event_log.csv"
TIMES = ["sys_updated_at", "closed_at"]
# SHA-256 of the log as UCI serves it.
KNOWN_LOGS = {"fd184bbfd62329cfe093e99da2ea7071905f2ead91900b448eb2635870821bef": "UCI incident event log"}


def get_ticket_data_batch(selection: Selection) -> pd.DataFrame:
    """Get a batch of newly closed tickets.

    Args:
        selection: Which tickets. `selection.data` is a path or URL of the event log (a zip that holds
            incident_event_log.csv, or that file), `sample` for synthetic tickets, or None for UCI's log.

    Returns:
        One row a ticket, shape (n, 3), n as `selection` asks: `sys_updated_at` and `closed_at` as
        datetime64 without time zone, `priority` as text; `attrs["source"]` says what was read. Rows that
        lack a time are left out.

    Raises:
        InputError: When there is no such log, or it cannot be read.
    """
    tickets = read_csv(
        make_log() if selection.data == "sample" else selection.data or URL,
        member=MEMBER,
        columns=["priority", "number"],
        times=TIMES,
        time_format="%d/%m/%Y %H:%M",
        older_url=None if selection.data else OLDER_URL,
    )
    source = tickets.attrs["source"]
    source["name"] = "synthetic sample" if selection.data == "sample" else KNOWN_LOGS.get(source["sha256"])
    return selection.draw(tickets.dropna(subset=TIMES), closed_at="closed_at")


def get_target(df: pd.DataFrame) -> pd.Series[float]:
    """Compute how long it took from a ticket's last update until it was closed.

    Args:
        df: Shape (n, any), with `sys_updated_at` and `closed_at` as datetimes.

    Returns:
        Shape (n,), index of `df`: seconds.
    """
    return (df["closed_at"] - df["sys_updated_at"]).dt.total_seconds()

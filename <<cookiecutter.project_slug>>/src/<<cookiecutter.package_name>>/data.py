"""Your data: replace this file. Keep the names of its functions, and what they return.

`blocks` may be left out: only the execution `dask-task` needs it.

The default reads the "Incident management process enriched event log" of the UCI Machine Learning
Repository (Amaral, Fantinato and Peres; CC BY 4.0). Your own source may be as short as:

    rows = pd.read_sql("SELECT * FROM tickets", connection)
    return selection.draw(rows, closed_at="closed_at")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from .evaluation.selection import Selection
from .incident_log.parse import iter_blocks, read_log


def get_ticket_data_batch(selection: Selection) -> pd.DataFrame:
    """Get a batch of newly closed tickets.

    Args:
        selection: Which rows. `selection.data` says what to read: here a path or URL of the event
            log, `sample` for synthetic tickets, or None for UCI's log.

    Returns:
        One row per event of a ticket, as many as `selection` asks for, with the columns `number`
        (the ticket's) and `priority`, and the times `sys_updated_at` and `closed_at`.
        `attrs["source"]` says what was read; it is kept in the trial.

    Raises:
        InputError: The log cannot be read.
    """
    events = read_log(selection.data)
    batch = selection.draw(events, closed_at="closed_at")
    if len(batch) < len(events):  # then it need not name every ticket of the log
        batch["number"] = batch["number"].cat.remove_unused_categories()
    return batch


def blocks(selection: Selection) -> Iterator[Callable[[], pd.DataFrame]]:
    """Divide the log into blocks, for a Dask cluster to read.

    Args:
        selection: `selection.data` says what to read.

    Returns:
        Functions that can be pickled, in a list or an iterator. Each reads its part of the log; one
        after the other they return all rows, in the columns and the order of
        `get_ticket_data_batch`, before `selection.draw`. A frame's categories are those of its own
        rows. What the last frame's `attrs["source"]` says is kept in the trial.

    Raises:
        InputError: The log cannot be read.
    """
    return iter_blocks(selection.data)


def get_target(df: pd.DataFrame) -> pd.Series[float]:
    """Compute how long each ticket took from this event until it was closed.

    Args:
        df: Shape (n, any), with the times `sys_updated_at` and `closed_at`.

    Returns:
        Shape (n,), index of `df`: seconds.
    """
    return (df["closed_at"] - df["sys_updated_at"]).dt.total_seconds()

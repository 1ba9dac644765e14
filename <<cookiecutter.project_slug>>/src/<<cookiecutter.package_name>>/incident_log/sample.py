"""Synthetic tickets in the schema of the event log, for tests and for a first try without network."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pandas as pd

COLUMNS = """number incident_state active reassignment_count reopen_count sys_mod_count made_sla caller_id opened_by
opened_at sys_created_by sys_created_at sys_updated_by sys_updated_at contact_type location category subcategory
u_symptom cmdb_ci impact urgency priority assignment_group assigned_to knowledge u_priority_confirmation notify
problem_id rfc vendor caused_by closed_code resolved_by resolved_at closed_at""".split()  # noqa: SIM905  a list of 36 strings would fill the page
PRIORITIES = ["1 - Critical", "2 - High", "3 - Moderate", "4 - Low", "?"]
MEAN_HOURS = [8.0, 30.0, 110.0, 200.0, 150.0]


def make_log(tickets: int = 5000, seed: int = 0) -> bytes:
    """Make an event log like UCI's: the same columns, time format and mark for what is missing.

    Args:
        tickets: How many rows.
        seed: The same seed makes the same log.

    Returns:
        The zip, with incident_event_log.csv in it.
    """
    rng = np.random.default_rng(seed)
    minutes = np.sort(rng.integers(0, 90 * 24 * 60, tickets))
    opened = pd.Series(pd.Timestamp("2016-03-01") + pd.to_timedelta(minutes, unit="min"))
    updated = opened + pd.to_timedelta(rng.integers(1, 600, tickets), unit="min")
    priority = rng.choice(len(PRIORITIES), tickets, p=[0.02, 0.03, 0.9, 0.04, 0.01])
    hours = rng.gamma(2.0, np.take(MEAN_HOURS, priority) / 2.0)
    closed = updated + pd.to_timedelta(np.ceil(hours * 60.0), unit="min")
    known = {
        "number": [f"INC{row:07d}" for row in range(tickets)],
        "opened_at": _text(opened),
        "sys_updated_at": _text(updated),
        "closed_at": _text(closed),
        "priority": np.take(PRIORITIES, priority),
    }
    csv = pd.DataFrame({name: known.get(name, "?") for name in COLUMNS}).to_csv(index=False)
    log = io.BytesIO()
    with zipfile.ZipFile(log, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("incident_event_log.csv"), csv)
    return log.getvalue()


def _text(times: pd.Series[pd.Timestamp]) -> list[str]:
    return [f"{t.day}/{t.month}/{t.year} {t:%H:%M}" for t in times]

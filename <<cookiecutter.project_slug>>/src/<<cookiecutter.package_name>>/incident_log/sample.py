"""A synthetic event log, for tests and for a first try without a network."""

import numpy as np

COLUMNS = """number,incident_state,active,reassignment_count,reopen_count,sys_mod_count,made_sla,\
caller_id,opened_by,opened_at,sys_created_by,sys_created_at,sys_updated_by,sys_updated_at,\
contact_type,location,category,subcategory,u_symptom,cmdb_ci,impact,urgency,priority,\
assignment_group,assigned_to,knowledge,u_priority_confirmation,notify,problem_id,rfc,vendor,\
caused_by,closed_code,resolved_by,resolved_at,closed_at"""
LABELS = np.array(["1 - Critical", "2 - High", "3 - Moderate", "4 - Low", "?"], dtype=object)
SHARES = [0.011, 0.016, 0.93, 0.031, 0.012]
# Hours until an incident is resolved: medians, and standard deviations of the logarithm.
MEDIANS, SPREADS = np.array([[80.0, 38.0, 22.0, 12.0, 22.0], [1.7, 2.0, 2.1, 2.4, 2.1]])
WEEKS, WEEKDAYS = 26, [0.24, 0.2, 0.19, 0.165, 0.155, 0.027, 0.023]


def make_log(incidents: int = 3000, seed: int = 0) -> bytes:
    """Make an event log like UCI's: in its columns and format, and near to its figures.

    Those are the shares of priorities and weekdays, the number of events of an incident, and the
    long tails of the time until it is resolved; it is closed five days later. Unlike in UCI's,
    some priorities are missing, and incidents are opened over half a year.

    Args:
        incidents: How many; each has five or six events, on average.
        seed: The same seed makes the same log.

    Returns:
        The CSV file.
    """
    rng = np.random.default_rng(seed)
    kind = rng.choice(len(SHARES), incidents, p=SHARES)
    days = rng.choice(7 * WEEKS, incidents, p=np.tile(WEEKDAYS, WEEKS) / WEEKS)
    opened = np.sort(24.0 * days + rng.triangular(6.0, 10.0, 20.0, incidents))
    hours = rng.lognormal(np.log(MEDIANS[kind]), SPREADS[kind]).clip(0.1, 8000.0)
    closed = opened + hours + 120.0 + rng.lognormal(-0.5, 2.0, incidents)
    events = 3 + rng.negative_binomial(1, 1.0 / (2.0 + 0.55 * np.log1p(hours)))
    row = np.repeat(np.arange(incidents), events)
    updated = opened[row] + hours[row] * (np.sort(row + rng.beta(0.4, 0.9, len(row))) - row)
    last = events.cumsum() - 1
    updated[last - 1], updated[last] = opened + hours, closed
    number = np.array([f"INC{each:07d}" for each in range(incidents)], dtype=object)
    text = number[row], _text(opened)[row], _text(updated), LABELS[kind][row], _text(closed)[row]
    known = ["number", "opened_at", "sys_updated_at", "priority", "closed_at"]
    line = ",".join("%s" if name in known else "?" for name in COLUMNS.split(","))
    return "\n".join([COLUMNS, *(line % each for each in zip(*text, strict=True)), ""]).encode()


def _text(hours: np.ndarray) -> np.ndarray:
    times = np.datetime64("2016-02-29T00:00") + (hours * 60).round().astype("timedelta64[m]")
    texts = np.datetime_as_string(times).tolist()
    return np.array([f"{int(t[8:10])}/{int(t[5:7])}/{t[:4]} {t[11:]}" for t in texts], dtype=object)

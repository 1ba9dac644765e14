"""Which rows a trial evaluates: from where, from which window, and how many."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pandas as pd

from ..errors import InputError

BATCH_SIZE = 1000  # the original's default
MAX_NUMBER = 10**9  # of rows, and as a seed
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """The rows to evaluate. Made by `make_selection`, which checks what was asked for.

    Attributes:
        data: What to read, as data.py understands it; None is its default.
        batch_size: How many rows to draw at random; None is all.
        seed: Makes the draw repeatable; None draws anew each time.
        closed_from: Only rows closed at this time or later (UTC, without a time zone).
        closed_to: Only rows closed before this time (UTC, without a time zone).
        closed_last: The span that the window was made from, for example `24h`.
        lag: How long before now, or the run's scheduled time, that span ends, for example `7d`.
    """

    data: str | None = field(repr=False)  # it may hold a password
    batch_size: int | None = BATCH_SIZE
    seed: int | None = None
    closed_from: datetime | None = None
    closed_to: datetime | None = None
    closed_last: str | None = None
    lag: str | None = None

    @property
    def window(self) -> dict[str, str | None] | None:
        """The window [from, to) as a trial keeps it; None without a window."""
        ends = {"from": self.closed_from, "to": self.closed_to}
        texts = {name: f"{time.isoformat()}Z" if time else None for name, time in ends.items()}
        return texts if any(texts.values()) else None

    @property
    def period(self) -> str:
        """The window in words."""
        return f"from {self.closed_from or 'the beginning'} to {self.closed_to or 'the end'}"

    def draw(self, frame: pd.DataFrame, closed_at: str) -> pd.DataFrame:
        """Keep the window's rows, then draw the batch from them, without replacement.

        Args:
            frame: Shape (n, any), one row for each thing that is predicted.
            closed_at: The column of closing times: datetimes, or text in ISO 8601. Times with a
                zone are converted to UTC; times without one are UTC. Rows that lack one are not
                closed and are left out.

        Returns:
            Shape (at most `batch_size`, any); empty if the window holds no row.

        Raises:
            InputError: There is no such column, or a window is asked for and it holds no times.
        """
        if closed_at not in frame:
            names = ", ".join(map(str, frame.columns)) or "none"
            problem = f"the rows have no column {closed_at!r}, only {names}"
            raise InputError(f"data.py: {problem}; give selection.draw the column of closing times")
        closed = frame[closed_at]
        wanted = closed.notna()
        if self.window:
            closed = as_utc(closed)
            if self.closed_from is not None:
                wanted &= closed >= self.closed_from
            if self.closed_to is not None:
                wanted &= closed < self.closed_to
        if not wanted.all():
            frame = frame[wanted]
        size = len(frame) if self.batch_size is None else self.batch_size
        if size > len(frame) > 0:
            log.info("batch_size is %d, but there are only %d rows: taking all", size, len(frame))
        return frame if size >= len(frame) else frame.sample(size, random_state=self.seed)


def make_selection(
    data: str | None,
    *,
    batch_size: object = BATCH_SIZE,
    seed: object = None,
    closed_from: object = None,
    closed_to: object = None,
    closed_last: str | None = None,
    lag: str | None = None,
    now: datetime | None = None,
) -> Selection:
    """Check what a person, a schedule or another program asked for.

    Args:
        data: What to read.
        batch_size: How many rows; None is all.
        seed: A whole number >= 0, or None.
        closed_from: Start of the window as ISO 8601 text or a datetime; UTC if it has no zone.
        closed_to: End of the window, which is not part of it.
        closed_last: Instead, a span before `now`: a whole number up to 9999 and m, h, d or w, for
            example `24h`.
        lag: Such a span, too, by which `closed_last` ends earlier: labels that arrive late are
            waited for.
        now: Where `closed_last` ends otherwise; None is the present.

    Raises:
        InputError: It names the argument that is not valid.
    """
    start, end = parse_time("closed_from", closed_from), parse_time("closed_to", closed_to)
    if closed_last is not None:
        if start or end:
            raise InputError(
                "closed_last: closed_from or closed_to already sets a window; use one or the other"
            )
        end = _utc(now or datetime.now(UTC).replace(microsecond=0))
        end -= parse_span("lag", lag) if lag else timedelta()
        start = end - parse_span("closed_last", closed_last)
    elif lag is not None:
        raise InputError("lag: it needs closed_last, whose window it moves; give both, or neither")
    if start and end and end <= start:
        raise InputError(f"closed_to: {end} is not after closed_from, {start}; swap them")
    return Selection(
        data=data,
        batch_size=None if batch_size is None else _whole_number("batch_size", batch_size, 1),
        seed=None if seed is None else _whole_number("seed", seed, 0),
        closed_from=start,
        closed_to=end,
        closed_last=closed_last,
        lag=lag,
    )


def parse_span(name: str, text: str) -> timedelta:
    """Read a span of time such as `90m`, `24h`, `7d` or `2w`.

    Raises:
        InputError: It names `name` and shows a valid span.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,3})([mhdw])", str(text).strip())
    if not match:
        raise InputError(
            f"{name}: {text!r} is not a span of time; use a number up to 9999 and m, h, d or w, "
            "for example 24h"
        )
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def as_utc(times: pd.Series[pd.Timestamp]) -> pd.Series[pd.Timestamp]:
    """Convert closing times to UTC, without a zone.

    Raises:
        InputError: They are not times.
    """
    if pd.api.types.is_datetime64_dtype(times.dtype):
        return times
    if pd.api.types.is_numeric_dtype(times.dtype):
        problem = f"the column {times.name!r} holds numbers, not times"
        raise InputError(f"data.py: {problem}; convert it with pandas.to_datetime")
    try:
        converted = pd.to_datetime(times, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        problem = f"the column {times.name!r} does not hold times ({str(error).splitlines()[0]})"
        raise InputError(f"data.py: {problem}; convert it with pandas.to_datetime") from None
    return converted.dt.tz_localize(None)


def _whole_number(name: str, value: object, at_least: int) -> int:
    text = str(value)
    valid = re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) and at_least <= int(text) <= MAX_NUMBER
    if not valid:
        raise InputError(f"{name}: {text!r} is not a whole number from {at_least} to {MAX_NUMBER}")
    return int(text)


def parse_time(name: str, value: object) -> datetime | None:
    """Read a time as ISO 8601 text; UTC if it has no zone.

    Returns:
        The time in UTC, without a zone; None for None.

    Raises:
        InputError: It names `name` and shows a valid time.
    """
    if value is None:
        return None
    try:
        return _utc(value if isinstance(value, datetime) else datetime.fromisoformat(str(value)))
    except (ValueError, OverflowError):
        raise InputError(
            f"{name}: {value!r} is not a time; write it as 2016-03-01 or 2016-03-01T08:30"
        ) from None


def _utc(time: datetime) -> datetime:
    """The time in UTC, without a zone."""
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time

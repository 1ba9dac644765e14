"""Which tickets a trial is about: where from, which window, how many."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pandas as pd

from ..errors import InputError

BATCH_SIZE = 1000  # the original's default
MAX_BATCH_SIZE = 10**9
SPANS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """The tickets to evaluate on.

    Attributes:
        data: What to read: for the default data.py a path, a URL or `sample`; None is its default.
        batch_size: How many tickets to draw at random; None is all.
        seed: Makes the draw repeatable; None draws anew each time.
        closed_from: Only tickets closed at this time or later (UTC, without a time zone, as in the data).
        closed_to: Only tickets closed before this time.
        closed_last: The span, say `24h`, that the window was made from, where it was.
    """

    data: str | None
    batch_size: int | None = BATCH_SIZE
    seed: int | None = None
    closed_from: datetime | None = None
    closed_to: datetime | None = None
    closed_last: str | None = None

    @property
    def window(self) -> dict[str, str | None] | None:
        """The window [from, to) as it stands in a trial; None where there is none."""
        if self.closed_from is None and self.closed_to is None:
            return None
        ends = {"from": self.closed_from, "to": self.closed_to}
        return {name: None if time is None else time.isoformat() + "Z" for name, time in ends.items()}

    @property
    def period(self) -> str:
        """The window in words."""
        return f"from {self.closed_from or 'the beginning'} to {self.closed_to or 'the end'}"

    def draw(self, tickets: pd.DataFrame, closed_at: str) -> pd.DataFrame:
        """Take the window's tickets, then the batch out of them, without replacement.

        Args:
            tickets: Shape (n, any), one row a ticket.
            closed_at: The column of closing times; rows that lack one are not closed and are left out.

        Returns:
            Shape (at most `batch_size`, any); empty where the window holds no ticket.
        """
        closed = tickets[closed_at]
        wanted = closed.notna()
        for is_within, end in ((closed.ge, self.closed_from), (closed.lt, self.closed_to)):
            if end is not None:
                wanted &= is_within(end)
        if not wanted.all():
            tickets = tickets[wanted]
        size = len(tickets) if self.batch_size is None else self.batch_size
        if size > len(tickets):
            log.warning("batch_size is %d, but there are only %d tickets: taking all", size, len(tickets))
        return tickets if size >= len(tickets) else tickets.sample(size, random_state=self.seed)


def make_selection(
    data: str | None,
    *,
    batch_size: object = None,
    all_tickets: bool = False,
    seed: object = None,
    closed_from: object = None,
    closed_to: object = None,
    closed_last: str | None = None,
    now: datetime | None = None,
) -> Selection:
    """Check what a person, a schedule or another program asked for.

    Args:
        data: What to read.
        batch_size: How many tickets; None is 1000, or with a window all that are in it.
        all_tickets: Take all tickets.
        seed: A whole number >= 0, or None.
        closed_from: Start of the window as ISO 8601 text or a datetime; UTC where it names no zone.
        closed_to: End of the window, which is not in it.
        closed_last: A span before `now` instead: a whole number up to 9999 and m, h, d or w, say `24h`.
        now: Where `closed_last` ends; None is the present.

    Raises:
        InputError: Naming the argument that will not do.
    """
    start, end = _time("closed_from", closed_from), _time("closed_to", closed_to)
    if closed_last is not None:
        if start or end:
            raise InputError("closed_last: a window is already set by closed_from or closed_to; give one or the other")
        end = _time("now", now or datetime.now(timezone.utc).replace(microsecond=0))
        assert end is not None
        start = end - parse_span("closed_last", closed_last)
    if start and end and end <= start:
        raise InputError(f"closed_to: {end} is not after closed_from, {start}; swap them")
    if all_tickets and batch_size is not None:
        raise InputError("batch_size: all tickets were asked for as well; give one or the other")
    size = None if batch_size is None else _whole_number("batch_size", batch_size, at_least=1)
    if size is None and not (all_tickets or start or end):
        size = BATCH_SIZE
    return Selection(
        data=data,
        batch_size=size,
        seed=None if seed is None else _whole_number("seed", seed, at_least=0),
        closed_from=start,
        closed_to=end,
        closed_last=closed_last,
    )


def parse_span(name: str, text: str) -> timedelta:
    """Read a span of time such as `90m`, `24h`, `7d` or `2w`.

    Raises:
        InputError: Naming `name` and what would do.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,3})([mhdw])", str(text).strip())
    if not match:
        raise InputError(f"{name}: {text!r} is no span of time; give a number up to 9999 and m, h, d or w, say 24h")
    return timedelta(**{SPANS[match[2]]: int(match[1])})


def _whole_number(name: str, value: object, at_least: int) -> int:
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or not at_least <= int(text) <= MAX_BATCH_SIZE:
        raise InputError(f"{name}: {text!r} is not a whole number from {at_least} to {MAX_BATCH_SIZE}")
    return int(text)


def _time(name: str, value: object) -> datetime | None:
    if value is None:
        return None
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        return time.astimezone(timezone.utc).replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError):
        raise InputError(f"{name}: {value!r} is no time; write it as 2016-03-01 or 2016-03-01T08:30") from None

"""What parts of a trial look like, as far as they are shown or computed with.

A file that somebody has edited by hand is then left out when trials are read, and named, instead of
ending a later command. These are functions as they are called for each of thousands of trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from math import isfinite
from typing import Any

Check = Callable[[Any], bool]
NUMBERS = {int, float}


def _are_numbers(values: Iterable[Any]) -> bool:
    known = [value for value in values if value is not None]
    return {*map(type, known)} <= NUMBERS and all(map(isfinite, known))


def _number(value: object) -> bool:
    return _are_numbers([value])


def _numbers(value: object) -> bool:
    return isinstance(value, list) and _are_numbers(value)


def _numbers_by_name(value: object) -> bool:
    return isinstance(value, dict) and _are_numbers(value.values())


def _count(value: object) -> bool:
    return type(value) is int


def _time(value: object) -> bool:
    return value is None or (isinstance(value, str) and bool(datetime.fromisoformat(value)))


def _text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _interval(value: object) -> bool:
    ends = value if isinstance(value, list) else []
    return value is None or (len(ends) == 2 and None not in ends and _are_numbers(ends))


def _all(check: Check) -> Check:
    """A list of such values."""
    return lambda value: isinstance(value, list) and all(map(check, value))


def _each(check: Check) -> Check:
    """A dictionary of such values."""
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _named(*needed: str, **checks: Check) -> Check:
    """A dictionary with such values by name, of which some must not be missing."""
    return lambda value: (
        isinstance(value, dict)
        and all(check(value.get(name)) for name, check in checks.items())
        and all(value.get(name) is not None for name in needed)
    )


def _optional(check: Check) -> Check:
    return lambda value: value is None or check(value)


_unit = _optional(_named("symbol", "per", symbol=_text, per=_number))
_compared = _each(_named(value=_number, interval=_interval))
_bins = _optional(_each(_numbers))
SHAPES: Mapping[str, Check] = {
    "id": _text,
    "created_at": _time,
    "num_obs": _count,
    "metrics": _numbers_by_name,
    "target": _numbers_by_name,
    "flow": _text,
    "model": _text,
    "window": _each(_time),
    "groups": _number,
    "scoring": _named(metrics=_optional(_each(_named(unit=_unit, best=_number))), unit=_unit),
    "intervals": _each(_interval),
    "baseline": _compared,
    "relative": _compared,
    "errors": _each(_numbers_by_name),
    "segments": _each(
        _each(_named("num_obs", "metrics", num_obs=_number, metrics=_optional(_numbers_by_name)))
    ),
    "outcomes": _named(
        numbers=_bins,
        probabilities=_bins,
        classes=_optional(_named("names", "counts", names=_all(_text), counts=_all(_numbers))),
    ),
    "checks": _named(odd=_optional(_all(_text)), missing=_optional(_numbers_by_name)),
    "gate": _named(name=_text, sentence=_text, bound=_number),
    "difference": _named(
        "metric", "model", metric=_text, model=_text, value=_number, interval=_interval
    ),
}

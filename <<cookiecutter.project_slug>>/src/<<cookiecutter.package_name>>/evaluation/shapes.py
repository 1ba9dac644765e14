"""What parts of a trial look like, as far as they are shown or computed with.

A file that somebody has edited by hand is then left out when trials are read, and named, instead of
ending a later command. These are functions as they are called for each of thousands of trials.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]
LARGEST = sys.float_info.max


def _number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and -LARGEST <= value <= LARGEST)


def _text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _interval(value: object) -> bool:
    ends = value if isinstance(value, list) else []
    return value is None or (len(ends) == 2 and None not in ends and all(map(_number, ends)))


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
_bins = _optional(_each(_all(_number)))
SHAPES: Mapping[str, Check] = {
    "groups": _number,
    "scoring": _named(metrics=_optional(_each(_named(unit=_unit, best=_number))), unit=_unit),
    "intervals": _each(_interval),
    "baseline": _compared,
    "relative": _compared,
    "errors": _each(_each(_number)),
    "segments": _each(
        _each(_named("num_obs", "metrics", num_obs=_number, metrics=_optional(_each(_number))))
    ),
    "outcomes": _named(
        numbers=_bins,
        probabilities=_bins,
        classes=_optional(_named("names", "counts", names=_all(_text), counts=_all(_all(_number)))),
    ),
    "checks": _named(odd=_optional(_all(_text)), missing=_optional(_each(_number))),
    "gate": _named(name=_text, sentence=_text, bound=_number),
    "difference": _named(
        "metric", "model", metric=_text, model=_text, value=_number, interval=_interval
    ),
}

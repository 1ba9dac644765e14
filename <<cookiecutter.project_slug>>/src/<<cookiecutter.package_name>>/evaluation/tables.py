"""Numbers and trials as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .trial import Trial

SMALL = 1e-3  # smaller numbers without a unit are shown with two digits that are not 0
UNREADABLE = 1e6  # larger numbers without a unit are shown with an exponent
EXPONENT = "e+"


def make_line(
    measure: str,
    value: float | None,
    shown: str,
    interval: str = "",
    guess: str = "",
    relative: float | None = None,
) -> dict[str, Any]:
    """A line of the table. Each has all columns: Prefect shows those that the first line has."""
    return {
        "measure": measure,
        "value": value,
        "shown": shown,
        "95 % interval": interval,
        "constant guess": guess,
        "times the guess's error": relative,
    }


def show_number(
    value: float | None, unit: Mapping[str, Any] | None, *, with_unit: bool = True
) -> str:
    """A number for a person, in its unit; large or small ones without a unit with an exponent."""
    if value is None:
        return "undefined" if with_unit else "-"
    if unit is None:
        if 0 < abs(value) < SMALL:
            return f"{value:.2g}"
        return f"{value:.3f}" if abs(value) < UNREADABLE else f"{value:.3e}"
    number = value / unit["per"]
    text = f"{number:,.1f}" if number == 0 or abs(number) >= 1 else f"{number:.2g}"
    return f"{text} {unit['symbol']}" if with_unit else text


def as_tables(trials: Sequence[Trial], *, compare: bool = False) -> list[list[list[str]]]:
    """Trials as tables of text, with a line of headers; one for each change of columns.

    A column of numbers that are large and have no unit is left out.

    Args:
        trials: In their order.
        compare: Show how each differs from the trial of the model in use, instead of its metrics.
    """
    tables = []
    made = [trial.as_comparison() if compare else trial.as_row() for trial in trials]
    for headers, rows in groupby(made, key=tuple):
        lines = [list(row.values()) for row in rows]
        shown = [
            column
            for column in zip(headers, *lines, strict=True)
            if not all(EXPONENT in text for text in column[1:])
        ]
        tables.append([list(line) for line in zip(*shown, strict=True)])
    return tables

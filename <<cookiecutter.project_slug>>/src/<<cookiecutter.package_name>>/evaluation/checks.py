"""What is odd about a batch of rows: counted in its trial, and told in a line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from .pairs import Pairs
from .trial import MAX_CLASSES, MAX_SEGMENTS, Trial

MAX_COLUMNS = 100  # whose missing values a trial counts
MIN_EARLIER = 5  # trials, before a batch is compared with them
EARLIER = 30  # trials that it is compared with, at most
MORE = 0.1  # by how much the share of missing values must have grown to be told
SHOWN = 3


def count_missing(input_df: pd.DataFrame, pairs: Pairs) -> dict[str, Any]:
    """Count what is missing in a batch.

    Args:
        input_df: Shape (batch, any): the rows.
        pairs: Those that have both values.

    Returns:
        The number of `rows`, `without_target`, `without_prediction`, and by column in `missing` the
        share of rows without a value, for up to 100 columns.
    """
    columns = input_df.iloc[:, :MAX_COLUMNS].isna().mean()
    return {
        "rows": len(input_df),
        "without_target": pairs.without_target,
        "without_prediction": pairs.without_prediction,
        "missing": {str(name)[:100]: round(float(share), 6) for name, share in columns.items()},
    }


def find_oddities(trial: Trial, earlier: Sequence[Trial]) -> list[str]:
    """Find what is odd about the rows of a trial, in at most five sentences.

    Args:
        trial: With what `count_missing` found.
        earlier: Comparable trials in order of time. With fewer than five, the batch is not
            compared with theirs.
    """
    checks, rows = trial.checks or {}, trial.scored("rows", "rows")
    found = [
        f"{checks[what]:,} of {checks['rows']:,} {rows} have no {name}: left out"
        for what, name in (("without_target", "actual value"), ("without_prediction", "prediction"))
        if checks.get(what)
    ]
    known = earlier[-EARLIER:]
    if len(known) >= MIN_EARLIER:
        found += _compare_missing(trial, known)
        found += _say("never seen in earlier trials", _find_new(trial, known))
    return found


def _compare_missing(trial: Trial, earlier: Sequence[Trial]) -> list[str]:
    """Columns that are gone, and those that lack more values than they ever did."""
    columns, *before = (_missing(each) for each in (trial, *earlier))
    gone = before[-1].keys() - columns.keys() if len(columns) < MAX_COLUMNS else set()
    grown = []
    for name, share in columns.items():
        most = max((each[name] for each in before if name in each), default=1.0)
        if share > most + MORE:
            grown.append(f"{name} {share:.0%} (at most {most:.0%})")
    return [
        *_say("columns that the trial before had are gone", gone),
        *_say("more values are missing than in earlier trials", grown),
    ]


def _missing(trial: Trial) -> Mapping[str, float]:
    missing: Mapping[str, float] = (trial.checks or {}).get("missing", {})
    return missing


def _find_new(trial: Trial, earlier: Sequence[Trial]) -> list[str]:
    """Classes, and values of segments, that no earlier trial has."""
    before = [_values(each) for each in earlier]
    return [
        f"{name} {value!r} ({count:,} {trial.scored('rows', 'rows')})"
        for name, values in _values(trial).items()
        for value, count in values.items()
        if all(name in each and value not in each[name] for each in before)
    ]


def _values(trial: Trial) -> dict[str, Mapping[str, int]]:
    """How many rows each class and each value of a segment has, where the trial holds them all."""
    found: dict[str, Mapping[str, int]] = {
        column: {name: each["num_obs"] for name, each in values.items() if name != "missing"}
        for column, values in trial.segments.items()
        if len(values) < MAX_SEGMENTS
    }
    target: Mapping[str, Any] = trial.target
    counts = {name: count for name, count in target.items() if isinstance(count, int)}
    if counts and len(counts) < MAX_CLASSES:
        found[str(trial.scored("target", "target"))] = counts
    return found


def _say(what: str, names: Iterable[str]) -> list[str]:
    """One line that names the first of them; none if there are none."""
    shown = sorted(names)
    more = f" and {len(shown) - SHOWN:,} more" if len(shown) > SHOWN else ""
    return [f"{what}: {', '.join(shown[:SHOWN])}{more}"] if shown else []

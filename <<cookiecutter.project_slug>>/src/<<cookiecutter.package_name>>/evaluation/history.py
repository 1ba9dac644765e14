"""What a trial is compared with: earlier trials of the same kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from .checks import find_oddities
from .gate import DEFAULT, TOO_FEW_ROWS, Gate, Point, judge
from .trial import Trial

COMPARED = ("baseline", "group")  # of the scoring; the first metric's name and best value, too


def find_comparable(trials: Iterable[Trial], trial: Trial) -> list[Trial]:
    """Find the earlier trials that a trial is compared with.

    They are of the same flow, model, first metric, baseline and group, of a source of the same
    name, or without one, and of windows of the same length, or without one. Of several trials of
    one window the latest counts: labels may have arrived since the others were made.

    Args:
        trials: In any order.
        trial: The one that is compared.

    Returns:
        Those trials in order of time, without `trial`.
    """
    found: dict[object, Trial] = {}
    for other in sorted(trials, key=lambda each: each.created_at):
        is_earlier = other.time <= trial.time and other.id != trial.id
        if is_earlier and get_kind(other) == get_kind(trial):
            found[str(other.window) if other.window else other.id] = other
    if trial.window:
        found.pop(str(trial.window), None)
    return sorted(found.values(), key=lambda each: each.time)


def judge_trial(trial: Trial, history: Sequence[Trial], settings: Gate = DEFAULT) -> Trial:
    """Add to a trial whether the model became worse, and what is odd about its rows.

    Args:
        trial: Not judged yet.
        history: Earlier trials, in any order, of any kind.
        settings: When a model counts as worse.
    """
    metric = next(iter(trial.metrics))
    earlier = find_comparable(history, trial)
    points = [_point(each) for each in (*earlier, trial)]
    verdict = judge(points, settings)
    error = f"the error in {metric}" if trial.scored("metrics")[metric]["best"] else metric
    rows = f"{trial.num_obs:,} {trial.scored('rows')}"
    sentence = verdict.sentence(error, trial.counted if verdict.name == TOO_FEW_ROWS else rows)
    numbers = {**asdict(verdict), "standing_out": list(verdict.standing_out)}  # as JSON has it
    checks = {**(trial.checks or {}), "odd": find_oddities(trial, earlier)}
    return replace(trial, gate={**numbers, "sentence": sentence}, checks=checks)


def _point(trial: Trial) -> Point:
    """What the gate needs of a trial."""
    errors = trial.errors.get(next(iter(trial.metrics), ""), {})
    return Point(
        time=trial.time,
        groups=trial.groups or trial.num_obs,
        log_error=errors.get("log_error"),
        log_error_se=errors.get("log_error_se"),
        log_relative=errors.get("log_relative"),
        log_relative_se=errors.get("log_relative_se"),
        verdict=(trial.gate or {}).get("name"),
    )


def get_kind(trial: Trial) -> tuple[object, ...]:
    """What is the same for all trials that are compared with each other."""
    metric = next(iter(trial.metrics), "")
    best = trial.scored("metrics", {}).get(metric, {}).get("best")
    what = [str(trial.scored(each)) for each in COMPARED]
    source = (trial.source or {}).get("name")
    return (trial.flow, trial.model, metric, best, *what, source, _span(trial))


def _span(trial: Trial) -> timedelta | str:
    """How long the window is; for an open one, which end it has."""
    ends = [(trial.window or {}).get(name) for name in ("from", "to")]
    if None not in ends:
        start, end = (datetime.fromisoformat(str(each)) for each in ends)
        return end - start
    return "".join("-" if each is None else "|" for each in ends)

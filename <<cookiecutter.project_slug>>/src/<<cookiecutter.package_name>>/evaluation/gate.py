"""Whether a model became worse, judged by its latest trials.

Each trial compares the model's error with that of a constant guess on the same rows, so a week of
difficult rows does not count against the model. The latest trials are compared with earlier ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date

from ..errors import InputError

WORSE = "worse"
DATA_CHANGED = "data changed"
AS_BEFORE = "as before"
TOO_LITTLE_HISTORY = "too little history"
TOO_FEW_ROWS = "too few rows"
MIN_SE = 0.005  # on the log scale: no trial is taken to be more certain than that


@dataclass(frozen=True)
class Gate:
    """When a model counts as worse.

    A trial stands out if its relative error is more than `tolerance` above the level of earlier
    trials, beyond `z` standard errors. The model is worse if the latest trial stands out, and at
    least `needed` of the `latest` ones do.

    Attributes:
        tolerance: By how much the relative error may grow: 0.05 is 5 %.
        z: Beyond how many standard errors. They include how much earlier trials vary.
        reference: How many earlier trials the latest ones are compared with, at most.
        latest: How many trials are the latest ones.
        needed: How many of them must stand out.
        min_groups: How many groups a trial must have, or rows if each row stands alone.
        min_history: How many trials there must be, the latest ones included.
        since: Only trials from this date on are compared, for example `2026-03-01`; None: all.
    """

    tolerance: float = 0.05
    z: float = 2.0
    reference: int = 30
    latest: int = 5
    needed: int = 2
    min_groups: int = 20
    min_history: int = 15
    since: date | str | None = None

    def __post_init__(self) -> None:
        """Check what would otherwise give wrong verdicts silently."""
        for each in fields(self)[:-1]:
            value = getattr(self, each.name)
            if not isinstance(value, (int, type(each.default))):
                problem = f"{each.name} of Gate is {value!r}"
                raise InputError(f"metrics.py: {problem}; write a number such as {each.default}")
        limits: dict[str, tuple[int, float]] = {
            "tolerance": (0, math.inf),
            "z": (0, math.inf),
            "reference": (2, math.inf),
            "latest": (1, math.inf),
            "needed": (1, self.latest),
            "min_groups": (2, math.inf),
            "min_history": (self.latest + 2, self.latest + self.reference),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                allowed = f"at least {low}" if high == math.inf else f"from {low} to {high}"
                problem = f"{name} of Gate is {getattr(self, name)}"
                raise InputError(f"metrics.py: {problem}; it must be {allowed}")
        try:
            date.fromisoformat(str(self.since or "2000-01-01"))
        except ValueError:
            problem = f"since of Gate is {str(self.since)!r}"
            raise InputError(f"metrics.py: {problem}; write a date such as 2026-03-01") from None

    def admits(self, point: Point) -> bool:
        """Whether a trial is compared: it has an error, is large enough, and late enough."""
        # A window that ends when that date begins holds nothing of it.
        is_late = not self.since or point.time > f"{date.fromisoformat(str(self.since))}T00:00:00Z"
        return is_late and point.is_defined and point.groups >= self.min_groups


DEFAULT = Gate()


@dataclass(frozen=True)
class Point:
    """What the gate needs of a trial; all but `time` and `groups` may be undefined.

    Attributes:
        time: What trials are ordered by, as ISO 8601 text in UTC.
        groups: How many groups of rows it has, or rows if each row stands alone.
        log_error: The natural logarithm of the first metric's error.
        log_error_se: Its standard error.
        log_relative: That of the error in proportion to the constant guess's.
        log_relative_se: Its standard error.
        verdict: The name of the verdict that was kept with the trial; None without one.
    """

    time: str
    groups: int
    log_error: float | None
    log_error_se: float | None
    log_relative: float | None
    log_relative_se: float | None
    verdict: str | None = None

    @property
    def is_defined(self) -> bool:
        """Whether there are a model's and a guess's error, and it is known how certain they are."""
        numbers = (self.log_error, self.log_error_se, self.log_relative, self.log_relative_se)
        return None not in numbers


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a trial. `dataclasses.asdict` makes strict JSON of it.

    Attributes:
        name: `worse`, `data changed`, `as before`, `too little history` or `too few rows`.
        found: How many trials there are, if there is too little history; how many groups, if there
            are too few rows; else, how many earlier trials the latest ones were compared with.
        required: How many of them there must be.
        relative: The trial's relative error; None, as all that follows, if it was not judged.
        level: The relative error of the earlier trials.
        bound: The relative error above which the trial stands out.
        relative_growth: By how much the relative error is above that of the earlier trials: 0.2 is
            20 %.
        error_growth: By how much the error itself is above that of the earlier trials.
        latest: How many trials are the latest ones.
        standing_out: The times of those that stand out, by the error itself for `data changed` and
            by the relative error else.
        since: The time of the first trial after the earlier ones that stands out, if the model is
            worse or the data changed.
    """

    name: str
    found: int
    required: int
    relative: float | None = None
    level: float | None = None
    bound: float | None = None
    relative_growth: float | None = None
    error_growth: float | None = None
    latest: int | None = None
    standing_out: tuple[str, ...] = ()
    since: str | None = None

    def sentence(self, metric: str, rows: str) -> str:
        """The verdict in one sentence, for a person.

        Args:
            metric: What the error is called, for example `MAE`, or `error in R2`.
            rows: What the trial was measured on, for example `1,000 tickets`.
        """
        if self.name == TOO_LITTLE_HISTORY:
            have = f"{self.found} of {self.required} trials"
            return f"too little history to judge the model: {have}, {self.missing} more needed"
        if self.name == TOO_FEW_ROWS and self.missing:
            return f"too few rows to judge the model: {rows}, at least {self.required} needed"
        if self.level is None:
            return f"not judged: {metric} cannot be compared with a constant guess on {rows}"
        ratio = f"{self.relative:#.3g} times that of a constant guess on the same {rows}"
        before = f"{self.level:#.3g} in {self.found} earlier trials"
        since = f"since {(self.since or '').removesuffix('T00:00:00Z')[:16].replace('T', ' ')}"
        if self.name == WORSE:
            grown = f"{_percent(self.relative_growth)} more than before ({before})"
            count = f"{len(self.standing_out)} of the latest {self.latest} trials stand out"
            return f"worse {since}: {metric} is {ratio}, {grown}; {count}; {self._itself(metric)}"
        if self.name == DATA_CHANGED:
            grown = f"{metric} rose by {_percent(self.error_growth)}"
            return f"the data changed {since}, not the model: {grown}, and is {ratio} ({before})"
        although = ", although this trial stands out" if self.stands_out else ""
        return f"as before{although}: {metric} is {ratio} ({before})"

    @property
    def missing(self) -> int:
        """How many more trials, or groups, are needed; 0 if there are enough."""
        return max(0, self.required - self.found)

    @property
    def stands_out(self) -> bool:
        """Whether the trial's relative error is above the bound."""
        return self.relative is not None and self.bound is not None and self.relative > self.bound

    def _itself(self, metric: str) -> str:
        growth = self.error_growth or 0.0
        fell = f"fell by {_percent(-growth)}, but that of the guess fell more"
        return f"{metric} itself {fell if growth < 0 else f'rose by {_percent(growth)}'}"


def judge(points: Sequence[Point], settings: Gate = DEFAULT) -> Verdict:
    """Judge the latest trial.

    Trials near one that was called worse are not compared with: so a model stays worse until its
    error falls again, it gets another name, or `since` is set.

    Args:
        points: Trials of the same model, flow, kind of selection and scoring, in order of time.
            The last one is judged.
        settings: When a model counts as worse.
    """
    last = points[-1]
    if not last.is_defined or last.groups < settings.min_groups:
        return Verdict(TOO_FEW_ROWS, last.groups, settings.min_groups)
    usable = [point for point in points if settings.admits(point)]
    earlier = _find_earlier(usable, settings)
    found = len(earlier) + len(usable[-settings.latest :])
    if found < settings.min_history:
        return Verdict(TOO_LITTLE_HISTORY, found, settings.min_history)
    known, later = [usable[index] for index in earlier], usable[earlier[-1] + 1 :]
    relative = _Level([_relative(point) for point in known], settings)
    error = _Level([_error(point) for point in known], settings)
    name = AS_BEFORE
    outliers = [relative.is_below(*_relative(point)) for point in later]
    if _is_tripped(outliers, settings):
        name = WORSE
    else:
        by_error = [error.is_below(*_error(point)) for point in later]
        if _is_tripped(by_error, settings):
            name, outliers = DATA_CHANGED, by_error
    times = [point.time for point, is_outlier in zip(later, outliers, strict=True) if is_outlier]
    value, se = _relative(last)
    return Verdict(
        name,
        found=len(known),
        required=settings.min_history,
        relative=math.exp(value),
        level=math.exp(relative.level),
        bound=math.exp(relative.bound(se)),
        relative_growth=math.expm1(value - relative.level),
        error_growth=math.expm1(_error(last)[0] - error.level),
        latest=settings.latest,
        standing_out=tuple(times[len(times) - sum(outliers[-settings.latest :]) :]),
        since=None if name == AS_BEFORE else times[0],
    )


def judge_all(points: Sequence[Point], settings: Gate = DEFAULT) -> list[Verdict]:
    """Judge each trial as if it were the latest one, whatever verdicts were kept with them.

    Args:
        points: As in `judge`.
        settings: When a model counts as worse.
    """
    judged: list[Point] = []
    verdicts: list[Verdict] = []
    for point in points:
        verdicts.append(judge([*judged, point], settings))
        judged.append(replace(point, verdict=verdicts[-1].name))
    return verdicts


class _Level:
    """The level of some trials, on the log scale.

    Trials vary by more than their standard errors say if the data varies from one to the next. How
    much more is estimated by the method of moments.

    Source: DerSimonian and Laird, Meta-analysis in clinical trials, Controlled Clinical Trials 7
    (1986), 177-188.
    """

    def __init__(self, trials: Sequence[tuple[float, float]], settings: Gate) -> None:
        count = len(trials)
        weights = [1 / se**2 for _, se in trials]
        total = sum(weights)
        level = _weighted_mean(trials, weights)
        q = sum(w * (x - level) ** 2 for w, (x, _) in zip(weights, trials, strict=True))
        spread = (q - count + 1) / (total - sum(w**2 for w in weights) / total)
        self._between = max(0.0, spread)  # variance between trials
        weights = [1 / (se**2 + self._between) for _, se in trials]
        self.level = _weighted_mean(trials, weights)
        self._variance = self._between + 1 / sum(weights)  # of a new trial, but for its own error
        self._allowed = self.level + math.log1p(settings.tolerance)
        # Few trials are less certain: about the quantile of Student's t that belongs to z.
        self._z = settings.z * (1 + (settings.z**2 + 1) / (4 * count - 4))

    def bound(self, se: float) -> float:
        """Above which a trial with this standard error stands out."""
        return self._allowed + self._z * math.sqrt(se**2 + self._variance)

    def is_below(self, value: float, se: float) -> bool:
        """Whether a trial stands out."""
        return value > self.bound(se)


def _weighted_mean(trials: Sequence[tuple[float, float]], weights: Sequence[float]) -> float:
    return sum(w * x for w, (x, _) in zip(weights, trials, strict=True)) / sum(weights)


def _find_earlier(usable: Sequence[Point], settings: Gate) -> list[int]:
    """The indices of the trials to compare the latest ones with."""
    reach = settings.latest - 1  # so far from a trial called worse, others may be worse unnoticed
    near_worse = {
        near
        for index, point in enumerate(usable)
        if point.verdict == WORSE
        for near in range(index - reach, index + reach + 1)
    }
    earlier = range(len(usable) - settings.latest)
    return [index for index in earlier if index not in near_worse][-settings.reference :]


def _is_tripped(outliers: Sequence[bool], settings: Gate) -> bool:
    return outliers[-1] and sum(outliers[-settings.latest :]) >= settings.needed


def _relative(point: Point) -> tuple[float, float]:
    """The log of the relative error, and its standard error."""
    return point.log_relative or 0.0, max(MIN_SE, point.log_relative_se or 0.0)


def _error(point: Point) -> tuple[float, float]:
    return point.log_error or 0.0, max(MIN_SE, point.log_error_se or 0.0)


def _percent(growth: float | None) -> str:
    return f"{100 * (growth or 0.0):.0f} %"

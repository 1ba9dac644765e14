"""Metrics, how certain they are, and how they compare with a constant guess.

Rows that belong together form a group. Groups are taken to be independent of each other, rows of
one group are not: so groups are resampled and left out as a whole.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from ..errors import InputError
from .resampling import (
    MIN_GROUPS,
    SIDES,
    Array,
    Rows,
    bootstrap_t,
    jackknife,
    medians_by,
    r2_by,
    r2_left_out,
    resample_median,
    spread,
    sums_by,
)
from .scoring import Metric, absolute_error

Interval = tuple[float, float]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """A metric on a batch. What is not defined is None; intervals are of 95 %.

    An error is the distance of a metric from its best value. There are no intervals and standard
    errors for fewer than 10 groups, or where the error is 0; and no standard errors if rows are on
    both sides of the best value, as for a bias.

    Attributes:
        value: The metric.
        interval: Its interval, low before high.
        baseline: The metric of the constant guess on the same rows.
        baseline_interval: Its interval.
        relative: The model's error in proportion to that of the guess: below 1 it is better.
        relative_interval: Its interval.
        groups: How many groups there are, or rows if each row stands alone.
        log_error: The natural logarithm of the error.
        log_error_se: Its standard error.
        log_relative: The natural logarithm of `relative`.
        log_relative_se: Its standard error.
    """

    value: float | None = None
    interval: Interval | None = None
    baseline: float | None = None
    baseline_interval: Interval | None = None
    relative: float | None = None
    relative_interval: Interval | None = None
    groups: int = 0
    log_error: float | None = None
    log_error_se: float | None = None
    log_relative: float | None = None
    log_relative_se: float | None = None


@dataclass(frozen=True)
class Difference:
    """By how much a metric of another model differs. What is not defined is None.

    Attributes:
        value: The other model's metric minus the model's.
        interval: Its 95 % interval, low before high.
    """

    value: float | None = None
    interval: Interval | None = None


def measure_segments(
    metric: Metric, actual: Array, predicted: Array, codes: Array, count: int
) -> list[float | None]:
    """Compute a metric of each segment alone.

    Args:
        metric: What to compute.
        actual: Shape (n,): the actual values.
        predicted: Shape (n,) or (n, classes): the predictions.
        codes: Shape (n,): the segment of each row, from 0 to below `count`.
        count: How many segments there are; each has rows.

    Returns:
        By segment, the metric; None where its function raises ValueError or ArithmeticError, or
        returns nan or an infinite number, as some do for rows of a single class.

    Raises:
        InputError: The function raises another error, or does not return a number.
    """
    with _without_warnings():
        if metric.loss is not None:
            losses = _losses(metric.loss, actual, predicted)
            values = sums_by(codes, count, losses) / sums_by(codes, count)
            return [_finite(value) for value in values]
        values = np.full(count, math.nan)
        if _is_sklearns("r2_score", metric.function, predicted):
            values = r2_by(codes, count, actual, predicted)
        elif _is_sklearns("median_absolute_error", metric.function, predicted):
            values = medians_by(codes, count, absolute_error(actual, predicted))
        for code in np.flatnonzero(np.isnan(values)):
            rows = codes == code
            values[code] = _number(metric.function, actual[rows], predicted[rows])
        return [_finite(value) for value in values]


def measure(
    metric: Metric,
    actual: Array,
    predicted: Array,
    baseline: Array | None = None,
    groups: Array | None = None,
    seed: int | None = None,
) -> Measurement:
    """Measure a model on a batch.

    The interval of a mean of row losses is a bootstrap-t interval, that of scikit-learn's
    median_absolute_error is Woodruff's. All else is by a delete-a-group jackknife.

    Args:
        metric: What to compute.
        actual: Shape (n,): the actual values.
        predicted: Shape (n,) or (n, classes): the predictions.
        baseline: The constant guess for each row, in the shape of `predicted`; None: no comparison.
        groups: Shape (n,): a whole number for each row, the same for rows of one group, as
            `pandas.factorize` gives; a row with -1 stands alone. None: each row stands alone.
        seed: Of the resampling; None is 0. The same batch and seed give the same intervals.

    Raises:
        InputError: As in `measure_segments`.
    """
    rows = Rows(len(actual), groups, seed or 0)
    with _without_warnings():
        model = _estimate(metric, actual, predicted, rows, logging.WARNING)
        guess = _Estimate(metric.best, np.full(rows.parts, math.nan))
        if baseline is not None:
            guess = _estimate(metric, actual, baseline, rows)
        relative = model.error / guess.error
        is_signed = model.is_signed or guess.is_signed
        factors, relative_se = jackknife(model.changes / guess.changes, is_signed=is_signed)
        _, error_se = jackknife(model.changes, is_signed=model.is_signed)
        return Measurement(
            value=_finite(model.value),
            interval=model.interval(),
            baseline=_finite(guess.value),
            baseline_interval=guess.interval(),
            relative=_finite(relative),
            relative_interval=_interval(relative * factors),
            groups=rows.count,
            log_error=_finite(np.log(abs(model.error))),
            log_error_se=_finite(error_se),
            log_relative=_finite(np.log(relative)),
            log_relative_se=_finite(relative_se),
        )


def difference(
    metric: Metric,
    actual: Array,
    predicted: Array,
    other: Array,
    groups: Array | None = None,
    seed: int | None = None,
) -> Difference:
    """Measure by how much another model's metric differs on the same rows.

    Both are computed on the same rows each time, so what makes rows difficult for both does not
    widen the interval, which is by a delete-a-group jackknife.

    Args:
        metric: What to compute.
        actual: Shape (n,): the actual values.
        predicted: Shape (n,) or (n, classes): the predictions of the model.
        other: Those of the other model.
        groups: As in `measure`.
        seed: As in `measure`.

    Raises:
        InputError: As in `measure_segments`.
    """
    rows = Rows(len(actual), groups, seed or 0)
    with _without_warnings():
        first, second = (_estimate(metric, actual, each, rows) for each in (predicted, other))
        value = second.value - first.value
        half, _ = spread(second.left_out - first.left_out - value)
        return Difference(_finite(value), _interval(value + half * SIDES))


@dataclass(frozen=True)
class _Estimate:
    """A metric, and what its interval is made from; nan where it is not defined.

    Attributes:
        best: The value of a perfect model.
        left_out: Shape (parts,): the metric without each part.
        value: The metric.
        ends: The ends of the interval of the error, in proportion to it, if there is a better
            way than the jackknife.
        is_signed: Whether rows are on both sides of the best value, as for a bias.
    """

    best: float
    left_out: Array
    value: float = math.nan
    ends: Array | None = None
    is_signed: bool = False

    @property
    def error(self) -> float:
        """The signed distance from the best value; nan if it is 0, or not finite."""
        error = self.value - self.best
        return np.float64(error) if error and math.isfinite(error) else math.nan

    @property
    def changes(self) -> Array:
        """Shape (parts,): the error without each part, in proportion to the error."""
        return np.asarray((self.left_out - self.best) / self.error)

    def interval(self) -> Interval | None:
        """The interval of the metric."""
        own = None if self.ends is None else _interval(self.best + self.error * self.ends)
        factors, _ = jackknife(self.changes, is_signed=self.is_signed)
        return own or _interval(self.best + self.error * factors)


def _estimate(
    metric: Metric, actual: Array, predicted: Array, rows: Rows, level: int = logging.DEBUG
) -> _Estimate:
    """Compute a metric with and without each part, as quickly as that can be done for it."""
    best, function = metric.best, metric.function
    if metric.loss is not None:
        losses = _losses(metric.loss, actual, predicted, level)
        sums = rows.sums(losses)
        left_out = rows.without_parts(sums) / rows.without_parts(rows.sizes)
        is_signed = bool(losses.min() < best < losses.max())
        bootstraps = rows.count >= MIN_GROUPS and not is_signed
        ends = bootstrap_t(sums - best * rows.sizes, rows) if bootstraps else None
        return _Estimate(best, left_out, float(losses.mean()), ends, is_signed)
    value = _number(function, actual, predicted, level)
    if rows.count < MIN_GROUPS or not math.isfinite(value):
        return _Estimate(best, np.full(rows.parts, math.nan), value)
    if _is_sklearns("median_absolute_error", function, predicted):
        ends, left_out = resample_median(absolute_error(actual, predicted), best, rows)
        return _Estimate(best, left_out, value, ends)
    if _is_sklearns("r2_score", function, predicted):
        return _Estimate(best, r2_left_out(actual, predicted, rows), value)
    left_out = rows.left_out(lambda kept: _number(function, actual[kept], predicted[kept]))
    return _Estimate(best, left_out, value)


def _is_sklearns(name: str, function: Callable[..., Any], predicted: Array) -> bool:
    """Whether a metric is scikit-learn's of that name, for one number per row."""
    names = (getattr(function, "__name__", ""), getattr(function, "__module__", ""))
    is_number = predicted.ndim == 1 and predicted.dtype != object
    return names[0] == name and names[1].startswith("sklearn.") and is_number


def _number(
    function: Callable[..., Any], actual: Array, predicted: Array, level: int = logging.DEBUG
) -> float:
    """What a metric's function returns; nan where it is not defined."""
    result = _call(function, actual, predicted, level, math.nan)
    if not isinstance(result, Real):
        problem = f"{_name(function)} returned {type(result).__name__}, not a number"
        raise InputError(f"metrics.py: {problem}; return a float")
    try:
        return float(result)
    except OverflowError:  # a whole number can be larger than any float
        return math.nan


def _losses(
    function: Callable[..., Any], actual: Array, predicted: Array, level: int = logging.DEBUG
) -> Array:
    """What a loss returns, as floats; nan where it is not defined."""
    undefined = np.full(len(actual), math.nan)
    losses = np.asarray(_call(function, actual, predicted, level, undefined))
    if losses.shape != (len(actual),) or losses.dtype.kind not in "bfiu":
        problem = f"{_name(function)} returned {losses.dtype} of shape {losses.shape}"
        raise InputError(f"metrics.py: {problem}; return a number per row, shape ({len(actual)},)")
    return losses.astype(float, copy=False)


def _call(
    function: Callable[..., Any], actual: Array, predicted: Array, level: int, undefined: object
) -> object:
    """What a function of metrics.py returns, or `undefined`."""
    try:
        return function(actual, predicted)
    except (ValueError, ArithmeticError) as error:
        reason = " ".join(str(error).split())
        log.log(level, "metrics.py: %s is not defined on these rows: %s", _name(function), reason)
        return undefined
    except Exception as error:
        problem = f"{_name(function)} raised {type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"metrics.py: {problem}; it must take (actual, predicted)") from error


def _name(function: Callable[..., Any]) -> str:
    name = str(getattr(function, "__name__", function))
    if name == "<lambda>":
        return f"the lambda in line {function.__code__.co_firstlineno}"
    return name


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _interval(ends: Array) -> Interval | None:
    low, high = sorted(ends.tolist())
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Undefined values are expected, and are kept as null: they need no warnings."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield

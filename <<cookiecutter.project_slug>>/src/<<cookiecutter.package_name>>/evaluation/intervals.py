"""Temporary: see the branch gate."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    value: float | None = None
    interval: tuple | None = None
    baseline: float | None = None
    baseline_interval: tuple | None = None
    relative: float | None = None
    relative_interval: tuple | None = None
    log_error: float | None = None
    log_error_se: float | None = None
    log_relative: float | None = None
    log_relative_se: float | None = None


@dataclass(frozen=True)
class Difference:
    value: float | None = None
    interval: tuple | None = None


def compute_metric(metric, actual, predicted):
    try:
        v = float(metric.function(actual, predicted))
    except ValueError:
        return None
    return v if v == v and abs(v) != float("inf") else None


def measure(metric, actual, predicted, guess, groups):
    v = compute_metric(metric, actual, predicted)
    b = None if guess is None else compute_metric(metric, actual, guess)
    r = None
    if v is not None and b is not None and metric.best != b and metric.best != v:
        r = (metric.best - v) / (metric.best - b)
    return Measurement(v, None, b, None, r)


def difference(metric, actual, a, b, groups):
    return Difference(compute_metric(metric, actual, b) - compute_metric(metric, actual, a))

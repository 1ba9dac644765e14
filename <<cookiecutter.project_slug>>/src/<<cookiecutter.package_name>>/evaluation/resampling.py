"""The statistics behind intervals: groups of rows, resampled or left out as a whole.

Rows that belong together form a group. Groups are taken to be independent of each other, rows of
one group are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .pairs import shrink
from .scoring import squared_error

MIN_GROUPS = 10  # for an interval
PARTS = 50  # that the jackknife leaves out, one after the other
RESAMPLES = 999  # so that the 25th from either end bounds 95 %
BATCHES = 27  # of resamples: products so small that BLAS takes one thread; two wait for each other
AT_ONCE = 1_000_000  # rows that are added up
MAX_BUNDLES = 250  # of groups, which are resampled: as exact as groups themselves, and quicker
Z = 1.959964  # the quantile of the normal distribution for 95 %
SIDES = np.array([-1.0, 1.0])

Array = np.ndarray[Any, np.dtype[Any]]


class Rows:
    """Which rows form a group, and which groups the jackknife leaves out together.

    Attributes:
        count: How many groups there are.
        parts: Into how many parts the groups are divided, at random.
        part: Shape (n,): the part of each row.
    """

    def __init__(self, size: int, groups: Array | None, seed: int) -> None:
        codes = np.arange(size) if groups is None else groups
        if codes.min() < 0:
            codes = np.where(codes < 0, int(codes.max()) + 1 + np.arange(size), codes)
        is_used = sums_by(codes, int(codes.max()) + 1) > 0
        self.count = int(is_used.sum())
        self._group = codes
        if not is_used.all():
            self._group = shrink(np.cumsum(is_used) - 1, self.count)[codes]
        self._seed = seed
        order = np.random.default_rng(seed).permutation(self.count)
        self.parts = min(PARTS, self.count)
        self.part = (order % self.parts).astype(np.uint8)[self._group]
        self._bundles = min(MAX_BUNDLES, self.count)
        self._bundle = (order % self._bundles).astype(np.uint8)[self._group]

    def sums(self, values: Array) -> Array:
        """The sum of values in each group."""
        return sums_by(self._group, self.count, values)

    def bundled_sums(self, values: Array | None = None) -> Array:
        """The sum of values in each bundle of groups; without values, how many rows it has."""
        return sums_by(self._bundle, self._bundles, values)

    def resampled(self, columns: Array) -> Array:
        """Shape (columns, RESAMPLES): the sums of columns of shape (bundles, columns)."""
        return (_draw(self._bundles, self._seed) @ columns).reshape(RESAMPLES, -1).T

    def sums_left_out(self, values: Array | None = None) -> Array:
        """The sum of values without each part; without values, how many rows remain."""
        sums = sums_by(self.part, self.parts, values)
        left: Array = (sums.sum() if values is None else values.sum()) - sums
        return left

    def left_out(self, compute: Callable[[Array], float]) -> Array:
        """What `compute` returns for the rows without each part; it takes which rows to keep."""
        return np.array([compute(self.part != part) for part in range(self.parts)])


def sums_by(codes: Array, size: int, values: Array | None = None) -> Array:
    """The sum of values for each code, or how many rows it has.

    It is numpy.bincount in parts, as that copies all codes, of 8 bytes each.
    """
    sums = np.zeros(size)
    for start in range(0, len(codes), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        sums += np.bincount(codes[rows], None if values is None else values[rows], minlength=size)
    return sums


_DRAWN: dict[tuple[int, int], Array] = {}  # the latest: a batch's metrics share it


def _draw(bundles: int, seed: int) -> Array:
    """Shape (BATCHES, RESAMPLES / BATCHES, bundles): how often each bundle is drawn."""
    drawn = _DRAWN.get((bundles, seed))
    if drawn is None:
        random = np.random.default_rng([seed, bundles])
        draws = random.integers(bundles, size=(RESAMPLES, bundles), dtype=np.uint16)
        counts = [np.bincount(draw, minlength=bundles) for draw in draws]
        drawn = np.array(counts, dtype=float).reshape(BATCHES, -1, bundles)
        _DRAWN.clear()
        _DRAWN[bundles, seed] = drawn
    return drawn


def spread(deviations: Array) -> tuple[float, float]:
    """Half the width of an interval, and the standard error.

    Args:
        deviations: Shape (parts,): what is estimated without each part, minus the estimate.
    """
    known = deviations[np.isfinite(deviations)]
    if len(known) < MIN_GROUPS:
        return math.nan, math.nan
    freedom = len(deviations) - 1
    se = math.sqrt(freedom * np.mean(known**2))
    return _t(freedom) * se, se


def _t(freedom: int) -> float:
    """The quantile of Student's t for 95 %, to 0.004 for 9 degrees of freedom or more."""
    second = (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)
    return Z + (Z**3 + Z) / (4 * freedom) + second


def jackknife(changes: Array, *, is_signed: bool = False) -> tuple[Array, float]:
    """The ends of an interval in proportion to the estimate, and its standard error as a logarithm.

    Source: Kott, The delete-a-group jackknife, Journal of Official Statistics 17 (2001), 521-526.

    Args:
        changes: Shape (parts,): what is estimated without each part, in proportion to the estimate.
        is_signed: Whether what is estimated may be on either side of 0, as it is if some part
            changes the sign. Then the scale is not logarithmic, and there is no standard error.
    """
    lowest = np.min(changes, initial=math.inf, where=np.isfinite(changes))
    if is_signed or lowest < 0:
        return 1 + spread(changes - 1)[0] * SIDES, math.nan
    half, se = spread(np.log(changes) if lowest > 0 else changes - 1)
    return np.exp(half * SIDES), se


def bootstrap_t(losses: Array, rows: Rows) -> Array:
    """The ends of an interval of a mean of losses of one sign, in proportion to it.

    Each resample's mean is compared with the mean on the logarithmic scale, in standard errors of
    that resample.

    Source: Efron, Nonparametric standard errors and confidence intervals, Canadian Journal of
    Statistics 9 (1981), 139-172; Efron and Tibshirani, An Introduction to the Bootstrap (1993),
    chapter 12.

    Args:
        losses: Shape (n,): the loss of each row.
        rows: Which of them form a group.
    """
    sums, sizes = rows.bundled_sums(losses), rows.bundled_sums()
    x, n = sums / sums.sum(), sizes / sizes.sum()  # so the logarithm of the mean is 0
    columns = np.stack([x, n, x * x, x * n, n * n], axis=1)
    sx, sn, sxx, sxn, snn = rows.resampled(columns)
    variances = sxx / sx**2 - 2 * sxn / (sx * sn) + snn / sn**2
    ratios = np.sort(np.log(sx / sn) / np.sqrt(variances))
    tail = (RESAMPLES + 1) // 40
    ends: Array = np.exp(-ratios[[-tail, tail - 1]] * math.sqrt(((x - n) ** 2).sum()))
    return ends


def woodruff(errors: Array, rows: Rows) -> Array:
    """The ends of an interval of a median in proportion to it.

    They are the quantiles at the ends of an interval of the share of rows up to the median.

    Source: Woodruff, Confidence intervals for medians and other position measures, Journal of the
    American Statistical Association 47 (1952), 635-646.

    Args:
        errors: Shape (n,): the error of each row.
        rows: Which of them form a group.
    """
    median = np.median(errors)
    is_low = errors <= median
    sums = rows.sums(is_low - is_low.mean()) / len(errors)
    freedom = rows.count - 1
    half = _t(freedom) * math.sqrt(rows.count / freedom * (sums**2).sum())
    low = np.quantile(errors, max(0.0, 0.5 - half), method="lower")
    high = np.quantile(errors, min(1.0, 0.5 + half), method="higher")
    ends: Array = np.array([low, high]) / median
    return ends


def medians_left_out(values: Array, rows: Rows) -> Array:
    """The median without each part, without sorting anew each time.

    Only values near the median are sorted: no part is so large that others could become it.
    """
    count, sizes = len(values), sums_by(rows.part, rows.parts).astype(int)
    ends = [(count - sizes.max() - 1) // 2, min((count + sizes.max()) // 2, count - 1)]
    low, high = np.partition(values, ends)[ends]
    is_low = values < low
    lows = np.bincount(rows.part[is_low], minlength=rows.parts)
    near = np.flatnonzero(~is_low & (values <= high))
    order = near[np.argsort(values[near])]
    part = rows.part[order]

    def median_without(index: int) -> float:
        places = np.flatnonzero(part == index)
        remaining = count - sizes[index]
        middle = np.array([(remaining - 1) // 2, remaining // 2]) - (lows.sum() - lows[index])
        # So many values before the middle one are left out.
        skipped = np.searchsorted(places - np.arange(len(places)), middle, side="right")
        return float(values[order[middle + skipped]].mean())

    return np.array([median_without(index) for index in range(rows.parts)])


def medians_by(codes: Array, size: int, errors: Array) -> Array:
    """The median for each code."""
    return np.array([np.median(errors[codes == code]) for code in range(size)])


def r2_left_out(actual: Array, predicted: Array, rows: Rows) -> Array:
    """R2 without each part: that of scikit-learn would take most of a trial's time."""
    centered = actual - actual.mean()
    counts = rows.sums_left_out()
    total = rows.sums_left_out(centered**2) - rows.sums_left_out(centered) ** 2 / counts
    left_out: Array = 1 - rows.sums_left_out(squared_error(actual, predicted)) / total
    return left_out


def r2_by(codes: Array, size: int, actual: Array, predicted: Array) -> Array:
    """R2 for each code, without a copy of its rows; nan where all actual values are the same."""
    means = sums_by(codes, size, actual) / sums_by(codes, size)
    total = sums_by(codes, size, squared_error(actual, means[codes]))
    rest = sums_by(codes, size, squared_error(actual, predicted))
    return np.where(total > 0, 1 - rest / total, math.nan)

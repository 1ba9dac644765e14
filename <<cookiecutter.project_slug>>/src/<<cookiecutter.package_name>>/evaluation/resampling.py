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
        sizes: Shape (count,): how many rows each group has.
        parts: Into how many parts the groups are divided, at random.
    """

    def __init__(self, size: int, groups: Array | None, seed: int) -> None:
        if groups is None:
            self.sizes, self._group = np.ones(size), None
        else:
            if groups.min() < 0:
                alone = int(groups.max()) + 1 + np.arange(size)
                groups = np.where(groups < 0, alone, groups)
            sizes = sums_by(groups, int(groups.max()) + 1)
            is_used = sizes > 0
            self.sizes, self._group = sizes[is_used], groups
            if not is_used.all():
                self._group = shrink(np.cumsum(is_used) - 1, len(self.sizes))[groups]
        self.count = len(self.sizes)
        self._seed = seed
        order = np.random.default_rng(seed).permutation(self.count)
        self.parts = min(PARTS, self.count)
        self._part = (order % self.parts).astype(np.uint8)
        self._bundles = min(MAX_BUNDLES, self.count)
        self._bundle = (order % self._bundles).astype(np.uint8)

    @property
    def part(self) -> Array:
        """Shape (n,): the part of each row."""
        return self._part if self._group is None else self._part[self._group]

    def sums(self, values: Array) -> Array:
        """The sum of values in each group."""
        return values if self._group is None else sums_by(self._group, self.count, values)

    def bundled(self, sums: Array) -> Array:
        """The sum in each bundle of groups, of sums in groups."""
        return sums_by(self._bundle, self._bundles, sums)

    def resampled(self, columns: Array) -> Array:
        """Shape (columns, RESAMPLES): the sums of columns of shape (bundles, columns)."""
        return (_draw(self._bundles, self._seed) @ columns).reshape(RESAMPLES, -1).T

    def without_parts(self, sums: Array) -> Array:
        """The sum without each part, of sums in groups."""
        return np.asarray(sums.sum() - sums_by(self._part, self.parts, sums))

    def left_out(self, compute: Callable[[Array], float]) -> Array:
        """What `compute` returns for the rows without each part; it takes which rows to keep."""
        of_row = self.part
        return np.array([compute(of_row != part) for part in range(self.parts)])


def sums_by(codes: Array, size: int, values: Array | None = None) -> Array:
    """The sum of values for each code, or how many rows it has.

    It is numpy.bincount in parts, as that copies all codes, of 8 bytes each. Rows that are near
    each other often have codes that are.
    """
    sums = np.zeros(size)
    for start in range(0, len(codes), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        lowest = codes[rows].min()
        found = np.bincount(codes[rows] - lowest, None if values is None else values[rows])
        sums[lowest : lowest + len(found)] += found
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


def bootstrap_t(sums: Array, rows: Rows) -> Array:
    """The ends of an interval of a mean of losses of one sign, in proportion to it.

    Each resample's mean is compared with the mean on the logarithmic scale, in standard errors of
    that resample.

    Source: Efron, Nonparametric standard errors and confidence intervals, Canadian Journal of
    Statistics 9 (1981), 139-172; Efron and Tibshirani, An Introduction to the Bootstrap (1993),
    chapter 12.

    Args:
        sums: Shape (groups,): the sum of the losses in each group.
        rows: Which rows form a group.
    """
    sums, sizes = rows.bundled(sums), rows.bundled(rows.sizes)
    x, n = sums / sums.sum(), sizes / sizes.sum()  # so the logarithm of the mean is 0
    columns = np.stack([x, n, x * x, x * n, n * n], axis=1)
    sx, sn, sxx, sxn, snn = rows.resampled(columns)
    variances = sxx / sx**2 - 2 * sxn / (sx * sn) + snn / sn**2
    ratios = np.sort(np.log(sx / sn) / np.sqrt(variances))
    tail = (RESAMPLES + 1) // 40
    return np.asarray(np.exp(-ratios[[-tail, tail - 1]] * math.sqrt(((x - n) ** 2).sum())))


def woodruff(errors: Array, ordered: Array, best: float, rows: Rows) -> Array:
    """The ends of an interval of a median's distance from the best value, in proportion to it.

    They are the quantiles at the ends of an interval of the share of rows up to the median.

    Source: Woodruff, Confidence intervals for medians and other position measures, Journal of the
    American Statistical Association 47 (1952), 635-646.

    Args:
        errors: Shape (n,): the error of each row.
        ordered: The same, in order.
        best: The best value.
        rows: Which of them form a group.
    """
    median = _middle(ordered)
    is_low = errors <= median
    sums = (rows.sums(is_low) - is_low.mean() * rows.sizes) / len(errors)
    freedom = rows.count - 1
    half = _t(freedom) * math.sqrt(rows.count / freedom * (sums**2).sum())
    last = len(errors) - 1
    places = [math.floor(last * max(0.0, 0.5 - half)), math.ceil(last * min(1.0, 0.5 + half))]
    return np.asarray((ordered[places] - best) / (median - best))


def resample_median(errors: Array, best: float, rows: Rows) -> tuple[Array, Array]:
    """The ends of the interval of a median, and the median without each part.

    Errors are not sorted anew for each part. Only the order of those near the median counts: no
    part is so large that others could become it.

    Args:
        errors: Shape (n,): the error of each row.
        best: The best value.
        rows: Which of them form a group.

    Returns:
        Shape (2,), as from `woodruff`; and shape (parts,).
    """
    ordered = np.sort(errors)
    ends = woodruff(errors, ordered, best, rows)
    count, row_part = len(errors), rows.part
    sizes = (count - rows.without_parts(rows.sizes)).astype(int)
    low = ordered[(count - sizes.max() - 1) // 2]
    high = ordered[min((count + sizes.max()) // 2, count - 1)]
    del ordered  # which takes as much memory as the errors
    is_low = errors < low
    lows = np.bincount(row_part[is_low], minlength=rows.parts)
    near = np.flatnonzero(~is_low & (errors <= high))
    order = near[np.argsort(errors[near])]
    part = row_part[order]

    def median_without(index: int) -> float:
        places = np.flatnonzero(part == index)
        remaining = count - sizes[index]
        middle = np.array([(remaining - 1) // 2, remaining // 2]) - (lows.sum() - lows[index])
        # So many values before the middle one are left out.
        skipped = np.searchsorted(places - np.arange(len(places)), middle, side="right")
        return float(errors[order[middle + skipped]].mean())

    return ends, np.array([median_without(index) for index in range(rows.parts)])


def medians_by(codes: Array, size: int, errors: Array) -> Array:
    """The median for each code."""
    return np.array([_middle(np.sort(errors[codes == code])) for code in range(size)])


def _middle(ordered: Array) -> float:
    """The median of values that are in order: numpy.sort is quicker than numpy.median."""
    count = len(ordered)
    return float(ordered[[(count - 1) // 2, count // 2]].mean())


def r2_left_out(actual: Array, predicted: Array, rows: Rows) -> Array:
    """R2 without each part: that of scikit-learn would take most of a trial's time."""
    centered = actual - actual.mean()
    sums, squares = (rows.without_parts(rows.sums(x)) for x in (centered, centered**2))
    rest = rows.without_parts(rows.sums(squared_error(actual, predicted)))
    return np.asarray(1 - rest / (squares - sums**2 / rows.without_parts(rows.sizes)))


def r2_by(codes: Array, size: int, actual: Array, predicted: Array) -> Array:
    """R2 for each code, without a copy of its rows; nan where all actual values are the same."""
    means = sums_by(codes, size, actual) / sums_by(codes, size)
    total = sums_by(codes, size, squared_error(actual, means[codes]))
    rest = sums_by(codes, size, squared_error(actual, predicted))
    return np.where(total > 0, 1 - rest / total, math.nan)

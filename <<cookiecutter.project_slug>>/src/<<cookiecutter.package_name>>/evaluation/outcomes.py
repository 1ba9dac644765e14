"""How predictions compare with what came true, in a few numbers that a trial keeps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .pairs import Array, Pairs, fold, shrink

MAX_BINS = 10
MAX_CLASSES = 20  # with the one that all others share
OTHER = "other classes"


def describe_outcomes(pairs: Pairs, classes: tuple[Any, ...] | None) -> dict[str, Any]:
    """Describe how predictions compare with actual values.

    Args:
        pairs: The values.
        classes: Those whose probabilities are predicted, in the order of the columns.

    Returns:
        For numbers `numbers`, for probabilities `probabilities`: for up to 10 bins of predictions,
        of about as many rows each, the number of `rows`, the mean `predicted`, and the `actual`
        values' median with the `low` and `high` end of their middle 80 %, or for probabilities the
        share that came true. For classes `classes`: their `names`, and in `counts` how many rows
        have each actual (first) and predicted class; of more than 20, the rarest are one.
    """
    actual, predicted = pairs.actual, pairs.predicted
    if predicted.ndim > 1:
        columns = np.empty(len(classes or ()), dtype=object)
        columns[:] = classes
        came_true = (actual[:, None] == columns).astype(float)
        bins = _describe_bins(came_true.ravel(), predicted.ravel(), are_shares=True)
        chosen = columns[predicted.argmax(axis=1)]
        return {"probabilities": bins, "classes": _count_classes(actual, chosen)}
    if predicted.dtype == object:
        return {"classes": _count_classes(actual, predicted)}
    shares = bool(np.isin(actual, (0, 1)).all() and predicted.min() >= 0 and predicted.max() <= 1)
    with np.errstate(all="ignore"):  # a mean of numbers near the largest one
        bins = _describe_bins(actual, predicted, are_shares=shares)
    return {"probabilities" if shares else "numbers": bins}


def _describe_bins(actual: Array, predicted: Array, *, are_shares: bool) -> dict[str, list[Any]]:
    values = np.unique(predicted)
    edges = values[1:]
    if len(values) > MAX_BINS:
        inner = np.linspace(0, 1, MAX_BINS + 1)[1:-1]
        edges = np.unique(np.quantile(predicted, inner))
    del values  # as many as there are rows, perhaps
    codes = shrink(np.searchsorted(edges, predicted, side="right"), MAX_BINS)
    found: dict[str, list[Any]] = {"rows": [], "predicted": [], "actual": []}
    if not are_shares:
        found |= {"low": [], "high": []}
    for code in np.unique(codes):
        inside = codes == code
        low, median, high = np.quantile(actual[inside], [0.1, 0.5, 0.9])
        middle = actual[inside].mean() if are_shares else median
        row = (int(inside.sum()), predicted[inside].mean(), middle, low, high)
        for numbers, value in zip(found.values(), row, strict=False):
            rounded = float(f"{value:.6g}") if math.isfinite(value) else None
            numbers.append(value if isinstance(value, int) else rounded)
    return found


def _count_classes(actual: Array, predicted: Array) -> dict[str, Any]:
    texts = [_name(each) for each in (*actual, *predicted)]
    names, codes = np.unique(texts, return_inverse=True)
    shown = [str(name) for name in names]
    if len(names) > MAX_CLASSES:
        common = np.sort(np.argsort(-np.bincount(codes), kind="stable")[: MAX_CLASSES - 1])
        codes, shown = fold(codes, common), [*(shown[code] for code in common), OTHER]
    size = len(shown)
    pairs = codes[: len(actual)] * size + codes[len(actual) :]
    counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
    return {"names": shown, "counts": counts.tolist()}


def _name(value: Any) -> str:  # noqa: ANN401  a class
    return f"{value:g}" if isinstance(value, float) else str(value)[:100]

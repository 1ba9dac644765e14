"""What a good prediction is: units, metrics, and all that metrics.py puts together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .gate import DEFAULT, Gate


@dataclass(frozen=True)
class Unit:
    """A unit in which values are shown.

    Attributes:
        symbol: Shown after a value, for example `h` or `€`.
        per: How many of the units that values are kept in make one of this unit: 3600.0 if they
            are kept in seconds and shown in hours.
    """

    symbol: str
    per: float = 1.0


@dataclass(frozen=True)
class Metric:
    """A measure of how good predictions are.

    Attributes:
        function: Takes the actual and the predicted values, in that order, as functions of
            scikit-learn do, and returns a number. Both are arrays of shape (n,); predicted
            probabilities of several classes have shape (n, classes), in the order of
            `Scoring.classes`.
        unit: The unit of the metric; None if it has none, or none that a person would read.
        best: The value of a perfect model. The error is the distance from it.
        loss: If the metric is a mean: takes the same, and returns the loss of each row, shape (n,).
    """

    function: Callable[[Any, Any], float]
    unit: Unit | None = None
    best: float = 0.0
    loss: Callable[[Any, Any], Any] | None = None

    @classmethod
    def mean(
        cls, loss: Callable[[Any, Any], Any], unit: Unit | None = None, best: float = 0.0
    ) -> Metric:
        """The mean of each row's loss. Its intervals are better and quicker than others."""

        def function(actual: Any, predicted: Any) -> float:  # noqa: ANN401  arrays
            return float(loss(actual, predicted).mean())

        return cls(function, unit, best, loss)


@dataclass(frozen=True)
class Scoring:
    """What is measured.

    Attributes:
        rows: What a row is, in the plural, for example `tickets`.
        target: What is predicted, for example `time to close`.
        metrics: By the names under which they are kept. The first one decides whether the model
            became worse.
        unit: The unit of the target; None if it has none.
        baseline: A constant guess that each trial is compared with: a number, a class, or for
            probabilities of several classes a share for each class. None: no comparison. Only
            trials with the same baseline are compared, so it is a literal, kept in git.
        segments: Columns whose values are also measured separately.
        group: The column that says which rows belong together, such as several rows of one ticket;
            None: each row is independent of the others.
        gate: When the model counts as worse.
        classes: The classes, sorted, if the model predicts the probability of each.
    """

    rows: str
    target: str
    metrics: Mapping[str, Metric]
    unit: Unit | None = None
    baseline: float | str | Mapping[str, float] | None = None
    segments: tuple[str, ...] = ()
    group: str | None = None
    gate: Gate = DEFAULT
    classes: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        """Check what would otherwise give wrong numbers silently."""
        if not self.metrics:
            raise InputError("metrics.py: SCORING has no metrics; name at least one")
        if self.classes is not None and list(self.classes) != sorted(set(self.classes)):
            shown = ", ".join(map(repr, sorted(set(self.classes))))
            problem = "classes must be sorted, as scikit-learn expects columns of probabilities"
            raise InputError(f"metrics.py: {problem}; write classes=({shown})")


def absolute_error(actual: Any, predicted: Any) -> Any:  # noqa: ANN401  arrays
    """The distance between actual and predicted value, for each row."""
    return abs(actual - predicted)


def squared_error(actual: Any, predicted: Any) -> Any:  # noqa: ANN401  arrays
    """The square of that distance, for each row."""
    return (actual - predicted) ** 2

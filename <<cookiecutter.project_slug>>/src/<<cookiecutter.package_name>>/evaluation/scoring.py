"""What a good prediction is: units, metrics, and all that metrics.py puts together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .gate import DEFAULT, Gate

OTHERS = "model.py: CHALLENGERS"


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

    def __post_init__(self) -> None:
        """Check what could not be shown."""
        check_name("metrics.py: the symbol of a Unit", self.symbol)
        if not (_is_number(self.per) and self.per > 0):
            problem = f"per of Unit({self.symbol!r}) is {self.per!r}"
            raise InputError(f"metrics.py: {problem}; write a number above 0")


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

    def __post_init__(self) -> None:
        """Check what would otherwise fail far from here."""
        _check_type("unit of a Metric", self.unit, (Unit, type(None)), 'Unit("h"), or None')
        if not _is_number(self.best):
            raise InputError(f"metrics.py: best of a Metric is {self.best!r}; write a number")

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
        """Check what would otherwise give wrong numbers silently, or fail far from here."""
        if not self.metrics:
            raise InputError("metrics.py: SCORING has no metrics; name at least one")
        none = type(None)
        _check_type("metrics", self.metrics, Mapping, "a dict of names and Metric(...)")
        _check_type("unit", self.unit, (Unit, none), 'Unit("h"), or None')
        _check_type("segments", self.segments, (tuple, list), 'a tuple such as ("region",)')
        _check_type("group", self.group, (str, int, none), "a column's name, or None")
        _check_type("gate", self.gate, Gate, "Gate(...)")
        _check_type("classes", self.classes, (tuple, list, none), "a tuple of all classes, or None")
        for name, metric in self.metrics.items():
            check_name("metrics.py: the name of a metric", name)
            _check_type(f"the metric {name!r}", metric, Metric, "Metric(...)")
        for name in ("rows", "target"):
            check_name(f"metrics.py: {name}", getattr(self, name))
        guess = self.baseline
        for each in guess.values() if isinstance(guess, Mapping) else [guess]:
            if not (each is None or isinstance(each, str) or _is_number(each)):
                problem = f"baseline is {guess!r}"
                raise InputError(f"metrics.py: {problem}; write a number, a class, shares or None")
        if len({type(each) for each in self.classes or ()}) > 1:
            problem = f"classes are of several types: {self.classes!r}"
            raise InputError(f"metrics.py: {problem}; write all as text, or all as numbers")
        if self.classes is not None and list(self.classes) != sorted(set(self.classes)):
            shown = ", ".join(map(repr, sorted(set(self.classes))))
            problem = "classes must be sorted, as scikit-learn expects columns of probabilities"
            raise InputError(f"metrics.py: {problem}; write classes=({shown})")


def check_name(what: str, name: object) -> None:
    """Check a name that tables, logs and charts show.

    Raises:
        InputError: It is not text, or would not stay in its line.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise InputError(f"{what} is {name!r}; write text of one line")


def check_models(model: object, predict: object, others: object) -> None:
    """Check the models that are evaluated.

    Args:
        model: MODEL_NAME.
        predict: Its function.
        others: CHALLENGERS.

    Raises:
        InputError: Trials could not be kept under such names, or not be told apart.
    """
    check_name("model.py: MODEL_NAME", model)
    if not isinstance(others, Mapping) or not all(map(callable, others.values())):
        raise InputError(f"{OTHERS} is {others!r}; write a dict of names and functions")
    for name in others:
        check_name(f"{OTHERS}: a name", name)
    if model in others:
        raise InputError(f"{OTHERS}: {model!r} is MODEL_NAME, too; give it another name")
    if len({id(each) for each in (predict, *others.values())}) <= len(others):
        raise InputError(f"{OTHERS} names one function twice, or predict; write one for each")


def _is_number(value: object) -> bool:
    """Whether JSON can hold it, which it cannot if it is numpy's."""
    return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max


def _check_type(
    what: str, value: object, kind: type[Any] | tuple[type[Any], ...], allowed: str
) -> None:
    if not isinstance(value, kind):
        raise InputError(f"metrics.py: {what} is {value!r}; write {allowed}")


def absolute_error(actual: Any, predicted: Any) -> Any:  # noqa: ANN401  arrays
    """The distance between actual and predicted value, for each row."""
    return abs(actual - predicted)


def squared_error(actual: Any, predicted: Any) -> Any:  # noqa: ANN401  arrays
    """The square of that distance, for each row."""
    return (actual - predicted) ** 2

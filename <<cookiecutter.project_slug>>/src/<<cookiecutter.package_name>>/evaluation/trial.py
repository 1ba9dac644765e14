"""A trial: the result of evaluating a model once."""

from __future__ import annotations

import logging
import math
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `history` need not wait for pandas
    import pandas as pd

    from .intervals import Difference
    from .scores import Score
    from .scoring import Scoring, Unit
    from .selection import Selection

log = logging.getLogger(__name__)
STATISTICS = ("mean", "median", "min", "max")
SELECTION = ("batch_size", "seed", "closed_last", "lag")
MAX_CLASSES = 50  # whose counts a trial keeps
UNREADABLE = 1e6  # a number without a unit that is larger is not for a table
Interval = tuple[float, float]


@dataclass(frozen=True)
class Trial:
    """The result of evaluating a model once.

    Attributes:
        id: Unique.
        num_obs: How many rows were evaluated.
        metrics: By name; None where a metric is not defined.
        target: `mean`, `median`, `min` and `max` of the actual values, or how many rows each class
            has.
        created_at: When it was made, in UTC, as ISO 8601 text.
        flow: The flow's name. Only trials of one flow are compared.
        model: The model's name. Only trials of one model are compared.
        source: What was read: `data`, without secrets, and what else data.py says.
        selection: What was asked for: `batch_size`, `seed`, `closed_last`, `lag`.
        window: `from` and `to`, the window on the closing time, as ISO 8601 text; None without one.
        scoring: What was measured: `rows`, `target`, `unit`, `metrics` (each with `unit` and
            `best`), `baseline` and `group`. Only trials with the same scoring are compared.
        groups: How many groups of rows belong together.
        intervals: By metric, 95 % confidence intervals; None where they are not defined.
        baseline: By metric, its `value` and `interval` for the constant guess.
        relative: By metric, the error in proportion to the constant guess's: `value`, `interval`.
        errors: By metric, on the log scale, what decides whether the model became worse:
            `log_error`, `log_relative`, and their standard errors.
        segments: By column, then by value: `num_obs` and `metrics`.
        difference: Of the first metric from that of the model in use, if this is another model's
            trial: `metric`, `model`, `trial`, `value`, `interval`.
        other: What a newer version of this project has added.
    """

    id: str
    num_obs: int
    metrics: Mapping[str, float | None]
    target: Mapping[str, float | None]
    created_at: str
    flow: str | None = None
    model: str | None = None
    source: Mapping[str, Any] | None = None
    selection: Mapping[str, Any] | None = None
    window: Mapping[str, str | None] | None = None
    scoring: Mapping[str, Any] | None = None
    groups: int | None = None
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)
    baseline: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    relative: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    segments: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    difference: Mapping[str, Any] | None = None
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Any) -> Trial:  # noqa: ANN401  parsed JSON
        """Make a trial from what `to_json` gave, now or in an earlier version.

        Raises:
            ValueError, KeyError, TypeError: It is not a trial.
        """
        other = dict(content)
        data = other.pop("data")
        known = {name: other.pop(name) for name in _BESIDE_DATA if name in other}
        measured = {"num_obs": data["num_obs"], "metrics": data["metrics"]}
        trial = cls(**known, **measured, target=data.get("target", {}), other=other)
        trial._check_types()
        return trial

    def to_json(self) -> dict[str, Any]:
        """Convert to strict JSON, with `id` and `data` as in the original."""
        data = {"num_obs": self.num_obs, "metrics": self.metrics, "target": self.target}
        beside = {name: getattr(self, name) for name in _BESIDE_DATA if name != "id"}
        return {"id": self.id, "data": data, **beside, **self.other}

    @property
    def time(self) -> str:
        """What trials are ordered by: the end of the window, else the creation; ISO 8601 text."""
        return (self.window or {}).get("to") or self.created_at

    @property
    def file_name(self) -> str:
        """A name that sorts by time."""
        digits = re.sub(r"[^0-9]", "", self.time).ljust(20, "0")
        return f"{digits[:8]}T{digits[8:20]}Z-{self.id}.json"

    @property
    def period(self) -> str:
        """The window in words, without the time of a day's beginning; empty without one."""
        window = self.window or {}
        start, end = (
            (window.get(name) or "").removesuffix("T00:00:00Z") for name in ("from", "to")
        )
        if start and end:
            return f"{start} to {end}"
        return f"from {start}" if start else end and f"until {end}"

    @property
    def sentence(self) -> str:
        """The result in one sentence, for a log or a state in Prefect."""
        name, value = next(iter(self.metrics.items()))
        shown = f"{name} {self.show(name, value)}"
        closed = f" closed {self.period}" if self.window else ""
        return f"{shown} on {self.count} {self._rows}{closed}, model {self.model}"

    @property
    def comparison(self) -> str | None:
        """How the model compares with the constant guess, in one sentence; None if unknown."""
        name = next(iter(self.metrics))
        relative = self.relative.get(name, {})
        value, interval = relative.get("value"), relative.get("interval")
        if value is None:
            return None
        low, high = interval or (value, value)
        better = "better" if high < 1 else "worse" if low > 1 else "no better"
        constant = (self.scoring or {}).get("baseline")
        guess = "the same shares" if isinstance(constant, Mapping) else self._show_target(constant)
        error = "error in " if (self.scoring or {})["metrics"][name]["best"] else ""
        ratio = f"its {error}{name} is {value:.2f} times that of the guess"
        return f"{self.model} is {better} than always guessing {guess}: {ratio}"

    @property
    def sentences(self) -> list[str]:
        """What a person is told of the trial."""
        return [self.sentence, *filter(None, (self.comparison, self._against_other_model))]

    @property
    def _against_other_model(self) -> str | None:
        if not self.difference or self.difference["value"] is None:
            return None
        name, ends = self.difference["metric"], self.difference["interval"]
        shown = self.show(name, self.difference["value"])
        interval = f" ({self.show(name, ends[0])} to {self.show(name, ends[1])})" if ends else ""
        return f"{name} of {self.model} minus that of {self.difference['model']}: {shown}{interval}"

    @property
    def count(self) -> str:
        """How many rows, and of how many groups, if they are fewer."""
        if self.groups in (None, self.num_obs):
            return f"{self.num_obs:,}"
        return f"{self.num_obs:,} of {self.groups:,}"

    def show(self, metric: str, value: float | None, *, with_unit: bool = True) -> str:
        """A metric's value for a person, in its unit."""
        unit = ((self.scoring or {}).get("metrics", {}).get(metric) or {}).get("unit")
        return _show(value, unit, with_unit=with_unit)

    def as_row(self) -> dict[str, str]:
        """The trial as a line of a table, by the names of its columns."""
        units = {name: each.get("unit") for name, each in self._metrics_scored.items()}
        row = {
            "Window or created": self.period or f"{self.created_at[:16]}Z",
            "Trial": self.id[:8],
            "Model": self.model or "",
            self._rows.capitalize(): self.count,
        }
        for name, value in self.metrics.items():
            unit = units.get(name)
            if unit or abs(value or 0.0) < UNREADABLE:
                header = f"{name}, {unit['symbol']}" if unit else name
                row[header] = self.show(name, value, with_unit=False)
        return row

    def as_table(self) -> list[dict[str, Any]]:
        """The numbers, a row each: `measure`, `value` as kept, `shown` in its unit, and so on."""
        rows: list[dict[str, Any]] = [
            {"measure": self._rows, "value": self.num_obs, "shown": self.count}
        ]
        for name, value in self.metrics.items():
            interval = [self.show(name, end) for end in self.intervals.get(name) or ()]
            guess = self.baseline.get(name, {}).get("value")
            row = {"measure": name, "value": value, "shown": self.show(name, value)}
            row |= {"95 % interval": " to ".join(interval), "constant guess": self.show(name, guess)}
            rows.append(row | {"times the guess's error": self.relative.get(name, {}).get("value")})
        target = (self.scoring or {}).get("target", "target")
        for name, value in self.target.items():
            measure = f"actual {target}, {name}"
            rows.append({"measure": measure, "value": value, "shown": self._show_target(value)})
        for column, values in self.segments.items():
            for segment, measured in values.items():
                for name, value in measured["metrics"].items():
                    measure = f"{name}, {column} {segment} ({measured['num_obs']:,} {self._rows})"
                    shown = self.show(name, value)
                    rows.append({"measure": measure, "value": value, "shown": shown})
        return rows

    @property
    def _rows(self) -> str:
        return str((self.scoring or {}).get("rows", "rows"))

    @property
    def _metrics_scored(self) -> Mapping[str, Any]:
        return (self.scoring or {}).get("metrics", {})

    def _show_target(self, value: Any) -> str:  # noqa: ANN401  a number, a count or a class
        is_number = isinstance(value, (int, float))
        return _show(value, (self.scoring or {}).get("unit")) if is_number else str(value)

    def _check_types(self) -> None:
        optional = [self.flow, self.model, *(self.window or {}).values()]
        texts = [self.id, self.created_at, *(text for text in optional if text is not None)]
        numbers = [*self.metrics.values(), *self.target.values()]
        if type(self.num_obs) is not int:
            raise TypeError("num_obs is not a whole number")
        "".join(texts).encode()  # TypeError for what is not text; or it could not be shown
        if not all(type(number) in (int, float, type(None)) for number in numbers):
            raise TypeError("a metric is not a number")
        # OverflowError for an integer that no float can hold.
        if not all(math.isfinite(number) for number in numbers if number is not None):
            raise ValueError("a metric is not finite")


_IN_DATA = ("num_obs", "metrics", "target")
_BESIDE_DATA = [each.name for each in fields(Trial) if each.name not in (*_IN_DATA, "other")]


def get_trial_id() -> str:
    """Make a unique identifier for a trial."""
    return str(uuid.uuid4())


def get_trial_summary(
    trial_id: str,
    actuals: pd.Series[Any],
    input_df: pd.DataFrame,
    metrics: Mapping[str, Score],
    scoring: Scoring,
    selection: Selection,
    flow_name: str,
    model: str,
    difference: Difference | None = None,
    compared_with: Trial | None = None,
) -> Trial:
    """Collect the results in a trial.

    Args:
        trial_id: From `get_trial_id`.
        actuals: Shape (n,): the actual values.
        input_df: Shape (n, any): the rows. `attrs["source"]` says what was read, if data.py sets
            it.
        metrics: By name, from `evaluate_model`.
        scoring: What was measured.
        selection: What was asked for.
        flow_name: The flow's name.
        model: The model's name.
        difference: From the model in use, if this is another model's trial.
        compared_with: The trial of the model in use.
    """
    # `history`, which needs only the class, need not wait for these.
    from .scores import count_groups, suggest_baseline

    if scoring.baseline is None:
        problem = "metrics.py: SCORING has no baseline, so there is no comparison with a guess"
        log.warning("%s; add this line: %s", problem, suggest_baseline(actuals, scoring))
    now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
    first = next(iter(metrics.values()))
    names = {column: list(values) for column, values in first.segments.items()}
    return Trial(
        id=trial_id,
        num_obs=len(input_df),
        metrics={name: score.all.value for name, score in metrics.items()},
        target=_summarize(actuals),
        created_at=now.replace("+00:00", "Z"),
        flow=flow_name,
        model=model,
        source=input_df.attrs.get("source", {"data": selection.data}),
        selection={name: getattr(selection, name) for name in SELECTION},
        window=selection.window,
        scoring=_describe(scoring),
        groups=count_groups(input_df, scoring),
        intervals={name: score.all.interval for name, score in metrics.items()},
        baseline={
            name: {"value": score.all.baseline, "interval": score.all.baseline_interval}
            for name, score in metrics.items()
        },
        relative={
            name: {"value": score.all.relative, "interval": score.all.relative_interval}
            for name, score in metrics.items()
        },
        errors={
            name: {each: getattr(score.all, each) for each in ERRORS}
            for name, score in metrics.items()
        },
        segments={
            column: {
                name: {
                    "num_obs": first.segments[column][name][0],
                    "metrics": {m: score.segments[column][name][1] for m, score in metrics.items()},
                }
                for name in values
            }
            for column, values in names.items()
        },
        difference=_describe_difference(difference, compared_with, next(iter(metrics))),
    )


ERRORS = ("log_error", "log_error_se", "log_relative", "log_relative_se")


def _describe(scoring: Scoring) -> dict[str, Any]:
    def unit(of: Unit | None) -> dict[str, Any] | None:
        return of and asdict(of)

    metrics = {
        name: {"unit": unit(metric.unit), "best": metric.best}
        for name, metric in scoring.metrics.items()
    }
    return {
        "rows": scoring.rows,
        "target": scoring.target,
        "unit": unit(scoring.unit),
        "metrics": metrics,
        "baseline": scoring.baseline,
        "group": scoring.group,
    }


def _describe_difference(
    difference: Difference | None, trial: Trial | None, metric: str
) -> dict[str, Any] | None:
    if difference is None or trial is None:
        return None
    what = {"metric": metric, "model": trial.model, "trial": trial.id}
    return {**what, "value": difference.value, "interval": difference.interval}


def _summarize(actuals: Iterable[Any]) -> dict[str, float | None]:
    """Statistics of numbers, or how many rows each class has."""
    import numpy as np

    values = np.asarray(actuals)
    if values.dtype.kind in "bifu":
        found = {name: float(getattr(np, name)(values)) for name in STATISTICS}
        return {name: value if math.isfinite(value) else None for name, value in found.items()}
    names, counts = np.unique(values.astype(str), return_counts=True)
    common = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    return {str(names[code]): int(counts[code]) for code in common}


def _show(value: float | None, unit: Mapping[str, Any] | None, *, with_unit: bool = True) -> str:
    if value is None:
        return "undefined" if with_unit else "-"
    if unit is None:
        return f"{value:.3f}" if abs(value) < UNREADABLE else f"{value:.3e}"
    text = f"{value / unit['per']:,.1f}"
    return f"{text} {unit['symbol']}" if with_unit else text

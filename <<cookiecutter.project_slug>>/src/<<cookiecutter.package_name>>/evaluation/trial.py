"""A trial: the result of evaluating a model once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .gate import WORSE
from .shapes import SHAPES
from .tables import make_line, show_number

ENDS = ("from", "to")  # of a window
MAX_CLASSES = 50  # whose counts a trial keeps
MAX_SEGMENTS = 20  # values of a column that are measured separately; the rest is measured together


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
        execution: How the steps were run: `single-machine`, `dask-cluster` or `dask-task`.
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
        outcomes: How predictions compare with actual values: by bins of predictions (`numbers` or
            `probabilities`), and for `classes` how many rows have each actual and predicted one.
        checks: What is missing: `rows`, how many were there; how many of them are
            `without_target` or `without_prediction`, and so left out; by column in `missing`, the
            share of rows without a value; and `odd`, what a person is told of that.
        gate: Whether the model became worse: `name` (`worse`, `data changed`, `as before`, `too
            little history` or `too few rows`), the `sentence` that says so, and its numbers.
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
    execution: str | None = None
    source: Mapping[str, Any] | None = None
    selection: Mapping[str, Any] | None = None
    window: Mapping[str, str | None] | None = None
    scoring: Mapping[str, Any] | None = None
    groups: int | None = None
    intervals: Mapping[str, list[float] | None] = field(default_factory=dict)
    baseline: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    relative: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    segments: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    outcomes: Mapping[str, Any] | None = None
    checks: Mapping[str, Any] | None = None
    gate: Mapping[str, Any] | None = None
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
        parts = {name: other.pop(name) for name in _BESIDE_DATA if name in other}
        parts = {name: value for name, value in parts.items() if value is not None}
        parts |= {"target": {}, **{name: data[name] for name in _IN_DATA if name in data}}
        for name, is_right in SHAPES.items():
            if name in parts and not is_right(parts[name]):
                raise ValueError(f"{name} does not look as it should")
        return cls(**parts, other=other)

    def to_json(self) -> dict[str, Any]:
        """Convert to strict JSON, with `id` and `data` as in the original."""
        data = {name: getattr(self, name) for name in _IN_DATA}
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
        start, end = ((window.get(name) or "").partition("T00:00:00Z")[0] for name in ENDS)
        if start and end:
            return f"{start} to {end}"
        return f"from {start}" if start else end and f"until {end}"

    @property
    def sentence(self) -> str:
        """The result in one sentence, for a log or a state in Prefect."""
        name, value = next(iter(self.metrics.items()), ("no metric:", None))
        shown = f"{name} {self.show(name, value)}"
        closed = f" closed {self.period}" if self.window else ""
        return f"{shown} on {self.counted}{closed}, {self.model}"

    @property
    def counted(self) -> str:
        """How many rows, and how many groups, if they are fewer, in words."""
        by = "" if self._is_ungrouped else f" ({self.groups:,} by {self.scored('group')})"
        return f"{self.num_obs:,} {self.scored('rows', 'rows')}{by}"

    @property
    def comparison(self) -> str | None:
        """How the model compares with the constant guess, in one sentence; None if unknown."""
        name = next(iter(self.metrics), "")
        relative = self.relative.get(name, {})
        value, interval = relative.get("value"), relative.get("interval")
        if value is None:
            return None
        constant = self.scored("baseline")
        guess = "the same shares" if isinstance(constant, Mapping) else self._show_target(constant)
        error = "error in " if self.scored("metrics", {}).get(name, {}).get("best") else ""
        times = f"{value:.2f}" if value == 1 or abs(value - 1) >= 0.005 else f"{value:.4f}"
        ratio = f"its {error}{name} is {times} times that of the guess"
        if not interval:
            few = f"on too few {self.scored('rows', 'rows')} to be certain"
            return f"{self.model} compared with always guessing {guess}: {ratio}, {few}"
        better = "better" if interval[1] < 1 else "worse" if interval[0] > 1 else "no better"
        return f"{self.model} is {better} than always guessing {guess}: {ratio}"

    @property
    def sentences(self) -> list[str]:
        """What a person is told of the trial."""
        odd = (self.checks or {}).get("odd") or ()
        more = (self.comparison, self.verdict, self._against_other_model, *odd)
        return [self.sentence, *filter(None, more)]

    @property
    def verdict(self) -> str | None:
        """Whether the model became worse, in one sentence; None if it was not judged."""
        return (self.gate or {}).get("sentence")

    @property
    def is_worse(self) -> bool:
        """Whether the model became worse."""
        return (self.gate or {}).get("name") == WORSE

    @property
    def _against_other_model(self) -> str | None:
        if not self.difference or self.difference.get("value") is None:
            return None
        name, ends = self.difference["metric"], self.difference.get("interval")
        shown = self.show(name, self.difference["value"])
        interval = f" ({self.show(name, ends[0])} to {self.show(name, ends[1])})" if ends else ""
        return f"{name} of {self.model} minus that of {self.difference['model']}: {shown}{interval}"

    def unit(self, metric: str) -> Mapping[str, Any] | None:
        """A metric's unit: its `symbol`, and what it is in terms of that (`per`)."""
        unit: Mapping[str, Any] | None = self.scored("metrics", {}).get(metric, {}).get("unit")
        return unit

    def header(self, metric: str) -> str:
        """A metric's name with its unit."""
        unit = self.unit(metric)
        return f"{metric}, {unit['symbol']}" if unit else metric

    def show(self, metric: str, value: float | None, *, with_unit: bool = True) -> str:
        """A metric's value for a person, in its unit."""
        return show_number(value, self.unit(metric), with_unit=with_unit)

    def as_row(self) -> dict[str, str]:
        """The trial as a line of a table, by the names of its columns."""
        row = {
            "Window or created": self.period or f"{self.created_at[:16]}Z",
            "Trial": self.id[:8],
            "Model": self.model or "",
            str(self.scored("rows", "rows")).capitalize(): self._count,
        }
        for name, value in self.metrics.items():
            row[self.header(name)] = self.show(name, value, with_unit=False)
        return row

    def as_comparison(self) -> dict[str, str]:
        """How a challenger's trial differs from that of the model in use, by columns of a table."""
        found = self.difference or {}
        name = found["metric"]
        value, difference, ends = self.metrics.get(name), found.get("value"), found.get("interval")
        in_use = None if value is None or difference is None else value - difference
        return {
            **dict(list(self.as_row().items())[:3]),
            "In use": found["model"],
            f"{name} in use": self.show(name, in_use),
            name: self.show(name, value),
            "Difference": self.show(name, difference),
            "95 % interval": " to ".join(self.show(name, end) for end in ends or ()) or "-",
        }

    def as_table(self) -> list[dict[str, Any]]:
        """The numbers, a row each: `measure`, `value` as kept, `shown` in its unit, and so on."""
        rows, target = self.scored("rows", "rows"), self.scored("target", "target")
        table = [make_line(rows, self.num_obs, self._count)]
        for name, value in self.metrics.items():
            interval = [self.show(name, end) for end in self.intervals.get(name) or ()]
            guess = self.show(name, self.baseline.get(name, {}).get("value"))
            relative = self.relative.get(name, {}).get("value")
            shown = self.show(name, value)
            table.append(make_line(name, value, shown, " to ".join(interval), guess, relative))
        for name, value in self.target.items():
            table.append(make_line(f"actual {target}, {name}", value, self._show_target(value)))
        for column, values in self.segments.items():
            for segment, measured in values.items():
                for name, value in measured["metrics"].items():
                    measure = f"{name}, {column} {segment}: {measured['num_obs']:,} {rows}"
                    table.append(make_line(measure, value, self.show(name, value)))
        return table

    @property
    def _count(self) -> str:
        """How many rows, and in parentheses how many groups, if they are fewer."""
        return f"{self.num_obs:,}" + ("" if self._is_ungrouped else f" ({self.groups:,})")

    @property
    def _is_ungrouped(self) -> bool:
        return self.groups in (None, self.num_obs)

    def scored(self, what: str, default: Any = None) -> Any:  # noqa: ANN401  JSON
        """Something of the scoring that the trial was made with."""
        return (self.scoring or {}).get(what, default)

    def _show_target(self, value: Any) -> str:  # noqa: ANN401  a number, a count or a class
        unit = self.scored("unit")
        if isinstance(value, int) and unit is None:
            return f"{value:,}"
        return show_number(value, unit) if isinstance(value, (int, float)) else str(value)


_IN_DATA = ("num_obs", "metrics", "target")
_BESIDE_DATA = [each.name for each in fields(Trial) if each.name not in (*_IN_DATA, "other")]

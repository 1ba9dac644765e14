"""A trial: the result of evaluating a model once."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `history` need not wait for pandas
    import pandas as pd

    from .selection import Selection

SECONDS_IN_AN_HOUR = 3600.0
IN_HOURS = ("MAE", "MedAE")  # kept in seconds, shown in hours
COLUMNS = ("Window or created", "Trial", "Model", "Tickets", "MAE, h", "MedAE, h", "R2")
SELECTION = ("batch_size", "seed", "closed_last")
TARGET = ("mean", "median", "min", "max")
_BESIDE_DATA = ("id", "created_at", "flow", "model", "source", "selection", "window")


@dataclass(frozen=True)
class Trial:
    """The result of evaluating a model once.

    Attributes:
        id: Unique.
        num_obs: How many rows were evaluated.
        metrics: By name, in seconds or a power of them; None where a metric is not defined.
        target: `mean`, `median`, `min` and `max` of the actual values, in seconds.
        created_at: When it was made, in UTC, as ISO 8601 text.
        flow: The flow's name. Only trials of one flow are compared.
        model: The model's name. Only trials of one model are compared.
        source: What was read: `data`, without secrets, and what else data.py says.
        selection: `batch_size`, `seed` and `closed_last` as asked for.
        window: `from` and `to`, the window on the closing time, as ISO 8601 text; None without one.
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
        return {
            "id": self.id,
            "data": {
                "num_obs": self.num_obs,
                "metrics": dict(self.metrics),
                "target": dict(self.target),
            },
            **{name: getattr(self, name) for name in _BESIDE_DATA if name != "id"},
            **self.other,
        }

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
    def sentence(self) -> str:
        """The result in one sentence, for a log or a state in Prefect."""
        name, value = next(iter(self.metrics.items()), ("no metric", None))
        shown = f"{name} {'undefined' if value is None else _text(name, value)}"
        hours = " h" if name in IN_HOURS and value is not None else ""
        closed = f" closed {self._period}" if self.window else ""
        return f"{shown}{hours} on {self.num_obs:,} tickets{closed}, model {self.model}"

    def as_row(self) -> list[str]:
        """The values of COLUMNS, as text, for the table of trials."""
        when = self._period if self.window else f"{self.created_at[:16]}Z"
        names = ("MAE", "MedAE", "R2")
        values = [_text(name, self.metrics.get(name)) for name in names]
        return [when, self.id[:8], self.model or "", f"{self.num_obs:,}", *values]

    def as_table(self) -> list[dict[str, Any]]:
        """The numbers, a row each: `measure`, `value` (as kept), `in hours` (for times)."""
        target = {f"actual time to close, {name}": value for name, value in self.target.items()}
        rows = []
        for name, value in {"tickets": self.num_obs, **self.metrics, **target}.items():
            is_time = value is not None and (name in target or name in IN_HOURS)
            hours = round(value / SECONDS_IN_AN_HOUR, 1) if is_time and value is not None else ""
            rows.append({"measure": name, "value": value, "in hours": hours})
        return rows

    @property
    def _period(self) -> str:
        """The window, without the time of a day's beginning."""
        window = self.window or {}
        start, end = (
            (window.get(name) or "").removesuffix("T00:00:00Z") for name in ("from", "to")
        )
        if start and end:
            return f"{start} to {end}"
        return f"from {start}" if start else f"until {end}"

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


def get_trial_id() -> str:
    """Make a unique identifier for a trial."""
    return str(uuid.uuid4())


def get_trial_summary(
    trial_id: str,
    actuals: pd.Series[float],
    input_df: pd.DataFrame,
    metrics: Mapping[str, float | None],
    selection: Selection,
    flow_name: str,
    model: str,
) -> Trial:
    """Collect the results in a trial.

    Args:
        trial_id: From `get_trial_id`.
        actuals: Shape (n,): actual times to close, in seconds.
        input_df: Shape (n, any): the rows. `attrs["source"]` says what was read, if data.py sets
            it.
        metrics: Metrics by name.
        selection: What was asked for.
        flow_name: The flow's name.
        model: The model's name.
    """
    import numpy as np  # `history`, which needs only the class, need not wait for it

    now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
    values = np.asarray(actuals, dtype=float)
    statistics = {name: float(getattr(np, name)(values)) for name in TARGET}
    return Trial(
        id=trial_id,
        num_obs=len(input_df),
        metrics=metrics,
        target={name: v if math.isfinite(v) else None for name, v in statistics.items()},
        created_at=now.replace("+00:00", "Z"),
        flow=flow_name,
        model=model,
        source=input_df.attrs.get("source", {"data": selection.data}),
        selection={name: getattr(selection, name) for name in SELECTION},
        window=selection.window,
    )


def _text(metric: str, value: float | None) -> str:
    """A metric for a person, in hours where it is a time."""
    if value is None:
        return "-"
    return f"{value / SECONDS_IN_AN_HOUR:,.1f}" if metric in IN_HOURS else f"{value:.3f}"

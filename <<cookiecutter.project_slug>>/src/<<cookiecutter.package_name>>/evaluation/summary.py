"""Collecting the results in a trial."""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError, redact_url
from .checks import count_missing
from .history import judge_trial
from .intervals import Difference, Interval
from .outcomes import describe_outcomes
from .pairs import pair
from .scores import Score, suggest_baseline
from .scoring import Scoring, Unit
from .selection import Selection
from .trial import MAX_CLASSES, Trial

STATISTICS = ("mean", "median", "min", "max")
SELECTION = ("batch_size", "seed", "closed_last", "lag")
ERRORS = ("log_error", "log_error_se", "log_relative", "log_relative_se")
log = logging.getLogger(__name__)


def get_trial_id() -> str:
    """Make a unique identifier for a trial."""
    return str(uuid.uuid4())


def derive_trial_id(
    model: str,
    selection: Selection,
    source: Any,  # noqa: ANN401  what data.py says
    scoring: Scoring,
    flow_name: str,
) -> str:
    """Derive the identifier of a trial from what it evaluates: the same gives the same one.

    Args:
        model: The model's name.
        selection: What was asked for.
        source: From `describe_source`. If it holds a `sha256`, only that counts.
        scoring: What is measured.
        flow_name: The flow's name.
    """
    content = source.get("sha256") if isinstance(source, Mapping) else None
    asked = {name: getattr(selection, name) for name in SELECTION}
    what = [flow_name, model, _describe(scoring), asked, selection.window, content or source]
    return str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(what, sort_keys=True, default=str)))


def describe_source(input_df: pd.DataFrame, selection: Selection) -> Any:  # noqa: ANN401  JSON
    """What was read, without secrets, as a trial keeps it."""
    try:
        return _redact(input_df.attrs.get("source", {"data": selection.data}))
    except RecursionError:
        raise InputError('data.py: attrs["source"] contains itself; name what was read') from None


def get_trial_summary(
    trial_id: str,
    actuals: pd.Series[Any],
    preds: Any,  # noqa: ANN401  what a user returns
    input_df: pd.DataFrame,
    metrics: Mapping[str, Score],
    scoring: Scoring,
    selection: Selection,
    flow_name: str,
    model: str,
    execution: str = "single-machine",
    history: Sequence[Trial] = (),
    difference: Difference | None = None,
    compared_with: Trial | None = None,
) -> Trial:
    """Collect the results in a trial.

    Args:
        trial_id: From `get_trial_id`.
        actuals: Shape (n,): the actual values.
        preds: Shape (n,), or (n, classes) for probabilities: the predictions.
        input_df: Shape (n, any): the rows. `attrs["source"]` says what was read, if data.py sets
            it.
        metrics: By name, from `evaluate_model`.
        scoring: What was measured.
        selection: What was asked for.
        flow_name: The flow's name.
        model: The model's name.
        execution: How the steps were run.
        history: Earlier trials, with which this one is compared.
        difference: From the model in use, if this is another model's trial.
        compared_with: The trial of the model in use.
    """
    pairs = pair(actuals, preds, input_df, scoring)
    if scoring.baseline is None:
        problem = "metrics.py: SCORING has no baseline, so there is no comparison with a guess"
        log.warning("%s; add this line: %s", problem, suggest_baseline(actuals, scoring))
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    trial = Trial(
        id=trial_id,
        num_obs=len(pairs.rows),
        metrics={name: score.all.value for name, score in metrics.items()},
        target=_summarize(pairs.actual),
        created_at=now.replace("+00:00", "Z"),
        flow=flow_name,
        model=model,
        execution=execution,
        source=describe_source(input_df, selection),
        selection={name: getattr(selection, name) for name in SELECTION},
        window=selection.window,
        scoring=_describe(scoring),
        groups=next(iter(metrics.values())).all.groups,
        intervals={name: _ends(score.all.interval) for name, score in metrics.items()},
        baseline={
            name: {"value": score.all.baseline, "interval": _ends(score.all.baseline_interval)}
            for name, score in metrics.items()
        },
        relative={
            name: {"value": score.all.relative, "interval": _ends(score.all.relative_interval)}
            for name, score in metrics.items()
        },
        errors={
            name: {each: getattr(score.all, each) for each in ERRORS}
            for name, score in metrics.items()
        },
        segments=_collect_segments(metrics),
        outcomes=describe_outcomes(pairs, scoring.classes),
        checks=count_missing(input_df, pairs),
        difference=_describe_difference(difference, compared_with, next(iter(metrics))),
    )
    return judge_trial(trial, history, scoring.gate)


def _redact(value: Any) -> Any:  # noqa: ANN401  what data.py says of its source
    """The value as strict JSON, without the secrets that an address in it may hold."""
    if isinstance(value, Mapping):
        return {str(name): _redact(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redact(each) for each in value]
    if isinstance(value, (bool, int, type(None))) or (
        isinstance(value, float) and math.isfinite(value)
    ):
        return value
    return redact_url(str(value)) if "://" in str(value) else str(value)


def _collect_segments(metrics: Mapping[str, Score]) -> dict[str, dict[str, Any]]:
    """By column and value, the number of rows and the metrics."""
    found: dict[str, dict[str, Any]] = {}
    for metric, score in metrics.items():
        for column, values in score.segments.items():
            for name, (num_obs, value) in values.items():
                new = {"num_obs": num_obs, "metrics": {}}
                segment = found.setdefault(column, {}).setdefault(name, new)
                segment["metrics"][metric] = value
    return found


def _describe(scoring: Scoring) -> dict[str, Any]:
    def unit(of: Unit | None) -> dict[str, Any] | None:
        return asdict(of) if of else None

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
    return {**what, "value": difference.value, "interval": _ends(difference.interval)}


def _ends(interval: Interval | None) -> list[float] | None:
    """As JSON has it, so that a trial is the same when it is read back."""
    return None if interval is None else list(interval)


def _summarize(actuals: Iterable[Any]) -> dict[str, float | None]:
    """Statistics of numbers, or how many rows each class has."""
    values = np.asarray(actuals)
    if values.dtype.kind in "bifu":
        with np.errstate(all="ignore"):  # a mean of numbers near the largest one
            found = {name: float(getattr(np, name)(values)) for name in STATISTICS}
        return {name: value if math.isfinite(value) else None for name, value in found.items()}
    names, counts = np.unique(values.astype(str), return_counts=True)
    common = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    return {str(names[code]): int(counts[code]) for code in common}

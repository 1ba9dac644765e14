"""One trial, from rows to result: the sequence of the steps stands here and nowhere else.

Nothing here knows Prefect. A flow passes its own `step`, which runs each function as a task. What
a step returns is then a future (Prefect 3) or a task (Prefect 1), and the next step takes it as it
is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

import pandas as pd

from .data import get_target, get_ticket_data_batch
from .evaluation.metrics import METRICS, evaluate_model
from .evaluation.selection import Selection
from .evaluation.store import check_place, write_trial_summary
from .evaluation.trial import Trial, get_trial_id, get_trial_summary
from .model import MODEL_NAME, predict

P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)


class Step(Protocol):
    """Runs a function with its arguments, here or as a task."""

    def __call__(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function, or submit it as a task, in place of a plain call."""


def call(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a step here and now."""
    return function(*args, **kwargs)


def evaluate_batch(
    batch: pd.DataFrame, selection: Selection, flow_name: str, step: Step = call
) -> Trial:
    """Evaluate the model on a batch.

    Args:
        batch: Rows from `get_ticket_data_batch`; at least one.
        selection: What was asked for.
        flow_name: The flow's name. Only trials of one flow are compared.
        step: Runs each step.

    Returns:
        The trial, which is not kept yet.
    """
    trial_id = step(get_trial_id)
    actuals = step(get_target, batch)
    preds = step(predict, batch)
    metrics = {name: step(evaluate_model, actuals, preds, name) for name in METRICS}
    return step(
        get_trial_summary, trial_id, actuals, batch, metrics, selection, flow_name, MODEL_NAME
    )


def run_trial(selection: Selection, *, place: str, flow_name: str) -> Trial | None:
    """Get a batch, evaluate the model on it and keep the trial, without Prefect.

    Args:
        selection: Which rows.
        place: Where the trial is kept, as in `write_trial_summary`.
        flow_name: The flow's name.

    Returns:
        The trial; None if no row was selected.

    Raises:
        InputError: The data cannot be read, or the trial cannot be kept.
    """
    check_place(place)
    batch = get_ticket_data_batch(selection)
    if batch.empty:
        log.info("no rows closed %s: nothing to evaluate", selection.period)
        return None
    trial = evaluate_batch(batch, selection, flow_name)
    kept = write_trial_summary(trial, place)
    log.info(
        "trial %s: %s; %s", trial.id, trial.sentence, f"kept in {kept}" if kept else "not kept"
    )
    return trial

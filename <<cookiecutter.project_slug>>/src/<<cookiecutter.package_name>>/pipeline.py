"""One trial from end to end, as plain functions: nothing here or in what it calls knows of Prefect."""

from __future__ import annotations

import logging
from typing import Any

from .data import get_target, get_ticket_data_batch
from .evaluation.metrics import METRICS, evaluate_model, get_trial_id, get_trial_summary
from .model import MODEL_NAME, predict
from .evaluation.selection import Selection
from .evaluation.store import check_place, write_trial_summary

log = logging.getLogger(__name__)


def run_trial(selection: Selection, *, trials: str, flow: str) -> dict[str, Any] | None:
    """Evaluate the model on the selected tickets and keep the result.

    Args:
        selection: Which tickets.
        trials: Where the trial is kept, as in `write_trial_summary`.
        flow: The flow's name.

    Returns:
        The trial; None where the window holds no ticket.

    Raises:
        InputError: When the data cannot be had or the trial cannot be kept.
    """
    check_place(trials)
    trial_id = get_trial_id()
    tickets = get_ticket_data_batch(selection)
    if tickets.empty:
        log.info("no ticket was closed in the window %s: nothing to evaluate", selection.period)
        return None
    actuals = get_target(tickets)
    preds = predict(tickets)
    summary = get_trial_summary(
        trial_id,
        actuals,
        tickets,
        metrics={name: evaluate_model(actuals, preds, name.lower()) for name in METRICS},
        selection=selection,
        flow=flow,
        model=MODEL_NAME,
    )
    place = write_trial_summary(summary, trials)
    log.info("trial %s: %s", summary["id"], f"kept in {place}" if place else "not kept anywhere")
    return summary

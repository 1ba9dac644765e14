"""One trial, from rows to result: the sequence of the steps stands here and nowhere else.

Nothing here knows Prefect. A flow passes its own `step`, which runs each function as a task. What
a step returns is then a future (Prefect 3) or a task (Prefect 1), and the next step takes it as it
is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar

import pandas as pd

from . import data, model
from .data import get_target
from .data import get_ticket_data_batch as get_rows
from .errors import InputError
from .evaluation.blocks import MANY, Block, Computed, narrow_rows, pack_block
from .evaluation.scores import compare_models, evaluate_model
from .evaluation.scoring import check_models
from .evaluation.selection import Selection
from .evaluation.store import NONE, check_place, read_trials, write_trial_summary
from .evaluation.summary import get_trial_id, get_trial_summary
from .evaluation.trial import Trial
from .metrics import SCORING
from .model import MODEL_NAME, predict
from .settings import SINGLE_MACHINE, load_settings

P = ParamSpec("P")
R = TypeVar("R")
# Other models, by name, to be compared with the one in use on the same rows.
CHALLENGERS: dict[str, Callable[[pd.DataFrame], Any]] = getattr(model, "CHALLENGERS", {})
check_models(MODEL_NAME, predict, CHALLENGERS)
# Reads the source in parts, if data.py can; and the column by which the parts keep to a window.
BLOCKS: Callable[[Selection], Iterable[Callable[[], pd.DataFrame]]] | None
BLOCKS = getattr(data, "blocks", None)
CLOSED_AT: str = getattr(data, "CLOSED_AT", "closed_at")
LAST = 200  # trials, of all models, that a new one may be compared with
log = logging.getLogger(__name__)


class Step(Protocol):
    """Runs a function with its arguments, here or as a task."""

    def __call__(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function, or submit it as a task, in place of a plain call."""


def call(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a step here and now.

    Raises:
        InputError: The user's function needs a column that the rows do not have.
    """
    try:
        return function(*args, **kwargs)
    except KeyError as error:
        rows, name = args[0], error.args[0] if error.args else None
        if not isinstance(rows, pd.DataFrame) or name in rows:
            raise
        file = "data.py" if function is get_target else "model.py"
        names = ", ".join(map(str, rows.columns))
        problem = f"{file}: {function.__name__} needs the column {name!r}; the rows have {names}"
        raise InputError(f"{problem}; let data.py return it, or change that function") from error


def get_ticket_data_batch(selection: Selection) -> pd.DataFrame:
    """Get a batch from data.py.

    Raises:
        InputError: The rows cannot be read, or are not a data frame.
    """
    return _check_rows("get_ticket_data_batch", get_rows(selection))


def read_history() -> list[Trial]:
    """Read the latest trials, to judge a new one."""
    place = load_settings().trials
    return [] if place == NONE else read_trials(place, last=LAST)


def get_blocks(selection: Selection) -> Iterable[Callable[[], pd.DataFrame]]:
    """Get what reads the source in parts, each without the others.

    Raises:
        InputError: data.py has no `blocks`, or the source cannot be read.
    """
    if BLOCKS is None:
        problem = "it has no function `blocks`, which reads the rows in parts, as dask-task needs"
        hint = "let blocks(selection) return a list of functions that return a data frame each"
        raise InputError(f"data.py: {problem}; {hint}, or set another EXECUTION")
    return BLOCKS(selection)


def compute_part(read: Callable[[], pd.DataFrame], selection: Selection) -> Block:
    """Read a part of the source, and compute target and predictions of its rows.

    Args:
        read: From `get_blocks`.
        selection: What was asked for; window and batch are left for later.

    Returns:
        What a trial needs.

    Raises:
        InputError: The rows cannot be read, or a function does not fit them.
    """
    rows = _check_rows("a function from blocks", read())
    if rows.empty:
        return Block(rows.attrs.get("source"))
    functions: dict[str, Callable[[pd.DataFrame], Any]] = {
        "get_target": get_target,
        "predict": predict,
        **{f"predict-{name}": function for name, function in CHALLENGERS.items()},
    }
    found = {name: call(function, rows) for name, function in functions.items()}
    return pack_block(rows, found, selection, SCORING, CLOSED_AT)


def draw_batch(selection: Selection, computed: Computed) -> pd.DataFrame:
    """Draw a batch of rows that were computed before: the same that data.py would have drawn."""
    rows = computed.rows
    return rows if rows.empty else selection.draw(rows, closed_at=CLOSED_AT)


def pick_values(computed: Computed, batch: pd.DataFrame, name: str) -> Any:  # noqa: ANN401
    """Get what get_target, predict or a challenger (predict-NAME) computed for a batch."""
    return computed.pick(batch, name)


def evaluate_batch(
    batch: pd.DataFrame,
    selection: Selection,
    flow_name: str,
    step: Step = call,
    ids: Mapping[str, str] | None = None,
    execution: str = SINGLE_MACHINE,
    computed: Computed | None = None,
) -> list[Trial]:
    """Evaluate the model, and its challengers, on a batch.

    Args:
        batch: Rows from `get_ticket_data_batch`; for steps that are plain calls there may be none.
        selection: What was asked for.
        flow_name: The flow's name. Only trials of one flow are compared.
        step: Runs each step.
        ids: Of the trials, by model; a model without one gets a new one.
        execution: How the steps are run: one of EXECUTIONS.
        computed: What was computed of all rows before, if it was; the batch was drawn from it.

    Returns:
        The trial of the model, then those of its challengers; no trial if there are no rows. They
        are not kept yet.
    """
    if step is call and batch.empty:
        log.info("no rows closed %s: nothing to evaluate", selection.period)
        return []

    def compute(function: Callable[..., Any], name: str) -> Any:  # noqa: ANN401  of a step
        if computed is None:
            return step(function, batch)
        return step(pick_values, computed, batch, name)

    def evaluate(name: str, preds: Any, *compared: Any) -> Trial:  # noqa: ANN401  of a step
        trial_id = (ids or {}).get(name) or step(get_trial_id)
        history = step(read_history)
        metrics = {
            metric: step(evaluate_model, actuals, preds, metric, batch, SCORING)
            for metric in SCORING.metrics
        }
        what = (selection, flow_name, name, execution, history, *compared)
        return step(get_trial_summary, trial_id, actuals, preds, batch, metrics, SCORING, *what)

    actuals, preds = compute(get_target, "get_target"), compute(predict, "predict")
    others = {name: compute(each, f"predict-{name}") for name, each in CHALLENGERS.items()}
    if step is call and len(batch) > MANY:
        batch = narrow_rows(batch, SCORING)  # the caller need not have kept the whole
    trials = [evaluate(MODEL_NAME, preds)]
    for name, other in others.items():
        difference = step(compare_models, actuals, preds, other, batch, SCORING)
        trials.append(evaluate(name, other, difference, trials[0]))
    return trials


def run_trial(selection: Selection) -> Trial | None:
    """Get a batch, evaluate the model on it and keep the trial, without Prefect.

    Args:
        selection: Which rows.

    Returns:
        The trial; None if no row was selected. Those of challengers are kept, too.

    Raises:
        InputError: The data cannot be read, or the trial cannot be kept.
    """
    settings = load_settings()
    check_place(settings.trials)
    trials = evaluate_batch(get_ticket_data_batch(selection), selection, settings.flow_name)
    for trial in trials:
        kept = write_trial_summary(trial, settings.trials)
        log.info("trial %s: %s", trial.id, f"kept in {kept}" if kept else "not kept")
        for sentence in trial.sentences:
            log.info("%s", sentence)
    return trials[0] if trials else None


def _check_rows(function: str, rows: object) -> pd.DataFrame:
    if not isinstance(rows, pd.DataFrame):
        problem = f"{function} returned {type(rows).__name__}"
        raise InputError(f"data.py: {problem}; return a DataFrame")
    return rows

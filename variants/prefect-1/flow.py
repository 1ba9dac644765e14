"""The steps as tasks of a Prefect flow.

As a program, `python -m PACKAGE.flow`, it runs here and now, without a server.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import click
import pandas as pd
import prefect
from prefect import Flow, Parameter, Task, task
from prefect.engine import signals
from prefect.engine.state import Failed
from prefect.schedules import IntervalSchedule

from . import data, evaluation, model
from .__main__ import main, selection_options
from .connect import log_to_stderr

# By themselves, not by their modules: Saturn gets the flow pickled, and with a module all that is in it.
from .data import get_ticket_data_batch as get_tickets
from .errors import InputError, UnavailableError
from .evaluation import get_trial_summary as summarize
from .model import MODEL_NAME
from .selection import BATCH_SIZE, Selection, make_selection
from .settings import SCHEDULE_HOURS, load_settings
from .trials import write_trial_summary as keep

# Getting the tickets and keeping the trial wait on others, who may be away for a while.
PATIENT = {"max_retries": 2, "retry_delay": timedelta(minutes=1)}


def read_parameters(parameters: dict[str, Any], now: datetime | None = None) -> Selection:
    """Read the flow's parameters.

    Args:
        parameters: By name; those left out have their defaults.
        now: Where `closed-last` ends; None is the present.

    Raises:
        InputError: Naming the parameter that will not do.
    """
    values = {"batch-size": BATCH_SIZE, "data": None, "all": False, **parameters}
    all_tickets = values.pop("all")
    if not isinstance(all_tickets, bool):
        raise InputError(f"all: {all_tickets!r} is neither true nor false")
    if all_tickets and values["batch-size"] == BATCH_SIZE:
        values["batch-size"] = None  # it is only the default
    source = values.pop("data") or load_settings().data
    window = {name.replace("-", "_"): value for name, value in values.items()}
    return make_selection(source, all_tickets=all_tickets, now=now, **window)


def _step(**options: Any) -> Callable[[Callable[..., Any]], Task]:  # noqa: ANN401  what `task` takes
    """Make a task of a step: bad input fails it in one line, and what it returns is not kept, as trials are."""

    def make_task(function: Callable[..., Any]) -> Task:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            try:
                return function(*args, **kwargs)
            except InputError as error:
                prefect.context.logger.error("%s", error)
                if isinstance(error, UnavailableError):
                    raise signals.FAIL(str(error), result=error) from error
                # This is not tried again: a person has to mend something first.
                raise signals.ENDRUN(Failed(str(error), result=error)) from error

        return task(checkpoint=False, **options)(run)

    return make_task


get_trial_id = _step()(evaluation.get_trial_id)
get_target = _step()(data.get_target)
predict = _step()(model.predict)
evaluate_model = _step()(evaluation.evaluate_model)


@_step(**PATIENT)
def get_ticket_data_batch(**parameters: Any) -> pd.DataFrame:  # noqa: ANN401  as people and programs give them
    """Get the tickets that the flow's parameters ask for."""
    start = prefect.context.scheduled_start_time
    named = {name.replace("_", "-"): value for name, value in parameters.items()}
    selection = read_parameters(named, now=datetime.fromtimestamp(start.timestamp(), timezone.utc))
    tickets = get_tickets(selection)
    if tickets.empty:
        raise signals.SKIP(f"no ticket was closed in the window {selection.period}: nothing to evaluate")
    tickets.attrs["selection"] = selection
    return tickets


@_step()
def get_trial_summary(
    trial_id: str, actuals: pd.Series[float], input_df: pd.DataFrame, metrics: dict[str, float | None]
) -> dict[str, Any]:
    """Collect the trial."""
    selection = input_df.attrs["selection"]
    flow_name = prefect.context.flow_name
    return summarize(trial_id, actuals, input_df, metrics, selection=selection, flow=flow_name, model=MODEL_NAME)


@_step(log_stdout=True, **PATIENT)
def write_trial_summary(trial_summary: dict[str, Any]) -> None:
    """Write the trial to Prefect's log, and keep it."""
    logger = prefect.context.logger
    logger.info(json.dumps(trial_summary, allow_nan=False))
    place = keep(trial_summary, load_settings().trials)
    logger.info("trial %s: %s", trial_summary["id"], f"kept in {place}" if place else "not kept, as TRIALS_URL says")


with Flow(load_settings().flow_name) as flow:
    trial_id = get_trial_id()

    # pull sample data
    sample_ticket_df = get_ticket_data_batch(
        batch_size=Parameter("batch-size", default=BATCH_SIZE),  # null: 1000, and in a window all
        all=Parameter("all", default=False),
        data=Parameter("data", default=None),
        seed=Parameter("seed", default=None),
        closed_from=Parameter("closed-from", default=None),
        closed_to=Parameter("closed-to", default=None),
        closed_last=Parameter("closed-last", default=None),  # up to the time the run is scheduled for
    )

    # compute target
    actuals = get_target(sample_ticket_df)

    # get prediction
    preds = predict(sample_ticket_df)

    # get trial summary, with its evaluation metrics
    trial_summary = get_trial_summary(
        trial_id=trial_id,
        input_df=sample_ticket_df,
        actuals=actuals,
        metrics={name: evaluate_model(actuals, preds, name.lower()) for name in evaluation.METRICS},
    )

    # store trial summary
    trial_complete = write_trial_summary(trial_summary)

if SCHEDULE_HOURS:
    flow.schedule = IntervalSchedule(interval=timedelta(hours=SCHEDULE_HOURS))


def run_here(parameters: dict[str, Any]) -> dict[str, Any] | None:
    """Run the flow in this process, now and without retries.

    Args:
        parameters: The flow's parameters by name; those left out have their defaults.

    Returns:
        The trial; None where the window holds no ticket.

    Raises:
        InputError: When a step failed on bad input.
        RuntimeError: When a step failed otherwise; the log has said how.
    """
    for step in flow.tasks:
        step.max_retries = 0  # whoever waits for it wants to know at once
    state = flow.run(parameters=parameters, run_on_schedule=False)
    assert state is not None
    for step_state in state.result.values() if isinstance(state.result, dict) else ():
        if isinstance(step_state.result, InputError):
            raise step_state.result
    if not state.is_successful():
        raise RuntimeError(state.message)
    summary = state.result[trial_summary]
    return None if summary.is_skipped() else dict(summary.result)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@selection_options
def command(all_tickets: bool, **options: str | None) -> None:
    """Evaluate the model here and now, as a run of the flow; print the trial as JSON."""
    parameters: dict[str, Any] = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    if any(name.startswith("closed-") for name in parameters):
        parameters.setdefault("batch-size", None)
    parameters["all"] = all_tickets
    read_parameters(parameters)  # refuses bad ones before a run is made of them
    log_to_stderr()
    trial = run_here(parameters)
    if trial is not None:
        click.echo(json.dumps(trial, indent=2, allow_nan=False))


if __name__ == "__main__":
    main(command)

"""One trial as a Prefect flow: the pipeline's steps as tasks, under the same names.

As a program, `python -m PACKAGE.flow`, it runs here and now, with the options of `evaluate`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

# Prefect runs a deployed flow by this file's path. What it imports must then come from beside this file, a fresh clone
# say, and not from a checkout that happens to be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
from prefect import Task, flow, get_run_logger, runtime, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from << cookiecutter.package_name >> import data, evaluation, model, trials
from << cookiecutter.package_name >>.__main__ import main, selection_options
from << cookiecutter.package_name >>.errors import InputError, UnavailableError
from << cookiecutter.package_name >>.selection import make_selection
from << cookiecutter.package_name >>.settings import SLUG, load_settings

P = ParamSpec("P")
R = TypeVar("R")


def _worth_a_retry(_task: Any, _run: TaskRun, state: State[Any]) -> bool:  # noqa: ANN401  a task of any type
    """Whether trying again may help: not where a person has to mend something first."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, UnavailableError) or not isinstance(error, InputError)


def _as_task(function: Callable[P, R], run_name: str | None = None, **options: Any) -> Task[P, R]:  # noqa: ANN401
    # Nothing is cached: each run takes a new batch, and hashing a data frame costs more than any step.
    return task(task_run_name=run_name or function.__name__, cache_policy=NO_CACHE, **options)(function)


get_trial_id = _as_task(evaluation.get_trial_id)
get_ticket_data_batch = _as_task(
    data.get_ticket_data_batch,
    retries=3,
    retry_delay_seconds=exponential_backoff(10),
    retry_condition_fn=_worth_a_retry,
)
get_target = _as_task(data.get_target)
predict = _as_task(model.predict)
evaluate_model = _as_task(evaluation.evaluate_model, "evaluate_model-{metric_name}")
get_trial_summary = _as_task(evaluation.get_trial_summary)


@task(task_run_name="write_trial_summary", cache_policy=NO_CACHE)
def write_trial_summary(trial_summary: dict[str, Any]) -> str | None:
    """Log a trial as one line of JSON, keep it, and show it as a table on the run's page in Prefect.

    Args:
        trial_summary: Of `get_trial_summary`.

    Returns:
        Where it is kept; None where it is not.
    """
    get_run_logger().info(json.dumps(trial_summary, allow_nan=False))
    place = trials.write_trial_summary(trial_summary, load_settings().trials)
    create_table_artifact(
        key=f"{SLUG.replace('_', '-')}-trial",
        table=as_table(trial_summary),
        description=f"Trial {trial_summary['id']}, model {trial_summary['model']}, kept in {place or 'no place'}",
    )
    return place


def as_table(trial_summary: dict[str, Any]) -> list[dict[str, Any]]:
    """A trial as rows that a person can read.

    Args:
        trial_summary: Of `get_trial_summary`.

    Returns:
        One row a number, with the columns `measure`, `value` (as in the trial), and `in hours` for what is in seconds.
    """
    measured = trial_summary["data"]
    target = {f"actual time to close, {name}": value for name, value in measured["target"].items()}
    rows = []
    for name, value in {"tickets": measured["num_obs"], **measured["metrics"], **target}.items():
        in_hours = value is not None and (name in target or name in ("MAE", "MedAE"))
        rows.append({"measure": name, "value": value, "in hours": round(value / 3600, 1) if in_hours else ""})
    return rows


@flow(name=load_settings().flow_name)
def evaluation_flow(
    data: str | None = None,
    batch_size: int | None = None,
    all_tickets: bool = False,
    seed: int | None = None,
    closed_from: str | None = None,
    closed_to: str | None = None,
    closed_last: str | None = None,
) -> dict[str, Any] | None:
    """Evaluate the model on newly closed tickets.

    Args:
        data: What to read: a path, a URL, or `sample`. Not set: DATA_URL, else the UCI download.
        batch_size: How many tickets to draw at random. Not set: 1000, or with a window all that are in it.
        all_tickets: Take all tickets.
        seed: Draw the same tickets each time.
        closed_from: Only tickets closed at or after this time (UTC).
        closed_to: Only tickets closed before this time (UTC).
        closed_last: Only tickets closed in this span, say 24h, before the run's scheduled time.

    Returns:
        The trial; None where the window holds no ticket.
    """
    # The parameters are make_selection's: nothing else may be set before this.
    options = {**locals(), "data": data or load_settings().data}
    selection = make_selection(**options, now=runtime.flow_run.scheduled_start_time)
    trial_id = get_trial_id()
    sample_ticket_df = get_ticket_data_batch(selection)
    if sample_ticket_df.empty:
        get_run_logger().info("no ticket was closed in the window %s: nothing to evaluate", selection.period)
        return None
    actuals = get_target(sample_ticket_df)
    preds = predict(sample_ticket_df)
    trial_summary = get_trial_summary(
        trial_id,
        actuals,
        sample_ticket_df,
        metrics={name: evaluate_model(actuals, preds, name.lower()) for name in evaluation.METRICS},
        selection=selection,
        flow=evaluation_flow.name,
        model=model.MODEL_NAME,
    )
    write_trial_summary(trial_summary)
    return trial_summary


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@selection_options
def command(**options: Any) -> None:  # noqa: ANN401
    """Evaluate the model here and now, as a run of Prefect; print the trial as JSON."""
    from << cookiecutter.package_name >>.connect import find_connection, use_connection

    make_selection(**options)  # refuses bad options before a run is made of them
    use_connection(find_connection())  # none: a server in this process, whatever profile is active
    trial = evaluation_flow(**options)
    if trial is not None:
        click.echo(json.dumps(trial, indent=2, allow_nan=False))


if __name__ == "__main__":
    main(command)

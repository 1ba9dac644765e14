"""The command line: it parses, calls, and prints."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from .errors import InputError, exit_on_input_error
from .settings import EXECUTIONS, SLUG, load_settings, set_execution

WORSE = 3  # exit code: the model became worse
TEXT_COLUMNS = 3  # of the table of trials; numbers follow


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Evaluate a model on an ongoing basis, and keep the results as trials."""


@cli.command()
@click.option("--data", help="What to read, as data.py understands it.  [default: DATA_URL]")
@click.option("--batch-size", metavar="N", help="How many rows to draw.  [default: 1000]")
@click.option("--all", "all_rows", is_flag=True, help="Take all rows.")
@click.option("--seed", metavar="N", help="Draw the same rows each time.")
@click.option("--closed-from", metavar="TIME", help="Only rows closed at this time (UTC) or later.")
@click.option("--closed-to", metavar="TIME", help="Only rows closed before this time (UTC).")
@click.option("--closed-last", metavar="SPAN", help="Only rows closed in the last SPAN: 24h, 7d.")
@click.option("--lag", metavar="SPAN", help="... before now minus SPAN, for late labels.")
@click.option("--trials", metavar="DIR-or-URL", help="Where to keep the trial.  [default: trials/]")
def evaluate(
    data: str | None,
    trials: str | None,
    **options: Any,  # noqa: ANN401  as _read_options takes them
) -> int:
    """Evaluate the model here and now, without Prefect.

    Prints the trial as JSON. Exits with 3 if the model became worse.
    """
    # Imported here: pandas and scikit-learn take seconds, which `--help` need not wait for.
    from .evaluation.selection import make_selection
    from .pipeline import run_trial

    settings = load_settings(trials=trials)
    selection = make_selection(data or settings.data, **_read_options(**options))
    with contextlib.redirect_stdout(sys.stderr):  # whatever model.py, for one, prints
        trial = run_trial(selection)
    if trial is None:
        return 0
    click.echo(json.dumps(trial.to_json(), indent=2, allow_nan=False))
    return WORSE if trial.is_worse else 0


@cli.command()
@click.option("--from", "start", metavar="TIME", required=True, help="Where the first one begins.")
@click.option("--to", "end", metavar="TIME", required=True, help="Where the last one ends (UTC).")
@click.option("--every", metavar="SPAN", default="7d", show_default=True, help="Its length.")
@click.option("--data", help="What to read, as data.py understands it.  [default: DATA_URL]")
@click.option("--batch-size", metavar="N", help="How many rows to draw.  [default: 1000]")
@click.option("--all", "all_rows", is_flag=True, help="Take all rows.")
@click.option("--seed", metavar="N", help="Draw the same rows each time.")
@click.option("--again", is_flag=True, help="Evaluate all anew; the latest trial counts.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
@click.option("--trials", metavar="DIR-or-URL", help="Where to keep them.  [default: trials/]")
def backfill(
    start: str,
    end: str,
    every: str,
    data: str | None,
    trials: str | None,
    again: bool,
    jobs: int,
    **options: Any,  # noqa: ANN401  as _read_options takes them
) -> int:
    """Make a trial for each past window that has none yet.

    Safe to interrupt and to repeat. Prints the latest result and verdict, and what is odd about its
    rows. Exits with 3 if the model is worse.
    """
    from .backfill import run_backfill
    from .evaluation.selection import make_selection, parse_span, parse_time

    settings, span = load_settings(trials=trials), parse_span("every", every)
    first, last = parse_time("from", start), parse_time("to", end)
    if first and last and last <= first:
        raise InputError(f"to: {last} is not after from, {first}; swap them")
    options = _read_options(**options, closed_from=first, closed_to=last)
    period = make_selection(data or settings.data, **options)
    with contextlib.redirect_stdout(sys.stderr):
        trial = run_backfill(period, span, again=again, jobs=jobs)
    if trial is None:
        return 0
    click.echo("\n".join(each for each in trial.sentences if each != trial.comparison))
    return WORSE if trial.is_worse else 0


@cli.command()
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="Print each whole, as one line of JSON.")
@click.option("--compare", is_flag=True, help="Show how challengers differ from the model.")
@click.option("--trials", metavar="DIR-or-URL", help="Where they are.  [default: trials/]")
def history(last: int, as_json: bool, compare: bool, trials: str | None) -> None:
    """Show the latest trials, oldest first."""
    import orjson

    from .evaluation.store import read_trials
    from .evaluation.tables import as_tables

    found = read_trials(load_settings(trials=trials).trials, last=last)
    if compare:
        found = [trial for trial in found if trial.difference]
    if as_json:
        for trial in found:
            click.echo(orjson.dumps(trial.to_json()))
    elif found:
        # By hand: rich takes seconds for thousands of rows. One line per trial, for grep.
        for table in as_tables(found, compare=compare):
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            sides = [str.ljust] * TEXT_COLUMNS + [str.rjust] * (len(widths) - TEXT_COLUMNS)
            for row in table:
                cells = zip(sides, row, widths, strict=True)
                click.echo("  ".join(side(text, width) for side, text, width in cells))
    else:
        fix = "`make evaluate` makes one"
        if compare:
            fix = "name other models in CHALLENGERS in model.py"
        logging.getLogger(__name__).info("no trials yet: %s", fix)


@cli.command()
@click.option("--out", metavar="FILE", default="report.html", show_default=True, help="Where to.")
@click.option("--trials", metavar="DIR-or-URL", help="Where they are.  [default: trials/]")
def report(out: str, trials: str | None) -> None:
    """Write an HTML file about the model that was evaluated last.

    It is about trials of the same kind: daily ones, say. It needs no network. Prints its path.
    """
    from .report import write_report

    click.echo(write_report(load_settings(trials=trials).trials, Path(out)))


@cli.command()
def connect() -> None:
    """Log in and create the Prefect project.

    Safe to repeat.
    """
    from .orchestration.connection import connect

    connect()


@cli.command()
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option("--execution", type=click.Choice(EXECUTIONS), help="How runs execute their steps.")
@click.option("--workers", type=click.IntRange(1, 1000), help="How many, of a Dask cluster.")
@click.option("--worker-size", metavar="SIZE", help="Their size on Saturn Cloud.")
<% if cookiecutter.prefect_version == "3" %>
@click.option("--start", is_flag=True, help="Start the worker on Saturn Cloud.")
@click.option("--overwrite", is_flag=True, help="Replace what was changed in Prefect.")
<% endif %>
def register(
    execution: str | None, workers: int | None, worker_size: str | None, **options: bool
) -> None:
    """Register the flow, with its schedule.

    With Saturn Cloud if that is configured, and then with Prefect. Safe to repeat.
    """
<% if cookiecutter.prefect_version == "3" %>
    given = set_execution(execution, workers, worker_size)
    from .orchestration.register import register

    register(**options, variables=given)
<% else %>
    set_execution(execution, workers, worker_size)  # before the flow is built, which is on import
    from .orchestration.register import register

    register(**options)
<% endif %>


@cli.command()
def unregister() -> None:
    """Undo `register`; trials and past runs stay."""
    from .orchestration.register import unregister

    unregister()


@cli.command()
@click.option("--param", "parameters", metavar="NAME=VALUE", multiple=True, help="Set a parameter.")
@click.option("--watch", is_flag=True, help="Follow the run; exit with 0 only if it completes.")
<% if cookiecutter.prefect_version == "3" %>
@click.option("--deployment", metavar="NAME", help="Another one of those in prefect.yaml.")
<% endif %>
def run(parameters: tuple[str, ...], **options: Any) -> int:  # noqa: ANN401  as run_flow takes them
    """Run the registered flow now (Quick Run)."""
    if wrong := [parameter for parameter in parameters if parameter.find("=") < 1]:
        problem = f"{wrong[0]!r} is not of the form NAME=VALUE"
        raise InputError(f"--param: {problem}; write it as batch_size=500")
    from .orchestration.runs import run_flow

    return run_flow(dict(parameter.split("=", 1) for parameter in parameters), **options)


<% if cookiecutter.prefect_version == "3" %>
@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=4200, show_default=True)
def server(port: int) -> int:
    """Run a local Prefect server until interrupted.

    Once it answers, this project, and no other, is connected to it.
    """
    from .orchestration.server import serve

    return serve(port)


@cli.command()
def worker() -> None:
    """Run a worker, which executes this project's runs, until interrupted."""
    from .orchestration.server import work

    work()


<% endif %>
def _read_options(batch_size: str | None, all_rows: bool, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    """The options as make_selection takes them."""
    if all_rows and batch_size is not None:
        raise InputError("batch_size: --all was given as well; give one or the other")
    return {**options, "batch_size": batch_size} if all_rows or batch_size is not None else options


def main() -> NoReturn:
    """Run a command; exit with 0 when done, 2 on bad input or configuration, 1 on anything else."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger(__package__).setLevel(logging.INFO)
    status: int | None = 2
    try:
        with exit_on_input_error():
            status = cli.main(prog_name=SLUG, standalone_mode=False)
    except click.Abort:
        click.echo("interrupted", err=True)
        status = 130
    except BrokenPipeError:  # the reader of a pipe, say `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        where = f" {context.info_name}:" if context else ""
        click.echo(f"Error:{where} {error.format_message()}", err=True)
    sys.exit(status)

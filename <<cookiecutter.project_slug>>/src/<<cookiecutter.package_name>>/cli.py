"""The command line: it parses, calls, and prints."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any, NoReturn

import click

from .errors import InputError, exit_on_input_error
from .settings import SLUG, load_settings


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
@click.option("--trials", metavar="DIR-or-URL", help="Where to keep the trial.  [default: trials/]")
def evaluate(
    data: str | None,
    batch_size: str | None,
    all_rows: bool,
    trials: str | None,
    **options: Any,  # noqa: ANN401  as make_selection takes them
) -> None:
    """Evaluate the model here and now, without Prefect.

    Prints the trial as JSON.
    """
    # Imported here: pandas and scikit-learn take seconds, which `--help` need not wait for.
    from .evaluation.selection import make_selection
    from .pipeline import run_trial

    settings = load_settings()
    if all_rows and batch_size is not None:
        raise InputError("batch_size: --all was given as well; give one or the other")
    if all_rows or batch_size is not None:
        options["batch_size"] = batch_size
    selection = make_selection(data or settings.data, **options)
    place = trials or settings.trials
    trial = run_trial(selection, place=place, flow_name=settings.flow_name)
    if trial is not None:
        click.echo(json.dumps(trial.to_json(), indent=2, allow_nan=False))


@cli.command()
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="Print each whole, as one line of JSON.")
@click.option("--trials", metavar="DIR-or-URL", help="Where they are.  [default: trials/]")
def history(last: int, as_json: bool, trials: str | None) -> None:
    """Show the latest trials, oldest first."""
    from .evaluation.store import read_trials
    from .evaluation.trial import COLUMNS

    found = read_trials(trials or load_settings().trials, last=last)
    if as_json:
        for trial in found:
            click.echo(json.dumps(trial.to_json(), allow_nan=False))
    elif found:
        # By hand: rich takes seconds for thousands of rows. One line per trial, for grep.
        rows = [list(COLUMNS), *(trial.as_row() for trial in found)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            texts = [text.ljust(width) for text, width in zip(row[:3], widths, strict=False)]
            numbers = [text.rjust(width) for text, width in zip(row[3:], widths[3:], strict=True)]
            click.echo("  ".join(texts + numbers))
    else:
        logging.getLogger(__name__).info("no trials yet: `make evaluate` makes one")


@cli.command()
def connect() -> None:
    """Log in and create the Prefect project.

    Safe to repeat.
    """
    from .orchestration.connection import connect

    connect()


@cli.command()
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
<% if cookiecutter.prefect_version == "3" %>
@click.option("--start", is_flag=True, help="Start the worker on Saturn Cloud.")
<% endif %>
def register(**options: bool) -> None:
    """Register the flow, with its schedule.

    With Saturn Cloud if that is configured, and then with Prefect. Safe to repeat.
    """
    from .orchestration.register import register

    register(**options)


@cli.command()
def unregister() -> None:
    """Undo `register`; trials and past runs stay."""
    from .orchestration.register import unregister

    unregister()


@cli.command()
@click.option("--param", "parameters", metavar="NAME=VALUE", multiple=True, help="Set a parameter.")
@click.option("--watch", is_flag=True, help="Follow the run; exit with 0 only if it completes.")
def run(parameters: tuple[str, ...], watch: bool) -> int:
    """Run the registered flow now (Quick Run)."""
    if wrong := [parameter for parameter in parameters if parameter.find("=") < 1]:
        problem = f"{wrong[0]!r} is not of the form NAME=VALUE"
        raise InputError(f"--param: {problem}; write it as batch_size=500")
    from .orchestration.runs import run_flow

    return run_flow(dict(parameter.split("=", 1) for parameter in parameters), watch=watch)


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

"""The command line."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, NoReturn

import click

from .errors import InputError
from .settings import SLUG, load_settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Evaluate a model on an ongoing basis, and keep the results as trials."""


def selection_options(command: Any) -> Any:  # noqa: ANN401  what click decorates
    """Add the options that say which tickets; their values arrive as `make_selection` takes them."""
    options = [
        click.option("--data", help="A path, a URL, or `sample`.  [default: DATA_URL, else the UCI download]"),
        click.option("--batch-size", metavar="N", help="How many tickets.  [default: 1000; in a window, all]"),
        click.option("--all", "all_tickets", is_flag=True, help="All tickets."),
        click.option("--seed", metavar="N", help="Draw the same tickets each time."),
        click.option("--closed-from", metavar="TIME", help="Only tickets closed at or after this time (UTC)."),
        click.option("--closed-to", metavar="TIME", help="Only tickets closed before this time (UTC)."),
        click.option("--closed-last", metavar="SPAN", help="Only tickets closed in the last SPAN, say 24h or 7d."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@selection_options
@click.option("--trials", metavar="DIR-or-URL", help="Where to keep the trial.  [default: TRIALS_URL, else trials/]")
def evaluate(data: str | None, trials: str | None, **options: Any) -> None:  # noqa: ANN401
    """Evaluate the model here and now, without Prefect.

    Prints the trial as JSON.
    """
    from .pipeline import run_trial  # here, as pandas and scikit-learn take seconds that `--help` need not wait for
    from .evaluation.selection import make_selection

    settings = load_settings()
    selection = make_selection(data or settings.data, **options)
    trial = run_trial(selection, trials=trials or settings.trials, flow=settings.flow_name)
    if trial is not None:
        click.echo(json.dumps(trial, indent=2, allow_nan=False))


@cli.command()
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="Print them whole, one a line.")
@click.option("--trials", metavar="DIR-or-URL", help="Where they are.  [default: TRIALS_URL, else trials/]")
def history(last: int, as_json: bool, trials: str | None) -> None:
    """Show the latest trials, oldest first."""
    from .evaluation.store import read_trials

    found = read_trials(trials or load_settings().trials, last=last)
    if as_json:
        for trial in found:
            click.echo(json.dumps(trial, allow_nan=False))
    elif found:
        _print_table(found)
    else:
        logging.getLogger(__name__).info("no trials yet: `%s evaluate` makes one", SLUG)


@cli.command()
def connect() -> None:
    """Log in and create the Prefect project.

    Twice is as good as once.
    """
    from .orchestration.connection import connect

    connect()


@cli.command()
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
<% if cookiecutter.prefect_version == "3" %>
@click.option("--start", is_flag=True, help="Start the worker on Saturn Cloud.")
def register(dry_run: bool, start: bool) -> None:
<% else %>
def register(dry_run: bool) -> None:
<% endif %>
    """Register the flow, with its schedule.

    With Saturn, where that is configured, and then with Prefect.
    """
    from .orchestration.register import register

    register(dry_run=dry_run<% if cookiecutter.prefect_version == "3" %>, start=start<% endif %>)


@cli.command()
def unregister() -> None:
    """Take back what `register` made; trials stay."""
    from .orchestration.register import unregister

    unregister()


@cli.command()
@click.option("--param", "parameters", metavar="NAME=VALUE", multiple=True, help="Set a parameter of the flow.")
@click.option("--watch", is_flag=True, help="Follow states and logs; exit with 0 only when the run completes.")
def run(parameters: tuple[str, ...], watch: bool) -> int:
    """Run the registered flow now (Quick Run)."""
    if wrong := [parameter for parameter in parameters if parameter.find("=") < 1]:
        raise InputError(f"--param: {wrong[0]!r} is not of the form NAME=VALUE, say batch_size=500")
    from .orchestration.register import run_flow

    return run_flow(dict(parameter.split("=", 1) for parameter in parameters), watch=watch)


<% if cookiecutter.prefect_version == "3" %>
@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=4200, show_default=True, help="Where it listens.")
def server(port: int) -> int:
    """Run a local Prefect server until interrupted.

    This project, and no other, is pointed at it.
    """
    from .orchestration.connection import serve

    return serve(port)


@cli.command()
def worker() -> None:
    """Run a worker, which takes this project's runs.

    Until interrupted.
    """
    from .orchestration.connection import work

    work()


<% endif %>
def _print_table(trials: list[dict[str, Any]]) -> None:
    # By hand: rich takes seconds for thousands of rows. A trial a line, whatever the terminal's width, for grep.
    rows = [["Closed, or made", "Trial", "Model", "Tickets", "MAE, h", "MedAE, h", "R2"]]
    for trial in trials:
        measured, window = trial["data"], trial["window"]
        when = f"{window.get('from') or ''} to {window.get('to') or ''}" if window else f"{trial['created_at'][:16]}Z"
        texts = [when.replace("T00:00:00Z", "").strip(), trial["id"][:8], str(trial.get("model", ""))]
        numbers = map(measured["metrics"].get, ("MAE", "MedAE", "R2"))
        forms = zip(numbers, (3600, 3600, 1), (",.1f", ",.1f", ".3f"), strict=True)
        metrics = ["-" if each is None else format(each / unit, form) for each, unit, form in forms]
        rows.append([*texts, f"{measured['num_obs']:,}", *metrics])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.ljust] * 3 + [str.rjust] * 4
    for row in rows:
        click.echo("  ".join(side(text, width) for side, text, width in zip(sides, row, widths, strict=True)))


def main(command: click.Command = cli) -> NoReturn:
    """Run a command; exit with 0 when done, 2 on bad input or configuration, 1 on anything else."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger(__package__).setLevel(logging.INFO)
    status: int | None = 2
    try:
        status = command.main(prog_name=SLUG, standalone_mode=False)
    except click.Abort:
        click.echo("interrupted", err=True)
        status = 130
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
    except click.ClickException as error:
        where = f" {error.ctx.info_name}:" if isinstance(error, click.UsageError) and error.ctx else ""
        click.echo(f"Error:{where} {error.format_message()}", err=True)
    except InputError as error:
        click.echo(f"Error: {error}", err=True)
    sys.exit(status)


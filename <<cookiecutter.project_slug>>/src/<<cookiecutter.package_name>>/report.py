"""The report: one HTML file about the model's trials, which needs no network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from .charts import (
    NOT_JUDGED,
    RELATIVE,
    VERDICTS,
    Row,
    Table,
    bundle,
    draw_metric,
    draw_outcomes,
    draw_relative,
    draw_segments,
    make_row,
    to_text,
)
from .errors import InputError
from .evaluation.files import atomic_write
from .evaluation.history import find_comparable, get_kind
from .evaluation.store import read_trials
from .evaluation.tables import as_tables
from .evaluation.trial import Trial

Tables = Iterable[Table]
SHOWN = 500  # trials of a model: with more, the file would be large, and their points one line
PAGE = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))


def write_report(place: str, path: Path) -> Path:
    """Write the report of the trials that the one made last can be compared with.

    Args:
        place: Where trials are kept.
        path: The file; an existing one is replaced, of a link the one that it leads to.

    Returns:
        The file's path.

    Raises:
        InputError: There are no trials, or the file cannot be written.
    """
    trials = read_trials(place)
    of_models = [trial for trial in trials if not trial.difference]
    if not of_models:
        raise InputError("report: there are no trials yet; `evaluate` or `backfill` makes some")
    kind = get_kind(max(of_models, key=lambda trial: trial.created_at))
    latest = [trial for trial in of_models if get_kind(trial) == kind][-1]
    path = path.expanduser().resolve()
    if path.exists() and not path.is_file():
        raise InputError(f"report: {path} is not a file; give another path with --out")
    try:
        atomic_write(path, make_report(latest, trials).encode(), replace=True)
    except OSError as error:
        problem = f"{path} cannot be written: {error.strerror}"
        raise InputError(f"report: {problem}; give another path with --out") from error
    return path


def make_report(latest: Trial, trials: Sequence[Trial]) -> str:
    """Make the page.

    Args:
        latest: The trial that it is about.
        trials: All trials. Those that are not comparable with `latest` are left out, unless they
            are of its challengers.
    """
    metric = next(iter(latest.metrics), "")
    every = [*find_comparable(trials, latest), latest]
    history = every[-SHOWN:]
    challengers = _find_challengers(latest, trials)
    compared = [trial for model in challengers for trial in model]
    rows = [make_row(trial, metric) for trial in history]
    charts: list[Row] = []
    said = [each for each in latest.sentences if each != latest.verdict]
    if len(history) < len(every):
        said.append(f"Shown are the latest {SHOWN} of {len(every):,} trials; `history` has all.")
    parts = [f"<p>{escape(each)}</p>" for each in said]

    def add(title: str, text: str, chart: Any, tables: Tables) -> None:  # noqa: ANN401
        figure = f'<figure><div class="chart" id="chart-{len(charts)}"></div></figure>'
        shown = "".join(map(_table, tables))
        more = f"<details><summary>{escape(title)} as a table</summary>{shown}</details>"
        parts.append(f"<h2>{escape(title)}</h2><p>{escape(text)}</p>{figure}{more}")
        named = chart.properties(description=title, width="container")
        charts.append(named.to_dict(validate=False))  # to check them takes longer than all else

    of_all = rows + [make_row(trial, metric) for trial in compared]
    text = "With 95 % intervals; where one leaves the chart, it is cut off."
    add(
        f"{metric} over time",
        text,
        draw_metric(of_all, latest.header(metric)),
        as_tables(history),
    )
    if any(row["relative"] is not None for row in rows):
        table = _tabulate(rows)
        add(f"Relative error in {metric}", RELATIVE, draw_relative(rows), [table])
    if compared:
        text = "Each challenger compared with the model in use, on the same rows."
        tables = as_tables([model[-1] for model in challengers], compare=True)
        parts.append(f"<h2>Challengers</h2><p>{text}</p>{''.join(map(_table, tables))}")
    for column, values in latest.segments.items():
        table = [["Value", "Rows", metric]]
        for name, found in values.items():
            shown = latest.show(metric, found["metrics"].get(metric))
            table.append([name, f"{found['num_obs']:,}", shown])
        chart = draw_segments(latest, metric, column)
        add(f"{metric} by {column}", f"In the latest trial, {latest.period}.", chart, [table])
    for chart, title, text, table in draw_outcomes(latest):
        add(title, text, chart, [table])
    measures = latest.as_table()
    headers = list(dict.fromkeys(name for row in measures for name in row if name != "value"))
    cells = [[to_text(row.get(name)) for name in headers] for row in measures]
    parts.append(f"<h2>The latest trial, {escape(latest.id)}</h2>{_table([headers, *cells])}")
    verdict = (latest.gate or {}).get("name", "")
    return PAGE.substitute(
        title=escape(f"{latest.model}: {latest.flow}"),
        verdict=escape(latest.verdict or latest.sentence),
        color=VERDICTS.get(verdict, VERDICTS[NOT_JUDGED])[0],
        body="\n".join(parts),
        library=bundle(),
        charts=json.dumps(charts).replace("<", "\\u003c"),  # it may not end the script
    )


def _find_challengers(latest: Trial, trials: Sequence[Trial]) -> list[list[Trial]]:
    """The trials of each model that was compared with this one, in order of time."""
    last = {
        trial.model: trial
        for trial in trials
        if trial.difference
        and (trial.flow, trial.difference["model"]) == (latest.flow, latest.model)
    }
    return [[*find_comparable(trials, trial), trial][-SHOWN:] for trial in last.values()]


def _tabulate(rows: Sequence[Row]) -> Table:
    """The relative errors as text, the latest first."""
    names = ("period", "relative", "relative_low", "relative_high", "bound", "verdict")
    headers = ["Window or created", "Relative error", "From", "To", "Bound", "Verdict"]
    return [headers, *([to_text(row[name]) for name in names] for row in reversed(rows))]


def _table(lines: Table) -> str:
    header, *rows = ([escape(text) for text in line] for line in lines)
    head = "".join(f'<th scope="col">{text}</th>' for text in header)
    body = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="table">{table}</div>'

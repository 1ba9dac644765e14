"""The report: one HTML file about the model's trials, which needs no network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from .errors import InputError
from .evaluation.files import atomic_write
from .evaluation.gate import AS_BEFORE, DATA_CHANGED, WORSE
from .evaluation.history import find_comparable
from .evaluation.store import read_trials
from .evaluation.trial import Trial, as_tables

try:
    import altair as alt
    import vl_convert
except ImportError as error:
    fix = "install this project's extra `report`, or run `make setup`"
    raise InputError(f"report: {error}; {fix}") from error

Tables = Iterable[list[list[str]]]
HEIGHT = 260
NUMBER = ".4~g"  # how tooltips show it
NOT_JUDGED = "not judged"
FEW_TICKS = alt.Axis(tickCount=5)
# By verdict, a color that is readable on white and on black, and a shape for who sees none.
VERDICTS = {
    AS_BEFORE: ("#2f9e44", "circle"),
    DATA_CHANGED: ("#e8890c", "diamond"),
    WORSE: ("#e03131", "triangle-up"),
    NOT_JUDGED: ("#868e96", "square"),
}
RELATIVE = """In proportion to the error of a constant guess on the same rows: below 1 it is better.
A trial above its red dash, the gate's bound, stands out."""
PAGE = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))


def write_report(place: str, path: Path) -> Path:
    """Write the report of the latest trial's model.

    Args:
        place: Where trials are kept.
        path: The file; an existing one is replaced.

    Returns:
        The file's path.

    Raises:
        InputError: There are no trials, or the file cannot be written.
    """
    trials = read_trials(place)
    of_models = [trial for trial in trials if not trial.difference]
    if not of_models:
        raise InputError("report: there are no trials yet; `evaluate` or `backfill` makes some")
    try:
        atomic_write(path, make_report(of_models[-1], trials).encode(), replace=True)
    except OSError as error:
        problem = f"{path} cannot be written: {error.strerror}"
        raise InputError(f"report: {problem}; give another path with --out") from error
    return path.absolute()


def make_report(latest: Trial, trials: Sequence[Trial]) -> str:
    """Make the page.

    Args:
        latest: The trial that it is about.
        trials: All trials. Those that are not comparable with `latest` are left out, unless they
            are of its challengers.
    """
    metric = next(iter(latest.metrics), "")
    history = [*find_comparable(trials, latest), latest]
    challengers = _find_challengers(latest, trials)
    compared = [trial for model in challengers for trial in model]
    rows = [_row(trial, metric) for trial in history]
    charts: list[dict[str, Any]] = []
    parts = [f"<p>{escape(each)}</p>" for each in latest.sentences if each != latest.verdict]

    def add(title: str, text: str, chart: alt.Chart, tables: Tables) -> None:
        figure = f'<figure><div class="chart" id="chart-{len(charts)}"></div></figure>'
        shown = "".join(map(_table, tables))
        more = f"<details><summary>{escape(title)} as a table</summary>{shown}</details>"
        parts.append(f"<h2>{escape(title)}</h2><p>{escape(text)}</p>{figure}{more}")
        charts.append(chart.properties(description=title, width="container").to_dict())

    of_all = rows + [_row(trial, metric) for trial in compared]
    text = "With 95 % intervals; where one leaves the chart, it is cut off."
    add(
        f"{metric} over time",
        text,
        _draw_metric(of_all, _title(latest, metric)),
        as_tables(history),
    )
    if any(row["relative"] is not None for row in rows):
        table = _tabulate(rows)
        add(f"Relative error in {metric}", RELATIVE, _draw_relative(rows), [table])
    if compared:
        text = "Each challenger compared with the model in use, on the same rows."
        tables = as_tables([model[-1] for model in challengers], compare=True)
        parts.append(f"<h2>Challengers</h2><p>{text}</p>{''.join(map(_table, tables))}")
    for column, values in latest.segments.items():
        table = [["Value", "Rows", metric]]
        for name, found in values.items():
            shown = latest.show(metric, found["metrics"].get(metric))
            table.append([name, f"{found['num_obs']:,}", shown])
        chart = _draw_segments(latest, metric, column)
        add(f"{metric} by {column}", f"In the latest trial, {latest.period}.", chart, [table])
    measures = latest.as_table()
    headers = list(dict.fromkeys(name for row in measures for name in row if name != "value"))
    cells = [[_text(row.get(name)) for name in headers] for row in measures]
    parts.append(f"<h2>The latest trial, {escape(latest.id)}</h2>{_table([headers, *cells])}")
    verdict = (latest.gate or {}).get("name", "")
    return PAGE.substitute(
        title=escape(f"{latest.model}: {latest.flow}"),
        verdict=escape(latest.verdict or latest.sentence),
        color=VERDICTS.get(verdict, VERDICTS[NOT_JUDGED])[0],
        body="\n".join(parts),
        library=_bundle(),
        charts=json.dumps(charts).replace("<", "\\u003c"),  # it may not end the script
    )


@cache
def _bundle() -> str:
    """What draws the charts: Vega, and all that it needs."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return str(bundle.replace("</script", "<\\/script"))


def _find_challengers(latest: Trial, trials: Sequence[Trial]) -> list[list[Trial]]:
    """The trials of each model that was compared with this one, in order of time."""
    last = {
        trial.model: trial
        for trial in trials
        if trial.difference
        and (trial.flow, trial.difference["model"]) == (latest.flow, latest.model)
    }
    return [[*find_comparable(trials, trial), trial] for trial in last.values()]


def _row(trial: Trial, metric: str) -> dict[str, Any]:
    """What charts show of a trial, in the unit in which it is shown to a person."""
    ends = trial.intervals.get(metric) or (None, None)
    relative = trial.relative.get(metric, {})
    relative_ends = relative.get("interval") or (None, None)
    gate = trial.gate or {}
    return {
        "time": trial.time,
        "period": trial.period or trial.created_at,
        "model": trial.model,
        "rows": trial.num_obs,
        "value": _in_unit(trial, metric, trial.metrics.get(metric)),
        "low": _in_unit(trial, metric, ends[0]),
        "high": _in_unit(trial, metric, ends[1]),
        "relative": relative.get("value"),
        "relative_low": relative_ends[0],
        "relative_high": relative_ends[1],
        "bound": gate.get("bound"),
        "verdict": gate["name"] if gate.get("name") in VERDICTS else NOT_JUDGED,
    }


def _draw_metric(rows: list[dict[str, Any]], title: str) -> Any:  # noqa: ANN401  a chart
    """The metric and its intervals, a line for each model."""
    base, scale = _chart(rows, "value", "low", "high"), _find_scale(rows, "value")
    legend = alt.Legend() if len({row["model"] for row in rows}) > 1 else None
    base = base.encode(color=alt.Color("model:N", legend=legend))
    y = alt.Y("value:Q", title=title, scale=scale)
    ends = {"y": alt.Y("low:Q", scale=scale), "y2": "high:Q"}
    return alt.layer(
        base.mark_rule(clip=True, opacity=0.5).encode(**ends),
        base.mark_line(clip=True, opacity=0.6).encode(y=y),
        base.mark_point(clip=True, opacity=1, filled=True, size=45).encode(y=y),
        height=HEIGHT,
    )


def _draw_relative(rows: list[dict[str, Any]]) -> Any:  # noqa: ANN401  a chart
    """The relative error of the first metric, the gate's bound and its verdicts."""
    base = _chart(rows, "relative", "relative_low", "relative_high", "bound")
    scale = _find_scale([*rows, {"relative": 1.0}], "relative", "bound")
    guess = alt.Chart(alt.InlineData(values=[{"guess": 1}])).mark_rule(color="#868e96")
    colors, shapes = zip(*VERDICTS.values(), strict=True)
    color = alt.Color("verdict:N", scale=alt.Scale(domain=list(VERDICTS), range=colors))
    shape = alt.Shape("verdict:N", scale=alt.Scale(domain=list(VERDICTS), range=shapes))
    y = alt.Y("relative:Q", title="relative error", scale=scale)
    ends = {"y": alt.Y("relative_low:Q", scale=scale), "y2": "relative_high:Q"}
    bound = base.mark_tick(clip=True, color="#e03131", thickness=2, width=9)
    return alt.layer(
        base.mark_rule(clip=True, opacity=0.5).encode(color=color, **ends),
        guess.encode(y="guess:Q"),
        bound.encode(y=alt.Y("bound:Q", scale=scale)),
        base.mark_point(clip=True, opacity=1, filled=True, size=60).encode(
            y=y, color=color, shape=shape
        ),
        height=HEIGHT,
    )


def _draw_segments(trial: Trial, metric: str, column: str) -> Any:  # noqa: ANN401  a chart
    """A bar for each value of a column."""
    rows = [
        {"segment": name, "rows": found["num_obs"], "value": found["metrics"].get(metric)}
        for name, found in trial.segments[column].items()
    ]
    rows = [{**row, "value": _in_unit(trial, metric, row["value"])} for row in rows]
    tooltip = ["segment:N", "rows:Q", alt.Tooltip("value:Q", format=NUMBER)]
    bars = alt.Chart(alt.InlineData(values=rows)).mark_bar(color="#4c6ef5")
    x = alt.X("value:Q", title=_title(trial, metric), axis=FEW_TICKS)
    bars = bars.encode(x=x, y=alt.Y("segment:N", title=None), tooltip=tooltip)
    return bars.properties(height=alt.Step(30))


def _chart(rows: list[dict[str, Any]], *shown: str) -> alt.Chart:
    """A chart over time, without a mark; its tooltips show these numbers, too."""
    texts = [alt.Tooltip(f"{name}:N") for name in ("period", "model", "rows", "verdict")]
    tooltip = [*texts, *(alt.Tooltip(f"{name}:Q", format=NUMBER) for name in shown)]
    x = alt.X("time:T", title=None, scale=alt.Scale(type="utc", padding=10))
    return alt.Chart(alt.InlineData(values=rows)).encode(x=x, tooltip=tooltip)


def _find_scale(rows: Sequence[dict[str, Any]], *names: str) -> alt.Scale:
    """A scale that shows all values, but perhaps not all of their intervals."""
    values = [row[name] for row in rows for name in names if row.get(name) is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if 0 < 10 * low < high:
        return alt.Scale(type="log", domain=[low / 2, high * 2], nice=False)
    margin = 0.3 * (high - low) or abs(high) or 1.0
    bottom = max(low - margin, 0.0) if low >= 0 else low - margin
    return alt.Scale(domain=[bottom, high + margin], nice=False, zero=False)


def _tabulate(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The relative errors as text, the latest first."""
    names = ("period", "relative", "relative_low", "relative_high", "bound", "verdict")
    headers = ["Window or created", "Relative error", "From", "To", "Bound", "Verdict"]
    return [headers, *([_text(row[name]) for name in names] for row in reversed(rows))]


def _unit(trial: Trial, metric: str) -> dict[str, Any]:
    unit: dict[str, Any] = trial.scored("metrics", {}).get(metric, {}).get("unit") or {}
    return unit


def _title(trial: Trial, metric: str) -> str:
    symbol = _unit(trial, metric).get("symbol")
    return f"{metric}, {symbol}" if symbol else metric


def _in_unit(trial: Trial, metric: str, value: float | None) -> float | None:
    return None if value is None else value / _unit(trial, metric).get("per", 1.0)


def _text(value: Any) -> str:  # noqa: ANN401  JSON
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)


def _table(lines: list[list[str]]) -> str:
    header, *rows = ([escape(text) for text in line] for line in lines)
    head = "".join(f'<th scope="col">{text}</th>' for text in header)
    body = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="table">{table}</div>'

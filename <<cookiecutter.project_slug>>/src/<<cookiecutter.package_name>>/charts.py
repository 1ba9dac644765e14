"""The report's charts: specifications for Vega-Lite, which a browser draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from .errors import InputError
from .evaluation.gate import AS_BEFORE, DATA_CHANGED, WORSE
from .evaluation.trial import Trial

try:
    import altair as alt
    import vl_convert
except ImportError as error:
    fix = "install this project's extra `report`, or run `make setup`"
    raise InputError(f"report: {error}; {fix}") from error

Row = dict[str, Any]
Table = list[list[str]]
HEIGHT = 260
NUMBER = ".4~g"  # how tooltips show it
NOT_JUDGED = "not judged"
FEW_TICKS = alt.Axis(tickCount=5)
BLUE, GRAY = "#4c6ef5", "#868e96"
# By verdict, a color that is readable on white and on black, and a shape for who sees none.
VERDICTS = {
    AS_BEFORE: ("#2f9e44", "circle"),
    DATA_CHANGED: ("#e8890c", "diamond"),
    WORSE: ("#e03131", "triangle-up"),
    NOT_JUDGED: (GRAY, "square"),
}
RELATIVE = """In proportion to the error of a constant guess on the same rows: below 1 it is better.
A trial above its red dash, the gate's bound, stands out."""
BINS = {
    "numbers": (
        "Predicted and actual",
        """Each point stands for rows of the latest trial, a larger one for more: their mean
prediction, the median of what came true, and its middle 80 %. On the dashed line both are
equal.""",
    ),
    "probabilities": (
        "Calibration:",
        """Each point stands for predictions of the latest trial, a larger one for more: their mean,
and the share that came true. On the dashed line both are equal.""",
    ),
}
CLASSES = """How many rows of the latest trial have each actual and predicted class; the stronger
the color, the larger the share of the actual class."""


@cache
def bundle() -> str:
    """What draws the charts: Vega, and all that it needs."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return str(bundle.replace("</script", "<\\/script"))


def make_row(trial: Trial, metric: str) -> Row:
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


def draw_metric(rows: list[Row], title: str) -> Any:  # noqa: ANN401  a chart
    """The metric and its intervals, a line for each model."""
    base, scale = _chart(rows, "value", "low", "high"), _find_scale(rows, "value")
    legend = alt.Legend() if len({row["model"] for row in rows}) > 1 else None
    base = base.encode(color=alt.Color("model:N", legend=legend))
    title += " (log scale)" if "type" in scale.to_dict() else ""
    y = alt.Y("value:Q", title=title, scale=scale)
    ends = {"y": alt.Y("low:Q", scale=scale), "y2": "high:Q"}
    return alt.layer(
        base.mark_rule(clip=True, opacity=0.5).encode(**ends),
        base.mark_line(clip=True, opacity=0.6).encode(y=y),
        base.mark_point(clip=True, opacity=1, filled=True, size=45).encode(y=y),
        height=HEIGHT,
    )


def draw_relative(rows: list[Row]) -> Any:  # noqa: ANN401  a chart
    """The relative error of the first metric, the gate's bound and its verdicts."""
    base = _chart(rows, "relative", "relative_low", "relative_high", "bound")
    scale = _find_scale([*rows, {"relative": 1.0}], "relative", "bound")
    guess = alt.Chart(alt.InlineData(values=[{"guess": 1}])).mark_rule(color=GRAY)
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


def draw_segments(trial: Trial, metric: str, column: str) -> Any:  # noqa: ANN401  a chart
    """A bar for each value of a column."""
    rows = [
        {"segment": name, "rows": found["num_obs"], "value": found["metrics"].get(metric)}
        for name, found in trial.segments[column].items()
    ]
    rows = [{**row, "value": _in_unit(trial, metric, row["value"])} for row in rows]
    tooltip = ["segment:N", "rows:Q", alt.Tooltip("value:Q", format=NUMBER)]
    bars = alt.Chart(alt.InlineData(values=rows)).mark_bar(color=BLUE)
    x = alt.X("value:Q", title=trial.header(metric), axis=FEW_TICKS)
    bars = bars.encode(x=x, y=alt.Y("segment:N", title=None), tooltip=tooltip)
    return bars.properties(height=alt.Step(30))


def draw_outcomes(trial: Trial) -> Iterator[tuple[Any, str, str, Table]]:
    """How predictions compare with actual values: charts, their titles and texts, and tables."""
    outcomes, target = trial.outcomes or {}, trial.scored("target", "target")
    for kind, (title, text) in BINS.items():
        if bins := outcomes.get(kind):
            unit = trial.scored("unit") if kind == "numbers" else None
            chart, rows = _draw_bins(bins, unit or {"per": 1.0, "symbol": ""})
            table = [[*bins], *([to_text(value) for value in row.values()] for row in rows)]
            yield chart, f"{title} {target}", text, table
    if classes := outcomes.get("classes"):
        names, counts = classes["names"], classes["counts"]
        lines = [[name, *map(str, row)] for name, row in zip(names, counts, strict=True)]
        title = f"Actual and predicted {target}"
        yield _draw_classes(names, counts), title, CLASSES, [["actual", *names], *lines]


def _draw_bins(bins: Mapping[str, list[float]], unit: Mapping[str, Any]) -> tuple[Any, list[Row]]:
    """A point for each bin of predictions, beside the line where both are equal; and its rows."""
    numbers = {name: [each / unit["per"] for each in bins[name]] for name in bins if name != "rows"}
    columns = zip(bins["rows"], *numbers.values(), strict=True)
    rows = [dict(zip(("rows", *numbers), row, strict=True)) for row in columns]
    if "low" in bins:
        up = _find_scale(rows, "predicted", "actual", "high")
        across = _find_scale(rows, "predicted", like=up)
    else:
        across = up = alt.Scale(domain=[0, 1])
    titles = [f"{name} {unit['symbol']}" for name in ("predicted", "actual")]
    x = alt.X("predicted:Q", scale=across, axis=FEW_TICKS, title=titles[0])
    y, low = (
        alt.Y(f"{name}:Q", scale=up, axis=FEW_TICKS, title=titles[1]) for name in ("actual", "from")
    )
    size = alt.Size("rows:Q", legend=None, scale=alt.Scale(range=[30, 200], zero=False))
    tooltip = [alt.Tooltip(f"{name}:Q", format=NUMBER) for name in bins]
    # On a logarithmic scale, 0 has no place.
    values = [{**row, "from": max(row["low"], up.domain[0])} for row in rows if "low" in row]
    base = alt.Chart(alt.InlineData(values=values or rows)).encode(x=x, tooltip=tooltip)
    equal = alt.Chart(alt.InlineData(values=[{"equal": end} for end in across.domain]))
    layers = [
        equal.mark_line(clip=True, color=GRAY, strokeDash=[4, 4]).encode(x="equal:Q", y="equal:Q")
    ]
    if values:
        layers.append(base.mark_rule(clip=True, opacity=0.5, color=BLUE).encode(y=low, y2="high:Q"))
    layers.append(base.mark_point(filled=True, opacity=1, color=BLUE).encode(y=y, size=size))
    return alt.layer(*layers, height=HEIGHT), rows


def _draw_classes(names: list[str], counts: list[list[int]]) -> Any:  # noqa: ANN401
    """A field for each pair of an actual and a predicted class."""
    rows = [
        {"actual": actual, "predicted": predicted, "rows": count, "share": count / max(1, sum(row))}
        for actual, row in zip(names, counts, strict=True)
        for predicted, count in zip(names, row, strict=True)
    ]
    sides = [alt.X("predicted:N", sort=names), alt.Y("actual:N", sort=names)]
    texts = [alt.Tooltip(each) for each in ("actual:N", "predicted:N", "rows:Q")]
    tooltip = [*texts, alt.Tooltip("share:Q", format=".0%")]
    base = alt.Chart(alt.InlineData(values=rows)).encode(*sides, tooltip=tooltip)
    shade = alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.05, 0.8]), legend=None)
    field = base.mark_rect(color=BLUE).encode(opacity=shade)
    count = base.mark_text(color="currentColor").encode(text=alt.Text("rows:Q", format=","))
    return alt.layer(field, count, height=alt.Step(30))


def _chart(rows: list[Row], *shown: str) -> alt.Chart:
    """A chart over time, without a mark; its tooltips show these numbers, too."""
    texts = [alt.Tooltip(f"{name}:N") for name in ("period", "model", "rows", "verdict")]
    tooltip = [*texts, *(alt.Tooltip(f"{name}:Q", format=NUMBER) for name in shown)]
    x = alt.X("time:T", title=None, scale=alt.Scale(type="utc", padding=10))
    return alt.Chart(alt.InlineData(values=rows)).encode(x=x, tooltip=tooltip)


def _find_scale(rows: Sequence[Row], *names: str, like: alt.Scale | None = None) -> alt.Scale:
    """A scale that shows all values, but perhaps not all of their intervals.

    It is logarithmic if another one is, or else if the values need that.
    """
    values = [row[name] for row in rows for name in names if row.get(name) is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if like["type"] == "log" if like else 0 < 10 * low < high:
        return alt.Scale(type="log", domain=[low / 2, high * 2], nice=False)
    margin = 0.3 * (high - low) or abs(high) or 1.0
    bottom = max(low - margin, 0.0) if low >= 0 else low - margin
    return alt.Scale(domain=[bottom, high + margin], nice=False, zero=False)


def _in_unit(trial: Trial, metric: str, value: float | None) -> float | None:
    unit = trial.unit(metric) or {"per": 1.0}
    return None if value is None else value / float(unit["per"])


def to_text(value: Any) -> str:  # noqa: ANN401  JSON
    """A value as a table shows it."""
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)

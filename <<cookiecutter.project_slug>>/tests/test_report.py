"""The report: what its page shows, drawn as a browser draws it."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import vl_convert

from << cookiecutter.package_name >> import cli
from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.evaluation.store import write_trial_summary
from << cookiecutter.package_name >>.evaluation.trial import Trial
from << cookiecutter.package_name >>.report import make_report, write_report

HOURS = {"symbol": "h", "per": 3600.0}
SCORING = {
    "rows": "tickets",
    "metrics": {"MAE": {"unit": HOURS, "best": 0.0}, "R2": {"unit": None, "best": 1.0}},
    "baseline": 7200.0,
    "group": None,
}


def make_trial(number, **changes):
    day = f"2024-01-{1 + number:02d}T00:00:00Z"
    start = f"2024-01-{number:02d}T00:00:00Z"
    value = 3600.0 * number
    verdict = ("too little history", "as before", "data changed", "worse")[number % 4]
    trial = Trial(
        id=f"trial-{number}",
        num_obs=100,
        metrics={"MAE": value, "R2": None},
        target={"mean": value},
        created_at=day,
        flow="a-flow",
        model="m",
        window={"from": start, "to": day},
        scoring=SCORING,
        intervals={"MAE": [value * 0.9, value * 1.2], "R2": None},
        relative={"MAE": {"value": 1.0 + number / 100, "interval": [0.9, 1.2]}},
        segments={"priority": {each: {"num_obs": 9, "metrics": {"MAE": value}} for each in "abc"}},
        gate={"name": verdict, "bound": 1.1, "sentence": f"{verdict}: the sentence"},
    )
    return replace(trial, **changes)


HISTORY = [make_trial(number) for number in range(1, 10)]


def draw(page):
    """The charts of a page, as SVG."""
    return [vl_convert.vegalite_to_svg(chart) for chart in find_charts(page)]


def find_charts(page):
    return json.loads(re.search(r"^const charts = (.*);$", page, re.MULTILINE)[1])


def find_rows(page):
    """The rows of the first chart."""
    (rows,) = find_charts(page)[0]["datasets"].values()
    return rows


def count(svg, mark):
    """How many marks of a kind have a label for screen readers."""
    return len(
        re.findall(rf'aria-label="[^"]+" role="graphics-symbol" aria-roledescription="{mark}"', svg)
    )


def test_all_trials_are_drawn_and_told():
    page = make_report(HISTORY[-1], HISTORY)
    metric, relative, segments = draw(page)
    assert count(metric, "point") == count(metric, "rule mark") == 9
    assert count(relative, "point") == count(relative, "tick") == 9
    assert count(relative, "rule mark") == 9 + 1  # that of the guess
    assert count(segments, "bar") == 3
    assert [len(re.findall("<svg", svg)) for svg in (metric, relative, segments)] == [1, 1, 1]
    assert '<p class="verdict">as before: the sentence</p>' in page
    for text in ("MAE over time", "Relative error in MAE", "MAE by priority", "trial-9", "9.0 h"):
        assert text in page
    assert page[: page.index("</main>")].count("<table>") == 4
    assert len(page) < 2_000_000


BINS = {"rows": [5, 4], "predicted": [0.1, 0.7], "actual": [0.2, 0.6]}
NUMBERS = {**BINS, "low": [0.0, 0.5], "high": [40.0, 80.0]}
CLASSES = {"names": ["no", "<b>yes</b>", "other classes"], "counts": [[3, 0, 1]] * 3}


@pytest.mark.parametrize(
    ("outcomes", "marks"),
    [
        ({"numbers": NUMBERS}, [{"point": 2, "rule mark": 2}]),
        ({"numbers": {name: [values[0]] for name, values in NUMBERS.items()}}, [{"point": 1}]),
        ({"probabilities": BINS}, [{"point": 2, "rule mark": 0}]),
        ({"classes": CLASSES}, [{"rect mark": 9, "text mark": 9}]),
        ({"probabilities": BINS, "classes": CLASSES}, [{"point": 2}, {"rect mark": 9}]),
    ],
)
def test_predictions_are_drawn_beside_what_came_true(outcomes, marks):
    trial = make_trial(9, outcomes=outcomes)
    page = make_report(trial, [trial])
    drawn = draw(page)[3:]
    assert len(drawn) == len(marks)
    for svg, expected in zip(drawn, marks, strict=True):
        assert {kind: count(svg, kind) for kind in expected} == expected
    assert page.count("as a table</summary>") == 3 + len(marks)


def test_equal_values_are_a_line_on_scales_of_one_kind():
    """Of one prediction alone, whose actual values need a logarithmic scale."""
    hours = {"rows": [219.0], "predicted": [120.0], "actual": [400.0], "low": [60.0]}
    trial = make_trial(9, outcomes={"numbers": {**hours, "high": [5200.0]}})
    *_, chart = find_charts(make_report(trial, [trial]))
    sides = [layer["encoding"][axis] for layer in chart["layer"] for axis in ("x", "y")]
    assert {side["scale"].get("type") for side in sides if "scale" in side} == {"log"}


def test_what_is_odd_about_the_rows_is_told():
    assert make_report(make_trial(9, checks={"odd": None}), HISTORY)
    trial = make_trial(9, checks={"odd": ["2 of 102 tickets have no prediction: left out"]})
    assert "<p>2 of 102 tickets have no prediction: left out</p>" in make_report(trial, [trial])


def test_of_very_many_trials_the_latest_are_shown():
    times = [f"2023-{1 + n // 576:02d}-{1 + n // 24 % 24:02d}T{n % 24:02d}" for n in range(1200)]
    windows = [{"from": f"{time}:00:00Z", "to": f"{time}:30:00Z"} for time in times]
    many = [make_trial(1, id=str(n), window=window) for n, window in enumerate(windows)]
    page = make_report(many[-1], many)
    assert len(page) < 2_000_000
    assert "Shown are the latest 500 of 1,200 trials" in page
    assert {row["period"] for row in find_rows(page)} == {each.period for each in many[-500:]}


def test_the_page_needs_no_network():
    page = make_report(HISTORY[-1], HISTORY)
    assert not re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=|<link\b|@import|url\(", page[:5000])
    assert page.count("<script>") == page.count("</script>") == 2
    body = page[page.index("<main>") : page.index("</main>")]
    assert "http" not in body


def test_text_of_users_is_escaped():
    bad = "</script><script>alert(1)</script><b>&"
    segments = {bad: {bad: {"num_obs": 9, "metrics": {"MAE": 1.0}}}}
    counted = {"outcomes": {"classes": {"names": [bad], "counts": [[1]]}}, "checks": {"odd": [bad]}}
    gate = {"name": "worse", "sentence": bad}
    trial = make_trial(9, model=bad, segments=segments, gate=gate, **counted)
    page = make_report(trial, [trial])
    assert page.count("<script>") == page.count("</script>") == 2
    assert "<b>" not in page.replace(re.search(r"<script>.*?</script>", page, re.DOTALL)[0], "")
    assert "<script>alert" not in "".join(draw(page))


def test_challengers_are_shown_beside_the_model():
    difference = {"metric": "MAE", "model": "m", "value": -3600.0, "interval": [-7200.0, -360.0]}
    others = [
        make_trial(number, id=f"o-{number}", model="other", difference=difference)
        for number in range(1, 10)
    ]
    page = make_report(HISTORY[-1], HISTORY + others)
    assert count(draw(page)[0], "point") == 18
    assert "Challengers" in page
    assert "-2.0 h to -0.1 h" in page


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": {"MAE": None, "R2": None}, "intervals": {}, "relative": {}, "gate": None},
        {"window": None},
        {"scoring": None, "flow": None, "model": None, "segments": {}},
    ],
)
def test_what_is_not_defined_is_left_out(changes):
    trials = [make_trial(number, **changes) for number in range(1, 4)]
    page = make_report(trials[-1], trials)
    assert all("<svg" in svg for svg in draw(page))


def test_the_command_writes_the_file_and_replaces_it(tmp_path, trials, monkeypatch, capsys):
    for trial in HISTORY:
        write_trial_summary(trial, trials)
    out = tmp_path / "page.html"
    out.write_text("old")
    monkeypatch.setattr(sys, "argv", ["command", "report", "--out", str(out)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert not caught.value.code
    assert capsys.readouterr().out == f"{out}\n"
    assert "as before: the sentence" in out.read_text(encoding="utf-8")


def test_it_is_about_the_kind_of_trial_that_was_made_last(tmp_path, trials):
    for trial in HISTORY:
        write_trial_summary(replace(trial, created_at="2024-03-01T00:00:00Z"), trials)
    write_trial_summary(make_trial(20, window=None), trials)  # later than any window
    page = tmp_path / "page.html"
    write_report(trials, page)
    assert "The latest trial, trial-9<" in page.read_text(encoding="utf-8")
    write_trial_summary(make_trial(21, created_at="2024-03-02T00:00:00Z", window=None), trials)
    write_report(trials, page)
    assert "The latest trial, trial-21<" in page.read_text(encoding="utf-8")


def test_what_stands_in_the_way_is_said(tmp_path, trials):
    with pytest.raises(InputError, match="there are no trials yet"):
        write_report(trials, tmp_path / "page.html")
    write_trial_summary(HISTORY[0], trials)
    for path in (tmp_path, Path("/dev/null"), Path()):
        with pytest.raises(InputError, match="is not a file; give another path with --out"):
            write_report(trials, path)
    link = tmp_path / "link.html"
    link.symlink_to(tmp_path / "page.html")
    assert write_report(trials, link) == tmp_path / "page.html"
    assert link.is_symlink()


def test_without_the_extra_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "altair", None)
    for name in ("charts", "report"):
        monkeypatch.delitem(sys.modules, f"<< cookiecutter.package_name >>.{name}")
    monkeypatch.setattr(sys, "argv", ["command", "report"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert "install this project's extra `report`" in capsys.readouterr().err

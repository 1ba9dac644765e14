"""The command `report`, as a browser shows its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chromium import find_chromium, look
from commands import Commands, assert_refused

DAYS = ("--from", "2016-04-01", "--to", "2016-04-21", "--every", "1d", "--seed", "1")
PHONE, DESKTOP = 390, 1100


@pytest.fixture
def browse(tmp_path: Path):
    """What a page shows in Chromium, which is needed for that."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine")

    def show(page: str, width: int = DESKTOP, **options: bool) -> dict[str, Any]:
        found = look(program, page, width, tmp_path, **options)
        assert found["width"] == width
        return found

    return show


def report(commands: Commands) -> str:
    page = commands.folder / "page.html"
    result = commands.run("report", "--out", page)
    assert (result.returncode, result.stdout) == (0, f"{page}\n"), result.stderr
    return page.read_text(encoding="utf-8")


def test_all_trials_are_drawn_at_both_widths(commands, browse):
    assert commands.run("backfill", "--data", "sample", *DAYS).returncode == 0
    trials = [json.loads(path.read_text()) for path in commands.trials.glob("*.json")]
    assert len(trials) == 20
    latest = max(trials, key=lambda trial: trial["window"]["to"])
    page = report(commands)
    assert len(page) < 2_000_000
    for width in (DESKTOP, PHONE):
        found = browse(page, width)
        metric, relative, segments, *_ = found["charts"]
        assert metric["point"] == relative["point"] == 20
        assert metric["rule mark"] == sum(each["intervals"]["MAE"] is not None for each in trials)
        assert segments["bar"] == len(latest["segments"]["priority"])
        assert all(found["charts"])  # a wrong one is empty
        assert found["needed"] <= width
        assert all(width / 2 < each < width for each in found["widths"])


def test_it_is_light_on_dark_where_that_is_asked_for(commands, browse):
    assert commands.evaluate("--data", "sample").returncode == 0
    page = report(commands)
    assert browse(page)["color"] == "rgb(0, 0, 0)"
    assert browse(page, dark=True)["color"] == "rgb(255, 255, 255)"


def test_names_that_hold_markup_stay_text(commands, browse):
    hostile = "</script><script>window.hacked = true</script><img src=x onerror=hacked=true>&lt;"
    assert commands.evaluate("--data", "sample").returncode == 0
    (path,) = commands.trials.glob("*.json")
    trial = json.loads(path.read_text())
    trial["segments"] = {hostile: {hostile: trial["segments"]["priority"].popitem()[1]}}
    trial["outcomes"]["classes"] = {"names": [hostile], "counts": [[1]]}
    trial["checks"]["odd"] = [hostile]
    trial |= {"model": hostile, "flow": hostile, "source": {"data": hostile, "name": hostile}}
    trial["gate"]["sentence"] = hostile
    path.write_text(json.dumps(trial))
    page = report(commands)
    found = browse(page)
    assert not found["hacked"]
    assert found["scripts"] == 2
    assert {"script", "img"} & set(found["tags"]) == set()
    assert found["text"].count(hostile) >= 4
    assert all(found["charts"])


def test_without_trials_it_says_how_to_make_some(commands):
    assert_refused(commands.run("report"), "there are no trials yet")

"""Which rows are evaluated, whatever they are."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd
import pytest

from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.evaluation.selection import (
    Selection,
    make_selection,
    parse_span,
)


def sizes(frame: pd.DataFrame, **asked) -> list[int]:
    """What is drawn of the fixture `rows`."""
    return make_selection(None, **asked).draw(frame, "closed_at")["size"].tolist()


def test_unless_told_otherwise_a_batch_has_1000_rows_of_no_window():
    assert make_selection("x") == Selection("x", 1000, None, None, None, None)
    assert make_selection("x").window is None
    frame = pd.DataFrame({"closed_at": pd.Timestamp("2016-03-01"), "size": range(1001)})
    assert len(sizes(frame)) == 1000
    assert sorted(sizes(frame, batch_size=None)) == list(range(1001))


def test_a_batch_is_drawn_without_replacement_and_repeatably_under_a_seed():
    frame = pd.DataFrame({"closed_at": pd.Timestamp("2016-03-01"), "size": range(100)})
    drawn = sizes(frame, batch_size=99, seed=0)
    assert len(set(drawn)) == 99
    assert drawn == sizes(frame, batch_size=99, seed=0)
    assert drawn != sizes(frame, batch_size=99, seed=1)
    assert sizes(frame, batch_size=50) != sizes(frame, batch_size=50)


@pytest.mark.parametrize(
    ("window", "expected", "kept", "words"),
    [
        (
            {"closed_from": "2016-03-01", "closed_to": "2016-03-03"},
            [1, 2],
            {"from": "2016-03-01T00:00:00Z", "to": "2016-03-03T00:00:00Z"},
            "from 2016-03-01 00:00:00 to 2016-03-03 00:00:00",
        ),
        (
            {"closed_from": "2016-03-02"},
            [2, 3],
            {"from": "2016-03-02T00:00:00Z", "to": None},
            "from 2016-03-02 00:00:00 to the end",
        ),
        (
            {"closed_to": "2016-03-02T08:00+08:00"},
            [1],
            {"from": None, "to": "2016-03-02T00:00:00Z"},
            "from the beginning to 2016-03-02 00:00:00",
        ),
    ],
)
def test_a_window_holds_its_start_and_not_its_end(rows, window, expected, kept, words):
    assert sizes(rows, **window) == expected
    selection = make_selection("x", **window)
    assert (selection.window, selection.period) == (kept, words)


def test_the_last_span_ends_now():
    now = datetime.fromisoformat("2016-03-03T02:00:00+02:00")
    selection = make_selection("x", closed_last="24h", now=now)
    assert selection.window == {"from": "2016-03-02T00:00:00Z", "to": "2016-03-03T00:00:00Z"}
    assert selection.closed_last == "24h"
    assert make_selection("x", closed_last="1m").closed_to is not None


def test_the_last_span_ends_earlier_by_the_lag():
    now = datetime.fromisoformat("2016-03-10T00:00:00+00:00")
    selection = make_selection("x", closed_last="24h", lag="7d", now=now)
    assert selection.window == {"from": "2016-03-02T00:00:00Z", "to": "2016-03-03T00:00:00Z"}
    assert (selection.closed_last, selection.lag) == ("24h", "7d")


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("1m", {"minutes": 1}),
        ("90h", {"hours": 90}),
        ("9999d", {"days": 9999}),
        ("2w", {"weeks": 2}),
    ],
)
def test_spans(text, span):
    assert parse_span("closed_last", text) == timedelta(**span)


@pytest.mark.parametrize("as_type", ["datetime64[ns, UTC]", "string", "object", "text", "zones"])
def test_closing_times_may_be_text_or_have_a_zone(rows, as_type):
    times = rows["closed_at"].dt.tz_localize("UTC")
    if as_type == "text":  # as SQLite has it, without a zone
        times = rows["closed_at"].dt.strftime("%Y-%m-%d %H:%M:%S")
    elif as_type == "zones":
        times = times.dt.tz_convert("Asia/Tokyo")
    else:
        times = times.astype(as_type)
    frame = rows.assign(closed_at=times)
    assert sizes(frame) == [1, 2, 3]
    assert sizes(frame, closed_from="2016-03-02", closed_to="2016-03-03") == [2]
    assert sizes(frame, closed_to="2016-03-02T00:01") == [1, 2]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("finished_at", "2016-03-01", "no column 'closed_at', only size, finished_at"),
        ("closed_at", "soon", "the column 'closed_at' does not hold times"),
        ("closed_at", 1456790400, "the column 'closed_at' holds numbers, not times"),
    ],
)
def test_a_wrong_column_of_closing_times_is_refused_in_one_line(column, values, message):
    frame = pd.DataFrame({"size": [1, 2], column: values})
    with pytest.raises(InputError, match=rf"^data\.py: .*{message}.*;") as caught:
        sizes(frame, closed_from="2016-03-01")
    assert len(str(caught.value).splitlines()) == 1


def test_more_rows_than_there_are_takes_all_and_says_so(rows, caplog):
    caplog.set_level("INFO")
    assert sizes(rows, batch_size=3) == [1, 2, 3]
    assert caplog.text == ""
    assert sizes(rows, batch_size=4) == [1, 2, 3]
    assert "batch_size is 4, but there are only 3 rows" in caplog.text
    caplog.clear()
    assert sizes(rows[:1], batch_size=2) == [1]
    assert "there are only 1 rows" in caplog.text
    caplog.clear()
    assert sizes(rows[:0]) == []
    assert caplog.text == ""


@pytest.mark.parametrize(
    "asked",
    [
        {"batch_size": 0},
        {"batch_size": "-1"},
        {"batch_size": "x"},
        {"batch_size": 10**9 + 1},
        {"seed": "1.5"},
        {"seed": -1},
        {"closed_from": "March"},
        {"closed_to": "2016-03-01", "closed_from": "2016-03-02"},
        {"closed_to": "2016-03-01", "closed_from": "2016-03-01"},
        {"closed_last": "1 day"},
        {"closed_last": "0d"},
        {"closed_last": "10000d"},
        {"closed_last": "24h", "closed_to": "2016-03-01"},
        {"closed_last": "24h", "closed_from": "2016-03-01"},
        {"lag": "7d"},
        {"lag": "7 days", "closed_last": "24h"},
    ],
)
def test_what_cannot_be_selected_is_refused_in_one_line(asked):
    with pytest.raises(InputError, match=rf"^{next(iter(asked))}: .*(;|from)") as caught:
        make_selection("x", **asked)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_read_is_not_shown_as_it_may_hold_a_password():
    shown = repr(make_selection("postgresql://ann:hunter2@db/orders", batch_size=7))
    assert "hunter2" not in shown
    assert "batch_size=7" in shown


def test_limits_are_valid():
    assert make_selection("x", batch_size="1", seed=0).batch_size == 1
    assert make_selection("x", batch_size=10**9, seed=10**9).seed == 10**9

"""One trial for each window of a period that is over, from one read of the source."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any, ParamSpec, TypeVar, cast

import click
import pandas as pd
from joblib import Parallel, delayed

from .errors import InputError
from .evaluation.history import judge_trial
from .evaluation.selection import Selection, as_utc
from .evaluation.store import check_place, read_trials, write_trial_summary
from .evaluation.summary import derive_trial_id, describe_source, get_trial_id
from .evaluation.trial import Trial
from .metrics import SCORING
from .model import MODEL_NAME
from .pipeline import CHALLENGERS, evaluate_batch, get_ticket_data_batch, read_history
from .settings import load_settings

P = ParamSpec("P")
R = TypeVar("R")
MODELS = (MODEL_NAME, *CHALLENGERS)
MAX_WINDOWS = 10_000
IDLE_SECONDS = 10
AHEAD = 8  # windows for each process that are drawn before the first of them is kept
log = logging.getLogger(__name__)


def run_backfill(
    period: Selection, every: timedelta, *, again: bool = False, jobs: int = 1
) -> Trial | None:
    """Make and keep a trial for each window that has none yet.

    A window has one if the model was evaluated in the same way, with the same options, on the same
    source: the same `sha256`, if data.py says that in `attrs["source"]`. So an interrupted backfill
    goes on when it is repeated. Trials are judged in order of time, each by those of earlier
    windows.

    Args:
        period: With both ends. The first window begins at `closed_from`. What remains before
            `closed_to` is left out if it is shorter than a window.
        every: How long a window is.
        again: Make new trials for all windows. The latest trial of a window counts.
        jobs: How many processes evaluate windows.

    Returns:
        The model's trial of the latest window that holds rows; None if none does.

    Raises:
        InputError: The period is not valid, the data cannot be read, or a trial cannot be kept.
            What was kept until then stays.
    """
    settings = load_settings()
    check_place(settings.trials)
    trials = {trial.id: trial for trial in read_trials(settings.trials)}
    windows = split(period, every)
    empty: list[Selection] = []
    found: list[str] = []  # the ids of the model's trials
    made = 0

    def find_work() -> Iterator[tuple[pd.DataFrame, Selection, str, dict[str, str]]]:
        for window, batch in bar:
            if batch.empty:
                empty.append(window)
                continue
            what = (window, describe_source(batch, window), SCORING, settings.flow_name)
            ids = {name: derive_trial_id(name, *what) for name in MODELS}
            if again:
                ids = {name: get_trial_id() for name in MODELS}
            found.append(ids[MODEL_NAME])
            if not trials.keys() >= set(ids.values()):
                yield batch, window, settings.flow_name, ids

    hidden = not sys.stderr.isatty()
    with (
        _say_once(),
        click.progressbar(
            read_windows(windows), len(windows), "Windows", hidden, show_pos=True, file=sys.stderr
        ) as bar,
    ):
        for results in _evaluate_all(find_work(), jobs):
            for trial in results:
                if trial.id not in trials:
                    trials[trial.id] = judge_trial(trial, list(trials.values()), SCORING.gate)
                    write_trial_summary(trials[trial.id], settings.trials)
            made += 1
    for gap in _join(empty):
        log.info("no rows closed %s: no trial", gap.period)
    counts = f"{made} evaluated, {len(found) - made} evaluated before, {len(empty)} empty"
    log.info("windows: %s", counts)
    return _find_latest(trials, found[-1]) if found else None


def split(period: Selection, every: timedelta) -> list[Selection]:
    """Split a period into windows, in order of time; those that are not over are left out.

    Raises:
        InputError: There would be none, or more than 10,000.
    """
    assert period.closed_from is not None
    assert period.closed_to is not None
    end = min(period.closed_to, datetime.now(UTC).replace(tzinfo=None))
    count = (end - period.closed_from) // every
    if count < 1:
        problem = f"no whole window of {every} is over {period.period}"
        raise InputError(f"every: {problem}; give a shorter one, or a longer period")
    if count > MAX_WINDOWS:
        problem = f"there would be {count:,} windows {period.period}, more than {MAX_WINDOWS:,}"
        raise InputError(f"every: {problem}; give a longer one, or a shorter period")
    starts = [period.closed_from + number * every for number in range(count + 1)]
    if starts[-1] < period.closed_to:
        rest = replace(period, closed_from=starts[-1])
        log.info("left out, as it is not a whole window, or not over yet: %s", rest.period)
    return [replace(period, closed_from=start, closed_to=end) for start, end in pairwise(starts)]


@dataclass(frozen=True)
class _Period(Selection):
    """All rows of a period. Notes what data.py draws from, so that windows can be drawn later."""

    drawn: list[tuple[str, pd.Index[Any]]] = field(default_factory=list)

    def draw(self, frame: pd.DataFrame, closed_at: str) -> pd.DataFrame:
        """Keep the period's rows."""
        batch = super().draw(frame, closed_at)
        self.drawn.append((closed_at, batch.index))
        return batch

    def find_column(self, frame: pd.DataFrame) -> str | None:
        """The column of closing times; None if the rows are not simply those that were drawn."""
        if len(self.drawn) == 1:
            column, index = self.drawn[0]
            if column in frame and index.equals(frame.index):
                return column
        return None


def read_windows(windows: Sequence[Selection]) -> Iterator[tuple[Selection, pd.DataFrame]]:
    """Read the source once and draw each window's rows from that.

    A data.py that draws in another way is asked for each window.

    Args:
        windows: From `split`.
    """
    first, end = windows[0], windows[-1].closed_to
    period = _Period(**{**vars(first), "closed_to": end, "batch_size": None})
    frame = get_ticket_data_batch(period)
    column = period.find_column(frame)
    if column is None:
        log.info("data.py does more than selection.draw: it is asked for each window")
        yield from ((window, get_ticket_data_batch(window)) for window in windows)
        return
    assert first.closed_from is not None
    assert first.closed_to is not None
    numbers = (as_utc(frame[column]) - first.closed_from) // (first.closed_to - first.closed_from)
    places: Mapping[Any, Any] = frame.groupby(numbers.to_numpy()).indices
    for number, window in enumerate(windows):
        yield window, window.draw(frame.iloc[places.get(number, [])], column)


def _evaluate_all(
    work: Iterator[tuple[pd.DataFrame, Selection, str, dict[str, str]]], jobs: int
) -> Iterator[list[Trial]]:
    """Evaluate windows in order, some at a time."""
    at_once = 1 if jobs == 1 else AHEAD * jobs
    # A memory-mapped batch could not be changed. Processes end soon when this one is killed.
    with Parallel(jobs, max_nbytes=None, idle_worker_timeout=IDLE_SECONDS) as parallel:
        while some := list(islice(work, at_once)):
            yield from parallel(delayed(_evaluate)(*each) for each in some)


def _evaluate(
    batch: pd.DataFrame, window: Selection, flow_name: str, ids: Mapping[str, str]
) -> list[Trial]:
    """Evaluate one window, perhaps in another process. Its trials are not judged yet."""

    def step(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, []) if function is read_history else function(*args, **kwargs)

    return evaluate_batch(batch, window, flow_name, step, ids)


def _find_latest(trials: Mapping[str, Trial], trial_id: str) -> Trial:
    """The trial of a window that counts, given one of them."""
    first = trials[trial_id]
    same = [
        each
        for each in trials.values()
        if (each.flow, each.model, each.window) == (first.flow, first.model, first.window)
        and each.scoring == first.scoring
    ]
    return max(same, key=lambda each: each.created_at)


def _join(windows: Iterable[Selection]) -> list[Selection]:
    """Join windows that follow each other."""
    joined: list[Selection] = []
    for window in windows:
        if joined and joined[-1].closed_to == window.closed_from:
            joined[-1] = replace(joined[-1], closed_to=window.closed_to)
        else:
            joined.append(window)
    return joined


@contextmanager
def _say_once() -> Iterator[None]:
    """Show a warning for the first window only, and nothing of windows that hold few rows."""
    seen: set[object] = set()

    def is_new(record: logging.LogRecord) -> bool:
        is_old = record.msg in seen or record.levelno < logging.WARNING
        seen.add(record.msg)
        return not is_old

    names = ("intervals", "selection", "summary")
    loggers = [logging.getLogger(f"{__package__}.evaluation.{name}") for name in names]
    for each in loggers:
        each.addFilter(is_new)
    try:
        yield
    finally:
        for each in loggers:
            each.removeFilter(is_new)

"""How well intervals and gate work on UCI's log, as Markdown tables: `gate_tables.py PACKAGE ZIP`.

It runs in the environment of a generated project, whose code it measures. Windows are drawn by
ticket. The learned model is gradient boosting, trained on the half of the tickets that were opened
first, and measured on the other half.
"""

import importlib
import sys
import time
import zipfile
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import median_absolute_error, r2_score

package, log = sys.argv[1:]
evaluation = {
    name: importlib.import_module(f"{package}.evaluation.{name}")
    for name in ("gate", "intervals", "scoring")
}
Point, judge = evaluation["gate"].Point, evaluation["gate"].judge
measure, difference = evaluation["intervals"].measure, evaluation["intervals"].difference
scoring = evaluation["scoring"]
predict = importlib.import_module(f"{package}.model").predict

GUESS = 466_920.0  # seconds, as in the default metrics.py
HISTORIES, TRIALS, CHANGE = 1000, 100, 50
POOL = 3000  # measured windows, from which the histories are drawn
FACTORS = (1.1, 1.2, 1.5)
MAE = scoring.Metric.mean(scoring.absolute_error)
METRICS = {
    "MAE": MAE,
    "MSE": scoring.Metric.mean(scoring.squared_error),
    "R2": scoring.Metric(r2_score, best=1.0),
    "MedAE": scoring.Metric(median_absolute_error),
}
TIMES = ["opened_at", "sys_updated_at", "closed_at"]
NUMBERS = ["reassignment_count", "reopen_count", "sys_mod_count"]
NAMES = ["priority", "incident_state", "category", "contact_type", "assignment_group", "location"]


@dataclass(frozen=True)
class Tickets:
    """Rows, sorted by ticket: actual values, predictions, and where each ticket's rows begin."""

    actual: np.ndarray
    predicted: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, rows, predicted):
        number = rows["number"].to_numpy()
        starts = np.flatnonzero(np.r_[True, number[1:] != number[:-1]])
        counts = np.diff(np.r_[starts, len(rows)])
        return cls(rows["actual"].to_numpy(), rows[predicted].to_numpy(), starts, counts)

    def rows(self, tickets):
        """Which rows some tickets have, and a code of the ticket for each."""
        counts = self.counts[tickets]
        codes = np.repeat(np.arange(len(tickets)), counts)
        offsets = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.starts[tickets][codes] + offsets, codes

    def window(self, tickets):
        """Actual and predicted values, guesses and codes."""
        rows, codes = self.rows(tickets)
        return self.actual[rows], self.predicted[rows], np.full(len(rows), GUESS), codes


def read():
    """All rows of the log, with actual times to close and both models' predictions, in seconds."""
    with zipfile.ZipFile(log) as archive:
        csv = archive.open("incident_event_log.csv")
        rows = pd.read_csv(csv, usecols=["number", *TIMES, *NUMBERS, *NAMES], na_values="?")
    for name in TIMES:
        rows[name] = pd.to_datetime(rows[name], format="%d/%m/%Y %H:%M")
    rows["actual"] = (rows["closed_at"] - rows["sys_updated_at"]).dt.total_seconds()
    rows["default"] = predict(rows)
    features = rows[NUMBERS].copy()
    for name in NAMES:
        common = rows[name].value_counts().index[:100]
        known = rows[name].where(rows[name].isin(common))
        features[name] = pd.Categorical(known, categories=common)
    features["hour"] = rows["sys_updated_at"].dt.hour
    features["age"] = (rows["sys_updated_at"] - rows["opened_at"]).dt.total_seconds()
    opened = rows.groupby("number")["opened_at"].transform("min")
    first_half = opened.rank(method="dense", pct=True) <= 0.5
    model = HistGradientBoostingRegressor(
        loss="absolute_error", categorical_features="from_dtype", max_iter=200, random_state=0
    )
    model.fit(features[first_half], rows["actual"][first_half])
    rows["learned"] = model.predict(features)
    rows["held_out"] = ~first_half
    return rows.sort_values("number", kind="stable")


def measure_windows(tickets, size, count, random, weights=None):
    """What a trial keeps for the gate, of `count` windows of `size` tickets each."""
    found = []
    for _ in range(count):
        drawn = random.choice(len(tickets.starts), size, replace=weights is not None, p=weights)
        found.append(to_point(measure(MAE, *tickets.window(drawn))))
    return found


def to_point(measured, when=""):
    errors = (measured.log_error, measured.log_error_se)
    return Point(when, measured.groups, *errors, measured.log_relative, measured.log_relative_se)


def grow(point, factor):
    """The same trial with errors so many times as large."""
    more = np.log(factor)
    grown = {name: getattr(point, name) + more for name in ("log_error", "log_relative")}
    return replace(point, **grown)


def grow_one(pool, factor, _, index):
    return grow(pool[index], factor)


def drift(pool, after, index):
    """Errors that grow by 1 % from trial to trial."""
    return grow(pool[index], 1.01 ** (after + 1))


def on_the_error_itself(point):
    return replace(point, log_relative=point.log_error, log_relative_se=point.log_error_se)


def our_rule(pool, changes, draws, length=5):
    """Which trials are called worse; and the verdicts of the trials that are changed.

    `changes` are functions of how many trials there were since CHANGE, and of an index of the pool.
    """
    unchanged = np.zeros((len(draws), TRIALS), dtype=bool)
    verdicts = {name: np.zeros((len(draws), length), dtype=object) for name in changes}
    for history, indices in enumerate(draws):
        points = follow([], [pool[index] for index in indices])
        unchanged[history] = [point.verdict == "worse" for point in points]
        changed = indices[CHANGE : CHANGE + length]
        for name, change in changes.items():
            new = [change(after, index) for after, index in enumerate(changed)]
            followed = follow(points[:CHANGE], new)[CHANGE:]
            verdicts[name][history] = [point.verdict for point in followed]
    return unchanged[:, 14:], verdicts


def follow(points, new):
    """The points and the new ones with their verdicts."""
    points = list(points)
    for point in new:
        points.append(replace(point, verdict=judge([*points, point]).name))
    return points


def above_reference_trials(errors):
    """Beyond mean + 3 standard deviations of the first 20 trials; as NannyML."""
    reference = errors[:, :20]
    bound = reference.mean(axis=1) + 3 * reference.std(axis=1)
    return errors > bound[:, None], 20


def above_one_reference(errors):
    """More than 10 % above the first trial; as Evidently, which also warns of falls."""
    return errors > 1.1 * errors[:, :1], 1


def above_twice_in_five(errors):
    """The latest and another of the last five more than 10 % above; as databricks/mlops-stacks."""
    above = errors > 1.1 * errors[:, :1]
    padded = np.pad(above, ((0, 0), (4, 0)))
    count = sum(padded[:, start : start + errors.shape[1]] for start in range(5))
    return above & (count >= 2), 1


OTHERS = {
    "mean + 3 standard deviations of 20 reference trials (NannyML)": above_reference_trials,
    "+10 % of one reference trial (Evidently)": above_one_reference,
    "+10 % of one reference trial, 2 of 5 (databricks/mlops-stacks)": above_twice_in_five,
}


def their_rule(rule, pool, draws):
    errors = np.exp([point.log_error for point in pool])[draws]
    alarms, first = rule(errors)
    found = {}
    for factor in FACTORS:
        grown = errors.copy()
        grown[:, CHANGE:] *= factor
        found[factor] = rule(grown)[0][:, CHANGE : CHANGE + 5].any(axis=1).mean()
    return 1000 * alarms[:, first:].mean(), found


def compare_rules(cases, random):
    """False alarms per 1,000 trials, and how many percent of larger errors are found."""
    columns, slow = {}, {}
    for name, (tickets, size) in cases.items():
        start = time.time()
        pool = measure_windows(tickets, size, POOL, random)
        draws = random.integers(POOL, size=(HISTORIES, TRIALS))
        column = columns[name] = {}
        for rule, convert in (
            ("**this gate**", lambda point: point),
            ("the same rule on MAE alone", on_the_error_itself),
        ):
            points = [convert(point) for point in pool]
            changes = {factor: partial(grow_one, points, factor) for factor in FACTORS}
            alarms, later = our_rule(points, changes, draws)
            found = {factor: (each == "worse").any(axis=1).mean() for factor, each in later.items()}
            column[rule] = (1000 * alarms.mean(), found)
        for rule, function in OTHERS.items():
            column[rule] = their_rule(function, pool, draws)
        slow[name] = watch_slowly(pool, draws[:300])
        print(f"{name}: {time.time() - start:.0f} s", file=sys.stderr)
    rows = []
    for rule in next(iter(columns.values())):
        cells = []
        for column in columns.values():
            alarms, found = column[rule]
            shares = " / ".join(f"{100 * share:.0f}" for share in found.values())
            cells.append(f"{alarms:.2f}; {shares}" if alarms < 10 else f"{alarms:.0f}; {shares}")
        rows.append([rule, *cells])
    print_table(["rule", *columns], rows)
    print("How much windows vary, and this gate over 40 trials\n")
    print_table(["", *slow], zip(SLOWLY, *slow.values(), strict=True))


SLOWLY = (
    "MAE varies from window to window by",
    "relative MAE varies by",
    "errors grow by 1 % a trial: found within 40 trials",
    "... after so many trials, in the median",
    "errors grow x 1.2: still called worse in trials 21 to 40",
)


def watch_slowly(pool, draws):
    changes = {"drift": partial(drift, pool), "step": partial(grow_one, pool, 1.2)}
    verdicts = our_rule(pool, changes, draws, length=40)[1]
    is_worse = verdicts["drift"] == "worse"
    found = is_worse.any(axis=1)
    when = np.median(is_worse[found].argmax(axis=1) + 1)
    held = (verdicts["step"][:, 20:] == "worse").mean()
    spreads = (
        np.std([getattr(point, name) for point in pool]) for name in ("log_error", "log_relative")
    )
    shown = [f"{100 * spread:.1f} %" for spread in spreads]
    return *shown, f"{100 * found.mean():.0f} %", f"{when:.0f}", f"{100 * held:.0f} %"


def change_world(cases, random):
    """What is said within five trials of a world that changed, and of a model that did not."""
    rows = []
    for name, (tickets, size) in cases.items():
        pool = measure_windows(tickets, size, 1000, random)
        draws = random.integers(len(pool), size=(HISTORIES, TRIALS))
        weights = tail_weights(tickets)
        worlds = {
            "hard tickets oversampled, MAE +30 %": (tickets, weights),
            "all times x 1.3": (replace(tickets, actual=1.3 * tickets.actual), None),
            "all times x 0.7": (replace(tickets, actual=0.7 * tickets.actual), None),
        }
        changed = {
            world: measure_windows(others, size, 1000, random, weights)
            for world, (others, weights) in worlds.items()
        }
        changes = {world: partial(grow_one, points, 1) for world, points in changed.items()}
        for world, verdicts in our_rule(pool, changes, draws)[1].items():
            said = [
                f"{100 * (verdicts == verdict).any(axis=1).mean():.0f} %"
                for verdict in ("worse", "data changed")
            ]
            mae = np.mean([point.log_error for point in changed[world]])
            grown = np.expm1(mae - np.mean([point.log_error for point in pool]))
            rows.append([name, world, f"{100 * grown:+.0f} %", *said])
    print_table(["model", "change", "MAE", "called worse", "called data changed"], rows)


def tail_weights(tickets):
    """Weights of tickets so that MAE grows by 30 %: those with the longest times are drawn more."""
    errors = np.abs(tickets.actual - tickets.predicted)
    sums = np.add.reduceat(errors, tickets.starts)
    longest = np.maximum.reduceat(tickets.actual, tickets.starts)
    tail = longest > np.quantile(longest, 0.9)
    target = 1.3 * sums.sum() / tickets.counts.sum()
    low, high = 1.0, 50.0
    for _ in range(40):
        factor = (low + high) / 2
        weights = np.where(tail, factor, 1.0)
        mae = (weights * sums).sum() / (weights * tickets.counts).sum()
        low, high = (factor, high) if mae < target else (low, factor)
    return weights / weights.sum()


def replay_days(rows):
    """The log's own days in their order, with a model that does not change."""
    first = rows.drop_duplicates("number")
    cases = {
        "default model, first event": (first, "default"),
        "default model, all events": (rows, "default"),
        "learned model, all events of held-out tickets": (rows[rows["held_out"]], "learned"),
    }
    table = []
    for name, (some, predicted) in cases.items():
        points, found = [], []
        for day, closed in some.groupby(some["closed_at"].dt.floor("D")):
            tickets = Tickets.of(closed, predicted)
            window = tickets.window(np.arange(len(tickets.starts)))
            point = to_point(measure(MAE, *window), f"{day:%Y-%m-%d}T00:00:00Z")
            found.append(judge([*points, point]).name)
            points.append(replace(point, verdict=found[-1]))
        counts = pd.Series(found).value_counts()
        judged = len(found) - counts.get("too few rows", 0) - counts.get("too little history", 0)
        shown = [str(counts.get(verdict, 0)) for verdict in ("worse", "data changed")]
        table.append([name, str(len(found)), str(judged), *shown])
    print_table(["model", "days", "judged", "called worse", "called data changed"], table)


def cover(rows, random):
    """How many of 95 % intervals hold the value of the whole log."""
    whole, held_out = Tickets.of(rows, "default"), rows[rows["held_out"]]
    learned, default = Tickets.of(held_out, "learned"), Tickets.of(held_out, "default")
    hits = {}
    sizes = {20: 1000, 100: 1000, 1000: 1000, 10_000: 300}
    for size, times in sizes.items():
        for _ in range(times):
            count_metrics(whole, random.integers(len(whole.starts), size=size), hits, size)
            drawn = random.integers(len(learned.starts), size=size)
            count_comparisons(learned, default, drawn, hits, size)
    table = []
    names = dict.fromkeys(name for name, _ in hits)
    for name in names:
        table.append([name, *(f"{100 * np.mean(hits[name, size]):.0f}" for size in sizes)])
    print_table(["", *(f"{size:,} tickets" for size in sizes)], table)


def count_metrics(tickets, drawn, hits, size):
    actual, predicted, guess, codes = tickets.window(drawn)
    for name, metric in METRICS.items():
        truth = true_value(tickets, name)
        measured = measure(metric, actual, predicted, guess, codes)
        hits.setdefault((name, size), []).append(holds(measured.interval, truth[0]))
        if name in ("MAE", "MSE"):
            hit = holds(measured.relative_interval, truth[1])
            hits.setdefault((f"relative {name}", size), []).append(hit)
    by_row = measure(MAE, actual, predicted).interval
    hits.setdefault(("MAE, by row in place of by ticket", size), []).append(
        holds(by_row, true_value(tickets, "MAE")[0])
    )


def count_comparisons(learned, default, drawn, hits, size):
    actual, predicted, guess, codes = learned.window(drawn)
    relative = measure(MAE, actual, predicted, guess, codes).relative_interval
    truths = true_value(learned, "MAE"), true_value(default, "MAE")
    hit = holds(relative, truths[0][1])
    hits.setdefault(("relative MAE of the learned model", size), []).append(hit)
    other = default.window(drawn)[1]
    found = difference(MAE, actual, predicted, other, codes).interval
    hit = holds(found, truths[1][0] - truths[0][0])
    hits.setdefault(("MAE of the default minus that of the learned model", size), []).append(hit)


KNOWN = {}


def true_value(tickets, name):
    """A metric of all tickets, and its relative error."""
    key = (id(tickets), name)
    if key not in KNOWN:
        guess = np.full(len(tickets.actual), GUESS)
        measured = measure(METRICS[name], tickets.actual, tickets.predicted, guess)
        KNOWN[key] = (measured.value, measured.relative)
    return KNOWN[key]


def holds(interval, truth):
    return interval is not None and interval[0] <= truth <= interval[1]


def print_table(header, rows):
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


start = time.time()
rows = read()
print(f"read and trained: {time.time() - start:.0f} s", file=sys.stderr)
first_event = Tickets.of(rows.drop_duplicates("number"), "default")
all_events = Tickets.of(rows[rows["held_out"]], "learned")
random = np.random.default_rng(0)

print("False alarms per 1,000 trials; % found within 5 trials if errors grow x 1.1 / 1.2 / 1.5\n")
cases = {
    "default model, first event, 1,000 tickets": (first_event, 1000),
    "learned model, all events, 1,000 tickets": (all_events, 1000),
    "learned model, all events, 100 tickets": (all_events, 100),
}
compare_rules(cases, random)
print("What is said within 5 trials if the data changes and the model does not\n")
cases = {
    "default, first event": (first_event, 1000),
    "learned, all events": (all_events, 1000),
}
change_world(cases, random)
print("The log's days in their order, one trial a day\n")
replay_days(rows)
print("How many of 100 intervals of 95 % hold the value of the whole log\n")
cover(rows, random)
print(f"{time.time() - start:.0f} s", file=sys.stderr)

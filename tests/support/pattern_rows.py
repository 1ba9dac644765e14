"""Rows for tests/patterns, and what a trial of them must hold, by plain pandas and scikit-learn.

A project's Python runs this; it imports nothing of the project.

    pattern_rows.py make PATTERN PLACE                    PLACE: a file, or a database's address
    pattern_rows.py expect PATTERN PLACE FROM TO [MODEL]  prints JSON; MODEL: a trained model's file
"""

import json
import sys
import warnings
from datetime import UTC, datetime, timedelta

import joblib
import numpy as np
import pandas as pd
from sklearn import metrics as sk

TEAMS = ["access", "billing", "network"]
WORDS = {
    "access": ["password", "locked"],
    "billing": ["invoice", "refund"],
    "network": ["internet", "slow"],
}
SECONDS_IN_A_DAY = 86_400.0


def make_houses():
    rng = np.random.default_rng(1)
    size = 400
    area = rng.integers(40, 200, size)
    region = rng.choice(["north", "south", "coast", None], size, p=[0.4, 0.3, 0.2, 0.1])
    price = area * rng.normal(3_000, 400, size) + 50_000 * (region == "coast")
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(size) * 180 // size, unit="D")
    houses = {"region": region, "area": area, "rooms": area // 25, "price": price.round()}
    return pd.DataFrame({"sold_on": days.strftime("%Y-%m-%d"), **houses})


def make_customers():
    rng = np.random.default_rng(2)
    size = 500
    months, complaints = rng.integers(0, 48, size), rng.poisson(0.7, size)
    odds = np.exp(0.9 * complaints - 0.04 * months - 1.0)
    customers = {
        "plan": rng.choice(["free", "basic", "pro"], size),
        "months": months,
        "complaints": complaints,
        "left": (rng.random(size) < odds / (1 + odds)).astype(int),
    }
    ends = rng.choice(["2024-05-01", "2024-06-01", "2024-07-01"], size)
    return pd.DataFrame({"month_ended_at": ends, **customers})


def make_requests():
    rng = np.random.default_rng(3)
    size = 300
    teams = rng.choice(TEAMS, size, p=[0.2, 0.3, 0.5])
    about = np.where(rng.random(size) < 0.8, teams, rng.choice(TEAMS, size))
    subjects = [
        f"My {rng.choice(WORDS[team])} again" if rng.random() < 0.9 else "" for team in about
    ]
    solved = pd.Timestamp("2024-06-01", tz="UTC") + pd.to_timedelta(np.arange(size), unit="h")
    return pd.DataFrame(
        {
            "solved_at": solved.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "channel": rng.choice(["mail", "phone", "chat"], size),
            "subject": subjects,
            "team": teams,
        }
    )


def make_forecasts():
    """Made every 6 hours for 20 days; the sales of the last 7 days are not known yet."""
    rng = np.random.default_rng(4)
    now = datetime.now(UTC)
    times = [now - timedelta(hours=3 + 6 * number) for number in range(80)]
    rows = pd.DataFrame(
        [(time, f"store {number}") for time in times for number in range(12)],
        columns=["made_at", "store"],
    )
    rows["sold"] = rng.poisson(40, len(rows)) * 1.0
    rows["forecast"] = rows["sold"] + rng.normal(0, 6, len(rows)).round()
    rows["sold_last_week"] = rng.poisson(40, len(rows))
    rows.loc[rows["made_at"] > now - timedelta(days=7), "sold"] = np.nan
    rows.loc[::50, "sold"] = np.nan
    return rows


def make_orders():
    rng = np.random.default_rng(5)
    size = 300
    carriers = rng.choice(["bike", "van", "post", None], size)
    ordered = pd.Timestamp("2024-06-01T00:30Z") + pd.to_timedelta(np.arange(size) * 3, unit="h")
    took = pd.to_timedelta(rng.gamma(3.0, 16.0, size).round(), unit="h").to_series(
        index=range(size)
    )
    took[rng.random(size) < 0.1] = pd.NaT  # not delivered yet
    orders = {"customer": rng.integers(0, 80, size), "carrier": carriers, "items": 1}
    return pd.DataFrame({**orders, "ordered_at": ordered, "delivered_at": ordered + took})


def predict_team(subject):
    found = [team for team in ("access", "billing") if any(w in subject for w in WORDS[team])]
    return found[0] if found else "network"


def predict_shares(subject):
    counts = np.array([sum(subject.count(word) for word in WORDS[team]) for team in TEAMS]) + 0.2
    return counts / counts.sum()


def leaving(rows):
    return np.array(
        [
            1 / (1 + np.exp(1.0 + 0.04 * months - 0.9 * complaints))
            for months, complaints in zip(rows["months"], rows["complaints"], strict=True)
        ]
    )


def shares_of(rows):
    return np.array([predict_shares(subject) for subject in rows["subject"].fillna("").str.lower()])


def days(rows):
    return np.array([{"bike": 1.0, "van": 2.0}.get(each, 4.0) for each in rows["carrier"]])


def took(rows):
    return (rows["delivered_at"] - rows["ordered_at"]) / pd.Timedelta(seconds=1)


MAE = {"MAE": (sk.mean_absolute_error, 0.0)}
ACCURACY = {"accuracy": (sk.accuracy_score, 1.0)}
# Of each pattern: what makes its rows, the time of closing, the actual values, the predictions, the
# constant guess, the metrics with their best values, and the column of segments.
PATTERNS = {
    "euros": (
        make_houses,
        "sold_on",
        lambda rows: rows["price"].astype(float),
        lambda rows: joblib.load(sys.argv[6]).predict(rows[["region", "area", "rooms"]]),
        300_000.0,
        {**MAE, "MAPE": (sk.mean_absolute_percentage_error, 0.0)},
        "region",
    ),
    "churn": (
        make_customers,
        "month_ended_at",
        lambda rows: rows["left"].astype(float),
        leaving,
        0.2,
        {
            "log loss": (lambda left, share: sk.log_loss(left, share, labels=[0, 1]), 0.0),
            "AUC": (sk.roc_auc_score, 1.0),
            "Brier": (sk.brier_score_loss, 0.0),
        },
        "plan",
    ),
    "triage": (
        make_requests,
        "solved_at",
        lambda rows: rows["team"].astype(object),
        lambda rows: np.array([predict_team(each) for each in rows["subject"].fillna("")], object),
        "network",
        {
            **ACCURACY,
            "macro F1": (lambda *teams: sk.f1_score(*teams, average="macro", zero_division=0), 1.0),
        },
        "channel",
    ),
    "triage_probabilities": (
        make_requests,
        "solved_at",
        lambda rows: rows["team"].astype(object),
        shares_of,
        [0.3, 0.3, 0.4],
        {
            "log loss": (lambda team, share: sk.log_loss(team, share, labels=TEAMS), 0.0),
            "accuracy": (
                lambda team, share: np.mean(
                    [each == TEAMS[row.argmax()] for each, row in zip(team, share, strict=True)]
                ),
                1.0,
            ),
        },
        "channel",
    ),
    "forecast": (
        make_forecasts,
        "made_at",
        lambda rows: rows["sold"],
        lambda rows: rows["forecast"].to_numpy(),
        40.0,
        {**MAE, "WAPE": (lambda sold, forecast: sum(abs(sold - forecast)) / sum(sold), 0.0)},
        "store",
    ),
    "orders_sql": (
        make_orders,
        "delivered_at",
        took,
        lambda rows: days(rows) * SECONDS_IN_A_DAY,
        2 * SECONDS_IN_A_DAY,
        {**MAE, "MedAE": (sk.median_absolute_error, 0.0)},
        "carrier",
    ),
}


def write(rows, place):
    if place.endswith(".csv"):
        rows.to_csv(place, index=False)
    elif place.endswith(".parquet"):
        rows.to_parquet(place)
    else:
        import sqlalchemy

        with sqlalchemy.create_engine(place).begin() as connection:
            rows.to_sql("orders", connection, index=False, if_exists="replace")


def read(pattern, place):
    if place.endswith(".csv"):
        return pd.read_csv(place)
    return pd.read_parquet(place) if place.endswith(".parquet") else PATTERNS[pattern][0]()


def finite(value):
    return float(value) if np.isfinite(value) else None


def compute(function, actual, predicted):
    return finite(function(actual, predicted))


def expect(pattern, place, start, end):
    _, closed_at, target, predict, guess, metrics, segment = PATTERNS[pattern]
    rows = read(pattern, place)
    closed = pd.to_datetime(rows[closed_at], utc=True, format="ISO8601")
    rows = rows[(closed >= pd.Timestamp(start, tz="UTC")) & (closed < pd.Timestamp(end, tz="UTC"))]
    if pattern == "forecast":
        rows = rows[rows["sold"].notna()]
    rows = rows.reset_index(drop=True)
    actual, predicted = target(rows).to_numpy(), predict(rows)
    guesses = np.array([guess] * len(rows), dtype=predicted.dtype)
    found = {"num_obs": len(rows), "metrics": {}, "baseline": {}, "relative": {}, "segments": {}}
    names = rows[segment].astype(object).where(rows[segment].notna(), "missing")
    for name, (function, best) in metrics.items():
        value, other = compute(function, actual, predicted), compute(function, actual, guesses)
        found["metrics"][name], found["baseline"][name] = value, other
        found["relative"][name] = (best - value) / (best - other)
        for each in names.unique():
            part = (names == each).to_numpy()
            one = found["segments"].setdefault(each, {"num_obs": int(part.sum()), "metrics": {}})
            one["metrics"][name] = compute(function, actual[part], predicted[part])
    if actual.dtype == object:
        found["target"] = {name: int((actual == name).sum()) for name in set(actual)}
    else:
        values = pd.Series(actual)
        found["target"] = {
            name: getattr(values, name)() for name in ("mean", "median", "min", "max")
        }
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # a segment may lack a class
    what, pattern, place = sys.argv[1:4]
    if what == "make":
        write(PATTERNS[pattern][0](), place)
    else:
        print(json.dumps(expect(pattern, place, *sys.argv[4:6])))

"""What a good prediction of a price is."""

from __future__ import annotations

from .evaluation import Metric, Scoring, Unit, absolute_error

EUROS = Unit("€")
PERCENT = Unit("%", per=0.01)

SCORING = Scoring(
    rows="houses",
    target="price",
    unit=EUROS,
    metrics={
        "MAE": Metric.mean(absolute_error, EUROS),
        "MAPE": Metric.mean(lambda actual, predicted: abs(predicted / actual - 1), PERCENT),
    },
    baseline=300_000.0,
    segments=("region",),
)

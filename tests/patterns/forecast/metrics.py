"""What a good forecast of sales is."""

from __future__ import annotations

from .evaluation import Metric, Scoring, Unit, absolute_error

PIECES = Unit("pieces")
PERCENT = Unit("%", per=0.01)

SCORING = Scoring(
    rows="forecasts",
    target="sales of a week",
    unit=PIECES,
    metrics={
        "MAE": Metric.mean(absolute_error, PIECES),
        "WAPE": Metric(lambda sold, forecast: abs(sold - forecast).sum() / sold.sum(), PERCENT),
    },
    baseline=40.0,
    segments=("store",),
    group="store",
)

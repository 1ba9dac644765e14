"""What a good prediction of a delivery is."""

from __future__ import annotations

from sklearn.metrics import median_absolute_error

from .evaluation import Metric, Scoring, Unit, absolute_error

DAYS = Unit("d", per=86_400.0)

SCORING = Scoring(
    rows="orders",
    target="time to delivery",
    unit=DAYS,
    metrics={
        "MAE": Metric.mean(absolute_error, DAYS),
        "MedAE": Metric(median_absolute_error, DAYS),
    },
    baseline=172_800.0,
    segments=("carrier",),
    group="customer",
)

"""What a good prediction is: yours to replace. Keep SCORING."""

from __future__ import annotations

from sklearn.metrics import median_absolute_error, r2_score

from .evaluation import Metric, Scoring, Unit, absolute_error, squared_error

HOURS = Unit("h", per=3600.0)  # kept in seconds, shown in hours

SCORING = Scoring(
    rows="tickets",
    target="time to close",
    unit=HOURS,
    metrics={  # the first one decides whether the model became worse
        "MAE": Metric.mean(absolute_error, HOURS),
        "MedAE": Metric(median_absolute_error, HOURS),
        "MSE": Metric.mean(squared_error),
        "R2": Metric(r2_score, best=1.0),
    },
    baseline=466_920.0,  # a constant guess: the median of UCI's log; keep it as long as you can
    segments=("priority",),  # measured separately, too
    group="number",  # the rows of one ticket belong together
)

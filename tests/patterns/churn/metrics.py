"""What a good prediction of churn is."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from .evaluation import Metric, Scoring, squared_error

Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]


def log_loss(left: Numbers, probability: Numbers) -> Numbers:
    """Compute the log loss of each customer."""
    return -np.log(np.maximum(np.where(left == 1, probability, 1 - probability), 1e-15))


SCORING = Scoring(
    rows="customers",
    target="churn",
    metrics={
        "log loss": Metric.mean(log_loss),
        "AUC": Metric(roc_auc_score, best=1.0),
        "Brier": Metric.mean(squared_error),
    },
    baseline=0.2,
    segments=("plan",),
)

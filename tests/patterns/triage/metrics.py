"""What a good choice of a team is."""

from __future__ import annotations

from sklearn.metrics import accuracy_score, f1_score

from .evaluation import Metric, Scoring

SCORING = Scoring(
    rows="requests",
    target="team",
    metrics={
        "accuracy": Metric(accuracy_score, best=1.0),
        "macro F1": Metric(lambda *teams: f1_score(*teams, average="macro"), best=1.0),
    },
    baseline="network",
    segments=("channel",),
)

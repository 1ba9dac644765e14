"""What good probabilities of teams are."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import accuracy_score, log_loss

from .evaluation import Metric, Scoring

TEAMS = ("access", "billing", "network")

SCORING = Scoring(
    rows="requests",
    target="team",
    metrics={
        "log loss": Metric(lambda team, shares: log_loss(team, shares, labels=TEAMS)),
        "accuracy": Metric(
            lambda team, shares: accuracy_score(team, np.take(TEAMS, shares.argmax(axis=1))),
            best=1.0,
        ),
    },
    baseline={"access": 0.3, "billing": 0.3, "network": 0.4},
    segments=("channel",),
    classes=TEAMS,
)

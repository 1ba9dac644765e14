"""The team that will solve a request, by the words of its subject."""

from __future__ import annotations

import pandas as pd

MODEL_NAME = "keywords"
WORDS = {"billing": "invoice|refund", "access": "password|locked"}


def predict(df: pd.DataFrame) -> pd.Series[str]:
    """Predict the team."""
    subject = df["subject"].fillna("").str.lower()
    teams = pd.Series("network", index=df.index)
    for team, words in WORDS.items():
        teams[subject.str.contains(words)] = team
    return teams

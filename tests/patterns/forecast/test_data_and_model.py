"""Of data.py, model.py and metrics.py."""

from __future__ import annotations

import pandas as pd

from ticket_model_evaluation.evaluation.selection import make_selection
from ticket_model_evaluation.pipeline import run_trial


def test_a_trial_of_the_forecasts_whose_outcome_is_known(tmp_path):
    path = tmp_path / "forecasts.parquet"
    made = pd.to_datetime(["2024-06-01", "2024-06-01", "2024-06-08"])
    sold = {"forecast": [10, 30, 20], "sold": [20, 20, None], "sold_last_week": [20, 30, 20]}
    pd.DataFrame({"made_at": made, "store": ["a", "b", "a"], **sold}).to_parquet(path)
    trial = run_trial(make_selection(str(path)))
    assert trial is not None
    assert trial.num_obs == 2
    assert trial.metrics == {"MAE": 10.0, "WAPE": 0.5}

"""Of data.py, model.py and metrics.py."""

from __future__ import annotations

import pytest

from ticket_model_evaluation.evaluation.selection import make_selection
from ticket_model_evaluation.pipeline import run_trial

SALES = """sold_on,region,area,rooms,price
2024-06-01,north,100,4,300000
2024-06-02,south,80,3,200000
"""


def test_a_trial_of_two_houses(tmp_path):
    path = tmp_path / "sales.csv"
    path.write_text(SALES)
    trial = run_trial(make_selection(str(path)))
    assert trial is not None
    assert trial.num_obs == 2
    assert trial.target["mean"] == 250_000
    assert trial.baseline["MAE"]["value"] == 50_000
    assert trial.baseline["MAPE"]["value"] == pytest.approx(0.25)

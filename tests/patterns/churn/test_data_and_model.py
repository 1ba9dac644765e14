"""Of data.py, model.py and metrics.py."""

from __future__ import annotations

import pytest

from ticket_model_evaluation.evaluation.selection import make_selection
from ticket_model_evaluation.pipeline import run_trial

CUSTOMERS = """month_ended_at,plan,months,complaints,left
2024-06-01,free,1,2,1
2024-06-01,pro,30,0,0
"""


def test_a_trial_of_two_customers(tmp_path):
    path = tmp_path / "customers.csv"
    path.write_text(CUSTOMERS)
    trial = run_trial(make_selection(str(path)))
    assert trial is not None
    assert trial.num_obs == 2
    assert trial.metrics["AUC"] == 1.0
    assert trial.baseline["Brier"]["value"] == pytest.approx((0.8**2 + 0.2**2) / 2)

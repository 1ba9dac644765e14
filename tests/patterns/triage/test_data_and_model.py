"""Of data.py, model.py and metrics.py."""

from __future__ import annotations

from ticket_model_evaluation.evaluation.selection import make_selection
from ticket_model_evaluation.pipeline import run_trial

REQUESTS = """solved_at,channel,subject,team
2024-06-01,mail,Invoice twice,billing
2024-06-01,phone,No internet,network
2024-06-02,phone,,access
"""


def test_a_trial_of_three_requests(tmp_path):
    path = tmp_path / "requests.csv"
    path.write_text(REQUESTS)
    trial = run_trial(make_selection(str(path)))
    assert trial is not None
    assert trial.metrics["accuracy"] == 2 / 3
    assert trial.target == {"access": 1, "billing": 1, "network": 1}

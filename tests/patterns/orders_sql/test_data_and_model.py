"""Of data.py, model.py and metrics.py."""

from __future__ import annotations

import pandas as pd
import pytest

from ticket_model_evaluation import data
from ticket_model_evaluation.errors import UnavailableError
from ticket_model_evaluation.evaluation.selection import make_selection
from ticket_model_evaluation.model import predict


def test_a_carrier_takes_its_days():
    orders = pd.DataFrame({"carrier": ["bike", "van", None]}, index=[3, 4, 5])
    assert (predict(orders) / 86_400).to_dict() == {3: 1.0, 4: 2.0, 5: 4.0}


def test_a_database_that_does_not_answer_may_answer_later():
    url = "postgresql+psycopg://ann:secret@127.0.0.1:9/shop"
    with pytest.raises(UnavailableError, match="does not answer") as caught:
        data.get_ticket_data_batch(make_selection(url))
    assert "secret" not in str(caught.value)

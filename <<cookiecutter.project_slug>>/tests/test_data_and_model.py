"""Of the default data.py and model.py: replace this with them."""

from __future__ import annotations

import pandas as pd
import pytest

from << cookiecutter.package_name >>.data import get_target, get_ticket_data_batch
from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.model import predict
from << cookiecutter.package_name >>.pipeline import run_trial
from << cookiecutter.package_name >>.incident_log.sample import make_log
from << cookiecutter.package_name >>.evaluation.selection import make_selection


def test_a_batch_has_the_tickets_that_were_asked_for():
    batch = get_ticket_data_batch(make_selection("sample", batch_size=10, seed=1))
    assert len(batch) == 10
    assert batch.index.is_unique
    assert batch.equals(get_ticket_data_batch(make_selection("sample", batch_size=10, seed=1)))


def test_the_target_is_the_time_from_the_last_update_until_closing():
    tickets = pd.DataFrame({"sys_updated_at": ["2016-02-29 23:59"], "closed_at": ["2016-03-01 00:01"]})
    assert get_target(tickets.astype("datetime64[s]")).tolist() == [120.0]


def test_tickets_of_higher_priority_are_predicted_to_close_faster():
    priorities = ["1 - Critical", "2 - High", "3 - Moderate", "4 - Low", None, "5 - Planned"]
    hours = predict(pd.DataFrame({"priority": priorities})) / 3600
    assert hours.tolist() == [6, 24, 120, 240, 180, 180]


def test_a_log_is_read_from_its_file_and_the_second_time_from_the_cache(tmp_path):
    log = tmp_path / "log.zip"
    log.write_bytes(make_log(tickets=50))
    first = get_ticket_data_batch(make_selection(str(log), all_tickets=True))
    assert len(first) == 50
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".parquet"]
    again = get_ticket_data_batch(make_selection(str(log), all_tickets=True))
    pd.testing.assert_frame_equal(first, again)
    assert first.attrs == again.attrs


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("31/2/2016 10:00,1/3/2016 10:00,3 - Moderate", "line 2 .*sys_updated_at is '31/2/2016 10:00'"),
        ("", "is empty"),
    ],
)
def test_a_bad_log_is_refused_in_one_line(tmp_path, line, message):
    log = tmp_path / "log.csv"
    log.write_text(f"sys_updated_at,closed_at,priority\n{line}\n")
    with pytest.raises(InputError, match=message) as caught:
        get_ticket_data_batch(make_selection(str(log)))
    assert len(str(caught.value).splitlines()) == 1


def test_a_trial_of_the_sample_is_kept_with_what_was_read():
    trial = run_trial(make_selection("sample", batch_size=100, seed=0))
    assert trial is not None
    assert trial.num_obs == 100
    assert trial.source is not None
    assert trial.source["name"] == "synthetic sample"

"""Tests of the default data.py and model.py: replace them together."""

from __future__ import annotations

import pickle

import pandas as pd
import pytest

from << cookiecutter.package_name >>.data import (
    blocks,
    get_target,
    get_ticket_data_batch,
)
from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.evaluation.selection import make_selection
from << cookiecutter.package_name >>.incident_log.sample import make_log
from << cookiecutter.package_name >>.model import predict
from << cookiecutter.package_name >>.pipeline import run_trial


def get_all(source):
    return get_ticket_data_batch(make_selection(str(source), batch_size=None))


def test_a_batch_is_as_large_as_asked_for_and_repeatable():
    selection = make_selection("sample", batch_size=10, seed=1)
    batch = get_ticket_data_batch(selection)
    assert len(batch) == 10
    assert batch.index.is_unique
    pd.testing.assert_frame_equal(batch, get_ticket_data_batch(selection))


def test_the_sample_says_that_it_is_synthetic_and_looks_like_the_log():
    events = get_all("sample")
    assert events.attrs["source"]["name"] == "synthetic sample"
    assert 5 < len(events) / events["number"].nunique() < 7
    labels = ["1 - Critical", "2 - High", "3 - Moderate", "4 - Low"]
    assert sorted(events["priority"].dropna().unique()) == labels
    assert 0 < events["priority"].isna().mean() < 0.05
    hours = get_target(events) / 3600
    assert (hours >= 0).all()
    assert hours.quantile(0.99) > 10 * hours.median() > 1000
    weeks = events.loc[events["closed_at"] < "2016-08-29", "closed_at"].dt.to_period("W")
    assert weeks.nunique() == 26


def test_the_target_is_the_time_from_an_event_until_closing():
    times = {"sys_updated_at": ["2016-02-29 23:59"], "closed_at": ["2016-03-01 00:01"]}
    assert get_target(pd.DataFrame(times).astype("datetime64[s]")).tolist() == [120.0]


def test_tickets_of_higher_priority_are_predicted_to_close_faster():
    priorities = ["1 - Critical", "2 - High", "3 - Moderate", "4 - Low", None, "5 - Planned"]
    hours = predict(pd.DataFrame({"priority": priorities})) / 3600
    assert hours.tolist() == [6, 24, 120, 240, 180, 180]


def test_a_log_is_read_again_from_the_cache(tmp_path):
    log = tmp_path / "log.csv"
    log.write_bytes(make_log(incidents=50))
    first = get_all(log)
    assert first["number"].nunique() == 50
    assert len(list((tmp_path / "cache").iterdir())) == 1
    again = get_all(log)
    pd.testing.assert_frame_equal(first, again)
    assert first.attrs == again.attrs
    log.write_bytes(make_log(incidents=60))
    assert get_all(log)["number"].nunique() == 60


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("INC1,31/2/2016 10:00,1/3/2016 10:00,?", "line 2: sys_updated_at is '31/2/2016 10:00'"),
        ("INC1,1/2/16 10:00,1/3/2016 10:00,?", "line 2: sys_updated_at is '1/2/16 10:00'"),
        ("", "holds no events"),
    ],
)
def test_a_bad_log_is_refused_in_one_line(tmp_path, line, message):
    log = tmp_path / "log.csv"
    log.write_text(f"number,sys_updated_at,closed_at,priority\n{line}\n")
    with pytest.raises(InputError, match=f"^data: .*{message}") as caught:
        get_all(log)
    assert len(str(caught.value).splitlines()) == 1


def test_blocks_return_the_rows_of_the_log(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.csv").write_bytes(make_log(incidents=20, seed=number))
    read = [pickle.loads(pickle.dumps(block)) for block in blocks(make_selection(str(folder)))]
    assert len(read) == 3
    frames, events = [block() for block in read], get_all(folder)
    texts = {"number": str, "priority": str}
    joined = pd.concat([frame.astype(texts) for frame in frames], ignore_index=True)
    pd.testing.assert_frame_equal(joined, events.astype(texts))
    assert frames[-1].attrs == events.attrs


def test_a_trial_keeps_what_was_read():
    selection = make_selection("sample", batch_size=100, seed=0)
    trial = run_trial(selection)
    assert trial is not None
    assert trial.num_obs == 100
    assert trial.source is not None
    assert trial.source["name"] == "synthetic sample"

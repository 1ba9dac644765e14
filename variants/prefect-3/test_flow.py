"""The flow and its registration, as far as they go without a server."""

from __future__ import annotations

import json
import logging
import sys

import pytest
from click.testing import CliRunner

from << cookiecutter.package_name >> import connect, flow, register
from << cookiecutter.package_name >>.__main__ import cli
from << cookiecutter.package_name >>.errors import InputError
from << cookiecutter.package_name >>.pipeline import run_trial
from << cookiecutter.package_name >>.selection import make_selection
from << cookiecutter.package_name >>.settings import SCHEDULE_HOURS, SLUG, load_settings

STEPS = ["get_trial_id", "get_ticket_data_batch", "get_target", "predict", "evaluate_model", "get_trial_summary"]
TRIAL = {
    "id": "1",
    "model": "m",
    "data": {
        "num_obs": 2,
        "metrics": {"MAE": 5400.0, "R2": None},
        "target": {"mean": 3600.0},
    },
}


def test_every_step_is_a_task_under_its_own_name():
    assert [getattr(flow, name).name for name in [*STEPS, "write_trial_summary"]] == [*STEPS, "write_trial_summary"]
    assert flow.evaluation_flow.name == f"tester-{SLUG}" or flow.evaluation_flow.name.endswith(f"-{SLUG}")


def test_the_flow_measures_what_the_pipeline_measures(monkeypatch, trials, tickets):
    for module in (sys.modules[run_trial.__module__], flow.data, flow.model):
        monkeypatch.setattr(module, "get_ticket_data_batch", lambda s: s.draw(tickets, "closed_at"), raising=False)
        monkeypatch.setattr(module, "get_target", lambda df: df["size"] * 1.0, raising=False)
        monkeypatch.setattr(module, "predict", lambda df: df["size"] + 1.0, raising=False)
    for name in STEPS:
        module = flow.data if hasattr(flow.data, name) else flow.model if hasattr(flow.model, name) else flow.evaluation
        monkeypatch.setattr(flow, name, getattr(module, name))
    kept = []
    monkeypatch.setattr(flow, "write_trial_summary", kept.append)
    by_flow = flow.evaluation_flow.fn("x", closed_from="2016-03-02")
    selection = make_selection("x", closed_from="2016-03-02")
    by_pipeline = run_trial(selection, trials=trials, flow=flow.evaluation_flow.name)
    assert by_flow is not None
    assert by_pipeline is not None
    assert kept == [by_flow]
    assert {**by_flow, "id": "", "created_at": ""} == {**by_pipeline, "id": "", "created_at": ""}


def test_a_trial_is_logged_as_one_line_kept_and_shown_as_a_table(monkeypatch, caplog, trials):
    shown = {}
    monkeypatch.setattr(flow, "create_table_artifact", lambda **artifact: shown.update(artifact))
    monkeypatch.setattr(flow, "get_run_logger", lambda: logging.getLogger("flow"))
    caplog.set_level("INFO")
    trial = {**TRIAL, "created_at": "2020-01-01T00:00:00Z", "window": None}
    place = flow.write_trial_summary.fn(trial)
    assert place.startswith(trials)
    assert json.loads(caplog.messages[0]) == trial
    assert shown["table"] == [
        {"measure": "tickets", "value": 2, "in hours": ""},
        {"measure": "MAE", "value": 5400.0, "in hours": 1.5},
        {"measure": "R2", "value": None, "in hours": ""},
        {"measure": "actual time to close, mean", "value": 3600.0, "in hours": 1.0},
    ]


def test_a_dry_run_shows_the_deployment_and_sends_nothing(monkeypatch):
    monkeypatch.setattr(register, "open_client", None)
    result = CliRunner().invoke(cli, ["register", "--dry-run"])
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    project = load_settings().prefect_project
    assert shown["work_pool"]["name"] == project
    deployment = shown["deployment"]
    assert deployment["tags"] == [project]
    assert deployment["job_variables"]["env"]["SATURN_USERNAME"] == "tester"
    assert set(deployment["parameter_openapi_schema"]["properties"]) >= {"batch_size", "closed_last"}
    schedules = [(each["slug"], each["schedule"]["interval"]) for each in deployment["schedules"]]
    assert schedules == ([("every", SCHEDULE_HOURS * 3600.0)] if SCHEDULE_HOURS else [])
    path, _, function = deployment["entrypoint"].rpartition(":")
    assert hasattr(flow, function)
    assert path.endswith("flow.py")


def test_parameters_are_read_as_the_flow_wants_them():
    schema = register.parameter_schema(flow.evaluation_flow).model_dump_for_openapi()
    values = register._values({"batch_size": "5", "all_tickets": "true", "closed_last": "7d", "data": "1"}, schema)
    assert values == {"batch_size": 5, "all_tickets": True, "closed_last": "7d", "data": "1"}
    with pytest.raises(InputError, match="has no parameter nonsense; it has data, batch_size"):
        register._values({"nonsense": "1"}, schema)
    with pytest.raises(InputError, match="batch_size='many' is no integer"):
        register._values({"batch_size": "many"}, schema)


@pytest.mark.parametrize(("address", "key"), [("http://here/api", "k"), ("http://elsewhere/api", "")])
@pytest.mark.parametrize("name", ["PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"])
def test_a_secret_in_the_env_file_is_for_the_address_there(monkeypatch, name, address, key):
    in_file = {"PREFECT_API_URL": "http://here/api", name: "k"}
    monkeypatch.setattr(connect, "read_env_file", lambda: in_file)
    monkeypatch.setattr(connect, "_stored", connect.Connection)
    for variable in ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, "k")
    monkeypatch.setenv("PREFECT_API_URL", address)
    found = connect.find_connection.__wrapped__()
    assert (found.url, found.key + found.auth_string) == (address, key)

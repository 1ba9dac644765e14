"""The flow, its registration and the log-in, as far as they go without a server."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import prefect
import pytest
from click.testing import CliRunner
from prefect.utilities.configuration import set_temporary_config

from << cookiecutter.package_name >> import connect, flow, register
from << cookiecutter.package_name >>.__main__ import cli
from << cookiecutter.package_name >>.errors import InputError, UnavailableError
from << cookiecutter.package_name >>.settings import SCHEDULE_HOURS, SLUG, load_settings
from << cookiecutter.package_name >>.trials import read_trials

STEPS = [
    *("get_trial_id", "get_ticket_data_batch", "get_target", "predict", *["evaluate_model"] * 4),
    *("get_trial_summary", "write_trial_summary"),
]


@pytest.fixture(autouse=True)
def _own_prefect(tmp_path, monkeypatch):
    for name in ("PREFECT_USER_TOKEN", "BASE_URL", "SATURN_TOKEN"):
        monkeypatch.setenv(name, "")
    with set_temporary_config({"home_dir": str(tmp_path / "prefect"), "cloud.api": "https://api.prefect.io"}):
        yield


@pytest.fixture
def steps(monkeypatch, tickets):
    """The flow's tasks by name, with data and a model of their own."""
    tasks = {task.name: task for task in flow.flow.tasks}
    for name, retries in ((task.name, task.max_retries) for task in flow.flow.tasks):
        monkeypatch.setattr(tasks[name], "max_retries", retries)
    monkeypatch.setattr(flow, "get_tickets", lambda selection: selection.draw(tickets, closed_at="closed_at"))
    monkeypatch.setattr(tasks["get_target"], "run", lambda df: df["size"] * 1.0)
    monkeypatch.setattr(tasks["predict"], "run", lambda df: df["size"] + 1.0)
    return tasks


def test_the_steps_are_tasks_under_their_own_names():
    made = [task.name for task in flow.flow.tasks if not task.auto_generated and task not in flow.flow.parameters()]
    assert sorted(made) == sorted(STEPS)
    assert flow.flow.name.endswith(f"-{SLUG}")
    assert {parameter.name: parameter.default for parameter in flow.flow.parameters()} == {
        **dict.fromkeys(("data", "seed", "closed-from", "closed-to", "closed-last")),
        **{"batch-size": 1000, "all": False},
    }


def test_the_schedule_is_the_one_chosen():
    clocks = [] if flow.flow.schedule is None else flow.flow.schedule.clocks
    assert [clock.interval.total_seconds() for clock in clocks] == ([SCHEDULE_HOURS * 3600.0] if SCHEDULE_HOURS else [])


@pytest.mark.usefixtures("steps")
def test_the_flow_runs_without_a_server_and_keeps_its_trial(trials):
    trial = flow.run_here({"closed-from": "2016-03-02", "batch-size": None})
    assert trial is not None
    assert trial["data"]["num_obs"] == 2
    assert trial["data"]["metrics"] == {"MAE": 1.0, "MedAE": 1.0, "MSE": 1.0, "R2": -3.0}
    assert trial["window"] == {"from": "2016-03-02T00:00:00Z", "to": None}
    assert trial["flow"] == flow.flow.name
    assert read_trials(trials) == [trial]


@pytest.mark.usefixtures("steps")
def test_a_window_without_tickets_ends_well_without_a_trial(trials):
    assert flow.run_here({"closed-from": "2030-01-01"}) is None
    assert read_trials(trials) == []


@pytest.mark.usefixtures("steps")
def test_closed_last_ends_when_the_run_was_scheduled():
    with prefect.context(scheduled_start_time=datetime(2016, 3, 3, 12, tzinfo=timezone.utc)):
        batch = flow.get_ticket_data_batch.run(batch_size=None, closed_last="24h")
    assert batch["size"].tolist() == [3]


@pytest.mark.usefixtures("steps")
def test_bad_input_in_a_step_is_told_in_its_line(monkeypatch):
    def refuse(_):
        raise InputError("model: mend it")

    monkeypatch.setattr(flow, "get_tickets", refuse)
    with pytest.raises(InputError, match=r"^model: mend it$"):
        flow.run_here({})


@pytest.mark.parametrize(("error", "tries"), [(UnavailableError("away"), 2), (InputError("wrong"), 1)])
def test_only_what_may_be_back_later_is_tried_again(steps, monkeypatch, error, tries):
    calls = []

    def fail(selection):
        calls.append(selection)
        raise error

    monkeypatch.setattr(flow, "get_tickets", fail)
    steps["get_ticket_data_batch"].max_retries = 1
    monkeypatch.setattr(steps["get_ticket_data_batch"], "retry_delay", timedelta(0))
    state = flow.flow.run(run_on_schedule=False)
    assert state is not None
    assert state.is_failed()
    assert len(calls) == tries


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"batch-size": 0}, "batch_size: '0'"),
        ({"all": "yes"}, "all: 'yes' is neither true nor false"),
        ({"all": True, "batch-size": 5}, "batch_size: all tickets were asked for as well"),
        ({"closed-last": "soon"}, "closed_last: 'soon'"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(InputError, match=message):
        flow.read_parameters(parameters)


def invoke(*arguments):
    return CliRunner().invoke(cli, arguments)


def test_a_dry_run_shows_the_flow_and_sends_nothing(monkeypatch):
    monkeypatch.setattr(register, "log_in", None)
    result = invoke("register", "--dry-run")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown["project"] == load_settings().prefect_project
    assert shown["saturn"] is None
    assert shown["environment"]["TRIALS_URL"] == load_settings().trials
    assert {"evaluate_model-4", "write_trial_summary-1"} <= set(shown["tasks"])


def test_saturn_gets_no_path_of_this_machine_and_no_secret(monkeypatch, caplog):
    monkeypatch.setenv("BASE_URL", "https://saturn.example/")
    monkeypatch.setenv("SATURN_TOKEN", "t")
    monkeypatch.setenv("DATA_URL", "https://u:p@x/y")
    result = invoke("register", "--dry-run")
    shown = json.loads(result.stdout)
    assert shown["saturn"] == "https://saturn.example"
    assert "TRIALS_URL" not in shown["environment"]
    assert "u:p" not in result.output
    assert [message.partition(":")[0] for message in caplog.messages] == ["TRIALS_URL", "DATA_URL"]


@pytest.mark.parametrize(("name", "missing"), [("BASE_URL", "SATURN_TOKEN"), ("SATURN_TOKEN", "BASE_URL")])
def test_half_of_saturns_variables_is_refused(monkeypatch, name, missing):
    monkeypatch.setenv(name, "x")
    with pytest.raises(InputError, match=f"^{missing}: not set"):
        register.register(dry_run=True)


@pytest.mark.parametrize(
    ("api", "message"),
    [
        ("https://api.prefect.io", "speaks Prefect 3 only"),
        ("https://api.prefect.cloud/api/accounts/x", "speaks Prefect 3 only"),
        ("http://127.0.0.1:9", "cannot be reached .*refused"),
        ("nonsense", "cannot be reached"),
    ],
)
def test_an_api_that_cannot_be_right_is_refused_at_once(api, message):
    with set_temporary_config({"cloud.api": api}), pytest.raises(InputError, match=message):
        connect.connect()


def test_a_run_with_a_wrong_parameter_is_refused_before_anything_is_asked():
    with pytest.raises(InputError, match="has no parameter 'nonsense'; it has all, batch-size"):
        register.run_flow({"nonsense": "1"}, watch=False)
    with pytest.raises(InputError, match="batch_size: 'many'"):
        register.run_flow({"batch_size": "many"}, watch=False)


@pytest.mark.usefixtures("steps")
def test_the_flow_as_a_command_prints_its_trial(trials):
    result = CliRunner().invoke(flow.command, ["--closed-to", "2016-03-02"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == read_trials(trials)[0]

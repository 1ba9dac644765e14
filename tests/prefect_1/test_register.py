"""Registering and unregistering."""

from __future__ import annotations

import json

from site_1 import FLOW, Site, fault


def test_a_changed_model_is_a_new_version_and_unregister_removes_it(registered: Site) -> None:
    site, api = registered, registered.api
    before = len(api.tables["flow"])
    with site.edited("model.py", old="priority-heuristic", new="another"):
        assert site.command("register").returncode == 0
    assert [row["archived"] for row in api.tables["flow"]] == [True] * before + [False]

    result = site.command("unregister")
    assert result.returncode == 0, result.stderr
    assert f"unregistered {FLOW}" in result.stderr
    assert all(row["archived"] for row in api.tables["flow"])
    assert not [row for row in api.tables["flow_run"] if row["state"] == "Scheduled"]
    again = site.command("unregister")
    assert again.returncode == 0
    assert f"{FLOW} is not registered; nothing to unregister" in again.stderr
    assert "run `make register` first" in site.refuses("run")
    assert site.command("register").returncode == 0
    assert [row["archived"] for row in api.tables["flow"]].count(False) == 1


def test_a_change_in_a_room_or_beside_the_code_is_a_new_version(registered: Site) -> None:
    before = len(registered.api.tables["flow"])
    with registered.edited("evaluation/selection.py", end="\n# changed\n"):
        assert registered.command("register").returncode == 0
    assert len(registered.api.tables["flow"]) == before + 1
    weights = registered.project.source / "weights" / "model.bin"
    weights.parent.mkdir()
    weights.write_bytes(b"\0\1")
    assert registered.command("register").returncode == 0
    assert len(registered.api.tables["flow"]) == before + 2
    assert "nothing has changed" in registered.command("register").stderr


def test_a_registration_that_broke_off_is_finished_the_next_time(site: Site) -> None:
    site.command("unregister")
    site.api.failing = {"register_edges"}
    try:
        assert "Operation failed" in site.refuses("register")
    finally:
        site.api.failing = set()
    result = site.command("register")
    assert result.returncode == 0, result.stderr
    assert "nothing has changed" not in result.stderr
    assert site.registered_flow["is_schedule_active"]
    assert "nothing has changed" in site.command("register").stderr


def test_saturn_in_trouble_costs_nothing_in_prefect(site: Site) -> None:
    site.command("unregister")
    flows = len(site.api.tables["flow"])
    line = site.refuses("register", SATURN_TOKEN="wrong")
    assert "Saturn: the API answered 401 " in line
    assert "SATURN_TOKEN" in line
    assert "BASE_URL: not set" in site.refuses("register", BASE_URL=None)
    assert "BASE_URL" in site.refuses("register", BASE_URL=f"{site.saturn.url}/nowhere")
    for kind, message in (
        ("stall", "Saturn: no answer within 3 s"),
        ("html", "Saturn: the API's answer is not JSON"),
    ):
        with fault(site.saturn, kind):
            assert message in site.refuses("register", API_TIMEOUT="3")
    assert len(site.api.tables["flow"]) == flows


def test_a_folder_for_trials_is_warned_of_before_anything_else(site: Site) -> None:
    result = site.command("register", "--dry-run", TRIALS_URL="trials")
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("TRIALS_URL: ")
    assert "TRIALS_URL" not in json.loads(result.stdout)["environment"]


def test_a_schedule_that_was_switched_off_stays_so_in_a_new_version(registered: Site) -> None:
    registered.registered_flow["is_schedule_active"] = False
    with registered.edited("model.py", old="priority-heuristic", new="another-one"):
        result = registered.command("register")
        assert result.returncode == 0, result.stderr
        assert "its schedule was switched off in Prefect, and stays so" in result.stderr
        assert registered.registered_flow["is_schedule_active"] is False
        registered.registered_flow["is_schedule_active"] = True
    result = registered.command("register")
    assert result.returncode == 0, result.stderr
    assert registered.registered_flow["is_schedule_active"] is True


def test_scheduled_runs_have_the_parameters_that_settings_name(site: Site) -> None:
    old = "SCHEDULE_PARAMETERS: dict[str, object] = {}"
    new = old.replace("{}", '{"closed-last": "24h"}')
    with site.edited("settings.py", old=old, new=new):
        shown = json.loads(site.command("register", "--dry-run").stdout)
        (clock,) = shown["schedule"]["clocks"]
        assert clock["parameter_defaults"] == {"closed-last": "24h"}
        assert shown["parameters"]["closed-last"] is None
    with site.edited("settings.py", old=old, new=new.replace("last", "lst")):
        line = site.refuses("register", "--dry-run")
        assert "settings.py: SCHEDULE_PARAMETERS: the flow has no parameter 'closed-lst'" in line

"""The stand-in for Prefect's API accepts nothing that the service refuses."""

from __future__ import annotations

import json
from typing import Any

import requests
from site_1 import KEY, Site


def test_the_stand_in_refuses_what_the_service_refuses(registered: Site) -> None:
    site = registered

    def ask(document: str, key: str = KEY, **variables: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}", "X-PREFECT-CORE-VERSION": "1.4.1"}
        body = {"query": document, "variables": json.dumps(variables)}
        return requests.post(site.api.url, json=body, headers=headers, timeout=10)

    assert ask("query { project { id nonsense } }").status_code == 400
    assert ask("query { project(nonsense: 1) { id } }").status_code == 400
    assert ask("query($where: flow_bool_exp) { project(where: $where) { id } }").status_code == 400
    assert ask("query {").status_code == 400
    unauthenticated = ask("query { project { id } }", key="wrong").json()["errors"][0]
    assert unauthenticated["extensions"]["code"] == "UNAUTHENTICATED"
    create = "mutation($input: create_project_input!) { create_project(input: $input) { id } }"
    foreign = next(row["id"] for row in site.api.tables["tenant"] if row["slug"] == "others")
    assert "errors" in ask(create, input={"name": "x", "tenant_id": foreign}).json()
    states = (
        "mutation($input: set_task_run_states_input!)"
        " { set_task_run_states(input: $input) { states { id } } }"
    )
    idle = [row for row in site.api.tables["task_run"] if row["state"] == "Pending"]
    assert idle, "the schedule's runs have task runs"
    wrong = {"states": [{"task_run_id": idle[0]["id"], "state": {"type": "Running"}}]}
    assert "the flow run is not running" in ask(states, input=wrong).text
    late = {"states": [{"task_run_id": idle[0]["id"], "version": 7, "state": {"type": "Failed"}}]}
    assert "VERSION_LOCKING_ERROR" in ask(states, input=late).text

"""Alerts in variant 3: an automation that tells of runs that fail, for each deployment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prefect_server import Prefect, wait_until
from servers.loopback import LoopbackServer, QuietHandler

BLOCK = "custom-webhook/team"


class WebHook(LoopbackServer):
    """Receives notifications.

    Attributes:
        received: Their bodies.
    """

    def __init__(self) -> None:
        received = self.received = []

        class Handler(QuietHandler):
            def do_POST(self) -> None:  # noqa: N802  the name that http.server calls
                received.append(json.loads(self.body()))
                self.answer(200)

        super().__init__(Handler)


@pytest.fixture
def hook(prefect: Prefect) -> Iterator[WebHook]:
    """A loopback web hook, and a block in Prefect that sends notifications to it."""
    with WebHook() as hook:
        create_block(
            prefect,
            *BLOCK.split("/"),
            {
                "name": "team",
                "url": hook.url,
                "json_data": {"subject": "{{subject}}", "body": "{{body}}"},
            },
        )
        yield hook


def create_block(prefect: Prefect, kind: str, name: str, data: dict[str, Any]) -> None:
    kind_id = prefect.get(f"/block_types/slug/{kind}")["id"]
    schemas = prefect.get(
        "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind_id]}}}
    )
    block = {"name": name, "data": data, "block_type_id": kind_id}
    prefect.get("/block_documents/", {**block, "block_schema_id": schemas[0]["id"]})


def end_a_run(prefect: Prefect, deployment: str, kind: str, name: str, message: str) -> None:
    """Make a run of a deployment and end it, as the process of a run would."""
    run = prefect.get(f"/deployments/{deployment}/create_flow_run", {})
    for state in (
        {"type": "RUNNING", "name": "Running"},
        {"type": kind, "name": name, "message": message},
    ):
        prefect.get(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})


def test_a_failed_or_regressed_run_is_told_once_whatever_the_name_of_its_state(
    prefect: Prefect, another, hook: WebHook
):
    project = another(project_slug="alerted", schedule_hours="0")
    environment = {"PREFECT_API_URL": prefect.url + "/api", "ALERT_BLOCK": BLOCK}

    def command(*words: str, **env: str):
        return prefect.run(*words, project=project, env={**environment, **env})

    name = "ann-alerted/alerted failed or regressed"
    others = [each["name"] for each in prefect.get("/automations/filter", {})]
    assert command("connect").returncode == 0
    for _ in range(2):
        result = command("register")
        assert result.returncode == 0, result.stderr
        assert f"alerts: {name}" in result.stderr
    found = [each["name"] for each in prefect.get("/automations/filter", {})]
    assert sorted(found) == sorted([*others, name])

    deployment = prefect.get("/deployments/name/ann-alerted/alerted")["id"]

    def told() -> list[str]:
        return sorted(each["body"].partition("\n")[0] for each in hook.received)

    def is_known() -> bool:  # to the part of the server that looks for such runs
        end_a_run(prefect, deployment, "FAILED", "Failed", "first")
        time.sleep(0.5)
        return bool(told())

    wait_until(is_known, "the automation")
    end_a_run(prefect, deployment, "COMPLETED", "Completed", "as before")
    end_a_run(prefect, deployment, "FAILED", "Regressed", "the model became worse: MAE")
    end_a_run(prefect, deployment, "CRASHED", "Crashed", "killed")
    wait_until(lambda: len({*told()}) >= 3, "both notifications")
    time.sleep(2)
    assert [text for text in told() if not text.endswith("Failed: first")] == [
        "ann-alerted ended as Crashed: killed",
        "ann-alerted ended as Regressed: the model became worse: MAE",
    ]
    assert {each["subject"] for each in hook.received} == {"ann-alerted/alerted"}

    # Deleted by hand, it comes back; paused, it stays so; and it goes with the deployment.
    (automation,) = (
        each for each in prefect.get("/automations/filter", {}) if each["name"] == name
    )
    prefect.get(f"/automations/{automation['id']}", method="DELETE")
    assert command("register").returncode == 0
    (automation,) = (
        each for each in prefect.get("/automations/filter", {}) if each["name"] == name
    )
    prefect.get(f"/automations/{automation['id']}", {"enabled": False}, method="PATCH")
    result = command("register")
    assert f"alerts: {name} (paused in Prefect)" in result.stderr
    assert not prefect.get(f"/automations/{automation['id']}")["enabled"]
    assert command("unregister").returncode == 0
    assert [each["name"] for each in prefect.get("/automations/filter", {})] == others


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("team", "'team' is not of the form type/name; write it as slack-webhook/its-name"),
        ("slack-webhook/nobody", "Prefect has no block slack-webhook/nobody; create it"),
        ("nonsense/x", "Prefect has no block nonsense/x; create it"),
        ("secret/quiet", "a block of the type secret cannot send notifications; take"),
    ],
)
def test_a_block_that_cannot_tell_anybody_is_refused_before_anything_is_deployed(
    prefect: Prefect, registered, block, message
):
    if block == "secret/quiet":
        create_block(prefect, "secret", "quiet", {"value": "x"})
    before = prefect.deployment(f"ann-{registered.slug}")["updated"]
    result = prefect.run("register", env={"ALERT_BLOCK": block})
    assert result.returncode == 2
    assert f"Error: ALERT_BLOCK: {message}" in result.stderr
    assert "Traceback" not in result.stderr
    assert prefect.deployment(f"ann-{registered.slug}")["updated"] == before

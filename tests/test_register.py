"""Registering the flow in variant 3: the deployment, its schedule, and taking it back."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from datetime import UTC, datetime, timedelta

from prefect_server import GIT_IDENTITY, Prefect, wait_until
from projects import Project
from servers.prefect_cloud import PrefectCloud, Recorder

KEY = "pnu_0123456789abcdefSECRET"


def test_the_schedule_makes_runs_at_the_right_hours_for_the_next_days(
    prefect: Prefect, registered: Project
):
    """Without the pins a deployment is refused, or the scheduler makes nothing."""
    names = ("fastapi", "sqlalchemy")
    versions = f"import importlib.metadata as m; [print(n, m.version(n)) for n in {names}]"
    locked = registered.run(registered.python, "-c", versions).stdout.split()
    lock = registered.text("requirements.txt")
    assert locked[1] < "0.151", (
        f"fastapi {locked[1]}: from 0.151 on Prefect's server refuses deployments; pin fastapi"
    )
    assert locked[3].startswith("2.0."), (
        f"sqlalchemy {locked[3]}: from 2.1 on no run is scheduled; pin sqlalchemy"
    )
    assert f"fastapi=={locked[1]}" in lock
    deployment = prefect.deployment(f"ann-{registered.slug}")
    by_deployment = {
        "deployments": {"id": {"any_": [deployment["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    runs = wait_until(
        lambda: prefect.get(
            "/flow_runs/filter", {**by_deployment, "sort": "EXPECTED_START_TIME_ASC"}
        ),
        f"SCHEDULED runs: the scheduler of Prefect's server makes none with sqlalchemy {locked[3]}",
    )
    starts = [
        datetime.fromisoformat(each["expected_start_time"].replace("Z", "+00:00")) for each in runs
    ]
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(
        days=1
    )
    assert len(starts) >= 3
    assert starts[:3] == [tomorrow + timedelta(days=day) for day in range(3)]
    assert all(each["auto_scheduled"] for each in runs)


def test_registering_twice_leaves_one_deployment_and_one_schedule(
    prefect: Prefect, registered: Project
):
    before = prefect.deployment(f"ann-{registered.slug}")
    processes = [
        threading.Thread(target=lambda: results.append(prefect.run("register"))) for _ in range(2)
    ]
    results: list[subprocess.CompletedProcess[str]] = []
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [result.returncode for result in results] == [0, 0], results
    assert (
        len(
            prefect.get(
                "/deployments/filter", {"flows": {"name": {"any_": [f"ann-{registered.slug}"]}}}
            )
        )
        == 1
    )
    after = prefect.deployment(f"ann-{registered.slug}")
    assert after["id"] == before["id"]
    assert [schedule["slug"] for schedule in after["schedules"]] == ["every-24-hours"]
    assert after["schedules"][0]["schedule"] == before["schedules"][0]["schedule"]
    assert after["tags"] == [registered.slug]
    assert after["work_pool_name"] == registered.slug


def test_registering_replaces_a_schedule_with_the_earlier_slug_and_leaves_it_paused(
    prefect: Prefect, another
):
    project = another(project_slug="renamed")
    environment = {"PREFECT_API_URL": prefect.url + "/api"}
    assert prefect.run("register", project=project, env=environment).returncode == 0
    deployment = prefect.get("/deployments/name/ann-renamed/renamed")
    (schedule,) = deployment["schedules"]
    assert (schedule["slug"], schedule["active"]) == ("every-24-hours", True)
    earlier = {"slug": "every", "active": False, "schedule": schedule["schedule"]}
    place = f"/deployments/{deployment['id']}"
    prefect.get(place, {"schedules": [earlier]}, method="PATCH")
    again = prefect.run("register", project=project, env=environment)
    assert again.returncode == 0, again.stderr
    assert "the schedule was paused in Prefect, and stays paused" in again.stderr
    (schedule,) = prefect.get(place)["schedules"]
    assert (schedule["slug"], schedule["active"]) == ("every-24-hours", False)


def test_a_dry_run_sends_nothing(prefect: Prefect, registered: Project):
    with Recorder(prefect.url) as recorder:
        result = prefect.run(
            "register", "--dry-run", env={"PREFECT_API_URL": recorder.url + "/api"}
        )
        assert result.returncode == 0, result.stderr
        assert recorder.requests == []
    shown = json.loads(result.stdout)["deployment"]
    sent = prefect.deployment(f"ann-{registered.slug}")
    for name in (
        "name",
        "entrypoint",
        "pull_steps",
        "work_pool_name",
        "job_variables",
        "tags",
        "parameter_openapi_schema",
    ):
        assert shown[name] == sent[name], name


def test_without_hours_there_is_no_schedule_and_unregister_takes_all_back(
    prefect: Prefect, another
):
    project = another(project_slug="unscheduled", schedule_hours="0")
    environment = {"PREFECT_API_URL": prefect.url + "/api"}
    for command in ("connect", "register"):
        result = prefect.run(command, project=project, env=environment)
        assert result.returncode == 0, result.stderr
    named = "/deployments/filter", {"deployments": {"name": {"any_": ["unscheduled"]}}}
    (deployment,) = prefect.get(*named)
    assert deployment["schedules"] == []
    assert prefect.run("unregister", project=project).returncode == 0
    assert prefect.get(*named) == []
    again = prefect.run("unregister", project=project)
    assert again.returncode == 0
    assert "is not registered; nothing to unregister" in again.stderr
    result = prefect.run("run", project=project)
    assert result.returncode == 2
    assert "is not registered; run `make register` first" in result.stderr


def test_a_plan_without_process_pools_gets_a_managed_one(prefect: Prefect, another, tmp_path):
    project = another(project_slug="free-plan")
    with PrefectCloud(prefect.url, KEY, ["acme/a"], plan="free") as cloud:
        environment = {
            "HOME": str(tmp_path),
            "PREFECT_CLOUD_API_URL": cloud.url + "/api",
            "PREFECT_API_KEY": KEY,
        }
        result = prefect.run("connect", project=project, env=environment)
        assert result.returncode == 0, result.stderr
        assert "Prefect Cloud runs the flow itself" in result.stderr
        assert prefect.get("/work_pools/free-plan")["type"] == "prefect:managed"
        refused = prefect.run("register", project=project, env=environment)
        assert refused.returncode == 2
        assert "cannot see this folder; push it to a git remote" in refused.stderr
        for command in (
            ("init", "-q", "--bare", "-b", "main", tmp_path / "remote.git"),
            ("init", "-q", "-b", "main"),
            ("add", "-A"),
            ("commit", "-qm", "Begin"),
            ("remote", "add", "origin", tmp_path / "remote.git"),
            ("push", "-q", "origin", "main"),
        ):
            result = project.run("git", *command, env={**prefect.environment, **GIT_IDENTITY})
            assert result.returncode == 0, result.stderr
        registering = prefect.run("register", project=project, env=environment)
        assert registering.returncode == 0, registering.stderr
        assert "TRIALS_URL: Prefect Cloud's machines go away" in registering.stderr
    deployment = prefect.get("/deployments/name/ann-free-plan/free-plan")
    _, install = deployment["pull_steps"]
    (arguments,) = install.values()
    assert arguments["requirements_file"] == "requirements.txt"
    assert arguments["directory"] == "{{ clone.directory }}"
    assert "DATA_URL" not in deployment["job_variables"]["env"]


def test_the_api_stops_while_registering_and_nothing_is_half_done(prefect: Prefect, another):
    project = another(project_slug="interrupted", schedule_hours="0")
    with Recorder(prefect.url) as recorder:
        # Prefect's own retries: 45 seconds, without this.
        environment = {"PREFECT_API_URL": recorder.url + "/api", "PREFECT_CLIENT_MAX_RETRIES": "1"}
        assert prefect.run("connect", project=project, env=environment).returncode == 0
        recorder.down_after = 3
        result = prefect.run("register", project=project, env=environment, limit=90)
        assert result.returncode == 2, result.stderr
        problem = r"Error: PREFECT_API_URL: http\S+ cannot be reached \(.*disconnected"
        assert re.search(problem, result.stderr)
        assert "Traceback" not in result.stderr
        assert (
            prefect.get("/deployments/filter", {"deployments": {"name": {"any_": ["interrupted"]}}})
            == []
        )
        recorder.down, recorder.down_after = False, None
        assert prefect.run("register", project=project, env=environment).returncode == 0

"""Registering the flow in variant 3: the deployment, its schedule, and taking it back."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from prefect_server import GIT_IDENTITY, Prefect, wait_until, with_limits
from projects import Project, run, uv
from servers.prefect_cloud import PrefectCloud, Recorder

TIDY = """
from prefect import flow

NAME = "a flow of another file"


@flow(name=NAME)
def tidy_up():
    pass
"""
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
        threading.Thread(
            target=lambda: results.append(
                registered.run(registered.command, "register", env=prefect.environment)
            )
        )
        for _ in range(2)
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


def test_another_user_of_the_same_server_has_a_deployment_of_their_own(
    prefect: Prefect, registered: Project
):
    before = prefect.deployment(f"ann-{registered.slug}")
    theirs = {"SATURN_USERNAME": "bob"}
    result = prefect.run("register", env=theirs)
    assert result.returncode == 0, result.stderr
    assert prefect.deployment(f"bob-{registered.slug}")["id"] != before["id"]
    assert prefect.run("unregister", env=theirs).returncode == 0
    asked = {"flows": {"name": {"any_": [f"bob-{registered.slug}"]}}}
    assert prefect.get("/deployments/filter", asked) == []
    assert prefect.deployment(f"ann-{registered.slug}")["updated"] == before["updated"]


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
    prefect.get(f"{place}/schedules/{schedule['id']}", method="DELETE")
    again = prefect.run("register", project=project, env=environment)
    assert again.returncode == 0, again.stderr
    assert "every-24-hours (paused)" in again.stderr
    (schedule,) = prefect.get(place)["schedules"]
    assert (schedule["slug"], schedule["active"]) == ("every-24-hours", False)


def test_a_dry_run_sends_nothing(prefect: Prefect, registered: Project):
    with Recorder(prefect.url) as recorder:
        result = prefect.run(
            "register", "--dry-run", env={"PREFECT_API_URL": recorder.url + "/api"}
        )
        assert result.returncode == 0, result.stderr
        assert recorder.requests == []
    (shown,) = yaml.safe_load(result.stdout)["deployments"]
    sent = prefect.deployment(f"ann-{registered.slug}")
    for name in ("name", "entrypoint", "tags", "parameters", "description"):
        assert shown[name] == sent[name], name
    assert shown["pull"] == sent["pull_steps"]
    assert shown["work_pool"]["name"] == sent["work_pool_name"]
    assert shown["work_pool"]["job_variables"] == sent["job_variables"]


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
        worker = prefect.run("worker", project=project, env=environment)
        assert (worker.returncode, worker.stderr.count("\n")) == (2, 2), worker.stderr
        assert "the work pool free-plan (prefect:managed) needs no worker" in worker.stderr
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
    steps = "prefect.deployments.steps"
    assert [*map(list, deployment["pull_steps"])] == [
        [f"{steps}.git_clone"],
        [f"{steps}.set_working_directory"],
        [f"{steps}.pip_install_requirements"],
    ]
    assert deployment["job_variables"]["env"]["DATA_URL"] == "sample"


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


@pytest.fixture
def lossy(prefect: Prefect, another) -> Project:
    """A registered project whose deployment was changed in Prefect."""
    project = another(project_slug="lossy")
    environment = {"PREFECT_API_URL": prefect.url + "/api"}
    for command in ("connect", "register"):
        result = prefect.run(command, project=project, env=environment)
        assert result.returncode == 0, result.stderr
    return project


def test_what_was_set_in_prefect_is_named_and_kept_until_it_is_given_up(
    prefect: Prefect, lossy: Project
):
    where = "/deployments/name/ann-lossy/lossy"
    before = prefect.get(where)
    place = f"/deployments/{before['id']}"
    variables = before["job_variables"]
    changes = {
        "parameters": {**before["parameters"], "closed_last": "24h"},
        "tags": [*before["tags"], "urgent"],
        "description": "Mine.",
        "job_variables": {**variables, "env": {**variables["env"], "MY": "1"}},
    }
    prefect.get(place, changes, method="PATCH")
    daily = {"interval": 86400}
    added = {"schedule": {"cron": "0 6 * * 1"}, "parameters": {"seed": 7}, "active": False}
    prefect.get(place + "/schedules", [{**added, "slug": "monday"}, {"schedule": daily}])
    (ours,) = [each for each in prefect.get(place)["schedules"] if each["slug"] == "every-24-hours"]
    pause = {"active": False, "parameters": {"seed": 3}}
    prefect.get(f"{place}/schedules/{ours['id']}", pause, method="PATCH")
    changed = prefect.get(where)

    refused = prefect.run("register", project=lossy)
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr.splitlines()[-1] == (
        "Error: prefect.yaml: changed in Prefect, and would be lost: deployment lossy: "
        "parameters.closed_last, tags.urgent, job_variables.env.MY, description; put it into that "
        "file, or let `register --overwrite` replace it"
    )
    for name in ("parameters", "tags", "description", "job_variables", "version"):
        assert prefect.get(where)[name] == changed[name]

    file = lossy.path / "prefect.yaml"
    text = (
        file.read_text()
        .replace("# closed_last", "closed_last")
        .replace("env: {}", "env: {MY: '1'}")
    )
    text = re.sub("description: .*", "description: Mine.", text, count=1)
    file.write_text(text.replace('tags: ["lossy"]', 'tags: ["lossy", urgent]', 1))
    taken_over = prefect.run("register", project=lossy)
    assert taken_over.returncode == 0, taken_over.stderr
    after = prefect.get(where)
    for name in ("parameters", "description", "job_variables"):
        assert after[name] == changed[name]
    assert set(after["tags"]) == {"lossy", "urgent"}
    schedules = {each["slug"]: each for each in after["schedules"]}
    assert len(schedules) == 3
    assert schedules["every-24-hours"]["active"] is False
    assert schedules["every-24-hours"]["parameters"] == {"seed": 3}
    assert schedules["monday"]["active"] is False
    assert schedules["monday"]["parameters"] == {"seed": 7}
    assert "every-24-hours (paused), monday (paused), schedule-" in taken_over.stderr

    file.write_text(file.read_text().replace("closed_last: 24h", "closed_last: 48h"))
    edited = prefect.run("register", project=lossy)  # what was sent from here is not lost
    assert edited.returncode == 0, edited.stderr
    assert prefect.get(where)["parameters"]["closed_last"] == "48h"

    prefect.get(place, {"tags": ["lossy"], "parameters": {"closed_last": "7d"}}, method="PATCH")
    overwritten = prefect.run("register", "--overwrite", project=lossy)
    assert overwritten.returncode == 0, overwritten.stderr
    assert "replacing what was changed in Prefect: deployment lossy: parameters.closed_last" in (
        overwritten.stderr
    )
    assert prefect.get(where)["parameters"]["closed_last"] == "48h"


def test_a_paused_deployment_stays_paused_and_limits_stay(prefect: Prefect, lossy: Project):
    where = "/deployments/name/ann-lossy/lossy"
    place = f"/deployments/{prefect.get(where)['id']}"
    prefect.get("/work_pools/lossy/queues", {"name": "urgent"})
    prefect.get(place, {"work_queue_name": "urgent", "work_pool_name": "lossy"}, method="PATCH")
    options = {"collision_strategy": "CANCEL_NEW"}
    limits = {"concurrency_limit": 1, "concurrency_options": options}
    prefect.get(place, {"paused": True, **limits}, method="PATCH")
    result = prefect.run("register", project=lossy)
    assert result.returncode == 0, result.stderr
    assert "registered ann-lossy/lossy, paused in Prefect, and stays paused: " in result.stderr
    after = prefect.get(where)
    assert after["paused"] is True
    assert after["global_concurrency_limit"]["limit"] == 1
    assert after["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert after["work_queue_name"] == "urgent"
    prefect.get(place, {"work_pool_name": prefect.project.slug}, method="PATCH")
    refused = prefect.run("register", project=lossy)
    assert refused.returncode == 2
    assert "would be lost: deployment lossy: work_pool.name;" in refused.stderr


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("deployments:", "deployments: [", "line 6, column 3"),
        ("deployments:", "others:", "deployments: there must be one or more"),
        ('- name: "lossy"', "- name:", "deployments: there must be one or more"),
        ("parameters:", "parmeters:", "it has no setting 'parmeters'"),
        ("entrypoint: src", "#", "deployment lossy: it needs an entrypoint"),
        ("      batch_size: 1000", "#", "deployments.0.parameters: Input should be a valid dict"),
        ("      - slug:", "      - every: 3\n        slug:", "deployments.0.schedules.0"),
        ("batch_size: 1000", "closed_lst: 24h", "the flow has no parameter closed_lst; it has "),
        ("batch_size: 1000", "closed_last: soon", "closed_last: 'soon'"),
    ],
)
def test_a_file_that_prefect_would_skip_is_told_in_one_line(
    prefect: Prefect, another, old, new, problem
):
    project = another(project_slug="lossy")
    file = project.path / "prefect.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    result = prefect.run("register", "--dry-run", project=project)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert problem in result.stderr
    file.unlink()
    result = prefect.run("run", project=project)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert "No such file or directory" in result.stderr


@pytest.mark.usefixtures("worker")
def test_a_second_deployment_is_registered_and_runs(prefect: Prefect, another):
    project = another(project_slug="twofold", schedule_hours="0")
    environment = {
        "PREFECT_API_URL": prefect.url + "/api",
        "PREFECT_CLOUD_PROJECT_NAME": prefect.project.slug,
    }
    file = project.path / "prefect.yaml"
    text = re.sub("(?m)^#  ", "  ", file.read_text())
    text = text.replace("closed_last: 7d", "closed_last: null, seed: 5")
    entry = {"name": "nightly", "entrypoint": "tidy.py:tidy_up", "work_pool": {"name": "twofold"}}
    (project.path / "tidy.py").write_text(TIDY)
    file.write_text(f"{text}\n  - {json.dumps(entry)}\n")
    result = prefect.run("register", project=project, env=environment)
    assert result.returncode == 0, result.stderr
    assert "registered ann-twofold/twofold, without a schedule" in result.stderr
    assert "registered ann-twofold/weekly, scheduled weekly: " in result.stderr
    assert "registered a flow of another file/nightly, without a schedule: " in result.stderr
    nightly = prefect.run("run", "--deployment", "nightly", project=project, env=environment)
    assert nightly.returncode == 0, nightly.stderr
    command = ("run", "--watch", "--deployment", "weekly")
    ran = prefect.run(*command, project=project, env=environment, limit=200)
    assert ran.returncode == 0, ran.stderr
    (kept,) = (project.path / "trials").iterdir()
    assert json.loads(kept.read_text())["selection"]["seed"] == 5
    missing = prefect.run("run", "--deployment", "daily", project=project, env=environment)
    assert missing.returncode == 2
    assert "ann-twofold/daily is not registered; run `make register` first" in missing.stderr
    gone = prefect.run("unregister", project=project, env=environment)
    assert gone.returncode == 0, gone.stderr
    names = {"deployments": {"name": {"any_": ["twofold", "weekly", "nightly"]}}}
    assert prefect.get("/deployments/filter", names) == []


def test_a_deploy_that_does_not_end_is_given_up_in_time(prefect: Prefect, registered: Project):
    command = with_limits(registered, "register", "SECONDS_TO_DEPLOY=0.5")
    result = registered.run(*command, "register", env=prefect.environment)
    assert result.returncode == 2, result.stderr
    assert result.stderr.splitlines()[-1] == (
        "Error: prefect.yaml: Prefect did not deploy it within 0.5 s; try again later"
    )


def test_the_api_stops_while_prefect_deploys(prefect: Prefect, another):
    project = another(project_slug="cut")
    with Recorder(prefect.url) as recorder:
        environment = {"PREFECT_API_URL": recorder.url + "/api", "PREFECT_CLIENT_MAX_RETRIES": "1"}
        assert prefect.run("register", project=project, env=environment).returncode == 0
        first = next(
            number
            for number, (method, path, _) in enumerate(recorder.requests)
            if method == "POST" and path.endswith("/deployments/")
        )
        assert prefect.run("unregister", project=project, env=environment).returncode == 0
        recorder.down_after = first
        result = prefect.run("register", project=project, env=environment, limit=90)
    assert result.returncode == 2, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: prefect.yaml: Prefect cannot deploy it: "), last
    assert "Traceback" not in result.stderr


def test_what_prefect_refuses_to_deploy_is_told_in_one_line(prefect: Prefect, another):
    project = another(project_slug="refused")
    file = project.path / "prefect.yaml"
    file.write_text(
        file.read_text().replace('name: "refused"\n      job', "name: other\n      job")
    )
    environment = {"PREFECT_API_URL": prefect.url + "/api"}
    result = prefect.run("register", project=project, env=environment)
    assert result.returncode == 2, result.stderr
    assert "references work pool 'other' which does not exist" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_work_pool_of_another_type_gets_code_and_requirements(
    prefect: Prefect, another, tmp_path
):
    project = another(project_slug="boxed")
    template = {
        "job_configuration": {"env": "{{ env }}", "image": "{{ image }}"},
        "variables": {
            "type": "object",
            "properties": {"env": {"type": "object"}, "image": {"type": "string"}},
        },
    }
    pool = {"name": "boxed", "type": "docker", "base_job_template": template}
    prefect.get("/work_pools/", pool)
    environment = {"PREFECT_API_URL": prefect.url + "/api", "DATA_URL": str(tmp_path)}
    result = prefect.run("connect", project=project, env=environment)
    assert result.returncode == 0, result.stderr
    refused = prefect.run("register", project=project, env=environment)
    assert refused.returncode == 2, refused.stderr
    problem = "runs of the work pool boxed (docker) cannot see this folder"
    assert f"git: {problem}; push it to a git remote named origin" in refused.stderr
    remote = tmp_path / "remote.git"
    for command in (
        ("init", "-q", "--bare", "-b", "main", remote),
        ("init", "-q", "-b", "main"),
        ("add", "-A"),
        ("commit", "-qm", "Begin"),
        ("remote", "add", "origin", remote),
        ("push", "-q", "origin", "main"),
    ):
        done = project.run("git", *command, env={**prefect.environment, **GIT_IDENTITY})
        assert done.returncode == 0, done.stderr
    file = project.path / "prefect.yaml"
    file.write_text(
        file.read_text().replace("job_variables:", "job_variables:\n        image: mine")
    )
    result = prefect.run("register", project=project, env=environment)
    assert result.returncode == 0, result.stderr
    assert "TRIALS_URL: the work pool boxed's machines go away" in result.stderr
    assert "DATA_URL: runs of the work pool boxed cannot see this path; not sent" in result.stderr
    deployment = prefect.get("/deployments/name/ann-boxed/boxed")
    steps = "prefect.deployments.steps"
    clone, folder, install = deployment["pull_steps"]
    assert clone[f"{steps}.git_clone"]["repository"] == str(remote)
    assert folder == {f"{steps}.set_working_directory": {"directory": "{{ clone.directory }}"}}
    assert install == {f"{steps}.pip_install_requirements": {}}
    assert deployment["job_variables"]["image"] == "mine"
    assert "DATA_URL" not in deployment["job_variables"]["env"]
    assert deployment["job_variables"]["env"]["SATURN_USERNAME"] == "ann"

    # What a container executes, in an environment of its own and an empty folder.
    outside = tmp_path / "outside"
    outside.mkdir()
    uv("venv", "--quiet", "--seed", "--python", project.python.resolve(), outside / "venv")
    lent = next((project.path / ".venv" / "lib").glob("python*/site-packages/lent.pth"))
    (own,) = (outside / "venv" / "lib").glob("python*/site-packages")
    (own / "lent.pth").write_text(lent.read_text())
    run_id = prefect.run("run", project=project, env=environment).stdout.strip().split("/")[-1]
    python = outside / "venv" / "bin" / "python"
    command = (python, "-m", "prefect", "flow-run", "execute", run_id)
    variables = {**deployment["job_variables"]["env"], **environment, "DATA_URL": "sample"}
    variables["PREFECT_HOME"] = str(outside)
    done = run(*command, cwd=outside, env={**prefect.environment, **variables}, limit=200)
    assert "'pip_install_requirements' completed successfully" in done.stdout + done.stderr
    assert prefect.get(f"/flow_runs/{run_id}")["state_type"] == "COMPLETED", done.stderr
    worker = prefect.run("worker", project=project, env=environment, limit=60)
    assert worker.returncode != 0
    assert "Traceback" not in worker.stderr
    assert "docker" in worker.stderr

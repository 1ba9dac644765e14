"""Registering the flow with Prefect, and running it there."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import click
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId, TaskRunFilter, TaskRunFilterId
from prefect.client.schemas.objects import FlowRun, WorkerStatus, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Interval
from prefect.utilities.callables import parameter_schema
from prefect.utilities.urls import url_for
from pydantic import BaseModel

from . import saturn
from .connect import NOT_CONNECTED, find_connection, make_project, open_client
from .errors import InputError, UnavailableError, without_secrets
from .settings import SCHEDULE_HOURS, SLUG, Settings, load_settings, project_folder

SECONDS_FOR_GIT = 60
SECONDS_FOR_A_WORKER = 600  # until a run that no worker takes is left to itself
SECONDS_WITHOUT_API = 60  # that a watched run's API may be away
SECONDS_UNTIL_TOLD = 8  # that no worker is online
SECONDS_FOR_LAST_LOGS = 3
SECONDS_BETWEEN_LOOKS = 1.0
# Midnight UTC: registering again then moves no run, and a day's window is a day.
ANCHOR = datetime(2024, 1, 1, tzinfo=timezone.utc)
STEPS = "prefect.deployments.steps"
SELECTION = {"batch_size", "all_tickets", "seed", "closed_from", "closed_to", "closed_last"}
log = logging.getLogger(__name__)


def register(*, dry_run: bool, start: bool = False) -> None:
    """Deploy the flow with its schedule, tags and parameters; a second time changes nothing.

    Where Saturn Cloud is configured, a worker becomes a deployment there first.

    Args:
        dry_run: Print what would be sent, as JSON, and send nothing.
        start: Start the worker on Saturn Cloud.

    Raises:
        InputError: When there is no connection, or the code is not where a worker could get it.
    """
    settings = load_settings()
    on_saturn = saturn.is_configured()
    if on_saturn and "://" not in settings.trials and settings.trials != "none":
        log.warning("TRIALS_URL: Saturn's machines go away, and trials kept in a folder there with them; set a URL")
    deployment = _deployment(settings, ask_remote=not dry_run)
    recipe = _recipe(settings, deployment) if on_saturn else None
    if dry_run:
        project = {"name": settings.prefect_project, "type": "process"}
        shown = {"work_pool": project, "flow": settings.flow_name, "deployment": deployment}
        if recipe:
            shown = {"saturn": recipe, **shown}
        click.echo(json.dumps(shown, indent=2, default=_plain))
        return
    if recipe:
        saturn.apply_recipe(recipe, start=start)
    with open_client() as client:
        _fit_to_pool(deployment, make_project(client), settings)
        with contextlib.suppress(NotRegisteredError):
            for schedule in _registered(client).schedules:
                if deployment["schedules"] and schedule.slug == "every" and not schedule.active:
                    deployment["schedules"][0].active = False
                    log.warning("the schedule was paused in Prefect, and stays so")
        flow_id = client.create_flow_from_name(settings.flow_name)
        deployment_id = client.create_deployment(flow_id=flow_id, **deployment)
        every = f"every {SCHEDULE_HOURS} hours" if SCHEDULE_HOURS else "without a schedule"
        log.info("registered %s/%s, %s: %s", settings.flow_name, SLUG, every, url_for("deployment", deployment_id))


def unregister() -> None:
    """Delete the deployment, and with it its schedule and the runs that have not begun.

    Past runs, the work pool, which may hold other deployments, and the trials stay. Where Saturn Cloud is
    configured, the worker there is deleted too.
    """
    if saturn.is_configured():
        saturn.delete_deployment()
    with open_client() as client:
        try:
            client.delete_deployment(_registered(client).id)
        except (ObjectNotFound, NotRegisteredError):
            log.info("%s is not registered: nothing to take back", _full_name())
            return
    log.info("took back %s; its past runs, the work pool and the trials stay", _full_name())


def run_flow(parameters: dict[str, str], *, watch: bool) -> int:
    """Run the registered flow now; print the address of the run's page.

    Args:
        parameters: Values by name, as JSON or plain text; the others keep what was registered.
        watch: Follow the run's states and logs until it ends.

    Returns:
        The exit code; where the run was watched, 0 only when it completed.

    Raises:
        InputError: When the flow is not registered, or has no such parameter.
    """
    with open_client() as client:
        deployment = _registered(client)
        values = _values(parameters, deployment.parameter_openapi_schema or {})
        if SELECTION & values.keys():
            from .selection import make_selection  # with pandas, which a run without parameters need not wait for

            make_selection(None, **{name: value for name, value in values.items() if name in SELECTION})
        flow_run = client.create_flow_run_from_deployment(deployment.id, parameters=values)
        page = url_for("flow-run", flow_run.id)
    click.echo(page)
    if not watch:
        return 0
    try:
        return _watch(flow_run.id, deployment.work_pool_name)
    except KeyboardInterrupt:
        log.info("no longer watching; the run goes on: %s", page)
        return 130


def _recipe(settings: Settings, deployment: dict[str, Any]) -> dict[str, Any]:
    clone = deployment["pull_steps"][0].get(f"{STEPS}.git_clone")
    if clone is None:
        raise InputError("git: Saturn Cloud cannot see this folder; add a git remote named origin, and push to it")
    connection = find_connection()
    if connection is None:
        raise InputError(NOT_CONNECTED)
    return saturn.make_recipe(settings, connection, clone, _folder_in_clone(deployment))


def _folder_in_clone(deployment: dict[str, Any]) -> str:
    """The project's folder in its repository: empty, or with a slash at its end."""
    return str(deployment["entrypoint"]).rpartition(f"src/{__package__}/")[0]


class NotRegisteredError(InputError):
    """The flow has no deployment."""


def _full_name() -> str:
    return f"{load_settings().flow_name}/{SLUG}"


def _registered(client: SyncPrefectClient) -> DeploymentResponse:
    try:
        return client.read_deployment_by_name(_full_name())
    except ObjectNotFound:
        raise NotRegisteredError(
            f"{_full_name()} is not registered with {client.api_url}; run `{SLUG} register` first"
        ) from None


def _deployment(settings: Settings, *, ask_remote: bool) -> dict[str, Any]:
    """The deployment as the client's `create_deployment` takes it."""
    from . import flow  # with pandas and scikit-learn, which `run` need not wait for

    step, folder = _where_the_code_is(settings, ask_remote=ask_remote)
    schedules = []
    if SCHEDULE_HOURS:
        every = Interval(timedelta(hours=SCHEDULE_HOURS), anchor_date=ANCHOR, timezone="UTC", slug="every")
        schedules = [DeploymentScheduleCreate.from_schedule(every)]
    environment = {
        "SATURN_USERNAME": settings.username,  # so that a run has the flow's name wherever it runs
        "PREFECT_LOGGING_EXTRA_LOGGERS": str(__package__),
    }
    data = settings.data and (str(Path(settings.data).resolve()) if Path(settings.data).exists() else settings.data)
    for name, value in {"TRIALS_URL": settings.trials, "DATA_URL": data}.items():
        if value and ("://" not in value or without_secrets(value) == value):
            environment[name] = value
        elif value:
            log.warning("%s may hold a secret, so Prefect is not told of it: set it where the worker runs", name)
    return {
        "name": SLUG,
        "entrypoint": f"{folder}{Path(flow.__file__).relative_to(project_folder())}:evaluation_flow",
        "pull_steps": [step],
        "work_pool_name": settings.prefect_project,
        "job_variables": {"env": environment},
        "schedules": schedules,
        "tags": [settings.prefect_project],
        "parameters": {},
        "parameter_openapi_schema": parameter_schema(flow.evaluation_flow).model_dump_for_openapi(),
        "enforce_parameter_schema": True,
        "description": flow.evaluation_flow.description,
    }


def _where_the_code_is(settings: Settings, *, ask_remote: bool) -> tuple[dict[str, Any], str]:
    """How a run gets at the code: the step that fetches it, and the project's folder within what it fetches."""
    local = {f"{STEPS}.set_working_directory": {"directory": str(project_folder())}}
    try:
        url = _git("remote", "get-url", "origin")
        _git("ls-files", "--error-unmatch", "pyproject.toml")  # or it is another project's repository
        if "://" not in url and not re.match(r"[^/]+:", url):  # a relative path is so from the repository's folder
            url = str(Path(_git("rev-parse", "--show-toplevel"), url).resolve())
    except (subprocess.CalledProcessError, FileNotFoundError):
        log.info("runs take the code from this folder, as it has no git remote: %s", project_folder())
        return local, ""
    try:
        branch = _git("symbolic-ref", "--short", "HEAD")
    except subprocess.CalledProcessError:
        raise InputError("git: no branch is checked out, so a run could not follow one; `git switch` to one") from None
    try:
        if ask_remote:
            remote = _git("ls-remote", "--exit-code", "origin", f"refs/heads/{branch}").split()[0]
        else:
            remote = _git("rev-parse", f"refs/remotes/origin/{branch}")
    except subprocess.CalledProcessError as error:
        reason = re.sub(r"//[^/@\s]+@", "//", " ".join(error.stderr.split())) or "it has no such branch"
        raise InputError(f"git: cannot read {branch} of the remote origin: {reason}; push it first") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"git: the remote origin did not answer within {SECONDS_FOR_GIT} s; try again later") from None
    if _git("status", "--porcelain", "--", str(project_folder())):
        log.warning("git: changes here are not committed: runs will use what is on the remote's branch %s", branch)
    elif _git("rev-parse", "HEAD") != remote:
        log.warning("git: HEAD is not what the remote's branch %s holds: runs will use what is there", branch)
    clone = {"id": "clone", "repository": _without_password(url), "branch": branch}
    log.info("runs take the code from the branch %s of %s", branch, clone["repository"])
    if settings.git_block:
        kind, slash, name = settings.git_block.partition("/")
        if not (kind and slash and name):
            raise InputError(f"GIT_BLOCK: {settings.git_block!r} is not of the form type/name, say secret/git-token")
        clone["access_token" if kind == "secret" else "credentials"] = f"{{{{ prefect.blocks.{kind}.{name} }}}}"
    return {f"{STEPS}.git_clone": clone}, _git("rev-parse", "--show-prefix")


def _git(*arguments: str) -> str:
    """What git says in the project's folder; it asks no questions."""
    return subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        cwd=project_folder(),
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        check=True,
        capture_output=True,
        text=True,
        timeout=SECONDS_FOR_GIT,
        stdin=subprocess.DEVNULL,
    ).stdout.strip()


def _without_password(url: str) -> str:
    """A remote's URL without what would be a secret in Prefect's keeping; the user name of ssh is none."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if not user:
        return url
    log.warning("git: the remote's URL names a user: Prefect is told the URL without a password")
    if parts.scheme.startswith("http"):
        return without_secrets(url)
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}"))


def _fit_to_pool(deployment: dict[str, Any], pool: WorkPool, settings: Settings) -> None:
    """Add what a managed pool needs, whose runs begin on an empty machine of Prefect Cloud's."""
    if not pool.is_managed_pool:
        return
    if "git_clone" not in str(deployment["pull_steps"]):
        raise InputError("git: Prefect Cloud runs the flow itself, and cannot see this folder; push it to a git remote")
    if "://" not in settings.trials and settings.trials != "none":
        log.warning(
            "TRIALS_URL: Prefect Cloud's machines go away, and trials kept in a folder there with them; set a URL"
        )
    install = {
        "requirements_file": f"{_folder_in_clone(deployment)}requirements.txt",
        "directory": "{{ clone.directory }}",
    }
    deployment["pull_steps"].append({f"{STEPS}.pip_install_requirements": install})
    deployment["job_variables"]["env"].pop("DATA_URL", None)


def _values(parameters: dict[str, str], schema: dict[str, Any]) -> dict[str, Any]:
    """Parameters as the flow's schema wants them."""
    known = schema.get("properties", {})
    values: dict[str, Any] = {}
    for name, text in parameters.items():
        if name not in known:
            raise InputError(f"--param: the flow has no parameter {name}; it has {', '.join(known)}")
        kinds = {kind.get("type") for kind in known[name].get("anyOf", [known[name]])}
        try:
            values[name] = text if "string" in kinds else json.loads(text)
        except ValueError:
            wanted = " or ".join(sorted(kinds - {"null", None}))
            raise InputError(f"--param: {name}={text!r} is no {wanted}") from None
    return values


def _watch(flow_run_id: UUID, pool: str | None) -> int:
    """Follow a run, through a new client at each look, so that the API may be away for a while."""
    state, shown, told = "", 0, False
    tasks: dict[UUID | None, str] = {None: "the run"}
    started = answered = time.monotonic()
    ended = 0.0
    while True:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        now = time.monotonic()
        try:
            with open_client() as client:
                flow_run = _read_flow_run(client, flow_run_id)
                by_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
                records = client.read_logs(by_run, offset=shown, sort=LogSort.TIMESTAMP_ASC)
                unknown = [each.task_run_id for each in records if each.task_run_id and each.task_run_id not in tasks]
                if unknown:  # a task run becomes known through events, which may come after its logs
                    of_tasks = TaskRunFilter(id=TaskRunFilterId(any_=unknown))
                    tasks |= {task.id: task.name for task in client.read_task_runs(task_run_filter=of_tasks)}
                has_worker = not pool or now - started < SECONDS_UNTIL_TOLD or _has_worker(client, pool)
        except UnavailableError as error:
            if now - answered > SECONDS_WITHOUT_API:
                raise UnavailableError(f"{error} The run may go on without being watched") from None
            log.warning("%s Trying again for %d s", error, SECONDS_WITHOUT_API)
            continue
        answered = now
        for record in records:
            # A traceback is on the run's page for who wants it.
            message = record.message.partition("\nTraceback (most recent")[0]
            level, task_name = logging.getLevelName(record.level), tasks.get(record.task_run_id, "a task")
            log.info("%s %-8s %s: %s", f"{record.timestamp:%H:%M:%S}", level, task_name, message)
        shown += len(records)
        current = flow_run.state
        assert current is not None
        if current.name != state:
            state = current.name or ""
            log.info(
                "%s %s", f"{current.timestamp:%H:%M:%S}", f"{state}: {current.message}" if current.message else state
            )
        if current.is_final():
            # Logs are sent in batches: the last ones come after the state.
            ended = now if records or not ended else ended
            if now - ended > SECONDS_FOR_LAST_LOGS:
                return 0 if current.is_completed() else 1
        elif current.is_scheduled() or current.is_pending():
            if not has_worker and not told:
                log.warning("no worker of the work pool %s is online: start one with `make worker`", pool)
                told = True
            if now - started > SECONDS_FOR_A_WORKER:
                log.error("no worker has taken the run within %d s; it stays scheduled", SECONDS_FOR_A_WORKER)
                return 1


def _read_flow_run(client: SyncPrefectClient, flow_run_id: UUID) -> FlowRun:
    try:
        return client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        raise InputError(
            f"the run {flow_run_id} is gone: somebody has deleted it; `{SLUG} run` makes another"
        ) from None


def _has_worker(client: SyncPrefectClient, pool: str) -> bool:
    response = client.request(
        "POST", "/work_pools/{work_pool_name}/workers/filter", path_params={"work_pool_name": pool}, json={}
    )
    return any(worker["status"] == WorkerStatus.ONLINE.value for worker in response.json())


def _plain(value: object) -> object:
    """What JSON does not know, for the dry run: Prefect's objects as they would be sent."""
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)

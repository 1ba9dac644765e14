"""Registering the flow with Prefect, and running it there."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import WorkPoolStatus
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Interval
from prefect.utilities.callables import parameter_schema
from prefect.utilities.urls import url_for
from pydantic_core import to_jsonable_python

from . import saturn
from .connect import find_connection, make_project, open_client
from .errors import InputError, UnavailableError, without_secrets
from .settings import SCHEDULE_HOURS, SLUG, Settings, load_settings, project_folder

SECONDS_FOR_GIT = 60
SECONDS_FOR_A_WORKER = 600  # until a run that no worker takes is left to itself
SECONDS_WITHOUT_API = 60  # that a watched run's API may be away
SECONDS_UNTIL_TOLD = 8  # that no worker is online
# Midnight UTC: registering again then moves no run, and a day's window is a day.
ANCHOR = datetime(2024, 1, 1, tzinfo=timezone.utc)
STEPS = "prefect.deployments.steps"
OF_POOLS: dict[WorkPoolStatus | None, str] = {  # by their status, why they do not pass a run on
    WorkPoolStatus.NOT_READY: "no worker of the work pool %s is online: start one with `make worker`",
    WorkPoolStatus.PAUSED: "the work pool %s is paused: resume it on Prefect's pages",
}
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
    if on_saturn:
        _warn_of_trials(settings, "Saturn")
    clone, folder = _find_remote(settings, ask_remote=not dry_run)
    deployment = _deployment(settings, clone, folder)
    recipe = saturn.make_recipe(settings, find_connection(), clone, folder) if on_saturn else None
    if dry_run:
        project = {"name": settings.prefect_project, "type": "process"}
        shown = {"saturn": recipe, "work_pool": project, "flow": settings.flow_name, "deployment": deployment}
        click.echo(json.dumps(to_jsonable_python(shown), indent=2))
        return
    if recipe:
        saturn.apply_recipe(recipe, start=start)
    with open_client() as client:
        if make_project(client).is_managed_pool:
            _manage(deployment, settings, clone, folder)
        with suppress(ObjectNotFound):
            paused = {each.slug for each in client.read_deployment_by_name(_full_name()).schedules if not each.active}
            for schedule in deployment["schedules"]:
                if schedule.slug in paused:
                    schedule.active = False
                    log.warning("the schedule was paused in Prefect, and stays so")
        deployment_id = client.create_deployment(client.create_flow_from_name(settings.flow_name), **deployment)
        every = f"every {SCHEDULE_HOURS} hours" if SCHEDULE_HOURS else "without a schedule"
        log.info("registered %s, %s: %s", _full_name(), every, url_for("deployment", deployment_id))


def unregister() -> None:
    """Delete the deployment, and with it its schedule and the runs that have not begun.

    Past runs, the work pool, which may hold other deployments, and the trials stay. Where Saturn Cloud is
    configured, the worker there is deleted too.
    """
    if saturn.is_configured():
        saturn.delete_deployment()
    with open_client() as client:
        try:
            client.delete_deployment(client.read_deployment_by_name(_full_name()).id)
            log.info("took back %s; its past runs, the work pool and the trials stay", _full_name())
        except ObjectNotFound:
            log.info("%s is not registered: nothing to take back", _full_name())


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
        try:
            deployment = client.read_deployment_by_name(_full_name())
        except ObjectNotFound:
            problem = f"{_full_name()} is not registered with {client.api_url}; run `{SLUG} register` first"
            raise InputError(problem) from None
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
    except ObjectNotFound:
        problem = f"{page}: the run, or its work pool {deployment.work_pool_name}, is gone: somebody has deleted it"
        raise InputError(f"{problem}; `{SLUG} register` makes the pool anew, `{SLUG} run` another run") from None
    except KeyboardInterrupt:
        log.info("no longer watching; the run goes on: %s", page)
        return 130


def _full_name() -> str:
    return f"{load_settings().flow_name}/{SLUG}"


def _warn_of_trials(settings: Settings, where: str) -> None:
    if os.path.isabs(settings.trials):  # noqa: PTH117  and so a folder
        log.warning("TRIALS_URL: %s's machines go away, and trials kept in a folder there with them; set a URL", where)


def _deployment(settings: Settings, clone: dict[str, str], folder: str) -> dict[str, Any]:
    """The deployment as the client's `create_deployment` takes it."""
    from . import flow  # with pandas and scikit-learn, which `run` need not wait for

    every = Interval(timedelta(hours=SCHEDULE_HOURS), anchor_date=ANCHOR, timezone="UTC", slug="every")
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
    here = {f"{STEPS}.set_working_directory": {"directory": str(project_folder())}}
    return {
        "name": SLUG,
        "entrypoint": f"{folder}{Path(flow.__file__).relative_to(project_folder())}:evaluation_flow",
        "pull_steps": [{f"{STEPS}.git_clone": clone} if clone else here],
        "work_pool_name": settings.prefect_project,
        "job_variables": {"env": environment},
        "schedules": [DeploymentScheduleCreate.from_schedule(every)] if SCHEDULE_HOURS else [],
        "tags": [settings.prefect_project],
        "parameter_openapi_schema": parameter_schema(flow.evaluation_flow).model_dump_for_openapi(),
        "enforce_parameter_schema": True,
        "description": flow.evaluation_flow.description,
    }


def _find_remote(settings: Settings, *, ask_remote: bool) -> tuple[dict[str, str], str]:
    """The arguments of the step that clones the code, and the project's folder in it, with a slash at its end.

    Both are empty where there is no git remote: runs then take the code from here.
    """
    try:
        url = _git("remote", "get-url", "origin")
        _git("ls-files", "--error-unmatch", "pyproject.toml")  # or it is another project's repository
        if "://" not in url and not re.match(r"[^/]+:", url):  # a relative path is so from the repository's folder
            url = str(Path(_git("rev-parse", "--show-toplevel"), url).resolve())
    except (subprocess.CalledProcessError, FileNotFoundError):
        log.info("runs take the code from this folder, as it has no git remote: %s", project_folder())
        return {}, ""
    branch = _git("branch", "--show-current")
    if not branch:
        raise InputError("git: no branch is checked out, so a run could not follow one; `git switch` to one")
    place = ("origin", f"refs/heads/{branch}") if ask_remote else (".", f"refs/remotes/origin/{branch}")
    try:
        remote = _git("ls-remote", "--exit-code", *place).split()[0]
    except subprocess.CalledProcessError as error:
        reason = re.sub(r"//[^/@\s]+@", "//", " ".join(error.stderr.split())) or "it has no such branch"
        raise InputError(f"git: cannot read {branch} of the remote origin: {reason}; push it first") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"git: the remote origin did not answer within {SECONDS_FOR_GIT} s; try again later") from None
    if _git("status", "--porcelain", "--", str(project_folder())):
        log.warning("git: changes here are not committed: runs will use what is on the remote's branch %s", branch)
    elif _git("rev-parse", "HEAD") != remote:
        log.warning("git: HEAD is not what the remote's branch %s holds: runs will use what is there", branch)
    # What would be a secret in Prefect's keeping: over http also the user, who may be a token; ssh needs its user.
    told = re.sub(r"(?i)^(https?://)[^/]*@([^?#]*).*|^([\w+.-]+://[^/:]*):[^/]*(?=@)", r"\1\2\3", url)
    if told != url:
        log.warning("git: the remote's URL names a user: Prefect is told the URL without a password")
    log.info("runs take the code from the branch %s of %s", branch, told)
    clone = {"id": "clone", "repository": told, "branch": branch}
    if settings.git_block:
        kind, _, name = settings.git_block.partition("/")
        if not (kind and name):
            raise InputError(f"GIT_BLOCK: {settings.git_block!r} is not of the form type/name, say secret/git-token")
        clone["access_token" if kind == "secret" else "credentials"] = f"{{{{ prefect.blocks.{kind}.{name} }}}}"
    return clone, _git("rev-parse", "--show-prefix")


def _git(*arguments: str) -> str:
    """What git says in the project's folder; it asks no questions."""
    how: dict[str, Any] = {"env": {**os.environ, "GIT_TERMINAL_PROMPT": "0"}, "stdin": subprocess.DEVNULL}
    how |= {"stderr": subprocess.PIPE, "text": True, "timeout": SECONDS_FOR_GIT}
    return str(subprocess.check_output(["git", "-C", str(project_folder()), *arguments], **how)).strip()  # noqa: S603, S607


def _manage(deployment: dict[str, Any], settings: Settings, clone: dict[str, str], folder: str) -> None:
    """Add what a managed pool needs, whose runs begin on an empty machine of Prefect Cloud's."""
    if not clone:
        raise InputError("git: Prefect Cloud runs the flow itself, and cannot see this folder; push it to a git remote")
    _warn_of_trials(settings, "Prefect Cloud")
    install = {"requirements_file": f"{folder}requirements.txt", "directory": "{{ clone.directory }}"}
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
    this_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    its_logs = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
    state, shown, told = "", 0, ""
    started = answered = changed = time.monotonic()
    while True:
        time.sleep(1.0)  # between two looks
        try:
            with open_client() as client:
                current = client.read_flow_run(flow_run_id).state
                records = client.read_logs(its_logs, offset=shown, sort=LogSort.TIMESTAMP_ASC)
                tasks = {each.id: each.name for each in client.read_task_runs(flow_run_filter=this_run)}
                problem = OF_POOLS.get(client.read_work_pool(pool).status) if pool else None
        except UnavailableError as error:
            if time.monotonic() - answered > SECONDS_WITHOUT_API:
                raise UnavailableError(f"{error} The run may go on without being watched") from None
            log.warning("%s Trying again for %d s", error, SECONDS_WITHOUT_API)
            continue
        now = answered = time.monotonic()
        for record in records:
            # A task run becomes known through events, which may come after its logs.
            name = tasks.get(record.task_run_id, "a task") if record.task_run_id else "the run"
            # A traceback is on the run's page for who wants it.
            message = record.message.partition("\nTraceback (most recent")[0]
            log.info("%s %s: %s", f"{record.timestamp:%H:%M:%S} {logging.getLevelName(record.level):8}", name, message)
        shown += len(records)
        assert current is not None
        if current.name != state:
            state = current.name or ""
            log.info("%s %s", f"{current.timestamp:%H:%M:%S}", ": ".join(filter(None, (state, current.message))))
        # Logs are sent in batches: the last ones come after the state.
        if records or not current.is_final():
            changed = now
        elif now - changed > 3.0:
            return 0 if current.is_completed() else 1
        if current.is_scheduled() or current.is_pending():
            if problem and problem != told and now - started > SECONDS_UNTIL_TOLD:
                log.warning(problem, pool)
                told = problem
            if now - started > SECONDS_FOR_A_WORKER:
                log.error("no worker has taken the run within %d s; it stays scheduled", SECONDS_FOR_A_WORKER)
                return 1

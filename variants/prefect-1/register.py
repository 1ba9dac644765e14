"""Register the flow with Saturn Cloud, where it is configured, and with Prefect; run it; take it back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from .connect import ask, explained, log_in, log_to_stderr, make_project, one_line
from .errors import InputError, without_secrets
from .settings import Settings, load_settings, saturn_url
from .trials import NONE

log = logging.getLogger(__name__)
FINGERPRINT = "FLOW_FINGERPRINT"  # in the environment of the registered flow: says what was registered
LOG_DELAY = 6.0  # seconds; a run sends its log every five


def register(*, dry_run: bool) -> None:
    """Register the flow with Saturn, where `BASE_URL` and `SATURN_TOKEN` are set, and with Prefect.

    Where nothing has changed since the last time, nothing is sent. Prints the flow's id.

    Args:
        dry_run: Print what would be sent instead, as JSON.

    Raises:
        InputError: When Saturn or Prefect is not configured, cannot be reached, or refuses.
    """
    settings, saturn = load_settings(), saturn_url()
    environment = _environment(settings, saturn)
    from .flow import flow  # only now: Prefect reads its configuration as it is imported

    log_to_stderr()
    environment[FINGERPRINT] = fingerprint = _fingerprint(flow, settings, saturn, environment)
    if dry_run:
        click.echo(json.dumps(_summary(flow, settings, saturn, environment), indent=2))
        return
    if not saturn:
        log.info("BASE_URL and SATURN_TOKEN are not set: registering with Prefect alone, for an agent on this machine")
    client = log_in(settings)
    make_project(client, settings)
    registered = _find(client, settings)
    if registered and _is_whole(registered, flow) and _env(registered).get(FINGERPRINT) == fingerprint:
        log.info("nothing has changed: %s is registered in project %s", flow.name, settings.prefect_project)
        if flow.schedule and not registered["is_schedule_active"]:
            log.info("its schedule is switched off in Prefect")
        click.echo(registered["id"])
        return
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):  # Prefect prints the flow's address
        # Results are not kept, as trials are; what is tried again within minutes stays in memory.
        warnings.filterwarnings("ignore", message="No result handler was specified|.* has retry settings")
        _store(flow, settings, saturn, environment)
        flow_id = ask(
            "Prefect",
            lambda: flow.register(
                project_name=settings.prefect_project, build=False, idempotency_key=fingerprint, no_url=False
            ),
            settings,
        )
    log.info("registered %s in project %s", flow.name, settings.prefect_project)
    click.echo(flow_id)


def unregister() -> None:
    """Archive the flow in Prefect: it is gone from the list and from the schedule; past runs and trials stay.

    Raises:
        InputError: When Prefect is not configured, cannot be reached, or refuses.
    """
    settings = load_settings()
    client = log_in(settings)
    registered = _find(client, settings)
    if not registered:
        log.info("%s is not registered in project %s", settings.flow_name, settings.prefect_project)
        return
    mutation = {"mutation($input: archive_flow_input!)": {"archive_flow(input: $input)": {"success"}}}
    ask("Prefect", lambda: client.graphql(mutation, variables={"input": {"flow_id": registered["id"]}}), settings)
    log.info("%s is archived in Prefect, its schedule with it", settings.flow_name)
    if saturn_url():
        log.info("Saturn keeps its copy of the flow, which nothing runs now: its API for Prefect removes none")


def run_flow(parameters: dict[str, str], *, watch: bool) -> int:
    """Run the registered flow now; prints the run's id.

    Args:
        parameters: By name, with `-` or `_`; values are JSON, or else text.
        watch: Follow its states and its log until it is finished.

    Returns:
        The exit status: 0, and when watching only where the run ended in Success.

    Raises:
        InputError: When a parameter will not do, the flow is not registered, or Prefect refuses.
    """
    settings = load_settings()
    from .flow import flow, read_parameters

    log_to_stderr()
    values = {name.replace("_", "-"): _json_or_text(value) for name, value in parameters.items()}
    names = sorted(parameter.name for parameter in flow.parameters())
    for name in values:
        if name not in names:
            raise InputError(f"--param: the flow has no parameter {name!r}; it has {', '.join(names)}")
    read_parameters(values)
    client = log_in(settings)
    registered = _find(client, settings)
    if not registered:
        raise InputError(
            f"{settings.flow_name} is not registered in project {settings.prefect_project}; `register` does that"
        )
    run_id: str = ask("Prefect", lambda: client.create_flow_run(flow_id=registered["id"], parameters=values), settings)
    log.info("%s", ask("Prefect", lambda: client.get_cloud_url("flow-run", run_id), settings))
    click.echo(run_id)
    return _watch(run_id) if watch else 0


def _watch(run_id: str) -> int:
    from prefect.backend.flow_run import FlowRunView, watch_flow_run

    def entries() -> Iterator[Any]:
        yield from watch_flow_run(run_id)
        time.sleep(LOG_DELAY)
        yield from FlowRunView.from_flow_run_id(run_id).get_logs()

    shown = set()
    with explained("Prefect"):
        for entry in entries():
            if entry not in shown:
                shown.add(entry)
                log.log(entry.level, "%s %s", entry.timestamp.in_tz("local").format("HH:mm:ss"), entry.message)
        run = FlowRunView.from_flow_run_id(run_id)
    log.info("%s: %s", type(run.state).__name__, run.state.message)
    return 0 if run.state.is_successful() else 1


def _environment(settings: Settings, saturn: str | None) -> dict[str, str]:
    """What a run needs of this machine's settings, without what only holds here, and without secrets."""
    environment = {"PREFECT__LOGGING__EXTRA_LOGGERS": json.dumps([__package__])}
    if saturn and "://" not in settings.trials and settings.trials != NONE:
        log.warning(
            "TRIALS_URL: %s is a folder, and on Saturn that goes away with the run and its trial; "
            "set it to a place that stays, say s3://bucket/trials",
            settings.trials,
        )
    for name, value in (("TRIALS_URL", settings.trials), ("DATA_URL", settings.data)):
        if value is None or (saturn and "://" not in value and value not in (NONE, "sample")):
            continue  # a path of this machine
        if "://" in value and without_secrets(value) != value:
            log.warning("%s: not sent, as it may hold a password or token; set it where the flow runs", name)
            continue
        is_path = "://" not in value and value not in (NONE, "sample")
        environment[name] = str(Path(value).expanduser().absolute()) if is_path else value
    return environment


def _fingerprint(flow: Any, settings: Settings, saturn: str | None, environment: dict[str, str]) -> str:  # noqa: ANN401
    """A hash of all that is registered: the flow's shape, every file of the package, and where it runs."""
    shape = flow.serialize()
    parts = [
        *sorted(json.dumps(part, sort_keys=True) for key in ("tasks", "edges", "parameters") for part in shape[key]),
        json.dumps([flow.name, shape["schedule"], settings.prefect_project, saturn, environment], sort_keys=True),
        ".".join(platform.python_version_tuple()[:2]),  # a pickled flow is bound to it
    ]
    package = Path(__file__).parent
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            parts += [str(path.relative_to(package)), hashlib.sha256(path.read_bytes()).hexdigest()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _summary(flow: Any, settings: Settings, saturn: str | None, environment: dict[str, str]) -> dict[str, Any]:  # noqa: ANN401
    return {
        "flow": flow.name,
        "project": settings.prefect_project,
        "parameters": {parameter.name: parameter.default for parameter in flow.parameters()},
        "schedule": flow.serialize()["schedule"],
        "tasks": sorted(flow.slugs.values()),
        "environment": environment,
        "executor": "LocalExecutor",
        "saturn": saturn,
    }


def _store(flow: Any, settings: Settings, saturn: str | None, environment: dict[str, str]) -> None:  # noqa: ANN401
    """Pickle the flow to where an agent will get it: to Saturn, or else to a file on this machine."""
    import cloudpickle
    from prefect.executors import LocalExecutor
    from prefect.run_configs import UniversalRun
    from prefect.storage import Local

    # With all of this package in it, as a notebook's flow holds all of its notebook: it runs where the package is not.
    cloudpickle.register_pickle_by_value(sys.modules[str(__package__)])
    try:
        cloudpickle.dumps(flow)
    except Exception as error:  # what cannot be pickled raises what it likes
        raise InputError(
            f"the flow cannot be pickled ({one_line(error)}); what data.py and model.py hold must be, "
            "or else be opened in their functions"
        ) from None
    if saturn:
        from prefect_saturn import PrefectCloudIntegration

        integration = PrefectCloudIntegration(prefect_cloud_project_name=settings.prefect_project)
        ask("Saturn", lambda: integration.register_flow_with_saturn(flow=flow), settings)
    else:
        flow.storage = Local()
        flow.run_config = UniversalRun()
    flow.run_config.env = environment
    flow.executor = LocalExecutor()  # in the place of the one that prefect-saturn chose
    flow.storage.add_flow(flow)
    ask("Saturn" if saturn else "Prefect", flow.storage.build, settings)


def _find(client: Any, settings: Settings) -> dict[str, Any] | None:  # noqa: ANN401  prefect.Client
    """The flow as it is registered."""
    from prefect.utilities.graphql import EnumValue, with_args

    where = {
        "name": {"_eq": settings.flow_name},
        "project": {"name": {"_eq": settings.prefect_project}},
        "archived": {"_eq": False},
    }
    wanted = {"id": True, "run_config": True, "is_schedule_active": True, "tasks": {"slug"}, "edges": {"id"}}
    arguments = {"where": where, "order_by": {"created": EnumValue("desc")}, "limit": 1}
    found = ask("Prefect", lambda: client.graphql({"query": {with_args("flow", arguments): wanted}}), settings)
    flows: list[dict[str, Any]] = found.data.flow.to_list()
    return flows[0] if flows else None


def _is_whole(registered: dict[str, Any], flow: Any) -> bool:  # noqa: ANN401
    """Whether the last `register` came to its end: Prefect gets the tasks after the flow, and the edges after those."""
    return len(registered["tasks"]) == len(flow.tasks) and len(registered["edges"]) == len(flow.edges)


def _env(registered: dict[str, Any]) -> dict[str, str]:
    return (registered["run_config"] or {}).get("env") or {}


def _json_or_text(value: str) -> Any:  # noqa: ANN401  JSON
    try:
        return json.loads(value)
    except ValueError:
        return value

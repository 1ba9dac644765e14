"""The project's connection to Prefect: a profile of its own, and the Prefect project, a work pool and a tag."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field
from functools import cache
from pathlib import Path
from typing import NoReturn

import click
import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkPool, Workspace
from prefect.context import refresh_global_settings_context
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, ObjectUnsupported
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_PROFILES_PATH,
    load_profiles,
    save_profiles,
    temporary_settings,
)
from prefect.workers.process import ProcessWorker

from .errors import InputError, UnavailableError, without_secrets
from .settings import SLUG, load_settings, read_env_file

SECONDS_TO_ANSWER = 45  # for all that a command asks of an API, retries included
NOT_CONNECTED = (
    "PREFECT_API_URL: no Prefect is configured; for Prefect Cloud set PREFECT_API_KEY and run "
    f"`{SLUG} connect`, or start a local server with `make server`"
)
PROFILE = f"project-{SLUG}"  # no name that a user would give to a profile
SETTINGS = (PREFECT_API_URL, PREFECT_API_KEY, PREFECT_API_AUTH_STRING)  # what a Connection holds, in its order
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Connection:
    """An API, and what it is told so that it answers: a key goes only to the URL that it was stored with.

    Without a URL it is none.
    """

    url: str = ""
    key: str = field(default="", repr=False)
    auth_string: str = field(default="", repr=False)


@cache
def find_connection() -> Connection:
    """The connection that the environment names, else the project's own profile; without a URL where there is none."""
    in_file = read_env_file()
    url, key, auth_string = (os.environ.get(setting.name, "") for setting in SETTINGS)
    if url and url != in_file.get("PREFECT_API_URL"):  # the file's secrets are for another address
        key, auth_string = ("" if each in in_file.values() else each for each in (key, auth_string))
    stored = _stored()
    if url not in ("", stored.url):
        return Connection(url, key, auth_string)
    if not url:  # a key alone is one of Prefect Cloud, and a server's password is for the server that is named with it
        key, auth_string = key if _is_cloud(stored.url) else "", ""
    return Connection(stored.url, key or stored.key, auth_string or stored.auth_string)


def use_connection(connection: Connection) -> None:
    """Make this process and those that it starts use the connection, and no key of whatever profile is active.

    An empty variable counts as set, for Prefect: it hides what a profile says.
    """
    os.environ |= {
        "PREFECT_PROFILE": PROFILE if _stored().url else "ephemeral",
        "PREFECT_CLOUD_API_URL": _cloud_url(),
        "PREFECT_CLIENT_CUSTOM_HEADERS": os.environ.get("PREFECT_CLIENT_CUSTOM_HEADERS") or "{}",
        **{setting.name: value for setting, value in zip(SETTINGS, astuple(connection), strict=True)},
    }
    refresh_global_settings_context()


def connect() -> None:
    """Log in, create the Prefect project, and keep the connection as the project's own profile.

    Where the key comes from: the environment, the project's profile, the profile that PREFECT_PROFILE names, or a
    hidden prompt on a terminal. A second time changes nothing.

    Raises:
        InputError: When there is nothing to connect to, or it does not let us in.
    """
    read_env_file()
    stored = _stored()
    key, named = os.environ.get("PREFECT_API_KEY"), os.environ.get("PREFECT_PROFILE")
    asked = not os.environ.get("PREFECT_API_URL") and (named or (key and not _is_cloud(stored.url)))
    connection = _log_in() if asked or not find_connection().url else find_connection()
    with open_client(connection) as client:
        make_project(client)
    if connection != stored:
        _store(connection)
    how = "as before" if connection == stored else f"kept as the Prefect profile {PROFILE}"
    log.info("connected to %s: %s", without_secrets(connection.url), how)


@contextmanager
def open_client(connection: Connection | None = None) -> Iterator[SyncPrefectClient]:
    """A client of the API that has been seen to be Prefect 3's; its failures become one line.

    Args:
        connection: None is the one that `find_connection` finds.

    Raises:
        InputError: When there is no connection, or the API cannot be reached, refuses the key, or is another one.
    """
    connection = connection or find_connection()
    if not connection.url:
        raise InputError(NOT_CONNECTED)
    use_connection(connection)
    url = without_secrets(connection.url)
    limit = time_limit(SECONDS_TO_ANSWER, f"PREFECT_API_URL: {url}")
    limits = temporary_settings({PREFECT_API_REQUEST_TIMEOUT: 15.0, PREFECT_CLIENT_MAX_RETRIES: 2})
    try:
        with limit, limits, get_client(sync_client=True) as client:
            if not _is_cloud(url):
                _check_version(client, url)
            yield client
    except httpx.HTTPStatusError as error:
        status, detail = error.response.status_code, " ".join(error.response.text[:200].split())
        if status not in (401, 403):
            raise InputError(f"PREFECT_API_URL: {url} answered {status} {detail}; look at the server's log") from None
        name, hint = "PREFECT_API_KEY or PREFECT_API_AUTH_STRING", ""
        if _is_cloud(url):
            name, hint = "PREFECT_API_KEY", "; they begin with pnu_ or pnb_ (pcu_: Prefect Cloud 1, which is closed)"
        raise InputError(f"{name}: {url} refuses it ({status}); set a valid one, and connect again{hint}") from None
    except (httpx.TransportError, httpx.InvalidURL) as error:
        problem = f"cannot reach {url} ({error}); is it running, is the address right?"
        raise UnavailableError(f"PREFECT_API_URL: {problem}") from None


def make_project(client: SyncPrefectClient) -> WorkPool:
    """Create the Prefect project, a work pool, where it is not there yet.

    Returns:
        The work pool: one for workers of ours, or, where Prefect Cloud's plan has none of those, a managed one.
    """
    name = load_settings().prefect_project
    with suppress(ObjectNotFound):
        pool = client.read_work_pool(name)
        if pool.type != "process" and not pool.is_managed_pool:
            problem = f"the work pool {name} is one of type {pool.type}, and a worker of this project needs `process`"
            raise InputError(f"PREFECT_CLOUD_PROJECT_NAME: {problem}; choose another name")
        log.info("Prefect project %s: work pool (%s) is there already", name, pool.type)
        return pool
    template = ProcessWorker.get_default_base_job_template()
    try:
        pool = client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
    except ObjectAlreadyExists:  # made by another process since we looked
        return client.read_work_pool(name)
    except ObjectUnsupported:
        pool = client.create_work_pool(WorkPoolCreate(name=name, type="prefect:managed"))
        log.info("Prefect project %s: this plan has no process work pools, so Prefect Cloud runs the flow itself", name)
    log.info("Prefect project %s: created its work pool (%s)", name, pool.type)
    return pool


def serve(port: int) -> int:
    """Run a local Prefect server with SQLite until interrupted; once it answers, this project alone is pointed at it.

    Returns:
        The server's exit code.

    Raises:
        InputError: When the port is taken, or the server ends or is silent at its start.
    """
    url = f"http://127.0.0.1:{port}/api"
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        mend = f"take another, say PORT={port % 65535 + 1}; if it is Prefect, PREFECT_API_URL={url} {SLUG} connect"
        raise InputError(f"port: {port} cannot be had ({os.strerror(error.errno or 0)}); {mend}") from None
    connection = Connection(url, auth_string=os.environ.get("PREFECT_SERVER_API_AUTH_STRING", ""))
    use_connection(connection)
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")  # a local server has no need to call home
    command = [sys.executable, "-m", "prefect", "server", "start", "--host=127.0.0.1", f"--port={port}"]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with subprocess.Popen(command, stdout=sys.stderr) as server:  # noqa: S603
        try:
            deadline = time.monotonic() + 120.0
            while server.poll() is None and time.monotonic() < deadline:
                with suppress(UnavailableError), open_client(connection) as client:
                    make_project(client)
                    _store(connection)
                    log.info("Prefect's pages are at http://127.0.0.1:%d; Ctrl-C stops the server", port)
                    break
            else:
                raise InputError("server: it has ended, or has not answered in time; what it wrote stands above")
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()


def work() -> NoReturn:
    """Become a worker of the Prefect project: it takes its runs, until interrupted.

    Raises:
        InputError: When there is no connection.
    """
    with open_client() as client:
        make_project(client)
    arguments = ["worker", "start", f"--pool={load_settings().prefect_project}", "--type=process"]
    os.dup2(2, 1)  # what a worker tells is no result
    os.execv(sys.executable, [sys.executable, "-m", "prefect", *arguments])  # noqa: S606


class TimeIsUpError(BaseException):
    """A time limit is over; no Exception, as Prefect's client would try again after those."""


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """End the block when it takes longer; whatever it waits for, sleeps of a library included.

    Raises:
        UnavailableError: That `what` did not answer in time.
    """

    def stop(*_: object) -> None:
        raise TimeIsUpError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    except TimeIsUpError:
        raise UnavailableError(f"{what} did not answer within {seconds} s; try again later") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _log_in() -> Connection:
    """Log in to Prefect Cloud, or take over the log-in of a profile that the user names."""
    named, key = os.environ.get("PREFECT_PROFILE"), os.environ.get("PREFECT_API_KEY")
    if named and not key:
        if (stored := _stored(named)).url:
            return stored
        raise InputError(f"PREFECT_PROFILE: {named!r} names no API; choose one of `prefect profile ls`, or unset it")
    if not key and sys.stdin.isatty():
        click.echo("No Prefect is configured. For a local server press Enter, and run `make server`.", err=True)
        key = click.prompt("API key of Prefect Cloud", default="", hide_input=True, show_default=False, err=True)
    if not key:
        raise InputError(NOT_CONNECTED)
    url = _cloud_url()
    with open_client(Connection(url, key)) as client:
        answer = client.request("GET", "/me/workspaces")  # type: ignore[arg-type]  # a route of Prefect Cloud alone
    try:
        by_handle = {each.handle: each for each in Workspace.model_validate_list(answer.json())}
    except ValueError:
        raise InputError(f"PREFECT_CLOUD_API_URL: {url} does not answer as Prefect Cloud does; unset it") from None
    handles = sorted(by_handle)
    if not handles:
        raise InputError("PREFECT_API_KEY: its owner has no workspace; create one on app.prefect.cloud, then try again")
    wanted = os.environ.get("PREFECT_WORKSPACE", handles[0] if len(handles) == 1 else None)
    if wanted is None and sys.stdin.isatty():
        wanted = click.prompt("Workspace", type=click.Choice(handles), err=True)
    if wanted not in by_handle:
        problem = "names none that the key can see" if wanted else "the key can see several"
        raise InputError(f"PREFECT_WORKSPACE: {problem}; set it to one of {', '.join(handles)}")
    workspace = by_handle[wanted]
    return Connection(f"{url}/accounts/{workspace.account_id}/workspaces/{workspace.workspace_id}", key)


def _is_cloud(url: str) -> bool:
    return url.startswith(_cloud_url())


def _cloud_url() -> str:
    """Where Prefect Cloud is: the environment may say so, but no profile and no file of the current folder."""
    return os.environ.get("PREFECT_CLOUD_API_URL") or "https://api.prefect.cloud/api"


def _check_version(client: SyncPrefectClient, url: str) -> None:
    try:
        version = str(client.api_version())
    except (ValueError, httpx.HTTPStatusError) as error:
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (401, 403):
            raise
        mend = "its address ends in /api. For Prefect 1's API generate the project with prefect_version=1"
        raise InputError(f"PREFECT_API_URL: {url} does not answer as Prefect 3's API does; {mend}") from None
    if not version.startswith("3."):
        raise InputError(f"PREFECT_API_URL: {url} is Prefect {version}, and this project needs 3; upgrade that server")


def _stored(name: str = PROFILE) -> Connection:
    """The connection that a profile holds, by default the project's own; without a URL where it holds none."""
    try:
        profiles = load_profiles(include_defaults=False)
    except (ValueError, AttributeError, TypeError) as error:
        path = PREFECT_PROFILES_PATH.value()
        raise InputError(f"{path}: it cannot be read ({str(error).splitlines()[0]}); mend or remove it") from None
    held = profiles[name].to_environment_variables() if name in profiles else {}
    return Connection(*(held.get(setting.name, "") for setting in SETTINGS))


def _store(connection: Connection) -> None:
    """Keep the connection as the project's profile, in a file for its owner alone; the active profile stays."""
    path = Path(PREFECT_PROFILES_PATH.value()).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Prefect rewrites the whole file: two at once must not lose each other's profiles, nor a kill all of them.
    with path.with_suffix(".lock").open("w") as lock, tempfile.TemporaryDirectory(dir=path.parent) as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        profiles = load_profiles(include_defaults=False)
        held = {setting: value or None for setting, value in zip(SETTINGS, astuple(connection), strict=True)}
        profiles.update_profile(PROFILE, held)
        new = Path(folder, path.name)
        with temporary_settings({PREFECT_PROFILES_PATH: new}):
            save_profiles(profiles)
        new.replace(path)

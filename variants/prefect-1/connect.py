"""Log in to Prefect and make sure of the project."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError  # the built-in one, from Python 3.11 on
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import requests

from .download import _reason
from .errors import InputError
from .settings import Settings, load_settings

log = logging.getLogger(__name__)
T = TypeVar("T")
CLOSED = "the first version of Prefect Cloud is closed, and today's speaks Prefect 3 only"
HINTS = {
    "Prefect": {429: "it is called too often: try again in some minutes"},
    "Saturn": {
        401: "set SATURN_TOKEN to a valid token",
        403: "set SATURN_TOKEN to the token of a user who may register flows",
        404: "check BASE_URL (hosted Saturn Cloud has no place for Prefect 1 since May 2024)",
    },
}
WAY_ON = "set PREFECT__CLOUD__API to your own Prefect 1 server, or move to variant 3 (README.md says how)"


class KeyRefusedError(InputError):
    """Prefect does not accept the key, or not for this tenant."""


def connect() -> None:
    """Log in and make sure of the Prefect project; doing it again changes nothing.

    Raises:
        InputError: When there is no key, it is not accepted, or Prefect does not answer as it should.
    """
    settings = load_settings()
    make_project(log_in(settings), settings)


def log_in(settings: Settings) -> Any:  # noqa: ANN401  prefect.Client, which is imported late
    """Log in with the key in the environment, else as logged in before, else with a key asked for on a terminal.

    A key from the environment or a terminal is kept where Prefect's own commands find it, readable by its owner only.

    Returns:
        A `prefect.Client` with its tenant set.

    Raises:
        InputError: As `connect`.
    """
    # Only now: Prefect reads its configuration as it is imported, and `.env` may hold some of it.
    import prefect

    log_to_stderr()
    prefect.config.cloud.rate_limiting.max_retries = 0  # of minutes each
    api = prefect.config.cloud.api
    _check_api(api, settings.api_timeout)
    try:
        client = prefect.Client()
    except (OSError, ValueError) as error:  # of the TOML parser, and of the tenant's setter
        raise InputError(
            f"auth.toml in {prefect.config.home_dir}, or PREFECT__CLOUD__TENANT_ID, cannot be read "
            f"({one_line(error)}); delete the one or mend the other"
        ) from None
    if prefect.config.backend == "server":
        ask("Prefect", lambda: client.tenant_id, settings)
        log.info("connected to the Prefect server %s", api)
        return client

    key = settings.prefect_key or client.api_key or _ask_for_key(api)
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError("PREFECT_USER_TOKEN: it holds characters that no key has; copy the key again")
    new = key != client.api_key
    if new and prefect.config.cloud.get("api_key"):  # which Prefect's own functions would go on to use
        raise InputError("PREFECT__CLOUD__API_KEY: it is not the key in PREFECT_USER_TOKEN; unset one of the two")
    if new:
        client = prefect.Client(api_key=key)
        client.tenant_id = prefect.config.cloud.get("tenant_id")  # not that of the log-in before
    tenant = client._tenant_id  # the property would ask for one
    try:
        ask("Prefect", lambda: client.switch_tenant(tenant_id=tenant) if tenant else client.tenant_id, settings)
        slug = ask("Prefect", client.get_default_tenant_slug, settings)
    except KeyRefusedError:
        if tenant:
            client.tenant_id = None
            ask("Prefect", lambda: client.tenant_id, settings)  # raises where it is not the tenant's fault
            raise InputError(
                f"PREFECT__CLOUD__TENANT_ID: the key is not for tenant {tenant}; unset it, or set it to the key's"
            ) from None
        raise
    if new:
        _save(client)
    log.info("logged in to %s, tenant %s", api, slug)
    return client


def make_project(client: Any, settings: Settings) -> None:  # noqa: ANN401  prefect.Client
    """Create the Prefect project where there is none of its name.

    Raises:
        InputError: When Prefect refuses to.
    """
    from prefect.utilities.graphql import with_args

    name = settings.prefect_project
    query = {"query": {with_args("project", {"where": {"name": {"_eq": name}}}): {"id"}}}
    try:
        if ask("Prefect", lambda: client.graphql(query).data.project, settings):
            log.info("project %s is there already", name)
            return
        ask("Prefect", lambda: client.create_project(project_name=name), settings)
    except IndexError:  # taken, says the creation; not there, says the query that follows
        raise InputError(
            f"PREFECT_CLOUD_PROJECT_NAME: Prefect has deleted a project {name!r} and still holds its name; set another"
        ) from None
    log.info("project %s: created", name)


def ask(whom: str, call: Callable[[], T], settings: Settings) -> T:
    """Call an API, and give up after `API_TIMEOUT`: the clients' own retries take many minutes.

    Args:
        whom: Prefect or Saturn, for the message.
        call: What to call; it runs in a thread, which ends with the process.
        settings: Whose `api_timeout` is the limit.

    Raises:
        InputError: When it takes longer, or whom it calls cannot be reached; all else that it raises comes through.
    """
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    with explained(whom):
        try:
            return answer.result(settings.api_timeout)
        except FutureTimeoutError:
            raise InputError(
                f"{whom}: no answer within {settings.api_timeout:g} s; try again later, or raise API_TIMEOUT"
            ) from None


@contextlib.contextmanager
def explained(whom: str) -> Iterator[None]:
    """Turn what goes wrong on the way to an API, and what the API refuses, into an InputError."""
    from prefect.exceptions import AuthorizationError, ClientError

    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code
        hint = HINTS[whom].get(status, "try again later")
        raise InputError(f"{whom}: the API answered {status}; {hint}") from None
    except requests.exceptions.JSONDecodeError:
        raise InputError(f"{whom}: the API answered something else than JSON; check its address") from None
    except requests.RequestException as error:
        raise InputError(f"{whom}: the API cannot be reached ({one_line(error)}); try again later") from None
    except AuthorizationError as error:
        raise KeyRefusedError(
            f"PREFECT_USER_TOKEN: the API does not accept the key ({one_line(error)}); set it to a valid one"
        ) from None
    except ClientError as error:
        raise InputError(f"{whom}: the API refused: {one_line(error)}") from None
    except InputError:
        raise
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:  # of reading an answer
        raise InputError(f"{whom}: the API's answer makes no sense ({one_line(error)}); check its address") from None


def log_to_stderr() -> None:
    """Let Prefect's log go where the project's goes, and not to stdout, which is the results'."""
    import prefect  # which sets up its loggers

    for name in (prefect.context.logger.name, "client.diagnostics"):
        logger = logging.getLogger(name)
        logger.handlers = [handler for handler in logger.handlers if type(handler) is not logging.StreamHandler]


def _check_api(api: str, seconds: float) -> None:
    """Say at once what is wrong with an API that cannot be right, or cannot be reached."""
    host = urlsplit(api).hostname or ""
    if host.endswith((".prefect.io", ".prefect.cloud")):
        raise InputError(f"PREFECT__CLOUD__API: {host}: {CLOSED}; {WAY_ON}")
    try:
        response = requests.post(api, json={"query": "query { hello }", "variables": "null"}, timeout=min(seconds, 15))
    except requests.Timeout:
        raise InputError(f"PREFECT__CLOUD__API: {api} does not answer; try again later, or check the address") from None
    except (requests.RequestException, ValueError) as error:
        raise InputError(f"PREFECT__CLOUD__API: {api} cannot be reached ({one_line(error)}); check it") from None
    if response.status_code == 429:
        raise InputError(f"PREFECT__CLOUD__API: {api} is called too often (429); try again in some minutes")
    if response.status_code >= 500:
        raise InputError(f"PREFECT__CLOUD__API: {api} answered {response.status_code}; try again later")
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not {"data", "errors"} & answer.keys():
        raise InputError(
            f"PREFECT__CLOUD__API: {api} answered {response.status_code} and does not speak Prefect 1's GraphQL, "
            f"as Prefect 2 and 3 do not; {WAY_ON}"
        )


def _ask_for_key(api: str) -> str:
    if not sys.stdin.isatty():
        raise InputError("PREFECT_USER_TOKEN: not set, and nobody has logged in before; set it to an API key")
    key: str = click.prompt(f"API key for {api}", hide_input=True, err=True)
    return key.strip()


def _save(client: Any) -> None:  # noqa: ANN401  prefect.Client
    """Save the log-in as Prefect does, but whole or not at all, and never readable by others."""
    place = client._auth_file
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:  # 0700
            client._auth_file = Path(folder) / place.name
            client._auth_file.touch(mode=0o600)
            if place.exists():
                shutil.copyfile(place, client._auth_file)
            client.save_auth_to_disk()
            client._auth_file.replace(place)
    except OSError as error:
        raise InputError(f"the log-in cannot be kept in {place}: {error.strerror}; make it writable") from None
    client._auth_file = place


def one_line(error: BaseException) -> str:
    """What an error says happened, without what is around it: GraphQL's message, or the innermost cause."""
    if isinstance(error, requests.RequestException):
        return _reason(error)
    if error.args and isinstance(error.args[0], list):  # GraphQL's errors
        return "; ".join(str(item.get("message", item)) for item in error.args[0])
    return " ".join(str(error).split())[:300]

"""Saturn Cloud: a Prefect worker as a deployment there, from the recipe in saturn.yaml."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import yaml

from .connect import NOT_CONNECTED, Connection, time_limit
from .errors import InputError, UnavailableError, without_secrets
from .settings import Settings, project_folder

if TYPE_CHECKING:
    from saturn_client import SaturnConnection

SECONDS_TO_ANSWER = 60
RECIPE = "saturn.yaml"
log = logging.getLogger(__name__)


def is_configured() -> bool:
    """Whether Saturn's variables are set: SATURN_BASE_URL, or BASE_URL as it was once called, and SATURN_TOKEN.

    Raises:
        InputError: When only some are, naming all that are missing.
    """
    values = {"SATURN_BASE_URL": _base_url(), "SATURN_TOKEN": os.environ.get("SATURN_TOKEN")}
    missing = [name for name, value in values.items() if not value]
    if missing and len(missing) < len(values):
        raise InputError(f"{', '.join(missing)}: not set; set all of {', '.join(values)} for Saturn Cloud, or none")
    return not missing


def make_recipe(settings: Settings, connection: Connection, clone: dict[str, str], folder: str) -> dict[str, Any]:
    """Complete saturn.yaml with what is known here.

    Args:
        settings: For the Prefect project, the worker's work pool.
        connection: The API that the worker asks for runs. Its key is not in the recipe: a Saturn secret holds it.
        clone: `repository` and `branch` of the git remote; empty where there is none.
        folder: The project's folder in it: empty, or with a slash at its end.

    Returns:
        The recipe.

    Raises:
        InputError: When saturn.yaml is no recipe, or there is no connection, or no git remote.
    """
    if not clone:
        raise InputError("git: Saturn Cloud cannot see this folder; add a git remote named origin, and push to it")
    if not connection.url:
        raise InputError(NOT_CONNECTED)
    if without_secrets(connection.url) != connection.url:
        raise InputError("PREFECT_API_URL: it holds a password, and a recipe must not; use PREFECT_API_AUTH_STRING")
    with _open_recipe() as recipe:
        spec = recipe["spec"]
        repository = spec.setdefault("git_repositories", [{}])[0]
        repository |= {"url": clone["repository"], "reference": clone["branch"], "reference_type": "branch"}
        spec["start_script"] = spec["start_script"].replace("/project/requirements", f"/project/{folder}requirements")
        spec["command"] += f" --pool={shlex.quote(settings.prefect_project)}"
        spec.setdefault("environment_variables", {})["PREFECT_API_URL"] = connection.url
        if not connection.key:
            spec["secrets"] = [each for each in spec.get("secrets", []) if each["location"] != "PREFECT_API_KEY"]
    if urlsplit(connection.url).hostname in ("127.0.0.1", "localhost", "::1"):
        log.warning("PREFECT_API_URL: Saturn Cloud cannot reach %s, which is this machine", connection.url)
    return recipe


def apply_recipe(recipe: dict[str, Any], *, start: bool) -> None:
    """Create or update the deployment; a second time changes nothing.

    Args:
        recipe: Of `make_recipe`.
        start: Start it, or restart it where it runs as it was before.

    Raises:
        InputError: When Saturn cannot be reached, or refuses it.
    """
    spec = recipe["spec"]
    with _open_client(spec["name"]) as (client, found):
        sizes = [size["name"] for size in client.list_options("sizes")]
        if spec.get("instance_type") not in sizes:
            raise InputError(f"{RECIPE}: instance_type {spec.get('instance_type')} is none of {', '.join(sizes)}")
        changed = found is None or any(found["spec"].get(name) != value for name, value in spec.items())
        done = "created" if found is None else "updated" if changed else "is there already"
        if found is None or changed:
            found = client.apply(recipe)
        state = found["state"]
        runs = state["status"] in ("pending", "running")
        if start and (changed or not runs):
            (client.restart if runs else client.start)("deployment", state["id"])
            done += ", restarted" if runs else ", started"
        elif not runs:
            done += ", not running: `register --start` starts it"
        log.info("Saturn deployment %s: %s: %s", spec["name"], done, state.get("url") or without_secrets(_base_url()))


def delete_deployment() -> None:
    """Delete the deployment, where there is one."""
    with _open_recipe() as recipe:
        name = str(recipe["spec"]["name"])
    with _open_client(name) as (client, found):
        if found:
            client.delete("deployment", found["state"]["id"])
        log.info("Saturn deployment %s: %s", name, "deleted" if found else "there is none")


@contextmanager
def _open_recipe() -> Iterator[dict[str, Any]]:
    """What saturn.yaml holds; what the block does not find in it becomes one line."""
    path = project_folder() / RECIPE
    try:
        recipe: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        recipe["spec"]["name"] = recipe["spec"]["name"].replace("_", "-")  # Saturn's names have none
        yield recipe
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, IndexError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path}: no recipe of a deployment ({reason}); see its first lines") from None


def _base_url() -> str:
    return (os.environ.get("SATURN_BASE_URL") or os.environ.get("BASE_URL") or "").rstrip("/")


@contextmanager
def _open_client(name: str) -> Iterator[tuple[SaturnConnection, dict[str, Any] | None]]:
    """A client, and the deployment of that name, where there is one; failures become one line."""
    from saturn_client.core import SaturnConnection, SaturnHTTPError  # here, as its import changes the logging

    url = without_secrets(_base_url())
    limit = time_limit(SECONDS_TO_ANSWER, f"SATURN_BASE_URL: {url}")
    try:
        with limit, SaturnConnection(_base_url(), os.environ["SATURN_TOKEN"]) as client:
            try:
                found = client.get_resource("deployment", name)
            except SaturnHTTPError as error:
                if error.status_code != 404:
                    raise
                found = None
            yield client, found
    except SaturnHTTPError as error:
        if error.status_code in (401, 403):
            raise InputError(f"SATURN_TOKEN: {url} refuses it ({error.status_code}); set a valid one") from None
        message = " ".join(str(error).split())
        raise InputError(f"{RECIPE}: {url} answered {error.status_code}: {message}; mend the recipe") from None
    except (requests.ConnectionError, requests.Timeout):
        raise UnavailableError(f"SATURN_BASE_URL: cannot reach {url}; is the address right?") from None
    except InputError:
        raise
    except (requests.RequestException, ValueError, KeyError) as error:
        raise InputError(f"SATURN_BASE_URL: {url} is no Saturn Cloud ({' '.join(str(error).split())})") from None

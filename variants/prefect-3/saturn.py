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

from .connect import Connection, TimeIsUpError, time_limit
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
        clone: `repository` and `branch` of the git remote.
        folder: The project's folder in it: empty, or with a slash at its end.

    Returns:
        The recipe.

    Raises:
        InputError: When saturn.yaml is no recipe.
    """
    if connection.shown != connection.url:
        raise InputError(
            "PREFECT_API_URL: it holds a password, and a recipe must not; set PREFECT_API_AUTH_STRING instead"
        )
    recipe = _read_recipe()
    try:
        spec = recipe["spec"]
        repository = spec.setdefault("git_repositories", [{}])[0]
        repository |= {"url": clone["repository"], "reference": clone["branch"], "reference_type": "branch"}
        spec["start_script"] = spec["start_script"].replace("/project/requirements", f"/project/{folder}requirements")
        spec["command"] += f" --pool={shlex.quote(settings.prefect_project)}"
        spec.setdefault("environment_variables", {})["PREFECT_API_URL"] = connection.url
        if not connection.key:
            secrets = [secret for secret in spec.get("secrets", []) if secret["location"] != "PREFECT_API_KEY"]
            spec["secrets"] = secrets
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"{RECIPE}: no recipe of a deployment ({error!r}); see its first lines") from None
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
    with _open_client() as client:
        sizes = [size["name"] for size in client.list_options("sizes")]
        if spec.get("instance_type") not in sizes:
            raise InputError(f"{RECIPE}: instance_type {spec.get('instance_type')} is none of {', '.join(sizes)}")
        found = _find(client, spec["name"])
        changed = found is None or any(found["spec"].get(name) != value for name, value in spec.items())
        if found is None or changed:
            done = "updated" if found else "created"
            found = client.apply(recipe)
        else:
            done = "is there already"
        state = found["state"]
        runs = state["status"] in ("pending", "running")
        if start and runs and changed:
            client.restart("deployment", state["id"])
            done += ", restarted"
        elif start and not runs:
            client.start("deployment", state["id"])
            done += ", started"
        elif not runs:
            done += ", not running: `register --start` starts it"
        log.info("Saturn deployment %s: %s: %s", spec["name"], done, state.get("url") or without_secrets(_base_url()))


def delete_deployment() -> None:
    """Delete the deployment, where there is one."""
    name = _read_recipe()["spec"]["name"]
    with _open_client() as client:
        found = _find(client, name)
        if found:
            client.delete("deployment", found["state"]["id"])
        log.info("Saturn deployment %s: %s", name, "deleted" if found else "there is none")


def _read_recipe() -> dict[str, Any]:
    path = project_folder() / RECIPE
    try:
        recipe: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        recipe["spec"]["name"] += ""
        return recipe
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: no recipe of a deployment ({reason}); see its first lines") from None


def _base_url() -> str:
    return (os.environ.get("SATURN_BASE_URL") or os.environ.get("BASE_URL") or "").rstrip("/")


def _find(client: SaturnConnection, name: str) -> dict[str, Any] | None:
    from saturn_client.core import SaturnHTTPError

    try:
        found: dict[str, Any] = client.get_resource("deployment", name)
        return found
    except SaturnHTTPError as error:
        if error.status_code == 404:
            return None
        raise


@contextmanager
def _open_client() -> Iterator[SaturnConnection]:
    from saturn_client.core import SaturnConnection, SaturnHTTPError  # here, as its import changes the logging

    url = without_secrets(_base_url())
    try:
        with time_limit(SECONDS_TO_ANSWER), SaturnConnection(_base_url(), os.environ["SATURN_TOKEN"]) as client:
            yield client
    except SaturnHTTPError as error:
        if error.status_code in (401, 403):
            raise InputError(f"SATURN_TOKEN: {url} refuses it ({error.status_code}); set a valid one") from None
        message = " ".join(str(error).split())
        raise InputError(f"{RECIPE}: {url} answered {error.status_code}: {message}; mend the recipe") from None
    except (requests.ConnectionError, requests.Timeout):
        raise UnavailableError(f"SATURN_BASE_URL: cannot reach {url}; is the address right?") from None
    except TimeIsUpError:
        raise UnavailableError(f"SATURN_BASE_URL: {url} did not answer within {SECONDS_TO_ANSWER} s") from None
    except ValueError as error:
        raise InputError(f"SATURN_BASE_URL: {url} is no Saturn Cloud ({' '.join(str(error).split())})") from None

"""Every environment variable that the project reads, in one place."""

from __future__ import annotations

import dataclasses
import functools
import getpass
import io
import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import platformdirs
from dotenv import dotenv_values
from dotenv.parser import parse_stream

from .errors import InputError, redact_url

SLUG = << cookiecutter.project_slug | quoted >>
P = ParamSpec("P")
R = TypeVar("R")
# By thread, variables of the run that it works for: a cluster's worker may work for several.
CARRIED: dict[int, Mapping[str, str]] = {}
SINGLE_MACHINE, DASK_CLUSTER, DASK_TASK = "single-machine", "dask-cluster", "dask-task"
EXECUTIONS = (SINGLE_MACHINE, DASK_CLUSTER, DASK_TASK)
PREFECT_PROJECT = << cookiecutter.prefect_project | quoted >>
<% if cookiecutter.prefect_version == "1" %>
SCHEDULE_HOURS = << cookiecutter.schedule_hours | int >>  # 0: no schedule
# The parameters of scheduled runs. To evaluate what is new: {"closed-last": "24h"}; not set here
# because the public log, the default data, ended in 2017.
SCHEDULE_PARAMETERS: dict[str, object] = {}
<% endif %>


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the environment, or the file `.env` in the project's folder, says.

    Attributes:
        data: What to read unless a command says otherwise (`DATA_URL`); None is data.py's default.
        trials: Where trials are kept (`TRIALS_URL`): a folder, an fsspec URL, or `none`.
        cache: Folder for downloads and parsed data (`CACHE_DIR`).
        download_timeout: Seconds that a download may stall (`DOWNLOAD_TIMEOUT`).
        download_max_seconds: Seconds that it may take in all (`DOWNLOAD_MAX_SECONDS`).
        data_max_bytes: How large the data may be, packed and unpacked (`DATA_MAX_MB`).
        prefect_project: The Prefect project (`PREFECT_CLOUD_PROJECT_NAME`); default: the one that
            was chosen when this project was generated.
        execution: How a run of the flow executes its steps (`EXECUTION`): one of EXECUTIONS.
        dask_address: The scheduler of a Dask cluster that exists (`DASK_ADDRESS`); None: a cluster
            is created for the run, on Saturn Cloud if that is configured, else on this machine.
        dask_workers: How many workers it gets (`DASK_WORKERS`); None: as many as it has by default.
        dask_worker_size: The size of a worker on Saturn Cloud (`DASK_WORKER_SIZE`).
        username: Prefix of the flow's name (`SATURN_USERNAME`); default: the local user's name.
<% if cookiecutter.prefect_version == "3" %>
        git_block: Block in Prefect, as type/name, with which a run clones a private git remote
            (`GIT_BLOCK`).
        alert_block: Block in Prefect, as type/name, that tells of runs that fail (`ALERT_BLOCK`).
<% else %>
        prefect_key: Prefect's API key (`PREFECT_USER_TOKEN`).
        api_timeout: Seconds that Prefect or Saturn may take for one step (`API_TIMEOUT`).
<% endif %>
    """

    data: str | None
    trials: str
    cache: Path
    download_timeout: float
    download_max_seconds: float
    data_max_bytes: int
    prefect_project: str
    execution: str
    dask_address: str | None
    dask_workers: int | None
    dask_worker_size: str | None
    username: str
<% if cookiecutter.prefect_version == "3" %>
    git_block: str | None
    alert_block: str | None
<% else %>
    prefect_key: str | None = dataclasses.field(repr=False)
    api_timeout: float
<% endif %>

    @property
    def flow_name(self) -> str:
        """The flow's name, in Prefect and in trials."""
        return f"{self.username}-{SLUG}"


def project_folder() -> Path:
    """The checkout that this package runs from; for an installed package, the current folder."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "pyproject.toml").is_file() else Path.cwd()


def read_env_file() -> dict[str, str | None]:
    """Add the variables in `.env` to the environment, except those that are set already.

    Returns:
        What the file holds.

    Raises:
        InputError: The file cannot be read.
    """
    path = project_folder() / ".env"
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: it cannot be read ({error}); fix or remove it") from None
    if wrong := [each.original.line for each in parse_stream(io.StringIO(text)) if each.error]:
        raise InputError(f"{path}: line {wrong[0]} is not of the form NAME=VALUE; fix or remove it")
    values = dotenv_values(stream=io.StringIO(text))
    for name, value in values.items():
        if value is not None:
            os.environ.setdefault(name, value)
    return values


def load_settings(trials: str | None = None) -> Settings:
    """Read the settings; the environment wins over `.env`.

    Args:
        trials: Set TRIALS_URL, for this process; a folder is relative to the current one.

    Raises:
        InputError: A variable's value is not valid.
    """
    read_env_file()
    if trials:
        os.environ["TRIALS_URL"] = _place(trials, Path.cwd())
    trials = _place(_read("TRIALS_URL") or "trials", project_folder())
    cache = _read("CACHE_DIR") or platformdirs.user_cache_dir(SLUG)
    return Settings(
        data=_read("DATA_URL"),
        trials=trials,
        cache=_folder("CACHE_DIR", cache),
        download_timeout=_number("DOWNLOAD_TIMEOUT", "seconds", default=60.0),
        download_max_seconds=_number("DOWNLOAD_MAX_SECONDS", "seconds", default=1800.0),
        data_max_bytes=int(_number("DATA_MAX_MB", "megabytes", default=1000.0) * 1e6),
        prefect_project=_name("PREFECT_CLOUD_PROJECT_NAME") or PREFECT_PROJECT,
        execution=_choice("EXECUTION", EXECUTIONS),
        dask_address=_read("DASK_ADDRESS"),
        dask_workers=_count("DASK_WORKERS", 1000),
        dask_worker_size=_read("DASK_WORKER_SIZE"),
        username=_name("SATURN_USERNAME") or _local_user(),
<% if cookiecutter.prefect_version == "3" %>
        git_block=_read("GIT_BLOCK"),
        alert_block=_read("ALERT_BLOCK"),
<% else %>
        prefect_key=_read("PREFECT_USER_TOKEN"),
        api_timeout=_number("API_TIMEOUT", "seconds", default=60.0),
<% endif %>
    )


def carry(function: Callable[P, R], variables: Mapping[str, str] | None = None) -> Callable[P, R]:
    """Make a function for which variables have these values, in whichever thread it is called.

    Args:
        function: The function.
        variables: What they hold; None: those that this thread was given in the same way.
    """
    carried = CARRIED.get(threading.get_ident(), {}) if variables is None else variables

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        thread = threading.get_ident()
        before = CARRIED.get(thread, {})
        CARRIED[thread] = carried
        try:
            return function(*args, **kwargs)
        finally:
            CARRIED[thread] = before

    return run


def set_execution(
    execution: str | None, workers: int | None = None, worker_size: str | None = None
) -> dict[str, str]:
    """Set EXECUTION, DASK_WORKERS and DASK_WORKER_SIZE for this process, as far as given.

    Returns:
        What was set.
    """
    asked = {"EXECUTION": execution, "DASK_WORKERS": workers, "DASK_WORKER_SIZE": worker_size}
    given = {name: str(value) for name, value in asked.items() if value is not None}
    os.environ.update(given)
    return given


def describe_execution(settings: Settings) -> dict[str, str]:
    """The variables that say how a run executes its steps, as far as they matter."""
    found = {"EXECUTION": settings.execution}
    if settings.execution != SINGLE_MACHINE:
        found["DASK_ADDRESS"] = settings.dask_address or ""
        found["DASK_WORKERS"] = str(settings.dask_workers or "")
        found["DASK_WORKER_SIZE"] = settings.dask_worker_size or ""
    return {name: value for name, value in found.items() if value}


<% if cookiecutter.prefect_version == "1" %>
def saturn_url() -> str | None:
    """Where Saturn is (`BASE_URL`); None if it is not configured.

    Its token (`SATURN_TOKEN`) stays in the environment.

    Raises:
        InputError: One of the two variables is set and the other is not.
    """
    missing = [name for name in ("BASE_URL", "SATURN_TOKEN") if not os.environ.get(name)]
    if len(missing) == 1:
        raise InputError(
            f"{missing[0]}: not set; Saturn needs BASE_URL and SATURN_TOKEN, Prefect alone neither"
        )
    if missing:
        return None
    # prefect-saturn reads it from the environment, and needs it without a slash at its end.
    os.environ["BASE_URL"] = os.environ["BASE_URL"].rstrip("/")
    return os.environ["BASE_URL"]


<% endif %>
def _read(variable: str) -> str | None:
    """What a variable holds; None if that is nothing."""
    return CARRIED.get(threading.get_ident(), {}).get(variable) or os.environ.get(variable) or None


def _name(variable: str) -> str | None:
    """The name that a variable holds, if it is set and Prefect accepts it."""
    name = _read(variable)
    if name and (set(name) & set("/%&<>\n") or name.lower().startswith(("prefect", "-"))):
        problem = "Prefect does not accept / % & < > in a name, nor - or prefect at its start"
        raise InputError(f"{variable}: {name!r} is not a valid name: {problem}; set another")
    return name or None


def _place(text: str, base: Path) -> str:
    """Where trials are kept: a folder, relative to `base`, a URL, or `none`."""
    text = text.strip() or "trials"
    scheme, is_url, rest = text.partition("://")
    if not is_url and scheme.lower() == "none":
        return "none"
    if re.match(r"[A-Za-z][\w+.-]+:/", text) and not is_url:
        fix = "write it with two slashes after the colon, or ./ before a folder's name"
    elif is_url and scheme.rpartition("::")[2] == "memory":
        fix = "what it holds is lost when the process ends; set a folder or another URL"
    elif is_url and scheme == "file" and not rest.startswith("/"):
        fix = "set the folder alone, or write file:// before its absolute path"
    else:
        return text if is_url else str(base / _folder("TRIALS_URL", text))
    raise InputError(f"TRIALS_URL: {redact_url(text)} cannot be used: {fix}")


def _folder(variable: str, text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"{variable}: {text}: {error}; set it to an existing folder") from None


def _number(variable: str, unit: str, default: float) -> float:
    text = _read(variable) or str(default)
    with suppress(ValueError):
        if 0 < float(text) < 86400:
            return float(text)
    problem = f"{text!r} is not a number of {unit} between 0 and 86400"
    raise InputError(f"{variable}: {problem}; set it to {default:g}, or unset it")


def _count(variable: str, most: int) -> int | None:
    text = _read(variable) or ""
    if not text or (re.fullmatch("[0-9]{1,9}", text, re.ASCII) and 0 < int(text) <= most):
        return int(text) if text else None
    raise InputError(f"{variable}: {text!r} is not a whole number from 1 to {most}; set one")


def _choice(variable: str, choices: tuple[str, ...]) -> str:
    """The choice that a variable holds; the first one if it is not set."""
    text = _read(variable) or choices[0]
    if text not in choices:
        raise InputError(f"{variable}: {text!r} is none of {', '.join(choices)}; set one of them")
    return text


def _local_user() -> str:
    with suppress(KeyError, OSError):  # in a container, the user may have no name
        return getpass.getuser()
    return "user"

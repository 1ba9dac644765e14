"""Every environment variable that the project reads, in one place."""

from __future__ import annotations

import dataclasses
import getpass
import io
import os
from contextlib import suppress
from pathlib import Path

import platformdirs
from dotenv import dotenv_values
from dotenv.parser import parse_stream

from .errors import InputError

SLUG = << cookiecutter.project_slug | quoted >>
PREFECT_PROJECT = << cookiecutter.prefect_project | quoted >>
SCHEDULE_HOURS = << cookiecutter.schedule_hours | int >>  # 0: no schedule


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the environment, or the file `.env` in the project's folder, says.

    Attributes:
        data: What to evaluate on where nothing else is said (`DATA_URL`); None is what data.py takes by default.
        trials: Where trials are kept (`TRIALS_URL`): a folder, an fsspec URL, or `none`.
        cache: Folder for downloads and parsed data (`CACHE_DIR`).
        download_timeout: Seconds that a download may stall (`DOWNLOAD_TIMEOUT`).
        prefect_project: The Prefect project (`PREFECT_CLOUD_PROJECT_NAME`, else the one chosen at generation).
        username: Whose flow it is (`SATURN_USERNAME`, else the local user's name).
<% if cookiecutter.prefect_version == "3" %>
        git_block: Block in Prefect that lets a run clone a private remote, as type/name (`GIT_BLOCK`).
<% else %>
        prefect_key: Prefect's API key (`PREFECT_USER_TOKEN`).
        api_timeout: Seconds that Prefect or Saturn may take over one step (`API_TIMEOUT`).
<% endif %>
    """

    data: str | None
    trials: str
    cache: Path
    download_timeout: float
    prefect_project: str
    username: str
<% if cookiecutter.prefect_version == "3" %>
    git_block: str | None
<% else %>
    prefect_key: str | None = dataclasses.field(repr=False)
    api_timeout: float
<% endif %>

    @property
    def flow_name(self) -> str:
        """The flow's name in Prefect, and in the trials."""
        return f"{self.username}-{SLUG}"


def project_folder() -> Path:
    """The checkout that this package runs from; where it runs from site-packages, the current folder."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "pyproject.toml").is_file() else Path.cwd()


def read_env_file() -> dict[str, str | None]:
    """Put into the environment what `.env` says and that does not.

    Returns:
        What the file says.

    Raises:
        InputError: When the file cannot be read.
    """
    path = project_folder() / ".env"
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: it cannot be read ({error}); mend or remove it") from None
    if wrong := [each.original.line for each in parse_stream(io.StringIO(text)) if each.error]:
        raise InputError(f"{path}: line {wrong[0]} is not of the form NAME=VALUE; mend or remove it")
    values = dotenv_values(stream=io.StringIO(text))
    os.environ.update({name: value for name, value in values.items() if value is not None and name not in os.environ})
    return values


def load_settings() -> Settings:
    """Read the settings; the environment wins over `.env`.

    Raises:
        InputError: When a variable's value will not do.
    """
    read_env_file()
    trials = os.environ.get("TRIALS_URL") or "trials"
    if "://" not in trials and trials != "none":
        trials = str(project_folder() / _folder("TRIALS_URL", trials))
    return Settings(
        data=os.environ.get("DATA_URL") or None,
        trials=trials,
        cache=_folder("CACHE_DIR", os.environ.get("CACHE_DIR") or platformdirs.user_cache_dir(SLUG)),
        download_timeout=_seconds("DOWNLOAD_TIMEOUT", default=60.0),
        prefect_project=_name("PREFECT_CLOUD_PROJECT_NAME") or PREFECT_PROJECT,
        username=_name("SATURN_USERNAME") or _local_user(),
<% if cookiecutter.prefect_version == "3" %>
        git_block=os.environ.get("GIT_BLOCK") or None,
<% else %>
        prefect_key=os.environ.get("PREFECT_USER_TOKEN") or None,
        api_timeout=_seconds("API_TIMEOUT", default=60.0),
<% endif %>
    )


<% if cookiecutter.prefect_version == "1" %>
def saturn_url() -> str | None:
    """Where Saturn is (`BASE_URL`), where it is configured; its token (`SATURN_TOKEN`) stays in the environment.

    Raises:
        InputError: When one of the two variables is set and not the other.
    """
    missing = [name for name in ("BASE_URL", "SATURN_TOKEN") if not os.environ.get(name)]
    if len(missing) == 1:
        raise InputError(f"{missing[0]}: not set; Saturn needs BASE_URL and SATURN_TOKEN, Prefect alone neither")
    if missing:
        return None
    os.environ["BASE_URL"] = os.environ["BASE_URL"].rstrip("/")  # prefect-saturn takes it from there, and so only
    return os.environ["BASE_URL"]


<% endif %>
def _name(variable: str) -> str | None:
    """The name in a variable, where it is set; Prefect's names lack some characters, and `prefect` at their start."""
    name = os.environ.get(variable)
    if name and (set(name) & set("/%&<>\n") or name.lower().startswith("prefect") or name.startswith("-")):
        raise InputError(f"{variable}: {name!r} will not do for Prefect; none of / % & < >, nor - or prefect in front")
    return name or None


def _folder(variable: str, text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"{variable}: {text}: {error}; give a folder that is there") from None


def _seconds(variable: str, default: float) -> float:
    text = os.environ.get(variable) or str(default)
    with suppress(ValueError):
        if 0 < float(text) < 86400:
            return float(text)
    raise InputError(f"{variable}: {text!r} is not a number of seconds; set it to {default:g}, or unset it")


def _local_user() -> str:
    with suppress(KeyError, OSError):  # a container whose user has no name
        return getpass.getuser()
    return "user"

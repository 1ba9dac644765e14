"""Keeping trials, one file each, and reading them back."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import InputError, redact_url
from .files import atomic_write

NONE = "none"
log = logging.getLogger(__name__)


def check_place(trials: str) -> None:
    """Look whether trials can be kept in such a place, before any work is done; nothing is written.

    Raises:
        InputError: When what it takes is not installed, or a file is where the folder should be.
    """
    folder = _folder(trials)
    if folder is None:
        _filesystem(trials)
    elif trials != NONE and folder.exists() and not folder.is_dir():
        raise InputError(f"TRIALS_URL: {trials} is a file; set it to a folder or a URL")


def write_trial_summary(trial_summary: dict[str, Any], trials: str) -> str | None:
    """Keep a trial: whole or not at all, and never over another.

    Args:
        trial_summary: Of `get_trial_summary`.
        trials: A folder, an fsspec URL (say `s3://bucket/trials`), or `none`, which keeps nothing.

    Returns:
        Where it is kept, without secrets; None for `none`.

    Raises:
        InputError: When it cannot be kept.
    """
    if trials == NONE:
        return None
    name = _file_name(trial_summary)
    content = (json.dumps(trial_summary, indent=2, allow_nan=False) + "\n").encode()
    shown = f"{_shown(trials)}/{name}"
    folder = _folder(trials)
    with _explained("written", trials):
        try:
            if folder is None:
                filesystem, place = _filesystem(trials), f"{trials.rstrip('/')}/{name}"
                # `create` alone decides between two at once; not every store knows it, so what is there is asked first.
                if filesystem.exists(place):
                    raise FileExistsError(place)
                filesystem.pipe_file(place, content, mode="create")
            else:
                atomic_write(folder / name, content, replace=False)
        except FileExistsError:
            log.info("%s is there already, and stays as it is", shown)
    return shown


def read_trials(trials: str, last: int | None = None) -> list[dict[str, Any]]:
    """Read trials back, oldest first: by the end of their window, else by creation.

    Args:
        trials: As in `write_trial_summary`.
        last: How many of the latest, and no more are read; None is all.

    Returns:
        The trials. A file that is none is named in the log, and left out.

    Raises:
        InputError: When the place cannot be read.
    """
    if trials == NONE:
        raise InputError("TRIALS_URL: it is `none`, so no trials are kept; set it to a folder or a URL")
    with _explained("read", trials):
        names, read = _list_files(trials)
    names = sorted((name for name in names if re.search(r"Z-[-\w]+\.json$", name)), reverse=True)
    found: list[dict[str, Any]] = []
    while names and (last is None or len(found) < last):
        wanted = len(names) if last is None else last - len(found)
        contents = read(names[:wanted])
        for name in names[:wanted]:
            try:
                found.append(_parse(contents[name]))
            except Exception as error:  # among them what a store raises, which is its own
                log.warning("%s cannot be read as a trial (%s): left out", name, _reason(error))
        names = names[wanted:]
    return found[::-1]


@contextmanager
def _explained(done: str, trials: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # what a store raises is its own
        problem = f"{_shown(trials)} cannot be {done}: {_reason(error)}"
        raise InputError(f"TRIALS_URL: {problem}; mend that, or set another place") from error


def _list_files(trials: str) -> tuple[list[str], Callable[[list[str]], Mapping[str, bytes | Exception | Path]]]:
    """The names of the files in a place, and what reads some of them; none where there is no such place yet."""
    folder = _folder(trials)
    if folder is not None:
        files = [str(path) for path in folder.iterdir()] if folder.exists() else []
        return files, lambda wanted: {name: Path(name) for name in wanted}
    filesystem = _filesystem(trials)
    filesystem.invalidate_cache()  # other processes write there, too
    names: list[str] = []
    with suppress(FileNotFoundError):
        names = filesystem.ls(trials, detail=False)
    return names, lambda wanted: filesystem.cat(wanted, on_error="return")  # many at once


def _parse(content: bytes | Exception | Path) -> dict[str, Any]:
    if isinstance(content, Exception):
        raise content
    if isinstance(content, Path):
        content = content.read_bytes()
    trial: dict[str, Any] = json.loads(content)
    numbers = [0 if value is None else value for value in trial["data"]["metrics"].values()]
    texts = [value or "" for value in (trial["window"] or {}).values()]
    kinds: dict[Any, list[Any]] = {
        int: [trial["data"]["num_obs"]],
        (int, float): numbers,
        str: [trial["id"], trial["created_at"], *texts],
    }
    if not all(isinstance(value, kind) for kind, values in kinds.items() for value in values):
        raise ValueError("its values are not of a trial's types")
    if not all(math.isfinite(number) for number in numbers):  # OverflowError for what no float can hold
        raise ValueError("a metric is not finite")
    json.dumps(trial, ensure_ascii=False, allow_nan=False).encode()  # what could not be shown, NaN among it
    return trial


def _file_name(trial: dict[str, Any]) -> str:
    """A name that sorts by time: the end of the window, else the creation."""
    time = (trial["window"] or {}).get("to") or trial["created_at"]
    digits = re.sub(r"[^0-9]", "", time).ljust(20, "0")
    return f"{digits[:8]}T{digits[8:20]}Z-{trial['id']}.json"


def _folder(trials: str) -> Path | None:
    """The folder, where it is one and not a store."""
    path = trials.removeprefix("file://")
    return None if "://" in path else Path(path)


def _shown(trials: str) -> str:
    return str(_folder(trials) or redact_url(trials).rstrip("/"))


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split()) or repr(error)


def _filesystem(url: str) -> Any:  # noqa: ANN401  fsspec has no types
    import fsspec  # only where it is used: it costs start-up time

    try:
        return fsspec.core.url_to_fs(url)[0]
    except (ImportError, ValueError) as error:
        mend = "install the package that it takes into this project's environment, or set another place"
        raise InputError(f"TRIALS_URL: {_shown(url)} cannot be used ({_reason(error)}): {mend}") from error

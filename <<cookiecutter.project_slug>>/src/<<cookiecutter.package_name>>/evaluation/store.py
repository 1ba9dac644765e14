"""Keeping trials, one file each, and reading them back: in a folder, or at any fsspec URL."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from ..errors import InputError, describe, explain, redact_url
from .files import atomic_write
from .trial import Trial

NONE = "none"
CONFLICT = "ConditionalRequestConflict"  # S3's answer while another writer is at the same file
CONFLICT_SECONDS = (0.2, 1, None)  # after which it is asked again
log = logging.getLogger(__name__)


def check_place(place: str) -> None:
    """Check that trials can be kept in a place, before any work is done; nothing is written.

    Args:
        place: As in `write_trial_summary`.

    Raises:
        InputError: A package is missing, or a file is where the folder should be.
    """
    folder = _folder(place)
    with _explain("used", place):
        if folder is None:
            _filesystem(place)
        elif place != NONE and folder.exists() and not folder.is_dir():
            raise InputError(f"TRIALS_URL: {place} is a file; set it to a folder or a URL")


def write_trial_summary(trial_summary: Trial, place: str) -> str | None:
    """Keep a trial: whole or not at all, and never in place of another.

    Args:
        trial_summary: From `get_trial_summary`.
        place: A folder, an fsspec URL such as `s3://bucket/trials`, or `none`, which keeps nothing.

    Returns:
        Where it is kept, without secrets; None for `none`.

    Raises:
        InputError: It cannot be kept.
    """
    if place == NONE:
        return None
    content = (json.dumps(trial_summary.to_json(), indent=2, allow_nan=False) + "\n").encode()
    shown = f"{_shown(place)}/{trial_summary.file_name}"
    with _explain("written", place):
        try:
            _write(place, trial_summary.file_name, content)
        except FileExistsError:
            log.info("%s already exists, and stays as it is", shown)
    return shown


def read_trials(place: str, last: int | None = None) -> list[Trial]:
    """Read trials back, oldest first: by the end of their window, else by creation.

    Args:
        place: As in `write_trial_summary`.
        last: How many of the latest to read; None is all.

    Returns:
        The trials. A file that is not a trial is named in the log, and left out.

    Raises:
        InputError: The place cannot be read.
    """
    if place == NONE:
        raise InputError("TRIALS_URL: it is `none`, so no trials are kept; set a folder or a URL")
    with _explain("read", place):
        names, read = _list_files(place)
    names = sorted((name for name in names if re.search(r"Z-[-\w]+\.json$", name)), reverse=True)
    found: list[Trial] = []
    while names and (last is None or len(found) < last):
        wanted = len(names) if last is None else last - len(found)
        contents = read(names[:wanted])
        for name in names[:wanted]:
            try:
                found.append(_parse(contents[name]))
            except Exception as error:  # also a store's own kinds of errors
                log.warning("%s cannot be read as a trial (%s): left out", name, describe(error))
        names = names[wanted:]
    found.reverse()  # those of one moment in the order of their names
    # Several models have trials of one window, and their names do not say which was made first.
    return sorted(found, key=lambda trial: (trial.time, trial.created_at))


def _write(place: str, name: str, content: bytes) -> None:
    folder = _folder(place)
    if folder is not None:
        atomic_write(folder / name, content, replace=False)
        return
    filesystem, path = _filesystem(place), f"{place.rstrip('/')}/{name}"
    # Only mode="create" decides between two writers at once; not every store knows it.
    for seconds in CONFLICT_SECONDS:
        if filesystem.exists(path):
            raise FileExistsError(path)
        try:
            filesystem.pipe_file(path, content, mode="create")
        except OSError as error:
            if CONFLICT not in str(error) or seconds is None:
                raise
            time.sleep(seconds)
        else:
            return


def _list_files(
    place: str,
) -> tuple[list[str], Callable[[list[str]], Mapping[str, bytes | Exception | Path]]]:
    """The names of the files in a place, and a function that reads some of them."""
    folder = _folder(place)
    if folder is not None:
        files = [str(path) for path in folder.iterdir()] if folder.exists() else []
        return files, lambda wanted: {name: Path(name) for name in wanted}
    filesystem = _filesystem(place)
    filesystem.invalidate_cache()  # other processes write there, too
    names: list[str] = []
    with suppress(FileNotFoundError):
        names = filesystem.ls(place, detail=False)
    return names, lambda wanted: filesystem.cat(wanted, on_error="return")  # many at once


def _parse(content: bytes | Exception | Path) -> Trial:
    if isinstance(content, Exception):
        raise content
    if isinstance(content, Path):
        if not content.is_file():  # reading a named pipe, for one, might never end
            raise ValueError("not a file")
        content = content.read_bytes()
    return Trial.from_json(orjson.loads(content))  # strict: it refuses NaN and halves of characters


@contextmanager
def _explain(done: str, place: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # every store raises its own kinds
        fix = "install the missing package" if isinstance(error, ImportError) else "fix that"
        problem = f"TRIALS_URL: {_shown(place)} cannot be {done}"
        raise explain(error, problem, f"{fix}, or set another place") from error


def _folder(place: str) -> Path | None:
    """The folder; None if the place is a URL."""
    path = place.removeprefix("file://")
    return None if "://" in path else Path(path)


def _shown(place: str) -> str:
    return str(_folder(place) or redact_url(place).rstrip("/"))


def _filesystem(url: str) -> Any:  # noqa: ANN401  fsspec has no types
    import fsspec  # only for a URL: it takes time to import

    return fsspec.core.url_to_fs(url)[0]

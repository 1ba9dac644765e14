"""Keeping trials, one file each, and reading them back."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import InputError

NONE = "none"
log = logging.getLogger(__name__)


def write_trial_summary(trial_summary: dict[str, Any], trials: str) -> str | None:
    """Keep a trial: whole or not at all, and never over another.

    Args:
        trial_summary: Of `get_trial_summary`.
        trials: A folder, an fsspec URL (say `s3://bucket/trials`), or `none`, which keeps nothing.

    Returns:
        Where it is kept; None for `none`.

    Raises:
        InputError: When it cannot be kept.
    """
    if trials == NONE:
        return None
    name = _file_name(trial_summary)
    content = (json.dumps(trial_summary, indent=2, allow_nan=False) + "\n").encode()
    place = f"{trials.rstrip('/')}/{name}"
    try:
        if "://" in trials:
            _filesystem(trials).pipe_file(place, content, mode="create")
        else:
            _write_file(Path(place), content)
    except FileExistsError:
        log.info("%s is there already", place)
    except Exception as error:  # what a store raises is its own
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split()) or repr(error)
        raise InputError(f"TRIALS_URL: the trial cannot be kept in {trials}: {reason}") from error
    return place


def read_trials(trials: str, last: int | None = None) -> list[dict[str, Any]]:
    """Read trials back, oldest first: by the end of their window, else by creation.

    Args:
        trials: As in `write_trial_summary`.
        last: How many of the latest; None is all.

    Returns:
        The trials. A file that is none is named in the log, and left out.

    Raises:
        InputError: When there is no such place, or it cannot be reached.
    """
    if trials == NONE:
        raise InputError("TRIALS_URL: it is `none`, so no trials are kept; set it to a folder or a URL")
    found: list[dict[str, Any]] = []
    for name, read in _newest_first(trials):
        if last is not None and len(found) >= last:
            break
        try:
            trial = json.loads(read(name))
            if not isinstance(trial, dict) or not {"id", "data", "created_at"} <= trial.keys():
                raise ValueError("no trial")
            found.append(trial)
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read (%s): left out", name, str(error).splitlines()[0])
    return found[::-1]


def _newest_first(trials: str) -> Iterator[tuple[str, Callable[[str], bytes]]]:
    try:
        if "://" in trials:
            filesystem = _filesystem(trials)
            names = sorted(filesystem.ls(trials, detail=False), reverse=True) if filesystem.exists(trials) else []
            read = filesystem.cat_file
        else:
            folder = Path(trials)
            names = sorted(map(str, folder.iterdir()), reverse=True) if folder.exists() else []
            read = _read_file
    except Exception as error:  # what a store raises is its own
        raise InputError(f"TRIALS_URL: {trials} cannot be read: {' '.join(str(error).split())}") from error
    for name in names:
        if name.endswith(".json"):
            yield name, read


def _read_file(name: str) -> bytes:
    return Path(name).read_bytes()


def _file_name(trial: dict[str, Any]) -> str:
    """A name that sorts by time: the end of the window, else the creation."""
    time = (trial["window"] or {}).get("to") or trial["created_at"]
    digits = re.sub(r"[^0-9]", "", time).ljust(20, "0")
    return f"{digits[:8]}T{digits[8:20]}Z-{trial['id']}.json"


def _write_file(path: Path, content: bytes) -> None:
    """Write a file beside its place, then link it there: a link, unlike a rename, never replaces a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp keeps it to its owner; a team shares its trials
        os.link(temporary, path)
    finally:
        temporary.unlink()


def _filesystem(url: str) -> Any:  # noqa: ANN401  fsspec has no types
    import fsspec  # only where it is used: it costs start-up time

    return fsspec.core.url_to_fs(url)[0]

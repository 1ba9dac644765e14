"""Writing files whole or not at all, whatever happens midway."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import time
import uuid
from pathlib import Path

MAX_WRITE_SECONDS = 3600.0  # a partial file older than this was left by a killed process
log = logging.getLogger(__name__)


def atomic_write(path: Path, content: bytes, *, replace: bool) -> None:
    """Write a partial file beside `path`, then move it there; create the folder if needed.

    Args:
        path: The file.
        content: What it will hold.
        replace: Whether it may replace an existing file. If not, the content is also flushed to
            disk first, so that it outlasts a power cut.

    Raises:
        FileExistsError: The file exists, and `replace` is false.
        OSError: It cannot be written. Nothing is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # the folder is a file: not the FileExistsError that callers expect
        reason = os.strerror(errno.ENOTDIR)
        raise NotADirectoryError(errno.ENOTDIR, reason, str(path.parent)) from None
    _remove_abandoned(path.parent)
    partial = path.parent / f".{uuid.uuid4().hex}.part"
    try:
        with partial.open("xb") as file:
            file.write(content)
            if not replace:
                file.flush()
                os.fsync(file.fileno())
        if replace:
            partial.replace(path)
        else:
            _move_unless_exists(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _remove_abandoned(folder: Path) -> None:
    for partial in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime > MAX_WRITE_SECONDS:
                partial.unlink()


def _move_unless_exists(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)  # unlike a rename, a link never replaces a file
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        import fcntl  # not on Windows, which has hard links

        with (path.parent / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the process ends, however it ends
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            partial.replace(path)


def keep(path: Path, about: dict[str, str], content: bytes) -> None:
    """Keep something in a cache; that it cannot be kept costs time the next time, and no more.

    Args:
        path: Where; what is there is replaced.
        about: What is to be known of it.
        content: What.
    """
    kept = json.dumps(about).encode() + b"\n" + content
    try:
        atomic_write(path, hashlib.sha256(kept).hexdigest().encode() + b"\n" + kept, replace=True)
    except OSError as error:
        log.warning(
            "data: %s is not kept: cannot write to %s: %s",
            path.suffix[1:],
            path.parent,
            error.strerror,
        )


def read_kept(path: Path) -> tuple[dict[str, str], bytes] | None:
    """Read what `keep` has kept: `about` and `content`; None where it is not there, or no longer what it was."""
    try:
        digest, kept = path.read_bytes().split(b"\n", 1)
        if hashlib.sha256(kept).hexdigest().encode() != digest:
            raise ValueError("its content is not what was kept")
        about, content = kept.split(b"\n", 1)
        return json.loads(about), content
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        log.warning("data: the cache is damaged, %s: %s; doing without it", path, error)
    return None

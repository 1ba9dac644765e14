"""Writing files whole or not at all, whatever happens midway."""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

MAX_WRITE_SECONDS = 3600.0  # a partial file older than this was left by a killed process


def atomic_write(
    path: Path, content: bytes | Callable[[IO[bytes]], object], *, replace: bool
) -> None:
    """Write a partial file beside `path`, then move it there; create the folder if needed.

    Args:
        path: The file.
        content: What it will hold, or what writes that.
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
        with partial.open("x+b") as file:
            content(file) if callable(content) else file.write(content)
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

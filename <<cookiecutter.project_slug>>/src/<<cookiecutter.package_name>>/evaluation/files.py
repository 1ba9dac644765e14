"""Writing files whole or not at all, whatever happens midway; and a cache of such files, safe against damage."""

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

SECONDS_TO_WRITE = 3600.0  # a part older than this has lost its writer
log = logging.getLogger(__name__)


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
        log.warning("data: %s is not kept: cannot write to %s: %s", path.suffix[1:], path.parent, error.strerror)


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


def atomic_write(path: Path, content: bytes, *, replace: bool) -> None:
    """Write a file beside its place, then put it there; makes its folder.

    Args:
        path: Where.
        content: What.
        replace: Whether it may take the place of a file that is there.

    Raises:
        FileExistsError: When there is a file, and `replace` is false.
        OSError: When it cannot be written; nothing is left behind then.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # a file where the folder should be; it must not pass for the file in question
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from None
    for old in path.parent.glob(".*.part"):  # what a killed process has left
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > SECONDS_TO_WRITE:
                old.unlink()
    part = path.parent / f".{uuid.uuid4().hex}.part"
    try:
        with part.open("xb") as file:
            file.write(content)
            if not replace:  # what may be replaced can be made anew; the rest must outlast a power cut
                file.flush()
                os.fsync(file.fileno())
        if replace:
            part.replace(path)
        else:
            _put_exclusively(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _put_exclusively(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename, never replaces a file
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links; the lock ends with its process, however that ends
        import fcntl  # which Windows lacks, but not hard links

        with (path.parent / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            part.replace(path)

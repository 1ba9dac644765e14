"""Keeping the parsed log: an Arrow file, followed by its SHA-256."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import IO

import pyarrow as pa

from ..evaluation.files import atomic_write
from ..settings import load_settings
from .fetch import log

VERSION = 4  # raise it when the same file is parsed differently
DIGEST = 64  # bytes


def cache_path(source: str | None) -> Path:
    """Where the parsed log is kept."""
    name = hashlib.sha256(f"{VERSION} {source}".encode()).hexdigest()[:16]
    return load_settings().cache / f"{name}.arrow"


def keep_cached(path: Path, table: pa.Table) -> None:
    """Keep the log, with what is known about it in its metadata."""

    def write(file: IO[bytes]) -> None:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_file(pa.PythonFile(file, "w"), table.schema, options=options) as writer:
            writer.write_table(table)
        file.seek(0)
        file.write(hashlib.file_digest(file, "sha256").hexdigest().encode())  # type: ignore[arg-type]

    try:
        atomic_write(path, write, replace=True)
    except OSError as error:  # it only costs time
        log.warning("data: not cached: cannot write to %s: %s", path.parent, error.strerror)


def known_cached(path: Path) -> dict[str, str]:
    """What is known about the log that is kept; empty if there is none, or if it is damaged."""
    with suppress(OSError), path.open("rb") as file:
        left, digest = path.stat().st_size - DIGEST, hashlib.sha256()
        while part := file.read(min(1_000_000, max(left - file.tell(), 0))):
            digest.update(part)
        if file.read() == digest.hexdigest().encode():
            metadata = _open(path).schema.metadata
            return {key.decode(): value.decode() for key, value in metadata.items()}
        log.warning("data: ignoring the cached file %s, which is damaged", path)
    return {}


def load_cached(path: Path) -> pa.Table:
    """The log that is kept."""
    return _open(path).read_all()


def _open(path: Path) -> pa.ipc.RecordBatchFileReader:
    size = path.stat().st_size
    return pa.ipc.open_file(pa.OSFile(str(path)), footer_offset=size - DIGEST)

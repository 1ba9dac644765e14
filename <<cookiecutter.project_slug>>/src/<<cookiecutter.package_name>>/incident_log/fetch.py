"""Fetching files of the log from a path, a web address or an object store, within limits."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.pool import ThreadPool
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, ParamSpec, TypeVar

import click
import fsspec

from ..errors import InputError, UnavailableError, describe, redact_url
from ..settings import carry, load_settings

# UCI's address today, and an older one.
URL = "https://archive.ics.uci.edu/static/public/498/incident+management+process+enriched+event+log.zip"
OLDER_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/00498/incident_event_log.zip"
CONDITIONS = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
SUFFIXES = (".csv", ".parquet", ".zip")  # of the files that are read in a folder
SPOOLED = 50_000_000  # bytes of a download that are held in memory; a larger one goes to a file
P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)


def fetch(source: str, known: dict[str, str]) -> tuple[IO[bytes] | None, dict[str, str]]:
    """Fetch a file, unless a web server says that the known one is current.

    Args:
        source: A path, an http(s) address, or any other URL that fsspec can open.
        known: What this function returned with the known file; empty if there is none.

    Returns:
        The file, open, None if it is the known one; and what to remember about it: `data`, its
        name without secrets, and the conditions for asking again.

    Raises:
        InputError: It is larger than DATA_MAX_MB, or a web server does not give it.
        UnavailableError: It cannot be fetched now, or not within the time limits.
        Exception: requests and the stores raise their own.
    """
    read = _download if is_web(source) else _open
    return within_limits(source, read, source, known)


def list_folder(source: str) -> list[str] | None:
    """The names of a folder's files, sorted, without hidden and other files.

    Returns:
        Names; None if the source is not a folder.

    Raises:
        InputError: The folder holds no such file.
        Exception: The stores raise their own.
    """
    if is_web(source):
        return None
    paths = within_limits(source, _list_paths, source)
    if paths is None:
        return None
    names = sorted(path.rstrip("/").rpartition("/")[2] for path in paths)
    files = [n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith((".", "_"))]
    if not files:
        raise InputError(f"the folder holds no {', no '.join(SUFFIXES)} file")
    return files


def in_folder(source: str, name: str) -> str:
    """The path or URL of a folder's file."""
    folder, chain, rest = source.partition("::")
    return f"{folder}{'' if folder.endswith('/') else '/'}{name}{chain}{rest}"


def read_with(source: str, read: Callable[[IO[bytes]], Iterable[R]]) -> list[R]:
    """Let a function read parts of a file; returns what it yields."""

    def run() -> list[R]:
        system, path = _locate(source)
        with system.open(path) as file:
            return list(read(file))

    return within_limits(source, run)


def is_web(source: str) -> bool:
    """Whether a web server is asked."""
    return source.lower().startswith(("http://", "https://"))


def within_limits(source: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call what reads a source, and do not wait longer than DOWNLOAD_MAX_SECONDS if it is a URL.

    Raises:
        UnavailableError: It took longer.
    """
    if "://" not in source:
        return function(*args, **kwargs)
    with ThreadPool(1) as pool:  # unlike an executor's, its threads do not keep Python running
        fetching = pool.apply_async(carry(function), args, kwargs)
        fetching.wait(load_settings().download_max_seconds)
        if not fetching.ready():  # however slowly headers or blocks arrive
            raise UnavailableError("it was not complete within DOWNLOAD_MAX_SECONDS; raise that")
        return fetching.get()


def check_size(size: int, limit: float | None = None) -> None:
    """Raise InputError if there are more bytes than the limit; by default DATA_MAX_MB."""
    limit = limit or load_settings().data_max_bytes
    if size > limit:
        raise InputError(f"it holds more than {limit / 1e6:,g} MB; if it should, raise DATA_MAX_MB")


def _locate(source: str) -> tuple[Any, str]:
    """The file system, and the path in it."""
    if "://" not in source:
        source = str(Path(source).expanduser().absolute())
        return fsspec.filesystem("file"), source
    system, path = fsspec.core.url_to_fs(source)
    return system, path


def _list_paths(source: str) -> list[str] | None:
    if "://" not in source and not Path(source).expanduser().is_dir():
        return None
    system, path = _locate(source)
    return system.ls(path, detail=False) if system.isdir(path) else None


def _open(source: str, _known: dict[str, str]) -> tuple[IO[bytes], dict[str, str]]:
    about = {"data": redact_url(source)}
    if "://" not in source:
        file: IO[bytes] = Path(source).expanduser().open("rb")
        if file.seekable():  # else a pipe
            check_size(os.fstat(file.fileno()).st_size)
            return file, about
    else:
        system, path = _locate(source)
        file = system.open(path)
    with file:
        return _spool(iter(lambda: file.read(1_000_000), b"")), about


def _spool(parts: Iterator[bytes], report: Callable[[int], object] = id) -> IO[bytes]:
    """Keep a file that arrives in parts, in memory or in a temporary file."""
    kept, total = SpooledTemporaryFile(SPOOLED), 0  # noqa: SIM115  who asked closes it
    limit = load_settings().data_max_bytes
    for part in parts:
        total += len(part)
        check_size(total, limit)
        kept.write(part)
        report(len(part))
    kept.seek(0)
    return kept


def _download(url: str, known: dict[str, str]) -> tuple[IO[bytes] | None, dict[str, str]]:
    import requests  # here, as importing it takes time
    from urllib3.exceptions import HTTPError, InvalidHeader
    from urllib3.util import Retry

    # What a server has sent cannot always be sent back.
    asked = {k: v for k, v in known.items() if k in CONDITIONS and v.isascii() and v.isprintable()}
    # requests would read the body of a redirect, however large it is.
    hooks = {"response": lambda each, **_: each.close() if each.is_redirect else None}
    timeout, refusal = load_settings().download_timeout, None
    retry = Retry(3, status_forcelist=[429, *range(500, 600)], backoff_factor=1, retry_after_max=30)
    while True:
        try:
            response = requests.get(url, headers=asked, timeout=timeout, stream=True, hooks=hooks)
            if response.status_code == 200:
                about = {name: response.headers.get(CONDITIONS[name], "") for name in CONDITIONS}
                return _read_body(response.raw), {"data": redact_url(url), **about}
            if response.status_code == 304 and known:
                return None, known
            if response.status_code == 404 and url == URL:
                return _download(OLDER_URL, known)
            refusal, problem = response.raw, f"it answered {response.status_code} {response.reason}"
            if not retry.is_retry("GET", response.status_code):
                raise InputError(problem)
        except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
            problem = f"connection failed: {describe(error)} (DOWNLOAD_TIMEOUT={timeout:g})"
        retry = retry.increment("GET", error=UnavailableError(problem))  # raises it after the last
        log.warning("data: attempt %d of 4: %s; trying again", len(retry.history), problem)
        with suppress(InvalidHeader):  # a Retry-After that makes no sense
            retry.sleep(refusal)


def _read_body(raw: Any) -> IO[bytes]:  # noqa: ANN401
    # read1 gives what has arrived; iter_content waits for a full chunk, however long it takes.
    data, total = iter(lambda: raw.read1(65_536, decode_content=True), b""), raw.length_remaining
    with click.progressbar(data, total, "Loading", not sys.stderr.isatty(), file=sys.stderr) as bar:
        return _spool(data, bar.update)

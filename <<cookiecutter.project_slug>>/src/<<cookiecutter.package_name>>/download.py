"""Fetching a file by URL, safely and once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests

from .errors import InputError, UnavailableError
from .settings import load_settings

ATTEMPTS = 4
TOTAL_SECONDS = 1800.0  # however slowly it trickles
CHUNK = 65536  # bytes
log = logging.getLogger(__name__)


def is_url(text: str) -> bool:
    """Whether `text` is a URL rather than a path; only http and https can be fetched."""
    return "://" in text


def without_secrets(url: str) -> str:
    """The URL without user, password, query and fragment: what may be shown, and kept in a trial."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def fetch(url: str) -> bytes:
    """Fetch a file; where the server says it is unchanged, out of the cache.

    A 5xx and a dropped connection are tried again; a server that cannot be reached is done without where the
    file is in the cache, with a warning. The cache is written by rename, so no process sees half a file.

    Args:
        url: http or https.

    Returns:
        The file.

    Raises:
        NotFoundError: On 404.
        InputError: With what the server said, or the limit that it overstepped.
    """
    shown = without_secrets(url)
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"data: {shown} is no http or https address; give one, or a path, or `sample`")
    settings = load_settings()
    record_path = settings.cache / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"
    record, cached = _cached(record_path)
    headers = {}
    if cached is not None:
        conditions = {"If-None-Match": record.get("etag"), "If-Modified-Since": record.get("last_modified")}
        headers = {name: value for name, value in conditions.items() if value}
    try:
        response, content = _get(url, headers, settings.download_timeout)
    except requests.Timeout:
        raise UnavailableError(
            f"data: {shown} sent nothing for {settings.download_timeout:g} s; try again, or raise DOWNLOAD_TIMEOUT"
        ) from None
    except requests.RequestException as error:
        if cached is not None:
            log.warning("data: cannot reach %s: taking the copy in the cache, which may be old", shown)
            return cached
        raise UnavailableError(
            f"data: cannot reach {shown} ({_reason(error)}); check the network, or give a path with --data, "
            "or --data sample for synthetic tickets"
        ) from None
    if response.status_code == 304 and cached is not None:
        return cached
    if response.status_code == 404:
        raise NotFoundError(f"data: {shown} answered 404, not found; check the address, or set DATA_URL to another")
    if response.status_code != 200:
        raise (UnavailableError if response.status_code >= 500 else InputError)(
            f"data: {shown} answered {response.status_code} {response.reason}; try again later, "
            "or set DATA_URL to another address"
        )
    _keep(record_path, record, response, content)
    return content


class NotFoundError(InputError):
    """The server has no such file."""


def _get(url: str, headers: dict[str, str], timeout: float) -> tuple[requests.Response, bytes]:
    deadline = time.monotonic() + TOTAL_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with requests.get(url, headers=headers, timeout=timeout, stream=True) as response:
                content = _read(response, deadline) if response.status_code == 200 else b""
            if response.status_code < 500 or attempt == ATTEMPTS:
                return response, content
            reason = f"{response.status_code} {response.reason}"
        except requests.Timeout:
            raise
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            # requests reports a server that falls silent in the middle of a file as a ConnectionError.
            if "timed out" in str(error):
                raise requests.Timeout(str(error)) from error
            if attempt == ATTEMPTS:
                raise
            reason = _reason(error)
        log.warning("data: attempt %d of %d failed (%s): trying again", attempt, ATTEMPTS, reason)
        time.sleep(2.0 ** (attempt - 2))
    raise AssertionError("unreachable")


def _read(response: requests.Response, deadline: float) -> bytes:
    chunks = []
    total = float(response.headers.get("Content-Length", 0)) or None
    with _progress() as progress:
        bar = progress.add_task("downloading", total=total)
        for chunk in response.iter_content(CHUNK):
            if time.monotonic() > deadline:
                raise requests.Timeout("the whole took too long")
            chunks.append(chunk)
            progress.update(bar, advance=len(chunk))
    return b"".join(chunks)


def _progress() -> Any:  # noqa: ANN401  rich is imported only here: it costs start-up time
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def _reason(error: requests.RequestException) -> str:
    """The innermost cause: what requests and urllib3 wrap around it says nothing more."""
    cause: Any = error
    while isinstance(cause, BaseException) and (inner := getattr(cause, "reason", None) or cause.args[:1]):
        cause = inner[-1] if isinstance(inner, tuple) else inner
    return str(cause).rpartition(": ")[2]


def _cached(record_path: Path) -> tuple[dict[str, str], bytes | None]:
    """What is known of the file, and the file, where it is in the cache undamaged."""
    try:
        record = json.loads(record_path.read_text())
        content = (record_path.parent / record["file"]).read_bytes()
        if hashlib.sha256(content).hexdigest() == record["sha256"]:
            return record, content
        log.warning("data: %s is damaged: downloading it again", record_path.parent / record["file"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("data: %s is damaged (%s): downloading again", record_path, error)
    return {}, None


def _keep(record_path: Path, before: dict[str, str], response: requests.Response, content: bytes) -> None:
    """Keep the file under its own hash, then the record that names it; that it cannot be kept only costs time."""
    sha256 = hashlib.sha256(content).hexdigest()
    record = {
        "url": without_secrets(response.url),
        "file": f"{sha256}.download",
        "sha256": sha256,
        "etag": response.headers.get("ETag", ""),
        "last_modified": response.headers.get("Last-Modified", ""),
    }
    try:
        write_whole(record_path.parent / record["file"], content)
        write_whole(record_path, json.dumps(record, indent=2).encode())
    except OSError as error:
        log.warning("data: the download is not kept: cannot write %s: %s", record_path.parent, error.strerror)
        return
    if before and before["sha256"] != sha256:
        for old in record_path.parent.glob(f"{before['sha256']}[.-]*"):
            old.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, in the place of one that may be there; makes its folder.

    Raises:
        OSError: When it cannot be written; nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

"""Fetching a file by URL, safely and once."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import InputError, UnavailableError, redact_url
from ..evaluation.files import keep, read_kept
from ..settings import load_settings

if TYPE_CHECKING:  # imported where it is used: what reads a path need not wait for it
    import requests

ATTEMPTS = 4
SECONDS_BETWEEN = 0.5  # doubled with each attempt
TOTAL_SECONDS = 1800.0  # however slowly it trickles
log = logging.getLogger(__name__)


class NotFoundError(InputError):
    """The server has no such file."""


def fetch(url: str) -> tuple[bytes, Callable[[], None]]:
    """Fetch a file; where the server says it is unchanged, out of the cache.

    A 429, a 5xx and a dropped connection are tried again. Where the file is in the cache, a server that fails
    is done without, with a warning.

    Args:
        url: http or https.

    Returns:
        The file, and a function that keeps it in the cache: to be called once the file has proved to be what
        was wanted, so that an error page never takes a good file's place.

    Raises:
        NotFoundError: On 404.
        InputError: With what the server said, or the limit that it overstepped.
    """
    shown = redact_url(url)
    if not url.lower().startswith(("http://", "https://")):
        raise InputError(f"data: {shown} is no http or https address; give one, or a path, or `sample`")
    settings = load_settings()
    path = settings.cache / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.download"
    about, cached = read_kept(path) or ({}, None)
    headers = {"If-None-Match": about.get("etag") or None, "If-Modified-Since": about.get("last_modified") or None}
    try:
        response, content = _get(url, shown, headers, settings.download_timeout)
    except UnavailableError as error:
        if cached is None:
            raise
        log.warning("%s. Taking the copy in the cache, which may be old", error)
        return cached, lambda: None
    status = response.status_code
    if status == 304 and cached is not None:
        return cached, lambda: None
    if status != 200:
        kind = NotFoundError if status == 404 else InputError
        raise kind(f"data: {shown} answered {status} {response.reason}; check the address, or set DATA_URL to another")
    about = {"etag": response.headers.get("ETag", ""), "last_modified": response.headers.get("Last-Modified", "")}
    return content, lambda: keep(path, {"url": redact_url(response.url), **about}, content)


def _get(url: str, shown: str, headers: dict[str, str | None], timeout: float) -> tuple[requests.Response, bytes]:
    import requests
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    deadline = time.monotonic() + TOTAL_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        pause = SECONDS_BETWEEN * 2.0 ** (attempt - 1)
        try:
            with requests.get(url, headers=headers, timeout=timeout, stream=True) as response:
                content = _read(response, deadline) if response.status_code == 200 else b""
            if response.status_code < 500 and response.status_code != 429:
                return response, content
            problem = f"{shown} answered {response.status_code} {response.reason}"
            asked = response.headers.get("Retry-After", "")
            pause = min(max(pause, float(asked) if asked.isdecimal() else 0.0), 30.0)  # it may ask for hours
        except (requests.Timeout, ReadTimeoutError, TimeoutError) as error:
            problem = f"sent nothing for {timeout:g} s; try again, or raise DOWNLOAD_TIMEOUT"
            if isinstance(error, TimeoutError):
                problem = f"was still sending after {TOTAL_SECONDS:g} s; get it otherwise, and give its path"
            raise UnavailableError(f"data: {shown} {problem}") from None
        except (requests.ConnectionError, HTTPError, ConnectionError) as error:
            begun = isinstance(error, HTTPError)  # urllib3's own, from reading the body
            problem = f"{shown} broke off ({_reason(error)})" if begun else f"cannot reach {shown} ({_reason(error)})"
        except (OSError, ValueError) as error:
            raise InputError(f"data: {shown} cannot be asked for ({_reason(error)}); check the address") from None
        if attempt < ATTEMPTS:
            log.warning("data: attempt %d of %d: %s; trying again", attempt, ATTEMPTS, problem)
            time.sleep(pause)
    mend = "try again later, or give a path with --data, or --data sample for synthetic tickets"
    raise UnavailableError(f"data: {problem}, {ATTEMPTS} times; {mend}")


def _read(response: requests.Response, deadline: float) -> bytes:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    length, chunks = response.headers.get("Content-Length", ""), []
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("downloading", total=int(length) if length.isdecimal() else None)
        # What has come, unlike iter_content, which waits for a chunk to be full, however long that takes.
        while chunk := response.raw.read1(65536, decode_content=True):
            if time.monotonic() > deadline:
                raise TimeoutError
            chunks.append(chunk)
            progress.advance(bar, len(chunk))
    return b"".join(chunks)


def _reason(error: BaseException) -> str:
    """The innermost cause: what requests and urllib3 wrap around it says nothing more."""
    cause: Any = error
    while isinstance(cause, BaseException) and (inner := getattr(cause, "reason", None) or cause.args[:1]):
        cause = inner[-1] if isinstance(inner, tuple) else inner
    # It may name the address, with its secrets.
    text = re.sub(r"(?<=//)\S*@|\?\S*", "", str(cause).rpartition(": ")[2])
    return " ".join(text.split()) or type(error).__name__

"""Fetching a file from a path, a web address or an object store, within limits of time and size."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import click
import fsspec

from ..errors import InputError, UnavailableError, describe, redact_url, root_cause
from ..settings import load_settings

CONDITIONS = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
BUSY = [429, *range(500, 600)]  # worth another attempt
Fetched = tuple[bytes | None, dict[str, str]]
log = logging.getLogger(__name__)


def fetch(source: str, *others: str, known: dict[str, str]) -> Fetched:
    """Fetch a file, unless a web server says that the known one is current.

    Args:
        source: A path, an http(s) address, or any other URL that fsspec can open.
        others: Web addresses to ask where the one before answers 404.
        known: What this function returned with the known file; empty if there is none.

    Returns:
        The content, None if it is that of the known file; and what to remember about it: `data`,
        its name without secrets, and the conditions for asking again.

    Raises:
        InputError: It is larger than DATA_MAX_MB.
        UnavailableError: It cannot be downloaded now, or not within the time limits.
        Exception: requests and the stores raise their own.
    """
    if "://" not in source:
        return _read_file(source)
    seconds = load_settings().download_max_seconds
    with ThreadPool(1) as pool:  # unlike an executor's, its threads do not keep Python running
        if source.lower().startswith(("http://", "https://")):
            fetching = pool.apply_async(_download, ([source, *others], known))
        else:
            fetching = pool.apply_async(_read_file, (source,))
        fetching.wait(seconds)
        if not fetching.ready():  # however slowly headers or blocks arrive
            raise UnavailableError(f"not complete after {seconds:g} s; raise DOWNLOAD_MAX_SECONDS")
        return fetching.get()


def check_size(size: int) -> None:
    """Raise InputError if there are more bytes than DATA_MAX_MB allows."""
    if size > (limit := load_settings().data_max_bytes):
        raise InputError(f"it holds more than {limit / 1e6:,g} MB; if it should, raise DATA_MAX_MB")


def _read_file(source: str) -> Fetched:
    is_url = "://" in source
    with fsspec.open(source) if is_url else Path(source).expanduser().open("rb") as file:
        content = bytes(file.read(load_settings().data_max_bytes + 1))
    check_size(len(content))
    return content, {"data": redact_url(source)}


def _download(urls: list[str], known: dict[str, str]) -> Fetched:
    import requests  # here, as importing it takes time
    from urllib3.exceptions import HTTPError, InvalidHeader, ReadTimeoutError
    from urllib3.util import Retry

    timeout = load_settings().download_timeout
    # What a server has sent cannot always be sent back.
    asked = {k: v for k, v in known.items() if k in CONDITIONS and v.isascii() and v.isprintable()}
    # requests would read the body of a redirect, however large it is.
    hooks = {"response": lambda each, **_: each.close() if each.is_redirect else None}
    options: dict[str, Any] = {"stream": True, "headers": asked, "hooks": hooks}
    retry = Retry(3, status_forcelist=BUSY, backoff_factor=0.5, retry_after_max=30)
    while True:
        raw = None
        try:
            response = requests.get(urls[0], timeout=timeout, **options)
            if response.status_code == 304 and known:
                return None, known
            if response.status_code == 404 and len(urls) > 1:
                return _download(urls[1:], known)
            if response.status_code == 200:
                about = {name: response.headers.get(CONDITIONS[name], "") for name in CONDITIONS}
                return _read_body(response.raw), {"data": redact_url(urls[0]), **about}
            raw, problem = response.raw, f"it answered {response.status_code} {response.reason}"
            if not retry.is_retry("GET", response.status_code):
                raise InputError(f"{problem}; check the address")
        except (requests.Timeout, ReadTimeoutError):
            problem = f"it sent nothing for {timeout:g} s"
            raise UnavailableError(f"{problem}; try again, or raise DOWNLOAD_TIMEOUT") from None
        except (requests.ConnectionError, HTTPError) as error:
            problem = describe(root_cause(error))
        if not retry.total:
            raise UnavailableError(f"{problem}, {len(retry.history) + 1} times; try again later")
        log.warning("data: %s; trying again", problem)
        retry = retry.increment()
        with suppress(InvalidHeader):  # a Retry-After that makes no sense
            retry.sleep(raw)


def _read_body(raw: Any) -> bytes:  # noqa: ANN401
    content, total, hidden = bytearray(), raw.length_remaining, not sys.stderr.isatty()
    # read1 gives what has arrived; iter_content waits for a full chunk, however long it takes.
    chunks = iter(lambda: raw.read1(65_536, decode_content=True), b"")
    with click.progressbar(chunks, total, "Downloading", hidden, file=sys.stderr) as bar:
        for chunk in chunks:
            content += chunk
            check_size(len(content))
            bar.update(len(chunk))
    return bytes(content)

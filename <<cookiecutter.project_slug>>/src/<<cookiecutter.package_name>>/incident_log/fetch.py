"""Fetching the log from a path, a web address or an object store, within limits."""

import logging
import sys
from contextlib import suppress
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import click
import fsspec

from ..errors import InputError, UnavailableError, describe, redact_url
from ..settings import load_settings

# UCI's address today, and an older one.
URL = "https://archive.ics.uci.edu/static/public/498/incident+management+process+enriched+event+log.zip"
OLDER_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/00498/incident_event_log.zip"
CONDITIONS = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
log = logging.getLogger(__name__)


def fetch(source: str, known: dict[str, str]) -> tuple[bytes | None, dict[str, str]]:
    """Fetch a file, unless a web server says that the known one is current.

    Args:
        source: A path, an http(s) address, or any other URL that fsspec can open.
        known: What this function returned with the known file; empty if there is none.

    Returns:
        The content, None if it is that of the known file; and what to remember about it: `data`,
        its name without secrets, and the conditions for asking again.

    Raises:
        InputError: It is larger than DATA_MAX_MB, or a web server does not give it.
        UnavailableError: It cannot be fetched now, or not within the time limits.
        Exception: requests and the stores raise their own.
    """
    if "://" not in source:
        return _read_file(source, known)
    read = _download if source.lower().startswith(("http://", "https://")) else _read_file
    with ThreadPool(1) as pool:  # unlike an executor's, its threads do not keep Python running
        fetching = pool.apply_async(read, (source, known))
        fetching.wait(load_settings().download_max_seconds)
        if not fetching.ready():  # however slowly headers or blocks arrive
            raise UnavailableError("it was not complete within DOWNLOAD_MAX_SECONDS; raise that")
        return fetching.get()


def check_size(size: int, limit: int) -> None:
    """Raise InputError if there are more bytes than the limit allows."""
    if size > limit:
        raise InputError(f"it holds more than {limit / 1e6:,g} MB; if it should, raise DATA_MAX_MB")


def _read_file(source: str, _known: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    with fsspec.open(source) if "://" in source else Path(source).expanduser().open("rb") as file:
        content = file.read(load_settings().data_max_bytes + 1)
    check_size(len(content), load_settings().data_max_bytes)
    return bytes(content), {"data": redact_url(source)}


def _download(url: str, known: dict[str, str]) -> tuple[bytes | None, dict[str, str]]:
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


def _read_body(raw: Any) -> bytes:  # noqa: ANN401
    content, total, limit = bytearray(), raw.length_remaining, load_settings().data_max_bytes
    # read1 gives what has arrived; iter_content waits for a full chunk, however long it takes.
    data = iter(lambda: raw.read1(65_536, decode_content=True), b"")
    with click.progressbar(data, total, "Loading", not sys.stderr.isatty(), file=sys.stderr) as bar:
        for part in data:
            content += part
            check_size(len(content), limit)
            bar.update(len(part))
    return bytes(content)

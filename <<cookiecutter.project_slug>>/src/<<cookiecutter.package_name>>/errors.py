"""Errors that are reported in one line, and what such a line may show."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit


class InputError(ValueError):
    """Bad input or configuration. Its one line says what is wrong, where, and how to fix it."""


class UnavailableError(InputError):
    """Something that cannot be reached now but may be later: worth another try."""


def redact_url(url: str) -> str:
    """Remove user, password, query and fragment: the rest may be shown, and kept in a trial.

    A path stays as it is.
    """
    if "://" not in url:
        return url
    with suppress(ValueError):
        if "::" not in url:  # fsspec's chained addresses may each hold secrets
            parts = urlsplit(url)
            return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return f"{url.partition('://')[0]}://..."  # in an invalid URL a secret may stand anywhere


def root_cause(error: BaseException) -> BaseException:
    """The error that another one was raised for: what libraries wrap around it adds nothing.

    Messages that were written for a person stay: our own, and which package is missing.
    """
    while error.__context__ and not isinstance(error, (InputError, ImportError)):
        error = error.__context__
    return error


def describe(error: BaseException) -> str:
    """The error's message in one line, without the secrets of addresses in it."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(re.sub(r"(?<=//)\S*@|\?\S*", "", text).split())


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    """End the process with exit code 2 and one line on stderr when the block raises InputError."""
    try:
        yield
    except InputError as error:
        print(f"Error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201  for a person
        sys.exit(2)

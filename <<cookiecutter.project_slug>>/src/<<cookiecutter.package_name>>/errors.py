"""Errors that are reported in one line, and what such a line may show."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit


class InputError(ValueError):
    """Bad input or configuration. Its one line says what is wrong, where, and how to fix it."""


class UnavailableError(InputError):
    """Something that cannot be reached now but may be later: worth another try."""


def redact_url(url: str) -> str:
    """Remove user, password, query and fragment: the rest may be shown, and kept in a trial."""
    with suppress(ValueError):
        if "::" not in url:  # fsspec's chained addresses may each hold secrets
            parts = urlsplit(url)
            return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return f"{url.partition('://')[0]}://..."  # in an invalid URL a secret may stand anywhere


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    """End the process with exit code 2 and one line on stderr when the block raises InputError.

    So does a file that is missing, as data.py and model.py may open some.
    """
    try:
        yield
    except (InputError, FileNotFoundError) as error:
        problem = str(error)
        if isinstance(error, FileNotFoundError):
            path = redact_url(str(error.filename or error))
            problem = f"{path}: no such file or directory; create it, or name another"
        print(f"Error: {' '.join(problem.split())}", file=sys.stderr)  # noqa: T201  for a person
        sys.exit(2)

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
            parts.port  # noqa: B018  raises if it is not a number: then a password holds a slash
            return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return f"{url.partition('://')[0]}://..."  # in an invalid URL a secret may stand anywhere


def describe(error: BaseException) -> str:
    """The root cause of an error in one line, without the secrets of addresses in it."""
    cause = _root_cause(error)
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    if isinstance(cause, FileNotFoundError):  # stores give the path alone
        text = "No such file or directory"
    if not isinstance(cause, InputError):  # ours hold none
        text = re.sub(r"(?<=//)\S*@|\?\S*", "", text)
    return " ".join("".join(filter(str.isprintable, word)) for word in text.split())


def explain(error: BaseException, problem: str, hint: str) -> InputError:
    """Make an error that is reported in one line from any other.

    Args:
        error: What was raised.
        problem: What it prevented, and where.
        hint: What to do.

    Returns:
        UnavailableError if the cause may pass, otherwise InputError.
    """
    may_pass = isinstance(_root_cause(error), (UnavailableError, ConnectionError, TimeoutError))
    kind = UnavailableError if may_pass else InputError
    return kind(f"{problem}: {describe(error)}; {hint}")


def _root_cause(error: BaseException) -> BaseException:
    """What an error was raised for: what libraries wrap around it adds nothing.

    Messages that were written for a person are kept: our own, and which package is missing.
    """
    cause = error.__cause__ or error.__context__
    if cause is None or isinstance(error, (InputError, ImportError)):
        return error
    return _root_cause(cause)


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

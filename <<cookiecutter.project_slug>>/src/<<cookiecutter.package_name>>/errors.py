"""Errors that are told to a person in one line, and what such a line may show."""

from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit


class InputError(ValueError):
    """Bad input or configuration: its one line says what is wrong, where, and how to mend it."""


class UnavailableError(InputError):
    """Something that is not there now and may be later: worth another try."""


def redact_url(url: str) -> str:
    """The URL without user, password, query and fragment: what may be shown, and kept in a trial."""
    with suppress(ValueError):
        if "::" not in url:  # a chain of addresses, each with secrets of its own
            parts = urlsplit(url)
            return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return f"{url.partition('://')[0]}://..."  # what cannot be taken apart might hold a secret anywhere

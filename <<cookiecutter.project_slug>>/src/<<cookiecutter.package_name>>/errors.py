"""Errors that are told to a person in one line, and what such a line may show."""

from urllib.parse import urlsplit, urlunsplit


class InputError(ValueError):
    """Bad input or configuration: its one line says what is wrong, where, and how to mend it."""


class UnavailableError(InputError):
    """Something that is not there now and may be later: worth another try."""


def without_secrets(url: str) -> str:
    """The URL without user, password, query and fragment: what may be shown, and kept in a trial."""
    if "::" in url:  # a chain of addresses, each with secrets of its own
        return f"{url.partition('://')[0]}://..."
    try:
        parts = urlsplit(url)
    except ValueError:  # what cannot be taken apart might hold a secret anywhere
        return f"{url.partition('://')[0]}://..."
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

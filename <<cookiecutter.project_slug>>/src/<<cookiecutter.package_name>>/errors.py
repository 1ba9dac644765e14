"""Errors that are told to a person in one line."""


class InputError(ValueError):
    """Bad input or configuration: its one line says what is wrong, where, and how to mend it."""


class UnavailableError(InputError):
    """Something that is not there now and may be later: worth another try."""

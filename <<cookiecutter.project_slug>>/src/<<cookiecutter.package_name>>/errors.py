"""The error that is told to a person in one line."""


class InputError(ValueError):
    """Bad input or configuration: its one line says what is wrong, where, and how to mend it."""

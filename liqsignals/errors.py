"""The version, and the one error that a user can cause and mend."""

__version__ = "0.1.0"


class InputError(ValueError):
    """Bad input: the message names the file, the row where there is one, and the way out."""

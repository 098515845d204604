"""The one error that a user can cause and mend."""


class InputError(ValueError):
    """Bad input: the message names the file, the row where there is one, and the way out."""

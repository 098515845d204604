"""The version, and the one error that a user can cause and mend."""

__version__ = "0.2.0"


class InputError(ValueError):
    """Bad input, as data: what is wrong and how to mend it.

    `problem` names the file, the row where there is one, and what was found; `remedy` is what the user can do, empty
    where the problem says it already. Printed, it is one sentence for each. Nobody parses the text: ask the attributes.

    >>> print(InputError("row 7 of a.feather has no date", "download the file again"))
    row 7 of a.feather has no date. Way out: download the file again
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}. Way out: {remedy}" if remedy else problem)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.problem, self.remedy)

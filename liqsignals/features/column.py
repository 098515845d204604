"""The declaration of a column."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One feature: its unit, its range and when it is NaN. All columns are float64."""

    name: str
    unit: str
    range: str
    nan: str
    meaning: str

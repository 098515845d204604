"""Text tables and progress messages."""

import sys
import time
from dataclasses import dataclass
from typing import Any

_START = time.monotonic()


@dataclass(frozen=True)
class Table:
    """A title, column names, and rows: a name, then numbers, pairs (long, short), triples (mean, lowest, highest) or
    None.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    note: str = ""


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return ("{:.2f} ({:.2f}..{:.2f})" if len(value) == 3 else "{:.3f} / {:.3f}").format(*value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def show(table: Table) -> Table:
    """Print a table in aligned columns and return it."""
    cells = [table.columns, *([_cell(v) for v in row] for row in table.rows)]
    width = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([r[0].ljust(width[0]), *(c.rjust(w) for c, w in zip(r[1:], width[1:], strict=True))]) for r in cells
    ]
    print(f"\n{table.title}", *lines, *filter(None, [table.note]), sep="\n  ", flush=True)
    return table


def progress(what: str) -> None:
    """Print elapsed seconds and the next step on standard error."""
    print(f"[{time.monotonic() - _START:4.0f} s] {what} ...", file=sys.stderr, flush=True)

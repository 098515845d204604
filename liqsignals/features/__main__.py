"""`python -m liqsignals.features docs/columns.md`: writes the table of COLUMNS between the page's two markers."""

import sys
from pathlib import Path

from liqsignals.features import COLUMNS

_START, _END = "<!-- columns -->", "<!-- /columns -->"


def table() -> str:
    """The table in Markdown."""
    rows = [f"| `{c.name}` | {c.unit} | {c.range} | {c.nan} | {c.meaning} |" for c in COLUMNS]
    return "\n".join(["| column | unit | range | NaN when | meaning |", "|---|---|---|---|---|", *rows])


if __name__ == "__main__":
    if len(sys.argv) == 2:
        path = Path(sys.argv[1])
        before, rest = path.read_text().split(_START)
        path.write_text(f"{before}{_START}\n{table()}\n{_END}{rest.split(_END)[1]}")
    else:
        print(table())

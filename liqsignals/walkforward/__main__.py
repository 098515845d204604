"""`python -m liqsignals.walkforward DIR/result.json ...`: stored results from walk-forwards, in this checkout.

Writes docs/results.md, the short table of the README and of `liqsignals demo` (liqsignals/report/results.json), and the
verdicts that a live bot asks for (liqsignals/strategy/verdicts.json). A strategy's verdicts come from the first result
that has it.
"""

import json
import sys
from pathlib import Path

import liqsignals
from liqsignals.files import replaced
from liqsignals.report import results
from liqsignals.strategy import verdicts


def main(paths: list[Path]) -> None:
    package = Path(liqsignals.__file__).parent
    found = [json.loads(path.read_text()) for path in paths]
    short = results.short(found)
    first = {name: judged for result in reversed(found) for name, judged in result["strategies"].items()}
    judged = {
        "format": "liqsignals-verdicts/1",
        "judged": short["made"],
        "strategies": {
            name: {
                side: judged["by_side"][side]["verdict"] for side in verdicts.SIDES if judged["sides"][side]["trades"]
            }
            for name, judged in first.items()
        },
    }
    readme = package.parent / "README.md"
    before, rest = readme.read_text().split(results.START)
    page = package.parent / "docs" / "results.md"
    texts = {
        page: results.page(found, page.read_text() if page.exists() else ""),
        package / "report" / "results.json": json.dumps(short, indent=1) + "\n",
        package / "strategy" / "verdicts.json": json.dumps(judged, indent=2) + "\n",
        readme: f"{before}{results.START}\n{results.readme(short)}\n{results.END}{rest.split(results.END)[1]}",
    }
    for path, text in texts.items():
        with replaced(path) as temporary:
            temporary.write_text(text)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])

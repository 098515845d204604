"""What the walk-forward found of each strategy, by side; it says which ones a live bot may trade (docs/decisions/117).

verdicts.json is written from a walk-forward: {"format", "judged": a day, "strategies": {name: {side: verdict}}}.
"""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PROVEN = "adds"
SIDES = ("long", "short")


@cache
def packaged() -> dict[str, dict[str, str]]:
    """Verdicts by strategy and side: "adds", "harms", "not shown" or "too few to judge"."""
    path = Path(__file__).with_name("verdicts.json")
    return dict(json.loads(path.read_text(encoding="utf-8"))["strategies"])


def of(strategy: str, side: str) -> str:
    """The verdict of a side; "not judged" for one that no walk-forward has seen."""
    return packaged().get(strategy, {}).get(side, "not judged")


def allowed(strategy: str, side: str, named: Iterable[str]) -> bool:
    """Whether the side may trade with real money: its verdict is "adds", or the config names it ("S" or "S:short")."""
    return of(strategy, side) == PROVEN or not {strategy, f"{strategy}:{side}"}.isdisjoint(named)

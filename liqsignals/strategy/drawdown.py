"""The drawdown stop: from a drawdown of the closed trades on nothing is entered, until a human releases it.

freqtrade's protections end by themselves. This one is a file in user_data that outlasts restarts and a lost database;
`liqsignals release` ends it. In backtests, where nobody can release it, it holds to the end of the run, from the run's
trades alone.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from liqsignals import files


@dataclass(frozen=True)
class State:
    """What the file says. Times are ISO 8601 with zone, or None."""

    stopped_at: str | None = None
    released_at: str | None = None
    #: At the stop: drawdown (fraction of the highest equity), and the limit that it passed.
    drawdown: float | None = None
    limit: float | None = None

    @classmethod
    def read(cls, path: Path) -> "State":
        """The file's state; without a file nothing was stopped. Raises OSError, ValueError or TypeError for one that
        cannot be read.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls()
        return cls(**json.loads(text))

    def write(self, path: Path) -> None:
        with files.replaced(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def path_of(userdir: Path, strategy: str) -> Path:
    return userdir / f"liqsignals-drawdown-{strategy}.json"


def deepest(start: float, closed: Iterable[tuple[Any, float]]) -> float:
    """Largest drawdown (fraction of the highest equity so far) of an account that starts with `start` and closes
    trades, each (time, profit in the currency of the stake).

    >>> deepest(100.0, [(2, -30.0), (1, 20.0)])
    0.25
    """
    equity = peak = start
    worst = 0.0
    for _, profit in sorted(closed, key=lambda trade: trade[0]):
        equity += profit
        peak = max(peak, equity)
        worst = max(worst, 1.0 - equity / peak) if peak > 0 else 1.0
    return worst


def stopped(start: float, trades: Iterable[Any], limit: float, now: Any, path: Path | None) -> str:
    """Why nothing may be entered, empty where it may.

    `start` is the balance before all trades, `trades` freqtrade's closed ones. `path` is the file of a bot in dry-run
    or live, written when the limit is passed; None in backtests. A file that cannot be read or written stops.
    """
    state = State()
    if path is not None:
        try:
            state = State.read(path)
        except (OSError, ValueError, TypeError) as error:
            return f"{path} cannot be read ({error}); release it by: {_command(path)}"
        if state.stopped_at is not None:
            return (
                f"stopped since {state.stopped_at} at a drawdown of {state.drawdown:.2%}; release it by:"
                f" {_command(path)}"
            )
    since = None if state.released_at is None else pd.Timestamp(state.released_at)
    closed = [(trade.close_date_utc, float(trade.close_profit_abs or 0.0)) for trade in trades]
    before = sum(profit for at, profit in closed if since is not None and at <= since)
    worst = deepest(start + before, [(at, profit) for at, profit in closed if since is None or at > since])
    if not worst > limit:
        return ""
    if path is not None:
        State(pd.Timestamp(now).isoformat(), state.released_at, worst, limit).write(path)
    return f"the drawdown, {worst:.2%}, has passed {limit:.2%}" + (f"; release it by: {_command(path)}" if path else "")


def release(path: Path, now: pd.Timestamp) -> State:
    """Let a stopped bot enter again, and return what the file said; trades closed before `now` count no more."""
    try:
        before = State.read(path)
    except (ValueError, TypeError):
        before = State()
    State(released_at=now.isoformat()).write(path)
    return before


def _command(path: Path) -> str:
    strategy = path.stem.removeprefix("liqsignals-drawdown-")
    return f"liqsignals release --userdir {path.parent} --strategy {strategy}"

"""Placebos of a backtest: what a strategy does without the map's knowledge, through its own code.

`"liqsignals": {"placebo": {...}}` in a configuration, one of
- `{"shuffle": 7}` (a seed): the map's columns are permuted in time. Blocks of BLOCK keep their inner order and change
  places with blocks of similar volatility (terciles of the candles' mean range), so that a sweep stands at a price move
  of similar size that it had nothing to do with. Prices of levels keep their distance from the close.
- `{"entries": "FILE.feather"}`: entries at the candles of a file (`pair`, `date` = the candle's open, `side` = long or
  short) beside the strategy's own. They have the tag TAG, and the strategy's stop, size and exits.
With `"describe": "FILE.json"` the strategy's protections and slots are written there.

Refused outside backtests: a bot would trade on it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from liqsignals.clock import HOUR, Int64Array, dates_ns
from liqsignals.errors import InputError
from liqsignals.files import read_stable, replaced
from liqsignals.records import Float64Array

#: Tag of an entry that the strategy itself did not make.
TAG = "placebo"
#: Length of the blocks that change places.
BLOCK = 4 * HOUR
#: Families of columns that are the map's.
_MAP = ("liq_", "squeeze_", "flush_")
_KEYS = ("shuffle", "entries", "describe")


@dataclass(frozen=True)
class Placebo:
    """A checked placebo of a configuration."""

    #: Seed of the permutation; None: the columns stay.
    shuffle: int | None
    #: Entries to add (`pair`, `date`, `side`); None: none.
    entries: pd.DataFrame | None
    #: Where the strategy's own settings are written; None: nowhere.
    describe: Path | None

    @classmethod
    def parse(cls, block: Any, runmode: Any) -> "Placebo | None":
        """The placebo of a configuration's block, None where it has none. Raises InputError outside backtests."""
        if block is None:
            return None
        if str(getattr(runmode, "value", runmode)) != "backtest":
            raise InputError(
                f'config: "liqsignals": {{"placebo": ...}} is for backtests; this run is {runmode or "of no mode"}',
                "remove the key: with it the strategy trades on made-up entries",
            )
        if not isinstance(block, Mapping) or not block or set(block) - set(_KEYS):
            raise InputError(f'config: "placebo" must have keys out of {", ".join(_KEYS)}, and nothing else')
        seed = block.get("shuffle")
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
            raise InputError(f'config: "placebo": {{"shuffle": {seed!r}}} must be a seed, a whole number')
        entries = _entries(Path(block["entries"])) if block.get("entries") else None
        return cls(seed, entries, Path(block["describe"]) if block.get("describe") else None)

    def columns(self, columns: Mapping[str, Float64Array], frame: pd.DataFrame, pair: str) -> dict[str, Float64Array]:
        """The map's columns, each (n,), permuted; all others and the flags as they are. `frame`: the candles (n rows)."""
        if self.shuffle is None:
            return dict(columns)
        close = frame["close"].to_numpy(np.float64)
        span = ((frame["high"] - frame["low"]) / frame["close"]).to_numpy(np.float64)
        source = permutation(dates_ns(frame["date"], pair), span, [self.shuffle, *pair.encode()])
        return {
            name: values[source] * _scale(name, close, source) if _moves(name) else values
            for name, values in columns.items()
        }

    def with_entries(self, frame: pd.DataFrame, pair: str) -> pd.DataFrame:
        """The analysed candles with the file's entries where the strategy has none of its own."""
        if self.entries is None:
            return frame
        for name in ("enter_long", "enter_short"):
            if name not in frame.columns:
                frame[name] = 0
        if "enter_tag" not in frame.columns:
            frame["enter_tag"] = None
        free = (frame["enter_long"] != 1) & (frame["enter_short"] != 1)
        mine = self.entries[self.entries["pair"] == pair]
        for side in ("long", "short"):
            at = free & frame["date"].isin(mine["date"][mine["side"] == side])
            frame.loc[at, f"enter_{side}"] = 1
            frame.loc[at, "enter_tag"] = TAG
        return frame

    def described(self, strategy: Any) -> None:
        """Write what the portfolio of a strategy depends on to the file of `describe`."""
        if self.describe is None:
            return
        facts: dict[str, Any] = {
            "protections": list(getattr(strategy, "protections", None) or []),
            "timeframe": strategy.timeframe,
            "stoploss": strategy.stoploss,
        }
        # The shipped strategies size by risk (strategy/account.py); one without an account leaves it to freqtrade.
        risk = getattr(getattr(strategy, "account", None), "risk", None)
        if risk is not None:
            facts["risk"] = {**asdict(risk.limits), "max_drawdown": risk.max_drawdown}
        with replaced(self.describe) as temporary:
            temporary.write_text(json.dumps(facts, indent=1) + "\n")


def _moves(name: str) -> bool:
    return name.startswith(_MAP) and not name.endswith(("_fresh", "_warm"))


def _scale(name: str, close: Float64Array, source: Int64Array) -> Float64Array | float:
    return close / close[source] if name.endswith("_price") else 1.0


def permutation(at: Int64Array, span: Float64Array, seed: list[int]) -> Int64Array:
    """For each candle the one whose columns it gets: (n,) positions, a permutation.

    `at` (n,) ascending opens (ns), `span` (n,) ranges as fractions of price. Whole blocks of BLOCK change places within
    their tercile of mean range; incomplete ones (a hole, either end) stay.
    """
    source = np.arange(len(at), dtype=np.int64)
    block, first, count = np.unique(at // BLOCK, return_index=True, return_counts=True)
    if len(block) == 0:
        return source
    whole = np.flatnonzero(count == count.max())
    mean = np.add.reduceat(span, first)[whole] / count[whole]
    tercile = np.searchsorted(np.nanquantile(mean, (1 / 3, 2 / 3)), mean) if len(whole) else mean.astype(np.int64)
    draw = np.random.default_rng(seed)
    inside = np.arange(count.max())
    for part in range(3):
        to = whole[tercile == part]
        for here, there in zip(first[to], first[draw.permutation(to)], strict=True):
            source[here + inside] = there + inside
    return source


def _entries(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"placebo: there is no file {path}", "name a feather file with pair, date and side")
    frame = read_stable(path, pd.read_feather)
    if not {"pair", "date", "side"} <= set(frame.columns) or not set(frame["side"]) <= {"long", "short"}:
        raise InputError(f"placebo {path}: columns pair, date and side (long or short) are needed")
    dates_ns(frame["date"], f"placebo {path}")
    return frame

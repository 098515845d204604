"""What an exchange tells and freqtrade's files cannot hold, from the extras beside them: prints, ratios, takers' volume.

`<datadir>/liqsignals/<kind>/binance/<pair>-<period>/`, as `liqsignals download` and `record` write it (data/store.py). All of it may be
absent. Read on first use, and kept in memory from then on.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from liqsignals import records
from liqsignals.data import store
from liqsignals.exchange.archive import Frame, Market, text
from liqsignals.records import Records

_NS = 1_000_000  # in a millisecond
_SOURCE = "binance"


class Prints(NamedTuple):
    """Forced orders of all markets in the order in which they are told: when (ms), whose, and the record of each."""

    told_ms: NDArray[np.int64]
    symbol: list[str]
    rows: Records


class Extras:
    """The extras of one data directory. `markets`: by symbol. Reading raises InputError for a damaged file."""

    def __init__(self, datadir: Path, markets: dict[str, Market]) -> None:
        self._folder = datadir / "liqsignals"
        self._markets = markets
        self._read: dict[tuple[str, str], Records] = {}
        self._ratios: dict[tuple[str, str], Frame] = {}
        self._prints: Prints | None = None

    def ratios(self, symbol: str, column: str) -> Frame:
        """Instants (ms, ascending) of the snapshots that tell a column of RATIO, and its values."""
        if (symbol, column) not in self._ratios:
            rows = self._rows(symbol, "ratio", "5m", records.RATIO)
            rows = rows[np.isfinite(rows[column])]
            self._ratios[symbol, column] = Frame(rows["event_time"] // _NS, (rows[column],))
        return self._ratios[symbol, column]

    def takers(self, symbol: str) -> Records:
        """TAKER rows (n,) of 5m bars, ascending; `event_time` is the bar's close."""
        return self._rows(symbol, "taker", "5m", records.TAKER)

    def prints(self) -> Prints:
        """All prints. Each is told a second after it happened, as Binance's snapshots of one second are at the latest."""
        if self._prints is None:
            parts = {
                symbol: self._rows(symbol, "liquidation", "events", records.LIQUIDATION) for symbol in self._markets
            }
            rows = np.concatenate([np.empty(0, records.LIQUIDATION), *parts.values()])
            symbols = [symbol for symbol, part in parts.items() for _ in range(len(part))]
            told = -(-(rows["event_time"] + records.LIQUIDATION_LAG) // _NS)
            order = np.argsort(told, kind="stable")
            self._prints = Prints(told[order], [symbols[number] for number in order], rows[order])
        return self._prints

    def _rows(self, symbol: str, kind: str, period: str, dtype: np.dtype[np.void]) -> Records:
        if (symbol, kind) not in self._read:
            market = self._markets[symbol]
            pair = f"{market.base}/{market.quote}:{market.quote}"
            self._read[symbol, kind] = store.read(store.series_dir(self._folder, kind, _SOURCE, pair, period), dtype)
        return self._read[symbol, kind]


def forced_order(symbol: str, row: Any) -> str:
    """The message of `!forceOrder@arr` that tells of a LIQUIDATION record."""
    price, amount, at = text(row["price"]), text(row["base"]), int(row["event_time"]) // _NS
    order = {
        "s": symbol,
        "S": "SELL" if row["side"] == records.LONG else "BUY",
        "o": "LIMIT",
        "f": "IOC",
        "q": amount,
        "p": price,
        "ap": price,
        "X": "FILLED",
        "l": amount,
        "z": amount,
        "T": at,
    }
    return json.dumps({"e": "forceOrder", "E": at, "o": order, "st": 1})

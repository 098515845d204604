"""Exchange data that freqtrade's files cannot hold, read from the extras: liquidation prints, ratios, taker volume.

Folders are `<datadir>/liqsignals/<kind>/<exchange>/<pair>-<period>/`, as `liqsignals download` and `record` write them
(data/store.py). Each may be absent. Series are read on first use and cached in memory.
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


class Prints(NamedTuple):
    """Forced orders of all markets in the order in which they are sent: send time (ms), symbol, LIQUIDATION record."""

    sent_ms: NDArray[np.int64]
    symbol: list[str]
    rows: Records


class Extras:
    """The extras of one data directory. `markets` is keyed by symbol. Reading raises InputError for a damaged file."""

    def __init__(self, datadir: Path, markets: dict[str, Market], exchange: str = "binance") -> None:
        self._exchange = exchange
        self._folder = datadir / "liqsignals"
        self._markets = markets
        self._read: dict[tuple[str, str], Records] = {}
        self._ratios: dict[tuple[str, str], Frame] = {}
        self._prints: Prints | None = None

    def ratios(self, symbol: str, column: str) -> Frame:
        """Times (ms, ascending) of the snapshots with a finite value in a column of RATIO, and the values."""
        if (symbol, column) not in self._ratios:
            rows = self._rows(symbol, "ratio", "5m", records.RATIO)
            rows = rows[np.isfinite(rows[column])]
            self._ratios[symbol, column] = Frame(rows["event_time"] // _NS, (rows[column],))
        return self._ratios[symbol, column]

    def takers(self, symbol: str) -> Records:
        """TAKER rows (n,) of 5m bars, ascending; `event_time` is the bar's close."""
        return self._rows(symbol, "taker", "5m", records.TAKER)

    def prints(self) -> Prints:
        """All prints. Each is sent a second after its event: Binance's snapshots of one second arrive by then."""
        if self._prints is None:
            parts = {
                symbol: self._rows(symbol, "liquidation", "events", records.LIQUIDATION) for symbol in self._markets
            }
            rows = np.concatenate([np.empty(0, records.LIQUIDATION), *parts.values()])
            symbols = [symbol for symbol, part in parts.items() for _ in range(len(part))]
            sent = -(-(rows["event_time"] + records.LIQUIDATION_LAG) // _NS)
            order = np.argsort(sent, kind="stable")
            self._prints = Prints(sent[order], [symbols[number] for number in order], rows[order])
        return self._prints

    def _rows(self, symbol: str, kind: str, period: str, dtype: np.dtype[np.void]) -> Records:
        if (symbol, kind) not in self._read:
            market = self._markets[symbol]
            self._read[symbol, kind] = store.read(
                store.series_dir(self._folder, kind, self._exchange, market.pair, period), dtype
            )
        return self._read[symbol, kind]


def forced_order(symbol: str, row: Any) -> str:
    """The `!forceOrder@arr` message of a LIQUIDATION record."""
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

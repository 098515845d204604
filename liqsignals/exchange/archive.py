"""Reads a freqtrade data directory as market history: files, rows, tick and step of each contract.

Dates are milliseconds, as in the exchange's API. Nothing in this module depends on the current time.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import feather, ipc

from liqsignals.clock import dates_ns
from liqsignals.data import choice, labels
from liqsignals.data.freqtrade import CANDLES
from liqsignals.errors import InputError
from liqsignals.files import FORMATS, format_of, parse_name, read_stable
from liqsignals.venues import LABEL_START, known_exchange

MINUTE = 60_000
DAY = 1440 * MINUTE
_NS = 1_000_000  # in a millisecond
_TIMEFRAMES = "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w"  # a month has no fixed length
_UNITS = {"m": 1, "h": 60, "d": 1440, "w": 10080}
_Time = TypeVar("_Time", int, NDArray[np.int64])
INTERVALS = {name: int(name[:-1]) * _UNITS[name[-1]] for name in _TIMEFRAMES.split()}
PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")  # of open interest
#: Rows from whose decimals tick and step are estimated.
_SAMPLE = 200
# Binance's weeks begin on Mondays, the epoch on a Thursday.
_WEEK_ORIGIN = 4 * DAY

_PER_SECOND = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}
_COLUMNS = {
    "futures": CANDLES,
    "mark": CANDLES,
    "funding_rate": ("funding_rate",),
    "open_interest": ("open_interest_amount", "open_interest_value"),
}


class Frame(NamedTuple):
    """One file: milliseconds, and float64 columns in the order of `_COLUMNS`."""

    date: NDArray[np.int64]
    columns: tuple[NDArray[np.float64], ...]

    def slice(self, first: int, last: int) -> "Frame":
        return Frame(self.date[first:last], tuple(column[first:last] for column in self.columns))


@dataclass(frozen=True)
class Market:
    """A pair of the data directory and its files: kind -> minutes of the timeframe -> path."""

    base: str
    quote: str
    files: dict[str, dict[int, Path]] = field(default_factory=dict)

    @property
    def symbol(self) -> str:
        return self.base + self.quote

    @property
    def pair(self) -> str:
        return f"{self.base}/{self.quote}:{self.quote}"


class Spec(NamedTuple):
    """Tick, step and listing date of a contract, derived from its candles."""

    price_decimals: int
    amount_decimals: int
    onboard_ms: int


class Archive:
    """A freqtrade data directory. Files are listed on construction, read on first use and cached in memory.

    Of a series in several formats the one that freqtrade and liqsignals read is served (data/choice.py).
    """

    def __init__(self, datadir: Path) -> None:
        self.datadir = datadir
        #: Exchange that the files come from, by the folder's name; Binance where that says nothing.
        self.exchange = known_exchange(datadir) or "binance"
        #: The one format of its candle files (files.FORMATS), None where there are several.
        self.dataformat = format_of(datadir)
        self.simulated = (datadir / "SIMULATED").is_file()
        folder = datadir / "futures"
        if not datadir.is_dir():
            raise InputError(
                f"{datadir}: no such folder; give the one that freqtrade's --datadir takes,"
                " such as user_data/data/binance"
            )
        fill = "fill it with `freqtrade download-data --trading-mode futures`"
        if not folder.is_dir():
            raise InputError(f"{datadir}: no folder `futures` in it; give its parent, or {fill}")
        found: dict[str, Market] = {}
        for path in sorted(folder.iterdir()):
            file = parse_name(path.name)
            if file is None or file.candle_type not in _COLUMNS:
                continue
            base, quote, settle = re.split("[/:]", file.pair) if "/" in file.pair else ("", "", "")
            # What settles in another coin is no USD-M market.
            if base and quote == settle and file.timeframe in INTERVALS:
                market = Market(base, quote)
                kinds = found.setdefault(market.symbol, market).files.setdefault(file.candle_type, {})
                if INTERVALS[file.timeframe] not in kinds:
                    read = choice.data_file(datadir, file.pair, file.timeframe, file.candle_type)
                    kinds[INTERVALS[file.timeframe]] = read or path
        self.markets = {symbol: market for symbol, market in found.items() if "futures" in market.files}
        if not self.markets:
            raise InputError(f"{folder}: no candle file such as BTC_USDT_USDT-5m-futures.feather; {fill}")
        self._frames: dict[Path, Frame] = {}
        self._built: dict[tuple[str, str, int], Frame] = {}
        self._published: dict[tuple[str, int], NDArray[np.int64]] = {}
        self._specs: dict[str, Spec | None] = {}

    def finest(self, symbol: str, kind: str) -> int | None:
        """The shortest timeframe on disk, in minutes."""
        return min(self.markets[symbol].files.get(kind, ()), default=None)

    def frame(self, symbol: str, kind: str, minutes: int) -> Frame | None:
        """Rows of one timeframe: its file's, else resampled from the longest shorter timeframe that divides it."""
        files = self.markets[symbol].files.get(kind, {})
        if minutes in files:
            return self._read(files[minutes], kind)
        shorter = max((have for have in files if have < minutes and minutes % have == 0), default=None)
        if shorter is None:
            return None
        key = (symbol, kind, minutes)
        if key not in self._built:
            rows = self._read(files[shorter], kind)
            make = _snapshots if kind == "open_interest" else _resample
            self._built[key] = make(rows, shorter, minutes)
        return self._built[key]

    def published_ms(self, symbol: str, minutes: int) -> NDArray[np.int64]:
        """When each row of `frame(symbol, "open_interest", minutes)` is first served (ms, ascending), shape (n,).

        At its label where labels name the ends of periods, one period later where they name starts. The convention is
        estimated per day from the file (data/labels.py).
        """
        key = (symbol, minutes)
        if key not in self._published:
            rows, length = self.frame(symbol, "open_interest", minutes), self.finest(symbol, "futures")
            bars = self.frame(symbol, "futures", length) if length else None
            if rows is None or bars is None or length is None:
                return np.empty(0, np.int64)
            files = self.markets[symbol].files["open_interest"]
            period = max(have for have in files if have <= minutes and minutes % have == 0)
            stored = self._read(files[period], "open_interest")
            days, kinds, _ = labels.conventions(
                stored.date * _NS, stored.columns[0], period * MINUTE * _NS, bars.date * _NS, length * MINUTE * _NS,
                bars.columns[4], self.exchange,
            )  # fmt: skip
            start = kinds[np.searchsorted(days, rows.date * _NS, side="right") - 1] == LABEL_START
            self._published[key] = np.maximum.accumulate(rows.date + np.where(start, period * MINUTE, 0))
        return self._published[key]

    def spec(self, symbol: str) -> Spec | None:
        """Tick and step estimated from the latest candles, or None without candles.

        Only the end of the smallest file is read: exchangeInfo needs this for every market, and a contract's tick
        changes over the years.
        """
        if symbol not in self._specs:
            paths = self.markets[symbol].files["futures"].values()
            by_size = sorted(paths, key=lambda path: path.stat().st_size)
            self._specs[symbol] = next((spec for path in by_size if (spec := self._sample(path))), None)
        return self._specs[symbol]

    def _sample(self, path: Path) -> Spec | None:
        if path.name.endswith(FORMATS["feather"]):
            return _sample(path)
        rows = self._read(path, "futures")
        if not len(rows.date):
            return None
        close, volume = (rows.columns[number][-_SAMPLE:].tolist() for number in (3, 4))
        return Spec(*decimals(close, volume), int(rows.date[0]))

    def _read(self, path: Path, kind: str) -> Frame:
        if path not in self._frames:
            date, columns = (_read_feather if path.name.endswith(FORMATS["feather"]) else _read_other)(path, kind)
            if np.any(date[1:] <= date[:-1]):
                date, order = np.unique(date, return_index=True)
                columns = [column[order] for column in columns]
            self._frames[path] = Frame(date, tuple(columns))
        return self._frames[path]


def _read_feather(path: Path, kind: str) -> tuple[NDArray[np.int64], list[NDArray[np.float64]]]:
    """Dates (ms) and columns of a feather file, without pandas' detour."""
    names = _COLUMNS[kind]
    try:
        table = feather.read_table(path)
        if kind == "funding_rate" and names[0] not in table.column_names:
            names = ("open",)  # freqtrade's column name for funding until 2026
        date = table["date"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_numpy()
        return date, [table[name].cast(pa.float64()).to_numpy() for name in names]
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error


def _read_other(path: Path, kind: str) -> tuple[NDArray[np.int64], list[NDArray[np.float64]]]:
    """The same of freqtrade's other formats."""
    frame = read_stable(path, choice.load_file)
    try:
        columns = [frame[name].to_numpy(np.float64) for name in _COLUMNS[kind]]
    except (KeyError, ValueError) as error:
        raise _unreadable(path, error) from error
    return dates_ns(frame["date"], str(path)) // _NS, columns


def opened(at: _Time, minutes: int) -> _Time:
    """Open of the candle of `minutes` that contains each instant (ms)."""
    step = minutes * MINUTE
    origin = _WEEK_ORIGIN if minutes == INTERVALS["1w"] else 0
    return (at - origin) // step * step + origin


def _resample(rows: Frame, shorter: int, minutes: int) -> Frame:
    """Candles of `minutes` from shorter ones; an incomplete last candle is left out."""
    step = minutes * MINUTE
    if not len(rows.date):
        return rows
    label = opened(rows.date, minutes)
    first = np.flatnonzero(np.r_[True, label[1:] != label[:-1]])
    last = np.r_[first[1:], len(label)] - 1
    open_, high, low, close, volume = rows.columns
    built = Frame(
        label[first],
        (
            open_[first],
            np.maximum.reduceat(high, first),
            np.minimum.reduceat(low, first),
            close[last],
            # Removes float residue such as ...0000001 from sums of decimals.
            np.round(np.add.reduceat(volume, first), 8).astype(np.float64),
        ),
    )
    complete = int(rows.date[-1]) + shorter * MINUTE >= int(built.date[-1]) + step
    return built if complete else built.slice(0, len(built.date) - 1)


def _snapshots(rows: Frame, shorter: int, minutes: int) -> Frame:
    """Open interest is a level, not a sum: a longer period keeps the rows at its own labels."""
    keep = rows.date % (minutes * MINUTE) == 0
    return Frame(rows.date[keep], tuple(column[keep] for column in rows.columns))


def _sample(path: Path) -> Spec | None:
    """Tick and step from the decimals of a feather file's last rows.

    No call in here may make pyarrow import pandas: a backtest needs nothing else, and the import would delay its start.
    """
    try:
        with pa.memory_map(str(path)) as source:
            names = ipc.open_file(source).schema.names
            wanted = [names.index(name) for name in ("date", "close", "volume")]
            reader = ipc.open_file(source, options=ipc.IpcReadOptions(included_fields=wanted))
            batches = [reader.get_batch(index) for index in range(reader.num_record_batches)[-2:]]
            close, volume = (
                [value for batch in batches for value in batch.column(name)[-_SAMPLE:].to_pylist()][-_SAMPLE:]
                for name in ("close", "volume")
            )
            if not close:
                return None
            first = reader.get_batch(0).column("date")[0]
            onboard_ms = int(first.value * 1000 // _PER_SECOND[first.type.unit])
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error
    return Spec(*decimals(close, volume), onboard_ms)


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not readable as freqtrade's ({error}); download it again")


def decimals(close: Sequence[float], volume: Sequence[float]) -> tuple[int, int]:
    """Decimals of the price and of the amount, as observed, limited to plausible ones.

    A tick is between 1e-7 and 1e-3 of the price. A step is no finer than 0.001, which is Binance's finest,
    unless 0.001 would be worth more than 100 of the quote currency.
    """
    size = math.floor(math.log10(max(close[-1], 1e-9)))
    traded = [value for value in volume if value > 0]
    price = min(max(_observed(close), 3 - size, 0), 6 - size, 10)
    amount = max(min(_observed(traded) if traded else 3, 3), size - 1, 0)
    return max(price, 0), amount


def _observed(values: Sequence[float]) -> int:
    return max(len(f"{value:.10f}".rstrip("0").partition(".")[2]) for value in values)


def text(value: float) -> str:
    """The shortest plain decimal that reads back as the same float; nothing for NaN."""
    if math.isnan(value):
        return ""
    shortest = repr(float(value))
    return f"{Decimal(shortest):f}" if "e" in shortest else shortest

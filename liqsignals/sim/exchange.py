"""The loopback exchange: what freqtrade needs of Binance's public USD-M REST API, served from files.

Any freqtrade data directory will do. Freqtrade itself is not touched: it reads one more configuration file,
the overlay, whose addresses all point here, those for orders and balances included, so that a bot started
with it can reach no real account by mistake.

    python -m liqsignals.sim.exchange --datadir user_data/data/binance -- \\
        freqtrade backtesting --config config.json --config {overlay} --strategy MyStrategy

Nothing in it knows the time but `now_ms`: an answer holds only candles that had closed by then, and open
interest and funding labelled no later.
"""

import argparse
import json
import math
import os
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from aiohttp import web
from numpy.typing import NDArray
from pyarrow import feather, ipc

from liqsignals.errors import InputError
from liqsignals.sim.serving import served

Clock = Callable[[], int]
Row = Mapping[str, Any]

_MINUTE = 60_000
_DAY = 1440 * _MINUTE
_TIMEFRAMES = "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w"  # a month has no fixed length
_UNITS = {"m": 1, "h": 60, "d": 1440, "w": 10080}
INTERVALS = {name: int(name[:-1]) * _UNITS[name[-1]] for name in _TIMEFRAMES.split()}
PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")  # of open interest
# Binance's weeks begin on Mondays, the epoch on a Thursday.
_WEEK_ORIGIN = 4 * _DAY
_NEVER = 4133404800000  # Binance's delivery date of a contract that is never delivered

_FILE = re.compile(
    r"(?P<base>[^-]+)_(?P<quote>[^-_]+)_(?P=quote)-(?P<timeframe>\d+[mhdw])"
    r"-(?P<kind>futures|mark|funding_rate|open_interest)\.feather"
)
_PER_SECOND = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}
_COLUMNS = {
    "futures": ("open", "high", "low", "close", "volume"),
    "mark": ("open", "high", "low", "close", "volume"),
    "funding_rate": ("funding_rate",),
    "open_interest": ("open_interest_amount", "open_interest_value"),
}


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


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


class Spec(NamedTuple):
    """What a market's candles say about its contract."""

    price_decimals: int
    amount_decimals: int
    onboard_ms: int


class Archive:
    """A freqtrade data directory, listed at once, read on first use, kept in memory from then on."""

    def __init__(self, datadir: Path) -> None:
        self.datadir = datadir
        self.simulated = (datadir / "SIMULATED").is_file()
        folder = datadir / "futures"
        if not datadir.is_dir():
            raise InputError(
                f"{datadir}: no such folder; give the one that freqtrade's --datadir takes,"
                " such as user_data/data/binance"
            )
        fill = "fill it with `freqtrade download-data --trading-mode futures --data-format-ohlcv feather`"
        if not folder.is_dir():
            raise InputError(f"{datadir}: no folder `futures` in it; give its parent, or {fill}")
        found: dict[str, Market] = {}
        for path in sorted(folder.iterdir()):
            if (match := _FILE.fullmatch(path.name)) and match["timeframe"] in INTERVALS:
                market = Market(match["base"], match["quote"])
                files = found.setdefault(market.symbol, market).files
                files.setdefault(match["kind"], {})[INTERVALS[match["timeframe"]]] = path
        self.markets = {symbol: market for symbol, market in found.items() if "futures" in market.files}
        if not self.markets:
            raise InputError(f"{folder}: no candle file such as BTC_USDT_USDT-5m-futures.feather; {fill}")
        self._frames: dict[Path, Frame] = {}
        self._built: dict[tuple[str, str, int], Frame] = {}
        self._specs: dict[str, Spec | None] = {}

    def finest(self, symbol: str, kind: str) -> int | None:
        """The shortest timeframe on disk, in minutes."""
        return min(self.markets[symbol].files.get(kind, ()), default=None)

    def frame(self, symbol: str, kind: str, minutes: int) -> Frame | None:
        """The rows of one timeframe: its file's, else made from the next shorter one that fits into it."""
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

    def spec(self, symbol: str) -> Spec | None:
        """Tick and step as the latest candles show them, or None without candles.

        Read from the smallest file, and only the end of it: exchangeInfo asks this of every market, and a
        contract's tick changes over the years.
        """
        if symbol not in self._specs:
            paths = self.markets[symbol].files["futures"].values()
            by_size = sorted(paths, key=lambda path: path.stat().st_size)
            self._specs[symbol] = next((spec for path in by_size if (spec := _sample(path))), None)
        return self._specs[symbol]

    def _read(self, path: Path, kind: str) -> Frame:
        if path not in self._frames:
            names = _COLUMNS[kind]
            try:
                table = feather.read_table(path)
                if kind == "funding_rate" and names[0] not in table.column_names:
                    names = ("open",)  # how freqtrade stored funding until 2026
                date = table["date"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_numpy()
                columns = [table[name].cast(pa.float64()).to_numpy() for name in names]
            except (OSError, KeyError, pa.ArrowInvalid) as error:
                raise _unreadable(path, error) from error
            if np.any(date[1:] <= date[:-1]):
                date, order = np.unique(date, return_index=True)
                columns = [column[order] for column in columns]
            self._frames[path] = Frame(date, tuple(columns))
        return self._frames[path]


def _resample(rows: Frame, shorter: int, minutes: int) -> Frame:
    """Candles of `minutes` from shorter ones; a last one that is not complete is left out."""
    step = minutes * _MINUTE
    origin = _WEEK_ORIGIN if minutes == INTERVALS["1w"] else 0
    if not len(rows.date):
        return rows
    label = (rows.date - origin) // step * step + origin
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
            # Without it, sums of decimals end in ...0000001.
            np.round(np.add.reduceat(volume, first), 8).astype(np.float64),
        ),
    )
    complete = int(rows.date[-1]) + shorter * _MINUTE >= int(built.date[-1]) + step
    return built if complete else built.slice(0, len(built.date) - 1)


def _snapshots(rows: Frame, shorter: int, minutes: int) -> Frame:
    """Open interest is a level, not a sum: a longer period has the rows at its own labels."""
    keep = rows.date % (minutes * _MINUTE) == 0
    return Frame(rows.date[keep], tuple(column[keep] for column in rows.columns))


def _sample(path: Path, rows: int = 200) -> Spec | None:
    """Tick and step from the decimals of a file's last rows.

    No call in here may make pyarrow import pandas: a backtest asks for nothing else, and would wait for it.
    """
    try:
        with pa.memory_map(str(path)) as source:
            names = ipc.open_file(source).schema.names
            wanted = [names.index(name) for name in ("date", "close", "volume")]
            reader = ipc.open_file(source, options=ipc.IpcReadOptions(included_fields=wanted))
            batches = [reader.get_batch(index) for index in range(reader.num_record_batches)[-2:]]
            close, volume = (
                [value for batch in batches for value in batch.column(name)[-rows:].to_pylist()][-rows:]
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
    return InputError(f"{path}: not readable as freqtrade's feather ({error}); download it again")


def decimals(close: Sequence[float], volume: Sequence[float]) -> tuple[int, int]:
    """Decimals of the price and of the amount, as observed, within what an exchange could have.

    A tick is between 1e-7 and 1e-3 of the price. A step is no finer than 0.001, which is Binance's finest,
    unless it would be worth more than 100 of the quote currency.
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


class ApiError(Exception):
    """An answer of the shape `{"code": ..., "msg": ...}`."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Quote(NamedTuple):
    """The last day of a market as its candles tell it."""

    open: float
    high: float
    low: float
    last: float
    volume: float
    turnover: float
    open_ms: int
    close_ms: int


class LoopbackExchange:
    """The endpoints. `now_ms` is the only clock they read."""

    def __init__(self, archive: Archive, now_ms: Clock = wall_clock_ms) -> None:
        self.archive = archive
        self.now_ms = now_ms

    def app(self) -> web.Application:
        app = web.Application(middlewares=[_answer_errors])
        routes: dict[str, Callable[[Row], Any]] = {
            "/fapi/v1/exchangeInfo": self.exchange_info,
            "/fapi/v1/time": lambda _: {"serverTime": self.now_ms()},
            "/fapi/v1/klines": lambda query: self.klines(query, "futures"),
            "/fapi/v1/markPriceKlines": lambda query: self.klines(query, "mark"),
            "/fapi/v1/premiumIndex": self.premium_index,
            "/fapi/v1/fundingRate": self.funding_rate,
            "/fapi/v1/fundingInfo": self.funding_info,
            "/fapi/v1/depth": self.depth,
            "/fapi/v1/ticker/24hr": self.ticker,
            "/fapi/v1/ticker/bookTicker": self.book_ticker,
            "/futures/data/openInterestHist": self.open_interest,
        }
        for path, answer in routes.items():
            app.router.add_get(path, _handler(answer))
        return app

    def exchange_info(self, query: Row) -> dict[str, Any]:
        specs = {symbol: self.archive.spec(symbol) for symbol in self.archive.markets}
        listed = {symbol: spec for symbol, spec in specs.items() if spec}
        quotes = {self.archive.markets[symbol].quote for symbol in listed}
        limits = (
            ("REQUEST_WEIGHT", "MINUTE", 1, 2400),
            ("ORDERS", "MINUTE", 1, 1200),
            ("ORDERS", "SECOND", 10, 300),
        )
        return {
            "timezone": "UTC",
            "serverTime": self.now_ms(),
            "futuresType": "U_MARGINED",
            "rateLimits": [
                {"rateLimitType": kind, "interval": unit, "intervalNum": number, "limit": limit}
                for kind, unit, number, limit in limits
            ],
            "exchangeFilters": [],
            "assets": [
                {"asset": quote, "marginAvailable": True, "autoAssetExchange": "-10000"} for quote in sorted(quotes)
            ],
            "symbols": [_contract(self.archive.markets[symbol], spec) for symbol, spec in listed.items()],
        }

    def klines(self, query: Row, kind: str) -> list[list[Any]]:
        symbol = self._symbol(query)
        interval = _required(query, "interval")
        if interval not in INTERVALS:
            raise ApiError(-1120, "Invalid interval.")
        step = INTERVALS[interval] * _MINUTE
        start, end, limit = _window(query, default=500, most=1500)
        frame = self.archive.frame(symbol, kind, INTERVALS[interval])
        rows = _select(frame, start, min(end, self.now_ms() - step), limit, oldest_first=start is not None)
        # The files hold no turnover, number of trades or taker volume: the first is estimated, the others
        # are zero. Mark candles have no volume at all.
        is_mark = kind == "mark"
        return [
            [
                date,
                text(open_),
                text(high),
                text(low),
                text(close),
                "0" if is_mark else text(volume),
                date + step - 1,
                "0" if is_mark else text(round(volume * (open_ + high + low + close) / 4, 8)),
                0,
                "0",
                "0",
                "0",
            ]
            for date, open_, high, low, close, volume in _tuples(rows)
        ]

    def funding_rate(self, query: Row) -> list[dict[str, Any]]:
        symbols = [self._symbol(query)] if "symbol" in query else list(self.archive.markets)
        start, end, limit = _window(query, default=100, most=1000)
        found = [
            {
                "symbol": symbol,
                "fundingRate": text(rate),
                "fundingTime": date,
                "markPrice": "",  # as in Binance's own early rows; the files do not have it
                "rateType": "Regular",
            }
            for symbol in symbols
            for date, rate in _tuples(
                _select(self._funding(symbol), start, min(end, self.now_ms()), limit, start is not None)
            )
        ]
        found.sort(key=lambda row: int(row["fundingTime"]))
        return found[:limit] if start is not None else found[-limit:]

    def funding_info(self, query: Row) -> list[dict[str, Any]]:
        """Binance lists only contracts whose funding differs from eight hours and the default caps."""
        return [
            {
                "symbol": symbol,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": hours,
                "disclaimer": False,
            }
            for symbol in self.archive.markets
            if (hours := self._funding_now(symbol)[1]) != 8
        ]

    def premium_index(self, query: Row) -> dict[str, Any] | list[dict[str, Any]]:
        return self._one_or_all(query, self._premium)

    def depth(self, query: Row) -> dict[str, Any]:
        symbol = self._symbol(query)
        limit = _integer(query, "limit", 500)
        if limit not in (5, 10, 20, 50, 100, 500, 1000):
            raise ApiError(-4021, f"{limit} is not valid depth limit.")
        if (quote := self._quote(symbol)) is None:
            raise _nothing_yet()
        bids, asks = self._book(symbol, quote, limit)
        now = self.now_ms()
        return {"lastUpdateId": now, "E": now, "T": now, "bids": bids, "asks": asks}

    def ticker(self, query: Row) -> dict[str, Any] | list[dict[str, Any]]:
        return self._one_or_all(query, self._ticker)

    def book_ticker(self, query: Row) -> dict[str, Any] | list[dict[str, Any]]:
        return self._one_or_all(query, self._book_ticker)

    def open_interest(self, query: Row) -> list[dict[str, Any]]:
        """The latest rows of the window, however it is given: this endpoint never counts from its start."""
        symbol = self._symbol(query)
        period = _required(query, "period")
        if period not in PERIODS:
            raise ApiError(-1130, "Data sent for parameter 'period' is not valid.")
        start, end, limit = _window(query, default=30, most=500)
        frame = self.archive.frame(symbol, "open_interest", INTERVALS[period])
        rows = _select(frame, start, min(end, self.now_ms()), limit, oldest_first=False)
        return [
            {
                "symbol": symbol,
                "sumOpenInterest": text(amount),
                "sumOpenInterestValue": text(value),
                "timestamp": date,
            }
            for date, amount, value in _tuples(rows)
        ]

    def _symbol(self, query: Row) -> str:
        symbol = _required(query, "symbol")
        if symbol not in self.archive.markets:
            raise ApiError(-1121, "Invalid symbol.")
        return symbol

    def _one_or_all(
        self, query: Row, row: Callable[[str, Quote], dict[str, Any]]
    ) -> dict[str, Any] | list[dict[str, Any]]:
        if "symbol" in query:
            symbol = self._symbol(query)
            if (quote := self._quote(symbol)) is None:
                raise _nothing_yet()
            return row(symbol, quote)
        return [row(symbol, quote) for symbol in self.archive.markets if (quote := self._quote(symbol))]

    def _quote(self, symbol: str) -> Quote | None:
        """The 24 hours up to the last closed candle, None before the first one."""
        minutes = self.archive.finest(symbol, "futures")
        frame = self.archive.frame(symbol, "futures", minutes) if minutes else None
        if frame is None or minutes is None:
            return None
        step = minutes * _MINUTE
        last = int(np.searchsorted(frame.date, self.now_ms() - step, side="right"))
        if not last:
            return None
        end = int(frame.date[last - 1]) + step
        day = frame.slice(int(np.searchsorted(frame.date, end - max(_DAY, step))), last)
        open_, high, low, close, volume = day.columns
        return Quote(
            open=float(open_[0]),
            high=float(high.max()),
            low=float(low.min()),
            last=float(close[-1]),
            volume=float(volume.sum()),
            turnover=float((volume * (open_ + high + low + close) / 4).sum()),
            open_ms=int(day.date[0]),
            close_ms=end - 1,
        )

    def _ticker(self, symbol: str, quote: Quote) -> dict[str, Any]:
        spec = self._spec(symbol)
        mean = quote.turnover / quote.volume if quote.volume else quote.last
        return {
            "symbol": symbol,
            "priceChange": f"{quote.last - quote.open:.{spec.price_decimals}f}",
            "priceChangePercent": f"{100 * (quote.last / quote.open - 1):.3f}",
            "weightedAvgPrice": f"{mean:.{spec.price_decimals}f}",
            "lastPrice": text(quote.last),
            "lastQty": _quantity(quote, spec),
            "openPrice": text(quote.open),
            "highPrice": text(quote.high),
            "lowPrice": text(quote.low),
            "volume": f"{quote.volume:.{spec.amount_decimals}f}",
            "quoteVolume": f"{quote.turnover:.2f}",
            "openTime": quote.open_ms,
            "closeTime": quote.close_ms,
            "firstId": 0,
            "lastId": 0,
            "count": 0,
        }

    def _book_ticker(self, symbol: str, quote: Quote) -> dict[str, Any]:
        bids, asks = self._book(symbol, quote, 1)
        now = self.now_ms()
        return {
            "symbol": symbol,
            "bidPrice": bids[0][0],
            "bidQty": bids[0][1],
            "askPrice": asks[0][0],
            "askQty": asks[0][1],
            "time": now,
            "lastUpdateId": now,
        }

    def _book(self, symbol: str, quote: Quote, levels: int) -> tuple[list[list[str]], list[list[str]]]:
        """A made-up book: a second's mean volume at every tick on both sides of the last price."""
        spec = self._spec(symbol)
        quantity = _quantity(quote, spec)
        middle = round(quote.last * 10**spec.price_decimals)

        def side(step: int) -> list[list[str]]:
            ticks = range(middle + step, middle + step * (levels + 1), step)
            return [[f"{Decimal(tick).scaleb(-spec.price_decimals):f}", quantity] for tick in ticks if tick > 0]

        return side(-1), side(1)

    def _premium(self, symbol: str, quote: Quote) -> dict[str, Any]:
        """Mark price and funding. The files know no index, so the mark price stands for it."""
        now = self.now_ms()
        mark = quote.last
        if minutes := self.archive.finest(symbol, "mark"):
            frame = self.archive.frame(symbol, "mark", minutes)
            rows = _select(frame, None, now - minutes * _MINUTE, 1, oldest_first=False)
            # Between two mark candles the last price is the closer guess.
            if len(rows.date) and int(rows.date[-1]) + minutes * _MINUTE > quote.close_ms:
                mark = float(rows.columns[3][-1])
        rate, hours = self._funding_now(symbol)
        period = hours * 60 * _MINUTE
        return {
            "symbol": symbol,
            "markPrice": text(mark),
            "indexPrice": text(mark),
            "estimatedSettlePrice": text(mark),
            # Binance sends the running estimate of the next rate; the last settled one is what can be known.
            "lastFundingRate": text(rate),
            "interestRate": "0.00010000",
            "nextFundingTime": now // period * period + period,
            "time": now,
        }

    def _funding(self, symbol: str) -> Frame | None:
        """Settled rates. Settlements are what they are: the file's timeframe means nothing."""
        minutes = self.archive.finest(symbol, "funding_rate")
        return self.archive.frame(symbol, "funding_rate", minutes) if minutes else None

    def _funding_now(self, symbol: str) -> tuple[float, int]:
        """The last settled rate and the hours between settlements."""
        rows = _select(self._funding(symbol), None, self.now_ms(), 4, oldest_first=False)
        if not len(rows.date):
            return 0.0, 8
        gap = float(np.median(np.diff(rows.date))) if len(rows.date) > 1 else 8 * 60 * _MINUTE
        return float(rows.columns[0][-1]), max(1, round(gap / (60 * _MINUTE)))

    def _spec(self, symbol: str) -> Spec:
        spec = self.archive.spec(symbol)
        if spec is None:
            raise _nothing_yet()
        return spec


def _contract(market: Market, spec: Spec) -> dict[str, Any]:
    """One symbol of exchangeInfo."""
    tick = f"{Decimal(1).scaleb(-spec.price_decimals):f}"
    step = f"{Decimal(1).scaleb(-spec.amount_decimals):f}"
    return {
        "symbol": market.symbol,
        "pair": market.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": _NEVER,
        "onboardDate": spec.onboard_ms,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": market.base,
        "quoteAsset": market.quote,
        "marginAsset": market.quote,
        "pricePrecision": spec.price_decimals,
        "quantityPrecision": spec.amount_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "100000000", "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": step, "maxQty": "10000000", "stepSize": step},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": "1.0500",
                "multiplierDown": "0.9500",
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "permissionSets": ["GRID", "COPY"],
    }


def _quantity(quote: Quote, spec: Spec) -> str:
    second = quote.volume * 1000 / max(quote.close_ms + 1 - quote.open_ms, 1)
    return f"{max(second, 10.0**-spec.amount_decimals):.{spec.amount_decimals}f}"


def _select(frame: Frame | None, start: int | None, end: int, limit: int, oldest_first: bool) -> Frame:
    """The rows labelled from `start` to `end`, both included, the first or the last `limit` of them."""
    if frame is None:
        return Frame(np.empty(0, np.int64), ())
    first = 0 if start is None else int(np.searchsorted(frame.date, start))
    last = int(np.searchsorted(frame.date, end, side="right"))
    if oldest_first:
        return frame.slice(first, max(first, min(last, first + limit)))
    return frame.slice(max(first, last - limit), max(first, last))


def _tuples(rows: Frame) -> Iterator[tuple[Any, ...]]:
    return zip(rows.date.tolist(), *(column.tolist() for column in rows.columns), strict=True)


def _required(query: Row, name: str) -> str:
    if not (value := query.get(name)):
        raise ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return str(value)


def _integer(query: Row, name: str, default: int) -> int:
    try:
        return int(query.get(name, default))
    except ValueError:
        raise ApiError(-1130, f"Data sent for parameter '{name}' is not valid.") from None


def _window(query: Row, default: int, most: int) -> tuple[int | None, int, int]:
    """startTime (None if not given), endTime and limit."""
    limit = _integer(query, "limit", default)
    if not 1 <= limit <= most:
        raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
    start = _integer(query, "startTime", 0) if "startTime" in query else None
    end = _integer(query, "endTime", _NEVER)
    if start is not None and start > end:
        raise ApiError(-1023, "Start time is greater than end time.")
    return start, end, limit


def _nothing_yet() -> ApiError:
    return ApiError(-1122, "Invalid symbol status.")


def _handler(answer: Callable[[Row], Any]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response(answer(request.query))

    return handle


@web.middleware
async def _answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        code, message, status = error.code, str(error), error.status
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        code, message, status = -5000, f"Path {request.path}, Method {request.method} is invalid", 404
    except InputError as error:
        code, message, status = -1000, str(error), 500
    return web.json_response({"code": code, "msg": message}, status=status)


# ccxt's names of Binance's addresses and what follows the host in them.
_API = {
    "public": "api/v3",
    "private": "api/v3",
    "v1": "api/v1",
    "sapi": "sapi/v1",
    "sapiV2": "sapi/v2",
    "sapiV3": "sapi/v3",
    "sapiV4": "sapi/v4",
    "fapiPublic": "fapi/v1",
    "fapiPublicV2": "fapi/v2",
    "fapiPublicV3": "fapi/v3",
    "fapiPrivate": "fapi/v1",
    "fapiPrivateV2": "fapi/v2",
    "fapiPrivateV3": "fapi/v3",
    "fapiData": "futures/data",
    "dapiPublic": "dapi/v1",
    "dapiPrivate": "dapi/v1",
    "dapiPrivateV2": "dapi/v2",
    "dapiData": "futures/data",
    "eapiPublic": "eapi/v1",
    "eapiPrivate": "eapi/v1",
    "papi": "papi/v1",
    "papiV2": "papi/v2",
}


def config_overlay(port: int) -> dict[str, Any]:
    """The configuration that sends freqtrade, sync and async, to the loopback exchange and nowhere else."""
    return {
        "exchange": {
            "name": "binance",
            "enable_ws": False,
            # Or else freqtrade takes long candle histories from Binance's archive.
            "only_from_ccxt": True,
            "ccxt_config": {
                # There is nobody to spare: without this, downloads wait for Binance's request weights.
                "enableRateLimit": False,
                # A proxy that the user needs for Binance cannot reach this machine's loopback.
                "httpProxy": None,
                "httpsProxy": None,
                "socksProxy": None,
                "urls": {"api": {name: f"http://127.0.0.1:{port}/{path}" for name, path in _API.items()}},
                "options": {"fetchMarkets": {"types": ["linear"]}, "fetchCurrencies": False},
            },
        }
    }


@contextmanager
def serve(archive: Archive, now_ms: Clock = wall_clock_ms) -> Iterator[int]:
    """Serve on a free port of 127.0.0.1, in a thread that ends with the block; yields the port."""
    with served(LoopbackExchange(archive, now_ms).app(), "loopback-exchange", 1.0) as port:
        yield port


@contextmanager
def _overlay_file(port: int) -> Iterator[Path]:
    with TemporaryDirectory(prefix="liqsignals-") as folder:
        path = Path(folder) / "overlay.json"
        path.write_text(json.dumps(config_overlay(port), indent=4) + "\n")
        yield path


@contextmanager
def loopback(datadir: Path, now_ms: Clock = wall_clock_ms) -> Iterator[Path]:
    """Serve `datadir`; yields the overlay's path, for a second `--config` of any freqtrade command."""
    with serve(Archive(datadir), now_ms) as port, _overlay_file(port) as overlay:
        yield overlay


_POLL = 0.2  # seconds between looks at the child, the parent and the signals
_GRACE = 10.0  # seconds that a child has after SIGTERM


@contextmanager
def _caught_signals() -> Iterator[list[int]]:
    """The signals that ask to stop, in a list instead of an exception at any point."""
    caught: list[int] = []

    def catch(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, and jobs in the background of a script
            before[number] = signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(command: Sequence[str], caught: list[int], parent: int) -> int:
    """The command's exit code. It is told to stop when this process is, or when this one's parent is gone."""
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    deadline = math.inf
    orphaned = False
    while True:
        try:
            code = child.wait(_POLL)
            return code if code >= 0 else 128 - code
        except subprocess.TimeoutExpired:
            pass
        while caught:
            number = caught.pop(0)
            if number == signal.SIGINT:
                # A Ctrl-C has reached the child already; a second one would break off its clean-up.
                if not _in_foreground():
                    child.send_signal(number)
            else:
                child.send_signal(number)
                deadline = min(deadline, time.monotonic() + _GRACE)
        if os.getppid() != parent and not orphaned:
            orphaned = True
            child.terminate()
            deadline = min(deadline, time.monotonic() + _GRACE)
        if time.monotonic() > deadline:
            child.kill()


def _in_foreground() -> bool:
    """Whether a terminal's Ctrl-C goes to this process group."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _wait(caught: list[int], parent: int) -> None:
    """Until a signal, the parent's end, or the end of a standard input that somebody holds open.

    A terminal or /dev/null is not held by anybody: reading the one stops a job in the background, the other
    ends at once.
    """
    try:
        mode = os.fstat(0).st_mode
        piped = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    except OSError:
        piped = False
    while not caught and os.getppid() == parent:
        if not piped:
            time.sleep(_POLL)
        elif select.select([0], [], [], _POLL)[0] and not os.read(0, 65536):
            return


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, or serve, and return the exit code."""
    parent = os.getppid()
    given = list(sys.argv[1:] if argv is None else argv)
    split = given.index("--") if "--" in given else len(given)
    own, command = given[:split], given[split + 1 :]
    parser = argparse.ArgumentParser(
        prog="python -m liqsignals.sim.exchange",
        usage="%(prog)s [-h] --datadir DIR [-- CMD ARG ...]",
        description="Serve a freqtrade data directory as Binance USD-M futures, on 127.0.0.1 and offline.",
        epilog="With CMD: run it with {overlay} in its arguments replaced by the path of the configuration to"
        " add with a second --config, and end with it. Without: print the port and that path, and serve until"
        " interrupted or left by the parent process.",
    )
    parser.add_argument("--datadir", type=Path, required=True, metavar="DIR", help="as freqtrade's --datadir")
    options = parser.parse_args(own)
    if split < len(given) and not command:
        parser.error("no command after --")
    try:
        archive = Archive(options.datadir)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    label = "SIMULATED market: " if archive.simulated else ""
    with _caught_signals() as caught, serve(archive) as port, _overlay_file(port) as overlay:
        if command:
            if not any("{overlay}" in argument for argument in command):
                print(
                    f"{label}warning: no {{overlay}} in the command: it will not use this exchange",
                    file=sys.stderr,
                )
            return _run([argument.replace("{overlay}", str(overlay)) for argument in command], caught, parent)
        print(f"{label}port {port} overlay {overlay}", flush=True)
        _wait(caught, parent)
        return 0


if __name__ == "__main__":
    sys.exit(main())

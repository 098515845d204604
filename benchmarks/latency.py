"""Latency from a candle's close to the columns in dry-run: milliseconds per pair, compared with freqtrade's own.

A year of SIMULATED 5m candles, open interest and funding is on disk. Two markets are simulated; the other pairs are
hard links to their files and are read, folded and cached like any other. freqtrade's part runs in the same process on
the same candles: `Exchange._process_ohlcv_df` of an answer of 499 candles, and `IStrategy.analyze_pair` of a strategy
with SqueezeMomentum's TA-Lib indicators and no liqsignals column. liqsignals' part is `Signals.attach` with freqtrade's
DataProvider, from its frames to the finished dataframe. No network in either.
"""

import gc
import logging
import os
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import psutil
import talib.abstract as ta
from freqtrade.data.dataprovider import DataProvider
from freqtrade.enums import CandleType, RunMode
from freqtrade.resolvers import ExchangeResolver
from freqtrade.strategy import IStrategy

from benchmarks.report import Table, progress, show
from liqsignals.clock import dates_ns
from liqsignals.data import freqtrade
from liqsignals.liqmap import calibration
from liqsignals.simulation.market import write_market
from liqsignals.strategy.signals import Signals

DAYS = 365
SIMULATED = ("BTC/USDT:USDT", "SOL/USDT:USDT")
#: Candles per freqtrade request, and rows of its frame with SqueezeMomentum's startup of 480 candles.
ANSWER, GROWN = 499, 979
CANDLES = 6
_KINDS = (("5m", CandleType.FUTURES), ("5m", CandleType.OPEN_INTEREST), ("1h", CandleType.FUNDING_RATE))


class Plain(IStrategy):
    """SqueezeMomentum's indicators and its momentum, without the map."""

    timeframe = "5m"
    stoploss = -0.024
    minimal_roi = {"0": 10}
    startup_candle_count = GROWN - ANSWER

    def populate_indicators(self, dataframe: pd.DataFrame, metadata: dict[str, Any]) -> pd.DataFrame:
        dataframe["ema"] = ta.EMA(dataframe, timeperiod=48)
        dataframe["adx"] = ta.ADX(dataframe, timeperiod=14)
        dataframe["plus_di"] = ta.PLUS_DI(dataframe, timeperiod=14)
        dataframe["minus_di"] = ta.MINUS_DI(dataframe, timeperiod=14)
        dataframe["roc"] = ta.ROC(dataframe, timeperiod=12)
        return dataframe

    def populate_entry_trend(self, dataframe: pd.DataFrame, metadata: dict[str, Any]) -> pd.DataFrame:
        up = (dataframe["close"] > dataframe["ema"]) & (dataframe["adx"] >= 20) & (dataframe["roc"] >= 0.2)
        dataframe.loc[up & (dataframe["plus_di"] > dataframe["minus_di"]), "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe: pd.DataFrame, metadata: dict[str, Any]) -> pd.DataFrame:
        return dataframe


class Bot:
    """freqtrade's exchange, data provider and strategy as in a dry-run, with data from files instead of the network."""

    def __init__(self, datadir: Path) -> None:
        self.config: dict[str, Any] = {
            "dry_run": True,
            "runmode": RunMode.DRY_RUN,
            "trading_mode": "futures",
            "margin_mode": "isolated",
            "stake_currency": "USDT",
            "timeframe": "5m",
            "datadir": datadir,
            "pairs": [],
            "startup_candle_count": Plain.startup_candle_count,
            "exchange": {"name": "binance", "key": "", "secret": "", "pair_whitelist": [], "enable_ws": False},
        }
        self.exchange = ExchangeResolver.load_exchange(self.config, validate=False)
        self.exchange._set_startup_candle_count(self.config)
        self.dp = DataProvider(self.config, self.exchange)
        self.strategy = Plain(self.config)
        self.strategy.dp = self.dp
        self.rows = {
            (pair, kind): _answers(datadir, pair, timeframe, kind) for pair in SIMULATED for timeframe, kind in _KINDS
        }

    def refresh(self, pair: str, source: str, now: int, timeframe: str, kind: CandleType, most: int) -> None:
        """Process an exchange answer at `now` (ms) as freqtrade does: `most` rows, then the forming candle."""
        dates, rows = self.rows[source, kind]
        end = int(np.searchsorted(dates, now, side="right"))
        self.exchange._process_ohlcv_df(
            pair,
            timeframe,
            kind,
            rows[max(end - most, 0) : end],
            cache=True,
            drop_incomplete=self.exchange._drop_incomplete_candle(kind),
            fetch_start_ms=now + 2_000,
        )


def _answers(datadir: Path, pair: str, timeframe: str, kind: CandleType) -> tuple[np.ndarray, list[list[Any]]]:
    path = freqtrade.data_file(datadir, pair, timeframe, kind.value)
    assert path is not None
    frame = pd.read_feather(path).iloc[-2 * GROWN :]
    dates = dates_ns(frame["date"], str(path)) // 1_000_000
    values = frame.drop(columns="date").to_numpy(np.float64).tolist()
    return dates, [[date, *value] for date, value in zip(dates.tolist(), values, strict=True)]


def _pairs(datadir: Path, count: int) -> dict[str, str]:
    """`count` pairs, each with its simulated source pair; those after the first two are links to its files."""
    pairs = {pair: pair for pair in SIMULATED[:count]}
    for n in range(count - len(pairs)):
        source = SIMULATED[n % len(SIMULATED)]
        pair = f"C{n}/USDT:USDT"
        pairs[pair] = source
        for path in sorted((datadir / "futures").glob(f"{source.split('/')[0]}_USDT_USDT-*")):
            link = path.with_name(path.name.replace(source.split("/")[0], f"C{n}", 1))
            if not link.exists():
                os.link(path, link)
    return pairs


def measure(datadir: Path, counts: tuple[int, ...], frame_rows: int) -> list[tuple[Any, ...]]:
    """Rows of the table: a cold start, then CANDLES new candles for each number of pairs. Run in a fresh process."""
    logging.getLogger("liqsignals").setLevel(logging.ERROR)
    # The simulated candles are long over; the bot hears them at their close.
    vars(sys.modules[Signals.__module__])["doubted_by_clock"] = lambda at: 0
    bot = Bot(datadir)
    last = int(bot.rows[SIMULATED[0], CandleType.FUTURES][0][-1]) - len(counts) * (CANDLES + 1) * 300_000
    # Compile or load the kernels: a cost per process, not per pair.
    _candle(bot, Signals(datadir), SIMULATED[0], SIMULATED[0], last, frame_rows + 1)
    signals = Signals(datadir, calibrated=calibration.choose(None))
    process, known = psutil.Process(), dict[str, str]()
    rows: list[tuple[Any, ...]] = []
    gc.collect()
    before = process.memory_info().rss
    first: list[float] = []
    for count in counts:
        pairs = _pairs(datadir, count)
        last += 300_000
        for pair, source in pairs.items():
            ours, _ = _candle(bot, signals, pair, source, last, ANSWER if pair in known else frame_rows + 1)
            if pair not in known:
                first.append(ours)
        known = pairs
        spent: list[tuple[float, float]] = []
        for _ in range(CANDLES):
            last += 300_000
            spent += [_candle(bot, signals, pair, source, last, ANSWER) for pair, source in pairs.items()]
        warm, own = ([s[i] for s in spent] for i in range(2))
        gc.collect()
        held = (process.memory_info().rss - before) / count / 2**20
        rows.append(
            (
                f"{count} pairs, {len(bot.dp.ohlcv(SIMULATED[0], '5m'))} rows",
                median(first),
                min(first),
                median(warm),
                min(warm),
                median(own),
                min(own),
                median(warm) / median(own),
                min(warm) / min(own),
                held,
            )
        )
    return rows


def _candle(bot: Bot, signals: Signals, pair: str, source: str, now: int, most: int) -> tuple[float, float]:
    """Milliseconds of liqsignals and of freqtrade for one candle of one pair."""
    begin = time.perf_counter()
    bot.refresh(pair, source, now, *_KINDS[0], most)
    bot.strategy.analyze_pair(pair)
    own = time.perf_counter() - begin
    for timeframe, kind in _KINDS[1:]:
        bot.refresh(pair, source, now, timeframe, kind, most)
    frame = bot.dp.ohlcv(pair, "5m", candle_type=CandleType.FUTURES)
    begin = time.perf_counter()
    out = signals.attach(frame, pair, "5m", dp=bot.dp)
    ours = time.perf_counter() - begin
    assert out["liq_fresh"].iloc[-1] == 1
    return 1e3 * ours, 1e3 * own


def run() -> list[Table]:
    """The table of latencies."""
    with tempfile.TemporaryDirectory(prefix="liqsignals-bench-") as name:
        progress(f"latency: simulating {DAYS} days of {len(SIMULATED)} pairs")
        write_market(Path(name) / "market", seed=1, days=DAYS, pairs=SIMULATED)
        rows: list[tuple[Any, ...]] = []
        for counts, frame_rows in (((2,), ANSWER), ((2,), GROWN), ((20, 100), ANSWER)):
            progress(f"latency: {' and '.join(map(str, counts))} pairs, {frame_rows} rows")
            # A fresh process: memory freed by an earlier run would hide the allocations of this one.
            with get_context("spawn").Pool(1) as fresh:
                rows += fresh.apply(measure, (Path(name) / "market" / "binance", counts, frame_rows))
    columns = (
        "a pair, ms", "first", "min", "warm, median", "min", "freqtrade's own", "min", "ratio", "of mins", "MiB",
    )  # fmt: skip
    title = (
        f"candle to columns in dry-run: a year of 5m on disk (SIMULATED), {CANDLES} new candles (goals: 500 and 10 ms)"
    )
    note = (
        "freqtrade's own: its refresh and analysis of the same candles, no network. Pairs after the second are links "
        "to the first two's files. MiB: resident memory per pair, freqtrade's frames included."
    )
    return [show(Table(title, columns, rows, note))]


if __name__ == "__main__":
    run()

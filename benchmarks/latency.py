"""Latency from a candle's close to the columns in dry-run: milliseconds per pair, compared with freqtrade's own.

A year of SIMULATED 5m candles, open interest and funding is on disk; it ends where the bot begins, so that all later
rows come from the exchange. Two markets are simulated; the other pairs are hard links to their files and are read,
folded and cached like any other. freqtrade's part runs in the same process on the same candles:
`Exchange._process_ohlcv_df` of an answer of 499 candles, and `IStrategy.analyze_pair` of a strategy with
SqueezeMomentum's TA-Lib indicators and no liqsignals column. liqsignals' part is `Signals.attach` with freqtrade's
DataProvider, from its frames to the finished dataframe. No network in either. As in a bot, all pairs are refreshed
before the first is analysed.
"""

import gc
import logging
import os
import shutil
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
CANDLES = 12
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

    def __init__(self, datadir: Path, market: Path) -> None:
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
            (pair, kind): _answers(market, pair, timeframe, kind) for pair in SIMULATED for timeframe, kind in _KINDS
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


def cut(datadir: Path, before: int) -> None:
    """Let the files of a data directory end before `before` (ms)."""
    for path in (datadir / "futures").glob("*.feather"):
        frame = pd.read_feather(path)
        kept = frame[dates_ns(frame["date"], str(path)) // 1_000_000 < before]
        kept.reset_index(drop=True).to_feather(path)


def measure(folder: Path, counts: tuple[int, ...], frame_rows: int) -> list[tuple[Any, ...]]:
    """Rows of the table: a cold start, then CANDLES new candles for each number of pairs. Run in a fresh process."""
    logging.getLogger("liqsignals").setLevel(logging.ERROR)
    # The simulated candles are long over; the bot hears them at their close.
    vars(sys.modules[Signals.__module__])["doubted_by_clock"] = lambda at: 0
    market, datadir = folder / "market" / "binance", folder / f"{counts[0]}-{frame_rows}" / "binance"
    shutil.copytree(market, datadir)
    bot = Bot(datadir, market)
    now = int(bot.rows[SIMULATED[0], CandleType.FUTURES][0][-1]) - len(counts) * (CANDLES + 1) * 300_000
    cut(datadir, now)
    # Compile or load the kernels: a cost per process, not per pair.
    _candle(bot, Signals(datadir), {SIMULATED[0]: SIMULATED[0]}, now, frame_rows + 1)
    signals = Signals(datadir, calibrated=calibration.choose(None))
    process, known = psutil.Process(), dict[str, str]()
    rows: list[tuple[Any, ...]] = []
    gc.collect()
    before = process.memory_info().rss
    first: list[float] = []
    for count in counts:
        pairs = _pairs(datadir, count)
        now += 300_000
        for pair, source in pairs.items():
            if pair in known:
                _candle(bot, signals, {pair: source}, now, ANSWER)
            else:
                first.append(_candle(bot, signals, {pair: source}, now, frame_rows + 1)[0])
        known = pairs
        spent = []
        for _ in range(CANDLES):
            now += 300_000
            spent.append(_candle(bot, signals, pairs, now, ANSWER))
        warm, own, whole = ([s[i] for s in spent] for i in range(3))
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
                median(whole),
                held,
            )
        )
    return rows


def _candle(bot: Bot, signals: Signals, pairs: dict[str, str], now: int, most: int) -> tuple[float, float, float]:
    """CPU milliseconds a pair of liqsignals and of freqtrade for one candle, and seconds of both for all pairs."""
    begun, cpu = time.perf_counter(), time.process_time()
    for pair, source in pairs.items():
        bot.refresh(pair, source, now, *_KINDS[0], most)
    for pair in pairs:
        bot.strategy.analyze_pair(pair)
    own, seconds = time.process_time() - cpu, time.perf_counter() - begun
    for pair, source in pairs.items():
        for timeframe, kind in _KINDS[1:]:
            # freqtrade asks for funding once an hour.
            if kind != CandleType.FUNDING_RATE or now % 3_600_000 == 0 or len(pairs) == 1:
                bot.refresh(pair, source, now, timeframe, kind, most)
    frames = {pair: bot.dp.ohlcv(pair, "5m", candle_type=CandleType.FUTURES) for pair in pairs}
    begun, cpu = time.perf_counter(), time.process_time()
    out = [signals.attach(frame, pair, "5m", dp=bot.dp) for pair, frame in frames.items()]
    ours = time.process_time() - cpu
    seconds += time.perf_counter() - begun
    assert all(frame["liq_fresh"].iloc[-1] == 1 for frame in out)
    return 1e3 * ours / len(pairs), 1e3 * own / len(pairs), seconds


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
                rows += fresh.apply(measure, (Path(name), counts, frame_rows))
    columns = (
        "CPU ms a pair", "first", "min", "warm, median", "min", "freqtrade's own", "min", "ratio", "of mins",
        "all pairs, s", "MiB a pair",
    )  # fmt: skip
    title = (
        f"candle to columns in dry-run: a year of 5m on disk (SIMULATED), {CANDLES} new candles (goals: 300 and 5 ms,"
        " all pairs in 15 s)"
    )
    note = (
        "freqtrade's own: its refresh and analysis of the same candles, no network. All pairs: seconds by the clock, "
        "both. Pairs after the second are links to the first two's files. MiB: resident memory, freqtrade's frames "
        "included."
    )
    return [show(Table(title, columns, rows, note))]


if __name__ == "__main__":
    run()

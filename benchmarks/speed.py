"""Speed: seconds and ratios within one process, warm, interleaved repetitions; minimum and median.

The data are a year of a seeded random walk in 5m candles with volume and open interest, in freqtrade's format.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from benchmarks.report import Table, progress, show
from liqsignals import liqmap
from liqsignals.clock import DAY, HOUR, MINUTE, parse_time, timeframe_name, to_dates
from liqsignals.data import flows as flow_files
from liqsignals.data import freqtrade
from liqsignals.data.tape import Tape, read_tape
from liqsignals.evaluation import peers
from liqsignals.features import flows, funding
from liqsignals.strategy.signals import Signals

YEAR = 105_120
PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT", "XRP/USDT:USDT")


def write_year(datadir: Path, pairs: tuple[str, ...], bars: int, sway: float = 0.0, minutes: int = 5) -> Path:
    """Candles of `minutes`, open interest, funding and flows of a random walk; `sway` adds a slow wave to the log
    price.
    """
    (datadir / "futures").mkdir(parents=True)
    (datadir / "liqsignals" / "flows").mkdir(parents=True)
    opened = parse_time("2025-01-01T00:00:00Z") + minutes * MINUTE * np.arange(bars)
    typical = 0.0013 * np.sqrt(minutes / 5)
    timeframe, period = timeframe_name(minutes * MINUTE), max(minutes, 5) * MINUTE
    for seed, pair in enumerate(pairs):
        rng = np.random.default_rng(seed)
        spread = typical * np.exp(0.4 * rng.standard_normal(bars))
        wave = sway * np.sin(np.arange(bars) * 2 * np.pi / bars)
        close = 60_000 * np.exp(np.cumsum(spread * rng.standard_normal(bars)) + wave)
        before = np.concatenate(([60_000.0], close[:-1]))
        wick = np.exp(0.5 * spread * np.abs(rng.standard_normal((2, bars))))
        volume = 100 * minutes * (spread / typical) ** 1.5
        change = 0.08 * volume * rng.uniform(0.7, 1.3, bars) * rng.choice((-1.0, 1.0), bars)
        base = 80_000 + np.abs(np.cumsum(change))
        measured = opened + minutes * MINUTE
        snapshot = measured % period == 0
        settled = opened[opened % (8 * HOUR) == 0]
        day = opened[opened % DAY == 0]
        for kind, frame in {
            f"{timeframe}-futures": {
                "date": to_dates(opened),
                "open": before,
                "high": np.maximum(before, close) * wick[0],
                "low": np.minimum(before, close) / wick[1],
                "close": close,
                "volume": volume,
            },
            f"{timeframe_name(period)}-open_interest": {
                "date": to_dates(measured[snapshot]),
                "open_interest_amount": base[snapshot],
                "open_interest_value": (base * close)[snapshot],
            },
            "1h-funding_rate": {"date": to_dates(settled), "funding_rate": 1e-4 * rng.standard_normal(len(settled))},
        }.items():
            path = datadir / "futures" / f"{pair.replace('/', '_').replace(':', '_')}-{kind}.feather"
            pd.DataFrame(frame).to_feather(path, compression="lz4", compression_level=9)
        flow = {"FlowInExNtv": rng.lognormal(9, 0.3, len(day)), "FlowOutExNtv": rng.lognormal(9, 0.3, len(day))}
        table = pd.DataFrame({"time": to_dates(day).strftime("%Y-%m-%d"), **flow, "SplyExNtv": 2.5e6})
        table.to_csv(datadir / "liqsignals" / "flows" / f"{pair[:3].lower()}-1d.csv", index=False)
    return datadir


def race(runners: dict[str, Callable[[], Any]], repeats: int = 5) -> dict[str, list[float]]:
    """Seconds of each runner after one warm-up run, interleaved so that machine noise affects all equally."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(repeats + 1):
        for name, run in runners.items():
            begin = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def _read(tape: Tape, last: int = 0) -> Callable[[], Any]:
    """A runner that folds a tape and reads it at every candle, or only at the `last` ones."""
    at, closes = tape.bars["event_time"][-last:].copy(), tape.bars["close"][-last:].copy()
    return lambda: liqmap.read(tape, liqmap.Parameters(), at, closes)


def _attach(datadir: Path, pairs: tuple[str, ...]) -> Callable[[], Any]:
    """A runner from disk to attached columns, with a new Signals each time; freqtrade's frames are loaded before."""
    found = {pair: freqtrade.data_file(datadir, pair, "5m", "futures") for pair in pairs}
    frames = {pair: pd.read_feather(path) for pair, path in found.items() if path}

    def run() -> None:
        signals = Signals(datadir)
        for pair, frame in frames.items():
            signals.attach(frame, pair, "5m")

    return run


def against_peers(tape: Tape) -> Table:
    """A year folded and read at every candle: the full map in liqsignals, one number per side in the peers' rules."""
    none = np.empty(0, np.int64)
    unit = "peer rule (a), pcdogyu v2"
    seconds = race(
        {
            "liqsignals: fold, and 12 columns per candle": _read(tape),
            "liqsignals: fold alone": _read(tape, 1),
            unit: lambda: peers.fold(tape, peers.pcdogyu(tape), none),
            "peer rule (b), liqmap.ts": lambda: peers.fold(tape, peers.liqmap_ts(tape), none),
        }
    )
    rows = [
        (name, min(s), median(s), 1e6 * min(s) / YEAR, min(s) / min(seconds[unit]), median(s) / median(seconds[unit]))
        for name, s in seconds.items()
    ]
    title = f"{YEAR:,} candles of 5m, folded and read at each"
    return Table(title, ("", "min s", "median s", "us a candle", "x (a), min", "x (a), median"), rows)


def sizes(folder: Path, tape: Tape) -> Table:
    """Microseconds a candle on one core and on two, for other candles, and where the price moves fivefold."""
    markets = [("5m, a year", tape)]
    for what, bars, sway, minutes in (
        ("1m, a quarter", YEAR // 4 * 5, 0.0, 1),
        ("1h, a year", YEAR // 12, 0.0, 60),
        ("5m, a year, price x5", YEAR, np.log(5) / 2, 5),
    ):
        datadir = write_year(folder / f"{minutes}-{sway:.1f}" / "binance", PAIRS[:1], bars, sway, minutes)
        markets.append((what, read_tape(datadir, PAIRS[0], finest="1m" if minutes == 1 else "5m")))
    rows: list[tuple[Any, ...]] = []
    for what, market in markets:
        assert market.bars is not None
        whole = market.for_map()
        assert whole is not None
        runners = {"plan": lambda m=whole: liqmap.plan(m), "fold": _read(market, 1), "both": _read(market)}
        n = 1e-6 * len(market.bars)
        two = {name: min(s) / n for name, s in race(runners, 3).items()}
        with one_core():
            one = {name: min(s) / n for name, s in race(runners, 3).items()}
        parts = (one["plan"], one["fold"] - one["plan"], one["both"] - one["fold"])
        rows.append((what, two["both"], one["both"], *parts))
    note = "on one core: lining up the records, folding them, and reading the columns at every candle"
    headings = ("", "us a candle", "on one core", "of it plan", "fold", "read")
    return Table("fold, and 12 columns a candle", headings, rows, note)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process and its threads on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def from_disk(datadir: Path, repeats: int = 5) -> Table:
    """From feather files to the attached dataframe through Signals.attach, warm; breakdown of the fastest run."""
    parts: dict[str, list[tuple[Any, str]]] = {
        "reading and checking files": [
            *((freqtrade, n) for n in ("read_table", "bars", "funding")),
            (flow_files, "read_flows"),
        ],
        "label test of open interest": [(freqtrade, "open_interest")],
        "plan, fold and read": [(liqmap, "read")],
        "funding and flow columns": [(funding, "compute"), (flows, "compute")],
    }
    run, runs = _attach(datadir, PAIRS[:1]), []
    run()

    def timed(stage: str, call: Callable[..., Any], spent: dict[str, float]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            out = call(*args, **kwargs)
            spent[stage] += time.perf_counter() - begin
            return out

        return watched

    for _ in range(repeats):
        spent = dict.fromkeys(parts, 0.0)
        with ExitStack() as stack:
            for stage, targets in parts.items():
                for module, name in targets:
                    stack.enter_context(patch.object(module, name, timed(stage, getattr(module, name), spent)))
            begin = time.perf_counter()
            run()
            total = time.perf_counter() - begin
        runs.append({**spent, "attaching and the rest": total - sum(spent.values()), "total": total})
    best = min(runs, key=lambda r: r["total"])
    rows = [(n, s, s / best["total"], min(r[n] for r in runs), median(r[n] for r in runs)) for n, s in best.items()]
    title = "from disk to the attached dataframe, a year of 5m, one pair (goal 0.5 s)"
    return Table(title, ("", "s, fastest run", "share", "min s", "median s"), rows)


def scaling(folder: Path, tape: Tape) -> Table:
    """Cost against candles (fold and read), pairs (from disk, a quarter of a year each) and the range of prices."""
    ends = tape.bars["event_time"]
    many = write_year(folder / "pairs" / "binance", PAIRS, YEAR // 4)
    wide = write_year(folder / "wide" / "binance", PAIRS[:1], YEAR // 4, sway=0.75)
    tapes = [read_tape(d, PAIRS[0]) for d in (many, wide)]
    ranges = [float(np.log(t.bars["high"].max() / t.bars["low"].min())) for t in tapes if t.bars is not None]
    rows: list[tuple[Any, ...]] = []
    for what, sizes, runners in (
        ("candles", [1, 2, 4], [_read(tape.cut(int(ends[YEAR * n // 4 - 1]))) for n in (1, 2, 4)]),
        ("pairs, from disk", [1, 2, 4], [_attach(many, PAIRS[:n]) for n in (1, 2, 4)]),
        ("log price range", ranges, [_read(t) for t in tapes]),
    ):
        seconds = [min(s) for s in race(dict(zip(map(str, sizes), runners, strict=True)), 4).values()]
        for size, s in zip(sizes, seconds, strict=True):
            grown = size / sizes[0]
            slope = (s / seconds[0] - 1) / (grown - 1) if grown > 1 else None
            rows.append((f"{what} x{grown:.2g}", s, s / seconds[0], slope))
    note = "slope: growth of cost over growth of size; 1 is linear, 0 is free"
    return Table("cost against size", ("", "min s", "cost ratio", "slope"), rows, note)


def run() -> list[Table]:
    """All speed tables."""
    with tempfile.TemporaryDirectory() as name:
        progress("speed: a year of candles against peers' rules")
        datadir = write_year(Path(name) / "year" / "binance", PAIRS[:1], YEAR)
        tape = read_tape(datadir, PAIRS[0])
        tables = [show(against_peers(tape))]
        progress("speed: other candles, one core and two")
        tables.append(show(sizes(Path(name), tape)))
        progress("speed: from disk")
        tables.append(show(from_disk(datadir)))
        progress("speed: cost against size")
        return [*tables, show(scaling(Path(name), tape))]

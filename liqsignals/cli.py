"""The `liqsignals` command. Bad input: one clear line on standard error and exit code 2, nothing half-written."""

import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from liqsignals import __version__, calibration, features, freqtrade_files, kernels, liqmap, liquidations, readers
from liqsignals.clock import (
    DAY,
    HOUR,
    MINUTE,
    duration_ns,
    iso,
    open_time,
    parse_time,
    parse_timerange,
    to_dates,
)
from liqsignals.errors import InputError
from liqsignals.records import open_interest_max_age
from liqsignals.tape import Tape, asof, read_tape

if TYPE_CHECKING:
    from liqsignals.download import Report

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Liquidation-cluster, funding and exchange-flow signals for Freqtrade: features, maps and a market to try them on.",
)
console = Console(soft_wrap=True, highlight=False)
errors = Console(stderr=True, soft_wrap=True)

DataDir = Annotated[
    Path, typer.Option("--datadir", "-d", help="freqtrade's data directory: the folder that holds futures/.")
]
Pair = Annotated[str, typer.Option("--pair", "-p", help="Pair as freqtrade names it, for example BTC/USDT:USDT.")]
Extras = Annotated[
    Path | None,
    typer.Option("--extras", help="Folder of exchange flows and other venues; DATADIR/liqsignals unless given."),
]
Exchange = Annotated[
    str | None, typer.Option("--exchange", help="Exchange of the data; the data directory's name unless given.")
]
CalibrationFile = Annotated[
    str | None,
    typer.Option(
        "--calibration", help="File of liqsignals calibrate, or none for the prior; the shipped one unless given."
    ),
]
Unit = Annotated[
    str | None, typer.Option("--unit", help="usd or base: what the table counts, where its columns do not say.")
]
Finest = Annotated[str, typer.Option("--finest", help="Finest candles to fold: 5m, or 1m where you have them.")]
Timerange = Annotated[
    str | None,
    typer.Option("--timerange", help="freqtrade's notation, UTC days: 20250801-20260228; all data unless given."),
]


def main() -> None:
    """Run the command line: InputError becomes one line and exit code 2."""
    # Plain lines: a wrapped command cannot be pasted.
    logging.basicConfig(level=logging.WARNING, format="liqsignals: %(message)s")
    try:
        app()
    except InputError as error:
        errors.print(f"liqsignals: {error}", style="red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        print(f"liqsignals {__version__}")
        raise typer.Exit


def _candles(datadir: Path, pair: str, timeframe: str, exchange: str | None) -> pd.DataFrame:
    duration_ns(timeframe)
    path = readers.data_file(datadir, pair, timeframe, "futures")
    frame = readers.read_table(path, ("open", "high", "low", "close", "volume")) if path else None
    if frame is None or len(frame) == 0:
        raise InputError(
            f"no {timeframe} candles of {pair} in {datadir / 'futures'} (pairs there: {_pairs(datadir)}). Way out: "
            f"{readers.download_command(exchange or readers.exchange_of(datadir), pair, timeframe)}"
        )
    return frame


def _pairs(datadir: Path) -> str:
    return ", ".join(readers.pairs_in(datadir)) or "none"


def _tape(datadir: Path, pair: str, extras: Path | None, exchange: str | None, finest: str = "5m") -> Tape:
    if finest not in ("1m", "5m"):
        raise InputError(f"--finest {finest} must be 5m or 1m")
    readers.check_pair(datadir, pair)
    readers.check_extras(extras)
    return read_tape(datadir, pair, extras=extras, finest=finest, exchange=exchange)


def _map_tape(datadir: Path, pair: str, extras: Path | None, exchange: str | None, finest: str) -> Tape:
    """A tape that can carry a map: candles and open interest, or an error that names what to download."""
    tape = _tape(datadir, pair, extras, exchange, finest)
    for what, there in (("candles", tape.bars), ("open interest", tape.open_interest)):
        if there is None or len(there) == 0:
            raise InputError(
                f"no {what} of {pair} in {datadir / 'futures'} (pairs there: {_pairs(datadir)}); a map needs them. Way "
                f"out: {readers.download_command(exchange or readers.exchange_of(datadir), pair)}"
            )
    return tape


@contextmanager
def _written(out: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """A temporary file beside `out` that takes its name when the block succeeds: never a torn file."""
    if out.suffix not in suffixes:
        raise InputError(f"--out {out}: unknown ending; use one of {', '.join(suffixes)}")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}. Way out: make it first")
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise InputError(f"--out {out}: cannot be written. Way out: choose a folder that you may write to")
    try:
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.stem}-", suffix=out.suffix)
    except OSError as error:
        raise InputError(
            f"--out {out}: cannot be written ({error.strerror}). Way out: choose another folder"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(out)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


@app.command("features")
def features_command(
    datadir: DataDir,
    pair: Pair,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .parquet, .feather or .csv.")],
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", help="Candles to compute at, as of freqtrade.")] = "5m",
    timerange: Timerange = None,
    extras: Extras = None,
    exchange: Exchange = None,
    finest: Finest = "5m",
    calibrated: CalibrationFile = None,
) -> None:
    """Write every liqsignals column of a pair: column `date` (candle open, UTC), then the features."""
    readers.check_datadir(datadir)
    tape = _tape(datadir, pair, extras, exchange, finest)
    frame = _candles(datadir, pair, timeframe, exchange)
    bars = readers.bars(frame, timeframe, f"{pair} {timeframe} candles")
    at, closes = bars["event_time"].copy(), bars["close"].copy()
    start, stop = parse_timerange(timerange)
    opened = open_time(at, duration_ns(timeframe))
    inside = (opened >= (start if start is not None else opened[:1].min(initial=0))) & (
        opened < (stop if stop is not None else opened[-1:].max(initial=0) + 1)
    )
    if not inside.any():
        raise InputError(
            f"no candle of {pair} lies in the timerange {timerange}; the file goes from {iso(opened[0])} to {iso(opened[-1])}"
        )
    if tape.open_interest is None:
        logging.getLogger(__name__).warning(
            "%s: no open-interest file in %s/futures; liq_* columns are NaN. Fill it: %s",
            pair, datadir, readers.download_command(exchange or readers.exchange_of(datadir), pair),
        )  # fmt: skip
    parameters = calibration.choose(calibrated).parameters(pair)
    columns = features.compute(tape, at[inside], closes[inside], duration_ns(timeframe), parameters)
    table = pd.DataFrame({"date": to_dates(opened[inside]), **columns})
    with _written(out, (".parquet", ".feather", ".csv")) as path:
        if out.suffix == ".csv":
            table.to_csv(path, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
        elif out.suffix == ".feather":
            table.to_feather(path)
        else:
            table.to_parquet(path, index=False)
    print(
        f"{out}: {len(table)} rows x {len(table.columns)} columns, {iso(opened[inside][0])} to {iso(opened[inside][-1])}"
    )


@app.command("map")
def map_command(
    datadir: DataDir,
    pair: Pair,
    at: Annotated[
        str | None,
        typer.Option("--at", help="Map after the last candle closed at or before this time, with zone."),
    ] = None,
    every: Annotated[
        str | None, typer.Option("--every", help="Write the levels at each multiple of this (6h) to --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="With --every: the .parquet file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    timerange: Timerange = None,
    extras: Extras = None,
    exchange: Exchange = None,
    finest: Finest = "5m",
    calibrated: CalibrationFile = None,
) -> None:
    """Show the liquidation map of a pair (headline and clusters), or write its levels over time."""
    readers.check_datadir(datadir)
    if (every is None) != (out is None) or (every is not None and (at is not None or as_json)):
        raise InputError("map: give either --at and --json (show a map), or --every together with --out (write levels)")
    if every is None and timerange is not None:
        raise InputError("map: --timerange goes with --every; for the map of one moment use --at")
    parameters = calibration.choose(calibrated).parameters(pair)
    tape = _map_tape(datadir, pair, extras, exchange, finest)
    if every is not None and out is not None:
        _write_levels(tape, parameters, duration_ns(every), out, timerange)
        return
    assert tape.bars is not None
    ends = tape.bars["event_time"]
    when = parse_time(at) if at is not None else int(ends[-1])
    row = int(np.searchsorted(ends, when, side="right")) - 1
    if row < 0:
        raise InputError(f"--at {at}: no candle of {pair} had closed by then; the first one closed at {iso(ends[0])}")
    if at is not None and when - int(ends[row]) >= tape.bar_ns:
        logging.getLogger(__name__).warning(
            "%s: the data end at %s; this is the map of then, not of %s", pair, iso(ends[row]), iso(when)
        )
    head = headline(tape, int(ends[row]), float(tape.bars["close"][row]), parameters)
    if as_json:
        print(json.dumps(head, indent=2))
    else:
        print_headline(head, _simulated(datadir))


def _simulated(datadir: Path) -> str:
    """What every print about a made-up market begins with."""
    return "SIMULATED " if (datadir / "SIMULATED").exists() else ""


def headline(tape: Tape, at: int, close: float, parameters: liqmap.Parameters) -> dict[str, Any]:
    """The story of one moment as plain data: price, clusters, funding, inflow. Unknown values are None."""
    instant = np.array([at], np.int64)
    state = liqmap.Memo()
    columns = features.compute(tape, instant, np.array([close]), tape.bar_ns, parameters, state)
    row = {name: (None if not np.isfinite(v[0]) else float(v[0])) for name, v in columns.items()}
    found: dict[str, list[dict[str, float]]] = {"above": [], "below": []}
    if tape.open_interest is not None and row["liq_fresh"] == 1.0:
        book = liqmap.read(tape.cut(at), parameters, instant, np.array([close]), state)[1].book
        assert book is not None
        interest = float(tape.open_interest["base"][asof(tape.open_interest, instant)[0]])
        for where, side in (("above", kernels.SHORT), ("below", kernels.LONG)):
            found[where] = [
                {"price": c[0], "distance": abs(c[0] / close - 1.0), "usd": c[1], "low": c[2], "high": c[3]}
                for c in liqmap.clusters(book, side, close, interest)
            ]
    return {"pair": tape.pair, "at": iso(at), "price": close, "clusters": found, **row}


def _price(value: float) -> str:
    """A price in six significant digits at least: 86,583.20, 0.0000123456."""
    return f"{value:,.{max(2, 5 - math.floor(math.log10(value)))}f}"


def _usd(value: float | None) -> str:
    if value is None:
        return "-"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f}"


def print_headline(head: dict[str, Any], title: str = "") -> None:
    """Print a headline for people."""

    def number(name: str, form: str) -> str:
        return "-" if head[name] is None else format(head[name], form)

    table = Table(title=f"{title}{head['pair']} at {head['at']}: price {_price(head['price'])}", title_justify="left")
    for column in ("nearest major cluster", "price", "distance", "USD"):
        table.add_column(column, justify="left" if column.startswith("n") else "right")
    for name, where in (("shorts, above", "above"), ("longs, below", "below")):
        price = head[f"liq_{where}_price"]
        if price is None:
            table.add_row(name, "none within 15 %", "-", "-")
        else:
            table.add_row(name, _price(price), f"{head[f'liq_{where}_distance']:.2%}", _usd(head[f"liq_{where}_usd"]))
    console.print(table)
    for where, word in (("above", "shorts"), ("below", "longs")):
        for c in head["clusters"][where][:5]:
            console.print(
                f"  {word} {_price(c['low'])} .. {_price(c['high'])}: {_usd(c['usd'])} USD at {c['distance']:.2%}"
            )
        if len(head["clusters"][where]) > 5:
            console.print(f"  and {len(head['clusters'][where]) - 5} more {word} (--json has all)")
    console.print(
        f"  liquidated by a move of 1 / 2 / 5 / 10 %: up {' / '.join(_usd(head[f'liq_short_usd_{b}pct']) for b in (1, 2, 5, 10))}, "
        f"down {' / '.join(_usd(head[f'liq_long_usd_{b}pct']) for b in (1, 2, 5, 10))} USD"
    )
    console.print(
        f"  funding {number('fund_rate_8h', '+.4%')} per 8 h, skew z {number('fund_skew_z', '+.2f')}, "
        f"percentile {number('fund_pct', '.0%')}; exchange inflow z {number('flow_inflow_z', '+.2f')}"
    )
    if head["liq_fresh"] != 1.0:
        console.print("  [yellow]open interest or candles are stale at this time: no map[/yellow]")
    elif head["liq_warm"] != 1.0:
        console.print("  [yellow]the map has run for less than 14 days: its far levels are incomplete[/yellow]")


def _write_levels(tape: Tape, parameters: liqmap.Parameters, every: int, out: Path, timerange: str | None) -> None:
    assert tape.bars is not None
    ends = tape.bars["event_time"]
    if every % tape.bar_ns:
        raise InputError(f"--every must be a multiple of the candles that the map folds ({tape.bar_ns // MINUTE}m)")
    start, stop = parse_timerange(timerange)
    first = max(-(-int(ends[0]) // every) * every, -(-start // every) * every if start is not None else 0)
    last = min(int(ends[-1]), stop - 1 if stop is not None else int(ends[-1]))
    instants = np.arange(first, last + 1, every, dtype=np.int64)
    parts: list[pd.DataFrame] = []
    stale = 0
    fold = liqmap.Fold.of(tape, parameters)
    plan = fold.plan
    with _written(out, (".parquet",)) as path, progress("levels") as told:
        for n, instant in enumerate(instants):
            told((n + 1) / len(instants))
            bar = int(np.searchsorted(ends, instant, side="right"))
            fold.to(bar)
            book = fold.book
            if book is None or bar == 0 or ends[bar - 1] != instant:
                continue
            if instant - plan.measured_at[bar - 1] > open_interest_max_age(tape.period_ns):
                stale += 1
                continue
            levels = book.levels()
            held = np.flatnonzero(levels.any(axis=0))
            parts.append(
                pd.DataFrame({
                    "date": np.full(len(held), instant),
                    "price": book.price[held], "long_base": levels[0, held], "short_base": levels[1, held],
                })
            )  # fmt: skip
        if not parts:
            raise InputError(f"map: no map of {tape.pair} at any multiple of the given time within the data")
        table = pd.concat(parts, ignore_index=True)
        table["date"] = to_dates(table["date"].to_numpy())
        table.to_parquet(path, index=False)
    print(
        f"{out}: {len(table)} levels at {len(parts)} times, {table.date.iloc[0].isoformat()} to {table.date.iloc[-1].isoformat()}"
        + (f"; left out {stale} times at which open interest was stale" if stale else "")
    )


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error; call the yielded function with the share done."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        console=errors, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("build/market"),
    seed: Annotated[int, typer.Option(help="Same seed, same market.")] = 5,
    days: Annotated[int, typer.Option(help="Length of the market.")] = 120,
) -> None:
    """Write a SIMULATED market: a freqtrade data directory with extras, and its true liquidation levels."""
    from liqsignals.sim.market import write_market

    try:
        with progress("SIMULATED market") as told:
            write_market(out, seed=seed, days=days, progress=told)
    except OSError as error:
        raise InputError(
            f"--out {out}: cannot be written ({error.strerror}). Way out: choose another folder"
        ) from error
    print(f"SIMULATED market of {days} days, seed {seed}: data directory {out / 'binance'}, truth {out / 'truth'}")


@app.command()
def backtest(
    datadir: DataDir,
    timerange: Timerange = None,
    pairs: Annotated[str, typer.Option("--pairs", help="Pairs, separated by spaces.")] = "BTC/USDT:USDT ETH/USDT:USDT",
    strategy: Annotated[
        str, typer.Option("--strategy", help="Strategies, separated by spaces.")
    ] = "SqueezeMomentum RejectionFade",
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", help="The strategies' timeframe.")] = "5m",
    offline: Annotated[
        bool, typer.Option("--offline", help="Use the loopback exchange instead of the internet.")
    ] = False,
    config: Annotated[Path, typer.Option("--config", help="freqtrade configuration.")] = Path("config.json"),
    userdir: Annotated[Path, typer.Option("--userdir", help="freqtrade's user_data.")] = Path("user_data"),
) -> None:
    """Show what the map says, then run `freqtrade backtesting` on your own data."""
    run_backtest(Run(datadir, timerange, pairs.split(), strategy.split(), timeframe, offline, config, userdir))


@dataclass(frozen=True)
class Run:
    """What a backtest needs to know."""

    datadir: Path
    timerange: str | None
    pairs: list[str]
    strategies: list[str]
    timeframe: str
    offline: bool
    config: Path
    userdir: Path
    #: Print only freqtrade's table of trades by pair and its summary; the whole report is in the log anyway.
    brief: bool = False


def run_backtest(run: Run) -> None:
    """Headline of each pair, then freqtrade's own backtest of every strategy. Raises InputError where it fails."""
    readers.check_datadir(run.datadir)
    for what, path in (("configuration", run.config), ("user_data folder", run.userdir)):
        if not path.exists():
            raise InputError(f"there is no {what} {path}. Way out: run from the project's folder, or name it")
    simulated = _simulated(run.datadir)
    _, stop = parse_timerange(run.timerange)
    for pair in run.pairs:
        tape = _map_tape(run.datadir, pair, None, None, "5m")
        assert tape.bars is not None
        ends = tape.bars["event_time"]
        row = len(ends) - 1 if stop is None else int(np.searchsorted(ends, stop, side="right")) - 1
        if row < 0:
            raise InputError(f"{pair}: the data begin at {iso(ends[0])}, after the timerange {run.timerange}")
        head = headline(tape, int(ends[row]), float(tape.bars["close"][row]), calibration.default().parameters(pair))
        print_headline(head, simulated)
    command = [
        freqtrade_files.freqtrade(), "backtesting", "--config", str(run.config),
        "--userdir", str(run.userdir), "--datadir", str(run.datadir),
        "--strategy-path", str(run.userdir / "strategies"), "--strategy-list", *run.strategies,
        "--timeframe", run.timeframe, "--pairs", *run.pairs, "--cache", "none",
        *(["--timerange", run.timerange] if run.timerange else []),
    ]  # fmt: skip
    results, log = run.userdir / "backtest_results", run.userdir / "logs" / "liqsignals-backtest.log"
    log.parent.mkdir(exist_ok=True)
    before = _results(results)
    with ExitStack() as stack:
        if run.offline:
            # Imported here: a bot does without aiohttp's server.
            from liqsignals.sim.exchange import loopback

            command += ["--config", str(stack.enter_context(loopback(run.datadir)))]
        told = stack.enter_context(log.open("w"))
        with errors.status(f"freqtrade backtesting: {', '.join(run.strategies)} (log: {log})"):
            code = subprocess.run(
                command,
                check=False,
                stderr=told,
                stdout=told if run.brief else None,
                env={**os.environ, "COLUMNS": "200"},
            ).returncode
    made = _results(results) - before
    # freqtrade ends with 0 after some errors, too: only a result counts.
    if code != 0 or not made:
        said = [line for line in log.read_text().splitlines() if " ERROR " in line or "Error" in line]
        why = said[-1].rstrip(".") if said else f"exit code {code}"
        way = " Way out without internet: OFFLINE=1 (--offline)." if "Could not load markets" in why else ""
        raise InputError(f"freqtrade backtesting failed: {why}. Its log: {log}.{way}")
    if run.brief:
        print(_brief(log.read_text()))
    console.print(
        f"{simulated}data {run.datadir}\nresult {', '.join(sorted(map(str, made)))}\nlog {log}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip


def _brief(report: str) -> str:
    """freqtrade's report without its tables by tag and metric."""
    kept, shown = [], False
    for line in report.splitlines():
        if line.startswith("Result for strategy") or (
            line.strip() and line.strip().upper() == line.strip() and line[0] == " "
        ):
            shown = line.startswith("Result") or line.strip() in ("BACKTESTING REPORT", "STRATEGY SUMMARY")
        if shown:
            kept.append(line)
    return "\n".join(kept)


def _results(folder: Path) -> set[Path]:
    return set(folder.glob("*.zip")) if folder.is_dir() else set()


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the market.")] = Path("build/market"),
    seed: Annotated[int, typer.Option(help="Same seed, same market.")] = 5,
    days: Annotated[int, typer.Option(help="Length of the market.")] = 120,
) -> None:
    """Make the SIMULATED market and backtest both strategies on it through freqtrade, offline."""
    simulate(out, seed, days)
    console.print(
        "Everything below is SIMULATED: it shows that the path works and says nothing about profit.", style="bold"
    )
    pairs, strategies = ["BTC/USDT:USDT", "ETH/USDT:USDT"], ["SqueezeMomentum", "RejectionFade"]
    run_backtest(
        Run(out / "binance", None, pairs, strategies, "5m", True, Path("config.json"), Path("user_data"), True)
    )


@app.command()
def calibrate(
    datadir: DataDir,
    pair: Annotated[list[str], typer.Option("--pair", "-p", help="Pair; repeat it to fit several together.")],
    table: Annotated[
        list[Path], typer.Option("--liquidations", "-l", help="Hourly liquidations of the pair; one for each --pair.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Calibration to write: .json.")],
    until: Annotated[str | None, typer.Option("--until", help="Use nothing later than this time, with zone.")] = None,
    holdout_from: Annotated[
        str | None,
        typer.Option("--holdout-from", help="Score on the hours from this time on; the newest 30 % unless given."),
    ] = None,
    source: Annotated[str, typer.Option("--source", help="Where the liquidations come from: kept in the file.")] = "",
    unit: Unit = None,
    extras: Extras = None,
    exchange: Exchange = None,
    finest: Finest = "5m",
) -> None:
    """Fit the map's mix of leverage to real liquidations; each pair by itself, and all of them pooled for the others."""
    if len(pair) != len(table):
        raise InputError(f"calibrate: {len(pair)} --pair but {len(table)} --liquidations; give one table for each pair")
    readers.check_datadir(datadir)
    last = parse_time(until) if until is not None else None
    since = parse_time(holdout_from) if holdout_from is not None else None
    markets = []
    for name, path in zip(pair, table, strict=True):
        tape = _map_tape(datadir, name, extras, exchange, finest)
        told = liquidations.read(path, tape, unit=unit)
        kept = told.hours + HOUR <= last if last is not None else np.ones(len(told.hours), bool)
        markets.append(calibration.Market(tape, told.hours[kept], told.usd[:, kept]))
    with _written(out, (".json",)) as path, errors.status("fitting"):
        source = source or ", ".join(p.name for p in table)
        alone = {m.tape.pair: calibration.fit([m], source, since) for m in markets}
        pooled = calibration.fit(markets, source, since) if len(markets) > 1 else next(iter(alone.values()))
        calibration.save(calibration.Calibration(pooled, alone, str(out)), path)
    for name, fitted in {**alone, **({"pooled": pooled} if len(alone) > 1 else {})}.items():
        print_fitted(name, fitted)
    print(f'{out}: use it with "liqsignals": {{"calibration": "{out}"}} in the config, or --calibration {out}')


def print_fitted(name: str, fitted: calibration.Fitted) -> None:
    """Print a calibration's mix with its intervals and its scores out of sample."""
    p = fitted.parameters
    table = Table(
        title=f"{name}: report factor {p.report_factor:.3f}, score {p.score or math.nan:.3f}", title_justify="left"
    )
    for column in ("leverage", "pace", "standing, share of open interest", "90 % interval", "evidence"):
        table.add_column(column)
    for c, share, told in zip(p.classes, calibration.standing_of(p), fitted.evidence, strict=True):
        band = "worn margin" if c.worn else f"{c.low:g}x .. {c.high:g}x"
        pace = "holders" if c.hazard < 1 else "traders"
        low, high = c.doubt
        table.add_row(
            band, pace, f"{share:.2%}", f"{low * share:.2%} .. {high * share:.2%}", "yes" if told else "prior"
        )
    console.print(table)
    scored = dict(fitted.provenance["out_of_sample"])
    since = scored.pop("from")
    console.print(
        f"  fitted on {fitted.provenance['hours']} hours; "
        + (
            f"scored on those since {since}, fitted before:"
            if scored
            else "not scored: too few hours before the held-out ones"
        )
    )
    for pair, score in scored.items():
        console.print(f"  {pair}, long / short: " + "; ".join(f"{what} {_two(score[key])}" for what, key in _SCORES))


_SCORES = (
    ("all hours", "rank"),
    ("> 0.5 %", "rank_moved"),
    ("R2 of log USD", "r2"),
    ("real / predicted USD", "dollars"),
)


def _two(values: list[float | None]) -> str:
    """`long / short`, with - where there is none."""
    return " / ".join("-" if v is None else f"{v:.3f}" for v in values)


@app.command()
def validate(
    datadir: DataDir,
    pair: Pair,
    table: Annotated[
        Path, typer.Option("--liquidations", "-l", help="Real liquidations: an hourly table, or recorded prints.")
    ],
    start: Annotated[str | None, typer.Option("--from", help="Use no hour before this time, with zone.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Use no hour that ends after this time, with zone.")] = None,
    fit_until: Annotated[
        str | None,
        typer.Option(
            "--fit-until",
            help="Fit the baselines before this time and score from it on; where the calibration's data end, or at half, unless given.",
        ),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Boosted trees, price range and two peers' rules, too.")
    ] = True,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit a calibration on the hours before --fit-until instead of taking one.")
    ] = False,
    calibrated: CalibrationFile = None,
    candles: Annotated[
        str | None, typer.Option("--candles", help="Candle sizes to compare on the same hours: 5m,15m,1h.")
    ] = None,
    hourly: Annotated[
        bool, typer.Option("--hourly-interest", help="Compare with one value of open interest an hour, too.")
    ] = False,
    hyperliquid: Annotated[
        Path | None, typer.Option("--hyperliquid", help="Snapshots of true liquidation levels: .jsonl.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write tables and pictures: .html.")] = None,
    unit: Unit = None,
    extras: Extras = None,
    exchange: Exchange = None,
    finest: Finest = "5m",
) -> None:
    """Score the map against real liquidations, beside baselines on the same hours, with intervals."""
    # Imported here: the bot does without.
    from liqsignals import validation
    from liqsignals.report import validation as pages

    readers.check_datadir(datadir)
    since, until, fit = (None if t is None else parse_time(t) for t in (start, end, fit_until))
    sizes = [duration_ns(size.strip()) for size in candles.split(",")] if candles else []
    fitted = calibration.choose(calibrated).of(pair)
    tape = _map_tape(datadir, pair, extras, exchange, finest)
    told = liquidations.read(table, tape, unit=unit)
    kept = np.ones(len(told.hours), bool)
    kept &= told.hours >= since if since is not None else True
    kept &= told.hours + HOUR <= until if until is not None else True
    if refit:
        if fit is None:
            raise InputError("validate: --refit needs --fit-until: it fits on the hours before that time")
        before = kept & (told.hours < fit)
        fitted = calibration.fit([calibration.Market(tape, told.hours[before], told.usd[:, before])], table.name)
    with ExitStack() as stack:
        path = stack.enter_context(_written(report, (".html",))) if report is not None else None
        stack.enter_context(errors.status("scoring"))
        result = validation.validate(
            tape, told.hours[kept], told.usd[:, kept], fitted, fit,
            baselines=baselines, candles=sizes, hourly=hourly, hyperliquid=hyperliquid,
        )  # fmt: skip
        found = {"simulated": bool(_simulated(datadir)), "liquidations": list(told.notes), **result.found}
        if path is not None:
            pages.write_html(result, path, f"{_simulated(datadir)}{pair}: the map against real liquidations")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for note in (*told.notes, *pages.facts(found)):
        console.print(f"{_simulated(datadir)}{note}", markup=False)
    for part in pages.rich_tables(found):
        console.print(part)
    if report is not None:
        console.print(f"{report}: tables and pictures")


@app.command("download")
def download_command(
    datadir: DataDir,
    pairs: Annotated[str, typer.Option("--pairs", "-p", help="Pairs, separated by spaces.")],
    days: Annotated[int | None, typer.Option("--days", min=1, help="From so many days ago until now.")] = None,
    timerange: Timerange = None,
    exchanges: Annotated[
        str, typer.Option("--exchanges", help="Other venues for the extras: bybit, okx, binance.")
    ] = "",
    extras: Annotated[Path | None, typer.Option("--extras", help="DATADIR/liqsignals unless given.")] = None,
    exchange: Exchange = None,
    only: Annotated[
        str,
        typer.Option("--only", help="Steps: candles interest extras venues flows keyed macro; all unless given."),
    ] = "",
    config: Annotated[
        list[Path] | None, typer.Option("--config", help="freqtrade configuration, e.g. of a proxy.")
    ] = None,
    url: Annotated[
        list[str] | None, typer.Option("--url", help="Another address of a provider: binance-archive=http://mirror.")
    ] = None,
    now: Annotated[str | None, typer.Option("--now", hidden=True)] = None,
) -> None:
    """Fill the data directory and its extras with history; go on where an earlier run stopped."""
    from liqsignals.download import STEPS, Plan, download

    if (days is None) == (timerange is None):
        raise InputError("download: give --days or --timerange")
    at = parse_time(now) if now is not None else time.time_ns()
    start, stop = parse_timerange(timerange)
    if days is not None:
        start = at // DAY * DAY - days * DAY
    if start is None:
        raise InputError(f"download: the timerange {timerange} has no start")
    for given in url or []:
        if "=" not in given:
            raise InputError(f"--url {given}: write it as PROVIDER=ADDRESS")
    plan = Plan(
        datadir, exchange or readers.exchange_of(datadir), tuple(pairs.replace(",", " ").split()), start, stop, extras,
        tuple(exchanges.replace(",", " ").split()), tuple(only.replace(",", " ").split()) or STEPS,
        dict(given.split("=", 1) for given in url or []), tuple(config or ()), at,
    )  # fmt: skip
    with steps() as (tell, show):
        report = download(plan, tell, show)
    print_coverage(report)
    if report.problems:
        raise InputError(
            f"{len(report.problems)} problem{'s'[: len(report.problems) > 1]} (told above); all else is on disk. Way out: run the same "
            "command again, it goes on where it stopped"
        )


@contextmanager
def steps() -> Iterator[tuple[Callable[[str], None], Callable[[str, int, int], None]]]:
    """A bar a job on standard error: `tell(text)` prints a sentence above them, `show(what, done, of)` moves one."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=errors,
    ) as bars:  # fmt: skip
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done, total=of)

        yield lambda text: errors.print(text, markup=False, highlight=False), show


def print_coverage(report: "Report") -> None:
    """What is on disk, series by series, and every hole by name."""
    table = Table(title="on disk, within the span asked for", title_justify="left")
    for column in ("series", "pair", "rows", "from", "to", "holes"):
        table.add_column(column, justify="right" if column in ("rows", "holes") else "left")
    for c in report.coverage:
        ends = [iso(at)[:16] + "Z" if at is not None else "-" for at in (c.first, c.last)]
        table.add_row(c.series, c.pair, str(c.rows), *ends, str(len(c.holes)))
    console.print(table)
    for c in report.coverage:
        for hole in c.holes:
            console.print(f"hole: {c.series} {c.pair}: {hole}", markup=False)


@app.command()
def doctor(
    datadir: DataDir = Path("user_data/data/binance"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Also ask the exchanges what research could not tell.")] = False,
    at: Annotated[
        str | None, typer.Option("--at", help="Judge ages at this time, with zone; now unless given.")
    ] = None,
    days: Annotated[
        int | None, typer.Option("--days", help="Holes that ended longer ago are listed, but are no problem.", min=1)
    ] = None,
    extras: Extras = None,
    exchange: Exchange = None,
    config: Annotated[Path | None, typer.Option("--config", help="freqtrade configuration to check.")] = None,
    url: Annotated[
        list[str] | None, typer.Option("--url", help="Another address of a feed: binance-stream=ws://127.0.0.1:9.")
    ] = None,
) -> None:
    """Name every hole, stale series and unit that cannot be right. Exit code: 0 healthy, 1 problems, 2 cannot run."""
    from liqsignals import doctor as checks

    now = parse_time(at) if at is not None else time.time_ns()
    since = 0 if days is None else now - days * DAY
    report = checks.examine(datadir, now=now, exchange=exchange, extras=extras, config=config, since=since)
    if live:
        from liqsignals import firstcontact
        from liqsignals.sources import feeds

        firstcontact.add_to(report, feeds.override(url or [], firstcontact.URLS))
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        for line in checks.lines(report):
            print(line)
    raise typer.Exit(0 if report["healthy"] else 1)


@app.command("record")
def record_command(
    pairs: Annotated[str, typer.Option("--pairs", help="Pairs, separated by spaces.")],
    datadir: DataDir = Path("user_data/data/binance"),
    exchanges: Annotated[
        str, typer.Option("--exchanges", help="Exchanges, separated by spaces.")
    ] = "binance bybit okx",
    extras: Extras = None,
    url: Annotated[
        list[str] | None, typer.Option("--url", help="Another address of a feed: binance-stream=ws://127.0.0.1:9.")
    ] = None,
    prints_only: Annotated[bool, typer.Option("--prints-only", help="Only liquidation prints, no polls.")] = False,
) -> None:
    """Record what no archive keeps, until Ctrl-C: liquidation prints, predicted funding, and history up to now."""
    from liqsignals import record
    from liqsignals.sources import feeds

    readers.check_datadir(datadir)
    names = pairs.replace(",", " ").split()
    for pair in names:
        readers.check_pair(datadir, pair)

    def tell(text: str) -> None:
        print(f"{iso(time.time_ns())} {text}", file=sys.stderr, flush=True)

    record.record(
        extras or datadir / "liqsignals", names, exchanges.replace(",", " ").split(), feeds.override(url or []),
        tell=tell, poll=not prints_only,
    )  # fmt: skip


Config = Annotated[Path, typer.Option("--config", help="freqtrade configuration.")]
UserDir = Annotated[Path, typer.Option("--userdir", help="freqtrade's user_data.")]
Keep = Annotated[
    Path | None,
    typer.Option("--keep", help="New folder for the run's files: logs, database. Removed at the end unless given."),
]


@contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    """A new folder, temporary unless named."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="liqsignals-") as made:
            yield Path(made)
        return
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"--keep {folder}: is not empty. Way out: name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def _say(text: str) -> None:
    errors.print(text, markup=False, highlight=False)


@app.command("replay", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def replay_command(
    context: typer.Context,
    datadir: DataDir,
    start: Annotated[str, typer.Option("--from", help="Market time at which it begins, with zone.")],
    speed: Annotated[float, typer.Option("--speed", help="Market seconds per second.", min=0.01)] = 1.0,
    faults: Annotated[
        Path | None, typer.Option("--faults", help="Faults to put in: .json, see docs/replay.md.")
    ] = None,
    keep: Keep = None,
) -> None:
    """Serve history as Binance USD-M futures that are still going on, and run a command in that market's time.

    liqsignals replay -d D --from T --speed 60 -- freqtrade trade --config config.json --config {overlay} --datadir {datadir} ...

    {overlay}: configuration that sends freqtrade here. {datadir}: the data directory as it stood at T. {stream}: address of the
    streams for liqsignals record --url binance-stream={stream}. {rest}: the same for polls. Without a command: until Ctrl-C.
    """
    from liqsignals.sim.replay import serve

    at = parse_time(start)
    with _kept(keep) as folder:
        code = serve(datadir, at, speed, faults, folder, context.args, _say)
    raise typer.Exit(code)


@app.command("paper")
def paper_command(
    datadir: DataDir,
    start: Annotated[str, typer.Option("--from", help="Market time at which the bot starts, with zone.")],
    hours: Annotated[float, typer.Option("--hours", help="Market hours after which it ends.", min=0.1)] = 24.0,
    strategy: Annotated[str, typer.Option("--strategy", help="Strategy.")] = "SqueezeMomentum",
    pairs: Annotated[str, typer.Option("--pairs", help="Pairs, separated by spaces.")] = "BTC/USDT:USDT ETH/USDT:USDT",
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", help="The strategy's timeframe.")] = "5m",
    config: Config = Path("config.json"),
    userdir: UserDir = Path("user_data"),
    keep: Keep = None,
) -> None:
    """Run a real dry-run bot on a stretch of history, as fast as it can loop, and print its trades."""
    from liqsignals import paper
    from liqsignals.sim.bot import Settings

    begun, at = time.monotonic(), parse_time(start)
    names = tuple(pairs.split())
    with _kept(keep) as folder:
        settings = Settings(config, userdir, datadir, strategy, userdir / "strategies", names, timeframe, folder)
        result = paper.run(settings, at, hours, _say)
    for trade in result.trades:
        console.print(f"{_simulated(datadir)}{paper.sentence(trade)}", markup=False)
    console.print(
        f"{_simulated(datadir)}{strategy}: {hours:g} h from {iso(at)} in {time.monotonic() - begun:.0f} s, "
        f"{len(result.session.rows)} candles analysed, {len(result.trades)} trades"
    )


@app.command("parity")
def parity_command(
    datadir: DataDir,
    timerange: Annotated[str, typer.Option("--timerange", help="freqtrade's notation, UTC: 20251124-20251201.")],
    strategy: Annotated[str, typer.Option("--strategy", help="Strategy.")] = "SqueezeMomentum",
    pairs: Annotated[str, typer.Option("--pairs", help="Pairs, separated by spaces.")] = "BTC/USDT:USDT ETH/USDT:USDT",
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", help="The strategy's timeframe.")] = "5m",
    config: Config = Path("config.json"),
    userdir: UserDir = Path("user_data"),
    keep: Keep = None,
) -> None:
    """Backtest a strategy and run it dry over the same span; exit code 0 only where both are the same, with trades."""
    from liqsignals import parity

    start, stop = parse_timerange(timerange)
    if start is None or stop is None:
        raise InputError(f"parity: the timerange {timerange} needs a start and an end")
    step = duration_ns(timeframe)
    span = parity.Span(
        datadir,
        config,
        userdir,
        strategy,
        tuple(pairs.split()),
        timeframe,
        -(-start // step) * step,
        stop // step * step,
    )
    with _kept(keep) as folder:
        report = parity.run(span, folder, _say)
    for line in parity.lines(report):
        console.print(f"{_simulated(datadir)}{line}", markup=False)
    print(report.last_line)
    raise typer.Exit(0 if report.passed else 1)

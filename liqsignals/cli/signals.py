"""Commands that show signals: `features`, `map`."""

import json
import logging
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from liqsignals import venues
from liqsignals.bulk.columns import Job, table, writer
from liqsignals.bulk.run import check, gathered, run, summary
from liqsignals.cli.app import app
from liqsignals.cli.options import CalibrationFile, DataDir, Exchange, Extras, Finest, Pair, SqueezeFile, Timerange
from liqsignals.clock import DAY, HOUR, MINUTE, duration_ns, iso, parse_time, parse_timerange
from liqsignals.data import freqtrade
from liqsignals.data.tape import checked_tape, map_tape
from liqsignals.errors import InputError
from liqsignals.evaluation.liquidations import read as read_liquidations
from liqsignals.files import written
from liqsignals.liqmap import calibration, squeeze
from liqsignals.replay.picture import trades_of
from liqsignals.report.console import progress, say, simulated_label
from liqsignals.report.headline import headline_on_disk, print_headline
from liqsignals.report.heatmap import picture
from liqsignals.report.heatmap_html import write_html
from liqsignals.report.heatmap_png import write_png
from liqsignals.report.levels import write_levels
from liqsignals.strategy.notices import Notices


@app.command("features")
def features_command(
    datadir: DataDir,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: .parquet, .feather or .csv; a folder with --all-pairs.")
    ],
    pair: Annotated[
        str | None, typer.Option("--pair", "-p", help="Pair as freqtrade names it, for example BTC/USDT:USDT.")
    ] = None,
    all_pairs: Annotated[
        bool,
        typer.Option("--all-pairs", help="Every pair with candles, one file each; continues a run that was stopped."),
    ] = False,
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", help="Candles to compute at, as of freqtrade.")] = "5m",
    timerange: Timerange = None,
    columns: Annotated[
        str, typer.Option("--columns", help="Columns to keep, separated by commas; all unless given.")
    ] = "",
    float32: Annotated[bool, typer.Option("--float32", help="Write single precision.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="With --all-pairs: processes; 0: one a core.")] = 0,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="With --all-pairs: a Dask scheduler, tcp://host:8786.")
    ] = None,
    extras: Extras = None,
    exchange: Exchange = None,
    finest: Finest = "5m",
    calibrated: CalibrationFile = None,
    squeeze_file: SqueezeFile = None,
) -> None:
    """Write every liqsignals column of a pair, or of all: column `date` (candle open, UTC), then the features."""
    freqtrade.check_datadir(datadir)
    freqtrade.check_timeframe(timeframe)
    if (pair is None) == (not all_pairs):
        raise InputError("features: give either --pair or --all-pairs")
    if not all_pairs and (jobs or scheduler):
        raise InputError("features: --jobs and --scheduler go with --all-pairs")
    start, stop = parse_timerange(timerange)
    names = tuple(columns.replace(",", " ").split())
    job = Job(datadir, timeframe, start, stop, extras, exchange, finest, calibrated, squeeze_file, names, float32)
    if pair is None:
        _features_of_all(job, out, jobs, scheduler)
        return
    tape = checked_tape(datadir, pair, extras, exchange, finest)
    command = freqtrade.download_command(exchange or venues.exchange_of(datadir), pair)
    frame = table(job, pair, tape)
    Notices().missing(tape, datadir, extras or datadir / "liqsignals", command)
    with written(out, (".parquet", ".feather", ".csv")) as path:
        if out.suffix == ".csv":
            frame.to_csv(path, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
        elif out.suffix == ".feather":
            frame.to_feather(path)
        else:
            frame.to_parquet(path, index=False)
    first, last = (date.strftime("%Y-%m-%dT%H:%M:%SZ") for date in (frame["date"].iloc[0], frame["date"].iloc[-1]))
    print(f"{out}: {len(frame)} rows x {len(frame.columns)} columns, {first} to {last}")


def _features_of_all(job: Job, out: Path, jobs: int, scheduler: str | None) -> None:
    pairs = freqtrade.pairs_in(job.datadir)
    if not pairs:
        raise InputError(
            f"{job.datadir / 'futures'} holds no candles", freqtrade.download_command("binance", "BTC/USDT:USDT")
        )
    begun = time.monotonic()
    good, bad = gathered(run(writer(job, out), pairs, jobs=jobs, scheduler=scheduler), len(pairs))
    print(summary(str(out), "rows written", good, bad, time.monotonic() - begun))
    check(good, bad)


def _age(ns: int) -> str:
    """An age in words: `3.2 h`, `100.0 days`."""
    return f"{ns / HOUR:.1f} h" if ns < 2 * DAY else f"{ns / DAY:.1f} days"


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
    as_html: Annotated[
        Path | None, typer.Option("--html", help="Also draw the map over time: .html file that opens offline.")
    ] = None,
    as_png: Annotated[Path | None, typer.Option("--png", help="The same as a .png file (needs matplotlib).")] = None,
    to_price: Annotated[
        float | None,
        typer.Option("--to-price", help="Add up what is liquidated on the way from the price to this one.", min=0.0),
    ] = None,
    days: Annotated[float, typer.Option("--days", help="With --html or --png: days before the map.", min=0.1)] = 30.0,
    liquidations: Annotated[
        Path | None,
        typer.Option("--liquidations", help="With --html or --png: real liquidations by hour, as for validate."),
    ] = None,
    trades: Annotated[
        list[Path] | None,
        typer.Option("--trades", help="With --html or --png: trades of a backtest, backtest-result-*.zip."),
    ] = None,
    timerange: Timerange = None,
    extras: Extras = None,
    exchange: Exchange = None,
    finest: Finest = "5m",
    calibrated: CalibrationFile = None,
    squeeze_file: SqueezeFile = None,
) -> None:
    """Show the liquidation map of a pair (headline and clusters), or write its levels over time."""
    freqtrade.check_datadir(datadir)
    if (every is None) != (out is None) or (every is not None and (at is not None or as_json or to_price is not None)):
        lacks = {(True, False): "--every needs --out FILE.parquet", (False, True): "--out needs --every, such as 6h"}
        raise InputError(
            lacks.get(
                (every is not None, out is not None),
                "map: --every writes levels, and --at, --json and --to show one map",
            ),
            "give --every together with --out to write levels; without both of them the map is shown",
        )
    drawn = as_html is not None or as_png is not None
    if (drawn and every is not None) or ((liquidations is not None or trades) and not drawn):
        raise InputError("map: --html and --png draw the map of one moment; --liquidations and --trades go with them")
    if every is None and timerange is not None:
        raise InputError("map: --timerange goes with --every; for the map of one moment use --at")
    chosen = calibration.choose(calibrated).with_squeeze(squeeze.choose(squeeze_file))
    parameters = chosen.parameters(pair)
    tape = map_tape(datadir, pair, extras, exchange, finest)
    if every is not None and out is not None:
        start, stop = parse_timerange(timerange)
        with progress("levels") as show:
            found = write_levels(tape, parameters, duration_ns(every), out, start, stop, show)
        left_out = f"; left out {found.stale} times at which open interest was stale" if found.stale else ""
        print(
            f"{out}: {found.rows} levels at {len(found.instants)} times, {iso(found.instants[0])} to "
            f"{iso(found.instants[-1])}{left_out}"
        )
        return
    ends = tape.bars["event_time"]
    when = parse_time(at) if at is not None else max(time.time_ns(), int(ends[-1]))
    row = int(np.searchsorted(ends, when, side="right")) - 1
    if row < 0:
        raise InputError(f"--at {at}: no candle of {pair} had closed by then; the first one closed at {iso(ends[0])}")
    if at is None and (ahead := int(ends[-1]) - time.time_ns()) > MINUTE:
        logging.getLogger(__name__).warning(
            "%s: the data end at %s, %s after now. Way out: set this machine's clock (timedatectl), then download again",
            pair, iso(ends[-1]), _age(ahead),
        )  # fmt: skip
    behind = when - int(ends[row])
    # Without --at the user asks for now; what a download just before cannot have yet is no news.
    if behind >= (tape.bar_ns if at is not None else max(2 * tape.bar_ns, HOUR)):
        logging.getLogger(__name__).warning(
            "%s: the data end at %s, %s before %s; this is the map at that time. Way out: %s",
            pair,
            iso(ends[row]),
            _age(behind),
            iso(when) if at is not None else "now",
            freqtrade.download_command(exchange or venues.exchange_of(datadir), pair),
        )
    head = headline_on_disk(
        tape, int(ends[row]), chosen, datadir, extras=extras, exchange=exchange, finest=finest, to_price=to_price
    )
    if as_json:
        print(json.dumps(head, indent=2))
    else:
        print_headline(head, simulated_label(datadir))
        if head["calibration"] is not None:
            say(f"  {head['calibration']}")
    if drawn:
        real = read_liquidations(liquidations, tape) if liquidations is not None else None
        shown = [t for t in trades_of(trades or [], pair) if int(ends[row]) - days * DAY < t["open"] < int(ends[row])]
        pic = picture(tape, int(ends[row]), parameters, days=days, real=real, trades=shown, head=head)
        for path, write in ((as_html, write_html), (as_png, write_png)):
            if path is not None:
                say(f"{write(pic, path, simulated_label(datadir))}: {path.stat().st_size / 1e6:.1f} MB")

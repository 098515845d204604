"""For who looks at the signals: `features`, `map`."""

import json
import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from liqsignals import features, venues
from liqsignals.cli.app import app
from liqsignals.cli.options import CalibrationFile, DataDir, Exchange, Extras, Finest, Pair, Timerange
from liqsignals.clock import duration_ns, iso, open_time, parse_time, parse_timerange, to_dates
from liqsignals.data import freqtrade
from liqsignals.data.freqtrade import candles
from liqsignals.data.tape import checked_tape, map_tape
from liqsignals.errors import InputError
from liqsignals.files import written
from liqsignals.liqmap import calibration
from liqsignals.report.console import simulated_label
from liqsignals.report.headline import headline, print_headline
from liqsignals.report.levels import write_levels


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
    freqtrade.check_datadir(datadir)
    tape = checked_tape(datadir, pair, extras, exchange, finest)
    frame = candles(datadir, pair, timeframe, exchange)
    bars = freqtrade.bars(frame, timeframe, f"{pair} {timeframe} candles")
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
            pair, datadir, freqtrade.download_command(exchange or venues.exchange_of(datadir), pair),
        )  # fmt: skip
    parameters = calibration.choose(calibrated).parameters(pair)
    columns = features.compute(tape, at[inside], closes[inside], duration_ns(timeframe), parameters)
    table = pd.DataFrame({"date": to_dates(opened[inside]), **columns})
    with written(out, (".parquet", ".feather", ".csv")) as path:
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
    freqtrade.check_datadir(datadir)
    if (every is None) != (out is None) or (every is not None and (at is not None or as_json)):
        raise InputError("map: give either --at and --json (show a map), or --every together with --out (write levels)")
    if every is None and timerange is not None:
        raise InputError("map: --timerange goes with --every; for the map of one moment use --at")
    parameters = calibration.choose(calibrated).parameters(pair)
    tape = map_tape(datadir, pair, extras, exchange, finest)
    if every is not None and out is not None:
        write_levels(tape, parameters, duration_ns(every), out, timerange)
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
    head = headline(tape, int(ends[row]), float(tape.bars["close"][row]), parameters, extras or datadir / "liqsignals")
    if as_json:
        print(json.dumps(head, indent=2))
    else:
        print_headline(head, simulated_label(datadir))

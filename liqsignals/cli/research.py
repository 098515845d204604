"""Commands for accuracy: `calibrate` and `validate` of the map, `touch` of the probability of touch."""

import json
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from liqsignals.cli.app import app
from liqsignals.cli.options import CalibrationFile, DataDir, Exchange, Extras, Finest, SqueezeFile, Unit
from liqsignals.clock import HOUR, duration_ns, iso, parse_time
from liqsignals.data import freqtrade
from liqsignals.data.tape import map_tape
from liqsignals.errors import InputError
from liqsignals.evaluation import fit as fits
from liqsignals.evaluation import liquidations
from liqsignals.files import check_out, written
from liqsignals.liqmap import calibration, squeeze
from liqsignals.report.console import console, errors, simulated_label
from liqsignals.report.tables import print_fitted, print_touch

if TYPE_CHECKING:
    from liqsignals.bulk.validation import Request


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
    """Fit the map's mix of leverage to real liquidations: one fit per pair, and one of all pairs for any other pair."""
    if len(pair) != len(table):
        raise InputError(f"calibrate: {len(pair)} --pair but {len(table)} --liquidations; give one table for each pair")
    freqtrade.check_datadir(datadir)
    last = parse_time(until) if until is not None else None
    since = parse_time(holdout_from) if holdout_from is not None else None
    markets = []
    for name, path in zip(pair, table, strict=True):
        tape = map_tape(datadir, name, extras, exchange, finest)
        real = liquidations.read(path, tape, unit=unit)
        kept = real.hours + HOUR <= last if last is not None else np.ones(len(real.hours), bool)
        markets.append(fits.Market(tape, real.hours[kept], real.usd[:, kept]))
    check_out(out, (".json",))
    with errors.status("fitting"):
        source = source or ", ".join(p.name for p in table)
        alone = {m.tape.pair: fits.fit([m], source, since) for m in markets}
        pooled = fits.fit(markets, source, since) if len(markets) > 1 else next(iter(alone.values()))
        calibration.save(calibration.Calibration(pooled, alone, str(out)), out)
    for name, fitted in {**alone, **({"pooled": pooled} if len(alone) > 1 else {})}.items():
        print_fitted(name, fitted)
    print(f'{out}: use it with "liqsignals": {{"calibration": "{out}"}} in the config, or --calibration {out}')


@app.command()
def validate(
    datadir: DataDir,
    table: Annotated[
        Path,
        typer.Option(
            "--liquidations",
            "-l",
            help="Real liquidations: an hourly table, or recorded prints; with --all-pairs a folder with one a pair.",
        ),
    ],
    pair: Annotated[
        str | None, typer.Option("--pair", "-p", help="Pair as freqtrade names it, for example BTC/USDT:USDT.")
    ] = None,
    all_pairs: Annotated[
        bool,
        typer.Option("--all-pairs", help="Every pair that has candles and a table; continues a run that was stopped."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="With --all-pairs: folder of the answers, one .json a pair.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="With --all-pairs: processes; 0: one a core.")] = 0,
    start: Annotated[str | None, typer.Option("--from", help="Use no hour before this time, with zone.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Use no hour that ends after this time, with zone.")] = None,
    fit_until: Annotated[
        str | None,
        typer.Option(
            "--fit-until",
            help="Fit the baselines before this time and score from it on; where the calibration's data end, or at "
            "half, unless given.",
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
    report: Annotated[Path | None, typer.Option("--report", help="Write tables and charts: .html.")] = None,
    unit: Unit = None,
    extras: Extras = None,
    exchange: Exchange = None,
    finest: Finest = "5m",
) -> None:
    """Score the map against real liquidations, with baselines on the same hours and confidence intervals."""
    # Imported here because a bot does not need it.
    from liqsignals.bulk.validation import Request, scored
    from liqsignals.report import validation as pages
    from liqsignals.report import validation_html

    freqtrade.check_datadir(datadir)
    if (pair is None) == (not all_pairs):
        raise InputError("validate: give either --pair or --all-pairs")
    since, until, fit = (None if t is None else parse_time(t) for t in (start, end, fit_until))
    sizes = tuple(duration_ns(size.strip()) for size in candles.split(",")) if candles else ()
    request = Request(
        datadir,
        since=since,
        until=until,
        fit_until=fit,
        baselines=baselines,
        refit=refit,
        calibrated=calibrated,
        candles=sizes,
        hourly=hourly,
        hyperliquid=hyperliquid,
        unit=unit,
        extras=extras,
        exchange=exchange,
        finest=finest,
    )
    if pair is None:
        if out is None or report is not None or as_json:
            raise InputError("validate: --all-pairs needs --out, where the JSON goes, and makes no --report")
        _validate_all(request, table, out, jobs)
        return
    if out is not None or jobs:
        raise InputError("validate: --out and --jobs go with --all-pairs")
    with ExitStack() as stack:
        path = stack.enter_context(written(report, (".html",))) if report is not None else None
        stack.enter_context(errors.status("scoring"))
        answer = scored(request, pair, table)
        if path is not None:
            title = f"{simulated_label(datadir)}{pair}: the map against real liquidations"
            validation_html.write_html(answer.result, path, title, answer.fitted.parameters)
    if as_json:
        print(json.dumps(answer.found, indent=2))
        return
    for note in (*answer.notes, *pages.facts(answer.found)):
        console.print(f"{simulated_label(datadir)}{note}", markup=False)
    for part in pages.rich_tables(answer.found):
        console.print(part)
    if report is not None:
        console.print(f"{report}: tables and charts")


def _validate_all(request: "Request", folder: Path, out: Path, jobs: int) -> None:
    from liqsignals.bulk import run as bulk
    from liqsignals.bulk import validation
    from liqsignals.report import validation as pages

    found = validation.tables(folder, freqtrade.pairs_in(request.datadir))
    begun = time.monotonic()
    write = validation.writer(request, out, found)
    good, bad = bulk.gathered(bulk.run(write, list(found), jobs=jobs), len(found))
    for part in pages.rich([pages.overview(validation.answers(out, sorted(done.pair for done in good)))]):
        console.print(part)
    print(bulk.summary(str(out), "hours scored", good, bad, time.monotonic() - begun))
    bulk.check(good, bad)


@app.command()
def touch(
    datadir: DataDir,
    pair: Annotated[list[str], typer.Option("--pair", "-p", help="Pair; repeat it for several together.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Fit the parameters on the pairs' candles first: .json to write.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", help="With --out: fit on candles closed by then, with zone; all unless given."),
    ] = None,
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", help="With --out: candles to fit on.")] = "15m",
    impact: Annotated[
        str | None,
        typer.Option("--impact", help="With --out: the cascade's law, sqrt (the default) or taker (docs/squeeze.md)."),
    ] = None,
    squeeze_file: SqueezeFile = None,
    calibrated: CalibrationFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    extras: Extras = None,
    exchange: Exchange = None,
    finest: Finest = "5m",
) -> None:
    """Score the probability of touch on the clusters that the pairs' maps had, and fit its parameters anew with --out.

    Scored are clusters since the parameters could be known: the end of their fit.
    """
    # Imported here because a bot does not need it.
    from liqsignals.evaluation import touch as touches

    freqtrade.check_datadir(datadir)
    if out is None and (until is not None or impact is not None):
        raise InputError("touch: --until and --impact go with --out; without it nothing is fitted")
    if impact not in (None, squeeze.SQRT, squeeze.TAKER):
        raise InputError(f"touch: --impact {impact} must be {squeeze.SQRT} or {squeeze.TAKER}")
    if out is not None:
        check_out(out, (".json",))
    with errors.status("fitting and scoring"):
        chosen = squeeze.choose(squeeze_file)
        if out is not None:
            markets = []
            for name in pair:
                bars = freqtrade.candles(datadir, name, timeframe)
                if bars is None or len(bars) == 0:
                    raise freqtrade.absent(f"{timeframe} candles", datadir, name, exchange, timeframe)
                markets.append(touches.Candles(name, bars, duration_ns(timeframe)))
            chosen = touches.fit_touch(markets, None if until is None else parse_time(until))
            chosen = replace(chosen, law=impact or squeeze.SQRT)
        calibration_of = calibration.choose(calibrated).with_squeeze(chosen)
        parts = [
            touches.cases(map_tape(datadir, name, extras, exchange, finest), calibration_of.parameters(name))
            for name in pair
        ]
        scored = touches.scores(touches.joined(parts))
    label = f"{', '.join(pair)} since {iso(chosen.known_at)}" if chosen is not None else ""
    if out is not None and chosen is not None:
        kept = {horizon: {label: one} for horizon, one in scored.items()}
        squeeze.save(replace(chosen, provenance={**chosen.provenance, "scores": kept}), out)
    if as_json:
        print(json.dumps({"pairs": pair, "scores": scored}, indent=2))
        return
    if scored:
        print_touch(scored, f"{simulated_label(datadir)}probability of touch, {label}")
    else:
        console.print(
            f"{simulated_label(datadir)}fewer than 100 clusters, or none touched, {label}: nothing to score",
            markup=False,
        )
    if out is not None:
        print(f'{out}: use it with "liqsignals": {{"squeeze": "{out}"}} in the config, or --squeeze {out}')

"""The command `study`: what price did after it met clusters."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from liqsignals.cli.app import app
from liqsignals.cli.options import CalibrationFile, DataDir, Exchange, Extras, Finest
from liqsignals.clock import parse_time
from liqsignals.data import freqtrade
from liqsignals.data.tape import map_tape
from liqsignals.errors import InputError
from liqsignals.files import check_out, written
from liqsignals.liqmap import calibration, squeeze
from liqsignals.report.console import console, errors, simulated_label


@app.command()
def study(
    datadir: DataDir,
    pair: Annotated[list[str], typer.Option("--pair", "-p", help="Pair; repeat it: all count together.")],
    start: Annotated[str | None, typer.Option("--from", help="Use no event before this time, with zone.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Use no candle after this time, with zone.")] = None,
    calibrated: CalibrationFile = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which placebos and which weeks are drawn.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write tables and pictures: .html.")] = None,
    extras: Extras = None,
    exchange: Exchange = None,
    finest: Finest = "5m",
) -> None:
    """Returns after price meets a cluster (approach, touch, sweep, rejection, ...) against matched candles without one."""
    # Imported here because a bot does not need it.
    from liqsignals.evaluation import events
    from liqsignals.report import events as pages
    from liqsignals.report.validation import rich

    freqtrade.check_datadir(datadir)
    since, until = (None if t is None else parse_time(t) for t in (start, end))
    check_out(report, (".html",)) if report is not None else None
    chosen = calibration.choose(calibrated).with_squeeze(squeeze.default())
    markets = []
    with errors.status("folding"):
        for name in dict.fromkeys(pair):
            tape = map_tape(datadir, name, extras, exchange, finest)
            parameters = chosen.parameters(name)
            if until is not None and (tape.bars is None or until < tape.bars["event_time"][:1].sum()):
                raise InputError(f"--to {end} is before the first candle of {name}", "name a later time")
            markets.append(events.candles(tape if until is None else tape.cut(until), parameters))
    with ExitStack() as stack:
        path = stack.enter_context(written(report, (".html",))) if report is not None else None
        stack.enter_context(errors.status("drawing weeks"))
        found = {"simulated": bool(simulated_label(datadir)), **events.study(markets, seed, since)}
        if path is not None:
            pages.write_html(found, path, f"{simulated_label(datadir)}Event study: {', '.join(found['pairs'])}")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for fact in pages.facts(found):
        console.print(f"{simulated_label(datadir)}{fact}", markup=False)
    cells, splits = pages.tables(found)
    console.print(rich([cells])[0])
    if splits[2]:
        console.print(
            f"{len(splits[2])} more tests, by cluster size, open-interest change and funding: --report or --json"
        )
    if report is not None:
        console.print(f"{report}: tables and pictures")

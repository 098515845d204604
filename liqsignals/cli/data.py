"""Commands for the data: `download`, `record`, `doctor`."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from liqsignals import venues
from liqsignals.cli.app import app
from liqsignals.cli.options import DataDir, Exchange, Extras, Timerange, existing
from liqsignals.clock import DAY, iso, parse_time, parse_timerange
from liqsignals.data import freqtrade
from liqsignals.errors import InputError
from liqsignals.report.console import say, steps
from liqsignals.report.tables import print_coverage
from liqsignals.sources import EXCHANGES


@app.command("download")
def download_command(
    datadir: DataDir,
    pairs: Annotated[str, typer.Option("--pairs", "-p", help="Pairs, separated by spaces.")],
    days: Annotated[int | None, typer.Option("--days", min=1, help="From this many days ago until now.")] = None,
    timerange: Timerange = None,
    exchanges: Annotated[
        str, typer.Option("--exchanges", help=f"Other venues for the extras: {', '.join(EXCHANGES)}.")
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
    """Fill the data directory and its extras with history; continue where an earlier run stopped."""
    from liqsignals.collect.download import STEPS, Plan, download

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
        datadir,
        exchange or venues.exchange_of(datadir),
        tuple(pairs.replace(",", " ").split()),
        start,
        stop,
        extras,
        tuple(map(venues.exchange_name, exchanges.replace(",", " ").split())),
        tuple(only.replace(",", " ").split()) or STEPS,
        dict(given.split("=", 1) for given in url or []),
        tuple(map(existing, config or ())),
        at,
    )
    with steps() as (print_line, show):
        report = download(plan, print_line, show)
    print_coverage(report)
    if report.problems:
        raise InputError(
            f"{len(report.problems)} problem{'s'[: len(report.problems) > 1]} (reported above); all else is on disk",
            "run the same command again, it continues where it stopped",
        )


@app.command()
def doctor(
    datadir: DataDir = Path("user_data/data/binance"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Also ask the exchanges what their documents leave open.")
    ] = False,
    at: Annotated[
        str | None, typer.Option("--at", help="Compute ages at this time, with zone; now unless given.")
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            "--days", help="Holes and jumps that ended more days ago are listed, but do not count as problems.", min=1
        ),
    ] = None,
    pairs: Annotated[
        str | None, typer.Option("--pairs", "-p", help="Judge only these, separated by spaces; all unless given.")
    ] = None,
    extras: Extras = None,
    exchange: Exchange = None,
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", help="freqtrade configuration to check; of several the later one counts."),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema/--no-schema", help="Ask freqtrade about the configuration, too (some seconds).")
    ] = True,
    url: Annotated[
        list[str] | None, typer.Option("--url", help="Another address of a feed: binance-stream=ws://127.0.0.1:9.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--report", help="Write FILE.zip for a bug report: all this, versions, configuration, secrets hidden."
        ),
    ] = None,
    log: Annotated[
        list[Path] | None, typer.Option("--log", help="With --report: a log whose end goes into it, secrets hidden.")
    ] = None,
) -> None:
    """Name every hole, stale series and unit that cannot be right. Exit code: 0 healthy, 1 problems, 2 cannot run."""
    from liqsignals.doctor import examine as checks

    if log and bundle is None:
        raise InputError("doctor: --log goes with --report")
    now = parse_time(at) if at is not None else time.time_ns()
    since = 0 if days is None else now - days * DAY
    names = None if pairs is None else pairs.replace(",", " ").split()
    files = list(map(existing, config or ()))
    found = None
    if files:
        from liqsignals.collect import freqtrade_command
        from liqsignals.doctor.config import plain

        found = freqtrade_command.configuration(files) if schema else plain(files)
    report = checks.examine(datadir, now=now, exchange=exchange, extras=extras, config=found, since=since, pairs=names)
    if live:
        from liqsignals.collect import feeds
        from liqsignals.doctor import firstcontact

        firstcontact.add_to(report, feeds.override(url or [], firstcontact.URLS))
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        for line in checks.lines(report):
            print(line)
    if bundle is not None:
        from liqsignals.doctor.bundle import write

        held = write(bundle, report, found, log or (), now, os.environ)
        say(f"{bundle}: {', '.join(held)}; secrets are hidden, pairs and paths are not: read it before you send it")
    raise typer.Exit(0 if report["healthy"] else 1)


@app.command("record")
def record_command(
    pairs: Annotated[str, typer.Option("--pairs", help="Pairs, separated by spaces.")],
    datadir: DataDir = Path("user_data/data/binance"),
    exchanges: Annotated[
        str, typer.Option("--exchanges", help=f"Exchanges, separated by spaces: {', '.join(EXCHANGES)}.")
    ] = " ".join(EXCHANGES),
    extras: Extras = None,
    url: Annotated[
        list[str] | None, typer.Option("--url", help="Another address of a feed: binance-stream=ws://127.0.0.1:9.")
    ] = None,
    prints_only: Annotated[bool, typer.Option("--prints-only", help="Only liquidation prints, no polls.")] = False,
) -> None:
    """Record what no archive keeps, until Ctrl-C: liquidation prints, predicted funding, and history up to now."""
    from liqsignals.collect import feeds, recorder

    freqtrade.check_datadir(datadir)
    names = pairs.replace(",", " ").split()
    for pair in names:
        freqtrade.check_pair(datadir, pair)

    def log(text: str) -> None:
        print(f"{iso(time.time_ns())} {text}", file=sys.stderr, flush=True)

    recorder.record(
        extras or datadir / "liqsignals",
        names,
        [venues.exchange_name(name) for name in exchanges.replace(",", " ").split()],
        feeds.override(url or []),
        log=log,
        poll=not prints_only,
    )

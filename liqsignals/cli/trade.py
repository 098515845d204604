"""Commands that run strategies: `simulate`, `demo`, `init`, `backtest`, `offline`, `replay`, `paper`, `parity`,
`release`.
"""

import time
import webbrowser
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from liqsignals.cli.app import app
from liqsignals.cli.options import Config, DataDir, Keep, Timerange, UserDir, config_of, kept
from liqsignals.clock import duration_ns, iso, parse_time, parse_timerange
from liqsignals.data import freqtrade
from liqsignals.errors import InputError
from liqsignals.replay import starter
from liqsignals.replay.backtest import Result, Run, covered, run_backtest
from liqsignals.replay.picture import draw_backtest
from liqsignals.replay.strategies import own_timeframe
from liqsignals.report import results
from liqsignals.report.backtest import print_accounts, timeframe_warning
from liqsignals.report.console import console, errors, progress, say, simulated_label
from liqsignals.report.headline import print_headline
from liqsignals.report.walkforward import rich_table


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("build/market"),
    seed: Annotated[int, typer.Option(help="Same seed, same market.")] = 5,
    days: Annotated[int, typer.Option(help="Length of the market.")] = 120,
) -> None:
    """Write a SIMULATED market: a freqtrade data directory with extras, and its true liquidation levels."""
    from liqsignals.simulation.market import write_market

    if (out / "binance" / "SIMULATED").exists():
        say(f"replacing the SIMULATED market in {out} (it carries the simulator's mark); --out names another folder")
    try:
        with progress("SIMULATED market") as show:
            write_market(out, seed=seed, days=days, progress=show)
    except OSError as error:
        raise InputError(
            f"--out {out}: cannot be written ({error.strerror})",
            "choose another folder",
        ) from error
    print(f"SIMULATED market of {days} days, seed {seed}: data directory {out / 'binance'}, truth {out / 'truth'}")


@app.command()
def init(
    userdir: Annotated[Path, typer.Option("--userdir", help="freqtrade's user_data; made where it is not there.")],
) -> None:
    """Put the strategies and configurations that ship into a user_data folder; nothing that is there is overwritten."""
    written, existing = starter.init(userdir)
    for path in written:
        console.print(f"written: {path}", markup=False)
    for path in existing:
        console.print(f"kept, was there: {path}", markup=False)
    console.print(
        f"next: liqsignals download -d {userdir / 'data' / 'binance'} --pairs 'BTC/USDT:USDT ETH/USDT:USDT' --days 60\n"
        f"then: liqsignals backtest -d {userdir / 'data' / 'binance'} --userdir {userdir} "
        f"--config {userdir / 'config.json'}",
        markup=False,
    )


@app.command()
def backtest(
    datadir: DataDir,
    timerange: Timerange = None,
    pairs: Annotated[str, typer.Option("--pairs", help="Pairs, separated by spaces.")] = "BTC/USDT:USDT ETH/USDT:USDT",
    strategy: Annotated[
        str, typer.Option("--strategy", help="Strategies, separated by spaces.")
    ] = "SqueezeMomentum RejectionFade",
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", "-t", help="Timeframe; each strategy's own unless given.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use the loopback exchange instead of the internet.")
    ] = False,
    config: Annotated[Path, typer.Option("--config", help="freqtrade configuration.")] = Path("config.json"),
    userdir: Annotated[Path, typer.Option("--userdir", help="freqtrade's user_data.")] = Path("user_data"),
) -> None:
    """Run `freqtrade backtesting` on your own data; print what each strategy earned and paid, what the data cover,
    warnings, and the map's headline at the end.
    """
    _backtest(
        Run(
            datadir,
            timerange,
            tuple(pairs.split()),
            tuple(strategy.split()),
            timeframe,
            config_of(config, userdir),
            userdir,
            offline,
        )
    )


def _backtest(run: Run) -> Result:
    run.check()
    span = parse_timerange(run.timerange)
    simulated = simulated_label(run.datadir)
    with errors.status(f"freqtrade backtesting: {', '.join(run.strategies)} (log: {run.log})"):
        result = run_backtest(run)
    if run.brief:
        print(result.report)
    print_accounts(result.accounts, simulated)
    timeframes = list(dict.fromkeys(account.timeframe for account in result.accounts))
    found = [covered(result.settings, pair, timeframe, span) for timeframe in timeframes for pair in run.pairs]
    heads = {head["pair"]: head for _, head in found if head}
    for head in heads.values():
        print_headline(head, simulated)
    for part, _ in found:
        console.print(
            f"{simulated}{part.pair} {part.timeframe}, {iso(part.start)} to {iso(part.stop)}: candles cover "
            f"{part.candles:.1%}, fresh open interest {part.fresh:.1%}; a usable map (fresh and warm)"
            f" {part.usable:.1%}",
            markup=False,
        )
        if part.usable == 0.0:
            console.print(
                f"[yellow]{part.pair}: no candle has a usable map, so a strategy that asks for one cannot trade: the"
                " map needs 14 days of open interest before the first entry[/yellow]"
            )
    for text in (*filter(None, map(timeframe_warning, result.accounts)), *result.warnings):
        console.print(f"warning: {text}", style="yellow", markup=False)
    console.print(
        f"{simulated}data {run.datadir}\ncalibration {result.settings.calibrated.origin}\n"
        f"result {', '.join(map(str, result.files))}\nlog {result.log}",
        soft_wrap=True,
        highlight=False,
    )
    return result


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the market.")] = Path("build/market"),
    seed: Annotated[int, typer.Option(help="Same seed, same market.")] = 5,
    days: Annotated[int, typer.Option(help="Length of the market.")] = 120,
    opened: Annotated[bool, typer.Option("--open", help="Open the picture in the browser at the end.")] = False,
) -> None:
    """Make the SIMULATED market and backtest both strategies on it through freqtrade, offline, in any folder."""
    simulate(out, seed, days)
    console.print(
        "Everything below is SIMULATED: it shows that the path works and says nothing about profit.", style="bold"
    )
    source, userdir = starter.shipped(), out.with_name(f"{out.name}-user_data")
    userdir.mkdir(parents=True, exist_ok=True)
    pairs = ("BTC/USDT:USDT", "ETH/USDT:USDT")
    result = _backtest(
        Run(
            out / "binance",
            None,
            pairs,
            starter.STRATEGIES,
            "5m",
            source.config,
            userdir,
            offline=True,
            strategy_path=source.strategies,
            brief=True,
        )
    )
    drawn = draw_backtest(out / "binance", pairs[0], result.files, out.parent / "demo.html")
    console.print(f"picture: {drawn.resolve()}", soft_wrap=True, highlight=False)
    console.print(rich_table(results.rows(results.packaged())))
    console.print(results.SIMULATED, markup=False)
    if opened:
        webbrowser.open(drawn.resolve().as_uri())


@app.command("offline", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def offline_command(
    context: typer.Context,
    datadir: Annotated[
        Path | None,
        typer.Option(
            "--datadir", "-d", help="Data directory; the command's, or the only one of user_data, unless given."
        ),
    ] = None,
) -> None:
    """Run any freqtrade command without internet: a loopback exchange serves the data directory's markets.

    liqsignals offline -- freqtrade hyperopt --strategy S --hyperopt-loss SharpeHyperOptLoss --timerange 20260101-

    The configuration that points freqtrade there is added behind the command's own. A command with {overlay} in it is
    run as it is, with the path of that configuration.
    """
    from liqsignals.replay import offline

    raise typer.Exit(offline.run(context.args, datadir))


@app.command("replay", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def replay_command(
    context: typer.Context,
    datadir: DataDir,
    start: Annotated[str, typer.Option("--from", help="Market time at which it begins, with zone.")],
    speed: Annotated[float, typer.Option("--speed", help="Market seconds per second.", min=0.01)] = 1.0,
    faults: Annotated[
        Path | None, typer.Option("--faults", help="Faults to inject: .json, see docs/replay.md.")
    ] = None,
    keep: Keep = None,
) -> None:
    """Serve history as a running Binance USD-M futures market, and run a command in that market's time.

    liqsignals replay -d D --from T --speed 60 -- freqtrade trade --config config.json --config {overlay} --datadir
    {datadir} ...

    {overlay}: configuration that points freqtrade here. {datadir}: the data directory as it was at T. {stream}: address
    of the streams for liqsignals record --url binance-stream={stream}. {rest}: the same for polls. Without a command:
    until Ctrl-C.
    """
    from liqsignals.replay.session import serve

    at = parse_time(start)
    with kept(keep) as folder:
        code = serve(datadir, at, speed, faults, folder, context.args, say)
    raise typer.Exit(code)


@app.command()
def release(
    strategy: Annotated[str, typer.Option("--strategy", help="Strategy.")],
    userdir: UserDir = Path("user_data"),
) -> None:
    """Let a bot that the drawdown stop has stopped enter again; the drawdown is counted from now on (docs/risk.md)."""
    from liqsignals.strategy import drawdown

    path = drawdown.path_of(userdir, strategy)
    if not path.exists():
        raise InputError(f"{strategy} was not stopped: there is no {path}", "name the bot's folder with --userdir")
    before = drawdown.release(path, pd.Timestamp.now("UTC"))
    if before.stopped_at is None:
        console.print(f"{strategy} was not stopped; its drawdown is counted from now on: {path}", markup=False)
    else:
        console.print(
            f"{strategy}, stopped at {before.stopped_at} with a drawdown of {before.drawdown:.2%}, may enter again:"
            f" {path}",
            markup=False,
        )


def _timeframe(given: str | None, config: Path, userdir: Path, strategy: str) -> str:
    if given is not None:
        freqtrade.check_timeframe(given)
    return given or own_timeframe(config, userdir / "strategies", strategy)


@app.command("paper")
def paper_command(
    datadir: DataDir,
    start: Annotated[str, typer.Option("--from", help="Market time at which the bot starts, with zone.")],
    hours: Annotated[float, typer.Option("--hours", help="Market hours after which it ends.", min=0.1)] = 24.0,
    strategy: Annotated[str, typer.Option("--strategy", help="Strategy.")] = "SqueezeMomentum",
    pairs: Annotated[str, typer.Option("--pairs", help="Pairs, separated by spaces.")] = "BTC/USDT:USDT ETH/USDT:USDT",
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", "-t", help="Timeframe; the strategy's own unless given.")
    ] = None,
    config: Config = Path("config.json"),
    userdir: UserDir = Path("user_data"),
    keep: Keep = None,
) -> None:
    """Run a real dry-run bot on a stretch of history, as fast as it can loop, and print its trades."""
    from liqsignals.replay import paper
    from liqsignals.replay.bot import Settings

    begun, at = time.monotonic(), parse_time(start)
    names = tuple(pairs.split())
    chosen = _timeframe(timeframe, config_of(config, userdir), userdir, strategy)
    with kept(keep) as folder:
        settings = Settings(
            config_of(config, userdir), userdir, datadir, strategy, userdir / "strategies", names, chosen, folder
        )
        result = paper.run(settings, at, hours, say)
    for trade in result.trades:
        console.print(f"{simulated_label(datadir)}{paper.sentence(trade)}", markup=False)
    console.print(
        f"{simulated_label(datadir)}{strategy}: {hours:g} h from {iso(at)} in {time.monotonic() - begun:.0f} s, "
        f"{len(result.session.rows)} candles analysed, {len(result.trades)} trades"
    )


@app.command("live-rehearsal")
def rehearsal_command(
    datadir: DataDir,
    start: Annotated[str, typer.Option("--from", help="Market time at which the bot starts, with zone.")],
    hours: Annotated[float, typer.Option("--hours", help="Market hours after which it ends.", min=0.1)] = 24.0,
    strategy: Annotated[str, typer.Option("--strategy", help="Strategy.")] = "SqueezeMomentum",
    pairs: Annotated[str, typer.Option("--pairs", help="Pairs, separated by spaces.")] = "BTC/USDT:USDT ETH/USDT:USDT",
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", "-t", help="Timeframe; the strategy's own unless given.")
    ] = None,
    wallet: Annotated[float, typer.Option("--wallet", help="USDT in the account.", min=1.0)] = 10_000.0,
    down: Annotated[
        Path | None, typer.Option("--down", help='Spans in which the bot is dead: JSON, [{"from": ..., "until": ...}].')
    ] = None,
    faults: Annotated[
        Path | None, typer.Option("--faults", help="Faults to inject: .json, see docs/replay.md.")
    ] = None,
    config: Config = Path("config.json"),
    userdir: UserDir = Path("user_data"),
    keep: Keep = None,
) -> None:
    """Run a real bot with dry_run off on a loopback exchange that takes its orders, on a stretch of history.

    Orders, stops, fees, funding and liquidations happen at the exchange, also while the bot is down. Keys are dummies;
    it refuses to start unless every address in the configuration is this machine's.
    """
    from liqsignals.exchange.faults import read_faults
    from liqsignals.replay import paper, rehearsal
    from liqsignals.replay.bot import Settings

    begun, at = time.monotonic(), parse_time(start)
    names = tuple(pairs.split())
    chosen = _timeframe(timeframe, config_of(config, userdir), userdir, strategy)
    with kept(keep) as folder:
        settings = Settings(
            config_of(config, userdir), userdir, datadir, strategy, userdir / "strategies", names, chosen, folder
        )
        found = rehearsal.run(
            settings,
            at,
            hours,
            say,
            wallet=wallet,
            down=rehearsal.outages(down),
            faults=read_faults(faults) if faults else (),
        )
    label = simulated_label(datadir)
    for trade in found.trades:
        console.print(f"{label}{paper.sentence(trade)}", markup=False)
    for line in rehearsal.lines(found):
        console.print(f"{label}{line}", markup=False)
    console.print(
        f"{label}{strategy}: {hours:g} h from {iso(at)} in {time.monotonic() - begun:.0f} s, "
        f"{len(found.session.rows)} candles analysed, {len(found.trades)} trades"
    )


@app.command("parity")
def parity_command(
    datadir: DataDir,
    timerange: Annotated[str, typer.Option("--timerange", help="freqtrade's notation, UTC: 20251124-20251201.")],
    strategy: Annotated[str, typer.Option("--strategy", help="Strategy.")] = "SqueezeMomentum",
    pairs: Annotated[str, typer.Option("--pairs", help="Pairs, separated by spaces.")] = "BTC/USDT:USDT ETH/USDT:USDT",
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", "-t", help="Timeframe; the strategy's own unless given.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="The bot with dry_run off, on the loopback exchange's account, instead.")
    ] = False,
    config: Config = Path("config.json"),
    userdir: UserDir = Path("user_data"),
    keep: Keep = None,
) -> None:
    """Backtest a strategy and run it dry (or --live) over the same span; exit code 0 only where both agree, with
    trades.
    """
    from liqsignals.replay import parity

    start, stop = parse_timerange(timerange)
    if start is None or stop is None:
        raise InputError(f"parity: the timerange {timerange} needs a start and an end")
    chosen = _timeframe(timeframe, config_of(config, userdir), userdir, strategy)
    step = duration_ns(chosen)
    span = parity.Span(
        datadir,
        config_of(config, userdir),
        userdir,
        strategy,
        tuple(pairs.split()),
        chosen,
        -(-start // step) * step,
        stop // step * step,
    )
    with kept(keep) as folder:
        report = parity.run(span, folder, say, 10_000.0 if live else None)
    for line in parity.lines(report):
        console.print(f"{simulated_label(datadir)}{line}", markup=False)
    print(report.last_line)
    raise typer.Exit(0 if report.passed else 1)

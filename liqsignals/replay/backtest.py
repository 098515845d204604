"""`freqtrade backtesting` on a data directory: its results, the span that the data cover, the map's headline at the
end.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals import features, files
from liqsignals.clock import duration_ns
from liqsignals.collect import freqtrade_command
from liqsignals.data import freqtrade
from liqsignals.data.tape import map_tape
from liqsignals.errors import InputError
from liqsignals.features import liquidation_map
from liqsignals.report.backtest import Account, accounts, used_config
from liqsignals.report.headline import headline
from liqsignals.strategy.config import Settings


@dataclass(frozen=True)
class Run:
    """Arguments of a backtest."""

    datadir: Path
    #: freqtrade's notation, passed on unchanged; None: all data.
    timerange: str | None
    pairs: tuple[str, ...]
    strategies: tuple[str, ...]
    #: None: each strategy's own.
    timeframe: str | None
    config: Path
    userdir: Path
    #: Whether to use the loopback exchange instead of the internet.
    offline: bool = False
    #: Where the strategies are; None: `strategies/` of userdir.
    strategy_path: Path | None = None
    #: Keep freqtrade's report in the log, and only its table of trades by pair and its summary in the result.
    brief: bool = False

    @property
    def log(self) -> Path:
        return self.userdir / "logs" / "liqsignals-backtest.log"

    def check(self) -> None:
        """Raise InputError where a folder or the configuration does not exist, a name cannot be right, or a pair's file
        may not be read.
        """
        freqtrade.check_datadir(self.datadir)
        for pair in self.pairs:
            freqtrade.check_pair(self.datadir, pair)
        freqtrade.check_readable(self.datadir, self.pairs)
        if self.timeframe is not None:
            freqtrade.check_timeframe(self.timeframe)
        for what, path in (("configuration", self.config), ("user_data folder", self.userdir)):
            if not path.exists():
                raise InputError(
                    f"there is no {what} {path}",
                    "name it with --config and --userdir, or make both: liqsignals init --userdir user_data",
                )


@dataclass(frozen=True)
class Result:
    """Output of a backtest."""

    #: freqtrade's files of results.
    files: tuple[Path, ...]
    log: Path
    #: freqtrade's tables, where the run was brief.
    report: str
    accounts: tuple[Account, ...]
    #: Warnings of freqtrade and liqsignals, each once.
    warnings: tuple[str, ...]
    #: The configuration that freqtrade ran with.
    settings: Settings


@dataclass(frozen=True)
class Covered:
    """How much of a timerange the data of a pair cover: shares of the candles that it would have, 0..1."""

    pair: str
    timeframe: str
    #: The timerange, ns; an open end is the data's own.
    start: int
    stop: int
    candles: float
    #: Candles at which open interest is known and recent enough (`liq_fresh`).
    fresh: float
    #: Candles at which the map is fresh and has run for 14 days (`liq_warm`): only there may the strategies trade.
    usable: float


def covered(
    settings: Settings, pair: str, timeframe: str, span: tuple[int | None, int | None]
) -> tuple[Covered, dict[str, Any] | None]:
    """How much of a span (ns; None: the data's own) a pair's data cover, and the map's headline (report/headline.py) at
    the span's last candle, None where no candle or no map lies in it.

    Raises InputError for a pair without candles of the timeframe or without open interest.
    """
    length = duration_ns(timeframe)
    rows = freqtrade.candles(settings.datadir, pair, timeframe)
    if rows is None or len(rows) == 0:
        raise freqtrade.absent(f"{timeframe} candles", settings.datadir, pair, settings.exchange, timeframe)
    closed = rows["event_time"]
    start = int(closed[0]) - length if span[0] is None else span[0]
    stop = int(closed[-1]) if span[1] is None else span[1]
    inside = (closed - length >= start) & (closed <= stop)
    tape = map_tape(settings.datadir, pair, settings.extras, settings.exchange, settings.finest)
    expected = max(1, (stop - start) // length)
    at, closes = closed[inside], rows["close"][inside].astype(np.float64)
    if len(at) == 0:
        return Covered(pair, timeframe, start, stop, 0.0, 0.0, 0.0), None
    parameters = settings.calibrated.parameters(pair)
    columns = features.compute(tape, at, closes, length, parameters, families=(liquidation_map,))
    fresh, warm = columns["liq_fresh"] == 1.0, columns["liq_warm"] == 1.0
    shares = (len(at) / expected, fresh.sum() / expected, (fresh & warm).sum() / expected)
    found = Covered(pair, timeframe, start, stop, *map(float, shares))
    if int(tape.bars["event_time"][0]) > at[-1]:
        return found, None
    return found, headline(tape, int(at[-1]), float(closes[-1]), parameters)


def run_backtest(run: Run) -> Result:
    """Run freqtrade's backtest of every strategy; its tables go to standard output unless the run is brief.

    Without a timeframe each strategy has a run of its own: freqtrade uses the strategy's own timeframe only then.
    Raises InputError where a run fails; the message quotes the last error of its log.
    """
    run.check()
    groups = [run.strategies] if run.timeframe else [(name,) for name in run.strategies]
    files: list[Path] = []
    logs: list[str] = []
    warnings: dict[str, None] = {}
    with ExitStack() as stack:
        configs = [run.config]
        if run.offline:
            # Imported here because a bot does not need aiohttp's server.
            from liqsignals.exchange.server import loopback

            configs.append(stack.enter_context(loopback(run.datadir)))
        for group in groups:
            made, done = _one(run, configs, group)
            files.append(made)
            logs.append(done.log)
            warnings |= dict.fromkeys(done.warnings)
    run.log.write_text("".join(logs))
    return Result(
        tuple(files),
        run.log,
        "\n".join(map(_brief, logs)) if run.brief else "",
        tuple(account for path in files for account in accounts(path)),
        tuple(warnings),
        Settings.parse({**used_config(files[-1]), "datadir": str(run.datadir)}),
    )


def _one(run: Run, configs: Sequence[Path], strategies: Sequence[str]) -> tuple[Path, freqtrade_command.Finished]:
    """One run of freqtrade: its file of results and its log."""
    folder = run.userdir / "backtest_results"
    before = freqtrade_command.results(folder)
    command = freqtrade_command.backtesting(
        configs,
        run.userdir,
        run.datadir,
        run.strategy_path or run.userdir / "strategies",
        strategies,
        run.timeframe,
        run.pairs,
        "--enable-protections",  # as a bot has them
        *(["--timerange", run.timerange] if run.timerange else []),
        # Of one format only: freqtrade reads no other than the configured one.
        *(["--data-format-ohlcv", dataformat] if (dataformat := files.format_of(run.datadir)) else []),
    )
    done = freqtrade_command.run(command, run.log, show=not run.brief)
    made = sorted(freqtrade_command.results(folder) - before)
    # freqtrade ends with 0 after some errors, too: only a result counts.
    if done.code != 0 or not made:
        remedy = "without internet, OFFLINE=1 (--offline)" if done.no_markets else ""
        if "No data" in done.failure:
            remedy = (
                "see what is there: freqtrade list-data --trading-mode futures --show-timerange --datadir"
                f" {run.datadir}; candles of another timeframe: liqsignals download, or --timeframe"
            )
        raise InputError(f"freqtrade backtesting failed: {done.failure}. Its log: {run.log}", remedy)
    return made[-1], done


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

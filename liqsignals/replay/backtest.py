"""`freqtrade backtesting` on a data directory, and the map's headline of each pair at its end."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals.clock import iso
from liqsignals.collect import freqtrade_command
from liqsignals.data import freqtrade
from liqsignals.data.tape import map_tape
from liqsignals.errors import InputError
from liqsignals.liqmap import calibration
from liqsignals.report.headline import headline


@dataclass(frozen=True)
class Run:
    """Arguments of a backtest."""

    datadir: Path
    #: freqtrade's notation, passed on unchanged; None: all data.
    timerange: str | None
    pairs: tuple[str, ...]
    strategies: tuple[str, ...]
    timeframe: str
    config: Path
    userdir: Path
    #: Whether to use the loopback exchange instead of the internet.
    offline: bool = False
    #: Keep freqtrade's report in the log, and only its table of trades by pair and its summary in the result.
    brief: bool = False

    @property
    def log(self) -> Path:
        return self.userdir / "logs" / "liqsignals-backtest.log"

    def check(self) -> None:
        """Raise InputError where a folder or the configuration does not exist."""
        freqtrade.check_datadir(self.datadir)
        for what, path in (("configuration", self.config), ("user_data folder", self.userdir)):
            if not path.exists():
                raise InputError(
                    f"there is no {what} {path}",
                    "run from the project's folder, or name it",
                )


@dataclass(frozen=True)
class Result:
    """Output of a backtest."""

    #: freqtrade's files of results.
    files: tuple[Path, ...]
    log: Path
    #: freqtrade's tables, where the run was brief.
    report: str


def headlines(datadir: Path, pairs: Sequence[str], stop: int | None) -> list[dict[str, Any]]:
    """Headline (report/headline.py) of each pair at its last candle that closed by `stop` (ns; None: its last one).

    Raises InputError for a pair without candles or open interest by then.
    """
    found = []
    for pair in pairs:
        tape = map_tape(datadir, pair, None, None, "5m")
        ends = tape.bars["event_time"]
        row = len(ends) - 1 if stop is None else int(np.searchsorted(ends, stop, side="right")) - 1
        if row < 0:
            raise InputError(f"{pair}: the data begin at {iso(ends[0])}, after the timerange's end {iso(stop or 0)}")
        close = float(tape.bars["close"][row])
        found.append(headline(tape, int(ends[row]), close, calibration.default().parameters(pair)))
    return found


def run_backtest(run: Run) -> Result:
    """Run freqtrade's backtest of every strategy; its tables go to standard output unless the run is brief.

    Raises InputError where it fails; the message quotes the last error of its log.
    """
    run.check()
    folder = run.userdir / "backtest_results"
    before = freqtrade_command.results(folder)
    with ExitStack() as stack:
        configs = [run.config]
        if run.offline:
            # Imported here because a bot does not need aiohttp's server.
            from liqsignals.exchange.server import loopback

            configs.append(stack.enter_context(loopback(run.datadir)))
        command = freqtrade_command.backtesting(
            configs,
            run.userdir,
            run.datadir,
            run.userdir / "strategies",
            run.strategies,
            run.timeframe,
            run.pairs,
            *(["--timerange", run.timerange] if run.timerange else []),
        )
        done = freqtrade_command.run(command, run.log, show=not run.brief)
    made = freqtrade_command.results(folder) - before
    # freqtrade ends with 0 after some errors, too: only a result counts.
    if done.code != 0 or not made:
        remedy = "without internet, OFFLINE=1 (--offline)" if done.no_markets else ""
        raise InputError(f"freqtrade backtesting failed: {done.failure}. Its log: {run.log}", remedy)
    return Result(tuple(sorted(made)), run.log, _brief(done.log) if run.brief else "")


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

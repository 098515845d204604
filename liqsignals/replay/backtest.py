"""`freqtrade backtesting` on a data directory, after the headline of each pair."""

import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liqsignals.clock import iso, parse_timerange
from liqsignals.collect import freqtrade_files
from liqsignals.data import freqtrade
from liqsignals.data.tape import map_tape
from liqsignals.errors import InputError
from liqsignals.liqmap import calibration
from liqsignals.report.console import console, errors, simulated_label
from liqsignals.report.headline import headline, print_headline


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
    freqtrade.check_datadir(run.datadir)
    for what, path in (("configuration", run.config), ("user_data folder", run.userdir)):
        if not path.exists():
            raise InputError(
                f"there is no {what} {path}",
                "run from the project's folder, or name it",
            )
    simulated = simulated_label(run.datadir)
    _, stop = parse_timerange(run.timerange)
    for pair in run.pairs:
        tape = map_tape(run.datadir, pair, None, None, "5m")
        ends = tape.bars["event_time"]
        row = len(ends) - 1 if stop is None else int(np.searchsorted(ends, stop, side="right")) - 1
        if row < 0:
            raise InputError(f"{pair}: the data begin at {iso(ends[0])}, after the timerange {run.timerange}")
        head = headline(tape, int(ends[row]), float(tape.bars["close"][row]), calibration.default().parameters(pair))
        print_headline(head, simulated)
    command = [
        freqtrade_files.executable(), "backtesting", "--config", str(run.config),
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
            from liqsignals.exchange.server import loopback

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

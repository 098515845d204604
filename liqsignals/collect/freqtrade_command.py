"""The freqtrade command: its command line, a run of it, and what its log says went wrong.

It is the freqtrade beside this Python, unmodified, in a process of its own.
"""

import os
import signal
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liqsignals.errors import InputError

#: Wide enough that freqtrade breaks no line of its log or tables.
_WIDE = {"COLUMNS": "200"}
#: Seconds that a process group has between SIGTERM and SIGKILL.
_GRACE = 10.0


def executable() -> str:
    """Path of the freqtrade command beside this Python. Raises InputError where it is not installed."""
    path = Path(sysconfig.get_path("scripts")) / "freqtrade"
    if not path.exists():
        raise InputError(
            "freqtrade is not installed beside liqsignals",
            "pip install freqtrade==2026.9",
        )
    return str(path)


def command(what: str, configs: Sequence[Path], userdir: Path, datadir: Path, *more: str) -> list[str]:
    """The command line of `freqtrade <what>`; of two configurations the later one counts. Raises as `executable`."""
    named = [word for path in configs for word in ("--config", str(path))]
    return [executable(), what, *named, "--userdir", str(userdir), "--datadir", str(datadir), *more]


def backtesting(
    configs: Sequence[Path],
    userdir: Path,
    datadir: Path,
    strategy_path: Path,
    strategies: Sequence[str],
    timeframe: str,
    pairs: Sequence[str],
    *more: str,
) -> list[str]:
    """The command line of a backtest that reads nothing from freqtrade's cache."""
    return command(
        "backtesting", configs, userdir, datadir, "--strategy-path", str(strategy_path), "--strategy-list", *strategies,
        "--timeframe", timeframe, "--pairs", *pairs, "--cache", "none", *more,
    )  # fmt: skip


@dataclass(frozen=True)
class Finished:
    """A run that ended: its exit code and its log."""

    code: int
    log: str

    @property
    def errors(self) -> list[str]:
        """Messages of the log's errors, in their order."""
        said = [line for line in self.log.splitlines() if " ERROR " in line or "Error" in line]
        return [line.rsplit(" - ", 1)[-1].strip().rstrip(".") for line in said]

    @property
    def failure(self) -> str:
        """The last error, or the exit code where the log has none."""
        return self.errors[-1] if self.errors else f"exit code {self.code}"

    @property
    def no_markets(self) -> bool:
        """Whether the exchange could not be asked for its markets. Freqtrade may end with 0 then."""
        return any("Could not load markets" in message for message in self.errors)

    @property
    def not_downloaded(self) -> list[str]:
        """Messages about series that `download-data` could not fetch."""
        return [message for message in self.errors if "Failed to download" in message]


def run(command: Sequence[str], log: Path | None = None, *, show: bool = False) -> Finished:
    """Run a command line to its end; `log` names a file that is written while it runs.

    `show` leaves its standard output, where freqtrade prints its tables, to the user.
    """
    environment = {**os.environ, **_WIDE}
    if log is None:
        done = in_group(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        return Finished(done.returncode, done.stdout + done.stderr)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        code = in_group(command, stdout=None if show else file, stderr=file, env=environment).returncode
    return Finished(code, log.read_text())


def in_group(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`, of text, in a process group of its own that ends with this call, whatever ends it."""
    with subprocess.Popen(command, text=True, start_new_session=True, **options) as child:
        try:
            out, err = child.communicate()
        finally:
            _end(child)
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def _end(child: subprocess.Popen[str]) -> None:
    """End what is left of a child's process group: politely, then by force."""
    try:
        os.killpg(child.pid, signal.SIGTERM)
        if child.poll() is None:
            child.wait(_GRACE)
    except ProcessLookupError:
        return
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def results(folder: Path) -> set[Path]:
    """Results of backtests in a folder (`backtest_results` of the user's, unless another one was named)."""
    return set(folder.glob("*.zip"))

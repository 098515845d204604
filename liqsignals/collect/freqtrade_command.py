"""The freqtrade command: its command line, a run of it, and what its log says went wrong.

It is this Python's freqtrade, unmodified, in a process of its own.
"""

import json
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liqsignals.errors import InputError

#: Wide enough that freqtrade breaks no table, and hardly a line of its log.
_WIDE = {"COLUMNS": "1000"}
#: Seconds that a process group has between SIGTERM and SIGKILL.
_GRACE = 10.0
#: The Python that a script names.
_PYTHON = re.compile(rb"(/[^\"'\n]*)/python[\d.]*\b")
#: The start of a record in freqtrade's log: time, logger, level.
_RECORD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ - \S+ - ([A-Z]+) - (.*)$")
#: A line that continues a record: not empty, not indented, not drawn.
_MORE = re.compile(r"^[^\s─-╿]")


def executable() -> str:
    """Path of this Python's freqtrade command. Raises InputError where it has none."""
    folders = [sysconfig.get_path("scripts")]
    if site.ENABLE_USER_SITE:  # where `pip install --user` puts it: freqtrade's image has all there
        folders.append(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")))
    for folder in folders:
        path = Path(folder) / "freqtrade"
        if path.exists():
            return str(path)
    found = shutil.which("freqtrade")
    if found and _is_ours(Path(found)):
        return found
    also = f"; {found} belongs to another Python, which would not find liqsignals" if found else ""
    raise InputError(
        f"freqtrade is not installed for {sys.executable}{also}",
        f"{sys.executable} -m pip install freqtrade==2026.9",
    )


def _is_ours(script: Path) -> bool:
    """Whether a script's first lines name a Python of this one's folder.

    Not the file itself is compared: an environment's python is a link to the one that it was made with.
    """
    try:
        with script.open("rb") as file:
            named = _PYTHON.search(file.read(4096))
        return named is not None and os.path.samefile(os.fsdecode(named[1]), Path(sys.executable).parent)
    except OSError:
        return False


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
    timeframe: str | None,
    pairs: Sequence[str],
    *more: str,
) -> list[str]:
    """The command line of a backtest that reads nothing from freqtrade's cache.

    Without a timeframe it is the strategy's own, and only one strategy may be named: freqtrade's list needs one for
    all.
    """
    if timeframe is None:
        (one,) = strategies
        named = ["--strategy", one]
    else:
        named = ["--strategy-list", *strategies, "--timeframe", timeframe]
    return command(
        "backtesting", configs, userdir, datadir, "--strategy-path", str(strategy_path), *named,
        "--pairs", *pairs, "--cache", "none", *more,
    )  # fmt: skip


@dataclass(frozen=True)
class Finished:
    """A run that ended: its exit code and its log."""

    code: int
    log: str

    @property
    def records(self) -> list[tuple[str, str]]:
        """Level and message of the log's records, in their order; messages that rich broke into lines are whole."""
        found: list[tuple[str, str]] = []
        joins = False
        for line in self.log.splitlines():
            begins = _RECORD.match(line)
            if begins:
                found.append((begins[1], begins[2].strip()))
            elif joins and _MORE.match(line):
                found[-1] = found[-1][0], f"{found[-1][1]} {line.strip()}"
                continue
            elif re.match(r"[\w.]+(Error|Exception)\b", line):  # the end of a traceback
                found.append(("ERROR", line.strip()))
            joins = begins is not None
        return found

    @property
    def errors(self) -> list[str]:
        """Messages of the log's errors, in their order."""
        return [text.rstrip(".") for level, text in self.records if level in ("ERROR", "CRITICAL")]

    @property
    def warnings(self) -> list[str]:
        """Messages of the log's warnings and errors, each once."""
        return list(dict.fromkeys(text for level, text in self.records if level in ("WARNING", "ERROR", "CRITICAL")))

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


@dataclass(frozen=True)
class Configuration:
    """Configurations of freqtrade. They hold secrets: do not print them."""

    #: As freqtrade merges them, with its environment variables.
    merged: Mapping[str, Any] = field(repr=False)
    #: What freqtrade refuses of them, or why they cannot be read.
    problems: tuple[str, ...]
    #: Each file, those that they name included, by path.
    files: Mapping[str, Mapping[str, Any]] = field(repr=False)
    #: Whether freqtrade read them.
    asked: bool = True

    @property
    def missing(self) -> list[str]:
        """What a bot must not start without, in words; freqtrade refuses none of it."""
        found = []
        api = self.merged.get("api_server")
        if isinstance(api, dict) and api.get("enabled") and not (api.get("username") and api.get("password")):
            found.append(
                "the REST API is on without user and password: whoever reaches the port trades. Way out: set "
                "FREQTRADE__API_SERVER__USERNAME and FREQTRADE__API_SERVER__PASSWORD in the environment"
            )
        exchange = self.merged.get("exchange")
        named = isinstance(exchange, dict) and exchange.get("key") and exchange.get("secret")
        if self.merged.get("dry_run") is False and not named:
            found.append(
                "dry_run is false and there is no key. Way out: set FREQTRADE__EXCHANGE__KEY and "
                "FREQTRADE__EXCHANGE__SECRET in the environment"
            )
        return found


def merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The later value counts, objects are merged."""
    both = {
        key: merge(old[key], value) if isinstance(value, Mapping) and isinstance(old.get(key), Mapping) else value
        for key, value in new.items()
    }
    return {**old, **both}


def configuration(configs: Sequence[Path]) -> Configuration:
    """What freqtrade makes of configurations. Raises InputError where freqtrade cannot be asked."""
    executable()
    script = Path(__file__).with_name("freqtrade_config.py")
    done = in_group(
        [sys.executable, "-P", str(script), *map(str, configs)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        found = json.loads(done.stdout)
        return Configuration(dict(found["config"]), tuple(map(str, found["problems"])), dict(found["files"]))
    except (ValueError, LookupError, TypeError) as error:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1].partition(":")[0]
        raise InputError(
            f"freqtrade cannot be asked about {', '.join(map(str, configs))} ({last})",
            "run: freqtrade show-config --config " + " --config ".join(map(str, configs)),
        ) from error


def results(folder: Path) -> set[Path]:
    """Results of backtests in a folder (`backtest_results` of the user's, unless another one was named)."""
    return set(folder.glob("*.zip"))

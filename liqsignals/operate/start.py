"""`liqsignals start`: the history first, then the bot; the bot first where trades are open.

A bot that starts on old files blocks entries until they are filled, and its map is cold. A bot with open trades must
not wait for a download: its exits are due.
"""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from liqsignals import venues
from liqsignals.collect import freqtrade_command
from liqsignals.errors import InputError
from liqsignals.exchange import supervise

#: Seconds that a bot has to end by itself: it may have orders to cancel.
GRACE = 60.0
#: Characters that make an entry of a pair list a pattern.
_PATTERN = set("*+?[](){}|^$\\")


@dataclass(frozen=True)
class Start:
    """What to start: freqtrade's configurations in its order, the strategy, and its folders."""

    configs: tuple[Path, ...]
    strategy: str
    userdir: Path
    #: The configuration's own, or <userdir>/data/<exchange>, unless given.
    datadir: Path | None = None
    #: Days of history that the download reaches back.
    days: int = 30
    #: Seconds after which a download that goes before the bot is given up.
    patience: float = 900.0
    #: Addresses of providers, as for `liqsignals download --url`.
    urls: tuple[str, ...] = ()
    #: More words for `freqtrade trade`.
    more: tuple[str, ...] = ()


def is_pattern(pair: str) -> bool:
    """Whether an entry of a pair list is a pattern and no pair's name."""
    return bool(_PATTERN & set(pair))


def database_url(config: Mapping[str, Any], userdir: Path, here: Path = Path()) -> str:
    """The database of a bot (SQLAlchemy's notation): the configuration's, else one in `userdir` by mode.

    freqtrade's own default lies in the folder where it is started. Where a file is there already, it stays in use.
    """
    named = config.get("db_url")
    if named:
        return str(named)
    name = "tradesv3.dryrun.sqlite" if config.get("dry_run", True) else "tradesv3.sqlite"
    folder = here if (here / name).is_file() else userdir
    return f"sqlite:///{(folder / name).resolve()}"


def database_file(url: str) -> Path | None:
    """The file of an sqlite database, None for one in memory. Raises InputError for any other database."""
    head, _, rest = url.partition("://")
    if head.partition("+")[0] != "sqlite":
        raise InputError(f"the database ({head}) is not sqlite, and is not read")
    name = unquote(rest.removeprefix("/").partition("?")[0])
    return None if name in ("", ":memory:") else Path(name)


def open_trades(database: Path | None) -> int:
    """How many trades are open; 0 without a file. Raises InputError where it cannot be read."""
    if database is None or not database.exists():
        return 0
    try:
        connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)
        try:
            (found,) = connection.execute("select count(*) from trades where is_open").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        if "no such table" in str(error):
            return 0  # freqtrade was stopped before it had made its tables
        raise InputError(f"{database}: cannot be read as freqtrade's database ({error})") from error
    return int(found)


def run(start: Start, log: Callable[[str], None]) -> int:
    """Download and run the bot until it ends; its exit code.

    Signals are passed on to the bot. What goes wrong with the download is logged and stops nothing. Raises InputError
    for a configuration that freqtrade refuses.
    """
    found = freqtrade_command.configuration(start.configs)
    if found.problems:
        raise InputError(
            f"freqtrade refuses the configuration: {'; '.join(found.problems)}",
            "mend it; liqsignals doctor --config FILE checks it again",
        )
    config = found.merged
    if found.missing:
        raise InputError("; ".join(found.missing))
    url = database_url(config, start.userdir)
    datadir = start.datadir or datadir_of(config, start.userdir)
    bot = freqtrade_command.command(
        "trade", start.configs, start.userdir, datadir, "--strategy", start.strategy, "--db-url", url, *start.more
    )
    fill = download_command(config, start, datadir)
    try:
        trading = open_trades(database_file(url))
        why = f"{trading} trade{'s'[: trading != 1]} open" if trading else ""
    except InputError as error:
        why = f"whether trades are open is not known ({error.problem})"
    with supervise.caught_signals() as caught:
        if isinstance(fill, str):
            log(f"warning: no download: {fill}")
        elif why:
            log(f"{why}: the bot starts first, the download runs beside it")
            return _beside(fill, bot, caught, log)
        else:
            log(f"no trade is open: downloading to {datadir} first")
            code = supervise.run(fill, caught, None, seconds=start.patience)
            if caught:
                return 128 + caught[0]
            _judge(code, log)
        return supervise.run(bot, caught, None, grace=GRACE)


def download_command(config: Mapping[str, Any], start: Start, datadir: Path) -> list[str] | str:
    """The command line of the download for a configuration's pairs, or why there is none."""
    exchange = config.get("exchange") or {}
    pairs = [str(pair) for pair in exchange.get("pair_whitelist") or ()]
    named = [pair for pair in pairs if not is_pattern(pair)]
    if not named:
        return (
            "the configuration names no pairs (exchange.pair_whitelist), only patterns or a pair list that asks the "
            "exchange. Way out: run liqsignals download --pairs ... before, or name the pairs"
        )
    words = [sys.executable, "-m", "liqsignals", "download", "--datadir", str(datadir), "--pairs", " ".join(named)]
    words += ["--days", str(start.days)]
    words += [word for path in start.configs for word in ("--config", str(path))]
    words += [word for url in start.urls for word in ("--url", url)]
    block = config.get("liqsignals") or {}
    return words + (["--extras", str(block["extras"])] if isinstance(block, dict) and block.get("extras") else [])


def _beside(fill: Sequence[str], bot: Sequence[str], caught: Sequence[int], log: Callable[[str], None]) -> int:
    child = subprocess.Popen(fill, start_new_session=True)
    finished = threading.Event()

    def report() -> None:
        code = child.wait()
        if not finished.is_set():
            _judge(code, log)

    waiting = threading.Thread(target=report, daemon=True)
    waiting.start()
    try:
        return supervise.run(bot, caught, None, grace=GRACE)
    finally:
        finished.set()
        if child.poll() is None:
            child.terminate()
        waiting.join(10.0)
        if child.poll() is None:
            child.kill()


def _judge(code: int, log: Callable[[str], None]) -> None:
    log(
        "the download is complete"
        if code == 0
        else (
            f"warning: the download failed or took too long (exit code {code}, its lines are above); where inputs are"
            " stale, entries are blocked. Way out: run it again beside the bot, which sees new files by itself"
        )
    )


def datadir_of(config: Mapping[str, Any], userdir: Path) -> Path:
    """The data directory of a configuration: its own, else <userdir>/data/<exchange>."""
    named = config.get("datadir")
    if named:
        return Path(str(named))
    return userdir / "data" / venues.exchange_name(str((config.get("exchange") or {}).get("name") or ""))


def extras_of(config: Mapping[str, Any], datadir: Path) -> Path:
    """The folder of what freqtrade cannot hold: the configuration's, else <datadir>/liqsignals."""
    block = config.get("liqsignals")
    named = block.get("extras") if isinstance(block, Mapping) else None
    return Path(str(named)) if named else datadir / "liqsignals"

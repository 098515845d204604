"""Any freqtrade command on a data directory without internet: the loopback exchange, at this machine's time."""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from liqsignals.collect.freqtrade_command import executable
from liqsignals.data import freqtrade
from liqsignals.errors import InputError
from liqsignals.exchange import supervise
from liqsignals.exchange.server import loopback

_OVERLAY = "{overlay}"


def run(words: Sequence[str], datadir: Path | None) -> int:
    """Run a command with the loopback exchange; its exit code. Raises InputError where that cannot work (`prepared`)."""
    parent = os.getppid()
    datadir = _datadir(words, datadir)
    freqtrade.check_datadir(datadir)
    prepared(words, datadir, Path(_OVERLAY))  # before the server starts
    with supervise.caught_signals() as caught, loopback(datadir) as overlay:
        return supervise.run(prepared(words, datadir, overlay), caught, parent)


def prepared(words: Sequence[str], datadir: Path, overlay: Path) -> list[str]:
    """The command line to run. With `{overlay}` in it, only that is replaced.

    Else it is a freqtrade command, with or without the word: this Python's freqtrade, with the configurations
    that it names, or those that freqtrade takes unasked, then the overlay, and with the data directory. Raises
    InputError without a command, and for `trade`: its candles end in the past.
    """
    if any(_OVERLAY in word for word in words):
        return [word.replace(_OVERLAY, str(overlay)) for word in words]
    command = list(words)[1:] if words and words[0] == "freqtrade" else list(words)
    if not command or command[0].startswith("-"):
        raise InputError(
            "offline: no freqtrade command",
            "put it behind --, for example: liqsignals offline -- freqtrade hyperopt ...",
        )
    if command[0] == "trade":
        raise InputError(
            "offline: a bot that runs at this machine's time gets no new candles from a data directory",
            "liqsignals replay or liqsignals paper run it at the time of the data",
        )
    named = _values(command, "--config", "-c")
    userdir = Path((_values(command, "--userdir", "--user-data-dir") or ["user_data"])[-1])
    usual = next((p for p in (userdir / "config.json", Path("config.json")) if p.is_file()), None)
    configs = [*([] if named or usual is None else [str(usual)]), str(overlay)]
    # At the end, and each with its own option: some options before them take any number of words.
    command += [word for config in configs for word in ("--config", config)]
    if not _values(command, "--datadir", "-d", "--data-dir"):
        command += ["--datadir", str(datadir)]
    return [executable(), *command]


def _datadir(words: Sequence[str], given: Path | None) -> Path:
    """The data directory: that of the option, of the command, or the only one in user_data/data."""
    named = _values(words, "--datadir", "-d", "--data-dir")
    if given is not None or named:
        return given or Path(named[-1])
    userdir = Path((_values(words, "--userdir", "--user-data-dir") or ["user_data"])[-1])
    found = sorted(path.parent for path in userdir.glob("data/*/futures"))
    if len(found) != 1:
        there = f"there are {', '.join(map(str, found))}" if found else f"there is none in {userdir / 'data'}"
        raise InputError(f"offline: which data directory? {there}", "name it: liqsignals offline -d DATADIR -- ...")
    return found[0]


def _values(words: Sequence[str], *names: str) -> list[str]:
    """Values of an option, in both spellings."""
    found = [after for word, after in pairwise(words) if word in names]
    return found + [word.partition("=")[2] for word in words if word.partition("=")[0] in names and "=" in word]

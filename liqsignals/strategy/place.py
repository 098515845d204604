"""Where the disk holds one market, and whether it changed there."""

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from liqsignals import files
from liqsignals.data import freqtrade, store
from liqsignals.data.tape import Tape, read_tape
from liqsignals.errors import InputError
from liqsignals.strategy.notices import logger

#: Kinds of which a recorder's rows continue the files, or stand for them (data/tape.py).
_RECORDED = ("bar", "open_interest", "funding")


@dataclass(frozen=True)
class Place:
    """Where the disk holds one market."""

    datadir: Path
    pair: str
    extras: Path
    finest: str
    exchange: str
    #: freqtrade's `dataformat_ohlcv`, None where it is not known.
    dataformat: str | None = None
    #: In dry-run and live a file that cannot be read is logged, and the last good one serves.
    live: bool = False

    def read(self) -> Tape:
        """The disk's tape. Raises InputError where it cannot be read, or a folder cannot be listed."""
        try:
            _listed(self.extras / "flows")
            return read_tape(
                self.datadir,
                self.pair,
                extras=self.extras,
                finest=self.finest,
                exchange=self.exchange,
                dataformat=self.dataformat,
                on_error=self._log if self.live else None,
            )
        except OSError as error:
            raise InputError(
                f"{error.filename}: cannot be read ({error.strerror})", "let the user who runs this read it"
            ) from error

    def read_or_none(self) -> Tape | None:
        """The disk's tape; in dry-run and live None where it cannot be read, which is logged."""
        try:
            return self.read()
        except InputError as error:
            if not self.live:
                raise
            self._log(error)
            return None

    def _log(self, error: InputError) -> None:
        logger.error("%s: %s", self.pair, error)

    def files(self, recorded: bool) -> tuple[Any, ...]:
        """What changes when the disk's files do; a recorder's, which change all the time, only if asked."""
        folders = (self.datadir, *store.venue_dirs(self.extras).values())
        held = tuple(files.held(folder / "futures", self.pair) for folder in folders)
        signatures = {
            f"{folder}{os.sep}futures{os.sep}{name}": (changed, size)
            for folder, of in zip(folders, held, strict=True)
            for name, changed, size in of
        }
        out = [(path, *signatures[path]) for path in _chosen(self, folders, held) if path in signatures]
        others = [path for path in _listed(self.extras / "flows") if path.endswith(".csv")]
        if recorded:
            series = (store.series_dir(self.extras, kind, self.exchange, self.pair, "5m") for kind in _RECORDED[:2])
            others += map(str, series)
        for path in others:
            with suppress(FileNotFoundError, NotADirectoryError):
                out.append((path, *files.signature(path)))
        return tuple(out)

    def looked(self) -> tuple[Any, ...] | None:
        """What changes when a market that has nothing here gets something; None where only reading finds it out."""
        prefix = f"{files.stem(self.pair)}-"
        try:
            for kind in _RECORDED:
                folder = f"{self.extras}{os.sep}{kind}{os.sep}{self.exchange}"
                if any(name.startswith(prefix) for name in files.names(folder)):
                    return None
            return self.files(recorded=False)
        except OSError:
            return None


@lru_cache(maxsize=4096)
def _chosen(place: Place, folders: tuple[Path, ...], held: tuple[tuple[tuple[str, int, int], ...], ...]) -> list[str]:
    """The files of a market that are read, of the own folder and of other venues' `folders`.

    Which they are follows from the names, sizes and times of all that is `held` of the pair: choosing takes ten times as
    long as looking whether any of it has changed.
    """
    datadir, pair, form = place.datadir, place.pair, place.dataformat
    candles = freqtrade.candle_file(datadir, pair, place.finest, form)
    paths: list[Path] = [candles[1]] if candles else []
    paths += [x.path for x in freqtrade.open_interest_files(datadir, pair, form)]
    paths += freqtrade.funding_files(datadir, pair, form)
    for folder in folders[1:]:
        paths += freqtrade.funding_files(folder, pair)
    return [str(path) for path in paths]


def _listed(folder: Path) -> list[str]:
    """Paths of what a folder holds, nothing where there is none. Raises OSError where it cannot be listed (glob does
    not).
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries)
    except FileNotFoundError:
        return []

"""Kinds of records of one pair that freqtrade's files cannot hold, read from the extras on demand."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals import files
from liqsignals.clock import duration_ns
from liqsignals.data import store, venue_interest
from liqsignals.errors import InputError
from liqsignals.records import KINDS, Records, in_order


class Extras:
    """Series of one pair in a folder of extras (data/store.py). Files are read on demand.

    Rows are cached, and read again when their files have changed. Where a file cannot be read, the InputError is raised
    without `on_error`; with it `on_error` is called with the error, and the last good rows are returned, or none: the
    series exists, and is stale (docs/laws.md 8).
    """

    def __init__(self, folder: Path, pair: str, on_error: Callable[[InputError], None] | None = None) -> None:
        self.folder, self.pair, self.on_error = folder, pair, on_error
        self._read: dict[Path, tuple[tuple[Any, ...], Records]] = {}
        self._table: tuple[tuple[Any, ...], dict[str, Records]] = ((), {})

    def sources(self, kind: str) -> tuple[str, ...]:
        """Venues and vendors with rows of this pair in the folder, in alphabetical order."""
        if not KINDS[kind].folder:
            return ()
        folder = self.folder / KINDS[kind].folder
        found = {name for name in files.names(folder) if self._series(kind, name)}
        return tuple(sorted(found.union(self._venues() if kind == "venue_interest" else ())))

    def read(self, kind: str, source: str) -> Records | None:
        """Records of a kind in tape order, of the finest period available; None where there is no such series.

        Times are those in the files: a recorder's rows became known when they arrived.
        """
        series = self._series(kind, source)
        if series is None:
            return self._venues().get(source) if kind == "venue_interest" else None
        try:
            state = tuple((str(p), *files.signature(p)) for p in sorted(series.rglob("*.parquet")))
            kept = self._read.get(series)
            if kept is None or kept[0] != state:
                rows = in_order(store.read(series, KINDS[kind].dtype))
                rows.flags.writeable = False
                kept = self._read[series] = state, rows
            return kept[1]
        except (InputError, OSError) as error:
            if self.on_error is None:
                raise
            if isinstance(error, InputError):  # else a file is being replaced: the next call reads it
                self.on_error(error)
            return self._read[series][1] if series in self._read else np.empty(0, KINDS[kind].dtype)

    def _venues(self) -> dict[str, Records]:
        """The user's table of open interest by venue: its records by venue, none without a table."""
        try:
            path = venue_interest.table_file(self.folder / KINDS["venue_interest"].folder, self.pair)
            state = (str(path), *files.signature(path)) if path is not None else ()
            if state != self._table[0]:
                self._table = state, venue_interest.read_table(path, self.pair) if path is not None else {}
                for rows in self._table[1].values():
                    rows.flags.writeable = False
        except (InputError, OSError) as error:
            if self.on_error is None:
                raise
            if isinstance(error, InputError):
                self.on_error(error)
        return self._table[1]

    def _series(self, kind: str, source: str) -> Path | None:
        """Folder of the finest series: single events, else the shortest period."""
        if not KINDS[kind].folder:
            return None
        stem = f"{files.stem(self.pair)}-"
        found = {
            p.name.removeprefix(stem): p
            for p in (self.folder / KINDS[kind].folder / source).glob(f"{stem}*")
            # Not the folder of a dated contract, whose name begins alike.
            if re.fullmatch(r"events|\d+[mhdw]", p.name.removeprefix(stem))
            and (any(p.glob("*.parquet")) or any(p.glob("parts/*.parquet")))
        }
        return found[min(found, key=lambda period: 0 if period == "events" else duration_ns(period))] if found else None

"""The extras: records that freqtrade's files cannot hold, as parquet, one file a month.

`<extras>/<kind>/<source>/<PAIR>-<period>/2026-02.parquet`, and `parts/<ns>.parquet` beside it for a recorder's newest
rows. Columns are those of the kind's dtype in records.py (times int64 ns UTC). One process writes a folder tree
(`writer`), any number read: files are replaced atomically, never edited in place. Their content depends on the rows
alone, not on the order or number of `append` calls.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from liqsignals.clock import DAY, duration_ns, iso, timeframe_name
from liqsignals.errors import InputError
from liqsignals.files import access, lock, names, replaced, stem
from liqsignals.records import Records


def check_extras(extras: Path | None) -> None:
    """Raise InputError if the configured extras folder does not exist."""
    if extras is not None and not extras.is_dir():
        raise InputError(
            f"there is no extras folder {extras}",
            "create it, or remove the setting",
        )


def venue_dirs(extras: Path) -> dict[str, Path]:
    """Other venues' data in the extras: `<extras>/venues/<exchange>/futures/`, freqtrade's own format."""
    folder = f"{extras}{os.sep}venues"
    found = {name: Path(folder, name) for name in sorted(names(folder))}
    return {name: path for name, path in found.items() if (path / "futures").is_dir()}


def series_dir(extras: Path, kind: str, source: str, pair: str, period: str) -> Path:
    """Folder of one series; `period` is in freqtrade's notation, or `events` for irregular rows."""
    return extras / kind / source / f"{stem(pair)}-{period}"


def period_name(period_ns: int) -> str:
    """A series' period as `series_dir` names it, 0 for rows that come as they happen.

    >>> period_name(0), period_name(DAY // 288), period_name(DAY // 3), period_name(DAY)
    ('events', '5m', '8h', '1d')
    """
    if period_ns == 0:
        return "events"
    return f"{period_ns // DAY}d" if period_ns % DAY == 0 else timeframe_name(period_ns)


def periods(extras: Path, kind: str, source: str, pair: str) -> list[str]:
    """Periods in which a pair's series of one kind and source is stored, single events first, then the finest."""
    start = f"{stem(pair)}-"
    found = [path.name.removeprefix(start) for path in (extras / kind / source).glob(f"{start}*")]
    # Not the folder of a dated contract, whose name begins alike.
    known = [name for name in found if re.fullmatch(r"events|\d+[mhdw]", name)]
    return sorted(known, key=lambda name: 0 if name == "events" else duration_ns(name))


@contextmanager
def writer(folder: Path, who: str) -> Iterator[None]:
    """Hold the exclusive lock of `who` ("download", "record") on a folder: the extras, or a data directory.

    Raises InputError if another process has it, and where the folder cannot be written. The lock ends with the process,
    also when it is killed.
    """
    path = folder / f".{who}.lock"
    with ExitStack() as stack:
        with access(path):
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a+"))
            free = lock(file.fileno())
        if not free:
            file.seek(0)
            raise InputError(
                f"another liqsignals {who} (process {file.read().strip() or '?'}) writes into {folder}",
                "wait for it, or stop it",
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def append(folder: Path, rows: Records) -> int:
    """Add rows to a series; returns the number of new rows.

    Rows with the same `event_time` (and, for events, the same content) are one row: the last stored one is kept, with
    the earliest `known_at`. NaN never overwrites a number.
    """
    added = 0
    with access(folder), ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        # Recorder and download may append to the same month: the lock serialises them.
        queue = stack.enter_context((folder / ".lock").open("a"))
        fcntl.flock(queue, fcntl.LOCK_EX)
        for month, part in _months(rows):
            path = folder / f"{month}.parquet"
            old = _read(path, rows.dtype) if path.exists() else rows[:0]
            both = unique(np.concatenate([old, part]))
            if both.tobytes() == old.tobytes():
                continue
            added += len(both) - len(old)
            write(path, both)
    return added


def write(path: Path, rows: Records) -> None:
    """Write records as one parquet file, atomically."""
    with replaced(path) as temporary:
        pq.write_table(pa.table({n: rows[n] for n in rows.dtype.names or ()}), temporary, compression="zstd")


def unique(rows: Records) -> Records:
    """Rows in time order, each event once: of duplicates the last one in `rows` is kept, with the earliest `known_at`.

    A NaN never replaces a number of an earlier row.

    >>> from liqsignals.records import OPEN_INTEREST, records
    >>> rows = records(OPEN_INTEREST, np.array([2, 1, 2]), np.array([7, 5, 9]), base=np.array([30.0, 10.0, 31.0]))
    >>> unique(rows)[["event_time", "known_at", "base"]].tolist()
    [(1, 5, 10.0), (2, 7, 31.0)]
    """
    keys = _keys(rows)
    order = np.lexsort((np.arange(len(rows)), *reversed(keys)))
    ordered = rows[order]
    new = np.zeros(len(rows), bool)
    new[:1] = True
    for key in keys:
        new[1:] |= key[order][1:] != key[order][:-1]
    if len(rows) == 0:
        return ordered
    out: Records = ordered[np.append(new[1:], True)].copy()
    first = np.flatnonzero(new)
    out["known_at"] = np.minimum.reduceat(ordered["known_at"], first)
    for name in ordered.dtype.names or ():
        if ordered.dtype[name].kind == "f" and np.isnan(out[name]).any():
            source = np.maximum.reduceat(np.where(np.isnan(ordered[name]), -1, np.arange(len(ordered))), first)
            out[name] = np.where(source >= 0, ordered[name][source], np.nan)
    return out


def _keys(rows: Records) -> list[np.ndarray]:
    """Columns that identify an event: its time, and for kinds with several events at one time also their content."""
    names = ["event_time"]
    if "side" in (rows.dtype.names or ()):
        names += ["side", "price", "base"]
    if "scheduled_at" in (rows.dtype.names or ()):
        names += ["event", "scheduled_at"]
    return [rows[n] for n in names]


def read(folder: Path, dtype: np.dtype[np.void], start: int | None = None, stop: int | None = None) -> Records:
    """Rows of a series with start <= event_time < stop, in time order; empty where there is none.

    Raises InputError for an unreadable file.
    """
    first = iso(start)[:7] if start is not None else ""
    last = iso(stop)[:7] if stop is not None else "9999"
    # Parts first: one that is removed meanwhile has been merged into a month, which is read later.
    recorded = _parts(folder, dtype)
    months = [_read(p, dtype) for p in sorted(folder.glob("*.parquet")) if first <= p.stem <= last]
    rows = np.concatenate([*months, *recorded]) if months or recorded else np.empty(0, dtype)
    if recorded:
        rows = unique(rows)
    keep = np.ones(len(rows), bool)
    if start is not None:
        keep &= rows["event_time"] >= start
    if stop is not None:
        keep &= rows["event_time"] < stop
    return rows[keep]


def _parts(folder: Path, dtype: np.dtype[np.void]) -> list[Records]:
    """Rows that a recorder has published since it last merged its parts into months, oldest first."""
    out = []
    for path in sorted((folder / "parts").glob("*.parquet")):
        try:
            out.append(_read(path, dtype))
        except InputError:
            if path.exists():
                raise
    return out


def read_file(path: Path, dtype: np.dtype[np.void]) -> Records:
    """Rows of one parquet file of the extras. Raises InputError."""
    return _read(path, dtype)


def _read(path: Path, dtype: np.dtype[np.void]) -> Records:
    try:
        # Opened once: given a path, pyarrow opens it for the footer and again for the pages, and it may be replaced in
        # between.
        with path.open("rb") as file:
            table = pq.ParquetFile(file).read()
        out = np.empty(len(table), dtype)
        for name in dtype.names or ():
            out[name] = table[name].to_numpy()
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"{path} cannot be read ({str(error).splitlines()[0][:100]})",
            "delete the file and run the same liqsignals download again",
        ) from error
    return out


def _months(rows: Records) -> Iterator[tuple[str, Records]]:
    month = rows["event_time"].astype("datetime64[ns]").astype("datetime64[M]")
    for value in np.unique(month):
        yield str(value), rows[month == value]

"""Reads the user's table of open interest by venue: `<extras>/venue_interest/*.csv` (or .parquet), one column a venue.

Column `date` is the instant of the snapshot (ISO 8601 with a zone), every other column but `price`, `coin` and sums
(`all`, `total`, `sum`) a venue in lower case: USD of all its contracts in the coin, empty where it is not known. A file
counts for the coins that stand as separate words in its name (`open-interest-btc-eth-4h.csv`); with a column `coin` only
their rows do.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from liqsignals import records
from liqsignals.clock import HOUR, Int64Array, dates_ns, iso
from liqsignals.errors import InputError
from liqsignals.files import names_coin, read_stable
from liqsignals.records import Records

#: Columns that are no venues; vendors add sums of all.
_OTHERS = ("date", "coin", "price", "all", "total", "sum")
_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {".csv": pd.read_csv, ".parquet": pd.read_parquet}


def table_file(folder: Path, pair: str) -> Path | None:
    """The table of a pair's coin in a folder, None where there is none. Raises InputError for several."""
    coin = pair.split("/")[0].lower()
    found = [
        path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if path.suffix in _READERS and names_coin(path, coin)
    ]
    if len(found) > 1:
        raise InputError(
            f"{folder} holds several tables for {coin.upper()}: {', '.join(p.name for p in found)}",
            "keep one",
        )
    return found[0] if found else None


def read_table(path: Path, pair: str) -> dict[str, Records]:
    """VENUE_INTEREST records by venue, each in tape order; empty cells are left out.

    A row is known two of the table's periods (its commonest step) after its date, a day at most. Raises InputError for
    a file, row or value that cannot be used: dates without zone or twice, a value that is not above 0.
    """
    frame = read_stable(path, _READERS[path.suffix])
    frame.columns = [str(c).strip().lower() for c in frame.columns]
    venues = [c for c in frame.columns if c not in _OTHERS]
    if "date" not in frame.columns or not venues:
        raise InputError(
            f"{path} must have a column date and one column for each venue (it has: {', '.join(frame.columns)})",
            "docs/data.md has the format",
        )
    doubled = sorted({name for name in frame.columns if list(frame.columns).count(name) > 1})
    if doubled:
        raise InputError(f"{path} has the column {doubled[0]} twice", "keep one")
    if "coin" in frame.columns:
        frame = frame[frame["coin"].astype(str).str.upper() == pair.split("/")[0].upper()]
    if len(frame) == 0:
        raise InputError(f"{path}: holds no rows of {pair.split('/')[0]}", "add some, or move the file away")
    at = _dates(frame, path)
    order = np.argsort(at, kind="stable")
    twice = np.flatnonzero(np.diff(at[order]) == 0)
    if twice.size:
        row = int(order[twice[0] + 1])
        raise InputError(f"{path}: row {frame.index[row]} ({iso(at[row])}) is the second one of its date", "keep one")
    out = {}
    at = at[order]
    lag = records.venue_interest_lag(_period(at))
    for venue in venues:
        usd = _usd(frame[venue], at, order, path)
        there = np.isfinite(usd)
        out[venue] = records.records(records.VENUE_INTEREST, at[there], at[there] + lag, usd=usd[there])
    return out


def _dates(frame: pd.DataFrame, path: Path) -> Int64Array:
    dates = frame["date"]
    if not pd.api.types.is_datetime64_any_dtype(dates):
        try:
            dates = pd.to_datetime(dates, format="ISO8601")
        except ValueError as error:
            raise InputError(
                f"{path}: column 'date' holds what is not one kind of time ({str(error).splitlines()[0][:120]})",
                "write every date as 2026-01-31T12:00:00Z",
            ) from error
    if not isinstance(dates.dtype, pd.DatetimeTZDtype):
        raise InputError(
            f"{path}: column 'date' has no time zone (row {frame.index[0]}: {frame['date'].iloc[0]})",
            "write every date as 2026-01-31T12:00:00Z",
        )
    return dates_ns(dates, str(path))


def _period(at: Int64Array) -> int:
    """The commonest step between rows; a single row counts as one of 4 hours."""
    if len(at) < 2:
        return 4 * HOUR
    steps, times = np.unique(np.diff(at), return_counts=True)
    return int(steps[np.argmax(times)])


def _usd(column: pd.Series, at: Int64Array, order: Int64Array, path: Path) -> records.Float64Array:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)[order]
    given = column.notna().to_numpy()[order]
    # What no market does (docs/laws.md 10).
    bad = np.flatnonzero(given & ~((numbers > 0) & (numbers < 1e18)))
    if bad.size:
        row = int(order[bad[0]])
        raise InputError(
            f"{path}: row {column.index[row]} ({iso(int(at[bad[0]]))}), column {column.name}: {column.iloc[row]} is no"
            " open interest in USD",
            "a number above 0, or an empty cell where it is not known",
        )
    return np.where(given, numbers, np.nan)

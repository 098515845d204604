"""Real liquidations by the hour, from the tables that vendors publish and from recorded prints.

=========================  ====================================================  ==========================
table                      columns                                               unit
=========================  ====================================================  ==========================
liqsignals' own            date, liq_long_usd, liq_short_usd                     USD
                           date, liq_long_base, liq_short_base                   base units
CoinGlass v4, pair         time, long_liquidation_usd, short_liquidation_usd     USD
CoinGlass v4, coin         time, aggregated_long_liquidation_usd, ..._short_...  USD
Coinalyze                  t, l, s                                               to be told: --unit
recorded prints            event_time, liquidated_side, price, base              base units, at each price
=========================  ====================================================  ==========================

*Long* is always the side that was liquidated: forced selling (research: Binance and OKX report the order's side, Bybit and
Gate the position's; the recorder writes `liquidated_side`). Times are the opens of UTC hours: ISO 8601 with zone, or
epochs in s, ms or ns by their size. Base units become USD at the close of the hour's last candle.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liqsignals.clock import HOUR, SECOND, Int64Array, dates_ns, iso
from liqsignals.errors import InputError
from liqsignals.tape import Tape

Float64Array = NDArray[np.float64]

#: Columns of long and short, and what they count (None: the table does not say).
_TABLES: tuple[tuple[str, str, str | None], ...] = (
    ("liq_long_usd", "liq_short_usd", "usd"),
    ("liq_long_base", "liq_short_base", "base"),
    ("long_liquidation_usd", "short_liquidation_usd", "usd"),
    ("aggregated_long_liquidation_usd", "aggregated_short_liquidation_usd", "usd"),
    ("l", "s", None),
)
_TIMES = ("date", "time", "t", "event_time")
_PRINTS = ("liquidated_side", "price", "base")


@dataclass(frozen=True)
class Liquidations:
    """USD of longs and shorts liquidated, (2, n), in the hours that open at `hours` (n,) ns, ascending."""

    hours: Int64Array
    usd: Float64Array


def read(path: Path, tape: Tape, unit: str | None = None) -> Liquidations:
    """Read a table of liquidations of the tape's pair (.parquet, .feather, .csv, .json).

    `unit` ("usd" or "base") is needed where the columns do not say what they count, and refused where it contradicts them.
    Hours that the table leaves out are left out; nothing is filled. Raises InputError with file, row and way out.
    """
    if unit not in (None, "usd", "base"):
        raise InputError(f"--unit {unit} must be usd or base")
    frame = _frame(path)
    at = next((name for name in _TIMES if name in frame.columns), None)
    if at is None:
        raise InputError(
            f"{path}: no column of times; one of {', '.join(_TIMES)} is needed. It has: {', '.join(map(str, frame))}"
        )
    when = _times(frame[at], f"{path}: column '{at}'")
    if set(_PRINTS) <= set(frame.columns):
        return _from_prints(frame, when, path)
    table = next((t for t in _TABLES if {t[0], t[1]} <= set(frame.columns)), None)
    if table is None:
        known = "; ".join(f"{a} and {b}" for a, b, _ in _TABLES)
        raise InputError(
            f"{path}: no columns of liquidations. Known are: {known}; prints: {', '.join(_PRINTS)}. It has: "
            f"{', '.join(map(str, frame))}. Way out: rename the columns (long = longs were liquidated)"
        )
    long, short, counts = table
    if counts is None and unit is None:
        raise InputError(
            f"{path}: columns '{long}' and '{short}' do not say what they count. Way out: --unit usd or --unit base"
        )
    if counts is not None and unit is not None and counts != unit:
        raise InputError(f"{path}: column '{long}' counts {counts}, but --unit says {unit}. Way out: leave --unit out")
    usd = np.stack([_numbers(frame[name], path, when) for name in (long, short)])
    order = np.argsort(when, kind="stable")
    when, usd = when[order], usd[:, order]
    _check_hours(when, path)
    if (counts or unit) == "base":
        usd = usd * _closes(tape, when, path)
    return Liquidations(when, usd)


def _frame(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix == ".feather":
            return pd.read_feather(path)
        if path.suffix == ".csv":
            return pd.read_csv(path)
        if path.suffix == ".json":
            content = json.loads(path.read_text())
            # CoinGlass wraps rows in "data"; Coinalyze gives [{"symbol", "history"}].
            rows = content.get("data", content) if isinstance(content, dict) else content
            if isinstance(rows, list) and len(rows) == 1 and isinstance(rows[0], dict) and "history" in rows[0]:
                rows = rows[0]["history"]
            return pd.DataFrame(rows)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file. Way out: name a table of liquidations") from error
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read ({error}). Way out: fetch it again") from error
    raise InputError(f"{path}: unknown ending; use .parquet, .feather, .csv or .json")


def _times(column: pd.Series, what: str) -> Int64Array:
    """ns of a column of dates, ISO texts with zone, or epochs."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        value = column.to_numpy(np.float64)
        bad = np.flatnonzero(~np.isfinite(value) | (value <= 0))
        if bad.size:
            raise InputError(f"{what}: row {bad[0]} is {value[bad[0]]}, not an epoch")
        units = np.where(value > 1e17, 1, np.where(value > 1e11, SECOND // 1000, SECOND))
        if len(np.unique(units)) > 1:
            raise InputError(f"{what}: epochs of different units in one column. Way out: fetch the table again")
        return np.asarray(column.to_numpy().astype(np.int64) * units)
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        texts = column.astype(str)
        naive = np.flatnonzero(~texts.str.contains(r"(?:Z|[+-]\d{2}:?\d{2})$"))
        if naive.size:
            raise InputError(
                f"{what}: row {naive[0]} is '{texts.iloc[naive[0]]}', without a time zone. Way out: write it with Z if it is UTC"
            )
        try:
            column = pd.to_datetime(texts, utc=True)
        except ValueError as error:
            raise InputError(f"{what}: not a time ({error})") from error
    return dates_ns(column.reset_index(drop=True), what)


def _numbers(column: pd.Series, path: Path, when: Int64Array) -> Float64Array:
    try:
        value = pd.to_numeric(column).to_numpy(np.float64)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: column '{column.name}' holds what is no number ({error})") from error
    bad = np.flatnonzero(~np.isfinite(value) | (value < 0))
    if bad.size:
        i = int(bad[0])
        raise InputError(
            f"{path}: row {i} ({iso(int(when[i]))}) has {column.name} {value[i]}; it must be a number not below 0. Way out: remove "
            "the row: an hour that is not in the table is left out, not counted as zero"
        )
    return value


def _check_hours(when: Int64Array, path: Path) -> None:
    if len(when) == 0:
        raise InputError(f"{path}: no rows")
    off = np.flatnonzero(when % HOUR)
    if off.size:
        raise InputError(
            f"{path}: row {off[0]} is at {iso(int(when[off[0]]))}, not on a full hour; the table must be hourly"
        )
    same = np.flatnonzero(np.diff(when) == 0)
    if same.size:
        raise InputError(f"{path}: {iso(int(when[same[0]]))} stands there twice. Way out: remove one of the rows")


def _closes(tape: Tape, when: Int64Array, path: Path) -> Float64Array:
    assert tape.bars is not None
    row = np.searchsorted(tape.bars["event_time"], when + HOUR, side="right") - 1
    there = (row >= 0) & (when + HOUR - tape.bars["event_time"][np.maximum(row, 0)] < HOUR)
    if not there.all():
        missing = int(np.flatnonzero(~there)[0])
        raise InputError(
            f"{path}: base units need a price, and there is no candle of {tape.pair} at {iso(int(when[missing]))}. Way out: "
            "candles of the table's span, or a table in USD"
        )
    return np.asarray(tape.bars["close"][row])


def _from_prints(frame: pd.DataFrame, when: Int64Array, path: Path) -> Liquidations:
    """Hourly sums of prints. An hour without one is left out: a quiet hour looks like a recorder that was down."""
    side = frame["liquidated_side"].to_numpy()
    bad = np.flatnonzero(~np.isin(side, (0, 1)))
    if bad.size:
        raise InputError(f"{path}: row {bad[0]} has liquidated_side {side[bad[0]]!r}; it must be 0 (long) or 1 (short)")
    usd = _numbers(frame["price"], path, when) * _numbers(frame["base"], path, when)
    if len(when) == 0:
        raise InputError(f"{path}: no rows")
    first = int(when.min()) // HOUR
    row = when // HOUR - first
    total = np.zeros((2, int(row.max()) + 1))
    np.add.at(total, (side.astype(np.int64), row), usd)
    seen = np.flatnonzero(np.bincount(row, minlength=total.shape[1]))
    return Liquidations((first + seen) * HOUR, total[:, seen])

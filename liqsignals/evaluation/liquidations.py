"""Real liquidations by hour and side, from hourly tables or recorded prints, in USD.

Nothing is guessed: the unit is in the column names or given as an option, the side is that of the *position* (for a
liquidated long Binance and OKX report SELL, Bybit reports Buy), times have a zone or are epochs. With candles at hand,
a table whose longs are liquidated when price rises is refused.

==================================================  =====  ===============================  ========================
columns                                             unit   time                             from
==================================================  =====  ===============================  ========================
`date, liq_long_usd, liq_short_usd`                 USD    open of the hour                 ours
`date, liq_long_base, liq_short_base`               base   open of the hour                 ours
`time, [aggregated_]long_liquidation_usd, ..short`  USD    open of the hour, epoch ms       CoinGlass v4
`t, l, s`                                           given  open of the hour, epoch s        Coinalyze
`event_time, long_usd, short_usd`                   USD    end of the hour, epoch ns        liqsignals download
`event_time, side, price, base[, usd]`              USD    of the print, epoch ns           liqsignals record
`date, long, short`                                 given  open of the hour                 anything else
==================================================  =====  ===============================  ========================

Files: .parquet, .feather, .csv, .json (rows, or the vendors' envelopes), .jsonl.
"""

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liqsignals import files, records, venues
from liqsignals.clock import HOUR, SECOND, Int64Array, iso, timeframe_name
from liqsignals.data import store
from liqsignals.data.tape import Tape, hour_rows
from liqsignals.errors import InputError
from liqsignals.records import Float64Array, Records

logger = logging.getLogger(__name__)


#: Names of the long and the short column, and their unit (None: not given by the names).
_COLUMNS: tuple[tuple[str, str, str | None], ...] = (
    ("liq_long_usd", "liq_short_usd", "usd"),
    ("liq_long_base", "liq_short_base", "base"),
    ("long_liquidation_usd", "short_liquidation_usd", "usd"),
    ("aggregated_long_liquidation_usd", "aggregated_short_liquidation_usd", "usd"),
    ("long_usd", "short_usd", "usd"),
    ("long_base", "short_base", "base"),
    ("l", "s", None),
    ("long", "short", None),
)
_PRINTS = ("price", "base")
#: Columns that name the market of a row, and its exchange.
_MARKETS, _EXCHANGES = ("pair", "symbol", "coin", "asset"), ("exchange", "venue")
_SIDES = ("side", "liquidated_side")
_TIMES = ("date", "time", "t", "event_time")
_SUFFIXES = (".parquet", ".feather", ".csv", ".json", ".jsonl")
#: Sides are checked on hours with a close at least this far from their open, if there are enough of each direction.
_FAR, _ENOUGH = 0.01, 5


@dataclass(frozen=True)
class Liquidations:
    """Real liquidations of whole hours. An hour that is missing here is unknown, not zero."""

    #: Opens of the hours (n,), int64 ns UTC, ascending; USD (2, n), longs first.
    hours: Int64Array
    usd: Float64Array
    #: Notes for the user: how unit, time and side were read, and what was left out.
    notes: tuple[str, ...]


def read(path: Path, tape: Tape | None = None, *, unit: str | None = None) -> Liquidations:
    """Read a file of liquidations, or a folder of recorded prints (`<extras>/liquidation/<exchange>/<pair>-events`).

    `unit` ("usd" or "base") is required where the columns do not name it, and must agree with them where they do. Base
    units become USD at the mean close of the hour's bars, which needs `tape`; hours without all their bars are left
    out. Raises InputError for anything that is not a table of hours or of prints.
    """
    if unit not in (None, "usd", "base"):
        raise InputError(f"--unit {unit}: must be usd or base")
    frame = _frame(path)
    _check_coin(frame, path, tape.pair if tape is not None else None)
    if set(_PRINTS) <= set(frame.columns) and not set(_SIDES).isdisjoint(frame.columns):
        if unit == "base":
            raise InputError(f"{path}: recorded prints carry their USD; leave --unit out")
        found = _prints(frame, path)
    else:
        found = _hourly(frame, path, unit, tape)
    if len(found.hours) == 0:
        raise InputError(
            f"{path} holds no whole hour",
            "give a longer table",
        )
    if tape is not None and tape.bars is not None:
        _check_sides(found, tape.bars, tape.bar_ns, path)
    for note in found.notes:
        logger.info("%s: %s", path, note)
    return found


# --- files


def _frame(path: Path) -> pd.DataFrame:
    if path.is_dir():  # a recorder's series
        rows = store.read(path, records.LIQUIDATION)
        if len(rows) == 0:
            raise InputError(f"{path} holds no recorded prints", "record some: liqsignals record")
        return pd.DataFrame(rows)
    if not path.is_file():
        raise InputError(
            f"there is no file {path}",
            "give a table of liquidations",
        )
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path}: unknown ending; use one of {', '.join(_SUFFIXES)}")
    frame = files.read_stable(path, _load)
    if len(frame) == 0:
        raise InputError(
            f"{path} holds no rows",
            "download it again",
        )
    return frame


def _load(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".feather":
        return pd.read_feather(path)
    if path.suffix == ".csv":
        return pd.read_csv(path)
    text = path.read_text()
    rows = (
        [json.loads(line) for line in text.splitlines() if line.strip()]
        if path.suffix == ".jsonl"
        else json.loads(text)
    )
    return pd.DataFrame(_unwrapped(rows, path))


def _unwrapped(content: Any, path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON answer: a plain list, CoinGlass's envelope, or one symbol of Coinalyze's."""
    if isinstance(content, dict) and "data" in content:
        if str(content.get("code", "0")) != "0":
            raise InputError(
                f"{path} is an error message of the vendor, not a table: {content.get('msg')}",
                "download it again",
            )
        content = content["data"]
    if isinstance(content, list) and content and isinstance(content[0], dict) and "history" in content[0]:
        if len(content) != 1:
            names = ", ".join(str(c.get("symbol")) for c in content)
            raise InputError(
                f"{path} holds several symbols ({names})",
                "keep one in a file",
            )
        content = content[0]["history"]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise InputError(
            f"{path} is not a list of rows",
            "give the vendor's answer unchanged",
        )
    return content


# --- columns


def _check_coin(frame: pd.DataFrame, path: Path, pair: str | None) -> None:
    """Raise InputError for rows of several coins, or of another one than the candles'."""
    for name in _MARKETS:
        if name not in frame.columns:
            continue
        named = frame[name].dropna().astype(str).unique()
        coins = sorted({venues.coin(text) for text in named})
        if len(coins) > 1:
            raise InputError(
                f"{path}: column '{name}' holds several coins ({', '.join(coins[:5])})", "keep one in a file"
            )
        if coins and pair is not None and coins[0] != venues.coin(pair):
            raise InputError(
                f"{path}: column '{name}' says {named[0]}, the candles are {pair}", "give the table of the same coin"
            )


def _times(frame: pd.DataFrame, path: Path) -> tuple[Int64Array, str]:
    """Int64 ns of the time column, and its name."""
    name = next((n for n in _TIMES if n in frame.columns), None)
    if name is None:
        raise InputError(
            f"{path} has no time column ({', '.join(_TIMES)}; it has: {', '.join(map(str, frame.columns))})",
            "rename it",
        )
    column = frame[name]
    missing = np.flatnonzero(column.isna().to_numpy())
    if missing.size:
        raise InputError(
            f"{path}: row {missing[0]} has no {name}",
            "remove the row",
        )
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return np.asarray(column.dt.tz_convert("UTC").dt.as_unit("ns").astype("int64"), np.int64), name
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        raise InputError(
            f"{path}: column '{name}' is naive (without a time zone)",
            f"if it is UTC: df['{name}'] = df['{name}'].dt.tz_localize('UTC')",
        )
    if pd.api.types.is_numeric_dtype(column.dtype):
        return _epochs(column.to_numpy(), path, name), name
    text = column.astype(str)
    if text.str.fullmatch(r"\d+").all():
        return _epochs(text.astype(np.int64).to_numpy(), path, name), name
    naive = np.flatnonzero(~text.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", flags=re.IGNORECASE).to_numpy())
    if naive.size:
        row = int(naive[0])
        raise InputError(
            f"{path}: row {row}, column '{name}': {text.iloc[row]!r} has no time zone",
            "write it as 2026-01-31T12:00:00Z, or as an epoch in s, ms or ns",
        )
    try:
        dates = pd.to_datetime(text, utc=True, format="ISO8601")
    except ValueError as error:
        # pandas appends several lines about formats.
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: column '{name}' holds a value that is not a time ({reason})",
            "correct it",
        ) from error
    return np.asarray(dates.dt.as_unit("ns").astype("int64"), np.int64), name


def _epochs(values: NDArray[Any], path: Path, name: str) -> Int64Array:
    """Ns of epochs in s, ms, us or ns: between 2001 and 2286 the number of digits identifies the unit."""
    whole = np.asarray(values)
    for digits, factor in ((10, SECOND), (13, SECOND // 1000), (16, SECOND // 1_000_000), (19, 1)):
        low, high = (10 ** (digits - 1), 10**digits) if digits < 19 else (10**18, 2**63 - 1)
        if ((whole >= low) & (whole < high)).all() and (whole == np.floor(whole)).all():
            return np.asarray(whole.astype(np.int64) * factor, np.int64)
    raise InputError(
        f"{path}: column '{name}' (first: {whole[0]}) is not an epoch in s, ms, us or ns throughout",
        "write times as 2026-01-31T12:00:00Z",
    )


def _amounts(frame: pd.DataFrame, names: tuple[str, str], path: Path) -> Float64Array:
    """Both sides' amounts (2, n); NaN where missing. Raises InputError for text and negative amounts."""
    out = np.empty((2, len(frame)))
    for side, name in enumerate(names):
        numbers = pd.to_numeric(frame[name], errors="coerce")
        text = np.flatnonzero((numbers.isna() & frame[name].notna()).to_numpy())
        if text.size:
            row = int(text[0])
            raise InputError(
                f"{path}: row {row}, column '{name}': {frame[name].iloc[row]!r} is not a number",
                "correct the row",
            )
        out[side] = numbers.to_numpy(np.float64)
        bad = np.flatnonzero((out[side] < 0) | np.isinf(out[side]))
        if bad.size:
            row = int(bad[0])
            raise InputError(
                f"{path}: row {row}, column '{name}': {out[side, row]:g} must be a number of at least 0",
                "if the sign encodes the side, split it into two columns",
            )
    return out


def _hourly(frame: pd.DataFrame, path: Path, unit: str | None, tape: Tape | None) -> Liquidations:
    known = [c for c in _COLUMNS if c[0] in frame.columns and c[1] in frame.columns]
    if len(known) != 1:
        what = "no columns of long and short liquidations" if not known else "several columns of liquidations"
        have = ", ".join(map(str, frame.columns))
        ways = ", ".join(f"{a}/{b}" for a, b, _ in _COLUMNS)
        raise InputError(
            f"{path} has {what} (it has: {have})",
            f"keep one pair of {ways}",
        )
    long, short, named = known[0]
    if named is None and unit is None:
        raise InputError(
            f"{path}: the columns {long} and {short} do not name their unit (USD or coins)",
            "--unit usd or --unit base (Coinalyze returns coins unless requested with convert_to_usd=true)",
        )
    if named is not None and unit is not None and named != unit:
        raise InputError(
            f"{path}: the columns {long} and {short} are in {named}, but --unit is {unit}",
            "leave it out",
        )
    unit = named or unit
    hours, time_name = _times(frame, path)
    notes = [f"{long} read as liquidated long positions, {short} as liquidated shorts, in {unit}"]
    if time_name == "event_time":
        hours = hours - HOUR
        notes.append("event_time read as the end of the hour")
    else:
        notes.append(f"{time_name} read as the open of the hour")
    amounts = _amounts(frame, (long, short), path)
    order = np.argsort(hours, kind="stable")
    _check_hours(hours, order, path)
    hours, amounts = hours[order], amounts[:, order]
    empty = ~np.isfinite(amounts).all(axis=0)
    if empty.any():
        notes.append(f"{int(empty.sum())} hours have no number: left out")
    hours, amounts = hours[~empty], amounts[:, ~empty]
    if "liq_row_absent_in_source" in frame.columns:
        absent = int(frame["liq_row_absent_in_source"].to_numpy(bool).sum())
        notes.append(f"{absent} hours are marked as absent in the source: read with the table's values")
    if len(hours) and len(hours) < (hours[-1] - hours[0]) // HOUR + 1:
        gap = int((hours[-1] - hours[0]) // HOUR + 1 - len(hours))
        notes.append(f"{gap} hours between the first and the last are missing: unknown, not zero")
    if unit == "base":
        if tape is None or tape.bars is None:
            raise InputError(
                f"{path} is in coins, and without candles there is no price to convert them",
                "give --datadir",
            )
        price = _mean_close(tape.bars, tape.bar_ns, hours)
        kept = np.isfinite(price)
        if not kept.any():
            raise InputError(
                f"{path} is in coins, and none of its hours ({iso(int(hours[0]))} .. {iso(int(hours[-1]))}) has "
                f"all candles of {tape.pair}, needed to convert them",
                "download candles of that span (liqsignals download), or give a table in USD",
            )
        notes.append("coins converted at the mean close of the hour's bars")
        if not kept.all():
            notes.append(f"{int((~kept).sum())} hours without all their candles: left out")
        hours, amounts = hours[kept], amounts[:, kept] * price[kept]
    return Liquidations(hours, amounts, tuple(notes))


def _check_hours(hours: Int64Array, order: NDArray[np.intp], path: Path) -> None:
    off = np.flatnonzero(hours % HOUR != 0)
    if off.size:
        raise InputError(
            f"{path}: row {off[0]} ({iso(hours[off[0]])}) is not at a full hour; an hourly table is needed",
            "ask the vendor for an interval of 1h, or sum the rows by hour",
        )
    steps = np.diff(hours[order])
    twice = np.flatnonzero(steps == 0)
    if twice.size:
        row = int(order[twice[0] + 1])
        raise InputError(
            f"{path}: row {row} repeats the hour {iso(hours[row])}",
            "keep one (if they are different venues, sum them)",
        )
    if len(steps) and steps.min() > HOUR:
        raise InputError(
            f"{path}: its rows are {timeframe_name(int(steps.min()))} apart; an hourly table is needed",
            "ask the vendor for an interval of 1h",
        )


def _prints(frame: pd.DataFrame, path: Path) -> Liquidations:
    """Hourly sums of recorded prints. The partial first and last hour are left out, and so are hours without a print,
    which may be recorder downtime.

    Equal prints count once, as they do in the recorder's files (docs/decisions/030): no feed numbers its prints, and
    some archives have every row twice (binance-public-data issue 259).
    """
    if "event_time" not in frame.columns:
        raise InputError(f"{path}: prints need the column event_time (epoch ns, when it happened)")
    at, _ = _times(frame[["event_time"]], path)
    side = _sides(frame[next(n for n in _SIDES if n in frame.columns)], path)
    venue = next((frame[n].astype(str).str.lower() for n in _EXCHANGES if n in frame.columns), "")
    identity = frame[list(_PRINTS)].assign(at=at, side=side, venue=venue)
    repeated = identity.duplicated().to_numpy()
    amounts = frame if "usd" in frame.columns else frame.assign(usd=frame["price"] * frame["base"])
    usd = _amounts(amounts, ("usd", "usd"), path)[0]
    bad = np.flatnonzero(np.isnan(usd))
    if bad.size:
        raise InputError(
            f"{path}: row {bad[0]} has no usd",
            "usd = price x base, in coins; remove the row if unknown",
        )
    at, side, usd = at[~repeated], side[~repeated], usd[~repeated]
    hour = at // HOUR
    first, last = int(hour.min()) + 1, int(hour.max())
    n = max(last - first, 0)
    total = np.zeros((2, n))
    inside = (hour >= first) & (hour < last)
    np.add.at(total, (side[inside], (hour - first)[inside]), usd[inside])
    seen = np.flatnonzero(np.bincount((hour - first)[inside], minlength=n)) if n else np.empty(0, np.int64)
    notes = [
        "prints summed by hour of event_time; the partial first and last hour left out. Recorder downtime within an "
        "hour "
        "is not visible here: check with liqsignals doctor"
    ]
    if repeated.any():
        notes.append(
            f"{int(repeated.sum())} of {len(repeated)} rows repeat an earlier print (same time, side, price and size): "
            "counted once"
        )
    if len(seen) < n:
        notes.append(
            f"{n - len(seen)} hours without a print left out: quiet hours and recorder downtime cannot be distinguished"
        )
    return Liquidations(np.asarray((first + seen) * HOUR, np.int64), total[:, seen], tuple(notes))


def _sides(column: pd.Series, path: Path) -> Int64Array:
    """0 for a liquidated long, 1 for a short. Order sides are refused: their meaning differs between venues."""
    text = column.astype(str).str.lower()
    known = text.map({"0": 0, "1": 1, "long": 0, "short": 1})
    odd = np.flatnonzero(known.isna().to_numpy())
    if odd.size:
        row = int(odd[0])
        raise InputError(
            f"{path}: row {row}: side {column.iloc[row]!r} is not the side of a liquidated position (long or 0, "
            "short or 1)",
            "for a liquidated long Binance and OKX report SELL, Bybit reports Buy; write long or short",
        )
    return np.asarray(known.to_numpy(np.int64))


# --- comparison with the market


def _mean_close(bars: Records, bar_ns: int, hours: Int64Array) -> Float64Array:
    first, last, whole = hour_rows(bars, bar_ns, hours)
    total = np.concatenate(([0.0], np.cumsum(bars["close"])))
    return np.where(whole, (total[last] - total[first]) * bar_ns / HOUR, np.nan)


def _check_sides(found: Liquidations, bars: Records, bar_ns: int, path: Path) -> None:
    """Falls liquidate longs. Refuse a table that says otherwise both ways, in hours that closed 1 % or more away."""
    first, last, whole = hour_rows(bars, bar_ns, found.hours)
    change = np.zeros(len(found.hours))
    rows = np.flatnonzero(whole)
    change[rows] = np.log(bars["close"][last[rows] - 1] / bars["open"][first[rows]])
    fell, rose = change < -_FAR, change > _FAR
    if min(int(fell.sum()), int(rose.sum())) < _ENOUGH:
        return
    longs, shorts = found.usd
    if longs[fell].sum() < shorts[fell].sum() and longs[rose].sum() > shorts[rose].sum():
        raise InputError(
            f"{path}: in {int(fell.sum())} hours that fell more than 1 % shorts were liquidated, in "
            f"{int(rose.sum())} that rose longs: the sides are swapped, or the times are not UTC",
            "swap the two columns, or correct the times",
        )

"""Candle open <-> decision time, and every conversion between int64 ns and calendar time.

Inside the library a time is an int64, nanoseconds since 1970-01-01 UTC. tz-aware pandas objects exist only
at the boundaries (files, freqtrade frames, the CLI). No other module adds a timeframe to a candle's date.
"""

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liqsignals.errors import InputError

Int64Array = NDArray[np.int64]

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_UNITS = {"m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}


def duration_ns(text: str) -> int:
    """Nanoseconds of a duration in freqtrade's notation: `5m`, `6h`, `1d`, `1w`.

    >>> duration_ns("5m") // MINUTE
    5
    """
    match = re.fullmatch(r"([1-9]\d*)([mhdw])", text)
    if match is None:
        raise InputError(f"'{text}' is not a duration; write it as 5m, 1h, 6h or 1d")
    return int(match[1]) * _UNITS[match[2]]


def decision_time(open_ns: Int64Array, timeframe_ns: int) -> Int64Array:
    """Instant at which a candle is complete and a bot decides on it: its open plus its timeframe."""
    return open_ns + np.int64(timeframe_ns)


def open_time(decision_ns: Int64Array, timeframe_ns: int) -> Int64Array:
    """Open of the candle that is complete at each decision time: the inverse of `decision_time`."""
    return decision_ns - np.int64(timeframe_ns)


def timeframe_name(timeframe_ns: int) -> str:
    """freqtrade's name of a timeframe.

    >>> timeframe_name(15 * MINUTE), timeframe_name(HOUR)
    ('15m', '1h')
    """
    return f"{timeframe_ns // HOUR}h" if timeframe_ns % HOUR == 0 else f"{timeframe_ns // MINUTE}m"


#: Times that int64 ns can hold.
FAR = pd.Timestamp("1678-01-01", tz="UTC"), pd.Timestamp("2262-01-01", tz="UTC")


def dates_ns(dates: pd.Series, what: str) -> Int64Array:
    """Int64 ns of a tz-aware date column; `what` names the file or frame in the error.

    Raises InputError on naive or non-date values: the zone would be a guess.
    """
    if not isinstance(dates.dtype, pd.DatetimeTZDtype):
        naive = pd.api.types.is_datetime64_any_dtype(dates.dtype)
        kind = "naive (without a time zone)" if naive else f"of type {dates.dtype}, not a time"
        raise InputError(
            f"{what}: column 'date' is {kind}; it must be tz-aware UTC",
            "download the file again with freqtrade, or convert it: "
            + ("df['date'].dt.tz_localize('UTC')" if naive else "pd.to_datetime(df['date'], unit='ms', utc=True)"),
        )
    try:
        ns: Int64Array = dates.array.as_unit("ns").asi8
    except pd.errors.OutOfBoundsDatetime as error:
        far = (dates > FAR[1]) | (dates < FAR[0])
        row = int(np.flatnonzero(far.to_numpy())[0])
        raise InputError(
            f"{what}: row {row} has the date {dates.iloc[row]}, which no market has; remove the row or download the file"
            " again"
        ) from error
    if (ns == pd.NaT.value).any():
        missing = np.flatnonzero(ns == pd.NaT.value)
        raise InputError(f"{what}: row {missing[0]} has no date; remove the row or download the file again")
    return ns


def to_dates(ns: Int64Array) -> pd.DatetimeIndex:
    """tz-aware UTC dates (millisecond unit, as freqtrade stores them) of int64 ns."""
    return pd.DatetimeIndex(pd.to_datetime(ns, utc=True)).as_unit("ms")


def iso(ns: int) -> str:
    """ISO 8601 with zone, to the second.

    >>> iso(0)
    '1970-01-01T00:00:00Z'
    """
    return pd.Timestamp(int(ns), tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> int:
    """Int64 ns of an ISO 8601 time with zone. Raises InputError on a naive one.

    >>> iso(parse_time("2026-01-02T03:04:05+00:00"))
    '2026-01-02T03:04:05Z'
    """
    try:
        stamp = pd.Timestamp(text).as_unit("ns")
    except ValueError as error:
        raise InputError(f"'{text}' is not a time; write it as 2026-01-31T12:00:00Z") from error
    if pd.isna(stamp):
        raise InputError(f"'{text}' is not a time; write it as 2026-01-31T12:00:00Z")
    if stamp.tzinfo is None:
        raise InputError(f"'{text}' has no time zone; write it as {stamp.isoformat()}Z if it is UTC")
    return int(stamp.tz_convert("UTC").value)


def parse_timerange(text: str | None) -> tuple[int | None, int | None]:
    """Start and stop (int64 ns or None) of a freqtrade timerange: `20250801-20260228`, `20250801-`, epochs.

    Days are UTC days, the stop is exclusive at its 00:00, as in freqtrade.
    """
    if not text:
        return None, None
    parts = text.split("-")
    if len(parts) != 2 or not any(parts):
        raise InputError(f"'{text}' is not a timerange; write it as 20250801-20260228, 20250801- or -20260228")
    start, stop = (_timerange_end(part, text) for part in parts)
    if start is not None and stop is not None and start >= stop:
        raise InputError(f"timerange '{text}' ends before it begins")
    return start, stop


def _timerange_end(part: str, text: str) -> int | None:
    if not part:
        return None
    if re.fullmatch(r"\d{8}", part):
        try:
            return int(pd.Timestamp(part, tz="UTC").as_unit("ns").value)
        except ValueError as error:
            raise InputError(f"timerange '{text}': {part} is not a day (YYYYMMDD)") from error
    if re.fullmatch(r"\d{10}", part):
        return int(part) * SECOND
    if re.fullmatch(r"\d{13}", part):
        return int(part) * (SECOND // 1000)
    raise InputError(f"timerange '{text}': {part} is neither a day (YYYYMMDD) nor an epoch in s or ms")

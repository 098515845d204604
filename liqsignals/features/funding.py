"""Funding skew: the funding rate compared with its own past and across venues.

Pure functions of the cut tape's rows, read at the candles by `asof`. Each value depends on a fixed window of records,
so every slice of a dataframe gives the same bits.
"""

import numpy as np
from numpy.typing import NDArray

from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array
from liqsignals.data.tape import asof
from liqsignals.features.column import Column
from liqsignals.features.context import Context
from liqsignals.features.past import against_past, runs
from liqsignals.records import FUNDING_LAG, Float64Array, Records

#: The window that a settled rate is compared with, and the minimum number of known settlements in it.
WINDOW = 30 * DAY
MIN_RECORDS = 30
#: A settled rate is stale after this many of its intervals.
MAX_INTERVALS = 2


def rate_8h(settled: Records) -> Float64Array:
    """Settled rates as fractions per 8 h: rate x 8 / interval.

    >>> from liqsignals.records import FUNDING, records
    >>> at = np.array([0, 4 * HOUR])
    >>> rate_8h(records(FUNDING, at, at, rate=np.array([0.0001, 0.0001]), interval_h=np.array([8.0, 4.0]))).tolist()
    [0.0001, 0.0002]
    """
    return np.asarray(settled["rate"] * (8.0 / settled["interval_h"]))


def _due(settled: Records, row: Int64Array, at: Int64Array) -> NDArray[np.bool_]:
    """Whether no newer settlement is due: the next one, an interval after the newest known, is not expected yet."""
    newest = np.maximum(row, 0)
    # One minute more: settlement times jitter by some milliseconds.
    due = settled["interval_h"] * HOUR + FUNDING_LAG + MINUTE
    return np.asarray(at - settled["event_time"][newest] < due[newest])


def _usable(settled: Records, at: Int64Array) -> tuple[Int64Array, NDArray[np.bool_]]:
    """Row of the newest settlement known at each instant, and whether it is recent enough."""
    row = asof(settled, at)
    known = row >= 0
    if len(settled) == 0:
        return row, known
    newest = np.maximum(row, 0)
    age, most = at - settled["event_time"][newest], MAX_INTERVALS * settled["interval_h"] * HOUR
    return row, known & (age <= most[newest])


_STALE = "no or stale funding"

_FEW = f"{_STALE}; fewer than 30 settlements in 30 days"

COLUMNS = (
    Column("fund_rate_8h", "fraction per 8 h", "real", _STALE, "newest settled funding rate; > 0: longs pay"),
    Column(
        "fund_skew_z",
        "z-score",
        "real",
        f"{_FEW}, or all of them equal and this one not",
        "its distance from the mean of its last 30 days",
    ),
    Column("fund_pct", "share", "0 .. 1", _FEW, "its rank among its last 30 days"),
    Column(
        "fund_dispersion",
        "fraction per 8 h",
        ">= 0",
        f"{_STALE}; fewer than two venues",
        "highest minus lowest rate over venues",
    ),
    Column("fund_fresh", "flag", "0, 1", "no funding file", "1 where the newest settlement due by now is known"),
)


def compute(context: Context) -> dict[str, Float64Array]:
    """`fund_*` columns. The first venue is the one traded on; without any venue all are NaN."""
    at, venues = context.at, context.market().funding
    out = {column.name: np.full(len(at), np.nan) for column in COLUMNS}
    if not venues:
        return out
    main = next(iter(venues.values()))
    row, fresh = _usable(main, at)
    out["fund_fresh"] = (fresh & _due(main, row, at) if len(main) else fresh).astype(np.float64)
    used, back = runs(row[fresh])
    rate = rate_8h(main)
    z, percentile = against_past(rate, main["event_time"], used, WINDOW, MIN_RECORDS)
    out["fund_rate_8h"][fresh] = rate[row[fresh]]
    out["fund_skew_z"][fresh], out["fund_pct"][fresh] = z[back], percentile[back]
    if len(venues) > 1:
        quotes = np.full((len(venues), len(at)), np.nan)
        for i, settled in enumerate(venues.values()):
            rows, usable = _usable(settled, at)
            quotes[i, usable] = rate_8h(settled)[rows[usable]]
        several = np.isfinite(quotes).sum(axis=0) > 1
        quotes = quotes[:, several]
        out["fund_dispersion"][several] = np.nanmax(quotes, axis=0) - np.nanmin(quotes, axis=0)
        out["fund_dispersion"][~fresh] = np.nan
    return out

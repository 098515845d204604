"""What the tape holds: one numpy dtype a kind, two stamps on every record.

`event_time` is when it happened, `known_at` the first instant at which a bot could have used it; both
int64 ns UTC, `known_at >= event_time` (docs/laws.md 1). The rule that gives `known_at` stands beside each dtype
and nowhere else. Ties on the tape are ordered by `known_at`, then kind in the order of this file, then
`event_time`.

=============  ======================  ============================================  ================
kind           event_time              known_at                                      maximum age
=============  ======================  ============================================  ================
Bar            close of the bar        the same                                      < one bar
OpenInterest   instant of the          event_time + 2 periods (freqtrade may drop    4 periods, at
               snapshot                or delay the newest live row by one)          least 3 h
Funding        settlement              event_time + 1 min (a few ms of jitter,       2 intervals
                                       then the endpoint's own delay)
Flow           end of the UTC day      event_time + 4 h (AssetEODCompletionTime      52 h
               that it covers          measured 2 h 33 .. 3 h 23, Coin Metrics)
=============  ======================  ============================================  ================
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from liqsignals.clock import HOUR, MINUTE, Int64Array
from liqsignals.errors import InputError

Records = NDArray[np.void]

_STAMPS: list[tuple[str, Any]] = [("event_time", np.int64), ("known_at", np.int64)]

#: Prices in quote units, volume in base units.
BAR = np.dtype([*_STAMPS, *[(n, np.float64) for n in ("open", "high", "low", "close", "volume")]])
#: `base`: one-sided open interest in base units (contracts for coins, never dollars: law 6).
OPEN_INTEREST = np.dtype([*_STAMPS, ("base", np.float64)])
#: `rate`: settled rate as a fraction per interval; `interval_h`: hours that it covers.
FUNDING = np.dtype([*_STAMPS, ("rate", np.float64), ("interval_h", np.float64)])
#: Native units moved into and out of exchanges during the day, and held there at its end.
FLOW = np.dtype([*_STAMPS, ("inflow", np.float64), ("outflow", np.float64), ("supply", np.float64)])

FUNDING_LAG = MINUTE
FLOW_LAG = 4 * HOUR
FLOW_MAX_AGE = 52 * HOUR


def open_interest_lag(period_ns: int) -> int:
    """Delay between a snapshot of open interest and the first instant at which it may be used."""
    return 2 * period_ns


def open_interest_max_age(period_ns: int) -> int:
    """Age of the newest usable snapshot beyond which the map is stale."""
    return max(4 * period_ns, 3 * HOUR)


def records(dtype: np.dtype[np.void], event_time: Int64Array, known_at: Int64Array, **fields: Any) -> Records:
    """Records of `dtype` in tape order. Raises InputError where a record would be known before it happened."""
    out = np.empty(len(event_time), dtype)
    out["event_time"], out["known_at"] = event_time, known_at
    for name, values in fields.items():
        out[name] = values
    early = np.flatnonzero(out["known_at"] < out["event_time"])
    if early.size:
        raise InputError(f"record {early[0]} is known before it happened (law 1)")
    if (np.diff(out["known_at"]) > 0).all():
        return out
    return out[np.lexsort((out["event_time"], out["known_at"]))]

"""Records of the tape: one numpy dtype per kind, two time stamps on every record.

`event_time` is when it happened, `known_at` the first instant at which a bot could have used it; both
int64 ns UTC, `known_at >= event_time` (docs/laws.md 1). The rule for `known_at` is defined here
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
Liquidation    the exchange's time     event_time + 1 s (Binance's and OKX's 1 s      -
               of the liquidation      snapshots); recorded: when it could be read
Flow           end of the UTC day      event_time + 4 h (AssetEODCompletionTime      52 h
               that it covers          measured 2 h 33 .. 3 h 23, Coin Metrics)
Event          announcement of its     the same                                      -
               time, or its release
-------------  ----------------------  --------------------------------------------  ----------------
OiValue        as OpenInterest         as OpenInterest                               as OpenInterest
Taker          close of the bar        event_time + 1 min                            -
Ratio          as OpenInterest         event_time + 2 periods (as OpenInterest)      -
Liquidated     end of the interval     event_time + one interval, at most 1 h        -
Predicted      the exchange's time     its arrival                                   -
               of the estimate
VenueInterest  instant of the          event_time + 2 periods, at most 1 day          48 h
               snapshot
=============  ======================  ============================================  ================

The kinds below the line are read from the extras (data/extras.py) when a feature reads them. A recorder's `known_at`
is the instant at which a bot could read a row, if that is later than the rule's. `KINDS` is this table as data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array
from liqsignals.errors import InputError

Records = NDArray[np.void]
Float64Array = NDArray[np.float64]

_STAMPS: list[tuple[str, Any]] = [("event_time", np.int64), ("known_at", np.int64)]

#: Prices in quote units, volume in base units.
BAR = np.dtype([*_STAMPS, *[(n, np.float64) for n in ("open", "high", "low", "close", "volume")]])
#: `base`: one-sided open interest in base units (contracts for coins, never dollars: law 6). `start`: 1 where it came
#: by a step that no market makes and that was taken for real (data/plausible.py): the map starts anew there; else 0.
OPEN_INTEREST = np.dtype([*_STAMPS, ("base", np.float64), ("start", np.int64)])
#: `rate`: settled rate as a fraction per interval; `interval_h`: hours that it covers.
FUNDING = np.dtype([*_STAMPS, ("rate", np.float64), ("interval_h", np.float64)])
#: One forced order. `side`: whose position was liquidated, LONG or SHORT, never the side of the order; `price` in
#: quote units (bankruptcy or fill price, as the feed gives it), `base` coins, `usd` their value at `price`.
LIQUIDATION = np.dtype([*_STAMPS, ("side", np.int8), ("price", np.float64), ("base", np.float64), ("usd", np.float64)])
LONG, SHORT = 0, 1
#: Native units moved into and out of exchanges during the day, and held there at its end.
FLOW = np.dtype([*_STAMPS, ("inflow", np.float64), ("outflow", np.float64), ("supply", np.float64)])
#: A macro event, twice: when its time was announced (`released_at` 0) and when it was released. `event` is an index
#: into EVENTS; the two times are ns. A rescheduled one is announced again.
EVENT = np.dtype([*_STAMPS, ("event", np.int8), ("scheduled_at", np.int64), ("released_at", np.int64)])
EVENTS = ("fomc", "cpi", "jobs")
#: Open interest as sources publish it: `base` as OPEN_INTEREST, `usd` its value in quote units (NaN where missing).
OI_VALUE = np.dtype([*_STAMPS, ("base", np.float64), ("usd", np.float64)])
#: Taker volume of a bar: base and quote units bought by takers, and all base and quote units traded; number of trades
#: (NaN where a venue does not publish it). Sold = all - bought.
TAKER = np.dtype([*_STAMPS, *[(n, np.float64) for n in ("buy_base", "buy_quote", "base", "quote", "trades")]])
#: Long/short ratios: by accounts and by position of the largest traders, by accounts of all; and takers' buy/sell ratio
#: of the period that ends at `event_time`. NaN where a venue does not publish it.
RATIO = np.dtype([*_STAMPS, *[(n, np.float64) for n in ("top_account", "top_position", "account", "taker")]])
#: Liquidations summed over an interval, as vendors publish them, USD; NaN where a vendor has no row.
LIQUIDATED = np.dtype([*_STAMPS, ("long_usd", np.float64), ("short_usd", np.float64)])

#: Running estimate of the next settlement: `rate` as a fraction per its interval, `next_at` (ns) the settlement.
PREDICTED = np.dtype([*_STAMPS, ("rate", np.float64), ("next_at", np.int64)])
#: Open interest of one venue in one coin, all of its contracts, USD.
VENUE_INTEREST = np.dtype([*_STAMPS, ("usd", np.float64)])

LIQUIDATION_LAG = 1_000_000_000
TAKER_LAG = MINUTE
FUNDING_LAG = MINUTE
FLOW_LAG = 4 * HOUR
FLOW_MAX_AGE = 52 * HOUR
VENUE_INTEREST_MAX_AGE = 48 * HOUR


@dataclass(frozen=True)
class Kind:
    """Constants of a kind of record."""

    dtype: np.dtype[np.void]
    #: Delay (ns) from `event_time` to `known_at`; None where it depends on the period or is the arrival.
    lag: int | None = None
    #: Age (ns, since `event_time`) beyond which the newest record is stale; None where it depends on the period or
    #: interval, or where no rule is fixed.
    max_age: int | None = None
    #: Folder of the extras that holds it, "" where the extras have no such series.
    folder: str = ""
    #: Its only source, "" where each venue or vendor has its own.
    source: str = ""


#: Every kind of record on a tape, in the order in which ties are broken.
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "bar": Kind(BAR, 0),
        "open_interest": Kind(OPEN_INTEREST),
        "funding": Kind(FUNDING, FUNDING_LAG),
        "liquidation": Kind(LIQUIDATION, LIQUIDATION_LAG, folder="liquidation"),
        "flow": Kind(FLOW, FLOW_LAG, FLOW_MAX_AGE),
        "event": Kind(EVENT, folder="event", source="macro"),
        # The extras' folder of open interest also has its value in USD.
        "oi_value": Kind(OI_VALUE, folder="open_interest"),
        "taker": Kind(TAKER, TAKER_LAG, folder="taker"),
        "ratio": Kind(RATIO, folder="ratio"),
        "liquidated": Kind(LIQUIDATED, folder="liquidated"),
        "predicted": Kind(PREDICTED, folder="predicted"),
        "venue_interest": Kind(VENUE_INTEREST, None, VENUE_INTEREST_MAX_AGE, folder="venue_interest"),
    }
)

#: dtype of each of the extras' folders (data/store.py), by the folder's name.
STORED: Mapping[str, np.dtype[np.void]] = MappingProxyType(
    {
        **{name: kind.dtype for name, kind in KINDS.items() if name != "oi_value"},
        "open_interest": OI_VALUE,
    }
)


def open_interest_lag(period_ns: int) -> int:
    """Delay (ns) between a snapshot of open interest and the first instant at which it may be used."""
    return 2 * period_ns


def open_interest_max_age(period_ns: int) -> int:
    """Age (ns) of the newest usable snapshot beyond which the map is stale."""
    return max(4 * period_ns, 3 * HOUR)


def venue_interest_lag(period_ns: int) -> int:
    """Delay (ns) between a row of a table of venues' open interest and the first instant at which it may be used.

    As for open interest, but a day at most: a daily table would be stale before it is known.
    """
    return min(open_interest_lag(period_ns), DAY)


def records(dtype: np.dtype[np.void], event_time: Int64Array, known_at: Int64Array, **fields: Any) -> Records:
    """Records of `dtype` in tape order; fields that are not given are 0.

    Raises InputError where a record would be known before it happened.
    """
    out = np.zeros(len(event_time), dtype)
    out["event_time"], out["known_at"] = event_time, known_at
    for name, values in fields.items():
        out[name] = values
    early = np.flatnonzero(out["known_at"] < out["event_time"])
    if early.size:
        raise InputError(f"record {early[0]} is known before it happened (law 1)")
    return in_order(out)


def in_order(rows: Records) -> Records:
    """Records of one kind in tape order: `known_at`, then `event_time`."""
    if (np.diff(rows["known_at"]) > 0).all():
        return rows
    return rows[np.lexsort((rows["event_time"], rows["known_at"]))]


def later(kind: Records, since: int) -> Records:
    """View of the rows from the first event at or after `since` (ns) on."""
    there = kind["event_time"] >= since
    first = int(there.argmax()) if len(kind) else 0
    return kind[first if len(kind) and there[first] else len(kind) :]


def same_records(one: Records, other: Records) -> bool:
    """Whether two kinds hold the same bits."""
    return len(one) == len(other) and np.array_equal(one.view(np.int64), other.view(np.int64))

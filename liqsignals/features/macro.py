"""The macro calendar: time to the next scheduled event, from the table shipped with liqsignals (sources/macro.py).

An event counts from the instant on at which its date was announced; where the table has no such date, from 30 days
before it. One that was rescheduled counts at its old time, too: the announcement does not say which one it replaces.
"""

import numpy as np

from liqsignals.clock import HOUR, MINUTE
from liqsignals.features.column import Column
from liqsignals.features.context import Context
from liqsignals.records import Float64Array

#: Blackout before and after an event's scheduled time. A convention, not fitted.
BEFORE = 2 * HOUR
AFTER = 60 * MINUTE

_STALE = "no event announced that is still ahead (an empty or stale calendar)"

COLUMNS = (
    Column("macro_hours", "hours", ">= 0", _STALE, "time to the next announced FOMC decision or CPI release"),
    Column(
        "macro_blackout",
        "flag",
        "0, 1",
        _STALE,
        "1 from 2 h before to 1 h after the scheduled time of such an event",
    ),
)


def compute(context: Context) -> dict[str, Float64Array]:
    """`macro_*` columns."""
    events = context.market().kind("event")
    if events is None:
        return {}
    at = context.at
    hours = np.full(len(at), np.inf)
    blackout = np.zeros(len(at))
    # Those that are over at the first candle change nothing.
    announced = events[(events["released_at"] == 0) & (events["scheduled_at"] + AFTER >= at[0])]
    for known_at, scheduled in zip(announced["known_at"].tolist(), announced["scheduled_at"].tolist(), strict=True):
        # Sorted: the instants that know of the event and are not past it.
        first = np.searchsorted(at, known_at)
        ahead = slice(first, np.searchsorted(at, scheduled, side="right"))
        hours[ahead] = np.minimum(hours[ahead], (scheduled - at[ahead]) / HOUR)
        first = max(first, np.searchsorted(at, scheduled - BEFORE))
        blackout[first : np.searchsorted(at, scheduled + AFTER, side="right")] = 1.0
    there = np.isfinite(hours)
    return {"macro_hours": np.where(there, hours, np.nan), "macro_blackout": np.where(there, blackout, np.nan)}

"""Exchange inflow compared with its own past.

Daily, known at D+1 04:00 UTC. Levels are revised when addresses are labelled later (two vintages of Coin Metrics differ
by a median of 4.5 %), so the columns do not depend on the level: a z-score of the logarithm and a share of supply,
within one vintage.
"""

import numpy as np

from liqsignals.clock import DAY, HOUR
from liqsignals.data.tape import asof
from liqsignals.features.column import Column
from liqsignals.features.context import Context
from liqsignals.features.past import against_past, runs
from liqsignals.records import FLOW_MAX_AGE, Float64Array

#: The window that a day is compared with, and the minimum number of known days in it.
WINDOW = 90 * DAY
MIN_RECORDS = 30

_STALE = "no or stale flows"

COLUMNS = (
    Column(
        "flow_inflow_z",
        "z-score",
        "real",
        f"{_STALE}; fewer than 30 days in 90",
        "log exchange inflow of the newest known day against its last 90",
    ),
    Column(
        "flow_netflow_pct",
        "share of supply (0.01 = 1 %)",
        "-1 .. 1",
        _STALE,
        "(inflow - outflow) / coins on exchanges",
    ),
    Column("flow_age_h", "hours", ">= 4", "no flows known yet", "age of the newest known day, from its end"),
    Column("flow_fresh", "flag", "0, 1", "no flows file", "1 where that age is at most 52 h"),
)


def compute(context: Context) -> dict[str, Float64Array]:
    """`flow_*` columns; all NaN without a file, `flow_age_h` NaN until a day is known."""
    at, flow = context.at, context.market().flow
    out = {column.name: np.full(len(at), np.nan) for column in COLUMNS}
    if flow is None:
        return out
    row = asof(flow, at)
    known = row >= 0
    out["flow_fresh"][:] = 0.0
    if not known.any():
        return out
    day = np.maximum(row, 0)
    age = at - flow["event_time"][day]
    out["flow_age_h"][known] = age[known] / HOUR
    fresh = known & (age <= FLOW_MAX_AGE)
    out["flow_fresh"] = fresh.astype(np.float64)
    used, back = runs(row[fresh])
    z, _ = against_past(np.log1p(flow["inflow"]), flow["event_time"], used, WINDOW, MIN_RECORDS)
    out["flow_inflow_z"][fresh] = z[back]
    out["flow_netflow_pct"][fresh] = ((flow["inflow"] - flow["outflow"]) / flow["supply"])[row[fresh]]
    return out

"""Exchange inflow: what moves onto exchanges, against its own past.

Daily, known at D+1 04:00 UTC. Levels are revised as addresses are labelled with hindsight (two vintages of Coin
Metrics differ by a median of 4.5 %), so the columns are free of the level: a z-score of the logarithm and a share of
supply, within one vintage.
"""

import numpy as np

from liqsignals.clock import DAY, HOUR, Int64Array
from liqsignals.data.tape import asof
from liqsignals.features.funding import against_past
from liqsignals.records import FLOW_MAX_AGE, Float64Array, Records

#: The past that a day is compared with, and how many of its days must be known.
WINDOW = 90 * DAY
MIN_RECORDS = 30


def columns(flow: Records | None, at: Int64Array) -> dict[str, Float64Array]:
    """`flow_*` columns at the instants `at`; all NaN without a file, age only once a day is known."""
    out = {n: np.full(len(at), np.nan) for n in ("flow_inflow_z", "flow_netflow_pct", "flow_age_h", "flow_fresh")}
    if flow is None:
        return out
    row = asof(flow, at)
    known = row >= 0
    out["flow_fresh"][:] = 0.0
    if not known.any():
        return out
    day = flow[np.maximum(row, 0)]
    age = at - day["event_time"]
    out["flow_age_h"][known] = age[known] / HOUR
    fresh = known & (age <= FLOW_MAX_AGE)
    out["flow_fresh"] = fresh.astype(np.float64)
    used, back = np.unique(row[fresh], return_inverse=True)
    z, _ = against_past(np.log1p(flow["inflow"]), flow["event_time"], used, WINDOW, MIN_RECORDS)
    out["flow_inflow_z"][fresh] = z[back]
    out["flow_netflow_pct"][fresh] = ((day["inflow"] - day["outflow"]) / day["supply"])[fresh]
    return out

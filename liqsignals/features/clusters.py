"""Major clusters in the measure of their market: as a share of its open interest, and against its past clusters."""

import numpy as np

from liqsignals.features.column import Column
from liqsignals.features.context import Context
from liqsignals.features.liquidation_map import NO_CLUSTER
from liqsignals.liqmap import kernels
from liqsignals.records import Float64Array

_RANKS = {"above": kernels.R_ABOVE_RANK, "below": kernels.R_BELOW_RANK}

COLUMNS = tuple(
    column
    for where in _RANKS
    for column in (
        Column(f"liq_{where}_oi_share", "share", "0 .. 1", NO_CLUSTER, f"liq_{where}_usd / open interest x close"),
        Column(
            f"liq_{where}_percentile",
            "share",
            "0 .. 1",
            f"{NO_CLUSTER}; fewer than 24 full hours with one since the map started",
            "its rank among the side's nearest clusters at the full hours before, since the map started (by classes of"
            " 2 %)",
        ),
    )
)


def compute(context: Context) -> dict[str, Float64Array]:
    """`liq_*_oi_share` and `liq_*_percentile`; none without a map."""
    found = context.map()
    if found is None:
        return {}
    usable = found.usable(context.at)
    worth = np.where(usable, found.reading.interest * context.closes, np.nan)
    out = {}
    for where, rank in _RANKS.items():
        out[f"liq_{where}_oi_share"] = context.columns[f"liq_{where}_usd"] / worth
        out[f"liq_{where}_percentile"] = np.where(usable, found.reading.rows[:, rank], np.nan)
    return out

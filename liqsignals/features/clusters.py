"""Major clusters in the measure of their market: as a share of its open interest."""

import numpy as np

from liqsignals.features.column import Column
from liqsignals.features.context import Context
from liqsignals.features.liquidation_map import NO_CLUSTER
from liqsignals.records import Float64Array

COLUMNS = tuple(
    Column(f"liq_{where}_oi_share", "share", "0 .. 1", NO_CLUSTER, f"liq_{where}_usd / open interest x close")
    for where in ("above", "below")
)


def compute(context: Context) -> dict[str, Float64Array]:
    """`liq_*_oi_share`; none without a map."""
    found = context.map()
    if found is None:
        return {}
    worth = np.where(found.usable(context.at), found.reading.interest * context.closes, np.nan)
    return {f"liq_{where}_oi_share": context.columns[f"liq_{where}_usd"] / worth for where in ("above", "below")}

"""Kyle's lambda: what a USD of taker buying moved price, for the cascade of a squeeze whose law asks for it.

Over the bars of the last WINDOW whose taker volume is known, the regression through the origin of the bar's log return
r on its signed flow x = (2 x share of takers' buying - 1) x USD traded: lambda = sum(r x) / sum(x^2), log price per
USD. Of taker records only the share is used, so that their units do not matter. Kyle, Econometrica 53 (1985) 1315.
"""

import numpy as np

from liqsignals.clock import DAY, Int64Array
from liqsignals.data.tape import MapTape, asof
from liqsignals.liqmap import kernels
from liqsignals.liqmap.squeeze import TAKER, Squeeze
from liqsignals.records import Float64Array

#: Bars that are looked at end in this time before the instant.
WINDOW = DAY
#: Least share of them that must have taker volume.
LEAST = 0.7


def of(tape: MapTape, squeeze: Squeeze | None, at: Int64Array) -> Float64Array:
    """Lambda (n,) at the ascending instants `at` of a (cut) tape, for a squeeze with the law TAKER; else NaN.

    NaN, too, where less than LEAST of the bars of the last WINDOW have taker volume that was known by then, and where
    it is not above 0. The tape's bars must reach WINDOW back.
    """
    out = np.full(len(at), np.nan)
    taker = tape.kind("taker") if squeeze is not None and squeeze.law == TAKER else None
    if taker is None or len(taker) == 0 or len(tape.bars) == 0:
        return out
    bars = tape.bars
    bar = np.minimum(np.searchsorted(bars["event_time"], taker["event_time"]), len(bars) - 1)
    own = bars[bar]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = taker["buy_base"] / taker["base"]
        move = np.log(own["close"] / own["open"])
    flow = (2.0 * share - 1.0) * own["volume"] * own["close"]
    usable = (own["event_time"] == taker["event_time"]) & (share >= 0.0) & (share <= 1.0)
    usable &= np.isfinite(flow) & np.isfinite(move)
    # Known later than `at - WINDOW`: so is every row of a bar that closed later.
    first = np.searchsorted(taker["known_at"], at - WINDOW, side="right").astype(np.int64)
    kernels.lambdas(
        np.ascontiguousarray(taker["event_time"]), np.where(usable, move, np.nan), flow, first, asof(taker, at) + 1,
        at - WINDOW, int(LEAST * (WINDOW // tape.bar_ns)), out,
    )  # fmt: skip
    return out

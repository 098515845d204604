"""Will price touch the nearest major cluster, and how far do its liquidations carry it: touch and cascade.

**Touch.** With v_j the mean of realised variance of half-life j (Parkinson, over the season of its hour of the week)
and A_h the season of the h hours ahead, sigma_h = sqrt(exp(b_0 + sum b_j ln v_j) x A_h). The probability that price
trades at distance d (log price) within h is 2 (1 - F(d / (s_h sigma_h))), F Student's t with 4 degrees of freedom.
Nothing but the cluster's place comes from the map: on data nobody fitted, neither its mass nor momentum, funding, flows
or events made the probability better (docs/squeeze.md).

**Cascade.** The least fixed point of r = push + impact(position USD from the cluster's near edge to r beyond it), with
push = .8 sigma_1h and impact(q) = sigma_1d sqrt(q / V), V the USD traded a day (kernels/cascade.py). It says what the
map and the law of impact imply, once the cluster is touched, and is the peak, not where price stays.
"""

import numpy as np

from liqsignals.features.column import Column
from liqsignals.features.context import Context
from liqsignals.liqmap import kernels
from liqsignals.liqmap.fold import push_of
from liqsignals.liqmap.impact import WINDOW
from liqsignals.liqmap.squeeze import HORIZONS, touch_probability
from liqsignals.records import Float64Array

#: The bars of Kyle's lambda (liqmap/impact.py).
HISTORY = WINDOW

_NO_FORECAST = "no or stale open interest or candles; before the end of the parameters' fit"
_NO_CLUSTER = f"no such cluster; {_NO_FORECAST}"

#: Name, the map's word for the cluster, where its rows are, and the sign of the move.
_SIDES = (
    ("squeeze", "above", kernels.R_ABOVE, kernels.R_SQUEEZE, 1.0),
    ("flush", "below", kernels.R_BELOW, kernels.R_FLUSH, -1.0),
)


def _columns(name: str, where: str, forced: str) -> list[Column]:
    return [
        *(
            Column(
                f"{name}_prob_{horizon}",
                "probability",
                "0 .. 1",
                _NO_CLUSTER,
                f"that price trades at liq_{where}_price within {horizon}, from volatility alone (docs/squeeze.md)",
            )
            for horizon in HORIZONS
        ),
        Column(
            f"{name}_usd",
            "position USD",
            ">= 0",
            _NO_CLUSTER,
            f"forced {forced} once the cluster is touched: levels up to {name}_end_price",
        ),
        Column(
            f"{name}_gain",
            "ratio",
            ">= 1",
            _NO_CLUSTER,
            "move beyond the cluster with forced orders over that without, as the map and the square-root law imply it",
        ),
        Column(f"{name}_end_price", "quote", "> 0", _NO_CLUSTER, "where that move peaks"),
    ]


#: Every column of the family, in order.
COLUMNS = (
    Column(
        "squeeze_sigma_1d",
        "log price",
        "> 0",
        _NO_FORECAST,
        "volatility forecast for the next 24 h, one standard deviation",
    ),
    *_columns("squeeze", "above", "buying"),
    *_columns("flush", "below", "selling"),
)


def compute(context: Context) -> dict[str, Float64Array]:
    """`squeeze_*` and `flush_*`; none without candles, open interest, or parameters of the squeeze."""
    found = context.map()
    if found is None or found.parameters.squeeze is None:
        return {}
    squeeze, reading, closes = found.parameters.squeeze, found.reading, context.closes
    usable = found.usable(context.at) & (context.at >= squeeze.known_at)
    sigma = np.where(usable[:, None], reading.sigma, np.nan)
    push = push_of(squeeze, sigma)
    out = {"squeeze_sigma_1d": sigma[:, list(HORIZONS).index("1d")].copy()}
    for name, _, cluster, cascade, sign in _SIDES:
        price = np.where(usable, reading.rows[:, cluster + kernels.PRICE], np.nan)
        distance = np.abs(np.log(price / np.where(usable, closes, np.nan)))
        for i, horizon in enumerate(HORIZONS):
            out[f"{name}_prob_{horizon}"] = touch_probability(distance, sigma[:, i], squeeze.horizons[i])
        displaced = np.where(usable, reading.rows[:, cascade + kernels.DISPLACED], np.nan)
        out[f"{name}_usd"] = np.where(usable, reading.rows[:, cascade + kernels.FORCED], np.nan)
        out[f"{name}_gain"] = displaced / push
        out[f"{name}_end_price"] = price * np.exp(sign * displaced)
    return out

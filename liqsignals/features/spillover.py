"""What BTC does to other coins: their beta when it moves, and where its own map stands.

For BTC itself all of it is NaN: its columns are the map's.
"""

import numpy as np

from liqsignals.clock import DAY, HOUR, Int64Array
from liqsignals.data.tape import Tape
from liqsignals.features.column import Column
from liqsignals.features.context import Context
from liqsignals.features.liquidation_map import STALE_MAP, per_candle
from liqsignals.liqmap import kernels
from liqsignals.liqmap.squeeze import HORIZONS, touch_probability
from liqsignals.records import Float64Array

BTC = "BTC/USDT:USDT"
PAIRS = (BTC,)
#: Hours that beta is measured on, and the least number of them.
WINDOW = 30 * 24
LEAST = 24
HISTORY = 30 * DAY + 2 * HOUR
#: Age beyond which the last full hour says nothing: a candle is missing.
_MAX_AGE = 2 * HOUR
#: Hours of the grid handled at once: 12 MB.
_CHUNK = 2048

_STALE = f"the pair is BTC; of BTC: {STALE_MAP}"
_SIDES = (("squeeze", "above", kernels.R_ABOVE), ("flush", "below", kernels.R_BELOW))
_PROBABILITIES = ("4h", "1d")

COLUMNS = (
    Column(
        "btc_beta",
        "ratio",
        "real",
        "the pair is BTC; no or stale candles of it or of BTC; fewer than 24 full hours of both",
        "move of the pair per move of BTC in those of the last 30 days' hours in which BTC moved by more than its "
        "root mean square",
    ),
    *(
        Column(
            f"btc_{name}_prob_{horizon}",
            "probability",
            "0 .. 1",
            f"{_STALE}; no such cluster of BTC; before the end of the parameters' fit",
            f"{name}_prob_{horizon} of BTC",
        )
        for name, _, _ in _SIDES
        for horizon in _PROBABILITIES
    ),
    *(
        Column(
            f"btc_swept_{side}_share",
            "share",
            "0 .. 1",
            _STALE,
            f"{side} levels of BTC that this candle's path swept, of its open interest: a nowcast given the path",
        )
        for side in ("long", "short")
    ),
)


def compute(context: Context) -> dict[str, Float64Array]:
    """`btc_*` columns; none for BTC itself."""
    if context.pair == BTC:
        return {}
    out = {"btc_beta": _beta(context.market(), context.market(BTC), context.at)}
    found = context.map(BTC)
    if found is None:
        return out
    at, reading = context.at, found.reading
    usable = found.usable(at)
    worth = np.where(usable, reading.interest * reading.closes, np.nan)
    swept = per_candle(found.fold.flows[:, :, kernels.SWEPT_USD], found.fold.plan.closes_at, at, context.timeframe_ns)
    for side, name in enumerate(("long", "short")):
        out[f"btc_swept_{name}_share"] = swept[:, side] / worth
    squeeze = found.parameters.squeeze
    if squeeze is None:
        return out
    usable &= at >= squeeze.known_at
    for name, _, cluster in _SIDES:
        price = np.where(usable, reading.rows[:, cluster + kernels.PRICE], np.nan)
        distance = np.abs(np.log(price / np.where(usable, reading.closes, np.nan)))
        for horizon in _PROBABILITIES:
            i = list(HORIZONS).index(horizon)
            out[f"btc_{name}_prob_{horizon}"] = touch_probability(distance, reading.sigma[:, i], squeeze.horizons[i])
    return out


def _beta(own: Tape, btc: Tape, at: Int64Array) -> Float64Array:
    """Slope through the origin of the pair's hourly log returns on BTC's, (n,)."""
    hours = np.arange(at[0] // HOUR - WINDOW, at[-1] // HOUR + 1) * HOUR
    x, y = _returns(btc, hours), _returns(own, hours)
    there = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(there, x, 0.0), np.where(there, y, 0.0)
    # Row i of the windows ends with the hour hours[i + WINDOW].
    windows = [np.lib.stride_tricks.sliding_window_view(kind, WINDOW) for kind in (x, y, there.astype(np.float64))]
    beta = np.full(len(hours) - WINDOW, np.nan)
    for first in range(0, len(beta), _CHUNK):
        rows = slice(first, min(first + _CHUNK, len(beta)))
        xs, ys, known = (np.ascontiguousarray(kind[rows.start + 1 : rows.stop + 1]) for kind in windows)
        count, square = known.sum(axis=1), (xs * xs).sum(axis=1)
        moved = np.where(xs * xs * count[:, None] > square[:, None], xs, 0.0)
        # Where BTC did not move at all there is no slope.
        enough = (count >= LEAST) & (square > 0.0)
        beta[rows] = np.where(
            enough, (moved * ys).sum(axis=1) / np.where(enough, (moved * moved).sum(axis=1), 1.0), np.nan
        )
    fresh = np.isfinite(np.where(there, x, np.nan))
    # The last full hour of both must be there, or the one before it while its bar is late.
    last = np.maximum.accumulate(np.where(fresh, hours, 0))
    row = at // HOUR - at[0] // HOUR
    return np.where(at - last[row + WINDOW] <= _MAX_AGE, beta[row], np.nan)


def _returns(tape: Tape, hours: Int64Array) -> Float64Array:
    """Log return of the hour that ends at each of `hours`, NaN where a close is missing."""
    if tape.bars is None or len(tape.bars) == 0:
        return np.full(len(hours), np.nan)
    ends = np.ascontiguousarray(tape.bars["event_time"])
    row = np.minimum(np.searchsorted(ends, hours), len(ends) - 1)
    close = np.where(ends[row] == hours, np.log(tape.bars["close"][row]), np.nan)
    return np.append(np.nan, np.diff(close))

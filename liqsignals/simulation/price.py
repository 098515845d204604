"""The traded price: factors shared by all pairs, and the impact of orders."""

import math
from typing import Any

import numpy as np

from liqsignals.simulation.compiled import kernel
from liqsignals.simulation.draws import normal, uniform
from liqsignals.simulation.parameters import F8
from liqsignals.simulation.state import (
    DAY,
    DEP,
    HIGH,
    HOUR,
    I8,
    LOW,
    PERM,
    PRICE,
    TL,
    TN,
    U8,
    WDRIFT,
    WRANGE,
    WSEASON,
    WVOL,
    WZ,
)


@kernel
def weather(w: F8, f: F8, i: I8, s: U8, q: F8, first: int) -> None:
    """A day of the factors that all pairs share. ``q``: decay and shock of three factors, regime, trend, news."""
    for t in range(w.shape[0]):
        for j in range(3):
            f[j] = q[2 * j] * f[j] + q[2 * j + 1] * normal(s)
        if uniform(s) < q[6]:
            i[0] = int(uniform(s) * 3.0) - 1  # down, range, up
        if uniform(s) < q[8]:
            size = q[9] - q[10] * math.log(uniform(s))
            f[3] += size if uniform(s) < 0.5 else -size
            f[2] += 0.8
        news = q[11] * f[3]
        f[3] -= news
        w[t, WZ] = normal(s)
        w[t, WVOL] = f[0] + f[1] + f[2]
        w[t, WDRIFT] = i[0] * q[7] + news
        w[t, WRANGE] = 1.0 if i[0] == 0 else 0.0
        hour = (first + t) % DAY / HOUR
        season = 1.0 + 0.42 * math.cos(math.pi * (hour - 15.0) / 12.0) + 0.14 * math.cos(math.pi * (hour - 14.5) / 6.0)
        w[t, WSEASON] = season * q[12]


@kernel
def quote(f: F8, k: Any) -> None:
    """Set the traded price from the log price."""
    p = max(1.0, np.rint(math.exp(f[PERM] + f[TN] + f[TL]) * k.ticks)) / k.ticks
    f[PRICE] = p
    f[HIGH] = max(f[HIGH], p)
    f[LOW] = min(f[LOW], p)


@kernel
def impact(f: F8, k: Any, lots: float, c: float, transient: float, liquidation: bool) -> float:
    """Move the price by a market order of signed size, in a permanent and a transient part; returns the move."""
    away = (f[TN] + f[TL]) / k.saturation
    x = c * abs(lots) / k.volume_day / f[DEP] / (1.0 + away * away)
    x = min(x, k.order_cap)
    if lots < 0:
        x = -x
    f[PERM] += (1.0 - transient) * x
    if liquidation:
        f[TL] += transient * x
    else:
        f[TN] += transient * x
    return x  # type: ignore[no-any-return]


@kernel
def root_impact(f: F8, k: Any, lots: float) -> float:
    """Move the price by a liquidation of signed size under the square-root law; returns the move.

    Forced orders in one direction count as one order: what they have moved is c x root of their sum, as far as it has
    not reverted yet.
    """
    way = -1.0 if lots < 0 else 1.0
    moved = max(way * f[TL] / k.t_liq, 0.0)
    x = math.sqrt(moved * moved + k.c_root * k.c_root * abs(lots) / k.volume_day / f[DEP]) - moved
    x = way * min(x, k.order_cap)
    f[PERM] += (1.0 - k.t_liq) * x
    f[TL] += k.t_liq * x
    return x  # type: ignore[no-any-return]

"""What forced orders add to a move: the same market from one instant on, with and without their impact.

A market is run again with the same seed up to the step that touches a level. From there it is run on for a while,
several times with fresh noise, each time twice: as it is, and with liquidations that close their positions but move no
price.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from liqsignals.simulation.draws import generator, normals
from liqsignals.simulation.pair import Run
from liqsignals.simulation.parameters import F8, Parameters
from liqsignals.simulation.price import weather
from liqsignals.simulation.scale import weather_parameters
from liqsignals.simulation.state import (
    BAR,
    BURN_IN_DAYS,
    DAY,
    HIGH,
    LOW,
    NEV,
    PERM,
    PRICE,
    STEP,
    WZ,
    Pair,
)
from liqsignals.simulation.step import run


@dataclass(frozen=True)
class Touch:
    """A level that a bar reaches: number of the bar after the burn-in, price, 1 for a move up and -1 for one down."""

    bar: int
    price: float
    way: int


def copied(m: Pair) -> Pair:
    """The same state, which shares nothing that a kernel changes."""

    def of(x: Any) -> Any:
        return type(x)(*(of(y) for y in x)) if isinstance(x, tuple) else x.copy()

    found: Pair = of(m)
    return found


def unmoved(m: Pair) -> Pair:
    """A copy in which liquidations move no price."""
    out = copied(m)
    out.k["c_liq"] = 0.0
    out.k["c_root"] = 0.0
    return out


def beyond(m: Pair, w: F8, t: int, touch: Touch, steps: int) -> tuple[float, float]:
    """Run on from step `t` of a day, price at the level; changes `m`. Returns the excursion beyond the level (log
    price) and the liquidated USD.
    """
    f, n = m.f, m.n
    f[PERM] += math.log(touch.price / f[PRICE])
    f[[PRICE, HIGH, LOW]] = touch.price
    n[NEV] = 0
    first = int(n[STEP])
    run(m, t, t + steps, w, np.zeros(len(w)), 0.0)
    # Whole bars since, and the one that goes on; what the bar of the touch did before it is on this side of the level.
    bars = m.out.bars[first // BAR : (first + steps) // BAR]
    up = touch.way > 0
    peak = max(f[HIGH], bars[:, 1].max(initial=0.0)) if up else min(f[LOW], bars[:, 2].min(initial=np.inf))
    events = m.out.events[: min(int(n[NEV]), len(m.out.events))]
    forced = events[events[:, 1] == -touch.way]
    usd = float((forced[:, 3] * forced[:, 4]).sum() / m.k["lots"])
    return max(touch.way * math.log(peak / touch.price), 0.0), usd


def excursions(
    seed: int,
    days: int,
    pair: str,
    start: pd.Timestamp,
    touches: Sequence[Touch],
    *,
    parameters: Parameters | None = None,
    steps: int = 360,
    replicas: int = 8,
) -> F8:
    """Mean excursion beyond each touched level with and without the impact of liquidations, and liquidated USD with it:
    (n, 3), NaN where the hour goes beyond the day or the level is not reached.

    `seed`, `days`, `start` and `parameters` are those of `simulate` for this pair alone. Both runs of a replica have
    the same noise.
    """
    p = parameters or Parameters()
    one = Run(pair, seed, days + BURN_IN_DAYS, p)
    shared_rng, factors, regime = generator(seed, 0), np.zeros(4), np.zeros(1, np.int64)
    w, no_spill = np.zeros((DAY, 5)), np.zeros(DAY)
    out = np.full((len(touches), 3), np.nan)
    order = sorted(range(len(touches)), key=lambda i: touches[i].bar)
    for day in range(days + BURN_IN_DAYS):
        weekend = (start + pd.Timedelta(days=day - BURN_IN_DAYS)).weekday() >= 5
        weather(w, factors, regime, shared_rng, weather_parameters(p, weekend), day * DAY)
        done = 0
        while order and touches[order[0]].bar * BAR < (day + 1 - BURN_IN_DAYS) * DAY:
            i = order.pop(0)
            t = (touches[i].bar * BAR) % DAY
            one.steps(done, t, w, no_spill, day)
            done = t
            if t + BAR + steps <= DAY:
                out[i] = _replicas(one, w, t, touches[i], steps, replicas, seed)
        one.steps(done, DAY, w, no_spill, day)
    return out


def _replicas(one: Run, w: F8, t: int, touch: Touch, steps: int, replicas: int, seed: int) -> F8:
    probe, at = copied(one.state), t
    # The last step before the level: from there on the noise is new.
    state = copied(probe)
    while at < t + BAR:
        state = copied(probe) if at % 6 == 0 else state
        run(probe, at, at + 1, w, np.zeros(len(w)), 0.0)
        if touch.way * math.log(probe.f[PRICE] / touch.price) >= 0.0:
            break
        at += 1
    else:
        return np.full(3, np.nan)
    begin = at // 6 * 6
    run(state, begin, at, w, np.zeros(len(w)), 0.0)
    found = np.empty((replicas, 3))
    for r in range(replicas):
        noise, rng = w.copy(), generator(seed, int(state.n[STEP]), r)
        z = np.empty(steps)
        normals(generator(seed, int(state.n[STEP]), r, 1), z)
        noise[at : at + steps, WZ] = z
        forced, free = copied(state), unmoved(state)
        for m in (forced, free):
            m.rng[:] = rng
        found[r, 0], found[r, 2] = beyond(forced, noise, at, touch, steps)
        found[r, 1], _ = beyond(free, noise, at, touch, steps)
    return np.asarray(found.mean(axis=0))

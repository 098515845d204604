"""Fills at a price: triggers, liquidations, and the makers and hedgers on the other side."""

import math

import numpy as np

from liqsignals.simulation.compiled import kernel
from liqsignals.simulation.draws import normal, uniform
from liqsignals.simulation.heaps import enlist, pop
from liqsignals.simulation.price import impact, quote, root_impact
from liqsignals.simulation.state import BUY, HLONG, HSHORT, IMP, NEV, PRICE, SELL, SLOTS, STEP, TARGET, Pair
from liqsignals.simulation.traders import close_or_halve, liquidation_price, reduce


@kernel
def act(m: Pair, i: int, adverse: bool, cause: float) -> None:
    """Execute the trigger of position i that the price has reached."""
    b, f, n, k, out = m.book, m.f, m.n, m.k, m.out
    price = f[PRICE]
    side = b.side[i]
    lots = b.qty[i]
    if not adverse:
        left = close_or_halve(m, i)
        impact(f, k, -side * float(lots - b.qty[i]), k.c_normal, k.t_normal, False)
        quote(f, k)
        if left:
            # the same log distance from the price as the price has from the entry, and 0.4 %
            b.target[i] = f[PRICE] * math.exp(side * (0.004 + abs(math.log(price / b.entry[i]))))
            enlist(m, i)
    elif (side > 0 and b.liq[i] >= price) or (side < 0 and b.liq[i] <= price):
        e = n[NEV]
        if e < out.events.shape[0]:
            out.events[e, 0] = n[STEP]
            out.events[e, 1] = side
            out.events[e, 2] = b.liq[i]
            out.events[e, 3] = price
            out.events[e, 4] = lots
            out.events[e, 5] = cause
        n[NEV] = e + 1
        reduce(m, i, lots)
        if k.c_root > 0.0:
            f[IMP] += root_impact(f, k, -side * float(lots))
        else:
            f[IMP] += impact(f, k, -side * float(lots), k.c_liq, k.t_liq, True)
        quote(f, k)
    elif b.kind[i] == 1:
        reduce(m, i, lots)
        impact(f, k, -side * float(lots), k.c_stop, k.t_normal, False)
        quote(f, k)
    else:
        b.margin[i] *= 1.3 + 0.7 * uniform(m.rng)
        liq = liquidation_price(side, b.entry[i], lots / k.lots, b.margin[i], m.brackets)
        b.liq[i] = liq
        b.adds[i] += 1
        if b.adds[i] < 2 and liq > 0.0:
            b.guard[i] = price + 0.8 * (liq - price)
        else:
            b.kind[i] = 0
            b.guard[i] = 0.0 if side > 0 else np.inf
        enlist(m, i)


@kernel
def triggers(m: Pair, cause: float) -> None:
    """Execute every trigger at or beyond the price, until none is left.

    It terminates: each turn closes (half of) a position or moves its trigger away, each a bounded number of times.
    """
    b, f, down, up = m.book, m.f, m.down, m.up
    while True:
        if down.n[0] > 0 and -down.key[0] >= f[PRICE]:
            ref = pop(down)
            i = ref % SLOTS
            if b.version[i] == ref // SLOTS:
                act(m, i, b.side[i] > 0, cause)
        elif up.n[0] > 0 and up.key[0] <= f[PRICE]:
            ref = pop(up)
            i = ref % SLOTS
            if b.version[i] == ref // SLOTS:
                act(m, i, b.side[i] < 0, cause)
        else:
            break


@kernel
def others(m: Pair, churn: float) -> float:
    """Makers and hedgers take the other side of the traders' net flow; hedgers also trade with each other.

    Returns the lots that hedgers traded with each other.
    """
    f, n, k = m.f, m.n, m.k
    net = n[BUY] - n[SELL]
    if net > 0:
        closed = min(int(k.maker_closes * net), n[HLONG])
        n[HLONG] -= closed
        n[HSHORT] += net - closed
    elif net < 0:
        closed = min(int(k.maker_closes * -net), n[HSHORT])
        n[HSHORT] -= closed
        n[HLONG] += -net - closed
    goal = k.hedged_share * k.oi_start * math.exp(f[TARGET])
    mean = 0.5 * (n[HLONG] + n[HSHORT])
    gross = int(k.hedger_pull * (goal - mean) + k.hedger_noise * churn * normal(m.rng))
    gross = max(gross, -min(n[HLONG], n[HSHORT]))
    n[HLONG] += gross
    n[HSHORT] += gross
    return float(abs(gross))

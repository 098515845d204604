"""Positions: open, reduce, close, and the liquidation price."""

import math

import numpy as np

from liqsignals.simulation.compiled import kernel
from liqsignals.simulation.draws import normal, uniform
from liqsignals.simulation.heaps import enlist
from liqsignals.simulation.parameters import F8
from liqsignals.simulation.state import (
    BUY,
    CLOCK,
    COUNT,
    FREE,
    LONG,
    LOST,
    MFAST,
    MSLOW,
    PRICE,
    SELL,
    SENT,
    SHORT,
    Pair,
)


@kernel
def bracket(notional: float, brackets: F8) -> int:
    k = 0
    while notional > brackets[k, 0]:
        k += 1
    return k


@kernel
def liquidation_price(side: int, entry: float, base: float, margin: float, brackets: F8) -> float:
    """Where equity equals maintenance margin (bracket by notional at entry); 0: a long without such a price."""
    k = bracket(entry * base, brackets)
    rate = brackets[k, 1]
    amount = brackets[k, 3]
    if side > 0:
        return max(0.0, (base * entry - margin - amount) / (base * (1.0 - rate)))  # type: ignore[no-any-return]
    return (base * entry + margin + amount) / (base * (1.0 + rate))  # type: ignore[no-any-return]


@kernel
def reduce(m: Pair, i: int, lots: int) -> None:
    """Close ``lots`` of position i at market: a long sells, a short buys."""
    b, n = m.book, m.n
    if b.side[i] > 0:
        n[LONG] -= lots
        n[SELL] += lots
    else:
        n[SHORT] -= lots
        n[BUY] += lots
    if lots == b.qty[i]:
        b.qty[i] = 0
        b.version[i] = -1
        b.free[n[FREE]] = i
        n[FREE] += 1
        n[COUNT] -= 1
    else:
        b.margin[i] *= (b.qty[i] - lots) / b.qty[i]
        b.qty[i] -= lots


@kernel
def close_or_halve(m: Pair, i: int) -> bool:
    """Close position i, or half of it; True if half is left."""
    b, k = m.book, m.k
    lots = b.qty[i]
    half = lots // 2 if uniform(m.rng) < k.half_close else 0
    if half == 0:
        reduce(m, i, lots)
        return False
    reduce(m, i, half)
    liq = liquidation_price(b.side[i], b.entry[i], b.qty[i] / k.lots, b.margin[i], m.brackets)
    # A lower bracket moves the level, for a far one even nearer: that alone must not move it past the price.
    b.liq[i] = min(b.liq[i], liq) if b.side[i] > 0 else max(b.liq[i], liq)
    return True


@kernel
def open_position(m: Pair, crowd: float) -> None:
    """One trader opens at the traded price."""
    b, f, n, s, k, brackets, tiers = m.book, m.f, m.n, m.rng, m.k, m.brackets, m.tiers
    if n[FREE] == 0:
        n[LOST] += 1
        return
    price = f[PRICE]
    u = uniform(s)
    j = 0
    while j < tiers.shape[0] - 1 and u > tiers[j, 1]:
        j += 1
    lev = tiers[j, 0]
    if uniform(s) < k.smeared:
        lev = min(125.0, max(1.0, lev * math.exp(k.smear_sd * normal(s))))
    size = k.size * lev**-k.size_vs_leverage * math.exp(k.size_sd * normal(s))
    lots = int(min(size, k.size_cap / price) * k.lots)
    if lots < 1:
        lots = 1
    base = lots / k.lots
    notional = base * price
    lev = min(lev, brackets[bracket(notional, brackets), 2])
    momentum = 0.5 * f[MFAST] / k.mom_fast_sd + 0.5 * f[MSLOW] / k.mom_slow_sd
    momentum = min(3.0, max(-3.0, momentum))
    if uniform(s) > (k.chase_high if lev >= 20.0 else k.chase_low):
        momentum = -momentum
    logit = k.chase_gain * momentum + k.sentiment_mean + f[SENT] - k.crowd_gain * crowd
    side = 1 if uniform(s) < 1.0 / (1.0 + math.exp(-logit)) else -1
    margin = notional / lev
    if uniform(s) < k.cross_share:
        margin *= 1.0 + k.cross_median * math.exp(k.cross_sd * normal(s))
    liq = liquidation_price(side, price, base, margin, brackets)

    n[FREE] -= 1
    i = b.free[n[FREE]]
    n[COUNT] += 1
    b.side[i] = side
    b.qty[i] = lots
    b.entry[i] = price
    b.margin[i] = margin
    b.leverage[i] = notional / margin
    b.liq[i] = liq
    b.adds[i] = 0
    distance = abs(liq - price) / price
    b.kind[i] = 0
    b.guard[i] = 0.0 if side > 0 else np.inf
    u = uniform(s)
    stop = k.stop_high if lev >= 20.0 else k.stop_low
    if u < stop:
        b.kind[i] = 1
        far = min((0.25 + 0.65 * uniform(s)) * distance, 0.06 * math.exp(0.6 * normal(s)))
        b.guard[i] = price * (1.0 - side * far)
    elif u < stop + k.defend and liq > 0.0:
        b.kind[i] = 2
        b.guard[i] = price + (0.65 + 0.25 * uniform(s)) * (liq - price)
    b.target[i] = np.inf if side > 0 else 0.0
    if uniform(s) < k.target:
        near = min(0.25, max(0.002, distance * math.exp(-0.3 + 0.6 * normal(s))))
        b.target[i] = price * (1.0 + side * near)
    hold = k.hold * lev**-k.hold_vs_leverage * math.exp(k.hold_sd * normal(s))
    b.expiry[i] = f[CLOCK] + 3.0 + hold
    if side > 0:
        n[LONG] += lots
        n[BUY] += lots
    else:
        n[SHORT] += lots
        n[SELL] += lots
    enlist(m, i)

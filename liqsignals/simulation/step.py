"""One pair's steps, ten seconds each."""

import math

import numpy as np

from liqsignals.simulation.compiled import kernel
from liqsignals.simulation.draws import normal, uniform
from liqsignals.simulation.fills import others, triggers
from liqsignals.simulation.heaps import enlist, pop, rebuild
from liqsignals.simulation.parameters import F8
from liqsignals.simulation.price import impact, quote
from liqsignals.simulation.state import (
    BAR,
    BURST,
    BUY,
    CLOCK,
    DEP,
    DEPTH,
    EMA,
    EXC,
    HEAP_SIZE,
    HIGH,
    HLONG,
    HOUR,
    IMP,
    LONG,
    LOW,
    MARK,
    MFAST,
    MH,
    MINUTE,
    ML,
    MO,
    MSLOW,
    NET,
    OPEN,
    OWN,
    PERM,
    PREM,
    PRICE,
    PSUM,
    SELL,
    SENT,
    SHORT,
    SLOTS,
    STEP,
    TARGET,
    TL,
    TN,
    VOL,
    WDRIFT,
    WRANGE,
    WSEASON,
    WVOL,
    WZ,
    Pair,
)
from liqsignals.simulation.traders import close_or_halve, liquidation_price, open_position


@kernel
def _slow_factors(m: Pair, step: int) -> None:
    """Update the pair's own random factors: a burst of activity each step, the others once a minute."""
    f, s, k = m.f, m.rng, m.k
    f[BURST] = k.burst_decay * f[BURST] + k.burst_shock * normal(s)
    if step % MINUTE == 0:
        f[OWN] = k.own_decay * f[OWN] + k.own_shock * normal(s)
        f[DEPTH] = k.depth_decay * f[DEPTH] + k.depth_shock * normal(s)
        f[TARGET] = k.target_decay * f[TARGET] + k.target_shock * normal(s)
        f[SENT] = k.sentiment_decay * f[SENT] + k.sentiment_shock * normal(s)
        f[PREM] = k.premium_decay * f[PREM] + k.premium_shock * normal(s)


@kernel
def _move(m: Pair, w: F8, sigma: float, spill: float, pressure: float) -> float:
    """Move the price by this step's factors ``w`` and the impact of the last step's net flow.

    Returns the log price before.
    """
    f, s, k = m.f, m.rng, m.k
    z = normal(s)
    if uniform(s) < k.fat_share:
        z *= k.fat_scale
    before = f[PERM] + f[TN] + f[TL]
    f[TN] *= k.d_normal
    f[TL] *= k.d_liq
    move = sigma * (k.rho * w[WZ] + math.sqrt(1.0 - k.rho * k.rho) * z)
    move += k.beta * w[WDRIFT] + pressure + k.spill * spill - k.anchor_pull * (f[PERM] - k.log_start)
    if w[WRANGE] > 0.0:
        move -= k.range_pull * (before - f[EMA])
    f[PERM] += move
    if f[NET] != 0.0:
        impact(f, k, f[NET], k.c_normal, k.t_normal, False)
    return before  # type: ignore[no-any-return]


@kernel
def _close_due(m: Pair) -> None:
    """Close, or halve, the positions whose holding time has ended."""
    b, f, k, due = m.book, m.f, m.k, m.due
    while due.n[0] > 0 and due.key[0] <= f[CLOCK]:
        ref = pop(due)
        i = ref % SLOTS
        if b.version[i] == ref // SLOTS and close_or_halve(m, i):
            hold = k.hold * b.leverage[i] ** -k.hold_vs_leverage * math.exp(k.hold_sd * normal(m.rng))
            b.expiry[i] = f[CLOCK] + 3.0 + hold
            enlist(m, i)


@kernel
def _arrive(m: Pair, activity: float, crowd: float, oi: int) -> None:
    """A Poisson number of traders opens."""
    f, s, k = m.f, m.rng, m.k
    gate = min(2.5, max(0.2, (k.oi_start * math.exp(f[TARGET]) / oi) ** 3))
    arrivals = k.opens_step * activity * gate
    x = -math.log(uniform(s))
    while x < arrivals:
        open_position(m, crowd)
        x -= math.log(uniform(s))


@kernel
def _update_signals(m: Pair, before: float, calm: float, crowd: float) -> None:
    """Update the traders' inputs: excitement, momentum, the recent mean and the premium."""
    f, k = m.f, m.k
    ret = f[PERM] + f[TN] + f[TL] - before
    f[EXC] = min(k.excite_cap, k.excite_decay * f[EXC] + k.excite_gain * min(abs(ret) / calm, 30.0))
    f[MFAST] = k.mom_fast_decay * f[MFAST] + ret
    f[MSLOW] = k.mom_slow_decay * f[MSLOW] + ret
    f[EMA] += (1.0 - k.range_decay) * (before + ret - f[EMA])
    momentum = min(4.0, max(-4.0, f[MSLOW] / k.mom_slow_sd))
    f[PSUM] += k.premium_base + k.premium_crowd * crowd + k.premium_momentum * momentum + f[PREM]


@kernel
def _settle(m: Pair, step: int) -> None:
    """Pay funding out of margin, move every liquidation price, and execute the triggers that are reached."""
    b, f, n, k, out = m.book, m.f, m.n, m.k, m.out
    premium = f[PSUM] / (8 * HOUR)
    f[PSUM] = 0.0
    rate = premium + min(k.clamp, max(-k.clamp, k.interest - premium))
    rate = np.rint(min(k.cap, max(-k.cap, rate)) * 1e8) / 1e8
    out.funding[step // (8 * HOUR) - 1, 0] = rate
    out.funding[step // (8 * HOUR) - 1, 1] = premium
    for i in range(SLOTS):
        if b.qty[i] > 0:
            base = b.qty[i] / k.lots
            b.margin[i] -= b.side[i] * rate * base * f[PRICE]
            b.liq[i] = liquidation_price(b.side[i], b.entry[i], base, b.margin[i], m.brackets)
    rebuild(m)
    n[BUY] = 0
    n[SELL] = 0
    triggers(m, 1.0)
    f[VOL] += max(n[BUY], n[SELL]) + others(m, 0.0)


@kernel
def _write_out(m: Pair, step: int) -> None:
    """Move the mark and write the bars that end with this step."""
    f, n, k, out = m.f, m.n, m.k, m.out
    f[MARK] = k.mark_decay * f[MARK] + (1.0 - k.mark_decay) * f[PRICE]
    if (step - 1) % HOUR == 0:
        f[MO] = f[MARK]
        f[MH] = f[MARK]
        f[ML] = f[MARK]
    f[MH] = max(f[MH], f[MARK])
    f[ML] = min(f[ML], f[MARK])
    if step % HOUR == 0:
        j = step // HOUR - 1
        out.mark[j, 0] = f[MO]
        out.mark[j, 1] = f[MH]
        out.mark[j, 2] = f[ML]
        out.mark[j, 3] = f[MARK]
    if step % BAR == 0:
        j = step // BAR - 1
        out.bars[j, 0] = f[OPEN]
        out.bars[j, 1] = f[HIGH]
        out.bars[j, 2] = f[LOW]
        out.bars[j, 3] = f[PRICE]
        out.bars[j, 4] = f[VOL]
        out.oi[j] = n[LONG] + n[HLONG]


@kernel
def run(m: Pair, t0: int, t1: int, w: F8, spill: F8, pressure: float) -> None:
    """Steps t0..t1 of a day with factors ``w``, the leader's ``spill`` and the day's ``pressure``."""
    f, n, k = m.f, m.n, m.k
    for t in range(t0, t1):
        step = n[STEP]
        n[BUY] = 0
        n[SELL] = 0
        f[IMP] = 0.0
        if max(m.down.n[0], m.up.n[0], m.due.n[0]) > HEAP_SIZE // 2:
            rebuild(m)
        _slow_factors(m, step)
        season = w[t, WSEASON]
        log_vol = w[t, WVOL] + f[OWN] + k.vol_vs_burst * f[BURST]
        relative = math.exp(log_vol) * (1.0 + f[EXC])
        calm = k.sigma * math.exp(log_vol) * season**0.45
        f[DEP] = math.exp(f[DEPTH]) * max(0.3, min(3.0, relative**-k.depth_vs_vol))
        activity = season * relative**k.activity_vs_vol * math.exp(f[BURST]) * k.activity_norm
        f[CLOCK] += activity
        before = _move(m, w[t], calm * (1.0 + f[EXC]), spill[t], pressure)
        if step % BAR == 0:  # a bar opens at the last traded price
            f[OPEN] = f[PRICE]
            f[HIGH] = f[PRICE]
            f[LOW] = f[PRICE]
            f[VOL] = 0.0
        quote(f, k)
        triggers(m, 0.0)
        forced = n[BUY] - n[SELL]  # its impact is already in the price
        _close_due(m)
        oi = n[LONG] + n[HLONG]
        crowd = (n[LONG] - n[SHORT]) / oi
        _arrive(m, activity, crowd, oi)
        churn = k.churn_step * activity
        f[NET] = float(n[BUY] - n[SELL] - forced)
        gross = others(m, churn)
        f[VOL] += np.rint(churn + gross) + max(n[BUY], n[SELL])
        _update_signals(m, before, calm, crowd)
        m.out.spill[t] = f[IMP]
        step += 1
        if step % (8 * HOUR) == 0:
            _settle(m, step)
        _write_out(m, step)
        n[STEP] = step

"""A SIMULATED market of leveraged perpetual futures whose true positions are known.

It feeds the demo and the tests with data in freqtrade's own format, offline, and holds the truth against
which a liquidation map that sees candles, open interest and funding only can be scored. It is a model of the
market, not of any estimator: positions are single contracts with their own entry, size, margin and plan, no
grid and no classes of leverage. Its parameters answer to the statistics of real markets, never to an
estimator's score; once committed it is frozen.

Time runs in steps of ``STEP_SECONDS``; prices are whole ticks, quantities whole lots (integers, so that "long
= short = open interest" holds exactly). Each step, per pair:

1. *Weather*. Log price moves by ``s z + d``. ``z`` is partly common to all pairs, with fat tails. ``s`` =
   base volatility x exp(sum of Ornstein-Uhlenbeck factors of three half-lives, one own) x time of day x (1 +
   e), where the excitement ``e`` grows with every |return| and fades (volatility begets volatility). ``d``:
   trends and ranges (a Markov chain), news (jumps spread over minutes, with a burst of volatility), a weak
   pull to the anchor price, and selling pressure of the day after a shock of exchange inflow.
2. *Impact*. A net market order of ``q`` moves log price by ``c (q / daily volume) / depth``: ``c`` is
   ``impact_liquidation`` for liquidations, ``impact_stop`` for stops, ``impact_normal`` otherwise; a share of
   it is transient and reverts. Depth wanders, and falls when volatility rises; impact saturates as the
   transient displacement grows (value traders step in). Per unit of volume liquidations move price some 5
   times as much as normal flow and revert far more (docs/evidence.md 6). So price runs through one cluster and
   bounces from another.
3. *Triggers*. Every position with a trigger at or beyond the traded price acts, nearest first, and what it
   does moves the price for the next one: liquidation (cascades), stop loss, more margin, take profit (whole
   or half). The price is last price; the mark (a 20 s average) is written out but liquidates nobody. With
   margin M, quantity q, entry E, maintenance rate m and amount a of the notional's bracket (``BRACKETS``), a
   long is liquidated at ``(qE - M - a) / (q (1 - m))``, a short at ``(qE + M + a) / (q (1 + m))``.
4. *Closes and opens*. Positions close (or halve) when their time is up: log-normal, median falling with
   leverage from days to minutes, on a clock that runs with the market's activity. New ones arrive with the
   activity of the moment at the traded price. Leverage: round tiers, some smeared, 1x to 125x (``LEVERAGE``),
   capped by the bracket; about half hold extra margin (cross), so textbook distances are the minority
   (docs/evidence.md 3). By notional most of what stands is low leverage, by count of openings most is high
   (docs/evidence.md 2: Hyperliquid 85 % of notional below 7x). Side: some chase the last hours' move, some fade it;
   all lean with a slow sentiment and against the crowd.
5. *The other side*. What the traders buy net, market makers and hedgers sell: partly by closing longs, partly
   by opening shorts. Hedgers also open and close against each other. They are never liquidated. Hence sum of
   longs = sum of shorts = open interest at every step.
6. *Volume* = traded by positions + hedgers + churn of the market makers that opens nothing. All three follow
   one activity, so |change of open interest| correlates with the volume of the same bar.

Every 8 h funding is paid out of margin, which moves every liquidation price:
``F = P + clamp(0.01 % - P, +- 0.05 %)``, capped, ``P`` the mean premium, rising with the crowd and momentum.

Daily exchange flows: log-normal, autoregressive, weekly season, higher on volatile days; a shock to the
inflow of day D lowers the drift of day D+1 a little.

Not modelled: an order book, fees, partial liquidation of large positions, insurance fund and
auto-deleveraging, positions linked through one wallet (cross margin is a private buffer), averaging into
losers, several venues (the second venue's funding is the first's premium with noise), outages and missing
rows. The first pair leads: a share of its liquidations' impact spills over to the others, not back. Nothing
here draws price towards levels: the literature knows acceleration after contact, not attraction before it
(docs/evidence.md 9).

The same arguments give the same bytes: xoshiro256++ with explicit state, no clock, no threads.
``BURN_IN_DAYS`` are simulated before ``start``; of them only funding and flows are written. Open interest is
labelled as Binance did before 2026-06-25: the row at ``date`` is the snapshot AT ``date``.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liqsignals.compiled import cached
from liqsignals.errors import InputError
from liqsignals.files import data_name, replaced_folder, stem

_compiled = cached([Path(__file__)])

__all__ = ["Market", "PairMarket", "Parameters", "simulate", "write_market"]

GENERATOR: Final = 1
STEP_SECONDS: Final = 10
BURN_IN_DAYS: Final = 30
BUCKET: Final = 5e-4
MARKER: Final = "SIMULATED"
DEFAULT_START: Final = pd.Timestamp("2025-01-01", tz="UTC")
DEFAULT_PAIRS: Final = ("BTC/USDT:USDT", "ETH/USDT:USDT")

_DAY: Final = 86_400 // STEP_SECONDS
_MINUTE: Final = 60 // STEP_SECONDS  # slow factors move once a minute
_BAR: Final = 300 // STEP_SECONDS
_HOUR: Final = 3_600 // STEP_SECONDS
_SLOTS: Final = 1 << 16  # positions at a time
_HEAP: Final = 1 << 17  # entries, stale ones included
_EVENTS: Final = 1 << 15  # liquidations per chunk

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
U8 = NDArray[np.uint64]

# Notional up to (USD), maintenance rate, largest leverage; the shape of the large venues' tables, simplified.
BRACKETS: Final = (
    (300e3, 0.0040, 125.0),
    (800e3, 0.0050, 100.0),
    (3e6, 0.0065, 75.0),
    (12e6, 0.0100, 50.0),
    (70e6, 0.0200, 25.0),
    (230e6, 0.0500, 10.0),
    (math.inf, 0.1000, 5.0),
)
# Leverage tier, its share of the openings by count.
LEVERAGE: Final = (
    (1.0, 0.004),
    (2.0, 0.012),
    (3.0, 0.030),
    (5.0, 0.100),
    (10.0, 0.220),
    (20.0, 0.190),
    (25.0, 0.130),
    (50.0, 0.150),
    (75.0, 0.045),
    (100.0, 0.080),
    (125.0, 0.039),
)


@dataclass(frozen=True)
class Parameters:
    """Everything tunable. Half-lives are ``*_half_life_h`` (hours); standard deviations are of logarithms."""

    # volatility and price
    daily_vol: float = 0.0160  # base; the realised one is higher by the factors, news and cascades
    vol_slow_sd: float = 0.30
    vol_slow_half_life_h: float = 120.0
    vol_mid_sd: float = 0.27
    vol_mid_half_life_h: float = 9.0
    vol_fast_sd: float = 0.25
    vol_fast_half_life_h: float = 0.25
    vol_own_sd: float = 0.20
    vol_own_half_life_h: float = 2.0
    excitement_gain: float = 0.0016  # per |return| / what is normal in this weather
    excitement_half_life_h: float = 0.30
    excitement_cap: float = 2.5
    fat_share: float = 0.02  # of steps
    fat_scale: float = 3.0
    trend_daily: float = 0.008  # log drift per day while a trend lasts
    regime_mean_h: float = 30.0  # mean stay in range, up or down
    range_half_life_h: float = 14.0  # pull to the recent mean while ranging
    anchor_half_life_h: float = 2_400.0  # pull to the start price
    news_every_h: float = 80.0
    news_min: float = 0.004
    news_mean: float = 0.0045  # exponential, on top of the minimum
    news_minutes: float = 3.0
    inflow_pressure: float = 0.0025  # log drift of day D+1 per standard shock of inflow on day D
    # impact, per share of the average daily volume
    impact_normal: float = 0.03
    impact_stop: float = 0.06
    impact_liquidation: float = 0.15
    transient_normal: float = 0.5
    transient_liquidation: float = 0.8
    transient_normal_half_life_h: float = 0.08
    transient_liquidation_half_life_h: float = 0.35
    impact_saturation: float = 0.02  # transient displacement that halves the impact of the next order
    impact_order_cap: float = 0.012
    depth_sd: float = 0.40
    depth_half_life_h: float = 6.0
    depth_vs_vol: float = 0.8  # depth ~ volatility to the minus this
    spill: float = 0.6  # of the leader's liquidation impact
    # activity, volume, open interest
    volume_to_oi: float = 2.0  # average daily volume / open interest, for scale of impact
    churn_to_oi: float = 0.80  # base rate per day
    activity_vs_vol: float = 1.25
    burst_sd: float = 0.50
    burst_half_life_h: float = 0.05
    vol_vs_burst: float = 0.35
    target_sd: float = 0.15  # wandering open interest
    target_half_life_h: float = 400.0
    hedged_share: float = 0.42  # of open interest, each side
    hedger_noise: float = 0.30  # gross change of the hedgers per churn, standard deviation
    hedger_half_life_h: float = 30.0
    maker_closes: float = 0.5  # share of the counter-flow met by closing instead of opening
    # traders
    opens_per_day: float = 6_000.0
    size_to_oi: float = 8.75e-5  # median notional at 1x / open interest
    size_sd: float = 1.1
    size_vs_leverage: float = 0.35
    size_cap_usd: float = 60e6
    smeared: float = 0.4  # share of leverages off the round tiers
    smear_sd: float = 0.25
    cross_share: float = 0.5
    cross_median: float = 0.7  # extra margin / initial margin
    cross_sd: float = 0.8
    hold_days: float = 4.5  # median at 1x
    hold_vs_leverage: float = 0.80
    hold_sd: float = 1.3
    half_close: float = 0.3
    stop_share_low: float = 0.40  # below 20x
    stop_share_high: float = 0.60
    defend_share: float = 0.15
    target_share: float = 0.6
    chase_low: float = 0.45
    chase_high: float = 0.60
    chase_gain: float = 0.55  # logit per standard momentum
    sentiment_sd: float = 0.35
    sentiment_half_life_h: float = 72.0
    sentiment_mean: float = 0.06
    crowd_gain: float = 2.5  # logit against the crowd, per share of open interest
    # funding, per 8 h
    premium_base: float = -2.5e-4
    premium_crowd: float = 3.5e-3
    premium_momentum: float = 0.5e-4
    premium_noise: float = 1.3e-4
    premium_half_life_h: float = 10.0
    funding_interest: float = 1e-4
    funding_clamp: float = 5e-4
    funding_cap: float = 3e-3
    second_venue_noise: float = 4e-5


@dataclass(frozen=True)
class _Spec:
    """One market: price and open interest at the start, relative volatility, exchange flows (None: none)."""

    price: float
    ticks: int  # per unit of quote
    lots: int  # per unit of base
    open_interest: float  # base
    vol: float
    common: float  # correlation with the common factor
    flows: tuple[float, float, float] | None = None  # daily inflow, supply on exchanges, current supply


_SPECS: Final = {
    "BTC": _Spec(90_000.0, 10, 1000, 82_000.0, 1.0, 0.97, (25_000.0, 2.7e6, 19.85e6)),
    "ETH": _Spec(3_200.0, 100, 1000, 1.9e6, 1.45, 0.93, (380_000.0, 16.5e6, 120.5e6)),
}


def _spec(base: str) -> _Spec:
    if base in _SPECS:
        return _SPECS[base]
    u = zlib.crc32(base.encode()) / 2**32  # any other coin: a smaller, wilder market, fixed by its name
    price = float(round(10.0 ** (0.5 + 2.0 * u), 2))
    return _Spec(price, 10_000, 10, round(6e8 / price, 1), 1.8, 0.75)


class _K(NamedTuple):
    """What the kernels read (as a record): ``Parameters`` and one pair's scale in steps, lots and ticks."""

    sigma: float
    beta: float
    rho: float
    ticks: float
    lots: float
    log_start: float
    own_decay: float
    own_shock: float
    excite_gain: float
    excite_decay: float
    excite_cap: float
    fat_share: float
    fat_scale: float
    range_pull: float
    range_decay: float
    anchor_pull: float
    c_normal: float
    c_stop: float
    c_liq: float
    t_normal: float
    t_liq: float
    d_normal: float
    d_liq: float
    saturation: float
    order_cap: float
    depth_decay: float
    depth_shock: float
    depth_vs_vol: float
    spill: float
    volume_day: float
    churn_step: float
    activity_vs_vol: float
    activity_norm: float
    burst_decay: float
    burst_shock: float
    vol_vs_burst: float
    oi_start: float
    target_decay: float
    target_shock: float
    hedged_share: float
    hedger_noise: float
    hedger_pull: float
    maker_closes: float
    opens_step: float
    size: float
    size_sd: float
    size_vs_leverage: float
    size_cap: float
    smeared: float
    smear_sd: float
    cross_share: float
    cross_median: float
    cross_sd: float
    hold: float
    hold_vs_leverage: float
    hold_sd: float
    half_close: float
    stop_low: float
    stop_high: float
    defend: float
    target: float
    chase_low: float
    chase_high: float
    chase_gain: float
    sentiment_decay: float
    sentiment_shock: float
    sentiment_mean: float
    crowd_gain: float
    mom_fast_decay: float
    mom_slow_decay: float
    mom_fast_sd: float
    mom_slow_sd: float
    premium_base: float
    premium_crowd: float
    premium_momentum: float
    premium_decay: float
    premium_shock: float
    interest: float
    clamp: float
    cap: float
    mark_decay: float


# Open positions, one a slot. Records, not arrays: numba compiles and runs them faster. ``b.qty[i]`` in kernels.
_BOOK: Final = np.dtype(
    [
        ("side", np.int64),  # 1 long, -1 short
        ("qty", np.int64),  # lots; 0: a free slot
        ("entry", np.float64),
        ("margin", np.float64),  # quote
        ("leverage", np.float64),  # at entry, extra margin included
        ("liq", np.float64),  # liquidation price; 0: a long without one
        ("guard", np.float64),  # price of the stop or of the call for more margin
        ("kind", np.int64),  # of the guard: 0 none, 1 stop, 2 more margin
        ("adds", np.int64),
        ("target", np.float64),  # take profit
        ("expiry", np.float64),  # on the clock of activity
        ("version", np.int64),  # heap entries of another version are stale
        ("free", np.int64),  # a stack of free slots, beside the positions
    ]
)


class _Heap(NamedTuple):
    key: F8
    ref: I8  # version * _SLOTS + slot
    n: I8


class _Heaps(NamedTuple):
    down: _Heap
    up: _Heap
    due: _Heap


class _Out(NamedTuple):
    bars: F8  # open, high, low, close, volume
    mark: F8  # hourly open, high, low, close
    oi: I8  # lots after each bar
    funding: F8  # rate, premium mean
    events: F8  # step, side, level, fill, base, cause (0 price, 1 funding)
    spill: F8  # liquidation impact of each step of the day


# indices of the float state
_PERM, _TN, _TL, _PRICE, _OWN, _EXC, _DEPTH, _BURST, _TARGET, _SENT = range(10)
_MFAST, _MSLOW, _EMA, _PREM, _PSUM, _MARK, _NET, _HIGH, _LOW, _OPEN, _VOL, _DEP, _IMP = range(10, 23)
_MH, _ML, _MO, _CLOCK = range(23, 27)
_NF: Final = 27
# indices of the integer state
_STEP, _LONG, _SHORT, _HLONG, _HSHORT, _FREE, _VERSION, _BUY, _SELL, _NEV, _LOST, _COUNT = range(12)
_NI: Final = 12
# weather columns
_WZ, _WVOL, _WDRIFT, _WRANGE, _WSEASON = range(5)


# ------------------------------------------------------------------------------------------- random numbers
@_compiled
def _rotl(x: Any, k: Any) -> Any:
    return (x << k) | (x >> (np.uint64(64) - k))


@_compiled
def _uniform(s: U8) -> float:
    """xoshiro256++ (Blackman and Vigna, public domain), in the open interval (0, 1)."""
    r = _rotl(s[0] + s[3], np.uint64(23)) + s[0]
    t = s[1] << np.uint64(17)
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = _rotl(s[3], np.uint64(45))
    return (float(r >> np.uint64(11)) + 0.5) / 9007199254740992.0


@_compiled
def _normal(s: U8) -> float:
    return math.sqrt(-2.0 * math.log(_uniform(s))) * math.cos(2.0 * math.pi * _uniform(s))


@_compiled
def _normals(s: U8, out: F8) -> None:
    for i in range(out.size):
        out[i] = _normal(s)


# --------------------------------------------------------------------------------------------------- heaps
@_compiled
def _sift_down(h: _Heap, i: int) -> None:
    n = h.n[0]
    key = h.key[i]
    ref = h.ref[i]
    while True:
        c = 2 * i + 1
        if c >= n:
            break
        if c + 1 < n and h.key[c + 1] < h.key[c]:
            c += 1
        if h.key[c] >= key:
            break
        h.key[i] = h.key[c]
        h.ref[i] = h.ref[c]
        i = c
    h.key[i] = key
    h.ref[i] = ref


@_compiled
def _push(h: _Heap, key: float, ref: int) -> None:
    i = h.n[0]
    h.n[0] = i + 1
    while i > 0:
        parent = (i - 1) >> 1
        if h.key[parent] <= key:
            break
        h.key[i] = h.key[parent]
        h.ref[i] = h.ref[parent]
        i = parent
    h.key[i] = key
    h.ref[i] = ref


@_compiled
def _pop(h: _Heap) -> int:
    ref = h.ref[0]
    h.n[0] -= 1
    n = h.n[0]
    if n > 0:
        h.key[0] = h.key[n]
        h.ref[0] = h.ref[n]
        _sift_down(h, 0)
    return ref  # type: ignore[no-any-return]


@_compiled
def _down_key(b: Any, i: int) -> float:
    """Negated price at or below which position i acts."""
    return -max(b.liq[i], b.guard[i]) if b.side[i] > 0 else -b.target[i]  # type: ignore[no-any-return]


@_compiled
def _up_key(b: Any, i: int) -> float:
    return b.target[i] if b.side[i] > 0 else min(b.liq[i], b.guard[i])  # type: ignore[no-any-return]


@_compiled
def _rebuild(b: Any, down: _Heap, up: _Heap, due: _Heap) -> None:
    """Drop stale entries and take the positions' present triggers."""
    n = 0
    for i in range(_SLOTS):
        if b.qty[i] > 0:
            ref = b.version[i] * _SLOTS + i
            down.key[n] = _down_key(b, i)
            up.key[n] = _up_key(b, i)
            due.key[n] = b.expiry[i]
            down.ref[n] = ref
            up.ref[n] = ref
            due.ref[n] = ref
            n += 1
    down.n[0] = n
    up.n[0] = n
    due.n[0] = n
    for i in range(n // 2 - 1, -1, -1):
        _sift_down(down, i)
        _sift_down(up, i)
        _sift_down(due, i)


@_compiled
def _enlist(b: Any, n: I8, i: int, down: _Heap, up: _Heap, due: _Heap) -> None:
    """(Re-)enter position i's triggers; what was entered before becomes stale."""
    n[_VERSION] += 1
    b.version[i] = n[_VERSION]
    ref = n[_VERSION] * _SLOTS + i
    _push(down, _down_key(b, i), ref)
    _push(up, _up_key(b, i), ref)
    _push(due, b.expiry[i], ref)


# ------------------------------------------------------------------------------------------------ positions
@_compiled
def _bracket(notional: float, brackets: F8) -> int:
    k = 0
    while notional > brackets[k, 0]:
        k += 1
    return k


@_compiled
def _liquidation_price(side: int, entry: float, base: float, margin: float, brackets: F8) -> float:
    """Where equity equals maintenance margin (bracket by notional at entry); 0: a long without such a price."""
    k = _bracket(entry * base, brackets)
    rate = brackets[k, 1]
    amount = brackets[k, 3]
    if side > 0:
        return max(0.0, (base * entry - margin - amount) / (base * (1.0 - rate)))  # type: ignore[no-any-return]
    return (base * entry + margin + amount) / (base * (1.0 + rate))  # type: ignore[no-any-return]


@_compiled
def _reduce(b: Any, n: I8, i: int, lots: int) -> None:
    """Close ``lots`` of position i at market: a long sells, a short buys."""
    if b.side[i] > 0:
        n[_LONG] -= lots
        n[_SELL] += lots
    else:
        n[_SHORT] -= lots
        n[_BUY] += lots
    if lots == b.qty[i]:
        b.qty[i] = 0
        b.version[i] = -1
        b.free[n[_FREE]] = i
        n[_FREE] += 1
        n[_COUNT] -= 1
    else:
        b.margin[i] *= (b.qty[i] - lots) / b.qty[i]
        b.qty[i] -= lots


@_compiled
def _quote(f: F8, k: Any) -> None:
    """Set the traded price from the log price."""
    p = max(1.0, np.rint(math.exp(f[_PERM] + f[_TN] + f[_TL]) * k.ticks)) / k.ticks
    f[_PRICE] = p
    f[_HIGH] = max(f[_HIGH], p)
    f[_LOW] = min(f[_LOW], p)


@_compiled
def _impact(f: F8, k: Any, lots: float, c: float, transient: float, liquidation: bool) -> float:
    """Move the price by a market order of signed size; what stays and what reverts."""
    away = (f[_TN] + f[_TL]) / k.saturation
    x = c * abs(lots) / k.volume_day / f[_DEP] / (1.0 + away * away)
    x = min(x, k.order_cap)
    if lots < 0:
        x = -x
    f[_PERM] += (1.0 - transient) * x
    if liquidation:
        f[_TL] += transient * x
    else:
        f[_TN] += transient * x
    return x  # type: ignore[no-any-return]


@_compiled
def _maybe_half(b: Any, n: I8, i: int, s: U8, k: Any, brackets: F8) -> bool:
    """Close position i, or half of it; True if some is left."""
    lots = b.qty[i]
    half = lots // 2 if _uniform(s) < k.half_close else 0
    if half == 0:
        _reduce(b, n, i, lots)
        return False
    _reduce(b, n, i, half)
    liq = _liquidation_price(b.side[i], b.entry[i], b.qty[i] / k.lots, b.margin[i], brackets)
    # A lower bracket moves the level, far from the entry even nearer: never past the price by that alone.
    b.liq[i] = min(b.liq[i], liq) if b.side[i] > 0 else max(b.liq[i], liq)
    return True


@_compiled
def _act(
    b: Any, f: F8, n: I8, s: U8, i: int, adverse: bool, cause: float, k: Any, brackets: F8, out: _Out,
    down: _Heap, up: _Heap, due: _Heap,
) -> None:  # fmt: skip
    """The price has reached a trigger of position i."""
    price = f[_PRICE]
    side = b.side[i]
    lots = b.qty[i]
    if not adverse:
        left = _maybe_half(b, n, i, s, k, brackets)
        _impact(f, k, -side * float(lots - b.qty[i]), k.c_normal, k.t_normal, False)
        _quote(f, k)
        if left:
            # beyond the price by as much again as from the entry
            b.target[i] = f[_PRICE] * math.exp(side * (0.004 + abs(math.log(price / b.entry[i]))))
            _enlist(b, n, i, down, up, due)
    elif (side > 0 and b.liq[i] >= price) or (side < 0 and b.liq[i] <= price):
        e = n[_NEV]
        if e < out.events.shape[0]:
            out.events[e, 0] = n[_STEP]
            out.events[e, 1] = side
            out.events[e, 2] = b.liq[i]
            out.events[e, 3] = price
            out.events[e, 4] = lots
            out.events[e, 5] = cause
        n[_NEV] = e + 1
        _reduce(b, n, i, lots)
        f[_IMP] += _impact(f, k, -side * float(lots), k.c_liq, k.t_liq, True)
        _quote(f, k)
    elif b.kind[i] == 1:
        _reduce(b, n, i, lots)
        _impact(f, k, -side * float(lots), k.c_stop, k.t_normal, False)
        _quote(f, k)
    else:
        b.margin[i] *= 1.3 + 0.7 * _uniform(s)
        liq = _liquidation_price(side, b.entry[i], lots / k.lots, b.margin[i], brackets)
        b.liq[i] = liq
        b.adds[i] += 1
        if b.adds[i] < 2 and liq > 0.0:
            b.guard[i] = price + 0.8 * (liq - price)
        else:
            b.kind[i] = 0
            b.guard[i] = 0.0 if side > 0 else np.inf
        _enlist(b, n, i, down, up, due)


@_compiled
def _triggers(
    b: Any,
    f: F8,
    n: I8,
    s: U8,
    cause: float,
    k: Any,
    brackets: F8,
    out: _Out,
    down: _Heap,
    up: _Heap,
    due: _Heap,
) -> None:
    """Let every position act whose trigger is at or beyond the price, until none is left.

    It ends: each turn closes (half of) a position or moves its trigger away, each a bounded number of times.
    """
    while True:
        if down.n[0] > 0 and -down.key[0] >= f[_PRICE]:
            ref = _pop(down)
            i = ref % _SLOTS
            if b.version[i] == ref // _SLOTS:
                _act(b, f, n, s, i, b.side[i] > 0, cause, k, brackets, out, down, up, due)
        elif up.n[0] > 0 and up.key[0] <= f[_PRICE]:
            ref = _pop(up)
            i = ref % _SLOTS
            if b.version[i] == ref // _SLOTS:
                _act(b, f, n, s, i, b.side[i] < 0, cause, k, brackets, out, down, up, due)
        else:
            break


@_compiled
def _open(
    b: Any,
    f: F8,
    n: I8,
    s: U8,
    crowd: float,
    k: Any,
    brackets: F8,
    tiers: F8,
    down: _Heap,
    up: _Heap,
    due: _Heap,
) -> None:
    """One trader opens at the traded price."""
    if n[_FREE] == 0:
        n[_LOST] += 1
        return
    price = f[_PRICE]
    u = _uniform(s)
    j = 0
    while j < tiers.shape[0] - 1 and u > tiers[j, 1]:
        j += 1
    lev = tiers[j, 0]
    if _uniform(s) < k.smeared:
        lev = min(125.0, max(1.0, lev * math.exp(k.smear_sd * _normal(s))))
    size = k.size * lev**-k.size_vs_leverage * math.exp(k.size_sd * _normal(s))
    lots = int(min(size, k.size_cap / price) * k.lots)
    if lots < 1:
        lots = 1
    base = lots / k.lots
    notional = base * price
    lev = min(lev, brackets[_bracket(notional, brackets), 2])
    momentum = 0.5 * f[_MFAST] / k.mom_fast_sd + 0.5 * f[_MSLOW] / k.mom_slow_sd
    momentum = min(3.0, max(-3.0, momentum))
    if _uniform(s) > (k.chase_high if lev >= 20.0 else k.chase_low):
        momentum = -momentum
    logit = k.chase_gain * momentum + k.sentiment_mean + f[_SENT] - k.crowd_gain * crowd
    side = 1 if _uniform(s) < 1.0 / (1.0 + math.exp(-logit)) else -1
    margin = notional / lev
    if _uniform(s) < k.cross_share:
        margin *= 1.0 + k.cross_median * math.exp(k.cross_sd * _normal(s))
    liq = _liquidation_price(side, price, base, margin, brackets)

    n[_FREE] -= 1
    i = b.free[n[_FREE]]
    n[_COUNT] += 1
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
    u = _uniform(s)
    stop = k.stop_high if lev >= 20.0 else k.stop_low
    if u < stop:
        b.kind[i] = 1
        far = min((0.25 + 0.65 * _uniform(s)) * distance, 0.06 * math.exp(0.6 * _normal(s)))
        b.guard[i] = price * (1.0 - side * far)
    elif u < stop + k.defend and liq > 0.0:
        b.kind[i] = 2
        b.guard[i] = price + (0.65 + 0.25 * _uniform(s)) * (liq - price)
    b.target[i] = np.inf if side > 0 else 0.0
    if _uniform(s) < k.target:
        near = min(0.25, max(0.002, distance * math.exp(-0.3 + 0.6 * _normal(s))))
        b.target[i] = price * (1.0 + side * near)
    hold = k.hold * lev**-k.hold_vs_leverage * math.exp(k.hold_sd * _normal(s))
    b.expiry[i] = f[_CLOCK] + 3.0 + hold
    if side > 0:
        n[_LONG] += lots
        n[_BUY] += lots
    else:
        n[_SHORT] += lots
        n[_SELL] += lots
    _enlist(b, n, i, down, up, due)


@_compiled
def _others(f: F8, n: I8, s: U8, churn: float, k: Any) -> float:
    """Makers and hedgers take the other side of the traders' net flow, and trade among themselves.

    Returns the lots that hedgers traded with each other.
    """
    net = n[_BUY] - n[_SELL]
    if net > 0:
        closed = min(int(k.maker_closes * net), n[_HLONG])
        n[_HLONG] -= closed
        n[_HSHORT] += net - closed
    elif net < 0:
        closed = min(int(k.maker_closes * -net), n[_HSHORT])
        n[_HSHORT] -= closed
        n[_HLONG] += -net - closed
    goal = k.hedged_share * k.oi_start * math.exp(f[_TARGET])
    mean = 0.5 * (n[_HLONG] + n[_HSHORT])
    gross = int(k.hedger_pull * (goal - mean) + k.hedger_noise * churn * _normal(s))
    gross = max(gross, -min(n[_HLONG], n[_HSHORT]))
    n[_HLONG] += gross
    n[_HSHORT] += gross
    return float(abs(gross))


@_compiled
def _weather(w: F8, f: F8, i: I8, s: U8, q: F8, first: int) -> None:
    """A day of what all pairs share. ``q``: decay and shock of three factors, regime, trend, news."""
    for t in range(w.shape[0]):
        for j in range(3):
            f[j] = q[2 * j] * f[j] + q[2 * j + 1] * _normal(s)
        if _uniform(s) < q[6]:
            i[0] = int(_uniform(s) * 3.0) - 1  # down, range, up
        if _uniform(s) < q[8]:
            size = q[9] - q[10] * math.log(_uniform(s))
            f[3] += size if _uniform(s) < 0.5 else -size
            f[2] += 0.8
        news = q[11] * f[3]
        f[3] -= news
        w[t, _WZ] = _normal(s)
        w[t, _WVOL] = f[0] + f[1] + f[2]
        w[t, _WDRIFT] = i[0] * q[7] + news
        w[t, _WRANGE] = 1.0 if i[0] == 0 else 0.0
        hour = (first + t) % _DAY / _HOUR
        season = 1.0 + 0.42 * math.cos(math.pi * (hour - 15.0) / 12.0) + 0.14 * math.cos(math.pi * (hour - 14.5) / 6.0)
        w[t, _WSEASON] = season * q[12]


@_compiled
def _run(
    t0: int, t1: int, w: F8, spill: F8, pressure: float, b: Any, f: F8, n: I8, s: U8, k: Any, brackets: F8,
    tiers: F8, out: _Out, heaps: _Heaps,
) -> None:  # fmt: skip
    """Steps t0..t1 of a day."""
    down, up, due = heaps
    for t in range(t0, t1):
        step = n[_STEP]
        n[_BUY] = 0
        n[_SELL] = 0
        f[_IMP] = 0.0
        if max(down.n[0], up.n[0], due.n[0]) > _HEAP // 2:
            _rebuild(b, down, up, due)
        # the state of the market
        f[_BURST] = k.burst_decay * f[_BURST] + k.burst_shock * _normal(s)
        if step % _MINUTE == 0:
            f[_OWN] = k.own_decay * f[_OWN] + k.own_shock * _normal(s)
            f[_DEPTH] = k.depth_decay * f[_DEPTH] + k.depth_shock * _normal(s)
            f[_TARGET] = k.target_decay * f[_TARGET] + k.target_shock * _normal(s)
            f[_SENT] = k.sentiment_decay * f[_SENT] + k.sentiment_shock * _normal(s)
            f[_PREM] = k.premium_decay * f[_PREM] + k.premium_shock * _normal(s)
        season = w[t, _WSEASON]
        log_vol = w[t, _WVOL] + f[_OWN] + k.vol_vs_burst * f[_BURST]
        relative = math.exp(log_vol) * (1.0 + f[_EXC])
        calm = k.sigma * math.exp(log_vol) * season**0.45
        sigma = calm * (1.0 + f[_EXC])
        f[_DEP] = math.exp(f[_DEPTH]) * max(0.3, min(3.0, relative**-k.depth_vs_vol))
        activity = season * relative**k.activity_vs_vol * math.exp(f[_BURST]) * k.activity_norm
        f[_CLOCK] += activity
        # price: weather and the impact of the last step's net flow
        z = _normal(s)
        if _uniform(s) < k.fat_share:
            z *= k.fat_scale
        before = f[_PERM] + f[_TN] + f[_TL]
        f[_TN] *= k.d_normal
        f[_TL] *= k.d_liq
        move = sigma * (k.rho * w[t, _WZ] + math.sqrt(1.0 - k.rho * k.rho) * z)
        move += k.beta * w[t, _WDRIFT] + pressure + k.spill * spill[t] - k.anchor_pull * (f[_PERM] - k.log_start)
        if w[t, _WRANGE] > 0.0:
            move -= k.range_pull * (before - f[_EMA])
        f[_PERM] += move
        if f[_NET] != 0.0:
            _impact(f, k, f[_NET], k.c_normal, k.t_normal, False)
        if step % _BAR == 0:  # a bar opens at the last traded price
            f[_OPEN] = f[_PRICE]
            f[_HIGH] = f[_PRICE]
            f[_LOW] = f[_PRICE]
            f[_VOL] = 0.0
        _quote(f, k)
        _triggers(b, f, n, s, 0.0, k, brackets, out, down, up, due)
        forced = n[_BUY] - n[_SELL]  # has moved the price already
        while due.n[0] > 0 and due.key[0] <= f[_CLOCK]:
            ref = _pop(due)
            i = ref % _SLOTS
            if b.version[i] == ref // _SLOTS and _maybe_half(b, n, i, s, k, brackets):
                hold = k.hold * b.leverage[i] ** -k.hold_vs_leverage * math.exp(k.hold_sd * _normal(s))
                b.expiry[i] = f[_CLOCK] + 3.0 + hold
                _enlist(b, n, i, down, up, due)
        oi = n[_LONG] + n[_HLONG]
        crowd = (n[_LONG] - n[_SHORT]) / oi
        gate = min(2.5, max(0.2, (k.oi_start * math.exp(f[_TARGET]) / oi) ** 3))
        arrivals = k.opens_step * activity * gate
        x = -math.log(_uniform(s))
        while x < arrivals:  # a Poisson number of them
            _open(b, f, n, s, crowd, k, brackets, tiers, down, up, due)
            x -= math.log(_uniform(s))
        churn = k.churn_step * activity
        f[_NET] = float(n[_BUY] - n[_SELL] - forced)
        gross = _others(f, n, s, churn, k)
        f[_VOL] += np.rint(churn + gross) + max(n[_BUY], n[_SELL])
        # what traders look at
        ret = f[_PERM] + f[_TN] + f[_TL] - before
        f[_EXC] = min(k.excite_cap, k.excite_decay * f[_EXC] + k.excite_gain * min(abs(ret) / calm, 30.0))
        f[_MFAST] = k.mom_fast_decay * f[_MFAST] + ret
        f[_MSLOW] = k.mom_slow_decay * f[_MSLOW] + ret
        f[_EMA] += (1.0 - k.range_decay) * (before + ret - f[_EMA])
        momentum = min(4.0, max(-4.0, f[_MSLOW] / k.mom_slow_sd))
        f[_PSUM] += k.premium_base + k.premium_crowd * crowd + k.premium_momentum * momentum + f[_PREM]
        out.spill[t] = f[_IMP]
        step += 1
        if step % (8 * _HOUR) == 0:
            premium = f[_PSUM] / (8 * _HOUR)
            f[_PSUM] = 0.0
            rate = premium + min(k.clamp, max(-k.clamp, k.interest - premium))
            rate = np.rint(min(k.cap, max(-k.cap, rate)) * 1e8) / 1e8
            out.funding[step // (8 * _HOUR) - 1, 0] = rate
            out.funding[step // (8 * _HOUR) - 1, 1] = premium
            for i in range(_SLOTS):
                if b.qty[i] > 0:
                    base = b.qty[i] / k.lots
                    b.margin[i] -= b.side[i] * rate * base * f[_PRICE]
                    b.liq[i] = _liquidation_price(b.side[i], b.entry[i], base, b.margin[i], brackets)
            _rebuild(b, down, up, due)
            n[_BUY] = 0
            n[_SELL] = 0
            _triggers(b, f, n, s, 1.0, k, brackets, out, down, up, due)
            f[_VOL] += max(n[_BUY], n[_SELL]) + _others(f, n, s, 0.0, k)
        f[_MARK] = k.mark_decay * f[_MARK] + (1.0 - k.mark_decay) * f[_PRICE]
        if (step - 1) % _HOUR == 0:
            f[_MO] = f[_MARK]
            f[_MH] = f[_MARK]
            f[_ML] = f[_MARK]
        f[_MH] = max(f[_MH], f[_MARK])
        f[_ML] = min(f[_ML], f[_MARK])
        if step % _HOUR == 0:
            j = step // _HOUR - 1
            out.mark[j, 0] = f[_MO]
            out.mark[j, 1] = f[_MH]
            out.mark[j, 2] = f[_ML]
            out.mark[j, 3] = f[_MARK]
        if step % _BAR == 0:
            j = step // _BAR - 1
            out.bars[j, 0] = f[_OPEN]
            out.bars[j, 1] = f[_HIGH]
            out.bars[j, 2] = f[_LOW]
            out.bars[j, 3] = f[_PRICE]
            out.bars[j, 4] = f[_VOL]
            out.oi[j] = n[_LONG] + n[_HLONG]
        n[_STEP] = step


# ------------------------------------------------------------------------------------------------- results
@dataclass(frozen=True)
class PairMarket:
    """One simulated pair. Frames as in the files; quantities in base units, ``date`` UTC."""

    pair: str
    candles: pd.DataFrame  # 5m
    mark: pd.DataFrame  # 1h
    funding: pd.DataFrame  # 8h rows, burn-in included
    funding_second: pd.DataFrame  # another venue's
    open_interest: pd.DataFrame  # 5m, snapshot AT date
    levels: pd.DataFrame  # date, price, long_base, short_base
    totals: pd.DataFrame  # at every snapshot: open interest and the sums over positions, in lots
    liquidations: pd.DataFrame  # hourly, USD
    events: pd.DataFrame  # every liquidation: date, side, level, fill, base, cause
    standing: pd.DataFrame  # open positions at the end
    flows: pd.DataFrame | None  # daily, Coin Metrics' columns


@dataclass(frozen=True)
class Market:
    """What ``simulate`` returns. SIMULATED."""

    seed: int
    days: int
    start: pd.Timestamp
    pairs: dict[str, PairMarket]


def _decay(half_life_h: float) -> float:
    return float(0.5 ** (1.0 / (half_life_h * _HOUR)))


def _ou(sd: float, half_life_h: float, every: int = 1) -> tuple[float, float]:
    """Decay and shock of an Ornstein-Uhlenbeck factor that moves every so many steps."""
    d = _decay(half_life_h) ** every
    return d, sd * math.sqrt(1.0 - d * d)


def _kernel_parameters(p: Parameters, x: _Spec) -> _K:
    sigma = p.daily_vol * x.vol / math.sqrt(_DAY)
    own = _ou(p.vol_own_sd, p.vol_own_half_life_h, _MINUTE)
    depth = _ou(p.depth_sd, p.depth_half_life_h, _MINUTE)
    burst = _ou(p.burst_sd, p.burst_half_life_h)
    target = _ou(p.target_sd, p.target_half_life_h, _MINUTE)
    sentiment = _ou(p.sentiment_sd, p.sentiment_half_life_h, _MINUTE)
    premium = _ou(p.premium_noise, p.premium_half_life_h, _MINUTE)
    variance = p.vol_slow_sd**2 + p.vol_mid_sd**2 + p.vol_fast_sd**2 + p.vol_own_sd**2
    oi = round(x.open_interest * x.lots)
    fast, slow = _decay(0.5), _decay(6.0)
    return _K(
        sigma=sigma,
        beta=x.vol,
        rho=x.common,
        ticks=float(x.ticks),
        lots=float(x.lots),
        log_start=math.log(x.price),
        own_decay=own[0],
        own_shock=own[1],
        excite_gain=p.excitement_gain,
        excite_decay=_decay(p.excitement_half_life_h),
        excite_cap=p.excitement_cap,
        fat_share=p.fat_share,
        fat_scale=p.fat_scale,
        range_pull=1.0 - _decay(p.range_half_life_h),
        range_decay=_decay(12.0),
        anchor_pull=1.0 - _decay(p.anchor_half_life_h),
        c_normal=p.impact_normal * math.sqrt(x.vol),
        c_stop=p.impact_stop * math.sqrt(x.vol),
        c_liq=p.impact_liquidation * math.sqrt(x.vol),
        t_normal=p.transient_normal,
        t_liq=p.transient_liquidation,
        d_normal=_decay(p.transient_normal_half_life_h),
        d_liq=_decay(p.transient_liquidation_half_life_h),
        saturation=p.impact_saturation * math.sqrt(x.vol),
        order_cap=p.impact_order_cap * x.vol,
        depth_decay=depth[0],
        depth_shock=depth[1],
        depth_vs_vol=p.depth_vs_vol,
        spill=p.spill,
        volume_day=p.volume_to_oi * oi,
        churn_step=p.churn_to_oi * oi / _DAY,
        activity_vs_vol=p.activity_vs_vol,
        activity_norm=math.exp(-0.5 * (p.activity_vs_vol**2 * variance + p.burst_sd**2)) / 1.4**p.activity_vs_vol,
        burst_decay=burst[0],
        burst_shock=burst[1],
        vol_vs_burst=p.vol_vs_burst,
        oi_start=float(oi),
        target_decay=target[0],
        target_shock=target[1],
        hedged_share=p.hedged_share,
        hedger_noise=p.hedger_noise,
        hedger_pull=1.0 - _decay(p.hedger_half_life_h),
        maker_closes=p.maker_closes,
        opens_step=p.opens_per_day / _DAY,
        size=p.size_to_oi * x.open_interest,
        size_sd=p.size_sd,
        size_vs_leverage=p.size_vs_leverage,
        size_cap=p.size_cap_usd,
        smeared=p.smeared,
        smear_sd=p.smear_sd,
        cross_share=p.cross_share,
        cross_median=p.cross_median,
        cross_sd=p.cross_sd,
        hold=p.hold_days * _DAY,
        hold_vs_leverage=p.hold_vs_leverage,
        hold_sd=p.hold_sd,
        half_close=p.half_close,
        stop_low=p.stop_share_low,
        stop_high=p.stop_share_high,
        defend=p.defend_share,
        target=p.target_share,
        chase_low=p.chase_low,
        chase_high=p.chase_high,
        chase_gain=p.chase_gain,
        sentiment_decay=sentiment[0],
        sentiment_shock=sentiment[1],
        sentiment_mean=p.sentiment_mean,
        crowd_gain=p.crowd_gain,
        mom_fast_decay=fast,
        mom_slow_decay=slow,
        mom_fast_sd=1.3 * sigma / math.sqrt(1.0 - fast * fast),
        mom_slow_sd=1.3 * sigma / math.sqrt(1.0 - slow * slow),
        premium_base=p.premium_base,
        premium_crowd=p.premium_crowd,
        premium_momentum=p.premium_momentum,
        premium_decay=premium[0],
        premium_shock=premium[1],
        interest=p.funding_interest,
        clamp=p.funding_clamp,
        cap=p.funding_cap,
        mark_decay=_decay(20.0 / 3600.0),
    )


def _weather_parameters(p: Parameters, weekend: bool) -> F8:
    factors = [
        *_ou(p.vol_slow_sd, p.vol_slow_half_life_h),
        *_ou(p.vol_mid_sd, p.vol_mid_half_life_h),
        *_ou(p.vol_fast_sd, p.vol_fast_half_life_h),
    ]
    rest = [
        1.5 / (p.regime_mean_h * _HOUR),  # one draw in three returns the same regime
        p.trend_daily / _DAY,
        1.0 / (p.news_every_h * _HOUR),
        p.news_min,
        p.news_mean,
        STEP_SECONDS / (60.0 * p.news_minutes),
        0.65 if weekend else 1.14,
    ]
    return np.array(factors + rest)


def _brackets() -> F8:
    """Notional up to, rate, largest leverage, amount that makes the maintenance margin continuous."""
    rows: list[tuple[float, float, float, float]] = []
    floor = amount = previous = 0.0
    for top, rate, leverage in BRACKETS:
        amount += floor * (rate - previous)
        rows.append((top, rate, leverage, amount))
        floor, previous = top, rate
    return np.array(rows)


def _generator(*key: int) -> U8:
    return np.random.SeedSequence(key).generate_state(4, np.uint64).astype(np.uint64)


class _Run:
    """One pair while it runs."""

    def __init__(self, pair: str, seed: int, total_days: int, p: Parameters) -> None:
        base = pair.split("/")[0]
        self.pair, self.spec = pair, _spec(base)
        self.k = _kernel_parameters(p, self.spec)
        self.scale = np.array([tuple(self.k)], [(name, np.float64) for name in _K._fields])[0]
        self.p = p
        key = zlib.crc32(pair.encode())
        self.rng = _generator(seed, key, 1)
        # of the burn-in days, too; pressure[d] acts on day d
        self.shocks = np.empty(total_days + 1)
        _normals(_generator(seed, key, 2), self.shocks)
        self.noise = np.empty((total_days * 3, 4))
        _normals(_generator(seed, key, 3), self.noise.reshape(-1))

        self.book = np.zeros(_SLOTS, _BOOK)
        self.book["version"] = -1
        self.book["free"] = np.arange(_SLOTS - 1, -1, -1)
        heap = (_Heap(np.empty(_HEAP), np.empty(_HEAP, np.int64), np.zeros(1, np.int64)) for _ in range(3))
        self.heaps = _Heaps(*heap)
        self.out = _Out(
            np.zeros((total_days * 288, 5)),
            np.zeros((total_days * 24, 4)),
            np.zeros(total_days * 288, np.int64),
            np.zeros((total_days * 3, 2)),
            np.zeros((_EVENTS, 6)),
            np.zeros(_DAY),
        )
        self.f = np.zeros(_NF)
        self.f[[_PRICE, _HIGH, _LOW, _OPEN, _MARK]] = self.spec.price
        self.f[[_PERM, _EMA]] = math.log(self.spec.price)
        self.f[_DEP] = 1.0
        self.n = np.zeros(_NI, np.int64)
        hedged = int(p.hedged_share * self.k.oi_start)
        self.n[[_HLONG, _HSHORT]] = hedged
        self.n[_FREE] = _SLOTS
        self.events: list[F8] = []
        self.levels: list[tuple[int, F8, I8, I8]] = []
        self.totals: list[tuple[int, ...]] = []

    def steps(self, t0: int, t1: int, weather: F8, spill: F8, day: int, brackets: F8, tiers: F8) -> None:
        pressure = -self.p.inflow_pressure * self.shocks[day] / _DAY
        _run(
            t0, t1, weather, spill, pressure, self.book, self.f, self.n, self.rng, self.scale, brackets,
            tiers, self.out, self.heaps,
        )  # fmt: skip
        count = int(self.n[_NEV])
        if count > _EVENTS:
            raise RuntimeError(f"{count} liquidations in one chunk: more than the buffer holds")
        if count:
            self.events.append(self.out.events[:count].copy())
        self.n[_NEV] = 0

    def snapshot(self) -> None:
        """The truth of this instant."""
        b, n = self.book, self.n
        qty, long = b["qty"], b["side"] > 0
        known = (qty > 0) & (b["liq"] > 0.0)
        index = np.floor(np.log(b["liq"][known]) / BUCKET).astype(np.int64)
        low = int(index.min()) if index.size else 0
        lots, is_long = qty[known], long[known]
        # float64 weights hold whole lots exactly (< 2**53)
        longs = np.bincount((index - low)[is_long], lots[is_long]).astype(np.int64)
        shorts = np.bincount((index - low)[~is_long], lots[~is_long]).astype(np.int64)
        size = max(longs.size, shorts.size)
        longs = np.pad(longs, (0, size - longs.size))
        shorts = np.pad(shorts, (0, size - shorts.size))
        hit = np.flatnonzero(longs + shorts)
        step = int(n[_STEP])
        self.levels.append((step, np.exp((hit + low + 0.5) * BUCKET), longs[hit], shorts[hit]))
        standing = (int(qty[long].sum()), int(qty[~long].sum()))
        self.totals.append(
            (step, int(n[_LONG] + n[_HLONG]), *standing, int(n[_HLONG]), int(n[_HSHORT]), int(n[_COUNT]))
        )

    def result(self, start: pd.Timestamp, days: int) -> PairMarket:
        origin = start - pd.Timedelta(days=BURN_IN_DAYS)
        lots = self.k.lots

        def dates(steps: NDArray[Any]) -> pd.DatetimeIndex:
            ms = origin.value // 1_000_000 + steps.astype(np.int64) * (STEP_SECONDS * 1000)
            return pd.DatetimeIndex(ms.astype("datetime64[ms]")).tz_localize("UTC")

        def span(count: int, first: int, every: int) -> pd.DatetimeIndex:
            return dates((first + np.arange(count)) * every)

        burn = BURN_IN_DAYS * 288
        bars = self.out.bars[burn:]
        date = span(len(bars), burn, _BAR)
        candles = pd.DataFrame({"date": date})
        for j, name in enumerate(("open", "high", "low", "close")):
            candles[name] = bars[:, j]
        candles["volume"] = bars[:, 4] / lots
        mark = pd.DataFrame({"date": span(days * 24, BURN_IN_DAYS * 24, _HOUR)})
        for j, name in enumerate(("open", "high", "low", "close")):
            mark[name] = np.round(self.out.mark[BURN_IN_DAYS * 24 :, j], 8)
        mark["volume"] = 0.0
        settled = dates((1 + np.arange(len(self.out.funding))) * 8 * _HOUR)
        rate = self.out.funding[:, 0]
        funding = pd.DataFrame({"date": settled, "funding_rate": rate})[:-1]
        # the other venue: the same premium, noisy, with the same clamp and cap
        p = self.p
        premium = self.out.funding[:, 1] + p.second_venue_noise * self.noise[:, 0]
        other: NDArray[Any] = premium + np.clip(p.funding_interest - premium, -p.funding_clamp, p.funding_clamp)
        other += 0.2 * p.second_venue_noise * self.noise[:, 1]
        other = np.round(np.clip(other, -p.funding_cap, p.funding_cap), 8)
        second = pd.DataFrame({"date": settled, "funding_rate": other})[:-1]
        # snapshot AT date: what stood when the bar before closed
        oi = self.out.oi[burn - 1 : -1] / lots
        interest = pd.DataFrame(
            {"date": date, "open_interest_amount": oi, "open_interest_value": oi * candles["open"].to_numpy()}
        )
        levels = pd.DataFrame(
            {
                "date": dates(np.repeat([x[0] for x in self.levels], [x[1].size for x in self.levels])),
                "price": np.concatenate([x for _, x, _, _ in self.levels]),
                "long_base": np.concatenate([x for _, _, x, _ in self.levels]) / lots,
                "short_base": np.concatenate([x for _, _, _, x in self.levels]) / lots,
            }
        )
        self.levels = []  # the largest thing here: do not hold it twice
        names = [
            "date",
            "open_interest",
            "traders_long",
            "traders_short",
            "hedged_long",
            "hedged_short",
            "positions",
        ]
        totals = pd.DataFrame(self.totals, columns=names)
        totals["date"] = dates(totals["date"].to_numpy())
        raw = np.concatenate(self.events) if self.events else np.empty((0, 6))
        raw = raw[raw[:, 0] >= BURN_IN_DAYS * _DAY]
        # a step's number counts from its open; funding acts on the stroke that ends it
        events = pd.DataFrame(
            {
                "date": dates(raw[:, 0]),
                "side": raw[:, 1].astype(np.int64),
                "level": raw[:, 2],
                "fill": raw[:, 3],
                "base": raw[:, 4] / lots,
                "cause": np.where(raw[:, 5] > 0.0, "funding", "price"),
            }
        )
        hour = (raw[:, 0] // _HOUR).astype(np.int64) - BURN_IN_DAYS * 24
        usd = raw[:, 3] * raw[:, 4] / lots
        long = raw[:, 1] > 0
        liquidations = pd.DataFrame({"date": mark["date"]})
        liquidations["liq_long_usd"] = np.bincount(hour[long], usd[long], minlength=days * 24)
        liquidations["liq_short_usd"] = np.bincount(hour[~long], usd[~long], minlength=days * 24)
        alive = self.book[self.book["qty"] > 0]
        standing = pd.DataFrame(
            {
                "side": alive["side"],
                "base": alive["qty"] / lots,
                "entry": alive["entry"],
                "leverage": alive["leverage"],
                "liquidation": alive["liq"],
            }
        )
        return PairMarket(
            self.pair, candles, mark, funding, second, interest, levels, totals, liquidations, events,
            standing, self._flows(origin),
        )  # fmt: skip

    def _flows(self, origin: pd.Timestamp) -> pd.DataFrame | None:
        if self.spec.flows is None:
            return None
        inflow, supply, current = self.spec.flows
        closes = self.out.bars[287::288, 3]
        days = len(closes)
        moves = np.abs(np.diff(np.log(np.concatenate([[self.spec.price], closes])))) / (0.024 * self.spec.vol)
        rows = []
        level = 0.0
        for d in range(days):
            day = origin + pd.Timedelta(days=d)
            e = self.noise[d]
            level = 0.75 * level + 0.16 * e[0]
            season = -0.40 if day.weekday() >= 5 else 0.10
            common = level + season + 0.16 * min(moves[d], 4.0) - 0.13
            # the shock of day d presses on the price of day d + 1
            flow_in = inflow * math.exp(common + 0.16 * self.shocks[d + 1])
            # the fuller the exchanges, the more leaves them: supply stays near its start
            flow_out = inflow * math.exp(common + 0.13 * e[1] + 2.0 * math.log(supply / self.spec.flows[1]))
            supply += flow_in - flow_out
            current *= 1.0 + 2.2e-5
            price = closes[d] * (1.0 + 2e-4 * e[2])
            rows.append(
                (
                    f"{day:%Y-%m-%d}",
                    *(
                        price,
                        flow_in,
                        flow_in * price,
                        flow_out,
                        flow_out * price,
                        supply,
                        supply * price,
                        current,
                    ),
                )
            )
        names = "time,PriceUSD,FlowInExNtv,FlowInExUSD,FlowOutExNtv,FlowOutExUSD,SplyExNtv,SplyExUSD,SplyCur"
        return pd.DataFrame(rows, columns=names.split(","))


def _check(
    seed: int, days: int, pairs: Sequence[str], start: pd.Timestamp, truth_every: str
) -> tuple[pd.Timestamp, int]:
    """Refuse bad arguments; the start in UTC and the steps between snapshots."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed must be a whole number >= 0, not {seed!r}")
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= 3650:
        raise InputError(f"days must be a whole number from 1 to 3650, not {days!r}")
    if isinstance(pairs, str) or not pairs:
        raise InputError("pairs must be a sequence of at least one pair")
    for pair in pairs:
        base, _, rest = pair.partition("/")
        quote, _, settle = rest.partition(":")
        if not (base.isalnum() and quote.isalnum() and quote == settle and pair.isascii()):
            raise InputError(f"not a linear perpetual such as BTC/USDT:USDT: {pair!r}")
    if len(set(pairs)) != len(pairs):
        raise InputError("pairs repeat")
    start = pd.Timestamp(start)
    if start.tzinfo is None:
        raise InputError("start must have a time zone")
    start = start.tz_convert("UTC")
    if start != start.normalize():
        raise InputError("start must be a midnight UTC")
    try:
        every = pd.Timedelta(truth_every)
    except ValueError as error:
        raise InputError(f"truth_every is not a duration: {truth_every!r}") from error
    step = pd.Timedelta(minutes=5)
    if every < step or every % step or pd.Timedelta(days=1) % every:
        raise InputError(f"truth_every must be whole 5 minutes and divide a day, not {truth_every!r}")
    return start, int(every.total_seconds()) // STEP_SECONDS


def simulate(
    seed: int,
    days: int,
    pairs: Sequence[str] = DEFAULT_PAIRS,
    start: pd.Timestamp = DEFAULT_START,
    *,
    truth_every: str = "6h",
    progress: Callable[[float], None] | None = None,
    parameters: Parameters | None = None,
) -> Market:
    """Simulate ``days`` of the pairs' SIMULATED markets. The first pair leads the others.

    ``progress`` is called with the share done. Snapshots of the truth are taken every ``truth_every`` after
    ``start``, the end included.
    """
    start, every = _check(seed, days, pairs, start, truth_every)
    p = parameters or Parameters()
    total = days + BURN_IN_DAYS
    runs = [_Run(pair, seed, total, p) for pair in pairs]
    brackets = _brackets()
    tiers = np.array(LEVERAGE)
    tiers[:, 1] = np.cumsum(tiers[:, 1]) / tiers[:, 1].sum()
    sky = _generator(seed, 0)
    sky_f, sky_i = np.zeros(4), np.zeros(1, np.int64)
    weather = np.zeros((_DAY, 5))
    calm = np.zeros(_DAY)
    for day in range(total):
        weekend = (start + pd.Timedelta(days=day - BURN_IN_DAYS)).weekday() >= 5
        _weather(weather, sky_f, sky_i, sky, _weather_parameters(p, weekend), day * _DAY)
        for j, run in enumerate(runs):
            spill = runs[0].out.spill if j else calm
            for t0 in range(0, _DAY, every):
                run.steps(t0, t0 + every, weather, spill, day, brackets, tiers)
                if day >= BURN_IN_DAYS:
                    run.snapshot()
        if progress is not None:
            progress((day + 1) / total)
    results = {}
    while runs:  # each run's memory goes before the next one's result is made
        run = runs.pop(0)
        results[run.pair] = run.result(start, days)
    return Market(seed, days, start, results)


# --------------------------------------------------------------------------------------------------- files
def _hourly(candles: pd.DataFrame) -> pd.DataFrame:
    g = candles.groupby(np.arange(len(candles)) // 12)
    return pd.DataFrame(
        {
            "date": g["date"].first(),
            "open": g["open"].first(),
            "high": g["high"].max(),
            "low": g["low"].min(),
            "close": g["close"].last(),
            "volume": g["volume"].sum(),
        }
    )


def _ours(out: Path) -> bool:
    """Whether ``out`` may be replaced: made by ``write_market``, and nothing else lies in it."""
    return (out / "binance" / MARKER).is_file() and {x.name for x in out.iterdir()} <= {"binance", "truth"}


def write_market(
    out: Path,
    *,
    seed: int,
    days: int,
    pairs: Sequence[str] = DEFAULT_PAIRS,
    start: pd.Timestamp = DEFAULT_START,
    truth_every: str = "6h",
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Write a SIMULATED market as a freqtrade data directory ``out/binance`` and its truth, ``out/truth``.

    ``out`` appears complete or not at all. A folder there is replaced only if this function made it.
    """
    out = Path(out).absolute()
    if out.exists() and not (out.is_dir() and (_ours(out) or not any(out.iterdir()))):
        raise InputError(f"{out} was not made by the simulator (no binance/{MARKER}, or other files in it): left alone")
    market = simulate(seed, days, pairs, start, truth_every=truth_every, progress=progress)
    with replaced_folder(out) as folder:
        _write(folder, market)
    return out


def _write(folder: Path, market: Market) -> None:
    exchange = folder / "binance"
    futures = exchange / "futures"
    flows = exchange / "liqsignals" / "flows"
    second = exchange / "liqsignals" / "venues" / "bybit" / "futures"
    truth = folder / "truth"
    for path in (futures, flows, second, truth):
        path.mkdir(parents=True)
    (exchange / MARKER).write_text(
        f"SIMULATED by liqsignals, not real data: seed {market.seed}, {market.days} days "
        f"from {market.start:%Y-%m-%d} UTC, generator {GENERATOR}\n"
    )

    def feather(frame: pd.DataFrame, path: Path) -> None:  # as freqtrade writes them
        frame.reset_index(drop=True).to_feather(path, compression="lz4", compression_level=9)

    for pair, m in market.pairs.items():
        feather(m.candles, futures / data_name(pair, "5m", "futures"))
        feather(_hourly(m.candles), futures / data_name(pair, "1h", "futures"))
        feather(m.mark, futures / data_name(pair, "1h", "mark"))
        feather(m.funding, futures / data_name(pair, "1h", "funding_rate"))
        feather(m.open_interest, futures / data_name(pair, "5m", "open_interest"))
        feather(m.funding_second, second / data_name(pair, "1h", "funding_rate"))
        if m.flows is not None:
            coin = pair.split("/")[0].lower()
            m.flows.to_csv(flows / f"coinmetrics-{coin}-exchange-flows-1d.csv", index=False, float_format="%.8f")
        m.levels.to_parquet(truth / f"{stem(pair)}-levels.parquet", index=False)
        m.liquidations.to_parquet(truth / f"{stem(pair)}-liquidations.parquet", index=False)
        m.totals.to_parquet(truth / f"{stem(pair)}-open-interest.parquet", index=False)

"""Parameters of the simulated market, brackets, leverage, and the scale of each pair."""

import math
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]

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
    excitement_gain: float = 0.0016  # per |return| / its expected size under the current factors
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
    impact_liquidation_root: float = 0.0  # > 0: liquidations move price by this x root of their share of the volume
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
    leverage: tuple[tuple[float, float], ...] = LEVERAGE
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
class Spec:
    """One market: price and open interest at the start, relative volatility, exchange flows (None: none)."""

    price: float
    ticks: int  # per unit of quote
    lots: int  # per unit of base
    open_interest: float  # base
    vol: float
    common: float  # correlation with the common factor
    flows: tuple[float, float, float] | None = None  # daily inflow, supply on exchanges, current supply


SPECS: Final = {
    "BTC": Spec(90_000.0, 10, 1000, 82_000.0, 1.0, 0.97, (25_000.0, 2.7e6, 19.85e6)),
    "ETH": Spec(3_200.0, 100, 1000, 1.9e6, 1.45, 0.93, (380_000.0, 16.5e6, 120.5e6)),
}


def spec_of(base: str) -> Spec:
    if base in SPECS:
        return SPECS[base]
    u = zlib.crc32(base.encode()) / 2**32  # any other coin: a smaller, more volatile market, determined by its name
    price = float(round(10.0 ** (0.5 + 2.0 * u), 2))
    return Spec(price, 10_000, 10, round(6e8 / price, 1), 1.8, 0.75)


def bracket_table() -> F8:
    """Notional up to, rate, largest leverage, amount that makes the maintenance margin continuous."""
    rows: list[tuple[float, float, float, float]] = []
    floor = amount = previous = 0.0
    for top, rate, leverage in BRACKETS:
        amount += floor * (rate - previous)
        rows.append((top, rate, leverage, amount))
        floor, previous = top, rate
    return np.array(rows)


def leverage_table(leverage: tuple[tuple[float, float], ...] = LEVERAGE) -> F8:
    """Leverage tiers (n, 2): the leverage, the share of the openings up to and with it."""
    tiers = np.array(leverage)
    tiers[:, 1] = np.cumsum(tiers[:, 1]) / tiers[:, 1].sum()
    return tiers

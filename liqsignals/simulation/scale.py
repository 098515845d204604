"""Parameters in the kernels' units: steps, lots and ticks."""

import math
from typing import Any, NamedTuple

import numpy as np

from liqsignals.simulation.parameters import F8, Parameters, Spec
from liqsignals.simulation.state import DAY, HOUR, MINUTE, STEP_SECONDS


class Scale(NamedTuple):
    """The kernels' constants (passed as a record): ``Parameters`` and one pair's scale in steps, lots and ticks."""

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
    c_root: float
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


def decay(half_life_h: float) -> float:
    return float(0.5 ** (1.0 / (half_life_h * HOUR)))


def ou(sd: float, half_life_h: float, every: int = 1) -> tuple[float, float]:
    """Decay and shock of an Ornstein-Uhlenbeck factor that moves every so many steps."""
    d = decay(half_life_h) ** every
    return d, sd * math.sqrt(1.0 - d * d)


def scale_of(p: Parameters, x: Spec) -> Scale:
    sigma = p.daily_vol * x.vol / math.sqrt(DAY)
    own = ou(p.vol_own_sd, p.vol_own_half_life_h, MINUTE)
    depth = ou(p.depth_sd, p.depth_half_life_h, MINUTE)
    burst = ou(p.burst_sd, p.burst_half_life_h)
    target = ou(p.target_sd, p.target_half_life_h, MINUTE)
    sentiment = ou(p.sentiment_sd, p.sentiment_half_life_h, MINUTE)
    premium = ou(p.premium_noise, p.premium_half_life_h, MINUTE)
    variance = p.vol_slow_sd**2 + p.vol_mid_sd**2 + p.vol_fast_sd**2 + p.vol_own_sd**2
    oi = round(x.open_interest * x.lots)
    fast, slow = decay(0.5), decay(6.0)
    return Scale(
        sigma=sigma,
        beta=x.vol,
        rho=x.common,
        ticks=float(x.ticks),
        lots=float(x.lots),
        log_start=math.log(x.price),
        own_decay=own[0],
        own_shock=own[1],
        excite_gain=p.excitement_gain,
        excite_decay=decay(p.excitement_half_life_h),
        excite_cap=p.excitement_cap,
        fat_share=p.fat_share,
        fat_scale=p.fat_scale,
        range_pull=1.0 - decay(p.range_half_life_h),
        range_decay=decay(12.0),
        anchor_pull=1.0 - decay(p.anchor_half_life_h),
        c_normal=p.impact_normal * math.sqrt(x.vol),
        c_stop=p.impact_stop * math.sqrt(x.vol),
        c_liq=p.impact_liquidation * math.sqrt(x.vol),
        c_root=p.impact_liquidation_root * x.vol,
        t_normal=p.transient_normal,
        t_liq=p.transient_liquidation,
        d_normal=decay(p.transient_normal_half_life_h),
        d_liq=decay(p.transient_liquidation_half_life_h),
        saturation=p.impact_saturation * math.sqrt(x.vol),
        order_cap=p.impact_order_cap * x.vol,
        depth_decay=depth[0],
        depth_shock=depth[1],
        depth_vs_vol=p.depth_vs_vol,
        spill=p.spill,
        volume_day=p.volume_to_oi * oi,
        churn_step=p.churn_to_oi * oi / DAY,
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
        hedger_pull=1.0 - decay(p.hedger_half_life_h),
        maker_closes=p.maker_closes,
        opens_step=p.opens_per_day / DAY,
        size=p.size_to_oi * x.open_interest,
        size_sd=p.size_sd,
        size_vs_leverage=p.size_vs_leverage,
        size_cap=p.size_cap_usd,
        smeared=p.smeared,
        smear_sd=p.smear_sd,
        cross_share=p.cross_share,
        cross_median=p.cross_median,
        cross_sd=p.cross_sd,
        hold=p.hold_days * DAY,
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
        mark_decay=decay(20.0 / 3600.0),
    )


def weather_parameters(p: Parameters, weekend: bool) -> F8:
    factors = [
        *ou(p.vol_slow_sd, p.vol_slow_half_life_h),
        *ou(p.vol_mid_sd, p.vol_mid_half_life_h),
        *ou(p.vol_fast_sd, p.vol_fast_half_life_h),
    ]
    rest = [
        1.5 / (p.regime_mean_h * HOUR),  # one draw in three returns the same regime
        p.trend_daily / DAY,
        1.0 / (p.news_every_h * HOUR),
        p.news_min,
        p.news_mean,
        STEP_SECONDS / (60.0 * p.news_minutes),
        0.65 if weekend else 1.14,
    ]
    return np.array(factors + rest)


def as_record(scale: Scale) -> Any:
    """The scale as a record, which numba reads fastest."""
    return np.array([tuple(scale)], [(name, np.float64) for name in Scale._fields])[0]

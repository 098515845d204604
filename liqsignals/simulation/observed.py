"""Public data of a simulated pair as frames: candles, mark, funding, open interest and exchange flows."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liqsignals.simulation.parameters import F8, Parameters, Spec
from liqsignals.simulation.state import BAR, BURN_IN_DAYS, HOUR, STEP_SECONDS, Out

OHLC = ("open", "high", "low", "close")


def dates(origin: pd.Timestamp, steps: NDArray[Any]) -> pd.DatetimeIndex:
    """The instants at which steps begin, counted from `origin`."""
    ms = origin.value // 1_000_000 + steps.astype(np.int64) * (STEP_SECONDS * 1000)
    return pd.DatetimeIndex(ms.astype("datetime64[ms]")).tz_localize("UTC")


def _span(origin: pd.Timestamp, count: int, first: int, every: int) -> pd.DatetimeIndex:
    return dates(origin, (first + np.arange(count)) * every)


def candles(out: Out, origin: pd.Timestamp, lots: float) -> pd.DataFrame:
    """5m candles of last price after the burn-in; volume in base units."""
    burn = BURN_IN_DAYS * 288
    bars = out.bars[burn:]
    frame = pd.DataFrame({"date": _span(origin, len(bars), burn, BAR)})
    for j, name in enumerate(OHLC):
        frame[name] = bars[:, j]
    frame["volume"] = bars[:, 4] / lots
    return frame


def mark(out: Out, origin: pd.Timestamp) -> pd.DataFrame:
    """1h candles of the mark price after the burn-in."""
    bars = out.mark[BURN_IN_DAYS * 24 :]
    frame = pd.DataFrame({"date": _span(origin, len(bars), BURN_IN_DAYS * 24, HOUR)})
    for j, name in enumerate(OHLC):
        frame[name] = np.round(bars[:, j], 8)
    frame["volume"] = 0.0
    return frame


def funding(out: Out, origin: pd.Timestamp, p: Parameters, noise: F8) -> tuple[pd.DataFrame, pd.DataFrame]:
    """8h settlements, burn-in included, of this venue and of another.

    The other has the same premium, noisy, and the same clamp and cap.
    """
    settled = dates(origin, (1 + np.arange(len(out.funding))) * 8 * HOUR)
    premium = out.funding[:, 1] + p.second_venue_noise * noise[:, 0]
    other: NDArray[Any] = premium + np.clip(p.funding_interest - premium, -p.funding_clamp, p.funding_clamp)
    other += 0.2 * p.second_venue_noise * noise[:, 1]
    other = np.round(np.clip(other, -p.funding_cap, p.funding_cap), 8)
    first, second = (pd.DataFrame({"date": settled, "funding_rate": rate})[:-1] for rate in (out.funding[:, 0], other))
    return first, second


def open_interest(out: Out, bars: pd.DataFrame, lots: float) -> pd.DataFrame:
    """Snapshots AT the dates of the 5m candles `bars`: open interest when the previous bar closed."""
    oi = out.oi[BURN_IN_DAYS * 288 - 1 : -1] / lots
    value = oi * bars["open"].to_numpy()
    return pd.DataFrame({"date": bars["date"], "open_interest_amount": oi, "open_interest_value": value})


def flows(out: Out, origin: pd.Timestamp, spec: Spec, shocks: F8, noise: F8) -> pd.DataFrame | None:
    """Daily exchange flows in Coin Metrics' columns, burn-in included; None for a coin without."""
    if spec.flows is None:
        return None
    inflow, supply, current = spec.flows
    closes = out.bars[287::288, 3]
    moves = np.abs(np.diff(np.log(np.concatenate([[spec.price], closes])))) / (0.024 * spec.vol)
    rows = []
    level = 0.0
    for d in range(len(closes)):
        day = origin + pd.Timedelta(days=d)
        e = noise[d]
        level = 0.75 * level + 0.16 * e[0]
        season = -0.40 if day.weekday() >= 5 else 0.10
        common = level + season + 0.16 * min(moves[d], 4.0) - 0.13
        # the shock of day d lowers the price of day d + 1
        flow_in = inflow * math.exp(common + 0.16 * shocks[d + 1])
        # the fuller the exchanges, the more leaves them: supply stays near its start
        flow_out = inflow * math.exp(common + 0.13 * e[1] + 2.0 * math.log(supply / spec.flows[1]))
        supply += flow_in - flow_out
        current *= 1.0 + 2.2e-5
        price = closes[d] * (1.0 + 2e-4 * e[2])
        amounts = (flow_in, flow_in * price, flow_out, flow_out * price, supply, supply * price, current)
        rows.append((f"{day:%Y-%m-%d}", price, *amounts))
    names = "time,PriceUSD,FlowInExNtv,FlowInExUSD,FlowOutExNtv,FlowOutExUSD,SplyExNtv,SplyExUSD,SplyCur"
    return pd.DataFrame(rows, columns=names.split(","))

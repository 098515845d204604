"""Candles at which a placebo enters instead of the strategy: by chance in the same stratum, or after the same move."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from liqsignals.clock import DAY, HOUR, Int64Array, to_dates
from liqsignals.records import Float64Array
from liqsignals.walkforward.portfolio import Outcome

_MS = 1_000_000
#: Random candles for each entry: of the 84 in a week's hour of 5m candles, as many as freqtrade can simulate soon.
IN_STRATUM = 20
#: Matched candles for each entry.
MATCHES = 10
#: Candles of the average range, and the move before a signal that is matched (an hour of 5m candles each day and hour).
_ATR, _MOVE = DAY, HOUR
#: How far from an entry of the strategy itself a matched candle must be.
_APART = 6 * HOUR


def week_of(at_ns: Int64Array) -> Int64Array:
    """Number of the week, from Monday 00:00 UTC, of each instant."""
    return (at_ns - 4 * DAY) // (7 * DAY)


def strata(entries: Sequence[Outcome], candles: Mapping[str, Int64Array], seed: int) -> list[Int64Array]:
    """For each entry IN_STRATUM candles of its pair, drawn from those with the same week and hour of the day: opens of
    the entry's candle, ns.

    `candles`: opens (n,) of the pairs' candles in the span, ns; the entry's own may be among those that are drawn.
    """
    found = []
    draw = np.random.default_rng(seed)
    for one in entries:
        at, own = candles[one.pair], np.array([one.opened * _MS])
        same = (week_of(at) == week_of(own)) & (at // HOUR % 24 == own // HOUR % 24)
        found.append(np.sort(draw.permutation(at[same])[:IN_STRATUM]))
    return found


def covariates(frame: pd.DataFrame, step: int) -> Float64Array:
    """What an entry at the open of each candle is matched on, (n, 2): the move of the hour before it in average ranges
    of the day before it, and the log of that range as a share of price. `frame`: candles without holes, step in ns."""
    n, day = _MOVE // step, _ATR // step
    close, span = frame["close"], (frame["high"] - frame["low"]) / frame["close"]
    # Known at the open: nothing of the candle itself.
    atr = span.rolling(day).mean().shift(1)
    move = (close / close.shift(n) - 1).shift(1) / atr
    return np.stack([move.to_numpy(np.float64), np.log(atr.to_numpy(np.float64))], axis=1)


def matches(
    entries: Sequence[Outcome], frames: Mapping[str, tuple[Int64Array, Float64Array]], own: Sequence[Outcome]
) -> list[Int64Array]:
    """For each entry the MATCHES candles whose move and volatility are nearest, in the hours around its own hour.

    `frames`: opens (n,) ns and `covariates` (n, 2) of each pair in the span. Candles within 6 h of one of the
    strategy's `own` signals are no control. The distance is Euclidean in standard deviations of the pair's candles.
    """
    found = []
    for one in entries:
        at, values = frames[one.pair]
        here = int(np.searchsorted(at, one.opened * _MS))
        off = (at // HOUR - one.opened * _MS // HOUR) % 24
        free = np.isfinite(values).all(axis=1) & ((off <= 1) | (off == 23))
        for other in own:
            if other.pair == one.pair:
                free &= np.abs(at - other.opened * _MS) >= _APART
        if here >= len(at) or not np.isfinite(values[here]).all() or not free.any():
            found.append(np.empty(0, np.int64))
            continue
        distance = (((values - values[here]) / np.nanstd(values, axis=0)) ** 2).sum(axis=1)
        distance[~free] = np.inf
        nearest = np.argsort(distance, kind="stable")[:MATCHES]
        found.append(at[nearest[np.isfinite(distance[nearest])]])
    return found


def table(entries: Sequence[Outcome], chosen: Sequence[Int64Array], step: int) -> pd.DataFrame:
    """The entries file of strategy/placebo.py: signals one candle (`step` ns) before the candles of the entries."""
    rows = {(one.pair, one.side, int(at) - step) for one, all_at in zip(entries, chosen, strict=True) for at in all_at}
    pairs, sides, opens = (list(column) for column in zip(*sorted(rows), strict=True)) if rows else ([], [], [])
    return pd.DataFrame({"pair": pairs, "date": to_dates(np.array(opens, np.int64)), "side": sides})

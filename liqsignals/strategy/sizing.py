"""Arithmetic of stops and sizes: pure functions of prices and fractions.

A stop is a distance in price. freqtrade counts stops as profit on margin, so a fixed `stoploss` is another price for
every leverage; these functions convert. `is_short` is the side of the trade, distances are fractions of price.
"""

import math


def distance_of(stoploss: float, leverage: float) -> float:
    """Distance (fraction of the entry price) of freqtrade's `stoploss` (profit on margin) at a leverage.

    >>> distance_of(-0.024, 3.0)
    0.008
    """
    return abs(stoploss / leverage)


def stop_for(distance: float, leverage: float) -> float:
    """freqtrade's stop value (positive, profit on margin) of a stop `distance` away: the inverse of `distance_of`."""
    return abs(distance) * leverage


def stop_price(entry: float, distance: float, is_short: bool) -> float:
    """Price of a stop `distance` beyond `entry`, whatever the leverage.

    >>> stop_price(100.0, 0.25, is_short=False), stop_price(100.0, 0.25, is_short=True)
    (75.0, 125.0)
    """
    return entry * (1 + distance if is_short else 1 - distance)


def way_to(stop: float, rate: float, is_short: bool) -> float:
    """Distance from `rate` to `stop` (fraction of `rate`); 0 or negative once the stop is broken."""
    return stop / rate - 1 if is_short else 1 - stop / rate


def nearer(stop: float, other: float | None, is_short: bool) -> float:
    """Of two stop prices the one that is reached first; `stop` where the other is None, NaN or no price."""
    if other is None or not 0 < other < math.inf:
        return stop
    return min(stop, other) if is_short else max(stop, other)


#: Tolerance of `stands`: the rounding of doubles, far below a tick.
_ROUNDING = 1e-12


def stands(stop_loss: float | None, stop: float, is_short: bool) -> bool:
    """Whether a trade's `stop_loss` (a price; None and 0: none yet) is at `stop` or nearer to the market."""
    if not stop_loss:
        return False
    return stop_loss <= stop * (1 + _ROUNDING) if is_short else stop_loss >= stop * (1 - _ROUNDING)


def leverage_within(most: float, allowed: float) -> float:
    """Leverage to use: at most `most` and what the venue allows, in whole numbers; 1.0 for bounds that are none.

    >>> leverage_within(3.0, 125.0), leverage_within(3.0, 2.5), leverage_within(3.0, float("nan"))
    (3.0, 2.0, 1.0)
    """
    if not (1 <= most < math.inf and allowed >= 1):
        return 1.0
    return float(math.floor(min(most, allowed)))


def stake_within(proposed: float, largest: float) -> float:
    """Stake (quote currency): freqtrade's proposal as it is; 0.0 (no entry) where a bound is no positive number.

    >>> stake_within(100.0, 50.0), stake_within(float("nan"), 50.0), stake_within(100.0, 0.0)
    (100.0, 0.0, 0.0)
    """
    return proposed if 0 < proposed < math.inf and largest > 0 else 0.0

"""Arithmetic of stops and sizes: pure functions of prices and fractions.

A stop is a distance in price. freqtrade counts stops as profit on margin, so a fixed `stoploss` is another price for
every leverage; these functions convert. `is_short` is the side of the trade, distances are fractions of price.
"""

import math
from dataclasses import dataclass


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


@dataclass(frozen=True)
class Limits:
    """What may be lost: fractions of equity (the account, open stakes included), the leverage a plain number."""

    #: Loss of one trade at its stop.
    per_trade: float = 0.005
    #: The gap: a move of all pairs at once that no stop survives, and what it may cost. Together they bound what is in
    #: the market: gap_budget / gap, a third of the account.
    gap: float = 0.15
    gap_budget: float = 0.05
    leverage: float = 3.0


@dataclass(frozen=True)
class Size:
    """Of a trade: leverage, and the margin to stake (quote currency), 0.0 for none."""

    leverage: float
    stake: float
    #: Why the stake is 0.0; empty where it is not.
    refused: str = ""

    @property
    def notional(self) -> float:
        return self.stake * self.leverage


def size(
    equity: float,
    in_market: float,
    distance: float,
    allowed: float,
    largest: float = math.inf,
    least: float | None = None,
    limits: Limits = Limits(),
) -> Size:
    """Size of a trade whose stop is `distance` (fraction of price) away.

    Its loss at the stop is at most `limits.per_trade` of `equity`, and with it the market holds at most
    `limits.gap_budget / limits.gap` of it: `in_market` is the sum of |notional| of all open trades, of any pair and
    side, for pairs fall together, and a short beside a long is no hedge when one of them is stopped. `allowed` is the
    venue's largest leverage; `largest` and `least` bound the stake as freqtrade does. A stake below `least` is refused:
    freqtrade would raise it. NaN and whatever is no number refuses. Costs come on top of the loss at the stop.

    >>> size(10_000.0, 0.0, 0.02, 125.0)
    Size(leverage=3.0, stake=833.3333333333334, refused='')
    >>> size(10_000.0, 3_000.0, 0.02, 2.0).notional
    333.3333333333335
    >>> size(10_000.0, 0.0, 0.02, 125.0, least=900.0).refused
    'the smallest stake, 900, is more than the size, 833.3'
    """
    used = leverage_within(limits.leverage, allowed)
    if not (0 < equity < math.inf and 0 <= in_market < math.inf and 0 < distance < 1 and largest > 0):
        return Size(used, 0.0, f"equity {equity:g}, in the market {in_market:g}, way to the stop {distance:g}")
    room = equity * limits.gap_budget / limits.gap - in_market
    stake = min(min(equity * limits.per_trade / distance, room) / used, largest)
    if not stake > 0:
        return Size(used, 0.0, f"the gap budget is used: {in_market:.4g} are in the market")
    if least is not None and not least <= stake:
        return Size(used, 0.0, f"the smallest stake, {least:.4g}, is more than the size, {stake:.4g}")
    return Size(used, stake)

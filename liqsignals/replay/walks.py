"""The way of the price inside the bar of an exit that a backtest supposes: a pure function of the bar and the exit.

A candle does not say which of its extremes came first. freqtrade's backtest supposes an order for each exit: a stop
that stood before the candle is hit before its favourable extreme, a target before its adverse one, and a stop that the
favourable extreme has raised after it (docs/decisions/062). A bot can only do the same on a market that walks that way.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from liqsignals.exchange.path import Bar

#: Ticks beyond the backtest's price at which the bot is due at the latest: it buys a tick dearer, and rounds once more.
_BEYOND = 2


@dataclass(frozen=True)
class Exit:
    """An exit inside a bar: its price, and what it was: a target (`roi`), else a stop or the liquidation price.

    `raised`: in this very bar, to `stop`, which is `distance` away from the price, as a fraction of that. `entered`:
    the trade was opened in it, too.
    """

    price: float
    is_short: bool
    roi: bool
    raised: bool
    entered: bool
    stop: float
    distance: float


def walk(bar: Bar, exit_: Exit, decimals: int) -> list[float]:
    """Prices between the bar's open and close to dwell at, in their order, both extremes among them (path.Path.walks)."""
    side = -1 if exit_.is_short else 1
    tick = 10.0**-decimals
    best, worst = (bar.low, bar.high) if exit_.is_short else (bar.high, bar.low)

    def clipped(price: float) -> float:
        # Clipped last: a bar older than today's tick may lie off it.
        return min(max(round(price, decimals), bar.low), bar.high)

    def around(price: float, towards: int) -> Iterator[float]:
        """The price, and a tick and two beyond it."""
        return (clipped(price + number * towards * tick) for number in range(_BEYOND + 1))

    if exit_.roi:
        prices = [*around(exit_.price, side), best, worst]
    elif not exit_.raised:
        prices = [*around(exit_.price, -side), worst, best]
    elif exit_.entered:
        # The backtest supposes the worst: the price moves just far enough to raise the stop to where it is then hit.
        # Where a bot's stop is not raised by that, it is sold at what the bar's best price makes of it.
        armed = max(side * exit_.price / (1 - side * exit_.distance), side * bar.open) * side + side * _BEYOND * tick
        prices = [clipped(armed), *around(exit_.price, -side), best, *around(exit_.stop, -side), worst]
    else:
        prices = [best, *around(exit_.price, -side), worst]
    return [price for number, price in enumerate(prices) if number == 0 or price != prices[number - 1]]

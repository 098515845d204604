"""The price inside a bar, a pure function of the bar's open, high, low and close and of the time in it.

The path is open - low - high - close where the bar closed at or above its open, else open - high - low - close
(docs/decisions/011 and 040). The price dwells at each of the four, so that a bot polling a few times a bar sees all of
them:

    share of the bar   0 .. .30   .35 .. .50      .60 .. .75       .85 .. 1
    price              open       first extreme   second extreme   close

Between dwells it moves linearly, rounded to the tick.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

#: Shares of the bar within the four dwells: polling at these sees open, both extremes and close.
DWELLS = (0.02, 0.42, 0.67, 0.92)
_HOLDS = ((0.0, 0.30), (0.35, 0.50), (0.60, 0.75), (0.85, 1.0))
#: With more than four stops: share of its part of the bar after which a price is reached.
_WAY = 0.25


class Bar(NamedTuple):
    """A candle: its open in ms, prices in quote units, volume in coins."""

    date: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True)
class Path:
    """The price path of one market inside its bars.

    `decimals`: of the tick. `extra`: additional prices to dwell at, by the bar's open in ms; each is inserted where the
    path first crosses it and ignored where it does not. Then all dwells, the four included, share the bar equally.
    """

    decimals: int
    extra: Mapping[int, Sequence[float]] = field(default_factory=dict)

    def stops(self, bar: Bar) -> list[tuple[float, float]]:
        """(share of the bar, price) of every dwell, in order; the share lies within the dwell."""
        prices = self._prices(bar)
        if len(prices) == len(DWELLS):
            return list(zip(DWELLS, prices, strict=True))
        shares = [(number + (1 + _WAY) / 2) / len(prices) for number in range(len(prices))]
        return list(zip([DWELLS[0], *shares[1:]], prices, strict=True))

    def forming(self, bar: Bar, share: float) -> Bar:
        """The forming candle after `share` (0 .. 1) of the bar; its close is the price at that time.

        High and low are those of the path so far, volume grows linearly. At 1 it is the bar.
        """
        if share >= 1:
            return bar
        prices = self._prices(bar)
        holds = self._holds(len(prices))
        passed = max(number for number, (begin, _) in enumerate(holds) if begin <= share)
        price, end = prices[passed], holds[passed][1]
        if share > end:
            ahead = prices[passed + 1]
            done = (share - end) / (holds[passed + 1][0] - end)
            between = round(price + done * (ahead - price), self.decimals)
            # Prices of an old bar may be off today's tick.
            price = min(max(between, min(price, ahead)), max(price, ahead))
        walked = [*prices[: passed + 1], price]
        return Bar(bar.date, bar.open, max(walked), min(walked), price, round(bar.volume * share, 8))

    def _prices(self, bar: Bar) -> list[float]:
        extremes = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
        four = [bar.open, *extremes, bar.close]
        if not (waiting := set(self.extra.get(bar.date, ()))):
            return four
        prices = four[:1]
        for begin, end in pairwise(four):
            passed = {price for price in waiting if min(begin, end) < price < max(begin, end)}
            waiting -= passed
            prices += sorted(passed, reverse=end < begin)
            prices.append(end)
        return prices

    @staticmethod
    def _holds(stops: int) -> Sequence[tuple[float, float]]:
        """Begin and end of every dwell, as shares of the bar."""
        if stops == len(_HOLDS):
            return _HOLDS
        return [((number + _WAY * (number > 0)) / stops, (number + 1) / stops) for number in range(stops)]

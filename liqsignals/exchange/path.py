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
from typing import NamedTuple

#: Shares of the bar within the four dwells: polling at these sees open, both extremes and close.
DWELLS = (0.2, 0.42, 0.67, 0.92)
_HOLDS = ((0.0, 0.30), (0.35, 0.50), (0.60, 0.75), (0.85, 1.0))
#: In a bar with a walk of its own the stops share the bar equally: the first _WAY of each part leads to its price, and
#: _DWELL of it is a time within the dwell, early in it.
_WAY, _DWELL = 0.25, 0.4


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

    `decimals`: of the tick. `walks`: bars with a walk of their own, by their open in ms: the prices between open and
    close to dwell at, in their order, both extremes among them. All dwells then share the bar equally.
    """

    decimals: int
    walks: Mapping[int, Sequence[float]] = field(default_factory=dict)

    def stops(self, bar: Bar) -> list[tuple[float, float]]:
        """(share of the bar, price) of every dwell, in order; the share lies within the dwell."""
        prices = self._prices(bar)
        if len(prices) == len(DWELLS):
            return list(zip(DWELLS, prices, strict=True))
        return [((number + _DWELL) / len(prices), price) for number, price in enumerate(prices)]

    def points(self, bar: Bar) -> list[tuple[float, float]]:
        """(share of the bar, price) at begin and end of every dwell; between two of them the price moves linearly."""
        prices = self._prices(bar)
        return [(share, price) for hold, price in zip(self._holds(len(prices)), prices, strict=True) for share in hold]

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
        return [bar.open, *self.walks.get(bar.date, extremes), bar.close]

    @staticmethod
    def _holds(stops: int) -> Sequence[tuple[float, float]]:
        """Begin and end of every dwell, as shares of the bar."""
        if stops == len(_HOLDS):
            return _HOLDS
        return [((number + _WAY * (number > 0)) / stops, (number + 1) / stops) for number in range(stops)]

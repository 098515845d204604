"""A market's prices between two instants: what an order at the exchange meets while nobody asks (docs/decisions/120).

Last prices follow the path inside the finest bars (path.py), books are those of quotes.py. The mark price is the last
price kept within the mark candle's low and high: freqtrade's mark files are hourly, so that more cannot be known.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from liqsignals.exchange import path as paths
from liqsignals.exchange import quotes
from liqsignals.exchange.archive import MINUTE, Archive, Spec
from liqsignals.exchange.endpoints import ApiError, Walks


class Leg(NamedTuple):
    """A stretch in which the price moves linearly, times in ms; a jump where both times are the same."""

    begin: int
    start: float
    end: int
    stop: float

    def price(self, at: int) -> float:
        """Price at an instant within the leg; after the jump where it is one."""
        if at >= self.end:
            return self.stop
        return self.start + (self.stop - self.start) * (at - self.begin) / (self.end - self.begin)

    def reaches(self, level: float, down: bool) -> int | None:
        """First instant at which the price is at `level` or beyond it, below for `down`, else above; None: never."""
        sign = -1.0 if down else 1.0
        if sign * (self.start - level) >= 0:
            return self.begin
        if sign * (self.stop - level) < 0:
            return None
        share = (level - self.start) / (self.stop - self.start)
        return min(self.end, self.begin + int(np.ceil(share * (self.end - self.begin))))

    def cut(self, begin: int, end: int) -> "Leg":
        """The part between two instants; a jump is whole."""
        if self.begin == self.end:
            return self
        start, stop = max(self.begin, begin), min(self.end, end)
        return Leg(start, self.price(start), stop, self.price(stop))


class Course:
    """Prices of a data directory's markets. `walks` and `spread` as for the LoopbackExchange."""

    def __init__(self, archive: Archive, walks: Walks | None = None, spread: int | None = None) -> None:
        self.archive = archive
        self._walks = walks or {}
        self._spread = spread
        self._paths: dict[str, paths.Path] = {}

    def spec(self, symbol: str) -> Spec:
        """Tick, step and listing. Raises ApiError for a symbol that is not there."""
        spec = self.archive.spec(symbol) if symbol in self.archive.markets else None
        if spec is None:
            raise ApiError(-1121, "Invalid symbol.")
        return spec

    def last(self, symbol: str, at: int) -> float:
        return self._market(symbol, at).price()

    def mark(self, symbol: str, at: int) -> float:
        low, high = self.mark_bounds(symbol, at)
        return min(max(self.last(symbol, at), low), high)

    def mark_bounds(self, symbol: str, at: int) -> tuple[float, float]:
        """Low and high of the mark candle that holds an instant; no bounds without one."""
        minutes = self.archive.finest(symbol, "mark")
        frame = self.archive.frame(symbol, "mark", minutes) if minutes else None
        if frame is None or minutes is None:
            return 0.0, np.inf
        row = int(np.searchsorted(frame.date, at, side="right")) - 1
        if row < 0 or at >= int(frame.date[row]) + minutes * MINUTE:
            return 0.0, np.inf
        return float(frame.columns[2][row]), float(frame.columns[1][row])

    def book(self, symbol: str, at: int) -> quotes.Book:
        market = self._market(symbol, at)
        return quotes.book(market, self.spec(symbol), quotes.quote(market, at), self._spread)

    def legs(self, symbol: str, begin: int, end: int) -> list[Leg]:
        """The price's way from `begin` to `end` (ms): legs that join, jumps where a bar opens off the last close.

        In a hole the price stays at the last close.
        """
        minutes = self.archive.finest(symbol, "futures")
        frame = self.archive.frame(symbol, "futures", minutes) if minutes else None
        if frame is None or minutes is None:
            return []
        step, path = minutes * MINUTE, self._path(symbol)
        first = max(int(np.searchsorted(frame.date, begin, side="right")) - 1, 0)
        points: list[tuple[int, float]] = []
        for number in range(first, int(np.searchsorted(frame.date, end, side="right"))):
            bar = quotes.row(frame, number)
            if points and points[-1][0] < bar.date:
                points.append((bar.date, points[-1][1]))
            points += [(bar.date + int(share * step), price) for share, price in path.points(bar)]
        if points and points[-1][0] < end:
            points.append((end, points[-1][1]))
        legs = (Leg(a, p, b, q) for (a, p), (b, q) in pairwise(points))
        return [leg.cut(begin, end) for leg in legs if leg.end > begin and leg.begin <= end]

    def settlements(self, symbol: str, begin: int, end: int) -> list[tuple[int, float]]:
        """Settled funding rates in (begin, end]: time (ms) and rate."""
        minutes = self.archive.finest(symbol, "funding_rate")
        frame = self.archive.frame(symbol, "funding_rate", minutes) if minutes else None
        if frame is None:
            return []
        rows = slice(*np.searchsorted(frame.date, (begin, end), side="right").tolist())
        return list(zip(frame.date[rows].tolist(), frame.columns[0][rows].tolist(), strict=True))

    def _market(self, symbol: str, at: int) -> quotes.Market:
        self.spec(symbol)
        if (market := quotes.look(self.archive, self._path(symbol), symbol, at)) is None:
            raise ApiError(-1122, "Invalid symbol status.")
        return market

    def _path(self, symbol: str) -> paths.Path:
        if symbol not in self._paths:
            self._paths[symbol] = paths.Path(self.spec(symbol).price_decimals, self._walks.get(symbol, {}))
        return self._paths[symbol]

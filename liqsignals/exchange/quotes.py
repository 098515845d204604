"""A market's state at an instant: forming candles, 24-hour statistics, spread and depth (docs/decisions/040).

The cost does not depend on the length of the history.
"""

import math
from typing import NamedTuple

import numpy as np

from liqsignals.exchange.archive import DAY, MINUTE, Archive, Frame, Spec, opened
from liqsignals.exchange.path import Bar, Path

#: The spread is _SPREAD of the mean range of the last _RECENT bars of the finest timeframe.
_SPREAD, _RECENT = 0.01, 12
#: Each level holds _SECONDS of mean volume at usual ranges; at most _MOST times that, at least 1 / _MOST.
_SECONDS, _MOST = 5.0, 4.0


class Market(NamedTuple):
    """One market at an instant: the finest closed bars, and the forming bar (None in a hole)."""

    closed: Frame
    forming: Bar | None
    step: int

    def price(self) -> float:
        return self.forming.close if self.forming else float(self.closed.columns[3][-1])

    def day(self) -> Frame:
        """The closed bars of the last 24 hours."""
        end = self.forming.date if self.forming else int(self.closed.date[-1]) + self.step
        # A whole day plus the forming bar would exceed 24 hours.
        first = end - max(DAY, self.step) + self.step * (self.forming is not None)
        return self.closed.slice(int(np.searchsorted(self.closed.date, first)), len(self.closed.date))


def look(archive: Archive, path: Path, symbol: str, now: int) -> Market | None:
    """A market at `now` (ms); None before its first bar."""
    minutes = archive.finest(symbol, "futures")
    frame = archive.frame(symbol, "futures", minutes) if minutes else None
    if frame is None or minutes is None:
        return None
    step = minutes * MINUTE
    begun = int(np.searchsorted(frame.date, now, side="right"))
    if not begun:
        return None
    if now >= int(frame.date[begun - 1]) + step:
        return Market(frame.slice(0, begun), None, step)
    bar = row(frame, begun - 1)
    return Market(frame.slice(0, begun - 1), path.forming(bar, (now - bar.date) / step), step)


def row(frame: Frame, number: int) -> Bar:
    return Bar(int(frame.date[number]), *(float(column[number]) for column in frame.columns))


def forming(market: Market, minutes: int, now: int) -> Bar | None:
    """The candle of `minutes` that is open at `now`: its closed bars and the forming bar.

    None where no bar of it is known, and for a timeframe that is no multiple of the finest bars.
    """
    if minutes * MINUTE % market.step:
        return None
    return _joined(market.closed, market.forming, opened(now, minutes))


def forming_mark(archive: Archive, market: Market, symbol: str, minutes: int, now: int) -> Bar | None:
    """The mark candle of `minutes` that is open at `now`.

    Mark-price files are hourly: within the newest bar the mark price opens at the file's open and equals the last price
    from then on. Without a row in the file it is the last price throughout.
    """
    finest = archive.finest(symbol, "mark")
    frame = archive.frame(symbol, "mark", finest) if finest else None
    if frame is None or finest is None or minutes % finest:
        return None
    known = int(np.searchsorted(frame.date, now - finest * MINUTE, side="right"))
    bar = forming(market, finest, now)
    if known < len(frame.date) and int(frame.date[known]) == opened(now, finest):
        open_ = float(frame.columns[0][known])
        bar = bar or Bar(int(frame.date[known]), open_, open_, open_, open_, 0.0)
        bar = bar._replace(open=open_, high=max(open_, bar.high), low=min(open_, bar.low))
    return _joined(frame.slice(0, known), bar, opened(now, minutes))


def _joined(closed: Frame, bar: Bar | None, begin: int) -> Bar | None:
    """One candle of the closed bars from `begin` on and the forming one."""
    part = closed.slice(int(np.searchsorted(closed.date, begin)), len(closed.date))
    if not len(part.date):
        return bar and bar._replace(date=begin)
    open_, high, low, close, volume = part.columns
    return Bar(
        begin,
        float(open_[0]),
        max([float(high.max())] + ([bar.high] if bar else [])),
        min([float(low.min())] + ([bar.low] if bar else [])),
        bar.close if bar else float(close[-1]),
        round(float(volume.sum()) + (bar.volume if bar else 0.0), 8),
    )


class Quote(NamedTuple):
    """24-hour statistics from a market's bars, the forming one included; times in ms."""

    open: float
    high: float
    low: float
    last: float
    volume: float
    turnover: float
    open_ms: int
    close_ms: int

    @property
    def per_second(self) -> float:
        return self.volume * 1000 / max(self.close_ms + 1 - self.open_ms, 1)


def quote(market: Market, now: int) -> Quote:
    day, bar = market.day(), market.forming
    begin = int(day.date[0]) if len(day.date) else opened(now, market.step // MINUTE)
    whole = _joined(day, bar, begin)
    assert whole is not None
    open_, high, low, close, volume = day.columns
    return Quote(
        *whole[1:],
        turnover=float((volume * (open_ + high + low + close) / 4).sum()) + (turnover(bar) if bar else 0.0),
        open_ms=begin,
        close_ms=now if bar else int(day.date[-1]) + market.step - 1,
    )


def turnover(bar: Bar) -> float:
    """Estimated turnover in quote units; the files do not hold it."""
    return bar.volume * (bar.open + bar.high + bar.low + bar.close) / 4


class Book(NamedTuple):
    """A synthetic order book: best prices and level spacing in ticks, coins per level."""

    bid: int
    ask: int
    spacing: int
    amount: float


def book(market: Market, spec: Spec, stats: Quote, spread: int | None = None) -> Book:
    """Spread and depth from the market's volatility (decision 040).

    Spread: 1 % of the mean relative range of the last twelve closed bars, in whole ticks, at least one, centred on the
    price; or `spread` ticks. Levels are half a spread apart, so that twenty reach ten spreads from the price. Each
    holds five seconds of the day's mean volume, times the day's mean range over the mean range of those bars (limited
    to 1/4 .. 4).
    """
    bars = len(market.closed.date)
    recent, usual = _mean_range(market.closed.slice(max(0, bars - _RECENT), bars)), _mean_range(market.day())
    ticks = stats.last * 10**spec.price_decimals
    spread = spread or max(1, math.ceil(round(_SPREAD * recent * ticks, 6)))
    ratio = usual / recent if recent > 0 else 1.0
    amount = _SECONDS * stats.per_second * min(max(ratio, 1 / _MOST), _MOST)
    bid = round(ticks) - spread // 2
    return Book(bid, bid + spread, -(-spread // 2), max(amount, 10.0**-spec.amount_decimals))


def _mean_range(bars: Frame) -> float:
    _, high, low, close, _ = bars.columns
    return float(((high - low) / close).mean()) if len(bars.date) else 0.0

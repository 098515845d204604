"""Endpoints of the loopback exchange: Binance USD-M's public REST API, served from an archive at the market clock's
time.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from email.utils import formatdate
from functools import partial
from typing import Any

import numpy as np
from aiohttp import web

from liqsignals.errors import InputError
from liqsignals.exchange import archive as files
from liqsignals.exchange import path as paths
from liqsignals.exchange import quotes, stream
from liqsignals.exchange.archive import DAY, INTERVALS, MINUTE, PERIODS, Archive, Frame, Spec, text
from liqsignals.exchange.extras import Extras
from liqsignals.exchange.faults import seen
from liqsignals.venues import LABEL_START, documented_convention

Clock = Callable[[], int]

Row = Mapping[str, Any]

#: Bars with a walk of their own: symbol -> open of the finest bar, ms -> prices (path.py).
Walks = Mapping[str, Mapping[int, Sequence[float]]]


def _handler(answer: Callable[[Row], Any]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response(answer(request.query))

    return handle


def dated(now_ms: Clock) -> Any:
    """Add a Date header with the market clock's time: a recorder compares it with its own clock."""

    @web.middleware
    async def date(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        response = await handler(request)
        if not response.prepared:
            response.headers["Date"] = formatdate(now_ms() / 1000, usegmt=True)
        return response

    return date


@web.middleware
async def _answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        code, message, status = error.code, str(error), error.status
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        code, message, status = -5000, f"Path {request.path}, Method {request.method} is invalid", 404
    except InputError as error:
        code, message, status = -1000, str(error), 500
    return web.json_response({"code": code, "msg": message}, status=status)


_HOUR = 60 * MINUTE

_NEVER = 4133404800000  # Binance's delivery date of a perpetual contract

_RETENTION = 30 * DAY  # of open interest and ratios

_PERIOD = 5 * MINUTE

#: Ratios by their columns in the extras.
_RATIOS = {
    "topLongShortAccountRatio": "top_account",
    "topLongShortPositionRatio": "top_position",
    "globalLongShortAccountRatio": "account",
    "takerlongshortRatio": "taker",
}


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class ApiError(Exception):
    """An error response `{"code": ..., "msg": ...}`."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class LoopbackExchange:
    """The endpoints. `now_ms` is the only clock they read, once per request.

    `spread`: of every book, in ticks; None for one that widens with the market (decision 040).
    """

    def __init__(
        self, archive: Archive, now_ms: Clock = wall_clock_ms, walks: Walks | None = None, spread: int | None = None
    ) -> None:
        self.archive = archive
        self.extras = Extras(archive.datadir, archive.markets, archive.exchange)
        self.now_ms = seen(now_ms)
        self._walks = walks or {}
        self._spread = spread
        self._paths: dict[str, paths.Path] = {}

    def app(self) -> web.Application:
        app = web.Application(middlewares=[dated(self.now_ms), _answer_errors])
        routes: dict[str, Callable[[Row], Any]] = {
            "/fapi/v1/exchangeInfo": self.exchange_info,
            "/fapi/v1/time": lambda _: {"serverTime": self.now_ms()},
            "/fapi/v1/klines": lambda query: self.klines(query, "futures"),
            "/fapi/v1/markPriceKlines": lambda query: self.klines(query, "mark"),
            "/fapi/v1/premiumIndex": self.premium_index,
            "/fapi/v1/fundingRate": self.funding_rate,
            "/fapi/v1/fundingInfo": self.funding_info,
            "/fapi/v1/depth": self.depth,
            "/fapi/v1/ticker/24hr": self.ticker,
            "/fapi/v1/ticker/bookTicker": self.book_ticker,
            "/fapi/v1/ticker/price": self.price,
            "/fapi/v2/ticker/price": self.price,
            "/futures/data/openInterestHist": self.open_interest,
            **{f"/futures/data/{name}": partial(self.ratio, column=column) for name, column in _RATIOS.items()},
        }
        for path, answer in routes.items():
            app.router.add_get(path, _handler(answer))
        stream.add_to(app, self.extras, self.now_ms)
        return app

    def exchange_info(self, query: Row) -> dict[str, Any]:
        specs = {symbol: self.archive.spec(symbol) for symbol in self.archive.markets}
        listed = {symbol: spec for symbol, spec in specs.items() if spec}
        quotes = {self.archive.markets[symbol].quote for symbol in listed}
        limits = (
            ("REQUEST_WEIGHT", "MINUTE", 1, 2400),
            ("ORDERS", "MINUTE", 1, 1200),
            ("ORDERS", "SECOND", 10, 300),
        )
        return {
            "timezone": "UTC",
            "serverTime": self.now_ms(),
            "futuresType": "U_MARGINED",
            "rateLimits": [
                {"rateLimitType": kind, "interval": unit, "intervalNum": number, "limit": limit}
                for kind, unit, number, limit in limits
            ],
            "exchangeFilters": [],
            "assets": [
                {"asset": quote, "marginAvailable": True, "autoAssetExchange": "-10000"} for quote in sorted(quotes)
            ],
            "symbols": [_contract(self.archive.markets[symbol], spec) for symbol, spec in listed.items()],
        }

    def klines(self, query: Row, kind: str) -> list[list[Any]]:
        symbol = self._symbol(query)
        interval = required(query, "interval")
        if interval not in INTERVALS:
            raise ApiError(-1120, "Invalid interval.")
        start, end, limit = _window(query, default=500, most=1500)
        return self.candles(symbol, kind, INTERVALS[interval], start, end, limit)

    def candles(
        self, symbol: str, kind: str, minutes: int, start: int | None, end: int | None, limit: int
    ) -> list[list[Any]]:
        """Candles that open from `start` to `end` (ms, both included), the forming one among them, as Binance sends
        them.

        The first `limit` of them where there is a start, else the last.
        """
        now = self.now_ms()
        end = _NEVER if end is None else end
        step = minutes * MINUTE
        frame = self.archive.frame(symbol, kind, minutes)
        forming = self._forming(symbol, kind, minutes, now) if frame else None
        if forming and not (start or 0) <= forming.date <= end:
            forming = None
        oldest_first = start is not None
        spare = 1 if forming and not oldest_first else 0
        rows = list(_tuples(_select(frame, start, min(end, now - step), limit - spare, oldest_first)))
        if forming and len(rows) < limit:
            rows.append(tuple(forming))
        if kind == "mark":
            return [_kline(paths.Bar(*values), step, "0", *_NO_TAKERS) for values in rows]
        bars = [paths.Bar(*values) for values in rows]
        takers = self._takers(symbol, [bar.date for bar in bars], step, now)
        return [
            _kline(bar, step, text(bar.volume), *(known or (text(round(quotes.turnover(bar), 8)), *_NO_TAKERS[1:])))
            for bar, known in zip(bars, takers, strict=True)
        ]

    def _takers(self, symbol: str, dates: list[int], step: int, now: int) -> list[tuple[str, int, str, str] | None]:
        """Turnover, trades, coins and quote units bought by takers; None for bars open or not in the extras."""
        rows = self.extras.takers(symbol)
        if step != _PERIOD or not len(rows) or not dates:
            return [None] * len(dates)
        closes = (np.array(dates) + step) * 1_000_000
        found = np.searchsorted(rows["event_time"], closes)
        out: list[tuple[str, int, str, str] | None] = []
        for close, row in zip(closes.tolist(), rows[np.minimum(found, len(rows) - 1)], strict=True):
            known = row["event_time"] == close <= now * 1_000_000
            trades = 0 if np.isnan(row["trades"]) else int(row["trades"])
            out.append((text(row["quote"]), trades, text(row["buy_base"]), text(row["buy_quote"])) if known else None)
        return out

    def _forming(self, symbol: str, kind: str, minutes: int, now: int) -> paths.Bar | None:
        if (market := self._look(symbol, now)) is None:
            return None
        if kind == "mark":
            return quotes.forming_mark(self.archive, market, symbol, minutes, now)
        return quotes.forming(market, minutes, now)

    def funding_rate(self, query: Row) -> list[dict[str, Any]]:
        symbols = [self._symbol(query)] if "symbol" in query else list(self.archive.markets)
        start, end, limit = _window(query, default=100, most=1000)
        found: list[dict[str, Any]] = [
            {
                "symbol": symbol,
                "fundingRate": text(rate),
                "fundingTime": date,
                "markPrice": "",  # empty in Binance's own early rows, too; the files do not have it
                "rateType": "Regular",
            }
            for symbol in symbols
            for date, rate in self.settled(symbol, start, end, limit, start is not None)
        ]
        found.sort(key=lambda row: int(row["fundingTime"]))
        return found[:limit] if start is not None else found[-limit:]

    def settled(
        self, symbol: str, start: int | None, end: int | None, limit: int, oldest_first: bool = False
    ) -> list[tuple[int, float]]:
        """Settlements (ms, rate) from `start` to `end`, both included, the first or the last `limit` of them."""
        now = self.now_ms()
        end = now if end is None else min(end, now)
        return list(_tuples(_select(self._funding(symbol), start, end, limit, oldest_first)))

    def funding_hours(self, symbol: str) -> int:
        """Hours between settlements at the market time."""
        return self._funding_now(symbol, self.now_ms())[1]

    def funding_info(self, query: Row) -> list[dict[str, Any]]:
        """Binance lists only contracts whose funding differs from eight hours and the default caps."""
        return [
            {
                "symbol": symbol,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": hours,
                "disclaimer": False,
            }
            for symbol in self.archive.markets
            if (hours := self.funding_hours(symbol)) != 8
        ]

    def premium_index(self, query: Row) -> dict[str, Any] | list[dict[str, Any]]:
        return self._one_or_all(query, self._premium)

    def depth(self, query: Row) -> dict[str, Any]:
        symbol = self._symbol(query)
        limit = integer(query, "limit", 500)
        if limit not in (5, 10, 20, 50, 100, 500, 1000):
            raise ApiError(-4021, f"{limit} is not valid depth limit.")
        now = self.now_ms()
        bids, asks = self.book(symbol, limit)
        return {"lastUpdateId": now, "E": now, "T": now, "bids": bids, "asks": asks}

    def book(self, symbol: str, levels: int) -> tuple[list[list[str]], list[list[str]]]:
        """Bids and asks now as price and amount, best first."""
        now = self.now_ms()
        if (market := self._look(symbol, now)) is None:
            raise _not_listed_yet()
        return self._book(symbol, market, now, levels)

    def ticker(self, query: Row) -> dict[str, Any] | list[dict[str, Any]]:
        return self._one_or_all(query, self._ticker)

    def book_ticker(self, query: Row) -> dict[str, Any] | list[dict[str, Any]]:
        return self._one_or_all(query, self._book_ticker)

    def price(self, query: Row) -> dict[str, Any] | list[dict[str, Any]]:
        return self._one_or_all(
            query, lambda symbol, market, now: {"symbol": symbol, "price": text(market.price()), "time": now}
        )

    def open_interest(self, query: Row) -> list[dict[str, Any]]:
        """The latest rows of the window: this endpoint never counts `limit` from startTime.

        Labels are those of the file; a row is served once its snapshot was taken. Binance keeps 30 days and refuses a
        window that begins earlier.
        """
        symbol = self._symbol(query)
        now = self.now_ms()
        minutes, start, end, limit = _span(query, now)
        return [
            {
                "symbol": symbol,
                "sumOpenInterest": text(amount),
                "sumOpenInterestValue": text(value),
                "timestamp": date,
            }
            for date, amount, value in self.interest(symbol, minutes, start, end, limit)
        ]

    def interest(
        self, symbol: str, minutes: int, start: int | None, end: int | None, limit: int
    ) -> list[tuple[int, float, float]]:
        """The last `limit` rows of open interest (label in ms, amount, worth) from `start` to `end`, both included."""
        now = self.now_ms()
        frame = self.archive.frame(symbol, "open_interest", minutes)
        if frame:
            frame = frame.slice(0, int(np.searchsorted(self.archive.published_ms(symbol, minutes), now, side="right")))
        return list(_tuples(_select(frame, start, now if end is None else min(end, now), limit, oldest_first=False)))

    def ratio(self, query: Row, column: str) -> list[dict[str, Any]]:
        """Like `open_interest`, from the extras; labels follow Binance's REST convention at the market time."""
        symbol = self._symbol(query)
        now = self.now_ms()
        minutes, start, end, limit = _span(query, now)
        # What is labelled by its start is published at its end all the same.
        ahead = _PERIOD if documented_convention(self.archive.exchange, now * 1_000_000) == LABEL_START else 0
        frame = self.extras.ratios(symbol, column)
        if minutes * MINUTE != _PERIOD:
            keep = (frame.date - ahead) % (minutes * MINUTE) == 0
            frame = Frame(frame.date[keep], (frame.columns[0][keep],))
        rows = _select(frame, start + ahead, min(end + ahead, now), limit, oldest_first=False)
        return [_ratio(symbol, column, date - ahead, value) for date, value in _tuples(rows)]

    def _symbol(self, query: Row) -> str:
        symbol = required(query, "symbol")
        if symbol not in self.archive.markets:
            raise ApiError(-1121, "Invalid symbol.")
        return symbol

    def _one_or_all(
        self, query: Row, row: Callable[[str, quotes.Market, int], dict[str, Any]]
    ) -> dict[str, Any] | list[dict[str, Any]]:
        now = self.now_ms()
        if "symbol" in query:
            symbol = self._symbol(query)
            if (market := self._look(symbol, now)) is None:
                raise _not_listed_yet()
            return row(symbol, market, now)
        return [row(symbol, market, now) for symbol in self.archive.markets if (market := self._look(symbol, now))]

    def _look(self, symbol: str, now: int) -> quotes.Market | None:
        if (spec := self.archive.spec(symbol)) is None:
            return None
        if symbol not in self._paths:
            self._paths[symbol] = paths.Path(spec.price_decimals, self._walks.get(symbol, {}))
        return quotes.look(self.archive, self._paths[symbol], symbol, now)

    def _ticker(self, symbol: str, market: quotes.Market, now: int) -> dict[str, Any]:
        spec = self._spec(symbol)
        quote = quotes.quote(market, now)
        mean = quote.turnover / quote.volume if quote.volume else quote.last
        return {
            "symbol": symbol,
            "priceChange": f"{quote.last - quote.open:.{spec.price_decimals}f}",
            "priceChangePercent": f"{100 * (quote.last / quote.open - 1):.3f}",
            "weightedAvgPrice": f"{mean:.{spec.price_decimals}f}",
            "lastPrice": text(quote.last),
            "lastQty": f"{max(quote.per_second, 10.0**-spec.amount_decimals):.{spec.amount_decimals}f}",
            "openPrice": text(quote.open),
            "highPrice": text(quote.high),
            "lowPrice": text(quote.low),
            "volume": f"{quote.volume:.{spec.amount_decimals}f}",
            "quoteVolume": f"{quote.turnover:.2f}",
            "openTime": quote.open_ms,
            "closeTime": quote.close_ms,
            "firstId": 0,
            "lastId": 0,
            "count": 0,
        }

    def _book_ticker(self, symbol: str, market: quotes.Market, now: int) -> dict[str, Any]:
        bids, asks = self._book(symbol, market, now, 1)
        return {
            "symbol": symbol,
            "bidPrice": bids[0][0],
            "bidQty": bids[0][1],
            "askPrice": asks[0][0],
            "askQty": asks[0][1],
            "time": now,
            "lastUpdateId": now,
        }

    def _book(
        self, symbol: str, market: quotes.Market, now: int, levels: int
    ) -> tuple[list[list[str]], list[list[str]]]:
        """Bids and asks as price and amount, best first (quotes.book)."""
        spec = self._spec(symbol)
        book = quotes.book(market, spec, quotes.quote(market, now), self._spread)
        amount = f"{book.amount:.{spec.amount_decimals}f}"

        def side(best: int, step: int) -> list[list[str]]:
            ticks = range(best, best + step * levels, step)
            return [[f"{tick / 10**spec.price_decimals:.{spec.price_decimals}f}", amount] for tick in ticks if tick > 0]

        return side(book.bid, -book.spacing), side(book.ask, book.spacing)

    def _premium(self, symbol: str, market: quotes.Market, now: int) -> dict[str, Any]:
        """Mark price and funding. Inside a mark candle the last price is used as mark price and as index price."""
        mark = text(market.price())
        rate, hours = self._funding_now(symbol, now)
        period = hours * _HOUR
        return {
            "symbol": symbol,
            "markPrice": mark,
            "indexPrice": mark,
            "estimatedSettlePrice": mark,
            # Binance sends its running estimate of the next rate; the files hold only settled rates.
            "lastFundingRate": text(rate),
            "interestRate": "0.00010000",
            "nextFundingTime": now // period * period + period,
            "time": now,
        }

    def _funding(self, symbol: str) -> Frame | None:
        """Settled rates. The timeframe in the file's name has no meaning here."""
        minutes = self.archive.finest(symbol, "funding_rate")
        return self.archive.frame(symbol, "funding_rate", minutes) if minutes else None

    def _funding_now(self, symbol: str, now: int) -> tuple[float, int]:
        """The last settled rate and the hours between settlements."""
        rows = _select(self._funding(symbol), None, now, 4, oldest_first=False)
        if not len(rows.date):
            return 0.0, 8
        gap = float(np.median(np.diff(rows.date))) if len(rows.date) > 1 else 8 * _HOUR
        return float(rows.columns[0][-1]), max(1, round(gap / _HOUR))

    def _spec(self, symbol: str) -> Spec:
        spec = self.archive.spec(symbol)
        if spec is None:
            raise _not_listed_yet()
        return spec


def _contract(market: files.Market, spec: Spec) -> dict[str, Any]:
    """One symbol of exchangeInfo."""
    tick = f"{Decimal(1).scaleb(-spec.price_decimals):f}"
    step = f"{Decimal(1).scaleb(-spec.amount_decimals):f}"
    return {
        "symbol": market.symbol,
        "pair": market.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": _NEVER,
        "onboardDate": spec.onboard_ms,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": market.base,
        "quoteAsset": market.quote,
        "marginAsset": market.quote,
        "pricePrecision": spec.price_decimals,
        "quantityPrecision": spec.amount_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "100000000", "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": step, "maxQty": "10000000", "stepSize": step},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": "1.0500",
                "multiplierDown": "0.9500",
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "permissionSets": ["GRID", "COPY"],
    }


def _ratio(symbol: str, column: str, date: int, value: float) -> dict[str, Any]:
    if column == "taker":
        return {"buySellRatio": text(value), "timestamp": date}
    shares = {"longAccount": f"{value / (1 + value):.4f}", "shortAccount": f"{1 / (1 + value):.4f}"}
    return {"symbol": symbol, "longShortRatio": text(value), **shares, "timestamp": date}


#: Turnover, trades, coins and quote units bought by takers of a candle without volume. The last three are also used
#: where they are not known.
_NO_TAKERS = ("0", 0, "", "")


def _kline(bar: paths.Bar, step: int, volume: str, turnover: str, trades: int, bought: str, paid: str) -> list[Any]:
    """A candle as Binance sends it.

    Freqtrade's files hold no turnover, number of trades or taker volume. Without the extras the first is estimated, the
    second zero, and the third empty: a zero would be stored by a recorder as a measured value.
    """
    return [
        bar.date,
        text(bar.open),
        text(bar.high),
        text(bar.low),
        text(bar.close),
        volume,
        bar.date + step - 1,
        turnover,
        trades,
        bought,
        paid,
        "0",
    ]


def _select(frame: Frame | None, start: int | None, end: int, limit: int, oldest_first: bool) -> Frame:
    """The rows labelled from `start` to `end`, both included, the first or the last `limit` of them."""
    if frame is None:
        return Frame(np.empty(0, np.int64), ())
    first = 0 if start is None else int(np.searchsorted(frame.date, start))
    last = int(np.searchsorted(frame.date, end, side="right"))
    if oldest_first:
        return frame.slice(first, max(first, min(last, first + limit)))
    return frame.slice(max(first, last - limit), max(first, last))


def _tuples(rows: Frame) -> Iterator[tuple[Any, ...]]:
    return zip(rows.date.tolist(), *(column.tolist() for column in rows.columns), strict=True)


def required(query: Row, name: str) -> str:
    if not (value := query.get(name)):
        raise ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return str(value)


def integer(query: Row, name: str, default: int) -> int:
    try:
        return int(query.get(name, default))
    except ValueError:
        raise ApiError(-1130, f"Data sent for parameter '{name}' is not valid.") from None


def _window(query: Row, default: int, most: int) -> tuple[int | None, int, int]:
    """startTime (None if not given), endTime and limit."""
    limit = integer(query, "limit", default)
    if not 1 <= limit <= most:
        raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
    start = integer(query, "startTime", 0) if "startTime" in query else None
    end = integer(query, "endTime", _NEVER)
    if start is not None and start > end:
        raise ApiError(-1023, "Start time is greater than end time.")
    return start, end, limit


def _span(query: Row, now: int) -> tuple[int, int, int, int]:
    """Minutes of the period, first and last label and limit of a series with 30 days of history."""
    period = required(query, "period")
    if period not in PERIODS:
        raise ApiError(-1130, "Data sent for parameter 'period' is not valid.")
    start, end, limit = _window(query, default=30, most=500)
    oldest = now - _RETENTION
    if start is not None and start < oldest:
        raise ApiError(-1130, "parameter 'startTime' is invalid.")
    return INTERVALS[period], oldest if start is None else start, min(end, now), limit


def _not_listed_yet() -> ApiError:
    return ApiError(-1122, "Invalid symbol status.")

"""Endpoints of the loopback exchange in Bybit's words: the public v5 REST API of linear perpetuals.

The market is the one that endpoints.py serves in Binance's words; here only names, shapes and limits differ. What Bybit
does otherwise: lists come newest first, open interest counts both sides (as its files do) and is kept for good, errors
come with status 200. Leverage tiers are those of venues.py, which are Binance's: Bybit's own are not on disk.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from liqsignals import venues
from liqsignals.errors import InputError
from liqsignals.exchange.archive import INTERVALS, MINUTE, Market, Spec, text
from liqsignals.exchange.endpoints import ApiError, LoopbackExchange, Row, dated, integer, required

#: Minutes of a candle by Bybit's `interval`, and of a period by its `intervalTime`.
CANDLES = {
    {1440: "D", 10080: "W"}.get(minutes, str(minutes)): minutes
    for minutes in INTERVALS.values()
    if minutes not in (480, 4320)
}
_PERIODS = {"5min": 5, "15min": 15, "30min": 30, "1h": 60, "4h": 240, "1d": 1440}
_LAST_TIER = 10**9  # USD: no position is larger


class BybitExchange:
    """Bybit's endpoints over a loopback market."""

    def __init__(self, market: LoopbackExchange) -> None:
        self.market = market
        self._symbols = {bybit_symbol(one): symbol for symbol, one in market.archive.markets.items()}

    def app(self) -> web.Application:
        app = web.Application(middlewares=[dated(self.market.now_ms)])
        routes: dict[str, Callable[[Row], Any]] = {
            "/v5/market/time": self.time,
            "/v5/market/instruments-info": self.instruments,
            "/v5/market/risk-limit": self.risk_limit,
            "/v5/market/kline": lambda query: self.klines(query, "futures"),
            "/v5/market/mark-price-kline": lambda query: self.klines(query, "mark"),
            "/v5/market/tickers": self.tickers,
            "/v5/market/orderbook": self.order_book,
            "/v5/market/funding/history": self.funding_history,
            "/v5/market/open-interest": self.open_interest,
        }
        for path, answer in routes.items():
            app.router.add_get(path, self._handler(answer))
        return app

    def _handler(self, answer: Callable[[Row], Any]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A request's answer in Bybit's envelope."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                code, message, result = 0, "OK", answer(request.query)
            except ApiError as error:
                code, message, result = 10001, str(error), {}
            except InputError as error:
                code, message, result = 10016, str(error), {}
            now = self.market.now_ms()
            return web.json_response(
                {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": now}
            )

        return handle

    def time(self, query: Row) -> dict[str, str]:
        now = self.market.now_ms()
        return {"timeSecond": str(now // 1000), "timeNano": str(now * 1_000_000)}

    def instruments(self, query: Row) -> dict[str, Any]:
        if query.get("category") != "linear" or query.get("status") == "PreLaunch":
            return {"category": query.get("category", ""), "list": [], "nextPageCursor": ""}
        found = [
            self._contract(symbol, market, spec)
            for symbol, market in self.market.archive.markets.items()
            if (spec := self.market.archive.spec(symbol))
        ]
        return {"category": "linear", "list": found, "nextPageCursor": ""}

    def risk_limit(self, query: Row) -> dict[str, Any]:
        asked = {self._symbol(query)} if "symbol" in query else set(self.market.archive.markets)
        rows: list[dict[str, Any]] = []
        for symbol, market in self.market.archive.markets.items():
            if symbol not in asked:
                continue
            tiers = venues.brackets(market.pair)
            ends = [tier.floor for tier in tiers[1:]] + [_LAST_TIER]
            for number, (tier, end) in enumerate(zip(tiers, ends, strict=True), 1):
                rows.append(
                    {
                        "id": number,
                        "symbol": bybit_symbol(market),
                        "riskLimitValue": text(end),
                        "maintenanceMargin": text(tier.maintenance),
                        "initialMargin": text(1 / tier.max_leverage),
                        "isLowestRisk": int(number == 1),
                        "maxLeverage": text(tier.max_leverage),
                        "mmDeduction": text(tier.cum),
                    }
                )
        return {"category": "linear", "list": rows, "nextPageCursor": ""}

    def klines(self, query: Row, kind: str) -> dict[str, Any]:
        symbol, interval = self._symbol(query), required(query, "interval")
        if interval not in CANDLES:
            raise ApiError(-1120, "Invalid period!")
        minutes, limit = CANDLES[interval], _limit(query, 200, 1000)
        start, end = _window(query, "start", "end")
        # With a start alone the rows after it, else the newest ones up to the end.
        if start is not None and end is not None:
            start = max(start, end - (limit - 1) * minutes * MINUTE)
        rows = self.market.candles(symbol, kind, minutes, start, end, limit)
        width = 5 if kind == "mark" else 7
        listed = [[str(row[0]), *row[1:6], row[7]][:width] for row in reversed(rows)]
        return {"symbol": query["symbol"], "category": "linear", "list": listed}

    def tickers(self, query: Row) -> dict[str, Any]:
        asked = {"symbol": self._symbol(query)} if "symbol" in query else {}
        answers = [self.market.ticker(asked), self.market.book_ticker(asked), self.market.premium_index(asked)]
        parts = [rows if isinstance(rows, list) else [rows] for rows in answers]
        return {"category": "linear", "list": [self._ticker(*rows) for rows in zip(*parts, strict=True)]}

    def order_book(self, query: Row) -> dict[str, Any]:
        symbol, limit = self._symbol(query), _limit(query, 25, 1000)
        bids, asks = self.market.book(symbol, limit)
        return {"s": query["symbol"], "b": bids, "a": asks, "ts": (now := self.market.now_ms()), "u": now}

    def funding_history(self, query: Row) -> dict[str, Any]:
        symbol, limit = self._symbol(query), _limit(query, 200, 200)
        start, end = _window(query, "startTime", "endTime")
        rows = self.market.settled(symbol, start, end, limit)
        listed = [
            {"symbol": query["symbol"], "fundingRate": text(rate), "fundingRateTimestamp": str(date)}
            for date, rate in reversed(rows)
        ]
        return {"category": "linear", "list": listed}

    def open_interest(self, query: Row) -> dict[str, Any]:
        symbol, limit = self._symbol(query), _limit(query, 50, 200)
        period = required(query, "intervalTime")
        if period not in _PERIODS:
            raise ApiError(-1120, "Invalid intervalTime")
        start, end = _window(query, "startTime", "endTime")
        rows = self.market.interest(symbol, _PERIODS[period], start, end, limit)
        listed = [{"openInterest": text(amount), "timestamp": str(date)} for date, amount, _ in reversed(rows)]
        return {"symbol": query["symbol"], "category": "linear", "list": listed, "nextPageCursor": ""}

    def _symbol(self, query: Row) -> str:
        named = required(query, "symbol")
        if query.get("category", "linear") != "linear" or named not in self._symbols:
            raise ApiError(-1121, "params error: Symbol Is Invalid")
        return self._symbols[named]

    def _contract(self, symbol: str, market: Market, spec: Spec) -> dict[str, Any]:
        tick, step = (f"{10.0**-places:.{places}f}" for places in (spec.price_decimals, spec.amount_decimals))
        leverage = venues.brackets(market.pair)[0].max_leverage
        hours = self.market.funding_hours(symbol)
        return {
            "symbol": bybit_symbol(market),
            "contractType": "LinearPerpetual",
            "status": "Trading",
            "baseCoin": market.base,
            "quoteCoin": market.quote,
            "settleCoin": market.quote,
            "launchTime": str(spec.onboard_ms),
            "deliveryTime": "0",
            "deliveryFeeRate": "",
            "priceScale": str(spec.price_decimals),
            "leverageFilter": {"minLeverage": "1", "maxLeverage": text(leverage), "leverageStep": "0.01"},
            "priceFilter": {"minPrice": tick, "maxPrice": "1000000000", "tickSize": tick},
            "lotSizeFilter": {
                "minOrderQty": step,
                "maxOrderQty": "100000000",
                "maxMktOrderQty": "10000000",
                "postOnlyMaxOrderQty": "100000000",
                "qtyStep": step,
                "minNotionalValue": "5",
            },
            "unifiedMarginTrade": True,
            "fundingInterval": 60 * hours,
        }

    def _ticker(self, day: dict[str, Any], book: dict[str, Any], premium: dict[str, Any]) -> dict[str, Any]:
        symbol = day["symbol"]
        minutes = self.market.archive.finest(symbol, "open_interest")
        last = self.market.interest(symbol, minutes, None, None, 1) if minutes else []
        amount = last[-1][1] if last else 0.0
        return {
            "symbol": bybit_symbol(self.market.archive.markets[symbol]),
            "lastPrice": day["lastPrice"],
            "indexPrice": premium["indexPrice"],
            "markPrice": premium["markPrice"],
            "prevPrice24h": day["openPrice"],
            "price24hPcnt": text(float(day["lastPrice"]) / float(day["openPrice"]) - 1),
            "highPrice24h": day["highPrice"],
            "lowPrice24h": day["lowPrice"],
            "openInterest": text(amount),
            "openInterestValue": text(amount * float(premium["markPrice"])),
            "turnover24h": day["quoteVolume"],
            "volume24h": day["volume"],
            "fundingRate": premium["lastFundingRate"],
            "nextFundingTime": str(premium["nextFundingTime"]),
            "bid1Price": book["bidPrice"],
            "bid1Size": book["bidQty"],
            "ask1Price": book["askPrice"],
            "ask1Size": book["askQty"],
            "deliveryTime": "0",
        }


def bybit_symbol(market: Market) -> str:
    """Bybit's symbol of a market: USDC contracts are named after the coin alone."""
    return f"{market.base}PERP" if market.quote == "USDC" else market.symbol


def _limit(query: Row, default: int, most: int) -> int:
    return max(1, min(integer(query, "limit", default), most))


def _window(query: Row, first: str, last: str) -> tuple[int | None, int | None]:
    start, end = (integer(query, name, 0) if name in query else None for name in (first, last))
    if start is not None and end is not None and start > end:
        raise ApiError(-1023, "The start time is later than the end time")
    return start, end

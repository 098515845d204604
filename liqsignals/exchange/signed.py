"""The signed half of Binance USD-M's REST API, for one account (account.py) and its dummy key.

What unmodified freqtrade 2026.9 and ccxt 4.5.90 need of it with `dry_run: false` is listed in docs/live-rehearsal.md,
with the file and line that asks. Keys, time stamps (recvWindow) and HMAC-SHA256 signatures are checked as Binance does.
"""

import hashlib
import hmac
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from liqsignals.exchange.account import CONDITIONAL, Account, Fill, Order, Stop
from liqsignals.exchange.endpoints import ApiError, Clock

#: ccxt knows the codes of futures by Binance's host name only (ccxt/binance.py:12577), and this is another. Codes that
#: it would not know here: what is sent instead, of the class that it raises for the original, which the message names.
SENT = {
    -2019: -4050,  # InsufficientFunds
    -2021: -4142,  # OrderImmediatelyFillable
    -2022: -2010,  # InvalidOrder
    -4116: -2010,
    -4164: -2010,
    -5022: -2010,
    -2025: -1004,  # OperationRejected
    -2027: -1004,
}
#: Weight of a request (REQUEST_WEIGHT, 2400 a minute) where it is not 1.
_WEIGHTS = {"account": 5, "positionRisk": 5, "userTrades": 5, "allOrders": 5, "income": 30, "accountConfig": 5}
_WEIGHT_LIMIT = 2400
#: Orders in 10 s and in a minute.
_ORDER_LIMITS = ((10_000, 300), (60_000, 1200))
_WINDOW = 5000  # recvWindow unless sent, ms
_AHEAD = 1000  # ms by which a time stamp may be ahead


@dataclass(frozen=True)
class Keys:
    """API key and secret: dummies, of no account."""

    key: str
    secret: str


Row = Mapping[str, str]


class SignedExchange:
    """The endpoints of one account.

    `stood_ms` of a clock that is stepped: where it stood before, for time stamps of requests under way in a step.
    """

    def __init__(self, account: Account, keys: Keys, now_ms: Clock, stood_ms: Clock | None = None) -> None:
        self.account = account
        self._keys = keys
        self._now_ms = now_ms
        self._stood_ms = stood_ms or now_ms
        self._weights: deque[tuple[int, int]] = deque()
        self._placed: deque[int] = deque()

    def add_to(self, app: web.Application) -> None:
        routes: dict[tuple[str, str], Callable[[Row, int], Any]] = {
            ("GET", "/fapi/v1/positionSide/dual"): lambda row, now: {"dualSidePosition": False},
            ("GET", "/fapi/v1/multiAssetsMargin"): lambda row, now: {"multiAssetsMargin": False},
            ("GET", "/fapi/v1/accountConfig"): self.config,
            ("GET", "/fapi/v1/leverageBracket"): self.brackets,
            ("POST", "/fapi/v1/leverage"): self.leverage,
            ("POST", "/fapi/v1/marginType"): self.margin_type,
            ("GET", "/fapi/v3/account"): self.balance,
            ("GET", "/fapi/v2/account"): self.balance,
            ("GET", "/fapi/v3/positionRisk"): self.positions,
            ("GET", "/fapi/v2/positionRisk"): self.positions,
            ("POST", "/fapi/v1/order"): self.place,
            ("GET", "/fapi/v1/order"): lambda row, now: _order(self.account, self._find(row, -2013)),
            ("DELETE", "/fapi/v1/order"): self.cancel,
            ("GET", "/fapi/v1/openOrders"): self.open_orders,
            ("GET", "/fapi/v1/allOrders"): self.all_orders,
            ("GET", "/fapi/v1/userTrades"): self.trades,
            ("POST", "/fapi/v1/algoOrder"): self.place_stop,
            ("GET", "/fapi/v1/algoOrder"): lambda row, now: _stop(self.account, self._find_stop(row, -2013)),
            ("DELETE", "/fapi/v1/algoOrder"): self.cancel_stop,
            ("GET", "/fapi/v1/openAlgoOrders"): self.open_stops,
            ("GET", "/fapi/v1/allAlgoOrders"): self.all_stops,
            ("GET", "/fapi/v1/income"): self.income,
        }
        for (method, path), answer in routes.items():
            app.router.add_route(method, path, self._handler(path, answer))

    def _handler(
        self, path: str, answer: Callable[[Row, int], Any]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.text()
            row = self._checked(request, body)
            with self.account.lock:
                now = self._now_ms()
                self._count(path, now)
                self.account.advance(now)
                try:
                    return web.json_response(answer(row, now))
                except ApiError as error:
                    sent = SENT.get(error.code)
                    if sent is None:
                        raise
                    raise ApiError(sent, f"{error} (Binance's code: {error.code})", error.status) from error

        return handle

    def _checked(self, request: web.Request, body: str) -> Row:
        """The parameters of a request with the right key, time stamp and signature."""
        if request.headers.get("X-MBX-APIKEY") != self._keys.key:
            raise ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        signed, _, signature = f"{request.query_string}{body}".rpartition("&signature=")
        wanted = hmac.new(self._keys.secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature, wanted):
            raise ApiError(-1022, "Signature for this request is not valid.")
        row = dict(parse_qsl(signed, keep_blank_values=True))
        try:
            at, window = int(_needed(row, "timestamp")), int(row.get("recvWindow", _WINDOW))
        except ValueError:
            raise ApiError(-1105, "Parameter 'timestamp' was empty.") from None
        if not self._stood_ms() - window <= at <= self._now_ms() + _AHEAD:
            raise ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")
        return row

    def _count(self, path: str, now: int) -> None:
        minute = now // 60_000
        while self._weights and self._weights[0][0] != minute:
            self._weights.popleft()
        self._weights.append((minute, _WEIGHTS.get(path.rpartition("/")[2], 1)))
        if sum(weight for _, weight in self._weights) > _WEIGHT_LIMIT:
            raise ApiError(-1003, "Too many requests; current limit of IP is 2400 requests per minute.", 429)

    def _count_order(self, now: int) -> None:
        while self._placed and self._placed[0] <= now - _ORDER_LIMITS[-1][0]:
            self._placed.popleft()
        for span, most in _ORDER_LIMITS:
            if sum(at > now - span for at in self._placed) >= most:
                raise ApiError(-1015, f"Too many new orders; current limit is {most} orders per {span // 1000} SECOND.", 429)  # fmt: skip
        self._placed.append(now)

    # Account

    def config(self, row: Row, now: int) -> dict[str, Any]:
        return {
            "feeTier": 0, "canTrade": True, "canDeposit": False, "canWithdraw": False, "dualSidePosition": False,
            "updateTime": now, "multiAssetsMargin": False, "tradeGroupId": -1,
        }  # fmt: skip

    def brackets(self, row: Row, now: int) -> list[dict[str, Any]]:
        symbols = [self._symbol(row)] if "symbol" in row else list(self.account.course.archive.markets)
        out = []
        for symbol in symbols:
            table = self.account.brackets(symbol)
            caps = [b.floor for b in table[1:]] + [1e9]
            out.append(
                {
                    "symbol": symbol,
                    "notionalCoef": 1.0,
                    "brackets": [
                        {
                            "bracket": number, "initialLeverage": int(b.max_leverage), "notionalCap": cap,
                            "notionalFloor": b.floor, "maintMarginRatio": b.maintenance, "cum": b.cum,
                        }
                        for number, (b, cap) in enumerate(zip(table, caps, strict=True), 1)
                    ],
                }
            )  # fmt: skip
        return out

    def leverage(self, row: Row, now: int) -> dict[str, Any]:
        symbol, leverage = self._symbol(row), int(_number(row, "leverage"))
        largest = self.account.set_leverage(symbol, leverage)
        return {"symbol": symbol, "leverage": leverage, "maxNotionalValue": f"{largest:g}"}

    def margin_type(self, row: Row, now: int) -> dict[str, Any]:
        kind = _needed(row, "marginType")
        if kind not in ("ISOLATED", "CROSSED"):
            raise ApiError(-4049, "Add margin only support for isolated position.")
        self.account.set_isolated(self._symbol(row), kind == "ISOLATED")
        return {"code": 200, "msg": "success"}

    def balance(self, row: Row, now: int) -> dict[str, Any]:
        account = self.account
        profit = sum(account.unrealized(symbol, now) for symbol in account.positions)
        used, orders = account.position_margin(), account.order_margin()
        asset = {
            "asset": account.asset,
            "walletBalance": _money(account.wallet),
            "unrealizedProfit": _money(profit),
            "marginBalance": _money(account.wallet + profit),
            "maintMargin": "0",
            "initialMargin": _money(used + orders),
            "positionInitialMargin": _money(used),
            "openOrderInitialMargin": _money(orders),
            "crossWalletBalance": _money(account.wallet - used),
            "crossUnPnl": "0",
            "availableBalance": _money(account.available()),
            "maxWithdrawAmount": _money(account.available()),
            "updateTime": now,
        }
        totals = ("walletBalance", "unrealizedProfit", "marginBalance", "initialMargin")
        return {
            **{f"total{name[0].upper()}{name[1:]}": asset[name] for name in totals},
            "availableBalance": asset["availableBalance"],
            "assets": [asset],
            "positions": self.positions({}, now),
        }

    def positions(self, row: Row, now: int) -> list[dict[str, Any]]:
        account = self.account
        symbols = [self._symbol(row)] if "symbol" in row else list(account.positions)
        out = []
        for symbol in symbols:
            position = account.position(symbol)
            if not position.lots:
                continue
            mark, coins = account.course.mark(symbol, now), account.coins(symbol, position.lots)
            out.append(
                {
                    "symbol": symbol, "positionSide": "BOTH", "positionAmt": _amount(coins), "entryPrice": _money(position.entry),
                    "breakEvenPrice": _money(position.entry), "markPrice": _money(mark),
                    "unRealizedProfit": _money(account.unrealized(symbol, now)),
                    "liquidationPrice": _money(account.liquidation_price(symbol)),
                    "isolatedMargin": _money(position.margin + account.unrealized(symbol, now)), "notional": _money(coins * mark),
                    "marginAsset": account.asset, "isolatedWallet": _money(position.margin),
                    "initialMargin": _money(position.margin), "maintMargin": "0", "positionInitialMargin": _money(position.margin),
                    "openOrderInitialMargin": "0", "adl": 0, "bidNotional": "0", "askNotional": "0",
                    "updateTime": position.updated, "leverage": str(account.leverage.get(symbol, 20)), "marginType": "isolated",
                }
            )  # fmt: skip
        return out

    def income(self, row: Row, now: int) -> list[dict[str, Any]]:
        start, end = int(row.get("startTime", 0)), int(row.get("endTime", now))
        found = [
            {
                "symbol": i.symbol, "incomeType": i.kind, "income": _money(i.amount), "asset": self.account.asset,
                "time": i.at, "info": i.kind, "tranId": i.id, "tradeId": "",
            }
            for i in self.account.ledger.income
            if row.get("symbol") in (None, i.symbol) and row.get("incomeType") in (None, i.kind) and start <= i.at <= end
        ]  # fmt: skip
        return found[: int(row.get("limit", 100))]

    # Orders

    def place(self, row: Row, now: int) -> dict[str, Any]:
        symbol, side, kind = self._symbol(row), _side(row), _needed(row, "type")
        if kind not in ("LIMIT", "MARKET"):
            # Conditional orders have an endpoint of their own since 2025-12.
            raise ApiError(-1116, "Invalid orderType.")
        tif = row.get("timeInForce", "GTC")
        if kind == "LIMIT" and tif not in ("GTC", "IOC", "FOK", "GTX"):
            raise ApiError(-1115, "Invalid timeInForce.")
        self._count_order(now)
        order = self.account.place(
            symbol, side, kind, _number(row, "quantity"), _number(row, "price") if kind == "LIMIT" else 0.0, tif,
            row.get("reduceOnly", "").lower() == "true", row.get("newClientOrderId") or f"lq-{now}-{len(self._placed)}", now,
        )  # fmt: skip
        return _order(self.account, order)

    def cancel(self, row: Row, now: int) -> dict[str, Any]:
        order = self._find(row, -2011)
        self.account.cancel(order, now)
        return _order(self.account, order)

    def open_orders(self, row: Row, now: int) -> list[dict[str, Any]]:
        return [_order(self.account, order) for order in self.account.open_orders(row.get("symbol"))]

    def all_orders(self, row: Row, now: int) -> list[dict[str, Any]]:
        start, end, most = int(row.get("startTime", 0)), int(row.get("endTime", now)), int(row.get("limit", 500))
        found = [o for o in self.account.orders.values() if row.get("symbol") in (None, o.symbol) and start <= o.created <= end]  # fmt: skip
        return [_order(self.account, order) for order in found[:most]]

    def trades(self, row: Row, now: int) -> list[dict[str, Any]]:
        symbol, start, end = self._symbol(row), int(row.get("startTime", 0)), int(row.get("endTime", now))
        found = [
            f
            for f in self.account.ledger.fills
            if f.symbol == symbol and start <= f.at <= end and row.get("orderId") in (None, str(f.order))
        ]
        return [_trade(self.account, fill) for fill in found[: int(row.get("limit", 500))]]

    def place_stop(self, row: Row, now: int) -> dict[str, Any]:
        symbol, side, kind = self._symbol(row), _side(row), _needed(row, "type")
        if kind not in CONDITIONAL:
            raise ApiError(-1116, "Invalid orderType.")
        self._count_order(now)
        stop = self.account.place_stop(
            symbol, side, kind, _number(row, "quantity"), _number(row, "triggerPrice"),
            0.0 if CONDITIONAL[kind][1] else _number(row, "price"), row.get("timeInForce", "GTC"),
            row.get("workingType", "CONTRACT_PRICE"), row.get("reduceOnly", "").lower() == "true",
            row.get("clientAlgoId") or f"lq-{now}-{len(self._placed)}", now,
        )  # fmt: skip
        return _stop(self.account, stop)

    def cancel_stop(self, row: Row, now: int) -> dict[str, Any]:
        stop = self._find_stop(row, -2011)
        self.account.cancel_stop(stop, now)
        return {"algoId": stop.id, "clientAlgoId": stop.client, "code": "200", "msg": "success"}

    def open_stops(self, row: Row, now: int) -> list[dict[str, Any]]:
        return [_stop(self.account, stop) for stop in self.account.open_stops(row.get("symbol"))]

    def all_stops(self, row: Row, now: int) -> list[dict[str, Any]]:
        symbol = self._symbol(row)
        return [_stop(self.account, stop) for stop in self.account.stops.values() if stop.symbol == symbol]

    def _find(self, row: Row, code: int) -> Order:
        symbol = self._symbol(row)
        for order in reversed(self.account.orders.values()):
            named = str(order.id) == row.get("orderId") or order.client == row.get("origClientOrderId")
            if order.symbol == symbol and named:
                return order
        raise ApiError(code, "Order does not exist." if code == -2013 else "Unknown order sent.")

    def _find_stop(self, row: Row, code: int) -> Stop:
        for stop in reversed(self.account.stops.values()):
            if str(stop.id) == row.get("algoId") or stop.client == row.get("clientAlgoId"):
                return stop
        raise ApiError(code, "Order does not exist." if code == -2013 else "Unknown order sent.")

    def _symbol(self, row: Row) -> str:
        symbol = _needed(row, "symbol")
        self.account.course.spec(symbol)
        return symbol


def _needed(row: Row, name: str) -> str:
    if not (value := row.get(name)):
        raise ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return value


def _number(row: Row, name: str) -> float:
    try:
        return float(_needed(row, name))
    except ValueError:
        raise ApiError(-1130, f"Data sent for parameter '{name}' is not valid.") from None


def _side(row: Row) -> int:
    side = _needed(row, "side")
    if side not in ("BUY", "SELL"):
        raise ApiError(-1117, "Invalid side.")
    return 1 if side == "BUY" else -1


def _money(value: float) -> str:
    return f"{value:.8f}"


def _amount(value: float) -> str:
    return f"{value:.8f}".rstrip("0").rstrip(".")


def _order(account: Account, order: Order) -> dict[str, Any]:
    done = account.coins(order.symbol, order.done)
    return {
        "orderId": order.id, "symbol": order.symbol, "status": order.status, "clientOrderId": order.client,
        "price": _amount(order.price), "avgPrice": _money(order.cost / done if done else 0.0),
        "origQty": _amount(account.coins(order.symbol, order.lots)), "executedQty": _amount(done), "cumQty": _amount(done),
        "cumQuote": _money(order.cost), "timeInForce": order.tif, "type": order.kind, "reduceOnly": order.reduce,
        "closePosition": False, "side": "BUY" if order.side > 0 else "SELL", "positionSide": "BOTH", "stopPrice": "0",
        "workingType": "CONTRACT_PRICE", "priceProtect": False, "origType": order.kind, "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_MAKER", "goodTillDate": 0, "time": order.created, "updateTime": order.updated,
    }  # fmt: skip


def _stop(account: Account, stop: Stop) -> dict[str, Any]:
    order = account.orders[stop.order] if stop.order is not None else None
    done = account.coins(stop.symbol, order.done) if order else 0.0
    return {
        "algoId": stop.id, "clientAlgoId": stop.client, "algoType": "CONDITIONAL", "orderType": stop.kind,
        "symbol": stop.symbol, "side": "BUY" if stop.side > 0 else "SELL", "positionSide": "BOTH", "timeInForce": stop.tif,
        "quantity": _amount(account.coins(stop.symbol, stop.lots)), "algoStatus": stop.status,
        "actualOrderId": "" if order is None else str(order.id),
        "actualPrice": _money(order.cost / done) if order and done else "0", "triggerPrice": _amount(stop.trigger),
        "price": _amount(stop.price), "icebergQuantity": None, "selfTradePreventionMode": "EXPIRE_MAKER",
        "workingType": stop.working, "priceMatch": "NONE", "closePosition": False, "priceProtect": False,
        "reduceOnly": stop.reduce, "createTime": stop.created, "updateTime": stop.updated, "triggerTime": stop.triggered,
        "goodTillDate": 0,
    }  # fmt: skip


def _trade(account: Account, fill: Fill) -> dict[str, Any]:
    coins = account.coins(fill.symbol, fill.lots)
    return {
        "symbol": fill.symbol, "id": fill.id, "orderId": fill.order, "side": "BUY" if fill.side > 0 else "SELL",
        "price": _amount(fill.price), "qty": _amount(coins), "realizedPnl": _money(fill.profit),
        "quoteQty": _money(coins * fill.price), "commission": _money(fill.fee), "commissionAsset": account.asset,
        "time": fill.at, "buyer": fill.side > 0, "maker": fill.maker, "positionSide": "BOTH",
    }  # fmt: skip

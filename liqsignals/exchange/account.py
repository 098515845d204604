"""One futures account on the loopback exchange: orders, positions, margin, funding (docs/decisions/120).

Binance USD-M's rules, one-way mode, isolated margin. Orders are looked after along the price's path (course.py) whether
a program asks or not: `advance` does everything due since the last call, so that when it is called changes nothing.

| | fills |
|---|---|
| market order, triggered stop | against the book at that instant, level by level; at most 5 % from the last price |
| limit order | against the book up to its limit; the rest stays, and fills whole at its limit once the price is past it |
| liquidation | against the book at the price of our own bracket (liqmap/margin.py), never worse than the margin |

Amounts are counted in steps of the contract (lots), so that they compare exactly. `side` is 1 to buy, -1 to sell.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from liqsignals import venues
from liqsignals.exchange.course import Course, Leg
from liqsignals.exchange.endpoints import ApiError
from liqsignals.liqmap.margin import liquidation_ratio

#: Fees of Binance USD-M's lowest tier; what a liquidation costs (exchangeInfo's liquidationFee).
MAKER, TAKER, CLEARANCE = 0.0002, 0.0005, 0.0125
#: exchangeInfo's MIN_NOTIONAL, PERCENT_PRICE, MAX_NUM_ORDERS and MAX_NUM_ALGO_ORDERS.
MIN_NOTIONAL, PERCENT, MAX_ORDERS, MAX_STOPS = 5.0, 0.05, 200, 10
#: Kinds of conditional orders: whether a buy triggers as the price rises, and whether it becomes a market order.
CONDITIONAL = {
    "STOP_MARKET": (True, True),
    "STOP": (True, False),
    "TAKE_PROFIT_MARKET": (False, True),
    "TAKE_PROFIT": (False, False),
}
LIVE = ("NEW", "PARTIALLY_FILLED")


@dataclass
class Order:
    """A limit or market order; `done` lots are filled, for `cost` quote units."""

    id: int
    client: str
    symbol: str
    side: int
    kind: str
    lots: int
    price: float
    tif: str
    reduce: bool
    created: int
    updated: int
    status: str = "NEW"
    done: int = 0
    cost: float = 0.0

    @property
    def live(self) -> bool:
        return self.status in LIVE

    @property
    def left(self) -> int:
        return self.lots - self.done


@dataclass
class Stop:
    """A conditional order; `order` is the one that it became."""

    id: int
    client: str
    symbol: str
    side: int
    kind: str
    lots: int
    trigger: float
    price: float
    tif: str
    working: str
    reduce: bool
    created: int
    updated: int
    status: str = "NEW"
    order: int | None = None
    triggered: int = 0

    @property
    def live(self) -> bool:
        return self.status == "NEW"

    @property
    def down(self) -> bool:
        """Whether it triggers as the price falls."""
        return CONDITIONAL[self.kind][0] == (self.side < 0)


@dataclass
class Position:
    """`lots` are negative for a short; `margin` is the isolated wallet."""

    lots: int = 0
    entry: float = 0.0
    margin: float = 0.0
    updated: int = 0


@dataclass(frozen=True)
class Fill:
    id: int
    order: int
    symbol: str
    side: int
    lots: int
    price: float
    fee: float
    maker: bool
    #: Realised profit, fees not counted.
    profit: float
    at: int


@dataclass(frozen=True)
class Income:
    id: int
    symbol: str
    kind: str
    amount: float
    at: int


@dataclass
class Ledger:
    """What has happened, for reports and tests."""

    fills: list[Fill] = field(default_factory=list)
    income: list[Income] = field(default_factory=list)
    #: Time (ms) and symbol of every liquidation.
    liquidations: list[tuple[int, str]] = field(default_factory=list)


class Account:
    """One account with `wallet` quote units. Methods may be called from several threads.

    Raises ApiError with Binance's code for what Binance refuses.
    """

    def __init__(self, course: Course, start_ms: int, wallet: float, asset: str = "USDT") -> None:
        self.course = course
        self.wallet = wallet
        self.asset = asset
        self.orders: dict[int, Order] = {}
        self.stops: dict[int, Stop] = {}
        self.positions: dict[str, Position] = {}
        self.leverage: dict[str, int] = {}
        self.isolated: set[str] = set()
        self.ledger = Ledger()
        self.lock = threading.RLock()
        self._at = start_ms
        self._last_id = 1_000_000

    # What is there

    def position(self, symbol: str) -> Position:
        return self.positions.setdefault(symbol, Position())

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        return [o for o in self.orders.values() if o.live and symbol in (None, o.symbol)]

    def open_stops(self, symbol: str | None = None) -> list[Stop]:
        return [s for s in self.stops.values() if s.live and symbol in (None, s.symbol)]

    def step(self, symbol: str) -> float:
        """Coins in a lot."""
        return float(10.0 ** -self.course.spec(symbol).amount_decimals)

    def coins(self, symbol: str, lots: int) -> float:
        return round(lots * self.step(symbol), self.course.spec(symbol).amount_decimals)

    def tick(self, symbol: str) -> float:
        return float(10.0 ** -self.course.spec(symbol).price_decimals)

    def brackets(self, symbol: str) -> tuple[venues.Bracket, ...]:
        return venues.brackets(f"{self.course.archive.markets[symbol].base}/{self.asset}")

    def unrealized(self, symbol: str, at: int) -> float:
        position = self.position(symbol)
        if not position.lots:
            return 0.0
        return self.coins(symbol, position.lots) * (self.course.mark(symbol, at) - position.entry)

    def equity(self, at: int) -> float:
        """Wallet and unrealised profit at the mark price."""
        return self.wallet + sum(self.unrealized(symbol, at) for symbol in self.positions)

    def order_margin(self) -> float:
        """Initial margin of open orders that may add to a position."""
        return sum(
            self.coins(o.symbol, o.left) * o.price / self.leverage.get(o.symbol, 20)
            for o in self.open_orders()
            if not o.reduce
        )

    def position_margin(self) -> float:
        return sum(position.margin for position in self.positions.values())

    def available(self) -> float:
        return self.wallet - self.position_margin() - self.order_margin()

    def liquidation_price(self, symbol: str) -> float:
        """Of the mark price, by our own brackets; 0 where there is none."""
        position = self.position(symbol)
        if not position.lots:
            return 0.0
        notional = abs(self.coins(symbol, position.lots)) * position.entry
        ratio = liquidation_ratio(
            int(position.lots < 0), notional / max(position.margin, 1e-9), notional, self.brackets(symbol)
        )
        return max(position.entry * ratio, 0.0)

    # What a program asks for

    def set_leverage(self, symbol: str, leverage: int) -> float:
        """Set the leverage; returns the largest notional that it allows."""
        self.course.spec(symbol)
        if not 1 <= leverage <= self.brackets(symbol)[0].max_leverage:
            raise ApiError(-4028, f"Leverage {leverage} is not valid")
        self.leverage[symbol] = leverage
        return self._largest(symbol)

    def set_isolated(self, symbol: str, isolated: bool) -> None:
        self.course.spec(symbol)
        if isolated == (symbol in self.isolated):
            raise ApiError(-4046, "No need to change margin type.")
        if self.position(symbol).lots:
            raise ApiError(-4048, "Margin type cannot be changed if there exists position.")
        if self.open_orders(symbol) or self.open_stops(symbol):
            raise ApiError(-4047, "Margin type cannot be changed if there exists open orders.")
        self.isolated ^= {symbol}

    def place(
        self,
        symbol: str,
        side: int,
        kind: str,
        amount: float,
        price: float,
        tif: str,
        reduce: bool,
        client: str,
        at: int,
    ) -> Order:
        """Place a limit or market order and fill what can be filled at once."""
        lots = self._lots(symbol, amount)
        if kind == "LIMIT":
            self._check_price(symbol, price, at, side)
        self._check_client(client, {o.client for o in self.open_orders()})
        if len(self.open_orders(symbol)) >= MAX_ORDERS:
            raise ApiError(-2025, "Reach max open order limit.")
        held = self.position(symbol).lots
        if reduce and held * side >= 0:
            raise ApiError(-2022, "ReduceOnly Order is rejected.")
        reference = price if kind == "LIMIT" else self.course.last(symbol, at)
        notional = self.coins(symbol, lots) * reference
        if not reduce:
            if notional < MIN_NOTIONAL:
                raise ApiError(-4164, f"Order's notional must be no smaller than {MIN_NOTIONAL:g} (unless you choose reduce only).")  # fmt: skip
            self._check_margin(symbol, side, lots, reference, at)
        order = Order(
            self._id(), client, symbol, side, kind, lots, price if kind == "LIMIT" else 0.0, tif, reduce, at, at
        )
        if tif == "GTX" and self._crosses(order, at):
            raise ApiError(-5022, "Due to the order could not be executed as maker, the Post Only order will be rejected.")  # fmt: skip
        self.orders[order.id] = order
        self._take(order, at)
        return order

    def place_stop(
        self,
        symbol: str,
        side: int,
        kind: str,
        amount: float,
        trigger: float,
        price: float,
        tif: str,
        working: str,
        reduce: bool,
        client: str,
        at: int,
    ) -> Stop:
        """Place a conditional order, which waits for `working` (CONTRACT_PRICE or MARK_PRICE) to reach `trigger`."""
        lots = self._lots(symbol, amount)
        self._check_tick(symbol, trigger)
        if not CONDITIONAL[kind][1]:
            self._check_tick(symbol, price)
        self._check_client(client, {s.client for s in self.open_stops()})
        if len(self.open_stops(symbol)) >= MAX_STOPS:
            raise ApiError(-4045, "Reach max stop order limit.")
        if reduce and self.position(symbol).lots * side >= 0:
            raise ApiError(-2022, "ReduceOnly Order is rejected.")
        stop = Stop(self._id(), client, symbol, side, kind, lots, trigger, price, tif, working, reduce, at, at)
        now = self.course.mark(symbol, at) if working == "MARK_PRICE" else self.course.last(symbol, at)
        if now <= trigger if stop.down else now >= trigger:
            raise ApiError(-2021, "Order would immediately trigger.")
        self.stops[stop.id] = stop
        return stop

    def cancel(self, order: Order, at: int) -> None:
        if not order.live:
            raise ApiError(-2011, "Unknown order sent.")
        order.status, order.updated = "CANCELED", at

    def cancel_stop(self, stop: Stop, at: int) -> None:
        if not stop.live:
            raise ApiError(-2011, "Unknown order sent.")
        stop.status, stop.updated = "CANCELED", at

    # What happens by itself

    def advance(self, now: int) -> None:
        """Let the market go on to `now` (ms): triggers, fills, liquidations and funding of the time since."""
        with self.lock:
            if now <= self._at:
                return
            for symbol in self.course.archive.markets:
                if self._busy(symbol):
                    self._walk(symbol, self._at, now)
            self._at = now

    def _busy(self, symbol: str) -> bool:
        held = symbol in self.positions and self.positions[symbol].lots
        return bool(held or self.open_orders(symbol) or self.open_stops(symbol))

    def _walk(self, symbol: str, begin: int, end: int) -> None:
        payments = self.course.settlements(symbol, begin, end)
        for leg in self.course.legs(symbol, begin, end):
            while payments and payments[0][0] <= leg.end:
                at, rate = payments.pop(0)
                self._along(symbol, leg.cut(leg.begin, at))
                self._pay_funding(symbol, at, rate)
                leg = leg.cut(at, leg.end)
            self._along(symbol, leg)

    def _along(self, symbol: str, leg: Leg) -> None:
        """What happens on a leg, in the order in which the price comes by."""
        while due := min(self._due(symbol, leg), key=lambda event: event[:2], default=None):
            at, _, happens = due
            happens(at)
            leg = leg.cut(at, leg.end)

    def _due(self, symbol: str, leg: Leg) -> Iterator[tuple[int, float, Callable[[int], None]]]:
        """(instant, way of the price until then, what happens) of everything that the leg sets off."""
        low, high = self.course.mark_bounds(symbol, leg.begin)
        marks = leg._replace(start=min(max(leg.start, low), high), stop=min(max(leg.stop, low), high))
        levels: list[tuple[float, bool, bool, Callable[[int], None]]] = [
            (s.trigger, s.down, s.working == "MARK_PRICE", partial(self._trigger, s)) for s in self.open_stops(symbol)
        ]
        for order in self.open_orders(symbol):
            past = round(order.price - order.side * self.tick(symbol), self.course.spec(symbol).price_decimals)
            levels.append((past, order.side > 0, False, partial(self._made, order)))
        if (price := self.liquidation_price(symbol)) > 0:
            levels.append((price, self.position(symbol).lots > 0, True, partial(self._liquidate, symbol)))
        for level, down, by_mark, happens in levels:
            at = (marks if by_mark else leg).reaches(level, down)
            if at is not None and by_mark and at > leg.begin:
                at = leg.reaches(level, down)  # within its bounds the mark price is the last price
            if at is not None:
                yield at, abs(level - leg.start), happens

    def _trigger(self, stop: Stop, at: int) -> None:
        stop.triggered = stop.updated = at
        held = self.position(stop.symbol).lots
        if stop.reduce and held * stop.side >= 0:
            # Binance says so with the order's rejection, not with an error: nobody is asking.
            stop.status = "EXPIRED"
            return
        market = CONDITIONAL[stop.kind][1]
        order = Order(
            self._id(), stop.client, stop.symbol, stop.side, "MARKET" if market else "LIMIT", stop.lots,
            0.0 if market else stop.price, stop.tif, stop.reduce, at, at,
        )  # fmt: skip
        self.orders[order.id] = order
        stop.status, stop.order = "FINISHED", order.id
        self._take(order, at)

    def _made(self, order: Order, at: int) -> None:
        """The price is past a resting limit order."""
        self._fill(order, order.left, order.price, True, at)

    def _pay_funding(self, symbol: str, at: int, rate: float) -> None:
        position = self.position(symbol)
        if position.lots:
            amount = -self.coins(symbol, position.lots) * self.course.mark(symbol, at) * rate
            position.margin += amount
            self._earn(symbol, "FUNDING_FEE", amount, at)

    def _liquidate(self, symbol: str, at: int) -> None:
        position = self.position(symbol)
        for order in self.open_orders(symbol):
            order.status, order.updated = "CANCELED", at
        self.ledger.liquidations.append((at, symbol))
        notional = abs(self.coins(symbol, position.lots)) * self.course.last(symbol, at)
        order = Order(
            self._id(), f"autoclose-{at}", symbol, -int(np.sign(position.lots)), "MARKET", abs(position.lots), 0.0, "IOC",
            True, at, at,
        )  # fmt: skip
        self.orders[order.id] = order
        before = self.wallet
        self._take(order, at, bounded=False)
        # All of it is at the isolated margin's cost, and no more than that.
        self._earn(symbol, "INSURANCE_CLEAR", -min(CLEARANCE * notional, max(position.margin + self.wallet - before, 0.0)), at)  # fmt: skip

    # Filling

    def _take(self, order: Order, at: int, bounded: bool = True) -> None:
        """Fill against the book; what a market order cannot get expires, as does the rest of IOC and FOK."""
        symbol, side = order.symbol, order.side
        book, tick = self.course.book(symbol, at), self.tick(symbol)
        best, per = (book.ask if side > 0 else book.bid), max(1, round(book.amount / self.step(symbol)))
        if order.kind == "LIMIT":
            worst = order.price
        else:
            worst = self.course.last(symbol, at) * (1 + side * PERCENT) if bounded else side * np.inf
        if order.reduce:
            self._trim(order, at)
        room = side * (worst / tick - best)
        levels = 0 if room < -1e-6 else room / book.spacing + 1 + 1e-6
        if order.tif == "FOK" and order.left > per * levels:
            order.status = "EXPIRED"
            return
        level = 0
        while order.left and level + 1 <= levels and order.status in LIVE:
            price = round((best + side * level * book.spacing) * tick, self.course.spec(symbol).price_decimals)
            self._fill(order, min(per, order.left), price, False, at)
            level += 1
        if order.live and (order.kind == "MARKET" or order.tif in ("IOC", "FOK")):
            order.status, order.updated = "EXPIRED", at

    def _crosses(self, order: Order, at: int) -> bool:
        book, tick = self.course.book(order.symbol, at), self.tick(order.symbol)
        return order.price >= book.ask * tick if order.side > 0 else order.price <= book.bid * tick

    def _trim(self, order: Order, at: int) -> None:
        """A reduce-only order closes at most the position; what is over expires with it."""
        held = max(0, -self.position(order.symbol).lots * order.side)
        if order.left > held:
            order.lots = order.done + held
            if not held:
                order.status, order.updated = "EXPIRED", at

    def _fill(self, order: Order, lots: int, price: float, maker: bool, at: int) -> None:
        if order.reduce:
            self._trim(order, at)
            lots = min(lots, order.left)
        if lots <= 0:
            return
        profit = self._move(order.symbol, order.side * lots, price, at)
        fee = self.coins(order.symbol, lots) * price * (MAKER if maker else TAKER)
        order.done += lots
        order.cost += self.coins(order.symbol, lots) * price
        order.status, order.updated = ("FILLED" if not order.left else "PARTIALLY_FILLED"), at
        self.ledger.fills.append(
            Fill(self._id(), order.id, order.symbol, order.side, lots, price, fee, maker, profit, at)
        )
        self._earn(order.symbol, "COMMISSION", -fee, at)
        if profit:
            self._earn(order.symbol, "REALIZED_PNL", profit, at)

    def _move(self, symbol: str, lots: int, price: float, at: int) -> float:
        """Change a position by `lots` (signed) at a price; returns the realised profit."""
        position, profit = self.position(symbol), 0.0
        position.updated = at
        if position.lots * lots < 0:
            closed = min(abs(lots), abs(position.lots)) * int(np.sign(position.lots))
            released = position.margin * closed / position.lots
            # An isolated position loses no more than its margin: below that the insurance fund pays.
            profit = max(self.coins(symbol, closed) * (price - position.entry), -released)
            position.margin -= released
            position.lots -= closed
            lots += closed
            if not position.lots:
                position.entry = position.margin = 0.0
        if lots:
            value = abs(self.coins(symbol, position.lots)) * position.entry + abs(self.coins(symbol, lots)) * price
            position.lots += lots
            position.entry = value / abs(self.coins(symbol, position.lots))
            position.margin += abs(self.coins(symbol, lots)) * price / self.leverage.get(symbol, 20)
        return profit

    def _earn(self, symbol: str, kind: str, amount: float, at: int) -> None:
        self.wallet += amount
        self.ledger.income.append(Income(self._id(), symbol, kind, amount, at))

    # Checks

    def _lots(self, symbol: str, amount: float) -> int:
        steps = amount / self.step(symbol)
        if abs(steps - round(steps)) > 1e-6:
            raise ApiError(-1111, "Precision is over the maximum defined for this asset.")
        if round(steps) < 1:
            raise ApiError(-4003, "Quantity less than or equal to zero.")
        return round(steps)

    def _check_tick(self, symbol: str, price: float) -> None:
        if not price > 0:
            raise ApiError(-4001, "Price less than 0.")
        ticks = price / self.tick(symbol)
        if abs(ticks - round(ticks)) > 1e-4:
            raise ApiError(-4014, "Price not increased by tick size.")

    def _check_price(self, symbol: str, price: float, at: int, side: int) -> None:
        self._check_tick(symbol, price)
        mark = self.course.mark(symbol, at)
        if side > 0 and price > mark * (1 + PERCENT):
            raise ApiError(-4016, f"Limit price can't be higher than {mark * (1 + PERCENT):.8g}.")
        if side < 0 and price < mark * (1 - PERCENT):
            raise ApiError(-4024, f"Limit price can't be lower than {mark * (1 - PERCENT):.8g}.")

    @staticmethod
    def _check_client(client: str, used: set[str]) -> None:
        if not 1 <= len(client) <= 36:
            raise ApiError(-4015, "Client order id length should be less than 36 chars")
        if client in used:
            raise ApiError(-4116, "ClientOrderId is duplicated.")

    def _check_margin(self, symbol: str, side: int, lots: int, price: float, at: int) -> None:
        """Room for what the order adds to the position: initial margin, the loss that it opens with, the fee."""
        held = self.position(symbol).lots
        added = lots - min(lots, abs(held) * 2) if held * side < 0 else lots
        coins = self.coins(symbol, added)
        loss = max(0.0, side * (price - self.course.mark(symbol, at)))
        need = coins * (price / self.leverage.get(symbol, 20) + loss + price * TAKER)
        if need > self.available():
            raise ApiError(-2019, "Margin is insufficient.")
        if self.coins(symbol, abs(held + side * lots)) * price > self._largest(symbol):
            raise ApiError(-2027, "Exceeded the maximum allowable position at current leverage.")

    def _largest(self, symbol: str) -> float:
        """The largest notional that the leverage allows."""
        leverage = self.leverage.get(symbol, 20)
        beyond = [b.floor for b in self.brackets(symbol) if b.max_leverage < leverage]
        return min(beyond, default=1e9)

    def _id(self) -> int:
        self._last_id += 1
        return self._last_id

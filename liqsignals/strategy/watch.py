"""Rules for whoever watches a live bot: its stops, its books against the exchange's, its loss of the day.

freqtrade places an order first and stores it afterwards (freqtradebot.py:1131 and 1236), and at its start it asks the
exchange only for orders that it has stored (freqtradebot.py:579). What a kill or a lost answer leaves between the two,
it never finds: docs/live-rehearsal.md has the list. These functions find it and say what to do; they hold no connection
of their own. `api` is a ccxt exchange, `now` an instant in ms; amounts are coins, signed: positive buys or is long.
"""

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liqsignals.errors import InputError
from liqsignals.files import replaced

#: Seconds that a position may be without a stop of its amount.
PATIENCE = 10.0
#: Seconds after which a difference between books and exchange is acted on: freqtrade stores an order at once, or never.
SETTLED = 5.0
#: Share of the account that a day may lose.
DAILY_LOSS = 0.015
#: Orders of a watcher begin with it.
CLIENT = "lqwatch-"
_DAY = 86_400_000
#: Amounts are multiples of a step that is never finer.
_DECIMALS = 8
_SAME = 10.0**-_DECIMALS


@dataclass(frozen=True)
class Open:
    """An open order; `amount` is what is left of it at the exchange, and the whole of it in a database.

    freqtrade counts an order for its trade when it has ended, not while it is filled in parts.
    """

    id: str
    pair: str
    amount: float
    stop: bool
    reduce: bool = False


@dataclass(frozen=True)
class Exchange:
    """What stands at the exchange: positions by pair, and open orders and stops."""

    positions: dict[str, float]
    orders: tuple[Open, ...]

    def covered(self, pair: str, known: frozenset[str] | None = None) -> float:
        """Amount that stops would close (of `known` ids only, where given), with the sign of the stops' orders.

        A reduce-only stop of the position's own side closes nothing.
        """
        held = self.positions.get(pair, 0.0)
        return sum(
            order.amount
            for order in self.orders
            if order.pair == pair
            and order.stop
            and order.reduce
            and order.amount * held < 0
            and (known is None or order.id in known)
        )


@dataclass(frozen=True)
class Books:
    """What a freqtrade database says: what the ended orders of open trades hold, by pair, and their open orders.

    freqtrade stores a trade as closed before it cancels its stop (trade_model.py:965), and forgets the stop then: an
    open order of a closed trade is none of these.
    """

    positions: dict[str, float]
    orders: tuple[Open, ...]
    #: Stop prices of open trades by pair, whether their stops stand or not.
    stops: dict[str, float] = field(default_factory=dict)

    @property
    def known(self) -> frozenset[str]:
        """Ids of these orders: no other order should stand at the exchange."""
        return frozenset(order.id for order in self.orders)


@dataclass(frozen=True)
class Action:
    """What to do: `cancel` or `cancel_stop` the order `id`, `close` the amount at market, or `stop` it at `price`; why.

    `at_once`: right whatever the bot is doing; otherwise only where the bot is dead, or where it has been due for
    SETTLED seconds (Persisting), for a bot may be between an order and its store.
    """

    kind: str
    pair: str
    why: str
    id: str = ""
    amount: float = 0.0
    price: float = 0.0
    at_once: bool = False

    @property
    def case(self) -> str:
        """What has to last: an entry that is still being filled needs a stop whatever its amount is by now."""
        return f"{self.kind} {self.pair} {self.id or (self.kind == 'close' and f'{self.amount:g}') or ''}".rstrip()


def at_exchange(api: Any, pairs: Sequence[str]) -> Exchange:
    """Ask for all positions, and for orders and stops of their pairs and of these. Raises ccxt's errors."""
    held = {
        row["symbol"]: float(row["contracts"]) * (1 if row["side"] == "long" else -1)
        for row in api.fetch_positions()  # Bybit takes no list of pairs
        if row["contracts"]
    }
    found = []
    for pair in sorted({*pairs, *held}):
        stops: set[str] = set()
        for stop in (True, False):
            for row in api.fetch_open_orders(pair, params={"stop": True} if stop else {}):
                if row["id"] in stops:
                    continue  # Bybit lists its stops among the other orders, too
                if stop:
                    stops.add(row["id"])
                left = float(row["remaining"] if row["remaining"] is not None else row["amount"])
                sign = 1 if row["side"] == "buy" else -1
                found.append(Open(str(row["id"]), pair, sign * left, stop, bool(row["reduceOnly"])))
    return Exchange(held, tuple(found))


def in_database(database: Path) -> Books:
    """Read a freqtrade database (sqlite), without a lock. Raises InputError where it cannot be read."""
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        try:
            rows = connection.execute(
                "select order_id, ft_pair, o.side, coalesce(o.amount, ft_amount), filled, ft_is_open, ft_order_side,"
                " t.is_open from orders o left join trades t on t.id = ft_trade_id"
            ).fetchall()
            # As freqtrade places it (trade_model.py:473): at the liquidation's price where the stop lies beyond it.
            stops = connection.execute(
                "select pair, case when coalesce(liquidation_price, 0) <= 0 then stop_loss"
                " when is_short then min(stop_loss, liquidation_price) else max(stop_loss, liquidation_price) end"
                " from trades where is_open and stop_loss > 0"
            ).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise InputError(
            f"{database}: cannot be read as freqtrade's database ({error})",
            "name the file of db_url",
        ) from error
    positions: dict[str, float] = {}
    orders = []
    for id_, pair, side, amount, filled, is_open, kind, trading in rows:
        sign = 1 if side == "buy" else -1
        if not trading:
            continue
        if is_open:
            orders.append(Open(str(id_), pair, sign * amount, kind == "stoploss"))
        else:
            positions[pair] = round(positions.get(pair, 0.0) + sign * (filled or 0.0), _DECIMALS)
    return Books(positions, tuple(orders), dict(stops))


def unexplained(exchange: Exchange, books: Books) -> dict[str, float]:
    """Amount by pair that the exchange holds and no stored order explains.

    An order that is open in the books may have been filled since, whole or in parts; a stop only where it does not
    stand any more.
    """
    standing = {order.id for order in exchange.orders if order.stop}
    found = {}
    for pair in sorted({*exchange.positions, *books.positions}):
        held = exchange.positions.get(pair, 0.0)
        low = high = books.positions.get(pair, 0.0)
        for order in books.orders:
            if order.pair == pair and not (order.stop and order.id in standing):
                low, high = low + min(order.amount, 0.0), high + max(order.amount, 0.0)
        if abs(difference := held - min(max(held, low), high)) > _SAME:
            found[pair] = round(difference, _DECIMALS)
    return found


def differences(exchange: Exchange, books: Books) -> list[str]:
    """Why a bot must not enter now: the exchange's positions and orders are not those of its database."""
    positions = [
        f"{pair}: the exchange holds {exchange.positions.get(pair, 0.0):g}, the database"
        f" {books.positions.get(pair, 0.0):g}, and no open order explains {amount:g}"
        for pair, amount in unexplained(exchange, books).items()
    ]
    return positions + [
        f"{order.pair}: {'stop' if order.stop else 'order'} {order.id} over {order.amount:g} is not in the database"
        for order in exchange.orders
        if order.id not in books.known
    ]


def remedies(exchange: Exchange, books: Books) -> list[Action]:
    """What brings the exchange back to the books; freqtrade finds none of it itself.

    A position that is not in the books is closed, as far as it is not in them: freqtrade cannot adopt it. An order that
    is not there is cancelled; a stop, once stored ones cover the position. A trade whose position is gone loses its
    stop, so that freqtrade looks for the order that closed it (freqtradebot.py:1489: only without a stop). A stored
    position gets a stop where none stands, at its trade's price: freqtrade places one only where it runs, and after an
    entry has been filled whole. It is cancelled once freqtrade's own stands. So does what is left of one that was
    closed in parts. Of several stops that are not stored those are cancelled that the position does not need.
    """
    actions = []
    strange = unexplained(exchange, books)
    spare = {pair: abs(exchange.covered(pair)) - abs(held) for pair, held in exchange.positions.items()}
    for pair, amount in strange.items():
        held = exchange.positions.get(pair, 0.0)
        if held * amount > 0:
            amount = math.copysign(min(abs(amount), abs(held)), amount)
            actions.append(Action("close", pair, f"{amount:g} is in no stored trade", amount=amount))
    for order in exchange.orders:
        held, known = exchange.positions.get(order.pair, 0.0), order.id in books.known
        if not order.stop:
            if not known:
                actions.append(Action("cancel", order.pair, "the order is not stored", order.id))
        elif not held:
            pending = any(o.pair == order.pair and not o.stop for o in (*exchange.orders, *books.orders))
            if not known or (order.pair in strange and not pending):
                actions.append(Action("cancel_stop", order.pair, "the stop has no position", order.id))
        elif not known and abs(exchange.covered(order.pair, books.known) + held) <= _SAME:
            why = "stored stops cover the position"
            actions.append(Action("cancel_stop", order.pair, why, order.id, at_once=True))
        elif not known and order.reduce and order.amount * held < 0 and abs(order.amount) <= spare[order.pair] + _SAME:
            spare[order.pair] -= abs(order.amount)
            actions.append(Action("cancel_stop", order.pair, "other stops cover the position", order.id))
    for pair, held in exchange.positions.items():
        bare, price = round(held + exchange.covered(pair), _DECIMALS), books.stops.get(pair, 0.0)
        if bare * held > 0 and price > 0 and strange.get(pair, 0.0) * held <= 0:
            actions.append(Action("stop", pair, f"{bare:g} of the position has no stop", amount=bare, price=price))
    return actions


def act(api: Any, action: Action, number: str) -> str:
    """Do it, and say what was done instead, "" where it is what was asked for. Raises ccxt's errors.

    `number`: of an order that it places, no other's.
    """
    if action.kind in ("cancel", "cancel_stop"):
        api.cancel_order(action.id, action.pair, {"stop": True} if action.kind == "cancel_stop" else {})
        return ""
    side = "sell" if action.amount > 0 else "buy"
    more = {"reduceOnly": True, "clientOrderId": f"{CLIENT}{number}"}
    stop = {"stopLossPrice": action.price} if action.kind == "stop" else {}
    try:
        api.create_order(action.pair, "market", side, abs(action.amount), None, more | stop)
    except Exception:
        # An exchange refuses a stop that would be triggered at once; it would have closed by now.
        if not stop or not _passed(api, action):
            raise
        api.create_order(action.pair, "market", side, abs(action.amount), None, more)
        return "closed, for the market is beyond the stop"
    return ""


def _passed(api: Any, action: Action) -> bool:
    """Whether the market is beyond a stop's price."""
    last = api.fetch_ticker(action.pair)["last"]
    return last is not None and bool(last <= action.price if action.amount > 0 else last >= action.price)


@dataclass
class Persisting:
    """What has been the case for longer than `patience` seconds; a bot between an order and its store is not wrong."""

    patience: float = SETTLED
    _since: dict[str, int] = field(default_factory=dict)

    def of(self, now: int, cases: Sequence[str]) -> list[str]:
        """Those of the cases that have been among them since `patience` seconds ago or longer."""
        self._since = {case: self._since.get(case, now) for case in cases}
        return [case for case, since in self._since.items() if now - since >= self.patience * 1000]

    def forget(self, case: str) -> None:
        """It has been answered, and must last as long again: an exchange may show an order late."""
        self._since.pop(case, None)


@dataclass
class StopWatch:
    """Whether every position has stops of exactly its amount, `patience` seconds after it changed at the latest."""

    patience: float = PATIENCE
    #: Pairs where they differ: the position, and since when (ms).
    bare: dict[str, tuple[float, int]] = field(default_factory=dict)

    def look(self, now: int, exchange: Exchange) -> list[str]:
        """Alarms, in words: call it at least every few seconds."""
        alarms, bare = [], {}
        for pair, held, covered in _gaps(exchange):
            amount, since = self.bare.get(pair, (held, now))
            bare[pair] = held, since if amount == held else now
            if (lasted := (now - bare[pair][1]) / 1000) >= self.patience:
                alarms.append(f"{pair}: a position of {held:g} has had stops of {covered:g} for {lasted:.0f} s")
        self.bare = bare
        return alarms


def _gaps(exchange: Exchange) -> Iterator[tuple[str, float, float]]:
    """Pair, position and stops' amount where they differ."""
    for pair, held in exchange.positions.items():
        covered = exchange.covered(pair)
        if abs(held + covered) > _SAME:
            yield pair, held, covered


@dataclass
class DailyLoss:
    """No entries any more once the account has lost `share` of its worth at the day's start (UTC), until released by
    hand.

    The state is in a file, so that a restart forgets nothing: the day, its starting worth, and whether it is halted.
    """

    file: Path
    share: float = DAILY_LOSS

    def look(self, now: int, equity: float) -> str | None:
        """Why there must be no entries, None where there may be. `equity`: wallet and open profit, quote units.

        A halt outlasts the day. Raises InputError for a file that is not its own, and for a worth that is no number: no
        entries then.
        """
        if not 0 < equity < math.inf:
            raise InputError(f"the account's worth is {equity}")
        state = self._read()
        if state is None or (not state["halted"] and state["day"] != now // _DAY):
            state = {"day": now // _DAY, "start": equity, "halted": False}
        if equity <= state["start"] * (1 - self.share):
            state["halted"] = True
        self._write(state)
        if not state["halted"]:
            return None
        return (
            f"daily loss: {equity / state['start'] - 1:+.2%} since the start of the day (limit {self.share:.2%}); "
            "no entries until released by hand"
        )

    def release(self, now: int, equity: float) -> None:
        """End a halt: the day begins anew with this worth."""
        self._write({"day": now // _DAY, "start": equity, "halted": False})

    def _read(self) -> dict[str, Any] | None:
        if not self.file.exists():
            return None
        try:
            state = json.loads(self.file.read_text())
            return {"day": int(state["day"]), "start": float(state["start"]), "halted": bool(state["halted"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.file}: is no state of the daily loss ({type(error).__name__}: {error})",
                "remove it to begin the day anew",
            ) from error

    def _write(self, state: dict[str, Any]) -> None:
        with replaced(self.file) as staged:
            staged.write_text(json.dumps(state) + "\n")

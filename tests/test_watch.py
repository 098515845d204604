"""The rules of whoever watches a live bot: each against the cases that a kill or a lost answer leaves behind."""

import sqlite3
from pathlib import Path
from typing import Any

import ccxt
import pytest
from conftest import PAIR
from hypothesis import given
from hypothesis import strategies as st

from liqsignals.errors import InputError
from liqsignals.strategy import watch
from liqsignals.strategy.watch import Books, DailyLoss, Exchange, Open, Persisting, StopWatch

OTHER = "ETH/USDT:USDT"
SECOND, HOUR, DAY = 1000, 3_600_000, 86_400_000


def stop(amount: float, id_: str = "s", pair: str = PAIR) -> Open:
    return Open(id_, pair, amount, stop=True, reduce=True)


def order(amount: float, id_: str = "o", pair: str = PAIR) -> Open:
    return Open(id_, pair, amount, stop=False)


# What freqtrade leaves behind, by the case of docs/live-rehearsal.md: exchange, books, and what is to be done.
CASES = {
    "all is well": (Exchange({PAIR: 2.0}, (stop(-2.0),)), Books({PAIR: 2.0}, (stop(-2.0),)), []),
    "nothing is there": (Exchange({}, ()), Books({}, ()), []),
    "entry not stored": (Exchange({PAIR: -2.0}, ()), Books({}, ()), [("close", "", -2.0)]),
    "entry waits, not stored": (Exchange({}, (order(2.0),)), Books({}, ()), [("cancel", "o", 0.0)]),
    "entry filled in parts, stored": (Exchange({PAIR: 0.7}, (order(1.3),)), Books({}, (order(2.0),)), []),
    "entry filled since": (Exchange({PAIR: 2.0}, ()), Books({}, (order(2.0),)), []),
    "a second entry not stored": (
        Exchange({PAIR: 5.0}, (stop(-2.0),)), Books({PAIR: 2.0}, (stop(-2.0),)), [("close", "", 3.0)],
    ),
    "stop not stored, bot dead": (Exchange({PAIR: 2.0}, (stop(-2.0, "lost"),)), Books({PAIR: 2.0}, ()), []),
    "stop not stored, placed again": (
        Exchange({PAIR: 2.0}, (stop(-2.0, "lost"), stop(-2.0))), Books({PAIR: 2.0}, (stop(-2.0),)), [("cancel_stop", "lost", 0.0)],
    ),
    "two stops not stored, whose answers had no number": (
        Exchange({PAIR: 2.0}, (stop(-2.0, "lost"), stop(-2.0, "lost, too"))),
        Books({PAIR: 2.0}, (stop(-2.0, "None"),), {PAIR: 90.0}),
        [("cancel_stop", "lost", 0.0)],
    ),
    "stops not stored beside one that covers a part": (
        Exchange({PAIR: 2.0}, (stop(-0.5), stop(-2.0, "lost"), stop(-0.5, "lost, too"), stop(-1.5, "last"))),
        Books({PAIR: 2.0}, (stop(-0.5),), {PAIR: 90.0}),
        [("cancel_stop", "lost", 0.0), ("cancel_stop", "lost, too", 0.0)],
    ),
    "stop filled since": (Exchange({}, ()), Books({PAIR: 2.0}, (stop(-2.0),)), []),
    "exit not stored": (
        Exchange({}, (stop(-2.0),)), Books({PAIR: 2.0}, (stop(-2.0),)), [("cancel_stop", "s", 0.0)],
    ),
    "exit stored, stop not cancelled": (
        Exchange({}, (stop(-2.0),)), Books({PAIR: 2.0}, (stop(-2.0), order(-2.0))), [],
    ),
    "trade over, stop not cancelled": (Exchange({}, (stop(-2.0),)), Books({}, ()), [("cancel_stop", "s", 0.0)]),
    "the database is lost": (
        Exchange({PAIR: 2.0}, (stop(-2.0),)), Books({}, ()), [("close", "", 2.0)],
    ),
    "filled, and killed before the stop": (
        Exchange({PAIR: 2.0}, ()), Books({}, (order(2.0),), {PAIR: 90.0}), [("stop", "", 2.0)],
    ),
    "a short, stored, its stop cancelled to be placed anew": (
        Exchange({PAIR: -2.0}, ()), Books({PAIR: -2.0}, (), {PAIR: 110.0}), [("stop", "", -2.0)],
    ),
    "filled in parts": (
        Exchange({PAIR: 0.7}, (order(1.3),)), Books({}, (order(2.0),), {PAIR: 90.0}), [("stop", "", 0.7)],
    ),
    "filled whole, covered in parts": (
        Exchange({PAIR: 2.0}, (stop(-0.7, "ours"),)), Books({PAIR: 2.0}, (), {PAIR: 90.0}), [("stop", "", 1.3)],
    ),
    "freqtrade's own stop stands beside ours": (
        Exchange({PAIR: 2.0}, (stop(-2.0, "ours"), stop(-2.0))),
        Books({PAIR: 2.0}, (stop(-2.0),), {PAIR: 90.0}),
        [("cancel_stop", "ours", 0.0)],
    ),
    "closed in parts since": (Exchange({PAIR: 0.8}, ()), Books({PAIR: 2.0}, (), {PAIR: 90.0}), [("stop", "", 0.8)]),
    "a stop of the other side is none, and no more": (
        Exchange({PAIR: 2.0}, (stop(2.0, "old"),)), Books({PAIR: 2.0}, (), {PAIR: 90.0}), [("stop", "", 2.0)],
    ),
    "not stored: no stop for what is closed": (Exchange({PAIR: 2.0}, ()), Books({}, (), {PAIR: 90.0}), [("close", "", 2.0)]),
    "another pair is left alone": (
        Exchange({PAIR: 2.0, OTHER: 1.0}, (stop(-2.0), stop(-1.0, "t", OTHER))),
        Books({OTHER: 1.0}, (stop(-1.0, "t", OTHER),)),
        [("close", "", 2.0)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_to_be_done(case: str) -> None:
    exchange, books, wanted = CASES[case]
    assert [(a.kind, a.id, a.amount) for a in watch.remedies(exchange, books)] == wanted


@pytest.mark.parametrize("case", CASES)
def test_a_bot_that_starts_must_not_enter_on_books_that_differ(case: str) -> None:
    exchange, books, wanted = CASES[case]
    strange = [o.id for o in exchange.orders if o.id not in books.known]
    # A position that lacks a stop is what the books say.
    other = [kind for kind, *_ in wanted if kind != "stop"]
    assert bool(watch.differences(exchange, books)) == bool(other or strange or case == "closed in parts since")


@given(
    held=st.integers(-5, 5),
    booked=st.integers(-5, 5),
    orders=st.lists(st.tuples(st.integers(-5, 5).filter(bool), st.booleans(), st.booleans()), max_size=4),
    price=st.sampled_from([0.0, 100.0]),
)
def test_after_the_remedies_nothing_is_left_to_do(
    held: int, booked: int, orders: list[tuple[int, bool, bool]], price: float
) -> None:
    """Whatever the case: positions are explained or gone, and no order stands that the books do not know.

    A stop that is not known stays where no known ones cover its position. A position has stops of its amount at least
    where its trade's price is known.
    """
    standing = tuple(Open(str(n), PAIR, float(amount), stop, stop) for n, (amount, stop, _) in enumerate(orders))
    known = tuple(o for o, (_, _, stored) in zip(standing, orders, strict=True) if stored)
    books = Books({PAIR: float(booked)}, known, {PAIR: price} if price else {})
    exchange = Exchange({PAIR: float(held)} if held else {}, standing)
    for turn in range(4):
        position, left = exchange.positions.get(PAIR, 0.0), list(exchange.orders)
        for action in watch.remedies(exchange, books):
            if action.kind == "close":
                assert action.amount * position > 0
                assert abs(action.amount) <= abs(position)
                position -= action.amount
            if action.kind == "stop":
                assert action.amount * position > 0
                assert abs(action.amount) <= abs(position)
                assert action.price == price
                left.append(stop(-action.amount, f"ours {turn}"))
            left = [o for o in left if o.id != action.id]
        exchange = Exchange({PAIR: position} if position else {}, tuple(left))
    excess = watch.unexplained(exchange, books).get(PAIR, 0.0)
    assert excess * exchange.positions.get(PAIR, 0.0) <= 0
    unknown = [o for o in exchange.orders if o.id not in books.known]
    assert all(o.stop and exchange.positions for o in unknown)
    left_over = exchange.positions.get(PAIR, 0.0)
    covered = sum(o.amount for o in exchange.orders if o.stop and o.amount * left_over < 0)
    if price and excess * left_over <= 0:
        assert abs(covered) >= abs(left_over)
        # None of them is one too many.
        spare = abs(covered) - abs(left_over)
        assert all(abs(o.amount) > spare for o in unknown if o.amount * left_over < 0)


def test_a_position_without_a_stop_of_its_amount_is_an_alarm_after_ten_seconds() -> None:
    seen = StopWatch()
    bare, covered = Exchange({PAIR: 2.0}, ()), Exchange({PAIR: 2.0}, (stop(-2.0),))
    partly, short = Exchange({PAIR: 2.0}, (stop(-1.5),)), Exchange({PAIR: -2.0}, (stop(2.0),))
    assert seen.look(0, bare) == []
    assert seen.look(9 * SECOND, partly) == []
    (alarm,) = seen.look(10 * SECOND, partly)
    assert PAIR in alarm
    assert "10 s" in alarm
    assert seen.look(11 * SECOND, covered) == []
    assert seen.look(12 * SECOND, bare) == []
    assert seen.look(30 * SECOND, short) == []
    # A stop on the wrong side, or one that may open a position, is none.
    for wrong in (stop(2.0), Open("s", PAIR, -2.0, stop=True, reduce=False)):
        fresh = StopWatch()
        assert fresh.look(0, Exchange({PAIR: 2.0}, (wrong,))) == []
        assert len(fresh.look(10 * SECOND, Exchange({PAIR: 2.0}, (wrong,)))) == 1
    # Nor does one on the wrong side take from those that close the position.
    assert StopWatch(0.0).look(0, Exchange({PAIR: 2.0}, (stop(-2.0), stop(1.0)))) == []
    # A new fill begins the ten seconds anew.
    fresh = StopWatch()
    fresh.look(0, bare)
    assert fresh.look(10 * SECOND, Exchange({PAIR: 3.0}, (stop(-2.0),))) == []
    assert len(fresh.look(20 * SECOND, Exchange({PAIR: 3.0}, (stop(-2.0),)))) == 1


def test_only_what_lasts_is_acted_on() -> None:
    kept = Persisting(5.0)
    assert kept.of(0, ["a", "b"]) == []
    assert kept.of(4 * SECOND, ["b"]) == []
    assert kept.of(5 * SECOND, ["a", "b"]) == ["b"]
    assert kept.of(9 * SECOND, ["a"]) == []
    assert kept.of(10 * SECOND, ["a"]) == ["a"]
    kept.forget("a")
    assert kept.of(11 * SECOND, ["a"]) == []
    assert kept.of(16 * SECOND, ["a"]) == ["a"]


def test_the_daily_loss_halts_until_it_is_released_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "loss.json"
    begin = 20_000 * DAY
    assert DailyLoss(file).look(begin, 10_000.0) is None
    assert DailyLoss(file).look(begin + HOUR, 9_850.01) is None
    told = DailyLoss(file).look(begin + 2 * HOUR, 9_850.0)
    assert told is not None
    assert "-1.50%" in told
    # Neither a recovery, nor a restart, nor the next day ends it.
    assert DailyLoss(file).look(begin + 3 * HOUR, 10_500.0) is not None
    assert DailyLoss(file).look(begin + 30 * HOUR, 10_500.0) is not None
    DailyLoss(file).release(begin + 30 * HOUR, 9_900.0)
    assert DailyLoss(file).look(begin + 31 * HOUR, 9_752.0) is None
    assert DailyLoss(file).look(begin + 32 * HOUR, 9_751.0) is not None


def test_the_daily_loss_counts_each_day_by_itself_and_refuses_what_is_no_number(tmp_path: Path) -> None:
    rule = DailyLoss(tmp_path / "loss.json")
    worth = 10_000.0
    for day in range(20_000, 20_010):
        assert rule.look(day * DAY, worth) is None
        worth *= 0.986
        assert rule.look(day * DAY + HOUR, worth) is None
    for bad in (float("nan"), float("inf"), 0.0, -5.0):
        with pytest.raises(InputError, match="worth"):
            rule.look(20_011 * DAY, bad)
    (tmp_path / "loss.json").write_text("{")
    with pytest.raises(InputError, match="daily loss"):
        rule.look(20_011 * DAY, worth)


def test_the_database_is_read_as_freqtrade_writes_it(tmp_path: Path) -> None:
    """Amounts are those of ended orders: the trade's own is written later."""
    path = tmp_path / "trades.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        create table trades (id integer, pair text, is_short boolean, amount float, is_open boolean, stop_loss float,
                             liquidation_price float);
        create table orders (order_id text, ft_pair text, side text, amount float, ft_amount float, filled float,
                             ft_is_open boolean, ft_order_side text, ft_trade_id integer);
        insert into trades values (1, 'BTC/USDT:USDT', 1, 0, 1, 110.5, 120), (2, 'ETH/USDT:USDT', 0, 3, 0, 90, 80),
            (3, 'SOL/USDT:USDT', 0, 3, 1, 0, 80), (4, 'XRP/USDT:USDT', 0, 3, 1, null, null),
            (5, 'DOGE/USDT:USDT', 0, 3, 1, 1, 80), (6, 'ADA/USDT:USDT', 1, 3, 1, 199, 120), (7, 'TRX/USDT:USDT', 1, 3, 1, 5, null);
        insert into orders values
            ('11', 'BTC/USDT:USDT', 'sell', 2.0, 2.0001, 1.5, 0, 'sell', 1),
            ('12', 'BTC/USDT:USDT', 'buy', null, 2.0, null, 1, 'stoploss', 1),
            ('21', 'ETH/USDT:USDT', 'buy', 3.0, 3.0, 3.0, 0, 'buy', 2),
            ('22', 'ETH/USDT:USDT', 'sell', 3.0, 3.0, 0.0, 1, 'stoploss', 2);
        """
    )
    connection.commit()
    connection.close()
    books = watch.in_database(path)
    assert books.positions == {PAIR: -1.5}
    # A trade without a price is one that freqtrade has not finished to make.
    assert books.stops == {PAIR: 110.5, "DOGE/USDT:USDT": 80, "ADA/USDT:USDT": 120, "TRX/USDT:USDT": 5}
    # The stop of the trade that is over is not known any more: freqtrade forgets it.
    assert books.orders == (Open("12", PAIR, 2.0, True),)
    with pytest.raises(InputError, match="database"):
        watch.in_database(tmp_path / "none.sqlite")


def test_a_stop_that_bybit_lists_among_the_orders_too_is_one_stop() -> None:
    """By ccxt, with Bybit's own answer in place of the request: without an orderFilter it holds orders of every kind."""
    common = {"symbol": "BTCUSDT", "side": "Sell", "positionIdx": 0, "cumExecQty": "0", "reduceOnly": True}
    stop = {
        **common, "orderId": "s", "orderStatus": "Untriggered", "orderType": "Market", "stopOrderType": "Stop", "qty": "2",
        "leavesQty": "2", "price": "0", "triggerPrice": "60000", "triggerDirection": 2, "triggerBy": "LastPrice",
    }  # fmt: skip
    exit_ = {
        **common, "orderId": "o", "orderStatus": "New", "orderType": "Limit", "stopOrderType": "", "qty": "2",
        "leavesQty": "2", "price": "70000", "triggerPrice": "", "triggerDirection": 0, "triggerBy": "",
    }  # fmt: skip
    api = ccxt.bybit()
    market = {"id": "BTCUSDT", "symbol": PAIR, "base": "BTC", "quote": "USDT", "settle": "USDT", "type": "swap"}
    kind = {"spot": False, "swap": True, "future": False, "option": False, "contract": True, "linear": True}
    api.set_markets([{**api.safe_market_structure(), **market, **kind, "contractSize": 1.0}])

    def orders(request: dict[str, Any]) -> dict[str, Any]:
        rows = [stop] if request.get("orderFilter") == "StopOrder" else [stop, exit_]
        return {"retCode": 0, "result": {"category": "linear", "list": rows}}

    api.privateGetV5OrderRealtime = orders
    api.fetch_positions = list
    assert watch.at_exchange(api, [PAIR]).orders == (
        Open("s", PAIR, -2.0, stop=True, reduce=True),
        Open("o", PAIR, -2.0, stop=False, reduce=True),
    )

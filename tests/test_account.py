"""The exchange's account: along the path as an oracle that looks at every second, by ccxt as freqtrade meets it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ccxt
import numpy as np
import pytest
from conftest import PAIR, make_market, ns, write_datadir
from hypothesis import given, settings
from hypothesis import strategies as st

from liqsignals.exchange import signed
from liqsignals.exchange.account import CLEARANCE, TAKER, Account
from liqsignals.exchange.archive import Archive
from liqsignals.exchange.course import Course
from liqsignals.exchange.endpoints import ApiError, LoopbackExchange
from liqsignals.exchange.server import config_overlay, serve
from liqsignals.exchange.signed import Keys, SignedExchange
from liqsignals.liqmap.margin import liquidation_ratio
from liqsignals.strategy import watch

SYMBOL = "BTCUSDT"
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
KEYS = Keys("key", "secret")


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    market = make_market(2.0, seed=11, volatility=0.002)
    return Course(Archive(write_datadir(tmp_path_factory.mktemp("account") / "full", market)))


@pytest.fixture(scope="module")
def start(course: Course) -> int:
    frame = course.archive.frame(SYMBOL, "futures", 5)
    assert frame is not None
    return int(frame.date[288]) + 7_000


def account(course: Course, start: int, wallet: float = 10_000.0, leverage: int = 3) -> Account:
    made = Account(course, start, wallet)
    made.set_isolated(SYMBOL, True)
    made.set_leverage(SYMBOL, leverage)
    return made


def enter(made: Account, at: int, side: int = 1, amount: float = 0.2) -> None:
    made.place(SYMBOL, side, "MARKET", amount, 0.0, "GTC", False, f"enter-{at}-{side}", at)


def stop(
    made: Account, at: int, trigger: float, side: int = -1, amount: float = 0.2, working: str = "CONTRACT_PRICE"
) -> Any:
    return made.place_stop(
        SYMBOL, side, "STOP_MARKET", amount, round(trigger, 1), 0.0, "GTC", working, True, f"stop-{at}", at
    )


def first_second(course: Course, begin: int, end: int, level: float, down: bool) -> int | None:
    """The oracle: the first whole second at which the exchange shows a price at the level or beyond."""
    for at in range(begin, end + 1, SECOND):
        price = course.last(SYMBOL, at)
        if price <= level if down else price >= level:
            return at
    return None


@settings(max_examples=25, deadline=None)
@given(distance=st.floats(0.001, 0.02), side=st.sampled_from((1, -1)), offset=st.integers(0, 300))
def test_a_stop_fills_when_the_price_gets_there_though_nobody_asks(
    course: Course, start: int, distance: float, side: int, offset: int
) -> None:
    begin, end = start + offset * SECOND, start + offset * SECOND + 3 * HOUR
    made = account(course, begin)
    enter(made, begin, side)
    placed = stop(made, begin, course.last(SYMBOL, begin) * (1 - side * distance), -side)
    seen = first_second(course, begin, end, placed.trigger, side > 0)
    made.advance(end)
    if seen is None:
        assert placed.live
        assert made.position(SYMBOL).lots * side == 200
        return
    assert placed.status == "FINISHED"
    assert seen - SECOND < placed.triggered <= seen
    assert made.position(SYMBOL).lots == 0
    fills = [fill for fill in made.ledger.fills if fill.order == placed.order]
    assert sum(fill.lots for fill in fills) == 200
    # Half a spread and the book's depth away from the price, never better than the stop.
    book = course.book(SYMBOL, placed.triggered)
    best = (book.bid if side > 0 else book.ask) * made.tick(SYMBOL)
    assert fills[0].price == pytest.approx(best)
    assert all((fill.price - placed.trigger) * side <= made.tick(SYMBOL) / 2 for fill in fills)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 6 * 3600), max_size=6), leverage=st.sampled_from((3, 50, 100)))
def test_how_often_it_is_asked_changes_nothing(course: Course, start: int, cuts: list[int], leverage: int) -> None:
    def lived(instants: list[int]) -> tuple[Any, ...]:
        made = account(course, start, leverage=leverage)
        price = course.last(SYMBOL, start)
        enter(made, start)
        stop(made, start, price * 0.985)
        made.place(SYMBOL, -1, "LIMIT", 0.2, round(price * 1.01, 1), "GTC", True, "target", start)
        made.place(SYMBOL, 1, "LIMIT", 0.1, round(price * 0.993, 1), "GTC", False, "more", start)
        for at in instants:
            made.advance(at)
        return made.wallet, made.ledger, made.orders, made.stops, made.positions

    end = start + 6 * HOUR
    assert lived([end]) == lived([*sorted(start + cut * SECOND for cut in cuts), end])


def test_the_books_add_up(course: Course, start: int) -> None:
    made = account(course, start, leverage=20)
    rng = np.random.default_rng(3)
    for number in range(60):
        at = start + number * 10 * MINUTE
        made.advance(at)
        side = int(rng.choice((-1, 1)))
        try:
            if rng.random() < 0.5:
                enter(made, at, side, float(rng.integers(1, 300)) / 1000)
            else:
                away = course.last(SYMBOL, at) * (1 - side * rng.uniform(0, 0.01))
                made.place(
                    SYMBOL, side, "LIMIT", 0.1, round(away, 1), "GTC", bool(rng.random() < 0.3), f"l{number}", at
                )
        except ApiError:
            continue
    assert len(made.ledger.fills) > 20
    assert made.wallet == pytest.approx(10_000 + sum(i.amount for i in made.ledger.income), abs=1e-6)
    assert made.position(SYMBOL).lots == sum(fill.side * fill.lots for fill in made.ledger.fills)
    assert {o.done for o in made.orders.values() if o.status == "FILLED"} <= {
        o.lots for o in made.orders.values() if o.status == "FILLED"
    }
    assert {i.kind for i in made.ledger.income} >= {"COMMISSION", "REALIZED_PNL", "FUNDING_FEE"}


@pytest.mark.parametrize("side", [1, -1])
def test_liquidation_is_at_our_own_brackets_price_and_costs_no_more_than_the_margin(
    course: Course, start: int, side: int
) -> None:
    made = account(course, start, leverage=100)
    enter(made, start, side)
    position = made.position(SYMBOL)
    entry, margin, wallet = position.entry, position.margin, made.wallet
    ratio = liquidation_ratio(int(side < 0), 100, 0.2 * entry, made.brackets(SYMBOL))
    assert made.liquidation_price(SYMBOL) == pytest.approx(entry * ratio, rel=1e-9)
    seen = None
    for at in range(start, start + 24 * HOUR, SECOND):
        mark = course.mark(SYMBOL, at)
        if (mark - entry * ratio) * side <= 0:
            seen = at
            break
    assert seen is not None
    made.advance(start + 24 * HOUR)
    assert seen - SECOND < made.ledger.liquidations[0][0] <= seen
    assert position.lots == 0
    lost = wallet - made.wallet
    fees = sum(fill.fee for fill in made.ledger.fills[1:])
    assert lost <= margin + fees + 1e-6
    assert lost >= 0.2 * entry * min(CLEARANCE, 0.004)


def test_a_stop_on_the_mark_price_waits_for_the_mark_price(tmp_path: Path) -> None:
    market = make_market(2.0, seed=11, volatility=0.002)
    folder = write_datadir(tmp_path / "full", market)
    course = Course(Archive(folder))
    start = int(ns(market.candles["date"])[288]) // 10**6
    price = course.last(SYMBOL, start)
    lows = market.candles.set_index("date")["low"].iloc[288:].resample("1h").min()
    low = float(lows.iloc[0])
    # A mark candle that ends above the hour's low, as in the crash of 2025-10-10.
    course.archive.markets[SYMBOL].files["mark"] = {60: tmp_path / "none"}
    floor = (price + low) / 2

    class Above(Course):
        def mark_bounds(self, symbol: str, at: int) -> tuple[float, float]:
            return floor, np.inf

    def triggered(working: str, trigger: float) -> int:
        made = account(Above(Archive(folder)), start)
        enter(made, start)
        placed = stop(made, start, trigger, working=working)
        made.advance(start + HOUR)
        return int(placed.triggered)

    below, above = (low + floor) / 2, (floor + price) / 2
    assert triggered("CONTRACT_PRICE", below) > 0
    assert triggered("MARK_PRICE", below) == 0
    assert triggered("CONTRACT_PRICE", above) == triggered("MARK_PRICE", above) > 0


def test_refusals_carry_binances_codes(course: Course, start: int) -> None:
    price = course.last(SYMBOL, start)

    def code(call: Any) -> int:
        made = account(course, start)
        with pytest.raises(ApiError) as raised:
            call(made)
        return raised.value.code

    def place(made: Account, **other: Any) -> None:
        row = {
            "side": 1,
            "kind": "LIMIT",
            "amount": 0.01,
            "price": round(price, 1),
            "tif": "GTC",
            "reduce": False,
            "client": "c",
        }
        made.place(SYMBOL, at=start, **{**row, **other})

    def twice(made: Account) -> None:
        for _ in range(2):
            place(made, price=round(price * 0.97, 1), client="same")

    def held(made: Account) -> None:
        enter(made, start)
        stop(made, start, price * 1.01)

    assert code(lambda made: place(made, amount=5.0)) == -2019
    assert code(lambda made: place(made, amount=0.0001)) == -1111
    assert code(lambda made: place(made, amount=0.001, price=round(price * 0.96, 1) / 20)) == -4164
    assert code(lambda made: place(made, price=round(price, 1) + 0.0333)) == -4014
    assert code(lambda made: place(made, price=round(price * 1.06, 1))) == -4016
    assert code(lambda made: place(made, side=-1, reduce=True)) == -2022
    assert code(lambda made: place(made, tif="GTX", price=round(price * 1.01, 1))) == -5022
    assert code(twice) == -4116
    assert code(held) == -2021
    assert code(lambda made: made.set_leverage(SYMBOL, 500)) == -4028


def test_a_large_order_walks_the_book_and_the_rest_waits(course: Course, start: int) -> None:
    made = account(course, start, wallet=1e9)
    book = course.book(SYMBOL, start)
    level = round(book.amount / made.step(SYMBOL))
    limit = round((book.ask + book.spacing) * made.tick(SYMBOL), course.spec(SYMBOL).price_decimals)
    order = made.place(SYMBOL, 1, "LIMIT", made.coins(SYMBOL, 5 * level), limit, "GTC", False, "big", start)
    assert (order.status, order.done) == ("PARTIALLY_FILLED", 2 * level)
    assert [fill.price for fill in made.ledger.fills] == pytest.approx([book.ask * made.tick(SYMBOL), limit])
    made.advance(start + 24 * HOUR)
    below = first_second(course, start, start + 24 * HOUR, limit - made.tick(SYMBOL), True)
    assert below is not None
    assert order.status == "FILLED"
    assert made.ledger.fills[-1].maker
    assert below - SECOND < made.ledger.fills[-1].at <= below


@pytest.fixture
def api(course: Course, start: int) -> Iterator[tuple[Any, Account, dict[str, int]]]:
    """ccxt as freqtrade sets it up, on a served account whose clock stands."""
    clock = {"now": start}
    made = account(course, start)
    exchange = LoopbackExchange(course.archive, lambda: clock["now"])
    app = exchange.app()
    SignedExchange(made, KEYS, lambda: clock["now"]).add_to(app)
    exchange.app = lambda: app  # type: ignore[method-assign]
    with serve(exchange) as port:
        overlay = config_overlay(port, keys=KEYS)["exchange"]
        client = ccxt.binance(
            {"apiKey": overlay["key"], "secret": overlay["secret"], **overlay["ccxt_config"],
             "options": {**overlay["ccxt_config"]["options"], "defaultType": "swap"}}
        )  # fmt: skip
        client.milliseconds = client.nonce = lambda: clock["now"]
        yield client, made, clock


def test_the_watch_sees_and_changes_the_account(
    api: tuple[Any, Account, dict[str, int]], course: Course, start: int
) -> None:
    client, made, _ = api
    price = course.last(SYMBOL, start)
    client.create_order(PAIR, "market", "buy", 0.2)
    waits = client.create_order(PAIR, "limit", "buy", 0.1, round(price * 0.95, 1))
    stop = client.create_order(
        PAIR, "stop_market", "sell", 0.2, None, {"stopPrice": round(price * 0.99, 1), "reduceOnly": True}
    )
    seen = watch.at_exchange(client, [PAIR])
    assert seen.positions == {PAIR: 0.2}
    assert set(seen.orders) == {
        watch.Open(waits["id"], PAIR, 0.1, stop=False),
        watch.Open(stop["id"], PAIR, -0.2, stop=True, reduce=True),
    }
    for number, action in enumerate(watch.remedies(seen, watch.Books({}, ()))):
        watch.act(client, action, f"{start}-{number}")
    assert watch.at_exchange(client, [PAIR]).orders == seen.orders[:1]  # the stop of a position that is no more
    assert made.position(SYMBOL).lots == 0
    assert [o.client for o in made.orders.values() if o.reduce] == [f"{watch.CLIENT}{start}-0"]


def test_ccxt_reads_what_it_asks_for(api: tuple[Any, Account, dict[str, int]], course: Course, start: int) -> None:
    client, made, clock = api
    price = course.last(SYMBOL, start)
    assert client.fetch_balance()["USDT"] == {"free": 10_000.0, "used": 0.0, "total": 10_000.0}
    assert client.fetch_positions() == []
    bought = client.create_order(PAIR, "market", "buy", 0.2)
    assert (bought["status"], bought["filled"]) == ("closed", 0.2)
    placed = client.create_order(
        PAIR, "stop_market", "sell", 0.2, None, {"stopPrice": round(price * 0.99, 1), "reduceOnly": True}
    )
    assert (placed["status"], placed["triggerPrice"], placed["reduceOnly"]) == ("open", round(price * 0.99, 1), True)
    (position,) = client.fetch_positions([PAIR])
    assert (position["contracts"], position["side"], position["leverage"]) == (0.2, "long", 3)
    assert position["liquidationPrice"] == pytest.approx(made.liquidation_price(SYMBOL))
    assert [o["id"] for o in client.fetch_open_orders(PAIR, params={"stop": True})] == [placed["id"]]
    (trade,) = client.fetch_my_trades(PAIR)
    assert (trade["order"], trade["fee"]["currency"]) == (bought["id"], "USDT")
    assert trade["fee"]["cost"] == pytest.approx(trade["cost"] * TAKER)
    clock["now"] += 24 * HOUR
    after = client.fetch_order(placed["id"], PAIR, {"stop": True})
    assert after["status"] == "closed"
    actual = client.fetch_order(after["info"]["actualOrderId"], PAIR)
    assert (actual["status"], actual["filled"], actual["side"]) == ("closed", 0.2, "sell")
    assert actual["average"] <= placed["triggerPrice"]
    assert sum(row["amount"] for row in client.fetch_funding_history(PAIR)) == pytest.approx(
        sum(i.amount for i in made.ledger.income if i.kind == "FUNDING_FEE"), abs=1e-6
    )
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_order(placed["id"], PAIR, {"stop": True})


def test_keys_signatures_and_times_are_checked(api: tuple[Any, Account, dict[str, int]]) -> None:
    client, _, clock = api
    client.load_markets()
    client.secret = "other"
    with pytest.raises(ccxt.AuthenticationError, match="-1022"):
        client.fetch_balance()
    client.secret, client.apiKey = KEYS.secret, "other"
    with pytest.raises(ccxt.AuthenticationError, match="-2015"):
        client.fetch_balance()
    client.apiKey = KEYS.key
    client.nonce = lambda: clock["now"] - 20_000
    with pytest.raises(ccxt.InvalidNonce, match="-1021"):
        client.fetch_balance()


def test_ccxt_raises_here_what_it_raises_at_binance() -> None:
    client = ccxt.binance()
    known, linear = client.exceptions["exact"], client.exceptions["linear"]["exact"]
    sources = Path(signed.__file__).parent
    raised = set(
        re.findall(r"ApiError\((-\d+)", (sources / "account.py").read_text() + (sources / "signed.py").read_text())
    )
    assert {"-2019", "-2021", "-1021"} <= raised
    for code in raised:
        assert (code in linear) == (int(code) in signed.SENT), code
    for code, sent in signed.SENT.items():
        wanted = linear[str(code)]
        assert issubclass(wanted, known[str(sent)]), code
        # What freqtrade tells apart is the same for both.
        for kind in (ccxt.InsufficientFunds, ccxt.InvalidOrder, ccxt.OperationRejected):
            assert issubclass(wanted, kind) == issubclass(known[str(sent)], kind), code

"""The watcher: the exchange's clock, the account against the database, /start after an exception, raw files by age."""

import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import ccxt
import pytest
from aiohttp import web
from conftest import PAIR, make_market, write_datadir

from liqsignals.clock import DAY, HOUR, SECOND, iso, parse_time
from liqsignals.exchange.account import Account
from liqsignals.exchange.archive import Archive
from liqsignals.exchange.course import Course
from liqsignals.exchange.endpoints import LoopbackExchange
from liqsignals.exchange.faults import Fault, faulty
from liqsignals.exchange.server import config_overlay, serve
from liqsignals.exchange.serving import served
from liqsignals.exchange.signed import Keys, SignedExchange
from liqsignals.operate import restart, retention
from liqsignals.operate.watcher import Watcher
from liqsignals.strategy import drawdown, livecheck, watch
from liqsignals.strategy.livecheck import Status

START = parse_time("2026-01-06T06:00:00Z")
RAN = ["", 0.0, "freqtrade.worker", "INFO", "Changing state to: RUNNING"]


def row(message: str, at: int = START, logger: str = "freqtrade.worker") -> list[Any]:
    return ["", at / 1e6, logger, "INFO", message]


FAILED = row("OperationalException. Stopping trader ...\nTraceback ...")
STOPPED = row("Changing state from RUNNING to: STOPPED")


class Machine:
    """A bot's REST API and an exchange's clock, as far as a watcher asks them."""

    def __init__(self) -> None:
        self.now, self.ahead = START, 0.0
        self.state, self.logs, self.posts = "running", [RAN], list[str]()
        self.asked, self.listed = list[str](), list[str]()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.headers.get("Authorization", ""))
        name = request.path.rpartition("/")[2]
        if name == "time":
            return web.json_response({"serverTime": round(self.now / 1e6 - self.ahead * 1000)})
        if request.method == "POST":
            self.posts.append(name)
            return web.json_response({"status": "starting trader ..."})
        answers = {
            "show_config": {"state": self.state},
            "logs": {"logs": self.logs},
            "whitelist": {"whitelist": self.listed},
        }
        return web.json_response(answers[name])


@pytest.fixture
def machine() -> Iterator[tuple[Machine, str]]:
    made = Machine()
    with served(made.application(), "machine", 0.1) as port:
        yield made, f"http://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every watcher of a test is closed at its end."""
    made: list[Watcher] = []
    begin = Watcher.__post_init__

    def remembered(one: Watcher) -> None:
        made.append(one)
        begin(one)

    monkeypatch.setattr(Watcher, "__post_init__", remembered)
    yield
    for one in made:
        one.close()


def watcher(tmp_path: Path, machine: tuple[Machine, str], said: list[str] | None = None, **more: Any) -> Watcher:
    made, url = machine
    config = {
        "dry_run": True,
        "exchange": {
            "name": "binance",
            "pair_whitelist": [PAIR],
            "ccxt_config": {"urls": {"api": {"fapiPublic": url}}},
        },
        "api_server": {"enabled": True, "username": "u", "password": "planted-password"},
        **more,
    }
    log = (said if said is not None else []).append
    return Watcher(config, tmp_path, tmp_path / "extras", log, bot=url, clock=lambda: made.now)


@pytest.mark.parametrize("ahead", [0.0, 0.5, 3.0, -3.0])
def test_the_clock_is_measured_and_published(ahead: float, tmp_path: Path, machine: tuple[Machine, str]) -> None:
    machine[0].ahead = ahead
    status = watcher(tmp_path, machine).look()
    assert status == Status.read(tmp_path / livecheck.STATUS) == Status(START, pytest.approx(ahead, abs=1e-3))


def test_a_clock_that_cannot_be_asked_is_no_clock(tmp_path: Path, machine: tuple[Machine, str]) -> None:
    one = watcher(tmp_path, machine)
    one.look()
    one.config["exchange"]["ccxt_config"]["urls"]["api"]["fapiPublic"] = "http://127.0.0.1:9"
    assert one.look().clock == 0.0  # the measured one counts for a while
    machine[0].now += 31 * SECOND
    assert one.look().clock is None


STOPS: dict[str, tuple[list[list[Any]], str]] = {
    "an exception": ([RAN, FAILED, STOPPED], "start"),
    "an exception of a paused bot": ([RAN, row("Changing state from RUNNING to: PAUSED"), FAILED, row("Changing state from PAUSED to: STOPPED")], "pause"),
    "/stop": ([RAN, STOPPED], ""),
    "/stop after an exception and a start": ([RAN, FAILED, STOPPED, row("Changing state from STOPPED to: RUNNING"), STOPPED], ""),
    "an exception before the loop that logs the stop": ([RAN, FAILED], "start"),
    "/start before that loop, then /stop": ([RAN, FAILED, row(STOPPED[4], START + 20 * SECOND)], ""),
    "another exception": ([RAN, STOPPED, row("Changing state from STOPPED to: RUNNING"), FAILED, STOPPED], "start"),
    "an exception of somebody else": ([RAN, row("OperationalException. Stopping trader ...", logger="mine"), STOPPED], ""),
    "the log begins later": ([row("something")], ""),
    "stopped from the beginning": ([row("Changing state to: STOPPED")], ""),
}  # fmt: skip


@pytest.mark.parametrize("why", STOPS)
def test_only_an_exception_is_answered_with_start(why: str, tmp_path: Path, machine: tuple[Machine, str]) -> None:
    made, _ = machine
    made.logs, wanted = STOPS[why]
    made.state = "stopped"
    one = watcher(tmp_path, machine)
    made.now += 61 * SECOND
    one.look()
    assert made.posts == ([wanted] if wanted else [])
    assert set(made.asked) <= {"", "Basic dTpwbGFudGVkLXBhc3N3b3Jk"}  # the clock's request has no password
    made.state = "running"
    made.now += 20 * SECOND
    one.look()
    assert len(made.posts) == bool(wanted)


def test_no_start_while_the_exchange_does_not_answer(tmp_path: Path, machine: tuple[Machine, str]) -> None:
    """Where the markets cannot be loaded /start ends freqtrade's process."""
    made, url = machine
    made.logs, made.state = [RAN, FAILED, STOPPED], "stopped"
    made.now += 61 * SECOND
    one = watcher(tmp_path, machine)
    address = one.config["exchange"]["ccxt_config"]["urls"]["api"]
    address["fapiPublic"] = "http://127.0.0.1:9"
    assert any("when the exchange answers" in note for note in one.look().notes)
    assert made.posts == []
    address["fapiPublic"] = url
    made.now += 16 * SECOND
    one.look()
    assert made.posts == ["start"]


@pytest.mark.parametrize("switch", ["kill switch", "drawdown stop", "broken drawdown stop", "broken attempts"])
def test_no_start_against_a_switch(switch: str, tmp_path: Path, machine: tuple[Machine, str]) -> None:
    made, _ = machine
    made.logs, made.state = [RAN, FAILED, STOPPED], "stopped"
    made.now += HOUR
    if switch == "kill switch":
        livecheck.kill(tmp_path, made.now)
    elif switch == "broken attempts":
        (tmp_path / "liqsignals").mkdir()
        (tmp_path / "liqsignals" / "starts.json").write_text("{")
    elif switch == "drawdown stop":
        drawdown.State("2026-01-06T05:00:00Z", None, 0.09, 0.08).write(drawdown.path_of(tmp_path, "S"))
    else:
        drawdown.path_of(tmp_path, "S").write_text("{")
    watcher(tmp_path, machine).look()
    assert made.posts == []


def test_at_most_three_starts_an_hour_with_growing_waits_across_restarts(
    tmp_path: Path, machine: tuple[Machine, str]
) -> None:
    made, _ = machine
    made.state = "stopped"
    made.logs = [RAN, FAILED, STOPPED]
    at = []
    for minute in range(125):
        made.now = START + minute * 60 * SECOND
        before = len(made.posts)
        watcher(tmp_path, machine).look()  # a new one each time: the file remembers
        if len(made.posts) > before:
            at.append(minute)
            made.logs = [
                *made.logs,
                row("Changing state from STOPPED to: RUNNING", made.now),
                row(FAILED[4], made.now),
                row(STOPPED[4], made.now),
            ]
    assert at == [1, 6, 21, 61, 76, 91, 121]
    for first in at:
        assert sum(first <= other < first + 60 for other in at) <= restart.MOST


# The account


def books(path: Path) -> None:
    with closing(sqlite3.connect(path)) as made, made:
        made.execute(
            "create table trades (id integer primary key, pair, is_open, stop_loss, is_short, liquidation_price)"
        )
        made.execute(
            "create table orders (order_id, ft_pair, side, amount, ft_amount, filled, ft_is_open, ft_order_side, ft_trade_id)"
        )


@contextmanager
def live(folder: Path, now: list[int], *faults: Fault) -> Iterator[tuple[dict[str, Any], Account]]:
    """A live configuration with an empty database, and its account at the loopback exchange; `now` [ns] is the time."""
    archive = Archive(write_datadir(folder / "full", make_market(3.0, seed=11)))
    keys = Keys("key", "planted-secret")
    made = Account(Course(archive), START // 10**6, 10_000.0)
    exchange = LoopbackExchange(archive, lambda: now[0] // 10**6)
    books(folder / "trades.sqlite")
    app = exchange.app()
    SignedExchange(made, keys, lambda: now[0] // 10**6).add_to(app)
    app.middlewares.append(faulty(faults, lambda: now[0] // 10**6, [0], Counter()))
    exchange.app = lambda: app  # type: ignore[method-assign]
    with serve(exchange) as port:
        config = {
            **config_overlay(port, keys=keys),
            "dry_run": False, "stake_currency": "USDT", "db_url": f"sqlite:///{folder / 'trades.sqlite'}",
        }  # fmt: skip
        config["exchange"] |= {"pair_whitelist": [PAIR], "name": "binance"}
        yield config, made


def test_a_live_account_is_compared_with_the_database_and_mended(tmp_path: Path) -> None:
    """ccxt against the loopback exchange: a position that nobody stored, without a stop."""
    now = [START]
    said: list[str] = []
    with live(tmp_path, now) as (config, made):
        one = Watcher(config, tmp_path, tmp_path / "extras", said.append, clock=lambda: now[0])
        assert one.look().problems == ()
        one.api.create_order(PAIR, "market", "buy", 0.05)
        for second in itertools.count():
            now[0] = START + second * SECOND
            problems = one.look().problems
            if any("has had stops of 0" in text for text in problems) or second > 15:
                break
        assert second == 10
        assert any("the database 0" in text for text in problems)
        # A watcher that starts now says so at once, and one that may, closes it.
        other = Watcher(config, tmp_path, tmp_path / "extras", said.append, mend=True, clock=lambda: now[0])
        assert any("the database 0" in text for text in other.look().problems)
        now[0] += 6 * SECOND
        other.look()
        assert made.position("BTCUSDT").lots == 0
        now[0] += SECOND
        assert other.look().problems == ()
        # The day's loss is a halt that outlasts a restart.
        state = json.loads((tmp_path / "liqsignals" / "daily-loss.json").read_text())
        (tmp_path / "liqsignals" / "daily-loss.json").write_text(json.dumps({**state, "start": 11_000.0}))
        (halted,) = Watcher(config, tmp_path, tmp_path / "extras", said.append, clock=lambda: now[0]).look().problems
        assert "daily loss" in halted
        assert "remove" in halted
    assert "the exchange's account cannot be asked" in one.look().problems[0]
    written = "".join(path.read_text() for path in (tmp_path / "liqsignals").iterdir())
    assert "planted-secret" not in "\n".join(said) + written + repr(one)


@pytest.mark.parametrize(
    ("named", "listed", "own"),
    [
        ([PAIR], [], True),
        ([".*/USDT:USDT"], [], True),
        ([], [PAIR], True),  # a list of the largest by volume: the bot says which
        ([], [], False),
        (["ETH/.*"], [], False),
    ],
)
def test_a_position_in_any_pair_is_seen_and_only_the_bots_own_is_closed(
    named: list[str], listed: list[str], own: bool, tmp_path: Path, machine: tuple[Machine, str]
) -> None:
    now, said = [START], list[str]()
    machine[0].listed = listed
    with live(tmp_path, now) as (config, made):
        config["exchange"]["pair_whitelist"] = named
        one = Watcher(config, tmp_path, tmp_path / "extras", said.append, machine[1], mend=True, clock=lambda: now[0])
        one.look()
        one._first = False
        one.api.create_order(PAIR, "market", "buy", 0.05)
        list(passing(now, one, 12))
        assert (made.position("BTCUSDT").lots == 0) == own
        assert any("the exchange holds 0.05, the database 0" in text for text in said)
        assert any("left alone" in text for text in said) != own


def test_orders_of_many_pairs_are_asked_for_by_turns(tmp_path: Path, machine: tuple[Machine, str]) -> None:
    """Those that have one each time, all at first."""
    pairs = [f"C{n:02}/USDT:USDT" for n in range(25)]
    one = watcher(tmp_path, machine, exchange={"name": "binance", "pair_whitelist": pairs, "ccxt_config": {}})
    assert one._asked(set()) == pairs
    one._first = False
    rounds = [one._asked({pairs[3]}) for _ in range(5)]
    assert all(len(asked) == 11 and pairs[3] in asked for asked in rounds)
    assert set().union(*rounds[:3]) == set().union(*rounds[2:]) == set(pairs)


def test_a_full_disk_keeps_no_stop_from_being_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither does a state of the daily loss that cannot be read; entries are forbidden."""
    now, said = [START], list[str]()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    def pause(seconds: float) -> None:
        now[0] += round(seconds * SECOND)
        if now[0] > START + 12 * SECOND:
            raise KeyboardInterrupt

    with filled(tmp_path, now, stop=0.9) as (one, made):
        one.log = said.append
        with monkeypatch.context() as patch:
            patch.setattr("liqsignals.files._create", full)
            patch.setattr("liqsignals.operate.watcher.time.sleep", pause)
            with pytest.raises(KeyboardInterrupt):
                one.run(3.0)
        assert len(made.open_stops()) == 1
        assert "status.json" in said[-1]
        assert "No space left on device" in said[-1]
        one.daily.file.parent.mkdir(exist_ok=True)
        one.daily.file.write_text("")
        assert any("daily-loss.json: is no state" in text for text in one.look().problems)


def test_without_a_database_nothing_is_closed(tmp_path: Path) -> None:
    """A slip in --userdir or db_url, and every position would look like nobody's."""
    now, said = [START], list[str]()
    with live(tmp_path, now) as (config, made):
        config["db_url"] = f"sqlite:///{tmp_path / 'nowhere.sqlite'}"
        one = Watcher(config, tmp_path, tmp_path / "extras", said.append, mend=True, clock=lambda: now[0])
        one.api.create_order(PAIR, "market", "buy", 0.05)
        list(passing(now, one, 30))
        assert made.position("BTCUSDT").lots > 0
        assert any("there is no database" in text and "--userdir or db_url" in text for text in one.look().problems)


@contextmanager
def filled(
    folder: Path, now: list[int], *faults: Fault, stop: float = 0.0, side: str = "buy"
) -> Iterator[tuple[Watcher, Account]]:
    """A mending watcher, and an account with a stored position and no stop at the exchange: the bot was killed.

    `stop`: the trade's stop price in the database, as a share of the market's.
    """
    with live(folder, now, *faults) as (config, made):
        one = Watcher(config, folder, folder / "extras", print, mend=True, clock=lambda: now[0])
        price = one.api.fetch_ticker(PAIR)["last"]
        with closing(sqlite3.connect(folder / "trades.sqlite")) as stored, stored:
            stored.execute("insert into trades values (1, ?, 1, ?, ?, null)", (PAIR, stop * price, side == "sell"))
            stored.execute("insert into orders values ('e', ?, ?, 0.05, 0.05, 0.05, 0, ?, 1)", (PAIR, side, side))
        one.api.create_order(PAIR, "market", side, 0.05)
        yield one, made


@contextmanager
def held(folder: Path, now: list[int], *faults: Fault) -> Iterator[tuple[Watcher, Account]]:
    """As `filled`, with a stop that the bot could not store any more."""
    with filled(folder, now, *faults) as (one, made):
        price = one.api.fetch_ticker(PAIR)["last"]
        one.api.create_order(PAIR, "market", "sell", 0.05, None, {"stopLossPrice": price * 0.9, "reduceOnly": True})
        yield one, made


SIDES = pytest.mark.parametrize(("side", "sign", "exit_"), [("buy", 1, "sell"), ("sell", -1, "buy")])


def passing(now: list[int], one: Watcher, seconds: int) -> Iterator[int]:
    """A watcher that looks every three seconds."""
    begun = now[0]
    for second in range(3, seconds + 1, 3):
        now[0] = begun + second * SECOND
        one.look()
        yield second


@SIDES
def test_a_filled_entry_of_a_dead_bot_has_its_stop_within_ten_seconds(
    side: str, sign: int, exit_: str, tmp_path: Path
) -> None:
    now = [START]
    with filled(tmp_path, now, stop=1 - sign * 0.1, side=side) as (one, made):
        one.look()
        lasted = next(second for second in passing(now, one, 60) if made.open_stops())
        assert 5 <= lasted < watch.PATIENCE
        (ours,) = made.open_stops()
        price = one.api.fetch_ticker(PAIR)["last"] * (1 - sign * 0.1)
        assert abs(ours.trigger / price - 1) < 1e-3  # the tick
        assert (ours.side, ours.reduce, made.coins("BTCUSDT", ours.lots)) == (-sign, True, 0.05)
        list(passing(now, one, 12))
        assert made.open_stops() == [ours]
        # The bot is back and places its own: ours goes.
        params = {"stopLossPrice": ours.trigger, "reduceOnly": True}
        own = one.api.create_order(PAIR, "market", exit_, 0.05, None, params)
        with closing(sqlite3.connect(tmp_path / "trades.sqlite")) as stored, stored:
            row = own["id"], PAIR, exit_
            stored.execute("insert into orders values (?, ?, ?, 0.05, 0.05, 0, 1, 'stoploss', 1)", row)
        list(passing(now, one, 3))
        assert [str(o.id) for o in made.open_stops()] == [own["id"]]
        assert made.position("BTCUSDT").lots * sign > 0


@SIDES
def test_a_position_beyond_its_stop_is_closed(side: str, sign: int, exit_: str, tmp_path: Path) -> None:
    """The exchange refuses a stop that would be triggered at once."""
    now = [START]
    with filled(tmp_path, now, stop=1 + sign * 0.1, side=side) as (one, made):
        one.look()
        assert made.position("BTCUSDT").lots * sign > 0
        list(passing(now, one, 9))
        assert made.position("BTCUSDT").lots == 0
        assert not made.open_stops()


def test_a_stop_that_the_exchange_lists_late_is_placed_once_in_five_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [START]
    with filled(tmp_path, now, stop=0.9) as (one, made):
        monkeypatch.setattr(one.api, "fetch_open_orders", lambda pair, params: [])
        one.look()
        found = [len(made.open_stops()) for _ in passing(now, one, 18)]
        assert found == [0, 1, 1, 1, 2, 2]


def test_orders_of_one_look_have_ids_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, sent = [START], []
    with filled(tmp_path, now, stop=0.9) as (one, _):
        two = [watch.Action("stop", PAIR, "", amount=amount, price=9.0, at_once=True) for amount in (1.0, 2.0)]
        monkeypatch.setattr(watch, "remedies", lambda there, books: two)
        monkeypatch.setattr(one.api, "create_order", lambda *order: sent.append(order[-1]["clientOrderId"]))
        one.look()
    assert len(set(sent)) == 2


def test_an_entry_that_is_still_being_filled_has_a_stop(tmp_path: Path) -> None:
    now = [START]
    with filled(tmp_path, now, stop=0.9) as (one, made):
        with closing(sqlite3.connect(tmp_path / "trades.sqlite")) as stored, stored:
            stored.execute("insert into orders values ('more', ?, 'buy', 1.0, 1.0, 0.0, 1, 'buy', 1)", (PAIR,))
        one.look()
        for _ in passing(now, one, 9):
            one.api.create_order(PAIR, "market", "buy", 0.01)
        assert sum(made.coins("BTCUSDT", o.lots) for o in made.open_stops()) >= 0.05


@pytest.mark.parametrize("last", [None, ccxt.NetworkError("no answer")])
def test_a_stop_needs_no_price(last: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch_ticker(pair: str) -> dict[str, Any]:
        if last is not None:
            raise last
        return {"last": last}

    now = [START]
    with filled(tmp_path, now, stop=0.9) as (one, made):
        monkeypatch.setattr(one.api, "fetch_ticker", fetch_ticker)
        one.look()
        list(passing(now, one, 9))
        assert len(made.open_stops()) == 1


def test_a_stop_that_is_missing_is_named_where_the_watcher_may_not_act(tmp_path: Path) -> None:
    now = [START]
    with filled(tmp_path, now, stop=0.9) as (one, made):
        one.mend = False
        one.look()
        now[0] += 6 * SECOND
        (note,) = (text for text in one.look().notes if "to be done" in text)
        assert f"stop {PAIR} 0.05" in note
        assert not made.open_stops()


@pytest.mark.parametrize("path", ["positionRisk", "openAlgoOrders", "openOrders", "account"])
@pytest.mark.parametrize("kind", ["truncated", "html"])
def test_a_broken_answer_is_no_empty_account(kind: str, path: str, tmp_path: Path) -> None:
    now = [START]
    broken = Fault(kind, START // 10**6 + 1, START // 10**6 + 60_000, path=path)
    with held(tmp_path, now, broken) as (one, made):
        for second in (1, 9, 17):
            now[0] = START + second * SECOND
            assert "cannot be asked (BadResponse)" in one.look().problems[0]
        assert len(made.open_stops()) == 1


def test_a_stop_goes_only_where_two_looks_find_no_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the stop is not stored has lasted long enough; that it has no position has not."""
    now = [START]
    with held(tmp_path, now) as (one, made):
        for second, there in ((0, True), (6, True), (12, False), (15, True), (18, False), (22, False)):
            now[0] = START + second * SECOND
            with monkeypatch.context() as patch:
                if not there:
                    patch.setattr(one.api, "fetch_positions", list)
                one.look()
            assert len(made.open_stops()) == 1, second
        now[0] += 2 * SECOND
        monkeypatch.setattr(one.api, "fetch_positions", list)
        one.look()
        assert not made.open_stops()


# Raw files


@pytest.mark.parametrize(
    ("days", "free", "published", "kept"),
    [
        (90, 1 << 40, 0, 20),  # nothing is that old
        (10, 1 << 40, 0, 11),
        (1, 1 << 40, 0, 8),  # the last week stays
        (90, 0, 0, 8),  # a full disk: the oldest go, the last week stays
        (90, retention.SHORT - 1, 0, 19),  # one day is enough
        (1, 0, 15, 16),  # what is not published yet stays
    ],
)
def test_raw_files_go_by_age_and_for_want_of_room(
    days: int, free: int, published: int, kept: int, tmp_path: Path
) -> None:
    """Days 0 (today) to 19 ago; `published`: how many days ago the newest published message came."""
    for age in range(20):
        folder = tmp_path / "raw" / "binance" / iso(START - age * DAY)[:10]
        folder.mkdir(parents=True)
        for channel in ("liquidation", "alive"):
            (folder / f"{channel}.1.gz").write_bytes(b"raw")
    (tmp_path / "raw" / "published").write_text(str(START - published * DAY))
    removed = retention.prune(tmp_path, START, days, free)
    left = sorted(path.parent.name for path in tmp_path.glob("raw/*/*/liquidation.*"))
    assert left == [iso(START - age * DAY)[:10] for age in reversed(range(kept))]
    assert len(removed) == 20 - kept
    # When a stream was alive is asked for all the time.
    assert len(list(tmp_path.glob("raw/*/*/alive.*"))) == 20


def test_nothing_goes_where_nobody_knows_what_is_published(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "binance" / "2020-01-01"
    folder.mkdir(parents=True)
    (folder / "liquidation.1.gz").write_bytes(b"raw")
    assert retention.prune(tmp_path, START, 7, 0) == []

"""Faults by the market clock: each kind as a client of the loopback exchange meets it, and the files that say when."""

import http.client
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from aiohttp import web
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from liqsignals.errors import InputError
from liqsignals.exchange.archive import Archive
from liqsignals.exchange.endpoints import LoopbackExchange
from liqsignals.exchange.faults import BROKEN, KINDS, LIES, Fault, answer, faulty, random_faults, read_faults
from liqsignals.exchange.serving import served

pytestmark = pytest.mark.slow

START = pd.Timestamp("2026-01-05", tz="UTC")
T0 = START.value // 10**6
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
FIVE = 5 * MINUTE
ROWS = 300
NOON = T0 + 12 * HOUR
KLINES = "/fapi/v1/klines?symbol=BTCUSDT&interval=5m"
INTEREST = "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m&limit=500"
TIME = "/fapi/v1/time"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("data") / "binance"
    (folder / "futures").mkdir(parents=True)
    rng = np.random.default_rng(3)
    date = pd.date_range(START, periods=ROWS, freq="5min", unit="ms")
    for stem, price in (("BTC_USDT_USDT", 60_000.0), ("ETH_USDT_USDT", 3_000.0)):
        close = np.round(price * np.exp(np.cumsum(rng.normal(0, 0.001, ROWS))), 1)
        opened = np.r_[price, close[:-1]]
        frame = pd.DataFrame({"date": date, "open": opened, "high": np.maximum(opened, close) + 5})
        frame = frame.assign(
            low=np.minimum(opened, close) - 5, close=close, volume=np.round(rng.uniform(1, 9, ROWS), 3)
        )
        frame.to_feather(folder / "futures" / f"{stem}-5m-futures.feather")
        amount = np.round(rng.uniform(7e4, 8e4, ROWS), 3)
        frame = pd.DataFrame({"date": date, "open_interest_amount": amount, "open_interest_value": amount * close})
        frame.to_feather(folder / "futures" / f"{stem}-5m-open_interest.feather")
    return Archive(folder)


@dataclass
class Loopback:
    """A served exchange whose clock stands until a test moves it."""

    now: int = NOON
    port: int = 0
    waiting: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def ask(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body. Raises OSError where the connection ends without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            got = connection.getresponse()
            return got.status, dict(got.headers), got.read()
        finally:
            connection.close()

    def rows(self, path: str) -> Any:
        status, _, body = self.ask(path)
        assert status == 200, body
        return json.loads(body)


async def echo(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


Serve = Callable[..., AbstractContextManager[Loopback]]


@pytest.fixture
def serve(archive: Archive) -> Serve:
    """`with serve(fault, ...) as loopback`."""

    @contextmanager
    def serving(*faults: Fault, now: int = NOON) -> Iterator[Loopback]:
        at = Loopback(now)
        app = LoopbackExchange(archive, lambda: at.now).app()
        app.middlewares.insert(0, faulty(faults, lambda: at.now, at.waiting, at.counts))
        app.router.add_get("/ws", echo)
        with served(app, "faulty-exchange", 1.0) as at.port:
            yield at

    return serving


def a(kind: str, **fields: Any) -> Fault:
    """A fault of five minutes from noon on."""
    return Fault(kind, NOON, NOON + FIVE, **fields)


def soon(true: Any) -> None:
    """Wait until it is true; a minute is for a machine that hangs."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("kind", ["drop", "outage"])
def test_no_answer(serve: Serve, kind: str) -> None:
    with serve(a(kind)) as at:
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            at.ask(TIME)
        at.now = NOON + FIVE - 1
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            at.ask(KLINES)
        for outside in (NOON - 1, NOON + FIVE):
            at.now = outside
            assert at.rows(TIME) == {"serverTime": outside}
        assert at.counts == {kind: 2}


def test_a_pair_and_an_endpoint_narrow_it_down(serve: Serve) -> None:
    with serve(a("drop", pair="BTC/USDT:USDT", path="klines")) as at:
        assert at.rows(TIME)
        assert at.rows(KLINES.replace("BTC", "ETH"))
        assert at.rows(INTEREST)
        assert (
            at.rows(KLINES.replace("klines", "markPriceKlines")) == []
        )  # another endpoint, of which there are no data
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            at.ask(KLINES)


def test_a_share_of_the_requests_always_the_same_however_often_they_are_sent(serve: Serve) -> None:
    def told(share: float, times: int, path: str) -> list[int]:
        codes = []
        with serve(a("status", code=500, share=share)) as at:
            for at.now in range(NOON, NOON + 60 * SECOND, SECOND):
                answers = {at.ask(path)[0] for _ in range(times)}
                assert len(answers) == 1
                codes += answers
        return codes

    first = told(0.3, 1, TIME)
    assert 8 <= first.count(500) <= 28
    assert first.count(200) == 60 - first.count(500)
    assert told(0.3, 3, TIME) == first
    assert told(0.31, 1, TIME) != first
    of_symbols = [told(0.3, 1, KLINES.replace("BTCUSDT", symbol)) for symbol in ("BTCUSDT", "ETHUSDT")]
    assert of_symbols[0] != of_symbols[1] != first


@pytest.mark.parametrize(
    ("code", "retry_after", "number"),
    [(429, 7, -1003), (418, 120, -1003), (500, None, -1001), (502, None, -1000), (503, 5, -1008), (504, None, -1007)],
)
def test_status(serve: Serve, code: int, retry_after: int | None, number: int) -> None:
    with serve(a("status", code=code, retry_after=retry_after)) as at:
        status, headers, body = at.ask(KLINES)
        told = json.loads(body)
        assert (status, told["code"], headers.get("Retry-After")) == (code, number, retry_after and str(retry_after))
        assert ("banned until" in told["msg"]) == (code == 418)
        if code == 418:
            assert str(NOON + 120 * SECOND) in told["msg"]
        assert at.counts == {"status": 1}


def test_a_delayed_answer_waits_for_the_market_clock(serve: Serve) -> None:
    with serve(a("delay", seconds=20, path="time")) as at:
        got: list[Any] = []
        asking = threading.Thread(target=lambda: got.append(at.rows(TIME)))
        asking.start()
        soon(lambda: at.waiting)
        assert at.waiting == [NOON + 20 * SECOND]
        at.now = NOON + 20 * SECOND - 1
        assert at.rows(KLINES)  # others are served meanwhile
        assert (at.waiting, got) == ([NOON + 20 * SECOND], [])
        at.now += 1
        asking.join()
        # As it was when it was asked for.
        assert got == [{"serverTime": NOON}]
        assert at.waiting == []
        assert at.counts == {"delay": 1}


def test_a_web_page(serve: Serve) -> None:
    with serve(a("html")) as at:
        status, headers, body = at.ask(KLINES)
        assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/html")
        assert body.startswith(b"<!DOCTYPE html>")


def test_half_an_answer(serve: Serve) -> None:
    with serve(a("truncated")) as at:
        half = at.ask(KLINES)[2]
        at.now += FIVE
        whole = at.ask(f"{KLINES}&endTime={NOON}")[2]
        assert 0.4 * len(whole) < len(half) < 0.6 * len(whole)
        with pytest.raises(json.JSONDecodeError):
            json.loads(half)


def test_stale_klines_are_those_of_the_past(serve: Serve) -> None:
    at_seconds = 7 * 60 + 40
    with serve() as at:
        at.now = NOON + 3 * SECOND - at_seconds * SECOND
        past, interest = at.rows(KLINES), at.rows(INTEREST)
    with serve(a("stale_klines", seconds=at_seconds), now=NOON + 3 * SECOND) as at:
        assert at.rows(KLINES) == past
        # The candle that was forming then, as it was then: nothing shows that it is not the last closed one.
        assert past[-1][0] == NOON - 2 * FIVE
        assert at.rows(TIME) == {"serverTime": at.now}
        assert at.rows(INTEREST) != interest
        assert at.rows(KLINES.replace("klines", "markPriceKlines")) == []
        assert at.counts == {"stale_klines": 1}
        at.now = NOON + FIVE
        assert at.rows(KLINES)[-1][0] == NOON + FIVE


def test_a_candle_twice(serve: Serve) -> None:
    with serve() as at:
        at.now += MINUTE
        usual = at.rows(KLINES)
    with serve(a("repeat_candle"), now=NOON + MINUTE) as at:
        told = at.rows(KLINES)
    assert usual[-1][0] == NOON  # forming
    assert told == [*usual[:-1], usual[-2], usual[-1]]


@pytest.mark.parametrize("healed_at", [None, NOON + HOUR])
def test_a_missing_candle(serve: Serve, healed_at: int | None) -> None:
    fault = Fault("skip_candle", NOON, NOON + 2 * FIVE, "BTC/USDT:USDT", healed_at=healed_at)
    with serve(fault) as at:
        for now in (NOON, NOON + FIVE + 1, NOON + 2 * FIVE, NOON + HOUR - 1):
            at.now = now
            told = [row[0] for row in at.rows(KLINES)]
            assert told == [t for t in range(T0, now + 1, FIVE) if not NOON <= t < NOON + 2 * FIVE]
            assert at.rows(KLINES.replace("BTC", "ETH"))[-1][0] == now // FIVE * FIVE
        at.now = NOON + HOUR
        told = [row[0] for row in at.rows(KLINES)]
        assert (NOON in told) == (healed_at is not None)


def test_open_interest_comes_late(serve: Serve) -> None:
    with serve() as at:
        usual = at.rows(INTEREST)
        assert usual[-1]["timestamp"] == NOON
    with serve(a("late_open_interest", seconds=1500)) as at:
        told = at.rows(INTEREST)
        assert told == usual[:-5]
        assert told[-1]["timestamp"] == NOON - 1500 * SECOND
        at.now = NOON + FIVE
        assert at.rows(INTEREST)[-1]["timestamp"] == NOON + FIVE


def test_open_interest_is_revised(serve: Serve) -> None:
    fault = a("revise_open_interest", factor=1.02, after=900)
    with serve(now=NOON + 20 * MINUTE) as at:
        true = {row["timestamp"]: row for row in at.rows(INTEREST)}
    with serve(fault) as at:
        for minutes, wrong in ((0, [0]), (5, [0]), (14, [0]), (15, [])):
            at.now = NOON + minutes * MINUTE
            told = {row["timestamp"]: row for row in at.rows(INTEREST)}
            differ = [stamp for stamp, row in told.items() if row != true[stamp]]
            assert differ == [NOON + FIVE * row for row in wrong]
            for stamp in differ:
                for name in ("sumOpenInterest", "sumOpenInterestValue"):
                    assert float(told[stamp][name]) == pytest.approx(1.02 * float(true[stamp][name]))


@pytest.mark.parametrize("healed_at", [None, NOON + HOUR])
def test_open_interest_is_wrong(serve: Serve, healed_at: int | None) -> None:
    with serve(now=NOON + HOUR) as at:
        true = {row["timestamp"]: row for row in at.rows(INTEREST)}
    with serve(a("wrong_open_interest", factor=10.0, healed_at=healed_at)) as at:
        for minutes in (0, 5, 59, 60):
            at.now = NOON + minutes * MINUTE
            told = {row["timestamp"]: row for row in at.rows(INTEREST)}
            differ = [stamp for stamp, row in told.items() if row != true[stamp]]
            assert differ == ([] if minutes == 60 and healed_at else [NOON])
            for name in ("sumOpenInterest", "sumOpenInterestValue"):
                assert float(told[NOON][name]) == pytest.approx((10 if differ else 1) * float(true[NOON][name]))


def test_another_coin_s_candle(serve: Serve) -> None:
    with serve() as at:
        at.now += MINUTE
        ours, others = at.rows(KLINES), at.rows(KLINES.replace("BTC", "ETH"))
    fault = Fault("other_candle", NOON - FIVE, NOON, "BTC/USDT:USDT", of="ETH/USDT:USDT", healed_at=NOON + 2 * MINUTE)
    with serve(fault) as at:
        at.now += MINUTE
        assert at.rows(KLINES) == [*ours[:-2], others[-2], ours[-1]]
        assert others[-2][0] == ours[-2][0] != NOON
        assert at.rows(KLINES.replace("BTC", "ETH")) == others
        at.now += MINUTE
        assert at.rows(KLINES)[-2] == ours[-2]


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_candle(serve: Serve, how: str) -> None:
    with serve(now=NOON + FIVE) as at:
        usual = at.rows(KLINES)
    with serve(a("broken_candle", how=how), now=NOON + FIVE) as at:
        told = at.rows(KLINES)
    prices, true = [float(x) for x in told[-2][1:5]], [float(x) for x in usual[-2][1:5]]
    assert [row for row in told if row not in usual] == [told[-2]]
    assert told[-2][0] == NOON
    wrong = {
        "crossed": prices == [true[0], true[2], true[1], true[3]] and prices[1] < prices[2],
        "nan": all(map(math.isnan, prices)),
        "negative": prices == [-x for x in true],
        "zero": prices == [0.0] * 4,
    }
    assert wrong[how]
    assert (told[-2][0], told[-2][5:]) == (usual[-2][0], usual[-2][5:])


def test_a_row_of_the_future(serve: Serve) -> None:
    with serve() as at:
        usual, interest = at.rows(KLINES), at.rows(INTEREST)
    with serve(a("future_row", seconds=301), a("future_row", seconds=60, path="openInterestHist")) as at:
        told = at.rows(KLINES)
        assert told[:-1] == usual
        assert (told[-1][0], told[-1][1:6], told[-1][6]) == (NOON + 2 * FIVE, usual[-1][1:6], NOON + 3 * FIVE - 1)
        assert at.rows(INTEREST) == [*interest, {**interest[-1], "timestamp": NOON + MINUTE}]


def test_the_exchange_s_clock_is_off(serve: Serve) -> None:
    paths = (TIME, "/fapi/v1/exchangeInfo", "/fapi/v1/depth?symbol=BTCUSDT&limit=5", "/fapi/v1/ticker/bookTicker")
    with serve() as at:
        usual = [at.rows(path) for path in (*paths, KLINES, INTEREST)]
    with serve(a("clock", seconds=-30)) as at:
        told = [at.rows(path) for path in (*paths, KLINES, INTEREST)]
    assert usual[0] == {"serverTime": NOON}
    assert told[0] == {"serverTime": NOON - 30 * SECOND}
    assert told[1] == {**usual[1], "serverTime": NOON - 30 * SECOND}
    assert told[2] == {**usual[2], "E": usual[2]["E"] - 30 * SECOND, "T": usual[2]["T"] - 30 * SECOND}
    assert told[3] == [{**row, "time": row["time"] - 30 * SECOND} for row in usual[3]]
    assert told[4:] == usual[4:]


def test_an_outage_closes_websockets(serve: Serve) -> None:
    with serve(a("outage"), now=NOON - 1) as at:
        with connect(f"ws://127.0.0.1:{at.port}/ws") as socket:
            socket.send("alive")
            assert socket.recv() == "alive"
            at.now = NOON
            with pytest.raises(ConnectionClosed):
                socket.recv(60)
        with pytest.raises((InvalidHandshake, OSError, EOFError)):
            connect(f"ws://127.0.0.1:{at.port}/ws")
        at.now = NOON + FIVE
        with connect(f"ws://127.0.0.1:{at.port}/ws") as socket:
            socket.send("again")
            assert socket.recv() == "again"


def test_several_faults_at_once(serve: Serve) -> None:
    skipped = Fault("skip_candle", NOON - 3 * FIVE, NOON - 2 * FIVE)
    with serve(skipped, a("repeat_candle"), a("stale_klines", seconds=180), now=NOON + 2 * MINUTE) as at:
        told = [row[0] for row in at.rows(KLINES)]
        # As of 11:59: what was forming then is not taken for closed.
        assert told[-4:] == [NOON - row * FIVE for row in (4, 2, 2, 1)]
        assert at.counts == {"skip_candle": 1, "repeat_candle": 1, "stale_klines": 1}


def test_a_stale_answer_leaves_the_next_one_of_its_connection_alone(serve: Serve) -> None:
    with serve(a("stale_klines", seconds=900)) as at:
        connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=60)
        told = []
        for path in (KLINES, TIME):
            connection.request("GET", path)
            told.append(json.loads(connection.getresponse().read()))
        connection.close()
        assert told[1] == {"serverTime": NOON}


def test_an_error_of_the_exchange_passes(serve: Serve) -> None:
    with serve(a("repeat_candle"), a("clock", seconds=5)) as at:
        status, _, body = at.ask("/fapi/v1/klines?symbol=NONE&interval=5m")
        assert (status, json.loads(body)["code"]) == (400, -1121)


def test_answer_leaves_its_argument_alone() -> None:
    row = {"symbol": "BTCUSDT", "sumOpenInterest": "5.0", "sumOpenInterestValue": "", "timestamp": NOON}
    payload = [dict(row)]
    fault = a("revise_open_interest", factor=2.0, after=900)
    path = "/futures/data/openInterestHist"
    revised = answer(fault, path, {"symbol": "BTCUSDT"}, payload, NOON)
    assert revised == [{**row, "sumOpenInterest": "10.00000000"}]
    assert payload == [row]
    assert answer(fault, "/fapi/v1/klines", {}, payload, NOON) is payload


# --- files --------------------------------------------------------------------------------------------------


def written(tmp_path: Path, *entries: Any) -> Path:
    path = tmp_path / "faults.json"
    path.write_text(json.dumps({"faults": list(entries)}))
    return path


SPAN = {"from": "2026-01-05T12:00:00Z", "until": "2026-01-05T13:05:00+01:00"}


def test_a_file_is_read(tmp_path: Path) -> None:
    skip = {"kind": "skip_candle", **SPAN, "pair": "BTC/USDT:USDT", "healed_at": "2026-01-05T13:00:00Z"}
    limit = {"kind": "status", **SPAN, "from": "2026-01-05T11:00:00Z", "code": 429, "retry_after": 5, "share": 0.5}
    late = {"kind": "late_open_interest", **SPAN, "seconds": 1500, "path": "openInterestHist"}
    assert read_faults(written(tmp_path, skip, limit, late)) == (
        Fault("status", NOON - HOUR, NOON + FIVE, code=429, retry_after=5, share=0.5),
        Fault("late_open_interest", NOON, NOON + FIVE, path="openInterestHist", seconds=1500.0),
        Fault("skip_candle", NOON, NOON + FIVE, "BTC/USDT:USDT", healed_at=NOON + HOUR),
    )
    assert read_faults(written(tmp_path)) == ()


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "replay.md").read_text()
    example = page.split("```json")[1].split("```")[0]
    path = tmp_path / "faults.json"
    path.write_text(example)
    assert {fault.kind for fault in read_faults(path)} == set(KINDS)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("outage", "must be an object"),
        ({}, "kind None is not known"),
        ({"kind": "fire", **SPAN}, "kind 'fire' is not known; known are: delay"),
        ({"kind": ["drop"], **SPAN}, "is not known"),
        ({"kind": "outage", **SPAN, "seconds": 5}, r"\(outage\): unknown key seconds; known are: kind, from"),
        ({"kind": "outage", "from": SPAN["from"]}, "key until is missing"),
        ({"kind": "delay", **SPAN}, "key seconds is missing"),
        ({"kind": "delay", **SPAN, "seconds": "5"}, "'seconds' must be a number over 0"),
        ({"kind": "delay", **SPAN, "seconds": True}, "'seconds'"),
        ({"kind": "delay", **SPAN, "seconds": -5}, "'seconds'"),
        ({"kind": "clock", **SPAN, "seconds": 0}, "'seconds'"),
        ({"kind": "clock", **SPAN, "seconds": float("nan")}, "'seconds'"),
        ({"kind": "outage", **SPAN, "share": 0}, "'share'"),
        ({"kind": "outage", **SPAN, "share": 1.1}, "'share'"),
        ({"kind": "status", **SPAN}, "key code is missing"),
        ({"kind": "status", **SPAN, "code": 404}, "'code' must be a number 429, 418 or 500"),
        ({"kind": "status", **SPAN, "code": 503.5}, "'code'"),
        ({"kind": "status", **SPAN, "code": 429, "retry_after": -1}, "'retry_after'"),
        ({"kind": "revise_open_interest", **SPAN, "factor": 0, "after": 60}, "'factor'"),
        ({"kind": "revise_open_interest", **SPAN, "factor": 1.1}, "key after is missing"),
        ({"kind": "other_candle", **SPAN, "of": "ETHUSDT"}, "'of' must be a text such as \"BTC/USDT:USDT\""),
        ({"kind": "other_candle", **SPAN}, "key of is missing"),
        (
            {"kind": "broken_candle", **SPAN, "how": "odd"},
            "'how' must be one of crossed, nan, negative, zero, not 'odd'",
        ),
        ({"kind": "outage", **SPAN, "from": "2026-01-05T12:00:00"}, "'from': .* has no time zone"),
        ({"kind": "outage", **SPAN, "from": "noon"}, "'from': .* is not a time"),
        ({"kind": "outage", **SPAN, "from": 1767614400000}, "'from' must be a time such as"),
        ({"kind": "outage", **SPAN, "until": SPAN["from"]}, "'until' must be after 'from'"),
        ({"kind": "skip_candle", **SPAN, "healed_at": "2026-01-05T12:04:59Z"}, "'healed_at' must not be before"),
        ({"kind": "outage", **SPAN, "pair": "BTCUSDT"}, "'pair' must be a text such as \"BTC/USDT:USDT\""),
        ({"kind": "outage", **SPAN, "path": ""}, "'path'"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entry: Any, told: str) -> None:
    path = written(tmp_path, {"kind": "drop", **SPAN}, entry)
    with pytest.raises(InputError, match=rf"faults\.json: fault 2.*{told}"):
        read_faults(path)


@pytest.mark.parametrize("text", ["", "[]", '{"faults": {}}', '{"faults": [], "speed": 3}', '{"faults": ['])
def test_a_wrong_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"faults\.json: .*Way out: docs/replay\.md"):
        read_faults(path)
    with pytest.raises(InputError, match=r"nothing\.json"):
        read_faults(tmp_path / "nothing.json")


# --- random -------------------------------------------------------------------------------------------------


def test_random_faults_for_a_week() -> None:
    end = T0 + 7 * DAY
    pairs = ("BTC/USDT:USDT", "ETH/USDT:USDT")
    each = 2 * len(KINDS)
    faults = random_faults(1, T0, end, each, pairs)
    assert faults == random_faults(1, T0, end, each, pairs)
    assert faults != random_faults(2, T0, end, each, pairs)
    assert len(faults) == 7 * each
    assert Counter(fault.kind for fault in faults) == dict.fromkeys(KINDS, 14)
    assert list(faults) == sorted(faults, key=lambda fault: fault.start)
    for fault in faults:
        assert T0 - FIVE < fault.start < end
        assert MINUTE <= fault.until - fault.start <= 6 * HOUR
        assert 0.1 <= fault.share <= 1
        assert (fault.pair in pairs) == (KINDS[fault.kind][1] is not None)
    of = {kind: [fault for fault in faults if fault.kind == kind] for kind in KINDS}
    assert all(1 <= fault.seconds <= 30 for fault in of["delay"])
    assert all(300 <= fault.seconds <= 1800 for fault in of["stale_klines"])
    assert all(600 <= fault.seconds <= 4 * 3600 for fault in of["late_open_interest"])
    assert all(0.01 <= abs(fault.factor - 1) <= 0.05 for fault in of["revise_open_interest"])
    assert all(fault.factor in (0.1, 10) for fault in of["wrong_open_interest"])
    assert all({fault.pair, fault.of} == set(pairs) for fault in of["other_candle"])
    assert {fault.how for fault in of["broken_candle"]} == set(BROKEN)
    assert all(fault.healed_at == fault.until + HOUR for kind in LIES[:3] for fault in of[kind])
    assert all(fault.start % FIVE == fault.until % FIVE == 0 for kind in LIES[1:3] for fault in of[kind])
    assert all(0 < abs(fault.seconds) <= 60 for fault in of["clock"])
    assert {fault.healed_at and fault.healed_at - fault.until for fault in of["skip_candle"]} == {None, HOUR}
    assert all(fault.start % FIVE == 0 and fault.until - fault.start == FIVE for fault in of["skip_candle"])
    assert all(fault.pair is None for fault in random_faults(1, T0, end, each))


def test_random_faults_are_ones_that_a_file_could_have(tmp_path: Path) -> None:
    names = {"start": "from", "until": "until", "healed_at": "healed_at"}
    for fault in random_faults(3, T0, T0 + DAY, 24, ("BTC/USDT:USDT",)):
        entry: dict[str, Any] = {"kind": fault.kind, "share": fault.share}
        for key in ("pair", "path", *KINDS[fault.kind][0]):
            if (value := getattr(fault, key)) is not None:
                entry[key] = value
        for key, name in names.items():
            if (ms := getattr(fault, key)) is not None:
                entry[name] = pd.Timestamp(ms, unit="ms", tz="UTC").isoformat()
        assert read_faults(written(tmp_path, entry)) == (replace(fault, seconds=float(fault.seconds)),)

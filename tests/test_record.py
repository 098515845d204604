"""The recorder against servers that misbehave: nothing lost, nothing twice, nothing half-written, and the user is told."""

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import feed
import numpy as np
import pytest
from feed import PAIR, until
from websockets.asyncio.server import ServerConnection

from liqsignals import records
from liqsignals.clock import DAY, SECOND
from liqsignals.collect import capture, feeds, publish
from liqsignals.collect.publish import Publication
from liqsignals.collect.recorder import Recorder, Rhythm, record
from liqsignals.data import rawlog, store
from liqsignals.data.coverage import coverage
from liqsignals.errors import InputError
from liqsignals.sources import Prints, binance, okx

FAST = Rhythm(flush=0.02, publish=0.05, ping=0.05, silence=0.4, backoff=0.02, longest=0.1)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def recording(
    extras: Path,
    handler: feed.Handler,
    done: Callable[[Recorder], bool],
    *,
    exchange: str = "binance",
    quiet: float | None = None,
    parse: Callable[..., Prints] | None = None,
    rhythm: Rhythm = FAST,
) -> tuple[Recorder, list[str]]:
    """Record one exchange's prints from a server until `done`, then stop as Ctrl-C does."""
    told: list[str] = []

    async def main() -> Recorder:
        async with feed.websocket(handler) as url:
            (stream,) = feeds.liquidation_streams([PAIR], [exchange], {f"{exchange}-stream": url})
            if quiet is not None:
                stream = replace(stream, quiet=quiet)
            if parse is not None:
                stream = replace(stream, parse=parse)
            recorder = Recorder(extras, [stream], rhythm=rhythm, log=told.append)
            recorder.publication.contracts["okx"]["BTC-USDT-SWAP"] = 0.01
            task = asyncio.create_task(recorder.run())
            try:
                await until(lambda: done(recorder) or task.done())
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            return recorder

    return asyncio.run(main()), told


def raw_messages(extras: Path, provider: str = "binance") -> list[bytes]:
    return [raw for path in rawlog.files(extras / "raw" / provider, "liquidations") for _, raw in rawlog.read(path)]


def numbers(extras: Path, provider: str = "binance") -> list[int]:
    """Which prints are readable, by their quantities."""
    return sorted(np.round(feed.prints(extras, provider)["base"] * 1000).astype(int).tolist())


def sender(messages: list[str], then: Callable[[ServerConnection], Awaitable[Any]] | None = None) -> feed.Handler:
    async def handler(socket: ServerConnection) -> None:
        for message in messages:
            await socket.send(message)
        await (then(socket) if then else socket.wait_closed())

    return handler


@pytest.mark.parametrize(
    ("exchange", "message", "sides", "base"),
    [
        ("binance", lambda at: feed.binance(at, 4, "SELL"), [records.LONG], [0.005]),
        ("binance", lambda at: feed.binance(at, 4, "BUY"), [records.SHORT], [0.005]),
        ("bybit", lambda at: feed.bybit(at, "Buy", "Sell"), [records.LONG, records.SHORT], [0.1, 0.2]),
        ("okx", lambda at: feed.okx(at, "sell", "buy", "sell"), [0, 0, 1], [0.01, 0.03, 0.02]),
    ],
)
def test_whose_position_was_liquidated(
    tmp_path: Path, exchange: str, message: Callable[[int], str], sides: list[int], base: list[float]
) -> None:
    recording(tmp_path, sender([message(now_ms())]), lambda r: r.published > 0, exchange=exchange)
    rows = feed.prints(tmp_path, exchange)
    got = {round(row["base"], 6): int(row["side"]) for row in rows}
    assert got == dict(zip(base, sides, strict=True))
    assert (rows["usd"] == rows["price"] * rows["base"]).all()


def test_a_row_is_known_when_it_can_be_read_and_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readable: list[int] = []
    write = store.write

    def slow(path: Path, rows: records.Records) -> None:
        # The first write takes longer than the bound that it was stamped with.
        if not readable:
            readable.append(0)
            threading.Event().wait(0.03)
        write(path, rows)
        readable.append(time.time_ns())

    monkeypatch.setattr(publish, "BOUND", SECOND // 100)
    monkeypatch.setattr(store, "write", slow)
    recording(tmp_path, sender([feed.binance(now_ms() - 5000)]), lambda r: r.published > 0)
    (row,) = feed.prints(tmp_path)
    assert len(readable) >= 3, "the batch was not stamped again"
    assert row["known_at"] >= readable[-1] > row["event_time"]


def test_a_server_that_drops_every_few_messages_loses_nothing(tmp_path: Path) -> None:
    sent: list[int] = []

    async def handler(socket: ServerConnection) -> None:
        for _ in range(7):
            if len(sent) < 70:
                await socket.send(feed.binance(now_ms(), len(sent)))
                sent.append(len(sent) + 1)
        if len(sent) >= 70:
            await socket.wait_closed()

    recorder, told = recording(tmp_path, handler, lambda r: r.published >= 70)
    assert numbers(tmp_path) == sent
    assert recorder.taken == 70
    assert any("connection is lost (closed by the server, code 1000); again in" in line for line in told)
    assert any("connected again; what was liquidated in" in line and "is not known" in line for line in told)


def test_a_connection_that_breaks_in_the_middle_is_a_hole_in_the_coverage(tmp_path: Path) -> None:
    connections: list[ServerConnection] = []

    async def handler(socket: ServerConnection) -> None:
        connections.append(socket)
        await socket.send(feed.binance(now_ms(), len(connections)))
        if len(connections) < 3:
            await socket.ping()
            socket.transport.abort()
        await socket.wait_closed()

    def done(recorder: Recorder) -> bool:
        return len(connections) >= 3 and len(coverage(tmp_path, "binance", "liquidations")) >= 3

    recording(tmp_path, handler, done)
    spans = coverage(tmp_path, "binance", "liquidations")
    assert all(a.stop < b.start for a, b in itertools.pairwise(spans))
    assert set(numbers(tmp_path)) <= {2, 3, 4}


def test_a_server_that_goes_silent_is_left(tmp_path: Path) -> None:
    connections: list[ServerConnection] = []

    async def handler(socket: ServerConnection) -> None:
        connections.append(socket)
        await socket.send(feed.binance(now_ms(), len(connections)))
        if len(connections) == 1:
            # The network is gone: nothing is read any more, no ping is answered, and nobody closes.
            socket.transport.pause_reading()
        await socket.wait_closed()

    _, told = recording(tmp_path, handler, lambda r: r.published >= 2)
    assert any("no sign of life for 0.4 s" in line for line in told)
    assert numbers(tmp_path) == [2, 3]
    first, second = coverage(tmp_path, "binance", "liquidations")
    assert second.start - first.stop >= 0.4 * SECOND, "silence was counted as alive"


def test_pings_answered_without_messages_do_not_vouch_for_a_lost_subscription(tmp_path: Path) -> None:
    connections: list[float] = []

    async def handler(socket: ServerConnection) -> None:
        connections.append(time.monotonic())
        await socket.send(feed.binance(now_ms(), len(connections)))
        await socket.wait_closed()

    _, told = recording(tmp_path, handler, lambda r: len(connections) > 1 and r.published >= 2, quiet=0.3)
    assert any("it answers, but sent nothing for 0.3 s" in line for line in told)
    for span in coverage(tmp_path, "binance", "liquidations")[:1]:
        assert span.stop - span.start < 0.25 * SECOND


def test_a_refused_subscription_is_told(tmp_path: Path) -> None:
    refusal = '{"success":false,"ret_msg":"error:handler not found,topic:allLiquidation.X","op":"subscribe"}'
    told: list[str] = []
    _, told = recording(tmp_path, sender([refusal]), lambda r: r.taken >= 2, exchange="bybit")
    assert any("refuses the subscription" in line and "handler not found" in line for line in told)


def test_malformed_messages_are_kept_raw_told_once_and_hide_nothing(tmp_path: Path) -> None:
    bad = ["", "{", "<html>502</html>", "[1,2", '{"e":"forceOrder"}', '{"e":"forceOrder","o":[]}', "nul\nl", "\x00",
           feed.binance(now_ms(), side="LONG"), feed.binance(now_ms(), z="-1"), feed.binance(now_ms(), ap="x"),
           feed.binance(now_ms() + 10**7), feed.binance(1)]  # fmt: skip
    harmless = [
        '{"result":null,"id":1}',
        '{"e":"other"}',
        feed.binance(now_ms(), z="0"),
        feed.binance(now_ms(), symbol="ETHUSDT"),
    ]
    coin_m = feed.binance(now_ms(), 5).replace('"st": 1', '"st": 2')
    messages = [feed.binance(now_ms(), 0), *bad, *harmless, coin_m, feed.binance(now_ms(), 1)]
    recorder, told = recording(tmp_path, sender(messages), lambda r: r.published >= 2)
    assert numbers(tmp_path) == [1, 2]
    assert recorder.unparsed == len(bad)
    assert raw_messages(tmp_path) == [message.encode() for message in messages]
    assert sum("was not understood and is only kept raw" in line for line in told) == 1


def test_ten_thousand_in_a_second(tmp_path: Path) -> None:
    at = now_ms()
    messages = [feed.binance(at + n % 1000, n) for n in range(10_000)]
    recorder, _ = recording(tmp_path, sender(messages), lambda r: r.published >= 10_000, rhythm=Rhythm(publish=0.2))
    assert numbers(tmp_path) == list(range(1, 10_001))
    assert raw_messages(tmp_path) == [message.encode() for message in messages]
    assert recorder.unparsed == 0


def test_a_burst_waits_for_the_disk_not_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "WAITING", 100)
    most = 0
    publish = Publication.publish

    def watched(self: Publication, batch: Any, upto: int | None) -> None:
        nonlocal most
        most = max(most, sum(map(len, batch.values())))
        publish(self, batch, upto)

    monkeypatch.setattr(Publication, "publish", watched)
    messages = [feed.binance(now_ms(), n) for n in range(3000)]
    recording(tmp_path, sender(messages), lambda r: r.published >= 3000, rhythm=Rhythm(publish=60.0))
    assert most <= 200
    assert numbers(tmp_path) == list(range(1, 3001))


def test_a_full_disk_is_told_and_ends_before_memory_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "HELD", 20_000)
    told: list[str] = []

    def full(self: rawlog.RawLog) -> None:
        raise InputError(
            "raw: cannot be written (No space left on device)",
            "make room on the disk",
        )

    monkeypatch.setattr(rawlog.RawLog, "flush", full)

    async def main() -> None:
        async with feed.websocket(sender([feed.binance(now_ms(), n) for n in range(1000)])) as url:
            found = feeds.liquidation_streams([PAIR], ["binance"], {"binance-stream": url})
            await Recorder(tmp_path, found, rhythm=FAST, log=told.append).run()

    with pytest.raises(InputError, match="make room on the disk"):
        asyncio.run(main())
    assert sum("No space left" in line for line in told) == 1
    assert not list(tmp_path.glob("liquidation/**/*.parquet")), "published what is not kept raw"


def test_a_disk_that_refuses_for_a_while_delays_publication_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = store.write, [1, 1]

    def refusing(path: Path, rows: records.Records) -> None:
        if failures:
            failures.pop()
            raise InputError(
                f"{path}: cannot be written (No space left on device)",
                "free space",
            )
        write(path, rows)

    monkeypatch.setattr(store, "write", refusing)
    _, told = recording(tmp_path, sender([feed.binance(now_ms(), n) for n in range(20)]), lambda r: r.published >= 20)
    assert numbers(tmp_path) == list(range(1, 21))
    assert sum("No space left" in line for line in told) == 1


def test_a_parsers_own_mistake_does_not_end_a_recording(tmp_path: Path) -> None:
    def mistaken(raw: bytes, received_at: int) -> Prints:
        if b'"z": "0.002"' in raw:
            raise KeyError("planted")
        return binance.parse_liquidations(raw, received_at)

    messages = [feed.binance(now_ms(), n) for n in range(5)]
    recorder, told = recording(tmp_path, sender(messages), lambda r: r.published >= 4, parse=mistaken)
    assert numbers(tmp_path) == [1, 3, 4, 5]
    assert recorder.unparsed == 1
    assert any("KeyError: 'planted'" in line for line in told)


def test_no_sign_of_life_is_written_before_what_it_vouches_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (stream,) = feeds.liquidation_streams([PAIR], ["binance"], feeds.URLS)
    recorder = Recorder(tmp_path, [stream])
    recorder.capture.take("binance", "liquidations", time.time_ns(), feed.binance(now_ms()).encode())
    recorder.capture.sign(stream, "alive", since=1, until=2)
    flush = rawlog.RawLog.flush

    def refusing(self: rawlog.RawLog) -> None:
        if self.channel == "liquidations":
            raise InputError("full")
        flush(self)

    with monkeypatch.context() as broken:
        broken.setattr(rawlog.RawLog, "flush", refusing)
        assert not recorder.capture.flush()
    assert rawlog.files(tmp_path / "raw" / "binance") == []
    assert recorder.capture.flush()
    assert len(rawlog.files(tmp_path / "raw" / "binance")) == 2


def test_a_revised_value_does_not_replace_what_was_told_first(tmp_path: Path) -> None:
    polls = feeds.polls([PAIR], ["binance"])
    recorder = Recorder(tmp_path, (), polls)
    label = now_ms() // 300_000 * 300_000 - 600_000
    for amount in ("80000", "90000"):
        row = {"symbol": "BTCUSDT", "sumOpenInterest": amount, "sumOpenInterestValue": "1", "timestamp": label}
        recorder.capture.take("binance", "open_interest-BTCUSDT", time.time_ns(), json.dumps([row]).encode())
        asyncio.run(recorder.publish())
    rows = store.read(store.series_dir(tmp_path, "open_interest", "binance", PAIR, "5m"), records.OI_VALUE)
    assert rows["base"].tolist() == [80000.0]


def test_what_was_kept_raw_and_not_published_is_published_once_by_the_next_run(tmp_path: Path) -> None:
    recording(tmp_path, sender([feed.binance(now_ms(), n) for n in range(5)]), lambda r: r.published >= 5)
    log = rawlog.RawLog(tmp_path / "raw" / "binance", "liquidations")
    for n in range(3, 9):
        log.add(time.time_ns(), feed.binance(int(feed.prints(tmp_path)["event_time"][0] // 10**6), n).encode())
    log.flush()
    before = feed.prints(tmp_path)
    (stream,) = feeds.liquidation_streams([PAIR], ["binance"], feeds.URLS)
    for _ in range(2):
        Recorder(tmp_path, [stream]).recover()
        assert set(numbers(tmp_path)) == set(range(1, 10))
        now = feed.prints(tmp_path)
        assert len(now) == len({row.tobytes() for row in now[["event_time", "side", "price", "base"]]})
        assert (np.sort(now["known_at"])[: len(before)] == np.sort(before["known_at"])).all()


def test_parts_become_months_without_a_change_for_readers(tmp_path: Path) -> None:
    recording(tmp_path, sender([feed.binance(now_ms(), n) for n in range(50)]), lambda r: r.published >= 50)
    before = feed.prints(tmp_path)
    publish.fold_parts(tmp_path, time.time_ns() + DAY)
    folder = store.series_dir(tmp_path, "liquidation", "binance", PAIR, "events")
    assert not list(folder.glob("parts/*.parquet"))
    assert len(list(folder.glob("*.parquet"))) >= 1
    assert np.array_equal(feed.prints(tmp_path), before)


def test_a_reader_sees_every_row_while_parts_are_folded(tmp_path: Path) -> None:
    folder = store.series_dir(tmp_path, "liquidation", "binance", PAIR, "events")
    at = time.time_ns() - 60 * SECOND + np.arange(400)
    rows = records.records(
        records.LIQUIDATION, at, at + SECOND, side=np.zeros(400), price=np.ones(400), base=np.arange(1.0, 401), usd=np.ones(400)
    )  # fmt: skip
    for n in range(40):
        store.write(folder / "parts" / f"{n + 1}.parquet", rows[n * 10 : n * 10 + 10])
    seen: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(len(feed.prints(tmp_path)))

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(40):
        publish.fold_parts(tmp_path, n + 2)
    stop.set()
    reader.join()
    assert set(seen) == {400}
    assert len(feed.prints(tmp_path)) == 400


def test_one_writer(tmp_path: Path) -> None:
    with store.writer(tmp_path, "record"), pytest.raises(InputError, match=r"another liqsignals record.*Way out"):
        record(tmp_path, [PAIR], ["binance"])


def test_okx_prints_wait_for_the_sizes_of_contracts(tmp_path: Path) -> None:
    (stream,) = feeds.liquidation_streams([PAIR], ["okx"], feeds.URLS)
    polls = feeds.polls([PAIR], ["okx"])
    sizes = b'{"code":"0","data":[{"instId":"BTC-USDT-SWAP","ctType":"linear","ctVal":"0.01","ctMult":"1"}]}'

    async def main() -> None:
        recorder = Recorder(tmp_path, [stream], polls)
        recorder.capture.take("okx", "liquidations", time.time_ns(), feed.okx(now_ms(), "sell").encode())
        await recorder.publish()
        assert len(feed.prints(tmp_path, "okx")) == 0
        # Killed before the sizes were told: the next run has the print.
        recorder = Recorder(tmp_path, [stream], polls)
        recorder.capture.take("okx", "contracts", time.time_ns(), sizes)
        recorder.capture.take("okx", "liquidations", time.time_ns(), feed.okx(now_ms() + 1, "buy").encode())
        recorder.capture.flush()
        recorder = Recorder(tmp_path, [stream], polls)
        recorder.recover()

    asyncio.run(main())
    rows = feed.prints(tmp_path, "okx")
    assert rows["base"].tolist() == [0.01, 0.01]
    assert rows["side"].tolist() == [records.LONG, records.SHORT]


def test_prints_without_sizes_are_not_published_by_the_next_run_either(tmp_path: Path) -> None:
    (stream,) = feeds.liquidation_streams([PAIR], ["okx"], feeds.URLS)
    polls = [poll for poll in feeds.polls([PAIR], ["okx"], flows=True) if poll.needed]
    assert [request.kind for poll in polls for request in poll.requests] == ["contracts"]
    first = Recorder(tmp_path, [stream], polls)
    first.capture.take("okx", "liquidations", time.time_ns(), feed.okx(now_ms(), "sell").encode())
    asyncio.run(first.publish())
    for _ in range(2):
        again = Recorder(tmp_path, [stream], polls)
        again.recover()
        asyncio.run(again.publish())
        assert len(feed.prints(tmp_path, "okx")) == 0
    sizes = b'{"code":"0","data":[{"instId":"BTC-USDT-SWAP","ctType":"linear","ctVal":"0.01","ctMult":"1"}]}'
    again = Recorder(tmp_path, [stream], polls)
    again.recover()
    again.capture.take("okx", "contracts", time.time_ns(), sizes)
    asyncio.run(again.publish())
    last = Recorder(tmp_path, [stream], polls)
    last.recover()
    assert feed.prints(tmp_path, "okx")["base"].tolist() == [0.01]


def test_sizes_of_contracts_are_remembered_by_a_run_that_asks_for_nothing(tmp_path: Path) -> None:
    (stream,) = feeds.liquidation_streams([PAIR], ["okx"], feeds.URLS)
    sizes = b'{"code":"0","data":[{"instId":"BTC-USDT-SWAP","ctType":"linear","ctVal":"0.01","ctMult":"1"}]}'
    log = rawlog.RawLog(tmp_path / "raw" / "okx", "contracts")
    log.add(time.time_ns() - DAY, sizes)
    log.flush()
    recorder = Recorder(tmp_path, [stream])
    recorder.recover()
    recorder.capture.take("okx", "liquidations", time.time_ns(), feed.okx(now_ms(), "sell").encode())
    asyncio.run(recorder.publish())
    assert feed.prints(tmp_path, "okx")["base"].tolist() == [0.01]


def answering(listed: set[str], *, echoes: bool, names: bool, spaced: bool) -> feed.Handler:
    """A venue like Bybit: it refuses a request whole where it does not list one of its topics, and then sends prints."""

    async def handler(socket: ServerConnection) -> None:
        async for message in socket:
            asked = json.loads(message)
            if asked.get("op") != "subscribe":
                continue
            symbols = [topic.split(".")[1] for topic in asked["args"]]
            bad = [symbol for symbol in symbols if symbol not in listed]
            said = f"error:handler not found,topic:allLiquidation.{bad[0]}" if bad and names else "error" if bad else ""
            answer = {
                "success": not bad,
                "ret_msg": said,
                "req_id": asked["req_id"] if echoes else "",
                "op": "subscribe",
            }
            await socket.send(json.dumps(answer, separators=None if spaced else (",", ":")))
            for symbol in [] if bad else symbols:
                row = {"T": now_ms(), "s": symbol, "S": "Buy", "v": "0.5", "p": "60000"}
                await socket.send(json.dumps({"topic": f"allLiquidation.{symbol}", "ts": now_ms(), "data": [row]}))

    return handler


COINS = ("BTC/USDT:USDT", "1000SHIB/USDT:USDT", "ETH/USDC:USDC", "GONE/USDT:USDT", "SOL/USDT:USDT")


@pytest.mark.parametrize("spaced", [False, True], ids=["compact", "spaced"])
@pytest.mark.parametrize(("echoes", "names"), [(True, False), (False, True), (True, True)])
def test_pairs_that_a_venue_does_not_list_cost_the_others_nothing(
    tmp_path: Path, echoes: bool, names: bool, spaced: bool
) -> None:
    said: list[str] = []
    listed = {"BTCUSDT": COINS[0], "ETHPERP": COINS[2], "SOLUSDT": COINS[4]}

    async def main() -> None:
        async with feed.websocket(answering(set(listed), echoes=echoes, names=names, spaced=spaced)) as url:
            streams = feeds.liquidation_streams(COINS, ["bybit"], {"bybit-stream": url})
            recorder = Recorder(tmp_path, streams, rhythm=FAST, log=said.append)
            task = asyncio.create_task(recorder.run())
            await until(lambda: recorder.published >= 3 and sum("it refuses" in line for line in said) >= 2)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    for pair in listed.values():
        rows = store.read(store.series_dir(tmp_path, "liquidation", "bybit", pair, "events"), records.LIQUIDATION)
        assert len(rows) == 1
    refused = [line for line in said if "it refuses" in line]
    assert ["1000SHIBUSDT (1000SHIB/USDT:USDT)" in refused[0], "GONEUSDT (GONE/USDT:USDT)" in refused[1]] == [
        True,
        True,
    ]
    assert not any("connection is lost" in line for line in said)
    lines = [
        json.loads(raw) for path in rawlog.files(tmp_path / "raw" / "bybit", "alive") for _, raw in rawlog.read(path)
    ]
    assert lines[-1]["refused"] == "1000SHIBUSDT GONEUSDT", "the stream's coverage is not theirs"


def test_a_stream_that_is_refused_whole_covers_nothing(tmp_path: Path) -> None:
    handler = answering(set(), echoes=True, names=True, spaced=False)
    _, said = recording(tmp_path, handler, lambda r: "lost bybit liquidations" in r.notices.logged_at, exchange="bybit")
    assert any("it refuses the subscription: error:handler not found" in line for line in said)
    # A connection that the test itself ends before the refusal arrives may count until then.
    assert sum(span.stop - span.start for span in coverage(tmp_path, "bybit", "liquidations")) < SECOND / 10


@pytest.mark.parametrize(
    ("venue", "message", "symbols"),
    [
        ("bybit", '{"success":false,"ret_msg":"error:handler not found,topic:allLiquidation.X1USDT","op":"subscribe"}', ("X1USDT",)),
        ("bybit", '{"success": false, "ret_msg": "Invalid symbol", "req_id": "X1USDT"}', ("X1USDT",)),
        ("bybit", '{"success":false,"ret_msg":"error","req_id":""}', ()),
        ("bybit", '{"success":false,"ret_msg":"Invalid symbol :[X1USDT]","req_id":""}', ("X1USDT",)),
        ("bybit", '{"success":true,"data":{"failTopics":["allLiquidation.X1USDT"],"successTopics":[]}}', ("X1USDT",)),
        ("bybit", '{"reqId":"X1USDT","retCode":10404,"retMsg":"handler not found","op":"subscribe"}', ("X1USDT",)),
        ("bybit", '{"success":true,"data":{"failTopics":[],"successTopics":["allLiquidation.X1USDT"]}}', None),
        ("bybit", '{"success":true,"ret_msg":"","op":"subscribe"}', None),
        ("bybit", '{"success":true,"ret_msg":"pong","op":"ping"}', None),
        ("bybit", '{"success":', None),
        ("okx", '{"event":"error","code":"60012","msg":"Invalid request"}', ()),
        ("okx", '{"event": "error", "code": "60018", "msg": "wrong channel"}', ()),
        ("okx", '{"event":"subscribe","arg":{"channel":"liquidation-orders"}}', None),
        ("okx", "pong", None),
        ("binance", '{"error":{"code":2,"msg":"Invalid request"},"id":1}', ()),
        ("binance", '{"result":null,"id":1}', None),
    ],
)  # fmt: skip
def test_each_venue_declares_what_it_refuses(venue: str, message: str, symbols: tuple[str, ...] | None) -> None:
    (stream,) = feeds.RECORDED[venue].streams
    refusal = stream.refusal(message.encode())
    assert (None if refusal is None else refusal.symbols) == symbols
    for print_ in (feed.binance(1), feed.bybit(1, "Buy"), feed.okx(1, "sell")):
        assert stream.refusal(print_.encode()) is None


@pytest.mark.parametrize("pair", ["BTC/USDT:USDT-261225", "BTC/USD:BTC", "ETH/BTC:BTC"])
def test_a_contract_that_a_venue_does_not_have_is_named(pair: str) -> None:
    venues = ["bybit", "okx"]
    assert [text.split(":")[0] for text in feeds.left_out([pair, PAIR], venues)] == venues
    assert [set(s.pairs.values()) for s in feeds.liquidation_streams([pair, PAIR], venues, feeds.URLS)] == [{PAIR}] * 2
    assert feeds.liquidation_streams([pair], venues, feeds.URLS) == []
    assert not any(r.pair == pair for poll in feeds.polls([pair, PAIR], venues) for r in poll.requests)


def test_usdc_pairs_have_each_venues_symbol() -> None:
    symbols = {
        n: list(s.pairs) for n in feeds.EXCHANGES for s in feeds.liquidation_streams(["BTC/USDC:USDC"], [n], feeds.URLS)
    }
    assert symbols == {"binance": ["BTCUSDC"], "bybit": ["BTCPERP"], "okx": ["BTC-USDC-SWAP"]}


@pytest.mark.parametrize(
    ("symbol", "inside", "beside", "kept"),
    [
        ("BTCUSDT", {"ps": "BTCUSDT", "st": 1}, {}, True),
        ("BTCUSDC", {"ps": "BTCUSDC", "st": "1"}, {}, True),
        ("BTCUSDT", {}, {"st": 1}, True),
        ("BTCUSDT", {}, {}, True),
        ("BTCUSDT", {"st": None}, {}, True),
        ("BTCUSD_PERP", {"ps": "BTCUSD", "st": 2}, {}, False),
        ("BTCUSD_PERP", {}, {"st": 2}, False),
        ("BTCUSD_PERP", {}, {}, False),
        ("BTCUSDT", {"st": 2}, {"st": 1}, False),
    ],
)
def test_frames_of_every_year_are_read(symbol: str, inside: dict, beside: dict, kept: bool) -> None:
    frame = json.loads(feed.binance(now_ms(), 4, symbol=symbol, **inside))
    del frame["st"]
    found = binance.parse_liquidations(json.dumps({**frame, **beside}).encode(), time.time_ns())
    assert list(found) == ([symbol] if kept else [])
    if kept:
        assert found[symbol]["price"].tolist() == [60000.0], "the average fill, not the order's price"
        assert found[symbol]["base"].tolist() == [0.005]


def test_a_venue_is_recorded_by_its_declaration_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (listens,) = okx.PROVIDER.streams
    renamed = replace(listens, channel="forced", url="wss://venue.invalid/ws", path="/all", contracts="sizes")
    sizes, predicted = okx.PROVIDER.get("contracts"), okx.PROVIDER.get("predicted")
    series = (replace(sizes, name="sizes"), replace(predicted, name="estimate"))
    venue = replace(okx.PROVIDER, name="venue", series=series, streams=(renamed,))
    monkeypatch.setitem(feeds.RECORDED, "venue", venue)
    (stream,) = feeds.liquidation_streams([PAIR], ["venue"], {"venue-stream": "ws://127.0.0.1:9/"})
    assert (stream.url, stream.pairs, stream.keepalive) == ("ws://127.0.0.1:9/all", {"BTC-USDT-SWAP": PAIR}, "ping")
    assert json.loads(stream.hello[0])["op"] == "subscribe"
    polls = feeds.polls([PAIR], ["venue"])
    assert [(p.provider, r.channel) for p in polls for r in p.requests] == [
        ("venue", "sizes"),
        ("venue", "estimate-BTC-USDT-SWAP"),
    ]
    recorder = Recorder(tmp_path, [stream], polls)
    recorder.capture.take("venue", "forced", time.time_ns(), feed.okx(now_ms(), "sell").encode())
    asyncio.run(recorder.publish())
    assert len(feed.prints(tmp_path, "venue")) == 0
    told = b'{"code":"0","data":[{"instId":"BTC-USDT-SWAP","ctType":"linear","ctVal":"0.01","ctMult":"1"}]}'
    recorder.capture.take("venue", "sizes", time.time_ns(), told)
    asyncio.run(recorder.publish())
    assert feed.prints(tmp_path, "venue")["base"].tolist() == [0.01]


def test_okx_counts_contracts_and_an_unknown_one_is_no_number() -> None:
    now = time.time_ns()
    rows = okx.parse_liquidations(feed.okx(now // 10**6, "sell").encode(), now, contracts={})["BTC-USDT-SWAP"]
    assert np.isnan(rows["base"]).all()
    assert np.isnan(rows["usd"]).all()

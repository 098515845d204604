"""The recorder's polls against a loopback exchange: history joins up again after an outage, and failures are told."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from feed import PAIR, until

from liqsignals import records
from liqsignals.clock import HOUR, MINUTE, SECOND, parse_time
from liqsignals.collect import feeds, fetch
from liqsignals.collect.recorder import Recorder, Rhythm
from liqsignals.data import rawlog, store
from liqsignals.sources import binance

FIVE = 300_000
FAST = Rhythm(flush=0.02, publish=0.05)


class Exchange:
    """Answers Binance's endpoints (sources.md 1.1 to 1.3) up to now; `broken` paths answer what is given instead."""

    def __init__(self, **broken: Any) -> None:
        self.broken = {f"/{k.replace('__', '/')}": v for k, v in broken.items()}
        self.asked: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked[request.path] += 1
        now = time.time_ns() // 10**6
        if self.broken.get(request.path):
            reply = self.broken[request.path]
            reply = reply.pop(0) if isinstance(reply, list) else reply
            return web.Response(status=reply) if isinstance(reply, int) else web.Response(text=reply)
        q = request.query
        first = int(q.get("startTime", now // FIVE * FIVE - int(q.get("limit", 30)) * FIVE))
        last = min(int(q.get("endTime", now)), now)
        labels = range(-(-first // FIVE) * FIVE, last + 1, FIVE)
        if request.path == "/fapi/v1/klines":
            return web.json_response(
                [[t, "2", "3", "1", "2", "10", t + FIVE - 1, "20", 5, "4", "8", "0"] for t in labels]
            )
        if request.path == "/fapi/v1/premiumIndex":
            return web.json_response(
                {"symbol": "BTCUSDT", "lastFundingRate": "0.0001", "nextFundingTime": now + 10**7, "time": now}
            )
        if request.path == "/fapi/v1/fundingRate":
            eight = 96 * FIVE
            return web.json_response([
                {"symbol": "BTCUSDT", "fundingRate": "0.0001", "fundingTime": t + 2, "rateType": "Regular"}
                for t in range(-(-first // eight) * eight, last, eight)
            ])  # fmt: skip
        # A period is answered when it has ended.
        done = [t for t in labels if t + FIVE <= now]
        if request.path.endswith("openInterestHist"):
            return web.json_response(
                [{"sumOpenInterest": "80000", "sumOpenInterestValue": "8e9", "timestamp": t} for t in done]
            )
        return web.json_response([{"longShortRatio": "1.5", "buySellRatio": "1.1", "timestamp": t} for t in done])


def recorded(extras: Path, exchange: Exchange, done: Callable[[Recorder], bool]) -> list[str]:
    told: list[str] = []

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", exchange.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        recorder = Recorder(
            extras, (), feeds.polls([PAIR], ["binance"]), feeds.URLS | {"binance": url}, FAST, told.append
        )
        recorder.recover()
        task = asyncio.create_task(recorder.run())
        try:
            await until(lambda: done(recorder) or task.done())
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await runner.cleanup()

    asyncio.run(main())
    return told


def test_each_vintage_of_flows_is_kept_and_none_published(tmp_path: Path) -> None:
    (poll,) = [p for p in feeds.polls([PAIR], ["binance"], flows=True) if p.provider == "coinmetrics"]
    path, params = poll.requests[0].ask(0, time.time_ns())
    assert (path, params["assets"]) == ("/v4/timeseries/asset-metrics", "btc")
    recorder = Recorder(tmp_path, (), [poll])
    day = time.strftime("%Y-%m-%dT00:00:00.000000000Z", time.gmtime(time.time() - 3 * 86_400))
    vintages = [
        json.dumps({"data": [{"asset": "btc", "time": day, "FlowInExNtv": n, "FlowOutExNtv": "2", "SplyExNtv": "9"}]})
        for n in ("1.5", "1.6")
    ]
    for vintage in vintages:
        recorder.capture.take("coinmetrics", "flows-btc", time.time_ns(), vintage.encode())
    asyncio.run(recorder.publish())
    kept = [raw.decode() for p in rawlog.files(tmp_path / "raw" / "coinmetrics") for _, raw in rawlog.read(p)]
    assert kept == vintages
    assert recorder.unparsed == 0
    assert not list(tmp_path.rglob("*.parquet"))


def rows(extras: Path, kind: str, period: str = "5m") -> records.Records:
    return store.read(store.series_dir(extras, kind, "binance", PAIR, period), records.STORED[kind])


def complete(extras: Path, *kinds: str) -> Callable[[Recorder], bool]:
    return lambda recorder: all(
        len(rows(extras, k, "events" if k in ("funding", "predicted") else "5m")) for k in kinds
    )


ALL = ("bar", "open_interest", "ratio", "taker", "funding", "predicted")


def test_history_up_to_now(tmp_path: Path) -> None:
    exchange = Exchange()
    assert recorded(tmp_path, exchange, complete(tmp_path, *ALL)) == []
    assert len(rows(tmp_path, "bar")) >= 490
    assert len(rows(tmp_path, "open_interest")) >= 490
    assert (np.diff(rows(tmp_path, "bar")["event_time"]) == FIVE * 10**6).all()
    (newest,) = rows(tmp_path, "ratio")[-1:]
    assert [newest[n] for n in ("top_account", "top_position", "account", "taker")] == [1.5, 1.5, 1.5, 1.1]
    assert (rows(tmp_path, "bar")["known_at"] > time.time_ns() - 60 * 10**9).all()


def test_after_a_day_off_it_asks_for_what_is_missing_and_no_more(tmp_path: Path) -> None:
    recorded(tmp_path, Exchange(), complete(tmp_path, *ALL))
    for kind in ("bar", "open_interest"):
        folder = store.series_dir(tmp_path, kind, "binance", PAIR, "5m")
        kept = rows(tmp_path, kind)[:200]
        for path in [*folder.glob("parts/*.parquet"), *folder.glob("*.parquet")]:
            path.unlink()
        store.append(folder, kept)
    (tmp_path / "raw" / "published").write_text(str(time.time_ns() + 10**11))
    recorded(tmp_path, Exchange(), lambda r: min(len(rows(tmp_path, k)) for k in ("bar", "open_interest")) >= 490)
    for kind in ("bar", "open_interest"):
        assert (np.diff(rows(tmp_path, kind)["event_time"]) == FIVE * 10**6).all()
    bodies = [
        raw for p in rawlog.files(tmp_path / "raw" / "binance", "open_interest-BTCUSDT") for _, raw in rawlog.read(p)
    ]
    assert 200 < len(json.loads(bodies[-1])) < 320


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("<html>maintenance</html>", "it sent a web page instead of data"),
        (451, "it does not serve this country or cloud (451)"),
        ('{"code":-1121,"msg":"Invalid symbol."}', "was not understood and is only kept raw"),
    ],
)
def test_a_poll_that_fails_is_told_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: Any, says: str
) -> None:
    monkeypatch.setattr("liqsignals.collect.fetch.random.Random.uniform", lambda self, a, b: 0.0)
    broken = Exchange(futures__data__openInterestHist=reply)
    others = tuple(kind for kind in ALL if kind != "open_interest")
    told: list[str] = []
    told += recorded(
        tmp_path, broken, lambda r: complete(tmp_path, *others)(r) and (r.unparsed > 0 or len(r.notices.logged_at) > 0)
    )
    assert any(says in line for line in told), told
    assert len(rows(tmp_path, "open_interest")) == 0


def test_a_fault_that_passes_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liqsignals.collect.fetch.random.Random.uniform", lambda self, a, b: 0.0)
    exchange = Exchange(fapi__v1__klines=[500, 503])
    recorded(tmp_path, exchange, complete(tmp_path, "bar"))
    assert exchange.asked["/fapi/v1/klines"] >= 3


@asynccontextmanager
async def asking(answer: Handler) -> AsyncIterator[fetch.Fetcher]:
    """A fetcher of an exchange that answers every path so."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with fetch.fetcher(binance.REST, f"http://127.0.0.1:{runner.addresses[0][1]}", log=lambda text: None) as get:
        yield get
    await runner.cleanup()


def test_a_long_ban_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder runs on after a provider asked for a pause that a download would not wait for."""
    monkeypatch.setattr(fetch, "LONGEST_PAUSE", 0.05)
    asked = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=418, headers={"Retry-After": "0.3"}) if asked == 1 else web.json_response([])

    async def main() -> None:
        async with asking(answer) as get:
            for _ in range(2):
                with pytest.raises(fetch.FetchError, match="requests a pause"):
                    await get.get("/x")
            assert asked == 1
            async with asyncio.timeout(30):
                while asked == 1:
                    with contextlib.suppress(fetch.FetchError):
                        assert (await get.get("/x")).body == b"[]"
                    await asyncio.sleep(0.02)
            assert asked == 2

    asyncio.run(main())


def test_a_bar_is_closed_when_its_time_is_over_not_when_another_follows() -> None:
    """A row of the future, as a venue may send one, is no sign that the open bar is whole."""
    noon = parse_time("2026-01-05T12:00:00Z")
    table = [[noon // 10**6 + n * FIVE, "2", "3", "1", "2", "10"] for n in range(3)]
    raw = json.dumps(table).encode()
    closed = [noon + 5 * MINUTE, noon + 10 * MINUTE]
    for seconds, whole in ((299, 0), (300, 1), (599, 1), (600, 2)):
        assert binance.parse_bars(raw, noon + seconds * SECOND)["event_time"].tolist() == closed[:whole]
    # The newest is left out however late it is asked for.
    assert len(binance.parse_bars(raw, noon + HOUR)) == 2


def test_an_answer_counts_from_when_it_was_asked() -> None:
    """One that was made before a bar's close and came after it must not pass for a closed bar."""
    made: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        made.append(time.time_ns())
        return web.json_response([])

    async def main() -> None:
        async with asking(answer) as get:
            reply = await get.get("/x")
        assert reply.asked_at <= made[0]

    asyncio.run(main())

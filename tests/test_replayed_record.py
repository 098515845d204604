"""`liqsignals record` against the loopback exchange by a stepped clock: what it keeps is what the archive has."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import feed
import numpy as np
import pandas as pd
import pytest
from aiohttp import ClientSession
from conftest import FIVE, PAIR, START, Market, make_market, ns, write_datadir
from feed import until

from liqsignals import records
from liqsignals.clock import DAY, HOUR, MINUTE, SECOND, iso
from liqsignals.collect import ask, capture, feeds, fetch, listen, publish, recorder
from liqsignals.collect.recorder import Recorder, Rhythm
from liqsignals.data import coverage, rawlog, store
from liqsignals.errors import InputError
from liqsignals.exchange.archive import Archive
from liqsignals.exchange.endpoints import LoopbackExchange
from liqsignals.exchange.server import serve
from liqsignals.replay.clock import faketime_library

pytestmark = pytest.mark.slow

BEGIN = START + 2 * DAY


def _missing() -> str:
    try:
        faketime_library()
    except InputError as error:
        return str(error)
    return ""


needs_faketime = pytest.mark.skipif(bool(_missing()), reason=_missing())
FAST = Rhythm(flush=0.02, publish=0.05, ping=0.2)


class Clock:
    """The market's time, ns. It moves when it is told."""

    def __init__(self) -> None:
        self.ns = BEGIN

    async def sleep(self, seconds: float) -> None:
        """Sleep for as long on this clock; a recorder's own rhythm runs on the machine's."""
        if seconds < 1:
            await asyncio.sleep(seconds)
            return
        ends = self.ns + int(seconds * SECOND)
        while self.ns < ends:
            await asyncio.sleep(0.002)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    told = SimpleNamespace(time_ns=lambda: clock.ns, time=lambda: clock.ns / SECOND, monotonic=time.monotonic)
    for module in (ask, capture, fetch, listen, publish, rawlog, recorder):
        monkeypatch.setattr(module, "time", told)
    for module in (ask, listen, recorder):
        monkeypatch.setattr(module, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": clock.sleep}))
    return clock


def extras(datadir: Path, market: Market, source: str = "binance") -> None:
    """Prints, ratios and takers' volume of the market, as a download and a recorder leave them."""
    rng = np.random.default_rng(3)
    folder = datadir / "liqsignals"
    opened = ns(market.candles["date"])
    at = np.sort(rng.choice(np.arange(BEGIN - HOUR, BEGIN + 3 * HOUR, 1_000_000), 240, replace=False))
    price, base = np.round(rng.uniform(59_000, 61_000, 240), 1), np.round(rng.lognormal(0, 2, 240), 3) + 0.001
    prints = records.records(
        records.LIQUIDATION, at, at + records.LIQUIDATION_LAG, side=rng.integers(0, 2, 240), price=price, base=base,
        usd=price * base,
    )  # fmt: skip
    store.append(store.series_dir(folder, "liquidation", source, PAIR, "events"), prints)
    told = {name: np.round(rng.uniform(0.5, 3, len(opened)), 4) for name in ("top_account", "account", "taker")}
    closed = opened + FIVE
    ratios = records.records(records.RATIO, closed, closed + 2 * FIVE, **told, top_position=np.nan)
    store.append(store.series_dir(folder, "ratio", source, PAIR, "5m"), ratios)
    volume = market.candles["volume"].to_numpy()
    quote = volume * market.candles["close"].to_numpy()
    takers = records.records(
        records.TAKER, closed, closed + records.TAKER_LAG, buy_base=volume / 2, buy_quote=quote / 2, base=volume,
        quote=quote, trades=rng.integers(1, 9999, len(opened)),
    )  # fmt: skip
    store.append(store.series_dir(folder, "taker", source, PAIR, "5m"), takers)


@pytest.fixture
def market() -> Market:
    return make_market(2.3, 7)


@pytest.fixture
def datadir(market: Market, tmp_path: Path) -> Path:
    folder = write_datadir(tmp_path / "archive", market, flows=False)
    extras(folder, market)
    return folder


@pytest.fixture
def port(datadir: Path, clock: Clock) -> Iterator[int]:
    with serve(LoopbackExchange(Archive(datadir), lambda: clock.ns // 10**6)) as port:
        yield port


def recorded(folder: Path, kind: str) -> records.Records:
    period = "events" if kind in ("funding", "predicted") else "5m"
    return store.read(store.series_dir(folder, kind, "binance", PAIR, period), records.STORED[kind])


def alive(folder: Path, since: int) -> bool:
    """Whether a ping has been answered on a connection that was made at `since`."""
    paths = rawlog.files(folder / "raw" / "binance", coverage.ALIVE)
    return any(json.loads(raw)["since"] == since for path in paths for _, raw in rawlog.read(path))


async def run(folder: Path, port: int, clock: Clock, stop: int, datadir: Path) -> list[str]:
    """Record from now until the clock says `stop`, in steps of 20 s; each is taken when what it brought was taken."""
    told: list[str] = []
    urls = feeds.URLS | {"binance": f"http://127.0.0.1:{port}", "binance-stream": f"ws://127.0.0.1:{port}/market/ws"}
    (stream,) = feeds.liquidation_streams([PAIR], ["binance"], urls)
    recorder = Recorder(folder, [stream], feeds.polls([PAIR], ["binance"]), urls, FAST, told.append)
    recorder.recover()
    before, begun = len(feed.prints(folder)), clock.ns
    heard = feed.prints(datadir / "liqsignals")["event_time"] + records.LIQUIDATION_LAG
    task = asyncio.create_task(recorder.run())

    def newest(channel: str) -> int:
        return recorder.publication.newest.get(("binance", channel), 0)

    def taken() -> bool:
        assert not task.done(), task
        return (
            newest("bars-BTCUSDT") >= (clock.ns - 5 * SECOND) // FIVE * FIVE
            and newest("taker-BTCUSDT") >= (clock.ns - 45 * SECOND) // FIVE * FIVE
            and newest("funding-BTCUSDT") >= (clock.ns - 90 * SECOND) // (8 * HOUR) * 8 * HOUR
            and newest("predicted-BTCUSDT")
            >= (clock.ns - 20 * SECOND) // MINUTE * MINUTE + 20 * SECOND * (clock.ns > begun)
            and len(feed.prints(folder)) - before == int(((heard > begun) & (heard <= clock.ns)).sum())
        )

    try:
        await until(lambda: taken() and alive(folder, begun))
        while clock.ns < stop:
            clock.ns += 20 * SECOND
            await until(taken)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert recorder.unparsed == 0
    return told


def same(got: records.Records, wanted: records.Records) -> None:
    names = [name for name in wanted.dtype.names or () if name != "known_at"]
    assert len(got)
    for name in names:
        assert got[name].tobytes() == wanted[name].tobytes(), name


def test_the_recorder_keeps_what_the_archive_has(
    tmp_path: Path, datadir: Path, market: Market, clock: Clock, port: int
) -> None:
    folder = tmp_path / "recorded"
    stop = BEGIN + 40 * MINUTE
    told = asyncio.run(run(folder, port, clock, stop, datadir))
    assert all("messages taken" in line for line in told), told
    # Down for a while: history joins up, prints do not.
    clock.ns += 30 * MINUTE
    asyncio.run(run(folder, port, clock, clock.ns + 16 * MINUTE, datadir))
    now = clock.ns

    bars = recorded(folder, "bar")
    closed = ns(market.candles["date"]) + FIVE
    first, last = np.searchsorted(closed, bars["event_time"][0]), np.searchsorted(closed, now, side="right")
    assert len(bars) == last - first >= 498
    names = ("open", "high", "low", "close", "volume")
    columns = {name: market.candles[name].to_numpy()[first:last] for name in names}
    same(bars, records.records(records.BAR, closed[first:last], closed[first:last], **columns))

    interest = recorded(folder, "open_interest")
    at = ns(market.interest["date"])
    first, last = np.searchsorted(at, interest["event_time"][0]), np.searchsorted(at, now, side="right")
    assert len(interest) == last - first >= 498
    amount, value = (market.interest[f"open_interest_{name}"].to_numpy()[first:last] for name in ("amount", "value"))
    same(interest, records.records(records.OI_VALUE, at[first:last], at[first:last], base=amount, usd=value))

    there = feed.prints(datadir / "liqsignals")
    heard = there["event_time"] + records.LIQUIDATION_LAG
    span = ((heard > BEGIN) & (heard <= stop)) | ((heard > now - 16 * MINUTE) & (heard <= now))
    assert 40 < span.sum() < len(there)
    same(feed.prints(folder), there[span])
    for kind in ("ratio", "taker"):
        kept = store.read(store.series_dir(datadir / "liqsignals", kind, "binance", PAIR, "5m"), records.STORED[kind])
        got = recorded(folder, kind)
        same(got, kept[(kept["event_time"] >= got["event_time"][0]) & (kept["event_time"] <= now)])

    settled, rate = ns(market.funding["date"]), market.funding["funding_rate"].to_numpy()
    funding = recorded(folder, "funding")
    inside = np.isin(settled, funding["event_time"])
    assert (funding["event_time"][-1], inside.sum()) == (settled[settled <= now][-1], len(funding))
    assert funding["rate"].tobytes() == rate[inside].tobytes()
    assert set(funding["interval_h"]) == {8.0}
    predicted = recorded(folder, "predicted")
    assert len(predicted) >= 50
    newest = rate[np.searchsorted(settled, predicted["event_time"], side="right") - 1]
    assert predicted["rate"].tobytes() == newest.tobytes()
    # Nothing was kept of what had not happened, and it was known when it could be read.
    for rows in (bars, interest, feed.prints(folder), predicted):
        assert (rows["event_time"] <= now).all()


def asked(port: int, path: str) -> Any:
    async def get() -> Any:
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.headers["Date"], await answer.json()

    return asyncio.run(get())


def test_ratios_and_takers_are_told_when_their_period_has_ended(datadir: Path, clock: Clock, port: int) -> None:
    path = "/futures/data/takerlongshortRatio?symbol=BTCUSDT&period=5m"
    clock.ns = BEGIN - 1
    date, rows = asked(port, path)
    assert date == "Tue, 06 Jan 2026 23:59:59 GMT"
    assert len(rows) == 30
    assert rows[-1]["timestamp"] == (BEGIN - FIVE) // 10**6
    clock.ns = BEGIN
    assert asked(port, path)[1][-1]["timestamp"] == BEGIN // 10**6
    account = asked(port, path.replace("takerlongshort", "globalLongShortAccount"))[1][-1]
    ratio = float(account["longShortRatio"])
    assert float(account["longAccount"]) == pytest.approx(ratio / (1 + ratio), abs=1e-4)
    assert asked(port, path.replace("takerlongshort", "topLongShortPosition"))[1] == [], "NaN throughout"
    hourly = asked(port, path.replace("period=5m", "period=1h"))[1]
    assert [row["timestamp"] * 10**6 % HOUR for row in hourly] == [0] * 30
    old = asked(port, f"{path}&startTime={(BEGIN - 31 * DAY) // 10**6}")[1]
    assert old == {"code": -1130, "msg": "parameter 'startTime' is invalid."}
    bars = asked(port, "/fapi/v1/klines?symbol=BTCUSDT&interval=5m&limit=2")[1]
    assert float(bars[0][9]) == float(bars[0][5]) / 2
    assert bars[0][8] > 0
    assert bars[1][8:11] == [0, "", ""], "nobody has counted the bar that is open"
    assert asked(port, "/fapi/v1/klines?symbol=BTCUSDT&interval=15m&limit=2")[1][0][8:11] == [0, "", ""]


def test_without_extras_nothing_is_made_up(market: Market, tmp_path: Path, clock: Clock) -> None:
    folder = write_datadir(tmp_path / "bare", market, flows=False)
    with serve(LoopbackExchange(Archive(folder), lambda: clock.ns // 10**6)) as port:
        for name in ("topLongShortAccountRatio", "globalLongShortAccountRatio", "takerlongshortRatio"):
            assert asked(port, f"/futures/data/{name}?symbol=BTCUSDT&period=5m&limit=500")[1] == []


def test_labels_are_those_of_the_day(datadir: Path, market: Market) -> None:
    """After 2026-06-25 Binance's REST API names a period by its start; the row is told at its end all the same."""
    shift = pd.Timedelta("200d")
    later = Market(
        *(frame.assign(**{c: frame[c] + shift for c in ("date",) if c in frame}) for frame in vars(market).values())
    )
    folder = write_datadir(datadir.parent / "later", later, flows=False)
    extras(folder, later)
    now = BEGIN + shift.value
    at = LoopbackExchange(Archive(folder), lambda: now // 10**6)
    row = at.ratio({"symbol": "BTCUSDT", "period": "5m"}, "account")[-1]
    assert row["timestamp"] * 10**6 == now - FIVE
    kept = store.read(store.series_dir(folder / "liqsignals", "ratio", "binance", PAIR, "5m"), records.RATIO)
    assert row["longShortRatio"] == str(kept["account"][kept["event_time"] == now][0])


def test_streams_tell_each_print_once_and_only_what_was_asked_for(datadir: Path, clock: Clock, port: int) -> None:
    told = feed.prints(datadir / "liqsignals")
    soon = told[told["event_time"] + records.LIQUIDATION_LAG > BEGIN][:3]

    async def listen() -> list[Any]:
        async with ClientSession() as session:
            names = ("!forceOrder@arr", "btcusdt@forceOrder", "ethusdt@forceOrder", "btcusdt@depth")
            sockets = [await session.ws_connect(f"http://127.0.0.1:{port}/market/ws/{name}") for name in names]
            # An answered ping shows that the handler runs.
            for at in soon["event_time"].tolist():
                clock.ns = at + records.LIQUIDATION_LAG
                heard = [await socket.receive_json(timeout=20) for socket in sockets[:2]]
                assert heard[0] == heard[1]
                assert heard[0]["o"]["T"] == at // 10**6
            for socket in sockets[2:]:
                with pytest.raises(TimeoutError):
                    await socket.receive(timeout=0.1)
            return [await socket.close() for socket in sockets]

    assert asyncio.run(listen()) == [True] * 4


def test_two_batches_of_one_instant_are_two(tmp_path: Path, clock: Clock) -> None:
    rows = np.zeros(2, records.BAR)
    rows["event_time"] = BEGIN, BEGIN + FIVE
    rows["known_at"] = rows["event_time"]
    for part in (rows[:1], rows[1:]):
        publish.write_part(tmp_path, part)
    assert store.read(tmp_path, records.BAR)["event_time"].tolist() == rows["event_time"].tolist()


#: Runs a recorder until it has published three batches of prints, then stops it as a user does.
WATCH = """
import pathlib, signal, subprocess, sys, time
extras = pathlib.Path(sys.argv[1])
child = subprocess.Popen(sys.argv[2:])
while child.poll() is None and len(list(extras.glob("liquidation/*/*/parts/*"))) < 3:
    time.sleep(1)
child.send_signal(signal.SIGINT)
sys.exit(child.wait())
"""


@needs_faketime
def test_the_command_records_in_the_markets_time(tmp_path: Path, datadir: Path, market: Market) -> None:
    extra = tmp_path / "recorded"
    command = [
        sys.executable, "-m", "liqsignals", "replay", "-d", str(datadir), "--from", iso(BEGIN), "--speed", "60", "--",
        sys.executable, "-c", WATCH, str(extra), sys.executable, "-m", "liqsignals", "record", "-d", "{datadir}",
        "--extras", str(extra), "--pairs", PAIR, "--exchanges", "binance", "--url", "binance={rest}",
        "--url", "binance-stream={stream}", "--url", "coinmetrics={rest}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "its clock is" not in done.stderr, "exchange and recorder live in one time"
    got, there = feed.prints(extra), feed.prints(datadir / "liqsignals")
    assert (got["event_time"] >= BEGIN - SECOND).all()
    heard = (there["event_time"] >= got["event_time"][0]) & (there["event_time"] <= got["event_time"][-1])
    same(got, there[heard])
    bars = recorded(extra, "bar")
    closed = ns(market.candles["date"]) + FIVE
    rows = np.isin(closed, bars["event_time"])
    assert rows.sum() == len(bars) >= 498
    assert bars["close"].tobytes() == market.candles["close"].to_numpy()[rows].tobytes()
    assert (bars["event_time"] <= bars["known_at"]).all()

"""The market clock, history as it stood at an instant, and the speed that falls back by itself."""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pandas as pd
import pytest
from conftest import PAIR, STEM, assert_same_bits, make_market, needs_faketime, ns, write_datadir
from typer.testing import CliRunner

from liqsignals import Signals
from liqsignals.cli import app
from liqsignals.clock import MINUTE, parse_time
from liqsignals.errors import InputError
from liqsignals.replay import clock as clocks
from liqsignals.replay import session
from liqsignals.replay.clock import MarketClock

AT = parse_time("2025-11-03T00:00:00Z") // 10**6
TELL = "import time; print(repr(time.time()), repr(time.monotonic()), flush=True)"


def told_by(clock: MarketClock, program: str = TELL) -> str:
    run = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **clock.environment()}, capture_output=True, text=True, check=True
    )  # fmt: skip
    return run.stdout


def test_a_clock_stands_steps_and_never_goes_back(tmp_path: Path) -> None:
    clock = MarketClock(tmp_path / "clock", AT)
    assert clock.now_ms() == AT
    clock.set(AT + 1500)
    assert clock.now_ms() == AT + 1500
    assert (tmp_path / "clock").read_text() == "2025-11-03 00:00:01.500000\n"
    with pytest.raises(ValueError, match="cannot go back"):
        clock.set(AT)
    clock.run(1000.0)
    seen = [clock.now_ms() for _ in range(1000)]
    assert seen == sorted(seen)
    assert (tmp_path / "clock").read_text().endswith(" x1000\n")
    clock.run(0.0)
    assert clock.now_ms() == clock.now_ms()


@needs_faketime
def test_programs_live_by_it(tmp_path: Path) -> None:
    clock = MarketClock(tmp_path / "clock", AT + 250)
    now, _ = map(float, told_by(clock).split())
    # libfaketime reads the fraction as a double of whatever precision it has: a millisecond.
    assert now == pytest.approx((AT + 250) / 1000, rel=0, abs=1e-3)
    slept = told_by(clock, "import time; time.sleep(0.1); print(time.time())")
    assert float(slept) == pytest.approx((AT + 250) / 1000, rel=0, abs=1e-3)
    clock.run(100.0)
    with clock.running():
        before = clock.now_ms()
        now, _ = map(float, told_by(clock).split())
        assert before / 1000 - 0.1 * 100 <= now <= clock.now_ms() / 1000


def test_without_the_library_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clocks, "LIBRARIES", (str(tmp_path / "*"),))
    with pytest.raises(InputError, match=r"libfaketime is not installed.*Way out: apt install libfaketime"):
        MarketClock(tmp_path / "clock", AT).environment()


@pytest.mark.slow
def test_the_disk_as_it_stood(tmp_path: Path) -> None:
    market = make_market(2, 3)
    datadir = write_datadir(tmp_path / "all", market)
    at = int(ns(market.candles["date"])[300]) + 2 * MINUTE
    copy = session.as_of(datadir, at, tmp_path / "then")
    assert copy.name == "binance"
    candles = pd.read_feather(copy / "futures" / f"{STEM}-5m-futures.feather")
    interest = pd.read_feather(copy / "futures" / f"{STEM}-5m-open_interest.feather")
    assert ns(candles["date"]).max() + 5 * MINUTE <= at < ns(candles["date"]).max() + 10 * MINUTE
    assert ns(interest["date"]).max() <= at
    # What it holds gives the columns that all of it gives.
    rows = market.candles.iloc[200:300]
    assert_same_bits(Signals(copy).attach(rows, PAIR, "5m"), Signals(datadir).attach(rows, PAIR, "5m"))
    # Written again, later, it is the later one.
    session.as_of(datadir, at + 60 * MINUTE, tmp_path / "then")
    assert len(pd.read_feather(copy / "futures" / f"{STEM}-5m-futures.feather")) == len(candles) + 12
    with pytest.raises(InputError, match=r"begins after 2026-01-01T00:00:00Z.*Way out: begin later"):
        session.as_of(datadir, parse_time("2026-01-01T00:00:00Z"), tmp_path / "early")


def test_a_bot_that_asks_late_slows_the_market_down(tmp_path: Path) -> None:
    market = make_market(2, 3)
    datadir = write_datadir(tmp_path, market)
    start = int(ns(market.candles["date"])[100]) // 10**6
    clock = MarketClock(tmp_path / "clock", start, 2.0)
    told: list[str] = []
    with session.replayed(datadir, clock, slow_down=told.append) as served:

        def ask(at: int) -> None:
            clock.set(at)
            url = f"http://127.0.0.1:{served.port}/fapi/v1/klines?symbol=BTCUSDT&interval=5m&limit=2"
            urllib.request.urlopen(url, timeout=10).close()

        for candle in range(5):
            ask(start + candle * 300_000 + 20_000)
        assert (told, clock.speed) == ([], 2.0)
        ask(start + 5 * 300_000 + 200_000)
        assert clock.speed == 1.0
    assert len(told) == 1
    assert "BTCUSDT 5m: asked 200 s after the close" in told[0]


def test_dwells_and_spread_of_a_served_market(tmp_path: Path) -> None:
    market = make_market(2, 3)
    datadir = write_datadir(tmp_path, market)
    row = market.candles.iloc[300]
    at = int(row["date"].timestamp() * 1000)
    clock = MarketClock(tmp_path / "clock", at)
    walk = [row["low"], row["high"], row["low"]]
    with session.replayed(datadir, clock, walks={"BTCUSDT": {at: walk}}) as served:
        plain, walked = served.dwells(at - 300_000, at), served.dwells(at, at + 300_000)
        assert served.dwells(at - 300_000, at + 300_000, ["BTCUSDT"]) == plain + walked
        assert served.dwells(at - 300_000, at, []) == []
        spread, tick = served.spread("BTCUSDT", at)
    assert plain == [at - 300_000 + after for after in (60_000, 126_000, 201_000)]
    assert len(walked) == 4
    with session.replayed(datadir, clock, spread=1) as served:
        assert served.spread("BTCUSDT", at) == (tick, tick)
    assert 0 < tick < spread < 0.001 * row["close"]


def test_bad_times_and_folders_are_told(tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, make_market(1, 3))
    runner = CliRunner()
    for command in (
        ["replay", "-d", str(datadir), "--from", "2026-01-05T12:00:00"],
        ["paper", "-d", str(datadir), "--from", "soon"],
        ["parity", "-d", str(datadir), "--timerange", "20260105-"],
        ["paper", "-d", str(datadir), "--from", "2026-01-05T12:00:00Z", "--keep", str(datadir)],
    ):
        result = runner.invoke(app, command)
        assert isinstance(result.exception, InputError), command

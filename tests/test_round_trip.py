"""The same days from files and from a recorder give the same features, bit for bit, on the SIMULATED market.

The recorder gets what Binance would answer: klines and openInterestHist as text, labels as of the day (sources.md 1.1,
1.2), one poll every five minutes, each with the rows that it asks for.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import FIVE, assert_same_bits, ns

from liqsignals import features, records
from liqsignals.clock import DAY, HOUR, MINUTE, to_dates
from liqsignals.collect import feeds
from liqsignals.collect.recorder import Recorder
from liqsignals.data import store
from liqsignals.data.tape import read_tape
from liqsignals.simulation.market import write_market
from liqsignals.venues import BINANCE_FLIP

pytestmark = pytest.mark.slow

PAIR = "BTC/USDT:USDT"
STEM = "BTC_USDT_USDT"
DAYS = 17


@pytest.fixture(scope="module", params=["2026-01-05", "2026-08-03"], ids=["end labels", "start labels"])
def whole(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    start = pd.Timestamp(request.param, tz="UTC")
    return write_market(tmp_path_factory.mktemp("sim") / "m", seed=9, days=DAYS, pairs=(PAIR,), start=start) / "binance"


def frame(datadir: Path, what: str) -> pd.DataFrame:
    return pd.read_feather(datadir / "futures" / f"{STEM}-{what}.feather")


def shortened(whole: Path, into: Path, until: int) -> Path:
    """The data directory as it was at `until`: candles closed, snapshots taken, rates settled."""
    datadir = into / "binance"
    (datadir / "futures").mkdir(parents=True)
    for what, lag in (("5m-futures", FIVE), ("5m-open_interest", 0), ("1h-funding_rate", 0)):
        rows = frame(whole, what)
        rows[ns(rows["date"]) + lag <= until].reset_index(drop=True).to_feather(
            datadir / "futures" / f"{STEM}-{what}.feather"
        )
    return datadir


def klines(candles: pd.DataFrame) -> bytes:
    """Rows of GET /fapi/v1/klines."""
    opened = ns(candles["date"]) // 10**6
    return json.dumps([
        [int(t), *(repr(float(v)) for v in row), int(t) + 299_999, "0", 1, "0", "0", "0"]
        for t, row in zip(opened, candles[["open", "high", "low", "close", "volume"]].to_numpy(), strict=True)
    ]).encode()  # fmt: skip


def interest_hist(label: np.ndarray, amount: np.ndarray) -> bytes:
    """Rows of GET /futures/data/openInterestHist; labels in ns."""
    return json.dumps([
        {"symbol": "BTCUSDT", "sumOpenInterest": repr(float(a)), "sumOpenInterestValue": "", "timestamp": int(t) // 10**6}
        for t, a in zip(label, amount, strict=True)
    ]).encode()  # fmt: skip


def rates(settled: np.ndarray, rate: np.ndarray) -> bytes:
    """Rows of GET /fapi/v1/fundingRate; settlements jitter by some ms."""
    return json.dumps([
        {"symbol": "BTCUSDT", "fundingRate": repr(float(r)), "fundingTime": int(t) // 10**6 + 3, "markPrice": "", "rateType": "Regular"}
        for t, r in zip(settled, rate, strict=True)
    ]).encode()  # fmt: skip


def recorded(whole: Path, datadir: Path, start: int, stop: int, *, every: int) -> None:
    """Poll from `start` to `stop` as the recorder does, parse what is answered, publish it."""
    recorder = Recorder(datadir / "liqsignals", (), feeds.polls([PAIR], ["binance"]))
    recorder.recover()
    candles, interest, funding = (frame(whole, w) for w in ("5m-futures", "5m-open_interest", "1h-funding_rate"))
    snapshot = np.sort(ns(interest["date"])) + interest_shift(whole)
    for now in range(start, stop + 1, every):
        since = now - every - 3 * FIVE
        bars = candles[(ns(candles["date"]) >= since) & (ns(candles["date"]) + FIVE <= now)]
        # And the one that has just begun.
        bars = pd.concat([bars, bars.iloc[-1:].assign(date=to_dates(np.array([now // FIVE * FIVE]))[0])])
        seen = (snapshot > since) & (snapshot <= now)
        paid = (ns(funding["date"]) > now - 4 * DAY) & (ns(funding["date"]) <= now)
        batch = {
            ("binance", "bars-BTCUSDT"): [(now + 5 * 10**9, klines(bars))],
            ("binance", "open_interest-BTCUSDT"): [
                (now + 45 * 10**9, interest_hist(snapshot[seen] - (FIVE if now >= BINANCE_FLIP else 0), interest["open_interest_amount"].to_numpy()[seen]))
            ],
            ("binance", "funding-BTCUSDT"): [
                (now + 90 * 10**9, rates(ns(funding["date"])[paid], funding["funding_rate"].to_numpy()[paid]))
            ],
        }  # fmt: skip
        recorder.publication.publish(batch, None)
    assert recorder.unparsed == 0


def interest_shift(whole: Path) -> int:
    """What has to be added to a label of the simulated file to get its snapshot, as the reader finds it."""
    tape = read_tape(whole, PAIR)
    return int(tape.open_interest["event_time"][-1] - ns(frame(whole, "5m-open_interest")["date"])[-1])


def test_archive_and_recorded_days_give_the_same_bits(whole: Path, tmp_path: Path) -> None:
    full = read_tape(whole, PAIR)
    assert full.bars is not None
    end = int(full.bars["event_time"][-1])
    middle = end - 2 * DAY - 35 * MINUTE
    datadir = shortened(whole, tmp_path, middle)
    recorded(whole, datadir, middle, end + 10 * MINUTE, every=6 * HOUR + 5 * MINUTE)
    recorded(whole, datadir, end, end, every=FIVE)
    joined = read_tape(datadir, PAIR)
    assert joined.bars is not None
    assert joined.open_interest is not None
    assert full.open_interest is not None
    assert joined.bars.tobytes() == full.bars.tobytes()
    assert joined.open_interest.tobytes() == full.open_interest.tobytes()
    assert joined.funding["binance"].tobytes() == full.funding["binance"].tobytes()
    at, closes = full.bars["event_time"], full.bars["close"]
    want, got = features.compute(full, at, closes, FIVE), features.compute(joined, at, closes, FIVE)
    # Flows and the second venue's funding are no part of what Binance is polled for.
    names = [n for n in features.NAMES if not n.startswith("flow_") and n != "fund_dispersion"]
    assert np.isfinite(got["liq_imbalance"][-1])
    assert_same_bits(got, want, names=names)


def test_published_rows_say_when_they_were_readable_although_the_tape_uses_the_rule(
    whole: Path, tmp_path: Path
) -> None:
    full = read_tape(whole, PAIR)
    assert full.bars is not None
    end = int(full.bars["event_time"][-1])
    datadir = shortened(whole, tmp_path, end - HOUR)
    recorded(whole, datadir, end, end, every=2 * HOUR)
    rows = store.read(store.series_dir(datadir / "liqsignals", "bar", "binance", PAIR, "5m"), records.BAR)
    assert len(rows)
    assert (rows["known_at"] > rows["event_time"]).all()
    joined = read_tape(datadir, PAIR)
    assert joined.bars is not None
    assert (joined.bars["known_at"] == joined.bars["event_time"]).all()


def test_a_hole_between_file_and_recorder_stays_a_hole(whole: Path, tmp_path: Path) -> None:
    full = read_tape(whole, PAIR)
    assert full.bars is not None
    end = int(full.bars["event_time"][-1])
    datadir = shortened(whole, tmp_path, end - DAY)
    recorded(whole, datadir, end, end, every=HOUR)
    joined = read_tape(datadir, PAIR)
    assert joined.bars is not None
    assert (np.diff(joined.bars["event_time"]) > FIVE).sum() == 1
    assert to_dates(joined.bars["event_time"])[-1] == to_dates(full.bars["event_time"])[-1]

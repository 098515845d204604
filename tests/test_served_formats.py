"""The loopback exchange serves every format of freqtrade's, and Bybit's directory in Bybit's words."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ccxt
import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, STEM, make_market, ns, write_datadir
from freqtrade.data.history import get_datahandler
from freqtrade.enums import CandleType

from liqsignals import venues
from liqsignals.errors import InputError
from liqsignals.exchange.archive import Archive
from liqsignals.exchange.endpoints import LoopbackExchange
from liqsignals.exchange.server import leverage_tiers_kept, loopback
from liqsignals.files import FORMATS, format_of
from liqsignals.replay import session

KINDS = {"futures": 5, "open_interest": 5, "funding_rate": 60}
MINUTE = 60_000


def converted(source: Path, root: Path, dataformat: str, name: str = "binance") -> Path:
    """The directory in another format, written by freqtrade."""
    datadir = root / dataformat / name
    (datadir / "futures").mkdir(parents=True)
    handler = get_datahandler(datadir, dataformat)
    for path in sorted((source / "futures").glob("*.feather")):
        _, timeframe, kind = path.name.removesuffix(".feather").split("-")
        handler.ohlcv_store(PAIR, timeframe, pd.read_feather(path), CandleType.from_string(kind))
    return datadir


@pytest.mark.parametrize("dataformat", [name for name in FORMATS if name != "feather"])
def test_every_format_is_the_same_market(tmp_path: Path, dataformat: str) -> None:
    feather = write_datadir(tmp_path, make_market(2, 3), flows=False)
    for path in (feather / "futures").iterdir():
        frame = pd.read_feather(path)
        numbers = frame.columns.drop("date")
        frame[numbers] = frame[numbers].round(8)  # freqtrade's JSON holds ten decimals
        frame.to_feather(path)
    other = converted(feather, tmp_path, dataformat)
    assert format_of(other) == dataformat
    one, two = Archive(feather), Archive(other)
    assert one.spec("BTCUSDT") == two.spec("BTCUSDT") is not None
    for kind, minutes in KINDS.items():
        expected, found = (archive.frame("BTCUSDT", kind, minutes) for archive in (one, two))
        assert expected is not None
        assert found is not None
        assert np.array_equal(expected.date, found.date)
        # A worth that is not known is NaN in each of them.
        for a, b in zip(expected.columns, found.columns, strict=True):
            assert np.array_equal(a, b, equal_nan=True)


def test_a_format_that_is_left_over_is_not_served(tmp_path: Path) -> None:
    """convert-data leaves the old files; the newer one counts, as for the map."""
    feather = write_datadir(tmp_path, make_market(2, 3), flows=False)
    path = feather / "futures" / f"{STEM}-5m-futures.feather"
    whole = pd.read_feather(path)
    whole.to_parquet(path.with_suffix(".parquet"))
    whole[:300].to_feather(path)
    assert format_of(feather) is None
    served = Archive(feather).frame("BTCUSDT", "futures", 5)
    assert served is not None
    assert len(served.date) == len(whole)


@pytest.mark.parametrize("dataformat", ["parquet", "jsongz"])
def test_the_disk_at_an_instant_of_every_format(tmp_path: Path, dataformat: str) -> None:
    market = make_market(2, 3)
    other = converted(write_datadir(tmp_path, market, flows=False), tmp_path, dataformat, "bybit")
    at = int(ns(market.candles["date"])[300])
    copy = session.as_of(other, at, tmp_path / "then")
    assert copy.name == "bybit"
    assert {path.suffix for path in (copy / "futures").iterdir()} == {".feather"}
    assert len(pd.read_feather(copy / "futures" / f"{STEM}-5m-futures.feather")) == 300


def test_a_pair_that_is_listed_later_does_not_stop_a_replay(tmp_path: Path) -> None:
    market = make_market(2, 3)
    datadir = write_datadir(tmp_path, market, flows=False)
    market.candles[400:].reset_index(drop=True).to_feather(datadir / "futures" / "NEW_USDT_USDT-5m-futures.feather")
    copy = session.as_of(datadir, int(ns(market.candles["date"])[300]), tmp_path / "then")
    assert sorted(path.name for path in (copy / "futures").glob("*-futures.feather")) == [f"{STEM}-5m-futures.feather"]


def test_a_cache_of_leverage_tiers_is_put_back(tmp_path: Path) -> None:
    mine, new = (tmp_path / "futures" / f"leverage_tiers_{coin}.json" for coin in ("USDT", "USDC"))
    mine.parent.mkdir()
    mine.write_text("mine")
    with leverage_tiers_kept(tmp_path):
        mine.write_text("made up")
        new.write_text("made up")
    assert mine.read_text() == "mine"
    assert not new.exists()


def test_faults_are_refused_where_answers_are_not_binances(tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, make_market(2, 3), name="bybit")
    faults = tmp_path / "faults.json"
    faults.write_text(
        json.dumps({"faults": [{"kind": "drop", "from": "2026-01-06T00:00:00Z", "until": "2026-01-06T01:00:00Z"}]})
    )
    with pytest.raises(InputError, match=r"Binance's answers, and .*bybit is served as bybit"):
        session.serve(datadir, int(1.7678e18), 1.0, faults, tmp_path / "run", ["true"], print)


class Served:
    """A Bybit directory at an instant in the middle of a candle, and ccxt's view of it."""

    def __init__(self, datadir: Path, overlay: dict[str, Any], now: int) -> None:
        self.datadir, self.now = datadir, now
        self.api = ccxt.bybit(overlay["exchange"]["ccxt_config"])
        self.overlay = overlay

    def frame(self, what: str) -> pd.DataFrame:
        return pd.read_feather(self.datadir / "futures" / f"{STEM}-{what}.feather")


@pytest.fixture(scope="module")
def bybit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    market = make_market(6, 3)
    datadir = write_datadir(tmp_path_factory.mktemp("bybit"), market, name="bybit")
    now = int(ns(market.candles["date"])[-100]) // 10**6 + 2 * MINUTE
    with loopback(datadir, lambda: now) as path:
        yield Served(datadir, json.loads(path.read_text()), now)


def dates(frame: pd.DataFrame) -> np.ndarray:
    return ns(frame["date"]) // 10**6


@pytest.mark.slow
def test_bybits_market_by_ccxt(bybit: Served) -> None:
    assert bybit.overlay["exchange"]["name"] == "bybit"
    assert bybit.overlay["dataformat_ohlcv"] == "feather"
    market = bybit.api.load_markets()[PAIR]
    spec = Archive(bybit.datadir).spec("BTCUSDT")
    assert spec is not None
    assert market["linear"] is market["active"] is market["swap"] is True
    assert market["precision"]["price"] == 10.0**-spec.price_decimals
    tiers = bybit.api.fetch_leverage_tiers()[PAIR]
    assert [(t["minNotional"], t["maintenanceMarginRate"], t["maxLeverage"]) for t in tiers] == [
        (b.floor, b.maintenance, b.max_leverage) for b in venues.brackets(PAIR)
    ]
    assert bybit.api.fetch_time() == bybit.now


@pytest.mark.slow
def test_bybits_candles_and_their_windows(bybit: Served) -> None:
    frame = bybit.frame("5m-futures")
    at = dates(frame)
    stored = np.c_[at, frame[["open", "high", "low", "close", "volume"]].to_numpy()]
    forming = int(np.searchsorted(at, bybit.now, side="right")) - 1
    newest = bybit.api.fetch_ohlcv(PAIR, "5m", limit=50)
    assert [row[0] for row in newest] == at[forming - 49 : forming + 1].tolist()
    assert np.array_equal(newest[:-1], stored[forming - 49 : forming])
    assert newest[-1][5] < stored[forming, 5]
    after = bybit.api.fetch_ohlcv(PAIR, "5m", since=int(at[10]), limit=20)
    assert np.array_equal(after, stored[10:30])
    both = bybit.api.fetch_ohlcv(PAIR, "5m", since=int(at[10]), limit=5, params={"until": int(at[20])})
    assert np.array_equal(both, stored[16:21])


@pytest.mark.slow
def test_bybits_interest_and_funding(bybit: Served) -> None:
    interest = bybit.frame("5m-open_interest")
    told = bybit.api.fetch_open_interest_history(PAIR, "5m", limit=200)
    assert len(told) == 200
    labels = dates(interest)
    published = Archive(bybit.datadir).published_ms("BTCUSDT", 5)
    newest = int(np.searchsorted(published, bybit.now, side="right"))
    # As the file has it: both sides, and nothing before it was published.
    assert [row["timestamp"] for row in told] == labels[newest - 200 : newest].tolist()
    amounts = interest["open_interest_amount"][newest - 200 : newest].tolist()
    assert [float(row["info"]["openInterest"]) for row in told] == amounts
    funding = bybit.frame("1h-funding_rate")
    rates = bybit.api.fetch_funding_rate_history(PAIR, since=int(dates(funding)[0]), limit=200)
    due = funding[dates(funding) <= bybit.now]
    assert [row["fundingRate"] for row in rates] == due["funding_rate"].tolist()


@pytest.mark.slow
def test_bybits_quotes_are_those_of_the_same_market_in_binances_words(bybit: Served) -> None:
    other = LoopbackExchange(Archive(bybit.datadir), lambda: bybit.now)
    book = bybit.api.fetch_order_book(PAIR, limit=5)
    bids, asks = other.book("BTCUSDT", 5)
    assert book["bids"] == [[float(x) for x in row] for row in bids]
    assert book["asks"] == [[float(x) for x in row] for row in asks]
    ticker = bybit.api.fetch_tickers()[PAIR]
    assert (ticker["bid"], ticker["ask"]) == (book["bids"][0][0], book["asks"][0][0])
    assert ticker["bid"] < ticker["ask"]


@pytest.mark.slow
def test_bybits_refusals(bybit: Served) -> None:
    with pytest.raises(ccxt.BadRequest):
        bybit.api.publicGetV5MarketKline({"category": "linear", "symbol": "NOUSDT", "interval": "5"})
    with pytest.raises(ccxt.BadRequest):
        bybit.api.publicGetV5MarketKline({"category": "linear", "symbol": "BTCUSDT", "interval": "7"})

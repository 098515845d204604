"""The loopback exchange, asked by real ccxt and run as the wrapper of real child processes."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ccxt
import ccxt.async_support
import numpy as np
import pandas as pd
import pytest
from conftest import START_LABELS, make_market, resampled, write, write_datadir
from freqtrade.configuration.config_validation import validate_config_consistency
from freqtrade.data.history import get_datahandler
from freqtrade.enums import CandleType, RunMode

import liqsignals
from liqsignals.errors import InputError
from liqsignals.exchange.archive import Archive, decimals, text
from liqsignals.exchange.endpoints import ApiError, LoopbackExchange
from liqsignals.exchange.server import config_overlay, loopback, main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
START = pd.Timestamp("2026-01-05", tz="UTC")  # a Monday
MINUTE = 60_000
T0 = START.value // 10**6
STEP = 5 * MINUTE
END = T0 + 1700 * STEP  # of BTC's candles


def candles(rows: int, freq: str, price: float, tick: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, 0.001, rows)))
    open_ = np.r_[price, close[:-1]]
    body = np.array([open_, close])
    frame = {
        "open": open_,
        "high": body.max(0) * (1 + rng.uniform(0, 0.001, rows)),
        "low": body.min(0) * (1 - rng.uniform(0, 0.001, rows)),
        "close": close,
    }
    return pd.DataFrame(
        {
            "date": pd.date_range(START, periods=rows, freq=freq, unit="ms"),
            **{name: np.round(values, tick) for name, values in frame.items()},
            "volume": np.round(rng.lognormal(5, 1, rows), 3),
        }
    )


@pytest.fixture(scope="module")
def frames() -> dict[tuple[str, str, str], pd.DataFrame]:
    """Pair, timeframe, kind -> the rows as stored."""
    rng = np.random.default_rng(5)
    mark = candles(140, "1h", 60000, 8, 2)
    mark["volume"] = 0.0
    return {
        (BTC, "5m", "futures"): candles(1700, "5min", 60000, 1, 1),
        (BTC, "1h", "mark"): mark,
        (BTC, "1h", "funding_rate"): pd.DataFrame(
            {
                "date": pd.date_range(START, periods=17, freq="8h", unit="ms"),
                "funding_rate": np.round(rng.normal(0, 1e-4, 17), 8),
            }
        ),
        (BTC, "5m", "open_interest"): pd.DataFrame(
            {
                "date": pd.date_range(START, periods=1200, freq="5min", unit="ms"),
                "open_interest_amount": np.round(rng.uniform(7e4, 8e4, 1200), 3),
                "open_interest_value": np.r_[np.nan, rng.uniform(4e9, 5e9, 1199)],
            }
        ),
        (ETH, "1h", "futures"): candles(60, "1h", 2000, 2, 3),
        (ETH, "1h", "funding_rate"): pd.DataFrame(
            {
                "date": pd.date_range(START, periods=10, freq="4h", unit="ms"),
                "funding_rate": np.full(10, 1e-5),
            }
        ),
    }


@pytest.fixture(scope="module")
def datadir(frames: dict[tuple[str, str, str], pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("data") / "binance"
    (folder / "futures").mkdir(parents=True)
    handler = get_datahandler(folder, "feather")
    for (pair, timeframe, kind), frame in frames.items():
        handler.ohlcv_store(pair, timeframe, frame, CandleType.from_string(kind))
    # What must not become a market: inverse, dated, spot, without candles, without rows, no candles at all.
    some = frames[ETH, "1h", "futures"]
    for pair in ("BTC/USD:BTC", "ETH/USDT:USDT-260327", "SOL/USDT"):
        handler.ohlcv_store(pair, "1h", some, CandleType.FUTURES)
    handler.ohlcv_store("XRP/USDT:USDT", "1h", some, CandleType.MARK)
    handler.ohlcv_store("ADA/USDT:USDT", "1h", some[:0], CandleType.FUTURES)
    (folder / "futures" / "notes.txt").write_text("mine")
    return folder


@pytest.fixture(scope="module")
def overlay(datadir: Path) -> Iterator[dict[str, Any]]:
    with loopback(datadir, lambda: END) as path:
        yield json.loads(path.read_text())["exchange"]


@pytest.fixture(scope="module")
def exchange(overlay: dict[str, Any]) -> Iterator[ccxt.binance]:
    api = ccxt.binance(overlay["ccxt_config"] | {"apiKey": "", "secret": ""})
    api.options["defaultType"] = "swap"
    api.load_markets()
    yield api
    api.session.close()


def get(overlay: dict[str, Any], path: str) -> tuple[int, Any]:
    base = overlay["ccxt_config"]["urls"]["api"]["fapiPublic"].removesuffix("/fapi/v1")
    try:
        with urllib.request.urlopen(base + path) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def rows(frame: pd.DataFrame) -> list[list[Any]]:
    dates = (frame["date"].astype("int64")).tolist()
    values = frame.drop(columns="date").to_numpy().tolist()
    return [[date, *value] for date, value in zip(dates, values, strict=True)]


def test_markets(exchange: ccxt.binance) -> None:
    assert sorted(exchange.markets) == [BTC, ETH]
    btc = exchange.markets[BTC]
    assert (btc["id"], btc["linear"], btc["swap"], btc["active"]) == ("BTCUSDT", True, True, True)
    assert (btc["precision"]["price"], btc["precision"]["amount"]) == (0.1, 0.001)
    assert exchange.markets[ETH]["precision"]["price"] == 0.01
    assert btc["limits"]["cost"]["min"] == 5
    assert btc["created"] == T0


def test_async_ccxt_loads_the_same_markets(overlay: dict[str, Any], exchange: ccxt.binance) -> None:
    async def symbols() -> list[str]:
        async with ccxt.async_support.binance(overlay["ccxt_config"]) as api:
            return sorted(await api.load_markets())

    assert asyncio.run(symbols()) == sorted(exchange.markets)


def test_no_address_of_ccxt_leaves_the_machine(exchange: ccxt.binance) -> None:
    everything = {**ccxt.binance().urls["api"], **exchange.urls["api"]}
    assert {name for name, url in everything.items() if not url.startswith("http://127.0.0.1:")} == set()
    exchange.apiKey, exchange.secret = "k", "s"
    try:
        with pytest.raises(ccxt.ExchangeError, match="-5000"):
            exchange.create_order(BTC, "market", "buy", 0.01)
    finally:
        exchange.apiKey, exchange.secret = "", ""


def test_candles_come_back_bit_for_bit(exchange: ccxt.binance, frames: dict[Any, pd.DataFrame]) -> None:
    stored = rows(frames[BTC, "5m", "futures"])
    paged: list[list[Any]] = []
    while page := exchange.fetch_ohlcv(BTC, "5m", paged[-1][0] + 1 if paged else 0, 499):
        paged += page
    assert paged == stored
    assert exchange.fetch_ohlcv(BTC, "5m", limit=3) == stored[-3:]
    window = exchange.fetch_ohlcv(BTC, "5m", T0 + 5 * MINUTE, params={"until": T0 + 15 * MINUTE})
    assert window == stored[1:4]
    mark = exchange.fetch_ohlcv(BTC, "1h", T0, 140, {"price": "mark"})
    assert mark == rows(frames[BTC, "1h", "mark"])
    assert exchange.fetch_ohlcv(ETH, "1h", T0, params={"price": "mark"}) == []
    assert exchange.fetch_ohlcv(ETH, "5m", T0) == []


@pytest.mark.parametrize(("timeframe", "rule"), [("15m", "15min"), ("1h", "1h"), ("1d", "1D")])
def test_longer_candles_are_made_from_shorter_ones(
    exchange: ccxt.binance, datadir: Path, frames: dict[Any, pd.DataFrame], timeframe: str, rule: str
) -> None:
    stored = frames[BTC, "5m", "futures"].set_index("date")
    wanted = stored.resample(rule).agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
    wanted = wanted.round(8)
    got = exchange.fetch_ohlcv(BTC, timeframe, T0, 1000)
    assert got == rows(wanted.reset_index()), "the last one is forming"
    # Later it has closed, but its candles are not all there.
    after = LoopbackExchange(Archive(datadir), lambda: END + 1440 * MINUTE)
    last = after.klines({"symbol": "BTCUSDT", "interval": timeframe, "limit": "1"}, "futures")[0]
    assert last[0] == got[-2][0]


def test_raw_candle_has_binances_shape(overlay: dict[str, Any]) -> None:
    status, answer = get(overlay, "/fapi/v1/klines?symbol=BTCUSDT&interval=5m&limit=2&startTime=0")
    assert status == 200
    assert [type(field) for field in answer[0]] == [int] + [str] * 5 + [int, str, int, str, str, str]
    assert (answer[0][0], answer[0][6]) == (T0, T0 + 5 * MINUTE - 1)
    assert len(get(overlay, "/fapi/v1/klines?symbol=BTCUSDT&interval=5m")[1]) == 500
    assert len(get(overlay, "/fapi/v1/klines?symbol=BTCUSDT&interval=5m&limit=1500")[1]) == 1500


def test_funding(exchange: ccxt.binance, frames: dict[Any, pd.DataFrame]) -> None:
    stored = rows(frames[BTC, "1h", "funding_rate"])
    got = exchange.fetch_funding_rate_history(BTC, T0, 1000)
    assert [[row["timestamp"], row["fundingRate"]] for row in got] == stored
    assert [row["timestamp"] for row in exchange.fetch_funding_rate_history(BTC, limit=2)] == [
        stored[-2][0],
        stored[-1][0],
    ]
    assert len(exchange.fetch_funding_rate_history(BTC, T0, 3)) == 3
    now = exchange.fetch_funding_rates()
    assert now[BTC]["fundingRate"] == stored[-1][1]
    assert now[BTC]["markPrice"] == frames[BTC, "5m", "futures"]["close"].iloc[-1]
    assert now[ETH]["markPrice"] == frames[ETH, "1h", "futures"]["close"].iloc[-1]
    assert now[BTC]["fundingTimestamp"] % (8 * 60 * MINUTE) == 0
    assert {pair: row["interval"] for pair, row in exchange.fetch_funding_intervals().items()} == {ETH: "4h"}


def test_open_interest(exchange: ccxt.binance, frames: dict[Any, pd.DataFrame], overlay: dict[str, Any]) -> None:
    stored = frames[BTC, "5m", "open_interest"]
    dates = stored["date"].astype("int64").tolist()

    def fetch(*args: Any, **params: Any) -> list[Any]:
        return exchange.fetch_open_interest_history(BTC, *args, params=params)

    got = fetch("5m", T0, 10)
    # ccxt asks for limit + 1 labels, and the endpoint answers with the latest of them.
    assert [row["timestamp"] for row in got] == dates[1:11]
    amounts = stored["open_interest_amount"].tolist()
    assert [row["openInterestAmount"] for row in got] == amounts[1:11]
    assert [row["timestamp"] for row in fetch("5m", None, 500)] == dates[-500:]
    assert len(fetch("5m")) == 30
    assert fetch("5m", T0, 1, until=T0)[0]["openInterestValue"] is None  # NaN on disk
    hourly = fetch("1h", T0, 3)
    assert [row["timestamp"] for row in hourly] == [T0 + 60 * MINUTE * hour for hour in (1, 2, 3)]
    assert [row["openInterestAmount"] for row in hourly] == amounts[12:37:12]
    assert exchange.fetch_open_interest_history(ETH, "1h") == []
    status, answer = get(overlay, "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m&limit=501")
    assert (status, answer["code"]) == (400, -1130)


def test_open_interest_is_kept_for_thirty_days(datadir: Path) -> None:
    month = 30 * 1440 * MINUTE
    now = T0 + month + STEP
    at = LoopbackExchange(Archive(datadir), lambda: now)
    asked = {"symbol": "BTCUSDT", "period": "5m"}
    with pytest.raises(ApiError, match="parameter 'startTime' is invalid") as refused:
        at.open_interest({**asked, "startTime": str(now - month - 1)})
    assert (refused.value.code, refused.value.status) == (-1130, 400)
    assert at.open_interest({**asked, "startTime": str(now - month), "endTime": str(T0 + STEP)})[0]["timestamp"] == (
        T0 + STEP
    )
    assert at.open_interest({**asked, "endTime": str(T0)}) == [], "older than that, and the window begins nowhere"


@pytest.mark.parametrize("starts", [False, True])
def test_open_interest_is_served_once_it_was_measured(tmp_path: Path, starts: bool) -> None:
    """Whatever the file calls a snapshot."""
    market = make_market(3, 11)
    datadir = write_datadir(tmp_path, market, flows=False, funding=False, flip=START_LABELS if starts else None)
    now = 0
    at = LoopbackExchange(Archive(datadir), lambda: now)
    stored = market.interest.set_index("date")["open_interest_amount"]
    for period, minutes in (("5m", 5), ("1h", 60)):
        taken = T0 + 2 * 1440 * MINUTE + (STEP if starts and minutes == 60 else 0)
        for early, before in ((0, 0), (1, minutes * MINUTE)):
            now = taken - early
            row = at.open_interest({"symbol": "BTCUSDT", "period": period})[-1]
            snapshot = pd.Timestamp(taken - before, unit="ms", tz="UTC")
            assert row["timestamp"] == taken - before - STEP * starts
            assert float(row["sumOpenInterest"]) == stored[snapshot]


def test_book_and_tickers(exchange: ccxt.binance, frames: dict[Any, pd.DataFrame]) -> None:
    stored = frames[BTC, "5m", "futures"]
    last = stored["close"].iloc[-1]
    book = exchange.fetch_order_book(BTC, 5)
    assert len(book["bids"]) == len(book["asks"]) == 5
    assert [row[0] for row in book["bids"]] == sorted((row[0] for row in book["bids"]), reverse=True)
    assert book["bids"][0][0] < last < book["asks"][0][0]
    assert min(row[1] for row in book["bids"] + book["asks"]) > 0
    tickers = exchange.fetch_tickers()
    assert sorted(tickers) == [BTC, ETH]
    day = stored[-288:]
    assert tickers[BTC]["last"] == last
    assert (tickers[BTC]["high"], tickers[BTC]["low"]) == (day["high"].max(), day["low"].min())
    assert tickers[BTC]["baseVolume"] == pytest.approx(day["volume"].sum())
    asked = exchange.fetch_bids_asks([BTC])[BTC]
    assert (asked["bid"], asked["ask"]) == (book["bids"][0][0], book["asks"][0][0])


def test_time(exchange: ccxt.binance) -> None:
    assert exchange.fetch_time() == END


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/fapi/v1/klines?symbol=DOGEUSDT&interval=5m", 400, -1121),
        ("/fapi/v1/klines?symbol=XRPUSDT&interval=5m", 400, -1121),
        ("/fapi/v1/klines?interval=5m", 400, -1102),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=7m", 400, -1120),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=5m&limit=1501", 400, -1130),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=5m&limit=x", 400, -1130),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=5m&startTime=2&endTime=1", 400, -1023),
        ("/fapi/v1/fundingRate?symbol=DOGEUSDT", 400, -1121),
        ("/fapi/v1/premiumIndex?symbol=DOGEUSDT", 400, -1121),
        ("/fapi/v1/ticker/24hr?symbol=DOGEUSDT", 400, -1121),
        ("/fapi/v1/ticker/24hr?symbol=ADAUSDT", 400, -1122),
        ("/fapi/v1/depth?symbol=DOGEUSDT", 400, -1121),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=7", 400, -4021),
        ("/futures/data/openInterestHist?symbol=DOGEUSDT&period=5m", 400, -1121),
        ("/futures/data/openInterestHist?symbol=BTCUSDT&period=3m", 400, -1130),
        ("/fapi/v1/nothing", 404, -5000),
        ("/", 404, -5000),
    ],
)
def test_errors_are_binances(overlay: dict[str, Any], path: str, status: int, code: int) -> None:
    answered, body = get(overlay, path)
    assert (answered, body["code"]) == (status, code)
    assert body["msg"]


def test_ccxt_knows_a_bad_symbol(exchange: ccxt.binance) -> None:
    with pytest.raises(ccxt.BadSymbol):
        exchange.fapiPublicGetKlines({"symbol": "DOGEUSDT", "interval": "5m"})


def test_nothing_is_served_before_its_time(datadir: Path, frames: dict[Any, pd.DataFrame]) -> None:
    now = T0 + 100 * STEP + 4 * MINUTE
    at = LoopbackExchange(Archive(datadir), lambda: now)
    stored = frames[BTC, "5m", "futures"]
    closed, forming = at.klines({"symbol": "BTCUSDT", "interval": "5m", "limit": "2"}, "futures")
    assert closed[6] == T0 + 100 * STEP - 1
    assert forming[0] == T0 + 100 * STEP
    assert [float(value) for value in closed[1:6]] == stored.iloc[99, 1:].tolist()
    assert at.open_interest({"symbol": "BTCUSDT", "period": "5m"})[-1]["timestamp"] == T0 + 100 * STEP
    assert at.funding_rate({"symbol": "BTCUSDT"})[-1]["fundingTime"] == T0 + 8 * 60 * MINUTE
    early = LoopbackExchange(Archive(datadir), lambda: T0 - 1)
    assert early.ticker({}) == []
    assert early.klines({"symbol": "BTCUSDT", "interval": "5m"}, "futures") == []


def test_what_comes_later_changes_no_answer(datadir: Path, frames: dict[Any, pd.DataFrame], tmp_path: Path) -> None:
    """At every instant an archive that ends with the bar in progress answers as the whole one does, and inside a
    bar nothing shows that the path has not walked."""
    whole = Archive(datadir)
    cut = tmp_path / "binance"
    (cut / "futures").mkdir(parents=True)
    handler = get_datahandler(cut, "feather")
    bar = 130
    opened = START + bar * pd.Timedelta("5min")
    # Beyond the bar everything is missing, and what the path walks last in this bar is another price.
    for (pair, timeframe, kind), frame in frames.items():
        handler.ohlcv_store(pair, timeframe, frame[frame["date"] <= opened], CandleType.from_string(kind))
    short = Archive(cut)
    stored = frames[BTC, "5m", "futures"].iloc[bar]
    rises = stored["close"] >= stored["open"]
    for share, hidden in ((0.29, ("high", "low", "close")), (0.49, ("high" if rises else "low", "close")), (0.99, ())):
        now = T0 + bar * STEP + int(share * STEP)
        there, here = (LoopbackExchange(archive, lambda now=now: now) for archive in (whole, short))
        btc = {"symbol": "BTCUSDT"}
        for interval in ("5m", "15m", "1h", "1d", "1w"):
            for kind in ("futures", "mark"):
                query = {**btc, "interval": interval}
                assert there.klines(query, kind) == here.klines(query, kind)
        for ask in ("ticker", "book_ticker", "price", "premium_index", "open_interest", "funding_rate"):
            query = {**btc, "period": "5m"}
            assert getattr(there, ask)(query) == getattr(here, ask)(query)
        assert there.depth({**btc, "limit": "20"}) == here.depth({**btc, "limit": "20"})
        shown = json.dumps([there.klines({**btc, "interval": "5m", "limit": "1"}, "futures"), there.ticker(btc)])
        for column in hidden:
            assert f'"{stored[column]}"' not in shown


def test_a_forming_candle_ends_as_the_file_has_it(datadir: Path, frames: dict[Any, pd.DataFrame]) -> None:
    now = 0
    at = LoopbackExchange(Archive(datadir), lambda: now)
    stored = rows(frames[BTC, "5m", "futures"])
    hour = T0 + 20 * 60 * MINUTE
    for ms in range(hour, hour + 60 * MINUTE, 7_000):
        now = ms
        query = {"symbol": "BTCUSDT", "interval": "5m", "limit": "3"}
        *closed, (date, *values) = [[row[0], *map(float, row[1:6])] for row in at.klines(query, "futures")]
        bar = (ms - T0) // STEP
        assert closed == stored[bar - 2 : bar]
        _, open_, high, low, _, volume = stored[bar]
        assert date == stored[bar][0]
        assert values[0] == open_
        assert low <= values[2] <= values[3] <= values[1] <= high
        assert values[4] == round(volume * (ms - date) / STEP, 8)
        hourly = at.klines({**query, "interval": "1h", "limit": "1"}, "futures")[0]
        parts = [*stored[(hour - T0) // STEP : bar], [date, *values]]
        assert [hourly[0], *map(float, hourly[1:6])] == [
            hour, parts[0][1], max(p[2] for p in parts), min(p[3] for p in parts), values[3],
            pytest.approx(sum(p[5] for p in parts), abs=1e-7),
        ]  # fmt: skip
        price = {text(values[3])}
        assert {at.price(query)["price"], at.ticker(query)["lastPrice"], at.premium_index(query)["markPrice"]} == price
        mark = at.klines({**query, "interval": "1h", "limit": "1"}, "mark")[0]
        assert mark[0] == hour
        assert float(mark[1]) == frames[BTC, "1h", "mark"]["open"][20]
        assert mark[4] == text(values[3])
        assert float(mark[2]) == max(float(mark[1]), float(hourly[2]))
        assert float(mark[3]) == min(float(mark[1]), float(hourly[3]))
    now = hour + 60 * MINUTE
    done, _ = at.klines({"symbol": "BTCUSDT", "interval": "1h", "limit": "2"}, "mark")
    assert [done[0], *map(float, done[1:6])] == rows(frames[BTC, "1h", "mark"])[20]


def test_the_forming_candle_counts_as_a_row(datadir: Path) -> None:
    now = T0 + 10 * STEP + 1
    at = LoopbackExchange(Archive(datadir), lambda: now)

    def dates(**query: int) -> list[int]:
        asked = {"symbol": "BTCUSDT", "interval": "5m"} | {name: str(value) for name, value in query.items()}
        return [(row[0] - T0) // STEP for row in at.klines(asked, "futures")]

    assert dates() == list(range(11))
    assert dates(limit=1) == [10]
    assert dates(limit=2) == [9, 10]
    assert dates(limit=2, startTime=T0) == [0, 1]
    assert dates(limit=4, startTime=T0 + 8 * STEP) == [8, 9, 10]
    assert dates(startTime=T0 + 10 * STEP) == [10]
    assert dates(startTime=T0 + 10 * STEP + 1) == []
    assert dates(limit=2, endTime=T0 + 10 * STEP - 1) == [8, 9]


def test_the_book_is_as_wide_as_the_market_is_wild(datadir: Path, frames: dict[Any, pd.DataFrame]) -> None:
    stored = frames[BTC, "5m", "futures"]
    ranges = (stored["high"] - stored["low"]) / stored["close"]
    for bar in (300, 777, 1500):
        at = LoopbackExchange(Archive(datadir), lambda now=T0 + bar * STEP + 299_000: now)
        book = at.depth({"symbol": "BTCUSDT", "limit": "20"})
        bids, asks = ([(float(price), float(amount)) for price, amount in book[side]] for side in ("bids", "asks"))
        price = stored["close"][bar]
        spread = asks[0][0] - bids[0][0]
        wanted = 0.01 * ranges[bar - 12 : bar].mean() * price
        assert wanted <= spread + 1e-9
        assert spread < wanted + 0.1 + 1e-9
        assert bids[0][0] <= price <= asks[0][0]
        assert price - bids[-1][0] >= 10 * spread - 0.1
        assert asks[-1][0] - price >= 10 * spread - 0.1
        second = stored["volume"][bar - 287 : bar + 1].sum() / 86400
        usual = ranges[bar - 287 : bar].mean() / ranges[bar - 12 : bar].mean()
        assert bids[0][1] == pytest.approx(5 * second * usual, rel=0.01)
        ticker = at.book_ticker({"symbol": "BTCUSDT"})
        assert [ticker["bidPrice"], ticker["bidQty"]] == book["bids"][0]
        assert [ticker["askPrice"], ticker["askQty"]] == book["asks"][0]


def test_a_hole_has_no_forming_candle(tmp_path: Path, frames: dict[Any, pd.DataFrame]) -> None:
    (tmp_path / "futures").mkdir()
    some = frames[BTC, "5m", "futures"][:20].drop(index=[13])
    some.to_feather(tmp_path / "futures" / "BTC_USDT_USDT-5m-futures.feather")
    at = LoopbackExchange(Archive(tmp_path), lambda: T0 + 13 * STEP + 1)
    query = {"symbol": "BTCUSDT", "interval": "5m"}
    assert at.klines(query, "futures")[-1][0] == T0 + 12 * STEP
    assert at.ticker(query)["lastPrice"] == text(some["close"][12])
    hourly = at.klines({**query, "interval": "1h"}, "futures")[-1]
    assert (hourly[0], hourly[4]) == (T0 + 60 * MINUTE, text(some["close"][12]))


def test_old_and_odd_files(tmp_path: Path, frames: dict[Any, pd.DataFrame]) -> None:
    folder = tmp_path / "futures"
    folder.mkdir()
    some = frames[BTC, "5m", "futures"]
    odd = pd.concat([some[10:20], some[:12]], ignore_index=True)
    odd["date"] = odd["date"].astype("datetime64[ns, UTC]")
    odd.to_feather(folder / "BTC_USDT_USDT-5m-futures.feather")
    # Until 2026 freqtrade stored the rate as the open of a candle.
    some[:3].assign(open=0.00012).to_feather(folder / "BTC_USDT_USDT-8h-funding_rate.feather")
    at = LoopbackExchange(Archive(tmp_path))
    answer = at.klines({"symbol": "BTCUSDT", "interval": "5m"}, "futures")
    assert [row[0] for row in answer] == some["date"][:20].astype("int64").tolist()
    assert at.exchange_info({})["symbols"][0]["onboardDate"] == odd["date"][0].value // 10**6
    assert {row["fundingRate"] for row in at.funding_rate({"symbol": "BTCUSDT"})} == {"0.00012"}

    (folder / "BTC_USDT_USDT-1h-futures.feather").write_bytes(b"ARROW1 torn")
    with loopback(tmp_path) as path:
        status, body = get(json.loads(path.read_text())["exchange"], "/fapi/v1/exchangeInfo")
    assert (status, body["code"]) == (500, -1000)
    assert "BTC_USDT_USDT-1h-futures.feather" in body["msg"]


@pytest.mark.parametrize(
    ("close", "volume", "expected"),
    [
        ([66937.1, 66937.0], [1.5, 0.123], (1, 3)),
        ([66937.0, 66938.0], [7.0, 9.0], (0, 3)),  # a step of a whole coin would shut out most wallets
        ([100.0, 101.0], [3.0, 8.0], (1, 1)),
        ([0.1234, 0.1235], [1000.0, 17.0], (4, 0)),
        ([0.12345678901, 0.1], [0.1 + 0.2, 1.23456789], (7, 3)),  # not an exchange's numbers
        ([2.0e-5, 2.1e-5], [0.0, 0.0], (8, 3)),
    ],
)
def test_decimals(close: list[float], volume: list[float], expected: tuple[int, int]) -> None:
    assert decimals(close, volume) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(1e-07, "0.0000001"), (1e16, "10000000000000000"), (0.1, "0.1"), (np.nan, "")]
)
def test_text_has_no_exponent(value: float, expected: str) -> None:
    assert text(value) == expected


def test_bad_datadir(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "futures").mkdir(parents=True)
    for name, way_out in {"none": "--datadir", "empty": "download-data", "hollow": "download-data"}.items():
        folder = tmp_path / name
        with pytest.raises(InputError, match=way_out), loopback(folder):
            pass
        assert main(["--datadir", str(folder), "--", "never", "run"]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert str(folder) in message


def start(datadir: Path, *command: str, **options: Any) -> subprocess.Popen[str]:
    package = Path(liqsignals.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-m", "liqsignals.exchange.server", "--datadir", str(datadir), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(package)},
        **options,
    )


def port_of(overlay: dict[str, Any]) -> int:
    return int(overlay["exchange"]["ccxt_config"]["urls"]["api"]["fapiPublic"].split(":")[2].split("/")[0])


def is_served(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


ASK = """
import json, pathlib, sys, urllib.request
config = json.loads(pathlib.Path(sys.argv[1]).read_text())
url = config["exchange"]["ccxt_config"]["urls"]["api"]["fapiPublic"] + "/exchangeInfo"
symbols = json.load(urllib.request.urlopen(url))["symbols"]
print(sys.argv[1], len(symbols), json.dumps(config), sep="|", flush=True)
"""
ASK_AND_STAY = ASK + "import time; time.sleep(600)"


def test_a_command_runs_with_the_overlay_and_the_server_ends_with_it(datadir: Path) -> None:
    with start(datadir, "--", sys.executable, "-c", ASK + "sys.exit(7)", "{overlay}") as process:
        out, err = process.communicate()
    path, symbols, config = out.split("|")
    assert (process.returncode, symbols, err) == (7, "2", "")
    assert not Path(path).exists()
    assert not is_served(port_of(json.loads(config)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_command(datadir: Path, number: signal.Signals) -> None:
    command = ("--", sys.executable, "-c", ASK_AND_STAY, "{overlay}")
    with start(datadir, *command, stdin=subprocess.DEVNULL) as process:
        assert process.stdout
        path, _, config = process.stdout.readline().split("|")
        process.send_signal(number)
        process.wait(60)
    assert process.returncode == 128 + number
    assert not Path(path).exists()
    assert not is_served(port_of(json.loads(config)))


def test_a_command_that_does_not_exist(datadir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--datadir", str(datadir), "--", "no-such-command", "{overlay}"]) == 127
    assert "no-such-command" in capsys.readouterr().err


@pytest.mark.parametrize("command", [(), ("--", sys.executable, "-c", ASK_AND_STAY, "{overlay}")])
def test_the_server_does_not_outlive_its_parent(datadir: Path, command: tuple[str, ...]) -> None:
    parent = (
        "import subprocess, sys, time\n"
        "subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "time.sleep(600)"
    )
    arguments = [sys.executable, "-m", "liqsignals.exchange.server", "--datadir", str(datadir), *command]
    with subprocess.Popen(
        [sys.executable, "-c", parent, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(liqsignals.__file__).parents[1])},
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert "SIMULATED" not in line
        port = port_of(json.loads(line.split("|")[2])) if command else int(line.split()[1])
        assert is_served(port)
        process.kill()
        process.stdout.read()  # until the last one that holds it is gone
    assert not is_served(port)


def test_without_a_command_it_serves_until_stdin_closes(tmp_path: Path, frames: dict[Any, pd.DataFrame]) -> None:
    (tmp_path / "futures").mkdir()
    frames[ETH, "1h", "futures"].to_feather(tmp_path / "futures" / "ETH_USDT_USDT-1h-futures.feather")
    (tmp_path / "SIMULATED").touch()
    with start(tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdout
        *label, _, port, _, overlay = process.stdout.readline().split()
        assert label == ["SIMULATED", "market:"]
        assert json.loads(Path(overlay).read_text()) == config_overlay(int(port), "binance", "feather")
        assert is_served(int(port))
        assert process.communicate()[0] == ""
    assert process.returncode == 0
    assert not is_served(int(port))


def test_download_data_in_the_middle_of_a_bar(tmp_path: Path) -> None:
    """Freqtrade drops the newest row of every kind. Of candles that is the forming one, and no closed one is missing."""
    market = make_market(3, 5)
    source = write_datadir(tmp_path, market, flows=False)
    hourly = resampled(market.candles, "1h")
    mark = hourly.assign(volume=0.0)
    write(source, "1h-futures", hourly)
    write(source, "1h-mark", mark)
    got = tmp_path / "got" / "binance"
    got.mkdir(parents=True)
    now = T0 + 49 * 60 * MINUTE + 7 * MINUTE
    with loopback(source, lambda: now) as overlay:
        command = [
            str(Path(sys.executable).with_name("freqtrade")), "download-data", "--config", str(ROOT / "config.json"),
            "--config", str(overlay), "--userdir", str(tmp_path / "got"), "--datadir", str(got), "--trading-mode", "futures",
            "--candle-types", "futures", "mark", "funding_rate", "open_interest", "-t", "5m", "1h",
            "--timerange", "20260105-20260109", "--pairs", BTC,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    at = pd.Timestamp(now, unit="ms", tz="UTC")
    for what, stored, last in (
        ("5m-futures", market.candles, at - pd.Timedelta("5min")),
        ("1h-futures", hourly, at - pd.Timedelta("1h")),
        ("1h-mark", mark, at - pd.Timedelta("1h")),
        ("5m-open_interest", market.interest, at - pd.Timedelta("5min")),
        ("1h-funding_rate", market.funding, at),
    ):
        frame = pd.read_feather(got / "futures" / f"BTC_USDT_USDT-{what}.feather")
        wanted = stored[(stored["date"] >= frame["date"][0]) & (stored["date"] <= last)]
        assert frame["date"][0] <= START + pd.Timedelta("10min")
        assert rows(frame) == rows(wanted.astype({"date": frame["date"].dtype})), what


def test_config_is_one_that_freqtrade_accepts() -> None:
    config = json.loads((ROOT / "config.json").read_text())
    assert config["dry_run"]
    assert (config["exchange"]["key"], config["exchange"]["secret"]) == ("", "")
    assert config["liqsignals"] == {}
    strategy = {"timeframe": "5m", "minimal_roi": {"0": 0.1}, "stoploss": -0.1}
    validate_config_consistency(config | strategy | {"runmode": RunMode.DRY_RUN}, preliminary=False)

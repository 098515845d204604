"""Which of freqtrade's files counts: formats, timeframes, empty and old files, and what is said of those not read."""

import gzip
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import (
    FIVE,
    PAIR,
    START_LABELS,
    STEM,
    FakeProvider,
    Market,
    assert_same_bits,
    labelled,
    make_market,
    ns,
    resampled,
    thinned,
    write,
    write_datadir,
)
from hypothesis import given
from hypothesis import strategies as st

from liqsignals import Signals, records, venues
from liqsignals.clock import DAY, HOUR, MINUTE, duration_ns, to_dates
from liqsignals.data import choice, freqtrade
from liqsignals.data.tape import read_tape
from liqsignals.doctor import examine
from liqsignals.doctor.config import plain
from liqsignals.errors import InputError
from liqsignals.files import FORMATS, held
from liqsignals.strategy.config import Settings

ENDINGS = list(FORMATS.values())


def rounded(market: Market) -> Market:
    """Numbers that a JSON file of freqtrade's holds exactly: it writes ten decimals."""

    def cut(frame: pd.DataFrame, digits: int) -> pd.DataFrame:
        return frame.assign(**{name: frame[name].round(digits) for name in frame.columns[1:]})

    return replace(
        market, candles=cut(market.candles, 4), interest=cut(market.interest, 4), funding=cut(market.funding, 8)
    )


MADE = rounded(make_market(3.0, 7))


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    with caplog.at_level(logging.WARNING, "liqsignals"):
        yield lambda: "\n".join(r.getMessage() for r in caplog.records)


def put(datadir: Path, what: str, frame: pd.DataFrame, ending: str = ".feather", stem: str = STEM) -> Path:
    """A frame as a file of one of the formats; JSON as freqtrade lays it out."""
    path = datadir / "futures" / f"{stem}-{what}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = frame.reset_index(drop=True)
    if ending == ".feather":
        frame.to_feather(path)
    elif ending == ".parquet":
        frame.to_parquet(path)
    else:
        rows = frame.assign(date=ns(frame["date"]) // 1_000_000).to_numpy(object).tolist()
        text = json.dumps([[None if x != x else x for x in row] for row in rows]).encode()
        path.write_bytes(gzip.compress(text) if ending == ".json.gz" else text)
    return path


def legacy(funding: pd.DataFrame) -> pd.DataFrame:
    """Settled funding in the layout of freqtrade before 2026: candles with the rate in `open`."""
    columns = ["date", "open", "high", "low", "close", "volume"]
    return funding.rename(columns={"funding_rate": "open"}).assign(high=0.0, low=0.0, close=0.0, volume=0.0)[columns]


def whole(root: Path, market: Market = MADE) -> pd.DataFrame:
    return Signals(write_datadir(root / "whole", market, flip=START_LABELS, flows=False)).attach(
        market.candles, PAIR, "5m"
    )


@pytest.mark.parametrize("old_funding", [False, True], ids=["", "legacy funding"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_has_the_same_bits(tmp_path: Path, ending: str, old_funding: bool) -> None:
    datadir = tmp_path / "binance"
    put(datadir, "5m-futures", MADE.candles, ending)
    put(datadir, "5m-open_interest", labelled(MADE.interest, flip=START_LABELS), ending)
    put(datadir, "8h-funding_rate", legacy(MADE.funding) if old_funding else MADE.funding, ending)
    assert freqtrade.pairs_in(datadir) == [PAIR]
    assert_same_bits(Signals(datadir).attach(MADE.candles, PAIR, "5m"), whole(tmp_path))
    assert examine.examine(datadir, now=int(ns(MADE.candles["date"])[-1]) + FIVE)["problems"] == []


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_what_freqtrades_own_handlers_write_is_read(tmp_path: Path, form: str) -> None:
    from freqtrade.data.history.datahandlers import get_datahandler
    from freqtrade.enums import CandleType

    datadir = tmp_path / "binance"
    datadir.mkdir()
    handler = get_datahandler(datadir, form)
    interest = labelled(MADE.interest, flip=START_LABELS)
    for timeframe, kind, frame in (
        ("5m", CandleType.FUTURES, MADE.candles),
        ("5m", CandleType.OPEN_INTEREST, interest),
        ("1h", CandleType.FUNDING_RATE, MADE.funding),
    ):
        handler.ohlcv_store(PAIR, timeframe, frame, kind)
    assert_same_bits(Signals(datadir).attach(MADE.candles, PAIR, "5m"), whole(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{}", "is not a list of rows"),
        (b"[[1, 2], 3]", "is not a list of rows"),
        (b"[[1767571200000, 1.0, 2.0]]", "row 0 is not a date in epoch ms and 5 values"),
        (b'[["2026-01-05", 1, 1, 1, 1, 1]]', "row 0 is not a date in epoch ms"),
        (b"[[1767571200000, 1, 1, 1, 1", "damaged or incomplete"),
        (b'[[1767571200000, 1, 1, 1, "many", 1]]', "row 0, column 'close': 'many' is no number"),
    ],
)
def test_json_that_is_not_freqtrades_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    datadir = write_datadir(tmp_path, MADE)
    (datadir / "futures" / f"{STEM}-5m-futures.feather").unlink()
    torn = gzip.compress(text)[:-3] if "incomplete" in message else gzip.compress(text)
    for name, content in ((".json", text), (".json.gz", torn)):
        path = datadir / "futures" / f"{STEM}-5m-futures{name}"
        path.write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            read_tape(datadir, PAIR)
        assert str(path) in str(caught.value)
        path.unlink()


# Of several formats. Each has the rows [from, to) of the market.
FORMAT_CASES = {
    "a stale feather beside a newer parquet": ({".feather": (0, 500), ".parquet": (0, 864)}, None, ".parquet", True),
    "a stale parquet beside a newer feather": ({".feather": (0, 864), ".parquet": (0, 500)}, None, ".feather", True),
    "the configured one although it is older": ({".feather": (0, 500), ".parquet": (0, 864)}, "feather", ".feather", True),
    "the configured one": ({".feather": (0, 500), ".json": (0, 864)}, "json", ".json", True),
    "a format that is configured and not there": ({".parquet": (0, 864)}, "feather", ".parquet", False),
    "json.gz the newest of three": (
        {".feather": (0, 700), ".json": (0, 500), ".json.gz": (100, 864)}, None, ".json.gz", True,
    ),
    "an empty feather beside a parquet": ({".feather": (0, 0), ".parquet": (0, 864)}, None, ".parquet", True),
    "the same in both": ({".feather": (0, 864), ".parquet": (0, 864)}, None, ".feather", False),
    "equally new, the longer": ({".feather": (300, 864), ".parquet": (0, 864)}, None, ".parquet", True),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMAT_CASES)
@pytest.mark.parametrize("what", ["5m-futures", "5m-open_interest"])
def test_of_several_formats_one_counts_and_the_others_are_named(
    tmp_path: Path, case: str, what: str, warned: Callable[[], str]
) -> None:
    held, dataformat, read, said = FORMAT_CASES[case]
    datadir = write_datadir(tmp_path, MADE, flip=START_LABELS)
    frame = MADE.candles if what == "5m-futures" else labelled(MADE.interest, flip=START_LABELS)
    (datadir / "futures" / f"{STEM}-{what}.feather").unlink()
    for ending, (a, b) in held.items():
        put(datadir, what, frame.iloc[a:b], ending)
    tape = read_tape(datadir, PAIR, dataformat=dataformat)
    kind = tape.bars if what == "5m-futures" else tape.open_interest
    a, b = held[read]
    assert kind is not None
    assert np.array_equal(kind["event_time"], ns(frame["date"])[a:b] + FIVE)
    for ending in held:
        assert (f"{STEM}-{what}{ending} is not read" in warned()) == (said and ending != read)


def test_the_doctor_wants_one_format(tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, MADE, flip=START_LABELS, flows=False)
    put(datadir, "5m-futures", MADE.candles.iloc[:500], ".parquet")
    now = int(ns(MADE.candles["date"])[-1]) + FIVE
    (problem,) = examine.examine(datadir, now=now)["problems"]
    assert f"{STEM}-5m-futures.parquet is not read" in problem
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"trading_mode": "futures", "dataformat_ohlcv": "parquet"}))
    problems = examine.examine(datadir, now=now, config=plain([config]))["problems"]
    assert f"{STEM}-5m-futures.feather is not read" in problems[0]


def test_a_bot_reads_what_its_config_names(tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, MADE, flip=START_LABELS)
    put(datadir, "5m-open_interest", labelled(MADE.interest, flip=START_LABELS).iloc[:400], ".parquet")
    config = {"datadir": str(datadir), "trading_mode": "futures", "exchange": {"name": "binance"}}
    out = {
        form: Signals.from_config({**config, "dataformat_ohlcv": form, "liqsignals": {"calibration": "none"}}).attach(
            MADE.candles, PAIR, "5m"
        )["liq_fresh"]
        for form in ("feather", "parquet")
    }
    assert out["feather"].iloc[-1] == 1
    assert out["parquet"].iloc[-1] == 0
    with pytest.raises(InputError, match=r"\"hdf5\" is none of freqtrade's formats: feather, parquet, json, jsongz"):
        Signals.from_config({**config, "dataformat_ohlcv": "hdf5"})


@pytest.mark.parametrize(
    ("name", "exchange"),
    [("Binance", "binance"), ("BINANCE", "binance"), ("binanceusdm", "binance"), ("BinanceUSDM", "binance"), ("Bybit", "bybit")],
)  # fmt: skip
def test_an_exchanges_name_is_read_as_freqtrade_reads_it(tmp_path: Path, name: str, exchange: str) -> None:
    datadir = write_datadir(tmp_path, MADE, name="data")
    assert (
        Settings.parse({"datadir": datadir, "trading_mode": "futures", "exchange": {"name": name}}).exchange == exchange
    )
    assert venues.exchange_name(name) == exchange
    folder = tmp_path / name.replace("usdm", "").replace("USDM", "")
    assert venues.known_exchange(folder) == exchange


def test_funding_of_several_files_is_one_series(tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, MADE, flip=START_LABELS, funding=False, flows=False)
    late = MADE.funding.assign(date=MADE.funding["date"] + pd.Timedelta("7ms"))
    put(datadir, "8h-funding_rate", legacy(late.iloc[:40]))
    put(datadir, "1h-funding_rate", MADE.funding.iloc[30:])
    assert_same_bits(Signals(datadir).attach(MADE.candles, PAIR, "5m"), whole(tmp_path))


# Of several timeframes.

LONG = make_market(20.0, 11)


@pytest.mark.parametrize(
    ("fine", "coarse"),
    [
        (slice(4320, None), None),
        (slice(1000, 2000), None),
        (slice(None, 3000), None),
        (slice(None), None),
        (slice(2000, None), 2500),
    ],
    ids=["5 days at the end", "in the middle", "stale", "all of it", "overlap"],
)
@pytest.mark.parametrize("period", ["15m", "1h"])
def test_fine_open_interest_does_not_hide_coarse(tmp_path: Path, period: str, fine: slice, coarse: int | None) -> None:
    datadir = write_datadir(tmp_path, LONG, interest=False)
    write(datadir, "5m-open_interest", labelled(LONG.interest, flip=START_LABELS).iloc[fine])
    thin = labelled(thinned(LONG.interest, period).reset_index(drop=True), period, START_LABELS)
    step = duration_ns(period) // FIVE
    write(datadir, f"{period}-open_interest", thin.iloc[: coarse and coarse // step])
    fresh = Signals(datadir).attach(LONG.candles, PAIR, "5m")["liq_fresh"].to_numpy()
    # Where the fine rows end, the first coarse one of later comes after its own delay, and that is said.
    end = min(fine.stop or len(fresh), len(fresh))
    late = np.arange(len(fresh))
    late = (late < 3 * step + 3) | ((late >= end) & (late < end + 3 * step))
    assert (fresh[~late] == 1).all()
    # Rows known from the fine file at its own delay, all through its span.
    tape = read_tape(datadir, PAIR)
    assert tape.open_interest is not None
    lag = tape.open_interest["known_at"] - tape.open_interest["event_time"]
    own = np.isin(tape.open_interest["event_time"], ns(LONG.interest["date"])[fine])
    assert (lag[own] == 2 * FIVE).all()
    assert set(lag[~own]) <= {2 * duration_ns(period)}
    assert (np.diff(tape.open_interest["known_at"]) >= 0).all()
    assert (np.diff(tape.open_interest["event_time"]) > 0).all()


@given(
    fine=st.sets(st.integers(0, 60)),
    middle=st.sets(st.integers(0, 20)),
    cut=st.integers(0, 90),
)
def test_joining_series_commutes_with_the_cut(fine: set[int], middle: set[int], cut: int) -> None:
    """Law 3: what becomes known later changes nothing of what was known; and the finer series is there whole."""

    def rows(at: set[int], minutes: int) -> records.Records:
        event = np.array(sorted(at), np.int64) * minutes * MINUTE
        return records.records(records.OPEN_INTEREST, event, event + 2 * minutes * MINUTE, base=event + minutes)

    parts = [rows(fine, 5), rows(middle, 15)]
    joined = freqtrade.newest_first_known(parts)
    by = cut * 5 * MINUTE
    early = freqtrade.newest_first_known([part[part["known_at"] <= by] for part in parts])
    assert np.array_equal(joined[joined["known_at"] <= by], early)
    kept = joined["base"][joined["known_at"] - joined["event_time"] == 10 * MINUTE] - 5
    # No coarse row of a later event is known before a fine one: its delay is longer.
    assert set(kept) == {at * 5 * MINUTE for at in fine}
    assert (np.diff(joined["event_time"]) > 0).all()


def test_a_bot_asks_for_the_finest_that_is_up_to_date(tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, LONG, interest=False)
    write(datadir, "1h-futures", resampled(LONG.candles, "1h"))
    write(datadir, "5m-open_interest", labelled(LONG.interest, flip=START_LABELS).iloc[:2000])
    thin = labelled(thinned(LONG.interest, "15m").reset_index(drop=True), "15m", START_LABELS)
    write(datadir, "15m-open_interest", thin)
    assert Signals(datadir).informative_pairs([PAIR])[:2] == [
        (PAIR, "5m", "futures"),
        (PAIR, "15m", "open_interest"),
    ]
    # Less than what a bot fetches by itself is no reason to take the coarser one, and live rows then go on seamlessly.
    write(datadir, "5m-open_interest", labelled(LONG.interest, flip=START_LABELS).iloc[:5500])
    signals = Signals(datadir)
    assert (PAIR, "5m", "open_interest") in signals.informative_pairs([PAIR])
    live = {("5m", "open_interest"): labelled(LONG.interest, flip=START_LABELS).iloc[-500:]}
    assert signals.attach(LONG.candles, PAIR, "5m", dp=FakeProvider(live))["liq_fresh"].iloc[-1] == 1


# rows of the candle files [from, to) in days, which is read, and what of the others is said
CANDLE_CASES = {
    "five days of 5m, forty of 15m": ({"5m": (15, 20), "15m": (0, 20)}, "15m", "5m"),
    "two weeks of 5m are enough": ({"5m": (5, 20), "15m": (0, 20)}, "5m", ""),
    "5m ended long ago": ({"5m": (0, 12), "1h": (0, 20)}, "1h", "5m"),
    "both short": ({"5m": (17, 20), "1h": (17, 20)}, "5m", ""),
}


@pytest.mark.parametrize("case", CANDLE_CASES)
def test_the_finest_candles_that_cover_the_time_are_folded(
    tmp_path: Path, case: str, warned: Callable[[], str]
) -> None:
    held, read, said = CANDLE_CASES[case]
    datadir = write_datadir(tmp_path, LONG)
    (datadir / "futures" / f"{STEM}-5m-futures.feather").unlink()
    for timeframe, (a, b) in held.items():
        frame = resampled(LONG.candles, timeframe)
        per_day = DAY // duration_ns(timeframe)
        write(datadir, f"{timeframe}-futures", frame.iloc[a * per_day : b * per_day])
    tape = read_tape(datadir, PAIR)
    assert tape.bar_ns == duration_ns(read)
    assert [t for t in held if f"{STEM}-{t}-futures.feather is not read" in warned()] == ([said] if said else [])


def minutes(days: int, timeframe: str) -> pd.DataFrame:
    """Candles of 1m or 3m with whole volumes, whose sums are exact."""
    rng, step = np.random.default_rng(5), duration_ns(timeframe)
    n = days * DAY // step
    close = 50_000 * np.exp(np.cumsum(rng.normal(0, 5e-4, n)))
    opened = np.r_[50_000, close[:-1]]
    return pd.DataFrame({
        "date": to_dates(int(ns(MADE.candles["date"])[0]) + step * np.arange(n)), "open": opened,
        "high": np.maximum(opened, close) * 1.0003, "low": np.minimum(opened, close) * 0.9998, "close": close,
        "volume": rng.integers(1, 900, n).astype(float),
    })  # fmt: skip


@pytest.mark.parametrize(("stored", "into"), [("1m", "5m"), ("3m", "15m")])
def test_finer_candles_are_joined(tmp_path: Path, stored: str, into: str) -> None:
    fine = minutes(2, stored)
    length, step = duration_ns(into), duration_ns(stored)
    group = ns(fine["date"]) // length
    rule = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    coarse = fine.groupby(group).agg(rule)
    coarse.insert(0, "date", to_dates(coarse.index.to_numpy() * length))
    one = write_datadir(tmp_path / "fine", MADE)
    (one / "futures" / f"{STEM}-5m-futures.feather").unlink()
    write(one, f"{stored}-futures", fine.drop(index=[700, 701]))
    other = write_datadir(tmp_path / "coarse", MADE)
    (other / "futures" / f"{STEM}-5m-futures.feather").unlink()
    write(other, f"{into}-futures", coarse[coarse.index != group[700]])
    assert group[700] == group[701]
    assert length // step == 5
    frame = coarse.reset_index(drop=True)
    assert_same_bits(Signals(one).attach(frame, PAIR, into), Signals(other).attach(frame, PAIR, into))
    assert Signals(one).informative_pairs([PAIR])[0] == (PAIR, into, "futures")


@pytest.mark.parametrize("timeframe", ["2h", "4h", "1d"])
def test_candles_too_coarse_for_a_map_are_named(tmp_path: Path, timeframe: str, warned: Callable[[], str]) -> None:
    datadir = write_datadir(tmp_path, MADE, flows=False)
    (datadir / "futures" / f"{STEM}-5m-futures.feather").unlink()
    frame = resampled(MADE.candles, timeframe)
    write(datadir, f"{timeframe}-futures", frame)
    out = Signals(datadir).attach(frame, PAIR, timeframe)
    assert out.filter(like="liq_").isna().all(axis=None)
    assert f"no candle file in {datadir}/futures (of 1h or finer; there: {timeframe})" in warned()
    problems = examine.examine(datadir, now=int(ns(MADE.candles["date"])[-1]) + FIVE)["problems"]
    assert any(f"no candles of 1h or finer (there: {timeframe})" in problem for problem in problems)


@pytest.mark.parametrize(
    ("timeframe", "first"), [("1w", "2026-01-05"), ("1w", "2026-01-01"), ("1w", "2026-01-04T16:00"), ("3d", "2026-01-05"), ("2w", "2026-01-05")]
)  # fmt: skip
def test_long_candles_begin_where_the_venue_begins_them(tmp_path: Path, timeframe: str, first: str) -> None:
    length = duration_ns(timeframe)
    at = pd.Timestamp(first, tz="UTC").as_unit("ns").value + length * np.array([0, 1, 3])
    frame = pd.DataFrame({"date": to_dates(at), "open": 5.0, "high": 6.0, "low": 4.0, "close": 5.5, "volume": 1.0})
    bars = freqtrade.bars(frame, timeframe, "a file")
    assert np.array_equal(bars["event_time"], at + length)
    frame.loc[2, "date"] += pd.Timedelta("1D")
    with pytest.raises(InputError, match=f"row 2 .* does not open on a multiple of {timeframe}"):
        freqtrade.bars(frame, timeframe, "a file")


EMPTY = {
    "candles": ("5m-futures", "the candle file", "liq_fresh"),
    "open interest": ("5m-open_interest", "the open-interest file", "liq_fresh"),
    "funding": ("1h-funding_rate", "the funding file", "fund_fresh"),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("case", EMPTY)
def test_an_empty_file_is_named(tmp_path: Path, case: str, ending: str, warned: Callable[[], str]) -> None:
    what, said, flag = EMPTY[case]
    datadir = write_datadir(tmp_path, MADE, flows=False)
    path = datadir / "futures" / f"{STEM}-{what}.feather"
    frame = pd.read_feather(path).iloc[:0]
    path.unlink()
    empty = put(datadir, what, frame, ending)
    out = Signals(datadir).attach(MADE.candles, PAIR, "5m")
    assert (out[flag] == 0).all()
    assert f"{PAIR}: {said}" in warned()
    problems = examine.examine(datadir, now=int(ns(MADE.candles["date"])[-1]) + FIVE)["problems"]
    assert any(f"{empty} holds no rows. Way out: delete it" in problem for problem in problems)


def test_open_interest_of_zeros_is_an_empty_file(tmp_path: Path, warned: Callable[[], str]) -> None:
    datadir = write_datadir(tmp_path, MADE, flows=False)
    write(datadir, "5m-open_interest", MADE.interest.assign(open_interest_amount=0.0))
    assert (Signals(datadir).attach(MADE.candles, PAIR, "5m")["liq_fresh"] == 0).all()
    assert f"{PAIR}: the open-interest file" in warned()
    problems = examine.examine(datadir, now=int(ns(MADE.candles["date"])[-1]) + FIVE)["problems"]
    assert any("none of them with a number above 0" in problem for problem in problems)


@pytest.mark.parametrize("pair", ["BTC/USD:BTC", "ETH/USD:ETH", "BTC/USD:BTC-261225"])
def test_coin_margined_open_interest_is_refused(tmp_path: Path, pair: str) -> None:
    stem = pair.replace("/", "_").replace(":", "_")
    datadir = write_datadir(tmp_path, MADE, stem=stem, flows=False)
    with pytest.raises(InputError, match="its open interest counts contracts, not coins"):
        read_tape(datadir, pair)


def test_a_dated_contract_is_not_the_perpetual(tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, MADE, flip=START_LABELS, flows=False)
    for name in ("5m-futures", "5m-open_interest", "1h-funding_rate"):
        frame = pd.read_feather(datadir / "futures" / f"{STEM}-{name}.feather")
        write(datadir, name, frame.iloc[:100], f"{STEM}-261225")
    for kind in ("open_interest", "taker", "liquidation"):
        folder = datadir / "liqsignals" / kind / "binance" / f"{STEM}-261225-5m"
        folder.mkdir(parents=True)
        (folder / "2026-01.parquet").write_bytes(b"of another contract")
    assert freqtrade.pairs_in(datadir) == [PAIR, f"{PAIR}-261225"]
    tape = read_tape(datadir, PAIR)
    assert tape.kind("taker") is None
    assert tape.sources("oi_value") == ()
    assert_same_bits(Signals(datadir).attach(MADE.candles, PAIR, "5m"), whole(tmp_path))
    now = int(ns(MADE.candles["date"])[-1]) + FIVE
    assert examine.examine(datadir, now=now, pairs=[PAIR])["problems"] == []
    assert examine.examine(datadir, now=now, pairs=["SOL/USDT:USDT"])["problems"][0].startswith("no candles of SOL")


def test_spans_are_read_again_when_a_file_changes(tmp_path: Path) -> None:
    path = put(tmp_path, "5m-futures", MADE.candles.iloc[:50])
    first = choice.span(path)
    assert first is not None
    assert first.rows == 50
    put(tmp_path, "5m-futures", MADE.candles.iloc[:80])
    second = choice.span(path)
    assert second is not None
    assert (second.rows, second.last - first.last) == (80, 30 * FIVE)
    path.write_bytes(b"torn")
    assert choice.span(path) is None
    assert choice.span(tmp_path / "nowhere") is None
    assert HOUR == 12 * FIVE


def test_a_file_that_unpacks_without_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "BTC_USDT_USDT-5m-futures.json.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * 5_000_000 + b"]"))
    assert choice.load_file(path).empty
    monkeypatch.setattr(choice, "LARGEST_JSON", 1 << 20)
    with pytest.raises(InputError, match=r"json\.gz unpacks to more than 1 MiB"):
        choice.load_file(path)


def test_a_pairs_files_are_seen_as_soon_as_they_are_there(tmp_path: Path) -> None:
    """However old the folder is, and within one tick of its clock."""
    folder = tmp_path / "futures"
    folder.mkdir()
    assert held(folder, PAIR) == ()
    assert held(tmp_path / "nowhere", PAIR) == ()
    names: list[str] = []
    now = time.time_ns()
    for n, timeframe in enumerate(("5m", "15m", "30m", "1h")):
        if n % 2:
            # As long ago as it takes for the listing to be kept.
            os.utime(folder, (1e9 + n, 1e9 + n))
            assert [name for name, _, _ in held(folder, PAIR)] == names
        names = sorted([*names, f"{STEM}-{timeframe}-futures.feather"])
        (folder / f"{STEM}-{timeframe}-futures.feather").touch()
        (folder / f"{STEM}X-{timeframe}-futures.feather").touch()
        (folder / f"{STEM}-{timeframe}-futures.feather.tmp").touch()
        os.utime(folder, ns=(now, now))
        assert [name for name, _, _ in held(folder, PAIR)] == names
    (folder / names[0]).write_bytes(b"longer than before")
    assert {name: size for name, _, size in held(folder, PAIR)}[names[0]] == 18
    (folder / names[0]).unlink()
    assert [name for name, _, _ in held(folder, PAIR)] == names[1:]
    (folder / names[0]).symlink_to(tmp_path / "nothing")
    assert [name for name, _, _ in held(folder, PAIR)] == names[1:]

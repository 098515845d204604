"""Bad input: mended with a warning where nothing is lost, else refused with the file, the row and the way out."""

import errno
import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import (
    PAIR,
    FakeProvider,
    Market,
    assert_same_bits,
    make_market,
    ns,
    resampled,
    write,
    write_datadir,
)

from liqsignals import files, liqmap, venues
from liqsignals.clock import DAY, parse_time
from liqsignals.data import freqtrade
from liqsignals.data.tape import read_tape
from liqsignals.doctor import examine
from liqsignals.errors import InputError
from liqsignals.features import NAMES
from liqsignals.strategy.signals import Signals

Change = Callable[[pd.DataFrame], pd.DataFrame]
CANDLES, INTEREST, FUNDING = "5m-futures", "5m-open_interest", "1h-funding_rate"


@pytest.fixture(scope="module")
def market() -> Market:
    return make_market(1.5, 31)


@pytest.fixture
def datadir(tmp_path: Path, market: Market) -> Path:
    return write_datadir(tmp_path, market)


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    with caplog.at_level(logging.WARNING, "liqsignals"):
        yield lambda: [r.getMessage() for r in caplog.records]


def change(datadir: Path, what: str, how: Change) -> Path:
    path = datadir / "futures" / f"BTC_USDT_USDT-{what}.feather"
    return write(datadir, what, how(pd.read_feather(path)))


def put(column: str, row: int, value: Any) -> Change:
    def how(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row, column] = value
        return frame

    return how


def attach(datadir: Path, market: Market, **options: Any) -> pd.DataFrame:
    return Signals(datadir, **options).attach(market.candles, PAIR, "5m")


REFUSED = [
    (CANDLES, put("low", 7, -1.0), r"row 7 \(2026-01-05T00:35:00Z\) has a price that is not above zero: .* low -1"),
    (CANDLES, put("close", 7, 0.0), "row 7 .* has a price that is not above zero"),
    (CANDLES, put("close", 9, np.nan), r"row 9 \(2026-01-05T00:45:00Z\) has a value that is no number: .* close nan"),
    (CANDLES, put("high", 9, np.inf), "row 9 .* has a value that is no number"),
    (CANDLES, put("volume", 3, -0.5), "row 3 .* has a negative volume"),
    (CANDLES, put("high", 3, 1.0), r"row 3 .* has an open or close outside low\.\.high"),
    (CANDLES, put("low", 3, 1e6), r"row 3 .* has an open or close outside low\.\.high"),
    (INTEREST, put("open_interest_amount", 5, -2.0), r"row 5 \(2026-01-05T00:30:00Z\) has open interest -2"),
    (INTEREST, put("open_interest_amount", 5, np.inf), "row 5 .* has open interest inf"),
    (FUNDING, put("funding_rate", 4, -np.inf), "row 4 .* has a funding rate of -inf"),
]


@pytest.mark.parametrize(("what", "how", "message"), REFUSED)
def test_what_no_market_can_produce_is_refused(
    datadir: Path, market: Market, what: str, how: Change, message: str
) -> None:
    path = change(datadir, what, how)
    with pytest.raises(InputError, match=message) as caught:
        attach(datadir, market)
    assert str(path) in str(caught.value)
    assert re.search("Way out: (delete the file and download it again|remove the (wrong )?row)", str(caught.value))


@pytest.mark.parametrize("what", [CANDLES, INTEREST, FUNDING])
def test_naive_dates_are_refused(datadir: Path, market: Market, what: str) -> None:
    path = change(datadir, what, lambda f: f.assign(date=f["date"].dt.tz_localize(None)))
    with pytest.raises(InputError, match=r"column 'date' is naive .*Way out: .*tz_localize\('UTC'\)") as caught:
        attach(datadir, market)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("what", [CANDLES, INTEREST, FUNDING])
def test_dates_as_text_are_refused(datadir: Path, market: Market, what: str) -> None:
    path = change(datadir, what, lambda f: f.assign(date=f["date"].astype(str)))
    with pytest.raises(InputError, match=r"column 'date' is .*must be tz-aware UTC") as caught:
        attach(datadir, market)
    assert str(path) in str(caught.value)


def test_a_row_without_a_date_is_refused(datadir: Path, market: Market) -> None:
    path = change(datadir, CANDLES, put("date", 4, pd.NaT))
    with pytest.raises(InputError, match="row 4 has no date; remove the row or download the file again") as caught:
        attach(datadir, market)
    assert str(path) in str(caught.value)


def test_candles_off_their_timeframe_are_refused(datadir: Path, market: Market) -> None:
    change(datadir, CANDLES, lambda f: f.assign(date=f["date"] + pd.Timedelta("1min")))
    with pytest.raises(InputError, match=r"row 0 \(2026-01-05T00:01:00Z\) does not open on a multiple of 5m"):
        attach(datadir, market)


@pytest.mark.parametrize(
    ("what", "column"),
    [(CANDLES, "volume"), (CANDLES, "date"), (INTEREST, "open_interest_amount"), (FUNDING, "funding_rate")],
)
def test_a_missing_column_is_named(datadir: Path, market: Market, what: str, column: str) -> None:
    path = change(datadir, what, lambda f: f.drop(columns=column))
    with pytest.raises(InputError, match=rf"has no column {column} \(it has: .*\)\. Way out: delete") as caught:
        attach(datadir, market)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("what", [CANDLES, FUNDING])
def test_contradicting_rows_are_refused(datadir: Path, market: Market, what: str) -> None:
    column = "volume" if what == CANDLES else "funding_rate"
    path = change(datadir, what, lambda f: pd.concat([f, f.iloc[[6]].assign(**{column: 0.001})]))
    date = {CANDLES: "2026-01-05T00:30:00", FUNDING: "2025-12-23T00:00:00"}[what]
    with pytest.raises(
        InputError, match=re.escape(f"row 7 contradicts an earlier row of the same date {date}")
    ) as caught:
        attach(datadir, market)
    assert str(path) in str(caught.value)
    assert re.search("Way out: (delete the file and download it again|remove the (wrong )?row)", str(caught.value))


@pytest.mark.parametrize("what", [CANDLES, INTEREST, FUNDING])
def test_repeated_and_unsorted_rows_are_mended(
    datadir: Path, market: Market, what: str, warned: Callable[[], list[str]]
) -> None:
    whole = attach(datadir, market)
    path = change(datadir, what, lambda f: pd.concat([f.iloc[10:], f.iloc[:20]]))
    assert_same_bits(attach(datadir, market), whole)
    assert any(str(path) in m and "rows are not in time order (first: row" in m for m in warned())
    assert any(str(path) in m and "10 repeated rows, read once" in m for m in warned())


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_open_interest_of_zero_or_nan_is_a_hole(
    datadir: Path, market: Market, value: float, warned: Callable[[], list[str]]
) -> None:
    path = change(datadir, INTEREST, lambda f: f.drop(index=range(100, 110)))
    hole = attach(datadir, market)
    assert warned() == []
    write(datadir, INTEREST, market.interest)

    def blank(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[100:109, "open_interest_amount"] = value
        return frame

    change(datadir, INTEREST, blank)
    assert_same_bits(attach(datadir, market), hole)
    told = f"{path}: 10 rows have no open interest (NaN or 0; first: row 100, 2026-01-05T08:25:00Z); read as a hole"
    assert any(told in m for m in warned())
    assert (hole["liq_remainder_long"].iloc[50:] > 0).all()


def test_a_day_without_open_interest_goes_stale_and_comes_back(tmp_path: Path) -> None:
    made = make_market(4, 2)
    datadir = write_datadir(tmp_path, replace(made, interest=made.interest.drop(index=range(288, 576))))
    out = attach(datadir, made)
    # Snapshot 287 is the close of candle 287; it is read up to 3 h of age, but not without the flag that a newer one is
    # due.
    fresh = out["liq_fresh"].to_numpy()
    assert fresh[3 : 287 + 2 + 1].all()
    assert not fresh[287 + 3 : 578].any()
    assert fresh[578:].all()
    assert out["liq_imbalance"].iloc[287 + 3 : 287 + 37].notna().all()
    assert out["liq_imbalance"].iloc[287 + 37 : 578].isna().all()
    assert (out["liq_remainder_short"].iloc[578:] > 0).all()
    assert (out["liq_warm"] == 0).all()


def test_a_day_without_candles_restarts_the_map(
    tmp_path: Path, warned: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liqmap, "WARMUP", DAY)
    made = make_market(5, 2)
    datadir = write_datadir(tmp_path, replace(made, candles=made.candles.drop(index=range(600, 888))))
    out = attach(datadir, made)
    assert out["liq_warm"].iloc[290:600].eq(1).all()
    assert out["liq_fresh"].iloc[600:888].eq(0).all()
    # The first bar after the hole holds a new book: all of unknown origin, warm a day later.
    assert out["liq_remainder_long"].iloc[888] == 1.0
    assert out["liq_short_usd_10pct"].iloc[888] == 0.0
    assert out["liq_fresh"].iloc[888] == 1.0
    assert out["liq_warm"].iloc[888 : 888 + 288].eq(0).all()
    assert out["liq_warm"].iloc[888 + 288 :].eq(1).all()
    told = [m for m in warned() if "no candles from" in m]
    assert len(told) == 1
    assert "no candles from 2026-01-07T02:00:00Z to" in told[0]
    assert "freqtrade download-data" in told[0]
    assert PAIR in told[0]
    assert "--erase -t 5m -p BTC/USDT:USDT --timerange 20260105-" in told[0]


def test_a_missing_open_interest_file(tmp_path: Path, market: Market, warned: Callable[[], list[str]]) -> None:
    out = attach(write_datadir(tmp_path, market, interest=False), market)
    assert out[[n for n in NAMES if n.startswith("liq_")]].isna().all().all()
    assert np.isfinite(out["fund_rate_8h"].iloc[-1])
    told = [m for m in warned() if "no open-interest file" in m]
    assert len(told) == 1
    assert f"{tmp_path}/binance/futures" in told[0]
    assert "--candle-types futures mark funding_rate open_interest -t 5m --days 29" in told[0]


def test_missing_candles_and_missing_funding(tmp_path: Path, market: Market, warned: Callable[[], list[str]]) -> None:
    datadir = write_datadir(tmp_path, market, funding=False)
    (datadir / "futures" / f"BTC_USDT_USDT-{CANDLES}.feather").unlink()
    out = attach(datadir, market)
    assert out[[n for n in NAMES if n.startswith(("liq_", "fund_"))]].isna().all().all()
    assert any("no candle file" in m and "download-data" in m for m in warned())
    assert any("no funding file" in m and "download-data" in m for m in warned())


@pytest.mark.parametrize("left", [0, 4, 300, -40])
def test_a_truncated_file(datadir: Path, market: Market, left: int) -> None:
    path = datadir / "futures" / f"BTC_USDT_USDT-{INTEREST}.feather"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InputError, match=r"cannot be read: it is damaged or incomplete .*Way out: wait") as caught:
        attach(datadir, market)
    assert str(path) in str(caught.value)


def test_live_a_truncated_file_is_tried_again_at_the_next_candle(
    datadir: Path, market: Market, caplog: pytest.LogCaptureFixture
) -> None:
    path = datadir / "futures" / f"BTC_USDT_USDT-{INTEREST}.feather"
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    signals, dp = Signals(datadir), FakeProvider({})
    signals.informative_pairs([PAIR])
    with caplog.at_level(logging.ERROR, "liqsignals"):
        out = signals.attach(market.candles, PAIR, "5m", dp=dp)
    flags = [n for n in NAMES if n.endswith(("_fresh", "_warm"))]
    assert (out[flags] == 0).all(axis=None), "he has the data, and they are not fresh"
    # The score is the calibration's and the calendar the package's, whatever the data.
    assert (
        out[[n for n in NAMES if n not in (*flags, "liq_model_score") and not n.startswith("macro_")]]
        .isna()
        .all(axis=None)
    )
    assert str(path) in caplog.text
    path.write_bytes(whole)
    assert_same_bits(signals.attach(market.candles, PAIR, "5m", dp=dp), attach(datadir, market))


def test_a_file_that_changes_while_it_is_read_is_read_again(
    datadir: Path, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = attach(datadir, market)
    path = datadir / "futures" / f"BTC_USDT_USDT-{INTEREST}.feather"
    honest, torn = freqtrade.load_file, []

    def load(name: Path) -> pd.DataFrame:
        frame = honest(name)
        if name == path and len(torn) < 2:
            torn.append(name)
            write(datadir, INTEREST, market.interest[: -2 + len(torn)] if len(torn) < 2 else market.interest)
            return frame[:10]
        return frame

    monkeypatch.setattr(freqtrade, "load_file", load)
    assert_same_bits(attach(datadir, market), whole)
    assert len(torn) == 2


def test_a_file_that_never_stops_changing_is_given_up(
    datadir: Path, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, reads = freqtrade.load_file, []

    def load(name: Path) -> pd.DataFrame:
        reads.append(name)
        frame = honest(name)
        frame[: 100 + len(reads)].to_feather(name)
        return frame

    monkeypatch.setattr(freqtrade, "load_file", load)
    with pytest.raises(InputError, match="cannot be read: it keeps changing while it is read") as caught:
        attach(datadir, market)
    assert str(reads[0]) in str(caught.value)
    assert len(reads) == 4


def test_a_file_that_vanishes_while_it_is_read(datadir: Path, market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: Path) -> pd.DataFrame:
        name.unlink(missing_ok=True)
        raise FileNotFoundError(name)

    monkeypatch.setattr(freqtrade, "load_file", load)
    with pytest.raises(InputError, match="it vanished while it was read"):
        attach(datadir, market)


@pytest.mark.parametrize("name", ["okx", "kraken", "binancecoin", "data"])
def test_an_unknown_exchange_is_refused(tmp_path: Path, market: Market, name: str) -> None:
    datadir = write_datadir(tmp_path, market, name=name)
    with pytest.raises(InputError, match=f"is named '{name}', and liqsignals does not know .*Way out: point --datadir"):
        Signals(datadir)
    with pytest.raises(InputError, match="does not know the open-interest units"):
        read_tape(datadir, PAIR)


def test_the_exchange_counts_not_the_folders_name(tmp_path: Path, market: Market) -> None:
    """Bybit counts both sides: the same numbers are half the open interest."""
    one = attach(write_datadir(tmp_path, market, name="binance-2026"), market)
    assert venues.exchange_of(tmp_path / "binance-2026") == "binance"
    other = attach(tmp_path / "binance-2026", market, exchange="bybit")
    assert one["liq_fresh"].iloc[-1] == other["liq_fresh"].iloc[-1] == 1
    assert not np.array_equal(one["liq_short_usd_5pct"], other["liq_short_usd_5pct"], equal_nan=True)
    columns = ["open_interest_amount", "open_interest_value"]
    halved = replace(market, interest=market.interest.assign(**(market.interest[columns] / 2)))
    assert_same_bits(other, attach(write_datadir(tmp_path, halved), market))


def test_a_wrong_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binance").mkdir()
    for folder in (tmp_path / "binance", tmp_path / "nowhere"):
        why = "has no folder 'futures'" if folder.exists() else "does not exist"
        with pytest.raises(InputError, match=rf"it {why}.*Way out: .*freqtrade download-data") as caught:
            Signals(folder)
        assert str(folder) in str(caught.value)


def config(datadir: Path, **more: Any) -> dict[str, Any]:
    return {"datadir": datadir, "trading_mode": "futures", "exchange": {"name": "binance"}, **more}


def test_a_configuration(datadir: Path, tmp_path: Path) -> None:
    signals = Signals.from_config(config(datadir))
    assert (signals.exchange, signals.finest, signals.extras) == ("binance", "5m", datadir / "liqsignals")
    signals = Signals.from_config(config(datadir, liqsignals={"extras": str(tmp_path), "finest": "1m"}))
    assert (signals.finest, signals.extras) == ("1m", tmp_path)
    assert Signals.from_config(config(datadir, exchange={"name": "binanceusdm"})).exchange == "binance"
    assert Signals.from_config(config(datadir, exchange={})).exchange == "binance"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"trading_mode": "spot"}, 'needs "trading_mode": "futures"; a spot market has no liquidations'),
        ({"trading_mode": "margin"}, 'needs "trading_mode": "futures"'),
        (
            {"liqsignals": {"extra": "x", "warm": 1}},
            'unknown key extra, warm in the block "liqsignals"; known are: allow_unproven, calibration, extras, fin',
        ),
        ({"liqsignals": {"finest": "3m"}}, '"finest": "3m".* must be "5m" or "1m"'),
        (
            {"exchange": {"name": "okx"}},
            "does not know the open-interest units of the exchange 'okx'; it knows: binance",
        ),
    ],
)
def test_a_configuration_that_cannot_work(datadir: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Signals.from_config(config(datadir, **more))


def test_spot_is_the_default_of_freqtrade(datadir: Path) -> None:
    wrong = config(datadir)
    del wrong["trading_mode"]
    with pytest.raises(InputError, match='needs "trading_mode": "futures"; a spot market'):
        Signals.from_config(wrong)


def flow_file(datadir: Path) -> Path:
    return next((datadir / "liqsignals" / "flows").glob("*.csv"))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "FlowInExNtv",
            -1.0,
            r"row 4 \(20.*\) is not a whole day with flows >= 0 and supply > 0, and at least .* Way out",
        ),
        ("FlowInExNtv", 1e12, "row 4 .* at least what flowed in and not out"),
        ("asset", "eth", "holds no rows of BTC, but of ETH"),
        ("FlowOutExNtv", -1.0, "row 4 .* is not a whole day with flows >= 0"),
        ("SplyExNtv", 0.0, "row 4 .* is not a whole day with flows >= 0 and supply > 0"),
        ("FlowInExNtv", np.inf, "row 4 .* is not a whole day with flows >= 0"),
        ("SplyExNtv", np.inf, "row 4 .* is not a whole day with flows >= 0 and supply > 0"),
        ("time", "2025-12-01T05:00:00Z", r"row 10 \(2025-12-01T05:00:00Z\) is not a whole day"),
        ("time", "sometime", "column 'time' holds a value that is not a day"),
        ("FlowInExNtv", "many", "a flow is not a number .*Way out: download the file again"),
    ],
)
def test_bad_rows_of_flows_are_refused(datadir: Path, market: Market, column: str, value: Any, message: str) -> None:
    path = flow_file(datadir)
    frame = pd.read_csv(path).astype(object)
    frame.loc[4 if column != "asset" else slice(None), column] = value
    frame.to_csv(path, index=False)
    with pytest.raises(InputError, match=message) as caught:
        attach(datadir, market)
    assert str(path) in str(caught.value)


def test_of_flows_of_several_coins_the_own_count(datadir: Path, market: Market) -> None:
    own = attach(datadir, market)
    frame = pd.read_csv(flow_file(datadir))
    other = frame.assign(asset="eth", FlowInExNtv=frame["FlowInExNtv"] * 2)
    pd.concat([other, frame.assign(asset="btc")]).to_csv(flow_file(datadir), index=False)
    assert_same_bits(attach(datadir, market), own)


def test_a_settlement_that_stands_twice_counts_once(datadir: Path, market: Market) -> None:
    """As two versions of freqtrade stamp it; another rate there is a contradiction."""
    own = attach(datadir, market)
    path = next((datadir / "futures").glob("*funding_rate.feather"))
    once = pd.read_feather(path)
    late = once.assign(date=once["date"] + pd.Timedelta("7ms"))
    both = pd.concat([once, late]).sort_values("date", ignore_index=True)
    both.to_feather(path)
    assert_same_bits(attach(datadir, market), own)
    late.loc[20, "funding_rate"] += 1e-3
    pd.concat([once, late.iloc[[20]]]).sort_values("date", ignore_index=True).to_feather(path)
    with pytest.raises(InputError, match=r"row 21 .* gives the settlement of .* another rate"):
        attach(datadir, market)


@pytest.mark.parametrize("hours", [-1, 1, 3])
def test_settlements_in_another_time_zone_are_refused(datadir: Path, market: Market, hours: int) -> None:
    path = next((datadir / "futures").glob("*funding_rate.feather"))
    rows = pd.read_feather(path)
    rows.assign(date=rows["date"] + pd.Timedelta(hours=hours)).to_feather(path)
    with pytest.raises(InputError, match="the dates are in another time zone"):
        attach(datadir, market)


def test_flows_without_a_column_or_a_number(datadir: Path, market: Market) -> None:
    path = flow_file(datadir)
    frame = pd.read_csv(path)
    gone = frame.drop(index=frame.index[10])
    gone.to_csv(path, index=False)
    hole = attach(datadir, market)
    frame.loc[10, "SplyExNtv"] = np.nan
    frame.to_csv(path, index=False)
    assert_same_bits(attach(datadir, market), hole)
    frame.drop(columns="SplyExNtv").to_csv(path, index=False)
    with pytest.raises(InputError, match=r"has no column SplyExNtv\. Way out: use Coin Metrics' columns") as caught:
        attach(datadir, market)
    assert str(path) in str(caught.value)


def test_contradicting_days_of_flows_are_refused(datadir: Path, market: Market) -> None:
    path = flow_file(datadir)
    frame = pd.read_csv(path)
    pd.concat([frame, frame.iloc[[3]].assign(FlowInExNtv=1.0)]).to_csv(path, index=False)
    with pytest.raises(InputError, match="row 4 contradicts an earlier row of the same date"):
        attach(datadir, market)


def test_an_empty_flows_file(datadir: Path, market: Market) -> None:
    path = flow_file(datadir)
    path.write_text("")
    with pytest.raises(InputError, match="cannot be read: it is damaged or incomplete") as caught:
        attach(datadir, market)
    assert str(path) in str(caught.value)


def test_several_flow_files_of_one_coin_are_refused(datadir: Path, market: Market) -> None:
    path = flow_file(datadir)
    (path.parent / "btc-2026.csv").write_bytes(path.read_bytes())
    with pytest.raises(
        InputError, match=r"holds several files for BTC: btc-2026\.csv, coinmetrics-btc.*Way out: keep one"
    ):
        attach(datadir, market)


def test_another_coins_flows_are_not_read(datadir: Path, market: Market) -> None:
    path = flow_file(datadir)
    path.rename(path.with_name("coinmetrics-wbtc-exchange-flows-1d.csv"))
    assert attach(datadir, market)["flow_fresh"].isna().all()


def test_frames_of_the_strategy_are_checked(datadir: Path, market: Market) -> None:
    signals = Signals(datadir)
    naive = market.candles.assign(date=market.candles["date"].dt.tz_localize(None))
    with pytest.raises(InputError, match="BTC/USDT:USDT 5m dataframe: column 'date' is naive"):
        signals.attach(naive, PAIR, "5m")
    for part in (market.candles[::-1], pd.concat([market.candles[:5], market.candles[4:]])):
        with pytest.raises(InputError, match="dates are not in ascending order, each once"):
            signals.attach(part, PAIR, "5m")
    with pytest.raises(InputError, match="'5x' is not a duration"):
        signals.attach(market.candles, PAIR, "5x")


def test_bad_live_rows_leave_the_last_good_data(
    datadir: Path, market: Market, caplog: pytest.LogCaptureFixture
) -> None:
    whole = attach(datadir, market)
    bad = market.interest.assign(open_interest_amount=-1.0)
    with caplog.at_level(logging.ERROR, "liqsignals"):
        out = Signals(datadir).attach(market.candles, PAIR, "5m", dp=FakeProvider({("5m", "open_interest"): bad}))
    assert_same_bits(out, whole)
    assert "has open interest -1" in caplog.text


def test_coarse_candles_fold_where_there_are_no_finer_ones(tmp_path: Path, market: Market) -> None:
    datadir = write_datadir(tmp_path, replace(market, candles=market.candles[:0]))
    (datadir / "futures" / f"BTC_USDT_USDT-{CANDLES}.feather").unlink()
    coarse = resampled(market.candles, "1h")
    write(datadir, "1h-futures", coarse)
    out = Signals(datadir).attach(coarse, PAIR, "1h")
    assert out["liq_fresh"].iloc[1:].eq(1).all()
    assert np.isfinite(out["liq_imbalance"].iloc[1:]).all()


def test_empty_files(datadir: Path, market: Market) -> None:
    for what in (CANDLES, INTEREST, FUNDING):
        change(datadir, what, lambda f: f[:0])
    out = attach(datadir, market)
    assert out["liq_fresh"].eq(0).all()
    assert out["fund_fresh"].eq(0).all()
    assert out["liq_imbalance"].isna().all()


def test_a_file_that_holds_nothing_readable_is_named_as_that(tmp_path: Path, market: Market) -> None:
    datadir = write_datadir(tmp_path, market)
    path = change(datadir, CANDLES, lambda f: f[:0])
    with pytest.raises(InputError, match=r"of this pair there: 5m \(no rows\)"):
        raise freqtrade.absent("5m candles", datadir, PAIR, None)
    path.rename(path.with_suffix(".h5"))
    with pytest.raises(InputError, match=r"there: none; not read: BTC_USDT_USDT-5m-futures\.h5, only \.feather, "):
        raise freqtrade.absent("5m candles", datadir, PAIR, None)
    change(datadir, INTEREST, lambda f: f.assign(open_interest_amount=np.nan))
    report = examine.examine(datadir, now=int(market.candles["date"].iloc[-1].value))
    assert any(
        "holds 432 rows, none of them with a number above 0 in open_interest_amount" in p for p in report["problems"]
    )


def test_dates_in_epoch_ms_are_refused_with_their_conversion(datadir: Path, market: Market) -> None:
    change(datadir, CANDLES, lambda f: f.assign(date=f["date"].astype("int64")))
    with pytest.raises(InputError, match=r"of type int64.*unit='ms', utc=True"):
        attach(datadir, market)


def test_text_among_the_numbers_is_named(datadir: Path, market: Market) -> None:
    for what, column in (("5m-futures", "volume"), (INTEREST, "open_interest_amount")):
        whole = pd.read_feather(datadir / "futures" / f"BTC_USDT_USDT-{what}.feather")
        broken = whole.assign(**{column: whole[column].astype(str)})
        broken.loc[7, column] = "n/a"
        path = write(datadir, what, broken)
        with pytest.raises(InputError, match=rf"row 7, column '{column}': 'n/a' is no number") as caught:
            read_tape(datadir, PAIR)
        assert str(path) in str(caught.value)
        write(datadir, what, whole)


def test_a_data_directory_of_another_exchange(tmp_path: Path, market: Market) -> None:
    """Open interest is counted differently: neither of the two may win in silence."""
    datadir = write_datadir(tmp_path, market, name="bybit")
    with pytest.raises(InputError, match=r"the exchange is 'binance', but the data directory .* belongs to 'bybit'"):
        Signals.from_config(config(datadir))
    assert Signals.from_config(config(datadir, exchange={"name": "bybit"})).exchange == "bybit"


FAR = [
    ("feather", lambda f: f.assign(date=f["date"].astype("datetime64[us, UTC]").where(f.index != 9, pd.Timestamp("2300-01-01", tz="UTC"))), "row 9 has the date 2300-01-01"),
    ("json", lambda rows: [[row[0] * 1000, *row[1:]] for row in rows], "row 0 has the date [0-9]{16}, which is no epoch in ms"),
    ("json", lambda rows: [*rows[:-1], [rows[-1][0], 10**400, 1, 1, 1, 1]], "column 'open' has a number beyond any price"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "how", "message"), FAR)
def test_times_and_numbers_beyond_what_a_market_has_are_named(
    kind: str, how: Any, message: str, datadir: Path, market: Market
) -> None:
    path = datadir / "futures" / "BTC_USDT_USDT-5m-futures.feather"
    if kind == "feather":
        how(pd.read_feather(path)).to_feather(path)
    else:
        frame = pd.read_feather(path)
        names = ["open", "high", "low", "close", "volume"]
        rows = [
            [int(at), *row]
            for at, row in zip(ns(frame["date"]) // 10**6, frame[names].to_numpy().tolist(), strict=True)
        ]
        path.unlink()
        path = path.with_suffix(".json")
        path.write_text(json.dumps(how(rows)))
    with pytest.raises(InputError, match=message) as caught:
        attach(datadir, market)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["2500-01-01T00:00:00Z", "1500-01-01T00:00:00Z"])
def test_a_time_that_no_clock_has_is_none(text: str) -> None:
    with pytest.raises(InputError, match="is not a time"):
        parse_time(text)


def test_a_link_stays_one_and_another_disk_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, link = tmp_path / "other" / "a.txt", tmp_path / "a.txt"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    with files.replaced(link) as staged:
        staged.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    move = Path.replace

    def across(self: Path, to: Path) -> Path:
        if self.parent != Path(to).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return move(self, to)

    monkeypatch.setattr(Path, "replace", across)
    with files.replaced(link) as staged:
        staged.write_text("newer")
    assert target.read_text() == "newer"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.txt", "a.txt"]


@pytest.mark.parametrize("name", ["binance", "binanceusdm", "binance-2024"])
def test_a_linked_data_directory_is_known_by_its_own_name(name: str, datadir: Path, market: Market) -> None:
    real = datadir.rename(datadir.parent / "market-data")
    (datadir.parent / name).symlink_to(real)
    assert Signals(datadir.parent / name).exchange == "binance"

"""The `liqsignals` command: what it writes, what it says, and that bad input ends with 2 and one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, Market, assert_same_bits, make_market, write_datadir

from liqsignals import Signals, cli, files
from liqsignals.clock import DAY, MINUTE, to_dates
from liqsignals.features import NAMES
from liqsignals.liqmap import calibration


@pytest.fixture(scope="module")
def market() -> Market:
    return make_market(4.0, seed=11)


@pytest.fixture(scope="module")
def datadir(tmp_path_factory: pytest.TempPathFactory, market: Market) -> Path:
    return write_datadir(tmp_path_factory.mktemp("cli"), market)


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, " ".join(err.split())


@pytest.fixture
def liqsignals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command in this process, as the installed script does."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["liqsignals", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".csv"])
def test_features_are_the_strategys_columns(
    liqsignals, datadir: Path, market: Market, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"f{suffix}"
    said = liqsignals("features", "--datadir", datadir, "--pair", PAIR, "--timeframe", "5m", "--out", out)
    assert (said.code, said.err) == (0, "")
    read = {".parquet": pd.read_parquet, ".feather": pd.read_feather, ".csv": pd.read_csv}[suffix]
    table = read(out)
    assert list(table.columns) == ["date", *NAMES]
    table["date"] = pd.to_datetime(table["date"], utc=True)
    assert (table["date"] == market.candles["date"]).all()
    if suffix != ".csv":
        assert_same_bits(table, Signals(datadir, calibrated=calibration.default()).attach(market.candles, PAIR, "5m"))
    assert list(tmp_path.iterdir()) == [out], "no temporary file stays"


def test_a_timerange_cuts_rows_and_changes_no_bit(liqsignals, datadir: Path, market: Market, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.parquet", tmp_path / "part.parquet"
    liqsignals("features", "-d", datadir, "-p", PAIR, "--out", whole)
    assert (
        liqsignals("features", "-d", datadir, "-p", PAIR, "--out", part, "--timerange", "20260107-20260108").code == 0
    )
    day = pd.read_parquet(part)
    assert len(day) == 288
    assert day["date"].iloc[0] == pd.Timestamp("2026-01-07", tz="UTC")
    rows = pd.read_parquet(whole)
    assert_same_bits(day, rows[rows["date"].isin(day["date"])])


def test_map_shows_one_instant(liqsignals, datadir: Path, market: Market) -> None:
    said = liqsignals("map", "--datadir", datadir, "--pair", PAIR, "--at", "2026-01-07T12:03:00+00:00", "--json")
    head = json.loads(said.out)
    assert head["at"] == "2026-01-07T12:00:00Z", "the last candle closed at or before"
    columns = Signals(datadir, calibrated=calibration.default()).attach(market.candles, PAIR, "5m")
    row = columns[columns["date"] == pd.Timestamp("2026-01-07T11:55:00Z")].iloc[0]
    assert head["price"] == row["close"]
    assert all(head[n] == row[n] or (head[n] is None and np.isnan(row[n])) for n in NAMES)
    for where in ("above", "below"):
        found = head["clusters"][where]
        assert found == sorted(found, key=lambda c: c["distance"])
        if found:
            assert found[0]["price"] == head[f"liq_{where}_price"]
    said = liqsignals("map", "--datadir", datadir, "--pair", PAIR)
    assert (said.code, "shorts, above" in said.out, "funding" in said.out) == (0, True, True)


def test_levels_over_time(liqsignals, datadir: Path, market: Market, tmp_path: Path) -> None:
    out = tmp_path / "levels.parquet"
    assert liqsignals("map", "-d", datadir, "-p", PAIR, "--every", "6h", "--out", out).code == 0
    levels = pd.read_parquet(out)
    assert list(levels.columns) == ["date", "price", "long_base", "short_base"]
    assert str(levels["date"].dtype) == "datetime64[ms, UTC]"
    assert (levels["date"].dt.hour % 6 == 0).all()
    assert ((levels[["long_base", "short_base"]] >= 0).all(axis=None), (levels["price"] > 0).all()) == (True, True)
    close = market.candles.set_index(market.candles["date"] + pd.Timedelta("5min"))["close"]
    at = levels["date"].map(close)
    assert (levels.loc[levels["long_base"] > 0, "price"] < at[levels["long_base"] > 0]).all()
    assert (levels.loc[levels["short_base"] > 0, "price"] > at[levels["short_base"] > 0]).all()
    # The same mass as the columns that a strategy sees.
    columns = Signals(datadir, calibrated=calibration.default()).attach(market.candles, PAIR, "5m")
    when = pd.Timestamp("2026-01-08T00:00:00Z")
    row = columns[columns["date"] == when - pd.Timedelta("5min")].iloc[0]
    near = levels[(levels["date"] == when) & (levels["price"] <= row["close"] * 1.02)]
    # Sums over the grid: another order.
    assert np.isclose((near["short_base"] * near["price"]).sum(), row["liq_short_usd_2pct"], rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["map", "-p", PAIR, "--at", "2026-01-07T12:00:00"], "has no time zone; write it as 2026-01-07T12:00:00Z"),
        (["map", "-p", PAIR, "--at", "yesterday-ish"], "is not a time; write it as"),
        (["map", "-p", PAIR, "--at", "2020-01-01T00:00:00Z"], "the first one closed at 2026-01-05T00:05:00Z"),
        (["map", "-p", PAIR, "--every", "6h"], "--every together with --out"),
        (["map", "-p", PAIR, "--every", "6 hours", "--out", "x.parquet"], "is not a duration"),
        (
            ["map", "-p", PAIR, "--every", "7m", "--out", "x.parquet"],
            "must be a multiple of the candles that the map folds (5m)",
        ),
        (["map", "-p", PAIR, "--every", "6h", "--out", "x.csv"], "unknown ending; use one of .parquet"),
        (["map", "-p", "DOGE/USDT:USDT"], "no candles of DOGE/USDT:USDT in"),
        (["map", "-p", "BTC_USDT_USDT"], "did you mean BTC/USDT:USDT?"),
        (["map", "-p", "BTC/USDT"], "did you mean BTC/USDT:USDT?"),
        (["map", "-p", PAIR, "--timerange", "20260101-"], "--timerange goes with --every"),
        (["map", "-p", PAIR, "--extras", "nowhere"], "there is no extras folder nowhere"),
        (["features", "-p", "DOGE/USDT:USDT", "--out", "x.csv"], "pairs there: BTC/USDT:USDT"),
        (["features", "-p", PAIR, "--out", "x.txt"], "unknown ending"),
        (["features", "-p", PAIR, "--out", "no/such/folder/x.csv"], "there is no folder"),
        (["features", "-p", PAIR, "--out", "x.csv", "--timerange", "2026"], "is not a timerange"),
        (["features", "-p", PAIR, "--out", "x.csv", "--timerange", "20200101-20200201"], "no candle of"),
        (["features", "-p", PAIR, "--out", "x.csv", "-t", "7x"], "is not a duration"),
        (["features", "-p", PAIR, "--out", "x.csv", "--exchange", "kraken"], "does not know the open-interest units"),
        *(
            ([*words, "--config", "no.json"], "there is no configuration no.json")
            for words in (
                ["download", "-p", PAIR, "--days", "1"], ["start", "--strategy", "S"], ["watch"],
                ["backtest"], ["paper", "--from", "2026-01-07T00:00:00Z"], ["parity", "--timerange", "20260107-20260108"],
                ["live-rehearsal", "--from", "2026-01-07T00:00:00Z"], ["walkforward", "--timerange", "20260107-20260108"],
            )
        ),
    ],
)  # fmt: skip
def test_bad_input_ends_with_2_and_one_line(
    liqsignals, datadir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = liqsignals(arguments[0], "-d", datadir, *arguments[1:])
    assert (said.code, message in said.err) == (2, True), said.err
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == [], "nothing half-written"


def test_a_pair_without_open_interest(
    liqsignals, market: Market, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    datadir = write_datadir(tmp_path, market, interest=False)
    said = liqsignals("map", "-d", datadir, "-p", PAIR)
    assert (said.code, "--candle-types futures mark funding_rate open_interest -t 5m --days 29" in said.err) == (
        2,
        True,
    )
    said = liqsignals("features", "-d", datadir, "-p", PAIR, "-o", tmp_path / "f.parquet")
    assert (said.code, "no open-interest file" in caplog.text) == (0, True)
    table = pd.read_parquet(tmp_path / "f.parquet")
    assert table["liq_fresh"].isna().all()
    assert table["fund_fresh"].notna().all()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere: see the next test")
def test_an_unwritable_folder(liqsignals, datadir: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    said = liqsignals("features", "-d", datadir, "-p", PAIR, "-o", tmp_path / "f.csv")
    assert (said.code, "choose a folder that you may write to" in said.err) == (2, True)


def test_an_unwritable_folder_as_root(
    liqsignals, datadir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.os, "access", lambda path, mode: mode != os.W_OK)
    said = liqsignals("features", "-d", datadir, "-p", PAIR, "-o", tmp_path / "f.csv")
    assert (said.code, "choose a folder that you may write to" in said.err) == (2, True), said.err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(
    liqsignals, datadir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "f.csv"
    out.write_text("old")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    said = liqsignals("features", "-d", datadir, "-p", PAIR, "-o", out)
    assert (said.code, "No space left on device" in said.err) == (2, True)
    assert (out.read_text(), list(tmp_path.iterdir())) == ("old", [out])


@pytest.mark.slow
def test_help_and_version_from_the_shell() -> None:
    script = Path(sys.executable).with_name("liqsignals")
    said = subprocess.run([str(script), "--help"], capture_output=True, text=True, check=True).stdout
    assert all(command in said for command in ("features", "map", "simulate", "backtest", "demo"))
    done = subprocess.run(
        [str(script), "map", "-d", "/nowhere", "-p", PAIR], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "it does not exist" in " ".join(done.stderr.split())) == (2, True)


def test_dates_are_freqtrades(market: Market) -> None:
    assert to_dates(np.array([0])).dtype == market.candles["date"].dtype


def test_levels_are_left_out_where_open_interest_is_stale(liqsignals, market: Market, tmp_path: Path) -> None:
    half = market.upto(market.candles["date"].iloc[600])
    datadir = write_datadir(tmp_path, Market(market.candles, half.interest, market.funding, market.flows))
    out = tmp_path / "levels.parquet"
    said = liqsignals("map", "-d", datadir, "-p", PAIR, "--every", "1h", "--out", out)
    assert "at which open interest was stale" in said.out
    last = half.interest["date"].iloc[-1] + pd.Timedelta("3h")
    assert pd.read_parquet(out)["date"].max() <= last


def test_prices_of_cheap_coins_are_shown(liqsignals, tmp_path: Path) -> None:
    cheap = make_market(2.0, seed=3, price=0.0123)
    said = liqsignals("map", "-d", write_datadir(tmp_path, cheap), "-p", PAIR)
    assert "price 0.01" in said.out
    assert "0.00 .. 0.00" not in said.out


def test_the_map_of_data_from_the_future_says_so(
    liqsignals, tmp_path: Path, caplog: pytest.LogCaptureFixture, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = int(market.candles["date"].iloc[-1].value) + 5 * MINUTE
    datadir = write_datadir(tmp_path, market)
    monkeypatch.setattr("time.time_ns", lambda: end)
    liqsignals("map", "-d", datadir, "-p", PAIR)
    assert "after now" not in caplog.text
    monkeypatch.setattr("time.time_ns", lambda: end - 3 * DAY)
    liqsignals("map", "-d", datadir, "-p", PAIR)
    assert "3.0 days after now. Way out: set this machine's clock" in caplog.text


def test_the_map_of_a_later_time_says_so(liqsignals, datadir: Path, caplog: pytest.LogCaptureFixture) -> None:
    liqsignals("map", "-d", datadir, "-p", PAIR, "--at", "2027-01-01T00:00:00Z")
    assert (
        "the data end at 2026-01-09T00:00:00Z, 357.0 days before 2027-01-01T00:00:00Z; this is the map at that time"
        in caplog.text
    )

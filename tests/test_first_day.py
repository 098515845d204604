"""What a running bot says and does about data that are missing, and the columns that others can take whole."""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, START, STEM, FakeProvider, Market, make_market, ns, write, write_datadir

from liqsignals import features, records
from liqsignals.cli import main
from liqsignals.clock import HOUR, MINUTE
from liqsignals.data import store
from liqsignals.data.tape import map_tape
from liqsignals.errors import InputError
from liqsignals.evaluation import liquidations
from liqsignals.liqmap import calibration
from liqsignals.report.fitted import age_line
from liqsignals.strategy.signals import Signals

MADE = make_market(3, 5)
FLAGS = [column.name for column in features.COLUMNS if column.name.endswith("_fresh")]


def frames(market: Market, rows: int) -> dict[tuple[str, str], pd.DataFrame]:
    seen = market.upto(market.candles["date"].iloc[rows])
    return {
        ("5m", "futures"): seen.candles[-200:],
        ("5m", "open_interest"): seen.interest[-200:],
        ("1h", "funding_rate"): seen.funding[-30:],
    }


def test_a_pair_is_picked_up_when_its_files_arrive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    datadir = write_datadir(tmp_path, MADE, flows=False, name="binance")
    for path in (datadir / "futures").iterdir():
        path.rename(tmp_path / path.name)
    bot = Signals(datadir)
    bot.informative_pairs([PAIR])
    with caplog.at_level(logging.INFO, "liqsignals"):
        for row in (600, 601):
            out = bot.attach(MADE.candles[:row], PAIR, "5m", dp=FakeProvider(frames(MADE, row)))
            assert out["liq_fresh"].isna().all()
        for path in tmp_path.glob("*.feather"):
            path.rename(datadir / "futures" / path.name)
        out = bot.attach(MADE.candles[:602], PAIR, "5m", dp=FakeProvider(frames(MADE, 602)))
    assert out["liq_fresh"].iloc[-1] == 1.0
    whole = Signals(datadir).attach(MADE.candles[:602], PAIR, "5m")
    pd.testing.assert_series_equal(out["liq_imbalance"], whole["liq_imbalance"], check_exact=True)
    told = [r.getMessage() for r in caplog.records]
    assert sum("no data in" in m for m in told) == 1
    assert sum("have arrived" in m for m in told) == 1


@pytest.mark.parametrize("late", ["5m-open_interest", "1h-funding_rate"])
def test_a_family_is_picked_up_when_its_file_arrives(tmp_path: Path, late: str) -> None:
    datadir = write_datadir(tmp_path, MADE, flows=False)
    path = datadir / "futures" / f"{STEM}-{late}.feather"
    path.rename(tmp_path / "later")
    flag = "liq_fresh" if "interest" in late else "fund_fresh"
    bot = Signals(datadir)
    bot.informative_pairs([PAIR])
    bot.attach(MADE.candles[:600], PAIR, "5m", dp=FakeProvider({}))
    (tmp_path / "later").rename(path)
    out = bot.attach(MADE.candles[:602], PAIR, "5m", dp=FakeProvider(frames(MADE, 602)))
    assert out[flag].iloc[-1] == 1.0


def test_a_strategy_that_forgets_informative_pairs_is_named_once_and_blocked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    datadir = write_datadir(tmp_path, MADE)
    config = {"datadir": datadir, "trading_mode": "futures", "strategy": "Forgetful", "liqsignals": {}}
    candles_only = FakeProvider({("5m", "futures"): MADE.candles[:600]})
    bot = Signals.from_config(config)
    with caplog.at_level(logging.WARNING, "liqsignals"):
        for row in (600, 601):
            out = bot.attach(MADE.candles[:row], PAIR, "5m", dp=candles_only)
            assert (out[FLAGS] == 0.0).all().all()
            assert out["liq_imbalance"].isna().all()
    told = [r.getMessage() for r in caplog.records if "informative_pairs" in r.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("strategy Forgetful: ")
    # Asked for by hand, in part: what arrives is used, what does not goes stale by itself.
    by_hand = {name: frame for name, frame in frames(MADE, 600).items() if name[1] != "funding_rate"}
    out = Signals.from_config(config).attach(MADE.candles[:600], PAIR, "5m", dp=FakeProvider(by_hand))
    assert out["liq_fresh"].iloc[-1] == 1.0
    # A backtest has no live rows, and needs none.
    assert Signals.from_config(config).attach(MADE.candles[:600], PAIR, "5m")["liq_fresh"].iloc[-1] == 1.0


def test_what_is_missing_is_one_line_that_calls_only_real_filters_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    datadir = write_datadir(tmp_path, MADE, interest=False, funding=False, flows=False)
    with caplog.at_level(logging.INFO, "liqsignals"):
        Signals(datadir).attach(MADE.candles, PAIR, "5m")
    (told,) = [r.getMessage() for r in caplog.records if r.getMessage().startswith(f"{PAIR}: no ")]
    interest, funding, flows = told.split("; no ")
    assert "liq_* columns are NaN, and what asks for the map does not enter" in interest
    assert "filter" not in interest
    assert "fund_* columns are NaN, their filter is off" in funding
    assert "flow_* columns are NaN, their filter is off" in flows
    assert "freqtrade download-data" in flows


def test_complete_columns_have_no_nan(tmp_path: Path) -> None:
    market = make_market(17, 8, funding_days=30)
    datadir = write_datadir(tmp_path, market, flows=False)
    signals = Signals(datadir)
    every = signals.columns()
    assert [name for own in every.values() for name in own] == list(features.NAMES)
    found = signals.columns([PAIR], complete=True)
    out = signals.attach(market.candles, PAIR, "5m")
    used = out[np.flatnonzero(out["liq_warm"] == 1)[0] :]
    assert used["liq_fresh"].eq(1).all()
    assert used["fund_fresh"].eq(1).all()
    names = {name for own in found.values() for name in own}
    assert names == {name for name in features.NAMES if np.isfinite(used[name]).all()}
    assert {"liq_imbalance", "liq_fresh", "fund_rate_8h"} <= names
    assert found["flows"] == ()


def test_complete_columns_need_pairs_and_two_weeks(tmp_path: Path) -> None:
    signals = Signals(write_datadir(tmp_path, MADE))
    with pytest.raises(InputError, match="name the pairs"):
        signals.columns(complete=True)
    with pytest.raises(InputError, match=r"no candle of 5m at which the map is warm.*14 days"):
        signals.columns([PAIR], complete=True)
    with pytest.raises(InputError, match="no 5m candles of ETH/USDT:USDT"):
        signals.columns(["ETH/USDT:USDT"], complete=True)


def test_a_stale_row_costs_no_column(tmp_path: Path) -> None:
    """A hole in open interest makes liq_* NaN for hours; liq_fresh is 0 there, and nothing enters."""
    market = make_market(17, 8, funding_days=30)
    datadir = write_datadir(tmp_path, market, flows=False)
    before = Signals(datadir).columns([PAIR], complete=True)["liquidation_map"]
    gone = market.interest.drop(index=range(4400, 4500)).reset_index(drop=True)
    write(datadir, "5m-open_interest", gone)
    out = Signals(datadir).attach(market.candles, PAIR, "5m")
    assert out["liq_imbalance"][4430:4490].isna().any()
    after = Signals(datadir).columns([PAIR], complete=True)["liquidation_map"]
    assert set(before) - set(after) <= {"liq_oi_change_1h"}
    assert "liq_imbalance" in after


def test_recorded_series_are_named_by_their_period_and_read_by_it(tmp_path: Path) -> None:
    """A provider may declare funding as a series of eight hours: it is stored as that, and found."""
    market = make_market(3, 5)
    datadir = write_datadir(tmp_path, market, funding=False)
    at = ns(market.funding["date"])
    rows = records.records(
        records.FUNDING, at, at, rate=market.funding["funding_rate"].to_numpy(), interval_h=np.full(len(at), 8.0)
    )
    extras = datadir / "liqsignals"
    assert [store.period_name(step) for step in (0, 8 * HOUR, 24 * HOUR)] == ["events", "8h", "1d"]
    store.append(store.series_dir(extras, "funding", "binance", PAIR, "8h"), rows)
    assert store.periods(extras, "funding", "binance", PAIR) == ["8h"]
    tape = map_tape(datadir, PAIR, None, None, "5m")
    assert np.array_equal(tape.funding["binance"]["event_time"], at)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["features", "-p", PAIR, "-o", "x.csv", "-t", "7m"], "no exchange has candles of 7m; .* did you mean 5m\\?"),
        (["features", "-p", PAIR.lower(), "-o", "x.csv"], f"did you mean {PAIR}\\?"),
        (["map", "-p", PAIR, "--every", "6h"], "--every needs --out FILE.parquet"),
        (["map", "-p", PAIR, "-o", "x.parquet"], "--out needs --every"),
    ],
)
def test_a_slip_of_the_pen_is_answered_with_what_was_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    datadir = write_datadir(tmp_path, MADE)
    monkeypatch.setattr("sys.argv", ["liqsignals", *words, "-d", str(datadir)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert re.search(said, " ".join(capsys.readouterr().err.split()))


def test_a_calibrations_age_is_told_with_the_command_that_refits_it(tmp_path: Path) -> None:
    chosen = calibration.default()
    until = chosen.parameters(PAIR).known_at
    extras = tmp_path / "binance" / "liqsignals"
    told = age_line(chosen, PAIR, until + 90 * 24 * HOUR, extras, "binance")
    assert told is not None
    assert "90 days before this" in told
    assert f"liqsignals calibrate -d {tmp_path}/binance -p {PAIR} -l {extras}/liquidation/binance/{STEM}-events" in told
    assert "hindsight" in str(age_line(chosen, PAIR, until - HOUR, extras, "binance"))
    assert age_line(calibration.uncalibrated(), PAIR, until, extras, "binance") is None


def test_a_recorders_folder_is_a_table_of_liquidations(tmp_path: Path) -> None:
    """What the printed command names can be read."""
    at = START + np.arange(30) * 20 * MINUTE
    rows = records.records(
        records.LIQUIDATION,
        at,
        at,
        side=np.full(30, records.LONG),
        price=np.full(30, 100.0),
        base=np.full(30, 2.0),
        usd=np.full(30, 200.0),
    )
    folder = tmp_path / "events"
    folder.mkdir()
    with pytest.raises(InputError, match="no recorded prints"):
        liquidations.read(folder)
    store.append(folder, rows)
    found = liquidations.read(folder)
    assert found.usd.sum() > 0

"""What a running bot does about input that is not complete: it flags it, and mends it from disk without a restart."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import (
    FIVE,
    PAIR,
    STEM,
    FakeProvider,
    Market,
    assert_same_bits,
    make_market,
    ns,
    write,
    write_datadir,
)

from liqsignals import Signals, features, records
from liqsignals.clock import SECOND
from liqsignals.data import store

DAYS = 2.0
MADE = make_market(DAYS, 4)
#: The disk ends here; the bot sees the rest live.
SPLIT = 400


def frames(market: Market, upto: int, made_up: int | None = None) -> dict[tuple[str, str], pd.DataFrame]:
    """What freqtrade has at the close of candle `upto`; candle `made_up` is one that it filled in."""
    candles = market.candles.iloc[100 : upto + 1].reset_index(drop=True)
    if made_up is not None and made_up <= upto:
        row = made_up - 100
        candles.loc[row, ["open", "high", "low", "close"]] = candles["close"].iloc[row - 1]
        candles.loc[row, "volume"] = 0.0
    end = candles["date"].iloc[-1] + pd.Timedelta("5min")
    return {
        ("5m", "futures"): candles,
        ("5m", "open_interest"): market.interest[market.interest["date"] <= end].tail(500),
        ("1h", "funding_rate"): market.funding[market.funding["date"] <= end],
    }


def attach(signals: Signals, upto: int, made_up: int | None = None, market: Market = MADE) -> pd.DataFrame:
    told = frames(market, upto, made_up)
    return signals.attach(told["5m", "futures"], PAIR, "5m", dp=FakeProvider(told))


def started(tmp_path: Path) -> tuple[Signals, Path]:
    datadir = write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[SPLIT]))
    return Signals(datadir), datadir


def full(upto: int, tmp_path: Path) -> pd.DataFrame:
    """The columns of complete data at the rows that the bot has."""
    datadir = write_datadir(tmp_path / "full", MADE)
    return Signals(datadir).attach(frames(MADE, upto)["5m", "futures"], PAIR, "5m")


def but(hole: int, out: pd.DataFrame) -> np.ndarray:
    """All rows but the made-up one: distances are measured from the frame's closes, and its close stays made up."""
    return np.arange(len(out)) != hole - 100


def test_a_made_up_candle_is_flagged_until_the_disk_has_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    signals, datadir = started(tmp_path)
    assert attach(signals, 448)["liq_fresh"].iloc[-1] == 1
    hole = 450
    with caplog.at_level(logging.WARNING):
        for upto in range(hole, hole + 20):
            out = attach(signals, upto, hole)
            assert out["liq_fresh"].iloc[-1] == 0
            assert out["liq_fresh"].iloc[hole - 1 - 100] == 1  # what came before it is as good as ever
            assert np.isfinite(out["liq_imbalance"].iloc[-1])
    told = [r.getMessage() for r in caplog.records if "is missing or has no volume" in r.getMessage()]
    assert len(told) == 1
    assert "Way out: liqsignals download" in told[0]
    # A download mends it: no restart, and the bits of complete data from then on.
    write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[hole + 19]))
    out = attach(signals, hole + 20, hole)
    assert (out["liq_fresh"].iloc[-21:] == 1).all()
    assert_same_bits(out, full(hole + 20, tmp_path), but(hole, out))
    assert datadir.exists()


def test_a_candle_that_was_made_up_once_is_not_trusted_when_freqtrade_hears_of_it(tmp_path: Path) -> None:
    """It joins the two: the made-up one's price may be its high or low."""
    signals, _ = started(tmp_path)
    hole = 450
    assert attach(signals, hole + 2, hole)["liq_fresh"].iloc[-1] == 0
    assert attach(signals, hole + 3)["liq_fresh"].iloc[-1] == 0
    write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[hole + 3]))
    assert attach(signals, hole + 4)["liq_fresh"].iloc[-1] == 1


def test_a_missing_candle_is_flagged_until_the_disk_has_it(tmp_path: Path) -> None:
    """In the frame, and between the disk's end and the frame's begin."""
    signals, _ = started(tmp_path)
    gone = replace(MADE, candles=MADE.candles.drop(index=450))
    out = attach(signals, 470, market=gone)
    assert out["liq_fresh"].iloc[-1] == 0
    assert out["liq_fresh"].iloc[449 - 100] == 1
    write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[465]))
    out = attach(signals, 471)
    assert_same_bits(out, full(471, tmp_path))

    behind = Signals(write_datadir(tmp_path / "behind", MADE.upto(MADE.candles["date"].iloc[90])))
    assert attach(behind, 450)["liq_fresh"].eq(0).all()


def test_a_recorder_mends_it_too(tmp_path: Path) -> None:
    signals, datadir = started(tmp_path)
    hole = 450
    assert attach(signals, hole + 3, hole)["liq_fresh"].iloc[-1] == 0
    closed = ns(MADE.candles["date"]) + FIVE
    some = slice(SPLIT - 1, hole + 3)
    rows = records.records(
        records.BAR, closed[some], closed[some], **{n: MADE.candles[n].to_numpy()[some] for n in ("open", "high", "low", "close", "volume")}
    )  # fmt: skip
    store.append(store.series_dir(datadir / "liqsignals", "bar", "binance", PAIR, "5m"), rows)
    out = attach(signals, hole + 4, hole)
    assert out["liq_fresh"].iloc[-1] == 1
    assert_same_bits(out, full(hole + 4, tmp_path), but(hole, out))


def test_a_recorder_that_misses_it_too_mends_nothing(tmp_path: Path) -> None:
    signals, datadir = started(tmp_path)
    hole = 450
    assert attach(signals, hole + 3, hole)["liq_fresh"].iloc[-1] == 0
    closed = ns(MADE.candles["date"]) + FIVE
    some = np.setdiff1d(np.arange(SPLIT - 1, hole + 3), [hole])
    rows = records.records(
        records.BAR, closed[some], closed[some], **{n: MADE.candles[n].to_numpy()[some] for n in ("open", "high", "low", "close", "volume")}
    )  # fmt: skip
    store.append(store.series_dir(datadir / "liqsignals", "bar", "binance", PAIR, "5m"), rows)
    for upto in range(hole + 4, hole + 8):
        assert attach(signals, upto)["liq_fresh"].iloc[-1] == 0
    write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[hole + 6]))
    out = attach(signals, hole + 8)
    assert_same_bits(out, full(hole + 8, tmp_path))


def test_a_row_that_came_late_is_flagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Freqtrade may have taken an unfinished candle for it; its next look tells."""
    signals, _ = started(tmp_path)
    close = int(ns(MADE.candles["date"])[450]) + FIVE
    monkeypatch.setattr("liqsignals.strategy.signals.now_ns", lambda: close + 14 * SECOND)
    assert attach(signals, 450)["liq_fresh"].iloc[-1] == 1
    monkeypatch.setattr("liqsignals.strategy.signals.now_ns", lambda: close + 15 * SECOND)
    out = attach(signals, 450)
    assert out["liq_fresh"].iloc[-1] == 0
    assert (out["liq_fresh"].iloc[-20:-1] == 1).all()
    monkeypatch.setattr("liqsignals.strategy.signals.now_ns", lambda: close + FIVE)
    out = attach(signals, 451)
    assert_same_bits(out, full(451, tmp_path))


@pytest.mark.parametrize("rows", [1, 3, 30])
def test_open_interest_that_is_late_is_flagged_and_caught_up(tmp_path: Path, rows: int) -> None:
    signals, _ = started(tmp_path)
    attach(signals, 440)
    late = replace(MADE, interest=MADE.interest.drop(index=range(450, 450 + rows)))
    for upto in range(450, 450 + rows + 1):
        # Row i of open interest is the close of candle i, due two candles later.
        fresh = attach(signals, upto, market=late)["liq_fresh"].iloc[-1]
        assert fresh == (0 if 452 <= upto < 452 + rows else 1), upto
    out = attach(signals, 450 + rows + 2)
    assert_same_bits(out, full(450 + rows + 2, tmp_path))


def test_a_settlement_that_is_late_is_flagged(tmp_path: Path) -> None:
    signals, _ = started(tmp_path)
    settled = ns(MADE.funding["date"])
    due = int(settled[settled > ns(MADE.candles["date"])[SPLIT]][0])
    row = int(np.searchsorted(ns(MADE.candles["date"]) + FIVE, due + 60 * SECOND))
    assert row < len(MADE.candles) - 1
    late = replace(MADE, funding=MADE.funding[settled < due])
    assert attach(signals, row - 1, market=late)["fund_fresh"].iloc[-1] == 1
    assert attach(signals, row, market=late)["fund_fresh"].iloc[-1] == 0
    out = attach(signals, row)
    assert_same_bits(out, full(row, tmp_path))


def test_flows_of_a_later_download_are_read(tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, replace(MADE.upto(MADE.candles["date"].iloc[SPLIT]), flows=MADE.flows.iloc[:-5]))
    signals = Signals(datadir)
    assert attach(signals, 450)["flow_fresh"].iloc[-1] == 0
    MADE.flows.to_csv(datadir / "liqsignals" / "flows" / "coinmetrics-btc-exchange-flows-1d.csv", index=False)
    assert attach(signals, 451)["flow_fresh"].iloc[-1] == 1


def test_a_torn_download_changes_nothing(tmp_path: Path) -> None:
    signals, datadir = started(tmp_path)
    attach(signals, 450)
    path = datadir / "futures" / f"{STEM}-5m-futures.feather"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    out = attach(signals, 451)
    assert_same_bits(out, full(451, tmp_path), names=features.NAMES)
    write(datadir, "5m-futures", MADE.candles.iloc[:SPLIT])
    assert_same_bits(attach(signals, 452), full(452, tmp_path))

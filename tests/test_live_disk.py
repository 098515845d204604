"""What a running bot does about input that is not complete: it flags it, and mends it from disk without a restart."""

import errno
import logging
import os
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
    resampled,
    write,
    write_datadir,
)

from liqsignals import Signals, features, records
from liqsignals.clock import SECOND
from liqsignals.data import store
from liqsignals.errors import InputError
from liqsignals.liqmap import kernels
from liqsignals.strategy import place
from liqsignals.strategy.signals import doubted_by_clock

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


def started(tmp_path: Path, split: int = SPLIT) -> tuple[Signals, Path]:
    datadir = write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[split]))
    return Signals(datadir), datadir


def full(upto: int, tmp_path: Path) -> pd.DataFrame:
    """The columns of complete data at the rows that the bot has."""
    datadir = write_datadir(tmp_path / "full", MADE)
    return Signals(datadir).attach(frames(MADE, upto)["5m", "futures"], PAIR, "5m")


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
    told = [r.getMessage() for r in caplog.records if "is missing, has no volume or a single price" in r.getMessage()]
    assert len(told) == 1
    assert "Way out: liqsignals download" in told[0]
    # A download mends it: no restart, and the bits of complete data from then on.
    write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[hole + 19]))
    out = attach(signals, hole + 20, hole)
    assert (out["liq_fresh"].iloc[-21:] == 1).all()
    assert_same_bits(out, full(hole + 20, tmp_path))
    assert datadir.exists()


def test_a_candle_that_was_made_up_once_is_not_trusted_when_freqtrade_hears_of_it(tmp_path: Path) -> None:
    """It joins the two: the made-up one's price may be its high or low."""
    signals, _ = started(tmp_path)
    hole = 450
    assert attach(signals, hole + 2, hole)["liq_fresh"].iloc[-1] == 0
    assert attach(signals, hole + 3)["liq_fresh"].iloc[-1] == 0
    write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[hole + 3]))
    assert attach(signals, hole + 4)["liq_fresh"].iloc[-1] == 1


def told_otherwise(row: int, opened: float = 1.0) -> Market:
    """The market with a candle as it was some minutes before its end, or another (`opened`: times its open)."""
    candles = MADE.candles.copy()
    candles.loc[row, "open"] *= opened
    candles.loc[row, ["high", "low"]] *= [max(opened, 1.0), min(opened, 1.0)]
    candles.loc[row, "close"] = candles.loc[row, "open"]
    candles.loc[row, "volume"] *= 0.5
    return replace(MADE, candles=candles)


def test_a_candle_that_comes_otherwise_is_doubted_until_it_comes_as_before(tmp_path: Path) -> None:
    """As freqtrade shows it where an exchange's answer is half an hour old and ends with a row of the future."""
    signals, _ = started(tmp_path)
    assert attach(signals, 448)["liq_fresh"].iloc[-1] == 1
    out = attach(signals, 449, market=told_otherwise(440))
    fresh = out["liq_fresh"].to_numpy()
    assert fresh[440 - 1 - 100] == 1
    assert (fresh[440 - 100 :] == 0).all()
    assert attach(signals, 450, market=told_otherwise(440))["liq_fresh"].iloc[-1] == 0
    out = attach(signals, 451)
    assert (out["liq_fresh"].iloc[-20:] == 1).all()
    assert_same_bits(out, full(451, tmp_path))


def test_a_candle_that_comes_otherwise_is_trusted_when_the_disk_has_it(tmp_path: Path) -> None:
    signals, _ = started(tmp_path)
    attach(signals, 448)
    assert attach(signals, 449, market=told_otherwise(440))["liq_fresh"].iloc[-1] == 0
    write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[445]))
    assert attach(signals, 450, market=told_otherwise(440))["liq_fresh"].iloc[-1] == 1


def test_the_newest_candle_may_come_before_its_end(tmp_path: Path) -> None:
    signals, _ = started(tmp_path)
    attach(signals, 448, market=told_otherwise(448))
    out = attach(signals, 449)
    assert out["liq_fresh"].iloc[-1] == 1
    assert_same_bits(out, full(449, tmp_path))


def test_a_bar_that_the_disk_lacks_between_its_own_stays_as_the_exchange_sent_it(tmp_path: Path) -> None:
    """A recorder that was killed has a hole, and the disk is read anew because of another candle."""
    signals, _ = started(tmp_path)
    attach(signals, 450)
    holed = MADE.upto(MADE.candles["date"].iloc[452])
    for upto in (453, 455):
        write_datadir(tmp_path, replace(holed, candles=holed.candles.drop(index=[430]).reset_index(drop=True)))
        out = attach(signals, upto)
        assert (out["liq_fresh"].iloc[-40:] == 1).all()
        assert_same_bits(out, full(upto, tmp_path))
        holed = MADE.upto(MADE.candles["date"].iloc[454])


@pytest.mark.parametrize("opened", [1.0, 0.997])
@pytest.mark.parametrize("after", [14 * SECOND, 15 * SECOND, -3 * SECOND])
@pytest.mark.parametrize("split", [SPLIT, 448])  # the close before it came live, or is the disk's last
def test_the_newest_candle_is_doubted_if_it_came_late_or_early_and_was_another(
    split: int, after: int, opened: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old answer that ends with a row of the future: freqtrade joins its prices to the true candle's."""
    signals, _ = started(tmp_path, split)
    monkeypatch.setattr("liqsignals.strategy.signals.doubted_by_clock", doubted_by_clock)
    closes = ns(MADE.candles["date"]) + FIVE
    doubtful = after != 14 * SECOND and opened != 1.0
    monkeypatch.setattr("liqsignals.strategy.signals.now_ns", lambda: int(closes[448]) + after)
    attach(signals, 448, market=told_otherwise(448, opened))
    monkeypatch.setattr("liqsignals.strategy.signals.now_ns", lambda: int(closes[449]) + SECOND)
    fresh = attach(signals, 449)["liq_fresh"].to_numpy()
    assert fresh[448 - 100 :].tolist() == ([0, 0] if doubtful else [1, 1])
    assert fresh[448 - 1 - 100] == 1
    # A candle that came late and comes again the same is none of these.
    monkeypatch.setattr("liqsignals.strategy.signals.now_ns", lambda: int(closes[449]) + 20 * SECOND)
    attach(signals, 449)
    monkeypatch.setattr("liqsignals.strategy.signals.now_ns", lambda: int(closes[450]) + SECOND)
    assert attach(signals, 450)["liq_fresh"].iloc[-1] == (0 if doubtful else 1)


def test_a_file_that_could_not_be_read_is_read_again_though_it_looks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that was being copied, with its time, over a file of the same content."""
    signals, _ = started(tmp_path)
    hole = 450
    assert attach(signals, hole + 2, hole)["liq_fresh"].iloc[-1] == 0
    write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[hole + 2]))
    with monkeypatch.context() as torn:

        def refuse(*args: object, **options: object) -> None:
            raise InputError("torn")

        torn.setattr(place, "read_tape", refuse)
        assert attach(signals, hole + 3, hole)["liq_fresh"].iloc[-1] == 0
    assert attach(signals, hole + 4, hole)["liq_fresh"].iloc[-1] == 1


@pytest.mark.parametrize("coarse", [False, True])
def test_a_candle_without_prices_is_flagged_until_the_disk_has_it(tmp_path: Path, coarse: bool) -> None:
    """Freqtrade gives it the close before, and leaves its volume. Where the market's own candles are like that (coarse
    ticks), it is none."""
    hole, prices = 450, ["open", "high", "low", "close"]
    candles = MADE.candles.copy()
    for row in (hole, *([SPLIT - 50] if coarse else [])):
        candles.loc[row, prices] = candles["close"].iloc[row - 1]
    made = replace(MADE, candles=candles)
    stored = made if coarse else MADE
    signals = Signals(write_datadir(tmp_path, stored.upto(MADE.candles["date"].iloc[SPLIT])))
    assert attach(signals, hole - 1, market=made)["liq_fresh"].iloc[-1] == 1
    for upto in (hole, hole + 1, hole + 9):
        assert attach(signals, upto, market=made)["liq_fresh"].iloc[-1] == float(coarse)
    write_datadir(tmp_path, stored.upto(MADE.candles["date"].iloc[hole + 9]))
    assert attach(signals, hole + 10, market=made)["liq_fresh"].iloc[-1] == 1


def test_a_candle_that_came_before_its_end_is_flagged_until_it_has_come_whole(tmp_path: Path) -> None:
    """Its first trade is one price and some volume; the whole candle replaces it."""
    early, prices = 450, ["open", "high", "low", "close"]
    candles = MADE.candles.copy()
    candles.loc[early, prices] = candles["open"].iloc[early]
    candles.loc[early, "volume"] *= 0.01
    signals = Signals(write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[SPLIT])))
    assert attach(signals, early, market=replace(MADE, candles=candles))["liq_fresh"].iloc[-1] == 0
    assert attach(signals, early + 1)["liq_fresh"].iloc[-1] == 1


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
    assert_same_bits(out, full(hole + 4, tmp_path))


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
    monkeypatch.setattr("liqsignals.strategy.signals.doubted_by_clock", doubted_by_clock)
    monkeypatch.setattr("liqsignals.strategy.signals.now_ns", lambda: close + 14 * SECOND)
    assert attach(signals, 450)["liq_fresh"].iloc[-1] == 1
    monkeypatch.setattr("liqsignals.strategy.signals.now_ns", lambda: close + 15 * SECOND)
    out = attach(signals, 450)
    assert out["liq_fresh"].iloc[-1] == 0
    assert (out["liq_fresh"].iloc[-20:-1] == 1).all()
    monkeypatch.setattr("liqsignals.strategy.signals.now_ns", lambda: close + FIVE)
    out = attach(signals, 451)
    assert_same_bits(out, full(451, tmp_path))


def test_a_candle_that_is_not_over_is_flagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """freqtrade takes it for closed where the exchange sends a row of the future after it, and does not look again."""
    signals, _ = started(tmp_path)
    close = int(ns(MADE.candles["date"])[450]) + FIVE
    monkeypatch.setattr("liqsignals.strategy.signals.doubted_by_clock", doubted_by_clock)
    for now, fresh in ((close - 3 * SECOND, [1, 0]), (close - FIVE, [1, 0]), (close + SECOND, [1, 1])):
        monkeypatch.setattr("liqsignals.strategy.signals.now_ns", lambda now=now: now)
        assert attach(signals, 450)["liq_fresh"].tolist()[-2:] == fresh


#: What one candle of the bot's frame says: times its prices, times its volume.
FALSE = {
    "another coin's": (1 / 30, 30.0),
    "prices": (30.0, 1.0),
    "a little off": (1.001, 1.0),
    "volume": (1.0, 1.01),
    "not a number": (np.nan, 1.0),
    "crossed": (1.0, 1.0),
}


@pytest.mark.parametrize("kind", FALSE)
@pytest.mark.parametrize("timeframe", ["5m", "15m"])
def test_a_false_candle_becomes_the_disks(
    tmp_path: Path, kind: str, timeframe: str, caplog: pytest.LogCaptureFixture
) -> None:
    """freqtrade keeps it for as long as it runs, and what a strategy computes from its frame rests on it."""
    prices, volume = FALSE[kind]
    false = 450

    def shown(upto: int, lies: bool = True) -> tuple[pd.DataFrame, pd.DataFrame]:
        told = frames(MADE, upto)
        true = told["5m", "futures"] if timeframe == "5m" else resampled(told["5m", "futures"], "15m")
        frame = true.copy()
        if lies:
            row = int(np.flatnonzero(frame["date"] <= MADE.candles["date"].iloc[false])[-1])
            frame.loc[row, ["open", "high", "low", "close"]] *= prices
            frame.loc[row, "volume"] *= volume
            if kind == "crossed":
                frame.loc[row, ["high", "low"]] = frame.loc[row, ["low", "high"]].to_numpy()
            told["5m", "futures"] = frame if timeframe == "5m" else told["5m", "futures"]
        return signals.attach(frame, PAIR, timeframe, dp=FakeProvider(told)), true

    signals, _ = started(tmp_path)
    out, true = shown(449, lies=False)
    assert out["liq_fresh"].iloc[-1] == 1
    pd.testing.assert_frame_equal(out[true.columns], true, check_exact=True)
    write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[false + 6]))
    for upto in (false + 5, false + 200):
        out, true = shown(upto)
        assert out["liq_fresh"].iloc[-1] == 1
        price = true.columns.drop("volume") if timeframe == "15m" else true.columns
        pd.testing.assert_frame_equal(out[price], true[price], check_exact=True)
        pd.testing.assert_frame_equal(out[true.columns], true, rtol=1e-6)
        assert_same_bits(out, shown(upto, lies=False)[0])
    assert "otherwise than the disk has it" in caplog.text


def test_the_last_candle_is_flagged_and_left_as_it_is(tmp_path: Path) -> None:
    """freqtrade refuses a frame whose last close has changed."""
    signals, _ = started(tmp_path)
    assert attach(signals, 449)["liq_fresh"].iloc[-1] == 1
    write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[456]))
    told = frames(MADE, 450)
    frame = told["5m", "futures"]
    frame.loc[frame.index[-1], "close"] *= 1.001
    out = signals.attach(frame, PAIR, "5m", dp=FakeProvider(told))
    assert out["liq_fresh"].tolist()[-2:] == [1, 0]
    pd.testing.assert_frame_equal(out[frame.columns], frame, check_exact=True)


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


GONE = {
    "flow": ("flow_fresh", "liqsignals/flows/coinmetrics-btc-exchange-flows-1d.csv"),
    "funding": ("fund_fresh", f"futures/{STEM}-1h-funding_rate.feather"),
    "open_interest": ("liq_fresh", f"futures/{STEM}-5m-open_interest.feather"),
    "bar": ("liq_fresh", f"futures/{STEM}-5m-futures.feather"),
}


@pytest.mark.parametrize("kind", GONE)
def test_a_family_that_vanished_blocks_and_one_that_never_was_does_not(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flag, name = GONE[kind]
    family = [c for c in features.NAMES if c.startswith(flag.split("_")[0]) and c not in ("liq_warm", flag)]
    signals, datadir = started(tmp_path)
    file = datadir / name
    content = file.read_bytes()
    assert attach(signals, 450)[flag].iloc[-1] == 1
    file.unlink()
    for upto in (451, 452):
        out = attach(signals, upto)
        assert (out[flag] == 0).all()
        assert out[family].isna().all(axis=None)
    said = [r.getMessage() for r in caplog.records if "were there and are gone" in r.getMessage()]
    assert len(said) == 1
    assert f"its files of {kind} " in said[0]
    # Back again: no restart, and the bits of complete data.
    file.write_bytes(content)
    assert_same_bits(attach(signals, 453), full(453, tmp_path))

    if kind == "flow":  # of the others a bot that never had a file has the exchange's rows
        file.unlink()
        without = Signals(datadir)
        assert attach(without, 454)[flag].isna().all()


@pytest.mark.parametrize("at_start", [True, False])
def test_a_folder_that_cannot_be_listed_is_not_one_without_files(
    at_start: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    signals, datadir = started(tmp_path)
    if not at_start:
        assert attach(signals, 450)["flow_fresh"].iloc[-1] == 1
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "flows":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as closed:
        closed.setattr("liqsignals.strategy.place.os.scandir", refuse)
        for upto in (451, 452):
            out = attach(signals, upto)
            assert (out[["liq_fresh", "fund_fresh", "flow_fresh"]] == 0).all(axis=None)
            assert out[["liq_imbalance", "fund_rate_8h", "flow_inflow_z"]].isna().all(axis=None)
        with pytest.raises(InputError, match=r"flows: cannot be read \(Permission denied\)\. Way out: let the user"):
            Signals(datadir).attach(frames(MADE, 450)["5m", "futures"], PAIR, "5m")
    assert str(datadir / "liqsignals" / "flows") in caplog.text
    assert_same_bits(attach(signals, 453), full(453, tmp_path))


def spoilt(kind: str, frame: pd.DataFrame, row: int) -> pd.DataFrame:
    column, value = {
        "futures": ("close", np.nan), "open_interest": ("open_interest_amount", -1.0), "funding_rate": ("funding_rate", 9.0),
    }[kind]  # fmt: skip
    frame = frame.reset_index(drop=True)
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    ("timeframe", "kind", "flag"),
    [("5m", "futures", "liq_fresh"), ("5m", "open_interest", "liq_fresh"), ("1h", "funding_rate", "fund_fresh")],
)
def test_a_bad_live_row_costs_nothing_where_the_disk_has_its_time(
    timeframe: str, kind: str, flag: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signals, _ = started(tmp_path)
    attach(signals, 440)
    for upto in range(450, 470):
        shown = frames(MADE, upto)
        candles = shown["5m", "futures"]
        # The row stays in freqtrade's frame until it leaves it at the far end.
        shown[timeframe, kind] = spoilt(kind, shown[timeframe, kind], 2)
        out = signals.attach(candles, PAIR, "5m", dp=FakeProvider(shown))
        if kind != "futures":  # the strategy's own frame holds the live candles, whatever the pair's frame does
            assert_same_bits(out, full(upto, tmp_path))
        assert out[flag].iloc[-1] == 1
    assert len([r for r in caplog.records if "the disk has that time" in r.getMessage()]) <= 1


def test_a_bad_live_row_beyond_the_disk_blocks_until_a_download_has_it(tmp_path: Path) -> None:
    signals, _ = started(tmp_path)
    attach(signals, 440)

    def spoilt_at(row: int, upto: int) -> pd.DataFrame:
        shown = frames(MADE, upto)
        shown["5m", "futures"] = spoilt("futures", shown["5m", "futures"], row - 100)
        return signals.attach(shown["5m", "futures"], PAIR, "5m", dp=FakeProvider(shown))

    assert spoilt_at(450, 452)["liq_fresh"].iloc[-1] == 0
    assert spoilt_at(450, 453)["liq_fresh"].iloc[-1] == 0
    write_datadir(tmp_path, MADE.upto(MADE.candles["date"].iloc[452]))
    out = spoilt_at(450, 454)
    assert out["liq_fresh"].iloc[-1] == 1
    assert_same_bits(out, full(454, tmp_path))


def test_a_bug_blocks_in_a_bot_and_is_loud_in_a_backtest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    signals, _ = started(tmp_path)
    attach(signals, 449)
    fold = kernels.run_side

    def half(side: int, *arguments: object) -> None:
        """Folds the one side, and fails."""
        fold(side, *arguments)
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(kernels, "run_side", half)
        out = attach(signals, 450)
        with pytest.raises(ZeroDivisionError):
            full(450, tmp_path)
    flags = ["liq_fresh", "liq_warm", "fund_fresh", "flow_fresh"]
    assert (out[flags] == 0).all(axis=None)
    assert out[[c for c in features.NAMES if c not in flags and not c.startswith("macro_")]].isna().all(axis=None)
    assert out["close"].notna().all()
    assert "could not be computed (ZeroDivisionError" in caplog.text
    assert_same_bits(attach(signals, 451), full(451, tmp_path))

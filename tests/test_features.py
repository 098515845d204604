"""The columns' contract, NaN instead of stale (law 8), what the columns mean, and the edge to freqtrade."""

import enum
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import (
    FIVE,
    NARROW,
    PAIR,
    START,
    START_LABELS,
    STEM,
    FakeProvider,
    Market,
    as_tape,
    assert_same_bits,
    decisions,
    labelled,
    make_market,
    ns,
    resampled,
    uncompiled,
    write,
    write_datadir,
)
from oracle import spread

import liqsignals
from liqsignals import features, liqmap, records
from liqsignals.clock import DAY, HOUR, MINUTE, duration_ns, to_dates
from liqsignals.data.tape import Tape
from liqsignals.errors import InputError
from liqsignals.features import COLUMNS, NAMES
from liqsignals.liqmap import calibration, kernels
from liqsignals.liqmap.book import distances_of
from liqsignals.liqmap.fold import Fold, plan
from liqsignals.strategy.signals import Signals

#: Design section 5, in its order. More columns may stand between them, none may be missing or change place.
CONTRACT = [
    "liq_swept_long_usd", "liq_swept_short_usd",
    "liq_above_price", "liq_above_distance", "liq_above_usd", "liq_below_price", "liq_below_distance", "liq_below_usd",
    "liq_short_usd_1pct", "liq_short_usd_2pct", "liq_short_usd_5pct", "liq_short_usd_10pct",
    "liq_long_usd_1pct", "liq_long_usd_2pct", "liq_long_usd_5pct", "liq_long_usd_10pct",
    "liq_imbalance", "liq_remainder_long", "liq_remainder_short", "liq_fresh", "liq_warm",
    "fund_rate_8h", "fund_skew_z", "fund_pct", "fund_dispersion", "fund_fresh",
    "flow_inflow_z", "flow_netflow_pct", "flow_age_h", "flow_fresh",
]  # fmt: skip
FAMILIES = ("liq_", "fund_", "flow_")
ROWS = 720


@cache
def market() -> Market:
    return make_market(ROWS / 288, 17, volatility=0.003, funding_h=4)


def compute(
    tape: Tape, candles: pd.DataFrame | None = None, timeframe: str = "5m", **options: Any
) -> dict[str, np.ndarray]:
    at, closes = decisions(market().candles if candles is None else candles, timeframe)
    return features.compute(tape, at, closes, duration_ns(timeframe), **options)


def family(prefix: str, but: tuple[str, ...] = ()) -> list[str]:
    return [n for n in NAMES if n.startswith(prefix) and n not in but]


def test_the_contract_of_columns() -> None:
    assert [n for n in NAMES if n in CONTRACT] == CONTRACT
    assert len(set(NAMES)) == len(NAMES)
    assert all(n.startswith((*FAMILIES, "squeeze_", "flush_", "macro_", "btc_")) for n in NAMES)
    assert liqsignals.COLUMNS is COLUMNS
    assert all(c.unit and c.range and c.nan and c.meaning for c in COLUMNS)


def test_compute_returns_the_columns_in_order() -> None:
    out = compute(as_tape(market()))
    assert tuple(out) == NAMES
    assert all(column.dtype == np.float64 and column.shape == (ROWS,) for column in out.values())
    nothing = features.compute(as_tape(market()), np.empty(0, np.int64), np.empty(0), FIVE)
    assert tuple(nothing) == NAMES


def test_attach_leaves_the_frame_as_it_was(tmp_path: Path) -> None:
    signals = Signals(write_datadir(tmp_path, market()))
    frame = market().candles.assign(enter_long=1, tag="x").iloc[40:400]
    before = frame.copy(deep=True)
    out = signals.attach(frame, PAIR, "5m")
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(out[before.columns], before)
    assert list(out.columns) == [*before.columns, *NAMES]
    assert out.index.equals(before.index)
    assert all(out[name].dtype == np.float64 for name in NAMES)
    again = signals.attach(out, PAIR, "5m")
    pd.testing.assert_frame_equal(again, out)
    odd = frame.set_index(pd.Index(["a", "b"] * 180))
    assert_same_bits(signals.attach(odd, PAIR, "5m"), out)
    empty = signals.attach(frame[:0], PAIR, "5m")
    assert list(empty.columns) == list(out.columns)
    assert len(empty) == 0


@pytest.mark.parametrize("seed", range(3))
def test_clusters_lie_where_their_distance_says(seed: int) -> None:
    made = make_market(2, seed, volatility=0.004)
    tape = as_tape(made)
    tape.funding["bybit"] = tape.funding["binance"][3:]
    out = compute(tape, made.candles, parameters=liqmap.Parameters(score=0.9))
    close = made.candles["close"].to_numpy()
    for where, sign in (("above", 1), ("below", -1)):
        price, distance = out[f"liq_{where}_price"], out[f"liq_{where}_distance"]
        there = np.isfinite(price)
        assert there.any()
        assert (np.isfinite(distance) == there).all()
        assert (np.isfinite(out[f"liq_{where}_usd"]) == there).all()
        assert (sign * (price - close)[there] > 0).all()
        assert (distance[there] > 0).all()
        np.testing.assert_allclose(distance[there], sign * (price / close - 1)[there], rtol=1e-12)
        # A major cluster holds at least 0.2 % of open interest.
        newest = np.searchsorted(tape.open_interest["known_at"], ns(made.candles["date"]) + FIVE, "right") - 1
        floor = 0.002 * tape.open_interest["base"][newest] * close
        assert (out[f"liq_{where}_usd"][there] >= floor[there]).all()


def test_bands_are_cumulative() -> None:
    out = compute(as_tape(market()))
    for side in ("short", "long"):
        bands = np.stack([out[f"liq_{side}_usd_{b}pct"] for b in (1, 2, 5, 10)])
        running = np.isfinite(bands[0])
        assert (np.diff(bands[:, running], axis=0) >= 0).all()
        assert (bands[-1, running] > 0).any()


def standing(fold: Fold) -> np.ndarray:
    assert fold.book is not None
    return fold.book.levels()


def test_swept_columns_are_the_maps_before_each_sweep_and_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """No volume, no range model: the map as it stood at the end of each stretch of a bar's path, and where it ended."""
    parameters = replace(NARROW, report_factor=0.25)
    made = replace(market(), candles=market().candles[:192], interest=market().interest[:192])
    tape = as_tape(made)
    distances = distances_of(parameters, PAIR)
    frames = {timeframe: resampled(made.candles, timeframe) for timeframe in ("5m", "15m", "1h")}
    columns = {name: compute(tape, frame, name, parameters=parameters) for name, frame in frames.items()}

    module = uncompiled(monkeypatch)
    honest, maps = module.sweep, []

    def watched(book: kernels.BookArrays, grid: kernels.Grid, side: int, *rest: Any) -> None:
        held = (book.mass[side] * book.scale[side][:, None]).sum(axis=0)
        maps.append((side, grid.price, held * grid.price))
        honest(book, grid, side, *rest)

    monkeypatch.setattr(module, "sweep", watched)
    fold = Fold(plan(tape), parameters, distances)
    swept = np.zeros((192, 2))
    steps_of_walks = 0
    for i in range(192):
        maps.clear()
        fold.to(i + 1)
        if not maps:
            continue
        bar = {name: float(tape.bars[name][i]) for name in ("open", "high", "low", "close")}
        for side in range(2):
            nearest = int(distances.nearest[side].min())
            long = side == kernels.LONG
            extreme, other = (bar["low"], bar["high"]) if long else (bar["high"], bar["low"])
            ends = [extreme]
            if len(spread(bar["low"], bar["high"])) > nearest:
                # The path to the extreme, to the end of the step back on the leg after it, and to the close.
                turn = other if (bar["close"] >= bar["open"]) == long else bar["close"]
                ends += [extreme**0.75 * turn**0.25, bar["close"]]
                steps_of_walks += len(ends)
            before = [(price, usd) for s, price, usd in maps if s == side]
            assert len(before) == len(ends)
            for (price, usd), end in zip(before, ends, strict=True):
                swept[i, side] += usd[price >= end if long else price <= end].sum()
    assert steps_of_walks > 100
    for timeframe, out in columns.items():
        per_candle = swept.reshape(len(frames[timeframe]), -1, 2).sum(axis=1)
        fresh = out["liq_fresh"] == 1
        assert fresh.sum() > len(per_candle) - 5
        for side, name in enumerate(("long", "short")):
            assert (per_candle[:, side] > 0).sum() > len(per_candle) // 5
            # The kernel adds in another order.
            np.testing.assert_allclose(
                out[f"liq_swept_{name}_usd"][fresh], 0.25 * per_candle[fresh, side], rtol=1e-9, atol=1e-3
            )


def test_levels_are_read_after_the_candles_own_bars() -> None:
    tape = as_tape(market())
    out = compute(tape)
    parameters = liqmap.Parameters()
    fold = Fold(plan(tape), parameters, distances_of(parameters, PAIR))
    for row in (3, 100, 431, ROWS - 1):
        fold.to(row + 1)
        assert fold.book is not None
        close, interest = tape.bars["close"][row], tape.open_interest["base"][row - 2]  # type: ignore[index]
        price, usd = fold.book.price, standing(fold) * fold.book.price
        for band in (1, 2, 5, 10):
            above = usd[1][(price > close) & (price <= close * (1 + band / 100))].sum()
            below = usd[0][(price < close) & (price >= close * (1 - band / 100))].sum()
            # Sums in another order.
            assert out[f"liq_short_usd_{band}pct"][row] == pytest.approx(above, rel=1e-9)
            assert out[f"liq_long_usd_{band}pct"][row] == pytest.approx(below, rel=1e-9)
        e = 0.001 * interest * close
        wanted = np.log((out["liq_short_usd_5pct"][row] + e) / (out["liq_long_usd_5pct"][row] + e))
        assert out["liq_imbalance"][row] == pytest.approx(wanted, rel=1e-12)
        for side, name in enumerate(("long", "short")):
            share = 1 - standing(fold)[side].sum() / interest
            assert out[f"liq_remainder_{name}"][row] == pytest.approx(share, rel=1e-9)


def test_the_report_factor_scales_feed_usd_alone() -> None:
    one, half = compute(as_tape(market())), compute(as_tape(market()), parameters=liqmap.Parameters(report_factor=0.5))
    assert np.array_equal(half["liq_swept_long_usd"], 0.5 * one["liq_swept_long_usd"], equal_nan=True)
    assert_same_bits(one, half, names=[n for n in NAMES if "swept" not in n])


def test_the_mix_sums_to_one() -> None:
    for parameters in (liqmap.Parameters(), NARROW, liqmap.Parameters(remainder=0.9)):
        assert parameters.mix.sum() == pytest.approx(1.0, rel=1e-12)
        assert (parameters.mix > 0).all()


def test_stale_open_interest_is_nan() -> None:
    tape = as_tape(market())
    out = compute(replace(tape, open_interest=tape.open_interest[:200]))
    # Row 199's snapshot is the close of bar 199, known two bars later. From the bar after that on the next one is
    # missing, and the view is not complete; three hours after the snapshot it is still read, a bar after that it is
    # not.
    assert (out["liq_fresh"][2 : 199 + 2 + 1] == 1).all()
    assert (out["liq_fresh"][199 + 2 + 1 :] == 0).all()
    assert (out["liq_fresh"][:2] == 0).all()
    for name in family("liq_", ("liq_fresh", "liq_warm")):
        assert np.isnan(out[name][199 + 37 :]).all(), name
        assert np.isnan(out[name][:2]).all(), name
    assert np.isfinite(out["liq_imbalance"][2 : 199 + 37]).all()


def test_stale_candles_are_nan() -> None:
    tape = as_tape(market())
    out = compute(replace(tape, bars=tape.bars[:500]))
    assert (out["liq_fresh"][2:500] == 1).all()
    assert (out["liq_fresh"][500:] == 0).all()
    for name in family("liq_", ("liq_fresh", "liq_warm")):
        assert np.isnan(out[name][500:]).all(), name


def test_stale_funding_is_nan() -> None:
    tape = as_tape(market())
    last = np.searchsorted(tape.funding["binance"]["event_time"], START + 6 * HOUR)
    settled = tape.funding["binance"][:last]  # up to 04:00
    out = compute(replace(tape, funding={"binance": settled}))
    at, _ = decisions(market().candles)
    old = at - settled["event_time"][-1] > 8 * HOUR
    # The next settlement is due at 08:00 and known a minute later: without it the flag is off, the rate still read.
    due = at - settled["event_time"][-1] >= 4 * HOUR + 2 * MINUTE
    assert (out["fund_fresh"] == ~due).all()
    assert (due & ~old).any()
    assert old.any()
    for name in family("fund_", ("fund_fresh",)):
        assert np.isnan(out[name][old]).all(), name
    assert np.isfinite(out["fund_skew_z"][~old]).all()


def test_stale_flows_are_nan() -> None:
    tape = as_tape(market())
    assert tape.flow is not None
    moved = tape.flow[tape.flow["event_time"] <= START]
    out = compute(replace(tape, flow=moved))
    at, _ = decisions(market().candles)
    old = at - moved["event_time"][-1] > 52 * HOUR
    assert old.any()
    assert (out["flow_fresh"] == ~old).all()
    assert np.isnan(out["flow_inflow_z"][old]).all()
    assert np.isnan(out["flow_netflow_pct"][old]).all()
    assert np.isfinite(out["flow_age_h"]).all()
    assert np.isfinite(out["flow_inflow_z"][~old]).all()


@pytest.mark.parametrize("prefix", FAMILIES)
def test_an_absent_family_is_nan_throughout_its_flag_too(prefix: str) -> None:
    """No file is not an empty file: the filter is off, entries are not blocked."""
    tape = as_tape(market())
    full = compute(tape)
    absent = {"liq_": {"open_interest": None}, "fund_": {"funding": {}}, "flow_": {"flow": None}}[prefix]
    out = compute(replace(tape, **absent))  # type: ignore[arg-type]
    # Some columns of later families are read off the map.
    gone = {c.name for c in COLUMNS if c.name.startswith(prefix) or (prefix == "liq_" and "open interest" in c.nan)}
    for name in gone:
        assert np.isnan(out[name]).all(), name
    assert_same_bits(out, full, names=[n for n in NAMES if n not in gone])
    empty = {
        "liq_": {"open_interest": tape.open_interest[:0]},  # type: ignore[index]
        "fund_": {"funding": {"binance": tape.funding["binance"][:0]}},
        "flow_": {"flow": tape.flow[:0]},  # type: ignore[index]
    }[prefix]
    out = compute(replace(tape, **empty))  # type: ignore[arg-type]
    flag = {"liq_": "liq_fresh", "fund_": "fund_fresh", "flow_": "flow_fresh"}[prefix]
    assert (out[flag] == 0).all()
    assert_same_bits(out, full, names=[n for n in NAMES if n not in gone])


def test_the_map_is_warm_after_a_fortnight() -> None:
    made = make_market(14.2, 1)
    out = compute(as_tape(made), made.candles)
    assert (out["liq_warm"][: 2 + 14 * 288] == 0).all()
    assert (out["liq_warm"][2 + 14 * 288 :] == 1).all()


@pytest.mark.parametrize("hours", [1, 4, 8])
def test_funding_is_normalised_to_eight_hours(tmp_path: Path, hours: int) -> None:
    made = make_market(2, 2, funding_h=hours)
    out = Signals(write_datadir(tmp_path, made)).attach(made.candles, PAIR, "5m")
    at, _ = decisions(made.candles)
    # The file's first row is not taken: what it covers is not in the file.
    settled, rate = ns(made.funding["date"])[1:], made.funding["funding_rate"].to_numpy(copy=True)[1:]
    row = np.searchsorted(settled + MINUTE, at, side="right") - 1
    assert np.array_equal(out["fund_rate_8h"].to_numpy(), rate[row] * (8.0 / hours))
    rate *= 8.0 / hours
    past = [rate[(settled >= settled[r] - 30 * DAY) & (settled < settled[r])] for r in row]
    # Sums in another order.
    wanted = [(rate[r] - p.mean()) / p.std() for r, p in zip(row, past, strict=True)]
    np.testing.assert_allclose(out["fund_skew_z"], wanted, rtol=1e-9)
    wanted = [((p < rate[r]).sum() + 0.5 * (p == rate[r]).sum()) / len(p) for r, p in zip(row, past, strict=True)]
    np.testing.assert_allclose(out["fund_pct"], wanted, rtol=1e-12)


def test_a_change_of_the_funding_interval(tmp_path: Path) -> None:
    """8 h on the first day, 4 h on the second: each settlement by the hours that it covers."""
    dates = np.r_[np.arange(START - 15 * DAY, START + DAY, 8 * HOUR), np.arange(START + DAY, START + 2 * DAY, 4 * HOUR)]
    made = make_market(2, 2)
    made = replace(made, funding=pd.DataFrame({"date": to_dates(dates), "funding_rate": 1e-4}))
    out = Signals(write_datadir(tmp_path, made)).attach(made.candles, PAIR, "5m")
    at, _ = decisions(made.candles)
    late = at >= START + DAY + 4 * HOUR + MINUTE
    assert out["fund_rate_8h"].to_numpy()[late] == pytest.approx(2e-4)
    assert out["fund_rate_8h"].to_numpy()[~late] == pytest.approx(1e-4)


def test_a_pinned_funding_rate_has_no_scale() -> None:
    """A past of equal rates: z is 0 at that rate, NaN at another one, and a number again once the past varies."""
    tape = as_tape(market())
    settled = tape.funding["binance"]
    settled["rate"] = 1e-4
    out = compute(tape)
    assert (out["fund_skew_z"] == 0.0).all()
    assert (out["fund_pct"] == 0.5).all()
    changed = int(np.searchsorted(settled["event_time"], START + DAY))
    settled["rate"][changed] = 3e-4
    out = compute(tape)
    row = np.searchsorted(settled["known_at"], decisions(market().candles)[0], side="right") - 1
    assert (out["fund_skew_z"][row < changed] == 0.0).all()
    assert np.isnan(out["fund_skew_z"][row == changed]).all()
    assert (out["fund_pct"][row == changed] == 1.0).all()
    assert (out["fund_skew_z"][row > changed] < 0.0).all()


def test_dispersion_is_across_fresh_venues() -> None:
    tape = as_tape(market())
    assert np.isnan(compute(tape)["fund_dispersion"]).all()
    other, old = tape.funding["binance"].copy(), tape.funding["binance"][:-20].copy()
    other["rate"] -= 3e-4
    old["rate"] += 1.0
    tape.funding.update(bybit=other, gone=old)
    out = compute(tape)
    at, _ = decisions(market().candles)
    both = at - old["event_time"][-1] > 8 * HOUR
    assert both.any()
    # 3e-4 in 4 h are 6e-4 in 8 h, less round-off.
    np.testing.assert_allclose(out["fund_dispersion"][both], 6e-4, rtol=1e-9)
    assert (out["fund_dispersion"][~both] > 1.9).all()


def test_other_venues_funding_comes_from_the_extras(tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, market())
    write_datadir(
        datadir / "liqsignals" / "venues",
        replace(market(), funding=market().funding.assign(funding_rate=market().funding["funding_rate"] + 1e-4)),
        name="bybit",
        flows=False,
    )
    out = Signals(datadir).attach(market().candles, PAIR, "5m")
    np.testing.assert_allclose(out["fund_dispersion"], 2e-4, rtol=1e-9)


def test_flows_are_known_the_next_day_at_four() -> None:
    """Day D is read from D+1 04:00 UTC on, to the nanosecond."""
    tape = as_tape(market())
    assert tape.flow is not None
    four = START + DAY + 4 * HOUR
    at = np.array([four - 1, four, four + 1])
    out = features.compute(tape, at, np.full(3, 60_000.0), FIVE)
    assert out["flow_age_h"].tolist() == [pytest.approx(28.0), 4.0, pytest.approx(4.0)]
    row = np.searchsorted(tape.flow["event_time"], START + DAY)
    share = (tape.flow["inflow"] - tape.flow["outflow"]) / tape.flow["supply"]
    assert out["flow_netflow_pct"].tolist() == [share[row - 1], share[row], share[row]]
    past = np.log1p(tape.flow["inflow"][:row])
    wanted = (np.log1p(tape.flow["inflow"][row]) - past.mean()) / past.std()
    assert out["flow_inflow_z"][1] == pytest.approx(wanted, rel=1e-12)


def test_a_short_past_has_no_score() -> None:
    made = make_market(1, 2, funding_days=5, flow_days=20)
    out = compute(as_tape(made), made.candles)
    assert np.isfinite(out["fund_rate_8h"]).all()
    for name in ("fund_skew_z", "fund_pct", "flow_inflow_z"):
        assert np.isnan(out[name]).all(), name
    assert (out["fund_fresh"] == 1).all()


def test_an_unknown_pair_is_nan_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    signals = Signals(write_datadir(tmp_path, market()))
    with caplog.at_level(logging.WARNING, "liqsignals"):
        for _ in range(3):
            out = signals.attach(market().candles, "DOGE/USDT:USDT", "5m")
            assert out[list(NAMES)].isna().all().all()
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "DOGE/USDT:USDT: no data in" in caplog.text
    assert "freqtrade download-data" in caplog.text


def test_informative_pairs(tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, market(), period="1h")
    wanted = Signals(datadir).informative_pairs([PAIR, "DOGE/USDT:USDT"])
    assert wanted == [
        (PAIR, "5m", "futures"),
        (PAIR, "1h", "open_interest"),
        (PAIR, "1h", "funding_rate"),
        ("DOGE/USDT:USDT", "5m", "futures"),
        ("DOGE/USDT:USDT", "5m", "open_interest"),
        ("DOGE/USDT:USDT", "1h", "funding_rate"),
    ]


class RunMode(enum.Enum):
    """freqtrade's enum, whose str is `RunMode.DRY_RUN`."""

    DRY_RUN = "dry_run"
    LIVE = "live"
    BACKTEST = "backtest"


def provider(made: Market, time: pd.Timestamp, runmode: Any = "dry_run", rows: int = 400) -> FakeProvider:
    cut = made.upto(time)
    return FakeProvider(
        {
            ("5m", "futures"): cut.candles[-rows:],
            ("5m", "open_interest"): labelled(cut.interest)[-rows:],
            ("1h", "funding_rate"): cut.funding[-30:],
        },
        runmode,
    )


@pytest.mark.parametrize("timeframe", ["5m", "15m", "1h"])
@pytest.mark.parametrize("runmode", ["dry_run", RunMode.LIVE])
def test_live_rows_give_the_bits_of_a_disk_that_holds_everything(tmp_path: Path, timeframe: str, runmode: Any) -> None:
    made = market()
    frame = resampled(made.candles, timeframe)
    whole = Signals(write_datadir(tmp_path / "whole", made)).attach(frame, PAIR, timeframe)
    signals = Signals(write_datadir(tmp_path / "part", made.upto(made.candles["date"].iloc[500])))
    step = duration_ns(timeframe) // FIVE
    for row in [*range(600 // step, len(frame), max(6 // step, 1)), len(frame) - 1, 620 // step]:
        now = frame["date"].iloc[row] + pd.Timedelta(timeframe.replace("m", "min"))
        part = frame.iloc[max(0, row - 399) : row + 1]
        out = signals.attach(part, PAIR, timeframe, dp=provider(made, now, runmode))
        assert_same_bits(out, whole.iloc[max(0, row - 399) : row + 1])
        assert out["liq_fresh"].iloc[-1] == 1


@pytest.mark.parametrize("runmode", ["backtest", RunMode.BACKTEST, "hyperopt", "plot", None])
def test_backtests_do_not_ask_the_provider(tmp_path: Path, runmode: Any) -> None:
    made = market()
    signals = Signals(write_datadir(tmp_path, made.upto(made.candles["date"].iloc[500])))
    dp = provider(made, made.candles["date"].iloc[-1], runmode)
    out = signals.attach(made.candles, PAIR, "5m", dp=dp)
    assert dp.asked == []
    assert (out["liq_fresh"].iloc[500:] == 0).all()


def test_a_hole_between_disk_and_live_restarts_the_map(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liqmap, "WARMUP", 12 * HOUR)
    made = market()
    signals = Signals(write_datadir(tmp_path, made.upto(made.candles["date"].iloc[300])))
    with caplog.at_level(logging.WARNING, "liqsignals"):
        for row in range(650, 660):
            now = made.candles["date"].iloc[row] + pd.Timedelta("5min")
            frame = made.candles.iloc[row - 99 : row + 1]
            out = signals.attach(frame, PAIR, "5m", dp=provider(made, now, rows=100))
            assert (out["liq_warm"] == 0).all()
            assert out["liq_fresh"].iloc[-1] == 0
            assert np.isfinite(out["liq_imbalance"].iloc[-1])
    logged = [r.getMessage() for r in caplog.records if "no candles from" in r.getMessage()]
    assert len(logged) == 1
    assert "the map starts anew after it" in logged[0]
    assert "freqtrade download-data" in logged[0]


def test_a_hole_on_disk_is_logged_once_in_live_mode(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = market()
    part = replace(made, candles=made.candles.drop(index=range(200, 212)))
    signals = Signals(write_datadir(tmp_path, part))
    with caplog.at_level(logging.WARNING, "liqsignals"):
        for _ in range(3):
            signals.attach(made.candles.iloc[-100:], PAIR, "5m", dp=provider(made, made.candles["date"].iloc[-1]))
    assert len([r for r in caplog.records if "no candles from" in r.getMessage()]) == 1


def test_live_without_any_rows_is_the_disk(tmp_path: Path) -> None:
    signals = Signals(write_datadir(tmp_path, market()))
    signals.informative_pairs([PAIR])
    out = signals.attach(market().candles, PAIR, "5m", dp=FakeProvider({}))
    assert_same_bits(out, Signals(tmp_path / "binance").attach(market().candles, PAIR, "5m"))


def test_live_open_interest_goes_stale_by_its_own_age(tmp_path: Path) -> None:
    """The exchange stops publishing: columns turn NaN after three hours, and come back with it."""
    made = market()
    signals = Signals(write_datadir(tmp_path, made.upto(made.candles["date"].iloc[500])))
    whole = Signals(write_datadir(tmp_path / "whole", made)).attach(made.candles, PAIR, "5m")
    for row in (550, 600, 640, 700):
        now = made.candles["date"].iloc[row] + pd.Timedelta("5min")
        dp = provider(made, now)
        if row in (600, 640):
            dp.frames["5m", "open_interest"] = provider(made, made.candles["date"].iloc[551]).frames[
                "5m", "open_interest"
            ]
        out = signals.attach(made.candles.iloc[row - 300 : row + 1], PAIR, "5m", dp=dp)
        assert out["liq_fresh"].iloc[-1] == (row in (550, 700))
        assert np.isnan(out["liq_imbalance"].iloc[-1]) == (row in (600, 640))
    assert_same_bits(out.iloc[-2:], whole.iloc[699:701])


def test_each_pair_has_its_own_map(tmp_path: Path) -> None:
    """Two pairs in turn through one object: the bits of each alone."""
    other = make_market(ROWS / 288, 40, price=3_000)
    datadir = write_datadir(tmp_path, market())
    write_datadir(tmp_path, other, stem="ETH_USDT_USDT")
    alone = {
        pair: Signals(datadir).attach(made.candles, pair, "5m")
        for pair, made in ((PAIR, market()), ("ETH/USDT:USDT", other))
    }
    both = Signals(datadir)
    for first in (0, 300, 100):
        for pair, made in ((PAIR, market()), ("ETH/USDT:USDT", other)):
            out = both.attach(made.candles.iloc[first : first + 200], pair, "5m")
            assert_same_bits(out, alone[pair].iloc[first : first + 200])


def test_one_minute_candles_count_where_configured(tmp_path: Path) -> None:
    made = make_market(0.5, 6)
    datadir = write_datadir(tmp_path, made)
    minutes = made.candles.loc[made.candles.index.repeat(5)].reset_index(drop=True)
    minutes["date"] = to_dates(START + MINUTE * np.arange(len(minutes)))
    minutes["volume"] /= 5
    write(datadir, "1m-futures", minutes)
    coarse = Signals(datadir).attach(made.candles, PAIR, "5m")
    write(datadir, "1m-futures", minutes.assign(volume=0.0))
    assert_same_bits(Signals(datadir).attach(made.candles, PAIR, "5m"), coarse)
    write(datadir, "1m-futures", minutes)
    fine = Signals(datadir, finest="1m").attach(made.candles, PAIR, "5m")
    assert fine["liq_fresh"].iloc[5:].eq(1).all()
    assert not np.array_equal(fine["liq_imbalance"], coarse["liq_imbalance"], equal_nan=True)


def test_the_kinds_are_as_documented() -> None:
    assert records.BAR.names == ("event_time", "known_at", "open", "high", "low", "close", "volume")
    assert kernels.N_FLOWS > kernels.SWEPT_USD


def _live(made: Market, disk_rows: int, revise: Callable[[pd.DataFrame], pd.DataFrame], tmp_path: Path) -> pd.DataFrame:
    """Columns of a bot that stepped over the last candles, the newest open-interest row being provisional each time."""
    n = len(made.candles)
    disk = made.upto(made.candles["date"].iloc[disk_rows])
    signals, out = Signals(write_datadir(tmp_path / "disk", disk)), None
    for end in range(n - 20, n + 1):
        now = made.candles["date"].iloc[end - 1] + pd.Timedelta("5min")
        seen = made.upto(now)
        frames = {
            ("5m", "futures"): seen.candles.iloc[-500:],
            ("5m", "open_interest"): revise(seen.interest.iloc[-500:].reset_index(drop=True)),
            ("1h", "funding_rate"): seen.funding.iloc[-100:],
        }
        out = signals.attach(seen.candles.iloc[-100:].reset_index(drop=True), PAIR, "5m", dp=FakeProvider(frames))
    assert out is not None
    return out


def test_live_rows_revised_before_they_may_be_used_change_nothing(tmp_path: Path) -> None:
    made = make_market(3, 31)

    def provisional(rows: pd.DataFrame) -> pd.DataFrame:
        rows.loc[len(rows) - 1, "open_interest_amount"] *= 1.01
        return rows

    whole = Signals(write_datadir(tmp_path / "whole", made)).attach(made.candles, PAIR, "5m")
    assert_same_bits(_live(made, 600, provisional, tmp_path), whole.iloc[-100:])


def test_a_bad_live_family_leaves_the_others_alone(tmp_path: Path) -> None:
    made = make_market(3, 31)

    def broken(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(open_interest_amount=-1.0)

    out = _live(made, 600, broken, tmp_path)
    assert out["liq_fresh"].iloc[-1] == 0.0
    assert out["fund_fresh"].iloc[-1] == 1.0


def test_undecided_live_labels_follow_the_disks(tmp_path: Path) -> None:
    """A live frame too short to detect its labels is read as the disk's, not as documented."""
    made = make_market(3, 31)
    disk = made.upto(made.candles["date"].iloc[-30])
    datadir = write_datadir(tmp_path, disk, flip=START_LABELS)
    live = labelled(made.interest, flip=START_LABELS).iloc[-60:]
    frames = {("5m", "futures"): made.candles.iloc[-200:], ("5m", "open_interest"): live}
    frames[("1h", "funding_rate")] = made.funding
    out = Signals(datadir).attach(made.candles, PAIR, "5m", dp=FakeProvider(frames))
    assert_same_bits(out, Signals(write_datadir(tmp_path / "whole", made)).attach(made.candles, PAIR, "5m"))


def test_a_close_that_is_no_price_is_not_fresh(tmp_path: Path) -> None:
    made = make_market(2, 5)
    frame = made.candles.assign(close=made.candles["close"].where(made.candles.index != 300))
    out = Signals(write_datadir(tmp_path, made)).attach(frame, PAIR, "5m")
    assert out["liq_fresh"].iloc[300] == 0.0
    assert np.isnan(out["liq_short_usd_1pct"].iloc[300])
    assert out["liq_fresh"].iloc[301] == 1.0


def test_other_venues_do_not_stand_in_for_the_own_one(tmp_path: Path) -> None:
    made = make_market(2, 5)
    datadir = write_datadir(tmp_path, made, funding=False)
    folder = datadir / "liqsignals" / "venues" / "bybit" / "futures"
    folder.mkdir(parents=True)
    made.funding.to_feather(folder / f"{STEM}-1h-funding_rate.feather")
    out = Signals(datadir).attach(made.candles, PAIR, "5m")
    assert out["fund_fresh"].isna().all()


def test_a_bar_whose_open_lies_outside_its_range_is_refused() -> None:
    """The walk writes between the range's levels: such a bar must not reach the kernel by any door."""
    for name, factor in (("open", 5.0), ("open", np.nan), ("close", 0.9)):
        tape = as_tape(market())
        tape.bars[name][7] *= factor
        with pytest.raises(InputError, match="open or close outside"):
            compute(tape)


def test_the_score_is_known_when_the_fit_ended() -> None:
    at, _ = decisions(market().candles)
    out = compute(as_tape(market()), parameters=liqmap.Parameters(score=0.9, known_at=int(at[100])))
    assert np.isnan(out["liq_model_score"][:100]).all()
    assert (out["liq_model_score"][100:] == 0.9).all()


def test_hindsight_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = market()
    prior = calibration.uncalibrated().pooled
    late = replace(prior, parameters=replace(prior.parameters, known_at=2**62))
    signals = Signals(write_datadir(tmp_path, made), calibrated=calibration.Calibration(late))
    for _ in range(2):
        signals.attach(made.candles, PAIR, "5m")
    assert sum("no bot had it before" in r.message for r in caplog.records) == 1
    caplog.clear()
    Signals(tmp_path / "binance").attach(made.candles, PAIR, "5m")
    assert not [r for r in caplog.records if "no bot had it" in r.message]

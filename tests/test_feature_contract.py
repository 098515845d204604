"""The contract that every family of columns must keep: causality, slices, NaN rules, ranges, units
(docs/add-a-feature.md).

A family is checked by being in features.FAMILIES. Two toys stand beside the library's own: one reads BTC for ETH, the
other the map's columns and kinds of record that only the extras hold.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import (
    ETH,
    FIVE,
    NARROW,
    PAIR,
    Market,
    assert_same_bits,
    labelled,
    make_market,
    resampled,
    write_datadir,
)
from contract import FAMILIES, HOWS, TOYS, BtcForEth, OnTheMap, World, each_kind, make_world, name_of, perturbed
from hypothesis import given, settings
from hypothesis import strategies as st

from liqsignals import features, records
from liqsignals.clock import HOUR, MINUTE
from liqsignals.data import store
from liqsignals.features import Column, Context
from liqsignals.records import Float64Array
from liqsignals.strategy import place
from liqsignals.strategy.signals import Signals

Columns = dict[str, Float64Array]
SEEDS = 2


@cache
def world(seed: int = 0) -> World:
    return make_world(seed, parameters=replace(NARROW, score=0.9))


@cache
def candles(seed: int, timeframe_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Decision times and closes of ETH's candles."""
    bars = world(seed).tapes[ETH, "binance"].bars
    assert bars is not None
    last = bars[bars["event_time"] % timeframe_ns == 0]
    return last["event_time"].copy(), last["close"].copy()


@cache
def whole(family: features.Family, seed: int = 0, timeframe_ns: int = FIVE) -> Columns:
    return world(seed).compute(family, *candles(seed, timeframe_ns), timeframe_ns)


def same(family: features.Family, one: Columns, other: Columns, rows: Any = slice(None)) -> None:
    assert_same_bits(one, other, rows, [column.name for column in family.COLUMNS])


every_family = pytest.mark.parametrize("family", FAMILIES, ids=name_of)
seeds = st.integers(0, SEEDS - 1)
timeframes = st.sampled_from([FIVE, FIVE, 3 * FIVE, HOUR])


@every_family
def test_columns_are_declared_and_complete(family: features.Family) -> None:
    out = whole(family)
    assert list(out) == [column.name for column in family.COLUMNS]
    at, _ = candles(0, FIVE)
    for column in family.COLUMNS:
        assert out[column.name].shape == at.shape
        assert out[column.name].dtype == np.float64
        # A check of a column that is NaN throughout would compare NaN with NaN.
        assert np.isfinite(out[column.name]).any(), column.name
        assert all((column.unit, column.range, column.nan, column.meaning)), column.name


@every_family
@settings(max_examples=12)
@given(
    seed=seeds,
    part=st.floats(0.05, 0.99),
    off=st.sampled_from([0, 0, 1, MINUTE, FIVE - 1]),
    how=st.sampled_from(HOWS),
    timeframe=timeframes,
    noise=st.integers(0, 1000),
)
def test_what_becomes_known_after_a_time_changes_no_bit_up_to_it(
    family: features.Family, seed: int, part: float, off: int, how: str, timeframe: int, noise: int
) -> None:
    """Neither removed nor changed records, in any market; nor later candles."""
    at, closes = candles(seed, timeframe)
    time = int(at[int(part * (len(at) - 1))]) + off
    upto = int(np.searchsorted(at, time, side="right"))
    full = whole(family, seed, timeframe)
    other_closes = closes.copy()
    other_closes[upto:] *= np.exp(np.random.default_rng(noise).normal(0, 0.05, len(at) - upto))
    changed = world(seed).changed(lambda tape: perturbed(tape, time, how, noise))
    same(family, full, changed.compute(family, at, other_closes, timeframe), slice(upto))
    same(family, full, world(seed).compute(family, at[:upto], closes[:upto], timeframe), slice(upto))


@every_family
@settings(max_examples=12)
@given(seed=seeds, timeframe=timeframes, ends=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_slice_has_the_bits_of_the_whole(
    family: features.Family, seed: int, timeframe: int, ends: tuple[float, float]
) -> None:
    at, closes = candles(seed, timeframe)
    first, last = sorted(round(part * (len(at) - 1)) for part in ends)
    rows = slice(first, last + 1)
    found = world(seed).compute(family, at[rows], closes[rows], timeframe)
    same(family, found, {name: column[rows] for name, column in whole(family, seed, timeframe).items()})


@every_family
@pytest.mark.parametrize("startup", [1, 19, 39, 99, 199, 399])
def test_the_number_of_startup_candles_changes_no_bit(family: features.Family, startup: int) -> None:
    at, closes = candles(0, FIVE)
    rows = slice(len(at) - startup, len(at))
    found = world().compute(family, at[rows], closes[rows])
    same(family, found, {name: column[rows] for name, column in whole(family).items()})


def bounds(column: Column) -> tuple[float, bool, float]:
    """Lower bound, whether it is in the range, and upper bound of a declared range."""
    if column.range == "real":
        return -np.inf, False, np.inf
    if found := re.fullmatch(r"(>=|>) (-?[\d.]+)", column.range):
        return float(found[2]), found[1] == ">=", np.inf
    found = re.fullmatch(r"(-?[\d.]+) \.\. (-?[\d.]+)", column.range)
    assert found, f"{column.name}: the range '{column.range}' cannot be read; write real, > x, >= x, x .. y or 0, 1"
    return float(found[1]), True, float(found[2])


@every_family
@pytest.mark.parametrize("seed", range(SEEDS))
def test_values_lie_in_the_declared_range(family: features.Family, seed: int) -> None:
    for column in family.COLUMNS:
        values = whole(family, seed)[column.name]
        assert not np.isinf(values).any(), column.name
        there = values[np.isfinite(values)]
        if column.range == "0, 1":
            assert np.isin(there, (0.0, 1.0)).all(), column.name
            continue
        low, closed, high = bounds(column)
        # A share is a quotient of sums, exact to round-off.
        slack = 1e-9 if column.unit == "share" else 0.0
        assert ((there >= low) if closed else (there > low)).all(), column.name
        assert (there <= high + slack).all(), column.name


@every_family
def test_without_any_file_all_is_nan_and_the_flag_too(family: features.Family) -> None:
    at, closes = candles(0, FIVE)
    nothing = World({(ETH, "binance"): features.Markets().tape(ETH, "binance")})
    out = nothing.compute(family, at, closes)
    for column in family.COLUMNS:
        if not column.name.startswith(("toy_event", "macro_")):  # the calendar is in the package
            assert np.isnan(out[column.name]).all(), column.name


@every_family
@pytest.mark.parametrize("left", ["stale", "empty"])
def test_what_went_stale_is_nan_and_its_flag_0(family: features.Family, left: str) -> None:
    """All records of a day and more ago, or files that are there and hold nothing."""
    at, _ = candles(0, FIVE)
    late = int(at[-1]) + 40 * 24 * HOUR + FIVE * np.arange(12)
    kept = world() if left == "stale" else world().changed(lambda tape: each_kind(tape, lambda kind: kind[:0]))
    out = kept.compute(family, late, np.full(12, 3_000.0))
    for column in family.COLUMNS:
        if column.name.endswith("_fresh"):
            assert (out[column.name] == 0).all(), column.name
        elif "stale" in column.nan:
            assert np.isnan(out[column.name]).all(), column.name


@every_family
def test_twice_the_contracts_are_twice_the_dollars_and_nothing_else(family: features.Family) -> None:
    """Volume and open interest in half-units: amounts double, to the bit; prices, shares, ratios, flags stay."""

    def doubled(kind: records.Records) -> records.Records:
        out = kind.copy()
        for name in {"volume", "base", "buy_base", "usd"} & set(kind.dtype.names or ()):
            out[name] *= 2.0
        return out

    at, closes = candles(0, FIVE)
    found = world().changed(lambda tape: each_kind(tape, doubled)).compute(family, at, closes)
    for column in family.COLUMNS:
        factor = 2.0 if "USD" in column.unit else 1.0
        assert np.array_equal(found[column.name], factor * whole(family)[column.name], equal_nan=True), column.name


class Leak:
    """A toy whose one column is `leak` of a context: the suite must not let it pass."""

    PAIRS = (PAIR,)
    COLUMNS = (Column("toy_leak", "USD", "real", "-", "-"),)

    def __init__(self, leak: Any, history: int = 0) -> None:
        self.leak, self.HISTORY = leak, history

    def compute(self, context: Context) -> Columns:
        return {"toy_leak": self.leak(context)}


def shifted(context: Context) -> Float64Array:
    return np.append(context.columns["liq_imbalance"][1:], np.nan)


def mean_of_the_view(context: Context) -> Float64Array:
    flow = context.market().flow
    assert flow is not None
    return np.full(len(context.at), flow["inflow"].mean())


def before_its_history(context: Context) -> Float64Array:
    bars = context.market(PAIR).bars
    assert bars is not None
    row = np.searchsorted(bars["known_at"], context.at - HOUR, side="right") - 1
    return np.where(row >= 0, bars["close"][row], np.nan)


@pytest.mark.parametrize("leak", [shifted, mean_of_the_view, before_its_history])
def test_a_family_that_breaks_the_contract_is_caught(leak: Any) -> None:
    family = Leak(leak)
    at, closes = candles(0, FIVE)
    full, rows = whole(family), slice(250, 300)
    found = world().compute(family, at[rows], closes[rows])
    with pytest.raises(AssertionError, match="differ"):
        same(family, found, {name: column[rows] for name, column in full.items()})


def test_a_declared_history_is_enough() -> None:
    family, (at, closes) = Leak(before_its_history, HOUR + FIVE), candles(0, FIVE)
    rows = slice(250, 300)
    same(family, world().compute(family, at[rows], closes[rows]), {n: c[rows] for n, c in whole(family).items()})


@pytest.mark.parametrize("row", [5, 300, 333])
def test_a_family_is_given_tapes_that_end_at_the_last_candle(row: int) -> None:
    """Law 3, for each kind of each market."""
    at, closes = candles(0, FIVE)
    seen: list[records.Records] = []

    def look(context: Context) -> Float64Array:
        for tape in (context.market(), context.market(PAIR), context.market(venue="bybit")):
            found = [tape.kind(name, source) for name in records.KINDS for source in (*tape.sources(name), None)]
            seen.extend(kind for kind in found if kind is not None)
        for found_map in (context.map(), context.map(PAIR)):
            assert found_map is not None
            seen.extend([found_map.tape.bars, found_map.tape.open_interest])
        return closes[: row + 1]

    world().compute(Leak(look, 1000 * HOUR), at[: row + 1], closes[: row + 1])
    assert len(seen) > 15
    assert all(kind["known_at"].max(initial=0) <= at[row] for kind in seen)
    assert max(kind["known_at"].max(initial=0) for kind in seen) == at[row]


def test_another_pair_must_be_declared() -> None:
    family = Leak(mean_of_the_view)
    family.PAIRS, family.leak = (), lambda context: context.market(PAIR)
    with pytest.raises(RuntimeError, match="PAIRS"):
        world().compute(family, *candles(0, FIVE))


def test_the_map_is_folded_once_for_all_families(monkeypatch: pytest.MonkeyPatch) -> None:
    from liqsignals import liqmap

    folded, read = [], liqmap.read
    monkeypatch.setattr(liqmap, "read", lambda tape, *a: folded.append((tape.pair, tape.venue)) or read(tape, *a))
    at, closes = candles(0, FIVE)
    own = world().tapes[ETH, "binance"]
    features.compute(own, at, closes, FIVE, markets=world(), families=[*features.FAMILIES, *TOYS, BtcForEth()])
    assert sorted(folded) == sorted([(ETH, "binance"), (PAIR, "binance"), (ETH, "bybit")])


# --- through the bot's edge


class Provider:
    """A DataProvider with frames of its own for each pair."""

    runmode = "dry_run"

    def __init__(self, made: dict[str, Market], time: pd.Timestamp) -> None:
        self.seen = {pair: one.upto(time) for pair, one in made.items()}

    def get_pair_dataframe(self, pair: str, timeframe: str, candle_type: str = "") -> pd.DataFrame:
        seen = self.seen[pair]
        frames = {
            ("5m", "futures"): seen.candles[-90:],
            ("5m", "open_interest"): labelled(seen.interest)[-90:],
            ("1h", "funding_rate"): seen.funding[-30:],
        }
        return frames[timeframe, candle_type].reset_index(drop=True).copy()


def two_pairs(root: Path, rows: int | None = None) -> tuple[Path, dict[str, Market]]:
    """A data directory of two pairs that ends after `rows` candles, and all of both."""
    made = {PAIR: make_market(2, 4, volatility=0.003), ETH: make_market(2, 5, volatility=0.003, price=3_000)}
    for pair, one in made.items():
        part = one if rows is None else one.upto(one.candles["date"].iloc[rows])
        datadir = write_datadir(root, part, stem=pair.replace("/", "_").replace(":", "_"))
    return datadir, made


@pytest.mark.parametrize("lengths", [{ETH: 60, PAIR: 60}, {ETH: 40, PAIR: 60}, {ETH: 60, PAIR: 40}])
def test_a_bot_reads_the_disk_once_whatever_history_families_declare(
    lengths: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And wherever the pairs' frames begin: BTC's map is read for both."""
    reads, read = [], place.read_tape
    monkeypatch.setattr(place, "read_tape", lambda *a, **k: reads.append(a[1]) or read(*a, **k))
    datadir, made = two_pairs(tmp_path, 380)
    bot, kept = Signals(datadir, families=[*features.FAMILIES, *TOYS]), []
    for end in range(420, 430):
        for pair in (ETH, PAIR):
            now = made[pair].candles["date"].iloc[end - 1] + pd.Timedelta("5min")
            bot.attach(made[pair].candles[end - lengths[pair] : end], pair, "5m", dp=Provider(made, now))
            market = bot.market(pair)
            assert market is not None
            kept.append(len(market.disk.bars))  # type: ignore[arg-type]
    # Once more where BTC's own frame shows only after the other's that it begins earlier.
    assert sorted(reads) == [*[PAIR] * (1 + (lengths[ETH] < lengths[PAIR])), ETH]
    assert max(kept[2:]) < 100 + features.history() // FIVE  # and drops rows that no family reads


@pytest.mark.parametrize("timeframe", ["5m", "15m"])
def test_a_bot_has_the_bits_of_the_whole_disk_for_families_that_read_other_pairs(
    tmp_path: Path, timeframe: str
) -> None:
    """In turn with the other pair, whose old rows the bot drops, back and forth in time."""
    families: Sequence[features.Family] = [*features.FAMILIES, *TOYS]
    all_of_it, made = two_pairs(tmp_path / "whole")
    names = [column.name for family in families for column in family.COLUMNS]
    frames = {pair: resampled(one.candles, timeframe) for pair, one in made.items()}
    full = {
        pair: Signals(all_of_it, families=families).attach(frame, pair, timeframe) for pair, frame in frames.items()
    }
    bot = Signals(two_pairs(tmp_path / "part", 380)[0], families=families)
    step = 3 if timeframe == "15m" else 1
    for n, row in enumerate([420, 423, 429, 390, 432, 441, 500]):
        end = row // step
        for pair in (ETH, PAIR) if n % 2 else (PAIR, ETH):
            now = frames[pair]["date"].iloc[end - 1] + pd.Timedelta(timeframe.replace("m", "min"))
            length = (60 if pair == ETH else 80) // step
            out = bot.attach(frames[pair][end - length : end], pair, timeframe, dp=Provider(made, now))
            assert_same_bits(out, full[pair][end - length : end], names=names)
            assert np.isfinite(out["toy_btc_move_4h"].iloc[-1])
            assert np.isfinite(out["toy_btc_swept_usd"].iloc[-1])


def test_a_bot_has_the_pairs_refreshed_that_families_read(tmp_path: Path) -> None:
    bot = Signals(two_pairs(tmp_path)[0], families=TOYS)
    assert [pair for pair, _, _ in bot.informative_pairs([ETH])] == [ETH] * 3 + [PAIR] * 3


def taker_rows(made: Market, share: float) -> records.Records:
    closed = made.candles["date"].dt.as_unit("ns").astype("int64").to_numpy() + FIVE
    return records.records(
        records.TAKER, closed, closed + records.TAKER_LAG, buy_base=share, base=1.0, buy_quote=np.nan, quote=np.nan,
        trades=np.nan,
    )  # fmt: skip


def test_kinds_of_the_extras_are_read_when_asked_for_and_again_when_they_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    datadir, made = two_pairs(tmp_path)
    frame = made[ETH].candles
    bot, families = Provider(made, frame["date"].iloc[-1] + pd.Timedelta("5min")), [*features.FAMILIES, OnTheMap()]
    signals = Signals(datadir, families=families)
    share = lambda: signals.attach(frame[-50:], ETH, "5m", dp=bot)["toy_taker_share"]  # noqa: E731
    assert share().isna().all()  # no file
    folder = store.series_dir(datadir / "liqsignals", "taker", "binance", ETH, "5m")
    for value in (0.25, 0.75):
        store.append(folder, taker_rows(made[ETH], value))
        assert (share() == value).all()
    (month,) = folder.glob("*.parquet")
    month.write_bytes(b"torn")
    assert (share() == 0.75).all()  # the last good rows
    assert "cannot be read" in caplog.text
    backtest = Signals(datadir, families=families)
    with pytest.raises(records.InputError, match="cannot be read"):
        backtest.attach(frame[-50:], ETH, "5m")
    # Columns of families that do not ask cost no read.
    assert Signals(datadir).attach(frame[-50:], ETH, "5m")["liq_fresh"].eq(1).all()

"""What becomes known after T changes no bit at or before T; a leak of one candle is caught by the same check."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import (
    FIVE,
    NARROW,
    PAIR,
    Market,
    as_tape,
    assert_same_bits,
    decisions,
    make_market,
    resampled,
    thinned,
    write_datadir,
)
from hypothesis import given
from hypothesis import strategies as st

from liqsignals import features, liqmap
from liqsignals.clock import HOUR, MINUTE, duration_ns
from liqsignals.data.tape import Tape
from liqsignals.features import NAMES
from liqsignals.records import Records
from liqsignals.strategy.signals import Signals

Columns = dict[str, np.ndarray]
Compute = Callable[[Tape, np.ndarray, np.ndarray, int], Columns]

CUT, VALUES, HOLES, LATE, NEW = "cut", "values", "holes", "late", "new records"


def compute(tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int) -> Columns:
    return features.compute(tape, at, closes, timeframe_ns, NARROW)


@cache
def market(seed: int) -> Market:
    return make_market(2.5, seed, volatility=0.003, funding_h=4)


def perturbed_kind(kind: Records, time: int, how: str, rng: np.random.Generator) -> Records:
    """One kind with every record that is known after `time` changed, and none that is known by then."""
    first = int(np.searchsorted(kind["known_at"], time, side="right"))
    head, tail = kind[:first], kind[first:].copy()
    values = [n for n in kind.dtype.names or () if n not in ("event_time", "known_at", "interval_h")]
    if how == CUT:
        return head
    if how == VALUES:
        for name in values:
            tail[name] *= np.exp(rng.normal(0, 3, len(tail)))
        if "high" in values:
            prices = np.sort(np.stack([tail[n] for n in ("open", "high", "low", "close")]), axis=0)
            tail["low"], tail["open"], tail["close"], tail["high"] = prices
    if how == HOLES:
        tail = tail[rng.random(len(tail)) < 0.6]
    if how == LATE and "high" not in values:
        tail["known_at"] += rng.integers(0, 3 * HOUR)
    if how == NEW and len(tail):
        # Known right after `time`, and of any earlier time: late is not the same as recent.
        tail = np.concatenate([tail[:1], tail])
        tail["known_at"][0] = time + 1
        for name in values:
            tail[name][0] *= 1.5
        if "high" in values:
            tail["event_time"][0] = time + 1
    return np.concatenate([head, tail])


def perturbed(tape: Tape, time: int, how: str, seed: int) -> Tape:
    rng = np.random.default_rng(seed)
    assert tape.bars is not None
    assert tape.open_interest is not None
    assert tape.flow is not None
    return replace(
        tape,
        bars=perturbed_kind(tape.bars, time, how, rng),
        open_interest=perturbed_kind(tape.open_interest, time, how, rng),
        funding={venue: perturbed_kind(kind, time, how, rng) for venue, kind in tape.funding.items()},
        flow=perturbed_kind(tape.flow, time, how, rng),
    )


def check_causal(
    function: Compute, tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int, time: int, how: str, seed: int
) -> None:
    """Law of this file for one function: rows up to `time` keep every bit in all columns."""
    upto = int(np.searchsorted(at, time, side="right"))
    other_closes = closes.copy()
    other_closes[upto:] *= np.exp(np.random.default_rng(seed).normal(0, 0.05, len(at) - upto))
    full = function(tape, at, closes, timeframe_ns)
    other = function(perturbed(tape, time, how, seed), at, other_closes, timeframe_ns)
    assert_same_bits(full, other, slice(upto))
    prefix = function(tape, at[:upto], closes[:upto], timeframe_ns)
    assert_same_bits(full, prefix, slice(upto))


@given(
    seed=st.integers(0, 2),
    part=st.floats(0.05, 0.99),
    off=st.sampled_from([0, 0, 1, MINUTE, FIVE - 1]),
    how=st.sampled_from([CUT, VALUES, HOLES, LATE, NEW]),
    period=st.sampled_from(["5m", "1h"]),
    timeframe=st.sampled_from(["5m", "5m", "15m", "1h"]),
    noise=st.integers(0, 1000),
)
def test_records_known_after_a_time_change_no_bit_before_it(
    seed: int, part: float, off: int, how: str, period: str, timeframe: str, noise: int
) -> None:
    tape = as_tape(market(seed), period)
    tape.funding["bybit"] = tape.funding["binance"].copy()
    tape.funding["bybit"]["rate"] += 1e-4
    at, closes = decisions(resampled(market(seed).candles, timeframe), timeframe)
    time = int(at[int(part * (len(at) - 1))]) + off
    check_causal(compute, tape, at, closes, duration_ns(timeframe), time, how, noise)


def known_one_bar_early(kind: Records) -> Records:
    early = kind.copy()
    early["known_at"] = np.maximum(early["known_at"] - FIVE, early["event_time"])
    return early


def leak_open_interest(tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int) -> Columns:
    assert tape.open_interest is not None
    return compute(replace(tape, open_interest=known_one_bar_early(tape.open_interest)), at, closes, timeframe_ns)


def leak_funding(tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int) -> Columns:
    early = {venue: kind.copy() for venue, kind in tape.funding.items()}
    for kind in early.values():
        kind["known_at"] -= FIVE
    return compute(replace(tape, funding=early), at, closes, timeframe_ns)


def leak_flow(tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int) -> Columns:
    assert tape.flow is not None
    early = tape.flow.copy()
    early["known_at"] -= FIVE
    return compute(replace(tape, flow=early), at, closes, timeframe_ns)


def leak_next_row(tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int) -> Columns:
    """One column reads row + 1: the leak that `lookahead-analysis` cannot see."""
    out = compute(tape, at, closes, timeframe_ns)
    out["liq_imbalance"] = np.append(out["liq_imbalance"][1:], np.nan)
    return out


def leak_past_the_cut(tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int) -> Columns:
    """A feature that looks at the uncut tape: shortening the dataframe would not shorten its data (law 3)."""
    out = compute(tape, at, closes, timeframe_ns)
    assert tape.flow is not None
    out["flow_netflow_pct"] = np.full(len(at), tape.flow["inflow"].mean())
    return out


@pytest.mark.parametrize(
    ("leak", "offsets"),
    [
        (leak_open_interest, range(0, 3)),
        (leak_funding, [0]),
        (leak_flow, [4 * 12 - 1]),
        (leak_next_row, range(0, 3)),
        (leak_past_the_cut, [0]),
    ],
)
def test_a_planted_leak_of_one_candle_is_caught(leak: Compute, offsets: range) -> None:
    """T is a candle before a record becomes known by the rule: funding at 00:01, flows at 04:00."""
    tape = as_tape(market(0))
    at, closes = decisions(market(0).candles)
    midnight = int(np.flatnonzero(at == at[-1] // (24 * HOUR) * 24 * HOUR)[0])
    for offset in offsets:
        check_causal(compute, tape, at, closes, FIVE, int(at[midnight + offset]), VALUES, 1)
        with pytest.raises(AssertionError, match="differ"):
            check_causal(leak, tape, at, closes, FIVE, int(at[midnight + offset]), VALUES, 1)


def perturbed_market(made: Market, time: pd.Timestamp, how: str, seed: int) -> Market:
    """Frames whose rows that no bot could know at `time` are gone, or of another market."""
    if how == CUT:
        cut = made.upto(time)
        day = pd.to_datetime(made.flows["time"], utc=True)
        return replace(cut, flows=made.flows[day + pd.Timedelta("28h") <= time])
    other = make_market(2.5, seed + 50, volatility=0.02, price=20_000, funding_h=4)
    keep = made.candles["date"] + pd.Timedelta("5min") <= time
    candles = pd.concat([made.candles[keep], other.candles[~keep.to_numpy()]])
    known = made.interest["date"] <= time
    interest = pd.concat([made.interest[known], other.interest[~known.to_numpy()]])
    settled = made.funding["date"] <= time
    funding = pd.concat([made.funding[settled], made.funding[~settled].assign(funding_rate=0.01)])
    flows = made.flows.copy()
    late = (pd.to_datetime(flows["time"], utc=True) + pd.Timedelta("28h") > time).to_numpy()
    flows.loc[late, "FlowInExNtv"] *= 3.0
    return Market(candles, interest, funding, flows)


@given(
    seed=st.integers(0, 2),
    part=st.floats(0.6, 0.99),
    how=st.sampled_from([CUT, VALUES]),
    flip=st.sampled_from([None, pd.Timestamp("2020-01-01", tz="UTC")]),
    period=st.sampled_from(["5m", "15m"]),
    noise=st.integers(0, 1000),
)
def test_rows_of_the_files_after_a_time_change_no_bit_before_it(
    seed: int, part: float, how: str, flip: pd.Timestamp | None, period: str, noise: int
) -> None:
    """T lies behind a first block of labels that decides (a day of 5m rows, 29 h of 15m rows)."""
    made = market(seed)
    row = int(part * (len(made.candles) - 1))
    time = made.candles["date"].iloc[row] + pd.Timedelta("5min")
    with TemporaryDirectory() as folder:
        datadir = write_datadir(Path(folder), made, flip=flip, period=period)
        full = Signals(datadir).attach(made.candles, PAIR, "5m")
        other_market = perturbed_market(made, time, how, noise)
        write_datadir(Path(folder), other_market, flip=flip, period=period)
        other = Signals(datadir).attach(other_market.candles, PAIR, "5m")
        assert_same_bits(full, other, slice(row + 1))
        assert_same_bits(full, Signals(datadir).attach(made.candles[: row + 1], PAIR, "5m"), slice(row + 1))
    assert np.isfinite(full["liq_imbalance"].to_numpy()[row])


@given(seed=st.integers(0, 2), part=st.floats(0.1, 0.9))
def test_open_interest_is_first_read_two_periods_after_its_snapshot(seed: int, part: float) -> None:
    """One snapshot changed: the rows before snapshot + 2 periods keep their bits, the row at it does not."""
    for period in ("5m", "1h"):
        tape = as_tape(market(seed), period)
        assert tape.open_interest is not None
        at, closes = decisions(market(seed).candles)
        row = int(part * (len(thinned(market(seed).interest, period)) - 3))
        interest = tape.open_interest.copy()
        interest["base"][row] *= 1.01
        full = compute(tape, at, closes, FIVE)
        other = compute(replace(tape, open_interest=interest), at, closes, FIVE)
        first = int(np.searchsorted(at, interest["event_time"][row] + 2 * duration_ns(period)))
        assert_same_bits(full, other, slice(first))
        assert full["liq_remainder_long"][first] != other["liq_remainder_long"][first]


def test_a_funding_record_of_an_early_time_that_comes_late_changes_nothing_before_it_is_known() -> None:
    tape = as_tape(market(1))
    at, closes = decisions(market(1).candles)
    time = int(at[300])
    late = tape.funding["binance"][20:21].copy()
    late["known_at"] = time + FIVE
    late["rate"] = 0.01
    funding = np.concatenate([tape.funding["binance"], late])
    funding = funding[np.lexsort((funding["event_time"], funding["known_at"]))]
    full = compute(tape, at, closes, FIVE)
    other = compute(replace(tape, funding={"binance": funding}), at, closes, FIVE)
    assert_same_bits(full, other, slice(301))


def test_all_columns_take_part() -> None:
    """The tapes above must give every column finite values, or the checks would compare NaN with NaN."""
    made = make_market(2.5, 0, volatility=0.003, funding_h=4)
    tape = as_tape(made)
    tape.funding["bybit"] = tape.funding["binance"].copy()
    at, closes = decisions(made.candles)
    out = features.compute(tape, at, closes, FIVE, liqmap.Parameters(score=0.9))
    assert [name for name in NAMES if not np.isfinite(out[name]).any()] == []
    assert liqmap.BANDS.tolist() == [0.01, 0.02, 0.05, 0.10]


def test_features_are_given_a_tape_that_ends_at_the_last_candle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 3: whatever shortens the dataframe shortens the data, before any feature sees them."""
    tape = as_tape(market(0))
    at, closes = decisions(market(0).candles)
    seen: list[Records | None] = []
    fold, settled, moved = liqmap.read, features.funding.columns, features.flows.columns

    def read(view: Tape, *arguments: Any) -> Any:
        seen.extend([view.bars, view.open_interest])
        return fold(view, *arguments)

    def funding_columns(venues: dict[str, Records], at: np.ndarray) -> Columns:
        seen.extend(venues.values())
        return settled(venues, at)

    def flow_columns(flow: Records | None, at: np.ndarray) -> Columns:
        seen.append(flow)
        return moved(flow, at)

    monkeypatch.setattr(liqmap, "read", read)
    monkeypatch.setattr(features.funding, "columns", funding_columns)
    monkeypatch.setattr(features.flows, "columns", flow_columns)
    for row in (5, 300, 333):
        seen.clear()
        compute(tape, at[: row + 1], closes[: row + 1], FIVE)
        assert len(seen) == 4
        for kind in seen:
            assert kind is not None
            assert len(kind)
            assert kind["known_at"].max() <= at[row]

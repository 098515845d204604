"""Batch, slice and live are the same call: any slice, any chunking, any order, state or none: the same bits (law 4)."""

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

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
    write_datadir,
)
from hypothesis import given
from hypothesis import strategies as st

from liqsignals import features, liqmap
from liqsignals.clock import duration_ns
from liqsignals.data.tape import Tape
from liqsignals.strategy.signals import Signals

ROWS = 432


@cache
def market() -> Market:
    """A day and a half with a hole of an hour in the candles and one of 50 minutes in open interest."""
    made = make_market(ROWS / 288, 7, volatility=0.003, funding_h=4)
    return replace(
        made,
        candles=made.candles.drop(index=range(200, 212)).reset_index(drop=True),
        interest=made.interest.drop(index=range(300, 310)).reset_index(drop=True),
    )


@cache
def whole(timeframe: str) -> tuple[Tape, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    tape = as_tape(market())
    at, closes = decisions(resampled(market().candles, timeframe), timeframe)
    return tape, at, closes, features.compute(tape, at, closes, duration_ns(timeframe), NARROW)


@pytest.fixture(scope="module")
def datadir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_datadir(tmp_path_factory.mktemp("slices"), market())


@given(
    timeframe=st.sampled_from(["5m", "15m"]),
    slices=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8),
)
def test_a_state_changes_no_bit_whatever_the_order_of_views(timeframe: str, slices: list[tuple[float, float]]) -> None:
    """The view may go back in time: full and cut runs of lookahead-analysis share one process."""
    tape, at, closes, full = whole(timeframe)
    state = liqmap.FoldState()
    for ends in slices:
        first, last = sorted(round(part * (len(at) - 1)) for part in ends)
        rows = slice(first, last + 1)
        found = features.compute(tape, at[rows], closes[rows], duration_ns(timeframe), NARROW, state)
        assert_same_bits(found, {name: column[rows] for name, column in full.items()})


@given(cuts=st.lists(st.integers(1, ROWS - 13), max_size=12), with_state=st.booleans())
def test_any_chunking_gives_the_same_bits(cuts: list[int], with_state: bool) -> None:
    tape, at, closes, full = whole("5m")
    state = liqmap.FoldState() if with_state else None
    edges = [0, *sorted(set(cuts)), len(at)]
    parts = [features.compute(tape, at[a:z], closes[a:z], FIVE, NARROW, state) for a, z in pairwise(edges)]
    assert_same_bits({name: np.concatenate([p[name] for p in parts]) for name in full}, full)


def test_one_candle_at_a_time_gives_the_same_bits() -> None:
    tape, at, closes, full = whole("5m")
    state = liqmap.FoldState()
    for row in range(150, 260):  # across the hole in the candles
        one = features.compute(tape, at[row : row + 1], closes[row : row + 1], FIVE, NARROW, state)
        assert_same_bits(one, {name: column[row : row + 1] for name, column in full.items()})


def test_a_live_window_that_moves_on_gives_the_same_bits(datadir: Path) -> None:
    """199 candles of startup or 399: the map starts with the tape, not with the dataframe (law 5)."""
    frame = market().candles
    full = Signals(datadir).attach(frame, PAIR, "5m")
    for length in (199, 399):
        signals = Signals(datadir)
        for end in range(length, len(frame) + 1, 7):
            part = frame.iloc[end - length : end]
            assert_same_bits(signals.attach(part, PAIR, "5m"), full.iloc[end - length : end])


@given(slices=st.lists(st.tuples(st.integers(0, ROWS - 13), st.integers(1, 300)), min_size=2, max_size=6))
def test_one_object_answers_any_order_of_calls(datadir: Path, slices: list[tuple[int, int]]) -> None:
    frame = market().candles
    full = Signals(datadir).attach(frame, PAIR, "5m")
    signals = Signals(datadir)
    for first, length in slices:
        part = frame.iloc[first : first + length]
        assert_same_bits(signals.attach(part, PAIR, "5m"), full.iloc[first : first + length])
    coarse = resampled(frame, "15m")
    assert_same_bits(signals.attach(coarse, PAIR, "15m"), Signals(datadir).attach(coarse, PAIR, "15m"))


def test_a_state_of_another_past_is_not_used() -> None:
    """State is resumed only where the tape begins as it did: each field changed alone, the state kept."""
    tape, at, closes, _ = whole("5m")
    others: list[Tape] = []
    for name in ("open", "low", "high", "close", "volume"):
        bars = tape.bars.copy()
        # An open or close stays inside the bar's range: nothing else is let in.
        middle = np.sqrt(bars["low"][20] * bars["high"][20])
        bars[name][20] = {"open": middle, "close": middle}.get(
            name, bars[name][20] * (0.999 if name == "low" else 1.001)
        )
        others.append(replace(tape, bars=bars))
    interest = tape.open_interest.copy()
    interest["base"][20] += 3.0
    others.append(replace(tape, open_interest=interest))
    late = tape.open_interest.copy()
    late["known_at"][20:22] += FIVE
    others.append(replace(tape, open_interest=late))
    others.append(replace(tape, bars=np.delete(tape.bars, 20)))
    others.append(replace(tape, open_interest=tape.open_interest[10:]))
    for other in others:
        state = liqmap.FoldState()
        features.compute(tape, at[150:], closes[150:], FIVE, NARROW, state)
        found = features.compute(other, at[150:], closes[150:], FIVE, NARROW, state)
        assert_same_bits(found, features.compute(other, at[150:], closes[150:], FIVE, NARROW))


def test_a_state_of_other_parameters_is_not_used() -> None:
    tape, at, closes, _ = whole("5m")
    state = liqmap.FoldState()
    features.compute(tape, at[150:], closes[150:], FIVE, NARROW, state)
    other = replace(NARROW, turnover=0.1)
    found = features.compute(tape, at[150:], closes[150:], FIVE, other, state)
    assert_same_bits(found, features.compute(tape, at[150:], closes[150:], FIVE, other))


def test_a_state_of_another_level_of_open_interest_is_not_used() -> None:
    """All changes alike, the level not: the book starts with the level."""
    made = make_market(0.5, 3)
    interest = made.interest.assign(open_interest_amount=10_000.0 + np.arange(len(made.interest)) % 7)
    at, closes = decisions(made.candles)
    one = as_tape(replace(made, interest=interest))
    other = as_tape(
        replace(made, interest=interest.assign(open_interest_amount=interest["open_interest_amount"] + 4096))
    )
    state = liqmap.FoldState()
    features.compute(one, at[80:], closes[80:], FIVE, NARROW, state)
    found = features.compute(other, at[80:], closes[80:], FIVE, NARROW, state)
    assert_same_bits(found, features.compute(other, at[80:], closes[80:], FIVE, NARROW))


def test_a_frame_before_the_tape_and_one_after_it(datadir: Path) -> None:
    frame = market().candles.iloc[:30]
    early = frame.assign(date=frame["date"] - pd.Timedelta("90D"))
    late = frame.assign(date=frame["date"] + pd.Timedelta("60D"))
    for part in (early, late):
        out = Signals(datadir).attach(part, PAIR, "5m")
        assert (out["liq_fresh"] == 0).all()
        assert out["liq_imbalance"].isna().all()
        assert (out["fund_fresh"] == 0).all()
        assert (out["flow_fresh"] == 0).all()

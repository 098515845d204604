"""Stops are prices: the arithmetic between freqtrade's profit on margin and a distance, for every leverage and side."""

import math

import pytest
from freqtrade.strategy import stoploss_from_absolute
from hypothesis import given
from hypothesis import strategies as st

from liqsignals.strategy import sizing

PRICES = st.floats(1e-6, 1e6)
DISTANCES = st.floats(1e-4, 0.3)
LEVERAGES = st.floats(1.0, 125.0)
#: Rounding of doubles: a handful of operations on numbers near 1.
CLOSE = {"rel": 1e-9}


@given(DISTANCES, LEVERAGES)
def test_distance_and_stoploss_are_inverse(distance: float, leverage: float) -> None:
    assert sizing.distance_of(sizing.stop_for(distance, leverage), leverage) == pytest.approx(distance, **CLOSE)
    assert sizing.distance_of(-sizing.stop_for(distance, leverage), leverage) >= 0


@given(PRICES, DISTANCES, LEVERAGES, LEVERAGES, st.booleans())
def test_the_price_of_a_stop_does_not_depend_on_leverage(
    entry: float, distance: float, one: float, other: float, is_short: bool
) -> None:
    """freqtrade's own rule (Trade.adjust_stop_loss) with our stop value gives the same price for any two leverages."""
    sign = 1 if is_short else -1
    first, second = (entry * (1 + sign * sizing.stop_for(distance, used) / used) for used in (one, other))
    assert first == pytest.approx(second, **CLOSE)
    assert first == pytest.approx(sizing.stop_price(entry, distance, is_short), **CLOSE)


@given(PRICES, DISTANCES, LEVERAGES, st.booleans())
def test_freqtrade_puts_the_stop_where_we_do(entry: float, distance: float, leverage: float, is_short: bool) -> None:
    stop = sizing.stop_price(entry, distance, is_short)
    value = stoploss_from_absolute(stop, entry, is_short=is_short, leverage=leverage)
    assert value == pytest.approx(sizing.stop_for(distance, leverage), rel=1e-6)


@given(PRICES, DISTANCES, st.floats(0.5, 2.0), st.booleans())
def test_the_way_to_the_stop_ends_at_the_stop(entry: float, distance: float, move: float, is_short: bool) -> None:
    stop, rate = sizing.stop_price(entry, distance, is_short), entry * move
    assert sizing.way_to(stop, entry, is_short) == pytest.approx(distance, **CLOSE)
    assert sizing.way_to(stop, stop, is_short) == 0
    way = sizing.way_to(stop, rate, is_short)
    assert (way > 0) == (rate < stop if is_short else rate > stop) or math.isclose(rate, stop)


@given(PRICES, st.one_of(PRICES, st.sampled_from([None, math.nan, math.inf, 0.0, -1.0])), st.booleans())
def test_the_nearer_stop_is_never_farther(stop: float, other: float | None, is_short: bool) -> None:
    found = sizing.nearer(stop, other, is_short)
    assert found in (stop, other)
    assert 0 < found < math.inf
    assert sizing.stands(found, stop, is_short)
    if other is not None and 0 < other < math.inf:
        assert sizing.stands(found, other, is_short)


@given(PRICES, DISTANCES, st.booleans())
def test_a_stop_stands_at_its_price_and_not_a_tick_beyond(entry: float, distance: float, is_short: bool) -> None:
    stop = sizing.stop_price(entry, distance, is_short)
    beyond = 1 + 1e-8 if is_short else 1 - 1e-8
    assert sizing.stands(stop, stop, is_short)
    assert not sizing.stands(stop * beyond, stop, is_short)
    assert sizing.stands(stop / beyond, stop, is_short)
    assert not sizing.stands(None, stop, is_short)
    assert not sizing.stands(0.0, stop, is_short)


@given(st.floats(), st.floats())
def test_leverage_is_whole_and_within_both_bounds(most: float, allowed: float) -> None:
    used = sizing.leverage_within(most, allowed)
    assert used >= 1
    assert used == int(used)
    assert used == 1.0 or used <= min(most, allowed)


@given(st.floats(), st.floats())
def test_a_stake_is_the_proposal_or_nothing(proposed: float, largest: float) -> None:
    stake = sizing.stake_within(proposed, largest)
    assert stake in (0.0, proposed)
    assert 0 <= stake < math.inf
    assert stake == 0.0 or largest > 0

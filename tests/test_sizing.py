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


@given(PRICES, DISTANCES, LEVERAGES, st.booleans())
def test_freqtrade_puts_the_stop_where_we_do(entry: float, distance: float, leverage: float, is_short: bool) -> None:
    stop = sizing.stop_price(entry, distance, is_short)
    value = stoploss_from_absolute(stop, entry, is_short=is_short, leverage=leverage)
    assert value == pytest.approx(distance * leverage, rel=1e-6)


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


EQUITY = st.floats(1.0, 1e9)
LIMITS = st.builds(
    sizing.Limits, per_trade=st.floats(1e-4, 0.05), gap=st.floats(0.05, 0.5), gap_budget=st.floats(1e-3, 0.2),
    leverage=st.floats(1.0, 10.0),
)  # fmt: skip


@given(EQUITY, st.floats(0, 0.5), DISTANCES, LEVERAGES, st.floats(1.0, 1e9), LIMITS)
def test_no_size_loses_more_than_its_risk_or_the_gap_budget(
    equity: float, share: float, distance: float, allowed: float, largest: float, limits: sizing.Limits
) -> None:
    found = sizing.size(equity, share * equity, distance, allowed, largest, None, limits)
    assert found.notional * distance <= equity * limits.per_trade * (1 + 1e-9)
    if found.stake:
        assert (share * equity + found.notional) * limits.gap <= equity * limits.gap_budget * (1 + 1e-9)
    assert 0 <= found.stake <= largest
    assert bool(found.refused) == (found.stake == 0)
    assert found.leverage == sizing.leverage_within(limits.leverage, allowed)
    # As large as one of the bounds allows.
    room = equity * limits.gap_budget / limits.gap - share * equity
    bound = min(equity * limits.per_trade / distance / found.leverage, max(room, 0.0) / found.leverage, largest)
    assert found.stake == pytest.approx(bound, rel=1e-9, abs=1e-9)


@given(EQUITY, DISTANCES, st.floats(0.5, 2.0))
def test_a_size_below_the_smallest_stake_is_refused(equity: float, distance: float, factor: float) -> None:
    free = sizing.size(equity, 0.0, distance, 3.0)
    found = sizing.size(equity, 0.0, distance, 3.0, least=free.stake * factor)
    assert found.stake == (free.stake if factor <= 1 else 0.0)


@given(st.lists(st.tuples(st.floats(0.001, 0.2), st.booleans()), max_size=6))
def test_the_market_never_holds_more_than_a_third_of_the_account(entries: list[tuple[float, bool]]) -> None:
    """Whatever the order, the pairs and the sides: what stops do not hold costs 5 % of the account at a gap of 15 %."""
    held = 0.0
    for distance, _ in entries:
        held += sizing.size(10_000.0, held, distance, 125.0).notional
    assert held * 0.15 <= 500.0 * (1 + 1e-9)


@given(st.floats(), st.floats(), st.floats(), st.floats(), st.floats())
def test_whatever_is_no_number_is_no_trade(
    equity: float, held: float, distance: float, allowed: float, largest: float
) -> None:
    found = sizing.size(equity, held, distance, allowed, largest)
    assert 0 <= found.stake < math.inf
    if found.stake:
        assert all(math.isfinite(x) for x in (equity, held, distance))

"""The price inside a bar, as the loopback exchange walks it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from liqsignals.exchange.path import DWELLS, Bar, Path

SHARES = np.linspace(0, 1, 401)[:-1].tolist()
prices = st.integers(9_000, 11_000).map(lambda ticks: ticks / 10)


@st.composite
def bars(draw: st.DrawFn) -> Bar:
    four = sorted(draw(st.tuples(prices, prices, prices, prices)))
    open_, close = draw(st.permutations(four[1:3]))
    return Bar(1_700_000_100_000, open_, four[3], four[0], close, draw(st.floats(0, 1e6)))


@given(bars(), st.lists(st.floats(0, 1), max_size=4))
def test_the_path_stays_inside_and_touches_all_four(bar: Bar, shares: list[float]) -> None:
    extremes = [bar.low, bar.high] if bar.close >= bar.open else [bar.high, bar.low]
    before = [round(bar.low + share * (bar.high - bar.low), 1) for share in shares]
    for path in (Path(1), Path(1, {bar.date: [*extremes, *before]})):
        shown = [path.forming(bar, share) for share in SHARES]
        walk = [row.close for row in shown]
        assert bar.low == min(walk)
        assert bar.high == max(walk)
        assert (walk[0], walk[-1]) == (bar.open, bar.close)
        # No jump: at 400 looks a leg takes at least 5 % of the bar, or a quarter of its part of it.
        legs = 0.05 if len(path.stops(bar)) == 4 else 0.25 / len(path.stops(bar))
        assert np.abs(np.diff(walk)).max() <= (bar.high - bar.low) / (legs * len(SHARES)) + 0.1 + 1e-9
        # High and low are the extremes so far; each fraction of a tick was rounded.
        assert [row.high for row in shown] == np.maximum.accumulate(walk).tolist()
        assert [row.low for row in shown] == np.minimum.accumulate(walk).tolist()
        assert all(round(price, 1) == price for price in walk)
        assert path.forming(bar, 1) == bar
        first = walk.index(bar.low if bar.close >= bar.open else bar.high)
        last = walk.index(bar.high if bar.close >= bar.open else bar.low)
        assert first <= last or bar.open in (bar.high, bar.low)


@given(bars())
def test_it_dwells_where_it_says(bar: Bar) -> None:
    path = Path(1)
    extremes = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
    assert path.stops(bar) == list(zip(DWELLS, (bar.open, *extremes, bar.close), strict=True))
    for (begin, end), (share, price) in zip(
        ((0, 0.3), (0.35, 0.5), (0.6, 0.75), (0.85, 0.999999)), path.stops(bar), strict=True
    ):
        assert begin <= share < end
        assert {path.forming(bar, at).close for at in (begin, share, end)} == {price}


def test_it_walks_evenly_and_in_ticks_between_dwells() -> None:
    path = Path(0)
    bar = Bar(0, 100.0, 110.0, 90.0, 105.0, 8.0)
    assert [path.forming(bar, share).close for share in (0.31, 0.325, 0.34, 0.55, 0.8)] == [98, 95, 92, 100, 108]
    assert path.forming(bar, 0.55) == (0, 100.0, 100.0, 90.0, 100.0, 4.4)
    assert path.forming(bar._replace(close=99.0), 0.325).close == 105


def test_a_bar_off_todays_tick_is_not_left() -> None:
    bar = Bar(0, 100.04, 100.08, 100.02, 100.06, 1.0)
    walk = [Path(1).forming(bar, share).close for share in SHARES]
    assert (min(walk), max(walk)) == (100.02, 100.08)


@given(bars())
def test_another_walk_is_dwelt_at_in_its_order(bar: Bar) -> None:
    walk = [bar.high, bar.open, bar.low, bar.high, bar.low]
    path = Path(1, {bar.date: walk})
    stops = path.stops(bar)
    assert [price for _, price in stops] == [bar.open, *walk, bar.close]
    assert [share for share, _ in stops] == sorted({share for share, _ in stops})
    for share, price in stops:
        # Within the dwell, and with most of it ahead.
        assert {path.forming(bar, at).close for at in (share, share + 0.5 / len(stops))} == {price}
    assert Path(1, {bar.date + 1: walk}).stops(bar) == Path(1).stops(bar)

"""The way of the price in the bar of an exit: a small bot that walks it does what freqtrade's backtest supposes."""

import math
import random
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from test_intrabar import bars

from liqsignals.exchange.path import Bar, Path
from liqsignals.replay.walks import Exit, walk

TICK = 0.1
#: What a bot's price may differ by: the spread of a tick, and a tick.
ALLOWED = 2 * TICK + 1e-9


@dataclass(frozen=True)
class Position:
    """A trade as both have it when the bar opens: stop, distance of a trailing stop and profit of the target, as
    fractions.
    """

    is_short: bool
    entry: float
    stop: float
    distance: float
    profit: float
    entered: bool

    @property
    def side(self) -> int:
        return -1 if self.is_short else 1

    def raised(self, stop: float, price: float) -> float:
        """The stop after a look at a price: on whole ticks, towards the price, never loosened."""
        exact = price * (1 - self.side * self.distance) / TICK
        ticks = math.floor(round(exact, 6)) if self.is_short else math.ceil(round(exact, 6))
        return self.side * max(self.side * stop, self.side * round(ticks * TICK, 1))


def backtested(bar: Bar, held: Position) -> tuple[str, Exit] | None:
    """freqtrade's backtest of one bar, as its `should_exit` and `_get_close_rate` have it."""
    side = held.side
    best, worst = (bar.low, bar.high) if held.is_short else (bar.high, bar.low)
    stop = held.stop
    carried = side * (worst - stop) <= 0
    if not carried:
        stop = held.raised(stop, best)
    target = held.entry * (1 + side * held.profit)

    def found(kind: str, price: float, raised: bool) -> tuple[str, Exit]:
        return kind, Exit(round(price, 1), held.is_short, kind == "roi", raised, held.entered, stop, held.distance)

    if carried:
        return found("stop", stop, False)
    if side * (best - target) > 0:
        return found("roi", target, False)
    if side * (worst - stop) <= 0:
        price = stop
        if held.entered:
            price = side * max(side * worst, side * bar.open * (1 - side * held.distance))
        return found("trailing", price, True)
    return None


def driven(stops: list[float], held: Position) -> tuple[str, float] | None:
    """A bot that buys and sells at a spread of one tick, shown these prices."""
    side, stop, moved = held.side, held.stop, False
    entry = held.entry if held.is_short else held.entry + TICK
    for price in stops:
        rate = round(price + TICK, 1) if held.is_short else price
        if side * (rate - stop) > 0:
            now = held.raised(stop, rate)
            moved |= now != stop
            stop = now
        hit = side * (rate - stop) <= 0
        if hit and not moved:
            return "stop", rate
        if side * (rate - entry * (1 + side * held.profit)) > 0:
            return "roi", rate
        if hit:
            return "trailing", rate
    return None


def case(rng: random.Random) -> tuple[Bar, Position]:
    """A bar, and a trade that was opened before it or at its open, whose stop is not reached there."""
    low, one, other, high = sorted(rng.randint(9_000, 11_000) / 10 for _ in range(4))
    if rng.random() < 0.5:
        one, other = other, one
    bar = Bar(0, one, high, low, other, 1.0)
    is_short, entered = rng.random() < 0.5, rng.random() < 0.5
    side = -1 if is_short else 1
    entry = bar.open if entered else round(bar.open + rng.randint(-200, 200) * TICK, 1)
    distance, profit = rng.uniform(0.003, 0.08), rng.uniform(0.001, 0.08)
    stop = round(bar.open * (1 - side * distance * rng.uniform(0.3, 0.9)), 1)
    return bar, Position(is_short, entry, stop, distance, profit, entered)


def test_a_bot_exits_where_the_backtest_does() -> None:
    rng = random.Random(1)
    seen: Counter[tuple[str, bool, bool]] = Counter()
    for _ in range(20_000):
        bar, held = case(rng)
        side = held.side
        if (told := backtested(bar, held)) is None or side * (
            bar.open - held.entry * (1 + side * held.profit)
        ) > -4 * TICK:
            continue  # the latter had been sold before
        kind, exit_ = told
        best, worst = (bar.low, bar.high) if held.is_short else (bar.high, bar.low)
        worst_case = held.entered and kind == "trailing"
        # Within two spreads and ticks of an extreme, one of them touches what the other does not: parity's class
        # "edge".
        if abs(exit_.price - (best if kind == "roi" else worst)) <= 2 * ALLOWED and not worst_case:
            continue
        # A stop that was raised in the bar of entry: the bar must have room to raise it where the backtest fills it.
        if (
            worst_case
            and side * (best - max(side * bar.open, side * exit_.price / (1 - side * held.distance)) * side) <= 4 * TICK
        ):
            continue
        path = Path(1, {bar.date: walk(bar, exit_, 1)})
        ours = driven([price for _, price in path.stops(bar)], held)
        assert ours is not None, (bar, held, told)
        assert ours[0] == kind, (bar, held, told, ours)
        assert abs(ours[1] - exit_.price) <= ALLOWED + TICK * worst_case, (bar, held, told, ours)
        seen[kind, held.is_short, held.entered] += 1
    assert min(seen.values()) > 50, seen
    assert len(seen) == 12, seen


@given(bars(), st.builds(Exit, st.floats(850, 1150), *[st.booleans()] * 4, st.floats(850, 1150), st.floats(0, 0.2)))
def test_a_walk_stays_in_its_bar_and_touches_both_extremes(bar: Bar, exit_: Exit) -> None:
    prices = walk(bar, exit_, 1)
    assert (min(prices), max(prices)) == (bar.low, bar.high)
    assert all(round(price, 1) == price for price in prices)
    assert all(one != other for one, other in pairwise(prices))


def test_the_order_that_a_backtest_supposes() -> None:
    bar = Bar(0, 100.0, 110.0, 90.0, 105.0, 1.0)

    def walked(price: float, is_short: bool = False, **more: bool) -> list[float]:
        about = {"roi": False, "raised": False, "entered": False} | more
        return walk(bar, Exit(price, is_short, **about, stop=104.5, distance=0.05), 1)

    assert walked(95.0) == [95.0, 94.9, 94.8, 90.0, 110.0]
    assert walked(108.0, roi=True) == [108.0, 108.1, 108.2, 110.0, 90.0]
    assert walked(104.5, raised=True) == [110.0, 104.5, 104.4, 104.3, 90.0]
    assert walked(98.0, raised=True, entered=True) == [103.4, 98.0, 97.9, 97.8, 110.0, 104.5, 104.4, 104.3, 90.0]
    assert walked(105.0, is_short=True) == [105.0, 105.1, 105.2, 110.0, 90.0]
    assert walked(92.0, is_short=True, roi=True) == [92.0, 91.9, 91.8, 90.0, 110.0]

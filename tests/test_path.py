"""The path inside a bar: cases by hand, classes told apart, resolutions alike, clusters that keep still."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from conftest import FIVE, NARROW, PAIR, START, as_tape, make_market, uncompiled
from hypothesis import given
from hypothesis import strategies as st
from oracle import Oracle
from test_kernels import check_conservation, folded, levels, small

from liqsignals import features, liqmap, records
from liqsignals.clock import HOUR, MINUTE
from liqsignals.data.tape import Tape
from liqsignals.liqmap import kernels
from liqsignals.liqmap.book import STEP
from liqsignals.liqmap.fold import Fold
from liqsignals.liqmap.kernels import Distances
from liqsignals.liqmap.parameters import LeverageClass, Parameters

#: One class, half of what is opened, its levels ten buckets from the entry, on either side.
ONE = Parameters((LeverageClass(60, 70, 1.0, 20_000),), remainder=0.5, turnover=1.0)
TEN = Distances.of([[np.ones(1)], [np.ones(1)]], np.full((2, 1), 10))
VOLUME = 100.0
HELD = 10_000.0


def bars_of(*bars: tuple[float, float, float, float], volume: float = VOLUME) -> Tape:
    """A bar that only starts the book, then `bars`: open, high, low, close in buckets above bucket 22,000. Open
    interest is known once, at the start.
    """
    rows = np.exp((22_000 + np.array([(bars[0][0],) * 4, *bars])) * STEP).T
    at = START + FIVE * np.arange(1, rows.shape[1] + 1)
    volumes = np.array([0.0] + [volume] * len(bars))
    bar = records.records(
        records.BAR, at, at, **dict(zip(("open", "high", "low", "close"), rows, strict=True)), volume=volumes
    )
    interest = records.records(records.OPEN_INTEREST, at[:1], at[:1], base=HELD)
    return Tape(PAIR, FIVE, FIVE, bar, interest, {}, None)


def walked(*bars: tuple[float, float, float, float], volume: float = VOLUME) -> Fold:
    fold = folded(bars_of(*bars, volume=volume), ONE, TEN)
    fold.to(len(bars) + 1)
    return fold


def swept(fold: Fold, bar: int = 1) -> list[float]:
    """Base units swept on either side as a share of what the bar opened in the class."""
    return (fold.flows[bar, :, kernels.SWEPT] / (VOLUME / 2)).tolist()


def walked_finely(bar: tuple[float, float, float, float], points: int = 40_000) -> tuple[float, float]:
    """What a bar sweeps of what it opened itself, a share each side: every point of its path enters a position ten
    buckets away, which is gone if the path comes to its bucket's centre later on. No pieces, no ranges: points.
    """
    first, high, low, last = bar
    turns = (first, low, high, last) if last >= first else (first, high, low, last)
    stops = [first]
    for a, z in pairwise(turns):
        stops += [a + 0.75 * (z - a), a + 0.25 * (z - a), z]
    steps = np.abs(np.diff(stops))
    if steps.sum() == 0.0:
        return 0.0, 0.0
    way = (np.arange(points) + 0.5) / points * steps.sum()
    at = np.interp(way, np.concatenate([[0.0], np.cumsum(steps)]), stops)
    lowest = np.minimum.accumulate(at[::-1])[::-1]
    highest = np.maximum.accumulate(at[::-1])[::-1]
    # The last point of the path counts as reached.
    lowest, highest = np.minimum(lowest, last), np.maximum(highest, last)
    return float((np.floor(at) - 10 + 0.5 >= lowest).mean()), float((np.floor(at) + 10 + 0.5 <= highest).mean())


@pytest.mark.parametrize(
    "bar",
    [
        (0.5, 30.7, 0.5, 30.7),  # up only
        (30.3, 30.3, 0.3, 0.3),  # down only
        (15.5, 30.7, 0.3, 25.5),  # rose: open - low - high - close
        (15.5, 30.7, 0.3, 5.5),  # fell: open - high - low - close
        (15.6, 30.7, 0.3, 15.6),  # closed where it opened: as if it rose
        (10.2, 44.9, 3.1, 12.4),
        (3.5, 9.4, 3.5, 9.4),  # less than the distance of the levels: what it opens cannot be liquidated
        (3.5, 3.5, 3.5, 3.5),
    ],
)
def test_what_a_bar_opens_it_may_liquidate(bar: tuple[float, float, float, float]) -> None:
    # The corners' extremes touch levels exactly: a point of the fine walk is 1/40,000 of the path.
    assert swept(walked(bar)) == pytest.approx(walked_finely(bar), abs=2e-3)


def test_an_upward_bar_by_hand() -> None:
    """30.2 buckets up with one step back: 0.5 - 23.15 - 8.05 - 30.7, 60.4 in all. Shorts whose bucket's centre 10.5
    higher the path reaches later: entries below bucket 21 on all three legs (20.5 + 12.95 + 12.95). Longs: the step
    back takes those entered from bucket 18 up (centre 8.5), on the way up and on the way down.
    """
    longs, shorts = 2 * (23.15 - 18.0) / 60.4, (20.5 + 12.95 + 12.95) / 60.4
    assert swept(walked((0.5, 30.7, 0.5, 30.7))) == pytest.approx([longs, shorts], rel=1e-9)


def test_a_bar_without_a_range_enters_one_bucket_and_the_next_ones_sweep_it() -> None:
    flat = (3.5, 3.5, 3.5, 3.5)
    fold = walked(flat)
    assert fold.book is not None
    # It opened 100 and closed 100 of the 10,100 that then stood.
    left = VOLUME / 2 * HELD / (HELD + VOLUME)
    for side, bucket in ((0, 22_000 + 3 - 10), (1, 22_000 + 3 + 10)):
        assert levels(fold.book)[side] == {bucket: pytest.approx(left, rel=1e-12)}
    # A gap up: the bar's open was never traded through, its low and high reach the shorts at bucket 13 all the same.
    gap = walked(flat, (14.0, 14.0, 14.0, 14.0))
    assert swept(gap, 2) == pytest.approx([0.0, left / (VOLUME / 2)], rel=1e-12)
    short_of_it = walked(flat, (13.4, 13.4, 13.4, 13.4))
    assert swept(short_of_it, 2) == [0.0, 0.0]


@given(cuts=st.lists(st.floats(0.02, 0.98), min_size=1, max_size=6))
def test_a_path_split_into_bars_gives_the_same_book(cuts: list[float]) -> None:
    """Flat, or rising by less than the nearest level's distance, by volume: alike but for closing, which a split
    compounds: second order in turnover / interest. (A longer rise steps back once, whole or in each of its parts.)
    """
    edges = [0.0, *sorted(cuts), 1.0]
    for rise in (0.0, 9.4):
        stops = [0.5 + rise * e for e in edges]
        bars = [(a, z, a, z) for a, z in pairwise(stops)]
        parts = bars_of(*bars)
        assert parts.bars is not None
        parts.bars["volume"][1:] = VOLUME * np.diff(edges)
        split = folded(parts, ONE, TEN)
        split.to(len(bars) + 1)
        whole = walked((0.5, 0.5 + rise, 0.5, 0.5 + rise))
        assert split.book is not None
        assert whole.book is not None
        turned = VOLUME / HELD
        for side in range(2):
            one, other = levels(whole.book)[side], levels(split.book)[side]
            for b in one.keys() | other.keys():
                assert other.get(b, 0.0) == pytest.approx(one.get(b, 0.0), rel=2 * turned, abs=VOLUME * turned**2)
            assert split.flows[:, side, kernels.SWEPT].sum() == pytest.approx(
                whole.flows[1, side, kernels.SWEPT], rel=2 * turned
            )


def coarser(tape: Tape, bar_ns: int) -> Tape:
    """The same market in longer bars."""
    bars = tape.bars
    assert bars is not None
    n = bar_ns // tape.bar_ns
    rows = bars[: len(bars) // n * n].reshape(-1, n)
    at = rows["known_at"][:, -1]
    made = records.records(
        records.BAR, at, at, open=rows["open"][:, 0], high=rows["high"].max(axis=1), low=rows["low"].min(axis=1),
        close=rows["close"][:, -1], volume=rows["volume"].sum(axis=1),
    )  # fmt: skip
    return replace(tape, bars=made, bar_ns=bar_ns)


def minutes(days: int, seed: int) -> Tape:
    """A random walk in bars of a minute, half a per cent an hour, with open interest every five."""
    rng = np.random.default_rng(seed)
    n = days * 1440
    close = 60_000 * np.exp(np.cumsum(rng.normal(0, 0.0007, n)))
    opened = np.r_[60_000, close[:-1]]
    high = np.maximum(opened, close) * np.exp(np.abs(rng.normal(0, 0.0003, n)))
    low = np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0, 0.0003, n)))
    at = START + MINUTE * np.arange(1, n + 1)
    bars = records.records(
        records.BAR, at, at, open=opened, high=high, low=low, close=close, volume=rng.lognormal(2.5, 1, n)
    )
    taken = at[4::5]
    base = 20_000 + np.cumsum(rng.normal(0, 30, len(taken)))
    interest = records.records(records.OPEN_INTEREST, taken, taken + 2 * FIVE, base=np.maximum(base, 2_000))
    return Tape(PAIR, MINUTE, FIVE, bars, interest, {}, None)


def swept_usd(tape: Tape, parameters: Parameters) -> np.ndarray:
    fold = folded(tape, parameters)
    fold.to(len(tape.bars))
    return np.asarray(fold.flows[:, :, kernels.SWEPT_USD].sum(axis=0))


def test_every_resolution_sweeps_alike() -> None:
    tape = minutes(20, 1)
    # Narrow bands next to the price are passed many times in an hour of which a candle shows three legs.
    for parameters, least in ((Parameters(), 0.87), (NARROW, 0.72)):
        finest = swept_usd(tape, parameters)
        for bar_ns in (FIVE, 15 * MINUTE, HOUR):
            ratio = swept_usd(coarser(tape, bar_ns), parameters) / finest
            assert ((ratio > least) & (ratio < 1.05)).all(), (bar_ns // MINUTE, ratio)


def test_a_walk_of_one_step_would_collapse_at_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: with one step a bar, as before the walk, hours sweep far less."""
    tape = minutes(3, 1)
    hours = coarser(tape, HOUR)
    finest, honest = swept_usd(tape, NARROW), swept_usd(hours, NARROW)
    uncompiled(monkeypatch, "    if n <= nearest:", "    if True:")
    one_step = swept_usd(hours, NARROW)
    assert (honest / finest > 0.7).all()
    assert (one_step / finest < 0.4).all()


def test_conservation_in_hourly_bars() -> None:
    hours = coarser(minutes(20, 2), HOUR)
    for parameters in (Parameters(), NARROW):
        fold = folded(hours, parameters)
        assert check_conservation(fold, hours) > 400
        assert (fold.flows[:, :, kernels.SWEPT].sum(axis=0) > 0).all()


def by_class(tape: Tape, parameters: Parameters) -> Fold:
    fold = folded(tape, parameters)
    fold.by_class = np.zeros((len(tape.bars), 2, len(parameters.classes)))
    fold.to(len(tape.bars))
    return fold


def test_classes_add_up_to_what_was_swept() -> None:
    for tape in (as_tape(make_market(6, 2, volatility=0.003)), coarser(minutes(6, 2), HOUR)):
        fold = by_class(tape, Parameters())
        whole = fold.flows[:, :, kernels.SWEPT_USD]
        np.testing.assert_allclose(fold.by_class.sum(axis=2), whole, rtol=1e-9, atol=1e-6)
        assert ((fold.by_class > 0).sum(axis=(0, 1)) > 0).sum() >= 4


def test_classes_are_swept_as_the_oracle_says() -> None:
    tape = small(5, 60, "5m", 0.006, 0, 0, 0, 1.0)
    fold = by_class(tape, NARROW)
    oracle = Oracle(tape, NARROW, liqmap.distances_of(NARROW, PAIR))
    for i in range(60):
        oracle.step()
        if oracle.running and all(oracle.by_class):
            np.testing.assert_allclose(fold.by_class[i], oracle.by_class, rtol=1e-9, atol=1e-3)
    assert (fold.by_class.sum(axis=0) > 0).all()


def columns(tape: Tape, **options: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    return features.compute(tape, tape.bars["known_at"], tape.bars["close"], tape.bar_ns, **options), tape.bars


def test_clusters_stay_from_candle_to_candle() -> None:
    """Share of candles at which the nearest major cluster moves by more than 0.25 % or goes, unreached."""
    out, bars = columns(coarser(minutes(40, 3), FIVE))
    warm = (out["liq_warm"][:-1] == 1) & (out["liq_fresh"][1:] == 1)
    for where in ("above", "below"):
        price = out[f"liq_{where}_price"]
        before, now = price[:-1], price[1:]
        there = warm & np.isfinite(before)
        reached = bars["high"][1:] >= before if where == "above" else bars["low"][1:] <= before
        # Another one that came nearer is new, not a jump of the old one: it is counted all the same.
        jumped = there & ~reached & ~(np.abs(now / before - 1) <= 0.0025)
        assert there.sum() > 2000
        assert jumped.sum() / there.sum() < 0.035  # .022 and .021 as measured


def test_half_a_bucket_moves_no_cluster_by_more_than_one() -> None:
    tape = as_tape(make_market(6, 9, volatility=0.003))
    bars = tape.bars.copy()
    for name in ("open", "high", "low", "close"):
        bars[name] *= np.exp(STEP / 2)
    one, _ = columns(tape)
    other, _ = columns(replace(tape, bars=bars))
    for where in ("above", "below"):
        a, b = np.log(one[f"liq_{where}_price"]), np.log(other[f"liq_{where}_price"]) - STEP / 2
        either = np.isfinite(a) | np.isfinite(b)
        same = np.abs(a - b)[either] <= STEP
        assert either.sum() > 1000
        # The rest are maxima just above or below what makes a cluster major: .929 and .929 as measured.
        assert same.mean() > 0.9


def test_a_clusters_low_and_high_are_around_its_usd() -> None:
    parameters = replace(
        Parameters(),
        classes=tuple(replace(c, doubt=(1 - 0.1 * k, 1 + 0.1 * k)) for k, c in enumerate(Parameters().classes)),
    )
    exact = replace(parameters, classes=tuple(replace(c, doubt=(1.0, 1.0)) for c in parameters.classes))
    tape = as_tape(make_market(6, 9, volatility=0.003))
    out, _ = columns(tape, parameters=parameters)
    plain, _ = columns(tape, parameters=exact)
    for where in ("above", "below"):
        usd, low, high = (out[f"liq_{where}_{name}"] for name in ("usd", "usd_low", "usd_high"))
        there = np.isfinite(usd)
        assert there.sum() > 500
        assert (np.isfinite(low) == there).all()
        assert ((low <= usd * (1 + 1e-12)) & (usd <= high * (1 + 1e-12)))[there].all()
        # Symmetric doubts: as far below as above; and no doubt is no width.
        np.testing.assert_allclose((high - usd)[there], (usd - low)[there], rtol=1e-6, atol=1e-6 * np.nanmax(usd))
        for name in ("usd_low", "usd_high"):
            np.testing.assert_allclose(plain[f"liq_{where}_{name}"][there], plain[f"liq_{where}_usd"][there], rtol=1e-9)

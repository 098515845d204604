"""The position book: equal to its oracle, conserving (law 7), symmetric, and its check able to fail."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import FIVE, NARROW, PAIR, Market, as_tape, assert_same_bits, decisions, make_market, uncompiled
from hypothesis import given
from hypothesis import strategies as st
from oracle import Oracle, centre, shares_closed

from liqsignals import features, liqmap, records
from liqsignals.clock import HOUR, MINUTE
from liqsignals.data.tape import Tape
from liqsignals.liqmap import fold, kernels
from liqsignals.liqmap.book import STEP, distances_of
from liqsignals.liqmap.fold import Fold, plan
from liqsignals.liqmap.kernels import BookArrays, Distances, Grid, Rates
from liqsignals.liqmap.kernels.fold import close_out
from liqsignals.liqmap.kernels.read import smooth
from liqsignals.liqmap.kernels.shared import bucket_at_or_above
from liqsignals.liqmap.parameters import Parameters

#: The kernel adds over buckets in the order of the grid and scales classes lazily, the oracle adds with fsum in the
#: order of entry: sums over the grid differ in order, so that nothing here but round-off may differ.
RELATIVE = 1e-9

NAMED = {
    "swept": kernels.SWEPT,
    "opened": kernels.OPENED,
    "closed": kernels.CLOSED,
    "unseen": kernels.UNSEEN,
    "capped": kernels.CAPPED,
    "swept_usd": kernels.SWEPT_USD,
}


def small(
    seed: int, bars: int, period: str, volatility: float, late: int, bar_hole: int, interest_hole: int, thin: float
) -> Tape:
    """A tape of `bars` 5m bars: open interest `late` ns later than the rule, holes, `thin` x the usual positions."""
    market = make_market(bars * FIVE / (24 * HOUR), seed, volatility=volatility)
    tape = as_tape(market, period)
    bar, interest = tape.bars.copy(), tape.open_interest.copy()
    interest["base"] *= thin
    interest["known_at"] += late
    if bar_hole:
        bar = np.delete(bar, slice(bars // 2, bars // 2 + bar_hole))
    if interest_hole:
        interest = np.delete(interest, slice(len(interest) // 3, len(interest) // 3 + interest_hole))
    rng = np.random.default_rng(seed)
    flat = rng.integers(0, len(bar), 2)  # made-up candles: no range, no volume
    for name in ("open", "high", "low"):
        bar[name][flat] = bar["close"][flat]
    bar["volume"][flat] = 0.0
    return replace(tape, bars=bar, open_interest=interest)


TAPES = {
    "seed": st.integers(0, 10_000),
    "bars": st.integers(30, 90),
    "period": st.sampled_from(["5m", "5m", "15m", "1h"]),
    "volatility": st.sampled_from([0.0005, 0.002, 0.006]),
    "late": st.sampled_from([0, 0, 7 * MINUTE, HOUR]),
    "bar_hole": st.sampled_from([0, 0, 1, 9]),
    "interest_hole": st.sampled_from([0, 0, 1, 7]),
    "thin": st.sampled_from([1.0, 0.02, 0.0005]),
}


def folded(tape: Tape, parameters: Parameters, distances: Distances | None = None) -> Fold:
    return Fold(plan(tape), parameters, distances or distances_of(parameters, tape.pair))


def levels(book: liqmap.Book) -> list[dict[int, float]]:
    """Standing base units by bucket of the log grid, per side."""
    return [{book.origin + int(b): float(row[b]) for b in np.flatnonzero(row)} for row in book.levels()]


def assert_close(found: float, wanted: float, unit: float, what: str) -> None:
    assert found == pytest.approx(wanted, rel=RELATIVE, abs=1e-12 * unit), what


def assert_equals_oracle(tape: Tape, parameters: Parameters) -> None:
    oracle = Oracle(tape, parameters, distances_of(parameters, tape.pair))
    fold = folded(tape, parameters)
    bars, interest = tape.bars, tape.open_interest
    assert bars is not None
    assert interest is not None
    columns = features.compute(tape, bars["known_at"], bars["close"], tape.bar_ns, parameters)
    read = 0
    turned = 0.0
    for i in range(len(bars)):
        oracle.step()
        fold.to(i + 1)
        assert (fold.book is not None) == oracle.running
        if fold.book is None:
            continue
        # Where more is turned over than is open, what stands and what is unseen are differences of turnovers.
        turned = max(turned, parameters.turnover * float(bars["volume"][i]))
        interest_now = oracle.interest[oracle.known][2]
        unit = max(interest_now, turned)
        for side in range(2):
            for name, column in NAMED.items():
                size = unit * (bars["close"][i] if name == "swept_usd" else 1.0)
                assert_close(fold.flows[i, side, column], oracle.flows[side][name], size, f"bar {i}: {name}")
            assert_close(fold.book.stock[side, 0], oracle.remainder[side], unit, f"bar {i}: remainder")
            assert_close(fold.book.stock[side, 1], oracle.unknown[side], unit, f"bar {i}: unknown")
            found, wanted = levels(fold.book)[side], oracle.base(side)
            for b in found.keys() | wanted.keys():
                assert_close(found.get(b, 0.0), wanted.get(b, 0.0), unit, f"bar {i}, side {side}: level {centre(b)}")
        if np.isfinite(columns["liq_remainder_long"][i]):
            read += 1
            usd = unit * bars["close"][i]
            for name, wanted_value in oracle.read(float(bars["close"][i]), interest_now).items():
                found_value = columns[name][i]
                if np.isnan(wanted_value):
                    assert np.isnan(found_value), f"bar {i}: {name}"
                else:
                    # A distance is a difference of nearly equal prices: absolute.
                    size = usd if name.endswith("usd") or "usd" in name else 1e3
                    assert_close(found_value, wanted_value, size, f"bar {i}: {name}")
    assert read > 0 or (interest["known_at"] <= tape.bars["known_at"][-1]).sum() < 3


@given(**TAPES)
def test_kernel_equals_oracle(**tape: float) -> None:
    assert_equals_oracle(small(**tape), NARROW)  # type: ignore[arg-type]


@pytest.mark.parametrize(("period", "bars"), [("5m", 24), ("1h", 52)])
def test_kernel_equals_oracle_with_the_prior(period: str, bars: int) -> None:
    assert_equals_oracle(small(3, bars, period, 0.004, 0, 0, 0, 1.0), Parameters(turnover=0.02))


def check_conservation(fold: Fold, tape: Tape) -> int:
    """Law 7 after every bar of the tape; returns how many bars had newly known open interest."""
    bars, interest = tape.bars, tape.open_interest
    assert bars is not None
    assert interest is not None
    newest = np.searchsorted(interest["known_at"], bars["known_at"], side="right") - 1
    starts = set(fold.plan.starts.tolist())
    total = np.zeros(2)
    fresh = 0
    for i in range(len(bars)):
        fold.to(i + 1)
        if fold.book is None:
            continue
        before, book, flow = total, fold.book, fold.flows[i]
        assert (book.mass >= 0).all(), f"bar {i}: a negative level"
        assert (book.stock >= 0).all(), f"bar {i}: a negative remainder"
        total = book.levels().sum(axis=1) + book.stock.sum(axis=1)
        known = float(interest["base"][newest[i]])
        # Unseen is gross less net opening: where all levels live, a difference of equal numbers.
        assert (flow >= -1e-12 * known).all(), f"bar {i}: a negative flow"
        # Tolerance: round-off of sums over the grid.
        if i not in starts:
            balance = before - flow[:, kernels.SWEPT] - flow[:, kernels.CLOSED] + flow[:, kernels.OPENED]
            # A side that closed whole is exactly empty; its balance is a difference of flows as large as the turnover.
            size = max(float(flow[:, [kernels.SWEPT, kernels.OPENED, kernels.CLOSED]].max()), known)
            np.testing.assert_allclose(
                total, balance, rtol=RELATIVE, atol=1e-12 * size, err_msg=f"bar {i}: flows do not balance"
            )
        if i in starts or newest[i] > newest[i - 1]:
            fresh += 1
            np.testing.assert_allclose(total, known, rtol=RELATIVE, err_msg=f"bar {i}: levels + remainder")
            np.testing.assert_allclose(
                flow[:, kernels.REMAINDER] if i not in starts else book.stock.sum(axis=1),
                book.stock.sum(axis=1),
                rtol=RELATIVE,
            )
    return fresh


@given(**TAPES)
def test_long_equals_short_equals_open_interest(**tape: float) -> None:
    made = small(**tape)  # type: ignore[arg-type]
    runs = bool((made.open_interest["known_at"] <= made.bars["known_at"][-1]).any())
    for parameters in (NARROW, Parameters(turnover=0.3)):
        assert (check_conservation(folded(made, parameters), made) > 0) == runs


def test_conservation_over_a_fortnight() -> None:
    tape = as_tape(make_market(14, 5, volatility=0.003))
    fold = folded(tape, Parameters())
    assert check_conservation(fold, tape) > 4000
    assert (fold.flows[:, :, kernels.SWEPT].sum(axis=0) > 0).all()


def test_uncompiled_kernels_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = small(11, 60, "5m", 0.003, 0, 0, 0, 1.0)
    compiled = folded(tape, NARROW)
    compiled.to(60)
    uncompiled(monkeypatch)
    plain = folded(tape, NARROW)
    plain.to(60)
    assert np.array_equal(plain.flows, compiled.flows)
    assert compiled.book is not None
    assert plain.book is not None
    assert np.array_equal(plain.book.levels(), compiled.book.levels())


def test_a_sweep_counted_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug of law 7."""
    tape = small(11, 60, "5m", 0.003, 0, 0, 0, 1.0)
    module = uncompiled(monkeypatch)
    assert check_conservation(folded(tape, NARROW), tape) > 0
    honest = module.sweep
    calls = 0

    def twice(*arguments: np.ndarray) -> None:
        nonlocal calls
        calls += 1
        swept = arguments[-2].copy()
        honest(*arguments)
        # Every fifth only: steps inside a bar's walk among them.
        if calls % 5 == 0:
            arguments[-2][:] += arguments[-2] - swept

    monkeypatch.setattr(module, "sweep", twice)
    with pytest.raises(AssertionError, match="bar"):
        check_conservation(folded(tape, NARROW), tape)


def symmetric(distances: Distances) -> Distances:
    """Both sides with the short side's log distances."""
    short = [distances.shares(1, k) for k in range(len(distances.cells[1]))]
    return Distances.of([short, short], np.stack([distances.nearest[1]] * 2))


@given(seed=st.integers(0, 1000), period=st.sampled_from(["5m", "1h"]))
def test_mirror_symmetry(seed: int, period: str) -> None:
    """Log price reflected about a bucket's boundary, sides swapped: the same base units (symmetric offsets)."""
    tape = small(seed, 80, period, 0.003, 0, 0, 0, 1.0)
    boundary = round(float(np.log(tape.bars["open"][0]) / STEP))
    around = np.exp(2 * boundary * STEP)
    bars = tape.bars.copy()
    for name, mirror in (("open", "open"), ("close", "close"), ("low", "high"), ("high", "low")):
        bars[name] = around / tape.bars[mirror]
    distances = symmetric(distances_of(NARROW, PAIR))
    one, other = folded(tape, NARROW, distances), folded(replace(tape, bars=bars), NARROW, distances)
    one.to(80)
    other.to(80)
    assert one.book is not None
    assert other.book is not None
    base = [n for name, n in NAMED.items() if name != "swept_usd"]
    # Round-off: the logarithm of a reciprocal is not exactly the negative one.
    np.testing.assert_allclose(
        one.flows[:, 0][:, base], other.flows[:, 1][:, base], rtol=RELATIVE, atol=RELATIVE * 20_000
    )
    for side in range(2):
        found, mirrored = levels(one.book)[side], levels(other.book)[1 - side]
        for b in found.keys() | {2 * boundary - 1 - m for m in mirrored}:
            assert found.get(b, 0.0) == pytest.approx(mirrored.get(2 * boundary - 1 - b, 0.0), rel=1e-8, abs=1e-7)
    assert one.flows[:, :, kernels.SWEPT].sum() > 0


@given(seed=st.integers(0, 1000), cells=st.sampled_from([-9000, -17, 1, 400, 12_345]))
def test_scale_equivariance(seed: int, cells: int) -> None:
    """All prices times exp(STEP x whole cells): prices and USD scale, shares and distances stay (same Distances)."""
    tape = small(seed, 80, "5m", 0.003, 0, 0, 0, 1.0)
    factor = float(np.exp(STEP * cells))
    bars = tape.bars.copy()
    for name in ("open", "high", "low", "close"):
        bars[name] *= factor
    at = tape.bars["known_at"]
    one = features.compute(tape, at, tape.bars["close"], FIVE, NARROW)
    other = features.compute(replace(tape, bars=bars), at, bars["close"], FIVE, NARROW)
    for name in features.NAMES:
        unit = factor if "usd" in name or "price" in name else 1.0
        # Round-off: log(x y) is not exactly log x + log y, which shifts weights within a bucket.
        np.testing.assert_allclose(
            other[name] / unit, one[name], rtol=1e-8, atol=1e-12 * 20_000 * 60_000 if unit != 1 else 1e-9, err_msg=name
        )
    assert np.nansum(one["liq_swept_long_usd"]) > 0


def test_width_of_the_grid_changes_no_bit() -> None:
    tape = as_tape(make_market(1.0, 8, volatility=0.004))
    narrow, wide = folded(tape, NARROW), folded(tape, NARROW)
    for i in range(len(tape.bars)):
        narrow.to(i + 1)
        wide.to(i + 1)
        if i == 40:
            assert wide.book is not None
            wide.book.cover(30_000, 120_000, 700)
    assert narrow.book is not None
    assert wide.book is not None
    assert narrow.book.mass.shape[2] < wide.book.mass.shape[2]
    assert np.array_equal(narrow.flows, wide.flows)
    assert levels(narrow.book) == levels(wide.book)


@given(value=st.floats(0.5, 2.0), at=st.integers(-20, 620))
def test_bucket_at_or_above(value: float, at: int) -> None:
    origin = 1000
    price = np.exp((np.arange(origin, origin + 600) + 0.5) * STEP)
    for x in (value, float(price[min(max(at, 0), 599)]), float(np.exp((origin + at) * STEP))):
        assert bucket_at_or_above(Grid(price, origin, STEP), x) == np.searchsorted(price, x)


@given(
    stands=st.lists(st.floats(0, 1000), min_size=5, max_size=5),
    hazard=st.lists(st.floats(0.1, 20), min_size=3, max_size=3),
    part=st.floats(0, 1),
)
def test_closing_takes_by_hazard_and_never_more_than_stands(
    stands: list[float], hazard: list[float], part: float
) -> None:
    mass = np.zeros((2, 3, 4))
    mass[0, :, 1] = np.array(stands[:3]) / 2
    mass[0, :, 2] = np.array(stands[:3]) / 2
    mass[1] = 7.0
    scale, total, stock = np.ones((2, 3)), mass.sum(axis=2), np.array([stands[3:], [7.0, 7.0]])
    amount = part * sum(stands)
    book = BookArrays(mass, scale, total, stock, np.zeros(2, np.int64), np.zeros(2), np.zeros(2), np.zeros((2, 0)))
    rates = Rates(np.zeros(3), 1.0, np.array(hazard), np.array([0.5, 1.0]), 0.0)
    close_out(book, rates, 0, amount, np.empty((3, 5)))
    share = shares_closed(stands, [*hazard, 0.5, 1.0], amount)
    left = [s * (1 - c) for s, c in zip(stands, share, strict=True)]
    # The last class to close whole is a difference of sums: absolute round-off of the amount.
    np.testing.assert_allclose((mass[0] * scale[0][:, None]).sum(axis=1), left[:3], rtol=RELATIVE, atol=1e-9)
    np.testing.assert_allclose(stock[0], left[3:], rtol=RELATIVE, atol=1e-9)
    assert (mass[1] == 7.0).all()
    assert (stock[1] == 7.0).all()


def test_levels_survive_the_rescaling_of_their_class() -> None:
    """A class that closes to 1e-120 of itself is rescaled once below 1e-100; its levels keep their proportions."""
    mass = np.zeros((2, 1, 3))
    mass[0, 0] = [1.0, 2.0, 4.0]
    scale, total, stock = np.ones((2, 1)), mass.sum(axis=2), np.zeros((2, 2))
    book = BookArrays(mass, scale, total, stock, np.zeros(2, np.int64), np.zeros(2), np.zeros(2), np.zeros((2, 0)))
    rates = Rates(np.zeros(1), 1.0, np.ones(1), np.ones(2), 0.0)
    for _ in range(400):
        stands = float(total[0, 0] * scale[0, 0])
        close_out(book, rates, 0, 0.5 * stands, np.empty((3, 3)))
    np.testing.assert_allclose(mass[0, 0] * scale[0, 0], np.array([1.0, 2.0, 4.0]) * 0.5**400, rtol=1e-12)
    assert scale[0, 0] > 1e-100


def test_smoothing_is_a_convolution() -> None:
    usd = np.random.default_rng(0).lognormal(0, 2, 60)
    usd[:4] = usd[-4:] = 0.0
    weights = 1 - np.abs(np.arange(-4, 5)) / 5
    for side in (kernels.LONG, kernels.SHORT):
        out = np.zeros(60)
        smooth(usd, side, 4, 56, out)
        np.testing.assert_allclose(out[4:56], np.convolve(usd, weights, "same")[4:56], rtol=1e-12)
        assert (out[:4] == 0).all()
        assert (out[56:] == 0).all()


def test_a_change_during_a_hole_in_open_interest_enters_over_its_bars() -> None:
    """One change, spread over the bars of the hole by volume, known when the later row is known."""
    market: Market = make_market(60 * FIVE / (24 * HOUR), 4, volatility=0.0)
    tape = as_tape(market)
    interest = np.delete(tape.open_interest, slice(10, 30))
    interest["base"] = 10_000.0
    interest["base"][10:] = 10_500.0
    bars = tape.bars.copy()
    # Two plateaus, each inside one bucket: entries of each must show at their own distance.
    first, second = centre(22_000), centre(22_003)
    for name in ("open", "high", "low", "close"):
        bars[name] = np.where(np.arange(60) < 20, first, second)
    made = replace(tape, bars=bars, open_interest=interest)
    parameters = replace(NARROW, turnover=0.0)
    fold = folded(made, parameters)
    distances = distances_of(parameters, PAIR)
    fold.to(32)
    assert fold.book is not None
    assert fold.book.levels().sum() == 0.0
    fold.to(33)  # snapshot 30 closes with bar 30 and is known 2 bars later
    stood = levels(fold.book)[1]
    lowest = 22_000 + int(distances.nearest[1].min())
    share = bars["volume"][10:20].sum() / bars["volume"][10:31].sum()
    wanted = np.zeros(200)
    for k, mix in enumerate(parameters.mix[:-1]):
        for j, held in enumerate(distances.shares(1, k)):
            for start, part in ((22_000, share), (22_003, 1 - share)):
                wanted[start + int(distances.nearest[1, k]) + j - lowest] += 500.0 * mix * part * held
    for b in range(200):
        assert stood.get(lowest + b, 0.0) == pytest.approx(wanted[b], rel=RELATIVE, abs=1e-9)


def test_records_are_never_known_before_they_happen() -> None:
    with pytest.raises(records.InputError, match="known before it happened"):
        records.records(records.OPEN_INTEREST, np.array([2]), np.array([1]), base=1.0)


def test_a_thread_for_each_side_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_market(3, 4)
    at, closes = decisions(made.candles)
    read = []
    for bars in (0, 1_000_000):
        monkeypatch.setattr(fold, "_THREADED", bars)
        read.append(features.compute(as_tape(made), at, closes, FIVE))
    assert_same_bits(*read)

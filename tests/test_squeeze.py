"""Touch and cascade: limits with a closed form, slow oracles, and the file of parameters."""

import json
import math
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import FIVE, PAIR, REAL, as_tape, assert_same_bits, make_market, needs_real_data
from contract import HOWS, perturbed
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from liqsignals import Signals, features, liqmap, records
from liqsignals.clock import DAY, HOUR, parse_time, to_dates
from liqsignals.data.tape import MapTape, read_tape
from liqsignals.errors import InputError
from liqsignals.liqmap import calibration, fold, impact, kernels, squeeze
from liqsignals.liqmap.cascade import cascade
from liqsignals.liqmap.kernels import BRANCHING, DISPLACED, FORCED, LINEAR, SQRT
from liqsignals.strategy.config import Settings

SHIPPED = squeeze.default()
SIDES = (("squeeze", "above", 1.0), ("flush", "below", -1.0))


def solved(distances: Any, usd: Any, law: int, touch: float = 0.0, push: float = 0.004, **more: float) -> np.ndarray:
    """A cascade; `scale` and `volume` of the impact, `far` where the map ends."""
    given = {"far": 1.0, "scale": 0.02, "volume": 1e10, **more}
    out = np.empty(3)
    kernels.solve(
        np.asarray(distances, np.float64), np.asarray(usd, np.float64), touch, push, given["far"], given["scale"],
        given["volume"], law, out,
    )  # fmt: skip
    return out


# --- the cascade
@pytest.mark.parametrize("law", [SQRT, LINEAR])
def test_without_levels_nothing_is_forced(law: int) -> None:
    for usd in ([], [0.0, 0.0]):
        assert solved([0.001, 0.002][: len(usd)], usd, law).tolist() == [0.0, 0.004, 0.0]


def test_linear_impact_on_uniform_levels_has_its_closed_form() -> None:
    """gain = 1 / (1 - branching); from a branching ratio of 1 on it runs to the end of the map."""
    y = np.arange(1, 200_001) * 1e-6  # log price
    for branching in (0.0, 0.3, 0.9):
        out = solved(y, np.full(len(y), 1e-6 * 1e10), LINEAR, scale=branching, far=0.2)
        # The levels are 1e-6 apart: so far is the sum from the integral, times the gain.
        assert out[DISPLACED] / 0.004 == pytest.approx(1.0 / (1.0 - branching), rel=1e-3)
        assert out[BRANCHING] == pytest.approx(branching, rel=1e-3)
    out = solved(y, np.full(len(y), 1e-6 * 1e10), LINEAR, scale=1.01, far=0.2)
    assert out[DISPLACED] == 0.2
    assert out[BRANCHING] > 1.0


def test_the_square_root_law_on_uniform_levels_has_its_closed_form_and_ends() -> None:
    y = np.arange(1, 200_001) * 1e-6
    for k in (0.01, 0.05, 0.1):  # displacement of the USD in one unit of log price
        out = solved(y, np.full(len(y), 1e-6 * 1e10), SQRT, scale=k, far=0.2)
        root = (k + math.sqrt(k * k + 4 * 0.004)) / 2
        assert out[DISPLACED] == pytest.approx(root * root, rel=1e-3)


levels = st.lists(st.tuples(st.floats(1e-5, 0.1), st.floats(0.0, 1e9)), max_size=60)


@given(rows=levels, law=st.sampled_from([SQRT, LINEAR]), push=st.floats(1e-4, 0.02), touch=st.floats(0.0, 0.05))
def test_the_cascade_is_the_least_solution(
    rows: list[tuple[float, float]], law: int, push: float, touch: float
) -> None:
    y, usd = (np.array(x) for x in zip(*sorted(rows), strict=True)) if rows else (np.empty(0), np.empty(0))
    scale, volume = (0.02, 1e9) if law == SQRT else (1e-3, 1e8)

    def impact(q: float) -> float:
        return scale * (math.sqrt(q / volume) if law == SQRT else q / volume)

    def held(r: float) -> float:
        total = 0.0  # in the order of the walk, for the same bits
        for at, worth in zip(y, usd, strict=True):
            if at <= touch + r:
                total += worth
        return total

    r = push
    while (more := push + impact(held(r))) != r:
        r = more
    out = solved(y, usd, law, touch, push, scale=scale, volume=volume, far=99.0)
    assert out[DISPLACED] == r
    assert out[FORCED] == held(r)
    assert out[BRANCHING] == impact(held(push)) / push


@given(rows=levels, law=st.sampled_from([SQRT, LINEAR]), factor=st.floats(1.0, 5.0))
def test_more_usd_more_impact_and_a_longer_push_end_no_nearer(
    rows: list[tuple[float, float]], law: int, factor: float
) -> None:
    y, usd = (np.array(x) for x in zip(*sorted(rows), strict=True)) if rows else (np.empty(0), np.empty(0))
    end = solved(y, usd, law, far=0.2)[DISPLACED]
    assert solved(y, factor * usd, law, far=0.2)[DISPLACED] >= end
    assert solved(y, usd, law, far=0.2, scale=0.02 * factor)[DISPLACED] >= end
    assert solved(y, usd, law, far=0.2, push=0.004 * factor)[DISPLACED] >= end


def some_market(seed: int = 3) -> MapTape:
    return as_tape(make_market(2.0, seed, volatility=0.003))


def columns_of(tape: MapTape, rows: Any = slice(None), **more: Any) -> dict[str, np.ndarray]:
    at, closes = tape.bars["event_time"][rows].copy(), tape.bars["close"][rows].copy()
    return features.compute(tape, at, closes, FIVE, liqmap.Parameters(**more))


def test_the_columns_are_the_cascade_over_the_levels_of_the_book() -> None:
    """The walk over the book in blocks against `solve` over all its levels, and both sides."""
    tape, seen = some_market(), 0
    out = columns_of(tape)
    at, closes = tape.bars["event_time"].copy(), tape.bars["close"].copy()
    for row in range(60, len(at), 37):
        reading, folded = liqmap.read(
            tape.cut(int(at[row])), liqmap.Parameters(), at[row : row + 1], closes[row : row + 1]
        )
        book = folded.book
        assert book is not None
        (push,) = fold.push_of(SHIPPED, reading.sigma)
        (scale,), *_ = fold.impact_of(SHIPPED, reading.sigma, reading.volume, reading.kyle)
        for name, where, sign in SIDES:
            price = out[f"liq_{where}_price"][row]
            if not np.isfinite(price):
                assert np.isnan(out[f"{name}_usd"][row])
                continue
            side = kernels.SHORT if sign > 0 else kernels.LONG
            found = cascade(book, side, closes[row], price, push, scale, reading.volume[0], edge=SHIPPED.edge)
            assert out[f"{name}_usd"][row] == found.usd
            assert out[f"{name}_gain"][row] == found.gain
            # numpy's exponential and the C library's.
            assert out[f"{name}_end_price"][row] == pytest.approx(found.end_price(price, side), rel=1e-15)
            assert sign * out[f"{name}_end_price"][row] > sign * price
            seen += 1
    assert seen > 15


# --- volatility and touch
def oracle(tape: MapTape, row: int, at: int) -> tuple[list[float], float]:
    """Volatility by horizon and USD a day, by sums over all bars; of an EWMA, a bar weighs 2^(-age / half-life)."""
    bars, hours = tape.bars[: row + 1], tape.bar_ns / HOUR
    age = (bars["event_time"][-1] - bars["event_time"]) / HOUR
    opened = to_dates(bars["event_time"] - tape.bar_ns)
    of_week = opened.dayofweek.to_numpy() * 24 + opened.hour.to_numpy()
    x = np.log(bars["high"] / bars["low"]) ** 2 / (4 * math.log(2)) / hours / np.array(SHIPPED.season)[of_week]

    def mean(values: np.ndarray, half_life: float) -> float:
        weight = 2.0 ** (-age / half_life)
        return float((weight * values).sum() / weight.sum())

    logs = [math.log(mean(x, h)) for h in SHIPPED.half_lives]
    sigma = []
    for hours_ahead, horizon in zip(squeeze.HORIZONS.values(), SHIPPED.horizons, strict=True):
        minutes = to_dates(at + 60_000_000_000 * np.arange(60 * hours_ahead))
        season = np.array(SHIPPED.season)[minutes.dayofweek.to_numpy() * 24 + minutes.hour.to_numpy()].sum() / 60
        y = horizon.har[0] + sum(b * v for b, v in zip(horizon.har[1:], logs, strict=True))
        sigma.append(math.sqrt(math.exp(y) * season))
    return sigma, 24 * mean(bars["volume"] * bars["close"] / hours, 24.0)


@pytest.mark.parametrize("hole", [0, 70])
def test_the_forecast_is_that_of_sums_over_all_bars(hole: int) -> None:
    """Before the map's first open interest, over a hole, and at any minute of the week."""
    tape = some_market()
    bars = np.delete(tape.bars, np.arange(200, 200 + hole))
    tape = replace(tape, bars=bars, open_interest=tape.open_interest[30:])
    at, closes = bars["event_time"].copy(), bars["close"].copy()
    reading, _ = liqmap.read(tape, liqmap.Parameters(), at, closes)
    rows = [40, 150, 199, 200, 201, 300, len(at) - 1]
    for row in rows:
        sigma, volume = oracle(tape, row, int(at[row]))
        # Recursion against sums: round-off of some thousand operations.
        assert reading.sigma[row] == pytest.approx(sigma, rel=1e-10)
        assert reading.volume[row] == pytest.approx(volume, rel=1e-10)


def test_a_coarse_tape_has_about_the_same_volatility() -> None:
    tape = as_tape(make_market(6.0, 1))
    hourly = make_market(6.0, 1)
    from conftest import resampled

    coarse = replace(as_tape(replace(hourly, candles=resampled(hourly.candles, "1h")), "1h"), bar_ns=HOUR)
    ends = coarse.bars["event_time"]
    coarse = replace(coarse, bars=coarse.bars.copy())
    coarse.bars["event_time"] += HOUR - FIVE  # as_tape closes each bar 5 minutes after its open
    coarse.bars["known_at"] = coarse.bars["event_time"]
    at = coarse.bars["event_time"][-24:].copy()
    assert len(ends) == 6 * 24
    fine = liqmap.read(tape, liqmap.Parameters(), at, np.full(24, 60_000.0))[0].sigma
    # A random walk's range is known the better the finer it is seen.
    assert np.median(
        liqmap.read(coarse, liqmap.Parameters(), at, np.full(24, 60_000.0))[0].sigma / fine
    ) == pytest.approx(1.0, abs=0.15)


def test_the_probability_is_students_and_falls_with_distance() -> None:
    horizon = SHIPPED.horizons[1]
    d = np.linspace(0.0, 0.3, 500)
    p = squeeze.touch_probability(d, np.full(500, 0.02), horizon)
    # scipy's own incomplete beta function is good to 1e-13.
    assert p == pytest.approx(2 * stats.t.sf(d / 0.02 / horizon.scale, 4), abs=1e-12)
    assert p[0] == 1.0
    assert (np.diff(p) < 0).all()
    again = squeeze.touch_probability(d, np.full(500, 0.02), replace(horizon, intercept=0.3, slope=1.2))
    assert again[0] == 1.0
    assert again[1:] == pytest.approx(1 / (1 + (1 / p[1:] - 1) ** 1.2 * math.exp(-0.3)), rel=1e-9)


def test_the_probabilities_are_those_of_the_forecast_and_grow_with_the_horizon() -> None:
    tape = some_market()
    out, at = columns_of(tape), tape.bars["event_time"].copy()
    reading, _ = liqmap.read(tape, liqmap.Parameters(), at, tape.bars["close"].copy())
    assert np.array_equal(
        out["squeeze_sigma_1d"], np.where(np.isfinite(out["liq_imbalance"]), reading.sigma[:, 1], np.nan), True
    )
    for name, where, _ in SIDES:
        d = np.abs(np.log(out[f"liq_{where}_price"] / tape.bars["close"]))
        p = [out[f"{name}_prob_{h}"] for h in squeeze.HORIZONS]
        for i, horizon in enumerate(SHIPPED.horizons):
            assert np.array_equal(p[i], squeeze.touch_probability(d, reading.sigma[:, i], horizon), True)
        there = np.isfinite(d)
        assert there.sum() > 100
        assert (p[0][there] < p[1][there]).all()
        assert (p[1][there] < p[2][there]).all()


def test_a_bar_that_does_not_move_gives_no_forecast_and_no_error() -> None:
    tape = some_market()
    bars = tape.bars.copy()
    for field in ("open", "high", "low"):
        bars[field] = bars["close"] = 60_000.0
    out = columns_of(replace(tape, bars=bars), slice(100, 200))
    assert all(np.isnan(out[c.name]).all() for c in features.squeeze.COLUMNS)
    assert np.isfinite(out["liq_short_usd_5pct"]).all()


def test_columns_are_nan_before_the_parameters_could_be_known_and_without_any() -> None:
    tape = some_market()
    at = tape.bars["event_time"]
    late = replace(SHIPPED, known_at=int(at[300]))
    out, whole, none = columns_of(tape, squeeze=late), columns_of(tape), columns_of(tape, squeeze=None)
    for column in features.squeeze.COLUMNS:
        assert np.isnan(out[column.name][:300]).all()
        assert np.array_equal(out[column.name][300:], whole[column.name][300:], True)
        assert np.isnan(none[column.name]).all()
    assert np.isfinite(out["squeeze_sigma_1d"][300:]).all()
    assert all(np.array_equal(none[n], whole[n], True) for n in features.NAMES if n.startswith(("liq", "fund", "flow")))


# --- Kyle's lambda from taker flow
TAKER = replace(SHIPPED, law=squeeze.TAKER)
CASCADES = [c.name for c in features.squeeze.COLUMNS if c.name.endswith(("_usd", "_gain", "_end_price"))]


def with_taker(tape: MapTape, share: np.ndarray, **more: Any) -> MapTape:
    """The tape with taker volume in any unit: only the share of it that was bought counts."""
    closed = tape.bars["event_time"]
    rows = records.records(
        records.TAKER, closed, closed + records.TAKER_LAG, buy_base=7.0 * share, base=7.0, buy_quote=np.nan, quote=np.nan,
        trades=np.nan, **more,
    )  # fmt: skip
    return replace(tape, others={("taker", tape.venue): rows})


def test_lambda_is_the_regression_over_the_last_day() -> None:
    tape = some_market()
    share = np.random.default_rng(1).uniform(0.2, 0.8, len(tape.bars))
    # Buying moves price in it, or there is no lambda above 0.
    share = np.clip(share + 40.0 * np.log(tape.bars["close"] / tape.bars["open"]), 0.0, 1.0)
    taken, at = with_taker(tape, share), tape.bars["event_time"][290:].copy()
    found = impact.of(taken, TAKER, at)
    bars = tape.bars
    for i in range(0, len(at), 17):
        # The bar that closes at the instant has no taker volume yet: it is known a minute later.
        rows = (bars["event_time"] > at[i] - DAY) & (bars["event_time"] + records.TAKER_LAG <= at[i])
        move = np.log(bars["close"] / bars["open"])[rows]
        flow = ((2 * share - 1) * bars["volume"] * bars["close"])[rows]
        assert found[i] == pytest.approx((move @ flow) / (flow @ flow), rel=1e-12)
    assert np.isnan(impact.of(taken, SHIPPED, at)).all(), "another law asks for none"


@pytest.mark.parametrize("missing", ["all", "a third", "every share", "buying that lowers price"])
def test_where_lambda_is_not_known_the_square_root_law_holds(missing: str) -> None:
    tape = some_market()
    move = np.log(tape.bars["close"] / tape.bars["open"])
    if missing != "all":
        share = np.clip(0.5 + (-40.0 if "lowers" in missing else 40.0) * move, 0.0, 1.0)
        share[:: 1 if missing == "every share" else 3 if missing == "a third" else len(share)] = np.nan
        tape = with_taker(tape, share)
    for row in (-1, slice(400, None, 7)):
        rows = slice(row, None) if isinstance(row, int) else row
        assert_same_bits(columns_of(tape, rows, squeeze=TAKER), columns_of(tape, rows), names=CASCADES)


def test_lambda_depends_on_what_was_known_and_not_on_where_the_tape_is_cut() -> None:
    """Cut, later records changed, and the state of a bot that keeps only HISTORY: the same bits."""
    tape = some_market()
    share = np.clip(0.5 + 40.0 * np.log(tape.bars["close"] / tape.bars["open"]), 0.0, 1.0)
    tape = with_taker(tape, share)
    at, closes = tape.bars["event_time"].copy(), tape.bars["close"].copy()
    parameters = liqmap.Parameters(squeeze=TAKER)
    whole = features.compute(tape, at, closes, FIVE, parameters)
    assert (whole["squeeze_gain"] != columns_of(tape)["squeeze_gain"])[-100:].any(), "the law is another one"
    for last in (350, 420, 575):
        now = int(at[last - 1])
        for how in HOWS:
            changed = perturbed(tape, now, how, seed=last)
            found = features.compute(changed, at[:last], closes[:last], FIVE, parameters)
            assert_same_bits(found, {name: whole[name][:last] for name in CASCADES}, names=CASCADES)
    state = liqmap.FoldState()
    features.compute(tape, at[399:400], closes[399:400], FIVE, parameters, state)
    shorter = tape.later(int(at[400]) - FIVE - features.squeeze.HISTORY)
    found = features.compute(shorter, at[400:], closes[400:], FIVE, parameters, state)
    for name in CASCADES:
        assert np.array_equal(found[name], whole[name][400:], equal_nan=True), name


def test_the_file_names_the_law(tmp_path: Path) -> None:
    squeeze.save(TAKER, tmp_path / "mine.json")
    assert squeeze.load(tmp_path / "mine.json") == TAKER


# --- the file
def content() -> dict[str, Any]:
    return json.loads((resources.files("liqsignals.liqmap") / "squeeze.json").read_text())  # type: ignore[no-any-return]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    squeeze.save(SHIPPED, tmp_path / "a.json")
    loaded = squeeze.load(tmp_path / "a.json")
    assert loaded == SHIPPED
    assert loaded.provenance == SHIPPED.provenance


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.update(format="liqsignals-squeeze/2"), "this version reads"),
        (lambda c: c["season"].pop(), "season: 167 numbers"),
        (lambda c: c["season"].__setitem__(3, 0.0), "season"),
        (lambda c: c["horizons"].pop("3d"), "3d"),
        (lambda c: c["horizons"]["1d"].update(hours=12), "12 hours"),
        (lambda c: c["horizons"]["1d"]["har"].append(1.0), "har of 1d: 7 numbers"),
        (lambda c: c["horizons"]["4h"].update(t4_scale=float("nan")), "t4_scale"),
        (lambda c: c["gates"]["map"].update(open=True), "gate of map is open"),
        (lambda c: c["cascade"].update(law="linear"), "linear"),
        (lambda c: c.update(known_at="yesterday"), "yesterday"),
        (lambda c: c.update(half_lives_h=None), "not a file of squeeze parameters"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_name(tmp_path: Path, change: Any, told: str) -> None:
    found, path = content(), tmp_path / "mine.json"
    change(found)
    path.write_text(json.dumps(found))
    with pytest.raises(InputError, match=r"mine\.json") as error:
        squeeze.load(path)
    assert told in str(error.value)


def test_the_configuration_chooses_the_parameters(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    squeeze.save(replace(SHIPPED, impact=0.7), path)

    def chosen(**block: Any) -> squeeze.Squeeze | None:
        config = {"datadir": str(tmp_path / "binance"), "trading_mode": "futures", "liqsignals": block}
        return Settings.parse(config).calibrated.parameters(PAIR).squeeze

    assert chosen() == SHIPPED
    assert chosen(calibration="none") == SHIPPED
    assert chosen(squeeze="none") is None
    assert chosen(squeeze=str(path)) == replace(SHIPPED, impact=0.7)
    for bad in (str(tmp_path / "nothing.json"), 3, ""):
        with pytest.raises(InputError, match="squeeze"):
            chosen(squeeze=bad)


@needs_real_data
@pytest.mark.slow
def test_the_headline_instants_of_real_data() -> None:
    """The research's own implementation (other code, pandas and levels written to disk) found these."""
    tape = read_tape(REAL / "binance", PAIR)
    chosen = calibration.default().parameters(PAIR)
    for instant, prob, forced, gain, end in (
        ("2025-11-14T12:00:00Z", (0.503, 0.688, 0.782), 168e6, 1.38, 94_201),
        ("2025-12-17T12:00:00Z", (0.033, 0.217, 0.455), 107e6, 1.53, 84_034),
    ):
        at = np.array([parse_time(instant)])
        close = tape.bars["close"][np.searchsorted(tape.bars["event_time"], at)]
        out = features.compute(tape, at, close, FIVE, chosen)
        assert [round(out[f"flush_prob_{h}"][0], 3) for h in squeeze.HORIZONS] == list(prob)
        assert out["flush_usd"][0] == pytest.approx(forced, rel=0.005)
        assert round(out["flush_gain"][0], 2) == gain
        assert round(out["flush_end_price"][0]) == end


def test_signals_attach_them(tmp_path: Path) -> None:
    from conftest import write_datadir

    made = make_market(2.0, 3, volatility=0.003)
    frame = Signals(write_datadir(tmp_path, made)).attach(made.candles, PAIR, "5m")
    assert isinstance(frame, pd.DataFrame)
    assert np.isfinite(frame["flush_prob_1d"]).any()

"""Scores: ranks against scipy, NaN predictions, and the bootstrap's days."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from liqsignals.clock import DAY, HOUR, parse_time
from liqsignals.evaluation import scores

START = parse_time("2026-01-30T00:00:00Z")
_few = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=40)


@given(_few)
def test_ranks_and_correlation_are_scipys_with_ties(pairs: list[tuple[int, int]]) -> None:
    x, y = (np.array(v, np.float64) for v in zip(*pairs, strict=True))
    assert np.array_equal(scores.ranks(x), rankdata(x))
    found = scores.spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_too_few_or_constant_values_score_nan() -> None:
    two, flat = np.array([1.0, 2.0]), np.ones(5)
    assert np.isnan(scores.spearman(two, two))
    assert np.isnan(scores.spearman(flat, np.arange(5.0)))
    assert np.isnan(scores.log_r2(two, two))
    assert np.isnan(scores.log_r2(np.arange(5.0), flat))
    assert np.isnan(scores.dollar_ratio(np.zeros(3), np.ones(3)))


def test_r2_of_log_dollars_by_hand() -> None:
    real = np.array([0.0, 90_000.0, 990_000.0])  # + 10,000: decades
    assert scores.log_r2(real, real) == 1.0
    mean = np.full(3, np.exp(np.log(real + 1e4).mean()) - 1e4)
    assert scores.log_r2(mean, real) == pytest.approx(0.0, abs=1e-12)
    # One decade too high everywhere: 3 x 1 against 2 x 1 (decades squared).
    assert scores.log_r2(10 * (real + 1e4) - 1e4, real) == pytest.approx(1.0 - 3.0 / 2.0)
    assert scores.dollar_ratio(2 * real, real) == 0.5


def test_a_nan_prediction_scores_as_0() -> None:
    draw = np.random.default_rng(0)
    real, moved = draw.lognormal(12, 2, (2, 50)), np.full((2, 50), 0.01)
    moved[1, :40] = 0.0
    missing, zero = real.copy(), real.copy()
    missing[0, :10], zero[0, :10] = np.nan, 0.0
    one, other = scores.hour_score(missing, real, moved), scores.hour_score(zero, real, moved)
    assert (one.coverage, other.coverage) == (0.8, 1.0)
    assert (one.rank, one.r2, one.dollars) == (other.rank, other.r2, other.dollars)
    assert one.rank[0] < 0.99 < one.rank[1]
    assert one.moved == (50, 10)


def test_longs_are_scored_with_longs() -> None:
    draw = np.random.default_rng(1)
    real, moved = draw.lognormal(12, 2, (2, 60)), np.full((2, 60), 0.01)
    half = scores.hour_score(np.stack([real[0], -real[1] + real[1].max()]), real, moved)
    assert half.rank == pytest.approx((1.0, -1.0))
    swapped = scores.hour_score(real[::-1], real, moved)
    assert max(swapped.rank) < 0.5


def test_a_score_is_json_and_nan_becomes_null() -> None:
    nothing = scores.hour_score(np.full((2, 4), np.nan), np.ones((2, 4)), np.zeros((2, 4)))
    back = json.loads(json.dumps(nothing.as_dict(), allow_nan=False))
    assert back["coverage"] == 0.0
    assert back["rank"] == back["dollars"] == [None, None]


def test_months_are_utc() -> None:
    hours = START + HOUR * np.arange(72)
    masks = scores.by_month(hours)
    assert list(masks) == ["2026-01", "2026-02"]
    assert [int(m.sum()) for m in masks.values()] == [48, 24]


def test_the_bootstrap_draws_whole_days_and_is_the_same_each_time() -> None:
    hours = START + HOUR * np.arange(240)
    seen = []

    def mean(rows: np.ndarray) -> np.ndarray:
        seen.append(rows)
        return np.array([rows.mean()])

    one = scores.bootstrap(mean, hours, 20, seed=3)
    assert np.array_equal(one, scores.bootstrap(mean, hours, 20, seed=3))
    assert not np.array_equal(one, scores.bootstrap(mean, hours, 20, seed=4))
    assert one[0, 0] < 119.5 < one[1, 0]
    for rows in seen:
        _, count = np.unique(hours[rows] // DAY, return_counts=True)
        assert len(rows) == 240
        assert (count % 24 == 0).all()
    assert len({tuple(np.unique(hours[r] // DAY)) for r in seen}) > 1


def test_a_models_difference_from_itself_is_zero() -> None:
    draw = np.random.default_rng(2)
    hours, x, y = START + HOUR * np.arange(240), draw.normal(size=240), draw.normal(size=240)

    def differences(rows: np.ndarray) -> np.ndarray:
        own = scores.spearman(x[rows], y[rows])
        return np.array([own - own, scores.spearman(y[rows], y[rows]) - own])

    low, high = scores.bootstrap(differences, hours, 50)
    assert low[0] == high[0] == 0.0
    assert low[1] > 0.0


def test_an_interval_needs_half_of_the_draws() -> None:
    hours = START + HOUR * np.arange(240)
    never = scores.bootstrap(lambda rows: np.array([np.nan, 1.0]), hours, 10)
    assert np.isnan(never[:, 0]).all()
    assert (never[:, 1] == 1.0).all()

"""The fit and the scores of the probability of touch, on made-up markets of which the truth is known."""

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import PAIR, write_datadir
from conftest import make_market as market_of
from scipy import stats

from liqsignals import records
from liqsignals.cli import main
from liqsignals.clock import DAY, HOUR, MINUTE, parse_time
from liqsignals.errors import InputError
from liqsignals.evaluation import touch, touch_gates
from liqsignals.evaluation.touch import Candles, Cases
from liqsignals.liqmap import squeeze

QUARTER = 15 * MINUTE
BEGIN = parse_time("2024-01-01T00:00:00Z")


@cache
def candles(days: int = 270, seed: int = 0) -> Candles:
    """A random walk in 15m bars of 5 steps each, twice as volatile from 12:00 to 18:00 UTC as else."""
    n, steps = days * 96, 5
    rng = np.random.default_rng(seed)
    opened = BEGIN + QUARTER * np.arange(n)
    hour = opened // HOUR % 24
    volatility = np.where((hour >= 12) & (hour < 18), 2.0, 1.0) * 1e-3
    moves = rng.normal(0, 1, (n, steps)) * volatility[:, None] / np.sqrt(steps)
    path = np.log(60_000.0) + np.cumsum(moves.ravel()).reshape(n, steps)
    first = np.concatenate([[np.log(60_000.0)], path[:-1, -1]])
    path = np.column_stack([first, path])
    bars = records.records(
        records.BAR, opened + QUARTER, opened + QUARTER, open=np.exp(path[:, 0]), high=np.exp(path.max(axis=1)),
        low=np.exp(path.min(axis=1)), close=np.exp(path[:, -1]), volume=1.0,
    )  # fmt: skip
    return Candles(PAIR, bars, QUARTER)


@cache
def fitted() -> squeeze.Squeeze:
    return touch.fit_touch([candles()])


def test_the_season_of_the_week_is_found() -> None:
    season = np.array(fitted().season).reshape(7, 24)
    busy = season[:, 12:18].mean()
    assert season.mean() == pytest.approx(1.0, abs=1e-3)
    # Twice the volatility is four times the variance.
    assert busy / season[:, :12].mean() == pytest.approx(4.0, rel=0.15)


def test_a_fit_states_what_then_happens_on_another_market() -> None:
    """Fitted on one walk, excursions of another: stated and happened agree at every distance and horizon."""
    other, s = candles(120, seed=1), fitted()
    at = other.bars["event_time"]
    rows = np.flatnonzero((at % HOUR == 0) & (at >= at[0] + 20 * DAY))
    means = touch.means_of(other, np.array(s.season), rows)
    sigma = touch.sigma_of(means, at[rows].copy(), s)
    for i, (name, hours) in enumerate(squeeze.HORIZONS.items()):
        up, down = (x[rows] for x in touch.excursions(other.bars, QUARTER, hours))
        there = np.isfinite(up)
        for far in (0.5, 1.0, 2.0):
            p = squeeze.touch_probability(far * sigma[:, i], sigma[:, i], s.horizons[i])[there]
            happened = np.concatenate([up[there], down[there]]) >= np.tile(far * sigma[there, i], 2)
            assert happened.mean() == pytest.approx(p.mean(), abs=0.06), (name, far)


def test_the_walk_s_volatility_is_found_at_any_time_of_day() -> None:
    s, m = fitted(), candles(120, seed=1)
    at = m.bars["event_time"]
    rows = np.flatnonzero((at % HOUR == 0) & (at >= at[0] + 60 * DAY))
    sigma = touch.sigma_of(touch.means_of(m, np.array(s.season), rows), at[rows].copy(), s)
    # A bar of five steps shows less of its range than a continuous path does: Parkinson's estimate of it is too low.
    shown = (np.log(m.bars["high"] / m.bars["low"]) ** 2 / (4 * np.log(2))).sum()
    true = (6 * 4.0 + 18 * 1.0) * 4e-6 * 120
    assert shown / true < 0.7
    assert np.median(sigma[:, 1]) == pytest.approx(np.sqrt(shown / 120), rel=0.05)
    of_day = at[rows] // HOUR % 24
    assert np.median(sigma[of_day == 12, 0]) / np.median(sigma[of_day == 2, 0]) == pytest.approx(2.0, rel=0.1)


def test_nothing_after_until_enters_a_fit() -> None:
    m, until = candles(), BEGIN + 200 * DAY
    later = m.bars.copy()
    after = later["event_time"] > until
    for name in ("open", "high", "low", "close"):
        later[name][after] *= 3.0
    one, other = touch.fit_touch([m], until), touch.fit_touch([replace(m, bars=later)], until)
    assert one == other
    assert one.known_at == until
    assert one != fitted()


def test_too_few_candles_are_refused() -> None:
    with pytest.raises(InputError, match="180 days"):
        touch.fit_touch([candles()], BEGIN + 100 * DAY)


def test_a_hole_leaves_excursions_unknown() -> None:
    m = candles(120, seed=1)
    bars = np.delete(m.bars, slice(1000, 1004))
    up, _ = touch.excursions(bars, QUARTER, 4)
    assert np.isnan(up[984:1000]).all()
    assert np.isnan(up[-16:]).all()
    whole = touch.excursions(m.bars, QUARTER, 4)[0]
    assert np.array_equal(up[:984], whole[:984])
    row = 500
    top = m.bars["high"][row + 1 : row + 17].max()
    assert up[row] == max(np.log(top / m.bars["close"][row]), 0.0)


# --- scores
def made_cases(n: int = 6_000, seed: int = 0, effect: float = 0.0) -> tuple[Cases, np.ndarray]:
    """Cases over half a year with independent outcomes; `effect` on the log-odds of a hidden value, returned."""
    rng = np.random.default_rng(seed)
    at = BEGIN + np.sort(rng.integers(0, 26 * 7 * 24, n)) * HOUR
    x, stated = rng.normal(0, 1, n), rng.uniform(0.05, 0.6, n)
    truth = 1 / (1 + np.exp(-(np.log(stated / (1 - stated)) + effect * x)))
    touched = (rng.random(n) < truth).astype(np.float64)
    each = dict.fromkeys(squeeze.HORIZONS, stated)
    outcome = dict.fromkeys(squeeze.HORIZONS, touched)
    ones = np.ones(n)
    return Cases(np.full(n, PAIR), at, ones.astype(np.int64), 0.01 * ones, each, outcome, each, {}, each, each), x


def test_perfect_probabilities_score_as_perfect_and_biased_ones_do_not() -> None:
    c, _ = made_cases()
    found = touch.scores(c, draws=40)["1d"]
    # Three standard errors of 6,000 cases.
    assert found["intercept"][0] == pytest.approx(0.0, abs=0.15)
    assert found["slope"][0] == pytest.approx(1.0, abs=0.15)
    assert found["slope"][1] < found["slope"][0] < found["slope"][2]
    assert found["ece"] <= found["ece_perfect_95"]
    assert found["effective"] > 1_000  # independent outcomes: as many as there are, within the noise of 26 weeks
    y = c.touched["1d"]
    assert found["brier"] == pytest.approx(np.mean((c.stated["1d"] - y) ** 2), abs=5e-5)
    biased = touch.score(np.clip(c.stated["1d"] + 0.1, 0, 1), y, c.week, draws=40)
    assert biased["intercept"][2] < 0.0
    assert biased["ece"] > biased["ece_perfect_95"]


def test_copies_of_a_case_do_not_count_as_cases() -> None:
    c, _ = made_cases(2_000)
    many = np.repeat(np.arange(len(c)), 20)
    p, y = c.stated["1d"], c.touched["1d"]
    assert touch.effective(p[many], y[many], c.week[many]) < 1.5 * len(c)
    assert len(many) == 20 * len(c)


MONTHS = [BEGIN + k * 28 * DAY for k in range(2, 7)]


def gate_of(effect: float) -> dict:
    """Gates of made-up cases in which `taker_1h`, one of the flows, is the hidden value."""
    c, x = made_cases(4_000, effect=effect)
    rng = np.random.default_rng(9)
    names = [n for group in touch_gates.GROUPS.values() for n in group]
    table = {name: rng.normal(0, 1, len(c)) for name in names}
    table["taker_1h"] = x
    ahead = {h: {n: table.pop(n) if h == "3d" else table[n] for n in ("fomc", "cpi")} for h in squeeze.HORIZONS}
    return touch_gates.gates(c, (table, ahead), MONTHS, MONTHS[2], [PAIR], draws=20, horizons=["1d"])["1d"]


def test_a_gate_opens_for_what_matters_and_stays_closed_for_noise() -> None:
    found = gate_of(0.7)
    assert found["open"] == {name: name == "flows" for name in touch_gates.GROUPS}
    assert found["later"]["over_recalibrated"]["+ flows"][1] > 0.02
    assert not any(gate_of(0.0)["open"].values())


def test_a_gate_is_fitted_on_cases_that_had_ended() -> None:
    """Outcomes of the last horizon before a month, and of the month, change no prediction of it."""
    c, x = made_cases(effect=0.7)
    names = [n for group in touch_gates.GROUPS.values() for n in group]
    table = {name: x + i for i, name in enumerate(names)}
    values = (table, {h: dict.fromkeys(("fomc", "cpi"), x) for h in squeeze.HORIZONS})
    month = MONTHS[:2]
    one = touch_gates.predictions(c, values, "3d", month, [PAIR])
    y = c.touched["3d"].copy()
    unknown = c.at + 72 * HOUR > month[0]
    y[unknown] = 1.0 - y[unknown]
    other = touch_gates.predictions(replace(c, touched={**c.touched, "3d": y}), values, "3d", month, [PAIR])
    for name in touch_gates.MODELS:
        assert np.isfinite(one[name]).sum() > 100
        assert np.array_equal(one[name], other[name], equal_nan=True)


def test_a_logistic_regression_without_ridge_is_the_likeliest() -> None:
    c, x = made_cases(effect=0.7)
    y, stated = c.touched["1d"], touch.odds(c.stated["1d"])
    found = touch_gates.logistic(x[:, None], y, stated, ridge=0.0)
    assert found.b[2] == pytest.approx(0.7, abs=0.1)
    assert found.b[1] == pytest.approx(1.0, abs=0.1)
    p = found(x[:, None], stated)
    # At the maximum the residuals are orthogonal to every regressor.
    assert abs(((y - p) @ np.column_stack([np.ones(len(y)), stated, x])) / len(y)).max() < 1e-9


def test_students_scale_is_found() -> None:
    z = np.abs(stats.t.rvs(4, size=200_000, random_state=3)) * 0.8
    s = touch.scale_of(z)
    assert s == pytest.approx(0.8, rel=0.02)


# --- the command
@pytest.mark.slow
def test_the_command_fits_scores_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = market_of(200, 2, volatility=0.0015)
    datadir, out = write_datadir(tmp_path, made), tmp_path / "mine.json"
    until = (made.first + np.timedelta64(185, "D")).strftime("%Y-%m-%dT%H:%M:%SZ")

    def run(*options: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["liqsignals", "touch", "-d", str(datadir), "-p", PAIR, *options])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0), capsys.readouterr().out
        return 0, capsys.readouterr().out

    code, told = run("-t", "5m", "-o", str(out), "--until", until)
    assert code == 0
    assert str(out) in told
    assert "stated" in told
    loaded = squeeze.load(out)
    assert loaded.known_at == parse_time(until)
    assert loaded.provenance["fit"]["pairs"] == [PAIR]
    assert set(loaded.provenance["scores"]["4h"]) == {f"{PAIR} since {until}"}
    code, told = run("--squeeze", str(out), "--json")
    assert code == 0
    assert json.loads(told)["scores"]["4h"] == loaded.provenance["scores"]["4h"][f"{PAIR} since {until}"]
    assert run("--until", until)[0] == 2
    assert run("--squeeze", "none")[0] == 2

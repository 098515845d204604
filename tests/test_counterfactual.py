"""The simulated market run on with and without the impact of liquidations, and the square-root law."""

import math

import numpy as np
import pandas as pd
import pytest

from liqsignals.simulation import counterfactual
from liqsignals.simulation.draws import generator
from liqsignals.simulation.market import simulate
from liqsignals.simulation.pair import Run
from liqsignals.simulation.parameters import Parameters
from liqsignals.simulation.price import root_impact, weather
from liqsignals.simulation.scale import weather_parameters
from liqsignals.simulation.state import DAY as DAY_STEPS
from liqsignals.simulation.state import PERM, TL
from liqsignals.simulation.step import run as run_steps

pytestmark = pytest.mark.slow

BEGIN = pd.Timestamp("2026-01-05", tz="UTC")


def test_a_copy_runs_on_as_the_original_and_shares_nothing_with_it() -> None:
    one = Run("BTC/USDT:USDT", 5, 31, Parameters())
    w, none = np.zeros((DAY_STEPS, 5)), np.zeros(DAY_STEPS)
    weather(w, np.zeros(4), np.zeros(1, np.int64), generator(5, 0), weather_parameters(Parameters(), False), 0)
    one.steps(0, 2_000, w, none, 0)
    copy = counterfactual.copied(one.state)
    before = one.state.f.copy()
    run_steps(copy, 2_000, 3_000, w, none, 0.0)
    assert np.array_equal(one.state.f, before)
    run_steps(one.state, 2_000, 3_000, w, none, 0.0)
    assert np.array_equal(one.state.f, copy.f)
    assert np.array_equal(one.state.book, copy.book)


@pytest.mark.parametrize("law", [{}, {"impact_liquidation_root": 0.02}])
def test_forced_orders_carry_price_beyond_where_it_goes_without_them(law: dict[str, float]) -> None:
    """A level 0.3 % beyond each opening that a bar reaches: longs and shorts, both laws."""
    p = Parameters(**law)  # type: ignore[arg-type]
    candles = simulate(5, 2, ["BTC/USDT:USDT"], BEGIN, parameters=p).pairs["BTC/USDT:USDT"].candles
    opened, high, low = (candles[n].to_numpy() for n in ("open", "high", "low"))
    hits = [counterfactual.Touch(int(i), float(1.002 * opened[i]), 1) for i in np.flatnonzero(high > 1.002 * opened)]
    hits += [counterfactual.Touch(int(i), float(0.998 * opened[i]), -1) for i in np.flatnonzero(low < 0.998 * opened)]
    found = counterfactual.excursions(5, 2, "BTC/USDT:USDT", BEGIN, hits[:30], parameters=p, replicas=4)
    found = found[np.isfinite(found).all(axis=1)]
    assert len(found) > 5
    assert (found[:, :2] >= 0.0).all()
    moved = found[found[:, 2] > 1e6]  # USD: enough to be seen
    assert len(moved) >= 3
    assert moved[:, 0].mean() > moved[:, 1].mean()
    # Nothing liquidated, nothing added.
    assert (found[found[:, 2] == 0.0, 0] == found[found[:, 2] == 0.0, 1]).all()


def test_the_root_law_depends_on_the_sum_of_the_orders_alone() -> None:
    p = Parameters(impact_liquidation_root=0.02)
    moves = []
    for parts in (1, 4, 50):
        m = Run("BTC/USDT:USDT", 5, 31, p).state
        start = m.f[PERM]
        for _ in range(parts):
            root_impact(m.f, m.k, -1e5 / parts)
        moves.append(m.f[PERM] + m.f[TL] - start)
    # Rounding of fifty square roots.
    assert moves == pytest.approx([-0.02 * math.sqrt(1e5 / m.k["volume_day"])] * 3, rel=1e-9)

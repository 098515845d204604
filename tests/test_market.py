"""The simulated market: honest truth, valid candles, the same bytes twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from liqsignals.errors import InputError
from liqsignals.simulation import market as sim
from liqsignals.simulation.parameters import SPECS, bracket_table
from liqsignals.simulation.price import impact
from liqsignals.simulation.scale import scale_of
from liqsignals.simulation.state import DEP, NF, PERM, TL
from liqsignals.simulation.traders import liquidation_price
from liqsignals.simulation.truth import BUCKET

pytestmark = pytest.mark.slow

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
DAYS = 12


@pytest.fixture(scope="module")
def market() -> sim.Market:
    return sim.simulate(7, DAYS)


@pytest.fixture(params=[BTC, ETH])
def pair(request: pytest.FixtureRequest, market: sim.Market) -> sim.PairMarket:
    return market.pairs[request.param]


def frames(m: sim.PairMarket) -> dict[str, pd.DataFrame]:
    return {k: v for k, v in vars(m).items() if isinstance(v, pd.DataFrame)}


def hourly(candles: pd.DataFrame) -> pd.DataFrame:
    return candles.resample("1h", on="date").agg({"high": "max", "low": "min"})


def test_same_seed_same_bytes() -> None:
    one, two, other = (frames(sim.simulate(s, 1, (BTC,)).pairs[BTC]) for s in (3, 3, 4))
    assert len(one) >= 10
    for name, frame in one.items():
        assert frame.equals(two[name]), name
        for column in frame.select_dtypes("number").columns:  # equals() calls 0.0 and -0.0 equal
            assert frame[column].to_numpy().tobytes() == two[name][column].to_numpy().tobytes(), name
    assert not np.array_equal(one["candles"]["close"], other["candles"]["close"])
    assert not np.array_equal(one["flows"]["FlowInExNtv"], other["flows"]["FlowInExNtv"])


def test_a_pair_does_not_depend_on_its_followers(market: sim.Market) -> None:
    alone = sim.simulate(7, 1, (BTC,)).pairs[BTC].candles
    assert alone.equals(market.pairs[BTC].candles.iloc[: len(alone)])


def test_long_equals_short_equals_open_interest(pair: sim.PairMarket) -> None:
    t = pair.totals
    assert len(t) == DAYS * 4
    # Exact, not within 1e-9: quantities are whole lots. The left side is summed over the positions,
    # the right side is the running count behind the open-interest file.
    assert ((t["traders_long"] + t["hedged_long"]) == t["open_interest"]).all()
    assert ((t["traders_short"] + t["hedged_short"]) == t["open_interest"]).all()
    assert (t.drop(columns="date") > 0).all().all()
    oi = pair.open_interest.set_index("date")["open_interest_amount"].reindex(t["date"])
    assert oi.notna().sum() == len(t) - 1  # all but the last instant, at which no candle opens
    known = oi.notna().to_numpy()
    np.testing.assert_array_equal(oi[known], t["open_interest"][known] / 1000)  # lots a coin
    # traders are neither the whole market nor a fringe, on either side
    assert (t["traders_long"] / t["open_interest"]).between(0.2, 0.8).all()
    assert (t["traders_short"] / t["open_interest"]).between(0.2, 0.8).all()


def test_true_levels_are_on_their_side_and_no_more_than_what_stands(pair: sim.PairMarket) -> None:
    levels, half = pair.levels, BUCKET / 2
    close = pair.candles.set_index(pair.candles["date"] + pd.Timedelta(minutes=5))["close"]
    price = close.reindex(levels["date"]).to_numpy()
    assert not np.isnan(price).any()
    centre = levels["price"].to_numpy()
    # the price of a level is its bucket's centre: up to half a bucket from the true one
    assert (centre[levels["long_base"] > 0] <= (price * np.exp(half))[levels["long_base"] > 0]).all()
    assert (centre[levels["short_base"] > 0] >= (price * np.exp(-half))[levels["short_base"] > 0]).all()
    index = np.log(centre) / BUCKET - 0.5
    np.testing.assert_allclose(index, np.rint(index), atol=1e-6)
    sums = levels.groupby("date")[["long_base", "short_base"]].sum()
    t = pair.totals.set_index("date") / 1000
    assert list(sums.index) == list(t.index)
    np.testing.assert_allclose(sums["short_base"], t["traders_short"], rtol=1e-9)  # every short has a level
    share = sums["long_base"] / t["traders_long"]  # a long at 1x has none
    assert share.between(0.6, 1.0).all()
    assert (share < 1.0).any()
    # exact, position by position, at the end
    s, last = pair.standing, float(pair.candles["close"].iloc[-1])
    assert (s["liquidation"][s["side"] > 0] < last).all()
    assert (s["liquidation"][s["side"] < 0] > last).all()
    assert (s["leverage"] <= 125.0 + 1e-9).all()


def test_a_textbook_distance_is_the_minority(pair: sim.PairMarket) -> None:
    s = pair.standing
    s = s[(s["liquidation"] > 0) & (s["leverage"] > 1.5)]
    assert len(s) > 2000
    assert (s["leverage"] > 20).any()
    notional = s["base"] * s["entry"]
    assert notional[s["leverage"] < 7].sum() > 0.5 * notional.sum()


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("base", [0.5, 5.0, 50.0, 700.0])
def test_liquidation_price_is_where_equity_meets_maintenance(side: int, base: float) -> None:
    entry, brackets = 90_000.0, bracket_table()
    margin = entry * base / 8.0
    level = liquidation_price(side, entry, base, margin, brackets)
    k = np.searchsorted(brackets[:, 0], entry * base)
    equity = margin + side * base * (level - entry)
    assert equity == pytest.approx(brackets[k, 1] * base * level - brackets[k, 3], rel=1e-9)
    assert side * (entry - level) > 0


def test_maintenance_margin_is_continuous_over_brackets() -> None:
    b = bracket_table()
    for k in range(len(b) - 1):
        top = b[k, 0]
        assert b[k, 1] * top - b[k, 3] == pytest.approx(b[k + 1, 1] * top - b[k + 1, 3])


def test_candles_are_valid(pair: sim.PairMarket) -> None:
    c = pair.candles
    assert len(c) == DAYS * 288
    assert (c["date"].diff().iloc[1:] == pd.Timedelta(minutes=5)).all()
    assert c["date"].iloc[0] == sim.DEFAULT_START
    assert (c["low"] <= c[["open", "close"]].min(axis=1)).all()
    assert (c["high"] >= c[["open", "close"]].max(axis=1)).all()
    assert (c["volume"] > 0).all()
    np.testing.assert_array_equal(c["open"].iloc[1:], c["close"].iloc[:-1])
    spread = c["high"] / c["low"] - 1.0
    assert 0.0008 < spread.median() < 0.004
    assert spread.rank().corr(c["volume"].rank()) > 0.6
    daily = c["volume"].sum() / DAYS / pair.open_interest["open_interest_amount"].mean()
    assert 1.0 < daily < 4.0


def test_liquidations_lie_inside_their_hours_range(pair: sim.PairMarket) -> None:
    e = pair.events[pair.events["cause"] == "price"]  # funding moves the level itself past the price
    assert len(e) > 100
    assert len(e) > 0.9 * len(pair.events)
    hour = hourly(pair.candles).reindex(e["date"].dt.floor("1h"))
    for price in (e["level"].to_numpy(), e["fill"].to_numpy()):
        assert (price <= hour["high"].to_numpy()).all()
        assert (price >= hour["low"].to_numpy()).all()
    adverse = e["side"] * (e["level"] - e["fill"])
    assert (adverse >= 0).all()


def test_hourly_liquidations_are_the_events(pair: sim.PairMarket) -> None:
    e, h = pair.events, pair.liquidations.set_index("date")
    usd = (e["base"] * e["fill"]).groupby([e["date"].dt.floor("1h"), e["side"]]).sum().unstack(fill_value=0.0)
    for side, column in ((1, "liq_long_usd"), (-1, "liq_short_usd")):
        np.testing.assert_allclose(h[column], usd[side].reindex(h.index, fill_value=0.0), rtol=1e-9)
        assert h[column].sum() > 0


def test_open_interest_changes_with_the_volume_of_its_own_bar(pair: sim.PairMarket) -> None:
    change = pair.open_interest.set_index("date")["open_interest_amount"].diff().abs()
    volume = pair.candles.set_index("date")["volume"]
    table = pd.DataFrame({"change": change})
    for bar in (-2, -1, 0, 1):  # the row AT date closes bar -1
        table[bar] = volume.shift(-bar)
    days = [d.rank().corr()["change"] for _, d in table.dropna().groupby(lambda x: x.date())]
    right = [d[-1] == d[[-2, -1, 0, 1]].max() for d in days if d.notna().all()]
    assert len(right) >= DAYS - 1
    assert np.mean(right) >= 0.9
    assert np.mean([d[-1] for d in days]) > 0.4


def test_cascades_happen_and_nothing_explodes(market: sim.Market) -> None:
    count = 0
    for m in market.pairs.values():
        oi = m.open_interest.resample("1h", on="date")["open_interest_value"].first()
        liquidated = m.liquidations.set_index("date")[["liq_long_usd", "liq_short_usd"]].sum(axis=1) / oi
        h = hourly(m.candles)
        count += int(((liquidated > 0.004) & (h["high"] / h["low"] > 1.015)).sum())
        assert (liquidated < 0.25).all()
        start = m.candles["open"].iloc[0]
        assert m.candles["low"].min() > 0.4 * start
        assert m.candles["high"].max() < 2.5 * start
        amount = m.open_interest["open_interest_amount"]
        assert (amount / amount.iloc[0]).between(0.3, 3.0).all()
    assert count >= 3


def test_liquidations_move_the_price_more_than_normal_flow_and_revert_more() -> None:
    p = sim.Parameters()
    assert 4.4 <= p.impact_liquidation / p.impact_normal <= 6.5  # docs/evidence.md 6
    assert p.transient_liquidation > p.transient_normal
    args = {"seed": 3, "days": 1, "pairs": (BTC,)}
    a = sim.simulate(**args).pairs[BTC]  # type: ignore[arg-type]
    b = sim.simulate(**args, parameters=replace(p, impact_liquidation=0.0)).pairs[BTC]  # type: ignore[arg-type]
    assert not np.array_equal(a.candles["close"], b.candles["close"])
    k = scale_of(p, SPECS["BTC"])
    f = np.zeros(NF)
    f[DEP] = 1.0
    lots = 1e-4 * k.volume_day
    first = impact(f, k, -lots, k.c_liq, k.t_liq, True)
    assert first == pytest.approx(-1e-4 * p.impact_liquidation)
    assert f[PERM] + f[TL] == pytest.approx(first)
    assert f[TL] == pytest.approx(p.transient_liquidation * first)
    f[TL] = -2.0 * p.impact_saturation
    assert impact(f, k, -lots, k.c_liq, k.t_liq, True) == pytest.approx(first / 5.0)


def test_pairs_are_correlated_but_different(market: sim.Market) -> None:
    a, b = (np.diff(np.log(m.candles["close"])) for m in market.pairs.values())
    assert 0.5 < np.corrcoef(a, b)[0, 1] < 0.97


def test_another_coin_and_start() -> None:
    start = pd.Timestamp("2026-02-01", tz="UTC")
    m = sim.simulate(1, 1, ("SOL/USDT:USDT",), start).pairs["SOL/USDT:USDT"]
    assert m.flows is None
    assert m.candles["date"].iloc[0] == start
    assert m.levels["date"].min() == start + pd.Timedelta(hours=6)
    assert m.levels["date"].max() == start + pd.Timedelta(days=1)


@pytest.mark.parametrize(
    "bad",
    [
        {"seed": -1},
        {"days": 0},
        {"pairs": ()},
        {"pairs": BTC},
        {"pairs": (BTC, BTC)},
        {"pairs": ("BTC/USDT",)},
        {"pairs": ("../../x/USDT:USDT",)},
        {"start": pd.Timestamp("2025-01-01")},
        {"start": pd.Timestamp("2025-01-01 03:00", tz="UTC")},
        {"truth_every": "7h"},
        {"truth_every": "soon"},
    ],
)
def test_bad_arguments(bad: dict[str, object]) -> None:
    with pytest.raises(InputError):
        sim.simulate(**({"seed": 1, "days": 1} | bad))  # type: ignore[arg-type]


def test_files(tmp_path: Path) -> None:
    seen: list[float] = []
    out = sim.write_market(tmp_path / "data", seed=1, days=1, pairs=(BTC,), progress=seen.append)
    assert seen[-1] == 1.0
    assert seen == sorted(seen)
    futures = out / "binance" / "futures"
    date = {"date": "datetime64[ms, UTC]"}
    ohlcv = date | dict.fromkeys(("open", "high", "low", "close", "volume"), "float64")
    rate = date | {"funding_rate": "float64"}
    interest = date | dict.fromkeys(("open_interest_amount", "open_interest_value"), "float64")
    expected = {
        "BTC_USDT_USDT-5m-futures.feather": (ohlcv, 288),
        "BTC_USDT_USDT-1h-futures.feather": (ohlcv, 24),
        "BTC_USDT_USDT-1h-mark.feather": (ohlcv, 24),
        "BTC_USDT_USDT-1h-funding_rate.feather": (rate, 31 * 3 - 1),
        "BTC_USDT_USDT-5m-open_interest.feather": (interest, 288),
    }
    assert {p.name for p in futures.iterdir()} == set(expected)
    for name, (types, rows) in expected.items():
        frame = pd.read_feather(futures / name)
        assert {k: str(v) for k, v in frame.dtypes.items()} == types
        assert len(frame) == rows
    funding = pd.read_feather(futures / "BTC_USDT_USDT-1h-funding_rate.feather")
    assert set(funding["date"].dt.hour) == {0, 8, 16}
    extras = out / "binance" / "liqsignals"
    flows = pd.read_csv(extras / "flows" / "coinmetrics-btc-exchange-flows-1d.csv")
    assert flows["time"].iloc[-1] == "2025-01-01"
    assert (extras / "venues" / "bybit" / "futures" / "BTC_USDT_USDT-1h-funding_rate.feather").is_file()
    levels = pd.read_parquet(out / "truth" / "BTC_USDT_USDT-levels.parquet")
    assert list(levels.columns) == ["date", "price", "long_base", "short_base"]
    assert "SIMULATED" in (out / "binance" / "SIMULATED").read_text()

    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    sim.write_market(out, seed=1, days=1, pairs=(BTC,))  # its own folder may be replaced
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["data"]  # nothing temporary is left


@pytest.mark.parametrize("name", ["binance/futures/mine.feather", "notes.txt"])
def test_refuses_a_foreign_folder(tmp_path: Path, name: str) -> None:
    mine = tmp_path / "data" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match="left alone"):
        sim.write_market(tmp_path / "data", seed=1, days=1)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [mine]


def test_refuses_its_own_folder_with_something_else_in_it(tmp_path: Path) -> None:
    (tmp_path / "data" / "binance").mkdir(parents=True)
    (tmp_path / "data" / "binance" / "SIMULATED").write_text("SIMULATED")
    (tmp_path / "data" / "okx").mkdir()
    with pytest.raises(InputError, match="left alone"):
        sim.write_market(tmp_path / "data", seed=1, days=1)

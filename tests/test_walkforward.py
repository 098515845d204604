"""The walk-forward: freqtrade's portfolio reproduced, placebos that are what they claim, verdicts, re-priced stops."""

import html
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqsignals.clock import DAY, HOUR, MINUTE, parse_time, to_dates
from liqsignals.errors import InputError
from liqsignals.report import results
from liqsignals.report import walkforward as pages
from liqsignals.strategy import sizing
from liqsignals.strategy import verdicts as judged
from liqsignals.strategy.placebo import BLOCK, TAG, Placebo, permutation
from liqsignals.walkforward import candidates, verdicts, walk
from liqsignals.walkforward.portfolio import Outcome, Rules, simulate
from liqsignals.walkforward.protections import Closed, Locks

ROOT = Path(__file__).parents[1]
PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
FIVE = 5 * MINUTE

#: Enters both sides often and loses often, so that slots, all protections and stops matter.
STRATEGY = """
import numpy as np
from freqtrade.strategy import IStrategy
from liqsignals.signals import Signals
from liqsignals.strategy.callbacks import populated


class Busy(IStrategy):
    timeframe = "5m"
    can_short = True
    stoploss = -0.012
    minimal_roi = {"0": 0.02, "90": 0}
    startup_candle_count = 10

    @property
    def protections(self):
        return [
            {"method": "CooldownPeriod", "stop_duration_candles": 3},
            {"method": "StoplossGuard", "lookback_period_candles": 72, "trade_limit": 2, "stop_duration_candles": 12,
             "only_per_side": True},
            {"method": "LowProfitPairs", "lookback_period": 360, "trade_limit": 3, "stop_duration": 120,
             "required_profit": 0.01},
            {"method": "MaxDrawdown", "lookback_period": 720, "trade_limit": 4, "stop_duration": 240,
             "max_allowed_drawdown": 0.01, "calculation_mode": "equity"},
        ]

    def bot_start(self, **kwargs):
        self.signals = Signals.from_config(self.config)

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        return populated(self, "populate_entry_trend", dataframe, metadata, self.with_entries)

    def with_entries(self, dataframe, metadata):
        drawn = np.random.default_rng(len(metadata["pair"]) + ord(metadata["pair"][0])).random(len(dataframe))
        dataframe.loc[drawn < 0.05, "enter_long"] = 1
        dataframe.loc[drawn > 0.95, "enter_short"] = 1
        dataframe.loc[(drawn < 0.05) | (drawn > 0.95), "enter_tag"] = "busy"
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe

    def leverage(self, *args, **kwargs):
        return 3.0
"""


@pytest.fixture(scope="module")
def two_pairs(market: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SIMULATED market, and its mirror image as another pair: what rises there falls here."""
    datadir = tmp_path_factory.mktemp("two") / "binance"
    shutil.copytree(market / "futures", datadir / "futures")
    for path in (market / "futures").glob("ETH_*"):
        frame = pd.read_feather(path)
        if "high" in frame.columns and path.stem.endswith(("-futures", "-mark")):
            prices = (3e8 / frame[["open", "low", "high", "close"]]).round(1)
            frame[["open", "high", "low", "close"]] = prices.to_numpy()
        frame.to_feather(datadir / "futures" / path.name.replace("ETH", "BTC"))
    return datadir


@pytest.mark.slow
def test_one_slice_from_end_to_end(two_pairs: Path, tmp_path: Path) -> None:
    """A strategy with slots, four protections, both sides and stops: our portfolio makes freqtrade's trades.

    freqtrade keeps eight decimals of a profit and of funding: 1e-6 of the margin is far above that, and far below what
    one wrong stake, fee or funding payment makes. A second run reads what the first one made.
    """
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "Busy.py").write_text(STRATEGY)
    span = parse_time("2025-01-20T00:00:00Z"), parse_time("2025-01-26T00:00:00Z")
    plan = walk.Plan(
        two_pairs, PAIRS, ("Busy",), ROOT / "config.json", tmp_path, tmp_path / "out", span, draws=20, shuffles=0,
        hindsight=False,
    )  # fmt: skip
    seen: list[tuple[int, int]] = []
    result = walk.walk(plan, lambda what, done, of: seen.append((done, of)))
    assert seen == [(0, 1), (1, 1)]
    told = result["strategies"]["Busy"]
    again = told["reproduced"]
    assert again["trades"] == again["same"] == told["trades"] > 50
    assert again["largest_difference"] < 1e-6
    # All of it mattered: protections of every kind, both sides, stops, funding, signals without a slot.
    kept = [json.loads(path.read_text()) for path in (tmp_path / "out" / "runs").glob("*/run.json")]
    account, table = sorted(kept, key=lambda run: len(run["trades"]))
    reasons = " ".join(lock["reason"] for lock in account["summary"]["locks"])
    assert all(word in reasons for word in ("Cooldown", "stoplosses", "< 0.01", "passed"))
    assert {trade["is_short"] for trade in account["trades"]} == {True, False}
    assert {trade["pair"] for trade in account["trades"]} == set(PAIRS)
    assert any(trade["exit_reason"] == "stop_loss" for trade in account["trades"])
    assert any(trade["funding_fees"] for trade in account["trades"])
    assert sum(trade["enter_tag"] == "busy" for trade in table["trades"]) > 2 * told["trades"]
    assert sum(trade["enter_tag"] == TAG for trade in table["trades"]) > 5 * told["trades"]
    assert told["accounts"]["3x costs"]["growth"] < told["accounts"]["as judged"]["growth"]
    assert told["accounts"]["stops at the extreme"]["growth"] <= told["accounts"]["as judged"]["growth"]
    assert told["placebos"]["random entries"]["placebo_trades"] > 5 * told["trades"]
    assert told["placebos"]["price-only trigger"]["placebo_trades"] > told["trades"]
    assert told["placebos"]["shuffled in terciles"]["word"] == verdicts.TOO_FEW
    assert walk.walk(plan, lambda *args: None) == result
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2
    walk.save(result, tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text())["pairs"] == list(PAIRS)
    page = tmp_path / "report.html"
    pages.write_html(result, page, "a <title>")
    text = page.read_text()
    assert "a &lt;title&gt;" in text
    assert all(html.escape(rows[0]) in text for rows in pages.tables(result))
    stored = {"made": "2026-11-26T00:00:00Z", **result}
    written = results.page([stored, stored])
    by_hand = f"{results.BY_HAND}\n\n## Before\n"
    assert results.page([stored, stored], f"old\n{by_hand}") == f"{written}\n{by_hand}"
    assert all(digest in written for digest in result["data"].values())
    assert all(f"| {part['slice']} |" in written for part in told["slices"])
    assert [row["verdict"] for row in results.short([stored])["rows"]] == [told["verdict"]]


@pytest.mark.parametrize("mode", ["dry_run", "live", "hyperopt", None])
def test_a_placebo_is_refused_outside_backtests(mode: str | None) -> None:
    with pytest.raises(InputError, match=r"placebo.*is for backtests"):
        Placebo.parse({"shuffle": 1}, mode)
    assert Placebo.parse(None, mode) is None


@pytest.mark.parametrize("block", [{}, {"shuffle": -1}, {"shuffle": True}, {"seed": 1}, [1], {"entries": "absent"}])
def test_a_placebo_that_cannot_work_is_refused(block: Any) -> None:
    with pytest.raises(InputError, match="placebo"):
        Placebo.parse(block, "backtest")


def _frame(n: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(0.001 * draw.normal(size=n)))
    span = close * 0.002 * np.exp(draw.normal(size=n))
    at = parse_time("2026-01-05T00:35:00Z") + FIVE * np.arange(n)
    return pd.DataFrame(
        {"date": to_dates(at), "high": close + span, "low": close - span, "close": close, "open": close}
    )


@given(st.integers(0, 900), st.integers(0, 99))
def test_blocks_change_places_within_their_tercile(n: int, seed: int) -> None:
    frame = _frame(n, seed)
    at = pd.DatetimeIndex(frame["date"]).as_unit("ns").asi8
    span = ((frame["high"] - frame["low"]) / frame["close"]).to_numpy()
    source = permutation(at, span, [seed])
    assert np.array_equal(np.sort(source), np.arange(n))
    # Inside a block the order stays, and the time of day within a block.
    assert np.array_equal(at[source] % BLOCK, at % BLOCK)
    same = at[1:] // BLOCK == at[:-1] // BLOCK
    assert (np.diff(source)[same] == 1).all()
    block = np.unique(at // BLOCK)
    whole = [b for b in block if (at // BLOCK == b).sum() == BLOCK // FIVE]
    mean = {b: span[at // BLOCK == b].mean() for b in whole}
    ranks = {b: r for r, b in enumerate(sorted(whole, key=lambda b: mean[b]))}
    for b in whole:
        other = int(at[source[np.flatnonzero(at // BLOCK == b)[0]]] // BLOCK)
        # Terciles have a third of the blocks, so no block moves further than that in rank.
        assert abs(ranks[b] - ranks[other]) <= len(whole) // 3 + 1


def test_only_the_maps_columns_move_and_prices_keep_their_distance() -> None:
    frame = _frame(600, 1)
    names = ("liq_above_price", "liq_above_distance", "liq_fresh", "liq_warm", "fund_skew_z", "squeeze_ratio")
    columns = {name: np.random.default_rng(k).random(600) for k, name in enumerate(names)}
    columns["liq_above_price"] = frame["close"].to_numpy() * (1 + columns["liq_above_distance"])
    found = Placebo(3, None, None).columns(columns, frame, PAIRS[0])
    for name in ("liq_fresh", "liq_warm", "fund_skew_z"):
        assert np.array_equal(found[name], columns[name])
    for name in ("liq_above_distance", "squeeze_ratio"):
        assert not np.array_equal(found[name], columns[name])
        assert np.array_equal(np.sort(found[name]), np.sort(columns[name]))
    distance = found["liq_above_price"] / frame["close"].to_numpy() - 1
    assert np.allclose(distance, found["liq_above_distance"], rtol=0, atol=1e-12)  # rounding of one product
    assert not np.array_equal(
        Placebo(4, None, None).columns(columns, frame, PAIRS[0])["squeeze_ratio"], found["squeeze_ratio"]
    )


def _outcome(opened: int, *, pair: str = PAIRS[0], closed: int | None = None, **changes: Any) -> Outcome:
    values = {"is_short": False, "entry": 100.0, "exit": 101.0, "stop": 99.0, "leverage": 3.0, "reason": "time", "tag": "t",
              "funding": 0.0, **changes}  # fmt: skip
    return Outcome(pair=pair, opened=opened, closed=opened + 300_000 if closed is None else closed, **values)


def test_random_entries_share_week_hour_and_pair() -> None:
    at = parse_time("2026-01-01T00:00:00Z") + FIVE * np.arange(31 * 288)
    entries = [_outcome(int(at[k]) // 10**6) for k in (5, 700, 4000)]
    for one, found in zip(entries, candidates.strata(entries, {PAIRS[0]: at}, 1), strict=True):
        own, dates = pd.Timestamp(one.opened, unit="ms"), pd.DatetimeIndex(found)
        assert set(dates.hour) == {own.hour}
        assert set(dates.isocalendar().week) == {own.isocalendar().week}
        assert len(set(found)) == candidates.IN_STRATUM


def test_matching_knows_nothing_of_the_candle_that_it_enters() -> None:
    frame = _frame(900, 2)
    before = candidates.covariates(frame, FIVE)
    changed = frame.copy()
    changed.loc[700:, ["high", "low", "close"]] *= 3.0
    after = candidates.covariates(changed, FIVE)
    assert np.array_equal(before[:701], after[:701], equal_nan=True)
    assert not np.array_equal(before[701], after[701])


def test_matched_candles_are_near_in_move_and_hour_and_far_from_signals() -> None:
    at = parse_time("2026-01-01T00:00:00Z") + FIVE * np.arange(4000)
    values = candidates.covariates(_frame(4000, 3), FIVE)
    one = _outcome(int(at[2000]) // 10**6)
    (found,) = candidates.matches([one], {PAIRS[0]: (at, values)}, [one])
    assert len(found) == candidates.MATCHES
    assert (np.abs(found - at[2000]) >= 6 * HOUR).all()
    assert (np.isin((found // HOUR - at[2000] // HOUR) % 24, (23, 0, 1))).all()
    spread = np.nanstd(values, axis=0)
    distance = np.abs((values[np.searchsorted(at, found)] - values[2000]) / spread).max()
    typical = np.nanmedian(np.abs((values - values[2000]) / spread).max(axis=1))
    assert distance < 0.5 * typical


def _sample(rng: np.random.Generator, shift: float, weeks: int, each: int) -> verdicts.Sample:
    week = np.repeat(np.arange(weeks), each)
    return verdicts.Sample(shift + 0.01 * rng.normal(size=len(week)), week, week * 7 + np.tile(np.arange(each), weeks))


def test_verdicts() -> None:
    rng = np.random.default_rng(1)
    base = _sample(rng, 0.0, 26, 40)
    assert verdicts.judge(_sample(rng, 0.01, 26, 4), base, 1).word == verdicts.ADDS
    assert verdicts.judge(_sample(rng, -0.01, 26, 4), base, 1).word == verdicts.HARMS
    assert verdicts.judge(_sample(rng, 0.0, 26, 4), base, 1).word == verdicts.NOT_SHOWN
    assert verdicts.judge(_sample(rng, 0.01, 14, 4), base, 1).word == verdicts.TOO_FEW  # 56 trades
    few_days = _sample(rng, 0.01, 26, 4)
    crowded = verdicts.Sample(few_days.net, few_days.week, few_days.week)  # 26 days with entries
    assert verdicts.judge(crowded, base, 1).word == verdicts.TOO_FEW
    assert verdicts.judge(verdicts.pooled([]), base, 1).word == verdicts.TOO_FEW


def test_whole_weeks_are_resampled() -> None:
    """Trades of one week are one observation: a hundred copies of them narrow nothing."""
    rng = np.random.default_rng(2)
    week = np.arange(30)
    net = rng.normal(size=30)
    base = verdicts.Sample(np.zeros(30), week, week * 7)
    once = verdicts.judge(verdicts.Sample(net, week, week * 7), base, 5)
    often = verdicts.judge(verdicts.Sample(*(np.repeat(a, 100) for a in (net, week, week * 7))), base, 5)
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-12)
    slow = [np.mean(rng.choice(net, 30)) for _ in range(20000)]
    assert (once.low, once.high) == pytest.approx(tuple(np.quantile(slow, (0.025, 0.975))), abs=0.03)


def test_an_account_without_a_free_slot_makes_no_trade() -> None:
    long = _outcome(0, closed=3_000_000)
    rules = Rules(PAIRS, 1, 10000.0, 0.0, 300_000)
    blocked = [_outcome(300_000, pair=PAIRS[1]), _outcome(600_000)]
    assert [t.outcome for t in simulate([long, *blocked], rules)] == [long]
    after = _outcome(3_000_000, pair=PAIRS[1])
    assert [t.outcome for t in simulate([long, after], rules)] == [long, after]
    # A pair does not enter in the candle of its own exit.
    assert [t.outcome for t in simulate([long, _outcome(3_000_000)], rules)] == [long]


def test_sizes_by_risk_and_the_stop_at_a_drawdown() -> None:
    """By hand: 0.5 % of 99 % of the account at a stop 2 % away; the second trade gets what the gap budget leaves."""
    limits = sizing.Limits(per_trade=0.005, gap=0.15, gap_budget=0.0375, leverage=3.0)
    rules = Rules(PAIRS, 2, 10000.0, 0.0, 300_000, limits=limits)
    first = _outcome(0, closed=900_000, way=0.02, exit=98.0)
    second = _outcome(300_000, pair=PAIRS[1], closed=600_000, way=0.01)
    made = simulate([first, second], rules)
    equity = 10000.0 * 0.99
    # The first one has all the room there is.
    assert [t.outcome for t in made] == [first]
    assert made[0].stake == pytest.approx(equity * 0.25 / 3, abs=1e-9)
    roomy = replace(rules, limits=replace(limits, gap_budget=0.09))
    stakes = {t.outcome.pair: t.stake for t in simulate([first, second], roomy)}
    # 0.25 of equity, then the rest of 0.6: 0.35 instead of the 0.5 that its risk would allow.
    assert stakes == pytest.approx({PAIRS[0]: equity * 0.25 / 3, PAIRS[1]: equity * 0.35 / 3}, abs=1e-9)
    later = [_outcome(1_200_000 + 600_000 * k, closed=1_500_000 + 600_000 * k, way=0.02, exit=98.0) for k in range(9)]
    stopped = simulate([first, *later], replace(roomy, max_drawdown=0.012))
    # Each loses 0.495 %: two pass 0.99 %, the third passes the limit.
    assert len(stopped) == 3


def test_an_unknown_protection_is_refused() -> None:
    with pytest.raises(InputError, match="protection FullMoon is not simulated"):
        Locks(({"method": "FullMoon"},), 300_000, 1000.0)


def test_a_lock_until_an_hour_of_the_day() -> None:
    locks = Locks(({"method": "CooldownPeriod", "unlock_at": "07:00"},), 300_000, 1000.0)
    day = 20_000 * DAY // 10**6
    locks.exited(Closed(PAIRS[0], "long", day + 8 * 3_600_000, "x", 0.0, 0.0))
    assert locks.locked(PAIRS[0], day + 30 * 3_600_000, "long")
    assert not locks.locked(PAIRS[0], day + 31 * 3_600_000 + 300_000, "long")
    assert not locks.locked(PAIRS[1], day + 9 * 3_600_000, "long")


def test_net_of_a_trade() -> None:
    """By hand: 1 % gained, 0.1 % of both fills paid, funding of 0.05 a unit received."""
    assert _outcome(0, funding=0.05).net(0.001) == pytest.approx((1 - 0.001 * 201 + 0.05) / 100, abs=1e-15)
    assert _outcome(0, is_short=True, stop=101.0).net(0.0) == pytest.approx(-0.01, abs=1e-15)
    assert _outcome(0).risk == pytest.approx(0.01, abs=1e-15)


def test_stops_of_wide_candles_fill_beyond_the_stop(two_pairs: Path) -> None:
    """By hand, on real files: the share of the way to the extreme, only stops, only wide candles, never beyond the
    margin.
    """
    candles = pd.read_feather(two_pairs / "futures" / "BTC_USDT_USDT-5m-futures.feather")
    candles = candles[candles["date"] >= "2025-01-15"]
    span = (candles["high"] - candles["low"]) / candles["open"]
    plan = walk.Plan(two_pairs, PAIRS, (), Path(), Path(), Path(), (0, 1))
    wide, narrow = candles.loc[span.idxmax()], candles.loc[span.idxmin()]
    assert span.max() > walk.WIDE > span.min()

    def fills(candle: pd.Series, share: float, **changes: Any) -> float:
        at = int(candle["date"].timestamp() * 1000)
        stop = changes.pop("exit", candle["open"])
        one = _outcome(
            at - 300_000, closed=at, exit=stop, stop=stop, entry=candle["open"], reason="stop_loss"
        )._replace(**changes)
        return walk.repriced(plan, [one], share, "5m")[0].exit

    assert fills(wide, 1.0) == wide["low"]
    assert fills(wide, 0.5) == pytest.approx((wide["open"] + wide["low"]) / 2, rel=1e-15)
    assert fills(wide, 1.0, is_short=True) == wide["high"]
    assert (fills(wide, 0.0), fills(narrow, 1.0)) == (wide["open"], narrow["open"])
    assert fills(wide, 1.0, reason="time_stop") == wide["open"]
    assert fills(wide, 1.0, leverage=1e9) == pytest.approx(wide["open"], rel=1e-8)


def test_the_packaged_results_and_verdicts_are_of_one_walk() -> None:
    told = results.packaged()
    assert {row["strategy"] for row in told["rows"]} == set(judged.packaged())
    assert results.rows(told)[2]


def test_months() -> None:
    span = parse_time("2025-12-15T00:00:00Z"), parse_time("2026-02-01T00:00:00Z")
    found = walk.slices(*span)
    assert [s.name for s in found] == ["2025-12", "2026-01"]
    assert found[0].stop == found[1].start == parse_time("2026-01-01T00:00:00Z")
    assert walk.stretches(found, {"2025-12": "none", "2026-01": "none"}) == [
        (walk.Slice("2025-12 .. 2026-01", *span), "none")
    ]
    assert [part for part, _ in walk.stretches(found, {"2025-12": "none", "2026-01": "a.json"})] == found

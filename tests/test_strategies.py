"""The strategies on small hand-made frames: how they load, when they enter, what their exits decide on."""

import ast
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from freqtrade.enums import RunMode
from freqtrade.exceptions import TemporaryError
from freqtrade.persistence import Trade as Trades
from freqtrade.resolvers import StrategyResolver
from freqtrade.strategy import IStrategy

from liqsignals import features
from liqsignals.guard import passes, refusal
from liqsignals.strategy.account import Account
from liqsignals.strategy.config import Risk

FOLDER = Path(__file__).resolve().parents[1] / "user_data" / "strategies"
NAMES = ("RejectionFade", "SqueezeMomentum")
PAIR = "BTC/USDT:USDT"
ROWS = 96
#: Row of the signal in `pressing` and `rejected`; the entry is made in the next one.
AT = 30
START = pd.Timestamp("2026-01-05", tz="UTC")
CANDLE = pd.Timedelta("5min")

Change = Callable[[pd.DataFrame], Any]
WALLETS = SimpleNamespace(get_total_stake_amount=lambda: 10_000.0, get_starting_balance=lambda: 10_000.0)


@pytest.fixture(autouse=True)
def no_trades() -> Iterator[None]:
    """As in a backtest: freqtrade's trades are in memory, and there are none."""
    Trades.use_db = False
    Trades.reset_trades()
    yield
    Trades.use_db = True


def load(name: str) -> Any:
    """A strategy for which an hour is what three days are, so that small frames will do; it fades both sides."""
    config = {"strategy": name, "strategy_path": str(FOLDER), "user_data_dir": FOLDER, "trading_mode": "futures"}
    strategy = StrategyResolver.load_strategy(config)
    strategy.record_h.value = 1
    if name == "RejectionFade":
        strategy.fade_squeezes.value = True
    strategy.account = Account(name, Risk(), "backtest", None)
    strategy.wallets = WALLETS
    return strategy


@pytest.fixture(scope="module")
def squeeze() -> Any:
    return load("SqueezeMomentum")


@pytest.fixture(scope="module")
def fade() -> Any:
    return load("RejectionFade")


def base() -> pd.DataFrame:
    """Candles at 100 with every family fresh and quiet, and no cluster."""
    frame = pd.DataFrame({"date": START + CANDLE * np.arange(ROWS), "open": 100.0, "high": 100.1, "low": 99.9})
    frame = frame.assign(close=100.0, volume=1.0, **features.empty(ROWS))
    flags = ["liq_fresh", "liq_warm", "fund_fresh", "flow_fresh"]
    frame = frame.assign(**dict.fromkeys(flags, 1.0), fund_skew_z=0.0, flow_inflow_z=0.0, fund_rate_8h=0.0001)
    return frame.assign(hour_high=100.2, hour_low=99.6, hour=0.005)


def pressing() -> pd.DataFrame:
    """A rise under a short cluster at 101.5; from row AT on shorts are swept as in no hour before."""
    frame = base().assign(adx=30.0, plus_di=30.0, minus_di=10.0, sweep=1e5)
    frame.loc[AT:, "sweep"] = 1e6 * 0.999 ** np.arange(ROWS - AT)
    return frame.assign(
        ema=99.0 + 0.001 * np.arange(ROWS), liq_above_price=101.5, liq_above_distance=0.015, liq_above_usd=3e8
    )


def rejected(side: str) -> pd.DataFrame:
    """Two rows before AT a sweep as none before, and price comes back; row AT knows of the flush."""
    frame = base().assign(sweep_short=1e5, sweep_long=1e5, liq_oi_change_1h=0.0, hour_low=99.9, hour_high=100.1)
    up = side == "short"
    frame.loc[AT - 2, "high" if up else "low"] = 100.8 if up else 99.2
    frame.loc[AT - 2 :, "hour_high" if up else "hour_low"] = 100.8 if up else 99.2
    frame.loc[AT - 2, f"sweep_{side}"] = 5e6
    frame.loc[AT:, "liq_oi_change_1h"] = -0.006
    return frame.assign(ema=99.5 if up else 100.5)


def entries(strategy: Any, frame: pd.DataFrame, column: str = "enter_long") -> dict[int, str]:
    """Row -> tag."""
    frame = strategy.populate_entry_trend(frame.copy(), {"pair": PAIR})
    if column not in frame:
        return {}
    rows = frame[frame[column] == 1]
    return dict(zip(rows.index, rows["enter_tag"], strict=True))


def put(**columns: float) -> Change:
    return lambda frame: frame.assign(**columns)


@pytest.mark.parametrize("name", NAMES)
def test_loads_as_one_flat_file(name: str) -> None:
    strategy = load(name)
    assert type(strategy).__bases__ == (IStrategy,)
    assert (strategy.INTERFACE_VERSION, strategy.timeframe, strategy.process_only_new_candles) == (3, "5m", True)
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    roots = {str(module).split(".")[0] for module in imported}
    assert roots <= {"liqsignals", "freqtrade", "talib", "pandas", "numpy"} | sys.stdlib_module_names
    assert "__future__" not in roots


@pytest.mark.parametrize("name", NAMES)
def test_our_liquidation_is_far_beyond_the_stop(name: str) -> None:
    strategy = load(name)
    strategy.dp = SimpleNamespace(get_analyzed_dataframe=lambda *_: (base(), None))
    ask = {"pair": PAIR, "current_time": START, "current_rate": 100.0, "proposed_leverage": 1.0, "entry_tag": None}
    leverage = strategy.leverage(**ask, max_leverage=125.0, side="long")
    assert leverage == 3.0
    for allowed, used in ((2.0, 2.0), (1.5, 1.0), (1.0, 1.0), (0.0, 1.0), (np.nan, 1.0), (None, 1.0)):
        assert strategy.leverage(**ask, max_leverage=allowed, side="long") == used
    assert strategy.last_resort < 0.2 * 0.9 / leverage
    # freqtrade's own stop, in profit on margin, is the same one at 3x, and nowhere nearer.
    assert -strategy.stoploss == pytest.approx(3.0 * strategy.last_resort)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_at_the_stop_is_the_risk_of_a_trade(name: str) -> None:
    """Half a percent of the account, from the way to the stop of the signal, whatever leverage the venue allows."""
    strategy, frame = load(name), (pressing() if name == "SqueezeMomentum" else rejected("long")).head(AT + 1)
    show(strategy, frame)
    stop = strategy.stop_at_signal(strategy.dp.get_analyzed_dataframe()[0], "long")
    assert 0.985 - 1e-9 <= stop / 100 < 0.99
    ask = {"pair": PAIR, "current_time": START, "current_rate": 100.5, "entry_tag": None, "side": "long"}
    for allowed in (125.0, 2.0, 1.0):
        leverage = strategy.leverage(**ask, proposed_leverage=1.0, max_leverage=allowed)
        stake = strategy.custom_stake_amount(
            **ask, proposed_stake=5000.0, min_stake=5.0, max_stake=9000.0, leverage=leverage
        )
        assert stake * leverage * (1 - stop / 100.5) == pytest.approx(50.0)
    assert (
        strategy.custom_stake_amount(**ask, proposed_stake=1.0, min_stake=2000.0, max_stake=9000.0, leverage=3.0) == 0.0
    )
    # Forced by hand, without a signal: the last resort's distance.
    show(strategy, frame.assign(liq_fresh=0.0))
    forced = strategy.custom_stake_amount(**ask, proposed_stake=1.0, min_stake=5.0, max_stake=9000.0, leverage=1.0)
    assert forced == pytest.approx(50.0 / (1 - (1 - strategy.last_resort) * 100 / 100.5))


@pytest.mark.parametrize("name", NAMES)
def test_plot_config_names_columns_that_exist(name: str) -> None:
    strategy = load(name)
    strategy.signals = SimpleNamespace(attach=lambda frame, *_, **__: frame.assign(**features.empty(len(frame))))
    strategy.dp = None
    frame = base()[["date", "open", "high", "low", "close", "volume"]]
    frame = strategy.populate_entry_trend(strategy.populate_indicators(frame, {"pair": PAIR}), {"pair": PAIR})
    plots = [strategy.plot_config["main_plot"], *strategy.plot_config["subplots"].values()]
    assert {column for plot in plots for column in plot} <= set(frame.columns)
    # An unknown pair has NaN columns throughout: no map, no trade.
    assert not [c for c in ("enter_long", "enter_short") if c in frame and (frame[c] == 1).any()]


# --- SqueezeMomentum ------------------------------------------------------------------------------------------


def test_squeeze_enters_once_per_set_up(squeeze: Any) -> None:
    frame = pressing()
    assert entries(squeeze, frame) == {AT: "squeeze_neutral_funding_near"}
    frame.loc[AT + 2, "adx"] = 10.0
    assert list(entries(squeeze, frame)) == [AT, AT + 3]


@pytest.mark.parametrize(
    ("change", "tag"),
    [
        (put(fund_skew_z=-1.5), "squeeze_crowded_shorts_near"),
        (put(fund_fresh=np.nan, fund_skew_z=np.nan), "squeeze_unknown_funding_near"),
        (put(flow_fresh=np.nan, flow_inflow_z=np.nan), "squeeze_neutral_funding_near"),
        (put(liq_above_distance=0.003), "squeeze_neutral_funding_near"),
        (put(liq_above_distance=0.15), "squeeze_neutral_funding_far"),
        (put(squeeze_gain=np.nan, macro_blackout=np.nan), "squeeze_neutral_funding_near"),
        (put(squeeze_gain=1.2, macro_blackout=0.0), "squeeze_neutral_funding_near"),
    ],
)
def test_squeeze_enters(squeeze: Any, change: Change, tag: str) -> None:
    assert entries(squeeze, change(pressing())) == {AT: tag}


@pytest.mark.parametrize(
    "change",
    [
        put(liq_fresh=0.0),
        put(liq_fresh=np.nan),
        put(liq_warm=0.0),
        put(liq_warm=np.nan),
        put(liq_above_distance=np.nan),
        put(liq_above_distance=0.0029),
        put(liq_above_distance=0.151),
        put(fund_fresh=0.0, fund_skew_z=np.nan),
        # Fresh, but too few settlements for a z-score.
        put(fund_skew_z=np.nan),
        put(fund_skew_z=1.1),
        put(flow_fresh=0.0, flow_inflow_z=np.nan),
        put(flow_inflow_z=2.1),
        put(squeeze_gain=0.9),
        put(macro_blackout=1.0),
        put(sweep=np.nan),
        put(sweep=0.0),
        put(sweep=1e6 * 0.999 ** np.arange(ROWS)),
        put(adx=np.nan),
        put(adx=19.0),
        put(minus_di=31.0),
        put(hour_high=100.5),
        put(hour=np.nan),
        put(ema=100.5),
        put(ema=99.0),
        put(volume=0.0),
    ],
)
def test_squeeze_stays_out(squeeze: Any, change: Change) -> None:
    assert entries(squeeze, change(pressing())) == {}


def test_squeeze_stops_above_the_long_cluster_below(squeeze: Any) -> None:
    """Within 1.5 .. 3 typical hourly ranges (.5 % here); without a cluster at the far end."""
    for cluster, stop in ((np.nan, 98.5), (99.9, 99.25), (99.0, 99.0 * 1.0005), (90.0, 98.5)):
        show(squeeze, pressing().head(AT + 1).assign(liq_below_price=cluster))
        candles, _ = squeeze.dp.get_analyzed_dataframe()
        assert squeeze.stop_at_signal(candles, "long") == pytest.approx(stop)


# --- RejectionFade --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["short", "long"])
def test_fade_enters_once_the_flush_is_known(fade: Any, side: str) -> None:
    other = "long" if side == "short" else "short"
    assert entries(fade, rejected(side), f"enter_{side}") == {AT: f"fade_{side}_sweep_neutral"}
    assert entries(fade, rejected(side), f"enter_{other}") == {}
    crowded = rejected(side).assign(fund_skew_z=1.0 if side == "long" else -1.0)
    assert entries(fade, crowded, f"enter_{side}") == {AT: f"fade_{side}_sweep_crowded"}


def test_the_short_side_of_fade_has_a_switch_and_is_off() -> None:
    config = {"strategy": "RejectionFade", "strategy_path": str(FOLDER), "user_data_dir": FOLDER}
    shipped = StrategyResolver.load_strategy(config | {"trading_mode": "futures"})
    shipped.record_h.value = 1
    assert entries(shipped, rejected("short"), "enter_short") == {}
    assert list(entries(shipped, rejected("long"), "enter_long")) == [AT]


def test_fade_leaves_out_families_without_a_file(fade: Any) -> None:
    change = put(fund_fresh=np.nan, fund_skew_z=np.nan, flow_fresh=np.nan, flow_inflow_z=np.nan)
    for side in ("short", "long"):
        assert list(entries(fade, change(rejected(side)), f"enter_{side}")) == [AT]


@pytest.mark.parametrize("side", ["short", "long"])
@pytest.mark.parametrize(
    "change",
    [
        put(liq_fresh=0.0),
        put(liq_fresh=np.nan),
        put(liq_warm=0.0),
        put(liq_warm=np.nan),
        put(liq_oi_change_1h=np.nan),
        put(liq_oi_change_1h=-0.002),
        put(sweep_short=np.nan, sweep_long=np.nan),
        put(sweep_short=0.0, sweep_long=0.0),
        put(sweep_short=1e6 - np.arange(ROWS), sweep_long=1e6 - np.arange(ROWS)),
        put(macro_blackout=1.0),
        put(fund_fresh=0.0, fund_skew_z=np.nan),
        put(fund_skew_z=np.nan),
        put(ema=100.0),
        put(ema=np.nan),
        # The stop would be too far away.
        put(hour=0.1),
        put(hour=np.nan),
        put(volume=0.0),
    ],
)
def test_fade_stays_out(fade: Any, side: str, change: Change) -> None:
    assert entries(fade, change(rejected(side)), f"enter_{side}") == {}


def test_fade_waits_until_price_has_come_back(fade: Any) -> None:
    for close, count in ((99.2 + 0.31 * 0.9, 1), (99.2 + 0.29 * 0.9, 0)):  # of the hour's 99.2 .. 100.1
        assert len(entries(fade, rejected("long").assign(close=close), "enter_long")) == count
    for close, count in ((100.8 - 0.31 * 0.9, 1), (100.8 - 0.29 * 0.9, 0)):
        assert len(entries(fade, rejected("short").assign(close=close), "enter_short")) == count


def test_fade_does_not_stand_in_the_way_of_a_crowd(fade: Any) -> None:
    assert entries(fade, rejected("short").assign(fund_skew_z=-1.6), "enter_short") == {}
    assert entries(fade, rejected("short").assign(fund_skew_z=1.6), "enter_short") != {}
    assert entries(fade, rejected("long").assign(fund_skew_z=1.6), "enter_long") == {}
    assert entries(fade, rejected("long").assign(flow_inflow_z=2.1), "enter_long") == {}
    assert entries(fade, rejected("long").assign(flow_fresh=0.0, flow_inflow_z=np.nan), "enter_long") == {}
    # Coins that arrive on exchanges are no reason against a short.
    assert entries(fade, rejected("short").assign(flow_inflow_z=2.1), "enter_short") != {}


# --- both ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_entries_do_not_depend_on_later_candles(name: str) -> None:
    strategy = load(name)
    rng = np.random.default_rng(7)
    frames = {"SqueezeMomentum": pressing(), "RejectionFade": rejected("short")}
    frame = frames[name]
    # Flicker, so that set-ups come and go.
    frame["liq_warm"] = rng.integers(0, 2, ROWS).astype(float)
    frame["hour_high"] += np.where(rng.random(ROWS) < 0.2, 0.2, 0.0)
    frame["sweep"] = frame["sweep_short"] = rng.random(ROWS) * 1.1 ** np.arange(ROWS)
    frame["liq_oi_change_1h"] = rng.choice([0.0, -0.006], ROWS)
    column = "enter_long" if name == "SqueezeMomentum" else "enter_short"
    found = entries(strategy, frame, column)
    assert len(found) >= 5
    for rows in range(1, ROWS + 1):
        assert entries(strategy, frame.head(rows), column) == {k: v for k, v in found.items() if k < rows}


@pytest.mark.parametrize("name", NAMES)
def test_indicators_do_not_depend_on_later_candles(name: str) -> None:
    strategy = load(name)
    rng = np.random.default_rng(8)
    rows = 400
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.002, rows)))
    frame = pd.DataFrame({"date": START + CANDLE * np.arange(rows), "open": close, "close": close, "volume": 1.0})
    frame = frame.assign(high=close * 1.001, low=close * 0.999)
    swept = {"liq_swept_short_usd": rng.random(rows), "liq_swept_long_usd": rng.random(rows)}
    strategy.dp = None
    strategy.signals = SimpleNamespace(
        attach=lambda df, *_, **__: df.assign(
            **features.empty(len(df)) | {name: column[: len(df)] for name, column in swept.items()}
        )
    )
    full = strategy.populate_indicators(frame.copy(), {"pair": PAIR})
    ours = full.drop(columns=["date", *(name for name in features.NAMES if name not in swept)])
    assert np.isfinite(ours.iloc[-1].astype(float)).all()
    for n in (50, 200, 399):
        cut = strategy.populate_indicators(frame.head(n).copy(), {"pair": PAIR})
        pd.testing.assert_frame_equal(cut, full.head(n), check_exact=True)


class Trade:
    """What the callbacks use of freqtrade's trade."""

    pair = PAIR
    leverage = 3.0

    def __init__(self, opened: pd.Timestamp, *, is_short: bool = False) -> None:
        self.open_date_utc: datetime = opened.to_pydatetime()
        self.is_short = is_short
        self.open_rate = 100.0
        self.stop_loss = 102.0 if is_short else 98.0
        self.data: dict[str, Any] = {}

    def get_custom_data(self, key: str) -> Any:
        return self.data.get(key)

    def set_custom_data(self, key: str, value: Any) -> None:
        assert type(value) is float  # what freqtrade stores as it is
        self.data[key] = value


def show(strategy: Any, frame: pd.DataFrame) -> None:
    """Let the data provider hand out `frame` as analyzed."""
    analyzed = strategy.populate_entry_trend(frame.copy(), {"pair": PAIR})
    strategy.dp = SimpleNamespace(get_analyzed_dataframe=lambda *_: (analyzed, None))


def leave(strategy: Any, trade: Trade, rate: float = 100.0, now: pd.Timestamp | None = None) -> str | None:
    """At `now`, or when the newest candle has just closed."""
    if now is None:
        now = strategy.dp.get_analyzed_dataframe()[0]["date"].iat[-1] + CANDLE
    return strategy.custom_exit(PAIR, trade, now.to_pydatetime(), rate, 0.0)


def test_squeeze_exits_at_and_beyond_the_cluster_of_the_entry(squeeze: Any) -> None:
    frame = pressing()
    frame.loc[AT, "high"] = 102.0  # before the entry
    frame.loc[AT + 4, "high"] = 101.6
    # Signal at the close of row AT, filled some seconds later, in the next candle.
    trade = Trade(frame["date"][AT + 1] + pd.Timedelta("7s"))
    show(squeeze, frame.head(AT + 1))
    assert leave(squeeze, trade, rate=105.0) is None  # no candle has closed since
    show(squeeze, frame.head(AT + 1).assign(ema=101.0, minus_di=40.0))
    assert leave(squeeze, trade) is None
    show(squeeze, frame.head(AT + 4).assign(liq_above_price=101.0))
    assert leave(squeeze, trade, rate=105.0) is None  # the target stays, and a price inside a candle is no close
    reached = frame.head(AT + 5)
    show(squeeze, reached)
    assert leave(squeeze, trade) == "cluster_rejected"
    show(squeeze, reached.assign(close=101.55))
    assert leave(squeeze, trade) is None  # beyond it, and going on
    show(squeeze, reached.assign(close=101.5 * 1.0051))
    assert leave(squeeze, trade) == "cluster_passed"
    # After a restart long after the entry: the signal's candle is gone, the target is not.
    show(squeeze, frame.iloc[AT + 3 : AT + 5])
    assert leave(squeeze, trade) == "cluster_rejected"


def test_squeeze_exits_when_the_sweep_is_over(squeeze: Any) -> None:
    frame = pressing()
    frame.loc[AT + 4, "sweep"] = 2.1e5
    frame.loc[AT + 5, "sweep"] = 1.9e5
    trade = Trade(frame["date"][AT + 1])
    show(squeeze, frame.head(AT + 5))
    assert leave(squeeze, trade) is None
    show(squeeze, frame.head(AT + 6))
    assert leave(squeeze, trade) == "sweep_over"
    show(squeeze, frame.head(AT + 6).assign(sweep=np.nan))  # unknown is not over
    assert leave(squeeze, trade) is None


def test_squeeze_exits_without_a_target(squeeze: Any) -> None:
    frame = pressing()
    forced = Trade(frame["date"][35])
    show(squeeze, frame.head(38).assign(high=200.0))
    assert leave(squeeze, forced) is None
    show(squeeze, frame.head(35 + 47))
    assert leave(squeeze, forced) is None
    show(squeeze, frame.head(35 + 48))
    assert leave(squeeze, forced) == "time_stop"  # 4 hours of closed candles
    show(squeeze, frame.head(38).assign(ema=101.0, minus_di=40.0))
    assert leave(squeeze, forced) == "momentum_lost"
    # A stale map does not keep a trade open: exits need candles only.
    show(squeeze, frame.head(35 + 48).assign(**features.empty(35 + 48)))
    assert leave(squeeze, forced) == "time_stop"


@pytest.mark.parametrize("name", NAMES)
def test_a_side_that_pays_funding_is_held_half_as_long(name: str) -> None:
    strategy = load(name)
    frame = (pressing() if name == "SqueezeMomentum" else rejected("long")).head(40 + 24)
    trade = Trade(frame["date"][40])
    for rate, expected in ((0.00049, None), (0.0005, "time_stop"), (-0.01, None), (np.nan, None)):
        show(strategy, frame.assign(fund_rate_8h=rate))
        assert leave(strategy, trade) == expected
    if name == "RejectionFade":
        show(strategy, frame.assign(fund_rate_8h=-0.0005, ema=99.0))
        assert leave(strategy, Trade(frame["date"][40], is_short=True)) == "time_stop"


@pytest.mark.parametrize("side", ["short", "long"])
def test_fade_exits_at_the_mean_or_a_cluster_on_the_way(fade: Any, side: str) -> None:
    frame, short = rejected(side), side == "short"
    trade = Trade(frame["date"][AT + 1], is_short=short)
    show(fade, frame.head(AT + 1).assign(ema=100.0))
    assert leave(fade, trade) is None  # no candle has closed since
    show(fade, frame.head(AT + 3))
    assert leave(fade, trade) is None
    show(fade, frame.head(AT + 3).assign(ema=100.0))
    assert leave(fade, trade) == "mean_reached"
    long_after = Trade(frame["date"][40], is_short=short)
    show(fade, frame.head(40 + 48))
    assert leave(fade, long_after) == "time_stop"
    price = 99.7 if short else 100.3
    onward = frame.assign(**{"liq_below_price" if short else "liq_above_price": price})
    trade = Trade(frame["date"][AT + 1], is_short=short)
    show(fade, onward.head(AT + 3))
    assert leave(fade, trade) is None
    onward.loc[AT + 3, "low" if short else "high"] = price
    show(fade, onward.head(AT + 4))
    assert leave(fade, trade) == "cluster_reached"


def test_the_target_is_that_of_the_entry(squeeze: Any) -> None:
    frame = pressing()
    frame.loc[AT + 4, "high"] = 101.6
    trade = Trade(frame["date"][AT + 1] + pd.Timedelta("7s"))
    show(squeeze, frame.head(AT + 1))
    assert leave(squeeze, trade, now=frame["date"][AT + 1] + pd.Timedelta("12s")) is None
    # Open interest was revised: what was a signal is none any more.
    show(squeeze, frame.head(AT + 5).assign(liq_warm=0.0))
    assert leave(squeeze, trade) == "cluster_rejected"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [0, 31, 33])
def test_time_stops_where_candles_do_not_arrive(name: str, rows: int) -> None:
    strategy = load(name)
    frame = pressing() if name == "SqueezeMomentum" else rejected("long")
    frame.loc[AT, "high"] = 150.0  # before the entry
    frame["enter_long"] = 0
    trade = Trade(frame["date"][AT + 1] + pd.Timedelta("7s"))
    strategy.dp = SimpleNamespace(
        get_analyzed_dataframe=lambda *_: (frame.head(rows) if rows else pd.DataFrame(), None)
    )
    due = frame["date"][AT + 1] + pd.Timedelta(hours=strategy.max_hours.value)
    for now in (trade.open_date_utc, due - CANDLE, due, due + pd.Timedelta("59s")):
        assert leave(strategy, trade, now=pd.Timestamp(now)) is None
    assert leave(strategy, trade, now=due + pd.Timedelta("60s")) == "time_stop"
    # A candle that comes in time decides first, as in a backtest.
    last = frame.head(AT + 1 + 48).assign(close=100.0, ema=100.0, high=150.0)
    strategy.dp = SimpleNamespace(get_analyzed_dataframe=lambda *_: (last, None))
    trade.data["target"] = 101.5
    expected = "cluster_rejected" if name == "SqueezeMomentum" else "mean_reached"
    assert leave(strategy, trade, now=due + pd.Timedelta("2s")) == expected


#: Half a typical hourly range (.5 %) beyond the wick.
WICKS = [("short", 100.8 * 1.0025), ("long", 99.2 * 0.9975)]


@pytest.mark.parametrize(("side", "beyond"), WICKS)
def test_fade_stops_beyond_the_wick(fade: Any, side: str, beyond: float) -> None:
    def stop(trade: Trade) -> float | None:
        return fade.custom_stoploss(PAIR, trade, trade.open_date_utc, 100.0, 0.0, False)

    frame = rejected(side)
    trade = Trade(frame["date"][AT + 1] + pd.Timedelta("7s"), is_short=side == "short")
    show(fade, frame.head(AT + 1))
    expected = abs(beyond / 100.0 - 1) * trade.leverage
    assert stop(trade) == pytest.approx(expected)
    assert expected < -fade.stoploss
    # Later candles do not move it, and a restart does not lose it.
    show(fade, frame.iloc[AT + 8 :].assign(high=105.0, low=95.0))
    assert stop(trade) == pytest.approx(expected)
    # Once it stands there, rounded to the tick that is nearer to the price, it is left alone.
    tick = 1000
    trade.stop_loss = (np.floor if side == "short" else np.ceil)(beyond * tick) / tick
    assert stop(trade) is None
    # A trade that was forced by hand has the last resort only, where freqtrade has put it.
    forced = Trade(frame["date"][60], is_short=side == "short")
    forced.stop_loss = 106.0 if side == "short" else 94.0
    assert stop(forced) is None


@pytest.mark.parametrize("leverage", [1.0, 2.0, 3.0])
@pytest.mark.parametrize(
    ("name", "is_short", "stop"),  # forced by hand: the last resort
    [("SqueezeMomentum", False, 95.0), ("RejectionFade", False, 94.0), ("RejectionFade", True, 106.0)],
)
def test_the_stop_is_a_price_at_any_leverage(name: str, is_short: bool, stop: float, leverage: float) -> None:
    strategy = load(name)
    strategy.dp = SimpleNamespace(get_analyzed_dataframe=lambda *_: (base().assign(enter_long=0, enter_short=0), None))
    trade = Trade(START + 40 * CANDLE, is_short=is_short)
    trade.leverage = leverage
    # Where freqtrade puts the stop of an entry.
    trade.stop_loss = 100.0 * (1 + (-strategy.stoploss if is_short else strategy.stoploss) / leverage)
    asked = strategy.custom_stoploss(PAIR, trade, trade.open_date_utc, 100.0, 0.0, True)
    if leverage == 3.0:
        assert asked is None
    else:
        assert 100.0 * (1 + (asked if is_short else -asked) / leverage) == pytest.approx(stop, rel=1e-12)


@pytest.mark.parametrize(("side", "wick"), WICKS)
def test_a_stop_that_was_broken_before_it_stood_is_an_exit(fade: Any, side: str, wick: float) -> None:
    """freqtrade ignores a custom stop that price has passed, and would wait for the last resort."""
    frame, short = rejected(side), side == "short"
    trade = Trade(frame["date"][AT + 1] + pd.Timedelta("7s"), is_short=short)
    show(fade, frame.head(AT + 1))
    beyond = wick * (1.0001 if short else 0.9999)
    assert leave(fade, trade, rate=100.0) is None
    assert leave(fade, trade, rate=beyond) == "stop_missed"
    # freqtrade exits itself once the stop stands there; in live mode the exchange does, or else we do.
    trade.stop_loss = wick
    assert leave(fade, trade, rate=beyond) is None
    fade.dp.runmode = RunMode.LIVE
    assert leave(fade, trade, rate=beyond) is None
    assert leave(fade, trade, rate=wick * (1.002 if short else 0.998)) == "stop_missed"
    fade.dp.runmode = RunMode.DRY_RUN
    assert leave(fade, trade, rate=wick * (1.002 if short else 0.998)) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_stop_stands_when_the_bot_does_not(name: str) -> None:
    types = load(name).order_types
    assert types["stoploss_on_exchange"] is True
    assert types["stoploss_on_exchange_interval"] == 60
    assert types["entry"] == "limit"
    assert {types[exit] for exit in ("exit", "stoploss", "emergency_exit", "force_exit")} == {"market"}


def test_no_stop_of_a_signal_is_beyond_the_last_resort(squeeze: Any, fade: Any) -> None:
    # Of a signal's close; up to half of the way better is an entry made.
    assert fade.wick_max.high < fade.last_resort
    show(squeeze, pressing().head(AT + 1).assign(hour=0.03))
    stop = squeeze.stop_at_signal(squeeze.dp.get_analyzed_dataframe()[0], "long")
    assert 100 * (1 - squeeze.last_resort) < stop < 96


# --- entries that are refused -------------------------------------------------------------------------------


def analysed(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    return load(name).populate_entry_trend(frame, {"pair": PAIR}).head(AT + 1)


#: Strategy, side, the frame whose last row has the signal, distance of the stop.
SIGNALS = [
    ("SqueezeMomentum", "long", analysed("SqueezeMomentum", pressing()), 0.015),
    ("RejectionFade", "short", analysed("RejectionFade", rejected("short")), 1.008 * 1.0025 - 1),
    ("RejectionFade", "long", analysed("RejectionFade", rejected("long")), 1 - 0.992 * 0.9975),
]
each_signal = pytest.mark.parametrize(("name", "side", "frame", "distance"), SIGNALS)


class Entry:
    """An entry that freqtrade asks to confirm: `late` seconds after the candle, at `rate`, the book `spread` wide."""

    def __init__(self, name: str, side: str, frame: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
        self.strategy, self.side, self.frame, self.caplog = load(name), side, frame, caplog
        self.asked = 0
        caplog.set_level(logging.INFO)

    def __call__(
        self,
        late: float = 3.0,
        rate: float = 100.0,
        spread: Any = 0.0,
        there: float | None = None,
        runmode: RunMode = RunMode.DRY_RUN,
        tag: str | None = None,
        **columns: float,
    ) -> str | None:
        """The word of the refusal, None where there is none."""
        frame = self.frame.assign(**columns) if len(self.frame) else self.frame

        def orderbook(pair: str, maximum: int) -> Any:
            assert (pair, maximum) == (PAIR, 5)
            self.asked += 1
            if isinstance(spread, Exception):
                raise spread
            if isinstance(spread, dict):
                return spread
            book = {"bids": [[100.0, 1.0], [99.0, 1.0]], "asks": [[100.0 * (1 + spread), 1.0], [101.0, 1.0]]}
            closed = SIGNAL_CLOSED[self.strategy.get_strategy_name()]
            # `there`: the exchange's clock, seconds after the close; ccxt gives None where a venue sends no time.
            return book | {"timestamp": None if there is None else int((closed.timestamp() + there) * 1000)}

        self.strategy.dp = SimpleNamespace(
            get_analyzed_dataframe=lambda *_: (frame, None), runmode=runmode, orderbook=orderbook
        )
        now = (SIGNAL_CLOSED[self.strategy.get_strategy_name()] + pd.Timedelta(seconds=late)).to_pydatetime()
        self.caplog.clear()
        made = self.strategy.confirm_trade_entry(PAIR, "limit", 1.0, rate, "GTC", now, tag, self.side)
        messages = [record.getMessage() for record in self.caplog.records]
        if made:
            assert messages == []
            return None
        # What `liqsignals parity` reads.
        [message] = messages
        assert message.startswith(f"{PAIR}: entry refused (")
        return message.split("(")[1].split(")")[0]


SIGNAL_CLOSED = dict.fromkeys(NAMES, START + (AT + 1) * CANDLE)


@each_signal
def test_an_entry_on_an_old_signal_is_refused(
    name: str, side: str, frame: pd.DataFrame, distance: float, caplog: pytest.LogCaptureFixture
) -> None:
    enter = Entry(name, side, frame, caplog)
    assert enter() is None
    assert enter(late=0.0) is None
    assert enter(late=14.9) is None
    asked = enter.asked
    # From here on freqtrade may have taken an unfinished candle for the closed one.
    assert enter(late=15.0) == "stale"
    assert enter(late=300.0) == "stale"
    assert enter(liq_fresh=0.0) == "stale"
    assert enter(liq_fresh=np.nan) == "stale"
    enter.frame = frame.drop(columns="liq_fresh")
    assert enter() == "stale"
    enter.frame = pd.DataFrame()
    assert enter() == "stale"
    assert enter.asked == asked  # the exchange is asked last
    assert enter(tag="force_entry") is None


@each_signal
def test_a_clock_that_is_behind_the_exchange_does_not_make_an_old_signal_fresh(
    name: str, side: str, frame: pd.DataFrame, distance: float, caplog: pytest.LogCaptureFixture
) -> None:
    enter = Entry(name, side, frame, caplog)
    # The order book carries the exchange's clock.
    assert enter(late=1.0, there=1.2) is None
    assert enter(late=1.0, there=14.9) is None
    assert enter(late=1.0, there=15.0) == "clock"
    assert enter(late=1.0, there=600.0) == "clock"
    assert enter(late=1.0, there=600.0, runmode=RunMode.BACKTEST) is None  # it asks for no book
    # A candle that closes after now.
    assert enter(late=-2.0) is None
    assert enter(late=-2.1) == "clock"
    assert enter(late=-600.0, runmode=RunMode.BACKTEST) == "clock"
    # One that is ahead makes a fresh signal old, which costs a trade and no more.
    assert enter(late=16.0, there=1.0) == "stale"


@each_signal
def test_what_fails_refuses_the_entry(
    name: str, side: str, frame: pd.DataFrame, distance: float, caplog: pytest.LogCaptureFixture
) -> None:
    """freqtrade enters where confirm_trade_entry raises."""
    enter = Entry(name, side, frame, caplog)
    enter.frame = frame.drop(columns=["close", "high", "low"])
    assert enter() == "error"
    del enter.strategy.dp.get_analyzed_dataframe
    now = SIGNAL_CLOSED[name].to_pydatetime()
    assert not enter.strategy.confirm_trade_entry(PAIR, "limit", 1.0, 100.0, "GTC", now, None, side)


def test_a_refusal_is_one_whatever_it_is_given() -> None:
    now, frame = (START + (AT + 1) * CANDLE).to_pydatetime(), pressing().head(AT + 1)
    good: dict[str, Any] = {
        "frame": frame,
        "timeframe": "5m",
        "side": "long",
        "rate": 100.0,
        "now": now,
        "distance": 0.008,
    }
    assert refusal(**good) is None
    bad: list[tuple[str, Any]] = [
        ("frame", None), ("frame", frame.head(0)), ("frame", frame.drop(columns="date")), ("frame", frame.drop(columns="close")),
        ("frame", pd.concat([frame, frame[["close"]]], axis=1)), ("frame", pd.concat([frame, frame[["liq_fresh"]]], axis=1)),
        ("frame", frame.assign(close=np.nan)), ("frame", frame.assign(close=0.0)), ("frame", frame.assign(date=None)),
        ("timeframe", None), ("timeframe", "5 minutes"), ("rate", None), ("rate", np.nan), ("rate", np.inf), ("rate", 0.0),
        ("now", None), ("distance", None), ("distance", np.nan), ("distance", 0.0), ("distance", -0.008), ("distance", 1.0),
        ("book", lambda: None), ("book", 7), ("book", lambda: {"bids": [[100.0, 1]], "asks": [[100.0, 1]], "timestamp": "x"}),
    ]  # fmt: skip
    for name, value in bad:
        refused = refusal(**{**good, name: value})
        assert refused is not None, (name, value)
        assert refused[0] in ("stale", "clock", "drift", "stop", "spread", "error")


def test_a_filter_is_off_without_a_file_and_closed_on_stale_data() -> None:
    fresh = pd.Series([1.0, 1.0, 0.0, 0.0, np.nan, np.nan])
    condition = pd.Series([True, False] * 3)
    assert passes(fresh, condition).tolist() == [True, False, False, False, True, True]


@each_signal
def test_an_entry_far_from_its_signal_is_refused(
    name: str, side: str, frame: pd.DataFrame, distance: float, caplog: pytest.LogCaptureFixture
) -> None:
    enter = Entry(name, side, frame, caplog)
    worse = 1 if side == "long" else -1
    for runmode in (RunMode.DRY_RUN, RunMode.LIVE, RunMode.BACKTEST, RunMode.HYPEROPT):
        assert enter(rate=100 * (1 + worse * 0.249 * distance), runmode=runmode) is None
        assert enter(rate=100 * (1 + worse * 0.251 * distance), runmode=runmode) == "drift"
        # A better price is nearer to the stop: past half of the way the signal is no more.
        assert enter(rate=100 * (1 - worse * 0.499 * distance), runmode=runmode) is None
        for toward in (0.501, 1.0, 1.001, 2.0):
            assert enter(rate=100 * (1 - worse * toward * distance), runmode=runmode) == "stop"
        assert enter(rate=np.nan, runmode=runmode) == "drift"


@each_signal
def test_an_entry_into_a_wide_book_is_refused(
    name: str, side: str, frame: pd.DataFrame, distance: float, caplog: pytest.LogCaptureFixture
) -> None:
    enter = Entry(name, side, frame, caplog)
    for runmode in (RunMode.DRY_RUN, RunMode.LIVE):
        assert enter(spread=0.099 * distance, runmode=runmode) is None
        assert enter(spread=0.101 * distance, runmode=runmode) == "spread"
    for broken in (
        -0.001,
        TemporaryError("503"),
        {},
        {"bids": [], "asks": []},
        {"bids": [[0.0, 1.0]], "asks": [[100.0, 1.0]]},
        {"bids": [[None, 1.0]], "asks": [[100.0, 1.0]]},
        {"bids": [[100.0, 1.0]], "asks": [[np.nan, 1.0]]},
    ):
        assert enter(spread=broken) == "spread"
    asked = enter.asked
    # A backtest has no book.
    assert enter(spread=1.0, runmode=RunMode.BACKTEST) is None
    assert enter.asked == asked

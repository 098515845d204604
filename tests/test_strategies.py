"""The strategies on small hand-made frames: how they load, when they enter, what their exits decide on."""

import ast
import logging
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from freqtrade.enums import RunMode
from freqtrade.exceptions import TemporaryError
from freqtrade.resolvers import StrategyResolver
from freqtrade.strategy import IStrategy

from liqsignals import features
from liqsignals.guard import passes, refusal

FOLDER = Path(__file__).resolve().parents[1] / "user_data" / "strategies"
NAMES = ("RejectionFade", "SqueezeMomentum")
PAIR = "BTC/USDT:USDT"
ROWS = 60
START = pd.Timestamp("2026-01-05", tz="UTC")
CANDLE = pd.Timedelta("5min")

Change = Callable[[pd.DataFrame], Any]


def load(name: str) -> Any:
    config = {"strategy": name, "strategy_path": str(FOLDER), "user_data_dir": FOLDER, "trading_mode": "futures"}
    return StrategyResolver.load_strategy(config)


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
    return frame.assign(**dict.fromkeys(flags, 1.0), fund_skew_z=0.0, flow_inflow_z=0.0)


def pressing() -> pd.DataFrame:
    """A rise under a short cluster at 101.5; the EMA has a past of an hour from row 12 on."""
    frame = base().assign(adx=30.0, plus_di=30.0, minus_di=10.0, roc=0.5)
    return frame.assign(
        ema=99.0 + 0.001 * np.arange(ROWS), liq_above_price=101.5, liq_above_distance=0.015, liq_above_usd=3e8
    )


def rejected(side: str) -> pd.DataFrame:
    """The candle of row 20 runs through the cluster 0.5 % away and comes back; row 22 knows of the flush."""
    frame = base().assign(
        liq_swept_short_usd=1e5, liq_swept_long_usd=1e5, short_sweep_12h=1e6, long_sweep_12h=1e6, liq_oi_change_1h=0.0
    )
    up = side == "short"
    frame[f"liq_{'above' if up else 'below'}_price"] = 100.5 if up else 99.5
    frame.loc[20, "high" if up else "low"] = 100.8 if up else 99.2
    frame.loc[20, f"liq_swept_{side}_usd"] = 5e6
    frame.loc[22:, "liq_oi_change_1h"] = -0.006
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
    ask = {"pair": PAIR, "current_time": START, "current_rate": 100.0, "proposed_leverage": 1.0, "entry_tag": None}
    leverage = strategy.leverage(**ask, max_leverage=125.0, side="long")
    assert leverage == 3.0
    for allowed, used in ((2.0, 2.0), (1.5, 1.0), (1.0, 1.0), (0.0, 1.0), (np.nan, 1.0), (None, 1.0)):
        assert strategy.leverage(**ask, max_leverage=allowed, side="long") == used
    assert -strategy.stoploss / leverage < 0.2 * 0.9 / leverage


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
    assert entries(squeeze, frame) == {12: "squeeze_neutral_funding"}
    frame.loc[30, "adx"] = 10.0
    assert entries(squeeze, frame) == {12: "squeeze_neutral_funding", 31: "squeeze_neutral_funding"}


@pytest.mark.parametrize(
    ("change", "tag"),
    [
        (put(fund_skew_z=-1.5), "squeeze_crowded_shorts"),
        (put(fund_fresh=np.nan, fund_skew_z=np.nan), "squeeze_unknown_funding"),
        (put(flow_fresh=np.nan, flow_inflow_z=np.nan), "squeeze_neutral_funding"),
        (put(liq_above_distance=0.008), "squeeze_neutral_funding"),
        (put(liq_above_distance=0.025), "squeeze_neutral_funding"),
    ],
)
def test_squeeze_enters(squeeze: Any, change: Change, tag: str) -> None:
    assert entries(squeeze, change(pressing())) == {12: tag}


@pytest.mark.parametrize(
    "change",
    [
        put(liq_fresh=0.0),
        put(liq_fresh=np.nan),
        put(liq_warm=0.0),
        put(liq_warm=np.nan),
        put(liq_above_distance=np.nan),
        put(liq_above_distance=0.0079),
        put(liq_above_distance=0.0251),
        put(fund_fresh=0.0, fund_skew_z=np.nan),
        # Fresh, but too few settlements for a z-score.
        put(fund_skew_z=np.nan),
        put(fund_skew_z=1.1),
        put(flow_fresh=0.0, flow_inflow_z=np.nan),
        put(flow_inflow_z=2.1),
        put(adx=np.nan),
        put(adx=19.0),
        put(minus_di=31.0),
        put(roc=0.1),
        put(ema=100.5),
        put(ema=99.0),
        put(volume=0.0),
    ],
)
def test_squeeze_stays_out(squeeze: Any, change: Change) -> None:
    assert entries(squeeze, change(pressing())) == {}


# --- RejectionFade --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["short", "long"])
def test_fade_enters_once_the_flush_is_known(fade: Any, side: str) -> None:
    other = "long" if side == "short" else "short"
    assert entries(fade, rejected(side), f"enter_{side}") == {22: f"fade_{side}_sweep"}
    assert entries(fade, rejected(side), f"enter_{other}") == {}


def test_fade_leaves_out_families_without_a_file(fade: Any) -> None:
    change = put(fund_fresh=np.nan, fund_skew_z=np.nan, flow_fresh=np.nan, flow_inflow_z=np.nan)
    for side in ("short", "long"):
        assert list(entries(fade, change(rejected(side)), f"enter_{side}")) == [22]


@pytest.mark.parametrize("side", ["short", "long"])
@pytest.mark.parametrize(
    "change",
    [
        put(liq_fresh=0.0),
        put(liq_fresh=np.nan),
        put(liq_warm=0.0),
        put(liq_warm=np.nan),
        put(liq_above_price=np.nan, liq_below_price=np.nan),
        put(liq_oi_change_1h=np.nan),
        put(liq_oi_change_1h=-0.002),
        put(liq_swept_short_usd=np.nan, liq_swept_long_usd=np.nan),
        put(liq_swept_short_usd=0.0, liq_swept_long_usd=0.0, short_sweep_12h=0.0, long_sweep_12h=0.0),
        put(short_sweep_12h=1e7, long_sweep_12h=1e7),
        put(fund_fresh=0.0, fund_skew_z=np.nan),
        put(fund_skew_z=np.nan),
        put(ema=100.0),
        put(ema=np.nan),
        # The candle did not reach the cluster, or the close stayed beyond it, or the wick is too long for a stop.
        put(high=100.1, low=99.9),
        put(liq_above_price=99.9, liq_below_price=100.1),
        put(high=102.0, low=98.0),
        put(volume=0.0),
    ],
)
def test_fade_stays_out(fade: Any, side: str, change: Change) -> None:
    assert entries(fade, change(rejected(side)), f"enter_{side}") == {}


def test_fade_does_not_stand_in_the_way_of_a_crowd(fade: Any) -> None:
    assert entries(fade, rejected("short").assign(fund_skew_z=-1.6), "enter_short") == {}
    assert entries(fade, rejected("short").assign(fund_skew_z=1.6), "enter_short") != {}
    assert entries(fade, rejected("long").assign(fund_skew_z=1.6), "enter_long") == {}
    assert entries(fade, rejected("long").assign(flow_inflow_z=2.1), "enter_long") == {}
    assert entries(fade, rejected("long").assign(flow_fresh=0.0, flow_inflow_z=np.nan), "enter_long") == {}
    # Coins that arrive on exchanges are no reason against a short.
    assert entries(fade, rejected("short").assign(flow_inflow_z=2.1), "enter_short") != {}


def test_fade_uses_the_cluster_known_before_the_sweep(fade: Any) -> None:
    frame = rejected("short")
    # From the sweep on, the map no longer holds what was swept.
    frame.loc[20:, "liq_above_price"] = np.nan
    assert list(entries(fade, frame, "enter_short")) == [22]
    frame.loc[:19, "liq_above_price"] = np.nan
    frame.loc[20:, "liq_above_price"] = 100.5
    assert entries(fade, frame, "enter_short") == {}


# --- both ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_entries_do_not_depend_on_later_candles(name: str) -> None:
    strategy = load(name)
    rng = np.random.default_rng(7)
    frames = {"SqueezeMomentum": pressing(), "RejectionFade": rejected("short")}
    frame = frames[name]
    # Flicker, so that set-ups come and go.
    frame["liq_warm"] = rng.integers(0, 2, ROWS).astype(float)
    frame["high"] += np.where(rng.random(ROWS) < 0.2, 0.7, 0.0)
    frame["liq_swept_short_usd"] = rng.choice([1e5, 5e6], ROWS)
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
        attach=lambda df, *_, **__: df.assign(**{name: column[: len(df)] for name, column in swept.items()})
    )
    full = strategy.populate_indicators(frame.copy(), {"pair": PAIR})
    assert np.isfinite(full.drop(columns="date").iloc[-1].astype(float)).all()
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


def test_squeeze_exits_at_the_cluster_of_the_entry(squeeze: Any) -> None:
    frame = pressing()
    frame.loc[12, "high"] = 102.0  # before the entry
    frame.loc[16, "high"] = 101.6
    # Signal at the close of row 12, filled some seconds later, in the candle of row 13.
    trade = Trade(frame["date"][13] + pd.Timedelta("7s"))
    show(squeeze, frame.head(13))
    assert leave(squeeze, trade, rate=105.0) is None  # no candle has closed since
    show(squeeze, frame.head(13).assign(ema=101.0, minus_di=40.0))
    assert leave(squeeze, trade) is None
    show(squeeze, frame.head(16).assign(liq_above_price=101.0))
    assert leave(squeeze, trade, rate=105.0) is None  # the target stays, and a price inside a candle is no close
    show(squeeze, frame.head(17))
    assert leave(squeeze, trade) == "cluster_reached"
    # After a restart long after the entry: the signal's candle is gone, the target is not.
    show(squeeze, frame.iloc[15:17])
    assert leave(squeeze, trade) == "cluster_reached"


def test_squeeze_exits_without_a_target(squeeze: Any) -> None:
    frame = pressing()
    forced = Trade(frame["date"][5])
    show(squeeze, frame.head(8).assign(high=200.0))
    assert leave(squeeze, forced) is None
    show(squeeze, frame.head(5 + 47))
    assert leave(squeeze, forced) is None
    show(squeeze, frame.head(5 + 48))
    assert leave(squeeze, forced) == "time_stop"  # 4 hours of closed candles
    show(squeeze, frame.head(8).assign(ema=101.0, minus_di=40.0))
    assert leave(squeeze, forced) == "momentum_lost"
    # A stale map does not keep a trade open: exits need candles only.
    show(squeeze, frame.head(5 + 48).assign(**features.empty(5 + 48)))
    assert leave(squeeze, forced) == "time_stop"


@pytest.mark.parametrize("side", ["short", "long"])
def test_fade_exits_at_the_mean(fade: Any, side: str) -> None:
    frame = rejected(side)
    trade = Trade(frame["date"][23], is_short=side == "short")
    show(fade, frame.head(23).assign(ema=100.0))
    assert leave(fade, trade) is None  # no candle has closed since
    show(fade, frame.head(25))
    assert leave(fade, trade) is None
    show(fade, frame.head(25).assign(ema=100.0))
    assert leave(fade, trade) == "mean_reached"
    long_after = Trade(frame["date"][10], is_short=side == "short")
    show(fade, frame.head(10 + 48))
    assert leave(fade, long_after) == "time_stop"


def test_the_target_is_that_of_the_entry(squeeze: Any) -> None:
    frame = pressing()
    frame.loc[16, "high"] = 101.6
    trade = Trade(frame["date"][13] + pd.Timedelta("7s"))
    show(squeeze, frame.head(13))
    assert leave(squeeze, trade, now=frame["date"][13] + pd.Timedelta("12s")) is None
    # Open interest was revised: what was a signal is none any more.
    show(squeeze, frame.head(17).assign(liq_warm=0.0))
    assert leave(squeeze, trade) == "cluster_reached"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [0, 13, 15])
def test_time_stops_where_candles_do_not_arrive(name: str, rows: int) -> None:
    strategy = load(name)
    frame = pressing() if name == "SqueezeMomentum" else rejected("long")
    frame.loc[12, "high"] = 150.0  # before the entry
    frame["enter_long"] = 0
    trade = Trade(frame["date"][13] + pd.Timedelta("7s"))
    strategy.dp = SimpleNamespace(
        get_analyzed_dataframe=lambda *_: (frame.head(rows) if rows else pd.DataFrame(), None)
    )
    due = frame["date"][13] + pd.Timedelta(hours=strategy.max_hours.value)
    for now in (trade.open_date_utc, due - CANDLE, due, due + pd.Timedelta("59s")):
        assert leave(strategy, trade, now=pd.Timestamp(now)) is None
    assert leave(strategy, trade, now=due + pd.Timedelta("60s")) == "time_stop"
    # A candle that comes in time decides first, as in a backtest.
    last = frame.head(13 + 48).assign(close=100.0, ema=100.0, high=150.0)
    strategy.dp = SimpleNamespace(get_analyzed_dataframe=lambda *_: (last, None))
    trade.data["target"] = 101.5
    expected = "cluster_reached" if name == "SqueezeMomentum" else "mean_reached"
    assert leave(strategy, trade, now=due + pd.Timedelta("2s")) == expected


@pytest.mark.parametrize(("side", "wick", "factor"), [("short", 100.8, 1.002), ("long", 99.2, 0.998)])
def test_fade_stops_beyond_the_wick(fade: Any, side: str, wick: float, factor: float) -> None:
    def stop(trade: Trade) -> float | None:
        return fade.custom_stoploss(PAIR, trade, trade.open_date_utc, 100.0, 0.0, False)

    frame = rejected(side)
    trade = Trade(frame["date"][23] + pd.Timedelta("7s"), is_short=side == "short")
    show(fade, frame.head(23))
    expected = abs(wick * factor / 100.0 - 1) * trade.leverage
    assert stop(trade) == pytest.approx(expected)
    assert expected < -fade.stoploss
    # Later candles do not move it, and a restart does not lose it.
    show(fade, frame.iloc[30:].assign(high=105.0, low=95.0))
    assert stop(trade) == pytest.approx(expected)
    # Once it stands there, rounded to the tick that is nearer to the price, it is left alone.
    tick = 1000
    trade.stop_loss = (np.floor if side == "short" else np.ceil)(wick * factor * tick) / tick
    assert stop(trade) is None
    # A trade that was forced by hand has the last resort only.
    assert stop(Trade(frame["date"][50], is_short=side == "short")) is None


@pytest.mark.parametrize("leverage", [1.0, 2.0, 3.0])
@pytest.mark.parametrize(
    ("name", "is_short", "stop"),
    [
        ("SqueezeMomentum", False, 99.2),
        ("RejectionFade", False, 98.0),  # forced by hand: the last resort
        ("RejectionFade", True, 102.0),
    ],
)
def test_the_stop_is_a_price_at_any_leverage(name: str, is_short: bool, stop: float, leverage: float) -> None:
    strategy = load(name)
    strategy.dp = SimpleNamespace(get_analyzed_dataframe=lambda *_: (base(), None))
    trade = Trade(START + 40 * CANDLE, is_short=is_short)
    trade.leverage = leverage
    # Where freqtrade puts the stop of an entry.
    trade.stop_loss = 100.0 * (1 + (-strategy.stoploss if is_short else strategy.stoploss) / leverage)
    asked = strategy.custom_stoploss(PAIR, trade, trade.open_date_utc, 100.0, 0.0, True)
    if leverage == 3.0:
        assert asked is None
    else:
        assert 100.0 * (1 + (asked if is_short else -asked) / leverage) == pytest.approx(stop, rel=1e-12)


@pytest.mark.parametrize("side", ["short", "long"])
def test_a_stop_that_was_broken_before_it_stood_is_an_exit(fade: Any, side: str) -> None:
    """freqtrade ignores a custom stop that price has passed, and would wait for the last resort."""
    frame, short = rejected(side), side == "short"
    trade = Trade(frame["date"][23] + pd.Timedelta("7s"), is_short=short)
    show(fade, frame.head(23))
    wick = 100.8 * 1.002 if short else 99.2 * 0.998
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


def test_the_wick_fits_inside_the_last_resort(fade: Any) -> None:
    farthest = (1 + fade.wick_max.high) * (1 + fade.stop_buffer.high) - 1
    assert farthest < -fade.stoploss / fade.max_leverage_used
    assert fade.wick_max.value <= fade.wick_max.high


# --- entries that are refused -------------------------------------------------------------------------------


#: Strategy, side, the frame whose last row has the signal, distance of the stop.
SIGNALS = [
    ("SqueezeMomentum", "long", pressing().head(13), 0.008),
    ("RejectionFade", "short", rejected("short").head(23), 1.008 * 1.002 - 1),
    ("RejectionFade", "long", rejected("long").head(23), 1 - 0.992 * 0.998),
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


SIGNAL_CLOSED = {"SqueezeMomentum": START + 13 * CANDLE, "RejectionFade": START + 23 * CANDLE}


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
    now, frame = (START + 13 * CANDLE).to_pydatetime(), pressing().head(13)
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

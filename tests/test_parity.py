"""The backtest's bot is the bot: short spans of the SIMULATED market through unmodified freqtrade, and a comparison
that can fail.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ETH, ROOT, needs_faketime

from liqsignals import features
from liqsignals.clock import parse_time
from liqsignals.errors import InputError
from liqsignals.replay import parity, strategies
from liqsignals.replay.bot import Session, Trade
from liqsignals.replay.walks import Exit

pytestmark = pytest.mark.slow


def span(datadir: Path, strategy: str, start: str, stop: str) -> parity.Span:
    return parity.Span(
        datadir, ROOT / "config.json", ROOT / "user_data", strategy, (ETH,), "5m", parse_time(start), parse_time(stop)
    )


@pytest.fixture(autouse=True)
def _logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freqtrade writes no log where it takes itself for tested."""
    monkeypatch.delenv("PYTEST_VERSION", raising=False)


def command(
    market: Path, strategy: str, times: list[int], keep: Path, *more: str
) -> "subprocess.CompletedProcess[str]":
    """`liqsignals parity` on ETH between two times (s)."""
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("liqsignals")), "parity", "--datadir", str(market), "--pairs", ETH,
            "--strategy", strategy, "--timerange", "-".join(map(str, times)), "--keep", str(keep), *more,
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


@needs_faketime
def test_squeeze_momentum_trades_as_its_backtest(market: Path, tmp_path: Path) -> None:
    """Through the command: a target that price closes beyond."""
    times = [parse_time(f"2025-02-02T{at}:00Z") // 10**9 for at in ("07:30", "08:25")]
    done = command(market, "SqueezeMomentum", times, tmp_path / "run")
    assert done.stdout.splitlines()[-1] == "features=100% signals=100% trades=1/1", done.stdout + done.stderr
    assert done.returncode == 0


@needs_faketime
def test_a_live_bot_trades_as_its_backtest(market: Path, tmp_path: Path) -> None:
    """Live, on the exchange's account: an order that it fills, and a stop there that is hit inside a candle."""
    config = json.loads((ROOT / "config.json").read_text())
    config["liqsignals"] = {"calibration": "shipped", "allow_unproven": ["RejectionFade:long", "RejectionFade:short"]}
    (tmp_path / "live.json").write_text(json.dumps(config))
    times = [parse_time(f"2025-01-27T{at}:00Z") // 10**9 for at in ("11:10", "12:05")]
    done = command(market, "RejectionFade", times, tmp_path / "run", "--live", "--config", str(tmp_path / "live.json"))
    assert done.stdout.splitlines()[-1] == "features=100% signals=100% trades=1/1", done.stdout + done.stderr
    assert done.returncode == 0
    with closing(sqlite3.connect(tmp_path / "run" / "trades.sqlite")) as database:
        orders = database.execute("select order_id, ft_order_side, status from orders order by id").fetchall()
        assert database.execute("select exit_reason from trades").fetchall() == [("stoploss_on_exchange",)]
    # A dry-run's orders are named dry_run_...; these have the exchange's numbers.
    assert all(order.isdecimal() for order, _, _ in orders)
    assert [(side, status) for _, side, status in orders if status == "closed"][-1] == ("stoploss", "closed")


#: What most strategies are: a table of targets, a stop, one that trails, one of its own.
ORDINARY = """\
from freqtrade.strategy import IStrategy, stoploss_from_open

from liqsignals import Signals


class Ordinary(IStrategy):
    timeframe = "15m"
    can_short = True
    stoploss = -0.012
    minimal_roi = {"0": 0.009, "45": 0.004}
    trailing_stop = True
    trailing_stop_positive = 0.003
    trailing_stop_positive_offset = 0.005
    trailing_only_offset_is_reached = True
    use_custom_stoploss = True

    def bot_start(self, **kwargs):
        self.signals = Signals.from_config(self.config)

    def informative_pairs(self):
        return self.signals.informative_pairs(self.dp.current_whitelist())

    def populate_indicators(self, dataframe, metadata):
        return self.signals.attach(dataframe, metadata["pair"], self.timeframe, dp=self.dp)

    def populate_entry_trend(self, dataframe, metadata):
        fresh = dataframe["liq_fresh"] == 1
        dataframe.loc[fresh & (dataframe["close"] < dataframe["open"]), "enter_long"] = 1
        dataframe.loc[fresh & (dataframe["close"] > dataframe["open"]), "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe

    def custom_stoploss(self, pair, trade, current_time, current_rate, current_profit, after_fill, **kwargs):
        if current_profit > 0.003:
            return stoploss_from_open(0.001, current_profit, is_short=trade.is_short, leverage=trade.leverage)
        return None
"""


@needs_faketime
def test_targets_and_moving_stops_exit_as_in_the_backtest(market: Path, tmp_path: Path) -> None:
    """Long and short: a target, a stop, stops that the bar of the exit raised, in bars of 5m inside candles of 15m, on
    Bybit's directory. Two trades are not compared: one that is there when the span begins, and one that the backtest
    opens before it has sold."""
    datadir = tmp_path / "bybit"
    shutil.copytree(market, datadir)
    interest = datadir / "futures" / "ETH_USDT_USDT-5m-open_interest.feather"
    rows = pd.read_feather(interest)
    rows.assign(**{name: 2 * rows[name] for name in rows if name != "date"}).to_feather(interest)  # both sides
    fine = pd.read_feather(datadir / "futures" / "ETH_USDT_USDT-5m-futures.feather")
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    fine.resample("15min", on="date").agg(how).reset_index().to_feather(
        datadir / "futures" / "ETH_USDT_USDT-15m-futures.feather"
    )
    strategies = tmp_path / "user_data" / "strategies"
    strategies.mkdir(parents=True)
    (strategies / "Ordinary.py").write_text(ORDINARY)
    told: list[str] = []
    at = replace(
        span(datadir, "Ordinary", "2025-02-01T19:15:00Z", "2025-02-01T22:30:00Z"),
        userdir=tmp_path / "user_data",
        timeframe="15m",
    )
    folder = tmp_path / "run"
    folder.mkdir()
    report = parity.run(at, folder, told.append)
    assert report.last_line == "features=100% signals=100% trades=3/3", parity.lines(report)
    assert report.passed
    assert report.classes == {"start": 1, "turned": 1}
    assert "--timeframe-detail 5m" in told[0]
    assert [text for text in told if "custom_stoploss is asked once a bar" in text], told
    bot_starts = next(number for number, text in enumerate(told) if text.endswith("now the bot"))
    assert all("cannot be compared" not in text for text in told[bot_starts:])


START, STOP = "2025-02-01T12:00:00Z", "2025-02-01T13:00:00Z"
AT = pd.Timestamp("2025-02-01T12:20:00Z")
TRADE = Trade(
    ETH, False, "squeeze", AT, AT + pd.Timedelta("10min"), 100.0, 101.0, "cluster_reached", 99.2, 3.0
)  # fmt: skip


def compared(
    *, row: dict[str, object] | None = None, mine: list[Trade] | None = None, refused: set[tuple[str, int]] | None = None,
    theirs: list[Trade] | None = None,
) -> parity.Report:  # fmt: skip
    """The report of an hour in which the bot saw what the backtest did, but for what is given."""
    dates = pd.date_range(START, STOP, freq="5min", inclusive="left")
    frame = pd.DataFrame(1.0, dates, list(features.NAMES))
    frame["liq_above_price"] = np.nan
    for name in parity.SIGNALS:
        frame[name] = 0
    frame["enter_tag"] = None
    frame["high"], frame["low"] = 102.0, 99.9
    session = Session()
    for date in dates:
        told = {name: None if value != value else value for name, value in frame.loc[date].items()}
        if row is not None and date == AT:
            told |= row
        session.rows[ETH, int(date.timestamp() * 1000) + 300_000] = told, 1000
    return parity.compare(
        span(Path(), "S", START, STOP), {ETH: frame}, [TRADE] if theirs is None else theirs, session,
        [TRADE] if mine is None else mine, refused or set(), lambda pair, at: 0.02,
    )  # fmt: skip


def test_the_same_is_the_same() -> None:
    report = compared()
    assert report.last_line == "features=100% signals=100% trades=1/1"
    assert report.passed
    assert (report.candles, report.differences) == (11, [])  # a backtest trades from its second candle on


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"row": {"liq_imbalance": np.nextafter(1.0, 2.0)}}, "features=90.9% signals=100% trades=1/1"),
        ({"row": {"liq_above_price": 1.0}}, "features=90.9% signals=100% trades=1/1"),
        ({"row": {"liq_fresh": None}}, "features=90.9% signals=100% trades=1/1"),
        ({"row": {"enter_long": 1}}, "features=100% signals=90.9% trades=1/1"),
        ({"row": {"enter_tag": "other"}}, "features=100% signals=90.9% trades=1/1"),
        ({"mine": []}, "features=100% signals=100% trades=0/1"),
        ({"mine": [TRADE, replace(TRADE, opened=AT + pd.Timedelta("30min"))]}, "features=100% signals=100% trades=1/2"),
        ({"mine": [replace(TRADE, opened=AT + pd.Timedelta("5min"))]}, "features=100% signals=100% trades=0/2"),
        ({"mine": [replace(TRADE, is_short=True)]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, tag="other")]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, closed=AT + pd.Timedelta("15min"))]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, closed=None, close_rate=None)]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, reason="time_stop")]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, open_rate=100.021)]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, close_rate=100.979)]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, stop=99.23)]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [], "theirs": []}, "features=100% signals=100% trades=0/0"),
    ],
)
def test_each_difference_fails(change: dict[str, object], line: str) -> None:
    report = compared(**change)  # type: ignore[arg-type]
    assert report.last_line == line
    assert not report.passed


def test_within_the_candle_and_the_spread_is_the_same() -> None:
    late = pd.Timedelta("4s")
    ours = replace(TRADE, opened=AT + late, closed=(TRADE.closed or AT) + late, open_rate=100.019, close_rate=100.99)
    assert compared(mine=[ours]).last_line == "features=100% signals=100% trades=1/1"


def test_a_stop_is_one_reason_wherever_it_stands() -> None:
    """A bot's stop order fills at the exchange; a backtest has no exchange."""
    for theirs in ("stop_loss", "trailing_stop_loss"):
        stopped = replace(TRADE, reason=theirs)
        assert compared(theirs=[stopped], mine=[replace(TRADE, reason="stoploss_on_exchange")]).passed
    stopped = replace(TRADE, reason="stop_loss")
    for ours in ("time_stop", "trailing_stop_loss", "stop_missed", "emergency_exit"):
        assert not compared(theirs=[stopped], mine=[replace(TRADE, reason=ours)]).passed
    assert not compared(theirs=[TRADE], mine=[replace(TRADE, reason="stoploss_on_exchange")]).passed


def test_what_is_explained_is_named_and_not_counted() -> None:
    at = int(AT.timestamp() * 1000)
    refused = compared(mine=[], refused={(ETH, at)})
    assert refused.classes == {"refused": 1}
    assert refused.last_line.endswith("trades=0/0")
    assert not refused.passed  # explained, but nothing was shown
    forced = replace(TRADE, reason="force_exit")
    assert compared(theirs=[forced], mine=[replace(TRADE, closed=None, close_rate=None)]).classes == {"open": 1}
    # While the refused trade would have been open, the bot may do what the backtest could not.
    other = replace(TRADE, opened=AT + pd.Timedelta("5min"))
    assert compared(mine=[other], refused={(ETH, at)}).classes == {"refused": 1, "occupied": 1}
    # The low is 99.9: a stop there was touched for one of them only.
    stopped = replace(TRADE, reason="stop_loss", stop=99.91, close_rate=99.91)
    assert compared(theirs=[stopped], mine=[replace(TRADE, stop=99.89)]).classes == {"edge": 1}
    far = replace(TRADE, reason="stop_loss", stop=99.5, close_rate=99.5)
    assert compared(theirs=[far]).last_line.endswith("trades=0/1")


def test_what_an_explained_trade_of_the_bot_keeps_the_backtest_from_is_explained() -> None:
    """In the order of time: the backtest is in a trade that no bot can have; the bot enters, and holds it for longer."""

    def trade(opened: int, minutes: int, **more: object) -> Trade:
        begins = AT + pd.Timedelta(minutes=opened)
        return replace(TRADE, opened=begins, closed=begins + pd.Timedelta(minutes=minutes), **more)

    turned = trade(10, 10, is_short=True)
    theirs = [replace(TRADE, reason="stop_loss"), turned, trade(30, 10), trade(60, 5)]
    mine = [replace(TRADE, reason="stop_loss"), trade(15, 40), trade(60, 5)]
    report = compared(theirs=theirs, mine=mine)
    assert report.classes == {"turned": 1, "occupied": 2}
    assert report.last_line.endswith("trades=2/2"), report.differences
    # Without the first there is nothing that explains them.
    assert compared(theirs=[TRADE, trade(30, 10)], mine=[TRADE, trade(15, 40)]).disagree == 2


def test_what_begins_before_the_first_whole_candle_is_named() -> None:
    early = replace(TRADE, opened=pd.Timestamp(START) + pd.Timedelta("5min"))
    assert compared(theirs=[early, TRADE], mine=[TRADE]).last_line.endswith("trades=1/1")
    assert compared(theirs=[early, TRADE], mine=[TRADE]).classes == {"start": 1}
    assert compared(theirs=[TRADE], mine=[early, TRADE]).classes == {"start": 1}


def test_a_trade_that_is_opened_before_the_other_is_sold_is_named() -> None:
    stopped = replace(TRADE, reason="stop_loss")
    turned = replace(TRADE, is_short=True, opened=AT + pd.Timedelta("10min"), closed=AT + pd.Timedelta("15min"))
    report = compared(theirs=[stopped, turned], mine=[stopped])
    assert report.last_line.endswith("trades=1/1")
    assert report.classes == {"turned": 1}
    # One that was sold at the open made room; one of the same side was not opened in that bar by turning round.
    for before, after in ((TRADE, turned), (stopped, replace(turned, is_short=False))):
        assert compared(theirs=[before, after], mine=[before]).last_line.endswith("trades=1/2")


def exit_at(*, reason: str = "trailing_stop_loss", opened: pd.Timestamp = AT, raised: bool = True) -> parity.Backtest:
    """A backtest of one trade that ends ten minutes after AT."""
    closed = AT + pd.Timedelta("10min")
    trade = replace(TRADE, opened=opened, reason=reason, closed=closed)
    told = {"pair": ETH, "at": int(closed.timestamp() * 1000), "raised": raised, "stop": 100.5, "distance": 0.004}
    return parity.Backtest({}, [trade], {}, {(told["pair"], told["at"]): told})


def test_a_stop_is_compared_where_a_bot_can_have_it() -> None:
    closed = AT + pd.Timedelta("10min")
    assert parity.comparable(exit_at())[0].stop == TRADE.stop
    assert parity.comparable(exit_at(reason="roi", raised=False))[0].stop == TRADE.stop
    for later in (exit_at(reason="roi"), exit_at(reason="exit_signal"), exit_at(opened=closed)):
        assert np.isnan(parity.comparable(later)[0].stop)
        assert compared(theirs=parity.comparable(later), mine=[replace(later.trades[0], stop=50.0)]).passed


def test_exits_inside_a_bar_are_found() -> None:
    key = ETH, int((AT + pd.Timedelta("10min")).timestamp() * 1000)
    assert parity.exits_inside(exit_at()) == {key: Exit(101.0, False, False, True, False, 100.5, 0.004)}
    assert parity.exits_inside(exit_at(reason="roi"))[key].roi
    assert not parity.exits_inside(exit_at(reason="roi"))[key].raised
    assert parity.exits_inside(exit_at(opened=AT + pd.Timedelta("10min")))[key].entered
    assert parity.exits_inside(exit_at(reason="exit_signal")) == {}


PLAIN: dict[str, object] = {
    "minimal_roi": {"0": 0.02}, "use_custom_stoploss": False, "trailing_stop_positive": None,
    "trailing_only_offset_is_reached": False, "position_adjustment_enable": False, "exit_profit_only": False,
    "use_custom_roi": False, "can_short": False, "own_timeframe": "5m", "max_open_trades": 2, "callbacks": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"own_timeframe": "1h"}, "own timeframe is 1h"),
        ({"minimal_roi": {"0": 0.02, "37": 0.01}}, "after 37 minutes"),
        ({"use_custom_stoploss": True}, "custom_stoploss is asked once a bar"),
        (
            {"use_custom_stoploss": True, "callbacks": {"custom_stoploss": ["current_profit"]}},
            "which holds the funding",
        ),
        ({"trailing_stop_positive": 0.01}, "'worst'"),
        ({"callbacks": {"custom_exit": ["current_profit", "trade"]}}, "custom_exit reads current_profit"),
        ({"exit_profit_only": True}, "exit_profit_only"),
        ({"use_custom_roi": True}, "custom_roi"),
        ({"position_adjustment_enable": True}, "adjust_trade_position"),
        ({"callbacks": {"custom_entry_price": []}}, "custom_entry_price"),
        ({"can_short": True}, "'turned'"),
        ({"max_open_trades": 0.5}, "a slot that a trade leaves"),
    ],
)
def test_what_cannot_be_compared_is_named(change: dict[str, object], word: str) -> None:
    at = span(Path(), "S", START, STOP)
    assert parity.limits(PLAIN, at, features.NAMES) == []
    assert parity.limits(PLAIN | {"callbacks": {"custom_exit": ["dataframe"]}}, at, features.NAMES) == []
    told = parity.limits(PLAIN | change, at, features.NAMES)
    assert any(word in text for text in told), told
    assert parity.limits(PLAIN, at, ["close"])[0].startswith("the strategy attaches no liqsignals column")


def test_the_timeframe_is_the_configs_else_the_classes_own(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text(
        "class Base(IStrategy):\n    timeframe = '1h'\n\nclass Mine(Base):\n    stoploss = -0.1\n\n"
        "class Own(Base):\n    timeframe: str = '15m'\n\nclass Bare(Elsewhere):\n    pass\n"
    )
    config = tmp_path / "config.json"
    for text in ("{}", "// freqtrade reads comments\n{}"):
        config.write_text(text)
        assert strategies.own_timeframe(config, tmp_path, "Mine") == "1h"
        assert strategies.own_timeframe(config, tmp_path, "Own") == "15m"
    with pytest.raises(InputError, match=r"Bare names no timeframe.*--timeframe"):
        strategies.own_timeframe(config, tmp_path, "Bare")
    config.write_text('{"timeframe": "4h"}')
    assert strategies.own_timeframe(config, tmp_path, "Own") == "4h"


def test_an_unknown_strategy_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file in .* defines the strategy Nobody\. Way out: check --strategy"):
        strategies.strategy_file(tmp_path, "Nobody")

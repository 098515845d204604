"""Law 11: each callback with each fault, through freqtrade's own wrapper; docs/callbacks.md holds what came out."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from freqtrade.enums import RunMode
from freqtrade.exceptions import StrategyError
from freqtrade.persistence import Order, Trade, init_db
from freqtrade.strategy import IStrategy
from freqtrade.strategy.strategy_wrapper import strategy_safe_wrapper
from sqlalchemy import event
from test_strategies import AT as SIGNAL
from test_strategies import CANDLE, NAMES, PAIR, load, pressing, rejected

from liqsignals import features

#: Rows up to the signal's candle, and the frame of each strategy. Both are long.
AT = SIGNAL + 1
FRAMES = {"SqueezeMomentum": pressing, "RejectionFade": lambda: rejected("long")}
#: What freqtrade takes where a callback raises (freqtradebot.py, interface.py), which the wrapper is given here, too.
INSTEAD: dict[str, dict[str, Any]] = {
    "populate_indicators": {},
    "populate_entry_trend": {},
    "populate_exit_trend": {},
    "check_entry_timeout": {"default_retval": False},
    "confirm_trade_entry": {"default_retval": True},
    "leverage": {"default_retval": 1.0},
    "custom_stake_amount": {"default_retval": 100.0},
    "custom_exit": {"default_retval": False},
    "custom_stoploss": {"default_retval": None, "supress_error": True},
}
FAULTS = (
    "no fault", "NaN", "missing column", "doubled column", "empty frame", "None", "locked database", "read-only database", "a bug",
)  # fmt: skip


class Database:
    """freqtrade's own, with one open trade; `broken` while a test says so."""

    def __init__(self, path: Path) -> None:
        self.path, self.read_only = path, False
        init_db(f"sqlite:///{path}")

        @event.listens_for(Trade.session.get_bind(), "checkout")
        def _(connection: Any, *_: Any) -> None:
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute(f"PRAGMA query_only = {'ON' if self.read_only else 'OFF'}")

    @contextmanager
    def broken(self, how: str) -> Iterator[None]:
        if how == "read-only database":
            self.read_only = True
            yield
            self.read_only = False
        elif how == "locked database":
            other = sqlite3.connect(self.path, isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")
            other.close()
        else:
            yield

    def custom_data(self) -> list[tuple[str, str]]:
        with sqlite3.connect(self.path) as other:
            return other.execute("select cd_key, cd_value from trade_custom_data").fetchall()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    yield Database(tmp_path / "trades.sqlite")
    Trade.custom_data.property.mapper.class_.session.remove()
    Trade.session.remove()


def opened_trade(at: pd.Timestamp) -> Trade:
    trade = Trade(
        pair=PAIR, stake_amount=100.0, amount=1.0, open_rate=100.0, open_date=at.to_pydatetime(), is_open=True, exchange="binance",
        fee_open=0.0, fee_close=0.0, leverage=1.0, is_short=False, stop_loss=90.0, initial_stop_loss_pct=-0.1,
    )  # fmt: skip
    Trade.session.add(trade)
    Trade.commit()
    Trade.session.refresh(trade)  # as the bot has it when it asks: read
    return trade


def shown(name: str, frame: pd.DataFrame) -> Any:
    """The strategy in dry-run, `frame` analysed."""
    strategy = load(name)
    strategy.dp = SimpleNamespace(
        runmode=RunMode.DRY_RUN,
        get_analyzed_dataframe=lambda *_: (frame, None),
        orderbook=lambda *_: {"bids": [[100.0, 1.0]], "asks": [[100.0, 1.0]], "timestamp": None},
        current_whitelist=lambda: [PAIR],
    )
    strategy.signals = SimpleNamespace(
        attach=lambda df, *_, **__: df.assign(**features.blocked(len(df))),
        informative_pairs=lambda pairs: [(pair, "5m", "futures") for pair in pairs],
    )
    return strategy


def damaged(frame: Any, fault: str) -> Any:
    if fault == "NaN":
        return frame.assign(**{c: np.nan for c in frame.columns if c not in ("date", "enter_tag")})
    if fault == "missing column":
        return frame.drop(columns=["close", "enter_long"], errors="ignore")
    if fault == "doubled column":
        return pd.concat([frame, frame[["close", "high", "liq_fresh"]]], axis=1)
    return {"empty frame": frame.head(0), "None": None}.get(fault, frame)


def call(strategy: Any, callback: str, **arguments: Any) -> Any:
    return strategy_safe_wrapper(getattr(strategy, callback), **INSTEAD[callback])(**arguments)


def raises(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("a bug")


def populate(callback: str, name: str, fault: str, database: Database) -> str:
    frame = FRAMES[name]().head(AT)
    strategy = shown(name, frame)
    if fault == "a bug":
        strategy.signals.attach = strategy.with_entries = raises
    given = damaged(frame, fault)
    try:
        out = call(strategy, callback, dataframe=given, metadata={"pair": PAIR})
    except StrategyError:  # analyze_pair catches it and goes on with the next pair
        return "pair skipped"
    if given is None:
        return "pair skipped"
    assert len(out) == len(given)
    entered = [c for c in ("enter_long", "enter_short") if c in out and (out[c] == 1).any()]
    return "signal" if entered else "no signal"


def confirm(name: str, fault: str, database: Database) -> str:
    frame = FRAMES[name]().head(AT)
    strategy = shown(name, damaged(load(name).with_entries(frame.copy(), {"pair": PAIR}), fault))
    if fault == "a bug":
        strategy.stop_at_signal = raises
    now = frame["date"].iat[-1] + CANDLE + pd.Timedelta("3s")
    with database.broken(fault):
        made = call(
            strategy, "confirm_trade_entry", pair=PAIR, order_type="limit", amount=1.0, rate=100.0, time_in_force="GTC",
            current_time=now.to_pydatetime(), entry_tag=None, side="long",
        )  # fmt: skip
    return "enters" if made else "refuses"


def rest(name: str, fault: str, database: Database) -> str:
    frame = FRAMES[name]().head(AT)
    strategy = shown(name, damaged(frame, fault))
    if fault == "a bug":
        strategy.account.withdrawn = raises
    with database.broken(fault):
        gone = call(strategy, "check_entry_timeout", pair=PAIR, trade=None, order=None, current_time=None)
    return "cancelled" if gone else "stays"


ASKED = {"pair": PAIR, "current_time": None, "current_rate": 100.0, "entry_tag": None, "side": "long"}


def asked(name: str, fault: str) -> Any:
    """The strategy at its signal."""
    frame = load(name).with_entries(FRAMES[name]().head(AT), {"pair": PAIR})
    strategy = shown(name, damaged(frame, fault))
    if fault == "a bug":
        strategy.stop_at_signal = raises
    return strategy


def leverage(name: str, fault: str, database: Database) -> str:
    strategy = asked(name, fault)
    with database.broken(fault):
        return f"{call(strategy, 'leverage', **ASKED, proposed_leverage=1.0, max_leverage=125.0):g}x"


def stake(name: str, fault: str, database: Database) -> str:
    strategy = asked(name, fault)
    stop = 98.5 if name == "SqueezeMomentum" else 99.2 * 0.9975
    with database.broken(fault):
        found = call(
            strategy, "custom_stake_amount", **ASKED, proposed_stake=100.0, min_stake=None, max_stake=1e6, leverage=3.0,
        )  # fmt: skip
    # Half a percent of the account at the stop, a third of the account at most.
    if found == pytest.approx(min(10_000 * 0.005 / (1 - stop / 100), 10_000 / 3) / 3):
        return "its size"
    return f"stake {found:g}"


def informative(name: str, fault: str, database: Database) -> str:
    strategy = shown(name, pd.DataFrame())
    if fault == "None":
        strategy.dp = None
    if fault == "a bug":
        strategy.signals.informative_pairs = raises
    # freqtrade has no wrapper here: an exception ends the process.
    found = strategy.informative_pairs()
    assert isinstance(found, list)
    return "its pairs" if found else "no pairs"


def in_trade(name: str, fault: str) -> tuple[Any, Trade]:
    """The strategy with a trade that has just been opened on the frame's last candle, at 1x."""
    frame = FRAMES[name]().head(AT)
    strategy = shown(name, damaged(load(name).with_entries(frame.copy(), {"pair": PAIR}), fault))
    return strategy, opened_trade(frame["date"].iat[-1] + CANDLE)


def leave(name: str, fault: str, database: Database) -> str:
    """Not before its time, then by the clock, and by a stop that price has passed and that stands nowhere."""
    strategy, trade = in_trade(name, fault)
    if fault == "a bug":
        strategy.exit_on_candles = raises
    due = trade.open_date_utc + pd.Timedelta(hours=strategy.max_hours.value)

    def at(when: Any, rate: float) -> Any:
        return call(
            strategy, "custom_exit", pair=PAIR, trade=trade, current_time=when, current_rate=rate, current_profit=0.0
        )

    with database.broken(fault):
        assert not at(due, 100.0)
        assert at(due, 90.0) == "stop_missed"
        assert at(due + pd.Timedelta("61s"), 100.0) == "time_stop"
    return "exits"


def stop(name: str, fault: str, database: Database) -> str:
    """The venue allowed 1x, where freqtrade's own stop is three times as far away as the strategy's."""
    strategy, trade = in_trade(name, fault)
    if fault == "a bug":
        strategy.stop_at_signal = raises
    with database.broken(fault):
        found = call(
            strategy, "custom_stoploss", pair=PAIR, trade=trade, current_time=trade.open_date_utc, current_rate=100.0,
            current_profit=0.0, after_fill=True,
        )  # fmt: skip
    # Without candles the signal's stop is not known, and the last resort is a price, too.
    way = 0.015 if name == "SqueezeMomentum" else 1 - 99.2 * 0.9975 / 100
    assert found in (pytest.approx(way), pytest.approx(strategy.last_resort))
    return "at its price" if found == pytest.approx(way) else "last resort"


RUN: dict[str, Callable[[str, str, Database], str]] = {
    "informative_pairs": informative,
    **{name: partial(populate, name) for name in INSTEAD if name.startswith("populate")},
    "check_entry_timeout": rest,
    "confirm_trade_entry": confirm,
    "leverage": leverage,
    "custom_stake_amount": stake,
    "custom_exit": leave,
    "custom_stoploss": stop,
}


def table() -> dict[tuple[str, str], str]:
    """The table of docs/callbacks.md: by callback and fault."""
    text = (ROOT / "docs" / "callbacks.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    return {(row[0], fault): cell for row in body for fault, cell in zip(head[1:], row[1:], strict=True)}


def test_the_table_has_every_callback_and_every_fault() -> None:
    assert set(table()) == {(callback, fault) for callback in RUN for fault in FAULTS}
    for name in NAMES:
        text = (ROOT / "user_data" / "strategies" / f"{name}.py").read_text(encoding="utf-8")
        overridden = set(re.findall(r"^    def (\w+)", text, re.MULTILINE)) & set(dir(IStrategy))
        # bot_start raises on purpose; plot_annotations only draws (tests/test_annotations.py).
        assert overridden == {*RUN, "bot_start", "plot_annotations"}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("callback", RUN)
@pytest.mark.parametrize("name", NAMES)
def test_what_happens(name: str, callback: str, fault: str, database: Database) -> None:
    assert RUN[callback](name, fault, database) == table()[callback, fault]


@pytest.mark.parametrize("fault", ["locked database", "read-only database"])
def test_after_a_failed_write_exits_go_on_and_only_custom_data_is_rolled_back(fault: str, database: Database) -> None:
    strategy, trade = in_trade("SqueezeMomentum", "")
    opened = pd.Timestamp(trade.open_date_utc)
    later = pressing().head(AT + 3)
    later.loc[AT + 1, "high"] = 101.6  # beyond the cluster of the entry, 101.5, which no close is
    asked: list[str] = []
    event.listen(Trade.session.get_bind(), "before_cursor_execute", lambda *given: asked.append(given[2]))

    def at(after: str) -> Any:
        return call(
            strategy, "custom_exit", pair=PAIR, trade=trade, current_time=(opened + pd.Timedelta(after)).to_pydatetime(),
            current_rate=100.0, current_profit=0.0,
        )  # fmt: skip

    # A stop order that was just placed, and not committed yet.
    placed = Order(
        ft_order_side="stoploss", ft_pair=PAIR, ft_is_open=True, ft_amount=1.0, ft_price=99.2, order_id="1", order_type="market",
        status="open", side="sell",
    )  # fmt: skip
    trade.orders.append(placed)
    with database.broken(fault):
        assert at("5s") is None
        asked.clear()
        assert at("10s") is None
        assert at("299s") is None
        assert asked == []  # not tried again in this candle
        strategy.dp.get_analyzed_dataframe = lambda *_: (later, None)
        # The signal's row has no signal any more; the target of the entry is in memory.
        assert at("601s") == "cluster_rejected"
    assert database.custom_data() == []
    assert placed in Trade.session.new
    Trade.commit()
    Trade.session.refresh(trade)
    assert at("901s") == "cluster_rejected"
    assert database.custom_data() == [("stop", "98.5"), ("target", "101.5")]
    assert Order.order_by_id("1") is not None


def test_an_entry_is_refused_while_the_database_takes_no_write_and_made_again_after(database: Database) -> None:
    frame = pressing().head(AT)
    strategy = shown("SqueezeMomentum", load("SqueezeMomentum").with_entries(frame, {"pair": PAIR}))
    now = (frame["date"].iat[-1] + CANDLE).to_pydatetime()

    def confirmed() -> bool:
        return call(
            strategy, "confirm_trade_entry", pair=PAIR, order_type="limit", amount=1.0, rate=100.0, time_in_force="GTC",
            current_time=now, entry_tag=None, side="long",
        )  # fmt: skip

    assert confirmed()
    for fault in ("locked database", "read-only database"):
        with database.broken(fault):
            assert not confirmed()
        assert confirmed()
    # The check holds no lock, and leaves nothing behind.
    with sqlite3.connect(database.path, timeout=0) as other:
        other.execute("update trade_custom_data set cd_key = ''")
    other.close()
    assert database.custom_data() == []


def test_a_strategy_survives_the_way_to_another_process(database: Database) -> None:
    """As hyperopt sends it, pickled by value."""
    for name in NAMES:
        strategy = load(name)
        again = cloudpickle.loads(cloudpickle.dumps(strategy))
        again.dp = SimpleNamespace(get_analyzed_dataframe=lambda *_: (pressing(), None))
        assert again.leverage(**ASKED, proposed_leverage=1.0, max_leverage=2.0) == 2.0

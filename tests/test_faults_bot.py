"""A real dry-run bot through a series of faults: it enters on complete input only, leaves its trades, and goes on by
itself.
"""

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, ROOT, make_market, needs_faketime, ns, write_datadir

from liqsignals import Signals, features
from liqsignals.exchange.faults import KINDS, LIES, Fault
from liqsignals.replay.bot import Bot, Session, Settings, Trade, drive, trades
from liqsignals.replay.clock import MarketClock
from liqsignals.replay.session import as_of, replayed

pytestmark = [needs_faketime, pytest.mark.slow]

MINUTE = 60_000
#: SqueezeMomentum with a signal on every candle, fresh or not, and exits after two candles: what stands between it and
#: a trade on bad input is the guard alone.
EAGER = """
from types import SimpleNamespace

from SqueezeMomentum import SqueezeMomentum


class Eager(SqueezeMomentum):
    max_hours = SimpleNamespace(value=1 / 6)
    funding_max = SimpleNamespace(value=1.0)
    protections = []

    def populate_indicators(self, dataframe, metadata):
        # The market is shorter than the map's warm-up, for which every entry would be refused.
        frame = super().populate_indicators(dataframe, metadata)
        return frame.assign(minus_di=0.0, sweep=float("nan"), liq_warm=1.0)

    def populate_entry_trend(self, dataframe, metadata):
        return dataframe.assign(enter_long=1, enter_tag="eager", stop_long=0.98 * dataframe["close"])
"""
#: Kind, first minute, minute after the last, what else. Undisturbed, the bot enters at minute 0, leaves at 10, enters
#: at 15.
PLAN: list[tuple[str, float, float, dict[str, Any]]] = [
    ("stale_klines", 11, 27, {"seconds": 720}),  # an entry is due at 15
    ("stale_klines", 41, 52, {"seconds": 360}),  # an entry is due at 45; what comes looks like a whole candle
    ("outage", 57, 68, {}),  # the trade since 55 is due to end at 65
    ("stale_klines", 72, 83, {"seconds": 1800}),  # the trade since 70 is due to end at 80
    ("late_open_interest", 89, 107, {"seconds": 3600}),  # an entry is due at 100
    ("skip_candle", 120, 125, {"healed_at": 133}),  # an entry is due at 125
    ("delay", 146, 157, {"seconds": 20, "path": "klines"}),  # an entry is due at 150
    ("status", 161, 177, {"code": 429, "share": 0.2}),
    ("html", 161, 177, {"share": 0.3}),
    ("truncated", 161, 177, {"share": 0.3}),
    ("drop", 161, 177, {"share": 0.3}),
    ("status", 185, 185 + 4 / 60, {"code": 429, "path": "klines"}),  # freqtrade pauses by its own clock
    ("clock", 181, 220, {"seconds": -45}),
    ("repeat_candle", 181, 220, {}),
    ("revise_open_interest", 201, 212, {"factor": 1.05, "after": 900}),
]
#: Closes (minutes) of candles that the bot could not know in time, or whose open interest it could not.
INCOMPLETE = {15, 20, 25, 45, 50, 60, 65, 75, 80, 95, 100, 105, 120, 125, 130, 150, 155}
#: What comes through here is right, but it need not come through.
NOISY = {165, 170, 175}
#: From here on the bot has open interest that was revised later: freqtrade keeps the first value that it hears of an
#: instant.
REVISED = 215
END = 220


@dataclass(frozen=True)
class Run:
    """What the bot did; minutes are counted from its start."""

    start: int
    trades: list[Trade]
    session: Session
    log: str
    injected: Counter[str]
    #: Columns at every candle's close as complete data give them.
    full: pd.DataFrame

    def minute(self, time: pd.Timestamp) -> float:
        return (time.value / 1e6 - self.start) / MINUTE

    def refusals(self, word: str) -> list[float]:
        """Minutes at which an entry was refused."""
        found = re.findall(rf"^(\S+ \S+),\d+ .*entry refused \({word}\)", self.log, re.MULTILINE)
        return [self.minute(pd.Timestamp(time, tz="UTC")) for time in found]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("faults")
    market = make_market(2.5, seed=5, volatility=0.0003)
    full = write_datadir(folder / "full", market)
    at = int(ns(market.candles["date"])[2 * 288])
    start = at // 10**6
    faults = []
    for kind, first, last, other in PLAN:
        if "healed_at" in other:
            other = {**other, "healed_at": start + other["healed_at"] * MINUTE}
        faults.append(Fault(kind, start + int(first * MINUTE), start + int(last * MINUTE), **other))
    strategies = folder / "strategies"
    strategies.mkdir()
    shutil.copy(ROOT / "user_data" / "strategies" / "SqueezeMomentum.py", strategies)
    (strategies / "Eager.py").write_text(EAGER)
    (folder / "user_data").mkdir()
    clock = MarketClock(folder / "clock", start)
    with replayed(full, clock, faults=faults) as exchange, pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_VERSION")  # where it is set, freqtrade writes no log
        settings = Settings(
            ROOT / "config.json", folder / "user_data", as_of(full, at, folder / "own"), "Eager", strategies, (PAIR,), "5m",
            folder / "run",
        )  # fmt: skip
        bot = Bot(settings, exchange.overlay, clock, exchange.traffic)

        def mend(close: int) -> None:
            """As a download would: a candle that freqtrade has made up is trusted when the disk has it."""
            if close == start + 135 * MINUTE:
                as_of(full, close * 10**6, folder / "own")

        try:
            bot.start()
            session = drive(bot, start + END * MINUTE, exchange.dwells, careful=True, each=mend)
        finally:
            bot.stop()
    candles = market.candles
    frame = Signals.from_config(
        {"datadir": full, "trading_mode": "futures", "exchange": {"name": "binance"}, "liqsignals": {}}
    ).attach(candles, PAIR, "5m")
    frame = frame.assign(liq_warm=1.0)
    return Run(start, trades(settings.database), session, settings.log.read_text(), exchange.faults, frame)


def differing(run: Run, close: int) -> list[str]:
    """Columns of the bot's row at a close that are not those of complete data."""
    row, _ = run.session.rows[PAIR, run.start + close * MINUTE]
    full = run.full.set_index("date").loc[pd.Timestamp(row["date"])]
    told = {name: np.nan if row[name] is None else row[name] for name in features.NAMES}
    return [name for name in features.NAMES if not np.array_equal(told[name], full[name], equal_nan=True)]


def test_every_kind_was_put_in(run: Run) -> None:
    assert {kind for kind, count in run.injected.items() if count} == set(KINDS) - set(
        LIES
    )  # of lies tests/soak.py has the bot


def test_entries_on_complete_input_only(run: Run) -> None:
    assert len(run.trades) >= 10
    for trade in run.trades:
        close = int(run.minute(trade.opened)) // 5 * 5
        assert close not in INCOMPLETE
        assert run.minute(trade.opened) - close < 0.25
        if 0 < close < REVISED:
            assert differing(run, close) == []
    # And that was the guard's doing, for there was a signal on every candle.
    refused = {int(minute) // 5 * 5 for minute in run.refusals("stale")}
    # Not at 20 and 25: with one loop at each price freqtrade itself finds the candles outdated, and gives no signal.
    assert {45, 50, 100, 105, 130, 150, 155} <= refused
    assert run.refusals("drift") == []
    assert {int(minute) // 5 * 5 for minute in run.refusals("spread")} <= NOISY  # a web page for an order book


def test_a_trade_ends_in_time_where_candles_are_stale_and_at_once_after_an_outage(run: Run) -> None:
    closed = {round(run.minute(trade.opened)): trade for trade in run.trades}
    assert 68 <= run.minute(closed[55].closed) < 70
    assert 81 <= run.minute(closed[70].closed) < 83
    assert {trade.reason for trade in run.trades if trade.closed is not None} == {"time_stop"}
    assert all(trade.closed is not None for trade in run.trades[:-1])


def test_the_bot_goes_on_by_itself(run: Run) -> None:
    opened = [round(run.minute(trade.opened)) for trade in run.trades]
    assert opened[:9] == [0, 30, 55, 70, 85, 110, 135, 160, opened[8]]
    # A clock that is off and a candle told twice change nothing: every 15 minutes, as at first.
    late = [minute for minute in opened if minute >= 180]
    assert late[0] <= 190
    assert late == list(range(late[0], END + 1, 15))
    assert len(set(re.findall(r"Bot heartbeat. PID=(\d+)", run.log))) == 1
    for sign in ("Strategy caused", "Unexpected error", "OperationalException"):
        assert sign not in run.log, sign


def test_the_columns_are_those_of_complete_data_again(run: Run) -> None:
    for close in range(5, REVISED, 5):
        seen = run.session.rows.get((PAIR, run.start + close * MINUTE))
        if close not in INCOMPLETE | NOISY:
            assert seen is not None, close
            assert differing(run, close) == [], close
            assert seen[0]["liq_fresh"] == 1
        elif seen is not None:
            assert seen[0]["liq_fresh"] == 0 or differing(run, close) == [], close
    assert differing(run, REVISED) != []

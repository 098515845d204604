"""Callbacks that fail closed (docs/laws.md 11): whatever they meet, they do not enter, and they do exit.

freqtrade catches what a callback raises and goes on as if it had consented: it enters, takes its own stake, does not
exit. So a strategy's callbacks pass their work through `safely` or `populated`. They are plain functions: a decorator
hides a method's parameters from freqtrade, and a base class is pickled by value in hyperopt.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pandas as pd

from liqsignals.clock import duration_ns
from liqsignals.strategy import sizing
from liqsignals.strategy.guard import SPREAD, custom_data, is_live
from liqsignals.strategy.placebo import Placebo

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Columns that open or close trades.
SIGNALS = ("enter_long", "enter_short", "enter_tag", "exit_long", "exit_short", "exit_tag")
#: Seconds between two log entries of one failure: callbacks run in every loop.
_AGAIN = 300.0
_logged: dict[tuple[str, str], float] = {}


def failed(where: str, error: Exception) -> None:
    """Log what a callback met, with its traceback, at most once in 5 minutes for each place and type of error."""
    key, now = (where, type(error).__name__), time.monotonic()
    if now - _logged.get(key, -math.inf) >= _AGAIN:
        _logged[key] = now
        logger.error("%s failed (%s: %s)", where, type(error).__name__, error, exc_info=error)


def safely(where: str, otherwise: T, call: Callable[[], T]) -> T:
    """`call()`, or `otherwise` where that raises, which is logged as `where`."""
    try:
        return call()
    except Exception as error:
        failed(where, error)
        return otherwise


def populated(
    strategy: Any,
    where: str,
    dataframe: pd.DataFrame,
    metadata: dict[str, Any],
    populate: Callable[[pd.DataFrame, dict[str, Any]], pd.DataFrame],
) -> pd.DataFrame:
    """`populate(dataframe, metadata)`; in dry-run and live the frame without signals where that raises.

    freqtrade would drop the candle's whole frame, and exits with it. A backtest raises: a run without trades would be
    no result. A backtest's placebo (strategy/placebo.py) adds its entries here.
    """
    try:
        frame = populate(dataframe, metadata)
        placebo: Placebo | None = getattr(getattr(strategy, "signals", None), "placebo", None)
        if placebo is None or where != "populate_entry_trend":
            return frame
        placebo.described(strategy)
        return placebo.with_entries(frame, metadata["pair"])
    except Exception as error:
        if not is_live(getattr(strategy, "dp", None)):
            raise
        failed(f"{metadata.get('pair')}: {where}", error)
        return dataframe.drop(columns=[name for name in SIGNALS if name in dataframe.columns])


def overdue(opened: datetime, now: datetime, timeframe: str, hours: float) -> bool:
    """Whether `hours` have passed since the candle of the entry opened, by the clock alone: no candles, no database.

    `opened`: when the trade was opened; both are tz-aware. A candle counts as over a minute after its close.
    """
    begin, end = (_candle_of(at, timeframe) for at in (opened, now - timedelta(minutes=1)))
    return end - begin >= hours * 3600 * 10**9


def _candle_of(at: datetime, timeframe: str) -> int:
    """Open (ns) of the candle that an instant lies in."""
    length = duration_ns(timeframe)
    return int(pd.Timestamp(at).value) // length * length


def at_entry(dp: Any, trade: Any, timeframe: str, number: Callable[[pd.DataFrame, str], float]) -> float | None:
    """`number(candles, side)` of the analysed candles up to the trade's signal.

    None where there is no signal, as where the entry was forced by hand.
    """
    dataframe, _ = dp.get_analyzed_dataframe(trade.pair, timeframe)
    if len(dataframe) == 0:
        return None
    # The candle that gave the signal closed when the entry's began, or one before if the bot was slow.
    opened = pd.Timestamp(_candle_of(trade.open_date_utc, timeframe), tz="UTC")
    known = dataframe[dataframe["date"] < opened]
    side = "short" if trade.is_short else "long"
    since = opened - 2 * pd.Timedelta(duration_ns(timeframe))
    signals = (known[f"enter_{side}"] == 1) & (known["date"] >= since)
    return number(known.loc[: signals[signals].index[-1]], side) if signals.any() else None


def stop_at_signal(dataframe: pd.DataFrame, side: str, last_resort: float) -> float:
    """Price of the stop (`stop_long`, `stop_short`) of a signal on the last row.

    Where there is none, as where the entry was forced by hand, `last_resort` (fraction of price) from its close.
    """
    last = dataframe.iloc[-1]
    if last.get(f"enter_{side}") == 1:
        return float(last[f"stop_{side}"])
    return sizing.stop_price(float(last["close"]), last_resort, side == "short")


def stop_missed(dp: Any, trade: Any, stop: float, rate: float) -> bool:
    """Whether `rate` is beyond the stop and freqtrade will not act on it.

    It does not where the trade's own stop was never moved to `stop` (a price), and in live mode, where it leaves the
    stop to the exchange, if the order is not there or does not fill: then beyond SPREAD of the stop's distance.
    """
    way = sizing.way_to(stop, rate, trade.is_short)
    if not way <= 0:
        return False
    if not sizing.stands(trade.stop_loss, stop, trade.is_short):
        return True
    mode = str(getattr(dp, "runmode", "")).split(".")[-1].lower()
    return mode == "live" and way < -SPREAD * sizing.way_to(stop, trade.open_rate, trade.is_short)


@dataclass
class TradeNumber:
    """A number of each trade, decided at its entry: in freqtrade's custom data, and in memory while that fails.

    Nothing depends on the database: where it is locked or read-only, the number is computed from the candles and kept
    in memory, and the database is tried again in the next candle.
    """

    key: str
    _unsaved: dict[tuple[str, datetime], float] = field(default_factory=dict)
    #: No database before this instant (ns).
    _again: int = 0

    def of(self, trade: Any, now: datetime, timeframe: str, compute: Callable[[], float | None]) -> float | None:
        """The number of a trade; of the first call `compute()`, whose None and NaN are not kept."""
        identity, at = (trade.pair, trade.open_date_utc), pd.Timestamp(now).value
        stored = _number(self._try(trade, at, timeframe, lambda: trade.get_custom_data(self.key)))
        if stored is not None:
            return stored
        if (value := self._unsaved.get(identity)) is None:
            if (value := _number(compute())) is None:
                return None
            self._unsaved[identity] = value
        if self._try(trade, at, timeframe, lambda: (trade.set_custom_data(self.key, value), True)):
            del self._unsaved[identity]
        return value

    def _try(self, trade: Any, at: int, timeframe: str, call: Callable[[], Any]) -> Any:
        """`call()`; None where that raises, and until the next candle after it did."""
        if at < self._again:
            return None
        try:
            return call()
        except Exception as error:
            length = duration_ns(timeframe)
            self._again = (at // length + 1) * length
            failed(f"{trade.pair}: custom data '{self.key}'", error)
            safely(f"{trade.pair}: rollback of custom data", None, lambda: _roll_back(trade))
            return None


def _roll_back(trade: Any) -> None:
    """Roll back custom data's own session, which refuses everything after a failed write until then.

    `Trade.rollback()` is another session's, and would drop a stop order that was just placed.
    """
    stored = custom_data(type(trade))
    if stored is not None:
        stored.session.rollback()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

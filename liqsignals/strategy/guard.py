"""Whether an entry may be made now: what freqtrade does not ask before it follows a signal (docs/decisions/051)."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from liqsignals.clock import SECOND, decision_time, duration_ns

logger = logging.getLogger(__name__)

#: freqtrade's run modes in which a bot meets an exchange.
LIVE = ("live", "dry_run")
#: Log text of a refused entry, between its pair and its reason; `liqsignals parity` matches it.
REFUSED = "entry refused"
#: Seconds after the signal's candle. From then on freqtrade may have taken an unfinished candle for it.
LATE = 15
#: Seconds by which a candle may close after `now`: more is a clock that is behind the exchange's.
BEHIND = 2
#: Shares of the distance to the stop: what price may have run away from the signal, what it may have run toward the
#: stop, and what bid and ask may be apart.
DRIFT = 0.25
TOWARD = 0.5
SPREAD = 0.1


def refusal(
    frame: pd.DataFrame,
    timeframe: str,
    side: str,
    rate: float,
    now: datetime,
    distance: float,
    book: Callable[[], Mapping[str, Any]] | None = None,
) -> tuple[str, str] | None:
    """Why an entry must not be made, as (word, explanation), or None where it may be.

    `stale`: the last row of `frame` (the analysed candles; `date` is the open, tz-aware UTC) closed LATE seconds or
    longer before `now`, or its `liq_fresh` is not 1. `hole` (with a book, where the frame has the column): its
    `liq_warm` is not 1, so candles are missing within the map's memory, or history is short. `clock`: `now` is behind
    the exchange's clock, for that row closes more than BEHIND seconds after it, or the book's own time (where it has
    one) is LATE seconds after that close. `drift`: `rate` is worse than that row's close by more than DRIFT of
    `distance`, the way to the stop as a fraction of price. `stop`: `rate` is better by more than TOWARD of it, so that
    the stop is near or broken, or there is no way to the stop. `spread`: the best bid and ask of `book()` (live and
    dry-run; as ccxt gives them) are more than SPREAD of it apart, or there is no book. `error`: any of this failed. NaN
    refuses. Raises nothing: freqtrade would enter.
    """
    try:
        return _refusal(frame, timeframe, side, rate, now, distance, book)
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"


def _refusal(
    frame: pd.DataFrame,
    timeframe: str,
    side: str,
    rate: float,
    now: datetime,
    distance: float,
    book: Callable[[], Mapping[str, Any]] | None,
) -> tuple[str, str] | None:
    if len(frame) == 0:
        return "stale", f"there are no candles; {_NEXT}"
    last = frame.iloc[-1]
    closed = int(decision_time(np.array([last["date"].value]), duration_ns(timeframe))[0])
    age = (pd.Timestamp(now).value - closed) / SECOND
    if age < -BEHIND:
        return "clock", f"the newest candle closes {-age:.0f} s from now: this machine's clock is behind; {_SET_CLOCK}"
    if not age < LATE:
        return "stale", f"the newest candle closed {age:.0f} s ago; {_NEXT}"
    if last.get("liq_fresh") != 1:
        return (
            "stale",
            (
                "its candles or open interest are not fresh (liq_fresh). Way out: liqsignals doctor names the file;"
                " leave liqsignals record running, or run liqsignals download"
            ),
        )
    if book is not None and "liq_warm" in last and last["liq_warm"] != 1:
        return (
            "hole",
            (
                "candles are missing within the map's memory of 14 days (liq_warm). Way out: liqsignals doctor names"
                " the hole and the command that fills it"
            ),
        )
    if not 0 < distance < 1:
        return "stop", f"the way to the stop is {distance:.3%} of price; {_NEXT}"
    against = (rate / last["close"] - 1) * (1 if side == "long" else -1)
    if not against <= DRIFT * distance:
        return (
            "drift",
            f"{rate:.8g} is {against:.3%} worse than the signal's close, the stop {distance:.3%} away; {_NEXT}",
        )
    if not -against <= TOWARD * distance:
        return (
            "stop",
            f"{rate:.8g} is {-against:.3%} from the signal's close toward the stop, {distance:.3%} away; {_NEXT}",
        )
    if book is not None:
        try:
            answer = book()
            bid, ask = float(answer["bids"][0][0]), float(answer["asks"][0][0])
        except Exception as error:
            return "spread", f"the order book cannot be had ({type(error).__name__}: {error}); {_NEXT}"
        apart = ask / bid - 1 if bid > 0 else np.nan
        if not 0 <= apart <= SPREAD * distance:
            return (
                "spread",
                f"bid {bid:.8g} and ask {ask:.8g} are {apart:.3%} apart, the stop {distance:.3%} away; {_NEXT}",
            )
        # The book's time is the exchange's own (ms; not every venue sends it).
        there = answer.get("timestamp")
        if there is not None and not (past := (int(there) * 10**6 - closed) / SECOND) < LATE:
            return (
                "clock",
                (
                    f"by the exchange's clock the newest candle closed {past:.0f} s ago, by this machine's {age:.0f} s;"
                    f" {_SET_CLOCK}"
                ),
            )
    return None


_SET_CLOCK = "set it by NTP"
_NEXT = "nothing is to be done, the next signal is waited for"


def is_live(dp: Any) -> bool:
    """Whether a strategy's DataProvider is that of a bot in dry-run or live."""
    return dp is not None and live_mode(getattr(dp, "runmode", None))


def live_mode(runmode: Any) -> bool:
    """Whether a freqtrade run mode (its enum, or its name) is dry-run or live."""
    return str(runmode).split(".")[-1].lower() in LIVE


def orders_sent(runmode: Any) -> bool:
    """Whether a bot in this run mode sends its orders."""
    return str(runmode).split(".")[-1].lower() == "live"


def entry_confirmed(
    dp: Any,
    pair: str,
    timeframe: str,
    side: str,
    rate: float,
    now: datetime,
    tag: str | None,
    distance: Callable[[pd.DataFrame], float],
    trades: Any = None,
) -> bool:
    """Answer of a strategy's `confirm_trade_entry`: True where `refusal` is None.

    `dp` is the strategy's DataProvider; the other arguments are those of the callback and of `refusal`, and
    `distance(frame)` is the way from the last close to the stop (fraction of price; negative: broken), of analysed
    candles with at least one row. `trades` is freqtrade's class Trade, whose database must take a write in dry-run and
    live, or the entry is refused (`database`): freqtrade would place the order and then lose it. The order book is
    asked there, 5 levels. An entry forced by hand (tag `force_entry`) is made: its price was checked by hand. A refusal
    is logged with its reason. Raises nothing: what fails refuses (freqtrade would enter).
    """
    if tag == "force_entry":
        return True
    try:
        frame, _ = dp.get_analyzed_dataframe(pair, timeframe)
        book = (lambda: dp.orderbook(pair, 5)) if is_live(dp) else None
        refused = refusal(frame, timeframe, side, rate, now, distance(frame) if len(frame) else 0.0, book)
        if refused is None and trades is not None and is_live(dp):
            refused = unwritable(trades)
    except Exception as error:
        refused = "error", f"{type(error).__name__}: {error}"
    if refused is not None:
        logger.info("%s: %s (%s): %s", pair, REFUSED, *refused)
    return refused is None


def custom_data(trades: Any) -> Any:
    """freqtrade's class of custom data, from its class of trades; None where that has no database (a backtest's).

    Its session is its own: what is rolled back there leaves trades and orders alone.
    """
    relation = getattr(trades, "custom_data", None)
    return None if relation is None else relation.property.mapper.class_


def unwritable(trades: Any) -> tuple[str, str] | None:
    """Why freqtrade's database takes no write now, as `refusal` puts it; None where it does. Changes nothing."""
    stored = custom_data(trades)
    session = getattr(stored, "session", None)
    if session is None:
        return None
    try:
        # A write of no row takes the same lock, and needs the same right, as one of many.
        session.execute(stored.__table__.update().where(stored.id < 0).values(cd_key=""))
        return None
    except Exception as error:
        found = f"it takes no write ({type(error).__name__}: {error})".replace("\n", " ")
        return "database", f"{found}. Way out: end what locks it, make room on the disk, let the bot's user write it"
    finally:
        session.rollback()


def passes(fresh: pd.Series, condition: pd.Series) -> pd.Series:
    """A family's filter (n,), bool: off without a file for it (`fresh` NaN), closed where its data are stale (0).

    `fresh` is the family's flag, a column of `Signals.attach`; `condition` what the strategy asks of its columns.
    """
    return fresh.isna() | ((fresh == 1) & condition)

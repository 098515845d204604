"""Fast paper trading: a real dry-run bot on a stretch of history, as fast as it can loop."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from liqsignals.clock import HOUR
from liqsignals.replay import bot as driver
from liqsignals.replay.bot import Bot, Session, Settings, Trade
from liqsignals.replay.clock import MarketClock
from liqsignals.replay.session import as_of, replayed


@dataclass(frozen=True)
class Paper:
    """Result of a paper run: the bot's trades, and its dataframe rows at each candle."""

    trades: list[Trade]
    session: Session


def run(settings: Settings, start: int, hours: float, log: Callable[[str], None]) -> Paper:
    """Run a bot from `start` (ns) for `hours`, then stop it.

    The exchange serves the data directory of `settings`; the bot's own copy ends at `start`. `log` gets each line.
    """
    clock = MarketClock(settings.folder / "clock", start // 10**6)
    own = as_of(settings.datadir, start, settings.folder / "data")
    with replayed(settings.datadir, clock) as market:
        bot = Bot(replace(settings, datadir=own), market.overlay, clock)
        log(f"freqtrade's REST API: http://127.0.0.1:{bot.port} user liqsignals password {bot.password}")
        bot.start()
        try:
            until = (start + round(hours * HOUR)) // 10**6
            session = driver.drive(bot, until, market.dwells, each=_log_trades(bot, log))
        finally:
            bot.stop()
    return Paper(driver.trades(settings.database), session)


def _log_trades(bot: Bot, log: Callable[[str], None]) -> Callable[[int], None]:
    """Log each trade's opening and closing once, at the first candle after it."""
    known: set[tuple[str, object, object]] = set()

    def each(close_ms: int) -> None:
        for t in driver.trades(bot.settings.database):
            if (key := (t.pair, t.opened, t.closed)) not in known:
                known.add(key)
                log(sentence(t))

    return each


def sentence(trade: Trade) -> str:
    """One trade as a line of text."""
    side = "short" if trade.is_short else "long"
    begun = f"{trade.opened:%Y-%m-%d %H:%M} {trade.pair} {side} {trade.tag} at {trade.open_rate:g}"
    if trade.closed is None or trade.close_rate is None:
        return f"{begun}, open"
    gain = (trade.close_rate / trade.open_rate - 1) * (-1 if trade.is_short else 1)
    return f"{begun}, {trade.closed:%H:%M} {trade.reason} at {trade.close_rate:g} ({gain:+.2%} of price)"

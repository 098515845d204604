"""Fast paper trading: a real dry-run bot on a stretch of history, as fast as it can loop."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from liqsignals.clock import HOUR, iso
from liqsignals.data import freqtrade
from liqsignals.errors import InputError
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
    Raises InputError where the data of a pair hold no candle of that time, or the bot has analysed none.
    """
    stop = start + round(hours * HOUR)
    check_span(settings, start, stop)
    clock = MarketClock(settings.folder / "clock", start // 10**6)
    own = as_of(settings.datadir, start, settings.folder / "data")
    with replayed(settings.datadir, clock) as market:
        bot = Bot(replace(settings, datadir=own), market.overlay, clock, market.traffic)
        log(f"freqtrade's REST API: http://127.0.0.1:{bot.port} user liqsignals password {bot.password}")
        try:
            bot.start()
            session = driver.drive(bot, stop // 10**6, market.dwells, each=log_trades(bot, log))
        finally:
            bot.stop()
    if not session.rows:
        raise InputError(
            f"the bot has analysed no candle from {iso(start)} to {iso(stop)}",
            "see its log (--keep FOLDER keeps it), or choose a longer or another span: --from, --hours",
        )
    return Paper(driver.trades(settings.database), session)


def check_span(settings: Settings, start: int, stop: int) -> None:
    """Raise InputError unless candles of each pair close in (start, stop] (ns)."""
    for pair in settings.pairs:
        freqtrade.check_pair(settings.datadir, pair)
        found = freqtrade.folded_candles(settings.datadir, pair, "1m")
        if found is None or len(found[1]) == 0:
            raise freqtrade.absent("candles", settings.datadir, pair, None)
        closed = found[1]["event_time"]
        if not ((closed > start) & (closed <= stop)).any():
            raise InputError(
                f"{pair}: no candle in {settings.datadir} closes between {iso(start)} and {iso(stop)}; they reach from "
                f"{iso(closed[0])} to {iso(closed[-1])}",
                "choose a time inside: --from (make paper FROM=...)",
            )


def log_trades(bot: Bot, log: Callable[[str], None]) -> Callable[[int], None]:
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

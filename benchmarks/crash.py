"""What a stop at the exchange is worth in a crash: `python -m benchmarks.crash -d DATADIR [--bot]`.

A long of half the account at 3x is forced at every candle of a span, on the account of the loopback exchange: with a
stop at the exchange, with a bot that looks at the price every five seconds, and with one that is dead in an outage and
has left no stop. Slippage is the exchange's model (docs/decisions/120), not a measurement: inside a candle its path is
continuous. The other bound is that a stop is sold at the lowest price of the candle that set it off. `--bot` runs
unmodified freqtrade through the outage as well, a long forced before it, with and without the stop.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liqsignals.clock import iso, parse_time
from liqsignals.exchange.account import Account
from liqsignals.exchange.archive import Archive
from liqsignals.exchange.course import Course
from liqsignals.exchange.endpoints import ApiError
from liqsignals.replay import rehearsal
from liqsignals.replay.bot import Settings

ROOT = Path(__file__).parents[1]
SECOND, CANDLE = 1000, 300_000
#: Half of 99 % of the account, 3x, a stop 0.8 % away, out after four hours: more than the shipped strategies take.
WALLET, STAKE, LEVERAGE, DISTANCE, HOURS = 10_000.0, 0.495, 3, 0.008, 4
#: A long of that size at one candle. The bare one leaves its stop to the bot.
FORCED = """
import pandas as pd
from freqtrade.strategy import IStrategy


class Forced(IStrategy):
    INTERFACE_VERSION = 3
    timeframe = "5m"
    startup_candle_count = 20
    minimal_roi = {{"0": 10}}
    stoploss = -{stoploss}
    order_types = {{"entry": "limit", "exit": "market", "stoploss": "market", "stoploss_on_exchange": True}}

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["date"] == pd.Timestamp("{at}"), "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe

    def leverage(self, *args, **kwargs):
        return {leverage}


class ForcedBare(Forced):
    order_types = {{**Forced.order_types, "stoploss_on_exchange": False}}
"""


@dataclass(frozen=True)
class Loss:
    """One forced long: when, its loss of price and of the account, and how far past the stop it was sold (fractions).

    `bound`: of the account, had it been sold at the lowest price of the candle in which it was sold.
    """

    at: int
    price: float
    account: float
    slippage: float
    bound: float


def forced(course: Course, symbol: str, at: int, way: str, back: int) -> Loss:
    """A long from `at` (ms) on. `way`: `exchange` (a stop stands there), `bot` (it looks every 5 s), `dead` (until
    `back`).
    """
    account = Account(course, at, WALLET)
    account.set_isolated(symbol, True)
    account.set_leverage(symbol, LEVERAGE)
    amount = int(STAKE * WALLET * LEVERAGE / course.last(symbol, at) / account.step(symbol)) * account.step(symbol)
    order = account.place(symbol, 1, "MARKET", round(amount, 8), 0.0, "GTC", False, "in", at)
    entry = order.cost / account.coins(symbol, order.done)
    stop, end = entry * (1 - DISTANCE), at + HOURS * 3600 * SECOND

    def sell(now: int) -> None:
        account.advance(now)
        if held := account.position(symbol).lots:
            account.place(symbol, -1, "MARKET", account.coins(symbol, held), 0.0, "GTC", True, "out", now)

    if way == "exchange":
        try:
            # The bot's next loop.
            price = -(-stop // account.tick(symbol)) * account.tick(symbol)
            account.advance(at + 5 * SECOND)
            account.place_stop(symbol, -1, "STOP_MARKET", account.coins(symbol, order.done), round(price, 8), 0.0, "GTC",
                               "CONTRACT_PRICE", True, "stop", at + 5 * SECOND)  # fmt: skip
        except ApiError:
            sell(at + 5 * SECOND)  # freqtrade's emergency exit
    else:
        for now in range(at if way == "bot" else max(at, back), end, 5 * SECOND):
            if course.last(symbol, now) <= stop:
                sell(now)
                break
    sell(end)
    sold = [fill for fill in account.ledger.fills if fill.side < 0]
    out = sum(fill.lots * fill.price for fill in sold) / sum(fill.lots for fill in sold)
    past = (stop - out) / stop if out < stop else 0.0
    minutes = course.archive.finest(symbol, "futures")
    frame = course.archive.frame(symbol, "futures", minutes or 5)
    assert frame is not None
    low = float(frame.columns[2][int(np.searchsorted(frame.date, sold[-1].at, side="right")) - 1])
    lost = account.wallet / WALLET - 1
    return Loss(
        at,
        out / entry - 1,
        lost,
        past,
        lost - max(out - low, 0.0) * sum(f.lots for f in sold) * account.step(symbol) / WALLET,
    )


def table(course: Course, symbol: str, start: int, stop: int, down: tuple[int, int]) -> Iterator[str]:
    entries = range(start, stop, CANDLE)
    yield f"{symbol}: a long forced at each of {len(entries)} candles from {iso(start * 10**6)}, stop {DISTANCE:.1%} away"
    for way, words in (
        ("exchange", "stop at the exchange"),
        ("bot", "bot every 5 s, no stop there"),
        ("dead", f"bot dead until {iso(down[1] * 10**6)[11:16]}, no stop"),
    ):
        losses = [forced(course, symbol, at + SECOND, way, down[1]) for at in entries]
        worst, past = min(losses, key=lambda one: one.account), max(losses, key=lambda one: one.slippage)
        yield (
            f"  {words:32} worst of account {worst.account:+.2%} (entry {iso(worst.at * 10**6)[11:16]}, price "
            f"{worst.price:+.2%}); farthest past the stop {past.slippage:.3%} (entry {iso(past.at * 10**6)[11:16]}); sold at "
            f"the candle's low instead, worst of account {min(one.bound for one in losses):+.2%}"
        )
    last = down[0] // CANDLE * CANDLE + SECOND
    for way, words in (("exchange", "stop at the exchange"), ("dead", "no stop")):
        one = forced(course, symbol, last, way, down[1])
        yield (
            f"  outage {iso(down[0] * 10**6)[11:16]}-{iso(down[1] * 10**6)[11:16]}, long since {iso(one.at * 10**6)[11:16]}, "
            f"{words}: price {one.price:+.2%}, account {one.account:+.2%}, past the stop {one.slippage:.3%}, at the candle's low account {one.bound:+.2%}"
        )


def bot(datadir: Path, pairs: tuple[str, ...], down: tuple[int, int]) -> Iterator[str]:
    """The outage with unmodified freqtrade, a long of each pair forced at the last candle before it."""
    at = down[0] // CANDLE * CANDLE
    for name in ("Forced", "ForcedBare"):
        with tempfile.TemporaryDirectory(prefix="liqsignals-") as folder:
            strategies = Path(folder) / "strategies"
            strategies.mkdir()
            opened, stoploss = iso((at - CANDLE) * 10**6), round(DISTANCE * LEVERAGE, 6)
            (strategies / "Forced.py").write_text(FORCED.format(at=opened, stoploss=stoploss, leverage=float(LEVERAGE)))
            settings = Settings(
                ROOT / "config.json", Path(folder), datadir, name, strategies, pairs, "5m", Path(folder) / "run"
            )
            found = rehearsal.run(settings, (at - 2 * CANDLE) * 10**6, 1.0, lambda line: None, down=[down])
        yield f"freqtrade, {'with' if name == 'Forced' else 'without'} the stop at the exchange:"
        for trade in found.trades:
            if trade.close_rate is not None:
                yield (
                    f"  {trade.pair} {trade.open_rate:g} -> {trade.close_rate:g} at {trade.closed} {trade.reason}: "
                    f"{trade.close_rate / trade.open_rate - 1:+.2%} of price, stop {trade.stop:g}, "
                    f"past it {max(1 - trade.close_rate / trade.stop, 0.0):.3%}"
                )
        yield from (f"  {line}" for line in rehearsal.lines(found))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-d", "--datadir", type=Path, required=True)
    parser.add_argument("--pairs", default="BTC/USDT:USDT ETH/USDT:USDT")
    parser.add_argument("--from", dest="start", default="2025-10-10T20:00:00Z")
    parser.add_argument("--until", default="2025-10-10T22:00:00Z")
    parser.add_argument("--down", nargs=2, default=["2025-10-10T20:51:00Z", "2025-10-10T21:19:00Z"])
    parser.add_argument("--bot", action="store_true")
    given = parser.parse_args()
    start, until, *down = (parse_time(text) // 10**6 for text in (given.start, given.until, *given.down))
    pairs = tuple(given.pairs.split())
    course = Course(Archive(given.datadir))
    for pair in pairs:
        for line in table(course, pair.split(":")[0].replace("/", ""), start, until, (down[0], down[1])):
            print(line, flush=True)
    if given.bot:
        for line in bot(given.datadir, pairs, (down[0], down[1])):
            print(line, flush=True)


if __name__ == "__main__":
    main()

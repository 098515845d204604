"""kill -9 of a live bot at random instants of its orders, or faults of the signed endpoints: `make kill-orders`.

    python tests/kill_orders.py [--kills 200] [--faults 0] [--seed 1] [--alone] [--verbose]

Unmodified freqtrade, `dry_run: false`, on a loopback exchange that takes its orders. At a random order the bot is
killed: before the exchange has it, after it was taken and before it is answered, or up to a quarter of a second after
the answer. Then, as a watcher would, strategy/watch.py compares exchange and database and acts, and the bot starts
again; `--alone` leaves that out. Counted are positions without a stop of their amount 10 s after the restart, orders
that no database knows, and trades lost or doubled. With --faults the bot lives on, and answers are lost or refused
instead.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ccxt
from aiohttp import web
from aiohttp.typedefs import Handler
from conftest import PAIR, ROOT, make_market, ns, write_datadir
from forked import Server
from rehearsed import strategies

from liqsignals.exchange.account import Account
from liqsignals.replay import bot as driver
from liqsignals.replay.bot import Bot, BotDied, Settings
from liqsignals.replay.clock import MarketClock
from liqsignals.replay.rehearsal import check_loopback
from liqsignals.replay.session import as_of, replayed
from liqsignals.sources import binance
from liqsignals.strategy import watch

MINUTE = 60_000
SYMBOL = "BTCUSDT"
#: Large enough for orders that the book takes in parts only.
WALLET = 150_000.0
MODES = ("before", "unanswered", "answered")
#: Loops of a second for which the watch looks where something is amiss.
_LOOK = 16
#: HTTP status and Binance's code, and whether the exchange has taken the request all the same.
FAULTS: dict[str, tuple[int, int, bool]] = {
    "answer lost": (0, 0, True),
    "connection lost": (0, 0, False),
    "503": (503, -1008, False),
    "503, taken": (503, -1007, True),
    "-1021": (400, -1021, False),
    "-2010": (400, -2010, False),
    "-4131": (400, -4131, False),
    "429": (429, -1003, False),
}


@dataclass
class Chaos:
    """The middleware that kills, or answers wrongly, at the n-th order from now."""

    rng: random.Random
    modes: tuple[str, ...]
    pid: int = 0
    due: int = -1
    mode: str = ""
    done: Counter[str] = field(default_factory=Counter)

    def arm(self) -> None:
        self.due, self.mode = self.rng.randint(1, 5), self.rng.choice(self.modes)

    def middleware(self) -> Any:
        @web.middleware
        async def meddle(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.method == "GET" or request.headers.get("X-Watch") or not request.path.lower().endswith("order"):
                return await handler(request)
            self.due -= 1
            if self.due != 0:
                return await handler(request)
            what = f"{self.mode}: {request.method} {request.path.rpartition('/')[2]}"
            self.done[what] += 1
            if self.mode in MODES:
                return await self._kill(request, handler)
            status, code, taken = FAULTS[self.mode]
            if taken:
                await handler(request)
            self.arm()
            if not status:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            return web.json_response({"code": code, "msg": self.mode}, status=status)

        return meddle

    async def _kill(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.mode == "before":
            os.kill(self.pid, signal.SIGKILL)
            return web.Response(status=503)
        response = await handler(request)
        if self.mode == "unanswered":
            os.kill(self.pid, signal.SIGKILL)
        else:
            asyncio.get_running_loop().call_later(self.rng.uniform(0.0, 0.25), os.kill, self.pid, signal.SIGKILL)
        return response


@dataclass
class Found:
    """What was counted."""

    kills: int = 0
    #: Positions without a stop of their amount 10 s after a restart, and alarms of the watch later.
    bare: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    #: What the watch did, by its reason.
    remedies: Counter[str] = field(default_factory=Counter)
    chaos: Counter[str] = field(default_factory=Counter)
    trades: int = 0
    #: Worth of what was filled and belongs to no trade, quote units: profit of what the watch closed.
    unbooked: int = 0

    @property
    def clean(self) -> bool:
        return not (self.bare or self.orphans or self.lost)


class Trial:
    """One bot, killed again and again."""

    def __init__(self, folder: Path, seed: int, alone: bool, faults: bool, verbose: bool) -> None:
        self.rng = random.Random(seed)
        self.chaos = Chaos(self.rng, tuple(FAULTS) if faults else MODES)
        self.found = Found()
        self.alone, self.verbose = alone, verbose
        market = make_market(24.0, seed=seed + 10, volatility=0.002)
        self.full = write_datadir(folder / "full", market)
        self.at = int(ns(market.candles["date"])[2 * 288])
        self.end = int(ns(market.candles["date"])[-2]) // 10**6
        self.folder = folder
        self.persisting = watch.Persisting()
        self.stops = watch.StopWatch()

    def run(self, kills: int, faults: int) -> Found:
        clock = MarketClock(self.folder / "clock", self.at // 10**6)
        (self.folder / "user_data").mkdir()
        settings = Settings(
            ROOT / "config.json", self.folder / "user_data", as_of(self.full, self.at, self.folder / "data"), "Turn",
            strategies(self.folder), (PAIR,), "5m", self.folder / "run", live=True,
        )  # fmt: skip
        with replayed(self.full, clock, wallet=WALLET, middlewares=[self.chaos.middleware()]) as market:
            assert market.account is not None
            self.account: Account = market.account
            self.clock, self.market = clock, market
            self.bot = Bot(settings, market.overlay, clock, market.traffic)
            check_loopback(self.bot.configs)
            self.api = client(market.overlay, clock)
            self.server = Server(self.bot.environment)
            try:
                self._start()
                while self.found.kills < kills and clock.now_ms() < self.end:
                    self._one()
                self.chaos.arm() if faults else None
                while sum(self.chaos.done.values()) < faults and clock.now_ms() < self.end:
                    self._watched(clock.now_ms() + 30 * MINUTE)
                self.chaos.due = -1
                self._watched(clock.now_ms() + 25 * MINUTE)
                self._audit()
            finally:
                self.bot.kill()
                self.server.close()
        self.found.chaos = self.chaos.done
        return self.found

    def _start(self) -> None:
        """The bot from its start through its first loop."""
        self.bot.gate.shut()
        console = self.bot.settings.folder / "console.log"
        self.bot.process = self.server.start(self.bot.command, console)  # type: ignore[assignment]
        self.chaos.pid = self.bot.process.pid
        self.bot.loop()

    def _one(self) -> None:
        """Until the bot is killed, and until it has run for half a minute again."""
        self.chaos.arm()
        try:
            while True:
                self._watched(self.clock.now_ms() + 5 * MINUTE)
        except BotDied:
            self.bot.kill()
        self.found.kills += 1
        self._say(f"killed ({self.chaos.mode})")
        self.chaos.due = -1
        if self.rng.random() < 0.5:
            self.clock.set(self.clock.now_ms() + self.rng.randrange(0, 8 * MINUTE))
        self.account.advance(self.clock.now_ms())
        self._remedy(at_once=True)
        restart = self.clock.now_ms()
        self._start()
        while self.clock.now_ms() < restart + 10_000:
            self.bot.loop()
            self._remedy()
        self.account.advance(self.clock.now_ms())
        known = watch.in_database(self.bot.settings.database).known
        for pair, held in self._exchange().positions.items():
            # By the bot's own stops: the watch may have placed one.
            covered = self._exchange().covered(pair, known)
            if abs(held + covered) > 1e-9:
                self._bad(
                    self.found.bare, f"10 s after restart {self.found.kills}: {held:g} held, {-covered:g} covered"
                )

    def _watched(self, until: int) -> None:
        """Drive the bot through candles, with the watch looking between its loops."""
        step = 5 * MINUTE
        while self.clock.now_ms() < until:
            close = (self.clock.now_ms() // step + 1) * step
            for at in (*self.market.dwells(close - step, close), close + 1000):
                if at > self.clock.now_ms():
                    self.clock.set(at)
                    for number in range(_LOOK):
                        self.bot.loop()
                        # A watcher looks every few seconds; while all is well, it need not.
                        if not self._remedy() and number >= 2:
                            break

    def _remedy(self, at_once: bool = False) -> bool:
        """Look as a watcher does, and act unless `alone`; whether anything is amiss."""
        now = self.clock.now_ms()
        self.account.advance(now)
        exchange, books = self._exchange(), watch.in_database(self.bot.settings.database)
        for alarm in self.stops.look(now, exchange):
            self._bad(self.found.bare, alarm)
        amiss = self.stops.bare or watch.differences(exchange, books)
        if self.alone:
            return bool(amiss)
        actions = watch.remedies(exchange, books)
        if not at_once:
            kept = self.persisting.of(now, [action.case for action in actions])
            actions = [action for action in actions if action.at_once or action.case in kept]
        for number, action in enumerate(actions):
            self._say(f"remedy: {action}")
            self.found.remedies[f"{action.kind}: {action.why.split('g is')[-1].lstrip('-0123456789. ')}"] += 1
            watch.act(self.api, action, f"{now}-{number}")
        return bool(amiss)

    def _exchange(self) -> watch.Exchange:
        return standing(self.account, (PAIR,))

    def _audit(self) -> None:
        """Every fill of the exchange is in the database, or was closed by the watch; nothing stands that it does not
        know.
        """
        books = watch.in_database(self.bot.settings.database)
        for order in self._exchange().orders:
            if order.id not in books.known:
                self._bad(self.found.orphans, f"{order}")
        for pair, amount in watch.unexplained(self._exchange(), books).items():
            self._bad(self.found.lost, f"{pair}: {amount:g} unexplained at the end")
        stored = {str(id_) for id_ in stored_fills(self.bot.settings.database)}
        known = stored | {str(s.order) for s in self.account.stops.values() if str(s.id) in stored}
        strange = [f for f in self.account.ledger.fills if str(f.order) not in known]
        closing = {o.id for o in self.account.orders.values() if o.client.startswith(watch.CLIENT)}
        balance = sum(fill.side * fill.lots for fill in strange)
        self.found.unbooked = len({fill.order for fill in strange} - closing)
        if balance:
            self._bad(self.found.lost, f"{balance} lots filled in no stored order and not closed by the watch")
        for id_, filled in stored_fills(self.bot.settings.database).items():
            stop = self.account.stops.get(id_)
            order = self.account.orders.get(id_ if stop is None else stop.order or 0)
            done = self.account.coins(SYMBOL, order.done) if order else 0.0
            if abs(done - filled) > 1e-9 and (order is None or not order.live):
                self._bad(self.found.lost, f"order {id_}: {filled:g} stored as filled, {done:g} filled")
        trades = driver.trades(self.bot.settings.database)
        self.found.trades = len(trades)
        live = Counter(trade.pair for trade in trades if trade.closed is None)
        for pair, count in live.items():
            if count > 1:
                self._bad(self.found.lost, f"{pair}: {count} open trades")

    def _bad(self, where: list[str], text: str) -> None:
        where.append(text)
        self._say(f"BAD {text}")

    def _say(self, text: str) -> None:
        if self.verbose:
            print(f"{self.clock.now_ms() % 86_400_000 / 1000:9.1f} {text}", flush=True)


def standing(account: Account, pairs: Sequence[str]) -> watch.Exchange:
    """What watch.at_exchange asks for, without its requests (test_account.py)."""
    held, orders = {}, []
    for pair in pairs:
        symbol = binance.symbol(pair)
        if lots := account.position(symbol).lots:
            held[pair] = account.coins(symbol, lots)
        for stop, found in ((False, account.open_orders(symbol)), (True, account.open_stops(symbol))):
            orders += [
                watch.Open(str(o.id), pair, o.side * account.coins(symbol, o.lots if stop else o.left), stop, o.reduce)
                for o in found
            ]
    return watch.Exchange(held, tuple(orders))


def stored_fills(database: Path) -> dict[int, float]:
    """Filled amount by order of a freqtrade database."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return {int(id_): filled or 0.0 for id_, filled in connection.execute("select order_id, filled from orders")}
    finally:
        connection.close()


def client(overlay: Path, clock: MarketClock) -> Any:
    """A watcher's ccxt, at the loopback exchange."""
    exchange = json.loads(overlay.read_text())["exchange"]
    options = {**exchange["ccxt_config"]["options"], "defaultType": "swap"}
    api = ccxt.binance(
        {"apiKey": exchange["key"], "secret": exchange["secret"], **exchange["ccxt_config"], "options": options}
    )
    api.headers = {"X-Watch": "1"}
    api.nonce = clock.now_ms
    return api


def trial(
    kills: int, faults: int, seed: int, alone: bool = False, verbose: bool = False, keep: Path | None = None
) -> Found:
    with tempfile.TemporaryDirectory(prefix="liqsignals-") as folder:
        if keep is not None:
            keep.mkdir()
        return Trial(keep or Path(folder), seed, alone, faults > 0, verbose).run(kills, faults)


def report(found: Found) -> str:
    return "\n".join(
        [
            f"{found.kills} kills, {sum(found.chaos.values())} instants: {dict(sorted(found.chaos.items()))}",
            f"{found.trades} trades; {found.unbooked} entries that freqtrade never stored; remedies: {dict(found.remedies)}",
            f"position without stop > 10 s: {len(found.bare)}, orphan orders: {len(found.orphans)}, "
            f"trades lost or doubled: {len(found.lost)}",
            *[f"  {text}" for text in (*found.bare[:10], *found.orphans[:10], *found.lost[:10])],
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--faults", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--keep", type=Path, help="new folder for the bot's files")
    options = parser.parse_args()
    if options.faults:
        options.kills = 0
    result = trial(options.kills, options.faults, options.seed, options.alone, options.verbose, options.keep)
    print(report(result))
    sys.exit(0 if result.clean else 1)

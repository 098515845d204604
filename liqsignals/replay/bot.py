"""A real dry-run bot on the loopback exchange: unmodified `freqtrade trade`, driven candle by candle.

The market clock stands while the bot works (clock.py), and is stepped while it waits for its next loop (gate.py). At
each candle's close the driver lets it through a loop and waits for its end, then shows it the prices at which the next
candle dwells, each for a whole loop, and steps on. So a bot on a busy machine misses nothing, and two runs are the same
run. What it costs: a bot here is never late. For one that may be, run it beside `liqsignals replay --speed`.
"""

import base64
import json
import os
import re
import secrets
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from liqsignals.clock import duration_ns
from liqsignals.collect.freqtrade_command import command
from liqsignals.errors import InputError
from liqsignals.files import replaced
from liqsignals.replay.clock import MarketClock
from liqsignals.replay.gate import Gate
from liqsignals.replay.idle import Idle, Traffic
from liqsignals.sources import binance

#: A loop that takes so much of the bot's own CPU time, or so many pauses, never ends.
_HANGS = 200.0
_HANGS_PAUSES = 2000
#: CPU seconds without a step of the clock after which it goes on by a millisecond. asyncio spins at the very instant of
#: a timer while a clock of this size stands: its resolution of 1 ns vanishes in a float of 1.7e9 s.
_SPIN = 0.5
#: A bot that waits for so long (seconds of this machine's) waits for its own clock, as freqtrade does after a 429: a
#: market second passes. Its time.sleep ends at once where the clock stands, its asyncio.sleep never.
_PAUSES = 0.25
#: The same where an answer of the exchange waits for the clock.
_ANSWERS = 0.05
#: After a candle's close, ms: freqtrade waits a second for the exchange to have it.
_SETTLED = 1000
#: Seconds between looks at the bot's log.
_POLL = 0.004
_HEARTBEAT = re.compile(rb"^(\S+ \S+?),\d+ - freqtrade\.worker - INFO - Bot heartbeat.*state='(\w+)'", re.MULTILINE)
#: What freqtrade logs before it tells its end at the gate, and a new configuration: its begin and that it is ready.
_ENDS, _RELOADS = b"worker found ... calling exit", b"to: RELOAD_CONFIG"
#: Loops at an instant: freqtrade sees in the second what an order of the first came to.
_LOOPS = 2


class BotDied(InputError):
    """The bot's process ended by itself, or hangs: a strategy or configuration that freqtrade refuses, most often. The
    message has the end of its log.
    """


@dataclass(frozen=True)
class Settings:
    """What to run: freqtrade's own options, and where the run keeps its files."""

    config: Path
    userdir: Path
    datadir: Path
    strategy: str
    strategy_path: Path
    pairs: tuple[str, ...]
    timeframe: str
    #: Folder of the run: configuration, log, database.
    folder: Path
    #: Configuration that goes before the user's.
    more: Mapping[str, Any] = field(default_factory=dict)
    #: Whether it sends its orders (rehearsal.py, to a loopback exchange with an account) instead of running dry.
    live: bool = False

    @property
    def database(self) -> Path:
        return self.folder / "trades.sqlite"

    @property
    def log(self) -> Path:
        return self.folder / "freqtrade.log"


class Bot:
    """One `freqtrade trade` process, watched through its REST API (loopback only, random password).

    Whatever the user's configuration and environment say, it runs dry (unless `Settings.live`), sends nothing (no
    Telegram, no webhooks) and keeps its own database.
    """

    def __init__(self, settings: Settings, overlay: Path, clock: MarketClock, traffic: Traffic) -> None:
        self.settings = settings
        self.clock = clock
        self.traffic = traffic
        self.password = secrets.token_urlsafe(24)
        self.port = free_port()
        # freqtrade's own environment variables would count more than every configuration.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FREQTRADE__")}
        self.gate = Gate()
        self.environment = {**kept, **clock.environment(), "NOTIFY_SOCKET": self.gate.name}
        settings.folder.mkdir(parents=True, exist_ok=True)
        own = settings.folder / "bot.json"
        with replaced(own, private=True) as staged:  # it holds the password
            staged.write_text(json.dumps(self._config(), indent=1))
        #: Configurations in the order in which freqtrade reads them: the later one counts.
        self.configs = (settings.config, overlay, own)
        self.command = command(
            "trade", self.configs, settings.userdir, settings.datadir, "--strategy", settings.strategy,
            "--strategy-path", str(settings.strategy_path), "--logfile", str(settings.log),
        )  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        #: Bytes of the log that were read, and the last heartbeat in them.
        self._logged = settings.log.stat().st_size if settings.log.exists() else 0
        self._beat = 0
        #: False where freqtrade has stopped itself, as it does when markets cannot be read: trades are left alone then.
        self.trading = True

    def _config(self) -> dict[str, Any]:
        return {
            # Nobody watches a driven bot, unless what is laid over says so.
            "liqsignals": {"watcher": False},
            **self.settings.more,
            "dry_run": not self.settings.live,
            "db_url": f"sqlite:///{self.settings.database.resolve()}",
            "timeframe": self.settings.timeframe,
            "initial_state": "running",
            # One line in the log at the end of each loop by a clock that goes on by a second for each.
            "internals": {"heartbeat_interval": 0.5, "sd_notify": True},
            "exchange": {
                "pair_whitelist": list(self.settings.pairs),
                # A step of the clock would make every time-out due at once.
                "ccxt_config": {"timeout": 10**9},
            },
            "telegram": {"enabled": False},
            "webhook": {"enabled": False},
            "discord": {"enabled": False},
            "api_server": {
                "enabled": True,
                "listen_ip_address": "127.0.0.1",
                "listen_port": self.port,
                "username": "liqsignals",
                "password": self.password,
                "jwt_secret_key": secrets.token_urlsafe(32),
                "verbosity": "error",
            },
        }

    def start(self) -> None:
        """Start the process and wait until its first loop is over."""
        self.gate.shut()
        with (self.settings.folder / "console.log").open("ab") as console:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=console, stderr=console)
        self.loop()

    def stop(self) -> None:
        """Ask it to end, as Ctrl-C does; the clock goes on so that its time-outs come."""
        if self.process is None:
            return
        # The library by which it comes to the gate swallows the exception that the signal raises.
        self.gate.open()
        self.process.terminate()
        asked = self.clock.now_ms()
        deadline = time.monotonic() + 30.0
        while self.process.poll() is None:
            self.clock.set(self.clock.now_ms() + 200)
            if self._last_loop() > asked + 2000:
                self.process.terminate()
                asked = self.clock.now_ms()
            if time.monotonic() > deadline:
                self.process.kill()
            time.sleep(0.02)
        self.process = None

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.gate.open()

    def get(self, path: str) -> Any:
        """Answer of the bot's REST API. Raises OSError where there is none."""
        with urllib.request.urlopen(self._request(path), timeout=_HANGS) as answer:
            return json.load(answer)

    def _request(self, path: str) -> urllib.request.Request:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/v1/{path}")
        request.add_header(
            "Authorization", "Basic " + base64.b64encode(f"liqsignals:{self.password}".encode()).decode()
        )
        return request

    def resume(self) -> None:
        """Let a bot that has stopped itself go on, as `/start` does."""
        request = self._request("start")
        request.method = "POST"
        urllib.request.urlopen(request, timeout=_HANGS).close()

    def loop(self) -> None:
        """Step the clock on by a second, let the bot through a loop and wait until it is over.

        The clock goes on by itself while the bot waits for it (idle.py): to the instant until which an answer of the
        exchange is delayed, or by a second.
        """
        assert self.process is not None
        self.clock.set(self.clock.now_ms() + 1000)
        asked = self.clock.now_ms() // 1000 * 1000
        self.gate.let()
        idle = Idle(self.process.pid, self.traffic)
        limit, pauses, spins = idle.ran + _HANGS, 0, idle.ran + _SPIN
        while self._last_loop() < asked:
            self._alive(idle.ran > limit or pauses > _HANGS_PAUSES)
            due = min(self.traffic.waiting, default=0)
            if idle.lasts(_ANSWERS if due else _PAUSES):
                self.clock.set(max(self.clock.now_ms(), due) if due else self.clock.now_ms() + 1000)
                idle.restart()
                pauses += 1
                spins = idle.ran + _SPIN
            elif idle.ran > spins:
                self.clock.set(self.clock.now_ms() + 1)
                spins = idle.ran + _SPIN
            time.sleep(_POLL)

    def newest(self, pair: str) -> dict[str, Any] | None:
        """The newest analysed row of a pair as the bot has it, None before the first one."""
        try:
            answer = self.get(f"pair_candles?pair={quote(pair, safe='')}&timeframe={self.settings.timeframe}&limit=1")
        except (OSError, HTTPException, ValueError):  # no candles yet, or it is ending
            return None
        return dict(zip(answer["columns"], answer["data"][-1], strict=True)) if answer["data"] else None

    def _last_loop(self) -> int:
        """When the last loop ended (ms), 0 before the first: from the log, for the bot answers slowly while it works."""
        try:
            with self.settings.log.open("rb") as log:
                if log.seek(0, os.SEEK_END) < self._logged:
                    self._logged = 0  # freqtrade has begun a new file
                log.seek(self._logged)
                new = log.read()
        except FileNotFoundError:
            return 0
        whole = new[: new.rfind(b"\n") + 1]
        self._logged += len(whole)
        if _ENDS in whole:
            self.gate.open()
        for _ in range(2 * whole.count(_RELOADS)):
            self.gate.let()
        beats = _HEARTBEAT.findall(whole)
        if beats:
            at, state = (part.decode() for part in beats[-1])
            self._beat = round(datetime.fromisoformat(at + "+00:00").timestamp() * 1000)
            self.trading = state == "RUNNING"
        return self._beat

    def _alive(self, hangs: bool) -> None:
        assert self.process is not None
        code = self.process.poll()
        if code is not None or hangs:
            said = self.settings.log.read_text().splitlines()[-5:] if self.settings.log.exists() else []
            what = f"ended with {code}" if code is not None else "hangs"
            raise BotDied(f"freqtrade {what}; its log {self.settings.log} ends with:\n" + "\n".join(said))


@dataclass
class Session:
    """What a driven bot showed: the newest row of each pair at each candle, when it was first seen."""

    #: (pair, candle's close in ms) -> (row, ms after the close at which it was there).
    rows: dict[tuple[str, int], tuple[dict[str, Any], int]] = field(default_factory=dict)


def drive(
    bot: Bot,
    until_ms: int,
    dwells: Callable[[int, int, Collection[str] | None], Sequence[int]],
    *,
    session: Session | None = None,
    careful: bool = False,
    each: Callable[[int], None] = lambda close_ms: None,
) -> Session:
    """Lead a started bot through every candle that closes after now, up to `until_ms`.

    `dwells` gives the instants between two (ms) at which the price of markets, by symbol, stands somewhere worth
    showing (Replay.dwells). Inside a candle only the prices of open trades are shown, unless `careful`: an entry is
    decided at the close. `each` is called at each close before the bot sees it (the soak kills and mends there).
    """
    session = session or Session()
    step = duration_ns(bot.settings.timeframe) // 1_000_000
    close = (bot.clock.now_ms() // step + 1) * step
    while close <= until_ms:
        bot.clock.set(max(bot.clock.now_ms(), close + _SETTLED))
        each(close)
        for _ in range(_LOOPS):
            bot.loop()
        if not _look(bot, session, close, step):
            bot.loop()
            _look(bot, session, close, step)
        shown = None if careful else _held(bot)
        for at in dwells(close, close + step, shown):
            if not careful and not _held(bot):
                break
            if at > bot.clock.now_ms():
                bot.clock.set(at)
                for _ in range(_LOOPS):
                    bot.loop()
                _look(bot, session, close, step)
        close = (max(bot.clock.now_ms(), close) // step + 1) * step
    return session


def _held(bot: Bot) -> set[str]:
    """Symbols of the bot's open trades."""
    return {binance.symbol(trade.pair) for trade in trades(bot.settings.database) if trade.closed is None}


def _look(bot: Bot, session: Session, close: int, step: int) -> bool:
    """Keep the newest rows; whether every pair's is the candle that has just closed."""
    there = True
    for pair in bot.settings.pairs:
        if (pair, close) in session.rows:
            continue
        row = bot.newest(pair)
        if row is not None and row["__date_ts"] == close - step:
            session.rows[pair, close] = row, bot.clock.now_ms() - close
        else:
            there = False
    return there


@dataclass(frozen=True)
class Trade:
    """One trade, of a bot's database or of a backtest. Instants are tz-aware UTC."""

    pair: str
    is_short: bool
    tag: str
    opened: pd.Timestamp
    closed: pd.Timestamp | None
    open_rate: float
    close_rate: float | None
    reason: str
    stop: float
    leverage: float


_FIELDS = "pair, is_short, enter_tag, open_date, close_date, open_rate, close_rate, exit_reason, stop_loss, leverage"


def trades(database: Path) -> list[Trade]:
    """Every trade of a freqtrade database, in the order of opening."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute(f"select {_FIELDS} from trades order by open_date, id").fetchall()
    finally:
        connection.close()
    return [
        Trade(
            pair, bool(short), tag or "", pd.Timestamp(opened, tz="UTC"),
            None if closed is None else pd.Timestamp(closed, tz="UTC"), open_rate, close_rate, reason or "", stop, leverage,
        )
        for pair, short, tag, opened, closed, open_rate, close_rate, reason, stop, leverage in rows
    ]  # fmt: skip


def from_backtest(row: Mapping[str, Any]) -> Trade:
    """A trade as `freqtrade backtesting` exports it."""
    return Trade(
        row["pair"], row["is_short"], row["enter_tag"] or "", pd.Timestamp(row["open_date"]), pd.Timestamp(row["close_date"]),
        row["open_rate"], row["close_rate"], row["exit_reason"], row["stop_loss_abs"], row["leverage"],
    )  # fmt: skip


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

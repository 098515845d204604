"""A week of the whole stack with real orders on the loopback exchange: `python tests/week.py [--days 7] [--seed 1]`.

Unmodified `freqtrade trade` with `dry_run: false`, `liqsignals record`, `liqsignals serve` and the watcher, on a market
in market time. The exchange fails and lies at random instants (exchange/faults.py); bot, recorder, page and watcher are
killed, one by one, the bot also at its orders, and all at once. What restarts them is named in the report: the
supervisor (this script, by the rules of deploy/systemd and `liqsignals start`), or the watcher by /start. The rules are
the soak's (soak.py), and: no position without a stop of its amount for more than 10 s while the watcher runs, and at
the end nothing at the exchange that the database does not know. Exit code 1 if a rule was broken.

The bot is the shipped SqueezeMomentum without its protections, with more entries, so that a week has orders to kill it
at. The watcher is `operate.watcher.Watcher` in this process: under a stopped clock a process's pauses end at once.
"""

import os
import random
import re
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import ROOT
from kill_orders import MODES, Chaos, standing
from rehearsed import strategies
from soak import (
    MENDED,
    PAIRS,
    STEP,
    Command,
    Recorder,
    Soak,
    check,
    kill_later,
    look,
    mend_at,
    options,
    places,
    recorded,
    refused,
    report,
    resident_mib,
)  # fmt: skip

from liqsignals.clock import DAY, HOUR, iso, parse_time
from liqsignals.collect import freqtrade_command
from liqsignals.exchange.account import Account
from liqsignals.exchange.faults import Fault, random_faults
from liqsignals.operate.start import open_trades
from liqsignals.operate.watcher import Watcher
from liqsignals.replay import bot as driver
from liqsignals.replay import session
from liqsignals.replay.bot import Bot, BotDied, Settings, free_port
from liqsignals.replay.clock import MarketClock
from liqsignals.replay.rehearsal import check_loopback
from liqsignals.replay.session import Replay
from liqsignals.strategy import watch
from liqsignals.strategy.livecheck import Status

STRATEGY = "SqueezeMomentum"
WALLET = 20_000.0
#: deploy/systemd: RestartSec.
RESTART = 5_000
#: A watcher looks every 3 s.
EVERY = 3_000
#: Loops of a second for which the bot is led on where exchange and database differ.
MOST_LOOPS = 16
MINUTE = 60_000
#: Kills a day.
RATES = {"bot": 1.5, "recorder": 1.0, "page": 1.0, "watcher": 1.0, "all four": 0.5}
#: Kills of the bot at one of its orders a day.
ORDER_KILLS = 4.0
CONFIG: dict[str, Any] = {
    "liqsignals": {
        "calibration": "shipped",
        "watcher": True,
        "risk": {"per_trade": 0.00125},
        "allow_unproven": [f"{STRATEGY}:long"],
    }
}
_REFUSED = re.compile(r"entry refused \(([a-z ]+)\)")


def busier(folder: Path) -> Path:
    """The strategies, SqueezeMomentum with more entries."""
    out = strategies(folder)
    path = out / f"{STRATEGY}.py"
    text = path.read_text()
    text, lists = re.subn(r"    protections = \[\n.*?\n    \]\n", "    protections = []\n", text, flags=re.DOTALL)
    text, ranks = re.subn(
        r"record_h = IntParameter\(48, 72, default=72", "record_h = IntParameter(1, 72, default=2", text
    )
    text, trends = re.subn(
        r"adx_min = IntParameter\(15, 35, default=20", "adx_min = IntParameter(5, 35, default=8", text
    )
    assert lists == ranks == trends == 1
    path.write_text(text)
    return out


@dataclass
class Week(Soak):
    """What the soak counts, and what happens at the exchange."""

    #: Who started what again, how often.
    restarts: Counter[str] = field(default_factory=Counter)
    #: What the watcher said, each new line.
    said: list[str] = field(default_factory=list)
    #: Positions without a stop of their amount for longer than 10 s; and those while nobody was there to act, or the exchange
    #: did not answer.
    bare: list[str] = field(default_factory=list)
    powerless: list[str] = field(default_factory=list)
    looks: int = 0


class Page(Command):
    """`liqsignals serve`, asked from time to time."""

    def __init__(self, datadir: Path, bot: Bot, folder: Path) -> None:
        self.port = free_port()
        words = [
            "--datadir", str(datadir), "--pairs", " ".join(PAIRS), "--port", str(self.port),
            "--bot", f"http://127.0.0.1:{bot.port}",
        ]  # fmt: skip
        login = {"FREQTRADE__API_SERVER__USERNAME": "liqsignals", "FREQTRADE__API_SERVER__PASSWORD": bot.password}
        super().__init__("serve", words, login, folder)

    def answers(self, seconds: float = 60.0) -> bool:
        """Whether it serves its page, within so many seconds of its start."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=seconds) as answer:
                    return bool(answer.status == 200 and b"BTC" in answer.read())
            except OSError:
                time.sleep(0.5)
        return False


class Watched(Bot):
    """A bot whose exchange is looked at after each of its loops."""

    watch: Any = None

    def loop(self) -> None:
        for _ in range(MOST_LOOPS):
            super().loop()
            if self.watch is None or not self.watch():
                return


class Trial:
    """One week."""

    def __init__(
        self, datadir: Path, folder: Path, start: int, days: float, seed: int, verbose: bool, alone: bool
    ) -> None:
        self.datadir, self.folder, self.verbose, self.alone = datadir, folder, verbose, alone
        self.rng = random.Random(seed)
        self.found = Week()
        self.start_ns = start
        self.begin, self.end = start // 10**6, start // 10**6 + round(days * DAY / 10**6)
        self.faults: tuple[Fault, ...] = random_faults(seed, self.begin + HOUR // 10**6, self.end, 12.0, PAIRS)
        self.mends = sorted(mend_at(f) for f in self.faults if f.kind in MENDED)
        self.kills = sorted(
            (self.rng.randrange(self.begin + 2 * STEP, self.end - STEP), what)
            for what, rate in RATES.items()
            for _ in range(max(round(rate * days), 1))
        )
        #: From when on (ms) the bot is to be killed at one of its next orders, evenly from the begin; and how often
        #: now.
        span = round(DAY / 10**6 / ORDER_KILLS)
        self.at_orders = list(range(self.begin + STEP, self.end - STEP, span))
        self.wanted = 0
        self.chaos = Chaos(self.rng, MODES)
        self.stops = watch.StopWatch()
        self.watcher: Watcher | None = None
        #: Looks (ms) of the watcher at which the exchange's account answered.
        self.seen: list[int] = []
        #: Since when (ms) the watcher is away, and whether nothing runs at all.
        self.watcher_away: int | None = None
        self.dark = False

    def run(self) -> Week:
        clock = self.clock = MarketClock(self.folder / "clock", self.begin)
        self.own = session.as_of(self.datadir, self.start_ns, self.folder / "data")
        (self.folder / "user_data").mkdir(exist_ok=True)
        with session.replayed(
            self.datadir, clock, faults=self.faults, wallet=WALLET, middlewares=[self.chaos.middleware()]
        ) as market:
            assert market.account is not None
            self.market: Replay = market
            self.account: Account = market.account
            settings = self.settings = Settings(
                ROOT / "config.live.example.json", self.folder / "user_data", self.own, STRATEGY, busier(self.folder),
                PAIRS, "5m", self.folder / "run", CONFIG, live=True,
            )  # fmt: skip
            self.bot = Watched(settings, market.overlay, clock, market.traffic)
            check_loopback(self.bot.configs)
            found = freqtrade_command.configuration(self.bot.configs)
            assert not found.problems, found.problems
            self.config = found.merged
            self.bot.watch = self._watch
            self.recorder = Recorder(self.own, market.port, clock, self.folder)
            self.page = Page(self.own, self.bot, self.folder)
            try:
                self.recorder.start()
                self.page.start()
                self._live()
                self._look_for(MINUTE)
                self._settle()
            finally:
                self.bot.kill()
                self.recorder.kill()
                self.page.kill()
                if self.watcher is not None:
                    self.watcher.close()
            check(self.found, self.datadir, settings, self.faults, self.begin, self.end)
            recorded(self.found, self.datadir, self.own, self.faults)
            report(self.found, self.faults, market.faults, settings, self.begin, self.end, STRATEGY)
        return self.found

    def _live(self) -> None:
        while self.clock.now_ms() < self.end - STEP:
            try:
                if self.bot.process is None:
                    self.bot.start()
                    self.found.resident.append([])
                driver.drive(self.bot, self.end, self.market.dwells, session=self.found.session, each=self._each)
            except BotDied as death:
                self._restart(death)

    def _restart(self, death: BotDied) -> None:
        """As systemd and `liqsignals start` do: after a pause, the download first unless trades are open."""
        assert self.bot.process is not None
        code, went = self.bot.process.poll(), self.clock.now_ms()
        at_order = self.chaos.due == 0
        down = refused(code, self.settings.log)
        if down:
            self.found.kills["ended by itself while the exchange is down or broken"] += 1
        elif code == -signal.SIGKILL:
            self.found.kills.update(["bot at an order"] if at_order else [])
            self.wanted -= at_order
        else:
            self.found.violations.append(f"crash: {death}")
        self.bot.kill()
        self.chaos.due = -1
        self._say(f"the bot is gone ({'no markets' if down else 'at an order' if at_order else 'killed'})")
        if self.dark:
            # The machine is down: nothing watches, orders and stops stand at the exchange.
            self.clock.set(went + self.rng.randrange(MINUTE, 30 * MINUTE))
            self.account.advance(self.clock.now_ms())
            self.found.powerless += self.stops.look(self.clock.now_ms(), standing(self.account, PAIRS))
            for what, process in (("recorder", self.recorder), ("page", self.page)):
                process.start()
                self.found.restarts[f"supervisor: {what}"] += 1
            self._new_watcher()
            self.dark = False
        # The exchange may be down for many minutes: fewer attempts than systemd's.
        self._look_for(5 * MINUTE if down else RESTART)
        if not open_trades(self.settings.database):
            self._look_for(self.rng.randrange(MINUTE, 5 * MINUTE))
            self._mend()
        else:
            self.mends = sorted([*self.mends, self.clock.now_ms() + STEP])
        self.found.away.append((went, self.clock.now_ms()))
        self.found.restarts["supervisor: bot"] += 1

    def _look_for(self, span: int) -> None:
        """Time goes on by `span` (ms) without the bot; the watcher looks."""
        until = self.clock.now_ms() + span
        looks = 0
        while self.clock.now_ms() < until:
            # Every 3 s for half a minute: what it does, it does by then.
            self.clock.set(min(self.clock.now_ms() + (EVERY if looks < 12 else 30_000), until))
            looks += 1
            self._watch()

    def _mend(self) -> None:
        session.as_of(self.datadir, self.clock.now_ms() * 10**6, self.folder / "data")
        self.found.mended.append(self.clock.now_ms())

    def _each(self, close: int) -> None:
        found = self.found
        while self.mends and self.mends[0] <= close:
            self.mends.pop(0)
            self._mend()
        if self.page.process is None or self.recorder.process is None:
            for what, process in (("page", self.page), ("recorder", self.recorder)):
                if process.process is None:
                    process.start()
                    found.restarts[f"supervisor: {what}"] += 1
        while self.kills and self.kills[0][0] <= close and self.bot.process is not None:
            self._kill(self.kills.pop(0)[1])
        while self.at_orders and self.at_orders[0] <= close:
            self.at_orders.pop(0)
            self.wanted += 1
        if self.wanted and self.chaos.due < 0 and self.bot.process is not None:
            self.chaos.pid = self.bot.process.pid
            self.chaos.arm()
        if not self.bot.trading:
            found.kills["freqtrade stopped itself"] += close - STEP not in {end for _, end in found.away}
            found.away.append((close - STEP, close))
        look(found, self.settings.database)
        # Before the bot decides: a watcher has looked within the last 3 s.
        self._watch()
        if close % (3 * HOUR // 10**6) == 0:
            if self.bot.process is not None:
                found.resident[-1].append((close, resident_mib(self.bot.process.pid)))
            if not self.page.answers():
                found.violations.append(f"the page does not answer at {iso(close * 10**6)}")
        if self.verbose and close % (DAY // 10**6) == 0:
            self._say(
                f"kills {dict(found.kills)} faults {sum(self.market.faults.values())} restarts {dict(found.restarts)}"
            )

    def _kill(self, what: str) -> None:
        assert self.bot.process is not None
        self.found.kills[what] += 1
        if what in ("recorder", "all four"):
            self.recorder.kill()
        if what in ("page", "all four"):
            self.page.kill()
        if what in ("watcher", "all four") and self.watcher is not None:
            self.watcher.close()
            self.watcher, self.watcher_away = None, self.clock.now_ms()
        self.dark = what == "all four"
        if what == "all four":
            self.bot.process.kill()
        elif what == "bot":
            late = self.rng.uniform(0.0, 0.6)
            threading.Thread(target=kill_later, args=(self.bot.process, late), daemon=True).start()

    def _new_watcher(self) -> None:
        if self.watcher_away is not None:
            self.found.restarts["supervisor: watcher"] += 1
        self.watcher_away = None
        self.watcher = Watcher(
            self.config, self.settings.userdir, self.own / "liqsignals", self._hear, mend=not self.alone,
            clock=lambda: self.clock.now_ms() * 10**6,
        )  # fmt: skip

    def _hear(self, text: str) -> None:
        self.found.said.append(text)
        self._say(f"watcher: {text}")

    def _watch(self) -> bool:
        """One look of the watcher, and whether something at the exchange is amiss."""
        now = self.clock.now_ms()
        if self.watcher is None and not self.dark and now - (self.watcher_away or 0) >= RESTART:
            self._new_watcher()
        if self.watcher is not None:
            # Beside the clock: an answer may wait for it.
            told: list[Status] = []
            watcher = self.watcher
            looking = threading.Thread(target=lambda: told.append(watcher.look()))
            looking.start()
            while looking.is_alive():
                looking.join(0.002)
                if due := min(self.market.traffic.waiting, default=0):
                    self.clock.set(max(self.clock.now_ms(), due))
            self.found.looks += 1
            if told and not any("account cannot be asked" in text for text in told[0].problems):
                self.seen.append(self.clock.now_ms())
        now = self.clock.now_ms()
        self.account.advance(now)
        there = standing(self.account, PAIRS)
        for alarm in self.stops.look(now, there):
            since = min(begun for _, begun in self.stops.bare.values())
            # It acts on two looks, 5 s apart or more, at which the exchange answered.
            seen = [at for at in self.seen if at >= since]
            able = self.watcher is not None and bool(seen) and seen[-1] - seen[0] >= watch.SETTLED * 1000
            where = self.found.bare if able else self.found.powerless
            where.append(f"{iso(now * 10**6)} {alarm}")
            self._say(f"BAD {alarm}")
        books = watch.in_database(self.settings.database) if self.settings.database.exists() else watch.Books({}, ())
        return bool(self.stops.bare or watch.differences(there, books))

    def _settle(self) -> None:
        """At the end nothing stands at the exchange that the database does not know."""
        books = watch.in_database(self.settings.database)
        self.found.violations += [
            f"at the end: {text}" for text in watch.differences(standing(self.account, PAIRS), books)
        ]

    def _say(self, text: str) -> None:
        if self.verbose:
            print(f"{iso(self.clock.now_ms() * 10**6)} {text}", flush=True)


def summary(found: Week, trial: Trial) -> list[str]:
    """What the soak's report does not have."""
    log = "\n".join(path.read_text() for path in trial.settings.folder.glob("freqtrade.log*"))
    kinds = Counter(re.sub(r"[-\d.:]+(?:e-?\d+)?", "#", text)[:70] for text in found.said)
    return [
        f"restarted by: {dict(sorted(found.restarts.items()))}; by the watcher: "
        f"/start {sum('/start sent' in text for text in found.said)}",
        f"orders killed at: {dict(sorted(trial.chaos.done.items()))}",
        f"looks of the watcher {found.looks}; what it said: {dict(kinds.most_common(12))}",
        f"entries refused: {dict(Counter(_REFUSED.findall(log)))}",
        f"fills {len(trial.account.ledger.fills)}, liquidations {len(trial.account.ledger.liquidations)}, "
        f"account {WALLET:.0f} -> {trial.account.equity(trial.clock.now_ms()):.0f} USDT",
        f"position without its stop > 10 s: {len(found.bare)}; while the machine, the watcher or the exchange was down: {len(found.powerless)}",
        *[f"  {text}" for text in (*found.bare[:10], *found.powerless[:10])],
    ]


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--alone", action="store_true", help="a watcher that only says what is to be done")
    parser.add_argument("--quiet", action="store_true")
    given = parser.parse_args()
    with places(given, "week") as (datadir, folder):
        begun = os.times()
        trial = Trial(datadir, folder, parse_time(given.start), given.days, given.seed, not given.quiet, given.alone)
        found = trial.run()
        ended = os.times()
        print(*summary(found, trial), sep="\n")
        print(f"in {ended.elapsed - begun.elapsed:.0f} s, {sum(ended[:4]) - sum(begun[:4]):.0f} s of CPU")
    return 1 if found.violations or found.bare else 0


if __name__ == "__main__":
    sys.exit(main())

"""`liqsignals watch`: a process beside the bot that sees what the bot cannot see of itself.

Every few seconds it compares this machine's clock with the exchange's, and with real money the exchange's positions,
orders and worth with the bot's database (strategy/watch.py). What it finds is a status file that `confirm_trade_entry`
reads (strategy/livecheck.py). A bot that stopped by an error is started again (restart.py), the recorder's raw files
are aged out (retention.py). It holds no state that a restart loses: the attempts and the day's worth are files.
"""

import json
import re
import shutil
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from liqsignals import venues
from liqsignals.clock import HOUR, SECOND
from liqsignals.errors import InputError
from liqsignals.files import replaced
from liqsignals.operate import refit, restart, retention
from liqsignals.operate.start import database_file, database_url, is_pattern
from liqsignals.sources.times import SERVER_TIMES
from liqsignals.strategy import livecheck, watch
from liqsignals.strategy.livecheck import Status, killed

#: Seconds for which a measured clock counts while new measurements fail.
CLOCK_AGE = 30
#: Seconds between two looks at the bot's state, and at the disk.
BOT_EVERY = 15
DISK_EVERY = 3600
#: Pairs without position or order whose orders are asked for in one round: two requests each.
SWEPT = 10
#: Free bytes below which it says so.
DISK_FREE = 1 << 30


@dataclass
class Watcher:
    """One bot's. `look` does everything once; `run` does it until it is interrupted."""

    #: As freqtrade merges it, with secrets.
    config: Mapping[str, Any] = field(repr=False)
    userdir: Path
    extras: Path
    log: Callable[[str], None]
    #: Address of the bot's REST API; that of the configuration unless given.
    bot: str = ""
    #: Whether it does what strategy/watch.py advises at the exchange, or only says it.
    mend: bool = False
    raw_days: int = 90
    #: Data directory of a weekly refit of the calibration (refit.py); None for none.
    datadir: Path | None = None
    clock: Callable[[], int] = time.time_ns

    def __post_init__(self) -> None:
        exchange = self.config.get("exchange") or {}
        self.exchange = venues.exchange_name(str(exchange.get("name") or ""))
        if self.exchange not in venues.VENUES:
            known = ", ".join(venues.VENUES)
            raise InputError(f"watch: the exchange '{self.exchange}' is not known", f"known are: {known}")
        server = self.config.get("api_server") or {}
        host = str(server.get("listen_ip_address") or "127.0.0.1")
        own = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{server.get('listen_port') or 8080}"
        login = httpx.BasicAuth(str(server.get("username") or ""), str(server.get("password") or ""))
        self._http = httpx.Client(timeout=5.0)
        self._bot = httpx.Client(base_url=self.bot or own, auth=login, timeout=5.0) if self._has_bot() else None
        self.live = not self.config.get("dry_run", True)
        self.api = account(self.config, self.exchange, self.clock) if self.live else None
        self.stops, self.lasting, self.due = watch.StopWatch(), watch.Persisting(), watch.Persisting()
        self.daily = watch.DailyLoss(self.userdir / "liqsignals" / "daily-loss.json")
        self._attempts = self.userdir / "liqsignals" / "starts.json"
        self._measured: tuple[int, float] | None = None
        #: When the bot stopped (ns) that was last answered with a /start which arrived.
        self._answered: int | None = None
        self._next: dict[str, int] = {}
        #: Notes of what is not looked at each time.
        self._found: dict[str, list[str]] = {}
        self._said: set[str] = set()
        #: The bot's pairs when it was asked last, those that had orders, and the last one of the others that was asked for.
        self._listed: tuple[str, ...] = ()
        self._standing: frozenset[str] = frozenset()
        self._swept = ""
        self._job: refit.Job | None = None
        self._first = True

    def _has_bot(self) -> bool:
        return bool(self.bot) or bool((self.config.get("api_server") or {}).get("enabled"))

    def close(self) -> None:
        """Close its connections, and end a refit that runs."""
        if self._job is not None:
            self._job.close()
        for one in (self._http, self._bot):
            if one is not None:
                one.close()

    def run(self, every: float) -> None:
        """Look every so many seconds."""
        while True:
            try:
                self.look()
            except (InputError, OSError) as error:
                # A full disk. The bot enters nothing on an old status; what can be done at the exchange goes on.
                self.log(str(error))
            time.sleep(every)

    def look(self) -> Status:
        """One round; its status is written and returned. Raises InputError where the status cannot be written."""
        problems: list[str] = []
        notes: list[str] = []
        answers = self._measure(notes)
        if self.api is not None:
            problems += self._account(notes)
        if self._bot is not None and self._is_due("bot", BOT_EVERY):
            self._found["bot"] = list(self._revive(answers))
            self._list(self._bot)
        if self._is_due("disk", DISK_EVERY):
            self._found["disk"] = list(self._disk())
        if self.datadir is not None:
            self._refit(self.datadir)
        notes += [note for found in self._found.values() for note in found]
        if why := killed(self.userdir):
            notes.append(f"kill switch: {why}")
        status = Status(self.clock(), self._offset(), tuple(problems), tuple(notes))
        status.write(self.userdir / livecheck.STATUS)
        self._report(status)
        return status

    def _is_due(self, what: str, seconds: float) -> bool:
        now = self.clock()
        if now < self._next.get(what, 0):
            return False
        self._next[what] = now + round(seconds * SECOND)
        return True

    def _measure(self, notes: list[str]) -> bool:
        """Ask for the exchange's clock; whether it answers."""
        urls = (self.config.get("exchange") or {}).get("ccxt_config", {}).get("urls", {}).get("api", {})
        time_of = SERVER_TIMES[self.exchange]
        try:
            begun = self.clock()
            answer = self._http.get(time_of.address(urls))
            ended = self.clock()
            there = time_of.read(answer.raise_for_status().json())
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            notes.append(f"the exchange's clock cannot be asked ({type(error).__name__})")
            return False
        apart = ((begun + ended) / 2 - there) / SECOND
        sure = max(abs(apart) - (ended - begun) / 2 / SECOND, 0.0)
        self._measured = ended, round(sure if apart > 0 else -sure, 3)
        return True

    def _offset(self) -> float | None:
        """This machine's clock minus the exchange's, s: the smallest that the time of an answer allows; None where
        none is new enough.
        """
        if self._measured is None or self.clock() - self._measured[0] > CLOCK_AGE * SECOND:
            return None
        return self._measured[1]

    def _account(self, notes: list[str]) -> list[str]:
        """What forbids entries, by the rules of strategy/watch.py."""
        now = self.clock() // 10**6
        try:
            file = database_file(database_url(self.config, self.userdir))
            if file is None:
                raise InputError("the bot's database is in memory")
            if not file.exists():
                # Without it every position would look like nobody's, and be closed.
                raise InputError(
                    f"there is no database {file}, so nothing is looked after",
                    "--userdir or db_url of the bot; a new bot makes it at its first start",
                )
            books = watch.in_database(file)
            booked = {*books.positions, *(order.pair for order in books.orders)}
            there = watch.at_exchange(self.api, self._asked(booked | self._standing))
            self._standing = frozenset(order.pair for order in there.orders)
            worth = equity(self.api, str(self.config.get("stake_currency") or "USDT"))
        except InputError as error:
            return [str(error)]
        except Exception as error:  # ccxt's; its texts may have the signed address
            return [
                f"the exchange's account cannot be asked ({type(error).__name__}). Way out: see that key and network"
                " work"
            ]
        different = watch.differences(there, books)
        lasting = self.lasting.of(now, different)
        problems = different if self._first else lasting
        self._first = False
        problems = [*problems, *self.stops.look(now, there)]
        ours, others = [], set()
        for action in watch.remedies(there, books):
            if action.pair in booked or self._is_own(action.pair):
                ours.append(action)
            else:
                others.add(action.pair)
        notes += [f"{pair} is none of this bot's pairs: it is left alone" for pair in sorted(others)]
        self._mend(ours, now, notes)
        try:
            if (halted := self.daily.look(now, worth)) is not None:
                problems.append(f"{halted}: remove {self.daily.file}")
        except (InputError, OSError) as error:
            problems.append(str(error))
        return problems

    def _mend(self, actions: Sequence[watch.Action], now: int, notes: list[str]) -> None:
        due = self.due.of(now, [action.case for action in actions])
        for number, action in enumerate(actions):
            if not (action.at_once or action.case in due):
                continue
            what = f"{action.kind} {action.pair} {action.id or f'{action.amount:g}'}: {action.why}"
            if not self.mend:
                notes.append(f"to be done at the exchange (liqsignals watch --mend does it): {what}")
                continue
            self.due.forget(action.case)
            try:
                other = watch.act(self.api, action, f"{now}-{number}")
                notes.append(f"done at the exchange: {what}{f' ({other})' if other else ''}")
            except Exception as error:
                notes.append(f"failed at the exchange ({type(error).__name__}): {what}")

    def _list(self, bot: httpx.Client) -> None:
        """Ask the bot for its pairs; while it does not answer, the last ones count."""
        with suppress(httpx.HTTPError, ValueError, LookupError, TypeError):
            self._listed = tuple(map(str, bot.get("/api/v1/whitelist").raise_for_status().json()["whitelist"]))

    def _asked(self, busy: Set[str]) -> list[str]:
        """Pairs whose orders are asked for now: the `busy` ones, and by turns of the others, all of them at first."""
        others = sorted({*self._pairs(), *self._listed} - busy)
        if not self._first and len(others) > SWEPT:
            begin = bisect_right(others, self._swept) % len(others)
            others = [*others[begin:], *others[:begin]][:SWEPT]
            self._swept = others[-1]
        return sorted(busy | set(others))

    def _pairs(self) -> list[str]:
        """The pairs that the configuration names, patterns left out."""
        return [pair for pair in self._named() if "/" in pair and not is_pattern(pair)]

    def _named(self) -> list[str]:
        return list(map(str, (self.config.get("exchange") or {}).get("pair_whitelist") or []))

    def _is_own(self, pair: str) -> bool:
        """Whether the bot may trade a pair: the configuration names it, or the bot listed it when it was asked last."""
        return pair in self._listed or any(_matches(name, pair) for name in self._named())

    def _revive(self, answers: bool) -> Iterator[str]:
        """Start a bot again that stopped by an exception (restart.py), where the exchange `answers`.

        Where it does not, freqtrade's start would end the process: it loads the markets outside of what it catches.
        """
        assert self._bot is not None
        try:
            state = self._bot.get("/api/v1/show_config").raise_for_status().json()["state"]
            if state != "stopped":
                return
            logs = self._bot.get("/api/v1/logs", params={"limit": 1000}).raise_for_status().json()["logs"]
            throttle = (self.config.get("internals") or {}).get("process_throttle_secs", 5)
            command = restart.wanted(logs, float(throttle))
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            yield f"the bot's REST API does not answer ({type(error).__name__})"
            return
        now, sent = self.clock(), self._sent()
        # Stopped again without a newer stop in the log: a /stop before the loop that the /start was for.
        if command is None or command[1] == self._answered:
            yield "the bot is stopped, by a human's word: it is left alone"
        elif killed(self.userdir) or self._drawdown():
            yield "the bot stopped by an exception; it is not started, for the kill switch or the drawdown stop is on"
        elif not answers:
            yield "the bot stopped by an exception; it is started when the exchange answers"
        elif not restart.due(command[1], sent, now):
            yield f"the bot stopped by an exception; {len(sent)} attempts within the hour, the next one waits"
        else:
            # Counted before it is sent: an answer that is lost must not make a fourth.
            self._store([*sent, now])
            try:
                self._bot.post(f"/api/v1/{command[0]}").raise_for_status()
                self._answered = command[1]
                yield f"the bot stopped by an exception: /{command[0]} sent, attempt {len(sent) + 1} within the hour"
            except httpx.HTTPError as error:
                yield f"/{command[0]} could not be sent ({type(error).__name__})"

    def _drawdown(self) -> bool:
        """Whether a drawdown stop is on; one that cannot be read is."""
        for path in self.userdir.glob("liqsignals-drawdown-*.json"):
            try:
                if json.loads(path.read_text()).get("stopped_at") is not None:
                    return True
            except (OSError, ValueError, AttributeError):
                return True
        return False

    def _sent(self) -> list[int]:
        """Attempts within the hour, ns; a file that cannot be read counts as all of them."""
        now = self.clock()
        try:
            return [int(at) for at in json.loads(self._attempts.read_text()) if now - int(at) < HOUR]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError):
            return [now] * restart.MOST

    def _store(self, sent: Sequence[int]) -> None:
        self._attempts.parent.mkdir(parents=True, exist_ok=True)
        with replaced(self._attempts) as staged:
            staged.write_text(json.dumps(list(sent)))

    def _disk(self) -> Iterator[str]:
        """Age out raw files, and say what is free."""
        try:
            removed = retention.prune(self.extras, self.clock(), self.raw_days)
            if removed:
                yield f"{len(removed)} raw files older than {self.raw_days} days, or for want of room, removed"
            free = shutil.disk_usage(self.userdir).free
            if free < DISK_FREE:
                yield f"{free / 2**20:.0f} MiB are free on the disk. Way out: make room"
        except OSError as error:
            yield f"{self.extras}: cannot be cleaned ({error.strerror})"

    def _refit(self, datadir: Path) -> None:
        """Begin a refit once a week where there are prints enough, and take up what came of it."""
        if self._job is not None:
            if (found := self._job.poll()) is not None:
                self._found["refit"], self._job = [found], None
            return
        now = self.clock()
        if not self._is_due("refit", DISK_EVERY) or not refit.due(self.userdir, now):
            return
        if tables := refit.prints(self.extras, self.exchange, self._pairs(), now):
            named = (self.config.get("liqsignals") or {}).get("calibration")
            self._job = refit.Job(
                self.userdir, now, refit.steps(datadir, self.extras, self.userdir, tables, named, now)
            )

    def _report(self, status: Status) -> None:
        """Log what is new."""
        said = {f"entries forbidden: {text}" for text in status.problems} | set(status.notes)
        if status.clock is None or not abs(status.clock) <= livecheck.CLOCK:
            said.add(f"entries forbidden: clock off by {status.clock} s (None: not measured)")
        for text in sorted(said - self._said):
            self.log(text)
        if self._said and not said:
            self.log("all is well again")
        self._said = said


def _matches(name: str, pair: str) -> bool:
    """Whether a name of a whitelist is that of a pair, or a pattern of it, as freqtrade takes it."""
    try:
        return re.fullmatch(name, pair, re.IGNORECASE) is not None
    except re.error:
        return False


def account(config: Mapping[str, Any], exchange: str, clock: Callable[[], int]) -> Any:
    """The bot's account as ccxt gives it, with the configuration's key, addresses and options."""
    try:
        import ccxt
    except ImportError as error:
        raise InputError("watch: ccxt is not installed", "pip install 'liqsignals[bot]'") from error

    own = config.get("exchange") or {}
    more = {**(own.get("ccxt_config") or {}), **(own.get("ccxt_sync_config") or {})}
    if not own.get("key") or not own.get("secret"):
        raise InputError(
            "watch: dry_run is false and there is no key",
            "set FREQTRADE__EXCHANGE__KEY and FREQTRADE__EXCHANGE__SECRET",
        )
    # Bybit's positions are asked for by the currency that they settle in.
    stake = str(config.get("stake_currency") or "USDT")
    options = {"defaultType": "swap", "defaultSettle": stake, **(more.pop("options", None) or {})}
    api = getattr(ccxt, exchange)({"apiKey": own["key"], "secret": own["secret"], **more, "options": options})
    api.milliseconds = api.nonce = lambda: clock() // 10**6
    decode = api.parse_json

    def whole(answer: str) -> Any:
        found = decode(answer)
        if found is None:
            # ccxt hands it on as text, and finds neither positions nor orders in it: the account would look empty.
            raise ccxt.BadResponse(f"{exchange}: an answer that is no JSON")
        return found

    api.parse_json = whole
    return api


def equity(api: Any, stake: str) -> float:
    """What the account is worth, open profit included, in the stake's currency. Raises ccxt's errors."""
    balance = api.fetch_balance()
    margin = (balance.get("info") or {}).get("totalMarginBalance")
    return float(margin if margin is not None else balance["total"][stake])

"""A week of a real bot with random faults and kill -9: `python tests/soak.py [--days 7] [--seed 1]`.

Unmodified `freqtrade trade` and `liqsignals record` on a replay, by the market clock. At random instants the exchange
fails or lies (exchange/faults.py), and bot or recorder are killed and started again, the bot on the same database after
its disk was brought up to date, as `liqsignals download` does. Ends with a report and exit code 1 if a rule was broken.

A row that the bot decides on has the columns of a backtest on the true data, or its flag is 0. Snapshots of open interest
that law 10 refused are a hole for the bot: its columns may be those of a backtest on data without them instead. An entry
on a lie is one whose row has other columns than these, of liqsignals or of the strategy, while rows of a lying feed may be
in what the bot knows.
"""

import argparse
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.resolvers import StrategyResolver

from liqsignals import features, files
from liqsignals.clock import DAY, HOUR, MINUTE, iso, parse_time
from liqsignals.data import store
from liqsignals.exchange.faults import LIES, Fault, random_faults
from liqsignals.records import BAR
from liqsignals.replay import bot as driver
from liqsignals.replay import session
from liqsignals.replay.bot import Bot, BotDied, Session, Settings, Trade
from liqsignals.replay.clock import MarketClock
from liqsignals.replay.idle import used
from liqsignals.replay.parity import refusals, same
from liqsignals.simulation.market import write_market
from liqsignals.strategy.account import Account
from liqsignals.strategy.signals import Signals

ROOT = Path(__file__).parents[1]
STEP = 5 * MINUTE // 10**6
PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
#: Columns of the families whose flag is 0 where their input is not complete.
LIQ = [n for n in features.NAMES if n.startswith("liq_") and n not in ("liq_fresh", "liq_model_score")]
FUND = [n for n in features.NAMES if n.startswith("fund_") and n not in ("fund_fresh", "fund_dispersion")]
#: What a strategy computes from candles may differ so much: the frames begin at different candles.
CLOSE = 1e-6
#: A candle counts as undisturbed when no fault was at work for so long before it (ms): freqtrade polls again meanwhile.
CALM = 45 * 60_000


@dataclass
class Soak:
    """What happened, and what must not have."""

    session: Session = field(default_factory=Session)
    #: What was killed, and what ended by itself, how often.
    kills: Counter[str] = field(default_factory=Counter)
    #: Market instants (ms) at which the bot read its disk anew, the first one its start.
    mended: list[int] = field(default_factory=list)
    #: (begin, end) in ms of the times without a bot that trades.
    away: list[tuple[int, int]] = field(default_factory=list)
    #: (market ms, resident MiB) of the bot, by start.
    resident: list[list[tuple[int, float]]] = field(default_factory=list)
    #: Trades by id as they were first seen, and what was wrong.
    seen: dict[int, tuple[str, str, float]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    #: Entries while a lie may be in what the bot knows: on other columns than the true ones, and on those.
    entries: Counter[str] = field(default_factory=Counter)


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


class Command:
    """A `liqsignals` command that runs beside the bot."""

    def __init__(self, name: str, words: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self._command = [str(Path(sys.executable).with_name("liqsignals")), name, *words]
        self._environment = {**os.environ, **environment}
        self._log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Recorder(Command):
    """`liqsignals record`, in the market's time."""

    def __init__(self, datadir: Path, port: int, clock: MarketClock, folder: Path) -> None:
        words = [
            "--pairs", " ".join(PAIRS), "--datadir", str(datadir),
            "--exchanges", "binance", "--url", f"binance=http://127.0.0.1:{port}",
            "--url", f"binance-stream=ws://127.0.0.1:{port}/market/ws", "--url", f"coinmetrics=http://127.0.0.1:{port}",
        ]  # fmt: skip
        super().__init__("record", words, clock.environment(), folder)


def kill_later(process: subprocess.Popen[bytes], seconds: float) -> None:
    """kill -9 once a process has used so much more CPU time: at the same place of its work on a busy machine."""
    begun = used(process.pid)
    while process.poll() is None and used(process.pid) - begun < seconds:
        time.sleep(0.002)
    process.kill()


def soak(datadir: Path, folder: Path, strategy: str, start: int, days: float, seed: int, verbose: bool = True) -> Soak:
    rng = random.Random(seed)
    found = Soak()
    begin, end = start // 10**6, start // 10**6 + round(days * DAY / 10**6)
    # The last third without kills: memory is watched there.
    quiet = begin + (end - begin) * 2 // 3
    faults = random_faults(seed, begin + HOUR // 10**6, end, 12.0, PAIRS)
    clock = MarketClock(folder / "clock", begin)
    own = session.as_of(datadir, start, folder / "data")
    with session.replayed(datadir, clock, faults=faults) as market:
        settings = Settings(
            ROOT / "config.json", ROOT / "user_data", own, strategy, ROOT / "user_data" / "strategies", PAIRS, "5m", folder
        )  # fmt: skip
        recorder = Recorder(own, market.port, clock, folder)
        recorder.start()
        due = sorted(mend_at(f) for f in faults if f.kind in MENDED)
        kill_at = sorted(rng.randrange(begin + STEP, quiet) for _ in range(round(2.5 * days)))
        kill_recorder = sorted(rng.randrange(begin, end) for _ in range(round(1.5 * days)))

        def mend(now_ms: int) -> None:
            """The disk as a download would make it now; a running bot reads it at the next candle."""
            session.as_of(datadir, now_ms * 10**6, folder / "data")
            found.mended.append(now_ms)

        def each(close: int) -> None:
            while due and due[0] <= close:
                due.pop(0)
                mend(close)
            if kill_recorder and kill_recorder[0] <= close:
                kill_recorder.pop(0)
                recorder.kill()
                found.kills["recorder"] += 1
                recorder.start()
            if kill_at and kill_at[0] <= close and bot.process is not None:
                kill_at.pop(0)
                found.kills["bot"] += 1
                threading.Thread(target=kill_later, args=(bot.process, rng.uniform(0.0, 0.6)), daemon=True).start()
            if not bot.trading:
                # Markets that cannot be read make freqtrade stop; the operator sends /start.
                bot.resume()
                found.kills["freqtrade stopped itself"] += 1
                found.away.append((close - STEP, close))
            look(found, settings.database)
            if close % (3 * HOUR // 10**6) == 0 and bot.process is not None:
                found.resident[-1].append((close, resident_mib(bot.process.pid)))
            if verbose and close % (DAY // 10**6) == 0:
                print(
                    f"{iso(close * 10**6)} kills {dict(found.kills)} faults {sum(market.faults.values())}", flush=True
                )

        while clock.now_ms() < end - STEP:
            bot = Bot(settings, market.overlay, clock, market.traffic)
            try:
                bot.start()
                found.resident.append([])
                driver.drive(bot, end, market.dwells, session=found.session, each=each)
            except BotDied as death:
                assert bot.process is not None
                code = bot.process.poll()
                if refused(code, settings.log):
                    found.kills["ended by itself while the exchange is down or broken"] += 1
                elif code != -signal.SIGKILL:
                    found.violations.append(f"crash: {death}")
                    bot.kill()
                went = clock.now_ms()
                clock.set(went + rng.randrange(1000, 30 * 60_000))
                mend(clock.now_ms())
                found.away.append((went, clock.now_ms()))
            else:
                bot.stop()
        recorder.kill()
        check(found, datadir, settings, faults, begin, end)
        recorded(found, datadir, own, faults)
        report(found, faults, market.faults, settings, begin, end, strategy)
    return found


def refused(code: int | None, log: Path) -> bool:
    """Whether freqtrade ended by its own word because the exchange was down, or its answer was none.

    It ends with 2 where it cannot load the markets at its start or at /start, and with 1 and a traceback of freqtrade and ccxt
    alone where another answer is broken that it expects to be whole. Who runs it starts it again.
    """
    said = (log.read_text() if log.exists() else "").rpartition("Starting worker")[2]
    last = said.rpartition("Fatal exception")[2]
    if code == 1 and last != said:
        return not re.search(r'File "(?!<|[^"]*site-packages)', last)
    ended = "".join(said.splitlines(keepends=True)[-5:])
    return code == 2 and bool(re.search("Could not load markets|Markets were not loaded", ended))


#: Faults after which the disk is brought up to date.
MENDED = ("skip_candle", "revise_open_interest", *LIES)


def mend_at(fault: Fault) -> int:
    """When the disk is brought up to date because of what the bot cannot get any more: once the exchange has it right."""
    if fault.kind == "skip_candle":
        return fault.start + 2 * HOUR // 10**6
    if fault.kind == "future_row":
        return fault.until + round(fault.seconds * 1000) + STEP
    return (fault.healed_at or fault.until) + round(fault.after * 1000) + STEP


def look(found: Soak, database: Path) -> None:
    """Remember every trade, and notice one that is gone or changed."""
    if not database.exists():
        return
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute(
            "select id, pair, open_date, open_rate, exists (select 1 from orders where ft_trade_id = trades.id and "
            "ft_is_open and ft_order_side = entry_side) from (select *, case when is_short then 'sell' else 'buy' end "
            "as entry_side from trades) as trades where open_rate > 0"
        ).fetchall()
    finally:
        connection.close()
    now = {number: (pair, opened[:19], rate) for number, pair, opened, rate, _ in rows}
    for number, trade in found.seen.items():
        if now.get(number) != trade:
            found.violations.append(f"trade {number} {trade} is lost or changed: {now.get(number)}")
    # While an entry is being filled its price may change.
    found.seen |= {number: now[number] for number, *_, filling in rows if not filling}


def columns(datadir: Path, strategy: str, folder: Path, pair: str) -> pd.DataFrame:
    """What the strategy (of `folder`) has at every candle of the whole, true data, by the candle's open."""
    config = {"datadir": datadir, "trading_mode": "futures", "exchange": {"name": "binance"}, "liqsignals": {}}
    made = StrategyResolver.load_strategy(
        {"strategy": strategy, "strategy_path": str(folder), "user_data_dir": folder, "trading_mode": "futures"}
    )
    made.signals, made.dp = Signals.from_config(config), None
    made.account = Account.from_config(config, strategy)
    candles = pd.read_feather(datadir / "futures" / f"{files.stem(pair)}-5m-futures.feather")
    return made.populate_indicators(candles, {"pair": pair}).set_index("date")


@dataclass
class Holes:
    """What the strategy has on data that lack snapshots of a pair's open interest: those that lied and were refused."""

    datadir: Path
    settings: Settings
    pair: str
    faults: list[Fault]
    found: Soak
    _made: dict[tuple[int, int], pd.DataFrame] = field(default_factory=dict)

    def explain(self, close: int, names: list[str], row: dict[str, Any], equal: Callable[[Any, Any], bool]) -> bool:
        """Whether the bot's row has the columns of data without the snapshots of a lie that the disk had not yet."""
        since = last_mend(self.found, close)
        for fault in self.faults:
            if fault.start > close or mend_at(fault) + STEP <= since:
                continue
            # A disk that was brought up to date in between has the first of them.
            for start in sorted({fault.start, *(max(fault.start, since + n * STEP) for n in (-1, 0, 1))}):
                want = self._without(start, fault.until).loc[pd.Timestamp(close - STEP, unit="ms", tz="UTC")]
                if all(equal(want[n], row[n]) for n in names):
                    return True
        return False

    def _without(self, start: int, stop: int) -> pd.DataFrame:
        """`columns` of data without the snapshots from `start` to before `stop` (ms)."""
        if (start, stop) not in self._made:
            copy = self.settings.folder / "holed"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(self.datadir, copy)
            path = copy / "futures" / f"{files.stem(self.pair)}-5m-open_interest.feather"
            frame = pd.read_feather(path)
            at = frame["date"].astype("datetime64[ms, UTC]").astype("int64")
            frame[(at < start) | (at >= stop)].reset_index(drop=True).to_feather(path)
            self._made[start, stop] = columns(copy, self.settings.strategy, self.settings.strategy_path, self.pair)
        return self._made[start, stop]


def check(found: Soak, datadir: Path, settings: Settings, faults: tuple[Fault, ...], begin: int, end: int) -> None:
    trades = driver.trades(settings.database)
    counted: Counter[str] = Counter()
    for pair in PAIRS:
        full = columns(datadir, settings.strategy, settings.strategy_path, pair)
        frame = [name for name in full.select_dtypes("number").columns if name not in features.NAMES]
        ours = [f for f in faults if f.pair in (None, pair)]
        wrong: dict[int, list[str]] = {}
        holes = Holes(datadir, settings, pair, [f for f in ours if f.kind == "wrong_open_interest"], found)
        for close in range(begin + 2 * STEP, end + 1, STEP):
            if (pair, close) not in found.session.rows:
                counted["not analysed"] += 1
                if calm(ours, found, close):
                    found.violations.append(f"{pair} {iso(close * 10**6)}: not analysed, undisturbed")
                continue
            row, _ = found.session.rows[pair, close]
            want = full.loc[pd.Timestamp(close - STEP, unit="ms", tz="UTC")]
            wrong[close] = []
            for family, names in (("liq", LIQ), ("fund", FUND), ("frame", frame)):
                equal = same if family != "frame" else near
                other = [n for n in names if not equal(want[n], row[n])]
                flag = f"{'fund' if family == 'fund' else 'liq'}_fresh"
                fresh = row[flag] == 1
                # A map that has restarted is not used: the third of three lies is taken for a real step (law 10), and a
                # recorder that was killed leaves a hole, which a bot that starts with a trade reads before the download.
                warm = family == "fund" or row["liq_warm"] == 1
                if not other:
                    counted[f"{family} equal"] += 1
                elif not fresh:
                    counted[f"{family} not fresh"] += 1
                elif not warm:
                    counted[f"{family} not warm"] += 1
                elif revised(ours, found, close):
                    # No bot can know it, and it is no lie of the feed.
                    counted[f"{family} revised after use"] += 1
                    continue
                elif holes.explain(close, names, row, equal):
                    counted[f"{family} of data without the refused snapshots"] += 1
                    continue
                else:
                    found.violations.append(
                        f"{pair} {iso(close * 10**6)}: fresh, but not the backtest's {other[:3]}; at work: {at_work(ours, found, close)}"
                    )
                wrong[close] += other
                if calm(ours, found, close) and (other or fresh != (want[flag] == 1)):
                    found.violations.append(
                        f"{pair} {iso(close * 10**6)}: undisturbed, but {family} same {not other} fresh {fresh}"
                    )
        mine = [t for t in trades if t.pair == pair]
        for one, other_trade in pairwise(mine):
            if one.closed is None or one.closed > other_trade.opened:
                found.violations.append(f"trades overlap: {one} {other_trade}")
        for trade in mine:
            judge(found, trade)
            close = int(trade.opened.timestamp() * 1000) // STEP * STEP
            if lies(ours, found, close):
                found.entries["on a lie" if wrong.get(close) else "beside a lie, on columns of a backtest"] += 1
                if wrong.get(close):
                    found.violations.append(f"entry on a lie: {pair} {trade.opened} {trade.tag} {wrong[close][:3]}")
    print("candles of both pairs:", dict(sorted(counted.items())))


def near(want: Any, told: Any) -> bool:
    """The same number but for what the length of the frame changes."""
    return bool(np.isclose(want, np.nan if told is None else float(told), rtol=CLOSE, atol=1e-9, equal_nan=True))


def at_work(faults: list[Fault], found: Soak, close: int) -> list[str]:
    """Faults that may still be in what the bot knows."""
    since = last_mend(found, close)
    return [f"{f.kind} {iso(f.start * 10**6)}" for f in faults if f.start <= close and mend_at(f) + STEP > since]


def lies(faults: list[Fault], found: Soak, close: int) -> bool:
    """Whether a row of a lying feed may be in what the bot knows."""
    since = last_mend(found, close)
    return any(f.kind in LIES and f.start <= close and mend_at(f) + STEP > since for f in faults)


def last_mend(found: Soak, close: int) -> int:
    return max((at for at in found.mended if at < close), default=0)


def revised(faults: list[Fault], found: Soak, close: int) -> bool:
    """Whether a value of open interest that was revised after it could be used may be in the bot's map."""
    since = last_mend(found, close)
    return any(
        f.kind == "revise_open_interest" and f.start <= close and mend_at(f) + STEP > since and f.start + 600_000 <= close
        and not since > f.until + f.after * 1000
        for f in faults
    )  # fmt: skip


def calm(faults: list[Fault], found: Soak, close: int) -> bool:
    """Whether nothing disturbed this candle: no fault or restart lately, nothing wrong left from before."""
    if any(begin - STEP <= close <= end + CALM for begin, end in found.away):
        return False
    since = last_mend(found, close - STEP)
    for fault in faults:
        if fault.start <= close and close <= fault.until + CALM:
            return False
        mended = fault.kind in MENDED and fault.kind != "revise_open_interest"
        if mended and fault.start <= close and since <= mend_at(fault) - STEP:
            return False
    return not revised(faults, found, close)


def judge(found: Soak, trade: Trade) -> None:
    """An entry follows a fresh signal of the candle before it, seconds after its close; an exit comes in time."""
    opened = int(trade.opened.timestamp() * 1000)
    close = opened // STEP * STEP
    row = found.session.rows.get((trade.pair, close), (None, 0))[0]
    name = f"{trade.pair} {trade.opened} {trade.tag}"
    if row is None:
        if not any(begin - STEP <= close <= end + STEP for begin, end in found.away):
            found.violations.append(f"entry without an analysed candle: {name}")
    elif row["liq_fresh"] != 1 or row["liq_warm"] != 1 or row["enter_short" if trade.is_short else "enter_long"] != 1:
        found.violations.append(f"entry without a fresh signal and a warm map: {name}")
    if opened - close > 20_000:
        found.violations.append(f"late entry: {name}")
    held = ((trade.closed or trade.opened) - trade.opened).total_seconds() * 1000
    away = sum(max(0, min(end, opened + held) - max(begin, opened)) for begin, end in found.away)
    if held - away > 4.75 * HOUR / 10**6:
        found.violations.append(f"held for {held / 3.6e6:.1f} h: {name}")


def recorded(found: Soak, datadir: Path, own: Path, faults: tuple[Fault, ...]) -> None:
    """What the recorder kept is what the exchange said, once each: what happened, but where it lied."""
    for pair in PAIRS:
        rows = store.read(store.series_dir(own / "liqsignals", "bar", "binance", pair, "5m"), BAR)
        candles = pd.read_feather(datadir / "futures" / f"{files.stem(pair)}-5m-futures.feather")
        at = candles["date"].astype("datetime64[ns, UTC]").astype("int64").to_numpy() + 5 * MINUTE
        place = np.searchsorted(at, rows["event_time"])
        right = np.ones(len(rows), bool)
        for name in ("open", "high", "low", "close", "volume"):
            right &= rows[name] == candles[name].to_numpy()[place]
        closes = rows["event_time"] // 10**6
        lied = np.zeros(len(rows), bool)
        for fault in faults:
            if fault.kind in LIES and fault.pair in (None, pair):
                more = round(fault.seconds * 1000) + STEP if fault.kind == "future_row" else 0
                lied |= (closes > fault.start) & (closes <= fault.until + more)
        wrong = ~right & ~lied
        print(
            f"recorded bars of {pair}: {len(rows)}, {wrong.sum()} not as they were, {(~right & lied).sum()} as the exchange lied"
        )
        if len(np.unique(rows["event_time"])) != len(rows) or wrong.any():
            found.violations.append(f"recorded bars of {pair} are doubled or wrong")


def report(
    found: Soak, faults: tuple[Fault, ...], injected: Counter[str], settings: Settings, begin: int, end: int, strategy: str
) -> None:  # fmt: skip
    trades = driver.trades(settings.database)
    log = "\n".join(path.read_text() for path in sorted(settings.folder.glob("freqtrade.log*")))
    crashes = re.findall(r"Fatal exception|caused the following exception|Stopping trader", log, re.MULTILINE)
    print(f"{strategy}, {(end - begin) / 3.6e6:.0f} market hours")
    print(
        f"faults planned {dict(sorted(Counter(f.kind for f in faults).items()))}; answers hit {dict(sorted(injected.items()))}"
    )
    print(
        f"kill -9: {dict(found.kills)}; away {sum(e - b for b, e in found.away) / 3.6e6:.1f} h; disk mended {len(found.mended)} times"
    )
    print(
        f"trades {len(trades)}, {len({(t.pair, t.opened) for t in trades})} of them different; refused entries {len(refusals(settings.log, STEP))}"
    )
    longest = max(found.resident, key=len, default=[])
    if longest:
        print(f"resident memory of the longest session: {longest[0][1]:.0f} MiB at {iso(longest[0][0] * 10**6)}, "
              f"{longest[-1][1]:.0f} MiB at {iso(longest[-1][0] * 10**6)}; all: {[round(m) for _, m in longest]}")  # fmt: skip
    print(f"entries {dict(found.entries)}; on a lie: {found.entries['on a lie']}")
    print(f"log lines of errors: {len(re.findall(' - ERROR - ', log))}, of crashes: {Counter(crashes)}")
    for line in found.violations[:40]:
        print("VIOLATION", line)
    print(f"violations: {len(found.violations)}")


def options(description: str | None) -> argparse.ArgumentParser:
    """What a run over market days is asked for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--datadir", type=Path, help="real data; a SIMULATED market unless given")
    parser.add_argument("--from", dest="start", default="2025-01-21T00:00:00Z")
    parser.add_argument("--keep", type=Path)
    return parser


@contextmanager
def places(given: argparse.Namespace, name: str) -> Iterator[tuple[Path, Path]]:
    """The data directory and the folder of a run with these `options`."""
    with tempfile.TemporaryDirectory(prefix=f"liqsignals-{name}-") as made:
        folder = given.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        datadir = given.datadir
        if datadir is None:
            print("SIMULATED market", flush=True)
            datadir = write_market(folder / "market", seed=given.seed, days=21 + int(given.days)) / "binance"
        yield datadir, folder


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--strategy", default="SqueezeMomentum")
    given = parser.parse_args()
    with places(given, "soak") as (datadir, folder):
        began = time.monotonic()
        found = soak(datadir, folder, given.strategy, parse_time(given.start), given.days, given.seed)
        print(f"in {time.monotonic() - began:.0f} s")
    return 1 if found.violations else 0


if __name__ == "__main__":
    sys.exit(main())

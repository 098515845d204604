"""A stretch of history as a running market: the disk as it was at its start, and a loopback exchange from there."""

import os
import secrets
import shlex
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from liqsignals import venues
from liqsignals.clock import duration_ns, iso, to_dates
from liqsignals.data import freqtrade
from liqsignals.errors import InputError
from liqsignals.exchange import bybit, quotes, supervise
from liqsignals.exchange import path as inside
from liqsignals.exchange.account import Account
from liqsignals.exchange.archive import INTERVALS, MINUTE, Archive
from liqsignals.exchange.course import Course
from liqsignals.exchange.endpoints import LoopbackExchange, Walks
from liqsignals.exchange.faults import Fault, faulty, read_faults
from liqsignals.exchange.server import application, leverage_tiers_kept, overlay_file
from liqsignals.exchange.serving import served
from liqsignals.exchange.signed import Keys, SignedExchange
from liqsignals.files import FORMATS, parse_name, replaced
from liqsignals.replay.clock import MarketClock
from liqsignals.replay.idle import Traffic

#: Extras that neither a running bot nor a recorder updates: copied whole.
_COPIED_WHOLE = ("flows", "venues")


def as_of(datadir: Path, at: int, out: Path) -> Path:
    """Write the data directory as it was at `at` (ns) to `out`/<name of its exchange>, as feather; returns that folder.

    It has the candles that had closed, and the open interest and funding that had been published. Extras that a running
    bot does not update (flows, other venues' funding) are copied whole: a tape hides what is not known yet, and a cut
    file would go stale. Candles that begin after `at` are left out: their pair was not listed. Raises InputError where
    all candles do, or a file cannot be read.
    """
    freqtrade.check_datadir(datadir)
    copy = out / venues.exchange_of(datadir)
    (copy / "futures").mkdir(parents=True, exist_ok=True)
    begins: dict[Path, bool] = {}
    for path in sorted((datadir / "futures").iterdir()):
        file = parse_name(path.name)
        if file is None:
            continue
        if path != (freqtrade.data_file(datadir, file.pair, file.timeframe, file.candle_type) or path):
            continue  # another format of it is read
        frame = freqtrade.read_table(path, ())
        length = duration_ns(file.timeframe) if file.candle_type in ("futures", "mark") else 0
        kept = frame[frame["date"] <= to_dates(np.array([at - length]))[0]]
        if file.candle_type == "futures":
            begins[path] = len(kept) > 0
            if not begins[path]:
                continue
        name = path.name.removesuffix(file.suffix) + FORMATS["feather"]
        with replaced(copy / "futures" / name) as staged:
            kept.reset_index(drop=True).to_feather(staged)
    if begins and not any(begins.values()):
        raise InputError(
            f"{next(iter(begins))}: begins after {iso(at)}, where the replay begins",
            "begin later",
        )
    for path in (datadir / "liqsignals").glob("*"):
        if path.name in _COPIED_WHOLE:
            shutil.copytree(path, copy / "liqsignals" / path.name, copy_function=_copied, dirs_exist_ok=True)
    if (datadir / "SIMULATED").exists():
        shutil.copy2(datadir / "SIMULATED", copy / "SIMULATED")
    return copy


def _copied(source: str, target: str) -> None:
    """Copy a file with its time: a bot reads either the old one or the whole new one."""
    with replaced(Path(target), durable=False) as staged:
        shutil.copy2(source, staged)


@dataclass
class Replay:
    """A running replay exchange, with what its driver needs."""

    port: int
    #: Configuration that points freqtrade here, for a second `--config`.
    overlay: Path
    archive: Archive
    traffic: Traffic
    #: How often each kind of fault was injected.
    faults: Counter[str]
    #: The account that takes orders, where there is one.
    account: Account | None = None
    _walks: Walks = field(default_factory=dict)
    _spread: int | None = None

    def dwells(self, begin_ms: int, end_ms: int, symbols: Collection[str] | None = None) -> list[int]:
        """Times (ms) in [begin, end) at which the price of one of the markets (all, for None) dwells.

        Excludes times at a bar's close, which is nearly the next one's open.
        """
        found: set[int] = set()
        for symbol in self.archive.markets if symbols is None else symbols:
            minutes = self.archive.finest(symbol, "futures")
            frame = self.archive.frame(symbol, "futures", minutes) if minutes else None
            if frame is None or minutes is None:
                continue
            for row in range(*np.searchsorted(frame.date, (begin_ms, end_ms)).tolist()):
                bar = quotes.row(frame, row)
                shares = [share for share, _ in self._path(symbol).stops(bar)]
                found |= {bar.date + int(share * minutes * MINUTE) for share in shares[:-1]}
        return sorted(found)

    def spread(self, symbol: str, at_ms: int) -> tuple[float, float]:
        """Spread and tick of a market at an instant, in quote currency."""
        path, spec = self._path(symbol), self.archive.spec(symbol)
        market = quotes.look(self.archive, path, symbol, at_ms)
        assert spec is not None
        assert market is not None
        book = quotes.book(market, spec, quotes.quote(market, at_ms), self._spread)
        tick = 10.0**-spec.price_decimals
        return (book.ask - book.bid) * tick, tick

    def _path(self, symbol: str) -> inside.Path:
        spec = self.archive.spec(symbol)
        assert spec is not None
        return inside.Path(spec.price_decimals, self._walks.get(symbol, {}))


@contextmanager
def replayed(
    datadir: Path,
    clock: MarketClock,
    *,
    walks: Walks | None = None,
    spread: int | None = None,
    faults: Sequence[Fault] = (),
    slow_down: Callable[[str], None] | None = None,
    wallet: float | None = None,
    middlewares: Sequence[Middleware] = (),
) -> Iterator[Replay]:
    """Serve a data directory by a market clock, with faults.

    `walks`: bars with a walk of their own, by symbol and bar open (ms). `spread`: of every book, in ticks (None: as
    decision 040). `slow_down`: where given, a program that requests its candles too late halves the clock's speed, and
    `slow_down` is called with the reason. `wallet`: quote units of an account that takes orders, with dummy keys in the
    overlay; None: without one. `middlewares` are the exchange's outermost ones.
    """
    archive = Archive(datadir)
    exchange = LoopbackExchange(archive, clock.now_ms, walks, spread)
    traffic = Traffic()
    counts: Counter[str] = Counter()
    app = application(exchange)
    if faults and archive.exchange != "binance":
        raise InputError(
            f"--faults: they change Binance's answers, and {datadir} is served as {archive.exchange}",
            "replay it without faults",
        )
    account = keys = None
    if wallet is not None:
        if archive.exchange != "binance":
            raise InputError(
                f"{datadir} is served as {archive.exchange}, and only Binance's orders are rehearsed",
                "use a data directory of Binance",
            )
        keys = Keys(secrets.token_hex(32), secrets.token_hex(32))
        account = Account(Course(archive, walks, spread), clock.now_ms(), wallet)
        SignedExchange(account, keys, clock.now_ms, clock.stood_ms).add_to(app)
    if faults:
        app.middlewares.insert(0, faulty(faults, clock.now_ms, traffic.waiting, counts))
    if slow_down is not None:
        app.middlewares.insert(0, _watched(clock, slow_down))
    for middleware in middlewares:
        app.middlewares.insert(0, middleware)
    traffic.watch(app)
    with (
        leverage_tiers_kept(datadir),
        served(app, "replay", 1.0) as port,
        overlay_file(port, archive, "feather", keys) as overlay,
        clock.running(),
    ):
        yield Replay(port, overlay, archive, traffic, counts, account, walks or {}, spread)


def _watched(clock: MarketClock, log: Callable[[str], None]) -> Middleware:
    """Halve the clock's speed when candles are requested later than half a candle after their close, or not at all."""
    asked: dict[tuple[str, str], int] = {}
    lock = threading.Lock()
    slowed = 0

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal slowed
        interval = request.query.get("interval", "")
        minutes = (bybit.CANDLES if request.path.endswith("/kline") else INTERVALS).get(interval)
        if request.path.endswith(("/klines", "/kline")) and minutes and clock.speed > 1:
            step, now = minutes * MINUTE, clock.now_ms()
            key = request.query.get("symbol", ""), interval
            with lock:
                candle, last = now // step, asked.get(key)
                asked[key] = candle
                # After more than 12 candles without a request the program was stopped, not slow.
                away = last is None or candle - last > 12
                late = not away and last != candle and (candle - (last or 0) > 1 or now % step > step / 2)
                if late and now - slowed > 2 * step:
                    slowed = now
                    clock.run(max(1.0, clock.speed / 2))
                    log(
                        f"{key[0]} {interval}: asked {now % step / 1000:.0f} s after the close, "
                        f"{max(candle - (last or 0) - 1, 0)} candles missed: the bot cannot keep up; "
                        f"continuing with x{clock.speed:g}"
                    )
        return await handler(request)

    return watch


def serve(
    datadir: Path,
    at: int,
    speed: float,
    faults: Path | None,
    folder: Path,
    command: Sequence[str],
    log: Callable[[str], None],
) -> int:
    """Serve a data directory from `at` (ns) on at a speed, and run a command in that time; returns its exit code.

    `{overlay}`, `{datadir}`, `{stream}` and `{rest}` in the command are replaced. Without a command it runs until a
    signal, and `log` names a script that runs any command in the market's time.
    """
    own = as_of(datadir, at, folder / "data")
    clock = MarketClock(folder / "clock", at // 10**6, speed)
    environment = clock.environment()
    parent = os.getppid()
    with (
        supervise.caught_signals() as caught,
        replayed(datadir, clock, faults=read_faults(faults) if faults else (), slow_down=log) as market,
    ):
        names = {
            "overlay": str(market.overlay),
            "datadir": str(own),
            # Only Binance's is served.
            "stream": f"ws://127.0.0.1:{market.port}/market/ws",
            "rest": f"http://127.0.0.1:{market.port}",
        }
        if command:
            words = [_filled(word, names) for word in command]
            return supervise.run(words, caught, parent, environment)
        script = folder / "in-market-time"
        script.write_text(
            "#!/bin/sh\nexec env " + " ".join(shlex.quote(f"{k}={v}") for k, v in environment.items()) + ' "$@"\n'
        )
        script.chmod(script.stat().st_mode | 0o100)
        log(f"market time {iso(at)}, x{speed:g}; until Ctrl-C")
        for name, value in names.items():
            log(f"  {name:8} {value}")
        log(
            f"  run a bot in its time: {script} freqtrade trade --config config.json --config {names['overlay']} "
            f"--datadir {own} ..."
        )
        supervise.wait(caught, parent)
    return 0


def _filled(word: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        word = word.replace("{" + name + "}", value)
    return word

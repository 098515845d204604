"""Live trading, rehearsed: a real bot with `dry_run: false` on a loopback exchange that takes its orders.

Like paper.py, but orders, stops, fees, funding and liquidations happen at the exchange (exchange/account.py), and go on
while the bot is down. It refuses to start unless every address in the bot's configuration is this machine's loopback.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from liqsignals.clock import HOUR, iso, parse_time
from liqsignals.collect.freqtrade_command import merge
from liqsignals.errors import InputError
from liqsignals.exchange.account import Account, Ledger
from liqsignals.exchange.faults import Fault
from liqsignals.exchange.serving import is_loopback
from liqsignals.replay import bot as driver
from liqsignals.replay.bot import Bot, Session, Settings, Trade
from liqsignals.replay.clock import MarketClock
from liqsignals.replay.paper import check_span, log_trades
from liqsignals.replay.session import Replay, as_of, replayed
from liqsignals.strategy.guard import REFUSED

#: Blocks that the bot's own configuration switches off.
_OFF = ("telegram", "webhook", "discord", "api_server")
#: Keys whose value is a host without a scheme.
_HOSTS = ("hostname", "host", "proxy")
#: Kinds of the account's income, in words.
_KINDS = {
    "REALIZED_PNL": "trades",
    "COMMISSION": "fees",
    "FUNDING_FEE": "funding",
    "INSURANCE_CLEAR": "liquidations",
}


@dataclass(frozen=True)
class Rehearsal:
    """What came of it: the bot's trades, the exchange's books, and the account's worth at the end (quote units)."""

    trades: list[Trade]
    session: Session
    ledger: Ledger
    begun: float
    equity: float
    #: Open positions at the exchange at the end, in coins.
    positions: dict[str, float] = field(default_factory=dict)
    #: Entries that the strategy refused, by the word of the reason.
    refused: Mapping[str, int] = field(default_factory=dict)


def run(
    settings: Settings,
    start: int,
    hours: float,
    log: Callable[[str], None],
    *,
    wallet: float = 10_000.0,
    down: Sequence[tuple[int, int]] = (),
    faults: Sequence[Fault] = (),
) -> Rehearsal:
    """Run a live bot from `start` (ns) for `hours`, on an account of `wallet` quote units.

    `down`: spans (ms) in which the bot is dead: killed at its begin (a loop under way is finished), started at its end.
    The exchange serves the data directory of `settings`; the bot's own copy ends at `start`. `log` gets each line.
    Raises InputError as paper.run does, and for a configuration with an address that is not loopback.
    """
    stop = start + round(hours * HOUR)
    check_span(settings, start, stop)
    clock = MarketClock(settings.folder / "clock", start // 10**6)
    own = as_of(settings.datadir, start, settings.folder / "data")
    with replayed(settings.datadir, clock, faults=faults, wallet=wallet) as market:
        account = market.account
        assert account is not None
        bot = Bot(replace(settings, datadir=own, live=True), market.overlay, clock, market.traffic)
        check_loopback(bot.configs)
        log(f"freqtrade's REST API: http://127.0.0.1:{bot.port} user liqsignals password {bot.password}")
        report = log_trades(bot, log)
        session = Session()
        try:
            bot.start()
            for begin, end in [*sorted(down), (stop // 10**6, stop // 10**6)]:
                until = min(begin, stop // 10**6)
                driver.drive(bot, until, _before(market, until), session=session, each=report)
                if end <= begin or until < begin:
                    continue
                clock.set(max(clock.now_ms(), begin))
                log(f"{iso(clock.now_ms() * 10**6)} the bot is killed")
                bot.kill()
                clock.set(max(clock.now_ms(), end))
                log(f"{iso(clock.now_ms() * 10**6)} the bot starts again")
                bot.start()
        finally:
            bot.stop()
        account.advance(clock.now_ms())
        return _result(account, clock.now_ms(), driver.trades(settings.database), session, wallet, settings)


def _before(market: Replay, until: int) -> Callable[[int, int, Collection[str] | None], list[int]]:
    """The instants worth showing, none at `until` (ms) or later."""

    def dwells(begin: int, end: int, symbols: Collection[str] | None) -> list[int]:
        return [at for at in market.dwells(begin, end, symbols) if at < until]

    return dwells


def _result(
    account: Account, now: int, trades: list[Trade], session: Session, wallet: float, settings: Settings
) -> Rehearsal:
    if not session.rows:
        raise InputError(
            "the bot has analysed no candle",
            f"see its log ({settings.log}; --keep FOLDER keeps it)",
        )
    held = {symbol: account.coins(symbol, p.lots) for symbol, p in account.positions.items() if p.lots}
    refused = Counter(re.findall(rf"{REFUSED} \(([a-z ]+)\)", settings.log.read_text(errors="replace")))
    return Rehearsal(trades, session, account.ledger, wallet, account.equity(now), held, refused)


def lines(found: Rehearsal) -> list[str]:
    """The exchange's books in words."""
    ledger, change = found.ledger, found.equity / found.begun - 1
    sums = {kind: sum(i.amount for i in ledger.income if i.kind == kind) for kind in _KINDS}
    parts = ", ".join(f"{word} {sums[kind]:+.2f}" for kind, word in _KINDS.items())
    held = ", ".join(f"{symbol} {coins:+g}" for symbol, coins in found.positions.items()) or "none"
    refused = ", ".join(f"{word} {times}" for word, times in found.refused.items())
    return [
        *(
            [f"entries refused: {refused} (docs/security.md; the bot's log, kept by --keep, has what to do)"]
            if refused
            else []
        ),
        f"account {found.begun:.2f} -> {found.equity:.2f} USDT ({change:+.2%}): {parts}",
        f"{len(ledger.fills)} fills, {len(ledger.liquidations)} liquidations, open positions at the exchange: {held}",
    ]


def outages(path: Path | None) -> list[tuple[int, int]]:
    """Spans (ms) of a JSON file: [{"from": time, "until": time}, ...]. Raises InputError for anything else."""
    if path is None:
        return []
    try:
        found = [
            (parse_time(entry["from"]) // 10**6, parse_time(entry["until"]) // 10**6)
            for entry in json.loads(path.read_text())
        ]
        if any(until <= begin for begin, until in found):
            raise ValueError("'until' must be after 'from'")
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: no list of outages ({type(error).__name__}: {error})",
            'write [{"from": "2025-10-10T20:51:00Z", "until": "2025-10-10T21:19:00Z"}]',
        ) from error


def check_loopback(configs: Sequence[Path]) -> None:
    """Raise InputError unless every address in these configurations, merged as freqtrade does, is loopback."""
    merged: dict[str, Any] = {}
    for path in configs:
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: cannot be read as JSON ({error}), so that its addresses cannot be checked",
                "remove comments and trailing commas",
            ) from error
        if "add_config_files" in content:
            raise InputError(
                f"{path}: add_config_files names configurations that are not checked",
                "put their content into this one",
            )
        merged = merge(merged, content)
    for name in _OFF:
        merged.pop(name, None)
    for where, address in _addresses(merged):
        if not is_loopback(urlsplit(address if "://" in address else f"//{address}").hostname or ""):
            raise InputError(
                f"config: {where} is {address}, which is not this machine: a rehearsal must not reach an exchange",
                f"remove {where} from the configuration",
            )


def _addresses(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Path and value of everything in a configuration that names a host."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _addresses(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _addresses(inner, f"{where}[{number}]")
    elif isinstance(value, str) and value:
        key = where.rpartition(".")[2].lower()
        if ("://" in value and not value.startswith("sqlite:")) or any(key.endswith(name) for name in _HOSTS):
            yield where, value

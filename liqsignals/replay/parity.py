"""Is the backtest's bot the bot? One strategy, backtested and run dry over the same span, compared candle by candle.

The backtest reads the whole data directory. The bot starts with the directory as it stood at the span's start and gets
the rest from the loopback exchange, as it would from Binance. Both are unmodified freqtrade.

Features must be the same bits at every candle, signals the same at every candle, and trades the same in pair, side,
tag, candle of entry, candle of exit and reason; entry, exit and stop prices within the exchange's spread, which is one
tick, and a tick. What is not the same is named: a class that explains it (`CLASSES`), or a difference. What cannot be
compared is named before the bot starts (`limits`).
"""

import json
import logging
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from liqsignals import features
from liqsignals.clock import duration_ns, iso
from liqsignals.collect import freqtrade_command
from liqsignals.data import freqtrade
from liqsignals.errors import InputError
from liqsignals.exchange import quotes
from liqsignals.exchange.archive import INTERVALS, Archive
from liqsignals.exchange.path import Bar
from liqsignals.files import format_of, stem
from liqsignals.replay import bot as driver
from liqsignals.replay import observer
from liqsignals.replay.bot import Bot, Session, Settings, Trade
from liqsignals.replay.clock import MarketClock, faketime_library
from liqsignals.replay.rehearsal import check_loopback
from liqsignals.replay.session import as_of, replayed
from liqsignals.replay.strategies import strategy_file
from liqsignals.replay.walks import Exit, walk
from liqsignals.sources import binance
from liqsignals.strategy.guard import REFUSED

logger = logging.getLogger(__name__)

SIGNALS = ("enter_long", "exit_long", "enter_short", "exit_short", "enter_tag")
#: What may differ without being a difference, in the order in which it is looked for.
CLASSES = {
    "start": "it begins before the bot's first whole candle",
    "refused": "the bot's guard refused the entry (spread, drift or stale input), as its log says",
    "open": "the span ends with the trade open, which a backtest closes by force",
    "turned": (
        "the backtest turns round at the open of a bar in which it sells the trade before only later, which no bot can"
    ),
    "occupied": "the pair or the last free slot was taken in one of them by a trade explained above",
    "edge": (
        "the price of the exit lies within the spread of the candle's extreme: one of them is touched, the other is not"
    ),
    "gap": "the bar opens beyond the stop: the backtest sells at the stop all the same, the bot at what it sees",
    "worst": (
        "a stop that moved in the bar of entry: the backtest fills it at a worst case of its own, which a bot need not"
        " meet"
    ),
}

#: Runs beside the user's strategy in the backtest only: it is the same class, and leaves files behind (observer.py).
_OBSERVED = """\
import importlib.util
from pathlib import Path

from liqsignals.replay.observer import observed

_spec = importlib.util.spec_from_file_location("liqsignals_parity", {file!r})
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)


class {name}(observed(_module.{name}, Path({folder!r}))):
    pass
"""

#: Ticks of the spread that the bot meets. Binance's own is nearly always one, and a wider one would only blur the
#: comparison.
_SPREAD = 1

#: With --timeframe-detail, a backtest whose trade opens and closes inside one bar enters again in the next one of the
#: same candle; a bot's pair is locked until the next candle. So neither enters later (seconds) than this after a
#: candle's close.
_PROMPT = {"ignore_buying_expired_candle_after": 30}


#: Reasons of exits at a price inside a bar.
_INSIDE = re.compile("stop|roi|liquidation")


@dataclass(frozen=True)
class Span:
    """What to compare: freqtrade's options, and the span in ns (whole candles)."""

    datadir: Path
    config: Path
    userdir: Path
    strategy: str
    pairs: tuple[str, ...]
    timeframe: str
    start: int
    stop: int

    @property
    def step(self) -> int:
        """Length of a candle, ms."""
        return duration_ns(self.timeframe) // 1_000_000


@dataclass(frozen=True)
class Backtest:
    """What a backtest left behind."""

    #: Frames as the strategy left them, by pair, indexed by candle open.
    frames: dict[str, pd.DataFrame]
    #: Trades in the order of opening.
    trades: list[Trade]
    #: What the strategy is (observer.py).
    traits: dict[str, Any]
    #: Exits as they were looked at, by pair and open of the bar (ms).
    exits: dict[tuple[str, int], dict[str, Any]]


@dataclass
class Report:
    """What was compared and what came out."""

    candles: int = 0
    features: int = 0
    signals: int = 0
    #: Trades of the backtest, of the bot, and pairs of them that agree or are explained.
    backtest: int = 0
    bot: int = 0
    agree: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    #: Trades of either that the other has not, or has differently.
    disagree: int = 0
    #: Differences in words, the first ones first.
    differences: list[str] = field(default_factory=list)
    #: Seconds of market time after the candle's close at which its row was there, one for each candle.
    lag_s: list[float] = field(default_factory=list)

    @property
    def compared(self) -> int:
        """Trades to agree on: all of both but the explained ones."""
        return self.agree + self.disagree

    @property
    def last_line(self) -> str:
        return (
            f"features={_percent(self.features, self.candles)} signals={_percent(self.signals, self.candles)} "
            f"trades={self.agree}/{self.compared}"
        )

    @property
    def passed(self) -> bool:
        return self.candles == self.features == self.signals and self.agree == self.compared > 0


def _percent(part: int, whole: int) -> str:
    """Never 100 % for less than all."""
    return "100%" if part == whole and whole else f"{np.floor(1000 * part / max(whole, 1)) / 10:g}%"


def backtest(span: Span, folder: Path, overlay: Path, detail: str | None = None) -> Backtest:
    """freqtrade's own backtest of a span; `detail` is its --timeframe-detail. `folder` must be new."""
    file = strategy_file(span.userdir / "strategies", span.strategy).resolve()
    keeper, frames, results = (folder / name for name in ("strategy", "frames", "results"))
    for made in (keeper, frames, results):
        made.mkdir(parents=True)
    (keeper / f"{span.strategy}.py").write_text(
        _OBSERVED.format(file=str(file), name=span.strategy, folder=str(frames.resolve()))
    )
    own = folder / "backtest.json"
    dataformat = format_of(span.datadir)
    own.write_text(
        json.dumps((_PROMPT if detail else {}) | ({} if dataformat is None else {"dataformat_ohlcv": dataformat}))
    )
    log = folder / "backtest.log"
    done = freqtrade_command.run(
        freqtrade_command.backtesting(
            (span.config, overlay, own), span.userdir, span.datadir, keeper, [span.strategy], span.timeframe, span.pairs,
            "--timerange", f"{span.start // 10**9}-{span.stop // 10**9}",
            "--export", "trades", "--backtest-directory", str(results), "--enable-protections",
            *(["--timeframe-detail", detail] if detail else []),
        ),
        log,
    )  # fmt: skip
    made_zips = sorted(freqtrade_command.results(results))
    if done.code != 0 or not made_zips:
        raise InputError(f"freqtrade backtesting failed: {done.failure}; log {log}")
    with zipfile.ZipFile(made_zips[-1]) as archive:
        name = next(n for n in archive.namelist() if n == made_zips[-1].stem + ".json")
        rows = json.loads(archive.read(name))["strategy"][span.strategy]["trades"]
    kept = {}
    for pair in span.pairs:
        path = frames / f"{stem(pair)}.pkl"
        if not path.exists():
            raise InputError(
                f"the backtest had no candles of {pair} in the span",
                "choose another --timerange",
            )
        kept[pair] = pd.read_pickle(path).set_index("date")
    looked = frames / observer.EXITS
    exits = [json.loads(line) for line in looked.read_text().splitlines()] if looked.exists() else []
    return Backtest(
        kept,
        sorted(map(driver.from_backtest, rows), key=lambda t: t.opened),
        json.loads((frames / observer.TRAITS).read_text()),
        {(one["pair"], one["at"]): one for one in exits},
    )


def limits(traits: Mapping[str, Any], span: Span, columns: Collection[str]) -> list[str]:
    """What of a strategy a backtest and a bot do differently by their nature, or parity does not compare; one sentence
    each.

    `traits` as observer.py writes them, `columns` of the strategy's frames.
    """
    callbacks, found = traits["callbacks"], []
    if traits["own_timeframe"] not in (None, span.timeframe):
        found.append(
            f"the strategy's own timeframe is {traits['own_timeframe']}, and it is run at {span.timeframe} (-t)"
        )
    if not set(columns) & set(features.NAMES):
        found.append("the strategy attaches no liqsignals column: features are compared at no candle")
    minutes = span.step // 60_000
    odd = sorted(int(after) for after in traits["minimal_roi"] if int(after) % minutes)
    if odd:
        found.append(
            f"minimal_roi begins anew after {', '.join(map(str, odd))} minutes, inside a candle of {span.timeframe}:"
            " the backtest sells at the best or the worst price of a bar then, the bot at the price of the minute"
        )
    if traits["use_custom_stoploss"]:
        found.append(
            "custom_stoploss is asked once a bar, at its best price, by the backtest, and in every loop by the bot: a"
            " stop that goes by the minute, or is tighter at a worse price, differs"
        )
        if "current_profit" in callbacks.get("custom_stoploss", ()):
            found.append(
                "custom_stoploss reads current_profit, which holds the funding: in the backtest with the settlement, in the"
                " bot a minute later; a stop set in that minute differs by it"
            )
    if traits["use_custom_stoploss"] or traits["trailing_only_offset_is_reached"] or traits["trailing_stop_positive"]:
        found.append(
            "a stop that moves in the bar of entry: the backtest fills it at a worst case of its own, without fees;"
            " where a bot is not sold there, the trade is counted as 'worst' and not compared"
        )
    if read := sorted({"current_rate", "current_profit"} & set(callbacks.get("custom_exit", ()))):
        found.append(
            f"custom_exit reads {' and '.join(read)}: the backtest asks it once a bar, at its open, the bot in every"
            " loop, and what the price does inside the bar may make it exit earlier"
        )
    if traits["exit_profit_only"]:
        found.append("exit_profit_only: the backtest looks at the profit at a bar's open only, the bot in every loop")
    if traits["use_custom_roi"]:
        found.append(
            "custom_roi is asked once a bar by the backtest, and in every loop by the bot: one that goes by the minute"
            " differs"
        )
    if traits["position_adjustment_enable"]:
        found.append(
            "adjust_trade_position: the backtest asks it once a bar, the bot in every loop; of a trade's orders only"
            " their mean price is compared"
        )
    if traits["can_short"]:
        found.append(
            "a signal for the other side in the candle in which a stop or target ends a trade: the backtest turns round"
            " at the candle's open, before that exit; counted as 'turned' and not compared"
        )
    for name in callbacks:
        if name.endswith("_price"):
            found.append(
                f"{name}: the backtest fills an order at a price of its own wherever the bar has it, the bot when the"
                " price comes by"
            )
    if 0 < traits["max_open_trades"] < len(span.pairs):
        found.append(
            f"max_open_trades is {traits['max_open_trades']:g} for {len(span.pairs)} pairs: a slot that a trade leaves"
            " inside a candle is taken at once by the bot, and at a candle's open by the backtest"
        )
    return found


def finest(archive: Archive, pairs: Sequence[str]) -> str:
    """The finest timeframe of candles on disk, which must be the same for every pair."""
    found = {
        pair: archive.finest(symbol, "futures") if (symbol := binance.symbol(pair)) in archive.markets else None
        for pair in pairs
    }
    if len(set(found.values())) != 1 or None in found.values():
        lengths = ", ".join(f"{pair} {minutes or 'no'} minutes" for pair, minutes in found.items())
        raise InputError(
            f"parity: the finest candles of the pairs differ ({lengths})",
            "download the same timeframes for all of them, or compare pair by pair",
        )
    minutes = next(iter(found.values()))
    return next(name for name, length in INTERVALS.items() if length == minutes)


def comparable(tested: Backtest) -> list[Trade]:
    """Its trades; the stop is NaN where a bot cannot have it: the best price of the exit's bar raised it, and the exit
    came before.
    """
    found = []
    for trade in tested.trades:
        at = _ms(trade.closed) if trade.closed is not None else 0
        raised = tested.exits.get((trade.pair, at), {"raised": False})["raised"]
        by_it = "stop" in trade.reason and _ms(trade.opened) != at
        found.append(replace(trade, stop=np.nan) if raised and not by_it else trade)
    return found


def exits_inside(tested: Backtest) -> dict[tuple[str, int], Exit]:
    """Exits of a backtest at a price inside a bar, by pair and open of the bar (ms): at its stop, ROI or liquidation
    price.
    """
    found = {}
    for trade in tested.trades:
        if trade.closed is not None and trade.close_rate and _INSIDE.search(trade.reason):
            at = _ms(trade.closed)
            looked = tested.exits.get((trade.pair, at), {"raised": False, "stop": trade.stop, "distance": 0.0})
            found[trade.pair, at] = Exit(
                trade.close_rate,
                trade.is_short,
                roi=trade.reason == "roi",
                raised=looked["raised"] and trade.reason != "roi",
                entered=_ms(trade.opened) == at,
                stop=looked["stop"],
                distance=looked["distance"],
            )
    return found


def walks_of(archive: Archive, exits: Mapping[tuple[str, int], Exit]) -> dict[str, dict[int, list[float]]]:
    """The way of the price in the bars of these exits, by symbol and bar open (ms)."""
    found: dict[str, dict[int, list[float]]] = {}
    for (pair, at), exit_ in exits.items():
        symbol = binance.symbol(pair)
        spec = archive.spec(symbol)
        assert spec is not None
        if (bar := _bar(archive, symbol, at)) is not None:
            found.setdefault(symbol, {})[at] = walk(bar, exit_, spec.price_decimals)
    return found


def _bar(archive: Archive, symbol: str, at: int) -> Bar | None:
    """The finest bar that opens at `at` (ms)."""
    minutes = archive.finest(symbol, "futures")
    frame = archive.frame(symbol, "futures", minutes) if minutes else None
    if frame is None:
        return None
    row = int(np.searchsorted(frame.date, at))
    return quotes.row(frame, row) if row < len(frame.date) and frame.date[row] == at else None


def _ms(at: pd.Timestamp) -> int:
    return int(at.timestamp() * 1000)


def alike(one: Sequence[Trade], other: Sequence[Trade], step: int) -> int:
    """How many trades of two backtests are the same in pair, side, open, candle of exit (of `step` ms), reason and
    prices.
    """

    def key(trade: Trade) -> tuple[Any, ...]:
        closed = None if trade.closed is None else _ms(trade.closed) // step
        return trade.pair, trade.is_short, trade.opened, closed, trade.reason, trade.open_rate, trade.close_rate

    return len(set(map(key, one)) & set(map(key, other)))


def run(span: Span, folder: Path, log: Callable[[str], None] = logger.info, wallet: float | None = None) -> Report:
    """Backtest, drive a bot over the same span, compare. `folder` keeps configurations, logs, frames and the database.

    With a `wallet` (quote units) the bot is live on the exchange's account (rehearsal.py) instead of running dry.

    Where the disk has finer candles than the strategy's, the backtest goes by them (--timeframe-detail): the bot meets
    their prices.
    """
    freqtrade.check_readable(span.datadir, span.pairs)
    faketime_library()  # its absence is an error before the backtest, not after it
    for pair in span.pairs:
        freqtrade.check_pair(span.datadir, pair)
    archive = Archive(span.datadir)
    bar = finest(archive, span.pairs)
    step = duration_ns(bar) // 1_000_000
    # A backtest trades from its second candle on: a signal needs the candle before.
    begin = span.start // 10**6 + span.step
    clock = MarketClock(folder / "clock", begin)
    with replayed(span.datadir, clock) as market:
        tested = backtest(span, folder, market.overlay, None if bar == span.timeframe else bar)
        if bar != span.timeframe:
            coarse = backtest(span, folder / "coarse", market.overlay).trades
            log(
                f"{span.strategy}: candles of {bar} give the path of price inside those of {span.timeframe}: compared"
                f" is the backtest with --timeframe-detail {bar}. Without it there are {len(coarse)} trades,"
                f" {alike(coarse, tested.trades, span.step)} of them the same; neither backtest nor bot enters later"
                " than 30 s after a close"
            )
    frames, traded = tested.frames, comparable(tested)
    for limit in limits(tested.traits, span, {str(name) for frame in frames.values() for name in frame}):
        log(f"{span.strategy}: cannot be compared in full: {limit}")
    exits = exits_inside(tested)
    log(f"{span.strategy}: the backtest has {len(traded)} trades, {len(exits)} of which end inside a bar; now the bot")
    datadir = as_of(span.datadir, begin * 10**6, folder / "data")
    with replayed(span.datadir, clock, walks=walks_of(archive, exits), spread=_SPREAD, wallet=wallet) as market:
        settings = Settings(
            span.config,
            span.userdir,
            datadir,
            span.strategy,
            span.userdir / "strategies",
            span.pairs,
            span.timeframe,
            folder,
            {} if bar == span.timeframe else _PROMPT,
            live=wallet is not None,
        )
        bot = Bot(settings, market.overlay, clock, market.traffic)
        if settings.live:
            check_loopback(bot.configs)
        try:
            bot.start()
            session = driver.drive(bot, span.stop // 10**6, market.dwells, each=_every_day(log, span))
        finally:
            bot.stop()

        def slack(pair: str, at_ms: int) -> float:
            spread, tick = market.spread(binance.symbol(pair), at_ms)
            return (spread + tick) * (1 + 1e-9)

        def unlike(theirs: Trade, ours: Trade) -> str | None:
            at = _ms(theirs.closed) if theirs.closed else 0
            if (exit_ := exits.get((theirs.pair, at))) is None or exit_.roi:
                return None
            same_bar = ours.closed is not None and _ms(ours.closed) // step * step == at and "stop" in ours.reason
            if exit_.entered and same_bar and (exit_.raised or tested.traits["use_custom_stoploss"]):
                return "worst"
            opened = _bar(archive, binance.symbol(theirs.pair), at)
            beyond = opened is not None and (opened.open - exit_.price) * (-1 if exit_.is_short else 1) < 0
            return "gap" if beyond and not exit_.entered else None

        # What the bot opens at the last close is beyond the span.
        mine = [t for t in driver.trades(settings.database) if t.opened.timestamp() < span.stop / 10**9]
        refused = refusals(settings.log, span.step)
        return compare(span, frames, traded, session, mine, refused, slack, unlike)


_REFUSED = re.compile(rf"^(\S+ \S+?),\d+ .* (\S+/\S+): {re.escape(REFUSED)} \(")


def refusals(log: Path, step: int) -> set[tuple[str, int]]:
    """(pair, open in ms of the candle) of the entries that the strategy's guard refused, from freqtrade's logs."""
    found = set()
    for line in (line for path in log.parent.glob(f"{log.name}*") for line in path.read_text().splitlines()):
        if match := _REFUSED.match(line):
            at = int(pd.Timestamp(match[1], tz="UTC").timestamp() * 1000)
            found.add((match[2], at // step * step))
    return found


def _every_day(log: Callable[[str], None], span: Span) -> Callable[[int], None]:
    def at(close_ms: int) -> None:
        if close_ms % 86_400_000 == 0:
            log(f"{span.strategy}: the bot is at {iso(close_ms * 10**6)}")

    return at


def compare(
    span: Span,
    frames: Mapping[str, pd.DataFrame],
    traded: Sequence[Trade],
    session: Session,
    mine: Sequence[Trade],
    refused: set[tuple[str, int]],
    slack: Callable[[str, int], float],
    unlike: Callable[[Trade, Trade], str | None] = lambda theirs, ours: None,
) -> Report:
    """Report of a backtest (`frames`, `traded`) against a bot (`session`, `mine`).

    `refused`: (pair, candle open in ms) of entries that the bot's guard refused. `slack(pair, ms)`: what a price may
    differ by, spread and a tick, in quote currency. `unlike(theirs, ours)`: the class, if any, that explains an exit of
    the backtest which no bot can have.
    """
    report = Report()
    first = span.start // 10**6 + 2 * span.step
    for pair in span.pairs:
        _compare_rows(report, span, pair, frames[pair], session, range(first, span.stop // 10**6 + 1, span.step))
    report.backtest, report.bot = len(traded), len(mine)
    _compare_trades(report, span, frames, traded, mine, refused, slack, unlike)
    return report


def _compare_rows(
    report: Report, span: Span, pair: str, frame: pd.DataFrame, session: Session, closes: Sequence[int]
) -> None:
    for close in closes:
        opened = pd.Timestamp(close - span.step, unit="ms", tz="UTC")
        if opened not in frame.index:
            continue
        report.candles += 1
        if (pair, close) not in session.rows:
            report.differences.append(f"candle: {pair} {opened.isoformat()}: the bot never analysed it")
            continue
        row, late = session.rows[pair, close]
        report.lag_s.append(late / 1000)
        expected = frame.loc[opened]
        wrong = [name for name in features.NAMES if name in expected and not same(expected[name], row[name])]
        report.features += not wrong
        off = [name for name in SIGNALS if _signal(expected.get(name)) != _signal(row.get(name))]
        report.signals += not off
        for name in (*wrong[:3], *off):
            what = "feature" if name in wrong else "signal"
            report.differences.append(
                f"{what}: {pair} {opened.isoformat()} {name}: backtest {expected.get(name)}, bot {row.get(name)}"
            )


def same(expected: Any, seen: Any) -> bool:
    """The same float, bit for bit; JSON has null for NaN."""
    value = np.nan if seen is None else float(seen)
    return bool(np.isnan(expected) and np.isnan(value)) or bool(expected == value)


def _signal(value: Any) -> Any:
    """Freqtrade leaves a signal that is not given as 0, NaN, None or an empty tag."""
    return None if value is None or value == "" or value == 0 or value != value else value


def _compare_trades(
    report: Report,
    span: Span,
    frames: Mapping[str, pd.DataFrame],
    traded: Sequence[Trade],
    mine: Sequence[Trade],
    refused: set[tuple[str, int]],
    slack: Callable[[str, int], float],
    unlike: Callable[[Trade, Trade], str | None],
) -> None:
    def candle(at: pd.Timestamp) -> int:
        return int(at.timestamp() * 1000) // span.step * span.step

    bots = {(t.pair, candle(t.opened)): t for t in mine}
    # Spans in which one of them held a position that the other had not, for a reason that is explained.
    busy: list[tuple[int, float]] = []

    def explained(what: str, one: Trade | None, other: Trade | None) -> None:
        report.classes[what] += 1
        ends = [np.inf if t.closed is None else candle(t.closed) for t in (one, other) if t]
        begins = [candle(t.opened) for t in (one, other) if t]
        busy.append((min(begins), max(ends)))

    def differs(text: str) -> None:
        report.disagree += 1
        report.differences.append(f"trade: {text}")

    def occupied(at: int) -> bool:
        return any(begin <= at <= end for begin, end in busy)

    first = span.start // 10**6 + 2 * span.step
    sold_inside = {(t.pair, not t.is_short, t.closed) for t in traded if _INSIDE.search(t.reason)}
    both = {(t.pair, candle(t.opened)) for t in traded}
    alone = [(at, trade) for (pair, at), trade in bots.items() if (pair, at) not in both]
    # By the time of entry: a trade that is explained may explain a later one of either side.
    trades = [(candle(t.opened), t, None) for t in traded] + [(at, None, trade) for at, trade in alone]
    for at, theirs, ours in sorted(trades, key=lambda item: item[0]):
        if theirs is None:
            assert ours is not None
            if at < first:
                explained("start", None, ours)
            elif occupied(at):
                explained("occupied", None, ours)
            else:
                differs(f"{ours.pair} {ours.opened.isoformat()} {ours.tag}: only the bot's")
            continue
        name = f"{theirs.pair} {theirs.opened.isoformat()} {theirs.tag}"
        ours = bots.pop((theirs.pair, at), None)
        if at < first:
            explained("start", theirs, ours)
            continue
        if (theirs.pair, theirs.is_short, theirs.opened) in sold_inside:
            explained("turned", theirs, ours)
            continue
        if ours is None:
            if (theirs.pair, at) in refused:
                explained("refused", theirs, None)
            elif occupied(at):
                explained("occupied", theirs, None)
            else:
                differs(f"{name}: only in the backtest")
            continue
        wrong = _differences(span, theirs, ours, slack, candle)
        if not wrong:
            report.agree += 1
        elif theirs.reason == "force_exit" and (
            ours.closed is None or candle(ours.closed) >= candle(theirs.closed or theirs.opened)
        ):
            explained("open", theirs, ours)
        elif _edge(span, frames[theirs.pair], theirs, ours, slack, candle):
            explained("edge", theirs, ours)
        elif reason := unlike(theirs, ours):
            explained(reason, theirs, ours)
        else:
            differs(f"{name}: {'; '.join(wrong)}")


def same_reason(one: str, other: str) -> bool:
    """Whether two exit reasons are one: a bot's stop fills at the exchange, a backtest's is the stop itself."""
    at_exchange = "stoploss_on_exchange"
    return one == other or (
        at_exchange in (one, other) and {one, other} <= {at_exchange, "stop_loss", "trailing_stop_loss"}
    )


def _differences(
    span: Span, theirs: Trade, ours: Trade, slack: Callable[[str, int], float], candle: Callable[[pd.Timestamp], int]
) -> list[str]:
    wrong = []
    for what, a, b in (
        ("side", theirs.is_short, ours.is_short),
        ("tag", theirs.tag, ours.tag),
        ("leverage", theirs.leverage, ours.leverage),
        ("exit candle", theirs.closed and candle(theirs.closed), ours.closed and candle(ours.closed)),
    ):
        if a != b:
            wrong.append(f"{what} {a} and {b}")
    if not same_reason(theirs.reason, ours.reason):
        wrong.append(f"exit reason {theirs.reason} and {ours.reason}")
    at = candle(theirs.opened)
    for what, x, y, when in (
        ("entry", theirs.open_rate, ours.open_rate, at),
        ("stop", theirs.stop, ours.stop, at),
        ("exit", theirs.close_rate, ours.close_rate, candle(theirs.closed) if theirs.closed else at),
    ):
        if x is not None and y is not None and abs(x - y) > slack(theirs.pair, when):
            wrong.append(f"{what} price {x} and {y}, allowed {slack(theirs.pair, when):g}")
    return wrong


def _edge(
    span: Span,
    frame: pd.DataFrame,
    theirs: Trade,
    ours: Trade,
    slack: Callable[[str, int], float],
    candle: Callable[[pd.Timestamp], int],
) -> bool:
    """Whether a stop or target was touched by one of them only, in a candle whose extreme lies within the spread of it."""
    for trade in sorted((t for t in (theirs, ours) if t.closed is not None), key=lambda t: t.closed or t.opened)[:1]:
        at = candle(trade.closed or trade.opened)
        opened = pd.Timestamp(at, unit="ms", tz="UTC")
        if opened not in frame.index:
            continue
        if "stop" in trade.reason:
            extreme = float(frame["high" if trade.is_short else "low"].loc[opened])
            return bool(abs(extreme - trade.stop) <= 2 * slack(trade.pair, at))
        if trade.reason == "roi" and trade.close_rate:
            extreme = float(frame["low" if trade.is_short else "high"].loc[opened])
            return bool(abs(extreme - trade.close_rate) <= 2 * slack(trade.pair, at))
    return False


def lines(report: Report, most: int = 20) -> list[str]:
    """What a report says, but for its last line."""
    late = sorted(report.lag_s) or [float("nan")]
    text = [
        (
            f"{report.candles} candles compared (pair by pair); the row was there {late[len(late) // 2]:.0f} s after"
            f" the close (median), {late[-1]:.0f} s (latest), in market time"
        ),
        (
            f"trades: backtest {report.backtest}, bot {report.bot}; {report.agree} agree in pair, side, tag, entry and"
            " exit candle, reason and prices"
        ),
    ]
    text += [
        f"explained, not counted: {count} {name}: {CLASSES[name]}" for name, count in sorted(report.classes.items())
    ]
    text += report.differences[:most]
    if len(report.differences) > most:
        text.append(f"and {len(report.differences) - most} more differences")
    return text

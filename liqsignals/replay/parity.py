"""Is the backtest's bot the bot? One strategy, backtested and run dry over the same span, compared candle by candle.

The backtest reads the whole data directory. The bot starts with the directory as it stood at the span's start and gets the
rest from the loopback exchange, as it would from Binance. Both are unmodified freqtrade.

Features must be the same bits at every candle, signals the same at every candle, and trades the same in pair, side, tag,
candle of entry, candle of exit and reason; entry, exit and stop prices within the exchange's spread and a tick. What is
not the same is named: a class that explains it (`CLASSES`), or a difference.
"""

import json
import logging
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from liqsignals import features
from liqsignals.clock import duration_ns, iso
from liqsignals.collect import freqtrade_command
from liqsignals.errors import InputError
from liqsignals.files import stem
from liqsignals.replay import bot as driver
from liqsignals.replay.bot import Bot, Session, Settings, Trade
from liqsignals.replay.clock import MarketClock, faketime_library
from liqsignals.replay.session import as_of, replayed
from liqsignals.sources import binance
from liqsignals.strategy.guard import REFUSED

logger = logging.getLogger(__name__)

SIGNALS = ("enter_long", "exit_long", "enter_short", "exit_short", "enter_tag")
#: What may differ without being a difference, in the order in which it is looked for.
CLASSES = {
    "refused": "the bot's guard refused the entry (spread, drift or stale input), as its log says",
    "open": "the span ends with the trade open, which a backtest closes by force",
    "occupied": "the pair or the last free slot was taken in one of them by a trade explained above",
    "edge": "the stop lies within the spread of the candle's extreme: one side of it is touched, the other is not",
}

#: Runs beside the user's strategy in the backtest only: it is the same class, and leaves its frames behind.
_KEEPER = """\
import importlib.util

from liqsignals.files import stem

_spec = importlib.util.spec_from_file_location("liqsignals_parity", {file!r})
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)


class {name}(_module.{name}):
    def populate_exit_trend(self, dataframe, metadata):
        dataframe = super().populate_exit_trend(dataframe, metadata)
        dataframe.to_pickle({folder!r} + "/" + stem(metadata["pair"]) + ".pkl")
        return dataframe
"""


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


def strategy_file(folder: Path, name: str) -> Path:
    """The file of a folder that defines a strategy class. Raises InputError where none does."""
    for path in sorted(folder.glob("*.py")):
        if re.search(rf"^class {re.escape(name)}\b", path.read_text(), re.MULTILINE):
            return path
    raise InputError(
        f"no file in {folder} defines the strategy {name}",
        "check --strategy and --userdir",
    )


def backtest(span: Span, folder: Path, overlay: Path) -> tuple[dict[str, pd.DataFrame], list[Trade]]:
    """Frames as the strategy left them (by pair, indexed by candle open) and trades of freqtrade's own backtest."""
    file = strategy_file(span.userdir / "strategies", span.strategy).resolve()
    keeper, frames, results = (folder / name for name in ("strategy", "frames", "results"))
    for made in (keeper, frames, results):
        made.mkdir(parents=True)
    (keeper / f"{span.strategy}.py").write_text(
        _KEEPER.format(file=str(file), name=span.strategy, folder=str(frames.resolve()))
    )
    log = folder / "backtest.log"
    done = freqtrade_command.run(
        freqtrade_command.backtesting(
            (span.config, overlay), span.userdir, span.datadir, keeper, [span.strategy], span.timeframe, span.pairs,
            "--timerange", f"{span.start // 10**9}-{span.stop // 10**9}",
            "--export", "trades", "--backtest-directory", str(results),
        ),
        log,
    )  # fmt: skip
    made_zips = sorted(freqtrade_command.results(results))
    if done.code != 0 or not made_zips:
        raise InputError(f"freqtrade backtesting failed: {done.failure}; log {log}")
    with zipfile.ZipFile(made_zips[-1]) as archive:
        name = next(n for n in archive.namelist() if n == made_zips[-1].stem + ".json")
        told = json.loads(archive.read(name))["strategy"][span.strategy]["trades"]
    kept = {}
    for pair in span.pairs:
        path = frames / f"{stem(pair)}.pkl"
        if not path.exists():
            raise InputError(
                f"the backtest had no candles of {pair} in the span",
                "choose another --timerange",
            )
        kept[pair] = pd.read_pickle(path).set_index("date")
    return kept, sorted(map(driver.from_backtest, told), key=lambda t: t.opened)


def stops_on_the_way(span: Span, traded: Sequence[Trade]) -> dict[str, dict[int, list[float]]]:
    """Prices at which the path inside a candle must linger: by symbol and bar open (ms).

    A backtest sells at its stop, ROI or liquidation price, wherever that lies in the candle; a bot sells at what it sees.
    """
    stops: dict[str, dict[int, list[float]]] = {}
    for trade in traded:
        if trade.closed is not None and trade.close_rate and re.search("stop|roi|liquidation", trade.reason):
            at = int(trade.closed.timestamp() * 1000) // span.step * span.step
            bars = stops.setdefault(binance.symbol(trade.pair), {})
            # In whichever of the candle's bars, of the files' finest timeframe, the price comes by.
            for bar in range(at, at + span.step, 60_000):
                bars.setdefault(bar, []).append(trade.close_rate)
    return stops


def run(span: Span, folder: Path, told: Callable[[str], None] = logger.info) -> Report:
    """Backtest, drive a bot over the same span, compare. `folder` keeps configurations, logs, frames and the database."""
    faketime_library()  # told before the backtest, not after it
    # A backtest trades from its second candle on: a signal needs the candle before.
    begin = span.start // 10**6 + span.step
    clock = MarketClock(folder / "clock", begin)
    with replayed(span.datadir, clock) as market:
        frames, traded = backtest(span, folder, market.overlay)
    told(f"{span.strategy}: the backtest has {len(traded)} trades; now the bot")
    stops = stops_on_the_way(span, traded)
    datadir = as_of(span.datadir, begin * 10**6, folder / "data")
    with replayed(span.datadir, clock, stops=stops) as market:
        settings = Settings(
            span.config,
            span.userdir,
            datadir,
            span.strategy,
            span.userdir / "strategies",
            span.pairs,
            span.timeframe,
            folder,
        )
        bot = Bot(settings, market.overlay, clock)
        bot.start()
        try:
            session = driver.drive(bot, span.stop // 10**6, market.dwells, each=_every_day(told, span))
        finally:
            bot.stop()

        def slack(pair: str, at_ms: int) -> float:
            spread, tick = market.spread(binance.symbol(pair), at_ms)
            return (spread + tick) * (1 + 1e-9)

        # What the bot opens at the last close is beyond the span.
        mine = [t for t in driver.trades(settings.database) if t.opened.timestamp() < span.stop / 10**9]
        return compare(span, frames, traded, session, mine, refusals(settings.log, span.step), slack)


_REFUSED = re.compile(rf"^(\S+ \S+?),\d+ .* (\S+/\S+): {re.escape(REFUSED)} \(")


def refusals(log: Path, step: int) -> set[tuple[str, int]]:
    """(pair, open in ms of the candle) of the entries that the strategy's guard refused, from freqtrade's logs."""
    found = set()
    for line in (line for path in log.parent.glob(f"{log.name}*") for line in path.read_text().splitlines()):
        if told := _REFUSED.match(line):
            at = int(pd.Timestamp(told[1], tz="UTC").timestamp() * 1000)
            found.add((told[2], at // step * step))
    return found


def _every_day(told: Callable[[str], None], span: Span) -> Callable[[int], None]:
    def at(close_ms: int) -> None:
        if close_ms % 86_400_000 == 0:
            told(f"{span.strategy}: the bot is at {iso(close_ms * 10**6)}")

    return at


def compare(
    span: Span,
    frames: Mapping[str, pd.DataFrame],
    traded: Sequence[Trade],
    session: Session,
    mine: Sequence[Trade],
    refused: set[tuple[str, int]],
    slack: Callable[[str, int], float],
) -> Report:
    """Report of a backtest (`frames`, `traded`) against a bot (`session`, `mine`).

    `refused`: (pair, candle open in ms) of entries that the bot's guard refused. `slack(pair, ms)`: what a price may differ
    by, spread and a tick, in quote currency.
    """
    report = Report()
    first = span.start // 10**6 + 2 * span.step
    for pair in span.pairs:
        _compare_rows(report, span, pair, frames[pair], session, range(first, span.stop // 10**6 + 1, span.step))
    report.backtest, report.bot = len(traded), len(mine)
    _compare_trades(report, span, frames, traded, mine, refused, slack)
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
        wrong = [name for name in features.NAMES if not same(expected[name], row[name])]
        report.features += not wrong
        off = [name for name in SIGNALS if _signal(expected.get(name)) != _signal(row.get(name))]
        report.signals += not off
        for name in (*wrong[:3], *off):
            what = "feature" if name in wrong else "signal"
            report.differences.append(
                f"{what}: {pair} {opened.isoformat()} {name}: backtest {expected.get(name)}, bot {row.get(name)}"
            )


def same(expected: Any, told: Any) -> bool:
    """The same float, bit for bit; JSON has null for NaN."""
    value = np.nan if told is None else float(told)
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

    for theirs in traded:
        at = candle(theirs.opened)
        name = f"{theirs.pair} {theirs.opened.isoformat()} {theirs.tag}"
        ours = bots.pop((theirs.pair, at), None)
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
        else:
            differs(f"{name}: {'; '.join(wrong)}")
    for (pair, at), ours in sorted(bots.items(), key=lambda item: item[0][1]):
        if occupied(at):
            explained("occupied", None, ours)
        else:
            differs(f"{pair} {ours.opened.isoformat()} {ours.tag}: only the bot's")


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
    """Whether a stop was touched by one of them only, in a candle whose extreme lies within the spread of it."""
    for trade in sorted((t for t in (theirs, ours) if t.closed is not None), key=lambda t: t.closed or t.opened)[:1]:
        at = candle(trade.closed or trade.opened)
        opened = pd.Timestamp(at, unit="ms", tz="UTC")
        if "stop" in trade.reason and opened in frame.index:
            extreme = float(frame["high" if trade.is_short else "low"].loc[opened])
            return bool(abs(extreme - trade.stop) <= 2 * slack(trade.pair, at))
    return False


def lines(report: Report, most: int = 20) -> list[str]:
    """What a report says, but for its last line."""
    late = sorted(report.lag_s) or [float("nan")]
    told = [
        f"{report.candles} candles compared (pair by pair); the row was there {late[len(late) // 2]:.0f} s after the close "
        f"(median), {late[-1]:.0f} s (latest), in market time",
        f"trades: backtest {report.backtest}, bot {report.bot}; {report.agree} agree in pair, side, tag, entry and exit candle, "
        "reason and prices",
    ]
    told += [
        f"explained, not counted: {count} {name}: {CLASSES[name]}" for name, count in sorted(report.classes.items())
    ]
    told += report.differences[:most]
    if len(report.differences) > most:
        told.append(f"and {len(report.differences) - most} more differences")
    return told

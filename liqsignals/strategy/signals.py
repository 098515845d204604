"""The edge to freqtrade: a strategy's dataframe in, the same dataframe with liqsignals' columns out.

def bot_start(self, **kwargs):
    self.signals = Signals.from_config(self.config)

def informative_pairs(self):
    return self.signals.informative_pairs(self.dp.current_whitelist())

def populate_indicators(self, dataframe, metadata):
    return self.signals.attach(dataframe, metadata["pair"], self.timeframe, dp=self.dp)
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from liqsignals import features, files, liqmap, records, venues
from liqsignals.clock import DAY, MINUTE, SECOND, duration_ns, iso, open_time, timeframe_name
from liqsignals.data import freqtrade, store
from liqsignals.data.tape import Tape, read_tape
from liqsignals.errors import InputError
from liqsignals.liqmap import calibration
from liqsignals.liqmap import state as saved
from liqsignals.records import Records, later
from liqsignals.strategy.guard import LATE

logger = logging.getLogger(__name__)

_LIVE = ("live", "dry_run")
#: The bot's clock, ns.
_now = time.time_ns
#: Live rows are kept this long, should a view go back: 2 MB a pair.
_KEPT = 60 * DAY


@dataclass
class _Market:
    """What is kept of one pair between calls: the disk's tape, live rows and map state; never an output.

    In dry-run and live the map's checkpoints stand for what is before them, and the disk's rows of that time are let go;
    a view that goes back has them read again.
    """

    disk: Tape
    #: Event times by family: of the disk's first and last row (live rows follow it), and of the first one that the exchange
    #: showed lately.
    ends: dict[str, tuple[int, int]] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)
    #: Live rows by family; those that the exchange revises before they may be used are replaced.
    live: dict[str, Records] = field(default_factory=dict)
    #: Map state by the timeframe of the view.
    states: dict[str, liqmap.FoldState] = field(default_factory=lambda: defaultdict(liqmap.FoldState))
    #: Closes (ns) of live bars that came without volume once and that the disk has not.
    doubted: set[int] = field(default_factory=set)
    #: Close of the disk's last bar at the start: what is missing since is not history, but may still be had.
    begun: int = 0
    #: Problems that were told once.
    told: set[str] = field(default_factory=set)
    #: State of the disk's files when they were read (Signals._files).
    read: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        self.open(self.disk)
        self.begun = self.ends["bars"][1]

    def open(self, disk: Tape) -> None:
        """Begin anew with what the disk holds, and keep the live rows beyond it."""
        paid = next(iter(disk.funding.values()), None)
        self.disk = disk
        self.states.clear()
        for family, kind in (("bars", disk.bars), ("interest", disk.open_interest), ("funding", paid)):
            event = kind["event_time"] if kind is not None else np.empty(0, np.int64)
            self.ends[family] = (int(event[0]), int(event[-1])) if len(event) else (0, 0)
            if family in self.live:
                self.live[family] = later(self.live[family], self.ends[family][1] + 1)
        if disk.bars is not None and self.doubted:
            self.doubted -= set(np.intersect1d(list(self.doubted), disk.bars["event_time"]).tolist())

    def hear(self, family: str, new: Records) -> None:
        """Take live rows in: what was kept of their time is replaced. A checkpoint made of other rows is void."""
        if len(new):
            self.shown[family] = int(new["event_time"][0])
        new = later(new, self.ends[family][1] + 1)
        if len(new) == 0:
            return
        if family == "bars":
            self.doubted |= set(new["event_time"][new["volume"] == 0].tolist())
        old = self.live.get(family, new[:0])
        before = int(np.searchsorted(old["event_time"], new["event_time"][0]))
        used = max((state.upto for state in self.states.values()), default=0)
        then, now = (kind[kind["known_at"] <= used] for kind in (old[before:], new))
        if family != "funding" and not np.array_equal(then, now):
            self.states.clear()
        self.live[family] = np.concatenate([old[:before], new])

    def unsure(self) -> int:
        """Close (ns) of the first live bar that is missing or came without volume, 0 where none is.

        Freqtrade fills a candle that the exchange left out with one without volume. Where it hears of it later, it joins the
        two, prices of the made-up one included. What is older than the map's warm-up is forgotten: a map that restarted then
        counts as warm.
        """
        step = self.disk.bar_ns
        stored, live = (
            later(kind, self.begun + 1)["event_time"] if kind is not None else np.empty(0, np.int64)
            for kind in (self.disk.bars, self.live.get("bars"))
        )
        at = np.concatenate((stored, live))
        if len(at) == 0:
            return 0
        # Of the disk's rows the first ones may have been let go; live ones follow its last.
        before = np.concatenate(([at[0] - step if len(stored) or not self.begun else self.ends["bars"][1]], at[:-1]))
        cold = at[-1] - liqmap.WARMUP
        missing = (before + step)[(at - before > step) & (at > cold)]
        return min((*missing.tolist(), *(close for close in self.doubted if close > cold)), default=0)

    def settle(self) -> None:
        """Let go of what the checkpoints stand for, but for the bars that tell the labels of live open interest."""
        for state in self.states.values():
            state.forget()
        needs = min(*(m.needs for m in self.states.values()), self.shown.get("interest", 0) - 4 * self.disk.period_ns)
        if needs > self.disk.since:
            self.disk = self.disk.later(needs, copy=True)
        for family, kind in self.live.items():
            if len(kind):  # none where the disk has caught up
                self.live[family] = later(kind, min(needs, int(kind["event_time"][-1]) - _KEPT))


def _unreadable(pair: str, exchange: str) -> Tape:
    """A tape of families that are there and hold nothing: every flag is 0, and blocks entries."""
    nothing = (np.empty(0, dtype) for dtype in (records.BAR, records.OPEN_INTEREST, records.FUNDING, records.FLOW))
    bars, interest, settled, flow = nothing
    return Tape(pair, 5 * MINUTE, 5 * MINUTE, bars, interest, {exchange: settled}, flow)


class Signals:
    """Features of every pair of a bot. Make one with `from_config` in `bot_start`."""

    def __init__(
        self,
        datadir: Path,
        *,
        extras: Path | None = None,
        finest: str = "5m",
        exchange: str | None = None,
        calibrated: calibration.Calibration | None = None,
    ) -> None:
        freqtrade.check_datadir(datadir)
        self.datadir = datadir
        self.exchange = exchange or venues.exchange_of(datadir)
        self.extras = extras or datadir / "liqsignals"
        self.finest = finest
        #: The prior, unless given: from_config gives the configured one, or the one that ships.
        self.calibration = calibrated or calibration.uncalibrated()
        self._markets: dict[str, _Market | None] = {}
        self._hindsight_told = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Signals":
        """Signals for a freqtrade configuration.

        Reads `datadir`, `exchange.name` and the block `"liqsignals"`: `extras` (folder of what freqtrade cannot hold,
        default `<datadir>/liqsignals`), `finest` ("5m", or "1m" to fold 1m candles) and `calibration` (a file of
        `liqsignals calibrate`, or "none" for the prior; the shipped one unless given). Raises InputError for settings that
        cannot work, spot mode among them.
        """
        block = dict(config.get("liqsignals") or {})
        unknown = sorted(set(block) - {"extras", "finest", "calibration"})
        if unknown:
            raise InputError(
                f'config: unknown key {", ".join(unknown)} in the block "liqsignals"; known are: calibration, extras, finest'
            )
        if config.get("trading_mode", "spot") != "futures":
            raise InputError(
                'config: liqsignals needs "trading_mode": "futures"; a spot market has no liquidations or funding'
            )
        finest = str(block.get("finest", "5m"))
        if finest not in ("1m", "5m"):
            raise InputError(f'config: "liqsignals": {{"finest": "{finest}"}} must be "5m" or "1m"')
        exchange = str(config.get("exchange", {}).get("name") or "") or None
        if exchange in ("binanceusdm",):
            exchange = "binance"
        if exchange is not None:
            venues.check_exchange(exchange)
        extras = Path(block["extras"]) if block.get("extras") else None
        store.check_extras(extras)
        folder = venues.known_exchange(Path(config["datadir"]))
        if exchange is not None and folder is not None and folder != exchange:
            raise InputError(
                f"config: the exchange is '{exchange}', but the data directory {config['datadir']} belongs to "
                f"'{folder}', and open interest is counted differently",
                "set exchange.name to the data's exchange",
            )
        calibrated = calibration.choose(block.get("calibration"))
        return cls(Path(config["datadir"]), extras=extras, finest=finest, exchange=exchange, calibrated=calibrated)

    def informative_pairs(self, whitelist: Sequence[str]) -> list[tuple[str, str, str]]:
        """(pair, timeframe, candle type) of what freqtrade must refresh in dry-run and live."""
        wanted: list[tuple[str, str, str]] = []
        for pair in whitelist:
            bars, interest = self._timeframes(pair)
            wanted += [
                (pair, bars, "futures"),
                (pair, interest, "open_interest"),
                (pair, "1h", "funding_rate"),
            ]
        return wanted

    def attach(self, dataframe: pd.DataFrame, pair: str, timeframe: str, dp: Any = None) -> pd.DataFrame:
        """`dataframe` with COLUMNS attached by position; length, order and index stay as they are.

        `dataframe` holds freqtrade's candles (`date` = open, tz-aware UTC). `dp` is the strategy's DataProvider: in
        dry-run and live it supplies what is newer than the disk, in backtests it is not used. A pair without data gets
        NaN columns and one warning. Raises InputError for a file that cannot be read (in dry-run and live the last good
        reading serves instead, and goes stale by its own age).
        """
        if len(dataframe) == 0:
            return dataframe.assign(**features.empty(0))
        at, closes = freqtrade.decisions(dataframe, timeframe, f"{pair} {timeframe} dataframe")
        if (np.diff(at) <= 0).any():
            raise InputError(f"{pair} {timeframe} dataframe: dates are not in ascending order, each once")
        self._tell_hindsight(pair, int(at[0]))
        live = dp is not None and str(getattr(dp, "runmode", "")).split(".")[-1].lower() in _LIVE
        market = self._market(pair, live)
        if market is None:
            columns = features.empty(len(dataframe))
        else:
            live = live and pair in self._markets
            if live:
                self._renew(pair, market)
            length = duration_ns(timeframe)
            first = int(open_time(at[:1], length)[0])
            parameters = self.calibration.parameters(pair)
            loaded = self._load_state(market, timeframe, first, parameters)
            tape = self._with_live(market, pair, dp, dataframe, timeframe, first) if live else market.disk
            # From then on freqtrade may take an unfinished candle for the last one (docs/decisions/051).
            if live and _now() - at[-1] >= LATE * SECOND:
                tape = replace(tape, unsure=min(tape.unsure or int(at[-1]), int(at[-1])))
            state = market.states[timeframe]
            columns = features.compute(tape, at, closes, length, parameters, state)
            saved.save(saved.folder_of(self.extras), market.disk, state, parameters, loaded)
            if live:
                market.settle()
        new = pd.DataFrame(np.stack(list(columns.values())).T, dataframe.index, list(columns), copy=False)
        old = [c for c in features.NAMES if c in dataframe.columns]
        return pd.concat([dataframe.drop(columns=old) if old else dataframe, new], axis=1)

    def _load_state(self, market: _Market, timeframe: str, first: int, parameters: liqmap.Parameters) -> int:
        """Take up the saved state that serves a view of bars after `first`; the instant (ns) up to which it goes."""
        if market.states[timeframe].book is None:
            state = saved.load(saved.folder_of(self.extras), market.disk, first, parameters)
            if state is not None:
                market.states[timeframe] = state
        return market.states[timeframe].upto

    def _tell_hindsight(self, pair: str, first: int) -> None:
        """Say once where a backtest uses a calibration on candles that it was fitted on, or before them."""
        known_at = self.calibration.parameters(pair).known_at
        if first < known_at and not self._hindsight_told:
            self._hindsight_told = True
            logger.warning(
                "the calibration (%s) was fitted on liquidations up to %s; no bot had it before, and a backtest of earlier candles "
                'knows that much. Way out: "liqsignals": {"calibration": "none"} in the config, or a file of liqsignals calibrate '
                "--until the backtest's start",
                self.calibration.origin, iso(known_at),
            )  # fmt: skip

    def _timeframes(self, pair: str) -> tuple[str, str]:
        bars = freqtrade.candle_file(self.datadir, pair, self.finest)
        interest = freqtrade.open_interest_file(self.datadir, pair)
        return (bars[0] if bars else "5m", interest[0] if interest else "5m")

    def _market(self, pair: str, live: bool) -> _Market | None:
        if pair not in self._markets:
            tape = self._read(pair, live)
            if tape is None:
                # Not remembered: the next candle tries again. Until then he has the data, and they are not fresh.
                return _Market(_unreadable(pair, self.exchange))
            self._markets[pair] = self._opened(pair, tape)
        return self._markets[pair]

    def _read(self, pair: str, live: bool) -> Tape | None:
        """The disk's tape; in dry-run and live None where it cannot be read."""
        try:
            return read_tape(self.datadir, pair, extras=self.extras, finest=self.finest, exchange=self.exchange)
        except InputError as error:
            if not live:
                raise
            logger.error("%s: %s", pair, error)
            return None

    def _files(self, pair: str, recorded: bool) -> tuple[Any, ...]:
        """What changes when the disk's files of a pair do; a recorder's, which change all the time, only if asked."""
        found = [
            freqtrade.candle_file(self.datadir, pair, self.finest),
            freqtrade.open_interest_file(self.datadir, pair),
        ]
        paths: list[Path | None] = [file[1] for file in found if file]
        paths += [
            freqtrade.funding_file(folder, pair) for folder in (self.datadir, *store.venue_dirs(self.extras).values())
        ]
        paths += (self.extras / "flows").glob("*.csv")
        if recorded:
            kinds = (("bar", "5m"), ("open_interest", "5m"))
            paths += (store.series_dir(self.extras, kind, self.exchange, pair, period) for kind, period in kinds)
        return tuple((str(path), *files.signature(path)) for path in paths if path is not None and path.exists())

    def _renew(self, pair: str, market: _Market) -> None:
        """In dry-run and live: read the disk again where a download has changed it, or a recorder may have mended it."""
        try:
            files = self._files(pair, bool(market.unsure()))
        except OSError:  # one of them is being replaced: the next candle sees it
            return
        if files == market.read:
            return
        tape = self._read(pair, live=True) if market.read else None
        market.read = files
        if tape is not None:
            market.open(tape)

    def _opened(self, pair: str, tape: Tape) -> _Market | None:
        command = freqtrade.download_command(self.exchange, pair)
        if tape.bars is None and tape.open_interest is None and not tape.funding and tape.flow is None:
            logger.warning(
                "%s: no data in %s; its liqsignals columns are NaN. Fill it: %s", pair, self.datadir, command
            )
            return None
        for what, missing in (("candle", tape.bars is None), ("open-interest", tape.open_interest is None)):
            if missing:
                logger.warning(
                    "%s: no %s file in %s/futures; liq_* columns are NaN and their filters off. Fill it: %s",
                    pair, what, self.datadir, command,
                )  # fmt: skip
        if not tape.funding:
            logger.warning(
                "%s: no funding file; fund_* columns are NaN and their filters off. Fill it: %s",
                pair,
                command,
            )
        if tape.flow is None:
            logger.info(
                "%s: no flows file in %s/flows; flow_* columns are NaN and their filters off",
                pair,
                self.extras,
            )
        market = _Market(tape)
        self._tell_holes(pair, tape, market)
        return market

    def _tell_holes(self, pair: str, tape: Tape, market: _Market) -> None:
        """Name each hole in the candles once, with the command that fills it."""
        if tape.bars is None or len(tape.bars) == 0:
            return
        closed = tape.bars["event_time"]
        # freqtrade cannot fill a hole inside a file: it fetches the file anew, from its first candle on.
        first = iso((market.ends["bars"][0] or closed[0]) - tape.bar_ns)[:10].replace("-", "")
        for row in np.flatnonzero(np.diff(closed) > tape.bar_ns):
            start, end = iso(closed[row]), iso(closed[row + 1] - tape.bar_ns)
            if start not in market.told:
                market.told.add(start)
                logger.warning(
                    "%s: no candles from %s to %s; the map starts anew after it (liq_warm 0 for 14 days). Fill it: "
                    "freqtrade download-data --exchange %s --trading-mode futures --candle-types futures --erase -t %s "
                    "-p %s --timerange %s-", pair, start, end, self.exchange, timeframe_name(tape.bar_ns), pair, first,
                )  # fmt: skip

    def _with_live(
        self, market: _Market, pair: str, dp: Any, dataframe: pd.DataFrame, timeframe: str, first: int
    ) -> Tape:
        """The disk's tape with what the exchange has told since, from where a view of bars after `first` needs it.

        Where both have an instant, the disk's row counts; of two live rows the newer one. A family whose live rows
        cannot be read keeps what it had, until that is too old.
        """
        disk = market.disk
        bars_tf, interest_tf = timeframe_name(disk.bar_ns), timeframe_name(disk.period_ns)

        def refresh(family: str, timeframe: str, kind: str, read: Callable[[pd.DataFrame], Records]) -> None:
            frame = dp.get_pair_dataframe(pair, timeframe, candle_type=kind)
            if kind == "futures" and own and (len(frame) == 0 or dataframe["date"].iloc[0] <= frame["date"].iloc[0]):
                frame = dataframe
            if frame is not None and len(frame):
                try:
                    market.hear(family, read(frame))
                except InputError as error:
                    # Its way out is for files; here the next answer is it.
                    why = str(error).split(" Way out:")[0]
                    logger.error(
                        "%s: what the exchange sent is not used; the last good data serve until they are too old", why
                    )

        own = timeframe == bars_tf
        refresh("bars", bars_tf, "futures", lambda f: freqtrade.bars(f, bars_tf, f"{pair} live candles"))
        known = _joined(disk.bars, market.live.get("bars"), 0)
        refresh(
            "interest", interest_tf, "open_interest",
            lambda f: freqtrade.open_interest(
                f, interest_tf, known if known is not None else np.empty(0, records.BAR), disk.bar_ns, self.exchange,
                f"{pair} live open interest", disk.labels,
            )[0],
        )  # fmt: skip
        refresh("funding", "1h", "funding_rate", lambda f: freqtrade.funding(f, f"{pair} live funding"))
        state = market.states[timeframe]
        since = state.needs if state.serves(first, state.needs) else 0
        if since < disk.since:
            tape = self._read(pair, live=True)
            if tape is None:
                return _unreadable(pair, self.exchange)
            market.open(tape)
            disk = tape
        paid = _joined(disk.funding.get(self.exchange), market.live.get("funding"), 0)
        others = {venue: kind for venue, kind in disk.funding.items() if venue != self.exchange}
        tape = replace(
            disk,
            bars=_joined(disk.bars, market.live.get("bars"), since),
            open_interest=_joined(disk.open_interest, market.live.get("interest"), since),
            funding=others if paid is None else {self.exchange: paid, **others},
            since=since,
            unsure=market.unsure(),
        )
        self._tell_holes(pair, tape, market)
        self._tell_unsure(pair, tape, market)
        return tape

    def _tell_unsure(self, pair: str, tape: Tape, market: _Market) -> None:
        """Name each candle that is missing or may be made up once."""
        if tape.unsure and iso(tape.unsure) not in market.told:
            market.told.add(iso(tape.unsure))
            logger.warning(
                "%s: the candle that closed at %s is missing or has no volume (the exchange left it out, or did not trade). No entries (liq_fresh 0) "
                "until the disk has it; the bot looks by itself. Way out: liqsignals download --datadir %s --pairs %s --days 2, or "
                "liqsignals record beside the bot", pair, iso(tape.unsure), self.datadir, pair,
            )  # fmt: skip


def _joined(disk: Records | None, live: Records | None, since: int) -> Records | None:
    """Rows of the disk and the live ones beyond them, from the event time `since` (ns) on."""
    kinds = [later(kind, since) for kind in (disk, live) if kind is not None]
    return np.concatenate(kinds) if kinds else None

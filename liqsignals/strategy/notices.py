"""Warnings about the data in a bot's log, each logged once."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from liqsignals import records
from liqsignals.clock import Int64Array, iso, timeframe_name
from liqsignals.data import freqtrade, plausible
from liqsignals.data.choice import TIMEFRAMES
from liqsignals.data.plausible import Refused
from liqsignals.data.tape import Tape
from liqsignals.errors import InputError
from liqsignals.liqmap.calibration import Calibration

# The name that users filter by and that log files have held so far.
logger = logging.getLogger("liqsignals.strategy.signals")


class Notices:
    """Logs each message once per key, for all pairs."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, ...]] = set()

    def once(self, key: tuple[str, ...], level: int, message: str, *arguments: object) -> None:
        """Log a message unless one of the same key was logged before."""
        if key not in self._logged:
            self._logged.add(key)
            logger.log(level, message, *arguments)

    def failed(self, pair: str, error: Exception) -> None:
        """The columns of a pair could not be computed: one traceback for each kind of error."""
        key = (pair, "failed", type(error).__name__, str(error))
        if key not in self._logged:
            self._logged.add(key)
            logger.error(
                "%s: its liqsignals columns could not be computed (%s: %s); no entries (all flags 0) until they can",
                pair,
                type(error).__name__,
                error,
                exc_info=None if isinstance(error, InputError) else error,
            )

    def vanished(self, pair: str, kinds: set[str]) -> None:
        """Kinds (records.KINDS) that were on disk at the start and are not any more."""
        for kind in sorted(kinds):
            self.once(
                (pair, "vanished", kind),
                logging.ERROR,
                "%s: its files of %s were there and are gone; their columns are NaN and their flag 0, which blocks "
                "entries. Way out: put them back, or restart the bot to run without them",
                pair,
                kind,
            )

    def closed(self, pair: str, error: OSError) -> None:
        """A folder that cannot be read while the bot runs."""
        self.once(
            (pair, "closed", str(error.filename)),
            logging.ERROR,
            "%s: %s cannot be read (%s); its columns are NaN and all flags 0, which blocks entries. Way out: let the "
            "bot's user read it",
            pair,
            error.filename,
            error.strerror,
        )

    def mended(self, pair: str, family: str, error: InputError) -> None:
        """A live row that is not used because the disk has its time."""
        self.once(
            (pair, "mended", family, error.problem),
            logging.WARNING,
            "%s: %s; the disk has that time, and its row is used",
            pair,
            error.problem,
        )

    def hindsight(self, calibration: Calibration, pair: str, first: int) -> None:
        """A calibration is used on candles (from decision time `first` on, ns) up to the end of its own data."""
        known_at = calibration.parameters(pair).known_at
        if first < known_at:
            self.once(
                ("hindsight",),
                logging.WARNING,
                "the calibration (%s) was fitted on liquidations up to %s; no bot had it before, and a backtest of"
                ' earlier candles knows that much. Way out: "liqsignals": {"calibration": "none"} in the config, or a'
                " file of liqsignals calibrate --until the backtest's start",
                calibration.origin,
                iso(known_at),
            )

    def missing(self, tape: Tape, datadir: Path, extras: Path, command: str) -> None:
        """Kinds without a file; `command` downloads those that freqtrade can store."""
        pair = tape.pair
        if nothing(tape):
            self.once(
                (pair, "nothing"),
                logging.WARNING,
                "%s: no data in %s; its liqsignals columns are NaN. Fill it: %s",
                pair,
                datadir,
                command,
            )
            return
        found: list[tuple[int, str]] = []
        for what, kind, candle_type in (
            ("candle", tape.bars, "futures"),
            ("open-interest", tape.open_interest, "open_interest"),
        ):
            if kind is None:
                there = freqtrade.timeframes_there(datadir, pair, candle_type)
                found.append(
                    (
                        logging.WARNING,
                        (
                            f"no {what} file in {datadir}/futures (of {TIMEFRAMES[-1]} or finer; there: {there}): liq_*"
                            " columns are NaN, and what asks for the map does not enter"
                        ),
                    )
                )
            elif len(kind) == 0:
                found.append(
                    (
                        logging.WARNING,
                        (
                            f"the {what} file in {datadir}/futures holds no rows: liq_* columns are NaN and liq_fresh"
                            " is 0, which blocks entries"
                        ),
                    )
                )
        if not tape.funding:
            found.append((logging.WARNING, "no funding file: fund_* columns are NaN, their filter is off"))
        elif len(next(iter(tape.funding.values()))) == 0:
            found.append(
                (
                    logging.WARNING,
                    (
                        "the funding file holds fewer than two rows: fund_* columns are NaN and fund_fresh is 0, which"
                        " blocks entries"
                    ),
                )
            )
        lacks = bool(found)
        if tape.flow is None:
            found.append(
                (logging.INFO, f"no flows file in {extras}/flows: flow_* columns are NaN, their filter is off")
            )
        if found:
            # One line for a pair, with the command for what freqtrade can fetch.
            self.once(
                (pair, "missing"),
                max(level for level, _ in found),
                "%s: %s%s",
                pair,
                "; ".join(text for _, text in found),
                f". Fill it: {command}" if lacks else "",
            )

    def arrived(self, pair: str) -> None:
        """The first files of a pair that had none when the bot looked before."""
        if (pair, "nothing") in self._logged:
            self.once((pair, "arrived"), logging.INFO, "%s: its data have arrived and are used from now on", pair)

    def forgotten(self, strategy: str | None) -> None:
        """A running bot's strategy does not have its open interest and funding refreshed."""
        self.once(
            ("informative_pairs",),
            logging.ERROR,
            "strategy %s: its informative_pairs() names none of what liqsignals reads, so that open interest and"
            " funding stand still; no entries (all flags 0). Way out: def informative_pairs(self): return"
            " self.signals.informative_pairs(self.dp.current_whitelist())",
            strategy or "(name not known)",
        )

    def holes(self, tape: Tape, first: int, exchange: str) -> None:
        """Each hole in the candles, and the command that fills it; `first` (ns): close of the file's first candle."""
        if tape.bars is None or len(tape.bars) == 0:
            return
        closed = np.ascontiguousarray(tape.bars["event_time"])
        for row in np.flatnonzero(np.diff(closed) > tape.bar_ns):
            # freqtrade cannot fill a hole inside a file: it fetches the file anew, from its first candle on.
            day = iso((first or closed[0]) - tape.bar_ns)[:10].replace("-", "")
            start, end = iso(closed[row]), iso(closed[row + 1] - tape.bar_ns)
            self.once(
                (tape.pair, tape.venue, "hole", start),
                logging.WARNING,
                "%s: no candles from %s to %s; the map starts anew after it (liq_warm 0 for 14 days). Fill it: "
                "freqtrade download-data --exchange %s --trading-mode futures --candle-types futures --erase -t %s "
                "-p %s --timerange %s-",
                tape.pair,
                start,
                end,
                exchange,
                timeframe_name(tape.bar_ns),
                tape.pair,
                day,
            )

    def refused(self, tape: Tape, datadir: Path) -> None:
        """Rows that are read as holes: of each file how many, and the first; rates that may be in percent."""
        if text := plausible.in_percent(next(iter(tape.funding.values()), np.empty(0, records.FUNDING))):
            self.once((tape.pair, "percent"), logging.WARNING, "%s: %s", tape.pair, text)
        for line in plausible.warnings(tape.refused):
            self.once(
                (tape.pair, "refused", line),
                logging.WARNING,
                "%s. All of them: liqsignals doctor --datadir %s",
                line,
                datadir,
            )

    def broken(self, pair: str, rows: Sequence[Refused]) -> None:
        """Rows of the exchange's answer that are broken in themselves; the others are used."""
        if rows:
            self.once(
                (pair, "broken", str(rows[0])),
                logging.ERROR,
                "%s; of the exchange's answer %d rows are not used",
                rows[0],
                len(rows),
            )

    def unsure(self, tape: Tape, datadir: Path) -> None:
        """The first candle that is missing, may be made up or came in two ways."""
        if tape.unsure:
            self.once(
                (tape.pair, "unsure", iso(tape.unsure)),
                logging.WARNING,
                "%s: the candle that closed at %s is missing, has no volume or a single price (the exchange left it"
                " out, or did not trade), or came again otherwise than before. No entries (liq_fresh 0) until the disk"
                " has it; the bot looks by itself. Way out: liqsignals download --datadir %s --pairs %s --days 2, or liqsignals record beside the bot",
                tape.pair,
                iso(tape.unsure),
                datadir,
                tape.pair,
            )

    def replaced(self, pair: str, closes: Int64Array) -> None:
        """Candles of the bot's frame, by their close (ns), that the disk has otherwise."""
        self.once(
            (pair, "replaced", iso(int(closes[0]))),
            logging.WARNING,
            "%s: the exchange sent the candle that closed at %s otherwise than the disk has it%s; the disk's is used,"
            " in the strategy's frame as well",
            pair,
            iso(int(closes[0])),
            f" (and {len(closes) - 1} more)" if len(closes) > 1 else "",
        )


def nothing(tape: Tape) -> bool:
    """Whether there is no file at all of a market's own kinds."""
    return tape.bars is None and tape.open_interest is None and not tape.funding and tape.flow is None

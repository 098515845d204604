"""What a bot's log says of the data: each thing once."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from liqsignals.clock import iso, timeframe_name
from liqsignals.data import plausible
from liqsignals.data.plausible import Refused
from liqsignals.data.tape import Tape
from liqsignals.liqmap.calibration import Calibration

# The name that users filter by and that log files have held so far.
logger = logging.getLogger("liqsignals.strategy.signals")


class Notices:
    """Logs each thing once in its life, whatever pair it is of."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, ...]] = set()

    def once(self, key: tuple[str, ...], level: int, message: str, *arguments: object) -> None:
        """Log a message unless one of the same key was."""
        if key not in self._logged:
            self._logged.add(key)
            logger.log(level, message, *arguments)

    def hindsight(self, calibration: Calibration, pair: str, first: int) -> None:
        """A calibration is used on candles, from decision time `first` (ns) on, that it was fitted on, or before them."""
        known_at = calibration.parameters(pair).known_at
        if first < known_at:
            self.once(
                ("hindsight",),
                logging.WARNING,
                "the calibration (%s) was fitted on liquidations up to %s; no bot had it before, and a backtest of earlier "
                'candles knows that much. Way out: "liqsignals": {"calibration": "none"} in the config, or a file of '
                "liqsignals calibrate --until the backtest's start",
                calibration.origin,
                iso(known_at),
            )

    def missing(self, tape: Tape, datadir: Path, extras: Path, command: str) -> None:
        """Kinds that there is no file of; `command` fills what freqtrade can hold."""
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
        for what, kind in (("candle", tape.bars), ("open-interest", tape.open_interest)):
            if kind is None:
                self.once(
                    (pair, what),
                    logging.WARNING,
                    "%s: no %s file in %s/futures; liq_* columns are NaN and their filters off. Fill it: %s",
                    pair,
                    what,
                    datadir,
                    command,
                )
        if not tape.funding:
            self.once(
                (pair, "funding"),
                logging.WARNING,
                "%s: no funding file; fund_* columns are NaN and their filters off. Fill it: %s",
                pair,
                command,
            )
        if tape.flow is None:
            self.once(
                (pair, "flow"),
                logging.INFO,
                "%s: no flows file in %s/flows; flow_* columns are NaN and their filters off",
                pair,
                extras,
            )

    def holes(self, tape: Tape, first: int, exchange: str) -> None:
        """Each hole in the candles, and the command that fills it; `first` (ns): close of the file's first candle."""
        if tape.bars is None or len(tape.bars) == 0:
            return
        closed = tape.bars["event_time"]
        # freqtrade cannot fill a hole inside a file: it fetches the file anew, from its first candle on.
        day = iso((first or closed[0]) - tape.bar_ns)[:10].replace("-", "")
        for row in np.flatnonzero(np.diff(closed) > tape.bar_ns):
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
        """Rows that are read as holes: of each file how many, and the first."""
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
        """The first candle that is missing or may be made up."""
        if tape.unsure:
            self.once(
                (tape.pair, "unsure", iso(tape.unsure)),
                logging.WARNING,
                "%s: the candle that closed at %s is missing or has no volume (the exchange left it out, or did not "
                "trade). No entries (liq_fresh 0) until the disk has it; the bot looks by itself. Way out: liqsignals "
                "download --datadir %s --pairs %s --days 2, or liqsignals record beside the bot",
                tape.pair,
                iso(tape.unsure),
                datadir,
                tape.pair,
            )


def nothing(tape: Tape) -> bool:
    """Whether there is no file at all of a market's own kinds."""
    return tape.bars is None and tape.open_interest is None and not tape.funding and tape.flow is None

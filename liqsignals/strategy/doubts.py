"""Live bars that may not be what the exchange traded."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from liqsignals.clock import DAY
from liqsignals.data.freqtrade import CANDLES
from liqsignals.data.tape import Tape
from liqsignals.records import BAR, Records


@dataclass
class Doubts:
    """The live bars of one market that are in doubt until they come as they should, or the disk has them (decision
    061).

    They are known by their close (ns).
    """

    #: May be made up: freqtrade gives a candle without prices (NaN) those of the close before, and leaves its volume.
    made_up: set[int] = field(default_factory=set)
    #: Came otherwise than before: as they came first.
    retold: dict[int, np.void] = field(default_factory=dict)
    #: Of the first bar that came late or before its end when bars came last, 0 for none.
    late: int = 0
    #: Whether the market has bars with volume and one price: where ticks are coarse, they are no sign.
    flat: bool = False

    @property
    def closes(self) -> frozenset[int]:
        return frozenset((*self.made_up, *self.retold))

    def stored(self, bars: Records | None) -> None:
        """Read the disk's bars: those in doubt are there, or are not."""
        if bars is None:
            return
        self.flat = self.flat or bool(_flat(bars).any())
        if closes := self.closes:
            there = set(np.intersect1d(list(closes), bars["event_time"]).tolist())
            self.made_up -= there
            self.retold = {close: row for close, row in self.retold.items() if close not in there}

    def sent(self, old: Records, new: Records, disk: Tape) -> None:
        """Read an answer's bars `new`; `old`: the kept ones from its first time on, `disk`: the bars before."""
        made_up = (new["volume"] == 0) | (_flat(new) & (not self.flat))
        self.made_up |= set(new["event_time"][made_up].tolist())
        before, now = _shared(old, new)
        # They came before their end, and have more volume now.
        grown = _flat(before) & ~_flat(now) & (now["volume"] > before["volume"])
        self.made_up -= set(now["event_time"][grown].tolist())
        self._compare(old, new, disk)

    def _compare(self, old: Records, new: Records, disk: Tape) -> None:
        """Doubt bars that came otherwise before, until they come so again.

        The last one of an answer in time may have been trades short, and one that came late unfinished, where it opened
        at the close before it. What else comes otherwise was false: where the exchange's answers are old, or have rows
        of the future, freqtrade shows another candle in a bar's place, and joins its prices to the true ones.
        """
        whole = len(old) - (self.late == 0 or _follows(old[-1:], new, disk))
        before, now = _shared(old[:whole], new)
        for row in before[_other(before, now)]:
            self.retold.setdefault(int(row["event_time"]), row)
        if self.retold:
            before, now = _shared(np.array([self.retold[close] for close in sorted(self.retold)], BAR), new)
            for close in before["event_time"][~_other(before, now)].tolist():
                del self.retold[close]


def _follows(row: Records, new: Records, disk: Tape) -> bool:
    """Whether a bar opened as near to the close before it, of `new` or the disk, as the disk's bars of the last day
    did.
    """
    bar_ns = disk.bar_ns
    recent = disk.bars[-DAY // bar_ns :] if disk.bars is not None else new[:0]
    known = np.concatenate([recent[-1:], new])
    close = known["close"][known["event_time"] == row["event_time"][:1] - bar_ns] if len(row) else known["close"][:0]
    gap = np.abs(recent["open"][1:] - recent["close"][:-1]).max(initial=0.0)
    return bool((np.abs(row["open"][:1] - close) <= gap).any())


def _flat(bars: Records) -> NDArray[np.bool_]:
    """Whether BAR rows have volume and one price throughout."""
    return np.asarray((bars["volume"] > 0) & (bars["high"] == bars["low"]), np.bool_)


def _other(one: Records, other: Records) -> NDArray[np.bool_]:
    """Which of as many BAR rows have other prices or another volume."""
    return np.asarray(np.any([one[name] != other[name] for name in CANDLES], axis=0), np.bool_)


def _shared(one: Records, other: Records) -> tuple[Records, Records]:
    """The rows of both whose event times the other has, too."""
    _, here, there = np.intersect1d(one["event_time"], other["event_time"], assume_unique=True, return_indices=True)
    return one[here], other[there]

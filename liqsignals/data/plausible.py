"""What no market does (docs/laws.md 10): rows that stand in a file and are read as holes.

Each kind is a left fold over its rows in tape order. A verdict depends on rows known by the row's own `known_at` alone,
so that cutting the tape anywhere changes none, and a running bot goes on from the fold's memory where the disk ends.

A row that breaks its rule is a hole at once. When three in a row agree with each other, the step is taken for real at
the third: a split, another unit, a coin that was renamed. The first row has nothing to be compared with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from liqsignals import records
from liqsignals.clock import DAY, iso
from liqsignals.data import plausible_kernels as kernels
from liqsignals.data.plausible_kernels import (
    ABSURD,
    GAPED,
    LEAPED,
    PRICED,
    RANGED,
    RATED,
    TAKEN,
    UNTRADED,
    VOLUMINOUS,
    WICKED,
    Memory,
)
from liqsignals.records import Float64Array, Records, same_records

_WORDS = {
    ABSURD: "holds {found:g}, which no market has",
    GAPED: "opens at {found:g}; the candle before it closed at {against:g}",
    RANGED: "holds a price of {found:g}; the candle before it closed at {against:g}",
    WICKED: "holds a price of {found:g} on a volume of {against:g}, too little to move price so far",
    VOLUMINOUS: "has a volume of {found:g} and hardly moved; the busiest candle of the 30 days before had {against:g}",
    LEAPED: "has open interest {found:g}; the snapshot before it had {against:g}",
    UNTRADED: "changes open interest by {found:g}; {against:g} were traded in that time and a candle on either side",
    PRICED: "has open_interest_value / open_interest_amount {found:g}; the market traded at {against:g}",
    RATED: "has a funding rate of {found:g}; the largest of the 30 days before was {against:g} per 8 h",
}  # fmt: skip


@dataclass(frozen=True)
class Refused:
    """A row that is read as a hole: where it stands, its time (ns: candle's open, snapshot, settlement), and why."""

    what: str
    at: int
    why: str
    #: Position in the file, None for rows of a recorder or of the exchange's answer.
    row: int | None = None

    def __str__(self) -> str:
        return f"{self.what}: {'row' if self.row is None else f'row {self.row}'} ({iso(self.at)}) {self.why}"


@dataclass(frozen=True)
class Past:
    """Where the folds of a market stand at the end of what the disk holds."""

    bars: Memory = field(default_factory=Memory.blank)
    interest: Memory = field(default_factory=Memory.blank)
    funding: Memory = field(default_factory=Memory.blank)
    #: OI_VALUE rows of the disk that became known after its last bar: they are judged when their bars are there.
    late: Records = field(default_factory=lambda: np.empty(0, records.OI_VALUE))


@dataclass(frozen=True)
class Verdict:
    """Of n rows: the rows taken, the rest with the reasons, and the memory after the last one."""

    taken: Records
    refused: Records
    why: NDArray[np.int64]
    found: Float64Array
    against: Float64Array
    memory: Memory
    #: Bars only, (len(taken),): the largest volume of a bar in the 30 days up to each.
    busiest: Float64Array = field(default_factory=lambda: np.empty(0))

    def followed(self, more: "Verdict", rows: Records) -> "Verdict":
        """This verdict and that on the rows after it; `rows` are those of both."""
        joined = {
            name: np.concatenate([getattr(self, name), getattr(more, name)])
            for name in ("refused", "why", "found", "against", "busiest")
        }
        whole = len(joined["refused"]) == 0 and self.taken.dtype == rows.dtype
        taken = rows if whole else np.concatenate([self.taken, more.taken])
        return Verdict(taken=taken, memory=more.memory, **joined)

    def named(self, what: str, before: int = 0) -> list[Refused]:
        """The refused rows, as rows of `what` that are dated `before` (ns) earlier than their `event_time`."""
        times = (self.refused["event_time"] - before).tolist()
        reasons = zip(times, self.why.tolist(), self.found.tolist(), self.against.tolist(), strict=True)
        return [Refused(what, t, _WORDS[w].format(found=f, against=a)) for t, w, f, a in reasons]

    def other_market(self, rows: Records) -> tuple[float, float] | None:
        """Of OI_VALUE `rows`: a price that their worth implies and one traded then, where no row's worth is right."""
        priced = np.asarray(self.why == PRICED)
        if priced.sum() < 3 or priced.sum() < (rows["usd"] > 0).sum():
            return None
        return float(self.found[priced][0]), float(self.against[priced][0])


class Growing:
    """The verdict on rows that grow at their end, as a bot's do at each candle: what was judged is not judged again.

    It goes on from its memory while the rows before are the same, bit by bit, and so are the objects that the verdict
    depends on besides them; else it begins anew. Either way it is the verdict on all rows at once.
    """

    def __init__(self) -> None:
        self._rows: Records | None = None
        self._basis: tuple[object, ...] = ()
        self._verdict: Verdict | None = None
        self._final = 0
        self._whole: Verdict | None = None
        #: Another object where the judgement begins anew: a basis of what depends on this verdict's earlier rows.
        self.began = object()

    def judge(
        self,
        rows: Records,
        judge: Callable[[Records, Memory], Verdict],
        memory: Memory,
        basis: Sequence[object] = (),
        final: int | None = None,
    ) -> Verdict:
        """The verdict on `rows` (n,) by `judge`, from `memory` on, which depends on the objects `basis` besides.

        The first `final` rows (default: all) keep their verdict whatever comes later.
        """
        final = len(rows) if final is None else final
        basis = (memory, *basis)
        same = len(basis) == len(self._basis) and all(a is b for a, b in zip(basis, self._basis, strict=True))
        if same and rows is self._rows and final == self._final and self._whole is not None:
            return self._whole
        before = None
        if same and self._rows is not None and self._final <= final:
            old = self._rows[: self._final]
            before = self._verdict if same_records(rows[: len(old)], old) else None
        done = self._final if before is not None else 0
        if before is None:
            self.began = object()
        verdict = judge(rows[done:final], memory if before is None else before.memory)
        self._verdict = verdict if before is None else before.followed(verdict, rows[:final])
        self._whole = self._verdict
        if final < len(rows):
            self._whole = self._verdict.followed(judge(rows[final:], self._verdict.memory), rows)
        self._rows, self._basis, self._final = rows, basis, final
        return self._whole


def bars(rows: Records, bar_ns: int, memory: Memory | None = None) -> Verdict:
    """Judge BAR rows (n,) of `bar_ns` in tape order: opens that do not follow the close before, prices and volumes of
    no market.
    """
    memory = (memory or Memory.blank()).copy()
    why, found, against, busiest = _reasons(len(rows))
    values = (np.ascontiguousarray(rows[n]) for n in ("event_time", "open", "high", "low", "close", "volume"))
    kernels.judge_bars(*values, bar_ns, memory, why, found, against, busiest)
    return _verdict(rows, why, found, against, memory, busiest)


def interest(
    rows: Records, bar_rows: Records, busiest: Float64Array, bar_ns: int, memory: Memory | None = None
) -> Verdict:
    """Judge OI_VALUE rows (n,) in tape order; those taken are OPEN_INTEREST, `start` 1 at a step taken for real.

    `bar_rows` (m,) are the bars taken around them, `busiest` (m,) as in Verdict. Bars that are missing, or not known
    when a row is, count as the busiest.
    """
    memory = (memory or Memory.blank()).copy()
    why, found, against, start = _reasons(len(rows))
    closes, high, low, volume = (np.ascontiguousarray(bar_rows[n]) for n in ("event_time", "high", "low", "volume"))
    at, known, base, usd = (np.ascontiguousarray(rows[n]) for n in ("event_time", "known_at", "base", "usd"))
    kernels.judge_interest(
        at,
        known,
        base,
        usd,
        kernels.Around(closes, high, low, volume, busiest, bar_ns, np.zeros(4, np.int64)),
        memory,
        why,
        found,
        against,
        start,
    )
    verdict = _verdict(rows, why, found, against, memory)
    ok = why == TAKEN
    taken = records.records(records.OPEN_INTEREST, at[ok], known[ok], base=base[ok], start=start[ok].astype(np.int64))
    return replace(verdict, taken=taken)


def interest_to_the_end(
    rows: Records, bar_rows: Records, busiest: Float64Array, bar_ns: int, period_ns: int
) -> tuple[Verdict, Memory, Records]:
    """`interest` of all that a disk holds, the memory before its late rows, and the late rows.

    Late are rows that became known after the last bar, or not before live rows of `period_ns` that follow may be known
    (a longer period's rows at the end). A bot judges them again with what follows, as a longer file would.
    """
    end = bar_rows["known_at"][-1] if len(bar_rows) else 0
    if len(rows):
        end = min(end, rows["event_time"][-1] + records.open_interest_lag(period_ns))
    split = int(np.searchsorted(rows["known_at"], end, side="right"))
    first = interest(rows[:split], bar_rows, busiest, bar_ns)
    late = interest(rows[split:], bar_rows, busiest, bar_ns, first.memory)
    return first.followed(late, rows), first.memory, rows[split:]


def funding(rows: Records, memory: Memory | None = None) -> Verdict:
    """Judge FUNDING rows (n,) in tape order: rates that are many times what the market settled in 30 days."""
    memory = (memory or Memory.blank()).copy()
    why, found, against, _ = _reasons(len(rows))
    at, rate = (np.ascontiguousarray(rows[n]) for n in ("event_time", "rate"))
    kernels.judge_funding(at, rate, rate * (8.0 / rows["interval_h"]), memory, why, found, against)
    return _verdict(rows, why, found, against, memory)


#: A market that trades so many times its open interest a day, in the median of a week, counts one of them in another
#: unit. Measured: 9.4 at most.
TURNOVER = 1_000.0
#: A market half of whose rates per 8 h, in SETTLED, are above this counts them in percent. Measured: 0.12 %.
HIGH, SETTLED = 0.004, 10 * DAY


def turnover(bar_rows: Records, interest_rows: Records) -> float:
    """Of BAR and OPEN_INTEREST rows: the day's volume / mean open interest, the median of a week's days that have both,
    in the week where it is largest; 0 without.
    """
    if len(bar_rows) == 0 or len(interest_rows) == 0:
        return 0.0
    kinds = ((bar_rows, "volume"), (interest_rows, "base"))
    days = [rows["event_time"] // DAY for rows, _ in kinds]
    first, last = min(int(day.min()) for day in days), max(int(day.max()) for day in days)
    counts = [np.bincount(day - first, minlength=last - first + 1) for day in days]
    volume, base = (
        np.bincount(day - first, rows[name], last - first + 1) for day, (rows, name) in zip(days, kinds, strict=True)
    )
    both = (counts[0] > 0) & (counts[1] > 0)
    daily = volume[both] * counts[1][both] / base[both]
    weeks = np.split(daily, range(7, len(daily) - 6, 7))
    return max(float(np.median(week)) for week in weeks) if len(daily) else 0.0


def in_percent(rates: Records) -> str | None:
    """What to say of FUNDING rows that look like percentages; None of others. They are used: a coin may be like that."""
    if len(rates) == 0 or rates["event_time"][-1] - rates["event_time"][0] < SETTLED:
        return None
    at, rate = rates["event_time"], np.abs(rates["rate"]) * 8.0 / rates["interval_h"]
    # The last stretch is a whole one, too.
    ends = np.append(np.arange(at[0] + SETTLED, at[-1], SETTLED), at[-1] + 1)
    first, last = np.searchsorted(at, ends - SETTLED), np.searchsorted(at, ends)
    usual = np.array([np.median(rate[i:j]) if j > i else 0.0 for i, j in zip(first, last, strict=True)])
    worst = int(np.argmax(usual))
    if usual[worst] <= HIGH:
        return None
    return (
        f"half of the funding rates in the ten days up to {iso(int(ends[worst]))} are above {usual[worst]:.2%} per 8 h,"
        f" which is {usual[worst] * 3 * 365:.0%} a year. Rates are fractions per interval; if the file has them in"
        " percent, download it again"
    )


def warnings(refused: Sequence[Refused]) -> list[str]:
    """A line for each file: how many rows are read as holes, and the first of them."""
    out = []
    for what, group in groupby(refused, key=lambda row: row.what):
        rows = list(group)
        number = "1 row is what no market does" if len(rows) == 1 else f"{len(rows)} rows are what no market does"
        first = str(rows[0]).removeprefix(f"{what}: ")
        out.append(f"{what}: {number}, read as {'a hole' if len(rows) == 1 else 'holes'}; the first: {first}")
    return out


def _reasons(n: int) -> tuple[NDArray[np.int64], Float64Array, Float64Array, Float64Array]:
    return np.zeros(n, np.int64), np.zeros(n), np.zeros(n), np.zeros(n)


def _verdict(
    rows: Records,
    why: NDArray[np.int64],
    found: Float64Array,
    against: Float64Array,
    memory: Memory,
    busiest: Float64Array | None = None,
) -> Verdict:
    bad = why != TAKEN
    if not bad.any():
        none = np.empty(0)
        return Verdict(rows, rows[:0], why[:0], none, none, memory, none if busiest is None else busiest)
    kept = np.empty(0) if busiest is None else busiest[~bad]
    return Verdict(rows[~bad], rows[bad], why[bad], found[bad], against[bad], memory, kept)

"""The compiled loops of plausible.py, and the measures by which they judge."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from liqsignals.clock import DAY, Int64Array
from liqsignals.compiled import cached
from liqsignals.records import Float64Array

#: Open interest changes by at most the volume between two snapshots and a bar on either side; this many times that is
#: a wrong number. Measured on 367,000 snapshots of six coins: the volume itself exceeded once, by 2 %.
TRADED = 2.0
#: Nor does it change by more than this factor from one snapshot to the next, however much was traded: turnover says
#: little where volume is many times open interest. Largest measured: 1.14.
LEAP = 3.0
#: A change of less than this share of open interest is left alone: it opens next to nothing, and bars without volume
#: may be made up.
SMALL = 1e-3
#: `open_interest_value / amount` lies within this share of what the bars around the snapshot traded. Measured: .02 %.
PRICE = 0.1
#: A candle opens where the last one taken closed, within this factor, also after a hole: there the map starts anew, and
#: two candles more are no loss. What candles and rates are measured on: docs/decisions/145. Measured: 1.17.
GAP = 1.25
#: One that follows a traded row without a hole, a day of history given, opens nearer: within this factor,
NEAR = 1.02
#: or within this share of the largest ln(high / low) of the 30 days before. Most measured: 0.32.
OPENS = 0.5
#: No price of a candle is this many times away from the close before it. Measured: 6.9.
RANGE = 9.0
#: A price more than this factor outside the candle's open and close and the close before is not there without trades:
WICK = 1.03
#: the candle's volume is at least this times ln of the factor, in volumes of the busiest bar of the 30 days before.
#: Least measured: 0.36.
PUSH = 0.2
#: A bar that trades more than this many times the busiest of the 30 days before it moves price:
VOLUME = 4.0
#: its ln(high / low) is at least the ratio of the two volumes / this, in the largest of the 30 days before.
#: Least measured: 6.5 times that.
IMPACT = 40.0
#: Volumes and rates are compared once there is so much history.
HISTORY = DAY
#: No rate of a settlement is beyond this, whatever its interval: the widest cap of a venue is 0.04 (Hyperliquid, an
#: hour).
CAP = 0.05
#: Nor is it this many times the largest rate per 8 h of the 30 days before, or REST where that is larger. Measured: 44.
RATE = 100.0
#: The interest part of funding per 8 h, which venues settle where nothing is happening.
REST = 1e-4
#: No price, volume or open interest is outside 1 / NUMBER .. NUMBER (volume may be 0).
NUMBER = 1e18

#: What is wrong with a row.
TAKEN, ABSURD, GAPED, RANGED, WICKED, VOLUMINOUS, LEAPED, UNTRADED, PRICED, RATED = range(10)

#: Days that a maximum is kept of: the row's own day, and 30 before it.
_SLOTS = 31

# Nothing here allocates: no references are counted (docs/decisions/043).
_kernel = cached([Path(__file__)], _nrt=False, forceinline=True)


class Memory(NamedTuple):
    """What a fold remembers of the rows before.

    `at` (5,): times of the last row taken, of the two newest candidates for a step, of the first row and of the last
    one seen; `value` (5,): what belongs to the first three of them, of bars the largest volume and ln(high / low) of
    the candidates in 2 and 3, and the volume of the last one seen; `waiting` (1,): number of candidates; `day`, `peak`,
    `reach` (_SLOTS,): largest value of each of the last days, and of bars the largest ln(high / low).
    """

    at: Int64Array
    value: Float64Array
    waiting: Int64Array
    day: Int64Array
    peak: Float64Array
    reach: Float64Array

    @classmethod
    def blank(cls) -> "Memory":
        days = np.full(_SLOTS, -1, np.int64)
        return cls(np.zeros(5, np.int64), np.zeros(5), np.zeros(1, np.int64), days, np.zeros(_SLOTS), np.zeros(_SLOTS))

    @property
    def seen(self) -> int:
        """Time of the last row, taken or not; 0 before any."""
        return int(self.at[4])

    def largest(self) -> float:
        """The largest value of the newest 30 days, 0 before any row."""
        newest = int(self.day.max())
        return float(self.peak[self.day >= newest - 30].max()) if newest >= 0 else 0.0

    def copy(self) -> "Memory":
        at, value, waiting = self.at.copy(), self.value.copy(), self.waiting.copy()
        return Memory(at, value, waiting, self.day.copy(), self.peak.copy(), self.reach.copy())


class Around(NamedTuple):
    """The bars that snapshots are compared with, (m,) each: closes (ns), prices, volume, busiest; their length (ns)."""

    closes: Int64Array
    high: Float64Array
    low: Float64Array
    volume: Float64Array
    busiest: Float64Array
    bar_ns: int
    #: Where the last searches in `closes` ended: rows follow each other, and so do the bars around them.
    hints: Int64Array


@_kernel
def _largest(memory, at):
    """Largest value and ln(high / low) of the 30 days before `at` (ns) and of its own day so far; 0 where there is
    none.
    """
    day = at // 86_400_000_000_000
    peak, reach = 0.0, 0.0
    for slot in range(len(memory.day)):
        if day - 30 <= memory.day[slot] <= day:
            peak = max(peak, memory.peak[slot])
            reach = max(reach, memory.reach[slot])
    return peak, reach


@_kernel
def _remember(memory, at, value, reach):
    day = at // 86_400_000_000_000
    slot = day % len(memory.day)
    if memory.day[slot] != day:
        memory.day[slot] = day
        memory.peak[slot] = 0.0
        memory.reach[slot] = 0.0
    memory.peak[slot] = max(memory.peak[slot], value)
    memory.reach[slot] = max(memory.reach[slot], reach)


@_kernel
def _is_number(value):
    return 1.0 / NUMBER <= value <= NUMBER


@_kernel
def _bar_reason(opening, high, low, close, volume, before, follows, peak, reach):
    """Why a bar does not follow one that closed at `before`: the reason, what was found, against what.

    `follows`: the row before it is the bar before it, and traded. `peak`, `reach`: largest volume and ln(high / low) of
    the 30 days before, `peak` 0 where they are not compared.
    """
    gap = GAP
    if follows and peak > 0.0:
        gap = min(GAP, max(NEAR, np.exp(OPENS * reach)))
    if not before / gap <= opening <= before * gap:
        return GAPED, opening, before
    if high > before * RANGE:
        return RANGED, high, before
    if low < before / RANGE:
        return RANGED, low, before
    if peak > 0.0:
        top, bottom = max(opening, close, before), min(opening, close, before)
        for price, factor in ((high, high / top), (low, bottom / low)):
            if factor > WICK and volume < peak * PUSH * np.log(factor):
                return WICKED, price, volume
        if volume > peak * VOLUME and np.log(high / low) < reach * volume / (peak * IMPACT):
            return VOLUMINOUS, volume, peak
    return TAKEN, 0.0, 0.0


@_kernel
def judge_bars(closes_at, opening, high, low, close, volume, bar_ns, memory, why, found, against, busiest):
    at, value, waiting = memory.at, memory.value, memory.waiting
    for i in range(len(closes_at)):
        t = closes_at[i]
        if at[3] == 0:
            at[3] = t
        # Where nothing was traded, as in an outage of the exchange, price may go on anywhere.
        follows = t - at[4] == bar_ns and value[4] > 0.0
        at[4], value[4] = t, volume[i]
        odd = 0.0
        for x in (opening[i], high[i], low[i], close[i]):
            if not _is_number(x):
                odd = x
                why[i] = ABSURD
        if not volume[i] <= NUMBER:
            odd = volume[i]
            why[i] = ABSURD
        if why[i] == ABSURD:
            found[i] = odd
            waiting[0] = 0
            continue
        peak, reach = _largest(memory, t)
        own = np.log(high[i] / low[i])
        compared = peak if t - at[3] >= HISTORY else 0.0
        if at[0] != 0:
            why[i], found[i], against[i] = _bar_reason(
                opening[i], high[i], low[i], close[i], volume[i], value[0], follows, compared, reach
            )
        if why[i] != TAKEN:
            agrees = False
            if waiting[0] > 0:
                reason, _, _ = _bar_reason(
                    opening[i], high[i], low[i], close[i], volume[i], value[1], follows,
                    max(compared, value[2]) if compared > 0.0 else 0.0, max(reach, value[3]),
                )  # fmt: skip
                agrees = reason == TAKEN
            if agrees:
                waiting[0] += 1
                value[2] = max(value[2], volume[i])
                value[3] = max(value[3], own)
            else:
                waiting[0] = 1
                value[2] = volume[i]
                value[3] = own
            at[1], value[1] = t, close[i]
            if waiting[0] < 3:
                continue
            why[i] = TAKEN
        waiting[0] = 0
        at[0], value[0] = t, close[i]
        _remember(memory, t, volume[i], own)
        busiest[i] = max(peak, volume[i])


@_kernel
def _count(around, hint, time):
    """Number of bars that closed at or before `time`, looked for from where the last search of this kind ended."""
    closes, row = around.closes, around.hints[hint]
    while row < len(closes) and closes[row] <= time:
        row += 1
    while row > 0 and closes[row - 1] > time:
        row -= 1
    around.hints[hint] = row
    return row


@_kernel
def _traded(around, memory, t0, t1, known):
    """Volume of the bars between two snapshots and one on either side, as known at `known`; -1 without any bar."""
    step = around.bar_ns
    seen = _count(around, 0, known)
    first = _count(around, 1, t0 - step)
    last = min(_count(around, 2, t1 + 2 * step - 1), seen)
    due = -(-(t1 + 2 * step) // step) - 1 - (t0 - step) // step
    total = 0.0
    for j in range(first, last):
        total += around.volume[j]
    missing = due - max(last - first, 0)
    if missing > 0:
        if seen == 0:
            return -1.0
        total += missing * around.busiest[seen - 1]
    return total


@_kernel
def _interest_reason(around, memory, t0, base0, t1, base1, known):
    """Why one snapshot does not follow another: the reason, what was found, against what."""
    if base1 > base0 * LEAP or base1 < base0 / LEAP:
        return LEAPED, base1, base0
    change = abs(base1 - base0)
    if change <= SMALL * base0:
        return TAKEN, 0.0, 0.0
    traded = _traded(around, memory, t0, t1, known)
    if traded < 0.0 or change <= TRADED * traded:
        return TAKEN, 0.0, 0.0
    return UNTRADED, base1 - base0, traded


@_kernel
def judge_interest(at, known, base, usd, around, memory, why, found, against, start):
    last, value, waiting = memory.at, memory.value, memory.waiting
    step = around.bar_ns
    for i in range(len(at)):
        last[4] = at[i]
        if not _is_number(base[i]):
            why[i], found[i] = ABSURD, base[i]
            waiting[0] = 0
            continue
        if usd[i] > 0.0:
            price = usd[i] / base[i]
            a = _count(around, 3, at[i] - step)
            z = min(_count(around, 2, at[i] + 2 * step - 1), _count(around, 0, known[i]))
            if a < z:
                lowest, highest = around.low[a], around.high[a]
                for j in range(a, z):
                    lowest, highest = min(lowest, around.low[j]), max(highest, around.high[j])
                if not lowest * (1.0 - PRICE) <= price <= highest * (1.0 + PRICE):
                    why[i], found[i], against[i] = PRICED, price, lowest if price < lowest else highest
                    waiting[0] = 0
                    continue
        if last[0] != 0:
            why[i], found[i], against[i] = _interest_reason(around, memory, last[0], value[0], at[i], base[i], known[i])
        if why[i] != TAKEN:
            agrees = 0
            for k in range(2, 2 - waiting[0], -1):
                reason, _, _ = _interest_reason(around, memory, last[k], value[k], at[i], base[i], known[i])
                if reason != TAKEN:
                    break
                agrees += 1
            # The newest candidate stands in 2, the one before it in 1.
            last[1], value[1] = last[2], value[2]
            last[2], value[2] = at[i], base[i]
            if agrees < 2:
                waiting[0] = agrees + 1
                continue
            why[i] = TAKEN
            start[i] = 1.0
        waiting[0] = 0
        last[0], value[0] = at[i], base[i]


@_kernel
def judge_funding(at, rate, per_8h, memory, why, found, against):
    value, waiting = memory.value, memory.waiting
    for i in range(len(at)):
        if memory.at[3] == 0:
            memory.at[3] = at[i]
        memory.at[4] = at[i]
        peak = max(_largest(memory, at[i])[0], REST)
        beyond = abs(rate[i]) > CAP
        if beyond or (abs(rate[i]) > RATE * peak and at[i] - memory.at[3] >= HISTORY):
            why[i], found[i], against[i] = RATED, rate[i], peak
            if beyond:
                waiting[0] = 0
                continue
            agrees = waiting[0] > 0 and 1.0 / LEAP <= per_8h[i] / value[1] <= LEAP
            waiting[0] = waiting[0] + 1 if agrees else 1
            value[1] = per_8h[i]
            if waiting[0] < 3:
                continue
            why[i] = TAKEN
        waiting[0] = 0
        memory.at[0] = at[i]
        _remember(memory, at[i], abs(per_8h[i]), 0.0)

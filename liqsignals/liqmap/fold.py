"""The position book of one market and the liquidation map that is read off it.

For each closed bar, with the open interest known by then, per side s (docs/laws.md 6 and 7):

1. walk the bar's path, open - low - high - close where it rose and open - high - low - close where it fell, each leg
with
   one step back, in pieces shorter than the nearest level of a new entry. Each piece sweeps (long levels at or above
   it, short levels at or below it, are liquidated) and then enters its share of turnover x volume, so that what a bar
   opens it may liquidate;
2. opened_s = max(dOI + swept_s, 0) + turnover x volume, closed_s = opened_s - dOI - swept_s, taken from all that stands
on
   the side, each class by its hazard;
3. insert what open interest grew by: entries are spread over the range of the bars in which they happened; class k
stands
   at the liquidation prices of its band of leverages.

New levels that the price has already passed when they become known were opened and liquidated unseen: the
flow `unseen`. Opened, in 2, is what is left standing, so that the gross opening is opened + unseen and
long = short = open interest holds exactly.

Open interest that comes more rarely than bars sums the sweeps since the last known value; a change is spread over the
bars in which it happened, by volume, and inserted when it is known, less what the price has reached since.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liqsignals import records
from liqsignals.clock import DAY, HOUR, Int64Array, iso
from liqsignals.data.search import count_until
from liqsignals.data.tape import MapTape, asof
from liqsignals.errors import InputError
from liqsignals.liqmap import impact, kernels
from liqsignals.liqmap.book import STEP, Book, distances_of
from liqsignals.liqmap.clusters import BANDS, CLUSTER_FLOOR, CLUSTER_TIMES, SPAN
from liqsignals.liqmap.kernels import Distances
from liqsignals.liqmap.parameters import Parameters
from liqsignals.liqmap.squeeze import HORIZONS, Squeeze
from liqsignals.records import Float64Array, Records, later, same_records

#: History after which the map counts as warm.
WARMUP = 14 * DAY

#: Log price from the close up to which a cascade is followed: beyond the farthest cluster (clusters.SPAN).
FAR = 0.2

# Bars from which on a thread for the other side is worth its start: 10 ms. A bot folds 500 to 1,000 a candle.
_THREADED = 2000


@dataclass(frozen=True)
class Plan:
    """The tape as the fold reads it: per bar its prices, and what became known of open interest by its close."""

    opening: Float64Array
    low: Float64Array
    high: Float64Array
    close: Float64Array
    volume: Float64Array
    closes_at: Int64Array
    #: Newest open interest known at each bar (NaN before the first), its snapshot's instant, and its last change.
    interest: Float64Array
    measured_at: Int64Array
    change: Float64Array
    known: NDArray[np.bool_]
    event_from: Int64Array
    event_to: Int64Array
    #: Bars at which the map starts: the first one with open interest, each one after a hole in the bars, and each one
    #: at which open interest became known whose step no market makes (records.OPEN_INTEREST, `start`).
    starts: Int64Array
    #: Length of a bar, ns.
    bar_ns: int


def plan(tape: MapTape) -> Plan:
    """Line up bars and open interest of a (cut) tape."""
    bars, interest = tape.bars, tape.open_interest
    at = bars["known_at"]
    newest = asof(interest, at) if len(interest) else np.full(len(at), -1, np.int64)
    previous = np.concatenate(([-1], newest[:-1])) if len(newest) else newest
    seen = newest >= 0
    base = np.where(seen, interest["base"][newest], np.nan) if len(interest) else np.full(len(at), np.nan)
    measured = np.where(seen, interest["event_time"][newest], np.iinfo(np.int64).min) if len(interest) else newest
    hole = np.diff(at, prepend=at[:1]) > tape.bar_ns
    first = np.flatnonzero(seen)[:1]
    steps = np.concatenate(([0], np.cumsum(interest["start"])))
    stepped = steps[newest + 1] > steps[previous + 1]
    starts = np.unique(np.concatenate((first, np.flatnonzero((hole | stepped) & seen)))).astype(np.int64)
    known = seen & (previous >= 0) & (newest > previous)
    known[starts] = False
    change = np.zeros(len(at))
    event_from = np.zeros(len(at), np.int64)
    event_to = np.zeros(len(at), np.int64)
    rows = np.flatnonzero(known)
    if len(rows):
        change[rows] = interest["base"][newest[rows]] - interest["base"][previous[rows]]
        start, end = interest["event_time"][previous[rows]], interest["event_time"][newest[rows]]
        # Bars that closed in (start, end], but none of before a (re)start.
        since = starts[count_until(starts, rows) - 1]
        event_from[rows] = np.maximum(count_until(at, start), since)
        event_to[rows] = count_until(at, end)
        # A change without a bar of its own is put on the newest bar.
        none = rows[event_to[rows] <= event_from[rows]]
        event_from[none], event_to[none] = none, none + 1
    opening, low, high, close, volume = (
        np.ascontiguousarray(bars[n]) for n in ("open", "low", "high", "close", "volume")
    )
    # The walk writes between these: what the readers refuse must not come in by another door.
    outside = ~((low <= opening) & (opening <= high) & (low <= close) & (close <= high) & (low > 0.0) & (high < np.inf))
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise InputError(
            f"{tape.pair}: the bar that closed at {iso(int(at[row]))} has its open or close outside low .. high, "
            "or a price that is none",
            "download its candles again",
        )
    return Plan(
        opening, low, high, close, volume, at, base, measured, change, known, event_from, event_to, starts,
        tape.bar_ns,
    )  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """The map at n instants (NaN where it was not running or not fresh)."""

    #: (kernels.N_READ, n) what kernels.read.read_side and kernels.cascade.cascade_side give.
    cells: Float64Array
    #: (n, 2) remainder in base units, (n,) open interest, (n,) decision time at which the map started, -1 if none.
    remainder: Float64Array
    interest: Float64Array
    started: Int64Array
    #: (n,) row of the last bar folded, -1 if none, the close that distances are measured from, and the instant (ns).
    bar: Int64Array
    closes: Float64Array
    at: Int64Array
    #: (n, m) volatility of log price forecast for each of squeeze.HORIZONS, (n,) USD traded a day (a mean of half-life
    #: 24 h); NaN without parameters of the squeeze, and before the first bar that moved.
    sigma: Float64Array
    volume: Float64Array
    #: (n,) Kyle's lambda, log price per USD (liqmap/impact.py): NaN but where the squeeze's law asks for it and it is
    #: known.
    kyle: Float64Array

    @property
    def rows(self) -> Float64Array:
        """`cells` by instant, (n, kernels.N_READ): each of its columns is dense in memory."""
        return self.cells.T


@dataclass
class FoldState:
    """A checkpoint of the fold and the records that it was made of: state between calls, never outputs.

    Of the past, going on from a checkpoint needs the book and the few rows from `needs` on: the bars over which the
    next change of open interest is spread, and an hour of open interest.
    """

    book: Book | None = None
    parameters: Parameters | None = None
    #: Close (ns) of the last bar in the book, and the instant from which rows are needed to go on.
    upto: int = 0
    needs: int = 0
    #: Instant (ns) beyond which a checkpoint is of no use: another view, of the same candle, begins there. 0: none does.
    hold: int = 0
    #: Records known by `upto`, from the event time `since` on (0: all); by reference, they are never written.
    since: int = 0
    bars: Records = field(default_factory=lambda: np.empty(0, records.BAR))
    interest: Records = field(default_factory=lambda: np.empty(0, records.OPEN_INTEREST))

    def serves(self, first: int, since: int) -> bool:
        """Whether it stands for what is before `since` (ns) in a reading of bars that close after `first`."""
        return self.book is not None and self.upto <= first and self.since <= since <= self.needs

    def resume(self, tape: MapTape, first: int, parameters: Parameters) -> Book | None:
        """The book at the checkpoint, where it serves, is of these parameters and the tape has the same past.

        A tape that begins later (`Tape.since`) is compared from there on; that what it leaves out was the same, the
        caller guarantees.
        """
        if self.book is None or parameters != self.parameters or not self.serves(first, tape.since):
            return None
        for then, now in ((self.bars, tape.bars), (self.interest, tape.open_interest)):
            if not same_records(
                later(then, tape.since), now[: np.searchsorted(now["known_at"], self.upto, side="right")]
            ):
                return None
        return self.book.copy()

    def keep(self, tape: MapTape, bars: int, book: Book, parameters: Parameters) -> None:
        """Remember the book of the tape's first `bars` bars."""
        at, event = tape.bars["known_at"], tape.open_interest["event_time"]
        newest = int(asof(tape.open_interest, at[bars - 1 : bars])[0])
        # Later changes of open interest began here or later.
        start = int(event[newest:].min())
        # The first bar that such a change is spread over, or the last one folded: open interest is known there.
        row = min(int(np.searchsorted(at, start, side="right")), bars - 1)
        known = max(int(asof(tape.open_interest, at[row : row + 1])[0]), 0)
        self.needs = min(int(at[row]), int(event[known]), start - HOUR)
        self.book, self.parameters, self.upto, self.since = book.copy(), parameters, int(at[bars - 1]), tape.since
        self.bars, self.interest = tape.bars[:bars], tape.open_interest[: newest + 1]

    def forget(self) -> None:
        """Let go of the records before `needs`: from here on it serves only tapes that begin there or later."""
        self.bars, self.interest = later(self.bars, self.needs).copy(), later(self.interest, self.needs).copy()
        self.since = self.needs


def push_of(squeeze: Squeeze | None, sigma: Float64Array) -> Float64Array:
    """The push beyond a touched cluster, (n,) log price, of forecasts `sigma` (n, m); NaN without a squeeze.

    The hourly volatility is that of the first horizon over the root of its hours: the time of day is in it.
    """
    if squeeze is None:
        return np.full(len(sigma), np.nan)
    return np.asarray(squeeze.push * (sigma[:, 0] / np.sqrt(next(iter(HORIZONS.values())))))


def impact_of(
    squeeze: Squeeze | None, sigma: Float64Array, volume: Float64Array, kyle: Float64Array
) -> tuple[Float64Array, Float64Array, Int64Array]:
    """Impact of forced orders, (n,) each: displacement (log price) by a flow of a day's volume, that volume, the law.

    Kyle's law where `kyle` (log price per USD) is known, else the square-root law of the day's volatility.
    """
    if squeeze is None:
        return np.full(len(sigma), np.nan), volume, np.full(len(sigma), kernels.SQRT)
    linear = np.isfinite(kyle)
    scale = squeeze.impact * np.where(linear, kyle * volume, sigma[:, 1])
    return scale, volume, np.where(linear, kernels.LINEAR, kernels.SQRT)


class Fold:
    """Runs one market's book forward over its plan."""

    def __init__(self, p: Plan, parameters: Parameters, distances: Distances, book: Book | None = None) -> None:
        self.plan, self.parameters, self.distances, self.book = p, parameters, distances, book
        mix = parameters.mix
        self._rates = kernels.Rates(
            mix[:-1].copy(), float(mix[-1]), np.array([c.hazard for c in parameters.classes]),
            np.array([parameters.remainder_hazard, 1.0]), float(parameters.turnover),
        )  # fmt: skip
        logs = np.empty((4, len(p.low)))
        for prices, out in zip((p.opening, p.low, p.high, p.close), logs, strict=True):
            kernels.in_buckets(prices, STEP, out)
        self._bars = kernels.Bars(
            p.opening, p.low, p.high, p.close, logs[0], logs[1], logs[2], logs[3], p.volume, p.interest, p.change,
            p.known, p.event_from, p.event_to, p.closes_at % HOUR == 0,
        )  # fmt: skip
        doubt = np.array([c.doubt for c in parameters.classes]).T.copy()
        steps = np.log1p(np.stack([-BANDS, BANDS])) / STEP
        self._rule = kernels.Rule(SPAN, CLUSTER_FLOOR, CLUSTER_TIMES, doubt, BANDS, steps)
        squeeze = parameters.squeeze
        self._forecast = None if squeeze is None else squeeze.forecast()
        self._cascades = kernels.Walk(0.0 if squeeze is None else squeeze.edge, FAR)
        #: Named flows per bar, zero before the map started and before the book given.
        self.flows = np.zeros((len(p.low), 2, kernels.N_FLOWS))
        #: Swept USD by bar (from bar `by_class_from` on), side and class: kept only where the caller gives it rows.
        self.by_class = np.zeros((0, 2, len(mix) - 1))
        self.by_class_from = 0

    @classmethod
    def of(cls, tape: MapTape, parameters: Parameters) -> "Fold":
        """The fold of a tape, at its first record."""
        return cls(plan(tape), parameters, distances_of(parameters, tape.pair))

    def enter(self, mix: Float64Array, remainder: float) -> None:
        """Let what opens from here on have another mix (classes, then the remainder): validation.by_age."""
        self._rates = self._rates._replace(mix=mix, remainder=remainder)

    def to(self, bar: int, reading: "Reading | None" = None) -> None:
        """Fold every bar before `bar`, (re)starting where the plan says so, and fill the readings on the way."""
        p = self.plan
        at = self.book.bars if self.book is not None else 0
        done = 0
        if reading is not None:
            done = int(np.searchsorted(reading.bar, at - 1))
        for start in [*p.starts[(p.starts >= at) & (p.starts < bar)].tolist(), None]:
            stop = bar if start is None else start
            if reading is not None:
                upto = int(np.searchsorted(reading.bar, stop))
                if self.book is not None:
                    self._run(self.book, stop, reading, done, upto)
                done = upto
            elif self.book is not None:
                self._run(self.book, stop, None, 0, 0)
            if start is not None:
                pace, done_to = self._no_pace(), 0
                if self.book is not None:
                    pace, done_to = self.book.pace, self.book.bars
                self._pace(pace, done_to, start + 1)
                self.book = Book.opened(
                    len(self.parameters.classes), float(p.interest[start]), start + 1, int(p.closes_at[start]), pace
                )

    def _no_pace(self) -> Float64Array:
        return np.zeros((0 if self._forecast is None else len(self._forecast.half_lives), 2))

    def _pace(
        self, pace: Float64Array, start: int, stop: int, reading: "Reading | None" = None, rows: slice = slice(0, 0)
    ) -> None:
        """Take bars `start` .. `stop` - 1 into the means of variance and volume, and fill these rows of the readings."""
        if self._forecast is None:
            return
        p, f = self.plan, self._forecast
        read = np.empty(0, np.int64) if reading is None else reading.bar[rows]
        means = np.full((len(read), len(f.half_lives)), np.nan)
        kernels.run_volatility(
            p.low, p.high, p.close, p.volume, p.closes_at, p.bar_ns, f.half_lives, f.season, start, stop, pace, read,
            means,
        )  # fmt: skip
        if reading is not None:
            kernels.expect(means, reading.at[rows], f, reading.sigma[rows])
            reading.volume[rows] = 24.0 * means[:, -1]

    def _run(self, book: Book, stop: int, reading: "Reading | None", r0: int, r1: int) -> None:
        p, start = self.plan, book.bars
        if stop == start and r0 == r1:
            return
        # Late open interest is entered at bars since the last one known, at most back to the book's start.
        back = min(int(p.event_from[start:stop][p.known[start:stop]].min(initial=start)), start - 1)
        book.cover(float(p.low[back:stop].min()), float(p.high[back:stop].max()), self.distances.farthest + 8)
        rows = slice(r0, r1)
        self._pace(book.pace, start, stop, reading, rows)
        if reading is None:
            none = np.empty(0)
            readings = kernels.Readings(
                np.empty(0, np.int64), none, none, np.empty((kernels.N_READ, 0)), 0, np.empty((0, 2)), none, none,
                none, np.empty(0, np.int64),
            )  # fmt: skip
        else:
            squeeze, sigma, volume = self.parameters.squeeze, reading.sigma[rows], reading.volume[rows]
            closes = reading.closes[rows]
            x_closes = np.empty(len(closes))
            kernels.in_buckets(closes, STEP, x_closes)
            readings = kernels.Readings(
                reading.bar[rows], closes, x_closes, reading.cells, r0, reading.remainder[rows],
                push_of(squeeze, sigma), *impact_of(squeeze, sigma, volume, reading.kyle[rows]),
            )  # fmt: skip
        arguments: tuple[Any, ...] = (
            book.arrays, book.grid, self._bars, self._rates, self.distances, start, stop, self.flows,
            self.by_class[start - self.by_class_from :], readings, self._rule, self._cascades,
        )  # fmt: skip
        if stop - start > _THREADED:
            with ThreadPoolExecutor(1) as other:
                shorts = other.submit(kernels.run_side, kernels.SHORT, *arguments)
                kernels.run_side(kernels.LONG, *arguments)
                shorts.result()
        else:
            for side in (kernels.LONG, kernels.SHORT):
                kernels.run_side(side, *arguments)
        if reading is not None:
            reading.interest[rows] = p.interest[reading.bar[rows]]
            reading.started[rows] = book.started
        book.bars = stop


def read(
    tape: MapTape,
    parameters: Parameters,
    at: Int64Array,
    closes: Float64Array,
    state: FoldState | None = None,
    length: int = 0,
    lambdas: Float64Array | None = None,
) -> tuple[Reading, Fold]:
    """Map of a (cut) tape at ascending instants `at` (decision times) with the closes known then.

    Returns the reading and the fold, whose `flows` cover every bar that closed after `at[0] - length` (ns) up to the
    last instant, and whose `book` is the map at it. `state` saves lining up and folding what was folded before; it
    changes no bit. `lambdas` (n,) are those of the tape before it was shortened to what the state needs (impact.of),
    where it was. Raises RuntimeError for a tape that leaves out what the state does not stand for.
    """
    n = len(at)
    first = int(at[0]) - length if n else 0
    lambdas = impact.of(tape, parameters.squeeze, at) if lambdas is None else lambdas
    resumed = state.resume(tape, first, parameters) if state else None
    if state is not None and resumed is not None:
        tape = tape.later(state.needs)
        resumed.bars = len(later(state.bars, state.needs))
    elif tape.since:
        raise RuntimeError(f"{tape.pair}: the tape begins at {iso(tape.since)} and no state stands for what was before")
    p = plan(tape)
    reading = Reading(
        np.full((kernels.N_READ, n), np.nan), np.full((n, 2), np.nan), np.full(n, np.nan), np.full(n, -1, np.int64),
        count_until(p.closes_at, at) - 1, np.ascontiguousarray(closes, np.float64),
        np.ascontiguousarray(at), np.full((n, len(HORIZONS)), np.nan), np.full(n, np.nan), lambdas,
    )  # fmt: skip
    fold = Fold(p, parameters, distances_of(parameters, tape.pair), resumed)
    if n:
        kept = min(first, state.hold or first) if state is not None else first
        fold.to(int(np.searchsorted(p.closes_at, kept, side="right")))
        if state is not None and fold.book is not None:
            state.keep(tape, fold.book.bars, fold.book, parameters)
        fold.to(int(np.searchsorted(p.closes_at, first, side="right")))
        fold.to(int(reading.bar[-1]) + 1, reading)
    return reading, fold

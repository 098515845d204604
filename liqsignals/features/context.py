"""The input of a feature family: markets already cut, the map, the columns of earlier families.

A family reads records by `asof` (data/tape.py) at `at`, and has no other way to align them with candles (docs/laws.md
2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from liqsignals import liqmap, venues
from liqsignals.clock import MINUTE, Int64Array, open_time
from liqsignals.data import store
from liqsignals.data.tape import MapTape, Tape, asof, read_tape
from liqsignals.liqmap import calibration, impact
from liqsignals.records import Float64Array, Records, open_interest_max_age, same_records
from liqsignals.sources import macro


class Markets:
    """Source of other markets. This base class has none: every market that it returns is without files."""

    #: Other exchanges that have data.
    venues: tuple[str, ...] = ()
    #: The last maps of pairs that families read for every pair, by pair, venue and timeframe (ns): where calls share
    #: them, each is folded once (docs/decisions/141). None: nothing is kept.
    maps: "dict[tuple[str, str, int], Map] | None" = None

    def tape(self, pair: str, venue: str | None) -> Tape:
        """A market's tape, uncut; `venue` None is the exchange traded on. A kind without a file is None."""
        return Tape(pair, 5 * MINUTE, 5 * MINUTE, venue=venue or "")

    def parameters(self, pair: str) -> liqmap.Parameters:
        """Parameters of a pair's map."""
        return liqmap.Parameters()

    def state(self, pair: str, venue: str) -> liqmap.FoldState | None:
        """The map state of a market that is kept between calls, None where none is kept."""
        return None


class DiskMarkets(Markets):
    """The markets of a data directory and of the other venues in its extras, read on demand."""

    def __init__(
        self,
        datadir: Path,
        calibrated: calibration.Calibration,
        *,
        extras: Path | None = None,
        finest: str = "5m",
        exchange: str | None = None,
        maps: "dict[tuple[str, str, int], Map] | None" = None,
    ) -> None:
        self.maps = maps
        self.datadir, self.calibration, self.finest = datadir, calibrated, finest
        self.exchange = exchange or venues.exchange_of(datadir)
        self.extras = extras or datadir / "liqsignals"
        self.venues = other_venues(self.extras, self.exchange)

    def tape(self, pair: str, venue: str | None) -> Tape:
        folder = self.datadir if venue in (None, self.exchange) else store.venue_dirs(self.extras).get(venue or "")
        if folder is None:
            return super().tape(pair, venue)
        return read_tape(folder, pair, extras=self.extras, finest=self.finest, exchange=venue or self.exchange)

    def parameters(self, pair: str) -> liqmap.Parameters:
        return self.calibration.parameters(pair)


def other_venues(extras: Path, exchange: str) -> tuple[str, ...]:
    """Exchanges in the extras whose open-interest units are known, except the one traded on."""
    return tuple(name for name in store.venue_dirs(extras) if name in venues.VENUES and name != exchange)


@dataclass(frozen=True)
class Map:
    """The map of one market at the context's instants."""

    tape: MapTape
    parameters: liqmap.Parameters
    reading: liqmap.Reading
    fold: liqmap.Fold
    #: The book that stands for what the tape leaves out (`Tape.since`), None where no state is kept.
    past: liqmap.Book | None = None

    def usable(self, at: Int64Array) -> NDArray[np.bool_]:
        """Where the reading is usable (n,): the map has started, and its candles and open interest are not stale."""
        p, closes = self.fold.plan, self.reading.closes
        usable = self.reading.started >= 0
        if len(p.closes_at):
            bar = np.maximum(self.reading.bar, 0)
            usable &= (closes > 0) & np.isfinite(closes)
            usable &= at - p.closes_at[bar] < self.tape.bar_ns
            usable &= at - p.measured_at[bar] <= open_interest_max_age(self.tape.period_ns)
        return usable

    def answers(
        self,
        tape: MapTape,
        parameters: liqmap.Parameters,
        at: Int64Array,
        closes: Float64Array,
        lambdas: Float64Array,
        past: liqmap.Book | None,
    ) -> bool:
        """Whether it was made of the same inputs: records, parameters and instants bit by bit, and of what the tape
        leaves out the very book.
        """
        reading = self.reading
        return (
            (self.tape.bar_ns, self.tape.period_ns, self.parameters) == (tape.bar_ns, tape.period_ns, parameters)
            and self.tape.since == tape.since
            and (tape.since == 0 or (past is not None and self.past is past))
            and np.array_equal(reading.at, at)
            and np.array_equal(reading.closes, closes, equal_nan=True)
            and np.array_equal(reading.kyle, lambdas, equal_nan=True)
            and same_records(self.tape.bars, tape.bars)
            and same_records(self.tape.open_interest, tape.open_interest)
        )


@dataclass
class _Run:
    """State shared by the families of one call."""

    markets: Markets
    parameters: liqmap.Parameters
    state: liqmap.FoldState | None
    tapes: dict[tuple[str, str], Tape] = field(default_factory=dict)
    #: Tapes from a family's HISTORY (ns) on.
    recent: dict[tuple[str, str, int], Tape] = field(default_factory=dict)
    maps: dict[tuple[str, str], Map | None] = field(default_factory=dict)
    columns: dict[str, Float64Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """Arguments of a family's `compute`: a market's candles, and all data known at the last of them."""

    pair: str
    venue: str
    #: (n,) ascending decision times (ns), the candles' closes, and their length (ns).
    at: Int64Array
    closes: Float64Array
    timeframe_ns: int
    _run: _Run = field(repr=False)
    #: What the family declares (features.Family): history (ns) before the first candle, and other pairs.
    history: int = 0
    pairs: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        tape: Tape,
        at: Int64Array,
        closes: Float64Array,
        timeframe_ns: int,
        parameters: liqmap.Parameters,
        state: liqmap.FoldState | None,
        markets: Markets,
    ) -> "Context":
        """A context from an uncut tape, cut here at `at[-1]`; n must be at least 1."""
        context = cls(tape.pair, tape.venue, at, closes, timeframe_ns, _Run(markets, parameters, state))
        context._run.tapes[tape.pair, tape.venue] = context._cut(tape)
        return context

    def declared(self, history: int, pairs: tuple[str, ...]) -> "Context":
        """The same context for a family with these declarations."""
        return replace(self, history=history, pairs=pairs)

    def done(self, columns: Mapping[str, Float64Array]) -> None:
        """Make these columns readable by later families."""
        self._run.columns.update(columns)

    @property
    def columns(self) -> Mapping[str, Float64Array]:
        """Columns of the families before this one, each (n,)."""
        return MappingProxyType(self._run.columns)

    @property
    def venues(self) -> tuple[str, ...]:
        """Other exchanges that have data."""
        return self._run.markets.venues

    def parameters(self, pair: str | None = None) -> liqmap.Parameters:
        """Parameters of a pair's map: the calibration in use."""
        return self._run.parameters if pair in (None, self.pair) else self._run.markets.parameters(pair or self.pair)

    def market(self, pair: str | None = None, venue: str | None = None) -> Tape:
        """The tape of this or another market as it was known at the last candle.

        Its bars and open interest begin HISTORY before the first candle's open, in a backtest too, because a bot keeps
        no more; every other kind is complete. A kind without a file is None. Raises RuntimeError for a pair that the
        family does not declare: a bot would not request it from the exchange.
        """
        tape = self._tape(pair, venue)
        key = tape.pair, tape.venue, self.history
        if key not in self._run.recent:
            first = int(open_time(self.at[:1], self.timeframe_ns)[0])
            self._run.recent[key] = tape.later(first - self.history)
        return self._run.recent[key]

    def map(self, pair: str | None = None, venue: str | None = None) -> Map | None:
        """The map of this or another market, None where it has no candle or open-interest file.

        Folded once per call over the whole tape, however many families read it. Distances are measured from the
        candles' closes in this market, and from the newest known close in another market.
        """
        tape = self._tape(pair, venue)
        key = tape.pair, tape.venue
        if key not in self._run.maps:
            self._run.maps[key] = self._fold(tape.for_map())
        return self._run.maps[key]

    def _own(self, pair: str, venue: str | None) -> bool:
        return pair == self.pair and venue in (None, self.venue)

    def _tape(self, pair: str | None, venue: str | None) -> Tape:
        pair = pair or self.pair
        if pair != self.pair and pair not in self.pairs:
            raise RuntimeError(f"a family that reads {pair} must name it in its PAIRS (docs/add-a-feature.md)")
        key = pair, self.venue if venue is None else venue
        if key not in self._run.tapes:
            self._run.tapes[key] = replace(self._cut(self._run.markets.tape(pair, venue)), venue=key[1])
        return self._run.tapes[key]

    def _cut(self, tape: Tape) -> Tape:
        """Cut the tape at the last candle; without a calendar of its own it gets the packaged one."""
        if not tape.sources("event"):
            tape = replace(tape, others={**tape.others, ("event", "macro"): _calendar()})
        return tape.cut(int(self.at[-1]))

    def _fold(self, tape: MapTape | None) -> Map | None:
        if tape is None:
            return None
        parameters, closes, state = self.parameters(tape.pair), self.closes, self._run.state
        if not self._own(tape.pair, tape.venue):
            state = self._run.markets.state(tape.pair, tape.venue)
            row = asof(tape.bars, self.at)
            close = tape.bars["close"][row] if len(tape.bars) else np.full(len(row), np.nan)
            closes = np.where(row >= 0, close, np.nan)
        folded, first = tape, int(open_time(self.at[:1], self.timeframe_ns)[0])
        if tape.since and state is not None and state.serves(first, state.needs):
            # Rows older than the state needs are kept for families that read bars themselves.
            folded = tape.later(state.needs)
        lambdas = impact.of(tape, parameters.squeeze, self.at)
        maps = self._run.markets.maps if tape.pair in self.pairs and not self._own(tape.pair, tape.venue) else None
        key = tape.pair, tape.venue, self.timeframe_ns
        kept = maps.get(key) if maps is not None else None
        past = None if state is None else state.book
        if kept is not None and kept.answers(tape, parameters, self.at, closes, lambdas, past):
            return replace(kept, tape=tape)
        found = liqmap.read(folded, parameters, self.at, closes, state, self.timeframe_ns, lambdas)
        out = Map(tape, parameters, *found, None if state is None else state.book)
        if maps is not None:
            maps[key] = out
        return out


@cache
def _calendar() -> Records:
    rows = macro.calendar()
    rows.flags.writeable = False
    return rows

"""One market's records in the order in which they became known, the cut, and the one join.

Features receive a tape that ends at the view's cutoff and read it with `asof`; nothing here or there compares a
record's `event_time` with a candle, so a feature cannot express a join of its own (docs/laws.md 1 to 3).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liqsignals import records, venues
from liqsignals.clock import (
    HOUR,
    Int64Array,
    dates_ns,
    duration_ns,
)
from liqsignals.data import flows, freqtrade, plausible, store
from liqsignals.data.extras import Extras
from liqsignals.data.plausible import Refused
from liqsignals.data.search import count_until
from liqsignals.errors import InputError
from liqsignals.records import KINDS, Records, later

logger = logging.getLogger(__name__)


def _empty(dtype: np.dtype[np.void]) -> Records:
    return np.empty(0, dtype)


@dataclass(frozen=True)
class Tape:
    """All that is known of one market, each kind in tape order (`known_at`, then `event_time`).

    A kind that the user has no file for is None, which is not the same as empty: law 8. `kind` gives any of
    records.KINDS.
    """

    pair: str
    #: Length of a folded bar and of an open-interest period, ns.
    bar_ns: int
    period_ns: int
    bars: Records | None = None
    open_interest: Records | None = None
    #: Settled funding by venue; the venue traded on comes first.
    funding: dict[str, Records] = field(default_factory=dict)
    flow: Records | None = None
    #: Label convention that the open-interest file ends with (venues.LABEL_END or LABEL_START), None where nothing
    #: decides it.
    labels: int | None = None
    #: Instant (ns) before which bars and open interest are left out; 0: none are. A liqmap.FoldState stands for them.
    since: int = 0
    #: Close (ns) of the first bar that freqtrade may have made up (no volume, and not on disk) or cut short (it came
    #: late): from it on the view is not complete; 0: none.
    unsure: int = 0
    #: Exchange that bars, open interest and the first funding are of; "" for a tape that was not read from disk.
    venue: str = ""
    #: Records of other kinds by (kind, source), and the extras that are asked for what is not among them.
    others: Mapping[tuple[str, str], Records] = field(default_factory=dict)
    extras: Extras | None = None
    #: Where the tape was cut (ns), None where it was not.
    known_by: int | None = None
    #: Rows of the files that are read as holes (data/plausible.py), whatever the cut.
    refused: tuple[Refused, ...] = ()
    #: Where the folds that judge rows stand at the disk's end, None for a tape that was not read from disk.
    past: plausible.Past | None = None

    def kind(self, name: str, source: str | None = None) -> Records | None:
        """Records of a kind of records.KINDS, cut as the tape is; None where there is no file of it.

        `source` is the venue or vendor that they come from: the tape's own venue unless given, "macro" for events.
        Bars, open interest and flow are the market's own: for another venue's bars ask for that venue's market. Raises
        KeyError for an unknown kind.
        """
        dtype = KINDS[name].dtype
        if name == "funding":
            return self.funding.get(source) if source is not None else next(iter(self.funding.values()), None)
        own = {"bar": self.bars, "open_interest": self.open_interest, "flow": self.flow}
        if name in own:
            return own[name] if source in (None, self.venue) else None
        if source is None:
            source = KINDS[name].source or self.venue
        found = self.others.get((name, source))
        if found is None and self.extras is not None:
            found = self.extras.read(name, source)
        if found is not None and found.dtype != dtype:
            raise TypeError(f"{self.pair}: {name} of {source} has the fields {found.dtype.names}, not {dtype.names}")
        return found if found is None or self.known_by is None else known(found, self.known_by)

    def sources(self, name: str) -> tuple[str, ...]:
        """Venues and vendors that have records of a kind, in alphabetical order (funding: the own venue first)."""
        if name == "funding":
            return tuple(self.funding)
        found = {source for kind, source in self.others if kind == name}
        return tuple(sorted(found.union(self.extras.sources(name) if self.extras is not None else ())))

    def cut(self, known_by: int) -> Self:
        """The tape as a bot saw it at `known_by` (ns): every record with `known_at <= known_by`."""
        if self.known_by is not None:
            known_by = min(known_by, self.known_by)
        return replace(
            self,
            bars=None if self.bars is None else known(self.bars, known_by),
            open_interest=None if self.open_interest is None else known(self.open_interest, known_by),
            funding={venue: known(kind, known_by) for venue, kind in self.funding.items()},
            flow=None if self.flow is None else known(self.flow, known_by),
            others={key: known(kind, known_by) for key, kind in self.others.items()},
            known_by=known_by,
        )

    def later(self, since: int, *, copy: bool = False) -> Self:
        """The tape without bars and open interest of before `since` (ns), which a liqmap.FoldState has folded.

        Its arrays refer to this tape's, and keep all of it in memory, unless `copy`.
        """
        bars, interest = (None if kind is None else later(kind, since) for kind in (self.bars, self.open_interest))
        if copy:
            bars, interest = (None if kind is None else kind.copy() for kind in (bars, interest))
        return replace(self, bars=bars, open_interest=interest, since=max(since, self.since))

    def for_map(self) -> "MapTape | None":
        """The same tape as one that carries a map; None where candles or open interest have no file."""
        if self.bars is None or self.open_interest is None:
            return None
        return MapTape(**{f.name: getattr(self, f.name) for f in fields(Tape)})


@dataclass(frozen=True)
class MapTape(Tape):
    """A tape with candles and open interest, perhaps empty: what a map is folded from. Made by `Tape.for_map`."""

    bars: Records
    open_interest: Records


def known(kind: Records, by: int) -> Records:
    """The cut: records with `known_at <= by` (ns)."""
    return kind[: np.searchsorted(kind["known_at"], by, side="right")]


def asof(kind: Records, at: Int64Array) -> Int64Array:
    """Row of the newest record known at each instant, -1 where none was. Ties go to the later record."""
    return count_until(kind["known_at"], at) - 1


def bars_of(tape: MapTape, hours: Int64Array) -> tuple[Int64Array, Int64Array, NDArray[np.bool_]]:
    """Bars of the hours that open at `hours` (n,) ns: the first, one past the last, whether all of them are there."""
    return hour_rows(tape.bars, tape.bar_ns, hours)


def hour_rows(bars: Records, bar_ns: int, hours: Int64Array) -> tuple[Int64Array, Int64Array, NDArray[np.bool_]]:
    """`bars_of` for the bars (`bar_ns` long) of a market that may have no open interest."""
    ends = bars["event_time"]
    first, last = count_until(ends, hours), count_until(ends, hours + HOUR)
    return first, last, last - first == HOUR // bar_ns


def append(old: Records | None, new: Records | None) -> Records | None:
    """`old` and what `new` holds beyond its last event. History wins where both have an instant."""
    if old is None or new is None:
        return new if old is None else old
    if len(old) == 0:
        return new
    return np.concatenate([old, new[new["event_time"] > old["event_time"][-1]]])


def _recorded(extras: Path, kind: str, source: str, pair: str, period: str, dtype: np.dtype[np.void]) -> Records | None:
    """Recorded rows of what a running bot also fetches for itself, None where there are none.

    It had them by the rule of records.py, whenever the recorder came to write them: `known_at` is the rule's, so that
    history from a recorder, an archive or freqtrade has the same bits (docs/decisions/030).
    """
    rows = store.read(store.series_dir(extras, kind, source, pair, period), dtype)
    if len(rows) == 0:
        return None
    rows["known_at"] = rows["event_time"] + (records.FUNDING_LAG if dtype == records.FUNDING else 0)
    return rows


def _recorded_interest(extras: Path, source: str, pair: str, period_ns: int) -> Records | None:
    rows = _recorded(extras, "open_interest", source, pair, "5m", records.OI_VALUE)
    if rows is not None:
        rows["known_at"] = rows["event_time"] + records.open_interest_lag(period_ns)
    return rows


def read_tape(
    datadir: Path,
    pair: str,
    *,
    extras: Path | None = None,
    finest: str = "5m",
    exchange: str | None = None,
    dataformat: str | None = None,
    on_error: Callable[[InputError], None] | None = None,
) -> Tape:
    """Everything that the disk holds of a market.

    `extras` is `<datadir>/liqsignals` unless given; `finest` is the finest candle that the map may fold ("5m", or
    "1m" where configured); `dataformat` is freqtrade's `dataformat_ohlcv`, where configured (data/choice.py). Raises
    InputError for a folder, exchange or file that cannot be read. Missing files are no error: their kinds are None.
    Rows that are what no market does are left out and listed in `refused`; open interest whose worth is never a price
    of the market raises InputError. Kinds that only the extras hold are read when they are asked for (`Tape.kind`);
    `on_error` as in Extras.
    """
    freqtrade.check_datadir(datadir)
    exchange = exchange or venues.exchange_of(datadir)
    venues.check_exchange(exchange)
    extras = extras or datadir / "liqsignals"
    bars = interest = convention = None
    refused: list[Refused] = []
    bar_ns = period_ns = duration_ns("5m")
    folded = freqtrade.folded_candles(datadir, pair, finest, dataformat)
    if folded:
        timeframe, bars = folded
        if finest != "5m" and timeframe != finest:
            logger.warning("%s: no %s candles in %s/futures; the map folds %s", pair, finest, datadir, timeframe)
        bar_ns = duration_ns(timeframe)
    freqtrade.log_unread(datadir, pair, finest, dataformat)
    known = bars if bars is not None else _empty(records.BAR)
    found = freqtrade.read_open_interest(datadir, pair, known, bar_ns, exchange, dataformat)
    if found is not None:
        interest, period_ns, convention = found
    # What a recorder has kept since (`liqsignals record`) follows where the files end.
    since = _recorded(extras, "bar", exchange, pair, "5m", records.BAR)
    if since is not None and bar_ns == duration_ns("5m"):
        bars = append(bars, since)
    since = _recorded_interest(extras, exchange, pair, period_ns)
    if since is not None and period_ns == duration_ns("5m"):
        interest = append(interest, since)
    judged_bars = plausible.bars(bars if bars is not None else _empty(records.BAR), bar_ns)
    if bars is not None:
        bars = judged_bars.taken
    if len(judged_bars.refused):
        candles = freqtrade.candle_file(datadir, pair, finest, dataformat)
        paths = [(candles[1], (bar_ns,))] if candles else []
        refused += _named(judged_bars, paths, f"{pair} recorded candles")
    past = plausible.Past(judged_bars.memory)
    if interest is not None:
        verdict, memory, late = plausible.interest_to_the_end(
            interest, judged_bars.taken, judged_bars.busiest, bar_ns, period_ns
        )
        if len(verdict.refused):
            sources = freqtrade.open_interest_files(datadir, pair, dataformat)
            other = verdict.other_market(interest)
            if other:
                raise InputError(
                    f"{' and '.join(str(x.path) for x in sources) or f'{pair} recorded open interest'}:"
                    f" open_interest_value / open_interest_amount is {other[0]:g} where {pair} traded at {other[1]:g},"
                    " and wrong in every row; this is another market's open interest, or another unit",
                    "compare it with the exchange's page; move the file away and download it again",
                )
            files = [(x.path, (0, duration_ns(x.stored))) for x in sources]
            unit = venues.VENUES[exchange].base_per_unit
            refused += _named(verdict, files, f"{pair} recorded open interest", unit)
        interest, past = verdict.taken, replace(past, interest=memory, late=late)
        times = plausible.turnover(judged_bars.taken, interest)
        if times > plausible.TURNOVER:
            held = freqtrade.candle_file(datadir, pair, finest, dataformat)
            raise InputError(
                f"{held[1] if held else f'{pair} recorded candles'}: {pair} trades {times:,.0f} times its open interest"
                " a day, which no market does; the candles' volume is in another unit (quote currency?), or open"
                " interest is",
                "compare a day with the exchange's page; move the file away and download it again",
            )
    funding = {}
    for venue, folder in {**store.venue_dirs(extras), exchange: datadir}.items():
        form = dataformat if venue == exchange else None
        settled = freqtrade.read_funding(folder, pair, form)
        if venue == exchange:
            for period in store.periods(extras, "funding", exchange, pair):
                settled = append(settled, _recorded(extras, "funding", exchange, pair, period, records.FUNDING))
        if settled is None:
            continue
        rates = plausible.funding(settled)
        if len(rates.refused):
            settlements = [(path, (0,)) for path in freqtrade.funding_files(folder, pair, form)]
            refused += _named(rates, settlements, f"{pair} recorded funding")
        funding[venue] = rates.taken
        if venue == exchange:
            past = replace(past, funding=rates.memory)
    # The venue traded on comes first; without it the others have nothing to be compared with.
    own = funding.pop(exchange, None)
    funding = {} if own is None else {exchange: own, **funding}
    flow_path = flows.flow_file(extras, pair)
    flow = flows.read_flows(flow_path, pair) if flow_path else None
    others = Extras(extras, pair, on_error)
    return Tape(
        pair, bar_ns, period_ns, bars, interest, funding, flow, convention,
        venue=exchange, extras=others, refused=tuple(refused), past=past,
    )  # fmt: skip


def _named(
    verdict: plausible.Verdict,
    files: Sequence[tuple[Path, Sequence[int]]],
    recorded: str,
    unit: float | None = None,
) -> list[Refused]:
    """The refused rows by their place in the files, those that none holds as rows of `recorded`.

    A row of a file is dated one of the file's offsets (ns) before its event; with a `unit`, it is the one whose open
    interest in that unit is the record's. Of several files, the first one that holds the row is named.
    """
    out = verdict.named(recorded)
    found: set[int] = set()
    for path, offsets in files:
        frame = freqtrade.read_table(path, ())
        rows_at: dict[int, list[int]] = {}
        amounts = None if unit is None else pd.to_numeric(frame["open_interest_amount"], errors="coerce") * unit
        for row, at in enumerate(dates_ns(frame["date"], str(path)).tolist()):
            rows_at.setdefault(at, []).append(row)
        for i, refused in enumerate(verdict.named(str(path))):
            if i in found:
                continue
            for at in (refused.at - offset for offset in offsets):
                for row in rows_at.get(at, ()):
                    if amounts is None or amounts.iloc[row] == verdict.refused["base"][i]:
                        out[i] = replace(refused, at=at, row=row)
                        found.add(i)
    return out


def checked_tape(datadir: Path, pair: str, extras: Path | None, exchange: str | None, finest: str = "5m") -> Tape:
    if finest not in ("1m", "5m"):
        raise InputError(f"--finest {finest} must be 5m or 1m")
    freqtrade.check_pair(datadir, pair)
    store.check_extras(extras)
    tape = read_tape(datadir, pair, extras=extras, finest=finest, exchange=exchange)
    for line in plausible.warnings(tape.refused):
        logger.warning("%s. All of them: liqsignals doctor --datadir %s", line, datadir)
    if text := plausible.in_percent(next(iter(tape.funding.values()), np.empty(0, records.FUNDING))):
        logger.warning("%s: %s", pair, text)
    return tape


def map_tape(datadir: Path, pair: str, extras: Path | None, exchange: str | None, finest: str) -> MapTape:
    """A tape that can carry a map: candles and open interest, or an error that names what to download."""
    tape = checked_tape(datadir, pair, extras, exchange, finest)
    found = tape.for_map()
    if found is not None and len(found.bars) and len(found.open_interest):
        return found
    what = "candles" if tape.bars is None or len(tape.bars) == 0 else "open interest"
    raise freqtrade.absent(what, datadir, pair, exchange)

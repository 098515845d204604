"""One market's records in the order in which they became known, the cut, and the one join.

Features receive a tape that ends at the view's cutoff and read it with `asof`; nothing here or there compares a
record's `event_time` with a candle, so a feature cannot express a join of its own (docs/laws.md 1 to 3).
"""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liqsignals import records, venues
from liqsignals.clock import (
    HOUR,
    Int64Array,
    duration_ns,
)
from liqsignals.data import flows, freqtrade, store
from liqsignals.data.freqtrade import pairs_there
from liqsignals.errors import InputError
from liqsignals.records import Records, later

logger = logging.getLogger(__name__)


def _empty(dtype: np.dtype[np.void]) -> Records:
    return np.empty(0, dtype)


@dataclass(frozen=True)
class Tape:
    """All that is known of one market, each kind in tape order (`known_at`, then `event_time`).

    A kind that the user has no file for is None, which is not the same as empty: law 8.
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
    #: Label convention that the open-interest file ends with (labels.END or START), None where nothing tells.
    labels: int | None = None
    #: Instant (ns) before which bars and open interest are left out; 0: none are. A liqmap.FoldState stands for them.
    since: int = 0
    #: Close (ns) of the first bar that freqtrade may have made up (no volume, and not on disk) or cut short (it came late):
    #: from it on the view is not complete; 0: none.
    unsure: int = 0

    def cut(self, known_by: int) -> "Tape":
        """The tape as a bot saw it at `known_by` (ns): every record with `known_at <= known_by`."""

        def upto(kind: Records | None) -> Records | None:
            return None if kind is None else kind[: np.searchsorted(kind["known_at"], known_by, side="right")]

        return replace(
            self,
            bars=upto(self.bars),
            open_interest=upto(self.open_interest),
            funding={venue: kind[: np.searchsorted(kind["known_at"], known_by, "right")] for venue, kind in self.funding.items()},
            flow=upto(self.flow),
        )  # fmt: skip

    def later(self, since: int, *, copy: bool = False) -> "Tape":
        """The tape without bars and open interest of before `since` (ns), which a liqmap.FoldState has folded.

        Its arrays refer to this tape's, and keep all of it in memory, unless `copy`.
        """
        bars, interest = (None if kind is None else later(kind, since) for kind in (self.bars, self.open_interest))
        if copy:
            bars, interest = (None if kind is None else kind.copy() for kind in (bars, interest))
        return replace(self, bars=bars, open_interest=interest, since=max(since, self.since))


def asof(kind: Records, at: Int64Array) -> Int64Array:
    """Row of the newest record known at each instant, -1 where none was. Ties go to the later record."""
    return np.searchsorted(kind["known_at"], at, side="right") - 1


def bars_of(tape: Tape, hours: Int64Array) -> tuple[Int64Array, Int64Array, NDArray[np.bool_]]:
    """Bars of the hours that open at `hours` (n,) ns: the first one, one past the last, and whether all of them are there."""
    assert tape.bars is not None
    ends = tape.bars["event_time"]
    first, last = (np.searchsorted(ends, h, side="right").astype(np.int64) for h in (hours, hours + HOUR))
    return first, last, last - first == HOUR // tape.bar_ns


def append(old: Records | None, new: Records | None) -> Records | None:
    """`old` and what `new` holds beyond its last event. History wins where both have an instant."""
    if old is None or new is None or len(old) == 0:
        return new if old is None or len(old) == 0 else old
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
    if rows is None:
        return None
    at = rows["event_time"]
    return records.records(
        records.OPEN_INTEREST, at, at + records.open_interest_lag(period_ns), base=rows["base"].copy()
    )


def read_tape(
    datadir: Path, pair: str, *, extras: Path | None = None, finest: str = "5m", exchange: str | None = None
) -> Tape:
    """Everything that the disk holds of a market.

    `extras` is `<datadir>/liqsignals` unless given; `finest` is the finest candle that the map may fold ("5m", or
    "1m" where configured). Raises InputError for a folder, exchange or file that cannot be read. Missing files are
    no error: their kinds are None.
    """
    freqtrade.check_datadir(datadir)
    exchange = exchange or venues.exchange_of(datadir)
    venues.check_exchange(exchange)
    extras = extras or datadir / "liqsignals"
    bars = interest = told = None
    bar_ns = period_ns = duration_ns("5m")
    candle_file = freqtrade.candle_file(datadir, pair, finest)
    if candle_file:
        timeframe, path = candle_file
        if finest != "5m" and timeframe != finest:
            logger.warning("%s: no %s candles in %s/futures; the map folds %s", pair, finest, datadir, timeframe)
        bar_ns = duration_ns(timeframe)
        bars = freqtrade.bars(
            freqtrade.read_table(path, ("open", "high", "low", "close", "volume")), timeframe, str(path)
        )
    interest_file = freqtrade.open_interest_file(datadir, pair)
    if interest_file:
        timeframe, path = interest_file
        period_ns = duration_ns(timeframe)
        frame = freqtrade.read_table(path, ("open_interest_amount",))
        known = bars if bars is not None else _empty(records.BAR)
        interest, told = freqtrade.open_interest(frame, timeframe, known, bar_ns, exchange, str(path))
    # What a recorder has kept since (`liqsignals record`) follows where the files end.
    since = _recorded(extras, "bar", exchange, pair, "5m", records.BAR)
    if since is not None and bar_ns == duration_ns("5m"):
        bars = append(bars, since)
    since = _recorded_interest(extras, exchange, pair, period_ns)
    if since is not None and period_ns == duration_ns("5m"):
        interest = append(interest, since)
    funding = {}
    for venue, folder in {**store.venue_dirs(extras), exchange: datadir}.items():
        path_or_none = freqtrade.funding_file(folder, pair)
        if path_or_none:
            funding[venue] = freqtrade.funding(freqtrade.read_table(path_or_none, ("funding_rate",)), str(path_or_none))
    since = _recorded(extras, "funding", exchange, pair, "events", records.FUNDING)
    if since is not None:
        funding[exchange] = since if funding.get(exchange) is None else append(funding[exchange], since)  # type: ignore[assignment]
    # The venue traded on comes first; without it the others have nothing to be compared with.
    own = funding.pop(exchange, None)
    funding = {} if own is None else {exchange: own, **funding}
    flow_path = flows.flow_file(extras, pair)
    flow = flows.read_flows(flow_path) if flow_path else None
    return Tape(pair, bar_ns, period_ns, bars, interest, funding, flow, told)


def checked_tape(datadir: Path, pair: str, extras: Path | None, exchange: str | None, finest: str = "5m") -> Tape:
    if finest not in ("1m", "5m"):
        raise InputError(f"--finest {finest} must be 5m or 1m")
    freqtrade.check_pair(datadir, pair)
    store.check_extras(extras)
    return read_tape(datadir, pair, extras=extras, finest=finest, exchange=exchange)


def map_tape(datadir: Path, pair: str, extras: Path | None, exchange: str | None, finest: str) -> Tape:
    """A tape that can carry a map: candles and open interest, or an error that names what to download."""
    tape = checked_tape(datadir, pair, extras, exchange, finest)
    for what, there in (("candles", tape.bars), ("open interest", tape.open_interest)):
        if there is None or len(there) == 0:
            raise InputError(
                f"no {what} of {pair} in {datadir / 'futures'} (pairs there: {pairs_there(datadir)}); a map needs them",
                f"{freqtrade.download_command(exchange or venues.exchange_of(datadir), pair)}",
            )
    return tape

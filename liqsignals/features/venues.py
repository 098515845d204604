"""The market beyond the venue traded on: its open interest by venue, and other venues' maps.

Open interest by venue comes from a table that the user brings (data/venue_interest.py), and for venues that it lacks
from what was recorded or downloaded of them. A venue without either is not in the market: all of it is a lower bound.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liqsignals.clock import HOUR, Int64Array
from liqsignals.data.search import count_until
from liqsignals.data.tape import Tape, asof
from liqsignals.features.column import Column
from liqsignals.features.context import Context
from liqsignals.features.liquidation_map import STALE_MAP
from liqsignals.liqmap import BANDS, kernels
from liqsignals.records import VENUE_INTEREST_MAX_AGE, Float64Array, Records, open_interest_max_age

#: Open interest in USD is converted to coins at a close that is at most this old.
_CLOSE_MAX_AGE = HOUR
#: The rows read begin with the candle and open interest of the oldest value that counts.
HISTORY = VENUE_INTEREST_MAX_AGE + 4 * HOUR
#: What the table has of the venue traded on, over the open interest loaded of it: beyond these another unit or coin.
PLAUSIBLE = (0.5, 20.0)

_STALE = "no open interest of another venue, or all of it stale (48 h); no or stale open interest or candles here"

COLUMNS = (
    Column(
        "liq_market_scale",
        "ratio",
        "> 0",
        _STALE,
        "open interest of all venues known / that of the map, at the same instants: times it, the map's USD stand for "
        "the market",
    ),
    Column("liq_venue_share", "share", "0 .. 1", _STALE, "this venue's part of that open interest"),
    Column("liq_venue_hhi", "index", "0 .. 1", _STALE, "its concentration: sum of the venues' squared shares"),
    Column("liq_market_age_h", "hours", "0 .. 48", _STALE, "age of the oldest venue's value in it"),
    *(
        Column(
            f"liq_all_{side}_usd_{round(100 * band)}pct",
            "position USD",
            ">= 0",
            f"no other venue's candles and open interest on disk; of any of them: {STALE_MAP}",
            f"liq_{side}_usd_{round(100 * band)}pct of this and all other venues on disk",
        )
        for side in ("short", "long")
        for band in BANDS
    ),
)


@dataclass(frozen=True)
class Standing:
    """Open interest of the venues in one coin at n instants."""

    #: Open interest (venues, n) over what the map of the venue traded on has at the same time; NaN where unknown.
    venues: tuple[str, ...]
    ratio: Float64Array
    #: Age (ns, int64) of each (venues, n), where it is known.
    age: Int64Array

    @property
    def scale(self) -> Float64Array:
        """Sum over the venues (n,); NaN where only the venue traded on is known."""
        several = np.isfinite(self.ratio).sum(axis=0) > 1
        return np.where(several, np.nansum(self.ratio, axis=0), np.nan)

    @property
    def shares(self) -> Float64Array:
        """Each venue's part of it (venues, n)."""
        return np.asarray(self.ratio / self.scale)


def standing(tape: Tape, at: Int64Array) -> Standing:
    """Open interest by venue at instants `at`, as a (cut) tape has it: the venue traded on first.

    All values are over the open interest of the map at the value's own instant, so that a change since then does not
    count. The table's value of the venue traded on has all its contracts, the map those of one quote currency.
    """
    own = tape.venue
    names = [own, *sorted({*tape.sources("venue_interest"), *tape.sources("oi_value")} - {own})]
    ratio = np.full((len(names), len(at)), np.nan)
    age = np.zeros((len(names), len(at)), np.int64)
    bars, interest = tape.bars, tape.open_interest
    if bars is None or interest is None or not (len(bars) and len(interest)):
        return Standing(tuple(names), ratio, age)
    base = _Own(tape, bars, interest, at)
    for i, name in enumerate(names):
        for kind in ("venue_interest", "oi_value"):
            found = tape.kind(kind, name) if (kind, i) != ("oi_value", 0) else None
            if found is not None and len(found):
                here, old = base.ratio(found)
                age[i] = np.where(np.isnan(ratio[i]), old, age[i])
                ratio[i] = np.where(np.isnan(ratio[i]), here, ratio[i])
    odd = ~((ratio[0] >= PLAUSIBLE[0]) & (ratio[0] <= PLAUSIBLE[1])) & np.isfinite(ratio[0])
    ratio[:, odd] = np.nan
    # Without a value in the table the venue traded on is what its map has.
    alone = np.isnan(ratio[0]) & np.isfinite(ratio[1:]).any(axis=0) & ~odd
    ratio[0, alone] = 1.0
    return Standing(tuple(names), ratio, age)


@dataclass(frozen=True)
class _Rows:
    """For each of n instants: the newest record known, whether it counts, its age (ns), the own market at its instant."""

    newest: Int64Array
    there: NDArray[np.bool_]
    age: Int64Array
    base: Float64Array
    usd: Float64Array


class _Own:
    """The map's own open interest and closes, at the instants of other records."""

    def __init__(self, tape: Tape, bars: Records, interest: Records, at: Int64Array) -> None:
        self.at, self.bars, self.interest = at, bars, interest
        self.closed, self.measured = (np.ascontiguousarray(kind["event_time"]) for kind in (bars, interest))
        self.steps = np.concatenate(([0], np.cumsum(interest["start"])))
        self.bar, self.row = asof(bars, at), asof(interest, at)
        self.max_age = open_interest_max_age(tape.period_ns)
        self._rows: dict[tuple[bytes, bytes], _Rows] = {}

    def ratio(self, found: Records) -> tuple[Float64Array, Int64Array]:
        """Newest of the records known at each instant, over the own open interest then, and its age (ns). NaN: none."""
        # The venues of a table have their stamps in common.
        key = found["event_time"].tobytes(), found["known_at"].tobytes()
        if key not in self._rows:
            self._rows[key] = self._of(found)
        rows = self._rows[key]
        field, own = ("base", rows.base) if "base" in (found.dtype.names or ()) else ("usd", rows.usd)
        return np.where(rows.there, found[field][rows.newest] / own, np.nan), rows.age

    def _of(self, found: Records) -> _Rows:
        newest = asof(found, self.at)
        known = newest >= 0
        newest = np.maximum(newest, 0)
        then = found["event_time"][newest]
        # Rows after the newest known at the instant may be known to later ones only.
        bar = np.minimum(count_until(self.closed, then) - 1, self.bar)
        row = np.minimum(count_until(self.measured, then) - 1, self.row)
        age = self.at - then
        there = known & (bar >= 0) & (row >= 0) & (age <= VENUE_INTEREST_MAX_AGE)
        bar, row = np.maximum(bar, 0), np.maximum(row, 0)
        there &= (then - self.closed[bar] <= _CLOSE_MAX_AGE) & (then - self.measured[row] <= self.max_age)
        # A step that no market makes was taken for real since: what is before it is of another market.
        there &= self.steps[row + 1] == self.steps[np.maximum(self.row, 0) + 1]
        base = self.interest["base"][row]
        return _Rows(newest, there, np.where(there, age, 0), base, base * self.bars["close"][bar])


def compute(context: Context) -> dict[str, Float64Array]:
    """`liq_market_*`, `liq_venue_*` and `liq_all_*` columns."""
    found = context.map()
    if found is None:
        return {}
    at, usable = context.at, found.usable(context.at)
    out = {}
    seen = standing(context.market(), at)
    if len(seen.venues) > 1:
        scale = np.where(usable, seen.scale, np.nan)
        there = np.isfinite(scale)
        shares = seen.shares
        out["liq_market_scale"] = scale
        out["liq_venue_share"] = np.where(there, shares[0], np.nan)
        out["liq_venue_hhi"] = np.where(there, np.nansum(shares**2, axis=0), np.nan)
        out["liq_market_age_h"] = np.where(there, seen.age.max(axis=0) / HOUR, np.nan)
    maps = [other for venue in context.venues if (other := context.map(venue=venue)) is not None]
    if not maps:
        return out
    for other in maps:
        usable = usable & other.usable(at)
    for side, first in (("short", kernels.R_SHORT), ("long", kernels.R_LONG)):
        for i, band in enumerate(BANDS):
            total = found.reading.rows[:, first + i].copy()
            for other in maps:
                total += other.reading.rows[:, first + i]
            out[f"liq_all_{side}_usd_{round(100 * band)}pct"] = np.where(usable, total, np.nan)
    return out

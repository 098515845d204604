"""The feature columns, and the one function that computes them from a tape (docs/add-a-feature.md)."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from liqsignals import liqmap
from liqsignals.clock import Int64Array
from liqsignals.data.tape import Tape
from liqsignals.features import clusters, flows, funding, liquidation_map, macro, spillover, squeeze, venues
from liqsignals.features.column import Column
from liqsignals.features.context import Context, DiskMarkets, Map, Markets, other_venues
from liqsignals.records import Float64Array

__all__ = [
    "COLUMNS",
    "FAMILIES",
    "NAMES",
    "Column",
    "Context",
    "DiskMarkets",
    "Family",
    "Map",
    "Markets",
    "blocked",
    "compute",
    "empty",
    "history",
    "other_venues",
    "pairs",
]


class Family(Protocol):
    """A file of this folder: its columns, and the function that computes them.

    Two declarations are optional. HISTORY (default 0): how long (ns) before the first candle it reads bars and open
    interest. PAIRS (default none): other pairs that it reads (`context.market(pair)`).
    """

    @property
    def COLUMNS(self) -> tuple[Column, ...]: ...

    def compute(self, context: Context) -> dict[str, Float64Array]:
        """Columns by name, each (n,); a column that is left out is NaN throughout."""


#: The families in the order of their columns. A family can read the columns of those before it.
FAMILIES: tuple[Family, ...] = (
    liquidation_map,
    funding,
    flows,
    squeeze,
    clusters,
    venues,
    macro,
    spillover,
)

#: Every column, in the order in which `compute` returns them and files hold them.
COLUMNS: tuple[Column, ...] = tuple(column for family in FAMILIES for column in family.COLUMNS)

NAMES = tuple(c.name for c in COLUMNS)


def history(families: Sequence[Family] = FAMILIES) -> int:
    """History (ns) of bars and open interest needed before the first candle, besides that of the map's state."""
    return max((int(getattr(family, "HISTORY", 0)) for family in families), default=0)


def pairs(families: Sequence[Family] = FAMILIES) -> tuple[str, ...]:
    """Pairs that families read for every pair traded: freqtrade must refresh them (informative pairs)."""
    return tuple(dict.fromkeys(pair for family in families for pair in getattr(family, "PAIRS", ())))


def empty(n: int, families: Sequence[Family] = FAMILIES) -> dict[str, Float64Array]:
    """All columns, NaN throughout: the result for an unknown pair."""
    return {column.name: np.full(n, np.nan) for family in families for column in family.COLUMNS}


def blocked(n: int, families: Sequence[Family] = FAMILIES) -> dict[str, Float64Array]:
    """All columns, NaN but for the flags, which are 0: what a failure leaves, so that no filter is off."""
    return {
        column.name: np.full(n, 0.0 if column.unit == "flag" else np.nan)
        for family in families
        for column in family.COLUMNS
    }


def compute(
    tape: Tape,
    at: Int64Array,
    closes: Float64Array,
    timeframe_ns: int,
    parameters: liqmap.Parameters | None = None,
    state: liqmap.FoldState | None = None,
    *,
    markets: Markets | None = None,
    families: Sequence[Family] = FAMILIES,
) -> dict[str, Float64Array]:
    """All columns at a strategy's candles, from the tape as it was known at the last of them.

    `at` (n,) ascending decision times, `closes` (n,) the candles' closes, `timeframe_ns` their length. The tape is cut
    here, at `at[-1]`, so that a shorter dataframe means shorter data (docs/laws.md 3). `parameters` are those
    of the calibration in use (default: the prior). `state` carries map state between calls. `markets` provides other
    pairs and venues, which are cut in the same way; without it they have no files. Returns COLUMNS of `families` in
    order, each (n,) float64; NaN rules are in COLUMNS. Raises RuntimeError where a family returns a column that it does
    not declare.
    """
    if len(at) == 0:
        return empty(0, families)
    out: dict[str, Float64Array] = {}
    context = Context.of(tape, at, closes, timeframe_ns, parameters or liqmap.Parameters(), state, markets or Markets())
    for family in families:
        found = family.compute(context.declared(history([family]), pairs([family])))
        names = [column.name for column in family.COLUMNS]
        for name, values in found.items():
            if name not in names or values.shape != at.shape or values.dtype != np.float64:
                raise RuntimeError(
                    f"a family returned {name} {values.dtype}{values.shape} for {at.shape} candles; it declares {names}"
                )
        own = {name: found[name] if name in found else np.full(len(at), np.nan) for name in names}
        out.update(own)
        context.done(own)
    return out

"""The layout of a book's arrays, and what the kernels of the fold and of its readings have in common."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from liqsignals.clock import Int64Array
from liqsignals.compiled import cached
from liqsignals.records import Float64Array

LONG, SHORT = 0, 1

_SOURCES = sorted(Path(__file__).parent.glob("*.py"))

kernel = cached(_SOURCES, nogil=True)
# What allocates nothing needs no counting of references, which took a quarter of the time, and longer where both
# sides' threads count the same arrays (docs/decisions/043). numba compiles its own sorting so. Inlined, because a call
# copies every array's description in a NamedTuple: a tenth of the time lost, two fifths won.
bare = cached(_SOURCES, _nrt=False, forceinline=True)


class BookArrays(NamedTuple):
    """What stands of one market's positions. Side 0 is long, 1 is short; base units unless said otherwise."""

    #: (side, class, bucket): what is liquidated at the bucket's price, divided by `scale[side, class]`, so that closing
    #: a share of a class costs one multiplication, not a pass over the grid.
    mass: Float64Array
    scale: Float64Array
    #: (side, class): sum of `mass` over the buckets.
    total: Float64Array
    #: (side, 2): the remainder (hedged, 1x, beyond the classes), and what was open before the tape began, whose levels
    #: nobody knows. Both count as remainder to the outside.
    stock: Float64Array
    #: (side, class): bucket beyond which (upward for longs, downward for shorts) the class is empty.
    edge: Int64Array
    #: (side,): what was swept since the last known open interest.
    pending: Float64Array
    #: (side,): median mass, USD, as of the last full hour (what a major cluster must stand out from).
    typical: Float64Array


class Grid(NamedTuple):
    """Price buckets: `price[i]` is the geometric centre of bucket `origin + i` of the log grid of width `step`."""

    price: Float64Array
    origin: int
    step: float


class Distances(NamedTuple):
    """Where the levels of new entries lie: shares of class k's levels by distance in buckets from the entry's bucket.

    Class k of a side has `cells[side, k]` cells from distance `nearest[side, k]` on; `share[side, k]` holds them in the
    order of the grid (longs: farthest first), `cumulative[side, k, j]` the share of the nearest j.
    """

    share: Float64Array
    cumulative: Float64Array
    nearest: Int64Array
    cells: Int64Array

    @property
    def farthest(self) -> int:
        """Greatest distance of a level from its entry, in buckets."""
        return int((self.nearest + self.cells).max())


@bare
def bucket_at_or_above(grid, value):
    """First array index whose centre is >= `value`. Oracle: `np.searchsorted(grid.price, value)`."""
    return first_at_or_above(grid, value, math.log(value) / grid.step)


@bare
def first_at_or_above(grid, value, x):
    """`bucket_at_or_above` of a value whose `x`, its logarithm in buckets, is known."""
    i = int(math.ceil(x - 0.5)) - grid.origin
    n = len(grid.price)
    i = min(max(i, 0), n)
    while i > 0 and grid.price[i - 1] >= value:
        i -= 1
    while i < n and grid.price[i] < value:
        i += 1
    return i


@bare
def add_scaled(target, to, source, begin, n, factor):
    """target[to : to + n] += factor * source[begin : begin + n]. Oracle: the same in numpy.

    A quarter of a fold's time: each bar adds every class of levels once, and twice where open interest grew.
    """
    # Unsigned indices spare the test for negative ones, without which LLVM uses vector instructions.
    t = np.uintp(to)
    b = np.uintp(begin)
    for j in range(np.uintp(n)):
        target[t + j] += factor * source[b + j]

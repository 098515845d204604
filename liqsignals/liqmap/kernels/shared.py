"""The layout of a book's arrays, and what the kernels of the fold and of its readings have in common."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from liqsignals.clock import Int64Array
from liqsignals.compiled import cached
from liqsignals.records import Float64Array

LONG, SHORT = 0, 1

#: Room in a class's arrays on either side of its cells.
BESIDE = 64

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
    #: (side, kernels.N_PAST): at how many full hours the nearest major cluster had which share of open interest, by
    #: classes of its logarithm (kernels.read.past_bin).
    past: Float64Array


class Grid(NamedTuple):
    """Price buckets: `price[i]` is the geometric centre of bucket `origin + i` of the log grid of width `step`."""

    price: Float64Array
    origin: int
    step: float


class Distances(NamedTuple):
    """Where the levels of new entries lie: shares of class k's levels by distance in buckets from the entry's bucket.

    Class k of a side has `cells[side, k]` cells from distance `nearest[side, k]` on. Of the arrays' last axis the first
    BESIDE places belong to no cell, so that a loop may reach beyond the ends:
    """

    #: The cells' shares in the order of the grid (longs: farthest first), zero beyond them, and their running sum: what
    #: comes before each place.
    share: Float64Array
    running: Float64Array
    #: Share of the nearest j cells, without such places.
    cumulative: Float64Array
    nearest: Int64Array
    cells: Int64Array

    @classmethod
    def of(cls, shares: Sequence[Sequence[Float64Array]], nearest: Int64Array) -> "Distances":
        """From the shares of each side and class, nearest cell first, and the nearest cells (side, class)."""
        cells = np.array([[len(held) for held in side] for side in shares], np.int64)
        share = np.zeros((*cells.shape, cells.max() + 2 * BESIDE))
        cumulative = np.zeros((*cells.shape, cells.max() + 1))
        for side, classes in enumerate(shares):
            for k, held in enumerate(classes):
                share[side, k, BESIDE : BESIDE + len(held)] = held[::-1] if side == LONG else held
                cumulative[side, k, 1 : len(held) + 1] = np.cumsum(held)
        running = np.concatenate([np.zeros((*cells.shape, 1)), np.cumsum(share, axis=2)[:, :, :-1]], axis=2)
        return cls(share, running, cumulative, nearest, cells)

    def shares(self, side: int, k: int) -> Float64Array:
        """A class's shares, nearest cell first."""
        held = self.share[side, k, BESIDE : BESIDE + self.cells[side, k]]
        return held[::-1] if side == LONG else held

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


@bare
def add_evenly(target, to, share, running, cells, n, first, inner, last):
    """Add `cells` of `share` from each of `n` neighbouring places on, from `to` on: times `first`, `inner` .., `last`.

    The inner ones, all alike, are a difference of the running sum, so that a wide bar costs no more than a narrow one.
    Oracle: `n` times `add_scaled`.
    """
    t = np.uintp(to)
    here = np.uintp(BESIDE)
    after_first = np.uintp(BESIDE - (n - 2))
    at_last = np.uintp(BESIDE - (n - 1))
    for j in range(np.uintp(cells + n - 1)):
        target[t + j] += (
            first * share[here + j] + last * share[at_last + j] + inner * (running[here + j] - running[after_first + j])
        )

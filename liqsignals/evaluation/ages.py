"""The map by age: swept and standing mass, split by the time since entry."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liqsignals import liqmap
from liqsignals.clock import HOUR
from liqsignals.data.tape import MapTape
from liqsignals.liqmap.kernels import LONG
from liqsignals.records import Float64Array

#: Ages (h) at which swept mass is split, and the length of a cohort: ages are accurate to one cohort.
AGES = (3, 12, 72)
AGE_NAMES = ("< 3 h", "3 .. 12 h", "12 .. 72 h", "> 72 h")
COHORT = 3 * HOUR


@dataclass(frozen=True)
class Aged:
    """A fold whose mass is split by age (AGE_NAMES)."""

    tape: MapTape
    #: Swept USD, (bars, 2, ages).
    swept: Float64Array
    #: Book at some instants: base units (2, ages, buckets) and the buckets' prices.
    books: dict[int, tuple[Float64Array, Float64Array]]


def fold_by_age(tape: MapTape, parameters: liqmap.Parameters, at: Sequence[int] = ()) -> Aged:
    """The map's fold with every class split into cohorts of COHORT by the time of entry; their sum is the map.

    `at`: instants (ns, multiples of COHORT) at which to keep the book. Ages count from the cohort's start:
    mass of the current cohort is "< 3 h", and so on.
    """
    p = liqmap.plan(tape)
    distances = liqmap.distances_of(parameters, tape.pair)
    kinds, slots = len(parameters.classes), AGES[-1] * HOUR // COHORT
    copies = slots + 1  # the last one holds all older mass

    def tiled(a: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.tile(a, (1, copies) + (1,) * (a.ndim - 2)))

    wide = liqmap.Distances(*(tiled(array) for array in distances))
    many = replace(parameters, classes=parameters.classes * copies)
    fold = liqmap.Fold(p, many, wide)
    mix = parameters.mix
    n = len(p.low)
    swept = np.zeros((n, 2, len(AGES) + 1))
    books: dict[int, tuple[Float64Array, Float64Array]] = {}
    wanted = set(at)
    block = (p.closes_at - 1) // COHORT
    cuts = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), n]
    entered = np.full(copies, -(10**9))
    for start, stop in pairwise(cuts):
        now = int(block[start])
        slot = now % slots
        if fold.book is not None:
            _retire(fold.book, slot * kinds, slots * kinds, kinds)
        entered[slot] = now
        age = np.digitize((now - entered) * (COHORT // HOUR), AGES)
        age[slots] = len(AGES)
        entering = np.zeros(kinds * copies)
        entering[slot * kinds : (slot + 1) * kinds] = mix[:-1]
        # New mass goes to the current cohort; hazards and the remainder apply to all cohorts.
        fold.enter(entering, float(mix[-1]))
        fold.by_class, fold.by_class_from = np.zeros((stop - start, 2, kinds * copies)), start
        fold.to(stop)
        cohorts = fold.by_class.reshape(stop - start, 2, copies, kinds).sum(axis=3)
        for k in range(len(AGES) + 1):
            swept[start:stop, :, k] = cohorts[:, :, age == k].sum(axis=2)
        end = (now + 1) * COHORT
        if end in wanted and fold.book is not None:
            b = fold.book
            held = (b.mass * b.scale[:, :, None]).reshape(2, copies, kinds, -1).sum(axis=2)
            books[end] = np.stack([held[:, age == k].sum(axis=1) for k in range(len(AGES) + 1)], axis=1), b.price.copy()
    return Aged(tape, swept, books)


def _retire(book: liqmap.Book, old: int, pool: int, kinds: int) -> None:
    """Move the cohort whose slot is about to be reused into the pool of the oldest."""
    for side in range(2):
        for k in range(kinds):
            a, z = old + k, pool + k
            factor = book.scale[side, a] / book.scale[side, z]
            book.mass[side, z] += book.mass[side, a] * factor
            book.total[side, z] += book.total[side, a] * factor
            book.mass[side, a], book.total[side, a], book.scale[side, a] = 0.0, 0.0, 1.0
            # The level nearest to the price, from which sweeps begin; the emptied cohort has none.
            nearer, none = (max, -1) if side == LONG else (min, book.mass.shape[2])
            book.edge[side, z] = nearer(book.edge[side, z], book.edge[side, a])
            book.edge[side, a] = none

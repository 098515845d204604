"""The position book: base units by side, class and price bucket, and where new entries are liquidated."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liqsignals import venues
from liqsignals.clock import Int64Array
from liqsignals.liqmap import kernels, margin
from liqsignals.liqmap.kernels import Distances
from liqsignals.liqmap.parameters import TIER_WIDTH, LeverageClass, Parameters
from liqsignals.records import Float64Array

#: Width of a price bucket in log price: 5 bp.
STEP = 5e-4

_GROW = 512


def distances_of(parameters: Parameters, pair: str) -> Distances:
    """Distances of a pair's levels: leverage spread evenly in log over each class's band, and at its round leverages.

    A class above the venue's maximum leverage for its notional stands at that maximum: such positions do not exist.
    """
    return _distances(parameters.classes, parameters.tier_share, venues.brackets(pair))


@lru_cache(maxsize=64)
def _distances(classes: tuple[LeverageClass, ...], tier_share: float, table: tuple[venues.Bracket, ...]) -> Distances:
    n = len(classes)
    shares: list[list[Float64Array]] = [[], []]
    nearest = np.zeros((2, n), np.int64)
    for side in range(2):
        for k, c in enumerate(classes):
            most = venues.bracket_at(table, c.notional).max_leverage
            bands = [(1.0 - tier_share if c.tiers else 1.0, c.low, c.high)]
            bands += [(tier_share / len(c.tiers), t * (1 - TIER_WIDTH), t * (1 + TIER_WIDTH)) for t in c.tiers]
            cells: list[Int64Array] = []
            parts: list[NDArray[np.floating[Any]]] = []
            for part, low, high in bands:
                edges = np.geomspace(
                    *((low, high) if c.eroded_margin else (min(low, 0.999 * most), min(high, most))), 513
                )
                middles = np.sqrt(edges[1:] * edges[:-1])
                if c.eroded_margin:
                    ratio = 1.0 + (1.0 if side == kernels.SHORT else -1.0) / middles
                else:
                    ratio = np.array([margin.liquidation_ratio(side, x, c.notional, table) for x in middles])
                # Nearer than two buckets, a step of a bar's walk could pass what it enters (docs/decisions/080).
                distance = np.maximum(np.abs(np.log(ratio)) / STEP, 2.0)
                # The entry lies anywhere in its bucket: a distance of 3.25 buckets is 3 in 75 % of cases, else 4.
                cell = np.floor(distance).astype(np.int64)
                cells += [cell, cell + 1]
                parts += [part / 512 * (1.0 - (distance - cell)), part / 512 * (distance - cell)]
            where = np.concatenate(cells)
            nearest[side, k] = where.min()
            shares[side].append(np.bincount(where - where.min(), np.concatenate(parts)).astype(np.float64))
    return Distances.of(shares, nearest)


def _no_edge(classes: int, size: int) -> Int64Array:
    return np.repeat(np.array([[-1], [size]], np.int64), classes, axis=1)


@dataclass
class Book:
    """State of the fold after `bars` bars of its tape (kernels.BookArrays describes the arrays)."""

    mass: Float64Array
    scale: Float64Array
    total: Float64Array
    stock: Float64Array
    edge: Int64Array
    pending: Float64Array
    typical: Float64Array
    past: Float64Array
    #: Means of the market's variance and volume (kernels/volatility.py); no rows without parameters of the squeeze.
    pace: Float64Array
    price: Float64Array
    origin: int
    #: Index of the next bar to fold, and decision time at which the map (re)started.
    bars: int
    started: int

    @classmethod
    def opened(cls, classes: int, interest: float, bars: int, started: int, pace: Float64Array) -> "Book":
        """A book in which all open interest is of unknown origin; `pace` outlives a restart."""
        stock = np.zeros((2, 2))
        stock[:, 1] = interest
        return cls(
            np.zeros((2, classes, 0)), np.ones((2, classes)), np.zeros((2, classes)), stock,
            _no_edge(classes, 0), np.zeros(2), np.zeros(2),
            np.zeros((2, kernels.N_PAST)), pace, np.zeros(0), 0, bars, started,
        )  # fmt: skip

    @property
    def arrays(self) -> kernels.BookArrays:
        """The arrays as the kernels take them."""
        return kernels.BookArrays(
            self.mass, self.scale, self.total, self.stock, self.edge, self.pending, self.typical, self.past
        )  # fmt: skip

    @property
    def grid(self) -> kernels.Grid:
        """The buckets that `mass` covers."""
        return kernels.Grid(self.price, self.origin, STEP)

    def copy(self) -> "Book":
        """A checkpoint that later folding does not touch."""
        return replace(
            self, mass=self.mass.copy(), scale=self.scale.copy(), total=self.total.copy(), stock=self.stock.copy(),
            edge=self.edge.copy(), pending=self.pending.copy(), typical=self.typical.copy(), past=self.past.copy(), pace=self.pace.copy(),
        )  # fmt: skip

    def cover(self, low: float, high: float, margin_cells: int) -> None:
        """Widen the grid to hold low .. high and `margin_cells` beyond. Widths change no bit of any bucket."""
        first = int(np.floor(np.log(low) / STEP)) - margin_cells
        last = int(np.floor(np.log(high) / STEP)) + margin_cells
        size = self.mass.shape[2]
        if size and first >= self.origin and last < self.origin + size:
            return
        if size:
            first, last = min(first, self.origin), max(last, self.origin + size - 1)
        first = first // _GROW * _GROW
        size_new = (last - first) // _GROW * _GROW + _GROW
        mass = np.zeros((*self.mass.shape[:2], size_new))
        shift = self.origin - first if size else 0
        mass[:, :, shift : shift + size] = self.mass
        edge = self.edge + shift
        # A class that is empty is so to the grid's end.
        edge[1, self.edge[1] >= size] = size_new
        edge[0, self.edge[0] < 0] = -1
        self.edge = edge
        self.mass, self.origin = mass, first
        self.price = np.exp((np.arange(first, first + size_new) + 0.5) * STEP)

    def levels(self) -> Float64Array:
        """Base units by (side, bucket), classes summed."""
        out = np.zeros((2, self.mass.shape[2]))
        for side in range(2):
            kernels.levels(self.arrays, side, 0, self.mass.shape[2], out[side])
        return out

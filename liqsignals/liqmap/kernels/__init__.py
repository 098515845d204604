"""The compiled loops of the position book: numpy arrays in NamedTuples in and out, no fastmath, no classes.

`fold` moves a book through bars, `read` turns a book into columns, `shared` has the arrays' layout and what both use.
"""

from liqsignals.liqmap.kernels.fold import (
    CAPPED,
    CLOSED,
    N_FLOWS,
    OPENED,
    REMAINDER,
    SWEPT,
    SWEPT_USD,
    UNSEEN,
    Bars,
    Rates,
    Readings,
    in_buckets,
    run_side,
)
from liqsignals.liqmap.kernels.read import (
    N_READ,
    PRICE,
    R_ABOVE,
    R_BELOW,
    R_LONG,
    R_SHORT,
    USD,
    USD_HIGH,
    USD_LOW,
    Rule,
    clusters,
    levels,
)
from liqsignals.liqmap.kernels.shared import LONG, SHORT, BookArrays, Distances, Grid

__all__ = [
    "CAPPED",
    "CLOSED",
    "LONG",
    "N_FLOWS",
    "N_READ",
    "OPENED",
    "PRICE",
    "REMAINDER",
    "R_ABOVE",
    "R_BELOW",
    "R_LONG",
    "R_SHORT",
    "SHORT",
    "SWEPT",
    "SWEPT_USD",
    "UNSEEN",
    "USD",
    "USD_HIGH",
    "USD_LOW",
    "Bars",
    "BookArrays",
    "Distances",
    "Grid",
    "Rates",
    "Readings",
    "Rule",
    "clusters",
    "in_buckets",
    "levels",
    "run_side",
]

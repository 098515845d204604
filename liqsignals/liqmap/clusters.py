"""Major clusters of a book, and the rule that makes a local maximum one (docs/decisions/006)."""

import numpy as np

from liqsignals.liqmap import kernels
from liqsignals.liqmap.book import Book
from liqsignals.records import Float64Array

#: Distance from the close up to which clusters are looked for, and the bands of cumulative USD.
SPAN = 0.15

BANDS = np.array([0.01, 0.02, 0.05, 0.10])

#: Major cluster (docs/decisions/006): a local maximum whose mass within +- 0.25 % is at least 0.2 % of open interest
#: and 1.5 x the side's median, taken hourly over the whole side, from the close to the map's farthest level.
CLUSTER_FLOOR = 0.002

CLUSTER_TIMES = 1.5


def clusters(book: Book, side: int, close: float, interest: float) -> Float64Array:
    """All major clusters of one side within SPAN of the close, nearest first: rows (price, usd, low, high)."""
    least = max(CLUSTER_FLOOR * interest * close, CLUSTER_TIMES * float(book.typical[side]))
    found = np.empty((64, 4))
    count = kernels.clusters(book.arrays, book.grid, close, side, SPAN, least, found)
    return found[:count]

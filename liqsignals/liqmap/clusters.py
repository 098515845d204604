"""Major clusters of a book, and the rule that makes a local maximum one (docs/decisions/006)."""

import numpy as np

from liqsignals.liqmap import kernels
from liqsignals.liqmap.book import STEP, Book
from liqsignals.records import Float64Array

#: Distance from the close up to which clusters are looked for, and the bands of cumulative USD.
SPAN = 0.15

BANDS = np.array([0.01, 0.02, 0.05, 0.10])

#: Major cluster (docs/decisions/006): a local maximum whose mass within +- 0.25 % is at least 0.2 % of open interest and
#: 1.5 x the side's median, taken hourly over the whole side, from the close to the map's farthest level.
CLUSTER_CELLS = 5

CLUSTER_FLOOR = 0.002

CLUSTER_TIMES = 1.5


def clusters(book: Book, side: int, close: float, interest: float) -> Float64Array:
    """All major clusters of one side within SPAN of the close, nearest first: rows (price, usd, low, high)."""
    size = int(2 * (SPAN + 0.05) / STEP)
    cells, prices, shape = np.empty(size), np.empty(size), np.empty(size)
    n, _ = kernels.side_usd(book.arrays, book.grid, close, side, SPAN, cells, prices, shape)
    least = max(CLUSTER_FLOOR * interest * close, CLUSTER_TIMES * float(book.typical[side]))
    found = np.empty((64, 5))
    count = kernels.clusters(cells, prices, n, CLUSTER_CELLS, least, False, shape, found)
    return found[:count, :4]

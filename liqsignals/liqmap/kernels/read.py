"""A book's columns at one close: major clusters and cumulative USD of either side."""

from typing import NamedTuple

import numpy as np

from liqsignals.liqmap.kernels.shared import LONG, SHORT, add_scaled, bare, bucket_at_or_above, kernel
from liqsignals.records import Float64Array

# Columns of a row that `read_side` writes.
R_ABOVE, R_BELOW, R_SHORT, R_LONG = 0, 4, 8, 12
# Offsets from R_ABOVE and R_BELOW: price, USD, and USD were each class at the low or high end of its interval.
PRICE, USD, USD_LOW, USD_HIGH = 0, 1, 2, 3
N_READ = 16


class Rule(NamedTuple):
    """What makes a major cluster (docs/decisions/006), and what else is read."""

    #: Distance from the close, as a fraction, up to which clusters are looked for.
    span: float
    #: A cluster's mass is that of the buckets up to `half` away from its maximum.
    half: int
    #: Least mass: `floor` of open interest and `times` the side's median.
    floor: float
    times: float
    #: (2, classes): low and high end of each class's mass, as factors.
    doubt: Float64Array
    #: (4,): moves, as fractions, whose cumulative USD is read; not above `span`.
    bands: Float64Array


@bare
def levels(book, side, lo, hi, out):
    """Base units of `side` in buckets lo .. hi - 1, summed over classes in their order, into `out`."""
    out[: hi - lo] = 0.0
    for k in range(book.mass.shape[1]):
        add_scaled(out, 0, book.mass[side, k], lo, hi - lo, book.scale[side, k])


@bare
def smooth(usd, n, half, first, last, out):
    """Triangular mean of `usd[:n]` at cells first .. last - 1: weights 1 - |d| / half, cells outside being empty.

    Oracle: `np.convolve(usd[:n], weights, "same")[first:last]`.
    """
    out[first:last] = 0.0
    for d in range(1 - half, half):
        lo = max(first, -d)
        hi = min(last, n - d)
        if hi > lo:
            add_scaled(out, lo, usd, lo + d, hi - lo, 1.0 - abs(d) / half)


@kernel
def typical_mass(book, grid, close, side, cells, half):
    """Lower median over the side's windows: USD in runs of 2 half + 1 buckets from the close out to `cells` buckets.

    Oracle: np.sort of reshaped sums.
    """
    width = 2 * half + 1
    at = bucket_at_or_above(grid, close)
    n = max(cells // width, 1)
    lo = max(at - n * width, 0) if side == LONG else at
    hi = at if side == LONG else min(at + n * width, len(grid.price))
    held = np.empty(hi - lo)
    levels(book, side, lo, hi, held)
    blocks = np.zeros(n)
    for w in range(n):
        first = max(hi - lo - (w + 1) * width, 0) if side == LONG else w * width
        last = hi - lo - w * width if side == LONG else min((w + 1) * width, hi - lo)
        total = 0.0
        for b in range(first, last):
            total += held[b] * grid.price[lo + b]
        blocks[w] = total
    return np.partition(blocks, (n - 1) // 2)[(n - 1) // 2]


@bare
def clusters(usd, price, n, half, least, first_only, shape, found):
    """Major clusters among cells 0 .. n-1 ordered away from the close: rows (price, usd, low, high, cell) in `found`.

    A cluster is a local maximum of the smoothed USD whose mass within +- `half` cells is at least `least`; its price is
    the mass-weighted mean there; windows do not overlap. Stops at the nearest where `first_only`. Returns how many were
    found.
    """
    count = 0
    ready = 0
    last = 0
    for b in range(n):
        if b + 1 >= ready and ready < n:
            # Mostly a cluster is found soon: do not smooth what is not looked at.
            smooth(usd, n, half, ready, min(ready + 64, n), shape)
            ready = min(ready + 64, n)
        here = shape[b]
        if here <= 0.0 or (b > 0 and shape[b - 1] >= here) or (b + 1 < n and shape[b + 1] > here):
            continue
        lo = max(0, b - half)
        hi = min(n - 1, b + half)
        window = 0.0
        mean = 0.0
        for c in range(lo, hi + 1):
            window += usd[c]
            mean += usd[c] * price[c]
        # No mass belongs to two clusters.
        if window < least or (count > 0 and b - last <= 2 * half):
            continue
        last = b
        found[count, 0] = mean / window
        found[count, 1] = window
        found[count, 2] = min(price[lo], price[hi])
        found[count, 3] = max(price[lo], price[hi])
        found[count, 4] = b
        count += 1
        if first_only or count == found.shape[0]:
            break
    return count


@bare
def side_usd(book, grid, close, side, span, cells, prices, held):
    """USD of one side in cells ordered away from the close, up to `span` (fraction): returns their number and the
    bucket of the lowest.

    Shorts stand above the close, longs below; a level at the close itself has been reached. `held` is
    scratch of the same length.
    """
    price = grid.price
    if side == SHORT:
        lo = bucket_at_or_above(grid, close)
        if lo < len(price) and price[lo] == close:
            lo += 1
        hi = bucket_at_or_above(grid, close * (1.0 + span))
        if hi < len(price) and price[hi] == close * (1.0 + span):
            hi += 1
    else:
        lo = bucket_at_or_above(grid, close * (1.0 - span))
        hi = bucket_at_or_above(grid, close)
    n = max(hi - lo, 0)
    levels(book, side, lo, lo + n, held)
    first = np.uintp(lo)
    last = np.uintp(n - 1)
    for b in range(np.uintp(n)):
        from_low = last - b if side == LONG else b
        prices[b] = price[first + from_low]
        cells[b] = held[from_low] * prices[b]
    return n, lo


@bare
def read_side(book, grid, side, close, interest, rule, work, found, out):
    """One side of the map's columns at one close: nearest major cluster and cumulative USD within the rule's bands.

    `interest` is open interest in base units; USD = base x level price, but open interest x close. `work` has three
    rows of at least as many cells as `rule.span` covers. NaN where there is no cluster. Oracle: tests/oracle.py.
    """
    cells = work[0]
    prices = work[1]
    n, lowest = side_usd(book, grid, close, side, rule.span, cells, prices, work[2])
    where = R_ABOVE if side == SHORT else R_BELOW
    out[where : where + 4] = np.nan
    least = max(rule.floor * interest * close, rule.times * book.typical[side])
    if clusters(cells, prices, n, rule.half, least, True, work[2], found) > 0:
        out[where + PRICE] = found[0, 0]
        out[where + USD] = found[0, 1]
        b = int(found[0, 4])
        first = lowest + (n - 1 - min(n - 1, b + rule.half) if side == LONG else max(0, b - rule.half))
        last = lowest + (n - 1 - max(0, b - rule.half) if side == LONG else min(n - 1, b + rule.half))
        low = 0.0
        high = 0.0
        for k in range(book.mass.shape[1]):
            held = 0.0
            for c in range(first, last + 1):
                held += book.mass[side, k, c] * grid.price[c]
            low += rule.doubt[0, k] * held * book.scale[side, k]
            high += rule.doubt[1, k] * held * book.scale[side, k]
        out[where + USD_LOW] = low
        out[where + USD_HIGH] = high
    column = R_SHORT if side == SHORT else R_LONG
    total = 0.0
    b = 0
    for i in range(len(rule.bands)):
        limit = close * (1.0 + rule.bands[i]) if side == SHORT else close * (1.0 - rule.bands[i])
        if side == SHORT:
            while b < n and prices[b] <= limit:
                total += cells[b]
                b += 1
        else:
            while b < n and prices[b] >= limit:
                total += cells[b]
                b += 1
        out[column + i] = total

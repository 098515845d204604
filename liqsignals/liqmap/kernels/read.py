"""A book's columns at one close: major clusters and cumulative USD of either side.

Cells are a side's buckets counted away from the close; arrays of them are kept in the order of the grid.
"""

import math
from typing import NamedTuple

import numpy as np

from liqsignals.liqmap.kernels.shared import (
    LONG,
    SHORT,
    bare,
    first_at_or_above,
    kernel,
)
from liqsignals.records import Float64Array

# Columns of a row: `read_side` writes the first 16, `cascade_side` the cascade's (kernels/cascade.py) upwards and
# downwards.
R_ABOVE, R_BELOW, R_SHORT, R_LONG, R_SQUEEZE, R_FLUSH = 0, 4, 8, 12, 16, 19
#: Percentile of the clusters above and below against the side's past ones.
R_ABOVE_RANK, R_BELOW_RANK = 22, 23
# Offsets from R_ABOVE and R_BELOW: price, USD, and USD were each class at the low or high end of its interval.
PRICE, USD, USD_LOW, USD_HIGH = 0, 1, 2, 3
N_READ = 24

#: Classes of past clusters: 2 % of their share of open interest each, from 0.1 % up.
N_PAST = 330
_PAST_FIRST, _PAST_WIDTH = 1e-3, 0.02
#: Full hours with a cluster before the first percentile.
LEAST_PAST = 24

#: A cluster's mass is that of the cells up to so many away from its maximum: +- 0.25 % (docs/decisions/006). A
#: constant, so that the loops over a window are unrolled.
HALF = 5

# Windows from one candidate for their median to the next.
_APART = 11

# Cells that are searched at a time: a cluster mostly stands 40 to 70 cells away.
_BLOCK = 32

# Cells that are made at a time where no cluster was found among those made before.
_MORE = 96


class Rule(NamedTuple):
    """What makes a major cluster (docs/decisions/006), and what else is read."""

    #: Distance from the close, as a fraction, up to which clusters are looked for.
    span: float
    #: Least mass: `floor` of open interest and `times` the side's median.
    floor: float
    times: float
    #: (2, classes): low and high end of each class's mass, as factors.
    doubt: Float64Array
    #: (4,): ascending moves, as fractions, whose cumulative USD is read; not above `span`. (2, 4): the same in buckets
    #: of log price, down for longs and up for shorts.
    bands: Float64Array
    steps: Float64Array


class Cells(NamedTuple):
    """The cells that a reading has made: the USD of bucket `lowest` + j is at place HALF + j of its first row of work,
    where `first` <= `lowest` + j < `last`.
    """

    lowest: int
    first: int
    last: int


@bare
def next_standing(book, side, k, lo, hi):
    """The first class from `k` on that has a bucket in lo .. hi - 1 on the hither side of its edge; the number of
    classes where there is none.
    """
    classes = book.mass.shape[1]
    while k < classes and (book.edge[side, k] < lo if side == LONG else book.edge[side, k] >= hi):
        k += 1
    return k


@bare
def levels(book, side, lo, hi, out):
    """Base units of `side` in buckets lo .. hi - 1, summed over classes in their order, into `out`.

    Oracle: the same in numpy. Half of a reading's time: it takes each class that stands there once, four to a pass.
    """
    mass = book.mass
    classes = mass.shape[1]
    n = np.uintp(max(hi - lo, 0))
    first = np.uintp(lo)
    k = next_standing(book, side, 0, lo, hi)
    if k == classes:
        for j in range(n):
            out[j] = 0.0
    begun = False
    while k < classes:
        # Where fewer than two or four are left, the first fills up with a factor of zero.
        k0 = k
        k1 = next_standing(book, side, k0 + 1, lo, hi)
        k2 = next_standing(book, side, k1 + 1, lo, hi)
        k3 = next_standing(book, side, k2 + 1, lo, hi)
        k = next_standing(book, side, k3 + 1, lo, hi)
        f0 = book.scale[side, k0]
        f1 = book.scale[side, k1] if k1 < classes else 0.0
        f2 = book.scale[side, k2] if k2 < classes else 0.0
        f3 = book.scale[side, k3] if k3 < classes else 0.0
        m0 = mass[side, k0]
        m1 = mass[side, k1 if k1 < classes else k0]
        m2 = mass[side, k2 if k2 < classes else k0]
        m3 = mass[side, k3 if k3 < classes else k0]
        if begun and k2 == classes:
            for j in range(n):
                b = first + j
                out[j] = (out[j] + f0 * m0[b]) + f1 * m1[b]
        elif begun:
            for j in range(n):
                b = first + j
                out[j] = (((out[j] + f0 * m0[b]) + f1 * m1[b]) + f2 * m2[b]) + f3 * m3[b]
        else:
            for j in range(n):
                b = first + j
                out[j] = ((f0 * m0[b] + f1 * m1[b]) + f2 * m2[b]) + f3 * m3[b]
        begun = True


@bare
def smooth(usd, side, first, last, out):
    """Triangular mean of `usd` at first .. last - 1, into the same places of `out`: weights 1 - |d| / HALF.

    `usd` must reach HALF - 1 places beyond. Added from the close outwards: of two equal maxima rounding must not choose
    the side. Oracle: `np.convolve(usd, weights, "same")[first:last]`.
    """
    begin = np.uintp(first)
    if side == LONG:
        for j in range(np.uintp(last - first)):
            mean = 0.0
            for d in range(HALF - 1, -HALF, -1):
                mean += (1.0 - abs(d) / HALF) * usd[begin + j + np.uintp(d)]
            out[begin + j] = mean
    else:
        for j in range(np.uintp(last - first)):
            mean = 0.0
            for d in range(1 - HALF, HALF):
                mean += (1.0 - abs(d) / HALF) * usd[begin + j + np.uintp(d)]
            out[begin + j] = mean


@bare
def windows_of(usd, side, first, last, least, out):
    """The USD within +- HALF places of each of first .. last - 1, into the same places of `out`. Returns how many have
    at least `least`.

    Added from the close outwards.
    """
    begin = np.uintp(first)
    count = 0
    if side == LONG:
        for j in range(np.uintp(last - first)):
            window = 0.0
            for d in range(HALF, -HALF - 1, -1):
                window += usd[begin + j + np.uintp(d)]
            out[begin + j] = window
            count += window >= least
    else:
        for j in range(np.uintp(last - first)):
            window = 0.0
            for d in range(-HALF, HALF + 1):
                window += usd[begin + j + np.uintp(d)]
            out[begin + j] = window
            count += window >= least
    return count


@bare
def ranked(values, rank):
    """The element of `values` that has `rank` others before it when sorted. Oracle: `np.sort(values)[rank]`.

    Each candidate is counted against all, without a branch, and narrows the interval in which it can lie. Candidates
    are taken _APART places apart, because neighbours are alike: one after the other they would narrow it by one each.
    """
    low, high = -np.inf, np.inf
    for start in range(_APART):
        for c in range(start, len(values), _APART):
            v = values[c]
            if low < v < high:
                below = 0
                upto = 0
                for w in values:
                    below += w < v
                    upto += w <= v
                if below <= rank < upto:
                    return v
                if below > rank:
                    high = v
                else:
                    low = v
    return np.nan


@bare
def median_mass(book, grid, close, x, side, cells, work):
    """Lower median over the side's windows: USD in runs of 2 HALF + 1 buckets from the close out to `cells` buckets.

    `x` is the close's logarithm in buckets; `work` has two rows of more than `cells` places. A tenth of a fold's time,
    once an hour: nothing else needs the far levels, and all of them. Oracle: np.sort of reshaped sums.
    """
    usd = work[0]
    at = first_at_or_above(grid, close, x)
    n = max(cells // (2 * HALF + 1), 1)
    reach = n * (2 * HALF + 1)
    # Whole windows, empty beyond the grid; the far end of longs comes first.
    lo = max(at - reach, 0) if side == LONG else at
    hi = at if side == LONG else min(at + reach, len(grid.price))
    shift = reach - (hi - lo) if side == LONG else 0
    for j in range(shift):
        usd[j] = 0.0
    for j in range(shift + hi - lo, reach):
        usd[j] = 0.0
    levels(book, side, lo, hi, usd[shift:])
    first = np.uintp(lo)
    for j in range(np.uintp(max(hi - lo, 0))):
        usd[np.uintp(shift) + j] *= grid.price[first + j]
    blocks = work[1][:n]
    for w in range(np.uintp(n)):
        total = 0.0
        for i in range(2 * HALF + 1):
            total += usd[w * np.uintp(2 * HALF + 1) + np.uintp(i)]
        blocks[w] = total
    return ranked(blocks, (n - 1) // 2)


@kernel
def typical_mass(book, grid, close, side, cells):
    """`median_mass` of a book that is not folded."""
    work = np.empty((2, cells + 2 * HALF + 1))
    return median_mass(book, grid, close, math.log(close) / grid.step, side, cells, work)


@bare
def first_above(grid, value, x):
    """First array index whose centre is > `value`, whose logarithm in buckets is near `x`."""
    i = first_at_or_above(grid, value, x)
    if i < len(grid.price) and grid.price[i] == value:
        i += 1
    return i


@bare
def cells_within(grid, close, x, side, span):
    """The cells of a side up to `span` (fraction) from the close, whose logarithm in buckets is `x`: bucket of the
    lowest, and their number.

    Shorts stand above the close, longs below; a level at the close itself has been reached.
    """
    if side == SHORT:
        lo = first_above(grid, close, x)
        hi = first_above(grid, close * (1.0 + span), x + math.log(1.0 + span) / grid.step)
    else:
        lo = first_at_or_above(grid, close * (1.0 - span), x + math.log(1.0 - span) / grid.step)
        hi = first_at_or_above(grid, close, x)
    return lo, max(hi - lo, 0)


@bare
def side_usd(book, grid, side, lowest, n, begin, end, usd):
    """USD of the cells `begin` .. `end` - 1 of the `n` above bucket `lowest`; that bucket's place in `usd` is HALF."""
    lo = n - end if side == LONG else begin
    hi = n - begin if side == LONG else end
    levels(book, side, lowest + lo, lowest + hi, usd[HALF + lo : HALF + hi])
    first = np.uintp(lowest + lo)
    for j in range(np.uintp(max(hi - lo, 0))):
        usd[np.uintp(HALF + lo) + j] *= grid.price[first + j]


@bare
def next_cluster(usd, grid, side, lowest, n, begin, end, least, work, found):
    """The nearest major cluster among the cells `begin` .. `end` - 1 of `n`: its (price, usd, low, high) in `found`,
    and its cell, -1 where there is none.

    A cluster is a local maximum of the smoothed USD (of equal neighbours the one nearer to the close) whose mass within
    +- HALF cells is at least `least`; its price is the mass-weighted mean there. `usd` as in `side_usd`, empty HALF
    places below and above, made up to `end` + HALF; `work` has two rows of its length. A block at a time, without a
    branch a cell: first the masses, and only where one is large enough the smoothed USD.
    """
    price = grid.price
    shape = work[0]
    windows = work[1]
    way = -1 if side == LONG else 1
    start = HALF + n - 1 if side == LONG else HALF
    for block in range(begin, end, _BLOCK):
        upto = min(block + _BLOCK, end)
        one = start + way * block
        other = start + way * (upto - 1)
        if windows_of(usd, side, min(one, other), max(one, other) + 1, least, windows) == 0:
            continue
        heavy = block
        while windows[start + way * heavy] < least:
            heavy += 1
        # From the first one on, and a cell on either side.
        one = start + way * max(heavy - 1, 0)
        other = start + way * min(upto, n - 1)
        smooth(usd, side, min(one, other), max(one, other) + 1, shape)
        if heavy == 0:
            shape[start - way] = -1.0
        if upto == n:
            shape[start + way * n] = -1.0
        for c in range(heavy, upto):
            j = np.uintp(start + way * c)
            here = shape[j]
            if (
                windows[j] >= least
                and here > 0.0
                and shape[j - np.uintp(way)] < here
                and shape[j + np.uintp(way)] <= here
            ):
                mean = 0.0
                for d in range(-HALF, HALF + 1):
                    place = j + np.uintp(way * d)
                    if usd[place] > 0.0:
                        mean += usd[place] * price[lowest + place - HALF]
                one = lowest + start + way * max(0, c - HALF) - HALF
                other = lowest + start + way * min(n - 1, c + HALF) - HALF
                found[0] = mean / windows[j]
                found[1] = windows[j]
                found[2] = price[min(one, other)]
                found[3] = price[max(one, other)]
                return c
    return -1


@bare
def nearest_cluster(book, grid, side, lowest, n, made, close, interest, rule, work):
    """`next_cluster` of all `n` cells, of which `made` are in work[0]; the others are made as far as the search goes.

    `close` and `interest` (base units) say what makes a cluster major. `work` as in `read_side`; found is work[3].
    Returns its cell, -1 where there is none, and how many cells are made.
    """
    usd = work[0]
    for j in range(HALF):
        usd[j] = 0.0
        usd[HALF + n + j] = 0.0
    least = max(rule.floor * interest * close, rule.times * book.typical[side])
    begin = 0
    while True:
        searched = n if made == n else max(made - 2 * HALF, 0)
        cell = next_cluster(usd, grid, side, lowest, n, begin, searched, least, work[1:3], work[3])
        if cell >= 0 or made == n:
            return cell, made
        begin = searched
        more = min(made + _MORE, n)
        side_usd(book, grid, side, lowest, n, made, more, usd)
        made = more


@kernel
def clusters(book, grid, close, side, span, least, found):
    """All major clusters of one side up to `span` (fraction) from the close, nearest first: rows (price, usd, low,
    high) in `found`. No mass belongs to two. Returns how many were found."""
    lowest, n = cells_within(grid, close, math.log(close) / grid.step, side, span)
    usd = np.zeros(n + 2 * HALF)
    work = np.empty((2, n + 2 * HALF))
    side_usd(book, grid, side, lowest, n, 0, n, usd)
    count = 0
    begin = 0
    while count < len(found):
        cell = next_cluster(usd, grid, side, lowest, n, begin, n, least, work, found[count])
        if cell < 0:
            break
        begin = cell + 2 * HALF + 1
        count += 1
    return count


@bare
def total_usd(usd, begin, cells, way):
    """Sum of `cells` cells of `usd` from place `begin` on, upwards (`way` 1) or downwards (-1).

    In four running sums, for one alone waits for each addition. A cell's sum depends on its distance from `begin` only:
    empty cells beyond the last one that holds something, which a wider grid has, change no bit.
    """
    s0 = s1 = s2 = s3 = 0.0
    j = np.uintp(begin)
    one, two, three, four = np.uintp(way), np.uintp(2 * way), np.uintp(3 * way), np.uintp(4 * way)
    for _ in range(max(cells, 0) // 4):
        s0 += usd[j]
        s1 += usd[j + one]
        s2 += usd[j + two]
        s3 += usd[j + three]
        j += four
    left = max(cells, 0) % 4
    if left > 0:
        s0 += usd[j]
    if left > 1:
        s1 += usd[j + one]
    if left > 2:
        s2 += usd[j + two]
    return (s0 + s1) + (s2 + s3)


@bare
def read_side(book, grid, side, close, x, interest, rule, work, out):
    """One side of the map's columns at one close: nearest major cluster and cumulative USD within the rule's bands.

    `x` is the close's logarithm in buckets, `interest` open interest in base units; USD = base x level price, but open
    interest x close. `work` has four rows of at least 2 HALF more places than `rule.span` covers. NaN where there is no
    cluster. Oracle: tests/oracle.py.

    A third of the time of a fold that is read at each bar: a third of it in `levels`, most of the rest in the search.
    Cells beyond the widest band are made only where no cluster was found before.
    """
    usd = work[0]
    found = work[3]
    lowest, n = cells_within(grid, close, x, side, rule.span)
    # Cumulative USD needs the cells up to the widest band.
    column = R_SHORT if side == SHORT else R_LONG
    sign = 1.0 if side == SHORT else -1.0
    for i in range(len(rule.bands)):
        limit = close * (1.0 + sign * rule.bands[i])
        at = x + rule.steps[side, i]
        if side == SHORT:
            end = first_above(grid, limit, at) - lowest
        else:
            end = lowest + n - first_at_or_above(grid, limit, at)
        out[column + i] = min(max(end, 0), n)
    made = int(out[column + len(rule.bands) - 1])
    side_usd(book, grid, side, lowest, n, 0, made, usd)
    total = 0.0
    begin = 0
    for i in range(len(rule.bands)):
        end = int(out[column + i])
        if side == SHORT:
            total += total_usd(usd, HALF + begin, end - begin, 1)
        else:
            total += total_usd(usd, HALF + n - 1 - begin, end - begin, -1)
        out[column + i] = total
        begin = end
    where = R_ABOVE if side == SHORT else R_BELOW
    out[where : where + 4] = np.nan
    cell, made = nearest_cluster(book, grid, side, lowest, n, made, close, interest, rule, work)
    if cell >= 0:
        out[where + PRICE] = found[0]
        out[where + USD] = found[1]
        first = lowest + (n - 1 - min(n - 1, cell + HALF) if side == LONG else max(0, cell - HALF))
        last = lowest + (n - 1 - max(0, cell - HALF) if side == LONG else min(n - 1, cell + HALF))
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
    return Cells(lowest, lowest + (n - made if side == LONG else 0), lowest + (n if side == LONG else made))


@bare
def nearest_usd(book, grid, side, close, x, interest, rule, work):
    """USD of the cluster that `read_side` finds, NaN where there is none."""
    lowest, n = cells_within(grid, close, x, side, rule.span)
    cell, _ = nearest_cluster(book, grid, side, lowest, n, 0, close, interest, rule, work)
    return work[3, 1] if cell >= 0 else np.nan


@bare
def past_bin(share):
    """Class of a cluster's share of open interest. Ascending in it, 2 % wide."""
    return min(max(int(math.floor(math.log(share / _PAST_FIRST) / _PAST_WIDTH)), 0), N_PAST - 1)


@bare
def count_past(past, below):
    """How many are in lower classes than each one of `past`, and in all: `below` (N_PAST + 1,). They are whole numbers."""
    below[0] = 0.0
    for j in range(N_PAST):
        below[j + 1] = below[j] + past[j]


@bare
def add_past(past, below, share):
    """Count one more in `past`, and in `below`."""
    at = past_bin(share)
    past[at] += 1.0
    for j in range(np.uintp(at + 1), np.uintp(N_PAST + 1)):
        below[j] += 1.0


@bare
def past_rank(past, below, share):
    """Percentile (0 .. 1) of a share against `past`, whose counts are `below` (`count_past`): those of lower classes
    and half of its own. NaN for too few.
    """
    at = past_bin(share)
    total = below[N_PAST]
    return (below[at] + 0.5 * past[at]) / total if total >= LEAST_PAST else np.nan

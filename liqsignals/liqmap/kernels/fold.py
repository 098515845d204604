"""A book carried through bars: each sweeps, opens, closes and inserts (the rules: liqmap/fold.py).

Oracle of `run_side`: tests/oracle.py, the same rules on dictionaries of single buckets.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from liqsignals.clock import Int64Array
from liqsignals.liqmap.kernels.cascade import cascade_side
from liqsignals.liqmap.kernels.read import (
    HALF,
    N_PAST,
    R_ABOVE,
    R_ABOVE_RANK,
    R_BELOW,
    R_BELOW_RANK,
    R_FLUSH,
    R_SQUEEZE,
    USD,
    add_past,
    count_past,
    median_mass,
    nearest_usd,
    past_rank,
    read_side,
)
from liqsignals.liqmap.kernels.shared import (
    BESIDE,
    LONG,
    SHORT,
    BookArrays,
    add_evenly,
    add_scaled,
    bare,
    first_at_or_above,
    kernel,
)
from liqsignals.records import Float64Array

# A class of levels at least this many times as wide as a bar's range enters at the middle of the range.
WIDE = 8

# Columns of `flows[bar, side, :]`, base units. UNSEEN: opened and liquidated before the opening became known.
SWEPT, OPENED, CLOSED, UNSEEN, CAPPED, REMAINDER, SWEPT_USD = 0, 1, 2, 3, 4, 5, 6
N_FLOWS = 7


class Bars(NamedTuple):
    """Bars (n,), the logarithms of their prices in buckets (`x_`), and what became known of open interest by their
    closes.
    """

    opening: Float64Array
    low: Float64Array
    high: Float64Array
    close: Float64Array
    x_opening: Float64Array
    x_low: Float64Array
    x_high: Float64Array
    x_close: Float64Array
    volume: Float64Array
    #: Newest open interest known at each bar.
    interest: Float64Array
    #: Change of open interest that became known at the bar, where `known`; it happened in the bars `event_from` ..
    #: `event_to` - 1.
    change: Float64Array
    known: NDArray[np.bool_]
    event_from: Int64Array
    event_to: Int64Array
    #: Bars that close with a full hour.
    full_hour: NDArray[np.bool_]


class Rates(NamedTuple):
    """What opens and closes: `mix` (classes,) and `remainder` are shares of openings and sum to 1."""

    mix: Float64Array
    remainder: float
    #: (classes,) and (2,): closing rates of the classes and of the two stocks.
    hazard: Float64Array
    stock_hazard: Float64Array
    #: Positions opened and closed per unit of volume.
    turnover: float


class Readings(NamedTuple):
    """Where a map is read: after the bars `bar` (ascending), at the closes `close`; `cells` (N_READ, m), from its column
    `first` on, and `remainder` (n, 2) receive it. `push`, `scale`, `volume` and `law` (n,) are those of the cascade
    (kernels/cascade.py).
    """

    bar: Int64Array
    close: Float64Array
    #: The closes' logarithms in buckets.
    x_close: Float64Array
    #: A column of the strategy's frame in a row: what is read of one instant is spread, but of one column it is dense.
    cells: Float64Array
    first: int
    remainder: Float64Array
    push: Float64Array
    scale: Float64Array
    volume: Float64Array
    law: Int64Array


class Scratch(NamedTuple):
    """Room for one side's intermediate values, made once."""

    #: (buckets + 2,): shares of a range by bucket.
    weights: Float64Array
    #: Per bar of a change: first long bucket (last short bucket) that the price has reached since.
    dead: Int64Array
    #: (2,): base units and USD that the bar swept.
    swept: Float64Array
    #: (3, classes + 2) for `close_out`, (10,) for `bar_path`.
    closing: Float64Array
    corners: Float64Array
    #: (0,): in place of swept USD by class, where nobody asks for it.
    no_class: Float64Array
    #: (N_PAST + 1,) for `count_past`, and four rows for the readings (kernels/read.py).
    below: Float64Array
    work: Float64Array
    #: Greatest distance of a level from its entry, in buckets.
    farthest: int


@bare
def sweep(book, grid, side, first, out, by_class):
    """Remove every level of `side` from bucket `first` outwards to the edge of what stands.

    Adds base units and USD to `out`, USD by class to `by_class` (not where that is empty). Longs go from `first` up,
    shorts from `first` down, both inclusive. Oracle: masked sums over the whole grid.
    """
    mass = book.mass
    price = grid.price
    for k in range(mass.shape[1]):
        edge = book.edge[side, k]
        if (edge < first) if side == LONG else (edge > first):
            continue
        lo = first if side == LONG else edge
        hi = edge if side == LONG else first
        s = 0.0
        u = 0.0
        for j in range(np.uintp(hi + 1 - lo)):
            b = np.uintp(lo) + j
            here = mass[side, k, b]
            if here != 0.0:
                s += here
                u += here * price[b]
                mass[side, k, b] = 0.0
        if s != 0.0:
            out[0] += s * book.scale[side, k]
            out[1] += u * book.scale[side, k]
            if len(by_class) > 0:
                by_class[k] += u * book.scale[side, k]
            book.total[side, k] = max(book.total[side, k] - s, 0.0)
        book.edge[side, k] = lo - 1 if side == LONG else hi + 1


@bare
def close_out(book, rates, side, amount, scratch):
    """Close `amount` (not above what stands) of one side, each class in proportion to hazard x what stands.

    A class whose share would pass 1 is closed whole and the rest of the amount goes to the others. `scratch` has three
    rows of classes + 2. Oracle: the same water-filling in exact fractions.
    """
    mass, scale, total, stock = book.mass, book.scale, book.total, book.stock
    n = mass.shape[1]
    stands = scratch[0]
    rate = scratch[1]
    whole = scratch[2]
    for k in range(n):
        stands[k] = total[side, k] * scale[side, k]
        rate[k] = rates.hazard[k]
    for r in range(2):
        stands[n + r] = stock[side, r]
        rate[n + r] = rates.stock_hazard[r]
    whole[:] = 0.0
    left = amount
    factor = 0.0
    for _ in range(n + 2):
        weight = 0.0
        for k in range(n + 2):
            if whole[k] == 0.0:
                weight += rate[k] * stands[k]
        if weight <= 0.0:
            factor = 0.0
            break
        factor = left / weight
        again = False
        for k in range(n + 2):
            if whole[k] == 0.0 and factor * rate[k] >= 1.0:
                whole[k] = 1.0
                left -= stands[k]
                again = True
        if not again:
            break
        left = max(left, 0.0)
    for k in range(n):
        if whole[k] == 1.0:
            mass[side, k, :] = 0.0
            scale[side, k] = 1.0
            total[side, k] = 0.0
        else:
            scale[side, k] *= 1.0 - factor * rate[k]
            if scale[side, k] < 1e-100:
                for b in range(mass.shape[2]):
                    mass[side, k, b] *= scale[side, k]
                total[side, k] *= scale[side, k]
                scale[side, k] = 1.0
    for r in range(2):
        stock[side, r] = 0.0 if whole[n + r] == 1.0 else stock[side, r] * (1.0 - factor * rate[n + r])


@bare
def entry_weights(x0, x1, weights):
    """Share of the range [x0, x1] (log prices in buckets) that lies in each bucket: fills `weights`, returns first
    bucket, count and the bucket of the range's middle.

    `weights` must be long enough; a bar without a range is one bucket.
    """
    b0 = int(math.floor(x0))
    b1 = int(math.floor(x1))
    if b1 == b0 or x1 - x0 < 1e-9:
        weights[0] = 1.0
        return b0, 1, b0
    width = x1 - x0
    for b in range(b0, b1 + 1):
        weights[b - b0] = (min(x1, b + 1.0) - max(x0, float(b))) / width
    return b0, b1 - b0 + 1, math.floor(0.5 * (x0 + x1))


@bare
def live_class(distances, side, k, first, n, middle, weights, dead):
    """Share of the levels of class k's new entries that the price has not reached already.

    Entries are in the buckets (array indices) `first` .. `first` + `n` - 1. `dead`: first long bucket (last short
    bucket) that the price has reached since.
    """
    nearest = distances.nearest[side, k]
    cells = distances.cells[side, k]
    wide = cells >= WIDE * n
    alive = 0.0
    for i in range(1 if wide else n):
        e = middle if wide else first + i
        gone = e - nearest - dead + 1 if side == LONG else dead - (e + nearest) + 1
        gone = min(max(gone, 0), cells)
        alive += (1.0 if wide else weights[i]) * (1.0 - distances.cumulative[side, k, gone])
    return alive


@bare
def live_share(mix, distances, side, first, n, middle, weights, dead):
    """Share of new entries' levels that the price has not passed already: the remainder's share not included."""
    alive = 0.0
    for k in range(len(mix)):
        alive += mix[k] * live_class(distances, side, k, first, n, middle, weights, dead)
    return alive


@bare
def insert_class(book, distances, side, k, first, n, middle, weights, dead, amount):
    """Stand `amount` of class k at the levels of entries in the buckets (array indices) `first` .. `first` + `n` - 1,
    skipping those that the price has reached (`dead` as in `live_share`).

    A class at least WIDE times as wide as the bar's range is entered at the range's middle, for the difference is lost
    in its width.
    """
    nearest = distances.nearest[side, k]
    cells = distances.cells[side, k]
    cumulative = distances.cumulative[side, k]
    share = distances.share[side, k]
    running = distances.running[side, k]
    mass = book.mass[side, k]
    unit = amount / book.scale[side, k]
    edge = book.edge[side, k]
    added = 0.0
    wide = cells >= WIDE * n
    alive = first + n - 1 - nearest < dead if side == LONG else first + nearest > dead
    if not wide and alive and 3 < n <= BESIDE:
        lo = first - nearest - cells + 1 if side == LONG else first + nearest
        add_evenly(
            mass, lo, share, running, cells, n, unit * weights[0], unit * weights[1], unit * weights[n - 1]
        )  # fmt: skip
        edge = max(edge, first + n - 1 - nearest) if side == LONG else min(edge, lo)
        added = unit * cumulative[cells]
    else:
        for i in range(1 if wide else n):
            e = middle if wide else first + i
            u = unit if wide else unit * weights[i]
            if side == LONG:
                gone = min(max(e - nearest - dead + 1, 0), cells)
                lo = e - nearest - cells + 1
                top = lo + cells - gone - 1
            else:
                gone = min(max(dead - (e + nearest) + 1, 0), cells)
                lo = e + nearest + gone
                top = lo
            if gone < cells:
                skip = 0 if side == LONG else gone
                add_scaled(mass, lo, share, BESIDE + skip, cells - gone, u)
                edge = max(edge, top) if side == LONG else min(edge, top)
                added += u * (cumulative[cells] - cumulative[gone])
    book.edge[side, k] = edge
    book.total[side, k] += added


@bare
def insert_evenly(book, distances, side, k, first, n, weights, amount):
    """Stand `amount` x `weights` of class k at the levels of entries in the buckets `first` .. `first` + `n` - 1, none
    of which the price has reached."""
    nearest = distances.nearest[side, k]
    cells = distances.cells[side, k]
    share = distances.share[side, k]
    mass = book.mass[side, k]
    unit = amount / book.scale[side, k]
    lo = first - nearest - cells + 1 if side == LONG else first + nearest
    entered = 0.0
    for i in range(n):
        if weights[i] != 0.0:
            add_scaled(mass, lo + i, share, BESIDE, cells, unit * weights[i])
            entered += weights[i]
    edge = book.edge[side, k]
    book.edge[side, k] = max(edge, first + n - 1 - nearest) if side == LONG else min(edge, lo)
    book.total[side, k] += unit * entered * distances.cumulative[side, k, cells]


@bare
def insert(book, mix, distances, side, first, n, middle, weights, dead, amount, at_least):
    """`insert_class` of `amount` x mix, for the classes whose levels start `at_least` buckets or more from their entry."""
    for k in range(len(mix)):
        if mix[k] != 0.0 and distances.nearest[side, k] >= at_least:
            insert_class(book, distances, side, k, first, n, middle, weights, dead, amount * mix[k])


@bare
def bar_path(first, low, high, last, rose, corners):
    """The bar's path as its ten `corners` (log prices in buckets, as the arguments); returns its length.

    Open, low, high, close where it `rose` or closed at its open, else open, high, low, close; each of the three legs
    goes three quarters of its way, half of it back, and on to its end (docs/decisions/011).
    """
    corners[0], corners[9] = first, last
    corners[3], corners[6] = (low, high) if rose else (high, low)
    length = 0.0
    for leg in range(0, 9, 3):
        way = corners[leg + 3] - corners[leg]
        corners[leg + 1] = corners[leg] + 0.75 * way
        corners[leg + 2] = corners[leg] + 0.25 * way
        length += 2.0 * abs(way)
    return length


@bare
def reached(grid, value, x, side):
    """First long bucket (last short bucket) that a price of `value` reaches: a level at the price is reached.

    `x` is its logarithm in buckets.
    """
    at = first_at_or_above(grid, value, x)
    if side == SHORT and not (at < len(grid.price) and grid.price[at] == value):
        at -= 1
    return at


@bare
def reached_at(grid, x, side):
    """`reached` of a price that is known only as its logarithm in buckets `x`."""
    at = math.ceil(x - 0.5) if side == LONG else math.floor(x - 0.5)
    return min(max(int(at) - grid.origin, 0), len(grid.price))


@bare
def add_evenly_between(x0, x1, first, factor, weights):
    """Add the length of [x0, x1] (log prices in buckets) in each bucket times `factor` to `weights`, whose place 0 is
    bucket `first`."""
    b0 = int(math.floor(x0)) - first
    b1 = int(math.floor(x1)) - first
    if b0 == b1:
        weights[b0] += (x1 - x0) * factor
    else:
        weights[b0] += (first + b0 + 1 - x0) * factor
        for j in range(b0 + 1, b1):
            weights[j] += factor
        weights[b1] += (x1 - (first + b1)) * factor


@bare
def path_weights(corners, begin, end, piece, most, first, n, factor, weights):
    """Length of the path from corner `begin` to corner `end` in each of the `n` buckets from `first` on, times
    `factor`: fills `weights`.

    Each leg is cut into equal pieces not longer than `piece`; one that touches at most `most` buckets counts as a whole
    for the bucket of its middle.
    """
    for j in range(n):
        weights[j] = 0.0
    for leg in range(begin, end):
        x = corners[leg]
        way = corners[leg + 1] - x
        if most == 0:
            add_evenly_between(min(x, corners[leg + 1]), max(x, corners[leg + 1]), first, factor, weights)
            continue
        pieces = int(abs(way) / piece) + 1
        bucket = int(math.floor(x))
        for j in range(pieces):
            before, bucket_before = x, bucket
            x = corners[leg] + way * (j + 1) / pieces if j < pieces - 1 else corners[leg + 1]
            bucket = int(math.floor(x))
            x0, x1 = (before, x) if way > 0.0 else (x, before)
            if abs(bucket - bucket_before) < most:
                weights[int(math.floor(0.5 * (x0 + x1))) - first] += (x1 - x0) * factor
            else:
                add_evenly_between(x0, x1, first, factor, weights)


@bare
def walk(book, grid, bars, rates, distances, i, side, n, piece, by_class, scratch):
    """Walk bar i's path of `n` buckets in pieces of at most `piece`, each of which sweeps, then enters its share of the
    turnover for the classes whose levels start less than `n` buckets from their entry.

    Made in three stretches: to the bar's extreme on this side, to the end of the step back after it, and to the close.
    All that a stretch enters stands before its end is swept, which comes to the same (docs/decisions/080). A fifth of a
    fold's time. Positions are log prices in buckets; only the corners that are prices of the bar are compared as
    prices. Oracle: tests/oracle.py, piece by piece.
    """
    mix = rates.mix
    weights, swept, corners = scratch.weights, scratch.swept, scratch.corners
    opening, low, high, close = bars.opening[i], bars.low[i], bars.high[i], bars.close[i]
    rose = close >= opening
    length = bar_path(bars.x_opening[i], bars.x_low[i], bars.x_high[i], bars.x_close[i], rose, corners)
    each = rates.turnover * bars.volume[i] / length
    extreme = 3 if rose == (side == LONG) else 6
    begin = 0
    for stretch in range(3):
        if stretch == 0:
            end = extreme
            dead = reached(grid, low if side == LONG else high, corners[end], side)
        elif stretch == 1:
            end = extreme + 2
            dead = reached_at(grid, corners[end], side)
        else:
            end = 9
            dead = reached(grid, close, corners[end], side)
        if each > 0.0:
            x0 = corners[begin]
            x1 = x0
            for c in range(begin + 1, end + 1):
                x0 = min(x0, corners[c])
                x1 = max(x1, corners[c])
            first = int(math.floor(x0))
            m = int(math.floor(x1)) - first + 1
            made = -1
            for k in range(len(mix)):
                if mix[k] == 0.0 or distances.nearest[side, k] >= n:
                    continue
                most = min(distances.cells[side, k] // WIDE, piece + 1)
                if most != made:
                    path_weights(corners, begin, end, piece, most, first, m, each, weights)
                    made = most
                insert_evenly(book, distances, side, k, first - grid.origin, m, weights, mix[k])
        sweep(book, grid, side, dead, swept, by_class)
        begin = end


@bare
def step_side(book, grid, bars, rates, distances, i, side, row, by_class, scratch):
    """Fold bar i into one side of the book: walk its path, open and close (see liqmap/fold.py). `row` receives the
    bar's flows, `by_class` what it swept by class, USD, unless that is empty.

    Oracle: tests/oracle.py, Oracle.side.
    """
    total, stock, pending = book.total, book.stock, book.pending
    mix = rates.mix
    origin = grid.origin
    weights, swept = scratch.weights, scratch.swept
    swept[:] = 0.0
    turned_over = rates.turnover * bars.volume[i]
    n = int(math.floor(bars.x_high[i])) - int(math.floor(bars.x_low[i])) + 1
    nearest = distances.nearest[side, 0]
    for k in range(1, len(mix)):
        nearest = min(nearest, distances.nearest[side, k])
    if n <= nearest:
        # No entry of this bar can be liquidated within it.
        end, x_end = (bars.low[i], bars.x_low[i]) if side == LONG else (bars.high[i], bars.x_high[i])
        sweep(book, grid, side, reached(grid, end, x_end, side), swept, by_class)
    else:
        walk(book, grid, bars, rates, distances, i, side, n, nearest - 1, by_class, scratch)
    pending[side] += swept[0]
    net = 0.0
    reopened = 0.0
    if bars.known[i]:
        net = bars.change[i] + pending[side]
        pending[side] = 0.0
    unseen = 0.0
    if turned_over > 0.0:
        # Classes that the bar's range cannot reach are entered once, evenly over it.
        first, m, middle = entry_weights(bars.x_low[i], bars.x_high[i], weights)
        dead = reached(grid, bars.close[i], bars.x_close[i], side)
        insert(book, mix, distances, side, first - origin, m, middle - origin, weights, dead, turned_over, n)
        stock[side, 0] += turned_over * rates.remainder
    closed = turned_over + max(-net, 0.0)
    stands = stock[side, 0] + stock[side, 1]
    for k in range(len(mix)):
        stands += total[side, k] * book.scale[side, k]
    capped = max(closed - stands, 0.0)
    closed -= capped
    # More was swept than had stood before the bar: what its own turnover opened. That is not opened anew.
    if bars.known[i]:
        reopened = max(net - capped, 0.0)
    else:
        pending[side] -= capped
    if closed > 0.0:
        close_out(book, rates, side, closed, scratch.closing)
    if reopened > 0.0:
        unseen += open_known(book, grid, bars, rates, distances, i, side, reopened, scratch)
    row[SWEPT] = swept[0]
    row[OPENED] = reopened + turned_over
    row[CLOSED] = closed
    row[UNSEEN] = unseen
    row[CAPPED] = capped
    row[REMAINDER] = stock[side, 0] + stock[side, 1]
    row[SWEPT_USD] = swept[1]


@bare
def open_known(book, grid, bars, rates, distances, i, side, net, scratch):
    """Stand `net` that became known as opened at bar i, over the bars in which it happened; returns what was opened
    and liquidated unseen.

    Oracle: tests/oracle.py, Oracle.open.
    """
    low, high, close, volume = bars.low, bars.high, bars.close, bars.volume
    mix = rates.mix
    origin = grid.origin
    weights, dead = scratch.weights, scratch.dead
    a, z = bars.event_from[i], bars.event_to[i]
    # What the price has reached between each entry and now: such levels are gone already.
    passed, x_passed = close[i], bars.x_close[i]
    traded = 0.0
    for j in range(i, a - 1, -1):
        if j < z:
            level, x = passed, x_passed
            if (close[j] < level) == (side == LONG):
                level, x = close[j], bars.x_close[j]
            dead[j - a] = reached(grid, level, x, side)
            traded += volume[j]
        extreme, x = (low[j], bars.x_low[j]) if side == LONG else (high[j], bars.x_high[j])
        if (extreme < passed) == (side == LONG):
            passed, x_passed = extreme, x
    first = n = middle = 0
    alive = rates.remainder
    for j in range(a, z):
        part = volume[j] / traded if traded > 0.0 else 1.0 / (z - a)
        first, n, middle = entry_weights(bars.x_low[j], bars.x_high[j], weights)
        alive += part * live_share(mix, distances, side, first - origin, n, middle - origin, weights, dead[j - a])
    gross = net / alive
    for j in range(a, z):
        part = volume[j] / traded if traded > 0.0 else 1.0 / (z - a)
        if z - a > 1:
            first, n, middle = entry_weights(bars.x_low[j], bars.x_high[j], weights)
        insert(
            book, mix, distances, side, first - origin, n, middle - origin, weights, dead[j - a], gross * part, 0
        )  # fmt: skip
    book.stock[side, 0] += gross * rates.remainder
    return max(gross - net, 0.0)


@bare
def in_buckets(prices, step, out):
    """Logarithms of prices in buckets. Oracle: `np.log(prices) / step`."""
    for i in range(len(prices)):
        out[i] = math.log(prices[i]) / step


@bare
def run_bars(
    side, own, grid, bars, rates, distances, start, stop, flows, swept_by_class, readings, rule, cascades, scratch
):
    """`run_side` without its allocations: each slice of an array here would count references otherwise, a twentieth of
    the time."""
    work, below = scratch.work, scratch.below
    mass, rank = (R_BELOW + USD, R_BELOW_RANK) if side == LONG else (R_ABOVE + USD, R_ABOVE_RANK)
    past = own.past[side]
    count_past(past, below)
    # The last bar that was read at its own close, and the USD of its nearest cluster.
    read = -1
    nearest = np.nan
    r = 0
    for i in range(start - 1, stop):
        if i >= start:
            # The hour before joins the past clusters only now: readings at its end are compared with those before.
            if i > 0 and bars.full_hour[i - 1]:
                close, interest = bars.close[i - 1], bars.interest[i - 1]
                if read != i - 1:
                    nearest = nearest_usd(own, grid, side, close, bars.x_close[i - 1], interest, rule, work)
                if nearest > 0.0:
                    add_past(past, below, nearest / (interest * close))
            by_class = swept_by_class[i - start, side] if len(swept_by_class) > 0 else scratch.no_class
            step_side(own, grid, bars, rates, distances, i, side, flows[i, side], by_class, scratch)
            if bars.full_hour[i]:
                own.typical[side] = median_mass(own, grid, bars.close[i], bars.x_close[i], side, scratch.farthest, work)
        while r < len(readings.bar) and readings.bar[r] == i:
            row = readings.cells[:, readings.first + r]
            close = readings.close[r]
            cells = read_side(own, grid, side, close, readings.x_close[r], bars.interest[i], rule, work, row)
            if close == bars.close[i]:
                read = i
                nearest = row[mass]
            cluster, cascade = (row[R_BELOW:], row[R_FLUSH:]) if side == LONG else (row[R_ABOVE:], row[R_SQUEEZE:])
            cascade_side(
                own, grid, side, close, cluster, cells, readings.push[r], readings.scale[r], readings.volume[r],
                readings.law[r], cascades, work, cascade,
            )  # fmt: skip
            row[rank] = np.nan
            if row[mass] > 0.0:
                row[rank] = past_rank(past, below, row[mass] / (bars.interest[i] * close))
            readings.remainder[r, side] = own.stock[side, 0] + own.stock[side, 1]
            r += 1


@kernel
def run_side(side, book, grid, bars, rates, distances, start, stop, flows, swept_by_class, readings, rule, cascades):
    """Fold bars `start` .. `stop - 1` into one side of the book and read it after the bars that the readings name.

    The sides never touch each other's arrays, so that two threads may run them at once; the bits are the same.
    `flows[i, side]` receives the bar's named flows, `swept_by_class[i - start, side]` its swept USD by class unless
    that array is empty. Readings lie in bars start - 1 .. stop - 1; `rule` is that of clusters, `cascades` that of
    cascades.
    """
    # Copies, for the sides' own state shares cache lines.
    own = BookArrays(
        book.mass, book.scale.copy(), book.total.copy(), book.stock.copy(), book.edge.copy(),
        book.pending.copy(), book.typical.copy(), book.past,
    )  # fmt: skip
    longest = 1
    for i in range(start, stop):
        if bars.known[i]:
            longest = max(longest, bars.event_to[i] - bars.event_from[i])
    farthest = np.max(distances.nearest + distances.cells)
    scratch = Scratch(
        np.empty(book.mass.shape[2] + 2), np.empty(longest, np.int64), np.empty(2), np.empty((3, len(rates.mix) + 2)),
        np.empty(10), np.empty(0), np.empty(N_PAST + 1),
        np.empty((4, max(int(2.0 * (rule.span + 0.05) / grid.step), farthest) + 2 * HALF + 1)), farthest,
    )  # fmt: skip
    run_bars(
        side, own, grid, bars, rates, distances, start, stop, flows, swept_by_class, readings, rule, cascades, scratch,
    )  # fmt: skip
    book.scale[side], book.total[side], book.stock[side] = own.scale[side], own.total[side], own.stock[side]
    book.edge[side], book.pending[side], book.typical[side] = own.edge[side], own.pending[side], own.typical[side]

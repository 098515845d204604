"""A book carried through bars: each sweeps, opens, closes and inserts (the rules: liqmap/fold.py).

Oracle of `run_side`: tests/oracle.py, the same rules on dictionaries of single buckets.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from liqsignals.clock import Int64Array
from liqsignals.liqmap.kernels.read import read_side, typical_mass
from liqsignals.liqmap.kernels.shared import LONG, SHORT, BookArrays, add_scaled, bare, first_at_or_above, kernel
from liqsignals.records import Float64Array

# A class of levels at least this many times as wide as a bar's range enters at the middle of the range.
WIDE = 8

# Columns of `flows[bar, side, :]`, base units. UNSEEN: opened and liquidated before the opening became known.
SWEPT, OPENED, CLOSED, UNSEEN, CAPPED, REMAINDER, SWEPT_USD = 0, 1, 2, 3, 4, 5, 6
N_FLOWS = 7


class Bars(NamedTuple):
    """Bars (n,) and what became known of open interest by their closes."""

    opening: Float64Array
    low: Float64Array
    high: Float64Array
    close: Float64Array
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
    """Where a map is read: after the bars `bar` (ascending), at the closes `close`; `rows` and `remainder` (n, 2)
    receive it."""

    bar: Int64Array
    close: Float64Array
    rows: Float64Array
    remainder: Float64Array


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


@bare
def sweep(book, grid, side, first, out, by_class):
    """Remove every level of `side` from bucket `first` outwards to the edge of what stands.

    Adds base units and USD to `out`, USD by class to `by_class` (not where that is empty). Longs go from `first` up,
    shorts from `first` down, both inclusive. Oracle: masked sums over the whole grid.
    """
    mass = book.mass
    price = grid.price
    if side == LONG:
        lo, hi = first, book.edge[LONG]
    else:
        lo, hi = book.edge[SHORT], first
    base = 0.0
    usd = 0.0
    if lo <= hi:
        for k in range(mass.shape[1]):
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
                base += s * book.scale[side, k]
                usd += u * book.scale[side, k]
                if len(by_class) > 0:
                    by_class[k] += u * book.scale[side, k]
                book.total[side, k] = max(book.total[side, k] - s, 0.0)
        book.edge[side] = lo - 1 if side == LONG else hi + 1
    out[0] += base
    out[1] += usd


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
def live_share(mix, distances, side, first, n, middle, weights, dead, within):
    """Share of new entries' levels that the price has not passed already: the remainder's share not included.

    Entries are in the buckets (array indices) `first` .. `first` + `n` - 1. `dead`: first long bucket (last short
    bucket) that the price has reached since. Classes that start `within` or more buckets away cannot be passed.
    """
    alive = 0.0
    for k in range(len(mix)):
        nearest = distances.nearest[side, k]
        if nearest >= within:
            alive += mix[k]
            continue
        cells = distances.cells[side, k]
        wide = cells >= WIDE * n
        s = 0.0
        for i in range(1 if wide else n):
            e = middle if wide else first + i
            gone = e - nearest - dead + 1 if side == LONG else dead - (e + nearest) + 1
            gone = min(max(gone, 0), cells)
            s += (1.0 if wide else weights[i]) * (1.0 - distances.cumulative[side, k, gone])
        alive += mix[k] * s
    return alive


@bare
def insert(book, mix, distances, side, first, n, middle, weights, dead, amount, at_least, below):
    """Stand `amount` x mix at the levels of entries in the buckets (array indices) `first` .. `first` + `n` - 1,
    skipping those that the price has reached (`dead` as in `live_share`).

    Only the classes whose levels start `at_least` .. `below` - 1 buckets from their entry. A class at least WIDE times
    as wide as the bar's range is entered at the range's middle, for the difference is lost in its width.
    """
    for k in range(len(mix)):
        nearest = distances.nearest[side, k]
        if mix[k] == 0.0 or nearest < at_least or nearest >= below:
            continue
        cells = distances.cells[side, k]
        unit = amount * mix[k] / book.scale[side, k]
        m = book.mass[side, k]
        held = distances.share[side, k]
        added = 0.0
        wide = cells >= WIDE * n
        for i in range(1 if wide else n):
            e = middle if wide else first + i
            u = unit if wide else unit * weights[i]
            if side == LONG:
                gone = min(max(e - nearest - dead + 1, 0), cells)
                if gone < cells:
                    lo = e - nearest - cells + 1
                    add_scaled(m, lo, held, 0, cells - gone, u)
                    book.edge[LONG] = max(book.edge[LONG], e - nearest - gone)
            else:
                gone = min(max(dead - (e + nearest) + 1, 0), cells)
                if gone < cells:
                    lo = e + nearest
                    add_scaled(m, lo + gone, held, gone, cells - gone, u)
                    book.edge[SHORT] = min(book.edge[SHORT], lo + gone)
            added += u * (distances.cumulative[side, k, cells] - distances.cumulative[side, k, gone])
        book.total[side, k] += added


@bare
def bar_path(first, low, high, last, corners):
    """The bar's path as its ten `corners`; returns its length in log price.

    Open, low, high, close where it closed at or above its open, else open, high, low, close; each of the three legs
    goes three quarters of its way, half of it back, and on to its end (docs/decisions/011).
    """
    corners[0], corners[9] = first, last
    corners[3], corners[6] = (low, high) if last >= first else (high, low)
    length = 0.0
    for leg in range(0, 9, 3):
        begin = math.log(corners[leg])
        way = math.log(corners[leg + 3]) - begin
        corners[leg + 1] = math.exp(begin + 0.75 * way)
        corners[leg + 2] = math.exp(begin + 0.25 * way)
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
def step_side(book, grid, bars, rates, distances, i, side, row, by_class, scratch):
    """Fold bar i into one side of the book: walk its path, open and close (see liqmap/fold.py). `row` receives the
    bar's flows, `by_class` what it swept by class, USD, unless that is empty.

    Oracle: tests/oracle.py, Oracle.side.
    """
    total, stock, pending = book.total, book.stock, book.pending
    low, high, close, volume = bars.low, bars.high, bars.close, bars.volume
    mix = rates.mix
    origin, step = grid.origin, grid.step
    weights, swept = scratch.weights, scratch.swept
    swept[:] = 0.0
    turned_over = rates.turnover * volume[i]
    lowest = math.log(low[i]) / step
    highest = math.log(high[i]) / step
    first, n, middle = entry_weights(lowest, highest, weights)
    nearest = distances.nearest[side, 0]
    for k in range(1, len(mix)):
        nearest = min(nearest, distances.nearest[side, k])
    unseen = 0.0
    if n <= nearest:
        # No entry of this bar can be liquidated within it.
        end, x_end = (low[i], lowest) if side == LONG else (high[i], highest)
        sweep(book, grid, side, reached(grid, end, x_end, side), swept, by_class)
        gross = turned_over
    else:
        corners = scratch.corners
        length = bar_path(bars.opening[i], low[i], high[i], close[i], corners)
        gross = 0.0
        # Where the path stands: price, logarithm in buckets, bucket.
        z = corners[0]
        end = math.log(z)
        x_z = end / step
        dead = reached(grid, z, x_z, side)
        for leg in range(9):
            begin, end = end, math.log(corners[leg + 1])
            # Pieces so short that no entry is liquidated in its own.
            pieces = int(abs(end - begin) / step / max(nearest - 1, 1)) + 1
            for j in range(pieces):
                a, x_a, at = z, x_z, dead
                if j == pieces - 1:
                    z, x_z = corners[leg + 1], end / step
                else:
                    z = math.exp(begin + (end - begin) * (j + 1) / pieces)
                    x_z = math.log(z) / step
                dead = reached(grid, z, x_z, side)
                if (z < a) == (side == LONG):
                    at = dead
                sweep(book, grid, side, at, swept, by_class)
                entered = turned_over * (abs(end - begin) / pieces / length)
                if entered > 0.0:
                    f, m, mid = entry_weights(min(x_a, x_z), max(x_a, x_z), weights)
                    f -= origin
                    mid -= origin
                    alive = rates.remainder + live_share(mix, distances, side, f, m, mid, weights, dead, n)
                    part = entered / alive
                    insert(book, mix, distances, side, f, m, mid, weights, dead, part, 0, n)
                    gross += part
    pending[side] += swept[0]
    net = 0.0
    reopened = 0.0
    if bars.known[i]:
        net = bars.change[i] + pending[side]
        pending[side] = 0.0
    if gross > 0.0:
        # Classes that the bar's range cannot reach are entered once, evenly over it.
        first, n, middle = entry_weights(lowest, highest, weights)
        dead = reached(grid, close[i], math.log(close[i]) / step, side)
        insert(book, mix, distances, side, first - origin, n, middle - origin, weights, dead, gross, n, len(grid.price))
        stock[side, 0] += gross * rates.remainder
        unseen += max(gross - turned_over, 0.0)
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
    origin, step = grid.origin, grid.step
    weights, dead = scratch.weights, scratch.dead
    a, z = bars.event_from[i], bars.event_to[i]
    # What the price has reached between each entry and now: such levels are gone already.
    passed = close[i]
    traded = 0.0
    for j in range(i, a - 1, -1):
        if j < z:
            level = min(passed, close[j]) if side == LONG else max(passed, close[j])
            dead[j - a] = reached(grid, level, math.log(level) / step, side)
            traded += volume[j]
        passed = min(passed, low[j]) if side == LONG else max(passed, high[j])
    first = n = middle = 0
    alive = rates.remainder
    for j in range(a, z):
        part = volume[j] / traded if traded > 0.0 else 1.0 / (z - a)
        first, n, middle = entry_weights(math.log(low[j]) / step, math.log(high[j]) / step, weights)
        alive += part * live_share(
            mix, distances, side, first - origin, n, middle - origin, weights, dead[j - a], len(grid.price)
        )
    gross = net / alive
    for j in range(a, z):
        part = volume[j] / traded if traded > 0.0 else 1.0 / (z - a)
        if z - a > 1:
            first, n, middle = entry_weights(math.log(low[j]) / step, math.log(high[j]) / step, weights)
        insert(
            book, mix, distances, side, first - origin, n, middle - origin, weights, dead[j - a], gross * part, 0,
            len(grid.price),
        )  # fmt: skip
    book.stock[side, 0] += gross * rates.remainder
    return max(gross - net, 0.0)


@kernel
def run_side(side, book, grid, bars, rates, distances, start, stop, flows, swept_by_class, readings, rule):
    """Fold bars `start` .. `stop - 1` into one side of the book and read it after the bars that the readings name.

    The sides never touch each other's arrays, so that two threads may run them at once; the bits are the same.
    `flows[i, side]` receives the bar's named flows, `swept_by_class[i - start, side]` its swept USD by class unless
    that array is empty. Readings lie in bars start - 1 .. stop - 1.
    """
    # Copies, for the sides' own state shares cache lines.
    own = BookArrays(
        book.mass, book.scale.copy(), book.total.copy(), book.stock.copy(), book.edge.copy(),
        book.pending.copy(), book.typical.copy(),
    )  # fmt: skip
    longest = 1
    for i in range(start, stop):
        if bars.known[i]:
            longest = max(longest, bars.event_to[i] - bars.event_from[i])
    scratch = Scratch(
        np.empty(book.mass.shape[2] + 2), np.empty(longest, np.int64), np.empty(2), np.empty((3, len(rates.mix) + 2)),
        np.empty(10),
    )  # fmt: skip
    no_class = np.empty(0)
    work = np.empty((4, int(2.0 * (rule.span + 0.05) / grid.step)))
    farthest = np.max(distances.nearest + distances.cells)
    r = 0
    for i in range(start - 1, stop):
        if i >= start:
            by_class = swept_by_class[i - start, side] if len(swept_by_class) > 0 else no_class
            step_side(own, grid, bars, rates, distances, i, side, flows[i, side], by_class, scratch)
            if bars.full_hour[i]:
                own.typical[side] = typical_mass(own, grid, bars.close[i], side, farthest)
        while r < len(readings.bar) and readings.bar[r] == i:
            read_side(own, grid, side, readings.close[r], bars.interest[i], rule, work, readings.rows[r])
            readings.remainder[r, side] = own.stock[side, 0] + own.stock[side, 1]
            r += 1
    book.scale[side], book.total[side], book.stock[side] = own.scale[side], own.total[side], own.stock[side]
    book.edge[side], book.pending[side], book.typical[side] = own.edge[side], own.pending[side], own.typical[side]

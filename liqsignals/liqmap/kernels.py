"""The compiled loops of the position book. Kernels only: numpy arrays in and out, no fastmath, no classes.

Layout of a book (see liqmap.Book): side 0 is long, side 1 is short.

- `mass[side, class, bucket]`: base units that are liquidated at the bucket's price, divided by `scale[side, class]`,
  so that closing a share of a class costs one multiplication, not a pass over the grid;
- `total[side, class]`: sum of `mass` over the buckets;
- `stock[side, 0]`: the remainder (hedged, 1x, beyond the classes); `stock[side, 1]`: what was open before the tape
  began, whose levels nobody knows. Both count as remainder to the outside;
- `typical[side]`: the side's median mass, USD, as of the last full hour (what a major cluster must stand out from);
- `edge[side]`: bucket beyond which (upward for longs, downward for shorts) the side is empty;
- `price[bucket]`: the bucket's geometric centre; bucket i of the arrays is bucket `origin + i` of the log grid.

Oracle of `run_side`: tests/oracle.py, the same rules on dictionaries of single buckets.
"""

import math

import numpy as np
from numba import njit

LONG, SHORT = 0, 1

# What allocates nothing needs no counting of references, which took a quarter of the time, and longer where both
# sides' threads count the same arrays (docs/decisions/043). numba compiles its own sorting so.
bare = njit(cache=True, _nrt=False)  # type: ignore[call-overload]

# A class of levels this many times wider than a bar's range does not see where in the range it was entered.
WIDE = 8

# Columns of `flows[bar, side, :]`, base units.
SWEPT, OPENED, CLOSED, BORN, CAPPED, REMAINDER, SWEPT_USD = 0, 1, 2, 3, 4, 5, 6
N_FLOWS = 7

# Columns of a row that `read_side` writes.
R_ABOVE, R_BELOW, R_SHORT, R_LONG = 0, 4, 8, 12
# Offsets from R_ABOVE and R_BELOW: price, USD, and USD were each class at the low or high end of its interval.
PRICE, USD, USD_LOW, USD_HIGH = 0, 1, 2, 3
N_READ = 16


@bare
def bucket_at_or_above(price, value, origin, step):
    """First array index whose centre is >= `value`. Oracle: `np.searchsorted(price, value)`."""
    return first_at_or_above(price, value, math.log(value) / step, origin)


@bare
def first_at_or_above(price, value, x, origin):
    """`bucket_at_or_above` of a value whose `x`, its logarithm in buckets, is known."""
    i = int(math.ceil(x - 0.5)) - origin
    n = len(price)
    i = min(max(i, 0), n)
    while i > 0 and price[i - 1] >= value:
        i -= 1
    while i < n and price[i] < value:
        i += 1
    return i


@bare
def sweep(mass, scale, total, edge, price, side, first, out, by_class):
    """Remove every level of `side` from bucket `first` outwards to the edge of what stands.

    Adds base units and USD to `out`, USD by class to `by_class` (not where that is empty). Longs go from `first` up, shorts from `first` down, both inclusive. Oracle: masked sums over the whole grid.
    """
    if side == LONG:
        lo, hi = first, edge[LONG]
    else:
        lo, hi = edge[SHORT], first
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
                base += s * scale[side, k]
                usd += u * scale[side, k]
                if len(by_class) > 0:
                    by_class[k] += u * scale[side, k]
                total[side, k] = max(total[side, k] - s, 0.0)
        edge[side] = lo - 1 if side == LONG else hi + 1
    out[0] += base
    out[1] += usd


@bare
def close_out(mass, scale, total, stock, hazard, stock_hazard, side, amount, scratch):
    """Close `amount` (not above what stands) of one side, each class in proportion to hazard x what stands.

    A class whose share would pass 1 is closed whole and the rest of the amount goes to the others. `scratch` has three
    rows of classes + 2. Oracle: the same
    water-filling in exact fractions.
    """
    n = mass.shape[1]
    stands = scratch[0]
    rate = scratch[1]
    whole = scratch[2]
    for k in range(n):
        stands[k] = total[side, k] * scale[side, k]
        rate[k] = hazard[k]
    for r in range(2):
        stands[n + r] = stock[side, r]
        rate[n + r] = stock_hazard[r]
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
    """Share of the range [x0, x1] (log prices in buckets) that lies in each bucket: fills `weights`, returns first bucket, count
    and the bucket of the range's middle.

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
def live_share(mix, share_cum, reach, count, side, first, n, middle, weights, dead, within):
    """Share of new entries' levels that the price has not passed already: the remainder's share not included.

    `dead`: first long bucket (last short bucket) that the price has reached since. `share_cum[side, k, j]` is the
    share of class k's levels within the first j buckets of its reach. Classes that start `within` or more buckets away
    are out of the price's reach.
    """
    alive = 0.0
    for k in range(len(mix)):
        near = reach[side, k]
        if near >= within:
            alive += mix[k]
            continue
        cells = count[side, k]
        wide = cells >= WIDE * n
        s = 0.0
        for i in range(1 if wide else n):
            e = middle if wide else first + i
            gone = e - near - dead + 1 if side == LONG else dead - (e + near) + 1
            gone = min(max(gone, 0), cells)
            s += (1.0 if wide else weights[i]) * (1.0 - share_cum[side, k, gone])
        alive += mix[k] * s
    return alive


@bare
def add_scaled(target, to, source, begin, n, factor):
    """target[to : to + n] += factor * source[begin : begin + n]. Oracle: the same in numpy."""
    # Unsigned indices spare the test for negative ones, without which LLVM uses vector instructions.
    t = np.uintp(to)
    b = np.uintp(begin)
    for j in range(np.uintp(n)):
        target[t + j] += factor * source[b + j]


@bare
def insert(
    mass, scale, total, edge, mix, share, share_cum, reach, count, side, first, n, middle, weights, dead, amount,
    from_near, to_near,
):  # fmt: skip
    """Stand `amount` x mix at the levels of entries in buckets `first`.. (array indices), skipping the passed ones.

    Only the classes whose levels start `from_near` .. `to_near` - 1 buckets from their entry.

    `share[side, k]` is in the order of the grid: for longs the farthest level comes first. A class at least WIDE times
    as wide as the bar's range is entered at the range's middle, for the difference is lost in its width.
    """
    for k in range(len(mix)):
        near = reach[side, k]
        if mix[k] == 0.0 or near < from_near or near >= to_near:
            continue
        cells = count[side, k]
        unit = amount * mix[k] / scale[side, k]
        m = mass[side, k]
        held = share[side, k]
        added = 0.0
        wide = cells >= WIDE * n
        for i in range(1 if wide else n):
            e = middle if wide else first + i
            u = unit if wide else unit * weights[i]
            if side == LONG:
                gone = min(max(e - near - dead + 1, 0), cells)
                if gone < cells:
                    lo = e - near - cells + 1
                    add_scaled(m, lo, held, 0, cells - gone, u)
                    edge[LONG] = max(edge[LONG], e - near - gone)
            else:
                gone = min(max(dead - (e + near) + 1, 0), cells)
                if gone < cells:
                    lo = e + near
                    add_scaled(m, lo + gone, held, gone, cells - gone, u)
                    edge[SHORT] = min(edge[SHORT], lo + gone)
            added += u * (share_cum[side, k, cells] - share_cum[side, k, gone])
        total[side, k] += added


@bare
def bar_path(first, low, high, last, corners):
    """The bar's path as its ten `corners`; returns its length in log price.

    Open, low, high, close where it closed at or above its open, else open, high, low, close; each of the three legs goes
    three quarters of its way, half of it back, and on to its end (docs/decisions/011).
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
def reached(price, value, x, origin, side):
    """First long bucket (last short bucket) that a price of `value` reaches: a level at the price is reached.

    `x` is its logarithm in buckets.
    """
    at = first_at_or_above(price, value, x, origin)
    if side == SHORT and not (at < len(price) and price[at] == value):
        at -= 1
    return at


@bare
def step_side(
    mass, scale, total, stock, edge, pending, price, origin, step,
    opening, low, high, close, volume, change, known, event_from, event_to,
    mix, remainder_mix, hazard, stock_hazard, theta, share, share_cum, reach, count,
    i, side, row, by_class, weights, dead_at, swept, scratch,
):  # fmt: skip
    """Fold bar i into one side of the book: walk its path, open and close (see fold.py). `row` receives the
    bar's flows; `run_side` has the other arguments.

    Oracle: tests/oracle.py, Oracle.side.
    """
    swept[:] = 0.0
    turnover = theta * volume[i]
    lowest = math.log(low[i]) / step
    highest = math.log(high[i]) / step
    first, n, middle = entry_weights(lowest, highest, weights)
    nearest = reach[side, 0]
    for k in range(1, len(mix)):
        nearest = min(nearest, reach[side, k])
    born = 0.0
    if n <= nearest:
        # No entry of this bar can be liquidated within it.
        if side == LONG:
            edge_of_range = reached(price, low[i], lowest, origin, side)
        else:
            edge_of_range = reached(price, high[i], highest, origin, side)
        sweep(mass, scale, total, edge, price, side, edge_of_range, swept, by_class)
        gross = turnover
    else:
        corners = scratch[3]
        length = bar_path(opening[i], low[i], high[i], close[i], corners)
        gross = 0.0
        # Where the path stands: price, logarithm in buckets, bucket.
        z = corners[0]
        end = math.log(z)
        x_z = end / step
        dead = reached(price, z, x_z, origin, side)
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
                dead = reached(price, z, x_z, origin, side)
                if (z < a) == (side == LONG):
                    at = dead
                sweep(mass, scale, total, edge, price, side, at, swept, by_class)
                entered = turnover * (abs(end - begin) / pieces / length)
                if entered > 0.0:
                    f, m, mid = entry_weights(min(x_a, x_z), max(x_a, x_z), weights)
                    part = entered / (remainder_mix + live_share(
                        mix, share_cum, reach, count, side, f - origin, m, mid - origin, weights, dead, n
                    ))  # fmt: skip
                    insert(
                        mass, scale, total, edge, mix, share, share_cum, reach, count,
                        side, f - origin, m, mid - origin, weights, dead, part, 0, n,
                    )  # fmt: skip
                    gross += part
    pending[side] += swept[0]
    net = 0.0
    reopened = 0.0
    if known[i]:
        net = change[i] + pending[side]
        pending[side] = 0.0
    if gross > 0.0:
        # Classes that the bar's range cannot reach are entered once, evenly over it.
        first, n, middle = entry_weights(lowest, highest, weights)
        dead = reached(price, close[i], math.log(close[i]) / step, origin, side)
        insert(
            mass, scale, total, edge, mix, share, share_cum, reach, count,
            side, first - origin, n, middle - origin, weights, dead, gross, n, len(price),
        )  # fmt: skip
        stock[side, 0] += gross * remainder_mix
        born += max(gross - turnover, 0.0)
    closed = turnover + max(-net, 0.0)
    stands = stock[side, 0] + stock[side, 1]
    for k in range(len(mix)):
        stands += total[side, k] * scale[side, k]
    capped = max(closed - stands, 0.0)
    closed -= capped
    # More was swept than had stood before the bar: what its own turnover opened. That is not opened anew.
    if known[i]:
        reopened = max(net - capped, 0.0)
    else:
        pending[side] -= capped
    if closed > 0.0:
        close_out(mass, scale, total, stock, hazard, stock_hazard, side, closed, scratch)
    if reopened > 0.0:
        a, z = event_from[i], event_to[i]
        # What the price has reached between each entry and now: such levels are gone already.
        passed = close[i]
        traded = 0.0
        for j in range(i, a - 1, -1):
            if j < z:
                level = min(passed, close[j]) if side == LONG else max(passed, close[j])
                dead_at[j - a] = reached(price, level, math.log(level) / step, origin, side)
                traded += volume[j]
            passed = min(passed, low[j]) if side == LONG else max(passed, high[j])
        alive = remainder_mix
        for j in range(a, z):
            part = volume[j] / traded if traded > 0.0 else 1.0 / (z - a)
            first, n, middle = entry_weights(math.log(low[j]) / step, math.log(high[j]) / step, weights)
            alive += part * live_share(
                mix, share_cum, reach, count, side, first - origin, n, middle - origin, weights, dead_at[j - a],
                len(price),
            )  # fmt: skip
        gross = reopened / alive
        for j in range(a, z):
            part = volume[j] / traded if traded > 0.0 else 1.0 / (z - a)
            if z - a > 1:
                first, n, middle = entry_weights(math.log(low[j]) / step, math.log(high[j]) / step, weights)
            insert(
                mass, scale, total, edge, mix, share, share_cum, reach, count,
                side, first - origin, n, middle - origin, weights, dead_at[j - a], gross * part, 0, len(price),
            )  # fmt: skip
        stock[side, 0] += gross * remainder_mix
        born += max(gross - reopened, 0.0)
    row[SWEPT] = swept[0]
    row[OPENED] = reopened + turnover
    row[CLOSED] = closed
    row[BORN] = born
    row[CAPPED] = capped
    row[REMAINDER] = stock[side, 0] + stock[side, 1]
    row[SWEPT_USD] = swept[1]


@bare
def levels(mass, scale, side, lo, hi, out):
    """Base units of `side` in buckets lo .. hi - 1, summed over classes in their order, into `out`."""
    out[: hi - lo] = 0.0
    for k in range(mass.shape[1]):
        add_scaled(out, 0, mass[side, k], lo, hi - lo, scale[side, k])


@bare
def smooth(usd, n, near, first, last, out):
    """Triangular mean of `usd[:n]` at cells first .. last - 1: weights 1 - |d| / near, cells outside being empty.

    Oracle: `np.convolve(usd[:n], weights, "same")[first:last]`.
    """
    out[first:last] = 0.0
    for d in range(1 - near, near):
        lo = max(first, -d)
        hi = min(last, n - d)
        if hi > lo:
            add_scaled(out, lo, usd, lo + d, hi - lo, 1.0 - abs(d) / near)


@njit(cache=True)
def typical_mass(mass, scale, price, origin, step, close, side, cells, near):
    """Lower median over the side's windows: USD in runs of 2 near + 1 buckets from the close out to `cells` buckets.

    Oracle: np.sort of reshaped sums.
    """
    width = 2 * near + 1
    at = bucket_at_or_above(price, close, origin, step)
    n = max(cells // width, 1)
    lo = max(at - n * width, 0) if side == LONG else at
    hi = at if side == LONG else min(at + n * width, len(price))
    held = np.empty(hi - lo)
    levels(mass, scale, side, lo, hi, held)
    blocks = np.zeros(n)
    for w in range(n):
        first = max(hi - lo - (w + 1) * width, 0) if side == LONG else w * width
        last = hi - lo - w * width if side == LONG else min((w + 1) * width, hi - lo)
        total = 0.0
        for b in range(first, last):
            total += held[b] * price[lo + b]
        blocks[w] = total
    return np.partition(blocks, (n - 1) // 2)[(n - 1) // 2]


@bare
def clusters(usd, price, n, near, least, nearest_first, shape, found):
    """Major clusters among cells 0 .. n-1 ordered away from the close: rows (price, usd, low, high, cell) in `found`.

    A cluster is a local maximum of the smoothed USD whose mass within +- `near` cells is at least `least`; its price is
    the mass-weighted mean there; windows do not overlap. Stops at the first where `nearest_first`. Returns how many were found.
    """
    count = 0
    ready = 0
    last = 0
    for b in range(n):
        if b + 1 >= ready and ready < n:
            # The nearest cluster is mostly near: do not smooth what is not looked at.
            smooth(usd, n, near, ready, min(ready + 64, n), shape)
            ready = min(ready + 64, n)
        here = shape[b]
        if here <= 0.0 or (b > 0 and shape[b - 1] >= here) or (b + 1 < n and shape[b + 1] > here):
            continue
        lo = max(0, b - near)
        hi = min(n - 1, b + near)
        window = 0.0
        mean = 0.0
        for c in range(lo, hi + 1):
            window += usd[c]
            mean += usd[c] * price[c]
        # The same mass is not told twice.
        if window < least or (count > 0 and b - last <= 2 * near):
            continue
        last = b
        found[count, 0] = mean / window
        found[count, 1] = window
        found[count, 2] = min(price[lo], price[hi])
        found[count, 3] = max(price[lo], price[hi])
        found[count, 4] = b
        count += 1
        if nearest_first or count == found.shape[0]:
            break
    return count


@bare
def side_usd(mass, scale, price, origin, step, close, side, reach, cells, prices, held):
    """USD of one side in cells ordered away from the close, up to `reach` (fraction): returns their number and the
    bucket of the lowest.

    Shorts stand above the close, longs below; a level at the close itself has been reached. `held` is
    scratch of the same length.
    """
    if side == SHORT:
        lo = bucket_at_or_above(price, close, origin, step)
        if lo < len(price) and price[lo] == close:
            lo += 1
        hi = bucket_at_or_above(price, close * (1.0 + reach), origin, step)
        if hi < len(price) and price[hi] == close * (1.0 + reach):
            hi += 1
    else:
        lo = bucket_at_or_above(price, close * (1.0 - reach), origin, step)
        hi = bucket_at_or_above(price, close, origin, step)
    n = max(hi - lo, 0)
    levels(mass, scale, side, lo, lo + n, held)
    first = np.uintp(lo)
    last = np.uintp(n - 1)
    for b in range(np.uintp(n)):
        from_low = last - b if side == LONG else b
        prices[b] = price[first + from_low]
        cells[b] = held[from_low] * prices[b]
    return n, lo


@bare
def read_side(
    mass, scale, typical, price, origin, step, side, close, interest, reach, near, floor, times, doubt, bands, work,
    found, out,
):  # fmt: skip
    """One side of the map's columns at one close: nearest major clusters and cumulative USD within `bands`.

    `interest` is open interest in base units; USD = base x level price, but open interest x close. `doubt` (2, classes)
    is the low and the high end of each class's mass, as factors. `work` has three rows of at least as many cells as `reach` spans. NaN where there is no cluster. Oracle: tests/oracle.py.
    """
    cells = work[0]
    prices = work[1]
    n, lowest = side_usd(mass, scale, price, origin, step, close, side, reach, cells, prices, work[2])
    where = R_ABOVE if side == SHORT else R_BELOW
    out[where : where + 4] = np.nan
    least = max(floor * interest * close, times * typical[side])
    if clusters(cells, prices, n, near, least, True, work[2], found) > 0:
        out[where + PRICE] = found[0, 0]
        out[where + USD] = found[0, 1]
        b = int(found[0, 4])
        first = lowest + (n - 1 - min(n - 1, b + near) if side == LONG else max(0, b - near))
        last = lowest + (n - 1 - max(0, b - near) if side == LONG else min(n - 1, b + near))
        low = 0.0
        high = 0.0
        for k in range(mass.shape[1]):
            held = 0.0
            for c in range(first, last + 1):
                held += mass[side, k, c] * price[c]
            low += doubt[0, k] * held * scale[side, k]
            high += doubt[1, k] * held * scale[side, k]
        out[where + USD_LOW] = low
        out[where + USD_HIGH] = high
    column = R_SHORT if side == SHORT else R_LONG
    total = 0.0
    b = 0
    for i in range(len(bands)):
        limit = close * (1.0 + bands[i]) if side == SHORT else close * (1.0 - bands[i])
        if side == SHORT:
            while b < n and prices[b] <= limit:
                total += cells[b]
                b += 1
        else:
            while b < n and prices[b] >= limit:
                total += cells[b]
                b += 1
        out[column + i] = total


@njit(cache=True, nogil=True)
def run_side(
    side, mass, scale, total, stock, edge, pending, typical, price, origin, step,
    opening, low, high, close, volume, change, known, event_from, event_to, full_hour,
    mix, remainder_mix, hazard, stock_hazard, theta, share, share_cum, reach, count,
    start, stop, flows, swept_by_class,
    at_bar, closes, interest, span, near, floor, times, doubt, bands, rows, remainders,
):  # fmt: skip
    """Fold bars `start` .. `stop - 1` into one side of the book and read it after the bars that `at_bar` names.

    The sides never touch each other's state, so that two threads may run them at once; the bits are the same.

    Shapes: `opening` (the bars' opens) .. `volume` (bars,); `change[i]` is the change of open interest that became known at bar i where
    `known[i]`, and bars `event_from[i]` .. `event_to[i] - 1` are those in which it happened. `pending[side]` carries
    what was swept since the last known open interest. `flows[i, side]` receives the bar's named flows,
    `swept_by_class[i - start, side]` its swept USD by class unless that array is empty.
    Readings (r,): ascending `at_bar` in start - 1 .. stop - 1, `closes`; the side's columns of `rows[r]` and
    `remainders[r]` are filled. `interest` (bars,) is the open interest known at each bar; `span` .. `bands` as in
    `read_side`.
    """
    # Copies, for the sides' own state shares cache lines.
    scale_, total_, stock_ = scale.copy(), total.copy(), stock.copy()
    edge_, pending_, typical_ = edge.copy(), pending.copy(), typical.copy()
    weights = np.empty(mass.shape[2] + 2)
    swept = np.empty(2)
    scratch = np.empty((4, max(len(mix) + 2, 10)))
    no_class = np.empty(0)
    longest = 1
    for i in range(start, stop):
        if known[i] and event_to[i] - event_from[i] > longest:
            longest = event_to[i] - event_from[i]
    dead_at = np.empty(longest, np.int64)
    work = np.empty((3, int(2.0 * (span + 0.05) / step)))
    found = np.empty((1, 5))
    farthest = np.max(reach + count)
    r = 0
    for i in range(start - 1, stop):
        if i >= start:
            by_class = swept_by_class[i - start, side] if len(swept_by_class) > 0 else no_class
            step_side(
                mass, scale_, total_, stock_, edge_, pending_, price, origin, step,
                opening, low, high, close, volume, change, known, event_from, event_to,
                mix, remainder_mix, hazard, stock_hazard, theta, share, share_cum, reach, count,
                i, side, flows[i, side], by_class, weights, dead_at, swept, scratch,
            )  # fmt: skip
            if full_hour[i]:
                typical_[side] = typical_mass(
                    mass, scale_, price, origin, step, close[i], side, farthest, near
                )  # fmt: skip
        while r < len(at_bar) and at_bar[r] == i:
            read_side(
                mass, scale_, typical_, price, origin, step, side, closes[r], interest[i],
                span, near, floor, times, doubt, bands, work, found, rows[r],
            )  # fmt: skip
            remainders[r, side] = stock_[side, 0] + stock_[side, 1]
            r += 1
    scale[side], total[side], stock[side] = scale_[side], total_[side], stock_[side]
    edge[side], pending[side], typical[side] = edge_[side], pending_[side], typical_[side]

"""The cascade: price reaches a cluster, its positions are liquidated, their orders move price to the next levels.

The displacement r beyond the cluster is the least solution of

    r = push + impact(USD of the levels from the cluster's near edge to r beyond it)

with impact(q) = scale x sqrt(q / volume) (the square-root law) or scale x q / volume (Kyle's). Both sides of the
equation grow with r, and the right one changes at levels only: walking the levels outwards and adding each one that the
displacement so far reaches ends at the least solution exactly, after as many steps as levels are reached.
"""

import math
from typing import NamedTuple

import numpy as np

from liqsignals.liqmap.kernels.read import HALF, PRICE, levels
from liqsignals.liqmap.kernels.shared import LONG, bare, kernel

#: Laws of impact.
SQRT, LINEAR = 0, 1

# Places of a result: forced USD, displacement beyond the cluster (log price), and the first generation over the push:
# impact of what the push alone reaches / push.
FORCED, DISPLACED, BRANCHING = 0, 1, 2

# Levels that are made at a time: mostly fewer are reached.
_BLOCK = 32


class Walk(NamedTuple):
    """What a cascade is read with, in log price."""

    #: The cluster's levels begin so far before its price.
    edge: float
    #: Distance from the close up to which levels are read; a displacement is cut there.
    far: float


@bare
def impact(usd, scale, volume, law):
    """Displacement (log price) by a forced flow of `usd`; `scale` is that of a flow of `volume` USD."""
    share = usd / volume
    return scale * (math.sqrt(share) if law == SQRT else share)


@bare
def walk(distances, usd, n, touch, push, scale, volume, law, out):
    """Add the first `n` levels to the cascade `out` as far as it reaches them; returns how many it did.

    `out` holds what was done before, its BRANCHING the USD of the first generation.
    """
    for i in range(n):
        if distances[i] > touch + out[DISPLACED]:
            return i
        if distances[i] <= touch + push:
            out[BRANCHING] += usd[i]
        out[FORCED] += usd[i]
        out[DISPLACED] = push + impact(out[FORCED], scale, volume, law)
    return n


@bare
def begin(push, out):
    """A cascade of nothing but the push."""
    out[FORCED] = 0.0
    out[DISPLACED] = push
    out[BRANCHING] = 0.0


@bare
def finish(touch, push, far, scale, volume, law, out):
    """Cut the displacement where the map ends, and turn the first generation's USD into its ratio."""
    out[DISPLACED] = max(min(out[DISPLACED], far - touch), push)
    out[BRANCHING] = impact(out[BRANCHING], scale, volume, law) / push


@kernel
def solve(distances, usd, touch, push, far, scale, volume, law, out):
    """The cascade over levels at ascending `distances` (log price) from the close, `usd` each, into `out` (3,).

    `touch` is the distance of the cluster, `push` > 0 the displacement beyond it without forced orders. Only levels
    from the cluster's near edge on may be given. Oracle: iterating the equation from r = push.
    """
    begin(push, out)
    walk(distances, usd, len(distances), touch, push, scale, volume, law, out)
    finish(touch, push, far, scale, volume, law, out)


@bare
def cascade_side(book, grid, side, close, cluster, cells, push, scale, volume, law, rule, work, out):
    """`solve` for one side's levels of a book, read off it as far as they are reached.

    `cluster` is a row that `read_side` wrote for the side, `cells` what it returned: their USD is in work[0]. `out` is
    left alone where the cluster, the push, the scale or the volume is NaN or not above 0. `work` as in `read_side`.
    """
    if not (cluster[PRICE] > 0.0 and push > 0.0 and scale > 0.0 and volume > 0.0):
        return
    step = grid.step
    x = math.log(close)
    touch = abs(math.log(cluster[PRICE]) - x)
    near = max(touch - rule.edge, 0.0)
    way = -1 if side == LONG else 1
    # The first bucket whose centre is farther than the near edge.
    bucket = int(math.floor((x + way * near) / step))
    while way * ((bucket + 0.5) * step - x) > near:
        bucket -= way
    while way * ((bucket + 0.5) * step - x) <= near:
        bucket += way
    made = work[0]
    usd = work[1]
    distances = work[2]
    size = len(grid.price)
    begin(push, out)
    while True:
        first = bucket if way > 0 else bucket - _BLOCK + 1
        lo = min(max(first - grid.origin, 0), size)
        hi = min(max(first + _BLOCK - grid.origin, 0), size)
        n = hi - lo
        if cells.first <= lo and hi <= cells.last:
            place = np.uintp(HALF + lo - cells.lowest)
            for i in range(np.uintp(max(n, 0))):
                usd[i] = made[place + i]
        else:
            levels(book, side, lo, hi, usd)
            for i in range(n):
                usd[i] *= grid.price[lo + i]
        if way < 0:
            for i in range(n // 2):
                usd[i], usd[n - 1 - i] = usd[n - 1 - i], usd[i]
        # Of a block that the grid holds a part of, the nearest bucket may be missing.
        nearest = lo + grid.origin if way > 0 else hi - 1 + grid.origin
        for i in range(n):
            distances[i] = way * ((nearest + way * i + 0.5) * step - x)
        while n > 0 and distances[n - 1] >= rule.far:
            n -= 1
        reached = walk(distances, usd, n, touch, push, scale, volume, law, out)
        bucket += way * _BLOCK
        if reached < n or way * ((bucket + 0.5) * step - x) >= rule.far:
            break
    finish(touch, push, rule.far, scale, volume, law, out)

"""The cascade over a book's levels, with any law and strength of impact (kernels/cascade.py has the equation)."""

import math
from typing import NamedTuple

import numpy as np

from liqsignals.liqmap import kernels
from liqsignals.liqmap.book import STEP, Book
from liqsignals.liqmap.fold import FAR


class Cascade(NamedTuple):
    """What follows once a cluster is touched."""

    #: Forced orders, position USD.
    usd: float
    #: Displacement beyond the cluster, log price, and the same over the push alone.
    displaced: float
    gain: float
    #: Impact of what the push alone reaches over the push: from 1 on, linear impact sustains itself.
    branching: float

    def end_price(self, cluster: float, side: int) -> float:
        """Where the move beyond a cluster (its price) peaks."""
        return cluster * math.exp(self.displaced if side == kernels.SHORT else -self.displaced)


def cascade(
    book: Book,
    side: int,
    close: float,
    cluster: float,
    push: float,
    scale: float,
    volume: float,
    *,
    edge: float,
    law: int = kernels.SQRT,
) -> Cascade:
    """The cascade from `cluster` (its price) outwards over one side's levels.

    `push` and `scale` (impact of a flow of `volume` USD) are log prices, both above 0, `edge` is Squeeze.edge.
    """
    way = 1.0 if side == kernels.SHORT else -1.0
    distance = way * ((book.origin + np.arange(len(book.price)) + 0.5) * STEP - math.log(close))
    touch = abs(math.log(cluster) - math.log(close))
    ahead = np.flatnonzero((distance > max(touch - edge, 0.0)) & (distance < FAR))
    if side == kernels.LONG:
        ahead = ahead[::-1]
    out = np.empty(3)
    usd = book.levels()[side, ahead] * book.price[ahead]
    kernels.solve(distance[ahead], usd, touch, push, FAR, scale, volume, law, out)
    displaced = float(out[kernels.DISPLACED])
    return Cascade(float(out[kernels.FORCED]), displaced, displaced / push, float(out[kernels.BRANCHING]))

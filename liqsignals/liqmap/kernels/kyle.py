"""Kyle's lambda over the rows of a window (liqmap/impact.py)."""

import math

from liqsignals.liqmap.kernels.shared import kernel


@kernel
def lambdas(event_time, move, flow, first, stop, since, least, out):
    """For each instant i: sum(move x flow) / sum(flow^2) over rows first[i] .. stop[i] - 1 of an event after since[i],
    in their order, into out[i].

    Rows whose `move` is NaN are left out. out[i] is left alone where fewer than `least` rows are there, and where the
    result is not above 0. Oracle: numpy.
    """
    for i in range(len(out)):
        n = 0
        cross = 0.0
        square = 0.0
        for k in range(first[i], stop[i]):
            if event_time[k] > since[i] and not math.isnan(move[k]):
                n += 1
                cross += move[k] * flow[k]
                square += flow[k] * flow[k]
        if n >= least and square > 0.0 and cross > 0.0:
            out[i] = cross / square

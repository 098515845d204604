"""Searches of ascending instants in ascending times, as every join with the tape is."""

from pathlib import Path

import numpy as np

from liqsignals.clock import Int64Array
from liqsignals.compiled import cached

#: From so many instants on the compiled loop is the faster one.
_MANY = 64

_kernel = cached([Path(__file__)])


def count_until(times: Int64Array, at: Int64Array) -> Int64Array:
    """Number of `times` (ascending) at or before each of `at`: np.searchsorted, side "right".

    Where `at` ascends, too, as candles do, each search begins where the one before ended: a year takes a tenth of the
    time.

    >>> count_until(np.array([10, 20, 20, 30]), np.array([5, 20, 25, 40])).tolist()
    [0, 3, 3, 4]
    """
    if len(at) < _MANY:
        return np.searchsorted(times, at, side="right")
    out = np.empty(len(at), np.int64)
    _until(np.ascontiguousarray(times, np.int64), np.ascontiguousarray(at, np.int64), out)
    return out


def count_before(times: Int64Array, at: Int64Array) -> Int64Array:
    """Number of `times` (ascending) before each of `at`: np.searchsorted, side "left"."""
    return count_until(times, at - 1)


@_kernel
def _until(times: Int64Array, at: Int64Array, out: Int64Array) -> None:
    n, row = len(times), 0
    for i in range(len(at)):
        t = at[i]
        if row > 0 and times[row - 1] > t:
            row = np.searchsorted(times[:row], t, side="right")
        else:
            # In steps of twice the length, then within the last one.
            step, low = 1, row
            while row < n and times[row] <= t:
                low, row, step = row + 1, row + step, 2 * step
            if row > low:
                row = low + np.searchsorted(times[low : min(row, n)], t, side="right")
        out[i] = row

"""A value compared with its own past."""

import numpy as np

from liqsignals.clock import Int64Array
from liqsignals.records import Float64Array


def against_past(
    value: Float64Array, event: Int64Array, rows: Int64Array, window: int, least: int
) -> tuple[Float64Array, Float64Array]:
    """z-score and percentile of each of `rows` against the records of the `window` (ns) before it, itself excluded.

    z = (x - mean) / std (population); percentile = (share below + half the share equal), 0..1. NaN where fewer than
    `least` records are known. Where all past values are equal, z is 0 for that value and NaN for another.
    """
    event = np.ascontiguousarray(event)
    z = np.full(len(rows), np.nan)
    percentile = np.full(len(rows), np.nan)
    first = np.searchsorted(event, event[rows] - window)
    for i, row in enumerate(rows):
        past, here = value[first[i] : row], value[row]
        n = len(past)
        if n < least:
            continue
        percentile[i] = (np.count_nonzero(past < here) + 0.5 * np.count_nonzero(past == here)) / n
        if past.min() < past.max():
            # np.mean and np.std without their checks, which took most of the time: the same bits.
            mean = np.add.reduce(past) / n
            off = past - mean
            z[i] = (here - mean) / np.sqrt(np.add.reduce(off * off) / n)
        elif here == past[0]:
            z[i] = 0.0
    return z, percentile

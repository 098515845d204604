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
    for i, row in enumerate(rows):
        past = value[np.searchsorted(event, event[row] - window) : row]
        if len(past) < least:
            continue
        percentile[i] = ((past < value[row]).sum() + 0.5 * (past == value[row]).sum()) / len(past)
        if past.min() < past.max():
            z[i] = (value[row] - past.mean()) / past.std()
        elif value[row] == past[0]:
            z[i] = 0.0
    return z, percentile

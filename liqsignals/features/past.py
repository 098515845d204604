"""A value compared with its own past."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from liqsignals.clock import Int64Array
from liqsignals.data.search import count_before
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
    first = count_before(event, event[rows] - window)
    counts = rows - first
    # Most have as many records before them as their neighbours: all of one number at once.
    for n in np.unique(counts[counts >= max(least, 1)]):
        of = np.flatnonzero(counts == n)
        past, here = sliding_window_view(value, n)[first[of]], value[rows[of]]
        below, same = past < here[:, None], past == here[:, None]
        percentile[of] = (below.sum(axis=1) + 0.5 * same.sum(axis=1)) / n
        mean = past.sum(axis=1) / n
        off = past - mean[:, None]
        spread = np.sqrt((off * off).sum(axis=1) / n)
        differ = past.min(axis=1) < past.max(axis=1)
        z[of] = np.where(differ, (here - mean) / np.where(differ, spread, 1.0), np.where(same[:, 0], 0.0, np.nan))
    return z, percentile


def runs(rows: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Distinct values of ascending `rows`, and the place of each row's value among them: np.unique without a sort."""
    new = np.concatenate((np.ones(min(len(rows), 1), bool), rows[1:] != rows[:-1]))
    return rows[new], np.cumsum(new) - 1

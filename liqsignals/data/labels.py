"""Detects whether open-interest labels name the start or the end of their period.

Binance's archive labelled a snapshot with the end of its 5 minutes until 2026-06-25 and with their start since then,
without notice (binance-public-data issue 491). Its REST API and other venues differ again, and one file can hold both.
The test: open interest changes where there is trading. On each of 243 days of BTC and of ETH, the rank correlation of
|change of open interest| with volume is clearly highest in the bar of the change (BTC medians .60, against .37 and .30
in the neighbouring bars), so the convention can be estimated for each day.
"""

import logging

import numpy as np
from numpy.typing import NDArray

from liqsignals.clock import DAY, Int64Array, iso
from liqsignals.data.search import count_before, count_until
from liqsignals.errors import InputError
from liqsignals.venues import LABEL_END, LABEL_START, documented_convention

logger = logging.getLogger(__name__)

#: By convention, LABEL_END and LABEL_START.
_NAMES = ("end", "start")

#: A block is decided when its best rank correlation reaches PEAK and leads the next by LEAD. On the days named above
#: the best was never below .31 and its lead never below .10. With volume and open interest independent, 288 rows reach
#: a lead of .08 on one day in five, but a peak of .25 on none of 3,000.
PEAK = 0.25
LEAD = 0.08
#: Rows per block; coarser files pool as many days as needed.
BLOCK_ROWS = 144


def _centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks along the last axis less their mean; ties keep their order, which is noise among hundreds of rows."""
    ranks = np.empty(values.shape)
    n = values.shape[-1]
    # Numpy's quick sort is 15 times as fast as its stable one, and the same where nothing ties.
    order = np.argsort(values)
    ascending = np.take_along_axis(values, order, -1)
    tied = (ascending[..., 1:] == ascending[..., :-1]).any(axis=-1)
    order[tied] = np.argsort(values[tied], kind="stable")
    np.put_along_axis(ranks, order, np.arange(n) - (n - 1) / 2, -1)
    return ranks


def _volumes_around(
    label: Int64Array, period_ns: int, bar_open: Int64Array, bar_ns: int, volume: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Traded volume in the period before, at and after each label (3, n): NaN where a bar of it is missing."""
    total = np.concatenate(([0.0], np.cumsum(volume)))
    edge = np.stack([count_before(bar_open, label + k * period_ns) for k in (-1, 0, 1, 2)])
    return np.where(np.diff(edge, axis=0) * bar_ns == period_ns, np.diff(total[edge], axis=0), np.nan)


def conventions(
    label: Int64Array,
    amount: NDArray[np.float64],
    period_ns: int,
    bar_open: Int64Array,
    bar_ns: int,
    volume: NDArray[np.float64],
    exchange: str,
    twins: Int64Array | None = None,
    before: int | None = None,
) -> tuple[Int64Array, NDArray[np.int8], int | None]:
    """First UTC day and convention (LABEL_END or LABEL_START) of each block, and the convention after the last block.

    Shapes: `label`, `amount` (n,), sorted; `bar_open`, `volume` (m,). A block is a UTC day, or as many days as
    hold BLOCK_ROWS rows. For each, |change| is rank-correlated with the volume of the period before, at and after the
    label; it is decided when the peak is high (PEAK), leads (LEAD) and is not after the label. A block takes the
    convention of the last decided block before it, so that no row depends on later ones; the first blocks take that of
    the first decided one, else `before` (the convention of an earlier file), else the documented one. `twins` are
    labels that occur twice with different values: only a change from end to start causes that, so a block that begins
    with one is LABEL_START at once.
    """
    block_ns = DAY * int(np.ceil(BLOCK_ROWS * period_ns / DAY))
    block = label // block_ns
    # Labels are sorted: a block begins where the number changes.
    begins = np.flatnonzero(np.diff(block, prepend=block[:1] - 1))
    blocks = block[begins]
    decided = np.full(len(blocks), -1, np.int8)
    if bar_ns <= period_ns and len(label) > 1:
        change = np.abs(np.diff(amount, prepend=np.nan))
        change[np.diff(label, prepend=label[0]) != period_ns] = np.nan
        around = _volumes_around(label, period_ns, bar_open, bar_ns, volume)
        rows = np.flatnonzero(np.isfinite(change) & np.isfinite(around).all(axis=0))
        edges = np.searchsorted(rows, np.append(begins, len(label)))
        counts = np.diff(edges)
        # Blocks of as many rows are ranked at once: a year of days in four sorts.
        for n in np.unique(counts[counts >= 0.8 * BLOCK_ROWS]):
            which = np.flatnonzero(counts == n)
            of = rows[edges[which, None] + np.arange(n)]
            moved = _centred_ranks(change[of])
            # Ranks are halves of whole numbers: their sums are exact.
            scores = (moved * _centred_ranks(around[:, of])).sum(axis=-1) / (moved * moved).sum(axis=-1)
            best = np.argmax(scores, axis=0)
            second, first = np.sort(scores, axis=0)[1:]
            decides = (best != 2) & (first >= PEAK) & (first - second >= LEAD)
            decided[which[decides]] = best[decides]
    starts = blocks * block_ns
    known = decided[decided >= 0]
    state = int(known[0]) if known.size else before
    kinds = np.empty(len(blocks), np.int8)
    doubled = set() if twins is None else set(twins.tolist())
    for i, start in enumerate(starts.tolist()):
        if start in doubled:
            state = LABEL_START
        kinds[i] = documented_convention(exchange, start) if state is None else state
        if decided[i] >= 0:
            state = int(decided[i])
    return starts, kinds, state


def snapshot_times(
    label: Int64Array,
    amount: NDArray[np.float64],
    period_ns: int,
    bar_open: Int64Array,
    bar_ns: int,
    volume: NDArray[np.float64],
    exchange: str,
    what: str,
    before: int | None = None,
) -> tuple[Int64Array, Int64Array, int | None]:
    """Times (ns, ascending, unique) at which open interest was measured, the row of each, and the convention after the
    last.

    `label` is sorted and may hold one label twice where the convention changes from end to start: the last row of the
    old days and the first of the new ones. Raises InputError where two rows of one label differ elsewhere; `what` names
    the file.
    """
    if len(label) == 0:
        return label, label, before
    seen_twice = np.concatenate(([False], label[1:] == label[:-1]))
    days, kinds, convention = conventions(
        label, amount, period_ns, bar_open, bar_ns, volume, exchange, label[seen_twice], before
    )
    for at in np.flatnonzero(np.diff(kinds)):
        logger.warning(
            "%s: open-interest labels change from %s to %s of period on %s; both are read as the same instants",
            what,
            _NAMES[kinds[at]],
            _NAMES[kinds[at + 1]],
            iso(days[at + 1])[:10],
        )
    day = count_until(days, label) - 1
    kind = kinds[day].copy()
    # The last row of an end-labelled day has the next day's first label.
    first = np.flatnonzero((days[day] == label) & (day > 0))
    previous = kinds[np.searchsorted(days, label[first]) - 1]
    boundary = (previous == LABEL_END) & (kind[first] == LABEL_START)
    kind[first[boundary & ~seen_twice[first]]] = LABEL_END

    twice = np.flatnonzero(seen_twice & (kind == np.concatenate(([-1], kind[:-1]))))
    if twice.size:
        row = twice[0]
        raise InputError(
            f"{what}: two different open-interest values for {iso(label[row])} ({amount[row - 1]!r} and "
            f"{amount[row]!r})",
            "remove the wrong row; exchanges keep only 30 days of open interest, so do not delete older files",
        )
    snapshot = label + np.where(kind == LABEL_START, period_ns, 0)
    order = np.argsort(snapshot, kind="stable")
    snapshot = snapshot[order]
    # Where labels change from start to end, one instant occurs in both conventions: the earlier row is kept.
    keep = np.concatenate(([True], snapshot[1:] != snapshot[:-1]))
    return snapshot[keep], order[keep], convention

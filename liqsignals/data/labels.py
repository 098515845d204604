"""When was a row of open interest measured? The test that tells start labels from end labels.

Binance's archive named a snapshot by the end of its 5 minutes until 2026-06-25 and by their start since then,
without notice (binance-public-data issue 491); its REST answers and other venues differ again, and one file can
hold both. What does not lie: open interest changes when there is trading. On every one of 243 days of BTC and
of ETH, |change of open interest| ranks with the volume of the bar in which it happened far above the bars
beside it (BTC medians .60 against .37 and .30), so each day tells its own convention.
"""

import logging

import numpy as np
from numpy.typing import NDArray

from liqsignals.clock import DAY, Int64Array, iso, parse_time
from liqsignals.errors import InputError

logger = logging.getLogger(__name__)

END, START = 0, 1
_NAMES = ("end", "start")

#: A block is decided when its best rank correlation reaches PEAK and leads the next by LEAD. On the days named above the
#: best was never below .31 and its lead never below .10; where volume and open interest have nothing to do with each
#: other, 288 rows reach a lead of .08 on one day in five, but a peak of .25 on none of 3,000.
PEAK = 0.25
LEAD = 0.08
#: Rows that decide a block; a coarser file pools as many days as give them.
BLOCK_ROWS = 144

_BINANCE_FLIP = parse_time("2026-06-25T00:00:00Z")


def documented_convention(exchange: str, label: int) -> int:
    """Convention that the vendor documents, used only where no block of a file decides."""
    if exchange == "binance":
        return START if label >= _BINANCE_FLIP else END
    return START


def _centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks along the last axis less their mean; ties keep their order, which is noise among hundreds of rows."""
    ranks = np.empty(values.shape)
    n = values.shape[-1]
    np.put_along_axis(ranks, np.argsort(values, kind="stable"), np.arange(n) - (n - 1) / 2, -1)
    return ranks


def _volumes_around(
    label: Int64Array, period_ns: int, bar_open: Int64Array, bar_ns: int, volume: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Traded volume in the period before, at and after each label (3, n): NaN where a bar of it is missing."""
    total = np.concatenate(([0.0], np.cumsum(volume)))
    edge = np.stack([np.searchsorted(bar_open, label + k * period_ns) for k in (-1, 0, 1, 2)])
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
    """First UTC day of each block of labels, each block's convention (END or START), and what holds after the last.

    Shapes: `label`, `amount` (n,), sorted; `bar_open`, `volume` (m,). A block is a UTC day, or as many days as
    hold BLOCK_ROWS rows. For each, |change| is rank-correlated with the volume of the period before, at and after the
    label; it tells when the peak is high (PEAK), leads (LEAD) and is not after the label. A block is read by the last
    block before it that tells, so that no row depends on later ones; the first blocks by the first one that tells,
    else by `before` (what an earlier file told), else as documented. `twins` are labels that stand twice with two
    values: only a change from end to start does that, so a block that begins with one is START at once.
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
            tells = (best != 2) & (first >= PEAK) & (first - second >= LEAD)
            decided[which[tells]] = best[tells]
    starts = blocks * block_ns
    told = decided[decided >= 0]
    state = int(told[0]) if told.size else before
    kinds = np.empty(len(blocks), np.int8)
    for i, start in enumerate(starts):
        if twins is not None and start in twins:
            state = START
        kinds[i] = documented_convention(exchange, int(start)) if state is None else state
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
) -> tuple[Int64Array, NDArray[np.float64], int | None]:
    """Instants at which open interest was measured, ascending and unique, the amounts, and the last convention told.

    `label` is sorted and may hold one label twice where the convention goes from end to start: the last row of
    the old days and the first of the new ones. Raises InputError where two rows contradict each other
    elsewhere; `what` names the file.
    """
    if len(label) == 0:
        return label, amount, before
    seen_twice = np.concatenate(([False], label[1:] == label[:-1]))
    days, kinds, told = conventions(
        label, amount, period_ns, bar_open, bar_ns, volume, exchange, label[seen_twice], before
    )
    for at in np.flatnonzero(np.diff(kinds)):
        logger.warning(
            "%s: open-interest labels change from %s to %s of period on %s; both are read as the same instants",
            what, _NAMES[kinds[at]], _NAMES[kinds[at + 1]], iso(days[at + 1])[:10],
        )  # fmt: skip
    day = np.searchsorted(days, label, side="right") - 1
    kind = kinds[day].copy()
    # An end-labelled day ends with the next day's first label.
    first = np.flatnonzero((days[day] == label) & (day > 0))
    previous = kinds[np.searchsorted(days, label[first]) - 1]
    boundary = (previous == END) & (kind[first] == START)
    kind[first[boundary & ~seen_twice[first]]] = END

    twice = np.flatnonzero(seen_twice & (kind == np.concatenate(([-1], kind[:-1]))))
    if twice.size:
        row = twice[0]
        raise InputError(
            f"{what}: two different open-interest values for {iso(label[row])} ({amount[row - 1]!r} and "
            f"{amount[row]!r})",
            "remove the wrong row; exchanges keep only 30 days of open interest, so do not delete older files",
        )
    snapshot = label + np.where(kind == START, period_ns, 0)
    order = np.argsort(snapshot, kind="stable")
    snapshot, amount = snapshot[order], amount[order]
    # Where labels go from start to end, an instant stands in both: the earlier row has it.
    keep = np.concatenate(([True], snapshot[1:] != snapshot[:-1]))
    return snapshot[keep], amount[keep], told

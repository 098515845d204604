"""Do the levels with the most mass have the most liquidations?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from liqsignals.clock import DAY, HOUR
from liqsignals.data.tape import bars_of
from liqsignals.evaluation.ages import Aged
from liqsignals.evaluation.cases import Case, Mask
from liqsignals.evaluation.intervals import mean_intervals
from liqsignals.records import Float64Array

_RANKINGS = ("map", "map, 12 h memory", "mass > 72 h", "nearest")


def instants(c: Case) -> list[int]:
    """00:00 of each UTC day whose next 24 h are all scored."""
    start, end = int(c.hours[c.test][0]), int(c.hours[-1]) + HOUR
    return list(range(-(-start // DAY) * DAY, end - DAY + 1, DAY))


def lift(weight: Float64Array, ranking: Float64Array) -> float:
    """Share of `weight` in the top tenth of the levels by `ranking`, divided by their share of the levels.

    >>> usd, rank = np.ones(20), np.arange(20.0)
    >>> usd[19] = 21.0  # more than half of the USD in the top tenth
    >>> lift(usd, rank)
    5.5
    """
    n = len(ranking) // 10
    if n == 0 or not weight.sum() > 0.0:
        return float("nan")
    top = np.argsort(-ranking, kind="stable")[:n]
    return float(weight[top].sum() / weight.sum() * len(ranking) / n)


def level_lift(c: Case, aged: Aged) -> dict[str, Any]:
    """Lift of the top tenth of the levels within 15 %, for sweeps and for liquidations in the next 24 h.

    Rankings: the map's mass, its mass younger than 12 h, its mass older than 72 h, and nearness. `swept`: how
    much more often price reaches such a level than any level; `liquidated`: USD placed on them, relative to an even
    spread; `among_swept`: the same among the levels that price reached (there nearness, which predicts whether price
    arrives, has no advantage).
    """
    ends = c.tape.bars["event_time"]
    at, rows = [], []
    for instant in instants(c):
        if instant not in aged.books:
            continue
        held, price = aged.books[instant]
        i = int(np.searchsorted(ends, instant, side="right")) - 1
        if ends[i] != instant:
            continue
        close = float(c.tape.bars["close"][i])
        last = int(np.searchsorted(ends, instant + DAY, side="right"))
        inside = np.flatnonzero((c.hours >= instant) & (c.hours < instant + DAY))
        row = np.full((3, len(_RANKINGS), 2), np.nan)
        for side in range(2):
            near = (
                ((price < close) & (price >= close * 0.85))
                if side == 0
                else ((price > close) & (price <= close * 1.15))
            )
            levels, usd = price[near], held[side][:, near] * price[near]
            placed, reached = placed_on(c, side, inside, levels), _reached(c, side, i + 1, last, levels)
            ranking = {
                "map": usd.sum(axis=0),
                "map, 12 h memory": usd[:2].sum(axis=0),
                "mass > 72 h": usd[3],
                "nearest": -np.abs(np.log(levels / close)),
            }
            for r, name in enumerate(_RANKINGS):
                row[0, r, side] = lift(reached.astype(np.float64), ranking[name])
                row[1, r, side] = lift(placed, ranking[name])
                row[2, r, side] = lift(placed[reached], ranking[name][reached])
        at.append(instant)
        rows.append(row)
    if not rows:
        return {"snapshots": 0}
    table = np.array(rows)
    return {
        "snapshots": len(at),
        **mean_intervals(np.array(at, np.int64), table, ("swept", "liquidated", "among_swept"), _RANKINGS),
    }


def _reached(c: Case, side: int, first: int, last: int, levels: Float64Array) -> Mask:
    bars = c.tape.bars[first:last]
    if len(bars) == 0:
        return np.zeros(len(levels), bool)
    return np.asarray(levels >= bars["low"].min() if side == 0 else levels <= bars["high"].max())


def placed_on(c: Case, side: int, inside: NDArray[np.intp], levels: Float64Array) -> Float64Array:
    """Real USD of the hours on the snapshot's levels: each hour's is spread evenly over the levels it reaches first.

    An hour that is the first to reach no level is not placed: its liquidations were opened after the snapshot.
    """
    first, last, whole = bars_of(c.tape, c.hours[inside])
    out, left = np.zeros(len(levels)), np.ones(len(levels), bool)
    for h, a, z, there in zip(inside, first, last, whole, strict=True):
        if not there:
            continue
        bars = c.tape.bars[a:z]
        hit = left & ((levels >= bars["low"].min()) if side == 0 else (levels <= bars["high"].max()))
        if hit.any():
            out[hit] += c.real[side, h] / hit.sum()
            left &= ~hit
    return out

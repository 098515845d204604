"""Statistics of hours and of snapshots, with 95 % intervals from a bootstrap of whole UTC days."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from liqsignals.clock import Int64Array
from liqsignals.evaluation import scores
from liqsignals.evaluation.cases import Case
from liqsignals.records import Float64Array

STATISTICS = ("rank", "rank_moved", "rank_anew", "r2")
DRAWS = 300


def statistics(c: Case, predicted: Float64Array, rows: Int64Array) -> Float64Array:
    """STATISTICS of some rows, (4, 2)."""
    out = np.empty((len(STATISTICS), 2))
    for side in range(2):
        guess, real = predicted[side, rows], c.real[side, rows]
        moved, new = c.moved[side, rows] > scores.MOVED, c.new_prices[side, rows]
        out[:, side] = (
            scores.spearman(guess, real),
            scores.spearman(guess[moved], real[moved]),
            scores.spearman(guess[new], real[new]),
            scores.log_r2(guess, real),
        )
    return out


def intervals(
    c: Case, filled: dict[str, Float64Array], pairs: Sequence[tuple[str, str]], draws: int = DRAWS
) -> dict[str, Any]:
    """Each model's STATISTICS and each pair's differences, with intervals, from the same draws of days."""
    rows = np.flatnonzero(c.test).astype(np.int64)

    def all_of(at: Int64Array) -> Float64Array:
        each = {name: statistics(c, p, at) for name, p in filled.items()}
        return np.stack([*each.values(), *[each[a] - each[b] for a, b in pairs]]).ravel()

    shape = (len(filled) + len(pairs), len(STATISTICS), 2)
    value = all_of(rows).reshape(shape)
    low, high = scores.bootstrap(lambda at: all_of(rows[at]), c.hours[rows], draws).reshape(2, *shape)
    names = [*filled, *[f"{a} - {b}" for a, b in pairs]]
    return {
        name: {s: interval(value[i, k], low[i, k], high[i, k]) for k, s in enumerate(STATISTICS)}
        for i, name in enumerate(names)
    }


def mean_intervals(
    at: Int64Array, table: Float64Array, kinds: Sequence[str], rankings: Sequence[str]
) -> dict[str, Any]:
    """Means of (snapshots, kinds, rankings, sides) and of the first ranking minus each other one, with intervals."""
    paired = np.concatenate([table, table[:, :, :1] - table[:, :, 1:]], axis=2)
    names = [*rankings, *[f"{rankings[0]} - {r}" for r in rankings[1:]]]

    def mean(rows: Int64Array) -> Float64Array:
        part = paired[rows]
        there = np.isfinite(part)
        count = there.sum(axis=0)
        return np.asarray(
            np.where(count > 0, np.where(there, part, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
        ).ravel()

    value = mean(np.arange(len(at))).reshape(paired.shape[1:])
    low, high = scores.bootstrap(mean, at, DRAWS).reshape(2, *paired.shape[1:])
    return {
        kind: {name: interval(value[k, r], low[k, r], high[k, r]) for r, name in enumerate(names)}
        for k, kind in enumerate(kinds)
    }


def number(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def interval(value: Float64Array, low: Float64Array, high: Float64Array) -> dict[str, list[float | None]]:
    return {"value": [number(v) for v in value], "low": [number(v) for v in low], "high": [number(v) for v in high]}

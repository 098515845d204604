"""TEMPORARY."""

from dataclasses import dataclass
from typing import Any
import numpy as np

MOVED = 0.005


def spearman(x, y):
    def rank(a):
        u, inv, n = np.unique(a, return_inverse=True, return_counts=True)
        return (np.cumsum(n) - (n - 1) / 2)[inv]

    return float(np.corrcoef(rank(x), rank(y))[0, 1])


@dataclass(frozen=True)
class HourScore:
    rank: tuple
    rank_moved: tuple

    def as_dict(self) -> dict[str, Any]:
        return {"rank": list(self.rank), "rank_moved": list(self.rank_moved)}


def hour_score(p, r, m, hours):
    p = np.nan_to_num(p)
    return HourScore(
        tuple(spearman(p[s], r[s]) for s in (0, 1)),
        tuple(spearman(p[s][m[s] > MOVED], r[s][m[s] > MOVED]) for s in (0, 1)),
    )

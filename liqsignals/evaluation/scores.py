"""Scores of hourly predictions against real liquidations, and their bootstrap intervals.

Side 0 is long, 1 is short; predictions and real values are USD of (2, n) hours. A NaN prediction (no map, stale input)
scores as 0; `coverage` is the share of hours with a prediction.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liqsignals.clock import DAY, Int64Array, to_dates
from liqsignals.records import Float64Array

#: An hour counts as moved when its ln move from the open toward a side's levels exceeds this.
MOVED = 0.005
#: Added inside logs: hours below it are single small accounts, which some feeds omit.
FLOOR = 10_000.0


def ranks(x: Float64Array) -> Float64Array:
    """Ranks from 1, ties at their mean rank.

    >>> ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist()
    [3.5, 1.0, 3.5, 2.0]
    """
    _, where, count = np.unique(x, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2.0)[where])


def spearman(x: Float64Array, y: Float64Array) -> float:
    """Rank correlation, ties at their mean rank; NaN for fewer than three pairs or where one of them is constant."""
    if len(x) < 3 or x.min() == x.max() or y.min() == y.max():
        return float("nan")
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


def log_r2(predicted: Float64Array, real: Float64Array) -> float:
    """R2 of ln(USD + FLOOR); NaN for fewer than three hours or where the real values are all equal."""
    target, guess = np.log(real + FLOOR), np.log(predicted + FLOOR)
    spread = ((target - target.mean()) ** 2).sum() if len(target) > 2 else 0.0
    return float(1.0 - ((target - guess) ** 2).sum() / spread) if spread > 0.0 else float("nan")


def dollar_ratio(predicted: Float64Array, real: Float64Array) -> float:
    """Total real over total predicted dollars; NaN where nothing was predicted.

    >>> dollar_ratio(np.array([100.0, 300.0]), np.array([500.0, 300.0]))
    2.0
    """
    total = float(predicted.sum())
    return float(real.sum()) / total if total > 0.0 else float("nan")


@dataclass(frozen=True)
class HourScore:
    """Scores of one span, each as (long, short)."""

    hours: int
    #: Share of the hours with a prediction.
    coverage: float
    #: Rank correlation over all hours, and over those that moved more than 0.5 % toward the side's levels.
    rank: tuple[float, float]
    rank_moved: tuple[float, float]
    moved: tuple[int, int]
    r2: tuple[float, float]
    r2_moved: tuple[float, float]
    #: Real over predicted dollars.
    dollars: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; NaN as None."""

        def plain(value: Any) -> Any:
            if isinstance(value, tuple):
                return [plain(v) for v in value]
            return None if isinstance(value, float) and not np.isfinite(value) else value

        return {name: plain(value) for name, value in asdict(self).items()}


def hour_score(predicted: Float64Array, real: Float64Array, moved: Float64Array) -> HourScore:
    """Score predictions (2, n) against real liquidations (2, n), USD; `moved` (2, n) ln moves toward each side's
    levels.
    """
    covered = np.isfinite(predicted).all(axis=0)
    guess = np.where(np.isfinite(predicted), predicted, 0.0)
    far = moved > MOVED

    def each(
        score: Callable[[Float64Array, Float64Array], float], which: NDArray[np.bool_] | None
    ) -> tuple[float, float]:
        rows = [slice(None) if which is None else which[side] for side in range(2)]
        long, short = (score(guess[side, rows[side]], real[side, rows[side]]) for side in range(2))
        return long, short

    return HourScore(
        hours=real.shape[1],
        coverage=float(covered.mean()) if real.shape[1] else 0.0,
        rank=each(spearman, None),
        rank_moved=each(spearman, far),
        moved=(int(far[0].sum()), int(far[1].sum())),
        r2=each(log_r2, None),
        r2_moved=each(log_r2, far),
        dollars=each(dollar_ratio, None),
    )


def by_month(hours: Int64Array) -> dict[str, NDArray[np.bool_]]:
    """Masks of the hours of each UTC month, in order."""
    names = to_dates(hours).strftime("%Y-%m").to_numpy()
    return {str(name): names == name for name in np.unique(names)}


def bootstrap(
    statistic: Callable[[Int64Array], Float64Array], hours: Int64Array, draws: int = 500, seed: int = 0
) -> Float64Array:
    """2.5 % and 97.5 % of a statistic over resamplings of whole UTC days: (2, k).

    `statistic` takes row numbers into `hours` and returns k values. Whole days are drawn with replacement, because the
    hours of a day are dependent. For a paired difference, `statistic` scores both models on the same rows. NaN draws
    are left out.
    """
    _, day = np.unique(hours // DAY, return_inverse=True)
    rows = [np.flatnonzero(day == d) for d in range(int(day.max(initial=-1)) + 1)]
    draw = np.random.default_rng(seed)
    values = [
        statistic(np.concatenate([rows[d] for d in draw.integers(0, len(rows), len(rows))])) for _ in range(draws)
    ]
    table = np.array(values, np.float64)
    out = np.full((2, table.shape[1]), np.nan)
    for k in range(table.shape[1]):
        known = table[np.isfinite(table[:, k]), k]
        if len(known) > draws // 2:
            out[:, k] = np.quantile(known, (0.025, 0.975))
    return out

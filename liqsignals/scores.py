"""How well a map's swept USD agrees with the liquidations that then happened: numbers of hours, not opinions.

Everywhere side 0 is longs, side 1 shorts; `hours` (n,) are the opens of the hours, int64 ns UTC; predictions (feed USD),
real liquidations (USD) and moves (ln, from the hour's open to its extreme on that side: down for longs, up for shorts) are
(2, n). A prediction of NaN counts as one of zero, for a map that says nothing has predicted nothing; `coverage` tells how
often it did. Real liquidations must be numbers. Depends on numpy alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liqsignals.clock import DAY, Int64Array, iso

Float64Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: An hour moved where its extreme lies further than this from its open, in log price: 0.5 %.
MOVED = 0.005
#: Added to both sides of log dollars. Less than 10,000 USD an hour is a few small accounts, feeds leave such orders out
#: (Binance and OKX push at most one a second), and without a floor the hours of 0 and of 50 USD decide R2.
FLOOR_USD = 10_000.0


def ranks(x: Float64Array) -> Float64Array:
    """Ranks from 1, ties at their mean.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, inverse, count = np.unique(x, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2.0)[inverse])


def spearman(x: Float64Array, y: Float64Array) -> float:
    """Rank correlation, ties at their mean rank; NaN where either does not vary or there are fewer than three pairs."""
    if len(x) < 3 or (x == x[0]).all() or (y == y[0]).all():
        return float("nan")
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def log_r2(predicted: Float64Array, real: Float64Array) -> float:
    """1 - squared error / variance of ln(USD + FLOOR_USD); below zero where the real mean would predict better."""
    if len(real) < 3:
        return float("nan")
    told = np.log(real + FLOOR_USD)
    spread = float(((told - told.mean()) ** 2).sum())
    return 1.0 - float(((told - np.log(predicted + FLOOR_USD)) ** 2).sum()) / spread if spread > 0.0 else float("nan")


def dollar_ratio(predicted: Float64Array, real: Float64Array) -> float:
    """Real over predicted dollars; NaN where nothing was predicted."""
    total = float(predicted.sum())
    return float(real.sum()) / total if total > 0.0 else float("nan")


Two = tuple[float, float]


@dataclass(frozen=True)
class HourScore:
    """Agreement over a set of hours; every pair is (longs, shorts)."""

    #: Rank correlation over all hours, and over those that moved more than MOVED that way.
    rank: Two
    rank_moved: Two
    #: R2 of log dollars (FLOOR_USD) over the same two sets.
    r2: Two
    r2_moved: Two
    #: Real dollars / predicted dollars.
    dollars: Two
    #: Hours; those that moved; the share of hours with a prediction.
    hours: int
    moved: tuple[int, int]
    coverage: float
    #: The same by calendar month (UTC), "2026-01": pooled scores hide months that differ.
    months: Mapping[str, "HourScore"] = field(default_factory=dict, hash=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: NaN becomes None."""

        def plain(value: Any) -> Any:
            if isinstance(value, tuple):
                return [plain(v) for v in value]
            return None if isinstance(value, float) and not np.isfinite(value) else value

        names = ("rank", "rank_moved", "r2", "r2_moved", "dollars", "hours", "moved", "coverage")
        out: dict[str, Any] = {name: plain(getattr(self, name)) for name in names}
        if self.months:
            out["months"] = {name: month.as_dict() for name, month in self.months.items()}
        return out


def hour_score(predicted: Float64Array, real: Float64Array, moved: Float64Array, hours: Int64Array) -> HourScore:
    """Score predictions (2, n) against real liquidations (2, n) of the hours (n,), pooled and by month."""
    covered = np.isfinite(predicted).all(axis=0)
    filled = np.nan_to_num(predicted, nan=0.0)
    far: Mask = np.asarray(moved > MOVED)
    names = np.array([iso(int(h))[:7] for h in hours])
    months = {
        str(name): _score(filled[:, at], real[:, at], far[:, at], covered[at])
        for name in np.unique(names)
        for at in [names == name]
    }
    return _score(filled, real, far, covered, months)


def _score(
    predicted: Float64Array, real: Float64Array, far: Mask, covered: Mask, months: Mapping[str, HourScore] | None = None
) -> HourScore:
    def both(score: Callable[[Float64Array, Float64Array], float], mask: Mask | None = None) -> Two:
        one = [
            score(*((predicted[s], real[s]) if mask is None else (predicted[s][mask[s]], real[s][mask[s]])))
            for s in (0, 1)
        ]
        return one[0], one[1]

    return HourScore(
        both(spearman), both(spearman, far), both(log_r2), both(log_r2, far), both(dollar_ratio),
        len(covered), (int(far[0].sum()), int(far[1].sum())), float(covered.mean()) if len(covered) else float("nan"),
        months or {},
    )  # fmt: skip


def day_blocks(hours: Int64Array) -> list[Int64Array]:
    """Rows of each UTC day that has any, in time order: hours of one day are not independent of each other."""
    _, first = np.unique(hours // DAY, return_index=True)
    if not (np.diff(hours) >= 0).all():
        return [np.flatnonzero(hours // DAY == day).astype(np.int64) for day in np.unique(hours // DAY)]
    return [np.asarray(rows, np.int64) for rows in np.split(np.arange(len(hours)), first[1:])] if len(hours) else []


def bootstrap(
    statistic: Callable[[Int64Array], Any], hours: Int64Array, n: int = 300, seed: int = 0
) -> tuple[Float64Array, Float64Array]:
    """Low and high end of the 95 % interval of `statistic(rows)`, from `n` draws of as many days as there are, with
    replacement.

    `statistic` takes row indices (repeated where a day is drawn twice) and returns a number or an array. For a paired
    difference return the difference: both sides then see the same days. Draws that are NaN (too few hours) are left out;
    NaN where none is left. Same seed, same interval.
    """
    days = day_blocks(hours)
    if not days:
        return np.full((), np.nan), np.full((), np.nan)
    draw = np.random.default_rng(seed)
    told = np.array(
        [statistic(np.concatenate([days[d] for d in draw.integers(0, len(days), len(days))])) for _ in range(n)],
        np.float64,
    )
    flat = told.reshape(n, -1)
    ends = np.full((2, flat.shape[1]), np.nan)
    for column in range(flat.shape[1]):
        kept = flat[np.isfinite(flat[:, column]), column]
        if len(kept):
            ends[:, column] = np.quantile(kept, (0.025, 0.975))
    return ends[0].reshape(told.shape[1:]), ends[1].reshape(told.shape[1:])

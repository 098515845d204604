"""Whether a strategy earned more than its placebo: a difference of means, with an interval from whole weeks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from liqsignals.clock import Int64Array
from liqsignals.records import Float64Array

DRAWS = 5000
#: Below these nothing is judged: trades, and days with entries.
LEAST_TRADES, LEAST_DAYS = 60, 30
ADDS, HARMS, NOT_SHOWN, TOO_FEW = "adds", "harms", "not shown", "too few to judge"


@dataclass(frozen=True)
class Sample:
    """Net results of trades (n,), fractions, with the week and the day of each entry (n,)."""

    net: Float64Array
    week: Int64Array
    day: Int64Array


@dataclass(frozen=True)
class Verdict:
    """The strategy's mean less the placebo's, and what that says."""

    word: str
    trades: int
    days: int
    placebo_trades: int
    mean: float | None
    placebo_mean: float | None
    difference: float | None
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(real: Sample, placebo: Sample, seed: int) -> Verdict:
    """The verdict of one comparison.

    The interval is the 2.5 % and 97.5 % quantile of the difference over DRAWS resamplings of whole weeks, in which the
    strategy's and the placebo's trades of a week, of all pairs, come together. It is *adds* where the interval is above
    0, *harms* where it is below, *not shown* where it holds 0, and *too few to judge* below LEAST_TRADES or LEAST_DAYS.
    """
    trades, days = len(real.net), len(np.unique(real.day))
    if trades == 0 or len(placebo.net) == 0:
        return Verdict(TOO_FEW, trades, days, len(placebo.net), *[None] * 5)
    weeks = np.unique(np.concatenate([real.week, placebo.week]))
    sums = [_by_week(sample, weeks) for sample in (real, placebo)]
    draw = np.random.default_rng(seed)
    times = draw.multinomial(len(weeks), np.full(len(weeks), 1 / len(weeks)), size=DRAWS)
    with np.errstate(invalid="ignore"):
        means = [(times @ total) / (times @ count) for total, count in sums]
    spread = means[0] - means[1]
    spread = spread[np.isfinite(spread)]
    low, high = (float(v) for v in np.quantile(spread, (0.025, 0.975)))
    mean, other = float(real.net.mean()), float(placebo.net.mean())
    word = ADDS if low > 0 else HARMS if high < 0 else NOT_SHOWN
    if trades < LEAST_TRADES or days < LEAST_DAYS:
        word = TOO_FEW
    return Verdict(word, trades, days, len(placebo.net), mean, other, mean - other, low, high)


def _by_week(sample: Sample, weeks: Int64Array) -> tuple[Float64Array, Float64Array]:
    at = np.searchsorted(weeks, sample.week)
    n = len(weeks)
    return np.bincount(at, sample.net, n).astype(np.float64), np.bincount(at, minlength=n).astype(np.float64)


def pooled(samples: Sequence[Sample]) -> Sample:
    """Several samples as one."""
    if not samples:
        return Sample(np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))
    return Sample(*(np.concatenate([getattr(s, name) for s in samples]) for name in ("net", "week", "day")))

"""Rules of other open-source maps, reimplemented on liqsignals' 5-bp log grid, one compiled pass each
(docs/evidence.md).

A rule defines the USD that each candle adds per leverage and their decay; a level is removed when a candle's range
contains it. Compiled with fastmath, which the rest of the library does not use. Parameters are not tuned, and the rules
use open interest at once, while liqsignals waits two periods.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from liqsignals.compiled import cached
from liqsignals.data.tape import MapTape
from liqsignals.liqmap.book import STEP

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


class Seeds(NamedTuple):
    """`usd` (side, n) that each candle adds at `entries` (n, anchors), weighted by `anchors`.

    Per tier: share, half-life in hours, and ln(liquidation price / entry) of (side, tier). `spread` is the kernel over
    neighbouring buckets when a level is entered, `smooth` when the map is read.
    """

    usd: F8
    entries: F8
    anchors: F8
    tiers: F8
    half_life: F8
    distance: F8
    spread: F8
    smooth: F8


def interest_at(tape: MapTape, at: I8) -> F8:
    """Open interest (base) at instants by event time, regardless of when it became known; NaN before the first."""
    row = np.searchsorted(tape.open_interest["event_time"], at, side="right") - 1
    return np.where(row >= 0, tape.open_interest["base"][np.maximum(row, 0)], np.nan)


def pcdogyu(tape: MapTape, buy_share: F8 | float = 0.5, funding: F8 | float = 0.0) -> Seeds:
    """pcdogyu/Price-Prediction-Using-Liquidation-Levels, v2: increases of open interest in USD become positions.

    Long share = `buy_share` +- .05 by the close's change - 20 x funding, within .1 .. .9; `buy_share` is
    .65 (.25 + .5 taker buy / volume) + .35 LSR / (1 + LSR), .5 without such data. Entry (high + low + close) / 3,
    liquidation at 1 -+ (1/L - .5 %), the map smoothed by .274/.452/.274.
    """
    b = tape.bars
    opened = np.nan_to_num(np.maximum(np.diff(interest_at(tape, b["event_time"]) * b["close"], prepend=np.nan), 0.0))
    sign = np.sign(np.diff(b["close"], prepend=b["close"][:1]))
    share = np.clip(buy_share + 0.05 * sign - 20.0 * funding, 0.1, 0.9)
    entry, leverage = (b["high"] + b["low"] + b["close"]) / 3.0, np.array([5.0, 10.0, 20.0, 50.0, 100.0])
    return Seeds(
        usd=np.stack([opened * share, opened * (1.0 - share)]),
        entries=entry[:, None],
        anchors=np.ones(1),
        tiers=np.array([0.08, 0.22, 0.32, 0.25, 0.13]),
        half_life=np.array([168.0, 120.0, 72.0, 36.0, 18.0]),
        distance=np.log([1.0 - 1.0 / leverage + 0.005, 1.0 + 1.0 / leverage - 0.005]),
        spread=np.ones(1),
        smooth=np.array([0.274, 0.452, 0.274]),
    )


def liqmap_ts(tape: MapTape) -> Seeds:
    """bendizziesmith/liqmap: turnover x clamp(1 + 8 max(dOI / OI, 0), 1, 3) becomes positions, half on each side.

    Anchors close .45, high .275, low .275; liquidation at 1 -+ 1/L; its tiers for candles up to 1 h. Shares are its
    standing split 'current' divided by the half-lives (its 'highLeverage' scores lower in the study of peers).
    """
    b = tape.bars
    base = interest_at(tape, b["event_time"])
    growth = np.maximum(np.nan_to_num(np.diff(base, prepend=np.nan) / base), 0.0)
    usd = 0.5 * b["volume"] * b["close"] * np.clip(1.0 + 8.0 * growth, 1.0, 3.0)
    leverage, half_life = np.array([10.0, 25.0, 50.0, 100.0]), np.array([120.0, 48.0, 24.0, 12.0])
    tiers = np.array([0.625, 0.268, 0.084, 0.023]) / half_life
    return Seeds(
        usd=np.stack([usd, usd]),
        entries=np.stack([b["close"], b["high"], b["low"]], axis=1),
        anchors=np.array([0.45, 0.275, 0.275]),
        tiers=tiers / tiers.sum(),
        half_life=half_life,
        distance=np.log([1.0 - 1.0 / leverage, 1.0 + 1.0 / leverage]),
        spread=np.array([0.25, 0.5, 0.25]),
        smooth=np.ones(1),
    )


def fold(tape: MapTape, seeds: Seeds, at: I8) -> tuple[F8, F8, int, F8]:
    """Run a rule over a tape.

    Returns USD swept by (bar, side); USD by (snapshot, side, bucket) after the bars of `at` (ascending), and the first
    bucket; and the USD within 5 % of the close at every bar, (bar, side).
    """
    b = tape.bars
    low, high, close = (np.ascontiguousarray(b[n]) for n in ("low", "high", "close"))
    first = int((np.log(low.min()) + seeds.distance.min()) / STEP) - 4
    size = int((np.log(high.max()) + seeds.distance.max()) / STEP) + 4 - first
    fade = 0.5 ** (tape.bar_ns / 3.6e12 / seeds.half_life)
    swept, near, levels = np.zeros((len(low), 2)), np.zeros((len(low), 2)), np.zeros((len(at), 2, size))
    entries, distance = np.log(seeds.entries) / STEP - first, seeds.distance / STEP
    at_entry = seeds._replace(entries=entries, distance=distance, half_life=fade)
    _fold(low, high, close, at_entry, first, STEP, at, swept, near, levels)
    half = len(seeds.smooth) // 2
    return swept, sum(w * np.roll(levels, i - half, 2) for i, w in enumerate(seeds.smooth)), first, near


@cached([Path(__file__)], fastmath=True)
def _fold(low, high, close, seeds, origin, step, at, swept, near, levels):
    """`seeds`: `entries` and `distance` in buckets from `origin`, `half_life` the share of a tier left after a bar."""
    usd, entries, anchors, tiers, fade, distance, spread, _ = seeds
    mass = np.zeros((2, len(tiers), levels.shape[2]))
    scale = np.ones(len(tiers))
    below, above = np.log(0.95) / step, np.log(1.05) / step
    half = len(spread) // 2
    r = 0
    for i in range(len(low)):
        first = int(np.ceil(np.log(low[i]) / step - 0.5)) - origin
        last = int(np.floor(np.log(high[i]) / step - 0.5)) - origin
        here = np.log(close[i]) / step - 0.5 - origin
        lo, middle, hi = int(np.ceil(here + below)), int(np.ceil(here)), int(np.floor(here + above)) + 1
        for k in range(len(tiers)):
            scale[k] *= fade[k]
            if scale[k] < 1e-100:
                mass[:, k] *= scale[k]
                scale[k] = 1.0
            for side in range(2):
                gone = 0.0
                for b in range(first, last + 1):
                    gone += mass[side, k, b]
                    mass[side, k, b] = 0.0
                swept[i, side] += gone * scale[k]
                unit = usd[side, i] * tiers[k] / scale[k]
                for a in range(len(anchors) if unit > 0.0 else 0):
                    b = int(entries[i, a] + distance[side, k]) - half
                    for j in range(len(spread)):
                        mass[side, k, b + j] += unit * anchors[a] * spread[j]
            near[i, 0] += np.sum(mass[0, k, lo:middle]) * scale[k]
            near[i, 1] += np.sum(mass[1, k, middle:hi]) * scale[k]
        while r < len(at) and at[r] == i:
            for k in range(len(tiers)):
                levels[r] += mass[:, k] * scale[k]
            r += 1

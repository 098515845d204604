"""Accuracy of maps against the true levels of SIMULATED markets.

No parameter of the library is fitted to them.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report import Table, progress, show
from liqsignals import liqmap
from liqsignals.clock import DAY
from liqsignals.data.tape import Tape, read_tape
from liqsignals.evaluation import peers
from liqsignals.evaluation.peers import F8
from liqsignals.evaluation.scores import spearman
from liqsignals.liqmap.book import STEP
from liqsignals.liqmap.clusters import SPAN
from liqsignals.simulation.market import write_market

PAIR = "BTC/USDT:USDT"
SEEDS, DAYS, WARM = (1, 2, 3, 4, 5), 60, 14
BANDS = ((0.0, 0.02), (0.02, 0.05), (0.05, 0.15))
RANKS = ("5 bp", "25 bp", "5 bp, 0-2 %", "5 bp, 2-5 %", "5 bp, 5-15 %")
MASSES = ("decile lift", "est/true", "est/true, 0-2 %", "est/true, 2-5 %", "est/true, 5-15 %")
UNIFORM, NEAR = "uniform", "1/distance, last 2 days' range empty"
PEER_A, PEER_B = "peer rule (a), pcdogyu v2", "peer rule (b), liqmap.ts"

Map = tuple[F8, int]  # USD of (side, bucket), and the first bucket


@dataclass(frozen=True)
class Truth:
    """One snapshot of the true levels: time, number of the last closed bar, and that bar's close."""

    at: int
    bar: int
    close: float
    usd: Map

    def cells(self, usd: Map, side: int) -> F8:
        """A map's cells of one side within SPAN of the close, nearest first; 0 where the map ends."""
        bucket = self.buckets(side) - usd[1]
        inside = (bucket >= 0) & (bucket < usd[0].shape[1])
        return np.where(inside, usd[0][side, np.where(inside, bucket, 0)], 0.0)

    def buckets(self, side: int) -> peers.I8:
        """Buckets whose centres lie below (longs) or above the close and within SPAN of it, nearest first."""
        here = np.log(self.close) / STEP - 0.5
        end = here + np.log(1 + (SPAN if side else -SPAN)) / STEP
        if side:
            return np.arange(int(np.ceil(here)), int(np.floor(end)) + 1)
        return np.arange(int(np.ceil(here)) - 1, int(np.ceil(end)) - 1, -1)


def _rank(x: F8, y: F8) -> float:
    """Rank correlation; 0 where either does not vary."""
    return float(np.nan_to_num(spearman(x, y)))


def decile_lift(guess: F8, true: F8) -> float:
    """Share of true mass in the tenth of buckets with most estimated mass, over .1; ties count fractionally."""
    k = round(len(guess) / 10)
    least = np.sort(guess)[-k]
    above, level = guess > least, guess == least
    held = true[above].sum() + true[level].sum() * (k - above.sum()) / level.sum()
    return float(held / true.sum() * len(true) / k)


def scores(truth: Truth, estimate: Map) -> F8:
    """RANKS and MASSES of one map at one snapshot: mean over sides; est/true of both sides together."""
    rows, masses = [], []
    for side in range(2):
        guess, true = truth.cells(estimate, side), truth.cells(truth.usd, side)
        distance = np.abs(np.exp((truth.buckets(side) + 0.5) * STEP) / truth.close - 1.0)
        bands = [(distance >= a) & (distance < z) for a, z in BANDS]
        wide = [a[: len(a) // 5 * 5].reshape(-1, 5).sum(axis=1) for a in (guess, true)]
        ranks = [_rank(guess, true), _rank(*wide), *(_rank(guess[m], true[m]) for m in bands)]
        rows.append([*ranks, decile_lift(guess, true)])
        masses.append([[a.sum(), *(a[m].sum() for m in bands)] for a in (guess, true)])
    held = np.sum(masses, axis=0)
    return np.array([*np.mean(rows, axis=0), *(held[0] / held[1])])


def _truths(path: Path, tape: Tape) -> list[Truth]:
    """True levels after WARM days, USD = base x level price."""
    ends, found = tape.bars["event_time"], []
    for date, rows in pd.read_parquet(path).groupby("date"):
        at, price = int(pd.Timestamp(date).as_unit("ns").value), rows["price"].to_numpy()  # type: ignore[arg-type]
        bucket = np.floor(np.log(price) / STEP).astype(np.int64)
        usd = np.zeros((2, bucket[-1] - bucket[0] + 1))
        usd[:, bucket - bucket[0]] = rows[["long_base", "short_base"]].to_numpy().T * price
        bar = int(np.searchsorted(ends, at, side="right")) - 1
        if at >= ends[0] + WARM * DAY:
            found.append(Truth(at, bar, float(tape.bars["close"][bar]), (usd, int(bucket[0]))))
    return found


def _folded(tape: Tape) -> Callable[[Truth], Map]:
    """liqsignals' levels, as `map --out` writes them; call in ascending order of time."""
    fold = liqmap.Fold.of(tape, liqmap.Parameters())
    ends = tape.bars["event_time"]

    def levels(truth: Truth) -> Map:
        fold.to(int(np.searchsorted(ends, truth.at, side="right")))
        return fold.book.levels() * fold.book.price, fold.book.origin

    return levels


def _flat(truth: Truth) -> Map:
    """The same everywhere."""
    size = int(1.2 * SPAN / STEP)
    return np.ones((2, 2 * size)), int(np.log(truth.close) / STEP) - size


def _near(truth: Truth, tape: Tape) -> Map:
    """1 / distance; 0 within the price range of the last two days."""
    ones, origin = _flat(truth)
    price = np.exp((np.arange(ones.shape[1]) + origin + 0.5) * STEP)
    days = tape.bars[truth.bar + 1 - 2 * DAY // tape.bar_ns : truth.bar + 1]
    untouched = (price < days["low"].min()) | (price > days["high"].max())
    return ones * untouched / np.maximum(np.abs(price / truth.close - 1.0), STEP), origin


def simulated() -> tuple[Table, Table]:
    """All maps on all seeds: mean, lowest and highest over seeds."""
    by_seed: dict[str, list[F8]] = {}
    count = 0
    for seed in SEEDS:
        progress(f"accuracy: SIMULATED market, seed {seed} of {len(SEEDS)}, {DAYS} days")
        with tempfile.TemporaryDirectory() as folder:
            out = write_market(Path(folder) / "market", seed=seed, days=DAYS, pairs=(PAIR,))
            tape = read_tape(out / "binance", PAIR)
            truths = _truths(out / "truth" / "BTC_USDT_USDT-levels.parquet", tape)
            (out / "binance" / "futures" / "BTC_USDT_USDT-5m-futures.feather").unlink()
            hourly = read_tape(out / "binance", PAIR)
        count += len(truths)
        bars = np.array([t.bar for t in truths])
        a, b = (peers.fold(tape, rule(tape), bars) for rule in (peers.pcdogyu, peers.liqmap_ts))
        maps: dict[str, list[Map]] = {
            "liqsignals": [*map(_folded(tape), truths)],
            "liqsignals, 1h candles": [*map(_folded(hourly), truths)],
            UNIFORM: [*map(_flat, truths)],
            NEAR: [_near(t, tape) for t in truths],
            PEER_A: [(usd, a[2]) for usd in a[1]],
            PEER_B: [(usd, b[2]) for usd in b[1]],
        }
        for name, estimates in maps.items():
            kept = [scores(t, e) for t, e in zip(truths, estimates, strict=True)]
            by_seed.setdefault(name, []).append(np.mean(kept, axis=0))
    rows: list[tuple[Any, ...]] = []
    for name, means in by_seed.items():
        cells = zip(*(f(means, axis=0).tolist() for f in (np.mean, np.min, np.max)), strict=True)
        rows.append((name, *cells))
    n = len(RANKS) + 1
    masses = [(r[0], *r[n : n + 1], *([None] * 4 if r[0] in (UNIFORM, NEAR) else r[n + 1 :])) for r in rows]
    sample = f"{len(SEEDS)} seeds, {count} snapshots, mean (lowest..highest seed)"
    title = f"SIMULATED market, within 15 % of the price, {sample}"
    note = "over all buckets, empty ones included; mean over sides, then over a seed's snapshots after 14 days"
    return (
        Table(
            f"{title}: Spearman rank of estimated and true USD per bucket", ("", *RANKS), [r[:n] for r in rows], note
        ),
        Table(f"{title}: true mass in the top tenth of buckets over random; mass", ("", *MASSES), masses),
    )


def run() -> list[Table]:
    """All accuracy tables. Real liquidations: `liqsignals validate`."""
    return [show(table) for table in simulated()]

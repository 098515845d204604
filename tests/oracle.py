"""Slow, independent oracle of the position book: the rules of liqmap.py on a dictionary {(side, class, bucket): base}.

Plain Python floats and math.fsum, no arrays, no lazy scaling, no grid. Shares with the library only the parameters
and the table of distances (`Reach`).
"""

import math
from collections import defaultdict
from typing import Any

from liqsignals.liqmap import Parameters, Reach
from liqsignals.tape import Tape

STEP = 5e-4
HOUR = 3_600_000_000_000
LONG, SHORT = 0, 1


def centre(bucket: int) -> float:
    return math.exp((bucket + 0.5) * STEP)


def spread(low: float, high: float) -> dict[int, float]:
    """Entries of a bar: share of its log range in each bucket."""
    x0, x1 = math.log(low) / STEP, math.log(high) / STEP
    first, last = math.floor(x0), math.floor(x1)
    if first == last or x1 - x0 < 1e-9:
        return {first: 1.0}
    return {b: (min(x1, b + 1) - max(x0, b)) / (x1 - x0) for b in range(first, last + 1)}


def middle(low: float, high: float) -> dict[int, float]:
    """The same bar as one entry: the bucket of its middle, or of its low where it has no range."""
    buckets = spread(low, high)
    at = math.floor((math.log(low) + math.log(high)) / 2 / STEP)
    return {at if len(buckets) > 1 else next(iter(buckets)): 1.0}


def shares_closed(stands: list[float], rates: list[float], amount: float) -> list[float]:
    """Share of each class that closes: min(1, f x rate), f such that `amount` closes in all."""
    if amount >= math.fsum(stands):
        return [1.0] * len(stands)
    order = sorted(range(len(stands)), key=lambda k: -rates[k])
    for whole in range(len(order)):
        left = amount - math.fsum(stands[k] for k in order[:whole])
        weight = math.fsum(rates[k] * stands[k] for k in order[whole:])
        f = left / weight if weight > 0 else 0.0
        if f * rates[order[whole]] <= 1.0:
            return [1.0 if k in order[:whole] else f * rates[k] for k in range(len(stands))]
    return [1.0] * len(stands)


class Oracle:
    """The book of one tape, bar after bar."""

    def __init__(self, tape: Tape, parameters: Parameters, reach: Reach) -> None:
        assert tape.bars is not None
        assert tape.open_interest is not None
        self.bar_ns = tape.bar_ns
        self.bars = [{n: r[n].item() for n in r.dtype.names} for r in tape.bars]
        self.interest = [(int(r["event_time"]), int(r["known_at"]), float(r["base"])) for r in tape.open_interest]
        self.theta = parameters.theta
        *self.mix, self.remainder_mix = [float(m) for m in parameters.mix]
        self.hazards = [float(c.hazard) for c in parameters.classes]
        self.remainder_hazard = parameters.remainder_hazard
        #: (side, class) -> {distance in buckets: share}
        self.distances: dict[tuple[int, int], dict[int, float]] = {}
        for side in (LONG, SHORT):
            for k in range(len(self.mix)):
                cells, near = int(reach.count[side, k]), int(reach.near[side, k])
                held = [float(s) for s in reach.share[side, k, :cells]]
                if side == LONG:
                    held.reverse()
                self.distances[side, k] = {near + j: s for j, s in enumerate(held)}
        self.farthest = max(d for ds in self.distances.values() for d in ds)
        self.running = False
        self.next = 0
        self.known = -1  # row of the newest open interest known

    def start(self, interest: float) -> None:
        self.running = True
        self.started = self.next
        self.book: dict[tuple[int, int, int], float] = {}
        self.remainder = [0.0, 0.0]
        self.unknown = [interest, interest]
        self.pending = [0.0, 0.0]
        self.typical = [0.0, 0.0]
        self.flows: list[dict[str, float]] = [defaultdict(float), defaultdict(float)]

    def step(self) -> None:
        """One bar: start where there is no book or a hole in the bars, else sweep, open and close, insert."""
        i = self.next
        bar = self.bars[i]
        previous = self.known
        for row, (_, known_at, _) in enumerate(self.interest):
            if known_at <= bar["known_at"]:
                self.known = max(self.known, row)
        hole = i > 0 and bar["known_at"] - self.bars[i - 1]["known_at"] > self.bar_ns
        if self.known >= 0 and (hole or not self.running):
            self.start(self.interest[self.known][2])
        elif self.running:
            self.flows = [self.side(side, i, previous) for side in (LONG, SHORT)]
            if bar["known_at"] % HOUR == 0:
                self.typical = [self.median_mass(side, bar["close"]) for side in (LONG, SHORT)]
        self.next += 1

    def side(self, side: int, i: int, previous: int) -> dict[str, float]:
        bar = self.bars[i]
        flow: dict[str, float] = {}
        hit = [
            key
            for key in self.book
            if key[0] == side and (centre(key[2]) >= bar["low"] if side == LONG else centre(key[2]) <= bar["high"])
        ]
        flow["swept_usd"] = math.fsum(self.book[key] * centre(key[2]) for key in hit)
        flow["swept"] = math.fsum(self.book.pop(key) for key in hit)
        self.pending[side] += flow["swept"]

        turnover, net = self.theta * bar["volume"], 0.0
        if self.known > previous:
            net = self.interest[self.known][2] - self.interest[previous][2] + self.pending[side]
            self.pending[side] = 0.0
        stands = [
            math.fsum(m for (s, k, _), m in self.book.items() if (s, k) == (side, c)) for c in range(len(self.mix))
        ]
        stands += [self.remainder[side], self.unknown[side]]
        wanted = turnover + max(-net, 0.0)
        flow["closed"] = min(wanted, math.fsum(stands))
        flow["capped"] = wanted - flow["closed"]
        turnover = max(turnover - flow["capped"], 0.0)
        share = shares_closed(stands, [*self.hazards, self.remainder_hazard, 1.0], flow["closed"])
        for key in self.book:
            if key[0] == side:
                self.book[key] *= 1.0 - share[key[1]]
        self.remainder[side] *= 1.0 - share[-2]
        self.unknown[side] *= 1.0 - share[-1]

        flow["born"] = 0.0
        if net > 0.0:
            begin, end = self.interest[previous][0], self.interest[self.known][0]
            entered = [j for j in range(self.started, i + 1) if begin < self.bars[j]["known_at"] <= end] or [i]
            flow["born"] += self.open(side, i, entered, net)
        if turnover > 0.0:
            flow["born"] += self.open(side, i, [i], turnover)
        flow["opened"] = max(net, 0.0) + turnover
        return flow

    def open(self, side: int, now: int, entered: list[int], net: float) -> float:
        """Stand `net` at the levels that the price has not reached since the entries; returns what was born dead."""
        traded = math.fsum(self.bars[j]["volume"] for j in entered)
        alive: dict[tuple[int, int, int], float] = defaultdict(float)
        for j in entered:
            part = self.bars[j]["volume"] / traded if traded > 0 else 1.0 / len(entered)
            since = self.bars[j + 1 : now + 1]
            if side == LONG:
                reached = min([self.bars[j]["close"], *(b["low"] for b in since)])
            else:
                reached = max([self.bars[j]["close"], *(b["high"] for b in since)])
            low, high = self.bars[j]["low"], self.bars[j]["high"]
            for k, mix in enumerate(self.mix):
                # A class 8 times as wide as the bar's range is entered at the range's middle.
                wide = len(self.distances[side, k]) >= 8 * len(spread(low, high))
                for entry, weight in (middle if wide else spread)(low, high).items():
                    for distance, share in self.distances[side, k].items():
                        at = entry - distance if side == LONG else entry + distance
                        if centre(at) < reached if side == LONG else centre(at) > reached:
                            alive[side, k, at] += part * weight * mix * share
        gross = net / (self.remainder_mix + math.fsum(alive.values()))
        for key, share in alive.items():
            self.book[key] = self.book.get(key, 0.0) + gross * share
        self.remainder[side] += gross * self.remainder_mix
        return gross - net

    def usd(self, side: int) -> dict[int, float]:
        out: dict[int, list[float]] = defaultdict(list)
        for (s, _, b), m in self.book.items():
            if s == side:
                out[b].append(m * centre(b))
        return {b: math.fsum(parts) for b, parts in out.items()}

    def base(self, side: int) -> dict[int, float]:
        return {b: u / centre(b) for b, u in self.usd(side).items()}

    def median_mass(self, side: int, close: float) -> float:
        """Lower median of USD in runs of 11 buckets, from the close to the farthest level that an entry of
        either side can have."""
        usd = self.usd(side)
        first = math.floor(math.log(close) / STEP) - 2
        while centre(first) < close:
            first += 1
        runs = max((self.farthest + 1) // 11, 1)
        mass = []
        for run in range(runs):
            cells = (
                range(first - 11 * (run + 1), first - 11 * run)
                if side == LONG
                else range(first + 11 * run, first + 11 * (run + 1))
            )
            mass.append(math.fsum(usd.get(b, 0.0) for b in cells))
        return sorted(mass)[(runs - 1) // 2]

    def read(self, close: float, interest: float) -> dict[str, Any]:
        """The map's columns at a close, by the names of features.COLUMNS."""
        out: dict[str, Any] = {}
        for side, name, where in ((LONG, "long", "below"), (SHORT, "short", "above")):
            usd = self.usd(side)
            sign = 1 if side == SHORT else -1
            for band in (1, 2, 5, 10):
                far = close * (1 + sign * band / 100)
                out[f"liq_{name}_usd_{band}pct"] = math.fsum(
                    u
                    for b, u in usd.items()
                    if (close < centre(b) <= far if side == SHORT else far <= centre(b) < close)
                )
            found = self.nearest_cluster(side, usd, close, max(0.005 * interest * close, 3 * self.typical[side]))
            out[f"liq_{where}_price"], out[f"liq_{where}_usd"] = found
            out[f"liq_{where}_distance"] = abs(found[0] / close - 1)
            out[f"liq_remainder_{name}"] = (self.remainder[side] + self.unknown[side]) / interest
        e = 0.001 * interest * close
        out["liq_imbalance"] = math.log((out["liq_short_usd_5pct"] + e) / (out["liq_long_usd_5pct"] + e))
        return out

    def nearest_cluster(self, side: int, usd: dict[int, float], close: float, least: float) -> tuple[float, float]:
        """First local maximum of the smoothed map within 15 % whose mass within +- 5 cells is at least `least`."""
        far = close * (1.15 if side == SHORT else 0.85)
        inside = {
            b: u for b, u in usd.items() if (close < centre(b) <= far if side == SHORT else far <= centre(b) < close)
        }
        if not inside:
            return math.nan, math.nan
        span = range(min(inside) - 6, max(inside) + 7)
        # Only cells between the close and the far end can hold a maximum.
        valid = [b for b in span if (close < centre(b) <= far if side == SHORT else far <= centre(b) < close)]
        shape = {b: math.fsum((1 - abs(d) / 5) * inside.get(b + d, 0.0) for d in range(-4, 5)) for b in valid}
        for b in valid if side == SHORT else reversed(valid):
            nearer, farther = (b - 1, b + 1) if side == SHORT else (b + 1, b - 1)
            if shape[b] <= 0 or shape.get(nearer, -1.0) >= shape[b] or shape.get(farther, -1.0) > shape[b]:
                continue
            window = [c for c in range(b - 5, b + 6) if c in inside]
            mass = math.fsum(inside[c] for c in window)
            if mass >= least:
                return math.fsum(inside[c] * centre(c) for c in window) / mass, mass
        return math.nan, math.nan

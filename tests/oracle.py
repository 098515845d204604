"""Slow, independent oracle of the position book: the rules of liqmap/fold.py on {(side, class, bucket): base}.

Plain Python floats and math.fsum, no arrays, no lazy scaling, no grid. Shares with the library only the parameters
and the table of distances (`Distances`).
"""

import math
from collections import defaultdict
from itertools import pairwise
from typing import Any

from liqsignals.data.tape import Tape
from liqsignals.liqmap.kernels import Distances
from liqsignals.liqmap.parameters import Parameters

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


def walk(bar: dict[str, float], longest: int) -> list[tuple[float, float, float]]:
    """Steps of a bar's path of at most `longest` buckets: from, to, share of the path's length."""
    turns = ["open", "low", "high", "close"] if bar["close"] >= bar["open"] else ["open", "high", "low", "close"]
    corners = [bar[turns[0]]]
    for a, z in pairwise(turns):
        # Each leg: three quarters of its way, half of it back, and on to its end.
        corners += [bar[a] ** (1 - f) * bar[z] ** f for f in (0.75, 0.25)] + [bar[z]]
    lengths = [abs(math.log(z) - math.log(a)) for a, z in pairwise(corners)]
    out = []
    for (a, z), length in zip(pairwise(corners), lengths, strict=True):
        n = math.floor(length / STEP / max(longest, 1)) + 1
        stops = [a, *(math.exp(math.log(a) + j / n * (math.log(z) - math.log(a))) for j in range(1, n)), z]
        out += [(x, y, length / n / math.fsum(lengths)) for x, y in pairwise(stops)]
    return out


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

    def __init__(self, tape: Tape, parameters: Parameters, distances: Distances) -> None:
        assert tape.bars is not None
        assert tape.open_interest is not None
        self.bar_ns = tape.bar_ns
        self.bars = [{n: r[n].item() for n in r.dtype.names} for r in tape.bars]
        self.interest = [(int(r["event_time"]), int(r["known_at"]), float(r["base"])) for r in tape.open_interest]
        self.turnover = parameters.turnover
        *self.mix, self.remainder_mix = [float(m) for m in parameters.mix]
        self.hazards = [float(c.hazard) for c in parameters.classes]
        self.remainder_hazard = parameters.remainder_hazard
        #: (side, class) -> {distance in buckets: share}
        self.distances: dict[tuple[int, int], dict[int, float]] = {}
        for side in (LONG, SHORT):
            for k in range(len(self.mix)):
                nearest = int(distances.nearest[side, k])
                held = [float(s) for s in distances.shares(side, k)]
                self.distances[side, k] = {nearest + j: s for j, s in enumerate(held)}
        self.farthest = max(d for ds in self.distances.values() for d in ds)
        self.doubt = [c.doubt for c in parameters.classes]
        self.by_class: list[list[float]] = [[], []]
        self.steps: list[list[tuple[float, float, dict[int, float], float]]] = [[], []]
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
        """One bar: start where there is no book or a hole in the bars, else walk, close, insert."""
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
        """Walk the bar's path, then close, then insert the growth of open interest."""
        bar = self.bars[i]
        turned_over = self.turnover * bar["volume"]
        flow: dict[str, float] = {"unseen": 0.0, "swept": 0.0, "swept_usd": 0.0}
        self.by_class[side] = [0.0] * len(self.mix)
        #: Per step: where it ran, the levels as they stood before it, and the USD that it swept.
        self.steps[side] = []
        wide, nearest = (
            len(spread(bar["low"], bar["high"])),
            min(d for (s, _), ds in self.distances.items() if s == side for d in ds),
        )
        near = [k for k in range(len(self.mix)) if min(self.distances[side, k]) < wide]
        far = [k for k in range(len(self.mix)) if k not in near]
        gross = 0.0
        pieces = walk(bar, nearest - 1) if wide > nearest else [(bar["low"], bar["high"], 0.0)]
        for a, z, part in pieces:
            before = self.usd(side)
            swept, usd = self.sweep(side, min(a, z) if side == LONG else max(a, z))
            self.steps[side].append((a, z, before, usd))
            flow["swept"] += swept
            flow["swept_usd"] += usd
            if part > 0.0 and turned_over > 0.0:
                # What all classes enter in this step; only the near ones stand before the next step.
                alive = self.levels_of(side, near, min(a, z), max(a, z), z)
                entered = (
                    part
                    * turned_over
                    / (self.remainder_mix + math.fsum(self.mix[k] for k in far) + math.fsum(alive.values()))
                )
                self.stand(alive, entered)
                gross += entered
        if wide <= nearest:
            gross = turned_over
        self.stand(self.levels_of(side, far, bar["low"], bar["high"], bar["close"]), gross)
        self.remainder[side] += gross * self.remainder_mix
        flow["unseen"] += max(gross - turned_over, 0.0)
        self.pending[side] += flow["swept"]

        net = 0.0
        if self.known > previous:
            net = self.interest[self.known][2] - self.interest[previous][2] + self.pending[side]
            self.pending[side] = 0.0
        stands = [
            math.fsum(m for (s, k, _), m in self.book.items() if (s, k) == (side, c)) for c in range(len(self.mix))
        ]
        stands += [self.remainder[side], self.unknown[side]]
        wanted = turned_over + max(-net, 0.0)
        flow["closed"] = min(wanted, math.fsum(stands))
        flow["capped"] = wanted - flow["closed"]
        # More was swept than had stood before the bar: what its own turned_over opened. That is not opened again.
        opened = 0.0
        if self.known > previous:
            opened = max(net - flow["capped"], 0.0)
        else:
            self.pending[side] -= flow["capped"]
        share = shares_closed(stands, [*self.hazards, self.remainder_hazard, 1.0], flow["closed"])
        for key in self.book:
            if key[0] == side:
                self.book[key] *= 1.0 - share[key[1]]
        self.remainder[side] *= 1.0 - share[-2]
        self.unknown[side] *= 1.0 - share[-1]

        if opened > 0.0:
            begin, end = self.interest[previous][0], self.interest[self.known][0]
            entered_in = [j for j in range(self.started, i + 1) if begin < self.bars[j]["known_at"] <= end] or [i]
            flow["unseen"] += self.open(side, i, entered_in, opened)
        flow["opened"] = opened + turned_over
        return flow

    def sweep(self, side: int, price: float) -> tuple[float, float]:
        """Liquidate every level that `price` reaches: base units and USD."""
        hit = [
            key
            for key in self.book
            if key[0] == side and (centre(key[2]) >= price if side == LONG else centre(key[2]) <= price)
        ]
        for key in hit:
            self.by_class[side][key[1]] += self.book[key] * centre(key[2])
        usd = math.fsum(self.book[key] * centre(key[2]) for key in hit)
        return math.fsum(self.book.pop(key) for key in hit), usd

    def levels_of(
        self, side: int, classes: list[int], low: float, high: float, reached: float
    ) -> dict[tuple[int, int, int], float]:
        """Levels of one unit of entries over low .. high that a price of `reached` has not reached."""
        alive: dict[tuple[int, int, int], float] = defaultdict(float)
        for k in classes:
            # A class 8 times as wide as the range is entered at the range's middle.
            wide = len(self.distances[side, k]) >= 8 * len(spread(low, high))
            for entry, weight in (middle if wide else spread)(low, high).items():
                for distance, share in self.distances[side, k].items():
                    at = entry - distance if side == LONG else entry + distance
                    if centre(at) < reached if side == LONG else centre(at) > reached:
                        alive[side, k, at] += weight * self.mix[k] * share
        return alive

    def stand(self, levels: dict[tuple[int, int, int], float], amount: float) -> None:
        for key, share in levels.items():
            self.book[key] = self.book.get(key, 0.0) + amount * share

    def open(self, side: int, now: int, entered: list[int], net: float) -> float:
        """Add `net` at the levels that the price has not reached since the entries.

        Returns the amount that was opened and liquidated unseen.
        """
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
            for key, share in self.levels_of(side, list(range(len(self.mix))), low, high, reached).items():
                alive[key] += part * share
        gross = net / (self.remainder_mix + math.fsum(alive.values()))
        self.stand(alive, gross)
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
            price, mass, window = self.nearest_cluster(
                side, usd, close, max(0.002 * interest * close, 1.5 * self.typical[side])
            )
            out[f"liq_{where}_price"], out[f"liq_{where}_usd"] = price, mass
            out[f"liq_{where}_distance"] = abs(price / close - 1)
            for end, name_of in enumerate(("low", "high")):
                out[f"liq_{where}_usd_{name_of}"] = (
                    math.nan
                    if not window
                    else math.fsum(
                        m * centre(b) * self.doubt[k][end]
                        for (s, k, b), m in self.book.items()
                        if s == side and b in window
                    )
                )
            out[f"liq_remainder_{name}"] = (self.remainder[side] + self.unknown[side]) / interest
        e = 0.001 * interest * close
        out["liq_imbalance"] = math.log((out["liq_short_usd_5pct"] + e) / (out["liq_long_usd_5pct"] + e))
        return out

    def nearest_cluster(
        self, side: int, usd: dict[int, float], close: float, least: float
    ) -> tuple[float, float, list[int]]:
        """First local maximum of the smoothed map within 15 % whose mass within +- 5 cells is at least `least`:
        price, USD, its buckets."""
        far = close * (1.15 if side == SHORT else 0.85)
        inside = {
            b: u for b, u in usd.items() if (close < centre(b) <= far if side == SHORT else far <= centre(b) < close)
        }
        if not inside:
            return math.nan, math.nan, []
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
                return math.fsum(inside[c] * centre(c) for c in window) / mass, mass, window
        return math.nan, math.nan, []

"""`liqsignals validate`: a map against the liquidations that then happened, beside baselines on the same hours.

Three questions, each with 95 % intervals from a bootstrap of whole UTC days:

- **hours** (scores.py): does what the map swept in an hour agree with what was liquidated in it, given the hour's path? Over all
  hours, over those that moved, and over those that reach prices not traded for 72 h, where only far levels can know;
- **ages**: how much of that comes from levels younger than 12 h, of 12 to 72 h, and older;
- **levels**: do the tenth of the levels within 15 % that hold most mass hold more than a tenth of what is liquidated in the next
  24 h? Real liquidations have hours and no prices: an hour's USD of a side is spread evenly over the levels that this hour
  was the first to reach since the snapshot, and not placed where it reached none (it came from later positions).

Baselines that have no scale of their own (range, peers, maps cut short) are scaled by one factor, real over predicted dollars of the
hours before `fit_until`; boosted trees learn from those hours. Everything is scored from `fit_until` on. Trees, range and
peers know open interest at once, the map only when it could be used live.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liqsignals import liqmap
from liqsignals.clock import DAY, HOUR, Int64Array, iso, parse_time, timeframe_name
from liqsignals.data.tape import MapTape, bars_of
from liqsignals.errors import InputError
from liqsignals.evaluation import fit, peers, scores
from liqsignals.liqmap import calibration
from liqsignals.records import Float64Array, open_interest_lag

Mask = NDArray[np.bool_]

#: Prices not traded for this long count as reached anew.
ANEW = 72
#: Ages (h) at which swept mass is split, and the length of a cohort: an age is right within one cohort.
AGES = (3, 12, 72)
AGE_NAMES = ("< 3 h", "3 .. 12 h", "12 .. 72 h", "> 72 h")
_COHORT = 3 * HOUR
#: The fold by age starts at most this long before the first hour: by then nothing is left of what stood before.
_BACK = 180 * DAY
#: Distances of levels that are compared with true ones, and the least hours on either side of `fit_until`.
FAR = (0.05, 0.15)
LEAST_HOURS = 48
STATISTICS = ("rank", "rank_moved", "rank_anew", "r2")
_DRAWS = 300


@dataclass(frozen=True)
class Case:
    """One market's hours and what happened in them. Side 0 long, 1 short; USD."""

    tape: MapTape
    hours: Int64Array
    real: Float64Array
    #: ln moves toward each side's levels (NaN without all the hour's candles), and hours that reach prices anew.
    moved: Float64Array
    anew: Mask
    #: Rows scored; the others, before them, are for fitting.
    test: Mask


def case(tape: MapTape, hours: Int64Array, real: Float64Array, fit_until: int) -> Case:
    """Line up hours, real liquidations (2, n) and candles; score from `fit_until` (ns) on."""
    test = hours >= fit_until
    if min(int(test.sum()), int((~test).sum())) < LEAST_HOURS:
        raise InputError(
            f"validate: {int((~test).sum())} hours before {iso(fit_until)} and {int(test.sum())} from it on; "
            f"{LEAST_HOURS} are needed on either side",
            "another --fit-until, or a longer table",
        )
    moved = fit.moves(tape, hours)
    if not np.isfinite(moved[:, test]).any():
        raise InputError(
            f"validate: no candles of {tape.pair} in the hours to score, {iso(int(hours[test][0]))} .. "
            f"{iso(int(hours[-1]))}",
            "candles of that span (liqsignals download)",
        )
    return Case(tape, hours, real, moved, _anew(tape, hours), np.asarray(test))


def _before(column: Float64Array, tape: MapTape, first: Int64Array, hours: int, how: str) -> Float64Array:
    """Rolling minimum, maximum or sum over the `hours` that end where each hour begins; NaN where they are not all there."""
    rolled = pd.Series(column).rolling(hours * (HOUR // tape.bar_ns)).agg(how).to_numpy()
    return np.asarray(np.where(first > 0, rolled[np.maximum(first - 1, 0)], np.nan))


def _anew(tape: MapTape, hours: Int64Array) -> Mask:
    """Hours (2, n) whose low (longs) or high (shorts) lies beyond all prices of the ANEW hours before them."""
    first, last, whole = bars_of(tape, hours)
    out = np.zeros((2, len(hours)), bool)
    low, high = tape.bars["low"], tape.bars["high"]
    lowest, highest = _before(low, tape, first, ANEW, "min"), _before(high, tape, first, ANEW, "max")
    for i in np.flatnonzero(whole):
        out[0, i] = low[first[i] : last[i]].min() < lowest[i]
        out[1, i] = high[first[i] : last[i]].max() > highest[i]
    return out


# --- the map by age


@dataclass(frozen=True)
class Aged:
    """A fold whose mass is kept apart by age (AGE_NAMES)."""

    tape: MapTape
    #: Swept USD, (bars, 2, ages).
    swept: Float64Array
    #: Book at some instants: base units (2, ages, buckets) and the buckets' prices.
    books: dict[int, tuple[Float64Array, Float64Array]]


def fold_by_age(tape: MapTape, parameters: liqmap.Parameters, at: Sequence[int] = ()) -> Aged:
    """The map's fold with every class split into cohorts of _COHORT by the time of entry; their sum is the map.

    `at`: instants (ns, multiples of _COHORT) at which to keep the book. Ages are taken by the cohort's start: mass of the running
    cohort is "< 3 h", and so on.
    """
    p = liqmap.plan(tape)
    distances = liqmap.distances_of(parameters, tape.pair)
    kinds, slots = len(parameters.classes), AGES[-1] * HOUR // _COHORT
    copies = slots + 1  # the last holds all that is older

    def tiled(a: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.tile(a, (1, copies) + (1,) * (a.ndim - 2)))

    wide = liqmap.Distances(*(tiled(array) for array in distances))
    many = replace(parameters, classes=parameters.classes * copies)
    fold = liqmap.Fold(p, many, wide)
    mix = parameters.mix
    n = len(p.low)
    swept = np.zeros((n, 2, len(AGES) + 1))
    books: dict[int, tuple[Float64Array, Float64Array]] = {}
    wanted = set(at)
    block = (p.closes_at - 1) // _COHORT
    cuts = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), n]
    entered = np.full(copies, -(10**9))
    for start, stop in pairwise(cuts):
        now = int(block[start])
        slot = now % slots
        if fold.book is not None:
            _retire(fold.book, slot * kinds, slots * kinds, kinds)
        entered[slot] = now
        age = np.digitize((now - entered) * (_COHORT // HOUR), AGES)
        age[slots] = len(AGES)
        entering = np.zeros(kinds * copies)
        entering[slot * kinds : (slot + 1) * kinds] = mix[:-1]
        # What enters is the running cohort's; hazards and the remainder are everybody's.
        fold.enter(entering, float(mix[-1]))
        fold.by_class, fold.by_class_from = np.zeros((stop - start, 2, kinds * copies)), start
        fold.to(stop)
        cohorts = fold.by_class.reshape(stop - start, 2, copies, kinds).sum(axis=3)
        for k in range(len(AGES) + 1):
            swept[start:stop, :, k] = cohorts[:, :, age == k].sum(axis=2)
        end = (now + 1) * _COHORT
        if end in wanted and fold.book is not None:
            b = fold.book
            held = (b.mass * b.scale[:, :, None]).reshape(2, copies, kinds, -1).sum(axis=2)
            books[end] = np.stack([held[:, age == k].sum(axis=1) for k in range(len(AGES) + 1)], axis=1), b.price.copy()
    return Aged(tape, swept, books)


def _retire(book: liqmap.Book, old: int, pool: int, kinds: int) -> None:
    """Move the cohort whose slot comes round again into the pool of the oldest."""
    for side in range(2):
        for k in range(kinds):
            a, z = old + k, pool + k
            factor = book.scale[side, a] / book.scale[side, z]
            book.mass[side, z] += book.mass[side, a] * factor
            book.total[side, z] += book.total[side, a] * factor
            book.mass[side, a], book.total[side, a], book.scale[side, a] = 0.0, 0.0, 1.0


# --- baselines


def features(tape: MapTape, hours: Int64Array) -> tuple[list[str], Float64Array]:
    """What trees see of an hour: 25 features of price, volume and open interest, all of the hour itself and before; (n, 25)."""
    first, _, whole = bars_of(tape, hours)
    n = HOUR // tape.bar_ns
    rows = np.minimum(first[:, None] + np.arange(n), len(tape.bars) - 1)
    low, high, close, volume = (tape.bars[name] for name in ("low", "high", "close", "volume"))
    opened = tape.bars["open"][rows[:, 0]]
    lows, highs, closes = low[rows].min(axis=1), high[rows].max(axis=1), close[rows[:, -1]]
    steps = np.diff(np.log(np.concatenate([tape.bars["open"][:1], close])))
    span = np.log(high / low)
    traded = volume[rows].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = {
            "range": np.log(highs / lows), "down": np.log(opened / lows), "up": np.log(highs / opened),
            "return": np.log(closes / opened), "volume": np.log(traded), "widest_bar": span[rows].max(axis=1),
            "volatility": np.log(np.sqrt((steps[rows] ** 2).sum(axis=1)) + 1e-6),
            "largest_volume": np.log(volume[rows].max(axis=1)), "ranges": span[rows].sum(axis=1),
            "falls": np.maximum(-steps, 0.0)[rows].sum(axis=1), "rises": np.maximum(steps, 0.0)[rows].sum(axis=1),
        }  # fmt: skip
        for h in (3, 12, 24, 72):
            out[f"below_{h}h"] = np.log(lows / _before(low, tape, first, h, "min"))
            out[f"above_{h}h"] = np.log(highs / _before(high, tape, first, h, "max"))
        out["volume_to_day"] = np.log(traded / (_before(volume, tape, first, 24, "sum") / 24))
        out["volume_before"] = np.log(_before(volume, tape, first, 1, "sum"))
        for name, begin, end in (("oi_change", 0, 1), ("oi_change_before", -1, 0), ("oi_change_day", -24, 0)):
            out[name] = np.log(
                peers.interest_at(tape, hours + end * HOUR) / peers.interest_at(tape, hours + begin * HOUR)
            )
        out["oi"] = np.log(peers.interest_at(tape, hours))
    table = np.stack(list(out.values()), axis=1)
    table[~whole] = np.nan
    table[~np.isfinite(table)] = np.nan
    return list(out), table


def _trees(c: Case, table: Float64Array, seeds: int = 3) -> Float64Array:
    """Boosted trees fitted on the hours before the test: USD (2, n), NaN where not scored."""
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise InputError(
            "validate's boosted trees need scikit-learn",
            "pip install -e '.[truth]', or --no-baselines",
        ) from error
    out = np.full(c.real.shape, np.nan)
    with threadpool_limits(limits=1):  # threads cost more than they save on some thousand rows
        for side in range(2):
            target = np.log(c.real[side] + scores.FLOOR)
            guesses = []
            for seed in range(seeds):
                model = HistGradientBoostingRegressor(
                    max_iter=300, learning_rate=0.04, max_leaf_nodes=12, min_samples_leaf=20, l2_regularization=5.0,
                    max_features=0.5, random_state=seed,
                )  # fmt: skip
                model.fit(table[~c.test], target[~c.test])
                guesses.append(model.predict(table[c.test]))
            out[side, c.test] = np.maximum(np.exp(np.mean(guesses, axis=0)) - scores.FLOOR, 0.0)
    return out


def _scaled(c: Case, predicted: Float64Array) -> Float64Array:
    """One factor for both sides: real over predicted dollars of the hours before the test."""
    told = np.isfinite(predicted) & ~c.test
    factor = scores.dollar_ratio(predicted[told], c.real[told])
    return predicted * (factor if np.isfinite(factor) else 1.0)


def _peer(c: Case, rule: Callable[[MapTape], peers.Seeds]) -> Float64Array:
    swept = peers.fold(c.tape, rule(c.tape), np.empty(0, np.int64))[0]
    return _scaled(c, fit.by_hour(swept, c.tape, c.hours).T)


def predictions(c: Case, parameters: liqmap.Parameters, aged: Aged, baselines: bool = True) -> dict[str, Float64Array]:
    """USD (2, n) by model; the map first."""
    own = parameters.report_factor * fit.sweeps(c.tape, parameters, c.hours).sum(axis=2).T
    out = {"map": own}
    by_age = fit.by_hour(aged.swept, aged.tape, c.hours).transpose(1, 0, 2)
    by_age[~np.isfinite(own)] = np.nan
    out["map, 12 h memory"] = _scaled(c, by_age[:, :, :2].sum(axis=2))
    out["map, 3 h memory"] = _scaled(c, by_age[:, :, 0])
    if not baselines:
        return out
    first, _, whole = bars_of(c.tape, c.hours)
    names, table = features(c.tape, c.hours)
    usd = peers.interest_at(c.tape, c.hours) * c.tape.bars["open"][np.minimum(first, len(c.tape.bars) - 1)]
    out["range x open interest"] = _scaled(
        c, np.stack([table[:, names.index("range")] * np.where(whole, usd, np.nan)] * 2)
    )
    out["peer's rule: pcdogyu"] = _peer(c, peers.pcdogyu)
    out["peer's rule: liqmap.ts"] = _peer(c, peers.liqmap_ts)
    out["trees"] = _trees(c, table)
    with_map = np.log(np.nan_to_num(own) + scores.FLOOR).T
    out["trees with map"] = _trees(c, np.concatenate([table, with_map], axis=1))
    return out


# --- scores


def statistics(c: Case, predicted: Float64Array, rows: Int64Array) -> Float64Array:
    """STATISTICS (4, 2) over some rows."""
    out = np.empty((len(STATISTICS), 2))
    for side in range(2):
        guess, real = predicted[side, rows], c.real[side, rows]
        moved, anew = c.moved[side, rows] > scores.MOVED, c.anew[side, rows]
        out[:, side] = (
            scores.spearman(guess, real), scores.spearman(guess[moved], real[moved]),
            scores.spearman(guess[anew], real[anew]), scores.log_r2(guess, real),
        )  # fmt: skip
    return out


def _intervals(
    c: Case, filled: dict[str, Float64Array], pairs: Sequence[tuple[str, str]], draws: int = _DRAWS
) -> dict[str, Any]:
    """Each model's STATISTICS and each pair's differences, with intervals, from the same draws of days."""
    rows = np.flatnonzero(c.test).astype(np.int64)

    def all_of(at: Int64Array) -> Float64Array:
        told = {name: statistics(c, p, at) for name, p in filled.items()}
        return np.stack([*told.values(), *[told[a] - told[b] for a, b in pairs]]).ravel()

    shape = (len(filled) + len(pairs), len(STATISTICS), 2)
    value = all_of(rows).reshape(shape)
    low, high = scores.bootstrap(lambda at: all_of(rows[at]), c.hours[rows], draws).reshape(2, *shape)
    names = [*filled, *[f"{a} - {b}" for a, b in pairs]]
    return {
        name: {s: _value(value[i, k], low[i, k], high[i, k]) for k, s in enumerate(STATISTICS)}
        for i, name in enumerate(names)
    }


def _number(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def _value(value: Float64Array, low: Float64Array, high: Float64Array) -> dict[str, list[float | None]]:
    return {"value": [_number(v) for v in value], "low": [_number(v) for v in low], "high": [_number(v) for v in high]}


def by_model(c: Case, models: dict[str, Float64Array]) -> dict[str, Any]:
    """Hour scores of every model, and paired differences: map - each other, trees with map - trees."""
    filled = {name: np.nan_to_num(p) for name, p in models.items()}
    pairs = [("map", name) for name in models if name != "map"]
    if "trees with map" in models:
        pairs.append(("trees with map", "trees"))
    told = _intervals(c, filled, pairs)
    months = scores.by_month(c.hours)
    out: dict[str, Any] = {"models": {}, "paired": {f"{a} - {b}": told[f"{a} - {b}"] for a, b in pairs}}
    for name, p in models.items():
        whole = scores.hour_score(p[:, c.test], c.real[:, c.test], c.moved[:, c.test]).as_dict()
        whole["intervals"] = told[name]
        whole["rank_anew"] = told[name]["rank_anew"]["value"]
        whole["months"] = {
            month: scores.hour_score(p[:, m & c.test], c.real[:, m & c.test], c.moved[:, m & c.test]).as_dict()
            for month, m in months.items()
            if (m & c.test).any()
        }
        out["models"][name] = whole
    return out


def by_age(c: Case, aged: Aged, covered: Mask) -> dict[str, Any]:
    """Rank correlations of what was swept of each age, over the same hours, and each age's share of it."""
    swept = np.nan_to_num(fit.by_hour(aged.swept, aged.tape, c.hours)).transpose(1, 0, 2)
    swept = np.where(covered[None, :, None], swept, 0.0)
    kinds = {
        "< 12 h": swept[:, :, :2].sum(axis=2), "12 .. 72 h": swept[:, :, 2], "> 72 h": swept[:, :, 3],
        "all ages": swept.sum(axis=2), "< 72 h": swept[:, :, :3].sum(axis=2),
    }  # fmt: skip
    pairs = [("all ages", "< 12 h"), ("all ages", "< 72 h")]
    told = _intervals(c, kinds, pairs)
    total = kinds["all ages"]
    share = {
        name: {
            "share": [_number(_ratio(s[side, c.test].sum(), total[side, c.test].sum())) for side in range(2)],
            "share_anew": [
                _number(_ratio(s[side, c.test & c.anew[side]].sum(), total[side, c.test & c.anew[side]].sum()))
                for side in range(2)
            ],
        }
        for name, s in kinds.items()
    }
    ages = {name: {**share[name], **told[name]} for name in kinds}
    return {"ages": ages, "paired": {f"{a} - {b}": told[f"{a} - {b}"] for a, b in pairs}}


def _ratio(a: float, b: float) -> float:
    return float(a) / float(b) if b > 0.0 else float("nan")


# --- levels

_RANKINGS = ("map", "map, 12 h memory", "mass > 72 h", "nearest")


def instants(c: Case) -> list[int]:
    """One a UTC day, at 00:00, with all of the next 24 h scored."""
    start, end = int(c.hours[c.test][0]), int(c.hours[-1]) + HOUR
    return list(range(-(-start // DAY) * DAY, end - DAY + 1, DAY))


def _lift(weight: Float64Array, ranking: Float64Array) -> float:
    """Share of `weight` in the tenth of the levels that rank highest, over their share of the levels."""
    n = len(ranking) // 10
    if n == 0 or not weight.sum() > 0.0:
        return float("nan")
    top = np.argsort(-ranking, kind="stable")[:n]
    return float(weight[top].sum() / weight.sum() * len(ranking) / n)


def level_lift(c: Case, aged: Aged) -> dict[str, Any]:
    """Lift of the top tenth of the levels within 15 %, on what is swept and on what is liquidated in the next 24 h.

    Rankings: the map's mass, its mass younger than 12 h, its mass older than 72 h, and nearness. `swept`: how much more often price
    reaches such a level than any; `liquidated`: USD placed there over an even spread; `among_swept`: the same among only
    the levels that price did reach (nearness, which tells whether price comes, is then of no use).
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
            placed, reached = _placed(c, side, inside, levels), _reached(c, side, i + 1, last, levels)
            ranking = {
                "map": usd.sum(axis=0), "map, 12 h memory": usd[:2].sum(axis=0), "mass > 72 h": usd[3],
                "nearest": -np.abs(np.log(levels / close)),
            }  # fmt: skip
            for r, name in enumerate(_RANKINGS):
                row[0, r, side] = _lift(reached.astype(np.float64), ranking[name])
                row[1, r, side] = _lift(placed, ranking[name])
                row[2, r, side] = _lift(placed[reached], ranking[name][reached])
        at.append(instant)
        rows.append(row)
    if not rows:
        return {"snapshots": 0}
    table = np.array(rows)
    return {
        "snapshots": len(at),
        **_mean_lifts(np.array(at, np.int64), table, ("swept", "liquidated", "among_swept"), _RANKINGS),
    }


def _mean_lifts(at: Int64Array, table: Float64Array, kinds: Sequence[str], rankings: Sequence[str]) -> dict[str, Any]:
    """Means of (snapshots, kinds, rankings, sides) and of the first ranking less each other, with day-block intervals."""
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
    low, high = scores.bootstrap(mean, at, _DRAWS).reshape(2, *paired.shape[1:])
    return {
        kind: {name: _value(value[k, r], low[k, r], high[k, r]) for r, name in enumerate(names)}
        for k, kind in enumerate(kinds)
    }


def _reached(c: Case, side: int, first: int, last: int, levels: Float64Array) -> Mask:
    bars = c.tape.bars[first:last]
    if len(bars) == 0:
        return np.zeros(len(levels), bool)
    return np.asarray(levels >= bars["low"].min() if side == 0 else levels <= bars["high"].max())


def _placed(c: Case, side: int, inside: NDArray[np.intp], levels: Float64Array) -> Float64Array:
    """The hours' real USD on the snapshot's levels: each hour's spread evenly over those that it is the first to reach.

    An hour that reaches no level anew is not placed: what it liquidates was opened after the snapshot.
    """
    first, last, whole = bars_of(c.tape, c.hours[inside])
    out, stands = np.zeros(len(levels)), np.ones(len(levels), bool)
    for h, a, z, there in zip(inside, first, last, whole, strict=True):
        if not there:
            continue
        bars = c.tape.bars[a:z]
        hit = stands & ((levels >= bars["low"].min()) if side == 0 else (levels <= bars["high"].max()))
        if hit.any():
            out[hit] += c.real[side, h] / hit.sum()
            stands &= ~hit
    return out


# --- candle sizes


def coarser(tape: MapTape, bar_ns: int) -> MapTape:
    """The same market in longer candles, complete ones only."""
    b, k = tape.bars, bar_ns // tape.bar_ns
    if bar_ns % tape.bar_ns or HOUR % bar_ns:
        raise InputError(
            f"--candles {timeframe_name(bar_ns)}: must be a multiple of the candles on disk ({timeframe_name(tape.bar_ns)}) that "
            "divides an hour"
        )
    if k == 1:
        return tape
    group = (b["event_time"] - 1) // bar_ns
    start = np.flatnonzero(np.diff(group, prepend=group[:1] - 1))
    stop = np.append(start[1:], len(b))
    out = b[stop - 1].copy()
    out["open"] = b["open"][start]
    out["low"], out["high"] = np.minimum.reduceat(b["low"], start), np.maximum.reduceat(b["high"], start)
    out["volume"] = np.add.reduceat(b["volume"], start)
    return replace(tape, bars=out[stop - start == k], bar_ns=bar_ns)


def hourly_interest(tape: MapTape) -> MapTape:
    """The same market with one value of open interest an hour, known as late as hourly values are."""
    kept = tape.open_interest[tape.open_interest["event_time"] % HOUR == 0].copy()
    kept["known_at"] = kept["event_time"] + open_interest_lag(HOUR)
    return replace(tape, open_interest=kept, period_ns=HOUR)


def by_candle(c: Case, parameters: liqmap.Parameters, sizes: Sequence[int], hourly: bool) -> dict[str, Any]:
    """The map's scores by candle size, and hourly open interest where asked, on the same hours; less the candles on disk."""
    tapes = {timeframe_name(c.tape.bar_ns): c.tape}
    for size in sizes:
        tapes.setdefault(timeframe_name(size), coarser(c.tape, size))
    if hourly:
        tapes.update({f"{name}, hourly interest": hourly_interest(tape) for name, tape in list(tapes.items())})
    told = {
        name: np.nan_to_num(parameters.report_factor * fit.sweeps(tape, parameters, c.hours).sum(axis=2).T)
        for name, tape in tapes.items()
    }
    base = next(iter(tapes))
    pairs = [(name, base) for name in told if name != base]
    found = _intervals(c, told, pairs)
    dollars = {
        name: [_number(scores.dollar_ratio(p[s, c.test], c.real[s, c.test])) for s in range(2)]
        for name, p in told.items()
    }
    return {
        "sizes": {name: {**found[name], "dollars": dollars[name]} for name in told},
        "paired": {f"{a} - {b}": found[f"{a} - {b}"] for a, b in pairs},
    }


# --- true levels

_FAR_RANKINGS = ("map", "uniform", "1 / distance", "map, 12 h memory", "mass > 72 h")


def true_levels(path: Path, coin: str) -> list[tuple[int, float, list[list[tuple[float, float]]]]]:
    """Snapshots of true liquidation prices: (ns, price now, [longs, shorts] as (price, USD)). The format of
    shared/data/hyperliquid: one JSON object a line, `lastUpdated` in UTC."""
    out: list[tuple[int, float, list[list[tuple[float, float]]]]] = []
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise InputError(
            f"--hyperliquid {path}: cannot be read ({error.strerror})",
            "name an existing file",
        ) from error
    for n, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if coin not in row["data"]:
                continue
            of = row["data"][coin]
            levels = [
                [(float(x["price"]), float(x["value"])) for x in of[side]]
                for side in ("longLiquidations", "shortLiquidations")
            ]
            out.append((parse_time(row["lastUpdated"]), float(of["currentPrice"]), levels))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"--hyperliquid {path}: row {n} is no snapshot of levels ({error!r})",
                "remove it",
            ) from error
    if not out:
        raise InputError(
            f"--hyperliquid {path} holds no levels of {coin}",
            "leave the option out",
        )
    return sorted(out, key=lambda s: s[0])


#: The snapshots' own grid: 50 bins within 30 %.
_BIN = 0.6 / 50


def against_true(
    c: Case, aged: Aged, snapshots: Sequence[tuple[int, float, list[list[tuple[float, float]]]]]
) -> dict[str, Any]:
    """The map's mass at 5 .. 15 % from the price beside true levels, in bins of 1.2 %, both sides together.

    `rank`: rank correlation over the bins (uniform: 0); `lift`: share of the true USD in the top fifth of the bins over
    a fifth (a tenth of 16 bins would be one or two). Books are those at the last multiple of 3 h.
    """
    at, rows = [], []
    for when, now, levels in snapshots:
        book = aged.books.get(when // _COHORT * _COHORT)
        if book is None:
            continue
        held, price = book
        edges = np.arange(round(FAR[0] / _BIN), int(FAR[1] / _BIN) + 1) * _BIN
        true, mass, distance = [], [], []
        for side in range(2):
            sign = -1.0 if side == 0 else 1.0
            away = sign * (price / now - 1.0)
            told = np.array([(sign * (p / now - 1.0), usd) for p, usd in levels[side]]).reshape(-1, 2)
            for a, z in pairwise(edges):
                true.append(told[(told[:, 0] >= a) & (told[:, 0] < z), 1].sum())
                cells = (away >= a) & (away < z)
                mass.append((held[side][:, cells] * price[cells]).sum(axis=1))
                distance.append(0.5 * (a + z))
        weight, by_age_ = np.array(true), np.array(mass)
        rankings = (
            by_age_.sum(axis=1), np.zeros(len(weight)), 1.0 / np.array(distance), by_age_[:, :2].sum(axis=1), by_age_[:, 3],
        )  # fmt: skip
        row = np.full((2, len(_FAR_RANKINGS), 1), np.nan)
        for r, ranking in enumerate(rankings):
            even = bool((ranking == ranking[0]).all())
            row[0, r, 0] = 0.0 if even else scores.spearman(ranking, weight)
            top = np.argsort(-ranking, kind="stable")[: max(len(weight) // 5, 1)]
            if weight.sum() > 0.0:
                row[1, r, 0] = 1.0 if even else weight[top].sum() / weight.sum() * len(weight) / len(top)
        at.append(when)
        rows.append(row)
    if not rows:
        return {"snapshots": 0}
    return {
        "snapshots": len(at),
        **_mean_lifts(np.array(at, np.int64), np.array(rows), ("rank", "lift"), _FAR_RANKINGS),
    }


# --- the whole


@dataclass(frozen=True)
class Validation:
    """All that `liqsignals validate` found: plain data, and what the pictures need."""

    found: dict[str, Any]
    case: Case
    models: dict[str, Float64Array]


def trained(fitted: calibration.Fitted) -> tuple[int, int] | None:
    """Begin and end (ns) of the hours that a calibration was fitted on; of whichever pair, for large coins are liquidated in
    the same hours."""
    span = fitted.provenance.get("span")
    return (parse_time(span[0]), parse_time(span[1])) if span else None


def split(hours: Int64Array, seen_until: int | None) -> int:
    """Where scoring begins unless it is said: after all that the calibration saw, else after the first half of the hours."""
    if seen_until is not None and hours[0] + LEAST_HOURS * HOUR <= seen_until <= hours[-1] - LEAST_HOURS * HOUR:
        return seen_until
    return int(hours[len(hours) // 2]) // DAY * DAY


def validate(
    tape: MapTape,
    hours: Int64Array,
    real: Float64Array,
    fitted: calibration.Fitted,
    fit_until: int | None = None,
    *,
    baselines: bool = True,
    candles: Sequence[int] = (),
    hourly: bool = False,
    hyperliquid: Path | None = None,
) -> Validation:
    """Score a calibrated map on one market's hours (n,) with their real liquidations (2, n) USD.

    `fit_until` (ns): trees learn before it, everything is scored from it on. `found` is JSON-able; NaN is None.
    """
    if len(hours) == 0:
        raise InputError(
            "validate: no hours of liquidations in the span",
            "another --from or --to",
        )
    for size in candles:  # refused before the work, not after it
        coarser(tape, size)
    parameters, seen = fitted.parameters, trained(fitted)
    c = case(tape, hours, real, split(hours, seen[1] if seen else None) if fit_until is None else fit_until)
    truth = true_levels(hyperliquid, tape.pair.split("/")[0]) if hyperliquid is not None else []
    since = int(hours[0]) - _BACK
    recent = replace(
        tape, bars=tape.bars[tape.bars["event_time"] > since],
        open_interest=tape.open_interest[tape.open_interest["event_time"] >= since],
    )  # fmt: skip
    aged = fold_by_age(recent, parameters, [*instants(c), *(when // _COHORT * _COHORT for when, _, _ in truth)])
    models = predictions(c, parameters, aged, baselines)
    covered: Mask = np.asarray(np.isfinite(models["map"]).all(axis=0))
    found: dict[str, Any] = {
        "pair": tape.pair,
        "scored": [iso(int(hours[c.test][0])), iso(int(hours[-1]) + HOUR)],
        "fitted_until": iso(int(hours[~c.test][-1]) + HOUR),
        "calibration_saw": None if seen is None else [iso(seen[0]), iso(seen[1])],
        # Only where the calibration saw none of the scored hours is this a test.
        "in_sample": seen is not None and seen[0] <= int(hours[-1]) and seen[1] > int(hours[c.test][0]),
        "hours": int(c.test.sum()),
        "hours_moved": [int((c.moved[s, c.test] > scores.MOVED).sum()) for s in range(2)],
        "hours_anew": [int(c.anew[s][c.test].sum()) for s in range(2)],
        "coverage": float(covered[c.test].mean()),
        **by_model(c, models),
        "by_age": by_age(c, aged, covered),
        "levels": level_lift(c, aged),
    }
    if candles or hourly:
        found["by_candle"] = by_candle(c, parameters, candles, hourly)
    if truth:
        found["true_levels"] = against_true(c, aged, truth)
    return Validation(found, c, models)

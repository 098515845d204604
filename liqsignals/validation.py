"""`liqsignals validate`: how right the map was, beside what anybody could have done without it.

Hour score: what the map swept in each hour (a nowcast given the hour's candles) against the real liquidations of the hour.
Level score: whether old and far levels carry information, which the hour score alone does not tell (docs/decisions/010).
Every number is computed on the same hours, those from `since` on; baselines that learn, learn before `since`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liqsignals import calibration, liqmap, peers, scores
from liqsignals.clock import DAY, HOUR, Int64Array, duration_ns, iso, parse_time
from liqsignals.errors import InputError
from liqsignals.liquidations import Liquidations
from liqsignals.records import Records
from liqsignals.tape import Tape

Float64Array = NDArray[np.float64]

#: Ages of mass that the level score tells apart, h: younger than the first, than the second, ...
AGES = (3, 12, 72)
_BLOCK = 3 * HOUR
#: History that the age split starts from; older mass counts as older than the last of AGES anyway.
_PAST = 60 * DAY
MAP, TREES, BOTH = "liqsignals", "boosted trees", "trees + liqsignals"
RANGE, CUT3, CUT12 = "range x open interest", "liqsignals, memory 3 h", "liqsignals, memory 12 h"
PEER_A, PEER_B = "peer rule (a), pcdogyu v2", "peer rule (b), liqmap.ts"
_METRICS = ("rank", "rank_moved", "r2", "r2_moved")
_DRAWS = 500


@dataclass(frozen=True)
class Hours:
    """The hours that are scored: their truth, their moves, and what the tape did in them."""

    tape: Tape
    at: Int64Array
    usd: Float64Array
    moved: Float64Array
    #: (2, n) True where the hour reached prices not traded for 72 h: below for longs, above for shorts.
    fresh_prices: NDArray[np.bool_]
    #: (n,) first bar, and one past the last.
    first: Int64Array
    last: Int64Array

    def sum(self, per_bar: Float64Array) -> Float64Array:
        """Sums over each hour's bars: (n, ...) of (bars, ...)."""
        total = np.concatenate([np.zeros((1, *per_bar.shape[1:])), np.cumsum(per_bar, axis=0)])
        return np.asarray(total[self.last] - total[self.first])


def hours_of(tape: Tape, told: Liquidations) -> Hours:
    """Line up a tape and real liquidations: the hours whose bars are all there, with 72 h of bars before them."""
    assert tape.bars is not None
    ends, n = tape.bars["event_time"], HOUR // tape.bar_ns
    if n < 1:
        raise InputError("validate needs candles of at most 1h")
    first, last = (np.searchsorted(ends, told.hours + d, side="right") for d in (0, HOUR))
    whole = (last - first == n) & (first >= 72 * n)
    at, usd, first, last = told.hours[whole], told.usd[:, whole], first[whole], last[whole]
    if len(at) == 0:
        raise InputError(
            f"no hour of the table has candles of {tape.pair} and 72 h before it: the table goes from {iso(int(told.hours[0]))} to "
            f"{iso(int(told.hours[-1]))}, the candles from {iso(int(ends[0]))} to {iso(int(ends[-1]))}"
        )
    inside = first[:, None] + np.arange(n)
    before = first[:, None] - 1 - np.arange(72 * n)
    low, high = tape.bars["low"], tape.bars["high"]
    fresh = np.stack([
        low[inside].min(axis=1) < low[before].min(axis=1), high[inside].max(axis=1) > high[before].max(axis=1)
    ])  # fmt: skip
    return Hours(tape, at, usd, calibration.moves(tape, at), fresh, first, last)


# --- predictions, each (2, n) USD


def of_map(hours: Hours, parameters: liqmap.Parameters) -> Float64Array:
    """The map's hours: liq_swept_*_usd summed; NaN without a warm and fresh map."""
    return np.asarray(parameters.report_factor * calibration.sweeps(hours.tape, parameters, hours.at).sum(axis=2).T)


def of_range(hours: Hours) -> Float64Array:
    """Log range of the hour x open interest in USD at its start, the same for both sides."""
    bars = hours.tape.bars
    assert bars is not None
    inside = hours.first[:, None] + np.arange(HOUR // hours.tape.bar_ns)
    width = np.log(bars["high"][inside].max(axis=1) / bars["low"][inside].min(axis=1))
    interest = peers.interest_at_closes(hours.tape)[hours.first - 1] * bars["close"][hours.first - 1]
    return np.stack([width * interest] * 2)


def of_peer(hours: Hours, rule: Callable[[Tape], peers.Seeds]) -> Float64Array:
    """What another project's rule swept in each hour, USD."""
    return hours.sum(peers.fold(hours.tape, rule(hours.tape), np.empty(0, np.int64))[0]).T


def by_age(hours: Hours, parameters: liqmap.Parameters) -> Float64Array:
    """USD that the map swept in each hour by age of the mass: (n, 2, len(AGES) + 1), feed USD.

    The same fold with every class once for each block of 3 h in which its mass was entered, and once for all that is
    older than 72 h: classes of equal hazards close alike, so that only the books differ, not what happens.
    """
    tape = hours.tape
    assert tape.bars is not None
    assert tape.open_interest is not None
    start = int(hours.at[0]) - _PAST
    tape = replace(
        tape, bars=tape.bars[tape.bars["event_time"] > start],
        open_interest=tape.open_interest[tape.open_interest["event_time"] >= start],
    )  # fmt: skip
    p = liqmap.plan(tape)
    classes, slots = len(parameters.classes), AGES[-1] * HOUR // _BLOCK + 1
    copies = slots + 1
    one = liqmap.reach_of(parameters, tape.pair)
    many = liqmap.Reach(*(
        np.ascontiguousarray(np.concatenate([a] * copies, axis=1)) for a in (one.share, one.cum, one.near, one.count)
    ))  # fmt: skip
    fold = liqmap.Fold(p, replace(parameters, classes=parameters.classes * copies), many, None, np.empty(0))
    swept = np.zeros((len(p.low), 2, len(AGES) + 1))
    block = (p.closes_at - 1) // _BLOCK
    cuts = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(block)]
    entered = np.full(copies, -(1 << 40))
    for first, last in pairwise(cuts):
        slot = int(block[first] % slots)
        if fold.book is not None:
            _retire(fold.book, classes, slot, slots)
        entered[slot] = block[first]
        fold.enter(np.concatenate([
            parameters.mix[:-1] if copy == slot else np.zeros(classes) for copy in range(copies)
        ]), float(parameters.mix[-1]))  # fmt: skip
        fold.by_class, fold.by_class_from = np.zeros((last - first, 2, classes * copies)), first
        fold.to(last)
        age = np.digitize((block[first] - entered) * (_BLOCK // HOUR), AGES)
        for copy in range(copies):
            swept[first:last, :, age[copy]] += fold.by_class[:, :, copy * classes : (copy + 1) * classes].sum(axis=2)
    # The hours name bars of the whole tape.
    skipped = int(hours.first[0] - np.searchsorted(p.closes_at, hours.at[0], side="right"))
    out = replace(hours, first=hours.first - skipped, last=hours.last - skipped).sum(swept)
    return np.asarray(parameters.report_factor * out)


def _retire(book: liqmap.Book, classes: int, slot: int, old: int) -> None:
    """Move what stands in a slot to the old copy of its class, and empty the slot."""
    a, z = slice(slot * classes, (slot + 1) * classes), slice(old * classes, (old + 1) * classes)
    ratio = book.scale[:, a] / book.scale[:, z]
    book.mass[:, z] += book.mass[:, a] * ratio[:, :, None]
    book.total[:, z] += book.total[:, a] * ratio
    book.mass[:, a], book.total[:, a], book.scale[:, a] = 0.0, 0.0, 1.0


def tree_features(hours: Hours) -> Float64Array:
    """What boosted trees get of each hour: 26 features of price, volume and open interest, the hour's own included."""
    bars, interest = hours.tape.bars, hours.tape.open_interest
    assert bars is not None
    assert interest is not None
    n = HOUR // hours.tape.bar_ns
    inside = hours.first[:, None] + np.arange(n)
    before = hours.first - 1
    low, high, close, volume = (bars[name] for name in ("low", "high", "close", "volume"))
    opened, ended = bars["open"][hours.first], close[inside[:, -1]]
    bottom, top, wide = low[inside].min(axis=1), high[inside].max(axis=1), np.log(high[inside] / low[inside])
    steps = np.diff(np.log(close[np.concatenate([before[:, None], inside], axis=1)]), axis=1)
    traded = np.log(volume[inside].sum(axis=1) + 1e-9)

    def held(at: Int64Array) -> Float64Array:
        # As it was measured, whenever it became known: the baseline may know more than a bot did.
        row = np.searchsorted(interest["event_time"], at, side="right") - 1
        return np.where(row >= 0, np.log(interest["base"][np.maximum(row, 0)]), np.nan)

    past = [hours.first[:, None] - 1 - np.arange(h * n) for h in (3, 12, 24, 72)]
    now = held(hours.at)
    return np.column_stack([
        np.log(top / bottom), np.log(opened / bottom), np.log(top / opened), np.log(ended / opened),
        wide.max(axis=1), wide.sum(axis=1), np.sqrt((steps**2).sum(axis=1)),
        np.maximum(-steps, 0).sum(axis=1), np.maximum(steps, 0).sum(axis=1),
        traded, np.log(volume[inside].max(axis=1) + 1e-9), np.log(volume[past[0][:, :n]].sum(axis=1) + 1e-9),
        traded - np.log(volume[past[2]].sum(axis=1) / 24 + 1e-9),
        *(np.log(bottom / low[rows].min(axis=1)) for rows in past),
        *(np.log(top / high[rows].max(axis=1)) for rows in past),
        now, held(hours.at + HOUR) - now, now - held(hours.at - HOUR), now - held(hours.at - DAY),
        np.log(top / close[before]),
    ])  # fmt: skip


def of_trees(features: Float64Array, hours: Hours, learn: NDArray[np.bool_]) -> Float64Array:
    """Boosted trees on ln(USD), one for each side, the mean of four seeds, fitted on the hours `learn`."""
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
    except ImportError as error:
        raise InputError(
            "the trees need scikit-learn. Way out: pip install 'liqsignals[truth]', or --no-trees"
        ) from error
    out = np.zeros((2, len(hours.at)))
    for side in range(2):
        target = np.log(hours.usd[side] + scores.FLOOR)
        for seed in range(4):
            model = HistGradientBoostingRegressor(
                max_iter=300, learning_rate=0.04, max_leaf_nodes=12, min_samples_leaf=20, l2_regularization=5.0,
                max_features=0.5, random_state=seed,
            )  # fmt: skip
            out[side] += model.fit(features[learn], target[learn]).predict(features) / 4.0
    return np.asarray(np.maximum(np.exp(out) - scores.FLOOR, 0.0))


# --- scores


def _vector(predicted: Float64Array, hours: Hours, rows: Int64Array | NDArray[np.bool_]) -> Float64Array:
    """_METRICS of long, then short, and the rank correlation in hours that reached prices not traded for 72 h."""
    score = scores.hour_score(predicted[:, rows], hours.usd[:, rows], hours.moved[:, rows])
    new = [hours.fresh_prices[side][rows] for side in range(2)]
    guess = np.nan_to_num(predicted[:, rows])
    reached = [scores.spearman(guess[side, new[side]], hours.usd[side, rows][new[side]]) for side in range(2)]
    return np.array([v for name in _METRICS for v in getattr(score, name)] + reached)


NAMES = tuple(f"{metric}_{side}" for metric in (*_METRICS, "rank_new_prices") for side in ("long", "short"))


def paired(one: Float64Array, other: Float64Array, hours: Hours, scored: NDArray[np.bool_]) -> dict[str, Any]:
    """Score of `one` less score of `other` on the same hours, with its 95 % interval over days."""
    rows = np.flatnonzero(scored)

    def difference(chosen: Int64Array) -> Float64Array:
        return _vector(one, hours, rows[chosen]) - _vector(other, hours, rows[chosen])

    value = difference(np.arange(len(rows)))
    low, high = scores.bootstrap(difference, hours.at[rows], _DRAWS)
    return {n: [_plain(v), _plain(lo), _plain(hi)] for n, v, lo, hi in zip(NAMES, value, low, high, strict=True)}


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def lifts(hours: Hours, parameters: liqmap.Parameters, scored: NDArray[np.bool_]) -> dict[str, Any]:
    """Real liquidations in the top tenth of levels, of the next 24 h, over what a blind choice would hold.

    At each UTC midnight the side's buckets within 15 % are ranked by estimated USD (and by 1 / distance). Of the next 24 h only
    buckets that the price newly reaches can show liquidations; an hour's real USD is spread evenly over those that it
    reached first. Lift = share of the real USD in top-tenth buckets / share of the reached buckets that are top-tenth.
    """
    bars = hours.tape.bars
    assert bars is not None
    fold = liqmap.Fold.of(hours.tape, parameters)
    rows = np.flatnonzero(scored)
    midnights = np.unique(hours.at[rows] // DAY * DAY)
    found: dict[str, list[tuple[float, float, float, float]]] = {MAP: [], "1 / distance": []}
    for midnight in midnights:
        bar = int(np.searchsorted(bars["event_time"], midnight, side="right"))
        chosen = rows[(hours.at[rows] >= midnight) & (hours.at[rows] < midnight + DAY)]
        if bar == 0 or bars["event_time"][bar - 1] != midnight or len(chosen) < 24:
            continue
        fold.to(bar)
        if fold.book is None:
            continue
        close, usd = float(bars["close"][bar - 1]), fold.book.levels() * fold.book.price
        for side in range(2):
            price = fold.book.price
            near = (price > close) & (price <= close * 1.15) if side else (price < close) & (price >= close * 0.85)
            at = np.flatnonzero(near) if side else np.flatnonzero(near)[::-1]
            ladder, real, reached = price[at], np.zeros(len(at)), 0
            for i in chosen:
                part = bars[hours.first[i] : hours.last[i]]
                now = int((ladder <= part["high"].max()).sum() if side else (ladder >= part["low"].min()).sum())
                if now > reached:
                    real[reached:now] += hours.usd[side, i] / (now - reached)
                    reached = now
            if reached == 0:
                continue
            tenth = max(round(len(at) / 10), 1)
            for name, guess in ((MAP, usd[side, at]), ("1 / distance", 1.0 / np.abs(ladder / close - 1.0))):
                top = np.zeros(len(at), bool)
                top[np.argsort(-guess, kind="stable")[:tenth]] = True
                found[name].append((real[:reached][top[:reached]].sum(), real.sum(), top[:reached].sum(), reached))
    out = {}
    for name, parts in found.items():
        table = np.array(parts, np.float64).reshape(-1, 4)

        def lift(chosen: Int64Array, table: Float64Array = table) -> Float64Array:
            hit, real, top, reached = table[chosen].sum(axis=0)
            return np.array([(hit / real) / (top / reached) if real > 0 and top > 0 else np.nan])

        if len(table):
            days = np.arange(len(table)) * DAY
            low, high = scores.bootstrap(lift, days, _DRAWS)[:, 0]
            out[name] = [_plain(lift(np.arange(len(table)))[0]), _plain(low), _plain(high)]
    return {"days": len(midnights), **out}


def true_levels(tape: Tape, parameters: liqmap.Parameters, snapshots: list[dict[str, Any]]) -> dict[str, Any]:
    """Known levels (Hyperliquid's top wallets) at 5 .. 15 % against the map: rank correlation and lift of the top two of the
    bins of 1.2 %, means over snapshots and sides with intervals over days; the same of 1 / distance (uniform: 0 and 1)."""
    coin = tape.pair.split("/")[0]
    fold = liqmap.Fold.of(tape, parameters)
    found: dict[str, list[tuple[float, float]]] = {MAP: [], "1 / distance": []}
    when = []
    for snapshot in snapshots:
        book = snapshot["data"].get(coin)
        at = parse_time(snapshot["lastUpdated"])
        bar = int(np.searchsorted(fold.plan.closes_at, at, side="right"))
        if book is None or bar == 0 or at - fold.plan.closes_at[bar - 1] > HOUR:
            continue
        fold.to(bar)
        if fold.book is None:
            continue
        price = float(book["currentPrice"])
        edges = price * (0.7 + 0.012 * np.arange(51))
        distance = (edges[1:] + edges[:-1]) / 2.0 / price - 1.0
        levels = fold.book.levels() * fold.book.price
        for side, key in enumerate(("longLiquidations", "shortLiquidations")):
            sign = 1.0 if side else -1.0
            inside = (sign * distance >= 0.05) & (sign * distance <= 0.15)
            true = np.histogram([r["price"] for r in book[key]], edges, weights=[r["value"] for r in book[key]])[0][
                inside
            ]
            if true.sum() <= 0.0:
                continue
            guess = np.histogram(fold.book.price, edges, weights=levels[side])[0][inside]
            when.append(at)
            for name, estimate in ((MAP, guess), ("1 / distance", 1.0 / np.abs(distance[inside]))):
                top = np.argsort(-estimate, kind="stable")[:2]
                found[name].append((scores.spearman(estimate, true), true[top].sum() / true.sum() * len(true) / 2.0))
    out: dict[str, Any] = {"snapshots": len(snapshots), "sides": len(when)}
    for name, parts in found.items():
        table = np.array(parts, np.float64).reshape(-1, 2)
        if len(table):
            low, high = scores.bootstrap(lambda rows, t=table: np.nanmean(t[rows], axis=0), np.array(when), _DRAWS)  # type: ignore[misc]
            mean = np.nanmean(table, axis=0)
            out[name] = {
                "rank": [_plain(v) for v in (mean[0], low[0], high[0])],
                "lift": [_plain(v) for v in (mean[1], low[1], high[1])],
            }
    return out


def coarser(tape: Tape, timeframe: str) -> Tape:
    """The tape with its bars merged to a longer timeframe, whole ones only."""
    assert tape.bars is not None
    length = duration_ns(timeframe)
    if length % tape.bar_ns:
        raise InputError(f"--candles {timeframe}: not a multiple of the candles that are there")
    group = (tape.bars["event_time"] - 1) // length
    first = np.flatnonzero(np.diff(group, prepend=group[:1] - 1))
    last = np.append(first[1:], len(group)) - 1
    out = tape.bars[last].copy()
    out["open"] = tape.bars["open"][first]
    out["high"], out["low"] = (f.reduceat(tape.bars[n], first) for f, n in ((np.maximum, "high"), (np.minimum, "low")))
    out["volume"] = np.add.reduceat(tape.bars["volume"], first)
    return replace(tape, bars=out[last - first + 1 == length // tape.bar_ns], bar_ns=length)


def hourly_interest(tape: Tape) -> Tape:
    """The tape with one value of open interest an hour, known two hours after it was taken."""
    assert tape.open_interest is not None
    kept: Records = tape.open_interest[tape.open_interest["event_time"] % HOUR == 0].copy()
    kept["known_at"] = kept["event_time"] + 2 * HOUR
    return replace(tape, open_interest=kept, period_ns=HOUR)


@dataclass(frozen=True)
class Validation:
    """Everything that was found, as plain data, and what the report draws."""

    result: dict[str, Any]
    hours: Hours
    scored: NDArray[np.bool_]
    predictions: dict[str, Float64Array]


def validate(
    tape: Tape,
    told: Liquidations,
    fitted: calibration.Fitted,
    since: int | None = None,
    trees: bool = True,
    candles: tuple[str, ...] = (),
    snapshots: list[dict[str, Any]] | None = None,
) -> Validation:
    """Score the map and its baselines on the hours of a table from `since` on (ns; default: its second half).

    `candles` names coarser timeframes to fold as well, each also with one value of open interest an hour. Raises
    InputError where no hour can be scored or a package for the trees is missing.
    """
    hours = hours_of(tape, told)
    parameters = fitted.parameters
    cut = since if since is not None else int(hours.at[len(hours.at) // 2])
    scored, learn = hours.at >= cut, hours.at < cut
    if scored.sum() < 24:
        raise InputError(f"validate: {int(scored.sum())} hours since {iso(cut)}; at least 24 are needed")
    whole = of_map(hours, parameters)
    ages = by_age(hours, parameters).transpose(1, 0, 2)
    predictions = {
        MAP: whole,
        RANGE: of_range(hours),
        CUT3: ages[:, :, :1].sum(axis=2),
        CUT12: ages[:, :, :2].sum(axis=2),
        PEER_A: of_peer(hours, peers.pcdogyu),
        PEER_B: of_peer(hours, peers.liqmap_ts),
    }
    if trees and learn.sum() >= 300:
        features = tree_features(hours)
        predictions[TREES] = of_trees(features, hours, learn)
        column = np.log(np.nan_to_num(whole).T + scores.FLOOR)
        predictions[BOTH] = of_trees(np.column_stack([features, column]), hours, learn)
    result: dict[str, Any] = {
        "pair": tape.pair,
        "since": iso(cut),
        "until": iso(int(hours.at[-1]) + HOUR),
        "calibration": {
            "score": parameters.score,
            "report_factor": parameters.report_factor,
            **dict(fitted.provenance),
        },
        "learned_on_hours": int(learn.sum()),
        "hour_score": {},
        "by_month": {},
        "paired": {},
    }
    for name, predicted in predictions.items():
        score = scores.hour_score(predicted[:, scored], hours.usd[:, scored], hours.moved[:, scored]).as_dict()
        new = _vector(predicted, hours, scored)[-2:]
        result["hour_score"][name] = {**score, "rank_new_prices": [_plain(v) for v in new]}
    result["new_prices_hours"] = hours.fresh_prices[:, scored].sum(axis=1).tolist()
    for month, rows in scores.by_month(hours.at).items():
        rows = rows & scored
        if rows.any():
            monthly = scores.hour_score(whole[:, rows], hours.usd[:, rows], hours.moved[:, rows])
            result["by_month"][month] = monthly.as_dict()
    for one, other in ((MAP, name) for name in predictions if name not in (MAP, BOTH)):
        result["paired"][f"{one} - {other}"] = paired(predictions[one], predictions[other], hours, scored)
    if BOTH in predictions:
        result["paired"][f"{BOTH} - {TREES}"] = paired(predictions[BOTH], predictions[TREES], hours, scored)
    share = ages[:, scored].sum(axis=1) / ages[:, scored].sum(axis=(1, 2))[:, None]
    old = ages[:, :, 3]
    result["level_score"] = {
        "share_of_swept": {
            name: [float(v) for v in share[:, k]]
            for k, name in enumerate(("< 3 h", "3 .. 12 h", "12 .. 72 h", "> 72 h"))
        },
        "rank_of_mass_older_than_72_h_at_new_prices": [
            _plain(
                scores.spearman(old[s][scored & hours.fresh_prices[s]], hours.usd[s][scored & hours.fresh_prices[s]])
            )
            for s in range(2)
        ],
        "lift_next_24_h": lifts(hours, parameters, scored),
    }
    if snapshots is not None:
        result["level_score"]["true_levels_5_to_15_pct"] = true_levels(tape, parameters, snapshots)
    if candles:
        result["candles"] = _resolutions(hours, parameters, scored, candles)
    return Validation(result, hours, scored, predictions)


def _resolutions(
    hours: Hours, parameters: liqmap.Parameters, scored: NDArray[np.bool_], candles: tuple[str, ...]
) -> dict[str, Any]:
    out = {}
    for timeframe in candles:
        for suffix, tape in (("", hours.tape), (", hourly open interest", hourly_interest(hours.tape))):
            tape = coarser(tape, timeframe)
            swept = calibration.sweeps(tape, parameters, hours.at).sum(axis=2).T * parameters.report_factor
            score = scores.hour_score(swept[:, scored], hours.usd[:, scored], hours.moved[:, scored])
            out[f"{timeframe}{suffix}"] = score.as_dict()
    return out

"""Fit the map's mix of leverage to real liquidations; the result records the data that it was fitted on.

Model, per hour h and side s: feed USD = report_factor x sum_k standing_k / standing0_k x M[h, s, k], where M is the USD
that the map with mix standing0 swept of class k. Fitted are the logs of `standing`, by least squares on ln(USD +
scores.FLOOR), pulled toward the prior with weight PULL; the sweep depends on the mix (swept positions are reopened), so
the fold and the fit are repeated ROUNDS times. Both sides share one mix.

Liquidations identify the mix's shape and the product of its level and the report factor, not the two separately. The
level comes from the literature: FORCED of open interest is liquidated a day (BitMEX: 3.51 % of longs, 1.89 % of shorts;
arXiv 2102.04591); the report factor is the share of it in the feed, and the remainder is all other open interest. A
class with less than EVIDENCE of the swept USD keeps its prior.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.recfunctions import repack_fields
from numpy.typing import NDArray

from liqsignals import liqmap
from liqsignals.clock import DAY, HOUR, Int64Array, iso
from liqsignals.data.tape import MapTape, bars_of
from liqsignals.errors import InputError
from liqsignals.evaluation import scores
from liqsignals.liqmap.calibration import Fitted
from liqsignals.liqmap.parameters import standing_of
from liqsignals.records import Float64Array, open_interest_max_age

PULL = 5.0

ROUNDS = 2

EVIDENCE = 0.02

FORCED = 0.027

#: Uncertainty of FORCED: the shorts' and the longs' share over their mean.
LEVEL = (0.7, 1.3)

#: Minimum hours, and minimum hours per side that moved more than 0.5 % toward it, that a fit accepts.
LEAST_HOURS, LEAST_MOVED = 21 * 24, 60

#: Share of the hours, the newest, held out for the scores in the file, with a mix fitted on the others.
HOLDOUT = 0.3

DRAWS = 200


@dataclass(frozen=True)
class Market:
    """One market to fit: its tape and the real liquidations (2, n) USD of the hours that open at `hours` (n,)."""

    tape: MapTape
    hours: Int64Array
    usd: Float64Array


# --- the fit
def by_hour(per_bar: Float64Array, tape: MapTape, hours: Int64Array) -> Float64Array:
    """Sums of (bars, ...) over the bars of each hour: (n, ...); NaN for hours without all their bars."""
    first, last, whole = bars_of(tape, hours)
    total = np.concatenate([np.zeros((1, *per_bar.shape[1:])), np.cumsum(per_bar, axis=0)])
    out = np.asarray(total[last] - total[first])
    out[~whole] = np.nan
    return out


def sweeps(tape: MapTape, parameters: liqmap.Parameters, hours: Int64Array) -> Float64Array:
    """USD that the map swept of each class: (n, 2, classes), by the hours that open at `hours` (n,), position USD.

    NaN where the map did not run through the whole hour, was not warm, or its open interest was stale.
    """
    fold = liqmap.Fold.of(tape, parameters)
    p = fold.plan
    fold.by_class = np.zeros((len(p.low), 2, len(parameters.classes)))
    fold.to(len(p.low))
    out = by_hour(fold.by_class, tape, hours)
    first, last, _ = bars_of(tape, hours)
    start = np.searchsorted(p.starts, first, side="right") - 1
    since = p.closes_at[p.starts[np.maximum(start, 0)]] if len(p.starts) else np.zeros(len(hours), np.int64)
    newest = np.minimum(last, len(p.low)) - 1
    fresh = hours + HOUR - p.measured_at[np.maximum(newest, 0)] <= open_interest_max_age(tape.period_ns)
    out[~((start >= 0) & (hours - since >= liqmap.WARMUP) & fresh)] = np.nan
    return out


def moves(tape: MapTape, hours: Int64Array) -> Float64Array:
    """ln of the furthest move from the hour's open, (2, n): down for longs, up for shorts; NaN without all its bars."""
    first, last, whole = bars_of(tape, hours)
    out = np.full((2, len(hours)), np.nan)
    for i in np.flatnonzero(whole):
        rows = tape.bars[first[i] : last[i]]
        out[:, i] = np.log(rows["open"][0] / rows["low"].min()), np.log(rows["high"].max() / rows["open"][0])
    return out


def _interest_usd(tape: MapTape, hours: Int64Array) -> Float64Array:
    p = liqmap.plan(tape)
    at = np.searchsorted(p.closes_at, hours, side="right") - 1
    return np.where(at >= 0, p.interest[at] * p.close[at], np.nan)


def _solve(swept: Float64Array, real: Float64Array, off: Float64Array, free: NDArray[np.bool_]) -> Float64Array:
    """Fitted log changes of the classes' masses (0 where not `free`).

    `swept` (m, classes) and `real` (m,) are feed USD, `off` is ln(mass / prior).
    """
    from scipy.optimize import least_squares

    target = np.log(real + scores.FLOOR)
    held = swept @ np.where(free, 0.0, 1.0) + scores.FLOOR
    m, k = swept[:, free], int(free.sum())

    def residuals(x: Float64Array) -> Float64Array:
        return np.concatenate([np.log(m @ np.exp(x) + held) - target, np.sqrt(PULL) * (off[free] + x)])

    def slopes(x: Float64Array) -> Float64Array:
        part = m * np.exp(x)
        return np.concatenate([part / (part.sum(axis=1) + held)[:, None], np.sqrt(PULL) * np.eye(k)])

    out = np.zeros(len(off))
    out[free] = least_squares(residuals, np.zeros(k), jac=slopes).x
    return out


def mixed(parameters: liqmap.Parameters, standing: Float64Array) -> liqmap.Parameters:
    """Parameters with these standing shares of open interest, scaled to a total of at most nine tenths."""
    standing = standing * min(1.0, 0.9 / standing.sum())
    classes = tuple(replace(c, standing=float(s)) for c, s in zip(parameters.classes, standing, strict=True))
    return replace(parameters, classes=classes, remainder=1.0 - float(standing.sum()))


@dataclass(frozen=True)
class _Stack:
    """All markets' hours with a map, concatenated."""

    swept: Float64Array
    real: Float64Array
    hours: Int64Array
    #: Total USD that the map swept in these hours, position USD.
    position: float


def _stack(markets: Sequence[Market], parameters: liqmap.Parameters) -> _Stack:
    """Swept USD (2 m, classes) scaled to the feed assuming FORCED a day; real USD (2 m,); hours (2 m,)."""
    rows, real, hours, position = [], [], [], 0.0
    for m in markets:
        swept = sweeps(m.tape, parameters, m.hours)
        there = np.isfinite(swept).all(axis=(1, 2))
        shown = m.usd[:, there].sum() / 2.0 / there.sum() * (DAY // HOUR)
        factor = shown / (FORCED * float(np.nanmean(_interest_usd(m.tape, m.hours[there]))))
        rows += [swept[there, side] * factor for side in range(2)]
        real += [m.usd[side, there] for side in range(2)]
        hours += [m.hours[there]] * 2
        position += float(swept[there].sum())
    return _Stack(np.concatenate(rows), np.concatenate(real), np.concatenate(hours), position)


def _lacks(markets: Sequence[Market], parameters: liqmap.Parameters) -> InputError | None:
    """The error that names what these markets lack to identify a mix; None where they suffice."""
    for m in markets:
        there = np.isfinite(sweeps(m.tape, parameters, m.hours)).all(axis=(1, 2))
        moved = (moves(m.tape, m.hours[there]) > scores.MOVED).sum(axis=1).tolist()
        some = [int((m.usd[side, there] > scores.FLOOR).sum()) for side in range(2)]
        if there.sum() < LEAST_HOURS or min(moved) < LEAST_MOVED or min(some) < LEAST_MOVED:
            return InputError(
                f"calibrate: too little data for {m.tape.pair}: {int(there.sum())} hours with a warm map "
                f"({LEAST_HOURS} are needed), {moved[0]} that fell and {moved[1]} that rose more than 0.5 %, "
                f"{some[0]} and {some[1]} with long and short liquidations above {scores.FLOOR:,.0f} USD "
                f"({LEAST_MOVED} of each)",
                "a longer table, or candles and open interest that reach back 14 days before it (liqsignals download)",
            )
    return None


def _fit(markets: Sequence[Market], prior: liqmap.Parameters) -> tuple[liqmap.Parameters, NDArray[np.bool_], _Stack]:
    """Parameters (report factor included), classes with evidence, and the stack of the fitted map."""
    parameters, start = prior, np.log(standing_of(prior))
    free = np.zeros(len(start), bool)
    for _ in range(ROUNDS):
        stack = _stack(markets, parameters)
        now = np.log(standing_of(parameters))
        free = _identified(stack)
        step = _solve(stack.swept, stack.real, now - start, free)
        parameters = mixed(parameters, np.exp(np.where(free, now + step, start)))
    stack = _stack(markets, parameters)
    return replace(parameters, report_factor=float(stack.real.sum()) / stack.position), free, stack


def _identified(stack: _Stack) -> NDArray[np.bool_]:
    """Classes with enough swept USD to identify their weight."""
    share = stack.swept.sum(axis=0)
    return np.asarray(share >= EVIDENCE * share.sum())


def fit(markets: Sequence[Market], source: str = "", holdout_from: int | None = None) -> Fitted:
    """Fit one mix to the markets' liquidations, with intervals and scores out of sample.

    The mix is fitted on all hours. The scores are those of a mix fitted on the hours before `holdout_from` (ns;
    default: the newest HOLDOUT of them are held out) on the hours after it; there are none where too few hours come
    before it. Intervals are the 5 % and 95 % of DRAWS resamplings of whole days, on the map of the fitted mix, widened
    by LEVEL. Raises InputError where there is too little data, or no scipy.
    """
    try:
        import scipy.optimize  # noqa: F401
    except ImportError as error:
        raise InputError(
            "calibrate needs scipy",
            "pip install -e '.[truth]'",
        ) from error
    prior = liqmap.Parameters()
    lacking = _lacks(markets, prior)
    if lacking is not None:
        raise lacking
    hours = np.sort(np.concatenate([m.hours for m in markets]))
    cut = holdout_from if holdout_from is not None else int(hours[int(len(hours) * (1.0 - HOLDOUT))])
    before = [Market(m.tape, m.hours[m.hours < cut], m.usd[:, m.hours < cut]) for m in markets]
    held_out = {}
    if _lacks(before, prior) is None:
        trial, _, _ = _fit(before, prior)
        for m in markets:
            after = m.hours >= cut
            predicted = trial.report_factor * sweeps(m.tape, trial, m.hours[after]).sum(axis=2).T
            held_out[m.tape.pair] = scores.hour_score(predicted, m.usd[:, after], moves(m.tape, m.hours[after]))
    parameters, identified, stack = _fit(markets, prior)
    off = np.log(standing_of(parameters)) - np.log(standing_of(prior))
    days = np.unique(stack.hours // DAY)
    rows = [np.flatnonzero(stack.hours // DAY == d) for d in days]
    draw = np.random.default_rng(0)
    steps = []
    for _ in range(DRAWS):
        chosen = np.concatenate([rows[i] for i in draw.integers(0, len(rows), len(rows))])
        steps.append(_solve(stack.swept[chosen], stack.real[chosen], off, identified))
    factors = np.exp(np.quantile(np.array(steps), (0.05, 0.95), axis=0)) * np.array(LEVEL)[:, None]
    classes = tuple(
        replace(c, doubt=(min(float(lo), 1.0), max(float(hi), 1.0))) if sure else c
        for c, sure, lo, hi in zip(parameters.classes, identified, *factors, strict=True)
    )
    mean = float(np.mean([np.mean(s.rank) for s in held_out.values()])) if held_out else np.nan
    # No score without held-out hours, or where they are all equal.
    score = mean if np.isfinite(mean) else None
    provenance = {
        "source": source,
        "pairs": sorted(m.tape.pair for m in markets),
        "span": [iso(int(hours[0])), iso(int(hours[-1]) + HOUR)],
        "hours": len(hours),
        "data_sha256": digest(markets),
        "out_of_sample": {"from": iso(cut), **{pair: s.as_dict() for pair, s in held_out.items()}},
    }
    return Fitted(
        replace(parameters, classes=classes, score=score, known_at=int(hours[-1]) + HOUR),
        tuple(bool(i) for i in identified),
        provenance,
    )


def digest(markets: Sequence[Market]) -> str:
    """SHA-256 of all input data of the fit."""
    seen = hashlib.sha256()
    for m in markets:
        # What is measured, without the restarts that are derived from it: the hash of a file's data stays the same.
        interest = repack_fields(m.tape.open_interest[["event_time", "known_at", "base"]])
        for array in (m.tape.bars, interest, m.hours, m.usd):
            seen.update(np.ascontiguousarray(array).tobytes())
    return seen.hexdigest()

"""Does anything beside volatility predict whether a cluster is touched: gates, and levels without a cluster.

**Gates.** For each group (momentum, map, funding, flows, macro, all of them): a logistic regression on the stated
log-odds with free intercept and slope and on the group's values, standardised, with a ridge; refitted each month on all
cases before it that had ended (purged by the horizon), scored on the month. A group's gate opens where it beats the
best simpler model (volatility as stated, volatility recalibrated) by LEAST of log loss on the earlier folds; the later
ones score it.

**Levels without a cluster.** At the same instant, a level on the same side at .7 and 1.4 times the distance, or at the
same distance on the other side, with less than half of the cluster's USD around it: was it touched as often, at the
same distance in volatilities?
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from liqsignals import liqmap
from liqsignals.clock import HOUR, Int64Array
from liqsignals.data.tape import MapTape, asof
from liqsignals.evaluation.touch import Cases, log_loss, odds, score, weekly
from liqsignals.liqmap import kernels
from liqsignals.liqmap.parameters import Parameters
from liqsignals.liqmap.squeeze import HORIZONS
from liqsignals.records import EVENTS, Float64Array
from liqsignals.sources import macro

#: Gain in log loss from which on a gate opens.
LEAST = 0.01
#: Weight of the squared standardised coefficients beside the mean log loss.
RIDGE = 3e-3
GROUPS: dict[str, tuple[str, ...]] = {
    "momentum": ("mom_1h", "mom_4h", "mom_1d", "mom_7d", "extreme_1d", "extreme_7d", "beyond_7d"),
    "map": ("usd", "imbalance", "near_1", "near_2", "near_5", "far_1", "far_2", "far_5", "remainder"),
    "funding": ("rate", "skew", "skew_size", "percentile"),
    "flows": ("inflow", "inflow_side", "netflow", "taker_1h", "taker_4h", "taker_1d", "interest", "interest_moved"),
    "macro": ("fomc", "cpi"),
}
MODELS = ("volatility", "recalibrated", *(f"+ {name}" for name in GROUPS), "all")

Table = dict[str, Float64Array]


def explanatory(tape: MapTape, c: Cases) -> tuple[Table, dict[str, Table]]:
    """Values of the GROUPS at one market's cases, all as known then, signed in the direction of the cluster; and the
    counts of events by horizon. What is not there is 0."""
    bars, s = tape.bars, c.side.astype(np.float64)
    row = np.searchsorted(bars["event_time"], c.at)
    log_close = np.log(bars["close"])
    per_h = HOUR // tape.bar_ns
    hourly, daily = c.sigma["1d"] / np.sqrt(24.0), c.sigma["1d"]
    column = c.columns
    out: Table = {}

    def back(n: int) -> Float64Array:
        return np.where(row >= n, log_close[row] - log_close[np.maximum(row - n, 0)], 0.0)

    for name, hours in (("1h", 1), ("4h", 4), ("1d", 24), ("7d", 168)):
        out[f"mom_{name}"] = s * back(hours * per_h) / (hourly * np.sqrt(hours))
    for name, days in (("1d", 1), ("7d", 7)):
        high = pd.Series(bars["high"]).rolling(24 * days * per_h, min_periods=1).max().to_numpy()[row]
        low = pd.Series(bars["low"]).rolling(24 * days * per_h, min_periods=1).min().to_numpy()[row]
        extreme = np.where(s > 0, np.log(high / column["close"]), np.log(column["close"] / low))
        out[f"extreme_{name}"] = extreme / (daily * np.sqrt(days))
        if days == 7:
            out["beyond_7d"] = (c.distance > extreme).astype(np.float64)
    worth = tape.open_interest["base"][np.maximum(asof(tape.open_interest, c.at), 0)] * column["close"]
    out["usd"], out["imbalance"] = np.log(column["usd"] / worth), s * column["liq_imbalance"]
    for band in (1, 2, 5):
        short, long = column[f"liq_short_usd_{band}pct"], column[f"liq_long_usd_{band}pct"]
        out[f"near_{band}"] = np.log(np.where(s > 0, short, long) / worth + 1e-4)
        out[f"far_{band}"] = np.log(np.where(s > 0, long, short) / worth + 1e-4)
    out["remainder"] = np.where(s > 0, column["liq_remainder_short"], column["liq_remainder_long"])
    out["rate"], out["skew"] = 1e4 * s * column["fund_rate_8h"], s * column["fund_skew_z"]
    out["skew_size"], out["percentile"] = np.abs(column["fund_skew_z"]), s * (column["fund_pct"] - 0.5)
    out["inflow"], out["netflow"] = column["flow_inflow_z"], 100.0 * column["flow_netflow_pct"]
    out["inflow_side"] = s * out["inflow"]
    taker = tape.kind("taker")
    for name, hours in (("1h", 1), ("4h", 4), ("1d", 24)):
        out[f"taker_{name}"] = np.zeros(len(c))
        if taker is not None and len(taker):
            last = asof(taker, c.at)
            bought, all_of = (np.concatenate([[0.0], np.cumsum(np.nan_to_num(taker[n]))]) for n in ("buy_base", "base"))
            n = hours * per_h
            first = np.maximum(last + 1 - n, 0)
            traded = all_of[last + 1] - all_of[first]
            share = 2.0 * (bought[last + 1] - bought[first]) / np.where(traded > 0.0, traded, np.nan) - 1.0
            out[f"taker_{name}"] = s * share
    out["interest"] = 100.0 * column["liq_oi_change_1h"]
    out["interest_moved"] = out["interest"] * out["mom_1h"]
    events = macro.calendar()
    ahead: dict[str, Table] = {}
    for name, hours in HORIZONS.items():
        ahead[name] = {}
        for kind in ("fomc", "cpi"):
            held = np.sort(
                events["scheduled_at"][(events["event"] == EVENTS.index(kind)) & (events["released_at"] == 0)]
            )
            counts = np.searchsorted(held, [c.at + hours * HOUR, c.at], side="right")
            ahead[name][kind] = (counts[0] - counts[1]).astype(np.float64)
    return {name: np.nan_to_num(values) for name, values in out.items()}, ahead


def stack(parts: Sequence[tuple[Table, dict[str, Table]]]) -> tuple[Table, dict[str, Table]]:
    """The values of several markets together, in the order of `touch.joined`."""
    plain = {name: np.concatenate([p[0][name] for p in parts]) for name in parts[0][0]}
    ahead = {h: {n: np.concatenate([p[1][h][n] for p in parts]) for n in ("fomc", "cpi")} for h in HORIZONS}
    return plain, ahead


@dataclass(frozen=True)
class Logistic:
    """A fitted gate: intercept, slope of the stated log-odds, coefficients of standardised values."""

    b: Float64Array
    mean: Float64Array
    spread: Float64Array

    def __call__(self, x: Float64Array, stated: Float64Array) -> Float64Array:
        z = (x - self.mean) / self.spread
        return np.asarray(1.0 / (1.0 + np.exp(-(self.b[0] + self.b[1] * stated + z @ self.b[2:]))))


def logistic(x: Float64Array, y: Float64Array, stated: Float64Array, ridge: float = RIDGE) -> Logistic:
    """Least mean log loss + ridge x squared coefficients, by Newton's method; `stated` are log-odds."""
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    a = np.column_stack([np.ones(len(y)), stated, (x - mean) / spread])
    penalty = 2.0 * ridge * np.concatenate([[0.0, 0.0], np.ones(x.shape[1])])
    b = np.concatenate([[0.0, 1.0], np.zeros(x.shape[1])])
    for _ in range(25):
        p = 1.0 / (1.0 + np.exp(-(a @ b)))
        weight = p * (1.0 - p) + 1e-9
        slope = a.T @ (p - y) / len(y) + penalty * b
        step = np.linalg.solve((a * weight[:, None]).T @ a / len(y) + np.diag(penalty), slope)
        b = b - step
        if np.abs(step).max() < 1e-9:
            break
    return Logistic(b, mean, spread)


def predictions(
    c: Cases, values: tuple[Table, dict[str, Table]], horizon: str, months: Sequence[int], pairs: Sequence[str]
) -> dict[str, Float64Array]:
    """Probabilities of each of MODELS for the cases in [months[0], months[-1]), refitted at each of `months` (ns) on
    the cases of `pairs` that had ended by then; NaN elsewhere.
    """
    y, stated = c.touched[horizon], odds(c.stated[horizon])
    known = np.isfinite(y)
    fitted_on, end = known & np.isin(c.pair, pairs), c.at + HORIZONS[horizon] * HOUR
    table = {**values[0], **values[1][horizon]}
    out = {name: np.full(len(c), np.nan) for name in MODELS}
    for first, last in pairwise(months):
        test, train = known & (c.at >= first) & (c.at < last), fitted_on & (end <= first)
        out["volatility"][test] = c.stated[horizon][test]
        for name in MODELS[1:]:
            wanted = GROUPS.get(name.removeprefix("+ "), ()) if name != "all" else sum(GROUPS.values(), ())
            x = np.column_stack([np.empty((len(c), 0)), *(table[n] for n in wanted)])
            model = logistic(x[train], y[train], stated[train])
            out[name][test] = model(x[test], stated[test])
    return out


def gains(
    p: Mapping[str, Float64Array], y: Float64Array, week: Int64Array, against: str, draws: int = 400
) -> dict[str, list[float]]:
    """Log loss gained by each model over one of them, a fraction of the latter's: [value, low, high]."""
    losses = {name: log_loss(v, y) for name, v in p.items()}

    def gained(rows: Int64Array) -> Float64Array:
        base = losses[against][rows].mean()
        return np.array([1.0 - losses[name][rows].mean() / base for name in p])

    value, ends = gained(np.arange(len(y))), weekly(gained, week, draws)
    return {name: [float(value[i]), float(ends[0, i]), float(ends[1, i])] for i, name in enumerate(p)}


def gates(
    c: Cases,
    values: tuple[Table, dict[str, Table]],
    months: Sequence[int],
    later: int,
    pairs: Sequence[str],
    draws: int = 400,
    horizons: Sequence[str] = tuple(HORIZONS),
) -> dict[str, Any]:
    """By horizon: gains on the earlier folds (before `later`, ns) that decide, on the later ones and on the pairs that
    nothing was fitted on, scores of every model there, and which gates open."""
    found: dict[str, Any] = {}
    for horizon in horizons:
        p, y = predictions(c, values, horizon, months, pairs), c.touched[horizon]
        scored, own = np.isfinite(p["recalibrated"]), np.isin(c.pair, pairs)
        spans = {"earlier": own & (c.at < later), "later": own & (c.at >= later), "transfer": ~own & (c.at >= later)}
        one: dict[str, Any] = {}
        for span, mask in spans.items():
            rows = np.flatnonzero(scored & mask)
            if len(rows) < 100 or y[rows].min() == y[rows].max():
                continue
            part = {name: v[rows] for name, v in p.items()}
            one[span] = {
                "over_volatility": gains(part, y[rows], c.week[rows], "volatility", draws),
                "over_recalibrated": gains(part, y[rows], c.week[rows], "recalibrated", draws),
                "scores": {name: score(v, y[rows], c.week[rows], draws=draws // 2) for name, v in part.items()},
            }
        first = one.get("earlier")
        if first is not None:
            gained = {name: first["over_volatility"][name][0] for name in MODELS}
            simpler = max(gained["volatility"], gained["recalibrated"])
            one["open"] = {name: bool(gained[f"+ {name}"] - simpler >= LEAST) for name in GROUPS}
        found[horizon] = one
    return found


# --- levels without a cluster
#: Edges of the distance in volatilities within which levels are compared.
_BINS = np.array([0.0, 0.4, 0.7, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 99.0])
#: USD of a level are those within this fraction of its price, as a cluster's.
_AROUND = 0.0025


def local_usd(tape: MapTape, parameters: Parameters, c: Cases, factors: Sequence[float]) -> Float64Array:
    """Position USD around levels at `factors` times the case's distance (n, k); a negative factor is the other side."""
    fold, out = liqmap.Fold.of(tape, parameters), np.full((len(c), len(factors)), np.nan)
    ends = fold.plan.closes_at
    order = np.argsort(c.at, kind="stable")
    for i in order:
        fold.to(int(np.searchsorted(ends, c.at[i], side="right")))
        book = fold.book
        if book is None:
            continue
        for k, factor in enumerate(factors):
            side = kernels.SHORT if c.side[i] * factor > 0 else kernels.LONG
            level = c.columns["close"][i] * np.exp(c.side[i] * factor * c.distance[i])
            first, last = np.searchsorted(book.price, [level * (1 - _AROUND), level * (1 + _AROUND)])
            held = np.empty(last - first)
            kernels.levels(book.arrays, side, first, last, held)
            out[i, k] = float((held * book.price[first:last]).sum())
    return out


def against_empty_levels(
    c: Cases, usd: Float64Array, factors: Sequence[float], horizon: str, draws: int = 400
) -> dict[str, Any]:
    """Share touched of clusters less that of empty levels at `factors`, matched on distance over volatility:
    [value, low, high], and their numbers. `usd` of `local_usd`, the first of whose factors is 1 (the cluster's own)."""
    sigma, bins = c.sigma[horizon], len(_BINS) - 1
    known = np.isfinite(c.touched[horizon])
    week, touched, where, real = [], [], [], []
    for k, factor in enumerate(factors):
        distance = np.abs(factor) * c.distance
        reach = c.toward[horizon] if factor > 0 else c.away[horizon]
        rows = known & ((usd[:, k] < 0.5 * usd[:, 0]) if k else True)
        week.append(c.week[rows])
        touched.append((reach >= distance - 1e-12)[rows].astype(np.float64))
        where.append(np.clip(np.digitize((distance / sigma)[rows], _BINS) - 1, 0, bins - 1))
        real.append(np.full(int(rows.sum()), k == 0))
    w, y, b, r = (np.concatenate(x) for x in (week, touched, where, real))

    def difference(rows: Int64Array) -> Float64Array:
        n1, n0 = (np.bincount(b[rows][m], minlength=bins) for m in (r[rows], ~r[rows]))
        s1, s0 = (np.bincount(b[rows][m], y[rows][m], bins) for m in (r[rows], ~r[rows]))
        both = (n1 > 0) & (n0 > 0)
        return np.array([(n1[both] * (s1[both] / n1[both] - s0[both] / n0[both])).sum() / max(n1[both].sum(), 1)])

    (value,), ends = difference(np.arange(len(y))), weekly(difference, w, draws)
    return {
        "touched_more": [float(value), float(ends[0, 0]), float(ends[1, 0])],
        "clusters": int(r.sum()), "empty_levels": int((~r).sum()),
    }  # fmt: skip

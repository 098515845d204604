"""Event study: returns after price meets a liquidation cluster, against matched candles without one.

Side up looks at short clusters above the price, side down at long clusters below; a return counts in the direction of
the event: s x ln(close later / close), s = 1 or -1. sigma_h is the map's volatility forecast (features/squeeze.py),
sigma_1h = sigma_4h / 2, m = s x return of the last hour / sigma_1h. Of each kind, pair and side the first event of 12
hours counts, where the map is warm and fresh.

=====================  =================================================================================================
approach               a cluster within sigma_4h, and m >= 1
touch                  the candle reaches the cluster that the map showed before it
sweep, extreme sweep   USD swept in 15 minutes / open interest above the 99.5 % (99.9 %) quantile of its 30 days before
rejection              a touch within the last hour, and a close back by sigma_1h / 2 or more
breakout under mass    a high (low) beyond all of 24 h, and mass within 2 % / open interest above its median of 30 days
flush                  m >= 2, and open interest fell by 1 % or more within the hour
=====================  =================================================================================================

**Placebo.** Up to 10 candles of the same pair within 60 days with the same move (m within .25, beyond 4 within 10 %) at
the same hour of the day (+- 1): not within 12 h after an event of the kind; for approach, touch and rejection without a
cluster within sigma_4h and none touched in the last hour. Their returns are scaled to the event's sigma_1h. A candle
before an event is not excluded: to know of the event would be to look ahead, and that alone made 27 of 56 cells
"significant" (docs/study.md). Returns are gross: no fees, no funding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liqsignals import features, liqmap
from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array, iso, to_dates
from liqsignals.data.tape import MapTape
from liqsignals.errors import InputError
from liqsignals.features import funding, liquidation_map
from liqsignals.records import Float64Array

Mask = NDArray[np.bool_]

SIDES = ("up", "down")
#: Hours after which returns are tested, and those of the pictures' paths.
HORIZONS = (1, 4, 12, 24)
PATH = (0.25, 0.5, 1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24)
#: Events of one kind, pair and side are at least this far apart; so is a placebo from the event before it.
APART = 12 * HOUR
#: Placebos: how many, from how far, how alike.
PLACEBOS, REACH, ALIKE = 10, 60 * DAY, 0.25
#: Fewest events with a placebo that are tested, and draws of weeks.
LEAST, DRAWS = 15, 2000
#: What events are split by at their median, and the horizon (hours) of that test.
SPLITS, SPLIT_HORIZON = ("cluster_size", "oi_change", "funding"), 12


@dataclass(frozen=True)
class Side:
    """One side of a pair's candles, (n,) each."""

    events: dict[str, Mask]
    #: Candles that may be placebos of the kinds that are about a cluster, and of all others.
    free: Mask
    usable: Mask
    #: Move of the last hour in sigma_1h, in the side's direction.
    move: Float64Array
    #: Share of open interest of the nearest cluster before the candle.
    cluster_size: Float64Array


@dataclass(frozen=True)
class Candles:
    """What the study needs of a pair's n candles."""

    pair: str
    at: Int64Array
    bar_ns: int
    log_close: Float64Array
    sigma_1h: Float64Array
    oi_change: Float64Array
    funding: Float64Array
    sides: tuple[Side, Side]

    def after(self, rows: Int64Array, hours: float) -> Float64Array:
        """ln(close `hours` later / close) of rows; NaN beyond the data and across a hole."""
        steps = round(hours * HOUR / self.bar_ns)
        last = np.minimum(rows + steps, len(self.at) - 1)
        whole = (steps > 0) & (self.at[last] - self.at[rows] == steps * self.bar_ns)
        return np.where(whole, self.log_close[last] - self.log_close[rows], np.nan)


#: Kinds whose placebo must have no cluster near.
_ABOUT_A_CLUSTER = ("approach", "touch", "rejection")
KINDS = ("approach", "touch", "sweep", "rejection", "breakout under mass", "flush", "extreme sweep")


def candles(tape: MapTape, parameters: liqmap.Parameters) -> Candles:
    """Events and possible placebos of a pair, at every bar that the map folds. Each depends on its past only."""
    if tape.bar_ns > HOUR or HOUR % tape.bar_ns:
        raise InputError(f"study: {tape.pair} has candles of {tape.bar_ns // MINUTE}m", "candles of 1h or finer")
    at, closes = tape.bars["event_time"].copy(), tape.bars["close"].copy()
    context = features.Context.of(tape, at, closes, tape.bar_ns, parameters, None, features.Markets())
    found = context.map()
    if found is None or parameters.squeeze is None:
        raise InputError(f"study: {tape.pair} has no map, or no volatility (squeeze: none)")
    columns = {**liquidation_map.compute(context), **funding.compute(context)}
    sigma_4h = np.where(found.usable(at), found.reading.sigma[:, 0], np.nan)
    worth = found.reading.interest * closes
    hour = HOUR // tape.bar_ns
    log_close, sigma_1h = np.log(closes), sigma_4h / 2.0
    moved = np.full(len(at), np.nan)
    moved[hour:] = np.where(at[hour:] - at[:-hour] == HOUR, log_close[hour:] - log_close[:-hour], np.nan)
    usable = (columns["liq_warm"] == 1) & (columns["liq_fresh"] == 1) & np.isfinite(sigma_1h)
    sides = tuple(_side(tape, columns, side, log_close, sigma_4h, worth, moved, usable) for side in range(len(SIDES)))
    rate = columns["fund_rate_8h"]
    return Candles(
        tape.pair, at, tape.bar_ns, log_close, sigma_1h, columns["liq_oi_change_1h"], rate, (sides[0], sides[1])
    )


def _side(
    tape: MapTape,
    columns: dict[str, Float64Array],
    side: int,
    log_close: Float64Array,
    sigma_4h: Float64Array,
    worth: Float64Array,
    moved: Float64Array,
    usable: Mask,
) -> Side:
    sign, where, kind = ((1.0, "above", "short"), (-1.0, "below", "long"))[side]
    hour, day = HOUR // tape.bar_ns, DAY // tape.bar_ns
    sigma_1h = sigma_4h / 2.0
    extreme = np.log(tape.bars["high" if side == 0 else "low"])
    price = np.log(columns[f"liq_{where}_price"])
    with np.errstate(invalid="ignore"):
        move = sign * moved / sigma_1h
        near = np.abs(price - log_close) <= sigma_4h
        before = np.append(np.nan, price[:-1])
        touch = sign * (extreme - before) >= 0.0
        # The cluster touched last, for an hour.
        touched = pd.Series(np.where(touch, before, np.nan)).ffill(limit=hour).to_numpy()
        back = sign * (log_close - touched) <= -0.5 * sigma_1h
        swept = _rolled(columns[f"liq_swept_{kind}_usd"] / worth, max(15 * MINUTE // tape.bar_ns, 1), "sum")
        beyond = sign * extreme > np.append(np.nan, _rolled(sign * extreme, day, "max")[:-1])
        mass = columns[f"liq_{kind}_usd_2pct"] / worth
        events = {
            "approach": near & (move >= 1.0),
            "touch": touch,
            "sweep": swept > _past_quantile(swept, 0.995, day),
            "rejection": back,
            "breakout under mass": beyond & (mass > _past_quantile(mass, 0.5, day)),
            "flush": (move >= 2.0) & (columns["liq_oi_change_1h"] <= -0.01),
            "extreme sweep": swept > _past_quantile(swept, 0.999, day),
        }
    lately = pd.Series(touch).rolling(hour, min_periods=1).max().to_numpy() > 0
    size = columns[f"liq_{where}_usd"] / worth
    return Side(
        {name: mask & usable for name, mask in events.items()},
        usable & ~near & ~lately,
        usable,
        move,
        np.append(np.nan, size[:-1]),
    )


def _rolled(values: Float64Array, n: int, how: str) -> Float64Array:
    return pd.Series(values).rolling(n).agg(how).to_numpy()


def _past_quantile(values: Float64Array, q: float, day: int) -> Float64Array:
    """Quantile of the 30 days before each row, itself excluded; NaN with fewer than 10 days of them."""
    rolled = pd.Series(values).rolling(30 * day, min_periods=10 * day).quantile(q).to_numpy()
    return np.append(np.nan, rolled[:-1])


@dataclass(frozen=True)
class Case:
    """One event: which, when, its returns (bp) and those of its placebos, in order of the hours asked for."""

    pair: str
    kind: str
    side: int
    at: int
    #: Row of the candle, and rows of its placebos.
    row: int
    placebos: Int64Array


def cases(c: Candles, seed: int = 0) -> list[Case]:
    """Every event of a pair with its placebos; which placebos of too many depends on `seed`."""
    rng = np.random.default_rng(seed)
    hour_of_day = c.at // HOUR % 24
    out = []
    for s, side in enumerate(c.sides):
        for kind in KINDS:
            rows = np.flatnonzero(side.events[kind])
            allowed = (side.free if kind in _ABOUT_A_CLUSTER else side.usable) & ~_within(c.at, rows)
            may = np.flatnonzero(allowed)
            last = -APART
            for row in rows:
                if c.at[row] - last < APART:
                    continue
                last = int(c.at[row])
                alike = ALIKE if abs(side.move[row]) < 4.0 else 0.1 * abs(side.move[row])
                around = may[np.searchsorted(c.at[may], last - REACH) : np.searchsorted(c.at[may], last + REACH)]
                apart = np.abs(hour_of_day[around] - hour_of_day[row])
                fits = (np.minimum(apart, 24 - apart) <= 1) & (np.abs(side.move[around] - side.move[row]) <= alike)
                around = around[fits]
                if len(around) > PLACEBOS:
                    around = np.sort(rng.choice(around, PLACEBOS, replace=False))
                out.append(Case(c.pair, kind, s, last, int(row), around))
    return out


def _within(at: Int64Array, rows: Int64Array) -> Mask:
    """Candles from an event on for APART: what is known at the candle, and nothing of after it."""
    last = np.searchsorted(at[rows], at, side="right") - 1
    return (last >= 0) & (at - at[rows[np.maximum(last, 0)]] < APART) if len(rows) else np.zeros(len(at), bool)


def table(markets: Sequence[Candles], seed: int = 0) -> pd.DataFrame:
    """One row an event: pair, kind, side, date, week, `size` of SPLITS, and for each hour h of HORIZONS and PATH its
    return `event_h` and the mean of its placebos' `placebo_h` (bp; NaN without one).
    """
    hours = sorted({*HORIZONS, *PATH})
    rows: list[dict[str, Any]] = []
    for c in markets:
        for case in cases(c, seed):
            sign, one = (1.0, -1.0)[case.side], np.array([case.row])
            row: dict[str, Any] = {
                "pair": c.pair,
                "kind": case.kind,
                "side": SIDES[case.side],
                "date": case.at,
                "placebos": len(case.placebos),
                "cluster_size": c.sides[case.side].cluster_size[case.row],
                "oi_change": c.oi_change[case.row],
                "funding": c.funding[case.row],
            }
            scale = c.sigma_1h[case.row] / c.sigma_1h[case.placebos]
            for h in hours:
                row[f"event_{h:g}"] = 1e4 * sign * float(c.after(one, h)[0])
                others = 1e4 * sign * c.after(case.placebos, h) * scale
                others = others[np.isfinite(others)]
                row[f"placebo_{h:g}"] = float(others.mean()) if len(others) else np.nan
            rows.append(row)
    out = pd.DataFrame(rows)
    if len(out):
        out["week"] = to_dates(out["date"].to_numpy()).strftime("%G-%V")
    return out


@dataclass(frozen=True)
class _Weeks:
    """Draws of whole weeks, the same for every test: all pairs together, because they move together."""

    names: list[str]
    counts: Float64Array

    def means(self, week: pd.Series, value: pd.Series) -> tuple[float, Float64Array]:
        """Mean of the values, and of each draw."""
        at = np.searchsorted(self.names, week.to_numpy(str))
        sums = np.bincount(at, value, len(self.names))
        sizes = np.bincount(at, minlength=len(self.names))
        drawn = self.counts @ sums / np.maximum(self.counts @ sizes, 1.0)
        return float(sums.sum() / sizes.sum()), drawn


def _tested(value: float, drawn: Float64Array) -> dict[str, Any]:
    p = 2.0 * min(float((drawn <= 0).mean()), float((drawn >= 0).mean()))
    spread = float(drawn.std())
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "value": value,
        "low": float(low),
        "high": float(high),
        "p": min(max(p, 1.0 / len(drawn)), 1.0),
        "t": value / spread if spread > 0 else 0.0,
    }


def study(markets: Sequence[Candles], seed: int = 0, since: int | None = None) -> dict[str, Any]:
    """The study of several pairs as plain data (bp): cells, splits, paths, and the number of tests.

    Each cell (kind, side, hours) has the mean return of its events, that minus their placebos' with a 95 % interval and
    p of the difference from draws of whole weeks, and `p_family`: the share of draws in which the largest |t| of all
    tests is as large. Events before `since` (ns) are left out. Raises InputError without any event.
    """
    events = table(markets, seed)
    if len(events) and since is not None:
        events = events[events["date"] >= since]
    if len(events) == 0:
        raise InputError(
            "study: no event; the map must have been warm (14 days) and the volatility known",
            "more data: candles and open interest of some months",
        )
    names = sorted(set(events["week"]))
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(names), (DRAWS, len(names)))
    weeks = _Weeks(names, np.stack([np.bincount(d, minlength=len(names)) for d in draws]).astype(np.float64))
    cells, centred = [], []
    for (kind, side), group in ((k, events[(events.kind == k[0]) & (events.side == k[1])]) for k in _keys()):
        for h in HORIZONS:
            event, other = group[f"event_{h:g}"], group[f"placebo_{h:g}"]
            there = event.notna() & other.notna()
            cell: dict[str, Any] = {"kind": kind, "side": side, "hours": h, "events": len(group), "n": int(there.sum())}
            if cell["n"] >= LEAST:
                value, drawn = weeks.means(group["week"][there], (event - other)[there])
                cell |= {"event": float(event[there].mean()), **_tested(value, drawn)}
                centred.append((cell, drawn - value))
            cells.append(cell)
    splits = []
    for kind, side in _keys():
        group = events[(events.kind == kind) & (events.side == side)]
        for by in SPLITS:
            splits.append(split := {"kind": kind, "side": side, "by": by, **_split(group, by, weeks)})
            if "p" in split:
                centred.append((split, split.pop("drawn") - split["value"]))
    largest = np.max([np.abs(d / d.std()) if d.std() > 0 else np.zeros(len(d)) for _, d in centred] or [[0.0]], axis=0)
    for cell, _ in centred:
        cell["p_family"] = max(float((largest >= abs(cell["t"])).mean()), 1.0 / DRAWS)
    return {
        "pairs": [c.pair for c in markets],
        "from": iso(int(events["date"].min())),
        "to": iso(int(events["date"].max())),
        "weeks": len(names),
        "tests": len(centred),
        "small_p": sum(cell["p"] < 0.05 for cell, _ in centred),
        "cells": cells,
        "splits": splits,
        "paths": _paths(events, weeks),
    }


def _keys() -> list[tuple[str, str]]:
    return [(kind, side) for side in SIDES for kind in KINDS]


def _split(group: pd.DataFrame, by: str, weeks: _Weeks) -> dict[str, Any]:
    """Event minus placebo of the events above the median of `by`, minus that of the others."""
    h = f"{SPLIT_HORIZON:g}"
    there = group[f"event_{h}"].notna() & group[f"placebo_{h}"].notna() & group[by].notna()
    group = group[there]
    middle = float(group[by].median()) if len(group) else np.nan
    high = group[by] > middle
    out: dict[str, Any] = {"hours": SPLIT_HORIZON, "median": middle if np.isfinite(middle) else None}
    out |= {"n_high": int(high.sum()), "n_low": int((~high).sum())}
    if min(out["n_high"], out["n_low"]) < LEAST:
        return out
    excess = group[f"event_{h}"] - group[f"placebo_{h}"]
    (above, a), (below, b) = (weeks.means(group["week"][m], excess[m]) for m in (high, ~high))
    return {**out, "high_half": above, "low_half": below, **_tested(above - below, a - b), "drawn": a - b}


def _paths(events: pd.DataFrame, weeks: _Weeks) -> list[dict[str, Any]]:
    """Mean event and placebo returns (bp) by hours after the event, with a 95 % band of the events' mean."""
    out = []
    for kind, side in _keys():
        group = events[(events.kind == kind) & (events.side == side)]
        path: dict[str, Any] = {
            "kind": kind,
            "side": side,
            "hours": [],
            "event": [],
            "low": [],
            "high": [],
            "placebo": [],
        }
        for h in PATH:
            event, other = group[f"event_{h:g}"], group[f"placebo_{h:g}"]
            there = event.notna() & other.notna()
            if there.sum() < LEAST:
                continue
            value, drawn = weeks.means(group["week"][there], event[there])
            low, high = np.quantile(drawn, [0.025, 0.975])
            for name, number in (
                ("hours", h), ("event", value), ("low", low), ("high", high), ("placebo", other[there].mean()),
            ):  # fmt: skip
                path[name].append(float(number))
        out.append(path)
    return out

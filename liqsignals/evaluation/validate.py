"""`liqsignals validate`: a map against the liquidations that followed, with baselines on the same hours.

Three questions, each with 95 % intervals from a bootstrap of whole UTC days:

- **hours** (scores.py): does the swept mass of an hour agree with its liquidations, given the hour's path? Over all
  hours, over those that moved, and over those that reach prices not traded for 72 h, where only far levels can
  contribute;
- **ages** (ages.py): how much of that comes from levels younger than 12 h, of 12 to 72 h, and older;
- **levels** (level_lift.py): does the top tenth of the levels within 15 % by mass hold more than a tenth of the
  liquidations of the next 24 h? Real liquidations have hours and no prices: an hour's USD of a side is spread evenly
  over the levels that this hour was the first to reach since the snapshot, and not placed where it reached none (it
  came from later positions).

Baselines (baselines.py) without a scale of their own (range, peers, maps of short memory) are scaled by one factor,
real over predicted dollars of the hours before `fit_until`; boosted trees are trained on those hours. Everything is
scored from `fit_until` on. Trees, range and peers use open interest at once, the map only when it could be used live.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals.clock import DAY, HOUR, Int64Array, iso, parse_time
from liqsignals.data.tape import MapTape
from liqsignals.errors import InputError
from liqsignals.evaluation import fit, scores
from liqsignals.evaluation.ages import COHORT, Aged, fold_by_age
from liqsignals.evaluation.baselines import predictions
from liqsignals.evaluation.candle_sizes import by_candle, coarser
from liqsignals.evaluation.cases import Case, Mask, case, split
from liqsignals.evaluation.intervals import intervals, number
from liqsignals.evaluation.level_lift import instants, level_lift
from liqsignals.evaluation.true_levels import against_true, true_levels
from liqsignals.liqmap import calibration
from liqsignals.records import Float64Array

#: The fold by age starts at most this long before the first hour; older mass has closed by then.
BACK = 180 * DAY


def by_model(c: Case, models: dict[str, Float64Array]) -> dict[str, Any]:
    """Hour scores of every model, and paired differences: map - each other model, trees with map - trees."""
    filled = {name: np.nan_to_num(p) for name, p in models.items()}
    pairs = [("map", name) for name in models if name != "map"]
    if "trees with map" in models:
        pairs.append(("trees with map", "trees"))
    scored = intervals(c, filled, pairs)
    months = scores.by_month(c.hours)
    out: dict[str, Any] = {"models": {}, "paired": {f"{a} - {b}": scored[f"{a} - {b}"] for a, b in pairs}}
    for name, p in models.items():
        whole = scores.hour_score(p[:, c.test], c.real[:, c.test], c.moved[:, c.test]).as_dict()
        whole["intervals"] = scored[name]
        whole["rank_anew"] = scored[name]["rank_anew"]["value"]
        whole["months"] = {
            month: scores.hour_score(p[:, m & c.test], c.real[:, m & c.test], c.moved[:, m & c.test]).as_dict()
            for month, m in months.items()
            if (m & c.test).any()
        }
        out["models"][name] = whole
    return out


def by_age(c: Case, aged: Aged, covered: Mask) -> dict[str, Any]:
    """Rank correlation of the swept mass of each age, over the same hours, and each age's share of it."""
    swept = np.nan_to_num(fit.by_hour(aged.swept, aged.tape, c.hours)).transpose(1, 0, 2)
    swept = np.where(covered[None, :, None], swept, 0.0)
    kinds = {
        "< 12 h": swept[:, :, :2].sum(axis=2),
        "12 .. 72 h": swept[:, :, 2],
        "> 72 h": swept[:, :, 3],
        "all ages": swept.sum(axis=2),
        "< 72 h": swept[:, :, :3].sum(axis=2),
    }
    pairs = [("all ages", "< 12 h"), ("all ages", "< 72 h")]
    scored = intervals(c, kinds, pairs)
    total = kinds["all ages"]
    share = {
        name: {
            "share": [number(_ratio(s[side, c.test].sum(), total[side, c.test].sum())) for side in range(2)],
            "share_anew": [
                number(
                    _ratio(s[side, c.test & c.new_prices[side]].sum(), total[side, c.test & c.new_prices[side]].sum())
                )
                for side in range(2)
            ],
        }
        for name, s in kinds.items()
    }
    ages = {name: {**share[name], **scored[name]} for name in kinds}
    return {"ages": ages, "paired": {f"{a} - {b}": scored[f"{a} - {b}"] for a, b in pairs}}


def _ratio(a: float, b: float) -> float:
    return float(a) / float(b) if b > 0.0 else float("nan")


@dataclass(frozen=True)
class Validation:
    """Result of `liqsignals validate`: plain data, and the arrays for the charts."""

    found: dict[str, Any]
    case: Case
    models: dict[str, Float64Array]


def trained(fitted: calibration.Fitted) -> tuple[int, int] | None:
    """Begin and end (ns) of the hours that a calibration was fitted on, None without any.

    The span counts for every pair, because large coins are liquidated in the same hours.
    """
    span = fitted.provenance.get("span")
    return (parse_time(span[0]), parse_time(span[1])) if span else None


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

    `fit_until` (ns): trees are trained before it, everything is scored from it on. `found` is JSON-able; NaN is None.
    """
    if len(hours) == 0:
        raise InputError(
            "validate: no hours of liquidations in the span",
            "another --from or --to",
        )
    for size in candles:  # an error before the long work
        coarser(tape, size)
    parameters, seen = fitted.parameters, trained(fitted)
    c = case(tape, hours, real, split(hours, seen[1] if seen else None) if fit_until is None else fit_until)
    truth = true_levels(hyperliquid, tape.pair.split("/")[0]) if hyperliquid is not None else []
    since = int(hours[0]) - BACK
    recent = replace(
        tape,
        bars=tape.bars[tape.bars["event_time"] > since],
        open_interest=tape.open_interest[tape.open_interest["event_time"] >= since],
    )
    aged = fold_by_age(recent, parameters, [*instants(c), *(when // COHORT * COHORT for when, _, _ in truth)])
    models = predictions(c, parameters, aged, baselines)
    covered: Mask = np.asarray(np.isfinite(models["map"]).all(axis=0))
    found: dict[str, Any] = {
        "pair": tape.pair,
        "scored": [iso(int(hours[c.test][0])), iso(int(hours[-1]) + HOUR)],
        "fitted_until": iso(int(hours[~c.test][-1]) + HOUR),
        "calibration_saw": None if seen is None else [iso(seen[0]), iso(seen[1])],
        # Out of sample only where the calibration was fitted on none of the scored hours.
        "in_sample": seen is not None and seen[0] <= int(hours[-1]) and seen[1] > int(hours[c.test][0]),
        "hours": int(c.test.sum()),
        "hours_moved": [int((c.moved[s, c.test] > scores.MOVED).sum()) for s in range(2)],
        "hours_anew": [int(c.new_prices[s][c.test].sum()) for s in range(2)],
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

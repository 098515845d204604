"""Baselines: trees on price, volume and open interest, the price range, peers' rules, maps of short memory."""

from collections.abc import Callable

import numpy as np

from liqsignals import liqmap
from liqsignals.clock import HOUR, Int64Array
from liqsignals.data.tape import MapTape, bars_of
from liqsignals.errors import InputError
from liqsignals.evaluation import fit, peers, scores
from liqsignals.evaluation.ages import Aged
from liqsignals.evaluation.cases import Case, over_before
from liqsignals.records import Float64Array


def features(tape: MapTape, hours: Int64Array) -> tuple[list[str], Float64Array]:
    """The trees' inputs (n, 25): price, volume and open interest of the hour itself and of the time before it."""
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
            "range": np.log(highs / lows),
            "down": np.log(opened / lows),
            "up": np.log(highs / opened),
            "return": np.log(closes / opened),
            "volume": np.log(traded),
            "widest_bar": span[rows].max(axis=1),
            "volatility": np.log(np.sqrt((steps[rows] ** 2).sum(axis=1)) + 1e-6),
            "largest_volume": np.log(volume[rows].max(axis=1)),
            "ranges": span[rows].sum(axis=1),
            "falls": np.maximum(-steps, 0.0)[rows].sum(axis=1),
            "rises": np.maximum(steps, 0.0)[rows].sum(axis=1),
        }
        for h in (3, 12, 24, 72):
            out[f"below_{h}h"] = np.log(lows / over_before(low, tape, first, h, "min"))
            out[f"above_{h}h"] = np.log(highs / over_before(high, tape, first, h, "max"))
        out["volume_to_day"] = np.log(traded / (over_before(volume, tape, first, 24, "sum") / 24))
        out["volume_before"] = np.log(over_before(volume, tape, first, 1, "sum"))
        for name, begin, end in (("oi_change", 0, 1), ("oi_change_before", -1, 0), ("oi_change_day", -24, 0)):
            out[name] = np.log(
                peers.interest_at(tape, hours + end * HOUR) / peers.interest_at(tape, hours + begin * HOUR)
            )
        out["oi"] = np.log(peers.interest_at(tape, hours))
    table = np.stack(list(out.values()), axis=1)
    table[~whole] = np.nan
    table[~np.isfinite(table)] = np.nan
    return list(out), table


def trees(c: Case, table: Float64Array, seeds: int = 3) -> Float64Array:
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
                    max_iter=300,
                    learning_rate=0.04,
                    max_leaf_nodes=12,
                    min_samples_leaf=20,
                    l2_regularization=5.0,
                    max_features=0.5,
                    random_state=seed,
                )
                model.fit(table[~c.test], target[~c.test])
                guesses.append(model.predict(table[c.test]))
            out[side, c.test] = np.maximum(np.exp(np.mean(guesses, axis=0)) - scores.FLOOR, 0.0)
    return out


def _scaled(c: Case, predicted: Float64Array) -> Float64Array:
    """Predictions scaled by one factor for both sides: real over predicted dollars of the hours before the test."""
    known = np.isfinite(predicted) & ~c.test
    factor = scores.dollar_ratio(predicted[known], c.real[known])
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
    out["trees"] = trees(c, table)
    with_map = np.log(np.nan_to_num(own) + scores.FLOOR).T
    out["trees with map"] = trees(c, np.concatenate([table, with_map], axis=1))
    return out

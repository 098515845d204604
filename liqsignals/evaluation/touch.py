"""The probability of touch: fitted on candles, and scored on the clusters that a map had.

**Fit.** Of one or several markets' candles until an instant: the season of the hour of the week, the forecast of
variance (least squares in logarithms) and the scale of the excursions' distribution (log loss of the share of
excursions beyond fixed multiples of the forecast). No map and no cluster enters, so that every score on clusters is out
of sample.

**Scores.** A case is a full hour, a side, a fresh and warm map with a major cluster; touched iff a later candle within
the horizon reaches the cluster's price. Hours overlap and coins move together: intervals resample whole weeks, all
pairs together, and the effective number of cases is that of independent ones with the same variance of the mean
residual.

Half-lives, season, distribution and pooled sides were chosen on data before 2025-07 (docs/squeeze.md).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from liqsignals import features
from liqsignals.clock import DAY, HOUR, Int64Array, iso
from liqsignals.data.tape import MapTape
from liqsignals.errors import InputError
from liqsignals.liqmap import kernels
from liqsignals.liqmap.parameters import Parameters
from liqsignals.liqmap.squeeze import HORIZONS, VOLUME_HALF_LIFE, Horizon, Squeeze, touch_probability
from liqsignals.records import Float64Array, Records

#: Half-lives of the means of variance, hours: roughly thirds of a decade from an hour to a month.
HALF_LIVES = (1.0, 4.0, 24.0, 168.0, 720.0)
#: Cases of a fit begin so long after the candles do: the longest mean has three half-lives by then.
WARM = 90 * DAY
#: The season compares an hour's variance with the mean of so many before it (at least LEAST of them), outliers cut at
#: CUT; a weekday's hour is drawn halfway to the mean of all weekdays.
_BEFORE, _LEAST, _CUT, _SHRINK = 504, 200, 12.0, 0.5
#: Multiples of the forecast at which the distribution of excursions is fitted, uniform in logarithm.
_MULTIPLES = np.exp(np.linspace(math.log(0.15), math.log(8.0), 40))
#: Probabilities are scored as at least this far from 0 and 1.
CLIP = 1e-4
WEEK = 7 * DAY
DRAWS = 400


@dataclass(frozen=True)
class Candles:
    """One market's bars (records.BAR, without gaps beyond holes) of `bar_ns`."""

    pair: str
    bars: Records
    bar_ns: int


def _parkinson(bars: Records) -> Float64Array:
    return np.asarray(np.log(bars["high"] / bars["low"]) ** 2 / (4.0 * math.log(2.0)))


def season(markets: Sequence[Candles]) -> Float64Array:
    """Mean variance of each hour of the week (UTC, from Monday) over that of the hours before it, mean 1: (168,)."""
    total, count = np.zeros(kernels.WEEK), np.zeros(kernels.WEEK)
    for m in markets:
        opened = (m.bars["event_time"] - m.bar_ns) // HOUR
        hours, first = np.unique(opened, return_index=True)
        whole = np.diff(np.append(first, len(opened))) == HOUR // m.bar_ns
        high, low = (reduce.reduceat(m.bars[n], first) for reduce, n in ((np.maximum, "high"), (np.minimum, "low")))
        variance = pd.Series(np.where(whole, np.log(high / low) ** 2, np.nan))
        before = variance.rolling(_BEFORE, min_periods=_LEAST).mean().shift(1)
        relative = np.minimum((variance / before).to_numpy(), _CUT)
        there = np.isfinite(relative)
        of_week = (hours[there] + 72) % kernels.WEEK
        total += np.bincount(of_week, relative[there], kernels.WEEK)
        count += np.bincount(of_week, minlength=kernels.WEEK)
    if (count < 4).any():
        raise InputError(
            "touch: candles of less than four weeks; a season of the week cannot be fitted", "more candles"
        )
    by_day = (total / count).reshape(7, 24)
    by_day[:5] = (1.0 - _SHRINK) * by_day[:5] + _SHRINK * by_day[:5].mean(axis=0)
    return np.asarray(np.round((by_day / by_day.mean()).ravel(), 4))


def _ahead(values: Float64Array, n: int, reduce: str) -> Float64Array:
    """Maximum, minimum or sum of the `n` values after each; NaN where there are fewer."""
    rolled = pd.Series(values[::-1]).rolling(n).agg(reduce).to_numpy()[::-1]
    return np.append(rolled[1:], np.nan)


def excursions(bars: Records, bar_ns: int, hours: int) -> tuple[Float64Array, Float64Array]:
    """Log price from each bar's close to the highest high and to the lowest low of the `hours` after it, at least 0;
    NaN where candles of them are missing."""
    n = hours * HOUR // bar_ns
    whole = np.append(bars["event_time"][n:] - bars["event_time"][: len(bars) - n] == n * bar_ns, np.zeros(n, bool))
    up = np.log(_ahead(bars["high"], n, "max") / bars["close"])
    down = np.log(bars["close"] / _ahead(bars["low"], n, "min"))
    up, down = (np.where(whole[: len(bars)], np.maximum(x, 0.0), np.nan) for x in (up, down))
    return up, down


def means_of(m: Candles, of_week: Float64Array, rows: Int64Array) -> Float64Array:
    """Means of variance after the bars `rows` (n,), by half-life: (n, k)."""
    bars, half_lives = m.bars, np.array([*HALF_LIVES, VOLUME_HALF_LIFE])
    fields = [np.ascontiguousarray(bars[n]) for n in ("low", "high", "close", "volume", "event_time")]
    means = np.full((len(rows), len(half_lives)), np.nan)
    kernels.run_volatility(
        *fields, m.bar_ns, half_lives, of_week, 0, len(bars), np.zeros((len(half_lives), 2)), rows, means
    )
    return means[:, :-1]


def sigma_of(means: Float64Array, at: Int64Array, s: Squeeze) -> Float64Array:
    """Volatility forecast from means of variance (n, k) for the horizons after `at` (n,) ns: (n, m)."""
    sigma = np.full((len(at), len(HORIZONS)), np.nan)
    kernels.expect(np.column_stack([means, np.ones(len(at))]), at, s.forecast(), sigma)
    return sigma


def fit_touch(markets: Sequence[Candles], until: int | None = None) -> Squeeze:
    """Parameters fitted on candles that closed by `until` (ns), all of them unless given.

    `known_at` is `until`: no case ends later. The constants of the cascade are not fitted. Raises InputError for too
    few candles.
    """
    last = until if until is not None else max(int(m.bars["event_time"][-1]) for m in markets if len(m.bars))
    kept = [Candles(m.pair, m.bars[m.bars["event_time"] <= last], m.bar_ns) for m in markets]
    for m in kept:
        if len(m.bars) == 0 or m.bars["event_time"][-1] - m.bars["event_time"][0] < 2 * WARM:
            raise InputError(
                f"touch: {m.pair} has less than {2 * WARM // DAY} days of candles before {iso(last)}",
                "liqsignals download with more --days, or a later --until",
            )
        if HOUR % m.bar_ns:
            raise InputError(f"touch: {m.pair}: candles must be of 1m to 1h")
    of_week = season(kept)
    ahead = np.concatenate([[0.0], np.cumsum(np.tile(of_week, 2))])
    logs: dict[str, list[Float64Array]] = {name: [] for name in HORIZONS}
    for m in kept:
        at = m.bars["event_time"]
        rows = np.flatnonzero((at % HOUR == 0) & (at - at[0] >= WARM)).astype(np.int64)
        means, variance = means_of(m, of_week, rows), _parkinson(m.bars)
        whole = (at[rows] // HOUR + 72) % kernels.WEEK
        for name, hours in HORIZONS.items():
            realised = _ahead(variance, hours * HOUR // m.bar_ns, "sum")[rows]
            seasonal = ahead[whole + hours] - ahead[whole]
            up, down = (x[rows] for x in excursions(m.bars, m.bar_ns, hours))
            table = np.column_stack([means, realised, seasonal, up, down])
            logs[name].append(table[np.isfinite(table).all(axis=1) & (table[:, :-2] > 0.0).all(axis=1)])
    horizons = []
    for name in HORIZONS:
        t = np.concatenate(logs[name])
        k = len(HALF_LIVES)
        x = np.column_stack([np.ones(len(t)), np.log(t[:, :k])])
        y = np.log(t[:, k] / t[:, k + 1])
        har: Float64Array = np.asarray(np.round(np.linalg.lstsq(x, y, rcond=None)[0], 5))
        sigma = np.sqrt(np.exp(x @ har) * t[:, k + 1])
        scale = scale_of(np.concatenate([t[:, k + 2] / sigma, t[:, k + 3] / sigma]))
        horizons.append(Horizon(tuple(float(b) for b in np.asarray(har)), scale))
    begun = min(int(m.bars["event_time"][0]) - m.bar_ns for m in kept)
    fit = {
        "pairs": [m.pair for m in kept], "bars": [f"{m.bar_ns // (60 * 10**9)}m" for m in kept], "from": iso(begun),
        "to": iso(last),
    }  # fmt: skip
    closed = {name: {"open": False} for name in ("momentum", "map", "funding", "flows", "macro")}
    return Squeeze(
        HALF_LIVES,
        tuple(of_week.tolist()),
        tuple(horizons),
        last,
        provenance={"fit": fit, "gates": closed, "scores": {}},
    )


def scale_of(z: Float64Array) -> float:
    """Scale of Student's t (4) whose tails are those of the excursions `z`, in units of the forecast."""
    from scipy.optimize import minimize_scalar

    beyond = 1.0 - np.searchsorted(np.sort(z), _MULTIPLES, side="left") / len(z)

    def loss(scale: float) -> float:
        p = touch_probability(_MULTIPLES, np.ones(len(_MULTIPLES)), Horizon((), scale))
        p = np.clip(p, 1e-9, 1.0 - 1e-9)
        return float(-(beyond * np.log(p) + (1.0 - beyond) * np.log1p(-p)).mean())

    return round(float(minimize_scalar(loss, bounds=(0.3, 3.0), method="bounded").x), 5)


# --- cases
@dataclass(frozen=True)
class Cases:
    """Hours and sides with a major cluster, n of them."""

    pair: np.ndarray[Any, np.dtype[np.str_]]
    at: Int64Array
    #: 1 above the close, -1 below; distance in log price; the map's position USD, open interest in USD.
    side: Int64Array
    distance: Float64Array
    #: By horizon: the probability stated, whether touched (1, 0, NaN where the data end before), volatility forecast.
    stated: Mapping[str, Float64Array]
    touched: Mapping[str, Float64Array]
    sigma: Mapping[str, Float64Array]
    #: The columns at the case, and excursions in the direction of the cluster and against it by horizon.
    columns: Mapping[str, Float64Array]
    toward: Mapping[str, Float64Array]
    away: Mapping[str, Float64Array]

    def __len__(self) -> int:
        return len(self.at)

    @property
    def week(self) -> Int64Array:
        """Number of the week, from Monday."""
        return (self.at + 3 * DAY) // WEEK

    def take(self, rows: Any) -> "Cases":
        """Some of the cases."""
        parts: dict[str, Any] = {n: getattr(self, n)[rows] for n in ("pair", "at", "side", "distance")}
        for name in ("stated", "touched", "sigma", "columns", "toward", "away"):
            parts[name] = {key: values[rows] for key, values in getattr(self, name).items()}
        return Cases(**parts)


def cases(tape: MapTape, parameters: Parameters, markets: features.Markets | None = None) -> Cases:
    """Every case of a market at full hours. Raises InputError without parameters of the squeeze."""
    squeeze = parameters.squeeze
    if squeeze is None:
        raise InputError("touch: no parameters of the squeeze", "another --squeeze")
    bars = tape.bars
    rows = np.flatnonzero(bars["event_time"] % HOUR == 0)
    at, closes = bars["event_time"][rows].copy(), bars["close"][rows].copy()
    if len(at) == 0:
        raise InputError(f"touch: {tape.pair} has no candle that closes on the hour")
    out = features.compute(tape, at, closes, tape.bar_ns, parameters, markets=markets)
    means = means_of(Candles(tape.pair, bars, tape.bar_ns), np.array(squeeze.season), rows.astype(np.int64))
    sigma = sigma_of(means, at, squeeze)
    moves = {name: [x[rows] for x in excursions(bars, tape.bar_ns, hours)] for name, hours in HORIZONS.items()}
    usable = (out["liq_fresh"] == 1) & (out["liq_warm"] == 1)
    found: list[Cases] = []
    for sign, where, move in ((1, "above", "squeeze"), (-1, "below", "flush")):
        price = out[f"liq_{where}_price"]
        kept = np.flatnonzero(usable & np.isfinite(price) & np.isfinite(out[f"{move}_prob_4h"]))
        distance = np.abs(np.log(price[kept] / closes[kept]))
        toward = {name: (up if sign > 0 else down)[kept] for name, (up, down) in moves.items()}
        away = {name: (down if sign > 0 else up)[kept] for name, (up, down) in moves.items()}
        touched = {
            # Logarithms of the same price differ by round-off.
            name: np.where(np.isfinite(x), (x >= distance - 1e-12).astype(np.float64), np.nan)
            for name, x in toward.items()
        }
        found.append(
            Cases(
                np.full(len(kept), tape.pair),
                at[kept],
                np.full(len(kept), sign),
                distance,
                {name: out[f"{move}_prob_{name}"][kept] for name in HORIZONS},
                touched,
                {name: sigma[kept, i] for i, name in enumerate(HORIZONS)},
                {**{n: v[kept] for n, v in out.items()}, "close": closes[kept], "usd": out[f"liq_{where}_usd"][kept]},
                toward,
                away,
            )
        )
    return joined(found)


def joined(parts: Sequence[Cases]) -> Cases:
    """Cases of several markets together."""
    fields: dict[str, Any] = {
        n: np.concatenate([getattr(p, n) for p in parts]) for n in ("pair", "at", "side", "distance")
    }
    for name in ("stated", "touched", "sigma", "columns", "toward", "away"):
        keys = getattr(parts[0], name)
        fields[name] = {key: np.concatenate([getattr(p, name)[key] for p in parts]) for key in keys}
    return Cases(**fields)


# --- scores
def log_loss(p: Float64Array, y: Float64Array) -> Float64Array:
    """-ln of the probability that was given to what happened, (n,)."""
    p = np.clip(p, CLIP, 1.0 - CLIP)
    return np.asarray(-(y * np.log(p) + (1.0 - y) * np.log1p(-p)))


def odds(p: Float64Array) -> Float64Array:
    """Log-odds of probabilities, clipped."""
    p = np.clip(p, CLIP, 1.0 - CLIP)
    return np.asarray(np.log(p / (1.0 - p)))


def recalibration(p: Float64Array, y: Float64Array) -> Float64Array:
    """Intercept and slope of the logistic regression of outcomes on the stated log-odds: (0, 1) is perfect."""
    x, b = np.column_stack([np.ones(len(p)), odds(p)]), np.array([0.0, 1.0])
    for _ in range(30):
        q = 1.0 / (1.0 + np.exp(-(x @ b)))
        weight = q * (1.0 - q) + 1e-9
        step = np.linalg.solve((x * weight[:, None]).T @ x, x.T @ (y - q))
        b = b + step
        if np.abs(step).max() < 1e-9:
            break
    return b


def calibration_error(p: Float64Array, y: Float64Array, bins: int = 10) -> float:
    """Mean |stated - happened| over bins of equally many cases (ECE)."""
    parts = np.array_split(np.argsort(p, kind="stable"), bins)
    return float(sum(abs(p[i].mean() - y[i].mean()) * len(i) for i in parts if len(i)) / len(p))


def effective(p: Float64Array, y: Float64Array, week: Int64Array) -> float:
    """Number of independent cases whose mean residual would vary as that of these does over weeks."""
    _, block = np.unique(week, return_inverse=True)
    r, n = y - p, len(p)
    blocks = int(block.max()) + 1
    if blocks < 2:
        return float("nan")
    sums = np.bincount(block, r) - r.mean() * np.bincount(block)
    varies = sums.var(ddof=1) * blocks / n**2
    return float(min(n, (p * (1.0 - p)).mean() / varies)) if varies > 0.0 else float(n)


def weekly(
    statistic: Callable[[Int64Array], Float64Array], week: Int64Array, draws: int = DRAWS, seed: int = 1
) -> Float64Array:
    """2.5 % and 97.5 % (2, k) of a statistic of rows over resamplings of whole weeks."""
    weeks = np.unique(week)
    rows = [np.flatnonzero(week == w) for w in weeks]
    rng = np.random.default_rng(seed)
    values = [statistic(np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])) for _ in range(draws)]
    return np.asarray(np.nanquantile(np.array(values), (0.025, 0.975), axis=0))


def score(p: Float64Array, y: Float64Array, week: Int64Array, *, draws: int = DRAWS) -> dict[str, Any]:
    """Scores of stated probabilities `p` against outcomes `y` (n,), each interval as [value, low, high]."""
    p = np.clip(p, CLIP, 1.0 - CLIP)
    brier, climate = float(((p - y) ** 2).mean()), float(y.mean() * (1.0 - y.mean()))
    fitted, ends = recalibration(p, y), weekly(lambda i: recalibration(p[i], y[i]), week, draws)
    n = effective(p, y, week)
    rng = np.random.default_rng(1)
    perfect = []
    for _ in range(300):
        q = rng.choice(p, max(int(np.nan_to_num(n)), 20))
        perfect.append(calibration_error(q, (rng.random(len(q)) < q).astype(np.float64)))
    return {
        "cases": len(p),
        "effective": round(n) if math.isfinite(n) else None,
        "base_rate": round(float(y.mean()), 4),
        "mean_stated": round(float(p.mean()), 4),
        "log_loss": round(float(log_loss(p, y).mean()), 4),
        "brier": round(brier, 4),
        "brier_skill_over_base_rate": round(1.0 - brier / climate, 3) if climate > 0.0 else None,
        "intercept": [round(float(v), 2) for v in (fitted[0], *ends[:, 0])],
        "slope": [round(float(v), 2) for v in (fitted[1], *ends[:, 1])],
        "ece": round(calibration_error(p, y), 3),
        "ece_perfect_95": round(float(np.quantile(perfect, 0.95)), 3),
    }


def scores(c: Cases, *, draws: int = DRAWS) -> dict[str, dict[str, Any]]:
    """`score` of the stated probabilities by horizon; a horizon without outcomes, or with outcomes all alike, is left
    out."""
    out = {}
    for name in HORIZONS:
        there = np.isfinite(c.touched[name]) & np.isfinite(c.stated[name])
        y = c.touched[name][there]
        if len(y) >= 100 and 0.0 < y.mean() < 1.0:
            out[name] = score(c.stated[name][there], y, c.week[there], draws=draws)
    return out

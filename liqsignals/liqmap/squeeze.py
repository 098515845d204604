"""Parameters of the squeeze: the volatility forecast, the probability of touch, and the impact of forced orders.

They are fitted on candles alone (evaluation/touch.py) and kept in a file with what they were fitted on and their
scores.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals.clock import iso, parse_time
from liqsignals.errors import InputError
from liqsignals.files import replaced
from liqsignals.liqmap.kernels import WEEK, Forecast
from liqsignals.liqmap.stored import check_format, content_of, parsed
from liqsignals.records import Float64Array

FORMAT = "liqsignals-squeeze/1"

#: Laws of impact: the square root of the flow; Kyle's linear one (liqmap/impact.py).
SQRT, TAKER = "sqrt", "taker"

#: The horizons in the order of the columns, and their hours.
HORIZONS = {"4h": 4, "1d": 24, "3d": 72}

#: Half-life (hours) of the mean of traded volume.
VOLUME_HALF_LIFE = 24.0


@dataclass(frozen=True)
class Horizon:
    """One horizon's forecast: ln variance = har[0] + sum of har[j + 1] x ln(mean variance of half-life j) + ln(season
    ahead); `scale` of Student's t with 4 degrees of freedom; a recalibration of the log-odds, (0, 1) for none."""

    har: tuple[float, ...]
    scale: float
    intercept: float = 0.0
    slope: float = 1.0


@dataclass(frozen=True)
class Squeeze:
    """Parameters of volatility, touch and cascade."""

    #: Hours, k of them; variance of each hour of the week (UTC, from Monday 00:00) over the mean hour's.
    half_lives: tuple[float, ...]
    season: tuple[float, ...]
    #: In the order of HORIZONS.
    horizons: tuple[Horizon, ...]
    #: Instant (ns) by which a bot could have had them: the end of the last case that they were fitted on.
    known_at: int
    #: Impact of a forced flow as large as a day's volume, in daily volatilities, and the ends of its interval.
    impact: float = 1.0
    impact_low: float = 0.5
    impact_high: float = 1.5
    #: Displacement beyond a touched cluster without forced orders, in hourly volatilities: the mean maximum of an
    #: hour's path without drift, sqrt(2 / pi).
    push: float = 0.8
    #: Log price before a cluster's at which its levels begin.
    edge: float = 0.0025
    #: Law of impact: SQRT, or TAKER for Kyle's lambda from taker flow where it is known and else SQRT.
    law: str = SQRT
    #: What the parameters were fitted on, and their scores: for people.
    provenance: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False, repr=False)
    origin: str = field(default="", compare=False, repr=False)

    def forecast(self) -> Forecast:
        """The volatility's parameters as the kernel takes them."""
        return _forecast(self)


@lru_cache(maxsize=16)
def _forecast(s: Squeeze) -> Forecast:
    season = np.array(s.season)
    return Forecast(
        np.array([*s.half_lives, VOLUME_HALF_LIFE]), season, np.concatenate([[0.0], np.cumsum(np.tile(season, 2))]),
        np.array(list(HORIZONS.values()), np.int64), np.array([h.har for h in s.horizons]),
    )  # fmt: skip


def touch_probability(distance: Float64Array, sigma: Float64Array, horizon: Horizon) -> Float64Array:
    """Probability that price trades `distance` (log price, >= 0) away within a horizon of volatility `sigma`, (n,)
    each.

    2 (1 - F(distance / (scale x sigma))), F Student's t with 4 degrees of freedom in closed form: the reflection
    principle with fat tails.
    """
    x = distance / sigma / horizon.scale
    u = x / np.sqrt(4.0 + x * x)
    out = 1.0 - u * (1.5 - 0.5 * u * u)
    if horizon.intercept != 0.0 or horizon.slope != 1.0:
        with np.errstate(divide="ignore"):
            odds = np.log(out) - np.log1p(-out)
            out = 1.0 / (1.0 + np.exp(-(horizon.intercept + horizon.slope * odds)))
    return np.asarray(np.clip(out, 0.0, 1.0))


# --- the file
def save(s: Squeeze, path: Path) -> None:
    """Write a parameter file in one step. Raises InputError where it cannot be written."""
    horizons = zip(HORIZONS.items(), s.horizons, strict=True)
    scores = s.provenance.get("scores", {})
    content = {
        "format": FORMAT,
        "known_at": iso(s.known_at),
        "fit": s.provenance.get("fit", {}),
        "gates": s.provenance.get("gates", {}),
        "cascade": {
            "law": s.law, "y": s.impact, "y_low": s.impact_low, "y_high": s.impact_high, "push": s.push, "edge": s.edge,
        },
        "horizons": {
            name: {
                "hours": hours, "har": list(h.har), "t4_scale": h.scale, "intercept": h.intercept, "slope": h.slope,
                "scores": scores.get(name, {}),
            }
            for (name, hours), h in horizons
        },
        "half_lives_h": list(s.half_lives),
        "season": list(s.season),
    }  # fmt: skip
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def load(path: Path) -> Squeeze:
    """Read a parameter file. Raises InputError for a file that is not one, of another version, or of impossible values."""
    return _parsed(content_of(path, "squeeze"), str(path), "make it anew with liqsignals touch --out")


def choose(name: Any) -> Squeeze | None:
    """What a user names: a file, "none" for no squeeze_* and flush_* columns, None for the shipped parameters."""
    if name is None:
        return default()
    if not isinstance(name, str) or not name:
        raise InputError(f'squeeze: {name!r} must be the name of a file, or "none" for no squeeze columns')
    return None if name == "none" else load(Path(name))


@lru_cache(maxsize=1)
def default() -> Squeeze:
    """The parameters that ship with the package."""
    shipped = resources.files("liqsignals.liqmap") / "squeeze.json"
    return _parsed(shipped.read_bytes(), "default", "install liqsignals again")


def _parsed(raw: bytes, origin: str, remedy: str) -> Squeeze:
    def build(content: dict[str, Any]) -> Squeeze:
        check_format(content, FORMAT)
        return _from_dict(content, origin)

    return parsed(raw, "squeeze", "a file of squeeze parameters", origin, remedy, build)


def _from_dict(content: Mapping[str, Any], origin: str) -> Squeeze:
    half_lives = _numbers(content["half_lives_h"], "half_lives_h", above=0.0)
    season = _numbers(content["season"], "season", WEEK, 0.0)
    horizons = []
    for name, hours in HORIZONS.items():
        h = content["horizons"][name]
        if h["hours"] != hours:
            raise InputError(f"horizon {name} has {h['hours']} hours")
        har = _numbers(h["har"], f"har of {name}", len(half_lives) + 1)
        scale, slope = _numbers([h["t4_scale"], h["slope"]], f"t4_scale and slope of {name}", above=0.0)
        (intercept,) = _numbers([h["intercept"]], f"intercept of {name}")
        horizons.append(Horizon(har, scale, intercept, slope))
    opened = [name for name, gate in content["gates"].items() if gate["open"]]
    if opened:
        raise InputError(f"the gate of {', '.join(opened)} is open; this version computes from volatility alone")
    c = content["cascade"]
    if c["law"] not in (SQRT, TAKER):
        raise InputError(f"impact law {c['law']!r}; this version computes with {SQRT!r} and {TAKER!r}")
    impact, low, high, push, edge = _numbers(
        [c[name] for name in ("y", "y_low", "y_high", "push", "edge")], "cascade", above=0.0
    )
    provenance = {
        "fit": content["fit"],
        "gates": content["gates"],
        "scores": {name: content["horizons"][name].get("scores", {}) for name in HORIZONS},
    }
    known_at = parse_time(content["known_at"])
    return Squeeze(
        half_lives, season, tuple(horizons), known_at, impact, low, high, push, edge, c["law"], provenance, origin
    )  # fmt: skip


def _numbers(
    values: Sequence[Any], what: str, count: int | None = None, above: float | None = None
) -> tuple[float, ...]:
    out = tuple(float(v) for v in values)
    if count is not None and len(out) != count:
        raise InputError(f"{what}: {len(out)} numbers, not {count}")
    if not out or not all(math.isfinite(v) and (above is None or v > above) for v in out):
        raise InputError(f"{what}: a number is missing, not finite or not above {above}")
    return out

"""Fit the map's mix of leverage to real liquidations, and keep what was fitted with what it was fitted on.

Model, per hour h and side s: feed USD = report_factor x sum_k standing_k / standing0_k x M[h, s, k], where M is the USD
that the map with mix standing0 swept of class k. Fitted are the logs of `standing`, by least squares on ln(USD +
scores.FLOOR), pulled toward the prior with weight PULL; the sweep depends on the mix (what is swept is opened anew), so
the map is folded again with the new mix, ROUNDS times. Both sides share one mix.

Liquidations identify the mix's shape and its product with the report factor, not both. The level comes from the
literature: FORCED of open interest is liquidated a day (BitMEX: 3.51 % of longs, 1.89 % of shorts; arXiv 2102.04591),
of which the feed shows what it shows; the remainder takes the rest. A class with less than EVIDENCE of all that was
swept keeps its prior.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals.clock import parse_time
from liqsignals.errors import InputError
from liqsignals.files import replaced
from liqsignals.liqmap.parameters import LeverageClass, Parameters, standing_of
from liqsignals.liqmap.squeeze import Squeeze
from liqsignals.liqmap.stored import check_format, content_of, parsed

FORMAT = "liqsignals-calibration/1"


@dataclass(frozen=True)
class Fitted:
    """One market's parameters of the map and what they rest on."""

    parameters: Parameters
    #: Per class: True where the data decide its weight, False where it keeps the prior.
    evidence: tuple[bool, ...]
    #: Span, hours, source, hash of the data, scores: for people and `doctor`.
    provenance: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Calibration:
    """Fitted markets by pair, and `pooled` for every other pair."""

    pooled: Fitted
    markets: Mapping[str, Fitted] = field(default_factory=dict)
    origin: str = "default"

    def of(self, pair: str) -> Fitted:
        """What the map of a pair uses."""
        return self.markets.get(pair, self.pooled)

    def parameters(self, pair: str) -> Parameters:
        """The map's parameters for a pair."""
        return self.of(pair).parameters

    def with_squeeze(self, squeeze: Squeeze | None) -> "Calibration":
        """The same calibration with other parameters of the squeeze, None for none of its columns."""

        def of(fitted: Fitted) -> Fitted:
            return replace(fitted, parameters=replace(fitted.parameters, squeeze=squeeze))

        return replace(self, pooled=of(self.pooled), markets={pair: of(one) for pair, one in self.markets.items()})


def uncalibrated() -> Calibration:
    """The prior for every pair: report factor 1, no score, every class in doubt."""
    prior = Parameters()
    return Calibration(Fitted(prior, (False,) * len(prior.classes)), origin="uncalibrated")


# --- the file
def save(calibration: Calibration, path: Path) -> None:
    """Write a calibration in one step. Raises InputError where it cannot be written."""
    known = {"pooled": calibration.pooled, **calibration.markets}
    content = {"markets": {name: _as_dict(fitted) for name, fitted in known.items()}}
    text = json.dumps({"format": FORMAT, "sha256": content_hash(content), **content}, indent=1) + "\n"
    with replaced(path) as temporary:
        temporary.write_text(text)


def content_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 of a file's markets, as the file names it."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _as_dict(fitted: Fitted) -> dict[str, Any]:
    p = fitted.parameters
    columns = zip(p.classes, standing_of(p), fitted.evidence, strict=True)
    return {
        "theta": p.turnover, "tier_share": p.tier_share, "remainder_hazard": p.remainder_hazard,
        "report_factor": p.report_factor,
        "classes": [
            {
                "low": c.low, "high": c.high, "notional": c.notional, "tiers": list(c.tiers), "hazard": c.hazard, "worn": c.eroded_margin,
                "standing": float(s), "doubt": list(c.doubt), "evidence": evidence,
            }
            for c, s, evidence in columns
        ],
        "score": p.score,
        "provenance": dict(fitted.provenance),
    }  # fmt: skip


def load(path: Path) -> Calibration:
    """Read a calibration. Raises InputError for a file that is not one, of another version, or edited by hand."""
    return _parsed(content_of(path, "calibration"), str(path), "make it anew with liqsignals calibrate")


def choose(name: Any) -> Calibration:
    """What a user names: a file, "none" for the prior, None or "shipped" for the shipped calibration."""
    if name in (None, "shipped"):
        return default()
    if not isinstance(name, str) or not name:
        raise InputError(f'calibration: {name!r} must be the name of a file, or "none" for the prior')
    return uncalibrated() if name == "none" else load(Path(name))


@lru_cache(maxsize=1)
def default() -> Calibration:
    """The calibration that ships with the package (its provenance says on what it was fitted)."""
    shipped = resources.files("liqsignals.liqmap") / "default.json"
    return _parsed(shipped.read_bytes(), "default", "install liqsignals again")


def _parsed(raw: bytes, origin: str, remedy: str) -> Calibration:
    def build(content: dict[str, Any]) -> Calibration:
        check_format(content, FORMAT)
        if content.get("sha256") != content_hash({"markets": content["markets"]}):
            raise InputError("its content does not fit its sha256; it was edited or damaged")
        known = {name: _from_dict(m) for name, m in content["markets"].items()}
        return Calibration(known.pop("pooled"), known, origin)

    return parsed(raw, "calibration", "a calibration", origin, remedy, build)


def _from_dict(m: Mapping[str, Any]) -> Fitted:
    rows = m["classes"]
    classes = tuple(
        LeverageClass(
            float(c["low"]), float(c["high"]), float(c["standing"]), float(c["notional"]),
            tuple(float(t) for t in c["tiers"]), float(c["hazard"]), bool(c["worn"]),
            (float(c["doubt"][0]), float(c["doubt"][1])),
        )
        for c in rows
    )  # fmt: skip
    for c in classes:
        values = (c.low, c.high, c.standing, c.notional, c.hazard, *c.doubt, *c.tiers)
        if not (np.isfinite(values).all() and min(values) > 0.0 and c.low < c.high and c.doubt[0] <= 1.0 <= c.doubt[1]):
            raise ValueError(f"a class of leverage that cannot be: {c}")
    span = m["provenance"].get("span")
    parameters = Parameters(
        classes=classes, remainder=1.0 - sum(c.standing for c in classes), remainder_hazard=float(m["remainder_hazard"]),
        tier_share=float(m["tier_share"]), turnover=float(m["theta"]), report_factor=float(m["report_factor"]),
        score=None if m["score"] is None else float(m["score"]), known_at=parse_time(span[1]) if span else 0,
    )  # fmt: skip
    return Fitted(parameters, tuple(bool(c["evidence"]) for c in rows), m["provenance"])

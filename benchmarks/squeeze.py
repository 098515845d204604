"""Touch and cascade on real data: the folder that $LIQSIGNALS_DATA names (docs/squeeze.md has the results).

Reads `binance/` and `alts/binance/` (freqtrade's data directories: BTC and ETH from 2025-07, with 15m candles from
2023-01; SOL and DOGE from 2025-12) and, where it is there, `archive/*-5m-taker-and-ratios.parquet`. The first pairs are
fitted on and scored walk-forward, the others scored only.
"""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import cascade
from benchmarks.report import Table, progress, show
from liqsignals import liqmap, records
from liqsignals.clock import DAY, HOUR, MINUTE, dates_ns, iso, parse_time
from liqsignals.data import freqtrade
from liqsignals.data.tape import MapTape, read_tape
from liqsignals.evaluation import touch, touch_gates
from liqsignals.evaluation.scores import spearman
from liqsignals.liqmap import calibration, squeeze

OWN, OTHERS = ("BTC/USDT:USDT", "ETH/USDT:USDT"), ("SOL/USDT:USDT", "DOGE/USDT:USDT")
FIT_UNTIL = "2025-07-01T00:00:00Z"
MONTHS = [
    parse_time(f"{m}-01T00:00:00Z")
    for m in ("2025-09", "2025-10", "2025-11", "2025-12", "2026-01", "2026-02", "2026-03")
]
LATER = parse_time("2025-12-01T00:00:00Z")
#: Distances of levels without a cluster, in those of the cluster; below 0 on the other side.
CRASH = pd.Timestamp("2025-10-10", tz="UTC")
#: Predictors whose part beyond the range of the window is scored, too.
GIVEN_RANGE = ("squeeze_usd", "usd, taker law", "cluster's USD")
NEAR_AND_FAR, MIRROR = (1.0, 0.7, 1.4), (1.0, -1.0)


def data() -> Path | None:
    """The folder of real data, None where there is none."""
    root = Path(os.environ.get("LIQSIGNALS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    return root if (root / "binance" / "futures").is_dir() else None


def _taker(root: Path, tape: MapTape) -> MapTape:
    path = root / "archive" / f"{tape.pair.split('/')[0]}USDT-5m-taker-and-ratios.parquet"
    if not path.exists():
        return tape
    frame = pd.read_parquet(path)
    closed = dates_ns(frame["date"], str(path)) + 5 * MINUTE
    rows = records.records(
        records.TAKER, closed, closed + records.TAKER_LAG, buy_base=frame["taker_buy_quote"], base=frame["quote_volume"],
        buy_quote=frame["taker_buy_quote"], quote=frame["quote_volume"], trades=float("nan"),
    )  # fmt: skip
    return replace(tape, others={("taker", tape.venue): rows})


def tape_of(root: Path, pair: str) -> MapTape:
    """A market with its taker volume; of taker volume, only shares are used."""
    tape = read_tape(root / ("binance" if pair in OWN else "alts/binance"), pair).for_map()
    assert tape is not None
    return _taker(root, tape)


def candles(root: Path, pair: str, timeframe: str = "15m") -> touch.Candles:
    bars = freqtrade.candles(root / "binance", pair, timeframe)
    assert bars is not None
    return touch.Candles(pair, bars, 15 * MINUTE)


def _triple(v: list[float]) -> str:
    return f"{v[0]:+.2f} [{v[1]:+.2f}, {v[2]:+.2f}]"


def _percent(v: list[float]) -> str:
    return f"{100 * v[0]:+.1f} [{100 * v[1]:+.1f}, {100 * v[2]:+.1f}]"


SCORES = ("cases", "effective", "base_rate", "mean_stated", "log_loss", "brier", "brier_skill_over_base_rate")


def _score_row(name: str, s: dict[str, Any]) -> tuple[Any, ...]:
    digits = (f"{s[k]:.4f}" if k in ("log_loss", "brier") else s[k] for k in SCORES)
    return (name, *digits, _triple(s["intercept"]), _triple(s["slope"]), s["ece"], s["ece_perfect_95"])


COLUMNS = (
    "",
    "cases",
    "eff.",
    "base rate",
    "stated",
    "log loss",
    "Brier",
    "skill",
    "intercept",
    "slope",
    "ECE",
    "perfect",
)


def run() -> list[Table]:
    """All tables; none, with a message, where there are no data."""
    root = data()
    if root is None:
        progress("squeeze: no real data (set LIQSIGNALS_DATA)")
        return []
    progress("fit on candles before 2025-07")
    fitted = touch.fit_touch([candles(root, pair) for pair in OWN], parse_time(FIT_UNTIL))
    shipped = squeeze.default()
    rows = [
        (name, *(f"{a:.3f} / {b:.3f}" for a, b in zip((*one.har, one.scale), (*old.har, old.scale), strict=True)))
        for name, one, old in zip(squeeze.HORIZONS, fitted.horizons, shipped.horizons, strict=True)
    ]
    apart = max(abs(a - b) for a, b in zip(fitted.season, shipped.season, strict=True))
    out = [
        show(Table(
            "Parameters fitted anew / as shipped", ("", "constant", *(f"{h:g} h" for h in fitted.half_lives), "scale"),
            rows, f"season of the week: at most {apart:.4f} apart",
        ))
    ]  # fmt: skip
    parts, values, usd = [], [], []
    for pair in (*OWN, *OTHERS):
        progress(f"cases of {pair}")
        tape, parameters = tape_of(root, pair), calibration.default().parameters(pair)
        c = touch.cases(tape, parameters)
        parts.append(c)
        values.append(touch_gates.explanatory(tape, c))
        if pair in OWN:
            usd.append(touch_gates.local_usd(tape, parameters, c, (*NEAR_AND_FAR, MIRROR[1])))
    whole, all_values = touch.joined(parts), touch_gates.stack(values)
    own = touch.joined(parts[: len(OWN)])
    for title, c in (
        (f"{', '.join(OWN)} from {iso(MONTHS[0])[:10]}", own.take(own.at >= MONTHS[0])),
        (f"{', '.join(OTHERS)}", touch.joined(parts[len(OWN) :])),
    ):
        scored = touch.scores(c)
        out.append(show(Table(f"Touch as shipped: {title}", COLUMNS, [_score_row(h, s) for h, s in scored.items()])))
    progress("gates")
    found = touch_gates.gates(whole, all_values, MONTHS, LATER, OWN)
    for against in ("over_volatility", "over_recalibrated"):
        rows = [
            (f"{h} {span}", *(_percent(one[span][against][m]) for m in touch_gates.MODELS[1:]))
            for h, one in found.items()
            for span in ("earlier", "later", "transfer")
            if span in one
        ]
        title = f"Per cent of log loss gained {against.replace('_', ' ')} [95 %]"
        out.append(show(Table(title, ("", *touch_gates.MODELS[1:]), rows)))
    for span in ("later", "transfer"):
        rows = [
            _score_row(f"{h} {name}", s)
            for h, one in found.items()
            if span in one
            for name, s in one[span]["scores"].items()
        ]
        out.append(show(Table(f"Scores, {span}", COLUMNS, rows)))
    progress(f"gates that open: { ({h: [n for n, o in one['open'].items() if o] for h, one in found.items()}) }")
    masses = np.concatenate(usd)
    rows = []
    for h in squeeze.HORIZONS:
        same = touch_gates.against_empty_levels(own, masses[:, :3], NEAR_AND_FAR, h)
        mirror = touch_gates.against_empty_levels(own, masses[:, [0, 3]], MIRROR, h)
        rows.append(
            (
                h,
                f"{_triple3(same['touched_more'])} ({same['empty_levels']})",
                f"{_triple3(mirror['touched_more'])} ({mirror['empty_levels']})",
            )
        )
    title = "Share touched, clusters less levels without one at the same distance (number of these)"
    out.append(show(Table(title, ("", "same side, .7 and 1.4 x the distance", "other side"), rows)))
    out.append(_on_liquidations(root))
    return [*out, *_on_four_hours(root)]


def _on_liquidations(root: Path) -> Table:
    """Rank correlation of what the columns said before a touch with the liquidations of its hour, and with the move."""
    real = pd.read_parquet(root / "validation" / "BTC-1h-liquidations-binance-bybit-okx.parquet")
    usd = dict(
        zip(
            dates_ns(real["date"], "liquidations").tolist(),
            real[["liq_long_usd", "liq_short_usd"]].to_numpy(),
            strict=True,
        )
    )
    where, said = cascade.touches(tape_of(root, OWN[0]), calibration.default().parameters(OWN[0]))
    way = np.array([one.way for one in where])
    hour = (said["at"].to_numpy(np.int64) - 1) // HOUR * HOUR
    forced = np.array(
        [usd[h][1 if w > 0 else 0] if h in usd else np.nan for h, w in zip(hour.tolist(), way, strict=True)]
    )
    rows: list[tuple[Any, ...]] = []
    beyond = (said["beyond"] / said["push"]).to_numpy()
    for name, target, mask in (
        ("liquidated in the hour, longs", forced, np.isfinite(forced) & (way < 0)),
        ("liquidated in the hour, shorts", forced, np.isfinite(forced) & (way > 0)),
        ("move beyond the cluster over the push, 1 h", beyond, np.isfinite(beyond)),
    ):
        i = np.flatnonzero(mask)
        week = (said["at"].to_numpy(np.int64)[i] + 3 * DAY) // touch.WEEK
        columns = [said[n].to_numpy(np.float64)[i] for n in (*cascade.PREDICTORS, *cascade.BY_TAKER)]

        def ranks(r: np.ndarray, columns: list[np.ndarray] = columns, y: np.ndarray = target[i]) -> np.ndarray:
            return np.array([spearman(x[r], y[r]) for x in columns])

        value, ends = ranks(np.arange(len(i))), touch.weekly(ranks, week, 300)
        rows.append((name, len(i), *(f"{v:+.2f} [{a:+.2f}, {z:+.2f}]" for v, a, z in zip(value, *ends, strict=True))))
    return show(
        Table(
            "BTC: rank correlation of what was said before a touch",
            ("", "touches", *cascade.PREDICTORS, *cascade.BY_TAKER),
            rows,
        )
    )


def four_hours(root: Path, parameters: liqmap.Parameters) -> pd.DataFrame:
    """BTC's touches of 2025-07-15 to 2025-11-14 with Binance's liquidations of their four hours: one a side and window.

    A case is the first touch in a window of four hours, with what the columns said at the full hour before it, the
    `forced` USD of the side and the `range` (log price) of the whole window.
    """
    real = pd.read_parquet(root / "validation" / "BTC-4h-2024-11-to-2025-11-binance.parquet")
    opened = dates_ns(real["date"], "liquidations")
    usd = dict(zip(opened.tolist(), real[["liq_long_usd", "liq_short_usd"]].to_numpy(), strict=True))
    tape = tape_of(root, OWN[0]).cut(int(opened[-1]) + 4 * HOUR)
    where, said = cascade.touches(tape, parameters)
    said["way"] = [one.way for one in where]
    said["window"] = (said["at"] - 1) // (4 * HOUR) * (4 * HOUR)
    said = said[said["window"].isin(opened)].sort_values("at").drop_duplicates(["way", "window"])
    closed, forced, spread = tape.bars["event_time"], [], []
    for window, way in zip(said["window"].tolist(), said["way"].tolist(), strict=True):
        bars = tape.bars[slice(*np.searchsorted(closed, [window, window + 4 * HOUR], side="right"))]
        forced.append(usd[window][1 if way > 0 else 0])
        spread.append(math.log(bars["high"].max() / bars["low"].min()))
    return said.assign(forced=forced, range=spread).reset_index(drop=True)


def _on_four_hours(root: Path) -> list[Table]:
    """The table of `four_hours`, with and without the crash, and the crash itself."""
    rows: list[tuple[Any, ...]] = []
    crashed: list[tuple[Any, ...]] = []
    names = ("range", *cascade.PREDICTORS, *cascade.BY_TAKER)
    for which, parameters in (
        ("prior", liqmap.Parameters()),
        ("shipped, hindsight", calibration.default().parameters(OWN[0])),
    ):
        found = four_hours(root, parameters)
        day = pd.to_datetime(found["window"], utc=True)
        crash = (day >= CRASH) & (day < CRASH + pd.Timedelta(days=2))
        for side, way in (("longs", -1), ("shorts", 1)):
            for label, kept in (
                ("", found["way"] == way),
                (", without 10 and 11 October", (found["way"] == way) & ~crash),
            ):
                part = found[kept]
                if label and not (crash & (found["way"] == way)).any():
                    continue
                columns = [part[n].to_numpy(np.float64) for n in names]
                target = part["forced"].to_numpy(np.float64)
                week = (part["at"].to_numpy(np.int64) + 3 * DAY) // touch.WEEK

                def ranks(
                    r: np.ndarray, columns: list[np.ndarray] = columns, target: np.ndarray = target
                ) -> np.ndarray:
                    simple = [spearman(x[r], target[r]) for x in columns]
                    given = [partial(columns[names.index(n)][r], target[r], columns[0][r]) for n in GIVEN_RANGE]
                    return np.array([*simple, *given])

                value, ends = ranks(np.arange(len(part))), touch.weekly(ranks, week, 300)
                cells = (f"{v:+.2f} [{a:+.2f}, {z:+.2f}]" for v, a, z in zip(value, *ends, strict=True))
                rows.append((f"{which}: {side}{label}", len(part), *cells))
        for one in found[crash].to_dict("records"):
            crashed.append((
                f"{which}: {iso(one['window'])}", "longs" if one["way"] < 0 else "shorts",
                *(f"{one[name] / 1e6:.1f}" for name in ("forced", "squeeze_usd", "usd, taker law")),
                f"{one['squeeze_gain']:.2f}", f"{one['gain, taker law']:.2f}", f"{100 * one['range']:.1f}",
                f"{one['beyond'] / one['push']:.1f}",
            ))  # fmt: skip
    title = "BTC, windows of 4 h with a touch, 2025-07-15 to 2025-11-14: rank correlation with the side's liquidations (Binance)"
    return [
        show(Table(title, ("", "windows", *names, *(f"{n}, given the range" for n in GIVEN_RANGE)), rows)),
        show(Table(
            "The crash of 10 October 2025, million USD",
            ("window", "side", "liquidated", "usd said", "taker law", "gain said", "taker law", "range %", "moved beyond / push"),
            crashed,
        )),
    ]  # fmt: skip


def partial(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Rank correlation of x and y, each less what the rank of `given` explains of it."""
    xy, xg, yg = spearman(x, y), spearman(x, given), spearman(y, given)
    rest = (1.0 - xg * xg) * (1.0 - yg * yg)
    # A draw of a few cases may leave nothing.
    return float((xy - xg * yg) / math.sqrt(rest)) if rest > 1e-12 else 0.0


def _triple3(v: list[float]) -> str:
    return f"{v[0]:+.3f} [{v[1]:+.3f}, {v[2]:+.3f}]"

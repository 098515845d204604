"""The map over time as a picture's data: drawn by heatmap_html.py and heatmap_png.py, equal to `liqsignals map --json`.

Everything is read from the tape as it was known at the picture's last candle; what a column shows is what the map held
at that candle's close. Levels end where they were swept, for the map has none behind price.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from liqsignals import features, liqmap
from liqsignals.clock import DAY, HOUR, Int64Array, iso
from liqsignals.data.tape import MapTape, asof
from liqsignals.evaluation.liquidations import Liquidations
from liqsignals.evaluation.scores import spearman
from liqsignals.liqmap import STEP, kernels
from liqsignals.records import LIQUIDATION, Float64Array, Records
from liqsignals.report.headline import headline
from liqsignals.strategy.annotations import Life, Reading, View, lives, readings

#: Columns of the picture at most: 30 days of 5m candles are 8,640. A longer span has coarser candles.
MOST_CANDLES = 9_000
#: Shown beyond the highest and the lowest price, as a ratio.
BEYOND = 0.12
#: Steps of intensity a side, on a logarithmic scale between these shares of the levels shown.
STEPS = 127
FAINT, STRONG = 0.15, 0.999
#: Prints (the largest) and sweeps that are drawn.
MOST_PRINTS = 4_000
MOST_SWEEPS = 80
#: Hours that the rank correlation of the hour score looks back on.
SCORED_HOURS = 72


@dataclass(frozen=True)
class Series:
    """A line or bars of a panel: `values` at the picture's columns (NaN: none); `role`: long, short or plain."""

    name: str
    values: Float64Array
    role: str = "plain"
    bars: bool = False


@dataclass(frozen=True)
class Panel:
    """What stands below the map on the same axis of time; `root`: its axis is of square roots, longs point down."""

    name: str
    series: tuple[Series, ...]
    root: bool = False


@dataclass(frozen=True)
class Picture:
    """The data of a picture. T columns, the k-th is the candle that opens at `start + k * step` (ns); R price buckets
    of 5 bp, bucket r reaches from exp((row + r) * STEP) to the next one."""

    head: dict[str, Any]
    start: int
    step: int
    #: (4, T) open, high, low, close; NaN where there is no candle.
    candles: Float64Array
    row: int
    #: (R, T) intensity: 0 none, 1 .. STEPS longs, 128 + the same shorts; and the USD of a bucket at steps 1 and STEPS.
    heat: np.ndarray
    faint_usd: float
    strong_usd: float
    #: (2, R) position USD of every bucket at the last candle.
    profile: Float64Array
    panels: tuple[Panel, ...]
    sweeps: tuple[Life, ...]
    prints: Records
    notes: tuple[str, ...]
    trades: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def prices(self) -> Float64Array:
        """Lower edges of the buckets and the upper edge of the last one (R + 1,)."""
        return np.asarray(np.exp((self.row + np.arange(len(self.heat) + 1)) * STEP))


def picture(
    tape: MapTape,
    at: int,
    parameters: liqmap.Parameters,
    *,
    days: float = 30.0,
    real: Liquidations | None = None,
    trades: Sequence[Mapping[str, Any]] = (),
    head: Mapping[str, Any] | None = None,
) -> Picture:
    """The picture of the `days` before `at` (ns), which must be the close of a bar.

    `head`: the headline above it (report/headline.py), made here from the tape alone unless given.

    `real`: liquidations by hour; without them recorded prints are added up, where there are any. `trades`: dicts with
    `open`, `close` (ns), `open_rate`, `close_rate`, `is_short`, `profit` (fraction) and `strategy`, and perhaps `stop`
    (price at the end), `tag` and `exit` (reason).
    """
    tape = tape.cut(at)
    bars = tape.bars[tape.bars["event_time"] > at - days * DAY]
    count = (at - int(bars["event_time"][0])) // tape.bar_ns + 1
    step = tape.bar_ns * -(-count // MOST_CANDLES)
    columns = -(-count * tape.bar_ns // step)
    start = at - columns * step
    opened, candles = _candles(bars, tape.bar_ns, start, step, columns)
    there = np.flatnonzero(np.isfinite(candles[3]))
    closes_at, close = opened[there] + step, candles[3, there]
    row = int(np.floor(np.log(np.nanmin(candles[2]) * (1.0 - BEYOND)) / STEP))
    rows = int(np.ceil(np.log(np.nanmax(candles[1]) * (1.0 + BEYOND)) / STEP)) - row
    usd = np.zeros((rows, columns), np.float32)
    profile = np.zeros((2, rows))

    def kept(seen: Reading) -> Reading:
        first, last = max(row, seen.origin), min(row + rows, seen.origin + len(seen.price))
        part = seen.usd[:, first - seen.origin : last - seen.origin]
        # Sides do not share a bucket but the one that holds the close: there the larger one is shown.
        usd[first - row : last - row, there[seen.candle]] = np.where(part[1] > part[0], part[1], -part[0])
        if seen.candle == len(there) - 1:
            profile[:, first - row : last - row] = part
        return seen

    every = readings(View(tape, liqmap.FoldState(), parameters), closes_at, close, most=len(there))
    sparse = (seen for seen in map(kept, every) if seen.candle % 3 == (len(there) - 1) % 3)
    found = lives(sparse, candles[1, there], candles[2, there])
    sweeps = tuple(life for life in found if life.swept)[:MOST_SWEEPS]
    for life in sweeps:
        life.born, life.last = int(there[life.born]), int(there[life.last])
    held = np.abs(usd[usd != 0.0])
    faint, strong = (float(x) for x in np.quantile(held, (FAINT, STRONG))) if len(held) else (1.0, 10.0)
    strong = max(strong, 1.001 * faint)
    prints = _prints(tape, start)
    panels, notes = _panels(tape, opened, there, step, close, parameters, real, prints)
    if head is None:
        head = headline(tape, at, float(bars["close"][-1]), parameters)
    return Picture(
        dict(head), start, step, candles, row, _steps(usd, faint, strong), faint, strong, profile, panels, sweeps,
        prints, notes, tuple(trades),
    )  # fmt: skip


def _candles(bars: Records, bar_ns: int, start: int, step: int, columns: int) -> tuple[Int64Array, Float64Array]:
    opened = start + step * np.arange(columns, dtype=np.int64)
    which = (bars["event_time"] - bar_ns - start) // step
    first = np.flatnonzero(np.diff(which, prepend=-1))
    candles = np.full((4, columns), np.nan)
    candles[0, which[first]] = bars["open"][first]
    candles[1, which[first]] = np.maximum.reduceat(bars["high"], first)
    candles[2, which[first]] = np.minimum.reduceat(bars["low"], first)
    candles[3, which[first]] = bars["close"][np.append(first[1:], len(bars)) - 1]
    return opened, candles


def _steps(usd: np.ndarray, faint: float, strong: float) -> np.ndarray:
    """Intensity of signed USD (shorts > 0): the logarithm between `faint` and `strong` in STEPS steps."""
    with np.errstate(divide="ignore"):
        share = np.log(np.abs(usd) / np.float32(faint)) / np.log(strong / faint)
    steps = np.where(usd == 0.0, 0.0, np.clip(1.0 + np.floor(share * (STEPS - 1)), 1.0, STEPS)).astype(np.uint8)
    return np.where(usd > 0.0, steps | 128, steps).astype(np.uint8)


def _prints(tape: MapTape, start: int) -> Records:
    """Recorded liquidations since `start` (ns), all venues, the largest MOST_PRINTS of them, in time order."""
    found = [tape.kind("liquidation", source) for source in tape.sources("liquidation")]
    rows = [kind[kind["event_time"] >= start] for kind in found if kind is not None]
    every = np.concatenate(rows) if rows else np.empty(0, LIQUIDATION)
    largest = np.sort(np.argsort(-every["usd"], kind="stable")[:MOST_PRINTS])
    return every[largest][np.argsort(every["event_time"][largest], kind="stable")]


def _panels(
    tape: MapTape, opened: Int64Array, there: Int64Array, step: int, close: Float64Array, parameters: liqmap.Parameters,
    real: Liquidations | None, prints: Records,
) -> tuple[tuple[Panel, ...], tuple[str, ...]]:  # fmt: skip
    at = opened[there] + step
    names = ("liq_swept_long_usd", "liq_swept_short_usd", "fund_rate_8h", "flow_inflow_z", "liq_model_score")
    found = features.compute(tape, at, close, step, parameters)
    full = {}
    for name in names:
        full[name] = np.full(len(opened), np.nan)
        full[name][there] = found[name]
    interest = np.full(len(opened), np.nan)
    newest = asof(tape.open_interest, at)
    interest[there[newest >= 0]] = tape.open_interest["base"][newest[newest >= 0]]
    hour = opened // HOUR
    hours, which = np.unique(hour, return_inverse=True)
    whole = np.bincount(which) * step == HOUR if step <= HOUR else np.ones(len(hours), bool)
    swept = np.stack([np.bincount(which, full[name]).astype(np.float64) for name in names[:2]])
    swept[:, ~whole] = np.nan
    notes = []
    known_usd = _real(hours, real, prints)
    if known_usd is None:
        notes.append(
            "No recorded liquidations of this span: the panel shows what the map says was swept, and no hour score."
        )
    elif real is None:
        notes.append("Real liquidations are recorded prints, a sample: lower bounds.")
    panels = [
        Panel(
            "liquidated per hour, feed USD (square-root scale)" + ("; line: real" if known_usd is not None else ""),
            (
                Series("shorts, by the map", swept[1][which], "short", True),
                Series("longs, by the map", -swept[0][which], "long", True),
                *(
                    ()
                    if known_usd is None
                    else (Series("shorts, real", known_usd[1][which]), Series("longs, real", -known_usd[0][which]))
                ),
            ),
            root=True,
        )
    ]
    if known_usd is not None:
        score = np.full((2, len(hours)), np.nan)
        for h in range(SCORED_HOURS - 1, len(hours)):
            span = slice(h - SCORED_HOURS + 1, h + 1)
            for side in range(2):
                pair = swept[side, span], known_usd[side, span]
                if np.isfinite(pair).all():
                    score[side, h] = spearman(*pair)
        panels.append(
            Panel(
                f"hour score: rank correlation with real, last {SCORED_HOURS} h",
                (Series("hour score of shorts", score[1][which], "short"), Series("of longs", score[0][which], "long")),
            )
        )
    panels += [
        Panel("open interest, coins", (Series("open interest", interest),)),
        Panel("funding, % per 8 h", (Series("funding", 100.0 * full["fund_rate_8h"]),)),
        Panel("exchange inflow, z", (Series("inflow", full["flow_inflow_z"]),)),
    ]
    kept = tuple(p for p in panels if any(np.isfinite(s.values).any() for s in p.series))
    gone = [p.name.split(",")[0].split(":")[0] for p in panels if p not in kept]
    if gone:
        notes.append(f"Without data: {', '.join(gone)}.")
    known_at = parameters.known_at
    if opened[0] < known_at:
        notes.append(
            f"The calibration was fitted on liquidations up to {iso(known_at)[:10]}: no one had it before, and "
            "earlier columns use it all the same."
        )
    return kept, tuple(notes)


def _real(hours: Int64Array, real: Liquidations | None, prints: Records) -> Float64Array | None:
    """USD of real liquidations at `hours` (n,), numbers of hours since 1970, as (2, n); NaN where unknown."""
    out = np.full((2, len(hours)), np.nan)
    if real is not None:
        at = real.hours // HOUR
        _, mine, theirs = np.intersect1d(hours, at, return_indices=True)
        out[:, mine] = real.usd[:, theirs]
    elif len(prints):
        at = prints["event_time"] // HOUR
        # A recorder's first and last hours are partial.
        known = (hours > at[0]) & (hours < at[-1])
        for side in (kernels.LONG, kernels.SHORT):
            rows = prints[prints["side"] == side]
            total = np.zeros(len(hours))
            np.add.at(total, np.searchsorted(hours, rows["event_time"] // HOUR), rows["usd"])
            out[side] = np.where(known, total, np.nan)
    return out if np.isfinite(out).any() else None


def colour_scale(side: int, dark: bool, steps: int = STEPS) -> list[str]:
    """Colours of intensities 1 .. `steps`, lightness (OKLab) rising evenly on dark ground and falling on light.

    Blue for longs and orange for shorts can be distinguished with every common kind of colour blindness.
    """
    share = np.linspace(0.0, 1.0, steps)
    light = 0.27 + 0.66 * share if dark else 0.95 - 0.55 * share
    hue = np.deg2rad(245.0 if side == kernels.LONG else 58.0)
    # Less chroma where sRGB has little to give: near black and near white.
    chroma = 0.15 * np.clip(np.minimum(light - 0.12, 1.02 - light) / 0.32, 0.0, 1.0)
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    l_, m_, s_ = (
        (light + x * a + y * b) ** 3
        for x, y in ((0.3963377774, 0.2158037573), (-0.1055613458, -0.0638541728), (-0.0894841775, -1.2914855480))
    )
    linear = np.array([
        4.0767416621 * l_ - 3.3077115913 * m_ + 0.2309699292 * s_,
        -1.2684380046 * l_ + 2.6097574011 * m_ - 0.3413193965 * s_,
        -0.0041960863 * l_ - 0.7034186147 * m_ + 1.7076147010 * s_,
    ]).clip(0.0, 1.0)  # fmt: skip
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.rint(255.0 * srgb).astype(int).T]

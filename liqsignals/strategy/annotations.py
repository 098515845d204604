"""The map as boxes, points and lines that FreqUI draws on the candles: freqtrade's `plot_annotations`.

For looking at only. A box ends where its cluster was swept, which is known at the box's end and not at its start, so
nothing here may reach a signal.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from liqsignals import liqmap
from liqsignals.clock import Int64Array, dates_ns, decision_time, to_dates
from liqsignals.data.tape import Tape
from liqsignals.liqmap import kernels
from liqsignals.liqmap.clusters import clusters
from liqsignals.records import Float64Array, open_interest_max_age

#: One colour a side, everywhere: blue and orange stay apart for colour-blind readers, on white and on black.
COLOURS = {kernels.LONG: (58, 134, 214), kernels.SHORT: (230, 126, 20)}
WORDS = {kernels.LONG: "longs", kernels.SHORT: "shorts"}

#: Boxes in a chart, how many sweeps have room for a label, and from how many candles on a box has.
MOST_BOXES = 40
MOST_LABELS = 6
LABEL_CANDLES = 13
#: The map is read at this many candles at most: 1,000 candles are read at every fifth.
MOST_READINGS = 200
#: A cluster that has lost this share of its USD without being reached is gone.
FADED = 0.5
#: Clusters nearer than this (ratio of prices) overlap: the width of a cluster's window.
APART = 0.005
#: FreqUI opens with this many candles; its price axis holds them, and what lies outside has to be named at its edge.
SHOWN = 250
MOST_EDGE = 2


@dataclass(frozen=True)
class View:
    """What was folded for a strategy's last dataframe: its tape and the checkpoint before its first candle.

    `state` is a copy whose arrays are never written, so that the API's thread may read while the bot goes on.
    """

    tape: Tape
    state: liqmap.FoldState
    parameters: liqmap.Parameters

    @classmethod
    def of(cls, tape: Tape, state: liqmap.FoldState, parameters: liqmap.Parameters) -> "View":
        return cls(tape, copy.copy(state), parameters)


@dataclass(frozen=True)
class Reading:
    """The map after a candle (its position in the candles given).

    `rows` by side: the major clusters, (n, 4) price, USD, low, high as `liqmap.clusters` gives them; `usd` (2, cells)
    is the position USD of every level, `price` (cells,) the levels' prices, bucket `origin` of the log grid the first
    of them.
    """

    candle: int
    rows: tuple[Float64Array, Float64Array]
    usd: Float64Array
    price: Float64Array
    origin: int

    def within(self, alive: "Sequence[Life]") -> list[float]:
        """Position USD that stands within each cluster's extent."""
        if not alive:
            return []
        side = np.array([life.side for life in alive], np.int64)
        first = np.searchsorted(self.price, [life.low for life in alive], side="left")
        last = np.searchsorted(self.price, [life.high for life in alive], side="right")
        # The sums begin where the lowest extent does: the grid reaches much further than the clusters.
        begin, end = int(first.min()), int(last.max())
        held = np.zeros((2, end - begin + 1))
        np.cumsum(self.usd[:, begin:end], axis=1, out=held[:, 1:])
        return (held[side, last - begin] - held[side, first - begin]).tolist()  # type: ignore[no-any-return]


@dataclass(eq=False)
class Life:
    """One major cluster from the candle that made it to the one that ended it (positions in the candles given).

    Price (quote), extent and position USD are those of its largest reading, and of the newest one while it stands.
    """

    side: int
    born: int
    last: int
    price: float
    usd: float
    low: float
    high: float
    swept: bool = False
    standing: bool = False


def readings(view: View, at: Int64Array, closes: Float64Array, most: int = MOST_READINGS) -> Iterator[Reading]:
    """The map at candles that close at `at` (n,) ns, ascending, with `closes`: at every k-th one and the last.

    The view's tape is cut at `at[-1]`. Candles at which the map is not running or stale are left out; without a map,
    all are.
    """
    tape = view.tape.cut(int(at[-1])).for_map()
    if tape is None or len(tape.bars) == 0 or len(tape.open_interest) == 0:
        return
    state = copy.copy(view.state)
    if state.serves(int(at[0]), max(tape.since, state.needs)):
        tape = tape.later(state.needs)
    _, fold = liqmap.read(tape, view.parameters, at[:1], closes[:1], state)
    plan = fold.plan
    last_bar = np.searchsorted(plan.closes_at, at, side="right") - 1
    step = -(-len(at) // most)
    for candle in range((len(at) - 1) % step, len(at), step):
        bar = int(last_bar[candle])
        fold.to(bar + 1)
        book = fold.book
        if book is None or bar < 0 or at[candle] - plan.closes_at[bar] >= tape.bar_ns:
            continue
        if at[candle] - plan.measured_at[bar] > open_interest_max_age(tape.period_ns):
            continue
        close, interest = float(closes[candle]), float(plan.interest[bar])
        longs, shorts = (clusters(book, side, close, interest).copy() for side in (kernels.LONG, kernels.SHORT))
        yield Reading(candle, (longs, shorts), book.levels() * book.price, book.price, book.origin)


def lives(seen: Iterable[Reading], high: Float64Array, low: Float64Array) -> list[Life]:
    """Join readings to lives, largest first. `high`, `low` (n,) are the candles' own.

    A cluster is swept by the first candle that reaches the price at which it was largest. One that has lost FADED of
    its USD untouched has been closed. Clusters that overlap are one: on a broad wall local maxima come and go within
    it.
    """
    done: list[Life] = []
    alive: list[Life] = []
    reading, before = None, -1
    for reading in seen:
        here = reading.candle
        path = slice(before + 1, here + 1)
        top, bottom = float(high[path].max()), float(low[path].min())
        left: list[Life] = []
        for life, usd in zip(alive, reading.within(alive), strict=True):
            life.last = here
            if top >= life.price if life.side == kernels.SHORT else bottom <= life.price:
                reached = high[path] >= life.price if life.side == kernels.SHORT else low[path] <= life.price
                life.swept, life.last = True, before + 1 + int(np.argmax(reached))
            gone = life.swept or usd < (1.0 - FADED) * life.usd
            (done if gone else left).append(life)
        alive = left
        for side, rows in enumerate(reading.rows):
            for price, usd, lowest, highest in rows.tolist():
                near = sorted(
                    (life for life in alive if life.side == side and abs(life.price / price - 1.0) <= APART),
                    key=lambda life: abs(life.price - price),
                )
                if not near:
                    alive.append(Life(side, here, here, price, usd, lowest, highest))
                elif usd > near[0].usd:
                    near[0].price, near[0].usd, near[0].low, near[0].high = price, usd, lowest, highest
                    done += near[1:]
                    alive = [life for life in alive if life not in near[1:]]
        before = here
    if reading is not None:
        for life, usd in zip(alive, reading.within(alive), strict=True):
            life.standing, life.usd = True, usd
            for row in reading.rows[life.side].tolist():
                if abs(life.price / row[0] - 1.0) <= APART / 2:
                    life.price, life.usd, life.low, life.high = row
    return sorted(done + alive, key=lambda one: -one.usd)


def usd_words(usd: float) -> str:
    """USD in three digits at most.

    >>> usd_words(82_400_000.0), usd_words(1.234e9), usd_words(950.0)
    ('82 M', '1.2 B', '950')
    """
    for size, unit in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if usd >= size:
            return f"{usd / size:.1f}{unit}" if usd < 10 * size else f"{usd / size:.0f}{unit}"
    return f"{usd:.0f}"


def annotations(view: View, dataframe: pd.DataFrame, timeframe_ns: int, most: int = MOST_BOXES) -> list[dict[str, Any]]:
    """freqtrade's annotations (dicts) of a stretch of the analysed dataframe, the largest clusters first.

    Areas: major clusters, from the candle that made them to the one that swept them. Points: sweeps, and at the edges
    what stands outside the candles shown. Lines: the squeeze's and flush's target and end where the dataframe has
    those columns. `dataframe` holds `date` (open, tz-aware UTC), `high`, `low`, `close`. USD are position USD.
    """
    opened = dates_ns(dataframe["date"], "annotations")
    at = decision_time(opened, timeframe_ns)
    high, low, close = (dataframe[n].to_numpy(np.float64) for n in ("high", "low", "close"))
    found = lives(readings(view, at, close), high, low)
    dates = to_dates(opened).to_pydatetime()
    boxes = found[:most]
    largest = max((one.usd for one in boxes), default=1.0)
    out: list[dict[str, Any]] = []
    for one in boxes:
        share = np.sqrt(one.usd / largest)
        # A cluster that is built and swept within a candle has no width: its point is enough.
        if one.last > one.born:
            out.append({
                "type": "area", "start": dates[one.born], "end": dates[one.last], "y_start": one.low, "y_end": one.high,
                "color": _rgba(one.side, 0.08 + 0.37 * share), "z_level": 1,
                "label": f"{usd_words(one.usd)} {WORDS[one.side]}" if one.last - one.born >= LABEL_CANDLES else "",
            })  # fmt: skip
    swept = [one for one in boxes if one.swept]
    for n, one in enumerate(swept):
        out.append({
            "type": "point", "x": dates[one.last], "y": one.price, "color": _rgba(one.side, 1.0), "shape": "circle",
            "size": round(5 + 9 * np.sqrt(one.usd / largest)), "z_level": 3,
            "label": f"swept {usd_words(one.usd)}" if n < MOST_LABELS else "",
        })  # fmt: skip
    return out + _edges(found, dataframe, dates) + _targets(dataframe, dates)


def _edges(found: Sequence[Life], dataframe: pd.DataFrame, dates: Any) -> list[dict[str, Any]]:
    """What stands beyond the candles that FreqUI opens with: the largest clusters, and all within 5 %.

    FreqUI cuts their boxes off.
    """
    out: list[dict[str, Any]] = []
    last = dataframe.iloc[-1]
    top, bottom = float(dataframe["high"].iloc[-SHOWN:].max()), float(dataframe["low"].iloc[-SHOWN:].min())
    # A label stands above its point: at the upper edge it needs room below the axis of time.
    for side, edge, at, turn in (
        (kernels.SHORT, top, top - 0.06 * (top - bottom), 0),
        (kernels.LONG, bottom, bottom, 180),
    ):
        beyond = [o for o in found if o.side == side and o.standing and (o.low > edge if turn == 0 else o.high < edge)]
        labels = [
            f"{usd_words(one.usd)} {WORDS[side]} at {one.price:,.6g} ({one.price / last['close'] - 1.0:+.1%})"
            for one in beyond[:MOST_EDGE]
        ]
        within = last.get(f"liq_{WORDS[side][:-1]}_usd_5pct", np.nan)
        if np.isfinite(within):
            labels.append(f"{usd_words(within)} {WORDS[side]} within 5 %")
        for n, label in enumerate(labels):
            out.append({
                "type": "point", "x": dates[-min(len(dates), 1 + SHOWN * (1 + 2 * n) // 8)], "y": at,
                "shape": "triangle",
                "size": 10, "rotate": turn, "color": _rgba(side, 1.0), "z_level": 4, "label": label,
            })  # fmt: skip
    return out


def _targets(dataframe: pd.DataFrame, dates: Any) -> list[dict[str, Any]]:
    """Where a squeeze and a flush begin and would end by the last candle, as lines over its last quarter day."""
    out = []
    for name, side, where in (("squeeze", kernels.SHORT, "above"), ("flush", kernels.LONG, "below")):
        if f"{name}_end_price" not in dataframe.columns:
            continue
        for what, column, style in (
            ("target", f"liq_{where}_price", "dashed"),
            ("end", f"{name}_end_price", "solid"),
        ):
            price = float(dataframe[column].iloc[-1]) if column in dataframe.columns else np.nan
            if np.isfinite(price):
                out.append({
                    "type": "line", "start": dates[-min(len(dates), 72)], "end": dates[-1],
                    "y_start": price, "y_end": price,
                    "color": _rgba(side, 1.0), "width": 2, "line_style": style, "z_level": 4, "label": f"{name} {what}",
                })  # fmt: skip
    return out


def _rgba(side: int, alpha: float) -> str:
    red, green, blue = COLOURS[side]
    return f"rgba({red}, {green}, {blue}, {alpha:.2f})"

"""The report of `liqsignals validate --report`: one HTML file that needs nothing beside itself (plotly inside).

A model has one colour in every chart and on both sides; intervals stand as a forest plot; the hours that the map missed
most are shown with the levels that it held when the hour began.
"""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from liqsignals import liqmap
from liqsignals.clock import HOUR, iso, to_dates
from liqsignals.errors import InputError
from liqsignals.evaluation import scores
from liqsignals.evaluation.validate import Validation
from liqsignals.records import Float64Array
from liqsignals.report.console import usd_text
from liqsignals.report.heatmap import colour_scale
from liqsignals.report.validation import COLUMNS, Rows, facts, tables
from liqsignals.strategy.annotations import View, readings

_SIDES = ("long", "short")
#: Okabe and Ito's palette, which colour-blind readers can tell apart; the map first, its memories beside it.
_PALETTE = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#D55E00", "#F0E442", "#000000")
_MISSES = 6
#: Hours of candles shown before a missed hour and after it.
_AROUND = 6
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 16px; color: #17202a; }
table { border-collapse: collapse; margin: .5em 0; font-variant-numeric: tabular-nums; }
td, th { padding: 2px 12px 2px 0; border-bottom: 1px solid #d3dae0; text-align: left; }
.wide { overflow-x: auto; }
.plot > div { min-width: 860px; }
.warning { color: #a34a00; font-weight: 600; }
summary { cursor: pointer; }
.dim { color: #4d5964; }
"""


def _deciles(predicted: Float64Array, real: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Mean prediction and mean real USD of ten equal groups by prediction."""
    groups = np.array_split(np.argsort(predicted, kind="stable"), 10)
    return np.array([predicted[g].mean() for g in groups]), np.array([real[g].mean() for g in groups])


def worst(v: Validation, count: int = _MISSES) -> list[tuple[int, int, float]]:
    """The hours with the largest errors: (row, side, ln((real + FLOOR) / (predicted + FLOOR))), largest first."""
    c = v.case
    off = np.log(c.real + scores.FLOOR) - np.log(np.nan_to_num(v.models["map"]) + scores.FLOOR)
    off[:, ~c.test] = 0.0
    order = np.argsort(-np.abs(off).ravel(), kind="stable")[:count]
    n = off.shape[1]
    return [(int(i % n), int(i // n), float(off.ravel()[i])) for i in order]


def colours(names: Any) -> dict[str, str]:
    """One colour a model."""
    return {name: _PALETTE[k % len(_PALETTE)] for k, name in enumerate(names)}


def write_html(v: Validation, out: Path, title: str, parameters: liqmap.Parameters) -> None:
    """Write the report: tables, forest plots, reliability by decile, months, largest errors with the map's levels.

    Raises InputError without plotly.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise InputError("validate --report needs plotly", "pip install 'liqsignals[truth]'") from error
    sections = [_scores(v), _differences(v), _reliability(v), _months(v), _misses(v, parameters)]
    out.write_text(page(title, facts(v.found), sections, tables(v.found), get_plotlyjs()), encoding="utf-8")


def page(
    title: str,
    lines: Sequence[str],
    sections: Sequence[tuple[str, str, Any]],
    folded: Sequence[Rows],
    plotlyjs: str,
) -> str:
    """A page that needs nothing beside itself: lines of text, sections (heading, note, figure of plotly), folded
    tables.
    """
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<script>{plotlyjs}</script></head><body><main><h1>{html.escape(title)}</h1>"
    ]
    for line in lines:
        warning = ' class="warning"' if line.startswith("NOT ") else ""
        parts.append(f"<p{warning}>{html.escape(line)}</p>")
    for heading, note, figure in sections:
        parts.append(f'<h2>{html.escape(heading)}</h2><p class="dim">{html.escape(note)}</p>')
        plot = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})
        name = f'tabindex="0" role="region" aria-label="{html.escape(heading)}"'
        parts.append(f'<div class="wide plot" {name}>{plot}</div>')
    parts.append("<h2>All figures</h2>")
    for name, header, rows in folded:
        table = pd.DataFrame(rows, columns=header).to_html(index=False, border=0)
        parts.append(f'<details><summary>{html.escape(name)}</summary><div class="wide">{table}</div></details>')
    return "\n".join([*parts, "</main></body></html>"])


def _forest(rows: list[tuple[str, dict[str, Any]]], colour: dict[str, str], zero: bool) -> Any:
    """A panel a score; a row a name, longs as circles above shorts as diamonds, the bar the 95 % interval."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    panels = make_subplots(1, len(COLUMNS), subplot_titles=[name for name, _ in COLUMNS], shared_yaxes=True)
    names = [name for name, _ in rows]
    for column, (_, key) in enumerate(COLUMNS, 1):
        for side in range(2):
            found = [scored[key] for _, scored in rows]

            def part(what: str, found: Any = found, side: int = side) -> Float64Array:
                return np.array([f[what][side] for f in found], float)

            value, low, high = part("value"), part("low"), part("high")
            panels.add_trace(
                go.Scatter(
                    x=value,
                    y=np.arange(len(names)) + (0.14, -0.14)[side],
                    mode="markers",
                    name=_SIDES[side] + "s",
                    legendgroup=_SIDES[side],
                    showlegend=column == 1,
                    customdata=names,
                    marker={
                        "symbol": ("circle", "diamond-open")[side],
                        "size": 9,
                        "color": [colour.get(name.split(" - ")[0], "#17202a") for name in names],
                    },
                    error_x={
                        "type": "data",
                        "symmetric": False,
                        "array": np.nan_to_num(high - value),
                        "arrayminus": np.nan_to_num(value - low),
                        "color": "#4d5964",
                        "thickness": 1.2,
                        "width": 3,
                    },
                    hovertemplate="%{customdata}, " + _SIDES[side] + "s: %{x:.3f}<extra></extra>",
                ),
                1,
                column,
            )
        if zero:
            panels.add_vline(x=0, line_color="#17202a", line_width=1, row=1, col=column)
    panels.update_yaxes(tickvals=np.arange(len(names)), ticktext=names, autorange="reversed")
    panels.update_layout(
        height=150 + 44 * len(names),
        template="plotly_white",
        margin={"l": 10, "r": 10, "t": 50, "b": 80},
        legend={"orientation": "h", "yref": "container", "y": 0.01, "yanchor": "bottom"},
    )
    return panels


def _scores(v: Validation) -> tuple[str, str, Any]:
    found = v.found["models"]
    rows = [(name, scored["intervals"]) for name, scored in found.items()]
    return (
        "How well each model ranks the hours",
        (
            "Rank correlation with the hour's real liquidations, and R2 of log USD; further right is better. Bars are"
            " 95 % intervals over whole days."
        ),
        _forest(rows, colours(found), zero=False),
    )


def _differences(v: Validation) -> tuple[str, str, Any]:
    return (
        "Paired differences on the same hours",
        "A bar that does not cross the line is a difference at the 95 % level; right of it the first named is better.",
        _forest(list(v.found["paired"].items()), colours(v.found["models"]), zero=True),
    )


def _reliability(v: Validation) -> tuple[str, str, Any]:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    c, test, colour = v.case, v.case.test, colours(v.found["models"])
    figure = make_subplots(1, 2, subplot_titles=[f"{side}s" for side in _SIDES], shared_yaxes=True)
    for side in range(2):
        for model in (name for name in ("map", "trees", "range x open interest") if name in v.models):
            x, y = _deciles(np.nan_to_num(v.models[model][side, test]), c.real[side, test])
            line = {"color": colour.get(model, "#17202a")}
            trace = go.Scatter(
                x=x + 1e3,
                y=y + 1e3,
                name=model,
                legendgroup=model,
                showlegend=side == 0,
                mode="lines+markers",
                line=line,
            )
            figure.add_trace(trace, 1, side + 1)
        ends = [1e3, 1e8]
        dotted = go.Scatter(
            x=ends, y=ends, mode="lines", line={"dash": "dot", "color": "grey"}, showlegend=False, hoverinfo="skip"
        )
        figure.add_trace(dotted, 1, side + 1)
    figure.update_xaxes(type="log", title="predicted USD an hour, + 1,000")
    figure.update_yaxes(type="log")
    figure.update_yaxes(title="real", col=1)
    figure.update_layout(template="plotly_white", height=430)
    return (
        "Reliability",
        "Ten equal groups of hours by prediction; on the dotted line predicted and real USD agree.",
        figure,
    )


def _months(v: Validation) -> tuple[str, str, Any]:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    colour = colours(v.found["models"])
    figure = make_subplots(1, 2, subplot_titles=[f"{side}s" for side in _SIDES], shared_yaxes=True)
    for model, scored in v.found["models"].items():
        for side in range(2):
            trace = go.Scatter(
                x=list(scored["months"]),
                y=[m["rank"][side] for m in scored["months"].values()],
                name=model,
                legendgroup=model,
                showlegend=side == 0,
                mode="lines+markers",
                line={"color": colour[model]},
            )
            figure.add_trace(trace, 1, side + 1)
    figure.update_yaxes(title="rank correlation, all hours", col=1)
    figure.update_xaxes(type="category")
    figure.update_layout(template="plotly_white", height=380)
    return "By month", "Months differ; a model that leads in one only has not shown much.", figure


def _misses(v: Validation, parameters: liqmap.Parameters) -> tuple[str, str, Any]:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    c = v.case
    misses = worst(v)
    titles = [
        f"{iso(int(c.hours[i]))[:16]} {_SIDES[side]}s: real {usd_text(c.real[side, i])}, map "
        f"{usd_text(float(np.nan_to_num(v.models['map'][side, i])))} USD"
        for i, side, _ in misses
    ]
    figure = make_subplots(-(-len(misses) // 2), 2, subplot_titles=titles, vertical_spacing=0.09)
    bars, held = c.tape.bars, _levels(v, [i for i, _, _ in misses], parameters)
    for k, (i, _, _) in enumerate(misses):
        row, column = k // 2 + 1, k % 2 + 1
        begin = int(c.hours[i])
        near = (bars["event_time"] > begin - _AROUND * HOUR) & (bars["event_time"] <= begin + (_AROUND + 1) * HOUR)
        part = bars[near]
        if len(part) == 0:
            continue
        low, high = float(part["low"].min()) * 0.995, float(part["high"].max()) * 1.005
        hour = to_dates(np.array([begin, begin + HOUR]))
        halves = to_dates(np.array([begin + HOUR // 4, begin + 3 * HOUR // 4]))
        if i in held:
            price, usd = held[i]
            inside = (price >= low) & (price <= high)
            for s in range(2):
                level = usd[s, inside]
                if not (level > 0).any():
                    continue
                scale = colour_scale(s, dark=False, steps=9)
                figure.add_trace(
                    go.Heatmap(
                        x=halves,  # a cell is drawn around its x
                        y=price[inside],
                        z=np.where(level > 0, level, np.nan)[:, None].repeat(2, axis=1),
                        colorscale=[[n / 8, tone] for n, tone in enumerate(scale)],
                        showscale=False,
                        hovertemplate=f"{_SIDES[s]}s at %{{y:,.6g}}: %{{z:.3s}} USD<extra></extra>",
                    ),
                    row,
                    column,
                )
        figure.add_trace(
            go.Candlestick(
                x=to_dates(part["event_time"] - c.tape.bar_ns),
                open=part["open"], high=part["high"], low=part["low"], close=part["close"], showlegend=False,
                increasing={"line": {"color": "#17202a", "width": 1}, "fillcolor": "#ffffff"},
                decreasing={"line": {"color": "#17202a", "width": 1}, "fillcolor": "#17202a"},
            ),
            row,
            column,
        )  # fmt: skip
        figure.add_vrect(
            x0=hour[0], x1=hour[1], line_color="#17202a", line_width=1, fillcolor="rgba(0,0,0,0)", row=row, col=column
        )
        figure.update_yaxes(range=[low, high], row=row, col=column)
    figure.update_xaxes(rangeslider_visible=False, tickangle=0, nticks=7)
    figure.update_layout(template="plotly_white", height=340 * -(-len(misses) // 2))
    return (
        "The hours that the map missed most",
        (
            "Within the framed hour: the levels that the map held when it began, blue longs and orange shorts, darker"
            " for more USD. Real liquidations where the map had no level, or levels swept that the feed does not"
            " report."
        ),
        figure,
    )


def _levels(
    v: Validation, rows: list[int], parameters: liqmap.Parameters
) -> dict[int, tuple[Float64Array, Float64Array]]:
    """The map at the begin of the hours of these rows: prices (cells,) and position USD (2, cells); one fold for all."""
    c = v.case
    ends = c.tape.bars["event_time"]
    wanted = sorted(rows, key=lambda i: int(c.hours[i]))
    last = np.searchsorted(ends, [int(c.hours[i]) for i in wanted], side="right") - 1
    there = [(i, int(b)) for i, b in zip(wanted, last, strict=True) if b >= 0]
    if not there:
        return {}
    at = np.array([ends[b] for _, b in there], np.int64)
    closes = np.array([c.tape.bars["close"][b] for _, b in there])
    found = {}
    for seen in readings(View(c.tape, liqmap.FoldState(), parameters), at, closes, most=len(at)):
        found[there[seen.candle][0]] = (seen.price.copy(), seen.usd.copy())
    return found

"""Console output and HTML report of `liqsignals validate`."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from liqsignals.clock import HOUR, iso, to_dates
from liqsignals.errors import InputError
from liqsignals.evaluation import scores
from liqsignals.evaluation.validate import Validation
from liqsignals.records import Float64Array

_COLUMNS = (
    ("all hours", "rank"),
    ("> 0.5 % that way", "rank_moved"),
    ("prices new for 72 h", "rank_anew"),
    ("R2 of log USD", "r2"),
)
_SIDES = ("long", "short")


def two(values: list[float | None] | None, form: str = ".3f") -> str:
    """`long / short`, `-` for missing values.

    >>> two([0.5, None])
    '0.500 / -'
    """
    return " / ".join("-" if v is None else format(v, form) for v in values) if values else "-"


def difference(paired: Mapping[str, list[float | None]]) -> str:
    """A paired difference with its 95 % interval, long then short."""
    parts = []
    for value, low, high in zip(paired["value"], paired["low"], paired["high"], strict=True):
        if value is None:
            parts.append("-")
        elif low is None or high is None:
            parts.append(f"{value:+.3f}")
        else:
            parts.append(f"{value:+.3f} ({low:+.3f} .. {high:+.3f})")
    return "  ".join(parts)


#: A table as data: title, header, rows.
Rows = tuple[str, list[str], list[list[str]]]


def tables(found: Mapping[str, Any]) -> list[Rows]:
    """Every table of a validation, as text; each cell is long / short unless its title says otherwise."""
    out: list[Rows] = []
    scored = f"{found['scored'][0][:10]} .. {found['scored'][1][:10]}"
    out.append(
        (
            f"{found['pair']}, {scored}: rank correlation with the hour's real liquidations, long / short",
            ["", *[name for name, _ in _COLUMNS], "real / predicted USD"],
            [
                [name, *[two(m["intervals"][key]["value"]) for _, key in _COLUMNS], two(m["dollars"], ".2f")]
                for name, m in found["models"].items()
            ],
        )
    )
    out.append(
        (
            "Paired differences on the same hours: value (95 % interval), long, then short",
            ["", *[name for name, _ in _COLUMNS]],
            [[name, *[difference(d[key]) for _, key in _COLUMNS]] for name, d in found["paired"].items()],
        )
    )
    own = found["models"]["map"]
    out.append(
        (
            "The map by month, long / short",
            ["", "hours", "all hours", "> 0.5 % that way", "R2 of log USD", "real / predicted USD"],
            [
                [month, str(m["hours"]), two(m["rank"]), two(m["rank_moved"]), two(m["r2"]), two(m["dollars"], ".2f")]
                for month, m in own["months"].items()
            ],
        )
    )
    ages = found["by_age"]
    ranked = _COLUMNS[:3]
    out.append(
        (
            "By age of the swept mass: share of USD, in hours at new prices, rank correlation; long / short",
            ["", "share", "share at new prices", *[name for name, _ in ranked]],
            [
                [
                    name,
                    two(a["share"], ".2f"),
                    two(a["share_anew"], ".2f"),
                    *[two(a[key]["value"]) for _, key in ranked],
                ]
                for name, a in ages["ages"].items()
            ]
            + [[name, "", "", *[difference(d[key]) for _, key in ranked]] for name, d in ages["paired"].items()],
        )
    )
    levels = found["levels"]
    if levels["snapshots"]:
        kinds = (
            ("reached within 24 h", "swept"),
            ("liquidated USD", "liquidated"),
            ("the same, among those reached", "among_swept"),
        )
        out.append(
            (
                f"Lift of the top tenth of the levels within 15 %, {levels['snapshots']} days; 1 = no better than any, "
                "long / short",
                ["ranked by", *[name for name, _ in kinds]],
                [
                    [
                        name,
                        *[
                            difference(levels[key][name]) if " - " in name else two(levels[key][name]["value"], ".2f")
                            for _, key in kinds
                        ],
                    ]
                    for name in levels["swept"]
                ],
            )
        )
    if "by_candle" in found:
        sizes = found["by_candle"]
        out.append(
            (
                "The same map on other candles, same hours, long / short",
                ["", *[name for name, _ in _COLUMNS], "real / predicted USD"],
                [
                    [name, *[two(s[key]["value"]) for _, key in _COLUMNS], two(s["dollars"], ".2f")]
                    for name, s in sizes["sizes"].items()
                ]
                + [[name, *[difference(d[key]) for _, key in _COLUMNS], ""] for name, d in sizes["paired"].items()],
            )
        )
    true = found.get("true_levels")
    if true and true["snapshots"]:
        out.append(
            (
                f"True levels at 5 .. 15 %, {true['snapshots']} snapshots, both sides together: value (95 % interval)",
                ["ranked by", "rank correlation", "lift of the top fifth of the bins"],
                [[name, difference(true["rank"][name]), difference(true["lift"][name])] for name in true["rank"]],
            )
        )
    return out


def facts(found: Mapping[str, Any]) -> list[str]:
    """Notes that accompany the tables."""
    moved, new = found["hours_moved"], found["hours_anew"]
    out = [
        f"{found['hours']} hours scored, {moved[0]} fell and {moved[1]} rose more than 0.5 %, {new[0]} and {new[1]} "
        f"reached prices not traded for 72 h; baselines fitted before {found['fitted_until']}",
        f"coverage {found['coverage']:.1%}: a NaN prediction scores as 0",
    ]
    if found["in_sample"]:
        out.append(
            f"NOT OUT OF SAMPLE: the calibration was fitted on hours of {' .. '.join(found['calibration_saw'])}. "
            "Way out: liqsignals calibrate --until "
            f"{found['fitted_until']}, then --calibration with that file"
        )
    return out


def rich_tables(found: Mapping[str, Any]) -> list[Table]:
    """`tables` for a terminal."""
    out = []
    for title, header, rows in tables(found):
        table = Table(title=title, title_justify="left")
        for name in header:
            table.add_column(name, no_wrap=not name)
        for row in rows:
            table.add_row(*row)
        out.append(table)
    return out


# --- HTML report


def _deciles(predicted: Float64Array, real: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Mean prediction and mean real USD of ten equal groups by prediction."""
    groups = np.array_split(np.argsort(predicted, kind="stable"), 10)
    return np.array([predicted[g].mean() for g in groups]), np.array([real[g].mean() for g in groups])


def worst(v: Validation, count: int = 6) -> list[tuple[int, int, float]]:
    """The hours with the largest errors: (row, side, ln((real + FLOOR) / (predicted + FLOOR))), largest first."""
    c = v.case
    off = np.log(c.real + scores.FLOOR) - np.log(np.nan_to_num(v.models["map"]) + scores.FLOOR)
    off[:, ~c.test] = 0.0
    order = np.argsort(-np.abs(off).ravel(), kind="stable")[:count]
    n = off.shape[1]
    return [(int(i % n), int(i // n), float(off.ravel()[i])) for i in order]


def write_html(v: Validation, out: Path, title: str) -> None:
    """Write the HTML report: tables, reliability by decile, months, largest errors with candles.

    One file that needs no network access. Raises InputError without plotly.
    """
    try:
        import plotly.graph_objects as go
        from plotly.offline import get_plotlyjs
        from plotly.subplots import make_subplots
    except ImportError as error:
        raise InputError(
            "validate --report needs plotly",
            "pip install -e '.[truth]'",
        ) from error
    c, test = v.case, v.case.test
    figures: list[tuple[str, Any]] = []

    reliability = make_subplots(1, 2, subplot_titles=_SIDES)
    shown: list[str] = [name for name in ("map", "trees", "range x open interest") if name in v.models]
    for side in range(2):
        for model in shown:
            x, y = _deciles(np.nan_to_num(v.models[model][side, test]), c.real[side, test])
            line = go.Scatter(x=x + 1e3, y=y + 1e3, name=f"{model}, {_SIDES[side]}", mode="lines+markers")
            reliability.add_trace(line, 1, side + 1)
        ends = [1e3, 1e8]
        reliability.add_trace(
            go.Scatter(x=ends, y=ends, mode="lines", line={"dash": "dot", "color": "grey"}, showlegend=False),
            1,
            side + 1,
        )
    reliability.update_xaxes(type="log", title="predicted USD an hour (mean of the tenth, + 1,000)")
    reliability.update_yaxes(type="log", title="real")
    figures.append(
        (
            "Reliability: ten equal groups of hours by prediction; on the dotted line predicted and real USD agree",
            reliability,
        )
    )

    months = make_subplots(1, 2, subplot_titles=_SIDES, shared_yaxes=True)
    for model, scored in v.found["models"].items():
        for side in range(2):
            bar = go.Bar(
                x=list(scored["months"]),
                y=[m["rank"][side] for m in scored["months"].values()],
                name=model,
                legendgroup=model,
                showlegend=side == 0,
            )
            months.add_trace(bar, 1, side + 1)
    months.update_yaxes(range=[0, 1], title="rank correlation, all hours")
    figures.append(("By month", months))

    misses = worst(v)
    titles = [
        f"{iso(int(c.hours[i]))[:16]} {_SIDES[side]}s: real {c.real[side, i]:,.0f}, map "
        f"{np.nan_to_num(v.models['map'][side, i]):,.0f}"
        for i, side, _ in misses
    ]
    candles = make_subplots(3, 2, subplot_titles=titles)
    bars = c.tape.bars
    for k, (i, _, _) in enumerate(misses):
        near = (bars["event_time"] > c.hours[i] - 6 * HOUR) & (bars["event_time"] <= c.hours[i] + 7 * HOUR)
        part = bars[near]
        opened = to_dates(part["event_time"] - c.tape.bar_ns)
        trace = go.Candlestick(
            x=opened, open=part["open"], high=part["high"], low=part["low"], close=part["close"], showlegend=False
        )
        row, column = k // 2 + 1, k % 2 + 1
        candles.add_trace(trace, row, column)
        hour = to_dates(np.array([c.hours[i], c.hours[i] + HOUR]))
        candles.add_vrect(x0=hour[0], x1=hour[1], fillcolor="orange", opacity=0.25, line_width=0, row=row, col=column)
    candles.update_xaxes(rangeslider_visible=False)
    candles.update_layout(height=1000)
    figures.append(("Largest errors: the hour is shaded", candles))

    parts = [
        f"<!doctype html><html><head><meta charset='utf-8'><title>{html.escape(title)}</title>"
        "<style>body{font:14px sans-serif;max-width:1200px;margin:2em auto}"
        "table{border-collapse:collapse;margin:.5em 0}"
        "td,th{padding:2px 10px;border-bottom:1px solid #ddd;text-align:left}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><h1>{html.escape(title)}</h1>"
    ]
    parts += [f"<p>{html.escape(fact)}</p>" for fact in facts(v.found)]
    for name, header, rows in tables(v.found):
        parts.append(
            f"<h2>{html.escape(name)}</h2>" + pd.DataFrame(rows, columns=header).to_html(index=False, border=0)
        )
    for heading, figure in figures:
        parts.append(f"<h2>{html.escape(heading)}</h2>" + figure.to_html(full_html=False, include_plotlyjs=False))
    out.write_text("\n".join([*parts, "</body></html>"]), encoding="utf-8")

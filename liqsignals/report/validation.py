"""The page of `liqsignals validate --report`: reliability, months, baselines, and the worst misses with their candles."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals import scores
from liqsignals.clock import HOUR, iso, to_dates
from liqsignals.errors import InputError
from liqsignals.validation import MAP, Validation

_SIDES = ("long", "short")


def write(validation: Validation, path: Path) -> None:
    """Write the page, with everything that it needs inside. Raises InputError without plotly."""
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise InputError("the report needs plotly. Way out: pip install 'liqsignals[truth]'") from error
    r = validation.result
    figures = [_reliability(validation, go), _months(validation, go), _ranks(validation, go), *_misses(validation, go)]
    title = f"liqsignals validate: {r['pair']}, {r['since']} to {r['until']}"
    parts = [
        f"<!doctype html><html><head><meta charset='utf-8'><title>{escape(title)}</title></head>",
        f"<body style='font-family: sans-serif; max-width: 70em; margin: auto'><h1>{escape(title)}</h1>",
        "<p>Real liquidations of each hour against what the map swept, a nowcast given the hour's candles.</p>",
        *(f.to_html(full_html=False, include_plotlyjs=i == 0) for i, f in enumerate(figures)),
        "</body></html>",
    ]
    path.write_text("\n".join(parts))


def _reliability(v: Validation, go: Any) -> Any:
    """Mean predicted and real dollars in tenths of the hours, by prediction: on the diagonal is right."""
    figure = go.Figure(layout={"title": "Reliability: hours in tenths by prediction (mean USD)", "height": 450})
    guess = np.nan_to_num(v.predictions[MAP][:, v.scored])
    for side, name in enumerate(_SIDES):
        tenths = np.array_split(np.argsort(guess[side], kind="stable"), 10)
        x = [float(guess[side][t].mean()) + 1 for t in tenths]
        y = [float(v.hours.usd[side, v.scored][t].mean()) + 1 for t in tenths]
        figure.add_scatter(x=x, y=y, name=name, mode="lines+markers")
    ends = [1e3, 1e8]
    figure.add_scatter(x=ends, y=ends, name="right", mode="lines", line={"dash": "dot", "color": "grey"})
    figure.update_xaxes(type="log", title="predicted")
    figure.update_yaxes(type="log", title="real")
    return figure


def _months(v: Validation, go: Any) -> Any:
    figure = go.Figure(layout={"title": "Real over predicted dollars by month (1 is right)", "height": 350})
    months = v.result["by_month"]
    for side, name in enumerate(_SIDES):
        figure.add_bar(x=list(months), y=[m["dollars"][side] for m in months.values()], name=name)
    figure.add_hline(y=1.0, line={"dash": "dot"})
    return figure


def _ranks(v: Validation, go: Any) -> Any:
    figure = go.Figure(layout={"title": "Rank correlation with the hour's real liquidations", "height": 450})
    table = v.result["hour_score"]
    for key, what in (
        ("rank", "all hours"),
        ("rank_moved", "hours that moved > 0.5 %"),
        ("rank_new_prices", "prices new for 72 h"),
    ):
        for side, name in enumerate(_SIDES):
            figure.add_bar(x=list(table), y=[row[key][side] for row in table.values()], name=f"{what}, {name}")
    return figure


def _misses(v: Validation, go: Any) -> list[Any]:
    """The six hours of most |ln(real / predicted)| among those with real or predicted dollars in the top tenth."""
    bars = v.hours.tape.bars
    assert bars is not None
    rows = np.flatnonzero(v.scored)
    guess, real = np.nan_to_num(v.predictions[MAP][:, rows]), v.hours.usd[:, rows]
    off = np.abs(np.log((real + scores.FLOOR) / (guess + scores.FLOOR)))
    size = np.maximum(real, guess)
    off[size < np.quantile(size, 0.9, axis=1)[:, None]] = 0.0
    figures = []
    for flat in np.argsort(-off, axis=None)[:6]:
        side, i = np.unravel_index(flat, off.shape)
        hour = int(v.hours.at[rows[i]])
        inside = bars[(bars["event_time"] > hour - 3 * HOUR) & (bars["event_time"] <= hour + 3 * HOUR)]
        figure = go.Figure(
            go.Candlestick(
                x=to_dates(inside["event_time"] - v.hours.tape.bar_ns), open=inside["open"], high=inside["high"],
                low=inside["low"], close=inside["close"],
            ),
            layout={
                "title": f"{iso(hour)}, {_SIDES[side]}: real {real[side, i]:,.0f}, predicted {guess[side, i]:,.0f} USD",
                "height": 350, "xaxis": {"rangeslider": {"visible": False}},
            },
        )  # fmt: skip
        figure.add_vrect(
            x0=to_dates(np.array([hour]))[0], x1=to_dates(np.array([hour + HOUR]))[0], opacity=0.15, fillcolor="blue"
        )
        figures.append(figure)
    return figures

"""Console output and HTML page of `liqsignals study`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals.errors import InputError
from liqsignals.evaluation.events import DRAWS, HORIZONS, KINDS, LEAST, SIDES, SPLIT_HORIZON
from liqsignals.report.validation import Rows
from liqsignals.report.validation_html import page


def tables(found: Mapping[str, Any]) -> list[Rows]:
    """The cells by kind and side, and the splits at the median, as text."""
    tests = found["tests"]
    cells = {(c["kind"], c["side"], c["hours"]): c for c in found["cells"]}
    rows = [
        [kind, side, str(cells[kind, side, 1]["events"]), *[_cell(cells[kind, side, h]) for h in HORIZONS]]
        for side in SIDES
        for kind in KINDS
    ]
    title = (
        f"Mean return / event minus placebo, bp; p of the difference (among all {tests} tests); "
        f"-: fewer than {LEAST} events"
    )
    out = [(title, ["event", "side", "events", *[f"{h} h" for h in HORIZONS]], rows)]
    words = {"cluster_size": "cluster / open interest", "oi_change": "change of open interest", "funding": "funding"}
    split = [
        [
            s["kind"], s["side"], words[s["by"]], f"{s['n_high']} / {s['n_low']}",
            f"{s['high_half']:+.0f} / {s['low_half']:+.0f}",
            f"{s['value']:+.0f}, p {_p(s)}",
        ]
        for s in found["splits"]
        if "p" in s
    ]  # fmt: skip
    title = (
        f"Event minus placebo after {SPLIT_HORIZON} h, bp, of the half above and the half below the median of its"
        " events"
    )
    header = [
        "event",
        "side",
        "split by",
        "events above / below",
        "above / below",
        f"difference, p (among {tests} tests)",
    ]
    return [*out, (title, header, split)]


def _cell(cell: Mapping[str, Any]) -> str:
    if "p" not in cell:
        return "-"
    return f"{cell['event']:+.0f} / {cell['value']:+.0f}\np {_p(cell)}"


def _p(cell: Mapping[str, Any]) -> str:
    return f"{cell['p']:.3f} ({cell['p_family']:.2f})"


def facts(found: Mapping[str, Any]) -> list[str]:
    """What was studied, and how the p-values must be read."""
    tested = [c for c in (*found["cells"], *found["splits"]) if "p" in c]
    out = [
        (
            f"{', '.join(found['pairs'])}: {found['from']} to {found['to']}, {found['weeks']} weeks. Returns count in"
            " the direction of the event (up: price rises toward shorts), gross of fees and funding."
        ),
        (
            f"{found['tests']} tests; {found['small_p']} have p < 0.05, {0.05 * found['tests']:.1f} would by chance."
            f" The second p counts all tests ({DRAWS:,} draws of whole weeks, all pairs together: they move together)."
        ),
    ]
    if tested:
        best = min(tested, key=lambda c: c["p_family"])
        what = f"{best['kind']}, {best['side']}" + (f", split by {best['by']}" if "by" in best else "")
        verdict = "stands out among all tests" if best["p_family"] < 0.05 else "could be chance among so many"
        out.append(
            f"Farthest from nothing: {what}, {best['hours']} h: {best['value']:+.0f} bp "
            f"({best['low']:+.0f} .. {best['high']:+.0f}), p {best['p']:.4f}, among all tests {best['p_family']:.3f}: "
            f"{verdict}."
        )
    return out


def write_html(found: Mapping[str, Any], out: Path, title: str) -> None:
    """Write the study as one file that needs no network access. Raises InputError without plotly."""
    try:
        import plotly.graph_objects as go
        from plotly.offline import get_plotlyjs
        from plotly.subplots import make_subplots
    except ImportError as error:
        raise InputError("study --report needs plotly", "pip install 'liqsignals[see]'") from error
    colours = {"event": "#0072B2", "placebo": "#7f7f7f"}
    sections: list[tuple[str, str, Any]] = []
    for side in SIDES:
        paths = [p for p in found["paths"] if p["side"] == side]
        figure = make_subplots(2, 4, subplot_titles=[p["kind"] for p in paths], horizontal_spacing=0.05)
        for k, p in enumerate(paths):
            at = {"row": k // 4 + 1, "col": k % 4 + 1}
            band = go.Scatter(
                x=[*p["hours"], *p["hours"][::-1]], y=[*p["high"], *p["low"][::-1]], fill="toself", line={"width": 0},
                fillcolor="rgba(0,114,178,.15)", hoverinfo="skip", showlegend=False,
            )  # fmt: skip
            figure.add_trace(band, **at)
            for name, words in (("event", "events, band: 95 % of weeks drawn"), ("placebo", "placebos")):
                line = go.Scatter(
                    x=p["hours"], y=p[name], name=words, mode="lines", line={"color": colours[name]}, legendgroup=name,
                    showlegend=k == 0,
                )  # fmt: skip
                figure.add_trace(line, **at)
            figure.add_hline(y=0.0, line={"width": 1, "color": "#cccccc"}, **at)
        figure.update_xaxes(title="hours")
        figure.update_layout(height=640, template="plotly_white", yaxis_title="bp", yaxis5_title="bp")
        note = "Basis points in the direction of the event, gross. Placebos: same pair, hour and move, no such event."
        sections.append((f"After events, side {side}", note, figure))
    p = np.sort([c["p"] for c in (*found["cells"], *found["splits"]) if "p" in c])
    if len(p):
        spread = go.Figure(
            [
                go.Scatter(x=(np.arange(len(p)) + 0.5) / len(p), y=p, mode="markers", name="p-values in order"),
                go.Scatter(
                    x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": "grey"}, name="if all is chance"
                ),
            ]
        )
        spread.update_xaxes(title="rank / tests")
        spread.update_yaxes(title="p")
        spread.update_layout(height=420, template="plotly_white")
        sections.append(("All p-values", "Points well below the line: more small ones than chance gives.", spread))
    out.write_text(page(title, facts(found), sections, tables(found), get_plotlyjs()), encoding="utf-8")

"""The picture as one HTML file that needs nothing beside itself: `liqsignals map --html`.

heatmap.js draws it on a canvas (docs/decisions/070): plotly's smallest bundle alone is a third of the size allowed,
and its heatmap is drawn anew at every step of a pan.
"""

import base64
import html
import json
import zlib
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals.clock import iso
from liqsignals.files import written
from liqsignals.liqmap import STEP, kernels
from liqsignals.report.console import price_text, usd_text
from liqsignals.report.heatmap import STEPS, Picture, colour_scale

_MS = 1_000_000
#: The switches and the canvas that heatmap.js works on.
CONTROLS = """<div class="controls">
<fieldset><legend>Show</legend>
<label><input type="radio" name="side" value="both" checked> both sides</label>
<label><input type="radio" name="side" value="short"> shorts</label>
<label><input type="radio" name="side" value="long"> longs</label></fieldset>
<label>Hide below <input id="threshold" type="range" min="1" value="1" aria-valuetext="all"> <span
id="from">all</span></label>
<button id="reset" type="button">Whole span</button>
<span>drag: move · wheel: time · shift + wheel, or wheel over prices: price · keys: arrows, + -, page up and down,
home</span>
</div>
<p id="readout">Point at the map: time, price, side and USD stand here.</p>
<div id="chart" tabindex="0" role="application" aria-label="Heatmap of the liquidation map over time with candles. The
table below has its clusters.">
<canvas aria-hidden="true"></canvas><canvas aria-hidden="true"></canvas></div>"""
_SIDES = {kernels.LONG: "long", kernels.SHORT: "short"}


def write_html(pic: Picture, out: Path, title: str = "") -> Path:
    """Write the picture to `out` (.html) in one step; `title` is put before the pair: SIMULATED. Returns `out`."""
    with written(out, (".html",)) as path:
        path.write_text(page(pic, title), encoding="utf-8")
    return out


def asset(file: str) -> str:
    """Text of heatmap.js or heatmap.css."""
    return (package_files("liqsignals.report") / file).read_text(encoding="utf-8")


def page(pic: Picture, title: str = "") -> str:
    """The whole page. The headline stands in it as `liqsignals map --json` prints it (script `headline`)."""
    head = pic.head
    name = f"{title}{head['pair']}: liquidation map at {head['at']}"

    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src
'unsafe-inline'; img-src data:">
<title>{html.escape(name)}</title>
<style>
{asset("heatmap.css")}</style>
</head>
<body>
<main>
<h1>{'<span class="simulated">SIMULATED</span> ' if title else ""}{html.escape(str(head["pair"]))}: liquidation map</h1>
{headline_html(head)}
{CONTROLS}
{clusters_html(head)}
{how_html(pic)}
</main>
<script type="application/json" id="headline">{_json(head)}</script>
<script type="application/json" id="picture">{_json(data(pic))}</script>
<script>
{asset("heatmap.js")}
heatmap.load(JSON.parse(document.getElementById("picture").textContent)).then(() => {{
  // For tests: ms from the page's begin to the first picture.
  document.getElementById("chart").dataset.painted = String(Math.round(performance.now()));
}});</script>
</body>
</html>
"""


def _json(value: Any) -> str:
    """JSON that cannot end the script that holds it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _deflated(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 9)).decode()


def _floats(values: np.ndarray) -> str:
    return _deflated(values.astype("<f4"))


def data(pic: Picture) -> dict[str, Any]:
    """What heatmap.js reads. Times are ms; arrays are deflated little-endian float32 in base64, `heat` uint8
    differences along time by (bucket, column)."""
    columns = pic.heat.shape[1]
    clusters = [
        {
            "side": side, "price": c["price"], "usd": c["usd"],
            "text": f"{price_text(c['price'])}: {usd_text(c['usd'])} {side}s",
        }
        for where, side in (("above", "short"), ("below", "long"))
        for c in pic.head["clusters"][where]
    ]  # fmt: skip
    return {
        "pair": pic.head["pair"], "start": pic.start // _MS, "step": pic.step // _MS, "columns": columns, "rows": len(pic.heat), "row": pic.row,
        "log_step": STEP, "steps": STEPS, "faint": pic.faint_usd, "strong": pic.strong_usd,
        "heat": _deflated(np.diff(pic.heat, axis=1, prepend=np.uint8(0))),
        "candles": _floats(pic.candles), "profile": _floats(pic.profile),
        "panels": [
            {"name": p.name, "root": p.root, "series": [
                {"name": s.name, "role": s.role, "bars": s.bars, "values": _floats(s.values)} for s in p.series
            ]} for p in pic.panels
        ],
        "prints": {
            "t": (pic.prints["event_time"] // _MS).tolist(), "price": pic.prints["price"].tolist(),
            "usd": pic.prints["usd"].round().tolist(), "side": pic.prints["side"].tolist(),
        },
        "sweeps": [{"column": s.last, "price": s.price, "usd": s.usd, "side": _SIDES[s.side]} for s in pic.sweeps],
        "clusters": sorted(clusters, key=lambda c: -float(c["usd"])),
        "trades": [{**t, "open": t["open"] // _MS, "close": t["close"] // _MS} for t in pic.trades],
        "colours": {
            theme: {name: colour_scale(side, dark) for side, name in _SIDES.items()}
            for theme, dark in (("dark", True), ("light", False))
        },
    }  # fmt: skip


def headline_html(head: dict[str, Any]) -> str:
    """The headline as HTML, from `report.headline.headline`."""

    def number(name: str, form: str) -> str:
        return "unknown" if head[name] is None else format(head[name], form)

    parts = []
    for where, side, word in (("above", "short", "shorts above"), ("below", "long", "longs below")):
        price = head[f"liq_{where}_price"]
        text = "no major cluster within 15 %"
        if price is not None:
            distance, usd = head[f"liq_{where}_distance"], usd_text(head[f"liq_{where}_usd"])
            text = f"{price_text(price)} ({distance:.2%} away), {usd} USD"
        parts.append(f'<span class="{side}">nearest {word}: {text}</span>')
    stale = ""
    if head["liq_fresh"] != 1.0:
        stale = '<p class="headline">Open interest or candles are stale at this time: no map.</p>'
    elif head["liq_warm"] != 1.0:
        stale = '<p class="headline">The map has run for less than 14 days: its far levels are incomplete.</p>'
    return f"""<p class="headline"><strong>{price_text(head["price"])}</strong> at {head["at"]}
 · {" · ".join(parts)}</p>
<p class="headline dim">funding {number("fund_rate_8h", "+.4%")} per 8 h (z {number("fund_skew_z", "+.2f")})
 · exchange inflow z {number("flow_inflow_z", "+.2f")}
 · hour score of the map, out of sample: {number("liq_model_score", ".3f")}</p>{_gauges(head)}{stale}"""


def _gauges(head: dict[str, Any]) -> str:
    """Touch and cascade of both sides: probabilities as bars, the gain and the end price with their intervals."""
    rows = []
    for side, word in (("short", "squeeze"), ("long", "flush")):
        one = head.get(side)
        if not one or one.get("prob_1d") is None:
            continue
        parts = [
            f'<span>{horizon} <meter min="0" max="1" value="{one[name]:.4f}" aria-label="{word}, touched within '
            f'{horizon}"></meter> {one[name]:.0%}</span>'
            for name, horizon in (("prob_4h", "4 h"), ("prob_1d", "1 day"), ("prob_3d", "3 days"))
            if one[name] is not None
        ]
        if one["gain"] is not None:
            low, high = sorted((one["end_price_low"], one["end_price_high"]))
            parts.append(
                f"<span>once touched: {usd_text(one['forced_usd'])} USD forced, to near {price_text(one['end_price'])} "
                f"({price_text(low)} .. {price_text(high)}), {one['gain']:.1f} times as far beyond as without "
                f"({one['gain_low']:.1f} .. {one['gain_high']:.1f}); computed, not forecast</span>"
            )
        rows.append(f'<p class="gauges"><strong class="{side}">{word}: touch in</strong>{"".join(parts)}</p>')
    return "".join(rows)


def clusters_html(head: dict[str, Any]) -> str:
    """The table of major clusters as HTML."""
    rows = "".join(
        f'<tr><td class="{side}">{side}s {where}</td><td>{price_text(c["price"])}</td>'
        f'<td class="extent">{price_text(c["low"])} .. {price_text(c["high"])}</td>'
        f"<td>{c['distance']:.2%}</td><td>{usd_text(c['usd'])}</td></tr>\n"
        for where, side in (("above", "short"), ("below", "long"))
        for c in head["clusters"][where]
    )
    return f"""<h2>Major clusters at {head["at"]}</h2>
<div class="wide" tabindex="0" role="region" aria-label="Major clusters"><table><thead><tr><th scope="col">side</th><th
scope="col">price</th><th scope="col" class="extent">extent</th>
<th scope="col">distance</th><th scope="col">position USD</th></tr></thead>
<tbody>{rows or '<tr><td colspan="5">none within 15 %</td></tr>'}</tbody></table></div>"""


def how_html(pic: Picture) -> str:
    """How to read the picture, and its notes, as HTML."""
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in pic.notes)
    dots = f"<li>Dots: {len(pic.prints)} recorded liquidations, larger for more USD.</li>" if len(pic.prints) else ""
    trades = (
        "<li>Triangles and crosses: entries and exits of the backtest's trades; dashed: their stops.</li>"
        if pic.trades
        else ""
    )
    return f"""<h2>How to read it</h2>
<ul>
<li>Colour: position USD that would be liquidated in a bucket of 0.05 % of price, <span class="short">orange for shorts
(forced buying)</span>,
<span class="long">blue for longs (forced selling)</span>; logarithmic, from {usd_text(pic.faint_usd)} to
{usd_text(pic.strong_usd)} USD.</li>
<li>A level ends where price swept it (rings: the largest clusters swept), or fades as its positions are closed.</li>
<li>The map is an estimate from candles and open interest. It says where positions would be liquidated, not that price
goes there.</li>
{dots}{trades}{notes}
</ul>
<p class="dim">Columns from {iso(pic.start)[:16]}Z in steps of {pic.step // 60_000_000_000} minutes, times UTC.</p>"""

"""The headline at one instant: price, nearest clusters, funding, inflow; as plain data and as text."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from liqsignals import features, liqmap
from liqsignals.clock import iso
from liqsignals.data.tape import MapTape, asof
from liqsignals.liqmap import kernels
from liqsignals.liqmap import state as saved
from liqsignals.liqmap.clusters import clusters
from liqsignals.report.console import console, price_text, usd_text


def headline(
    tape: MapTape, at: int, close: float, parameters: liqmap.Parameters, extras: Path | None = None
) -> dict[str, Any]:
    """The headline at one instant as plain data: price, clusters, funding, inflow. Unknown values are None.

    With `extras` the fold resumes from a state saved there, and saves its own.
    """
    instant = np.array([at], np.int64)
    kept = saved.folder_of(extras) if extras is not None else None
    state = (saved.load(kept, tape, at - tape.bar_ns, parameters) if kept else None) or liqmap.FoldState()
    loaded = state.upto
    columns = features.compute(tape, instant, np.array([close]), tape.bar_ns, parameters, state)
    if kept is not None:
        saved.save(kept, tape, state, parameters, loaded)
    row = {name: (None if not np.isfinite(v[0]) else float(v[0])) for name, v in columns.items()}
    found: dict[str, list[dict[str, float]]] = {"above": [], "below": []}
    book = liqmap.read(tape.cut(at), parameters, instant, np.array([close]), state)[1].book
    if book is not None and row["liq_fresh"] == 1.0:
        interest = float(tape.open_interest["base"][asof(tape.open_interest, instant)[0]])
        for where, side in (("above", kernels.SHORT), ("below", kernels.LONG)):
            found[where] = [
                {"price": c[0], "distance": abs(c[0] / close - 1.0), "usd": c[1], "low": c[2], "high": c[3]}
                for c in clusters(book, side, close, interest)
            ]
    return {"pair": tape.pair, "at": iso(at), "price": close, "clusters": found, **row}


def print_headline(head: dict[str, Any], title: str = "") -> None:
    """Print a headline to the console."""

    def number(name: str, form: str) -> str:
        return "-" if head[name] is None else format(head[name], form)

    table = Table(
        title=f"{title}{head['pair']} at {head['at']}: price {price_text(head['price'])}", title_justify="left"
    )
    for column in ("nearest major cluster", "price", "distance", "USD"):
        table.add_column(column, justify="left" if column.startswith("n") else "right")
    for name, where in (("shorts, above", "above"), ("longs, below", "below")):
        price = head[f"liq_{where}_price"]
        if price is None:
            table.add_row(name, "none within 15 %", "-", "-")
        else:
            table.add_row(
                name, price_text(price), f"{head[f'liq_{where}_distance']:.2%}", usd_text(head[f"liq_{where}_usd"])
            )
    console.print(table)
    for where, word in (("above", "shorts"), ("below", "longs")):
        for c in head["clusters"][where][:5]:
            console.print(
                f"  {word} {price_text(c['low'])} .. {price_text(c['high'])}: {usd_text(c['usd'])} USD at "
                f"{c['distance']:.2%}"
            )
        if len(head["clusters"][where]) > 5:
            console.print(f"  and {len(head['clusters'][where]) - 5} more {word} (--json has all)")
    console.print(
        "  liquidated by a move of 1 / 2 / 5 / 10 %: up "
        f"{' / '.join(usd_text(head[f'liq_short_usd_{b}pct']) for b in (1, 2, 5, 10))}, "
        f"down {' / '.join(usd_text(head[f'liq_long_usd_{b}pct']) for b in (1, 2, 5, 10))} USD"
    )
    console.print(
        f"  funding {number('fund_rate_8h', '+.4%')} per 8 h, skew z {number('fund_skew_z', '+.2f')}, "
        f"percentile {number('fund_pct', '.0%')}; exchange inflow z {number('flow_inflow_z', '+.2f')}"
    )
    if head["liq_fresh"] != 1.0:
        console.print("  [yellow]open interest or candles are stale at this time: no map[/yellow]")
    elif head["liq_warm"] != 1.0:
        console.print("  [yellow]the map has run for less than 14 days: its far levels are incomplete[/yellow]")

"""The headline at one instant: price, nearest clusters, touch and cascade, funding, inflow; as plain data and as text."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals import features, liqmap, venues
from liqsignals.clock import iso
from liqsignals.data.tape import MapTape, asof
from liqsignals.errors import InputError
from liqsignals.liqmap import kernels
from liqsignals.liqmap import state as saved
from liqsignals.liqmap.calibration import Calibration
from liqsignals.liqmap.cascade import cascade
from liqsignals.liqmap.clusters import clusters
from liqsignals.liqmap.fold import impact_of, push_of
from liqsignals.liqmap.squeeze import HORIZONS, touch_probability
from liqsignals.report import market
from liqsignals.report.console import console, price_text, usd_text
from liqsignals.report.fitted import age_line

#: Side, its key in the headline, the map's word for its clusters, its columns, and how it is spoken of.
_SIDES = (
    (kernels.SHORT, "short", "above", "squeeze", "buying"),
    (kernels.LONG, "long", "below", "flush", "selling"),
)


def headline_on_disk(
    tape: MapTape,
    at: int,
    chosen: Calibration,
    datadir: Path,
    *,
    extras: Path | None = None,
    exchange: str | None = None,
    finest: str = "5m",
    to_price: float | None = None,
) -> dict[str, Any]:
    """The headline at the close of a bar (`at`, ns), as `liqsignals map --json` prints it: `headline` with the other
    markets of a data directory, and `calibration` (a line on its age, None for the prior)."""
    pair, folder = tape.pair, extras or datadir / "liqsignals"
    bar = int(np.searchsorted(tape.bars["event_time"], at))
    markets = features.DiskMarkets(datadir, chosen, extras=extras, finest=finest, exchange=exchange)
    close = float(tape.bars["close"][bar])
    head = headline(tape, at, close, chosen.parameters(pair), folder, to_price, markets)
    age = age_line(chosen, pair, at, folder, exchange or venues.exchange_of(datadir))
    return {**head, "calibration": age}


def headline(
    tape: MapTape,
    at: int,
    close: float,
    parameters: liqmap.Parameters,
    extras: Path | None = None,
    to_price: float | None = None,
    markets: features.Markets | None = None,
) -> dict[str, Any]:
    """The headline at one instant as plain data. Unknown values are None; `unknown` says why by key.

    Every column by its name, and `short`, `long` (the nearest major cluster of each side, its touch and its cascade),
    `cumulative` (what is liquidated on the way to `to_price`), `clusters`, `funding`, `flow`, `model`, and the market
    around it (report/market.py); other venues' maps are those of `markets`. With `extras` the fold resumes from a state
    saved there, and saves its own. Raises InputError for a `to_price` that is none.
    """
    if to_price is not None and not (to_price > 0.0 and math.isfinite(to_price) and to_price != close):
        raise InputError(f"--to-price {to_price:g}: must be a price above 0 other than the present one, {close:g}")
    instant, closes = np.array([at], np.int64), np.array([close])
    kept = saved.folder_of(extras) if extras is not None else None
    state = (saved.load(kept, tape, at - tape.bar_ns, parameters) if kept else None) or liqmap.FoldState()
    loaded = state.upto
    columns = features.compute(tape, instant, closes, tape.bar_ns, parameters, state, markets=markets)
    if kept is not None:
        saved.save(kept, tape, state, parameters, loaded)
    row = {name: None if not np.isfinite(v[0]) else float(v[0]) for name, v in columns.items()}
    found: dict[str, list[dict[str, float]]] = {"above": [], "below": []}
    reading, fold = liqmap.read(tape.cut(at), parameters, instant, closes, state)
    book, interest = fold.book, None
    if book is not None and row["liq_fresh"] == 1.0:
        interest = float(tape.open_interest["base"][asof(tape.open_interest, instant)[0]])
        for side, _, where, *_ in _SIDES:
            found[where] = [
                {"price": c[0], "distance": abs(c[0] / close - 1.0), "usd": c[1], "low": c[2], "high": c[3]}
                for c in clusters(book, side, close, interest)
            ]
    worth = interest * close if interest is not None else None
    sides = {name: _side(row, name, where, move, worth) for _, name, where, move, _ in _SIDES}
    if book is not None and interest is not None:
        for side, name, *_ in _SIDES:
            sides[name].update(_interval(sides[name], book, side, close, reading, parameters))
    scaled, unscaled = market.scale(tape, at, row)
    event = market.next_event(tape, at)
    every = None
    if book is not None and interest is not None and markets is not None:
        every = market.all_venues(tape, book, at, close, parameters, markets)
    unknown = _unknown(row, parameters) | unscaled
    if event is None:
        unknown["macro.next"] = (
            "no event announced that is still ahead: the calendar ends, or the next dates were not out"
        )
    return {
        "pair": tape.pair,
        "at": iso(at),
        "price": close,
        "venue": tape.venue or None,
        "open_interest_usd": worth,
        **sides,
        "cumulative": None if to_price is None or interest is None else _cumulative(
            to_price, book, close, interest, reading, parameters, row["squeeze_sigma_1d"] is not None
        ),
        **scaled,
        "all_venues": every,
        "funding": {"rate_8h": row["fund_rate_8h"], "skew_z": row["fund_skew_z"]},
        "flow": {"inflow_z": row["flow_inflow_z"]},
        "macro": {"next": event},
        "model": {"score": row["liq_model_score"]},
        "unknown": unknown,
        "clusters": found,
        **row,
    }  # fmt: skip


def _unknown(row: dict[str, float | None], parameters: liqmap.Parameters) -> dict[str, str]:
    """Why values are None, by key."""
    out: dict[str, str] = {}
    if row["squeeze_sigma_1d"] is None:
        touch = 'no parameters of the squeeze ("squeeze": "none")'
        if parameters.squeeze is not None:
            touch = f"before {iso(parameters.squeeze.known_at)}, the end of the parameters' fit, or no fresh map"
        out["prob"] = touch
    for key, name, why in (
        ("funding", "fund_rate_8h", "no or stale funding"),
        ("flow", "flow_inflow_z", "no or stale table of exchange flows"),
        ("model", "liq_model_score", "the prior, or before the end of the calibration's data"),
    ):
        if row[name] is None:
            out[key] = why
    return out


def _side(
    row: dict[str, float | None], name: str, where: str, move: str, worth: float | None
) -> dict[str, float | None]:
    """One side's nearest major cluster, its touch and its cascade, from the columns."""
    usd = row[f"liq_{where}_usd"]
    return {
        "price": row[f"liq_{where}_price"],
        "distance": row[f"liq_{where}_distance"],
        "usd": usd,
        "usd_low": row[f"liq_{where}_usd_low"],
        "usd_high": row[f"liq_{where}_usd_high"],
        "oi_share": None if usd is None or not worth else usd / worth,
        "percentile": row[f"liq_{where}_percentile"],
        **{f"prob_{horizon}": row[f"{move}_prob_{horizon}"] for horizon in HORIZONS},
        "forced_usd": row[f"{move}_usd"],
        "gain": row[f"{move}_gain"],
        "end_price": row[f"{move}_end_price"],
        "gain_low": None,
        "gain_high": None,
        "end_price_low": None,
        "end_price_high": None,
    }


def _interval(
    one: dict[str, float | None],
    book: liqmap.Book,
    side: int,
    close: float,
    reading: liqmap.Reading,
    parameters: liqmap.Parameters,
) -> dict[str, float]:
    """Gain and end price at both ends of the impact's interval; empty where there is no cascade."""
    squeeze, price = parameters.squeeze, one["price"]
    if squeeze is None or price is None or one["gain"] is None:
        return {}
    out = {}
    (push,) = push_of(squeeze, reading.sigma)
    for end, strength in (("low", squeeze.impact_low), ("high", squeeze.impact_high)):
        (scale,), (volume,), (law,) = impact_of(
            replace(squeeze, impact=strength), reading.sigma, reading.volume, reading.kyle
        )
        found = cascade(book, side, close, price, push, scale, volume, edge=squeeze.edge, law=law)
        out[f"gain_{end}"], out[f"end_price_{end}"] = found.gain, found.end_price(price, side)
    return out


def _cumulative(
    to_price: float,
    book: liqmap.Book | None,
    close: float,
    interest: float,
    reading: liqmap.Reading,
    parameters: liqmap.Parameters,
    known: bool,
) -> dict[str, Any]:
    """What is liquidated on the way from the close to a price, inclusive, and the probability of trading there."""
    side = kernels.SHORT if to_price > close else kernels.LONG
    out: dict[str, Any] = {
        "to_price": to_price, "side": "short" if side == kernels.SHORT else "long",
        "distance": abs(to_price / close - 1.0),
    }  # fmt: skip
    if book is not None:
        on_way = (book.price > close) & (book.price <= to_price)
        if side == kernels.LONG:
            on_way = (book.price < close) & (book.price >= to_price)
        base = book.mass[side][:, on_way] * book.scale[side][:, None]
        usd = (base * book.price[on_way]).sum(axis=1)
        doubt = np.array([c.doubt for c in parameters.classes])
        low, high = (usd[:, None] * doubt).sum(axis=0)
        out.update(usd=float(usd.sum()), usd_low=float(low), usd_high=float(high))
        out["oi_share"] = out["usd"] / (interest * close)
    squeeze = parameters.squeeze if known else None
    distance = np.array([abs(math.log(to_price / close))])
    for i, horizon in enumerate(HORIZONS):
        p = None if squeeze is None else touch_probability(distance, reading.sigma[:, i], squeeze.horizons[i])
        out[f"prob_{horizon}"] = None if p is None else float(p[0])
    return out


def _share_text(share: float | None) -> str:
    """A share in per cent: 12 %, 1.3 %, < 0.1 %."""
    if share is None:
        return "-"
    if share < 0.0005:
        return "< 0.1 %"
    return f"{share:.1%}".replace("%", " %") if share < 0.1 else f"{share:.0%}".replace("%", " %")


def _probabilities(one: dict[str, Any]) -> str:
    return " / ".join(_share_text(one[f"prob_{horizon}"]) for horizon in HORIZONS)


def _range_text(low: float, high: float) -> str:
    return f"{usd_text(low)} .. {usd_text(high)}"


def print_headline(head: dict[str, Any], title: str = "") -> None:
    """Print a headline to the console."""

    def number(name: str, form: str) -> str:
        return "-" if head[name] is None else format(head[name], form)

    worth = f"; open interest {usd_text(head['open_interest_usd'])} USD" if head["open_interest_usd"] else ""
    on = f" on {head['venue']}" if head["venue"] else ""
    console.print(f"{title}{head['pair']}{on} at {head['at']}: price {price_text(head['price'])}{worth}")
    within = " / ".join(horizon.replace("h", " h").replace("d", " d") for horizon in HORIZONS)
    for _, name, where, _, orders in _SIDES:
        one = head[name]
        if one["price"] is None:
            console.print(f"  {name}s, {where}: no major cluster within 15 %")
            continue
        console.print(
            f"  {name}s, {where}: {usd_text(one['usd'])} USD ({_range_text(one['usd_low'], one['usd_high'])}) are "
            f"liquidated around {price_text(one['price'])}, {one['distance']:.1%} away"
            + (f"; {one['oi_share']:.1%} of open interest" if one["oi_share"] is not None else "")
            + (f", more than {one['percentile']:.0%} of past ones" if one["percentile"] is not None else "")
        )
        if one["prob_1d"] is not None:
            console.print(f"    price trades there within {within}: {_probabilities(one)} (from volatility alone)")
        if one["gain"] is not None:
            console.print(
                f"    then {usd_text(one['forced_usd'])} USD of forced {orders} would carry it to "
                f"{price_text(one['end_price'])} at the peak, {one['gain']:.1f} times as far beyond as without "
                f"({one['gain_low']:.1f} .. {one['gain_high']:.1f}; a computation, not a forecast)"
            )
    if head["cumulative"] is not None:
        one = head["cumulative"]
        console.print(
            f"  to {price_text(one['to_price'])} ({one['distance']:.1%} away): {usd_text(one['usd'])} USD "
            f"({_range_text(one['usd_low'], one['usd_high'])}) of {one['side']}s are liquidated on the way{on}, "
            f"{one['oi_share']:.1%} of open interest; price trades there within {within}: {_probabilities(one)}"
        )
    for _, name, where, *_ in _SIDES:
        for c in head["clusters"][where][:5]:
            console.print(
                f"  {name}s {price_text(c['low'])} .. {price_text(c['high'])}: {usd_text(c['usd'])} USD at "
                f"{c['distance']:.2%}"
            )
        if len(head["clusters"][where]) > 5:
            console.print(f"  and {len(head['clusters'][where]) - 5} more of {name}s (--json has all)")
    console.print(
        "  liquidated by a move of 1 / 2 / 5 / 10 %: up "
        f"{' / '.join(usd_text(head[f'liq_short_usd_{b}pct']) for b in (1, 2, 5, 10))}, "
        f"down {' / '.join(usd_text(head[f'liq_long_usd_{b}pct']) for b in (1, 2, 5, 10))} USD"
    )
    console.print(
        f"  funding {number('fund_rate_8h', '+.4%')} per 8 h, skew z {number('fund_skew_z', '+.2f')}, "
        f"percentile {number('fund_pct', '.0%')}; exchange inflow z {number('flow_inflow_z', '+.2f')}"
    )
    for line in market.lines(head, usd_text, price_text):
        console.print(f"  {line}")
    if head["liq_fresh"] != 1.0:
        console.print("  [yellow]open interest or candles are stale at this time: no map[/yellow]")
    elif head["liq_warm"] != 1.0:
        console.print("  [yellow]the map has run for less than 14 days: its far levels are incomplete[/yellow]")

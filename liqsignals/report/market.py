"""What the headline says of the market around the map: its scale, other venues' maps, the next event, record days.

The record days (liquidation_days.csv) are 24-hour totals of all coins and venues as CoinGlass gave them, by way of the
pages named; feeds are throttled, so that they are too small, and other pages have other numbers. They are hindsight and
on another scale than one coin's map: a report may show them, no column does.
"""

import csv
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from liqsignals import features, liqmap
from liqsignals.clock import HOUR, iso
from liqsignals.data.tape import MapTape, asof
from liqsignals.features.venues import standing
from liqsignals.liqmap import kernels
from liqsignals.liqmap.clusters import clusters
from liqsignals.records import EVENTS, VENUE_INTEREST_MAX_AGE, open_interest_max_age
from liqsignals.sources import macro


@cache
def record_days() -> tuple[tuple[str, float, str], ...]:
    """(day, USD, source) of days with many liquidations, largest first."""
    text = (files("liqsignals.report") / "liquidation_days.csv").read_text()
    rows = [(row["date"], float(row["usd"]), row["source"]) for row in csv.DictReader(text.splitlines())]
    return tuple(sorted(rows, key=lambda row: -row[1]))


def beside_record_days(usd: float) -> dict[str, Any]:
    """How many of the record days had more, of how many, and the largest one that had less (None: all had more)."""
    days = record_days()
    less = next((day for day in days if day[1] <= usd), None)
    return {
        "larger": sum(day[1] > usd for day in days),
        "of": len(days),
        "largest_smaller": None if less is None else {"date": less[0], "usd": less[1]},
    }


def scale(tape: MapTape, at: int, row: dict[str, float | None]) -> tuple[dict[str, Any], dict[str, str]]:
    """`market_scale`, the age of what it is from, and `venues` (name, share, age); and why they are None."""
    seen = standing(tape.cut(at), np.array([at], np.int64))
    newest = [
        int(found["event_time"][-1])
        for name in seen.venues[1:]
        for kind in ("venue_interest", "oi_value")
        if (found := tape.cut(at).kind(kind, name)) is not None and len(found)
    ]
    age = (at - max(newest)) / HOUR if newest else None
    out: dict[str, Any] = {"market_scale": row["liq_market_scale"], "market_scale_age_h": age, "venues": None}
    if row["liq_market_scale"] is None:
        why = "no open interest of other venues (docs/data.md: open interest by venue)"
        if age is not None:
            why = f"the newest open interest of other venues is {age:.0f} h old"
            if age <= VENUE_INTEREST_MAX_AGE / HOUR:
                why += ", but this market's own is stale or of another unit than the table's"
        return out, {"market_scale": why, "venues": why}
    shares = seen.shares[:, 0]
    order = [i for i in np.argsort(-np.nan_to_num(shares), kind="stable") if np.isfinite(shares[i])]
    out["venues"] = [
        {"name": seen.venues[i], "share": float(shares[i]), "age_h": float(seen.age[i, 0] / HOUR)} for i in order
    ]
    return out, {}


def next_event(tape: MapTape, at: int) -> dict[str, Any] | None:
    """The next macro event announced by then: its name, time, and hours to it; None where none is known."""
    events = tape.kind("event")
    events = macro.calendar() if events is None else events
    ahead = events[(events["released_at"] == 0) & (events["known_at"] <= at) & (events["scheduled_at"] >= at)]
    if len(ahead) == 0:
        return None
    first = ahead[np.argmin(ahead["scheduled_at"])]
    due = int(first["scheduled_at"])
    return {"event": EVENTS[int(first["event"])], "at": iso(due), "hours": (due - at) / HOUR}


def all_venues(
    tape: MapTape, book: liqmap.Book, at: int, close: float, parameters: liqmap.Parameters, markets: features.Markets
) -> dict[str, Any] | None:
    """Clusters of this and the other venues' maps summed on one grid; None where no other venue has a fresh one."""
    instant = np.array([at], np.int64)
    books, names = [book], [tape.venue]
    interest = float(tape.open_interest["base"][asof(tape.open_interest, instant)[0]])
    farthest = liqmap.distances_of(parameters, tape.pair).farthest
    for venue in markets.venues:
        whole = markets.tape(tape.pair, venue).for_map()
        other = None if whole is None else whole.cut(at)
        if other is None or not (len(other.bars) and len(other.open_interest)):
            continue
        measured = other.open_interest[-1]
        old = at - measured["event_time"] > open_interest_max_age(other.period_ns)
        if old or at - other.bars["event_time"][-1] >= other.bar_ns:
            continue
        found = liqmap.read(other, parameters, instant, other.bars["close"][-1:].copy())[1].book
        if found is not None:
            books.append(found)
            names.append(venue)
            interest += float(measured["base"])
    if len(books) == 1:
        return None
    summed = liqmap.together(books, close, farthest)
    return {
        "venues": names,
        "open_interest_usd": interest * close,
        **{
            where: [
                {"price": c[0], "distance": abs(c[0] / close - 1.0), "usd": c[1]}
                for c in clusters(summed, side, close, interest).tolist()
            ]
            for side, where in ((kernels.SHORT, "above"), (kernels.LONG, "below"))
        },
    }


def lines(head: dict[str, Any], usd_text: Any, price_text: Any) -> Sequence[str]:
    """The headline's lines on the market."""
    out = []
    if head["market_scale"] is not None:
        own = next(v for v in head["venues"] if v["name"] == head["venue"])
        largest = ", ".join(f"{v['name']} {v['share']:.0%}" for v in head["venues"][:3])
        out.append(
            f"the whole market: {head['market_scale']:.1f} times as much, by open interest of {len(head['venues'])}"
            f" venues ({head['market_scale_age_h']:.0f} h old; {largest}; this one {own['share']:.0%})"
        )
    else:
        out.append(f"USD are those of this exchange; the whole market: {head['unknown']['market_scale']}")
    one = head["cumulative"]
    if one is not None and one.get("usd") and head["market_scale"] is not None:
        usd = one["usd"] * head["market_scale"]
        days = beside_record_days(usd)
        beside = days["largest_smaller"]
        out.append(
            f"to {price_text(one['to_price'])}, scaled to the market: {usd_text(usd)} USD; {days['larger']} of "
            f"{days['of']} record days had more (24 h, all coins)"
            + (f", {beside['date']} had {usd_text(beside['usd'])}" if beside else "")
        )
    every = head["all_venues"]
    if every is not None:
        for where, word in (("above", "shorts"), ("below", "longs")):
            if every[where]:
                c = every[where][0]
                out.append(
                    f"maps of {', '.join(every['venues'])} together: {word} {usd_text(c['usd'])} USD around "
                    f"{price_text(c['price'])}, {c['distance']:.1%} away"
                )
    event = head["macro"]["next"]
    if event is not None:
        out.append(f"next event: {event['event'].upper()} in {event['hours'] / 24:.1f} days ({event['at']})")
    return out

"""Record builders shared by several venues: prints, settled and predicted funding, bars.

Feeds differ in the side that they report: some that of the forced ORDER (`SELL` closes a long), some that of the
POSITION. A provider's parser passes its words for each; the liquidated position's side is stored.
"""

from typing import Any

import numpy as np

from liqsignals import records, venues
from liqsignals.clock import HOUR, MINUTE, Int64Array
from liqsignals.records import LONG, SHORT, Float64Array, Records
from liqsignals.sources import decode
from liqsignals.sources.spec import ParseError, Prints

#: The venue's symbol, event_time (ns), side, price, base, usd.
Print = tuple[str, int, int, float, float, float]


def once(rows: Records, what: str) -> Records:
    """Rows in time order without repeats. Raises ParseError for different rows of the same time."""
    rows = rows[np.argsort(rows["event_time"], kind="stable")]
    if len(rows) < 2:
        return rows
    again = rows["event_time"][1:] == rows["event_time"][:-1]
    for name in rows.dtype.names or ():
        one, two = rows[name][1:][again], rows[name][:-1][again]
        if not np.array_equal(one, two, equal_nan=True):
            raise ParseError(f"{what}: two rows of the same time differ in {name}: {one[0]!r} and {two[0]!r}")
    return rows[np.concatenate(([True], ~again))]


def prints(rows: list[Print]) -> Prints:
    """LIQUIDATION records by symbol, in time order; known a second after the event (records.LIQUIDATION_LAG)."""
    out = {}
    for symbol in dict.fromkeys(row[0] for row in rows):
        own = np.array(
            [(r[1], r[1] + records.LIQUIDATION_LAG, *r[2:]) for r in rows if r[0] == symbol], records.LIQUIDATION
        )
        out[symbol] = own if len(own) == 1 else own[np.argsort(own["event_time"], kind="stable")]
    return out


def side(value: str, of_long: str, of_short: str, what: str) -> int:
    """LONG or SHORT: the liquidated position's side, given the feed's words for a liquidated long and short."""
    if value == of_long:
        return LONG
    if value == of_short:
        return SHORT
    raise ParseError(f"{what}: side {decode.shown(value)} is neither {of_long!r} nor {of_short!r}")


def check_rates(rate: Float64Array, what: str) -> None:
    """Raise ParseError for a rate of funding that no venue settles."""
    large = np.abs(rate) > venues.FUNDING_RATE_MAX
    if large.any():
        raise ParseError(f"{what}: a rate of {rate[large][0]:g} per interval; rates are fractions")


def funding(settled: Int64Array, rate: Float64Array, what: str) -> Records:
    """FUNDING records of settlements in any order: times rounded to minutes, intervals by venues.funding_intervals.

    Rows whose interval is not known, the first among them, are left out.
    """
    settled = (settled + MINUTE // 2) // MINUTE * MINUTE
    order = np.argsort(settled, kind="stable")
    settled, rate = settled[order], rate[order]
    new = np.concatenate(([True], settled[1:] != settled[:-1]))[: len(settled)]
    settled, rate = settled[new], rate[new]
    check_rates(rate, what)
    hours = venues.funding_intervals(np.diff(settled, prepend=settled[:1]) / HOUR, settled / HOUR)
    usable = np.isfinite(hours) & np.isfinite(rate)
    settled, rate, hours = settled[usable], rate[usable], hours[usable]
    return records.records(records.FUNDING, settled, settled + records.FUNDING_LAG, rate=rate, interval_h=hours)


def predicted(at: int, received_at: int, rate: float, next_at: int, what: str) -> Records:
    """PREDICTED (1,): `rate` as a fraction per interval, settled at `next_at` (ns); known on arrival."""
    if not abs(rate) <= venues.FUNDING_RATE_MAX:
        raise ParseError(f"{what}: a rate of {rate:g} per interval; rates are fractions")
    # A provider's clock may run slightly ahead: the event cannot be later than its arrival.
    at = min(at, received_at)
    return records.records(
        records.PREDICTED, np.array([at]), np.array([received_at]), rate=np.array([rate]), next_at=np.array([next_at])
    )


def bars(table: list[Any], received_at: int, period: int, what: str) -> Records:
    """BAR (n,) of rows [open time, open, high, low, close, volume in coins, ...] in any order, known at their close.

    The newest one is always left out: it is still open, and at a lagging exchange may be so after its close; so is what
    closes after `received_at`, whatever follows it. Raises ParseError for a bar without a number or off its grid.
    """
    opened = decode.stamps(decode.column(table, 0, what), f"{what}, open time", received_at)
    values = {
        name: decode.numbers(decode.column(table, k, what), f"{what}, {name}", least=0.0)
        for k, name in enumerate(("open", "high", "low", "close", "volume"), 1)
    }
    if not all(np.isfinite(v).all() for v in values.values()):
        raise ParseError(f"{what}: a bar without a number")
    highest, lowest = np.maximum(values["open"], values["close"]), np.minimum(values["open"], values["close"])
    if (lowest <= 0).any() or (values["high"] < highest).any() or (values["low"] > lowest).any():
        raise ParseError(f"{what}: a bar whose open or close lies outside low..high, or that has no price")
    if (opened % period != 0).any():
        raise ParseError(f"{what}: a bar that does not open on a multiple of {period // MINUTE} min")
    closed = opened + period
    done = (closed < closed.max(initial=0)) & (closed <= received_at)
    rows = records.records(records.BAR, closed[done], closed[done], **{n: v[done] for n, v in values.items()})
    if (np.diff(rows["event_time"]) == 0).any():
        raise ParseError(f"{what}: two bars with the same time")
    return rows

"""The macro calendar: FOMC decisions and CPI releases, a table shipped with liqsignals (macro.csv).

Sources: federalreserve.gov/monetarypolicy/fomccalendars.htm (statement at 14:00 New York),
bls.gov/schedule/news_release/cpi.htm (08:30 New York). `announced_at` is a day by which the date was certainly public,
often later than the announcement; where it is empty, the date counts as known 30 days before. A rescheduled event has
two rows; one that was not held (October 2025's CPI) has no `released_at`. No free provider gives the dates with their
announcement times, so the table is finite and `ends_soon` warns before it ends. `[?]`: not checked against BLS.
"""

from importlib.resources import files

import numpy as np

from liqsignals import records
from liqsignals.clock import DAY, SECOND, iso
from liqsignals.records import EVENTS, Records
from liqsignals.sources import decode
from liqsignals.sources.spec import Limits, ParseError, Provider, Series

COLUMNS = ("event", "scheduled_at", "announced_at", "released_at", "source")
#: `ends_soon` warns from this long before the table's end.
NOTICE = 60 * DAY
#: An event without a date of announcement counts as known from this long before it.
UNDATED = 30 * DAY


def parse_calendar(raw: bytes, received_at: int) -> Records:
    """EVENT (n,): one row per announcement (`released_at` 0) and one per release."""
    what = "macro calendar"
    table = decode.csv_table(raw, what, COLUMNS)
    name = decode.column(table, 0, what)
    unknown = [n for n in name if n not in EVENTS]
    if unknown:
        raise ParseError(f"{what}: unknown event {decode.shown(unknown[0])}; known are {', '.join(EVENTS)}")
    event = np.array([EVENTS.index(n) for n in name], np.int8)
    scheduled = decode.stamps(decode.column(table, 1, what), f"{what}, scheduled_at")
    given = decode.column(table, 2, what)
    announced = scheduled - UNDATED
    dated = np.array([n for n, text in enumerate(given) if text], np.int64)
    announced[dated] = decode.stamps([given[n] for n in dated], f"{what}, announced_at")
    if (announced > scheduled).any():
        row = int(np.flatnonzero(announced > scheduled)[0])
        raise ParseError(f"{what}: row {row} is announced after its scheduled time")
    held = np.array([n for n, text in enumerate(decode.column(table, 3, what)) if text], np.int64)
    released = decode.stamps([table[n][3] for n in held], f"{what}, released_at")
    at = np.concatenate([announced, released])
    # The figure is public one second after its time at the earliest.
    known = np.concatenate([announced, released + SECOND])
    return records.records(
        records.EVENT,
        at,
        known,
        event=np.concatenate([event, event[held]]),
        scheduled_at=np.concatenate([scheduled, scheduled[held]]),
        released_at=np.concatenate([np.zeros(len(announced), np.int64), released]),
    )


def calendar() -> Records:
    """The table shipped with liqsignals."""
    return parse_calendar((files("liqsignals.sources") / "macro.csv").read_bytes(), 0)


def ends_soon(events: Records, now: int) -> list[str]:
    """A warning for each kind of event whose last known date is less than 60 days after `now` (ns)."""
    warnings = []
    for kind in np.unique(events["event"]):
        last = int(events["scheduled_at"][events["event"] == kind].max())
        if last - now < NOTICE:
            warnings.append(
                f"macro calendar: the last {EVENTS[kind]} date is {iso(last)}, {max((last - now) // DAY, 0)} days "
                "ahead; after "
                "it no event is known. Way out: update liqsignals"
            )
    return warnings


PROVIDER = Provider(
    name="macro",
    base_url="",
    licence="public dates; the table is shipped with liqsignals",
    limits=Limits(requests=1, per_seconds=1.0),
    series=(
        Series(
            name="calendar",
            kind="event",
            path="liqsignals/sources/macro.csv",
            unit_in="UTC",
            unit_stored="the same",
            label="announcement, or release",
            lag_ns=0,
            evidence="announced_at: a day by which the date was certainly public; a release: one second later",
            depth="2025-01 to 2028-01 (FOMC), 2026-12 (CPI)",
            parsers=((None, parse_calendar),),
        ),
    ),
)

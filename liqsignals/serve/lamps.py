"""Which inputs are fresh, stale or missing, since when, and the command that mends it: the page's lamps.

What the files cover comes from the doctor's report; ages are counted again at every call, so a report serves a minute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liqsignals.clock import HOUR, MINUTE, iso, parse_time
from liqsignals.data import freqtrade
from liqsignals.files import parse_name

FRESH, STALE, MISSING = "fresh", "stale", "missing"
#: Candle types of freqtrade's files that features read.
_NAMES = {"futures": "candles", "open_interest": "open interest", "funding_rate": "funding"}


@dataclass(frozen=True)
class Lamp:
    """One input: `since` is the instant (ns) from which it has this state, None where it never was there."""

    name: str
    state: str
    since: int | None
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON: `since` in ISO 8601."""
        since = None if self.since is None else iso(self.since)
        return {"name": self.name, "state": self.state, "since": since, "remedy": self.remedy}


def lamps(
    report: Mapping[str, Any], pairs: Sequence[str], datadir: Path, exchange: str, now: int
) -> dict[str, list[dict[str, Any]]]:
    """The lamps at `now` (ns) of `doctor.examine.examine`'s report: by pair, and under "" what serves all pairs.

    A file that no feature reads has no lamp. Of several files of one kind the freshest counts, as for the features.
    """
    found: dict[str, dict[str, Lamp]] = {pair: {} for pair in ("", *pairs)}

    def add(pair: str, lamp: Lamp) -> None:
        before = found[pair].get(lamp.name)
        if before is None or (before.state != FRESH and lamp.state == FRESH):
            found[pair][lamp.name] = lamp

    reported = parse_time(report["at"])
    for row in (*report["series"], *report["streams"]):
        if row["max_age_h"] is None:
            continue
        # The report rounds ages to 36 s.
        newest = round((reported - row["age_h"] * HOUR) / MINUTE) * MINUTE
        due = newest + round(row["max_age_h"] * HOUR / MINUTE) * MINUTE
        stale = now > due
        file = parse_name(f"{row['series']}.feather")
        stream = row["series"].endswith("(stream)")
        if file is not None and file.pair in found and file.candle_type in _NAMES:
            command = freqtrade.download_command(exchange, file.pair)
            name = _NAMES[file.candle_type]
            add(file.pair, Lamp(name, STALE if stale else FRESH, due if stale else newest, command if stale else ""))
        elif stream or row["series"].startswith("flows/"):
            command = f"liqsignals {'record' if stream else 'download'} --datadir {datadir} --pairs '{' '.join(pairs)}'"
            command += "" if stream else " --days 30 --only flows"
            name = f"recorder: {row['series']}" if stream else row["series"]
            add("", Lamp(name, STALE if stale else FRESH, due if stale else newest, command if stale else ""))
    for pair in pairs:
        for name in _NAMES.values():
            if name not in found[pair]:
                found[pair][name] = Lamp(name, MISSING, None, freqtrade.download_command(exchange, pair))
    return {pair: [lamp.as_dict() for lamp in some.values()] for pair, some in found.items()}

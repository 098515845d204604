"""Coverage of a series: holes in its rows, and the spans in which a recorded stream was alive."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liqsignals.clock import Int64Array, iso
from liqsignals.data import rawlog


@dataclass(frozen=True)
class Hole:
    """A span [start, stop) (ns) in which a series has no row."""

    start: int
    stop: int

    def __str__(self) -> str:
        return f"{iso(self.start)} to {iso(self.stop)}"


def holes(at: Int64Array, period: int, start: int, stop: int) -> list[Hole]:
    """Spans of [start, stop) without a row. `at` (n,) ascending: starts of the periods with a row, ns."""
    inside = at[(at >= start) & (at < stop)]
    edges = np.concatenate(([start - period], inside, [-(-(stop - start) // period) * period + start]))
    gaps = np.flatnonzero(np.diff(edges) > period)
    return [Hole(int(edges[i] + period), int(min(edges[i + 1], stop))) for i in gaps]


ALIVE = "alive"


@dataclass(frozen=True)
class Alive:
    """A span [start, stop] (ns) in which a stream is known to have been alive."""

    start: int
    stop: int


def coverage(extras: Path, provider: str, channel: str, since: int = 0) -> list[Alive]:
    """Spans in which a stream was alive, from the day of `since` (ns) on. Between them data are unknown, not empty."""
    spans: dict[int, int] = {}
    for path in rawlog.files(extras / "raw" / provider, ALIVE, since):
        for _, raw in rawlog.read(path):
            entry = json.loads(raw)
            if entry["stream"] == channel:
                # The last entry of a connection counts: a lost subscription shortens the span that pings confirmed.
                spans[entry["since"]] = entry["until"]
    return [Alive(start, stop) for start, stop in sorted(spans.items()) if stop > start]

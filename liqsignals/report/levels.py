"""Writes the map's levels over time as a parquet table."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from liqsignals import liqmap
from liqsignals.clock import MINUTE, Int64Array, to_dates
from liqsignals.data.tape import MapTape
from liqsignals.errors import InputError
from liqsignals.files import written
from liqsignals.records import open_interest_max_age


@dataclass(frozen=True)
class Levels:
    """Contents of a written file of levels."""

    rows: int
    #: Instants (ns) of its maps (n,), and how many were left out because open interest was stale.
    instants: Int64Array
    stale: int


def write_levels(
    tape: MapTape,
    parameters: liqmap.Parameters,
    every: int,
    out: Path,
    start: int | None = None,
    stop: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Levels:
    """Write the map's levels at each multiple of `every` (ns) in [start, stop) to a .parquet file, in one step.

    One row per level with mass: `date` (the instant, UTC), `price`, `long_base` and `short_base` (coins). Instants at
    which no candle closed, or with stale open interest, are left out. `progress` is called with the share done. Raises
    InputError where there is no map at all or the file cannot be written.
    """
    ends = tape.bars["event_time"]
    if every % tape.bar_ns:
        raise InputError(f"--every must be a multiple of the candles that the map folds ({tape.bar_ns // MINUTE}m)")
    first = max(-(-int(ends[0]) // every) * every, -(-start // every) * every if start is not None else 0)
    last = min(int(ends[-1]), stop - 1 if stop is not None else int(ends[-1]))
    instants = np.arange(first, last + 1, every, dtype=np.int64)
    parts: list[pd.DataFrame] = []
    mapped: list[int] = []
    stale = 0
    fold = liqmap.Fold.of(tape, parameters)
    plan = fold.plan
    with written(out, (".parquet",)) as path:
        for n, instant in enumerate(instants):
            progress((n + 1) / len(instants))
            bar = int(np.searchsorted(ends, instant, side="right"))
            fold.to(bar)
            book = fold.book
            if book is None or bar == 0 or ends[bar - 1] != instant:
                continue
            if instant - plan.measured_at[bar - 1] > open_interest_max_age(tape.period_ns):
                stale += 1
                continue
            levels = book.levels()
            mapped.append(int(instant))
            held = np.flatnonzero(levels.any(axis=0))
            parts.append(
                pd.DataFrame(
                    {
                        "date": np.full(len(held), instant),
                        "price": book.price[held],
                        "long_base": levels[0, held],
                        "short_base": levels[1, held],
                    }
                )
            )
        if not parts:
            raise InputError(f"map: no map of {tape.pair} at any multiple of the given time within the data")
        table = pd.concat(parts, ignore_index=True)
        table["date"] = to_dates(table["date"].to_numpy())
        table.to_parquet(path, index=False)
    return Levels(len(table), np.array(mapped, np.int64), stale)

"""Writes the map's levels over time as a parquet table."""

from pathlib import Path

import numpy as np
import pandas as pd

from liqsignals import liqmap
from liqsignals.clock import MINUTE, parse_timerange, to_dates
from liqsignals.data.tape import Tape
from liqsignals.errors import InputError
from liqsignals.files import written
from liqsignals.records import open_interest_max_age
from liqsignals.report.console import progress


def write_levels(tape: Tape, parameters: liqmap.Parameters, every: int, out: Path, timerange: str | None) -> None:
    assert tape.bars is not None
    ends = tape.bars["event_time"]
    if every % tape.bar_ns:
        raise InputError(f"--every must be a multiple of the candles that the map folds ({tape.bar_ns // MINUTE}m)")
    start, stop = parse_timerange(timerange)
    first = max(-(-int(ends[0]) // every) * every, -(-start // every) * every if start is not None else 0)
    last = min(int(ends[-1]), stop - 1 if stop is not None else int(ends[-1]))
    instants = np.arange(first, last + 1, every, dtype=np.int64)
    parts: list[pd.DataFrame] = []
    stale = 0
    fold = liqmap.Fold.of(tape, parameters)
    plan = fold.plan
    with written(out, (".parquet",)) as path, progress("levels") as show:
        for n, instant in enumerate(instants):
            show((n + 1) / len(instants))
            bar = int(np.searchsorted(ends, instant, side="right"))
            fold.to(bar)
            book = fold.book
            if book is None or bar == 0 or ends[bar - 1] != instant:
                continue
            if instant - plan.measured_at[bar - 1] > open_interest_max_age(tape.period_ns):
                stale += 1
                continue
            levels = book.levels()
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
    print(
        f"{out}: {len(table)} levels at {len(parts)} times, {table.date.iloc[0].isoformat()} to "
        f"{table.date.iloc[-1].isoformat()}"
        + (f"; left out {stale} times at which open interest was stale" if stale else "")
    )

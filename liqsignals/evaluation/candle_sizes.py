"""The same market in coarser candles or with hourly open interest, and the map's scores on it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from liqsignals import liqmap
from liqsignals.clock import HOUR, timeframe_name
from liqsignals.data.freqtrade import joined
from liqsignals.data.tape import MapTape
from liqsignals.errors import InputError
from liqsignals.evaluation import fit, scores
from liqsignals.evaluation.cases import Case
from liqsignals.evaluation.intervals import intervals, number
from liqsignals.records import open_interest_lag


def coarser(tape: MapTape, bar_ns: int) -> MapTape:
    """The same market in longer candles, complete ones only."""
    if bar_ns % tape.bar_ns or HOUR % bar_ns:
        raise InputError(
            f"--candles {timeframe_name(bar_ns)}: must be a multiple of the candles on disk "
            f"({timeframe_name(tape.bar_ns)}) that divides an hour"
        )
    return replace(tape, bars=joined(tape.bars, tape.bar_ns, bar_ns), bar_ns=bar_ns)


def hourly_interest(tape: MapTape) -> MapTape:
    """The same market with one value of open interest an hour, with the delay of hourly values."""
    kept = tape.open_interest[tape.open_interest["event_time"] % HOUR == 0].copy()
    kept["known_at"] = kept["event_time"] + open_interest_lag(HOUR)
    return replace(tape, open_interest=kept, period_ns=HOUR)


def by_candle(c: Case, parameters: liqmap.Parameters, sizes: Sequence[int], hourly: bool) -> dict[str, Any]:
    """The map's scores by candle size, and with hourly open interest where asked, on the same hours.

    `paired`: the difference of each from the candles on disk.
    """
    tapes = {timeframe_name(c.tape.bar_ns): c.tape}
    for size in sizes:
        tapes.setdefault(timeframe_name(size), coarser(c.tape, size))
    if hourly:
        tapes.update({f"{name}, hourly interest": hourly_interest(tape) for name, tape in list(tapes.items())})
    predicted = {
        name: np.nan_to_num(parameters.report_factor * fit.sweeps(tape, parameters, c.hours).sum(axis=2).T)
        for name, tape in tapes.items()
    }
    base = next(iter(tapes))
    pairs = [(name, base) for name in predicted if name != base]
    found = intervals(c, predicted, pairs)
    dollars = {
        name: [number(scores.dollar_ratio(p[s, c.test], c.real[s, c.test])) for s in range(2)]
        for name, p in predicted.items()
    }
    return {
        "sizes": {name: {**found[name], "dollars": dollars[name]} for name in predicted},
        "paired": {f"{a} - {b}": found[f"{a} - {b}"] for a, b in pairs},
    }

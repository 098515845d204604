"""One market's hours, what was liquidated in them, and the part of them that is scored."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liqsignals.clock import DAY, HOUR, Int64Array, iso
from liqsignals.data.tape import MapTape, bars_of
from liqsignals.errors import InputError
from liqsignals.evaluation import fit
from liqsignals.records import Float64Array

Mask = NDArray[np.bool_]
#: Prices not traded for this long count as reached anew.
ANEW = 72
LEAST_HOURS = 48


@dataclass(frozen=True)
class Case:
    """One market's hours and what happened in them. Side 0 long, 1 short; USD."""

    tape: MapTape
    hours: Int64Array
    real: Float64Array
    #: ln moves toward each side's levels (NaN without all the hour's candles), and hours that reach prices anew.
    moved: Float64Array
    anew: Mask
    #: Rows scored; the others, before them, are for fitting.
    test: Mask


def case(tape: MapTape, hours: Int64Array, real: Float64Array, fit_until: int) -> Case:
    """Line up hours, real liquidations (2, n) and candles; score from `fit_until` (ns) on."""
    test = hours >= fit_until
    if min(int(test.sum()), int((~test).sum())) < LEAST_HOURS:
        raise InputError(
            f"validate: {int((~test).sum())} hours before {iso(fit_until)} and {int(test.sum())} from it on; "
            f"{LEAST_HOURS} are needed on either side",
            "another --fit-until, or a longer table",
        )
    moved = fit.moves(tape, hours)
    if not np.isfinite(moved[:, test]).any():
        raise InputError(
            f"validate: no candles of {tape.pair} in the hours to score, {iso(int(hours[test][0]))} .. "
            f"{iso(int(hours[-1]))}",
            "candles of that span (liqsignals download)",
        )
    return Case(tape, hours, real, moved, reached_anew(tape, hours), np.asarray(test))


def split(hours: Int64Array, seen_until: int | None) -> int:
    """Where scoring begins by default: after all that the calibration saw, else after the first half of the hours."""
    if seen_until is not None and hours[0] + LEAST_HOURS * HOUR <= seen_until <= hours[-1] - LEAST_HOURS * HOUR:
        return seen_until
    return int(hours[len(hours) // 2]) // DAY * DAY


def over_before(column: Float64Array, tape: MapTape, first: Int64Array, hours: int, how: str) -> Float64Array:
    """Rolling minimum, maximum or sum over the `hours` that end where each hour begins; NaN where some are missing."""
    rolled = pd.Series(column).rolling(hours * (HOUR // tape.bar_ns)).agg(how).to_numpy()
    return np.asarray(np.where(first > 0, rolled[np.maximum(first - 1, 0)], np.nan))


def reached_anew(tape: MapTape, hours: Int64Array) -> Mask:
    """Hours (2, n) whose low (longs) or high (shorts) lies beyond all prices of the ANEW hours before them."""
    first, last, whole = bars_of(tape, hours)
    out = np.zeros((2, len(hours)), bool)
    low, high = tape.bars["low"], tape.bars["high"]
    lowest, highest = over_before(low, tape, first, ANEW, "min"), over_before(high, tape, first, ANEW, "max")
    for i in np.flatnonzero(whole):
        out[0, i] = low[first[i] : last[i]].min() < lowest[i]
        out[1, i] = high[first[i] : last[i]].max() > highest[i]
    return out

"""One market's hours with their real liquidations, and which of them are scored."""

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
#: An hour reaches new prices when it goes beyond all prices of this many hours before it.
NEW_PRICE_HOURS = 72
#: Minimum hours before and after `fit_until`.
LEAST_HOURS = 48


@dataclass(frozen=True)
class Case:
    """One market's hours. Side 0 long, 1 short; USD."""

    tape: MapTape
    hours: Int64Array
    real: Float64Array
    #: ln moves toward each side's levels (NaN without all the hour's candles), and hours that reach new prices.
    moved: Float64Array
    new_prices: Mask
    #: Rows scored; the rows before them are for fitting.
    test: Mask


def case(tape: MapTape, hours: Int64Array, real: Float64Array, fit_until: int) -> Case:
    """Align hours, real liquidations (2, n) and candles; hours from `fit_until` (ns) on are scored.

    Raises InputError for too few hours on either side, or no candles in the hours to score.
    """
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
    return Case(tape, hours, real, moved, reaches_new_prices(tape, hours), np.asarray(test))


def split(hours: Int64Array, seen_until: int | None) -> int:
    """Default start of scoring: the end of the calibration's data, else after the first half of the hours."""
    if seen_until is not None and hours[0] + LEAST_HOURS * HOUR <= seen_until <= hours[-1] - LEAST_HOURS * HOUR:
        return seen_until
    return int(hours[len(hours) // 2]) // DAY * DAY


def over_before(column: Float64Array, tape: MapTape, first: Int64Array, hours: int, how: str) -> Float64Array:
    """Rolling minimum, maximum or sum over the `hours` up to the start of each hour; NaN where some are missing."""
    rolled = pd.Series(column).rolling(hours * (HOUR // tape.bar_ns)).agg(how).to_numpy()
    return np.asarray(np.where(first > 0, rolled[np.maximum(first - 1, 0)], np.nan))


def reaches_new_prices(tape: MapTape, hours: Int64Array) -> Mask:
    """Hours (2, n) whose low (longs) or high (shorts) lies beyond all prices of NEW_PRICE_HOURS before."""
    first, last, whole = bars_of(tape, hours)
    out = np.zeros((2, len(hours)), bool)
    low, high = tape.bars["low"], tape.bars["high"]
    lowest, highest = (
        over_before(low, tape, first, NEW_PRICE_HOURS, "min"),
        over_before(high, tape, first, NEW_PRICE_HOURS, "max"),
    )
    for i in np.flatnonzero(whole):
        out[0, i] = low[first[i] : last[i]].min() < lowest[i]
        out[1, i] = high[first[i] : last[i]].max() > highest[i]
    return out

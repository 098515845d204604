"""Realised variance and traded volume as running means of several half-lives, and the volatility that they forecast."""

import math
from typing import NamedTuple

import numpy as np

from liqsignals.clock import HOUR, Int64Array
from liqsignals.liqmap.kernels.shared import bare, kernel
from liqsignals.records import Float64Array

#: Hours of a week, and the hour of the week (Monday 00:00 UTC is 0) at which 1970 began.
WEEK, EPOCH = 168, 72


class Forecast(NamedTuple):
    """Parameters of the volatility (features/squeeze.py has the formulas), k half-lives and m horizons."""

    #: (k + 1,): half-lives in hours, the last one that of the traded volume.
    half_lives: Float64Array
    #: (WEEK,): variance of each hour of the week over that of the mean hour; (2 WEEK + 1,): its running sum.
    season: Float64Array
    ahead: Float64Array
    #: (m,) hours, and (m, k + 1) constant and slopes of the logarithms.
    hours: Int64Array
    har: Float64Array


@bare
def season_ahead(at, hours, season, ahead):
    """Sum of the season over the `hours` after the instant `at` (ns), parts of hours linearly."""
    whole = at // HOUR
    part = (at - whole * HOUR) / HOUR
    first = (whole + EPOCH) % WEEK
    last = first + hours
    return (ahead[last] + part * season[last % WEEK]) - (ahead[first] + part * season[first])


@kernel
def run_volatility(
    low, high, close, volume, closes_at, bar_ns, forecast, start, stop, pace, read_bar, read_at, sigma, day_volume
):
    """Take bars `start` .. `stop - 1` into `pace` (k + 1, 2), a mean's value and weight for each half-life, the last row
    that of USD traded an hour. At each reading, after its bar, `sigma` (n, m) receives the volatility of log price
    forecast for the hours after `read_at` (n,) ns, `day_volume` (n,) the USD traded a day.

    A bar counts by Parkinson's estimate, ln(high / low)^2 / (4 ln 2), an hour's worth over the season. A hole decays by
    its length. Readings lie in bars start - 1 .. stop - 1. A mean without a bar that moved leaves its reading as it is.
    Oracle: tests/test_squeeze.py.
    """
    k = len(forecast.half_lives) - 1
    length = bar_ns / HOUR
    keeps = np.exp2(-length / forecast.half_lives)
    r = 0
    for i in range(start - 1, stop):
        if i >= start:
            hour = ((closes_at[i] - bar_ns) // HOUR + EPOCH) % WEEK
            moved = math.log(high[i] / low[i])
            x = moved * moved / (4.0 * math.log(2.0) * length * forecast.season[hour])
            hole = i > 0 and closes_at[i] - closes_at[i - 1] != bar_ns
            for j in range(k + 1):
                gain = 1.0 - keeps[j]
                keep = keeps[j]
                if hole:
                    keep = math.pow(2.0, -((closes_at[i] - closes_at[i - 1]) / HOUR) / forecast.half_lives[j])
                if j == k:
                    x = volume[i] * close[i] / length
                pace[j, 0] = keep * pace[j, 0] + gain * x
                pace[j, 1] = keep * pace[j, 1] + gain
        while r < len(read_bar) and read_bar[r] == i:
            moving = True
            for j in range(k):
                moving = moving and pace[j, 0] > 0.0
            if moving:
                for h in range(len(forecast.hours)):
                    y = forecast.har[h, 0]
                    for j in range(k):
                        y += forecast.har[h, j + 1] * math.log(pace[j, 0] / pace[j, 1])
                    ahead = season_ahead(read_at[r], forecast.hours[h], forecast.season, forecast.ahead)
                    sigma[r, h] = math.sqrt(math.exp(y) * ahead)
            if pace[k, 1] > 0.0:
                day_volume[r] = 24.0 * (pace[k, 0] / pace[k, 1])
            r += 1

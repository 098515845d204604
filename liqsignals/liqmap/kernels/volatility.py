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
def run_volatility(low, high, close, volume, closes_at, bar_ns, half_lives, season, start, stop, pace, read_bar, means):
    """Take bars `start` .. `stop - 1` into `pace` (k + 1, 2), a mean's value and weight for each half-life, the last
    row that of USD traded an hour. At each reading, after its bar, `means` (n, k + 1) receives the means.

    A bar counts by Parkinson's estimate, ln(high / low)^2 / (4 ln 2), an hour's worth over the season. A hole decays by
    its length. Readings lie in bars start - 1 .. stop - 1; without any bar they stay as they are. Oracle:
    tests/test_squeeze.py.
    """
    k = len(half_lives) - 1
    length = bar_ns / HOUR
    keeps = np.exp2(-length / half_lives)
    r = 0
    for i in range(start - 1, stop):
        if i >= start:
            hour = ((closes_at[i] - bar_ns) // HOUR + EPOCH) % WEEK
            moved = math.log(high[i] / low[i])
            x = moved * moved / (4.0 * math.log(2.0) * length * season[hour])
            hole = i > 0 and closes_at[i] - closes_at[i - 1] != bar_ns
            for j in range(k + 1):
                gain = 1.0 - keeps[j]
                keep = keeps[j]
                if hole:
                    keep = math.pow(2.0, -((closes_at[i] - closes_at[i - 1]) / HOUR) / half_lives[j])
                if j == k:
                    x = volume[i] * close[i] / length
                pace[j, 0] = keep * pace[j, 0] + gain * x
                pace[j, 1] = keep * pace[j, 1] + gain
        while r < len(read_bar) and read_bar[r] == i:
            for j in range(k + 1):
                if pace[j, 1] > 0.0:
                    means[r, j] = pace[j, 0] / pace[j, 1]
            r += 1


@kernel
def expect(means, at, forecast, sigma):
    """Volatility of log price forecast for the hours after each instant `at` (n,) ns, from `means` (n, k + 1), into
    `sigma` (n, m); left alone where a mean of variance is NaN or 0."""
    k = len(forecast.half_lives) - 1
    logs = np.empty(k)
    for r in range(len(at)):
        moving = True
        for j in range(k):
            moving = moving and means[r, j] > 0.0
        if not moving:
            continue
        for j in range(k):
            logs[j] = math.log(means[r, j])
        for h in range(len(forecast.hours)):
            y = forecast.har[h, 0]
            for j in range(k):
                y += forecast.har[h, j + 1] * logs[j]
            ahead = season_ahead(at[r], forecast.hours[h], forecast.season, forecast.ahead)
            sigma[r, h] = math.sqrt(math.exp(y) * ahead)

"""A SIMULATED market of leveraged perpetual futures whose true positions are known.

It provides the demo and the tests with data in freqtrade's own format, offline, and the truth against which a
liquidation map from candles, open interest and funding alone can be scored. It is a model of the market, not
of any estimator: positions are single contracts with their own entry, size, margin and plan, no grid and no
classes of leverage. Its parameters are fitted to the statistics of real markets, never to an estimator's
score; once committed it is frozen.

Time runs in steps of ``STEP_SECONDS``; prices are whole ticks, quantities whole lots (integers, so that "long
= short = open interest" holds exactly). Each step, per pair:

1. *Market factors* (``weather`` in the code). Log price moves by ``s z + d``. ``z`` is partly common to all
   pairs, with fat tails. ``s`` = base volatility x exp(sum of Ornstein-Uhlenbeck factors of three half-lives,
   one own) x time of day x (1 + e), where the excitement ``e`` grows with every |return| and fades
   (volatility begets volatility). ``d``: trends and ranges (a Markov chain), news (jumps spread over minutes,
   with a burst of volatility), a weak pull to the anchor price, and selling pressure on the day after a shock
   of exchange inflow.
2. *Impact*. A net market order of ``q`` moves log price by ``c (q / daily volume) / depth``: ``c`` is
   ``impact_liquidation`` for liquidations, ``impact_stop`` for stops, ``impact_normal`` otherwise; a share of
   it is transient and reverts. Depth wanders, and falls when volatility rises; impact saturates as the
   transient displacement grows (value traders step in). Per unit of volume liquidations move price some 5
   times as much as normal flow and revert far more (docs/evidence.md 6). So price runs through one cluster and
   bounces from another.
3. *Triggers*. Every position with a trigger at or beyond the traded price acts, nearest first, and what it
   does moves the price for the next one: liquidation (cascades), stop loss, more margin, take profit (whole
   or half). The price is last price; the mark (a 20 s average) is written out but liquidates nobody. With
   margin M, quantity q, entry E, maintenance rate m and amount a of the notional's bracket (``BRACKETS``), a
   long is liquidated at ``(qE - M - a) / (q (1 - m))``, a short at ``(qE + M + a) / (q (1 + m))``.
4. *Closes and opens*. Positions close (or halve) when their time is up: log-normal, median falling with
   leverage from days to minutes, on a clock that runs with the market's activity. New ones arrive at a rate
   proportional to current activity, at the traded price. Leverage: round tiers, some smeared, 1x to 125x
   (``LEVERAGE``), capped by the bracket; about half hold extra margin (cross), so textbook distances are the minority
   (docs/evidence.md 3). Most standing notional is at low leverage, most openings by count at high leverage
   (docs/evidence.md 2: Hyperliquid 85 % of notional below 7x). Side: some chase the last hours' move, some fade it;
   all lean with a slow sentiment and against the crowd.
5. *The other side*. What the traders buy net, market makers and hedgers sell: partly by closing longs, partly
   by opening shorts. Hedgers also open and close against each other. They are never liquidated. Hence sum of
   longs = sum of shorts = open interest at every step.
6. *Volume* = traded by positions + hedgers + churn of the market makers that opens nothing. All three follow
   one activity, so |change of open interest| correlates with the volume of the same bar.

Every 8 h funding is paid out of margin, which moves every liquidation price:
``F = P + clamp(0.01 % - P, +- 0.05 %)``, capped, ``P`` the mean premium, rising with the crowd and momentum.

Daily exchange flows: log-normal, autoregressive, weekly season, higher on volatile days; a shock to the
inflow of day D lowers the drift of day D+1 a little.

Not modelled: an order book, fees, partial liquidation of large positions, insurance fund and
auto-deleveraging, positions linked through one wallet (cross margin is a private buffer), averaging into
losers, several venues (the second venue's funding is the first's premium with noise), outages and missing
rows. The first pair leads: a share of its liquidations' impact spills over to the others, not back. Nothing
here attracts price to levels: the literature reports acceleration after contact, not attraction before it
(docs/evidence.md 9).

The same arguments give the same bytes: xoshiro256++ with explicit state, no clock, no threads.
``BURN_IN_DAYS`` are simulated before ``start``; of them only funding and flows are written. Open interest is
labelled as Binance did before 2026-06-25: the row at ``date`` is the snapshot AT ``date``.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from liqsignals.errors import InputError
from liqsignals.files import replaced_folder
from liqsignals.simulation.draws import generator
from liqsignals.simulation.pair import Market, PairMarket, Run
from liqsignals.simulation.parameters import Parameters
from liqsignals.simulation.price import weather
from liqsignals.simulation.scale import weather_parameters
from liqsignals.simulation.state import BURN_IN_DAYS, DAY, STEP_SECONDS
from liqsignals.simulation.writer import MARKER, write

__all__ = ["Market", "PairMarket", "Parameters", "simulate", "write_market"]

DEFAULT_START: Final = pd.Timestamp("2025-01-01", tz="UTC")
DEFAULT_PAIRS: Final = ("BTC/USDT:USDT", "ETH/USDT:USDT")


def _check(
    seed: int, days: int, pairs: Sequence[str], start: pd.Timestamp, truth_every: str
) -> tuple[pd.Timestamp, int]:
    """Raise InputError for bad arguments; returns the start in UTC and the steps between snapshots."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed must be a whole number >= 0, not {seed!r}")
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= 3650:
        raise InputError(f"days must be a whole number from 1 to 3650, not {days!r}")
    if isinstance(pairs, str) or not pairs:
        raise InputError("pairs must be a sequence of at least one pair")
    for pair in pairs:
        base, _, rest = pair.partition("/")
        quote, _, settle = rest.partition(":")
        if not (base.isalnum() and quote.isalnum() and quote == settle and pair.isascii()):
            raise InputError(f"not a linear perpetual such as BTC/USDT:USDT: {pair!r}")
    if len(set(pairs)) != len(pairs):
        raise InputError("pairs repeat")
    start = pd.Timestamp(start)
    if start.tzinfo is None:
        raise InputError("start must have a time zone")
    start = start.tz_convert("UTC")
    if start != start.normalize():
        raise InputError("start must be a midnight UTC")
    try:
        every = pd.Timedelta(truth_every)
    except ValueError as error:
        raise InputError(f"truth_every is not a duration: {truth_every!r}") from error
    step = pd.Timedelta(minutes=5)
    if every < step or every % step or pd.Timedelta(days=1) % every:
        raise InputError(f"truth_every must be whole 5 minutes and divide a day, not {truth_every!r}")
    return start, int(every.total_seconds()) // STEP_SECONDS


def simulate(
    seed: int,
    days: int,
    pairs: Sequence[str] = DEFAULT_PAIRS,
    start: pd.Timestamp = DEFAULT_START,
    *,
    truth_every: str = "6h",
    progress: Callable[[float], None] | None = None,
    parameters: Parameters | None = None,
) -> Market:
    """Simulate ``days`` of the pairs' SIMULATED markets. The first pair leads the others.

    ``progress`` is called with the share done. Snapshots of the truth are taken every ``truth_every`` after
    ``start``, the end included.
    """
    start, every = _check(seed, days, pairs, start, truth_every)
    p = parameters or Parameters()
    total = days + BURN_IN_DAYS
    runs = [Run(pair, seed, total, p) for pair in pairs]
    shared_rng = generator(seed, 0)
    factors, regime = np.zeros(4), np.zeros(1, np.int64)
    shared = np.zeros((DAY, 5))
    no_spill = np.zeros(DAY)
    for day in range(total):
        weekend = (start + pd.Timedelta(days=day - BURN_IN_DAYS)).weekday() >= 5
        weather(shared, factors, regime, shared_rng, weather_parameters(p, weekend), day * DAY)
        for j, run in enumerate(runs):
            spill = runs[0].state.out.spill if j else no_spill
            for t0 in range(0, DAY, every):
                run.steps(t0, t0 + every, shared, spill, day)
                if day >= BURN_IN_DAYS:
                    run.truth.snapshot(run.state)
        if progress is not None:
            progress((day + 1) / total)
    results = {}
    while runs:  # free each run's memory before the next result is built
        run = runs.pop(0)
        results[run.pair] = run.result(start, days)
    return Market(seed, days, start, results)


def _replaceable(out: Path) -> bool:
    """Whether ``out`` was written by ``write_market`` and has no other files."""
    return (out / "binance" / MARKER).is_file() and {x.name for x in out.iterdir()} <= {"binance", "truth"}


def write_market(
    out: Path,
    *,
    seed: int,
    days: int,
    pairs: Sequence[str] = DEFAULT_PAIRS,
    start: pd.Timestamp = DEFAULT_START,
    truth_every: str = "6h",
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Write a SIMULATED market as a freqtrade data directory ``out/binance`` and its truth, ``out/truth``.

    ``out`` appears complete or not at all. A folder there is replaced only if this function made it.
    """
    out = Path(out).absolute()
    if out.exists() and not (out.is_dir() and (_replaceable(out) or not any(out.iterdir()))):
        raise InputError(f"{out} was not made by the simulator (no binance/{MARKER}, or other files in it): left alone")
    market = simulate(seed, days, pairs, start, truth_every=truth_every, progress=progress)
    with replaced_folder(out) as folder:
        write(folder, market)
    return out

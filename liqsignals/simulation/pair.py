"""The run of one pair, and its results."""

import math
import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from liqsignals.simulation import observed
from liqsignals.simulation.draws import generator, normals
from liqsignals.simulation.parameters import F8, Parameters, Spec, bracket_table, leverage_table, spec_of
from liqsignals.simulation.scale import as_record, scale_of
from liqsignals.simulation.state import (
    BOOK,
    BURN_IN_DAYS,
    DAY,
    DEP,
    EMA,
    EVENTS,
    FREE,
    HEAP_SIZE,
    HIGH,
    HLONG,
    HSHORT,
    LOW,
    MARK,
    NF,
    NI,
    OPEN,
    PERM,
    PRICE,
    SLOTS,
    U8,
    Heap,
    Out,
    Pair,
)
from liqsignals.simulation.step import run
from liqsignals.simulation.truth import Truth, standing


@dataclass(frozen=True)
class PairMarket:
    """One simulated pair. Frames as in the files; quantities in base units, ``date`` UTC."""

    pair: str
    candles: pd.DataFrame  # 5m
    mark: pd.DataFrame  # 1h
    funding: pd.DataFrame  # 8h rows, burn-in included
    funding_second: pd.DataFrame  # another venue's
    open_interest: pd.DataFrame  # 5m, snapshot AT date
    levels: pd.DataFrame  # date, price, long_base, short_base
    totals: pd.DataFrame  # at every snapshot: open interest and the sums over positions, in lots
    liquidations: pd.DataFrame  # hourly, USD
    events: pd.DataFrame  # every liquidation: date, side, level, fill, base, cause
    standing: pd.DataFrame  # open positions at the end
    flows: pd.DataFrame | None  # daily, Coin Metrics' columns


@dataclass(frozen=True)
class Market:
    """Result of ``simulate``. SIMULATED."""

    seed: int
    days: int
    start: pd.Timestamp
    pairs: dict[str, PairMarket]


def new_pair(p: Parameters, spec: Spec, rng: U8, total_days: int) -> Pair:
    """Initial state of a pair: only the hedgers have positions."""
    scale = scale_of(p, spec)
    book = np.zeros(SLOTS, BOOK)
    book["version"] = -1
    book["free"] = np.arange(SLOTS - 1, -1, -1)
    f = np.zeros(NF)
    f[[PRICE, HIGH, LOW, OPEN, MARK]] = spec.price
    f[[PERM, EMA]] = math.log(spec.price)
    f[DEP] = 1.0
    n = np.zeros(NI, np.int64)
    n[[HLONG, HSHORT]] = int(p.hedged_share * scale.oi_start)
    n[FREE] = SLOTS
    out = Out(
        bars=np.zeros((total_days * 288, 5)),
        mark=np.zeros((total_days * 24, 4)),
        oi=np.zeros(total_days * 288, np.int64),
        funding=np.zeros((total_days * 3, 2)),
        events=np.zeros((EVENTS, 6)),
        spill=np.zeros(DAY),
    )
    heaps = [Heap(np.empty(HEAP_SIZE), np.empty(HEAP_SIZE, np.int64), np.zeros(1, np.int64)) for _ in range(3)]
    return Pair(book, f, n, rng, as_record(scale), bracket_table(), leverage_table(p.leverage), out, *heaps)


class Run:
    """The run of one pair."""

    def __init__(self, pair: str, seed: int, total_days: int, p: Parameters) -> None:
        self.pair, self.p = pair, p
        self.spec = spec_of(pair.split("/")[0])
        key = zlib.crc32(pair.encode())
        # burn-in days included; shocks[d] acts on the price of day d
        self.shocks = np.empty(total_days + 1)
        normals(generator(seed, key, 2), self.shocks)
        self.noise = np.empty((total_days * 3, 4))
        normals(generator(seed, key, 3), self.noise.reshape(-1))
        self.state = new_pair(p, self.spec, generator(seed, key, 1), total_days)
        self.truth = Truth()

    def steps(self, t0: int, t1: int, weather: F8, spill: F8, day: int) -> None:
        """Run steps t0..t1 of a day."""
        pressure = -self.p.inflow_pressure * self.shocks[day] / DAY
        run(self.state, t0, t1, weather, spill, pressure)
        self.truth.take_events(self.state)

    def result(self, start: pd.Timestamp, days: int) -> PairMarket:
        """Everything as frames; `start` is the end of the burn-in."""
        origin = start - pd.Timedelta(days=BURN_IN_DAYS)
        out, lots = self.state.out, float(self.state.k["lots"])
        candles = observed.candles(out, origin, lots)
        funding, second = observed.funding(out, origin, self.p, self.noise)
        events, liquidations = self.truth.liquidations(origin, days, lots)
        return PairMarket(
            pair=self.pair,
            candles=candles,
            mark=observed.mark(out, origin),
            funding=funding,
            funding_second=second,
            open_interest=observed.open_interest(out, candles, lots),
            levels=self.truth.levels(origin, lots),
            totals=self.truth.totals(origin),
            liquidations=liquidations,
            events=events,
            standing=standing(self.state, lots),
            flows=observed.flows(out, origin, self.spec, self.shocks, self.noise),
        )

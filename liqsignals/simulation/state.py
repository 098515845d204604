"""The state of one pair in the kernels: positions, heaps, sums and outputs."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from liqsignals.simulation.parameters import F8

I8 = NDArray[np.int64]
U8 = NDArray[np.uint64]

STEP_SECONDS: Final = 10
BURN_IN_DAYS: Final = 30
# In steps.
DAY: Final = 86_400 // STEP_SECONDS
MINUTE: Final = 60 // STEP_SECONDS  # slow factors move once a minute
BAR: Final = 300 // STEP_SECONDS
HOUR: Final = 3_600 // STEP_SECONDS
SLOTS: Final = 1 << 16  # positions at a time
HEAP_SIZE: Final = 1 << 17  # entries, stale ones included
EVENTS: Final = 1 << 15  # liquidations per chunk

# Open positions, one a slot. Records, not arrays: numba compiles and runs them faster. ``book.qty[i]`` in kernels.
BOOK: Final = np.dtype(
    [
        ("side", np.int64),  # 1 long, -1 short
        ("qty", np.int64),  # lots; 0: a free slot
        ("entry", np.float64),
        ("margin", np.float64),  # quote
        ("leverage", np.float64),  # at entry, extra margin included
        ("liq", np.float64),  # liquidation price; 0: a long without one
        ("guard", np.float64),  # price of the stop or of the call for more margin
        ("kind", np.int64),  # of the guard: 0 none, 1 stop, 2 more margin
        ("adds", np.int64),
        ("target", np.float64),  # take profit
        ("expiry", np.float64),  # on the clock of activity
        ("version", np.int64),  # heap entries of another version are stale
        ("free", np.int64),  # a stack of free slots, beside the positions
    ]
)


class Heap(NamedTuple):
    key: F8
    ref: I8  # version * SLOTS + slot
    n: I8


class Out(NamedTuple):
    bars: F8  # open, high, low, close, volume
    mark: F8  # hourly open, high, low, close
    oi: I8  # lots after each bar
    funding: F8  # rate, premium mean
    events: F8  # step, side, level, fill, base, cause (0 price, 1 funding)
    spill: F8  # liquidation impact of each step of the day


class Pair(NamedTuple):
    """All state of one pair that its kernels read and change."""

    book: Any  # records of BOOK
    f: F8  # sums and factors, by the indices below
    n: I8  # counts, by the indices below
    rng: U8
    k: Any  # a record of scale.Scale
    brackets: F8
    tiers: F8
    out: Out
    down: Heap  # triggers below the price, nearest first
    up: Heap  # triggers above it
    due: Heap  # ends of holding times


# indices of the float state
PERM, TN, TL, PRICE, OWN, EXC, DEPTH, BURST, TARGET, SENT = range(10)
MFAST, MSLOW, EMA, PREM, PSUM, MARK, NET, HIGH, LOW, OPEN, VOL, DEP, IMP = range(10, 23)
MH, ML, MO, CLOCK = range(23, 27)
NF: Final = 27
# indices of the integer state
STEP, LONG, SHORT, HLONG, HSHORT, FREE, VERSION, BUY, SELL, NEV, LOST, COUNT = range(12)
NI: Final = 12
# weather columns
WZ, WVOL, WDRIFT, WRANGE, WSEASON = range(5)

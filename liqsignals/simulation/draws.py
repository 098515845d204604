"""Random numbers with explicit state: the same arguments give the same bytes."""

import math
from typing import Any

import numpy as np

from liqsignals.simulation.compiled import kernel
from liqsignals.simulation.parameters import F8
from liqsignals.simulation.state import U8


def generator(*key: int) -> U8:
    """Initial state of a key."""
    return np.random.SeedSequence(key).generate_state(4, np.uint64).astype(np.uint64)


@kernel
def _rotl(x: Any, k: Any) -> Any:
    return (x << k) | (x >> (np.uint64(64) - k))


@kernel
def uniform(s: U8) -> float:
    """xoshiro256++ (Blackman and Vigna, public domain), in the open interval (0, 1)."""
    r = _rotl(s[0] + s[3], np.uint64(23)) + s[0]
    t = s[1] << np.uint64(17)
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = _rotl(s[3], np.uint64(45))
    return (float(r >> np.uint64(11)) + 0.5) / 9007199254740992.0


@kernel
def normal(s: U8) -> float:
    return math.sqrt(-2.0 * math.log(uniform(s))) * math.cos(2.0 * math.pi * uniform(s))


@kernel
def normals(s: U8, out: F8) -> None:
    for i in range(out.size):
        out[i] = normal(s)

"""Heaps of position triggers and end times, nearest first; entries of an older version are stale."""

from typing import Any

from liqsignals.simulation.compiled import kernel
from liqsignals.simulation.state import SLOTS, VERSION, Heap, Pair


@kernel
def _sift_down(h: Heap, i: int) -> None:
    n = h.n[0]
    key = h.key[i]
    ref = h.ref[i]
    while True:
        c = 2 * i + 1
        if c >= n:
            break
        if c + 1 < n and h.key[c + 1] < h.key[c]:
            c += 1
        if h.key[c] >= key:
            break
        h.key[i] = h.key[c]
        h.ref[i] = h.ref[c]
        i = c
    h.key[i] = key
    h.ref[i] = ref


@kernel
def push(h: Heap, key: float, ref: int) -> None:
    i = h.n[0]
    h.n[0] = i + 1
    while i > 0:
        parent = (i - 1) >> 1
        if h.key[parent] <= key:
            break
        h.key[i] = h.key[parent]
        h.ref[i] = h.ref[parent]
        i = parent
    h.key[i] = key
    h.ref[i] = ref


@kernel
def pop(h: Heap) -> int:
    ref = h.ref[0]
    h.n[0] -= 1
    n = h.n[0]
    if n > 0:
        h.key[0] = h.key[n]
        h.ref[0] = h.ref[n]
        _sift_down(h, 0)
    return ref  # type: ignore[no-any-return]


@kernel
def _down_key(b: Any, i: int) -> float:
    """Negated price at or below which position i acts."""
    return -max(b.liq[i], b.guard[i]) if b.side[i] > 0 else -b.target[i]  # type: ignore[no-any-return]


@kernel
def _up_key(b: Any, i: int) -> float:
    return b.target[i] if b.side[i] > 0 else min(b.liq[i], b.guard[i])  # type: ignore[no-any-return]


@kernel
def rebuild(m: Pair) -> None:
    """Rebuild the heaps from the positions' current triggers, without stale entries."""
    b, down, up, due = m.book, m.down, m.up, m.due
    n = 0
    for i in range(SLOTS):
        if b.qty[i] > 0:
            ref = b.version[i] * SLOTS + i
            down.key[n] = _down_key(b, i)
            up.key[n] = _up_key(b, i)
            due.key[n] = b.expiry[i]
            down.ref[n] = ref
            up.ref[n] = ref
            due.ref[n] = ref
            n += 1
    down.n[0] = n
    up.n[0] = n
    due.n[0] = n
    for i in range(n // 2 - 1, -1, -1):
        _sift_down(down, i)
        _sift_down(up, i)
        _sift_down(due, i)


@kernel
def enlist(m: Pair, i: int) -> None:
    """Enter position i's triggers; its earlier entries become stale."""
    b, n = m.book, m.n
    n[VERSION] += 1
    b.version[i] = n[VERSION]
    ref = n[VERSION] * SLOTS + i
    push(m.down, _down_key(b, i), ref)
    push(m.up, _up_key(b, i), ref)
    push(m.due, b.expiry[i], ref)

"""A fold's state on disk: what a restart, a second `map` or another process need not fold again.

A file holds the book at one instant. Its name has that instant and a hash of all that the book depends on besides its
records (parameters, distances, the code that folds, numba, the processor's mathematics); inside is a hash of the
records known by then. A file is used where it is older than the view and both hashes fit, so that it stands for exactly
what folding from the first record gives; else it is as if it were not there. Files are replaced in one step, never
edited, and never needed: whatever cannot be read or written costs time, not numbers.
"""

import hashlib
import json
import logging
import platform
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np

from liqsignals import files
from liqsignals.clock import SECOND, timeframe_name
from liqsignals.data.tape import Tape
from liqsignals.errors import InputError
from liqsignals.liqmap.book import Book, distances_of
from liqsignals.liqmap.fold import FoldState
from liqsignals.liqmap.parameters import Parameters
from liqsignals.records import Records

logger = logging.getLogger(__name__)

FORMAT = "liqsignals-state/1"

#: Bars that must have been folded for a state to be worth a file: a twentieth of a second.
LEAST = 10_000
#: States kept of a pair: several views, several calibrations.
_KEPT = 8
_ARRAYS = ("mass", "scale", "total", "stock", "edge", "pending", "typical", "past", "pace", "price")


def folder_of(extras: Path) -> Path:
    """Where states lie beside the data."""
    return extras / "state"


def load(folder: Path, tape: Tape, first: int, parameters: Parameters) -> FoldState | None:
    """The newest saved state that stands for the tape's past up to `first` (ns), None where there is none.

    `tape` must be whole (`since` 0). Costs a hash of its records, 10 ms a year of 5m candles.
    """
    whole = tape.for_map()
    if whole is None or tape.since or not len(whole.bars):
        return None
    found: list[tuple[int, Path]] = []
    for path in folder.glob(f"{_stem(tape)}-{_key(tape, parameters)}-*.state"):
        with suppress(ValueError):
            found.append((int(path.stem.rpartition("-")[2]) * SECOND, path))
    for upto, path in sorted(found, reverse=True):
        if upto > first:
            continue
        read = _read(path)
        if read is None:
            continue
        header, arrays = read
        if header["upto"] // SECOND * SECOND != upto or header["records"] != _records(tape, header["upto"]):
            continue
        bars = int(np.searchsorted(whole.bars["known_at"], header["upto"], side="right"))
        state = FoldState()
        state.keep(
            whole, bars, Book(**arrays, origin=header["origin"], bars=bars, started=header["started"]), parameters
        )
        return state
    return None


def save(folder: Path, tape: Tape, state: FoldState, parameters: Parameters, loaded: int = 0) -> bool:
    """Write a state of the past of `tape`, which must be whole (`since` 0) and go on beyond it, where it is LEAST bars
    beyond the state that was `loaded` (its `upto`, ns).

    Returns whether it was written. Never raises: what cannot be written is named in the log.
    """
    book, bars, interest = state.book, tape.bars, tape.open_interest
    if book is None or bars is None or interest is None or tape.since or not (len(bars) and len(interest)):
        return False
    # Rows that the tape does not have would not be seen when it is loaded.
    if bars["known_at"][-1] < state.upto or interest["known_at"][-1] < state.upto:
        return False
    if np.subtract(*np.searchsorted(bars["known_at"], [state.upto, loaded], side="right")) < LEAST:
        return False
    path = folder / f"{_stem(tape)}-{_key(tape, parameters)}-{state.upto // SECOND}.state"
    header = {
        "upto": state.upto, "records": _records(tape, state.upto), "origin": book.origin,
        "started": book.started,
    }  # fmt: skip
    content = _content(header, {name: getattr(book, name) for name in _ARRAYS})
    try:
        with files.replaced(path) as temporary:
            temporary.write_bytes(content)
        written = sorted(folder.glob(f"{_stem(tape)}-*.state"), key=lambda p: p.stat().st_mtime_ns)
        # What a killed process left, too.
        for old in [*written[:-_KEPT], *folder.glob(f".{_stem(tape)}-*.tmp")]:
            if old.suffix == ".state" or old.stat().st_mtime_ns < path.stat().st_mtime_ns - 3600 * SECOND:
                old.unlink(missing_ok=True)
    except (OSError, InputError) as error:
        logger.info("%s: the map's state is not kept, the next start folds all again (%s)", tape.pair, error)
        return False
    return True


def _stem(tape: Tape) -> str:
    return f"{files.stem(tape.pair)}-{timeframe_name(tape.bar_ns)}"


@lru_cache(maxsize=1)
def _code() -> str:
    """What computes: the folding code, numba, and the processor and C library, whose logarithms may differ."""
    hashed = hashlib.sha256()
    folder = Path(__file__).parent
    for source in sorted([*folder.glob("*.py"), *(folder / "kernels").glob("*.py")]):
        hashed.update(source.read_bytes())
    hashed.update(repr((FORMAT, numba.__version__, llvmlite.binding.get_host_cpu_name(), platform.libc_ver())).encode())
    return hashed.hexdigest()


@lru_cache(maxsize=256)
def _key_of(pair: str, bar_ns: int, period_ns: int, parameters: Parameters) -> str:
    hashed = hashlib.sha256(repr((_code(), pair, bar_ns, period_ns, parameters)).encode())
    for array in distances_of(parameters, pair):
        hashed.update(array.tobytes())
    return hashed.hexdigest()[:16]


def _key(tape: Tape, parameters: Parameters) -> str:
    return _key_of(tape.pair, tape.bar_ns, tape.period_ns, parameters)


def _hashed(bars: Records, interest: Records) -> str:
    hashed = hashlib.sha256(repr((len(bars), len(interest))).encode())
    hashed.update(np.ascontiguousarray(bars).tobytes())
    hashed.update(np.ascontiguousarray(interest).tobytes())
    return hashed.hexdigest()


def _records(tape: Tape, upto: int) -> str:
    assert tape.bars is not None
    assert tape.open_interest is not None
    known = (kind[: np.searchsorted(kind["known_at"], upto, side="right")] for kind in (tape.bars, tape.open_interest))
    return _hashed(*known)


def _content(header: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """Format and hash of what follows; a line of JSON with the header and the arrays' names, types and shapes; their
    bytes."""
    layout = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    line = json.dumps({**header, "arrays": layout}).encode() + b"\n"
    body = line + b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return f"{FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode() + body


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Header and arrays of a file, None for one that is damaged, of another format, or gone."""
    try:
        first, _, body = path.read_bytes().partition(b"\n")
        if first.decode() != f"{FORMAT} {hashlib.sha256(body).hexdigest()}":
            return None
        line, _, content = body.partition(b"\n")
        header = json.loads(line)
        arrays: dict[str, Any] = {}
        at = 0
        for name, kind, shape in header["arrays"]:
            count = int(np.prod(shape, dtype=np.int64))
            arrays[name] = np.frombuffer(content, np.dtype(kind), count, at).reshape(shape).copy()
            at += arrays[name].nbytes
        return header, arrays
    except (OSError, ValueError):
        return None

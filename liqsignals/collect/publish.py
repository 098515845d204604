"""From raw messages to parquet that others read: a recorder's parts, and the months that they are folded into."""

import time
from pathlib import Path

import numpy as np

from liqsignals import records
from liqsignals.clock import SECOND
from liqsignals.data import store
from liqsignals.records import Records

#: A batch is stamped as readable this much after its writing began; where that is too little it is stamped again.
BOUND = SECOND


def write_part(folder: Path, rows: Records) -> None:
    """Publish a batch of a series: `known_at` becomes an instant by which it can be read, where that is later.

    The instant is chosen before the file is written and checked after; a disk that took longer gets it again, later.
    """
    bound = BOUND
    name = time.time_ns()
    # On a coarse clock, or one that stands, two batches may have one instant.
    while (path := folder / "parts" / f"{name}.parquet").exists():
        name += 1
    while True:
        stamp = time.time_ns() + bound
        stamped = rows.copy()
        stamped["known_at"] = np.maximum(rows["known_at"], stamp)
        store.write(path, stamped)
        if time.time_ns() <= stamp:
            return
        bound *= 4


def fold_parts(extras: Path, before: int) -> None:
    """Move parts written before an instant (ns) into the months' files. Readers see every row all the time."""
    for folder in sorted({path.parent.parent for path in extras.glob("*/*/*/parts/*.parquet")}):
        dtype = records.STORED.get(folder.relative_to(extras).parts[0])
        old = [path for path in sorted((folder / "parts").glob("*.parquet")) if int(path.stem) < before]
        if dtype is None:
            continue
        for i in range(0, len(old), 1000):
            group = old[i : i + 1000]
            store.append(folder, np.concatenate([store.read_file(path, dtype) for path in group]))
            for path in group:
                path.unlink()

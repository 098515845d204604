"""All pairs of a data directory, one a worker: on this machine's cores, or on a Dask cluster that shares its files.

A file appears whole or not at all and carries the hash of its inputs, so a run that was stopped, or whose worker was
killed, continues where it was. The bytes do not depend on the number of workers or on who runs them.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from liqsignals.bulk.columns import Job, write
from liqsignals.errors import InputError

#: A pair is tried again on another worker so many times when its worker dies (Dask).
RETRIES = 3


@dataclass(frozen=True)
class Done:
    """A pair's outcome: `rows` written, None where the file stood already; `problem` where it cannot be computed."""

    pair: str
    rows: int | None = None
    problem: str | None = None


def one(job: Job, out: Path, pair: str) -> Done:
    """Write one pair's file; what a user can mend is the outcome's `problem`."""
    try:
        return Done(pair, write(job, out, pair))
    except (InputError, OSError) as error:
        return Done(pair, problem=str(error))


def run(job: Job, out: Path, pairs: Sequence[str], *, jobs: int = 0, scheduler: str | None = None) -> Iterator[Done]:
    """Write the files of all pairs; yields an outcome a pair in the order in which they end.

    `jobs`: processes (0: one a core). `scheduler`: address of a Dask scheduler, whose workers must see the same paths
    and have the same liqsignals. Raises InputError where a worker dies on this machine, or Dask is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    if scheduler is not None:
        yield from _on_dask(job, out, pairs, scheduler)
        return
    count = min(jobs or os.cpu_count() or 1, len(pairs))
    if count <= 1:
        yield from (one(job, out, pair) for pair in pairs)
        return
    # A fresh process knows nothing of this one's threads; its kernels run on one thread, for all cores are busy.
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _single_threaded) as pool:
        waiting = {pool.submit(one, job, out, pair) for pair in pairs}
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process was killed (out of memory?)", "run the same command again, perhaps with fewer --jobs"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _single_threaded() -> None:
    import numba

    numba.set_num_threads(1)


def _on_dask(job: Job, out: Path, pairs: Sequence[str], scheduler: str) -> Iterator[Done]:
    try:
        from distributed import Client
        from distributed import as_completed as completed
    except ImportError as error:
        raise InputError("--scheduler needs Dask", "pip install 'liqsignals[scale]'") from error
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at {scheduler}", "start one with `dask scheduler`") from error
    with client:
        versions = client.run(_version)
        mine = _version()
        other = {address: version for address, version in versions.items() if version != mine}
        if other:
            raise InputError(f"workers have another liqsignals than {mine}: {other}", "install the same one everywhere")
        absolute = Path(out).absolute()
        futures = client.map(_task(job, absolute), list(pairs), retries=RETRIES, pure=False)
        for future in completed(futures):
            yield future.result()


def _version() -> str:
    from liqsignals.errors import __version__

    return __version__


def _task(job: Job, out: Path) -> Callable[[str], Done]:
    from functools import partial

    return partial(one, job, out)

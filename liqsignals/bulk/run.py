"""One file a pair, one pair a worker: on this machine's cores, or on a Dask cluster that shares its files.

What is written is a function's choice (columns.py, validation.py); the functions here run it for all pairs.

A file appears whole or not at all and carries the hash of its inputs, so a run that was stopped, or whose worker was
killed, continues where it was. The bytes do not depend on the number of workers or on who runs them.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial

from liqsignals.errors import InputError
from liqsignals.report.console import progress, say

#: Writes the file of a pair; returns its rows, None where it stands already with the same inputs. Raises InputError for
#: what a user can mend. Other processes get it pickled.
Write = Callable[[str], int | None]

#: A pair is tried again on another worker so many times when its worker dies (Dask).
RETRIES = 3


@dataclass(frozen=True)
class Done:
    """A pair's outcome: `rows` written, None where the file stood already; `problem` where it cannot be computed."""

    pair: str
    rows: int | None = None
    problem: str | None = None


def one(write: Write, pair: str) -> Done:
    """Write one pair's file; what a user can mend is the outcome's `problem`."""
    try:
        return Done(pair, write(pair))
    except (InputError, OSError) as error:
        return Done(pair, problem=str(error))


def run(write: Write, pairs: Sequence[str], *, jobs: int = 0, scheduler: str | None = None) -> Iterator[Done]:
    """Write the files of all pairs; yields an outcome a pair in the order in which they end.

    `jobs`: processes (0: one a core). `scheduler`: address of a Dask scheduler, whose workers must see the same paths
    and have the same liqsignals. Raises InputError where a worker dies on this machine, or Dask is not installed.
    """
    if scheduler is not None:
        yield from _on_dask(write, pairs, scheduler)
        return
    count = min(jobs or os.cpu_count() or 1, len(pairs))
    if count <= 1:
        yield from (one(write, pair) for pair in pairs)
        return
    # A fresh process knows nothing of this one's threads; its kernels run on one thread, for all cores are busy.
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _single_threaded) as pool:
        waiting = {pool.submit(one, write, pair) for pair in pairs}
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


def _on_dask(write: Write, pairs: Sequence[str], scheduler: str) -> Iterator[Done]:
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
        futures = client.map(partial(one, write), list(pairs), retries=RETRIES, pure=False)
        for future in completed(futures):
            yield future.result()


def _version() -> str:
    from liqsignals.errors import __version__

    return __version__


def gathered(outcomes: Iterable[Done], of: int) -> tuple[list[Done], list[Done]]:
    """All outcomes, with progress on standard error: pairs that were written or stood already, and the others, whose
    problems are printed there.
    """
    good, bad = list[Done](), list[Done]()
    with progress("pairs") as show:
        for number, done in enumerate(outcomes, 1):
            (good if done.problem is None else bad).append(done)
            show(number / of)
    for done in bad:
        say(f"liqsignals: {done.pair}: {done.problem}")
    return good, bad


def summary(what: str, unit: str, good: Sequence[Done], bad: Sequence[Done], seconds: float) -> str:
    """One line of what came of it; `unit` is what `rows` are."""
    stood = sum(done.rows is None for done in good)
    already = f", {stood} file{'s'[: stood != 1]} stood already" if stood else ""
    return (
        f"{what}: {len(good)} of {len(good) + len(bad)} pairs, {sum(done.rows or 0 for done in good)} {unit}"
        f"{already}, {seconds:.0f} s"
    )


def check(good: Sequence[Done], bad: Sequence[Done]) -> None:
    """Raise InputError where a pair could not be computed."""
    if bad:
        raise InputError(
            f"{len(bad)} of {len(good) + len(bad)} pairs could not be computed (named above); all others are written",
            "mend them and run the same command again",
        )

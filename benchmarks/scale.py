"""`liqsignals features --all-pairs`: how time and memory grow with pairs and years, and a Dask worker that is killed.

The pairs are seeded random walks in 5m candles (benchmarks/speed.py). CPU seconds are those of all processes.
"""

import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Table, progress, show
from benchmarks.speed import YEAR, write_year
from liqsignals.bulk.columns import Job, writer
from liqsignals.bulk.run import run as run_all

SIZES = ((10, 1), (20, 1), (40, 1), (10, 3))
KILLED_PAIRS = 8


def names(count: int) -> tuple[str, ...]:
    """`count` pairs, BTC first: every other pair reads it."""
    return ("BTC/USDT:USDT", *(f"C{n:02d}/USDT:USDT" for n in range(1, count)))


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def run() -> list[Table]:
    """Two tables."""
    rows = []
    for pairs, years in SIZES:
        progress(f"scale: {pairs} pairs, {years} years ...")
        with tempfile.TemporaryDirectory(prefix="liqsignals-bench-") as made:
            datadir = write_year(Path(made) / "binance", names(pairs), years * YEAR)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            begun = time.perf_counter()
            command = [sys.executable, "-m", "liqsignals", "features", "-d", str(datadir), "--all-pairs", "--float32"]
            subprocess.run([*command, "-o", str(Path(made) / "out")], check=True, stdout=subprocess.DEVNULL)
            wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            size = sum(path.stat().st_size for path in (Path(made) / "out").iterdir()) / 1e6
        # The largest child so far: with more pairs it must not grow.
        rows.append((f"{pairs} pairs x {years} y", wall, cpu, cpu / pairs / years, after.ru_maxrss / 1024, size))
    columns = ("", "wall s", "CPU s", "CPU s a pair and year", "largest process so far, MB", "files, MB")
    return [show(Table(f"features --all-pairs on {os.cpu_count()} cores", columns, rows)), *_killed()]


def _killed() -> list[Table]:
    """A local cluster of two workers, one of them killed in mid-run: the same bytes as without it."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        print("Dask is not installed (pip install '.[scale]'): no killed worker")
        return []
    progress("scale: a killed worker ...")
    with tempfile.TemporaryDirectory(prefix="liqsignals-bench-") as made:
        pairs = names(KILLED_PAIRS)
        datadir = write_year(Path(made) / "binance", pairs, YEAR)
        job = Job(datadir)
        list(run_all(writer(job, Path(made) / "alone"), pairs, jobs=1))
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            first = next(iter(cluster.workers.values()))
            done = []
            for outcome in run_all(writer(job, Path(made) / "dask"), pairs, scheduler=cluster.scheduler_address):
                done.append(outcome)
                if len(done) == 1:
                    with Client(cluster.scheduler_address) as client:
                        process = client.run(os.getpid, workers=[first.worker_address])[first.worker_address]
                    os.kill(process, 9)
        alone, clustered = _hashes(Path(made) / "alone"), _hashes(Path(made) / "dask")
    same = sum(alone[name] == clustered.get(name) for name in alone)
    row = (f"{KILLED_PAIRS} pairs", len(done), sum(d.problem is not None for d in done), same)
    return [
        show(
            Table(
                "Dask, one of two workers killed after the first pair",
                ("", "outcomes", "problems", "files with the same bytes"),
                [row],
            )
        )
    ]

"""Time and memory to load a year of one symbol's daily metrics from a loopback archive into freqtrade's file."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import vendors

from benchmarks.report import Table, progress, show
from liqsignals.clock import MINUTE, iso, parse_time, to_dates

_START = parse_time("2025-07-01T00:00:00Z")
_DAYS = 365
_FIVE = 5 * MINUTE


def _archive(datadir: Path) -> vendors.Vendor:
    """365 zips, and 5m candles with volume consistent with the changes of open interest."""
    rng = np.random.default_rng(1)
    n = _DAYS * 288
    opened = _START + _FIVE * np.arange(n, dtype=np.int64)
    close = 60_000 * np.exp(np.cumsum(rng.normal(0, 0.001, n)))
    volume = rng.lognormal(4, 1, n)
    base = 80_000 + np.cumsum(0.3 * volume * rng.uniform(0.7, 1.3, n) * rng.choice([-1.0, 1.0], n))
    candles = pd.DataFrame(
        {"date": to_dates(opened), "open": close, "high": close, "low": close, "close": close, "volume": volume}
    )
    (datadir / "futures").mkdir(parents=True)
    candles.to_feather(datadir / "futures" / "BTC_USDT_USDT-5m-futures.feather")
    vendor = vendors.Vendor()
    at = opened + _FIVE
    vendors.add_metrics(
        vendor, "BTCUSDT", at, np.round(base, 3), np.round(base * close, 6), flip=parse_time("2026-06-25T00:00:00Z")
    )
    return vendor


def run() -> list[Table]:
    """Wall seconds and peak resident memory of `liqsignals download`: first run, and a run with nothing new."""
    with tempfile.TemporaryDirectory(prefix="liqsignals-bench-") as folder:
        datadir = Path(folder) / "binance"
        progress(f"making {_DAYS} daily zips")
        vendor = _archive(datadir)
        rows = []
        with vendors.serve(vendor) as url:
            command = [
                sys.executable, "-c", _MEASURED, "download", "-d", str(datadir), "-p", "BTC/USDT:USDT",
                "--timerange", f"{iso(_START)[:10].replace('-', '')}-20260701", "--only", "interest",
                "--url", f"binance-archive={url}", "--url", f"binance={url}", "--now", "2026-09-01T00:00:00Z",
            ]  # fmt: skip
            for what in ("first run", "nothing new"):
                progress(what)
                began = time.monotonic()
                done = subprocess.run(command, check=False, capture_output=True, text=True)
                seconds = time.monotonic() - began
                own, children = (int(x) / 1024 for x in done.stderr.rsplit("RSS ", 1)[1].split()[:2])
                rows.append((what, seconds, own, children))
        return [
            show(
                Table(
                    "a year of metrics: 365 daily zips from a loopback archive to freqtrade's file",
                    ("run", "s", "MiB", "MiB, freqtrade's writer"),
                    rows,
                    "Includes Python's start-up. The writer is a separate process that runs after the download.",
                )
            )
        ]


_MEASURED = """
import atexit, resource, sys
def report():
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"RSS {own} {child}", file=sys.stderr)
atexit.register(report)
from liqsignals.cli import main
main()
"""

if __name__ == "__main__":
    run()

"""kill -9 at random instants of `liqsignals download`, and what is on disk then: `python tests/kill_download.py [KILLS]
[SEED]`.

Each round begins with a user's data directory (candles, an open-interest file of his own), is killed four times at
seeded instants, ends undisturbed, and must hold the bytes of a run that was never killed. After every kill each file of
ours is whole: a bot that reads it meanwhile sees the old one or the new one.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import vendors
from conftest import PAIR, START, make_market, ns, write
from vendors import Vendor, klines_path

from liqsignals.clock import DAY, iso

DAYS = 12


def vendor_and_datadir(root: Path) -> tuple[Vendor, Path]:
    """A loopback archive with REST for what it lacks, and the directory that each round starts from."""
    market = make_market(DAYS)
    i, c = market.interest, market.candles
    at = ns(i["date"])
    vendor = Vendor()
    base, usd = i["open_interest_amount"].to_numpy(), i["open_interest_value"].to_numpy()
    early = at <= START + (DAYS - 2) * DAY
    vendors.add_metrics(vendor, "BTCUSDT", at[early], base[early], usd[early], flip=START + 6 * DAY)
    rows = np.column_stack([*(c[n] for n in ("open", "high", "low", "close", "volume")), c["volume"] * 0.4])
    for n in range(DAYS - 2):
        inside = (at > START + n * DAY) & (at <= START + (n + 1) * DAY)
        opened = ns(c["date"])[inside]
        vendor.add(klines_path("BTCUSDT", START + n * DAY), vendors.klines_zip(opened, rows[inside], header=True))
    vendors.add_rest(vendor, at, base, usd, rows)
    datadir = root / "start" / "binance"
    (datadir / "futures").mkdir(parents=True)
    write(datadir, "5m-futures", c)
    write(datadir, "5m-open_interest", i[(at > START + 3 * DAY) & (at <= START + 5 * DAY)].reset_index(drop=True))
    return vendor, datadir


def command(datadir: Path, url: str) -> list[str]:
    names = ("binance-archive", "binance", "bybit", "okx")
    return [
        sys.executable, "-m", "liqsignals", "download", "-d", str(datadir), "-p", PAIR,
        "--timerange", f"{START // 10**9}-{(START + DAYS * DAY) // 10**9}", "--only", "interest extras venues",
        "--exchanges", "bybit", "--now", iso(START + DAYS * DAY + 30 * DAY),
        *[word for name in names for word in ("--url", f"{name}={url}")],
    ]  # fmt: skip


def content(datadir: Path) -> dict[str, str]:
    """Every file's hash; locks are no data."""
    return {
        str(p.relative_to(datadir)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(datadir.rglob("*"))
        if p.is_file() and p.suffix != ".lock"
    }


def check_whole(datadir: Path, vendor: Vendor) -> None:
    """No file under its final name is torn."""
    for path in datadir.rglob("*"):
        hidden = any(part.startswith(".liqsignals-") for part in path.parts) or path.name.startswith(".")
        if hidden or not path.is_file():
            continue
        if path.suffix == ".feather":
            dates = pd.read_feather(path)["date"]
            assert dates.is_monotonic_increasing, path
            assert dates.is_unique, path
        elif path.suffix == ".parquet":
            assert pd.read_parquet(path)["event_time"].is_unique, path
        elif path.suffix == ".zip":
            assert any(path.read_bytes() == vendor.files[name] for name in vendor.files if name.endswith(path.name)), (
                path
            )


def run(
    kills: int, seed: int, root: Path, per_round: int = 4, tell: Callable[[str], None] = lambda text: None
) -> tuple[int, int]:
    """Kill so often (`tell` hears how far it is); (kills that hit a running process, rounds). Raises AssertionError
    where bytes differ.
    """
    rng = random.Random(seed)
    vendor, first = vendor_and_datadir(root)
    hit = rounds = 0
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with vendors.serve(vendor) as url:
        wanted = root / "wanted" / "binance"
        shutil.copytree(first, wanted)
        began = time.monotonic()
        subprocess.run(command(wanted, url), check=True, **quiet)  # type: ignore[call-overload]
        length = time.monotonic() - began
        target = content(wanted)
        assert len(target) > 25
        while hit < kills:
            rounds += 1
            datadir = root / f"round{rounds}" / "binance"
            shutil.copytree(first, datadir)
            for _ in range(per_round):
                process = subprocess.Popen(command(datadir, url), start_new_session=True, **quiet)  # type: ignore[call-overload]
                # Most of a run is the start of Python: instants are drawn over its second half, too, so that they hit
                # the work.
                at = rng.uniform(0, length) if rng.random() < 0.3 else rng.uniform(0.35 * length, length)
                whole_group = rng.random() < 0.5
                try:
                    process.wait(at)
                except subprocess.TimeoutExpired:
                    hit += 1
                    if whole_group:
                        os.killpg(process.pid, signal.SIGKILL)
                    else:
                        process.kill()
                    process.wait()
                check_whole(datadir, vendor)
                if hit >= kills:
                    break
            began = time.monotonic()
            done = subprocess.run(command(datadir, url), check=False, capture_output=True, text=True)
            # A machine that was busy at first would draw instants after the end.
            length = (length + time.monotonic() - began) / 2
            assert done.returncode == 0, done.stderr[-2000:]
            got = content(datadir)
            assert got == target, sorted(k for k in got.keys() | target.keys() if got.get(k) != target.get(k))
            shutil.rmtree(datadir.parent)
            tell(f"{hit} kills in {rounds} rounds")
    return hit, rounds


def main(argv: Sequence[str]) -> None:
    kills, seed = int(argv[0]) if argv else 200, int(argv[1]) if len(argv) > 1 else 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="liqsignals-kill-") as folder:
        hit, rounds = run(kills, seed, Path(folder), tell=lambda text: print(text, file=sys.stderr, flush=True))
    print(
        f"download: {hit} kills in {rounds} rounds, seed {seed}: same bytes every time ({time.monotonic() - began:.0f} s)"
    )


if __name__ == "__main__":
    main(sys.argv[1:])

"""`python -m benchmarks.viewers [--hours 24] [--viewers 20]`: memory of the live page's server (Linux).

A process of its own serves the live page of a SIMULATED market. Candle by candle the data directory's files are
rewritten, as a recorder does, and the server's clock goes on; viewers, shared among the pairs, hold their event streams
and fetch every new picture. Printed is the server's resident memory, each time when all viewers have the newest candle.

It is the server of `liqsignals serve` but for its pauses: it looks at the disk without waiting two seconds, and
examines the inputs for the lamps once a candle, not once a minute.
"""

import argparse
import asyncio
import json
import multiprocessing
import re
import tempfile
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import aiohttp
import pandas as pd
from aiohttp import web

from liqsignals.clock import HOUR, MINUTE
from liqsignals.liqmap import calibration
from liqsignals.replay.session import as_of
from liqsignals.serve import board as boards
from liqsignals.serve.app import application
from liqsignals.simulation.market import write_market

PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
CANDLE = 5 * MINUTE
#: After a candle's close, when its open interest is there, too.
_SETTLED = 5 * 10**9
#: Seconds of this machine that all viewers may wait for a picture.
_PATIENCE = 900.0


def serve(datadir: Path, pairs: tuple[str, ...], now: "Synchronized[int]", port: "multiprocessing.Queue[int]") -> None:
    """The server's process: `now` is its clock (ns), its port goes into the queue."""
    boards.LOOK_S = 0.05
    board = boards.Board(
        datadir, datadir / "liqsignals", "binance", pairs, calibration.choose(None), now=lambda: now.value
    )

    async def run() -> None:
        runner = web.AppRunner(application(board, title="SIMULATED "), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


class Viewer:
    """A page that is open: it takes events, and every new picture of its pair."""

    def __init__(self, session: aiohttp.ClientSession, port: int, pair: str) -> None:
        self.session, self.url, self.pair = session, f"http://127.0.0.1:{port}", pair
        self.at = ""
        self.pictures = self.bytes = 0

    async def watch(self) -> None:
        async with self.session.get(f"{self.url}/events", params={"pair": self.pair}) as stream:
            async for line in stream.content:
                if not line.startswith(b"data:"):
                    continue
                at = json.loads(line[5:])["pairs"][self.pair]["at"]
                if at is not None and at != self.at:
                    async with self.session.get(f"{self.url}/picture", params={"pair": self.pair}) as answer:
                        answer.raise_for_status()
                        self.bytes += len(await answer.read())
                    self.pictures, self.at = self.pictures + 1, at

    async def has(self, at: str) -> None:
        while self.at < at:
            await asyncio.sleep(0.02)


def resident(pid: int) -> float:
    """MiB of a process in memory."""
    told = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert told is not None
    return int(told[1]) / 1024


async def measure(full: Path, out: Path, pairs: tuple[str, ...], hours: int, viewers: int) -> None:
    candles = pd.read_feather(full / "futures" / "BTC_USDT_USDT-5m-futures.feather", columns=["date"])
    last = int(candles["date"].iloc[-1].value)
    begin = last - hours * HOUR
    datadir = as_of(full, begin, out)
    context = multiprocessing.get_context("spawn")
    now, port = context.Value("q", begin + _SETTLED), context.Queue()
    server = context.Process(target=serve, args=(datadir, pairs, now, port), daemon=True)
    server.start()
    assert server.pid is not None
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        number = port.get(timeout=60)
        print(f"nobody looks yet: {resident(server.pid):.0f} MiB", flush=True)
        watching = [Viewer(session, number, pairs[i % len(pairs)]) for i in range(viewers)]
        tasks = [asyncio.create_task(viewer.watch()) for viewer in watching]
        began, peak = time.monotonic(), 0.0
        for step in range(hours * HOUR // CANDLE + 1):
            at = begin + step * CANDLE
            if step:
                await asyncio.to_thread(as_of, full, at, out)
                now.value = at + _SETTLED
            name = pd.Timestamp(at, tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
            arrived = asyncio.gather(*(viewer.has(name) for viewer in watching))
            failed = asyncio.ensure_future(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))
            done, _ = await asyncio.wait((arrived, failed), timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if arrived not in done:
                raise SystemExit(f"no picture of {name}: {[task.exception() for task in tasks if task.done()]}")
            failed.cancel()
            peak = max(peak, size := resident(server.pid))
            if step * CANDLE % HOUR == 0:
                print(f"after {step * CANDLE // HOUR:2d} h: {size:.0f} MiB", flush=True)
        seen = sum(viewer.pictures for viewer in watching), sum(viewer.bytes for viewer in watching)
        print(
            f"{viewers} viewers, {seen[0]} pictures of {seen[1] / seen[0] / 1e3:.0f} kB; at most {peak:.0f} MiB at a candle; "
            f"{hours} market hours in {time.monotonic() - began:.0f} s"
        )
        for task in tasks:
            task.cancel()
    server.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--days", type=int, default=25, help="length of the SIMULATED market")
    parser.add_argument("--pairs", type=int, choices=(1, 2), default=1)
    options = parser.parse_args()
    chosen = PAIRS[: options.pairs]
    with tempfile.TemporaryDirectory(prefix="liqsignals-") as folder:
        market = write_market(Path(folder) / "market", seed=5, days=options.days, pairs=chosen)
        asyncio.run(measure(market / "binance", Path(folder) / "data", chosen, options.hours, options.viewers))

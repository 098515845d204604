"""`python -m benchmarks.recorder [seconds]`: sustained message rate of the recorder, raw and published.

A separate process sends prints as fast as they are received; every message is logged raw, parsed and published on the
recorder's default schedule. Printed: messages per second over the whole run (publication of the last one included), the
longest time between two flushes (the most that a kill can lose), and the recorder's memory.
"""

import asyncio
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve

from liqsignals import records
from liqsignals.collect import feeds
from liqsignals.collect.recorder import Recorder
from liqsignals.data import rawlog, store

PAIR = "BTC/USDT:USDT"


def send(port: "multiprocessing.Queue[int]", seconds: float, rate: float | None) -> None:
    """Serve one connection: prints for `seconds`, at full speed or `rate` per second, then close."""

    async def handler(socket: ServerConnection) -> None:
        began, n = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            at = time.time_ns() // 10**6
            order = {
                "s": "BTCUSDT",
                "S": "SELL",
                "o": "LIMIT",
                "f": "IOC",
                "q": "0.014",
                "p": "9910",
                "ap": f"{60_000 + n % 1000}.5",
                "X": "FILLED",
                "l": "0.014",
                "z": f"{1 + n // 1000 % 100_000}",
                "T": at,
            }
            await socket.send(json.dumps({"e": "forceOrder", "E": at, "o": order, "st": 1}))
            n += 1
            if rate is not None and n / rate > time.monotonic() - began:
                await asyncio.sleep(n / rate - (time.monotonic() - began))
        await socket.send(json.dumps({"result": n}))
        await socket.wait_closed()

    async def main() -> None:
        async with serve(handler, "127.0.0.1", 0, ping_interval=None) as server:
            port.put(server.sockets[0].getsockname()[1])
            await server.serve_forever()

    asyncio.run(main())


async def measure(extras: Path, port: int) -> dict[str, float]:
    (stream,) = feeds.liquidation_streams([PAIR], ["binance"], {"binance-stream": f"ws://127.0.0.1:{port}"})
    recorder = Recorder(extras, [stream])
    longest, last = 0.0, time.monotonic()
    flush, take = recorder.flush, recorder.take
    ended = asyncio.Event()

    def timed() -> bool:
        nonlocal longest, last
        ok = flush()
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        return ok

    def watched(provider: str, channel: str, received_at: int, raw: bytes) -> None:
        take(provider, channel, received_at, raw)
        if raw.startswith(b'{"result'):
            ended.set()

    recorder.flush, recorder.take = timed, watched  # type: ignore[method-assign]
    began = time.monotonic()
    task = asyncio.create_task(recorder.run())
    await ended.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    spent = time.monotonic() - began
    return {
        "messages": recorder.taken - 1,
        "seconds": spent,
        "a second": (recorder.taken - 1) / spent,
        "longest flush gap s": longest,
        "memory MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run(seconds: float, rate: float | None = None) -> dict[str, float]:
    """Record `seconds` of prints, check that every message is on disk and readable, and return the figures."""
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    sender = multiprocessing.Process(target=send, args=(port, seconds, rate), daemon=True)
    sender.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            extras = Path(folder)
            found = asyncio.run(measure(extras, port.get()))
            kept = sum(1 for p in rawlog.files(extras / "raw" / "binance", "liquidations") for _ in rawlog.read(p)) - 1
            rows = store.read(store.series_dir(extras, "liquidation", "binance", PAIR, "events"), records.LIQUIDATION)
            assert kept == len(rows) == found["messages"], (kept, len(rows), found)
            size = sum(p.stat().st_size for p in (extras / "raw").rglob("*.gz"))
            found["raw bytes a message"] = size / kept
            return found
    finally:
        sender.kill()


if __name__ == "__main__":
    length = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    for name, rate in (("full speed", None), ("5,000 a second", 5000.0)):
        figures = run(length, rate)
        print(f"{name}: " + ", ".join(f"{key} {value:,.2f}" for key, value in figures.items()), flush=True)

"""kill -9 of a recorder at random instants (seeded): `make kill`; a few of them in test_record_kill.py.

A server sends numbered prints without pause; recorders are started on one folder and killed, one after the other, at
instants that fall into start, recovery, capture and publication alike. After each kill: no raw file is torn but at its
end, every parquet file can be read, and each print that was sent a second before the kill is on disk. In the end one
recorder runs and stops as told: what is published is what is in the raw files, each once.
"""

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import feed
import numpy as np
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from liqsignals.data import rawlog

RUN = """
import sys
from pathlib import Path
from liqsignals.collect.recorder import Rhythm, record
from liqsignals.collect import feeds
record(Path(sys.argv[1]), ["BTC/USDT:USDT"], ["binance"], feeds.URLS | {"binance-stream": sys.argv[2]},
       rhythm=Rhythm(publish=0.3, ping=0.2, backoff=0.05), poll=False, log=lambda text: print(text, flush=True))
"""


@dataclass
class Sender:
    """Sends numbered prints to whoever is connected, from a thread of its own."""

    url: str = ""
    #: Number and instant (monotonic) of every print that was handed to a connection.
    sent: list[tuple[int, float]] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)

    async def _send(self, socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                n = len(self.sent)
                await socket.send(feed.binance(time.time_ns() // 10**6, n))
                self.sent.append((n + 1, time.monotonic()))
                await asyncio.sleep(0.001)

    def run(self) -> None:
        async def main() -> None:
            async with feed.websocket(self._send) as self.url:
                self.ready.set()
                await asyncio.to_thread(self.stop.wait)

        asyncio.run(main())


def raw_numbers(extras: Path) -> list[int]:
    import json

    found = []
    for path in rawlog.files(extras / "raw" / "binance", "liquidations"):
        found += [round(float(json.loads(raw)["o"]["z"]) * 1000) for _, raw in rawlog.read(path)]
    return found


def kill_many(extras: Path, kills: int, seed: int, tell=lambda text: None) -> dict[str, float]:
    """Start and kill recorders; raises AssertionError where something is lost, torn or twice. Returns what was
    measured.
    """
    rng = random.Random(seed)
    sender = Sender()
    thread = threading.Thread(target=sender.run)
    thread.start()
    sender.ready.wait()
    worst, in_capture = 0.0, 0
    try:
        for n in range(kills):
            before = len(sender.sent)
            process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(extras), sender.url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            try:
                # Half of the kills fall anywhere, the other half while it records.
                if n % 2:
                    while len(sender.sent) == before and process.poll() is None:
                        threading.Event().wait(0.01)
                threading.Event().wait(rng.uniform(0.0, 1.6))
            finally:
                process.kill()
            killed = time.monotonic()
            said, _ = process.communicate()
            assert process.returncode == -signal.SIGKILL, said.decode()
            kept = set(raw_numbers(extras))
            mine = [(number, at) for number, at in sender.sent[before:] if at <= killed]
            in_capture += bool(mine)
            lost = [at for number, at in mine if number not in kept]
            worst = max([worst, *[killed - at for at in lost]])
            assert worst <= 1.0, f"kill {n}: lost {worst:.2f} s of the stream"
            feed.prints(extras)
            tell(f"kill {n + 1} of {kills}: {len(kept)} prints kept, at most {worst:.3f} s lost before a kill")
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(extras), sender.url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        before = len(sender.sent)
        while len(sender.sent) < before + 100 and process.poll() is None:
            threading.Event().wait(0.01)
        process.terminate()
        said, _ = process.communicate()
        assert process.returncode == 0, said.decode()
    finally:
        sender.stop.set()
        thread.join()
    raw = raw_numbers(extras)
    rows = feed.prints(extras)
    published = np.round(rows["base"] * 1000).astype(int).tolist()
    assert len(set(raw)) == len(raw), "a raw line stands twice"
    assert sorted(published) == sorted(raw), "published is not what is raw"
    assert (rows["known_at"] > rows["event_time"]).all()
    assert not list(extras.rglob("*.tmp")), "a temporary file was left"
    return {
        "kills": kills,
        "in capture": in_capture,
        "prints": len(raw),
        "sent": len(sender.sent),
        "worst loss s": worst,
    }


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        print(kill_many(Path(folder), int(sys.argv[1]), int(sys.argv[2]), lambda text: print(text, flush=True)))
        print(f"{time.monotonic() - started:.0f} s")

"""Who waits for whom: the market clock moves by itself only while the bot waits for it, however busy the machine is.

A process that lacks a core looks idle by this machine's clock. What tells the two apart is what the kernel counts: the
time in which its threads ran or waited for a core. And a bot that sleeps may wait for the exchange, which works in a
thread of the driver and may lack a core as well.
"""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

#: Share of the time in which a process that waits may run all the same: its event loops look at the time now and then.
_STIR = 0.2
#: Turns of the exchange's event loop after which a request that had arrived is with its handler: accept, read, start.
_TURNS = 6


@dataclass
class Traffic:
    """Requests to the loopback exchange, websockets left out."""

    #: Instants (ms) of the market clock until which delayed answers wait.
    waiting: list[int] = field(default_factory=list)
    #: Requests so far, and those of them that are being answered.
    asked: int = 0
    open: int = 0
    _loop: asyncio.AbstractEventLoop | None = None

    def watch(self, app: web.Application) -> None:
        """Count an application's requests."""

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            if "Upgrade" in request.headers:
                return await handler(request)
            self.asked, self.open = self.asked + 1, self.open + 1
            try:
                return await handler(request)
            finally:
                self.open -= 1

        async def started(app: web.Application) -> None:
            self._loop = asyncio.get_running_loop()

        app.middlewares.insert(0, count)
        app.on_startup.append(started)

    def quiet(self) -> bool:
        """Whether no request is being answered but those that wait for the market clock. Requests that have arrived and
        are not read yet are read first."""

        async def turn() -> bool:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            return self.open == len(self.waiting)

        return self._loop is None or asyncio.run_coroutine_threadsafe(turn(), self._loop).result()


class Idle:
    """Since when a process waits: it hardly ran, wanted no core, and asked the exchange nothing (Linux: /proc)."""

    def __init__(self, pid: int, traffic: Traffic) -> None:
        self._pid = pid
        self._traffic = traffic
        #: CPU time of its threads at the last look, s.
        self.ran = 0.0
        self.restart()

    def restart(self) -> None:
        self._since, self._asked = time.monotonic(), self._traffic.asked
        self._busy, _ = self._look()

    def lasts(self, seconds: float) -> bool:
        """Whether it has waited for so long (by this machine's clock); where it has not, the count begins anew."""
        span = time.monotonic() - self._since
        if span < seconds:
            return False
        busy, working = self._look()
        if (
            working
            or busy - self._busy > _STIR * span * 1e9
            or not self._traffic.quiet()
            or self._traffic.asked != self._asked
        ):
            self.restart()
            return False
        return True

    def _look(self) -> tuple[int, bool]:
        """Time (ns) in which the threads ran or waited for a core, and whether one of them does now, or waits for a
        disk.
        """
        ran, wanted, working = 0, 0, False
        for task in _threads(self._pid):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                counts = (task / "schedstat").read_text().split()
                ran, wanted = ran + int(counts[0]), wanted + int(counts[1])
                # A wait that has not ended yet is in no count.
                working |= (task / "stat").read_text().rpartition(")")[2].split()[0] in "RD"
        self.ran = ran / 1e9
        return ran + wanted, working


def used(pid: int) -> float:
    """CPU time of a process's threads, s."""
    ran = 0
    for task in _threads(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            ran += int((task / "schedstat").read_text().split()[0])
    return ran / 1e9


def _threads(pid: int) -> Iterable[Path]:
    """Folders of a process's threads, none of one that has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []

"""Whether a process waits must not depend on how busy the machine is."""

import asyncio
import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
from aiohttp import web

from liqsignals.exchange.serving import served
from liqsignals.replay.idle import Idle, Traffic, used

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

#: asyncio.sleep under a stopped clock: the loop looks at the time again and again.
SLEEPS = "import select\nprint(flush=True)\nwhile True: select.select([], [], [], 0.05)"
WORKS = "print(flush=True)\nwhile True: pass"
#: The thread that works is not the main one.
THREAD = "import threading\nprint(flush=True)\nthreading.Thread(target=lambda: exec('while True: pass')).start()"
LOOKS = 20


@contextmanager
def running(program: str) -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def looks(idle: Idle) -> list[bool]:
    out = []
    for _ in range(LOOKS):
        time.sleep(0.03)
        out.append(idle.lasts(0.02))
    return out


def test_a_process_that_sleeps_waits() -> None:
    with running(SLEEPS) as pid:
        idle = Idle(pid, Traffic())
        while not idle.lasts(0.2):
            time.sleep(0.01)


@pytest.mark.parametrize("program", [WORKS, THREAD], ids=["main thread", "another thread"])
def test_a_process_that_works_does_not(program: str) -> None:
    with running(program) as pid:
        before = used(pid)
        assert not any(looks(Idle(pid, Traffic())))
        assert used(pid) > before


def test_nor_does_one_that_hardly_gets_a_core() -> None:
    """By CPU time it is as idle as one that sleeps."""
    core = {min(os.sched_getaffinity(0))}
    with running(WORKS) as starved, running(WORKS) as rival:
        for pid in (starved, rival):
            os.sched_setaffinity(pid, core)
        os.sched_setscheduler(starved, os.SCHED_IDLE, os.sched_param(0))
        idle, before, begun = Idle(starved, Traffic()), used(starved), time.monotonic()
        assert not any(looks(idle))
        assert used(starved) - before < 0.2 * (time.monotonic() - begun)


def test_nor_does_one_whose_request_is_not_answered_yet() -> None:
    traffic, answer = Traffic(), threading.Event()

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/blocks":  # the exchange lacks a core
            time.sleep(0.3)
        while request.path == "/waits" and not answer.is_set():
            await asyncio.sleep(0.005)
        return web.Response()

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    traffic.watch(app)
    with served(app, "traffic", 1.0) as port, ExitStack() as stack:

        def ask(path: str) -> http.client.HTTPConnection:
            connection = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port)))
            connection.request("GET", path)
            return connection

        assert traffic.quiet()
        blocking = ask("/blocks")
        while not traffic.open:
            time.sleep(0.001)
        asked = ask("/waits")  # it has arrived, and is not read
        assert (traffic.asked, traffic.quiet(), traffic.asked, traffic.open) == (1, False, 2, 1)
        traffic.waiting.append(0)  # it is one that waits for the market clock
        assert traffic.quiet()
        answer.set()
        for connection in (blocking, asked):
            assert connection.getresponse().status == 200
        while traffic.open:
            time.sleep(0.001)
        traffic.waiting.clear()
        with running(SLEEPS) as pid:
            idle = Idle(pid, traffic)
            time.sleep(0.3)
            ask("/").getresponse().read()
            assert not idle.lasts(0.2)
            while not idle.lasts(0.2):
                time.sleep(0.01)

"""Runs a loopback server on a free port of 127.0.0.1, in a thread that stops at the end of a `with` block."""

import asyncio
import ipaddress
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from aiohttp import web


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine's alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def served(app: web.Application, name: str, shutdown_s: float, port: int = 0) -> Iterator[int]:
    """Serve an application on `port` (0: a free one), which is yielded; open requests have `shutdown_s` to finish."""
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        stop = asyncio.Event()
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=shutdown_s)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            started.set_result((runner.addresses[0][1], asyncio.get_running_loop(), stop))
            await stop.wait()
        finally:
            await runner.cleanup()

    def thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    # A daemon thread does not keep the process alive if the main thread dies.
    server = threading.Thread(target=thread, name=name, daemon=True)
    server.start()
    bound, loop, stop = started.result()
    try:
        yield bound
    finally:
        loop.call_soon_threadsafe(stop.set)
        server.join()

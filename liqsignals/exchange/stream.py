"""The forced-order websocket on the market clock: `/market/ws/!forceOrder@arr` and `/market/ws/<symbol>@forceOrder`.

Any other stream connects and sends nothing, as at Binance. Events before the client connected are not sent.
"""

import asyncio
import contextlib
from collections.abc import Callable

import numpy as np
from aiohttp import web

from liqsignals.exchange.extras import Extras, forced_order

#: Wall-clock seconds between polls of the market clock, which may be stepped or run at any rate.
_POLL = 0.02


def add_to(app: web.Application, extras: Extras, now_ms: Callable[[], int]) -> None:
    """Serve the streams from the extras' prints."""
    connected: set[web.WebSocketResponse] = set()

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        since = now_ms()
        try:
            await socket.prepare(request)
        except ConnectionError:  # the client was killed meanwhile
            return socket
        connected.add(socket)
        sender = asyncio.create_task(_send(socket, extras, request.match_info["stream"], since, now_ms))
        try:
            # Reading answers pings, and ends when the client disconnects.
            async for _ in socket:
                pass
        finally:
            connected.discard(socket)
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sender
        return socket

    async def close(_: web.Application) -> None:
        for socket in tuple(connected):
            await socket.close(code=1001)

    app.on_shutdown.append(close)
    app.router.add_get("/market/ws/{stream}", handle)


async def _send(
    socket: web.WebSocketResponse, extras: Extras, stream: str, since: int, now_ms: Callable[[], int]
) -> None:
    """Send every print after `since` (ms) when it is due."""
    prints = extras.prints()
    of, _, kind = stream.partition("@")
    wanted = {"!forceOrder": set(prints.symbol)}.get(of, {of.upper()} if kind == "forceOrder" else set())
    sent = int(np.searchsorted(prints.sent_ms, since, side="right"))
    while True:
        due = int(np.searchsorted(prints.sent_ms, now_ms(), side="right"))
        for number in range(sent, due):
            if prints.symbol[number] in wanted:
                await socket.send_str(forced_order(prints.symbol[number], prints.rows[number]))
        sent = max(sent, due)
        await asyncio.sleep(_POLL)

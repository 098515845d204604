"""The HTTP side of the live page: read-only, one page, no third party; server-sent events carry what changed.

    GET /                    the page
    GET /picture?pair=P      the newest picture of a pair, JSON, gzipped
    GET /events?pair=P       text/event-stream: `state` at every change (Board.state), a comment every 15 s
    GET /heatmap.js, ...     its assets

Bound to loopback it answers only requests that name a loopback host (a web site cannot reach it through its own name:
DNS rebinding). Bound elsewhere it wants a token, once as `/?token=...`, which becomes a cookie, or as a bearer token.
"""

import asyncio
import hmac
import html
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from importlib.resources import files as package_files

from aiohttp import web

from liqsignals.errors import InputError
from liqsignals.exchange.serving import is_loopback
from liqsignals.report import heatmap_html
from liqsignals.serve.board import Board

#: Seconds between signs of life of an event stream.
HEARTBEAT_S = 15.0
MOST_VIEWERS = 100
COOKIE = "liqsignals"
LEAST_TOKEN = 16
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TYPES = {"js": "text/javascript", "css": "text/css"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(board: Board, host: str = "127.0.0.1", token: str | None = None, title: str = "") -> web.Application:
    """The application that shows `board`. Raises InputError where it is bound beyond loopback without a good token."""
    if token is not None and len(token) < LEAST_TOKEN:
        raise InputError(f"the token has {len(token)} characters", f"use at least {LEAST_TOKEN}, random ones")
    if token is None and not is_loopback(host):
        raise InputError(
            f"serve on {host} can be reached from other machines",
            "set LIQSIGNALS_SERVE_TOKEN to a random token, or leave --host away",
        )

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            answer = await _allowed(request, handler)
        except web.HTTPException as refusal:
            refusal.headers.update(_HEADERS)
            raise
        if not answer.prepared:
            answer.headers.update(_HEADERS)
        return answer

    async def _allowed(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_loopback(host) and not is_loopback(_host_of(request)):
            raise web.HTTPForbidden(text="This page is for this machine alone.")
        if token is not None:
            given = request.query.get("token")
            if given is not None and hmac.compare_digest(given.encode(), token.encode()):
                away = web.HTTPFound(request.path)
                away.set_cookie(COOKIE, token, httponly=True, samesite="Strict", secure=request.secure)
                raise away
            bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
            held = request.cookies.get(COOKIE, "") or bearer
            if not hmac.compare_digest(held.encode(), token.encode()):
                raise web.HTTPUnauthorized(text="Open the page with ?token=... once; liqsignals serve has the token.")
        return await handler(request)

    def pair_of(request: web.Request) -> str:
        pair = request.query.get("pair", "")
        if pair not in board.watched:
            raise web.HTTPNotFound(text="no such pair")
        return pair

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=page(board, title), content_type="text/html")

    async def picture(request: web.Request) -> web.Response:
        pair = pair_of(request)
        shot = await board.shot(pair)
        if shot is None:
            raise web.HTTPServiceUnavailable(text=board.watched[pair].error or "no picture yet")
        return web.Response(body=shot.body, content_type="application/json", headers={"Content-Encoding": "gzip"})

    async def events(request: web.Request) -> web.StreamResponse:
        watched = board.watched[pair_of(request)]
        if sum(w.viewers for w in board.watched.values()) >= MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text="too many viewers")
        answer = web.StreamResponse(
            headers={**_HEADERS, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        )
        await answer.prepare(request)
        watched.viewers += 1
        try:
            seen = -1
            while True:
                version = board.version
                if version != seen:
                    seen = version
                    await answer.write(f"event: state\ndata: {json.dumps(board.state())}\n\n".encode())
                else:
                    await answer.write(b": alive\n\n")
                await board.changed(seen, HEARTBEAT_S)
        except ConnectionResetError:
            return answer  # the viewer is gone
        finally:
            watched.viewers -= 1

    def asset(name: str) -> Handler:
        async def send(request: web.Request) -> web.Response:
            return web.Response(text=assets[name], content_type=_TYPES[name.rpartition(".")[2]])

        return send

    assets = {name: heatmap_html.asset(name) for name in ("heatmap.js", "heatmap.css")}
    assets |= {
        name: (package_files("liqsignals.serve") / name).read_text(encoding="utf-8") for name in ("live.js", "live.css")
    }
    app = web.Application(middlewares=[guarded])
    app.router.add_get("/", index)
    app.router.add_get("/picture", picture)
    app.router.add_get("/events", events)
    for name in assets:
        app.router.add_get(f"/{name}", asset(name))
    app.cleanup_ctx.append(_running(board))
    return app


def _host_of(request: web.Request) -> str:
    host = request.host
    return host[1 : host.index("]")] if host.startswith("[") and "]" in host else host.partition(":")[0]


def _running(board: Board) -> Callable[[web.Application], AsyncIterator[None]]:
    async def keep(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(board.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        board.close()

    return keep


def page(board: Board, title: str) -> str:
    """The page without data: live.js fetches it."""
    names = (html.escape(pair) for pair in board.pairs)
    options = "".join(f'<option value="{name}">{name}</option>' for name in names)
    mark = '<span class="simulated">SIMULATED</span> ' if title else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>liqsignals: live liquidation map</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/heatmap.css">
<link rel="stylesheet" href="/live.css">
<script src="/heatmap.js" defer></script>
<script src="/live.js" defer></script>
</head>
<body>
<main>
<div class="top"><h1>{mark}Liquidation map</h1>
<label>Pair <select id="pair">{options}</select></label>
<p id="connection" role="status">connecting</p><a id="health" href="#inputs"></a></div>
<p id="problem" role="alert" hidden></p>
<div id="headline"></div>
{heatmap_html.CONTROLS}
<section aria-labelledby="inputs"><h2 id="inputs">Inputs</h2><ul id="lamps"></ul></section>
<section aria-labelledby="trading"><h2 id="trading">Open trades</h2><div id="trades"></div></section>
<div id="clusters"></div>
<div id="how"></div>
</main>
</body>
</html>
"""

"""A recorder's streams: connected, and connected again for as long as it takes.

No print is not no liquidation: a stream is *covered* only while it is demonstrably alive (it answers pings, or sends).
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from liqsignals.clock import SECOND
from liqsignals.collect import capture
from liqsignals.collect.capture import Capture
from liqsignals.collect.feeds import Feed
from liqsignals.sources import Refusal

#: A connection that held so long, s, was a good one: the next begins after the first wait again.
STEADY = 5.0


@dataclass(frozen=True)
class Rhythm:
    """Times in seconds. Tests make them short."""

    flush: float = 0.25
    publish: float = 5.0
    ping: float = 5.0
    #: Without any sign of life for so long, a connection is given up.
    silence: float = 15.0
    #: First wait before connecting again; it doubles up to `longest`, each time x 0.5 .. 1.5.
    backoff: float = 1.0
    longest: float = 60.0
    #: How often totals are logged.
    report: float = 600.0


class _Lost(Exception):
    """A connection ended; the message says why."""


@dataclass
class _Life:
    """Signs of life of one connection, ns."""

    opened: int
    until: int
    message: int
    why: str = ""
    #: Symbols that the venue does not subscribe to.
    refused: set[str] = field(default_factory=set)


@dataclass
class Listener:
    """One stream. `publish` is awaited when more waits than WAITING."""

    stream: Feed
    rhythm: Rhythm
    capture: Capture
    publish: Callable[[], Awaitable[None]]

    async def run(self) -> None:
        """Be connected until cancelled."""
        failures, lost_at = 0, 0.0
        stream, notices = self.stream, self.capture.notices
        what = f"{stream.provider} {stream.channel}"
        while True:
            began, open_socket = time.monotonic(), None
            try:
                async with connect(
                    stream.url, ping_interval=None, open_timeout=15, close_timeout=1, max_size=4 << 20, max_queue=256
                ) as socket:
                    open_socket = socket
                    for hello in stream.hello:
                        await socket.send(hello)
                    if lost_at:
                        gone = time.monotonic() - lost_at
                        notices.log(f"{what}: connected again; what was liquidated in {gone:.1f} s is not known")
                    await self._session(socket)
            except (OSError, TimeoutError, WebSocketException, _Lost) as error:
                why = str(error) or type(error).__name__
            finally:
                # Cancelled while it closes, a connection would stay open for as long as the process lives.
                if open_socket is not None:
                    open_socket.transport.abort()
            if time.monotonic() - began > min(STEADY, self.rhythm.longest):
                failures = 0
            lost_at = lost_at or time.monotonic()
            wait = min(self.rhythm.backoff * 2**failures, self.rhythm.longest) * random.uniform(0.5, 1.5)
            failures = min(failures + 1, 16)
            notices.limited(f"lost {what}", f"{what}: the connection is lost ({why}); again in {wait:.1f} s", every=1.0)
            await asyncio.sleep(wait)

    async def _session(self, socket: ClientConnection) -> None:
        stream = self.stream
        now = time.time_ns()
        life = _Life(now, now, now)
        pinger = asyncio.create_task(self._ping(socket, life))
        try:
            async for message in socket:
                received_at = time.time_ns()
                raw = message.encode() if isinstance(message, str) else message
                life.until = life.message = received_at
                self.capture.take(stream.provider, stream.channel, received_at, raw)
                refusal = stream.refusal(raw)
                if refusal is not None:
                    self._refused(refusal, life)
                if self.capture.count >= capture.WAITING:
                    await self.publish()
            raise _Lost(life.why or f"closed by the server, code {socket.close_code}")
        except WebSocketException as error:
            raise _Lost(life.why or str(error)) from error
        finally:
            pinger.cancel()
            self._sign("lost", life, why=life.why)

    def _refused(self, refusal: Refusal, life: _Life) -> None:
        """Go on without the symbols that are refused; give the connection up where nothing else is known to be left."""
        stream = self.stream
        asked = set(refusal.symbols) & set(stream.pairs)
        life.refused |= asked
        if not asked or life.refused >= set(stream.pairs):
            # An unnamed refusal may be of everything.
            life.until = life.opened
            raise _Lost(f"it refuses the subscription: {refusal.reason}")
        names = ", ".join(f"{name} ({stream.pairs[name]})" for name in sorted(asked))
        self.capture.notices.limited(
            f"refused {stream.provider} {names}",
            f"{stream.provider} {stream.channel}: it refuses {names}: {refusal.reason}. Not recorded there; the other"
            " pairs are. Way out: if it is listed under another name, freqtrade's pair of that name",
            every=3600.0,
        )

    def _sign(self, event: str, life: _Life, **more: str) -> None:
        """Keep a sign of life; what is refused is not covered by it."""
        if life.refused:
            more["refused"] = " ".join(sorted(life.refused))
        self.capture.sign(self.stream, event, since=life.opened, until=life.until, **more)

    async def _ping(self, socket: ClientConnection, life: _Life) -> None:
        """Send pings; close a connection that does not answer, or that lost its subscription."""
        stream = self.stream
        opened, spoke = False, 0.0
        while True:
            sent = time.time_ns()
            try:
                if stream.keepalive and time.monotonic() - spoke >= 15.0:
                    spoke = time.monotonic()
                    await socket.send(stream.keepalive)
                await asyncio.wait_for(await socket.ping(), self.rhythm.silence)
                life.until = max(life.until, sent)
            except TimeoutError:
                if life.until < sent:
                    life.why = f"no sign of life for {self.rhythm.silence:g} s"
            except WebSocketException:
                return
            if time.time_ns() - life.message > stream.quiet * SECOND:
                # Pings are answered, but no message came: the time since the last message is not covered.
                life.why, life.until = f"it answers, but sent nothing for {stream.quiet:g} s", life.message
            if life.why:
                await socket.close()
                return
            self._sign("alive" if opened else "open", life)
            opened = True
            await asyncio.sleep(self.rhythm.ping)

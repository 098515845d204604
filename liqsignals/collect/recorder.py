"""`liqsignals record`: what no archive keeps, from now on, and history that reaches the live frame.

Raw first (data/rawlog.py): what arrives is on disk within a quarter of a second, and is never edited. Then, every few seconds,
the same pure parsers that read archives turn what is new into parquet in the extras (data/store.py). A row's `known_at` there is an
instant at which it could be read, never an earlier one. A print that could not be parsed stays in the raw file.

No print is not no liquidation: a stream is *covered* only while it is demonstrably alive (it answers pings, or
sends). Signs of life go to the raw channel `alive`; `coverage` reads them back as intervals.

Killed at any byte, it loses what was not yet flushed; the next run publishes what was flushed and not yet published.
"""

import asyncio
import contextlib
import json
import logging
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from liqsignals import files, records
from liqsignals.clock import HOUR, MINUTE, SECOND, iso
from liqsignals.collect import feeds
from liqsignals.collect.feeds import Feed, Poll, Request
from liqsignals.collect.fetch import Fetcher, fetcher
from liqsignals.collect.publish import fold_parts, write_part
from liqsignals.data import rawlog, store
from liqsignals.data.coverage import ALIVE
from liqsignals.errors import InputError
from liqsignals.records import Records
from liqsignals.sources import PROVIDERS, ParseError, Provider, Series

logger = logging.getLogger(__name__)

#: Messages that wait for publication; a stream that brings more waits for the disk (and its sender for it).
WAITING = 20_000

#: Bytes that a full disk may make us hold before we stop.
HELD = 64 << 20

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
    #: How often the user is told that all is well.
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


@dataclass
class Recorder:
    """One process's recording. `run` ends when it is cancelled; everything is on disk then."""

    extras: Path
    streams: Sequence[Feed]
    polls: Sequence[Poll] = ()
    urls: Mapping[str, str] = field(default_factory=lambda: feeds.URLS)
    rhythm: Rhythm = Rhythm()
    tell: Callable[[str], None] = logger.info
    #: Messages taken, rows published, messages that could not be parsed.
    taken: int = 0
    published: int = 0
    unparsed: int = 0
    _logs: dict[tuple[str, str], rawlog.RawLog] = field(default_factory=dict)
    _waiting: dict[tuple[str, str], list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))
    _count: int = 0
    _publishing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _told: dict[str, float] = field(default_factory=dict)
    #: Coins of one contract by provider and symbol, where prints count contracts.
    _contracts: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    #: Newest event of each polled series, ns.
    _newest: dict[tuple[str, str], int] = field(default_factory=dict)
    _hour: int = 0
    _flushed: float = field(default_factory=time.monotonic)
    _unpublished: int = 2**63 - 1

    def __post_init__(self) -> None:
        self._by_channel: dict[tuple[str, str], Feed | Request] = {(s.provider, s.channel): s for s in self.streams}
        self._by_channel |= {(p.provider, r.channel): r for p in self.polls for r in p.requests}

    # ---- taking

    def take(self, provider: str, channel: str, received_at: int, raw: bytes) -> None:
        """Keep one message: raw, and for publication."""
        self._log(provider, channel, received_at, raw)
        self._waiting[provider, channel].append((received_at, raw))
        self._count += 1
        self.taken += 1
        # Under load the loop may be late: a burst writes its own lines in time.
        if time.monotonic() - self._flushed > self.rhythm.flush:
            self.flush()

    def _log(self, provider: str, channel: str, received_at: int, raw: bytes) -> None:
        key = (provider, channel)
        if key not in self._logs:
            self._logs[key] = rawlog.RawLog(self.extras / "raw" / provider, channel)
        try:
            self._logs[key].add(received_at, raw)
        except InputError as error:
            self._trouble(error)

    def _sign(self, stream: Feed, event: str, **more: Any) -> None:
        line = json.dumps({"stream": stream.channel, "event": event, **more}).encode()
        self._log(stream.provider, ALIVE, time.time_ns(), line)

    def _trouble(self, error: InputError) -> None:
        """The disk does not take it: hold on, say so, and stop when memory would grow without bound."""
        self._say("disk", str(error))
        if sum(log.held for log in self._logs.values()) > HELD:
            raise error

    def _say(self, about: str, text: str, every: float = 60.0) -> None:
        """Tell the user, about one thing at most once in `every` seconds."""
        now = time.monotonic()
        if now - self._told.get(about, -1e9) >= every:
            self._told[about] = now
            self.tell(text)

    def flush(self) -> bool:
        """Write what was taken. Signs of life come last: what they vouch for is on disk by then."""
        ok = True
        self._flushed = time.monotonic()
        for (_, channel), log in sorted(self._logs.items(), key=lambda item: item[0][1] == ALIVE):
            if channel == ALIVE and not ok:
                continue
            try:
                log.flush()
            except InputError as error:
                ok = False
                self._trouble(error)
        return ok

    # ---- publishing

    async def publish(self) -> None:
        """Parse what waits and make it readable."""
        async with self._publishing:
            if not self._count or not self.flush():
                return
            upto = time.time_ns()
            batch, self._waiting, self._count = self._waiting, defaultdict(list), 0
            upto = self._hold_back(batch, upto)
            job = asyncio.ensure_future(asyncio.to_thread(self._publish, batch, upto))
            try:
                await asyncio.shield(job)
            except asyncio.CancelledError:
                # A thread cannot be stopped: the lock is held until it has written.
                await job
                raise
            except InputError as error:
                # Tried again with the next batch; what was written already does not count twice (store.unique).
                for key, lines in batch.items():
                    self._waiting[key] = lines + self._waiting[key]
                    self._count += len(lines)
                self._say("disk", str(error))
                if self._count > 5 * WAITING:
                    raise

    def _hold_back(self, batch: dict[tuple[str, str], list[tuple[int, bytes]]], upto: int) -> int:
        """Leave prints that count contracts out until the sizes of contracts are here; they stay raw, and are published then.

        Returns the instant up to which everything is published, `upto` where nothing is held back.
        """
        for feed in self.streams:
            key = (feed.provider, feed.channel)
            if feed.contracts is None or self._contracts[feed.provider] or not batch.get(key):
                continue
            if (feed.provider, feed.contracts.name) in batch:
                continue
            held = self._waiting[key] = batch.pop(key)
            self._say(
                f"contracts {feed.provider}",
                f"{feed.provider}: prints wait for the sizes of its contracts; they are kept raw",
                every=600.0,
            )
            if len(held) > WAITING:
                # Only the raw file has the rest. Nothing from here on counts as published, so that the next run reads it.
                self._unpublished = min(self._unpublished, held[0][0])
                del held[WAITING:]
            upto = min(upto, held[0][0])
        return upto

    def _publish(self, batch: Mapping[tuple[str, str], Iterable[tuple[int, bytes]]], upto: int | None) -> None:
        grouped: dict[Path, list[Records]] = defaultdict(list)
        newest = dict(self._newest)
        # The sizes of contracts are read first: prints need them.
        for key in sorted(batch, key=lambda key: not _tells_contracts(self._by_channel.get(key))):
            source = self._by_channel.get(key)
            if source is None:
                continue
            for received_at, raw in batch[key]:
                try:
                    for folder, rows in self._parsed(key[0], source, received_at, raw, newest):
                        grouped[folder].append(rows)
                except Exception as error:
                    # A parser's own mistake, too, must not end a recording, and again each time that it starts.
                    why = str(error) if isinstance(error, ParseError) else f"{type(error).__name__}: {error}"
                    self.unparsed += 1
                    self._say(
                        f"unparsed {key}",
                        f"{key[0]}: a message was not understood and is only kept raw ({why}). Way out: if this goes on, "
                        "look for a new version of liqsignals",
                    )
        for folder, parts in grouped.items():
            rows = np.concatenate(parts)
            if rows.dtype == records.RATIO:
                rows = feeds.merge_ratios(rows)
            write_part(folder, rows)
            self.published += len(rows)
        self._newest = newest
        if upto is not None:
            with files.replaced(self.extras / "raw" / "published") as path:
                path.write_text(str(min(upto, self._unpublished)))

    def _parsed(
        self, provider: str, source: Feed | Request, received_at: int, raw: bytes, newest: dict[tuple[str, str], int]
    ) -> Iterable[tuple[Path, Records]]:
        if isinstance(source, Feed):
            parse = source.parse
            if source.contracts is not None:
                parse = partial(parse, contracts=self._contracts[provider])
            for symbol, rows in parse(raw, received_at).items():
                pair = source.pairs.get(symbol)
                if pair is not None:
                    yield store.series_dir(self.extras, "liquidation", provider, pair, "events"), rows
            return
        found = source.parse(raw, received_at)
        if _tells_contracts(source):
            self._contracts[provider].update(found)
        elif source.dtype is not None and len(found):
            key = (provider, source.channel)
            last = newest.get(key, 0)
            fresh = found[found["event_time"] > last] if source.page_ns else found
            newest[key] = max(last, int(found["event_time"][-1]))
            if len(fresh):
                yield store.series_dir(self.extras, source.kind, provider, source.pair, source.period), fresh

    def recover(self) -> None:
        """Publish what an earlier run kept raw and did not publish, and fold what is published into months."""
        for path in self.extras.glob("*/*/*/parts/.*.tmp"):
            path.unlink(missing_ok=True)
        mark = self.extras / "raw" / "published"
        try:
            # A minute more: the clock may have been set back; what was published already is not published twice.
            since = int(mark.read_text()) - MINUTE
        except (FileNotFoundError, ValueError):
            since = 0
        for poll in self.polls:
            for request in poll.requests:
                if request.page_ns:
                    folder = store.series_dir(self.extras, request.kind, poll.provider, request.pair, request.period)
                    rows = store.read(folder, request.dtype)
                    if len(rows):
                        self._newest[poll.provider, request.channel] = int(rows["event_time"].max())
        for feed in self.streams:
            if feed.contracts is not None:
                self._recover_contracts(feed.provider, feed.contracts)
        lines = 0
        batch: dict[tuple[str, str], list[tuple[int, bytes]]] = defaultdict(list)
        # What was polled (the sizes of contracts among it) before the prints.
        for key in sorted(self._by_channel, key=lambda key: isinstance(self._by_channel[key], Feed)):
            for path in rawlog.files(self.extras / "raw" / key[0], key[1], since):
                for line in rawlog.read(path):
                    if line[0] >= since:
                        batch[key].append(line)
                        lines += 1
                        if lines % WAITING == 0:
                            self._publish(batch, None)
                            batch.clear()
        self._publish(batch, None)
        fold_parts(self.extras, time.time_ns())
        if lines:
            self.tell(
                f"read {lines} messages again that an earlier run had kept since {iso(since)}; none is counted twice"
            )

    def _recover_contracts(self, provider: str, series: Series) -> None:
        """The newest sizes of contracts, however long ago they were told."""
        for path in reversed(rawlog.files(self.extras / "raw" / provider, series.name)[-2:]):
            for received_at, raw in rawlog.read(path):
                with contextlib.suppress(ParseError):
                    self._contracts[provider] |= series.parser(received_at)(raw, received_at)
            if self._contracts[provider]:
                return

    # ---- listening and asking

    async def _listen(self, stream: Feed) -> None:
        """Be connected, and connect again for as long as it takes."""
        failures, lost_at = 0, 0.0
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
                        self.tell(
                            f"{what}: connected again; what was liquidated in {time.monotonic() - lost_at:.1f} s is not known"
                        )
                    await self._session(stream, socket)
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
            self._say(f"lost {what}", f"{what}: the connection is lost ({why}); again in {wait:.1f} s", every=1.0)
            await asyncio.sleep(wait)

    async def _session(self, stream: Feed, socket: ClientConnection) -> None:
        now = time.time_ns()
        life = _Life(now, now, now)
        pinger = asyncio.create_task(self._ping(stream, socket, life))
        try:
            async for message in socket:
                received_at = time.time_ns()
                raw = message.encode() if isinstance(message, str) else message
                life.until = life.message = received_at
                self.take(stream.provider, stream.channel, received_at, raw)
                if b'"success":false' in raw or b'"event":"error"' in raw:
                    raise _Lost(f"it refuses the subscription: {raw[:200].decode(errors='replace')}")
                if self._count >= WAITING:
                    await self.publish()
            raise _Lost(life.why or f"closed by the server, code {socket.close_code}")
        except WebSocketException as error:
            raise _Lost(life.why or str(error)) from error
        finally:
            pinger.cancel()
            self._sign(stream, "lost", since=life.opened, until=life.until, why=life.why)

    async def _ping(self, stream: Feed, socket: ClientConnection, life: _Life) -> None:
        """Ask for signs of life; close a connection that gives none, or that lost its subscription."""
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
                # Alive, but it says nothing: nobody can vouch for the time since the last message.
                life.why, life.until = f"it answers, but sent nothing for {stream.quiet:g} s", life.message
            if life.why:
                await socket.close()
                return
            self._sign(stream, "alive" if opened else "open", since=life.opened, until=life.until)
            opened = True
            await asyncio.sleep(self.rhythm.ping)

    async def _ask(self, poll: Poll, get: Fetcher) -> None:
        """Make a poll's requests in its rhythm; at once when the recorder starts."""
        while True:
            failed = False
            for request in poll.requests:
                for path, params in self._pages(poll, request):
                    try:
                        reply = await get.get(path, params)
                    except InputError as error:
                        self._say(f"poll {poll.provider} {request.channel}", str(error), every=600.0)
                        failed = True
                        break
                    self.take(poll.provider, request.channel, reply.asked_at, reply.body)
                    if self._count >= WAITING:
                        await self.publish()
            now = time.time()
            due = (now - poll.after) // poll.every * poll.every + poll.every + poll.after
            await asyncio.sleep(min(due - now, 60.0) if failed else due - now)

    def _pages(self, poll: Poll, request: Request) -> Iterable[tuple[str, Mapping[str, str | int]]]:
        """What to ask for: the pages since the newest row that is here, one where there is none."""
        now = time.time_ns()
        if not request.page_ns:
            return [request.ask(now, now)]
        start = self._newest.get((poll.provider, request.channel), now - request.page_ns)
        if request.reach_ns is not None:
            start = max(start, now - request.reach_ns)
        return [request.ask(a, min(a + request.page_ns, now)) for a in range(start, now, request.page_ns)]

    async def run(self) -> None:
        """Record until cancelled, then write and publish what was taken."""
        async with AsyncExitStack() as stack:
            fetchers = {
                name: await stack.enter_async_context(fetcher(_provider(name), self.urls[name], tell=self.tell))
                for name in dict.fromkeys(poll.provider for poll in self.polls)
            }
            try:
                async with asyncio.TaskGroup() as tasks:
                    for stream in self.streams:
                        tasks.create_task(self._listen(stream))
                    for poll in self.polls:
                        tasks.create_task(self._ask(poll, fetchers[poll.provider]))
                    tasks.create_task(self._every(self.rhythm.flush, self._flush))
                    tasks.create_task(self._every(self.rhythm.publish, self._publish_and_fold))
                    tasks.create_task(self._every(self.rhythm.report, self._report))
            except BaseExceptionGroup as group:
                error: BaseException = group
                while isinstance(error, BaseExceptionGroup):
                    error = (error.subgroup(InputError) or error).exceptions[0]
                raise error from None
            finally:
                # Also when cancelled: a user's Ctrl-C loses nothing.
                await asyncio.shield(self.publish())
                self.flush()

    async def _every(self, seconds: float, do: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await do()

    async def _flush(self) -> None:
        self.flush()

    async def _publish_and_fold(self) -> None:
        await self.publish()
        hour = time.time_ns() // HOUR
        if self._hour not in (0, hour):
            async with self._publishing:
                await asyncio.to_thread(fold_parts, self.extras, hour * HOUR)
        self._hour = hour

    async def _report(self) -> None:
        self.tell(f"{self.taken} messages taken, {self.published} rows published, {self.unparsed} not understood")


def _provider(name: str) -> Provider:
    """A provider's declaration."""
    return next(provider for provider in PROVIDERS if provider.name == name)


def _tells_contracts(source: Feed | Request | None) -> bool:
    return isinstance(source, Request) and source.kind == "contracts"


def record(
    extras: Path,
    pairs: Sequence[str],
    exchanges: Sequence[str] = feeds.EXCHANGES,
    urls: Mapping[str, str] = feeds.URLS,
    *,
    rhythm: Rhythm = Rhythm(),
    tell: Callable[[str], None] = logger.info,
    poll: bool = True,
) -> None:
    """Record until SIGINT or SIGTERM. Raises InputError where another recorder writes, or the disk is full."""
    wrong = [name for name in exchanges if name not in feeds.EXCHANGES]
    if wrong:
        raise InputError(f"--exchanges {' '.join(wrong)}: liqsignals records {', '.join(feeds.EXCHANGES)}")
    if not pairs:
        raise InputError("--pairs: name at least one pair, as BTC/USDT:USDT")
    with store.writer(extras, "record"):
        recorder = Recorder(
            extras,
            feeds.liquidation_streams(pairs, exchanges, urls),
            feeds.polls(pairs, exchanges, flows=True) if poll else (),
            urls,
            rhythm,
            tell,
        )
        recorder.recover()
        tell(f"recording {' '.join(pairs)} of {' '.join(exchanges)} into {extras}; stop with Ctrl-C")
        asyncio.run(_until_told(recorder))
        tell(
            f"stopped: {recorder.taken} messages taken, {recorder.published} rows published, {recorder.unparsed} not understood"
        )


async def _until_told(recorder: Recorder) -> None:
    task = asyncio.create_task(recorder.run())
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return

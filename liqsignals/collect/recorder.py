"""`liqsignals record`: what no archive keeps, from now on, and history that reaches the live frame.

Raw first (capture.py, data/rawlog.py): messages are on disk within a quarter of a second, and are never edited. Then,
every few seconds, the same pure parsers that read archives turn new ones into parquet in the extras (publish.py,
data/store.py). A row's `known_at` there is an instant at which it could be read, never an earlier one. A print that
could not be parsed stays in the raw file.

No print is not no liquidation: a stream is *covered* only while it is demonstrably alive (it answers pings, or
sends). Signs of life go to the raw channel `alive`; `coverage` reads them back as intervals. Symbols that a venue
refuses are logged, and listed there as `refused`: the stream's coverage is not theirs.

Killed at any byte, it loses what was not yet flushed; the next run publishes what was flushed and not yet published.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liqsignals import files
from liqsignals.clock import HOUR
from liqsignals.collect import capture, feeds
from liqsignals.collect.ask import Poller
from liqsignals.collect.capture import Capture, Notices
from liqsignals.collect.feeds import Feed, Poll
from liqsignals.collect.fetch import fetcher
from liqsignals.collect.listen import Listener, Rhythm
from liqsignals.collect.publish import Publication, fold_parts
from liqsignals.data import store
from liqsignals.errors import InputError
from liqsignals.sources import PROVIDERS, Provider

__all__ = ["Recorder", "Rhythm", "record"]

logger = logging.getLogger(__name__)

RHYTHM = Rhythm()


@dataclass
class Recorder:
    """One process's recording. `run` ends when it is cancelled; everything is on disk then."""

    extras: Path
    streams: Sequence[Feed]
    polls: Sequence[Poll] = ()
    urls: Mapping[str, str] = field(default_factory=lambda: feeds.URLS)
    rhythm: Rhythm = RHYTHM
    log: Callable[[str], None] = logger.info

    def __post_init__(self) -> None:
        self.notices = Notices(self.log)
        self.capture = Capture(self.extras, self.rhythm.flush, self.notices)
        self.publication = Publication(self.extras, self.streams, self.polls, self.notices)
        self._publishing = asyncio.Lock()
        self._hour = 0

    @property
    def taken(self) -> int:
        """Messages taken."""
        return self.capture.taken

    @property
    def published(self) -> int:
        """Rows published."""
        return self.publication.published

    @property
    def unparsed(self) -> int:
        """Messages that could not be parsed."""
        return self.publication.unparsed

    def totals(self) -> str:
        """What was recorded so far, for the user."""
        return f"{self.taken} messages taken, {self.published} rows published, {self.unparsed} not understood"

    def recover(self) -> None:
        """Publish what an earlier run kept raw and did not publish, and fold what is published into months."""
        self.publication.recover()

    async def publish(self) -> None:
        """Parse what waits and make it readable."""
        async with self._publishing:
            if not self.capture.count or not self.capture.flush():
                return
            upto = time.time_ns()
            batch = self.capture.drain()
            held = self.publication.hold_back(batch)
            self.capture.waiting.update(held)
            upto = min([upto, *(lines[0][0] for lines in held.values())])
            job = asyncio.ensure_future(asyncio.to_thread(self.publication.publish, batch, upto))
            try:
                await asyncio.shield(job)
            except asyncio.CancelledError:
                # A thread cannot be stopped: the lock is held until it has written.
                await job
                raise
            except InputError as error:
                # Tried again with the next batch; what was written already does not count twice (store.unique).
                self.capture.put_back(batch)
                self.notices.limited("disk", str(error))
                if self.capture.count > 5 * capture.WAITING:
                    raise

    async def run(self) -> None:
        """Record until cancelled, then write and publish what was taken."""
        async with AsyncExitStack() as stack:
            fetchers = {
                name: await stack.enter_async_context(fetcher(_provider(name), self.urls[name], log=self.log))
                for name in dict.fromkeys(poll.provider for poll in self.polls)
            }
            newest = self.publication.newest_of
            try:
                async with asyncio.TaskGroup() as tasks:
                    for stream in self.streams:
                        tasks.create_task(Listener(stream, self.rhythm, self.capture, self.publish).run())
                    for poll in self.polls:
                        poller = Poller(poll, fetchers[poll.provider], self.capture, newest, self.publish)
                        tasks.create_task(poller.run())
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
                self.capture.flush()

    async def _every(self, seconds: float, do: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await do()

    async def _flush(self) -> None:
        self.capture.flush()

    async def _publish_and_fold(self) -> None:
        await self.publish()
        hour = time.time_ns() // HOUR
        if self._hour not in (0, hour):
            async with self._publishing:
                await asyncio.to_thread(fold_parts, self.extras, hour * HOUR)
        self._hour = hour

    async def _report(self) -> None:
        self.log(self.totals())


def _provider(name: str) -> Provider:
    """A provider's declaration."""
    return next(provider for provider in PROVIDERS if provider.name == name)


def record(
    extras: Path,
    pairs: Sequence[str],
    exchanges: Sequence[str] = feeds.EXCHANGES,
    urls: Mapping[str, str] = feeds.URLS,
    *,
    rhythm: Rhythm = RHYTHM,
    log: Callable[[str], None] = logger.info,
    poll: bool = True,
) -> None:
    """Record until SIGINT or SIGTERM. Raises InputError where another recorder writes, or the disk is full."""
    wrong = [name for name in exchanges if name not in feeds.EXCHANGES]
    if wrong:
        raise InputError(f"--exchanges {' '.join(wrong)}: liqsignals records {', '.join(feeds.EXCHANGES)}")
    if not pairs:
        raise InputError("--pairs: name at least one pair, as BTC/USDT:USDT")
    streams = feeds.liquidation_streams(pairs, exchanges, urls)
    absent = feeds.left_out(pairs, exchanges)
    if not streams:
        raise InputError(f"nothing to record: {'; '.join(absent)}")
    with store.writer(extras, "record"):
        for name in exchanges:
            files.check_folder(extras / "raw" / name)
        recorder = Recorder(
            extras,
            streams,
            [one for one in feeds.polls(pairs, exchanges, flows=True) if poll or one.needed],
            urls,
            rhythm,
            log,
        )
        for text in absent:
            log(text)
        recorder.recover()
        log(f"recording {' '.join(pairs)} of {' '.join(exchanges)} into {extras}; stop with Ctrl-C")
        asyncio.run(_until_stopped(recorder))
        log(f"stopped: {recorder.totals()}")


async def _until_stopped(recorder: Recorder) -> None:
    task = asyncio.create_task(recorder.run())
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return

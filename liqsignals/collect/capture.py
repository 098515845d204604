"""What a recorder received: raw on disk within a moment, and in memory until it is published."""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liqsignals.collect.feeds import Feed
from liqsignals.collect.fetch import redact
from liqsignals.data import rawlog
from liqsignals.data.coverage import ALIVE
from liqsignals.errors import InputError

logger = logging.getLogger(__name__)

#: Messages that wait for publication; a stream that brings more waits for the disk (and its sender for it).
WAITING = 20_000

#: Bytes that a full disk may make us hold before we stop.
HELD = 64 << 20

#: Provider and channel.
Channel = tuple[str, str]
#: Messages by channel, each with the instant (ns) at which it was received.
Batch = dict[Channel, list[tuple[int, bytes]]]


@dataclass
class Notices:
    """Messages to the user, rate-limited per subject."""

    log: Callable[[str], None] = logger.info
    #: Monotonic time (s) of the last message per subject.
    logged_at: dict[str, float] = field(default_factory=dict)

    def limited(self, about: str, text: str, every: float = 60.0) -> None:
        """Log `text`, per subject at most once in `every` seconds."""
        now = time.monotonic()
        if now - self.logged_at.get(about, -1e9) >= every:
            self.logged_at[about] = now
            self.log(redact(text))


@dataclass
class Capture:
    """Messages of all channels. `flush_every` in seconds."""

    extras: Path
    flush_every: float
    notices: Notices
    #: Messages taken since the start.
    taken: int = 0
    waiting: Batch = field(default_factory=lambda: defaultdict(list))
    #: Messages that came since the last `drain`; those held back before it are not counted.
    count: int = 0
    _logs: dict[Channel, rawlog.RawLog] = field(default_factory=dict)
    _flushed: float = field(default_factory=time.monotonic)

    def take(self, provider: str, channel: str, received_at: int, raw: bytes) -> None:
        """Keep one message: raw, and for publication."""
        self._log(provider, channel, received_at, raw)
        self.waiting[provider, channel].append((received_at, raw))
        self.count += 1
        self.taken += 1
        # Under load the loop may be late: a burst writes its own lines in time.
        if time.monotonic() - self._flushed > self.flush_every:
            self.flush()

    def sign(self, stream: Feed, event: str, **more: Any) -> None:
        """Keep a stream's sign of life, or its end."""
        line = json.dumps({"stream": stream.channel, "event": event, **more}).encode()
        self._log(stream.provider, ALIVE, time.time_ns(), line)

    def flush(self) -> bool:
        """Write what was taken. Signs of life come last: the messages before them are on disk by then."""
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

    def drain(self) -> Batch:
        """Everything that waits; nothing waits then."""
        batch, self.waiting, self.count = self.waiting, defaultdict(list), 0
        return batch

    def put_back(self, batch: Batch) -> None:
        """Queue a batch that could not be published again, before newer messages."""
        for key, lines in batch.items():
            self.waiting[key] = lines + self.waiting[key]
            self.count += len(lines)

    def _log(self, provider: str, channel: str, received_at: int, raw: bytes) -> None:
        key = (provider, channel)
        if key not in self._logs:
            self._logs[key] = rawlog.RawLog(self.extras / "raw" / provider, channel)
        try:
            self._logs[key].add(received_at, raw)
        except InputError as error:
            self._trouble(error)

    def _trouble(self, error: InputError) -> None:
        """The disk cannot be written: keep the bytes in memory, log it, and stop above HELD bytes."""
        self.notices.limited("disk", str(error))
        if sum(log.held for log in self._logs.values()) > HELD:
            raise error

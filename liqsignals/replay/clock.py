"""The market clock: a common time for the loopback exchange, freqtrade and the recorder, running at any speed or
stepped.

Programs see it through libfaketime (Debian package `libfaketime`), which reads the time from a file on every time call.
While the clock runs, the file holds `@<now> x<speed>` and is rewritten every 50 ms, so that programs started at any
moment, or after a change of speed, see the correct time; their sleeps and time-outs are shorter by the speed.

While it is stopped (speed 0), the file holds one instant. libfaketime then measures a sleep from the program's start: a
sleep shorter than the program's age returns at once. A bot under a stopped clock therefore never waits for it, and the
driver can wait for it before each step, so that results do not depend on the machine's load. Time-outs do not expire
while the clock is stopped, and one step can expire all of them: programs under it need long ones.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from liqsignals.errors import InputError
from liqsignals.files import replaced

#: Where Debian, Ubuntu, Fedora and manual installations put the multi-threaded library.
LIBRARIES = ("/usr/lib/*/faketime", "/usr/lib*/faketime", "/usr/local/lib/faketime")
_NAME = "libfaketimeMT.so.1"
_REFRESH = 0.05
#: Seconds of this machine's that a request may be under way.
_UNDER_WAY = 5.0


def faketime_library() -> Path:
    """Path of libfaketime's multi-threaded library. Raises InputError where it is not installed."""
    for pattern in LIBRARIES:
        for folder in sorted(Path("/").glob(pattern.lstrip("/"))):
            if (folder / _NAME).is_file():
                return folder / _NAME
    raise InputError(
        "libfaketime is not installed: it is required to run a bot at another time than this machine's",
        "apt install libfaketime (Debian, Ubuntu)",
    )


class MarketClock:
    """Milliseconds since the epoch, monotonic. `speed` is market seconds per second; 0: stopped."""

    def __init__(self, file: Path, start_ms: int, speed: float = 0.0) -> None:
        self.file = file
        self._lock = threading.Lock()
        self._ms = start_ms
        #: Steps of the last _UNDER_WAY seconds: when (this machine's), and where the clock stood before.
        self._steps: deque[tuple[float, int]] = deque()
        self._speed = speed
        self._since = time.monotonic()
        self._write()

    @property
    def speed(self) -> float:
        return self._speed

    def now_ms(self) -> int:
        with self._lock:
            return self._now()

    def set(self, ms: int) -> None:
        """Step to `ms`; a stopped clock stays there. Raises ValueError for an earlier time."""
        with self._lock:
            if ms < self._now():
                raise ValueError(f"the market clock cannot go back from {self._now()} to {ms}")
            now, self._since = self._now(), time.monotonic()
            while self._steps and self._steps[0][0] < self._since - _UNDER_WAY:
                self._steps.popleft()
            self._steps.append((self._since, now))
            self._ms = ms
            self._write()

    def stood_ms(self) -> int:
        """Where the clock stood before the steps of the last seconds: a request that was under way carries that time."""
        with self._lock:
            since = time.monotonic() - _UNDER_WAY
            return next((ms for at, ms in self._steps if at >= since), self._now())

    def run(self, speed: float) -> None:
        """Continue from now at another speed."""
        with self._lock:
            self._ms, self._since, self._speed = self._now(), time.monotonic(), speed
            self._write()

    @contextmanager
    def running(self) -> Iterator["MarketClock"]:
        """Keep the file up to date, in a thread that stops at the end of the block."""
        stop = threading.Event()

        def refresh() -> None:
            while not stop.wait(_REFRESH):
                with self._lock:
                    if self._speed:
                        self._write()

        thread = threading.Thread(target=refresh, name="market-clock", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()

    def environment(self) -> dict[str, str]:
        """Environment variables that make a program use this clock."""
        return {
            "LD_PRELOAD": str(faketime_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "TZ": "UTC",
        }

    def _now(self) -> int:
        return self._ms + int((time.monotonic() - self._since) * 1000 * self._speed)

    def _write(self) -> None:
        now = datetime.fromtimestamp(self._now() / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        # Not durable: it is written many times a second, and is useless after a crash.
        with replaced(self.file, durable=False) as staged:
            staged.write_text(f"@{now} x{self._speed:g}\n" if self._speed else f"{now}\n")

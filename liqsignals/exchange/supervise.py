"""Lifetime of a server in this process and of its child command: both end together, on a signal, or with the parent."""

import math
import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

_POLL = 0.2  # seconds between checks of the child, the parent and the signals
_GRACE = 10.0  # seconds between SIGTERM and SIGKILL


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Collects stop signals in a list, so that none raises an exception at an arbitrary point."""
    caught: list[int] = []

    def catch(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, and jobs in the background of a script
            before[number] = signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    command: Sequence[str],
    caught: Sequence[int],
    parent: int | None,
    environment: Mapping[str, str] | None = None,
    *,
    seconds: float = math.inf,
    grace: float = _GRACE,
) -> int:
    """Run a command and return its exit code. Signals are forwarded to it.

    It is terminated when `parent` (None: any) is no longer this process's parent, and after `seconds`; and killed
    `grace` seconds after it should have ended.
    """
    try:
        child = subprocess.Popen(command, env={**os.environ, **(environment or {})})
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    deadline, forwarded = math.inf, 0
    over = time.monotonic() + seconds
    ended = False
    while True:
        try:
            code = child.wait(_POLL)
            return code if code >= 0 else 128 - code
        except subprocess.TimeoutExpired:
            pass
        while forwarded < len(caught):
            number = caught[forwarded]
            forwarded += 1
            if number == signal.SIGINT:
                # In the foreground Ctrl-C has reached the child already; a second one would interrupt its clean-up.
                if not _in_foreground():
                    child.send_signal(number)
            else:
                child.send_signal(number)
                deadline = min(deadline, time.monotonic() + grace)
        gone = parent is not None and os.getppid() != parent
        if (gone or time.monotonic() > over) and not ended:
            ended = True
            child.terminate()
            deadline = min(deadline, time.monotonic() + grace)
        if time.monotonic() > deadline:
            child.kill()


def _in_foreground() -> bool:
    """Whether a terminal's Ctrl-C reaches this process group."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def wait(caught: list[int], parent: int) -> None:
    """Block until a signal, the parent's end, or end of file on a piped standard input.

    Only pipes and sockets are read: reading a terminal stops a background job, and /dev/null ends at once.
    """
    try:
        mode = os.fstat(0).st_mode
        piped = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    except OSError:
        piped = False
    while not caught and os.getppid() == parent:
        if not piped:
            time.sleep(_POLL)
        elif select.select([0], [], [], _POLL)[0] and not os.read(0, 65536):
            return

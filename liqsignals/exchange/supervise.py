"""How a server in this process and a command beside it end: with each other, on a signal, or with the parent process."""

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

_POLL = 0.2  # seconds between looks at the child, the parent and the signals
_GRACE = 10.0  # seconds that a child has after SIGTERM


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """The signals that ask to stop, in a list instead of an exception at any point."""
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


def run(command: Sequence[str], caught: list[int], parent: int, environment: Mapping[str, str] | None = None) -> int:
    """The command's exit code. It is told to stop when this process is, or when this one's parent is gone."""
    try:
        child = subprocess.Popen(command, env={**os.environ, **(environment or {})})
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    deadline = math.inf
    orphaned = False
    while True:
        try:
            code = child.wait(_POLL)
            return code if code >= 0 else 128 - code
        except subprocess.TimeoutExpired:
            pass
        while caught:
            number = caught.pop(0)
            if number == signal.SIGINT:
                # A Ctrl-C has reached the child already; a second one would break off its clean-up.
                if not _in_foreground():
                    child.send_signal(number)
            else:
                child.send_signal(number)
                deadline = min(deadline, time.monotonic() + _GRACE)
        if os.getppid() != parent and not orphaned:
            orphaned = True
            child.terminate()
            deadline = min(deadline, time.monotonic() + _GRACE)
        if time.monotonic() > deadline:
            child.kill()


def _in_foreground() -> bool:
    """Whether a terminal's Ctrl-C goes to this process group."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def wait(caught: list[int], parent: int) -> None:
    """Until a signal, the parent's end, or the end of a standard input that somebody holds open.

    A terminal or /dev/null is not held by anybody: reading the one stops a job in the background, the other
    ends at once.
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

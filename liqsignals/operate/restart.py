"""Whether a watcher may send /start to a bot that stopped: only after an error of its own, seldom, and never against a
human's word.

freqtrade stops its trader where an OperationalException reaches its loop (freqtrade/worker.py: the log has
"OperationalException. Stopping trader ...", then "Changing state from RUNNING to: STOPPED"). Exits stand still then,
and only the stops at the exchange are left. A /stop changes the state without that error.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from liqsignals.clock import HOUR, SECOND

#: How many times an hour.
MOST = 3
#: Seconds from the stop to the first, second and third attempt within an hour.
WAITS = (60, 300, 900)
_CHANGED = re.compile(r"^Changing state(?: from (\w+))? to: (\w+)")
_FAILED = "OperationalException. Stopping trader"
#: Seconds that a loop may take besides its throttle until the change of state is logged.
_SLOW = 10.0


def wanted(logs: Iterable[Sequence[Any]], throttle: float = 5.0) -> tuple[Literal["start", "pause"], int] | None:
    """The command that puts a stopped bot back where it was, and when it stopped (ns); None where it must not be sent.

    `logs`: rows of freqtrade's `GET /api/v1/logs`, oldest first: text of the time, ms, logger, level, message.
    `throttle`: freqtrade's `process_throttle_secs`. Sent is nothing unless the newest change of state is one to STOPPED
    whose stretch ended with the exception, or the exception came after it; a bot that had been paused is paused again.
    """
    failed: float | None = None
    found: tuple[str, float] | None = None
    state = None
    for _, at, logger, _, message in logs:
        if logger != "freqtrade.worker":
            continue
        if str(message).startswith(_FAILED):
            # The next loop logs the change. Until then the REST API says "stopped" already.
            failed = float(at)
            found = _commands(state, failed)
        elif changed := _CHANGED.match(str(message)):
            before, state = changed.groups()
            # Much later it is another stop: a /start that comes before that loop leaves no change of state behind.
            by_it = state == "STOPPED" and failed is not None and float(at) - failed <= (throttle + _SLOW) * 1000
            found = _commands(before, float(at)) if by_it else None
            failed = None
    return None if found is None else (found[0], int(found[1] * 1e6))  # type: ignore[return-value]


def _commands(state: str | None, at: float) -> tuple[str, float] | None:
    command = {"RUNNING": "start", "PAUSED": "pause"}.get(state or "")
    return None if command is None else (command, at)


def due(stopped: int, sent: Sequence[int], now: int) -> bool:
    """Whether it is time: `stopped` and `sent`, the attempts so far, in ns."""
    lately = [at for at in sent if now - at < HOUR]
    return len(lately) < MOST and now - stopped >= WAITS[len(lately)] * SECOND

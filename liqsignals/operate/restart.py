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


def wanted(logs: Iterable[Sequence[Any]]) -> tuple[Literal["start", "pause"], int] | None:
    """The command that puts a stopped bot back where it was, and when it stopped (ns); None where it must not be sent.

    `logs`: rows of freqtrade's `GET /api/v1/logs`, oldest first: text of the time, ms, logger, level, message. Sent is
    nothing unless the newest change of state is one to STOPPED whose stretch ended with the exception; a bot that had
    been paused is paused again.
    """
    failed, found = False, None
    for _, at, logger, _, message in logs:
        if logger != "freqtrade.worker":
            continue
        if str(message).startswith(_FAILED):
            failed = True
        elif changed := _CHANGED.match(str(message)):
            before, now = changed.groups()
            found = None
            if now == "STOPPED" and failed and before in ("RUNNING", "PAUSED"):
                found = ("start" if before == "RUNNING" else "pause"), int(float(at) * 1e6)
            failed = False
    return found  # type: ignore[return-value]


def due(stopped: int, sent: Sequence[int], now: int) -> bool:
    """Whether it is time: `stopped` and `sent`, the attempts so far, in ns."""
    lately = [at for at in sent if now - at < HOUR]
    return len(lately) < MOST and now - stopped >= WAITS[len(lately)] * SECOND

"""What must hold before a bot enters with real money, beside the signal itself: the kill switch, the watcher's word,
and what the configuration says.

guard.py judges the candles and the price of an entry, this module everything around it. Two small files in user_data
connect it with other processes: the kill switch (`liqsignals kill-switch`, or `touch`) and the status that a watcher
writes every few seconds (operate/watcher.py).
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from liqsignals import venues
from liqsignals.clock import iso, parse_time
from liqsignals.files import replaced
from liqsignals.strategy.sizing import Limits

#: Where they are, in user_data.
KILL_SWITCH = Path("liqsignals") / "kill-switch"
STATUS = Path("liqsignals") / "status.json"
#: Seconds after which the watcher's word counts no more.
STATUS_AGE = 60.0
#: Seconds by which this machine's clock may differ from the exchange's.
CLOCK = 1.0
#: Longest status that is read, bytes.
_MOST = 1 << 20


def killed(userdir: Path) -> str:
    """Why nothing may be entered, empty where the kill switch is off. What cannot be looked at counts as on."""
    path = userdir / KILL_SWITCH
    try:
        os.stat(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} cannot be looked at ({error.strerror}). Way out: let the bot's user read the folder"
    return f"{path} is there. Way out: liqsignals kill-switch off --userdir {userdir}"


def kill(userdir: Path, now: int, why: str = "") -> Path:
    """Turn the kill switch on; a file that is there stays. Raises InputError where it cannot be written."""
    path = userdir / KILL_SWITCH
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with replaced(path) as staged:
            staged.write_text(f"{iso(now)} {why}".rstrip() + "\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Status:
    """What a watcher found. `problems` forbid entries, `notes` do not."""

    #: When, ns.
    at: int
    #: This machine's clock minus the exchange's, s; None where it could not be measured.
    clock: float | None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Status":
        """Raises OSError or ValueError for a file that is none."""
        with path.open("rb") as file:
            raw = file.read(_MOST)
        found = json.loads(raw)
        try:
            clock = found["clock_s"]
            return cls(
                parse_time(str(found["at"])),
                None if clock is None else float(clock),
                tuple(map(str, found["problems"])),
                tuple(map(str, found.get("notes", []))),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a watcher's status ({error!r})") from error

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "at": iso(self.at),
            "clock_s": self.clock,
            "problems": list(self.problems),
            "notes": list(self.notes),
        }
        with replaced(path, durable=False) as staged:
            staged.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class LiveCheck:
    """What the configuration says; made once, asked before every entry."""

    userdir: Path
    #: "live" or "dry_run"; any other is a backtest's, and nothing is refused.
    runmode: str
    margin_mode: str = "isolated"
    #: Whether the configuration names a calibration.
    calibrated: bool = True
    #: Whether it says that a watcher runs; None where it says nothing.
    watched: bool | None = None
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], runmode: str, limits: Limits) -> "LiveCheck":
        """Of a freqtrade configuration whose block "liqsignals" is valid (strategy/config.py)."""
        block = config.get("liqsignals") or {}
        return cls(
            Path(config.get("user_data_dir") or "user_data"),
            runmode,
            str(config.get("margin_mode") or ""),
            block.get("calibration") is not None,
            block.get("watcher"),
            limits,
        )

    def configured(self) -> tuple[tuple[str, str], ...]:
        """What in the configuration forbids live entries: (word, reason and way out). Empty in other modes."""
        if self.runmode != "live":
            return ()
        found = []
        if self.margin_mode != "isolated":
            found.append((
                "margin",
                f'margin_mode is "{self.margin_mode}": a loss of one position would take the whole account. Way out: '
                '"margin_mode": "isolated" in the config',
            ))  # fmt: skip
        if not self.calibrated:
            found.append((
                "calibration",
                'the config names no calibration. Way out: "liqsignals": {"calibration": ...} with a file of liqsignals '
                'calibrate, "shipped", or "none" for the prior',
            ))  # fmt: skip
        if self.watched is None:
            found.append((
                "watcher",
                "nobody measures this machine's clock and looks after the stops. Way out: liqsignals watch beside the "
                'bot, and "liqsignals": {"watcher": true} in the config; false to do without',
            ))  # fmt: skip
        return tuple(found)

    def refusal(self, pair: str, equity: float, now: Any) -> tuple[str, str] | None:
        """Why an entry must not be made, as (word, reason and way out); None where it may.

        `equity`: the account, in the stake's currency; `now`: tz-aware. In dry-run only the kill switch counts.
        """
        if self.runmode not in ("live", "dry_run"):
            return None
        if why := killed(self.userdir):
            return "kill switch", why
        if self.runmode != "live":
            return None
        if found := self.configured():
            return found[0]
        largest = equity * self.limits.gap_budget / self.limits.gap
        tier = venues.bracket_at(venues.brackets(pair), largest).max_leverage
        if not self.limits.leverage <= tier:
            return "tier", (
                f"{self.limits.leverage:g}x is beyond what the venue allows for a position of {largest:.4g} in {pair}, "
                f'{tier:g}x. Way out: "liqsignals": {{"risk": {{"leverage": {tier:g}}}}} in the config'
            )
        return self.watcher(pd.Timestamp(now).value)

    def watcher(self, now: int) -> tuple[str, str] | None:
        """What the watcher says against an entry at `now` (ns), as `refusal`; None where it says nothing, or none runs."""
        if not self.watched:
            return None
        path = self.userdir / STATUS
        restart = f"Way out: run liqsignals watch --userdir {self.userdir}, or look at its log"
        try:
            status = Status.read(path)
        except (OSError, ValueError) as error:
            return "watcher", f"the watcher's status {path} cannot be read ({error}). {restart}"
        age = (now - status.at) / 1e9
        if not -STATUS_AGE <= age <= STATUS_AGE:
            return "watcher", f"the watcher's status {path} is {age:.0f} s old, {STATUS_AGE:g} are allowed. {restart}"
        if status.clock is None:
            return (
                "clock",
                "the exchange's clock could not be asked. Way out: see the watcher's log; the network, or the venue",
            )
        if not abs(status.clock) <= CLOCK:
            return (
                "clock",
                (
                    f"this machine's clock is {abs(status.clock):.1f} s {'ahead of' if status.clock > 0 else 'behind'}"
                    " the exchange's. Way out: set it by NTP (timedatectl set-ntp true)"
                ),
            )
        return ("watcher", "; ".join(status.problems)) if status.problems else None

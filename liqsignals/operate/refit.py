"""A weekly refit of the calibration from the user's own recorded prints: dollars drift within weeks.

Fitted on all but the newest week; that week scores the new file, the one in use and the one kept by an earlier refit, on
the same hours. The new one is kept, exactly as it was scored, where neither its rank nor its dollars are worse than those
of the two; the one before stays beside it. A bot reads its calibration when it starts.
"""

import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from liqsignals.clock import DAY, HOUR, iso
from liqsignals.data import store
from liqsignals.files import replaced

#: Where it is, in user_data; the one before; and one that was worse.
CALIBRATION = Path("liqsignals") / "calibration.json"
PREVIOUS = Path("liqsignals") / "calibration.previous.json"
CANDIDATE = Path("liqsignals") / "calibration.candidate.json"
#: What the last one found, and when.
RECORD = Path("liqsignals") / "refit.json"
EVERY = 7 * DAY
#: The newest days, which score; and the days of prints before them that are enough to fit.
SCORED = 7 * DAY
ENOUGH = 28 * DAY


@dataclass(frozen=True)
class Scores:
    """Means over pairs and sides: rank correlation with the real liquidations of the hour, and |ln(real / predicted
    USD)|.
    """

    rank: float
    off: float

    @classmethod
    def of(cls, found: Sequence[Mapping[str, Any]]) -> "Scores":
        """Of answers of `liqsignals validate --json`. NaN where one of them has none."""
        models = [answer["models"]["map"] for answer in found]
        ranks = [_number(value) for model in models for value in model["rank"]]
        ratios = [_number(value) for model in models for value in model["dollars"]]
        off = [abs(math.log(ratio)) if ratio > 0 else math.nan for ratio in ratios]
        return cls(sum(ranks) / len(ranks), sum(off) / len(off))

    def __str__(self) -> str:
        return f"rank {self.rank:.3f}, dollars off by a factor of {math.exp(self.off):.2f}"


def better(new: Scores, old: Scores) -> bool:
    """Whether `new` may replace `old`: neither is worse. NaN is worse."""
    return new.rank >= old.rank and new.off <= old.off


def due(userdir: Path, now: int) -> bool:
    """Whether a week has passed since the last one."""
    try:
        return now - int(json.loads((userdir / RECORD).read_text())["at_ns"]) >= EVERY
    except (OSError, ValueError, LookupError, TypeError):
        return True


def prints(extras: Path, exchange: str, pairs: Sequence[str], now: int) -> dict[str, Path]:
    """Folders of recorded prints by pair, of pairs with enough of them."""
    found = {}
    for pair in pairs:
        folder = store.series_dir(extras, "liquidation", exchange, pair, "events")
        months = sorted(folder.glob("*.parquet"))
        begun = [path.name[:7] for path in months]
        # Named by month: one that began before is needed.
        if begun and begun[0] < iso(now - ENOUGH - SCORED)[:7]:
            found[pair] = folder
    return found


def steps(
    datadir: Path, extras: Path, userdir: Path, tables: Mapping[str, Path], current: str | None, now: int
) -> Generator[list[str], tuple[int, str], str]:
    """Words of `liqsignals` to run one after the other, each answered by (exit code, standard output); what came of it.

    `tables`: liquidations by pair. `current`: the calibration in use, as the configuration names it (None: the
    shipped).
    """
    cut = (now - SCORED) // HOUR * HOUR
    candidate, kept = userdir / CANDIDATE, userdir / CALIBRATION
    where = ["-d", str(datadir), "--extras", str(extras)]
    candidate.parent.mkdir(parents=True, exist_ok=True)
    words = ["calibrate", *where, "--until", iso(cut), "-o", str(candidate)]
    for pair, table in tables.items():
        words += ["-p", pair, "-l", str(table)]
    code, _ = yield words
    if code != 0:
        return _failed(words, code)
    named = {"new": str(candidate), "in use": current or "shipped"}
    # What is replaced: the configuration may name another one.
    if kept.exists() and Path(named["in use"]).resolve() != kept.resolve():
        named["kept"] = str(kept)
    scored = {}
    for which, name in named.items():
        answers = []
        for pair, table in tables.items():
            words = [
                "validate", *where, "-p", pair, "-l", str(table), "--fit-until", iso(cut), "--no-baselines", "--json",
                "--calibration", name,
            ]  # fmt: skip
            code, said = yield words
            if code != 0:
                return _failed(words, code)
            answers.append(json.loads(said))
        scored[which] = Scores.of(answers)
    told = "; ".join(f"{which} {scores}" for which, scores in scored.items())
    summary = f"refit on prints up to {iso(cut)}, scored on the week after: {told}"
    new = scored.pop("new")
    if worse := [which for which, old in scored.items() if not better(new, old)]:
        return f"{summary}; the new one is worse than the one {' and the one '.join(worse)}, and the calibration stays"
    if kept.exists():
        # A copy: a bot that starts now finds its file.
        with replaced(userdir / PREVIOUS) as staged:
            shutil.copyfile(kept, staged)
    os.replace(candidate, kept)
    return (
        f'{summary}; {kept} is new (before: {PREVIOUS.name}). A bot whose config names it ("calibration": "{kept}")'
        " reads it at its next start"
    )


@dataclass
class Job:
    """Runs `steps` beside a loop that calls `poll`."""

    userdir: Path
    now: int
    plan: Generator[list[str], tuple[int, str], str]
    _child: subprocess.Popen[bytes] | None = None
    _out: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def __post_init__(self) -> None:
        self._begin(next(self.plan))

    def poll(self) -> str | None:
        """None while it runs, then what came of it, once; it is written down, too."""
        if self._child is None or self._child.poll() is None:
            return None
        self._out.seek(0)
        said = self._out.read().decode(errors="replace")
        try:
            self._begin(self.plan.send((self._child.returncode, said)))
            return None
        except StopIteration as end:
            found = str(end.value)
        except (OSError, ValueError, LookupError, TypeError) as error:
            found = f"refit: {type(error).__name__}: {error}; the calibration stays"
        self.close()
        with suppress(OSError):
            (self.userdir / RECORD).write_text(
                json.dumps({"at_ns": self.now, "at": iso(self.now), "found": found}) + "\n"
            )
        return found

    def _begin(self, words: list[str]) -> None:
        self._out.seek(0)
        self._out.truncate()
        command = ["nice", "-n", "19", sys.executable, "-m", "liqsignals", *words]
        self._child = subprocess.Popen(command, stdout=self._out, stderr=subprocess.DEVNULL, start_new_session=True)

    def close(self) -> None:
        """End what runs."""
        if self._child is not None and self._child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGTERM)
            self._child.wait(10.0)
        self._child = None
        self._out.close()


def _failed(words: Sequence[str], code: int) -> str:
    """A command that failed; its own message went nowhere."""
    return (
        f"refit: liqsignals {words[0]} failed (exit code {code}); the calibration stays. Way out: run it by hand, it says"
        f" why: {shlex.join(['liqsignals', *words])}"
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)

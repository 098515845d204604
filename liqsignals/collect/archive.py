"""Binance's archive on disk: daily and monthly zips, each with its checksum, kept as they came.

`<extras>/archive/<dataset>/<SYMBOL>/<file>.zip`: the raw files stay, so that a run that was stopped goes on where it was, and
a parser that improves reads them anew. On every run the published checksum is compared with the stored file's: Binance
replaces files without notice.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from liqsignals.clock import DAY, iso
from liqsignals.collect.fetch import Fetcher, FetchError, Missing, Reply
from liqsignals.files import replaced

#: A file appears the next day, 01:45 .. 09:20 UTC: a missing one is no news for two days.
PUBLISHED_WITHIN = 2 * DAY
MAX_ZIP = 8 << 20


@dataclass(frozen=True)
class File:
    """One archive file: where it lies on the server and here, and the span [start, stop) (ns) that it covers."""

    path: str
    local: Path
    start: int
    stop: int


@dataclass(frozen=True)
class Outcome:
    """What became of one file: there (`file.local`), or why not."""

    file: File
    there: bool
    fetched: bool = False
    replaced: bool = False
    #: The archive has no such file, though it should by now.
    missing: bool = False
    problem: FetchError | None = None


def days(start: int, stop: int) -> list[int]:
    """Starts (ns) of the UTC days that [start, stop) touches."""
    return list(range(start // DAY * DAY, stop, DAY))


def daily(dataset: str, symbol: str, name: str, folder: Path, start: int, stop: int) -> list[File]:
    """Daily files of `dataset` (for example `metrics/BTCUSDT`), named `<symbol>-<name>-<day>.zip`."""
    return [
        File(f"/data/futures/um/daily/{dataset}/{file}", folder / file, day, day + DAY)
        for day in days(start, stop)
        for file in (f"{symbol}-{name}-{iso(day)[:10]}.zip",)
    ]


async def fetch(fetcher: Fetcher, files: list[File], now: int, step: Callable[[], None]) -> list[Outcome]:
    """Bring the files up to date, many at once; what could not be had is an outcome, not an exception."""
    # A few hundred tasks at a time: memory stays bounded however long the list is.
    out: list[Outcome] = []
    for first in range(0, len(files), 256):

        async def one(file: File) -> Outcome:
            outcome = await _bring(fetcher, file, now)
            step()
            return outcome

        out += await asyncio.gather(*[one(f) for f in files[first : first + 256]])
    return out


async def _bring(fetcher: Fetcher, file: File, now: int) -> Outcome:
    have = await asyncio.to_thread(_sha256, file.local) if file.local.exists() else None
    try:
        wanted = _published(await fetcher.get(file.path + ".CHECKSUM", max_bytes=4096), file)
        if have == wanted:
            return Outcome(file, True)
        problem = ""
        # A file that is being replaced has the old checksum for a moment: once more, both.
        for _ in range(2):
            reply = await fetcher.get(file.path, max_bytes=MAX_ZIP, json=False)
            found = hashlib.sha256(reply.body).hexdigest()
            if found == wanted:
                with replaced(file.local) as temporary:
                    temporary.write_bytes(reply.body)
                return Outcome(file, True, fetched=True, replaced=have is not None)
            problem = f"{file.local.name}: its content does not match its checksum (sha256 {found[:12]}, published {wanted[:12]})"
            wanted = _published(await fetcher.get(file.path + ".CHECKSUM", max_bytes=4096), file)
        kept = "; the copy of an earlier run is used" if have is not None else "; not used"
        return Outcome(
            file, have is not None, problem=FetchError(f"{problem}{kept}", "run the same command again later")
        )
    except Missing:
        if have is not None or file.stop > now - PUBLISHED_WITHIN:
            return Outcome(file, have is not None)
        return Outcome(file, False, missing=True)
    except FetchError as error:
        return Outcome(file, have is not None, problem=error)


def _published(reply: Reply, file: File) -> str:
    body = reply.body
    match = re.match(rb"\s*([0-9a-fA-F]{64})\b", body)
    if match is None:
        raise FetchError(f"{file.local.name}.CHECKSUM holds no sha256 ({body[:40]!r}); the file is not taken")
    return match[1].decode().lower()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""Local copy of Binance's archive: daily and monthly zips, unmodified, verified by their checksums.

`<extras>/archive/<dataset>/<SYMBOL>/<file>.zip`: the raw files are kept, so that an interrupted run resumes and an
improved parser can read them again. Every run compares the published checksum with the stored file's, because Binance
replaces files without notice.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from liqsignals.clock import DAY, iso
from liqsignals.collect.fetch import Fetcher, FetchError, Missing, Offline, Reply
from liqsignals.files import replaced

#: Files are published the next day, 01:45 .. 09:20 UTC; a missing one is reported only after two days.
PUBLISHED_WITHIN = 2 * DAY
MAX_ZIP = 8 << 20


@dataclass(frozen=True)
class File:
    """One archive file: path on the server, local path, and the span [start, stop) (ns) that it covers."""

    path: str
    local: Path
    start: int
    stop: int


@dataclass(frozen=True)
class Outcome:
    """Result for one file: present at `file.local`, or why not."""

    file: File
    there: bool
    fetched: bool = False
    replaced: bool = False
    #: The archive has no such file although it is due.
    missing: bool = False
    problem: FetchError | None = None


def days(start: int, stop: int) -> list[int]:
    """Starts (ns) of the UTC days that overlap [start, stop)."""
    return list(range(start // DAY * DAY, stop, DAY))


def daily(dataset: str, symbol: str, name: str, folder: Path, start: int, stop: int) -> list[File]:
    """Daily files of `dataset` (for example `metrics/BTCUSDT`), named `<symbol>-<name>-<day>.zip`."""
    return [
        File(f"/data/futures/um/daily/{dataset}/{file}", folder / file, day, day + DAY)
        for day in days(start, stop)
        for file in (f"{symbol}-{name}-{iso(day)[:10]}.zip",)
    ]


async def fetch(fetcher: Fetcher, files: list[File], now: int, step: Callable[[], None]) -> list[Outcome]:
    """Update the files, many in parallel; failures are outcomes, not exceptions."""
    # In batches, so that memory does not grow with the list.
    out: list[Outcome] = []
    for first in range(0, len(files), 256):

        async def one(file: File) -> Outcome:
            outcome = await _update(fetcher, file, now)
            step()
            return outcome

        out += await asyncio.gather(*[one(f) for f in files[first : first + 256]])
    return out


async def _update(fetcher: Fetcher, file: File, now: int) -> Outcome:
    have = await asyncio.to_thread(_sha256, file.local) if file.local.exists() else None
    try:
        wanted = _published(await fetcher.get(file.path + ".CHECKSUM", max_bytes=4096), file)
        if have == wanted:
            return Outcome(file, True)
        problem = ""
        # A file being replaced briefly has the old checksum: fetch both again.
        for _ in range(2):
            reply = await fetcher.get(file.path, max_bytes=MAX_ZIP, json=False)
            found = hashlib.sha256(reply.body).hexdigest()
            if found == wanted:
                with replaced(file.local) as temporary:
                    temporary.write_bytes(reply.body)
                return Outcome(file, True, fetched=True, replaced=have is not None)
            sums = f"sha256 {found[:12]}, published {wanted[:12]}"
            problem = f"{file.local.name}: its content does not match its checksum ({sums})"
            wanted = _published(await fetcher.get(file.path + ".CHECKSUM", max_bytes=4096), file)
        kept = "; the copy of an earlier run is used" if have is not None else "; not used"
        return Outcome(
            file, have is not None, problem=FetchError(f"{problem}{kept}", "run the same command again later")
        )
    except Missing:
        if have is not None or file.stop > now - PUBLISHED_WITHIN:
            return Outcome(file, have is not None)
        return Outcome(file, False, missing=True)
    except Offline:
        raise
    except FetchError as error:
        return Outcome(file, have is not None, problem=error)


def _published(reply: Reply, file: File) -> str:
    body = reply.body
    match = re.match(rb"\s*([0-9a-fA-F]{64})\b", body)
    if match is None:
        raise FetchError(f"{file.local.name}.CHECKSUM has no sha256 ({body[:40]!r}); the file is not used")
    return match[1].decode().lower()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

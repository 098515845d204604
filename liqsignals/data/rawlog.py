"""Append-only raw log of a recorder: every received message, byte for byte, in gzip files.

`<extras>/raw/<provider>/<YYYY-MM-DD>/<channel>.<start ns>.gz` (UTC day of arrival; `zcat` reads it). A line is
`{received_ns} {bytes}`; bytes that hold a line break are written as `{received_ns}= {base64}`. A file is a sequence of
gzip members, one per flush, each decodable by itself: a killed writer truncates at most the last one, and readers
ignore a truncated end. A writer never appends to bytes that it did not write itself: each run, and each failed write,
begins a new file.
"""

import base64
import logging
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from liqsignals.clock import DAY, iso
from liqsignals.errors import InputError

logger = logging.getLogger(__name__)

#: Approximate limit of the bytes of lines in one member (one line may be longer).
MEMBER = 1 << 20
#: Longest line accepted by a reader: collect/fetch.py's longest body, in base64.
LONGEST = 64 << 20
#: Free bytes that are left to others: a bot that cannot write loses trades.
RESERVE = 256 << 20
_CHUNK = 1 << 20


def encode(received_at: int, raw: bytes) -> bytes:
    """One line of a raw file, with its line break.

    >>> encode(5, b"{}"), encode(5, b"a\\nb")
    (b'5 {}\\n', b'5= YQpi\\n')
    """
    if b"\n" in raw:
        return b"%d= %s\n" % (received_at, base64.b64encode(raw))
    return b"%d %s\n" % (received_at, raw)


def decode(line: bytes) -> tuple[int, bytes]:
    """Arrival (ns) and bytes of a line without its line break. Raises ValueError for lines not written by `encode`."""
    head, _, raw = line.partition(b" ")
    if head.endswith(b"="):
        return int(head[:-1]), base64.b64decode(raw, validate=True)
    return int(head), raw


@dataclass
class RawLog:
    """Appends one channel's lines. `add` buffers them in memory, `flush` writes them as one gzip member."""

    #: `<extras>/raw/<provider>`
    folder: Path
    channel: str
    _path: Path | None = None
    _day: int = -1
    _lines: list[bytes] = field(default_factory=list)
    _size: int = 0

    @property
    def held(self) -> int:
        """Bytes buffered in memory."""
        return self._size

    def add(self, received_at: int, raw: bytes) -> None:
        """Buffer a line; a full member is written at once."""
        day = received_at // DAY
        try:
            if self._size >= MEMBER or (self._lines and day != self._day):
                self.flush()
        finally:
            # The line is buffered even if the flush failed (full disk).
            if day != self._day and not self._lines:
                self._day, self._path = day, None
            line = encode(received_at, raw)
            self._lines.append(line)
            self._size += len(line)

    def flush(self) -> None:
        """Write the buffered lines. If that fails, raises InputError and keeps them for the next flush."""
        if not self._lines:
            return
        packed = zlib.compressobj(1, zlib.DEFLATED, 31)
        member = packed.compress(b"".join(self._lines)) + packed.flush()
        try:
            if self._path is None:
                self._path = self._new_path()
            if shutil.disk_usage(self._path.parent).free < RESERVE:
                raise OSError(None, f"less than {RESERVE >> 20} MiB are free, which are left to the bot")
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                written = os.write(handle, member)
            finally:
                os.close(handle)
            if written != len(member):
                raise OSError(None, "the disk is full")
        except OSError as error:
            path, self._path = self._path, None
            raise InputError(
                f"{path or self.folder}: cannot be written ({error.strerror or error})",
                "make room on the disk",
            ) from error
        self._lines, self._size = [], 0

    def _new_path(self) -> Path:
        day = self.folder / iso(self._day * DAY)[:10]
        day.mkdir(parents=True, exist_ok=True)
        return day / f"{self.channel}.{time.time_ns()}.gz"


def read(path: Path) -> Iterator[tuple[int, bytes]]:
    """Arrival (ns) and bytes of every line of a raw file, in order, in bounded memory.

    A truncated end (a killed writer) is ignored. Damage before the end is logged; the rest of the file cannot be
    decoded and is left out.
    """
    with path.open("rb") as file:
        held = b""
        while True:
            inflate = zlib.decompressobj(31)
            parts: list[bytes] = []
            size = 0
            try:
                while not inflate.eof:
                    chunk = held or file.read(_CHUNK)
                    held = b""
                    if not chunk:
                        return
                    part = inflate.decompress(chunk, LONGEST - size)
                    parts.append(part)
                    size += len(part)
                    if size >= LONGEST:
                        raise zlib.error("a member exceeds the longest that is ever written")
                held = inflate.unused_data
                lines = b"".join(parts).split(b"\n")
                decoded = [decode(line) for line in lines[:-1]]
            except (zlib.error, ValueError) as error:
                logger.warning("%s: damaged (%s); only the lines before the damage are read", path, error)
                return
            yield from decoded


def files(folder: Path, channel: str | None = None, since: int = 0) -> list[Path]:
    """Raw files of a provider's folder, oldest first, of the UTC day of `since` (ns) and later."""
    first = iso(since)[:10]
    found = [p for p in folder.glob(f"????-??-??/{channel or '*'}.*.gz") if p.parent.name >= first]
    return sorted(found, key=lambda p: int(p.name.split(".")[-2]))

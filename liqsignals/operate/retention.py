"""How long a recorder's raw messages stay on the disk.

What is parsed stays for good; raw files are for parsing again. Days older than `days` go; where the disk runs short,
the oldest go first, down to WEEK days. What the recorder has not published yet (`raw/published`), and the signs of
life, from which later readers know when a stream was silent, stay.
"""

import re
import shutil
from datetime import date, timedelta
from pathlib import Path

from liqsignals.clock import iso

#: Days that stay however full the disk is.
WEEK = 7
#: Free bytes below which older days go before their time.
SHORT = 2 << 30
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def prune(extras: Path, now: int, days: int, free: int | None = None) -> list[Path]:
    """Remove what may go at `now` (ns); the files removed. `free`: bytes, the disk's unless given. Raises OSError."""
    raw = extras / "raw"
    try:
        published = iso(int((raw / "published").read_text()))[:10]
    except (OSError, ValueError):
        return []  # nothing is known to be parsed
    today = date.fromisoformat(iso(now)[:10])
    oldest = (today - timedelta(days=max(days, WEEK))).isoformat()
    kept = min((today - timedelta(days=WEEK)).isoformat(), published)
    free = shutil.disk_usage(extras).free if free is None else free
    removed = []
    folders = [path for path in raw.glob("*/*") if _DAY.fullmatch(path.name) and path.is_dir()]
    for folder in sorted(folders, key=lambda path: path.name):
        if not (folder.name < kept and (folder.name < oldest or free < SHORT)):
            continue
        for file in sorted(folder.glob("*.gz")):
            if not file.name.startswith("alive."):
                free += file.stat().st_size
                file.unlink()
                removed.append(file)
        if not any(folder.iterdir()):
            folder.rmdir()
    return removed

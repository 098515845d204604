"""The columns of one pair as a table, and its file: `liqsignals features`, for one pair or for all."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from liqsignals import features
from liqsignals.clock import duration_ns, iso, open_time, to_dates
from liqsignals.data import freqtrade
from liqsignals.data.tape import Tape, checked_tape
from liqsignals.errors import InputError, __version__
from liqsignals.files import parse_name, signature, stem, written
from liqsignals.liqmap import calibration, squeeze

#: Key of a file's parquet metadata: the hash of what its content depends on.
INPUTS = b"liqsignals.inputs"
#: Folders of the extras that no column reads.
_UNREAD = frozenset({"raw", "state"})
# features.Markets.maps of this process.
_maps: dict[tuple[str, str, int], features.Map] = {}


@dataclass(frozen=True)
class Job:
    """What to compute, for any pair: the options of `liqsignals features`. Times are ns, `stop` is excluded."""

    datadir: Path
    timeframe: str = "5m"
    start: int | None = None
    stop: int | None = None
    extras: Path | None = None
    exchange: str | None = None
    finest: str = "5m"
    #: As `calibration.choose` and `squeeze.choose` take them: a file, "none", or None for the shipped one.
    calibrated: str | None = None
    squeezed: str | None = None
    #: Names of columns to keep; all where empty.
    names: tuple[str, ...] = ()
    float32: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in features.NAMES]
        if unknown:
            raise InputError(f"there is no column {', '.join(unknown)}", "docs/columns.md lists all")
        duration_ns(self.timeframe)

    def chosen(self) -> calibration.Calibration:
        """The calibration to use, its squeeze parameters included."""
        return calibration.choose(self.calibrated).with_squeeze(squeeze.choose(self.squeezed))

    def absolute(self) -> "Job":
        """The same for a worker in another folder: files and folders by their whole paths."""
        return replace(
            self,
            datadir=self.datadir.absolute(),
            extras=None if self.extras is None else self.extras.absolute(),
            calibrated=_absolute(self.calibrated, "none", "shipped"),
            squeezed=_absolute(self.squeezed, "none"),
        )


def table(job: Job, pair: str, tape: Tape | None = None) -> pd.DataFrame:
    """Column `date` (candle open, tz-aware UTC), then the columns of `features.COLUMNS` in order, float64 or float32.

    `tape` is what `checked_tape` gives for the pair, where it has been read already. Raises InputError where the pair
    has no candles, none in the span, or files that cannot be read.
    """
    length = duration_ns(job.timeframe)
    if tape is None:
        tape = checked_tape(job.datadir, pair, job.extras, job.exchange, job.finest)
    bars = freqtrade.candles(job.datadir, pair, job.timeframe)
    if bars is None or len(bars) == 0:
        raise freqtrade.absent(f"{job.timeframe} candles", job.datadir, pair, job.exchange, job.timeframe)
    at, closes = bars["event_time"].copy(), bars["close"].copy()
    opened = open_time(at, length)
    inside = np.ones(len(opened), bool)
    if job.start is not None:
        inside &= opened >= job.start
    if job.stop is not None:
        inside &= opened < job.stop
    if not inside.any():
        raise InputError(
            f"no candle of {pair} lies in the timerange; the file goes from {iso(opened[0])} to {iso(opened[-1])}"
        )
    chosen = job.chosen()
    markets = features.DiskMarkets(
        job.datadir, chosen, extras=job.extras, finest=job.finest, exchange=job.exchange, maps=_maps
    )
    found = features.compute(tape, at[inside], closes[inside], length, chosen.parameters(pair), markets=markets)
    kept = {name: values for name, values in found.items() if not job.names or name in job.names}
    if job.float32:
        kept = {name: values.astype(np.float32) for name, values in kept.items()}
    return pd.DataFrame({"date": to_dates(opened[inside]), **kept})


def file_of(job: Job, out: Path, pair: str) -> Path:
    """The file of a pair in the folder `out`."""
    return out / f"{stem(pair)}-{job.timeframe}.parquet"


def inputs(job: Job, pair: str) -> str:
    """Hash of what a pair's columns depend on: this version, the options, and the files' sizes and times of change."""
    return hash_of(
        vars(job), files_of(job.datadir, job.extras, (pair, *features.pairs())), (job.calibrated, job.squeezed)
    )


def hash_of(options: Mapping[str, Any], paths: Iterable[Path], named: Iterable[str | None]) -> str:
    """Hash of this version, options, files by size and time of change, and of the content of files that options name."""
    found = sorted((str(path), *signature(path)) for path in paths)
    contents = [hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in named if p is not None and Path(p).is_file()]
    values = {name: str(value) for name, value in options.items()}
    return hashlib.sha256(json.dumps([__version__, values, contents, found], default=str).encode()).hexdigest()


def files_of(datadir: Path, extras: Path | None, pairs: Iterable[str]) -> Iterator[Path]:
    """Files that may matter to pairs: their own, and those of the extras that name no pair."""
    stems = {stem(pair) for pair in pairs}
    for path in (datadir / "futures").iterdir():
        file = parse_name(path.name)
        if file is not None and file.stem in stems:
            yield path
    extras = extras or datadir / "liqsignals"
    if not extras.is_dir():
        return
    others = {stem(pair) for pair in freqtrade.pairs_in(datadir)} - stems
    for path in extras.rglob("*"):
        parts = path.relative_to(extras).parts
        # A stem is the whole of a name or of its first part: T_USDT_USDT stands in that of DOT, too.
        named = {re.split(r"[-.]", part)[0] for part in parts}
        if path.is_file() and parts[0] not in _UNREAD and not named & others:
            yield path


def writer(job: Job, out: Path) -> partial[int | None]:
    """`write` into the folder `out`, which is made, for bulk/run.py."""
    out.mkdir(parents=True, exist_ok=True)
    return partial(write, job.absolute(), out.absolute())


def write(job: Job, out: Path, pair: str) -> int | None:
    """Write a pair's file in one step; returns its rows, None where it stands already with the same inputs.

    Raises InputError as `table` does.
    """
    path, wanted = file_of(job, out, pair), inputs(job, pair).encode()
    if path.exists() and _inputs_of(path) == wanted:
        return None
    frame = table(job, pair)
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), INPUTS: wanted})
    with written(path, (".parquet",)) as temporary:
        pq.write_table(arrow, temporary)
    return len(frame)


def _absolute(name: str | None, *words: str) -> str | None:
    """The whole path of a file that a user names, unless it is one of the `words` that name none."""
    return str(Path(name).absolute()) if name and name not in words else name


def _inputs_of(path: Path) -> bytes | None:
    try:
        return (pq.read_schema(path).metadata or {}).get(INPUTS)
    except (OSError, pa.ArrowException):
        return None  # damaged: it is written again

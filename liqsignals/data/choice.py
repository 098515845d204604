"""Which of freqtrade's files of a pair is read, and how each format is loaded.

A data directory may hold one series several times: in two formats (`freqtrade convert-data` leaves the old files), in
two timeframes, as an empty file. The rules are in docs/decisions/024; whatever is not read is logged by the readers.
"""

import gzip
import json
import logging
import os
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from liqsignals.clock import DAY, FAR, dates_ns, duration_ns, iso
from liqsignals.errors import InputError
from liqsignals.files import FORMATS, SUFFIXES, data_name, parse_name, read_stable, signature

logger = logging.getLogger(__name__)

#: Rows that a running bot fetches for itself: a file at most so far behind the newest one is as good as up to date.
LIVE_ROWS = 499
#: A file of this length makes a warm map (liqmap.WARMUP): a coarser, longer one does not replace it.
ENOUGH = 14 * DAY
#: Timeframes of candles that the map folds and of open interest that it reads, the finest first.
TIMEFRAMES = ("5m", "15m", "30m", "1h")
#: Finer candles, and the timeframe into which whole groups of them are joined where 1m is not configured.
JOINED = {"1m": "5m", "3m": "15m"}
#: In messages, for a file without a span.
NOTHING = "no rows that can be read"

#: Columns of freqtrade's JSON files, which store values only, by candle type; candles unless named.
_CANDLE = ("date", "open", "high", "low", "close", "volume")
_COLUMNS = {
    "funding_rate": ("date", "funding_rate"),
    "open_interest": ("date", "open_interest_amount", "open_interest_value"),
}


class Span(NamedTuple):
    """What a file covers: its first and last label (ns) and its number of rows."""

    first: int
    last: int
    rows: int

    def __str__(self) -> str:
        return f"{self.rows} rows, {iso(self.first)} .. {iso(self.last)}"


class Source(NamedTuple):
    """A file that is read as a timeframe; `stored` is its own, finer where candles are joined."""

    timeframe: str
    path: Path
    stored: str


def load_file(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """One reading of a file of any of freqtrade's formats; `columns`: only these, where the format can.

    Settled funding in the layout of freqtrade before 2026 (candles with the rate in `open`) gets today's column.
    A file that another process is writing may be torn: see `read_stable`.
    """
    if path.name.endswith(FORMATS["feather"]):
        frame = pd.read_feather(path, columns=columns)
    elif path.name.endswith(FORMATS["parquet"]):
        frame = pd.read_parquet(path, columns=columns)
    else:
        frame = _load_json(path)
    file = parse_name(path.name)
    legacy = file is not None and file.candle_type == "funding_rate" and "funding_rate" not in frame.columns
    return frame.rename(columns={"open": "funding_rate"}) if legacy else frame


#: Bytes of a JSON file as unpacked: a decade of 1m candles has half of it.
LARGEST_JSON = 1 << 30


def _load_json(path: Path) -> pd.DataFrame:
    """freqtrade's JSON: a list of lists, dates in epoch ms, columns known by their number only."""
    opened = gzip.open if path.name.endswith(FORMATS["jsongz"]) else open
    try:
        with opened(path, "rb") as stream:
            raw = stream.read(LARGEST_JSON + 1)
        if len(raw) > LARGEST_JSON:
            raise InputError(
                f"{path} unpacks to more than {LARGEST_JSON >> 20} MiB",
                "freqtrade convert-data writes it as feather, if it holds candles",
            )
        rows = json.loads(raw)
    except (EOFError, zlib.error) as error:
        raise ValueError(str(error)) from error
    file = parse_name(path.name)
    names = _COLUMNS.get(file.candle_type, _CANDLE) if file is not None else _CANDLE
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise InputError(f"{path} is not a list of rows", "download it again with freqtrade")
    width = len(rows[0]) if rows else len(names)
    if width == len(_CANDLE) and file is not None and file.candle_type == "funding_rate":
        names = _CANDLE
    for n, row in enumerate(rows):
        if len(row) != len(names) or not isinstance(row[0], int):
            raise InputError(
                f"{path}: row {n} is not a date in epoch ms and {len(names) - 1} values: {str(row)[:60]}",
                "download it again with freqtrade",
            )
    frame = pd.DataFrame(rows, columns=list(names))
    far = frame["date"].abs() > FAR[1].value // 10**6
    if far.any():
        row = int(far.to_numpy().argmax())
        raise InputError(
            f"{path}: row {row} has the date {frame['date'].iloc[row]}, which is no epoch in ms",
            "download it again with freqtrade",
        )
    frame["date"] = pd.to_datetime(frame["date"].astype("int64"), unit="ms", utc=True).dt.as_unit("ms")
    for name in names[1:]:
        # JSON writes whole numbers without a point, and null for NaN.
        if all(isinstance(value, int | float | None) for value in frame[name]):
            try:
                frame[name] = frame[name].astype("float64")
            except OverflowError as error:
                raise InputError(
                    f"{path}: column '{name}' has a number beyond any price or amount",
                    "download it again with freqtrade",
                ) from error
    return frame


def span(path: Path) -> Span | None:
    """What a file covers; None for one without rows, or that cannot be read. Cached until the file changes."""
    try:
        return _span(path, signature(path))
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _span(path: Path, changed: tuple[int, int]) -> Span | None:
    try:
        frame = read_stable(path, lambda p: load_file(p, ["date"]))
        at = dates_ns(frame["date"], str(path))
    except (InputError, KeyError):
        return None
    return Span(int(at.min()), int(at.max()), len(at)) if len(at) else None


def formats_of(datadir: Path, pair: str, timeframe: str, candle_type: str) -> list[Path]:
    """Files of one series, in any format."""
    # A bot asks for dozens of names a candle and pair; a Path for each took a quarter of its time.
    folder = str(datadir / "futures")
    paths = (os.path.join(folder, data_name(pair, timeframe, candle_type, suffix)) for suffix in SUFFIXES)
    return [Path(path) for path in paths if _exists(path)]


def _exists(path: str) -> bool:
    """Whether there is such a file. Raises OSError where that cannot be found out."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def data_file(datadir: Path, pair: str, timeframe: str, candle_type: str, dataformat: str | None = None) -> Path | None:
    """freqtrade's file of a series, None where there is none.

    Of several formats: the configured one (`dataformat`), which is what freqtrade itself reads; else the one with the
    newest row, of equally new ones the longest.
    """
    found = formats_of(datadir, pair, timeframe, candle_type)
    if len(found) < 2:
        return found[0] if found else None
    if dataformat is not None:
        own = [path for path in found if path.name.endswith(candle_type + FORMATS[dataformat])]
        if own:
            return own[0]
    # max takes the first of equals: the order of FORMATS.
    return max(found, key=lambda path: (s.last, s.rows) if (s := span(path)) else (-1, 0))


def finest(sources: Sequence[Source], *, long: bool) -> Source | None:
    """The source to read: the finest (`sources` are in that order) that reaches as far as the others.

    Left out are files without rows, and those that end further behind the newest than a running bot can bridge; with
    `long` also those that are shorter than ENOUGH and begin later than a coarser one (by more than a day).
    """
    if len(sources) < 2:
        return sources[0] if sources else None
    spans = {source: s for source in sources if (s := span(source.path))}
    if not spans:
        return sources[0]
    newest = max(s.last + duration_ns(source.stored) for source, s in spans.items())
    up = {x: s for x, s in spans.items() if newest - s.last <= LIVE_ROWS * duration_ns(x.timeframe)}
    if long:
        first = min(s.first for s in up.values())
        return next(x for x, s in up.items() if s.first <= max(first + DAY, newest - ENOUGH))
    return next(iter(up))


def sources(
    datadir: Path, pair: str, candle_type: str, timeframes: Sequence[str], dataformat: str | None = None
) -> list[Source]:
    """The files of some timeframes, each in the format that counts."""
    found = ((timeframe, data_file(datadir, pair, timeframe, candle_type, dataformat)) for timeframe in timeframes)
    return [Source(timeframe, path, timeframe) for timeframe, path in found if path is not None]


def candle_source(datadir: Path, pair: str, finest_timeframe: str, dataformat: str | None = None) -> Source | None:
    """The candles that the map folds: the finest that reach as far as the others, not finer than `finest_timeframe`.

    Where 1m is not configured, 1m candles are joined to 5m and 3m to 15m, if there is no better file of these.
    """
    if finest_timeframe == "1m":
        return finest(sources(datadir, pair, "futures", ("1m", "3m", *TIMEFRAMES), dataformat), long=True)
    found = sources(datadir, pair, "futures", TIMEFRAMES, dataformat)
    found += [s._replace(timeframe=JOINED[s.stored]) for s in sources(datadir, pair, "futures", (*JOINED,), dataformat)]
    found.sort(key=lambda s: (duration_ns(s.timeframe), -duration_ns(s.stored)))
    return finest(found, long=True)


def log_other_formats(datadir: Path, pair: str, timeframe: str, candle_type: str, used: Path) -> None:
    """Warn of each file of the same series in another format that holds other rows than the one that is read."""
    for path in formats_of(datadir, pair, timeframe, candle_type):
        if path != used and (held := span(path)) != span(used):
            logger.warning(
                "%s is not read (%s): %s is (%s). Way out: keep one format (freqtrade convert-data --erase), or set "
                '"dataformat_ohlcv" in the config', path, held or NOTHING, used, span(used) or NOTHING,
            )  # fmt: skip


def log_unread(datadir: Path, pair: str, candle_type: str, used: Source) -> None:
    """Log the files of a series that are not read: other formats, and other timeframes that hold other times."""
    log_other_formats(datadir, pair, used.stored, candle_type, used.path)
    mine = span(used.path)
    for other in sources(datadir, pair, candle_type, ("1m", "3m", *TIMEFRAMES)):
        held = span(other.path)
        if other.stored == used.stored or held is None:
            continue
        finer = other.stored not in JOINED and duration_ns(other.stored) < duration_ns(used.stored)
        if finer or mine is None or held.first < mine.first - DAY:
            # Finer candles would be better: a warning. A coarser file that begins earlier is usual.
            logger.log(
                logging.WARNING if finer else logging.INFO,
                "%s is not read (%s): %s covers more of the time, or is finer (%s). Way out: download %s candles of all "
                "of it", other.path, held, used.path, mine or NOTHING, min(other.stored, used.stored, key=duration_ns),
            )  # fmt: skip

"""Freqtrade's files to records.

Reads what freqtrade writes (`<datadir>/futures/BTC_USDT_USDT-5m-futures.feather`, `-open_interest`, `-funding_rate`) in
any of its formats; data/choice.py has the rules by which a file is chosen. Rows that repeat or stand out of order are
mended with a warning, for nothing is lost by that; rows that contradict each other, or that no market can produce, are
refused with the file, the row and the way out.
"""

import logging
import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liqsignals import records, venues
from liqsignals.clock import (
    DAY,
    HOUR,
    MINUTE,
    Int64Array,
    dates_ns,
    decision_time,
    duration_ns,
    iso,
    open_time,
)
from liqsignals.data import choice, labels
from liqsignals.data.choice import TIMEFRAMES, data_file, load_file
from liqsignals.data.plausible import Refused
from liqsignals.errors import InputError
from liqsignals.files import SUFFIXES, parse_name, read_stable, stem
from liqsignals.records import Float64Array, Records, later
from liqsignals.venues import VENUES

__all__ = ["data_file", "load_file"]

logger = logging.getLogger(__name__)

#: Timeframes of candles that exchanges have.
_EXCHANGES_HAVE = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w")

#: Columns of a candle, after `date`.
CANDLES = ("open", "high", "low", "close", "volume")


def check_datadir(datadir: Path) -> None:
    """Raise InputError unless `datadir` is a folder that holds `futures/`."""
    if (datadir / "futures").is_dir():
        return
    near = [datadir.parent] if datadir.name == "futures" else sorted(p.parent for p in datadir.glob("*/futures"))
    if near:
        way = f"did you mean {near[0]}?"
    else:
        way = "give the folder that holds futures/, or fill one with: freqtrade download-data --trading-mode futures"
    what = "has no folder 'futures'" if datadir.exists() else "does not exist"
    raise InputError(
        f"{datadir} is not a freqtrade futures data directory: it {what}",
        f"{way}",
    )


def check_pair(datadir: Path, pair: str) -> None:
    """Raise InputError unless `pair` is written as freqtrade writes it; the message offers what it may mean."""
    have = pairs_in(datadir)
    if re.fullmatch(r"[^/:\s,]+/[^/:\s,]+:[^/:\s,]+", pair):
        # No exchange writes a whole pair in small letters.
        other = pair.upper() if pair == pair.lower() else pair
        meant = next((p for p in have if p.upper() == pair.upper()), other)
        if meant != pair and pair not in have:
            raise InputError(
                f"there is no pair '{pair}'; pair names are case-sensitive in freqtrade", f"did you mean {meant}?"
            )
        return
    close = get_close_matches(pair.upper().replace("_", "/"), have, n=1, cutoff=0.5)
    way = f"did you mean {close[0]}?" if close else f"pairs there: {', '.join(have) or 'none'}"
    raise InputError(
        f"'{pair}' is no futures pair; write it as BTC/USDT:USDT",
        f"{way}",
    )


def check_timeframe(timeframe: str) -> None:
    """Raise InputError for a timeframe that no exchange has candles of; the message offers the nearest one."""
    length = duration_ns(timeframe)
    if timeframe not in _EXCHANGES_HAVE:
        # By the ratio: 7m is nearer to 5m than to 15m.
        near = min(_EXCHANGES_HAVE, key=lambda name: max(length / duration_ns(name), duration_ns(name) / length))
        raise InputError(
            f"no exchange has candles of {timeframe}; they have {', '.join(_EXCHANGES_HAVE)}", f"did you mean {near}?"
        )


def check_readable(datadir: Path, pairs: Sequence[str]) -> None:
    """Raise InputError naming the first file of a pair, or folder, that this user may not read.

    freqtrade skips such a file, or ends with an error that names none.
    """
    check_datadir(datadir)
    try:
        with os.scandir(datadir / "futures") as entries:
            paths = sorted(Path(entry.path) for entry in entries if entry.is_file())
        for path in paths:
            file = parse_name(path.name)
            if file is not None and file.pair in pairs:
                path.open("rb").close()
    except OSError as error:
        raise InputError(
            f"{error.filename}: cannot be read ({error.strerror})", "let the user who runs this read it"
        ) from error


def download_command(exchange: str, pair: str, timeframe: str = "5m") -> str:
    """The command that fills what a map needs of a pair, as far back as the exchange keeps open interest."""
    kinds = "futures mark funding_rate open_interest"
    return (
        f"freqtrade download-data --exchange {exchange} --trading-mode futures --candle-types {kinds} "
        f"-t {timeframe} --days 29 -p {pair}"
    )


def pairs_in(datadir: Path) -> list[str]:
    """Pairs that have candles in a data directory, as freqtrade writes them."""
    found = (parse_name(path.name) for path in (datadir / "futures").glob("*-futures.*"))
    return sorted({file.pair for file in found if file})


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A freqtrade file's frame, checked to hold `columns`."""
    frame = read_stable(path, load_file)
    missing = [c for c in ("date", *columns) if c not in frame.columns]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)} (it has: {', '.join(map(str, frame.columns))})",
            "delete the file and download it again with freqtrade 2026.9",
        )
    return frame


def sorted_rows(
    frame: pd.DataFrame, columns: tuple[str, ...], what: str, *, twins: bool = False
) -> tuple[pd.DataFrame, Int64Array]:
    """Rows in time order, each once, and their dates (ns). Contradicting rows of one date raise unless `twins` allows
    them.
    """
    ns = dates_ns(frame["date"], what)
    steps = np.diff(ns)
    if (steps > 0).all():
        return frame, ns
    if (steps < 0).any():
        row = int(np.flatnonzero(steps < 0)[0]) + 1
        logger.warning("%s: rows are not in time order (first: row %d, %s); read in order", what, row, iso(ns[row]))
        frame = frame.iloc[np.argsort(ns, kind="stable")]
        ns = np.sort(ns, kind="stable")
    if (np.diff(ns) == 0).any():
        once = frame.drop_duplicates(["date", *columns])
        clash = np.flatnonzero(once["date"].duplicated().to_numpy())
        if clash.size and not twins:
            at = once.iloc[clash[0]]["date"]
            row = int(np.flatnonzero(ns == int(pd.Timestamp(at).as_unit("ns").value))[1])
            raise InputError(
                f"{what}: row {row} contradicts an earlier row of the same date {at.isoformat()}",
                "delete the file and download it again",
            )
        if len(once) < len(frame):
            logger.warning("%s: %d repeated rows, read once", what, len(frame) - len(once))
        frame = once
    return frame, dates_ns(frame["date"], what)


def bars(frame: pd.DataFrame, timeframe: str, what: str, left_out: list[Refused] | None = None) -> Records:
    """BAR records of a frame of candles (`date` is the open). `what` names the file in errors.

    Candles that are broken in themselves raise InputError: the file is damaged. With `left_out`, for the exchange's
    answers, they are left out and listed there. Whether candles fit those around them: data/plausible.py.
    """
    names = CANDLES
    frame, opened = sorted_rows(frame, names, what)
    values = {n: _numbers(frame, n, what) for n in names}
    good = np.ones(len(opened), bool)

    def refuse(bad: Any, why: str) -> None:
        for row in np.flatnonzero(bad & good).tolist():
            shown = ", ".join(f"{n} {values[n][row]:g}" for n in names)
            _refuse(
                what, int(row), int(opened[row]), f"{why}: {shown}", "delete the file and download it again", left_out
            )
        good[bad] = False

    refuse(~np.isfinite(np.stack(list(values.values()))).all(axis=0), "has a value that is no number")
    refuse((np.stack([values[n] for n in names[:4]]) <= 0).any(axis=0), "has a price that is not above zero")
    refuse(values["volume"] < 0, "has a negative volume")
    highest = np.maximum(values["open"], values["close"])
    lowest = np.minimum(values["open"], values["close"])
    refuse((values["high"] < highest) | (values["low"] > lowest), "has an open or close outside low..high")
    period = duration_ns(timeframe)
    # Venues begin weeks on different days: longer candles need only be whole periods apart.
    begin = opened[:1].sum() if period > DAY else 0
    refuse((opened - begin) % period != 0, f"does not open on a multiple of {timeframe}")
    closed = decision_time(opened[good], period)
    return records.records(records.BAR, closed, closed, **{n: v[good] for n, v in values.items()})


def _refuse(what: str, row: int, at: int, why: str, remedy: str, left_out: list[Refused] | None) -> None:
    """Raise InputError for a row, or list it in `left_out`."""
    refused = Refused(what, at, why, row)
    if left_out is None:
        raise InputError(str(refused), remedy)
    left_out.append(refused)


def _numbers(frame: pd.DataFrame, name: str, what: str) -> NDArray[np.float64]:
    """A column as float64; text in it is an error that names the row."""
    try:
        return frame[name].to_numpy(np.float64)
    except (TypeError, ValueError):
        row = int(np.flatnonzero(pd.to_numeric(frame[name], errors="coerce").isna() & frame[name].notna())[0])
        raise InputError(
            f"{what}: row {row}, column '{name}': {frame[name].iloc[row]!r} is no number",
            "delete the file and download it again",
        ) from None


def open_interest(
    frame: pd.DataFrame,
    timeframe: str,
    bar_records: Records,
    bar_ns: int,
    exchange: str,
    what: str,
    before: int | None = None,
    left_out: list[Refused] | None = None,
) -> tuple[Records, int | None]:
    """OI_VALUE records of a frame of freqtrade's open-interest rows, and the label convention that it ends with.

    `usd` is the worth that the frame gives (NaN where it does not), counted as `base` is, so that their ratio is a
    price. `before` is the convention of earlier rows (live rows follow those on disk).

    Rows without a number and rows of zero are missing, not nothing: they leave a hole. Negative and infinite ones raise
    InputError, or are left out as in `bars`. Whether rows are what a market does: data/plausible.py.
    """
    frame, label = sorted_rows(frame, ("open_interest_amount",), what, twins=True)
    unit = VENUES[exchange].base_per_unit
    amount = _numbers(frame, "open_interest_amount", what) * unit
    valued = "open_interest_value" in frame.columns
    worth = _numbers(frame, "open_interest_value", what) * unit if valued else np.full(len(frame), np.nan)
    wrong = (amount < 0) | np.isinf(amount)
    for row in np.flatnonzero(wrong).tolist():
        _refuse(
            what, int(row), int(label[row]), f"has open interest {amount[row]:g}",
            "remove the row; exchanges keep only 30 days of open interest, so do not delete older files", left_out,
        )  # fmt: skip
    missing = ~(amount > 0) & ~wrong
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        logger.warning(
            "%s: %d rows have no open interest (NaN or 0; first: row %d, %s); read as a hole, not as zero",
            what, int(missing.sum()), row, iso(label[row]),
        )  # fmt: skip
    kept = ~(missing | wrong)
    label, amount, worth = label[kept], amount[kept], worth[kept]
    period = duration_ns(timeframe)
    # The bars of the rows' own time: what came before must not change a bit.
    bar_records = later(bar_records, int(label[0]) - period + bar_ns if len(label) else 0)
    opened, volume = open_time(bar_records["event_time"], bar_ns), bar_records["volume"]
    snapshot, rows, convention = labels.snapshot_times(
        label, amount, period, opened, bar_ns, volume, exchange, what, before
    )
    known_at = snapshot + records.open_interest_lag(period)
    return records.records(records.OI_VALUE, snapshot, known_at, base=amount[rows], usd=worth[rows]), convention


def funding(frame: pd.DataFrame, what: str, left_out: list[Refused] | None = None) -> Records:
    """FUNDING records of a frame of settled rates; intervals by the settlements before (venues.funding_intervals).

    Rows whose interval is not known are not taken: the first one, and the first one after a settlement that may be
    missing. Of rows less than a minute apart the first counts; other rates there raise InputError, as do settlements
    most of which stand at none of their interval's hours. An infinite rate raises InputError, or is left out as in
    `bars`; so does a frame most of whose rates are above venues.FUNDING_RATE_MAX, which is in another unit. Whether
    single rates are what a market does: data/plausible.py.
    """
    missing = frame["funding_rate"].isna().to_numpy()
    frame, event = sorted_rows(frame[~missing] if missing.any() else frame, ("funding_rate",), what)
    rate = _numbers(frame, "funding_rate", what)
    frame, event, rate = _settled_once(frame, event, rate, what)
    distance, settled = np.round(np.diff(event, prepend=event[:1]) / HOUR), np.round(event / HOUR)
    hours = venues.funding_intervals(distance, settled)
    large = np.abs(rate) > venues.FUNDING_RATE_MAX
    if 2 * large.sum() > len(rate):
        row = int(np.flatnonzero(large)[0])
        raise InputError(
            f"{what}: row {row} ({iso(event[row])}) has a funding rate of {rate[row]:g}, and most rows are like it;"
            " rates are fractions per interval",
            "delete the file and download it again",
        )
    known = np.isfinite(hours) & (distance > 0)
    off = known & (settled % np.where(known, hours, 1) != 0)
    if 2 * off.sum() > known.sum():
        row = int(np.flatnonzero(off)[0])
        raise InputError(
            f"{what}: row {row} ({iso(event[row])}) and most others are no settlements of a rate for {hours[row]:g} h,"
            " which exchanges settle at its multiples from 00:00 UTC on: the dates are in another time zone",
            "delete the file and download it again",
        )
    infinite = np.isinf(rate)
    for row in np.flatnonzero(infinite).tolist():
        why = f"has a funding rate of {rate[row]:g}; rates are fractions per interval"
        _refuse(what, int(row), int(event[row]), why, "delete the file and download it again", left_out)
    taken = np.isfinite(hours) & ~infinite
    event, rate = event[taken], rate[taken]
    return records.records(records.FUNDING, event, event + records.FUNDING_LAG, rate=rate, interval_h=hours[taken])


def _settled_once(
    frame: pd.DataFrame, event: Int64Array, rate: Float64Array, what: str
) -> tuple[pd.DataFrame, Int64Array, Float64Array]:
    """One row for each settlement: they are stamped some ms late, and not the same way each time."""
    again = np.diff(event, prepend=np.iinfo(np.int64).min // 2) < MINUTE
    if not again.any():
        return frame, event, rate
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(event))))
    other = np.flatnonzero(rate != rate[first])
    if other.size:
        row = int(other[0])
        raise InputError(
            f"{what}: row {row} ({iso(event[row])}) gives the settlement of {iso(event[first[row]])} another rate,"
            f" {rate[row]:g} and not {rate[first[row]]:g}",
            "delete the file and download it again",
        )
    return frame[~again], event[~again], rate[~again]


def funding_files(datadir: Path, pair: str, dataformat: str | None = None) -> list[Path]:
    """The funding files of a pair, one for each timeframe that freqtrade's versions put into the name.

    In the order of their newest rows: what a later one holds replaces what an earlier one holds.
    """
    named = (parse_name(path.name) for path in (datadir / "futures").glob(f"{stem(pair)}-*-funding_rate.*"))
    timeframes = sorted({file.timeframe for file in named if file and file.stem == stem(pair)}, key=duration_ns)
    found = [x.path for x in choice.sources(datadir, pair, "funding_rate", timeframes[::-1], dataformat)]
    return sorted(found, key=lambda path: held.last if (held := choice.span(path)) else -1) if len(found) > 1 else found


def read_funding(datadir: Path, pair: str, dataformat: str | None = None) -> Records | None:
    """FUNDING records of all of a pair's funding files, each settlement once; None without a file."""
    paths = funding_files(datadir, pair, dataformat)
    if not paths:
        return None
    frames = [read_table(path, ("funding_rate",))[["date", "funding_rate"]] for path in paths]
    if len(paths) == 1:
        return funding(frames[0], str(paths[0]))
    frames = [sorted_rows(f, ("funding_rate",), str(path))[0] for f, path in zip(frames, paths, strict=True)]
    both = pd.concat([f.assign(date=f["date"].dt.as_unit("ns")) for f in frames if len(f)] or frames[:1])
    # Settlements are stamped some ms late, and not the same way by each version of freqtrade.
    once = both[~both["date"].dt.round("min").duplicated(keep="last")].sort_values("date", ignore_index=True)
    return funding(once, " and ".join(map(str, paths)))


def candle_file(
    datadir: Path, pair: str, finest_timeframe: str, dataformat: str | None = None
) -> tuple[str, Path] | None:
    """Timeframe that the map folds, and the file of candles that it is read from (choice.candle_source)."""
    found = choice.candle_source(datadir, pair, finest_timeframe, dataformat)
    return None if found is None else (found.timeframe, found.path)


def open_interest_files(datadir: Path, pair: str, dataformat: str | None = None) -> list[choice.Source]:
    """The open-interest files of a pair of at most 1 h, the finest first."""
    return choice.sources(datadir, pair, "open_interest", TIMEFRAMES, dataformat)


def open_interest_file(datadir: Path, pair: str, dataformat: str | None = None) -> tuple[str, Path] | None:
    """The open-interest file that live rows continue: the finest one that is not out of date (choice.finest)."""
    found = choice.finest(open_interest_files(datadir, pair, dataformat), long=False)
    return None if found is None else (found.timeframe, found.path)


def read_open_interest(
    datadir: Path, pair: str, bar_records: Records, bar_ns: int, exchange: str, dataformat: str | None = None
) -> tuple[Records, int, int | None] | None:
    """OI_VALUE records of all of a pair's files; the period (ns) and label convention that live rows continue with.

    Where files of several periods overlap, the finer counts; coarser rows fill what it lacks (`newest_first_known`).
    None without a file.
    """
    files = open_interest_files(datadir, pair, dataformat)
    live = choice.finest(files, long=False)
    if live is None:
        return None
    quote, _, settled = pair.partition("/")[2].partition(":")
    if settled.partition("-")[0] != quote:
        raise InputError(
            f"{live.path}: {pair} settles in {settled}, not in {quote}; its open interest counts contracts, not coins",
            "trade the contract that settles in its quote, such as BTC/USDT:USDT",
        )
    parts, convention = [], None
    for source in files:
        if len(files) > 1 and choice.span(source.path) is None:
            logger.warning("%s holds no rows that can be read; the pair's other files are", source.path)
            continue
        frame = read_table(source.path, ("open_interest_amount",))
        rows, last = open_interest(frame, source.stored, bar_records, bar_ns, exchange, str(source.path))
        parts.append(rows)
        convention = last if source == live else convention
    return newest_first_known(parts), duration_ns(live.timeframe), convention


def newest_first_known(parts: Sequence[Records]) -> Records:
    """Records of one kind from several series, in tape order, without those that were outdated when they became known.

    A row counts iff no row of a later event was known before it. So a finer series, which is known earlier, replaces a
    coarser one where both are there, and cutting the result anywhere is the same as cutting the series.
    """
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate(parts)
    event = rows["event_time"]
    if (event[1:] > event[:-1]).all() and (np.diff(rows["known_at"]) > 0).all():
        return np.asarray(rows)
    rows = rows[np.lexsort((event, rows["known_at"]))]
    event = rows["event_time"]
    newest = np.maximum.accumulate(np.concatenate(([np.iinfo(np.int64).min], event)))[:-1] if len(event) else event
    return np.asarray(rows[event > newest])


def decisions(frame: pd.DataFrame, timeframe: str, what: str) -> tuple[Int64Array, Any]:
    """Decision times and closes of a strategy's candles."""
    return decision_time(dates_ns(frame["date"], what), duration_ns(timeframe)), frame["close"].to_numpy(np.float64)


def read_bars(path: Path, timeframe: str) -> Records:
    """BAR records of a file of candles. Raises InputError (`bars`)."""
    return bars(read_table(path, CANDLES), timeframe, str(path))


def candles(datadir: Path, pair: str, timeframe: str, dataformat: str | None = None) -> Records | None:
    """BAR records of a pair's candles of one timeframe; None without a file. Other formats that hold more are logged."""
    path = data_file(datadir, pair, timeframe, "futures", dataformat)
    if path is None:
        return None
    folded = candle_file(datadir, pair, "5m", dataformat)
    if folded is None or folded[1] != path:  # what stands beside the folded one is logged with the tape
        choice.log_other_formats(datadir, pair, timeframe, "futures", path)
    return read_bars(path, timeframe)


def folded_candles(
    datadir: Path, pair: str, finest_timeframe: str, dataformat: str | None = None
) -> tuple[str, Records] | None:
    """Timeframe and BAR records of the candles that the map folds (choice.candle_source); None without a file."""
    found = choice.candle_source(datadir, pair, finest_timeframe, dataformat)
    if found is None:
        return None
    bars = read_bars(found.path, found.stored)
    return found.timeframe, joined(bars, duration_ns(found.stored), duration_ns(found.timeframe))


def joined(bars: Records, bar_ns: int, into_ns: int) -> Records:
    """Bars of `into_ns`, a multiple of `bar_ns`, from shorter ones; incomplete ones are left out."""
    count = into_ns // bar_ns
    if count == 1:
        return bars
    group = (bars["event_time"] - 1) // into_ns
    start = np.flatnonzero(np.diff(group, prepend=group[:1] - 1))
    stop = np.append(start[1:], len(bars))[: len(start)]
    out = bars[stop - 1].copy()
    out["open"] = bars["open"][start]
    if len(start):
        out["low"], out["high"] = np.minimum.reduceat(bars["low"], start), np.maximum.reduceat(bars["high"], start)
        out["volume"] = np.add.reduceat(bars["volume"], start)
    return np.asarray(out[stop - start == count])


def log_unread(datadir: Path, pair: str, finest_timeframe: str, dataformat: str | None = None) -> None:
    """Log which of a pair's files are not read although they hold other rows."""
    found = choice.candle_source(datadir, pair, finest_timeframe, dataformat)
    if found is not None:
        choice.log_unread(datadir, pair, "futures", found)
    kinds = [(x.stored, x.path, "open_interest") for x in open_interest_files(datadir, pair, dataformat)]
    for path in funding_files(datadir, pair, dataformat):
        file = parse_name(path.name)
        assert file is not None
        kinds.append((file.timeframe, path, "funding_rate"))
    for timeframe, path, candle_type in kinds:
        choice.log_other_formats(datadir, pair, timeframe, candle_type, path)


def timeframes_there(datadir: Path, pair: str, candle_type: str) -> str:
    """Timeframes of a pair's files of one kind, for messages: `1m, 4h (no rows)`, or `none`; files that are not read."""
    named = [(path, parse_name(path.name)) for path in (datadir / "futures").glob(f"{stem(pair)}-*-{candle_type}.*")]
    held: dict[str, bool] = {}
    for path, x in named:
        if x and x.stem == stem(pair):
            held[x.timeframe] = held.get(x.timeframe, False) or choice.span(path) is not None
    found = [f"{t}{'' if held[t] else ' (no rows)'}" for t in sorted(held, key=duration_ns)]
    other = sorted(path.name for path, x in named if x is None and path.suffix not in (".tmp", ".lock"))
    unread = f"; not read: {', '.join(other)}, only {', '.join(SUFFIXES)} are" if other else ""
    return (", ".join(found) or "none") + unread


def absent(what: str, datadir: Path, pair: str, exchange: str | None, timeframe: str = "5m") -> InputError:
    """The error that names what a data directory has not of a pair, what it has, and the command that fetches it."""
    kind = "open_interest" if what == "open interest" else "futures"
    return InputError(
        f"no {what} of {pair} in {datadir / 'futures'} (of this pair there: {timeframes_there(datadir, pair, kind)};"
        f" pairs there: {', '.join(pairs_in(datadir)) or 'none'})",
        download_command(exchange or venues.exchange_of(datadir), pair, timeframe),
    )

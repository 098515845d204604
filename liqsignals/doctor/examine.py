"""What is wrong with the data, before a bot trades on them: `liqsignals doctor`.

`examine` reads a data directory and its extras and changes nothing. Its report is plain data: what each series covers,
every hole, what is too old, which instant the rows of open interest name on each day, units that cannot be right, the
disk, the configuration. `problems` repeats, in words, what needs a hand; it is empty where all is well.

A hole is half-open: `from` is the first time that is missing, `to` the next one that is there. For candles both are
opens, for open interest the instants of the snapshots, for funding settlements, for flows days. A recorder's rows
(collect/recorder.py) count like those of the files; for its streams a hole is a time without data.
"""

import itertools
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liqsignals import records, venues
from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array, dates_ns, duration_ns, iso, parse_time
from liqsignals.collect.freqtrade_command import Configuration
from liqsignals.data import choice, coverage, flows, freqtrade, labels, plausible, rawlog, store, venue_interest
from liqsignals.data.tape import read_tape
from liqsignals.doctor import config as configured
from liqsignals.errors import InputError
from liqsignals.files import DataFile, parse_name, stem
from liqsignals.liqmap import calibration
from liqsignals.report.fitted import age_line

#: Rows of a live frame: an older file leaves a hole that the running bot cannot fill (design: live data).
LIVE_ROWS = 499
#: Rows read as holes that are among the problems of a file one by one; the report has all of them.
REFUSED_NAMED = 20
#: Settlements are late by so much at most.
JITTER = 30 * MINUTE
#: A candle is downloaded after it closed, so the newest file may lack one.
LATE_BARS = 2
#: A bot writes little, but a full disk tears what it writes.
DISK_FREE = 1 << 30
#: Two successive snapshots whose ratio is this near to 2 or 1/2 have changed from one side to both, or back.
DOUBLED = 0.1
#: Days of a stream's signs of life that are read.
STREAM_DAYS = 30
#: A stream that is shorter away was only connecting again; it is counted and not listed.
BLINK = MINUTE
#: A recorder that is this long without a sign of life has stopped.
RECORDER_AGE = 10 * MINUTE
#: Hours that fall by so much must liquidate more longs than shorts.
FALL = 0.03


@dataclass(frozen=True)
class Series:
    """One file's times and what they must look like."""

    name: str
    path: Path
    #: Times of the rows, ascending and unique, int64 ns.
    times: Int64Array
    #: Distance at which the next row is due, ns: one for all rows, or (rows - 1,) one after each.
    step: int | Int64Array
    #: First instant at which the newest row could be used; age is counted from here.
    newest: int
    #: Age beyond which a feature is stale, None for what no feature reads.
    max_age: int | None
    #: Whether its holes matter; a file that another one replaces is listed only.
    read: bool = True


def holes(series: Series) -> list[dict[str, Any]]:
    """Every hole of a series: `series`, `from`, `to` (half-open) and the number of rows `missing`."""
    gap = np.diff(series.times)
    step = np.broadcast_to(series.step, gap.shape)
    return [
        {
            "series": series.name,
            "from": iso(series.times[i] + step[i]),
            "to": iso(series.times[i + 1]),
            "missing": max(int(round(gap[i] / step[i])) - 1, 1),
        }
        for i in np.flatnonzero(gap > step + (JITTER if series.path.stem.endswith("funding_rate") else 0))
    ]


def examine(
    datadir: Path,
    *,
    now: int,
    exchange: str | None = None,
    extras: Path | None = None,
    config: Configuration | None = None,
    since: int = 0,
    pairs: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The report on a data directory at `now` (int64 ns). Raises InputError where there is no data directory.

    Everything is listed; what ended before `since` (holes, jumps of open interest, hours with mistaken sides) is no
    problem any more, for nothing can mend it. `pairs`: only these are judged; all that have candles unless given.
    `config`: freqtrade's, which is judged, too (config.py).
    """
    freqtrade.check_datadir(datadir)
    store.check_extras(extras)
    exchange = exchange or venues.exchange_of(datadir)
    venues.check_exchange(exchange)
    extras = extras or datadir / "liqsignals"
    problems: list[str] = []
    report: dict[str, Any] = {
        "datadir": str(datadir), "exchange": exchange, "at": iso(now), "healthy": False, "problems": problems,
        "holes": [], "refused": [], "series": [], "streams": [], "labels": [], "units": [],
    }  # fmt: skip

    def checked(check: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return check(*arguments)
        except InputError as error:
            if str(error) not in problems:
                problems.append(str(error))
            return None

    dataformat = configured.dataformat(config)
    there = freqtrade.pairs_in(datadir)
    for pair in pairs or ():
        freqtrade.check_pair(datadir, pair)
        if pair not in there:
            problems.append(str(freqtrade.absent("candles", datadir, pair, exchange)))
    if not there:
        problems.append(
            f"{datadir / 'futures'} holds no candles. Way out: {freqtrade.download_command(exchange, 'BTC/USDT:USDT')}"
        )
    for path in sorted((datadir / "futures").iterdir()):
        file = parse_name(path.name)
        if file is None or (pairs is not None and file.pair not in pairs):
            continue
        series = checked(_file_series, path, file, datadir, dataformat)
        if series is not None:
            if file.pair in there and series.max_age is not None:
                series = checked(_with_recorded, series, datadir, file, exchange, extras, dataformat) or series
            _add(report, series, now, since)
    for pair in there if pairs is None else [pair for pair in pairs if pair in there]:
        checked(_refused, report, datadir, pair, exchange, extras, dataformat, since)
        checked(_pair_checks, report, datadir, pair, exchange, dataformat, since)
        checked(_other_candles, report, datadir, pair, dataformat, since)
        checked(_table_by_venue, extras, pair)
        checked(_sides, report, datadir, pair, extras, dataformat, since)
    _streams(report, extras, now, max(since, now - STREAM_DAYS * DAY))
    for path in sorted((extras / "flows").glob("*.csv")):
        series = checked(_flow_series, path)
        if series is not None:
            _add(report, series, now, since)
    report["disk"] = _disk(datadir, problems)
    report["config"], chosen = None, None
    if config is not None:
        report["config"], chosen, found = configured.judge(config, datadir)
        problems += found
    chosen = chosen or calibration.default()
    report["calibration"] = calibration_in_use(chosen)
    one = next(iter(there if pairs is None else pairs), "BTC/USDT:USDT")
    report["calibration_age"] = age_line(chosen, one, now, extras, exchange)
    report["healthy"] = not problems
    return report


def calibration_in_use(chosen: calibration.Calibration) -> str:
    """Which calibration the bot's map uses, on what it was fitted and how it scored, in one line."""
    parts = []
    for pair, fitted in {**chosen.markets, "other pairs": chosen.pooled}.items():
        p, span = fitted.parameters, fitted.provenance.get("span")
        score = "not scored" if p.score is None else f"score {p.score:.3f}"
        parts.append(
            f"{pair}: {score}, report factor {p.report_factor:.3f}"
            + (f", fitted on {span[0]} .. {span[1]}" if span else "")
        )
    return f"{chosen.origin} ({'; '.join(parts)})"


def _add(report: dict[str, Any], series: Series, now: int, since: int) -> None:
    found = holes(series)
    recent = [h for h in found if parse_time(h["to"]) >= since]
    report["holes"] += found
    age = now - series.newest
    first, last = int(series.times[0]), int(series.times[-1])
    stale = series.max_age is not None and age > series.max_age
    report["series"].append({
        "series": series.name, "rows": len(series.times), "from": iso(first), "to": iso(last),
        "coverage": round(len(series.times) / (len(series.times) + sum(h["missing"] for h in found)), 6),
        "age_h": round(age / HOUR, 2), "max_age_h": None if series.max_age is None else round(series.max_age / HOUR, 2),
        "stale": stale,
    })  # fmt: skip
    if recent and series.read:
        rows = sum(h["missing"] for h in recent)
        report["problems"].append(
            f"{series.name}: {rows} rows missing in {len(recent)} holes, the first {recent[0]['from']}"
        )
    if stale:
        assert series.max_age is not None
        bridged = (
            ""
            if age > LIVE_ROWS * np.max(series.step, initial=0)
            else "; a bot that starts now fetches what is missing"
        )
        report["problems"].append(
            f"{series.name}: the newest row is {age / HOUR:.1f} h old, {series.max_age / HOUR:.1f} h are"
            f" allowed{bridged}. Way out: download, or leave `liqsignals record` running"
        )
    if last > now + MINUTE:
        report["problems"].append(
            f"{series.name}: the newest row is of {iso(last)}, which is after now ({iso(now)}). Way out: set this"
            " machine's clock (timedatectl), then download again"
        )


def _file_series(path: Path, file: DataFile, datadir: Path, dataformat: str | None) -> Series | None:
    """What one of freqtrade's files covers. Raises InputError for one without rows, or that cannot be read."""
    timeframe, kind = file.timeframe, file.candle_type
    column = {"funding_rate": "funding_rate", "open_interest": "open_interest_amount"}.get(kind, "close")
    frame = freqtrade.read_table(path, (column,))
    held = len(frame)
    if kind == "funding_rate":
        frame = frame.dropna(subset=[column])
    elif kind == "open_interest":
        # A row of zero or NaN is a hole, as the reader takes it.
        frame = frame[pd.to_numeric(frame[column], errors="coerce") > 0]
    times = np.unique(dates_ns(frame["date"], str(path)))
    if len(times) == 0 and held:
        number = "a number above 0" if kind == "open_interest" else "a number"
        raise InputError(
            f"{path} holds {held} rows, none of them with {number} in {column}",
            "delete it, then download it again; liqsignals does not derive it from another column",
        )
    if len(times) == 0:
        raise InputError(
            f"{path} holds no rows",
            "delete it, then download it again; an exchange that answers with no rows makes freqtrade store such a"
            " file",
        )
    used = freqtrade.data_file(datadir, file.pair, timeframe, kind, dataformat)
    replaced = used is not None and used != path
    if used is not None and choice.span(path) != choice.span(used):
        raise InputError(
            f"{path} is not read ({choice.span(path)}), {used} is ({choice.span(used) or choice.NOTHING})",
            'keep one format (freqtrade convert-data --erase), or set "dataformat_ohlcv" in the config',
        )
    step: int | Int64Array = duration_ns(timeframe)
    if kind == "funding_rate":
        step = _settlements_due(times)
        max_age, newest = 2 * int(step[-1]) if len(step) else 16 * HOUR, int(times[-1])
    elif kind == "open_interest":
        max_age, newest = records.open_interest_max_age(duration_ns(timeframe)), int(times[-1])
    else:
        max_age, newest = LATE_BARS * duration_ns(timeframe), int(times[-1]) + duration_ns(timeframe)
    current = not replaced and path == _current(datadir, file, dataformat)
    return Series(path.stem, path, times, step, newest, max_age if current else None, not replaced)


def _current(datadir: Path, file: DataFile, dataformat: str | None) -> Path | None:
    """The file that must be up to date for a feature that reads this pair's files of this kind."""
    if file.candle_type == "funding_rate":
        return next(reversed(freqtrade.funding_files(datadir, file.pair, dataformat)), None)
    if file.candle_type == "open_interest":
        found = freqtrade.open_interest_file(datadir, file.pair, dataformat)
    elif file.candle_type == "futures":
        found = freqtrade.candle_file(datadir, file.pair, "5m", dataformat)
    else:
        return None
    return None if found is None else found[1]


def _with_recorded(
    series: Series, datadir: Path, file: DataFile, exchange: str, extras: Path, dataformat: str | None
) -> Series:
    """A series with what a recorder has kept; open interest by its snapshots instead of its labels."""
    tape = read_tape(datadir, file.pair, extras=extras, exchange=exchange, dataformat=dataformat)
    kind = file.candle_type
    if kind == "open_interest" and tape.open_interest is not None and tape.period_ns == series.step:
        times = tape.open_interest["event_time"]
        # Rows before them are of a file of another period.
        times = times[times >= series.times[0]]
        return replace(series, times=times, newest=int(times[-1])) if len(times) else series
    if kind == "futures" and tape.bars is not None and tape.bar_ns == series.step:
        times = np.union1d(tape.bars["event_time"] - series.step, series.times)
        return replace(series, times=times, newest=int(times[-1]) + int(series.step))
    if kind == "funding_rate" and exchange in tape.funding:
        # The reader leaves out rows whose interval is not known; they are there nevertheless.
        times = np.union1d(tape.funding[exchange]["event_time"], series.times)
        return replace(series, times=times, step=_settlements_due(times), newest=int(times[-1]))
    return series


def _settlements_due(times: Int64Array) -> Int64Array:
    """(rows - 1,) When the next settlement was due after each, ns: the interval that it then turned out to have.

    Where a distance was longer than the interval before it, and the next one did not repeat it, rows are missing.
    """
    distance = np.diff(times, prepend=times[:1])
    hours = venues.funding_intervals(np.round(distance / HOUR), np.round(times / HOUR))
    due, interval = np.empty(len(times) - 1, np.int64), float(max(venues.FUNDING_INTERVALS_H))
    for i in range(1, len(times)):
        known = hours[i]
        if np.isnan(known) and i + 1 < len(times) and np.round(distance[i] / HOUR) == hours[i + 1]:
            known = hours[i + 1]
        interval = interval if np.isnan(known) else float(known)
        due[i - 1] = int(interval) * HOUR
    return due


def _refused(
    report: dict[str, Any], datadir: Path, pair: str, exchange: str, extras: Path, dataformat: str | None, since: int
) -> None:
    """Rows that the readers take for holes (docs/laws.md 10), and steps that they took for real."""
    tape = read_tape(datadir, pair, extras=extras, exchange=exchange, dataformat=dataformat)
    report["refused"] += [{"file": r.what, "row": r.row, "at": iso(r.at), "problem": r.why} for r in tape.refused]
    for what, rows in itertools.groupby((r for r in tape.refused if r.at >= since), key=lambda r: r.what):
        recent = list(rows)
        report["problems"] += [
            f"{row}. It is read as a hole. Way out: compare with the exchange's page; remove the row, or download it"
            " again"
            for row in recent[:REFUSED_NAMED]
        ]
        if len(recent) > REFUSED_NAMED:
            report["problems"].append(
                f"{what}: {len(recent) - REFUSED_NAMED} more rows are read as holes, the last one at"
                f' {iso(recent[-1].at)}; all are listed as "refused" in --json'
            )
    if text := plausible.in_percent(next(iter(tape.funding.values()), np.empty(0, records.FUNDING))):
        report["problems"].append(f"{pair}: {text}")
    interest = tape.open_interest if tape.open_interest is not None else np.empty(0, records.OPEN_INTEREST)
    for row in np.flatnonzero(interest["start"]):
        at, base = int(interest["event_time"][row]), interest["base"]
        if at >= since:
            report["problems"].append(
                f"{pair}: open interest stays at x{base[row] / base[row - 1]:.3g} from {iso(at)} on, more than was"
                " traded; it is taken for real and the map starts anew there. Way out: compare with the exchange's"
                " page before you trade on it"
            )


def _other_candles(report: dict[str, Any], datadir: Path, pair: str, dataformat: str | None, since: int) -> None:
    """Candles of longer timeframes that close otherwise than the bars that the map folds."""
    folded = choice.candle_source(datadir, pair, "5m", dataformat)
    if folded is None:
        return
    bars = freqtrade.read_bars(folded.path, folded.stored)
    for timeframe in (name for name in choice.TIMEFRAMES if duration_ns(name) > duration_ns(folded.timeframe)):
        for path in choice.formats_of(datadir, pair, timeframe, "futures"):
            other = freqtrade.read_bars(path, timeframe)
            _, here, there = np.intersect1d(other["event_time"], bars["event_time"], return_indices=True)
            apart = np.abs(other["close"][here] / bars["close"][there] - 1.0) > 1e-9
            wrong = here[apart & (other["event_time"][here] >= since)]
            if len(wrong):
                report["problems"].append(
                    f"{path}: {len(wrong)} candles close otherwise than those of {folded.path.name}, the first at"
                    f" {iso(int(other['event_time'][wrong[0]]))}; liq_fresh is 0 there. Way out: compare with the exchange's"
                    " page, and download the wrong file again"
                )


def _table_by_venue(extras: Path, pair: str) -> None:
    """Read the table of open interest by venue, as a feature does."""
    path = venue_interest.table_file(extras / "venue_interest", pair)
    if path is not None:
        venue_interest.read_table(path, pair)


def _flow_series(path: Path) -> Series:
    flow = flows.read_flows(path)
    if len(flow) == 0:
        raise InputError(f"{path} holds no whole day: flow_fresh is 0 as long", "download it again, or remove it")
    ends = flow["event_time"]
    return Series(f"flows/{path.stem}", path, ends - DAY, DAY, int(ends[-1]), records.FLOW_MAX_AGE)


def _pair_checks(
    report: dict[str, Any], datadir: Path, pair: str, exchange: str, dataformat: str | None, since: int
) -> None:
    """Label convention by day and jumps of open interest; what the readers refuse becomes a problem."""
    folded = freqtrade.folded_candles(datadir, pair, "5m", dataformat)
    if folded is None:
        report["problems"].append(
            f"{pair}: no candles of 1h or finer (there: {freqtrade.timeframes_there(datadir, pair, 'futures')}); its"
            f" liq_* columns are NaN. Way out: {freqtrade.download_command(exchange, pair)}"
        )
    timeframe, bars = folded or ("5m", np.empty(0, records.BAR))
    bar_ns = duration_ns(timeframe)
    freqtrade.read_funding(datadir, pair, dataformat)
    files = freqtrade.open_interest_files(datadir, pair, dataformat)
    if not files:
        report["problems"].append(
            f"{pair}: no open interest of 1h or finer (there: "
            f"{freqtrade.timeframes_there(datadir, pair, 'open_interest')}); its liq_* columns are NaN. Way out: "
            f"{freqtrade.download_command(exchange, pair)}"
        )
    for file in files:
        path = file.path
        frame = freqtrade.read_table(path, ("open_interest_amount",))
        read, _ = freqtrade.open_interest(frame, file.stored, bars, bar_ns, exchange, str(path))
        report["labels"] += _labels(path.stem, frame, duration_ns(file.stored), bars, bar_ns, exchange, str(path))
        for row in jumps(read["base"]):
            at = int(read["event_time"][row])
            ratio = read["base"][row] / read["base"][row - 1]
            message = (
                f"{path.stem}: open interest goes by x{ratio:.2f} from one snapshot to the next at {iso(at)}; one side"
                " may have become both, or coins contracts. Way out: compare with the exchange's page before you trade"
                " on it; with --days, what is older is listed and no problem"
            )
            unit = {"series": path.stem, "at": iso(at), "ratio": round(float(ratio), 4)}
            report["units"].append({**unit, "problem" if at >= since else "found": message})
            if at >= since:
                report["problems"].append(message)


def jumps(base: NDArray[np.float64]) -> Int64Array:
    """Rows at which open interest is about twice, or half, the snapshot before."""
    octave = np.abs(np.log2(base[1:] / base[:-1]))
    return np.asarray(np.flatnonzero(np.abs(octave - 1.0) < np.log2(1.0 + DOUBLED)) + 1, np.int64)


def _labels(
    name: str, frame: pd.DataFrame, period: int, bars: records.Records, bar_ns: int, exchange: str, what: str
) -> list[dict[str, str]]:
    """Runs of UTC days that are read by one label convention: `series`, `from`, `to` (last day), `convention`."""
    label = dates_ns(frame["date"], what)
    amount = frame["open_interest_amount"].to_numpy(np.float64)
    keep = amount > 0
    label, amount = label[keep], amount[keep]
    order = np.argsort(label, kind="stable")
    label, amount = label[order], amount[order]
    twins = label[1:][np.diff(label) == 0]
    opened = bars["event_time"] - bar_ns
    days, kinds, measured = labels.conventions(label, amount, period, opened, bar_ns, bars["volume"], exchange, twins)
    edges = [0, *(np.flatnonzero(np.diff(kinds)) + 1), len(days)]
    last = label[-1] if len(label) else 0
    return [
        {
            "series": name,
            "from": iso(days[a])[:10],
            "to": iso(days[b] - 1 if b < len(days) else last)[:10],
            "convention": "start of period" if kinds[a] == venues.LABEL_START else "end of period",
            "evidence": (
                "open interest moves with the volume of the bars" if measured is not None else "vendor's documentation"
            ),
        }
        for a, b in itertools.pairwise(edges)
        if a < b
    ]


def side_check(bars: records.Records, bar_ns: int, hour: Int64Array, long_usd: Any, short_usd: Any) -> tuple[int, int]:
    """Hours that fell by FALL or more and have liquidations, and how many of them liquidated more shorts than longs.

    `hour` are the opens of the hours, `long_usd` and `short_usd` what was liquidated in each.
    """
    opened = bars["event_time"] - bar_ns
    bin_ = opened // HOUR
    first = np.flatnonzero(np.diff(bin_, prepend=-1))
    last = np.append(first[1:], len(bin_)) - 1
    change = bars["close"][last] / bars["open"][first] - 1.0
    fell = bin_[first][change <= -FALL] * HOUR
    at = np.isin(hour, fell) & (np.asarray(long_usd) + np.asarray(short_usd) > 0)
    return int(at.sum()), int((np.asarray(long_usd)[at] < np.asarray(short_usd)[at]).sum())


def _sides(report: dict[str, Any], datadir: Path, pair: str, extras: Path, dataformat: str | None, since: int) -> None:
    """Each venue's liquidations since an instant against the price: falls liquidate longs."""
    folded = freqtrade.folded_candles(datadir, pair, "5m", dataformat)
    if folded is None:
        return
    timeframe, bars = folded
    for kind in ("liquidation", "liquidated"):
        for folder in sorted(extras.glob(f"{kind}/*/{stem(pair)}-*")):
            if not re.fullmatch(r"events|\d+[mhdw]", folder.name.removeprefix(f"{stem(pair)}-")):
                continue  # a dated contract's
            rows = store.read(folder, records.STORED[kind], since)
            # Sums are stamped with the end of their interval, prints with their time.
            hour = (rows["event_time"] - (1 if kind == "liquidated" else 0)) // HOUR * HOUR
            hours, where = np.unique(hour, return_inverse=True)
            if kind == "liquidation":
                usd = np.nan_to_num(rows["usd"])
                long_usd = np.bincount(where, usd * (rows["side"] == records.LONG), len(hours))
                short_usd = np.bincount(where, usd * (rows["side"] == records.SHORT), len(hours))
            else:
                long_usd = np.bincount(where, np.nan_to_num(rows["long_usd"]), len(hours))
                short_usd = np.bincount(where, np.nan_to_num(rows["short_usd"]), len(hours))
            fell, wrong = side_check(bars, duration_ns(timeframe), hours, long_usd, short_usd)
            name = str(folder.relative_to(extras))
            found = f"{fell} hours fell by {FALL:.0%} or more; longs were more than shorts in {fell - wrong}"
            check = {"series": name, "found": found}
            if wrong > fell / 2:
                check["problem"] = (
                    f"{name}: {found}. Its sides are mistaken. Way out: do not use this venue's liquidations; report it"
                )
                report["problems"].append(check["problem"])
            report["units"].append(check)


def _streams(report: dict[str, Any], extras: Path, now: int, since: int) -> None:
    """When the recorder's streams were alive; what lies between is unknown."""
    for folder in sorted((extras / "raw").glob("*")):
        if not rawlog.files(folder, coverage.ALIVE, since):
            continue
        # There may be no file of them yet: a stream without a print is alive, too.
        spans = coverage.coverage(extras, folder.name, "liquidations", since)
        if not spans:
            continue
        name = f"{folder.name} liquidations (stream)"
        gaps = [(a.stop, b.start) for a, b in pairwise(spans) if b.start > a.stop]
        alive = sum(span.stop - span.start for span in spans)
        age = now - spans[-1].stop
        report["streams"].append({
            "series": name, "from": iso(spans[0].start), "to": iso(spans[-1].stop),
            "coverage": round(alive / (spans[-1].stop - spans[0].start), 6), "interruptions": len(gaps),
            "age_h": round(age / HOUR, 2), "max_age_h": round(RECORDER_AGE / HOUR, 2), "stale": age > RECORDER_AGE,
        })  # fmt: skip
        long = [(a, b) for a, b in gaps if b - a >= BLINK]
        report["holes"] += [{"series": name, "from": iso(a), "to": iso(b), "missing": None} for a, b in long]
        if long:
            total = sum(b - a for a, b in long) / HOUR
            report["problems"].append(
                f"{name}: unknown for {total:.2f} h in {len(long)} holes, the first {iso(long[0][0])}; nobody keeps"
                " what was liquidated then. Way out: count these hours as missing, not as quiet"
            )
        if age > RECORDER_AGE:
            report["problems"].append(
                f"{name}: the recorder gave its last sign of life {age / HOUR:.1f} h ago. Way out: start `liqsignals"
                " record`"
            )


def _disk(datadir: Path, problems: list[str]) -> dict[str, Any]:
    usage = shutil.disk_usage(datadir)
    if usage.free < DISK_FREE:
        problems.append(
            f"{datadir}: {usage.free / 2**20:.0f} MiB free on the disk; {DISK_FREE / 2**20:.0f} are wanted. Way out:"
            " make room"
        )
    return {"free_gib": round(usage.free / 2**30, 1), "total_gib": round(usage.total / 2**30, 1)}


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The report for people, a line at a time."""
    yield f"{report['datadir']} ({report['exchange']}) at {report['at']}"
    for s in report["series"]:
        allowed = "" if s["max_age_h"] is None else f" of {s['max_age_h']:g} h allowed"
        yield (
            f"  {s['series']}: {s['from']} .. {s['to']}, {s['rows']} rows, {s['coverage']:.3%} covered, "
            f"age {s['age_h']:g} h{allowed}{', STALE' if s['stale'] else ''}"
        )
    for s in report["streams"]:
        yield (
            f"  {s['series']}: {s['from']} .. {s['to']}, alive {s['coverage']:.3%}, {s['interruptions']} interruptions"
        )
    for h in report["holes"]:
        rows = "" if h["missing"] is None else f" ({h['missing']} rows)"
        yield f"  hole {h['series']}: {h['from']} .. {h['to']}{rows}"
    for row in report["refused"]:
        yield f"  refused {row['file']}: row {row['row']} ({row['at']}) {row['problem']}"
    for run in report["labels"]:
        yield f"  labels {run['series']}: {run['convention']} {run['from']} .. {run['to']} ({run['evidence']})"
    for check in report["units"]:
        if "problem" not in check:
            yield f"  units {check['series']}: {check['found']}"
    for check in report.get("live", []):
        yield f"  live {check['check']}: {'ok' if check['ok'] else 'PROBLEM'}: {check['found']}. {check['means']}"
    yield f"  disk: {report['disk']['free_gib']} GiB free; calibration: {report['calibration']}"
    if report["calibration_age"] is not None:
        yield f"  {report['calibration_age']}"
    yield "healthy" if report["healthy"] else f"{len(report['problems'])} problems:"
    yield from (f"  - {problem}" for problem in report["problems"])

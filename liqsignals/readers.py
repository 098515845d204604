"""Files to records: freqtrade's data directory and its extras.

Reads what freqtrade writes (`<datadir>/futures/BTC_USDT_USDT-5m-futures.feather`, `-open_interest`,
`-funding_rate`) and the flows CSV of the extras (`<datadir>/liqsignals/flows/*.csv`, Coin Metrics' columns). Rows
that repeat or stand out of order are mended with a warning, for nothing is lost by that; rows that contradict each
other, or that no market can produce, are refused with the file, the row and the way out.
"""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liqsignals import labels, records
from liqsignals.clock import DAY, HOUR, Int64Array, dates_ns, decision_time, duration_ns, iso, open_time
from liqsignals.errors import InputError
from liqsignals.records import Records, later

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Venue:
    """What must be known of an exchange before its open interest may be added up."""

    #: One-sided base units per unit of `open_interest_amount`.
    base_per_unit: float
    evidence: str


#: Exchanges whose units are known. One that is missing here is refused, not guessed.
VENUES = {
    "binance": Venue(1.0, "sumOpenInterest: coins, one-sided (USD-M market data documentation)"),
    "bybit": Venue(0.5, "openInterest: coins, both sides summed (Bybit v5 docs, market/open-interest)"),
}

_CANDLES = ("5m", "15m", "30m", "1h")
_OPEN_INTEREST = ("5m", "15m", "30m", "1h")
_SUFFIXES = (".feather", ".parquet")


def known_exchange(datadir: Path) -> str | None:
    """Exchange that a data directory is named after (`binance`, `binance-2024`), None where it is not known."""
    name = datadir.resolve().name
    for exchange in VENUES:
        if name == exchange or (name.startswith(exchange) and not name[len(exchange)].isalnum()):
            return exchange
    return None


def exchange_of(datadir: Path) -> str:
    """Exchange that a data directory belongs to: its name, or its name's first part (`binance-2024`).

    Raises InputError for one whose units of open interest are not known.
    """
    exchange = known_exchange(datadir)
    if exchange is not None:
        return exchange
    raise InputError(
        f"the data directory {datadir} is named '{datadir.resolve().name}', and liqsignals does not know the open-interest units of "
        f"such an exchange. It knows: {', '.join(VENUES)}. Way out: point --datadir at freqtrade's folder of one of "
        "them, for example user_data/data/binance"
    )


def check_exchange(exchange: str) -> None:
    """Raise InputError for an exchange whose open-interest units are not known."""
    if exchange not in VENUES:
        raise InputError(
            f"liqsignals does not know the open-interest units of the exchange '{exchange}'; it knows: {', '.join(VENUES)}"
        )


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
    raise InputError(f"{datadir} is not a freqtrade futures data directory: it {what}. Way out: {way}")


def check_extras(extras: Path | None) -> None:
    """Raise InputError for a folder of extras that was named and is not there."""
    if extras is not None and not extras.is_dir():
        raise InputError(f"there is no extras folder {extras}. Way out: make it, or leave the setting out")


def check_pair(datadir: Path, pair: str) -> None:
    """Raise InputError unless `pair` is written as freqtrade writes it; the message offers what it may mean."""
    if re.fullmatch(r"[^/:\s,]+/[^/:\s,]+:[^/:\s,]+", pair):
        return
    have = pairs_in(datadir)
    close = get_close_matches(pair.upper().replace("_", "/"), have, n=1, cutoff=0.5)
    way = f"did you mean {close[0]}?" if close else f"pairs there: {', '.join(have) or 'none'}"
    raise InputError(f"'{pair}' is no futures pair; write it as BTC/USDT:USDT. Way out: {way}")


def download_command(exchange: str, pair: str, timeframe: str = "5m") -> str:
    """The command that fills what a map needs of a pair, as far back as the exchange keeps open interest."""
    kinds = "futures mark funding_rate open_interest"
    return (
        f"freqtrade download-data --exchange {exchange} --trading-mode futures --candle-types {kinds} "
        f"-t {timeframe} --days 29 -p {pair}"
    )


def data_file(datadir: Path, pair: str, timeframe: str, candle_type: str) -> Path | None:
    """Path of freqtrade's file for a pair, or None where there is none."""
    name = pair
    for char in "/ .@$+:":
        name = name.replace(char, "_")
    for suffix in _SUFFIXES:
        path = datadir / "futures" / f"{name}-{timeframe}-{candle_type}{suffix}"
        if path.exists():
            return path
    return None


def finest(datadir: Path, pair: str, candle_type: str, choices: tuple[str, ...]) -> tuple[str, Path] | None:
    """Finest timeframe of `choices` (ordered) that a file exists for, and the file."""
    for timeframe in choices:
        path = data_file(datadir, pair, timeframe, candle_type)
        if path is not None:
            return timeframe, path
    return None


def pairs_in(datadir: Path) -> list[str]:
    """Pairs that have candles in a data directory, as freqtrade writes them."""
    names = sorted({p.name.split("-")[0] for p in (datadir / "futures").glob("*-futures.*")})
    return [re.sub(r"^(.+)_([^_]+)_([^_]+)$", r"\1/\2:\3", name) for name in names]


def signature(path: Path) -> tuple[int, int]:
    """What changes when a file is rewritten: modification time (ns) and size."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def read_stable(path: Path, load: Callable[[Path], pd.DataFrame], attempts: int = 4) -> pd.DataFrame:
    """Load a file that another process may be rewriting in place, as freqtrade does with feathers.

    A read that fails, or during which the file changed, is tried again; after `attempts` an InputError names the
    file and the way out.
    """
    problem = ""
    for attempt in range(attempts):
        if attempt:
            time.sleep(0.05 * 2**attempt)
        try:
            before = signature(path)
            frame = load(path)
            if signature(path) == before:
                return frame
            problem = "it keeps changing while it is read"
        except InputError:
            raise  # its content is wrong, not its bytes
        except FileNotFoundError:
            problem = "it vanished while it was read"
        except PermissionError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}. Way out: check its permissions") from error
        except (OSError, ValueError) as error:  # pyarrow's errors are both
            problem = f"it is damaged or incomplete ({str(error).splitlines()[0][:120]})"
    raise InputError(
        f"{path} cannot be read: {problem}. Way out: wait until the download has ended and try again; if the file "
        "stays broken, delete it and download it again"
    )


def _load(path: Path) -> pd.DataFrame:
    return pd.read_feather(path) if path.suffix == ".feather" else pd.read_parquet(path)


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A freqtrade file's frame, checked to hold `columns`."""
    frame = read_stable(path, _load)
    missing = [c for c in ("date", *columns) if c not in frame.columns]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)} (it has: {', '.join(map(str, frame.columns))}). Way out: "
            "delete the file and download it again with freqtrade 2026.9"
        )
    return frame


def _sorted_rows(
    frame: pd.DataFrame, columns: tuple[str, ...], what: str, *, twins: bool = False
) -> tuple[pd.DataFrame, Int64Array]:
    """Rows in time order, each once, and their dates (ns). Contradicting rows of one date raise unless `twins` allows them."""
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
                f"{what}: row {row} contradicts an earlier row of the same date {at.isoformat()}. Way out: delete the "
                "file and download it again"
            )
        if len(once) < len(frame):
            logger.warning("%s: %d repeated rows, read once", what, len(frame) - len(once))
        frame = once
    return frame, dates_ns(frame["date"], what)


def bars(frame: pd.DataFrame, timeframe: str, what: str) -> Records:
    """BAR records of a frame of candles (`date` is the open). `what` names the file in errors."""
    names = ("open", "high", "low", "close", "volume")
    frame, opened = _sorted_rows(frame, names, what)
    values = {n: _numbers(frame, n, what) for n in names}

    def refuse(bad: Any, why: str) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            shown = ", ".join(f"{n} {values[n][row]:g}" for n in names)
            raise InputError(
                f"{what}: row {row} ({iso(opened[row])}) {why}: {shown}. Way out: delete the file and download it again"
            )

    refuse(~np.isfinite(np.stack(list(values.values()))).all(axis=0), "has a value that is no number")
    refuse((np.stack([values[n] for n in names[:4]]) <= 0).any(axis=0), "has a price that is not above zero")
    refuse(values["volume"] < 0, "has a negative volume")
    highest = np.maximum(values["open"], values["close"])
    lowest = np.minimum(values["open"], values["close"])
    refuse((values["high"] < highest) | (values["low"] > lowest), "has an open or close outside low..high")
    period = duration_ns(timeframe)
    refuse(opened % period != 0, f"does not open on a multiple of {timeframe}")
    closed = decision_time(opened, period)
    return records.records(records.BAR, closed, closed, **values)


def _numbers(frame: pd.DataFrame, name: str, what: str) -> NDArray[np.float64]:
    """A column as float64; text in it is an error that names the row."""
    try:
        return frame[name].to_numpy(np.float64)
    except (TypeError, ValueError):
        row = int(np.flatnonzero(pd.to_numeric(frame[name], errors="coerce").isna() & frame[name].notna())[0])
        raise InputError(
            f"{what}: row {row}, column '{name}': {frame[name].iloc[row]!r} is no number. Way out: delete the file and "
            "download it again"
        ) from None


def open_interest(
    frame: pd.DataFrame,
    timeframe: str,
    bar_records: Records,
    bar_ns: int,
    exchange: str,
    what: str,
    before: int | None = None,
) -> tuple[Records, int | None]:
    """OPEN_INTEREST records of a frame of freqtrade's open-interest rows, and the label convention that it ends with.

    `before` is the convention that earlier rows told (live rows follow those on disk).

    Rows without a number and rows of zero are missing, not nothing: they leave a hole. Negative ones are refused.
    """
    frame, label = _sorted_rows(frame, ("open_interest_amount",), what, twins=True)
    amount = _numbers(frame, "open_interest_amount", what) * VENUES[exchange].base_per_unit
    if (amount < 0).any() or np.isinf(amount).any():
        row = int(np.flatnonzero((amount < 0) | np.isinf(amount))[0])
        raise InputError(
            f"{what}: row {row} ({iso(label[row])}) has open interest {amount[row]:g}. Way out: remove the row; "
            "exchanges keep only 30 days of open interest, so do not delete older files"
        )
    missing = ~(amount > 0)
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        logger.warning(
            "%s: %d rows have no open interest (NaN or 0; first: row %d, %s); read as a hole, not as zero",
            what, int(missing.sum()), row, iso(label[row]),
        )  # fmt: skip
        label, amount = label[~missing], amount[~missing]
    period = duration_ns(timeframe)
    # The bars of the rows' own time: what came before must not change a bit.
    bar_records = later(bar_records, int(label[0]) - period + bar_ns if len(label) else 0)
    opened, volume = open_time(bar_records["event_time"], bar_ns), bar_records["volume"]
    snapshot, amount, told = labels.snapshot_times(
        label, amount, period, opened, bar_ns, volume, exchange, what, before
    )
    known_at = snapshot + records.open_interest_lag(period)
    return records.records(records.OPEN_INTEREST, snapshot, known_at, base=amount), told


def funding(frame: pd.DataFrame, what: str) -> Records:
    """FUNDING records of a frame of settled rates; the interval is the distance to the settlement before.

    A distance that is no whole 1, 2, 4 or 8 h (a missing row) keeps the interval before it. Rows before the first
    such distance, the file's first row among them, are not taken: nothing tells what they cover.
    """
    missing = frame["funding_rate"].isna().to_numpy()
    frame, event = _sorted_rows(frame[~missing] if missing.any() else frame, ("funding_rate",), what)
    rate = _numbers(frame, "funding_rate", what)
    if (np.abs(rate) > 0.2).any():
        row = int(np.flatnonzero(np.abs(rate) > 0.2)[0])
        raise InputError(
            f"{what}: row {row} ({iso(event[row])}) has a funding rate of {rate[row]:g}; rates are fractions per "
            "interval. Way out: delete the file and download it again"
        )
    hours = np.round(np.diff(event, prepend=event[:1]) / HOUR)
    hours[~np.isin(hours, (1, 2, 4, 8))] = np.nan
    # The last whole distance at or before each row; none before the first.
    newest = np.maximum.accumulate(np.where(np.isfinite(hours), np.arange(len(hours)), -1))
    told = newest >= 0
    event, rate, interval = event[told], rate[told], hours[newest[told]]
    return records.records(records.FUNDING, event, event + records.FUNDING_LAG, rate=rate, interval_h=interval)


def flows(path: Path) -> Records:
    """FLOW records of a CSV in Coin Metrics' columns; days without all three numbers are not known."""
    names = {"inflow": "FlowInExNtv", "outflow": "FlowOutExNtv", "supply": "SplyExNtv"}
    frame = read_stable(path, pd.read_csv)
    missing = [c for c in ("time", *names.values()) if c not in frame.columns]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}. Way out: use Coin Metrics' columns (README)")
    try:
        frame["date"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
    except ValueError as error:
        raise InputError(f"{path}: column 'time' holds something that is no day ({error})") from error
    try:
        frame[list(names.values())] = frame[list(names.values())].astype(np.float64)
    except ValueError as error:
        raise InputError(f"{path}: a flow is no number ({error}). Way out: download the file again") from error
    frame, day = _sorted_rows(frame.dropna(subset=list(names.values())), tuple(names.values()), str(path))
    values = {k: frame[v].to_numpy(np.float64) for k, v in names.items()}
    bad = ~np.isfinite(np.stack(list(values.values()))).all(axis=0)
    bad |= (day % DAY != 0) | (values["inflow"] < 0) | (values["outflow"] < 0) | (values["supply"] <= 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{path}: row {row} ({iso(day[row])}) is not a whole day with flows >= 0 and supply > 0. Way out: download "
            "the file again"
        )
    end = day + DAY
    return records.records(records.FLOW, end, end + records.FLOW_LAG, **values)


def flow_file(extras: Path, pair: str) -> Path | None:
    """The flows CSV of a pair's base coin: the one whose name has the coin as a word of its own."""
    coin = pair.split("/")[0].lower()
    found = [p for p in sorted((extras / "flows").glob("*.csv")) if coin in re.split(r"[^a-z0-9]+", p.stem.lower())]
    if len(found) > 1:
        raise InputError(
            f"{extras / 'flows'} holds several files for {coin.upper()}: {', '.join(p.name for p in found)}. Way out: "
            "keep one (vintages differ, and mixing them invents flows)"
        )
    return found[0] if found else None


def venue_dirs(extras: Path) -> dict[str, Path]:
    """Other venues' data in the extras: `<extras>/venues/<exchange>/futures/`, freqtrade's own format."""
    folder = extras / "venues"
    return {p.name: p for p in sorted(folder.iterdir()) if (p / "futures").is_dir()} if folder.is_dir() else {}


def funding_file(datadir: Path, pair: str) -> Path | None:
    """The funding file of a pair, whichever timeframe freqtrade gave it in its name."""
    found = finest(datadir, pair, "funding_rate", ("1h", "8h", "4h"))
    return found[1] if found else None


def candle_file(datadir: Path, pair: str, finest_timeframe: str) -> tuple[str, Path] | None:
    """The candles that the map folds: the finest on disk, not finer than `finest_timeframe`."""
    choices = ("1m", "3m", *_CANDLES) if finest_timeframe == "1m" else _CANDLES
    return finest(datadir, pair, "futures", choices)


def open_interest_file(datadir: Path, pair: str) -> tuple[str, Path] | None:
    """The open-interest file of a pair: the finest one, not longer than 1 h."""
    return finest(datadir, pair, "open_interest", _OPEN_INTEREST)


def decisions(frame: pd.DataFrame, timeframe: str, what: str) -> tuple[Int64Array, Any]:
    """Decision times and closes of a strategy's candles."""
    return decision_time(dates_ns(frame["date"], what), duration_ns(timeframe)), frame["close"].to_numpy(np.float64)

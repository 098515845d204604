"""Freqtrade's own files, written by freqtrade in a process of its own (its command, or freqtrade_writer.py).

Freqtrade rewrites files in place, reads a damaged one as empty, and would then overwrite what no exchange still has.
So it works on copies in `<datadir>/.liqsignals-<random>/`; a file that comes out whole, with every row that went in,
takes its place in `futures/` in one step. Killed at any instant, the user's files are the old ones or the new ones.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from liqsignals.clock import Int64Array, dates_ns, duration_ns, to_dates
from liqsignals.collect import freqtrade_command
from liqsignals.data import choice, freqtrade
from liqsignals.errors import InputError
from liqsignals.files import FORMATS, data_name, parse_name, put
from liqsignals.records import BAR, Records
from liqsignals.venues import BINANCE_FLIP

_STAGE = ".liqsignals-"


@contextmanager
def _stage(datadir: Path) -> Iterator[Path]:
    """An empty data directory beside the user's files. Leftovers of killed runs are removed."""
    for old in datadir.glob(f"{_STAGE}*"):
        shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_STAGE, dir=datadir))
    (folder / "futures").mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move_in(staged: Path, final: Path) -> bool:
    """Move a staged file into its place; False where the same bytes stand there already."""
    if final.exists() and final.read_bytes() == staged.read_bytes():
        return False
    final.parent.mkdir(parents=True, exist_ok=True)
    put(staged, final)
    return True


def download_data(
    datadir: Path,
    exchange: str,
    pairs: Sequence[str],
    candle_types: Sequence[str],
    timeframes: Sequence[str],
    timerange: str,
    configs: Sequence[Path] = (),
    *,
    prepend: bool = False,
) -> list[InputError]:
    """Run `freqtrade download-data` for a data directory; what it did not do.

    Raises InputError where freqtrade fails: it names the last error of its log. The user's files are as they were then.
    """
    problems: list[InputError] = []
    with _stage(datadir) as stage:
        form = form_of(datadir)
        for path in (datadir / "futures").glob(f"*{FORMATS[form]}"):
            file = parse_name(path.name)
            if file is not None and file.candle_type in candle_types:
                shutil.copy2(path, stage / "futures" / path.name)
        before = {p.name: _dates(p) for p in (stage / "futures").iterdir()}
        for name in [name for name, at in before.items() if at is None]:
            problems.append(
                InputError(
                    f"{datadir / 'futures' / name} is damaged; freqtrade would overwrite it with less. It was not"
                    " changed",
                    "delete it, and run the same command again",
                )
            )
        config = stage / "config.json"
        config.write_text(json.dumps(_config(exchange, form)))
        (stage / "user").mkdir()
        done = freqtrade_command.run(
            freqtrade_command.command(
                "download-data", (config, *configs), stage / "user", stage, "--trading-mode", "futures",
                "--candle-types", *candle_types, "-t", *timeframes, "--timerange", timerange, "-p", *pairs,
                *(["--prepend"] if prepend else []),
            )
        )  # fmt: skip
        if done.code != 0 or done.no_markets:
            raise InputError(
                f"freqtrade download-data failed: {done.failure}. Nothing was changed",
                "run the same command again; behind a proxy, name a configuration with --config",
            )
        problems += map(InputError, done.not_downloaded)
        for staged in sorted((stage / "futures").glob(f"*{FORMATS[form]}")):
            old = before.get(staged.name, np.empty(0, np.int64))
            new = _dates(staged)
            if old is None or new is None or not len(new):
                continue
            final = datadir / "futures" / staged.name
            if not len(np.setdiff1d(new, old)):
                continue
            if len(np.setdiff1d(old, new)):
                _put_back(staged, final)
            _move_in(staged, final)
    return problems


def _put_back(staged: Path, final: Path) -> None:
    """Add the rows that freqtrade took off: the last one, which it fetches again only when it fetches up to now."""
    new, old = choice.load_file(staged), choice.load_file(final)
    old["date"] = old["date"].astype(new["date"].dtype)
    both = pd.concat([new, old[~old["date"].isin(new["date"])]]).sort_values("date", ignore_index=True)
    form = _format(final)
    if form == "feather":
        both.to_feather(staged, compression="lz4", compression_level=9)  # as freqtrade's handler
    elif form == "parquet":
        both.to_parquet(staged)
    else:
        ms = both.assign(date=both["date"].dt.as_unit("ms").astype("int64"))
        ms.to_json(staged, orient="values", compression="gzip" if form == "jsongz" else None)


def _format(path: Path) -> str:
    """The format of a file, by its ending."""
    return next(form for form, ending in FORMATS.items() if path.name.endswith(ending))


def form_of(datadir: Path) -> str:
    """The format of a data directory's files: of several the one with the newest rows, feather where there are none."""
    newest: dict[str, int] = {}
    for path in (datadir / "futures").glob("*"):
        if parse_name(path.name) is not None:
            form, held = _format(path), choice.span(path)
            newest[form] = max(newest.get(form, -1), held.last if held else -1)
    return max(FORMATS, key=lambda form: newest.get(form, -2))


def _config(exchange: str, form: str) -> dict[str, object]:
    return {
        "exchange": {"name": exchange, "pair_whitelist": [], "pair_blacklist": []},
        "stake_currency": "USDT",
        "trading_mode": "futures",
        "margin_mode": "isolated",
        "dataformat_ohlcv": form,
    }


def _dates(path: Path) -> Int64Array | None:
    """Dates of a file (ns), None where it cannot be read."""
    try:
        return dates_ns(choice.load_file(path, ["date"])["date"], str(path))
    except (OSError, ValueError, KeyError):  # pyarrow's errors and InputError are among them
        return None


def merge_interest(datadir: Path, pair: str, new: Records, exchange: str, timeframe: str = "5m") -> int:
    """Merge OI_VALUE records into a pair's open-interest file through freqtrade's data handler; rows that it gained.

    No row is lost: the user's stay, and a snapshot that both know has the archive's (checked) value. The file gets one
    convention throughout, the start of the period, which is freqtrade's own for every row. It is read back the way the
    features read it before it takes its place: every snapshot must come out as it went in. Raises InputError otherwise.
    """
    period = duration_ns(timeframe)
    path = freqtrade.data_file(datadir, pair, timeframe, "open_interest")
    final = path or datadir / "futures" / data_name(pair, timeframe, "open_interest", FORMATS[form_of(datadir)])
    bars = freqtrade.candles(datadir, pair, "5m")
    old = (
        _interest(path, timeframe, bars, exchange) if path is not None else pd.DataFrame(columns=["at", "base", "usd"])
    )
    add = pd.DataFrame({"at": new["event_time"], "base": new["base"], "usd": new["usd"]})
    both = pd.concat([old, add], ignore_index=True) if len(old) else add
    both = both.drop_duplicates("at", keep="last").sort_values("at", ignore_index=True)
    if len(both) == len(old) and np.array_equal(both["base"], old["base"]):
        return 0
    at, base = both["at"].to_numpy(np.int64), both["base"].to_numpy(np.float64)
    for label in (at - period, at, np.where(at > BINANCE_FLIP, at - period, at)):
        frame = pd.DataFrame(
            {
                "date": to_dates(label),
                "open_interest_amount": base,
                "open_interest_value": both["usd"].to_numpy(np.float64),
            }
        )
        if _reads_as(frame, timeframe, bars, exchange, str(final), at, base):
            break
    else:
        raise InputError(
            f"{final}: merged with the archive, it would not be read as it was measured; nothing was written",
            f"fill the candles of the same time first ({freqtrade.download_command(exchange, pair, timeframe)}), "
            "then run again",
        )
    with _stage(datadir) as stage:
        source = stage / "rows.feather"
        frame.to_feather(source)
        problem = in_own_process(stage, pair, timeframe, source, _format(final))
        staged = stage / "futures" / final.name
        if problem or not staged.exists():
            raise InputError(
                f"{final}: freqtrade's data handler did not write it ({problem[-200:]}); the old one stands"
            )
        _move_in(staged, final)
    return len(both) - len(old)


def _interest(path: Path, timeframe: str, bars: Records | None, exchange: str) -> pd.DataFrame:
    """A file's rows by the instants of their snapshots: at (ns), base, usd."""
    frame = freqtrade.read_table(path, ("open_interest_amount", "open_interest_value"))
    read, _ = freqtrade.open_interest(frame, timeframe, _known(bars), duration_ns("5m"), exchange, str(path))
    rows = pd.DataFrame({"at": read["event_time"], "base": read["base"]})
    # The reader does not keep what the rows are worth: found again by label and amount.
    worth = pd.DataFrame(
        {
            "at": dates_ns(frame["date"], str(path)),
            "base": frame["open_interest_amount"].to_numpy(np.float64),
            "usd": frame["open_interest_value"].to_numpy(np.float64),
        }
    ).drop_duplicates(["at", "base"])
    end = rows.merge(worth, how="left", on=["at", "base"])["usd"]
    start = rows.assign(at=rows["at"] - duration_ns(timeframe)).merge(worth, how="left", on=["at", "base"])["usd"]
    return rows.assign(usd=end.fillna(start).to_numpy())


def _known(bars: Records | None) -> Records:
    return np.empty(0, BAR) if bars is None else bars


def _reads_as(
    frame: pd.DataFrame,
    timeframe: str,
    bars: Records | None,
    exchange: str,
    what: str,
    at: Int64Array,
    base: Int64Array,
) -> bool:
    """Whether the features would read a frame as exactly these snapshots."""
    try:
        read, _ = freqtrade.open_interest(frame, timeframe, _known(bars), duration_ns("5m"), exchange, what)
    except InputError:
        return False
    return np.array_equal(read["event_time"], at) and np.array_equal(read["base"], base)


def in_own_process(stage: Path, pair: str, timeframe: str, source: Path, form: str) -> str:
    """Run freqtrade_writer.py in its own process, because freqtrade's imports need memory; its error, or ""."""
    script = Path(__file__).with_name("freqtrade_writer.py")
    command = [sys.executable, str(script), str(stage), pair, timeframe, str(source), form]
    run = freqtrade_command.in_group(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return "" if run.returncode == 0 else run.stderr.strip() or f"exit code {run.returncode}"

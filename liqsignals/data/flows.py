"""Reads exchange flows from a CSV in Coin Metrics' columns."""

from pathlib import Path

import numpy as np
import pandas as pd

from liqsignals import records, venues
from liqsignals.clock import DAY, iso
from liqsignals.data.freqtrade import sorted_rows
from liqsignals.errors import InputError
from liqsignals.files import names_coin, read_stable
from liqsignals.records import Records


def read_flows(path: Path, pair: str | None = None) -> Records:
    """FLOW records of a CSV in Coin Metrics' columns; days without all three numbers are left out.

    Where it has a column `asset`, only the rows of the pair's coin count; of the first coin, where no pair is given.
    """
    names = {"inflow": "FlowInExNtv", "outflow": "FlowOutExNtv", "supply": "SplyExNtv"}
    frame = read_stable(path, pd.read_csv)
    missing = [c for c in ("time", *names.values()) if c not in frame.columns]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}",
            "use Coin Metrics' columns (docs/data.md)",
        )
    if "asset" in frame.columns and len(frame):
        assets = frame["asset"].astype(str).str.upper()
        coin = assets.iloc[0] if pair is None else venues.coin(pair)
        if not (assets == coin).any():
            there = ", ".join(sorted(set(assets))[:5])
            raise InputError(
                f"{path}: holds no rows of {coin}, but of {there}", "download the coin's own, or rename the file"
            )
        frame = frame[assets == coin].reset_index(drop=True)
    try:
        frame["date"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
    except ValueError as error:
        raise InputError(f"{path}: column 'time' holds a value that is not a day ({error})") from error
    try:
        frame[list(names.values())] = frame[list(names.values())].astype(np.float64)
    except ValueError as error:
        raise InputError(
            f"{path}: a flow is not a number ({error})",
            "download the file again",
        ) from error
    frame, day = sorted_rows(frame.dropna(subset=list(names.values())), tuple(names.values()), str(path))
    values = {k: frame[v].to_numpy(np.float64) for k, v in names.items()}
    bad = ~np.isfinite(np.stack(list(values.values()))).all(axis=0)
    bad |= (day % DAY != 0) | (values["inflow"] < 0) | (values["outflow"] < 0) | (values["supply"] <= 0)
    # What came in and stayed is part of the supply at the day's end.
    bad |= values["inflow"] - values["outflow"] > values["supply"]
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{path}: row {row} ({iso(day[row])}) is not a whole day with flows >= 0 and supply > 0, and at least what"
            " flowed in and not out",
            "download the file again",
        )
    end = day + DAY
    return records.records(records.FLOW, end, end + records.FLOW_LAG, **values)


def flow_file(extras: Path, pair: str) -> Path | None:
    """The flows CSV of a pair's base coin: the file with the coin as a separate word in its name."""
    coin = pair.split("/")[0].lower()
    found = [path for path in sorted((extras / "flows").glob("*.csv")) if names_coin(path, coin)]
    if len(found) > 1:
        raise InputError(
            f"{extras / 'flows'} holds several files for {coin.upper()}: {', '.join(p.name for p in found)}",
            "keep one (vintages differ, and a mixture has wrong flows)",
        )
    return found[0] if found else None

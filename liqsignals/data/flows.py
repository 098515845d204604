"""Reads exchange flows from a CSV in Coin Metrics' columns."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from liqsignals import records
from liqsignals.clock import DAY, iso
from liqsignals.data.freqtrade import sorted_rows
from liqsignals.errors import InputError
from liqsignals.files import read_stable
from liqsignals.records import Records


def read_flows(path: Path) -> Records:
    """FLOW records of a CSV in Coin Metrics' columns; days without all three numbers are left out."""
    names = {"inflow": "FlowInExNtv", "outflow": "FlowOutExNtv", "supply": "SplyExNtv"}
    frame = read_stable(path, pd.read_csv)
    missing = [c for c in ("time", *names.values()) if c not in frame.columns]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}",
            "use Coin Metrics' columns (docs/data.md)",
        )
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
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{path}: row {row} ({iso(day[row])}) is not a whole day with flows >= 0 and supply > 0",
            "download the file again",
        )
    end = day + DAY
    return records.records(records.FLOW, end, end + records.FLOW_LAG, **values)


def flow_file(extras: Path, pair: str) -> Path | None:
    """The flows CSV of a pair's base coin: the file with the coin as a separate word in its name."""
    coin = pair.split("/")[0].lower()
    found = [p for p in sorted((extras / "flows").glob("*.csv")) if coin in re.split(r"[^a-z0-9]+", p.stem.lower())]
    if len(found) > 1:
        raise InputError(
            f"{extras / 'flows'} holds several files for {coin.upper()}: {', '.join(p.name for p in found)}",
            "keep one (vintages differ, and a mixture has wrong flows)",
        )
    return found[0] if found else None

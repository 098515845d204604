"""Facts that several readers share: funding intervals, label conventions, file names, kinds of records, staged files."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import START, write

from liqsignals import records, venues
from liqsignals.clock import HOUR, to_dates
from liqsignals.data import freqtrade
from liqsignals.doctor import examine
from liqsignals.sources import PROVIDERS, binance

SETTLEMENTS = 40


@pytest.mark.parametrize("interval", [1, 2, 4, 6, 8])
def test_every_reader_knows_an_interval_of_funding(tmp_path: Path, interval: int) -> None:
    """All but the first settlement, whose interval nothing tells, come out of file, REST and archive with their hours."""
    at = START + interval * HOUR * np.arange(SETTLEMENTS)
    rate = np.linspace(-1e-4, 1e-4, SETTLEMENTS)
    frame = pd.DataFrame({"date": to_dates(at), "funding_rate": rate})
    stored = freqtrade.funding(frame, "file")
    rest = [{"fundingTime": int(t) // 10**6, "fundingRate": repr(r)} for t, r in zip(at, rate.tolist(), strict=True)]
    asked = binance.parse_funding(json.dumps(rest).encode(), int(at[-1]) + HOUR)
    assert stored.tolist() == asked.tolist()
    assert stored["event_time"].tolist() == at[1:].tolist()
    assert stored["interval_h"].tolist() == [interval] * (SETTLEMENTS - 1)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        rows = [f"{int(t) // 10**6},{interval},{r!r}" for t, r in zip(at, rate.tolist(), strict=True)]
        archive.writestr("a.csv", "\n".join(["calc_time,funding_interval_hours,last_funding_rate", *rows]))
    archived = binance.parse_funding_archive(packed.getvalue(), int(at[-1]) + HOUR)
    assert archived[1:].tolist() == stored.tolist()
    # The doctor finds neither a hole nor another maximum age than two intervals.
    (tmp_path / "binance" / "futures").mkdir(parents=True)
    write(tmp_path / "binance", "1h-funding_rate", frame)
    report = examine.examine(tmp_path / "binance", now=int(at[-1]) + HOUR)
    [series] = report["series"]
    assert (report["holes"], series["max_age_h"], series["coverage"]) == ([], 2 * interval, 1.0)


@pytest.mark.parametrize("hours", [0, 3, 5, 7, 12, 16, 24])
def test_what_no_venue_settles_at_is_no_interval(hours: int) -> None:
    assert np.isnan(venues.funding_interval(np.array([float(hours)]))).all()


def test_every_kind_of_record_has_one_name() -> None:
    declared = [value for value in vars(records).values() if isinstance(value, np.dtype)]
    assert list(records.KINDS.values()) == declared, "in the order of the file, which orders ties on the tape"
    assert len(records.STORED) == len(declared) - 1
    assert records.STORED["open_interest"] == records.OI_VALUE
    for provider in PROVIDERS:
        for series in (*provider.series, *provider.streams):
            assert series.kind in (*records.STORED, "contracts"), f"{provider.name} {series}"

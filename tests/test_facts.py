"""Facts that several readers share: funding intervals, label conventions, file names, kinds of records, staged files."""

import contextlib
import errno
import io
import json
import zipfile
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import START, write

from liqsignals import files, records, venues
from liqsignals.clock import HOUR, to_dates
from liqsignals.data import freqtrade
from liqsignals.doctor import examine
from liqsignals.errors import InputError
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
    assert [kind.dtype for kind in records.KINDS.values()] == declared, (
        "in the order of the file, which orders ties on the tape"
    )
    assert len(records.STORED) == len(declared) - 1
    assert records.STORED["open_interest"] == records.OI_VALUE
    for provider in PROVIDERS:
        for series in (*provider.series, *provider.streams):
            assert series.kind in (*records.STORED, "contracts"), f"{provider.name} {series}"


def test_a_file_name_comes_apart_as_it_was_made() -> None:
    for pair, candle_type, suffix in product(
        ("BTC/USDT:USDT", "1000SHIB/USDC:USDC", "A-B/USDT:USDT"), files.CANDLE_TYPES, files.SUFFIXES
    ):
        name = files.data_name(pair, "15m", candle_type, suffix)
        file = files.parse_name(name)
        assert file == (files.stem(pair), "15m", candle_type, suffix)
        assert file is not None
        assert file.pair == pair


@pytest.mark.parametrize(
    "name",
    ["BTC_USDT-5m.feather", "BTC_USDT_USDT-5m-futures.csv", ".BTC_USDT_USDT-5m-futures.feather-x.tmp", "notes.txt"],
)
def test_other_files_are_none_of_freqtrades(name: str) -> None:
    assert files.parse_name(name) is None


def test_a_staged_file_replaces_the_old_one_or_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.json"
    with files.replaced(path) as temporary:
        temporary.write_text("old")
        assert not path.exists()
    assert path.stat().st_mode & 0o777 == 0o644
    with contextlib.suppress(RuntimeError), files.replaced(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with pytest.raises(InputError, match=r"a\.json: cannot be written \(No space left"), files.replaced(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(InputError, match=r"b\.json: cannot be written"), files.replaced(path / "b.json"):
        pass
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]
    assert path.read_text() == "old"


def test_a_staged_folder_replaces_the_old_one_or_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "market"

    def make(content: str) -> None:
        with files.replaced_folder(path) as folder:
            folder.mkdir()
            (folder / "a").write_text(content)
            if content == "half":
                raise RuntimeError

    make("first")
    make("second")
    with pytest.raises(RuntimeError):
        make("half")
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if ".new-" in self.name:
            raise OSError
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with contextlib.suppress(OSError):
        make("third")
    assert [p.name for p in tmp_path.iterdir()] == ["market"]
    assert (path / "a").read_text() == "second"

"""All pairs at once: the same as one by one, resumable, and wrong pairs do not cost the others."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import PAIR, STEM, make_market, write_datadir

from liqsignals import cli, features
from liqsignals.bulk import columns, run
from liqsignals.errors import InputError

ETH, ETH_STEM = "ETH/USDT:USDT", "ETH_USDT_USDT"


@pytest.fixture
def datadir(tmp_path: Path) -> Path:
    write_datadir(tmp_path, make_market(2.0, seed=2, price=3_000.0), stem=ETH_STEM, flows=False)
    return write_datadir(tmp_path, make_market(2.0, seed=1))


def liqsignals(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["liqsignals", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_pairs_are_equal_to_single_runs(datadir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert liqsignals(monkeypatch, "features", "-d", datadir, "--all-pairs", "-o", tmp_path / "all", "-j", 1) == 0
    for pair, stem in ((PAIR, STEM), (ETH, ETH_STEM)):
        one = tmp_path / f"{stem}.parquet"
        assert liqsignals(monkeypatch, "features", "-d", datadir, "-p", pair, "-o", one) == 0
        both = pd.read_parquet(one), pd.read_parquet(tmp_path / "all" / f"{stem}-5m.parquet")
        pd.testing.assert_frame_equal(*both, check_exact=True)
        assert tuple(both[1].columns) == ("date", *features.NAMES)


def test_a_second_run_writes_only_what_changed(datadir: Path, tmp_path: Path) -> None:
    job, out = columns.Job(datadir), tmp_path / "all"
    assert {done.pair: done.rows for done in run.run(columns.writer(job, out), [PAIR, ETH], jobs=1)} == {
        PAIR: 576,
        ETH: 576,
    }
    before = content(out)
    assert all(done.rows is None for done in run.run(columns.writer(job, out), [PAIR, ETH], jobs=1))
    (out / f"{ETH_STEM}-5m.parquet").write_bytes(b"torn")
    assert {done.pair: done.rows for done in run.run(columns.writer(job, out), [PAIR, ETH], jobs=1)} == {
        PAIR: None,
        ETH: 576,
    }
    assert content(out) == before
    # Another pair's file does not matter, BTC's does: it is read for every pair.
    write_datadir(tmp_path, make_market(2.0, seed=3, price=3_000.0), stem=ETH_STEM, flows=False)
    assert {done.pair: done.rows for done in run.run(columns.writer(job, out), [PAIR, ETH], jobs=1)} == {
        PAIR: None,
        ETH: 576,
    }
    write_datadir(tmp_path, make_market(2.0, seed=4))
    assert {done.pair: done.rows for done in run.run(columns.writer(job, out), [PAIR, ETH], jobs=1)} == {
        PAIR: 576,
        ETH: 576,
    }


def test_options_are_part_of_what_a_file_depends_on(datadir: Path) -> None:
    job = columns.Job(datadir)
    others = (columns.Job(datadir, calibrated="none"), columns.Job(datadir, float32=True), columns.Job(datadir, "15m"))
    assert len({columns.inputs(j, PAIR) for j in (job, *others)}) == 4
    assert columns.inputs(job, PAIR) == columns.inputs(columns.Job(datadir), PAIR)


def test_chosen_columns_in_single_precision(datadir: Path) -> None:
    names = ("liq_above_price", "fund_fresh")
    frame = columns.table(columns.Job(datadir, names=names, float32=True), PAIR)
    whole = columns.table(columns.Job(datadir), PAIR)
    assert list(frame.columns) == ["date", "liq_above_price", "fund_fresh"]
    for name in names:
        assert frame[name].dtype == np.float32
        np.testing.assert_array_equal(frame[name], whole[name].astype(np.float32))
    with pytest.raises(InputError, match="no column liq_nope"):
        columns.Job(datadir, names=("liq_nope",))


def test_a_broken_pair_does_not_cost_the_others(
    datadir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (datadir / "futures" / f"{ETH_STEM}-5m-futures.feather").write_bytes(b"torn")
    out = tmp_path / "all"
    assert liqsignals(monkeypatch, "features", "-d", datadir, "--all-pairs", "-o", out, "-j", 1) == 2
    said = capsys.readouterr().err
    assert f"{ETH_STEM}-5m-futures.feather" in said
    assert "1 of 2 pairs could not be computed" in said
    assert [p.name for p in out.iterdir()] == [f"{STEM}-5m.parquet"]


@pytest.mark.slow
def test_processes_write_the_same_bytes(datadir: Path, tmp_path: Path) -> None:
    job = columns.Job(datadir, float32=True)
    for jobs in (1, 2):
        assert (
            sum(done.rows or 0 for done in run.run(columns.writer(job, tmp_path / str(jobs)), [PAIR, ETH], jobs=jobs))
            == 1152
        )
    assert content(tmp_path / "1") == content(tmp_path / "2")
    assert pq.read_schema(tmp_path / "1" / f"{STEM}-5m.parquet").metadata[columns.INPUTS]


def test_wrong_combinations_are_named(datadir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for arguments, words in (
        (["--all-pairs", "-p", PAIR], "either --pair or --all-pairs"),
        ([], "either --pair or --all-pairs"),
        (["-p", PAIR, "-j", "2"], "go with --all-pairs"),
    ):
        assert liqsignals(monkeypatch, "features", "-d", datadir, "-o", tmp_path / "x.csv", *arguments) == 2
        assert words in capsys.readouterr().err

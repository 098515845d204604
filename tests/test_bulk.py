"""All pairs at once: the same as one by one, resumable, and wrong pairs do not cost the others."""

import pickle
import shutil
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


def test_a_pairs_files_are_not_those_of_a_pair_whose_name_ends_like_it(datadir: Path, tmp_path: Path) -> None:
    """T beside DOT."""
    for name in ("DOT", "T"):
        write_datadir(tmp_path, make_market(1.0), stem=f"{name}_USDT_USDT", flows=False)
    own = tmp_path / "binance" / "liqsignals" / "bar" / "bybit" / "DOT_USDT_USDT-5m" / "2026-01-01.npy"
    own.parent.mkdir(parents=True)
    own.touch()
    job = columns.Job(tmp_path / "binance")
    assert own in columns.files_of(job.datadir, None, ["DOT/USDT:USDT"])
    assert own not in columns.files_of(job.datadir, None, ["T/USDT:USDT"])


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


@pytest.fixture
def relative(datadir: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Words of `features` that name everything by paths relative to the folder of `datadir`, where it runs."""
    home = datadir.parent
    for name in ("default", "squeeze"):
        shutil.copy(Path(columns.calibration.__file__).with_name(f"{name}.json"), home / f"my-{name}.json")
    (home / "extras").mkdir()
    monkeypatch.chdir(home)
    return [
        "features", "--all-pairs", "-d", datadir.name, "--extras", "extras",
        "--calibration", "my-default.json", "--squeeze", "my-squeeze.json",
    ]  # fmt: skip


def test_a_worker_in_another_folder_finds_every_file(
    relative: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert liqsignals(monkeypatch, *relative, "-o", "here", "-j", 1) == 0
    job = columns.Job(
        Path(relative[3]), extras=Path("extras"), calibrated="my-default.json", squeezed="my-squeeze.json"
    )
    write = pickle.dumps(columns.writer(job, Path("there")))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert [run.one(pickle.loads(write), pair) for pair in (PAIR, ETH)] == [run.Done(PAIR, 576), run.Done(ETH, 576)]
    assert content(tmp_path / "there") == content(tmp_path / "here")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_words_that_name_no_file_stay(tmp_path: Path) -> None:
    for words in (("none", "none"), ("shipped", None), (None, None)):
        job = columns.Job(Path("binance"), calibrated=words[0], squeezed=words[1]).absolute()
        assert (job.calibrated, job.squeezed) == words
    assert columns.Job(tmp_path).absolute() == columns.Job(tmp_path)


@pytest.mark.slow
def test_a_dask_worker_in_another_folder_writes_the_same_bytes(
    relative: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed (the extra scale)")
    (tmp_path / "elsewhere").mkdir()
    with monkeypatch.context() as there:
        there.chdir(tmp_path / "elsewhere")  # where its worker starts
        cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    with cluster:
        address = cluster.scheduler_address
        assert liqsignals(monkeypatch, *relative, "-o", "there", "--scheduler", address) == 0
        assert "there: 2 of 2 pairs, 1152 rows written" in capsys.readouterr().out
    assert liqsignals(monkeypatch, *relative, "-o", "here", "-j", 1) == 0
    assert content(tmp_path / "there") == content(tmp_path / "here")
    assert len(content(tmp_path / "here")) == 2


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

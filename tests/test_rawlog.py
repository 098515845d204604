"""Raw capture: every byte comes back, and a file that is cut anywhere loses only its last member."""

import logging
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqsignals.clock import DAY
from liqsignals.data import rawlog
from liqsignals.errors import InputError

T = 20_000 * DAY


def written(folder: Path, members: list[list[bytes]], at: int = T) -> Path:
    log = rawlog.RawLog(folder, "prints")
    for n, lines in enumerate(members):
        for line in lines:
            log.add(at + n, line)
        log.flush()
    (path,) = rawlog.files(folder)
    return path


@given(st.lists(st.lists(st.binary(max_size=60), min_size=1, max_size=5), min_size=1, max_size=4))
def test_every_byte_comes_back(tmp_path_factory: pytest.TempPathFactory, members: list[list[bytes]]) -> None:
    path = written(tmp_path_factory.mktemp("raw"), members)
    assert list(rawlog.read(path)) == [(T + n, line) for n, lines in enumerate(members) for line in lines]


@pytest.mark.slow
def test_a_file_cut_at_any_byte_keeps_its_whole_members(tmp_path: Path) -> None:
    members = [[b"one", b"two"], [b"three"], [os.urandom(300), b"line\nbreak"]]
    path = written(tmp_path, members)
    whole = path.read_bytes()
    ends = [0]
    log = rawlog.RawLog(tmp_path / "again", "prints")
    for n, lines in enumerate(members):
        for line in lines:
            log.add(T + n, line)
        log.flush()
        ends.append(sum(p.stat().st_size for p in rawlog.files(tmp_path / "again")))
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut for end in ends[1:])
        assert list(rawlog.read(path)) == [(T + n, line) for n, lines in enumerate(members[:kept]) for line in lines], (
            cut
        )


def test_damage_is_told_and_not_read_as_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [b"good", b"bad" * 50, b"after"]
    path = written(tmp_path, [[line] for line in lines])
    whole = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
            got = [raw for _, raw in rawlog.read(path)]
            assert got == lines[: len(got)], at
    assert "damaged" in caplog.text


def test_days_rotate(tmp_path: Path) -> None:
    log = rawlog.RawLog(tmp_path, "prints")
    log.add(T + DAY - 1, b"before")
    log.add(T + DAY, b"after")
    log.flush()
    first, second = rawlog.files(tmp_path)
    assert [next(iter(rawlog.read(p)))[1] for p in (first, second)] == [b"before", b"after"]
    assert first.parent.name < second.parent.name
    assert rawlog.files(tmp_path, since=T + DAY) == [second]


def test_memory_is_bounded_without_flush(tmp_path: Path) -> None:
    log = rawlog.RawLog(tmp_path, "prints")
    for n in range(64):
        log.add(T + n, b"x" * (rawlog.MEMBER // 16))
    assert log.held <= 2 * rawlog.MEMBER


def test_a_full_disk_keeps_the_lines_and_never_appends_behind_a_torn_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = rawlog.RawLog(tmp_path, "prints")
    log.add(T, b"first")
    log.flush()
    log.add(T, b"second")
    write = os.write
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", lambda handle, data: write(handle, data[:5]))
        with pytest.raises(InputError, match="Way out: make room"):
            log.flush()
    log.flush()
    assert [raw for path in rawlog.files(tmp_path) for _, raw in rawlog.read(path)] == [b"first", b"second"]


def test_the_last_room_on_the_disk_is_left_to_the_bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [rawlog.RESERVE - 1]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free[0]))
    log = rawlog.RawLog(tmp_path, "prints")
    log.add(T, b"line")
    with pytest.raises(InputError, match="left to the bot"):
        log.flush()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.gz")) == 0
    free[0] += 1
    log.flush()
    (path,) = [path for path in rawlog.files(tmp_path) if path.stat().st_size]
    assert list(rawlog.read(path)) == [(T, b"line")]

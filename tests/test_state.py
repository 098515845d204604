"""Saved state: the same bits as folding from the start, or it is not used."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FIVE, NARROW, PAIR, FakeProvider, as_tape, assert_same_bits, decisions, make_market, write_datadir

from liqsignals import features, liqmap
from liqsignals.data.tape import Tape
from liqsignals.liqmap import state as saved
from liqsignals.strategy.signals import Signals

ROWS = 600
#: First candles of the views whose state is saved.
SAVED = (150, 300)


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tapes are worth a file here."""
    monkeypatch.setattr(saved, "LEAST", 50)


@pytest.fixture(scope="module")
def tape() -> Tape:
    return as_tape(make_market(ROWS / 288, 31, volatility=0.003))


def view(tape: Tape, row: int) -> tuple[np.ndarray, np.ndarray]:
    assert tape.bars is not None
    return tape.bars["event_time"][row : row + 40].copy(), tape.bars["close"][row : row + 40].copy()


def compute(
    tape: Tape, row: int, parameters: liqmap.Parameters = NARROW, folder: Path | None = None, *, keep: bool = False
) -> Any:
    """Columns of a view, going on from what the folder holds, and leaving its own there where it is to be kept."""
    at, closes = view(tape, row)
    state = (saved.load(folder, tape, int(at[0]) - FIVE, parameters) if folder else None) or liqmap.FoldState()
    loaded = state.upto
    columns = features.compute(tape, at, closes, FIVE, parameters, state)
    if folder and keep:
        saved.save(folder, tape, state, parameters, loaded)
    return columns


def start(tape: Tape, row: int) -> int:
    """Up to here a view of candles from `row` on needs a state."""
    assert tape.bars is not None
    return int(tape.bars["event_time"][row]) - FIVE


@pytest.fixture
def folder(tape: Tape, tmp_path: Path) -> Path:
    """States of two views."""
    for row in SAVED:
        compute(tape, row, folder=tmp_path, keep=True)
    assert len(list(tmp_path.iterdir())) == len(SAVED)
    return tmp_path


def test_a_saved_state_changes_no_bit_and_the_newest_that_serves_is_used(tape: Tape, folder: Path) -> None:
    for row in (*range(SAVED[0], ROWS - 40, 37), SAVED[1]):
        state = saved.load(folder, tape, start(tape, row), NARROW)
        assert state is not None
        assert state.upto == max(start(tape, s) for s in SAVED if s <= row)
        assert_same_bits(compute(tape, row, folder=folder), compute(tape, row))


def test_an_older_view_does_not_use_it(tape: Tape, folder: Path) -> None:
    assert saved.load(folder, tape, start(tape, SAVED[0]) - 1, NARROW) is None
    assert_same_bits(compute(tape, 120, folder=folder), compute(tape, 120))


def test_another_calibration_pair_or_interval_does_not_use_it(tape: Tape, folder: Path) -> None:
    for parameters in (replace(NARROW, turnover=0.61), replace(NARROW, remainder=0.5), liqmap.Parameters()):
        assert saved.load(folder, tape, start(tape, 400), parameters) is None
        assert_same_bits(compute(tape, 400, parameters, folder), compute(tape, 400, parameters))
    assert saved.load(folder, replace(tape, pair="ETH/USDT:USDT"), start(tape, 400), NARROW) is None
    assert saved.load(folder, replace(tape, period_ns=2 * FIVE), start(tape, 400), NARROW) is None


@pytest.mark.parametrize("kind", ["bars", "open_interest"])
def test_a_revised_record_is_seen(tape: Tape, folder: Path, kind: str) -> None:
    records = getattr(tape, kind)
    for name in records.dtype.names:
        if name.endswith("_at") or name.endswith("_time") or name == "start":
            continue
        revised = records.copy()
        # So little that no column need show it, and the high and the low stay outside.
        revised[name][100] = np.nextafter(revised[name][100], 0.0 if name == "low" else np.inf)
        other = replace(tape, **{kind: revised})
        assert saved.load(folder, other, start(tape, SAVED[0]), NARROW) is None
        late = records.copy()
        late[name][SAVED[1] + 20] *= 1.0 + 1e-12
        assert saved.load(folder, replace(tape, **{kind: late}), start(tape, SAVED[1]), NARROW) is not None
    missing = replace(tape, **{kind: np.delete(records, 100)})
    assert saved.load(folder, missing, start(tape, SAVED[0]), NARROW) is None
    assert_same_bits(compute(missing, 400, folder=folder), compute(missing, 400))


def test_a_damaged_file_is_not_used(tape: Tape, folder: Path) -> None:
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    rng = random.Random(5)
    for _ in range(60):
        for path, content in whole.items():
            broken = bytearray(content)
            if rng.random() < 0.5:
                del broken[rng.randrange(len(broken)) :]
            else:
                broken[rng.choice([rng.randrange(700), rng.randrange(len(broken))])] ^= 1 << rng.randrange(8)
            path.write_bytes(broken)
        # Of a bit that does not matter (a blank of the header), the right state.
        state = saved.load(folder, tape, start(tape, 400), NARROW)
        if state is not None:
            at, closes = view(tape, 400)
            assert_same_bits(features.compute(tape, at, closes, FIVE, NARROW, state), compute(tape, 400))
    for path in whole:
        path.write_bytes(b"")
    assert saved.load(folder, tape, start(tape, 400), NARROW) is None


def test_few_bars_are_not_worth_a_file(tape: Tape, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(folder.iterdir())
    compute(tape, SAVED[1] + 49, folder=folder, keep=True)
    assert sorted(folder.iterdir()) == before
    compute(tape, SAVED[1] + 50, folder=folder, keep=True)
    assert len(list(folder.iterdir())) == len(before) + 1


def test_old_states_go(tape: Tape, tmp_path: Path) -> None:
    for n in range(12):
        compute(tape, 200, replace(NARROW, turnover=0.1 + n / 100), tmp_path, keep=True)
    assert len(list(tmp_path.iterdir())) == 8
    assert saved.load(tmp_path, tape, start(tape, 200), replace(NARROW, turnover=0.1 + 11 / 100)) is not None


def test_a_folder_that_cannot_be_written_stops_nobody(tape: Tape, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert_same_bits(compute(tape, 300, folder=blocked / "state", keep=True), compute(tape, 300))


#: Saves the states of the views again and again, in an order of its own, until it is killed.
WRITER = """
import sys, itertools, random
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_state
from liqsignals.liqmap import state as saved
saved.LEAST = 50
tape = test_state.as_tape(test_state.make_market(test_state.ROWS / 288, 31, volatility=0.003))
rng = random.Random(int(sys.argv[1]))
for n in itertools.count():
    row = rng.choice(test_state.SAVED)
    at, closes = test_state.view(tape, row)
    state = test_state.liqmap.FoldState()
    test_state.features.compute(tape, at, closes, test_state.FIVE, test_state.NARROW, state)
    assert saved.save(Path(sys.argv[2]), tape, state, test_state.NARROW)
    if n == 0:
        print("ready", flush=True)
"""


def test_two_writers_and_kills_leave_the_right_state_or_none(tape: Tape, tmp_path: Path) -> None:
    wanted = {row: compute(tape, row) for row in (320, 500)}
    source = WRITER.format(tests=str(Path(__file__).parent))
    used = 0
    for round_ in range(3):
        running = [
            subprocess.Popen(
                [sys.executable, "-c", source, str(10 * round_ + n), str(tmp_path)], stdout=subprocess.PIPE, text=True
            )
            for n in range(2)
        ]
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        rng = random.Random(round_)
        # Read while both write, then kill one after the other in the middle of it.
        for process in (None, *running):
            deadline = time.monotonic() + 0.3 + 0.2 * rng.random()
            while time.monotonic() < deadline:
                for row, columns in wanted.items():
                    state = saved.load(tmp_path, tape, start(tape, row), NARROW)
                    if state is not None:
                        used += 1
                        at, closes = view(tape, row)
                        assert_same_bits(features.compute(tape, at, closes, FIVE, NARROW, state), columns)
            if process is not None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                process.stdout.close()  # type: ignore[union-attr]
    assert used > 10


def test_a_restarted_bot_and_a_backtest_go_on_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market = make_market(ROWS / 288, 31, volatility=0.003)
    datadir = write_datadir(tmp_path, market.upto(market.candles["date"].iloc[560]))
    found: list[int] = []
    honest = saved.load

    def watched(*arguments: Any) -> Any:
        state = honest(*arguments)
        found.append(0 if state is None else state.upto)
        return state

    monkeypatch.setattr(saved, "load", watched)
    frame = market.candles.iloc[400:580].reset_index(drop=True)
    frames = {
        ("5m", "futures"): frame, ("5m", "open_interest"): market.interest.iloc[100:579],
        ("1h", "funding_rate"): market.funding,
    }  # fmt: skip

    def attach(rows: int, mode: str) -> Any:
        """What a new process's first call gives."""
        return Signals(datadir).attach(frame[:rows], PAIR, "5m", dp=FakeProvider(frames, mode))

    first, again = attach(180, "dry_run"), attach(180, "dry_run")
    tested = attach(150, "backtest")
    at, _ = decisions(frame)
    assert found == [0, int(at[0]) - FIVE, int(at[0]) - FIVE]
    assert_same_bits(again, first)
    assert_same_bits(tested, first[:150])
    assert (first["liq_fresh"] == 1).sum() > 150

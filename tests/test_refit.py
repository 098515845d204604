"""The weekly refit: never a worse calibration, the old one kept, the scores of both said."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from liqsignals.clock import DAY, HOUR, iso, parse_time
from liqsignals.data import store
from liqsignals.operate import refit

NOW = parse_time("2026-03-10T07:30:00Z")
PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT")


def answer(rank: float | None, dollars: float | None) -> str:
    return json.dumps({"models": {"map": {"rank": [rank, rank], "dollars": [dollars, dollars]}}})


def drive(userdir: Path, new: list[str], old: list[str], fails: str = "") -> tuple[str, list[list[str]]]:
    """What came of it, and the commands; a calibration is written as `liqsignals calibrate` would."""
    tables = {pair: userdir / f"{pair[:3]}.parquet" for pair in PAIRS}
    plan = refit.steps(userdir / "data", userdir / "extras", userdir, tables, "mine.json", NOW)
    asked = [next(plan)]
    answers = iter([*new, *old])
    while True:
        words = asked[-1]
        if words[0] == "calibrate":
            Path(words[words.index("-o") + 1]).write_text("new")
        said = "" if words[0] == "calibrate" else next(answers)
        try:
            asked.append(plan.send((2 if words[0] == fails else 0, said)))
        except StopIteration as end:
            return str(end.value), asked


@pytest.mark.parametrize(
    ("new", "old", "taken"),
    [
        ([(0.8, 1.1), (0.8, 0.9)], [(0.8, 1.2), (0.8, 0.9)], True),
        ([(0.81, 2.0), (0.79, 1.0)], [(0.8, 0.5), (0.8, 1.0)], True),  # twice as much is as far off as half
        ([(0.8, 1.1), (0.8, 0.9)], [(0.8, 1.1), (0.8, 0.9)], True),  # newer, and no worse
        ([(0.79, 1.0), (0.8, 1.0)], [(0.8, 2.0), (0.8, 2.0)], False),  # a worse rank
        ([(0.9, 2.1), (0.9, 1.0)], [(0.8, 2.0), (0.8, 1.0)], False),  # worse dollars
        ([(None, 1.0), (0.9, 1.0)], [(0.8, 2.0), (0.8, 1.0)], False),
        ([(0.9, 0.0), (0.9, 1.0)], [(0.8, 2.0), (0.8, 1.0)], False),
    ],
)
def test_a_worse_one_is_never_taken_and_the_old_one_is_kept(
    new: list[Any], old: list[Any], taken: bool, tmp_path: Path
) -> None:
    kept = tmp_path / refit.CALIBRATION
    kept.parent.mkdir()
    kept.write_text("old")
    said, asked = drive(tmp_path, [answer(*one) for one in new], [answer(*one) for one in old])
    assert kept.read_text() == ("new" if taken else "old")
    assert (tmp_path / refit.PREVIOUS).exists() == taken
    if taken:
        assert (tmp_path / refit.PREVIOUS).read_text() == "old"
    assert "new rank" in said
    assert "in use rank" in said
    # Fitted on nothing of the week that scores, and both scored on the same hours of it.
    cut = "2026-03-03T07:00:00Z"
    assert asked[0][asked[0].index("--until") + 1] == cut
    assert [words[words.index("--fit-until") + 1] for words in asked[1:]] == [cut] * 4
    assert [words[words.index("--calibration") + 1] for words in asked[1:]] == [str(tmp_path / refit.CANDIDATE)] * 2 + [
        "mine.json"
    ] * 2


@pytest.mark.parametrize("fails", ["calibrate", "validate"])
def test_what_fails_changes_nothing(fails: str, tmp_path: Path) -> None:
    said, _ = drive(tmp_path, [answer(1, 1)] * 2, [answer(0, 9)] * 2, fails)
    assert "stays" in said
    assert not (tmp_path / refit.CALIBRATION).exists()


def test_five_weeks_of_prints_are_enough_and_a_week_passes_between_two(tmp_path: Path) -> None:
    for pair, months in ((PAIRS[0], ("2026-01", "2026-02")), (PAIRS[1], ("2026-02", "2026-03"))):
        folder = store.series_dir(tmp_path, "liquidation", "binance", pair, "events")
        folder.mkdir(parents=True)
        for month in months:
            (folder / f"{month}.parquet").touch()
    assert list(refit.prints(tmp_path, "binance", PAIRS, NOW)) == [PAIRS[0]]
    assert refit.due(tmp_path, NOW)
    (tmp_path / "liqsignals").mkdir()
    (tmp_path / refit.RECORD).write_text(json.dumps({"at_ns": NOW}))
    assert not refit.due(tmp_path, NOW + 7 * DAY - HOUR)
    assert refit.due(tmp_path, NOW + 7 * DAY)


@pytest.mark.slow
def test_a_job_runs_beside_the_loop_and_writes_down_what_came_of_it(tmp_path: Path) -> None:
    tables = {PAIRS[0]: tmp_path / "none.parquet"}
    job = refit.Job(tmp_path, NOW, refit.steps(tmp_path, tmp_path, tmp_path, tables, None, NOW))
    until = time.monotonic() + 600  # it runs at the lowest priority
    while (found := job.poll()) is None and time.monotonic() < until:
        time.sleep(0.2)
    assert found == "refit: liqsignals calibrate failed (exit code 2); the calibration stays"
    assert json.loads((tmp_path / refit.RECORD).read_text()) == {"at_ns": NOW, "at": iso(NOW), "found": found}
    again = refit.Job(tmp_path, NOW, refit.steps(tmp_path, tmp_path, tmp_path, tables, None, NOW))
    again.close()  # ends what runs

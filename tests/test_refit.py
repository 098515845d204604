"""The weekly refit: never a worse calibration, the old one kept, the scores of all said."""

import json
import shlex
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


def drive(
    userdir: Path, answered: list[str], fails: str = "", current: str | None = "mine.json"
) -> tuple[str, list[list[str]]]:
    """What came of it, and the commands; a calibration is written as `liqsignals calibrate` would."""
    tables = {pair: userdir / f"{pair[:3]}.parquet" for pair in PAIRS}
    plan = refit.steps(userdir / "data", userdir / "extras", userdir, tables, current, NOW)
    asked = [next(plan)]
    answers = iter(answered)
    while True:
        words = asked[-1]
        if words[0] == "calibrate":
            Path(words[words.index("-o") + 1]).write_text("new")
        said = "" if words[0] == "calibrate" else next(answers)
        try:
            asked.append(plan.send((2 if words[0] == fails else 0, said)))
        except StopIteration as end:
            return str(end.value), asked


def by_name(asked: list[list[str]]) -> list[str]:
    """The calibrations that were scored, in order."""
    return [words[words.index("--calibration") + 1] for words in asked if words[0] == "validate"]


@pytest.mark.parametrize("in_use", [True, False])  # whether the configuration names the kept file
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
    new: list[Any], old: list[Any], taken: bool, in_use: bool, tmp_path: Path
) -> None:
    kept = tmp_path / refit.CALIBRATION
    kept.parent.mkdir()
    kept.write_text("old")
    answers = [answer(*one) for one in (*new, *([] if in_use else [(0.0, 99.0)] * 2), *old)]
    said, asked = drive(tmp_path, answers, current=str(kept) if in_use else "shipped")
    assert kept.read_text() == ("new" if taken else "old")
    assert (tmp_path / refit.PREVIOUS).exists() == taken
    if taken:
        assert (tmp_path / refit.PREVIOUS).read_text() == "old"
    # A file that is both is scored once.
    rivals = {"in use": str(kept)} if in_use else {"in use": "shipped", "kept": str(kept)}
    named = {"new": str(tmp_path / refit.CANDIDATE), **rivals}
    assert all(f"{which} rank" in said for which in named)
    assert ("worse than the one" in said) == (not taken)
    # Fitted on nothing of the week that scores, and all scored on the same hours and prints of it.
    cut = "2026-03-03T07:00:00Z"
    assert asked[0][asked[0].index("--until") + 1] == cut
    assert [words[words.index("--fit-until") + 1] for words in asked[1:]] == [cut] * 2 * len(named)
    tables = [str(tmp_path / "BTC.parquet"), str(tmp_path / "ETH.parquet")]
    assert [words[words.index("-l") + 1] for words in asked[1:]] == tables * len(named)
    assert by_name(asked) == [name for name in named.values() for _ in PAIRS]


def test_one_that_is_worse_than_the_one_in_use_alone_is_not_taken(tmp_path: Path) -> None:
    kept = tmp_path / refit.CALIBRATION
    kept.parent.mkdir()
    kept.write_text("old")
    said, _ = drive(tmp_path, [answer(*one) for one in [(0.8, 1.5)] * 2 + [(0.8, 1.2)] * 2 + [(0.7, 2.0)] * 2])
    assert said.endswith("the new one is worse than the one in use, and the calibration stays")
    assert kept.read_text() == "old"


def test_the_first_one_is_scored_against_the_one_in_use(tmp_path: Path) -> None:
    said, asked = drive(tmp_path, [answer(0.8, 1.1)] * 4, current=None)
    assert by_name(asked) == [str(tmp_path / refit.CANDIDATE)] * 2 + ["shipped"] * 2
    assert (tmp_path / refit.CALIBRATION).read_text() == "new"
    assert "kept rank" not in said


@pytest.mark.parametrize("fails", ["calibrate", "validate"])
def test_what_fails_changes_nothing_and_is_named(fails: str, tmp_path: Path) -> None:
    said, asked = drive(tmp_path, [answer(1, 1)] * 2 + [answer(0, 9)] * 2, fails)
    assert f"liqsignals {fails} failed (exit code 2); the calibration stays. Way out: run it by hand" in said
    assert said.endswith(shlex.join(["liqsignals", *asked[-1]]))
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
    assert found.startswith("refit: liqsignals calibrate failed (exit code 2); the calibration stays")
    assert json.loads((tmp_path / refit.RECORD).read_text()) == {"at_ns": NOW, "at": iso(NOW), "found": found}
    again = refit.Job(tmp_path, NOW, refit.steps(tmp_path, tmp_path, tmp_path, tables, None, NOW))
    again.close()  # ends what runs

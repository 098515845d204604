"""`liqsignals offline`: the command line that is made of a freqtrade command, and one that runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, make_market, write_datadir

from liqsignals.errors import InputError
from liqsignals.replay import offline

DATA, OVERLAY = Path("D"), Path("overlay.json")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def line(*words: str) -> list[str]:
    command = offline.prepared(words, DATA, OVERLAY)
    assert Path(command[0]).name == "freqtrade"
    return command[1:]


def test_the_overlay_comes_behind_the_commands_own_configurations() -> None:
    own = ["hyperopt", "-c", "a.json", "--config=b.json", "--pairs", "A", "B"]
    assert line("freqtrade", *own) == line(*own) == [*own, "--config", "overlay.json", "--datadir", "D"]
    assert line("hyperopt", "-d", "E") == ["hyperopt", "-d", "E", "--config", "overlay.json"]


def test_without_one_freqtrades_usual_configuration_stays(elsewhere: Path) -> None:
    (elsewhere / "config.json").write_text("{}")
    assert line("webserver")[1:5] == ["--config", "config.json", "--config", "overlay.json"]
    (elsewhere / "mine").mkdir()
    (elsewhere / "mine" / "config.json").write_text("{}")
    assert line("webserver", "--userdir", "mine")[3:5] == ["--config", "mine/config.json"]


def test_a_command_that_names_the_overlay_runs_as_it_is() -> None:
    assert offline.prepared(["sh", "-c", "cat {overlay}"], DATA, OVERLAY) == ["sh", "-c", "cat overlay.json"]


def test_what_cannot_work_is_refused(elsewhere: Path) -> None:
    with pytest.raises(InputError, match="no freqtrade command"):
        line()
    with pytest.raises(InputError, match=r"no new candles.*liqsignals replay"):
        line("freqtrade", "trade", "--strategy", "S")
    with pytest.raises(InputError, match=r"which data directory\? there is none in user_data/data"):
        offline.run(["hyperopt"], None)
    for name in ("binance", "bybit"):
        (elsewhere / "user_data" / "data" / name / "futures").mkdir(parents=True)
    with pytest.raises(InputError, match=r"there are user_data/data/binance, user_data/data/bybit"):
        offline.run(["hyperopt"], None)


@pytest.mark.slow
def test_a_freqtrade_command_runs_without_internet(elsewhere: Path) -> None:
    """list-pairs asks the exchange for its markets, and nothing else."""
    write_datadir(elsewhere / "user_data" / "data", make_market(2, 3), name="bybit")
    (elsewhere / "config.json").write_text((ROOT / "config.json").read_text())
    words = ["freqtrade", "list-pairs", "--trading-mode", "futures", "--print-json"]
    done = subprocess.run(
        [sys.executable, "-m", "liqsignals", "offline", "--", *words],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1]) == ["BTC/USDT:USDT"]

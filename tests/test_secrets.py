"""A secret in the environment or the configuration is in no message, report, log or file (docs/security.md)."""

import json
from pathlib import Path

import pytest
from conftest import ROOT, make_market, write_datadir
from typer.testing import CliRunner

from liqsignals.cli.app import app
from liqsignals.collect import freqtrade_command
from liqsignals.strategy.livecheck import LiveCheck
from liqsignals.strategy.sizing import Limits

PLANTED = "pLanTed7q"
ENVIRONMENT = {
    "FREQTRADE__EXCHANGE__KEY": f"{PLANTED}1",
    "FREQTRADE__EXCHANGE__SECRET": f"{PLANTED}2",
    "FREQTRADE__API_SERVER__USERNAME": "someone",
    "FREQTRADE__API_SERVER__PASSWORD": f"{PLANTED}3",
    "FREQTRADE__API_SERVER__JWT_SECRET_KEY": f"{PLANTED}4",  # too short for freqtrade's schema
    "FREQTRADE__TELEGRAM__TOKEN": f"{PLANTED}5",
}


def everything(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_start_names_what_freqtrade_refuses_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    config = json.loads((ROOT / "config.live.example.json").read_text())
    # A secret of the wrong type, whose value freqtrade's validator quotes.
    config["exchange"]["password"] = [f"{PLANTED}6"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_open_trades": "two"}))
    before = everything(tmp_path)
    words = ["start", "--config", str(tmp_path / "config.json"), "--strategy", "S", "--userdir", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    said = f"{done.output}{done.exception!r}{done.exception}"
    assert "max_open_trades: 'two' is not of type" in said
    assert "exchange.password" in said
    assert "api_server.jwt_secret_key" in said
    assert PLANTED not in said
    assert everything(tmp_path) == before


@pytest.mark.slow
def test_doctor_names_a_secret_in_the_file_without_its_value(tmp_path: Path) -> None:
    config = json.loads((ROOT / "config.live.example.json").read_text())
    config["exchange"] |= {"key": f"{PLANTED}1", "secret": f"{PLANTED}2"}
    config |= {"stake_currency": 5, "margin_mode": "cross"}
    config["liqsignals"] = {}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    datadir = write_datadir(tmp_path, make_market(1.0))
    done = CliRunner().invoke(app, ["doctor", "-d", str(datadir), "--config", str(path), "--json"])
    assert done.exit_code == 1
    problems = "\n".join(json.loads(done.stdout)["problems"])
    assert "exchange.key is in the file" in problems
    assert "set FREQTRADE__EXCHANGE__SECRET in the environment" in problems
    assert "freqtrade refuses it: stake_currency: 5" in problems
    assert 'live entries would be refused: margin_mode is "cross"' in problems
    assert "live entries would be refused: the config names no calibration" in problems
    assert PLANTED not in done.output


@pytest.mark.slow
def test_freqtrade_takes_the_shipped_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREQTRADE__EXCHANGE__KEY", f"{PLANTED}1")
    found, problems = freqtrade_command.configuration([ROOT / "config.json", ROOT / "config.live.example.json"])
    assert problems == []
    assert found["dry_run"] is False
    assert found["exchange"]["key"] == f"{PLANTED}1"  # of the environment, as freqtrade has it


def test_the_live_example_lets_a_bot_enter() -> None:
    config = json.loads((ROOT / "config.live.example.json").read_text())
    assert config["dry_run"] is False
    check = LiveCheck.from_config(config, "live", Limits())
    assert check.configured() == ()
    assert check.watched

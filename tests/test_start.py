"""`liqsignals start`: the history before the bot, the bot before the history where trades are open."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from liqsignals.collect import freqtrade_command
from liqsignals.collect.freqtrade_command import Configuration
from liqsignals.errors import InputError
from liqsignals.operate import start
from liqsignals.operate.start import Start

CONFIG = {"dry_run": True, "exchange": {"name": "binance", "pair_whitelist": ["BTC/USDT:USDT", ".*/USDT:USDT"]}}


def database(path: Path, open_: int, closed: int = 1) -> Path:
    with sqlite3.connect(path) as made:
        made.execute("create table trades (id integer, is_open boolean)")
        made.executemany("insert into trades values (?, ?)", [(n, n < open_) for n in range(open_ + closed)])
    made.close()
    return path


def script(path: Path, body: str) -> list[str]:
    path.write_text(f"import sys, time, signal, pathlib\nlog = pathlib.Path({str(path.parent / 'ran')!r})\n{body}\n")
    return [sys.executable, str(path)]


def note(word: str) -> str:
    return f"log.open('a').write({word + ' '!r})"


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Stand-ins of freqtrade and of the download; each notes when it began and ended."""
    words = {
        "bot": script(tmp_path / "bot.py", f"{note('bot')}; time.sleep(2); {note('bot-end')}; sys.exit(7)"),
        "download": script(tmp_path / "fill.py", f"{note('fill')}; time.sleep(0.5); {note('fill-end')}"),
    }
    monkeypatch.setattr(freqtrade_command, "configuration", lambda configs: Configuration(CONFIG, (), {}))
    monkeypatch.setattr(freqtrade_command, "command", lambda *given: words["bot"])
    monkeypatch.setattr(start, "download_command", lambda *given: words["download"])
    return words


def ran(folder: Path) -> list[str]:
    return (folder / "ran").read_text().split()


def begin(folder: Path, **more: Any) -> tuple[int, list[str]]:
    said: list[str] = []
    return start.run(Start((folder / "config.json",), "S", folder, **more), said.append), said


@pytest.mark.parametrize("closed", [None, 0, 3])
def test_the_download_goes_first_where_no_trade_is_open(
    closed: int | None, tmp_path: Path, stubs: dict[str, list[str]]
) -> None:
    if closed is not None:
        database(tmp_path / "tradesv3.dryrun.sqlite", 0, closed)
    assert begin(tmp_path)[0] == 7
    assert ran(tmp_path) == ["fill", "fill-end", "bot", "bot-end"]


@pytest.mark.parametrize("broken", [False, True])
def test_the_bot_goes_first_where_trades_are_open_or_nobody_knows(
    broken: bool, tmp_path: Path, stubs: dict[str, list[str]]
) -> None:
    stubs["download"][:] = script(tmp_path / "fill.py", f"time.sleep(0.5); {note('fill')}; sys.exit(2)")
    file = tmp_path / "tradesv3.dryrun.sqlite"
    if broken:
        file.write_bytes(b"no database" * 100)
    else:
        database(file, 2)
    code, said = begin(tmp_path)
    assert code == 7
    assert ran(tmp_path) == ["bot", "fill", "bot-end"]
    assert ("not known" if broken else "2 trades open") in said[0]
    assert "warning: the download failed or took too long" in said[1]


def test_a_download_that_fails_or_hangs_is_a_warning(tmp_path: Path, stubs: dict[str, list[str]]) -> None:
    stubs["download"][:] = script(tmp_path / "fill.py", f"{note('fill')}; time.sleep(100)")
    code, said = begin(tmp_path, patience=0.5)
    assert (code, ran(tmp_path)) == (7, ["fill", "bot", "bot-end"])
    assert "warning: the download failed or took too long" in said[-1]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"api_server": {"enabled": True, "username": "u", "password": ""}}, "FREQTRADE__API_SERVER__PASSWORD"),
        ({"dry_run": False, "exchange": {"key": "k"}}, "FREQTRADE__EXCHANGE__SECRET"),
    ],
)
def test_no_bot_starts_without_its_secrets(
    more: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubs: dict[str, list[str]]
) -> None:
    monkeypatch.setattr(freqtrade_command, "configuration", lambda configs: Configuration({**CONFIG, **more}, (), {}))
    with pytest.raises(InputError, match=says):
        begin(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_signal_ends_the_download_and_no_bot_starts(tmp_path: Path) -> None:
    """In a process of its own: a signal is sent to it while it downloads, and while the bot runs."""
    for where, wanted in (("fill", ["fill"]), ("bot", ["fill", "bot", "bot-signal"])):
        (tmp_path / "ran").unlink(missing_ok=True)
        waits = "100" if where == "fill" else "0"
        fill = script(tmp_path / "fill.py", f"{note('fill')}; time.sleep({waits})")
        bot = script(
            tmp_path / "bot.py",
            f"signal.signal(signal.SIGTERM, lambda *_: ({note('bot-signal')}, sys.exit(3)))\n{note('bot')}; time.sleep(100)",
        )
        code = (
            "import sys; from pathlib import Path; from liqsignals.operate import start\n"
            "from liqsignals.collect import freqtrade_command as f\n"
            f"f.configuration = lambda configs: f.Configuration({CONFIG!r}, (), {{}}); f.command = lambda *given: {bot!r}\n"
            f"start.download_command = lambda *given: {fill!r}\n"
            f"sys.exit(start.run(start.Start((), 'S', Path({str(tmp_path)!r})), print))"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) as child:
            until = time.monotonic() + 60
            while time.monotonic() < until and not (
                (tmp_path / "ran").exists() and ran(tmp_path) and ran(tmp_path)[-1] == where
            ):
                time.sleep(0.05)
            os.kill(child.pid, signal.SIGTERM)
            assert child.wait(60) == (143 if where == "fill" else 3)
        assert ran(tmp_path) == wanted


def test_the_command_line_of_the_download(tmp_path: Path) -> None:
    wanted = Start((Path("a.json"), Path("b.json")), "S", tmp_path, days=20, urls=("binance=http://127.0.0.1:1",))
    found = start.download_command(CONFIG, wanted, tmp_path / "d")
    assert isinstance(found, list)
    text = " ".join(found)
    assert f"download --datadir {tmp_path / 'd'} --pairs BTC/USDT:USDT --days 20" in text
    assert text.endswith("--config a.json --config b.json --url binance=http://127.0.0.1:1")
    only = {"exchange": {"name": "binance", "pair_whitelist": [".*/USDT:USDT"]}}
    assert "Way out" in start.download_command(only, wanted, tmp_path)


def test_which_database_is_the_bots(tmp_path: Path) -> None:
    userdir, here = tmp_path / "user_data", tmp_path
    assert start.database_url({"db_url": "sqlite:///x.sqlite"}, userdir, here) == "sqlite:///x.sqlite"
    live, dry = start.database_url({"dry_run": False}, userdir, here), start.database_url({}, userdir, here)
    assert start.database_file(live) == userdir / "tradesv3.sqlite"
    assert start.database_file(dry) == userdir / "tradesv3.dryrun.sqlite"
    # One that freqtrade made where it was started before: its trades must not be forgotten.
    database(here / "tradesv3.sqlite", 1)
    assert start.database_file(start.database_url({"dry_run": False}, userdir, here)) == here / "tradesv3.sqlite"
    assert start.database_file("sqlite://") is None
    assert start.open_trades(None) == 0
    with pytest.raises(InputError, match="postgresql"):
        start.database_file("postgresql+psycopg://user:planted@host/db")
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    assert start.open_trades(tmp_path / "empty.sqlite") == 0


def test_reading_changes_nothing(tmp_path: Path) -> None:
    file = database(tmp_path / "t.sqlite", 1)
    before = file.read_bytes(), sorted(tmp_path.iterdir())
    assert start.open_trades(file) == 1
    assert (file.read_bytes(), sorted(tmp_path.iterdir())) == before

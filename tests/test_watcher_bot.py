"""The watcher beside an unmodified freqtrade that stops its trader: what freqtrade logs is what restart.py reads."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from conftest import PAIR, ROOT, make_market, write_datadir

from liqsignals.clock import HOUR, SECOND
from liqsignals.collect.freqtrade_command import command
from liqsignals.exchange.server import loopback
from liqsignals.operate.watcher import Watcher
from liqsignals.replay.bot import free_port
from liqsignals.strategy import drawdown, livecheck

pytestmark = pytest.mark.slow

#: Raises in each loop while the file is there: with freqtrade, that stops the trader and not the process.
STRATEGY = """\
from pathlib import Path

from freqtrade.exceptions import OperationalException
from freqtrade.strategy import IStrategy


class Breaks(IStrategy):
    timeframe = "5m"
    stoploss = -0.1

    def informative_pairs(self):
        if Path({flag!r}).exists():
            raise OperationalException("broken on purpose")
        return []

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    populate_entry_trend = populate_exit_trend = populate_indicators
"""


class Bot:
    """A dry-run bot and its watcher; the watcher's clock can be put ahead."""

    def __init__(self, url: str, login: tuple[str, str], userdir: Path, flag: Path, overlay: Path) -> None:
        self.http = httpx.Client(base_url=f"{url}/api/v1", auth=login, timeout=5.0)
        self.userdir, self.flag, self.ahead = userdir, flag, 0
        config = {
            "dry_run": True,
            "exchange": {"name": "binance", "ccxt_config": json.loads(overlay.read_text())["exchange"]["ccxt_config"]},
            "api_server": {"enabled": True, "username": login[0], "password": login[1]},
        }
        self.watcher = Watcher(
            config, userdir, userdir / "extras", lambda text: None, bot=url, clock=lambda: time.time_ns() + self.ahead
        )

    def state(self) -> str:
        try:
            return str(self.http.get("/show_config").raise_for_status().json()["state"])
        except httpx.TransportError:
            return "starting"

    def becomes(self, state: str) -> bool:
        return until(lambda: self.state() == state)

    def breaks(self) -> bool:
        self.flag.touch()
        return self.becomes("stopped")

    def look(self, later: int = 15) -> str:
        """What the watcher says of the bot so many seconds later (it asks for the bot every 15)."""
        self.ahead += later * SECOND
        return "; ".join(note for note in self.watcher.look().notes if "the bot" in note)


def until(true: Callable[[], bool], seconds: float = 90.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := true()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return met


@pytest.fixture
def bot(tmp_path: Path) -> Iterator[Bot]:
    datadir = write_datadir(tmp_path, make_market(2.0, seed=11))
    (tmp_path / "user_data").mkdir()
    flag = tmp_path / "broken"
    (tmp_path / "Breaks.py").write_text(STRATEGY.format(flag=str(flag)))
    port, login = free_port(), ("u", "planted-password")
    own = tmp_path / "own.json"
    own.write_text(
        json.dumps({
            "initial_state": "running", "db_url": f"sqlite:///{tmp_path / 'trades.sqlite'}",
            "internals": {"process_throttle_secs": 1}, "exchange": {"pair_whitelist": [PAIR]},
            "api_server": {
                "enabled": True, "listen_ip_address": "127.0.0.1", "listen_port": port, "username": login[0],
                "password": login[1], "jwt_secret_key": "x" * 32, "verbosity": "error",
            },
        })
    )  # fmt: skip
    with loopback(datadir) as overlay, running(
        command(
            "trade", (ROOT / "config.json", overlay, own), tmp_path / "user_data", datadir,
            "--strategy", "Breaks", "--strategy-path", str(tmp_path),
        ),
        tmp_path / "console.log",
    ):  # fmt: skip
        made = Bot(f"http://127.0.0.1:{port}", login, tmp_path / "user_data", flag, overlay)
        try:
            assert made.becomes("running"), (tmp_path / "console.log").read_text()[-2000:]
            yield made
        finally:
            made.watcher.close()
            made.http.close()


@contextmanager
def running(words: list[str], console: Path) -> Iterator[None]:
    with console.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def test_a_bot_that_an_exception_stopped_is_started_and_one_that_a_human_stopped_is_not(bot: Bot) -> None:
    assert bot.look(0) == ""
    assert bot.breaks()
    # Said at once, although freqtrade logs the change of state only in its next loop.
    assert "the next one waits" in bot.look()
    for number, wait in enumerate((60, 300, 900), start=1):
        assert f"/start sent, attempt {number} within the hour" in bot.look(wait)
        assert bot.becomes("stopped")  # it is still broken
    # Three within the hour, and no fourth.
    assert "3 attempts within the hour" in bot.look(1800)
    bot.flag.unlink()
    assert "/start sent" in bot.look(700)
    assert bot.becomes("running")
    assert bot.look(60) == ""

    # Before the loop that would log that it runs again.
    assert bot.http.post("/stop").is_success
    assert bot.becomes("stopped")
    assert "by a human's word" in bot.look(7200)

    for switched_on, off in (
        (lambda: livecheck.kill(bot.userdir, time.time_ns()), (bot.userdir / livecheck.KILL_SWITCH).unlink),
        (
            lambda: drawdown.State("2026-01-06T05:00:00Z", None, 0.09, 0.08).write(drawdown.path_of(bot.userdir, "S")),
            drawdown.path_of(bot.userdir, "S").unlink,
        ),
    ):
        assert bot.http.post("/start").is_success
        assert bot.becomes("running")
        assert bot.breaks()
        switched_on()
        assert "the kill switch or the drawdown stop is on" in bot.look(2 * HOUR // SECOND)
        off()
        bot.flag.unlink()
        assert "/start sent, attempt 1 within the hour" in bot.look()
        assert bot.becomes("running")

"""What forbids entries with real money: each cause with its message, which says what to do; and the kill switch."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from liqsignals.cli.app import app
from liqsignals.errors import InputError
from liqsignals.strategy import guard, livecheck
from liqsignals.strategy.account import Account
from liqsignals.strategy.config import Settings
from liqsignals.strategy.livecheck import Status
from liqsignals.strategy.signals import Signals

PAIR = "BTC/USDT:USDT"
NOW = pd.Timestamp("2026-01-10 12:05:02", tz="UTC")
WALLETS = SimpleNamespace(get_total_stake_amount=lambda: 10_000.0, get_starting_balance=lambda: 10_000.0)
TRADES = SimpleNamespace(get_trades_proxy=lambda *, is_open: [])
GOOD = {"allow_unproven": ["S"], "calibration": "none", "watcher": True}


def config(userdir: Path, mode: str = "live", *, margin: str = "isolated", **block: Any) -> dict[str, Any]:
    return {"runmode": mode, "user_data_dir": userdir, "margin_mode": margin, "liqsignals": {**GOOD, **block}}


def write(userdir: Path, *, age: float = 1.0, clock: float | None = 0.01, problems: tuple[str, ...] = ()) -> None:
    Status(NOW.value - int(age * 1e9), clock, problems).write(userdir / livecheck.STATUS)


def damage(text: str) -> Callable[[Path], None]:
    return lambda userdir: (userdir / livecheck.STATUS).write_text(text) and None


def kill(userdir: Path) -> None:
    livecheck.kill(userdir, NOW.value)


#: Cause: what happens to a bot that may enter, the word of the refusal, and what the message says to do.
CAUSES: dict[str, tuple[dict[str, Any], Callable[[Path], None], str, str]] = {
    "kill switch": ({}, kill, "kill switch", "liqsignals kill-switch off --userdir"),
    "no calibration named": ({"calibration": None}, write, "calibration", '"liqsignals": {"calibration": ...}'),
    "cross margin": ({"margin": "cross"}, write, "margin", '"margin_mode": "isolated" in the config'),
    "leverage beyond the tier": ({"pair": "XYZ/USDT:USDT", "risk": {"leverage": 20, "gap": 0.01, "gap_budget": 1.0}}, write, "tier", '{"risk": {"leverage": 10}}'),
    "a watcher is neither named nor declined": ({"watcher": None}, write, "watcher", '"liqsignals": {"watcher": true} in the config'),
    "clock ahead": ({}, lambda u: write(u, clock=1.5), "clock", "set it by NTP"),
    "clock behind": ({}, lambda u: write(u, clock=-1.01), "clock", "set it by NTP"),
    "clock not measured": ({}, lambda u: write(u, clock=None), "clock", "see the watcher's log"),
    "clock is no number": ({}, lambda u: write(u, clock=float("nan")), "clock", "set it by NTP"),
    "no status": ({}, lambda u: (u / livecheck.STATUS).unlink(), "watcher", "run liqsignals watch"),
    "old status": ({}, lambda u: write(u, age=61), "watcher", "run liqsignals watch"),
    "status from the future": ({}, lambda u: write(u, age=-61), "watcher", "run liqsignals watch"),
    "torn status": ({}, damage('{"at": "2026'), "watcher", "run liqsignals watch"),
    "status of something else": ({}, damage("[]"), "watcher", "run liqsignals watch"),
    "the watcher's finding": ({}, lambda u: write(u, problems=("a position without a stop",)), "watcher", "a position without a stop"),
    "verdict": ({"allow_unproven": []}, write, "unproven", '"allow_unproven": ["S:long"]'),
}  # fmt: skip


def allows(bot: Account, pair: str = PAIR, tag: str | None = None) -> bool:
    return bot.allows(WALLETS, TRADES, pair, "long", tag, NOW.to_pydatetime())


@pytest.mark.parametrize("cause", CAUSES)
def test_what_forbids_a_live_entry_and_what_to_do(cause: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    given, happens, word, remedy = CAUSES[cause]
    given = dict(given)
    pair = given.pop("pair", PAIR)
    write(tmp_path)
    assert allows(Account.from_config(config(tmp_path), "S"))
    bot = Account.from_config(config(tmp_path, **given), "S")
    happens(tmp_path)
    caplog.clear()
    assert not allows(bot, pair)
    (refused,) = [r.getMessage() for r in caplog.records]
    assert f"{pair}: entry refused ({word}): " in refused
    assert remedy in refused
    # A backtest has none of it; a dry-run only the kill switch.
    assert allows(Account.from_config(config(tmp_path, "backtest", **given), "S"), pair)
    assert allows(Account.from_config(config(tmp_path, "dry_run", **given), "S"), pair) == (word != "kill switch")


def test_without_a_watcher_in_the_config_no_status_is_asked_for(tmp_path: Path) -> None:
    assert allows(Account.from_config(config(tmp_path, watcher=False), "S"))


def test_what_the_watcher_says_is_sent_once_each(tmp_path: Path) -> None:
    """To Telegram and the like, with real money; ages and amounts make it no other message."""
    sent: list[str] = []
    dp = SimpleNamespace(send_msg=lambda text, always_send: sent.append(text))
    cluster = {f"liq_{where}_{what}": [float("nan")] for where in ("above", "below") for what in ("distance", "usd")}
    frame = pd.DataFrame({"date": [NOW], **cluster})
    bots = [Account.from_config(config(tmp_path, mode), "S") for mode in ("live", "dry_run", "backtest")]
    at = pd.Timestamp.now("UTC").value

    def say(*problems: str) -> None:
        Status(at, 0.0, problems).write(tmp_path / livecheck.STATUS)
        for bot in bots:
            bot.announce(dp, PAIR, frame, 0.01)

    for problems in ((), ("bare for 10 s",), ("bare for 13 s",), ("daily loss",), (), ("bare for 10 s",)):
        say(*problems)
    assert sent == [
        f"entries are refused (watcher): {text}" for text in ("bare for 10 s", "daily loss", "bare for 10 s")
    ]


FRAME = pd.DataFrame(
    {"date": [pd.Timestamp("2026-01-10 12:00", tz="UTC")], "close": [100.0], "liq_fresh": [1.0], "liq_warm": [1.0]}
)
BOOK = {"bids": [[100.0, 1.0]], "asks": [[100.01, 1.0]], "timestamp": None}


@pytest.mark.parametrize(
    ("change", "now", "word", "remedy"),
    [
        ({"liq_fresh": 0.0}, NOW, "stale", "liqsignals doctor names the file"),
        ({"liq_warm": 0.0}, NOW, "hole", "liqsignals doctor names the hole"),
        ({"liq_warm": float("nan")}, NOW, "hole", "liqsignals doctor names the hole"),
        ({}, NOW - pd.Timedelta("10s"), "clock", "NTP"),
        ({}, NOW + pd.Timedelta("20s"), "stale", "the next signal"),
    ],
)
def test_what_the_candles_forbid_and_what_to_do(change: dict[str, float], now: Any, word: str, remedy: str) -> None:
    assert guard.refusal(FRAME, "5m", "long", 100.0, NOW.to_pydatetime(), 0.02, lambda: BOOK) is None
    found = guard.refusal(FRAME.assign(**change), "5m", "long", 100.0, now.to_pydatetime(), 0.02, lambda: BOOK)
    assert found is not None
    assert found[0] == word
    assert remedy in found[1]


def test_the_kill_switch_stops_entries_cancels_resting_ones_and_ends(tmp_path: Path) -> None:
    """By the command, and by hand: any file of that name."""
    runner, userdir = CliRunner(), ["--userdir", str(tmp_path)]
    write(tmp_path)
    bots = [Account.from_config(config(tmp_path, mode), "S") for mode in ("live", "dry_run")]

    def state() -> tuple[list[bool], list[bool], list[bool]]:
        return (
            [allows(bot) for bot in bots],
            [allows(bot, tag="force_entry") for bot in bots],
            [bot.withdrawn() for bot in bots],
        )

    free, stopped = ([True] * 2, [True] * 2, [False] * 2), ([False] * 2, [False] * 2, [True] * 2)
    assert state() == free
    assert "off" in runner.invoke(app, ["kill-switch", "status", *userdir]).output
    for on in (
        lambda: runner.invoke(app, ["kill-switch", "on", *userdir]),
        lambda: (tmp_path / livecheck.KILL_SWITCH).touch(),
    ):
        on()
        assert state() == stopped
        assert "on since" in runner.invoke(app, ["kill-switch", "status", *userdir]).output
        assert runner.invoke(app, ["kill-switch", "on", *userdir]).exit_code == 0  # twice does no harm
        assert runner.invoke(app, ["kill-switch", "off", *userdir]).exit_code == 0
        assert state() == free
    assert runner.invoke(app, ["kill-switch", "off", *userdir]).exit_code == 0
    assert runner.invoke(app, ["kill-switch", "maybe", *userdir]).exit_code != 0
    backtest = Account.from_config(config(tmp_path, "backtest"), "S")
    kill(tmp_path)
    assert allows(backtest)
    assert not backtest.withdrawn()


@pytest.mark.parametrize(
    "words",
    [
        ["kill-switch", "on"],
        ["kill-switch", "status"],
        ["watch", "--config", "config.json"],
        ["start", "--config", "config.json", "--strategy", "S"],
    ],
)
def test_a_folder_that_is_not_there_is_no_bots(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.json").write_text("{}")
    found = CliRunner().invoke(app, [*words, "--userdir", "nofolder"])
    assert isinstance(found.exception, InputError)
    assert "there is no folder nofolder. Way out: name the bot's user_data" in str(found.exception)
    assert not Path("nofolder").exists()


def test_a_kill_switch_that_cannot_be_looked_at_is_on(tmp_path: Path) -> None:
    (tmp_path / "liqsignals").touch()  # no folder
    assert "Way out" in livecheck.killed(tmp_path)


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    said = Status(NOW.value, -0.25, ("a", "b"), ("c",))
    said.write(tmp_path / livecheck.STATUS)
    assert Status.read(tmp_path / livecheck.STATUS) == said
    assert os.listdir(tmp_path / "liqsignals") == ["status.json"]
    assert json.loads((tmp_path / livecheck.STATUS).read_text())["at"].endswith("Z")


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"calibratoin": "none"}, ["calibratoin", 'write "calibration"']),
        ({"Risk": {}}, ["Risk", "known are: allow_unproven"]),
        ({"risk": {"per_trad": 0.01}}, ["per_trad", 'write "per_trade"']),
        ({"watcher": "yes"}, ["watcher", "true or false"]),
        ({"extras": 3}, ["extras", "must be a text"]),
        ({"calibration": ["x"]}, ["calibration", "must be a text"]),
        ({"finest": "15m"}, ["finest", '"5m" or "1m"']),
        ({"extras": ""}, ["extras", "must be a text, the name of a folder", 'leave "extras" out']),
        ({"squeeze": " "}, ["squeeze", "must be a text, the name of a file", 'leave "squeeze" out']),
        ({"allow_unproven": ["RejectonFade"]}, ["RejectonFade", "allows nothing", 'write "RejectionFade"']),
        ({"allow_unproven": ["S", "squeezemomentum:long"]}, ["allows nothing", 'write "SqueezeMomentum:long"']),
        ({"allow_unproven": ["RejectionFade:lng"]}, ["names no side", 'write "RejectionFade:long"']),
        *((block, ["no object", 'write "liqsignals": {}']) for block in ([1], "none", 0, [], "", False)),
    ],
)
def test_each_slip_in_the_block_is_named_with_its_way_out(block: Any, words: list[str], tmp_path: Path) -> None:
    given = {"datadir": tmp_path / "binance", "trading_mode": "futures", "liqsignals": block}
    with pytest.raises(InputError) as caught:
        Settings.parse(given)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    "name", ["RejectionFade", "MyRejectionFade:short", "RejectionFade2", "Mine:long", "RejectonFade"]
)
def test_ones_own_strategy_may_be_allowed_by_its_name(name: str, tmp_path: Path) -> None:
    """Also one whose name is near a shipped one's, where it runs."""
    given = {"datadir": tmp_path / "binance", "trading_mode": "futures", "strategy": "RejectonFade"}
    for block in ({"allow_unproven": [name]}, {}, None):
        assert Settings.parse({**given, "liqsignals": block}).extras is None


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("liqsignal", True),
        ("liqsignals ", True),
        ("LiqSignals", True),
        ("liqsingals", True),
        ("signals", False),
        (None, False),
    ],
)
def test_a_block_under_a_key_that_nobody_reads_is_named(
    key: str | None, said: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    datadir = tmp_path / "binance"
    (datadir / "futures").mkdir(parents=True)
    given = {"datadir": datadir, "trading_mode": "futures", "exchange": {"name": "binance"}}
    written = {**given, key: {}} if key else given
    Signals.from_config({**written, "liqsignals": {}})  # beside the right one it may be anything
    assert caplog.text == ""
    Signals.from_config(written)
    assert (f'"{key}" is read by nobody' in caplog.text) == said
    assert ('Way out: write "liqsignals"' in caplog.text) == said

"""A live bot on the exchange that takes its orders: fills, a stop that stands while it is dead, no real address."""

import json
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import PAIR, ROOT, make_market, needs_faketime, ns, write_datadir
from rehearsed import strategies
from typer.testing import CliRunner

from liqsignals.cli import app
from liqsignals.errors import InputError
from liqsignals.exchange.account import Fill
from liqsignals.exchange.server import config_overlay
from liqsignals.replay import rehearsal
from liqsignals.replay.bot import Settings

MINUTE = 60_000
#: Minutes in which the bot is dead. Its stop is 0.67 % away, the market moves about that much in ten minutes.
DOWN = (17, 72)


@dataclass(frozen=True)
class Run:
    found: rehearsal.Rehearsal
    start: int
    #: Orders of the bot's database: id at the exchange, side in freqtrade's words, filled coins, mean price, trade.
    orders: list[tuple[str, str, float, float, int]]
    log: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("rehearsal")
    market = make_market(2.2, seed=5, volatility=0.002)
    full = write_datadir(folder / "full", market)
    at = int(ns(market.candles["date"])[2 * 288])
    start = at // 10**6
    (folder / "user_data").mkdir()
    settings = Settings(
        ROOT / "config.json", folder / "user_data", full, "Turn", strategies(folder), (PAIR,), "5m", folder / "run"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_VERSION")  # where it is set, freqtrade writes no log
        patch.setenv("FREQTRADE__DRY_RUN", "true")  # would count more than any file
        down = [(start + DOWN[0] * MINUTE, start + DOWN[1] * MINUTE)]
        found = rehearsal.run(settings, at, 1.5, lambda line: None, down=down)
    connection = sqlite3.connect(settings.database)
    rows = connection.execute("select order_id, ft_order_side, filled, average, ft_trade_id from orders").fetchall()
    connection.close()
    return Run(found, start, rows, settings.log.read_text())


def fills_of(run: Run, order: str) -> list[Fill]:
    return [fill for fill in run.found.ledger.fills if str(fill.order) == order]


@needs_faketime
@pytest.mark.slow
def test_the_bots_orders_are_the_exchanges(run: Run) -> None:
    filled = [row for row in run.orders if row[2]]
    assert len(filled) >= 6
    for order, side, amount, price, _ in filled:
        fills = fills_of(run, order)
        if side == "stoploss":
            continue  # known by its algo id, filled under another
        assert sum(fill.lots for fill in fills) == round(amount * 1000)
        assert price == pytest.approx(sum(f.lots * f.price for f in fills) / sum(f.lots for f in fills), rel=1e-9)
    # Nothing at the exchange that the bot does not know of, and nothing left over.
    assert sum(fill.lots for fill in run.found.ledger.fills) == round(sum(row[2] or 0 for row in run.orders) * 1000)
    open_trades = [trade for trade in run.found.trades if trade.closed is None]
    assert len(run.found.positions) == len(open_trades)


@needs_faketime
@pytest.mark.slow
def test_the_stop_stands_while_the_bot_is_dead(run: Run) -> None:
    stopped = [trade for trade in run.found.trades if trade.reason == "stoploss_on_exchange"]
    begin, end = (run.start + minute * MINUTE for minute in DOWN)
    while_dead = [fill for fill in run.found.ledger.fills if begin + 5 * MINUTE < fill.at < end]
    assert len(while_dead) == 1
    (trade,) = [t for t in stopped if t.close_rate == pytest.approx(while_dead[0].price)]
    # At the stop and not past it by more than half a spread and a level of the book.
    worse = (1 if trade.is_short else -1) * (trade.close_rate / trade.stop - 1)
    assert 0 <= worse < 0.0005
    assert not re.search(r"Unable to|-1021|orders? not found", run.log)


def configs(folder: Path, user: dict[str, Any]) -> list[Path]:
    paths = [folder / "config.json", folder / "overlay.json"]
    for path, content in zip(paths, (user, config_overlay(8080)), strict=True):
        path.write_text(json.dumps(content))
    return paths


@pytest.mark.parametrize(
    ("user", "named"),
    [
        ({"exchange": {"ccxt_config": {"urls": {"api": {"other": "https://fapi.binance.com/x"}}}}}, "urls.api.other"),
        ({"exchange": {"ccxt_async_config": {"httpsProxy": "http://10.0.0.1:3128"}}}, "ccxt_async_config.httpsProxy"),
        ({"exchange": {"ccxt_sync_config": {"hostname": "binance.com"}}}, "ccxt_sync_config.hostname"),
        ({"external_message_consumer": {"producers": [{"host": "192.168.0.7"}]}}, "producers[0].host"),
        ({"pairlists": [{"method": "RemotePairList", "pairlist_url": "https://example.org/p"}]}, "pairlists[0].pairlist_url"),
        ({"add_config_files": ["other.json"]}, "add_config_files"),
    ],
)  # fmt: skip
def test_it_refuses_an_address_that_is_not_this_machines(tmp_path: Path, user: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=re.escape(named)):
        rehearsal.check_loopback(configs(tmp_path, user))


def test_it_takes_the_shipped_configuration_and_what_the_overlay_replaces(tmp_path: Path) -> None:
    user = json.loads((ROOT / "config.json").read_text())
    rehearsal.check_loopback(configs(tmp_path, user))
    user["exchange"]["ccxt_config"] = {"urls": {"api": {"fapiPrivate": "https://fapi.binance.com/fapi/v1"}}}
    user["telegram"] = {"enabled": True, "base_url": "https://api.telegram.org/bot"}
    rehearsal.check_loopback(configs(tmp_path, user))


def test_outages_are_read_and_what_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "down.json"
    path.write_text('[{"from": "2025-10-10T20:51:00Z", "until": "2025-10-10T21:19:00Z"}]')
    assert rehearsal.outages(path) == [(1760129460000, 1760131140000)]
    path.write_text('{"from": 1}')
    with pytest.raises(InputError, match="outages"):
        rehearsal.outages(path)


@pytest.mark.parametrize(("words", "timeframe"), [([], "1h"), (["--timeframe", "15m"], "15m")])
def test_it_runs_at_the_strategys_own_timeframe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], timeframe: str
) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "Hours.py").write_text("class Hours(IStrategy):\n    timeframe = '1h'\n")
    (tmp_path / "config.json").write_text("{}")
    used: list[str] = []

    def instead(settings: Settings, *_: object, **__: object) -> rehearsal.Rehearsal:
        used.append(settings.timeframe)
        raise InputError("enough")

    monkeypatch.setattr(rehearsal, "run", instead)
    given = ["live-rehearsal", "-d", str(tmp_path), "--from", "2025-10-10T00:00:00Z", "--strategy", "Hours"]
    CliRunner().invoke(app, [*given, "--userdir", str(tmp_path), "--config", str(tmp_path / "config.json"), *words])
    assert used == [timeframe]

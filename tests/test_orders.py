"""A configuration that unsets the stop at the exchange is named: by the doctor, and by the bot's start."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from conftest import make_market, write_datadir
from freqtrade.enums import RunMode
from test_strategies import NAMES, load

from liqsignals import Signals
from liqsignals.clock import parse_time
from liqsignals.doctor.config import plain
from liqsignals.doctor.examine import examine
from liqsignals.errors import InputError
from liqsignals.strategy.orders import stop_problems

GOOD = {
    "entry": "limit",
    "exit": "market",
    "stoploss": "market",
    "emergency_exit": "market",
    "stoploss_on_exchange": True,
}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"stoploss_on_exchange": False}, '"stoploss_on_exchange" is false: no stop order stands at the exchange'),
    ({"stoploss_on_exchange": None}, '"stoploss_on_exchange" is not set: no stop'),
    ({"stoploss": "limit"}, '"stoploss" is "limit": a stop that becomes a limit order may stay unfilled'),
    ({"emergency_exit": "limit"}, '"emergency_exit" is "limit": the exit after a stop'),
]


def types(change: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**GOOD, **change}.items() if value is not None}


@pytest.mark.parametrize(("change", "words"), BAD)
def test_what_unsets_the_stop_is_named_with_its_way_out(change: dict[str, Any], words: str) -> None:
    [problem] = stop_problems({"order_types": types(change)})
    assert problem.startswith(f"order_types: {words}")
    assert 'Way out: remove "order_types" from the config (it replaces the strategy\'s whole), or set' in problem


def test_what_leaves_the_stop_alone_is_not() -> None:
    assert stop_problems({}) == []
    assert stop_problems({"order_types": types({})}) == []
    assert stop_problems({"order_types": types({"emergency_exit": None, "exit": "limit"})}) == []
    for name in NAMES:
        assert stop_problems({"order_types": load(name).order_types}) == []


@pytest.fixture(scope="module")
def datadir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_datadir(tmp_path_factory.mktemp("orders"), make_market(2.0, 3))


@pytest.mark.parametrize(
    ("runmode", "warned"),
    [(RunMode.DRY_RUN, True), (RunMode.BACKTEST, False), (RunMode.HYPEROPT, False)],
)
def test_the_bot_s_start_names_it(
    datadir: Path, runmode: RunMode, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """There freqtrade has put the order types in use into the configuration; in a backtest it switches the stop off."""
    config = {"datadir": datadir, "trading_mode": "futures", "exchange": {"name": "binance"}, "runmode": runmode}
    Signals.from_config({**config, "order_types": types({"stoploss_on_exchange": False})})
    assert ("no stop order stands at the exchange" in caplog.text) == warned
    caplog.clear()
    Signals.from_config({**config, "order_types": types({})})
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "change", [{"stoploss_on_exchange": False}, {"stoploss": "limit"}, {"emergency_exit": "limit"}]
)
def test_a_bot_that_sends_orders_does_not_start_without_a_stop(datadir: Path, change: dict[str, Any]) -> None:
    config = {"datadir": datadir, "trading_mode": "futures", "exchange": {"name": "binance"}, "runmode": RunMode.LIVE}
    with pytest.raises(InputError, match=next(iter(change))):
        Signals.from_config({**config, "order_types": types(change)})
    Signals.from_config({**config, "order_types": types({})})


def test_the_doctor_names_it(datadir: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    base = {"trading_mode": "futures", "exchange": {"name": "binance"}}

    def problems(**more: Any) -> list[str]:
        config.write_text(json.dumps({**base, **more}))
        return [
            p
            for p in examine(datadir, now=parse_time("2026-01-10T00:00:00Z"), config=plain([config]))["problems"]
            if "order_types" in p
        ]

    assert problems() == []
    [problem] = problems(order_types=types({"stoploss_on_exchange": False}))
    assert problem.startswith(f"{config}: order_types: ")

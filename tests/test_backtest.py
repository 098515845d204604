"""What `liqsignals backtest` prints: the account of freqtrade's results, the covered span, warnings, timeframes."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import DAYS, ETH

from liqsignals.clock import parse_time
from liqsignals.collect.freqtrade_command import Finished
from liqsignals.errors import InputError
from liqsignals.replay import paper
from liqsignals.replay.backtest import Result, Run, covered, run_backtest
from liqsignals.replay.bot import Settings as BotSettings
from liqsignals.report.backtest import accounts, print_accounts, timeframe_warning
from liqsignals.strategy.config import Settings

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def userdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user_data folder with the shipped strategies and two small ones of our own, one of them at 1h."""
    userdir = tmp_path_factory.mktemp("user_data")
    (userdir / "strategies").mkdir()
    for path in (ROOT / "user_data" / "strategies").glob("*.py"):
        (userdir / "strategies" / path.name).write_bytes(path.read_bytes())
    (userdir / "strategies" / "Hourly.py").write_text(
        "from freqtrade.strategy import IStrategy\n\n\n"
        "class Hourly(IStrategy):\n"
        '    timeframe = "1h"\n'
        "    can_short = True\n"
        "    stoploss = -0.5\n"
        '    minimal_roi = {"300": 0}\n'
        "    position_adjustment_enable = True\n\n"
        "    def populate_indicators(self, dataframe, metadata):\n"
        "        return dataframe\n\n"
        "    def populate_entry_trend(self, dataframe, metadata):\n"
        '        dataframe.loc[dataframe["date"].dt.hour % 6 == 0, "enter_long"] = 1\n'
        '        dataframe.loc[dataframe["date"].dt.hour % 6 == 3, "enter_short"] = 1\n'
        "        return dataframe\n\n"
        "    def populate_exit_trend(self, dataframe, metadata):\n"
        "        return dataframe\n\n"
        "    def adjust_trade_position(self, trade, current_time, *args, **kwargs):\n"
        '        """Adds once, then takes a part off."""\n'
        "        if trade.nr_of_successful_entries == 1:\n"
        "            return trade.stake_amount / 4\n"
        "        return -trade.stake_amount / 3 if trade.nr_of_successful_exits == 0 else None\n"
    )
    return userdir


@pytest.fixture(scope="session")
def result(market: Path, userdir: Path) -> Result:
    """The shipped strategies and the hourly one, each at its own timeframe."""
    strategies = ("SqueezeMomentum", "Hourly")
    return run_backtest(
        Run(market, None, (ETH,), strategies, None, ROOT / "config.json", userdir, offline=True, brief=True)
    )


@pytest.mark.slow
def test_the_account_adds_up_to_freqtrades_profit(result: Result) -> None:
    """Gross, fees and funding come from the orders; their sum is the profit that freqtrade reports, to its rounding."""
    assert [a.strategy for a in result.accounts] == ["SqueezeMomentum", "Hourly"]
    for account, path in zip(result.accounts, result.files, strict=True):
        with zipfile.ZipFile(path) as archive:
            told = json.loads(archive.read(f"{path.stem}.json"))["strategy"][account.strategy]
        assert account.trades == len(told["trades"]) >= 5
        assert account.net == pytest.approx(told["profit_total_abs"], abs=1e-6)
        # freqtrade rounds each trade's profit, funding and amounts to eight decimals.
        assert account.gross + account.funding + account.fees == pytest.approx(account.net, abs=1e-6 * account.trades)
        assert account.fees < 0
        assert account.funding != 0
        assert sum(count for _, count, _ in account.exits) == account.trades
        assert sum(net for _, _, net in account.exits) == pytest.approx(account.net, abs=1e-9 * account.trades)
        assert 0 < account.exposure <= 1


@pytest.mark.slow
def test_each_strategy_runs_at_its_own_timeframe(result: Result) -> None:
    assert [a.timeframe for a in result.accounts] == ["5m", "1h"]
    assert [timeframe_warning(a) for a in result.accounts] == ["", ""]


@pytest.mark.slow
def test_warnings_are_whole(result: Result) -> None:
    """The calibration's hindsight, its way out included, on candles before the end of its fit."""
    (found,) = (text for text in result.warnings if "no bot had it before" in text)
    assert found.endswith("liqsignals calibrate --until the backtest's start")


@pytest.mark.slow
def test_how_much_of_the_span_is_covered(result: Result, market: Path) -> None:
    first = pd.Timestamp("2025-01-01", tz="UTC")
    span = tuple(int((first + pd.Timedelta(days=d)).as_unit("ns").value) for d in (-DAYS, DAYS))
    found, head = covered(result.settings, ETH, "5m", span)
    assert found.candles == pytest.approx(0.5, abs=0.001)
    assert found.candles >= found.fresh > found.usable
    assert found.usable == pytest.approx((DAYS - 14) / (2 * DAYS), abs=0.005)
    assert head is not None
    early, head = covered(result.settings, ETH, "5m", (span[0], span[0] + 86400 * 10**9))
    assert (early.candles, early.usable, head) == (0.0, 0.0, None)


@pytest.mark.slow
def test_the_headline_uses_the_configured_calibration(market: Path) -> None:
    """The prior and the shipped calibration see different maps."""
    config = {"datadir": str(market), "trading_mode": "futures", "exchange": {"name": "binance"}}
    heads = [
        covered(Settings.parse({**config, "liqsignals": block}), ETH, "5m", (None, None))[1]
        for block in ({}, {"calibration": "none"})
    ]
    assert all(heads)
    assert heads[0] != heads[1]


def _results(folder: Path, orders: list[dict[str, Any]], timeframe: str = "1h", **trade: Any) -> Path:
    """A file as freqtrade writes it, of one trade."""
    path = folder / "backtest-result-x.zip"
    one = {
        "exit_reason": "roi", "profit_abs": 0.0, "open_timestamp": 0, "close_timestamp": 50, "stake_amount": 10.0,
        "leverage": 2.0, "funding_fees": 0.0, "fee_open": 0.001, "fee_close": 0.002, "orders": orders, **trade,
    }  # fmt: skip
    told = {
        "trades": [one], "backtest_start_ts": 0, "backtest_end_ts": 100, "timeframe": timeframe,
        "stake_currency": "USDT", "starting_balance": 100, "market_change": 0.1, "profit_total_abs": 0.0,
    }  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}.json", json.dumps({"strategy": {"S": told}}))
        archive.writestr(f"{path.stem}_S.py", 'class S(IStrategy):\n    timeframe = "5m"\n')
    return path


def _order(side: str, price: float, *, entry: bool, filled: int | None = 1, amount: float = 2.0) -> dict[str, Any]:
    return {
        "ft_order_side": side, "safe_price": price, "ft_is_entry": entry, "amount": amount,
        "order_filled_timestamp": filled,
    }  # fmt: skip


def test_a_short_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two coins sold at 10 and bought at 9: +2 gross, 20 x 0.1 % + 18 x 0.2 % fees; an order that never filled counts
    nothing.
    """
    orders = [
        _order("sell", 10, entry=True),
        _order("buy", 8, entry=False, filled=None),
        _order("buy", 9, entry=False),
    ]
    (account,) = accounts(_results(tmp_path, orders, profit_abs=1.5, funding_fees=-0.444, is_short=True))
    assert account.gross == pytest.approx(2.0, abs=1e-12)
    assert account.fees == pytest.approx(-0.056, abs=1e-12)
    assert account.rest == pytest.approx(0.0, abs=1e-12)
    assert (account.exposure, account.position) == (0.5, 0.1)
    assert "5m and ran at 1h" in timeframe_warning(account)
    assert "12 times as long" in timeframe_warning(account)
    print_accounts([account])
    said = capsys.readouterr().out
    assert "not explained" not in said
    assert "+10.00%" in said  # buy and hold


def test_what_the_orders_do_not_explain_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (account,) = accounts(_results(tmp_path, [_order("buy", 10, entry=True)], profit_abs=1.5))
    print_accounts([account])
    assert "not explained" in capsys.readouterr().out


def test_a_file_that_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("no")
    with pytest.raises(InputError, match="cannot be read"):
        accounts(tmp_path / "x.zip")


def test_messages_of_the_log_are_whole() -> None:
    log = (
        "2026-11-25 22:31:11,123 - freqtrade.a - INFO - fine\n"
        "2026-11-25 22:31:12,123 - liqsignals.b - WARNING - a candle - the first -\n"
        "is missing. Way out: run\n"
        "this\n"
        "2026-11-25 22:31:13,123 - freqtrade.c - ERROR - broken.\n"
        "Result for strategy S\n"
        "  TABLE\n"
        "2026-11-25 22:31:13,200 - freqtrade.c - WARNING - again\n"
        "Traceback (most recent call last):\n"
        '  File "x"\n'
        "ValueError: 7\n"
    )
    finished = Finished(1, log)
    assert finished.warnings[0] == "a candle - the first - is missing. Way out: run this"
    assert finished.failure == "ValueError: 7"


@pytest.mark.slow
def test_the_command_prints_all_of_it(market: Path, userdir: Path) -> None:
    """A timerange without a warm map, at another timeframe than the strategy's: each is said."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("liqsignals")), "backtest", "-d", str(market), "--pairs", ETH,
            "--strategy", "Hourly", "--timerange", "20250103-20250110", "--offline", "-t", "5m",
            "--config", str(ROOT / "config.json"), "--userdir", str(userdir),
        ],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BACKTESTING REPORT" in done.stdout  # freqtrade's own tables
    assert "Hourly at 5m:" in done.stdout
    assert "a usable map (fresh and warm) 0.0%" in done.stdout
    assert "no candle has a usable map" in done.stdout
    assert "is written for 1h and ran at 5m" in done.stdout
    assert "buy and hold" in done.stdout


def test_paper_outside_the_data_fails(market: Path, tmp_path: Path) -> None:
    """Before a bot starts, with the span that the data have."""
    settings = BotSettings(ROOT / "config.json", tmp_path, market, "S", tmp_path, (ETH,), "5m", tmp_path / "run")
    for start in ("2024-06-01T00:00:00Z", "2026-06-01T00:00:00Z"):
        with pytest.raises(InputError, match="they reach from 2025-01-01T00:05:00Z to 2025-02-15") as caught:
            paper.run(settings, parse_time(start), 24.0, print)
        assert "--from" in caught.value.remedy

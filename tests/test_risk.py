"""The account of a bot: settings, the drawdown stop and its release, verdicts with real money, messages."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from freqtrade.enums import RunMode
from typer.testing import CliRunner

from liqsignals.cli.app import app
from liqsignals.errors import InputError
from liqsignals.strategy import drawdown, verdicts
from liqsignals.strategy.account import Account
from liqsignals.strategy.config import Risk

PAIR = "BTC/USDT:USDT"
NOW = pd.Timestamp("2026-01-10", tz="UTC")
WALLETS = SimpleNamespace(get_total_stake_amount=lambda: 10_000.0, get_starting_balance=lambda: 10_000.0)


def trades(*profits: float, open_: tuple[tuple[float, float], ...] = ()) -> Any:
    """freqtrade's class of trades: closed ones, a day apart, up to NOW, and open ones (stake, leverage)."""
    closed = [
        SimpleNamespace(close_date_utc=NOW - pd.Timedelta(days=len(profits) - i), close_profit_abs=profit)
        for i, profit in enumerate(profits)
    ]
    running = [SimpleNamespace(stake_amount=stake, leverage=leverage) for stake, leverage in open_]
    return SimpleNamespace(get_trades_proxy=lambda *, is_open: running if is_open else closed)


def account(tmp_path: Path, mode: RunMode | str = RunMode.DRY_RUN, **block: Any) -> Account:
    block = {"calibration": "none", "watcher": False, **block}
    config = {"runmode": mode, "user_data_dir": tmp_path, "margin_mode": "isolated", "liqsignals": block}
    return Account.from_config(config, "S")


def allows(found: Account, of: Any, side: str = "long", tag: str | None = None) -> bool:
    return found.allows(WALLETS, of, PAIR, side, tag, NOW.to_pydatetime())


@pytest.mark.parametrize(
    ("block", "match"),
    [
        ({"risk": {"per_trade": 0.5}}, "per_trade is a number from 1e-05 to 0.05"),
        ({"risk": {"per_trade": "0.01"}}, "per_trade"),
        ({"risk": {"gap": True}}, "gap"),
        ({"risk": {"leverage": float("nan")}}, "leverage"),
        ({"risk": {"stake": 1}}, "known are: per_trade, gap"),
        ({"risk": 3}, "risk"),
        ({"allow_unproven": "S"}, "no list"),
        ({"allow_unproven": ["S", "S:lng"]}, '"S:lng" names no side write "S:long"; "S" is both'),
        ({"allow_unproven": ["S: Short"]}, 'write "S:short"; "S" is both'),
        ({"allow_unproven": ["S:"]}, 'write "S:long" or "S:short"; "S" is both'),
        ({"allow_unproven": [":long"]}, '":long" names no strategy write the name of its class'),
        ({"allow_unproven": ["RejectionFade "]}, '"RejectionFade " names no strategy'),
        ({"allow_unproven": [""]}, "names no strategy"),
    ],
)
def test_settings_that_cannot_work_are_refused(block: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError) as caught:
        Risk.parse(block)
    assert match in f"{caught.value.problem} {caught.value.remedy}"


def test_open_trades_use_up_the_gap_budget(tmp_path: Path) -> None:
    """Of a third of the account what is open, of any pair and side, is taken."""
    found = account(tmp_path)
    assert found.size(WALLETS, trades(), 0.02, 3.0).notional == pytest.approx(2500.0)
    assert found.size(WALLETS, trades(open_=((500.0, 3.0), (400.0, 2.0))), 0.02, 3.0).notional == pytest.approx(
        10_000 / 3 - 2300
    )
    assert found.size(WALLETS, trades(open_=((1112.0, 3.0),)), 0.02, 3.0).stake == 0.0
    larger = account(tmp_path, risk={"per_trade": 0.01, "gap_budget": 0.15, "leverage": 2})
    assert larger.size(WALLETS, trades(), 0.02, 3.0).notional == pytest.approx(5000.0)
    assert larger.size(WALLETS, trades(), 0.02, 3.0).leverage == 2.0


def test_the_drawdown_stop_outlasts_a_lost_database_and_is_released_by_hand(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    losses = trades(500.0, -500.0, -340.0)  # 8.0 % of 10,500
    assert allows(account(tmp_path), losses)
    assert not allows(account(tmp_path), trades(500.0, -500.0, -341.0))
    assert "entry refused (drawdown)" in caplog.text
    assert "liqsignals release --userdir" in caplog.text
    path = drawdown.path_of(tmp_path, "S")
    assert json.loads(path.read_text())["stopped_at"] == NOW.isoformat()
    # Restarted, the trades gone: it holds. Another strategy's is another's.
    assert not allows(account(tmp_path), trades())
    done = CliRunner().invoke(app, ["release", "--strategy", "S", "--userdir", str(tmp_path)])
    assert (done.exit_code, "may enter again" in done.output) == (0, True)
    # What was lost before the release counts no more.
    assert allows(account(tmp_path), trades(500.0, -500.0, -341.0))
    path.write_text("{")
    assert not allows(account(tmp_path), trades())
    assert "cannot be read" in caplog.text
    assert CliRunner().invoke(app, ["release", "--strategy", "S", "--userdir", str(tmp_path)]).exit_code == 0
    assert allows(account(tmp_path), trades())


def test_a_backtest_keeps_no_file_and_stops_by_its_own_trades(tmp_path: Path) -> None:
    found = account(tmp_path, RunMode.BACKTEST)
    assert not allows(found, trades(-900.0))
    assert not allows(found, trades(-900.0, 2000.0))  # nobody released it
    assert allows(found, trades())  # the next epoch of a hyperopt
    assert list(tmp_path.iterdir()) == []


def test_the_drawdown_counts_losses_only_from_the_peak() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        profits = rng.normal(0, 5, 30)
        path = np.concatenate(([100.0], 100.0 + np.cumsum(profits)))
        worst = max(1 - path[j] / path[: j + 1].max() for j in range(len(path)))
        assert drawdown.deepest(100.0, list(enumerate(profits))) == pytest.approx(worst, abs=1e-12)


@pytest.mark.parametrize("verdict", ["not judged", "not shown", "harms", "too few to judge", "adds"])
def test_real_money_needs_a_verdict_or_a_name_in_the_config(
    verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    known = {"S": {"long": verdict, "short": "harms"}} if verdict != "not judged" else {}
    monkeypatch.setattr(verdicts, "packaged", lambda: known)
    live = account(tmp_path, RunMode.LIVE)
    assert allows(live, trades()) == (verdict == "adds")
    assert not allows(live, trades(), "short")
    assert allows(live, trades(), tag="force_entry")
    said = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(said) == (1 if verdict == "adds" else 2)
    assert all('"allow_unproven": ["S:' in r.getMessage() for r in said)
    for named, sides in ((["S:long"], ("long",)), (["S"], ("long", "short")), (["T"], ())):
        bot = account(tmp_path, RunMode.LIVE, allow_unproven=named)
        for side in ("long", "short"):
            assert allows(bot, trades(), side) == (side in sides or (side, verdict) == ("long", "adds"))
    caplog.clear()
    dry = account(tmp_path, RunMode.DRY_RUN)
    assert allows(dry, trades(), "short")
    assert [r.levelno for r in caplog.records] == [logging.WARNING] * (1 if verdict == "adds" else 2)
    caplog.clear()
    for mode in (RunMode.BACKTEST, RunMode.HYPEROPT):
        assert allows(account(tmp_path, mode), trades(), "short")
    assert caplog.records == []


def test_the_packaged_verdicts_can_be_read() -> None:
    known = {"adds", "harms", "not shown", "too few to judge"}
    assert {verdict for sides in verdicts.packaged().values() for verdict in sides.values()} <= known
    assert verdicts.of("Nobody's", "long") == "not judged"


def test_a_cluster_within_reach_is_announced_once(tmp_path: Path) -> None:
    sent: list[str] = []
    dp = SimpleNamespace(send_msg=sent.append)
    found = account(tmp_path)

    def see(above: float, hours: float) -> None:
        frame = pd.DataFrame({"date": [NOW + pd.Timedelta(hours=hours)], "liq_above_distance": above})
        frame = frame.assign(liq_above_price=101.0, liq_above_usd=3e8, liq_below_distance=np.nan, liq_below_usd=np.nan)
        found.announce(dp, PAIR, frame.assign(liq_below_price=np.nan), 0.01)

    for above, hours in ((0.02, 0), (0.009, 1), (0.005, 2), (0.02, 3), (0.009, 4)):
        see(above, hours)
    assert sent == [f"{PAIR}: 300 M of short liquidations at 101, 0.90% above the price"]
    see(0.02, 9)
    see(0.01, 10)
    assert len(sent) == 2
    backtest = account(tmp_path, RunMode.BACKTEST)
    backtest.announce(None, PAIR, pd.DataFrame(), 0.01)

"""Unmodified freqtrade through its own command line, offline: one market and one exchange for the whole session."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import DAYS, ETH

from liqsignals import COLUMNS, Signals
from liqsignals.exchange.server import loopback
from liqsignals.features import spillover, squeeze, venues
from liqsignals.liqmap import calibration
from liqsignals.strategy.livecheck import kill

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
STRATEGIES = ROOT / "user_data" / "strategies"
PLANTED = ROOT / "tests" / "planted"
BOTH = ("SqueezeMomentum", "RejectionFade")

Freqtrade = Callable[..., str]


@pytest.fixture(scope="session")
def overlay(market: Path) -> Iterator[Path]:
    with loopback(market) as path:
        yield path


@pytest.fixture(scope="session")
def freqtrade(market: Path, overlay: Path, tmp_path_factory: pytest.TempPathFactory) -> Freqtrade:
    """Run a freqtrade command on the market and return all that it printed."""
    userdir = tmp_path_factory.mktemp("user_data")

    def run(command: str, *arguments: str, strategies: Path = STRATEGIES) -> str:
        line = [
            str(Path(sys.executable).with_name("freqtrade")), command, "--config", str(ROOT / "config.json"),
            "--config", str(overlay), "--userdir", str(userdir), "--datadir", str(market), *arguments,
        ]  # fmt: skip
        if "strategy" in " ".join(arguments):
            line += ["--strategy-path", str(strategies)]
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}, timeout=300
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-4000:]
        return said

    run.userdir = userdir  # type: ignore[attr-defined]
    return run


def day(n: int) -> str:
    return (pd.Timestamp("2025-01-01") + pd.Timedelta(days=n)).strftime("%Y%m%d")


def trades_of(userdir: Path) -> dict[str, list[dict[str, object]]]:
    newest = max((userdir / "backtest_results").glob("*.zip"), key=lambda p: p.stat().st_mtime)
    with zipfile.ZipFile(newest) as archive:
        name = next(n for n in archive.namelist() if re.fullmatch(r"backtest-result-[\d_-]+\.json", n))
        return {s: r["trades"] for s, r in json.loads(archive.read(name))["strategy"].items()}


def test_backtesting_trades_both_strategies(freqtrade: Freqtrade) -> None:
    freqtrade("backtesting", "--strategy-list", *BOTH, "--timeframe", "5m", "--pairs", ETH, "--cache", "none")
    trades = trades_of(freqtrade.userdir)  # type: ignore[attr-defined]
    assert set(trades) == set(BOTH)
    for strategy in BOTH:
        assert len(trades[strategy]) > 0, strategy
        # The map is not warm before.
        first = min(str(t["open_date"]) for t in trades[strategy])
        assert pd.Timestamp(first) >= pd.Timestamp("2025-01-15", tz="UTC")
        assert all(t["enter_tag"] and t["exit_reason"] for t in trades[strategy])


def bias(said: str) -> dict[str, tuple[str, int, int]]:
    """By file: verdict, signals and biased entries of lookahead-analysis' table."""
    rows = (line.strip("│┃ ").split("│") for line in said.splitlines() if re.search(r"\.py\s*│", line))
    return {cells[0].strip(): (cells[2].strip(), int(cells[3]), int(cells[4])) for cells in rows}


def test_lookahead_analysis_finds_nothing(freqtrade: Freqtrade) -> None:
    said = freqtrade(
        "lookahead-analysis", "--strategy-list", *BOTH, "-i", "5m", "--pairs", ETH, "--targeted-trade-amount", "10",
        "--timerange", f"{day(14)}-{day(DAYS)}",
    )  # fmt: skip
    found = bias(said)
    assert sorted(found) == sorted(f"{name}.py" for name in BOTH), said[-3000:]
    assert all(verdict == "No" and signals >= 10 for verdict, signals, _ in found.values()), said[-3000:]


def test_lookahead_analysis_sees_our_data(freqtrade: Freqtrade) -> None:
    """A leak of 12 candles in an extras file is caught; the same strategy without it is clean."""
    for strategy, expected in (("LeakTwelve", "Yes"), ("Causal", "No")):
        said = freqtrade(
            "lookahead-analysis", "--strategy", strategy, "--pairs", ETH, "--targeted-trade-amount", "10",
            "--timerange", f"{day(14)}-{day(18)}", strategies=PLANTED,
        )  # fmt: skip
        ((verdict, signals, biased),) = bias(said).values()
        assert (verdict, signals >= 10, biased > 0) == (expected, True, expected == "Yes"), said[-3000:]


def test_recursive_analysis_finds_no_variance(freqtrade: Freqtrade, market: Path) -> None:
    said = freqtrade(
        "recursive-analysis", "--strategy", "RejectionFade", "--pairs", ETH, "--startup-candle", "199", "499", "999",
        "--timerange", f"{day(20)}-{day(24)}",
    )  # fmt: skip
    assert "Start checking for recursive bias" in said
    assert "found lookahead in indicator" not in said
    dates = pd.date_range(f"{day(20)}", f"{day(24)}", freq="5min", inclusive="left", tz="UTC")
    candles = pd.read_feather(market / "futures" / "ETH_USDT_USDT-5m-futures.feather")
    last = (
        Signals(market, calibrated=calibration.default()).attach(candles[candles.date.isin(dates)], ETH, "5m").iloc[-1]
    )
    # The market lies before the end of the fits, where score, touch and cascade are NaN by their rule; it has neither
    # other venues nor BTC.
    absent = {c.name for family in (squeeze, venues, spillover) for c in family.COLUMNS} | {"liq_model_score"}
    empty = {c.name for c in COLUMNS if not np.isfinite(last[c.name])}
    assert empty <= absent, "the compared row must hold numbers"
    varying = [c.name for c in COLUMNS if re.search(rf"[│┃|]\s*{c.name}\s*[│┃|]", said)]
    assert varying == []


MINE = (ROOT / "docs" / "use-in-your-strategy.md").read_text().split("```python\n")[1].split("```")[0]


def test_the_strategy_of_the_docs_asks_before_it_enters(tmp_path: Path) -> None:
    module: dict[str, Any] = {}
    exec(MINE, module)
    block = {"calibration": "none", "watcher": False, "allow_unproven": ["Mine"]}
    config = {"runmode": "live", "user_data_dir": tmp_path, "margin_mode": "isolated", "liqsignals": block}
    mine = module["Mine"](config)
    mine.account = module["Account"].from_config(config, "Mine")
    mine.wallets = SimpleNamespace(get_total_stake_amount=lambda: 1e4, get_starting_balance=lambda: 1e4)
    module["Trade"] = SimpleNamespace(get_trades_proxy=lambda *, is_open: [])

    def asked() -> tuple[bool, bool]:
        now = datetime.now(UTC)
        entry = mine.confirm_trade_entry(ETH, "limit", 1.0, 100.0, "GTC", now, None, "long")
        return entry, mine.check_entry_timeout(ETH, None, None, now)

    assert asked() == (True, False)
    kill(tmp_path, 0)
    assert asked() == (False, True)
    mine.account = SimpleNamespace(allows=None, withdrawn=None)  # whatever fails
    assert asked() == (False, True)


def test_the_strategy_of_the_docs_runs(freqtrade: Freqtrade, tmp_path: Path) -> None:
    (tmp_path / "Mine.py").write_text(MINE)
    said = freqtrade("backtesting", "--strategy", "Mine", "--pairs", ETH, "--cache", "none", strategies=tmp_path)
    assert "BACKTESTING REPORT" in said


def test_list_data_and_strategies(freqtrade: Freqtrade) -> None:
    said = freqtrade("list-data", "--show-timerange")
    assert ETH in said
    said = freqtrade("list-strategies", "--strategy-path", str(STRATEGIES))
    assert all(f"{s} " in said for s in BOTH)
    assert "LOAD FAILED" not in said


def test_strategies_survive_pickling_by_value() -> None:
    """Hyperopt pickles a strategy's base classes by value: ours derives from IStrategy alone."""
    from freqtrade.resolvers import StrategyResolver
    from freqtrade.strategy import IStrategy

    for name in BOTH:
        loaded = StrategyResolver._load_object(
            paths=[STRATEGIES], object_name=name, kwargs={"config": {"timeframe": "5m"}}, add_source=False
        )
        assert [b for b in type(loaded).__mro__[1:] if b.__module__.startswith("liqsignals")] == []
        assert type(loaded).__bases__ == (IStrategy,)


def test_demo_works_in_any_folder(tmp_path: Path) -> None:
    """`liqsignals demo` in an empty folder: both strategies trade, the market says that it is SIMULATED, and nothing is
    written into a user_data folder.
    """
    done = subprocess.run(
        [str(Path(sys.executable).with_name("liqsignals")), "demo", "--days", "30", "--seed", "3"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "replacing" not in done.stderr
    assert "SIMULATED BTC/USDT:USDT" in done.stdout
    assert all(re.search(rf"│\s+{s} │\s+[1-9]", done.stdout) for s in BOTH), done.stdout
    assert all(f"SIMULATED {s} at 5m" in done.stdout for s in BOTH)
    assert "result build/market-user_data/backtest_results/backtest-result-" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


def test_simulate_says_what_it_replaces(tmp_path: Path) -> None:
    (tmp_path / "m" / "binance").mkdir(parents=True)
    (tmp_path / "m" / "binance" / "SIMULATED").touch()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("liqsignals")), "simulate", "--days", "2", "--out", "m"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "replacing the SIMULATED market in m" in done.stderr

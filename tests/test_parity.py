"""The backtest's bot is the bot: short spans of the SIMULATED market through unmodified freqtrade, and a comparison that can fail."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ETH, ROOT, needs_faketime

from liqsignals import features
from liqsignals.clock import parse_time
from liqsignals.errors import InputError
from liqsignals.replay import parity
from liqsignals.replay.bot import Session, Trade

pytestmark = pytest.mark.slow


def span(datadir: Path, strategy: str, start: str, stop: str) -> parity.Span:
    return parity.Span(
        datadir, ROOT / "config.json", ROOT / "user_data", strategy, (ETH,), "5m", parse_time(start), parse_time(stop)
    )


@pytest.fixture(autouse=True)
def _logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freqtrade writes no log where it takes itself for tested."""
    monkeypatch.delenv("PYTEST_VERSION", raising=False)


@needs_faketime
def test_squeeze_momentum_trades_as_its_backtest(market: Path, tmp_path: Path) -> None:
    """Through the command: a target reached, a stop, another target."""
    times = [parse_time(f"2025-02-01T{at}:00Z") // 10**9 for at in ("12:00", "16:45")]
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("liqsignals")), "parity", "--datadir", str(market), "--pairs", ETH,
            "--strategy", "SqueezeMomentum", "--timerange", "-".join(map(str, times)), "--keep", str(tmp_path / "run"),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert run.stdout.splitlines()[-1] == "features=100% signals=100% trades=3/3", run.stdout + run.stderr
    assert run.returncode == 0


@needs_faketime
def test_rejection_fade_trades_as_its_backtest(market: Path, tmp_path: Path) -> None:
    """A short whose stop is a price of its own, hit inside a candle."""
    report = parity.run(
        span(market, "RejectionFade", "2025-01-30T11:30:00Z", "2025-01-30T12:35:00Z"), tmp_path, lambda text: None
    )
    assert report.last_line == "features=100% signals=100% trades=1/1", parity.lines(report)
    assert report.passed


START, STOP = "2025-02-01T12:00:00Z", "2025-02-01T13:00:00Z"
AT = pd.Timestamp("2025-02-01T12:20:00Z")
TRADE = Trade(
    ETH, False, "squeeze", AT, AT + pd.Timedelta("10min"), 100.0, 101.0, "cluster_reached", 99.2, 3.0
)  # fmt: skip


def compared(
    *, row: dict[str, object] | None = None, mine: list[Trade] | None = None, refused: set[tuple[str, int]] | None = None,
    theirs: list[Trade] | None = None,
) -> parity.Report:  # fmt: skip
    """The report of an hour in which the bot saw what the backtest did, but for what is given."""
    dates = pd.date_range(START, STOP, freq="5min", inclusive="left")
    frame = pd.DataFrame(1.0, dates, list(features.NAMES))
    frame["liq_above_price"] = np.nan
    for name in parity.SIGNALS:
        frame[name] = 0
    frame["enter_tag"] = None
    frame["high"], frame["low"] = 102.0, 99.9
    session = Session()
    for date in dates:
        told = {name: None if value != value else value for name, value in frame.loc[date].items()}
        if row is not None and date == AT:
            told |= row
        session.rows[ETH, int(date.timestamp() * 1000) + 300_000] = told, 1000
    return parity.compare(
        span(Path(), "S", START, STOP), {ETH: frame}, [TRADE] if theirs is None else theirs, session,
        [TRADE] if mine is None else mine, refused or set(), lambda pair, at: 0.02,
    )  # fmt: skip


def test_the_same_is_the_same() -> None:
    report = compared()
    assert report.last_line == "features=100% signals=100% trades=1/1"
    assert report.passed
    assert (report.candles, report.differences) == (11, [])  # a backtest trades from its second candle on


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"row": {"liq_imbalance": np.nextafter(1.0, 2.0)}}, "features=90.9% signals=100% trades=1/1"),
        ({"row": {"liq_above_price": 1.0}}, "features=90.9% signals=100% trades=1/1"),
        ({"row": {"liq_fresh": None}}, "features=90.9% signals=100% trades=1/1"),
        ({"row": {"enter_long": 1}}, "features=100% signals=90.9% trades=1/1"),
        ({"row": {"enter_tag": "other"}}, "features=100% signals=90.9% trades=1/1"),
        ({"mine": []}, "features=100% signals=100% trades=0/1"),
        ({"mine": [TRADE, replace(TRADE, opened=AT + pd.Timedelta("30min"))]}, "features=100% signals=100% trades=1/2"),
        ({"mine": [replace(TRADE, opened=AT + pd.Timedelta("5min"))]}, "features=100% signals=100% trades=0/2"),
        ({"mine": [replace(TRADE, is_short=True)]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, tag="other")]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, closed=AT + pd.Timedelta("15min"))]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, closed=None, close_rate=None)]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, reason="time_stop")]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, open_rate=100.021)]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, close_rate=100.979)]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [replace(TRADE, stop=99.23)]}, "features=100% signals=100% trades=0/1"),
        ({"mine": [], "theirs": []}, "features=100% signals=100% trades=0/0"),
    ],
)
def test_each_difference_fails(change: dict[str, object], line: str) -> None:
    report = compared(**change)  # type: ignore[arg-type]
    assert report.last_line == line
    assert not report.passed


def test_within_the_candle_and_the_spread_is_the_same() -> None:
    late = pd.Timedelta("4s")
    ours = replace(TRADE, opened=AT + late, closed=(TRADE.closed or AT) + late, open_rate=100.019, close_rate=100.99)
    assert compared(mine=[ours]).last_line == "features=100% signals=100% trades=1/1"


def test_a_stop_is_one_reason_wherever_it_stands() -> None:
    """A bot's stop order fills at the exchange; a backtest has no exchange."""
    for theirs in ("stop_loss", "trailing_stop_loss"):
        stopped = replace(TRADE, reason=theirs)
        assert compared(theirs=[stopped], mine=[replace(TRADE, reason="stoploss_on_exchange")]).passed
    stopped = replace(TRADE, reason="stop_loss")
    for ours in ("time_stop", "trailing_stop_loss", "stop_missed", "emergency_exit"):
        assert not compared(theirs=[stopped], mine=[replace(TRADE, reason=ours)]).passed
    assert not compared(theirs=[TRADE], mine=[replace(TRADE, reason="stoploss_on_exchange")]).passed


def test_what_is_explained_is_named_and_not_counted() -> None:
    at = int(AT.timestamp() * 1000)
    refused = compared(mine=[], refused={(ETH, at)})
    assert refused.classes == {"refused": 1}
    assert refused.last_line.endswith("trades=0/0")
    assert not refused.passed  # explained, but nothing was shown
    forced = replace(TRADE, reason="force_exit")
    assert compared(theirs=[forced], mine=[replace(TRADE, closed=None, close_rate=None)]).classes == {"open": 1}
    # While the refused trade would have been open, the bot may do what the backtest could not.
    other = replace(TRADE, opened=AT + pd.Timedelta("5min"))
    assert compared(mine=[other], refused={(ETH, at)}).classes == {"refused": 1, "occupied": 1}
    # The low is 99.9: a stop there was touched for one of them only.
    stopped = replace(TRADE, reason="stop_loss", stop=99.91, close_rate=99.91)
    assert compared(theirs=[stopped], mine=[replace(TRADE, stop=99.89)]).classes == {"edge": 1}
    far = replace(TRADE, reason="stop_loss", stop=99.5, close_rate=99.5)
    assert compared(theirs=[far]).last_line.endswith("trades=0/1")


def test_an_unknown_strategy_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file in .* defines the strategy Nobody\. Way out: check --strategy"):
        parity.strategy_file(tmp_path, "Nobody")

"""Single backtests of a walk-forward: freqtrade as a process, its trades, and what is kept so that a run can be
resumed.
"""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import liqsignals
from liqsignals.collect import freqtrade_command
from liqsignals.data import freqtrade
from liqsignals.errors import InputError, __version__
from liqsignals.exchange.archive import Archive
from liqsignals.files import replaced, stem
from liqsignals.walkforward.portfolio import Outcome

#: Share of the wallet that may be staked, in every run.
TRADABLE = 0.99
#: What freqtrade takes for a signal to be simulated alone: no limit of trades, and a stake that no trade uses up.
_TABLE = {
    "max_open_trades": -1,
    "stake_amount": 1000,
    "dry_run_wallet": 1e9,
    "position_stacking": True,
    "tradable_balance_ratio": TRADABLE,
}
#: Limits of a strategy that sizes by risk, in such a run: each trade small, and no room that another one takes.
_ALONE = {"per_trade": 1e-5, "gap": 0.01, "gap_budget": 1.0, "max_drawdown": 1.0}


@dataclass(frozen=True)
class Setting:
    """What all backtests of a walk-forward share."""

    datadir: Path
    pairs: tuple[str, ...]
    config: Path
    strategies: Path
    #: Configuration that points freqtrade at the loopback exchange.
    overlay: Path
    out: Path
    #: Fee and slippage of a fill, a fraction.
    cost: float
    #: Hash of the data files (`data_hashes`).
    data: str


@dataclass(frozen=True)
class Backtest:
    """One backtest: its account, or the table of every signal's outcome."""

    strategy: str
    timerange: str
    #: The block "liqsignals" of its configuration.
    block: Mapping[str, Any]
    #: Whether every signal is simulated alone, instead of a portfolio with protections.
    table: bool = False
    #: Entries to add (`pair`, `date`, `side`).
    entries: pd.DataFrame | None = None


@dataclass(frozen=True)
class Done:
    """A finished backtest."""

    outcomes: list[Outcome]
    #: freqtrade's own profit of each outcome, stake currency, and its margin.
    profits: list[float]
    stakes: list[float]
    #: freqtrade's summary of the strategy (without trades), and the strategy's protections.
    summary: dict[str, Any]
    facts: dict[str, Any]


def run(setting: Setting, backtest: Backtest) -> Done:
    """Run one backtest, or read it where it ran before with the same code, data and settings.

    Raises InputError where freqtrade fails; the message quotes the last error of its log.
    """
    folder = setting.out / "runs" / _key(setting, backtest)
    kept = folder / "run.json"
    if not kept.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        content = _run(setting, backtest, folder)
        with replaced(kept) as temporary:
            temporary.write_text(json.dumps(content))
    content = json.loads(kept.read_text())
    trades = content["trades"]
    return Done(
        _outcomes(trades, content["facts"].get("risk", {})) if backtest.table else [_outcome(t) for t in trades],
        [float(t["profit_abs"]) for t in trades],
        [float(t["stake_amount"]) for t in trades],
        content["summary"],
        content["facts"],
    )


def _run(setting: Setting, backtest: Backtest, folder: Path) -> dict[str, Any]:
    facts = folder / "facts.json"
    placebo: dict[str, Any] = {**backtest.block.get("placebo", {}), "describe": str(facts)}
    if backtest.entries is not None:
        backtest.entries.reset_index(drop=True).to_feather(folder / "entries.feather")
        placebo["entries"] = str(folder / "entries.feather")
    # Alone means: no trade takes another's room in the account, and no drawdown stops it.
    alone = {"risk": _ALONE} if backtest.table else {}
    overlay = {
        "liqsignals": {**backtest.block, **alone, "placebo": placebo},
        **(_TABLE if backtest.table else {"tradable_balance_ratio": TRADABLE}),
    }
    (folder / "config.json").write_text(json.dumps(overlay, indent=1))
    command = freqtrade_command.backtesting(
        [setting.config, folder / "config.json", setting.overlay],
        folder / "user_data",
        setting.datadir,
        setting.strategies,
        [backtest.strategy],
        None,
        setting.pairs,
        *["--timerange", backtest.timerange, "--fee", repr(setting.cost), "--export", "trades"],
        *["--backtest-directory", str(folder), *([] if backtest.table else ["--enable-protections"])],
    )
    (folder / "user_data").mkdir()
    done = freqtrade_command.run(command, folder / "log.txt")
    made = sorted(freqtrade_command.results(folder))
    if done.code != 0 or not made:
        raise InputError(f"freqtrade backtesting failed: {done.failure}. Its log: {folder / 'log.txt'}")
    with zipfile.ZipFile(made[-1]) as archive:
        result = json.loads(archive.read(f"{made[-1].stem}.json"))["strategy"][backtest.strategy]
    kept = ("starting_balance", "final_balance", "max_open_trades_setting", "timeframe", "backtest_start_ts", "backtest_end_ts",
            "rejected_signals", "max_drawdown_account", "market_change", "locks")  # fmt: skip
    fields = ("pair", "is_short", "open_timestamp", "close_timestamp", "open_rate", "close_rate", "stop_loss_abs",
              "leverage", "exit_reason", "enter_tag", "funding_fees", "amount", "stake_amount", "profit_abs")  # fmt: skip
    shutil.rmtree(folder / "user_data", ignore_errors=True)
    return {
        "trades": [{name: trade[name] for name in fields} for trade in result["trades"]],
        "summary": {name: result[name] for name in kept},
        "facts": json.loads(facts.read_text()) if facts.exists() else {},
    }


def _outcome(trade: Mapping[str, Any]) -> Outcome:
    return Outcome(
        trade["pair"], bool(trade["is_short"]), int(trade["open_timestamp"]), int(trade["close_timestamp"]),
        float(trade["open_rate"]), float(trade["close_rate"]), float(trade["stop_loss_abs"]), float(trade["leverage"] or 1),
        str(trade["exit_reason"]), str(trade["enter_tag"] or ""), float(trade["funding_fees"] or 0.0) / float(trade["amount"]),
    )  # fmt: skip


def _outcomes(trades: Sequence[Mapping[str, Any]], risk: Mapping[str, Any]) -> list[Outcome]:
    """Outcomes of signals simulated alone, with the way to the stop by which each was sized.

    A strategy that sizes by risk stakes equity x per_trade / way / leverage; equity is what freqtrade had then.
    """
    found = [_outcome(t) for t in trades]
    if not risk:
        return found
    closes = sorted((t["close_timestamp"], t["profit_abs"]) for t in trades)
    at = np.array([when for when, _ in closes])
    earned = np.concatenate([[0.0], np.cumsum([profit for _, profit in closes])])
    for k, trade in enumerate(trades):
        equity = float(_TABLE["dry_run_wallet"]) + earned[np.searchsorted(at, trade["open_timestamp"])]
        staked = float(trade["stake_amount"]) * float(trade["leverage"] or 1)
        found[k] = found[k]._replace(way=equity * TRADABLE * risk["per_trade"] / staked)
    return found


def data_hashes(datadir: Path, pairs: Sequence[str]) -> dict[str, str]:
    """SHA-256 of every file of the pairs, and of the flows beside them, by its path below `datadir`."""
    found = sorted(
        [p for pair in pairs for p in (datadir / "futures").glob(f"{stem(pair)}-*")]
        + [p for p in (datadir / "liqsignals").rglob("*") if p.is_file() and "state" not in p.parts]
    )
    return {str(p.relative_to(datadir)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def steps(datadir: Path, pairs: Sequence[str]) -> dict[str, float]:
    """Smallest change of an amount, by pair, as the loopback exchange gives it."""
    archive = Archive(datadir)
    found = {}
    for pair in pairs:
        spec = archive.spec(pair.split(":")[0].replace("/", ""))
        if spec is not None:
            found[pair] = 10.0**-spec.amount_decimals
    return found


@lru_cache(maxsize=1)
def code() -> str:
    """Hash of the library's own source, without what only judges and prints."""
    root = Path(liqsignals.__file__).parent
    hashed = hashlib.sha256(__version__.encode())
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] in ("strategy", "features", "liqmap", "data", "records.py", "clock.py"):
            hashed.update(path.read_bytes())
    return hashed.hexdigest()


def _key(setting: Setting, backtest: Backtest) -> str:
    source = (setting.strategies / f"{backtest.strategy}.py").read_bytes()
    block = dict(backtest.block)
    named = block.get("calibration")
    if named not in (None, "none"):
        block["calibration"] = hashlib.sha256(Path(named).read_bytes()).hexdigest()
    inputs = {
        "code": code(), "data": setting.data, "pairs": setting.pairs, "cost": setting.cost, "table": backtest.table,
        "strategy": hashlib.sha256(source).hexdigest(), "config": setting.config.read_text(), "block": block,
        "timerange": backtest.timerange, "entries": None if backtest.entries is None else backtest.entries.to_csv(),
    }  # fmt: skip
    name = f"{backtest.strategy}-{backtest.timerange}-{'table' if backtest.table else 'account'}"
    return f"{name}-{hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]}"


def strategy_folder(userdir: Path, strategies: Sequence[str]) -> Path:
    """`strategies/` of a user_data folder. Raises InputError where a strategy's file is not there."""
    folder = userdir / "strategies"
    for name in strategies:
        if not (folder / f"{name}.py").is_file():
            raise InputError(
                f"there is no strategy {folder / f'{name}.py'}",
                "name the folder with --userdir; a strategy's file has its name",
            )
    return folder


def check(datadir: Path, config: Path) -> None:
    """Raise InputError where the data directory or the configuration is not there."""
    freqtrade.check_datadir(datadir)
    if not config.is_file():
        raise InputError(f"there is no configuration {config}", "name it with --config")

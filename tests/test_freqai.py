"""The FreqAI example: what it says without its extra or its settings, and a backtest where the extra is installed."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ETH, ROOT
from freqtrade.exceptions import OperationalException
from freqtrade.resolvers import StrategyResolver

from liqsignals.replay.backtest import Run, run_backtest

FOLDER = ROOT / "user_data" / "strategies"
CONFIG = {"strategy": "LiqSignalsFreqAI", "strategy_path": str(FOLDER), "user_data_dir": FOLDER}
EXTRA = ("lightgbm", "datasieve", "sklearn", "xgboost")
find_spec = importlib.util.find_spec


def load(monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], config: dict[str, Any]) -> Any:
    def found(name: str, *more: Any) -> Any:
        return None if name in missing else find_spec(name, *more) if name not in EXTRA else object()

    monkeypatch.setattr(importlib.util, "find_spec", found)
    return StrategyResolver.load_strategy(CONFIG | {"trading_mode": "futures"} | config)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        OperationalException, match=r"needs lightgbm, sklearn\. Way out: pip install 'liqsignals\[freqai\]'"
    ):
        load(monkeypatch, ("lightgbm", "sklearn"), {"freqai": {"enabled": True}})


def test_without_its_settings_it_says_which_config(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OperationalException, match=r"--config config\.freqai\.json"):
        load(monkeypatch, (), {})
    settings = json.loads((ROOT / "config.freqai.json").read_text(encoding="utf-8"))
    assert load(monkeypatch, (), settings).can_short is False


@pytest.mark.slow
@pytest.mark.skipif(any(find_spec(name) is None for name in EXTRA), reason="needs pip install '.[freqai]'")
def test_it_backtests_through_the_loopback(market: Path, tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "LiqSignalsFreqAI.py").write_bytes((FOLDER / "LiqSignalsFreqAI.py").read_bytes())
    config = json.loads((ROOT / "config.json").read_text()) | json.loads((ROOT / "config.freqai.json").read_text())
    del config["add_config_files"]
    config["freqai"] |= {"train_period_days": 10, "backtest_period_days": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    run = Run(
        market, "20250205-20250208", (ETH,), ("LiqSignalsFreqAI",), None, tmp_path / "config.json", tmp_path, offline=True, brief=True
    )  # fmt: skip
    result = run_backtest(run)
    assert result.accounts[0].strategy == "LiqSignalsFreqAI"
    said = result.log.read_text()
    assert "Done training" in said
    assert "Traceback" not in said

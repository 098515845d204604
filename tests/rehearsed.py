"""A strategy that orders a lot and computes nothing, for rehearsals of orders (test_rehearsal.py, kill_orders.py)."""

import shutil
from pathlib import Path

from conftest import ROOT

#: Enters at every candle, long or short in turn by the hour, and leaves after `hold` minutes; its stop is near.
TURN = """
from datetime import timedelta

from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Turn(IStrategy):
    INTERFACE_VERSION = 3
    timeframe = "5m"
    can_short = True
    startup_candle_count = 20
    minimal_roi = {"0": 10}
    stoploss = -0.02
    use_exit_signal = True
    order_types = {
        "entry": "limit",
        "exit": "market",
        "stoploss": "market",
        "emergency_exit": "market",
        "force_exit": "market",
        "stoploss_on_exchange": True,
        "stoploss_on_exchange_interval": 60,
    }
    hold = 9

    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        even = dataframe["date"].dt.hour % 2 == 0
        dataframe.loc[even, "enter_long"] = 1
        dataframe.loc[~even, "enter_short"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return dataframe

    def custom_exit(self, pair, trade, current_time, current_rate, current_profit, **kwargs):
        return "held" if current_time - trade.open_date_utc > timedelta(minutes=self.hold) else None

    def leverage(self, pair, current_time, current_rate, proposed_leverage, max_leverage, entry_tag, side, **kwargs):
        return 3.0
"""


def strategies(folder: Path) -> Path:
    """A folder with Turn and the shipped strategies."""
    out = folder / "strategies"
    out.mkdir(parents=True)
    for path in (ROOT / "user_data" / "strategies").glob("*.py"):
        shutil.copy(path, out)
    (out / "Turn.py").write_text(TURN)
    return out

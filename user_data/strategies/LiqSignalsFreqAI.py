from datetime import datetime
from importlib.util import find_spec

import numpy as np
import talib.abstract as ta
from freqtrade.exceptions import OperationalException
from freqtrade.persistence import Order, Trade
from freqtrade.strategy import DecimalParameter, IStrategy
from pandas import DataFrame

from liqsignals.signals import Signals
from liqsignals.strategy.account import Account
from liqsignals.strategy.callbacks import populated, safely


class LiqSignalsFreqAI(IStrategy):
    """An example: liqsignals' columns as features of FreqAI, beside a few of price. Not judged, and no profit is
    claimed.

    LightGBM predicts the return of the next two hours (`label_period_candles` of config.freqai.json); where it is above
    `enter_min`, and the map is fresh and warm, the strategy goes long until the prediction is negative.

        pip install 'liqsignals[freqai]'
        liqsignals backtest -d DATADIR --strategy LiqSignalsFreqAI --config config.freqai.json --timerange
        20251115-20251201

    A cluster that is not there is as far away as the map looks (15 %). Features are relative, so that one model serves
    a pair through changes of its price.
    """

    INTERFACE_VERSION = 3

    timeframe = "5m"
    can_short = False
    process_only_new_candles = True
    use_exit_signal = True
    startup_candle_count = 288
    minimal_roi = {"0": 10}
    stoploss = -0.03
    order_types = {
        "entry": "limit",
        "exit": "market",
        "stoploss": "market",
        "emergency_exit": "market",
        "force_exit": "market",
        "stoploss_on_exchange": True,
        "stoploss_on_exchange_interval": 60,
    }

    enter_min = DecimalParameter(0.002, 0.02, default=0.005, decimals=3, space="buy")

    def __init__(self, config: dict) -> None:
        missing = [name for name in ("lightgbm", "datasieve", "sklearn", "xgboost") if find_spec(name) is None]
        if missing:
            raise OperationalException(
                f"LiqSignalsFreqAI needs {', '.join(missing)}. Way out: pip install 'liqsignals[freqai]'"
            )
        if not config.get("freqai", {}).get("enabled"):
            raise OperationalException("LiqSignalsFreqAI needs FreqAI's settings. Way out: --config config.freqai.json")
        super().__init__(config)

    def bot_start(self, **kwargs) -> None:
        self.signals = Signals.from_config(self.config)
        self.account = Account.from_config(self.config, self.get_strategy_name(), ("long",))

    def informative_pairs(self) -> list:
        return safely("informative_pairs", [], lambda: self.signals.informative_pairs(self.dp.current_whitelist()))

    def feature_engineering_expand_all(self, dataframe: DataFrame, period: int, metadata: dict, **kwargs) -> DataFrame:
        dataframe["%-rsi-period"] = ta.RSI(dataframe, timeperiod=period)
        dataframe["%-roc-period"] = ta.ROC(dataframe, timeperiod=period)
        dataframe["%-range-period"] = ta.NATR(dataframe, timeperiod=period)
        return dataframe

    def feature_engineering_standard(self, dataframe: DataFrame, metadata: dict, **kwargs) -> DataFrame:
        dataframe = self.signals.attach(dataframe, metadata["pair"], self.timeframe, dp=self.dp)
        for side, where in (("short", "above"), ("long", "below")):
            dataframe[f"%-cluster_{where}"] = dataframe[f"liq_{where}_distance"].fillna(0.15)
            dataframe[f"%-swept_{side}"] = np.log1p(dataframe[f"liq_swept_{side}_usd"])
        dataframe["%-imbalance"] = dataframe["liq_imbalance"]
        dataframe["%-oi_change"] = dataframe["liq_oi_change_1h"]
        dataframe["%-funding"] = dataframe["fund_skew_z"].fillna(0.0)
        dataframe["%-hour"] = dataframe["date"].dt.hour
        return dataframe

    def set_freqai_targets(self, dataframe: DataFrame, metadata: dict, **kwargs) -> DataFrame:
        ahead = self.freqai_info["feature_parameters"]["label_period_candles"]
        dataframe["&-return"] = dataframe["close"].shift(-ahead) / dataframe["close"] - 1
        return dataframe

    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return populated(
            self, "populate_indicators", dataframe, metadata, lambda frame, pair: self.freqai.start(frame, pair, self)
        )

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return populated(self, "populate_entry_trend", dataframe, metadata, self.with_entries)

    def with_entries(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        usable = (dataframe["liq_fresh"] == 1) & (dataframe["liq_warm"] == 1) & (dataframe["volume"] > 0)
        expects = (dataframe["do_predict"] == 1) & (dataframe["&-return"] >= self.enter_min.value)
        dataframe.loc[usable & expects, ["enter_long", "enter_tag"]] = (1, "predicted_rise")
        return dataframe

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return populated(self, "populate_exit_trend", dataframe, metadata, self.with_exits)

    def with_exits(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[(dataframe["do_predict"] == 1) & (dataframe["&-return"] < 0), "exit_long"] = 1
        return dataframe

    def check_entry_timeout(self, pair: str, trade: Trade, order: Order, current_time: datetime, **kwargs) -> bool:
        """Whether a resting entry is cancelled: the kill switch is on, or nobody knows."""
        return safely(f"{pair}: check_entry_timeout", True, self.account.withdrawn)

    def confirm_trade_entry(
        self,
        pair: str,
        order_type: str,
        amount: float,
        rate: float,
        time_in_force: str,
        current_time: datetime,
        entry_tag: str | None,
        side: str,
        **kwargs,
    ) -> bool:
        return safely(
            f"{pair}: confirm_trade_entry",
            False,
            lambda: self.account.allows(self.wallets, Trade, pair, side, entry_tag, current_time),
        )

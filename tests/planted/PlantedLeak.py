from freqtrade.strategy import IStrategy
from pandas import DataFrame

from liqsignals import Signals
from liqsignals.data.tape import asof
from liqsignals.features import funding


class Causal(IStrategy):
    """Control: enters on the newest value of an extras file, which changes every candle."""

    INTERFACE_VERSION = 3
    timeframe = "5m"
    can_short = False
    minimal_roi = {"60": -1}
    stoploss = -0.5
    startup_candle_count = 30
    ahead = 0

    def bot_start(self, **kwargs) -> None:
        self.signals = Signals.from_config(self.config)

    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        def leaking(kind, at):
            """`asof` that reads `ahead` records beyond what was known, as far as the view has them."""
            row = asof(kind, at)
            return (row + self.ahead).clip(max=len(kind) - 1)

        funding.asof = leaking
        try:
            return self.signals.attach(dataframe, metadata["pair"], self.timeframe, dp=self.dp)
        finally:
            funding.asof = asof

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        high = dataframe["fund_dispersion"] > dataframe["fund_dispersion"].shift(1).rolling(20).max()
        dataframe.loc[high, "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return dataframe


class LeakTwelve(Causal):
    """The planted leak: twelve candles ahead in the same extras file."""

    ahead = 12

from datetime import datetime, timedelta

import numpy as np
import talib.abstract as ta
from freqtrade.exchange import timeframe_to_minutes, timeframe_to_prev_date
from freqtrade.persistence import Trade
from freqtrade.strategy import DecimalParameter, IntParameter, IStrategy, stoploss_from_absolute
from pandas import DataFrame

from liqsignals.guard import entry_confirmed, passes
from liqsignals.signals import Signals
from liqsignals.strategy import sizing
from liqsignals.strategy.callbacks import TradeNumber, overdue, populated, safely, stop_missed


class SqueezeMomentum(IStrategy):
    """Long while price presses toward a wall of short liquidations above it.

    Idea: shorts that are liquidated must buy. If a rise is already under way and a major cluster of
    short liquidations lies within reach, the rise has a natural place to go to, and to end at: the cluster.

    Entry, on the first closed candle on which all of this holds:
      - the map is fresh and warm, and a major short cluster lies `reach_min` .. `reach_max` above the close;
      - momentum is sustained: close above a rising 4-hour EMA, ADX strong with +DI over -DI, and price
        up over the last hour;
      - funding does not show crowded longs (they would be the ones to be liquidated);
      - no unusual inflow of coins to exchanges (coins that may be about to be sold).
    A family without a data file (funding, flows) is left out; one whose data went stale blocks entries.
    Without a fresh map there is no trade. Nor is there one on an old signal, far from its price, or into a wide book
    (liqsignals.guard): freqtrade alone would follow a signal for minutes.

    The tag says what funding showed: squeeze_crowded_shorts, squeeze_neutral_funding, or
    squeeze_unknown_funding where there is no funding file.

    Exits, decided on closed candles only:
      - cluster_reached: a high since entry touched the cluster's price as it was at entry;
      - momentum_lost: close below the EMA with -DI over +DI;
      - time_stop: `max_hours` without reaching it, by the clock where candles do not arrive;
      - the stop loss, 0.8 % of price at any leverage, never wider than the distance to the target; it stands at the
        exchange. stop_missed: price is beyond it and nothing acted on it.
    Clock and stop need neither candles nor the database. Each callback catches its own errors (docs/callbacks.md).

    No profit is claimed. That clusters pull price toward them is not established (docs/evidence.md); the
    thresholds come from reasoning, and only a comparison with placebo clusters can tell whether the map
    adds anything to the momentum.
    """

    INTERFACE_VERSION = 3

    timeframe = "5m"
    can_short = False
    process_only_new_candles = True
    use_exit_signal = True
    use_custom_stoploss = True
    # A stop that stands when the bot does not. `order_types` in a config replaces all of it.
    order_types = {
        "entry": "limit",
        "exit": "market",
        "stoploss": "market",
        "emergency_exit": "market",
        "force_exit": "market",
        "stoploss_on_exchange": True,
        "stoploss_on_exchange_interval": 60,
    }
    # For TA-Lib only: Wilder's ADX and a 48-candle EMA forget slowly, and have forgotten by then; liqsignals'
    # columns do not depend on it. More would take a second request per pair and candle on Binance.
    startup_candle_count = 480

    # Off: the target is a price on the map, not a percentage.
    minimal_roi = {"0": 10}
    # Freqtrade counts the stop in profit on margin: 2.4 % at 3x is 0.8 % of price, which custom_stoploss keeps where
    # the venue allows less. Our own liquidation price, some 33 % away at 3x, is far beyond it.
    stoploss = -0.024
    max_leverage_used = 3.0
    # The cluster's price at entry, kept with the trade so that a restart does not lose it.
    target = TradeNumber("target")

    # Nearer than the stop is not worth its risk and fees; farther is out of reach for one push.
    reach_min = DecimalParameter(0.008, 0.015, default=0.008, decimals=3, space="buy")
    reach_max = DecimalParameter(0.015, 0.05, default=0.025, decimals=3, space="buy")
    adx_min = IntParameter(15, 35, default=20, space="buy")
    roc_min = DecimalParameter(0.0, 0.6, default=0.2, decimals=1, space="buy")  # % over the last hour
    fund_z_max = DecimalParameter(0.5, 2.0, default=1.0, decimals=1, space="buy")  # above: crowded longs
    inflow_z_max = DecimalParameter(1.0, 3.0, default=2.0, decimals=1, space="buy")  # above: a shock

    # As far as the EMA looks back: a push that has not arrived by then is another push.
    max_hours = IntParameter(2, 12, default=4, space="sell")

    # Only the tag depends on it.
    crowded_shorts_z = -1.0

    # Orange: shorts, above price. Blue: longs, below it. FreqUI has room for ten letters a title.
    plot_config = {
        "main_plot": {
            "ema": {"color": "#888888"},
            "liq_above_price": {"color": "#e67e14"},
            "liq_below_price": {"color": "#3a86d6"},
        },
        "subplots": {
            "to wall": {"liq_above_distance": {"color": "#e67e14"}},
            "USD, 2 %": {"liq_short_usd_2pct": {"color": "#e67e14"}, "liq_long_usd_2pct": {"color": "#3a86d6"}},
            "trend": {
                "adx": {"color": "#7f7f7f"},
                "plus_di": {"color": "#2ca02c"},
                "minus_di": {"color": "#d62728"},
            },
            "crowding": {"fund_skew_z": {"color": "#9467bd"}, "flow_inflow_z": {"color": "#8c564b"}},
        },
    }

    def bot_start(self, **kwargs) -> None:
        self.signals = Signals.from_config(self.config)

    def informative_pairs(self) -> list:
        return safely("informative_pairs", [], lambda: self.signals.informative_pairs(self.dp.current_whitelist()))

    def plot_annotations(self, pair, start_date, end_date, dataframe, **kwargs) -> list:
        return self.signals.annotations(pair, start_date, end_date, dataframe)

    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return populated(self, "populate_indicators", dataframe, metadata, self.with_indicators)

    def with_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe["ema"] = ta.EMA(dataframe, timeperiod=48)
        dataframe["adx"] = ta.ADX(dataframe, timeperiod=14)
        dataframe["plus_di"] = ta.PLUS_DI(dataframe, timeperiod=14)
        dataframe["minus_di"] = ta.MINUS_DI(dataframe, timeperiod=14)
        dataframe["roc"] = ta.ROC(dataframe, timeperiod=12)
        return self.signals.attach(dataframe, metadata["pair"], self.timeframe, dp=self.dp)

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return populated(self, "populate_entry_trend", dataframe, metadata, self.with_entries)

    def with_entries(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        # Comparisons with NaN are False: a missing value never opens a trade.
        cluster = (
            (dataframe["liq_fresh"] == 1)
            & (dataframe["liq_warm"] == 1)
            & (dataframe["liq_above_distance"] >= self.reach_min.value)
            & (dataframe["liq_above_distance"] <= self.reach_max.value)
        )
        momentum = (
            (dataframe["close"] > dataframe["ema"])
            & (dataframe["ema"] > dataframe["ema"].shift(12))
            & (dataframe["adx"] >= self.adx_min.value)
            & (dataframe["plus_di"] > dataframe["minus_di"])
            & (dataframe["roc"] >= self.roc_min.value)
        )
        funding = passes(dataframe["fund_fresh"], dataframe["fund_skew_z"] <= self.fund_z_max.value)
        flows = passes(dataframe["flow_fresh"], dataframe["flow_inflow_z"] <= self.inflow_z_max.value)
        setup = cluster & momentum & funding & flows & (dataframe["volume"] > 0)
        # One entry per set-up: after a stop the same push is not bought again.
        first = setup & ~setup.shift(1, fill_value=False)
        crowded = dataframe["fund_skew_z"] <= self.crowded_shorts_z
        tag = np.where(crowded, "squeeze_crowded_shorts", "squeeze_neutral_funding")
        tag = np.where(dataframe["fund_fresh"].isna(), "squeeze_unknown_funding", tag)
        dataframe.loc[first, "enter_long"] = 1
        dataframe.loc[first, "enter_tag"] = tag[first]
        return dataframe

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return dataframe

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
        def to_stop(candles: DataFrame) -> float:
            return sizing.distance_of(self.stoploss, self.max_leverage_used)

        return safely(
            f"{pair}: confirm_trade_entry",
            False,
            lambda: entry_confirmed(self.dp, pair, self.timeframe, side, rate, current_time, entry_tag, to_stop, Trade),
        )

    def custom_exit(
        self, pair: str, trade: Trade, current_time: datetime, current_rate: float, current_profit: float, **kwargs
    ) -> str | None:
        where = f"{pair}: custom_exit"
        # Stop and clock first: neither needs candles or the database.
        if safely(where, False, lambda: stop_missed(self.dp, trade, self.stop_of(trade), current_rate)):
            return "stop_missed"
        # Where the clock itself fails, the trade is closed.
        late = safely(
            where, True, lambda: overdue(trade.open_date_utc, current_time, self.timeframe, self.max_hours.value)
        )
        return safely(where, None, lambda: self.exit_on_candles(trade, current_time)) or ("time_stop" if late else None)

    def exit_on_candles(self, trade: Trade, now: datetime) -> str | None:
        """Only closed candles decide, so that a live loop exits where a backtest does."""
        dataframe, _ = self.dp.get_analyzed_dataframe(trade.pair, self.timeframe)
        opened = timeframe_to_prev_date(self.timeframe, trade.open_date_utc)
        # In the first loop: later the signal's row may have changed with revised open interest.
        target = safely(f"{trade.pair}: target", None, lambda: self.target_of(trade, now, dataframe, opened))
        if len(dataframe) == 0 or dataframe["date"].iat[-1] < opened:
            return None
        if target is not None and dataframe["high"][dataframe["date"] >= opened].max() >= target:
            return "cluster_reached"
        below = dataframe["close"].iat[-1] < dataframe["ema"].iat[-1]
        if below and dataframe["minus_di"].iat[-1] > dataframe["plus_di"].iat[-1]:
            return "momentum_lost"
        # A candle that is there is over, whatever the clock says.
        over = dataframe["date"].iat[-1] + timedelta(minutes=timeframe_to_minutes(self.timeframe))
        return "time_stop" if over - opened >= timedelta(hours=self.max_hours.value) else None

    def custom_stoploss(
        self,
        pair: str,
        trade: Trade,
        current_time: datetime,
        current_rate: float,
        current_profit: float,
        after_fill: bool,
        **kwargs,
    ) -> float | None:
        def wanted() -> float | None:
            stop = self.stop_of(trade)
            # Where it stands already, leave it: asked again, freqtrade may round it up by a tick and call it trailing.
            if sizing.stands(trade.stop_loss, stop, trade.is_short):
                return None
            return stoploss_from_absolute(stop, current_rate, is_short=trade.is_short, leverage=trade.leverage)

        return safely(f"{pair}: custom_stoploss", None, wanted)

    def leverage(
        self,
        pair: str,
        current_time: datetime,
        current_rate: float,
        proposed_leverage: float,
        max_leverage: float,
        entry_tag: str | None,
        side: str,
        **kwargs,
    ) -> float:
        return safely(f"{pair}: leverage", 1.0, lambda: sizing.leverage_within(self.max_leverage_used, max_leverage))

    def custom_stake_amount(
        self,
        pair: str,
        current_time: datetime,
        current_rate: float,
        proposed_stake: float,
        min_stake: float | None,
        max_stake: float,
        leverage: float,
        entry_tag: str | None,
        side: str,
        **kwargs,
    ) -> float:
        return safely(f"{pair}: custom_stake_amount", 0.0, lambda: sizing.stake_within(proposed_stake, max_stake))

    def stop_of(self, trade: Trade) -> float:
        """Price of the stop: a distance from the entry, whatever leverage the venue allowed."""
        distance = sizing.distance_of(self.stoploss, self.max_leverage_used)
        return sizing.stop_price(trade.open_rate, distance, trade.is_short)

    def target_of(self, trade: Trade, now: datetime, dataframe: DataFrame, opened: datetime) -> float | None:
        """The cluster's price at entry; None where the entry was forced by hand."""

        def at_entry() -> float | None:
            if len(dataframe) == 0:
                return None
            # The candle that gave the signal closed when `opened` began, or one before if the bot was slow.
            candle = timedelta(minutes=timeframe_to_minutes(self.timeframe))
            before = (dataframe["date"] < opened) & (dataframe["date"] >= opened - 2 * candle)
            signal = dataframe[before & (dataframe["enter_long"] == 1)]
            return float(signal["liq_above_price"].iat[-1]) if len(signal) else None

        return self.target.of(trade, now, self.timeframe, at_entry)

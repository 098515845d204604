from datetime import datetime, timedelta
from math import inf

import numpy as np
import talib.abstract as ta
from freqtrade.exchange import timeframe_to_minutes, timeframe_to_prev_date
from freqtrade.persistence import Order, Trade
from freqtrade.strategy import DecimalParameter, IntParameter, IStrategy, stoploss_from_absolute
from pandas import DataFrame

from liqsignals.guard import entry_confirmed, passes
from liqsignals.signals import Signals
from liqsignals.strategy import sizing
from liqsignals.strategy.account import Account
from liqsignals.strategy.callbacks import TradeNumber, at_entry, overdue, populated, safely, stop_at_signal, stop_missed


class SqueezeMomentum(IStrategy):
    """Long while shorts are being liquidated and more of them stand above.

    Idea: a short that is liquidated must buy. Where an hour has forced more shorts out than any hour of the last three
    days, buying is forced now, and a major cluster of short liquidations above is the fuel for more of it.

    Entry, on the first closed candle on which all of this holds:
      - the map is fresh and warm;
      - a squeeze is under way: within the last `window` candles an hour's swept shorts were the most of `record_h`
      hours
        (a rank, so that no coin needs a threshold of its own; by chance once in that time);
      - fuel: a major short cluster stands `fuel_min` .. `fuel_max` above the close; forced buying carries itself at
      least
        `gain_min` times as far (squeeze_gain), where that is known;
      - momentum is sustained: close above a rising 4-hour EMA and in the upper half of the hour's range, ADX strong
      with
        +DI over -DI;
      - funding does not show crowded longs, coins do not flow to exchanges unusually, no macro event is due.
    A family without a data file is left out; one whose data went stale blocks entries. Without a fresh map there is no
    trade. Nor is there one on an old signal, far from its price, or into a wide book (liqsignals.guard).

    The tag says why: squeeze_crowded_shorts, squeeze_neutral_funding or squeeze_unknown_funding, and how far the
    cluster is: _near (within 3 %), _far.

    Size: docs/risk.md. The stop lies above the nearest long cluster below, for a fall into it would be carried on, at
    least `stop_min` and at most `stop_max` typical hourly ranges away, as a price at any leverage.

    Exits, decided on closed candles only:
      - cluster_rejected: price reached the cluster of the entry and closed below it; cluster_passed: it closed where
        forced buying beyond it was expected to end (squeeze_end_price; `beyond` it where that is not known);
      - sweep_over: the last hour swept less than `sweep_end` of the largest hour since the entry;
      - momentum_lost: close below the EMA with -DI over +DI;
      - time_stop: after `max_hours`, half of them while longs pay `funding_max` or more, by the clock where candles do
        not arrive; the stop, which stands at the exchange; stop_missed: price is beyond it and nothing acted on it.
    Clock and stop need neither candles nor the database. Each callback catches its own errors (docs/callbacks.md).

    No profit is claimed: docs/results.md has what a walk-forward with placebos found.
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
    # For the three days of hourly sweeps; liqsignals' columns do not depend on it. Two requests at the start on
    # Binance.
    startup_candle_count = 900

    # Of freqtrade; `liqsignals backtest` enables them. The cooldown is a third of a week: three entries a week at most.
    # The others pause after losses; the stop that a human must release is the account's (docs/risk.md).
    protections = [
        {"method": "CooldownPeriod", "stop_duration": 56 * 60},
        {"method": "StoplossGuard", "lookback_period": 1440, "trade_limit": 2, "stop_duration": 2880},
        {
            "method": "MaxDrawdown",
            "calculation_mode": "equity",
            "lookback_period": 30 * 1440,
            "trade_limit": 3,
            "max_allowed_drawdown": 0.02,
            "stop_duration": 15 * 1440,
        },
    ]

    # Off: the target is a price on the map, not a percentage.
    minimal_roi = {"0": 10}
    # The farthest stop, as a distance in price, and freqtrade's form of it: profit on margin at 3x. Our own liquidation
    # price, some 33 % away at 3x, is far beyond it.
    last_resort = 0.05
    stoploss = -0.15
    # Prices of the entry, kept with the trade so that a restart does not lose them.
    stop = TradeNumber("stop")
    target = TradeNumber("target")
    end = TradeNumber("end")

    record_h = IntParameter(48, 72, default=72, space="buy")
    window = IntParameter(1, 12, default=3, space="buy")
    fuel_min = DecimalParameter(0.001, 0.01, default=0.003, decimals=3, space="buy")
    fuel_max = DecimalParameter(0.03, 0.15, default=0.15, decimals=2, space="buy")
    gain_min = DecimalParameter(1.0, 2.0, default=1.0, decimals=1, space="buy")
    adx_min = IntParameter(15, 35, default=20, space="buy")
    fund_z_max = DecimalParameter(0.5, 2.0, default=1.0, decimals=1, space="buy")  # above: crowded longs
    inflow_z_max = DecimalParameter(1.0, 3.0, default=2.0, decimals=1, space="buy")  # above: a shock

    stop_min = DecimalParameter(1.0, 2.0, default=1.5, decimals=1, space="sell")  # of typical hourly ranges
    stop_max = DecimalParameter(2.0, 4.0, default=3.0, decimals=1, space="sell")
    beyond = DecimalParameter(0.002, 0.01, default=0.005, decimals=3, space="sell")
    sweep_end = DecimalParameter(0.1, 0.5, default=0.2, decimals=1, space="sell")
    funding_max = DecimalParameter(0.0002, 0.002, default=0.0005, decimals=4, space="sell")  # per 8 h
    max_hours = IntParameter(2, 12, default=4, space="sell")

    # Neither decides on a trade: the tag, and the message that a cluster has come within reach.
    crowded_shorts_z = -1.0
    alert_within = 0.01

    # Orange: shorts, above price. Blue: longs, below it. FreqUI has room for ten letters a title.
    plot_config = {
        "main_plot": {
            "ema": {"color": "#888888"},
            "liq_above_price": {"color": "#e67e14"},
            "liq_below_price": {"color": "#3a86d6"},
            "stop_long": {"color": "#c0392b"},
        },
        "subplots": {
            "swept, 1 h": {"sweep": {"color": "#e67e14"}, "record": {"color": "#7f7f7f"}},
            "to wall": {"liq_above_distance": {"color": "#e67e14"}},
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
        self.account = Account.from_config(self.config, self.get_strategy_name(), ("long",))

    def informative_pairs(self) -> list:
        return safely("informative_pairs", [], lambda: self.signals.informative_pairs(self.dp.current_whitelist()))

    def plot_annotations(self, pair, start_date, end_date, dataframe, **kwargs) -> list:
        return self.signals.annotations(pair, start_date, end_date, dataframe)

    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return populated(self, "populate_indicators", dataframe, metadata, self.with_indicators)

    def with_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        pair = metadata["pair"]
        # First: in a bot it puts the disk's candles in place of wrong ones.
        dataframe = self.signals.attach(dataframe, pair, self.timeframe, dp=self.dp)
        dataframe["ema"] = ta.EMA(dataframe, timeperiod=48)
        dataframe["adx"] = ta.ADX(dataframe, timeperiod=14)
        dataframe["plus_di"] = ta.PLUS_DI(dataframe, timeperiod=14)
        dataframe["minus_di"] = ta.MINUS_DI(dataframe, timeperiod=14)
        # The context of an hour: its range, and a day's typical one. Median and extremes give the same bits wherever
        # the dataframe begins; running sums do not.
        dataframe["hour_high"] = dataframe["high"].rolling(12).max()
        dataframe["hour_low"] = dataframe["low"].rolling(12).min()
        dataframe["hour"] = (dataframe["hour_high"] / dataframe["hour_low"] - 1).rolling(288, min_periods=144).median()
        dataframe["sweep"] = sum(dataframe["liq_swept_short_usd"].shift(i) for i in range(12))
        safely(f"{pair}: alert", None, lambda: self.account.announce(self.dp, pair, dataframe, self.alert_within))
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return populated(self, "populate_entry_trend", dataframe, metadata, self.with_entries)

    def with_entries(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        # Comparisons with NaN are False: a missing value never opens a trade.
        close, sweep = dataframe["close"], dataframe["sweep"]
        dataframe["record"] = sweep.shift(12).rolling(12 * self.record_h.value).max()
        squeezed = (sweep > dataframe["record"]).rolling(self.window.value, min_periods=1).max() == 1
        usable = (dataframe["liq_fresh"] == 1) & (dataframe["liq_warm"] == 1) & (dataframe["volume"] > 0)
        distance = dataframe["liq_above_distance"]
        fuel = (distance >= self.fuel_min.value) & (distance <= self.fuel_max.value)
        fuel &= ~(dataframe["squeeze_gain"] < self.gain_min.value)
        momentum = (
            (close > dataframe["ema"])
            & (dataframe["ema"] > dataframe["ema"].shift(12))
            & (2 * close >= dataframe["hour_high"] + dataframe["hour_low"])
            & (dataframe["adx"] >= self.adx_min.value)
            & (dataframe["plus_di"] > dataframe["minus_di"])
        )
        calm = (
            passes(dataframe["fund_fresh"], dataframe["fund_skew_z"] <= self.fund_z_max.value)
            & passes(dataframe["flow_fresh"], dataframe["flow_inflow_z"] <= self.inflow_z_max.value)
            & ~(dataframe["macro_blackout"] == 1)
        )
        # Above the long cluster below, in typical hourly ranges.
        below = 1 - dataframe["liq_below_price"] * (1 + 0.1 * dataframe["hour"]) / close
        nearest, farthest = self.stop_min.value * dataframe["hour"], self.stop_max.value * dataframe["hour"]
        way = np.clip(below.fillna(farthest), nearest, farthest).clip(upper=0.99 * self.last_resort)
        dataframe["stop_long"] = close * (1 - way)

        setup = usable & squeezed & fuel & momentum & calm & (way > 0)
        # One entry per set-up: after a stop the same push is not bought again.
        first = setup & ~setup.shift(1, fill_value=False)
        crowded = dataframe["fund_skew_z"] <= self.crowded_shorts_z
        tag = np.where(crowded, "squeeze_crowded_shorts", "squeeze_neutral_funding")
        tag = np.where(dataframe["fund_fresh"].isna(), "squeeze_unknown_funding", tag)
        tag = np.char.add(tag.astype(str), np.where(distance <= 0.03, "_near", "_far"))
        dataframe.loc[first, "enter_long"] = 1
        dataframe.loc[first, "enter_tag"] = tag[first]
        return dataframe

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
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
        def to_stop(candles: DataFrame) -> float:
            stop = self.stop_at_signal(candles, side)
            return sizing.way_to(stop, candles["close"].iat[-1], side == "short")

        return safely(
            f"{pair}: confirm_trade_entry",
            False,
            lambda: (
                self.account.allows(self.wallets, Trade, pair, side, entry_tag, current_time)
                and entry_confirmed(self.dp, pair, self.timeframe, side, rate, current_time, entry_tag, to_stop, Trade)
            ),
        )

    def custom_exit(
        self, pair: str, trade: Trade, current_time: datetime, current_rate: float, current_profit: float, **kwargs
    ) -> str | None:
        where = f"{pair}: custom_exit"
        # Stop and clock first: neither depends on candles or the database.
        if safely(where, False, lambda: stop_missed(self.dp, trade, self.stop_of(trade, current_time), current_rate)):
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
        target = safely(
            f"{trade.pair}: target",
            None,
            lambda: self.target.of(
                trade, now, self.timeframe, lambda: at_entry(self.dp, trade, self.timeframe, self.cluster)
            ),
        )
        if len(dataframe) == 0 or dataframe["date"].iat[-1] < opened:
            return None
        since, last = dataframe[dataframe["date"] >= opened], dataframe.iloc[-1]
        if target is not None and since["high"].max() >= target:
            if last["close"] < target:
                return "cluster_rejected"
            end = safely(
                f"{trade.pair}: end",
                None,
                lambda: self.end.of(
                    trade, now, self.timeframe, lambda: at_entry(self.dp, trade, self.timeframe, self.cascade_end)
                ),
            )
            if last["close"] >= (end or target * (1 + self.beyond.value)):
                return "cluster_passed"
        if last["sweep"] <= self.sweep_end.value * since["sweep"].max():
            return "sweep_over"
        if last["close"] < last["ema"] and last["minus_di"] > last["plus_di"]:
            return "momentum_lost"
        # A candle that is there is over, whatever the clock says.
        over = last["date"] + timedelta(minutes=timeframe_to_minutes(self.timeframe))
        hours = self.max_hours.value * (0.5 if last["fund_rate_8h"] >= self.funding_max.value else 1.0)
        return "time_stop" if over - opened >= timedelta(hours=hours) else None

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
            stop = self.stop_of(trade, current_time)
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
        return safely(f"{pair}: leverage", 1.0, lambda: self.size(pair, side, current_rate, max_leverage).leverage)

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
        return safely(
            f"{pair}: custom_stake_amount",
            0.0,
            lambda: self.size(pair, side, current_rate, leverage, max_stake, min_stake).stake,
        )

    def size(
        self, pair: str, side: str, rate: float, allowed: float, largest: float = inf, least: float | None = None
    ) -> sizing.Size:
        """Leverage and stake of an entry on the last row, from the way to its stop."""
        dataframe, _ = self.dp.get_analyzed_dataframe(pair, self.timeframe)
        distance = sizing.way_to(self.stop_at_signal(dataframe, side), rate, side == "short")
        return self.account.size(self.wallets, Trade, distance, allowed, largest, least)

    def stop_of(self, trade: Trade, now: datetime) -> float:
        """Price of the stop as it was at the signal, within the last resort's distance from the entry."""
        last_resort = sizing.stop_price(trade.open_rate, self.last_resort, trade.is_short)
        stop = safely(
            f"{trade.pair}: stop",
            None,
            lambda: self.stop.of(
                trade, now, self.timeframe, lambda: at_entry(self.dp, trade, self.timeframe, self.stop_at_signal)
            ),
        )
        return sizing.nearer(last_resort, stop, trade.is_short)

    def stop_at_signal(self, dataframe: DataFrame, side: str) -> float:
        """The stop of a signal on the last row; the last resort from its close where there is none (forced by hand)."""
        return stop_at_signal(dataframe, side, self.last_resort)

    def cluster(self, dataframe: DataFrame, side: str) -> float:
        """The short cluster above the last row's close."""
        return float(dataframe["liq_above_price"].iat[-1])

    def cascade_end(self, dataframe: DataFrame, side: str) -> float:
        """Where forced buying beyond that cluster is expected to end; NaN where that is not known."""
        return float(dataframe["squeeze_end_price"].iat[-1])

from datetime import datetime, timedelta
from math import inf

import numpy as np
import talib.abstract as ta
from freqtrade.exchange import timeframe_to_minutes, timeframe_to_prev_date
from freqtrade.persistence import Order, Trade
from freqtrade.strategy import (
    BooleanParameter,
    DecimalParameter,
    IntParameter,
    IStrategy,
    stoploss_from_absolute,
)
from pandas import DataFrame, Series

from liqsignals.guard import entry_confirmed, passes
from liqsignals.signals import Signals
from liqsignals.strategy import sizing
from liqsignals.strategy.account import Account
from liqsignals.strategy.callbacks import TradeNumber, at_entry, overdue, populated, safely, stop_at_signal, stop_missed


class RejectionFade(IStrategy):
    """Against a move that liquidated more than any other of the last days and failed to go on.

    Idea: liquidations are forced orders that move price more than ordinary ones, and what they moved tends to come
    back. After a flush of longs that was the largest for days, with open interest gone and price off its low, what fell
    was forced selling: buy it. The mirror image, against a squeeze of shorts, has a switch of its own, `fade_squeezes`,
    and is off: what was seen of it lost (docs/trials.md).

    Entry, on the first closed candle on which all of this holds (long, after a flush; short is the mirror image):
      - the map is fresh and warm;
      - the sweep was extreme: within the last hour 15 minutes swept more longs than any 15 minutes of the `record_h`
      hours
        before (a rank, so that no coin needs a threshold of its own; by chance once in that time);
      - open interest was flushed: over the last hour it fell by `flush_min` or more;
      - it failed: price has regained `regained` of the hour's range;
      - the 4-hour EMA, the target, is at least `room_min` away;
      - funding does not show that the side to fade is still crowded, coins do not flow to exchanges unusually (for a
      long),
        no macro event is due.
    A family without a data file is left out; one whose data went stale blocks entries. Without a fresh map there is no
    trade. Nor is there one on an old signal, far from its price, or into a wide book (liqsignals.guard). Open interest
    is known some 10 minutes late with 5m files; hourly files are known two hours late and see the flush of another
    hour.

    The tag says which side was swept, and what funding showed: fade_long_sweep_crowded (longs paid before it),
    fade_long_sweep_neutral, fade_long_sweep_unknown; fade_short_sweep_...

    Size: docs/risk.md. The stop lies `stop_buffer` typical hourly ranges beyond the extreme of the hour, as a price at
    any leverage; farther than `wick_max` there is no entry.

    Exits, decided on closed candles only:
      - mean_reached: the close is back at the EMA;
      - cluster_reached: price is at the next major cluster on its way, where forced orders end or turn;
      - time_stop: after `max_hours`, half of them while our side pays `funding_max` or more, by the clock where candles
        do not arrive; the stop, which stands at the exchange; stop_missed: price is beyond it and nothing acted on it.
    Clock and stop need neither candles nor the database. Each callback catches its own errors (docs/callbacks.md).

    No profit is claimed: docs/results.md has what a walk-forward with placebos found.
    """

    INTERFACE_VERSION = 3

    timeframe = "5m"
    can_short = True
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
    # For the three days of sweeps; liqsignals' columns do not depend on it. Two requests at the start on Binance.
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

    # Off: the target is a price, not a percentage.
    minimal_roi = {"0": 10}
    # The farthest stop, as a distance in price, and freqtrade's form of it: profit on margin at 3x. Our own liquidation
    # price, some 33 % away at 3x, is far beyond it.
    last_resort = 0.06
    stoploss = -0.18
    # Prices of the entry, kept with the trade so that a restart does not lose them.
    stop = TradeNumber("stop")
    target = TradeNumber("target")

    record_h = IntParameter(48, 72, default=72, space="buy")
    flush_min = DecimalParameter(0.001, 0.01, default=0.003, decimals=3, space="buy")
    regained = DecimalParameter(0.2, 0.6, default=0.3, decimals=1, space="buy")
    room_min = DecimalParameter(0.002, 0.01, default=0.003, decimals=3, space="buy")  # must pay the fees
    wick_max = DecimalParameter(0.02, 0.05, default=0.05, decimals=2, space="buy")  # inside the last resort
    fund_z_max = DecimalParameter(0.5, 2.5, default=1.5, decimals=1, space="buy")
    inflow_z_max = DecimalParameter(1.0, 3.0, default=2.0, decimals=1, space="buy")
    fade_squeezes = BooleanParameter(default=False, space="buy", optimize=False)

    stop_buffer = DecimalParameter(0.2, 1.0, default=0.5, decimals=1, space="sell")
    funding_max = DecimalParameter(0.0002, 0.002, default=0.0005, decimals=4, space="sell")  # per 8 h
    max_hours = IntParameter(1, 12, default=4, space="sell")

    # Neither decides on a trade: the tag, and the message that a cluster has come within reach.
    crowded_z = 0.5
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
            "swept USD": {
                "sweep_short": {"color": "#e67e14"},
                "sweep_long": {"color": "#3a86d6"},
            },
            "OI, 1 h": {"liq_oi_change_1h": {"color": "#7f7f7f"}},
            "crowding": {"fund_skew_z": {"color": "#9467bd"}, "flow_inflow_z": {"color": "#8c564b"}},
        },
    }

    def bot_start(self, **kwargs) -> None:
        self.signals = Signals.from_config(self.config)
        sides = ("long", "short") if self.fade_squeezes.value else ("long",)
        self.account = Account.from_config(self.config, self.get_strategy_name(), sides)

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
        # The context of an hour: its range, and a day's typical one. Median and extremes give the same bits wherever
        # the dataframe begins; running sums do not.
        dataframe["hour_high"] = dataframe["high"].rolling(12).max()
        dataframe["hour_low"] = dataframe["low"].rolling(12).min()
        dataframe["hour"] = (dataframe["hour_high"] / dataframe["hour_low"] - 1).rolling(288, min_periods=144).median()
        for side in ("long", "short"):
            swept = dataframe[f"liq_swept_{side}_usd"]
            dataframe[f"sweep_{side}"] = swept + swept.shift(1) + swept.shift(2)
        safely(f"{pair}: alert", None, lambda: self.account.announce(self.dp, pair, dataframe, self.alert_within))
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return populated(self, "populate_entry_trend", dataframe, metadata, self.with_entries)

    def with_entries(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        # Comparisons with NaN are False: a missing value never opens a trade.
        usable = (dataframe["liq_fresh"] == 1) & (dataframe["liq_warm"] == 1) & (dataframe["volume"] > 0)
        usable &= (dataframe["liq_oi_change_1h"] <= -self.flush_min.value) & ~(dataframe["macro_blackout"] == 1)
        close, ema, hour = dataframe["close"], dataframe["ema"], dataframe["hour"]
        low, high = dataframe["hour_low"], dataframe["hour_high"]
        skew = dataframe["fund_skew_z"]

        dataframe["stop_long"] = low * (1 - self.stop_buffer.value * hour)
        long = (
            usable
            & self.extreme(dataframe, "long")
            & (close >= low + self.regained.value * (high - low))
            & (ema / close - 1 >= self.room_min.value)
            & (1 - dataframe["stop_long"] / close <= self.wick_max.value)
            & passes(dataframe["fund_fresh"], skew <= self.fund_z_max.value)
            & passes(dataframe["flow_fresh"], dataframe["flow_inflow_z"] <= self.inflow_z_max.value)
        )

        dataframe["stop_short"] = high * (1 + self.stop_buffer.value * hour)
        short = (
            usable
            & self.fade_squeezes.value
            & self.extreme(dataframe, "short")
            & (close <= high - self.regained.value * (high - low))
            & (1 - ema / close >= self.room_min.value)
            & (dataframe["stop_short"] / close - 1 <= self.wick_max.value)
            & passes(dataframe["fund_fresh"], skew >= -self.fund_z_max.value)
        )

        # One entry per set-up: after a stop the same sweep is not faded again.
        for setup, side, crowded in ((short, "short", skew <= -self.crowded_z), (long, "long", skew >= self.crowded_z)):
            first = setup & ~setup.shift(1, fill_value=False)
            tag = np.where(crowded, f"fade_{side}_sweep_crowded", f"fade_{side}_sweep_neutral")
            tag = np.where(dataframe["fund_fresh"].isna(), f"fade_{side}_sweep_unknown", tag)
            dataframe.loc[first, f"enter_{side}"] = 1
            dataframe.loc[first, "enter_tag"] = tag[first]
        return dataframe

    def extreme(self, dataframe: DataFrame, side: str) -> Series:
        """Whether within the last hour 15 minutes swept more than any 15 minutes of the days before them."""
        sweep = dataframe[f"sweep_{side}"]
        record = sweep.shift(3).rolling(12 * self.record_h.value).max()
        return (sweep > record).rolling(12, min_periods=1).max() == 1

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
        if last["close"] <= last["ema"] if trade.is_short else last["close"] >= last["ema"]:
            return "mean_reached"
        if target is not None and (since["low"].min() <= target if trade.is_short else since["high"].max() >= target):
            return "cluster_reached"
        # A candle that is there is over, whatever the clock says.
        over = last["date"] + timedelta(minutes=timeframe_to_minutes(self.timeframe))
        paid = last["fund_rate_8h"] * (-1 if trade.is_short else 1)
        hours = self.max_hours.value * (0.5 if paid >= self.funding_max.value else 1.0)
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
        """The major cluster that a reversion from the last row's close runs into."""
        return float(dataframe["liq_below_price" if side == "short" else "liq_above_price"].iat[-1])

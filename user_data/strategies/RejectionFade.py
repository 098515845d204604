from datetime import datetime, timedelta

import talib.abstract as ta
from freqtrade.exchange import timeframe_to_minutes, timeframe_to_prev_date
from freqtrade.persistence import Trade
from freqtrade.strategy import DecimalParameter, IntParameter, IStrategy, stoploss_from_absolute
from pandas import DataFrame, Series

from liqsignals.guard import entry_confirmed, passes
from liqsignals.signals import Signals
from liqsignals.strategy import sizing
from liqsignals.strategy.callbacks import TradeNumber, overdue, populated, safely, stop_missed


class RejectionFade(IStrategy):
    """Against a move that swept a liquidation cluster and failed to go on.

    Idea: liquidations are forced orders that move price more than ordinary ones, and what they moved tends to
    come back. If price ran through a major cluster, the positions there are gone, and price is back on the side
    that it came from, then the run was forced flow and not new demand: fade it.

    Entry, on the first closed candle on which all of this holds (short, at short clusters above; long is the
    mirror image, at long clusters below):
      - the map is fresh and warm;
      - within the last `window` candles the high went beyond the major short cluster as it was known before
        them, and the close is back below it;
      - the sweep was large: its largest candle is at least `sweep_share` of the largest in the 12 hours before;
      - open interest was flushed: over the last hour it fell by `flush_min` or more;
      - the 4-hour EMA, the target, is at least `room_min` away, and the wick at most `wick_max`;
      - funding does not show that the side to fade is still crowded (shorts still paying, for a short);
      - for longs, no unusual inflow of coins to exchanges.
    A family without a data file (funding, flows) is left out; one whose data went stale blocks entries.
    Without a fresh map there is no trade. Nor is there one on an old signal, far from its price, or into a wide book
    (liqsignals.guard): freqtrade alone would follow a signal for minutes. Open interest is known some 10 minutes
    late with 5m files, hence the window; hourly files are known two hours late and see the flush of another hour.

    The tag says which side was swept: fade_short_sweep (we are short) or fade_long_sweep (we are long).

    Exits, decided on closed candles only:
      - mean_reached: the close is back at the EMA;
      - time_stop: `max_hours` without reaching it, by the clock where candles do not arrive;
      - a stop `stop_buffer` beyond the wick, a price at any leverage; it stands at the exchange. stop_missed: price is
        beyond it and nothing acted on it.
    Clock and stop need neither candles nor the database. Each callback catches its own errors (docs/callbacks.md).

    No profit is claimed: reversion after liquidations is documented, but not that it pays for its fees here. The
    thresholds come from reasoning; the comparison with placebo levels comes first.
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
    # For the EMA and the 12 hours of sweeps; liqsignals' columns do not depend on it. More would take a second
    # request per pair and candle on Binance.
    startup_candle_count = 480

    # Off: the target is a price, not a percentage.
    minimal_roi = {"0": 10}
    # The last resort, 2 % of price at 3x (freqtrade counts in profit on margin), which custom_stoploss keeps where the
    # venue allows less; the stop beyond the wick is nearer. Our own liquidation price, some 33 % away at 3x, is far
    # beyond both.
    stoploss = -0.06
    max_leverage_used = 3.0
    # The stop beyond the wick at entry, kept with the trade so that a restart does not lose it.
    wick = TradeNumber("stop")

    window = IntParameter(3, 12, default=6, space="buy")
    sweep_share = DecimalParameter(0.2, 2.0, default=1.0, decimals=1, space="buy")
    flush_min = DecimalParameter(0.001, 0.01, default=0.003, decimals=3, space="buy")
    room_min = DecimalParameter(0.002, 0.01, default=0.003, decimals=3, space="buy")  # must pay the fees
    wick_max = DecimalParameter(0.005, 0.015, default=0.015, decimals=3, space="buy")  # inside the last resort
    fund_z_max = DecimalParameter(0.5, 2.5, default=1.5, decimals=1, space="buy")
    inflow_z_max = DecimalParameter(1.0, 3.0, default=2.0, decimals=1, space="buy")

    # Within the last resort: wick_max + stop_buffer < 2 %.
    stop_buffer = DecimalParameter(0.001, 0.004, default=0.002, decimals=3, space="sell")
    max_hours = IntParameter(1, 12, default=4, space="sell")

    # Orange: shorts, above price. Blue: longs, below it. FreqUI has room for ten letters a title.
    plot_config = {
        "main_plot": {
            "ema": {"color": "#888888"},
            "liq_above_price": {"color": "#e67e14"},
            "liq_below_price": {"color": "#3a86d6"},
        },
        "subplots": {
            "swept USD": {
                "liq_swept_short_usd": {"color": "#e67e14", "type": "bar"},
                "liq_swept_long_usd": {"color": "#3a86d6", "type": "bar"},
            },
            "OI, 1 h": {"liq_oi_change_1h": {"color": "#7f7f7f"}},
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
        dataframe = self.signals.attach(dataframe, metadata["pair"], self.timeframe, dp=self.dp)
        # What counts as a large sweep is relative to the market's own recent ones: swept USD are on the scale of
        # a feed, cluster USD on that of positions, and the two must not be compared.
        for side in ("short", "long"):
            dataframe[f"{side}_sweep_12h"] = dataframe[f"liq_swept_{side}_usd"].rolling(144).max()
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return populated(self, "populate_entry_trend", dataframe, metadata, self.with_entries)

    def with_entries(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        # Comparisons with NaN are False: a missing value never opens a trade.
        n = self.window.value
        usable = (dataframe["liq_fresh"] == 1) & (dataframe["liq_warm"] == 1) & (dataframe["volume"] > 0)
        flushed = dataframe["liq_oi_change_1h"] <= -self.flush_min.value
        close, ema = dataframe["close"], dataframe["ema"]
        skew = dataframe["fund_skew_z"]

        # `shift(n)`: the cluster as it was known before the candles of the window.
        level = dataframe["liq_above_price"].shift(n)
        top = dataframe["high"].rolling(n).max()
        short = (
            usable
            & flushed
            & self.large_sweep(dataframe, "short")
            & (top > level)
            & (close < level)
            & (close / ema - 1 >= self.room_min.value)
            & (top / close - 1 <= self.wick_max.value)
            & passes(dataframe["fund_fresh"], skew >= -self.fund_z_max.value)
        )

        level = dataframe["liq_below_price"].shift(n)
        bottom = dataframe["low"].rolling(n).min()
        long = (
            usable
            & flushed
            & self.large_sweep(dataframe, "long")
            & (bottom < level)
            & (close > level)
            & (1 - close / ema >= self.room_min.value)
            & (1 - bottom / close <= self.wick_max.value)
            & passes(dataframe["fund_fresh"], skew <= self.fund_z_max.value)
            & passes(dataframe["flow_fresh"], dataframe["flow_inflow_z"] <= self.inflow_z_max.value)
        )

        # One entry per set-up: after a stop the same sweep is not faded again.
        for setup, side, tag in ((short, "enter_short", "fade_short_sweep"), (long, "enter_long", "fade_long_sweep")):
            first = setup & ~setup.shift(1, fill_value=False)
            dataframe.loc[first, side] = 1
            dataframe.loc[first, "enter_tag"] = tag
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
            is_short = side == "short"
            return sizing.way_to(self.beyond_wick(candles, is_short), candles["close"].iat[-1], is_short)

        return safely(
            f"{pair}: confirm_trade_entry",
            False,
            lambda: entry_confirmed(self.dp, pair, self.timeframe, side, rate, current_time, entry_tag, to_stop, Trade),
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
        return safely(where, None, lambda: self.exit_on_candles(trade)) or ("time_stop" if late else None)

    def exit_on_candles(self, trade: Trade) -> str | None:
        """Only closed candles decide, so that a live loop exits where a backtest does."""
        dataframe, _ = self.dp.get_analyzed_dataframe(trade.pair, self.timeframe)
        opened = timeframe_to_prev_date(self.timeframe, trade.open_date_utc)
        if len(dataframe) == 0 or dataframe["date"].iat[-1] < opened:
            return None
        close, ema = dataframe["close"].iat[-1], dataframe["ema"].iat[-1]
        if close <= ema if trade.is_short else close >= ema:
            return "mean_reached"
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

    def stop_of(self, trade: Trade, now: datetime) -> float:
        """Price of the stop: beyond the wick at entry, within the last resort's distance from the entry."""
        distance = sizing.distance_of(self.stoploss, self.max_leverage_used)
        last_resort = sizing.stop_price(trade.open_rate, distance, trade.is_short)
        wick = safely(
            f"{trade.pair}: wick",
            None,
            lambda: self.wick.of(trade, now, self.timeframe, lambda: self.wick_at_entry(trade)),
        )
        return sizing.nearer(last_resort, wick, trade.is_short)

    def wick_at_entry(self, trade: Trade) -> float | None:
        dataframe, _ = self.dp.get_analyzed_dataframe(trade.pair, self.timeframe)
        if len(dataframe) == 0:
            return None
        # The candle that gave the signal closed when the entry's began, or one before if the bot was slow.
        opened = timeframe_to_prev_date(self.timeframe, trade.open_date_utc)
        candle = timedelta(minutes=timeframe_to_minutes(self.timeframe))
        known = dataframe[dataframe["date"] < opened]
        signals = known["enter_short" if trade.is_short else "enter_long"] == 1
        signals &= known["date"] >= opened - 2 * candle
        # None where the entry was forced by hand: the last resort holds.
        return self.beyond_wick(known.loc[: signals[signals].index[-1]], trade.is_short) if signals.any() else None

    def beyond_wick(self, dataframe: DataFrame, is_short: bool) -> float:
        """The stop of an entry on the last row: beyond the extreme of its window."""
        swept = dataframe.tail(self.window.value)
        if is_short:
            return float(swept["high"].max() * (1 + self.stop_buffer.value))
        return float(swept["low"].min() * (1 - self.stop_buffer.value))

    def large_sweep(self, dataframe: DataFrame, side: str) -> Series:
        """The window's largest sweep, against the largest of the 12 hours before the window."""
        n = self.window.value
        swept = dataframe[f"liq_swept_{side}_usd"].rolling(n).max()
        return (swept > 0) & (swept >= self.sweep_share.value * dataframe[f"{side}_sweep_12h"].shift(n))

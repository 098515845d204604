"""A strategy that records what a backtest does with it: the user's own class, changed in nothing, that leaves files
behind.

It runs inside freqtrade's process, in the backtest only (parity.py).
"""

import dis
import json
from pathlib import Path
from typing import Any

from liqsignals.files import stem

#: Callbacks that a strategy may define, and of which parity has to say something.
CALLBACKS = (
    "adjust_entry_price", "adjust_exit_price", "adjust_order_price", "adjust_trade_position", "custom_entry_price",
    "custom_exit", "custom_exit_price", "custom_roi", "custom_stoploss",
)  # fmt: skip
_SETTINGS = (
    "minimal_roi", "use_custom_stoploss", "trailing_stop_positive", "trailing_only_offset_is_reached",
    "position_adjustment_enable", "exit_profit_only", "use_custom_roi", "can_short",
)  # fmt: skip
TRAITS, EXITS = "traits.json", "exits.jsonl"


def observed(strategy: Any, folder: Path) -> Any:
    """A subclass of `strategy` that writes to `folder`:

    `traits.json`: settings as freqtrade has resolved them, callbacks that it defines and the arguments that they read.
    `<pair>.pkl`: the frame with its signals.
    `exits.jsonl`: one line an exit that was looked at: pair, candle open (ms), whether the stop was raised in this very
    candle, the stop then, and how far from the price it was last set, as a fraction of the price.
    """

    class Observed(strategy):  # type: ignore[misc]
        def bot_start(self, **kwargs: Any) -> None:
            super().bot_start(**kwargs)
            (folder / TRAITS).write_text(json.dumps(_traits(self, strategy)))

        def populate_exit_trend(self, dataframe: Any, metadata: Any) -> Any:
            dataframe = super().populate_exit_trend(dataframe, metadata)
            dataframe.to_pickle(folder / f"{stem(metadata['pair'])}.pkl")
            return dataframe

        def should_exit(self, trade: Any, rate: Any, current_time: Any, **more: Any) -> Any:
            before = trade.stop_loss
            exits = super().should_exit(trade, rate, current_time, **more)
            if exits:
                exit_row = {
                    "pair": trade.pair,
                    "at": round(current_time.timestamp() * 1000),
                    "raised": trade.stop_loss != before,
                    "stop": trade.stop_loss,
                    "distance": abs(trade.stop_loss_pct or 0.0) / (trade.leverage or 1.0),
                }
                with (folder / EXITS).open("a") as file:
                    file.write(json.dumps(exit_row) + "\n")
            return exits

    return Observed


def _traits(strategy: Any, given: Any) -> dict[str, Any]:
    traits = {name: getattr(strategy, name, None) for name in _SETTINGS}
    own = [cls for cls in given.__mro__ if not cls.__module__.startswith("freqtrade.") and cls is not object]
    return traits | {
        "own_timeframe": getattr(given, "timeframe", None),
        "max_open_trades": strategy.config["max_open_trades"],
        "callbacks": {
            name: _reads(function)
            for name in CALLBACKS
            if (function := next((vars(cls)[name] for cls in own if name in vars(cls)), None))
        },
    }


def _reads(function: Any) -> list[str]:
    """Names that a function loads, of its arguments and others."""
    if not hasattr(function, "__code__"):
        return []
    found: set[str] = set()
    for step in dis.get_instructions(function):
        names = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        found |= {name for name in names if isinstance(name, str)}
    return sorted(found)

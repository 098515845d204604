"""Whether a configuration leaves a stop at the exchange, where it stands when the bot does not (docs/callbacks.md)."""

from collections.abc import Mapping
from typing import Any

#: Order types that a stop needs, and what happens without them.
_NEEDED = (
    ("stoploss_on_exchange", True, "no stop order stands at the exchange while the bot is down or cannot reach it"),
    ("stoploss", "market", "a stop that becomes a limit order may stay unfilled in a crash"),
    ("emergency_exit", "market", "the exit after a stop that could not be placed may stay unfilled"),
)
#: What freqtrade uses for a type that is not named.
_DEFAULTS = {"stoploss": "market", "emergency_exit": "market"}
#: The whole block that the strategies set.
REMEDY = (
    'remove "order_types" from the config (it replaces the strategy\'s whole), or set in it '
    '"stoploss_on_exchange": true, "stoploss": "market", "emergency_exit": "market"'
)


def stop_problems(config: Mapping[str, Any]) -> list[str]:
    """What in the `order_types` of a freqtrade configuration unsets the stop, in words; empty without `order_types`.

    A bot that sends its orders does not start with one of these (Signals.from_config). In a running bot freqtrade has
    put the strategy's into the configuration where that had none.
    """
    types = config.get("order_types")
    if types is None:
        return []
    if not isinstance(types, Mapping):
        return [f"order_types is {types!r}, no object. Way out: {REMEDY}"]
    return [
        f'order_types: "{name}" is {_shown(types.get(name, _DEFAULTS.get(name)))}: {without}. Way out: {REMEDY}'
        for name, needed, without in _NEEDED
        if types.get(name, _DEFAULTS.get(name)) != needed
    ]


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value).lower() if isinstance(value, bool) else f'"{value}"'

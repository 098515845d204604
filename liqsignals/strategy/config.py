"""Settings from a freqtrade configuration: the block `"liqsignals"`, and the keys of freqtrade that matter here."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liqsignals import files, venues
from liqsignals.data import store
from liqsignals.errors import InputError
from liqsignals.liqmap import calibration, squeeze
from liqsignals.strategy import sizing
from liqsignals.strategy.placebo import Placebo

#: Keys of the block "liqsignals".
KEYS = frozenset({"allow_unproven", "calibration", "extras", "finest", "placebo", "risk", "squeeze", "watcher"})


@dataclass(frozen=True)
class Risk:
    """What a strategy may lose: `"risk"` and `"allow_unproven"` of the block."""

    limits: sizing.Limits = field(default_factory=sizing.Limits)
    #: Drawdown (fraction of the highest equity) at which the bot enters nothing more until it is released by hand.
    max_drawdown: float = 0.08
    #: Strategies, or sides ("S:short"), that trade with real money whatever the verdict on them.
    allow_unproven: tuple[str, ...] = ()

    @classmethod
    def parse(cls, block: Mapping[str, Any]) -> "Risk":
        """Of the block "liqsignals"; raises InputError for what cannot work."""
        named = block.get("allow_unproven", [])
        if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
            raise InputError(
                f'config: "allow_unproven": {named!r} is no list of names',
                'for example "liqsignals": {"allow_unproven": ["RejectionFade:long"]}',
            )
        given = block.get("risk", {})
        bounds = {
            "per_trade": (1e-5, 0.05), "gap": (0.01, 1.0), "gap_budget": (1e-4, 1.0), "leverage": (1.0, 20.0),
            "max_drawdown": (0.005, 1.0),
        }  # fmt: skip
        for name, value in given.items() if isinstance(given, Mapping) else [("risk", given)]:
            low, high = bounds.get(name, (math.nan, math.nan))
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                found = difflib.get_close_matches(str(name), bounds, 1)
                near = f'; write "{found[0]}"' if found else ""
                way = (
                    f"{name} is a number from {low:g} to {high:g}"
                    if name in bounds
                    else f"known are: {', '.join(bounds)}{near}"
                )
                raise InputError(f'config: "liqsignals": {{"risk": {{"{name}": {value!r}}}}} cannot be used', way)
        numbers = {name: float(value) for name, value in given.items()}
        most = numbers.pop("max_drawdown", cls.max_drawdown)
        return cls(sizing.Limits(**numbers), most, tuple(named))


@dataclass(frozen=True)
class Settings:
    """A checked configuration."""

    datadir: Path
    #: Folder of what freqtrade cannot hold; None: `<datadir>/liqsignals`.
    extras: Path | None
    #: Finest candles that the map folds: "5m" or "1m".
    finest: str
    #: Exchange that the bot trades on; None: the data directory's.
    exchange: str | None
    #: Format of the data directory's files (`dataformat_ohlcv`), one of files.FORMATS; None: not named.
    dataformat: str | None
    #: With the parameters of the squeeze in use.
    calibrated: calibration.Calibration
    #: Of a backtest alone; None: the strategy as it is.
    placebo: Placebo | None = None

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> "Settings":
        """Settings of a freqtrade configuration (keys: Signals.from_config). Raises InputError for what cannot work."""
        block = config.get("liqsignals") or {}
        if not isinstance(block, Mapping):
            raise InputError(f'config: "liqsignals": {block!r} is no object', 'write "liqsignals": {}')
        unknown = sorted(set(block) - KEYS)
        if unknown:
            near = [difflib.get_close_matches(name, KEYS, 1) for name in unknown]
            raise InputError(
                f'config: unknown key {", ".join(unknown)} in the block "liqsignals"; known are:'
                f" {', '.join(sorted(KEYS))}",
                ", ".join(f'write "{found[0]}"' for found in near if found),
            )
        if not isinstance(block.get("watcher", False), bool):
            raise InputError(f'config: "liqsignals": {{"watcher": {block["watcher"]!r}}} must be true or false')
        for name in ("extras", "calibration", "squeeze"):
            if block.get(name) is not None and not isinstance(block[name], str):
                raise InputError(
                    f'config: "liqsignals": {{"{name}": {block[name]!r}}} must be a text, the name of a file'
                )
        Risk.parse(block)
        if config.get("trading_mode", "spot") != "futures":
            raise InputError(
                'config: liqsignals needs "trading_mode": "futures"; a spot market has no liquidations or funding'
            )
        finest = str(block.get("finest", "5m"))
        if finest not in ("1m", "5m"):
            raise InputError(f'config: "liqsignals": {{"finest": "{finest}"}} must be "5m" or "1m"')
        exchange = venues.exchange_name(str((config.get("exchange") or {}).get("name") or "")) or None
        if exchange is not None:
            venues.check_exchange(exchange)
        extras = Path(block["extras"]) if block.get("extras") else None
        store.check_extras(extras)
        folder = venues.known_exchange(Path(config["datadir"]))
        if exchange is not None and folder is not None and folder != exchange:
            raise InputError(
                f"config: the exchange is '{exchange}', but the data directory {config['datadir']} belongs to "
                f"'{folder}', and open interest is counted differently",
                "set exchange.name to the data's exchange",
            )
        dataformat = config.get("dataformat_ohlcv") or None
        if dataformat is not None and dataformat not in files.FORMATS:
            raise InputError(
                f'config: "dataformat_ohlcv": "{dataformat}" is none of freqtrade\'s formats:'
                f" {', '.join(files.FORMATS)}",
                "convert the data with freqtrade convert-data, and name the new format",
            )
        calibrated = calibration.choose(block.get("calibration")).with_squeeze(squeeze.choose(block.get("squeeze")))
        placebo = Placebo.parse(block.get("placebo"), config.get("runmode"))
        return cls(Path(config["datadir"]), extras, finest, exchange, dataformat, calibrated, placebo)

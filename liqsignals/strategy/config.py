"""Settings from a freqtrade configuration: the block `"liqsignals"`, and the keys of freqtrade that matter here."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liqsignals import files, venues
from liqsignals.data import store
from liqsignals.errors import InputError
from liqsignals.liqmap import calibration, squeeze
from liqsignals.strategy import sizing, verdicts
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
        for name in named:
            strategy, colon, side = name.partition(":")
            if not strategy.isidentifier():
                raise InputError(
                    f'config: "allow_unproven": "{name}" names no strategy',
                    'write the name of its class, for example "RejectionFade" or "RejectionFade:long"',
                )
            if colon and side not in verdicts.SIDES:
                meant = difflib.get_close_matches(side.strip().lower(), verdicts.SIDES, 1) or verdicts.SIDES
                either = " or ".join(f'"{strategy}:{side}"' for side in meant)
                raise InputError(
                    f'config: "allow_unproven": "{name}" names no side', f'write {either}; "{strategy}" is both'
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
        block = config.get("liqsignals")
        block = {} if block is None else block
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
        for name, kind in (("extras", "folder"), ("calibration", "file"), ("squeeze", "file")):
            named = block.get(name)
            if named is not None and not (isinstance(named, str) and named.strip()):
                raise InputError(
                    f'config: "liqsignals": {{"{name}": {named!r}}} must be a text, the name of a {kind}',
                    f'name one, or leave "{name}" out',
                )
        _check_names(Risk.parse(block).allow_unproven, config.get("strategy"))
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
        extras = None if block.get("extras") is None else Path(block["extras"])
        store.check_extras(extras)
        folder = venues.known_exchange(Path(config["datadir"]))
        if exchange is not None and folder is not None and folder != exchange:
            raise InputError(
                f"config: the exchange is '{exchange}', but the data directory {config['datadir']} belongs to "
                f"'{folder}', and open interest is counted differently",
                "set exchange.name to the data's exchange",
            )
        dataformat = config.get("dataformat_ohlcv") or None
        if dataformat is not None and str(dataformat) not in files.FORMATS:
            raise InputError(
                f'config: "dataformat_ohlcv": "{dataformat}" is none of freqtrade\'s formats:'
                f" {', '.join(files.FORMATS)}",
                "convert the data with freqtrade convert-data, and name the new format",
            )
        calibrated = calibration.choose(block.get("calibration")).with_squeeze(squeeze.choose(block.get("squeeze")))
        placebo = Placebo.parse(block.get("placebo"), config.get("runmode"))
        return cls(Path(config["datadir"]), extras, finest, exchange, dataformat, calibrated, placebo)


def misnamed(config: Mapping[str, Any]) -> str | None:
    """A key of a configuration without "liqsignals" that looks like it: freqtrade takes any key."""
    if "liqsignals" in config:
        return None
    # As near as a letter or two.
    return next((key for key in config if difflib.get_close_matches(key.lower(), ["liqsignals"], 1, 0.85)), None)


def _check_names(allowed: Sequence[str], running: Any) -> None:
    """Raise InputError for a name that is a slip of a shipped strategy's: it would allow nothing.

    One's own may have any other name, or contain a shipped one's; so may the one that runs.
    """
    shipped = {name.lower(): name for name in verdicts.packaged()}
    for name in allowed:
        strategy, colon, side = name.partition(":")
        if strategy == running or any(known in strategy for known in shipped.values()):
            continue
        if near := difflib.get_close_matches(strategy.lower(), shipped, 1, 0.8):
            raise InputError(
                f'config: "allow_unproven": "{name}" is no strategy of liqsignals, and allows nothing',
                f'write "{shipped[near[0]]}{colon}{side}"; a strategy of your own needs a name less like it',
            )

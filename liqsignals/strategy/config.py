"""Settings from a freqtrade configuration: the block `"liqsignals"`, and the keys of freqtrade that matter here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liqsignals import files, venues
from liqsignals.data import store
from liqsignals.errors import InputError
from liqsignals.liqmap import calibration, squeeze
from liqsignals.strategy.placebo import Placebo


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
        block = dict(config.get("liqsignals") or {})
        unknown = sorted(set(block) - {"extras", "finest", "calibration", "squeeze", "placebo"})
        if unknown:
            raise InputError(
                f'config: unknown key {", ".join(unknown)} in the block "liqsignals"; '
                "known are: calibration, extras, finest, placebo, squeeze"
            )
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
                f'config: "dataformat_ohlcv": "{dataformat}" is none of freqtrade\'s formats: {", ".join(files.FORMATS)}',
                "convert the data with freqtrade convert-data, and name the new format",
            )
        calibrated = calibration.choose(block.get("calibration")).with_squeeze(squeeze.choose(block.get("squeeze")))
        placebo = Placebo.parse(block.get("placebo"), config.get("runmode"))
        return cls(Path(config["datadir"]), extras, finest, exchange, dataformat, calibrated, placebo)

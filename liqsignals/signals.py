"""The edge to freqtrade: a strategy's dataframe in, the same dataframe with liqsignals' columns out.

def bot_start(self, **kwargs):
    self.signals = Signals.from_config(self.config)

def informative_pairs(self):
    return self.signals.informative_pairs(self.dp.current_whitelist())

def populate_indicators(self, dataframe, metadata):
    return self.signals.attach(dataframe, metadata["pair"], self.timeframe, dp=self.dp)
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from liqsignals import features, liqmap, readers, records
from liqsignals.clock import duration_ns, iso
from liqsignals.errors import InputError
from liqsignals.records import Records
from liqsignals.tape import Tape, append, read_tape

logger = logging.getLogger(__name__)

_LIVE = ("live", "dry_run")


@dataclass
class _Market:
    """What is kept of one pair between calls: its tape and map state; never an output."""

    tape: Tape
    memo: liqmap.Memo = field(default_factory=liqmap.Memo)
    #: Problems that were told once.
    told: set[str] = field(default_factory=set)


class Signals:
    """Features of every pair of a bot. Make one with `from_config` in `bot_start`."""

    def __init__(
        self, datadir: Path, *, extras: Path | None = None, finest: str = "5m", exchange: str | None = None
    ) -> None:
        readers.check_datadir(datadir)
        self.datadir = datadir
        self.exchange = exchange or readers.exchange_of(datadir)
        self.extras = extras or datadir / "liqsignals"
        self.finest = finest
        self.parameters = liqmap.Parameters()
        self._markets: dict[str, _Market | None] = {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Signals":
        """Signals for a freqtrade configuration.

        Reads `datadir`, `exchange.name` and the block `"liqsignals"`: `extras` (folder of what freqtrade cannot hold,
        default `<datadir>/liqsignals`) and `finest` ("5m", or "1m" to fold 1m candles). Raises InputError for settings
        that cannot work, spot mode among them.
        """
        block = dict(config.get("liqsignals") or {})
        unknown = sorted(set(block) - {"extras", "finest"})
        if unknown:
            raise InputError(
                f'config: unknown key {", ".join(unknown)} in the block "liqsignals"; known are: extras, finest'
            )
        if config.get("trading_mode", "spot") != "futures":
            raise InputError(
                'config: liqsignals needs "trading_mode": "futures"; a spot market has no liquidations or funding'
            )
        finest = str(block.get("finest", "5m"))
        if finest not in ("1m", "5m"):
            raise InputError(f'config: "liqsignals": {{"finest": "{finest}"}} must be "5m" or "1m"')
        exchange = str(config.get("exchange", {}).get("name") or "") or None
        if exchange in ("binanceusdm",):
            exchange = "binance"
        if exchange is not None and exchange not in readers.VENUES:
            raise InputError(
                f"config: liqsignals does not know the open-interest units of the exchange '{exchange}'; it knows: "
                f"{', '.join(readers.VENUES)}"
            )
        extras = Path(block["extras"]) if block.get("extras") else None
        return cls(Path(config["datadir"]), extras=extras, finest=finest, exchange=exchange)

    def informative_pairs(self, whitelist: Sequence[str]) -> list[tuple[str, str, str]]:
        """(pair, timeframe, candle type) of what freqtrade must refresh in dry-run and live."""
        wanted: list[tuple[str, str, str]] = []
        for pair in whitelist:
            bars, interest = self._timeframes(pair)
            wanted += [
                (pair, bars, "futures"),
                (pair, interest, "open_interest"),
                (pair, "1h", "funding_rate"),
            ]
        return wanted

    def attach(self, dataframe: pd.DataFrame, pair: str, timeframe: str, dp: Any = None) -> pd.DataFrame:
        """`dataframe` with COLUMNS attached by position; length, order and index stay as they are.

        `dataframe` holds freqtrade's candles (`date` = open, tz-aware UTC). `dp` is the strategy's DataProvider: in
        dry-run and live it supplies what is newer than the disk, in backtests it is not used. A pair without data gets
        NaN columns and one warning. Raises InputError for a file that cannot be read (in dry-run and live the last good
        reading serves instead, and goes stale by its own age).
        """
        if len(dataframe) == 0:
            return dataframe.assign(**features.empty(0))
        at, closes = readers.decisions(dataframe, timeframe, f"{pair} {timeframe} dataframe")
        if (np.diff(at) <= 0).any():
            raise InputError(f"{pair} {timeframe} dataframe: dates are not in ascending order, each once")
        live = dp is not None and str(getattr(dp, "runmode", "")).split(".")[-1].lower() in _LIVE
        market = self._market(pair, live)
        if market is None:
            columns = features.empty(len(dataframe))
        else:
            tape = self._with_live(market, pair, dp, dataframe, timeframe) if live else market.tape
            columns = features.compute(tape, at, closes, duration_ns(timeframe), self.parameters, market.memo)
        new = pd.DataFrame(columns, index=dataframe.index)
        kept = dataframe.drop(columns=[c for c in features.NAMES if c in dataframe.columns])
        return pd.concat([kept, new], axis=1)

    def _timeframes(self, pair: str) -> tuple[str, str]:
        bars = readers.candle_file(self.datadir, pair, self.finest)
        interest = readers.open_interest_file(self.datadir, pair)
        return (bars[0] if bars else "5m", interest[0] if interest else "5m")

    def _market(self, pair: str, live: bool) -> _Market | None:
        if pair not in self._markets:
            try:
                tape = read_tape(self.datadir, pair, extras=self.extras, finest=self.finest, exchange=self.exchange)
            except InputError as error:
                if not live:
                    raise
                logger.error("%s: %s", pair, error)
                # Not remembered: the next candle tries again.
                return None
            self._markets[pair] = self._opened(pair, tape)
        return self._markets[pair]

    def _opened(self, pair: str, tape: Tape) -> _Market | None:
        command = (
            f"freqtrade download-data --candle-types futures mark funding_rate open_interest -t 5m --days 29 -p {pair}"
        )
        if tape.bars is None and tape.open_interest is None and not tape.funding and tape.flow is None:
            logger.warning(
                "%s: no data in %s; its liqsignals columns are NaN. Fill it: %s", pair, self.datadir, command
            )
            return None
        for what, missing in (("candle", tape.bars is None), ("open-interest", tape.open_interest is None)):
            if missing:
                logger.warning(
                    "%s: no %s file in %s/futures; liq_* columns are NaN and their filters off. Fill it: %s",
                    pair, what, self.datadir, command,
                )  # fmt: skip
        if not tape.funding:
            logger.warning(
                "%s: no funding file; fund_* columns are NaN and their filters off. Fill it: %s",
                pair,
                command,
            )
        if tape.flow is None:
            logger.info(
                "%s: no flows file in %s/flows; flow_* columns are NaN and their filters off",
                pair,
                self.extras,
            )
        market = _Market(tape)
        self._tell_holes(pair, tape, market.told)
        return market

    def _tell_holes(self, pair: str, tape: Tape, told: set[str]) -> None:
        for name, kind, period in (
            ("candles", tape.bars, tape.bar_ns),
            ("open interest", tape.open_interest, tape.period_ns),
        ):
            if kind is None or len(kind) < 2:
                continue
            gap = np.flatnonzero(np.diff(kind["event_time"]) > period)
            for row in gap:
                start, end = iso(kind["event_time"][row]), iso(kind["event_time"][row + 1])
                if name == "candles" and f"{name} {start}" not in told:
                    told.add(f"{name} {start}")
                    logger.warning(
                        "%s: no candles from %s to %s; the map starts anew after it (liq_warm 0 for 14 days). Fill it: "
                        "freqtrade download-data --erase -p %s --timerange %s-",
                        pair, start, end, pair, start[:10].replace("-", ""),
                    )  # fmt: skip

    def _with_live(self, market: _Market, pair: str, dp: Any, dataframe: pd.DataFrame, timeframe: str) -> Tape:
        """The market's tape with what the exchange has told since the disk was read, kept for the next call."""
        bars_tf, interest_tf = self._timeframes(pair)
        tape = market.tape

        def fetched(timeframe: str, kind: str) -> pd.DataFrame | None:
            frame = dp.get_pair_dataframe(pair, timeframe, candle_type=kind)
            return frame if frame is not None and len(frame) else None

        frame = fetched(bars_tf, "futures")
        if timeframe == bars_tf and (frame is None or dataframe["date"].iloc[0] <= frame["date"].iloc[0]):
            frame = dataframe
        bars, interest, settled = tape.bars, tape.open_interest, dict(tape.funding)
        what = f"{pair} live"
        try:
            if frame is not None:
                bars = append(bars, readers.bars(frame, bars_tf, f"{what} candles"))
            frame = fetched(interest_tf, "open_interest")
            if frame is not None and bars is not None:
                new = readers.open_interest(
                    frame, interest_tf, bars, tape.bar_ns, self.exchange, f"{what} open interest"
                )
                interest = append(interest, new)
            frame = fetched("1h", "funding_rate")
            if frame is not None:
                newer: Records | None = append(settled.get(self.exchange), readers.funding(frame, f"{what} funding"))
                settled = {self.exchange: newer if newer is not None else np.empty(0, records.FUNDING), **{
                    venue: kind for venue, kind in settled.items() if venue != self.exchange
                }}  # fmt: skip
        except InputError as error:
            logger.error("%s; the last good data serve until they are too old", error)
        market.tape = replace(tape, bars=bars, open_interest=interest, funding=settled)
        self._tell_holes(pair, market.tape, market.told)
        return market.tape

"""The edge to freqtrade: a strategy's dataframe in, the same dataframe with liqsignals' columns out.

def bot_start(self, **kwargs):
    self.signals = Signals.from_config(self.config)

def informative_pairs(self):
    return self.signals.informative_pairs(self.dp.current_whitelist())

def populate_indicators(self, dataframe, metadata):
    return self.signals.attach(dataframe, metadata["pair"], self.timeframe, dp=self.dp)
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from liqsignals import features, liqmap, venues
from liqsignals.clock import SECOND, Int64Array, dates_ns, duration_ns, open_time, to_dates
from liqsignals.data import freqtrade, store
from liqsignals.data.tape import Tape
from liqsignals.errors import InputError
from liqsignals.liqmap import calibration
from liqsignals.liqmap import state as saved
from liqsignals.records import Float64Array
from liqsignals.strategy import annotations
from liqsignals.strategy.config import Settings, misnamed
from liqsignals.strategy.guard import BEHIND, LATE, is_live, live_mode, orders_sent
from liqsignals.strategy.live import Market, unreadable
from liqsignals.strategy.notices import Notices, nothing
from liqsignals.strategy.orders import stop_problems
from liqsignals.strategy.place import Place
from liqsignals.strategy.placebo import Placebo

# Bytes of attached columns that stand in one block of memory.
_BLOCK = 2**21

#: The bot's clock, ns.
now_ns = time.time_ns


def doubted_by_clock(at: Int64Array) -> int:
    """Close (ns) of the first candle that is not over, or of the last one where it came LATE; 0 where none is doubtful.

    freqtrade takes a candle for closed that a later one follows, whatever its time, and from LATE on may take an
    unfinished one for the last (docs/decisions/051).
    """
    now = now_ns()
    ahead = at[at > now + BEHIND * SECOND]
    if len(ahead):
        return int(ahead[0])
    return int(at[-1]) if now - at[-1] >= LATE * SECOND else 0


class Signals:
    """Features of every pair of a bot. Make one with `from_config` in `bot_start`."""

    def __init__(
        self,
        datadir: Path,
        *,
        extras: Path | None = None,
        finest: str = "5m",
        exchange: str | None = None,
        dataformat: str | None = None,
        calibrated: calibration.Calibration | None = None,
        families: Sequence[features.Family] = features.FAMILIES,
    ) -> None:
        freqtrade.check_datadir(datadir)
        self.datadir = datadir
        self.exchange = exchange or venues.exchange_of(datadir)
        self.extras = extras or datadir / "liqsignals"
        self.finest = finest
        #: freqtrade's `dataformat_ohlcv`; None: of several formats the newest file counts (data/choice.py).
        self.dataformat = dataformat
        #: The prior, unless given: from_config gives the configured one, or the one that ships.
        self.calibration = calibrated or calibration.uncalibrated()
        self.families = families
        #: What a backtest replaces (strategy/placebo.py); from_config sets it.
        self.placebo: Placebo | None = None
        self.notices = Notices()
        #: Name of the strategy, for messages.
        self.strategy: str | None = None
        #: Whether the strategy has called `informative_pairs`.
        self._asked = False
        self._markets: dict[tuple[str, str], Market | None] = {}
        #: State of the folders (Place.looked) in which a running bot found nothing of a market: most coins are not on
        #: every other venue, and reading nothing takes 3 ms.
        self._empty: dict[tuple[str, str], tuple[Any, ...]] = {}
        #: What `annotations` draws, by pair and timeframe (ns): replaced whole, for the API asks from its own thread.
        self._views: dict[tuple[str, int], annotations.View] = {}
        #: features.Markets.maps of all calls.
        self._maps: dict[tuple[str, str, int], features.Map] = {}
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        # hyperopt pickles a strategy with its signals; a lock cannot be pickled, and maps are large and made anew.
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_maps")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock(), _maps={})

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Signals":
        """Signals for a freqtrade configuration.

        Reads `datadir`, `exchange.name`, `dataformat_ohlcv` and the block `"liqsignals"`: `extras` (folder of what
        freqtrade cannot hold, default `<datadir>/liqsignals`), `finest` ("5m", or "1m" to fold 1m candles),
        `calibration` (a file of `liqsignals calibrate`, or "none" for the prior) and `squeeze` (a file of `liqsignals
        touch`, or "none" for no squeeze_* and flush_* columns); the shipped files unless given. Raises InputError for
        settings that cannot work, spot mode among them. `order_types` that leave no stop at the exchange are logged in
        dry-run, and refused by a bot that sends its orders.
        """
        s = Settings.parse(config)
        signals = cls(
            s.datadir,
            extras=s.extras,
            finest=s.finest,
            exchange=s.exchange,
            dataformat=s.dataformat,
            calibrated=s.calibrated,
        )
        if (key := misnamed(config)) is not None:
            signals.notices.once(
                ("config", key), logging.WARNING,
                'config: "%s" is read by nobody, and there is no block "liqsignals". Way out: write "liqsignals"', key,
            )  # fmt: skip
        signals.placebo = s.placebo
        signals.strategy = str(config["strategy"]) if config.get("strategy") else None
        if live_mode(config.get("runmode")) and (problems := stop_problems(config)):
            if orders_sent(config.get("runmode")):
                raise InputError("; ".join(problems))
            for problem in problems:
                signals.notices.once(("stop", problem), logging.WARNING, "%s", problem)
        return signals

    def informative_pairs(self, whitelist: Sequence[str]) -> list[tuple[str, str, str]]:
        """(pair, timeframe, candle type) of what freqtrade must refresh in dry-run and live.

        Those of `whitelist`, and other pairs that families read where the disk has candles of them: not every exchange
        lists them, and without history they are of no use.
        """
        self._asked = True
        wanted: list[tuple[str, str, str]] = []
        others = (pair for pair in features.pairs(self.families) if self._on_disk(pair))
        for pair in dict.fromkeys((*whitelist, *others)):
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
        dry-run and live it supplies what is newer than the disk, in backtests it is not used. There, candles but the
        last that the disk has otherwise become the disk's: attach before indicators are computed. A pair without data
        gets NaN columns and one warning. Raises InputError for a file that cannot be read. In dry-run and live the last
        good reading serves instead, and goes stale by its own age; whatever else fails there gives flags of 0 and NaN
        in all other columns, and is logged: such a row opens no trade, and exits have the candles. Threads may call it
        at once: it does one at a time.
        """
        with self._lock:
            if not is_live(dp):
                return self._attach(dataframe, pair, timeframe, None)
            try:
                return self._attach(dataframe, pair, timeframe, dp)
            except Exception as error:
                self.notices.failed(pair, error)
                return _with(dataframe, features.blocked(len(dataframe), self.families))

    def _attach(self, dataframe: pd.DataFrame, pair: str, timeframe: str, dp: Any) -> pd.DataFrame:
        """`attach`; `dp` None in backtests."""
        live = dp is not None
        if len(dataframe) == 0:
            return dataframe.assign(**features.empty(0, self.families))
        at, closes = freqtrade.decisions(dataframe, timeframe, f"{pair} {timeframe} dataframe")
        if (np.diff(at) <= 0).any():
            raise InputError(f"{pair} {timeframe} dataframe: dates are not in ascending order, each once")
        self.notices.hindsight(self.calibration, pair, int(at[0]))
        market = self.market(pair, live=live)
        if live and not self._refreshed(dp, pair):
            self.notices.forgotten(self.strategy)
            columns = features.blocked(len(dataframe), self.families)
        elif market is None:
            columns = features.empty(len(dataframe), self.families)
        else:
            length = duration_ns(timeframe)
            first = int(open_time(at[:1], length)[0])
            parameters = self.calibration.parameters(pair)
            loaded = self._load_state(market, timeframe, first, parameters)
            view = _View(self, dp, pair, timeframe, first)
            tape = view.current(market, dataframe)
            if live and self._kept(market):
                dataframe, other = market.checked(dataframe, at, length, tape)
                closes = dataframe["close"].to_numpy(np.float64)
                doubts = (tape.unsure, doubted_by_clock(at), other)
                tape = replace(tape, unsure=min(filter(None, doubts), default=0))
            state = market.states[timeframe]
            columns = features.compute(
                tape, at, closes, length, parameters, state, markets=view, families=self.families
            )
            saved.save(saved.folder_of(self.extras), market.disk, state, parameters, loaded)
            self._views[pair, length] = annotations.View.of(tape, state, parameters)
            view.settle()
        if self.placebo is not None and not live:
            columns = self.placebo.columns(columns, dataframe, pair)
        return _with(dataframe, columns)

    def _load_state(self, market: Market, timeframe: str, first: int, parameters: liqmap.Parameters) -> int:
        """Resume from the saved state that serves a view of bars after `first`; the instant (ns) up to which it goes."""
        if market.states[timeframe].book is None:
            state = saved.load(saved.folder_of(self.extras), market.disk, first, parameters)
            if state is not None:
                market.states[timeframe] = state
        return market.states[timeframe].upto

    def columns(
        self, pairs: Sequence[str] = (), timeframe: str = "5m", *, complete: bool = False
    ) -> dict[str, tuple[str, ...]]:
        """Names of the columns that `attach` gives, by family (its file in features/), in the order of the columns.

        `complete`: only those that are a number at every candle of `pairs` in the data on disk, at `timeframe`, from
        where the map is warm (14 days) on. Candles at which `liq_fresh`, or the family's own `_fresh`, is 0 do not
        count: there columns may be NaN, no strategy enters, and FreqAI drops the row. Which they are depends on the
        disk: train and trade with one list. A family without a file has no complete column. Raises InputError for
        `complete` without pairs, for a pair without candles or without a warm map, and for files that cannot be read.
        """
        names = {_name(family): tuple(column.name for column in family.COLUMNS) for family in self.families}
        if not complete:
            return names
        if not pairs:
            raise InputError("columns(complete=True): name the pairs", "columns(self.dp.current_whitelist(), ...)")
        missing = set[str]()
        for pair in pairs:
            frame = self._history(pair, timeframe)
            warm = np.flatnonzero(frame["liq_warm"].to_numpy() == 1.0)
            if len(warm) == 0:
                raise InputError(
                    f"columns(complete=True): {pair} has no candle of {timeframe} at which the map is warm",
                    f"download more than 14 days: {freqtrade.download_command(self.exchange, pair, timeframe)}",
                )
            used = frame[warm[0] :]
            for own in names.values():
                fresh = sorted({"liq_fresh", *(name for name in own if name.endswith("_fresh"))})
                rows = used[(used[fresh] != 0.0).all(axis=1)]
                missing |= {name for name in own if len(rows) == 0 or rows[name].isna().any()}
        return {family: tuple(name for name in own if name not in missing) for family, own in names.items()}

    def _history(self, pair: str, timeframe: str) -> pd.DataFrame:
        """Columns at all candles of a pair on disk."""
        rows = freqtrade.candles(self.datadir, pair, timeframe, self.dataformat)
        if rows is None or len(rows) == 0:
            raise freqtrade.absent(f"{timeframe} candles", self.datadir, pair, self.exchange, timeframe)
        opened = open_time(rows["event_time"], duration_ns(timeframe))
        return self.attach(pd.DataFrame({"date": to_dates(opened), "close": rows["close"]}), pair, timeframe)

    def annotations(self, pair: str, start: Any, end: Any, dataframe: pd.DataFrame) -> list[dict[str, Any]]:
        """The map for FreqUI: what a strategy's `plot_annotations` returns. See strategy/annotations.py.

        `start` and `end` are the first and last `date` of `dataframe`, the analysed candles that are shown. Raises
        nothing: a chart without boxes and one line in the log are better than no chart.
        """
        try:
            if len(dataframe) < 2:
                return []
            length = int(np.diff(dates_ns(dataframe["date"], "dataframe")).min())
            view = self._views.get((pair, length))
            return [] if view is None else annotations.annotations(view, dataframe, length)
        except Exception as error:
            message = "%s: no annotations for FreqUI (%s: %s)", pair, type(error).__name__, error
            self.notices.once((pair, "annotations", type(error).__name__), logging.WARNING, *message)
            return []

    def market(self, pair: str, venue: str | None = None, *, live: bool = False) -> Market | None:
        """State of a market between calls, opened at the first one; None where there is no file of it.

        In dry-run and live a market that cannot be read is one whose flags are all 0, and is not kept: the next candle
        tries again. Raises InputError for it otherwise.
        """
        with self._lock:
            return self._market(pair, venue, live)

    def _market(self, pair: str, venue: str | None, live: bool) -> Market | None:
        key = pair, venue or self.exchange
        if key not in self._markets:
            datadir = self.datadir if key[1] == self.exchange else store.venue_dirs(self.extras).get(key[1])
            if datadir is None:
                return None
            dataformat = self.dataformat if key[1] == self.exchange else None
            place = Place(datadir, pair, self.extras, self.finest, key[1], dataformat, live)
            looked = place.looked() if live else None
            if looked is not None and self._empty.get(key) == looked:
                return None
            tape = place.read_or_none()
            if tape is None:
                return Market(place, self.notices, unreadable(pair, key[1]))
            own = key[1] == self.exchange
            if own:
                self.notices.missing(tape, self.datadir, self.extras, freqtrade.download_command(self.exchange, pair))
            if nothing(tape):
                if not live:
                    self._markets[key] = None
                elif looked is not None:  # its files may come while the bot runs
                    self._empty[key] = looked
                return None
            if own:
                self.notices.arrived(pair)
            self._markets[key] = market = Market(place, self.notices, tape)
            self.notices.holes(tape, market.ends["bars"][0], self.exchange)
            self.notices.refused(tape, datadir)
        return self._markets[key]

    def _refreshed(self, dp: Any, pair: str) -> bool:
        """Whether freqtrade refreshes what a running bot needs: `informative_pairs` was called, or something is there.

        Asked by its rows, too, because a strategy may name them itself.
        """
        if self._asked:
            return True
        wanted = ((self._timeframes(pair)[1], "open_interest"), ("1h", "funding_rate"))
        return any(len(dp.get_pair_dataframe(pair, tf, candle_type=kind)) for tf, kind in wanted)

    def _kept(self, market: Market) -> bool:
        return self._markets.get((market.place.pair, market.place.exchange)) is market

    def _on_disk(self, pair: str) -> bool:
        return freqtrade.candle_file(self.datadir, pair, self.finest, self.dataformat) is not None

    def _timeframes(self, pair: str) -> tuple[str, str]:
        bars = freqtrade.candle_file(self.datadir, pair, self.finest, self.dataformat)
        interest = freqtrade.open_interest_file(self.datadir, pair, self.dataformat)
        return (bars[0] if bars else "5m", interest[0] if interest else "5m")


def _name(family: features.Family) -> str:
    return str(getattr(family, "__name__", type(family).__name__)).rpartition(".")[2]


@lru_cache(maxsize=64)
def _index(*names: str) -> pd.Index:
    """The names of columns as pandas has them: an immutable object, whose making takes as long as that of a frame."""
    return pd.Index(names)


def _with(dataframe: pd.DataFrame, columns: Mapping[str, Float64Array]) -> pd.DataFrame:
    """The frame with these columns after its own, by position."""
    names, values = list(columns), list(columns.values())
    # Blocks of several columns, for pandas handles one a column slowly; of at most 2 MiB, for numpy asks for larger
    # ones in huge pages, which a system under load takes longer to find than all columns take to copy.
    each = max(1, _BLOCK // max(8 * len(dataframe), 1))
    new = [
        pd.DataFrame(np.stack(values[i : i + each]).T, dataframe.index, _index(*names[i : i + each]), copy=False)
        for i in range(0, len(names), each)
    ]
    there = set(dataframe.columns)
    old = [c for c in columns if c in there]
    return pd.concat([dataframe.drop(columns=old) if old else dataframe, *new], axis=1)


class _View(features.Markets):
    """The markets of one call of `attach`: the disk's, in a bot joined with the exchange's live rows."""

    def __init__(self, signals: Signals, dp: Any, pair: str, timeframe: str, first: int) -> None:
        self.signals, self.dp, self.pair, self.timeframe, self.first = signals, dp, pair, timeframe, first
        self.venues = features.other_venues(signals.extras, signals.exchange)
        self.maps = signals._maps
        self._joined: list[Market] = []

    def current(self, market: Market, dataframe: pd.DataFrame | None = None) -> Tape:
        """A market's tape; `dataframe` holds its candles of the view's timeframe, where they are there."""
        if self.dp is None or not self.signals._kept(market):
            return market.disk
        market.renew()
        if (blocked := market.blocked()) is not None:
            return blocked
        if market.place.exchange != self.signals.exchange:  # the bot is connected to one exchange
            return market.disk
        self._joined.append(market)
        reach = features.history(self.signals.families)
        tape = market.joined(self.dp, self.pair, self.timeframe, self.first, reach, dataframe)
        bars = market.live.get("bars")
        market.doubts.late = doubted_by_clock(bars["event_time"]) if bars is not None and len(bars) else 0
        return tape

    def tape(self, pair: str, venue: str | None) -> Tape:
        market = self.signals.market(pair, venue, live=self.dp is not None)
        return super().tape(pair, venue) if market is None else self.current(market)

    def parameters(self, pair: str) -> liqmap.Parameters:
        return self.signals.calibration.parameters(pair)

    def state(self, pair: str, venue: str) -> liqmap.FoldState | None:
        market = self.signals.market(pair, venue, live=self.dp is not None)
        return None if market is None else market.states[self.timeframe]

    def settle(self) -> None:
        """Drop the rows that the checkpoints replace."""
        for market in self._joined:
            market.settle()

"""What the page shows: a picture of each pair that somebody watches, lamps, trades; renewed when the disk changes.

One thread does all reading and folding, whatever the number of viewers: a picture is made once a candle and pair.
"""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liqsignals.clock import MINUTE, duration_ns, iso
from liqsignals.doctor.examine import examine
from liqsignals.errors import InputError
from liqsignals.liqmap.calibration import Calibration
from liqsignals.report.headline import headline_on_disk
from liqsignals.report.heatmap import picture
from liqsignals.report.heatmap_html import clusters_html, data, headline_html, how_html
from liqsignals.serve.lamps import lamps
from liqsignals.strategy.place import Place

logger = logging.getLogger(__name__)

#: Seconds between looks at the disk's files, and at the bot.
LOOK_S = 2.0
TRADES_S = 10.0
#: The doctor reads all files: once a minute.
EXAMINE = MINUTE


@dataclass
class Shot:
    """The newest picture of a pair: `at` is the close of its last candle (ns), `body` its JSON, gzipped."""

    at: int
    price: float
    body: bytes


@dataclass
class Watched:
    """A pair: where its files are, how they looked when the shot was made, and why there is no newer one."""

    place: Place
    viewers: int = 0
    files: tuple[Any, ...] | None = None
    shot: Shot | None = None
    error: str | None = None


@dataclass
class Board:
    """The page's state. `now` gives the time (ns); `trades` asks a bot for its open trades."""

    datadir: Path
    extras: Path
    exchange: str
    pairs: Sequence[str]
    calibration: Calibration
    finest: str = "5m"
    days: float = 3.0
    now: Callable[[], int] = time.time_ns
    trades: Callable[[], Awaitable[list[dict[str, Any]]]] | None = None

    watched: dict[str, Watched] = field(init=False)
    #: Grows with every change that viewers should see.
    version: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.watched = {
            pair: Watched(Place(self.datadir, pair, self.extras, self.finest, self.exchange)) for pair in self.pairs
        }
        self._report: dict[str, Any] | None = None
        self._examined = 0
        self._lamps: dict[str, list[dict[str, Any]]] = {}
        self._trades: dict[str, Any] = {"open": [], "error": None, "asked": self.trades is not None}
        self._changed = asyncio.Condition()
        self._worker = ThreadPoolExecutor(1, "board")
        self._making: dict[str, asyncio.Lock] = {pair: asyncio.Lock() for pair in self.pairs}

    def state(self) -> dict[str, Any]:
        """What every viewer gets, as JSON: pairs with the instant of their newest picture, lamps, trades, the time."""
        return {
            "now": iso(self.now()),
            "pairs": {
                pair: {
                    "at": iso(w.shot.at) if w.shot else None,
                    "price": w.shot.price if w.shot else None,
                    "error": w.error,
                }
                for pair, w in self.watched.items()
            },
            "lamps": self._lamps,
            "trades": self._trades,
        }

    async def shot(self, pair: str) -> Shot | None:
        """The newest picture of a pair; made now where there is none, or it is of a time when nobody watched. None
        where it cannot be made.
        """
        shot = self.watched[pair].shot
        if shot is None or self.now() - shot.at > 2 * duration_ns(self.finest):
            await self._renew(pair)
        return self.watched[pair].shot

    async def changed(self, since: int, timeout: float) -> int:
        """Wait until the version is not `since` or `timeout` seconds are over; returns the version."""
        async with self._changed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait_for(lambda: self.version != since), timeout)
        return self.version

    async def run(self) -> None:
        """Keep the board up to date until cancelled."""
        await asyncio.gather(self._look(), *([self._ask()] if self.trades is not None else []))

    def close(self) -> None:
        """End the thread."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _publish(self) -> None:
        async with self._changed:
            self.version += 1
            self._changed.notify_all()

    async def _look(self) -> None:
        while True:
            for pair, watched in self.watched.items():
                if watched.viewers:
                    await self._renew(pair)
            await self._renew_lamps()
            await asyncio.sleep(LOOK_S)

    async def _ask(self) -> None:
        assert self.trades is not None
        while True:
            try:
                new: dict[str, Any] = {"open": await self.trades(), "error": None, "asked": True}
            except InputError as error:
                new = {"open": [], "error": str(error), "asked": True}
            if new != self._trades:
                self._trades = new
                await self._publish()
            await asyncio.sleep(TRADES_S)

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *arguments)

    async def _renew(self, pair: str) -> None:
        async with self._making[pair]:
            watched = self.watched[pair]
            before = (watched.shot.at if watched.shot else None, watched.error)
            await self._in_thread(self._make, watched)
            if before != (watched.shot.at if watched.shot else None, watched.error):
                await self._publish()

    def _make(self, watched: Watched) -> None:
        try:
            found = watched.place.files(recorded=True)
            if found == watched.files:
                return
            tape = watched.place.read().for_map()
            if tape is None or len(tape.bars) == 0:
                raise InputError(f"{watched.place.pair}: no candles or no open interest in {self.datadir}")
            at = int(tape.bars["event_time"][-1])
            head = headline_on_disk(
                tape, at, self.calibration, self.datadir, extras=self.extras, exchange=self.exchange, finest=self.finest
            )
            parameters = self.calibration.parameters(watched.place.pair)
            # Files of older times may change without a new candle: the picture is made anew all the same.
            watched.shot = _shot(picture(tape, at, parameters, days=self.days, head=head))
            watched.error, watched.files = None, found
        except (InputError, OSError) as error:
            watched.error = str(error)

    async def _renew_lamps(self) -> None:
        now = self.now()
        if self._report is None or now - self._examined >= EXAMINE:
            self._report = await self._in_thread(self._examine, now)
            self._examined = now
        report = self._report
        new = {} if report is None else lamps(report, self.pairs, self.datadir, self.exchange, now)
        if new != self._lamps:
            self._lamps = new
            await self._publish()

    def _examine(self, now: int) -> dict[str, Any] | None:
        try:
            there = [pair for pair in self.pairs if self.watched[pair].error is None]
            return examine(self.datadir, now=now, exchange=self.exchange, extras=self.extras, pairs=there)
        except InputError as error:
            logger.warning("%s", error)
            return None


def _shot(pic: Any) -> Shot:
    body = {
        "head": pic.head,
        "data": data(pic),
        "html": {"headline": headline_html(pic.head), "clusters": clusters_html(pic.head), "how": how_html(pic)},
    }
    packed = gzip.compress(json.dumps(body, separators=(",", ":")).encode(), 6)
    return Shot(pic.start + pic.step * pic.heat.shape[1], pic.head["price"], packed)

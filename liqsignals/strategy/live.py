"""One market in a running bot: the disk's records, the exchange's rows since, and the map's state."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from liqsignals import liqmap, records
from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array, dates_ns, duration_ns, timeframe_name
from liqsignals.data import freqtrade, plausible
from liqsignals.data.plausible import Past, Refused
from liqsignals.data.plausible_kernels import Memory
from liqsignals.data.search import count_before
from liqsignals.data.tape import Tape
from liqsignals.errors import InputError
from liqsignals.records import Records, later, same_records
from liqsignals.strategy.doubts import Doubts
from liqsignals.strategy.notices import Notices, logger
from liqsignals.strategy.place import Place

#: Reads a frame's records, and lists the rows that are broken in themselves.
_Reader = Callable[[pd.DataFrame, list[Refused]], Records]

_Made = TypeVar("_Made")

#: Live rows are kept this long, should a view go back: 2 MB a pair.
KEPT = 60 * DAY
#: Rows are let go when there are so many of them (ns).
STEP = DAY


@dataclass
class Market:
    """What is kept of one market between calls: the disk's tape, live rows and map state; never an output.

    In dry-run and live the map's checkpoints replace the records before them, and the disk's rows of that time are
    dropped; a view that goes back reads them again.
    """

    place: Place
    notices: Notices
    disk: Tape
    #: Event times by family: of the disk's first and last row (or of the last live one that was let go: live rows
    #: follow it), and of the first row in the exchange's newest answer.
    ends: dict[str, tuple[int, int]] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)
    #: Live rows by family as the exchange sent them, interest as OI_VALUE; those that it revises before they may be
    #: used are replaced. They are judged (data/plausible.py) at each call, from where the disk's rows left the
    #: judgement.
    live: dict[str, Records] = field(default_factory=dict)
    past: Past = field(default_factory=Past)
    #: Map state by the timeframe of the view.
    states: dict[str, liqmap.FoldState] = field(default_factory=lambda: defaultdict(liqmap.FoldState))
    #: Live bars that may not be what the exchange traded.
    doubts: Doubts = field(default_factory=Doubts)
    #: Live bars that the disk lacks between its own: of a recorder that was killed.
    filling: Records = field(default_factory=lambda: np.empty(0, records.BAR))
    #: Close of the disk's last bar at the start: what is missing since is not history, but may still be had.
    begun: int = 0
    #: Live rows as they were judged last: they grow by a row a candle.
    verdicts: dict[str, plausible.Growing] = field(default_factory=lambda: defaultdict(plausible.Growing))
    #: The exchange's last answers that could be read, by family, and what else their reading rests on. freqtrade puts
    #: a new frame in the place of the old one and changes none; funding's is new once an hour, and BTC's are asked for
    #: by every other pair.
    answers: dict[str, tuple[pd.DataFrame, object]] = field(default_factory=dict)
    #: Intermediate results by name, each with the objects that it was made of (`_once`).
    made: dict[str, tuple[tuple[Any, ...], Any]] = field(default_factory=dict)
    #: By timeframe and pair of the views that asked lately: their first open, and the newest bar then (ns).
    begins: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    #: Instant (ns) before which rows were let go last (`settle`).
    settled: int = 0
    #: State of the disk's files when they were read (Place.files).
    files: tuple[Any, ...] = ()
    #: Instant (ns) from which families read bars and open interest in the newest view of each timeframe.
    reach: dict[str, int] = field(default_factory=dict)
    #: Kinds that were on disk since the bot's start, and those of them that are not there any more.
    had: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    #: Whether a folder of the disk cannot be read.
    closed: bool = False

    def __post_init__(self) -> None:
        self.open(self.disk)
        self.begun = self.ends["bars"][1]

    def open(self, disk: Tape) -> None:
        """Restart from the disk's records, and keep the live rows beyond them and the live bars between them."""
        disk = self._filled(disk)
        there = {name for name in _KINDS if disk.kind(name) is not None}
        self.had |= there
        self.gone = self.had - there
        self.notices.vanished(self.place.pair, self.gone)
        paid = next(iter(disk.funding.values()), None)
        self.past = disk.past or Past()
        late = self.past.late
        interest = disk.open_interest
        if interest is not None and len(late) and self.place.live:
            # They are judged with the live rows, when their bars are there.
            interest = interest[: np.searchsorted(interest["event_time"], late["event_time"][0])]
        self.doubts.stored(disk.bars)
        self.disk = disk = replace(disk, open_interest=interest)
        self.states.clear()
        self.answers.clear()
        self.settled = 0
        kinds = (("bars", disk.bars), ("interest", interest), ("funding", paid))
        for (family, kind), memory in zip(kinds, (self.past.bars, self.past.interest, self.past.funding), strict=True):
            event = kind["event_time"] if kind is not None else np.empty(0, np.int64)
            # Rows that are read as holes at the end were seen nevertheless.
            last = max(memory.seen, int(event[-1]) if len(event) else 0)
            if family == "interest" and len(late):
                last = int(late["event_time"][-1])
            self.ends[family] = (int(event[0]) if len(event) else last, last)
            if family in self.live:
                self.live[family] = later(self.live[family], last + 1)

    def _filled(self, disk: Tape) -> Tape:
        """The disk's tape with the live bars that it lacks: the exchange's answers are not read where it has later
        ones.
        """
        bars = disk.bars
        if bars is None or len(bars) == 0:
            return disk
        live = _rows(self.judged().taken.get("bars"), records.BAR)
        live = live[~np.isin(live["event_time"], list(self.doubts.closes))]
        kept = np.concatenate([live, self.filling])
        kept = kept[np.unique(kept["event_time"], return_index=True)[1]]
        at = kept["event_time"]
        between = (at > bars["event_time"][0]) & (at < bars["event_time"][-1])
        self.filling = kept[between & ~np.isin(at, bars["event_time"])]
        if len(self.filling) == 0:
            return disk
        return replace(disk, bars=np.sort(np.concatenate([bars, self.filling]), order="event_time"))

    def take(self, family: str, new: Records) -> None:
        """Add live rows; kept rows of the same time are replaced. A checkpoint that was made of other rows is void."""
        if len(new):
            self.shown[family] = int(new["event_time"][0])
        new = later(new, self.ends[family][1] + 1)
        if len(new) == 0:
            return
        old = self.live.get(family, new[:0])
        before = int(np.searchsorted(old["event_time"], new["event_time"][0]))
        if same_records(old[before:], new):
            return
        if family == "bars":
            self.doubts.sent(old[before:], new, self.disk)
        used = max((state.upto for state in self.states.values()), default=0)
        then, now = (kind[kind["known_at"] <= used] for kind in (old[before:], new))
        if family != "funding" and not np.array_equal(then, now):
            self.states.clear()
        self.live[family] = np.concatenate([old[:before], new])

    def judged(self) -> "Judged":
        """The live rows without those that are what no market does."""
        past = self.past
        bars = self._judged_bars()
        interest = self._judged_interest(bars)
        funding = self.verdicts["funding"].judge(
            _rows(self.live.get("funding"), records.FUNDING), plausible.funding, past.funding
        )

        def make() -> Judged:
            bar_ns, pair = self.disk.bar_ns, self.place.pair
            refused = [
                *bars.named(f"{pair} live candles", bar_ns),
                *interest.named(f"{pair} live open interest"),
                *funding.named(f"{pair} live funding"),
            ]
            verdicts = {"bars": bars, "interest": interest, "funding": funding}
            there = {*self.live, *(["interest"] if len(past.late) else [])}
            return Judged({family: verdicts[family].taken for family in there}, tuple(refused))

        return self._once("judged", (bars, interest, funding), make)

    def _judged_bars(self) -> plausible.Verdict:
        bar_ns = self.disk.bar_ns

        def judge(rows: Records, memory: Memory) -> plausible.Verdict:
            return plausible.bars(rows, bar_ns, memory)

        return self.verdicts["bars"].judge(_rows(self.live.get("bars"), records.BAR), judge, self.past.bars)

    def _judged_interest(self, bars: plausible.Verdict) -> plausible.Verdict:
        """Of the disk's late rows and the live ones; `bars`: of all live bars."""
        rows = self._measured()
        # A row is compared with bars until it is known.
        ends = [kind["known_at"][-1] for kind in (self.disk.bars, bars.taken) if kind is not None and len(kind)]
        final = int(np.searchsorted(rows["known_at"], max(ends, default=0), side="right"))
        basis = (self.verdicts["bars"].began,)
        return self.verdicts["interest"].judge(rows, self._interest_judge(bars), self.past.interest, basis, final)

    def _measured(self) -> Records:
        """Open interest that is judged with the live rows: the disk's late rows and those."""
        late, rows = self.past.late, _rows(self.live.get("interest"), records.OI_VALUE)
        if len(late) == 0:
            return rows
        return self._once("measured", (late, rows), lambda: freqtrade.newest_first_known([late, rows]))

    def _interest_judge(self, bars: plausible.Verdict) -> Callable[[Records, Memory], plausible.Verdict]:
        def judge(rows: Records, memory: Memory) -> plausible.Verdict:
            if len(rows) == 0:
                return plausible.interest(rows, _rows(None, records.BAR), np.empty(0), self.disk.bar_ns, memory)
            # Only the bars from the rows before on are compared with.
            since = min(int(at) for at in (*memory.at[:3], rows["event_time"][0]) if at) - 3 * self.disk.bar_ns
            stored = _from(_rows(self.disk.bars, records.BAR), since)
            live = _from(bars.taken, since) if len(stored) <= 1 else bars.taken
            # Each bar of the disk counts as its busiest: the fold has passed them.
            busiest = np.concatenate(
                (np.full(len(stored), self.past.bars.largest()), bars.busiest[len(bars.taken) - len(live) :])
            )
            return plausible.interest(rows, np.concatenate((stored, live)), busiest, self.disk.bar_ns, memory)

        return judge

    def unsure(self, taken: Mapping[str, Records]) -> int:
        """Close (ns) of the first live bar that is missing, may be made up or came in two ways, 0 where none is.

        `taken`: of `judged`.

        Freqtrade fills a candle that the exchange left out with one without volume. Where the real one arrives
        later, it joins the two, prices of the made-up one included. Bars older than the map's warm-up do not count: a
        map that restarted then is warm.
        """
        step, begun, end = self.disk.bar_ns, self.begun, self.ends["bars"][1]
        kinds, doubted = (self.disk.bars, taken.get("bars")), self.doubts.closes

        def find() -> int:
            stored, live = (
                later(kind, begun + 1)["event_time"] if kind is not None else np.empty(0, np.int64) for kind in kinds
            )
            at = np.concatenate((stored, live))
            if len(at) == 0:
                return 0
            # The disk's first rows may have been dropped; live ones follow its last.
            before = np.concatenate(([at[0] - step if len(stored) or not begun else end], at[:-1]))
            cold = at[-1] - liqmap.WARMUP
            missing = (before + step)[(at - before > step) & (at > cold)]
            return min((*missing.tolist(), *(close for close in doubted if close > cold)), default=0)

        return self._once("unsure", (*kinds, doubted, step, begun, end), find)

    def checked(self, frame: pd.DataFrame, at: Int64Array, length: int, tape: Tape) -> tuple[pd.DataFrame, int]:
        """A bot's frame with the disk's candles where it has others, and the close (ns) of the first that stays other
        than the tape's, 0 where none does.

        freqtrade keeps a candle as the exchange sent it first, and what a strategy computes from its frame rests on it.
        The last one stays as it is, for freqtrade refuses another close there. `at`: closes of the candles, `length` ns
        long.
        """
        if length < self.disk.bar_ns:
            return frame, 0
        true = freqtrade.joined(_rows(tape.bars, records.BAR), self.disk.bar_ns, length)
        row = count_before(true["event_time"], at)
        here = np.flatnonzero(row < len(true))
        here = here[true["event_time"][row[here]] == at[here]]
        row = row[here]
        off = np.zeros(len(here), bool)
        for name in freqtrade.CANDLES:
            shown, expected = frame[name].to_numpy(np.float64)[here], true[name][row]
            # Volumes of shorter bars add up to a candle's but for the rounding.
            off |= ~np.isclose(shown, expected, rtol=1e-6, atol=0.0) if name == "volume" else shown != expected
        here, row = here[off], row[off]
        stored = (at[here] <= self.ends["bars"][1]) & (here < len(at) - 1)
        if stored.any():
            frame = frame.copy()
            for name in freqtrade.CANDLES:
                values = frame[name].to_numpy(np.float64, copy=True)
                values[here[stored]] = true[name][row[stored]]
                frame[name] = values
            self.notices.replaced(self.place.pair, at[here[stored]])
        return frame, int(at[here[~stored]].min(initial=np.iinfo(np.int64).max)) if (~stored).any() else 0

    def settle(self) -> None:
        """Drop rows that the checkpoints replace, except the bars that live open interest's labels are tested on.

        In steps of a day: what is left is copied, and the live rows are judged anew.
        """
        for state in self.states.values():
            state.forget()
        needs = min(
            *(m.needs for m in self.states.values()),
            *self.reach.values(),
            self.shown.get("interest", 0) - 4 * self.disk.period_ns,
        )
        if needs - self.settled < STEP:
            return
        self.settled = needs
        # No checkpoint replaces settlements, of which there are few.
        interest, live_bars = (
            _rows(self.live.get(n), t) for n, t in (("interest", records.OI_VALUE), ("bars", records.BAR))
        )
        gone = {"interest": _before(interest, needs)}
        if len(gone["interest"]):
            judge = self._interest_judge(self._judged_bars())
            late = self.past.late
            rows = freqtrade.newest_first_known([late, gone["interest"]]) if len(late) else gone["interest"]
            self.past = replace(self.past, interest=judge(rows, self.past.interest).memory, late=late[:0])
        # What is left is judged by the bars around it, and since the last row that was taken.
        needs = min(needs, int(self.past.interest.at[0]) or needs) - 2 * self.disk.bar_ns
        gone["bars"] = _before(live_bars, needs)
        self.past = replace(self.past, bars=plausible.bars(gone["bars"], self.disk.bar_ns, self.past.bars).memory)
        for family, rows in gone.items():
            if len(rows):
                # The exchange may send them again.
                self.ends[family] = (self.ends[family][0], int(rows["event_time"][-1]))
                self.live[family] = self.live[family][len(rows) :].copy()
        if needs > self.disk.since:
            self.disk = self.disk.later(needs, copy=True)

    def renew(self) -> None:
        """Read the disk again where a download has changed it, or a recorder may have mended it."""
        try:
            state = self.place.files(bool(self.unsure(self.judged().taken)))
        except FileNotFoundError:  # one of them is being replaced: the next candle sees it
            return
        except OSError as error:
            self.closed = True
            self.notices.closed(self.place.pair, error)
            return
        self.closed = False
        if state == self.files:
            return
        if self.files:
            tape = self.place.read_or_none()
            if tape is None:
                # It is read again at the next candle: a file may be whole by then, of the same time and size.
                return
            self.open(tape)
        self.files = state

    def blocked(self) -> Tape | None:
        """The tape of a market that has lost its files: flags 0, other columns NaN; None while it has them."""
        if self.closed or self.gone & _MAP:
            return unreadable(self.place.pair, self.place.exchange)
        return None

    def _read_live(self, family: str, frame: pd.DataFrame, read: _Reader) -> bool:
        """Add the rows of a live frame but those that are broken in themselves; whether none contradicts another.

        Rows that contradict each other cost all of them, unless the disk has their time.
        """
        broken: list[Refused] = []
        whole = True
        try:
            self.take(family, read(frame, broken))
        except InputError as error:
            whole = False
            try:
                newer, broken = self._beyond(family, frame), []
                if len(newer):
                    shown = self.shown.get(family)
                    self.take(family, read(newer, broken))
                    if shown is not None:  # the bars of the whole frame's labels are still needed
                        self.shown[family] = min(shown, self.shown[family])
            except InputError:
                # Its remedy is for files; here the next answer is the remedy.
                logger.error(
                    "%s: what the exchange sent is not used; the last good data serve until they are too old",
                    error.problem,
                )
            else:
                self.notices.mended(self.place.pair, family, error)
        self.notices.broken(self.place.pair, broken)
        return whole

    def _beyond(self, family: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows of a live frame that the disk does not have; before funding, the settlement that gives its interval."""
        end = self.ends[family][1]
        # Labels and opens of what follows the disk's last row are not before it.
        newer = frame[dates_ns(frame["date"], f"{self.place.pair} live {family}") >= end]
        settled = self.disk.funding.get(self.place.exchange)
        if family != "funding" or settled is None or len(settled) == 0 or len(newer) == 0:
            return newer
        last = settled[-1]
        dates = [int(last["event_time"] - last["interval_h"] * HOUR), int(last["event_time"])]
        own = pd.DataFrame({"date": pd.to_datetime(dates, utc=True), "funding_rate": [last["rate"]] * 2})
        # A settlement is some ms late by turns.
        return pd.concat([own, newer[dates_ns(newer["date"], "") > end + HOUR // 2]], ignore_index=True)

    def joined(
        self, dp: Any, asking: str, timeframe: str, first: int, history: int, dataframe: pd.DataFrame | None = None
    ) -> Tape:
        """The disk's tape and the exchange's rows since, from where a view needs them.

        The first candle of the view, which is of the pair `asking`, opens at `first` (ns), and families read `history`
        (ns) before it. `dataframe` holds the market's candles of `timeframe`, where the caller has them. Where disk and
        exchange both have an instant, the disk's row counts; of two live rows the newer one. A family whose live rows
        cannot be read keeps what it had, until that is too old.
        """
        pair = self.place.pair
        disk = self.disk
        bars_tf, interest_tf = timeframe_name(disk.bar_ns), timeframe_name(disk.period_ns)

        def refresh(family: str, timeframe: str, kind: str, read: _Reader) -> None:
            answer = _answer(dp, pair, timeframe, kind)
            used = answer
            if kind == "futures" and own is not None:
                used = own if len(answer) == 0 or own["date"].array[0] <= answer["date"].array[0] else answer
            if len(used) == 0:
                return
            # The labels of open interest are tested on the bars.
            read_of = (answer, self._judged_bars() if family == "interest" else None)
            if used is answer and family in self.answers and _same(self.answers[family], read_of):
                return
            self.answers.pop(family, None)
            if self._read_live(family, used, read) and used is answer:
                self.answers[family] = read_of

        own = dataframe if timeframe == bars_tf else None
        refresh("bars", bars_tf, "futures", lambda f, out: freqtrade.bars(f, bars_tf, f"{pair} live candles", out))
        refresh(
            "interest",
            interest_tf,
            "open_interest",
            lambda f, out: freqtrade.open_interest(
                f,
                interest_tf,
                self._bars_around(f),
                disk.bar_ns,
                self.place.exchange,
                f"{pair} live open interest",
                disk.labels,
                out,
            )[0],
        )
        refresh("funding", "1h", "funding_rate", lambda f, out: freqtrade.funding(f, f"{pair} live funding", out))
        hold = self._begin(asking, timeframe, first)
        state = self.states.get(timeframe)
        self.reach[timeframe] = hold - history
        since = min(state.needs, hold - history) if state is not None and state.serves(hold, state.needs) else 0
        if since < disk.since:
            tape = self.place.read_or_none()
            if tape is None:
                return unreadable(pair, self.place.exchange)
            self.open(tape)
            # Its checkpoints went with the old tape: the map is folded from its first record again.
            disk, since = self.disk, 0
        self.states[timeframe].hold = hold
        judged = self.judged()
        taken = judged.taken
        unsure = self.unsure(taken)

        def pay() -> Records | None:
            if "funding" in self.gone:
                return np.empty(0, records.FUNDING)
            return _both(disk.funding.get(self.place.exchange), taken.get("funding"), 0)

        def make() -> Tape:
            made_of = (disk.funding, taken.get("funding"), frozenset(self.gone))
            paid = self._once("funding", made_of, pay)
            others = {venue: kind for venue, kind in disk.funding.items() if venue != self.place.exchange}
            tape = replace(
                disk,
                bars=_both(disk.bars, taken.get("bars"), since),
                open_interest=_joined_interest(disk.open_interest, taken.get("interest"), since),
                funding=others if paid is None else {self.place.exchange: paid, **others},
                flow=np.empty(0, records.FLOW) if "flow" in self.gone else disk.flow,
                since=since,
                unsure=unsure,
                refused=(*disk.refused, *judged.refused) if judged.refused else disk.refused,
            )
            self.notices.holes(tape, self.ends["bars"][0], self.place.exchange)
            self.notices.unsure(tape, self.place.datadir)
            self._once("named", (paid, tape.refused), lambda: self.notices.refused(tape, self.place.datadir))
            return tape

        return self._once("tape", (disk, judged, since, unsure, frozenset(self.gone)), make)

    def _once(self, name: str, made_of: tuple[Any, ...], make: Callable[[], _Made]) -> _Made:
        """What `make` returns, or what it returned last where it was made of the same objects: rows are never written.

        Every other pair asks for BTC's tape at each candle.
        """
        kept = self.made.get(name)
        if kept is None or not _same(kept[0], made_of):
            kept = self.made[name] = made_of, make()
        made: _Made = kept[1]
        return made

    def _begin(self, asking: str, timeframe: str, first: int) -> int:
        """Open (ns) of the first candle of all views of this market in the last candles; `asking` is a view's pair.

        Frames of pairs begin at different candles (a pair joined the whitelist later). A checkpoint made at the later
        begin would be newer than the earlier view, which would fold all again, at every candle.
        """
        bars = self._judged_bars().taken
        newest = int(bars["event_time"][-1]) if len(bars) else self.ends["bars"][1]
        self.begins[timeframe, asking] = first, newest
        recent = newest - 3 * duration_ns(timeframe)
        self.begins = {view: at for view, at in self.begins.items() if at[1] >= recent}
        return min(at for (of, _), (at, _) in self.begins.items() if of == timeframe)

    def _bars_around(self, frame: pd.DataFrame) -> Records:
        """All bars that the labels of a live frame of open interest are tested on, and none long before."""
        labels = dates_ns(frame["date"], f"{self.place.pair} live open interest")
        return _joined(self.disk.bars, self._judged_bars().taken, int(labels.min()) - self.disk.period_ns)


#: Kinds whose files may vanish while a bot runs (records.KINDS), and those that carry the map.
_KINDS = ("bar", "open_interest", "funding", "flow")
_MAP = {"bar", "open_interest"}


def unreadable(pair: str, exchange: str) -> Tape:
    """A tape of families that are there and hold nothing: every flag is 0, and blocks entries."""
    nothing = (np.empty(0, dtype) for dtype in (records.BAR, records.OPEN_INTEREST, records.FUNDING, records.FLOW))
    bars, interest, settled, flow = nothing
    return Tape(pair, 5 * MINUTE, 5 * MINUTE, bars, interest, {exchange: settled}, flow)


@dataclass(frozen=True)
class Judged:
    """Live rows taken by family, and those refused."""

    taken: Mapping[str, Records]
    refused: tuple[Refused, ...]


def _both(disk: Records | None, live: Records | None, since: int) -> Records | None:
    """Rows of the disk and the live ones beyond them, from the event time `since` (ns) on; None without either."""
    return None if disk is None and live is None else _joined(disk, live, since)


def _joined(disk: Records | None, live: Records | None, since: int) -> Records:
    kinds = [later(kind, since) for kind in (disk, live) if kind is not None]
    return np.concatenate(kinds) if kinds else np.empty(0, records.BAR)


def _joined_interest(disk: Records | None, live: Records | None, since: int) -> Records | None:
    """As `_both`: the disk may end with rows of a longer period, which are known later than the first live ones."""
    kinds = [later(kind, since) for kind in (disk, live) if kind is not None]
    return freqtrade.newest_first_known(kinds) if kinds else None


def _answer(dp: Any, pair: str, timeframe: str, kind: str) -> pd.DataFrame:
    """The rows that freqtrade holds of the exchange, its own frame, to be read only."""
    held = getattr(dp, "ohlcv", None)
    frame = held(pair, timeframe, copy=False, candle_type=kind) if held is not None else None
    if frame is None or len(frame) == 0:
        # It knows the timeframe under which the venue has funding, and says what it lacks.
        frame = dp.get_pair_dataframe(pair, timeframe, candle_type=kind)
    return frame if frame is not None else pd.DataFrame()


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two tuples hold the same objects, or equal numbers or names."""
    return all(a is b or (isinstance(a, int | frozenset) and a == b) for a, b in zip(one, other, strict=True))


def _from(kind: Records, since: int) -> Records:
    """Rows from the last one before `since` (ns) on."""
    return kind[max(len(kind) - len(later(kind, since)) - 1, 0) :]


def _before(kind: Records, needs: int) -> Records:
    """Live rows that are let go: those before `needs` (ns) and KEPT before the last one."""
    if len(kind) == 0:  # the disk has caught up
        return kind
    return kind[: len(kind) - len(later(kind, min(needs, int(kind["event_time"][-1]) - KEPT)))]


def _rows(kind: Records | None, dtype: np.dtype[np.void]) -> Records:
    return _none(dtype) if kind is None else kind


@cache
def _none(dtype: np.dtype[np.void]) -> Records:
    """No rows: one object for each kind, for what is judged is known by its object."""
    return np.empty(0, dtype)

"""Dry-run and live keep a checkpoint, not the past: at any order of calls, the bits of the whole computation (law 4)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import (
    FIVE,
    PAIR,
    FakeProvider,
    Market,
    as_tape,
    assert_same_bits,
    decisions,
    make_market,
    ns,
    resampled,
    write_datadir,
)
from hypothesis import given
from hypothesis import strategies as st

from liqsignals import features, liqmap
from liqsignals.clock import DAY, duration_ns
from liqsignals.errors import InputError
from liqsignals.liqmap import fold
from liqsignals.strategy import live, place
from liqsignals.strategy.signals import Signals

#: Rows of the market, of the disk, and of a bot's first call.
ROWS, DISK, FIRST = 720, 400, 520


@cache
def market() -> Market:
    """Open interest has holes of more than an hour: what a checkpoint needs reaches back beyond them."""
    made = make_market(ROWS / 288, 21, volatility=0.003, funding_h=4)
    gone = [*range(430, 444), *range(480, 495), *range(530, 543), *range(570, 600)]
    return replace(made, interest=made.interest.drop(index=gone).reset_index(drop=True))


@dataclass(frozen=True)
class Call:
    """One call of a strategy: how far the clock went on (or back), what it looks at, and what the exchange shows."""

    step: int
    timeframe: str
    length: int
    shown: int
    revised: int
    fault: str


CALLS = st.builds(
    Call,
    step=st.one_of(st.integers(1, 3), st.integers(1, 3), st.integers(-60, 40)),
    timeframe=st.sampled_from(["5m", "5m", "5m", "15m", "1h"]),
    length=st.integers(5, 120),
    shown=st.integers(130, 300),
    revised=st.integers(0, 120),
    fault=st.sampled_from(["", "", "", "open interest revised", "candle revised", "row missing", "rows late", "no answer", "hole"]),
)  # fmt: skip


@dataclass
class Heard:
    """All that a bot was told, by the plainest rule: the disk's rows, then of each time what was told last."""

    disk: Market
    live: dict[str, pd.DataFrame] = field(default_factory=dict)
    #: Candles by their open that were told otherwise after the next one had been told: as they were before.
    retold: dict[pd.Timestamp, tuple[float, ...]] = field(default_factory=dict)

    def hear(self, kind: str, frame: pd.DataFrame) -> None:
        new = frame[frame["date"] > getattr(self.disk, kind)["date"].iloc[-1]]
        if len(new):
            old = self.live.get(kind, new[:0])
            if kind == "candles":
                self._compare(old, new)
            self.live[kind] = pd.concat([old[old["date"] < new["date"].iloc[0]], new], ignore_index=True)

    def _compare(self, old: pd.DataFrame, new: pd.DataFrame) -> None:
        then = {row[0]: tuple(row[1:]) for row in old.itertuples(index=False)}
        for at, *told in new.itertuples(index=False):
            if at in then and at != old["date"].iloc[-1] and then[at] != tuple(told):
                self.retold.setdefault(at, then[at])
            if self.retold.get(at) == tuple(told):
                del self.retold[at]

    def first_retold(self) -> float:
        """Close of the first candle that was told in two ways."""
        return float(min(self.retold).value + FIVE) if self.retold else np.inf

    def whole(self) -> Market:
        parts = {k: pd.concat([getattr(self.disk, k), frame], ignore_index=True) for k, frame in self.live.items()}
        return replace(self.disk, **parts)


def answers(row: int, call: Call) -> tuple[pd.DataFrame, dict[tuple[str, str], pd.DataFrame]]:
    """All candles up to `row` and the exchange's frames then, with the call's fault."""
    now = market().candles["date"].iloc[row] + pd.Timedelta("5min")
    seen = market().upto(now)
    candles, interest = seen.candles.copy(), seen.interest.copy()
    at = max(row - call.revised, 1)
    if call.fault == "open interest revised":
        interest.loc[interest.index[at:], "open_interest_amount"] *= 1.001
    if call.fault == "candle revised":
        candles.loc[at, "volume"] *= 1.5
    if call.fault == "row missing":
        interest = interest.drop(index=at, errors="ignore")
    if call.fault == "rows late":
        interest = interest[: -1 - call.revised % 3]
    if call.fault == "hole":
        candles = candles.drop(index=[at - 1])
    frames = {
        ("5m", "futures"): candles[-call.shown :],
        ("5m", "open_interest"): interest[-call.shown :],
        ("1h", "funding_rate"): seen.funding[-30:],
    }
    if call.fault == "no answer":
        del frames["5m", "open_interest"]
    return candles, frames


def first_missing(whole: Market) -> float:
    """Close of the first candle beyond the disk's that was not told."""
    closed = ns(whole.candles["date"])[DISK - 1 :] + FIVE
    gaps = np.flatnonzero(np.diff(closed) > FIVE)
    return float(closed[gaps[0]] + FIVE) if len(gaps) else np.inf


def first_other(whole: Market, frame: pd.DataFrame, timeframe: str) -> float:
    """Close of the first candle of the frame that is another than what was heard, and that the disk does not replace."""
    names = ["open", "high", "low", "close", "volume"]
    known = resampled(whole.candles, timeframe).set_index("date").reindex(frame["date"])[names].to_numpy()
    shown = frame[names].to_numpy()
    off = (known != shown) & ~np.isclose(known, shown, rtol=1e-6 * np.array([0, 0, 0, 0, 1]), atol=0)
    off &= np.isfinite(known)
    at = ns(frame["date"]) + duration_ns(timeframe)
    replaced = (at <= ns(market().candles["date"])[DISK - 1] + FIVE) & (np.arange(len(at)) < len(at) - 1)
    return float(at[off.any(axis=1) & ~replaced].min(initial=np.iinfo(np.int64).max))


def walk(datadir: Path, calls: list[Call], families: Sequence[Any] = features.FAMILIES) -> Signals:
    """Make the calls, and compare each with one computation over all that was heard, without a state."""
    bot, heard, row = (
        Signals(datadir, families=families),
        Heard(market().upto(market().candles["date"].iloc[DISK])),
        FIRST,
    )
    for call in calls:
        row = min(max(row + call.step, 300), ROWS - 1)
        candles, frames = answers(row, call)
        frame = resampled(candles, call.timeframe)[-call.length :].reset_index(drop=True)
        found = bot.attach(frame, PAIR, call.timeframe, dp=FakeProvider(frames))
        shown = frames["5m", "futures"]
        own = call.timeframe == "5m" and frame["date"].iloc[0] <= shown["date"].iloc[0]
        heard.hear("candles", frame if own else shown)
        heard.hear("funding", frames["1h", "funding_rate"])
        if ("5m", "open_interest") in frames:
            heard.hear("interest", frames["5m", "open_interest"])
        at, closes = decisions(frame, call.timeframe)
        whole = features.compute(as_tape(heard.whole()), at, closes, duration_ns(call.timeframe), families=families)
        others = first_other(heard.whole(), frame, call.timeframe)
        doubted = min(first_missing(heard.whole()), heard.first_retold(), others)
        whole["liq_fresh"][at >= doubted] = 0.0
        assert_same_bits(found, whole, names=list(whole))
    return bot


@pytest.fixture(scope="module")
def datadir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_datadir(tmp_path_factory.mktemp("live"), market().upto(market().candles["date"].iloc[DISK]))


@pytest.mark.slow
@given(calls=st.lists(CALLS, min_size=4, max_size=12))
def test_any_order_of_calls_gives_the_bits_of_one_computation_over_all_that_was_heard(
    datadir: Path, calls: list[Call]
) -> None:
    walk(datadir, calls)


def steady(calls: int, **changes: Any) -> list[Call]:
    return [replace(Call(1, "5m", 150, 160, 0, ""), **changes)] * calls


def test_what_a_checkpoint_stands_for_is_neither_kept_nor_read_again(
    datadir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, plans = [], []
    read, plan = place.read_tape, liqmap.plan
    monkeypatch.setattr(place, "read_tape", lambda *a, **k: reads.append(a) or read(*a, **k))
    bot = walk(datadir, steady(3))
    monkeypatch.setattr(fold, "plan", lambda tape: plans.append(len(tape.bars)) or plan(tape))
    kept = bot.market(PAIR)
    assert kept is not None
    state, reach = kept.states["5m"], features.history() // FIVE
    held = [(kept.disk.bars, reach), (kept.disk.open_interest, reach), (state.bars, 0), (state.interest, 0)]
    assert [k.base is None and len(k) < 250 + more for k, more in held if k is not None] == [True] * 4
    candles, frames = answers(FIRST + 4, steady(1)[0])
    bot.attach(candles[-150:], PAIR, "5m", dp=FakeProvider(frames))
    assert len(reads) == 1
    assert max(plans) < 180


def test_a_view_that_goes_back_has_the_disk_read_again(datadir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, read = [], place.read_tape
    monkeypatch.setattr(place, "read_tape", lambda *a, **k: reads.append(a) or read(*a, **k))
    walk(datadir, [*steady(3), *steady(1, step=-150), *steady(2)])
    assert len(reads) == 2


def test_frames_of_two_timeframes_in_turn_have_a_checkpoint_each(
    datadir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = walk(datadir, [*steady(1), *steady(1, timeframe="1h", length=30)])
    folded: list[int] = []
    run = liqmap.Fold._run
    monkeypatch.setattr(liqmap.Fold, "_run", lambda self, book, stop, *a: folded.append(stop - book.bars) or run(self, book, stop, *a))  # fmt: skip
    for row in (FIRST + 3, FIRST + 4):
        candles, frames = answers(row, steady(1)[0])
        bot.attach(candles[-150:], PAIR, "5m", dp=FakeProvider(frames))
        bot.attach(resampled(candles, "1h")[-30:], PAIR, "1h", dp=FakeProvider(frames))
    assert max(folded) < 400


@pytest.mark.slow
def test_live_rows_older_than_the_limit_are_let_go(datadir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEPT", DAY // 4)
    monkeypatch.setattr(live, "STEP", DAY // 24)
    # The others read far into the past of the view.
    families = [family for family in features.FAMILIES if features.history([family]) == 0]
    bot = walk(datadir, [*steady(1, shown=200), *steady(66, step=3, length=60, shown=65)], families)
    kept = bot.market(PAIR)
    assert kept is not None
    assert all(len(kept.live[family]) < 100 for family in ("bars", "interest"))


def test_a_disk_that_catches_up_while_the_bot_runs_is_read_and_goes_on(tmp_path: Path) -> None:
    """After a download the live rows of a family may be none: until the next settlement funding has no newer ones."""
    datadir = write_datadir(tmp_path, market().upto(market().candles["date"].iloc[DISK]))
    bot = walk(datadir, steady(3))
    write_datadir(tmp_path, market().upto(market().candles["date"].iloc[FIRST + 5]))
    for row in (FIRST + 4, FIRST + 5):
        candles, frames = answers(row, steady(1)[0])
        found = bot.attach(candles[-150:], PAIR, "5m", dp=FakeProvider(frames))
        at, closes = decisions(candles[-150:])
        assert_same_bits(found, features.compute(as_tape(market()), at, closes, duration_ns("5m")))


def test_a_torn_disk_leaves_a_view_that_goes_back_without_a_map_until_it_is_whole(
    datadir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = walk(datadir, steady(3))
    call, frames_of = steady(1)[0], answers
    with monkeypatch.context() as torn:
        torn.setattr(place, "read_tape", _refuse)
        candles, frames = frames_of(FIRST + 3, call)
        far = bot.attach(candles[-400:], PAIR, "5m", dp=FakeProvider(frames))
        near = bot.attach(candles[-150:], PAIR, "5m", dp=FakeProvider(frames))
    assert (far["liq_fresh"] == 0).all()
    assert near["liq_fresh"].iloc[-1] == 1
    again = bot.attach(candles[-400:], PAIR, "5m", dp=FakeProvider(frames))
    assert again["liq_fresh"].iloc[-1] == 1
    assert_same_bits(again.iloc[-150:], near)


def _refuse(*args: Any, **options: Any) -> None:
    raise InputError("torn")


def test_a_tape_without_its_past_is_not_read(datadir: Path) -> None:
    tape = as_tape(market())
    at, closes = decisions(market().candles[-50:])
    with pytest.raises(RuntimeError, match="no state stands for"):
        features.compute(tape.later(int(at[-100:][0])), at, closes, duration_ns("5m"), state=liqmap.FoldState())
    assert np.isfinite(features.compute(tape, at, closes, duration_ns("5m"))["liq_imbalance"]).all()

"""What no market does is a hole, named, on disk and live, and at any cut the same (docs/laws.md 10)."""

import logging
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import (
    FIVE,
    PAIR,
    REAL,
    START,
    FakeProvider,
    Market,
    assert_same_bits,
    make_market,
    needs_real_data,
    ns,
    resampled,
    write,
    write_datadir,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from liqsignals import records, venues
from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array, iso, parse_time, to_dates
from liqsignals.data import freqtrade, plausible
from liqsignals.data.tape import checked_tape, read_tape
from liqsignals.doctor import examine
from liqsignals.errors import InputError
from liqsignals.features import NAMES
from liqsignals.records import Records
from liqsignals.strategy.signals import Signals

ROWS = 500
CANDLES, INTEREST, FUNDING = "5m-futures", "5m-open_interest", "1h-funding_rate"
PRICES = ["open", "high", "low", "close"]
BOTH = ["open_interest_amount", "open_interest_value"]


@cache
def market(seed: int = 0) -> Market:
    return make_market(ROWS / 288, 70 + seed, funding_h=4)


@cache
def clean(seed: int = 0) -> pd.DataFrame:
    with TemporaryDirectory() as folder:
        return Signals(write_datadir(Path(folder), market(seed))).attach(market(seed).candles, PAIR, "5m")


def multiplied(frame: pd.DataFrame, rows: slice, columns: list[str], factor: float) -> pd.DataFrame:
    out = frame.copy()
    for name in columns:
        out.loc[out.index[rows], name] *= factor
    return out


def attach(folder: Path, made: Market, candles: pd.DataFrame | None = None) -> pd.DataFrame:
    return Signals(write_datadir(folder, made)).attach(made.candles if candles is None else candles, PAIR, "5m")


def raw(seed: int = 0) -> tuple[Records, Records, Records]:
    """The market's rows as their readers give them."""
    made = market(seed)
    bars = freqtrade.bars(made.candles, "5m", "candles")
    interest, _ = freqtrade.open_interest(made.interest, "5m", bars, FIVE, "binance", "interest")
    return bars, interest, freqtrade.funding(made.funding, "funding")


# Against the laws written down plainly.


def follows(last: Any, row: Any, bars: Records) -> bool:
    """Law 10 for two snapshots of 5m and bars of 5m, as its page says it."""
    one, two = last["base"], row["base"]
    if max(one / two, two / one) > 3:
        return False
    if abs(two - one) <= 1e-3 * one:
        return True
    known = [b for b in bars if b["event_time"] <= row["known_at"]]
    if not known:
        return True
    month = [b["volume"] for b in known if b["event_time"] // DAY >= known[-1]["event_time"] // DAY - 30]
    traded = {int(b["event_time"]): float(b["volume"]) for b in known}
    wanted = range(int(last["event_time"]), int(row["event_time"]) + FIVE + 1, FIVE)
    return bool(abs(two - one) <= 2 * sum(traded.get(t, max(month)) for t in wanted))


def taken_plainly(interest: Records, bars: Records) -> list[tuple[int, int]]:
    """(time, start) of the snapshots that are taken."""
    out: list[tuple[int, int]] = []
    last: Any = None
    candidates: list[Any] = []
    for row in interest:
        near = [b for b in bars if row["event_time"] <= b["event_time"] <= row["event_time"] + FIVE]
        price = row["usd"] / row["base"]
        if near and not min(b["low"] for b in near) * 0.9 <= price <= max(b["high"] for b in near) * 1.1:
            candidates = []
            continue
        if last is None or follows(last, row, bars):
            start = 0
        else:
            # The newest candidates that the row agrees with: a row of three agrees mutually.
            agreeing: list[Any] = []
            for candidate in reversed(candidates):
                if not follows(candidate, row, bars):
                    break
                agreeing.insert(0, candidate)
            candidates = [*agreeing, row]
            if len(candidates) < 3:
                continue
            start = 1
        last, candidates = row, []
        out.append((int(row["event_time"]), start))
    return out


FAULT = st.tuples(
    st.integers(5, 70), st.integers(1, 5), st.sampled_from([0.01, 0.5, 0.9, 1.05, 1.6, 4.0, 1000.0]), st.booleans()
)


@given(seed=st.integers(0, 2), faults=st.lists(FAULT, max_size=5), gone=st.sets(st.integers(1, 78), max_size=6))
def test_snapshots_are_taken_as_the_law_says(
    seed: int, faults: list[tuple[int, int, float, bool]], gone: set[int]
) -> None:
    bars, interest, _ = (kind[:80].copy() for kind in raw(seed))
    for row, length, factor, worth in faults:
        for name in ("base", "usd") if worth else ("base",):
            interest[name][row : row + length] *= factor
    bars = np.delete(bars, sorted(gone))
    judged = plausible.bars(bars, FIVE)
    found = plausible.interest(interest, judged.taken, judged.busiest, FIVE)
    assert found.taken[["event_time", "start"]].tolist() == taken_plainly(interest, judged.taken)
    assert len(found.taken) + len(found.refused) == len(interest)


@given(
    seed=st.integers(0, 2),
    faults=st.lists(
        st.tuples(
            st.integers(1, 390),
            st.integers(1, 5),
            st.floats(-3, 3),
            st.sampled_from([*PRICES, "all", "volume", "none"]),
        ),
        max_size=4,
    ),
)
def test_candles_are_taken_as_the_law_says(seed: int, faults: list[tuple[int, int, float, str]]) -> None:
    bars = raw(seed)[0][:400].copy()
    for row, length, power, name in faults:
        part = bars[row : row + length]
        for field in PRICES if name == "all" else ["volume" if name == "none" else name]:
            part[field] *= 0.0 if name == "none" else 10.0**power
    taken: list[int] = []
    last: Any = None
    candidates: list[Any] = []
    month: list[Any] = []
    seen, traded = 0, False
    for bar in bars:
        at = int(bar["event_time"])
        follows, seen, traded = at - seen == FIVE and traded, at, bar["volume"] > 0
        before = [b for b in month if at // DAY - 30 <= b["event_time"] // DAY]
        old = at - int(bars[0]["event_time"]) >= DAY

        def fits(close: float, before: list[Any], bar: Any = bar, old: bool = old, follows: bool = follows) -> bool:
            opens = max(bar["open"] / close, close / bar["open"])
            if opens > 1.25:
                return False
            busiest = max((b["volume"] for b in before), default=0.0)
            widest = max((np.log(b["high"] / b["low"]) for b in before), default=0.0)
            if follows and old and busiest and opens > 1.02 and np.log(opens) > 0.5 * widest:
                return False
            if bar["high"] > 9 * close or bar["low"] < close / 9:
                return False
            if not old or not busiest:
                return True
            share = bar["volume"] / busiest
            body = (bar["open"], bar["close"], close)
            wick = max(bar["high"] / max(body), min(body) / bar["low"])
            if wick > 1.03 and share < 0.2 * np.log(wick):
                return False
            return bool(share <= 4 or np.log(bar["high"] / bar["low"]) >= widest * share / 40)

        if last is not None and not fits(last["close"], before):
            agrees = candidates and fits(candidates[-1]["close"], [*before, *candidates])
            candidates = [*candidates, bar] if agrees else [bar]
            if len(candidates) < 3:
                continue
        taken.append(at)
        last, candidates = bar, []
        month.append(bar)
    assert plausible.bars(bars, FIVE).taken["event_time"].tolist() == taken


@pytest.mark.parametrize(
    ("wick", "volume", "taken"),
    [
        # As in the crash of 2025-10-10 and on 2020-02-28 (docs/decisions/145), and where nothing was traded.
        (1 / 6.9, 3.0, True), (1 / 6.9, 0.2, False), (2.1, 0.26, True), (2.1, 0.1, False), (1.2, 0.04, True),
        (1.2, 0.03, False), (1.029, 0.001, True),
        (9.5, 9.0, False), (1 / 9.5, 9.0, False),
    ],
)  # fmt: skip
def test_a_wick_is_taken_where_enough_was_traded(wick: float, volume: float, taken: bool) -> None:
    bars = raw()[0].copy()
    row = 400
    bars["high" if wick > 1 else "low"][row] = bars["open"][row] * wick
    bars["volume"][row] = volume * bars["volume"][:row].max()
    found = plausible.bars(bars, FIVE)
    assert found.refused["event_time"].tolist() == bars["event_time"][[] if taken else [row]].tolist()


@pytest.mark.parametrize(
    ("gap", "missing", "taken"),
    [(1.019, 0, True), (1.021, 0, False), (1 / 1.021, 0, False), (1.24, 1, True), (1.26, 1, False)],
)
def test_an_open_is_near_the_close_before_it_where_no_candle_is_missing(gap: float, missing: int, taken: bool) -> None:
    """The widest candle of this market is far below 4 %: 2 % is the limit."""
    bars = raw()[0].copy()
    row = 400
    for name in PRICES:
        bars[name][row:] *= gap * bars["close"][row - 1 - missing] / bars["open"][row]
    flat = bars[: row + 1].copy()
    bars = np.delete(bars, np.arange(row - missing, row))
    found = plausible.bars(bars[: row - missing + 1], FIVE)
    assert (len(found.refused) == 0) is taken
    for name in PRICES:  # a candle without trades, as some exchanges and freqtrade fill a hole
        flat[name][row - missing : row] = bars["close"][row - missing - 1]
    flat["volume"][row - missing : row] = 0.0
    assert (len(plausible.bars(flat, FIVE).refused) == 0) is taken


def test_a_market_that_moves_may_open_further_off() -> None:
    """Half of the widest candle of its month."""
    bars = raw()[0].copy()
    row = 400
    widest = 0.12
    bars["high"][row - 9] = bars["low"][row - 9] * np.exp(widest)
    bars["volume"][row - 9] *= 5
    for share, taken in ((0.49, True), (0.51, False)):
        moved = bars.copy()
        for name in PRICES:
            moved[name][row:] *= np.exp(share * widest) * bars["close"][row - 1] / bars["open"][row]
        assert (len(plausible.bars(moved[: row + 1], FIVE).refused) == 0) is taken


@pytest.mark.parametrize(
    ("volume", "move", "taken"), [(20.3, 5.0, True), (20.3, 0.2, False), (8.1, 1.3, True), (3.9, 0.001, True)]
)
def test_a_busy_candle_is_taken_where_it_moved(volume: float, move: float, taken: bool) -> None:
    """`move`: its ln(high / low), in the widest of those before; as an hour of STORJ on 2026-05-06, and one that did
    not.
    """
    bars = raw()[0].copy()
    row = 400
    widest = np.log(bars["high"] / bars["low"])[:row].max()
    bars["close"][row] = bars["low"][row] = bars["open"][row]
    bars["high"][row] = bars["open"][row] * np.exp(move * widest)
    bars["volume"][row] = volume * bars["volume"][:row].max()
    found = plausible.bars(bars[: row + 1], FIVE)
    assert (len(found.refused) == 0) is taken


# Cuts.


@given(
    seed=st.integers(0, 2),
    faults=st.lists(FAULT, min_size=1, max_size=4),
    kinds=st.sets(st.sampled_from(["interest", "bars", "funding"]), min_size=1),
    part=st.floats(0.05, 1.0),
)
def test_a_verdict_does_not_depend_on_what_becomes_known_later(
    seed: int, faults: list[tuple[int, int, float, bool]], kinds: set[str], part: float
) -> None:
    """Rows known by T are taken alike whether the rows after T are there or not, and from the memory at T on."""
    bars, interest, funding = (kind[:120].copy() for kind in raw(seed))
    for row, length, factor, worth in faults:
        if "interest" in kinds:
            for name in ("base", "usd") if worth else ("base",):
                interest[name][row : row + length] *= factor
        if "bars" in kinds:
            for name in PRICES if worth else ["volume"]:
                bars[name][row : row + length] *= factor
        if "funding" in kinds:
            funding["rate"][row % len(funding) : row % len(funding) + length] *= 100 * factor
    time = int(bars["event_time"][int(part * 119)])

    def known(kind: Records) -> Records:
        return kind[kind["known_at"] <= time]

    def judged(b: Records, i: Records, f: Records) -> tuple[Records, Records, Records]:
        whole = plausible.bars(b, FIVE)
        return whole.taken, plausible.interest(i, whole.taken, whole.busiest, FIVE).taken, plausible.funding(f).taken

    for one, two in zip(judged(bars, interest, funding), judged(*map(known, (bars, interest, funding))), strict=True):
        assert known(one).tolist() == two.tolist()
    judge_bars: Any = partial(plausible.bars, bar_ns=FIVE)
    for judge, kind in ((judge_bars, bars), (plausible.funding, funding)):
        first, whole = judge(known(kind)), judge(kind)
        rest = judge(kind[len(known(kind)) :], memory=first.memory)
        assert [*first.taken.tolist(), *rest.taken.tolist()] == whole.taken.tolist()


# What columns show.


@given(
    seed=st.integers(0, 2),
    faults=st.lists(FAULT, max_size=3),
    steps=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.booleans()), min_size=1, max_size=6),
)
def test_a_verdict_that_grows_is_the_verdict_on_all_rows(
    seed: int, faults: list[tuple[int, int, float, bool]], steps: list[tuple[int, int, bool]]
) -> None:
    """Rows are added, the last ones not final, sometimes one before is revised or the rows lose their first."""
    rows = raw(seed)[0].copy()
    for row, length, factor, prices in faults:
        for name in PRICES if prices else ["volume"]:
            rows[name][row : row + length] *= factor
    growing, begin, end = plausible.Growing(), 0, 20
    start = plausible.bars(rows[:0], FIVE).memory
    for more, open_rows, revised in steps:
        end += more
        if revised:
            rows = rows.copy()
            rows["volume"][(begin + end) // 2] *= 1e6
            begin += more // 10
        here = rows[begin:end]
        found = growing.judge(here, lambda r, m: plausible.bars(r, FIVE, m), start, final=max(len(here) - open_rows, 0))
        whole = plausible.bars(here, FIVE)
        assert found.taken.tobytes() == whole.taken.tobytes()
        assert found.refused.tobytes() == whole.refused.tobytes()
        assert np.array_equal(found.busiest, whole.busiest)
        assert all(np.array_equal(a, b) for a, b in zip(found.memory, whole.memory, strict=True))


@given(seed=st.integers(0, 1), period=st.sampled_from(["5m", "15m", "1h"]), candles=st.sampled_from(["5m", "15m"]))
def test_nothing_is_refused_of_a_market_that_is_in_order(seed: int, period: str, candles: str) -> None:
    with TemporaryDirectory() as folder:
        datadir = write_datadir(Path(folder), market(seed), period=period)
        if candles != "5m":
            (datadir / "futures" / f"BTC_USDT_USDT-{CANDLES}.feather").unlink()
            write(datadir, f"{candles}-futures", resampled(market(seed).candles, candles))
        tape = read_tape(datadir, PAIR)
        assert tape.refused == ()
        assert tape.open_interest is not None
        assert (tape.open_interest["start"] == 0).all()


@given(row=st.integers(20, ROWS - 20), factor=st.sampled_from([1e-300, 1e-3, 0.01, 0.1, 2.9, 10.0, 1e3, 1e6, 1e300]))
def test_a_wrong_snapshot_is_the_hole_in_its_place(row: int, factor: float) -> None:
    made = market()
    with TemporaryDirectory() as folder:
        lied = replace(made, interest=multiplied(made.interest, slice(row, row + 1), BOTH, factor))
        hole = replace(made, interest=made.interest.drop(index=row))
        found = attach(Path(folder), lied)
        assert_same_bits(found, attach(Path(folder), hole))
    # Known two periods after its instant, which is the close of candle `row`: the flag drops there, and comes back.
    assert found["liq_fresh"].iloc[row + 1 : row + 4].tolist() == [1.0, 0.0, 1.0]
    assert np.isfinite(found["liq_imbalance"].iloc[row + 2])


@given(
    row=st.integers(20, ROWS - 20), what=st.sampled_from([*PRICES, "all"]), power=st.sampled_from([-3, -1, 1, 3, 290])
)
@example(row=20, what="high", power=1)  # the first day, in which volumes are not compared
@example(row=299, what="low", power=-1)  # on a volume that could have moved price so far
def test_a_wrong_candle_is_the_hole_in_its_place(row: int, what: str, power: int) -> None:
    made, factor = market(), 10.0**power
    columns = PRICES if what == "all" else [what]
    lied = multiplied(made.candles, slice(row, row + 1), columns, factor)
    if what != "all":  # the candle stays one: high and low hold the rest
        lied.loc[row, "high"] = lied.loc[row, PRICES].max()
        lied.loc[row, "low"] = lied.loc[row, PRICES].min()
    if what == "close":
        return  # a close alone shows at the next candle's open: test_a_wrong_close_shows_at_the_next_open
    if (what, factor < 1) in (("high", True), ("low", False)):
        return  # a high below the prices, a low above them: the candle is as it was
    with TemporaryDirectory() as folder:
        found = attach(Path(folder), replace(made, candles=lied), made.candles)
        hole = attach(Path(folder), replace(made, candles=made.candles.drop(index=row)), made.candles)
    assert_same_bits(found, hole)
    assert found["liq_fresh"].iloc[row] == 0
    assert np.isnan(found["liq_imbalance"].iloc[row])


def test_a_wrong_close_shows_at_the_next_open(tmp_path: Path) -> None:
    """x 4 is a price that a candle may reach; that none opens there shows it, and the map starts anew."""
    made = market()
    lied = multiplied(made.candles, slice(100, 101), ["high", "close"], 4.0)
    refused = read_tape(write_datadir(tmp_path, replace(made, candles=lied)), PAIR).refused
    assert [r.row for r in refused] == [101, 102]
    assert f"opens at {made.candles['open'].iloc[101]:g}" in refused[0].why


def test_a_volume_of_no_month_is_a_hole(tmp_path: Path) -> None:
    made = market()
    found = attach(tmp_path, replace(made, candles=multiplied(made.candles, slice(400, 401), ["volume"], 1e6)))
    hole = attach(tmp_path, replace(made, candles=made.candles.drop(index=400)), made.candles)
    assert_same_bits(found, hole)


@pytest.mark.parametrize("factor", [1e-3, 0.3, 0.85, 1.15, 4.0, 1e3])
def test_open_interest_whose_worth_is_no_price_is_a_hole(tmp_path: Path, factor: float) -> None:
    made = market()
    for column in BOTH:
        found = attach(tmp_path, replace(made, interest=multiplied(made.interest, slice(90, 91), [column], factor)))
        assert_same_bits(found, attach(tmp_path, replace(made, interest=made.interest.drop(index=90))))


def test_open_interest_of_another_market_is_refused_as_a_file(tmp_path: Path) -> None:
    """Each row by itself would be a hole; that none is right is the file's."""
    other = market().interest
    other = other.assign(open_interest_amount=20 * other["open_interest_amount"])
    with pytest.raises(InputError, match="another market's open interest, or another unit") as caught:
        attach(tmp_path, replace(market(), interest=other))
    assert f"{INTEREST}.feather: open_interest_value / open_interest_amount is 2" in str(caught.value)
    assert "Way out: compare it with the exchange's page" in str(caught.value)


def stepped(made: Market, row: int, factor: float) -> Market:
    """Open interest steps by a factor at `row`, and moves from there on as it would have."""
    interest = made.interest.copy()
    base, price = interest[BOTH[0]], interest[BOTH[1]] / interest[BOTH[0]]
    interest.loc[row:, BOTH[0]] = base[row:] + (factor - 1) * base[row] if factor > 1 else base[row:] * factor
    interest[BOTH[1]] = interest[BOTH[0]] * price
    return replace(made, interest=interest)


@given(row=st.integers(40, ROWS - 40), factor=st.sampled_from([1e-3, 0.02, 5.0, 1e3]))
def test_a_step_that_stays_is_taken_at_its_third_row_and_starts_the_map(row: int, factor: float) -> None:
    made = market()
    with TemporaryDirectory() as folder:
        found = attach(Path(folder), stepped(made, row, factor))
        tape = read_tape(Path(folder) / "binance", PAIR)
    assert [r.row for r in tape.refused] == [row, row + 1]
    assert tape.open_interest is not None
    [start] = np.flatnonzero(tape.open_interest["start"])
    # The third row is known two candles after its own, row + 2.
    assert tape.open_interest["event_time"][start] == START + (row + 3) * FIVE
    assert found["liq_fresh"].iloc[row + 1 : row + 5].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert found["liq_remainder_long"].iloc[row + 4] == 1.0
    assert found["liq_short_usd_10pct"].iloc[row + 4] == 0.0
    assert np.isnan(found["liq_oi_change_1h"].iloc[row + 4 : row + 14]).all()
    assert found["liq_oi_change_1h"].iloc[row + 18 : row + 25].abs().max() < 0.5
    assert_same_bits(found, clean(), slice(row + 2))


def test_open_interest_in_another_unit_never_agrees_with_its_volume(tmp_path: Path) -> None:
    """A thousand times the contracts, and the coins' volume: what was not traded stays a hole, row after row."""
    made = market()
    tape = read_tape(
        write_datadir(tmp_path, replace(made, interest=multiplied(made.interest, slice(200, None), BOTH, 1e3))), PAIR
    )
    assert tape.open_interest is not None
    assert (tape.open_interest["base"] > 1e6).mean() < 0.5
    assert len(tape.refused) > 100


def test_three_lies_that_do_not_agree_are_three_holes(tmp_path: Path) -> None:
    made = market()
    interest = made.interest
    for row, factor in ((100, 10.0), (101, 0.1), (102, 50.0)):
        interest = multiplied(interest, slice(row, row + 1), BOTH, factor)
    found = attach(tmp_path, replace(made, interest=interest))
    assert_same_bits(found, attach(tmp_path, replace(made, interest=made.interest.drop(index=[100, 101, 102]))))


def test_a_redenomination_starts_the_map_at_the_new_prices(tmp_path: Path) -> None:
    """Prices by a thousandth, contracts by a thousand: from some candles on the map is one of the new coin's."""
    made, row = market(), 200
    candles = multiplied(multiplied(made.candles, slice(row, None), PRICES, 1e-3), slice(row, None), ["volume"], 1e3)
    interest = multiplied(made.interest, slice(row, None), BOTH[:1], 1e3)
    found = attach(tmp_path, replace(made, candles=candles, interest=interest))
    assert_same_bits(found, clean(), slice(row))
    assert (found["liq_fresh"].iloc[row : row + 3] == 0).all()
    assert found["liq_fresh"].iloc[row + 8 :].eq(1).all()
    # Levels lie around the new prices, and hold about what they held at the old ones.
    later = slice(row + 150, None)
    assert (found["liq_above_price"].iloc[later].dropna() < 100).all()
    ratio = found["liq_remainder_long"].iloc[-1]
    assert 0 < ratio < 1


@given(row=st.integers(30, 90), factor=st.sampled_from([-1e6, -1e3, 300.0, 1e3, 1e4]))
def test_a_funding_rate_of_no_market_is_no_record(row: int, factor: float) -> None:
    """Beyond every venue's cap, or 100 times what a month settled: 1,000 times a rate of 0.005 % is the former."""
    made = market()
    settled = made.funding
    rate = settled["funding_rate"].to_numpy()
    largest = max(1e-4, np.abs(rate[:row]).max() * 8 / 4)
    wrong = bool(abs(rate[row] * factor) > min(0.05, 100 * largest))
    with TemporaryDirectory() as folder:
        datadir = write_datadir(
            Path(folder), replace(made, funding=multiplied(settled, slice(row, row + 1), ["funding_rate"], factor))
        )
        tape = read_tape(datadir, PAIR)
        assert [(r.row, r.at) for r in tape.refused] == [(row, int(ns(settled["date"])[row]))] * wrong
        write_datadir(Path(folder), made)
        whole = read_tape(datadir, PAIR).funding["binance"]
    if wrong:
        kept = whole[whole["event_time"] != tape.refused[0].at]
        assert tape.funding["binance"].tolist() == kept.tolist()


def test_a_file_of_percentages_is_refused(tmp_path: Path) -> None:
    made = market()
    funding = made.funding.assign(funding_rate=0.3)
    with pytest.raises(InputError, match=r"row 0 .* has a funding rate of 0\.3, and most rows are like it"):
        attach(tmp_path, replace(made, funding=funding))


def test_volume_in_another_unit_is_refused(tmp_path: Path) -> None:
    """In dollars it is so many times open interest a day as no market trades; that rows agree is no proof."""
    made = market()
    dollars = made.candles.assign(volume=made.candles["volume"] * 50_000)
    with pytest.raises(
        InputError, match=r"5m-futures\.feather: BTC/USDT:USDT trades [0-9,]+ times its open interest a day"
    ):
        attach(tmp_path, replace(made, candles=dollars))


def test_a_week_of_volume_in_another_unit_is_refused() -> None:
    """A file that freqtrade went on with after another vendor's history."""
    at = np.arange(60 * 24, dtype=np.int64) * HOUR + parse_time("2026-01-01T00:00:00Z")
    volume = np.full(len(at), 10.0)
    interest = records.records(
        records.OPEN_INTEREST, at, at, base=np.full(len(at), 100.0), start=np.zeros(len(at), np.int64)
    )
    assert plausible.turnover(bars_of(at, volume), interest) == pytest.approx(2.4)
    for first in (0, 20, 46):
        part = volume.copy()
        part[first * 24 : (first + 14) * 24] *= 50_000
        assert plausible.turnover(bars_of(at, part), interest) > plausible.TURNOVER


def bars_of(at: Int64Array, volume: np.ndarray) -> np.ndarray:
    return records.records(records.BAR, at, at, open=1.0, high=1.0, low=1.0, close=1.0, volume=volume)


@pytest.mark.parametrize("days", [(0, 34), (60, 80), (30, 45)])
def test_some_weeks_of_rates_in_percent_are_said(days: tuple[int, int]) -> None:
    at = np.arange(80 * 3, dtype=np.int64) * 8 * HOUR + parse_time("2026-01-01T00:00:00Z")
    rate = np.full(len(at), 1e-4)
    assert plausible.in_percent(records.records(records.FUNDING, at, at, rate=rate, interval_h=8.0)) is None
    rate[days[0] * 3 : days[1] * 3] *= 100
    assert plausible.in_percent(records.records(records.FUNDING, at, at, rate=rate, interval_h=8.0)) is not None


@pytest.mark.parametrize(("rate", "days", "said"), [(1e-2, 25, True), (5e-4, 25, False), (1e-2, 9, False)])
def test_rates_in_percent_are_said_and_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rate: float, days: int, said: bool
) -> None:
    made = market()
    end = int(ns(made.candles["date"])[-1])
    dates = np.arange(end // DAY * DAY - days * DAY, end, 8 * HOUR)
    funding = pd.DataFrame({"date": to_dates(dates), "funding_rate": rate})
    with caplog.at_level(logging.WARNING, "liqsignals"):
        found = attach(tmp_path, replace(made, funding=funding))
    words = "are above 1.00% per 8 h"
    assert any(words in m for m in caplog.messages) is said
    report = examine.examine(tmp_path / "binance", now=end)
    assert any(words in p for p in report["problems"]) is said
    assert found["fund_rate_8h"].iloc[-1] == pytest.approx(rate)


# Live.


@settings(max_examples=60)
@given(
    split=st.integers(150, 400),
    off=st.one_of(st.integers(-4, 0), st.integers(-4, 0), st.integers(1, 60)),
    length=st.integers(1, 6),
    kind=st.sampled_from(["interest", "candle", "funding"]),
    factor=st.sampled_from([0.01, 30.0, 1e4]),
    lag=st.integers(0, 3),
)
def test_a_bot_reads_a_lie_as_a_backtest_does(
    split: int, off: int, length: int, kind: str, factor: float, lag: int
) -> None:
    """Whatever of it stands on disk already, and whether the disk's candles are as new as its open interest."""
    made, rows = market(), slice(split + off, split + off + length)
    if kind == "interest":
        made = replace(made, interest=multiplied(made.interest, rows, BOTH, factor))
    if kind == "candle":
        made = replace(made, candles=multiplied(made.candles, rows, PRICES, factor))
    if kind == "funding":
        at = int(np.searchsorted(ns(made.funding["date"]), START + (split + off) * FIVE))
        made = replace(made, funding=multiplied(made.funding, slice(at, at + length), ["funding_rate"], 100 * factor))
    with TemporaryDirectory() as folder:
        whole = attach(Path(folder) / "whole", made)
        disk = made.upto(made.candles["date"].iloc[split])
        bot = Signals(write_datadir(Path(folder), replace(disk, candles=disk.candles[: len(disk.candles) - lag])))
        for end in (split + 30, split + 31, split + 70, split + 90):
            seen = made.upto(made.candles["date"].iloc[min(end, ROWS - 1)])
            frames = {
                ("5m", "futures"): seen.candles[100:],
                ("5m", "open_interest"): seen.interest[100:],
                ("1h", "funding_rate"): seen.funding,
            }
            found = bot.attach(seen.candles[-20:].reset_index(drop=True), PAIR, "5m", dp=FakeProvider(frames))
            # Live, a candle that is missing blocks entries until the disk has it.
            names = [n for n in NAMES if n != "liq_fresh" or kind != "candle"]
            assert_same_bits(
                found, whole.iloc[len(seen.candles) - 20 : len(seen.candles)].reset_index(drop=True), names=names
            )
            if kind == "candle":
                flag = whole["liq_fresh"].iloc[len(seen.candles) - 20 : len(seen.candles)].to_numpy()
                assert (found["liq_fresh"].to_numpy() <= flag).all()


def test_a_broken_live_row_costs_no_other_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made, split = market(), 400
    bot = Signals(write_datadir(tmp_path, made.upto(made.candles["date"].iloc[split])))
    interest = made.interest.copy()
    interest.loc[split + 20, BOTH[0]] = -1.0
    candles = made.candles.copy()
    candles.loc[300, "close"] = np.nan  # the disk has the true one
    frames = {("5m", "futures"): candles[200:], ("5m", "open_interest"): interest[200:]}
    with caplog.at_level(logging.ERROR, "liqsignals"):
        found = bot.attach(made.candles[-50:].reset_index(drop=True), PAIR, "5m", dp=FakeProvider(frames))
    hole = attach(tmp_path / "hole", replace(made, interest=made.interest.drop(index=split + 20)))
    names = [n for n in NAMES if n.startswith("liq_")]
    assert_same_bits(found, hole[-50:].reset_index(drop=True), names=names)
    said = [r.getMessage() for r in caplog.records]
    assert any("has open interest -1" in m and "1 rows are not used" in m for m in said)
    assert any("close nan" in m and "1 rows are not used" in m for m in said)


# Named.


def test_refused_rows_are_named_once_and_by_the_doctor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = market()
    for row in (100, 180):
        made = replace(made, interest=multiplied(made.interest, slice(row, row + 1), BOTH, 0.01))
    made = replace(made, candles=multiplied(made.candles, slice(50, 51), PRICES, 30.0))
    made = replace(made, funding=multiplied(made.funding, slice(40, 41), ["funding_rate"], 1e4))
    datadir = write_datadir(tmp_path, made, flows=False)
    with caplog.at_level(logging.WARNING, "liqsignals"):
        signals = Signals(datadir)
        for _ in range(2):
            signals.attach(made.candles, PAIR, "5m")
    said = [r.getMessage() for r in caplog.records if "what no market does" in r.getMessage()]
    assert len(said) == 3
    at = iso(ns(made.interest["date"])[100])
    assert any(
        f"{INTEREST}.feather: 2 rows are what no market does, read as holes; the first: row 100 ({at})" in m
        for m in said
    )
    report = examine.examine(datadir, now=int(ns(made.candles["date"])[-1]) + FIVE)
    rows = [(Path(r["file"]).name, r["row"]) for r in report["refused"]]
    name = "BTC_USDT_USDT-{}.feather".format
    assert rows == [(name(CANDLES), 50), (name(INTEREST), 100), (name(INTEREST), 180), (name(FUNDING), 40)]
    for file, row in rows:
        assert any(f"{file}: row {row} (" in p for p in report["problems"])
    assert not report["healthy"]


def test_the_doctor_names_a_step_and_counts_what_it_does_not_list(tmp_path: Path) -> None:
    made = market()
    interest = stepped(made, 300, 30.0).interest.copy()
    interest.loc[100:150, BOTH[0]] *= 2.0
    datadir = write_datadir(tmp_path, replace(made, interest=interest), flows=False)
    now = int(ns(made.candles["date"])[-1]) + FIVE
    report = examine.examine(datadir, now=now)
    assert len(report["refused"]) == 51 + 2
    assert any("33 more rows are read as holes" in p for p in report["problems"])
    assert any("open interest stays at x" in p and "the map starts anew there" in p for p in report["problems"])
    later = examine.examine(datadir, now=now, since=START + 400 * FIVE)
    assert len(later["refused"]) == 53
    assert not any("read as a hole" in p or "stays at" in p for p in later["problems"])


def test_the_command_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = market()
    made = replace(made, interest=multiplied(made.interest, slice(100, 101), BOTH, 0.01))
    with caplog.at_level(logging.WARNING, "liqsignals"):
        checked_tape(write_datadir(tmp_path, made), PAIR, None, None)
    assert [m for m in caplog.messages if "1 row is what no market does" in m]


# Intervals of funding.


def intervals(hours: list[float]) -> list[float]:
    return venues.funding_intervals(np.array([0.0, *hours])).tolist()[1:]


@pytest.mark.parametrize(
    ("hours", "covered"),
    [
        ([4, 4, 8, 4, 4], [4, 4, None, 4, 4]),
        ([8, 16, 8, 24, 8], [8, 8, 8, 8, 8]),
        ([8, 4, 4, 1, 1, 1], [8, 4, 4, 1, 1, 1]),
        ([1, 1, 4, 4, 8, 8, 8], [1, 1, None, 4, None, 8, 8]),
        ([4, 12, 4], [4, None, 4]),
        ([1, 2, 1, 3, 1, 8, 1], [1, None, 1, None, 1, None, 1]),
        ([12, 6, 6], [None, 6, 6]),
        ([2, 4, 6, 2], [2, None, None, 2]),
    ],
)
def test_what_a_settlement_covers(hours: list[float], covered: list[float | None]) -> None:
    found = [None if np.isnan(h) else h for h in intervals(hours)]
    assert found == covered


@given(
    hours=st.lists(st.sampled_from([1, 2, 4, 6, 8]), min_size=2, max_size=4, unique=True),
    runs=st.integers(3, 8),
    gone=st.integers(3, 10_000),
)
def test_a_missing_settlement_is_never_a_longer_interval(hours: list[int], runs: int, gone: int) -> None:
    """Of runs of intervals, one row missing: no row is said to cover more than it does, but where two runs meet."""
    distances = [h for h in hours for _ in range(runs)]
    at = np.cumsum([0, *distances])
    row = 3 + gone % (len(distances) - 4)
    kept = np.delete(at, row)
    truth = dict(zip(at[1:].tolist(), distances, strict=True))
    found = intervals(np.diff(kept).tolist())
    edges = {sum(hours[: k + 1]) * runs for k in range(len(hours))}
    near = any(abs(int(at[row]) - edge) <= 2 * max(hours) for edge in edges)
    for t, covers in zip(kept[1:].tolist(), found, strict=True):
        if not near:
            assert np.isnan(covers) or covers == truth[t]
    # And no more than one row after it is left out.
    after = [c for t, c in zip(kept[1:].tolist(), found, strict=True) if t > at[row]]
    if not near and len(hours) == 1:
        assert np.isnan(after).sum() <= 1


@given(hours=st.lists(st.sampled_from([0.0, 1, 2, 3, 4, 6, 7, 8, 12, 16, 24]), max_size=40), cut=st.integers(0, 40))
def test_an_interval_does_not_depend_on_later_settlements(hours: list[float], cut: int) -> None:
    np.testing.assert_array_equal(intervals(hours)[:cut], intervals(hours[:cut]))


@pytest.mark.parametrize("interval", [1, 2, 4, 6, 8])
def test_one_missing_settlement_on_disk(tmp_path: Path, interval: int) -> None:
    """The rate per 8 h is right wherever there is one; the flag drops; the doctor names the hole."""
    made = make_market(3, 5, funding_h=interval)
    settled = made.funding.assign(funding_rate=1e-4 * interval / 8)
    due = START + DAY + 16 * HOUR
    row = int(np.flatnonzero(ns(settled["date"]) >= due)[0])
    due = int(ns(settled["date"])[row])
    datadir = write_datadir(tmp_path, replace(made, funding=settled.drop(index=row)), flows=False)
    found = Signals(datadir).attach(made.candles, PAIR, "5m")
    assert set(found["fund_rate_8h"].dropna()) == {1e-4}
    at = ns(made.candles["date"]) + FIVE
    gone = (at > due + 2 * MINUTE) & (at < due + interval * HOUR)
    assert (found["fund_fresh"][gone] == 0).all()
    assert gone.any()
    report = examine.examine(datadir, now=int(at[-1]))
    holes = [h for h in report["holes"] if h["series"].endswith("funding_rate")]
    assert [(h["from"], h["missing"]) for h in holes] == [(iso(due), 1)]


@pytest.mark.parametrize("gone", [(24, 26), (25, 27), (9, 11, 13)])
def test_settlements_missing_one_apart_are_no_longer_interval(tmp_path: Path, gone: tuple[int, ...]) -> None:
    """Venues settle 8 h at 00:00, 08:00 and 16:00: 12:00 and 20:00 are none of these."""
    made = make_market(6, 5, funding_h=4)
    settled = made.funding.assign(funding_rate=5e-5)
    hour = settled["date"].dt.hour
    first = int(np.flatnonzero(hour == 8)[2])
    rows = [first + n - gone[0] for n in gone]  # those that are left between stand at 12:00, 20:00, ...
    datadir = write_datadir(tmp_path, replace(made, funding=settled.drop(index=rows)), flows=False)
    found = Signals(datadir).attach(made.candles, PAIR, "5m")
    assert set(found["fund_rate_8h"].dropna()) == {1e-4}


def test_a_change_to_a_longer_interval_is_no_hole_for_the_doctor(tmp_path: Path) -> None:
    made = make_market(2, 5)
    dates = np.r_[np.arange(START - 5 * DAY, START, 4 * HOUR), np.arange(START, START + 2 * DAY + 1, 8 * HOUR)]
    funding = pd.DataFrame({"date": to_dates(dates), "funding_rate": 1e-4})
    datadir = write_datadir(tmp_path, replace(made, funding=funding), flows=False)
    report = examine.examine(datadir, now=START + 2 * DAY)
    assert [h for h in report["holes"] if "funding" in h["series"]] == []
    kinds = read_tape(datadir, PAIR).funding["binance"]
    assert set(kinds["interval_h"][kinds["event_time"] > START + 8 * HOUR]) == {8.0}
    assert START + 8 * HOUR not in kinds["event_time"].tolist(), "one row that may be either is left out"


# Real data.


@needs_real_data
@pytest.mark.parametrize(
    ("folder", "pair"),
    [
        ("binance", PAIR),
        ("binance", "ETH/USDT:USDT"),
        ("alts/binance", "SOL/USDT:USDT"),
        ("alts/binance", "DOGE/USDT:USDT"),
        ("binance-2024", PAIR),
    ],
)
def test_no_real_row_is_refused(folder: str, pair: str) -> None:
    if not (REAL / folder / "futures").is_dir():
        pytest.skip(f"no {folder} in {REAL}")
    tape = read_tape(REAL / folder, pair)
    assert tape.refused == ()
    assert tape.open_interest is not None
    assert (tape.open_interest["start"] == 0).all()
    assert len(tape.open_interest) > 1_000
    assert tape.open_interest.dtype == records.OPEN_INTEREST

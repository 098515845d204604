"""What becomes known after T changes no bit at or before T; a leak of one candle is caught by the same check."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from conftest import (
    FIVE,
    NARROW,
    PAIR,
    Market,
    as_tape,
    assert_same_bits,
    decisions,
    make_market,
    thinned,
    write_datadir,
)
from contract import CUT, VALUES, perturbed
from hypothesis import given
from hypothesis import strategies as st

from liqsignals import features
from liqsignals.clock import HOUR, duration_ns
from liqsignals.data.tape import Tape
from liqsignals.records import Records
from liqsignals.strategy.signals import Signals

Columns = dict[str, np.ndarray]
Compute = Callable[[Tape, np.ndarray, np.ndarray, int], Columns]


def compute(tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int) -> Columns:
    return features.compute(tape, at, closes, timeframe_ns, NARROW)


@cache
def market(seed: int) -> Market:
    return make_market(2.5, seed, volatility=0.003, funding_h=4)


def check_causal(
    function: Compute, tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int, time: int, how: str, seed: int
) -> None:
    """Check one function: rows up to `time` keep every bit in all columns."""
    upto = int(np.searchsorted(at, time, side="right"))
    other_closes = closes.copy()
    other_closes[upto:] *= np.exp(np.random.default_rng(seed).normal(0, 0.05, len(at) - upto))
    full = function(tape, at, closes, timeframe_ns)
    other = function(perturbed(tape, time, how, seed), at, other_closes, timeframe_ns)
    assert_same_bits(full, other, slice(upto))
    prefix = function(tape, at[:upto], closes[:upto], timeframe_ns)
    assert_same_bits(full, prefix, slice(upto))


def known_one_bar_early(kind: Records) -> Records:
    early = kind.copy()
    early["known_at"] = np.maximum(early["known_at"] - FIVE, early["event_time"])
    return early


def leak_open_interest(tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int) -> Columns:
    return compute(replace(tape, open_interest=known_one_bar_early(tape.open_interest)), at, closes, timeframe_ns)


def leak_funding(tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int) -> Columns:
    early = {venue: kind.copy() for venue, kind in tape.funding.items()}
    for kind in early.values():
        kind["known_at"] -= FIVE
    return compute(replace(tape, funding=early), at, closes, timeframe_ns)


def leak_flow(tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int) -> Columns:
    early = tape.flow.copy()
    early["known_at"] -= FIVE
    return compute(replace(tape, flow=early), at, closes, timeframe_ns)


def leak_next_row(tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int) -> Columns:
    """One column reads row + 1: the leak that `lookahead-analysis` cannot see."""
    out = compute(tape, at, closes, timeframe_ns)
    out["liq_imbalance"] = np.append(out["liq_imbalance"][1:], np.nan)
    return out


def leak_past_the_cut(tape: Tape, at: np.ndarray, closes: np.ndarray, timeframe_ns: int) -> Columns:
    """A feature that looks at the uncut tape: shortening the dataframe would not shorten its data (law 3)."""
    out = compute(tape, at, closes, timeframe_ns)
    out["flow_netflow_pct"] = np.full(len(at), tape.flow["inflow"].mean())
    return out


@pytest.mark.parametrize(
    ("leak", "offsets"),
    [
        (leak_open_interest, range(0, 3)),
        (leak_funding, [0]),
        (leak_flow, [4 * 12 - 1]),
        (leak_next_row, range(0, 3)),
        (leak_past_the_cut, [0]),
    ],
)
def test_a_planted_leak_of_one_candle_is_caught(leak: Compute, offsets: range) -> None:
    """T is a candle before a record becomes known by the rule: funding at 00:01, flows at 04:00."""
    tape = as_tape(market(0))
    at, closes = decisions(market(0).candles)
    midnight = int(np.flatnonzero(at == at[-1] // (24 * HOUR) * 24 * HOUR)[0])
    for offset in offsets:
        check_causal(compute, tape, at, closes, FIVE, int(at[midnight + offset]), VALUES, 1)
        with pytest.raises(AssertionError, match="differ"):
            check_causal(leak, tape, at, closes, FIVE, int(at[midnight + offset]), VALUES, 1)


def perturbed_market(made: Market, time: pd.Timestamp, how: str, seed: int) -> Market:
    """Frames whose rows that no bot could know at `time` are gone, or of another market."""
    if how == CUT:
        cut = made.upto(time)
        day = pd.to_datetime(made.flows["time"], utc=True)
        return replace(cut, flows=made.flows[day + pd.Timedelta("28h") <= time])
    other = make_market(2.5, seed + 50, volatility=0.02, price=20_000, funding_h=4)
    keep = made.candles["date"] + pd.Timedelta("5min") <= time
    candles = pd.concat([made.candles[keep], other.candles[~keep.to_numpy()]])
    known = made.interest["date"] <= time
    interest = pd.concat([made.interest[known], other.interest[~known.to_numpy()]])
    settled = made.funding["date"] <= time
    funding = pd.concat([made.funding[settled], made.funding[~settled].assign(funding_rate=0.01)])
    flows = made.flows.copy()
    late = (pd.to_datetime(flows["time"], utc=True) + pd.Timedelta("28h") > time).to_numpy()
    flows.loc[late, "FlowInExNtv"] *= 3.0
    return Market(candles, interest, funding, flows)


@given(
    seed=st.integers(0, 2),
    part=st.floats(0.6, 0.99),
    how=st.sampled_from([CUT, VALUES]),
    flip=st.sampled_from([None, pd.Timestamp("2020-01-01", tz="UTC")]),
    period=st.sampled_from(["5m", "15m"]),
    noise=st.integers(0, 1000),
)
def test_rows_of_the_files_after_a_time_change_no_bit_before_it(
    seed: int, part: float, how: str, flip: pd.Timestamp | None, period: str, noise: int
) -> None:
    """T lies behind a first block of labels that decides (a day of 5m rows, 29 h of 15m rows)."""
    made = market(seed)
    row = int(part * (len(made.candles) - 1))
    time = made.candles["date"].iloc[row] + pd.Timedelta("5min")
    with TemporaryDirectory() as folder:
        datadir = write_datadir(Path(folder), made, flip=flip, period=period)
        full = Signals(datadir).attach(made.candles, PAIR, "5m")
        other_market = perturbed_market(made, time, how, noise)
        write_datadir(Path(folder), other_market, flip=flip, period=period)
        other = Signals(datadir).attach(other_market.candles, PAIR, "5m")
        assert_same_bits(full, other, slice(row + 1))
        assert_same_bits(full, Signals(datadir).attach(made.candles[: row + 1], PAIR, "5m"), slice(row + 1))
    assert np.isfinite(full["liq_imbalance"].to_numpy()[row])


@given(seed=st.integers(0, 2), part=st.floats(0.1, 0.9))
def test_open_interest_is_first_read_two_periods_after_its_snapshot(seed: int, part: float) -> None:
    """One snapshot changed: the rows before snapshot + 2 periods keep their bits, the row at it does not."""
    for period in ("5m", "1h"):
        tape = as_tape(market(seed), period)
        at, closes = decisions(market(seed).candles)
        row = int(part * (len(thinned(market(seed).interest, period)) - 3))
        interest = tape.open_interest.copy()
        interest["base"][row] *= 1.01
        full = compute(tape, at, closes, FIVE)
        other = compute(replace(tape, open_interest=interest), at, closes, FIVE)
        first = int(np.searchsorted(at, interest["event_time"][row] + 2 * duration_ns(period)))
        assert_same_bits(full, other, slice(first))
        # Which column shows it depends on what the snapshot opened or closed.
        names = (
            "liq_remainder_long",
            "liq_remainder_short",
            "liq_long_usd_10pct",
            "liq_short_usd_10pct",
            "liq_oi_change_1h",
        )
        assert any(full[name][first] != other[name][first] for name in names)


def test_a_funding_record_of_an_early_time_that_comes_late_changes_nothing_before_it_is_known() -> None:
    tape = as_tape(market(1))
    at, closes = decisions(market(1).candles)
    time = int(at[300])
    late = tape.funding["binance"][20:21].copy()
    late["known_at"] = time + FIVE
    late["rate"] = 0.01
    funding = np.concatenate([tape.funding["binance"], late])
    funding = funding[np.lexsort((funding["event_time"], funding["known_at"]))]
    full = compute(tape, at, closes, FIVE)
    other = compute(replace(tape, funding={"binance": funding}), at, closes, FIVE)
    assert_same_bits(full, other, slice(301))

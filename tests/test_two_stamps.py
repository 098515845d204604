"""Two stamps and one clock: what is visible at a candle, against brute force; conversions; the rule of each kind."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from conftest import FIVE, PAIR, START, as_tape, assert_same_bits, decisions, make_market, ns, write_datadir
from hypothesis import given
from hypothesis import strategies as st

from liqsignals import clock, features, records, venues
from liqsignals.clock import DAY, HOUR, MINUTE
from liqsignals.data import freqtrade
from liqsignals.data.search import count_before, count_until
from liqsignals.data.tape import Tape, append, asof, read_tape
from liqsignals.errors import InputError
from liqsignals.features import flows, funding

STAMPS = [(e, k) for e in range(4) for k in range(4) if k >= e]


def newest(kind: np.ndarray, at: int) -> int:
    """Brute force: the row with the latest (known_at, event_time) among those known at `at`; -1 where none is."""
    best = -1
    for row, record in enumerate(kind):
        if record["known_at"] <= at and (best < 0 or record.tolist()[1::-1] >= kind[best].tolist()[1::-1]):
            best = row
    return best


@given(
    times=st.lists(st.integers(0, 40), max_size=90),
    at=st.lists(st.integers(-2, 42), min_size=1, max_size=120),
    ascending=st.booleans(),
    stretched=st.sampled_from([1, 10**12]),
)
def test_searches_count_as_numpy_does(times: list[int], at: list[int], ascending: bool, stretched: int) -> None:
    known, asked = np.sort(np.array(times, np.int64)) * stretched, np.array(at, np.int64) * stretched
    if ascending:
        asked = np.sort(asked)
    assert np.array_equal(count_until(known, asked), np.searchsorted(known, asked, side="right"))
    assert np.array_equal(count_before(known, asked), np.searchsorted(known, asked))


def test_every_interleaving_of_two_records_and_a_candle() -> None:
    for (e1, k1), (e2, k2) in product(STAMPS, STAMPS):
        kind = records.records(records.OPEN_INTEREST, np.array([e1, e2]), np.array([k1, k2]), base=[1.0, 2.0])
        assert kind["known_at"].tolist() == sorted([k1, k2])
        tape = Tape(PAIR, FIVE, FIVE, open_interest=kind, funding={"binance": kind}, flow=kind)
        for close in range(-1, 5):
            assert asof(kind, np.array([close]))[0] == newest(kind, close)
            view = tape.cut(close)
            for part in (view.open_interest, view.flow, view.funding["binance"]):
                assert part is not None
                assert part.tolist() == [r for r in kind.tolist() if r[1] <= close]


def test_every_interleaving_through_the_columns() -> None:
    """Funding and flows of two records: each row shows the record that brute force finds."""
    steps = np.arange(-1, 5) * HOUR
    for (e1, k1), (e2, k2) in product(STAMPS, STAMPS):
        stamps = np.array([e1, e2]) * HOUR, np.array([k1, k2]) * HOUR
        paid = records.records(records.FUNDING, *stamps, rate=[1e-4, 2e-4], interval_h=8.0)
        moved = records.records(records.FLOW, *stamps, inflow=[1.0, 2.0], outflow=0.0, supply=100.0)
        tape = Tape(PAIR, FIVE, FIVE, funding={"binance": paid}, flow=moved)
        out = features.compute(tape, steps, np.ones(6), HOUR)
        for row, at in enumerate(steps):
            seen = newest(paid, at)
            assert out["fund_fresh"][row] == out["flow_fresh"][row] == (seen >= 0)
            if seen >= 0:
                assert out["fund_rate_8h"][row] == paid["rate"][seen]
                assert out["flow_netflow_pct"][row] == moved["inflow"][seen] / 100.0
                assert out["flow_age_h"][row] == (at - moved["event_time"][seen]) / HOUR


def test_a_record_known_before_it_happened_is_refused() -> None:
    with pytest.raises(InputError, match="record 1 is known before it happened"):
        records.records(records.FLOW, np.array([1, 5]), np.array([1, 4]), inflow=1.0, outflow=1.0, supply=1.0)


def test_ties_are_ordered_by_event_time() -> None:
    kind = records.records(
        records.FUNDING, np.array([3, 1, 2]), np.array([9, 9, 4]), rate=[3.0, 1.0, 2.0], interval_h=8
    )
    assert kind["rate"].tolist() == [2.0, 1.0, 3.0]


def test_when_each_kind_is_known(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = make_market(2.0, 3)
    for period, flip in product(("5m", "1h"), (None, pd.Timestamp("2020-01-01", tz="UTC"))):
        long = make_market(8.0, 3) if period == "1h" else made
        tape = read_tape(write_datadir(tmp_path, long, period=period, flip=flip), PAIR)
        wanted = as_tape(long, period)
        assert (tape.bars["event_time"] == ns(long.candles["date"]) + FIVE).all()
        assert (tape.bars["known_at"] == tape.bars["event_time"]).all()
        length = clock.duration_ns(period)
        assert (tape.open_interest["known_at"] - tape.open_interest["event_time"] == 2 * length).all()
        assert tape.period_ns == length
        for name in ("bars", "open_interest", "flow"):
            assert getattr(tape, name).tolist() == getattr(wanted, name).tolist(), (name, period, flip)
        assert tape.funding["binance"].tolist() == wanted.funding["binance"].tolist()
        (tmp_path / "binance" / "futures" / f"BTC_USDT_USDT-{period}-open_interest.feather").unlink()
    paid, moved = tape.funding["binance"], tape.flow
    assert (paid["known_at"] - paid["event_time"] == MINUTE).all()
    assert moved is not None
    assert (moved["known_at"] % DAY == 4 * HOUR).all()
    assert (moved["known_at"] - moved["event_time"] == 4 * HOUR).all()


def test_files_and_records_give_the_same_columns(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = make_market(2.0, 9)
    at, closes = decisions(made.candles)
    from_files = features.compute(read_tape(write_datadir(tmp_path, made), PAIR), at, closes, FIVE)
    assert_same_bits(from_files, features.compute(as_tape(made), at, closes, FIVE))


def test_maximum_ages() -> None:
    assert records.open_interest_max_age(FIVE) == 3 * HOUR
    assert records.open_interest_max_age(HOUR) == 4 * HOUR
    assert records.open_interest_lag(HOUR) == 2 * HOUR
    assert records.FLOW_MAX_AGE == 52 * HOUR
    assert funding.MAX_INTERVALS == 2
    assert flows.WINDOW == 90 * DAY


def test_history_wins_where_disk_and_live_have_an_instant() -> None:
    def kind(events: list[int], base: float) -> np.ndarray:
        return records.records(records.OPEN_INTEREST, np.array(events), np.array(events) + 2, base=base)

    both = append(kind([1, 2, 3], 1.0), kind([2, 3, 4, 5], 2.0))
    assert both is not None
    assert both["event_time"].tolist() == [1, 2, 3, 4, 5]
    assert both["base"].tolist() == [1.0, 1.0, 1.0, 2.0, 2.0]
    assert append(None, None) is None
    assert append(kind([], 1.0), kind([4], 2.0))["event_time"].tolist() == [4]  # type: ignore[index]
    assert append(kind([4], 2.0), None)["event_time"].tolist() == [4]  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "minutes"), [("1m", 1), ("5m", 5), ("90m", 90), ("1h", 60), ("6h", 360), ("1d", 1440), ("1w", 10080)]
)
def test_durations(text: str, minutes: int) -> None:
    assert clock.duration_ns(text) == minutes * MINUTE


@pytest.mark.parametrize("text", ["", "5", "m", "0m", "-5m", "5s", "1.5h", "5m ", "05m", "5M"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InputError, match="is not a duration; write it as 5m"):
        clock.duration_ns(text)


def test_decision_time_is_open_plus_timeframe() -> None:
    assert clock.decision_time(np.array([START]), HOUR).tolist() == [START + HOUR]
    frame = pd.DataFrame({"date": clock.to_dates(np.array([START])), "close": [1.0]})
    assert freqtrade.decisions(frame, "15m", "frame")[0].tolist() == [START + 15 * MINUTE]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "+05:30"])
def test_dates_of_any_unit_and_zone_are_the_same_instants(unit: str, zone: str) -> None:
    dates = pd.Series(clock.to_dates(START + FIVE * np.arange(3)).tz_convert(zone).as_unit(unit))
    assert clock.dates_ns(dates, "frame").tolist() == (START + FIVE * np.arange(3)).tolist()


def test_dates_go_round_in_milliseconds() -> None:
    dates = clock.to_dates(np.array([START, START + FIVE]))
    assert str(dates.dtype) == "datetime64[ms, UTC]"
    assert clock.dates_ns(dates.to_series(), "x").tolist() == [START, START + FIVE]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pd.Series(pd.date_range("2026-01-01", periods=2)), r"X: column 'date' is naive .*tz_localize\('UTC'\)"),
        (pd.Series([1, 2]), "X: column 'date' is of type int64, not a time; it must be tz-aware UTC"),
        (
            pd.Series(["2026-01-01", "2026-01-02"], dtype=object),
            "X: column 'date' is of type object, not a time; it must be tz-aware",
        ),
        (pd.Series(["2026-01-01", "2026-01-02"]), "X: column 'date' is of type str, not a time; it must be tz-aware"),
        (pd.Series(pd.DatetimeIndex(["2026-01-01", None], tz="UTC")), r"X: row 1 has no date"),
    ],
)
def test_dates_that_are_refused(values: pd.Series, message: str) -> None:
    with pytest.raises(InputError, match=message):
        clock.dates_ns(values, "X")


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
        ("2026-01-02 03:04Z", "2026-01-02T03:04:00Z"),
    ],
)
def test_times_with_a_zone(text: str, iso: str) -> None:
    assert clock.iso(clock.parse_time(text)) == iso


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05", "2026-01-02", "20260102"])
def test_naive_times_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"'{text}' has no time zone; write it as .*Z if it is UTC"):
        clock.parse_time(text)


@pytest.mark.parametrize("text", ["yesterday afternoon", "", "2026-13-01T00:00:00Z", "NaT"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match="is not a time; write it as 2026-01-31T12:00:00Z"):
        clock.parse_time(text)


def test_timeranges() -> None:
    first, last = clock.parse_time("2025-08-01T00:00:00Z"), clock.parse_time("2026-02-28T00:00:00Z")
    assert clock.parse_timerange("20250801-20260228") == (first, last)
    assert clock.parse_timerange("20250801-") == (first, None)
    assert clock.parse_timerange("-20260228") == (None, last)
    assert clock.parse_timerange(f"{first // 10**9}-{last // 10**6}") == (first, last)
    assert clock.parse_timerange(None) == clock.parse_timerange("") == (None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-", "is not a timerange; write it as"),
        ("20250801", "is not a timerange; write it as"),
        ("20250801-20250901-20251001", "is not a timerange; write it as"),
        ("20260228-20250801", "ends before it begins"),
        ("20250801-20250801", "ends before it begins"),
        ("20251301-", r"20251301 is not a day \(YYYYMMDD\)"),
        ("august-", "august is neither a day"),
        ("2025080-", "2025080 is neither a day"),
    ],
)
def test_what_is_no_timerange(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        clock.parse_timerange(text)


def test_the_documented_convention_of_binance_flips_on_its_day() -> None:
    flip = clock.parse_time("2026-06-25T00:00:00Z")
    assert venues.documented_convention("binance", flip - 1) == venues.LABEL_END
    assert venues.documented_convention("binance", flip) == venues.LABEL_START
    assert venues.documented_convention("bybit", 0) == venues.LABEL_START


def test_a_cut_leaves_absent_kinds_absent() -> None:
    tape = replace(as_tape(make_market(0.2)), flow=None, funding={})
    assert tape.cut(START + HOUR).flow is None
    assert tape.cut(START + HOUR).funding == {}
    empty = tape.cut(START - DAY)
    assert empty.bars is not None
    assert len(empty.bars) == 0

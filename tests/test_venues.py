"""Open interest by venue, the market's scale, several venues' maps together, the macro calendar."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ETH, FIVE, NARROW, PAIR, as_tape, assert_same_bits, make_market, write_datadir
from contract import World, make_world
from hypothesis import given, settings
from hypothesis import strategies as st

from liqsignals import features, liqmap, records
from liqsignals.clock import DAY, HOUR, parse_time, to_dates
from liqsignals.data.extras import Extras
from liqsignals.data.tape import MapTape, Tape, asof, read_tape
from liqsignals.data.venue_interest import read_table, table_file
from liqsignals.errors import InputError
from liqsignals.features import macro, spillover, venues
from liqsignals.liqmap import kernels
from liqsignals.liqmap.clusters import clusters
from liqsignals.sources.macro import parse_calendar
from liqsignals.strategy.signals import Signals

DATES = pd.date_range("2026-01-01T00:00Z", periods=6, freq="4h")


def table(path: Path, **columns: list[float]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"date": DATES.strftime("%Y-%m-%dT%H:%M:%SZ"), **columns}).to_csv(path, index=False)
    return path


def test_a_table_is_read_by_venue_and_known_two_periods_late(tmp_path: Path) -> None:
    nan = float("nan")
    path = table(tmp_path / "oi-btc.csv", Binance=[1e9] * 6, okx=[nan, 2e8, nan, 3e8, nan, nan], price=[9e4] * 6)
    found = read_table(path, PAIR)
    assert list(found) == ["binance", "okx"]
    assert found["okx"]["usd"].tolist() == [2e8, 3e8]
    assert (found["okx"]["known_at"] - found["okx"]["event_time"] == 8 * HOUR).all()
    # A day at most: a daily table would never be fresh.
    daily = pd.read_csv(path)
    daily["date"] = pd.date_range("2026-01-01", periods=6, freq="1D", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
    daily.to_csv(path, index=False)
    assert (read_table(path, PAIR)["binance"]["known_at"][0] - parse_time("2026-01-01T00:00:00Z")) == DAY


def test_sums_are_no_venues_and_a_venue_stands_once(tmp_path: Path) -> None:
    path = table(tmp_path / "btc.csv", binance=[1.0] * 6, All=[9.0] * 6, total=[9.0] * 6)
    assert list(read_table(path, PAIR)) == ["binance"]
    table(path, okx=[1.0] * 6, OKX=[1.0] * 6)
    with pytest.raises(InputError, match="has the column okx twice"):
        read_table(path, PAIR)
    path.write_text("date,okx\n")
    with pytest.raises(InputError, match="holds no rows of BTC"):
        read_table(path, PAIR)


def test_rows_of_another_coin_and_files_of_another_coin_are_not_read(tmp_path: Path) -> None:
    path = table(tmp_path / "oi-btc-eth.csv", coin=["BTC", "ETH"] * 3, binance=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert read_table(path, ETH)["binance"]["usd"].tolist() == [2, 4, 6]
    assert table_file(tmp_path, "SOL/USDT:USDT") is None
    # A coin's name that is the table's subject.
    path.rename(path := tmp_path / "open-interest-btc-eth-4h.csv")
    assert table_file(tmp_path, "OPEN/USDT:USDT") is None
    assert table_file(tmp_path, ETH) == path
    table(tmp_path / "more-eth.csv", binance=[1.0] * 6)
    with pytest.raises(InputError, match=r"several tables for ETH: more-eth.csv, open-interest-btc-eth-4h.csv"):
        table_file(tmp_path, ETH)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("2026-01-02T00:00:00Z,-5", r"btc.csv: row 6 \(2026-01-02T00:00:00Z\), column okx: -5"),
        ("2026-01-02T00:00:00Z,0", "row 6 .* column okx: 0"),
        ("2026-01-02T00:00:00Z,many", "row 6 .* column okx: many is no open interest"),
        ("2026-01-02T00:00:00Z,1e19", "row 6 .* column okx"),
        ("2026-01-01T04:00:00Z,5", r"row 6 \(2026-01-01T04:00:00Z\) is the second one of its date"),
        ("2026-01-02T00:00:00,5", "btc.csv: column 'date'"),
        ("soon,5", "btc.csv: column 'date'"),
    ],
)
def test_what_is_no_open_interest_is_named_by_file_and_row(tmp_path: Path, line: str, says: str) -> None:
    path = table(tmp_path / "btc.csv", okx=[1e8] * 6)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=says):
        read_table(path, PAIR)


def test_a_table_without_dates_zone_or_venues_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "btc.csv"
    path.write_text("date,price\n2026-01-01T00:00:00Z,5\n")
    with pytest.raises(InputError, match="one column for each venue"):
        read_table(path, PAIR)
    path.write_text("date,okx\n2026-01-01T00:00:00,5\n")
    with pytest.raises(InputError, match=r"no time zone \(row 0: 2026-01-01T00:00:00\)"):
        read_table(path, PAIR)


def test_a_changed_table_is_read_again_and_a_broken_one_leaves_the_last(tmp_path: Path) -> None:
    path, told = tmp_path / "venue_interest" / "btc.csv", []
    extras = Extras(tmp_path, PAIR, told.append)
    assert extras.sources("venue_interest") == ()
    table(path, okx=[1e8] * 6)
    assert extras.sources("venue_interest") == ("okx",)
    table(path, okx=[25e7] * 6)
    assert extras.read("venue_interest", "okx")["usd"][0] == 25e7  # type: ignore[index]
    path.write_text("date,okx\nsoon,5\n")
    assert extras.read("venue_interest", "okx")["usd"][0] == 25e7  # type: ignore[index]
    assert "btc.csv" in str(told[0])
    with pytest.raises(InputError, match=r"btc\.csv"):
        Extras(tmp_path, PAIR).read("venue_interest", "okx")


def scaled(usd: dict[str, float], at_hours: np.ndarray, own: float = 20_000.0) -> dict[str, np.ndarray]:
    """The family's columns on a market with open interest `own` (coins) at price 100 and one row of a table."""
    made = make_market(4, 0, price=100.0, volatility=1e-9)
    made.interest["open_interest_amount"] = own
    made.interest["open_interest_value"] = own * 100.0
    tape = replace(as_tape(made), venue="binance")
    start = int(tape.bars["event_time"][0]) + DAY
    one = np.array([start], np.int64)
    tape = replace(
        tape,
        others={
            ("venue_interest", v): records.records(records.VENUE_INTEREST, one, one + 8 * HOUR, usd=np.array([value]))
            for v, value in usd.items()
        },
    )
    at = start + (at_hours * HOUR).astype(np.int64)
    return features.compute(tape, at, np.full(len(at), 100.0), FIVE, NARROW, families=[*features.FAMILIES])


def test_scale_share_and_concentration_by_hand() -> None:
    """Loaded: 2 M USD. Table: binance 3 M (all its contracts), okx 1 M, bybit 4 M: the market is 4 times the map."""
    out = scaled({"binance": 3e6, "okx": 1e6, "bybit": 4e6}, np.array([7.0, 8.0, 47.0, 48.0, 49.0]))
    nan = np.nan
    for name, value in (
        ("liq_market_scale", 4.0),
        ("liq_venue_share", 3 / 8),
        ("liq_venue_hhi", (9 + 1 + 16) / 64),
    ):
        np.testing.assert_allclose(out[name], [nan, value, value, value, nan], rtol=1e-6)
    np.testing.assert_allclose(out["liq_market_age_h"], [nan, 8, 47, 48, nan])


def test_a_venue_that_the_table_lacks_has_what_its_map_has() -> None:
    np.testing.assert_allclose(scaled({"okx": 6e6}, np.array([9.0]))["liq_market_scale"], 4.0, rtol=1e-6)


@pytest.mark.parametrize("factor", [1e-2, 1e3])
def test_a_table_in_another_unit_gives_no_scale(factor: float) -> None:
    out = scaled({"binance": factor * 3e6, "okx": factor * 1e6}, np.array([9.0]))
    assert np.isnan(out["liq_market_scale"]).all()


def test_a_venue_alone_has_no_scale() -> None:
    assert np.isnan(scaled({"binance": 3e6}, np.array([9.0]))["liq_market_scale"]).all()


def test_the_disk_gives_what_the_tape_gives(tmp_path: Path) -> None:
    made = make_market(3, 1)
    datadir = write_datadir(tmp_path, made)
    at = made.candles["date"][-200:].dt.as_unit("ns").astype("int64").to_numpy() + FIVE
    dates = to_dates(int(at[0]) - DAY + 4 * HOUR * np.arange(12))
    path = datadir / "liqsignals" / "venue_interest" / "btc.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"date": dates.strftime("%Y-%m-%dT%H:%M:%SZ"), "okx": 1e9, "bybit": 2e9})
    frame.to_csv(path, index=False)
    tape, closes = read_tape(datadir, PAIR), made.candles["close"].to_numpy()[-200:]
    out = features.compute(tape, at, closes, FIVE, NARROW)
    assert np.isfinite(out["liq_market_scale"]).all()
    half = features.compute(tape, at[:100], closes[:100], FIVE, NARROW)
    assert_same_bits(half, out, slice(100), [c.name for c in venues.COLUMNS])


def test_bands_of_all_venues_are_the_sum_of_theirs() -> None:
    world = make_world(0, 1.0, NARROW)
    tape = world.tapes[ETH, "binance"]
    at, closes = tape.bars["event_time"].copy(), tape.bars["close"].copy()  # type: ignore[index]
    out = features.compute(tape, at, closes, FIVE, NARROW, markets=world)
    other = world.tapes[ETH, "bybit"]
    there = features.compute(other, at, other.bars["close"].copy(), FIVE, NARROW)  # type: ignore[index]
    for side in ("long", "short"):
        for band in (1, 2, 5, 10):
            name = f"liq_{side}_usd_{band}pct"
            assert np.array_equal(out[f"liq_all_{side}_usd_{band}pct"], out[name] + there[name], equal_nan=True)
    assert np.isfinite(out["liq_all_long_usd_5pct"]).any()


@settings(max_examples=10, deadline=None)
@given(seeds=st.lists(st.integers(0, 50), min_size=1, max_size=3), shift=st.floats(0.9, 1.1))
def test_books_together_hold_what_each_holds(seeds: list[int], shift: float) -> None:
    books = []
    for n, seed in enumerate(seeds):
        tape = as_tape(make_market(1, seed, price=60_000 * (shift if n else 1.0), volatility=0.003))
        fold = liqmap.Fold.of(tape, NARROW)
        fold.to(len(tape.bars))
        assert fold.book is not None
        books.append(fold.book)
    summed = liqmap.together(books, 60_000.0, 500)
    # By price, an independent sum: no order of addition of three numbers is off by more than this.
    held: dict[int, np.ndarray] = {}
    for book in books:
        for i, level in enumerate(book.levels().T):
            held[book.origin + i] = held.get(book.origin + i, np.zeros(2)) + level
    found = summed.levels()
    for i, level in enumerate(found.T):
        np.testing.assert_allclose(level, held.get(summed.origin + i, np.zeros(2)), rtol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), sum(book.levels().sum(axis=1) for book in books), rtol=1e-12)


def test_a_book_together_with_nothing_has_its_own_clusters() -> None:
    tape = as_tape(make_market(2, 3, volatility=0.003))
    fold = liqmap.Fold.of(tape, NARROW)
    fold.to(len(tape.bars) // 12 * 12)
    book = fold.book
    assert book is not None
    close, interest = float(tape.bars["close"][book.bars - 1]), float(tape.open_interest["base"][-1])
    summed = liqmap.together([book], close, fold.distances.farthest)
    for side in (kernels.LONG, kernels.SHORT):
        one, other = (clusters(b, side, close, interest) for b in (book, summed))
        np.testing.assert_allclose(one[:, :2], other[:, :2], rtol=1e-9)
    assert len(clusters(book, kernels.SHORT, close, interest))


def test_a_percentile_is_the_rank_among_the_full_hours_before() -> None:
    """From the map read anew at each full hour: an independent way to the same classes of 2 %."""
    tape = as_tape(make_market(3, 3, volatility=0.003))
    ends, closes = tape.bars["event_time"].copy(), tape.bars["close"].copy()
    out = features.compute(tape, ends, closes, FIVE, NARROW)
    seen = 0
    for where in ("above", "below"):
        share, rank = out[f"liq_{where}_oi_share"], out[f"liq_{where}_percentile"]
        group = np.floor(np.log(share / 1e-3) / 0.02)
        full = ends % HOUR == 0
        for i in range(len(ends)):
            past = group[:i][full[:i] & np.isfinite(group[:i])]
            if np.isnan(group[i]) or len(past) < 24:
                assert np.isnan(rank[i])
                continue
            seen += 1
            assert rank[i] == ((past < group[i]).sum() + 0.5 * (past == group[i]).sum()) / len(past)
    assert seen > 200


def test_beta_is_that_of_the_hours_in_which_btc_moved() -> None:
    """ETH follows BTC twice as far in hours of more than its root mean square, half as far in others."""
    rng = np.random.default_rng(0)
    n = 31 * 24
    btc = rng.standard_t(3, n) * 0.004
    large = np.abs(btc[-720:]) > np.sqrt((btc[-720:] ** 2).mean())
    eth = 0.5 * btc
    eth[-720:][large] = 2.0 * btc[-720:][large]
    tapes = {}
    for pair, moves in ((PAIR, btc), (ETH, eth)):
        hourly = np.repeat(np.exp(np.cumsum(moves)) * 100.0, 12)
        made = make_market(n / 24, 0)
        for name in ("open", "high", "low", "close"):
            made.candles[name] = hourly
        tapes[pair, "binance"] = replace(as_tape(made, pair=pair), venue="binance")
    at = tapes[ETH, "binance"].bars["event_time"][-1:].copy()
    found = World(tapes, NARROW).compute(spillover, at, hourly[-1:])
    assert found["btc_beta"][0] == pytest.approx(2.0, rel=1e-9)


def test_btc_itself_has_no_columns_of_btc() -> None:
    tape = as_tape(make_market(1, 0))
    at = tape.bars["event_time"].copy()
    out = features.compute(tape, at, tape.bars["close"].copy(), FIVE, NARROW)
    assert all(np.isnan(out[c.name]).all() for c in spillover.COLUMNS)


def test_what_btc_does_is_what_its_own_columns_say() -> None:
    world = make_world(0, 1.5)
    btc, eth = world.tapes[PAIR, "binance"], world.tapes[ETH, "binance"]
    at = eth.bars["event_time"].copy()  # type: ignore[index]
    parameters = world.parameters(PAIR)
    there = features.compute(btc, at, btc.bars["close"].copy(), FIVE, parameters)  # type: ignore[index]
    here = features.compute(eth, at, eth.bars["close"].copy(), FIVE, parameters, markets=world)  # type: ignore[index]
    for name in ("squeeze_prob_4h", "squeeze_prob_1d", "flush_prob_4h", "flush_prob_1d"):
        assert np.array_equal(here[f"btc_{name}"], there[name], equal_nan=True)
    worth = btc.open_interest["base"][asof(btc.open_interest, at)] * btc.bars["close"]  # type: ignore[index]
    for side in ("long", "short"):
        real = there[f"liq_swept_{side}_usd"] / parameters.report_factor / worth
        np.testing.assert_allclose(here[f"btc_swept_{side}_share"], real, rtol=1e-12)


class Keeping(features.Markets):
    """BTC's market, and the maps that calls share."""

    def __init__(self, btc: Tape) -> None:
        self.btc, self.used = btc, NARROW

    def tape(self, pair: str, venue: str | None) -> Tape:
        return self.btc

    def parameters(self, pair: str) -> liqmap.Parameters:
        return self.used


def test_a_kept_map_of_btc_serves_the_same_inputs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    tapes = make_world(0, 1.5).tapes
    btc, eth = (tapes[pair, "binance"] for pair in (PAIR, ETH))
    markets = Keeping(btc)
    assert btc.bars is not None
    assert eth.bars is not None
    at, closes = eth.bars["event_time"].copy(), eth.bars["close"].copy()
    folded = []
    read = liqmap.read

    def watched(tape: MapTape, *arguments: Any) -> Any:
        folded.append(tape.pair)
        return read(tape, *arguments)

    def folds(n: int, timeframe: int = FIVE) -> int:
        """How often BTC is folded where the map is kept; the columns are those without one."""
        outcomes = []
        for maps in (None, kept):
            markets.maps = maps
            folded.clear()
            outcomes.append(
                features.compute(eth, at[:n], closes[:n], timeframe, NARROW, markets=markets, families=[spillover])
            )
        assert_same_bits(*outcomes, names=[c.name for c in spillover.COLUMNS])
        return folded.count(PAIR)

    monkeypatch.setattr(liqmap, "read", watched)
    kept: dict[tuple[str, str, int], features.Map] = {}
    assert [folds(len(at)), folds(len(at))] == [1, 0]
    # A shorter view, another timeframe, other parameters, and a record that was revised.
    assert [folds(len(at) - 50), folds(len(at) - 50)] == [1, 0]
    assert [folds(len(at) - 50, 3 * FIVE), folds(len(at) - 50)] == [1, 0]
    revised = btc.bars.copy()
    revised["volume"][len(revised) // 2] *= 1.001
    markets.btc = replace(btc, bars=revised)
    assert [folds(len(at) - 50), folds(len(at) - 50)] == [1, 0]
    markets.used = replace(NARROW, turnover=0.3)
    assert [folds(len(at) - 50), folds(len(at) - 50)] == [1, 0]


def test_a_bot_does_not_ask_for_btc_where_the_disk_has_none(tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, make_market(1, 0), stem="ETH_USDT_USDT")
    assert {pair for pair, _, _ in Signals(datadir).informative_pairs([ETH])} == {ETH}


# --- the macro calendar


def hours_and_blackout(csv: str, *at: str) -> tuple[list[float], list[float]]:
    made = as_tape(make_market(0.1, 0))
    header = "event,scheduled_at,announced_at,released_at,source\n"
    events = parse_calendar((header + csv).encode(), 0)
    tape = replace(made, others={("event", "macro"): events})
    when = np.array([parse_time(t) for t in at], np.int64)
    out = features.compute(tape, when, np.full(len(when), 6e4), FIVE, NARROW, families=[macro])
    return out["macro_hours"].tolist(), out["macro_blackout"].tolist()


def test_hours_and_blackout_by_hand() -> None:
    table = (
        "cpi,2026-03-10T12:30:00Z,2026-03-01T00:00:00Z,2026-03-10T12:30:00Z,x\n"
        "fomc,2026-03-20T18:00:00Z,2026-01-01T00:00:00Z,,x\n"
    )
    hours, blackout = hours_and_blackout(
        table,
        "2026-02-28T23:59:00Z",  # the CPI date is not announced yet
        "2026-03-01T00:00:00Z",
        "2026-03-10T10:29:00Z",
        "2026-03-10T10:30:00Z",
        "2026-03-10T12:30:00Z",
        "2026-03-10T13:30:00Z",
        "2026-03-10T13:31:00Z",
        "2026-03-20T18:00:01Z",  # nothing ahead: not known, and not "no event"
    )
    assert hours[0] == pytest.approx(19 * 24 + 18 + 1 / 60)
    assert hours[1] == 9 * 24 + 12.5
    assert hours[4] == 0
    assert hours[5] == pytest.approx(10 * 24 + 4.5)
    assert np.isnan(hours[7])
    assert blackout[:7] == [0, 0, 0, 1, 1, 1, 0]
    assert np.isnan(blackout[7])


def test_a_date_without_announcement_is_known_30_days_before() -> None:
    hours, _ = hours_and_blackout("fomc,2026-03-20T18:00:00Z,,,x\n", "2026-02-18T17:59:00Z", "2026-02-18T18:00:00Z")
    assert np.isnan(hours[0])
    assert hours[1] == 30 * 24

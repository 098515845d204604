"""Both labellings, a flip within a file, late publication, 1h open interest: the same instants, the same columns."""

import logging
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import (
    FIVE,
    PAIR,
    REAL,
    START_LABELS,
    FakeProvider,
    Market,
    as_tape,
    assert_same_bits,
    decisions,
    labelled,
    make_market,
    needs_real_data,
    ns,
    thinned,
    write,
    write_datadir,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from liqsignals import features, venues
from liqsignals.clock import DAY, HOUR, duration_ns, parse_time
from liqsignals.data import freqtrade, labels
from liqsignals.data.tape import read_tape
from liqsignals.errors import InputError
from liqsignals.strategy.signals import Signals

DAYS = 5


@cache
def market() -> Market:
    return make_market(DAYS, 21)


@cache
def truth(period: str = "5m") -> dict[str, np.ndarray]:
    """Columns of the records, stamped without any label."""
    at, closes = decisions(market().candles)
    return features.compute(as_tape(market(), period), at, closes, FIVE)


def midnight(day: int) -> pd.Timestamp:
    return market().first + pd.Timedelta(days=day)


def detected(frame: pd.DataFrame, candles: pd.DataFrame, period: str = "5m") -> list[int]:
    """Convention of each block of a file's rows."""
    label = ns(frame["date"])
    _, kinds, _ = labels.conventions(
        label,
        frame["open_interest_amount"].to_numpy(),
        duration_ns(period),
        ns(candles["date"]),
        FIVE,
        candles["volume"].to_numpy(),
        "binance",
        label[1:][label[1:] == label[:-1]],
    )
    return kinds.tolist()


@pytest.mark.parametrize("flip", [None, START_LABELS, *range(1, DAYS)])
def test_any_labelling_gives_the_same_columns(
    tmp_path: Path, flip: int | pd.Timestamp | None, caplog: pytest.LogCaptureFixture
) -> None:
    day = midnight(flip) if isinstance(flip, int) else flip
    datadir = write_datadir(tmp_path, market(), flip=day)
    rows = len(pd.read_feather(next((datadir / "futures").glob("*open_interest*"))))
    assert rows == len(market().interest)
    with caplog.at_level(logging.WARNING, "liqsignals.data.labels"):
        assert_same_bits(Signals(datadir).attach(market().candles, PAIR, "5m"), truth())
    told = [r.getMessage() for r in caplog.records]
    if isinstance(flip, int):
        assert len(told) == 1
        assert f"change from end to start of period on {midnight(flip):%Y-%m-%d}" in told[0]
    else:
        assert told == []


def test_the_flip_of_2026_06_25(tmp_path: Path) -> None:
    """The day on which Binance's archive changed, in a market around it."""
    days = pd.Timedelta(pd.Timestamp("2026-06-23", tz="UTC") - market().first)

    def moved(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(date=(frame["date"] + days).astype(frame["date"].dtype))

    made = replace(
        market(), candles=moved(market().candles), interest=moved(market().interest), funding=moved(market().funding)
    )
    columns = []
    for flip in (None, pd.Timestamp("2026-06-25", tz="UTC"), START_LABELS):
        datadir = write_datadir(tmp_path, made, flip=flip, flows=False)
        columns.append(Signals(datadir).attach(made.candles, PAIR, "5m"))
    assert_same_bits(columns[0], columns[1])
    assert_same_bits(columns[0], columns[2])
    assert columns[0]["liq_fresh"].iloc[-1] == 1


@pytest.mark.parametrize("rows", [1, 12, 100, 130])
def test_a_file_that_ends_soon_after_the_flip(tmp_path: Path, rows: int) -> None:
    """The twin label is the flip itself, long before its day has rows enough to decide."""
    end = midnight(2) + pd.Timedelta(minutes=5 * rows)
    part = market().upto(end)
    datadir = write_datadir(tmp_path, part, flip=midnight(2))
    out = Signals(datadir).attach(part.candles, PAIR, "5m")
    assert_same_bits(out, {n: v[: len(out)] for n, v in truth().items()})


def test_rows_in_any_order_are_read_alike(tmp_path: Path) -> None:
    """The twins of the flip are told apart by their place in the file; other rows may stand anywhere."""
    frame = labelled(market().interest, flip=midnight(2))
    for name, part in (("reversed halves", pd.concat([frame[700:], frame[:700]])),):
        datadir = write_datadir(tmp_path / name, market())
        write(datadir, "5m-open_interest", part)
        assert_same_bits(Signals(datadir).attach(market().candles, PAIR, "5m"), truth())


@pytest.mark.parametrize("flip", [None, START_LABELS])
@pytest.mark.parametrize("period", ["15m", "30m", "1h"])
def test_coarser_open_interest_works_with_5m_candles(tmp_path: Path, period: str, flip: pd.Timestamp | None) -> None:
    """Blocks of a coarse file span several days; 1h needs twelve here for one whole block of six days."""
    made = make_market(13, 5) if period == "1h" else market()
    datadir = write_datadir(tmp_path, made, period=period, flip=flip)
    out = Signals(datadir).attach(made.candles, PAIR, "5m")
    at, closes = decisions(made.candles)
    assert_same_bits(out, features.compute(as_tape(made, period), at, closes, FIVE))
    assert out["liq_fresh"].iloc[-1] == 1
    assert np.isfinite(out["liq_imbalance"].iloc[-1])


def test_the_finest_open_interest_counts(tmp_path: Path) -> None:
    datadir = write_datadir(tmp_path, market())
    write(datadir, "1h-open_interest", thinned(market().interest, "1h").assign(open_interest_amount=1.0))
    assert_same_bits(Signals(datadir).attach(market().candles, PAIR, "5m"), truth())


@pytest.mark.parametrize("first", ["2026-01-05", "2026-06-23", "2026-07-10"])
@pytest.mark.parametrize("exchange", ["binance", "bybit"])
def test_a_file_that_does_not_decide_takes_the_documented_convention(first: str, exchange: str) -> None:
    """Open interest without any relation to volume: Binance's labels are ends before 2026-06-25, starts from then on."""
    rng = np.random.default_rng(1)
    label = parse_time(f"{first}T00:00:00Z") + FIVE * np.arange(4 * 288)
    amount = 10_000 + np.cumsum(rng.normal(0, 5, len(label)))
    days, kinds, _ = labels.conventions(label, amount, FIVE, label, FIVE, rng.lognormal(4, 1, len(label)), exchange)
    assert len(days) == 4
    flip = parse_time("2026-06-25T00:00:00Z")
    wanted = [venues.LABEL_END if exchange == "binance" and d < flip else venues.LABEL_START for d in days]
    assert kinds.tolist() == wanted


def test_an_undecided_day_takes_the_decided_day_before_it() -> None:
    made = market()
    for flip, quiet, wanted in ((4, 1, [0, 0, 0, 0, 1]), (4, 3, [0, 0, 0, 0, 1]), (1, 3, [0, 1, 1, 1, 1])):
        frame = labelled(made.interest, flip=midnight(flip))
        day = (ns(frame["date"]) // DAY - ns(made.candles["date"])[0] // DAY) == quiet
        frame.loc[day, "open_interest_amount"] = np.random.default_rng(2).uniform(10_000, 10_100, int(day.sum()))
        assert detected(frame, made.candles)[:DAYS] == wanted


def test_days_with_holes_and_short_days_still_decide() -> None:
    made = market()
    rows = np.random.default_rng(3).random(len(made.interest)) > 0.05
    assert detected(made.interest[rows], made.candles)[:DAYS] == [0] * DAYS
    started = labelled(made.interest[rows], flip=START_LABELS)
    assert detected(started, made.candles)[:DAYS] == [1] * DAYS


def test_candles_coarser_than_open_interest_decide_nothing() -> None:
    made = market()
    frame = labelled(made.interest, flip=START_LABELS)
    hours = made.candles[::12]
    label = ns(frame["date"])
    _, kinds, _ = labels.conventions(
        label, frame["open_interest_amount"].to_numpy(), FIVE, ns(hours["date"]), HOUR,
        hours["volume"].to_numpy(), "binance",
    )  # fmt: skip
    assert set(kinds.tolist()) == {venues.LABEL_END}


def test_contradicting_rows_are_refused(tmp_path: Path) -> None:
    """Twins are allowed at the flip's midnight alone."""
    frame = labelled(market().interest, flip=midnight(2))
    twin = frame.iloc[[400]].assign(open_interest_amount=1.0)
    datadir = write_datadir(tmp_path, market())
    path = write(datadir, "5m-open_interest", pd.concat([frame, twin]))
    with pytest.raises(
        InputError, match=r"two different open-interest values for 2026-01-\d\d.*Way out: remove the wrong row"
    ) as caught:
        read_tape(datadir, PAIR)
    assert str(path) in str(caught.value)


def live_frames(made: Market, now: pd.Timestamp, late: int, drop: bool, flip: pd.Timestamp | None) -> FakeProvider:
    """What freqtrade hands out at `now`: 500 rows of each, open interest `late` seconds after its snapshot and, on
    some venues, without its newest row."""
    seen = made.interest[made.interest["date"] + pd.Timedelta(seconds=late) <= now]
    interest = labelled(seen, flip=flip)
    if drop:
        interest = interest[:-1]
    cut = made.upto(now)
    return FakeProvider(
        {
            ("5m", "futures"): cut.candles[-500:],
            ("5m", "open_interest"): interest[-500:],
            ("1h", "funding_rate"): cut.funding[-30:],
        }
    )


@settings(max_examples=10)
@given(
    late=st.sampled_from([0, 5, 20, 200]),
    drop=st.booleans(),
    disk_flip=st.sampled_from([None, START_LABELS]),
    live_flip=st.sampled_from([None, START_LABELS]),
    disk_rows=st.integers(800, 1100),
    first=st.integers(1110, 1180),
)
def test_live_publication_gives_the_columns_of_the_archive(
    tmp_path_factory: pytest.TempPathFactory,
    late: int,
    drop: bool,
    disk_flip: pd.Timestamp | None,
    live_flip: pd.Timestamp | None,
    disk_rows: int,
    first: int,
) -> None:
    """However late within two periods a row appears, and however disk and exchange label it: the same bits."""
    made, archive = market(), truth()
    filled = made.candles["date"].iloc[disk_rows] + pd.Timedelta("5min")
    signals = Signals(
        write_datadir(tmp_path_factory.mktemp("live"), made.upto(filled), flip=disk_flip), exchange="binance"
    )
    for row in [*range(first, first + 6), first + 30, first + 31]:
        now = made.candles["date"].iloc[row] + pd.Timedelta("5min")
        dp = live_frames(made, now, late, drop, live_flip)
        frame = made.candles.iloc[max(row - 420, 0) : row + 1]
        out = signals.attach(frame, PAIR, "5m", dp=dp)
        rows = slice(max(row - 420, 0), row + 1)
        assert_same_bits(out, {name: column[rows] for name, column in archive.items()})
        assert out["liq_fresh"].iloc[-1] == 1


@needs_real_data
@pytest.mark.parametrize("coin", ["BTC", "ETH"])
def test_every_day_of_the_archive_is_end_labelled(coin: str) -> None:
    folder = REAL / "binance"
    pair = f"{coin}/USDT:USDT"
    interest = freqtrade.read_table(freqtrade.data_file(folder, pair, "5m", "open_interest"), ("open_interest_amount",))
    candles = freqtrade.read_table(freqtrade.data_file(folder, pair, "5m", "futures"), ("volume",))
    interest = interest[interest["open_interest_amount"] > 0]
    days, kinds, _ = labels.conventions(
        ns(interest["date"]),
        interest["open_interest_amount"].to_numpy(),
        FIVE,
        ns(candles["date"]),
        FIVE,
        candles["volume"].to_numpy(),
        "binance",
    )
    assert len(days) >= 243
    assert (kinds == venues.LABEL_END).all()
    # The same rows named by their start are told apart on every day, too, so that no day rests on its neighbours.
    for n in range(0, len(days), 1):
        rows = ns(interest["date"]) // DAY * DAY == days[n]
        if rows.sum() < 200:
            continue
        _, one, _ = labels.conventions(
            ns(interest["date"])[rows] - FIVE,
            interest["open_interest_amount"].to_numpy()[rows],
            FIVE,
            ns(candles["date"]),
            FIVE,
            candles["volume"].to_numpy(),
            "binance",
        )
        assert one[-1] == venues.LABEL_START, pd.Timestamp(days[n])

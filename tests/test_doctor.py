"""`liqsignals doctor`: every hole named, every unit that cannot be right, and the exit code."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import (
    FIVE,
    PAIR,
    REAL,
    START,
    STEM,
    Market,
    make_market,
    needs_real_data,
    ns,
    write,
    write_datadir,
)

from liqsignals import cli, records
from liqsignals.clock import DAY, HOUR, iso, parse_time
from liqsignals.data import freqtrade, rawlog, store
from liqsignals.doctor import examine
from liqsignals.doctor.config import plain
from liqsignals.strategy.signals import Signals


@pytest.fixture(scope="module")
def market() -> Market:
    return make_market(3.0, seed=3)


def end_of(market: Market) -> int:
    return int(ns(market.candles["date"])[-1]) + FIVE


def healthy(tmp_path: Path, market: Market, **options: object) -> dict:
    datadir = write_datadir(tmp_path, market, flows=False, **options)  # type: ignore[arg-type]
    return examine.examine(datadir, now=end_of(market))


def test_a_whole_market_is_healthy(tmp_path: Path, market: Market) -> None:
    report = healthy(tmp_path, market)
    assert report["problems"] == []
    assert report["healthy"]
    assert report["holes"] == []
    assert {s["coverage"] for s in report["series"]} == {1.0}


@needs_real_data
def test_the_holes_of_july_2025_are_named() -> None:
    report = examine.examine(REAL / "binance", now=parse_time("2026-03-01T00:05:00Z"))
    of_btc = [h for h in report["holes"] if h["series"] == "BTC_USDT_USDT-5m-open_interest"]
    days = {h["from"][:10] for h in of_btc}
    assert {"2025-07-21", "2025-07-22"} <= days
    assert sum(h["missing"] for h in of_btc if h["from"][:10] in ("2025-07-21", "2025-07-22")) == 45
    assert sum(h["missing"] for h in of_btc) == 61
    assert {run["convention"] for run in report["labels"]} == {"end of period"}


@pytest.mark.parametrize(
    ("what", "attribute", "rows"),
    [("5m-futures", "candles", [100, 101, 300]), ("5m-open_interest", "interest", [7, 8, 9]), ("1h-funding_rate", "funding", [2])],
)  # fmt: skip
def test_a_missing_row_is_a_hole(tmp_path: Path, market: Market, what: str, attribute: str, rows: list[int]) -> None:
    datadir = write_datadir(tmp_path, market, flows=False)
    frame = getattr(market, attribute)
    write(datadir, what, frame.drop(index=frame.index[rows]))
    report = examine.examine(datadir, now=end_of(market))
    assert [h["series"] for h in report["holes"]] == [f"{STEM}-{what}"] * len({r - i for i, r in enumerate(rows)})
    assert sum(h["missing"] for h in report["holes"]) == len(rows)
    first = report["holes"][0]
    assert first["from"] == iso(ns(frame["date"])[rows[0]])
    assert not report["healthy"]
    assert "rows missing" in report["problems"][0]
    assert examine.examine(datadir, now=end_of(market), since=end_of(market))["healthy"]


def test_interest_of_zero_is_a_hole_not_a_value(tmp_path: Path, market: Market) -> None:
    broken = market.interest.copy()
    broken.loc[broken.index[50:60], "open_interest_amount"] = 0.0
    datadir = write_datadir(tmp_path, market, flows=False)
    write(datadir, "5m-open_interest", broken)
    report = examine.examine(datadir, now=end_of(market))
    assert [h["missing"] for h in report["holes"]] == [10]


def test_both_sides_counted_from_a_day_on_is_named(tmp_path: Path, market: Market) -> None:
    doubled = market.interest.copy()
    doubled["open_interest_amount"] = doubled["open_interest_amount"].where(
        np.arange(len(doubled)) < 400, lambda v: 2 * v
    )
    datadir = write_datadir(tmp_path, market, flows=False)
    write(datadir, "5m-open_interest", doubled)
    report = examine.examine(datadir, now=end_of(market))
    assert len(report["units"]) == 1
    assert report["units"][0]["at"] == iso(ns(doubled["date"])[400])
    assert "x2.0" in report["units"][0]["problem"]


def test_a_change_of_labels_is_shown_by_day(tmp_path: Path) -> None:
    market = make_market(8.0, seed=5)
    report = healthy(tmp_path, market, flip=pd.Timestamp(START + 4 * DAY, tz="UTC"))
    runs = report["labels"]
    assert [run["convention"] for run in runs] == ["end of period", "start of period"]
    assert runs[1]["from"] == iso(START + 4 * DAY)[:10]


@pytest.mark.parametrize(("later", "stale"), [(0, 0), (4 * HOUR, 2), (17 * HOUR, 3)])
def test_age_is_judged_by_each_series_own_maximum(tmp_path: Path, market: Market, later: int, stale: int) -> None:
    datadir = write_datadir(tmp_path, market, flows=False)
    report = examine.examine(datadir, now=end_of(market) + later)
    assert sum(s["stale"] for s in report["series"]) == stale


def test_rows_of_the_future_mean_a_wrong_clock(tmp_path: Path, market: Market) -> None:
    datadir = write_datadir(tmp_path, market, flows=False)
    report = examine.examine(datadir, now=end_of(market) - 2 * HOUR)
    assert any("after now" in problem and "clock" in problem for problem in report["problems"])


def test_a_damaged_file_does_not_hide_the_others(tmp_path: Path, market: Market) -> None:
    datadir = write_datadir(tmp_path, market, flows=False)
    (datadir / "futures" / f"{STEM}-5m-open_interest.feather").write_bytes(b"half")
    report = examine.examine(datadir, now=end_of(market))
    assert any("5m-open_interest" in p and "damaged" in p for p in report["problems"])
    assert f"{STEM}-5m-futures" in [s["series"] for s in report["series"]]


def test_longs_must_be_what_a_fall_liquidates() -> None:
    opened = START + np.arange(48) * FIVE
    close = np.where(np.arange(48) < 12, 100.0, np.where(np.arange(48) < 24, 95.0, 95.0))
    bars = records.records(
        records.BAR, opened + FIVE, opened + FIVE, open=np.append(100.0, close[:-1]), high=101.0, low=94.0, close=close, volume=1.0
    )  # fmt: skip
    hours = START + np.arange(4) * HOUR
    assert examine.side_check(bars, FIVE, hours, np.array([1.0, 9, 1, 1]), np.array([2.0, 2, 2, 2])) == (1, 0)
    assert examine.side_check(bars, FIVE, hours, np.array([1.0, 2, 1, 1]), np.array([2.0, 9, 2, 2])) == (1, 1)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ('{"trading_mode": "spot", "exchange": {"name": "binance"}}', "spot market has no liquidations"),
        ('{"trading_mode": "futures", "liqsignals": {"extra": 1}}', "unknown key extra"),
        ("{", "no JSON"),
        ('{"trading_mode": "futures", "exchange": {"name": "binance"}}', None),
    ],
)
def test_the_configuration_is_checked(tmp_path: Path, market: Market, config: str, says: str | None) -> None:
    datadir = write_datadir(tmp_path, market, flows=False)
    path = tmp_path / "config.json"
    path.write_text(config)
    problems = examine.examine(datadir, now=end_of(market), config=plain([path]))["problems"]
    assert (says is None and problems == []) or any(says in problem for problem in problems if says)


@pytest.mark.parametrize(("case", "code"), [("healthy", 0), ("hole", 1), ("nowhere", 2)])
def test_the_exit_code_is_for_a_monitor(
    tmp_path: Path, market: Market, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str, code: int
) -> None:  # fmt: skip
    datadir = write_datadir(tmp_path, market, flows=False)
    if case == "hole":
        write(datadir, "5m-futures", market.candles.drop(index=[100]))
    folder = tmp_path / "nowhere" if case == "nowhere" else datadir
    monkeypatch.setattr("sys.argv", ["liqsignals", "doctor", "-d", str(folder), "--json", "--at", iso(end_of(market))])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == code
    out, err = capsys.readouterr()
    if case == "nowhere":
        assert out == ""
        assert "Way out" in err
    else:
        report = json.loads(out)
        assert report["healthy"] is (code == 0)
        assert all(set(h) >= {"series", "from", "to"} for h in report["holes"])


def test_people_read_lines(tmp_path: Path, market: Market) -> None:
    datadir = write_datadir(tmp_path, market, flows=False)
    write(datadir, "5m-futures", market.candles.drop(index=[100]))
    text = "\n".join(examine.lines(examine.examine(datadir, now=end_of(market))))
    assert "hole BTC_USDT_USDT-5m-futures" in text
    assert "1 problems:" in text
    assert PAIR.split("/")[0] in text


def test_a_venue_whose_sides_are_mistaken_is_named(tmp_path: Path, market: Market) -> None:
    fallen = market.candles.copy()
    late = np.arange(len(fallen)) >= 606
    fallen.loc[late, ["open", "high", "low", "close"]] *= 0.95
    # The bar in which it fell joins the two levels.
    fallen.loc[606, "open"] = fallen.loc[605, "close"]
    fallen.loc[606, "high"] = max(fallen.loc[606, ["open", "high"]])
    datadir = write_datadir(tmp_path, replace(market, candles=fallen), flows=False)
    at = np.array([int(ns(fallen["date"])[606]) + n for n in range(4)])
    for venue, sides in (("binance", [0, 0, 0, 1]), ("bybit", [1, 1, 1, 0])):
        rows = records.records(
            records.LIQUIDATION, at, at + DAY, side=np.array(sides), price=np.full(4, 1e4), base=np.ones(4), usd=np.full(4, 1e4)
        )  # fmt: skip
        store.append(store.series_dir(datadir / "liqsignals", "liquidation", venue, PAIR, "events"), rows)
    report = examine.examine(datadir, now=end_of(market))
    found = {check["series"].split("/")[1]: check for check in report["units"]}
    assert "problem" not in found["binance"]
    assert "Its sides are mistaken" in found["bybit"]["problem"]
    assert report["problems"] == [found["bybit"]["problem"]]


def test_the_times_in_which_a_stream_was_dead_are_holes(tmp_path: Path, market: Market) -> None:
    datadir = write_datadir(tmp_path, market, flows=False)
    folder = datadir / "liqsignals" / "raw" / "binance"
    alive = rawlog.RawLog(folder, "alive")  # and no print: the market was quiet
    now = end_of(market)
    for start, stop in ((now - 6 * HOUR, now - 4 * HOUR), (now - 4 * HOUR + 10**9, now - 3 * HOUR), (now - HOUR, now)):
        for at in (start + 10**9, stop):
            line = {"stream": "liquidations", "event": "alive", "since": start, "until": at}
            alive.add(at, json.dumps(line).encode())
    alive.flush()
    report = examine.examine(datadir, now=now)
    assert [(h["from"], h["to"]) for h in report["holes"]] == [(iso(now - 3 * HOUR), iso(now - HOUR))]
    (stream,) = report["streams"]
    assert stream["interruptions"] == 2
    assert not stream["stale"]
    assert examine.examine(datadir, now=now + HOUR)["streams"][0]["stale"]


def test_what_was_recorded_counts(tmp_path: Path, market: Market) -> None:
    datadir = write_datadir(tmp_path, market, flows=False)
    write(datadir, "5m-futures", market.candles.iloc[:-3])
    later = end_of(market)
    assert examine.examine(datadir, now=later)["series"][1]["stale"]
    rest = market.candles.iloc[-5:]
    closed = ns(rest["date"]) + FIVE
    bars = records.records(
        records.BAR, closed, closed, **{n: rest[n] for n in ("open", "high", "low", "close", "volume")}
    )
    store.append(store.series_dir(datadir / "liqsignals", "bar", "binance", PAIR, "5m"), bars)
    report = examine.examine(datadir, now=later)
    assert report["problems"] == []
    assert report["healthy"]


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_what_nothing_can_mend_stops_being_a_problem(tmp_path: Path, market: Market, factor: float) -> None:
    """A monitor with --days is healthy again when the jump, the hole and the mistaken hours have grown old."""
    interest = market.interest.copy()
    interest.loc[200:, ["open_interest_amount", "open_interest_value"]] *= factor
    candles = market.candles.drop(index=range(100, 104))
    datadir = write_datadir(tmp_path, replace(market, interest=interest, candles=candles), flows=False)
    jump = int(ns(interest["date"])[200])
    at = end_of(market)
    old = examine.examine(datadir, now=at, since=jump)
    assert [problem for problem in old["problems"] if "open interest goes by" in problem]
    # The first rows of the new level are refused, until three agree: they grow old with the jump.
    taken = int(ns(interest["date"])[204])
    new = examine.examine(datadir, now=at, since=taken)
    assert new["healthy"], new["problems"]
    assert any(f"x{factor:.2f}" in unit["found"] for unit in new["units"]), "it is still listed"


def test_pairs_that_nobody_trades_any_more_are_left_out(tmp_path: Path, market: Market) -> None:
    datadir = write_datadir(tmp_path, market, flows=False)
    write_datadir(
        tmp_path, replace(market, candles=market.candles[:50]), stem="OLD_USDT_USDT", interest=False, flows=False
    )
    assert len(examine.examine(datadir, now=end_of(market))["problems"]) > 1
    report = examine.examine(datadir, now=end_of(market), pairs=[PAIR])
    assert report["healthy"]
    assert {s["series"][: len(STEM)] for s in report["series"]} == {STEM}


def hourly(market: Market) -> pd.DataFrame:
    """The market's candles of 1 h."""
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    return market.candles.resample("1h", on="date").agg(how).reset_index()


def test_a_candle_of_another_file_that_closes_otherwise_is_named_and_not_fresh(tmp_path: Path, market: Market) -> None:
    """The strategy's own candles are a file of their own, beside the bars that the map folds."""
    datadir = write_datadir(tmp_path, market, flows=False)
    candles = hourly(market)
    write(datadir, "1h-futures", candles, STEM)
    assert examine.examine(datadir, now=end_of(market))["problems"] == []
    found = Signals(datadir).attach(candles, PAIR, "1h")["liq_fresh"]
    assert found.iloc[20:].eq(1).all()
    wrong = candles.copy()
    wrong.loc[40, ["close", "high"]] *= 1.1
    write(datadir, "1h-futures", wrong, STEM)
    (problem,) = examine.examine(datadir, now=end_of(market))["problems"]
    assert f"1 candles close otherwise than those of {STEM}-5m-futures.feather" in problem
    again = Signals(datadir).attach(wrong, PAIR, "1h")["liq_fresh"]
    assert again[again != found].index.tolist() == [40]


def test_candles_joined_from_1m_are_compared_as_well(tmp_path: Path, market: Market) -> None:
    datadir = write_datadir(tmp_path, market, flows=False)
    (datadir / "futures" / f"{STEM}-5m-futures.feather").unlink()
    minutes = market.candles.loc[market.candles.index.repeat(5)].reset_index(drop=True)
    minutes["date"] += pd.to_timedelta(np.arange(len(minutes)) % 5, unit="min").as_unit("ms")
    write(datadir, "1m-futures", minutes.assign(volume=minutes["volume"] / 5), STEM)
    write(datadir, "1h-futures", hourly(market), STEM)
    assert not any(
        "close otherwise" in p or "multiple" in p for p in examine.examine(datadir, now=end_of(market))["problems"]
    )


def test_a_torn_file_beside_an_older_one_of_the_strategys_timeframe_is_said(
    tmp_path: Path, market: Market, caplog: pytest.LogCaptureFixture
) -> None:
    datadir = write_datadir(tmp_path, market, flows=False)
    write(datadir, "1h-futures", hourly(market).iloc[:-20], STEM)
    torn = datadir / "futures" / f"{STEM}-1h-futures.parquet"
    torn.write_bytes(b"PAR1 torn")
    freqtrade.candles(datadir, PAIR, "1h")
    assert any(f"{torn} is not read (no rows that can be read)" in r.getMessage() for r in caplog.records)


def test_extras_that_no_feature_can_use_are_problems(tmp_path: Path, market: Market) -> None:
    datadir = write_datadir(tmp_path, market)
    flow = next((datadir / "liqsignals" / "flows").glob("*.csv"))
    flow.write_text(flow.read_text().splitlines()[0] + "\n")
    table = datadir / "liqsignals" / "venue_interest" / "btc.csv"
    table.parent.mkdir()
    table.write_text("date,okx,OKX\n2026-01-05T00:00:00Z,1,1\n")
    problems = "\n".join(examine.examine(datadir, now=end_of(market))["problems"])
    assert f"{flow} holds no whole day" in problems
    assert f"{table} has the column okx twice" in problems


def test_one_settlement_is_no_traceback(tmp_path: Path, market: Market) -> None:
    datadir = write_datadir(tmp_path, replace(market, funding=market.funding.iloc[:1]), flows=False)
    assert any(
        "1h-funding_rate: the newest row is" in p for p in examine.examine(datadir, now=end_of(market))["problems"]
    )

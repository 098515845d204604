"""liqsignals download against loopback servers that speak the providers' formats, faults included.

Shapes of the files and answers: research/sources.md sections 1.1 to 1.3, 2, 3, 4 and 6 (metrics, klines, CHECKSUM,
openInterestHist, ratios, Bybit and OKX lists); values are made up.
"""

import asyncio
import contextlib
import io
import json
import os
import shutil
import socket
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import kill_download
import numpy as np
import pandas as pd
import pytest
import vendors
from conftest import (
    FIVE,
    PAIR,
    START,
    START_LABELS,
    STEM,
    Market,
    labelled,
    make_market,
    ns,
    resampled,
    write,
    write_datadir,
)  # fmt: skip
from vendors import Vendor, klines_path, metrics_path

from liqsignals import files, records
from liqsignals.clock import DAY, HOUR, MINUTE
from liqsignals.collect import freqtrade_command, freqtrade_files, freqtrade_writer
from liqsignals.collect.download import Plan, Report, download
from liqsignals.collect.fetch import Offline
from liqsignals.data import flows, freqtrade, store
from liqsignals.data.extras import Extras
from liqsignals.errors import InputError
from liqsignals.exchange.server import loopback
from liqsignals.sources import ParseError, binance, coinglass, coinmetrics, decode, macro

DAYS = 4
NOW = START + 40 * DAY
INTEREST = f"{STEM}-5m-open_interest.feather"


IN_OWN_PROCESS = freqtrade_files.in_own_process


@dataclass
class Here:
    """A loopback archive and an empty data directory with candles."""

    market: Market
    vendor: Vendor
    url: str
    datadir: Path
    told: list[str]

    def plan(self, **changes: object) -> Plan:
        urls = dict.fromkeys(
            ("binance-archive", "binance", "bybit", "okx", "coinmetrics", "coinglass", "coinalyze"), self.url
        )
        plan = Plan(
            self.datadir, "binance", (PAIR,), START, START + DAYS * DAY, urls=urls, now=NOW, steps=("interest",)
        )
        return replace(plan, **changes)  # type: ignore[arg-type]

    def run(self, **changes: object) -> Report:
        self.told.clear()
        return download(self.plan(**changes), self.told.append)

    def interest(self) -> records.Records:
        """The file as the features read it."""
        path = self.datadir / "futures" / INTEREST
        frame = freqtrade.read_table(path, ("open_interest_amount", "open_interest_value"))
        bars = freqtrade.candles(self.datadir, PAIR, "5m")
        assert bars is not None
        return freqtrade.open_interest(frame, "5m", bars, FIVE, "binance", str(path))[0]


def measured(market: Market) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    i = market.interest
    return ns(i["date"]), i["open_interest_amount"].to_numpy(), i["open_interest_value"].to_numpy()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    clock = Clock()
    monkeypatch.setattr("liqsignals.collect.fetch.sleep", clock.sleep)
    monkeypatch.setattr("liqsignals.collect.fetch.clock", clock)
    # One test shows the process of its own; the others are spared its start.
    monkeypatch.setattr(freqtrade_files, "in_own_process", lambda *args: freqtrade_writer.write(*map(str, args)) or "")
    market = make_market(DAYS)
    datadir = tmp_path / "binance"
    (datadir / "futures").mkdir(parents=True)
    write(datadir, "5m-futures", market.candles)
    vendor = Vendor()
    vendors.add_metrics(vendor, "BTCUSDT", *measured(market), flip=START + 2 * DAY)
    with vendors.serve(vendor) as url:
        yield Here(market, vendor, url, datadir, [])


class Clock:
    """Time that passes only when somebody waits."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def whole(here: Here) -> None:
    """The file holds every snapshot of the market, as it was measured."""
    at, base, _ = measured(here.market)
    read = here.interest()
    assert np.array_equal(read["event_time"], at)
    assert np.array_equal(read["base"], base)


def day(n: int) -> int:
    return START + n * DAY


# What the archive publishes


def test_end_and_start_labels_become_one_series(here: Here) -> None:
    report = here.run()
    whole(here)
    assert report.problems == []
    assert report.coverage[0].holes == ()
    assert report.coverage[0].rows == DAYS * 288
    dates = freqtrade.read_table(here.datadir / "futures" / INTEREST, ())["date"]
    assert str(dates.dtype) == "datetime64[ms, UTC]"
    assert ns(dates)[0] == START  # the start of the period whose end was measured


@pytest.mark.slow
def test_freqtrade_writes_in_a_process_of_its_own(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freqtrade_files, "in_own_process", IN_OWN_PROCESS)
    here.run()
    whole(here)


def test_a_file_without_header_unsorted_with_repeats(here: Here) -> None:
    at, base, usd = measured(here.market)
    inside = (at > day(1)) & (at <= day(2))
    lines = vendors.metrics_rows("BTCUSDT", at[inside], base[inside], usd[inside], start=False)
    mixed = [*reversed(lines), lines[3], lines[7]]
    here.vendor.add(metrics_path("BTCUSDT", day(1)), vendors.metrics_zip(mixed, header=False))
    assert here.run().problems == []
    whole(here)


def test_the_boundary_row_that_stands_in_both_files_is_read_once(here: Here) -> None:
    # 2026-06-25: the last end-labelled file ends with 00:00 of the next day, the first start-labelled one begins with
    # it.
    at, base, usd = measured(here.market)
    inside = (at > day(2)) & (at <= day(3))
    lines = vendors.metrics_rows("BTCUSDT", at[inside], base[inside], usd[inside], start=True)
    assert lines[0].startswith("2026-01-07 00:00:00")
    here.run()
    whole(here)


@pytest.mark.parametrize("unit", ["text", "ms", "us"])
def test_time_units_are_recognised_by_magnitude(here: Here, unit: str) -> None:
    if unit != "text":
        at, base, usd = measured(here.market)
        inside = (at > day(0)) & (at <= day(1))
        lines = vendors.metrics_rows("BTCUSDT", at[inside], base[inside], usd[inside], start=False)
        scale = {"ms": 1_000_000, "us": 1_000}[unit]
        lines = [f"{t // scale}," + line.split(",", 1)[1] for t, line in zip(at[inside].tolist(), lines, strict=True)]
        here.vendor.add(metrics_path("BTCUSDT", day(0)), vendors.metrics_zip(lines))
    here.run()
    whole(here)


def test_blank_and_zero_are_holes_not_numbers(here: Here) -> None:
    at, base, usd = measured(here.market)
    inside = (at > day(1)) & (at <= day(2))
    lines = vendors.metrics_rows("BTCUSDT", at[inside], base[inside], usd[inside], start=False)
    lines[10] = lines[10].replace(repr(float(base[inside][10])), '""'.strip('"'))
    lines[11] = lines[11].replace(repr(float(base[inside][11])), "0")
    lines[12] = lines[12].replace(",1.25,", ",,")
    here.vendor.add(metrics_path("BTCUSDT", day(1)), vendors.metrics_zip(lines))
    report = here.run(steps=("interest", "extras"))
    (hole,) = report.coverage[0].holes
    assert (hole.stop - hole.start) // FIVE == 2
    ratios = store.read(store.series_dir(here.datadir / "liqsignals", "ratio", "binance", PAIR, "5m"), records.RATIO)
    assert np.isnan(ratios["account"][288 + 12])
    assert (ratios["known_at"] == ratios["event_time"] + 2 * FIVE).all()


@pytest.mark.parametrize("blank", ['""', "", '" "', '"null"', "NULL", "NaN", '"None"', "n/a"])
@pytest.mark.parametrize("quoted", [False, True], ids=["plain", "quoted"])
def test_blanks_in_every_spelling_are_missing_numbers(blank: str, quoted: bool) -> None:
    def field(text: str) -> str:
        return f'"{text}"' if quoted else text

    at = START + FIVE * np.arange(1, 289)
    lines = [
        ",".join([field(row[0]), field("BTCUSDT"), field("12.5"), field("90000.0"), blank, blank, blank, field("0.9")])
        for row in ([pd.Timestamp(t).strftime("%Y-%m-%d %H:%M:%S")] for t in at)
    ]
    raw = vendors.zipped("\r\n".join([",".join(map(field, binance.METRICS)), *lines]) + "\r\n")
    interest, ratios = binance.parse_metrics(raw, NOW), binance.parse_metrics_ratios(raw, NOW)
    assert (interest["base"] == 12.5).all()
    assert len(interest) == len(ratios) == 288
    assert np.isnan(ratios["account"]).all()
    assert (ratios["taker"] == 0.9).all()


@pytest.mark.parametrize(
    "line", ['2026-01-05 00:05:00,"BTCUSDT,1,2,3,4,5,6', '2026-01-05 00:05:00,BTCUSDT,"1"2,2,3,4,5,6']
)
def test_quotes_that_do_not_match_are_refused(line: str) -> None:
    with pytest.raises(ParseError, match="quotes that do not match"):
        binance.parse_metrics(vendors.zipped(line + "\n"), NOW)


def test_a_replaced_file_is_noticed(here: Here) -> None:
    here.run()
    at, base, usd = measured(here.market)
    inside = (at > day(1)) & (at <= day(2))
    lines = vendors.metrics_rows("BTCUSDT", at[inside], base[inside] + 1, usd[inside], start=False)
    here.vendor.add(metrics_path("BTCUSDT", day(1)), vendors.metrics_zip(lines))
    report = here.run()
    assert any("Binance replaced 1 files (BTCUSDT-metrics-2026-01-06.zip first)" in note for note in report.notes)
    assert np.array_equal(here.interest()["base"], np.where(inside, base + 1, base))


def test_nothing_is_fetched_or_written_twice(here: Here) -> None:
    here.run()
    path = here.datadir / "futures" / INTEREST
    before = path.stat().st_mtime_ns, path.stat().st_ino
    here.vendor.asked.clear()
    here.run()
    assert not [p for p in here.vendor.asked if p.endswith(".zip")]
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


# What goes wrong on the way. For each: what the user sees, and that nothing is lost or half-written.


def only_day_one_is_missing(here: Here, report: Report) -> None:
    (hole,) = report.coverage[0].holes
    assert (hole.start, hole.stop) == (day(1), day(2))
    at, base, _ = measured(here.market)
    kept = (at <= day(1)) | (at > day(2))
    assert np.array_equal(here.interest()["base"], base[kept])
    assert not list(here.datadir.rglob("*.tmp"))
    assert not list(here.datadir.glob(".liqsignals-*"))


def mended(here: Here) -> None:
    """The next run, with the fault gone, ends with the same bytes as if it had never been."""
    vendors.add_metrics(here.vendor, "BTCUSDT", *measured(here.market), flip=START + 2 * DAY)
    assert here.run().problems == []
    whole(here)


def test_a_corrupted_checksum(here: Here) -> None:
    path = metrics_path("BTCUSDT", day(1))
    here.vendor.add(path, here.vendor.files[path], checksum="0" * 64)
    report = here.run()
    (problem,) = report.problems
    assert "BTCUSDT-metrics-2026-01-06.zip: its content does not match its checksum" in problem
    assert "not used" in problem
    only_day_one_is_missing(here, report)
    mended(here)


def test_a_truncated_zip(here: Here) -> None:
    path = metrics_path("BTCUSDT", day(1))
    here.vendor.add(path, here.vendor.files[path][:-900])
    report = here.run()
    assert "the zip is damaged or incomplete" in report.problems[0]
    assert "BTCUSDT-metrics-2026-01-06.zip" in report.problems[0]
    only_day_one_is_missing(here, report)
    mended(here)


def test_a_zip_bomb_is_bounded(here: Here) -> None:
    bomb = vendors.zipped("0" * (20 << 20), level=9)
    assert len(bomb) < 100_000
    here.vendor.add(metrics_path("BTCUSDT", day(1)), bomb)
    report = here.run()
    assert "the zip unpacks to more than 8 MiB; not taken" in report.problems[0]
    only_day_one_is_missing(here, report)
    mended(here)


def test_a_zip_bomb_costs_no_memory() -> None:
    bomb = vendors.zipped("0" * (64 << 20), level=9)
    tracemalloc.start()
    try:
        with pytest.raises(ParseError, match="unpacks to more than 8 MiB"):
            decode.unzip(bomb, "metrics", 8 << 20)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_zip_that_lies_about_its_size(here: Here) -> None:
    bomb = bytearray(vendors.zipped("0" * (20 << 20), level=9))
    at = bomb.rfind(b"PK\x01\x02")
    bomb[at + 24 : at + 28] = (1000).to_bytes(4, "little")  # uncompressed size in the central directory
    here.vendor.add(metrics_path("BTCUSDT", day(1)), bytes(bomb))
    report = here.run()
    assert "the zip" in report.problems[0]
    only_day_one_is_missing(here, report)


def test_a_body_without_end_is_cut_off(here: Here) -> None:
    here.vendor.add(metrics_path("BTCUSDT", day(1)), os.urandom(9 << 20))
    report = here.run()
    assert "the answer is longer than 8192 KiB, more than such a file can be; not taken" in report.problems[0]
    only_day_one_is_missing(here, report)
    mended(here)


def test_two_files_in_one_zip(here: Here) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", "1")
        archive.writestr("b", "2")
    here.vendor.add(metrics_path("BTCUSDT", day(1)), out.getvalue())
    report = here.run()
    assert "the zip holds 2 files, not one" in report.problems[0]
    only_day_one_is_missing(here, report)


def test_other_columns_are_refused(here: Here) -> None:
    text = "create_time,symbol,sum_open_interest_value,sum_open_interest,a,b,c,d\n2026-01-06 00:05:00,BTCUSDT,1,1,1,1,1,1\n"
    here.vendor.add(metrics_path("BTCUSDT", day(1)), vendors.zipped(text))
    report = here.run()
    assert "unknown columns" in report.problems[0]
    only_day_one_is_missing(here, report)


def test_404_for_the_last_two_days_is_no_news(here: Here) -> None:
    for n in (2, 3):
        del here.vendor.files[metrics_path("BTCUSDT", day(n))]
        del here.vendor.files[metrics_path("BTCUSDT", day(n)) + ".CHECKSUM"]
    report = (
        here.run(now=day(4) + 2 * HOUR, stop=day(4) - 1, steps=("interest",))
        if False
        else _without_freqtrade(here, day(4))
    )
    assert report.problems == []
    assert not any("not in the archive" in note for note in report.notes)
    assert report.coverage[0].holes[0].start == day(2)
    assert np.array_equal(here.interest()["event_time"], measured(here.market)[0][: 2 * 288])


def _without_freqtrade(here: Here, now: int) -> Report:
    """A run at `now` that does not ask freqtrade for the newest days."""
    original = freqtrade_files.download_data
    freqtrade_files.download_data = lambda *args, **kwargs: []  # type: ignore[assignment]
    try:
        return here.run(now=now, stop=None)
    finally:
        freqtrade_files.download_data = original  # type: ignore[assignment]


def test_404_for_older_days_is_reported(here: Here) -> None:
    del here.vendor.files[metrics_path("BTCUSDT", day(1)) + ".CHECKSUM"]
    report = here.run()
    assert (
        "archive: BTC/USDT:USDT metrics: 1 days are not in the archive (BTCUSDT-metrics-2026-01-06.zip first)"
        in report.notes
    )
    only_day_one_is_missing(here, report)
    mended(here)


PASSING = {
    "429 with Retry-After": (429, {"Retry-After": "7"}),
    "429 with a date": (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "418": (418, {"Retry-After": "60"}),
    "500": 500,
    "503": 503,
    "half a body": "half",
    "a web page": "html",
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_tried_again(here: Here, fault: object) -> None:
    path = metrics_path("BTCUSDT", day(1))
    here.vendor.faults[path + ".CHECKSUM"] = [fault]
    here.vendor.faults[path] = [fault, fault] if fault != "html" else []
    report = here.run()
    assert report.problems == []
    whole(here)
    if isinstance(fault, tuple) and fault[1]["Retry-After"].isdigit():
        assert (
            f"binance-archive: it answered {fault[0]} (too many requests); waiting {fault[1]['Retry-After']} s"
            in report.notes
        )


STAYING = {
    "429": ((429, {"Retry-After": "1"}), "it answered 429 (too many requests)"),
    "500": (500, "it answered 500"),
    "half a body": ("half", "the connection broke"),
    "a web page": ("html", "it sent a web page instead of data: '<html><body>Please log in</body></html>'"),
}


@pytest.mark.parametrize(("fault", "said"), STAYING.values(), ids=STAYING.keys())
def test_what_stays_is_a_hole_with_a_reason(here: Here, fault: object, said: str) -> None:
    here.vendor.faults[metrics_path("BTCUSDT", day(1)) + ".CHECKSUM"] = [fault] * 6
    report = here.run()
    (problem,) = report.problems
    assert said in problem
    assert "failed 6 times" in problem
    assert "it goes on where it stopped" in problem
    only_day_one_is_missing(here, report)
    mended(here)


def test_a_hanging_connection_is_given_up(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = replace(binance.ARCHIVE.limits, silence=0.2, attempts=2)
    provider = replace(binance.ARCHIVE, limits=limits)
    monkeypatch.setattr("liqsignals.collect.download.binance.ARCHIVE", provider)
    here.vendor.faults[metrics_path("BTCUSDT", day(1)) + ".CHECKSUM"] = ["hang"]
    assert here.run().problems == []
    whole(here)
    here.vendor.faults[metrics_path("BTCUSDT", day(1)) + ".CHECKSUM"] = ["hang"] * 2
    (problem,) = here.run().problems
    assert "failed 2 times, last: no answer within 0.2 s" in problem
    whole(here)


def test_a_long_ban_ends_the_step_at_once(here: Here) -> None:
    here.vendor.faults["*"] = [(418, {"Retry-After": "86400"})]
    report = here.run()
    assert "it answered 418 and requests a pause of 1440 min" in report.problems[0]
    assert len(here.vendor.asked) <= 16  # those under way
    mended(here)


def test_a_provider_whose_clock_is_off(here: Here) -> None:
    here.vendor.faults["*"] = ["late"] * 3
    report = here.run()
    assert any("binance-archive: its clock is" in note and "s behind this machine's" in note for note in report.notes)
    whole(here)


def test_rows_from_the_future_are_refused(here: Here) -> None:
    report = _without_freqtrade(here, day(3) + 6 * HOUR)
    assert any("A clock is wrong" in problem for problem in report.problems)
    assert here.interest()["event_time"][-1] <= day(3)


# The user's own file


def test_the_users_rows_are_kept_and_read_the_same(here: Here) -> None:
    # His file covers the second half, end-labelled as freqtrade got it then; the archive knows only the first two days.
    late = here.market.interest[ns(here.market.interest["date"]) > day(1) + 6 * HOUR]
    write(here.datadir, "5m-open_interest", labelled(late))
    for n in (2, 3):
        del here.vendor.files[metrics_path("BTCUSDT", day(n)) + ".CHECKSUM"]
    here.run()
    whole(here)
    frame = freqtrade.read_table(here.datadir / "futures" / INTEREST, ())
    assert np.array_equal(frame["open_interest_value"], here.market.interest["open_interest_value"])


def test_a_directory_of_parquet_stays_one(here: Here) -> None:
    candles = here.datadir / "futures" / f"{STEM}-5m-futures.feather"
    here.market.candles.to_parquet(candles.with_suffix(".parquet"))
    candles.unlink()
    here.run()
    assert [p.suffix for p in (here.datadir / "futures").iterdir()] == [".parquet"] * 2
    frame = freqtrade.read_table(here.datadir / "futures" / INTEREST.replace(".feather", ".parquet"), ())
    assert np.array_equal(frame["open_interest_amount"], measured(here.market)[1])


@pytest.mark.parametrize("form", ["json", "jsongz"])
def test_a_directory_of_json_stays_one(here: Here, form: str) -> None:
    for path in (here.datadir / "futures").iterdir():
        path.unlink()
    rounded = here.market.candles.assign(date=lambda f: ns(f["date"]) // 10**6)
    path = here.datadir / "futures" / f"{STEM}-5m-futures{files.FORMATS[form]}"
    rounded.to_json(path, orient="values", compression="gzip" if form == "jsongz" else None)
    report = here.run()
    assert report.problems == []
    made = here.datadir / "futures" / INTEREST.replace(".feather", files.FORMATS[form])
    assert set((here.datadir / "futures").iterdir()) == {path, made}
    # freqtrade writes ten decimals.
    read = freqtrade.read_table(made, ())["open_interest_amount"]
    np.testing.assert_allclose(read, measured(here.market)[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "pair",
    ["BTC/USDT:USDT-261225", "BTC/USD:BTC", "BTC/USDT:BTC", "BTC/USD:BTC-261225", "BTC/USDT:USDT-261225-100000-C"],
)
def test_a_contract_that_is_not_the_perpetual_is_named_and_costs_the_others_nothing(here: Here, pair: str) -> None:
    report = here.run(pairs=(pair, PAIR))
    assert len(report.problems) == 1
    assert report.problems[0].startswith(f"binance: {pair} is none of the contracts that liqsignals knows there")
    whole(here)
    assert {path.name for path in (here.datadir / "futures").iterdir()} == {INTEREST, f"{STEM}-5m-futures.feather"}
    here.vendor.asked.clear()
    with pytest.raises(InputError, match=f"nothing to download: binance: {pair}"):
        here.run(pairs=(pair,))
    assert here.vendor.asked == []


def test_a_damaged_file_of_the_user_is_not_overwritten(here: Here) -> None:
    path = here.datadir / "futures" / INTEREST
    path.write_bytes(b"torn")
    report = here.run()
    assert any("cannot be read" in problem and INTEREST in problem for problem in report.problems)
    assert path.read_bytes() == b"torn"


def test_one_writer(here: Here) -> None:
    with (
        store.writer(here.datadir / "liqsignals", "download"),
        pytest.raises(InputError, match=f"another liqsignals download \\(process {os.getpid()}\\)"),
    ):
        here.run()


# Taker volume


def add_klines(here: Here, *, header: bool = True, unit: int = 1_000_000) -> None:
    candles = here.market.candles
    at = ns(candles["date"])
    rows = np.column_stack([*(candles[c] for c in ("open", "high", "low", "close", "volume")), candles["volume"] * 0.4])
    for n in range(DAYS):
        inside = (at >= day(n)) & (at < day(n + 1))
        here.vendor.add(
            klines_path("BTCUSDT", day(n)), vendors.klines_zip(at[inside], rows[inside], header=header, unit=unit)
        )


@pytest.mark.parametrize(("header", "unit"), [(True, 1_000_000), (False, 1_000_000), (True, 1_000)])
def test_taker_volume(here: Here, header: bool, unit: int) -> None:
    add_klines(here, header=header, unit=unit)
    report = here.run(steps=("extras",))
    taker = store.read(store.series_dir(here.datadir / "liqsignals", "taker", "binance", PAIR, "5m"), records.TAKER)
    assert np.array_equal(taker["event_time"], ns(here.market.candles["date"]) + FIVE)
    assert np.array_equal(taker["known_at"], taker["event_time"] + MINUTE)
    assert np.array_equal(taker["base"], here.market.candles["volume"])
    assert np.allclose(taker["buy_base"], here.market.candles["volume"] * 0.4)
    assert {c.series: c.holes for c in report.coverage} == {"binance ratio": (), "binance taker": ()}


# REST: the newest days of Binance, and other venues


def add_rest(here: Here) -> None:
    candles = here.market.candles
    rows = np.column_stack([*(candles[c] for c in ("open", "high", "low", "close", "volume")), candles["volume"] * 0.4])
    vendors.add_rest(here.vendor, *measured(here.market), rows)


def extra(here: Here, kind: str, venue: str, dtype: np.dtype, period: str = "5m") -> records.Records:
    return store.read(store.series_dir(here.datadir / "liqsignals", kind, venue, PAIR, period), dtype)


def test_rest_continues_the_archive(here: Here) -> None:
    """The last two days are not in the archive yet; the ratios and the volumes of both are one series."""
    add_rest(here)
    for n in (2, 3):
        del here.vendor.files[metrics_path("BTCUSDT", day(n)) + ".CHECKSUM"]
    report = here.run(steps=("extras",), now=day(4))
    ratios, taker = extra(here, "ratio", "binance", records.RATIO), extra(here, "taker", "binance", records.TAKER)
    at = measured(here.market)[0]
    assert report.problems == []
    assert np.array_equal(ratios["event_time"], at)
    assert np.array_equal(taker["event_time"], at)
    assert {name: set(ratios[name]) for name in ("top_account", "top_position", "account")} == {
        "top_account": {1.5}, "top_position": {2.25}, "account": {1.25},
    }  # fmt: skip
    here.vendor.asked.clear()
    here.run(steps=("extras",), now=day(4))
    assert not [p for p in here.vendor.asked if not p.endswith("CHECKSUM")], "what is on disk is not asked for again"


def test_other_venues(here: Here) -> None:
    add_rest(here)
    report = here.run(steps=("venues",), venues=("bybit", "okx"), now=day(4))
    at, base, _ = measured(here.market)
    assert report.problems == []
    for venue in ("bybit", "okx"):
        interest = extra(here, "open_interest", venue, records.OI_VALUE)
        assert np.array_equal(interest["event_time"], at)
        assert np.allclose(interest["base"], base, rtol=1e-12), "one-sided coins"
    assert np.allclose(extra(here, "ratio", "bybit", records.RATIO)["account"], 1.5)
    okx = extra(here, "taker", "okx", records.TAKER)
    assert np.allclose(okx["buy_base"], here.market.candles["volume"] * 0.4), "sold comes first in OKX's rows"
    settled = extra(here, "funding", "bybit", records.FUNDING, "events")
    assert set(settled["interval_h"]) == {8.0}
    # Where docs/decisions/009 says, in freqtrade's format: the tape reads it as a venue.
    frame = freqtrade.read_table(
        here.datadir / "liqsignals" / "venues" / "okx" / "futures" / f"{STEM}-1h-funding_rate.feather",
        ("funding_rate",),
    )
    assert len(frame) == DAYS * 3
    assert {c.series for c in report.coverage if c.holes} == set()


def test_numbers_as_text_empty_text_and_null(here: Here) -> None:
    add_rest(here)
    honest = here.vendor.answers["/v5/market/open-interest"]

    def answer(query: dict[str, str]) -> object:
        said = honest(query)
        said["result"]["list"][3] |= {"openInterest": "", "singleOpenInterest": None}
        said["result"]["list"][4] |= {"openInterest": float(said["result"]["list"][4]["openInterest"])}
        return said

    here.vendor.answers["/v5/market/open-interest"] = answer
    report = here.run(steps=("venues",), venues=("bybit",), now=day(4))
    (coverage,) = [c for c in report.coverage if c.series == "bybit open_interest"]
    pages = here.vendor.asked.count("/v5/market/open-interest")
    assert len(coverage.holes) == pages, "each blank is a hole of one row, none a zero"
    assert (extra(here, "open_interest", "bybit", records.OI_VALUE)["base"] > 1000).all()


def test_repeated_pages(here: Here) -> None:
    """A provider that sends its newest page whatever is asked: told, taken once, no endless loop."""
    add_rest(here)
    honest = here.vendor.answers["/v5/market/open-interest"]
    newest = honest(
        {"startTime": str(day(4) // 10**6 - 198 * 300_000), "endTime": str(day(4) // 10**6), "limit": "200"}
    )
    here.vendor.answers["/v5/market/open-interest"] = lambda query: newest
    report = here.run(steps=("venues",), venues=("bybit",), now=day(4))
    assert any("it sent rows of" in p and "the same page again?" in p for p in report.problems)
    rows = extra(here, "open_interest", "bybit", records.OI_VALUE)
    assert 0 < len(rows) <= 198
    assert (np.diff(rows["event_time"]) == FIVE).all()


def test_an_error_inside_a_good_answer(here: Here) -> None:
    add_rest(here)
    here.vendor.answers["/v5/market/open-interest"] = lambda query: {
        "retCode": 10001,
        "retMsg": "params error",
        "result": {},
    }
    report = here.run(steps=("venues",), venues=("bybit",), now=day(4))
    assert any("the provider returned an error: 10001, 'params error'" in p for p in report.problems)


def test_a_page_instead_of_json_is_tried_again(here: Here) -> None:
    add_rest(here)
    here.vendor.faults["/v5/market/account-ratio"] = ["html", b'{"result": ']
    report = here.run(steps=("venues",), venues=("bybit",), now=day(4))
    assert len(extra(here, "ratio", "bybit", records.RATIO)) < DAYS * 288
    assert any("not JSON" in p for p in report.problems)
    here.run(steps=("venues",), venues=("bybit",), now=day(4))
    assert len(extra(here, "ratio", "bybit", records.RATIO)) == DAYS * 288


def test_special_funding_is_left_out() -> None:
    """It may share its time with the Regular rate (2026-07-28)."""
    at = START // 10**6
    rows = [
        {"symbol": "X", "fundingRate": "0.0001", "fundingTime": at + 3, "markPrice": "", "rateType": "Regular"},
        {"symbol": "X", "fundingRate": "0.05", "fundingTime": at + 4 * 3_600_000, "rateType": "Special"},
        {"symbol": "X", "fundingRate": "0.0002", "fundingTime": at + 4 * 3_600_000, "rateType": "Regular"},
        {"symbol": "X", "fundingRate": "0.0003", "fundingTime": at + 5 * 3_600_000, "rateType": "Regular"},
    ]
    got = binance.parse_funding(json.dumps(rows).encode(), NOW)
    assert got["rate"].tolist() == [0.0002, 0.0003]
    assert got["interval_h"].tolist() == [4.0, 1.0]
    assert got["event_time"].tolist() == [START + 4 * HOUR, START + 5 * HOUR]


def test_a_run_that_ended_between_two_ratios_goes_on(here: Here) -> None:
    add_rest(here)
    here.run(steps=("venues",), venues=("okx",), now=day(4))
    folder = store.series_dir(here.datadir / "liqsignals", "ratio", "okx", PAIR, "5m")
    whole_rows = store.read(folder, records.RATIO)
    (month,) = folder.glob("*.parquet")
    month.unlink()
    half = whole_rows.copy()
    half["top_position"] = np.nan
    store.append(folder, half)
    here.run(steps=("venues",), venues=("okx",), now=day(4))
    assert store.read(folder, records.RATIO).tobytes() == whole_rows.tobytes()


# Exchange flows


def add_flows(here: Here, days: int = 130, *, factor: float = 1.0, page: int = 50) -> None:
    """Coin Metrics' answer: pages of rows, numbers as text, the newest day without numbers yet."""
    first = START - 120 * DAY
    rows = []
    for n in range(days):
        done = first + (n + 1) * DAY + 3 * HOUR
        told = n < days - 1
        rows.append(
            {
                "asset": "btc", "time": f"{pd.Timestamp(first + n * DAY):%Y-%m-%dT%H:%M:%S}.000000000Z",
                **({
                    "FlowInExNtv": f"{(30_000 + 10 * n) * factor:.3f}", "FlowOutExNtv": "31000.5", "SplyExNtv": "2504439.232",
                    "AssetEODCompletionTime": str(done // 10**9),
                } if told else {}),
            }
        )  # fmt: skip

    def answer(query: dict[str, str]) -> object:
        assert query["assets"] == "btc"
        late = [r for r in rows if r["time"][:10] >= query["start_time"]]
        at = int(query.get("next_page_token", "0"))
        more = (
            {"next_page_token": str(at + page), "next_page_url": "https://elsewhere"} if at + page < len(late) else {}
        )
        return {"data": late[at : at + page], **more}

    here.vendor.answers["/v4/timeseries/asset-metrics"] = answer


def flows_file(here: Here) -> Path:
    return here.datadir / "liqsignals" / "flows" / "coinmetrics-btc-exchange-flows-1d.csv"


def test_flows_and_their_vintages(here: Here) -> None:
    add_flows(here)
    report = here.run(steps=("flows",), now=day(12))
    assert report.problems == []
    assert any("CC BY-NC 4.0: non-commercial use, with attribution" in note for note in report.notes)
    stored = flows.read_flows(flows_file(here))
    assert stored["inflow"][-1] == 30_000 + 10 * 128
    first = flows_file(here).read_bytes()
    add_flows(here, days=131, factor=1.01)
    here.run(steps=("flows",), now=day(13))
    kept = sorted((here.datadir / "liqsignals" / "flows" / "vintages" / "btc").glob("*"))
    assert [p.name for p in kept] == ["2026-01-17.csv", "2026-01-18.csv"]
    assert kept[0].read_bytes() == first
    assert kept[1].read_bytes() == flows_file(here).read_bytes() != first


def test_a_vintage_that_lost_days_does_not_replace_the_file(here: Here) -> None:
    add_flows(here)
    here.run(steps=("flows",), now=day(12))
    before = flows_file(here).read_bytes()
    add_flows(here, days=90)
    report = here.run(steps=("flows",), now=day(13))
    assert "days less than it holds" in report.problems[0]
    assert flows_file(here).read_bytes() == before


def test_the_users_own_flows_file_is_the_one_that_is_kept_up(here: Here) -> None:
    add_flows(here)
    folder = here.datadir / "liqsignals" / "flows"
    folder.mkdir(parents=True)
    (folder / "btc.csv").write_text("time,FlowInExNtv,FlowOutExNtv,SplyExNtv\n2025-12-01,1,2,3\n")
    assert here.run(steps=("flows",), now=day(12)).problems == []
    assert [p.name for p in folder.glob("*.csv")] == ["btc.csv"]
    assert len(flows.read_flows(folder / "btc.csv")) > 100
    assert (folder / "vintages" / "btc" / "before-2026-01-17.csv").exists()


@pytest.mark.parametrize(("status", "refused"), [(400, True), (401, True), (403, True), (404, False), (451, False)])
def test_a_coin_without_flows(here: Here, status: int, refused: bool) -> None:
    """The free data refuse a coin that they do not have; what else goes wrong is a problem."""
    here.vendor.faults["/v4/timeseries/asset-metrics"] = [status]
    report = here.run(steps=("flows",))
    assert len(report.problems) == (not refused)
    assert all(f"({status})" in problem for problem in report.problems)
    assert any("have none for BTC; flow_* columns stay NaN" in note for note in report.notes) == refused


def test_the_completion_stamp_counts_where_it_is_plausible() -> None:
    rows = [
        {"time": "2025-12-29T00:00:00.000000000Z", "FlowInExNtv": "1", "FlowOutExNtv": "1", "SplyExNtv": "1", "AssetEODCompletionTime": stamp}
        for stamp in (None,)
    ]  # fmt: skip
    end = pd.Timestamp("2025-12-30", tz="UTC").value
    for stamp, known in (
        (None, end + 4 * HOUR), (str((end + 6 * HOUR) // 10**9), end + 6 * HOUR), (str((end + 3 * HOUR) // 10**9), end + 4 * HOUR),
        (str((end + 90 * DAY) // 10**9), end + 4 * HOUR), ("", end + 4 * HOUR),
    ):  # fmt: skip
        rows[0]["AssetEODCompletionTime"] = stamp
        assert coinmetrics.parse_flows(json.dumps({"data": rows}).encode(), end + DAY)["known_at"].tolist() == [known]


# Vendors that need a key


BY_VENUE = coinglass.BY_VENUE


def by_venue(
    factor: float = 1.0, step: int = 4 * HOUR, asked: list[dict[str, str]] | None = None
) -> Callable[[dict[str, str]], object]:
    """CoinGlass' page oi-exchange-history-chart: one list of times, a list of USD for each exchange."""
    times = np.arange(START - 8 * HOUR, day(4) + 1, step)

    def answer(query: dict[str, str]) -> object:
        if asked is not None:
            asked.append(dict(query))
        usd = {"All": 14e9, "Binance": 8e9, "CME": 5e9, "Crypto.com": 1e9}
        lists: dict[str, list[float | None]] = {name: [factor * value] * len(times) for name, value in usd.items()}
        lists["CME"][5], lists["CME"][6] = None, 0
        return {"code": "0", "msg": "success", "data": {
            "time_list": [int(t) // 10**6 for t in times], "price_list": [1e5] * len(times), "data_map": lists,
        }}  # fmt: skip

    return answer


def only_coinglass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINGLASS_API_KEY", "secret")
    for name in ("COINALYZE_API_KEY", "CRYPTOQUANT_API_KEY", "GLASSNODE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_open_interest_by_venue(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    only_coinglass(monkeypatch)
    asked: list[dict[str, str]] = []
    here.vendor.answers |= {
        "/api/futures/liquidation/aggregated-history": lambda query: {"code": "0", "data": []},
        BY_VENUE: by_venue(asked=asked),
    }
    report = here.run(steps=("keyed",), now=day(4))
    assert report.problems == []
    assert asked == [{"symbol": "BTC", "range": "4h", "unit": "usd"}]
    extras = Extras(here.datadir / "liqsignals", PAIR)
    assert extras.sources("venue_interest") == ("binance", "cme", "cryptocom"), "their sum is no venue"
    rows = extras.read("venue_interest", "binance")
    assert rows is not None
    # What would be known after the answer may still change.
    assert np.array_equal(rows["event_time"], np.arange(START + 4 * HOUR, day(4) - 8 * HOUR + 1, 4 * HOUR))
    assert (rows["known_at"] == rows["event_time"] + 8 * HOUR).all()
    assert set(rows["usd"]) == {8e9}
    cme = extras.read("venue_interest", "cme")
    assert cme is not None
    assert len(cme) == len(rows) - 2, "blank and 0 are no rows"
    here.vendor.answers[BY_VENUE] = by_venue(2.0)
    here.run(steps=("keyed",), now=day(4) + 4 * HOUR)
    again = extras.read("venue_interest", "binance")
    assert again is not None
    assert again["usd"].tolist() == [8e9] * len(rows) + [16e9], "what was stored is not revised"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"time_list": None}, "no list 'time_list'"),
        ({"data_map": {"Binance": [1.0]}}, "does not have a value for each of the"),
        ({"data_map": {"Gate": 1, "Gate.io": 2}}, "for the second time"),
        ({"data_map": {"../..": 1}}, "is no name of an exchange"),
        ({"data_map": {"Binance": -1}}, "below 0"),
        ({"step": HOUR}, "rows of every 4 h were asked for"),
        ({"shift": HOUR}, "rows of every 4 h were asked for"),
    ],
)
def test_an_answer_by_venue_that_is_not_as_published(change: dict[str, Any], says: str) -> None:
    answer: Any = by_venue(step=change.get("step", 4 * HOUR))({})
    data = answer["data"]
    data["time_list"] = [t + change.get("shift", 0) // 10**6 for t in data["time_list"]]
    if "data_map" in change:
        n = len(data["time_list"])
        data["data_map"] = {k: v if isinstance(v, list) else [v] * n for k, v in change["data_map"].items()}
    if "time_list" in change:
        data["time_list"] = change["time_list"]
    with pytest.raises(ParseError, match=says):
        coinglass.parse_open_interest(json.dumps(answer).encode(), day(8))


def test_keyed_vendors(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = np.arange(START - HOUR, day(4), HOUR) // 10**6
    seen: list[dict[str, str]] = []

    def glass(query: dict[str, str]) -> object:
        seen.append(dict(query))
        inside = [int(t) for t in hours if int(query["start_time"]) <= t <= int(query["end_time"])]
        return {"code": "0", "msg": "success", "data": [
            {"time": t, "aggregated_long_liquidation_usd": "12.5", "aggregated_short_liquidation_usd": 3} for t in inside
        ]}  # fmt: skip

    def alyze(query: dict[str, str]) -> object:
        inside = [int(t) // 1000 for t in hours if int(query["from"]) <= t // 1000 <= int(query["to"])]
        return [
            {"symbol": s, "history": [{"t": t, "l": 1.5, "s": 0.25} for t in inside]}
            for s in query["symbols"].split(",")
        ]

    here.vendor.answers |= {
        "/api/futures/liquidation/aggregated-history": glass, "/v1/liquidation-history": alyze, BY_VENUE: by_venue(),
    }  # fmt: skip
    monkeypatch.setenv("COINGLASS_API_KEY", "secret")
    monkeypatch.setenv("COINALYZE_API_KEY", "secret")
    for name in ("CRYPTOQUANT_API_KEY", "GLASSNODE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    report = here.run(steps=("keyed",), now=day(4))
    assert report.problems == []
    assert any(
        "no key for cryptoquant (CRYPTOQUANT_API_KEY), glassnode (GLASSNODE_API_KEY); left out" in n
        for n in report.notes
    )
    glass_rows = extra(here, "liquidated", "coinglass", records.LIQUIDATED, "1h")
    assert np.array_equal(glass_rows["event_time"], np.arange(START + HOUR, day(4) + 1, HOUR))
    assert (glass_rows["known_at"] == glass_rows["event_time"] + HOUR).all()
    assert set(glass_rows["long_usd"]) == {12.5}
    assert set(extra(here, "liquidated", "coinalyze", records.LIQUIDATED, "1h")["long_usd"]) == {4.5}


def test_a_key_that_is_not_accepted(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    only_coinglass(monkeypatch)
    here.vendor.faults["*"] = [401] * 3
    problems = here.run(steps=("keyed",)).problems
    assert len(problems) == len(coinglass.PROVIDER.series)
    for problem in problems:
        assert "it does not accept the key in COINGLASS_API_KEY (401); check the key and its plan" in problem
        assert "secret" not in problem


# The macro calendar


def test_calendar() -> None:
    events = macro.calendar()
    at = pd.Timestamp("2025-11-01", tz="UTC").value
    known = events[events["known_at"] <= at]
    cpi = known[known["event"] == records.EVENTS.index("cpi")]
    assert pd.Timestamp("2025-12-18 13:30", tz="UTC").value not in cpi["scheduled_at"], "it was rescheduled later"
    assert pd.Timestamp("2025-11-13 13:30", tz="UTC").value in cpi["scheduled_at"]
    assert not (events["released_at"] == pd.Timestamp("2025-11-13 13:30", tz="UTC").value).any(), "never published"
    fomc = events[(events["event"] == 0) & (events["released_at"] == 0)]["scheduled_at"]
    assert pd.Timestamp("2026-03-18 18:00", tz="UTC").value in fomc, "14:00 in New York's summer time"
    assert pd.Timestamp("2026-01-28 19:00", tz="UTC").value in fomc, "and in its winter time"


def test_calendar_is_loud_60_days_before_its_end(here: Here) -> None:
    last = pd.Timestamp("2026-12-10 13:30", tz="UTC").value
    assert macro.ends_soon(macro.calendar(), last - 61 * DAY) == []
    report = here.run(steps=("macro",), now=last - 59 * DAY)
    assert report.notes == [
        "macro calendar: the last cpi date is 2026-12-10T13:30:00Z, 59 days ahead; after it no event is known. Way out: update "
        "liqsignals"
    ]


# Freqtrade's part, against the project's loopback exchange


@pytest.mark.slow
def test_candles_and_newest_open_interest_through_freqtrade(tmp_path: Path) -> None:
    market = make_market(40)
    source = write_datadir(tmp_path / "source", market, flows=False, flip=START_LABELS)
    write(source, "1h-mark", resampled(market.candles, "1h"))
    datadir = tmp_path / "user" / "binance"
    datadir.mkdir(parents=True)
    vendor = Vendor()
    at, base, usd = measured(market)
    vendors.add_metrics(vendor, "BTCUSDT", at[at <= day(38)], base[at <= day(38)], usd[at <= day(38)], flip=0)
    now = day(40)
    told: list[str] = []
    with loopback(source, lambda: now // 10**6) as overlay, vendors.serve(vendor) as url:
        plan = Plan(
            datadir, "binance", (PAIR,), START, urls={"binance-archive": url}, now=now, configs=(overlay,),
            steps=("candles", "interest"),
        )  # fmt: skip
        report = download(plan, told.append)
    assert report.problems == []
    got = freqtrade.read_table(datadir / "futures" / f"{STEM}-5m-futures.feather", ("close",))
    # Freqtrade leaves out the newest row of every kind: it may not be complete.
    assert np.array_equal(ns(got["date"]), ns(market.candles["date"])[:-1])
    assert (datadir / "futures" / f"{STEM}-1h-funding_rate.feather").exists()
    assert (datadir / "futures" / f"{STEM}-1h-mark.feather").exists()
    bars = freqtrade.candles(datadir, PAIR, "5m")
    path = datadir / "futures" / INTEREST
    read = freqtrade.open_interest(freqtrade.read_table(path, ()), "5m", bars, FIVE, "binance", str(path))[0]
    assert np.array_equal(read["event_time"], at[:-1]), (
        "the archive, then the newest two days through freqtrade: no seam"
    )
    assert np.array_equal(read["base"], base[:-1])
    assert {c.series: c.holes for c in report.coverage} == {"candles 5m": (), "open interest 5m": ()}


def test_freqtrade_takes_no_row_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A past span, or an earlier one: freqtrade drops the last candle and does not fetch it again."""
    market = make_market(3)
    datadir = write_datadir(tmp_path, market, flows=False)
    path = datadir / "futures" / f"{STEM}-5m-futures.feather"
    candles = market.candles

    def freqtrade(command: list[str]) -> freqtrade_command.Finished:
        stage = Path(command[command.index("--datadir") + 1])
        earlier = candles.iloc[:100].assign(date=candles["date"].iloc[:100] - pd.Timedelta("3d"))
        pd.concat([earlier, candles.iloc[:-1]], ignore_index=True).to_feather(stage / "futures" / path.name)
        return freqtrade_command.Finished(0, "")

    monkeypatch.setattr(freqtrade_command, "run", freqtrade)
    assert (
        freqtrade_files.download_data(
            datadir, "binance", [PAIR], ["futures"], ["5m"], "20260101-20260103", prepend=True
        )
        == []
    )
    got = pd.read_feather(path)
    assert len(got) == len(candles) + 100
    assert got["date"].is_monotonic_increasing
    assert got["close"].iloc[-1] == candles["close"].iloc[-1]


@pytest.mark.slow
def test_killed_and_started_again(tmp_path: Path) -> None:
    """A small version of `make kill`."""
    hit, _ = kill_download.run(2, 11, tmp_path, per_round=3)
    assert hit >= 2


class Stopped(BaseException):
    """What no handler catches."""


@pytest.mark.slow
def test_stopped_before_any_file_takes_its_name(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of a run's renames in turn is the last thing that does not happen: the next run ends with the same bytes."""
    add_rest(here)
    add_klines(here)
    late = here.market.interest[ns(here.market.interest["date"]) > day(1) + 6 * HOUR]
    write(here.datadir, "5m-open_interest", labelled(late))
    rename, done, stop_at = Path.replace, [0], [-1]

    def counted(self: Path, target: Path) -> Path:
        if done[0] == stop_at[0]:
            raise Stopped
        done[0] += 1
        return rename(self, target)

    def run(name: str, at: int) -> dict[str, str]:
        datadir = tmp_path / name / "binance"
        if not datadir.exists():
            shutil.copytree(here.datadir, datadir)
        done[0], stop_at[0] = 0, at
        steps = ("interest", "extras", "venues")
        with contextlib.suppress(Stopped):
            here.run(datadir=datadir, steps=steps, venues=("bybit",), start=day(1), stop=day(2), now=day(DAYS + 35))
        return kill_download.content(datadir)

    monkeypatch.setattr(Path, "replace", counted)
    wanted = run("wanted", -1)
    renames = done[0]
    assert renames > 8
    for at in range(renames):
        name = f"stopped{at}"
        assert run(name, at) != wanted
        kill_download.check_whole(tmp_path / name / "binance", here.vendor)
        assert run(name, -1) == wanted, f"stopped before rename {at}"


@pytest.mark.parametrize("step", ["candles", "interest", "extras", "flows"])
def test_without_internet_the_first_name_ends_the_run(here: Here, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """No retries, no other step, no freqtrade that tries for minutes; nothing is written."""
    hosts: list[object] = []

    def fails(host: object, *args: object, **kwargs: object) -> None:
        hosts.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def waits(*args: object, **kwargs: object) -> None:
        raise AssertionError("freqtrade was started")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    monkeypatch.setattr(freqtrade_files, "download_data", waits)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    before = {path: path.read_bytes() for path in (here.datadir / "futures").iterdir()}
    with pytest.raises(Offline, match="cannot be resolved") as caught:
        here.run(urls={}, steps=(step, "macro"))
    assert "run the same command again" in caught.value.remedy
    assert len(set(hosts)) == 1
    assert before == {path: path.read_bytes() for path in (here.datadir / "futures").iterdir()}

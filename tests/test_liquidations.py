"""Tables of real liquidations: every form that people have, and every one that must not be guessed at.

The rows are made up, in the shapes of shared/research/sources.md 0.3 (sides), CoinGlass v4 and Coinalyze (their JSON
envelopes), and liqsignals' own extras and prints.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import START, as_tape, make_market

from liqsignals.clock import HOUR, to_dates
from liqsignals.data.tape import Tape
from liqsignals.errors import InputError
from liqsignals.evaluation import liquidations

N = 12
HOURS = START + HOUR * np.arange(N)
LONG, SHORT = 1e5 * (1.0 + np.arange(N)), 2e5 + np.arange(N)
ISO = [f"2026-01-05T{h:02d}:00:00Z" for h in range(N)]


@pytest.fixture(scope="module")
def tape() -> Tape:
    return as_tape(make_market(1.0, seed=3))


def table(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(columns)


def saved(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".feather":
        frame.to_feather(path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")) + "\n")
    else:
        path.write_text(json.dumps(frame.to_dict("records")))
    return path


OURS = table(date=to_dates(HOURS), liq_long_usd=LONG, liq_short_usd=SHORT)
COINGLASS = table(time=HOURS // 1_000_000, long_liquidation_usd=LONG, short_liquidation_usd=SHORT)
COINALYZE = table(t=HOURS // 1_000_000_000, l=LONG, s=SHORT)


@pytest.mark.parametrize(
    ("name", "frame", "unit"),
    [
        ("ours.parquet", OURS, None),
        ("ours.feather", OURS, "usd"),
        ("ours.csv", table(date=ISO, liq_long_usd=LONG, liq_short_usd=SHORT), None),
        ("offset.csv", table(date=[t.replace("Z", "+00:00") for t in ISO], long=LONG, short=SHORT), "usd"),
        ("coinglass.csv", COINGLASS, None),
        ("coinglass.json", COINGLASS, None),
        (
            "coin.jsonl",
            COINGLASS.rename(columns=lambda c: c if c == "time" else f"aggregated_{c}"),
            None,
        ),
        ("coinalyze.csv", COINALYZE, "usd"),
        ("extras.parquet", table(event_time=HOURS + HOUR, known_at=HOURS, long_usd=LONG, short_usd=SHORT), None),
        ("micro.csv", table(t=HOURS // 1000, l=LONG, s=SHORT), "usd"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_every_table_is_the_same_hours_and_dollars(
    tmp_path: Path, name: str, frame: pd.DataFrame, unit: str | None
) -> None:
    found = liquidations.read(saved(frame, tmp_path / name), unit=unit)
    assert np.array_equal(found.hours, HOURS)
    assert np.array_equal(found.usd, [LONG, SHORT])
    assert found.notes


def test_the_vendors_envelopes(tmp_path: Path) -> None:
    rows = {"coinglass": COINGLASS.to_dict("records"), "coinalyze": COINALYZE.to_dict("records")}
    glass, alyze = tmp_path / "glass.json", tmp_path / "alyze.json"
    glass.write_text(json.dumps({"code": "0", "msg": "success", "data": rows["coinglass"]}))
    alyze.write_text(json.dumps([{"symbol": "BTCUSDT_PERP.A", "history": rows["coinalyze"]}]))
    for path, unit in ((glass, None), (alyze, "usd")):
        assert np.array_equal(liquidations.read(path, unit=unit).usd, [LONG, SHORT])


def test_rows_in_any_order_and_holes_stay_holes(tmp_path: Path) -> None:
    mixed = OURS.iloc[[5, 0, 1, 9, 2, 3]]
    found = liquidations.read(saved(mixed.reset_index(drop=True), tmp_path / "t.parquet"))
    assert np.array_equal(found.hours, HOURS[[0, 1, 2, 3, 5, 9]])
    assert any("4 hours" in note and "not zero" in note for note in found.notes)
    empty = OURS.assign(liq_short_usd=[np.nan, *SHORT[1:]])
    assert np.array_equal(liquidations.read(saved(empty, tmp_path / "e.parquet")).hours, HOURS[1:])


def test_what_the_source_left_out_is_said(tmp_path: Path) -> None:
    marked = OURS.assign(liq_row_absent_in_source=np.arange(N) < 3)
    found = liquidations.read(saved(marked, tmp_path / "t.parquet"))
    assert len(found.hours) == N
    assert any(note.startswith("3 hours are marked as absent") for note in found.notes)


def test_coins_become_dollars_at_the_hours_mean_close(tmp_path: Path, tape: Tape) -> None:
    base = saved(table(date=to_dates(HOURS), liq_long_base=LONG / 1e4, liq_short_base=SHORT / 1e4), tmp_path / "b.csv")
    found = liquidations.read(base, tape)
    price = tape.bars["close"][: 12 * N].reshape(N, 12).mean(axis=1)
    np.testing.assert_allclose(found.usd, np.stack([LONG, SHORT]) / 1e4 * price, rtol=1e-12)
    # An hour without all its candles has no price, and is left out.
    holed = Tape(tape.pair, tape.bar_ns, tape.period_ns, np.delete(tape.bars, 30))
    assert np.array_equal(liquidations.read(base, holed).hours, np.delete(HOURS, 2))


def prints(**changes: object) -> pd.DataFrame:
    at = START + HOUR // 2 * np.arange(10)
    base = table(
        event_time=at,
        known_at=at + 10**9,
        side=np.arange(10) // 2 % 2,
        price=np.full(10, 50_000.0),
        base=np.full(10, 0.5),
    )
    return base.assign(**changes)


@pytest.mark.parametrize("how", ["side", "liquidated_side", "words", "usd"])
def test_prints_add_up_by_hour(tmp_path: Path, how: str) -> None:
    frame = {
        "side": prints(),
        "liquidated_side": prints().rename(columns={"side": "liquidated_side"}),
        "words": prints(side=np.where(np.arange(10) // 2 % 2 == 0, "long", "SHORT")),
        "usd": prints(usd=25_000.0, price=1.0),
    }[how]
    found = liquidations.read(saved(frame, tmp_path / "p.parquet"))
    # Prints of 00:00 .. 04:30: the first and the last hour are partial.
    assert np.array_equal(found.hours, HOURS[1:4])
    assert found.usd.tolist() == [[0.0, 50_000.0, 0.0], [50_000.0, 0.0, 50_000.0]]


def test_an_hour_without_a_print_is_not_a_quiet_hour(tmp_path: Path) -> None:
    found = liquidations.read(saved(prints().drop(index=[4, 5]).reset_index(drop=True), tmp_path / "p.parquet"))
    assert np.array_equal(found.hours, HOURS[[1, 3]])
    assert any("1 hours without a print" in note for note in found.notes)


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("stamped", [False, True], ids=["whole rows", "known later"])
def test_equal_prints_count_once_and_that_is_said(tmp_path: Path, times: int, stamped: bool) -> None:
    once = liquidations.read(saved(prints(), tmp_path / "once.csv"))
    copies = [prints().assign(known_at=lambda f, n=n: f["known_at"] + n * stamped) for n in range(times)]
    again = pd.concat(copies).sort_values("event_time", kind="stable", ignore_index=True)
    found = liquidations.read(saved(again, tmp_path / "again.csv"))
    assert np.array_equal(found.usd, once.usd)
    assert any(
        note.startswith(f"{10 * (times - 1)} of {10 * times} rows repeat an earlier print") for note in found.notes
    )
    assert not any("repeat" in note for note in once.notes)


@pytest.mark.parametrize(("column", "value"), [("price", 50_000.5), ("base", 0.25), ("side", 1), ("venue", "bybit")])
def test_prints_that_differ_in_anything_count_each(tmp_path: Path, column: str, value: object) -> None:
    one = prints(venue="binance", symbol="BTCUSDT").iloc[:8]
    both = pd.concat([one, one.assign(**{column: value})], ignore_index=True)
    equal = int((one[column] == value).sum())
    found = liquidations.read(saved(pd.concat([both, prints()]), tmp_path / "p.csv"))
    assert any(f"{equal} of " in note for note in found.notes) == (equal > 0)


@pytest.mark.parametrize(
    "spelled",
    [
        {"side": ["LONG" if n % 2 else "SHORT" for n in range(10)]},
        {"venue": "Binance"},
        {"symbol": "BTC-USDT-SWAP"},
        {"symbol": None},
        {"usd": 1.0},
    ],
    ids=str,
)
def test_a_print_that_is_spelled_otherwise_is_the_same(tmp_path: Path, spelled: dict[str, Any]) -> None:
    sides = ["long" if n % 2 else "short" for n in range(10)]
    one = prints(venue="binance", symbol="BTCUSDT").assign(side=sides)
    one["usd"] = one["price"] * one["base"]
    once = liquidations.read(saved(one, tmp_path / "once.csv"))
    again = liquidations.read(saved(pd.concat([one, one.assign(**spelled)]), tmp_path / "again.csv"))
    assert np.array_equal(again.usd, once.usd)


@pytest.mark.parametrize("table", ["prints", "hours"])
@pytest.mark.parametrize("name", ["symbol", "pair", "coin", "asset"])
def test_several_coins_are_refused(tmp_path: Path, name: str, table: str) -> None:
    rows = (
        prints()
        if table == "prints"
        else pd.DataFrame({"date": to_dates(HOURS), "liq_long_usd": 1.0, "liq_short_usd": 1.0})
    )
    mixed = rows.assign(**{name: ["ETHUSDT" if n % 3 == 2 else "BTCUSDT" for n in range(len(rows))]})
    with pytest.raises(InputError, match=rf"column '{name}' holds several coins \(BTC, ETH\)\. Way out: keep one"):
        liquidations.read(saved(mixed, tmp_path / "p.csv"))
    liquidations.read(saved(rows.assign(**{name: "BTC"}), tmp_path / "p.csv"))


def test_the_coin_of_another_market_is_refused(tmp_path: Path, tape: Tape) -> None:
    path = saved(prints(symbol="ETHUSDT"), tmp_path / "p.csv")
    liquidations.read(path)
    with pytest.raises(InputError, match="column 'symbol' says ETHUSDT, the candles are"):
        liquidations.read(path, tape)


def test_rows_of_refusals_are_counted_in_the_file(tmp_path: Path) -> None:
    twice = pd.concat([prints(), prints()], ignore_index=True)
    twice.loc[17, "base"] = np.nan
    with pytest.raises(InputError, match="row 17 has no usd"):
        liquidations.read(saved(twice, tmp_path / "p.csv"))


REFUSED = {
    "no unit": ("t.csv", COINALYZE, None, ["l and s do not name their unit", "--unit usd"]),
    "other unit": ("t.parquet", OURS, "base", ["are in usd", "--unit is base", "leave it out"]),
    "unknown unit": ("t.parquet", OURS, "btc", ["--unit btc", "usd or base"]),
    "coins without candles": ("t.csv", COINALYZE, "base", ["is in coins", "without candles"]),
    "no columns": ("t.csv", table(date=ISO, volume=LONG), None, ["no columns of long and short", "date, volume"]),
    "two pairs": (
        "t.csv",
        table(date=ISO, liq_long_usd=LONG, liq_short_usd=SHORT, long=LONG, short=SHORT),
        None,
        ["several columns", "keep one pair"],
    ),
    "no time": ("t.csv", table(hour=ISO, liq_long_usd=LONG, liq_short_usd=SHORT), None, ["no time column", "rename"]),
    "naive dates": (
        "t.parquet",
        OURS.assign(date=OURS["date"].dt.tz_localize(None)),
        None,
        ["naive", "tz_localize('UTC')"],
    ),
    "naive text": (
        "t.csv",
        table(date=[*ISO[:4], "2026-01-05 04:00:00", *ISO[5:]], liq_long_usd=LONG, liq_short_usd=SHORT),
        None,
        ["row 4", "no time zone", "2026-01-31T12:00:00Z"],
    ),
    "no time at all": ("t.csv", table(date=["soonZ"] * N, long=LONG, short=SHORT), "usd", ["not a time"]),
    "mixed epochs": (
        "t.csv",
        COINALYZE.assign(t=np.where(np.arange(N) < 3, HOURS // 10**6, HOURS // 10**9)),
        "usd",
        ["column 't'", "not an epoch in s, ms, us or ns throughout"],
    ),
    "missing time": ("t.parquet", OURS.assign(date=OURS["date"].where(OURS.index != 2)), None, ["row 2", "no date"]),
    "negative": ("t.csv", COINGLASS.assign(short_liquidation_usd=-SHORT), None, ["row 0", "at least 0", "split it"]),
    "text": (
        "t.csv",
        OURS.assign(date=ISO, liq_long_usd=["n/k", *LONG[1:]]),
        None,
        ["row 0", "'n/k' is not a number"],
    ),
    "half hours": ("t.csv", COINALYZE.assign(t=HOURS // 10**9 + 1800), "usd", ["row 0", "not at a full hour", "1h"]),
    "twice": (
        "t.parquet",
        pd.concat([OURS, OURS.iloc[[7]]], ignore_index=True),
        None,
        ["row 12", "repeats the hour 2026-01-05T07:00:00Z", "keep one"],
    ),
    "daily": (
        "t.csv",
        COINALYZE.assign(t=(START + 24 * HOUR * np.arange(N)) // 10**9),
        "usd",
        ["rows are 24h apart", "interval of 1h"],
    ),
    "order's side": ("p.parquet", prints(side="SELL"), None, ["row 0", "side 'SELL'", "Binance and OKX", "Bybit"]),
    "prints in coins": ("p.parquet", prints(), "base", ["leave --unit out"]),
    "prints without time": ("p.csv", prints().drop(columns=["event_time"]), None, ["event_time"]),
    "print without a price": ("p.parquet", prints(price=[np.nan] * 10), None, ["row 0", "no usd"]),
    "too few prints": ("p.parquet", prints().iloc[:3].reset_index(drop=True), None, ["no whole hour", "longer"]),
    "ending": ("t.txt", COINGLASS, None, ["unknown ending", ".parquet"]),
    "no rows": ("t.parquet", OURS.iloc[:0], None, ["no rows"]),
}


@pytest.mark.parametrize("why", REFUSED)
def test_refusals_name_the_file_the_row_and_the_way_out(tmp_path: Path, why: str) -> None:
    name, frame, unit, words = REFUSED[why]
    path = tmp_path / name
    saved(frame, path)
    with pytest.raises(InputError) as caught:
        liquidations.read(path, unit=unit)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert why == "unknown unit" or str(path) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps({"code": "40001", "msg": "API key missing.", "data": None}), "API key missing."),
        (json.dumps([{"symbol": "A", "history": []}, {"symbol": "B", "history": []}]), "several symbols (A, B)"),
        (json.dumps({"rows": 1}), "not a list of rows"),
        (json.dumps([1, 2]), "not a list of rows"),
        ("<html>", "h.json"),
    ],
    ids=["vendor's error", "two symbols", "no rows", "numbers", "html"],
)
def test_json_that_is_no_table_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "h.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        liquidations.read(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*nothing\.csv"):
        liquidations.read(tmp_path / "nothing.csv")


def test_swapped_sides_are_refused_by_what_the_market_did(tmp_path: Path) -> None:
    market = make_market(3.0, seed=5, volatility=0.004)
    tape = as_tape(market)
    hours = START + HOUR * np.arange(72)
    opened, close = market.candles["open"].to_numpy()[::12], market.candles["close"].to_numpy()[11::12]
    change = np.log(close / opened)
    assert min((change < -0.01).sum(), (change > 0.01).sum()) >= 5
    falls, rises = np.where(change < 0, 1e6, 1e3), np.where(change > 0, 1e6, 1e3)
    right = saved(table(date=to_dates(hours), liq_long_usd=falls, liq_short_usd=rises), tmp_path / "right.parquet")
    wrong = saved(table(date=to_dates(hours), liq_long_usd=rises, liq_short_usd=falls), tmp_path / "wrong.parquet")
    assert len(liquidations.read(right, tape).hours) == 72
    with pytest.raises(InputError, match="the sides are swapped"):
        liquidations.read(wrong, tape)


def test_coins_without_candles_of_their_span_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "far.csv"
    pd.DataFrame(
        {
            "date": ["2020-01-01T00:00:00Z", "2020-01-01T01:00:00Z"],
            "liq_long_base": [1.0, 2.0],
            "liq_short_base": [1.0, 2.0],
        }
    ).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"none of its hours .* has all candles of BTC/USDT:USDT"):
        liquidations.read(path, as_tape(make_market(1)))

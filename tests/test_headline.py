"""The headline: its keys, that they are the columns' values, and what is liquidated on the way to a price."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import NARROW, as_tape, make_market

from liqsignals import features, liqmap, records
from liqsignals.clock import DAY, HOUR, iso
from liqsignals.data.tape import Tape
from liqsignals.errors import InputError
from liqsignals.liqmap import squeeze
from liqsignals.report import market
from liqsignals.report.console import console
from liqsignals.report.headline import headline, print_headline

TAPE = as_tape(make_market(2.0, 3, volatility=0.003))
LAST, CLOSE = int(TAPE.bars["event_time"][-1]), float(TAPE.bars["close"][-1])
KEYS = (
    "price", "distance", "usd", "usd_low", "usd_high", "oi_share", "percentile", "prob_4h", "prob_1d", "prob_3d",
    "forced_usd", "gain", "end_price",
)  # fmt: skip


def head_of(parameters: liqmap.Parameters = NARROW, **more: Any) -> dict[str, Any]:
    return headline(TAPE, LAST, CLOSE, parameters, **more)


def test_each_side_has_its_cluster_touch_and_cascade() -> None:
    head, seen = head_of(), 0
    for name, where, move, sign in (("short", "above", "squeeze", 1), ("long", "below", "flush", -1)):
        side = head[name]
        assert set(KEYS) <= set(side)
        for key, column in (
            ("price", f"liq_{where}_price"), ("usd_low", f"liq_{where}_usd_low"), ("prob_1d", f"{move}_prob_1d"),
            ("forced_usd", f"{move}_usd"), ("gain", f"{move}_gain"), ("end_price", f"{move}_end_price"),
        ):  # fmt: skip
            assert side[key] == head[column]
        if side["price"] is None:
            continue
        seen += 1
        assert side["oi_share"] == side["usd"] / head["open_interest_usd"]
        # A smaller impact ends nearer, a larger one farther.
        assert 1.0 <= side["gain_low"] <= side["gain"] <= side["gain_high"]
        assert sign * side["end_price_low"] <= sign * side["end_price"] <= sign * side["end_price_high"]
    assert seen
    for key in ("cumulative", "market_scale", "market_scale_age_h", "venues", "all_venues"):
        assert head[key] is None
    assert head["funding"]["rate_8h"] == head["fund_rate_8h"]
    assert set(head["unknown"]) >= {"market_scale", "venues"}


@pytest.mark.parametrize(("move", "column"), [(0.02, "liq_short_usd_2pct"), (-0.05, "liq_long_usd_5pct")])
def test_on_the_way_to_a_price_stands_what_the_band_holds(move: float, column: str) -> None:
    head = head_of(to_price=CLOSE * (1.0 + move))
    one = head["cumulative"]
    assert one["side"] == ("short" if move > 0 else "long")
    # The same levels, added in another order.
    assert one["usd"] == pytest.approx(head[column], rel=1e-12)
    assert 0 < one["usd_low"] < one["usd"] < one["usd_high"]
    sigma = np.array([head["squeeze_sigma_1d"]])
    distance = np.array([abs(math.log1p(move))])
    # The logarithm of a ratio against log1p.
    expected = squeeze.touch_probability(distance, sigma, squeeze.default().horizons[1])[0]
    assert one["prob_1d"] == pytest.approx(expected, rel=1e-12)


def test_a_price_that_is_none_is_refused() -> None:
    for price in (0.0, -3.0, CLOSE, math.nan, math.inf):
        with pytest.raises(InputError, match="--to-price"):
            head_of(to_price=price)


def test_without_parameters_of_the_squeeze_the_rest_stands_and_the_text_says_so() -> None:
    head = head_of(replace(NARROW, squeeze=None), to_price=CLOSE * 1.02)
    assert "squeeze" in head["unknown"]["prob"]
    assert head["cumulative"]["prob_3d"] is None
    assert head["cumulative"]["usd"] > 0
    assert head["short"]["gain_low"] is None
    with console.capture() as text:
        print_headline(head)
    assert "liquidated on the way" in text.get()
    assert "price trades there within 4 h / 1 d / 3 d: - / - / -" in text.get()


def test_the_text_has_the_numbers() -> None:
    head = head_of()
    with console.capture() as text:
        print_headline(head, "SIMULATED ")
    assert text.get().startswith("SIMULATED BTC/USDT:USDT at ")
    for name, orders in (("short", "buying"), ("long", "selling")):
        if head[name]["price"] is not None:
            assert f"of forced {orders}" in text.get()


def scaled(hours: int) -> Tape:
    """The market with a table of venues whose last row is `hours` old, and an event a day ahead."""
    at = np.array([LAST - hours * HOUR], np.int64)
    usd = {"binance": 1.5, "okx": 1.0, "cme": 2.5}
    worth = TAPE.open_interest["base"][-1] * CLOSE
    others = {
        ("venue_interest", venue): records.records(
            records.VENUE_INTEREST, at, at + 8 * HOUR, usd=np.array([part * worth])
        )
        for venue, part in usd.items()
    }
    due = np.array([LAST + DAY], np.int64)
    others["event", "macro"] = records.records(
        records.EVENT, due - 9 * DAY, due - 9 * DAY, event=1, scheduled_at=due, released_at=0
    )
    return replace(TAPE, others=others, venue="binance")


def test_the_market_around_the_map() -> None:
    head = headline(scaled(10), LAST, CLOSE, NARROW, to_price=CLOSE * 1.05)
    # The table's row over the map's open interest at its own time, which has moved since.
    assert head["market_scale"] == head["liq_market_scale"] > 2
    assert [v["name"] for v in head["venues"]] == ["cme", "binance", "okx"]
    assert [v["share"] for v in head["venues"]] == pytest.approx([0.5, 0.3, 0.2])
    assert {v["age_h"] for v in head["venues"]} == {10} == {head["market_scale_age_h"]}
    assert head["macro"]["next"] == {"event": "cpi", "at": iso(LAST + DAY), "hours": 24}
    assert head["long"]["percentile"] == head["liq_below_percentile"]
    with console.capture() as text:
        print_headline(head)
    plain = " ".join(text.get().split())
    assert f"{head['market_scale']:.1f} times as much, by open interest of 3 venues (10 h old; cme 50%" in plain
    assert "of 14 record days had more" in plain
    assert "next event: CPI in 1.0 days" in plain


def test_a_stale_table_gives_no_scale_but_its_age() -> None:
    head = headline(scaled(50), LAST, CLOSE, NARROW)
    assert head["market_scale"] is head["venues"] is None
    assert head["market_scale_age_h"] == 50
    assert "50 h old" in head["unknown"]["market_scale"]
    head = headline(scaled(7), LAST, CLOSE, NARROW)  # known an hour from now
    assert head["market_scale"] is head["market_scale_age_h"] is None


def test_maps_of_several_venues_are_summed_on_one_grid() -> None:
    class Two(features.Markets):
        venues = ("bybit",)

        def tape(self, pair: str, venue: str | None) -> Tape:
            return replace(TAPE, venue="bybit")

    head = headline(replace(TAPE, venue="binance"), LAST, CLOSE, NARROW, markets=Two())
    every = head["all_venues"]
    assert every["venues"] == ["binance", "bybit"]
    assert every["open_interest_usd"] == 2 * head["open_interest_usd"]
    # Twice the same map: the same clusters with twice the USD.
    for where in ("above", "below"):
        assert [c["usd"] for c in every[where]] == pytest.approx([2 * c["usd"] for c in head["clusters"][where]])
        assert [c["price"] for c in every[where]] == pytest.approx([c["price"] for c in head["clusters"][where]])
    assert every["above"] or every["below"]


def test_record_days_rank_an_amount() -> None:
    days = market.record_days()
    assert len(days) >= 10
    assert all(usd > 5e8 and source and np.datetime64(day) for day, usd, source in days)
    assert market.beside_record_days(5e9) == {
        "larger": 3, "of": len(days), "largest_smaller": {"date": "2021-02-22", "usd": 4.1e9},
    }  # fmt: skip
    assert market.beside_record_days(1.0)["largest_smaller"] is None

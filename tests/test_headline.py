"""The headline: its keys, that they are the columns' values, and what is liquidated on the way to a price."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import NARROW, as_tape, make_market

from liqsignals import liqmap
from liqsignals.errors import InputError
from liqsignals.liqmap import squeeze
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
    for key in ("cumulative", "market_scale", "market_scale_age_h", "venues"):
        assert head[key] is None
    assert head["funding"]["rate_8h"] == head["fund_rate_8h"]
    assert head["macro"] == {"next": None}
    assert set(head["unknown"]) >= {"market_scale", "venues", "macro.next"}


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

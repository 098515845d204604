"""Archive files say whose rows they hold; a file or a row of another symbol is not taken."""

from functools import partial

import numpy as np
import pytest
import vendors
from conftest import FIVE, START

from liqsignals.clock import DAY
from liqsignals.sources import binance
from liqsignals.sources.spec import ParseError

AT = START + FIVE * np.arange(1, 289)
NOW = int(AT[-1]) + DAY
LINES = vendors.metrics_rows("BTCUSDT", AT, np.full(288, 80_000.0), np.full(288, 4.8e9), start=False)


@pytest.mark.parametrize("parse", [binance.parse_metrics, binance.parse_metrics_ratios])
def test_a_row_of_another_symbol_is_named(parse: partial) -> None:
    assert len(parse(vendors.metrics_zip(LINES), NOW, "BTCUSDT")) == 288
    quoted = [line.replace("BTCUSDT", '"BTCUSDT"') for line in LINES]
    assert len(parse(vendors.metrics_zip(quoted), NOW, "BTCUSDT")) == 288
    for other in ("ETHUSDT", "BTCUSDC", "BTCUSD_PERP", "1000BTCUSDT"):
        mixed = [*LINES[:100], LINES[100].replace("BTCUSDT", other), *LINES[101:]]
        for symbol in ("BTCUSDT", ""):  # nobody need say whose file it is for rows that contradict each other
            with pytest.raises(
                ParseError, match=rf"metrics: row 100 \(2026-01-05 08:25:00\) is of '{other}', not of BTCUSDT"
            ):
                parse(vendors.metrics_zip(mixed), NOW, symbol)
    with pytest.raises(ParseError, match=r"row 0 .* is of 'BTCUSDT', not of ETHUSDT"):
        parse(vendors.metrics_zip(LINES), NOW, "ETHUSDT")


def test_a_file_named_after_another_symbol_is_not_taken() -> None:
    kline = f"{START // 10**6},1,1,1,1,1,{(START + FIVE) // 10**6 - 1},1,1,1,1,0\n"
    rate = f"{START // 10**6},8,0.0001\n"
    for parse, text, name in (
        (binance.parse_klines_archive, kline, "5m-2026-01-05"),
        (binance.parse_funding_archive, rate, "fundingRate-2026-01"),
        (binance.parse_metrics, "\n".join(LINES), "metrics-2026-01-05"),
    ):
        own, other = vendors.zipped(text, f"BTCUSDT-{name}.csv"), vendors.zipped(text, f"ETHUSDT-{name}.csv")
        assert len(parse(own, NOW, "BTCUSDT")) > 0
        with pytest.raises(ParseError, match=f"the zip holds 'ETHUSDT-{name}.csv', which is not of BTCUSDT"):
            parse(other, NOW, "BTCUSDT")

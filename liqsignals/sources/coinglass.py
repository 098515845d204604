"""CoinGlass v4 (paid): hourly liquidations of a coin, summed over Binance, Bybit and OKX (docs.coinglass.com)."""

import numpy as np

from liqsignals import records
from liqsignals.clock import HOUR
from liqsignals.records import Records
from liqsignals.sources import decode, shapes
from liqsignals.sources.spec import Limits, Provider, Series

MS = 1_000_000
PATH = "/api/futures/liquidation/aggregated-history"


def parse_liquidations(raw: bytes, received_at: int) -> Records:
    """LIQUIDATED (n,), USD per hour; the hour in progress is left out. Errors come as HTTP 200 with another `code`."""
    what = "coinglass liquidation/aggregated-history"
    table = decode.checked_rows(raw, what, "code", ("0", 0), "msg", "data")
    end = decode.stamps(decode.column(table, "time", what), f"{what}, time", received_at) + HOUR
    done = end <= received_at
    values = {
        name: decode.numbers(
            decode.column(table, f"aggregated_{name.split('_')[0]}_liquidation_usd", what), what, least=0.0
        )
        for name in ("long_usd", "short_usd")
    }
    end = end[done]
    rows = records.records(records.LIQUIDATED, end, end + HOUR, **{n: np.asarray(v)[done] for n, v in values.items()})
    return shapes.once(rows, what)


def _ask(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    return PATH, {
        "exchange_list": "Binance,Bybit,OKX",
        "symbol": pair.split("/")[0],
        "interval": "1h",
        "limit": 1000,
        "start_time": (start - HOUR) // MS,
        "end_time": stop // MS,
    }


PROVIDER = Provider(
    name="coinglass",
    base_url="https://open-api-v4.coinglass.com",
    licence="CoinGlass' plan of the user; no redistribution",
    limits=Limits(requests=25, per_seconds=60.0, concurrency=2),
    key_env="COINGLASS_API_KEY",
    key_header="CG-API-KEY",
    series=(
        Series(
            name="liquidated",
            kind="liquidated",
            path=PATH + "?exchange_list&symbol&interval&limit&start_time&end_time",
            unit_in="USD",
            unit_stored="USD",
            label="start of the hour",
            lag_ns=HOUR,
            evidence="delay not documented; one hour assumed",
            depth="by plan (Hobbyist: not below 4h)",
            parsers=((None, parse_liquidations),),
            ask=_ask,
            page_ns=900 * HOUR,
            reach_ns=None,
            period_ns=HOUR,
        ),
    ),
)

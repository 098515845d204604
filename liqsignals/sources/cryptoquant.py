"""CryptoQuant (paid): exchange inflow, outflow and reserve of BTC and ETH per UTC day (cryptoquant.com/docs)."""

from functools import partial

import numpy as np

from liqsignals import records
from liqsignals.clock import DAY, HOUR, iso
from liqsignals.errors import InputError
from liqsignals.records import Records
from liqsignals.sources import decode, shapes
from liqsignals.sources.spec import Limits, Provider, Series

#: The delay is not documented; three times Coin Metrics'.
LAG = 12 * HOUR
_FIELDS = {
    "inflow": ("inflow", "inflow_total"),
    "outflow": ("outflow", "outflow_total"),
    "supply": ("reserve", "reserve"),
}


def parse_flow(raw: bytes, received_at: int, *, column: str) -> Records:
    """FLOW (n,) in coins with `column` set, the others NaN. The day in progress is left out."""
    what = f"cryptoquant {_FIELDS[column][0]}"
    table = decode.rows(raw, what, "result", "data")
    end = decode.stamps(decode.column(table, "date", what), f"{what}, date", received_at) // DAY * DAY + DAY
    value = decode.numbers(decode.column(table, _FIELDS[column][1], what), what, least=0.0)
    keep = (end <= received_at) & np.isfinite(value)
    columns = {name: np.full(int(keep.sum()), np.nan) for name in _FIELDS} | {column: value[keep]}
    return shapes.once(records.records(records.FLOW, end[keep], end[keep] + LAG, **columns), what)


def _ask(endpoint: str, pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    coin = pair.split("/")[0].lower()
    if coin not in ("btc", "eth"):
        raise InputError(f"cryptoquant has no exchange flows for {coin.upper()}")
    return f"/v1/{coin}/exchange-flows/{endpoint}", {
        "exchange": "all_exchange",
        "window": "day",
        "from": iso(start - DAY)[:10].replace("-", ""),
        "to": iso(stop)[:10].replace("-", ""),
        "limit": 1000,
    }


PROVIDER = Provider(
    name="cryptoquant",
    base_url="https://api.cryptoquant.com",
    licence="CryptoQuant's plan of the user; no redistribution",
    limits=Limits(requests=10, per_seconds=60.0, concurrency=1),
    key_env="CRYPTOQUANT_API_KEY",
    key_header="Authorization",
    key_prefix="Bearer ",
    series=tuple(
        Series(
            name=f"flow_{column}",
            kind="flow",
            path=f"/v1/{{coin}}/exchange-flows/{endpoint}?exchange&window&from&to&limit",
            unit_in="coins",
            unit_stored="coins",
            label="the UTC day covered",
            lag_ns=LAG,
            evidence="not documented; three times Coin Metrics' delay",
            depth="by plan",
            parsers=((None, partial(parse_flow, column=column)),),
            ask=partial(_ask, endpoint),
            page_ns=900 * DAY,
            reach_ns=None,
            period_ns=DAY,
        )
        for column, (endpoint, _) in _FIELDS.items()
    ),
)

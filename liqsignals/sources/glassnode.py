"""Glassnode (paid): coins moved to and from exchanges per UTC day, and their balance (docs.glassnode.com).

Values are revised as address clustering changes; the point-in-time variants (since 2024/25) are not used here.
"""

from functools import partial

import numpy as np

from liqsignals import records
from liqsignals.clock import DAY, HOUR, SECOND
from liqsignals.records import Records
from liqsignals.sources import decode, shapes
from liqsignals.sources.spec import Limits, Provider, Series

LAG = 12 * HOUR
_PATHS = {
    "inflow": "transactions/transfers_volume_to_exchanges_sum",
    "outflow": "transactions/transfers_volume_from_exchanges_sum",
    "supply": "distribution/balance_exchanges",
}


def parse_flow(raw: bytes, received_at: int, *, column: str) -> Records:
    """FLOW (n,) in coins with `column` set, the others NaN. The day in progress is left out."""
    what = f"glassnode {_PATHS[column]}"
    table = decode.rows(raw, what)
    end = decode.stamps(decode.column(table, "t", what), f"{what}, t", received_at) // DAY * DAY + DAY
    value = decode.numbers(decode.column(table, "v", what), what, least=0.0)
    keep = (end <= received_at) & np.isfinite(value)
    columns = {name: np.full(int(keep.sum()), np.nan) for name in _PATHS} | {column: value[keep]}
    return shapes.once(records.records(records.FLOW, end[keep], end[keep] + LAG, **columns), what)


def _ask(path: str, pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    return f"/v1/metrics/{path}", {
        "a": pair.split("/")[0],
        "i": "24h",
        "c": "native",
        "s": (start - DAY) // SECOND,
        "u": stop // SECOND,
    }


PROVIDER = Provider(
    name="glassnode",
    base_url="https://api.glassnode.com",
    licence="Glassnode's plan of the user; no redistribution",
    limits=Limits(requests=20, per_seconds=60.0, concurrency=2),
    key_env="GLASSNODE_API_KEY",
    key_param="api_key",
    series=tuple(
        Series(
            name=f"flow_{column}",
            kind="flow",
            path=f"/v1/metrics/{path}?a&i&c&s&u&api_key",
            unit_in="coins",
            unit_stored="coins",
            label="the UTC day covered",
            lag_ns=LAG,
            evidence="not documented; three times Coin Metrics' delay",
            depth="by plan",
            parsers=((None, partial(parse_flow, column=column)),),
            ask=partial(_ask, path),
            page_ns=900 * DAY,
            reach_ns=None,
            period_ns=DAY,
        )
        for column, path in _PATHS.items()
    ),
)

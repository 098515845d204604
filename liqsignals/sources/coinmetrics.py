"""Coin Metrics' community API: exchange flows per UTC day, free, CC BY-NC 4.0 (docs.coinmetrics.io/api/v4).

History is recomputed as addresses are labelled: what was told of a day yesterday may be told otherwise tomorrow. The user's
file is the newest vintage, replaced whole; every vintage that was fetched is kept beside it.
"""

import numpy as np

from liqsignals import records
from liqsignals.clock import DAY, iso
from liqsignals.records import Records
from liqsignals.sources import decode, shapes
from liqsignals.sources.spec import Limits, ParseError, Provider, Series

PATH = "/v4/timeseries/asset-metrics"
METRICS = (
    "FlowInExNtv",
    "FlowInExUSD",
    "FlowOutExNtv",
    "FlowOutExUSD",
    "SplyExNtv",
    "SplyExUSD",
    "AssetEODCompletionTime",
)


def parameters(coin: str, start: int, token: str | None = None) -> dict[str, str | int]:
    """Query of one page; `token` is the page before's `next_page_token`."""
    query: dict[str, str | int] = {
        "assets": coin, "metrics": ",".join(METRICS), "frequency": "1d", "start_time": iso(start)[:10],
        "page_size": 10000, "paging_from": "start",
    }  # fmt: skip
    return query | ({"next_page_token": token} if token else {})


def token_of(raw: bytes) -> str | None:
    """Where the next page is, None on the last one."""
    answer = decode.answer(raw, "coinmetrics")
    token = answer.get("next_page_token") if isinstance(answer, dict) else None
    return token if isinstance(token, str) and token else None


def parse_flows(raw: bytes, received_at: int) -> Records:
    """FLOW (n,) of one page: coins per UTC day. Days without all three numbers are not known.

    A day is known at D+1 04:00 UTC, or when its AssetEODCompletionTime says, if that is later and within two days (older rows
    carry the stamp of their back-filling).
    """
    what = "coinmetrics asset-metrics"
    table = decode.rows(raw, what, "data")
    day = decode.stamps([_text(t)[:19] for t in decode.column(table, "time", what)], f"{what}, time", received_at)
    if (day % DAY != 0).any():
        raise ParseError(f"{what}: a row is no whole UTC day")
    values = {
        name: decode.numbers(decode.column(table, field, what, None), f"{what}, {field}", least=0.0)
        for name, field in (("inflow", "FlowInExNtv"), ("outflow", "FlowOutExNtv"), ("supply", "SplyExNtv"))
    }
    done = decode.numbers(decode.column(table, METRICS[-1], what, None), f"{what}, {METRICS[-1]}")
    end = day + DAY
    done = np.where((done * 1e9 > end) & (done * 1e9 < end + 2 * DAY), done * 1e9, 0.0)
    known = np.maximum(end + records.FLOW_LAG, done.astype(np.int64))
    told = np.isfinite(np.stack(list(values.values()))).all(axis=0) & (values["supply"] > 0)
    order = np.flatnonzero(told)[np.argsort(end[told], kind="stable")]
    # A day that was late holds up the ones after it: the newest known day is the newest day known.
    known = np.maximum.accumulate(known[order])
    return shapes.once(
        records.records(records.FLOW, end[order], known, **{n: v[order] for n, v in values.items()}), what
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ParseError(f"coinmetrics asset-metrics: {decode.shown(value)} is no time")
    return value


def csv_of(pages: list[bytes]) -> bytes:
    """The pages as one CSV in Coin Metrics' columns, numbers as they were told; what `readers.flows` reads."""
    rows = {}
    for raw in pages:
        for row in decode.rows(raw, "coinmetrics", "data"):
            if not isinstance(row, dict):
                raise ParseError(f"coinmetrics asset-metrics: a row is {decode.shown(row)}")
            day = _text(row.get("time"))[:10]
            decode.stamp(day, "coinmetrics asset-metrics, time")
            rows[day] = [_told(row.get(name)) for name in METRICS]
    lines = [",".join(["time", *METRICS])] + [",".join([day, *rows[day]]) for day in sorted(rows)]
    return ("\n".join(lines) + "\n").encode()


def _told(value: object) -> str:
    """A number as the provider wrote it; anything else is refused."""
    if value is None or value == "":
        return ""
    decode.number(value, "coinmetrics")
    return str(value)


PROVIDER = Provider(
    name="coinmetrics",
    base_url="https://community-api.coinmetrics.io",
    licence="Coin Metrics community data, CC BY-NC 4.0: non-commercial use, with attribution",
    limits=Limits(requests=9, per_seconds=6.5, concurrency=2),
    series=(
        Series(
            "flows", "flow", PATH + "?assets&metrics&frequency&start_time&page_size&next_page_token", "coins, text", "coins",
            "00:00 UTC of the day that it covers", records.FLOW_LAG,
            "AssetEODCompletionTime less the day's end was 2 h 33 to 3 h 23 on 2025-12-22..29", "2010 (BTC); BTC, ETH and few others",
            ((None, parse_flows),),
        ),
    ),
)  # fmt: skip

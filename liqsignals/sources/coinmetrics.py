"""Coin Metrics' community API: exchange flows per UTC day, free, CC BY-NC 4.0 (docs.coinmetrics.io/api/v4).

History is revised as addresses are labelled: a day's value may differ from one vintage to the next. The user's file is
the newest vintage, replaced as a whole; every fetched vintage is kept beside it.
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
    """Query of one page; `token` is the previous page's `next_page_token`."""
    query: dict[str, str | int] = {
        "assets": coin,
        "metrics": ",".join(METRICS),
        "frequency": "1d",
        "start_time": iso(start)[:10],
        "page_size": 10000,
        "paging_from": "start",
    }
    return query | ({"next_page_token": token} if token else {})


def token_of(raw: bytes) -> str | None:
    """Token of the next page, None on the last one."""
    answer = decode.answer(raw, "coinmetrics")
    token = answer.get("next_page_token") if isinstance(answer, dict) else None
    return token if isinstance(token, str) and token else None


def parse_flows(raw: bytes, received_at: int) -> Records:
    """FLOW (n,) of one page: coins per UTC day. Days without all three numbers are left out.

    A day is known at D+1 04:00 UTC, or at its AssetEODCompletionTime if that is later and within two days (older rows
    carry the time of a backfill).
    """
    what = "coinmetrics asset-metrics"
    table = decode.rows(raw, what, "data")
    day = decode.stamps([_text(t)[:19] for t in decode.column(table, "time", what)], f"{what}, time", received_at)
    if (day % DAY != 0).any():
        raise ParseError(f"{what}: a row is not a whole UTC day")
    values = {
        name: decode.numbers(decode.column(table, field, what, None), f"{what}, {field}", least=0.0)
        for name, field in (("inflow", "FlowInExNtv"), ("outflow", "FlowOutExNtv"), ("supply", "SplyExNtv"))
    }
    done = decode.numbers(decode.column(table, METRICS[-1], what, None), f"{what}, {METRICS[-1]}")
    end = day + DAY
    done = np.where((done * 1e9 > end) & (done * 1e9 < end + 2 * DAY), done * 1e9, 0.0)
    known = np.maximum(end + records.FLOW_LAG, done.astype(np.int64))
    complete = np.isfinite(np.stack(list(values.values()))).all(axis=0) & (values["supply"] > 0)
    order = np.flatnonzero(complete)[np.argsort(end[complete], kind="stable")]
    # known_at never decreases: a late day delays the days after it.
    known = np.maximum.accumulate(known[order])
    return shapes.once(
        records.records(records.FLOW, end[order], known, **{n: v[order] for n, v in values.items()}), what
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ParseError(f"coinmetrics asset-metrics: {decode.shown(value)} is not a time")
    return value


def csv_of(pages: list[bytes]) -> bytes:
    """The pages as one CSV in Coin Metrics' columns, numbers as published; data/flows.py reads it."""
    rows = {}
    for raw in pages:
        for row in decode.rows(raw, "coinmetrics", "data"):
            if not isinstance(row, dict):
                raise ParseError(f"coinmetrics asset-metrics: a row is {decode.shown(row)}")
            day = _text(row.get("time"))[:10]
            decode.stamp(day, "coinmetrics asset-metrics, time")
            rows[day] = [_verbatim(row.get(name)) for name in METRICS]
    lines = [",".join(["time", *METRICS])] + [",".join([day, *rows[day]]) for day in sorted(rows)]
    return ("\n".join(lines) + "\n").encode()


def _verbatim(value: object) -> str:
    """A number as text, exactly as the provider wrote it. Raises ParseError for anything else."""
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
            name="flows",
            kind="flow",
            path=PATH + "?assets&metrics&frequency&start_time&page_size&next_page_token",
            unit_in="coins, text",
            unit_stored="coins",
            label="00:00 UTC of the day covered",
            lag_ns=records.FLOW_LAG,
            evidence="AssetEODCompletionTime was 2 h 33 to 3 h 23 after the day's end on 2025-12-22..29",
            depth="2010 (BTC); BTC, ETH and a few others",
            parsers=((None, parse_flows),),
        ),
    ),
)

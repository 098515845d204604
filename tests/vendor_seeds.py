"""Valid payloads of flows, keyed vendors and the calendar by (provider, kind), for fuzzing: shapes of
research/sources.md 6, 7, 8.
"""

import json
from typing import Any

from liqsignals.clock import DAY, HOUR, iso, parse_time

NOW = parse_time("2026-11-20T12:00:00Z")
DAYS = [NOW // DAY * DAY - k * DAY for k in range(5, 0, -1)]
FOURS = [NOW // (4 * HOUR) * 4 * HOUR - k * 4 * HOUR for k in range(6, 1, -1)]
HOURS = [NOW // HOUR * HOUR - k * HOUR for k in range(5, 0, -1)]


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _cryptoquant(field: str) -> bytes:
    return _json(
        {
            "status": {"code": 200},
            "result": {"window": "day", "data": [{"date": iso(d)[:10], field: 12.5 + k} for k, d in enumerate(DAYS)]},
        }
    )


SEEDS: dict[tuple[str, str], list[bytes]] = {
    ("coinmetrics", "flow"): [
        _json({"data": [
            {
                "asset": "btc", "time": f"{iso(d)[:19]}.000000000Z", "FlowInExNtv": "32455.348", "FlowOutExNtv": "34643.597",
                "SplyExNtv": "2504439.232", "AssetEODCompletionTime": str((d + DAY + 3 * HOUR) // 10**9),
            }
            for d in DAYS
        ], "next_page_token": "abc"})
    ],
    ("coinglass", "liquidated"): [
        _json({"code": "0", "msg": "success", "data": [
            {"time": h // 10**6, "aggregated_long_liquidation_usd": "12.5", "aggregated_short_liquidation_usd": 3} for h in HOURS
        ]})
    ],
    ("coinglass", "venue_interest"): [
        _json({"code": "0", "msg": "success", "data": {
            "time_list": [t // 10**6 for t in FOURS], "price_list": [67490.3 + k for k in range(len(FOURS))],
            "data_map": {"Binance": [8018229234 + k for k in range(len(FOURS))], "CME": [1.2e10, None, 0, "12294999402.5", 1.25e10]},
        }})
    ],
    ("coinalyze", "liquidated"): [
        _json([{"symbol": s, "history": [{"t": h // 10**9, "l": 12.3, "s": 4.5} for h in HOURS]} for s in ("BTCUSDT_PERP.A", "BTCUSDT.6")])
    ],
    ("cryptoquant", "flow_inflow"): [_cryptoquant("inflow_total")],
    ("cryptoquant", "flow_outflow"): [_cryptoquant("outflow_total")],
    ("cryptoquant", "flow_supply"): [_cryptoquant("reserve")],
    ("glassnode", "flow"): [_json([{"t": d // 10**9, "v": 30000.5} for d in DAYS])],
    ("macro", "event"): [
        b"event,scheduled_at,announced_at,released_at,source\ncpi,2026-10-14T12:30:00Z,2026-01-01T00:00:00Z,2026-10-14T12:30:00Z,bls\n"
        b"fomc,2026-12-09T19:00:00Z,2026-01-01T00:00:00Z,,fed\n"
    ],
}  # fmt: skip

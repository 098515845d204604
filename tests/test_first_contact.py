"""`doctor --live` on a loopback server: each question answered both ways, and a broken answer hides no other.

Answers have the shapes of research/sources.md 1.2, 3, 4, 4b and 5; numbers are made up.
"""

import asyncio
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from liqsignals.clock import DAY, MINUTE, iso, parse_time
from liqsignals.doctor import firstcontact

PERIOD = 5 * MINUTE


def metrics_zip(first: str) -> bytes:
    header = (
        "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
        "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
    )
    day = iso(time.time_ns() - DAY)[:10]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("m.csv", f"{header}\n{day} {first},BTCUSDT,1,1,1,1,1,1\n")
    return packed.getvalue()


def answers() -> dict[str, Any]:
    """An answer by path: what the exchanges say where research is right."""
    now = time.time_ns()
    ms = now // 10**6
    label = (now // PERIOD - 1) * PERIOD
    hist = [
        {"symbol": "BTCUSDT", "sumOpenInterest": str(80_000 + n % 3), "sumOpenInterestValue": "1", "timestamp": (label - n * PERIOD) // 10**6}
        for n in range(30)
    ]  # fmt: skip
    bybit = [
        {"openInterest": "100000", "singleOpenInterest": "50000", "timestamp": str((label - n * PERIOD) // 10**6)} for n in range(12)
    ]  # fmt: skip
    return {
        "/fapi/v1/time": {"serverTime": ms},
        "/v5/market/time": {"retCode": 0, "result": {}, "time": ms},
        "/api/v5/public/time": {"code": "0", "data": [{"ts": str(ms)}]},
        "/futures/data/openInterestHist": hist,
        "/fapi/v1/openInterest": {"openInterest": "80001", "symbol": "BTCUSDT", "time": ms},
        "/v5/market/open-interest": {"result": {"list": bybit, "nextPageCursor": ""}},
        "/v5/market/risk-limit": {"result": {"list": [{"maintenanceMargin": "0.005", "initialMargin": "0.01", "maxLeverage": "100.00"}]}},
        "/api/v5/public/liquidation-orders": {
            "code": "0",
            "data": [{"instId": "BTC-USDT-SWAP", "details": [{"bkPx": "1", "side": "sell", "sz": "1", "ts": str(ms - 10**6)}]}],
        },
        "/api/v5/rubik/stat/contracts/open-interest-history": {"code": "0", "data": [[str(label // 10**6), "2800000", "28000", "1"]]},
        "/api/v5/public/instruments": {"code": "0", "data": [{"instId": "BTC-USDT-SWAP", "ctVal": "0.01"}]},
        "/api/v4/futures/usdt/contract_stats": "echo",
        "/info": [{"universe": [{"name": "BTC"}]}, [{"openInterest": "25000.1", "markPx": "60000"}]],
        "archive": metrics_zip("00:00:00"),
    }  # fmt: skip


@contextmanager
def exchanges(replies: dict[str, Any]) -> Iterator[dict[str, str]]:
    """All exchanges on one loopback port; yields their addresses."""
    ready, stop, port = threading.Event(), threading.Event(), 0

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await socket(request)
        reply = replies.get("archive" if "/metrics/" in request.path else request.path)
        if reply == "echo":
            reply = [{"time": int(request.query["from"]), "long_liq_usd": 1}]
        if isinstance(reply, int):
            return web.Response(status=reply)
        if isinstance(reply, bytes):
            return web.Response(body=reply)
        return web.json_response(reply) if reply is not None else web.Response(status=404)

    async def socket(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        if "forceOrder" in request.path and "print" in replies:
            await ws.send_str(replies["print"])
        async for message in ws:
            if message.type == WSMsgType.TEXT and "subscribe" in message.data and "confirm" in replies:
                await ws.send_str(replies["confirm"])
        return ws

    async def main() -> None:
        nonlocal port
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        ready.set()
        await asyncio.to_thread(stop.wait)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    ready.wait()
    try:
        yield {name: f"{'ws' if name.endswith('stream') else 'http'}://127.0.0.1:{port}" for name in firstcontact.URLS}
    finally:
        stop.set()
        thread.join()


def run(replies: dict[str, Any]) -> dict[str, dict[str, Any]]:
    with exchanges(replies) as urls:
        return {check["check"]: check for check in firstcontact.run(urls, listen=0.3)}


def test_where_research_is_right_every_check_is_well() -> None:
    found = run({**answers(), "confirm": '{"success":true,"op":"subscribe"}'})
    assert {name: c["found"] for name, c in found.items() if not c["ok"]} == {}
    assert all(c["found"] and c["means"] for c in found.values())
    assert "its start" in found["binance: label of open interest (REST)"]["found"]
    assert "2.000 x" in found["bybit: both sides in open interest"]["found"]
    assert "1095 days" in found["gate: depth of liquidation history"]["found"]
    assert "fractions" in found["bybit: unit of maintenance margin"]["found"]


def _changed(**changes: Any) -> dict[str, Any]:
    return {**answers(), "confirm": '{"success":true}', **changes}


@pytest.mark.parametrize(
    ("check", "path", "reply", "says"),
    [
        ("binance: clock", "/fapi/v1/time", {"serverTime": time.time_ns() // 10**6 + 60_000_000}, "differ by"),
        ("binance: label of open interest (archive)", "archive", metrics_zip("00:05:00"), "the end of the period"),
        ("binance: label of open interest (archive)", "archive", 404, "no metrics file"),
        ("okx: liquidation-orders by REST", "/api/v5/public/liquidation-orders", {"code": "50015", "msg": "gone"}, "50015"),
        ("okx: unit of open interest", "/api/v5/public/instruments", {"data": [{"ctVal": "0.1"}]}, "0.1 in its specification"),
        ("binance: clock", "/fapi/v1/time", 451, "451"),
        ("binance: clock", "/fapi/v1/time", b"<html>", "web page"),
        ("hyperliquid: sides of open interest", "/info", {"error": 1}, "not as documented"),
        ("bybit: unit of maintenance margin", "/v5/market/risk-limit", {"result": {"list": [{"initialMargin": "7", "maxLeverage": "3"}]}}, "neither"),
        ("bybit: liquidation stream", "confirm", '{"success":false,"ret_msg":"no"}', "it refuses"),
    ],
)  # fmt: skip
def test_a_surprise_is_a_problem_of_its_own(check: str, path: str, reply: Any, says: str) -> None:
    found = run(_changed(**{path: reply}))
    assert not found[check]["ok"]
    assert says in found[check]["found"]
    others = [c for name, c in found.items() if name.split(":")[0] not in (check.split(":")[0], "okx", "bybit")]
    assert all(c["ok"] for c in others)


def test_end_labels_and_one_sided_interest_are_told() -> None:
    replies = answers()
    for row in replies["/futures/data/openInterestHist"]:
        row["timestamp"] += PERIOD // 10**6
    for n, row in enumerate(replies["/v5/market/open-interest"]["result"]["list"]):
        row["openInterest"] = "50000" if n > 5 else "100000"
    found = run(replies)
    assert "its end" in found["binance: label of open interest (REST)"]["found"]
    assert not found["bybit: both sides in open interest"]["ok"]


def test_a_print_is_parsed() -> None:
    at = time.time_ns() // 10**6
    order = {"s": "BTCUSDT", "S": "SELL", "ap": "60000", "z": "1", "T": at}
    found = run({**answers(), "print": json.dumps({"e": "forceOrder", "o": order, "st": 1})})
    assert found["binance: liquidation stream"]["found"] == "connected; 1 prints parsed"


def test_nobody_answers() -> None:
    report: dict[str, Any] = {"problems": [], "healthy": True}
    firstcontact.add_to(
        report, {n: u.replace("://", "://127.0.0.1:9/") for n, u in firstcontact.URLS.items()}, listen=0.1
    )
    assert not report["healthy"]
    assert len(report["problems"]) == len(firstcontact.CHECKS)
    assert parse_time("2026-06-11T00:00:00Z") > 0

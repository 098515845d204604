"""A loopback websocket that speaks the venues' liquidation feeds, well or badly, and the messages that it sends.

Shapes are those of research/sources.md 1.5 (Binance), 3 (Bybit) and 4 (OKX); numbers are made up.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from liqsignals import records
from liqsignals.data import store

Handler = Callable[[ServerConnection], Awaitable[None]]
PAIR = "BTC/USDT:USDT"


def binance(at_ms: int, n: int = 0, side: str = "SELL", symbol: str = "BTCUSDT", **order: Any) -> str:
    """A print whose quantity tells which one it is."""
    o = {"s": symbol, "S": side, "o": "LIMIT", "f": "IOC", "q": "9", "p": "59000.0", "ap": "60000", "X": "FILLED", "l": "0.001",
         "z": f"{(n + 1) / 1000:.3f}", "T": at_ms}  # fmt: skip
    return json.dumps({"e": "forceOrder", "E": at_ms, "o": {**o, **order}, "st": 1})


def bybit(at_ms: int, *sides: str) -> str:
    data = [{"T": at_ms, "s": "BTCUSDT", "S": side, "v": f"0.{n + 1}", "p": "60000"} for n, side in enumerate(sides)]
    return json.dumps({"topic": "allLiquidation.BTCUSDT", "type": "snapshot", "ts": at_ms, "data": data})


def okx(at_ms: int, *sides: str) -> str:
    details = [
        {"bkLoss": "0", "bkPx": "60000", "ccy": "", "posSide": "net", "side": side, "sz": str(n + 1), "ts": str(at_ms)}
        for n, side in enumerate(sides)
    ]
    row = {
        "instId": "BTC-USDT-SWAP",
        "instFamily": "BTC-USDT",
        "instType": "SWAP",
        "uly": "BTC-USDT",
        "details": details,
    }
    return json.dumps({"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": [row]})


@asynccontextmanager
async def websocket(handler: Handler) -> AsyncIterator[str]:
    """A server on a free loopback port; yields its address."""
    async with serve(handler, "127.0.0.1", 0, ping_interval=None, max_size=None, close_timeout=0.1) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that has to happen; fail where it does not."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


def prints(extras: Path, provider: str = "binance") -> records.Records:
    return store.read(store.series_dir(extras, "liquidation", provider, PAIR, "events"), records.LIQUIDATION)

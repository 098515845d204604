"""A loopback server that speaks like the providers' archives and REST APIs, faults included: for tests and benchmarks.

It serves files by path and answers JSON by function; a path may be given faults, which its next requests meet in order.
Nothing in it comes from a provider: shapes are those that the sources' modules name, values are made up.
"""

import asyncio
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web

from liqsignals.clock import DAY, HOUR, MINUTE, iso
from liqsignals.exchange.serving import served
from liqsignals.sources.binance import METRICS
from liqsignals.venues import BINANCE_FLIP

FIVE = 5 * MINUTE

Query = Mapping[str, str]


@dataclass
class Vendor:
    """What the server has. `faults[path]` is a list of faults; each request of the path takes the first.

    Faults: a status number, `(status, headers)`, "hang" (no answer), "half" (the connection ends inside the body),
    "html" (a page instead of data), "late" / "early" (a `Date` ten minutes off), or bytes that are sent instead. "*" is
    any path.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Callable[[Query], Any]] = field(default_factory=dict)
    faults: dict[str, list[Any]] = field(default_factory=dict)
    #: Paths in the order of their requests.
    asked: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, content: bytes, checksum: str | None = None) -> None:
        """A file and its CHECKSUM, right unless `checksum` is given."""
        self.files[path] = content
        name = path.rsplit("/", 1)[-1]
        self.files[path + ".CHECKSUM"] = f"{checksum or hashlib.sha256(content).hexdigest()}  {name}\n".encode()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.asked.append(path)
        queue = self.faults.get(path) or self.faults.get("*") or []
        fault = queue.pop(0) if queue else None
        body = self._body(path, request.query)
        headers = dict(self.headers)
        if fault in ("late", "early"):
            headers["Date"] = "Thu, 01 Jan 2026 00:00:00 GMT" if fault == "late" else "Fri, 01 Jan 2100 00:00:00 GMT"
        elif fault == "hang":
            await asyncio.sleep(3600)
        elif fault == "html":
            return web.Response(text="<html><body>Please log in</body></html>", content_type="text/html")
        elif fault == "half" and body is not None:
            response = web.StreamResponse(headers={"Content-Length": str(len(body))})
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
            assert request.transport is not None
            request.transport.abort()
            return response
        elif isinstance(fault, bytes):
            body = fault
        elif isinstance(fault, int | tuple):
            status, more = fault if isinstance(fault, tuple) else (fault, {})
            return web.Response(status=status, text="fault", headers=more)
        if body is None:
            return web.Response(
                status=404, text="<Error><Code>NoSuchKey</Code></Error>", content_type="application/xml"
            )
        return web.Response(body=body, headers=headers)

    def _body(self, path: str, query: Query) -> bytes | None:
        if path in self.files:
            return self.files[path]
        answer = self.answers.get(path)
        if answer is None:
            return None
        said = answer(query)
        return said if isinstance(said, bytes) else json.dumps(said).encode()


@contextmanager
def serve(vendor: Vendor) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1, in a thread that ends with the block; yields the address."""
    app = web.Application()
    app.router.add_get("/{path:.*}", vendor.handle)
    with served(app, "loopback-vendor", 0.1) as port:
        yield f"http://127.0.0.1:{port}"


def zipped(text: str, name: str = "file.csv", level: int = 6) -> bytes:
    """A zip with one file, the same bytes for the same text."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED, level)
    return out.getvalue()


def metrics_path(symbol: str, day: int) -> str:
    return f"/data/futures/um/daily/metrics/{symbol}/{symbol}-metrics-{iso(day)[:10]}.zip"


def klines_path(symbol: str, day: int) -> str:
    return f"/data/futures/um/daily/klines/{symbol}/5m/{symbol}-5m-{iso(day)[:10]}.zip"


def metrics_rows(
    symbol: str, at: np.ndarray[Any, Any], base: np.ndarray[Any, Any], usd: np.ndarray[Any, Any], *, start: bool
) -> list[str]:
    """Lines of a metrics file for snapshots at `at` (ns), labelled by the start or the end of their period."""
    label = at - (FIVE if start else 0)
    return [
        f"{iso(t)[:10]} {iso(t)[11:19]},{symbol},{b!r},{u!r},1.5,2.25,1.25,0.{n % 90 + 10}"
        for n, (t, b, u) in enumerate(zip(label.tolist(), base.tolist(), usd.tolist(), strict=True))
    ]


def metrics_zip(lines: list[str], *, header: bool = True) -> bytes:
    return zipped("\n".join([*([",".join(METRICS)] if header else []), *lines]) + "\n")


def add_metrics(
    vendor: Vendor,
    symbol: str,
    at: np.ndarray[Any, Any],
    base: np.ndarray[Any, Any],
    usd: np.ndarray[Any, Any],
    flip: int,
) -> None:
    """Daily metrics of snapshots: end labels in the files of days before `flip` (ns), start labels from it on."""
    for day in range(int(at.min()) // DAY * DAY, int(at.max()) + 1, DAY):
        start = day >= flip
        # An end-labelled file holds 00:05 .. 24:00, a start-labelled one the same snapshots: 00:05 .. 24:00.
        inside = (at > day) & (at <= day + DAY)
        if inside.any():
            lines = metrics_rows(symbol, at[inside], base[inside], usd[inside], start=start)
            vendor.add(metrics_path(symbol, day), metrics_zip(lines))


def klines_zip(at: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], *, header: bool, unit: int = 1_000_000) -> bytes:
    """Klines of bars that open at `at` (ns); `rows` (n, 6): open, high, low, close, volume, bought. `unit`: ns per
    tick.
    """
    head = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
    lines = [
        f"{t // unit},{o},{h},{low},{c},{v},{(t + FIVE) // unit - 1},{v * c},9,{b},{b * c},0"
        for t, (o, h, low, c, v, b) in zip(at.tolist(), rows.tolist(), strict=True)
    ]
    return zipped("\n".join([*([head] if header else []), *lines]) + "\n")


def _between(query: Query, label: np.ndarray[Any, Any], first: str = "startTime", last: str = "endTime") -> list[int]:
    """Rows whose label lies in the query's window, ascending, at most `limit` of them."""
    ms = label // 1_000_000
    rows = np.flatnonzero((ms >= int(query[first])) & (ms <= int(query[last])))
    return [int(n) for n in rows[: int(query["limit"])]]


def add_rest(
    vendor: Vendor,
    at: np.ndarray[Any, Any],
    base: np.ndarray[Any, Any],
    usd: np.ndarray[Any, Any],
    rows: np.ndarray[Any, Any],
) -> None:
    """Binance's, Bybit's and OKX's REST answers for snapshots at `at` (ns) and for bars that close there.

    `rows` (n, 6) as in `klines_zip`. Labels are the starts of the periods, Binance's before 2026-06-25 their ends.
    Bybit's and OKX's open interest is the same market's: both sides summed, and in contracts of a hundredth coin.
    """
    label = at - FIVE
    ms = [int(t) // 1_000_000 for t in label]

    told = np.where(label >= BINANCE_FLIP, label, at)

    def binance_ratio(field: str, value: float) -> Callable[[Query], Any]:
        return lambda q: [{field: str(value), "timestamp": int(told[n]) // 1_000_000} for n in _between(q, told)]

    vendor.answers["/futures/data/openInterestHist"] = lambda q: [
        {
            "symbol": q["symbol"], "sumOpenInterest": repr(float(base[n])), "sumOpenInterestValue": repr(float(usd[n])),
            "timestamp": int(told[n]) // 1_000_000,
        }
        for n in _between(q, told)
    ]  # fmt: skip
    vendor.answers["/futures/data/topLongShortAccountRatio"] = binance_ratio("longShortRatio", 1.5)
    vendor.answers["/futures/data/topLongShortPositionRatio"] = binance_ratio("longShortRatio", 2.25)
    vendor.answers["/futures/data/globalLongShortAccountRatio"] = binance_ratio("longShortRatio", 1.25)
    vendor.answers["/futures/data/takerlongshortRatio"] = binance_ratio("buySellRatio", 0.5)
    vendor.answers["/fapi/v1/klines"] = lambda q: [
        [ms[n], *[repr(float(v)) for v in rows[n, :5]], ms[n] + 299_999, repr(float(rows[n, 4] * rows[n, 3])), 9,
         repr(float(rows[n, 5])), repr(float(rows[n, 5] * rows[n, 3])), "0"]
        for n in _between(q, label)
    ]  # fmt: skip

    def bybit(make: Callable[[int], dict[str, str]]) -> Callable[[Query], Any]:
        return lambda q: {
            "retCode": 0, "retMsg": "OK", "result": {"list": [make(n) for n in reversed(_between(q, label))], "nextPageCursor": ""},
        }  # fmt: skip

    vendor.answers["/v5/market/open-interest"] = bybit(
        lambda n: {"openInterest": repr(float(2 * base[n])), "timestamp": str(ms[n])}
    )
    vendor.answers["/v5/market/account-ratio"] = bybit(
        lambda n: {"symbol": "BTCUSDT", "buyRatio": "0.6", "sellRatio": "0.4", "timestamp": str(ms[n])}
    )
    settled = np.arange(int(at[0]) // (8 * HOUR) * 8 * HOUR - DAY, int(at[-1]) + 1, 8 * HOUR)

    def bybit_funding(query: Query) -> Any:
        found = reversed(_between(query, settled))
        return {
            "retCode": 0,
            "result": {"list": [
                {"symbol": "BTCUSDT", "fundingRate": f"0.000{n % 9 + 1}", "fundingRateTimestamp": str(settled[n] // 1_000_000)}
                for n in found
            ]},
        }  # fmt: skip

    vendor.answers["/v5/market/funding/history"] = bybit_funding

    def okx(make: Callable[[int], list[str]]) -> Callable[[Query], Any]:
        def answer(query: Query) -> Any:
            inside = {**query, "begin": str(int(query["begin"]) + 1), "end": str(int(query["end"]) - 1)}
            return {
                "code": "0",
                "msg": "",
                "data": [make(n) for n in reversed(_between(inside, label, "begin", "end"))],
            }

        return answer

    rubik = "/api/v5/rubik/stat/"
    vendor.answers[rubik + "contracts/open-interest-history"] = okx(
        lambda n: [str(ms[n]), repr(float(100 * base[n])), repr(float(base[n])), repr(float(usd[n]))]
    )
    vendor.answers[rubik + "taker-volume-contract"] = okx(
        lambda n: [str(ms[n]), repr(float(rows[n, 4] - rows[n, 5])), repr(float(rows[n, 5]))]
    )
    for name in (
        "long-short-account-ratio-contract",
        "long-short-account-ratio-contract-top-trader",
        "long-short-position-ratio-contract-top-trader",
    ):
        vendor.answers[rubik + "contracts/" + name] = okx(lambda n: [str(ms[n]), "1.75"])
    vendor.answers["/api/v5/public/funding-rate-history"] = lambda q: {
        "code": "0", "msg": "",
        "data": [
            {"instId": "BTC-USDT-SWAP", "fundingRate": "0.0001", "realizedRate": f"0.000{n % 9 + 1}", "fundingTime": str(settled[n] // 1_000_000)}
            for n in reversed(_between({**q, "before": str(int(q["before"]) + 1), "after": str(int(q["after"]) - 1)}, settled, "before", "after"))
        ],
    }  # fmt: skip

"""Live checks of `liqsignals doctor --live`: queries the exchanges for facts that their documentation leaves open.

Each check tests one open question and reports its finding and the consequence for the data. A check that fails (no
connection, another format, an answer that is too long or takes too long) is reported as a problem and does not stop the
others. Sources: research/sources.md (entries
marked [?], and the last paragraph); binance-public-data issue 491; Bybit v5 docs market/open-interest.
"""

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from liqsignals.clock import DAY, HOUR, MINUTE, SECOND, iso
from liqsignals.collect import feeds
from liqsignals.collect.fetch import Body, TooLong, redact
from liqsignals.errors import InputError
from liqsignals.sources import decode
from liqsignals.sources.spec import ParseError
from liqsignals.sources.times import SERVER_TIMES

#: Addresses of the feeds, and of providers used only by these checks.
URLS = {
    **feeds.URLS,
    "gate": "https://api.gateio.ws",
    "hyperliquid": "https://api.hyperliquid.xyz",
    "binance-archive": "https://data.binance.vision",
}
#: Largest clock difference that `known_at` tolerates.
SKEW = 2 * SECOND
PERIOD = 5 * MINUTE
#: Seconds to wait for a websocket to confirm its subscription.
LISTEN = 20.0
#: Bounds of one request (bytes once decoded, seconds), and of all checks together (seconds).
LARGEST = 2 << 20
REQUEST_TIME = 20.0
TOTAL_TIME = 300.0


@dataclass(frozen=True)
class Found:
    """Result of a check."""

    ok: bool
    found: str
    means: str


@dataclass(frozen=True)
class Ask:
    """HTTP access of the checks."""

    urls: Mapping[str, str]
    #: Seconds to wait for a websocket message.
    listen: float = LISTEN
    #: Instant (time.monotonic, s) at which the time for all checks is up.
    until: float = field(default_factory=lambda: time.monotonic() + TOTAL_TIME)

    def get(self, name: str, path: str, **params: Any) -> Any:
        """The JSON answer of a GET. Raises ParseError, httpx.HTTPError or TimeoutError."""
        return decode.answer(self.body("GET", name, path, params=params), path)

    def post(self, name: str, path: str, body: Any) -> Any:
        """The JSON answer of a POST. Raises as `get`."""
        return decode.answer(self.body("POST", name, path, json=body), path)

    def body(self, method: str, name: str, path: str, **more: Any) -> bytes:
        """The body of an answer with status 200, within LARGEST bytes and REQUEST_TIME. Raises as `get`."""
        return asyncio.run(self._body(method, self.urls[name].rstrip("/") + path, path, more))

    async def _body(self, method: str, url: str, what: str, more: Mapping[str, Any]) -> bytes:
        headers = {"User-Agent": "liqsignals doctor", "Accept-Encoding": "gzip"}
        async with (
            self.within(REQUEST_TIME),
            httpx.AsyncClient(timeout=REQUEST_TIME, headers=headers) as client,
            client.stream(method, url, **more) as response,
        ):
            response.raise_for_status()
            try:
                body = Body(response, LARGEST)
                async for chunk in response.aiter_raw():
                    body.add(chunk)
                return body.whole()
            except zlib.error as error:
                raise ParseError(f"{what}: the answer is damaged ({error})") from error
            except TooLong:
                raise ParseError(f"{what}: the answer is longer than {LARGEST >> 10} KiB; not taken") from None

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """At most so many seconds, and no more than all checks may take. Raises TimeoutError."""
        left = self.until - time.monotonic()
        try:
            async with asyncio.timeout(min(seconds, left)):
                yield
        except TimeoutError:
            why = f"none within {seconds:g} s" if left > seconds else f"{TOTAL_TIME:g} s for all checks are over"
            raise TimeoutError(why) from None

    def number(self, value: Any) -> float:
        """A number or text of one."""
        return decode.number(value, "answer")


def _clock(name: str) -> Callable[[Ask], Found]:
    def check(ask: Ask) -> Found:
        before = time.time_ns()
        there = SERVER_TIMES[name].read(ask.get(name, SERVER_TIMES[name].path))
        after = time.time_ns()
        off = max(before - there, there - after, 0) * (1 if there > after else -1)
        return Found(
            abs(off) <= SKEW,
            f"its clock and this machine's differ by {off / SECOND:+.2f} s",
            "fine"
            if abs(off) <= SKEW
            else "known_at of what is recorded is wrong by as much. Way out: set the clock (NTP)",
        )

    return check


def binance_label(ask: Ask) -> Found:
    """Do labels of REST open interest name the start or the end of the period?"""
    rows = ask.get("binance", "/futures/data/openInterestHist", symbol="BTCUSDT", period="5m", limit=30)
    now = ask.get("binance", "/fapi/v1/openInterest", symbol="BTCUSDT")
    label = decode.stamps(decode.column(rows, "timestamp", "openInterestHist"), "openInterestHist")
    amount = decode.numbers(decode.column(rows, "sumOpenInterest", "openInterestHist"), "openInterestHist")
    at, current = decode.stamp(now.get("time"), "openInterest"), ask.number(now.get("openInterest"))
    order = np.argsort(label)
    label, amount = label[order], amount[order]
    age = at - int(label[-1])
    # The newest end label is at most one period old, plus some delay; a start label is at least one period old.
    kind = "its end" if age < PERIOD else "its start"
    step = float(np.median(np.abs(np.diff(amount)))) if len(amount) > 1 else 0.0
    near = abs(current - amount[-1])
    return Found(
        kind == "its start",
        f"the newest 5m label is {age / MINUTE:.1f} min old, so a label names {kind}; the value now is "
        f"{near / max(step, 1e-9):.1f} median steps from the newest row",
        "as liqsignals assumes"
        if kind == "its start"
        else "liqsignals assumes start labels since 2026-06-25 and estimates the convention per day; rows would be "
        "used 5 min later than possible, never earlier",
    )


def binance_archive_label(ask: Ask) -> Found:
    """Does the newest archive file start at 00:00 (start labels) or at 00:05 (end labels)?"""
    from liqsignals.sources import binance

    for back in (1, 2, 3):
        day = iso(time.time_ns() - back * DAY)[:10]
        path = f"/data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-{day}.zip"
        try:
            raw = ask.body("GET", "binance-archive", path)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                continue
            raise
        table = decode.csv_table(decode.unzip(raw, path, 8 << 20), path, binance.METRICS)
        first = min(row[0] for row in table)
        start = first.endswith("00:00:00")
        return Found(
            start,
            f"the file of {day} begins at {first}: labels name the {'start' if start else 'end'} of the period",
            "as since 2026-06-25" if start else "the convention has changed again; each file is read by its own labels",
        )
    return Found(False, "no metrics file of the last three days", "the archive is late or has moved; REST has 30 days")


def bybit_sides(ask: Ask) -> Found:
    """Is open interest counted on both sides, and was it before 2026-06-11?"""
    now = time.time_ns()
    newest = _bybit(ask, now - HOUR, now)
    row = newest[0]
    both, one = ask.number(row.get("openInterest")), ask.number(row.get("singleOpenInterest"))
    ratio = both / one if one else float("nan")
    at = decode.stamp("2026-06-11 00:00:00", "date")
    rows = _bybit(ask, at - 8 * HOUR, at + 8 * HOUR)
    amount = decode.numbers(decode.column(rows, "openInterest", "open-interest"), "open-interest")
    jump = float(np.max(np.abs(np.diff(np.log2(amount))))) if len(amount) > 1 else float("nan")
    fine = abs(ratio - 2.0) < 0.01 and not jump > 0.8
    return Found(
        fine,
        f"openInterest is {ratio:.3f} x singleOpenInterest; around 2026-06-11 the largest step is x{2**jump:.2f}",
        "halving it is correct for all dates"
        if fine
        else "halving it is wrong for some dates: do not combine Bybit's open interest from before and after the step",
    )


def _bybit(ask: Ask, start: int, stop: int) -> list[Any]:
    answer = ask.get(
        "bybit",
        "/v5/market/open-interest",
        category="linear",
        symbol="BTCUSDT",
        intervalTime="5min",
        limit=200,
        startTime=start // 10**6,
        endTime=stop // 10**6,
    )
    rows = answer.get("result", {}).get("list") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict):
        raise ParseError(f"open-interest: no rows in {decode.shown(answer)}")
    return rows


def bybit_label(ask: Ask) -> Found:
    """Does Bybit's open-interest label name the start or the end of its interval?"""
    now = time.time_ns()
    newest = max(decode.stamp(row.get("timestamp"), "open-interest") for row in _bybit(ask, now - HOUR, now))
    age = now - newest
    kind = "the end of its interval, or the time of a snapshot" if age < PERIOD else "the start of its interval"
    return Found(
        True,
        f"the newest 5min label is {age / MINUTE:.1f} min old: it names {kind}",
        "known_at (label + two periods) is safe for both; the convention is estimated per day",
    )


def bybit_maintenance(ask: Ask) -> Found:
    """Are maintenance margins fractions or percent?"""
    answer = ask.get("bybit", "/v5/market/risk-limit", category="linear", symbol="BTCUSDT")
    rows = decode.rows(json.dumps(answer).encode(), "risk-limit", "result", "list")
    row = next((r for r in rows if isinstance(r, dict)), {})
    product = ask.number(row.get("initialMargin")) * ask.number(row.get("maxLeverage"))
    unit = (
        "fractions"
        if abs(product - 1) < 0.05
        else "percent"
        if abs(product - 100) < 5
        else "neither fractions nor percent"
    )
    return Found(
        unit != "neither fractions nor percent",
        f"initialMargin x maxLeverage is {product:g}: {unit}; maintenanceMargin {row.get('maintenanceMargin')}",
        "brackets must be read in this unit",
    )


def okx_liquidations(ask: Ask) -> Found:
    """Does the undocumented REST endpoint liquidation-orders still answer?"""
    answer = ask.get(
        "okx", "/api/v5/public/liquidation-orders", instType="SWAP", instFamily="BTC-USDT", state="filled", limit=100
    )
    code = answer.get("code") if isinstance(answer, dict) else None
    if code != "0":
        return Found(
            False, f"it answers code {code}: {decode.shown(answer.get('msg'))}", "only the websocket has OKX's prints"
        )
    details = [d for row in answer.get("data", []) for d in row.get("details", [])]
    oldest = min((decode.stamp(d.get("ts"), "ts") for d in details), default=None)
    span = "none" if oldest is None else f"{len(details)} back to {iso(oldest)}"
    return Found(True, f"it answers; prints: {span}", "prints of about a day can be backfilled after an outage")


def okx_open_interest(ask: Ask) -> Found:
    """Is `oiCcy` contracts x contract size?"""
    rows = decode.rows(
        json.dumps(
            ask.get("okx", "/api/v5/rubik/stat/contracts/open-interest-history", instId="BTC-USDT-SWAP", period="5m")
        ).encode(),
        "open-interest-history",
        "data",
    )
    instrument = decode.rows(
        json.dumps(ask.get("okx", "/api/v5/public/instruments", instType="SWAP", instId="BTC-USDT-SWAP")).encode(),
        "instruments",
        "data",
    )[0]
    size = ask.number(instrument.get("ctVal"))
    ratio = ask.number(rows[0][2]) / ask.number(rows[0][1])
    newest = time.time_ns() - decode.stamp(rows[0][0], "ts")
    fine = abs(ratio / size - 1) < 0.001
    return Found(
        fine,
        f"coins per contract: {ratio:g} in open interest, {size:g} in its specification; newest label "
        f"{newest / MINUTE:.1f} min old",
        "oiCcy is in coins" if fine else "do not use oiCcy until this is explained",
    )


def gate_depth(ask: Ask) -> Found:
    """How far back does contract_stats, the only free history of liquidations, go?"""
    now = time.time_ns() // SECOND
    reached = None
    for days in (7, 30, 90, 365, 1095):
        rows = ask.get(
            "gate",
            "/api/v4/futures/usdt/contract_stats",
            contract="BTC_USDT",
            interval="5m",
            limit=2,
            **{"from": now - days * 86400},
        )
        first = decode.stamp(rows[0].get("time"), "time") // SECOND if rows and isinstance(rows[0], dict) else None
        if first is None or abs(first - (now - days * 86400)) > 3600:
            break
        reached = days
    return Found(
        reached is not None,
        f"5m rows reach back {reached or 0} days or more",
        "liquidations of Gate can be downloaded that far" if reached else "no history at this address",
    )


def hyperliquid_sides(ask: Ask) -> Found:
    """Is Hyperliquid's open interest one-sided?"""
    universe, contexts = ask.post("hyperliquid", "/info", {"type": "metaAndAssetCtxs"})
    at = [asset["name"] for asset in universe["universe"]].index("BTC")
    interest, price = ask.number(contexts[at]["openInterest"]), ask.number(contexts[at]["markPx"])
    return Found(
        True,
        f"openInterest of BTC is {interest:,.0f} coins ({interest * price / 1e9:.2f} B USD); the answer does not say "
        "whether it is one-sided",
        "compare with the sum of |szi| over addresses before adding it to other venues' open interest",
    )


def _stream(name: str) -> Callable[[Ask], Found]:
    """Does the liquidation stream connect, accept the subscription and send messages?"""

    def check(ask: Ask) -> Found:
        (stream,) = feeds.liquidation_streams(["BTC/USDT:USDT"], [name], ask.urls)

        async def listen() -> Found:
            seen, prints = 0, 0
            async with (
                ask.within(3 * ask.listen),
                connect(stream.url, open_timeout=ask.listen, close_timeout=1, ping_interval=None) as socket,
            ):
                for hello in stream.hello:
                    await socket.send(hello)
                try:
                    async with asyncio.timeout(ask.listen):
                        async for message in socket:
                            raw = message.encode() if isinstance(message, str) else message
                            if b'"success":false' in raw or b'"event":"error"' in raw:
                                return Found(
                                    False,
                                    f"it refuses: {raw[:150].decode(errors='replace')}",
                                    "it cannot be recorded",
                                )
                            seen += 1
                            found = stream.parse(raw, time.time_ns())
                            prints += sum(map(len, found.values()))
                            if prints or (stream.hello and seen):
                                break
                except TimeoutError:
                    pass
            if prints:
                return Found(True, f"connected; {prints} prints parsed", "it can be recorded")
            if seen:
                return Found(True, "connected; it confirms the subscription", "it can be recorded; no print arrived")
            return Found(
                not stream.hello,
                f"connected; no message in {ask.listen:g} s",
                "possibly a quiet market: try again later"
                if not stream.hello
                else "it does not confirm the subscription",
            )

        return asyncio.run(listen())

    return check


CHECKS: dict[str, Callable[[Ask], Found]] = {
    **{f"{name}: clock": _clock(name) for name in SERVER_TIMES},
    "binance: label of open interest (REST)": binance_label,
    "binance: label of open interest (archive)": binance_archive_label,
    "bybit: both sides in open interest": bybit_sides,
    "bybit: label of open interest": bybit_label,
    "bybit: unit of maintenance margin": bybit_maintenance,
    "okx: liquidation-orders by REST": okx_liquidations,
    "okx: unit of open interest": okx_open_interest,
    "gate: depth of liquidation history": gate_depth,
    "hyperliquid: sides of open interest": hyperliquid_sides,
    **{f"{name}: liquidation stream": _stream(name) for name in feeds.EXCHANGES},
}


def run(urls: Mapping[str, str] = URLS, *, listen: float = LISTEN) -> list[dict[str, Any]]:
    """Results of all checks: `check`, `ok`, `found`, `means`."""
    out = []
    ask = Ask(urls, listen)
    for name, check in CHECKS.items():
        try:
            found = check(ask)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, WebSocketException, TimeoutError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            found = Found(
                False,
                f"no answer ({why})",
                "unknown; try again, or from another network (451: blocked in this country)",
            )
        except (
            InputError,
            KeyError,
            IndexError,
            TypeError,
            ValueError,
            AttributeError,
            ZeroDivisionError,
        ) as error:
            found = Found(
                False, f"the answer is not as documented ({error})", "unknown; the vendor has changed its format"
            )
        out.append({"check": name, "ok": found.ok, "found": redact(found.found), "means": redact(found.means)})
    return out


def add_to(report: dict[str, Any], urls: Mapping[str, str] = URLS, *, listen: float = LISTEN) -> None:
    """Run every check and add the results to a doctor report."""
    report["live"] = run(urls, listen=listen)
    report["problems"] += [f"{c['check']}: {c['found']}: {c['means']}" for c in report["live"] if not c["ok"]]
    report["healthy"] = not report["problems"]

"""Fault injection: exchange failures scheduled on the market clock, applied between the loopback exchange and its
clients.

A fault has a kind, a span of market time and a few parameters (docs/replay.md has the file's format). Its effect
depends only on these, on the request and on the clock, so that two runs have the same faults, however often they ask.
"""

import asyncio
import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from liqsignals.clock import parse_time
from liqsignals.errors import InputError

#: Kind -> its keys beside the common ones, and the endpoint that it affects (None: any).
KINDS: Mapping[str, tuple[tuple[str, ...], str | None]] = {
    "delay": (("seconds",), None),
    "drop": ((), None),
    "status": (("code", "retry_after"), None),
    "outage": ((), None),
    "html": ((), None),
    "truncated": ((), None),
    "stale_klines": (("seconds",), "klines"),
    "repeat_candle": ((), "klines"),
    "skip_candle": (("healed_at",), "klines"),
    "late_open_interest": (("seconds",), "openInterestHist"),
    "revise_open_interest": (("factor", "after"), "openInterestHist"),
    "wrong_open_interest": (("factor", "healed_at"), "openInterestHist"),
    "other_candle": (("of", "healed_at"), "klines"),
    "broken_candle": (("how", "healed_at"), "klines"),
    "future_row": (("seconds",), "klines"),
    "clock": (("seconds",), None),
}
#: Kinds that say what is not true, in rows that look like others.
LIES = ("wrong_open_interest", "other_candle", "broken_candle", "future_row")
#: Kinds whose rows are wrong until `healed_at`.
_HEALED = ("skip_candle", "wrong_open_interest", "other_candle", "broken_candle")
#: What may be broken about a candle.
BROKEN = ("crossed", "nan", "negative", "zero")
_COMMON = ("kind", "from", "until", "pair", "path", "share")
_OPTIONAL = ("pair", "path", "share", "retry_after", "healed_at")
_CLOCK_FIELDS = ("serverTime", "E", "T", "time")
_PAGE = "<!DOCTYPE html><html><head><title>Maintenance</title></head><body><h1>We will be back soon</h1></body></html>"
_SECOND, _MINUTE, _HOUR, _DAY = 1000, 60_000, 3_600_000, 86_400_000


@dataclass(frozen=True)
class Fault:
    """One fault in [start, until), ms since the epoch, UTC.

    `pair` (freqtrade's notation) and `path` (the end of an endpoint's path, such as `klines` or `ticker/24hr`) restrict
    the requests that match; `share` is the fraction of matching requests that are affected. Other fields belong to
    single kinds.
    """

    kind: str
    start: int
    until: int
    pair: str | None = None
    path: str | None = None
    share: float = 1.0
    seconds: float = 0.0
    code: int = 503
    retry_after: int | None = None
    factor: float = 1.0
    after: float = 0.0
    #: When the candles skipped, or the wrong rows, are served as they are; None: never.
    healed_at: int | None = None
    #: Pair whose candles are served.
    of: str | None = None
    #: What is broken: one of BROKEN.
    how: str | None = None

    def active(self, now: int) -> bool:
        """Whether the fault is active at `now` (ms)."""
        end: float = self.until
        if self.kind in _HEALED:
            end = math.inf if self.healed_at is None else self.healed_at
        elif self.kind == "revise_open_interest":
            end = self.until + self.after * _SECOND
        return self.start <= now < end

    def matches(self, path: str, query: Mapping[str, str]) -> bool:
        """Whether the fault applies to a request. With a pair: only to requests with that symbol."""
        wanted = self.path or KINDS[self.kind][1]
        if wanted is not None and not f"/{path}".endswith(f"/{wanted}"):
            return False
        return self.pair is None or query.get("symbol") == _symbol(self.pair)

    def selects(self, path: str, query: Mapping[str, str], now: int) -> bool:
        """Whether a matching request is affected: a hash of its endpoint, symbol and second decides, without state."""
        if self.share >= 1.0:
            return True
        asked = f"{self!r} {path} {query.get('symbol')} {now // _SECOND}"
        digest = hashlib.blake2b(asked.encode(), digest_size=8).digest()
        return int.from_bytes(digest) < self.share * 2**64


def _symbol(pair: str) -> str:
    return pair.partition(":")[0].replace("/", "")


def read_faults(path: Path) -> tuple[Fault, ...]:
    """The faults of a JSON file, sorted by start.

    Raises InputError naming the file and the entry for invalid JSON, unknown or missing keys, values of a wrong type or
    range, times without a zone and spans that end before they start.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: not readable as JSON ({error})",
            "docs/replay.md has an example",
        ) from error
    if not isinstance(content, dict) or set(content) != {"faults"} or not isinstance(content["faults"], list):
        raise InputError(
            f'{path}: must be {{"faults": [...]}} and nothing else',
            "docs/replay.md has an example",
        )
    return _sorted(_fault(entry, f"{path}: fault {row}") for row, entry in enumerate(content["faults"], 1))


def _sorted(faults: Iterator[Fault]) -> tuple[Fault, ...]:
    return tuple(sorted(faults, key=lambda fault: (fault.start, fault.until, fault.kind)))


def _fault(entry: Any, where: str) -> Fault:
    if not isinstance(entry, dict):
        raise InputError(f'{where}: must be an object such as {{"kind": "outage", "from": ..., "until": ...}}')
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{where}: kind {kind!r} is not known; known are: {', '.join(KINDS)}")
    where = f"{where} ({kind})"
    known = _COMMON + KINDS[kind][0]
    if unknown := sorted(set(entry) - set(known)):
        raise InputError(f"{where}: unknown key {', '.join(unknown)}; known are: {', '.join(known)}")
    if missing := [key for key in known if key not in entry and key not in _OPTIONAL]:
        raise InputError(f"{where}: key {', '.join(missing)} is missing")
    values = {key: _value(kind, key, value, where) for key, value in entry.items() if key != "kind"}
    fault = Fault(kind, values.pop("from"), values.pop("until"), **values)
    if fault.until <= fault.start:
        raise InputError(f"{where}: 'until' must be after 'from'")
    if fault.healed_at is not None and fault.healed_at < fault.until:
        raise InputError(f"{where}: 'healed_at' must not be before 'until'")
    return fault


def _value(kind: str, key: str, value: Any, where: str) -> Any:
    if key in ("from", "until", "healed_at"):
        if not isinstance(value, str):
            raise InputError(f"{where}: '{key}' must be a time such as \"2026-01-31T12:00:00Z\", not {value!r}")
        try:
            return parse_time(value) // 1_000_000
        except InputError as error:
            raise InputError(f"{where}: '{key}': {error}") from error
    if key == "how":
        if value not in BROKEN:
            raise InputError(f"{where}: 'how' must be one of {', '.join(BROKEN)}, not {value!r}")
        return value
    if key in ("pair", "of", "path"):
        if not isinstance(value, str) or not value or (key != "path" and not ("/" in value and ":" in value)):
            example = "klines" if key == "path" else "BTC/USDT:USDT"
            raise InputError(f"{where}: '{key}' must be a text such as \"{example}\", not {value!r}")
        return value.strip("/") if key == "path" else value
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    wanted, right = {
        "share": ("over 0 and at most 1", lambda: 0 < value <= 1),
        "seconds": ("over 0 (of a clock: not 0)", lambda: value > 0 or (kind == "clock" and value != 0)),
        "factor": ("over 0", lambda: value > 0),
        "after": ("over 0", lambda: value > 0),
        "code": (
            "429, 418 or 500 .. 599",
            lambda: value in (429, 418) or (value == int(value) and 500 <= value <= 599),
        ),
        "retry_after": ("a whole number of seconds", lambda: value >= 0 and value == int(value)),
    }[key]
    if not number or not right():
        raise InputError(f"{where}: '{key}' must be a number {wanted}, not {value!r}")
    return int(value) if key in ("code", "retry_after") else float(value)


def answer(fault: Fault, path: str, query: Mapping[str, str], payload: Any, now: int, other: Any = None) -> Any:
    """The payload (parsed JSON) of an answer with the fault applied; `payload` itself is not modified.

    `now` (ms) is the time for which the answer was computed, `other` the same answer for the fault's other pair. Faults
    that do not change rows or times, and requests that do not match, return the payload unchanged.
    """
    if not fault.matches(path, query):
        return payload
    if fault.kind == "clock":
        return _shifted(payload, round(fault.seconds * _SECOND))
    if not isinstance(payload, list):
        return payload
    if fault.kind == "repeat_candle":
        closed = [row for row in payload if row[6] < now]
        return [*closed, closed[-1], *payload[len(closed) :]] if closed else payload
    if fault.kind == "skip_candle":
        return [row for row in payload if not fault.start <= row[0] < fault.until]
    if fault.kind == "late_open_interest":
        return [row for row in payload if row["timestamp"] + fault.seconds * _SECOND <= now]
    if fault.kind == "revise_open_interest":
        return [
            (
                _scaled(row, fault.factor)
                if fault.start <= row["timestamp"] < fault.until and now < row["timestamp"] + fault.after * _SECOND
                else row
            )
            for row in payload
        ]
    if fault.kind == "wrong_open_interest":
        return [_scaled(row, fault.factor) if fault.start <= row["timestamp"] < fault.until else row for row in payload]
    if fault.kind == "other_candle":
        others = {row[0]: row for row in other or ()}
        return [others.get(row[0], row) if fault.start <= row[0] < fault.until else row for row in payload]
    if fault.kind == "broken_candle":
        return [_broken(row, fault.how) if fault.start <= row[0] < fault.until else row for row in payload]
    if fault.kind == "future_row" and payload:
        return [*payload, _later(payload, round(fault.seconds * _SECOND))]
    return payload


def _broken(row: Sequence[Any], how: str | None) -> list[Any]:
    opening, high, low, close = row[1:5]
    prices = {
        "crossed": [opening, low, high, close],
        "nan": ["NaN"] * 4,
        "negative": [f"-{price}" for price in (opening, high, low, close)],
        "zero": ["0"] * 4,
    }[how or "nan"]
    return [row[0], *prices, *row[5:]]


def _later(payload: Sequence[Any], by: int) -> Any:
    """The newest row once more, `by` ms later; candles by whole candles."""
    row = payload[-1]
    if isinstance(row, Mapping):
        name = "fundingTime" if "fundingTime" in row else "timestamp"
        return {**row, name: row[name] + by}
    by = -(-by // (row[6] + 1 - row[0])) * (row[6] + 1 - row[0])
    return [row[0] + by, *row[1:6], row[6] + by, *row[7:]]


def _shifted(payload: Any, by: int) -> Any:
    if isinstance(payload, list):
        return [_shifted(row, by) for row in payload]
    if not isinstance(payload, dict):
        return payload
    return {
        key: value + by if key in _CLOCK_FIELDS and isinstance(value, int) else value for key, value in payload.items()
    }


def _scaled(row: Mapping[str, Any], factor: float) -> dict[str, Any]:
    names = ("sumOpenInterest", "sumOpenInterestValue")
    return {**row, **{name: f"{float(row[name]) * factor:.8f}" for name in names if row[name]}}


#: Lag (ms) of the answer being computed behind the market clock.
_LAG: ContextVar[int] = ContextVar("lag", default=0)


def seen(now_ms: Callable[[], int]) -> Callable[[], int]:
    """The market clock less the current request's lag: `stale_klines` makes the exchange answer for an earlier time."""
    return lambda: now_ms() - _LAG.get()


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_POLL = 0.005  # wall-clock seconds between reads of the market clock
_POLL_SOCKET = 0.05


def faulty(faults: Sequence[Fault], now_ms: Callable[[], int], waiting: list[int], counts: Counter[str]) -> Middleware:
    """An aiohttp middleware that applies faults to requests; it must be the exchange's outermost one.

    While a delayed answer waits for the market clock, its due time (ms) is in `waiting`, so that the driver of a
    stopped clock can step to it. `counts` holds how many requests each kind affected. Of a websocket only the
    connection is affected: refused or closed during an outage, refused by a drop.
    """

    def affecting(request: web.Request, now: int) -> list[Fault]:
        path, query = request.path, request.query
        return [f for f in faults if f.active(now) and f.matches(path, query) and f.selects(path, query, now)]

    def down(request: web.Request) -> bool:
        now = now_ms()
        return any(f.kind == "outage" and f.active(now) and f.matches(request.path, request.query) for f in faults)

    async def socket(request: web.Request, handler: _Handler) -> web.StreamResponse:
        task = asyncio.ensure_future(handler(request))
        try:
            while not (await asyncio.wait({task}, timeout=_POLL_SOCKET))[0]:
                if down(request) and request.transport is not None and not request.transport.is_closing():
                    counts["outage"] += 1
                    request.transport.abort()
            return task.result()
        finally:
            task.cancel()

    async def answered(request: web.Request, handler: _Handler, found: list[Fault], now: int) -> web.StreamResponse:
        for fault in found:
            if fault.kind == "status":
                counts["status"] += 1
                return _refusal(fault, now)
        lag = max((round(f.seconds * _SECOND) for f in found if f.kind == "stale_klines"), default=0)
        _LAG.set(lag)
        response = await handler(request)
        if lag:
            counts["stale_klines"] += 1
        if (
            not isinstance(response, web.Response)
            or response.content_type != "application/json"
            or response.status != 200
        ):
            return response
        payload = before = json.loads(response.text or "null")
        for fault in found:
            other = None
            if fault.of is not None:
                asked = request.clone(rel_url=request.rel_url.update_query(symbol=_symbol(fault.of)))
                other_answer = await handler(asked)
                if isinstance(other_answer, web.Response) and other_answer.status == 200:
                    other = json.loads(other_answer.text or "null")
            changed = answer(fault, request.path, request.query, payload, now - lag, other)
            counts[fault.kind] += changed != payload
            payload = changed
        if payload is not before:
            response = web.json_response(payload)
        for fault in found:
            if fault.kind == "html":
                counts["html"] += 1
                response = web.Response(text=_PAGE, content_type="text/html")
            elif fault.kind == "truncated":
                counts["truncated"] += 1
                text = response.text or ""
                response = web.Response(text=text[: len(text) // 2], content_type=response.content_type)
        return response

    @web.middleware
    async def fault_middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        now = now_ms()
        found = affecting(request, now)
        for fault in found:
            if fault.kind in ("outage", "drop"):
                counts[fault.kind] += 1
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await socket(request, handler)
        response = await answered(request, handler, found, now)
        # Waits after the answer was computed: a late answer holds old data.
        for fault in found:
            if fault.kind == "delay":
                counts["delay"] += 1
                await _until(now + round(fault.seconds * _SECOND), now_ms, waiting)
        return response

    return fault_middleware


async def _until(due: int, now_ms: Callable[[], int], waiting: list[int]) -> None:
    waiting.append(due)
    try:
        while now_ms() < due:
            await asyncio.sleep(_POLL)
    finally:
        waiting.remove(due)


#: Binance's error codes and messages
#: (https://developers.binance.com/docs/derivatives/usds-margined-futures/error-code).
_MESSAGES = {
    418: (
        -1003,
        "Way too many requests; IP banned until {until}. Please use the websocket for live updates to avoid bans.",
    ),
    429: (-1003, "Too many requests; current limit of IP is 2400 requests per minute."),
    500: (-1001, "Internal error; unable to process your request. Please try again."),
    503: (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    504: (-1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."),
}


def _refusal(fault: Fault, now: int) -> web.Response:
    code, message = _MESSAGES.get(fault.code, (-1000, "An unknown error occurred while processing the request."))
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    body = {"code": code, "msg": message.format(until=now + (fault.retry_after or 0) * _SECOND)}
    return web.json_response(body, status=fault.code, headers=headers)


def random_faults(
    seed: int, start: int, end: int, per_day: float, pairs: Sequence[str] = (), candle: int = 5 * _MINUTE
) -> tuple[Fault, ...]:
    """Faults for a soak test, `per_day` of them a day between `start` and `end` (ms): every kind in turn, at random
    times.

    With `pairs`, each data fault affects one random pair; another coin's candle needs two. `candle` (ms) is the length
    of the candles that are skipped or wrong.
    """
    rng = random.Random(seed)
    usable = [kind for kind in KINDS if kind != "other_candle" or len(pairs) > 1]
    kinds: list[str] = []
    while len(kinds) < round(per_day * (end - start) / _DAY):
        kinds += rng.sample(usable, len(usable))
    kinds = kinds[: round(per_day * (end - start) / _DAY)]
    return _sorted(_random_fault(kind, rng, start, end, pairs, candle) for kind in kinds)


def _random_fault(kind: str, rng: random.Random, start: int, end: int, pairs: Sequence[str], candle: int) -> Fault:
    begin = rng.randrange(start, end)
    pair = rng.choice(pairs) if pairs and KINDS[kind][1] else None

    def lasting(least: float, most: float) -> int:
        return begin + round(rng.uniform(least, most) * _MINUTE)

    match kind:
        case "delay":
            return Fault(kind, begin, lasting(1, 20), share=rng.uniform(0.1, 0.6), seconds=rng.uniform(1, 30))
        case "outage":
            return Fault(kind, begin, lasting(1, 15))
        case "status":
            code = rng.choice((429, 418, 500, 502, 503, 504))
            wait = rng.randint(5, 60) if code < 500 else None
            return Fault(kind, begin, lasting(1, 10), share=rng.uniform(0.2, 1), code=code, retry_after=wait)
        case "stale_klines":
            return Fault(kind, begin, lasting(5, 30), pair, seconds=rng.uniform(300, 1800))
        case "repeat_candle":
            return Fault(kind, begin, lasting(5, 60), pair)
        case "skip_candle":
            opens = begin // candle * candle
            # A candle that stays missing restarts the map's 14 days of warm-up: one in four is enough.
            healed = None if rng.random() < 0.25 else opens + candle + _HOUR
            return Fault(kind, opens, opens + candle, pair, healed_at=healed)
        case "late_open_interest":
            return Fault(kind, begin, lasting(30, 360), pair, seconds=rng.uniform(600, 4 * 3600))
        case "revise_open_interest":
            factor = 1 + rng.choice((-1, 1)) * rng.uniform(0.01, 0.05)
            return Fault(kind, begin, lasting(10, 120), pair, factor=factor, after=rng.uniform(300, 3600))
        case "wrong_open_interest":
            until = lasting(5, 60)
            return Fault(kind, begin, until, pair, factor=rng.choice((0.1, 10.0)), healed_at=until + _HOUR)
        case "other_candle" | "broken_candle":
            opens = begin // candle * candle
            until = opens + candle * rng.randint(1, 4)
            if kind == "broken_candle":
                return Fault(kind, opens, until, pair, how=rng.choice(BROKEN), healed_at=until + _HOUR)
            of = rng.choice([other for other in pairs if other != pair])
            return Fault(kind, opens, until, pair, of=of, healed_at=until + _HOUR)
        case "future_row":
            return Fault(kind, begin, lasting(5, 30), pair, seconds=rng.uniform(300, 1800))
        case "clock":
            return Fault(kind, begin, lasting(10, 120), seconds=rng.choice((-1, 1)) * rng.uniform(1, 60))
        case _:  # drop, html, truncated
            return Fault(kind, begin, lasting(1, 10), share=rng.uniform(0.2, 1))

"""HTTP client with rate limits, retries and bounded bodies; `redact` for what is printed of an answer or an address.

One `Fetcher` per provider and run. 429 and 418 pause all requests to the provider for the time in Retry-After; 5xx,
time-outs, broken connections and truncated bodies are retried after 1, 2, 4 ... s with jitter. Permanent failures are a
FetchError with a message and a remedy for the user.
"""

import asyncio
import logging
import os
import random
import re
import socket
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import groupby
from json import dumps
from operator import itemgetter
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import httpx

from liqsignals.errors import InputError, __version__
from liqsignals.sources import PROVIDERS
from liqsignals.sources.spec import Provider

#: If a provider requests a longer pause, further requests fail until it is over, s.
LONGEST_PAUSE = 900.0
#: A larger clock difference is reported, s.
SKEW = 30.0

# At INFO it logs whole addresses, a key in the query included.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

#: What stands for a key, and the shortest part of one that is hidden: a message may show it cut.
HIDDEN = "[hidden]"
_PART = 6
_QUERY = re.compile(r"(?<=[\w/])(\?|#(?=[^\s\"'<>]*=))[^\s\"'<>()]+")
_USER = re.compile(r"(?<=://)[^\s/@\"'<>]+@")

#: Time as the waits see it, s: a test puts its own here.
sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
clock: Callable[[], float] = time.monotonic


class FetchError(InputError):
    """Something could not be fetched; what was fetched before is kept."""


class Missing(FetchError):
    """The provider has no such file (404)."""


class Refused(FetchError):
    """The provider answers, and does not take this request, key or address (4xx)."""


class TooLong(Exception):
    """A body is longer than its limit."""


class Offline(FetchError):
    """A provider's name cannot be resolved: most often there is no internet, and no other request would do better."""


def unresolved(error: BaseException | None) -> bool:
    """Whether a failed name look-up is at the bottom of an error."""
    while error is not None:
        if isinstance(error, socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Again(Exception):
    """An attempt failed; a retry may succeed."""


def key_of(provider: Provider) -> str:
    """The user's key for a provider, from the environment; "" without one. Raises InputError where no key can be so."""
    key = os.environ.get(provider.key_env, "").strip() if provider.key_env else ""
    if not key.isascii() or not key.isprintable():
        raise InputError(
            f"{provider.key_env}: holds characters that no key has", "set it again, without quotes or line breaks"
        )
    return key


def redact(text: str, more: Collection[str] = ()) -> str:
    """A message without the user's keys, of all providers, and without what an address holds beside host and path.

    `more` are other secrets to hide.

    A key is found in the spellings of addresses and JSON, too, and where only a part of it is shown.

    >>> redact("302 to https://a:b@example.com/login?api_key=secret; not followed")
    '302 to https://[hidden]@example.com/login?[hidden] not followed'
    """
    mine = (*more, *(os.environ.get(provider.key_env or "", "") for provider in PROVIDERS))
    keys = {key.strip().lower() for key in mine} - {""}
    spelled = {
        form for key in keys for form in (key, quote(key, safe="").lower(), quote_plus(key).lower(), dumps(key)[1:-1])
    }
    parts = {form[i : i + _PART] for form in spelled for i in range(max(len(form) - _PART, 0) + 1)}
    # Letter by letter: lower() changes the length of some other scripts' letters.
    shown = "".join(c.lower() if c.isascii() else c for c in text)
    secret = [False] * len(text)
    for part in parts:
        at = shown.find(part)
        while at >= 0:
            secret[at : at + len(part)] = [True] * len(part)
            at = shown.find(part, at + 1)
    runs = groupby(zip(text, secret, strict=True), itemgetter(1))
    text = "".join(HIDDEN if hidden else "".join(c for c, _ in run) for hidden, run in runs)
    return _QUERY.sub(f"?{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))


class Body:
    """Decodes an answer's body as it arrives, and never holds more than `limit` bytes of it.

    httpx's own decoding would unpack a whole network read at once, and one encoding inside another. Raises TooLong, and
    zlib.error for a body that is damaged.
    """

    def __init__(self, response: httpx.Response, limit: int) -> None:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
            raise zlib.error(f"content encoding {encoding[:40]!r} was not asked for")
        self._inflate = None if encoding == "identity" else zlib.decompressobj(47)
        self._parts: list[bytes] = []
        self._room = limit

    def add(self, chunk: bytes) -> None:
        """Take in the next bytes as they were received."""
        part = chunk if self._inflate is None else self._inflate.decompress(chunk, self._room + 1)
        self._room -= len(part)
        self._parts.append(part)
        if self._room < 0:
            raise TooLong

    def whole(self) -> bytes:
        """The decoded body; zlib.error where its end is missing."""
        if self._inflate is not None and self._parts and not self._inflate.eof:
            raise zlib.error("its end is missing")
        return b"".join(self._parts)


@dataclass(frozen=True)
class Reply:
    """A body as received, and the time of the request (ns UTC).

    Not the time of arrival: an answer computed before a bar's close and received after it holds the unfinished bar.
    """

    body: bytes
    asked_at: int


@dataclass
class Fetcher:
    """Requests to one provider. Create it with `fetcher`."""

    provider: Provider
    client: httpx.AsyncClient
    log: Callable[[str], None]
    #: Seconds by which the provider's clock is ahead of ours, from its last answer's Date header.
    skew: float | None = None
    _times: deque[float] = field(default_factory=deque)
    _open_at: float = 0.0
    #: Problem and remedy of a pause that is too long to wait for.
    _closed: tuple[str, str] | None = None
    _closed_until: float = 0.0
    _slots: asyncio.Semaphore | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _random: random.Random = field(default_factory=lambda: random.Random())

    async def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
        json: bool = True,
    ) -> Reply:
        """Body of `base_url + path`. Raises Missing on 404, Offline at once where the name cannot be resolved,
        FetchError for other failures.

        `json` rejects an HTML page. `max_bytes` bounds the body; default is the provider's limit.
        """
        limits = self.provider.limits
        url = self.client.base_url.join(path.lstrip("/"))
        if params:
            url = url.copy_with(query=urlencode({k: v for k, v in params.items() if v is not None}).encode())
        what = f"{self.provider.name}: {url.path}"
        problem = ""
        self._slots = self._slots or asyncio.Semaphore(limits.concurrency)
        for attempt in range(limits.attempts):
            if attempt:
                await sleep(min(2.0 ** (attempt - 1), 30.0) * self._random.uniform(0.5, 1.5))
            async with self._slots:
                await self._wait_turn(what)
                try:
                    async with asyncio.timeout(limits.total):
                        return await self._once(url, headers, max_bytes or limits.max_bytes, json, what)
                except _Again as error:
                    problem = str(error)
                except (httpx.TimeoutException, TimeoutError):
                    problem = f"no answer within {limits.silence:g} s"
                except httpx.TransportError as error:
                    if unresolved(error):
                        raise Offline(
                            f"{what}: the name {url.host} cannot be resolved. What was fetched before is kept",
                            "check the internet connection and run the same command again; it goes on where it stopped",
                        ) from error
                    problem = f"the connection broke ({redact(str(error)) or type(error).__name__})"
        raise FetchError(
            f"{what} failed {limits.attempts} times, last: {problem}. What was fetched before is kept",
            "run the same command again later; it goes on where it stopped",
        )

    async def _wait_turn(self, what: str) -> None:
        """Wait until the rate limit and a pause requested by the provider permit a request."""
        limits = self.provider.limits
        async with self._turn:
            while True:
                # A recorder outlives a long ban.
                if self._closed and clock() < self._closed_until:
                    problem, remedy = self._closed
                    raise FetchError(f"{what}: {problem}", remedy)
                now = clock()
                while self._times and self._times[0] <= now - limits.per_seconds:
                    self._times.popleft()
                wait = self._open_at - now
                if len(self._times) >= limits.requests:
                    wait = max(wait, self._times[0] + limits.per_seconds - now)
                if wait <= 0:
                    self._times.append(now)
                    return
                await sleep(wait)

    async def _once(
        self, url: httpx.URL, headers: Mapping[str, str] | None, max_bytes: int, json: bool, what: str
    ) -> Reply:
        asked_at = time.time_ns()
        async with self.client.stream("GET", url, headers=headers) as response:
            self._compare_clocks(response.headers.get("Date"))
            status = response.status_code
            if status in (418, 429):
                self._pause(response, what)
                raise _Again(f"it answered {status} (too many requests)")
            if status in (408, 425) or status >= 500:
                raise _Again(f"it answered {status}")
            if status == 404:
                raise Missing(f"{what}: there is no such file (404)")
            try:
                held = Body(response, max_bytes)
                async for chunk in response.aiter_raw():
                    held.add(chunk)
                body = held.whole()
            except TooLong:
                raise FetchError(
                    f"{what}: the answer is longer than {max_bytes >> 10} KiB, more than such a file can be; not taken"
                ) from None
            except zlib.error as error:
                raise _Again(f"its body is damaged ({error})") from None
        # Redacted before it is cut: half a key would not be found.
        said = " ".join(redact(body[:4096].decode("utf-8", "replace")).split())[:200]
        if status == 451:
            raise FetchError(f"{what}: it does not serve this country or cloud (451). It said: {said or 'nothing'}")
        if status in (401, 403):
            raise Refused(f"{what}: {_refused(self.provider, status)} It said: {said or 'nothing'}")
        if status >= 400:
            raise Refused(f"{what}: it refused the request ({status}): {said or 'no reason given'}")
        if status >= 300:
            raise FetchError(
                f"{what}: it redirects ({status} to {redact(response.headers.get('Location', '?'))}); not followed"
            )
        if json and body[:200].lstrip()[:1] == b"<":
            raise _Again(
                f"it sent a web page instead of data: {said[:80]!r} (a proxy, a login page or a block on the way?)"
            )
        return Reply(body, asked_at)

    def _pause(self, response: httpx.Response, what: str) -> None:
        """Hold every request to the provider for as long as it asks."""
        asked = _seconds(response.headers.get("Retry-After"))
        status = response.status_code
        if asked is not None and asked > LONGEST_PAUSE:
            problem = f"it answered {status} and requests a pause of {asked / 60:.0f} min"
            remedy = "run the same command again after that; it goes on where it stopped"
            self._closed, self._closed_until = (problem, remedy), clock() + asked
            raise FetchError(f"{what}: {problem}", remedy)
        pause = asked if asked is not None else (60.0 if status == 418 else 5.0)
        if clock() + pause > self._open_at:
            self._open_at = clock() + pause
            self.log(f"{self.provider.name}: it answered {status} (too many requests); waiting {pause:g} s")

    def _compare_clocks(self, date: str | None) -> None:
        try:
            there = parsedate_to_datetime(date).timestamp() if date else None
        except ValueError:
            there = None
        if there is None:
            return
        skew = there - time.time()
        if abs(skew) > SKEW and (self.skew is None or abs(self.skew) <= SKEW):
            word = "ahead of" if skew > 0 else "behind"
            self.log(
                f"{self.provider.name}: its clock is {abs(skew):.0f} s {word} this machine's. Rows are selected by "
                "their own "
                "time stamps; check this machine's clock"
            )
        self.skew = skew


def _refused(provider: Provider, status: int) -> str:
    if provider.key_env:
        return f"it does not accept the key in {provider.key_env} ({status}); check the key and its plan."
    return f"it refuses this machine ({status}); it may block the IP address for some minutes."


def _seconds(text: str | None) -> float | None:
    """Retry-After as seconds: a number, or a date."""
    if not text:
        return None
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


@asynccontextmanager
async def fetcher(
    provider: Provider, base_url: str | None = None, *, log: Callable[[str], None]
) -> AsyncIterator[Fetcher]:
    """A Fetcher of a provider, at `base_url` instead of its own where given. `log` receives messages for the user."""
    limits = provider.limits
    try:
        address = httpx.URL((base_url or provider.base_url).rstrip("/") + "/")
    except httpx.InvalidURL as error:
        raise InputError(f"{provider.name}: its address is none ({redact(str(error))})", "correct --url") from None
    async with httpx.AsyncClient(
        base_url=address,
        timeout=httpx.Timeout(limits.silence),
        limits=httpx.Limits(max_connections=limits.concurrency, max_keepalive_connections=limits.concurrency),
        headers={"User-Agent": f"liqsignals/{__version__}", "Accept-Encoding": "gzip"},
    ) as client:
        yield Fetcher(provider, client, log)

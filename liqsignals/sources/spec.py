"""Data types of a provider's declaration, and the error that its parsers raise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from liqsignals.errors import InputError
from liqsignals.records import Records


class ParseError(InputError):
    """Received bytes do not have the provider's published format; the message says what is wrong and where."""


#: `parse(raw, received_at)`: bytes as received and the instant (ns UTC) to records; pure, raises ParseError only. A
#: series of kind `contracts` returns coins per contract by the venue's symbol instead.
Parse = Callable[[bytes, int], Any]
#: Prints of one message by the venue's symbol: LIQUIDATION records (n,), `known_at` = event_time + 1 s.
Prints = dict[str, Records]
#: `ask(pair, start, stop)` (ns): path and query parameters of one page.
Ask = Callable[[str, int, int], tuple[str, dict[str, str | int]]]


@dataclass(frozen=True)
class Series:
    """One endpoint or file family of a provider."""

    #: Unique within the provider, for example `open_interest_archive`.
    name: str
    #: Kind of record, as in records.py: bar, open_interest, funding, liquidation, flow, event, taker, ratio,
    #: liquidated, predicted; or `contracts`.
    kind: str
    #: Path below the base URL, with the parameters' names in braces.
    path: str
    unit_in: str
    unit_stored: str
    #: Meaning of the provider's time stamp.
    label: str
    #: Lag from the event to the first instant at which the record may be used, ns.
    lag_ns: int
    #: Why that lag is safe.
    evidence: str
    #: How far back the provider has data.
    depth: str
    #: (valid until ns, parser): the first whose `until` is None or later than the data's time is used.
    parsers: tuple[tuple[int | None, Parse], ...]
    #: For REST series: `ask(pair, start, stop)` is path and parameters of one page; only rows with
    #: start < event_time <= stop are kept.
    ask: Ask | None = None
    #: Time that one page may cover, and how far back the provider has data (None: no limit), ns.
    page_ns: int = 0
    reach_ns: int | None = None
    #: Distance of two rows, ns; 0 for irregular events.
    period_ns: int = 0

    def parser(self, at: int) -> Parse:
        """The parser for data of the time `at` (ns)."""
        return next(parse for until, parse in self.parsers if until is None or at < until)


def linear_perpetual(pair: str, venue: str, quotes: Sequence[str] = ()) -> tuple[str, str]:
    """Base and quote of a freqtrade pair that is a perpetual counted in coins; `quotes`: what it may settle in.

    Raises InputError for a dated contract, one that settles in its base (its amounts count contracts of USD), and other
    quotes: their symbols and units differ, and the perpetual's numbers are not theirs.

    >>> linear_perpetual("BTC/USDC:USDC", "binance")
    ('BTC', 'USDC')
    """
    base, _, rest = pair.partition("/")
    quote, _, settled = rest.partition(":")
    if base and quote and quote == settled and (not quotes or quote in quotes):
        return base, quote
    what = f"perpetuals that settle in {' or '.join(quotes) or 'their quote (BTC/USDT:USDT)'}"
    raise InputError(f"{venue}: {pair} is none of the contracts that liqsignals knows there: {what}")


@dataclass(frozen=True)
class Refusal:
    """A venue's answer that it does not subscribe to something."""

    #: The venue's symbols that are refused; empty where the answer does not name them.
    symbols: tuple[str, ...]
    reason: str


def _never(raw: bytes) -> Refusal | None:
    return None


@dataclass(frozen=True)
class Stream:
    """One websocket feed of a provider."""

    #: Name of its raw files, unique among the provider's streams and series.
    channel: str
    #: Kind of record: liquidation.
    kind: str
    #: Default address, the same for all streams of a provider (`--url <provider>-stream=...` overrides it), and the
    #: path that is always appended to it.
    url: str
    path: str
    unit_in: str
    unit_stored: str
    #: Whose side it reports (order or position), and in which words.
    side: str
    #: Meaning of the provider's time stamp.
    label: str
    lag_ns: int
    evidence: str
    #: `parse(raw, received_at)`: prints of one message, empty for messages of other kinds; pure, raises ParseError
    #: only. Also takes `contracts=` (coins per contract by symbol) where `contracts` is declared.
    parse: Callable[..., Prints]
    #: Messages sent on connecting, to subscribe to these symbols (the venue's names).
    hello: Callable[[Sequence[str]], tuple[str, ...]]
    #: `refusal(raw)`: what a message refuses, None for every other message; pure, raises nothing. A venue that refuses
    #: a request whole because of one symbol needs a `hello` of one message per symbol.
    refusal: Callable[[bytes], Refusal | None] = _never
    #: How far back its messages can be downloaded later.
    depth: str = "none"
    #: Keep-alive text that the venue requires, or None where websocket pings are enough.
    keepalive: str | None = None
    #: Seconds without a message after which the subscription is assumed lost although pings are answered.
    quiet: float = 6 * 3600.0
    #: Name of the series with coins per contract, where prints count contracts; prints are held back until it has
    #: arrived.
    contracts: str | None = None


@dataclass(frozen=True)
class Limits:
    """Request limits of a provider."""

    #: At most `requests` in any `per_seconds`, and `concurrency` in parallel.
    requests: int
    per_seconds: float
    concurrency: int = 8
    #: Time-outs of an attempt, s: without a byte, and in total.
    silence: float = 15.0
    total: float = 120.0
    attempts: int = 6
    #: Longest accepted body, bytes.
    max_bytes: int = 32 * 1024 * 1024


@dataclass(frozen=True)
class Provider:
    """One source: address, limits, series and streams. One module of this package each."""

    name: str
    base_url: str
    #: Terms of use; printed when data are fetched.
    licence: str
    limits: Limits
    series: tuple[Series, ...]
    streams: tuple[Stream, ...] = ()
    #: The venue's symbol of a freqtrade pair; required for streams and for series that `record` polls.
    symbol: Callable[[str], str] | None = None
    #: Environment variable that holds the user's key, or None.
    key_env: str | None = None
    #: How the key is sent: a header with a prefix before the key, or a query parameter.
    key_header: str | None = None
    key_prefix: str = ""
    key_param: str | None = None

    def get(self, name: str) -> Series:
        """A series by name. Raises KeyError."""
        return {series.name: series for series in self.series}[name]

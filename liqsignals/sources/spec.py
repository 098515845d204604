"""What a provider declares of itself, and the one error of its parsers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from liqsignals.errors import InputError
from liqsignals.records import Records


class ParseError(InputError):
    """Bytes that are not what the provider publishes: the message says what is wrong and where."""


#: `parse(raw, received_at)`: bytes as received and the instant (ns UTC) to records; pure, raises ParseError only. A series of
#: kind `contracts` gives no records but the coins of one contract by the venue's symbol.
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
    #: Kind of record, as in records.py: bar, open_interest, funding, liquidation, flow, event, taker, ratio, liquidated, predicted;
    #: or `contracts`.
    kind: str
    #: Path below the base URL, with the parameters' names in braces.
    path: str
    unit_in: str
    unit_stored: str
    #: What the provider's time stamp names.
    label: str
    #: From the record's event to the first instant at which it may be used, ns.
    lag_ns: int
    #: Why that lag is safe.
    evidence: str
    #: How far back the provider answers.
    depth: str
    #: (valid until ns, parser): the first whose `until` is None or later than the data's time reads them.
    parsers: tuple[tuple[int | None, Parse], ...]
    #: For REST series: `ask(pair, start, stop)` is path and parameters of one page; rows with start < event_time <= stop
    #: are kept of it, whatever else it holds.
    ask: Ask | None = None
    #: Time that one page may cover, and how far back the provider answers at all (None: without limit), ns.
    page_ns: int = 0
    reach_ns: int | None = None
    #: Distance of two rows, ns; 0 where rows come as they happen.
    period_ns: int = 0

    def parser(self, at: int) -> Parse:
        """The parser of data of the instant `at` (ns)."""
        return next(parse for until, parse in self.parsers if until is None or at < until)


@dataclass(frozen=True)
class Stream:
    """One websocket feed of a provider."""

    #: Name of its raw files, unique among the provider's streams and series.
    channel: str
    #: Kind of record: liquidation.
    kind: str
    #: Where it is unless told otherwise (`--url <provider>-stream=...`), the same for all streams of a provider, and what stands
    #: behind that address in any case.
    url: str
    path: str
    unit_in: str
    unit_stored: str
    #: Whose side it names, and how.
    side: str
    #: What the provider's time stamp names.
    label: str
    lag_ns: int
    evidence: str
    #: `parse(raw, received_at)`: prints of one message, none of a message of another kind; pure, raises ParseError only. Takes
    #: `contracts=` (coins of one contract by symbol) too where `contracts` is declared.
    parse: Callable[..., Prints]
    #: What is sent on connecting, to hear of these symbols (the venue's names).
    hello: Callable[[Sequence[str]], tuple[str, ...]]
    #: How much of it can be had later.
    depth: str = "not kept"
    #: Text that the venue wants to see now and then, or None where websocket pings are enough.
    keepalive: str | None = None
    #: Seconds without a message after which a connection that still answers pings is taken for one that lost its subscription.
    quiet: float = 6 * 3600.0
    #: Name of the series that tells the coins of one contract, where prints count contracts: they wait for it.
    contracts: str | None = None


@dataclass(frozen=True)
class Limits:
    """How hard a provider may be asked."""

    #: At most `requests` in any `per_seconds`, and so many at once.
    requests: int
    per_seconds: float
    concurrency: int = 8
    #: Seconds without a byte, and seconds in all, after which an attempt is given up.
    silence: float = 15.0
    total: float = 120.0
    attempts: int = 6
    #: Longest body taken, bytes.
    max_bytes: int = 32 * 1024 * 1024


@dataclass(frozen=True)
class Provider:
    """One source: where it is, what it allows, what it has. One module of this package each."""

    name: str
    base_url: str
    #: Terms that bind the user; printed where data are fetched.
    licence: str
    limits: Limits
    series: tuple[Series, ...]
    streams: tuple[Stream, ...] = ()
    #: The venue's name of a freqtrade pair; needed by what `record` listens to and asks for.
    symbol: Callable[[str], str] | None = None
    #: Environment variable that holds the user's key, or None.
    key_env: str | None = None
    #: How the key is sent: header and what stands before the key in it, or else the query parameter.
    key_header: str | None = None
    key_prefix: str = ""
    key_param: str | None = None

    def get(self, name: str) -> Series:
        """A series by name. Raises KeyError."""
        return {series.name: series for series in self.series}[name]

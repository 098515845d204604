"""Subscriptions and polls of `liqsignals record`, built from the providers' declarations (spec.py: Stream, Series).

Every provider that declares a stream can be recorded. This module adds only the schedules, which are the same for all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from liqsignals import records, sources
from liqsignals.clock import DAY
from liqsignals.data import store
from liqsignals.errors import InputError
from liqsignals.records import Records
from liqsignals.sources import coinmetrics
from liqsignals.sources.spec import Prints, Provider, Refusal, Series

#: Providers that can be recorded, by name.
RECORDED = sources.EXCHANGES
EXCHANGES = tuple(RECORDED)
#: Default address of each feed; `--url name=url` overrides it.
URLS = {
    **{provider.name: provider.base_url for provider in (*RECORDED.values(), coinmetrics.PROVIDER)},
    **{f"{provider.name}-stream": stream.url for provider in RECORDED.values() for stream in provider.streams},
}


@dataclass(frozen=True)
class Feed:
    """A provider's stream for some pairs; other fields as in Stream."""

    provider: str
    channel: str
    #: The full address.
    url: str
    parse: Callable[..., Prints]
    #: freqtrade's pair by symbol, for the symbols that are published; all are logged raw.
    pairs: Mapping[str, str]
    hello: tuple[str, ...]
    keepalive: str | None
    quiet: float
    refusal: Callable[[bytes], Refusal | None]
    #: The series with coins per contract, if prints need it.
    contracts: Series | None


#: `ask(start, stop)` (ns): path and parameters of one page.
Page = Callable[[int, int], tuple[str, Mapping[str, str | int]]]


@dataclass(frozen=True)
class Request:
    """A GET whose answer is logged raw and, where `dtype` is set, published as records."""

    channel: str
    ask: Page
    parse: Callable[[bytes, int], Any]
    #: Target series: `<kind>/<provider>/<pair>-<period>`, rows of `dtype`.
    kind: str = ""
    pair: str = ""
    period: str = "5m"
    dtype: Any = None
    #: Time that one page may cover, ns; 0 for answers about the current moment. Missed pages are requested later.
    page_ns: int = 0
    #: How far back the provider has data, ns.
    reach_ns: int | None = None


@dataclass(frozen=True)
class Poll:
    """Requests made together every `every` seconds, `after` seconds past each multiple."""

    provider: str
    requests: tuple[Request, ...]
    every: float
    after: float = 0.0

    @property
    def needed(self) -> bool:
        """Whether prints are no numbers without it."""
        return all(request.kind == "contracts" for request in self.requests)


def liquidation_streams(pairs: Sequence[str], exchanges: Sequence[str], urls: Mapping[str, str]) -> list[Feed]:
    """The liquidation feeds of the exchanges; an exchange that has none of the pairs has no feed."""
    out = []
    for provider in _providers(exchanges):
        named = {symbol: pair for pair in pairs if (symbol := _symbol(provider, pair))}
        for stream in provider.streams if named else ():
            url = urls[f"{provider.name}-stream"]
            out.append(
                Feed(
                    provider.name,
                    stream.channel,
                    url.rstrip("/") + stream.path if stream.path else url,
                    stream.parse,
                    named,
                    stream.hello(tuple(named)),
                    stream.keepalive,
                    stream.quiet,
                    stream.refusal,
                    provider.get(stream.contracts) if stream.contracts else None,
                )
            )
    return out


def left_out(pairs: Sequence[str], exchanges: Sequence[str]) -> list[str]:
    """Why pairs are not recorded at exchanges that have no such contract, one sentence for each."""
    out = []
    for provider in _providers(exchanges):
        assert provider.symbol is not None
        for pair in pairs:
            try:
                provider.symbol(pair)
            except InputError as error:
                out.append(f"{error}; not recorded there")
    return out


#: Kinds polled together, period in seconds, and offset in seconds past each multiple.
_RHYTHM: tuple[tuple[tuple[str, ...], float, float], ...] = (
    (("bar",), 300.0, 5.0),
    # Open interest of a period is served some 20 s after its end; polling at 45 s leaves time before its known_at.
    (("open_interest", "ratio", "taker"), 300.0, 45.0),
    (("funding",), 3600.0, 90.0),
    (("predicted",), 60.0, 20.0),
)


def polls(pairs: Sequence[str], exchanges: Sequence[str], *, flows: bool = False) -> list[Poll]:
    """The polls: bars and open interest (to connect history to the live frame), ratios, predicted funding, flows."""
    out: list[Poll] = []
    coins = dict.fromkeys(pair.split("/")[0].lower() for pair in pairs)
    if flows:
        out += [Poll("coinmetrics", (_vintage(coin),), 6 * 3600.0) for coin in coins if coin in ("btc", "eth")]
    providers = _providers(exchanges)
    for provider in providers:
        # One answer holds all contracts.
        sizes = tuple(_request(s, "", s.name) for s in provider.series if s.kind == "contracts")
        out += [Poll(provider.name, sizes, 3600.0)] if sizes else []
    for pair in pairs:
        for provider in providers:
            symbol = _symbol(provider, pair)
            for kinds, every, after in _RHYTHM if symbol else ():
                requests = tuple(
                    _request(s, pair, f"{s.name}-{symbol}")
                    for s in provider.series
                    if s.kind in kinds and s.ask is not None
                )
                out += [Poll(provider.name, requests, every, after)] if requests else []
    return out


def _providers(exchanges: Sequence[str]) -> list[Provider]:
    return [RECORDED[name] for name in dict.fromkeys(exchanges)]


def _symbol(provider: Provider, pair: str) -> str | None:
    """The venue's name of a pair, None where it has no such contract."""
    assert provider.symbol is not None, f"{provider.name} declares streams, but not the names of its symbols"
    try:
        return provider.symbol(pair)
    except InputError:
        return None


def _request(series: Series, pair: str, channel: str) -> Request:
    """The request of a declared series."""
    assert series.ask is not None
    return Request(
        channel, partial(series.ask, pair), partial(_by_date, series), series.kind, pair,
        store.period_name(series.period_ns), records.STORED.get(series.kind), series.page_ns, series.reach_ns,
    )  # fmt: skip


def _vintage(coin: str) -> Request:
    """Today's vintage of the last 100 days of exchange flows; logged raw, because values are revised later.

    Not published as records: a later vintage under an earlier `known_at` would be lookahead.
    """

    def ask(start: int, stop: int) -> tuple[str, Mapping[str, str | int]]:
        return coinmetrics.PATH, coinmetrics.parameters(coin, stop - 100 * DAY)

    return Request(f"flows-{coin}", ask, coinmetrics.parse_flows)


def _by_date(series: Series, raw: bytes, received_at: int) -> Any:
    """Parse an answer with the parser valid at its time."""
    return series.parser(received_at)(raw, received_at)


def override(given: Sequence[str], known: Mapping[str, str] = URLS) -> dict[str, str]:
    """`known` with `name=url` replacements. Raises InputError for an unknown name."""
    urls = dict(known)
    for text in given:
        name, _, url = text.partition("=")
        if name not in urls or not url:
            raise InputError(f"--url {text}: write it as name=url, with a name of: {', '.join(urls)}")
        urls[name] = url
    return urls


def merge_ratios(rows: Records) -> Records:
    """RATIO rows of several endpoints merged to one row per instant; NaN where no endpoint has a value."""
    at = rows["event_time"]
    instants, where = np.unique(at, return_inverse=True)
    out = np.zeros(len(instants), rows.dtype)
    out["event_time"] = instants
    for name in (n for n in rows.dtype.names or () if n not in ("event_time", "known_at")):
        out[name] = np.nan
        finite = np.isfinite(rows[name])
        out[name][where[finite]] = rows[name][finite]
    np.maximum.at(out["known_at"], where, rows["known_at"])
    return out

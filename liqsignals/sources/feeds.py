"""What `liqsignals record` listens to and asks for, by provider: addresses, subscriptions, rhythm, parsers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from liqsignals import records
from liqsignals.clock import DAY, MINUTE
from liqsignals.errors import InputError
from liqsignals.records import Records
from liqsignals.sources import binance, bybit, coinmetrics, okx, streams
from liqsignals.sources.spec import Series

#: Where each feed is unless told otherwise (`--url name=url`).
URLS = {
    "binance": "https://fapi.binance.com",
    "bybit": "https://api.bybit.com",
    "okx": "https://www.okx.com",
    "coinmetrics": "https://community-api.coinmetrics.io",
    # The hosts without /market/ were retired on 2026-04-23; the old paths connect, and then say nothing.
    "binance-stream": "wss://fstream.binance.com/market/ws",
    "bybit-stream": "wss://stream.bybit.com/v5/public/linear",
    "okx-stream": "wss://ws.okx.com:8443/ws/v5/public",
}
EXCHANGES = ("binance", "bybit", "okx")


@dataclass(frozen=True)
class Stream:
    """One websocket: what to say first, how to keep it open, and when its silence is no longer believed."""

    provider: str
    channel: str
    url: str
    #: Parser of one message: prints by the venue's symbol.
    parse: Callable[[bytes, int], streams.Prints]
    #: freqtrade's pair of each symbol that is published; all are kept raw.
    pairs: Mapping[str, str]
    hello: tuple[str, ...] = ()
    #: Text that the venue wants to see now and then, or None where websocket pings are enough.
    keepalive: str | None = None
    #: Seconds without a message after which a connection that still answers pings is taken for one that lost its subscription.
    quiet: float = 6 * 3600.0


#: `ask(start, stop)` (ns): path and parameters of one page.
Page = Callable[[int, int], tuple[str, Mapping[str, str | int]]]


@dataclass(frozen=True)
class Request:
    """A GET whose answer is kept raw and, where `kind` is set, published as records."""

    channel: str
    ask: Page
    parse: Callable[[bytes, int], Any]
    #: Series that it feeds: `<kind>/<provider>/<pair>-<period>`, rows of `dtype`.
    kind: str = ""
    pair: str = ""
    period: str = "5m"
    dtype: Any = None
    #: Time that one page may cover, ns; 0 where an answer is of the moment. Missed pages are asked for later.
    page_ns: int = 0
    #: How far back there is anything, ns.
    reach_ns: int | None = None


@dataclass(frozen=True)
class Poll:
    """Requests that are made together, `every` seconds, `after` seconds past each multiple."""

    provider: str
    requests: tuple[Request, ...]
    every: float
    after: float = 0.0


def liquidation_streams(pairs: Sequence[str], exchanges: Sequence[str], urls: Mapping[str, str]) -> list[Stream]:
    """The liquidation feeds of the exchanges."""
    plain = {binance.symbol(pair): pair for pair in pairs}
    out = []
    if "binance" in exchanges:
        # All symbols: whatever arrives shows that the feed is alive, and what is not kept today cannot be had later.
        url = urls["binance-stream"].rstrip("/") + "/!forceOrder@arr"
        out.append(Stream("binance", "liquidations", url, streams.parse_binance, plain, quiet=900.0))
    if "bybit" in exchanges:
        topics = [f"allLiquidation.{symbol}" for symbol in plain]
        hello = tuple(json.dumps({"op": "subscribe", "args": topics[i : i + 10]}) for i in range(0, len(topics), 10))
        out.append(
            Stream("bybit", "liquidations", urls["bybit-stream"], streams.parse_bybit, plain, hello, '{"op":"ping"}')
        )
    if "okx" in exchanges:
        hello = (json.dumps({"op": "subscribe", "args": [{"channel": "liquidation-orders", "instType": "SWAP"}]}),)
        # The recorder fills in the contracts (`with_contracts`) before it publishes.
        parse = partial(streams.parse_okx, contracts={})
        named = {okx.symbol(pair): pair for pair in pairs}
        out.append(Stream("okx", "liquidations", urls["okx-stream"], parse, named, hello, "ping", quiet=3600.0))
    return out


def polls(pairs: Sequence[str], exchanges: Sequence[str], *, flows: bool = False) -> list[Poll]:
    """What has to be asked for: bars and open interest that join the live frame, ratios, predicted funding, flows."""
    out: list[Poll] = []
    coins = dict.fromkeys(pair.split("/")[0].lower() for pair in pairs)
    if flows:
        out += [Poll("coinmetrics", (_vintage(coin),), 6 * 3600.0) for coin in coins if coin in ("btc", "eth")]
    if "okx" in exchanges:
        path = ("/api/v5/public/instruments", {"instType": "SWAP"})
        contracts = Request("contracts", lambda start, stop: path, streams.parse_okx_contracts)
        out.append(Poll("okx", (contracts,), 3600.0))
    for pair in pairs:
        for name in exchanges:
            symbol = _DECLARED[name][1](pair)
            if name in _BARS:
                out.append(Poll(name, (_bars(name, pair, symbol),), 300.0, 5.0))
            # Open interest of a period is answered some 20 s after its end; asking at 45 s leaves room before its known_at.
            out.append(Poll(name, _declared(name, pair, ("open_interest", "ratio", "taker")), 300.0, 45.0))
            out.append(Poll(name, _declared(name, pair, ("funding",)), 3600.0, 90.0))
            out.append(Poll(name, (_predicted(name, pair, symbol),), 60.0, 20.0))
    return out


_DECLARED = {
    "binance": (binance.REST, binance.symbol), "bybit": (bybit.PROVIDER, bybit.symbol), "okx": (okx.PROVIDER, okx.symbol),
}  # fmt: skip
#: Only exchanges whose open interest makes a map need bars of their own.
_BARS = ("binance", "bybit")
_DTYPES = {
    "open_interest": records.OI_VALUE, "ratio": records.RATIO, "taker": records.TAKER, "funding": records.FUNDING,
}  # fmt: skip


def _declared(name: str, pair: str, kinds: Sequence[str]) -> tuple[Request, ...]:
    """Requests of the series that a provider's file declares."""
    provider, symbol = _DECLARED[name]
    return tuple(
        Request(
            f"{series.name}-{symbol(pair)}", partial(series.ask, pair), partial(_by_date, series), series.kind, pair,
            "5m" if series.period_ns else "events", _DTYPES[series.kind], series.page_ns, series.reach_ns,
        )
        for series in provider.series
        if series.kind in kinds and series.ask is not None
    )  # fmt: skip


def _vintage(coin: str) -> Request:
    """Exchange flows as they are told today of the last 100 days: kept raw, for yesterday's numbers are recomputed.

    They are not published: a later vintage under an earlier `known_at` would be a look ahead.
    """

    def ask(start: int, stop: int) -> tuple[str, Mapping[str, str | int]]:
        return coinmetrics.PATH, coinmetrics.parameters(coin, stop - 100 * DAY)

    return Request(f"flows-{coin}", ask, coinmetrics.parse_flows)


def _by_date(series: Series, raw: bytes, received_at: int) -> Records:
    """An answer read by the parser of its day."""
    return series.parser(received_at)(raw, received_at)


def _bars(name: str, pair: str, symbol: str) -> Request:
    period = 5 * MINUTE

    def ask(start: int, stop: int) -> tuple[str, Mapping[str, str | int]]:
        limit = min(499, (stop - start) // period + 2)
        if name == "binance":
            return "/fapi/v1/klines", {"symbol": symbol, "interval": "5m", "limit": limit}
        return "/v5/market/kline", {"category": "linear", "symbol": symbol, "interval": "5", "limit": limit}

    parse = streams.parse_binance_bars if name == "binance" else streams.parse_bybit_bars
    return Request(f"bars-{symbol}", ask, parse, "bar", pair, "5m", records.BAR, 497 * period, 497 * period)


def _predicted(name: str, pair: str, symbol: str) -> Request:
    path, params, parse = {
        "binance": ("/fapi/v1/premiumIndex", {"symbol": symbol}, streams.parse_binance_predicted),
        "bybit": ("/v5/market/tickers", {"category": "linear", "symbol": symbol}, streams.parse_bybit_predicted),
        "okx": ("/api/v5/public/funding-rate", {"instId": symbol}, streams.parse_okx_predicted),
    }[name]
    answer: tuple[str, Mapping[str, str | int]] = (path, params)
    return Request(
        f"predicted-{symbol}", lambda start, stop: answer, parse, "predicted", pair, "events", records.PREDICTED
    )


def override(given: Sequence[str], known: Mapping[str, str] = URLS) -> dict[str, str]:
    """`known` with `name=url` replacements. Raises InputError for a name that is not there."""
    urls = dict(known)
    for text in given:
        name, _, url = text.partition("=")
        if name not in urls or not url:
            raise InputError(f"--url {text}: write it as name=url, with a name of: {', '.join(urls)}")
        urls[name] = url
    return urls


def merge_ratios(rows: Records) -> Records:
    """RATIO rows of several endpoints, one row an instant: what each tells, NaN where none does."""
    at = rows["event_time"]
    instants, where = np.unique(at, return_inverse=True)
    out = np.zeros(len(instants), rows.dtype)
    out["event_time"] = instants
    for name in (n for n in rows.dtype.names or () if n not in ("event_time", "known_at")):
        out[name] = np.nan
        told = np.isfinite(rows[name])
        out[name][where[told]] = rows[name][told]
    np.maximum.at(out["known_at"], where, rows["known_at"])
    return out

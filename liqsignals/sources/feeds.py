"""What `liqsignals record` listens to and asks for, by provider: addresses, subscriptions, rhythm, parsers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from liqsignals import records
from liqsignals.errors import InputError
from liqsignals.records import Records
from liqsignals.sources import binance, streams

#: Where each feed is unless told otherwise (`--base-url name=url`).
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


@dataclass(frozen=True)
class Request:
    """One GET whose answer is kept raw and, where `kind` is set, published as records."""

    channel: str
    path: str
    parse: Callable[[bytes, int], Any]
    params: tuple[tuple[str, str], ...] = ()
    #: Series that it feeds: `<kind>/<provider>/<pair>-<period>`.
    kind: str = ""
    pair: str = ""
    period: str = "5m"
    #: Rows that one request can bring; the recorder asks for what it lacks, by the parameter `limit`.
    most: int = 0
    dtype: Any = None


@dataclass(frozen=True)
class Poll:
    """Requests that are made together, `every` seconds, `after` seconds past each multiple."""

    provider: str
    requests: tuple[Request, ...]
    every: float
    after: float = 0.0


def okx_symbol(pair: str) -> str:
    """OKX's name of a pair.

    >>> okx_symbol("BTC/USDT:USDT")
    'BTC-USDT-SWAP'
    """
    base, _, rest = pair.partition("/")
    return f"{base}-{rest.partition(':')[0]}-SWAP"


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
        okx = {okx_symbol(pair): pair for pair in pairs}
        out.append(Stream("okx", "liquidations", urls["okx-stream"], parse, okx, hello, "ping", quiet=3600.0))
    return out


def polls(pairs: Sequence[str], exchanges: Sequence[str]) -> list[Poll]:
    """What has to be asked for: bars and open interest that join the live frame, ratios, predicted funding, flows."""
    out: list[Poll] = []
    for pair in pairs:
        symbol = binance.symbol(pair)
        if "binance" in exchanges:
            out += _binance(pair, symbol)
        if "bybit" in exchanges:
            out += _bybit(pair, symbol)
        if "okx" in exchanges:
            name = okx_symbol(pair)
            request = Request(
                f"predicted-{name}", "/api/v5/public/funding-rate", streams.parse_okx_predicted, (("instId", name),),
                "predicted", pair, "events",
            )  # fmt: skip
            out.append(Poll("okx", (request,), 60.0))
    if "okx" in exchanges:
        contracts = Request(
            "contracts", "/api/v5/public/instruments", streams.parse_okx_contracts, (("instType", "SWAP"),)
        )
        out.insert(0, Poll("okx", (contracts,), 3600.0))
    return out


def _binance(pair: str, symbol: str) -> list[Poll]:
    def data(kind: str, path: str, parse: Any, dtype: Any, channel: str) -> Request:
        params = (("symbol", symbol), ("period", "5m"))
        return Request(f"{channel}-{symbol}", path, parse, params, kind, pair, "5m", 500, dtype)

    series = {s.name: s for s in binance.REST.series}
    hist = [
        data("open_interest", "/futures/data/openInterestHist", series["open_interest"].parser, records.OI_VALUE, "open_interest"),
        *[
            data("ratio", s.path.partition("?")[0], s.parser, records.RATIO, name)
            for name, s in series.items() if name.startswith("ratio_")
        ],
    ]  # fmt: skip
    bars = Request(
        f"bars-{symbol}", "/fapi/v1/klines", streams.parse_binance_bars, (("symbol", symbol), ("interval", "5m")), "bar", pair,
        "5m", 499, records.BAR,
    )  # fmt: skip
    settled = Request(
        f"funding-{symbol}", "/fapi/v1/fundingRate", binance.parse_funding, (("symbol", symbol), ("limit", "100")), "funding",
        pair, "events", 0, records.FUNDING,
    )  # fmt: skip
    predicted = Request(
        f"predicted-{symbol}", "/fapi/v1/premiumIndex", streams.parse_binance_predicted, (("symbol", symbol),), "predicted", pair,
        "events",
    )  # fmt: skip
    # Open interest of a period is answered some 20 s after its end; asking at 45 s leaves room before its known_at.
    dated = tuple(_dated(request) for request in hist)
    return [
        Poll("binance", (bars,), 300.0, 5.0),
        Poll("binance", dated, 300.0, 45.0),
        Poll("binance", (settled,), 3600.0, 90.0),
        Poll("binance", (predicted,), 60.0, 20.0),
    ]


def _dated(request: Request) -> Request:
    """A request whose parser is chosen by the day of arrival (parsers by date)."""
    choose = request.parse

    def parse(raw: bytes, received_at: int) -> Records:
        chosen = choose(received_at)  # type: ignore[arg-type, call-arg]
        return chosen(raw, received_at)  # type: ignore[no-any-return]

    return Request(**{**vars(request), "parse": parse})


def _bybit(pair: str, symbol: str) -> list[Poll]:
    linear = (("category", "linear"), ("symbol", symbol))
    bars = Request(
        f"bars-{symbol}", "/v5/market/kline", streams.parse_bybit_bars, (*linear, ("interval", "5")), "bar", pair, "5m", 499,
        records.BAR,
    )  # fmt: skip
    predicted = Request(
        f"predicted-{symbol}", "/v5/market/tickers", streams.parse_bybit_predicted, linear, "predicted", pair, "events"
    )
    return [Poll("bybit", (bars,), 300.0, 5.0), Poll("bybit", (predicted,), 60.0, 20.0)]


def override(given: Sequence[str], known: Mapping[str, str] = URLS) -> dict[str, str]:
    """`known` with `name=url` replacements. Raises InputError for a name that is not there."""
    urls = dict(known)
    for text in given:
        name, _, url = text.partition("=")
        if name not in urls or not url:
            raise InputError(f"--base-url {text}: write it as name=url, with a name of: {', '.join(urls)}")
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

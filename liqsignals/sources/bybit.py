"""Bybit v5, linear perpetuals (bybit-exchange.github.io/docs/v5; the docs' own repository, docs/v5/market/*.mdx and
docs/v5/websocket/public/all-liquidation.mdx).

`openInterest` counts both sides; `singleOpenInterest` exists since 2026-06-11. Answers are newest first. With startTime
alone the API counts back from now, so both ends are always sent.
"""

import json
import re
from collections.abc import Sequence
from functools import partial

import numpy as np

from liqsignals import records
from liqsignals.clock import HOUR, MINUTE
from liqsignals.records import Records
from liqsignals.sources import decode, shapes
from liqsignals.sources.spec import (
    Limits,
    ParseError,
    Prints,
    Provider,
    Refusal,
    Series,
    Stream,
    linear_perpetual,
)

PERIOD = 5 * MINUTE
MS = 1_000_000


def symbol(pair: str) -> str:
    """Bybit's symbol of a freqtrade pair that settles in USDT or USDC. Raises InputError for any other.

    >>> symbol("BTC/USDT:USDT"), symbol("BTC/USDC:USDC")
    ('BTCUSDT', 'BTCPERP')
    """
    base, quote = linear_perpetual(pair, "bybit", ("USDT", "USDC"))
    return f"{base}USDT" if quote == "USDT" else f"{base}PERP"


def _table(raw: bytes, what: str) -> list[object]:
    return decode.checked_rows(raw, what, "retCode", (0, "0"), "retMsg", "result", "list")


def parse_open_interest(raw: bytes, received_at: int) -> Records:
    """OI_VALUE (n,) of GET /v5/market/open-interest at 5min: coins, one-sided; `usd` is NaN (not published)."""
    what = "bybit open-interest"
    table = _table(raw, what)
    label = decode.stamps(decode.column(table, "timestamp", what), f"{what}, timestamp", received_at)
    both = decode.numbers(decode.column(table, "openInterest", what, None), what, least=0.0)
    single = decode.numbers(decode.column(table, "singleOpenInterest", what, None), what, least=0.0)
    base = np.where(single > 0, single, both / 2)
    at = label + PERIOD
    rows = records.records(records.OI_VALUE, at, at + records.open_interest_lag(PERIOD), base=base, usd=np.nan)
    return shapes.once(rows[rows["base"] > 0], what)


def parse_account_ratio(raw: bytes, received_at: int) -> Records:
    """RATIO (n,) of GET /v5/market/account-ratio at 5min: `account` = shares of accounts long / short."""
    what = "bybit account-ratio"
    table = _table(raw, what)
    label = decode.stamps(decode.column(table, "timestamp", what), f"{what}, timestamp", received_at)
    buy = decode.numbers(decode.column(table, "buyRatio", what), what, least=0.0)
    sell = decode.numbers(decode.column(table, "sellRatio", what), what, least=0.0)
    ratio = np.divide(buy, sell, out=np.full(len(buy), np.nan), where=(sell > 0) & (buy > 0))
    at = label + PERIOD
    blank = {"top_account": np.nan, "top_position": np.nan, "taker": np.nan}
    return shapes.once(
        records.records(records.RATIO, at, at + records.open_interest_lag(PERIOD), account=ratio, **blank), what
    )


def parse_funding(raw: bytes, received_at: int) -> Records:
    """FUNDING (n,) of GET /v5/market/funding/history; the first row has no interval and is left out."""
    what = "bybit funding/history"
    table = _table(raw, what)
    settled = decode.stamps(
        decode.column(table, "fundingRateTimestamp", what), f"{what}, fundingRateTimestamp", received_at
    )
    return shapes.funding(settled, decode.numbers(decode.column(table, "fundingRate", what), what), what)


def parse_liquidations(raw: bytes, received_at: int) -> Prints:
    """Prints of a message of `allLiquidation.<symbol>`. `S` is the side of the POSITION; `p` the bankruptcy price."""
    what = "allLiquidation"
    message = decode.an_object(decode.answer(raw, what), what)
    topic = message.get("topic")
    if not isinstance(topic, str) or not topic.startswith("allLiquidation."):
        return {}
    rows: list[shapes.Print] = []
    for row in decode.a_list(message.get("data"), what):
        row = decode.an_object(row, what)
        side = shapes.side(decode.text(row, "S", what), "Buy", "Sell", what)
        price, base = decode.above_zero(row, "p", what), decode.above_zero(row, "v", what)
        rows.append(
            (decode.text(row, "s", what), decode.instant(row, "T", what, received_at), side, price, base, price * base)
        )
    return shapes.prints(rows)


def parse_predicted(raw: bytes, received_at: int) -> Records:
    """PREDICTED (1,) of GET /v5/market/tickers?category=linear&symbol."""
    what = "tickers"
    row = decode.an_object((decode.rows(raw, what, "result", "list") or [None])[0], what)
    rate, next_at = decode.number(row.get("fundingRate"), what), decode.stamp(row.get("nextFundingTime"), what)
    at = decode.instant(decode.an_object(decode.answer(raw, what), what), "time", what, received_at)
    return shapes.predicted(at, received_at, rate, next_at, what)


def parse_bars(raw: bytes, received_at: int) -> Records:
    """BAR (n,) of GET /v5/market/kline with interval 5; newest first, without the open bar."""
    return shapes.bars(decode.rows(raw, "kline", "result", "list"), received_at, PERIOD, "kline")


def _ask(path: str, interval: str, limit: int, pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    return path, {
        "category": "linear",
        "symbol": symbol(pair),
        interval: "5min",
        "limit": limit,
        "startTime": (start - PERIOD) // MS,
        "endTime": stop // MS,
    }


def _ask_funding(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    return "/v5/market/funding/history", {
        "category": "linear",
        "symbol": symbol(pair),
        "limit": 200,
        "startTime": (start - 9 * HOUR) // MS,
        "endTime": stop // MS,
    }


def _ask_bars(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    """The newest bars, as many as lie between `start` and now, and the open one."""
    limit = min(499, (stop - start) // PERIOD + 2)
    return "/v5/market/kline", {"category": "linear", "symbol": symbol(pair), "interval": "5", "limit": limit}


def _ask_predicted(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    return "/v5/market/tickers", {"category": "linear", "symbol": symbol(pair)}


def _hello(symbols: Sequence[str]) -> tuple[str, ...]:
    """Subscriptions, one symbol a request: Bybit refuses a request whole where it does not list one of its topics."""
    return tuple(
        json.dumps({"req_id": symbol, "op": "subscribe", "args": [f"allLiquidation.{symbol}"]}) for symbol in symbols
    )


def refusal(raw: bytes) -> Refusal | None:
    """What Bybit refuses: `success` false, topics in `failTopics`, or a `retCode`; the symbol stands in one of those,
    in the text, or in `req_id`.
    """
    if not any(word in raw[:200] for word in (b'"success"', b'"retCode"')):
        return None
    try:
        message = decode.answer(raw, "subscription")
    except ParseError:
        return None
    if not isinstance(message, dict) or "topic" in message:
        return None
    data = message.get("data")
    failed = data.get("failTopics") if isinstance(data, dict) else None
    if message.get("success", True) is not False and not message.get("retCode") and not failed:
        return None
    reason = str(message.get("ret_msg") or message.get("retMsg") or "")
    text = f"{failed or ''} {reason}"
    named = re.findall(r"allLiquidation\.([A-Za-z0-9_-]+)", text) or [message.get("req_id") or message.get("reqId")]
    if not named[0]:
        named = re.findall(r"\b[A-Z0-9]+(?:USDT|USDC|PERP)\b", text)
    return Refusal(tuple(name for name in named if isinstance(name, str) and name), reason or str(failed))


_LABEL = "assumed to be the start of the period (not documented; the later reading is the safe one)"
_LATE = "two periods, as Binance's"

PROVIDER = Provider(
    name="bybit",
    base_url="https://api.bybit.com",
    licence="Bybit's terms of use: own use",
    limits=Limits(requests=300, per_seconds=5.0, concurrency=6),
    series=(
        Series(
            name="open_interest",
            kind="open_interest",
            path="/v5/market/open-interest?category&symbol&intervalTime&startTime&endTime&limit",
            unit_in="coins, both sides; singleOpenInterest one-sided",
            unit_stored="coins, one-sided (singleOpenInterest, else half)",
            label=_LABEL,
            lag_ns=records.open_interest_lag(PERIOD),
            evidence=_LATE,
            depth="the symbol's launch",
            parsers=((None, parse_open_interest),),
            ask=partial(_ask, "/v5/market/open-interest", "intervalTime", 200),
            page_ns=198 * PERIOD,
            reach_ns=None,
            period_ns=PERIOD,
        ),
        Series(
            name="ratio",
            kind="ratio",
            path="/v5/market/account-ratio?category&symbol&period&startTime&endTime&limit",
            unit_in="shares of accounts, 0..1",
            unit_stored="accounts long per account short",
            label=_LABEL,
            lag_ns=records.open_interest_lag(PERIOD),
            evidence=_LATE,
            depth="2020-07-20",
            parsers=((None, parse_account_ratio),),
            ask=partial(_ask, "/v5/market/account-ratio", "period", 500),
            page_ns=498 * PERIOD,
            reach_ns=None,
            period_ns=PERIOD,
        ),
        Series(
            name="funding",
            kind="funding",
            path="/v5/market/funding/history?category&symbol&startTime&endTime&limit",
            unit_in="fraction per interval",
            unit_stored="the same",
            label="settlement",
            lag_ns=records.FUNDING_LAG,
            evidence="the endpoint's own delay is a few seconds",
            depth="the symbol's launch",
            parsers=((None, parse_funding),),
            ask=_ask_funding,
            page_ns=180 * HOUR,
        ),
        Series(
            name="bars",
            kind="bar",
            path="/v5/market/kline?category&symbol&interval&limit",
            unit_in="quote units; volume in coins",
            unit_stored="the same",
            label="start of the bar",
            lag_ns=0,
            evidence="known at the bar's close; a recorder stamps the instant at which it could be read",
            depth="the newest 499 are requested",
            parsers=((None, parse_bars),),
            ask=_ask_bars,
            page_ns=497 * PERIOD,
            reach_ns=497 * PERIOD,
            period_ns=PERIOD,
        ),
        Series(
            name="predicted",
            kind="predicted",
            path="/v5/market/tickers?category&symbol",
            unit_in="fraction per interval",
            unit_stored="the same",
            label="time of the answer; nextFundingTime is the settlement",
            lag_ns=0,
            evidence="known on arrival",
            depth="none",
            parsers=((None, parse_predicted),),
            ask=_ask_predicted,
        ),
    ),
    streams=(
        Stream(
            channel="liquidations",
            kind="liquidation",
            url="wss://stream.bybit.com/v5/public/linear",
            path="",
            unit_in="coins (v), bankruptcy price (p)",
            unit_stored="coins, and their USD value",
            side="of the POSITION: Buy means a long was liquidated",
            label="T: time of the liquidation",
            lag_ns=records.LIQUIDATION_LAG,
            evidence="every liquidation, sent each 500 ms; one second, as for the other venues",
            parse=parse_liquidations,
            hello=_hello,
            refusal=refusal,
            keepalive='{"op":"ping"}',
        ),
    ),
    symbol=symbol,
)

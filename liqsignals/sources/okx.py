"""OKX v5 swaps: rubik statistics, funding and prints (www.okx.com/docs-v5: trading statistics, public data, and there
"Liquidation orders channel").

Answers are newest first and include the bar in progress. 5m history is limited to 1,440 rows (five days).
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from liqsignals import records
from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array
from liqsignals.records import LONG, Records
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
    """OKX's instrument ID of a freqtrade pair that settles in USDT or USDC. Raises InputError for any other.

    >>> symbol("BTC/USDT:USDT")
    'BTC-USDT-SWAP'
    """
    base, quote = linear_perpetual(pair, "okx", ("USDT", "USDC"))
    return f"{base}-{quote}-SWAP"


def _table(raw: bytes, received_at: int, what: str) -> tuple[list[object], Int64Array]:
    """Rows of complete periods, and the ends of these periods."""
    table = decode.checked_rows(raw, what, "code", ("0", 0), "msg", "data")
    end = decode.stamps(decode.column(table, 0, what), f"{what}, ts", received_at) + PERIOD
    done = [row for row, at in zip(table, end, strict=True) if at <= received_at]
    return done, end[end <= received_at]


def parse_open_interest(raw: bytes, received_at: int) -> Records:
    """OI_VALUE (n,) of open-interest-history, 5m: rows [ts, contracts, coins, USD]; coins are stored."""
    what = "okx open-interest-history"
    table, at = _table(raw, received_at, what)
    base = decode.numbers(decode.column(table, 2, what), what, least=0.0)
    usd = decode.numbers(decode.column(table, 3, what), what, least=0.0)
    rows = records.records(records.OI_VALUE, at, at + records.open_interest_lag(PERIOD), base=base, usd=usd)
    return shapes.once(rows[rows["base"] > 0], what)


def parse_taker(raw: bytes, received_at: int) -> Records:
    """TAKER (n,) of taker-volume-contract, 5m, unit 0: rows [ts, SOLD, BOUGHT] in coins; quote units are NaN."""
    what = "okx taker-volume-contract"
    table, at = _table(raw, received_at, what)
    sold = decode.numbers(decode.column(table, 1, what), what, least=0.0)
    bought = decode.numbers(decode.column(table, 2, what), what, least=0.0)
    blank = {"buy_quote": np.nan, "quote": np.nan, "trades": np.nan}
    return shapes.once(
        records.records(records.TAKER, at, at + records.TAKER_LAG, buy_base=bought, base=bought + sold, **blank), what
    )


def parse_ratio(raw: bytes, received_at: int, *, column: str) -> Records:
    """RATIO (n,) of one of the ratio endpoints, 5m: rows [ts, ratio]; the other columns are NaN."""
    what = f"okx long/short ratio ({column})"
    table, at = _table(raw, received_at, what)
    value = decode.numbers(decode.column(table, 1, what), what, least=0.0)
    columns = dict.fromkeys(("top_account", "top_position", "account", "taker"), np.nan)
    columns |= {column: np.where(value > 0, value, np.nan)}  # type: ignore[dict-item]
    return shapes.once(records.records(records.RATIO, at, at + records.open_interest_lag(PERIOD), **columns), what)


def parse_funding(raw: bytes, received_at: int) -> Records:
    """FUNDING (n,) of funding-rate-history: `realizedRate`, as settled; the first row has no interval: left out."""
    what = "okx funding-rate-history"
    table = decode.checked_rows(raw, what, "code", ("0", 0), "msg", "data")
    settled = decode.stamps(decode.column(table, "fundingTime", what), f"{what}, fundingTime", received_at)
    return shapes.funding(settled, decode.numbers(decode.column(table, "realizedRate", what), what), what)


def parse_liquidations(raw: bytes, received_at: int, *, contracts: Mapping[str, float] | None = None) -> Prints:
    """Prints of a message of `liquidation-orders`, or of its REST twin: every one of `details`.

    `contracts` maps instruments to coins per contract (`parse_contracts`); `base` and `usd` of other instruments are
    NaN. `price` is the bankruptcy price.
    """
    what, sizes = "liquidation-orders", contracts or {}
    if raw == b"pong":
        return {}
    message = decode.an_object(decode.answer(raw, what), what)
    argument = message.get("arg")
    if isinstance(argument, dict) and argument.get("channel") != "liquidation-orders":
        return {}
    if "data" not in message:
        return {}
    rows: list[shapes.Print] = []
    for instrument in decode.a_list(message["data"], what):
        instrument = decode.an_object(instrument, what)
        name = decode.text(instrument, "instId", what)
        for row in decode.a_list(instrument.get("details"), what):
            row = decode.an_object(row, what)
            side = shapes.side(decode.text(row, "side", what), "sell", "buy", what)
            position = row.get("posSide")
            if position in ("long", "short") and (position == "long") != (side == LONG):
                raise ParseError(f"{what}: a {position} position closed by a {row['side']} order: {decode.shown(row)}")
            price = decode.above_zero(row, "bkPx", what)
            base = decode.above_zero(row, "sz", what) * sizes.get(name, np.nan)
            rows.append((name, decode.instant(row, "ts", what, received_at), side, price, base, price * base))
    return shapes.prints(rows)


def parse_contracts(raw: bytes, received_at: int) -> dict[str, float]:
    """Coins per contract by instrument, of GET /api/v5/public/instruments?instType=SWAP; linear ones only."""
    what = "instruments"
    out = {}
    for row in decode.rows(raw, what, "data"):
        row = decode.an_object(row, what)
        if row.get("ctType") != "linear":
            continue
        name, multiplier = decode.text(row, "instId", what), row.get("ctMult")
        value = decode.above_zero(row, "ctVal", what)
        out[name] = value * (1.0 if multiplier in (None, "") else decode.above_zero(row, "ctMult", what))
    return out


def parse_predicted(raw: bytes, received_at: int) -> Records:
    """PREDICTED (1,) of GET /api/v5/public/funding-rate?instId: `fundingRate` is settled at `fundingTime`."""
    what = "funding-rate"
    row = decode.an_object((decode.rows(raw, what, "data") or [None])[0], what)
    rate, next_at = decode.number(row.get("fundingRate"), what), decode.stamp(row.get("fundingTime"), what)
    at = decode.instant(row, "ts", what, received_at) if row.get("ts") else received_at
    return shapes.predicted(at, received_at, rate, next_at, what)


def _ask(path: str, extra: dict[str, str | int], pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    """Both ends are exclusive; labels are starts."""
    return f"/api/v5/rubik/stat/{path}", {
        "instId": symbol(pair),
        "period": "5m",
        **extra,
        "limit": 100,
        "begin": (start - PERIOD) // MS - 1,
        "end": (stop - PERIOD) // MS + 1,
    }


def _ask_funding(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    return "/api/v5/public/funding-rate-history", {
        "instId": symbol(pair),
        "before": (start - 9 * HOUR) // MS,
        "after": stop // MS + 1,
        "limit": 100,
    }


def _ask_contracts(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    """All instruments in one answer."""
    return "/api/v5/public/instruments", {"instType": "SWAP"}


def _ask_predicted(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    return "/api/v5/public/funding-rate", {"instId": symbol(pair)}


def _hello(symbols: Sequence[str]) -> tuple[str, ...]:
    """Subscribes to all swaps: the channel has no filter by instrument."""
    return (json.dumps({"op": "subscribe", "args": [{"channel": "liquidation-orders", "instType": "SWAP"}]}),)


def refusal(raw: bytes) -> Refusal | None:
    """What OKX refuses: an `error` event; its channel is that of all swaps, so no symbol is named."""
    if b'"event"' not in raw[:200]:
        return None
    try:
        message = decode.answer(raw, "subscription")
    except ParseError:
        return None
    if not isinstance(message, dict) or message.get("event") != "error":
        return None
    return Refusal((), f"{message.get('code')}, {message.get('msg')}")


_LATE = "two periods, as for Binance"
_REACH = 1430 * PERIOD
_RATIOS = {
    "account": "contracts/long-short-account-ratio-contract",
    "top_account": "contracts/long-short-account-ratio-contract-top-trader",
    "top_position": "contracts/long-short-position-ratio-contract-top-trader",
}

PROVIDER = Provider(
    name="okx",
    base_url="https://www.okx.com",
    licence="OKX's terms of use: own use",
    limits=Limits(requests=5, per_seconds=2.2, concurrency=4),
    series=(
        Series(
            name="open_interest",
            kind="open_interest",
            path="/api/v5/rubik/stat/contracts/open-interest-history?instId&period&begin&end&limit",
            unit_in="contracts, coins and USD",
            unit_stored="coins and USD, one-sided",
            label="start of the period",
            lag_ns=records.open_interest_lag(PERIOD),
            evidence=_LATE,
            depth="1,440 rows: 5 days at 5m",
            parsers=((None, parse_open_interest),),
            ask=partial(_ask, "contracts/open-interest-history", {}),
            page_ns=98 * PERIOD,
            reach_ns=_REACH,
            period_ns=PERIOD,
        ),
        Series(
            name="taker",
            kind="taker",
            path="/api/v5/rubik/stat/taker-volume-contract?instId&period&unit&begin&end&limit",
            unit_in="coins (unit 0), sold first",
            unit_stored="coins bought, coins in total",
            label="start of the period",
            lag_ns=records.TAKER_LAG,
            evidence="as for klines: a minute to poll it",
            depth="1,440 rows",
            parsers=((None, parse_taker),),
            ask=partial(_ask, "taker-volume-contract", {"unit": 0}),
            page_ns=98 * PERIOD,
            reach_ns=_REACH,
            period_ns=PERIOD,
        ),
        *[
            Series(
                name=f"ratio_{column}",
                kind="ratio",
                path=f"/api/v5/rubik/stat/{path}?instId&period&begin&end&limit",
                unit_in="longs per short",
                unit_stored="the same",
                label="start of the period",
                lag_ns=records.open_interest_lag(PERIOD),
                evidence=_LATE,
                depth="1,440 rows",
                parsers=((None, partial(parse_ratio, column=column)),),
                ask=partial(_ask, path, {}),
                page_ns=98 * PERIOD,
                reach_ns=_REACH,
                period_ns=PERIOD,
            )
            for column, path in _RATIOS.items()
        ],
        Series(
            name="funding",
            kind="funding",
            path="/api/v5/public/funding-rate-history?instId&before&after&limit",
            unit_in="fraction per interval",
            unit_stored="the same",
            label="settlement",
            lag_ns=records.FUNDING_LAG,
            evidence="the endpoint's own delay is a few seconds",
            depth="3 months",
            parsers=((None, parse_funding),),
            ask=_ask_funding,
            page_ns=80 * HOUR,
            reach_ns=89 * DAY,
        ),
        Series(
            name="contracts",
            kind="contracts",
            path="/api/v5/public/instruments?instType",
            unit_in="ctVal x ctMult, linear contracts only",
            unit_stored="coins per contract",
            label="none",
            lag_ns=0,
            evidence="the newest answer is used",
            depth="now",
            parsers=((None, parse_contracts),),
            ask=_ask_contracts,
        ),
        Series(
            name="predicted",
            kind="predicted",
            path="/api/v5/public/funding-rate?instId",
            unit_in="fraction per interval",
            unit_stored="the same",
            label="instant of the estimate; fundingTime is the settlement",
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
            url="wss://ws.okx.com:8443/ws/v5/public",
            path="",
            unit_in="contracts (sz), bankruptcy price (bkPx)",
            unit_stored="coins, and their USD value; NaN for a contract of unknown size",
            side="of the forced order: sell closes a long",
            label="ts: time of the liquidation",
            lag_ns=records.LIQUIDATION_LAG,
            evidence="a sample, about one print per contract and second (not documented)",
            parse=parse_liquidations,
            hello=_hello,
            refusal=refusal,
            keepalive="ping",
            quiet=3600.0,
            contracts="contracts",
        ),
    ),
    symbol=symbol,
)

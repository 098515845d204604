"""OKX v5 swaps: rubik statistics, funding and prints (www.okx.com/docs-v5: trading statistics, public data, and there
"Liquidation orders channel").

Answers come newest first, the newest bar in progress; the depth of 5m rows is 1,440 entries, five days: record them forward.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from liqsignals import records
from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array
from liqsignals.records import LONG, Records
from liqsignals.sources import decode, shapes
from liqsignals.sources.spec import Limits, ParseError, Prints, Provider, Series, Stream

PERIOD = 5 * MINUTE
MS = 1_000_000


def symbol(pair: str) -> str:
    """OKX's name of a freqtrade perpetual.

    >>> symbol("BTC/USDT:USDT")
    'BTC-USDT-SWAP'
    """
    base, _, rest = pair.partition("/")
    return f"{base}-{rest.partition(':')[0]}-SWAP"


def _table(raw: bytes, received_at: int, what: str) -> tuple[list[object], Int64Array]:
    """Rows of complete periods, and the ends of these periods."""
    table = decode.checked_rows(raw, what, "code", ("0", 0), "msg", "data")
    end = decode.stamps(decode.column(table, 0, what), f"{what}, ts", received_at) + PERIOD
    done = [row for row, at in zip(table, end, strict=True) if at <= received_at]
    return done, end[end <= received_at]


def parse_open_interest(raw: bytes, received_at: int) -> Records:
    """OI_VALUE (n,) of open-interest-history, 5m: rows [ts, contracts, coins, USD]; coins are taken."""
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
    untold = {"buy_quote": np.nan, "quote": np.nan, "trades": np.nan}
    return shapes.once(
        records.records(records.TAKER, at, at + records.TAKER_LAG, buy_base=bought, base=bought + sold, **untold), what
    )


def parse_ratio(raw: bytes, received_at: int, *, column: str) -> Records:
    """RATIO (n,) of one of the ratio endpoints, 5m: rows [ts, ratio]; the other columns are NaN."""
    what = f"okx long/short ratio ({column})"
    table, at = _table(raw, received_at, what)
    value = decode.numbers(decode.column(table, 1, what), what, least=0.0)
    told = dict.fromkeys(("top_account", "top_position", "account", "taker"), np.nan)
    told |= {column: np.where(value > 0, value, np.nan)}  # type: ignore[dict-item]
    return shapes.once(records.records(records.RATIO, at, at + records.open_interest_lag(PERIOD), **told), what)


def parse_funding(raw: bytes, received_at: int) -> Records:
    """FUNDING (n,) of funding-rate-history: `realizedRate`, the settled one; the first row's interval is not told."""
    what = "okx funding-rate-history"
    table = decode.checked_rows(raw, what, "code", ("0", 0), "msg", "data")
    settled = decode.stamps(decode.column(table, "fundingTime", what), f"{what}, fundingTime", received_at)
    return shapes.funding(settled, decode.numbers(decode.column(table, "realizedRate", what), what), what)


def parse_liquidations(raw: bytes, received_at: int, *, contracts: Mapping[str, float] | None = None) -> Prints:
    """Prints of a message of `liquidation-orders`, or of its REST twin: every one of `details`.

    `contracts` holds the coins of one contract by instrument (`parse_contracts`); `base` and `usd` of an instrument
    that is not there are NaN: a contract is not a coin. `price` is the bankruptcy price.
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
    """Coins of one contract by instrument, of GET /api/v5/public/instruments?instType=SWAP; linear ones only."""
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
        "instId": symbol(pair), "period": "5m", **extra, "limit": 100,
        "begin": (start - PERIOD) // MS - 1, "end": (stop - PERIOD) // MS + 1,
    }  # fmt: skip


def _ask_funding(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    return "/api/v5/public/funding-rate-history", {
        "instId": symbol(pair), "before": (start - 9 * HOUR) // MS, "after": stop // MS + 1, "limit": 100,
    }  # fmt: skip


def _ask_contracts(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    """One answer for all instruments."""
    return "/api/v5/public/instruments", {"instType": "SWAP"}


def _ask_predicted(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    return "/api/v5/public/funding-rate", {"instId": symbol(pair)}


def _hello(symbols: Sequence[str]) -> tuple[str, ...]:
    """All swaps: the channel knows no single one."""
    return (json.dumps({"op": "subscribe", "args": [{"channel": "liquidation-orders", "instType": "SWAP"}]}),)


_LATE = "two periods, as Binance's"
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
            "open_interest", "open_interest", "/api/v5/rubik/stat/contracts/open-interest-history?instId&period&begin&end&limit",
            "contracts, coins and USD", "coins and USD, one-sided", "start of the period", records.open_interest_lag(PERIOD),
            _LATE, "1,440 rows: 5 days at 5m", ((None, parse_open_interest),),
            partial(_ask, "contracts/open-interest-history", {}), 98 * PERIOD, _REACH, PERIOD,
        ),
        Series(
            "taker", "taker", "/api/v5/rubik/stat/taker-volume-contract?instId&period&unit&begin&end&limit",
            "coins (unit 0), sold first", "coins bought, coins in all", "start of the period", records.TAKER_LAG,
            "as klines: a minute to poll it", "1,440 rows", ((None, parse_taker),),
            partial(_ask, "taker-volume-contract", {"unit": 0}), 98 * PERIOD, _REACH, PERIOD,
        ),
        *[
            Series(
                f"ratio_{column}", "ratio", f"/api/v5/rubik/stat/{path}?instId&period&begin&end&limit", "longs per short",
                "the same", "start of the period", records.open_interest_lag(PERIOD), _LATE, "1,440 rows",
                ((None, partial(parse_ratio, column=column)),),
                partial(_ask, path, {}), 98 * PERIOD, _REACH, PERIOD,
            )
            for column, path in _RATIOS.items()
        ],
        Series(
            "funding", "funding", "/api/v5/public/funding-rate-history?instId&before&after&limit", "fraction per interval",
            "the same", "settlement", records.FUNDING_LAG, "the endpoint's own delay is seconds", "3 months",
            ((None, parse_funding),), _ask_funding, 80 * HOUR, 89 * DAY,
        ),
        Series(
            "contracts", "contracts", "/api/v5/public/instruments?instType", "ctVal x ctMult, linear contracts only",
            "coins of one contract", "none", 0, "the newest answer is used", "now", ((None, parse_contracts),), _ask_contracts,
        ),
        Series(
            "predicted", "predicted", "/api/v5/public/funding-rate?instId", "fraction per interval", "the same",
            "instant of the estimate; fundingTime is the settlement", 0, "known when it arrives", "not kept",
            ((None, parse_predicted),), _ask_predicted,
        ),
    ),
    streams=(
        Stream(
            channel="liquidations",
            kind="liquidation",
            url="wss://ws.okx.com:8443/ws/v5/public",
            path="",
            unit_in="contracts (sz), bankruptcy price (bkPx)",
            unit_stored="coins, their worth in USD; NaN for a contract of unknown size",
            side="of the forced order: sell closes a long",
            label="ts: instant of the liquidation",
            lag_ns=records.LIQUIDATION_LAG,
            evidence="a sample, about one print a contract and second (not documented)",
            parse=parse_liquidations,
            hello=_hello,
            keepalive="ping",
            quiet=3600.0,
            contracts="contracts",
        ),
    ),
    symbol=symbol,
)  # fmt: skip

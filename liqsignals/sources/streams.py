"""What only a recorder gets: liquidation prints of three venues' websockets, and polls that no archive keeps.

The feeds disagree on whose side they name. Binance and OKX send the side of the forced ORDER (`SELL` closes a long), Bybit
that of the POSITION (`Buy`: a long was liquidated); OKX counts contracts; Binance sends at most one print a
symbol and second, the largest (a sample: counts and sums are lower bounds), and COIN-M prints in the same stream. Prices are
Binance's average fill, the other two's bankruptcy price.

Sources: Binance USD-M "Liquidation Order Streams" and changelog 2026-04..06; Bybit v5 websocket/public/all-liquidation; OKX
"Liquidation orders channel" and public/instruments; Bybit v5 market/{tickers,kline}; OKX public/funding-rate.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from liqsignals import records
from liqsignals.clock import MINUTE
from liqsignals.records import LONG, SHORT, Records
from liqsignals.sources import decode
from liqsignals.sources.spec import ParseError

#: Prints of one message by the venue's symbol: LIQUIDATION records (n,), `known_at` = event_time + 1 s.
Prints = dict[str, Records]
_Print = tuple[str, int, int, float, float, float]


def _prints(rows: list[_Print]) -> Prints:
    out = {}
    for symbol in dict.fromkeys(row[0] for row in rows):
        own = np.array(
            [(r[1], r[1] + records.LIQUIDATION_LAG, *r[2:]) for r in rows if r[0] == symbol], records.LIQUIDATION
        )
        out[symbol] = own if len(own) == 1 else own[np.argsort(own["event_time"], kind="stable")]
    return out


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ParseError(f"{what}: an object was expected, not {decode.shown(value)}")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ParseError(f"{what}: a list was expected, not {decode.shown(value)}")
    return value


def _text(row: Mapping[str, Any], key: str, what: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise ParseError(f"{what}: no {key!r} in {decode.shown(dict(row))}")
    return value


def _above_zero(row: Mapping[str, Any], key: str, what: str) -> float:
    value = decode.number(row.get(key), f"{what}, {key}")
    if not value > 0:
        raise ParseError(f"{what}: {key!r} is {decode.shown(row.get(key))}, not above zero")
    return value


def _at(row: Mapping[str, Any], key: str, what: str, received_at: int) -> int:
    return int(decode.stamps([row.get(key)], f"{what}, {key}", received_at)[0])


def _side(value: str, of_long: str, of_short: str, what: str) -> int:
    if value == of_long:
        return LONG
    if value == of_short:
        return SHORT
    raise ParseError(f"{what}: side {decode.shown(value)} is neither {of_long!r} nor {of_short!r}")


def parse_binance(raw: bytes, received_at: int) -> Prints:
    """Prints of a message of `!forceOrder@arr` or `<symbol>@forceOrder`, plain or in a combined stream's envelope.

    `base` is the accumulated fill `z`, `price` the average fill `ap`. COIN-M orders (`st` 2) count contracts and are left
    out, as are orders without a fill. Other messages give no prints.
    """
    what = "forceOrder"
    message = decode.answer(raw, what)
    if isinstance(message, dict) and "stream" in message:
        message = message.get("data")
    rows: list[_Print] = []
    for event in message if isinstance(message, list) else [message]:
        event = _object(event, what)
        if event.get("e") != "forceOrder":
            continue
        order = _object(event.get("o"), what)
        symbol = _text(order, "s", what)
        # Before the feeds were merged there was no `st`, and COIN-M symbols are the ones with an underscore.
        if event.get("st", 2 if "_" in symbol else 1) != 1:
            continue
        side = _side(_text(order, "S", what), "SELL", "BUY", what)
        base = decode.number(order.get("z"), f"{what}, z")
        if base == 0:
            continue
        base = _above_zero(order, "z", what)
        price = _above_zero(order, "ap", what)
        rows.append((symbol, _at(order, "T", what, received_at), side, price, base, price * base))
    return _prints(rows)


def parse_bybit(raw: bytes, received_at: int) -> Prints:
    """Prints of a message of `allLiquidation.<symbol>`. `S` is the side of the POSITION; `p` the bankruptcy price."""
    what = "allLiquidation"
    message = _object(decode.answer(raw, what), what)
    topic = message.get("topic")
    if not isinstance(topic, str) or not topic.startswith("allLiquidation."):
        return {}
    rows: list[_Print] = []
    for row in _list(message.get("data"), what):
        row = _object(row, what)
        side = _side(_text(row, "S", what), "Buy", "Sell", what)
        price, base = _above_zero(row, "p", what), _above_zero(row, "v", what)
        rows.append((_text(row, "s", what), _at(row, "T", what, received_at), side, price, base, price * base))
    return _prints(rows)


def parse_okx(raw: bytes, received_at: int, *, contracts: Mapping[str, float]) -> Prints:
    """Prints of a message of `liquidation-orders`, or of its REST twin: every one of `details`.

    `contracts` holds the coins of one contract by instrument (`parse_okx_contracts`); `base` and `usd` of an instrument
    that is not there are NaN: a contract is not a coin. `price` is the bankruptcy price.
    """
    what = "liquidation-orders"
    if raw == b"pong":
        return {}
    message = _object(decode.answer(raw, what), what)
    argument = message.get("arg")
    if isinstance(argument, dict) and argument.get("channel") != "liquidation-orders":
        return {}
    if "data" not in message:
        return {}
    rows: list[_Print] = []
    for instrument in _list(message["data"], what):
        instrument = _object(instrument, what)
        name = _text(instrument, "instId", what)
        for row in _list(instrument.get("details"), what):
            row = _object(row, what)
            side = _side(_text(row, "side", what), "sell", "buy", what)
            position = row.get("posSide")
            if position in ("long", "short") and (position == "long") != (side == LONG):
                raise ParseError(f"{what}: a {position} position closed by a {row['side']} order: {decode.shown(row)}")
            price = _above_zero(row, "bkPx", what)
            base = _above_zero(row, "sz", what) * contracts.get(name, np.nan)
            rows.append((name, _at(row, "ts", what, received_at), side, price, base, price * base))
    return _prints(rows)


def parse_okx_contracts(raw: bytes, received_at: int) -> dict[str, float]:
    """Coins of one contract by instrument, of GET /api/v5/public/instruments?instType=SWAP; linear ones only."""
    what = "instruments"
    out = {}
    for row in decode.rows(raw, what, "data"):
        row = _object(row, what)
        if row.get("ctType") != "linear":
            continue
        name, multiplier = _text(row, "instId", what), row.get("ctMult")
        value = _above_zero(row, "ctVal", what)
        out[name] = value * (1.0 if multiplier in (None, "") else _above_zero(row, "ctMult", what))
    return out


def _predicted(at: int, received_at: int, rate: float, next_at: int, what: str) -> Records:
    if not abs(rate) <= 0.2:
        raise ParseError(f"{what}: a rate of {rate:g} per interval; rates are fractions")
    # A provider's clock may run ahead by a little: what has arrived has happened.
    at = min(at, received_at)
    return records.records(
        records.PREDICTED, np.array([at]), np.array([received_at]), rate=np.array([rate]), next_at=np.array([next_at])
    )


def parse_binance_predicted(raw: bytes, received_at: int) -> Records:
    """PREDICTED (1,) of GET /fapi/v1/premiumIndex?symbol: `lastFundingRate` is the estimate for `nextFundingTime`."""
    what = "premiumIndex"
    row = _object(decode.answer(raw, what), what)
    rate = decode.number(row.get("lastFundingRate"), what)
    next_at = decode.stamp(row.get("nextFundingTime"), what)
    return _predicted(_at(row, "time", what, received_at), received_at, rate, next_at, what)


def parse_bybit_predicted(raw: bytes, received_at: int) -> Records:
    """PREDICTED (1,) of GET /v5/market/tickers?category=linear&symbol."""
    what = "tickers"
    row = _object((decode.rows(raw, what, "result", "list") or [None])[0], what)
    rate, next_at = decode.number(row.get("fundingRate"), what), decode.stamp(row.get("nextFundingTime"), what)
    at = _at(_object(decode.answer(raw, what), what), "time", what, received_at)
    return _predicted(at, received_at, rate, next_at, what)


def parse_okx_predicted(raw: bytes, received_at: int) -> Records:
    """PREDICTED (1,) of GET /api/v5/public/funding-rate?instId: `fundingRate` is settled at `fundingTime`."""
    what = "funding-rate"
    row = _object((decode.rows(raw, what, "data") or [None])[0], what)
    rate, next_at = decode.number(row.get("fundingRate"), what), decode.stamp(row.get("fundingTime"), what)
    at = _at(row, "ts", what, received_at) if row.get("ts") else received_at
    return _predicted(at, received_at, rate, next_at, what)


def _bars(table: list[Any], received_at: int, period: int, what: str) -> Records:
    opened = decode.stamps(decode.column(table, 0, what), f"{what}, open time", received_at)
    values = {
        name: decode.numbers(decode.column(table, k, what), f"{what}, {name}", least=0.0)
        for k, name in enumerate(("open", "high", "low", "close", "volume"), 1)
    }
    if not all(np.isfinite(v).all() for v in values.values()):
        raise ParseError(f"{what}: a bar without a number")
    highest, lowest = np.maximum(values["open"], values["close"]), np.minimum(values["open"], values["close"])
    if (lowest <= 0).any() or (values["high"] < highest).any() or (values["low"] > lowest).any():
        raise ParseError(f"{what}: a bar whose open or close lies outside low..high, or that has no price")
    if (opened % period != 0).any():
        raise ParseError(f"{what}: a bar that does not open on a multiple of {period // MINUTE} min")
    closed = opened + period
    # The bar that is still open changes: it is no bar yet.
    done = closed <= received_at
    rows = records.records(records.BAR, closed[done], closed[done], **{n: v[done] for n, v in values.items()})
    if (np.diff(rows["event_time"]) == 0).any():
        raise ParseError(f"{what}: two bars of one time")
    return rows


def parse_binance_bars(raw: bytes, received_at: int) -> Records:
    """BAR (n,) of GET /fapi/v1/klines with interval 5m; the open bar is left out."""
    return _bars(decode.rows(raw, "klines"), received_at, 5 * MINUTE, "klines")


def parse_bybit_bars(raw: bytes, received_at: int) -> Records:
    """BAR (n,) of GET /v5/market/kline with interval 5; newest first; the open bar is left out."""
    return _bars(decode.rows(raw, "kline", "result", "list"), received_at, 5 * MINUTE, "kline")

"""Binance USD-M futures: REST API (30 days of most series), archive data.binance.vision (full history), print stream.

Documentation: developers.binance.com (USD-M futures, market data; "Liquidation Order Streams" and the changelog
2026-04..06), github.com/binance/binance-public-data (archive; issues 246, 276, 287, 337 and 491 on its gaps).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from liqsignals import records, venues
from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array
from liqsignals.records import Float64Array, Records
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
from liqsignals.venues import BINANCE_FLIP

PERIOD = 5 * MINUTE
MS = 1_000_000

METRICS = (
    "create_time",
    "symbol",
    "sum_open_interest",
    "sum_open_interest_value",
    "count_toptrader_long_short_ratio",
    "sum_toptrader_long_short_ratio",
    "count_long_short_ratio",
    "sum_taker_long_short_vol_ratio",
)
KLINES = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
)


def symbol(pair: str) -> str:
    """Binance's symbol of a freqtrade pair that settles in its quote. Raises InputError for any other.

    >>> symbol("BTC/USDT:USDT"), symbol("BTC/USDC:USDC")
    ('BTCUSDT', 'BTCUSDC')
    """
    return "".join(linear_perpetual(pair, "binance"))


def _metrics(raw: bytes, received_at: int, symbol: str) -> tuple[list[list[str]], Int64Array]:
    """Rows of a day's metrics file and their snapshot times (n,). A row of another symbol than `symbol` (of the first
    row's where that is "") raises ParseError: nothing else in the file tells whose the other rows are.
    """
    what = "metrics"
    table = decode.csv_table(decode.unzip(raw, what, 8 << 20, symbol), what, METRICS)
    names = [name.strip().strip('"') for name in decode.column(table, 1, what)]
    for row, name in enumerate(names):
        if name != (symbol or names[0]):
            raise ParseError(
                f"{what}: row {row} ({table[row][0]}) is of {decode.shown(name)}, not of {symbol or names[0]}"
            )
    label = decode.stamps(decode.column(table, 0, what), f"{what}, create_time", received_at)
    if not len(label):
        return table, label
    if (label % PERIOD != 0).any():
        row = int(np.flatnonzero(label % PERIOD)[0])
        raise ParseError(f"{what}: row {row} has time {table[row][0]}, not a multiple of 5 minutes")
    # End labels run from 00:05 to 00:00 of the next day, start labels from 00:00 to 23:55.
    day = int(np.median(label)) // DAY * DAY
    first, after = (label == day).any(), (label == day + DAY).any()
    documented = venues.documented_convention("binance", day) == venues.LABEL_START
    start = bool(first) if first != after else documented
    if (label < day).any() or (label > day + DAY).any():
        raise ParseError(f"{what}: the file holds more than one day")
    return table, label + (PERIOD if start else 0)


def parse_metrics(raw: bytes, received_at: int, symbol: str = "") -> Records:
    """OI_VALUE (n,) of a day's metrics zip: coins and USDT, one-sided. Rows without open interest are holes.

    Raises ParseError for rows that name another symbol than `symbol`, or than each other.
    """
    table, at = _metrics(raw, received_at, symbol)
    base = decode.numbers(decode.column(table, 2, "metrics"), "metrics, sum_open_interest", least=0.0)
    usd = decode.numbers(decode.column(table, 3, "metrics"), "metrics, sum_open_interest_value", least=0.0)
    return _interest(at, base, usd, "metrics")


def parse_metrics_ratios(raw: bytes, received_at: int, symbol: str = "") -> Records:
    """RATIO (n,) of a day's metrics zip; zero and blank are NaN. `symbol` as in `parse_metrics`."""
    table, at = _metrics(raw, received_at, symbol)
    columns = {
        name: _ratio(decode.column(table, k, "metrics"), METRICS[k])
        for k, name in ((4, "top_account"), (5, "top_position"), (6, "account"), (7, "taker"))
    }
    return shapes.once(records.records(records.RATIO, at, at + records.open_interest_lag(PERIOD), **columns), "metrics")


def _interest(at: Int64Array, base: Float64Array, usd: Float64Array, what: str) -> Records:
    known = at + records.open_interest_lag(PERIOD)
    rows = records.records(records.OI_VALUE, at, known, base=base, usd=np.where(usd > 0, usd, np.nan))
    return shapes.once(rows[rows["base"] > 0], what)


def _ratio(values: list[object], what: str) -> Float64Array:
    out = decode.numbers(values, what, least=0.0)
    return np.where(out > 0, out, np.nan)


def _taker(table: list[list[object]], received_at: int, what: str) -> Records:
    opened = decode.stamps(decode.column(table, 0, what), f"{what}, open_time", received_at)
    closed = decode.stamps(decode.column(table, 6, what), f"{what}, close_time")
    # close_time is the last millisecond (or microsecond) of the bar.
    end = -(-closed // MINUTE) * MINUTE
    if (end <= opened).any():
        raise ParseError(f"{what}: a bar closes before it opens")
    keep = end <= received_at
    values = {
        name: decode.numbers(decode.column(table, k, what), f"{what}, {KLINES[k]}", least=0.0)[keep]
        for name, k in (("base", 5), ("quote", 7), ("trades", 8), ("buy_base", 9), ("buy_quote", 10))
    }
    rows = records.records(records.TAKER, end[keep], end[keep] + records.TAKER_LAG, **values)
    if (rows["buy_base"] > rows["base"] * (1 + 1e-9)).any():
        raise ParseError(f"{what}: takers bought more than was traded; the columns are not in the expected order")
    return shapes.once(rows, what)


def parse_klines_archive(raw: bytes, received_at: int, symbol: str = "") -> Records:
    """TAKER (n,) of a klines zip, with or without a header; coins and quote units.

    Its rows name no symbol; a file in it that is named after another one raises ParseError.
    """
    table = decode.csv_table(decode.unzip(raw, "klines", 32 << 20, symbol), "klines", KLINES)
    return _taker(table, received_at, "klines")  # type: ignore[arg-type]


def parse_klines(raw: bytes, received_at: int) -> Records:
    """TAKER (n,) of GET /fapi/v1/klines; the open bar is left out."""
    return _taker(decode.rows(raw, "klines"), received_at, "klines")


def _hist(raw: bytes, received_at: int, what: str) -> tuple[list[object], Int64Array]:
    table = decode.rows(raw, what)
    return table, decode.stamps(decode.column(table, "timestamp", what), f"{what}, timestamp", received_at)


def parse_open_interest(raw: bytes, received_at: int, *, start: bool = True) -> Records:
    """OI_VALUE (n,) of GET /futures/data/openInterestHist with period 5m. `start`: labels name the period's start."""
    what = "openInterestHist"
    table, label = _hist(raw, received_at, what)
    base = decode.numbers(decode.column(table, "sumOpenInterest", what), what, least=0.0)
    usd = decode.numbers(decode.column(table, "sumOpenInterestValue", what), what, least=0.0)
    return _interest(label + (PERIOD if start else 0), base, usd, what)


def parse_ratio(raw: bytes, received_at: int, *, column: str, start: bool = True) -> Records:
    """RATIO (n,) of one of the four ratio endpoints with period 5m: `column` is set, the others are NaN."""
    field = "buySellRatio" if column == "taker" else "longShortRatio"
    table, label = _hist(raw, received_at, field)
    at = label + (PERIOD if start else 0)
    blank = dict.fromkeys(("top_account", "top_position", "account", "taker"), np.nan)
    rows = records.records(
        records.RATIO,
        at,
        at + records.open_interest_lag(PERIOD),
        **(blank | {column: _ratio(decode.column(table, field, field), field)}),
    )
    return shapes.once(rows, field)


def parse_funding(raw: bytes, received_at: int) -> Records:
    """FUNDING (n,) of GET /fapi/v1/fundingRate: fractions per interval. Special rates are left out.

    The interval is derived from the settlements before (venues.funding_intervals). The first row has none and is left
    out: request one settlement more.
    """
    what = "fundingRate"
    table = [
        r for r in decode.rows(raw, what) if not (isinstance(r, dict) and r.get("rateType", "Regular") != "Regular")
    ]
    settled = decode.stamps(decode.column(table, "fundingTime", what), f"{what}, fundingTime", received_at)
    return shapes.funding(settled, decode.numbers(decode.column(table, "fundingRate", what), what), what)


def parse_funding_archive(raw: bytes, received_at: int, symbol: str = "") -> Records:
    """FUNDING (n,) of a month's fundingRate zip; the interval is in the file. `symbol` as in `parse_klines_archive`."""
    what = "fundingRate"
    table = decode.csv_table(
        decode.unzip(raw, what, 8 << 20, symbol), what, ("calc_time", "funding_interval_hours", "last_funding_rate")
    )
    settled = decode.stamps(decode.column(table, 0, what), f"{what}, calc_time", received_at)
    settled = (settled + MINUTE // 2) // MINUTE * MINUTE
    hours = decode.numbers(decode.column(table, 1, what), f"{what}, funding_interval_hours")
    rate = decode.numbers(decode.column(table, 2, what), f"{what}, last_funding_rate")
    if np.isnan(venues.funding_interval(hours)).any():
        raise ParseError(f"{what}: an interval that is not {', '.join(map(str, venues.FUNDING_INTERVALS_H))} h")
    shapes.check_rates(rate, what)
    finite = np.isfinite(rate)
    settled = settled[finite]
    rows = records.records(
        records.FUNDING, settled, settled + records.FUNDING_LAG, rate=rate[finite], interval_h=hours[finite]
    )
    return shapes.once(rows, what)


def parse_liquidations(raw: bytes, received_at: int) -> Prints:
    """Prints of a message of `!forceOrder@arr` or `<symbol>@forceOrder`, plain or in a combined stream's envelope.

    `base` is the accumulated fill `z`, `price` the average fill `ap`. COIN-M orders (`st` 2) count contracts and are
    left out, as are orders without a fill. Other messages give no prints.
    """
    what = "forceOrder"
    message = decode.answer(raw, what)
    if isinstance(message, dict) and "stream" in message:
        message = message.get("data")
    rows: list[shapes.Print] = []
    for event in message if isinstance(message, list) else [message]:
        event = decode.an_object(event, what)
        if event.get("e") != "forceOrder":
            continue
        order = decode.an_object(event.get("o"), what)
        name = decode.text(order, "s", what)
        # Before the feeds were merged there was no `st`; COIN-M symbols have an underscore. It stands beside the order,
        # since late 2026 in it.
        named = [x for x in (order.get("st"), event.get("st")) if x is not None] or [2 if "_" in name else 1]
        if str(named[0]) != "1":
            continue
        side = shapes.side(decode.text(order, "S", what), "SELL", "BUY", what)
        base = decode.number(order.get("z"), f"{what}, z")
        if base == 0:
            continue
        base = decode.above_zero(order, "z", what)
        price = decode.above_zero(order, "ap", what)
        rows.append((name, decode.instant(order, "T", what, received_at), side, price, base, price * base))
    return shapes.prints(rows)


def parse_predicted(raw: bytes, received_at: int) -> Records:
    """PREDICTED (1,) of GET /fapi/v1/premiumIndex?symbol: `lastFundingRate` is the estimate for `nextFundingTime`."""
    what = "premiumIndex"
    row = decode.an_object(decode.answer(raw, what), what)
    rate = decode.number(row.get("lastFundingRate"), what)
    next_at = decode.stamp(row.get("nextFundingTime"), what)
    return shapes.predicted(decode.instant(row, "time", what, received_at), received_at, rate, next_at, what)


def parse_bars(raw: bytes, received_at: int) -> Records:
    """BAR (n,) of GET /fapi/v1/klines with interval 5m; the open bar is left out."""
    return shapes.bars(decode.rows(raw, "klines"), received_at, PERIOD, "klines")


def _ask(path: str, interval: str, limit: int, pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    """Always send both ends: with only one, these endpoints count back from now."""
    return path, {
        "symbol": symbol(pair),
        interval: "5m",
        "limit": limit,
        "startTime": (start - PERIOD) // MS,
        "endTime": stop // MS,
    }


def _ask_funding(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    """One settlement before `start`, to derive the first one's interval."""
    return "/fapi/v1/fundingRate", {
        "symbol": symbol(pair),
        "limit": 1000,
        "startTime": (start - 9 * HOUR) // MS,
        "endTime": stop // MS,
    }


def _ask_bars(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    """The newest bars, as many as lie between `start` and now, and the open one."""
    limit = min(499, (stop - start) // PERIOD + 2)
    return "/fapi/v1/klines", {"symbol": symbol(pair), "interval": "5m", "limit": limit}


def _ask_predicted(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    return "/fapi/v1/premiumIndex", {"symbol": symbol(pair)}


def _hello(symbols: Sequence[str]) -> tuple[str, ...]:
    """The address subscribes, to all symbols: whatever arrives shows that the feed is alive, and what is not kept today
    cannot be had later.
    """
    return ()


def refusal(raw: bytes) -> Refusal | None:
    """What Binance refuses: an `error` object instead of an event; the address names all symbols, so none is named."""
    if b'"error"' not in raw[:100]:
        return None
    try:
        message = decode.answer(raw, "subscription")
    except ParseError:
        return None
    error = message.get("error") if isinstance(message, dict) and "e" not in message else None
    return Refusal((), f"{error.get('code')}, {error.get('msg')}") if isinstance(error, dict) else None


_LATE = "two periods: freqtrade drops or delays the newest row by one (docs/decisions/005)"
_RATIO_PATHS = {
    "top_account": "topLongShortAccountRatio",
    "top_position": "topLongShortPositionRatio",
    "account": "globalLongShortAccountRatio",
    "taker": "takerlongshortRatio",
}

REST = Provider(
    name="binance",
    base_url="https://fapi.binance.com",
    licence="Binance's terms of use: own use",
    # /futures/data allows 1000 requests in 5 min; klines use weight 5 per 1000 rows of 2400 a minute.
    limits=Limits(requests=900, per_seconds=300.0, concurrency=4),
    series=(
        Series(
            "open_interest",
            "open_interest",
            "/futures/data/openInterestHist?symbol&period&limit&startTime&endTime",
            "coins and USDT, one-sided",
            "the same",
            "start of the period since 2026-06-25, its end before",
            records.open_interest_lag(PERIOD),
            _LATE,
            "30 days",
            ((BINANCE_FLIP, partial(parse_open_interest, start=False)), (None, parse_open_interest)),
            partial(_ask, "/futures/data/openInterestHist", "period", 500),
            498 * PERIOD,
            29 * DAY,
            PERIOD,
        ),
        *[
            Series(
                f"ratio_{column}",
                "ratio",
                f"/futures/data/{path}?symbol&period&limit&startTime&endTime",
                "longs per short (taker: bought per sold)",
                "the same",
                "start of the period since 2026-06-25, its end before",
                records.open_interest_lag(PERIOD),
                _LATE,
                "30 days",
                (
                    (BINANCE_FLIP, partial(parse_ratio, column=column, start=False)),
                    (None, partial(parse_ratio, column=column)),
                ),
                partial(_ask, f"/futures/data/{path}", "period", 500),
                498 * PERIOD,
                29 * DAY,
                PERIOD,
            )
            for column, path in _RATIO_PATHS.items()
        ],
        Series(
            name="taker",
            kind="taker",
            path="/fapi/v1/klines?symbol&interval&limit&startTime&endTime",
            unit_in="coins and quote units",
            unit_stored="the same",
            label="start of the bar",
            lag_ns=records.TAKER_LAG,
            evidence="the bar is served once closed; a minute to poll it",
            depth="since listing",
            parsers=((None, parse_klines),),
            ask=partial(_ask, "/fapi/v1/klines", "interval", 1000),
            page_ns=998 * PERIOD,
            reach_ns=None,
            period_ns=PERIOD,
        ),
        Series(
            name="funding",
            kind="funding",
            path="/fapi/v1/fundingRate?symbol&limit&startTime&endTime",
            unit_in="fraction per interval",
            unit_stored="the same",
            label="settlement, some ms late",
            lag_ns=records.FUNDING_LAG,
            evidence="the endpoint's own delay is a few seconds",
            depth="since listing",
            parsers=((None, parse_funding),),
            ask=_ask_funding,
            page_ns=900 * HOUR,
        ),
        Series(
            name="bars",
            kind="bar",
            path="/fapi/v1/klines?symbol&interval&limit",
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
            path="/fapi/v1/premiumIndex?symbol",
            unit_in="fraction per interval",
            unit_stored="the same",
            label="instant of the estimate; nextFundingTime is the settlement",
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
            # Hosts without /market/ were retired on 2026-04-23: the old paths connect and then send nothing.
            url="wss://fstream.binance.com/market/ws",
            path="/!forceOrder@arr",
            unit_in="coins filled (z), average fill price (ap); COIN-M (st 2, in contracts) left out",
            unit_stored="coins, and their USD value",
            side="of the forced order: SELL closes a long",
            label="T: the order's trade time",
            lag_ns=records.LIQUIDATION_LAG,
            evidence="snapshots of 1 s: at most one print a symbol and second, the largest (sums are lower bounds)",
            parse=parse_liquidations,
            hello=_hello,
            refusal=refusal,
            quiet=900.0,
        ),
    ),
    symbol=symbol,
)

ARCHIVE = Provider(
    name="binance-archive",
    base_url="https://data.binance.vision",
    licence="Binance's terms of use: own use, no redistribution",
    limits=Limits(requests=200, per_seconds=1.0, concurrency=16),
    series=(
        Series(
            name="open_interest",
            kind="open_interest",
            path="/data/futures/um/daily/metrics/{symbol}/{symbol}-metrics-{day}.zip",
            unit_in="coins and USDT, one-sided",
            unit_stored="the same",
            label="end of the period; its start in files from 2026-06-25; detected per file",
            lag_ns=records.open_interest_lag(PERIOD),
            evidence=_LATE,
            depth="2020-09 (BTC), 2021-12; published next day 01:45 .. 09:20 UTC",
            parsers=((None, parse_metrics),),
        ),
        Series(
            name="ratio",
            kind="ratio",
            path="/data/futures/um/daily/metrics/{symbol}/{symbol}-metrics-{day}.zip",
            unit_in="longs per short",
            unit_stored="the same",
            label="as open interest; the taker ratio covers the period that ends there",
            lag_ns=records.open_interest_lag(PERIOD),
            evidence=_LATE,
            depth="as open interest",
            parsers=((None, parse_metrics_ratios),),
        ),
        Series(
            name="taker",
            kind="taker",
            path="/data/futures/um/{span}/klines/{symbol}/5m/{symbol}-5m-{day}.zip",
            unit_in="coins and quote units",
            unit_stored="the same",
            label="start of the bar",
            lag_ns=records.TAKER_LAG,
            evidence="the REST API serves the bar once closed; a minute to poll it",
            depth="2020-01; published next day",
            parsers=((None, parse_klines_archive),),
        ),
        Series(
            name="funding",
            kind="funding",
            path="/data/futures/um/monthly/fundingRate/{symbol}/{symbol}-fundingRate-{month}.zip",
            unit_in="fraction per interval",
            unit_stored="the same",
            label="settlement, some ms late",
            lag_ns=records.FUNDING_LAG,
            evidence="the endpoint's own delay is a few seconds",
            depth="2020-01; published a week into the next month",
            parsers=((None, parse_funding_archive),),
        ),
    ),
)

"""OKX v5 swaps: rubik statistics and funding (www.okx.com/docs-v5, trading statistics).

Answers come newest first, the newest bar in progress; the depth of 5m rows is 1,440 entries, five days: record them forward.
"""

from functools import partial

import numpy as np

from liqsignals import records
from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array
from liqsignals.records import Records
from liqsignals.sources import decode
from liqsignals.sources.binance import funding_records, once
from liqsignals.sources.spec import Limits, Provider, Series

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
    return once(rows[rows["base"] > 0], what)


def parse_taker(raw: bytes, received_at: int) -> Records:
    """TAKER (n,) of taker-volume-contract, 5m, unit 0: rows [ts, SOLD, BOUGHT] in coins; quote units are NaN."""
    what = "okx taker-volume-contract"
    table, at = _table(raw, received_at, what)
    sold = decode.numbers(decode.column(table, 1, what), what, least=0.0)
    bought = decode.numbers(decode.column(table, 2, what), what, least=0.0)
    untold = {"buy_quote": np.nan, "quote": np.nan, "trades": np.nan}
    return once(
        records.records(records.TAKER, at, at + records.TAKER_LAG, buy_base=bought, base=bought + sold, **untold), what
    )


def parse_ratio(raw: bytes, received_at: int, *, column: str) -> Records:
    """RATIO (n,) of one of the ratio endpoints, 5m: rows [ts, ratio]; the other columns are NaN."""
    what = f"okx long/short ratio ({column})"
    table, at = _table(raw, received_at, what)
    value = decode.numbers(decode.column(table, 1, what), what, least=0.0)
    told = dict.fromkeys(("top_account", "top_position", "account", "taker"), np.nan)
    told |= {column: np.where(value > 0, value, np.nan)}  # type: ignore[dict-item]
    return once(records.records(records.RATIO, at, at + records.open_interest_lag(PERIOD), **told), what)


def parse_funding(raw: bytes, received_at: int) -> Records:
    """FUNDING (n,) of funding-rate-history: `realizedRate`, the settled one; the first row's interval is not told."""
    what = "okx funding-rate-history"
    table = decode.checked_rows(raw, what, "code", ("0", 0), "msg", "data")
    settled = decode.stamps(decode.column(table, "fundingTime", what), f"{what}, fundingTime", received_at)
    return funding_records(settled, decode.numbers(decode.column(table, "realizedRate", what), what), what)


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
    ),
)  # fmt: skip

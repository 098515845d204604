"""Coinalyze (free key): hourly liquidations of a pair at Binance, Bybit and OKX (api.coinalyze.net/v1/doc)."""

import numpy as np

from liqsignals import records
from liqsignals.clock import DAY, HOUR, SECOND
from liqsignals.records import Records
from liqsignals.sources import decode
from liqsignals.sources.binance import symbol
from liqsignals.sources.spec import Limits, ParseError, Provider, Series

PATH = "/v1/liquidation-history"


def parse_liquidations(raw: bytes, received_at: int) -> Records:
    """LIQUIDATED (n,), USD per hour, summed over the markets of the answer; the hour in progress is left out.

    An hour without a row of a market counts as zero there. Hours without any row are holes, not zero.
    """
    what = "coinalyze liquidation-history"
    parts = []
    for market in decode.rows(raw, what):
        if not isinstance(market, dict) or not isinstance(market.get("history"), list):
            raise ParseError(f"{what}: a market without history: {decode.shown(market)}")
        table = market["history"]
        end = decode.stamps(decode.column(table, "t", what), f"{what}, t", received_at) + HOUR
        long = decode.numbers(decode.column(table, "l", what), f"{what}, l", least=0.0)
        short = decode.numbers(decode.column(table, "s", what), f"{what}, s", least=0.0)
        parts.append((end, long, short))
    if not parts:
        return np.empty(0, records.LIQUIDATED)
    end, long, short = (np.concatenate([part[k] for part in parts]) for k in range(3))
    done = end <= received_at
    hours, at = np.unique(end[done], return_inverse=True)
    sums = [np.bincount(at, weights=np.nan_to_num(v[done]), minlength=len(hours)) for v in (long, short)]
    return records.records(records.LIQUIDATED, hours, hours + HOUR, long_usd=sums[0], short_usd=sums[1])


def _ask(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    name = symbol(pair)
    return PATH, {
        "symbols": f"{name}_PERP.A,{name}.6,{name}_PERP.3",
        "interval": "1hour",
        "from": (start - HOUR) // SECOND,
        "to": stop // SECOND,
        "convert_to_usd": "true",
    }


PROVIDER = Provider(
    name="coinalyze",
    base_url="https://api.coinalyze.net",
    licence="Coinalyze's API terms: own use",
    # 40 calls a minute; each symbol counts as one, and a request has three.
    limits=Limits(requests=12, per_seconds=61.0, concurrency=1),
    key_env="COINALYZE_API_KEY",
    key_header="api_key",
    series=(
        Series(
            name="liquidated",
            kind="liquidated",
            path=PATH + "?symbols&interval&from&to&convert_to_usd",
            unit_in="USD (convert_to_usd)",
            unit_stored="USD",
            label="start of the hour",
            lag_ns=HOUR,
            evidence="delay not documented; one hour assumed",
            depth="1,500 to 2,000 hours; Binance's part has the sampled feed's gaps",
            parsers=((None, parse_liquidations),),
            ask=_ask,
            page_ns=1400 * HOUR,
            reach_ns=62 * DAY,
            period_ns=HOUR,
        ),
    ),
)

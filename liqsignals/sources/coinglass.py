"""CoinGlass v4 (paid; docs.coinglass.com): hourly liquidations of a coin, summed over Binance, Bybit and OKX, and its
open interest by exchange.
"""

import re

import numpy as np

from liqsignals import records
from liqsignals.clock import HOUR, iso
from liqsignals.records import Records
from liqsignals.sources import decode, shapes
from liqsignals.sources.spec import Limits, ParseError, Provider, Series

MS = 1_000_000
PATH = "/api/futures/liquidation/aggregated-history"
BY_VENUE = "/api/futures/open-interest/exchange-history-chart"
#: Distance of the rows that are asked for, and what the answer must have.
STEP = 4 * HOUR
#: CoinGlass' names that are not ours once lower case letters and digits are left; the sum over exchanges is no venue.
_NAMES = {"gateio": "gate", "huobi": "htx", "okex": "okx"}
_SUM = "all"


def parse_liquidations(raw: bytes, received_at: int) -> Records:
    """LIQUIDATED (n,), USD per hour; the hour in progress is left out. Errors come as HTTP 200 with another `code`."""
    what = "coinglass liquidation/aggregated-history"
    table = decode.checked_rows(raw, what, "code", ("0", 0), "msg", "data")
    end = decode.stamps(decode.column(table, "time", what), f"{what}, time", received_at) + HOUR
    done = end <= received_at
    values = {
        name: decode.numbers(
            decode.column(table, f"aggregated_{name.split('_')[0]}_liquidation_usd", what), what, least=0.0
        )
        for name in ("long_usd", "short_usd")
    }
    end = end[done]
    rows = records.records(records.LIQUIDATED, end, end + HOUR, **{n: np.asarray(v)[done] for n, v in values.items()})
    return shapes.once(rows, what)


def parse_open_interest(raw: bytes, received_at: int) -> dict[str, Records]:
    """VENUE_INTEREST by venue (lower case letters and digits), USD of all its futures of the coin, each in tape order.

    A row is the snapshot at its time, known two steps later; one that would be known after `received_at` is left out,
    because it may still change. Blank and 0 are no row: the venue does not list the coin, or was not asked.
    """
    what = "coinglass open-interest/exchange-history-chart"
    found = decode.checked_object(raw, what, "code", ("0", 0), "msg", "data")
    times, by_venue = found.get("time_list"), found.get("data_map")
    if not isinstance(times, list) or not isinstance(by_venue, dict):
        raise ParseError(f"{what}: no list 'time_list' or no object 'data_map' in {decode.shown(found)}")
    at = decode.stamps(times, f"{what}, time_list", received_at)
    lag = records.venue_interest_lag(STEP)
    settled = at + lag <= received_at
    apart = np.diff(np.unique(at))
    if (len(apart) and np.median(apart) != STEP) or (at[settled] % STEP != 0).any():
        raise ParseError(
            f"{what}: rows of every {STEP // HOUR} h were asked for, these begin {[iso(t) for t in at[:3]]}"
        )
    out: dict[str, Records] = {}
    for name, values in by_venue.items():
        venue = re.sub(r"[^a-z0-9]", "", name.lower())
        venue = _NAMES.get(venue, venue)
        if venue == _SUM:
            continue
        if not venue or venue in out:
            raise ParseError(f"{what}: {decode.shown(name)} is no name of an exchange, or one for the second time")
        if not isinstance(values, list) or len(values) != len(at):
            raise ParseError(f"{what}: {decode.shown(name)} does not have a value for each of the {len(at)} times")
        usd = decode.numbers(values, f"{what}, {decode.shown(name)}", least=0.0)
        there = settled & (usd > 0)
        rows = records.records(records.VENUE_INTEREST, at[there], at[there] + lag, usd=usd[there])
        out[venue] = shapes.once(rows, f"{what}, {decode.shown(name)}")
    return out


def _ask_by_venue(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    """All of it at once: the endpoint has no span. `range` is the distance of rows."""
    return BY_VENUE, {"symbol": pair.split("/")[0], "range": "4h", "unit": "usd"}


def _ask(pair: str, start: int, stop: int) -> tuple[str, dict[str, str | int]]:
    return PATH, {
        "exchange_list": "Binance,Bybit,OKX",
        "symbol": pair.split("/")[0],
        "interval": "1h",
        "limit": 1000,
        "start_time": (start - HOUR) // MS,
        "end_time": stop // MS,
    }


PROVIDER = Provider(
    name="coinglass",
    base_url="https://open-api-v4.coinglass.com",
    licence="CoinGlass' plan of the user; no redistribution",
    limits=Limits(requests=25, per_seconds=60.0, concurrency=2),
    key_env="COINGLASS_API_KEY",
    key_header="CG-API-KEY",
    series=(
        Series(
            name="liquidated",
            kind="liquidated",
            path=PATH + "?exchange_list&symbol&interval&limit&start_time&end_time",
            unit_in="USD",
            unit_stored="USD",
            label="start of the hour",
            lag_ns=HOUR,
            evidence="delay not documented; one hour assumed",
            depth="by plan (Hobbyist: not below 4h)",
            parsers=((None, parse_liquidations),),
            ask=_ask,
            page_ns=900 * HOUR,
            reach_ns=None,
            period_ns=HOUR,
        ),
        Series(
            name="open_interest_by_venue",
            kind="venue_interest",
            path=BY_VENUE + "?symbol&range&unit",
            unit_in="USD of all futures of an exchange in the coin (unit=usd)",
            unit_stored="USD",
            label=(
                "instant of the snapshot: a vendor's 4h table of this form, changes of its Binance column against"
                " Binance's own, BTC / ETH 2025-07 to 2025-11: rank correlation .96 / .99 at the label, .94 / .97 five"
                " minutes earlier, .11 / .02 a row later"
            ),
            lag_ns=records.venue_interest_lag(STEP),
            evidence='delay not documented ("update: 10 seconds"); two rows, as for any table by venue',
            depth="not documented; all plans",
            parsers=((None, parse_open_interest),),
            ask=_ask_by_venue,
            period_ns=STEP,
        ),
    ),
)

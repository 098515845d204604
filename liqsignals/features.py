"""The columns that a strategy sees, and the one function that makes them from a cut tape."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liqsignals import flows, funding, kernels, liqmap
from liqsignals.clock import HOUR, Int64Array, open_time
from liqsignals.records import Records, open_interest_lag, open_interest_max_age
from liqsignals.tape import Tape, asof

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One feature: its unit, its range and when it is NaN. All columns are float64."""

    name: str
    unit: str
    range: str
    nan: str
    meaning: str


_LIQ = "no or stale open interest or candles"
_NONE = f"no such cluster; {_LIQ}"
_FUND = "no or stale funding"
_FLOW = "no or stale flows"


def _band_columns() -> list[Column]:
    return [
        Column(
            f"liq_{side}_usd_{band}pct", "position USD", ">= 0", _LIQ,
            f"{side} positions that a move of {band} % {way} from the close would liquidate, cumulative",
        )
        for side, way in (("short", "up"), ("long", "down"))
        for band in (1, 2, 5, 10)
    ]  # fmt: skip


def _cluster_columns() -> list[Column]:
    return [
        column
        for where, side in (("above", "short"), ("below", "long"))
        for column in (
            Column(f"liq_{where}_price", "quote", "> 0", _NONE, f"nearest major {side} cluster {where} the close"),
            Column(f"liq_{where}_distance", "fraction of the close", "0 .. 0.15", _NONE, "its distance, positive on both sides"),
            Column(f"liq_{where}_usd", "position USD", "> 0", _NONE, "its mass within +- 0.25 %"),
            Column(f"liq_{where}_usd_low", "position USD", ">= 0", _NONE, "the same, with every class of leverage at the low end of its doubt (docs/decisions/012)"),
            Column(f"liq_{where}_usd_high", "position USD", ">= 0", _NONE, "the same, with every class at the high end of its doubt"),
        )
    ]  # fmt: skip


#: Every column, in the order in which `compute` returns them and files hold them.
COLUMNS: tuple[Column, ...] = (
    Column("liq_swept_long_usd", "feed USD", ">= 0", _LIQ, "long levels that this candle's path swept: a nowcast given the path"),
    Column("liq_swept_short_usd", "feed USD", ">= 0", _LIQ, "short levels that this candle's path swept"),
    *_cluster_columns(),
    *_band_columns(),
    Column("liq_imbalance", "log ratio", "real", _LIQ, "ln((short + e) / (long + e)) within 5 %, e = 0.1 % of open interest; > 0: more fuel above"),
    Column("liq_oi_change_1h", "fraction", "> -1", f"{_LIQ}; no snapshot an hour before", "change of the newest known open interest (base units) over the hour before it"),
    Column("liq_remainder_long", "share", "0 .. 1", _LIQ, "long open interest without a level on the map"),
    Column("liq_remainder_short", "share", "0 .. 1", _LIQ, "short open interest without a level on the map"),
    Column("liq_model_score", "rank correlation", "-1 .. 1", "uncalibrated; before the end of what the calibration was fitted on; no open-interest or candle file", "how well the calibration in use ranked hours of real liquidations that it was not fitted on (of the pairs that it was fitted on)"),
    Column("liq_fresh", "flag", "0, 1", "no open-interest or candle file", "1 where every candle is there, and the newest open interest that should be known is"),
    Column("liq_warm", "flag", "0, 1", "no open-interest or candle file", "1 where the map has run for 14 days without a hole in the candles"),
    Column("fund_rate_8h", "fraction per 8 h", "real", _FUND, "newest settled funding rate; > 0: longs pay"),
    Column("fund_skew_z", "z-score", "real", f"{_FUND}; fewer than 30 settlements in 30 days, or all of them equal and this one not", "its distance from the mean of its last 30 days"),
    Column("fund_pct", "share", "0 .. 1", f"{_FUND}; fewer than 30 settlements in 30 days", "its rank among its last 30 days"),
    Column("fund_dispersion", "fraction per 8 h", ">= 0", f"{_FUND}; fewer than two venues", "highest less lowest rate over venues"),
    Column("fund_fresh", "flag", "0, 1", "no funding file", "1 where the newest settlement that should be known is"),
    Column("flow_inflow_z", "z-score", "real", f"{_FLOW}; fewer than 30 days in 90", "log exchange inflow of the newest known day against its last 90"),
    Column("flow_netflow_pct", "share of supply (0.01 = 1 %)", "-1 .. 1", _FLOW, "(inflow - outflow) / coins on exchanges"),
    Column("flow_age_h", "hours", ">= 4", "no flows known yet", "age of the newest known day, from its end"),
    Column("flow_fresh", "flag", "0, 1", "no flows file", "1 where that age is at most 52 h"),
)  # fmt: skip

NAMES = tuple(c.name for c in COLUMNS)


def empty(n: int) -> dict[str, Float64Array]:
    """All columns, NaN throughout: what an unknown pair gets."""
    return {name: np.full(n, np.nan) for name in NAMES}


def compute(
    tape: Tape,
    at: Int64Array,
    closes: Float64Array,
    timeframe_ns: int,
    parameters: liqmap.Parameters | None = None,
    memo: liqmap.Memo | None = None,
) -> dict[str, Float64Array]:
    """All columns at a strategy's candles, from the tape as it was known at the last of them.

    `at` (n,) ascending decision times, `closes` (n,) the candles' closes, `timeframe_ns` their length. The tape is cut
    here, at `at[-1]`, so that whatever shortens the dataframe shortens the data (docs/laws.md 3). `parameters` are those
    of the calibration in use, the prior unless given. `memo` carries map
    state between calls. Returns COLUMNS in order, each (n,) float64; NaN rules are in COLUMNS.
    """
    out = empty(len(at))
    if len(at) == 0:
        return out
    view = tape.cut(int(at[-1]))
    out.update(_map_columns(view, at, closes, timeframe_ns, parameters or liqmap.Parameters(), memo))
    out.update(funding.columns(view.funding, at))
    out.update(flows.columns(view.flow, at))
    return out


def _map_columns(
    view: Tape, at: Int64Array, closes: Float64Array, timeframe_ns: int, parameters: liqmap.Parameters, memo: liqmap.Memo | None
) -> dict[str, Float64Array]:  # fmt: skip
    if view.bars is None or view.open_interest is None:
        return {}
    reading, fold = liqmap.read(view, parameters, at, closes, memo, timeframe_ns)
    p = fold.plan
    running = reading.started >= 0
    bar = np.maximum(reading.bar, 0)
    fresh = running.copy()
    if len(p.closes_at):
        fresh &= (closes > 0) & np.isfinite(closes)
        fresh &= at - p.closes_at[bar] < view.bar_ns
        fresh &= at - p.measured_at[bar] <= open_interest_max_age(view.period_ns)
    complete = fresh.copy()
    if len(p.closes_at):
        # The newest snapshot that the rule of records.py makes known by now is the newest one here.
        complete &= at - p.measured_at[bar] < open_interest_lag(view.period_ns) + view.period_ns
    if view.unsure:
        complete &= at < view.unsure
    out = {
        "liq_fresh": complete.astype(np.float64),
        "liq_warm": (running & (at - reading.started >= liqmap.WARMUP)).astype(np.float64),
    }
    if parameters.score is not None:
        out["liq_model_score"] = np.where(at >= parameters.known_at, parameters.score, np.nan)
    value = np.where(fresh[:, None], reading.rows, np.nan)
    r = kernels
    for where, column in (("above", r.R_ABOVE), ("below", r.R_BELOW)):
        price = value[:, column + r.PRICE]
        out[f"liq_{where}_price"] = price
        out[f"liq_{where}_distance"] = np.abs(price / np.where(fresh, closes, np.nan) - 1.0)
        for name, offset in (("usd", r.USD), ("usd_low", r.USD_LOW), ("usd_high", r.USD_HIGH)):
            out[f"liq_{where}_{name}"] = value[:, column + offset]
    for i, band in enumerate((1, 2, 5, 10)):
        out[f"liq_short_usd_{band}pct"] = value[:, r.R_SHORT + i]
        out[f"liq_long_usd_{band}pct"] = value[:, r.R_LONG + i]
    e = np.where(fresh, 0.001 * reading.interest * closes, np.nan)
    out["liq_imbalance"] = np.log((out["liq_short_usd_5pct"] + e) / (out["liq_long_usd_5pct"] + e))
    out["liq_oi_change_1h"] = np.full(len(at), np.nan)
    newest = asof(view.open_interest, at[fresh])
    out["liq_oi_change_1h"][fresh] = _hourly_change(view.open_interest, newest)
    for side, name in enumerate(("long", "short")):
        out[f"liq_remainder_{name}"] = np.where(fresh, reading.remainder[:, side] / reading.interest, np.nan)
        swept = _per_candle(fold.flows[:, side, r.SWEPT_USD], p.closes_at, at, timeframe_ns)
        out[f"liq_swept_{name}_usd"] = np.where(fresh, parameters.report_factor * swept, np.nan)
    return out


def _hourly_change(interest: Records, rows: Int64Array) -> Float64Array:
    """Change of snapshots `rows` against those an hour before them, as a fraction; NaN where one is missing."""
    event = interest["event_time"]
    before = np.searchsorted(event, event[rows] - HOUR)
    there = event[before] == event[rows] - HOUR
    return np.where(there, interest["base"][rows] / interest["base"][before] - 1.0, np.nan)


def _per_candle(per_bar: Float64Array, closes_at: Int64Array, at: Int64Array, timeframe_ns: int) -> Float64Array:
    """Sum over the bars that closed within each candle: (at - timeframe, at]; each candle summed on its own, so that
    no slice changes a bit."""
    first = np.searchsorted(closes_at, open_time(at, timeframe_ns), side="right")
    last = np.searchsorted(closes_at, at, side="right")
    out = np.zeros(len(at))
    for step in range(int((last - first).max(initial=0))):
        row = first + step
        inside = row < last
        out[inside] += per_bar[row[inside]]
    return out

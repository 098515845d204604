"""The columns that a strategy sees, and the one function that makes them from a cut tape."""

import numpy as np

from liqsignals import liqmap
from liqsignals.clock import Int64Array
from liqsignals.data.tape import Tape
from liqsignals.features import flows, funding
from liqsignals.features.column import Column
from liqsignals.features.liquidation_map import STALE_MAP, band_columns, cluster_columns, columns
from liqsignals.records import Float64Array

_FUND = "no or stale funding"

_FLOW = "no or stale flows"

#: Every column, in the order in which `compute` returns them and files hold them.
COLUMNS: tuple[Column, ...] = (
    Column("liq_swept_long_usd", "feed USD", ">= 0", STALE_MAP, "long levels that this candle's path swept: a nowcast given the path"),
    Column("liq_swept_short_usd", "feed USD", ">= 0", STALE_MAP, "short levels that this candle's path swept"),
    *cluster_columns(),
    *band_columns(),
    Column("liq_imbalance", "log ratio", "real", STALE_MAP, "ln((short + e) / (long + e)) within 5 %, e = 0.1 % of open interest; > 0: more fuel above"),
    Column("liq_oi_change_1h", "fraction", "> -1", f"{STALE_MAP}; no snapshot an hour before", "change of the newest known open interest (base units) over the hour before it"),
    Column("liq_remainder_long", "share", "0 .. 1", STALE_MAP, "long open interest without a level on the map"),
    Column("liq_remainder_short", "share", "0 .. 1", STALE_MAP, "short open interest without a level on the map"),
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
    state: liqmap.FoldState | None = None,
) -> dict[str, Float64Array]:
    """All columns at a strategy's candles, from the tape as it was known at the last of them.

    `at` (n,) ascending decision times, `closes` (n,) the candles' closes, `timeframe_ns` their length. The tape is cut
    here, at `at[-1]`, so that whatever shortens the dataframe shortens the data (docs/laws.md 3). `parameters` are those
    of the calibration in use, the prior unless given. `state` carries map
    state between calls. Returns COLUMNS in order, each (n,) float64; NaN rules are in COLUMNS.
    """
    out = empty(len(at))
    if len(at) == 0:
        return out
    view = tape.cut(int(at[-1]))
    out.update(columns(view, at, closes, timeframe_ns, parameters or liqmap.Parameters(), state))
    out.update(funding.columns(view.funding, at))
    out.update(flows.columns(view.flow, at))
    return out

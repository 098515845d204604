"""Columns of the liquidation map: clusters, cumulative USD, swept USD, and whether the map is fresh and warm."""

import numpy as np

from liqsignals import liqmap
from liqsignals.clock import HOUR, Int64Array, open_time
from liqsignals.data.search import count_before, count_until
from liqsignals.data.tape import asof
from liqsignals.features.column import Column
from liqsignals.features.context import Context
from liqsignals.liqmap import kernels
from liqsignals.records import Float64Array, Records

STALE_MAP = "no or stale open interest or candles"

NO_CLUSTER = f"no such cluster; {STALE_MAP}"


def _band_columns() -> list[Column]:
    return [
        Column(
            f"liq_{side}_usd_{band}pct",
            "position USD",
            ">= 0",
            STALE_MAP,
            f"{side} positions that a move of {band} % {way} from the close would liquidate, cumulative",
        )
        for side, way in (("short", "up"), ("long", "down"))
        for band in (1, 2, 5, 10)
    ]


def _cluster_columns() -> list[Column]:
    return [
        column
        for where, side in (("above", "short"), ("below", "long"))
        for column in (
            Column(f"liq_{where}_price", "quote", "> 0", NO_CLUSTER, f"nearest major {side} cluster {where} the close"),
            Column(
                f"liq_{where}_distance",
                "fraction of the close",
                "0 .. 0.15",
                NO_CLUSTER,
                "its distance, positive on both sides",
            ),
            Column(f"liq_{where}_usd", "position USD", "> 0", NO_CLUSTER, "its mass within +- 0.25 %"),
            Column(
                f"liq_{where}_usd_low",
                "position USD",
                ">= 0",
                NO_CLUSTER,
                "the same, with every class of leverage at the low end of its interval (docs/decisions/012)",
            ),
            Column(
                f"liq_{where}_usd_high",
                "position USD",
                ">= 0",
                NO_CLUSTER,
                "the same, with every class at the high end of its interval",
            ),
        )
    ]


_NO_FILE = "no open-interest or candle file"

#: Every column of the family, in order.
COLUMNS = (
    Column(
        "liq_swept_long_usd",
        "feed USD",
        ">= 0",
        STALE_MAP,
        "long levels that this candle's path swept: a nowcast given the path",
    ),
    Column("liq_swept_short_usd", "feed USD", ">= 0", STALE_MAP, "short levels that this candle's path swept"),
    *_cluster_columns(),
    *_band_columns(),
    Column(
        "liq_imbalance",
        "log ratio",
        "real",
        STALE_MAP,
        "ln((short + e) / (long + e)) within 5 %, e = 0.1 % of open interest; > 0: more to liquidate above",
    ),
    Column(
        "liq_oi_change_1h",
        "fraction",
        "> -1",
        f"{STALE_MAP}; no snapshot an hour before, or a step in between that no market makes",
        "change of the newest known open interest (base units) over the hour before it",
    ),
    Column("liq_remainder_long", "share", "0 .. 1", STALE_MAP, "long open interest without a level on the map"),
    Column("liq_remainder_short", "share", "0 .. 1", STALE_MAP, "short open interest without a level on the map"),
    Column(
        "liq_model_score",
        "rank correlation",
        "-1 .. 1",
        f"uncalibrated; before the end of the calibration's data; {_NO_FILE}",
        "out-of-sample rank correlation of the calibration in use with hourly real liquidations, for the pairs that it "
        "was fitted on",
    ),
    Column(
        "liq_fresh",
        "flag",
        "0, 1",
        _NO_FILE,
        "1 where no candle is missing, the newest open interest due by now is known, and the candle closes as the bars do",
    ),
    Column("liq_warm", "flag", "0, 1", _NO_FILE, "1 where the map has run for 14 days without a hole in the candles"),
)


def compute(context: Context) -> dict[str, Float64Array]:
    """`liq_*` columns; none without a candle file and an open-interest file."""
    found = context.map()
    if found is None:
        return {}
    at, closes, tape, parameters = context.at, context.closes, found.tape, found.parameters
    reading, p = found.reading, found.fold.plan
    running, fresh = reading.started >= 0, found.usable(at)
    complete = fresh.copy()
    if len(p.closes_at):
        # The newest snapshot that should be known by now (the rule of records.py) is here.
        # Each has its own period (a file of 15m may end in rows of 5m): a row is known two periods late.
        row = np.maximum(asof(tape.open_interest, p.closes_at[np.maximum(reading.bar, 0)]), 0)
        measured = p.measured_at[np.maximum(reading.bar, 0)]
        lag = (tape.open_interest["known_at"] - tape.open_interest["event_time"])[row] if len(tape.open_interest) else 0
        complete &= at - measured < lag + lag // 2
    if tape.unsure:
        complete &= at < tape.unsure
    # Candles of a longer timeframe are another file: one that closes otherwise than the bars is wrong in one of them.
    if tape.bars is not None and len(tape.bars):
        row = np.minimum(count_before(tape.bars["event_time"], at), len(tape.bars) - 1)
        close = tape.bars["close"][row]
        complete &= (tape.bars["event_time"][row] != at) | (np.abs(closes / close - 1.0) < 1e-9)
    out = {
        "liq_fresh": complete.astype(np.float64),
        "liq_warm": (running & (at - reading.started >= liqmap.WARMUP)).astype(np.float64),
    }
    if parameters.score is not None:
        out["liq_model_score"] = np.where(at >= parameters.known_at, parameters.score, np.nan)
    r = kernels

    def value(column: int) -> Float64Array:
        return np.where(fresh, reading.rows[:, column], np.nan)

    for where, column in (("above", r.R_ABOVE), ("below", r.R_BELOW)):
        price = value(column + r.PRICE)
        out[f"liq_{where}_price"] = price
        out[f"liq_{where}_distance"] = np.abs(price / np.where(fresh, closes, np.nan) - 1.0)
        for name, offset in (("usd", r.USD), ("usd_low", r.USD_LOW), ("usd_high", r.USD_HIGH)):
            out[f"liq_{where}_{name}"] = value(column + offset)
    for i, band in enumerate((1, 2, 5, 10)):
        out[f"liq_short_usd_{band}pct"] = value(r.R_SHORT + i)
        out[f"liq_long_usd_{band}pct"] = value(r.R_LONG + i)
    e = np.where(fresh, 0.001 * reading.interest * closes, np.nan)
    out["liq_imbalance"] = np.log((out["liq_short_usd_5pct"] + e) / (out["liq_long_usd_5pct"] + e))
    out["liq_oi_change_1h"] = np.full(len(at), np.nan)
    newest = asof(tape.open_interest, at[fresh])
    out["liq_oi_change_1h"][fresh] = _hourly_change(tape.open_interest, newest)
    swept = per_candle(found.fold.flows[:, :, r.SWEPT_USD], p.closes_at, at, context.timeframe_ns)
    for side, name in enumerate(("long", "short")):
        out[f"liq_remainder_{name}"] = np.where(fresh, reading.remainder[:, side] / reading.interest, np.nan)
        out[f"liq_swept_{name}_usd"] = np.where(fresh, parameters.report_factor * swept[:, side], np.nan)
    return out


def _hourly_change(interest: Records, rows: Int64Array) -> Float64Array:
    """Relative change of snapshots `rows` from those an hour before; NaN where one is missing, or where the map started
    anew in between."""
    event, steps = interest["event_time"], np.cumsum(interest["start"])
    before = count_before(event, event[rows] - HOUR)
    there = (event[before] == event[rows] - HOUR) & (steps[before] == steps[rows])
    return np.where(there, interest["base"][rows] / interest["base"][before] - 1.0, np.nan)


def per_candle(per_bar: Float64Array, closes_at: Int64Array, at: Int64Array, timeframe_ns: int) -> Float64Array:
    """Sum over the bars that closed within each candle, (at - timeframe, at]: of rows `per_bar` (bars, m), (n, m).

    Each candle is summed on its own, so that every slice gives the same bits.
    """
    first = count_until(closes_at, open_time(at, timeframe_ns))
    last = count_until(closes_at, at)
    out = np.zeros((len(at), per_bar.shape[1]))
    for step in range(int((last - first).max(initial=0))):
        row = first + step
        inside = row < last
        out[inside] += per_bar[row[inside]]
    return out

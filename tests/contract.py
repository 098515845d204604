"""Tools of the contract tests of features: markets of two pairs, toy families, and changes after a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from conftest import ETH, FIVE, PAIR, as_tape, make_market

from liqsignals import features, liqmap, records
from liqsignals.clock import DAY, HOUR, Int64Array
from liqsignals.data.tape import Tape, asof
from liqsignals.features import Column, Context
from liqsignals.records import Float64Array, Records

CUT, VALUES, HOLES, LATE, NEW = "cut", "values", "holes", "late", "new records"
HOWS = (CUT, VALUES, HOLES, LATE, NEW)


def perturbed_kind(kind: Records, time: int, how: str, rng: np.random.Generator) -> Records:
    """One kind with every record that is known after `time` changed, and none that is known by then."""
    first = int(np.searchsorted(kind["known_at"], time, side="right"))
    head, tail = kind[:first], kind[first:].copy()
    values = [n for n in kind.dtype.names or () if kind.dtype[n].kind == "f" and n != "interval_h"]
    if how == CUT:
        return head
    if how == VALUES:
        for name in values:
            tail[name] *= np.exp(rng.normal(0, 3, len(tail)))
        if "high" in values:
            prices = np.sort(np.stack([tail[n] for n in ("open", "high", "low", "close")]), axis=0)
            tail["low"], tail["open"], tail["close"], tail["high"] = prices
    if how == HOLES:
        tail = tail[rng.random(len(tail)) < 0.6]
    if how == LATE and "high" not in values:
        tail["known_at"] += rng.integers(0, 3 * HOUR)
    if how == NEW and len(tail):
        # Known right after `time`, and of any earlier time: late is not the same as recent.
        tail = np.concatenate([tail[:1], tail])
        tail["known_at"][0] = time + 1
        for name in values:
            tail[name][0] *= 1.5
        if "high" in values:
            tail["event_time"][0] = time + 1
    return np.concatenate([head, tail])


def each_kind(tape: Tape, change: Callable[[Records], Records]) -> Tape:
    """The tape with a change made to each of its kinds."""
    return replace(
        tape,
        bars=None if tape.bars is None else change(tape.bars),
        open_interest=None if tape.open_interest is None else change(tape.open_interest),
        funding={venue: change(kind) for venue, kind in tape.funding.items()},
        flow=None if tape.flow is None else change(tape.flow),
        others={key: change(kind) for key, kind in tape.others.items()},
    )


def perturbed(tape: Tape, time: int, how: str, seed: int) -> Tape:
    rng = np.random.default_rng(seed)
    return each_kind(tape, lambda kind: perturbed_kind(kind, time, how, rng))


@dataclass(frozen=True)
class World(features.Markets):
    """Markets that a test holds, by (pair, venue)."""

    tapes: Mapping[tuple[str, str], Tape]
    chosen: liqmap.Parameters = field(default_factory=liqmap.Parameters)
    venues: tuple[str, ...] = ("bybit",)

    def tape(self, pair: str, venue: str | None) -> Tape:
        return self.tapes.get((pair, venue or "binance")) or super().tape(pair, venue)

    def parameters(self, pair: str) -> liqmap.Parameters:
        return self.chosen

    def changed(self, change: Callable[[Tape], Tape]) -> "World":
        return replace(self, tapes={key: change(tape) for key, tape in self.tapes.items()})

    def compute(
        self, family: features.Family, at: Int64Array, closes: Float64Array, timeframe_ns: int = FIVE
    ) -> dict[str, Float64Array]:
        """A family's columns for ETH, after those of the library's own."""
        own = [f for f in features.FAMILIES if f is not family]
        before = own[: list(features.FAMILIES).index(family)] if family in features.FAMILIES else own
        out = features.compute(
            self.tapes[ETH, "binance"], at, closes, timeframe_ns, self.chosen, markets=self, families=[*before, family]
        )
        return {column.name: out[column.name] for column in family.COLUMNS}


def make_world(seed: int, days: float = 1.5, parameters: liqmap.Parameters | None = None) -> World:
    """ETH and BTC on one exchange, ETH on another; taker volume of ETH, another venue's open interest, two events.

    Open interest comes every 5 minutes, of an odd seed every hour.
    """
    tapes = {}
    for n, (pair, venue, price) in enumerate(
        ((ETH, "binance", 3_000.0), (PAIR, "binance", 60_000.0), (ETH, "bybit", 3_000.0))
    ):
        made = make_market(days, 10 * seed + n, volatility=0.003, funding_h=4, price=price)
        tapes[pair, venue] = replace(as_tape(made, "1h" if seed % 2 else "5m", pair), venue=venue)
    own = tapes[ETH, "binance"]
    closed, volume, snapshot = own.bars["event_time"], own.bars["volume"], own.open_interest["event_time"]
    share = np.random.default_rng(seed).uniform(0.2, 0.8, len(closed))
    scheduled = int(closed[0]) + np.array([DAY // 2, DAY])
    others = {
        ("taker", "binance"): records.records(
            records.TAKER, closed, closed + records.TAKER_LAG, buy_base=share * volume, base=volume, buy_quote=np.nan,
            quote=np.nan, trades=np.nan,
        ),
        ("oi_value", "bybit"): records.records(
            records.OI_VALUE, snapshot, snapshot + 2 * FIVE, base=2.0 * own.open_interest["base"], usd=np.nan
        ),
        **{
            ("venue_interest", venue): records.records(
                records.VENUE_INTEREST, closed[::48], closed[::48] + 2 * HOUR, usd=2e4 * part * own.bars["close"][::48]
            )
            for venue, part in (("binance", 1.3), ("bybit", 0.7), ("okx", 0.4))
        },
        ("event", "macro"): records.records(
            records.EVENT, scheduled - 10 * HOUR, scheduled - 10 * HOUR, event=0, scheduled_at=scheduled, released_at=0
        ),
    }  # fmt: skip
    funding = {**own.funding, "bybit": own.funding["binance"].copy()}
    funding["bybit"]["rate"] += 1e-4
    tapes[ETH, "binance"] = replace(own, others=others, funding=funding)
    return World(tapes, parameters or liqmap.Parameters(score=0.9))


class BtcForEth:
    """Another pair's candles and map, and another venue's map."""

    PAIRS = (PAIR,)
    HISTORY = 5 * HOUR
    COLUMNS = (
        Column("toy_btc_move_4h", "fraction", "> -1", "no or stale candles of BTC", "change of BTC's close in 4 hours"),
        Column("toy_btc_swept_usd", "position USD", ">= 0", "no or stale map of BTC", "BTC levels within 1 %"),
        Column("toy_both_usd_5pct", "position USD", ">= 0", "a map is missing or stale", "shorts on two venues"),
    )  # fmt: skip

    def compute(self, context: Context) -> dict[str, Float64Array]:
        at, out = context.at, {}
        bars = context.market(PAIR).bars
        if bars is not None and len(bars):
            row, before = asof(bars, at), asof(bars, at - 4 * HOUR)
            there = (row >= 0) & (before >= 0)
            there &= (at - bars["event_time"][row] < FIVE) & (at - 4 * HOUR - bars["event_time"][before] < FIVE)
            out["toy_btc_move_4h"] = np.where(there, bars["close"][row] / bars["close"][before] - 1.0, np.nan)
        btc = context.map(PAIR)
        if btc is not None:
            near = btc.reading.rows[:, [liqmap.fold.kernels.R_SHORT, liqmap.fold.kernels.R_LONG]].sum(axis=1)
            out["toy_btc_swept_usd"] = np.where(btc.usable(at), near, np.nan)
        maps = [context.map(venue=venue) for venue in (None, *context.venues)]
        total = np.zeros(len(at))
        for found in maps:
            if found is None:
                return out
            total = total + np.where(found.usable(at), found.reading.rows[:, liqmap.fold.kernels.R_SHORT + 2], np.nan)
        return {**out, "toy_both_usd_5pct": total}


class OnTheMap:
    """The columns of an earlier family, and kinds that only the extras hold."""

    COLUMNS = (
        Column("toy_short_share", "share", "0 .. 1", "no or stale map", "shorts within 5 % of all"),
        Column("toy_taker_share", "share", "0 .. 1", "no or stale taker volume", "share that takers bought"),
        Column("toy_venue_share", "share", "0 .. 1", "no or stale open interest", "share here of both"),
        Column("toy_event_h", "hours", ">= 0", "no event announced", "hours to the next event announced"),
    )  # fmt: skip

    def compute(self, context: Context) -> dict[str, Float64Array]:
        at, c, tape = context.at, context.columns, context.market()
        long, short = c["liq_long_usd_5pct"], c["liq_short_usd_5pct"]
        whole = long + short
        out = {"toy_short_share": np.divide(short, whole, out=np.full(len(at), np.nan), where=whole > 0)}
        taker = tape.kind("taker")
        if taker is not None and len(taker):
            row = asof(taker, at)
            fresh = (row >= 0) & (at - taker["event_time"][row] < 2 * FIVE)
            out["toy_taker_share"] = np.where(fresh, taker["buy_base"][row] / taker["base"][row], np.nan)
        other, own = tape.kind("oi_value", "bybit"), context.map()
        if other is not None and own is not None and len(other):
            row, here = asof(other, at), own.reading.interest
            fresh = own.usable(at) & (row >= 0) & (at - other["event_time"][row] < 3 * HOUR)
            out["toy_venue_share"] = np.where(fresh, here / (here + other["base"][row]), np.nan)
        events = tape.kind("event")
        if events is not None:
            ahead = np.where(
                (events["known_at"] <= at[:, None]) & (events["scheduled_at"] >= at[:, None]),
                (events["scheduled_at"] - at[:, None]) / HOUR, np.inf,
            )  # fmt: skip
            nearest = ahead.min(axis=1, initial=np.inf)
            out["toy_event_h"] = np.where(np.isfinite(nearest), nearest, np.nan)
        return out


TOYS: tuple[features.Family, ...] = (BtcForEth(), OnTheMap())
FAMILIES = (*features.FAMILIES, *TOYS)


def name_of(family: features.Family) -> str:
    return getattr(family, "__name__", type(family).__name__).split(".")[-1]

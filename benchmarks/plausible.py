"""What a wrong number does: 1,000 of them put into real data, a draw at a time (docs/laws.md 10).

Each draw multiplies one row, or every row for two hours (a step that goes back), by a factor of 10**-3 .. 10**3. It is
caught where every row that was changed is read as a hole, or, of a step, the first two: the third is taken for real and
the map starts anew. What slips through is compared with the truth: by how much the columns differ in the day after
(funding: the z-scores of 30 days).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.report import Table, progress, show
from liqsignals import features, records, venues
from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array, duration_ns
from liqsignals.data import freqtrade, plausible
from liqsignals.data.tape import Tape
from liqsignals.records import Records

REAL = Path(os.environ.get("LIQSIGNALS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
#: Folder below REAL and pair of each market.
MARKETS = (
    ("binance", "BTC/USDT:USDT"),
    ("binance", "ETH/USDT:USDT"),
    ("alts/binance", "SOL/USDT:USDT"),
    ("alts/binance", "DOGE/USDT:USDT"),
    ("binance-2024", "BTC/USDT:USDT"),
)
DRAWS = 1_000
FIVE = 5 * MINUTE
#: History of the map in front of a wrong number, and what is looked at after it.
BEFORE, AFTER = 5 * DAY, DAY
#: Of so many that slip through the harm is computed.
HARM = 60
#: How long a step lasts.
STEP = 2 * HOUR
MAP = ("liq_short_usd_5pct", "liq_long_usd_5pct", "liq_short_usd_10pct", "liq_long_usd_10pct")


@dataclass(frozen=True)
class Market:
    """A market's rows as its files hold them."""

    bars: Records
    interest: Records
    funding: Records
    bar_ns: int
    period_ns: int

    @classmethod
    def read(cls, datadir: Path, pair: str) -> "Market":
        timeframe, bars = freqtrade.folded_candles(datadir, pair, "5m") or ("5m", np.empty(0, records.BAR))
        bar_ns = duration_ns(timeframe)
        found = freqtrade.read_open_interest(datadir, pair, bars, bar_ns, venues.exchange_of(datadir))
        assert found is not None
        funding = freqtrade.read_funding(datadir, pair)
        return cls(bars, found[0], np.empty(0, records.FUNDING) if funding is None else funding, bar_ns, found[1])

    def tape(self) -> tuple[Tape, int]:
        """What a bot reads of it, and the number of rows that are read as holes."""
        bars = plausible.bars(self.bars)
        interest = plausible.interest(self.interest, bars.taken, bars.busiest, self.bar_ns)
        funding = plausible.funding(self.funding)
        refused = sum(len(verdict.refused) for verdict in (bars, interest, funding))
        tape = Tape("BTC/USDT:USDT", self.bar_ns, self.period_ns, bars.taken, interest.taken, {"v": funding.taken})
        return tape, refused

    def around(self, at: int, before: int, after: int) -> "Market":
        def cut(kind: Records) -> Records:
            return kind[(kind["event_time"] > at - before) & (kind["event_time"] <= at + after)].copy()

        return replace(self, bars=cut(self.bars), interest=cut(self.interest), funding=cut(self.funding))


#: Names of a fault: the kind of rows, and the fields that are multiplied.
FAULTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "open interest and its worth": ("interest", ("base", "usd")),
    "open interest alone": ("interest", ("base",)),
    "prices of a candle": ("bars", ("open", "high", "low", "close")),
    "high or low of a candle": ("bars", ("wick",)),
    "volume": ("bars", ("volume",)),
    "funding rate": ("funding", ("rate",)),
}


def changed(kind: Records, rows: Int64Array, fields: tuple[str, ...], factor: float) -> Records:
    out = kind.copy()
    for name in fields:
        if name == "wick":
            name = "high" if factor > 1 else "low"
        out[name][rows] *= factor
    return out


def difference(market: Market, other: Market, at: int, name: str) -> float:
    """Largest |ln| of the map's amounts (of funding: largest difference of the z-scores) between two markets."""
    if name == "funding":
        when = np.arange(at + HOUR, at + 30 * DAY, 8 * HOUR)
        one, two = (
            features.compute(m.tape()[0], when, np.ones(len(when)), HOUR)["fund_skew_z"] for m in (market, other)
        )
        return float(np.nanmax(np.abs(one - two), initial=0.0))
    bars = other.tape()[0].bars
    assert bars is not None
    shown = bars[(bars["event_time"] > at) & (bars["event_time"] <= at + AFTER)]
    when, closes = shown["event_time"].copy(), shown["close"].copy()
    one, two = (features.compute(m.tape()[0], when, closes, m.bar_ns) for m in (market, other))
    worst = 0.0
    for column in MAP:
        both = (one[column] > 0) & (two[column] > 0)
        worst = max(worst, float(np.abs(np.log(one[column][both] / two[column][both])).max(initial=0.0)))
    return worst


def study(markets: list[Market], fault: str, step: bool, draws: int, seed: int) -> tuple[object, ...]:
    """One row of the table."""
    rng = np.random.default_rng(seed)
    name, fields = FAULTS[fault]
    caught, slipped, harm = [], [], []
    for _ in range(draws):
        market = markets[rng.integers(len(markets))]
        whole = getattr(market, name)
        factor = float(10.0 ** rng.uniform(-3, 3))
        span = (31 * DAY, 31 * DAY) if name == "funding" else (BEFORE, AFTER + STEP)
        first, last = whole["event_time"][0] + span[0], whole["event_time"][-1] - span[1]
        at = int(
            whole["event_time"][
                rng.choice(np.flatnonzero((whole["event_time"] > first) & (whole["event_time"] < last)))
            ]
        )
        part = market.around(at, 40 * DAY if fault == "volume" else span[0] + DAY, span[1])
        kind = getattr(part, name)
        length = (3 * 8 * HOUR if name == "funding" else STEP) if step else 1
        rows = np.flatnonzero((kind["event_time"] >= at) & (kind["event_time"] < at + length))
        lied = replace(part, **{name: changed(kind, rows, fields, factor)})
        tape, _ = lied.tape()
        taken = tape.funding["v"] if name == "funding" else tape.bars if name == "bars" else tape.open_interest
        assert taken is not None
        must = kind["event_time"][rows[:2] if step else rows]
        if not np.isin(must, taken["event_time"]).any():
            caught.append(factor)
            continue
        slipped.append(factor)
        if len(harm) < HARM:
            harm.append(difference(lied, part, at + length, name))
    up = [f for f in slipped if f > 1]
    down = [f for f in slipped if f < 1]
    clear = [f for f in caught if f > 1]
    return (
        f"{fault}, {'two hours' if step else 'one row'}",
        draws,
        len(caught),
        min(clear, default=None),
        max(up, default=None),
        min(down, default=None),
        float(np.median(harm)) if harm else None,
        float(np.max(harm)) if harm else None,
    )


def run(draws: int = DRAWS) -> list[Table]:
    if not (REAL / "binance" / "futures").is_dir():
        print(f"no real data in {REAL} (set LIQSIGNALS_DATA); nothing is measured")
        return []
    markets, rows = [], []
    for folder, pair in MARKETS:
        if not (REAL / folder / "futures").is_dir():
            continue
        market = Market.read(REAL / folder, pair)
        markets.append(market)
        rows.append((f"{folder} {pair}", len(market.bars), len(market.interest), len(market.funding), market.tape()[1]))
    tables = [
        show(
            Table("Rows of real data read as holes", ("market", "candles", "open interest", "funding", "refused"), rows)
        )
    ]
    out = []
    kinds: list[tuple[str, bool]] = [(fault, step) for fault in FAULTS for step in (False, True)]
    for n, (fault, step) in enumerate(kinds):
        progress(f"{fault}, {'step' if step else 'row'}")
        usable: Callable[[Market], bool] = lambda m, f=fault: f != "funding rate" or len(m.funding) > 200  # noqa: E731
        out.append(study([m for m in markets if usable(m)], fault, step, draws, n))
    columns = (
        "wrong number", "draws", "caught", "least factor caught", "largest slipped", "smallest slipped",
        "median harm", "worst harm",
    )  # fmt: skip
    note = (
        f"harm of (the first {HARM}) that slipped: largest |ln| of liq_*_usd_5pct and _10pct against the truth in the day "
        "after; funding: largest difference of fund_skew_z in 30 days"
    )
    tables.append(show(Table("Wrong numbers put into real data", columns, out, note)))
    return tables

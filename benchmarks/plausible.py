"""What a wrong number does: 1,000 of them put into real data, a draw at a time (docs/laws.md 10).

Each draw multiplies one row, or every row for two hours (a step that goes back), by a factor of 10**-3 .. 10**3. It is
caught where every row that was changed is read as a hole, or, of a step, the first two: the third is taken for real and
the map starts anew. What slips through is compared with the truth: by how much the columns differ in the day after
(funding: the z-scores of 30 days), and which candles the strategies enter at, in the three days after (funding: 30).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.resolvers import StrategyResolver

from benchmarks.report import Table, progress, show
from liqsignals import features, records, venues
from liqsignals.clock import DAY, HOUR, MINUTE, Int64Array, duration_ns, to_dates
from liqsignals.data import freqtrade, plausible
from liqsignals.data.tape import Tape
from liqsignals.liqmap import calibration
from liqsignals.records import Records
from liqsignals.strategy.account import Account
from liqsignals.strategy.config import Risk

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
#: History in front of a wrong number (a month of volumes, a warm map), and what is looked at after it.
BEFORE, AFTER = 32 * DAY, DAY
#: Of so many that slip through the harm is computed.
HARM = 60
#: And the entries of so many, in this time after it; a trade lasts so long at most.
TRADED, ENTRIES, HELD = 30, 3 * DAY, 4 * HOUR
STRATEGIES = ("SqueezeMomentum", "RejectionFade")
FOLDER = Path(__file__).resolve().parents[1] / "user_data" / "strategies"
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
        bars = plausible.bars(self.bars, self.bar_ns)
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


@dataclass(frozen=True)
class Draw:
    """A wrong number: in which market, of which rows, from when on (ns), by which factor."""

    market: Market
    fault: str
    step: bool
    at: int
    factor: float

    @property
    def kind(self) -> str:
        return FAULTS[self.fault][0]

    @property
    def length(self) -> int:
        return (3 * 8 * HOUR if self.kind == "funding" else STEP) if self.step else 1

    def told(self, before: int, after: int) -> tuple[Market, Market, Int64Array]:
        """The market around it as it was, with the wrong number, and the times of the rows that are wrong."""
        true = self.market.around(self.at, before, after)
        kind = getattr(true, self.kind)
        rows = np.flatnonzero((kind["event_time"] >= self.at) & (kind["event_time"] < self.at + self.length))
        lied = replace(true, **{self.kind: changed(kind, rows, FAULTS[self.fault][1], self.factor)})
        return true, lied, kind["event_time"][rows]


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


@dataclass(frozen=True)
class OnTape:
    """What a strategy calls `signals`: columns of a tape."""

    columns: dict[str, np.ndarray]
    placebo: None = None

    def attach(self, frame: pd.DataFrame, *_: object, **__: object) -> pd.DataFrame:
        return frame.assign(**self.columns)


def strategies() -> list[Any]:
    """The shipped strategies at their defaults, without a bot."""
    out = []
    for name in STRATEGIES:
        made = StrategyResolver.load_strategy(
            {"strategy": name, "strategy_path": str(FOLDER), "user_data_dir": FOLDER, "trading_mode": "futures"}
        )
        made.dp, made.account = None, Account(name, Risk(), "backtest", None)
        out.append(made)
    return out


def entries(made: list[Any], market: Market, since: int) -> dict[tuple[str, str, int], float]:
    """The stop of every entry after `since` (ns), by strategy, side and the candle's close."""
    bars = market.bars
    when, closes = bars["event_time"].copy(), bars["close"].copy()
    shown = when > since - 4 * DAY  # the strategies look back three days
    tape, _ = market.tape()
    parameters = calibration.default().parameters("BTC/USDT:USDT")
    columns = features.compute(tape, when[shown], closes[shown], market.bar_ns, parameters)
    prices = {name: bars[name][shown] for name in ("open", "high", "low", "close", "volume")}
    candles = pd.DataFrame({"date": to_dates(when[shown] - market.bar_ns)} | prices)
    out = {}
    for strategy in made:
        strategy.signals = OnTape(columns)
        pair = {"pair": "BTC/USDT:USDT"}
        frame = strategy.populate_entry_trend(strategy.populate_indicators(candles.copy(), pair), pair)
        for side in ("long", "short"):
            if f"enter_{side}" in frame:
                for row in np.flatnonzero((frame[f"enter_{side}"] == 1) & (when[shown] > since)):
                    stop = float(frame[f"stop_{side}"].iloc[row])
                    out[type(strategy).__name__, side, int(when[shown][row])] = stop
    return out


def in_risk(market: Market, side: str, close: int, stop: float) -> float:
    """What a trade earns that enters after `close`, in its risk: to the stop or for four hours, without costs."""
    bars = market.bars[(market.bars["event_time"] > close) & (market.bars["event_time"] <= close + HELD)]
    sign = 1.0 if side == "long" else -1.0
    entry = float(bars["open"][0])
    risk = sign * (entry - stop)
    if risk <= 0.0:
        return 0.0  # its stop is behind it: entry_confirmed refuses
    hit = (bars["low"] <= stop) if side == "long" else (bars["high"] >= stop)
    return -1.0 if hit.any() else float(sign * (bars["close"][-1] - entry) / risk)


@dataclass
class Traded:
    """Entries of the draws that slipped through: in truth, added and lost by the wrong number, with another stop."""

    draws: int = 0
    true: int = 0
    lost: int = 0
    moved: int = 0
    added: list[float] = field(default_factory=list)
    #: Factors of the draws that added an entry.
    factors: list[float] = field(default_factory=list)

    def take(self, made: list[Any], draw: Draw) -> None:
        after = 30 * DAY if draw.kind == "funding" else ENTRIES
        true, lied, _ = draw.told(BEFORE, after + HELD)
        one, two = (entries(made, market, draw.at - 1) for market in (true, lied))
        end = draw.at + after
        one, two = ({k: stop for k, stop in found.items() if k[2] <= end} for found in (one, two))
        new = [k for k in two if k not in one]
        self.draws += 1
        self.true += len(one)
        self.lost += sum(k not in two for k in one)
        self.moved += sum(abs(two[k] / one[k] - 1) > 1e-3 for k in one if k in two)
        self.added += [in_risk(true, side, close, two[name, side, close]) for name, side, close in new]
        self.factors += [draw.factor] * bool(new)

    def row(self, name: str) -> tuple[object, ...]:
        far = sorted(self.factors, key=lambda f: abs(np.log(f)))
        return (
            name, self.draws, self.true, len(self.added), self.lost, self.moved, far[0] if far else None,
            float(np.mean(self.added)) if self.added else None, min(self.added, default=None),
        )  # fmt: skip


def study(
    markets: list[Market], made: list[Any], fault: str, step: bool, draws: int, seed: int
) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """A row of each table."""
    rng = np.random.default_rng(seed)
    name = FAULTS[fault][0]
    caught, slipped, harm, traded = [], [], [], Traded()
    for _ in range(draws):
        market = markets[rng.integers(len(markets))]
        times = getattr(market, name)["event_time"]
        factor = float(10.0 ** rng.uniform(-3, 3))
        after = 31 * DAY if name == "funding" else ENTRIES + HELD + STEP
        inside = (times > times[0] + BEFORE) & (times < times[-1] - after)
        # Funding goes back to 2019; entries need the map's files, too.
        first, last = market.interest["event_time"][0], market.interest["event_time"][-1]
        inside &= (times > first + BEFORE) & (times < last - after)
        draw = Draw(market, fault, step, int(rng.choice(times[inside])), factor)
        true, lied, wrong = draw.told(BEFORE, 31 * DAY if name == "funding" else AFTER + STEP)
        tape, _ = lied.tape()
        taken = tape.funding["v"] if name == "funding" else tape.bars if name == "bars" else tape.open_interest
        assert taken is not None
        if not np.isin(wrong[:2], taken["event_time"]).any():
            caught.append(factor)
            continue
        slipped.append(factor)
        if len(harm) < HARM:
            harm.append(difference(lied, true, draw.at + draw.length, name))
        if traded.draws < TRADED:
            traded.take(made, draw)
    up = [f for f in slipped if f > 1]
    down = [f for f in slipped if f < 1]
    clear = [f for f in caught if f > 1]
    what = f"{fault}, {'two hours' if step else 'one row'}"
    row = (
        what,
        draws,
        len(caught),
        min(clear, default=None),
        max(up, default=None),
        min(down, default=None),
        float(np.median(harm)) if harm else None,
        float(np.max(harm)) if harm else None,
    )
    return row, traded.row(what)


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
    made, out, trades = strategies(), [], []
    kinds: list[tuple[str, bool]] = [(fault, step) for fault in FAULTS for step in (False, True)]
    for n, (fault, step) in enumerate(kinds):
        progress(f"{fault}, {'step' if step else 'row'}")
        usable: Callable[[Market], bool] = lambda m, f=fault: f != "funding rate" or len(m.funding) > 200  # noqa: E731
        one, two = study([m for m in markets if usable(m)], made, fault, step, draws, n)
        out.append(one)
        trades.append(two)
    columns = (
        "wrong number", "draws", "caught", "least factor caught", "largest slipped", "smallest slipped",
        "median harm", "worst harm",
    )  # fmt: skip
    note = (
        f"harm of (the first {HARM}) that slipped: largest |ln| of liq_*_usd_5pct and _10pct against the truth in the day "
        "after; funding: largest difference of fund_skew_z in 30 days"
    )
    tables.append(show(Table("Wrong numbers put into real data", columns, out, note)))
    columns = (
        "wrong number that slipped", "draws", "true entries", "added", "lost", "other stop", "nearest factor that adds",
        "mean of added", "worst of added",
    )  # fmt: skip
    note = (
        f"entries of {' and '.join(STRATEGIES)} in the three days after (funding: 30) of the first {TRADED} that slipped; "
        "what added ones earn, in their risk, to the stop or for four hours, without costs"
    )
    tables.append(show(Table("What the strategies enter at on them", columns, trades, note)))
    return tables

"""The walk: monthly slices of frozen defaults, their placebos, and the account at other costs and stops."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from liqsignals.clock import DAY, HOUR, Int64Array, duration_ns, iso, open_time, to_dates
from liqsignals.data import freqtrade
from liqsignals.data.tape import map_tape
from liqsignals.errors import InputError, __version__
from liqsignals.evaluation import fit as fits
from liqsignals.evaluation import liquidations
from liqsignals.files import replaced
from liqsignals.liqmap import calibration
from liqsignals.strategy import sizing
from liqsignals.strategy.placebo import TAG
from liqsignals.walkforward import candidates, runs, verdicts
from liqsignals.walkforward.portfolio import Outcome, Rules, Trade, simulate
from liqsignals.walkforward.protections import STOPS
from liqsignals.walkforward.runs import Backtest, Done, Setting
from liqsignals.walkforward.verdicts import Sample

_MS = 1_000_000
#: A stop in a candle with a wider range than this is re-priced.
WIDE = 0.01
#: Portfolios drawn of the matched candles.
MATCHED_DRAWS = 200

Show = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """What is walked."""

    datadir: Path
    pairs: tuple[str, ...]
    strategies: tuple[str, ...]
    config: Path
    userdir: Path
    out: Path
    #: ns; whole months in between are walked.
    span: tuple[int, int]
    #: Fee and slippage of a fill, fractions.
    fee: float = 0.0005
    slippage: float = 0.0002
    #: Portfolios of random entries, and runs with permuted columns a slice.
    draws: int = 1000
    shuffles: int = 2
    seed: int = 1
    jobs: int = 2
    #: Whether the shipped calibration's result stands beside.
    hindsight: bool = True
    #: Instants (ns) between which a long is forced at every candle; None: none is.
    forced: tuple[int, int] | None = None
    #: Pair and hourly liquidations to fit each slice's calibration on.
    liquidations: tuple[tuple[str, Path], ...] = ()

    @property
    def cost(self) -> float:
        return self.fee + self.slippage


@dataclass(frozen=True)
class Slice:
    """A month, or what the span holds of it."""

    name: str
    start: int
    stop: int

    @property
    def timerange(self) -> str:
        return f"{self.start // 10**9}-{self.stop // 10**9}"


def slices(start: int, stop: int) -> list[Slice]:
    """The calendar months (UTC) between two instants, the first and the last as far as they reach in.

    >>> [s.name for s in slices(0, 40 * DAY)]
    ['1970-01', '1970-02']
    """
    begin = pd.Timestamp(start, tz="UTC")
    edges = [start]
    at = (begin.normalize().replace(day=1) + pd.DateOffset(months=1)).as_unit("ns").value
    while at < stop:
        edges.append(int(at))
        at = (pd.Timestamp(at, tz="UTC") + pd.DateOffset(months=1)).as_unit("ns").value
    edges.append(stop)
    return [Slice(pd.Timestamp(a, tz="UTC").strftime("%Y-%m"), a, b) for a, b in pairwise(edges)]


def stretches(parts: Sequence[Slice], files: Mapping[str, str]) -> list[tuple[Slice, str]]:
    """Consecutive slices with the same calibration as one: nothing but the account's start tells them apart."""
    found: list[tuple[Slice, str]] = []
    for part in parts:
        if found and found[-1][1] == files[part.name]:
            last = found[-1][0]
            name = f"{last.name.split(' .. ')[0]} .. {part.name}"
            found[-1] = Slice(name, last.start, part.stop), files[part.name]
        else:
            found.append((part, files[part.name]))
    return found


@dataclass(frozen=True)
class Walked:
    """Everything that freqtrade said about one strategy in a stretch of slices."""

    part: Slice
    calibration: str
    account: Done
    #: Every signal of the strategy itself, each simulated alone.
    signals: list[Outcome]
    #: Outcomes at the placebos' candles, by pair, side and opening (ms); and the candles of each trade (ns).
    elsewhere: Mapping[tuple[str, str, int], Outcome]
    random: list[Int64Array]
    matched: list[Int64Array]
    shuffled: list[Done]


def walk(plan: Plan, show: Show) -> dict[str, Any]:
    """Walk every strategy over every slice, and judge: the content of result.json (docs/results.md explains it).

    Backtests that ran before with the same code, data and settings are read from `out`/runs.
    """
    from joblib import Parallel, delayed

    from liqsignals.exchange.server import loopback

    runs.check(plan.datadir, plan.config)
    folder = runs.strategy_folder(plan.userdir, plan.strategies)
    data = runs.data_hashes(plan.datadir, plan.pairs)
    parts = slices(*plan.span)
    files = {part.name: _calibration(plan, part) for part in parts}
    with loopback(plan.datadir) as overlay:
        setting = Setting(
            plan.datadir.resolve(), plan.pairs, plan.config.resolve(), folder.resolve(), overlay, plan.out.resolve(),
            plan.cost, json.dumps(data, sort_keys=True),
        )  # fmt: skip
        jobs = [
            *[
                delayed(_walked)(plan, setting, name, *one)
                for name in plan.strategies
                for one in stretches(parts, files)
            ],
            *[delayed(_hindsight)(plan, setting, name) for name in plan.strategies if plan.hindsight],
        ]
        found: dict[str, list[Walked]] = defaultdict(list)
        hindsight: dict[str, Done] = {}
        show("stretches", 0, len(jobs))
        for k, (name, one) in enumerate(Parallel(plan.jobs, backend="threading", return_as="generator")(jobs)):
            if isinstance(one, Walked):
                found[name].append(one)
            else:
                hindsight[name] = one
            show("stretches", k + 1, len(jobs))
        forced = {name: _forced(plan, setting, name, found[name]) for name in plan.strategies}
    steps = runs.steps(plan.datadir, plan.pairs)
    return {
        "version": __version__,
        "market": "SIMULATED" if (plan.datadir / "SIMULATED").exists() else plan.datadir.name,
        "pairs": list(plan.pairs),
        "span": [iso(plan.span[0]), iso(plan.span[1])],
        "costs": {"fee": plan.fee, "slippage": plan.slippage},
        "seed": plan.seed,
        "draws": plan.draws,
        "shuffles": plan.shuffles,
        "liquidations": [pair for pair, _ in plan.liquidations],
        "data": data,
        "strategies": {
            name: {
                "source": _sha256(folder / f"{name}.py"),
                **_judged(plan, found[name], hindsight.get(name), steps),
                "forced": forced[name],
            }
            for name in plan.strategies
        },
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- one slice
def _walked(plan: Plan, setting: Setting, strategy: str, part: Slice, calibrated: str) -> tuple[str, Walked]:
    block = {"calibration": calibrated}
    account = runs.run(setting, Backtest(strategy, part.timerange, block))
    step = duration_ns(account.summary["timeframe"])
    opens, frames = {}, {}
    for pair in plan.pairs:
        frame = _candles(plan.datadir, pair, account.summary["timeframe"])
        at = frame.index.to_numpy(np.int64) * _MS
        # Freqtrade enters neither at the first candle, which has no signal before it, nor at the last.
        inside = (at > part.start) & (at < part.stop)
        opens[pair] = at[inside]
        frames[pair] = at[inside], candidates.covariates(frame, step)[inside]
    random = candidates.strata(account.outcomes, opens, plan.seed)
    matched = candidates.matches(account.outcomes, frames, account.outcomes)
    entries = candidates.table([*account.outcomes, *account.outcomes], [*random, *matched], step)
    outcomes = runs.run(setting, Backtest(strategy, part.timerange, block, table=True, entries=entries)).outcomes
    shuffled = [
        runs.run(setting, Backtest(strategy, part.timerange, {**block, "placebo": {"shuffle": plan.seed * 1000 + k}}))
        for k in range(plan.shuffles)
    ]
    return strategy, Walked(
        part,
        calibrated,
        account,
        [one for one in outcomes if one.tag != TAG],
        {(one.pair, one.side, one.opened): one for one in outcomes},
        random,
        matched,
        shuffled,
    )


def _hindsight(plan: Plan, setting: Setting, strategy: str) -> tuple[str, Done]:
    """The account with the shipped calibration, over the whole span."""
    span = f"{plan.span[0] // 10**9}-{plan.span[1] // 10**9}"
    return strategy, runs.run(setting, Backtest(strategy, span, {}))


def _candles(datadir: Path, pair: str, timeframe: str) -> pd.DataFrame:
    """A pair's candles, indexed by their opens in ms."""
    rows = freqtrade.candles(datadir, pair, timeframe)
    if rows is None:
        raise freqtrade.absent(f"{timeframe} candles", datadir, pair, datadir.name, timeframe)
    opens = open_time(rows["event_time"], duration_ns(timeframe)) // _MS
    return pd.DataFrame({name: rows[name].astype(np.float64) for name in ("open", "high", "low", "close")}, opens)


def _calibration(plan: Plan, part: Slice) -> str:
    """The calibration of a slice: fitted on liquidations before it and kept in `out`, or "none" where they are too few."""
    if not plan.liquidations:
        return "none"
    path = plan.out / "calibrations" / f"{part.name}.json"
    if path.exists():
        return str(path.resolve())
    markets = []
    for pair, table in plan.liquidations:
        tape = map_tape(plan.datadir, pair, None, None, "5m")
        real = liquidations.read(table, tape)
        before = real.hours + HOUR <= part.start
        if before.any():
            markets.append(fits.Market(tape, real.hours[before], real.usd[:, before]))
    if not markets:
        return "none"
    try:
        alone = {m.tape.pair: fits.fit([m], "walkforward") for m in markets}
        every = fits.fit(markets, "walkforward") if len(markets) > 1 else next(iter(alone.values()))
    except InputError:
        return "none"
    path.parent.mkdir(parents=True, exist_ok=True)
    calibration.save(calibration.Calibration(every, alone, str(path)), path)
    return str(path.resolve())


def _forced(plan: Plan, setting: Setting, strategy: str, walked: Sequence[Walked]) -> dict[str, Any] | None:
    """What the account loses by a long at a candle of `plan.forced`, of all pairs at once, at the worst of them.

    Stops fill at the extreme of their candle. None where nothing is forced or the slices do not hold it.
    """
    if plan.forced is None:
        return None
    start, stop = plan.forced
    here = next((w for w in walked if w.part.start <= start and stop <= w.part.stop), None)
    if here is None:
        return None
    timeframe = here.account.summary["timeframe"]
    step = duration_ns(timeframe)
    opens = np.arange(start, stop, step)
    longs = pd.DataFrame(
        {
            "pair": np.repeat(plan.pairs, len(opens)),
            "date": to_dates(np.tile(opens - step, len(plan.pairs))),
            "side": "long",
        }
    )
    block = {"calibration": here.calibration}
    days = (start // DAY - 1) * DAY, (stop // DAY + 2) * DAY
    span = f"{max(days[0], here.part.start) // 10**9}-{min(days[1], here.part.stop) // 10**9}"
    table = runs.run(setting, Backtest(strategy, span, block, table=True, entries=longs))
    inside = [one for one in table.outcomes if not one.is_short and start <= one.opened * _MS < stop]
    worse = repriced(plan, inside, 1.0, timeframe)
    rules = replace(_rules(plan, here, runs.steps(plan.datadir, plan.pairs)), protections=())
    ends = []
    for at in sorted({one.opened for one in worse}):
        trades = simulate([one for one in worse if one.opened == at], rules)
        if trades:
            ends.append(trades[-1].equity / rules.balance - 1.0)
    return {
        "from": iso(start),
        "to": iso(stop),
        "candles": len(longs),
        "entered": len(worse),
        "worst_account": min(ends, default=None),
        "worst_r": min((one.net(plan.cost) / one.risk for one in worse), default=None),
    }


# --- the judgement
def _sample(outcomes: Sequence[Outcome], cost: float, measure: str = "net") -> Sample:
    opened = np.array([one.opened for one in outcomes], np.int64) * _MS
    net = np.array([one.net(cost) / (one.risk if measure == "r" else 1.0) for one in outcomes])
    return Sample(net, candidates.week_of(opened), opened // DAY)


def _rules(plan: Plan, walked: Walked, steps: Mapping[str, float]) -> Rules:
    summary, facts = walked.account.summary, walked.account.facts
    risk = dict(facts.get("risk") or {})
    most = float(risk.pop("max_drawdown", 1.0))
    return Rules(
        plan.pairs,
        int(summary["max_open_trades_setting"]),
        float(summary["starting_balance"]),
        plan.cost,
        duration_ns(summary["timeframe"]) // _MS,
        tuple(facts.get("protections", ())),
        tradable=runs.TRADABLE,
        steps=steps,
        limits=sizing.Limits(**risk) if risk else None,
        max_drawdown=most,
    )


def drawn(
    walked: Walked, chosen: Sequence[Int64Array], rules: Rules, draws: int, seed: Sequence[int]
) -> Iterator[list[Trade]]:
    """Portfolios of placebo entries: in each draw one of the candles that were `chosen` for every trade."""
    there = [
        [found for at in all_at.tolist() if (found := walked.elsewhere.get((one.pair, one.side, at // _MS)))]
        for one, all_at in zip(walked.account.outcomes, chosen, strict=True)
    ]
    draw = np.random.default_rng(list(seed))
    for _ in range(draws):
        yield simulate([some[int(draw.integers(len(some)))] for some in there if some], rules)


def _judged(plan: Plan, walked: Sequence[Walked], hindsight: Done | None, steps: Mapping[str, float]) -> dict[str, Any]:
    real = [one for w in walked for one in w.account.outcomes]
    sample = _sample(real, plan.cost)
    against: dict[str, list[Outcome]] = {"price-only trigger": [], "shuffled in terciles": [], "random entries": []}
    random_means: list[list[float]] = [[] for _ in range(plan.draws)]
    for k, w in enumerate(walked):
        rules = _rules(plan, w, steps)
        for name, chosen, draws in (
            ("random entries", w.random, plan.draws),
            ("price-only trigger", w.matched, MATCHED_DRAWS),
        ):
            for d, trades in enumerate(drawn(w, chosen, rules, draws, (plan.seed, k, draws))):
                against[name] += [t.outcome for t in trades]
                if name == "random entries":
                    random_means[d] += [t.outcome.net(plan.cost) for t in trades]
        against["shuffled in terciles"] += [one for done in w.shuffled for one in done.outcomes]
    placebos = _verdicts(plan, real, against)
    means = [float(np.mean(nets)) for nets in random_means if nets]
    better = float(np.mean([m >= sample.net.mean() for m in means])) if means and real else None
    placebos["random entries"]["draws_at_least_as_good"] = better
    by_side = {side: _verdicts(plan, real, against, side) for side in ("long", "short")}
    base = _rules(plan, walked[0], steps)
    accounts = {
        name: _account(
            [one for w in walked for one in repriced(plan, w.signals, share, w.account.summary["timeframe"])],
            base,
            times,
            plan,
        )
        for name, share, times in CASES
    }
    weeks = (plan.span[1] - plan.span[0]) / (7 * DAY)
    return {
        "trades": len(real),
        "days": len(np.unique(sample.day)),
        "entries_a_pair_a_week": len(real) / weeks / len(plan.pairs),
        "net": _mean(sample.net),
        "r": _mean([one.net(plan.cost) / one.risk for one in real]),
        "slices": [
            _slice_row(plan, w, part, accounts["as judged"], hindsight)
            for part in slices(*plan.span)
            for w in walked
            if w.part.start <= part.start < w.part.stop
        ],
        "stretches": [_stretch_row(plan, w.part.name, w.account) for w in walked],
        "hindsight": hindsight and _stretch_row(plan, "all", hindsight),
        "pairs": {pair: _some([one for one in real if one.pair == pair], plan.cost) for pair in plan.pairs},
        "sides": {side: _some([one for one in real if one.side == side], plan.cost) for side in ("long", "short")},
        "tags": {tag: _some([o for o in real if o.tag == tag], plan.cost) for tag in sorted({o.tag for o in real})},
        "exits": {r: _some([o for o in real if o.reason == r], plan.cost) for r in sorted({o.reason for o in real})},
        "placebos": placebos,
        "verdict": _over_all(placebos),
        "by_side": {side: {"placebos": found, "verdict": _over_all(found)} for side, found in by_side.items()},
        "accounts": accounts,
        "reproduced": _reproduced(plan, walked, steps),
        "lives": [_life(one, plan.cost) for one in real],
    }


def _verdicts(
    plan: Plan, real: Sequence[Outcome], against: Mapping[str, Sequence[Outcome]], side: str | None = None
) -> dict[str, dict[str, Any]]:
    """The verdict against each placebo, of one side or of both."""
    mine = [one for one in real if side in (None, one.side)]
    found = {}
    for name, outcomes in against.items():
        theirs = [one for one in outcomes if side in (None, one.side)]
        found[name] = verdicts.judge(_sample(mine, plan.cost), _sample(theirs, plan.cost), plan.seed).as_dict()
        found[name]["r"] = _mean([one.net(plan.cost) / one.risk for one in theirs])
    return found


def _over_all(placebos: Mapping[str, Mapping[str, Any]]) -> str:
    """One word for all placebos: *adds* only where it adds to each of them, *harms* where it harms beside one."""
    words = {found["word"] for found in placebos.values()}
    for word in (verdicts.TOO_FEW, verdicts.HARMS, verdicts.NOT_SHOWN):
        if word in words:
            return word
    return verdicts.ADDS


#: Accounts: name, share of the way from stop to the candle's far extreme at which wide stops fill, multiple of the
#: costs.
CASES = (
    ("as judged", 0.0, 1),
    ("2x costs", 0.0, 2),
    ("3x costs", 0.0, 3),
    ("stops half-way", 0.5, 1),
    ("stops at the extreme", 1.0, 1),
    ("stops at the extreme, 3x costs", 1.0, 3),
)


def _account(outcomes: Sequence[Outcome], rules: Rules, times: int, plan: Plan) -> dict[str, Any]:
    """One account over all slices, in which every month goes on with the money of the last."""
    trades = simulate(outcomes, replace(rules, cost=rules.cost * times))
    equity = np.array([rules.balance, *[t.equity for t in trades]])
    high = np.maximum.accumulate(equity)
    at = pd.DatetimeIndex(pd.to_datetime([t.outcome.closed for t in trades], unit="ms", utc=True))
    months = {}
    before = rules.balance
    for part in slices(*plan.span):
        inside = [t for t in trades if part.start <= t.outcome.closed * _MS < part.stop]
        after = inside[-1].equity if inside else before
        months[part.name] = after / before - 1.0
        before = after
    worst = min((t.outcome.net(rules.cost * times) / t.outcome.risk for t in trades), default=None)
    return {
        "trades": len(trades),
        "growth": equity[-1] / rules.balance - 1.0,
        "drawdown": float(np.max(1.0 - equity / high)),
        "worst_month": min(months.values()),
        "worst_trade_r": worst,
        "worst_trade_account": min((t.profit / (t.equity - t.profit) for t in trades), default=None),
        "months": months,
        "equity": [[stamp.isoformat(), value] for stamp, value in zip(at, equity[1:].tolist(), strict=True)],
    }


def repriced(plan: Plan, outcomes: Sequence[Outcome], share: float, timeframe: str) -> list[Outcome]:
    """Outcomes with the stops of wide candles filled beyond the stop: `share` of the way to the candle's far extreme.

    The margin bounds the loss: no fill is beyond the price at which it is gone.
    """
    if share == 0.0:
        return list(outcomes)
    frames: dict[str, pd.DataFrame] = {}
    found = []
    for one in outcomes:
        if one.reason not in STOPS:
            found.append(one)
            continue
        if one.pair not in frames:
            frames[one.pair] = _candles(plan.datadir, one.pair, timeframe)
        begin, high, low = frames[one.pair].loc[[one.closed]].to_numpy(np.float64)[0, :3].tolist()
        if (high - low) / begin > WIDE:
            far = high if one.is_short else low
            price = one.exit + share * (far - one.exit)
            gone = one.entry * (1 + 1 / one.leverage if one.is_short else 1 - 1 / one.leverage)
            price = min(price, gone) if one.is_short else max(price, gone)
            worse = max(price, one.exit) if one.is_short else min(price, one.exit)
            found.append(one._replace(exit=worse))
        else:
            found.append(one)
    return found


def _reproduced(plan: Plan, walked: Sequence[Walked], steps: Mapping[str, float]) -> dict[str, Any]:
    """How the simulation of the portfolio compares with freqtrade's own backtests of the slices."""
    trades, same, largest = 0, 0, 0.0
    for w in walked:
        mine = {(t.outcome.pair, t.outcome.opened): t for t in simulate(w.signals, _rules(plan, w, steps))}
        keys = [(one.pair, one.opened) for one in w.account.outcomes]
        trades += len(set(keys) | set(mine))
        for key, profit, stake in zip(keys, w.account.profits, w.account.stakes, strict=True):
            if key in mine:
                same += 1
                largest = max(largest, abs(mine[key].profit - profit) / stake)
    return {"trades": trades, "same": same, "largest_difference": largest}


def _slice_row(
    plan: Plan, w: Walked, part: Slice, account: Mapping[str, Any], hindsight: Done | None
) -> dict[str, Any]:
    def inside(outcomes: Sequence[Outcome]) -> list[Outcome]:
        return [one for one in outcomes if part.start <= one.opened * _MS < part.stop]

    closes = []
    for pair in plan.pairs:
        candles = _candles(plan.datadir, pair, w.account.summary["timeframe"]).loc[
            part.start // _MS : part.stop // _MS - 1
        ]
        closes.append(candles["close"].iloc[-1] / candles["open"].iloc[0] - 1.0 if len(candles) else np.nan)
    return {
        "slice": part.name,
        "calibration": "none" if w.calibration == "none" else "fitted before it",
        "growth": account["months"][part.name],
        "market": float(np.nanmean(closes)) if np.isfinite(closes).any() else None,
        **_some(inside(w.account.outcomes), plan.cost),
        "hindsight": hindsight and _some(inside(hindsight.outcomes), plan.cost),
    }


def _stretch_row(plan: Plan, name: str, done: Done) -> dict[str, Any]:
    """What freqtrade itself said of its account, which begins anew with every stretch."""
    summary = done.summary
    return {
        "slices": name,
        "growth": _growth(summary),
        "drawdown": summary["max_drawdown_account"],
        **_some(done.outcomes, plan.cost),
    }


def _growth(summary: Mapping[str, Any]) -> float:
    return float(summary["final_balance"] / summary["starting_balance"] - 1.0)


def _some(outcomes: Sequence[Outcome], cost: float) -> dict[str, Any]:
    """Number, mean net and mean R of some trades."""
    return {
        "trades": len(outcomes),
        "net": _mean([one.net(cost) for one in outcomes]),
        "r": _mean([one.net(cost) / one.risk for one in outcomes]),
    }


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _life(one: Outcome, cost: float) -> dict[str, Any]:
    return {**one._asdict(), "net": one.net(cost), "r": one.net(cost) / one.risk}


def save(result: Mapping[str, Any], path: Path) -> None:
    """Write result.json in one step."""
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")

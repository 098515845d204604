"""Slots, sizes, equity and protections over trades whose fate is known: an event simulation of freqtrade's backtest.

What a trade does after its entry (stop, exits, funding) does not depend on the other trades, so freqtrade computes it
once for every signal, in a run without a limit of trades. What does depend on them is simulated here: one trade a pair,
the slots, the stake, the protections. That takes microseconds a trade, so that thousands of draws, and exits at other
prices or costs, cost nothing. tests/test_walkforward.py holds it against freqtrade's own backtest, trade by trade.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any, NamedTuple

from liqsignals.strategy import sizing
from liqsignals.walkforward.protections import Closed, Locks


class Outcome(NamedTuple):
    """What freqtrade does with an entry that it takes. Times in ms: opens of candles. Prices in quote currency."""

    pair: str
    is_short: bool
    opened: int
    closed: int
    entry: float
    exit: float
    #: The stop that stood at the end.
    stop: float
    leverage: float
    reason: str
    tag: str
    #: Funding received (negative: paid) per unit of base.
    funding: float
    #: Way to the stop (fraction of price) by which the strategy sized it; 0.0 where it leaves the size to freqtrade.
    way: float = 0.0

    @property
    def side(self) -> str:
        return "short" if self.is_short else "long"

    @property
    def risk(self) -> float:
        """Distance from entry to stop, a fraction of the entry price."""
        return abs(self.stop / self.entry - 1.0)

    def net(self, cost: float) -> float:
        """Net of the trade as a fraction of its position at entry; `cost`: fee and slippage of a fill, a fraction."""
        move = (self.entry - self.exit) if self.is_short else (self.exit - self.entry)
        return (move - cost * (self.entry + self.exit) + self.funding) / self.entry


class Trade(NamedTuple):
    """An outcome that found a slot."""

    outcome: Outcome
    #: Margin, and base units.
    stake: float
    amount: float
    profit: float
    #: Of the margin.
    ratio: float
    #: Account after the exit, closed trades only.
    equity: float


class Open(NamedTuple):
    outcome: Outcome
    stake: float
    amount: float


@dataclass(frozen=True)
class Rules:
    """What a portfolio depends on."""

    #: In the order of the whitelist.
    pairs: tuple[str, ...]
    slots: int
    balance: float
    #: Fee and slippage of a fill, a fraction of its value.
    cost: float
    timeframe_ms: int
    protections: tuple[Mapping[str, Any], ...] = ()
    #: freqtrade's tradable_balance_ratio.
    tradable: float = 0.99
    #: Smallest change of an amount, by pair; amounts are rounded down to it.
    steps: Mapping[str, float] | None = None
    #: Limits of a strategy that sizes by risk (sizing.size), and the drawdown from which on nothing is entered.
    limits: sizing.Limits | None = None
    max_drawdown: float = 1.0


def equal_stake(rules: Rules, account: float, used: float) -> float:
    """freqtrade's stake "unlimited": an equal share of the account for each slot, at most what is free."""
    total = account * rules.tradable
    return min(total / rules.slots, min(total - used, account - used))


def simulate(outcomes: Sequence[Outcome], rules: Rules) -> list[Trade]:
    """The trades that a backtest makes of these entries, in the order of their exits.

    At each candle freqtrade handles the pairs with open trades first, then the others in the order of the whitelist; of
    each an entry comes before the exits, so that a pair does not enter in the candle of its exit, and a slot that was
    freed serves the pairs after it.
    """
    entries: dict[int, dict[str, Outcome]] = {}
    for each in outcomes:
        entries.setdefault(each.opened, {}).setdefault(each.pair, each)
    times = sorted({*entries, *(each.closed for each in outcomes)})
    locks = Locks(rules.protections, rules.timeframe_ms, rules.balance)
    held: dict[str, Open] = {}
    account, done = rules.balance, list[Trade]()
    high, deepest = account, 0.0
    for now in times:
        here = entries.get(now, {})
        for pair in dict.fromkeys((*held, *rules.pairs)):
            one = here.get(pair)
            if (
                one is not None
                and pair not in held
                and len(held) < rules.slots
                and not locks.locked(pair, now, one.side)
            ):
                taken = _sized(one, rules, account, list(held.values())) if deepest <= rules.max_drawdown else None
                if taken is not None:
                    held[pair] = taken
            mine = held.get(pair)
            if mine is not None and mine.outcome.closed <= now:
                del held[pair]
                profit, ratio = _earned(mine, rules.cost)
                account += profit
                high = max(high, account)
                deepest = max(deepest, 1.0 - account / high)
                done.append(Trade(*mine, profit, ratio, account))
                locks.exited(Closed(pair, mine.outcome.side, now, mine.outcome.reason, ratio, profit))
    return done


def _sized(one: Outcome, rules: Rules, account: float, held: Collection[Open]) -> Open | None:
    used = sum(h.stake for h in held)
    stake = equal_stake(rules, account, used)
    if rules.limits is not None and one.way:
        in_market = sum(h.stake * h.outcome.leverage for h in held)
        equity = account * rules.tradable
        stake = sizing.size(equity, in_market, one.way, one.leverage, equity - used, limits=rules.limits).stake
    stake = min(stake, account * rules.tradable - used, account - used)
    amount = stake / one.entry * one.leverage
    step = (rules.steps or {}).get(one.pair, 0.0)
    if step:
        amount = floor(amount / step + 1e-9) * step
    if amount <= 0:
        return None
    return Open(one, amount * one.entry / one.leverage, amount)


def _earned(trade: Open, cost: float) -> tuple[float, float]:
    """Profit in the stake currency, and as freqtrade's ratio of the margin."""
    one, amount = trade.outcome, trade.amount
    begin = amount * one.entry * (1 - cost if one.is_short else 1 + cost)
    end = amount * one.exit * (1 + cost if one.is_short else 1 - cost)
    end += -one.funding * amount if one.is_short else one.funding * amount
    profit = begin - end if one.is_short else end - begin
    ratio = (1 - end / begin if one.is_short else end / begin - 1) * one.leverage
    return profit, ratio

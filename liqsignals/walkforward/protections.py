"""freqtrade's protections on simulated trades: what each locks after an exit, as its 2026.9 decides it in a backtest.

freqtrade asks its protections after every exit; a lock ends at the next candle after its time is over. An entry is
refused while a lock of its pair, or of all pairs, and of its side stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from liqsignals.clock import MINUTE
from liqsignals.errors import InputError

_MS = MINUTE // 1_000_000
#: Reasons of exits that StoplossGuard counts.
STOPS = ("stop_loss", "trailing_stop_loss", "stoploss_on_exchange", "liquidation")
KNOWN = ("CooldownPeriod", "StoplossGuard", "MaxDrawdown", "LowProfitPairs")


class Closed(NamedTuple):
    """A trade that was closed: what protections look at. Times in ms."""

    pair: str
    side: str
    at: int
    reason: str
    #: Of the margin, and in the stake currency.
    ratio: float
    profit: float


@dataclass
class Locks:
    """The locks of one simulation: entries that are refused."""

    rules: Sequence[Mapping[str, Any]]
    timeframe_ms: int
    balance: float
    closed: list[Closed] = field(default_factory=list)
    #: Pair ("*": all), side ("*": both), end (ms).
    _standing: list[tuple[str, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        unknown = sorted({str(rule.get("method")) for rule in self.rules} - set(KNOWN))
        if unknown:
            raise InputError(
                f"walkforward: the protection {', '.join(unknown)} is not simulated; known are {', '.join(KNOWN)}"
            )

    def locked(self, pair: str, at: int, side: str) -> bool:
        return any(end > at and which in (pair, "*") and of in (side, "*") for which, of, end in self._standing)

    def exited(self, trade: Closed) -> None:
        """Ask every protection after an exit: those of the pair first, then the global ones."""
        self.closed.append(trade)
        for of_pair in (True, False):
            for rule in self.rules:
                found = self._asked(rule, trade, of_pair)
                if found is None:
                    continue
                until, side = found
                pair = trade.pair if of_pair else "*"
                if not self.locked(pair, until, side):
                    self._standing.append((pair, side, (until // self.timeframe_ms + 1) * self.timeframe_ms))

    def _asked(self, rule: Mapping[str, Any], trade: Closed, of_pair: bool) -> tuple[int, str] | None:
        """End (ms) and side of the lock that a protection wants, None for none."""
        method = rule["method"]
        globally = method == "MaxDrawdown" or (method == "StoplossGuard" and not rule.get("only_per_pair", False))
        if method == "MaxDrawdown" if of_pair else not globally:
            return None
        since = trade.at - self._minutes(rule, "lookback_period") * _MS
        recent = [t for t in self.closed if t.at > since and (not of_pair or t.pair == trade.pair)]
        side = trade.side if rule.get("only_per_side", False) else "*"
        if method == "StoplossGuard":
            limit = rule.get("required_profit", 0.0)
            recent = [t for t in recent if t.reason in STOPS and t.ratio < limit and side in ("*", t.side)]
            wanted = len(recent) >= rule.get("trade_limit", 10)
        elif method == "LowProfitPairs":
            profit = sum(t.ratio for t in recent if side in ("*", t.side))
            wanted = len(recent) >= rule.get("trade_limit", 1) and profit < rule.get("required_profit", 0.0)
        elif method == "MaxDrawdown":
            wanted = len(recent) >= rule.get("trade_limit", 1) and self._drawdown(rule, recent, since) > rule.get(
                "max_allowed_drawdown", 0.0
            )
        else:
            wanted = bool(recent)
        return (self._end(rule, max(t.at for t in recent)), side) if wanted else None

    def _drawdown(self, rule: Mapping[str, Any], recent: Sequence[Closed], since: int) -> float:
        equity = rule.get("calculation_mode", "ratios") == "equity"
        begin = self.balance + sum(t.profit for t in self.closed if t.at <= since) if equity else 0.0
        total, high, worst = 0.0, 0.0, 0.0
        for t in sorted(recent, key=lambda t: t.at):
            total += t.profit if equity else t.ratio
            high = max(high, total)
            worst = max(worst, (high - total) / (begin + high) if equity else high - total)
        return worst

    def _minutes(self, rule: Mapping[str, Any], key: str) -> int:
        if f"{key}_candles" in rule:
            return int(rule[f"{key}_candles"]) * self.timeframe_ms // _MS
        return int(rule.get(key, 60))

    def _end(self, rule: Mapping[str, Any], last: int) -> int:
        if "unlock_at" not in rule:
            return last + self._minutes(rule, "stop_duration") * _MS
        hour, minute = map(int, rule["unlock_at"].split(":"))
        day = 24 * 60 * _MS
        end = last // day * day + (hour * 60 + minute) * _MS + last % _MS
        return end if end >= last else end + day

"""What a backtest earned and what it paid: read from freqtrade's own file of results, as data and as text."""

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from liqsignals.clock import duration_ns
from liqsignals.errors import InputError
from liqsignals.report.console import console

#: Differences below this are freqtrade's rounding: it keeps eight decimals of a trade.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Account:
    """One strategy's backtest. Money is in the stake currency; costs are negative, what was received positive."""

    strategy: str
    timeframe: str
    #: The timeframe that the strategy's source names; None where it names none.
    written_for: str | None
    currency: str
    balance: float
    trades: int
    #: Price change of the filled amounts, before fees and funding.
    gross: float
    funding: float
    fees: float
    #: Sum of freqtrade's `profit_abs`.
    net: float
    #: Trades and net of each exit reason, the most frequent first.
    exits: tuple[tuple[str, int, float], ...]
    #: Share of the span in which a trade was open.
    exposure: float
    #: Mean position over the span, as a multiple of the starting balance.
    position: float
    #: Mean change of the pairs' closes over the span, freqtrade's "Market change".
    market: float

    @property
    def rest(self) -> float:
        """What gross, funding and fees do not explain of freqtrade's net profit."""
        return self.net - (self.gross + self.funding + self.fees)


def accounts(results: Path) -> list[Account]:
    """Accounts of the strategies in a file of freqtrade's results. Raises InputError for a file that is none."""
    with _opened(results) as archive:
        content = json.loads(archive.read(f"{results.stem}.json"))
        return [
            _account(name, stats, _written_for(archive, f"{results.stem}_{name}.py", name))
            for name, stats in content["strategy"].items()
        ]


def used_config(results: Path) -> dict[str, Any]:
    """The configuration that a backtest ran with, all files and options merged, as freqtrade kept it."""
    with _opened(results) as archive:
        found: dict[str, Any] = json.loads(archive.read(f"{results.stem}_config.json"))
        return found


def _opened(results: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(results)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{results}: cannot be read ({error})", "run the backtest again") from error


def _written_for(archive: zipfile.ZipFile, source: str, name: str) -> str | None:
    if source not in archive.namelist():
        return None
    text = archive.read(source).decode("utf-8", "replace")
    body = re.split(rf"^class {name}\b", text, maxsplit=1, flags=re.MULTILINE)[-1]
    found = re.search(r"^\s+timeframe\s*(?::\s*str\s*)?=\s*[\"'](\w+)[\"']", body, re.MULTILINE)
    return found[1] if found else None


def _account(name: str, stats: Mapping[str, Any], written_for: str | None) -> Account:
    trades = stats["trades"]
    begin, end = stats["backtest_start_ts"], stats["backtest_end_ts"]
    by_reason: dict[str, list[float]] = {}
    for trade in trades:
        by_reason.setdefault(trade["exit_reason"], []).append(trade["profit_abs"])
    held = sum(
        (trade["close_timestamp"] - trade["open_timestamp"]) * trade["stake_amount"] * (trade["leverage"] or 1.0)
        for trade in trades
    )
    span = max(end - begin, 1)
    return Account(
        strategy=name,
        timeframe=stats["timeframe"],
        written_for=written_for,
        currency=stats["stake_currency"],
        balance=float(stats["starting_balance"]),
        trades=len(trades),
        gross=sum(map(_gross, trades)),
        funding=sum(trade["funding_fees"] or 0.0 for trade in trades),
        fees=-sum(map(_fees, trades)),
        net=sum(trade["profit_abs"] for trade in trades),
        exits=tuple(sorted(((r, len(p), sum(p)) for r, p in by_reason.items()), key=lambda row: (-row[1], row[0]))),
        exposure=_union([(t["open_timestamp"], t["close_timestamp"]) for t in trades]) / span,
        position=held / span / float(stats["starting_balance"]),
        market=float(stats["market_change"]),
    )


def _gross(trade: Mapping[str, Any]) -> float:
    """Price change of a trade's filled orders: what was sold less what was bought."""
    bought = sum(_value(o) for o in trade["orders"] if o["ft_order_side"] == "buy")
    sold = sum(_value(o) for o in trade["orders"] if o["ft_order_side"] != "buy")
    return float(sold - bought)


def _fees(trade: Mapping[str, Any]) -> float:
    return float(sum(_value(o) * trade["fee_open" if o["ft_is_entry"] else "fee_close"] for o in trade["orders"]))


def _value(order: Mapping[str, Any]) -> float:
    """Value of an order; freqtrade keeps those that were never filled, too."""
    return order["amount"] * order["safe_price"] if order["order_filled_timestamp"] else 0.0


def _union(spans: Sequence[tuple[int, int]]) -> int:
    """Length of the union of spans."""
    total, reached = 0, 0
    for begin, end in sorted(spans):
        total += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def timeframe_warning(account: Account) -> str:
    """What another timeframe than the strategy's own changes; empty where it is its own."""
    if account.written_for in (None, account.timeframe):
        return ""
    ratio = duration_ns(account.timeframe) / duration_ns(str(account.written_for))
    return (
        f"{account.strategy} is written for {account.written_for} and ran at {account.timeframe}: all that it counts in"
        f" candles (averages, windows) is {ratio:.3g} times as long as it was meant to be"
    )


def print_accounts(found: Sequence[Account], title: str = "") -> None:
    """Print what each strategy earned and paid, in total and per trade, its exits, and buy and hold beside it."""
    for a in found:
        table = Table(
            title=f"{title}{a.strategy} at {a.timeframe}: {a.trades} trades, {a.currency}", title_justify="left"
        )
        for column in ("", "total", "per trade", "of the starting balance"):
            table.add_column(column, justify="right" if column else "left")
        rows = [("gross (price)", a.gross), ("funding", a.funding), ("fees", a.fees)]
        if abs(a.rest) > _ROUNDING * max(1, a.trades):
            rows.append(("not explained by freqtrade's orders", a.rest))
        for what, value in (*rows, ("net (freqtrade's profit)", a.net)):
            each = f"{value / a.trades:+,.2f}" if a.trades else "-"
            table.add_row(what, f"{value:+,.2f}", each, f"{value / a.balance:+.2%}")
        table.add_row("buy and hold, 1x, no costs", f"{a.market * a.balance:+,.2f}", "-", f"{a.market:+.2%}")
        console.print(table)
        for reason, count, net in a.exits:
            console.print(f"  exit {reason}: {count} trades, {net:+,.2f}", markup=False)
        console.print(
            f"  in the market {a.exposure:.1%} of the time; mean position {a.position:.2f} x the starting balance"
        )

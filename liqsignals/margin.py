"""Liquidation prices: Binance USD-M isolated formula with maintenance brackets chosen by notional.

Source: Binance support FAQ b3c689c1f50a44cabb3a84e663b81d93 (the formula) and the leverage brackets of
BTCUSDT and typical altcoins as bundled with freqtrade 2026.9 (one present-day snapshot; brackets change several times
a year). Other venues' formulas differ by fees and deductions that stay below one bucket of the map.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bracket:
    """One row of a venue's table: positions of at least `floor` USD notional."""

    floor: float
    maintenance: float
    max_leverage: float
    #: Deduction (USD) that makes maintenance continuous at the floor.
    cum: float


def _table(*rows: tuple[float, float, float]) -> tuple[Bracket, ...]:
    """Brackets with the deductions that continuity gives: cum_n = cum_(n-1) + floor_n (m_n - m_(n-1))."""
    table: list[Bracket] = []
    for floor, maintenance, leverage in rows:
        cum = table[-1].cum + floor * (maintenance - table[-1].maintenance) if table else 0.0
        table.append(Bracket(floor, maintenance, leverage, cum))
    return tuple(table)


#: BTC and ETH, other large coins (SOL's rows), and everything else: floor USD, maintenance rate, maximum leverage.
MAJORS = _table(
    (0, 0.004, 150), (300_000, 0.005, 100), (800_000, 0.0065, 75), (3_000_000, 0.01, 50), (12_000_000, 0.02, 25),
)  # fmt: skip
LARGE = _table(
    (0, 0.005, 100), (50_000, 0.0065, 75), (400_000, 0.01, 50), (1_000_000, 0.02, 25), (4_000_000, 0.025, 20)
)
LARGE_COINS = frozenset(("SOL", "XRP", "DOGE", "BNB", "ADA", "LINK", "AVAX", "LTC"))
OTHERS = _table((0, 0.01, 75), (10_000, 0.015, 50), (60_000, 0.02, 25), (300_000, 0.05, 10))


def brackets(pair: str) -> tuple[Bracket, ...]:
    """Maintenance brackets of a pair's coin."""
    coin = pair.split("/")[0]
    return MAJORS if coin in ("BTC", "ETH") else LARGE if coin in LARGE_COINS else OTHERS


def bracket_at(table: tuple[Bracket, ...], notional: float) -> Bracket:
    """Bracket that holds a notional (USD)."""
    return [b for b in table if b.floor <= notional][-1]


def liquidation_ratio(side: int, leverage: float, notional: float, table: tuple[Bracket, ...]) -> float:
    """Liquidation price / entry price of an isolated position (side 0 long, 1 short).

    long  (1 - 1/L - cum/N) / (1 - m),  short  (1 + 1/L + cum/N) / (1 + m), with m and cum of the bracket that holds
    the notional AT the liquidation price (N is the notional at entry): found by going up the table until it fits.

    >>> round(60_000 * liquidation_ratio(0, 20, 60_000, MAJORS), 1)
    57228.9
    >>> round(60_000 * liquidation_ratio(1, 20, 60_000, MAJORS), 1)
    62749.0
    """
    ratio = 1.0
    for _ in range(len(table)):
        b = bracket_at(table, notional * ratio)
        if side == 0:
            found = (1.0 - 1.0 / leverage - b.cum / notional) / (1.0 - b.maintenance)
        else:
            found = (1.0 + 1.0 / leverage + b.cum / notional) / (1.0 + b.maintenance)
        if bracket_at(table, notional * found) is b:
            return found
        ratio = found
    return found

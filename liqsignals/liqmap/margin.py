"""Liquidation prices: Binance USD-M isolated formula with maintenance brackets chosen by notional.

Source: Binance support FAQ b3c689c1f50a44cabb3a84e663b81d93 (the formula) and the leverage brackets of
BTCUSDT and typical altcoins as bundled with freqtrade 2026.9 (one present-day snapshot; brackets change several times
a year). Other venues' formulas differ by fees and deductions that stay below one bucket of the map.
"""

from liqsignals.venues import Bracket, bracket_at


def liquidation_ratio(side: int, leverage: float, notional: float, table: tuple[Bracket, ...]) -> float:
    """Liquidation price / entry price of an isolated position (side 0 long, 1 short).

    long  (1 - 1/L - cum/N) / (1 - m),  short  (1 + 1/L + cum/N) / (1 + m), with m and cum of the bracket that holds
    the notional AT the liquidation price (N is the notional at entry): found by going up the table until it fits.

    >>> from liqsignals.venues import MAJORS
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

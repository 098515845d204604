"""Facts of each exchange: units and labels of open interest, funding intervals, maintenance brackets."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liqsignals.clock import parse_time
from liqsignals.errors import InputError
from liqsignals.records import Float64Array


@dataclass(frozen=True)
class Venue:
    """Units of an exchange's open interest."""

    #: One-sided base units per unit of `open_interest_amount`.
    base_per_unit: float
    evidence: str


#: Exchanges whose units are known. Any other exchange is an error: units are never guessed.
VENUES = {
    "binance": Venue(1.0, "sumOpenInterest: coins, one-sided (USD-M market data documentation)"),
    "bybit": Venue(0.5, "openInterest: coins, both sides summed (Bybit v5 docs, market/open-interest)"),
}


#: Other names of exchanges: ccxt has one for each of their markets.
_ALIASES = {"binanceusdm": "binance"}


def exchange_name(name: str) -> str:
    """An exchange's name as freqtrade reads it, which lowers it.

    >>> exchange_name("Binance"), exchange_name("binanceusdm")
    ('binance', 'binance')
    """
    name = name.strip().lower()
    return _ALIASES.get(name, name)


def known_exchange(datadir: Path) -> str | None:
    """Exchange that a data directory is named after (`binance`, `binance-2024`), None where it is not known."""
    # A link's own name counts, too: `binance` may lie on another disk.
    for path in (datadir.absolute(), datadir.resolve()):
        name = path.name.lower()
        for known in (*VENUES, *_ALIASES):
            if name == known or (name.startswith(known) and not name[len(known)].isalnum()):
                return exchange_name(known)
    return None


def coin(market: str) -> str:
    """The coin of a market as vendors spell it, without the factor of 1000PEPE.

    >>> [coin(text) for text in ("BTCUSDT", "BTC-USDT-SWAP", "1000PEPE/USDT:USDT", "XBTUSD", "btc")]
    ['BTC', 'BTC', 'PEPE', 'BTC', 'BTC']
    """
    text = re.sub(r"[^A-Z0-9]", "", market.upper())
    found = re.match(r"(?:10{3,6})?([A-Z0-9]*?[A-Z][A-Z0-9]*?)(?:USDT|USDC|FDUSD|BUSD|USD|$)", text)
    name = found[1] if found else text
    return "BTC" if name == "XBT" else name


def exchange_of(datadir: Path) -> str:
    """Exchange that a data directory belongs to: its name, or its name's first part (`binance-2024`).

    Raises InputError for an exchange whose units of open interest are not known.
    """
    exchange = known_exchange(datadir)
    if exchange is not None:
        return exchange
    raise InputError(
        f"the data directory {datadir} is named '{datadir.resolve().name}', and liqsignals does not know the "
        f"open-interest units of such an exchange. It knows: {', '.join(VENUES)}",
        "point --datadir at freqtrade's folder of one of them, for example user_data/data/binance",
    )


def check_exchange(exchange: str) -> None:
    """Raise InputError for an exchange whose open-interest units are not known."""
    if exchange not in VENUES:
        raise InputError(
            f"liqsignals does not know the open-interest units of the exchange '{exchange}'; it knows: "
            f"{', '.join(VENUES)}"
        )


#: Whether a label of open interest or of a ratio is the end or the start of its period.
LABEL_END, LABEL_START = 0, 1
#: From this UTC day on, Binance's labels are the start of a period, before it the end (binance-public-data issue 491).
BINANCE_FLIP = parse_time("2026-06-25T00:00:00Z")


def documented_convention(exchange: str, label: int) -> int:
    """LABEL_END or LABEL_START, as documented by the vendor for a label (ns)."""
    return LABEL_END if exchange == "binance" and label < BINANCE_FLIP else LABEL_START


#: Hours between two settlements of funding, as the venues set them.
FUNDING_INTERVALS_H = (1, 2, 4, 6, 8)


def funding_interval(hours: Float64Array) -> Float64Array:
    """`hours` between settlements (n,), NaN where no venue has such an interval, because a settlement is missing."""
    return np.where(np.isin(hours, FUNDING_INTERVALS_H), hours, np.nan)


def funding_intervals(distances: Float64Array, settled: Float64Array | None = None) -> Float64Array:
    """Hours that each of n settlements covers, by the `distances` (n,) to the one before (h; the first one's is 0).

    NaN where that is not known: for the first settlement, and where rows may be missing. Rows can be missing, never too
    many, so a distance shorter than the interval so far is the new interval. A longer one is a missing settlement or a
    longer interval: what it covers is not known until the next distance repeats it (the interval changed) or returns to
    the old one. Under the longest interval that venues have, a longer distance can only be a missing row. Where the hours
    `settled` (n,) since 1970 are given, a longer interval must be one of whose multiples the hour is: venues settle at
    these, and two missing rows, one apart, are no change. A value depends on earlier rows only.

    >>> funding_intervals(np.array([0.0, 4, 4, 8, 4, 8, 8, 16, 1])).tolist()
    [nan, 4.0, 4.0, nan, 4.0, nan, 8.0, 8.0, 1.0]
    >>> funding_intervals(np.array([0.0, 4, 8, 8, 4]), np.array([0.0, 4, 12, 20, 24])).tolist()
    [nan, 4.0, nan, nan, 4.0]
    """
    out = np.full(len(distances), np.nan)
    interval, longer = np.nan, 0.0
    longest = max(FUNDING_INTERVALS_H)
    for i, hours in enumerate(distances.tolist()):
        off = settled is not None and hours > 0 and settled[i] % hours != 0
        if hours in FUNDING_INTERVALS_H and not (hours > interval and (hours != longer or off)):
            interval, longer = hours, 0.0
            out[i] = hours
        elif hours < interval or interval == longest:
            out[i] = interval
        else:
            longer = hours
    return out


#: Maximum rate per interval of any venue, as a fraction: a larger value is a percentage, or wrong.
FUNDING_RATE_MAX = 0.2


@dataclass(frozen=True)
class Bracket:
    """One row of a venue's table: positions of at least `floor` USD notional."""

    floor: float
    maintenance: float
    max_leverage: float
    #: Deduction (USD) that makes maintenance continuous at the floor.
    cum: float


def _table(*rows: tuple[float, float, float]) -> tuple[Bracket, ...]:
    """Brackets with the deductions that make maintenance continuous: cum_n = cum_(n-1) + floor_n (m_n - m_(n-1))."""
    table: list[Bracket] = []
    for floor, maintenance, leverage in rows:
        cum = table[-1].cum + floor * (maintenance - table[-1].maintenance) if table else 0.0
        table.append(Bracket(floor, maintenance, leverage, cum))
    return tuple(table)


#: BTC and ETH, other large coins (SOL's rows), and everything else: floor USD, maintenance rate, maximum leverage.
MAJORS = _table(
    (0, 0.004, 150), (300_000, 0.005, 100), (800_000, 0.0065, 75), (3_000_000, 0.01, 50), (12_000_000, 0.02, 25)
)

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

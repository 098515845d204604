"""Data that real markets do not publish: the liquidation price of every position, and every liquidation."""

from typing import Final

import numpy as np
import pandas as pd

from liqsignals.simulation.observed import dates
from liqsignals.simulation.parameters import F8
from liqsignals.simulation.state import BURN_IN_DAYS, COUNT, DAY, EVENTS, HLONG, HOUR, HSHORT, I8, LONG, NEV, STEP, Pair

#: Width of a level's bucket, in log price.
BUCKET: Final = 5e-4

_TOTALS = ["date", "open_interest", "traders_long", "traders_short", "hedged_long", "hedged_short", "positions"]


class Truth:
    """One pair's true levels, sums and liquidations, collected while it runs."""

    def __init__(self) -> None:
        self._events: list[F8] = []
        self._levels: list[tuple[int, F8, I8, I8]] = []
        self._totals: list[tuple[int, ...]] = []

    def take_events(self, m: Pair) -> None:
        """Copy the liquidations of the last steps and empty the buffer."""
        count = int(m.n[NEV])
        if count > EVENTS:
            raise RuntimeError(f"{count} liquidations in one chunk: more than the buffer holds")
        if count:
            self._events.append(m.out.events[:count].copy())
        m.n[NEV] = 0

    def snapshot(self, m: Pair) -> None:
        """Record the levels and sums of this instant."""
        b, n = m.book, m.n
        qty, long = b["qty"], b["side"] > 0
        known = (qty > 0) & (b["liq"] > 0.0)
        index = np.floor(np.log(b["liq"][known]) / BUCKET).astype(np.int64)
        low = int(index.min()) if index.size else 0
        lots, is_long = qty[known], long[known]
        # float64 weights hold whole lots exactly (< 2**53)
        longs = np.bincount((index - low)[is_long], lots[is_long]).astype(np.int64)
        shorts = np.bincount((index - low)[~is_long], lots[~is_long]).astype(np.int64)
        size = max(longs.size, shorts.size)
        longs = np.pad(longs, (0, size - longs.size))
        shorts = np.pad(shorts, (0, size - shorts.size))
        hit = np.flatnonzero(longs + shorts)
        step = int(n[STEP])
        self._levels.append((step, np.exp((hit + low + 0.5) * BUCKET), longs[hit], shorts[hit]))
        standing = (int(qty[long].sum()), int(qty[~long].sum()))
        self._totals.append((step, int(n[LONG] + n[HLONG]), *standing, int(n[HLONG]), int(n[HSHORT]), int(n[COUNT])))

    def levels(self, origin: pd.Timestamp, lots: float) -> pd.DataFrame:
        """One row per level of a snapshot: date, price, base units of longs and shorts.

        Frees the levels, so it can be called once.
        """
        frame = pd.DataFrame(
            {
                "date": dates(origin, np.repeat([x[0] for x in self._levels], [x[1].size for x in self._levels])),
                "price": np.concatenate([x for _, x, _, _ in self._levels]),
                "long_base": np.concatenate([x for _, _, x, _ in self._levels]) / lots,
                "short_base": np.concatenate([x for _, _, _, x in self._levels]) / lots,
            }
        )
        self._levels = []  # the largest data here: not in memory twice
        return frame

    def totals(self, origin: pd.Timestamp) -> pd.DataFrame:
        """Lots at every snapshot: open interest, and the sums over positions."""
        frame = pd.DataFrame(self._totals, columns=_TOTALS)
        frame["date"] = dates(origin, frame["date"].to_numpy())
        return frame

    def liquidations(self, origin: pd.Timestamp, days: int, lots: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Every liquidation after the burn-in, and their USD by hour and side."""
        raw = np.concatenate(self._events) if self._events else np.empty((0, 6))
        raw = raw[raw[:, 0] >= BURN_IN_DAYS * DAY]
        # a step's number is its start; funding acts at its end
        events = pd.DataFrame(
            {
                "date": dates(origin, raw[:, 0]),
                "side": raw[:, 1].astype(np.int64),
                "level": raw[:, 2],
                "fill": raw[:, 3],
                "base": raw[:, 4] / lots,
                "cause": np.where(raw[:, 5] > 0.0, "funding", "price"),
            }
        )
        hour = (raw[:, 0] // HOUR).astype(np.int64) - BURN_IN_DAYS * 24
        usd = raw[:, 3] * raw[:, 4] / lots
        long = raw[:, 1] > 0
        hourly = pd.DataFrame({"date": dates(origin, (BURN_IN_DAYS * 24 + np.arange(days * 24)) * HOUR)})
        hourly["liq_long_usd"] = np.bincount(hour[long], usd[long], minlength=days * 24)
        hourly["liq_short_usd"] = np.bincount(hour[~long], usd[~long], minlength=days * 24)
        return events, hourly


def standing(m: Pair, lots: float) -> pd.DataFrame:
    """The open positions of this instant."""
    alive = m.book[m.book["qty"] > 0]
    return pd.DataFrame(
        {
            "side": alive["side"],
            "base": alive["qty"] / lots,
            "entry": alive["entry"],
            "leverage": alive["leverage"],
            "liquidation": alive["liq"],
        }
    )

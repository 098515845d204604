"""The liquidation map: a book of positions, folded over a market's tape and read at candle closes."""

from liqsignals.liqmap.book import STEP, Book, Reach, reach_of
from liqsignals.liqmap.clusters import BANDS, REACH
from liqsignals.liqmap.fold import WARMUP, Fold, Memo, Plan, Reading, plan, read
from liqsignals.liqmap.parameters import HOLD, PRIOR, TRADE, LeverageClass, Parameters, standing_of

__all__ = [
    "BANDS",
    "HOLD",
    "PRIOR",
    "REACH",
    "STEP",
    "TRADE",
    "WARMUP",
    "Book",
    "Fold",
    "LeverageClass",
    "Memo",
    "Parameters",
    "Plan",
    "Reach",
    "Reading",
    "plan",
    "reach_of",
    "read",
    "standing_of",
]

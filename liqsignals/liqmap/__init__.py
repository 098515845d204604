"""The liquidation map: a book of positions, folded over a market's tape and read at candle closes."""

from liqsignals.liqmap.book import STEP, Book, distances_of
from liqsignals.liqmap.clusters import BANDS, SPAN
from liqsignals.liqmap.fold import WARMUP, Fold, FoldState, Plan, Reading, plan, read
from liqsignals.liqmap.kernels import Distances
from liqsignals.liqmap.parameters import HOLD, PRIOR, TRADE, LeverageClass, Parameters, standing_of
from liqsignals.liqmap.together import together

__all__ = [
    "BANDS",
    "HOLD",
    "PRIOR",
    "SPAN",
    "STEP",
    "TRADE",
    "WARMUP",
    "Book",
    "Distances",
    "Fold",
    "FoldState",
    "LeverageClass",
    "Parameters",
    "Plan",
    "Reading",
    "distances_of",
    "plan",
    "read",
    "standing_of",
    "together",
]

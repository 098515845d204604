"""Several venues' books on one price grid."""

from collections.abc import Sequence

import numpy as np

from liqsignals.liqmap import kernels
from liqsignals.liqmap.book import STEP, Book
from liqsignals.liqmap.kernels.read import typical_mass


def together(books: Sequence[Book], close: float, farthest: int) -> Book:
    """The sum of at least one book, in base units: a book of one class with the levels of all, for reading only.

    Levels stay at their own venue's prices, which differ by some basis points: less than a bucket. The sides'
    typical mass, which a cluster must stand out from, is taken anew from `close` out to `farthest` buckets
    (Distances.farthest).
    """
    first = min(book.origin for book in books)
    last = max(book.origin + book.mass.shape[2] for book in books)
    out = Book.opened(1, 0.0, 0, max(book.started for book in books), books[0].pace[:0].copy())
    out.mass, out.origin = np.zeros((2, 1, last - first)), first
    out.price = np.exp((np.arange(first, last) + 0.5) * STEP)
    out.edge = np.array([[last - first], [-1]], np.int64)
    for book in books:
        at = book.origin - first
        out.mass[:, 0, at : at + book.mass.shape[2]] += book.levels()
        out.stock += book.stock
    out.total = out.mass.sum(axis=2)
    for side in (kernels.LONG, kernels.SHORT):
        out.typical[side] = typical_mass(out.arrays, out.grid, close, side, farthest)
    return out

"""The map compared with the true liquidation prices of Hyperliquid's accounts."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals.clock import parse_time
from liqsignals.errors import InputError
from liqsignals.evaluation import scores
from liqsignals.evaluation.ages import COHORT, Aged
from liqsignals.evaluation.cases import Case
from liqsignals.evaluation.intervals import mean_intervals

#: Range of distances in which levels are compared with true ones.
FAR = (0.05, 0.15)
#: The snapshots' own grid: 50 bins within 30 %.
_BIN = 0.6 / 50
_FAR_RANKINGS = ("map", "uniform", "1 / distance", "map, 12 h memory", "mass > 72 h")


def true_levels(path: Path, coin: str) -> list[tuple[int, float, list[list[tuple[float, float]]]]]:
    """Snapshots of true liquidation prices: (ns, current price, [longs, shorts] as (price, USD)).

    The file has one JSON object per line, `lastUpdated` in UTC. Raises InputError for a row that is no snapshot.
    """
    out: list[tuple[int, float, list[list[tuple[float, float]]]]] = []
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise InputError(
            f"--hyperliquid {path}: cannot be read ({error.strerror})",
            "name an existing file",
        ) from error
    for n, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if coin not in row["data"]:
                continue
            of = row["data"][coin]
            levels = [
                [(float(x["price"]), float(x["value"])) for x in of[side]]
                for side in ("longLiquidations", "shortLiquidations")
            ]
            out.append((parse_time(row["lastUpdated"]), float(of["currentPrice"]), levels))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"--hyperliquid {path}: row {n} is no snapshot of levels ({error!r})",
                "remove it",
            ) from error
    if not out:
        raise InputError(
            f"--hyperliquid {path} holds no levels of {coin}",
            "leave the option out",
        )
    return sorted(out, key=lambda s: s[0])


def against_true(
    c: Case, aged: Aged, snapshots: Sequence[tuple[int, float, list[list[tuple[float, float]]]]]
) -> dict[str, Any]:
    """The map's mass at 5 .. 15 % from the price compared with true levels, in bins of 1.2 %, both sides together.

    `rank`: rank correlation over the bins (uniform: 0); `lift`: share of the true USD in the top fifth of the bins
    divided by a fifth (a tenth of 16 bins would be one or two). Books are those at the last multiple of 3 h.
    """
    at, rows = [], []
    for when, now, levels in snapshots:
        book = aged.books.get(when // COHORT * COHORT)
        if book is None:
            continue
        held, price = book
        edges = np.arange(round(FAR[0] / _BIN), int(FAR[1] / _BIN) + 1) * _BIN
        true, mass, distance = [], [], []
        for side in range(2):
            sign = -1.0 if side == 0 else 1.0
            away = sign * (price / now - 1.0)
            real = np.array([(sign * (p / now - 1.0), usd) for p, usd in levels[side]]).reshape(-1, 2)
            for a, z in pairwise(edges):
                true.append(real[(real[:, 0] >= a) & (real[:, 0] < z), 1].sum())
                cells = (away >= a) & (away < z)
                mass.append((held[side][:, cells] * price[cells]).sum(axis=1))
                distance.append(0.5 * (a + z))
        weight, by_age_ = np.array(true), np.array(mass)
        rankings = (
            by_age_.sum(axis=1),
            np.zeros(len(weight)),
            1.0 / np.array(distance),
            by_age_[:, :2].sum(axis=1),
            by_age_[:, 3],
        )
        row = np.full((2, len(_FAR_RANKINGS), 1), np.nan)
        for r, ranking in enumerate(rankings):
            even = bool((ranking == ranking[0]).all())
            row[0, r, 0] = 0.0 if even else scores.spearman(ranking, weight)
            top = np.argsort(-ranking, kind="stable")[: max(len(weight) // 5, 1)]
            if weight.sum() > 0.0:
                row[1, r, 0] = 1.0 if even else weight[top].sum() / weight.sum() * len(weight) / len(top)
        at.append(when)
        rows.append(row)
    if not rows:
        return {"snapshots": 0}
    return {
        "snapshots": len(at),
        **mean_intervals(np.array(at, np.int64), np.array(rows), ("rank", "lift"), _FAR_RANKINGS),
    }

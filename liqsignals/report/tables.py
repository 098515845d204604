"""Result tables of the commands."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from liqsignals.clock import iso
from liqsignals.liqmap import calibration, parameters
from liqsignals.report.console import console, two

if TYPE_CHECKING:
    from liqsignals.collect.download import Report


def print_fitted(name: str, fitted: calibration.Fitted) -> None:
    """Print a calibration's mix with its intervals and its scores out of sample."""
    p = fitted.parameters
    table = Table(
        title=f"{name}: report factor {p.report_factor:.3f}, score {p.score or math.nan:.3f}", title_justify="left"
    )
    for column in ("leverage", "pace", "standing, share of open interest", "90 % interval", "evidence"):
        table.add_column(column)
    for c, share, identified in zip(p.classes, parameters.standing_of(p), fitted.evidence, strict=True):
        band = "eroded margin" if c.eroded_margin else f"{c.low:g}x .. {c.high:g}x"
        pace = "holders" if c.hazard < 1 else "traders"
        low, high = c.doubt
        table.add_row(
            band, pace, f"{share:.2%}", f"{low * share:.2%} .. {high * share:.2%}", "yes" if identified else "prior"
        )
    console.print(table)
    scored = dict(fitted.provenance["out_of_sample"])
    since = scored.pop("from")
    console.print(
        f"  fitted on {fitted.provenance['hours']} hours; "
        + (
            f"scores on those since {since}, from a fit on the hours before:"
            if scored
            else "not scored: too few hours before the held-out ones"
        )
    )
    for pair, score in scored.items():
        console.print(f"  {pair}, long / short: " + "; ".join(f"{what} {two(score[key])}" for what, key in _SCORES))


_SCORES = (
    ("all hours", "rank"),
    ("> 0.5 %", "rank_moved"),
    ("R2 of log USD", "r2"),
    ("real / predicted USD", "dollars"),
)


def print_touch(scored: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Print the scores of the probability of touch by horizon (evaluation/touch.py)."""
    console.print(title, markup=False)
    for horizon, s in scored.items():
        intercept, slope = (f"{v:.2f} [{low:.2f}, {high:.2f}]" for v, low, high in (s["intercept"], s["slope"]))
        skill, independent = s["brier_skill_over_base_rate"], s["effective"]
        console.print(
            f"  {horizon}: {s['mean_stated']:.1%} stated, {s['base_rate']:.1%} touched, {s['cases']} cases"
            + (f" (as good as {independent} independent ones)" if independent else "")
            + f"; log loss {s['log_loss']:.4f}, Brier skill over the base rate"
            f" {'-' if skill is None else format(skill, '.3f')}\n    intercept {intercept}, slope {slope};"
            f" calibration error {s['ece']:.3f} (perfect: up to {s['ece_perfect_95']:.3f})",
            markup=False,
        )
    console.print(
        "  intercept 0 and slope 1 are perfect [95 %, whole weeks resampled]; calibration error: mean |stated -"
        " happened| over tenths of the cases; 95 % of perfect forecasts of as many independent cases lie below the"
        " number given",
        markup=False,
    )


def print_coverage(report: "Report") -> None:
    """Print the coverage on disk per series, and every hole."""
    table = Table(title="on disk, within the requested span", title_justify="left")
    for column in ("series", "pair", "rows", "from", "to", "holes"):
        table.add_column(column, justify="right" if column in ("rows", "holes") else "left")
    for c in report.coverage:
        ends = [iso(at)[:16] + "Z" if at is not None else "-" for at in (c.first, c.last)]
        table.add_row(c.series, c.pair, str(c.rows), *ends, str(len(c.holes)))
    console.print(table)
    for c in report.coverage:
        for hole in c.holes:
            console.print(f"hole: {c.series} {c.pair}: {hole}", markup=False)

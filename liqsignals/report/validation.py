"""Tables and notes of `liqsignals validate`, for the terminal and for validation_html.py."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

COLUMNS = (
    ("all hours", "rank"),
    ("> 0.5 % that way", "rank_moved"),
    ("prices new for 72 h", "rank_anew"),
    ("R2 of log USD", "r2"),
)


def two(values: list[float | None] | None, form: str = ".3f") -> str:
    """`long / short`, `-` for missing values.

    >>> two([0.5, None])
    '0.500 / -'
    """
    return " / ".join("-" if v is None else format(v, form) for v in values) if values else "-"


def difference(paired: Mapping[str, list[float | None]]) -> str:
    """A paired difference with its 95 % interval, long then short."""
    parts = []
    for value, low, high in zip(paired["value"], paired["low"], paired["high"], strict=True):
        if value is None:
            parts.append("-")
        elif low is None or high is None:
            parts.append(f"{value:+.3f}")
        else:
            parts.append(f"{value:+.3f} ({low:+.3f} .. {high:+.3f})")
    return "  ".join(parts)


#: A table as data: title, header, rows.
Rows = tuple[str, list[str], list[list[str]]]


def tables(found: Mapping[str, Any]) -> list[Rows]:
    """Every table of a validation, as text; each cell is long / short unless its title says otherwise."""
    out: list[Rows] = []
    scored = f"{found['scored'][0][:10]} .. {found['scored'][1][:10]}"
    out.append(
        (
            f"{found['pair']}, {scored}: rank correlation with the hour's real liquidations, long / short",
            ["", *[name for name, _ in COLUMNS], "real / predicted USD"],
            [
                [name, *[two(m["intervals"][key]["value"]) for _, key in COLUMNS], two(m["dollars"], ".2f")]
                for name, m in found["models"].items()
            ],
        )
    )
    out.append(
        (
            "Paired differences on the same hours: value (95 % interval), long, then short",
            ["", *[name for name, _ in COLUMNS]],
            [[name, *[difference(d[key]) for _, key in COLUMNS]] for name, d in found["paired"].items()],
        )
    )
    own = found["models"]["map"]
    out.append(
        (
            "The map by month, long / short",
            ["", "hours", "all hours", "> 0.5 % that way", "R2 of log USD", "real / predicted USD"],
            [
                [month, str(m["hours"]), two(m["rank"]), two(m["rank_moved"]), two(m["r2"]), two(m["dollars"], ".2f")]
                for month, m in own["months"].items()
            ],
        )
    )
    ages = found["by_age"]
    ranked = COLUMNS[:3]
    out.append(
        (
            "By age of the swept mass: share of USD, in hours at new prices, rank correlation; long / short",
            ["", "share", "share at new prices", *[name for name, _ in ranked]],
            [
                [
                    name,
                    two(a["share"], ".2f"),
                    two(a["share_anew"], ".2f"),
                    *[two(a[key]["value"]) for _, key in ranked],
                ]
                for name, a in ages["ages"].items()
            ]
            + [[name, "", "", *[difference(d[key]) for _, key in ranked]] for name, d in ages["paired"].items()],
        )
    )
    levels = found["levels"]
    if levels["snapshots"]:
        kinds = (
            ("reached within 24 h", "swept"),
            ("liquidated USD", "liquidated"),
            ("the same, among those reached", "among_swept"),
        )
        out.append(
            (
                f"Lift of the top tenth of the levels within 15 %, {levels['snapshots']} days; 1 = no better than any, "
                "long / short",
                ["ranked by", *[name for name, _ in kinds]],
                [
                    [
                        name,
                        *[
                            difference(levels[key][name]) if " - " in name else two(levels[key][name]["value"], ".2f")
                            for _, key in kinds
                        ],
                    ]
                    for name in levels["swept"]
                ],
            )
        )
    if "by_candle" in found:
        sizes = found["by_candle"]
        out.append(
            (
                "The same map on other candles, same hours, long / short",
                ["", *[name for name, _ in COLUMNS], "real / predicted USD"],
                [
                    [name, *[two(s[key]["value"]) for _, key in COLUMNS], two(s["dollars"], ".2f")]
                    for name, s in sizes["sizes"].items()
                ]
                + [[name, *[difference(d[key]) for _, key in COLUMNS], ""] for name, d in sizes["paired"].items()],
            )
        )
    true = found.get("true_levels")
    if true and true["snapshots"]:
        out.append(
            (
                f"True levels at 5 .. 15 %, {true['snapshots']} snapshots, both sides together: value (95 % interval)",
                ["ranked by", "rank correlation", "lift of the top fifth of the bins"],
                [[name, difference(true["rank"][name]), difference(true["lift"][name])] for name in true["rank"]],
            )
        )
    return out


def overview(found: Sequence[Mapping[str, Any]]) -> Rows:
    """A line a pair: hours, rank correlations and dollars of its map, long / short."""
    rows = [
        [
            one["pair"],
            str(one["hours"]),
            *[two(one["models"]["map"]["intervals"][key]["value"]) for _, key in COLUMNS],
            two(one["models"]["map"]["dollars"], ".2f"),
        ]
        for one in found
    ]
    return ("The map of each pair", ["", "hours", *[name for name, _ in COLUMNS], "real / predicted USD"], rows)


def facts(found: Mapping[str, Any]) -> list[str]:
    """Notes that accompany the tables."""
    moved, new = found["hours_moved"], found["hours_anew"]
    out = [
        f"{found['hours']} hours scored, {moved[0]} fell and {moved[1]} rose more than 0.5 %, {new[0]} and {new[1]} "
        f"reached prices not traded for 72 h; baselines fitted before {found['fitted_until']}",
        f"coverage {found['coverage']:.1%}: a NaN prediction scores as 0",
    ]
    if found["in_sample"]:
        out.append(
            f"NOT OUT OF SAMPLE: the calibration was fitted on hours of {' .. '.join(found['calibration_saw'])}. "
            "Way out: liqsignals calibrate --until "
            f"{found['fitted_until']}, then --calibration with that file"
        )
    return out


def rich_tables(found: Mapping[str, Any]) -> list[Table]:
    """`tables` for a terminal."""
    return rich(tables(found))


def rich(parts: Sequence[Rows]) -> list[Table]:
    """Tables as data for a terminal."""
    out = []
    for title, header, rows in parts:
        table = Table(title=title, title_justify="left")
        for name in header:
            table.add_column(name, no_wrap=not name)
        for row in rows:
            table.add_row(*row)
        out.append(table)
    return out

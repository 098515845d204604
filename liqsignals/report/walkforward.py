"""What `liqsignals walkforward` prints and draws: tables of its result.json, and one HTML page."""

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from liqsignals.errors import InputError

#: A table as data: title, header, rows.
Rows = tuple[str, list[str], list[list[str]]]


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction as a signed percentage, `-` for None.

    >>> percent(-0.0123), percent(None)
    ('-1.23 %', '-')
    """
    return "-" if value is None else f"{100 * value:+.{digits}f} %"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def headline(name: str, judged: Mapping[str, Any]) -> str:
    """One line on a strategy: trades, net, account and verdict."""
    account = judged["accounts"]["as judged"]
    return (
        f"{name}: {judged['trades']} trades ({judged['entries_a_pair_a_week']:.1f} a pair and week), net"
        f" {percent(judged['net'], 3)} and {number(judged['r'])} R a trade, account {percent(account['growth'])},"
        f" drawdown {100 * account['drawdown']:.1f} %, worst month {percent(account['worst_month'])}. Verdict:"
        f" {judged['verdict']} (long: {judged['by_side']['long']['verdict']}, short:"
        f" {judged['by_side']['short']['verdict']})"
    )


def tables(result: Mapping[str, Any], *, brief: bool = False) -> Iterator[Rows]:
    """Every table of a result, as text; `brief`: those and the columns that fit into a terminal."""
    for name, judged in result["strategies"].items():
        yield (
            f"{name} against its placebos: net a trade in % of the position, costs included",
            ["placebo", "placebo's net", "strategy's less it, 95 %", "verdict"],
            [
                [placebo, percent(v["placebo_mean"], 3), _interval(v), v["word"]]
                for placebo, v in judged["placebos"].items()
            ],
        )
        yield (
            f"{name}: the account over all slices",
            ["", "trades", "growth", "drawdown", "worst month", "worst R", "worst trade"],
            [
                [
                    case, str(a["trades"]), percent(a["growth"], 1), f"{100 * a['drawdown']:.1f} %",
                    percent(a["worst_month"], 1), number(a["worst_trade_r"]), percent(a["worst_trade_account"], 1),
                ]
                for case, a in judged["accounts"].items()
            ],
        )  # fmt: skip
        if not brief:
            yield _months(name, judged)
        yield (
            f"{name}: every slice; beside it trades and net with the shipped calibration (hindsight)",
            ["slice", "calibration", "trades", "net", "R", "account", "market", "hindsight"],
            [
                [
                    s["slice"], s["calibration"], str(s["trades"]), percent(s["net"], 3), number(s["r"]),
                    percent(s["growth"], 1), percent(s["market"], 1),
                    _beside(s["hindsight"]),
                ]
                for s in judged["slices"]
            ]
            + ([_hindsight_row(judged["hindsight"])] if judged["hindsight"] else []),
        )  # fmt: skip
        parts = {
            **judged["pairs"],
            **judged["sides"],
            **judged["tags"],
            **{f"exit {k}": v for k, v in judged["exits"].items()},
        }
        yield (
            f"{name}: by pair, side, tag and exit",
            ["", "trades", "net a trade", "R"],
            [
                [part, str(v["trades"]), percent(v["net"], 3), number(v["r"])]
                for part, v in parts.items()
                if v["trades"]
            ],
        )


def _hindsight_row(found: Mapping[str, Any]) -> list[str]:
    return ["hindsight", "shipped", str(found["trades"]), percent(found["net"], 3), number(found["r"]),
            percent(found["growth"], 1), "", ""]  # fmt: skip


def _beside(found: Mapping[str, Any] | None) -> str:
    return f"{found['trades']}: {percent(found['net'], 3)}" if found else "-"


def _interval(verdict: Mapping[str, Any]) -> str:
    if verdict["difference"] is None:
        return "-"
    low, value, high = (f"{100 * verdict[name]:+.3f}" for name in ("low", "difference", "high"))
    return f"{value} [{low}, {high}]"


def rich_table(rows: Rows, title: str = "") -> Table:
    name, header, lines = rows
    table = Table(title=f"{title}{name}", title_justify="left")
    for k, column in enumerate(header):
        table.add_column(column, justify="right" if k else "left")
    for line in lines:
        table.add_row(*line)
    return table


def markdown(rows: Rows) -> str:
    """A table in Markdown."""
    name, header, lines = rows
    marks = "|---|" + "---:|" * (len(header) - 1)
    return "\n".join([f"**{name}**", "", _line(header), marks, *map(_line, lines)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_html(result: Mapping[str, Any], path: Path, title: str) -> None:
    """One page, which needs no network: equity and drawdown, the monthly table, the life of every trade, all tables.

    Raises InputError where plotly is not installed.
    """
    try:
        import plotly.graph_objects as go
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise InputError("the report needs plotly", "pip install 'liqsignals[see]'") from error
    parts = [f"<h1>{html.escape(title)}</h1>", f"<script>{get_plotlyjs()}</script>"]
    for name, judged in result["strategies"].items():
        parts.append(f"<h2>{html.escape(name)}</h2><p>{html.escape(headline(name, judged))}</p>")
        equity, down = go.Figure(), go.Figure()
        for case, account in judged["accounts"].items():
            at = [stamp for stamp, _ in account["equity"]]
            values = [value for _, value in account["equity"]]
            equity.add_scatter(x=at, y=values, name=case, line_shape="hv")
            high, falls = 0.0, []
            for value in values:
                high = max(high, value)
                falls.append(100 * (value / high - 1))
            down.add_scatter(x=at, y=falls, name=case, line_shape="hv")
        lives = go.Figure()
        for life in judged["lives"]:
            won = life["net"] > 0
            lives.add_scatter(
                x=[_minutes(life, 0), _minutes(life, 1)],
                y=[0, life["r"]],
                mode="lines+markers",
                line={"color": "#3a86d6" if won else "#e67e14", "width": 1},
                marker={"size": 3},
                showlegend=False,
                hovertext=_told(life),
                hoverinfo="text",
            )
        for figure, y, x in (
            (equity, "account", ""),
            (down, "below its highest, %", ""),
            (lives, "net of a trade, R (entry to exit; hover for what it was)", "minutes held"),
        ):
            figure.update_layout(template="plotly_white", height=360, yaxis_title=y, xaxis_title=x, margin={"t": 20})
            parts.append(figure.to_html(full_html=False, include_plotlyjs=False))
    parts += map(_html, tables(result))
    path.write_text(
        f"<!doctype html><meta charset='utf-8'><title>{html.escape(title)}</title><style>{_STYLE}</style>"
        + "\n".join(parts)
    )


_STYLE = (
    "body{font:14px system-ui,sans-serif;max-width:1200px;margin:2em auto;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}caption{text-align:left;font-weight:600}"
)


def _months(name: str, judged: Mapping[str, Any]) -> Rows:
    accounts = judged["accounts"]
    months = list(accounts["as judged"]["months"])
    return (
        f"{name}: the account by month",
        ["month", *accounts],
        [[month, *[percent(a["months"][month]) for a in accounts.values()]] for month in months],
    )


def _minutes(life: Mapping[str, Any], end: int) -> float:
    return float(end * (life["closed"] - life["opened"]) / 60_000)


def _told(life: Mapping[str, Any]) -> str:
    import pandas as pd

    begun = pd.Timestamp(life["opened"], unit="ms").strftime("%Y-%m-%d %H:%M")
    return (
        f"{life['pair']} {'short' if life['is_short'] else 'long'} {begun}<br>{life['tag']}: in at {life['entry']:g}, "
        f"stop {life['stop']:g}, out at {life['exit']:g} ({life['reason']})<br>{percent(life['net'], 3)}, "
        f"{number(life['r'])} R"
    )


def _html(rows: Rows) -> str:
    name, header, lines = rows
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><caption>{html.escape(name)}</caption><tr>{head}</tr>{body}</table>"

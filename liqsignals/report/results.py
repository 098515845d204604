"""Stored results of walk-forwards: the page docs/results.md, and the short table of the README and of `liqsignals
demo`.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from liqsignals.report import walkforward as pages
from liqsignals.report.walkforward import Rows, number, percent

START, END = "<!-- results -->", "<!-- /results -->"
#: What stands from here on in docs/results.md is written by hand and kept.
BY_HAND = "<!-- by hand -->"

#: What a SIMULATED result means, in a sentence.
SIMULATED = (
    "The SIMULATED market's result above shows that the path from data to trades works; its forced orders follow the"
    " rule that the map assumes, so its profit or loss says nothing about a real market."
)


def short(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The short table: one row a strategy and set of pairs."""
    return {
        "made": max(result["made"] for result in found)[:10],
        "rows": [
            {
                "strategy": name,
                "pairs": [pair.split("/")[0] for pair in result["pairs"]],
                "from": judged["slices"][0]["slice"],
                "to": judged["slices"][-1]["slice"],
                "trades": judged["trades"],
                "net": judged["net"],
                "r": judged["r"],
                "growth": judged["accounts"]["as judged"]["growth"],
                "worst_month": judged["accounts"]["as judged"]["worst_month"],
                "drawdown": judged["accounts"]["as judged"]["drawdown"],
                "verdict": judged["verdict"],
            }
            for result in found
            for name, judged in result["strategies"].items()
        ],
    }


def packaged() -> dict[str, Any]:
    """The short table that ships."""
    text = (resources.files("liqsignals.report") / "results.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def rows(stored: Mapping[str, Any]) -> Rows:
    """The short table as text."""
    return (
        f"Walk-forward on real data, {stored['made']} (development figures; docs/results.md)",
        ["strategy", "pairs", "months", "trades", "net", "R", "account", "verdict"],
        [
            [
                row["strategy"], " ".join(row["pairs"]), f"{row['from']} to {row['to']}", str(row["trades"]),
                percent(row["net"], 3), number(row["r"]), percent(row["growth"], 1), row["verdict"],
            ]
            for row in stored["rows"]
        ],
    )  # fmt: skip


def readme(stored: Mapping[str, Any]) -> str:
    """The short table in Markdown."""
    return pages.markdown(rows(stored))


def page(found: Sequence[Mapping[str, Any]], old: str = "") -> str:
    """docs/results.md; what the `old` one has from BY_HAND on is kept."""
    parts = [_INTRODUCTION.format(made=max(result["made"] for result in found)[:10]), readme(short(found))]
    for result in found:
        pairs = " ".join(result["pairs"])
        span = "-".join(day[:10].replace("-", "") for day in result["span"])
        costs = result["costs"]
        parts += [
            (
                f"## {', '.join(pair.split('/')[0] for pair in result['pairs'])}, {result['span'][0][:10]} to "
                f"{result['span'][1][:10]}"
            ),
            (
                f"```sh\nliqsignals walkforward -d DATADIR --pairs '{pairs}' --timerange {span} \\\n    --strategy"
                f" '{' '.join(result['strategies'])}' --fee {costs['fee']} --slippage {costs['slippage']} --draws"
                f" {result['draws']} --shuffles {result['shuffles']} --seed"
                f" {result['seed']}{''.join(f' --liquidations {pair}=FILE' for pair in result['liquidations'])}\n```"
            ),
        ]
        for name, judged in result["strategies"].items():
            again = judged["reproduced"]
            forced = judged.get("forced")
            parts += [
                f"### {name}",
                f"{pages.headline(name, judged)}. Random draws at least as good as it: "
                f"{_share(judged['placebos']['random entries']['draws_at_least_as_good'])}. Our portfolio made "
                f"{again['same']} of freqtrade's {again['trades']} trades; largest difference of profit "
                f"{again['largest_difference']:.1e} of the margin."
                + (
                    f" A long forced at every candle from {forced['from']} to {forced['to']}: {forced['entered']} of"
                    f" {forced['candles']} pairs and candles were entered; with stops at the extreme the worst account"
                    f" loss is {percent(forced['worst_account'])}, the worst trade {number(forced['worst_r'])} R."
                    if forced and forced["entered"]
                    else ""
                ),
            ]
            one = {"strategies": {name: judged}}
            parts += [pages.markdown(table) for table in pages.tables(one)]
        parts.append("Files, SHA-256:")
        parts.append("\n".join(f"- `{path}` `{digest}`" for path, digest in result["data"].items()))
        parts.append("\n".join(f"- `{name}.py` `{judged['source']}`" for name, judged in result["strategies"].items()))
    _, mark, kept = old.partition(BY_HAND)
    return "\n\n".join(parts) + "\n" + (f"\n{mark}{kept}" if mark else "")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


_INTRODUCTION = """# Results of the walk-forward

Written by `python -m liqsignals.walkforward` on {made}. **Development figures:** the strategies' ideas come from looks at
these very months (the looks are listed in issue 16), so nothing here is out of sample. A verdict counts on months and coins that
nobody has seen.

- **Slices** are calendar months at frozen defaults. Each uses a calibration fitted only on liquidations before it, and
  `none` (the prior) where there are fewer than 21 days of them. The shipped parameters of the squeeze come from before
  July 2025, hence from before every slice. Neighbouring slices of one calibration run in one backtest. The shipped
  calibration stands beside as *hindsight*: it was fitted on months that it is tried on.
- **Costs**: fee and slippage of each fill, funding as settled. Slippage is a fixed share of the price. *2x* and *3x*
  multiply both.
- **Stops at worse prices**: where the candle of a stop has a range over 1 %, the stop fills half-way to the candle's far
  extreme, or at it, at most where the margin is gone; slots, sizes, protections and the drawdown stop follow.
- **Account**: of closed trades, from 10,000 USDT, every slice with the money of the last. Open losses are not in its
  drawdown.
- **Verdicts**: [decision 111](decisions/111-verdicts-in-percent-of-the-position.md). Net is a trade's result after costs
  in % of its position; R is that over the way to its stop.
- **Deflated Sharpe ratio and probability of overfitting**: not computed. They need 100 trades and daily returns of every
  variant that was tried; the looks before left none.
"""

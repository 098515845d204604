"""The map with a backtest's trades on it: what `make demo` ends with."""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from liqsignals.clock import DAY, dates_ns
from liqsignals.data.tape import map_tape
from liqsignals.errors import InputError
from liqsignals.liqmap import calibration
from liqsignals.report.console import simulated_label
from liqsignals.report.heatmap import picture
from liqsignals.report.heatmap_html import write_html


def trades_of(results: Iterable[Path], pair: str) -> list[dict[str, Any]]:
    """A pair's trades in freqtrade's result files (backtest-result-*.zip), as `heatmap.picture` takes them, by time.

    Raises InputError for a file that cannot be read.
    """
    out: list[dict[str, Any]] = []
    for path in results:
        try:
            with zipfile.ZipFile(path) as archive:
                found = json.loads(archive.read(f"{path.stem}.json"))
            stats = found["strategy"].items()
            rows = [(name, t) for name, one in stats for t in one["trades"] if t["pair"] == pair]
            for name, trade in rows:
                opened, closed = dates_ns(
                    pd.Series(pd.to_datetime([trade["open_date"], trade["close_date"]], utc=True)), str(path)
                )
                out.append({
                    "strategy": name, "open": int(opened), "close": int(closed), "open_rate": trade["open_rate"],
                    "close_rate": trade["close_rate"], "is_short": trade["is_short"], "profit": trade["profit_ratio"],
                    "stop": trade.get("stop_loss_abs"),
                    "tag": trade.get("enter_tag") or "", "exit": trade.get("exit_reason") or "",
                })  # fmt: skip
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: its trades cannot be read ({type(error).__name__}: {error})", "run the backtest again"
            ) from error
    return sorted(out, key=lambda trade: trade["open"])


def draw_backtest(datadir: Path, pair: str, results: Iterable[Path], out: Path) -> Path:
    """Write the map over all candles of `pair` with the trades of `results` to `out` (.html). Returns `out`."""
    tape = map_tape(datadir, pair, None, None, "5m")
    at, first = int(tape.bars["event_time"][-1]), int(tape.bars["event_time"][0])
    parameters = calibration.default().parameters(pair)
    drawn = picture(tape, at, parameters, days=(at - first) / DAY + 1, trades=trades_of(results, pair))
    return write_html(drawn, out, simulated_label(datadir))

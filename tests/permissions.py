"""Runs commands whose files or folders are closed to this user: `python tests/permissions.py FOLDER`, JSON on stdout.

test_hardening.py starts it without root's right to read and write everything. FOLDER holds
`binance` (a data directory), `table.csv` and `config.json`; each case gets a copy of it, closes something and runs.
"""

import contextlib
import io
import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

PAIR = "BTC/USDT:USDT"
CANDLES = "binance/futures/BTC_USDT_USDT-5m-futures.feather"
#: What is closed, to which mode, the command (`{}` is the case's folder), and the exit code.
CASES: dict[str, tuple[str, int, str, int]] = {
    "candle file": (CANDLES, 0, "features -d {}/binance -p P -o {}/f.csv", 2),
    "futures folder": ("binance/futures", 0, "features -d {}/binance -p P -o {}/f.csv", 2),
    "data directory": ("binance", 0, "features -d {}/binance -p P -o {}/f.csv", 2),
    "folder above": ("above", 0, "features -d {}/above/binance -p P -o {}/f.csv", 2),
    "extras": ("binance/liqsignals", 0, "features -d {}/binance -p P -o {}/f.csv", 2),
    "extras named": ("other", 0, "features -d {}/binance -p P --extras {}/other/deep -o {}/f.csv", 2),
    "flows file": ("binance/liqsignals/flows/btc.csv", 0, "features -d {}/binance -p P -o {}/f.csv", 2),
    "calibration": ("config.json", 0, "features -d {}/binance -p P -o {}/f.csv --calibration {}/config.json", 2),
    "out": ("other", 0o500, "features -d {}/binance -p P -o {}/other/f.csv", 2),
    "out hidden": ("other", 0, "features -d {}/binance -p P -o {}/other/deep/f.csv", 2),
    "levels": ("other", 0o500, "map -d {}/binance -p P --every 6h -o {}/other/f.parquet", 2),
    "map": (CANDLES, 0, "map -d {}/binance -p P", 2),
    "liquidations": ("table.csv", 0, "validate -d {}/binance -p P -l {}/table.csv --no-baselines", 2),
    "report": ("other", 0o500, "validate -d {}/binance -p P -l {}/table.csv --no-baselines --report {}/other/r.html", 2),
    "true levels": ("config.json", 0, "validate -d {}/binance -p P -l {}/table.csv --no-baselines --hyperliquid {}/config.json", 2),
    "fit": ("other", 0o500, "calibrate -d {}/binance -p P -l {}/table.csv -o {}/other/c.json", 2),
    "doctor's file": (CANDLES, 0, "doctor -d {}/binance", 1),
    "doctor's folder": ("binance/futures", 0, "doctor -d {}/binance", 2),
    "doctor's extras": ("binance/liqsignals", 0, "doctor -d {}/binance", 2),
    "doctor's config": ("config.json", 0, "doctor -d {}/binance --config {}/config.json", 2),
    "download": ("binance", 0o500, "download -d {}/binance -p P --days 1 --only candles", 2),
    "download's file": (CANDLES, 0, "download -d {}/binance -p P --days 1 --only candles", 2),
    "download's folder": ("binance/futures", 0, "download -d {}/binance -p P --days 1 --only candles", 2),
    "download's extras": ("other", 0o500, "download -d {}/binance -p P --days 1 --only macro --extras {}/other", 2),
    "recorder": ("other", 0o500, "record -d {}/binance --pairs P --extras {}/other", 2),
    "recorder's raw files": ("other/raw", 0o500, "record -d {}/binance --pairs P --extras {}/other", 2),
    "recorder's old raw files": ("other/raw", 0, "record -d {}/binance --pairs P --extras {}/other", 2),
    "recorder's files of a venue": ("other/raw/okx", 0o500, "record -d {}/binance --pairs P --extras {}/other", 2),
    "simulate": ("other", 0o500, "simulate -o {}/other/market --days 15", 2),
    "demo": ("other", 0o500, "demo --out {}/other/market --days 15", 2),
    "backtest": (CANDLES, 0, "backtest -d {}/binance --pairs P --config {}/config.json --userdir {}", 2),
    "backtest's folder": ("binance/futures", 0, "backtest -d {}/binance --pairs P --config {}/config.json --userdir {}", 2),
    "logs": ("other", 0o500, "backtest -d {}/binance --pairs P --config {}/config.json --userdir {}/other", 2),
    "userdir": ("other", 0, "backtest -d {}/binance --pairs P --config {}/config.json --userdir {}/other/deep", 2),
    "paper's keep": ("other", 0o500, "paper -d {}/binance --from 2026-01-06T00:00:00Z --keep {}/other/run", 2),
    "paper's data": (CANDLES, 0, "paper -d {}/binance --from 2026-01-06T00:00:00Z --keep {}/run --pairs P", 2),
    "paper's folder": ("binance/futures", 0, "paper -d {}/binance --from 2026-01-06T00:00:00Z --keep {}/run --pairs P", 2),
    "parity": (CANDLES, 0, "parity -d {}/binance --timerange 20260105-20260106 --keep {}/run --pairs P", 2),
    "parity's folder": ("binance/futures", 0, "parity -d {}/binance --timerange 20260105-20260106 --keep {}/run --pairs P", 2),
    "parity's keep": ("other", 0o500, "parity -d {}/binance --timerange 20260105-20260106 --keep {}/other/run", 2),
    "replay's keep": ("other", 0o500, "replay -d {}/binance --from 2026-01-06T00:00:00Z --keep {}/other/run -- true", 2),
    "faults": ("config.json", 0, "replay -d {}/binance --from 2026-01-06T00:00:00Z --faults {}/config.json -- true", 2),
}  # fmt: skip


@contextlib.contextmanager
def closed(path: Path, mode: int) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


def run(folder: Path, name: str) -> dict[str, object]:
    """What the command of a case did: `code` (None where an exception came through), `said` on standard error."""
    from liqsignals.cli import main

    what, mode, command, _ = CASES[name]
    case = folder / "case"
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(folder, case, ignore=shutil.ignore_patterns("case"))
    (case / "other" / "deep").mkdir(parents=True)
    (case / "other" / "raw" / "okx").mkdir(parents=True)
    shutil.copytree(case / "binance", case / "above" / "binance")
    code: object = None
    said, out = io.StringIO(), io.StringIO()
    sys.argv = ["liqsignals", *(PAIR if w == "P" else w.replace("{}", str(case)) for w in command.split())]
    with closed(case / what, mode), contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
    return {"code": code, "said": said.getvalue(), "out": out.getvalue()}


if __name__ == "__main__":
    here = Path(sys.argv[1])
    os.chdir(here)
    names = sys.argv[2:] or list(CASES)
    print(json.dumps({name: run(here, name) for name in names}))

"""A map against real liquidations, for one pair or for a whole exchange: `liqsignals validate`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals.bulk.columns import files_of, hash_of
from liqsignals.clock import HOUR
from liqsignals.data.tape import map_tape
from liqsignals.errors import InputError
from liqsignals.evaluation import fit as fits
from liqsignals.evaluation import liquidations, validate
from liqsignals.files import replaced, stem
from liqsignals.liqmap import calibration
from liqsignals.report.console import simulated_label

#: Key of a file's JSON: the hash of what its content depends on.
INPUTS = "inputs"


@dataclass(frozen=True)
class Request:
    """What to score, for any pair: the options of `liqsignals validate`. Times are ns."""

    datadir: Path
    since: int | None = None
    until: int | None = None
    fit_until: int | None = None
    baselines: bool = True
    #: Fit a calibration on the hours before `fit_until`.
    refit: bool = False
    calibrated: str | None = None
    #: Candle sizes (ns) to compare.
    candles: tuple[int, ...] = ()
    hourly: bool = False
    hyperliquid: Path | None = None
    unit: str | None = None
    extras: Path | None = None
    exchange: str | None = None
    finest: str = "5m"

    def __post_init__(self) -> None:
        if self.refit and self.fit_until is None:
            raise InputError("validate: --refit needs --fit-until: it fits on the hours before that time")


@dataclass(frozen=True)
class Scored:
    """What came of a pair: the answer as `--json` prints it, and what pages need."""

    found: dict[str, Any]
    result: validate.Validation
    fitted: calibration.Fitted
    notes: tuple[str, ...]


def scored(request: Request, pair: str, table: Path) -> Scored:
    """Score the map of a pair against its `table` of liquidations. Raises InputError for what cannot be read or scored."""
    fitted = calibration.choose(request.calibrated).of(pair)
    tape = map_tape(request.datadir, pair, request.extras, request.exchange, request.finest)
    real = liquidations.read(table, tape, unit=request.unit)
    kept = np.ones(len(real.hours), bool)
    kept &= real.hours >= request.since if request.since is not None else True
    kept &= real.hours + HOUR <= request.until if request.until is not None else True
    if request.refit and request.fit_until is not None:
        before = kept & (real.hours < request.fit_until)
        fitted = fits.fit([fits.Market(tape, real.hours[before], real.usd[:, before])], table.name)
    result = validate.validate(
        tape,
        real.hours[kept],
        real.usd[:, kept],
        fitted,
        request.fit_until,
        baselines=request.baselines,
        candles=list(request.candles),
        hourly=request.hourly,
        hyperliquid=request.hyperliquid,
    )
    simulated = bool(simulated_label(request.datadir))
    found = {"simulated": simulated, "liquidations": list(real.notes), **result.found}
    return Scored(found, result, fitted, real.notes)


def tables(folder: Path, pairs: Sequence[str]) -> dict[str, Path]:
    """The table of each pair that has one in `folder`: a file or a folder of prints whose name begins with the pair's,
    as freqtrade writes it (BTC_USDT_USDT.csv, BTC_USDT_USDT-events). Raises InputError where there is none, or two.
    """
    if not folder.is_dir():
        raise InputError(f"validate: {folder} is no folder of tables", "--all-pairs needs one with a table a pair")
    found: dict[str, list[Path]] = {pair: [] for pair in pairs}
    for path in sorted(folder.iterdir()):
        for pair in pairs:
            rest = path.name.removeprefix(stem(pair))
            if rest != path.name and not rest[:1].isalnum() and not path.name.startswith("."):
                found[pair].append(path)
    for pair, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise InputError(f"validate: {folder} has several tables of {pair}: {names}", "leave one there")
    one = {pair: paths[0] for pair, paths in found.items() if paths}
    if not one:
        raise InputError(
            f"validate: {folder} has a table of none of the {len(pairs)} pairs",
            f"name them as freqtrade names pairs: {stem(pairs[0])}.csv",
        )
    return one


def file_of(out: Path, pair: str) -> Path:
    """The file of a pair in the folder `out`."""
    return out / f"{stem(pair)}.json"


def writer(request: Request, out: Path, found: dict[str, Path]) -> partial[int | None]:
    """`write` into the folder `out`, which is made, for bulk/run.py; `found` is the answer of `tables`."""
    out.mkdir(parents=True, exist_ok=True)
    return partial(write, request, out.absolute(), {pair: path.absolute() for pair, path in found.items()})


def write(request: Request, out: Path, found: dict[str, Path], pair: str) -> int | None:
    """Write a pair's answer in one step; returns its hours, None where it stands already with the same inputs."""
    path, table = file_of(out, pair), found[pair]
    used = [*files_of(request.datadir, request.extras, (pair,)), *_within(table)]
    named = (request.calibrated, None if request.hyperliquid is None else str(request.hyperliquid))
    wanted = hash_of(vars(request), used, named)
    if path.exists() and _inputs_of(path) == wanted:
        return None
    answer = scored(request, pair, table).found
    with replaced(path) as staged:
        staged.write_text(json.dumps({INPUTS: wanted, **answer}, indent=1) + "\n")
    return int(answer["hours"])


def answers(out: Path, pairs: Sequence[str]) -> list[dict[str, Any]]:
    """The answers of these pairs, as `write` wrote them."""
    return [json.loads(file_of(out, pair).read_text()) for pair in pairs]


def _within(table: Path) -> list[Path]:
    return [path for path in table.rglob("*") if path.is_file()] if table.is_dir() else [table]


def _inputs_of(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text())[INPUTS])
    except (OSError, ValueError, LookupError, TypeError):
        return None  # damaged: it is written again

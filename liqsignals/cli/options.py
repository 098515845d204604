"""Options that several commands share."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from liqsignals import venues
from liqsignals.errors import InputError

DataDir = Annotated[
    Path, typer.Option("--datadir", "-d", help="freqtrade's data directory: the folder that holds futures/.")
]

Pair = Annotated[str, typer.Option("--pair", "-p", help="Pair as freqtrade names it, for example BTC/USDT:USDT.")]

Extras = Annotated[
    Path | None,
    typer.Option("--extras", help="Folder of exchange flows and other venues; DATADIR/liqsignals unless given."),
]

Exchange = Annotated[
    str | None,
    typer.Option(
        "--exchange",
        help="Exchange of the data; the data directory's name unless given.",
        callback=lambda name: None if name is None else venues.exchange_name(name),
    ),
]

CalibrationFile = Annotated[
    str | None,
    typer.Option(
        "--calibration", help="File of liqsignals calibrate, or none for the prior; the shipped one unless given."
    ),
]

SqueezeFile = Annotated[
    str | None,
    typer.Option(
        "--squeeze",
        help="File of liqsignals touch, or none for no squeeze_* and flush_* columns; the shipped one unless given.",
    ),
]

Unit = Annotated[
    str | None, typer.Option("--unit", help="usd or base: unit of the table, where its columns do not say.")
]

Finest = Annotated[str, typer.Option("--finest", help="Finest candles to fold: 5m, or 1m where you have them.")]

Timerange = Annotated[
    str | None,
    typer.Option("--timerange", help="freqtrade's notation, UTC days: 20250801-20260228; all data unless given."),
]

Config = Annotated[Path, typer.Option("--config", help="freqtrade configuration.")]

UserDir = Annotated[Path, typer.Option("--userdir", help="freqtrade's user_data.")]

Keep = Annotated[
    Path | None,
    typer.Option("--keep", help="New folder for the run's files: logs, database. Removed at the end unless given."),
]


def config_of(config: Path, userdir: Path) -> Path:
    """The configuration to use: where none is named and the folder has none, that of user_data. Raises as `existing`."""
    beside = userdir / "config.json"
    return existing(beside if config == Path("config.json") and not config.exists() and beside.exists() else config)


def bots_folder(userdir: Path) -> Path:
    """A bot's user_data that is there; raises InputError where it is not: a slip would act on another, empty one."""
    if not userdir.is_dir():
        raise InputError(f"there is no folder {userdir}", "name the bot's user_data with --userdir")
    return userdir


def existing(config: Path) -> Path:
    """A configuration that is there; raises InputError where it is not, before anything runs."""
    if not config.exists():
        raise InputError(
            f"there is no configuration {config}",
            "name it with --config and --userdir, or make both: liqsignals init --userdir user_data",
        )
    return config


@contextmanager
def kept(folder: Path | None) -> Iterator[Path]:
    """A new folder, temporary unless named."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="liqsignals-") as made:
            yield Path(made)
        return
    if folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"--keep {folder}: is not empty",
            "name a new folder",
        )
    folder.mkdir(parents=True, exist_ok=True)
    yield folder

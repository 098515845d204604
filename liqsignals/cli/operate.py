"""Commands for a bot that is left alone: `start`, `kill-switch`."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from liqsignals.cli.app import app
from liqsignals.cli.options import UserDir
from liqsignals.operate import start as starting
from liqsignals.report.console import errors
from liqsignals.strategy import livecheck


def _log(text: str) -> None:
    errors.print(f"liqsignals start: {text}", highlight=False, soft_wrap=True, markup=False)


Configs = Annotated[
    list[Path], typer.Option("--config", "-c", help="freqtrade configuration; of several the later one counts.")
]


@app.command("start", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def start_command(
    context: typer.Context,
    config: Configs,
    strategy: Annotated[str, typer.Option("--strategy", help="Strategy.")],
    userdir: UserDir = Path("user_data"),
    datadir: Annotated[
        Path | None, typer.Option("--datadir", "-d", help="Data directory; USERDIR/data/EXCHANGE unless given.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=15, help="Days of history that the download reaches back.")] = 30,
    patience: Annotated[
        float, typer.Option("--patience", min=0.0, help="Minutes after which the bot starts without the download.")
    ] = 15.0,
    url: Annotated[list[str] | None, typer.Option("--url", help="As for liqsignals download.")] = None,
) -> None:
    """Download history, then run `freqtrade trade`; where trades are open the bot starts first, the download beside it.

    A download that fails is a warning. Signals go to the bot, and the exit code is its own. Words after -- are the bot's:
    liqsignals start --config config.json --strategy RejectionFade -- --logfile user_data/logs/bot.log

    The database is the configuration's db_url, else USERDIR/tradesv3.sqlite (dry-run: tradesv3.dryrun.sqlite).
    """
    wanted = starting.Start(
        tuple(config), strategy, userdir, datadir, days, patience * 60.0, tuple(url or ()), tuple(context.args)
    )
    raise typer.Exit(starting.run(wanted, _log))


class Turn(StrEnum):
    """What to do with the kill switch."""

    on = "on"
    off = "off"
    status = "status"


@app.command("kill-switch")
def kill_switch_command(
    turn: Annotated[Turn, typer.Argument(help="on, off or status.")],
    userdir: UserDir = Path("user_data"),
    why: Annotated[str, typer.Option("--why", help="A note that is kept with it.")] = "",
) -> None:
    """Stop all entries of every bot of a user_data at once, dry-run and live; resting entries are cancelled, exits go on.

    It is a file, user_data/liqsignals/kill-switch: `touch` turns it on, too. It outlasts restarts.
    """
    path = userdir / livecheck.KILL_SWITCH
    if turn is Turn.on:
        livecheck.kill(userdir, time.time_ns(), why)
    elif turn is Turn.off:
        path.unlink(missing_ok=True)
    if not path.exists():
        print(f"kill switch off: {path}")
        return
    said = path.read_text(encoding="utf-8", errors="replace").strip()
    since = said or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(path.stat().st_mtime))
    print(f"kill switch on since {since}: no entries, resting ones are cancelled, exits go on: {path}")

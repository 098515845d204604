"""Commands for a bot that is left alone: `start`."""

from pathlib import Path
from typing import Annotated

import typer

from liqsignals.cli.app import app
from liqsignals.cli.options import UserDir
from liqsignals.operate import start as starting
from liqsignals.report.console import errors


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

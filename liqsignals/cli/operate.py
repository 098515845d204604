"""Commands for a bot that is left alone: `start`, `watch`, `kill-switch`."""

import sys
import time
from contextlib import closing, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from liqsignals.cli.app import app
from liqsignals.cli.options import Extras, UserDir, bots_folder, existing
from liqsignals.clock import iso
from liqsignals.collect import freqtrade_command
from liqsignals.errors import InputError
from liqsignals.operate import start as starting
from liqsignals.operate.watcher import Watcher
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

    A download that fails is a warning. Signals go to the bot, and the exit code is its own. Words after -- are the
    bot's: liqsignals start --config config.json --strategy RejectionFade -- --logfile user_data/logs/bot.log

    The database is the configuration's db_url, else USERDIR/tradesv3.sqlite (dry-run: tradesv3.dryrun.sqlite).
    """
    wanted = starting.Start(
        tuple(map(existing, config)),
        strategy,
        bots_folder(userdir),
        datadir,
        days,
        patience * 60.0,
        tuple(url or ()),
        tuple(context.args),
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
    """Stop all entries of every bot of a user_data at once, dry-run and live; resting entries are cancelled, exits go
    on. The shipped strategies ask for it; your own does as docs/use-in-your-strategy.md shows.

    It is a file, user_data/liqsignals/kill-switch: `touch` turns it on, too. It outlasts restarts.
    """
    path = bots_folder(userdir) / livecheck.KILL_SWITCH
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


@app.command("watch")
def watch_command(
    config: Configs,
    userdir: UserDir = Path("user_data"),
    datadir: Annotated[
        Path | None, typer.Option("--datadir", "-d", help="Data directory; USERDIR/data/EXCHANGE unless given.")
    ] = None,
    extras: Extras = None,
    bot: Annotated[
        str, typer.Option("--bot", help="Address of the bot's REST API; the configuration's unless given.")
    ] = "",
    every: Annotated[float, typer.Option("--every", min=0.5, max=30.0, help="Seconds between two looks.")] = 3.0,
    mend: Annotated[
        bool,
        typer.Option(
            "--mend",
            help="Act at the exchange instead of saying so: close and cancel what is in no stored order, and place the"
            " stop of a stored position that has none.",
        ),
    ] = False,
    raw_days: Annotated[int, typer.Option("--raw-days", min=7, help="Days that the recorder's raw files stay.")] = 90,
    refit: Annotated[
        bool,
        typer.Option("--refit/--no-refit", help="Refit the calibration weekly from five weeks of recorded prints."),
    ] = True,
    check: Annotated[
        bool, typer.Option("--check", help="Print the last status; exit code 1 where it is bad or old.")
    ] = False,
) -> None:
    """Watch a bot until Ctrl-C: the exchange's clock, stops and positions against the database, the day's loss, the
    disk.

    What it finds is USERDIR/liqsignals/status.json, which forbids live entries where the config has
    "liqsignals": {"watcher": true}. A bot that stopped by an exception is sent /start, at most three times an hour.
    """
    files = list(map(existing, config))
    bots_folder(userdir)
    if check:
        raise typer.Exit(_check(userdir))
    found = freqtrade_command.configuration(files)
    if found.problems:
        raise InputError(f"freqtrade refuses the configuration: {'; '.join(found.problems)}")
    history = datadir or starting.datadir_of(found.merged, userdir)
    folder = extras or starting.extras_of(found.merged, history)

    def log(text: str) -> None:
        print(f"{iso(time.time_ns())} {text}", file=sys.stderr, flush=True)

    watcher = Watcher(found.merged, userdir, folder, log, bot, mend, raw_days, history if refit else None)
    log(f"watching {'the live' if watcher.live else 'a dry-run'} bot of {userdir}; stop with Ctrl-C")
    with suppress(KeyboardInterrupt), closing(watcher):
        watcher.run(every)


def _check(userdir: Path) -> int:
    path = userdir / livecheck.STATUS
    try:
        status = livecheck.Status.read(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error})", "start liqsignals watch") from error
    age = (time.time_ns() - status.at) / 1e9
    for text in (*status.problems, *status.notes):
        print(text)
    clock = "not measured" if status.clock is None else f"off by {status.clock:.3f} s"
    print(f"{path}: {age:.0f} s old, clock {clock}, {len(status.problems)} problems")
    good = abs(age) <= livecheck.STATUS_AGE and status.clock is not None and abs(status.clock) <= livecheck.CLOCK
    return 0 if good and not status.problems else 1

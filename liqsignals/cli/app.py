"""The `liqsignals` command. Bad input: one line on standard error, exit code 2, no partly written file."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from liqsignals.errors import InputError, __version__
from liqsignals.files import refused
from liqsignals.report.console import errors

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Liquidation-cluster, funding and exchange-flow signals for Freqtrade: features, maps and a market to try "
    "them on.",
)


def main() -> None:
    """Run the command line: what a user can mend becomes one line and exit code 2.

    That is InputError, and what the system refuses (files that may not be read or written, a full disk).
    """
    # Plain lines without wrapping, so that a command in a message can be pasted.
    logging.basicConfig(level=logging.WARNING, format="liqsignals: %(message)s")
    try:
        with _terminable():
            app()
    except (InputError, OSError) as error:
        found = error if isinstance(error, InputError) else refused(error)
        errors.print(f"liqsignals: {found}", style="red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(2)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise SystemExit, so that temporary files go and child processes end with this one."""

    def leave(number: int, frame: FrameType | None) -> None:
        for one in mine:
            signal.signal(one, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
        raise SystemExit(128 + number)

    # Under nohup SIGHUP is ignored, and stays so.
    mine = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for one in mine:
        signal.signal(one, leave)
    try:
        yield
    finally:
        for one in mine:
            signal.signal(one, signal.SIG_DFL)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        print(f"liqsignals {__version__}")
        raise typer.Exit

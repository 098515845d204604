"""The `liqsignals` command. Bad input: one line on standard error, exit code 2, no partly written file."""

import logging
import sys
from typing import Annotated

import typer

from liqsignals.errors import InputError, __version__
from liqsignals.report.console import errors

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Liquidation-cluster, funding and exchange-flow signals for Freqtrade: features, maps and a market to try "
    "them on.",
)


def main() -> None:
    """Run the command line: InputError becomes one line and exit code 2."""
    # Plain lines without wrapping, so that a command in a message can be pasted.
    logging.basicConfig(level=logging.WARNING, format="liqsignals: %(message)s")
    try:
        app()
    except InputError as error:
        errors.print(f"liqsignals: {error}", style="red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        print(f"liqsignals {__version__}")
        raise typer.Exit

"""The `liqsignals` command: one file per audience, one shared `app`."""

from liqsignals.cli import data, research, signals, trade
from liqsignals.cli.app import app, main

__all__ = ["app", "data", "main", "research", "signals", "trade"]

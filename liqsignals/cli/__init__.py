"""The `liqsignals` command: one file an audience, all of one `app`."""

from liqsignals.cli import data, research, signals, trade
from liqsignals.cli.app import app, main

__all__ = ["app", "data", "main", "research", "signals", "trade"]

"""The `liqsignals` command: one file per audience, one shared `app`."""

from liqsignals.cli import data, research, serve, signals, trade
from liqsignals.cli.app import app, main

__all__ = ["app", "data", "main", "research", "serve", "signals", "trade"]

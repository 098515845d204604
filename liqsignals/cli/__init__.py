"""The `liqsignals` command: one file per audience, one shared `app`."""

from liqsignals.cli import data, judge, operate, research, serve, signals, study, trade
from liqsignals.cli.app import app, main

__all__ = ["app", "data", "judge", "main", "operate", "research", "serve", "signals", "study", "trade"]

"""Liquidation-cluster, funding and exchange-flow signals for Freqtrade, causal by construction."""

from liqsignals.errors import InputError, __version__
from liqsignals.features import COLUMNS
from liqsignals.strategy.signals import Signals

__all__ = ["COLUMNS", "InputError", "Signals", "__version__"]

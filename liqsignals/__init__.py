"""Liquidation-cluster, funding and exchange-flow signals for Freqtrade, causal by construction."""

from liqsignals.errors import InputError
from liqsignals.features import COLUMNS
from liqsignals.signals import Signals

__all__ = ["COLUMNS", "InputError", "Signals", "__version__"]
__version__ = "0.1.0"

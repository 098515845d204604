"""`liqsignals.signals.Signals`, where strategies that users copied look for it."""

from liqsignals.strategy.signals import Signals

__all__ = ["Signals"]

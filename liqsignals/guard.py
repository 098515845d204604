"""What strategies call of strategy/guard.py, where those that users copied look for it."""

from liqsignals.strategy.guard import entry_confirmed, passes, refusal

__all__ = ["entry_confirmed", "passes", "refusal"]

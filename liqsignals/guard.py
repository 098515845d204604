"""`liqsignals.guard.refusal`, where strategies that users copied look for it."""

from liqsignals.strategy.guard import refusal

__all__ = ["refusal"]

"""What strategies call before an entry, where those that users copied look for it."""

from liqsignals.strategy.account import Account
from liqsignals.strategy.callbacks import safely
from liqsignals.strategy.guard import entry_confirmed, passes, refusal

__all__ = ["Account", "entry_confirmed", "passes", "refusal", "safely"]

"""The account of a bot: how large a trade may be, and whether one may be entered at all.

It reads freqtrade's wallets and trades and asks the pure functions of sizing.py, drawdown.py and verdicts.py.
"""

import logging
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from liqsignals.strategy import drawdown, sizing, verdicts
from liqsignals.strategy.config import Risk
from liqsignals.strategy.guard import REFUSED, live_mode
from liqsignals.strategy.livecheck import LiveCheck, killed

logger = logging.getLogger(__name__)

#: A cluster is announced again when it has been out of reach, and this much later.
_QUIET = timedelta(hours=4)


@dataclass
class Account:
    """Made in `bot_start`; one a strategy."""

    strategy: str
    risk: Risk
    #: "live" and "dry_run" are freqtrade's; any other is a backtest's.
    runmode: str
    #: The drawdown stop's file; None in backtests.
    stop_file: Path | None
    check: LiveCheck = field(default_factory=lambda: LiveCheck(Path("user_data"), "backtest"))

    def __post_init__(self) -> None:
        self._announced: dict[tuple[str, str], Any] = {}
        self._alarm: str | None = None

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], strategy: str, sides: tuple[str, ...] = verdicts.SIDES
    ) -> "Account":
        """The account of a freqtrade configuration (`"liqsignals"`: `risk`, `allow_unproven`; see Risk).

        In dry-run and live each of the strategy's `sides` that no walk-forward has shown to add anything is named in
        the log; live refuses its entries unless `allow_unproven` names it. Raises InputError for settings that cannot
        work.
        """
        risk = Risk.parse(config.get("liqsignals") or {})
        mode = str(config.get("runmode")).split(".")[-1].lower()
        running = live_mode(mode)
        userdir = Path(config.get("user_data_dir") or "user_data")
        check = LiveCheck.from_config(config, mode, risk.limits)
        account = cls(strategy, risk, mode, drawdown.path_of(userdir, strategy) if running else None, check)
        for word, why in check.configured():
            logger.error("live entries are refused (%s): %s", word, why)
        for side in sides if running else ():
            if verdicts.of(strategy, side) != verdicts.PROVEN:
                allowed = verdicts.allowed(strategy, side, risk.allow_unproven)
                refused = mode == "live" and not allowed
                logger.log(
                    logging.ERROR if refused else logging.WARNING,
                    '%s, %s side: the walk-forward\'s verdict is "%s" (docs/results.md)%s',
                    strategy,
                    side,
                    verdicts.of(strategy, side),
                    (
                        f"; live entries are refused. {_unproven(strategy, side)}"
                        if refused
                        else (
                            "; allowed by the config"
                            if allowed
                            else f"; live would refuse it. {_unproven(strategy, side)}"
                        )
                    ),
                )
        return account

    def size(
        self,
        wallets: Any,
        trades: Any,
        distance: float,
        allowed: float,
        largest: float = math.inf,
        least: float | None = None,
    ) -> sizing.Size:
        """Size of a trade whose stop is `distance` (fraction of price) away: sizing.size with this account's equity.

        `wallets` and `trades` are freqtrade's (the strategy's, and the class Trade). Equity is the balance with what is
        staked, without unrealised profit.
        """
        open_ = trades.get_trades_proxy(is_open=True)
        in_market = sum(abs(float(trade.stake_amount) * float(trade.leverage)) for trade in open_)
        equity = float(wallets.get_total_stake_amount())
        return sizing.size(equity, in_market, distance, allowed, largest, least, self.risk.limits)

    def allows(self, wallets: Any, trades: Any, pair: str, side: str, tag: str | None, now: datetime) -> bool:
        """Whether an entry may be made, as far as livecheck.py, verdict and drawdown go; a refusal is logged with its
        reason.

        An entry forced by hand (tag `force_entry`) may, unless the kill switch is on. Raises what freqtrade's database
        raises.
        """
        forced = tag == "force_entry"
        why = killed(self.check.userdir) if forced and self.stop_file is not None else ""
        if forced and not why:
            return True
        if why:
            refused = "kill switch", why
        elif self.stop_file is not None and (
            found := self.check.refusal(pair, float(wallets.get_total_stake_amount()), now)
        ):
            refused = found
        elif self.runmode == "live" and not verdicts.allowed(self.strategy, side, self.risk.allow_unproven):
            verdict = verdicts.of(self.strategy, side)
            refused = "unproven", f'the verdict on its {side} side is "{verdict}". {_unproven(self.strategy, side)}'
        else:
            closed = trades.get_trades_proxy(is_open=False)
            why = drawdown.stopped(
                float(wallets.get_starting_balance()), closed, self.risk.max_drawdown, now, self.stop_file
            )
            refused = "drawdown", why
            if not why:
                return True
        logger.info("%s: %s (%s): %s", pair, REFUSED, *refused)
        return False

    def withdrawn(self) -> bool:
        """Answer of `check_entry_timeout`: whether a resting entry is cancelled, because the kill switch is on."""
        return self.stop_file is not None and bool(killed(self.check.userdir))

    def announce(self, dp: Any, pair: str, frame: Any, reach: float) -> None:
        """Send a message (`dp.send_msg`: Telegram, API) when a major cluster has come within `reach` (fraction of
        price), and with real money when the watcher says something new.

        `frame`: the analysed candles. Once, until it has been out of reach; nothing in backtests.
        """
        if self.stop_file is None or len(frame) == 0:
            return
        if self.runmode == "live":
            said = self.check.watcher(time.time_ns())
            # Ages and amounts change, the matter does not.
            matter = None if said is None else re.sub(r"[\d.]+", "", said[1])
            if said is not None and matter != self._alarm:
                dp.send_msg(f"entries are refused ({said[0]}): {said[1]}", always_send=True)
            self._alarm = matter
        last = frame.iloc[-1]
        for side, where in (("short", "above"), ("long", "below")):
            distance, usd = last[f"liq_{where}_distance"], last[f"liq_{where}_usd"]
            before = self._announced.get((pair, side))
            if not distance <= reach:
                if before is not None and last["date"] - before >= _QUIET:
                    del self._announced[pair, side]
                continue
            self._announced[pair, side] = last["date"]
            if before is None:
                dp.send_msg(
                    f"{pair}: {usd / 1e6:,.0f} M of {side} liquidations at {last[f'liq_{where}_price']:.6g}, "
                    f"{distance:.2%} {where} the price"
                )


def _unproven(strategy: str, side: str) -> str:
    return f'Way out: "liqsignals": {{"allow_unproven": ["{strategy}:{side}"]}} in the config'

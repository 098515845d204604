"""Open trades of a running bot, from freqtrade's REST API (`GET /api/v1/status`, freqtrade's docs/rest-api.md)."""

from dataclasses import dataclass, field
from typing import Any

import aiohttp

from liqsignals.errors import InputError

#: What the page shows of a trade.
FIELDS = (
    "trade_id", "pair", "is_short", "amount", "leverage", "open_date", "open_timestamp", "open_rate", "current_rate",
    "stop_loss_abs", "liquidation_price", "profit_ratio", "profit_abs", "enter_tag", "strategy",
)  # fmt: skip
TIMEOUT_S = 5.0
MOST_BYTES = 4 << 20


@dataclass(frozen=True)
class Bot:
    """Address of a bot's REST API, and its user and password or a token of its login. They are not printed."""

    url: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    async def open_trades(self) -> list[dict[str, Any]]:
        """The open trades. Raises InputError where the bot does not answer, or refuses."""
        auth = aiohttp.BasicAuth(self.user, self.password) if self.user else None
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        limit = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=limit, auth=auth, headers=headers) as session,
                session.get(f"{self.url.rstrip('/')}/api/v1/status", allow_redirects=False) as answer,
            ):
                if answer.status == 401:
                    raise InputError(
                        "the bot refuses user and password",
                        "set FREQTRADE__API_SERVER__USERNAME and _PASSWORD to those of its configuration",
                    )
                if answer.status != 200:
                    raise InputError(f"the bot answers with HTTP {answer.status}", "look at its log")
                if (answer.content_length or 0) > MOST_BYTES:
                    raise InputError("the bot's answer is too long")
                rows = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise InputError(
                f"no answer from the bot ({type(error).__name__})", "start it with api_server enabled, or correct --bot"
            ) from error
        if not isinstance(rows, list):
            raise InputError("the bot's answer is not a list of trades")
        return [{name: row.get(name) for name in FIELDS} for row in rows if isinstance(row, dict)]

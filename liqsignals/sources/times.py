"""Where exchanges say what time it is: used by `doctor --live` and `watch`."""

from dataclasses import dataclass
from typing import Any

from liqsignals.sources import binance, bybit, okx
from liqsignals.sources.decode import stamp


@dataclass(frozen=True)
class ServerTime:
    """An exchange's public endpoint of its own time."""

    base_url: str
    path: str
    #: Where the time is in the answer: keys of objects and places in lists.
    keys: tuple[str | int, ...]
    #: ccxt's name of the address that a configuration may override, and the part of `path` that it includes.
    ccxt_name: str
    ccxt_path: str

    def read(self, answer: Any) -> int:
        """The time in ns UTC. Raises LookupError, TypeError or ParseError for an answer of another form."""
        for key in self.keys:
            answer = answer[key]
        return stamp(answer, "time")

    def address(self, ccxt_urls: dict[str, Any]) -> str:
        """The whole address; `ccxt_urls` are the `urls.api` of a configuration's `ccxt_config`."""
        named = ccxt_urls.get(self.ccxt_name)
        if named is None:
            return self.base_url + self.path
        return str(named).rstrip("/") + self.path.removeprefix(self.ccxt_path)


SERVER_TIMES = {
    "binance": ServerTime(binance.REST.base_url, "/fapi/v1/time", ("serverTime",), "fapiPublic", "/fapi/v1"),
    "bybit": ServerTime(bybit.PROVIDER.base_url, "/v5/market/time", ("time",), "public", ""),
    "okx": ServerTime(okx.PROVIDER.base_url, "/api/v5/public/time", ("data", 0, "ts"), "rest", ""),
}

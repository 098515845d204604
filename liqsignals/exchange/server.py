"""The loopback exchange: the part of an exchange's public REST API that freqtrade needs, served from files.

A freqtrade data directory is served in the words of the exchange that it is named after: Binance USD-M (endpoints.py)
or Bybit (bybit.py); one with another name as Binance. Freqtrade is not modified: it reads one more configuration file,
the overlay, which points all addresses here, those for orders and balances included, so that a bot started with it
cannot reach a real account by mistake.

    python -m liqsignals.exchange.server --datadir user_data/data/binance -- \\
        freqtrade backtesting --config config.json --config {overlay} --strategy MyStrategy

`now_ms` is the only clock. An answer holds the candles closed by then, bit for bit as in the file, and the forming one
up to the current point of the path inside its finest bar (path.py); open interest and funding are labelled no later.
Tickers, books and mark prices follow that path (quotes.py).
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web

from liqsignals.errors import InputError
from liqsignals.exchange.archive import Archive
from liqsignals.exchange.bybit import BybitExchange
from liqsignals.exchange.endpoints import Clock, LoopbackExchange, wall_clock_ms
from liqsignals.exchange.serving import served
from liqsignals.exchange.signed import Keys
from liqsignals.exchange.supervise import caught_signals, run, wait

# ccxt's names of Binance's base URLs, and their paths.
_API = {
    "public": "api/v3",
    "private": "api/v3",
    "v1": "api/v1",
    "sapi": "sapi/v1",
    "sapiV2": "sapi/v2",
    "sapiV3": "sapi/v3",
    "sapiV4": "sapi/v4",
    "fapiPublic": "fapi/v1",
    "fapiPublicV2": "fapi/v2",
    "fapiPublicV3": "fapi/v3",
    "fapiPrivate": "fapi/v1",
    "fapiPrivateV2": "fapi/v2",
    "fapiPrivateV3": "fapi/v3",
    "fapiData": "futures/data",
    "dapiPublic": "dapi/v1",
    "dapiPrivate": "dapi/v1",
    "dapiPrivateV2": "dapi/v2",
    "dapiData": "futures/data",
    "eapiPublic": "eapi/v1",
    "eapiPrivate": "eapi/v1",
    "papi": "papi/v1",
    "papiV2": "papi/v2",
}


#: The same of Bybit: its paths begin with the version.
_BYBIT = ("spot", "futures", "v2", "public", "private")
_TIERS = "leverage_tiers_*.json"


def config_overlay(
    port: int, exchange: str = "binance", dataformat: str | None = None, keys: Keys | None = None
) -> dict[str, Any]:
    """The configuration that points all of freqtrade's requests, sync and async, at the loopback exchange.

    `dataformat`: that of the data directory's files, where it has one; freqtrade finds no others. `keys` replace the
    user's: those of the loopback exchange's account, or none.
    """
    paths = dict.fromkeys(_BYBIT, "") if exchange == "bybit" else {name: f"/{path}" for name, path in _API.items()}
    overlay: dict[str, Any] = {
        "exchange": {
            "name": exchange,
            "key": keys.key if keys else "",
            "secret": keys.secret if keys else "",
            "enable_ws": False,
            # Otherwise freqtrade downloads long candle histories from Binance's archive.
            "only_from_ccxt": True,
            "ccxt_config": {
                # The loopback exchange has no limits; with ccxt's limiter, downloads would wait for Binance's request
                # weights.
                "enableRateLimit": False,
                # A proxy that the user needs for the exchange cannot reach this machine's loopback interface.
                "httpProxy": None,
                "httpsProxy": None,
                "socksProxy": None,
                "urls": {"api": {name: f"http://127.0.0.1:{port}{path}" for name, path in paths.items()}},
                "options": {"fetchMarkets": {"types": ["linear"]}, "fetchCurrencies": False},
            },
        }
    }
    if exchange == "bybit":
        # With keys ccxt asks for currencies, which are an account's.
        overlay["exchange"] |= {"key": "", "secret": ""}
    if dataformat is not None:
        overlay["dataformat_ohlcv"] = dataformat
    return overlay


def application(exchange: LoopbackExchange) -> web.Application:
    """The server of a market in the words of its exchange."""
    return BybitExchange(exchange).app() if exchange.archive.exchange == "bybit" else exchange.app()


@contextmanager
def serve(exchange: LoopbackExchange) -> Iterator[int]:
    """Serve on a free port of 127.0.0.1, in a thread that stops at the end of the block; yields the port."""
    with served(application(exchange), "loopback-exchange", 1.0) as port:
        yield port


@contextmanager
def overlay_file(
    port: int, archive: Archive, dataformat: str | None = None, keys: Keys | None = None
) -> Iterator[Path]:
    """A file of `config_overlay`; `dataformat`: of the files that freqtrade is to read, the archive's unless given."""
    overlay = config_overlay(port, archive.exchange, dataformat or archive.dataformat, keys)
    with TemporaryDirectory(prefix="liqsignals-") as folder:
        path = Path(folder) / "overlay.json"
        path.write_text(json.dumps(overlay, indent=4) + "\n")
        yield path


@contextmanager
def loopback(datadir: Path, now_ms: Clock = wall_clock_ms) -> Iterator[Path]:
    """Serve `datadir`; yields the overlay's path, for a second `--config` of any freqtrade command."""
    archive = Archive(datadir)
    with (
        leverage_tiers_kept(datadir),
        serve(LoopbackExchange(archive, now_ms)) as port,
        overlay_file(port, archive) as overlay,
    ):
        yield overlay


@contextmanager
def leverage_tiers_kept(datadir: Path) -> Iterator[None]:
    """Put freqtrade's cache of leverage tiers back at the end: a bot must not trade by those of the loopback exchange.

    Freqtrade keeps Bybit's in the data directory for a day.
    """
    folder = datadir / "futures"
    before = {path: path.read_bytes() for path in folder.glob(_TIERS)}
    try:
        yield
    finally:
        for path in folder.glob(_TIERS):
            if path not in before:
                path.unlink()
            elif path.read_bytes() != before[path]:
                path.write_bytes(before[path])


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, or serve, and return the exit code."""
    parent = os.getppid()
    given = list(sys.argv[1:] if argv is None else argv)
    split = given.index("--") if "--" in given else len(given)
    own, command = given[:split], given[split + 1 :]
    parser = argparse.ArgumentParser(
        prog="python -m liqsignals.exchange.server",
        usage="%(prog)s [-h] --datadir DIR [-- CMD ARG ...]",
        description="Serve a freqtrade data directory as the exchange it is named after, on 127.0.0.1 and offline.",
        epilog=(
            "With CMD: run it with {overlay} in its arguments replaced by the path of the configuration to"
            " add with a second --config, and end with it. Without: print the port and that path, and serve until"
            " interrupted or left by the parent process."
        ),
    )
    parser.add_argument("--datadir", type=Path, required=True, metavar="DIR", help="as freqtrade's --datadir")
    options = parser.parse_args(own)
    if split < len(given) and not command:
        parser.error("no command after --")
    try:
        archive = Archive(options.datadir)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    label = "SIMULATED market: " if archive.simulated else ""
    with (
        caught_signals() as caught,
        leverage_tiers_kept(archive.datadir),
        serve(LoopbackExchange(archive)) as port,
        overlay_file(port, archive) as overlay,
    ):
        if command:
            if not any("{overlay}" in argument for argument in command):
                print(
                    f"{label}warning: no {{overlay}} in the command: it will not use this exchange",
                    file=sys.stderr,
                )
            return run([argument.replace("{overlay}", str(overlay)) for argument in command], caught, parent)
        print(f"{label}port {port} overlay {overlay}", flush=True)
        wait(caught, parent)
        return 0


if __name__ == "__main__":
    sys.exit(main())

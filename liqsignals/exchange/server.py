"""The loopback exchange: the part of Binance's public USD-M REST API that freqtrade needs, served from files.

Any freqtrade data directory can be served. Freqtrade is not modified: it reads one more configuration file, the
overlay, which points all addresses here, those for orders and balances included, so that a bot started with it cannot
reach a real account by mistake.

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

from liqsignals.errors import InputError
from liqsignals.exchange.archive import Archive
from liqsignals.exchange.endpoints import Clock, LoopbackExchange, wall_clock_ms
from liqsignals.exchange.serving import served
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


def config_overlay(port: int) -> dict[str, Any]:
    """The configuration that points all of freqtrade's requests, sync and async, at the loopback exchange."""
    return {
        "exchange": {
            "name": "binance",
            "enable_ws": False,
            # Otherwise freqtrade downloads long candle histories from Binance's archive.
            "only_from_ccxt": True,
            "ccxt_config": {
                # The loopback exchange has no limits; with ccxt's limiter, downloads would wait for Binance's request
                # weights.
                "enableRateLimit": False,
                # A proxy that the user needs for Binance cannot reach this machine's loopback interface.
                "httpProxy": None,
                "httpsProxy": None,
                "socksProxy": None,
                "urls": {"api": {name: f"http://127.0.0.1:{port}/{path}" for name, path in _API.items()}},
                "options": {"fetchMarkets": {"types": ["linear"]}, "fetchCurrencies": False},
            },
        }
    }


@contextmanager
def serve(exchange: LoopbackExchange) -> Iterator[int]:
    """Serve on a free port of 127.0.0.1, in a thread that stops at the end of the block; yields the port."""
    with served(exchange.app(), "loopback-exchange", 1.0) as port:
        yield port


@contextmanager
def overlay_file(port: int) -> Iterator[Path]:
    with TemporaryDirectory(prefix="liqsignals-") as folder:
        path = Path(folder) / "overlay.json"
        path.write_text(json.dumps(config_overlay(port), indent=4) + "\n")
        yield path


@contextmanager
def loopback(datadir: Path, now_ms: Clock = wall_clock_ms) -> Iterator[Path]:
    """Serve `datadir`; yields the overlay's path, for a second `--config` of any freqtrade command."""
    with serve(LoopbackExchange(Archive(datadir), now_ms)) as port, overlay_file(port) as overlay:
        yield overlay


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, or serve, and return the exit code."""
    parent = os.getppid()
    given = list(sys.argv[1:] if argv is None else argv)
    split = given.index("--") if "--" in given else len(given)
    own, command = given[:split], given[split + 1 :]
    parser = argparse.ArgumentParser(
        prog="python -m liqsignals.exchange.server",
        usage="%(prog)s [-h] --datadir DIR [-- CMD ARG ...]",
        description="Serve a freqtrade data directory as Binance USD-M futures, on 127.0.0.1 and offline.",
        epilog="With CMD: run it with {overlay} in its arguments replaced by the path of the configuration to"
        " add with a second --config, and end with it. Without: print the port and that path, and serve until"
        " interrupted or left by the parent process.",
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
    with caught_signals() as caught, serve(LoopbackExchange(archive)) as port, overlay_file(port) as overlay:
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

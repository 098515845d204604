"""The loopback exchange: what freqtrade needs of Binance's public USD-M REST API, served from files.

Any freqtrade data directory will do. Freqtrade itself is not touched: it reads one more configuration file,
the overlay, whose addresses all point here, those for orders and balances included, so that a bot started
with it can reach no real account by mistake.

    python -m liqsignals.exchange.server --datadir user_data/data/binance -- \\
        freqtrade backtesting --config config.json --config {overlay} --strategy MyStrategy

Nothing in it knows the time but `now_ms`. An answer holds the candles that had closed by then, bit for bit the file's, and the
forming one as far as the path inside its finest bar (path.py) has come; open interest and funding labelled no later.
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

# ccxt's names of Binance's addresses and what follows the host in them.
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
    """The configuration that sends freqtrade, sync and async, to the loopback exchange and nowhere else."""
    return {
        "exchange": {
            "name": "binance",
            "enable_ws": False,
            # Or else freqtrade takes long candle histories from Binance's archive.
            "only_from_ccxt": True,
            "ccxt_config": {
                # There is nobody to spare: without this, downloads wait for Binance's request weights.
                "enableRateLimit": False,
                # A proxy that the user needs for Binance cannot reach this machine's loopback.
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
    """Serve on a free port of 127.0.0.1, in a thread that ends with the block; yields the port."""
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

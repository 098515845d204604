"""Command that serves the live page: `serve`."""

import asyncio
import os
from typing import Annotated

import typer

from liqsignals import venues
from liqsignals.cli.app import app
from liqsignals.cli.options import CalibrationFile, DataDir, Exchange, Extras, Finest
from liqsignals.data import freqtrade, store
from liqsignals.errors import InputError
from liqsignals.liqmap import calibration
from liqsignals.report.console import say, simulated_label


@app.command("serve")
def serve_command(
    datadir: DataDir,
    pairs: Annotated[
        str, typer.Option("--pairs", "-p", help="Pairs, separated by spaces; all on disk unless given.")
    ] = "",
    host: Annotated[
        str, typer.Option("--host", help="Address to bind to; beyond loopback a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 8737,
    bot: Annotated[str, typer.Option("--bot", help="Address of a bot's REST API, to show its open trades.")] = "",
    days: Annotated[float, typer.Option("--days", min=0.1, max=30.0, help="Days that the picture goes back.")] = 3.0,
    extras: Extras = None,
    exchange: Exchange = None,
    finest: Finest = "5m",
    calibrated: CalibrationFile = None,
) -> None:
    """Show the map in a browser, live: renewed when a download or recorder changes the data. Read-only.

    The bot's user and password come from FREQTRADE__API_SERVER__USERNAME and FREQTRADE__API_SERVER__PASSWORD, or a
    token of its login from LIQSIGNALS_BOT_TOKEN; the page's own token from LIQSIGNALS_SERVE_TOKEN.
    """
    from aiohttp import web

    from liqsignals.serve.app import application
    from liqsignals.serve.board import Board
    from liqsignals.serve.bot import Bot

    freqtrade.check_datadir(datadir)
    store.check_extras(extras)
    there = freqtrade.pairs_in(datadir)
    chosen = pairs.replace(",", " ").split() or there
    if not chosen:
        raise InputError(
            f"{datadir / 'futures'} holds no candles", freqtrade.download_command("binance", "BTC/USDT:USDT")
        )
    for pair in chosen:
        freqtrade.check_pair(datadir, pair)
    asked = Bot(
        bot,
        os.environ.get("FREQTRADE__API_SERVER__USERNAME", ""),
        os.environ.get("FREQTRADE__API_SERVER__PASSWORD", ""),
        os.environ.get("LIQSIGNALS_BOT_TOKEN", ""),
    )
    board = Board(
        datadir, extras or datadir / "liqsignals", exchange or venues.exchange_of(datadir), chosen,
        calibration.choose(calibrated), finest, days, trades=asked.open_trades if bot else None,
    )  # fmt: skip
    token = os.environ.get("LIQSIGNALS_SERVE_TOKEN") or None
    made = application(board, host, token, simulated_label(datadir))

    async def run() -> None:
        runner = web.AppRunner(made, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise InputError(
                    f"serve: {host}:{port} cannot be bound ({error.strerror})", "choose another --port"
                ) from error
            name = f"[{host}]" if ":" in host else host
            say(f"live map of {', '.join(chosen)}: http://{name}:{runner.addresses[0][1]}/ (ends with Ctrl+C)")
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        return

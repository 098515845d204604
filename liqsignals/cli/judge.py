"""The command that judges strategies: `walkforward`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from liqsignals.cli.app import app
from liqsignals.cli.options import Config, DataDir, UserDir, config_of
from liqsignals.clock import iso, parse_time, parse_timerange
from liqsignals.errors import InputError
from liqsignals.files import check_folder, replaced
from liqsignals.report import walkforward as pages
from liqsignals.report.console import console, simulated_label, steps


@app.command("walkforward")
def walkforward_command(
    datadir: DataDir,
    timerange: Annotated[str, typer.Option("--timerange", help="freqtrade's notation, UTC: 20250801-20260301.")],
    pairs: Annotated[str, typer.Option("--pairs", help="Pairs, separated by spaces.")] = "BTC/USDT:USDT ETH/USDT:USDT",
    strategy: Annotated[
        str, typer.Option("--strategy", help="Strategies, separated by spaces.")
    ] = "SqueezeMomentum RejectionFade",
    table: Annotated[
        list[str],
        typer.Option(
            "--liquidations",
            "-l",
            help="PAIR=FILE: hourly liquidations; each slice's calibration is fitted on "
            "those before it, of 21 days at least. Without: the prior.",
        ),
    ] = [],  # noqa: B006
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Backtests at once.", min=1)] = 2,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of results; a run that was stopped goes on there.")
    ] = Path("build/walkforward"),
    fee: Annotated[float, typer.Option("--fee", help="Fee of a fill, a fraction of its value.", min=0.0)] = 0.0005,
    slippage: Annotated[float, typer.Option("--slippage", help="Slippage of a fill, the same.", min=0.0)] = 0.0002,
    draws: Annotated[int, typer.Option("--draws", help="Portfolios of random entries.", min=1)] = 1000,
    shuffles: Annotated[int, typer.Option("--shuffles", help="Backtests a slice with permuted columns.", min=1)] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same placebos.", min=0)] = 1,
    forced: Annotated[
        str | None,
        typer.Option("--force-longs", help="START/STOP, with zone: what a long at every candle in between would cost."),
    ] = None,
    config: Config = Path("config.json"),
    userdir: UserDir = Path("user_data"),
) -> None:
    """Judge strategies on monthly slices at their frozen defaults, beside placebos, at other costs and worse stops.

    Freqtrade's backtests, through the loopback exchange. DIR/result.json holds every number, DIR/report.html draws
    them.
    """
    from liqsignals.walkforward import walk

    start, stop = parse_timerange(timerange)
    if start is None or stop is None:
        raise InputError(f"walkforward: the timerange {timerange} needs a start and an end")
    named = [text.partition("=") for text in table]
    for pair, sign, path in named:
        if not sign or not Path(path).is_file():
            raise InputError(f"walkforward: --liquidations {pair}{sign}{path} is no PAIR=FILE of an existing file")
    used = config_of(config, userdir)
    check_folder(out)
    plan = walk.Plan(
        datadir, tuple(pairs.split()), tuple(strategy.split()), used, userdir, out,
        (start, stop), fee, slippage, draws, shuffles, seed, jobs, True,
        None if forced is None else _span(forced),
        tuple((pair, Path(path)) for pair, _, path in named),
    )  # fmt: skip
    with steps() as (_, show):
        result = walk.walk(plan, show)
    result = {"made": iso(time.time_ns()), **result}
    walk.save(result, out / "result.json")
    label = simulated_label(datadir)
    title = f"{label}walk-forward of {', '.join(plan.strategies)}: {pairs}, {timerange}"
    with replaced(out / "report.html") as temporary:
        pages.write_html(result, temporary, title)
    for rows in pages.tables(result, brief=True):
        console.print(pages.rich_table(rows, label))
    for name, judged in result["strategies"].items():
        console.print(f"{label}{pages.headline(name, judged)}", markup=False)
        again = judged["reproduced"]
        console.print(
            f"  our portfolio made {again['same']} of freqtrade's {again['trades']} trades; largest difference of"
            f" profit {again['largest_difference']:.1e} of the margin",
            markup=False,
        )
    console.print(f"result {out / 'result.json'}\nreport {out / 'report.html'}", markup=False)


def _span(text: str) -> tuple[int, int]:
    start, sign, stop = text.partition("/")
    if not sign or parse_time(start) >= parse_time(stop):
        raise InputError(
            f"walkforward: --force-longs {text} is no span", "write it as 2025-10-10T20:00:00Z/2025-10-10T22:00:00Z"
        )
    return parse_time(start), parse_time(stop)

"""Consoles, progress bars, and formatting of prices and USD."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

console = Console(soft_wrap=True, highlight=False)

errors = Console(stderr=True, soft_wrap=True)


def simulated_label(datadir: Path) -> str:
    """Prefix of all output about a simulated market."""
    return "SIMULATED " if (datadir / "SIMULATED").exists() else ""


def price_text(value: float) -> str:
    """A price with at least six significant digits: 86,583.20, 0.0000123456."""
    return f"{value:,.{max(2, 5 - math.floor(math.log10(value)))}f}"


def usd_text(value: float | None) -> str:
    if value is None:
        return "-"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f}"


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error; call the yielded function with the share done."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def two(values: list[float | None]) -> str:
    """`long / short`, `-` for missing values."""
    return " / ".join("-" if v is None else f"{v:.3f}" for v in values)


@contextmanager
def steps() -> Iterator[tuple[Callable[[str], None], Callable[[str, int, int], None]]]:
    """Progress bars on standard error, one per job.

    Yields `(print_line, show)`: `print_line(text)` prints above the bars, `show(what, done, of)` updates one.
    """
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done, total=of)

        yield lambda text: errors.print(text, markup=False, highlight=False), show


def say(text: str) -> None:
    errors.print(text, markup=False, highlight=False)

"""`make pictures`: the pictures of README.md and docs/reading-the-map.md, from the embedded SIMULATED market only; that of
docs/scale.md, from the figures of its tables.

The moments are chosen by rule among the lives of major clusters of the market's whole span (strategy/annotations.py),
so that the pictures follow the map when it changes: the largest wall that price ran into, the largest that it turned
away from, and so on.
"""

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from liqsignals import liqmap
from liqsignals.clock import HOUR
from liqsignals.data.tape import MapTape, map_tape
from liqsignals.liqmap import calibration
from liqsignals.liqmap.kernels import SHORT
from liqsignals.report.console import usd_text
from liqsignals.report.heatmap import picture
from liqsignals.report.heatmap_png import Note, write_png
from liqsignals.simulation.market import write_market
from liqsignals.strategy.annotations import Life, View, lives, readings

PAIR = "BTC/USDT:USDT"
#: The market of `make demo`.
SEED, DAYS = 5, 120
SCALE = 0.62
#: Of the palette: a third of the size.
COLOURS = 200


class Story:
    """The market and the lives of its clusters, an hour a candle."""

    def __init__(self, tape: MapTape, parameters: liqmap.Parameters) -> None:
        self.tape, self.parameters = tape, parameters
        bars = tape.bars
        per = HOUR // tape.bar_ns
        whole = len(bars) // per * per
        self.at = bars["event_time"][per - 1 : whole : per]
        self.close = bars["close"][per - 1 : whole : per]
        self.high = bars["high"][:whole].reshape(-1, per).max(axis=1)
        self.low = bars["low"][:whole].reshape(-1, per).min(axis=1)
        seen = readings(View(tape, liqmap.FoldState(), parameters), self.at, self.close, most=len(self.at))
        self.lives = [life for life in lives(seen, self.high, self.low) if 14 * 24 < life.born < len(self.at) - 48]

    def moved_on(self, life: Life, hours: int = 24) -> float:
        """How far price went beyond a cluster within `hours` of the sweep, as a share; negative: it turned back."""
        after = self.close[min(life.last + hours, len(self.close) - 1)]
        return float((after / life.price - 1.0) * (1.0 if life.side == SHORT else -1.0))

    def draw(self, out: Path, hour: int, days: float, notes: tuple[Note, ...] = ()) -> None:
        """Write the picture that ends at candle `hour`."""
        pic = picture(self.tape, int(self.at[hour]), self.parameters, days=days)
        write_png(pic, out, "SIMULATED ", notes=notes, scale=SCALE)
        shrink(out)


def growth(page: Path, out: Path) -> None:
    """How cost grows, as the tables of docs/scale.md have it: CPU seconds by pairs and years, cost of one pair by size."""
    found = [line.split("|")[1:-1] for line in page.read_text().splitlines() if line.startswith("| ")]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in found}
    whole = [
        (int(a) * int(b), float(cells[name][1])) for name in cells for a, b in re.findall(r"^(\d+) pairs x (\d+)", name)
    ]
    cost = {name: float(row[1]) for name, row in cells.items() if len(row) == 3 and re.match(r"[\d.]+$", row[1])}
    (first, moved) = (next(name for name in cost if name.startswith(begin)) for begin in ("1 pair", "price moved"))
    factor = float(re.findall(r"so ([\d.]+) times the levels", moved)[0])
    lines: dict[str, list[tuple[float, float]]] = {
        "candles": [(1, 1.0), (2, cost["twice the candles"]), (4, cost["four times"])],
        "pairs (BTC is the first)": [(1, cost[first]), (2, cost["2 pairs"]), (4, cost["4 pairs"])],
        "levels": [(1, 1.0), (factor, cost[moved])],
    }
    figure = Figure(figsize=(8, 3.2), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*np.transpose(sorted(whole)), "o-", color="#3a86d6")
    left.set(
        xlabel="pairs x years", ylabel="CPU s, all cores", title="features --all-pairs", xlim=(0, None), ylim=(0, None)
    )
    right.plot((1, 6), (1, 6), ":", color="#888888", label="linear")
    for (name, points), colour in zip(lines.items(), ("#3a86d6", "#e67e14", "#2a9d5c"), strict=True):
        right.plot(*np.transpose(points), "o-", color=colour, label=name)
    right.set(xlabel="times as many", ylabel="times the cost", title="one process", xlim=(0, None), ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(out, metadata={"Software": None})
    shrink(out)


def shrink(out: Path) -> None:
    with Image.open(out) as image:
        image.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            out, optimize=True
        )
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB")


def main(folder: Path) -> None:
    """Write every picture into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    growth(Path(__file__).with_name("scale.md"), folder / "growth.png")
    with TemporaryDirectory(prefix="liqsignals-pictures-") as made:
        datadir = write_market(Path(made) / "market", seed=SEED, days=DAYS) / "binance"
        tape = map_tape(datadir, PAIR, None, None, "5m")
        story = Story(tape, calibration.default().parameters(PAIR))
    swept = [life for life in story.lives if life.swept]
    side = {True: "shorts", False: "longs"}

    def name(life: Life) -> str:
        return f"{usd_text(life.usd)} USD of {side[life.side == SHORT]}"

    def end(life: Life, ahead: int = 36) -> int:
        return int(min(life.last + ahead, len(story.at) - 1))

    ran = max((x for x in swept if story.moved_on(x) > 0.01), key=lambda x: x.usd)
    back = max((x for x in swept if story.moved_on(x) < -0.01), key=lambda x: x.usd)
    faded = (x for x in story.lives if not x.swept and not x.standing and 24 <= x.last - x.born <= 5 * 24)
    never = max(faded, key=lambda x: x.usd)
    story.draw(folder / "map.png", end(ran), 7.0)
    story.draw(
        folder / "ran-through.png", end(ran), 4.0,
        ((int(story.at[ran.last]), ran.price, f"{name(ran)} swept here;\na day later price is {story.moved_on(ran):.1%} beyond"),),
    )  # fmt: skip
    story.draw(
        folder / "rejected.png", end(back), 4.0,
        ((int(story.at[back.last]), back.price, f"{name(back)} swept here;\na day later price is {-story.moved_on(back):.1%} on the other side"),),
    )  # fmt: skip
    story.draw(
        folder / "never-touched.png", min(never.last + 24, len(story.at) - 1),
        max(4.0, (never.last - never.born) / 24 + 2.0),
        ((int(story.at[never.last]), never.price, f"{name(never)}: gone, untouched;\nits positions were closed"),),
    )  # fmt: skip
    quiet = int(
        np.argmin([np.ptp(story.close[k - 72 : k]) / story.close[k] for k in range(72 + 14 * 24, len(story.at))])
    )
    story.draw(folder / "quiet.png", quiet + 72 + 14 * 24, 3.0)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures"))

"""The picture as a PNG, without a browser: `liqsignals map --png`. Needs matplotlib (the extra `see`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liqsignals.clock import to_dates
from liqsignals.errors import InputError
from liqsignals.files import written
from liqsignals.liqmap import kernels
from liqsignals.report.console import price_text, usd_text
from liqsignals.report.heatmap import STEPS, Picture, colour_scale

_GROUND, _INK, _DIM = "#10151b", "#e8ebee", "#a9b2bb"
#: Pixels.
_WIDTH, _HEIGHT, _DPI = 1600, 1000, 100


#: An instant (ns), a price, and what is to be said of that point.
Note = tuple[int, float, str]


def write_png(pic: Picture, out: Path, title: str = "", *, notes: Sequence[Note] = (), scale: float = 1.0) -> Path:
    """Write the picture to `out` (.png), 1600 x 1000 pixels times `scale`; returns `out`.

    `title` is put before the pair: SIMULATED. `notes` are written beside their points, with arrows. Raises InputError
    where matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            "--png needs matplotlib", "pip install 'liqsignals[see]', or --html, which needs nothing"
        ) from None
    ink = {
        "text.color": _INK,
        "axes.labelcolor": _DIM,
        "xtick.color": _DIM,
        "ytick.color": _DIM,
        "axes.edgecolor": _DIM,
    }
    # A smaller picture has letters that shrink less than it does.
    shrunk = scale**0.33
    with rc_context({**ink, "axes.facecolor": _GROUND, "font.size": 9}), written(out, (".png",)) as path:
        figure = Figure((shrunk * _WIDTH / _DPI, shrunk * _HEIGHT / _DPI), _DPI * scale / shrunk, facecolor=_GROUND)
        FigureCanvasAgg(figure)
        main = _draw(figure, pic, title)
        for at, price, text in notes:
            _note(main, pic, at, price, text)
        figure.savefig(path, format="png")
    return out


def _note(axes: Any, pic: Picture, at: int, price: float, text: str) -> None:
    from matplotlib.dates import date2num

    # Towards the half of the picture that has more room, and away from the candles.
    left = at > pic.start + 0.5 * pic.step * pic.heat.shape[1]
    up = price >= float(np.nanmedian(pic.candles[3]))
    axes.annotate(
        text,
        (float(date2num(to_dates(np.array([at])).to_pydatetime())[0]), float(np.log(price))),
        (-70 if left else 70, 55 if up else -55),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        color=_INK,
        fontsize=10,
        arrowprops={"arrowstyle": "->", "color": _INK, "lw": 1.2},
        bbox={"fc": _GROUND, "ec": _DIM, "alpha": 0.9, "pad": 4},
    )


def _draw(figure: Any, pic: Picture, title: str) -> Any:
    """Draw everything; returns the axes of the map."""
    from matplotlib.colors import ListedColormap
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    heights = [8.0] + [1.0] * len(pic.panels)
    grid = figure.add_gridspec(
        len(heights), 2, height_ratios=heights, width_ratios=(5.2, 1), left=0.02, right=0.985, top=0.9, bottom=0.05,
        hspace=0.12, wspace=0.12,
    )  # fmt: skip
    main = figure.add_subplot(grid[0, 0])
    edges = pic.start + pic.step * np.arange(pic.heat.shape[1] + 1, dtype=np.int64)
    at = date2num(to_dates(edges).to_pydatetime())
    colours = ListedColormap(
        [_GROUND, *colour_scale(kernels.LONG, True), _GROUND, *colour_scale(kernels.SHORT, True)], N=2 * (STEPS + 1)
    )
    prices = pic.prices
    # Buckets are even in log price, which is what the axis shows.
    main.imshow(
        pic.heat, cmap=colours, vmin=0, vmax=2 * STEPS + 1, origin="lower", aspect="auto", interpolation="nearest",
        extent=(at[0], at[-1], np.log(prices[0]), np.log(prices[-1])),
    )  # fmt: skip
    low, high, close = (np.log(pic.candles[n]) for n in (2, 1, 3))
    middle = 0.5 * (at[1:] + at[:-1])
    main.vlines(middle, low, high, color=_INK, linewidth=0.6)
    main.set_ylim(np.nanmin(low) - 0.07, np.nanmax(high) + 0.07)
    main.set_xlim(at[0], at[-1] + 0.01 * (at[-1] - at[0]))
    main.yaxis.tick_right()
    round_prices = _few(8).tick_values(*np.exp(main.get_ylim()))
    main.set_yticks(np.log(round_prices[(round_prices > prices[0]) & (round_prices < prices[-1])]))
    main.set_ylim(np.nanmin(low) - 0.07, np.nanmax(high) + 0.07)
    main.yaxis.set_major_formatter(lambda y, _: f"{np.exp(y):,.6g}")
    for life in pic.sweeps:
        main.plot(middle[life.last], np.log(life.price), "o", mfc="none", mec=_hex(life.side), ms=6)
    if len(pic.prints):
        when = date2num(to_dates(pic.prints["event_time"]).to_pydatetime())
        dots = [_hex(side) for side in pic.prints["side"]]
        main.scatter(
            when,
            np.log(pic.prints["price"]),
            s=1.0 + pic.prints["usd"] / 2e4,
            c=dots,
            edgecolors=_GROUND,
            linewidths=0.3,
        )
    for trade in pic.trades:
        ends = date2num(to_dates(np.array([trade["open"], trade["close"]])).to_pydatetime())
        main.plot(ends, np.log([trade["open_rate"], trade["close_rate"]]), "-", color="#e58cf0", lw=1.5)
        if trade.get("stop"):
            main.plot(ends, np.log([trade["stop"]] * 2), "--", color="#e58cf0", lw=1.2)
        if len(pic.trades) <= 6:
            marks = ((0, "open_rate", "tag", "right"), (1, "close_rate", "exit", "left"))
            for end, rate, what, align in marks:
                main.annotate(
                    str(trade.get(what, "")), (ends[end], np.log(trade[rate])), ((-8, 8)[end], 12),
                    textcoords="offset points", ha=align, color="#e58cf0",
                    bbox={"fc": _GROUND, "ec": "none", "alpha": 0.85, "pad": 2},
                )  # fmt: skip
        main.plot(ends[0], np.log(trade["open_rate"]), "v" if trade["is_short"] else "^", color="#e58cf0", ms=6)
    used: list[float] = []
    clusters = [(c, s) for w, s in (("above", kernels.SHORT), ("below", kernels.LONG)) for c in pic.head["clusters"][w]]
    bottom, top = main.get_ylim()
    # A label is 16 points high, the height of the axes so many points.
    room = 16.0 / (main.bbox.height * 72.0 / figure.dpi) * (top - bottom)
    for c, side in sorted(clusters, key=lambda pair: -pair[0]["usd"]):
        y = float(np.log(c["price"]))
        if bottom < y < top and all(abs(y - u) > room for u in used):
            used.append(y)
            text = f"{price_text(c['price'])}: {usd_text(c['usd'])} {'shorts' if side == kernels.SHORT else 'longs'}"
            main.annotate(
                text, (at[-1], y), (-4, 0), textcoords="offset points", ha="right", va="center", color=_hex(side),
                bbox={"fc": _GROUND, "ec": "none", "alpha": 0.85, "pad": 2},
            )  # fmt: skip
    beside = figure.add_subplot(grid[0, 1], sharey=main)
    levels = 0.5 * (np.log(prices[1:]) + np.log(prices[:-1]))
    now, line = close[np.isfinite(close)][-1], beside.twiny()
    for side in (kernels.LONG, kernels.SHORT):
        beside.fill_betweenx(levels, 0, pic.profile[side], color=_hex(side), alpha=0.55, linewidth=0)
        out = levels >= now if side == kernels.SHORT else levels <= now
        usd = pic.profile[side][out]
        line.plot(
            np.cumsum(usd) if side == kernels.SHORT else np.cumsum(usd[::-1])[::-1], levels[out], color=_hex(side)
        )
    shown = (levels >= bottom) & (levels <= top)
    beside.set_xlim(0, 1.25 * max(float(pic.profile[:, shown].max(initial=0.0)), 1.0))
    line.set_xlim(0, None)
    line.xaxis.set_major_formatter(lambda x, _: usd_text(x))
    line.xaxis.set_major_locator(_few(3))
    line.set_xlabel("line: sum outward from price, USD")
    beside.set_xlabel("what stands at the end, by price")
    beside.tick_params(labelright=False, labelleft=False, labelbottom=False, left=False, bottom=False)
    _key(beside, pic)
    for n, panel in enumerate(pic.panels):
        axes = figure.add_subplot(grid[n + 1, 0], sharex=main)
        for s in panel.series:
            values = np.sign(s.values) * np.sqrt(np.abs(s.values)) if panel.root else s.values
            colour = {"long": _hex(kernels.LONG), "short": _hex(kernels.SHORT)}.get(s.role, _INK)
            if s.bars:
                axes.fill_between(middle, 0, values, color=colour, alpha=0.8, linewidth=0, step="mid")
            else:
                axes.plot(middle, values, color=colour, lw=0.8)
        axes.set_title(panel.name, loc="left", fontsize=8, color=_DIM, pad=2)
        axes.yaxis.tick_right()
        axes.yaxis.set_major_locator(_few(2))
        if panel.root:
            axes.yaxis.set_major_formatter(lambda y, _: usd_text(y * y))
        axes.tick_params(labelbottom=n == len(pic.panels) - 1)
    main.tick_params(labelbottom=not pic.panels)
    locator = AutoDateLocator()
    main.xaxis.set_major_locator(locator)
    main.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    head = pic.head
    parts = [f"{title}{head['pair']} at {head['at']}: {price_text(head['price'])}"]
    for where, word in (("above", "shorts above"), ("below", "longs below")):
        price = head[f"liq_{where}_price"]
        usd = usd_text(head[f"liq_{where}_usd"])
        parts.append(f"nearest {word} {price_text(price)}, {usd} USD" if price is not None else f"no major {word}")
    figure.suptitle(f"{parts[0]}\n{'   '.join(parts[1:])}", x=0.015, y=0.985, ha="left", fontsize=11)
    return main


def _key(beside: Any, pic: Picture) -> None:
    """The scale of the colours, under the profile."""
    from matplotlib.colors import to_rgb

    key = beside.inset_axes((0.0, -0.2, 1.0, 0.045))
    rows = [[to_rgb(colour) for colour in colour_scale(side, True)] for side in (kernels.LONG, kernels.SHORT)]
    key.imshow(rows, aspect="auto", origin="lower", interpolation="nearest")
    key.set_yticks([])
    key.set_xticks([0, STEPS - 1], [usd_text(pic.faint_usd), usd_text(pic.strong_usd)])
    for label, align in zip(key.get_xticklabels(), ("left", "right"), strict=True):
        label.set_ha(align)
    key.set_title("colour: USD in 0.05 % of price", fontsize=9, color=_DIM, pad=3)


def _few(n: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(n)


def _hex(side: int) -> str:
    return colour_scale(side, True)[85]

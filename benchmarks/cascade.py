"""The cascade on SIMULATED markets, where the same hour can be run without the impact of liquidations.

A case is a touch of a major cluster that the map had at the full hour before, within four hours. The truth is the mean
excursion beyond the cluster in the hour after, with the forced orders' impact over without it, in repeated runs with
fresh noise. Two laws of impact and two of leverage; no parameter of the library is fitted to any.
"""

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report import Table, progress, show
from liqsignals import features, liqmap
from liqsignals.clock import DAY, HOUR
from liqsignals.data.tape import MapTape, read_tape
from liqsignals.evaluation.scores import bootstrap, spearman
from liqsignals.liqmap import squeeze
from liqsignals.simulation.counterfactual import Touch, excursions
from liqsignals.simulation.market import Parameters, simulate
from liqsignals.simulation.parameters import LEVERAGE
from liqsignals.simulation.writer import write

PAIR = "BTC/USDT:USDT"
SEEDS, DAYS, WARM, REPLICAS = (1, 2, 3), 60, 14, 8
START = pd.Timestamp("2026-01-05", tz="UTC")
#: More of the high tiers: four times the openings at 50x and above.
HIGH = tuple((x, share * (4.0 if x >= 50.0 else 1.0)) for x, share in LEVERAGE)
LAWS = {"linear": {}, "square root": {"impact_liquidation_root": 0.02}}
LEVERAGES = {"as simulated": {}, "four times the openings from 50x on": {"leverage": HIGH}}
PREDICTORS = ("squeeze_gain", "squeeze_usd", "mass within 2 %", "cluster's USD", "volatility")
#: The first two under Kyle's law, on markets with taker volume; the SIMULATED one publishes none.
BY_TAKER = ("gain, taker law", "usd, taker law")


def touches(tape: MapTape, parameters: liqmap.Parameters) -> tuple[list[Touch], pd.DataFrame]:
    """Touched clusters, the newest reading of each, and what the columns said then."""
    bars = tape.bars
    start = int(bars["event_time"][0])
    rows = np.flatnonzero((bars["event_time"] % HOUR == 0) & (bars["event_time"] >= start + WARM * DAY))
    at, closes = bars["event_time"][rows].copy(), bars["close"][rows].copy()
    out = features.compute(tape, at, closes, tape.bar_ns, parameters)
    assert parameters.squeeze is not None
    kyle = replace(parameters, squeeze=replace(parameters.squeeze, law=squeeze.TAKER))
    by_taker = out if tape.kind("taker") is None else features.compute(tape, at, closes, tape.bar_ns, kyle)
    found: dict[tuple[int, int], tuple[Touch, dict[str, float]]] = {}
    for way, where, move, side in ((1, "above", "squeeze", "short"), (-1, "below", "flush", "long")):
        for i, row in enumerate(rows):
            price = out[f"liq_{where}_price"][i]
            ahead = bars[row + 1 : row + 49]
            hit = ahead["high"] >= price if way > 0 else ahead["low"] <= price
            if not (np.isfinite(price) and hit.any()):
                continue
            bar = int(row) + 1 + int(np.argmax(hit))
            said = {
                "squeeze_gain": out[f"{move}_gain"][i], "squeeze_usd": out[f"{move}_usd"][i],
                "gain, taker law": by_taker[f"{move}_gain"][i], "usd, taker law": by_taker[f"{move}_usd"][i],
                "mass within 2 %": out[f"liq_{side}_usd_2pct"][i], "cluster's USD": out[f"liq_{where}_usd"][i],
                "volatility": out["squeeze_sigma_1d"][i], "end": way * np.log(out[f"{move}_end_price"][i] / price),
                "at": bars["event_time"][bar], "push": math.nan, "beyond": math.nan,
            }  # fmt: skip
            hour = bars[bar : bar + 12]
            peak = hour["high"].max() if way > 0 else hour["low"].min()
            said["push"], said["beyond"] = said["end"] / said["squeeze_gain"], way * math.log(peak / price)
            found[way, bar // 12] = Touch(bar, float(price), way), said
    kept = list(found.values())
    return [touch for touch, _ in kept], pd.DataFrame([said for _, said in kept])


def cases(law: dict[str, Any], leverage: dict[str, Any], seed: int) -> pd.DataFrame:
    """All touches of one seed with their truth."""
    p = Parameters(**law, **leverage)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), simulate(seed, DAYS, [PAIR], START, parameters=p))
        tape = read_tape(Path(folder) / "binance", PAIR).for_map()
    assert tape is not None
    where, said = touches(tape, liqmap.Parameters())
    true = excursions(seed, DAYS, PAIR, START, where, parameters=p, replicas=REPLICAS)
    said["with"], said["without"], said["liquidated"] = true.T
    said["at"] += seed * 1000 * DAY
    return said[np.isfinite(said["with"]) & (said["without"] > 0.0)].reset_index(drop=True)


def run() -> list[Table]:
    """Rank correlations with the true gain, [95 %, whole days resampled]."""
    rows: list[tuple[Any, ...]] = []
    for law, one in LAWS.items():
        for leverage, other in LEVERAGES.items():
            progress(f"cascade: {law}, {leverage}")
            c = pd.concat([cases(one, other, seed) for seed in SEEDS], ignore_index=True)
            gain = (c["with"] / c["without"]).to_numpy()
            at = c["at"].to_numpy(np.int64)
            columns = [c[name].to_numpy(np.float64) for name in PREDICTORS]

            def ranks(i: np.ndarray, columns: list[np.ndarray] = columns, gain: np.ndarray = gain) -> np.ndarray:
                return np.array([spearman(x[i], gain[i]) for x in columns])

            value, ends = ranks(np.arange(len(c))), bootstrap(ranks, at, 300)
            cells = [f"{v:+.2f} [{a:+.2f}, {z:+.2f}]" for v, a, z in zip(value, *ends, strict=True)]
            usd = spearman(c["squeeze_usd"].to_numpy(), c["liquidated"].to_numpy())
            rows.append((
                f"{law}, {leverage}", len(c), *cells, f"{usd:+.2f}", f"{np.median(c['squeeze_gain']):.2f}",
                f"{c['with'].sum() / c['without'].sum():.2f}",
            ))  # fmt: skip
    title = f"SIMULATED market, {len(SEEDS)} seeds of {DAYS} days: rank correlation with the true gain"
    names = ("", "touches", *PREDICTORS, "usd with liquidated", "median gain said", "true, of the means")
    note = (
        f"true gain: mean excursion in the hour after a touch with liquidations' impact / without, {REPLICAS} runs each"
    )
    return [show(Table(title, names, rows, note))]

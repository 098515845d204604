"""Writes a simulated market: a freqtrade data directory, and the truth next to it."""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from liqsignals.files import data_name, stem
from liqsignals.simulation.pair import Market

GENERATOR: Final = 1
MARKER: Final = "SIMULATED"


def _hourly(candles: pd.DataFrame) -> pd.DataFrame:
    g = candles.groupby(np.arange(len(candles)) // 12)
    return pd.DataFrame(
        {
            "date": g["date"].first(),
            "open": g["open"].first(),
            "high": g["high"].max(),
            "low": g["low"].min(),
            "close": g["close"].last(),
            "volume": g["volume"].sum(),
        }
    )


def write(folder: Path, market: Market) -> None:
    """Write all files of a market into a new folder."""
    exchange = folder / "binance"
    futures = exchange / "futures"
    flows = exchange / "liqsignals" / "flows"
    second = exchange / "liqsignals" / "venues" / "bybit" / "futures"
    truth = folder / "truth"
    for path in (futures, flows, second, truth):
        path.mkdir(parents=True)
    (exchange / MARKER).write_text(
        f"SIMULATED by liqsignals, not real data: seed {market.seed}, {market.days} days "
        f"from {market.start:%Y-%m-%d} UTC, generator {GENERATOR}\n"
    )

    def feather(frame: pd.DataFrame, path: Path) -> None:  # compressed as by freqtrade
        frame.reset_index(drop=True).to_feather(path, compression="lz4", compression_level=9)

    for pair, m in market.pairs.items():
        name = stem(pair)
        feather(m.candles, futures / data_name(pair, "5m", "futures"))
        feather(_hourly(m.candles), futures / data_name(pair, "1h", "futures"))
        feather(m.mark, futures / data_name(pair, "1h", "mark"))
        feather(m.funding, futures / data_name(pair, "1h", "funding_rate"))
        feather(m.open_interest, futures / data_name(pair, "5m", "open_interest"))
        feather(m.funding_second, second / data_name(pair, "1h", "funding_rate"))
        if m.flows is not None:
            coin = pair.split("/")[0].lower()
            m.flows.to_csv(flows / f"coinmetrics-{coin}-exchange-flows-1d.csv", index=False, float_format="%.8f")
        m.levels.to_parquet(truth / f"{name}-levels.parquet", index=False)
        m.liquidations.to_parquet(truth / f"{name}-liquidations.parquet", index=False)
        m.totals.to_parquet(truth / f"{name}-open-interest.parquet", index=False)

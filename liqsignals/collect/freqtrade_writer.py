"""Write one frame through freqtrade's data handler: `python freqtrade_writer.py DATADIR PAIR TIMEFRAME FRAME FORMAT`.

A script, run by its path, in a process of its own: so it imports freqtrade and not liqsignals, and neither pays for the
other.
"""

import sys
from pathlib import Path

import pandas as pd


def write(datadir: str, pair: str, timeframe: str, frame: str, form: str) -> None:
    """Store the open interest in the feather file `frame` as freqtrade stores it."""
    from freqtrade.data.history.datahandlers import get_datahandler
    from freqtrade.enums import CandleType

    get_datahandler(Path(datadir), form).ohlcv_store(pair, timeframe, pd.read_feather(frame), CandleType.OPEN_INTEREST)


if __name__ == "__main__":
    write(*sys.argv[1:])

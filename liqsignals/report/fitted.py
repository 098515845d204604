"""How old the calibration in use is, and how to refit it."""

from pathlib import Path

from liqsignals.clock import DAY, iso
from liqsignals.data import store
from liqsignals.liqmap.calibration import Calibration


def age_line(chosen: Calibration, pair: str, at: int, extras: Path, exchange: str) -> str | None:
    """The age of a pair's calibration at an instant (ns) and the command that refits it; None for the prior.

    Dollars drift: on BTC, real over predicted went from 1.0 to 2.2 within three months of the shipped fit's end.
    """
    known_at = chosen.parameters(pair).known_at
    if not known_at:
        return None
    days = (at - known_at) / DAY
    when = f"{days:.0f} days before this" if days >= 0 else f"{-days:.0f} days after this: hindsight"
    prints = store.series_dir(extras, "liquidation", exchange, pair, "events")
    return (
        f"calibration {chosen.origin}: fitted on liquidations up to {iso(known_at)[:10]}, {when}; its dollars drift"
        " (real over predicted went from 1.0 to 2.2 within three months). Refit it from your own prints, of weeks of"
        f" liqsignals record: liqsignals calibrate -d {extras.parent if extras.name == 'liqsignals' else 'DATADIR'} -p"
        f" {pair} -l {prints} -o mine.json"
    )

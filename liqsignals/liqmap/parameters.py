"""All that the map depends on besides its tape: classes of leverage, the prior, the rates."""

from dataclasses import dataclass, field

import numpy as np

from liqsignals.errors import InputError
from liqsignals.liqmap.squeeze import Squeeze, default
from liqsignals.records import Float64Array


@dataclass(frozen=True)
class LeverageClass:
    """Positions of one band of leverages and one pace: how much of them stands, and how fast they close."""

    low: float
    high: float
    #: Share of the standing, unhedged positions, before any is liquidated.
    standing: float
    #: Notional (USD) of a typical position, for its maintenance bracket.
    notional: float
    #: Round leverages in the band, at which Parameters.tier_share of its positions are.
    tiers: tuple[float, ...] = ()
    #: Closing rate relative to the remainder's.
    hazard: float = 1.0
    #: Positions whose margin has eroded: levels 1 / leverage from the entry, nearer than any venue lets open.
    eroded_margin: bool = False
    #: Low and high end of its mass as factors: the calibration's 90 % interval, else how far sources disagree.
    doubt: tuple[float, float] = (0.4, 2.5)


#: Holders close a tenth as fast as the remainder, traders four times as fast (docs/decisions/010).
HOLD, TRADE = 0.1, 4.0

#: The prior (docs/decisions/004, 010): shares of open interest by notional as on Hyperliquid, where 15 % lie above 7x;
#: the traders' few per cent are a guess that calibration replaces.
PRIOR = (
    LeverageClass(2.0, 5.0, 0.200, 20_000, (3.0,), HOLD),
    LeverageClass(5.0, 10.0, 0.140, 20_000, (5.0,), HOLD),
    LeverageClass(10.0, 20.0, 0.040, 20_000, (10.0,), HOLD),
    LeverageClass(20.0, 50.0, 0.020, 20_000, (20.0, 25.0), HOLD),
    LeverageClass(20.0, 50.0, 0.009, 20_000, (20.0, 25.0), TRADE),
    LeverageClass(50.0, 150.0, 0.006, 20_000, (50.0, 75.0, 100.0), TRADE),
    LeverageClass(250.0, 667.0, 0.001, 20_000, (), TRADE, eroded_margin=True),
)

#: Half-width of a round leverage, as a fraction: fees, funding paid and a little margin move its level.
TIER_WIDTH = 0.04


@dataclass(frozen=True)
class Parameters:
    """All that the map depends on besides its tape. Rates are per unit of volume, never per bar."""

    classes: tuple[LeverageClass, ...] = PRIOR
    #: Standing share of the remainder (hedged, 1x, beyond the classes) and its closing rate, the unit of the classes'.
    remainder: float = 0.584
    remainder_hazard: float = 1.0
    #: Share of a class that stands at its round leverages, the rest being spread over its band.
    tier_share: float = 0.2
    #: Positions turned over per unit of traded volume.
    turnover: float = 0.6
    #: Feed USD per position USD; 1.0 is uncalibrated.
    report_factor: float = 1.0
    #: Rank correlation with real liquidations out of sample (calibration.py), None where it was not scored.
    score: float | None = None
    #: Instant (ns) by which a bot could have had these parameters: the end of what they were fitted on.
    known_at: int = 0
    #: Parameters of the columns squeeze_* and flush_*, None for none of them; those that ship unless given.
    squeeze: Squeeze | None = field(default_factory=default)

    def __post_init__(self) -> None:
        if not (0.0 < self.remainder < 1.0 and self.remainder_hazard > 0.0 and self.turnover >= 0.0):
            raise InputError(
                "map parameters: remainder must lie between 0 and 1, its hazard above 0, turnover not below 0"
            )

    @property
    def mix(self) -> Float64Array:
        """Share of openings of each class, then of the remainder: standing x hazard, summing to 1.

        What stands is openings x lifetime, so a flow share is a standing share times its closing rate.
        """
        flow = [(1.0 - self.remainder) * c.standing * c.hazard for c in self.classes]
        scale = sum(c.standing for c in self.classes)
        flows = np.array([f / scale for f in flow] + [self.remainder * self.remainder_hazard])
        return np.asarray(flows / flows.sum())


def standing_of(parameters: Parameters) -> Float64Array:
    """Each class's standing share of open interest, before any is liquidated."""
    standing = np.array([c.standing for c in parameters.classes])
    return np.asarray((1.0 - parameters.remainder) * standing / standing.sum())

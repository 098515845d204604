"""Data providers: one module each, with the provider's declaration and its parsers.

To add a provider, copy one of these files (docs/add-a-provider.md) and add it to PROVIDERS.
"""

from liqsignals.sources import binance, bybit, coinalyze, coinglass, coinmetrics, cryptoquant, glassnode, macro, okx
from liqsignals.sources.spec import Limits, Parse, ParseError, Prints, Provider, Refusal, Series, Stream

PROVIDERS: tuple[Provider, ...] = (
    binance.REST,
    binance.ARCHIVE,
    bybit.PROVIDER,
    okx.PROVIDER,
    coinmetrics.PROVIDER,
    coinglass.PROVIDER,
    coinalyze.PROVIDER,
    cryptoquant.PROVIDER,
    glassnode.PROVIDER,
    macro.PROVIDER,
)

#: Exchanges, by name: `liqsignals record` listens to them, `download --exchanges` asks them.
EXCHANGES = {provider.name: provider for provider in PROVIDERS if provider.streams}

__all__ = [
    "EXCHANGES",
    "PROVIDERS",
    "Limits",
    "Parse",
    "ParseError",
    "Prints",
    "Provider",
    "Refusal",
    "Series",
    "Stream",
]

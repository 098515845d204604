"""The loopback exchange: Binance USD-M as freqtrade sees it, over a data directory, at any market time."""

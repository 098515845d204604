"""The loopback exchange: Binance USD-M as freqtrade sees it, served from a data directory at any market time."""

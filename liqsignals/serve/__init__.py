"""The live page: `liqsignals serve`. It reads the data directory and a bot's REST API, and writes nothing."""

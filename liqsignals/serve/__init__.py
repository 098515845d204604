"""The live page: `liqsignals serve`. It reads the data directory and a bot's REST API.

Of its own it writes only the saved state of maps (liqmap/state.py), where the folder lets it.
"""

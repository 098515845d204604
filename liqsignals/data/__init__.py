"""Disk to tape: freqtrade's data directory and the extras, as records in the order in which they became known."""

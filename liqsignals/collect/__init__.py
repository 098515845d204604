"""Network to disk: downloads, the recorder, and the files of freqtrade that they fill."""

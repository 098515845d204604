"""Walk-forward of the strategies through freqtrade, with placebos and verdicts: `liqsignals walkforward`."""

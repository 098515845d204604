"""Compiles the market's kernels; the cache's name changes with any of their sources."""

from pathlib import Path

from liqsignals.compiled import cached

kernel = cached(sorted(Path(__file__).parent.glob("*.py")))

"""How the market's kernels are compiled: cached under a name that changes with any of their sources."""

from pathlib import Path

from liqsignals.compiled import cached

kernel = cached(sorted(Path(__file__).parent.glob("*.py")))
